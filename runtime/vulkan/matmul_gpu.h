// The matmul kernels for GPUs (shaders/matmul_simt.comp, matmul_cooperative.comp, matmul_cooperative2.comp): their
// tiles as rows of a table, the specialisation constants that a row and a call make, and the cutting of long sums into
// chunks.
#ifndef DURE_RUNTIME_VULKAN_MATMUL_GPU_H_
#define DURE_RUNTIME_VULKAN_MATMUL_GPU_H_

#include "runtime/vulkan/vulkan_device.h"

struct dure_vulkan_matmul_problem;

typedef enum dure_vulkan_matmul_units {
  DURE_MATMUL_ORDINARY,       // no matrix units
  DURE_MATMUL_OF_SUBGROUPS,   // VK_KHR_cooperative_matrix
  DURE_MATMUL_OF_WORKGROUPS,  // VK_NV_cooperative_matrix2
} dure_vulkan_matmul_units;

typedef struct dure_vulkan_matmul_gpu {
  const char *name;    // of the variant: "matmul_cooperative_128"
  const char *kernel;  // in shaders/variants: "matmul_simt"; matrix units: _f16 or _bf16 is added, then _nn ...
  dure_vulkan_matmul_units units;
  uint32_t tile_m, tile_n, tile_k;  // of a workgroup
  // Units of subgroups: what a subgroup computes of the tile. Ordinary: the blocks of 4 x 4 that an invocation
  // computes. Units of workgroups: 0, they divide the tile themselves.
  uint32_t part_m, part_n;
} dure_vulkan_matmul_gpu;

// One row a variant: ROW(IDENTIFIER, name, units, tile m, n, k, part m, n).
//
// Shared memory: units of subgroups 2 x 2 bytes x (tile_m + tile_n) (tile_k + 8) (operands along k), ordinary 2 x 4
// bytes x tile_k (tile_m + tile_n + 8), units of workgroups what the driver takes. Sums in the registers of an
// invocation: with matrix units part_m x part_n / subgroup size (tile_m x tile_n / invocations), else 16 x part_m x
// part_n. No row has been timed on a GPU yet: they follow the arithmetic in the shaders' headers, and `dure tune`
// chooses among them.
// clang-format off
#define DURE_MATMUL_GPU_ROWS(ROW)                                                                                       \
  ROW(COOPERATIVE_256,    "matmul_cooperative_256",    OF_SUBGROUPS,  256, 128, 16, 64, 64) /* 37 KiB, 8 subgroups */     \
  ROW(COOPERATIVE_128X64, "matmul_cooperative_128x64", OF_SUBGROUPS,  128, 128, 32, 64, 64) /* 40 KiB, 4 subgroups */     \
  ROW(COOPERATIVE_128,    "matmul_cooperative_128",    OF_SUBGROUPS,  128, 128, 32, 64, 32) /* 40 KiB, 8 subgroups */     \
  ROW(COOPERATIVE_128K16, "matmul_cooperative_128k16", OF_SUBGROUPS,  128, 128, 16, 64, 32) /* 24 KiB, 8 subgroups */     \
  ROW(COOPERATIVE_64,     "matmul_cooperative_64",     OF_SUBGROUPS,   64,  64, 32, 32, 32) /* 20 KiB, 4 subgroups */     \
  ROW(COOPERATIVE_32,     "matmul_cooperative_32",     OF_SUBGROUPS,   32,  32, 32, 16, 16) /* 10 KiB, 4 subgroups */     \
  ROW(COOPERATIVE2_128X256, "matmul_cooperative2_128x256", OF_WORKGROUPS, 128, 256, 64, 0, 0) /* 128 sums of 256 */       \
  ROW(COOPERATIVE2_128,   "matmul_cooperative2_128",   OF_WORKGROUPS, 128, 128, 64,  0,  0) /* 64 sums of 256 */         \
  ROW(COOPERATIVE2_64,    "matmul_cooperative2_64",    OF_WORKGROUPS,  64,  64, 64,  0,  0) /* 16 or 32 sums */          \
  ROW(SIMT_128,           "matmul_simt_128",           ORDINARY,      128, 128,  8,  2,  2) /* 17 KiB, 256 invocations */ \
  ROW(SIMT_64,            "matmul_simt_64",            ORDINARY,       64,  64,  8,  1,  2) /*  9 KiB, 128 invocations */ \
  ROW(SIMT_32,            "matmul_simt_32",            ORDINARY,       32,  32, 16,  1,  1) /*  9 KiB, 64 invocations */
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
