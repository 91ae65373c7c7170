// AdamW: the host's version and a device's, Vulkan or CUDA, leave the same bits; stochastic rounding is unbiased; 8-bit
// moments train as f32 ones do.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/adamw_host.h"
#include "runtime/moment_code.h"
#include "runtime/program.h"
#include "runtime/random.h"
#include "runtime/stochastic.h"
#include "tests/suite.h"

enum { SEED = 20261121, COUNT = 5003, BLOCKS = (COUNT + DURE_MOMENT_BLOCK - 1) / DURE_MOMENT_BLOCK, STEPS = 3 };

typedef struct precision {
  const char *name;
  dure_dtype gradient, parameter, first, second;
  bool has_master, has_random;
} precision;

static const precision precisions[] = {
    {"f32", DURE_DTYPE_F32, DURE_DTYPE_F32, DURE_DTYPE_F32, DURE_DTYPE_F32, false, false},
    {"bf16 with a master", DURE_DTYPE_BF16, DURE_DTYPE_BF16, DURE_DTYPE_F32, DURE_DTYPE_F32, true, false},
    {"f16 with a master", DURE_DTYPE_F16, DURE_DTYPE_F16, DURE_DTYPE_F32, DURE_DTYPE_F32, true, false},
    {"f32 gradients, bf16", DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_BF16, DURE_DTYPE_BF16, false, true},
    {"f16, stochastic", DURE_DTYPE_F16, DURE_DTYPE_F16, DURE_DTYPE_F32, DURE_DTYPE_BF16, false, true},
    {"8-bit moments", DURE_DTYPE_F32, DURE_DTYPE_F32, DURE_DTYPE_U8, DURE_DTYPE_U8, false, false},
    {"8-bit moments, stochastic", DURE_DTYPE_F32, DURE_DTYPE_F32, DURE_DTYPE_U8, DURE_DTYPE_U8, false, true},
    {"bf16, 8-bit moments", DURE_DTYPE_BF16, DURE_DTYPE_BF16, DURE_DTYPE_U8, DURE_DTYPE_U8, false, true},
    {"bf16 with a master, one 8-bit moment", DURE_DTYPE_BF16, DURE_DTYPE_BF16, DURE_DTYPE_BF16, DURE_DTYPE_U8, true,
     true},
};
enum { PRECISION_COUNT = sizeof(precisions) / sizeof(precisions[0]) };

// The operands of the row, in its order; elements of 4 bytes at most.
enum { GRADIENT, STEP, STATE, RANDOM, PARAMETER, MASTER, FIRST, SECOND, FIRST_SCALES, SECOND_SCALES, OPERANDS };
typedef struct operands {
  dure_dtype type[OPERANDS];
  uint64_t count[OPERANDS];
  uint32_t data[OPERANDS][COUNT];
} operands;

static const dure_adamw_attributes attributes = {0.9f, 0.999f, 1e-8f, 0.1f, 1u << 20};

// Gradients of step t: magnitudes from 2^-110 to 1, some zero.
static void fill_gradient(operands *o, uint32_t t) {
  for (uint64_t i = 0; i < COUNT; i++) {
    const double normal = dure_random_normal(SEED, t, 1, i), power = -(double)(i % 23) * 5;
    dure_dtype_store(o->type[GRADIENT], o->data[GRADIENT], i, i % 29 == 0 ? 0 : normal * pow(2, power));
  }
}

static void prepare(const precision *p, operands *o) {
  memset(o, 0, sizeof(*o));
  const dure_dtype types[OPERANDS] = {p->gradient,
                                      DURE_DTYPE_F32,
                                      DURE_DTYPE_F32,
                                      p->has_random ? DURE_DTYPE_U32 : DURE_DTYPE_NONE,
                                      p->parameter,
                                      p->has_master ? DURE_DTYPE_F32 : DURE_DTYPE_NONE,
                                      p->first,
                                      p->second,
                                      p->first == DURE_DTYPE_U8 ? DURE_DTYPE_F32 : DURE_DTYPE_NONE,
                                      p->second == DURE_DTYPE_U8 ? DURE_DTYPE_F32 : DURE_DTYPE_NONE};
  const uint64_t counts[OPERANDS] = {COUNT, DURE_STEP_COUNT, DURE_STATE_COUNT, 4,     COUNT, COUNT,
                                     COUNT, COUNT,           BLOCKS,           BLOCKS};
  memcpy(o->type, types, sizeof(types));
  memcpy(o->count, counts, sizeof(counts));
  for (uint64_t i = 0; i < COUNT; i++) {
    dure_dtype_store(p->parameter, o->data[PARAMETER], i, 0.02 * dure_random_normal(SEED, 0, 0, i));
    const double value = dure_dtype_load(p->parameter, o->data[PARAMETER], i);
    if (p->has_master) dure_dtype_store(DURE_DTYPE_F32, o->data[MASTER], i, value);
  }
  const float state[DURE_STATE_COUNT] = {2, 0.37f, 1, 1};
  memcpy(o->data[STATE], state, sizeof(state));
  const uint32_t random[4] = {SEED, 7, 0, 9};
  memcpy(o->data[RANDOM], random, sizeof(random));
}

static void fill_step(operands *o, uint32_t t) {
  const float step[DURE_STEP_COUNT] = {3e-4f, (float)(1 / (1 - pow(0.9, t))), (float)(1 / (1 - pow(0.999, t))), 1};
  memcpy(o->data[STEP], step, sizeof(step));
  o->data[RANDOM][2] = t;
}

static uint64_t size_of(const operands *o, int i) { return o->count[i] * dure_dtype_size(o->type[i]); }

static void step_on_device(dure_device *device, dure_stream *stream, operands *o, bool with_small_limits) {
  dure_program *program = dure_program_create();
  dure_tensor tensors[OPERANDS] = {{0}};
  for (int i = 0; i < OPERANDS; i++) {
    if (o->type[i] == DURE_DTYPE_NONE) continue;
    tensors[i] = dure_tensor_external(program, "operand", o->type[i], 1, &o->count[i], DURE_LIFETIME_OUTPUT);
  }
  const dure_adamw_tensors named = {tensors[GRADIENT],     tensors[STEP],         tensors[STATE], tensors[RANDOM],
                                    tensors[PARAMETER],    tensors[MASTER],       tensors[FIRST], tensors[SECOND],
                                    tensors[FIRST_SCALES], tensors[SECOND_SCALES]};
  dure_adamw_with(program, &named, attributes);
  require(dure_program_check(program));
  const dure_limits before = device->info.limits;
  if (with_small_limits) device->info.limits.max_dispatch_flops = 20000;  // expand() makes parts
  dure_executable *executable = NULL;
  require(dure_program_compile(program, device, NULL, 0, NULL, &executable));
  device->info.limits = before;
  for (int i = 0; i < OPERANDS; i++) {
    if (tensors[i].index != 0)
      require(dure_executable_write(executable, stream, tensors[i], o->data[i], size_of(o, i)));
  }
  require(dure_executable_submit(executable, stream));
  for (int i = PARAMETER; i < OPERANDS; i++) {
    if (tensors[i].index != 0) require(dure_executable_read(executable, stream, tensors[i], o->data[i], size_of(o, i)));
  }
  dure_executable_destroy(executable);
  dure_program_destroy(program);
}

// In three ranges, the last first.
static void step_on_host(operands *o) {
  const dure_adamw_host_arrays arrays = {.gradient_type = o->type[GRADIENT],
                                         .parameter_type = o->type[PARAMETER],
                                         .first_type = o->type[FIRST],
                                         .second_type = o->type[SECOND],
                                         .gradient = o->data[GRADIENT],
                                         .parameter = o->data[PARAMETER],
                                         .master = o->type[MASTER] != 0 ? (float *)o->data[MASTER] : NULL,
                                         .first_moment = o->data[FIRST],
                                         .second_moment = o->data[SECOND],
                                         .first_scales = (float *)o->data[FIRST_SCALES],
                                         .second_scales = (float *)o->data[SECOND_SCALES]};
  const dure_adamw_host_step step =
      dure_adamw_host_step_of(&attributes, (const float *)o->data[STEP], (const float *)o->data[STATE],
                              o->type[RANDOM] != 0 ? o->data[RANDOM] : NULL);
  dure_adamw_host(&step, &arrays, 2048, COUNT - 2048);
  dure_adamw_host(&step, &arrays, 0, 256);
  dure_adamw_host(&step, &arrays, 256, 2048 - 256);
}

// ---- the host against devices ------------------------------------------------------------------------------------

static uint64_t differing(const operands *a, const operands *b, int index) {
  const size_t size = dure_dtype_size(a->type[index]);
  uint64_t count = 0;
  for (uint64_t i = 0; i < a->count[index] && size > 0; i++) {
    const uint8_t *left = (const uint8_t *)a->data[index] + i * size,
                  *right = (const uint8_t *)b->data[index] + i * size;
    count += memcmp(left, right, size) != 0 ? 1 : 0;
  }
  return count;
}

static void compare_with_host(dure_device *device, bool with_small_limits) {
  dure_stream *stream = NULL;
  require(dure_stream_create(device, &stream));
  operands *host = malloc(sizeof(*host)), *there = malloc(sizeof(*there));
  for (int i = 0; i < PRECISION_COUNT; i++) {
    prepare(&precisions[i], host);
    prepare(&precisions[i], there);
    for (uint32_t t = 1; t <= STEPS; t++) {
      fill_gradient(host, t);
      fill_gradient(there, t);
      fill_step(host, t);
      fill_step(there, t);
      step_on_host(host);
      step_on_device(device, stream, there, with_small_limits);
    }
    for (int k = PARAMETER; k < OPERANDS; k++) {
      ck_assert_msg(differing(host, there, k) == 0, "%s, %s: %llu of operand %d differ from the host's",
                    device->info.name, precisions[i].name, (unsigned long long)differing(host, there, k), k);
    }
  }
  free(host);
  free(there);
  dure_stream_destroy(stream);
}

// Compares where division and square root are correctly rounded: on the software drivers and on CUDA, whose kernels ask
// for it. Others are held to the tolerances of the conformance suite. False where there is no such device.
static bool compare_device(const char *identifier, bool with_small_limits) {
  dure_device *device = NULL;
  dure_status status = dure_device_open(identifier, &device);
  if (status != NULL) {
    dure_status_free(status);
    return false;
  }
  const bool is_exact = strcmp(device->info.backend, "cuda") == 0 || strstr(device->info.name, "llvmpipe") != NULL ||
                        strstr(device->info.name, "SwiftShader") != NULL;
  if (is_exact) {
    printf("compared with %s\n", device->info.name);
    compare_with_host(device, with_small_limits);
  }
  dure_device_close(device);
  return true;
}

START_TEST(the_host_and_exact_devices_leave_the_same_bits) {
  bool is_there = true;
  for (int i = 0; i < 4 && is_there; i++) {
    char identifier[32];
    snprintf(identifier, sizeof(identifier), "vulkan:%d", i);
    is_there = compare_device(identifier, _i == 1);
  }
  compare_device("cuda:0", _i == 1);
}
END_TEST

START_TEST(the_host_and_the_emulation_of_cuda_leave_the_same_bits) {
  const char *plugin = getenv("DURE_CUDA_EMULATED");
  if (plugin == NULL) return;  // no C++ compiler built it
  setenv("DURE_CUDA_PLUGIN", plugin, 1);
  ck_assert(compare_device("cuda:0", _i == 1));
}
END_TEST

START_TEST(nothing_changes_when_the_step_does_not_count) {
  operands *o = malloc(sizeof(*o)), *before = malloc(sizeof(*o));
  prepare(&precisions[7], o);
  fill_gradient(o, 1);
  fill_step(o, 1);
  ((float *)o->data[STATE])[DURE_STATE_FINITE] = 0;
  memcpy(before, o, sizeof(*o));
  step_on_host(o);
  ck_assert_mem_eq(o, before, sizeof(*o));
  free(o);
  free(before);
}
END_TEST

// ---- roundings ---------------------------------------------------------------------------------------------------

static double mean_of_rounded(dure_dtype type, float value) {
  enum { DRAWS = 20000 };
  double sum = 0;
  for (uint32_t i = 0; i < DRAWS; i += 4) {
    uint32_t words[4];
    dure_random_words(SEED, 0, 0, i, words);
    for (int k = 0; k < 4; k++) {
      const uint16_t bits = type == DURE_DTYPE_BF16 ? dure_bf16_round_stochastically(value, words[k])
                                                    : dure_f16_round_stochastically(value, words[k]);
      sum += dure_dtype_load(type, &bits, 0);
    }
  }
  return sum / DRAWS;
}

START_TEST(stochastic_rounding_is_right_on_average) {
  static const float values[] = {1.0f,        1.0001f, 1.00390625f, -1.0037f, 3.14159f,  -0.0123f, 6.1e-5f,
                                 -6.0999e-5f, 1e-6f,   3e-8f,       -5e-8f,   60000.25f, 0.0f};
  const dure_dtype types[] = {DURE_DTYPE_BF16, DURE_DTYPE_F16};
  for (size_t t = 0; t < 2; t++) {
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
      // One gap between neighbours, over the root of the draws, four deviations of a coin's 1/2.
      const double relative = t == 0 ? 0x1p-7 : 0x1p-10,
                   gap = fmax(fabs((double)values[i]) * relative, t == 0 ? 0 : 0x1p-24);
      ck_assert_double_le(fabs(mean_of_rounded(types[t], values[i]) - (double)values[i]), gap * 2 / sqrt(20000.0));
    }
  }
  ck_assert_uint_eq(dure_bf16_round_stochastically(INFINITY, UINT32_MAX), 0x7f80);
  ck_assert_uint_eq(dure_f16_round_stochastically(-INFINITY, UINT32_MAX), 0xfc00);
  ck_assert_uint_eq(dure_bf16_round_stochastically(NAN, UINT32_MAX) & 0x7fc0, 0x7fc0);
}
END_TEST

START_TEST(codes_of_moments_are_within_a_sixteenth_and_keep_what_is_above_zero) {
  for (uint32_t code = 0; code < 256; code++) {
    ck_assert_uint_eq(dure_second_moment_encode(dure_second_moment_decode((uint8_t)code, 1), DURE_MOMENT_NEAREST),
                      code);
    if (code == 0x80) continue;  // minus zero
    ck_assert_uint_eq(dure_first_moment_encode(dure_first_moment_decode((uint8_t)code, 1), DURE_MOMENT_NEAREST), code);
  }
  float x = 1;
  for (int i = 0; i < 700; i++) {  // down to 2^-31
    const float back = dure_second_moment_decode(dure_second_moment_encode(x, DURE_MOMENT_NEAREST), 1);
    ck_assert_float_le(fabsf(back - x), x / 16);
    x *= 0.97f;
  }
  ck_assert_uint_eq(dure_second_moment_encode(1e-30f, DURE_MOMENT_NEAREST), 1);
  ck_assert_uint_eq(dure_first_moment_encode(-1e-30f, DURE_MOMENT_NEAREST), 0);
}
END_TEST

// ---- training ----------------------------------------------------------------------------------------------------

// Minimises a noisy quadratic with curvatures over three decades on the reference device; returns the loss it ends at.
static double train(const precision *p, dure_device *device, dure_stream *stream) {
  enum { TRAINING_STEPS = 300 };
  operands *o = malloc(sizeof(*o));
  prepare(p, o);
  ((float *)o->data[STATE])[DURE_STATE_SCALE] = 1;
  double loss = 0;
  for (uint32_t t = 1; t <= TRAINING_STEPS; t++) {
    fill_step(o, t);
    ((float *)o->data[STEP])[0] = 0.02f * (1 - (float)t / (TRAINING_STEPS + 1));
    loss = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
      const double curvature = pow(10, -(double)(i % 4)), target = (double)(i % 7) / 7;
      const double x = dure_dtype_load(DURE_DTYPE_F32, o->data[PARAMETER], i) - target;
      loss += 0.5 * curvature * x * x;
      dure_dtype_store(DURE_DTYPE_F32, o->data[GRADIENT], i, curvature * (x + 0.3 * dure_random_normal(SEED, t, 2, i)));
    }
    step_on_device(device, stream, o, false);
  }
  free(o);
  return loss / COUNT;
}

START_TEST(moments_of_8_bits_train_close_to_f32) {
  dure_device *device = NULL;
  dure_stream *stream = NULL;
  require(dure_device_open("reference", &device));
  require(dure_stream_create(device, &stream));
  const double f32 = train(&precisions[0], device, stream), nearest = train(&precisions[5], device, stream);
  const double stochastic = train(&precisions[6], device, stream);
  printf("loss after training: %.5g in f32, %.5g with 8-bit moments, %.5g stochastically\n", f32, nearest, stochastic);
  ck_assert_double_le(fabs(stochastic - f32), 0.05 * f32);
  ck_assert_double_le(nearest, 1.5 * f32);
  dure_stream_destroy(stream);
  dure_device_close(device);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("adamw");
  TCase *test_case = tcase_create("adamw");
  tcase_add_loop_test(test_case, the_host_and_exact_devices_leave_the_same_bits, 0, 2);
  tcase_add_loop_test(test_case, the_host_and_the_emulation_of_cuda_leave_the_same_bits, 0, 2);
  tcase_add_test(test_case, nothing_changes_when_the_step_does_not_count);
  tcase_add_test(test_case, stochastic_rounding_is_right_on_average);
  tcase_add_test(test_case, codes_of_moments_are_within_a_sixteenth_and_keep_what_is_above_zero);
  tcase_add_test(test_case, moments_of_8_bits_train_close_to_f32);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
