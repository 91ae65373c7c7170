// Recomputation: activations that the backward pass needs but that were not kept are computed again, block by block
// (Chen et al. 2016, "Training deep nets with sublinear memory cost", section 4).
//
// Only what was made and read within one block of the model can be dropped; a block's inputs are kept. Calls are
// repeated, those among ranks included, when a rule first asks for one of their results, so each block's activations
// live only while its own backward pass runs.
#include <stdlib.h>
#include <string.h>

#include "runtime/gradient_internal.h"

// ---- what is dropped -------------------------------------------------------------------------------------------

enum { MATMUL_RESIDUAL = 3, MATMUL_C = 5, MATMUL_SAVED = 6 };

// A matmul of which c is no more than the activation of the sums that it saves, while those are kept.
static bool ends_in_kept_activation(const dure_gradient *gradient, const dure_program_call_record *call) {
  const dure_program *program = gradient->program;
  const dure_tensor *o = call->operands;
  if (call->op != DURE_OP_matmul || call->attributes.matmul.epilogue != DURE_EPILOGUE_ACTIVATION ||
      o[MATMUL_RESIDUAL].index != 0 || o[MATMUL_SAVED].index == 0)
    return false;
  return dure_tensor_dtype(program, o[MATMUL_C]) == dure_tensor_dtype(program, o[MATMUL_SAVED]) &&
         gradient->options.recompute == DURE_RECOMPUTE_ACTIVATIONS;
}

// Ops that cost next to nothing beside the matmuls around them, and whose inputs are kept anyway.
static bool is_cheap_to_repeat(const dure_gradient *gradient, const dure_program_call_record *call) {
  switch (call->op) {
    case DURE_OP_layer_norm:
    case DURE_OP_rms_norm:
    case DURE_OP_rotary:
    case DURE_OP_activation:
    case DURE_OP_gated_activation: return true;
    case DURE_OP_copy: return call->attributes.copy.among == DURE_AMONG_SUM_GRADIENT;  // nothing is sent forward
    case DURE_OP_matmul: return ends_in_kept_activation(gradient, call);
    default: return false;
  }
}

static bool writes(const dure_gradient *gradient, uint32_t call, uint32_t index) {
  const dure_program_call_record *c = &gradient->program->calls[call];
  const dure_op_row *row = dure_op_get(c->op);
  for (uint32_t i = row->input_count; i < row->operand_count; i++) {
    if (c->operands[i].index != 0 && gradient->program->values[c->operands[i].index].root == index) return true;
  }
  return false;
}

// A root that is put together of views: whether all calls that write them can be repeated for it, being of one block
// and writing nothing else.
static bool has_repeatable_writers(const dure_gradient *gradient, uint32_t index) {
  const root_state *root = &gradient->roots[index];
  if (root->producer != GRADIENT_NO_CALL) return true;
  if (root->writer_count == 0 || gradient->options.recompute != DURE_RECOMPUTE_BLOCK) return false;
  const uint32_t block = gradient->program->calls[root->first_writer].block;
  for (uint32_t c = root->first_writer; c <= root->last_writer; c++) {
    if (!writes(gradient, c, index)) continue;
    const dure_program_call_record *call = &gradient->program->calls[c];
    const dure_op_row *row = dure_op_get(call->op);
    if (call->block != block || call->accumulate != 0 || row->operand_count != row->input_count + 1u) return false;
  }
  return true;
}

static bool is_read_within_its_block(const dure_gradient *gradient, const root_state *root) {
  uint32_t block = gradient->program->calls[root->first_writer].block;
  if (block == 0 || block > gradient->options.recompute_blocks) return false;
  // What no forward call reads is there for the backward pass alone (a norm's statistics).
  return root->read_count == 0 || (root->first_block == block && root->last_block == block);
}

void gradient_choose_dropped(dure_gradient *gradient) {
  const dure_program *program = gradient->program;
  if (gradient->options.recompute == DURE_RECOMPUTE_NONE) return;
  for (uint32_t i = 1; i < gradient->root_count; i++) {
    root_state *root = &gradient->roots[i];
    if (program->values[i].root != i || program->values[i].is_external) continue;
    if (!has_repeatable_writers(gradient, i) || !is_read_within_its_block(gradient, root)) continue;
    const dure_program_call_record *producer = &program->calls[root->first_writer];
    bool is_main_output = producer->operands[dure_op_get(producer->op)->input_count].index == i;
    root->is_dropped = gradient->options.recompute == DURE_RECOMPUTE_BLOCK ||
                       (is_main_output && is_cheap_to_repeat(gradient, producer));
  }
}

// ---- computing again -------------------------------------------------------------------------------------------

static bool remember_stand_in(dure_gradient *gradient, uint32_t root, uint32_t original) {
  if (gradient->stand_in_count == gradient->stand_in_capacity) {
    uint32_t capacity = gradient->stand_in_capacity == 0 ? 64 : 2 * gradient->stand_in_capacity;
    gradient_stand_in *grown = realloc(gradient->stand_ins, capacity * sizeof(*grown));
    if (grown == NULL) return false;
    gradient->stand_ins = grown;
    gradient->stand_in_capacity = capacity;
  }
  gradient->stand_ins[gradient->stand_in_count++] = (gradient_stand_in){root, original};
  return true;
}

// `tensor` as a view of another root of the same shape.
static dure_tensor same_view(dure_program *program, dure_tensor tensor, dure_tensor root) {
  program_value value = program->values[tensor.index];
  if (value.root == tensor.index) return root;
  return dure_tensor_view(program, root, value.rank, value.shape, value.stride, value.offset);
}

// A new root for one output of a repeated call. Outputs that were kept get one too: nothing writes a value twice.
static dure_tensor new_output(dure_gradient *gradient, dure_tensor output) {
  dure_program *program = gradient->program;
  uint32_t index = program->values[output.index].root;
  if (gradient->roots[index].again.index != 0) return same_view(program, output, gradient->roots[index].again);
  program_value value = program->values[index];
  dure_tensor root = dure_tensor_temporary(program, value.label, value.dtype, value.rank, value.shape);
  if (program_failed(program)) return DURE_ABSENT;
  if (gradient->roots[index].is_dropped) {
    gradient->roots[index].again = root;
    if (!remember_stand_in(gradient, root.index, index)) gradient->out_of_memory = true;
  }
  return same_view(program, output, root);
}

static void repeat_call(dure_gradient *gradient, uint32_t index) {
  dure_program *program = gradient->program;
  dure_program_call_record call = program->calls[index];  // a copy: recording moves the array
  if (ends_in_kept_activation(gradient, &call)) {
    dure_program_call_record activation = {.op = DURE_OP_activation, .scope = call.scope};
    activation.attributes.activation.kind = call.attributes.matmul.activation;
    activation.operands[0] = call.operands[MATMUL_SAVED];
    activation.operands[1] = call.operands[MATMUL_C];
    call = activation;
  }
  const dure_op_row *row = dure_op_get(call.op);
  for (uint32_t i = 0; i < row->input_count; i++) call.operands[i] = gradient_recomputed(gradient, call.operands[i]);
  for (uint32_t i = row->input_count; i < row->operand_count; i++) {
    if (call.operands[i].index != 0) call.operands[i] = new_output(gradient, call.operands[i]);
  }
  if (program_failed(program)) return;
  uint32_t scope = program->current_scope;
  dure_program_scope(program, "%s again", program->scopes[call.scope]);
  dure_program_call(program, call.op, call.operands, &call.attributes, call.accumulate);
  program->current_scope = scope;
}

dure_tensor gradient_recomputed(dure_gradient *gradient, dure_tensor tensor) {
  const dure_program *program = gradient->program;
  if (tensor.index == 0 || program_failed(program)) return tensor;
  uint32_t index = program->values[tensor.index].root;
  if (index >= gradient->root_count || !gradient->roots[index].is_dropped) return tensor;
  const bool is_there = gradient->roots[index].again.index != 0;
  const uint32_t first = gradient->roots[index].first_writer, last = gradient->roots[index].last_writer;
  for (uint32_t c = first; !is_there && c <= last; c++) {
    if (writes(gradient, c, index)) repeat_call(gradient, c);
  }
  if (program_failed(program)) return tensor;
  return same_view(gradient->program, tensor, gradient->roots[index].again);
}

// ---- what nothing reads ----------------------------------------------------------------------------------------

// Whether a later call reads the root: by value index.
static bool writes_something_read(const dure_program *program, const dure_program_call_record *call,
                                  const bool *is_read) {
  const dure_op_row *row = dure_op_get(call->op);
  for (uint32_t i = row->input_count; i < row->operand_count; i++) {
    if (call->operands[i].index == 0) continue;
    uint32_t root = program->values[call->operands[i].index].root;
    if (program->values[root].is_external || is_read[root]) return true;
  }
  return false;
}

void gradient_remove_unread(dure_gradient *gradient) {
  dure_program *program = gradient->program;
  bool *is_read = calloc(program->value_count, sizeof(*is_read));
  bool *is_kept = calloc((size_t)program->call_count + 1, sizeof(*is_kept));
  if (is_read == NULL || is_kept == NULL) {
    gradient->out_of_memory = true;
    free(is_read);
    free(is_kept);
    return;
  }
  for (uint32_t c = program->call_count; c-- > gradient->call_count;) {
    const dure_program_call_record *call = &program->calls[c];
    const dure_op_row *row = dure_op_get(call->op);
    is_kept[c] = writes_something_read(program, call, is_read);
    for (uint32_t i = 0; is_kept[c] && i < row->operand_count; i++) {
      bool reads = (row->operands[i].access & DURE_READ) != 0 || (call->accumulate >> i & 1u) != 0;
      if (reads && call->operands[i].index != 0) is_read[program->values[call->operands[i].index].root] = true;
    }
  }
  uint32_t kept = gradient->call_count;
  for (uint32_t c = gradient->call_count; c < program->call_count; c++) {
    if (is_kept[c]) program->calls[kept++] = program->calls[c];
  }
  program->call_count = kept;
  free(is_read);
  free(is_kept);
}
