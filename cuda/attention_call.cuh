// From a call of attention or attention_gradient to the arguments of its kernels (kernels/attention_common.cuh), and
// how they are launched.
#ifndef DURE_CUDA_ATTENTION_CALL_CUH_
#define DURE_CUDA_ATTENTION_CALL_CUH_

#include "cuda/kernels/attention_common.cuh"
#include "cuda/record.cuh"

// Operands of both ops. The gradient's go on where attention has its outputs.
enum {
  ATTENTION_Q,
  ATTENTION_K,
  ATTENTION_V,
  ATTENTION_DOCUMENT_STARTS,
  ATTENTION_SLOPES,
  ATTENTION_Y,
  ATTENTION_LOG_SUM_EXP,
  GRADIENT_DY,
  GRADIENT_DQ,
  GRADIENT_DK,
  GRADIENT_DV,
};

// The pass whose launches are described.
enum attention_pass { ATTENTION_FORWARD, ATTENTION_GRADIENT_Q, ATTENTION_GRADIENT_K_V, ATTENTION_PASSES };

// Whether rows of D elements of all operands that the kernels move can be moved `width` at a time.
static inline bool attention_moves(const dure_op_call *call, uint64_t width) {
  const bool is_gradient = call->op == DURE_OP_attention_gradient;
  const uint64_t D = call->operands[ATTENTION_Q].shape[3];
  if (D % width != 0) return false;
  const uint32_t skipped = 1u << ATTENTION_DOCUMENT_STARTS | 1u << ATTENTION_SLOPES | 1u << ATTENTION_LOG_SUM_EXP;
  for (uint32_t i = 0; i <= (is_gradient ? GRADIENT_DV : ATTENTION_Y); i++) {
    if ((skipped >> i & 1) != 0) continue;
    const dure_operand *operand = &call->operands[i];
    if (operand->offset % (width * dure_dtype_size(operand->dtype)) != 0) return false;
    if (operand->rank != 4) continue;  // y and dy under another shape: contiguous
    if (operand->stride[1] % width != 0 || operand->stride[2] % width != 0) return false;
  }
  return true;
}

static inline uint32_t attention_end_row(const dure_op_call *call) {
  const dure_attention_attributes *attributes = &call->attributes.attention;
  return attributes->row_count > 0 ? attributes->first_row + attributes->row_count
                                   : (uint32_t)call->operands[ATTENTION_Q].shape[1];
}

// Of both ops and all passes; outputs, heads and tiles: attention_arguments_of_pass().
static inline attention_arguments attention_arguments_of(const dure_op_call *call) {
  const dure_operand *operands = call->operands, *q = &operands[ATTENTION_Q], *k = &operands[ATTENTION_K];
  const dure_operand *v = &operands[ATTENTION_V];
  const dure_attention_attributes *attributes = &call->attributes.attention;
  const bool is_gradient = call->op == DURE_OP_attention_gradient;
  attention_arguments a = {};
  a.B = (uint32_t)q->shape[0];
  a.T = (uint32_t)q->shape[1];
  a.H = (uint32_t)q->shape[2];
  a.G = (uint32_t)k->shape[2];
  a.D = (uint32_t)q->shape[3];
  a.window = attributes->window;
  a.scale = attributes->scale;
  a.soft_cap = attributes->soft_cap;
  a.first_row = attributes->first_row;
  a.end_row = attention_end_row(call);
  a.in_fours = attention_moves(call, 4);
  a.q = cuda_address<void>(q);
  a.k = cuda_address<void>(k);
  a.v = cuda_address<void>(v);
  a.q_t = q->stride[1];
  a.q_h = q->stride[2];
  a.k_t = k->stride[1];
  a.k_h = k->stride[2];
  a.v_t = v->stride[1];
  a.v_h = v->stride[2];
  a.dy_t = (uint64_t)a.H * a.D;
  a.dy_h = a.D;
  a.document_starts = cuda_address<const uint32_t>(&operands[ATTENTION_DOCUMENT_STARTS]);
  a.slopes = cuda_address<const float>(&operands[ATTENTION_SLOPES]);
  if (is_gradient) a.dy = cuda_address<void>(&operands[GRADIENT_DY]);
  if (is_gradient) a.delta = cuda_address<float>(&call->workspace);
  a.log_sum_exp = cuda_address<float>(&operands[ATTENTION_LOG_SUM_EXP]);
  return a;
}

// Adds what differs between passes; `rows`: of a block.
static inline attention_arguments attention_arguments_of_pass(const dure_op_call *call, attention_pass pass,
                                                              uint32_t rows, uint64_t l2_bytes) {
  attention_arguments a = attention_arguments_of(call);
  const dure_operand *operands = call->operands;
  if (pass == ATTENTION_FORWARD) {
    a.out = cuda_address<void>(&operands[ATTENTION_Y]);
    a.out_t = (uint64_t)a.H * a.D;
    a.out_h = a.D;
  } else {
    const dure_operand *out = &operands[pass == ATTENTION_GRADIENT_Q ? GRADIENT_DQ : GRADIENT_DK];
    a.out = cuda_address<void>(out);
    a.out_t = out->stride[1];
    a.out_h = out->stride[2];
    a.second = cuda_address<void>(&operands[GRADIENT_DV]);
    a.second_t = operands[GRADIENT_DV].stride[1];
    a.second_h = operands[GRADIENT_DV].stride[2];
  }
  a.heads = pass == ATTENTION_GRADIENT_K_V ? a.G : a.H;
  a.tiles = (uint32_t)cuda_ceil_divide(a.end_row - a.first_row, rows);
  // Half of the cache for what all blocks of a head read: two operands of a head, or of all heads that share a key
  // head.
  const uint64_t head_bytes = 2 * (uint64_t)a.T * a.D * dure_dtype_size(operands[ATTENTION_Q].dtype);
  const uint64_t read_bytes = pass == ATTENTION_GRADIENT_K_V ? head_bytes * (a.H / a.G) : head_bytes;
  const uint64_t each = pass == ATTENTION_GRADIENT_K_V ? 1 : a.H / a.G;  // heads that read the same
  const uint64_t fit = read_bytes > 0 ? l2_bytes / 2 / read_bytes * each : 1, all = (uint64_t)a.B * a.heads;
  a.nearby = (uint32_t)(fit < each ? each : fit < all ? fit : all);
  return a;
}

static inline dim3 attention_grid(const attention_arguments &a) { return dim3(a.B * a.heads * a.tiles); }

#endif  // DURE_CUDA_ATTENTION_CALL_CUH_
