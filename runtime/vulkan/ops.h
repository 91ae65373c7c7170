// How the Vulkan backend runs each op: one dure_backend_op for each row of ops.def that has kernels, found by
// dure_vulkan_op (vulkan_device.h, ops.c).
//
// To add an op: its kernel (shaders/README.md), a recorder in the ops_*.c file of its family (helpers: ops_common.h), a
// declaration here and a line in ops.c.
#ifndef DURE_RUNTIME_VULKAN_OPS_H_
#define DURE_RUNTIME_VULKAN_OPS_H_

#include "runtime/hal.h"

// ops_elementwise.c
extern const dure_backend_op dure_vulkan_op_fill;
extern const dure_backend_op dure_vulkan_op_copy;
extern const dure_backend_op dure_vulkan_op_add;
extern const dure_backend_op dure_vulkan_op_scale;
extern const dure_backend_op dure_vulkan_op_multiply;
extern const dure_backend_op dure_vulkan_op_activation;
extern const dure_backend_op dure_vulkan_op_activation_gradient;

// ops_gated.c
extern const dure_backend_op dure_vulkan_op_gated_activation;
extern const dure_backend_op dure_vulkan_op_gated_activation_gradient;
extern const dure_backend_op dure_vulkan_op_rotary;
extern const dure_backend_op dure_vulkan_op_copy_heads;

// ops_embedding.c
extern const dure_backend_op dure_vulkan_op_embedding;
extern const dure_backend_op dure_vulkan_op_embedding_gradient;

// ops_blocks.c
extern const dure_backend_op dure_vulkan_op_unpack_blocks;
extern const dure_backend_op dure_vulkan_op_matmul_blocks;

// ops_reduction.c
extern const dure_backend_op dure_vulkan_op_sum_rows;
extern const dure_backend_op dure_vulkan_op_sum;
extern const dure_backend_op dure_vulkan_op_square_sum;

// ops_normalisation.c
extern const dure_backend_op dure_vulkan_op_layer_norm;
extern const dure_backend_op dure_vulkan_op_layer_norm_gradient;
extern const dure_backend_op dure_vulkan_op_layer_norm_parameters;
extern const dure_backend_op dure_vulkan_op_rms_norm;
extern const dure_backend_op dure_vulkan_op_rms_norm_gradient;
extern const dure_backend_op dure_vulkan_op_rms_norm_parameters;

// ops_loss.c
extern const dure_backend_op dure_vulkan_op_cross_entropy;
extern const dure_backend_op dure_vulkan_op_cross_entropy_gradient;

// ops_experts.c
extern const dure_backend_op dure_vulkan_op_route;
extern const dure_backend_op dure_vulkan_op_route_gradient;
extern const dure_backend_op dure_vulkan_op_expert_order;
extern const dure_backend_op dure_vulkan_op_expert_matmul;
extern const dure_backend_op dure_vulkan_op_expert_outer;
extern const dure_backend_op dure_vulkan_op_expert_combine;
extern const dure_backend_op dure_vulkan_op_expert_combine_gradient;

// ops_optimizer.c
extern const dure_backend_op dure_vulkan_op_gradient_clip;
extern const dure_backend_op dure_vulkan_op_adamw;

// ops_sample.c
extern const dure_backend_op dure_vulkan_op_adjust_logits;
extern const dure_backend_op dure_vulkan_op_mask_logits;
extern const dure_backend_op dure_vulkan_op_sample;

// ops_matmul.c
extern const dure_backend_op dure_vulkan_op_matmul;

// ops_quantised.c
extern const dure_backend_op dure_vulkan_op_quantize_rows;
extern const dure_backend_op dure_vulkan_op_matmul_q8;

// ops_attention.c
extern const dure_backend_op dure_vulkan_op_attention;
extern const dure_backend_op dure_vulkan_op_attention_gradient;

// ops_attention_cached.c
extern const dure_backend_op dure_vulkan_op_cache_append;
extern const dure_backend_op dure_vulkan_op_attention_cached;

#endif  // DURE_RUNTIME_VULKAN_OPS_H_
