// What the recorders of attention share (ops_attention.c, ops_attention_cached.c): places of strided and 16-bit
// operands, kernels by head size, and f32 copies of operands for the kernels that need aligned rows
// (shaders/attention_pack.comp).
#ifndef DURE_RUNTIME_VULKAN_ATTENTION_COMMON_H_
#define DURE_RUNTIME_VULKAN_ATTENTION_COMMON_H_

#include "runtime/vulkan/ops_common.h"

// ---- operands ----------------------------------------------------------------------------------------------------

// [B, T, heads, D]: elements between positions and between heads. A dimension of one element may have any stride.
void dure_vulkan_attention_strides(const dure_operand *operand, uint32_t *out_t, uint32_t *out_h);
// Whether every row of the last dimension begins at a multiple of `count` elements of its type and is one long.
bool dure_vulkan_rows_begin_at(const dure_operand *operand, uint32_t count);
// 4 when they do so at multiples of 4, else 1.
uint32_t dure_vulkan_rows_width(const dure_operand *operand);

// Positions [begin, end).
typedef struct dure_vulkan_rows {
  uint64_t begin, end;
} dure_vulkan_rows;
// These positions of [B, T, heads, D]; all of them where there are several sequences.
dure_operand dure_vulkan_take_rows(const dure_operand *operand, dure_vulkan_rows rows);

// ---- kernels -----------------------------------------------------------------------------------------------------

typedef enum dure_vulkan_attention_pass {
  DURE_VULKAN_ATTENTION_FORWARD,
  DURE_VULKAN_ATTENTION_GRADIENT_Q,
  DURE_VULKAN_ATTENTION_GRADIENT_K_V,
  DURE_VULKAN_ATTENTION_CACHED,
  DURE_VULKAN_ATTENTION_CACHED_ONE,  // the same for one row
  DURE_VULKAN_ATTENTION_PASSES,
} dure_vulkan_attention_pass;

// A tier of kernels, "attention_<tier>", "attention_gradient_q_<tier>", ..., with "_<head size>" where they are made
// for one.
typedef struct dure_vulkan_attention_tier {
  const char *name;
  bool software, gpu;  // where it is taken unasked
  bool takes_types;    // 16-bit operands, any strides and alignment (the constants `type` and `in_fours`)
  bool wants_quads;    // f32 only, and rows must begin at 16 bytes
  bool reads_texels;   // and its inputs must fit texel buffers
  bool shares_keys;    // attention_cached: rows are the heads of a group too, of any type
  uint32_t head_size;  // 0: any
  uint32_t rows[DURE_VULKAN_ATTENTION_PASSES];   // queries or keys of a workgroup; 0: no kernel of this pass
  uint32_t turns[DURE_VULKAN_ATTENTION_PASSES];  // of all loops of one invocation, for 64 rows of the other side
} dure_vulkan_attention_tier;

// Whether so many texels may be bound for the tier, and whether an operand's rows are as it wants them with
// wants_quads.
bool dure_vulkan_attention_fits_texels(const dure_device *device, const dure_vulkan_attention_tier *tier,
                                       uint64_t texels);
bool dure_vulkan_is_in_quads(const dure_device *device, const dure_vulkan_attention_tier *tier,
                             const dure_operand *operand);

// The row of ops.def that a pass belongs to.
dure_op dure_vulkan_attention_op(dure_vulkan_attention_pass pass);

// The first tier of that name that has the kernel, fits the device and takes heads of that size, padded if need be, or
// NULL. Name NULL: that this kind of device takes unasked.
const dure_vulkan_attention_tier *dure_vulkan_attention_find(const dure_device *device, const char *name,
                                                             uint64_t head_size, dure_vulkan_attention_pass pass);
// The environment's DURE_VULKAN_ATTENTION names a tier (tests, measurements), or else `dure tune` found one, or else it
// is the first that is taken unasked; where that does not fit, the plain one.
const dure_vulkan_attention_tier *dure_vulkan_attention_choose(const dure_device *device, dure_dtype dtype,
                                                               uint64_t head_size, dure_vulkan_attention_pass pass);
// The tiers' names, from 0; NULL behind the last.
const char *dure_vulkan_attention_tier_name(size_t i);
// The last one, which takes any head size, strides and alignment.
const dure_vulkan_attention_tier *dure_vulkan_attention_plain(void);
dure_vulkan_kernel_name dure_vulkan_attention_kernel(const dure_vulkan_attention_tier *tier,
                                                     dure_vulkan_attention_pass pass);
DURE_MUST_CHECK dure_status dure_vulkan_attention_check_head(uint64_t head_size);
// llvmpipe ends the loops of an invocation after so many turns: a kernel cut short would be wrong in silence. `others`:
// rows of the other side that one workgroup goes through.
DURE_MUST_CHECK dure_status dure_vulkan_attention_check_loops(const dure_device *device,
                                                              const dure_vulkan_attention_tier *tier,
                                                              dure_vulkan_attention_pass pass, uint64_t others,
                                                              uint64_t head_size);

// The specialisation constants of shaders/lib/attention.glsl and attention_cached.glsl.
typedef struct dure_vulkan_attention_constants {
  uint32_t has_documents, has_slopes, has_soft_cap, type, in_fours;
} dure_vulkan_attention_constants;
enum { DURE_VULKAN_ATTENTION_CONSTANTS = sizeof(dure_vulkan_attention_constants) / sizeof(uint32_t) };
// Adds the pass over tiles of rows, heads and sequences. `constants` [constant_count] begin with the above.
DURE_MUST_CHECK dure_status dure_vulkan_attention_run(const dure_vulkan_dispatch *dispatch, const char *kernel,
                                                      const uint32_t *constants, size_t constant_count,
                                                      const void *push, size_t push_size, uint64_t rows,
                                                      uint64_t rows_each, uint64_t heads, uint64_t batch);

// ---- f32 copies --------------------------------------------------------------------------------------------------

// Which operands of a call are copied into its workspace, widened and padded to head_size.
typedef struct dure_vulkan_packing {
  uint32_t operands;                  // bit i: operands[i]
  uint64_t head_size;                 // of the copies
  uint64_t place[DURE_MAX_OPERANDS];  // bytes into the workspace
  uint64_t rest;                      // bytes: where the workspace's other contents begin
} dure_vulkan_packing;

// Places the operands of `mask` (none: nothing is copied).
dure_vulkan_packing dure_vulkan_pack_plan(const dure_op_call *call, uint32_t mask, uint64_t head_size);
// The call over the copies; its workspace is what lies after them.
dure_op_call dure_vulkan_packed_call(const dure_op_call *call, const dure_vulkan_packing *packing);
// Adds the passes that fill, or bring back, the rows of one operand. Nothing when it is not copied.
DURE_MUST_CHECK dure_status dure_vulkan_pack(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                             const dure_vulkan_packing *packing, uint32_t operand,
                                             dure_vulkan_rows rows);
DURE_MUST_CHECK dure_status dure_vulkan_unpack(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                               const dure_vulkan_packing *packing, uint32_t operand,
                                               dure_vulkan_rows rows);

#endif  // DURE_RUNTIME_VULKAN_ATTENTION_COMMON_H_
