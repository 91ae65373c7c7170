#include "runtime/vulkan/matmul_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/matmul_selftest.h"
#include "runtime/vulkan/tuning.h"

// ---- variants (shaders/variants/matmul.txt) ----------------------------------------------------------------------

#define QUADS (DURE_MATMUL_A_IN_QUADS | DURE_MATMUL_B_IN_QUADS)
#define TEXELS (DURE_MATMUL_A_TEXELS | DURE_MATMUL_B_TEXELS)

enum { VECTOR_WIDE, VECTOR, TEXEL, TEXEL_16, QUAD, QUAD_16, VEC4, VEC4_16X128, VEC4_1X128, PLAIN, SOFTWARE_COUNT };
// Those for GPUs follow, in the order of dure_vulkan_matmul_gpus.
enum { GPU_FIRST = SOFTWARE_COUNT, VARIANT_COUNT = SOFTWARE_COUNT + DURE_MATMUL_GPU_COUNT };
enum {
  COOPERATIVE_256 = GPU_FIRST + DURE_MATMUL_GPU_COOPERATIVE_256,
  COOPERATIVE_128 = GPU_FIRST + DURE_MATMUL_GPU_COOPERATIVE_128,
  COOPERATIVE_128K16 = GPU_FIRST + DURE_MATMUL_GPU_COOPERATIVE_128K16,
  COOPERATIVE_64 = GPU_FIRST + DURE_MATMUL_GPU_COOPERATIVE_64,
  COOPERATIVE_32 = GPU_FIRST + DURE_MATMUL_GPU_COOPERATIVE_32,
  SIMT_128 = GPU_FIRST + DURE_MATMUL_GPU_SIMT_128,
  SIMT_64 = GPU_FIRST + DURE_MATMUL_GPU_SIMT_64,
  SIMT_32 = GPU_FIRST + DURE_MATMUL_GPU_SIMT_32,
};

// clang-format off
static const dure_vulkan_matmul_variant variants[VARIANT_COUNT] = {
#define GPU(i, name, rows, columns) [GPU_FIRST + i] = {name, rows, columns, 0, 0, &dure_vulkan_matmul_gpus[i]},
#define ROW(identifier, name, units, m, n, k, part_m, part_n) GPU(DURE_MATMUL_GPU_##identifier, name, m, n)
    DURE_MATMUL_GPU_ROWS(ROW)
#undef ROW
#undef GPU
    // name                                tile     step  flags
    [VECTOR_WIDE] = {"matmul_vector_wide",  1, 128, 16, QUADS | TEXELS, NULL},
    [VECTOR] = {"matmul_vector",            1,  32, 32, QUADS | TEXELS, NULL},
    [TEXEL] = {"matmul_texel",             32,  64, 16, QUADS | TEXELS, NULL},
    [TEXEL_16] = {"matmul_texel_16",       16,  64, 16, QUADS | TEXELS, NULL},
    [QUAD] = {"matmul_quad",               64,  32,  4, QUADS, NULL},
    [QUAD_16] = {"matmul_quad_16",         16,  64,  4, QUADS, NULL},
    [VEC4] = {"matmul_vec4",               64,  32,  0, QUADS, NULL},
    [VEC4_16X128] = {"matmul_vec4_16x128", 16, 128,  0, QUADS, NULL},
    [VEC4_1X128] = {"matmul_vec4_1x128",    1, 128,  0, QUADS, NULL},
    [PLAIN] = {"matmul_plain",             32,  32,  0, 0, NULL},
};
// clang-format on

// ---- choices -----------------------------------------------------------------------------------------------------

// Rows are tried in order: the first whose driver and number of rows agree and whose variant can run decides. The plain
// variant closes the list. Figures: GFLOP/s of 1024 x 1024 x 1024 as NN / NT / TN on two cores of a 2023 server, by
// processor time (docs/kernels-vulkan.md has the rest); of a single row 1 x 2048 x 2048.
// clang-format off
static const struct choice {
  dure_vulkan_driver driver;
  uint32_t least_m, most_m;
  uint32_t variant;
} choices[] = {
    {DURE_VULKAN_DRIVER_LLVMPIPE,     1, 1,          VECTOR_WIDE},  // NN: 8.1
    {DURE_VULKAN_DRIVER_LLVMPIPE,     1, 1,          VECTOR},       // NT: 13.6
    {DURE_VULKAN_DRIVER_LLVMPIPE,     1, 16,         TEXEL_16},     // 78 / 65 / 76
    {DURE_VULKAN_DRIVER_LLVMPIPE,     1, UINT32_MAX, TEXEL},        // 78 / 75 / 77
    {DURE_VULKAN_DRIVER_LLVMPIPE,     1, 1,          VEC4_1X128},   // 3.5 / 4.4; texel buffers switched off
    {DURE_VULKAN_DRIVER_LLVMPIPE,     1, UINT32_MAX, VEC4_16X128},  // 25 / 25 / 20, with texel buffers switched off
    {DURE_VULKAN_DRIVER_SWIFTSHADER,  1, 1,          VEC4_1X128},   // 1.5 / 1.6, QUAD_16 0.6
    {DURE_VULKAN_DRIVER_SWIFTSHADER,  1, 48,         QUAD_16},      // 9.4 / 9.2 / 8.1; fewer rows for nothing
    {DURE_VULKAN_DRIVER_SWIFTSHADER,  1, UINT32_MAX, QUAD},         // 10.6 / 10.7 / 10.1
    {DURE_VULKAN_DRIVER_SWIFTSHADER,  1, UINT32_MAX, VEC4},         // 6.3 / 5.2 / 5.9
};
// clang-format on

// GPUs, whatever their driver, by arithmetic, not measured yet: the largest tile of which the result has enough to fill
// a small GPU (24 multiprocessors), matrix units before others; f32 never goes through matrix units.
static const struct gpu_choice {
  uint32_t variant;
  uint32_t least_groups;
} gpu_choices[] = {
    {COOPERATIVE_128, 64}, {COOPERATIVE_128K16, 64},  // 32 KiB of shared memory
    {COOPERATIVE_64, 32},  {COOPERATIVE_32, 1},      {SIMT_128, 64}, {SIMT_64, 32}, {SIMT_32, 1},
};

static bool fits_texels(const dure_vulkan_caps *caps, uint64_t bytes) { return bytes / 16 <= caps->max_texel_elements; }

static bool can_run(const dure_device *device, const dure_vulkan_matmul_problem *problem,
                    const dure_vulkan_matmul_variant *variant) {
  const dure_vulkan_caps *caps = dure_vulkan_device_caps(device);
  if (variant->gpu != NULL) {
    const char *reason = NULL;
    if (!dure_vulkan_matmul_gpu_fits(device, variant->gpu, problem)) return false;
    if (variant->gpu->units == DURE_MATMUL_ORDINARY) return true;
    return dure_vulkan_matrix_units_allowed(caps, &reason) &&
           dure_vulkan_matmul_is_trusted((dure_device *)device, variant, problem);
  }
  if (problem->is_16_bit && variant != &variants[PLAIN]) return false;
  if ((variant->flags & DURE_MATMUL_A_IN_QUADS) && !problem->a_in_quads) return false;
  if ((variant->flags & DURE_MATMUL_B_IN_QUADS) && !problem->b_in_quads) return false;
  if ((variant->flags & DURE_MATMUL_A_TEXELS) && !fits_texels(caps, problem->a_bytes)) return false;
  if ((variant->flags & DURE_MATMUL_B_TEXELS) && !fits_texels(caps, problem->b_bytes)) return false;
  char name[64];
  dure_vulkan_matmul_kernel_name(variant, problem, name);
  return dure_vulkan_device_has_kernel(device, name);
}

const dure_vulkan_matmul_variant *dure_vulkan_matmul_variant_at(size_t i) {
  return i < VARIANT_COUNT ? &variants[i] : NULL;
}

const char *dure_vulkan_matmul_variant_name(size_t i) { return i < VARIANT_COUNT ? variants[i].name : NULL; }

// The variant of that name if it can run, else NULL.
static const dure_vulkan_matmul_variant *find_runnable(const dure_device *device,
                                                       const dure_vulkan_matmul_problem *problem, const char *name) {
  for (size_t i = 0; i < VARIANT_COUNT; i++) {
    if (strcmp(variants[i].name, name) == 0 && can_run(device, problem, &variants[i])) return &variants[i];
  }
  return NULL;
}

static uint64_t group_count(const dure_vulkan_matmul_problem *p, const dure_vulkan_matmul_variant *variant) {
  const uint64_t rows = (p->M + variant->tile_rows - 1) / variant->tile_rows;
  const uint64_t columns = (p->N + variant->tile_columns - 1) / variant->tile_columns;
  const uint32_t chunk = dure_vulkan_matmul_chunk(p->M, p->N, p->K, p->batch);
  return rows * columns * p->batch * (chunk < p->K ? (p->K + chunk - 1) / chunk : 1);
}

static const dure_vulkan_matmul_variant *choose_for_gpu(const dure_device *device,
                                                        const dure_vulkan_matmul_problem *problem) {
  for (size_t i = 0; i < sizeof(gpu_choices) / sizeof(gpu_choices[0]); i++) {
    const dure_vulkan_matmul_variant *variant = &variants[gpu_choices[i].variant];
    if (group_count(problem, variant) < gpu_choices[i].least_groups) continue;
    if (can_run(device, problem, variant)) return variant;
  }
  return &variants[PLAIN];
}

const dure_vulkan_matmul_variant *dure_vulkan_matmul_choose(const dure_device *device,
                                                            const dure_vulkan_matmul_problem *problem) {
  const char *forced = getenv("DURE_VULKAN_MATMUL");
  if (forced != NULL && forced[0] != '\0') {
    const dure_vulkan_matmul_variant *variant = find_runnable(device, problem, forced);
    return variant != NULL ? variant : &variants[PLAIN];
  }
  const char *tuned = dure_vulkan_tuned_matmul(device, problem, problem->is_16_bit);
  const dure_vulkan_matmul_variant *measured = tuned != NULL ? find_runnable(device, problem, tuned) : NULL;
  if (measured != NULL) return measured;
  const dure_vulkan_driver driver = dure_vulkan_device_caps(device)->driver;
  const bool is_software = driver == DURE_VULKAN_DRIVER_LLVMPIPE || driver == DURE_VULKAN_DRIVER_SWIFTSHADER;
  if (!is_software) return choose_for_gpu(device, problem);
  for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
    const struct choice *choice = &choices[i];
    if (choice->driver != driver) continue;
    if (problem->M < choice->least_m || problem->M > choice->most_m) continue;
    if (can_run(device, problem, &variants[choice->variant])) return &variants[choice->variant];
  }
  return &variants[PLAIN];
}

void dure_vulkan_matmul_kernel_name(const dure_vulkan_matmul_variant *variant,
                                    const dure_vulkan_matmul_problem *problem, char out_name[64]) {
  if (variant->gpu != NULL) {
    dure_vulkan_matmul_gpu_kernel_name(variant->gpu, problem, out_name);
    return;
  }
  snprintf(out_name, 64, "%s_%c%c", variant->name, problem->transpose_a ? 't' : 'n', problem->transpose_b ? 't' : 'n');
}
