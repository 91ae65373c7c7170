// The attention kernels for matrix units (shaders/attention_cooperative.comp, attention_gradient_cooperative.comp):
// their tiles as rows of a table, the specialisation constants that a row and a call make, and which row runs.
#ifndef DURE_RUNTIME_VULKAN_ATTENTION_MATRIX_H_
#define DURE_RUNTIME_VULKAN_ATTENTION_MATRIX_H_

#include "runtime/vulkan/attention_common.h"

typedef struct dure_vulkan_attention_matrix {
  const char *name;    // "cooperative_64x32": rows of a workgroup x rows of the other side in a tile
  uint32_t subgroups;  // of a workgroup
  uint32_t part_rows;  // of a subgroup
  uint32_t others;     // of the other side in a tile
  uint32_t most_head;  // forward, elements: beyond it, the registers of usual GPUs do not hold a subgroup's sums
  uint32_t most_head_gradient;
} dure_vulkan_attention_matrix;

enum { DURE_ATTENTION_MATRIX_COUNT = 4 };
extern const dure_vulkan_attention_matrix dure_vulkan_attention_matrices[DURE_ATTENTION_MATRIX_COUNT];

// One kernel: a row of the table for a pass, a 16-bit type and a head size.
typedef struct dure_vulkan_attention_problem {
  dure_vulkan_attention_pass pass;  // not DURE_VULKAN_ATTENTION_CACHED
  bool is_bfloat16;                 // else f16
  uint32_t head_size;
} dure_vulkan_attention_problem;

// Whether the row's kernel exists and fits this device's limits. Says nothing of trust: attention_selftest.h.
bool dure_vulkan_attention_matrix_fits(const dure_device *device, const dure_vulkan_attention_matrix *matrix,
                                       const dure_vulkan_attention_problem *problem);

// The first row of the table that fits and is trusted, NULL when none is. A gradient's row fits both of its passes. The
// environment's DURE_VULKAN_ATTENTION names a row to take instead, or else what `dure tune` found; when that is of
// another table (attention_common.h), no row is taken.
const dure_vulkan_attention_matrix *dure_vulkan_attention_matrix_choose(const dure_device *device,
                                                                        dure_vulkan_attention_pass pass,
                                                                        dure_dtype dtype, uint64_t head_size);

// "attention_gradient_q_cooperative_bf16".
dure_vulkan_kernel_name dure_vulkan_attention_matrix_kernel(const dure_vulkan_attention_problem *problem);

enum { DURE_ATTENTION_MATRIX_CONSTANTS = 16 };
// The constants of the row's kernel, in order of their numbers; the first five (dure_vulkan_attention_constants) are
// left as they are. `in_eights`: every row that is read begins at 16 bytes and is whole groups of 16 bytes.
void dure_vulkan_attention_matrix_constants(const dure_device *device, const dure_vulkan_attention_matrix *matrix,
                                            const dure_vulkan_attention_problem *problem, bool in_eights,
                                            uint32_t constants[DURE_ATTENTION_MATRIX_CONSTANTS]);

// Records a call of attention or attention_gradient by a row that fits it (ops_attention.c).
DURE_MUST_CHECK dure_status dure_vulkan_attention_matrix_record(dure_device *device, dure_recording *recording,
                                                                const dure_op_call *call,
                                                                const dure_vulkan_attention_matrix *matrix);

#endif  // DURE_RUNTIME_VULKAN_ATTENTION_MATRIX_H_
