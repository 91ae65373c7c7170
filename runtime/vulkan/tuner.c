// Finding the fastest variant of matmul and attention for each class of shapes by trying them all (dure_device_tune).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"
#include "runtime/tune.h"
#include "runtime/vulkan/attention_matrix.h"
#include "runtime/vulkan/internal.h"

// A variant must beat the table's choice twice by this much: below it is noise.
static const double least_speedup = 1.03;
// A variant so much slower than the best on the smallest shape of a group is not tried on the group's others.
static const double hopeless_slowdown = 2;

// One shape stands for its class (vulkan_tuning_class_of, of matmul; vulkan_tuning_class_of_attention).
typedef struct tuned_shape {
  dure_op op;  // matmul, attention or attention_gradient
  dure_dtype dtype;
  bool transpose_a, transpose_b;
  uint64_t M, N, K;
  uint64_t positions, head_size;
  bool is_first_of_group;
} tuned_shape;

enum { MOST_SHAPES = 256, MOST_VARIANTS = 64 };

// Groups differ in all but the widths of the layers; the smallest shape of a group comes first. Layers between 384 and
// 3072 wide; rows for decoding one token and a few, for short prompts, and for training. The transposed first operand
// is a weight's gradient, whose sum is over the tokens.
static size_t list_products(dure_device *device, tuned_shape *shapes) {
  static const uint64_t widths[] = {384, 1024, 3072};
  const bool is_software = device->info.kind == DURE_DEVICE_CPU;
  const uint64_t rows[] = {1, 16, 64, is_software ? 256 : 2048};
  const bool has_16_bit = dure_vulkan_op(device, DURE_OP_matmul)->takes_16_bit;
  size_t count = 0;
  for (int type = 0; type < (has_16_bit ? 2 : 1); type++) {
    for (size_t m = 0; m < 4; m++) {
      for (int transposes = 0; transposes < (m == 3 ? 3 : 2); transposes++) {
        for (size_t i = 0; i < 9; i++) {
          shapes[count++] = (tuned_shape){.op = DURE_OP_matmul,
                                          .transpose_a = transposes == 2,
                                          .transpose_b = transposes == 1,
                                          .dtype = type == 0 ? DURE_DTYPE_F32 : DURE_DTYPE_BF16,
                                          .M = rows[m],
                                          .N = widths[i / 3],
                                          .K = widths[i % 3],
                                          .is_first_of_group = i == 0};
        }
      }
    }
  }
  return count;
}

// Attention on GPUs: on software drivers there is one tier for all that it can run.
static size_t list_attention(dure_device *device, tuned_shape *shapes) {
  static const uint64_t head_sizes[] = {32, 64, 96, 128, 256};
  static const dure_op ops[] = {DURE_OP_attention, DURE_OP_attention_gradient};
  // A device made of this machine's cores, driven like a GPU (a profile), gets as little as its speed allows.
  const uint64_t positions = device->info.kind == DURE_DEVICE_CPU ? 64 : 1024;
  size_t count = 0;
  if (dure_vulkan_is_software(device)) return 0;
  for (int type = 0; type < 2; type++) {
    for (size_t op = 0; op < 2; op++) {
      if (type == 1 && !dure_vulkan_op(device, ops[op])->takes_16_bit) continue;
      for (size_t i = 0; i < sizeof(head_sizes) / sizeof(head_sizes[0]); i++) {
        shapes[count++] = (tuned_shape){.op = ops[op],
                                        .dtype = type == 0 ? DURE_DTYPE_F32 : DURE_DTYPE_BF16,
                                        .positions = positions,
                                        .head_size = head_sizes[i],
                                        .is_first_of_group = true};
      }
    }
  }
  return count;
}

// ---- variants ----------------------------------------------------------------------------------------------------

// NULL behind the last.
static const char *variant_name(dure_op op, size_t i) {
  if (op == DURE_OP_matmul) return dure_vulkan_matmul_variant_name(i);
  if (i < DURE_ATTENTION_MATRIX_COUNT) return dure_vulkan_attention_matrices[i].name;
  return dure_vulkan_attention_tier_name(i - DURE_ATTENTION_MATRIX_COUNT);
}

// The shape as the table of variants sees it: contiguous, everything aligned.
static dure_vulkan_matmul_problem problem_of(const tuned_shape *s) {
  const uint64_t size = dure_dtype_size(s->dtype);
  return (dure_vulkan_matmul_problem){.M = (uint32_t)s->M,
                                      .N = (uint32_t)s->N,
                                      .K = (uint32_t)s->K,
                                      .batch = 1,
                                      .transpose_a = s->transpose_a,
                                      .transpose_b = s->transpose_b,
                                      .a_stride = (uint32_t)(s->transpose_a ? s->M : s->K),
                                      .b_stride = (uint32_t)(s->transpose_b ? s->K : s->N),
                                      .a_in_quads = true,
                                      .b_in_quads = true,
                                      .c_in_quads = true,
                                      .a_in_lines = true,
                                      .b_in_lines = true,
                                      .is_16_bit = s->dtype != DURE_DTYPE_F32,
                                      .is_bfloat16 = s->dtype == DURE_DTYPE_BF16,
                                      .a_bytes = s->M * s->K * size,
                                      .b_bytes = s->N * s->K * size};
}

static void set_candidate(vulkan_device *device, dure_op op, const char *variant) {
  snprintf(device->tuning.candidate, sizeof(device->tuning.candidate), "%s", variant != NULL ? variant : "");
  device->tuning.candidate_op = op;
}

static const char *attention_chosen(const dure_device *device, const tuned_shape *shape) {
  const dure_vulkan_attention_pass pass =
      shape->op == DURE_OP_attention_gradient ? DURE_VULKAN_ATTENTION_GRADIENT_Q : DURE_VULKAN_ATTENTION_FORWARD;
  const dure_vulkan_attention_matrix *matrix =
      dure_vulkan_attention_matrix_choose(device, pass, shape->dtype, shape->head_size);
  return matrix != NULL ? matrix->name
                        : dure_vulkan_attention_choose(device, shape->dtype, shape->head_size, pass)->name;
}

// The variant that runs when this one is asked for: another where it cannot. NULL: the table's choice.
static const char *variant_run(vulkan_device *device, const tuned_shape *shape, const char *wanted) {
  const dure_vulkan_matmul_problem problem = problem_of(shape);
  set_candidate(device, shape->op, wanted);
  const char *name = shape->op == DURE_OP_matmul ? dure_vulkan_matmul_choose(&device->head, &problem)->name
                                                 : attention_chosen(&device->head, shape);
  set_candidate(device, shape->op, NULL);
  return name;
}

// Times the shape with a variant; NULL: with the table's choice.
static dure_status time_variant(vulkan_device *device, dure_stream *stream, const tuned_shape *s, const char *variant,
                                double *out_seconds) {
  set_candidate(device, s->op, variant);
  dure_status status = s->op == DURE_OP_matmul ? dure_tune_time_matmul(&device->head, stream, s->dtype, s->transpose_a,
                                                                       s->transpose_b, s->M, s->N, s->K, out_seconds)
                                               : dure_tune_time_attention(&device->head, stream, s->dtype,
                                                                          s->op == DURE_OP_attention_gradient,
                                                                          s->positions, s->head_size, out_seconds);
  set_candidate(device, s->op, NULL);
  return status;
}

// The fastest variant, or NULL when none is clearly faster than the table's choice.
static dure_status find_winner(vulkan_device *device, dure_stream *stream, const tuned_shape *shape,
                               bool is_hopeless[MOST_VARIANTS], const char **out_variant, double *out_seconds,
                               double *out_usual) {
  *out_variant = NULL;
  DURE_TRY(time_variant(device, stream, shape, NULL, out_usual));
  *out_seconds = *out_usual;
  const char *variant = NULL, *usual = variant_run(device, shape, NULL);
  for (size_t i = 0; i < MOST_VARIANTS && (variant = variant_name(shape->op, i)) != NULL; i++) {
    if (shape->is_first_of_group) is_hopeless[i] = false;
    const bool can_run = strcmp(variant_run(device, shape, variant), variant) == 0;
    if (is_hopeless[i] || !can_run || strcmp(variant, usual) == 0) continue;
    double seconds = 0;
    DURE_TRY(time_variant(device, stream, shape, variant, &seconds));
    if (seconds > *out_seconds * hopeless_slowdown) is_hopeless[i] = true;
    if (seconds >= *out_seconds) continue;
    *out_seconds = seconds;
    *out_variant = variant;
  }
  if (*out_variant == NULL || *out_usual < *out_seconds * least_speedup) {
    *out_variant = NULL;
    return NULL;
  }
  double usual_again = 0, seconds = 0;
  DURE_TRY(time_variant(device, stream, shape, NULL, &usual_again));
  DURE_TRY(time_variant(device, stream, shape, *out_variant, &seconds));
  if (usual_again < *out_usual) *out_usual = usual_again;
  if (seconds > *out_seconds) *out_seconds = seconds;
  if (*out_usual < *out_seconds * least_speedup) *out_variant = NULL;
  return NULL;
}

static vulkan_tuning_class class_of(const tuned_shape *s) {
  const bool is_16_bit = s->dtype != DURE_DTYPE_F32;
  if (s->op == DURE_OP_matmul)
    return vulkan_tuning_class_of(s->M, s->N, s->K, s->transpose_a, s->transpose_b, is_16_bit);
  return vulkan_tuning_class_of_attention(s->op, s->head_size, is_16_bit);
}

static void describe(const tuned_shape *s, char *text, size_t size) {
  const char *type = s->dtype == DURE_DTYPE_F32 ? "f32" : "16-bit";
  if (s->op != DURE_OP_matmul) {
    snprintf(text, size, "%s %llu positions, heads of %llu, %s", dure_op_get(s->op)->name,
             (unsigned long long)s->positions, (unsigned long long)s->head_size, type);
    return;
  }
  snprintf(text, size, "matmul %c%c %llu x %llu x %llu %s", s->transpose_a ? 't' : 'n', s->transpose_b ? 't' : 'n',
           (unsigned long long)s->M, (unsigned long long)s->N, (unsigned long long)s->K, type);
}

static dure_status tune_shapes(vulkan_device *device, dure_stream *stream, dure_tune_sink sink, void *context,
                               vulkan_tuning *tuning) {
  tuned_shape shapes[MOST_SHAPES];
  bool is_hopeless[MOST_VARIANTS] = {false};
  size_t count = list_products(&device->head, shapes);
  count += list_attention(&device->head, shapes + count);
  for (size_t i = 0; i < count; i++) {
    const char *winner = NULL;
    double seconds = 0, usual = 0;
    DURE_TRY(find_winner(device, stream, &shapes[i], is_hopeless, &winner, &seconds, &usual));
    if (winner != NULL) DURE_TRY(vulkan_tuning_set(tuning, class_of(&shapes[i]).text, winner, usual / seconds));
    char shape[96];
    describe(&shapes[i], shape, sizeof(shape));
    const dure_tune_result result = {
        .shape = shape, .chosen = winner, .seconds = seconds, .usual_seconds = usual, .index = i, .count = count};
    if (sink != NULL) sink(context, &result);
  }
  return NULL;
}

static dure_status store(vulkan_device *device, const vulkan_tuning *tuning, char **out_path) {
  char *text = NULL, *path = vulkan_tuning_path(&device->capabilities, &device->plan);
  if (path == NULL) return NULL;
  dure_status status = vulkan_tuning_format(tuning, device->head.info.name, device->head.info.driver, &text);
  if (status == NULL) status = dure_os_write_file(path, text, strlen(text));
  free(text);
  if (status != NULL) {
    free(path);
    return status;
  }
  *out_path = path;
  return NULL;
}

dure_status vulkan_tune(dure_device *head, dure_tune_sink sink, void *context, char **out_path) {
  vulkan_device *device = vulkan_device_of(head);
  *out_path = NULL;
  dure_stream *stream = NULL;
  DURE_TRY(dure_stream_create(head, &stream));
  vulkan_tuning_release(&device->tuning);  // what was measured before must not bear on what is measured now
  vulkan_tuning made = {.measured = dure_os_unix_seconds()};
  dure_status status = tune_shapes(device, stream, sink, context, &made);
  if (status == NULL) {
    device->tuning = made;  // the rates are those of the winners
    status = dure_tune_rates(head, stream, &device->tuning.rates);
    if (status == NULL) status = store(device, &device->tuning, out_path);
    made = (vulkan_tuning){0};
  }
  if (status == NULL && device->plan.profile == NULL) {
    head->info.rates = device->tuning.rates;
    snprintf(head->info.rates.source, sizeof(head->info.rates.source), "measured by dure tune");
  }
  vulkan_tuning_release(&made);
  dure_stream_destroy(stream);
  return status;
}
