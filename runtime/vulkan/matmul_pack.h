// Copies of a and b that matmul's kernels on software drivers read fastest: f32, rows at multiples of 16 bytes.
// Converting costs a pass over each operand instead of one in every tile; the kernels then run at their full speed,
// whatever the operands' type, strides and place.
#ifndef DURE_RUNTIME_VULKAN_MATMUL_PACK_H_
#define DURE_RUNTIME_VULKAN_MATMUL_PACK_H_

#include "runtime/ops.h"

// Bytes of workspace that dure_vulkan_matmul_pack would like for the call; 0: nothing to pack.
uint64_t dure_vulkan_matmul_pack_bytes(dure_device *device, const dure_op_call *call);
// Records copies of a and b where they help and the call's workspace holds them. out_operands: what kernels are to
// read, the copies (f32, contiguous, rows padded with zeros to whole groups of 4 elements) or else the call's own.
DURE_MUST_CHECK dure_status dure_vulkan_matmul_pack(dure_device *device, dure_recording *recording,
                                                    const dure_op_call *call, dure_operand out_operands[2]);

#endif  // DURE_RUNTIME_VULKAN_MATMUL_PACK_H_
