// The functions that ops.def's columns name. Adding an op adds its rules to the op_*.c files; this header declares all
// of them from the table.
#ifndef DURE_RUNTIME_OP_RULES_H_
#define DURE_RUNTIME_OP_RULES_H_

#include "runtime/gradient.h"
#include "runtime/ops.h"

#define dure_gradient_none NULL
#define dure_expand_none NULL

dure_status dure_shape_fill(dure_op_call *call);
dure_status dure_shape_same(dure_op_call *call);
dure_status dure_shape_scalar(dure_op_call *call);
dure_status dure_shape_sum_rows(dure_op_call *call);
dure_status dure_shape_embedding(dure_op_call *call);
dure_status dure_shape_embedding_gradient(dure_op_call *call);
dure_status dure_shape_matmul(dure_op_call *call);
dure_status dure_shape_quantize_rows(dure_op_call *call);
dure_status dure_shape_matmul_q8(dure_op_call *call);
dure_status dure_shape_unpack_blocks(dure_op_call *call);
dure_status dure_shape_matmul_blocks(dure_op_call *call);
dure_status dure_shape_layer_norm(dure_op_call *call);
dure_status dure_shape_layer_norm_gradient(dure_op_call *call);
dure_status dure_shape_layer_norm_parameters(dure_op_call *call);
dure_status dure_shape_rms_norm(dure_op_call *call);
dure_status dure_shape_rms_norm_gradient(dure_op_call *call);
dure_status dure_shape_rms_norm_parameters(dure_op_call *call);
dure_status dure_shape_gated_activation(dure_op_call *call);
dure_status dure_shape_gated_activation_gradient(dure_op_call *call);
dure_status dure_shape_copy_heads(dure_op_call *call);
dure_status dure_shape_rotary(dure_op_call *call);
dure_status dure_shape_attention(dure_op_call *call);
dure_status dure_shape_attention_gradient(dure_op_call *call);
dure_status dure_shape_cache_append(dure_op_call *call);
dure_status dure_shape_attention_cached(dure_op_call *call);
dure_status dure_shape_cross_entropy(dure_op_call *call);
dure_status dure_shape_cross_entropy_gradient(dure_op_call *call);
dure_status dure_shape_linear_cross_entropy(dure_op_call *call);
dure_status dure_shape_linear_cross_entropy_gradient(dure_op_call *call);
dure_status dure_shape_route(dure_op_call *call);
dure_status dure_shape_route_gradient(dure_op_call *call);
dure_status dure_shape_expert_order(dure_op_call *call);
dure_status dure_shape_expert_matmul(dure_op_call *call);
dure_status dure_shape_expert_outer(dure_op_call *call);
dure_status dure_shape_expert_combine(dure_op_call *call);
dure_status dure_shape_expert_combine_gradient(dure_op_call *call);
dure_status dure_shape_gradient_clip(dure_op_call *call);
dure_status dure_shape_adamw(dure_op_call *call);
dure_status dure_shape_adjust_logits(dure_op_call *call);
dure_status dure_shape_mask_logits(dure_op_call *call);
dure_status dure_shape_sample(dure_op_call *call);

dure_cost dure_cost_elementwise(const dure_op_call *call);
dure_cost dure_cost_adamw(const dure_op_call *call);
dure_cost dure_cost_embedding(const dure_op_call *call);
dure_cost dure_cost_cache_append(const dure_op_call *call);
dure_cost dure_cost_matmul(const dure_op_call *call);
dure_cost dure_cost_matmul_q8(const dure_op_call *call);
dure_cost dure_cost_unpack_blocks(const dure_op_call *call);
dure_cost dure_cost_matmul_blocks(const dure_op_call *call);
dure_cost dure_cost_attention(const dure_op_call *call);
dure_cost dure_cost_attention_gradient(const dure_op_call *call);
dure_cost dure_cost_linear_cross_entropy(const dure_op_call *call);
dure_cost dure_cost_linear_cross_entropy_gradient(const dure_op_call *call);
dure_cost dure_cost_expert_matmul(const dure_op_call *call);
dure_cost dure_cost_expert_outer(const dure_op_call *call);
dure_cost dure_cost_attention_cached(const dure_op_call *call);

dure_status dure_expand_elements(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                 void *context);
dure_status dure_expand_adamw(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                              void *context);
dure_status dure_expand_sum_rows(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                 void *context);
dure_status dure_expand_sum(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink, void *context);
dure_status dure_expand_embedding(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                  void *context);
dure_status dure_expand_embedding_gradient(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                           void *context);
dure_status dure_expand_matmul(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                               void *context);
dure_status dure_expand_quantize_rows(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                      void *context);
dure_status dure_expand_matmul_q8(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                  void *context);
dure_status dure_expand_unpack_blocks(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                      void *context);
dure_status dure_expand_matmul_blocks(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                      void *context);
dure_status dure_expand_rms_norm(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                 void *context);
dure_status dure_expand_rms_norm_gradient(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                          void *context);
dure_status dure_expand_rms_norm_parameters(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                            void *context);
dure_status dure_expand_gated_activation(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                         void *context);
dure_status dure_expand_copy_heads(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                   void *context);
dure_status dure_expand_rotary(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                               void *context);
dure_status dure_expand_layer_norm(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                   void *context);
dure_status dure_expand_layer_norm_gradient(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                            void *context);
dure_status dure_expand_layer_norm_parameters(const dure_op_call *call, const dure_limits *limits,
                                              dure_expand_sink sink, void *context);
dure_status dure_expand_attention(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                  void *context);
dure_status dure_expand_cross_entropy(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                      void *context);
dure_status dure_expand_cross_entropy_gradient(const dure_op_call *call, const dure_limits *limits,
                                               dure_expand_sink sink, void *context);
dure_status dure_expand_linear_cross_entropy(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                             void *context);
dure_status dure_expand_linear_cross_entropy_gradient(const dure_op_call *call, const dure_limits *limits,
                                                      dure_expand_sink sink, void *context);

dure_status dure_expand_route(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                              void *context);
dure_status dure_expand_route_gradient(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                       void *context);
dure_status dure_expand_expert_matmul(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                      void *context);
dure_status dure_expand_expert_outer(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                     void *context);
dure_status dure_expand_expert_combine_gradient(const dure_op_call *call, const dure_limits *limits,
                                                dure_expand_sink sink, void *context);
dure_status dure_expand_expert_combine(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                       void *context);

dure_status dure_gradient_copy(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_scale(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_add(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_embedding(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_matmul(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_layer_norm(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_rms_norm(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_multiply(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_gated_activation(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_copy_heads(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_rotary(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_activation(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_attention(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_route(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_expert_matmul(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_expert_combine(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_cross_entropy(dure_gradient *gradient, const dure_program_call_record *call);
dure_status dure_gradient_linear_cross_entropy(dure_gradient *gradient, const dure_program_call_record *call);

#endif  // DURE_RUNTIME_OP_RULES_H_
