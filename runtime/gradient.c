// Reverse-mode differentiation of a recorded program by the rows' gradient rules.
//
// Every root (allocation) that needs a gradient gets one of the same shape; a view's gradient is the same view of it.
// The first contribution to a region overwrites, later ones add. Where the regions that contributions will write
// overlap without being equal, or leave holes in an activation, the whole gradient is zero-filled first and everything
// adds.
#include <stdlib.h>
#include <string.h>

#include "runtime/gradient_internal.h"

// ---- regions of memory -----------------------------------------------------------------------------------------

static gradient_region region_of(const program_value *value) {
  // Collapses dimensions that continue each other.
  uint64_t shape[DURE_MAX_RANK], stride[DURE_MAX_RANK];
  uint32_t rank = 0;
  for (uint32_t i = 0; i < value->rank; i++) {
    if (value->shape[i] == 1) continue;
    if (rank > 0 && stride[rank - 1] == value->stride[i] * value->shape[i]) {
      shape[rank - 1] *= value->shape[i];
      stride[rank - 1] = value->stride[i];
    } else {
      shape[rank] = value->shape[i];
      stride[rank] = value->stride[i];
      rank++;
    }
  }
  gradient_region r = {.offset = value->offset, .rows = 1, .row_stride = 0, .columns = 1, .is_regular = true};
  if (rank == 0) return r;
  if (stride[rank - 1] != 1) {  // a column: runs of one element
    shape[rank] = 1;
    stride[rank] = 1;
    rank++;
  }
  r.columns = shape[rank - 1];
  if (rank >= 2) {
    r.rows = shape[rank - 2];
    r.row_stride = stride[rank - 2];
  }
  r.is_regular = rank <= 2;
  return r;
}

static bool regions_equal(const gradient_region *a, const gradient_region *b) {
  return a->is_regular && b->is_regular && a->offset == b->offset && a->rows == b->rows && a->columns == b->columns &&
         (a->rows == 1 || a->row_stride == b->row_stride);
}

static uint64_t region_end(const gradient_region *r) { return r->offset + (r->rows - 1) * r->row_stride + r->columns; }

static bool regions_disjoint(const gradient_region *a, const gradient_region *b) {
  if (!a->is_regular || !b->is_regular) return false;
  if (region_end(a) <= b->offset || region_end(b) <= a->offset) return true;
  if (a->rows < 2 || b->rows < 2 || a->row_stride != b->row_stride) return false;
  // The same row pitch: disjoint when the column intervals are, neither wrapping round the pitch.
  uint64_t pitch = a->row_stride, a_column = a->offset % pitch, b_column = b->offset % pitch;
  if (a_column + a->columns > pitch || b_column + b->columns > pitch) return false;
  return a_column + a->columns <= b_column || b_column + b->columns <= a_column;
}

// ---- state -----------------------------------------------------------------------------------------------------

root_state *gradient_root_of(const dure_gradient *gradient, dure_tensor tensor) {
  if (tensor.index == 0) return NULL;
  uint32_t root = gradient->program->values[tensor.index].root;
  for (uint32_t i = gradient->stand_in_count; root >= gradient->root_count && i-- > 0;) {
    if (gradient->stand_ins[i].root == root) root = gradient->stand_ins[i].original;
  }
  return root < gradient->root_count ? &gradient->roots[root] : NULL;
}

dure_program *dure_gradient_program(dure_gradient *gradient) { return gradient->program; }

bool dure_gradient_wants(const dure_gradient *gradient, dure_tensor tensor) {
  const root_state *root = gradient_root_of(gradient, tensor);
  return root != NULL && root->wanted;
}

// ---- analysis before the backward pass -------------------------------------------------------------------------

// Values that depend on a target, forwards; values that the loss depends on, backwards.
static void mark_dependencies(dure_gradient *gradient, dure_tensor loss, uint32_t call_count) {
  dure_program *program = gradient->program;
  for (uint32_t c = 0; c < call_count; c++) {
    const dure_program_call_record *call = &program->calls[c];
    const dure_op_row *row = dure_op_get(call->op);
    bool depends = false;
    for (uint32_t i = 0; i < row->operand_count; i++) {
      bool is_float = row->operands[i].dtype == DURE_DTYPE_NONE;
      if (is_float && (row->operands[i].access & DURE_READ) != 0)
        depends = depends || dure_gradient_wants(gradient, call->operands[i]);
    }
    for (uint32_t i = row->input_count; depends && row->gradient != NULL && i < row->operand_count; i++) {
      root_state *root = gradient_root_of(gradient, call->operands[i]);
      if (root != NULL) root->wanted = true;
    }
  }
  gradient_root_of(gradient, loss)->reaches_loss = true;
  for (size_t i = 0; i < gradient->options.further_count; i++)
    gradient_root_of(gradient, gradient->options.further[i].value)->reaches_loss = true;
  for (uint32_t c = call_count; c-- > 0;) {
    const dure_program_call_record *call = &program->calls[c];
    const dure_op_row *row = dure_op_get(call->op);
    bool reaches = false;
    for (uint32_t i = row->input_count; i < row->operand_count; i++) {
      const root_state *root = gradient_root_of(gradient, call->operands[i]);
      reaches = reaches || (root != NULL && root->reaches_loss);
    }
    for (uint32_t i = 0; reaches && i < row->input_count; i++) {
      root_state *root = gradient_root_of(gradient, call->operands[i]);
      if (root != NULL) root->reaches_loss = true;
    }
  }
}

static void note_reader(root_state *root, uint32_t call, uint32_t block) {
  const bool is_first = root->read_count++ == 0;
  if (root->last_reader == call) return;  // read twice by one call
  if (is_first) root->first_block = root->last_block = block;
  if (block < root->first_block) root->first_block = block;
  if (block > root->last_block) root->last_block = block;
  root->reader_before_last = root->last_reader;
  root->last_reader = call;
}

// Which calls of the forward pass write and read each root.
static void collect_calls(dure_gradient *gradient) {
  for (uint32_t i = 1; i < gradient->root_count; i++) {
    gradient->roots[i].producer = gradient->roots[i].last_reader = gradient->roots[i].reader_before_last =
        GRADIENT_NO_CALL;
  }
  for (uint32_t c = 0; c < gradient->call_count; c++) {
    const dure_program_call_record *call = &gradient->program->calls[c];
    const dure_op_row *row = dure_op_get(call->op);
    for (uint32_t i = 0; i < row->operand_count; i++) {
      root_state *root = gradient_root_of(gradient, call->operands[i]);
      if (root == NULL) continue;
      if ((row->operands[i].access & DURE_READ) != 0) note_reader(root, c, call->block);
      if ((row->operands[i].access & DURE_WRITE) == 0) continue;
      root->last_writer = c;
      if (root->writer_count == 0) root->first_writer = c;
      root->producer = root->writer_count++ == 0 ? c : GRADIENT_NO_CALL;
    }
  }
}

static bool call_is_active(const dure_gradient *gradient, const dure_program_call_record *call) {
  const dure_op_row *row = dure_op_get(call->op);
  const root_state *output = gradient_root_of(gradient, call->operands[row->input_count]);
  return row->gradient != NULL && output != NULL && output->wanted && output->reaches_loss;
}

static uint32_t find_region(const root_state *root, const gradient_region *wanted) {
  for (uint32_t i = 0; i < root->region_count; i++) {
    if (regions_equal(&root->regions[i], wanted)) return i;
  }
  return UINT32_MAX;
}

static bool add_region(root_state *root, const gradient_region *added) {
  if (find_region(root, added) != UINT32_MAX) return true;
  if (root->region_count == root->region_capacity) {
    uint32_t grown = root->region_capacity == 0 ? 4 : root->region_capacity * 2;
    gradient_region *regions = realloc(root->regions, grown * sizeof(*regions));
    if (regions != NULL) root->regions = regions;
    bool *written = realloc(root->written, grown * sizeof(*written));
    if (written != NULL) root->written = written;
    if (regions == NULL || written == NULL) return false;
    root->region_capacity = grown;
  }
  for (uint32_t i = 0; i < root->region_count; i++) {
    if (!regions_disjoint(&root->regions[i], added)) root->zero_first = true;
  }
  root->written[root->region_count] = false;
  root->regions[root->region_count++] = *added;
  return true;
}

// Which regions of each root the backward pass will write, and so whether they can simply be overwritten.
static void collect_regions(dure_gradient *gradient, uint32_t call_count) {
  dure_program *program = gradient->program;
  for (uint32_t c = 0; c < call_count; c++) {
    const dure_program_call_record *call = &program->calls[c];
    if (!call_is_active(gradient, call)) continue;
    const dure_op_row *row = dure_op_get(call->op);
    for (uint32_t i = 0; i < row->input_count; i++) {
      if (row->operands[i].dtype != DURE_DTYPE_NONE || !dure_gradient_wants(gradient, call->operands[i])) continue;
      gradient_region touched = region_of(&program->values[call->operands[i].index]);
      if (!add_region(gradient_root_of(gradient, call->operands[i]), &touched)) gradient->out_of_memory = true;
    }
  }
  for (uint32_t i = 1; i < gradient->root_count; i++) {
    root_state *root = &gradient->roots[i];
    if (root->region_count == 0 || root->is_target) continue;
    uint64_t covered = 0;
    for (uint32_t r = 0; r < root->region_count; r++) covered += root->regions[r].rows * root->regions[r].columns;
    if (covered != dure_tensor_element_count(program, (dure_tensor){i})) root->zero_first = true;
  }
}

// ---- slots -----------------------------------------------------------------------------------------------------

// The gradient's tensor under the geometry of `tensor`.
static dure_tensor gradient_view(dure_gradient *gradient, dure_tensor tensor, dure_tensor root_gradient) {
  dure_program *program = gradient->program;
  program_value value = program->values[tensor.index];
  if (value.root == tensor.index) return root_gradient;
  return dure_tensor_view(program, root_gradient, value.rank, value.shape, value.stride, value.offset);
}

// Makes sure the root has a gradient tensor; zero-fills it when its contributions must all add.
static void prepare_root(dure_gradient *gradient, dure_tensor tensor, root_state *root) {
  dure_program *program = gradient->program;
  uint32_t index = program->values[tensor.index].root;
  bool is_new = root->gradient.index == 0;
  if (is_new) {
    program_value value = program->values[index];
    root->gradient = dure_tensor_temporary(program, "gradient", value.dtype, value.rank, value.shape);
  }
  bool first_use = is_new || (root->is_target && root->zero_first && !gradient->options.accumulate);
  if (root->zero_first && first_use) {
    dure_fill(program, root->gradient, 0.0f);
    for (uint32_t i = 0; i < root->region_count; i++) root->written[i] = true;
    if (root->is_target) root->zero_first = false;  // done; the regions count as written from now on
  }
}

dure_gradient_slot dure_gradient_open(dure_gradient *gradient, dure_tensor input, bool can_accumulate) {
  dure_gradient_slot slot = {{0}, false, {0}};
  root_state *root = gradient_root_of(gradient, input);
  if (root == NULL || !root->wanted || program_failed(gradient->program)) return slot;
  prepare_root(gradient, input, root);
  gradient_region touched = region_of(&gradient->program->values[input.index]);
  uint32_t index = find_region(root, &touched);
  bool add = root->zero_first || index == UINT32_MAX || root->written[index] ||
             (root->is_target && gradient->options.accumulate);
  dure_tensor target = gradient_view(gradient, input, root->gradient);
  if (index != UINT32_MAX) root->written[index] = true;
  if (add && !can_accumulate) {
    program_value value = gradient->program->values[input.index];
    const dure_dtype dtype = dure_tensor_dtype(gradient->program, target);  // f32 where a 16-bit parameter's is
    slot.tensor = dure_tensor_temporary(gradient->program, "gradient.part", dtype, value.rank, value.shape);
    slot.destination = target;
    return slot;
  }
  slot.tensor = target;
  slot.accumulate = add;
  return slot;
}

void dure_gradient_close(dure_gradient *gradient, const dure_gradient_slot *slot) {
  if (slot->destination.index == 0) return;
  dure_tensor operands[DURE_MAX_OPERANDS] = {slot->destination, slot->tensor, slot->destination};
  dure_program_call(gradient->program, DURE_OP_add, operands, NULL, 0);
}

void dure_gradient_alias(dure_gradient *gradient, dure_tensor input, dure_tensor tensor) {
  root_state *root = gradient_root_of(gradient, input);
  if (root == NULL || program_failed(gradient->program)) return;
  if (root->gradient.index != 0 || root->region_count > 1) {
    program_fail(gradient->program,
                 dure_fail(DURE_UNSUPPORTED, "tensor '%s' is used again where its gradient takes its place",
                           gradient->program->values[input.index].label));
    return;
  }
  root->gradient = (dure_tensor){gradient->program->values[tensor.index].root};
}

// ---- passing a gradient on ---------------------------------------------------------------------------------------
//
// The gradient of a sum is the gradient of its terms: where nothing needs it any more under its own name its memory
// becomes that of a term's gradient instead of being copied.

static bool is_whole(const dure_program *program, dure_tensor tensor) {
  return tensor.index != 0 && program->values[tensor.index].root == tensor.index;
}

bool dure_gradient_may_overwrite(const dure_gradient *gradient, dure_tensor output) {
  const dure_program *program = gradient->program;
  const root_state *root = gradient_root_of(gradient, output);
  return root != NULL && root->gradient.index != 0 && !root->is_target && !root->gradient_is_lent &&
         root->writer_count == 1 && is_whole(program, output) && !program->values[root->gradient.index].is_external &&
         dure_tensor_element_count(program, root->gradient) == dure_tensor_element_count(program, output);
}

static bool may_become(const dure_gradient *gradient, dure_tensor output, dure_tensor input) {
  const dure_program *program = gradient->program;
  const root_state *from = gradient_root_of(gradient, output), *to = gradient_root_of(gradient, input);
  return dure_gradient_may_overwrite(gradient, output) && to != NULL && !to->is_target && to->gradient.index == 0 &&
         !to->zero_first && to->region_count == 1 && is_whole(program, input) &&
         dure_tensor_dtype(program, input) == dure_tensor_dtype(program, from->gradient) &&
         dure_tensor_element_count(program, input) == dure_tensor_element_count(program, from->gradient);
}

static void become(dure_gradient *gradient, dure_tensor output, dure_tensor input, bool is_lent) {
  root_state *to = gradient_root_of(gradient, input);
  to->gradient = gradient_root_of(gradient, output)->gradient;
  to->gradient_is_lent = is_lent;
  to->written[0] = true;
}

static void copy_or_add(dure_gradient *gradient, dure_tensor output, dure_tensor input) {
  dure_tensor dy = dure_gradient_of(gradient, output);
  dure_gradient_slot slot = dure_gradient_open(gradient, input, true);
  dure_tensor operands[DURE_MAX_OPERANDS] = {dy, slot.tensor};
  dure_program_call(gradient->program, DURE_OP_copy, operands, NULL, slot.accumulate ? 1u << 1 : 0);
  dure_gradient_close(gradient, &slot);
}

void dure_gradient_pass(dure_gradient *gradient, dure_tensor output, dure_tensor input) {
  if (!dure_gradient_wants(gradient, input) || program_failed(gradient->program)) return;
  if (may_become(gradient, output, input)) {
    become(gradient, output, input, false);
  } else {
    copy_or_add(gradient, output, input);
  }
}

// Whether `reader` can read the memory that `owner` goes on to add to: its producer, the only call that asks for its
// gradient, has its turn before any other call that contributes to the owner's.
static bool may_lend(const dure_gradient *gradient, dure_tensor output, dure_tensor owner, dure_tensor reader) {
  const root_state *from = gradient_root_of(gradient, owner), *to = gradient_root_of(gradient, reader);
  if (from == to || !may_become(gradient, output, owner) || !may_become(gradient, output, reader)) return false;
  if (to->read_count != 1 || to->producer == GRADIENT_NO_CALL) return false;
  uint32_t next = from->last_reader == gradient->current_call ? from->reader_before_last : from->last_reader;
  return next == GRADIENT_NO_CALL || next < to->producer;
}

void dure_gradient_pass_both(dure_gradient *gradient, dure_tensor output, dure_tensor a, dure_tensor b) {
  bool wants_both = dure_gradient_wants(gradient, a) && dure_gradient_wants(gradient, b);
  if (program_failed(gradient->program)) return;
  if (wants_both && may_lend(gradient, output, a, b)) {
    become(gradient, output, b, true);
    become(gradient, output, a, false);
  } else if (wants_both && may_lend(gradient, output, b, a)) {
    become(gradient, output, a, true);
    become(gradient, output, b, false);
  } else {
    if (wants_both) copy_or_add(gradient, output, b);
    dure_gradient_pass(gradient, output, dure_gradient_wants(gradient, a) ? a : b);
  }
}

bool dure_gradient_is_first(const dure_gradient *gradient, dure_tensor input) {
  const root_state *root = gradient_root_of(gradient, input);
  if (root == NULL || !root->wanted) return true;  // nothing will be recorded for it
  if (root->zero_first || (!root->is_target && root->gradient.index != 0)) return false;
  for (uint32_t i = 0; i < root->region_count; i++) {
    if (root->written[i]) return false;
  }
  return true;
}

bool dure_gradient_producer(dure_gradient *gradient, dure_tensor input, dure_program_call_record *out_call) {
  const root_state *root = gradient_root_of(gradient, input);
  memset(out_call, 0, sizeof(*out_call));
  if (root == NULL || root->is_target || root->producer == GRADIENT_NO_CALL || root->read_count != 1) return false;
  if (!is_whole(gradient->program, input)) return false;
  *out_call = gradient->program->calls[root->producer];
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++)
    out_call->operands[i] = gradient_recomputed(gradient, out_call->operands[i]);
  return !program_failed(gradient->program);
}

void dure_gradient_set_through(dure_gradient *gradient, dure_tensor input) {
  gradient_root_of(gradient, input)->gradient_is_through = true;
}

bool dure_gradient_is_through(const dure_gradient *gradient, dure_tensor output) {
  return gradient_root_of(gradient, output)->gradient_is_through;
}

bool dure_gradient_replace_forward(dure_gradient *gradient, dure_op op, dure_tensor operands[DURE_MAX_OPERANDS],
                                   const dure_op_attributes *attributes, uint32_t accumulate) {
  dure_program *program = gradient->program;
  uint32_t block = program->calls[gradient->current_call].block;
  dure_program_call(program, op, operands, attributes, accumulate);
  if (program_failed(program)) return false;
  program->calls[gradient->current_call] = program->calls[--program->call_count];
  program->calls[gradient->current_call].block = block;
  return true;
}

dure_tensor dure_gradient_of(dure_gradient *gradient, dure_tensor output) {
  root_state *root = gradient_root_of(gradient, output);
  if (root == NULL || root->gradient.index == 0) return DURE_ABSENT;
  const program_value *value = &gradient->program->values[output.index];
  // The loss's seed is one element for all: it is handed on as it is.
  if (dure_tensor_element_count(gradient->program, root->gradient) == 1) return root->gradient;
  return value->root == output.index ? root->gradient : gradient_view(gradient, output, root->gradient);
}

// ---- the pass --------------------------------------------------------------------------------------------------

// cross_entropy takes the seed as one element; any other producer of the loss gets it repeated over the loss's shape.
static dure_tensor loss_gradient(dure_program *program, dure_tensor loss, dure_tensor seed, bool from_cross_entropy) {
  uint64_t count = dure_tensor_element_count(program, loss);
  program_value shape = program->values[loss.index];
  if (from_cross_entropy) return seed;
  if (count == 1) return dure_tensor_reshape(program, seed, shape.rank, shape.shape);
  uint64_t column[2] = {count, 1}, one[2] = {1, 1};
  dure_tensor ones = dure_tensor_temporary(program, "ones", dure_tensor_dtype(program, loss), 2, column);
  dure_fill(program, ones, 1.0f);
  dure_tensor repeated =
      dure_matmul(program, ones, dure_tensor_reshape(program, seed, 2, one), DURE_ABSENT, false, false);
  return dure_tensor_reshape(program, repeated, shape.rank, shape.shape);
}

static void run_rules(dure_gradient *gradient, uint32_t call_count) {
  dure_program *program = gradient->program;
  for (uint32_t c = call_count; c-- > 0 && !program_failed(program);) {
    dure_program_call_record call = program->calls[c];  // a copy: recording moves the array
    const dure_op_row *row = dure_op_get(call.op);
    if (!call_is_active(gradient, &call)) continue;
    if (dure_gradient_of(gradient, call.operands[row->input_count]).index == 0) continue;
    gradient->current_call = c;
    for (uint32_t i = 0; i < row->operand_count; i++)
      call.operands[i] = gradient_recomputed(gradient, call.operands[i]);
    program->current_scope = call.scope;
    if (program_failed(program)) return;
    dure_status status = row->gradient(gradient, &call);
    if (status != NULL) program_fail(program, status);
  }
}

static dure_status check_request(const dure_program *program, dure_tensor loss, dure_tensor seed,
                                 const dure_gradient_target *targets, size_t target_count) {
  DURE_TRY(dure_program_check(program));
  if (loss.index == 0 || dure_tensor_element_count(program, seed) != 1) {
    return dure_fail(DURE_INVALID_ARGUMENT, "a gradient needs a loss and a seed of one element");
  }
  if (program->values[loss.index].root != loss.index)
    return dure_fail(DURE_INVALID_ARGUMENT, "the loss must not be a view");
  for (size_t i = 0; i < target_count; i++) {
    const program_value *value = &program->values[targets[i].value.index],
                        *gradient = &program->values[targets[i].gradient.index];
    if (!value->is_external || !gradient->is_external || value->root != targets[i].value.index ||
        !dure_dtype_is_float(gradient->dtype) ||
        dure_tensor_element_count(program, targets[i].value) !=
            dure_tensor_element_count(program, targets[i].gradient)) {
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "target %zu ('%s') and its gradient must be external float tensors of one shape", i,
                       value->label);
    }
  }
  return NULL;
}

static dure_status check_further(const dure_program *program, const dure_gradient_options *options) {
  for (size_t i = 0; options != NULL && i < options->further_count; i++) {
    const dure_tensor value = options->further[i].value, gradient = options->further[i].gradient;
    const bool are_whole = value.index != 0 && gradient.index != 0 &&
                           program->values[value.index].root == value.index &&
                           program->values[gradient.index].root == gradient.index;
    if (!are_whole || dure_tensor_element_count(program, value) != dure_tensor_element_count(program, gradient))
      return dure_fail(DURE_INVALID_ARGUMENT, "further loss %zu and its gradient must be whole tensors of one shape",
                       i);
  }
  return NULL;
}

// A matmul that ends in an activation must leave what the activation took, for its gradient.
static void save_sums(dure_program *program) {
  enum { C = 5, SAVED = 6 };
  for (uint32_t c = 0; c < program->call_count && !program_failed(program); c++) {
    const dure_program_call_record *call = &program->calls[c];
    if (call->op != DURE_OP_matmul || call->attributes.matmul.epilogue != DURE_EPILOGUE_ACTIVATION) continue;
    if (call->operands[SAVED].index != 0) continue;
    program_value value = program->values[call->operands[C].index];
    dure_dtype storage = program->values[call->operands[0].index].dtype;
    dure_tensor saved = dure_tensor_temporary(program, "matmul.saved", storage, value.rank, value.shape);
    program->calls[c].operands[SAVED] = saved;
  }
}

static bool comes_from_cross_entropy(const dure_program *program, dure_tensor loss) {
  for (uint32_t c = 0; c < program->call_count; c++) {
    const dure_program_call_record *call = &program->calls[c];
    if (call->op != DURE_OP_cross_entropy && call->op != DURE_OP_linear_cross_entropy) continue;
    if (call->operands[dure_op_get(call->op)->input_count].index == loss.index) return true;
  }
  return false;
}

static void gradient_clear(dure_gradient *gradient) {
  for (uint32_t i = 0; i < gradient->root_count; i++) {
    free(gradient->roots[i].regions);
    free(gradient->roots[i].written);
  }
  free(gradient->roots);
  free(gradient->stand_ins);
}

dure_status dure_program_gradient(dure_program *program, dure_tensor loss, dure_tensor seed,
                                  const dure_gradient_target *targets, size_t target_count,
                                  const dure_gradient_options *options) {
  DURE_TRY(check_request(program, loss, seed, targets, target_count));
  DURE_TRY(check_further(program, options));
  save_sums(program);
  dure_gradient gradient = {.program = program, .root_count = program->value_count, .call_count = program->call_count};
  if (options != NULL) gradient.options = *options;
  gradient.roots = calloc(gradient.root_count, sizeof(*gradient.roots));
  if (gradient.roots == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory differentiating a program");
  for (size_t i = 0; i < target_count; i++) {
    root_state *root = &gradient.roots[targets[i].value.index];
    root->wanted = root->is_target = true;
    root->gradient = targets[i].gradient;
  }
  mark_dependencies(&gradient, loss, gradient.call_count);
  collect_calls(&gradient);
  collect_regions(&gradient, gradient.call_count);
  gradient_choose_dropped(&gradient);

  uint32_t scope = program->current_scope, block = program->current_block;
  program->current_block = 0;
  root_state *loss_root = gradient_root_of(&gradient, loss);
  if (loss_root->wanted && !loss_root->is_target) {
    loss_root->gradient = loss_gradient(program, loss, seed, comes_from_cross_entropy(program, loss));
    for (size_t i = 0; i < gradient.options.further_count; i++)
      gradient_root_of(&gradient, gradient.options.further[i].value)->gradient = gradient.options.further[i].gradient;
    run_rules(&gradient, gradient.call_count);
    if (!program_failed(program)) gradient_remove_unread(&gradient);
  } else {
    program_fail(program, dure_fail(DURE_INVALID_ARGUMENT, "the loss depends on none of the gradient's targets"));
  }
  program->current_scope = scope;
  program->current_block = block;
  if (gradient.out_of_memory)
    program_fail(program, dure_fail(DURE_OUT_OF_MEMORY, "out of memory differentiating a program"));
  gradient_clear(&gradient);
  return dure_program_check(program);
}
