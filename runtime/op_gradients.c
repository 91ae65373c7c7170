// Gradient rules: each appends the calls of its row's backward pass. Column `gradient` of ops.def.
#include "runtime/op_rules.h"

// ---- elementwise -----------------------------------------------------------------------------------------------

dure_status dure_gradient_copy(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { X, Y };
  const dure_copy_among among = call->attributes.copy.among;
  if (among == DURE_AMONG_NOBODY || among == DURE_AMONG_SUM) {
    dure_gradient_pass(gradient, call->operands[Y], call->operands[X]);
    return NULL;
  }
  // What is sent or summed must not be mixed with what was there: never added to.
  const dure_gradient_slot slot = dure_gradient_open(gradient, call->operands[X], false);
  const dure_op_attributes attributes = {.copy = {among == DURE_AMONG_EXCHANGE ? among : DURE_AMONG_SUM}};
  dure_tensor operands[DURE_MAX_OPERANDS] = {dure_gradient_of(gradient, call->operands[Y]), slot.tensor};
  dure_program_call(dure_gradient_program(gradient), DURE_OP_copy, operands, &attributes, 0);
  dure_gradient_close(gradient, &slot);
  return NULL;
}

dure_status dure_gradient_add(dure_gradient *gradient, const dure_program_call_record *call) {
  dure_gradient_pass_both(gradient, call->operands[2], call->operands[0], call->operands[1]);
  return NULL;
}

dure_status dure_gradient_scale(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { X, Y };
  dure_tensor dy = dure_gradient_of(gradient, call->operands[Y]);
  dure_gradient_slot slot = dure_gradient_open(gradient, call->operands[X], true);
  dure_tensor operands[DURE_MAX_OPERANDS] = {dy, slot.tensor};
  dure_program_call(dure_gradient_program(gradient), DURE_OP_scale, operands, &call->attributes,
                    slot.accumulate ? 1u << Y : 0);
  dure_gradient_close(gradient, &slot);
  return NULL;
}

dure_status dure_gradient_activation(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { X, Y };
  dure_tensor dy = dure_gradient_of(gradient, call->operands[Y]);
  dure_gradient_slot slot = dure_gradient_open(gradient, call->operands[X], true);
  dure_tensor operands[DURE_MAX_OPERANDS] = {call->operands[X], dy, slot.tensor};
  dure_program_call(dure_gradient_program(gradient), DURE_OP_activation_gradient, operands, &call->attributes,
                    slot.accumulate ? 1u << 2 : 0);
  dure_gradient_close(gradient, &slot);
  return NULL;
}

// ---- embedding -------------------------------------------------------------------------------------------------

dure_status dure_gradient_embedding(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { TABLE, INDICES, Y };
  dure_program *program = dure_gradient_program(gradient);
  if (!dure_gradient_wants(gradient, call->operands[TABLE])) return NULL;
  dure_tensor dy = dure_gradient_of(gradient, call->operands[Y]);
  dure_gradient_slot slot = dure_gradient_open(gradient, call->operands[TABLE], true);
  dure_op_attributes attributes = {
      .embedding = {0, (uint32_t)dure_tensor_dimension(program, call->operands[TABLE], 0)}};
  dure_tensor operands[DURE_MAX_OPERANDS] = {call->operands[INDICES], dy, slot.tensor};
  dure_program_call(program, DURE_OP_embedding_gradient, operands, &attributes, slot.accumulate ? 1u << 2 : 0);
  dure_gradient_close(gradient, &slot);
  return NULL;
}

// ---- matmul ----------------------------------------------------------------------------------------------------

enum { MATMUL_A, MATMUL_B, MATMUL_BIAS, MATMUL_RESIDUAL, MATMUL_PREACTIVATION, MATMUL_C, MATMUL_SAVED };

// `preactivation`: not absent: the product is multiplied by the slope of `activation` there.
typedef struct slope_epilogue {
  dure_tensor preactivation;
  dure_activation activation;
} slope_epilogue;

static void record_matmul(dure_program *program, dure_tensor a, bool transpose_a, dure_tensor b, bool transpose_b,
                          const slope_epilogue *slope, const dure_gradient_slot *slot) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {a, b, [MATMUL_C] = slot->tensor};
  dure_op_attributes attributes = {.matmul = {.transpose_a = transpose_a, .transpose_b = transpose_b}};
  if (slope != NULL && slope->preactivation.index != 0) {
    operands[MATMUL_PREACTIVATION] = slope->preactivation;
    attributes.matmul.epilogue = DURE_EPILOGUE_ACTIVATION_GRADIENT;
    attributes.matmul.activation = slope->activation;
  }
  dure_program_call(program, DURE_OP_matmul, operands, &attributes, slot->accumulate ? 1u << MATMUL_C : 0);
}

// [batch, rows, columns] against one matrix counts as [batch * rows, columns].
static dure_tensor as_matrix(dure_program *program, dure_tensor tensor) {
  if (dure_tensor_rank(program, tensor) != 3) return tensor;
  uint64_t shape[2] = {dure_tensor_dimension(program, tensor, 0) * dure_tensor_dimension(program, tensor, 1),
                       dure_tensor_dimension(program, tensor, 2)};
  return dure_tensor_reshape(program, tensor, 2, shape);
}

// The gradient of the product and bias, before an activation that ends the call: in the memory of c's where it may be.
static dure_tensor gradient_before_activation(dure_gradient *gradient, const dure_program_call_record *call) {
  dure_program *program = dure_gradient_program(gradient);
  const dure_tensor *o = call->operands;
  dure_tensor dc = dure_gradient_of(gradient, o[MATMUL_C]);
  bool is_activated = call->attributes.matmul.epilogue == DURE_EPILOGUE_ACTIVATION;
  if (!is_activated || dure_gradient_is_through(gradient, o[MATMUL_C])) return dc;
  bool in_place = o[MATMUL_RESIDUAL].index == 0 && dure_gradient_may_overwrite(gradient, o[MATMUL_C]);
  dure_tensor operands[DURE_MAX_OPERANDS] = {o[MATMUL_SAVED], dc, in_place ? dc : DURE_ABSENT};
  const dure_op_attributes attributes = {.activation = {call->attributes.matmul.activation}};
  dure_program_call(program, DURE_OP_activation_gradient, operands, &attributes, 0);
  return operands[2];
}

// da = dt op(b)^T, transposed again when a was. Where a is the activated result of another matmul that nothing else
// reads, this one goes on through that activation.
static void gradient_of_a(dure_gradient *gradient, const dure_program_call_record *call, dure_tensor dt, bool batched) {
  dure_program *program = dure_gradient_program(gradient);
  const dure_tensor a = call->operands[MATMUL_A], b = call->operands[MATMUL_B];
  bool ta = call->attributes.matmul.transpose_a, tb = call->attributes.matmul.transpose_b;
  dure_gradient_slot slot = dure_gradient_open(gradient, a, true);
  slope_epilogue slope = {DURE_ABSENT, DURE_ACTIVATION_RELU};
  dure_program_call_record producer;
  bool is_only = !slot.accumulate && slot.destination.index == 0;
  if (is_only && dure_gradient_producer(gradient, a, &producer) && producer.op == DURE_OP_matmul &&
      producer.attributes.matmul.epilogue == DURE_EPILOGUE_ACTIVATION &&
      producer.operands[MATMUL_RESIDUAL].index == 0) {
    slope = (slope_epilogue){producer.operands[MATMUL_SAVED], producer.attributes.matmul.activation};
    if (!batched) slope.preactivation = as_matrix(program, slope.preactivation);
    dure_gradient_set_through(gradient, a);
  }
  dure_gradient_slot flat = slot;
  if (!batched) flat.tensor = as_matrix(program, slot.tensor);
  if (ta) {
    record_matmul(program, b, tb, dt, true, &slope, &flat);
  } else {
    record_matmul(program, dt, false, b, !tb, &slope, &flat);
  }
  dure_gradient_close(gradient, &slot);
}

// db = op(a)^T dt, transposed again when b was.
static void gradient_of_b(dure_gradient *gradient, const dure_program_call_record *call, dure_tensor dt, bool batched) {
  dure_program *program = dure_gradient_program(gradient);
  bool ta = call->attributes.matmul.transpose_a, tb = call->attributes.matmul.transpose_b;
  dure_tensor a = batched ? call->operands[MATMUL_A] : as_matrix(program, call->operands[MATMUL_A]);
  dure_gradient_slot slot = dure_gradient_open(gradient, call->operands[MATMUL_B], true);
  if (tb) {
    record_matmul(program, dt, true, a, ta, NULL, &slot);
  } else {
    record_matmul(program, a, !ta, dt, false, NULL, &slot);
  }
  dure_gradient_close(gradient, &slot);
}

dure_status dure_gradient_matmul(dure_gradient *gradient, const dure_program_call_record *call) {
  dure_program *program = dure_gradient_program(gradient);
  const dure_tensor *o = call->operands;
  if (o[MATMUL_PREACTIVATION].index != 0) {
    return dure_fail(DURE_UNSUPPORTED, "a matmul that is an activation's gradient cannot be differentiated again");
  }
  bool batched = dure_tensor_rank(program, o[MATMUL_B]) == 3;
  dure_tensor dt = gradient_before_activation(gradient, call);
  if (!batched) dt = as_matrix(program, dt);
  if (dure_gradient_wants(gradient, o[MATMUL_A])) gradient_of_a(gradient, call, dt, batched);
  if (dure_gradient_wants(gradient, o[MATMUL_B])) gradient_of_b(gradient, call, dt, batched);
  if (o[MATMUL_BIAS].index != 0 && dure_gradient_wants(gradient, o[MATMUL_BIAS])) {
    dure_gradient_slot slot = dure_gradient_open(gradient, o[MATMUL_BIAS], true);
    dure_tensor operands[DURE_MAX_OPERANDS] = {dt, slot.tensor};
    dure_program_call(program, DURE_OP_sum_rows, operands, NULL, slot.accumulate ? 1u << 1 : 0);
    dure_gradient_close(gradient, &slot);
  }
  if (o[MATMUL_RESIDUAL].index != 0) dure_gradient_pass(gradient, o[MATMUL_C], o[MATMUL_RESIDUAL]);
  return NULL;
}

// ---- layer norm ------------------------------------------------------------------------------------------------

dure_status dure_gradient_layer_norm(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { X, WEIGHT, BIAS, Y, MEAN, RECIPROCAL_DEVIATION };
  dure_program *program = dure_gradient_program(gradient);
  const dure_tensor *o = call->operands;
  dure_tensor dy = dure_gradient_of(gradient, o[Y]);
  if (dure_gradient_wants(gradient, o[X])) {
    dure_gradient_slot slot = dure_gradient_open(gradient, o[X], true);
    dure_tensor operands[DURE_MAX_OPERANDS] = {dy, o[X], o[WEIGHT], o[MEAN], o[RECIPROCAL_DEVIATION], slot.tensor};
    dure_program_call(program, DURE_OP_layer_norm_gradient, operands, NULL, slot.accumulate ? 1u << 5 : 0);
    dure_gradient_close(gradient, &slot);
  }
  bool wants_weight = dure_gradient_wants(gradient, o[WEIGHT]), wants_bias = dure_gradient_wants(gradient, o[BIAS]);
  if (!wants_weight && !wants_bias) return NULL;
  // Where only one of the two is wanted the other goes to a temporary.
  dure_gradient_slot weight =
      wants_weight ? dure_gradient_open(gradient, o[WEIGHT], true) : (dure_gradient_slot){{0}, false, {0}};
  dure_gradient_slot bias =
      wants_bias ? dure_gradient_open(gradient, o[BIAS], true) : (dure_gradient_slot){{0}, false, {0}};
  dure_tensor operands[DURE_MAX_OPERANDS] = {dy, o[X], o[MEAN], o[RECIPROCAL_DEVIATION], weight.tensor, bias.tensor};
  dure_program_call(program, DURE_OP_layer_norm_parameters, operands, NULL,
                    (weight.accumulate ? 1u << 4 : 0) | (bias.accumulate ? 1u << 5 : 0));
  if (wants_weight) dure_gradient_close(gradient, &weight);
  if (wants_bias) dure_gradient_close(gradient, &bias);
  return NULL;
}

// ---- root mean square norm, rotation ---------------------------------------------------------------------------

dure_status dure_gradient_rms_norm(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { X, WEIGHT, Y, RECIPROCAL_RMS };
  dure_program *program = dure_gradient_program(gradient);
  const dure_tensor *o = call->operands;
  dure_tensor dy = dure_gradient_of(gradient, o[Y]);
  if (dure_gradient_wants(gradient, o[WEIGHT])) {
    dure_gradient_slot slot = dure_gradient_open(gradient, o[WEIGHT], true);
    dure_tensor operands[DURE_MAX_OPERANDS] = {dy, o[X], o[RECIPROCAL_RMS], slot.tensor};
    dure_program_call(program, DURE_OP_rms_norm_parameters, operands, NULL, slot.accumulate ? 1u << 3 : 0);
    dure_gradient_close(gradient, &slot);
  }
  if (dure_gradient_wants(gradient, o[X])) {
    dure_gradient_slot slot = dure_gradient_open(gradient, o[X], true);
    dure_tensor operands[DURE_MAX_OPERANDS] = {dy, o[X], o[WEIGHT], o[RECIPROCAL_RMS], slot.tensor};
    dure_program_call(program, DURE_OP_rms_norm_gradient, operands, &call->attributes, slot.accumulate ? 1u << 4 : 0);
    dure_gradient_close(gradient, &slot);
  }
  return NULL;
}

dure_status dure_gradient_copy_heads(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { X, Y };
  dure_program *program = dure_gradient_program(gradient);
  const dure_tensor *o = call->operands;
  if (!dure_gradient_wants(gradient, o[X])) return NULL;
  dure_tensor dy = dure_gradient_of(gradient, o[Y]);
  dure_gradient_slot slot = dure_gradient_open(gradient, o[X], true);
  const dure_op_attributes attributes = {.copy_heads = {(uint32_t)dure_tensor_dimension(program, o[X], 2)}};
  dure_tensor operands[DURE_MAX_OPERANDS] = {dy, slot.tensor};
  dure_program_call(program, DURE_OP_copy_heads, operands, &attributes, slot.accumulate ? 1u << Y : 0);
  dure_gradient_close(gradient, &slot);
  return NULL;
}

dure_status dure_gradient_rotary(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { X, POSITIONS, TABLE, Y };
  const dure_tensor *o = call->operands;
  if (!dure_gradient_wants(gradient, o[X])) return NULL;
  dure_tensor dy = dure_gradient_of(gradient, o[Y]);
  dure_gradient_slot slot = dure_gradient_open(gradient, o[X], false);
  dure_op_attributes attributes = call->attributes;
  attributes.rotary.is_inverse = !attributes.rotary.is_inverse;
  dure_tensor operands[DURE_MAX_OPERANDS] = {dy, o[POSITIONS], o[TABLE], slot.tensor};
  dure_program_call(dure_gradient_program(gradient), DURE_OP_rotary, operands, &attributes, 0);
  dure_gradient_close(gradient, &slot);
  return NULL;
}

// ---- products --------------------------------------------------------------------------------------------------

dure_status dure_gradient_multiply(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { A, B, Y };
  const dure_tensor *o = call->operands;
  dure_tensor dy = dure_gradient_of(gradient, o[Y]);
  for (uint32_t i = A; i <= B; i++) {
    if (!dure_gradient_wants(gradient, o[i])) continue;
    dure_gradient_slot slot = dure_gradient_open(gradient, o[i], true);
    dure_tensor operands[DURE_MAX_OPERANDS] = {dy, o[i == A ? B : A], slot.tensor};
    dure_program_call(dure_gradient_program(gradient), DURE_OP_multiply, operands, NULL, slot.accumulate ? 1u << Y : 0);
    dure_gradient_close(gradient, &slot);
  }
  return NULL;
}

// Where only one of the two is wanted the other goes to a temporary.
dure_status dure_gradient_gated_activation(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { GATE, UP, Y };
  const dure_tensor *o = call->operands;
  dure_tensor dy = dure_gradient_of(gradient, o[Y]);
  dure_gradient_slot slots[2] = {{{0}, false, {0}}};
  for (uint32_t i = GATE; i <= UP; i++) {
    if (dure_gradient_wants(gradient, o[i])) slots[i] = dure_gradient_open(gradient, o[i], false);
  }
  dure_tensor operands[DURE_MAX_OPERANDS] = {o[GATE], o[UP], dy, slots[GATE].tensor, slots[UP].tensor};
  dure_program_call(dure_gradient_program(gradient), DURE_OP_gated_activation_gradient, operands, &call->attributes, 0);
  for (uint32_t i = GATE; i <= UP; i++) {
    if (slots[i].tensor.index != 0) dure_gradient_close(gradient, &slots[i]);
  }
  return NULL;
}

// ---- attention -------------------------------------------------------------------------------------------------

dure_status dure_gradient_attention(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { Q, K, V, DOCUMENT_STARTS, SLOPES, Y, LOG_SUM_EXP };
  const dure_tensor *o = call->operands;
  dure_tensor dy = dure_gradient_of(gradient, o[Y]);
  dure_gradient_slot slots[3] = {{{0}, false, {0}}};
  for (uint32_t i = Q; i <= V; i++) {
    if (dure_gradient_wants(gradient, o[i])) slots[i] = dure_gradient_open(gradient, o[i], false);
  }
  dure_tensor operands[DURE_MAX_OPERANDS] = {o[Q],           o[K],           o[V], o[DOCUMENT_STARTS], o[SLOPES],
                                             o[Y],           o[LOG_SUM_EXP], dy,   slots[Q].tensor,    slots[K].tensor,
                                             slots[V].tensor};
  dure_program_call(dure_gradient_program(gradient), DURE_OP_attention_gradient, operands, &call->attributes, 0);
  for (uint32_t i = Q; i <= V; i++) {
    if (slots[i].tensor.index != 0) dure_gradient_close(gradient, &slots[i]);
  }
  return NULL;
}

// ---- loss ------------------------------------------------------------------------------------------------------

// In place: the logits' memory becomes their gradient's, since a [rows, vocabulary] tensor is the largest of a step.
dure_status dure_gradient_cross_entropy(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { LOGITS, LABELS, LOSS, LOG_SUM_EXP };
  const dure_tensor *o = call->operands;
  dure_tensor operands[DURE_MAX_OPERANDS] = {o[LABELS], o[LOG_SUM_EXP], dure_gradient_of(gradient, o[LOSS]), o[LOGITS]};
  dure_program_call(dure_gradient_program(gradient), DURE_OP_cross_entropy_gradient, operands, NULL, 0);
  dure_gradient_alias(gradient, o[LOGITS], o[LOGITS]);
  return NULL;
}

// Loss, logits and their gradients chunk by chunk, all in place of the forward call: the logits are then made only
// once. Where that cannot be, they are made again.
dure_status dure_gradient_linear_cross_entropy(dure_gradient *gradient, const dure_program_call_record *call) {
  enum { HIDDEN, WEIGHT, LABELS, LOSS, LOG_SUM_EXP };
  const dure_tensor *o = call->operands;
  dure_tensor dloss = dure_gradient_of(gradient, o[LOSS]);
  bool is_first = dure_gradient_is_first(gradient, o[HIDDEN]) && dure_gradient_is_first(gradient, o[WEIGHT]);
  dure_gradient_slot hidden = dure_gradient_open(gradient, o[HIDDEN], true);
  dure_gradient_slot weight = dure_gradient_open(gradient, o[WEIGHT], true);
  const uint32_t accumulate = (hidden.accumulate ? 1u << 6 : 0) | (weight.accumulate ? 1u << 7 : 0);
  dure_tensor operands[DURE_MAX_OPERANDS] = {o[HIDDEN], o[WEIGHT], o[LABELS], dloss};
  operands[6] = hidden.tensor;
  operands[7] = weight.tensor;
  if (is_first) {
    operands[4] = o[LOSS];
    operands[5] = o[LOG_SUM_EXP];
    dure_gradient_replace_forward(gradient, DURE_OP_linear_cross_entropy_gradient, operands, &call->attributes,
                                  accumulate);
  } else {
    dure_program_call(dure_gradient_program(gradient), DURE_OP_linear_cross_entropy_gradient, operands,
                      &call->attributes, accumulate);
  }
  dure_gradient_close(gradient, &hidden);
  dure_gradient_close(gradient, &weight);
  return NULL;
}
