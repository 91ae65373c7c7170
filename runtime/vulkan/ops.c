#include "runtime/vulkan/ops.h"

#include <stddef.h>

#include "runtime/ops.h"
#include "runtime/vulkan/vulkan_device.h"

static const dure_backend_op *const table[DURE_OP_COUNT] = {
    [DURE_OP_fill] = &dure_vulkan_op_fill,
    [DURE_OP_copy] = &dure_vulkan_op_copy,
    [DURE_OP_add] = &dure_vulkan_op_add,
    [DURE_OP_multiply] = &dure_vulkan_op_multiply,
    [DURE_OP_scale] = &dure_vulkan_op_scale,
    [DURE_OP_embedding] = &dure_vulkan_op_embedding,
    [DURE_OP_embedding_gradient] = &dure_vulkan_op_embedding_gradient,
    [DURE_OP_matmul] = &dure_vulkan_op_matmul,
    [DURE_OP_quantize_rows] = &dure_vulkan_op_quantize_rows,
    [DURE_OP_matmul_q8] = &dure_vulkan_op_matmul_q8,
    [DURE_OP_unpack_blocks] = &dure_vulkan_op_unpack_blocks,
    [DURE_OP_matmul_blocks] = &dure_vulkan_op_matmul_blocks,
    [DURE_OP_sum_rows] = &dure_vulkan_op_sum_rows,
    [DURE_OP_sum] = &dure_vulkan_op_sum,
    [DURE_OP_square_sum] = &dure_vulkan_op_square_sum,
    [DURE_OP_layer_norm] = &dure_vulkan_op_layer_norm,
    [DURE_OP_layer_norm_gradient] = &dure_vulkan_op_layer_norm_gradient,
    [DURE_OP_layer_norm_parameters] = &dure_vulkan_op_layer_norm_parameters,
    [DURE_OP_rms_norm] = &dure_vulkan_op_rms_norm,
    [DURE_OP_rms_norm_gradient] = &dure_vulkan_op_rms_norm_gradient,
    [DURE_OP_rms_norm_parameters] = &dure_vulkan_op_rms_norm_parameters,
    [DURE_OP_activation] = &dure_vulkan_op_activation,
    [DURE_OP_activation_gradient] = &dure_vulkan_op_activation_gradient,
    [DURE_OP_gated_activation] = &dure_vulkan_op_gated_activation,
    [DURE_OP_gated_activation_gradient] = &dure_vulkan_op_gated_activation_gradient,
    [DURE_OP_rotary] = &dure_vulkan_op_rotary,
    [DURE_OP_copy_heads] = &dure_vulkan_op_copy_heads,
    [DURE_OP_attention] = &dure_vulkan_op_attention,
    [DURE_OP_attention_gradient] = &dure_vulkan_op_attention_gradient,
    [DURE_OP_cache_append] = &dure_vulkan_op_cache_append,
    [DURE_OP_attention_cached] = &dure_vulkan_op_attention_cached,
    [DURE_OP_cross_entropy] = &dure_vulkan_op_cross_entropy,
    [DURE_OP_cross_entropy_gradient] = &dure_vulkan_op_cross_entropy_gradient,
    [DURE_OP_route] = &dure_vulkan_op_route,
    [DURE_OP_route_gradient] = &dure_vulkan_op_route_gradient,
    [DURE_OP_expert_order] = &dure_vulkan_op_expert_order,
    [DURE_OP_expert_matmul] = &dure_vulkan_op_expert_matmul,
    [DURE_OP_expert_outer] = &dure_vulkan_op_expert_outer,
    [DURE_OP_expert_combine] = &dure_vulkan_op_expert_combine,
    [DURE_OP_expert_combine_gradient] = &dure_vulkan_op_expert_combine_gradient,
    [DURE_OP_gradient_clip] = &dure_vulkan_op_gradient_clip,
    [DURE_OP_adamw] = &dure_vulkan_op_adamw,
    [DURE_OP_adjust_logits] = &dure_vulkan_op_adjust_logits,
    [DURE_OP_mask_logits] = &dure_vulkan_op_mask_logits,
    [DURE_OP_sample] = &dure_vulkan_op_sample,
};

const dure_backend_op *dure_vulkan_op(dure_device *device, uint32_t op) {
  (void)device;
  return op < DURE_OP_COUNT ? table[op] : NULL;
}
