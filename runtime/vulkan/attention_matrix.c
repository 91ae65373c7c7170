#include "runtime/vulkan/attention_matrix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/attention_selftest.h"
#include "runtime/vulkan/matmul_selftest.h"
#include "runtime/vulkan/tuning.h"

// ---- rows --------------------------------------------------------------------------------------------------------

// In order of preference. Shared memory (KiB) with heads of 64 / 128 / 256, forward and gradient: two tiles and one or
// two slots a subgroup. Registers of an invocation in subgroups of 32, forward: head_size / 2 for the sums,
// head_size / 4 for the own rows; dk and dv take head_size + head_size / 2. No row has been timed on a GPU yet.
// clang-format off
const dure_vulkan_attention_matrix dure_vulkan_attention_matrices[DURE_ATTENTION_MATRIX_COUNT] = {
    // name, subgroups, part_rows, others, most_head, most_head_gradient
    {"cooperative_64x64", 4, 16, 64,  64,  64},  // 35 / 51 / -, 52 / - / -: fewer barriers
    {"cooperative_64x32", 4, 16, 32, 256, 128},  // 18 / 26 / 42, 27 / 35 / 51
    {"cooperative_32x32", 2, 16, 32, 256, 256},  // 14 / 22 / 38, 18 / 26 / 42
    {"cooperative_32x16", 2, 16, 16, 256, 256},  //  8 / 12 / 20, 11 / 15 / 24: where shared memory is short
};
// clang-format on

static bool is_gradient(dure_vulkan_attention_pass pass) { return pass != DURE_VULKAN_ATTENTION_FORWARD; }

// The largest product that divides the row's parts; NULL when the driver offers none.
static const dure_vulkan_matrix_shape *matrix_shape(const dure_vulkan_caps *caps,
                                                    const dure_vulkan_attention_matrix *matrix, bool is_bfloat16) {
  const dure_vulkan_matrix_shape *best = NULL;
  for (uint32_t i = 0; i < caps->matrix_shape_count; i++) {
    const dure_vulkan_matrix_shape *s = &caps->matrix_shapes[i];
    if (s->is_bfloat16 != is_bfloat16 || s->M % 8 != 0 || s->N % 8 != 0 || s->K % 8 != 0) continue;
    if (matrix->part_rows % s->M != 0 || matrix->others % s->N != 0 || matrix->others % s->K != 0) continue;
    if (best == NULL || s->M * s->N * s->K > best->M * best->N * best->K) best = s;
  }
  return best;
}

// ---- constants ---------------------------------------------------------------------------------------------------

static uint32_t largest(uint32_t a, uint32_t b) { return a > b ? a : b; }

// The head, to whole matrices.
static uint32_t padded_head(const dure_vulkan_matrix_shape *shape, uint32_t head_size) {
  const uint32_t step = largest(shape->N, shape->K);
  return (head_size + step - 1) / step * step;
}

// Shared memory in groups of 16 bytes, laid out as in shaders/lib/attention_matrix.glsl: the own rows pass through it
// first, then two tiles and one slot a subgroup, two in gradients.
static uint32_t pool(const dure_vulkan_attention_matrix *matrix, const dure_vulkan_matrix_shape *shape,
                     const dure_vulkan_attention_problem *problem) {
  const uint32_t rows = matrix->subgroups * matrix->part_rows;
  const uint32_t pitch = padded_head(shape, problem->head_size) / 8 / 2 * 2 + 1;
  const uint32_t slot_pitch = matrix->others / 8 + largest(matrix->others / 8, shape->N / 4) + 1;
  const uint32_t slots = rows * slot_pitch * (is_gradient(problem->pass) ? 2 : 1);
  return largest(rows * pitch, 2 * matrix->others * pitch + slots);
}

dure_vulkan_kernel_name dure_vulkan_attention_matrix_kernel(const dure_vulkan_attention_problem *problem) {
  static const char *const bases[] = {"attention", "attention_gradient_q", "attention_gradient_kv"};
  dure_vulkan_kernel_name name;
  snprintf(name.text, sizeof(name.text), "%s_cooperative_%s", bases[problem->pass],
           problem->is_bfloat16 ? "bf16" : "f16");
  return name;
}

void dure_vulkan_attention_matrix_constants(const dure_device *device, const dure_vulkan_attention_matrix *matrix,
                                            const dure_vulkan_attention_problem *problem, bool in_eights,
                                            uint32_t constants[DURE_ATTENTION_MATRIX_CONSTANTS]) {
  const dure_vulkan_caps *caps = dure_vulkan_device_caps(device);
  const dure_vulkan_matrix_shape *shape = matrix_shape(caps, matrix, problem->is_bfloat16);
  uint32_t at = 5;
  constants[at++] = in_eights;
  constants[at++] = matrix->subgroups * caps->matrix_subgroup_size;
  constants[at++] = caps->matrix_subgroup_size;
  constants[at++] = matrix->subgroups * matrix->part_rows;
  constants[at++] = matrix->others;
  constants[at++] = matrix->part_rows;
  constants[at++] = padded_head(shape, problem->head_size);
  constants[at++] = pool(matrix, shape, problem);
  constants[at++] = shape->M;
  constants[at++] = shape->N;
  constants[at++] = shape->K;
}

// ---- choices -----------------------------------------------------------------------------------------------------

bool dure_vulkan_attention_matrix_fits(const dure_device *device, const dure_vulkan_attention_matrix *matrix,
                                       const dure_vulkan_attention_problem *problem) {
  enum { FLAGS_BYTES = 16, SUMS_BYTES = 12 };  // the flags; of a query in the pass for dk and dv
  const dure_vulkan_caps *caps = dure_vulkan_device_caps(device);
  const dure_vulkan_matrix_shape *shape = matrix_shape(caps, matrix, problem->is_bfloat16);
  if (shape == NULL) return false;
  if (problem->head_size > (is_gradient(problem->pass) ? matrix->most_head_gradient : matrix->most_head)) return false;
  const uint32_t subgroup = caps->matrix_subgroup_size;
  if (subgroup > matrix->part_rows * matrix->others / 4) return false;  // each invocation has a four of a score's row
  if (matrix->subgroups * subgroup > caps->max_invocations) return false;
  if (16 * pool(matrix, shape, problem) + FLAGS_BYTES + SUMS_BYTES * matrix->others > caps->shared_bytes) return false;
  return dure_vulkan_device_has_kernel(device, dure_vulkan_attention_matrix_kernel(problem).text);
}

static bool can_run(const dure_device *device, const dure_vulkan_attention_matrix *matrix,
                    dure_vulkan_attention_problem problem) {
  if (!dure_vulkan_attention_matrix_fits(device, matrix, &problem)) return false;
  if (!is_gradient(problem.pass)) return dure_vulkan_attention_is_trusted((dure_device *)device, matrix, &problem);
  problem.pass = DURE_VULKAN_ATTENTION_GRADIENT_K_V;
  return dure_vulkan_attention_matrix_fits(device, matrix, &problem) &&
         dure_vulkan_attention_is_trusted((dure_device *)device, matrix, &problem);
}

// The first row of the table that can run; of that name, unless it is NULL.
static const dure_vulkan_attention_matrix *find_runnable(const dure_device *device,
                                                         dure_vulkan_attention_problem problem, const char *name) {
  for (uint32_t i = 0; i < DURE_ATTENTION_MATRIX_COUNT; i++) {
    const dure_vulkan_attention_matrix *matrix = &dure_vulkan_attention_matrices[i];
    if (name != NULL && strcmp(name, matrix->name) != 0) continue;
    if (can_run(device, matrix, problem)) return matrix;
  }
  return NULL;
}

const dure_vulkan_attention_matrix *dure_vulkan_attention_matrix_choose(const dure_device *device,
                                                                        dure_vulkan_attention_pass pass,
                                                                        dure_dtype dtype, uint64_t head_size) {
  const char *forced = getenv("DURE_VULKAN_ATTENTION"), *reason = NULL;
  if (dtype != DURE_DTYPE_F16 && dtype != DURE_DTYPE_BF16) return NULL;  // f32 stays f32
  if (!dure_vulkan_matrix_units_allowed(dure_vulkan_device_caps(device), &reason)) return NULL;
  const dure_vulkan_attention_problem problem = {
      .pass = pass, .is_bfloat16 = dtype == DURE_DTYPE_BF16, .head_size = (uint32_t)head_size};
  if (forced != NULL) return find_runnable(device, problem, forced);
  const char *tuned = dure_vulkan_tuned_attention(device, dure_vulkan_attention_op(pass), true, head_size);
  const dure_vulkan_attention_matrix *matrix = tuned != NULL ? find_runnable(device, problem, tuned) : NULL;
  if (matrix != NULL) return matrix;
  if (tuned != NULL && dure_vulkan_attention_find(device, tuned, head_size, pass) != NULL) return NULL;
  return find_runnable(device, problem, NULL);
}
