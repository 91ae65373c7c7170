#include "runtime/vulkan/attention_selftest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/log.h"
#include "runtime/random.h"

// ---- one call ----------------------------------------------------------------------------------------------------

enum { H = 2, G = 1, SLOTS = 11 };  // heads, of keys; operands of the longer op
// Places in the calls of both ops; the forward pass writes Y and LOG_SUM_EXP, the gradient reads them.
enum { Q, K, V, Y = 5, LOG_SUM_EXP, DY, DQ, DK, DV };

typedef struct trial {
  const dure_vulkan_attention_problem *problem;
  bool is_gradient;
  dure_dtype dtype;
  uint32_t T, D, window;
  double scale;
  uint64_t count[SLOTS];     // elements of each tensor; 0: none
  double *exact[SLOTS];      // what they hold or, of outputs, should hold
  double *magnitude[SLOTS];  // of an output's element: its terms' absolute values summed
  void *stored[SLOTS];       // as uploaded and downloaded
  dure_buffer *buffers[SLOTS], *workspace;
  dure_stream *stream;
  dure_recording *recording;
  dure_op_call call;
} trial;

static void trial_release(trial *t) {
  dure_recording_destroy(t->recording);
  dure_stream_destroy(t->stream);
  dure_buffer_destroy(t->workspace);
  for (int i = 0; i < SLOTS; i++) {
    dure_buffer_destroy(t->buffers[i]);
    free(t->exact[i]);
    free(t->magnitude[i]);
    free(t->stored[i]);
  }
}

static dure_dtype type_of(const trial *t, int slot) { return slot == LOG_SUM_EXP ? DURE_DTYPE_F32 : t->dtype; }
static bool is_output(const trial *t, int slot) {
  return t->is_gradient ? slot >= DQ : slot == Y || slot == LOG_SUM_EXP;
}

static dure_status trial_allocate(trial *t) {
  const uint64_t of_queries = (uint64_t)t->T * H * t->D, of_keys = (uint64_t)t->T * G * t->D;
  t->count[Q] = t->count[Y] = of_queries;
  t->count[K] = t->count[V] = of_keys;
  t->count[LOG_SUM_EXP] = (uint64_t)t->T * H;
  if (t->is_gradient) {
    t->count[DY] = t->count[DQ] = of_queries;
    t->count[DK] = t->count[DV] = of_keys;
  }
  for (int i = 0; i < SLOTS; i++) {
    if (t->count[i] == 0) continue;
    t->exact[i] = calloc(t->count[i], sizeof(double));
    t->magnitude[i] = calloc(t->count[i], sizeof(double));
    t->stored[i] = calloc(t->count[i], sizeof(float));
    if (t->exact[i] == NULL || t->magnitude[i] == NULL || t->stored[i] == NULL) {
      return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to test matrix units");
    }
  }
  return NULL;
}

// Multiples of 1/64 within [-2, 2): both types hold them.
static void draw(trial *t, int slot) {
  for (uint64_t i = 0; i < t->count[slot]; i++) {
    uint32_t words[4];
    dure_random_words((uint64_t)slot + 1, 0, 0, i / 4, words);
    t->exact[slot][i] = (double)((int32_t)(words[i % 4] % 255) - 127) / 64;
  }
}

// ---- what is right -----------------------------------------------------------------------------------------------

static double dot(const double *a, const double *b, uint32_t count, double *out_magnitude) {
  double sum = 0;
  *out_magnitude = 0;
  for (uint32_t i = 0; i < count; i++) {
    sum += a[i] * b[i];
    *out_magnitude += fabs(a[i] * b[i]);
  }
  return sum;
}

static void add_scaled(const trial *t, int slot, uint64_t row, double factor, double factor_size,
                       const double *values) {
  for (uint32_t d = 0; d < t->D; d++) {
    t->exact[slot][row * t->D + d] += factor * values[d];
    t->magnitude[slot][row * t->D + d] += factor_size * fabs(values[d]);
  }
}

// Rounds an element as the type holds it: the gradient reads y so.
static double rounded(dure_dtype dtype, double value) {
  uint16_t bits[2];
  dure_dtype_store(dtype, bits, 0, value);
  return dure_dtype_load(dtype, bits, 0);
}

// Query `row` = t H + h: its output and log_sum_exp; then, in a gradient, what it adds to dq, dk and dv. `p` [T].
static void compute_query(trial *t, uint32_t position, uint32_t h, double *p) {
  const uint64_t row = (uint64_t)position * H + h, sum_at = (uint64_t)h * t->T + position;
  const double *q = t->exact[Q] + row * t->D;
  const uint32_t first = position + 1 > t->window ? position + 1 - t->window : 0;
  double sum = 0, size = 0, largest_size = 0;
  for (uint32_t s = first; s <= position; s++) {
    p[s] = exp(dot(q, t->exact[K] + (uint64_t)s * t->D, t->D, &size) * t->scale);
    largest_size = fmax(largest_size, size * t->scale);
    sum += p[s];
  }
  t->exact[LOG_SUM_EXP][sum_at] = log(sum);
  t->magnitude[LOG_SUM_EXP][sum_at] = 1 + fabs(log(sum)) + largest_size;
  for (uint32_t s = first; s <= position; s++) {
    p[s] /= sum;
    add_scaled(t, Y, row, p[s], p[s], t->exact[V] + (uint64_t)s * t->D);
  }
  if (!t->is_gradient) return;
  const double *dy = t->exact[DY] + row * t->D;
  double *y = t->exact[Y] + row * t->D;
  for (uint32_t d = 0; d < t->D; d++) y[d] = rounded(t->dtype, y[d]);
  double delta_size = 0;
  const double delta = dot(dy, y, t->D, &delta_size);
  for (uint32_t s = first; s <= position; s++) {
    const double dp = dot(dy, t->exact[V] + (uint64_t)s * t->D, t->D, &size);
    const double ds = p[s] * (dp - delta) * t->scale, ds_size = p[s] * (size + delta_size) * t->scale;
    add_scaled(t, DQ, row, ds, ds_size, t->exact[K] + (uint64_t)s * t->D);
    add_scaled(t, DK, s, ds, ds_size, q);
    add_scaled(t, DV, s, p[s], p[s], dy);
  }
}

static dure_status compute(trial *t) {
  double *p = calloc(t->T, sizeof(double));
  if (p == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to test matrix units");
  for (uint32_t position = 0; position < t->T; position++) {
    for (uint32_t h = 0; h < H; h++) compute_query(t, position, h, p);
  }
  free(p);
  return NULL;
}

// ---- what the device does ----------------------------------------------------------------------------------------

static dure_status trial_upload(dure_device *device, trial *t) {
  static const char name[] = "test of matrix units";
  DURE_TRY(dure_stream_create(device, &t->stream));
  DURE_TRY(dure_recording_create(device, name, 0, &t->recording));
  const uint64_t workspace_bytes = 4 * t->count[LOG_SUM_EXP];
  DURE_TRY(dure_buffer_create(device, workspace_bytes, DURE_MEMORY_DEVICE, name, &t->workspace));
  t->call.workspace = (dure_operand){.dtype = DURE_DTYPE_U8, .rank = 1, .buffer = t->workspace};
  dure_operand_set_shape(&t->call.workspace, 1, &workspace_bytes);
  for (int i = 0; i < SLOTS; i++) {
    if (t->count[i] == 0) continue;
    const uint64_t bytes = (t->count[i] * dure_dtype_size(type_of(t, i)) + 3) / 4 * 4;
    DURE_TRY(dure_buffer_create(device, bytes, DURE_MEMORY_DEVICE, name, &t->buffers[i]));
    t->call.operands[i] = (dure_operand){.dtype = type_of(t, i), .buffer = t->buffers[i]};
    const uint64_t rows[4] = {1, t->T, i == K || i == V || i == DK || i == DV ? G : H, t->D}, sums[3] = {1, H, t->T};
    dure_operand_set_shape(&t->call.operands[i], i == LOG_SUM_EXP ? 3 : 4, i == LOG_SUM_EXP ? sums : rows);
    if (is_output(t, i)) {  // NaN in every type: an element that is not written is seen
      DURE_TRY(dure_recording_fill(t->recording, t->buffers[i], 0, bytes, 0x7fff7fffu));
      continue;
    }
    for (uint64_t e = 0; e < t->count[i]; e++) dure_dtype_store(type_of(t, i), t->stored[i], e, t->exact[i][e]);
    DURE_TRY(dure_stream_upload(t->stream, t->buffers[i], 0, t->stored[i], bytes));
  }
  return NULL;
}

static dure_status trial_run(dure_device *device, const dure_vulkan_attention_matrix *matrix, trial *t) {
  DURE_TRY(trial_upload(device, t));
  t->call.op = t->is_gradient ? DURE_OP_attention_gradient : DURE_OP_attention;
  t->call.attributes.attention = (dure_attention_attributes){.scale = (float)t->scale, .window = t->window};
  DURE_TRY(dure_vulkan_attention_matrix_record(device, t->recording, &t->call, matrix));
  DURE_TRY(dure_recording_finish(t->recording));
  DURE_TRY(dure_stream_submit(t->stream, &t->recording, 1, NULL, 0, NULL, 0, NULL));
  for (int i = 0; i < SLOTS; i++) {
    if (t->count[i] == 0 || !is_output(t, i)) continue;
    const uint64_t bytes = (t->count[i] * dure_dtype_size(type_of(t, i)) + 3) / 4 * 4;
    DURE_TRY(dure_stream_download(t->stream, t->buffers[i], 0, t->stored[i], bytes, NULL));
  }
  return NULL;
}

static dure_status trial_check(const trial *t) {
  static const char *const names[SLOTS] = {
      [Y] = "y", [LOG_SUM_EXP] = "log_sum_exp", [DQ] = "dq", [DK] = "dk", [DV] = "dv"};
  for (int i = 0; i < SLOTS; i++) {
    if (t->count[i] == 0 || !is_output(t, i)) continue;
    // Weights, and results, are rounded once each; 1e-5 is for sums and exponentials in f32.
    const double unit = i == LOG_SUM_EXP ? 1e-5 : t->problem->is_bfloat16 ? 3 * 0x1p-8 : 3 * 0x1p-11;
    for (uint64_t e = 0; e < t->count[i]; e++) {
      const double found = dure_dtype_load(type_of(t, i), t->stored[i], e);
      if (fabs(found - t->exact[i][e]) <= unit * t->magnitude[i][e] + 1e-6) continue;  // false for NaN
      return dure_fail(DURE_UNSUPPORTED,
                       "element %llu of %s, %u positions of heads of %u elements, is %.9g instead of %.9g",
                       (unsigned long long)e, names[i], t->T, t->D, found, t->exact[i][e]);
    }
  }
  return NULL;
}

dure_status dure_vulkan_attention_test(dure_device *device, const dure_vulkan_attention_matrix *matrix,
                                       const dure_vulkan_attention_problem *problem) {
  trial t = {.problem = problem,
             .is_gradient = problem->pass != DURE_VULKAN_ATTENTION_FORWARD,
             .dtype = problem->is_bfloat16 ? DURE_DTYPE_BF16 : DURE_DTYPE_F16,
             .T = matrix->subgroups * matrix->part_rows + matrix->others + 5,
             .D = problem->head_size,
             .window = matrix->others + matrix->others / 2 + 3,
             .scale = 1 / sqrt((double)problem->head_size)};
  dure_status status = trial_allocate(&t);
  if (status == NULL) {
    for (int i = Q; i <= V; i++) draw(&t, i);
    if (t.is_gradient) draw(&t, DY);
    status = compute(&t);
  }
  if (status == NULL) status = trial_run(device, matrix, &t);
  if (status == NULL) status = trial_check(&t);
  trial_release(&t);
  return status;
}

// ---- verdicts ----------------------------------------------------------------------------------------------------

bool dure_vulkan_attention_is_trusted(dure_device *device, const dure_vulkan_attention_matrix *matrix,
                                      const dure_vulkan_attention_problem *problem) {
  const bool is_gradient = problem->pass != DURE_VULKAN_ATTENTION_FORWARD;
  const uint32_t word =
      (uint32_t)(matrix - dure_vulkan_attention_matrices) * 4 + problem->is_bfloat16 * 2u + is_gradient;
  const uint32_t bit =
      (problem->head_size - 1) / 4;  // the kernel is the same for heads that are padded to the same size
  dure_vulkan_trust *trust = dure_vulkan_device_trust(device);
  if (word >= DURE_VULKAN_ATTENTION_TRUST || bit >= 64) return false;
  if (!(trust->attention_tested[word] >> bit & 1)) {
    trust->attention_tested[word] |= 1ull << bit;
    dure_status status = dure_vulkan_attention_test(device, matrix, problem);
    const dure_vulkan_kernel_name name = dure_vulkan_attention_matrix_kernel(problem);
    if (status == NULL) {
      trust->attention_passed[word] |= 1ull << bit;
      dure_log(DURE_LOG_DEBUG, "matrix units: %s (%s, heads of %u) computes rightly", matrix->name, name.text,
               problem->head_size);
    } else {
      dure_log(DURE_LOG_WARNING, "matrix units are not used for %s (%s, heads of %u): %s", matrix->name, name.text,
               problem->head_size, dure_status_message(status));
    }
    dure_status_free(status);
  }
  return trust->attention_passed[word] >> bit & 1;
}
