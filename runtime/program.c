// Recording: values, views and calls.
#include "runtime/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program_internal.h"

// ---- failures --------------------------------------------------------------------------------------------------

bool program_failed(const dure_program *program) { return program->failure_code != DURE_OK; }

void program_fail(dure_program *program, dure_status status) {
  if (!program_failed(program)) {
    program->failure_code = dure_status_code(status);
    program->failure_message = strdup(dure_status_message(status));
  }
  dure_status_free(status);
}

dure_status dure_program_check(const dure_program *program) {
  if (!program_failed(program)) return NULL;
  return dure_fail(program->failure_code, "%s",
                   program->failure_message != NULL ? program->failure_message : "out of host memory");
}

// ---- life ------------------------------------------------------------------------------------------------------

static bool grow(void **array, uint32_t *capacity, uint32_t count, size_t element_size) {
  if (count < *capacity) return true;
  uint32_t grown = *capacity == 0 ? 64 : *capacity * 2;
  void *larger = realloc(*array, grown * element_size);
  if (larger == NULL) return false;
  *array = larger;
  *capacity = grown;
  return true;
}

dure_program *dure_program_create(void) {
  dure_program *program = calloc(1, sizeof(*program));
  if (program == NULL) return NULL;
  bool grown = grow((void **)&program->values, &program->value_capacity, 0, sizeof(*program->values)) &&
               grow((void **)&program->scopes, &program->scope_capacity, 0, sizeof(*program->scopes));
  char *no_scope = strdup("");
  if (!grown || no_scope == NULL) {
    free(no_scope);
    dure_program_destroy(program);
    return NULL;
  }
  memset(&program->values[0], 0, sizeof(program->values[0]));
  program->value_count = 1;
  program->scopes[0] = no_scope;
  program->scope_count = 1;
  return program;
}

void dure_program_destroy(dure_program *program) {
  if (program == NULL) return;
  for (uint32_t i = 0; i < program->scope_count; i++) free(program->scopes[i]);
  free(program->scopes);
  for (uint32_t i = 0; i < program->value_count; i++) {
    if (program->values[i].root == i) free(program->values[i].contents);
  }
  free(program->values);
  free(program->calls);
  free(program->failure_message);
  free(program);
}

void dure_program_block(dure_program *program, uint32_t block) { program->current_block = block; }

void dure_program_scope(dure_program *program, const char *format, ...) {
  if (program_failed(program)) return;
  char text[128];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  char *copy = strdup(text);
  if (copy == NULL ||
      !grow((void **)&program->scopes, &program->scope_capacity, program->scope_count, sizeof(*program->scopes))) {
    free(copy);
    program_fail(program, dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a program"));
    return;
  }
  program->current_scope = program->scope_count;
  program->scopes[program->scope_count++] = copy;
}

// ---- values ----------------------------------------------------------------------------------------------------

static dure_tensor add_value(dure_program *program, const program_value *value) {
  if (program_failed(program)) return DURE_ABSENT;
  if (!grow((void **)&program->values, &program->value_capacity, program->value_count, sizeof(*program->values))) {
    program_fail(program, dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a program"));
    return DURE_ABSENT;
  }
  program->values[program->value_count] = *value;
  return (dure_tensor){program->value_count++};
}

static dure_status check_shape(const char *label, dure_dtype dtype, uint32_t rank, const uint64_t *shape) {
  if (rank == 0 || rank > DURE_MAX_RANK)
    return dure_fail(DURE_INVALID_ARGUMENT, "tensor '%s' has %u dimensions, expected 1 to %d", label, rank,
                     DURE_MAX_RANK);
  uint64_t limit = UINT64_MAX / 16 / (dure_dtype_size(dtype) > 0 ? dure_dtype_size(dtype) : 1);
  for (uint32_t i = 0; i < rank; i++) {
    if (shape[i] == 0) return dure_fail(DURE_INVALID_ARGUMENT, "dimension %u of tensor '%s' is 0", i, label);
    if (shape[i] > limit) return dure_fail(DURE_INVALID_ARGUMENT, "tensor '%s' is too large to address", label);
    limit /= shape[i];
  }
  return NULL;
}

static uint64_t value_count_of(const program_value *value) {
  uint64_t count = 1;
  for (uint32_t i = 0; i < value->rank; i++) count *= value->shape[i];
  return count;
}

static dure_tensor add_root(dure_program *program, const char *label, dure_dtype dtype, uint32_t rank,
                            const uint64_t *shape, dure_lifetime lifetime, bool is_external) {
  if (program_failed(program)) return DURE_ABSENT;
  dure_status status = check_shape(label, dtype, rank, shape);
  if (status != NULL) {
    program_fail(program, status);
    return DURE_ABSENT;
  }
  program_value value = {
      .root = program->value_count, .dtype = dtype, .rank = rank, .lifetime = lifetime, .is_external = is_external};
  uint64_t stride = 1;
  for (uint32_t i = rank; i-- > 0;) {
    value.shape[i] = shape[i];
    value.stride[i] = stride;
    stride *= shape[i];
  }
  snprintf(value.label, sizeof(value.label), "%s", label != NULL ? label : "");
  return add_value(program, &value);
}

dure_tensor dure_tensor_external(dure_program *program, const char *label, dure_dtype dtype, uint32_t rank,
                                 const uint64_t *shape, dure_lifetime lifetime) {
  return add_root(program, label, dtype, rank, shape, lifetime, true);
}

dure_tensor dure_tensor_constant(dure_program *program, const char *label, dure_dtype dtype, uint32_t rank,
                                 const uint64_t *shape, const void *contents) {
  dure_tensor made = add_root(program, label, dtype, rank, shape, DURE_LIFETIME_INPUT, true);
  if (program_failed(program)) return DURE_ABSENT;
  program_value *value = &program->values[made.index];
  const size_t size = (size_t)(value_count_of(value) * dure_dtype_size(dtype));
  value->contents = malloc(size);
  if (value->contents == NULL) {
    program_fail(program, dure_fail(DURE_OUT_OF_MEMORY, "out of memory for '%s'", label));
    return DURE_ABSENT;
  }
  memcpy(value->contents, contents, size);
  return made;
}

dure_tensor dure_tensor_temporary(dure_program *program, const char *label, dure_dtype dtype, uint32_t rank,
                                  const uint64_t *shape) {
  return add_root(program, label, dtype, rank, shape, DURE_LIFETIME_ACTIVATION, false);
}

dure_tensor dure_tensor_view(dure_program *program, dure_tensor base, uint32_t rank, const uint64_t *shape,
                             const uint64_t *stride, uint64_t offset) {
  if (program_failed(program)) return DURE_ABSENT;
  if (base.index == 0 || base.index >= program->value_count) {
    program_fail(program, dure_fail(DURE_INVALID_ARGUMENT, "a view of an absent tensor"));
    return DURE_ABSENT;
  }
  program_value view = program->values[base.index];
  dure_operand whole = program_operand(program, base);
  dure_status status = check_shape(view.label, view.dtype, rank, shape);
  uint64_t last = offset;
  for (uint32_t i = 0; status == NULL && i < rank; i++) {
    if (stride[i] > UINT64_MAX / 16 / shape[i])
      status = dure_fail(DURE_INVALID_ARGUMENT, "a view of '%s' is too large to address", view.label);
    last += (shape[i] - 1) * stride[i];
  }
  if (status == NULL && last >= dure_operand_span(&whole) / dure_dtype_size(view.dtype)) {
    status = dure_fail(DURE_INVALID_ARGUMENT, "a view reaches past the end of tensor '%s'", view.label);
  }
  if (status != NULL) {
    program_fail(program, status);
    return DURE_ABSENT;
  }
  view.offset += offset;
  view.rank = rank;
  for (uint32_t i = 0; i < rank; i++) {
    view.shape[i] = shape[i];
    view.stride[i] = stride[i];
  }
  return add_value(program, &view);
}

dure_tensor dure_tensor_reshape(dure_program *program, dure_tensor base, uint32_t rank, const uint64_t *shape) {
  if (program_failed(program)) return DURE_ABSENT;
  dure_operand whole = program_operand(program, base);
  uint64_t count = 1, stride[DURE_MAX_RANK] = {0};
  for (uint32_t i = rank <= DURE_MAX_RANK ? rank : 0; i-- > 0;) {
    stride[i] = count;
    count *= shape[i];
  }
  if (!dure_operand_is_contiguous(&whole) || count != dure_operand_count(&whole)) {
    program_fail(program, dure_fail(DURE_INVALID_ARGUMENT,
                                    "tensor '%s' of %llu elements cannot be reshaped to %llu contiguous ones",
                                    program->values[base.index].label, (unsigned long long)dure_operand_count(&whole),
                                    (unsigned long long)count));
    return DURE_ABSENT;
  }
  return dure_tensor_view(program, base, rank, shape, stride, 0);
}

uint32_t dure_tensor_rank(const dure_program *program, dure_tensor tensor) {
  return tensor.index < program->value_count ? program->values[tensor.index].rank : 0;
}

uint64_t dure_tensor_dimension(const dure_program *program, dure_tensor tensor, uint32_t axis) {
  return axis < dure_tensor_rank(program, tensor) ? program->values[tensor.index].shape[axis] : 0;
}

uint64_t dure_tensor_stride(const dure_program *program, dure_tensor tensor, uint32_t axis) {
  return axis < dure_tensor_rank(program, tensor) ? program->values[tensor.index].stride[axis] : 0;
}

uint64_t dure_tensor_element_count(const dure_program *program, dure_tensor tensor) {
  if (tensor.index == 0 || tensor.index >= program->value_count) return 0;
  return value_count_of(&program->values[tensor.index]);
}

dure_dtype dure_tensor_dtype(const dure_program *program, dure_tensor tensor) {
  return tensor.index < program->value_count ? program->values[tensor.index].dtype : DURE_DTYPE_NONE;
}

// ---- calls -----------------------------------------------------------------------------------------------------

dure_operand program_operand(const dure_program *program, dure_tensor tensor) {
  dure_operand operand;
  memset(&operand, 0, sizeof(operand));
  if (tensor.index == 0 || tensor.index >= program->value_count) return operand;
  const program_value *value = &program->values[tensor.index];
  operand.dtype = value->dtype;
  operand.rank = value->rank;
  memcpy(operand.shape, value->shape, sizeof(operand.shape));
  memcpy(operand.stride, value->stride, sizeof(operand.stride));
  operand.offset = value->offset * dure_dtype_size(value->dtype);
  return operand;
}

dure_op_call program_resolve(const dure_program *program, const dure_program_call_record *call) {
  dure_op_call resolved;
  memset(&resolved, 0, sizeof(resolved));
  resolved.op = call->op;
  resolved.accumulate = call->accumulate;
  resolved.attributes = call->attributes;
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) resolved.operands[i] = program_operand(program, call->operands[i]);
  return resolved;
}

// Creates the activations for the outputs that the shape rule has just described.
static void create_outputs(dure_program *program, dure_program_call_record *record, const dure_op_call *call) {
  const dure_op_row *row = dure_op_get(call->op);
  for (uint32_t i = row->input_count; i < row->operand_count; i++) {
    bool is_absent = call->operands[i].dtype == DURE_DTYPE_NONE;
    if (record->operands[i].index != 0 || is_absent) continue;
    char label[48];
    snprintf(label, sizeof(label), "%s.%s", row->name, row->operands[i].name);
    record->operands[i] =
        dure_tensor_temporary(program, label, call->operands[i].dtype, call->operands[i].rank, call->operands[i].shape);
  }
}

void dure_program_call(dure_program *program, dure_op op, dure_tensor operands[DURE_MAX_OPERANDS],
                       const dure_op_attributes *attributes, uint32_t accumulate) {
  if (program_failed(program)) return;
  dure_program_call_record record = {
      .op = op, .accumulate = accumulate, .scope = program->current_scope, .block = program->current_block};
  if (attributes != NULL) record.attributes = *attributes;
  memcpy(record.operands, operands, sizeof(record.operands));
  dure_op_call call = program_resolve(program, &record);
  dure_status status = dure_op_check(&call);
  if (status == NULL &&
      !grow((void **)&program->calls, &program->call_capacity, program->call_count, sizeof(*program->calls))) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a program");
  }
  if (status != NULL) {
    const char *scope = program->scopes[program->current_scope];
    program_fail(program, scope[0] != '\0' ? dure_status_prefix(status, "%s", scope) : status);
    return;
  }
  create_outputs(program, &record, &call);
  if (program_failed(program)) return;
  program->calls[program->call_count++] = record;
  memcpy(operands, record.operands, sizeof(record.operands));
}

// ---- the ops as functions --------------------------------------------------------------------------------------

dure_tensor dure_add(dure_program *program, dure_tensor a, dure_tensor b) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {a, b};
  dure_program_call(program, DURE_OP_add, operands, NULL, 0);
  return operands[2];
}

dure_tensor dure_copy_with_ranks(dure_program *program, dure_tensor x, dure_copy_among among) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {x};
  dure_program_call(program, DURE_OP_copy, operands, &(dure_op_attributes){.copy = {among}}, 0);
  return operands[1];
}

dure_tensor dure_embedding(dure_program *program, dure_tensor table, dure_tensor indices) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {table, indices};
  dure_program_call(program, DURE_OP_embedding, operands, NULL, 0);
  return operands[2];
}

void dure_embedding_add(dure_program *program, dure_tensor table, dure_tensor indices, dure_tensor y) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {table, indices, y};
  dure_program_call(program, DURE_OP_embedding, operands, NULL, 1u << 2);
}

dure_tensor dure_matmul(dure_program *program, dure_tensor a, dure_tensor b, dure_tensor bias, bool transpose_a,
                        bool transpose_b) {
  return dure_matmul_with(program, a, b,
                          &(dure_matmul_options){.transpose_a = transpose_a, .transpose_b = transpose_b, .bias = bias});
}

dure_tensor dure_matmul_with(dure_program *program, dure_tensor a, dure_tensor b, const dure_matmul_options *options) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {a, b, options->bias, options->residual};
  const dure_op_attributes attributes = {
      .matmul = {.transpose_a = options->transpose_a,
                 .transpose_b = options->transpose_b,
                 .epilogue = options->has_activation ? DURE_EPILOGUE_ACTIVATION : DURE_EPILOGUE_NONE,
                 .activation = options->activation}};
  dure_program_call(program, DURE_OP_matmul, operands, &attributes, 0);
  return operands[5];
}

dure_quantized dure_quantize_rows(dure_program *program, dure_tensor x) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {x};
  dure_program_call(program, DURE_OP_quantize_rows, operands, NULL, 0);
  return (dure_quantized){.q = operands[1], .scales = operands[2]};
}

dure_tensor dure_quantized_matmul(dure_program *program, dure_quantized x, dure_quantized weight, dure_tensor bias,
                                  dure_dtype dtype) {
  enum { A, A_SCALES, B, B_SCALES, BIAS, C };
  dure_tensor operands[DURE_MAX_OPERANDS] = {x.q, x.scales, weight.q, weight.scales, bias};
  const dure_operand a = program_operand(program, x.q), b = program_operand(program, weight.q);
  if (a.rank > 0 && b.rank == 2) {  // else the call says what is wrong
    uint64_t shape[DURE_MAX_RANK];
    memcpy(shape, a.shape, sizeof(shape));
    shape[a.rank - 1] = b.shape[0];
    operands[C] = dure_tensor_temporary(program, "matmul_q8.c", dtype, a.rank, shape);
  }
  dure_program_call(program, DURE_OP_matmul_q8, operands, NULL, 0);
  return operands[C];
}

dure_tensor dure_layer_norm(dure_program *program, dure_tensor x, dure_tensor weight, dure_tensor bias, float epsilon) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {x, weight, bias};
  dure_op_attributes attributes = {.layer_norm = {epsilon}};
  dure_program_call(program, DURE_OP_layer_norm, operands, &attributes, 0);
  return operands[3];
}

dure_tensor dure_rms_norm(dure_program *program, dure_tensor x, dure_tensor weight, float epsilon,
                          float weight_offset) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {x, weight};
  dure_op_attributes attributes = {.rms_norm = {epsilon, weight_offset}};
  dure_program_call(program, DURE_OP_rms_norm, operands, &attributes, 0);
  return operands[2];
}

dure_tensor dure_scale(dure_program *program, dure_tensor x, float factor) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {x};
  const dure_op_attributes attributes = {.scale = {factor}};
  dure_program_call(program, DURE_OP_scale, operands, &attributes, 0);
  return operands[1];
}

dure_tensor dure_multiply(dure_program *program, dure_tensor a, dure_tensor b) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {a, b};
  dure_program_call(program, DURE_OP_multiply, operands, NULL, 0);
  return operands[2];
}

dure_tensor dure_gated_activation(dure_program *program, dure_tensor gate, dure_tensor up, dure_activation kind) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {gate, up};
  dure_op_attributes attributes = {.activation = {kind}};
  dure_program_call(program, DURE_OP_gated_activation, operands, &attributes, 0);
  return operands[2];
}

dure_tensor dure_rotary(dure_program *program, dure_tensor x, dure_tensor positions, dure_tensor table,
                        const dure_rotary_attributes *attributes) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {x, positions, table};
  dure_op_attributes all = {.rotary = *attributes};
  dure_program_call(program, DURE_OP_rotary, operands, &all, 0);
  return operands[3];
}

void dure_rotary_into(dure_program *program, dure_tensor x, dure_tensor positions, dure_tensor table,
                      const dure_rotary_attributes *attributes, dure_tensor y) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {x, positions, table, y};
  const dure_op_attributes all = {.rotary = *attributes};
  dure_program_call(program, DURE_OP_rotary, operands, &all, 0);
}

dure_tensor dure_copy_heads(dure_program *program, dure_tensor x, uint32_t head_count, dure_tensor y) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {x, y};
  const dure_op_attributes attributes = {.copy_heads = {head_count}};
  dure_program_call(program, DURE_OP_copy_heads, operands, &attributes, 0);
  return operands[1];
}

dure_tensor dure_activation_apply(dure_program *program, dure_tensor x, dure_activation kind) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {x};
  dure_op_attributes attributes = {.activation = {kind}};
  dure_program_call(program, DURE_OP_activation, operands, &attributes, 0);
  return operands[1];
}

dure_tensor dure_attention(dure_program *program, dure_tensor q, dure_tensor k, dure_tensor v, float scale,
                           uint32_t window) {
  return dure_attention_with(program, q, k, v, scale, &(dure_attention_options){.window = window});
}

dure_tensor dure_attention_with(dure_program *program, dure_tensor q, dure_tensor k, dure_tensor v, float scale,
                                const dure_attention_options *options) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {q, k, v, options->document_starts, options->slopes};
  dure_op_attributes attributes = {
      .attention = {.scale = scale, .window = options->window, .soft_cap = options->soft_cap}};
  dure_program_call(program, DURE_OP_attention, operands, &attributes, 0);
  return operands[5];
}

void dure_cache_append(dure_program *program, dure_tensor k, dure_tensor v, const dure_paged_cache *cache) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {
      k, v, cache->block_table, cache->positions, cache->keys, cache->values, cache->key_scales, cache->value_scales};
  dure_program_call(program, DURE_OP_cache_append, operands, NULL, 0);
}

dure_tensor dure_attention_cached(dure_program *program, dure_tensor q, const dure_paged_cache *cache, float scale,
                                  const dure_attention_options *options) {
  enum { Y = 8 };
  dure_tensor operands[DURE_MAX_OPERANDS] = {q,
                                             cache->keys,
                                             cache->values,
                                             cache->block_table,
                                             cache->positions,
                                             options->slopes,
                                             cache->key_scales,
                                             cache->value_scales};
  dure_op_attributes attributes = {
      .attention = {.scale = scale, .window = options->window, .soft_cap = options->soft_cap}};
  dure_program_call(program, DURE_OP_attention_cached, operands, &attributes, 0);
  return operands[Y];
}

dure_routing dure_route(dure_program *program, dure_tensor logits, dure_tensor bias,
                        const dure_route_attributes *attributes) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {logits, bias};
  const dure_op_attributes whole = {.route = *attributes};
  dure_program_call(program, DURE_OP_route, operands, &whole, 0);
  return (dure_routing){operands[2], operands[3]};
}

dure_expert_rows dure_expert_order(dure_program *program, dure_tensor experts, uint32_t expert_count) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {experts};
  const dure_op_attributes attributes = {.expert_order = {expert_count}};
  dure_program_call(program, DURE_OP_expert_order, operands, &attributes, 0);
  return (dure_expert_rows){operands[1], operands[2], operands[3]};
}

dure_tensor dure_expert_matmul(dure_program *program, dure_tensor a, dure_tensor offsets, dure_tensor b,
                               bool transpose_b) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {a, offsets, b};
  const dure_op_attributes attributes = {.expert_matmul = {.transpose_b = transpose_b}};
  dure_program_call(program, DURE_OP_expert_matmul, operands, &attributes, 0);
  return operands[3];
}

dure_tensor dure_expert_combine(dure_program *program, dure_tensor x, dure_tensor weights, dure_tensor places,
                                dure_tensor residual) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {x, weights, places, residual};
  dure_program_call(program, DURE_OP_expert_combine, operands, NULL, 0);
  return operands[4];
}

dure_tensor dure_cross_entropy(dure_program *program, dure_tensor logits, dure_tensor labels) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {logits, labels};
  dure_program_call(program, DURE_OP_cross_entropy, operands, NULL, 0);
  return operands[2];
}

dure_tensor dure_linear_cross_entropy(dure_program *program, dure_tensor hidden, dure_tensor weight, dure_tensor labels,
                                      float soft_cap) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {hidden, weight, labels};
  const dure_op_attributes attributes = {.linear_loss = {soft_cap}};
  dure_program_call(program, DURE_OP_linear_cross_entropy, operands, &attributes, 0);
  return operands[3];
}

void dure_sum(dure_program *program, dure_tensor x, dure_tensor y, bool accumulate) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {x, y};
  dure_program_call(program, DURE_OP_sum, operands, NULL, accumulate ? 1u << 1 : 0);
}

void dure_square_sum(dure_program *program, dure_tensor x, dure_tensor y, bool accumulate) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {x, y};
  dure_program_call(program, DURE_OP_square_sum, operands, NULL, accumulate ? 1u << 1 : 0);
}

void dure_fill(dure_program *program, dure_tensor y, float value) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {y};
  dure_op_attributes attributes = {.fill = {value}};
  dure_program_call(program, DURE_OP_fill, operands, &attributes, 0);
}

void dure_gradient_clip(dure_program *program, dure_tensor square_sum, dure_tensor step, dure_tensor state) {
  dure_gradient_clip_with(program, square_sum, step, state, (dure_gradient_clip_attributes){.is_dynamic = false});
}

void dure_gradient_clip_with(dure_program *program, dure_tensor square_sum, dure_tensor step, dure_tensor state,
                             dure_gradient_clip_attributes attributes) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {square_sum, step, state};
  dure_op_attributes packed = {.gradient_clip = attributes};
  dure_program_call(program, DURE_OP_gradient_clip, operands, &packed, 0);
}

void dure_adamw(dure_program *program, dure_tensor gradient, dure_tensor step, dure_tensor state, dure_tensor parameter,
                dure_tensor first_moment, dure_tensor second_moment, dure_adamw_attributes attributes) {
  const dure_adamw_tensors tensors = {.gradient = gradient,
                                      .step = step,
                                      .state = state,
                                      .parameter = parameter,
                                      .first_moment = first_moment,
                                      .second_moment = second_moment};
  dure_adamw_with(program, &tensors, attributes);
}

void dure_adamw_with(dure_program *program, const dure_adamw_tensors *tensors, dure_adamw_attributes attributes) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {
      tensors->gradient, tensors->step,         tensors->state,         tensors->random,       tensors->parameter,
      tensors->master,   tensors->first_moment, tensors->second_moment, tensors->first_scales, tensors->second_scales};
  dure_op_attributes packed = {.adamw = attributes};
  dure_program_call(program, DURE_OP_adamw, operands, &packed, 0);
}

dure_tensor dure_sample(dure_program *program, dure_tensor logits, dure_tensor settings, dure_tensor random,
                        uint32_t candidate_count) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {logits, settings, random};
  dure_op_attributes attributes = {.sample = {candidate_count}};
  dure_program_call(program, DURE_OP_sample, operands, &attributes, 0);
  return operands[3];
}
