// What the Vulkan kernels promise beyond the conformance suite's shapes, on every Vulkan device found: rows so long
// that a driver's loop limit would show, rows that begin anywhere, one index at every position; and both kinds of
// workgroups (software drivers' and GPUs') on the same device.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/conformance/conformance.h"
#include "runtime/hal.h"
#include "runtime/log.h"
#include "runtime/program.h"
#include "runtime/random.h"
#include "runtime/vulkan/vulkan_device.h"
#include "tests/amount.h"
#include "tests/suite.h"

enum { MOST_DEVICES = 8, SEED = 20261121 };
static char identifiers[MOST_DEVICES][32];
static int device_count;
static dure_device *device;
static dure_stream *stream;
static uint64_t messages_before;

// Each loop index is a device and a kind of workgroups.
static void open_device(int index) {
  messages_before = dure_vulkan_validation_message_count();
  setenv("DURE_VULKAN_GROUPS", index % 2 == 0 ? "software" : "gpu", 1);
  require(dure_device_open(identifiers[index / 2], &device));
  require(dure_stream_create(device, &stream));
}

static void close_device(void) {
  dure_stream_destroy(stream);
  dure_device_close(device);
  unsetenv("DURE_VULKAN_GROUPS");
  ck_assert_uint_eq(dure_vulkan_validation_message_count(), messages_before);
}

static float uniform_at(uint64_t index) {  // in [-1, 1)
  uint32_t words[4];
  dure_random_words(SEED, 0, 0, index, words);
  return 2 * dure_random_to_uniform(words[0]) - 1;
}

// ---- one op on host arrays ---------------------------------------------------------------------------------------

typedef struct array {
  dure_dtype dtype;
  uint32_t rank;
  uint64_t shape[2];
  uint64_t shift;  // elements of other memory before it
  void *data;      // read, and for outputs written
} array;

static uint64_t count_of(const array *a) { return a->shape[0] * (a->rank == 2 ? a->shape[1] : 1); }

// Runs the op with these operands and reads all of them back.
static void run(dure_op op, const dure_op_attributes *attributes, array *arrays, uint32_t count) {
  dure_program *program = dure_program_create();
  dure_tensor bases[DURE_MAX_OPERANDS], operands[DURE_MAX_OPERANDS] = {{0}};
  for (uint32_t i = 0; i < count; i++) {
    const array *a = &arrays[i];
    const uint64_t base_count = a->shift + count_of(a);
    const uint64_t stride[2] = {a->rank == 2 ? a->shape[1] : 1, 1};
    bases[i] = dure_tensor_external(program, "operand", a->dtype, 1, &base_count, DURE_LIFETIME_OUTPUT);
    operands[i] = dure_tensor_view(program, bases[i], a->rank, a->shape, stride, a->shift);
  }
  dure_program_call(program, op, operands, attributes, 0);
  dure_executable *executable = NULL;
  const dure_compile_options options = {.label = "test", .guard_bytes = 256};
  require(dure_program_compile(program, device, NULL, 0, &options, &executable));

  for (uint32_t i = 0; i < count; i++) {
    const uint64_t base_count = arrays[i].shift + count_of(&arrays[i]);
    uint32_t *words = calloc(base_count, 4);
    memcpy(words + arrays[i].shift, arrays[i].data, 4 * count_of(&arrays[i]));
    require(dure_executable_write(executable, stream, bases[i], words, 4 * base_count));
    free(words);
  }
  require(dure_executable_submit(executable, stream));
  for (uint32_t i = 0; i < count; i++) {
    const uint64_t base_count = arrays[i].shift + count_of(&arrays[i]);
    uint32_t *words = malloc(4 * base_count);
    require(dure_executable_read(executable, stream, bases[i], words, 4 * base_count));
    memcpy(arrays[i].data, words + arrays[i].shift, 4 * count_of(&arrays[i]));
    free(words);
  }
  require(dure_executable_guards(executable, stream));
  dure_executable_destroy(executable);
  dure_program_destroy(program);
}

static double log_sum_exp(const float *x, uint64_t count) {
  double maximum = -INFINITY, sum = 0;
  for (uint64_t v = 0; v < count; v++) maximum = fmax(maximum, (double)x[v]);
  for (uint64_t v = 0; v < count; v++) sum += exp((double)x[v] - maximum);
  return maximum + log(sum);
}

// ---- tests -------------------------------------------------------------------------------------------------------

START_TEST(rows_of_a_quarter_million_logits_are_read_to_their_end) {
  enum { V = 262147, R = 2 };  // an odd number: the second row begins off the fours
  open_device(_i);
  float *logits = malloc(sizeof(float) * R * V);
  for (uint64_t i = 0; i < (uint64_t)R * V; i++) logits[i] = 4 * uniform_at(i);
  logits[R * V - 1] = 9;
  uint32_t labels[R] = {0, V - 1};
  float loss[R], total[R];
  array arrays[] = {{DURE_DTYPE_F32, 2, {R, V}, 0, logits},
                    {DURE_DTYPE_U32, 1, {R}, 0, labels},
                    {DURE_DTYPE_F32, 1, {R}, 0, loss},
                    {DURE_DTYPE_F32, 1, {R}, 0, total}};
  run(DURE_OP_cross_entropy, &(dure_op_attributes){0}, arrays, 4);
  for (int r = 0; r < R; r++) {
    // Each of the sum's terms and roundings moves it by 2^-24 of itself; thousands of terms a lane average out.
    const double expected = log_sum_exp(logits + (uint64_t)r * V, V), tolerance = 1e-5;
    ck_assert_double_eq_tol((double)total[r], expected, tolerance);
    ck_assert_double_eq_tol((double)loss[r], expected - (double)logits[(uint64_t)r * V + labels[r]], tolerance);
  }

  float settings[DURE_SAMPLE_COUNT] = {0, 0, 1};
  uint32_t random[4] = {1, 2, 3, 4}, token[R] = {0};
  array sampled[] = {{DURE_DTYPE_F32, 2, {R, V}, 0, logits},
                     {DURE_DTYPE_F32, 1, {DURE_SAMPLE_COUNT}, 0, settings},
                     {DURE_DTYPE_U32, 1, {4}, 0, random},
                     {DURE_DTYPE_U32, 1, {R}, 0, token}};
  run(DURE_OP_sample, &(dure_op_attributes){0}, sampled, 4);
  ck_assert_uint_eq(token[1], V - 1);  // the largest, at the very end
  settings[DURE_SAMPLE_TEMPERATURE] = 1;
  settings[DURE_SAMPLE_TOP_K] = 1;
  token[1] = 0;
  run(DURE_OP_sample, &(dure_op_attributes){0}, sampled, 4);
  ck_assert_uint_eq(token[1], V - 1);
  settings[DURE_SAMPLE_TOP_K] = 0;
  settings[DURE_SAMPLE_TOP_P] = 0.01f;  // 9 alone has e^5 times the mass of a logit of 4: the smallest sets
  run(DURE_OP_sample, &(dure_op_attributes){0}, sampled, 4);
  ck_assert(logits[token[0]] > 3);
  free(logits);

  close_device();
}
END_TEST

START_TEST(rows_may_begin_and_end_anywhere) {
  enum { R = 5, WIDEST = 70 };
  open_device(_i);
  for (uint64_t V = 1; V <= WIDEST; V += V < 9 ? 1 : 7) {
    for (uint64_t shift = 0; shift < 4; shift++) {
      float logits[R * WIDEST], gradient[R * WIDEST], loss[R], total[R], seed = 0.5f;
      uint32_t labels[R];
      for (uint64_t i = 0; i < R * V; i++) gradient[i] = logits[i] = 3 * uniform_at(i + shift);
      for (uint32_t r = 0; r < R; r++) labels[r] = r == 3 ? DURE_IGNORE_LABEL : (uint32_t)(7 * r % V);
      array forward[] = {{DURE_DTYPE_F32, 2, {R, V}, shift, logits},
                         {DURE_DTYPE_U32, 1, {R}, shift, labels},
                         {DURE_DTYPE_F32, 1, {R}, 0, loss},
                         {DURE_DTYPE_F32, 1, {R}, 0, total}};
      run(DURE_OP_cross_entropy, &(dure_op_attributes){0}, forward, 4);
      array backward[] = {{DURE_DTYPE_U32, 1, {R}, shift, labels},
                          {DURE_DTYPE_F32, 1, {R}, 0, total},
                          {DURE_DTYPE_F32, 1, {1}, 0, &seed},
                          {DURE_DTYPE_F32, 2, {R, V}, shift, gradient}};
      run(DURE_OP_cross_entropy_gradient, &(dure_op_attributes){0}, backward, 4);
      for (uint64_t r = 0; r < R; r++) {
        const double expected = log_sum_exp(logits + r * V, V);
        ck_assert_double_eq_tol((double)total[r], expected, 2e-6);
        for (uint64_t v = 0; v < V; v++) {
          double slope = 0.5 * (exp((double)logits[r * V + v] - expected) - (v == labels[r] ? 1 : 0));
          if (labels[r] == DURE_IGNORE_LABEL) slope = 0;
          ck_assert_double_eq_tol((double)gradient[r * V + v], slope, 2e-6);
        }
      }
    }
  }
  close_device();
}
END_TEST

// Whole numbers, so that the sum is exact in any order.
START_TEST(one_index_at_every_position_gathers_every_row) {
  enum { R = 20000, C = 12, V = 3 };
  open_device(_i);
  uint32_t *indices = malloc(sizeof(uint32_t) * R);
  float *dy = malloc(sizeof(float) * R * C), table[V * C];
  double expected[C] = {0};
  for (uint64_t r = 0; r < R; r++) {
    indices[r] = 1;
    for (uint64_t c = 0; c < C; c++) {
      dy[r * C + c] = floorf(8 * uniform_at(r * C + c));
      expected[c] += (double)dy[r * C + c];
    }
  }
  for (int i = 0; i < V * C; i++) table[i] = 77;
  array arrays[] = {
      {DURE_DTYPE_U32, 1, {R}, 0, indices}, {DURE_DTYPE_F32, 2, {R, C}, 0, dy}, {DURE_DTYPE_F32, 2, {V, C}, 0, table}};
  const dure_op_attributes attributes = {.embedding = {.row_count = V}};
  run(DURE_OP_embedding_gradient, &attributes, arrays, 3);
  for (int c = 0; c < C; c++) {
    ck_assert_double_eq((double)table[0 * C + c], 0);
    ck_assert_double_eq((double)table[1 * C + c], expected[c]);
    ck_assert_double_eq((double)table[2 * C + c], 0);
  }
  free(indices);
  free(dy);
  close_device();
}
END_TEST

// Every index but one is alone, so that the search for its next position goes to the end.
START_TEST(distinct_indices_find_no_neighbours_and_equal_ones_find_each_other_afar) {
  enum { R = 16384, C = 4, V = R };
  open_device(_i);
  uint32_t *indices = malloc(sizeof(uint32_t) * R);
  float *dy = malloc(sizeof(float) * R * C), *table = calloc(V * C, sizeof(float));
  for (uint32_t r = 0; r < R; r++) {
    indices[r] = R - 1 - r;
    for (uint32_t c = 0; c < C; c++) dy[r * C + c] = (float)(r + c);
  }
  indices[R - 1] = indices[0];
  array arrays[] = {
      {DURE_DTYPE_U32, 1, {R}, 0, indices}, {DURE_DTYPE_F32, 2, {R, C}, 0, dy}, {DURE_DTYPE_F32, 2, {V, C}, 0, table}};
  const dure_op_attributes attributes = {.embedding = {.row_count = V}};
  run(DURE_OP_embedding_gradient, &attributes, arrays, 3);
  uint32_t wrong = 0;
  for (uint32_t v = 0; v < V; v++) {
    const uint32_t r = R - 1 - v;
    for (uint32_t c = 0; c < C; c++) {
      float expected = v == 0 ? 0 : (float)(r + c);       // nobody has index 0 now
      if (v == R - 1) expected = (float)(c + R - 1 + c);  // positions 0 and R - 1
      wrong += table[v * C + c] != expected;
    }
  }
  ck_assert_uint_eq(wrong, 0);
  free(indices);
  free(dy);
  free(table);
  close_device();
}
END_TEST

static void expect_pass(void *context, const dure_conformance_result *result) {
  (void)context;
  if (result->outcome == DURE_CONFORMANCE_FAIL || result->outcome == DURE_CONFORMANCE_UNSUPPORTED) {
    ck_abort_msg("%s: %s", result->name, result->message);
  }
}

START_TEST(both_kinds_of_workgroups_conform) {
  static const char *const ops[] = {
      "add",   "embedding",  "embedding_gradient",  "quantize_rows",         "matmul_q8",     "sum_rows",
      "sum",   "layer_norm", "layer_norm_gradient", "layer_norm_parameters", "cross_entropy", "cross_entropy_gradient",
      "adamw", "sample"};
  open_device(_i);
  for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
    const dure_conformance_options options = {.op = ops[i], .every = is_full() ? 0 : 4};
    dure_conformance_summary summary;
    require(dure_conformance_run(device, &options, expect_pass, NULL, &summary));
    ck_assert_uint_gt(summary.counts[DURE_CONFORMANCE_PASS], 0);
  }
  close_device();
}
END_TEST

// ---- running -----------------------------------------------------------------------------------------------------

int main(void) {
  device_count = find_vulkan_devices(identifiers, MOST_DEVICES);
  if (device_count == 0) return SKIPPED;
  Suite *suite = suite_create("vulkan ops");
  TCase *group = tcase_create("every device, both kinds of workgroups");
  tcase_set_timeout(group, 300);
  const TTest *tests[] = {
      rows_of_a_quarter_million_logits_are_read_to_their_end,
      rows_may_begin_and_end_anywhere,
      one_index_at_every_position_gathers_every_row,
      distinct_indices_find_no_neighbours_and_equal_ones_find_each_other_afar,
      both_kinds_of_workgroups_conform,
  };
  for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
    tcase_add_loop_test(group, tests[i], 0, 2 * device_count);
  }
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_NOFORK);
}
