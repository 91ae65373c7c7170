// The matmul kernels for GPUs (shaders/matmul_simt.comp, matmul_cooperative.comp): their tiles as rows of a table, the
// specialisation constants that a row and a call make, and the cutting of long sums into chunks.
#ifndef DURE_RUNTIME_VULKAN_MATMUL_GPU_H_
#define DURE_RUNTIME_VULKAN_MATMUL_GPU_H_

#include "runtime/vulkan/vulkan_device.h"

struct dure_vulkan_matmul_problem;

typedef struct dure_vulkan_matmul_gpu {
  const char *name;    // of the variant: "matmul_cooperative_128"
  const char *kernel;  // in shaders/variants: "matmul_simt"; matrix units: _f16 or _bf16 is added, then _nn ...
  bool has_matrix_units;
  uint32_t tile_m, tile_n, tile_k;  // of a workgroup
  // Matrix units: what a subgroup computes of the tile. Else: the blocks of 4 x 4 that an invocation computes.
  uint32_t part_m, part_n;
} dure_vulkan_matmul_gpu;

// One row a variant: DURE_MATMUL_GPU(IDENTIFIER, name, matrix units, tile m, n, k, part m, n).
//
// Shared memory: matrix units 2 x 2 bytes x (tile_m + tile_n) (tile_k + 8) (operands along k), others 2 x 4 bytes x
// tile_k (tile_m + tile_n + 8). Sums in the registers of an invocation: with matrix units part_m x part_n / subgroup
// size, else 16 x part_m x part_n. No row has been timed on a GPU yet: they follow the arithmetic in the shaders'
// headers, and `dure tune` chooses among them.
// clang-format off
#define DURE_MATMUL_GPU_ROWS(ROW)                                                                              \
  ROW(COOPERATIVE_256,    "matmul_cooperative_256",    true,  256, 128, 16, 64, 64) /* 37 KiB, 8 subgroups */    \
  ROW(COOPERATIVE_128X64, "matmul_cooperative_128x64", true,  128, 128, 32, 64, 64) /* 40 KiB, 4 subgroups */    \
  ROW(COOPERATIVE_128,    "matmul_cooperative_128",    true,  128, 128, 32, 64, 32) /* 40 KiB, 8 subgroups */    \
  ROW(COOPERATIVE_128K16, "matmul_cooperative_128k16", true,  128, 128, 16, 64, 32) /* 24 KiB, 8 subgroups */    \
  ROW(COOPERATIVE_64,     "matmul_cooperative_64",     true,   64,  64, 32, 32, 32) /* 20 KiB, 4 subgroups */    \
  ROW(COOPERATIVE_32,     "matmul_cooperative_32",     true,   32,  32, 32, 16, 16) /* 10 KiB, 4 subgroups */    \
  ROW(SIMT_128,           "matmul_simt_128",           false, 128, 128,  8,  2,  2) /* 17 KiB, 256 invocations */ \
  ROW(SIMT_64,            "matmul_simt_64",            false,  64,  64,  8,  1,  2) /*  9 KiB, 128 invocations */ \
  ROW(SIMT_32,            "matmul_simt_32",            false,  32,  32, 16,  1,  1) /*  9 KiB, 64 invocations */
// clang-format on

enum {
#define DURE_MATMUL_GPU(identifier, name, units, m, n, k, part_m, part_n) DURE_MATMUL_GPU_##identifier,
  DURE_MATMUL_GPU_ROWS(DURE_MATMUL_GPU)
#undef DURE_MATMUL_GPU
      DURE_MATMUL_GPU_COUNT
};
extern const dure_vulkan_matmul_gpu dure_vulkan_matmul_gpus[DURE_MATMUL_GPU_COUNT];

enum { DURE_MATMUL_GPU_CONSTANTS = 32 };
// The constants of the row's kernel for this problem, in order of their numbers; those of shaders/lib/matmul.glsl (the
// first 15) are left as they are. Returns how many there are.
uint32_t dure_vulkan_matmul_gpu_constants(const dure_device *device, const dure_vulkan_matmul_gpu *gpu,
                                          const struct dure_vulkan_matmul_problem *problem, uint32_t chunk,
                                          uint32_t constants[DURE_MATMUL_GPU_CONSTANTS]);

// Whether the row's kernel exists and fits this device's limits and this problem's types. For matrix units this says
// nothing of trust: matmul_selftest.h.
bool dure_vulkan_matmul_gpu_fits(const dure_device *device, const dure_vulkan_matmul_gpu *gpu,
                                 const struct dure_vulkan_matmul_problem *problem);

// Values of k that one workgroup sums, K when the sum is not cut. Depends on the shape alone, so that the same shape
// gives the same bits on every device and with every variant's order of k.
uint32_t dure_vulkan_matmul_chunk(uint32_t M, uint32_t N, uint32_t K, uint32_t batch);

// "matmul_cooperative_bf16_nt".
void dure_vulkan_matmul_gpu_kernel_name(const dure_vulkan_matmul_gpu *gpu,
                                        const struct dure_vulkan_matmul_problem *problem, char out_name[64]);

#endif  // DURE_RUNTIME_VULKAN_MATMUL_GPU_H_
