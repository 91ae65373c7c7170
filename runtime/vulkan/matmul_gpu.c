#include "runtime/vulkan/matmul_gpu.h"

#include <stdio.h>

#include "runtime/vulkan/matmul_table.h"

// ---- rows --------------------------------------------------------------------------------------------------------

#define ORDINARY_KERNEL "matmul_simt"
#define OF_SUBGROUPS_KERNEL "matmul_cooperative"
#define OF_WORKGROUPS_KERNEL "matmul_cooperative2"

const dure_vulkan_matmul_gpu dure_vulkan_matmul_gpus[DURE_MATMUL_GPU_COUNT] = {
#define ROW(identifier, name, units, m, n, k, part_m, part_n) \
  {name, units##_KERNEL, DURE_MATMUL_##units, m, n, k, part_m, part_n},
    DURE_MATMUL_GPU_ROWS(ROW)
#undef ROW
};

// ---- constants ---------------------------------------------------------------------------------------------------

// The largest product that divides the row's parts; NULL when the driver offers none.
static const dure_vulkan_matrix_shape *matrix_shape(const dure_device *device, const dure_vulkan_matmul_gpu *gpu,
                                                    bool is_bfloat16) {
  const dure_vulkan_caps *caps = dure_vulkan_device_caps(device);
  const dure_vulkan_matrix_shape *best = NULL;
  for (uint32_t i = 0; i < caps->matrix_shape_count; i++) {
    const dure_vulkan_matrix_shape *s = &caps->matrix_shapes[i];
    if (s->is_bfloat16 != is_bfloat16 || s->M % 8 != 0 || s->N % 8 != 0 || s->K % 8 != 0) continue;
    if (gpu->part_m % s->M != 0 || gpu->part_n % s->N != 0 || gpu->tile_k % s->K != 0) continue;
    if (best == NULL || s->M * s->N * s->K > best->M * best->N * best->K) best = s;
  }
  return best;
}

// The largest workgroup that takes the row's tile; NULL when the driver offers none.
static const dure_vulkan_workgroup_matrix *workgroup_matrix(const dure_device *device,
                                                            const dure_vulkan_matmul_gpu *gpu, bool is_bfloat16) {
  const dure_vulkan_caps *caps = dure_vulkan_device_caps(device);
  const dure_vulkan_workgroup_matrix *best = NULL;
  for (uint32_t i = 0; i < caps->workgroup_matrix_count; i++) {
    const dure_vulkan_workgroup_matrix *s = &caps->workgroup_matrices[i];
    if (s->is_bfloat16 != is_bfloat16 || s->M == 0 || s->N == 0 || s->K == 0) continue;
    if (gpu->tile_m % s->M != 0 || gpu->tile_n % s->N != 0 || gpu->tile_k % s->K != 0) continue;
    if (s->invocations > caps->max_invocations) continue;
    if (best == NULL || s->invocations > best->invocations) best = s;
  }
  return best;
}

static uint32_t invocations(const dure_device *device, const dure_vulkan_matmul_gpu *gpu, bool is_bfloat16) {
  if (gpu->units == DURE_MATMUL_OF_WORKGROUPS) {
    const dure_vulkan_workgroup_matrix *matrix = workgroup_matrix(device, gpu, is_bfloat16);
    return matrix != NULL ? matrix->invocations : 0;
  }
  if (gpu->units == DURE_MATMUL_ORDINARY) return gpu->tile_m / (4 * gpu->part_m) * (gpu->tile_n / (4 * gpu->part_n));
  const uint32_t subgroups = gpu->tile_m / gpu->part_m * (gpu->tile_n / gpu->part_n);
  return subgroups * dure_vulkan_device_caps(device)->matrix_subgroup_size;
}

static uint32_t largest(uint32_t a, uint32_t b) { return a > b ? a : b; }

// Shared memory in groups of 16 bytes.
static uint32_t pool(const dure_vulkan_matmul_gpu *gpu, const dure_vulkan_matmul_problem *problem, uint32_t matrix_m) {
  if (gpu->units == DURE_MATMUL_ORDINARY) return 2 * gpu->tile_k * (gpu->tile_m / 4 + 1 + gpu->tile_n / 4 + 1);
  const uint32_t a = problem->transpose_a ? gpu->tile_k * (gpu->tile_m / 8 + 1) : gpu->tile_m * (gpu->tile_k / 8 + 1);
  const uint32_t b = problem->transpose_b ? gpu->tile_n * (gpu->tile_k / 8 + 1) : gpu->tile_k * (gpu->tile_n / 8 + 1);
  const uint32_t subgroups = gpu->tile_m / gpu->part_m * (gpu->tile_n / gpu->part_n);
  return largest(2 * (a + b), subgroups * matrix_m * gpu->part_n / 4);
}

uint32_t dure_vulkan_matmul_gpu_constants(const dure_device *device, const dure_vulkan_matmul_gpu *gpu,
                                          const dure_vulkan_matmul_problem *problem, uint32_t chunk,
                                          uint32_t constants[DURE_MATMUL_GPU_CONSTANTS]) {
  uint32_t at = 15;
  constants[at++] = problem->is_bfloat16 ? 1 : problem->is_16_bit ? 2 : 0;
  constants[at++] = chunk < problem->K ? chunk : UINT32_MAX;  // uncut sums of all lengths share a pipeline
  constants[at++] = problem->a_in_lines;
  constants[at++] = problem->b_in_lines;
  constants[at++] = invocations(device, gpu, problem->is_bfloat16);
  constants[at++] = gpu->tile_m;
  constants[at++] = gpu->tile_n;
  constants[at++] = gpu->tile_k;
  if (gpu->units == DURE_MATMUL_OF_WORKGROUPS) return at;
  constants[at++] = gpu->part_m;
  constants[at++] = gpu->part_n;
  const dure_vulkan_matrix_shape *shape =
      gpu->units == DURE_MATMUL_OF_SUBGROUPS ? matrix_shape(device, gpu, problem->is_bfloat16) : NULL;
  constants[at++] = pool(gpu, problem, shape != NULL ? shape->M : 0);
  if (shape != NULL) {
    constants[at++] = shape->M;
    constants[at++] = shape->N;
    constants[at++] = shape->K;
  }
  return at;
}

void dure_vulkan_matmul_gpu_kernel_name(const dure_vulkan_matmul_gpu *gpu, const dure_vulkan_matmul_problem *problem,
                                        char out_name[64]) {
  const char *type = gpu->units == DURE_MATMUL_ORDINARY ? "" : problem->is_bfloat16 ? "_bf16" : "_f16";
  snprintf(out_name, 64, "%s%s_%c%c", gpu->kernel, type, problem->transpose_a ? 't' : 'n',
           problem->transpose_b ? 't' : 'n');
}

// Workgroups' matrices lie where the driver wants; their kernel has no shared memory of its own.
static bool fits_workgroups(const dure_device *device, const dure_vulkan_matmul_gpu *gpu, bool is_bfloat16) {
  const dure_vulkan_caps *caps = dure_vulkan_device_caps(device);
  const uint32_t most = caps->workgroup_matrix_most;
  return gpu->tile_m <= most && gpu->tile_n <= most && gpu->tile_k <= most &&
         caps->workgroup_matrix_shared_bytes <= caps->shared_bytes &&
         workgroup_matrix(device, gpu, is_bfloat16) != NULL;
}

static bool fits_subgroups(const dure_device *device, const dure_vulkan_matmul_gpu *gpu,
                           const dure_vulkan_matmul_problem *problem) {
  const dure_vulkan_caps *caps = dure_vulkan_device_caps(device);
  const dure_vulkan_matrix_shape *shape = NULL;
  if (gpu->units == DURE_MATMUL_OF_SUBGROUPS) {
    shape = matrix_shape(device, gpu, problem->is_bfloat16);
    if (shape == NULL) return false;
  }
  return invocations(device, gpu, problem->is_bfloat16) <= caps->max_invocations &&
         16 * pool(gpu, problem, shape != NULL ? shape->M : 0) <= caps->shared_bytes;
}

bool dure_vulkan_matmul_gpu_fits(const dure_device *device, const dure_vulkan_matmul_gpu *gpu,
                                 const dure_vulkan_matmul_problem *problem) {
  if (gpu->units != DURE_MATMUL_ORDINARY && !problem->is_16_bit) return false;  // f32 stays f32
  const bool fits = gpu->units == DURE_MATMUL_OF_WORKGROUPS ? fits_workgroups(device, gpu, problem->is_bfloat16)
                                                            : fits_subgroups(device, gpu, problem);
  char name[64];
  dure_vulkan_matmul_gpu_kernel_name(gpu, problem, name);
  return fits && dure_vulkan_device_has_kernel(device, name);
}

// ---- chunks of k -------------------------------------------------------------------------------------------------

// A result of few tiles leaves most of a GPU idle however long the sums are: weight gradients of small models, one of
// the low-rank products, a vocabulary's share. 64 x 64 is the tile counted by, whatever runs.
enum { TILE = 64, TILES_ENOUGH = 256, CHUNK_LEAST = 512, CHUNKS_MOST = 16 };

uint32_t dure_vulkan_matmul_chunk(uint32_t M, uint32_t N, uint32_t K, uint32_t batch) {
  const uint64_t tiles = (uint64_t)((M + TILE - 1) / TILE) * ((N + TILE - 1) / TILE) * batch;
  if (tiles == 0 || tiles >= TILES_ENOUGH / 2 || K < 2 * CHUNK_LEAST) return K;
  uint64_t chunks = TILES_ENOUGH / tiles;
  if (chunks > CHUNKS_MOST) chunks = CHUNKS_MOST;
  uint32_t chunk = CHUNK_LEAST;  // powers of two: few pipelines
  while (chunk * chunks < K) chunk *= 2;
  return chunk < K ? chunk : K;
}
