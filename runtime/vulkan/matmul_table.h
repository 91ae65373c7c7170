// Which matmul kernel runs: the variants and, for each driver and class of shapes, the one that measured best.
#ifndef DURE_RUNTIME_VULKAN_MATMUL_TABLE_H_
#define DURE_RUNTIME_VULKAN_MATMUL_TABLE_H_

#include "runtime/ops.h"
#include "runtime/vulkan/matmul_gpu.h"
#include "runtime/vulkan/vulkan_device.h"

// One call as kernels see it: op(a) [M, K], op(b) [K, N], c [M, N], `batch` times; strides in elements.
typedef struct dure_vulkan_matmul_problem {
  uint32_t M, N, K, batch;
  bool transpose_a, transpose_b;
  uint32_t a_stride, b_stride;  // between rows
  uint32_t a_batch, b_batch;    // between matrices
  // Every row begins at 16 bytes and is whole groups of 4 elements; c: likewise all operands of its shape.
  bool a_in_quads, b_in_quads, c_in_quads;
  bool a_in_lines, b_in_lines;  // every row begins at 16 bytes and is whole groups of 16 bytes
  bool is_16_bit, is_bfloat16;  // a and b; else they are f32
  uint64_t a_bytes, b_bytes;    // of the bindings
} dure_vulkan_matmul_problem;

enum {
  DURE_MATMUL_A_IN_QUADS = 1,  // needs a_in_quads
  DURE_MATMUL_B_IN_QUADS = 2,
  DURE_MATMUL_A_TEXELS = 4,  // a is bound as texels
  DURE_MATMUL_B_TEXELS = 8,
};

typedef struct dure_vulkan_matmul_variant {
  const char *name;  // of the kernels, to which _nn, _nt, _tn or _tt is added; not every variant has all four
  uint32_t tile_rows, tile_columns;
  uint32_t step;  // > 0: takes the constants has_tail (K is no multiple of step) and is_staged (more than plain stores
                  // of 4)
  uint32_t flags;
  const dure_vulkan_matmul_gpu *gpu;  // of the variants for GPUs: what their constants are
} dure_vulkan_matmul_variant;

// The variant for a problem; never NULL, since the last one takes everything. DURE_VULKAN_MATMUL=name ("matmul_vec4")
// prefers one wherever it can run, for tests and measurements; elsewhere the plain kernel then runs.
const dure_vulkan_matmul_variant *dure_vulkan_matmul_choose(const dure_device *device,
                                                            const dure_vulkan_matmul_problem *problem);
// The i-th variant's name, NULL after the last: what `dure tune` tries.
const char *dure_vulkan_matmul_variant_name(size_t i);
const dure_vulkan_matmul_variant *dure_vulkan_matmul_variant_at(size_t i);  // likewise
// Its kernel's name for the problem's transpositions.
void dure_vulkan_matmul_kernel_name(const dure_vulkan_matmul_variant *variant,
                                    const dure_vulkan_matmul_problem *problem, char out_name[64]);

// Records a call by a variant that can run it (ops_matmul.c).
DURE_MUST_CHECK dure_status dure_vulkan_matmul_record(dure_device *device, dure_recording *recording,
                                                      const dure_op_call *call,
                                                      const dure_vulkan_matmul_variant *variant);

#endif  // DURE_RUNTIME_VULKAN_MATMUL_TABLE_H_
