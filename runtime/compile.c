// Compiling a program for a device: places every tensor, then records every call.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/executable_internal.h"
#include "runtime/plan.h"
#include "runtime/program_internal.h"
#include "runtime/trace.h"

// ---- workspace -------------------------------------------------------------------------------------------------

typedef struct workspace_context {
  dure_device *device;
  uint64_t bytes;
} workspace_context;

static bool has_16_bit_operand(const dure_op_call *call) {
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (call->operands[i].dtype == DURE_DTYPE_BF16 || call->operands[i].dtype == DURE_DTYPE_F16) return true;
  }
  return false;
}

static dure_status measure_workspace(void *context, const dure_op_call *call) {
  workspace_context *largest = context;
  const dure_backend_op *op = largest->device->vtable->op(largest->device, (uint32_t)call->op);
  if (op == NULL) {
    return dure_fail(DURE_UNSUPPORTED, "%s has no kernel for op '%s'; choose another --device",
                     largest->device->info.identifier, dure_op_get(call->op)->name);
  }
  if (has_16_bit_operand(call) && !op->takes_16_bit) {
    return dure_fail(DURE_UNSUPPORTED, "%s has no 16-bit kernel for op '%s'; choose --dtype f32 or another --device",
                     largest->device->info.identifier, dure_op_get(call->op)->name);
  }
  uint64_t bytes = op->workspace_bytes != NULL ? op->workspace_bytes(largest->device, call) : 0;
  if (bytes > largest->bytes) largest->bytes = bytes;
  return NULL;
}

// ---- planning --------------------------------------------------------------------------------------------------

// One pass over the program: which roots are used when, and what memory each call needs.
typedef struct layout {
  const dure_program *program;
  dure_device *device;
  uint64_t guard_bytes, alignment;
  uint32_t *first_use, *last_use;  // by root; first > last: unused
  uint64_t *workspace;             // by call
  dure_plan_item *items;           // activations, then workspaces
  uint32_t *item_root;             // 0: a workspace
  uint32_t *item_call;             // that uses it first
  size_t item_count;
} layout;

static void layout_free(layout *l) {
  free(l->first_use);
  free(l->last_use);
  free(l->workspace);
  free(l->items);
  free(l->item_root);
  free(l->item_call);
}

// Whole words: kernels reach 16-bit elements as halves of 32-bit words.
static uint64_t root_bytes(const dure_program *program, uint32_t root) {
  const program_value *value = &program->values[root];
  return (dure_tensor_element_count(program, (dure_tensor){root}) * dure_dtype_size(value->dtype) + 3) & ~(uint64_t)3;
}

static dure_status measure_calls(layout *l) {
  const dure_program *program = l->program;
  for (uint32_t i = 0; i < program->value_count; i++) {
    l->first_use[i] = UINT32_MAX;
    l->last_use[i] = 0;
  }
  for (uint32_t c = 0; c < program->call_count; c++) {
    const dure_program_call_record *record = &program->calls[c];
    for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
      if (record->operands[i].index == 0) continue;
      uint32_t root = program->values[record->operands[i].index].root;
      if (c < l->first_use[root]) l->first_use[root] = c;
      if (c > l->last_use[root]) l->last_use[root] = c;
    }
    dure_op_call call = program_resolve(program, record);
    workspace_context largest = {l->device, 0};
    DURE_TRY(dure_op_expand(&call, &l->device->info.limits, measure_workspace, &largest));
    l->workspace[c] = largest.bytes;
  }
  return NULL;
}

static void add_item(layout *l, uint64_t size, uint32_t first, uint32_t last, uint32_t root, uint32_t call) {
  if (l->guard_bytes > 0) {  // guards survive only when nobody else uses the place later
    first = 0;
    last = UINT32_MAX;
  }
  l->items[l->item_count] = (dure_plan_item){size + 2 * l->guard_bytes, first, last, 0};
  l->item_root[l->item_count] = root;
  l->item_call[l->item_count] = call;
  l->item_count++;
}

static dure_status layout_make(layout *l) {
  const dure_program *program = l->program;
  size_t most = (size_t)program->value_count + program->call_count + 1;
  l->first_use = calloc(most, sizeof(uint32_t));
  l->last_use = calloc(most, sizeof(uint32_t));
  l->workspace = calloc(most, sizeof(uint64_t));
  l->items = calloc(most, sizeof(*l->items));
  l->item_root = calloc(most, sizeof(uint32_t));
  l->item_call = calloc(most, sizeof(uint32_t));
  if (l->first_use == NULL || l->last_use == NULL || l->workspace == NULL || l->items == NULL || l->item_root == NULL ||
      l->item_call == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory planning a program");
  }
  DURE_TRY(measure_calls(l));
  for (uint32_t i = 1; i < program->value_count; i++) {
    const program_value *value = &program->values[i];
    if (value->root != i || value->is_external || l->first_use[i] == UINT32_MAX) continue;
    add_item(l, root_bytes(program, i), l->first_use[i], l->last_use[i], i, l->first_use[i]);
  }
  for (uint32_t c = 0; c < program->call_count; c++) {
    if (l->workspace[c] > 0) add_item(l, l->workspace[c], c, c, 0, c);
  }
  return NULL;
}

// ---- arenas ----------------------------------------------------------------------------------------------------

// The largest buffer of the device, and small enough that sums of places never wrap.
static uint64_t arena_block_size(const dure_device *device, uint64_t alignment) {
  uint64_t most = device->info.limits.max_allocation_bytes, sane = (uint64_t)1 << 48;
  return (most < sane ? most : sane) & ~(alignment - 1);
}

static dure_status arena_create(dure_device *device, uint64_t size, uint64_t block_size, const char *label,
                                arena *out_arena) {
  memset(out_arena, 0, sizeof(*out_arena));
  if (size == 0) return NULL;
  size_t count = (size_t)((size + block_size - 1) / block_size);
  out_arena->blocks = calloc(count, sizeof(*out_arena->blocks));
  if (out_arena->blocks == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %s", label);
  out_arena->block_size = block_size;
  out_arena->size = size;
  for (size_t i = 0; i < count; i++) {
    uint64_t left = size - i * block_size;
    DURE_TRY(dure_buffer_create(device, left < block_size ? left : block_size, DURE_MEMORY_DEVICE, label,
                                &out_arena->blocks[i]));
    out_arena->block_count++;
  }
  return NULL;
}

static void arena_destroy(arena *a) {
  for (size_t i = 0; i < a->block_count; i++) dure_buffer_destroy(a->blocks[i]);
  free(a->blocks);
}

static void arena_locate(const arena *a, uint64_t place, dure_buffer **out_buffer, uint64_t *out_offset) {
  *out_buffer = a->blocks[place / a->block_size];
  *out_offset = place % a->block_size;
}

// ---- placing ---------------------------------------------------------------------------------------------------

static void place_root(dure_executable *executable, uint32_t root, dure_buffer *buffer, uint64_t offset,
                       uint64_t size) {
  executable->operands[root].buffer = buffer;
  executable->operands[root].offset = offset;
  if (executable->guard_bytes > 0) {
    executable->guards[executable->guard_count++] = (guarded){root, buffer, offset, size};
  }
}

// Puts the largest activations, by the calls that make them, in front of a failure to find room for them.
static dure_status name_largest(dure_status status, const dure_executable *executable, const layout *l) {
  if (dure_status_code(status) != DURE_OUT_OF_MEMORY) return status;
  size_t shown[3];
  char text[3 * 224] = "";
  for (size_t rank = 0; rank < 3 && rank < l->item_count; rank++) {
    size_t largest = l->item_count;
    for (size_t i = 0; i < l->item_count; i++) {
      bool is_shown = false;
      for (size_t s = 0; s < rank; s++) is_shown = is_shown || shown[s] == i;
      if (!is_shown && (largest == l->item_count || l->items[i].size > l->items[largest].size)) largest = i;
    }
    shown[rank] = largest;
    size_t used = strlen(text);
    snprintf(text + used, sizeof(text) - used, "%s%.1f MiB of '%s'", rank > 0 ? ", " : "",
             (double)l->items[largest].size / 1048576.0, executable->call_labels[l->item_call[largest]]);
  }
  return dure_status_prefix(status, "the largest activations are %s", text);
}

static dure_status plan_activations(layout *l, uint64_t *out_size) {
  return dure_plan_memory(l->items, l->item_count, l->alignment, arena_block_size(l->device, l->alignment), out_size);
}

static dure_status place_activations(dure_executable *executable, layout *l) {
  uint64_t size = 0, block_size = arena_block_size(executable->device, l->alignment);
  dure_status status = plan_activations(l, &size);
  char label[64];
  snprintf(label, sizeof(label), "%s activations", executable->label);
  if (status == NULL) status = arena_create(executable->device, size, block_size, label, &executable->activations);
  if (status != NULL) return name_largest(status, executable, l);
  for (size_t i = 0; i < l->item_count; i++) {
    dure_buffer *buffer = NULL;
    uint64_t offset = 0;
    arena_locate(&executable->activations, l->items[i].place, &buffer, &offset);
    offset += l->guard_bytes;
    uint64_t bytes = l->items[i].size - 2 * l->guard_bytes;
    if (l->item_root[i] != 0) {
      place_root(executable, l->item_root[i], buffer, offset, bytes);
      continue;
    }
    dure_operand *workspace = &executable->calls[l->item_call[i]].workspace;
    workspace->dtype = DURE_DTYPE_U8;
    dure_operand_set_shape(workspace, 1, &bytes);
    workspace->buffer = buffer;
    workspace->offset = offset;
    if (bytes > executable->workspace_bytes) executable->workspace_bytes = bytes;
  }
  return NULL;
}

// External tensors that the caller gave a place, then memory for those it did not.
static dure_status place_externals(dure_executable *executable, const dure_program *program, const dure_place *places,
                                   size_t place_count, uint64_t alignment) {
  for (size_t i = 0; i < place_count; i++) {
    uint32_t index = places[i].tensor.index;
    if (index == 0 || index >= program->value_count || !program->values[index].is_external ||
        program->values[index].root != index) {
      return dure_fail(DURE_INVALID_ARGUMENT, "place %zu is for a tensor that is not external", i);
    }
    uint64_t bytes = root_bytes(program, index);
    if (places[i].offset % 4 != 0 || places[i].offset > dure_buffer_size(places[i].buffer) ||
        bytes > dure_buffer_size(places[i].buffer) - places[i].offset) {
      return dure_fail(DURE_INVALID_ARGUMENT, "the place given for '%s' does not hold its %llu bytes",
                       program->values[index].label, (unsigned long long)bytes);
    }
    executable->operands[index].buffer = places[i].buffer;
    executable->operands[index].offset = places[i].offset;
  }
  size_t count = 0;
  dure_plan_item *items = calloc(program->value_count, sizeof(*items));
  uint32_t *roots = calloc(program->value_count, sizeof(*roots));
  dure_status status = NULL;
  if (items == NULL || roots == NULL)
    DURE_TRY_GOTO(status, dure_fail(DURE_OUT_OF_MEMORY, "out of memory planning a program"), done);
  for (uint32_t i = 1; i < program->value_count; i++) {
    if (!program->values[i].is_external || program->values[i].root != i || executable->operands[i].buffer != NULL)
      continue;
    items[count] = (dure_plan_item){root_bytes(program, i) + 2 * executable->guard_bytes, 0, 0, 0};
    roots[count++] = i;
  }
  uint64_t size = 0, block_size = arena_block_size(executable->device, alignment);
  DURE_TRY_GOTO(status, dure_plan_memory(items, count, alignment, block_size, &size), done);
  char label[64];
  snprintf(label, sizeof(label), "%s inputs and outputs", executable->label);
  DURE_TRY_GOTO(status, arena_create(executable->device, size, block_size, label, &executable->owned), done);
  for (size_t i = 0; i < count; i++) {
    dure_buffer *buffer = NULL;
    uint64_t offset = 0;
    arena_locate(&executable->owned, items[i].place, &buffer, &offset);
    place_root(executable, roots[i], buffer, offset + executable->guard_bytes, root_bytes(program, roots[i]));
  }
done:
  free(items);
  free(roots);
  return status;
}

// Views take their root's place; then every call's operands are looked up.
static void resolve_operands(dure_executable *executable, const dure_program *program) {
  for (uint32_t i = 1; i < program->value_count; i++) {
    const program_value *value = &program->values[i];
    if (value->root == i) continue;
    const dure_operand *root = &executable->operands[value->root];
    executable->operands[i] = program_operand(program, (dure_tensor){i});
    executable->operands[i].buffer = root->buffer;
    executable->operands[i].offset += root->offset;
  }
  for (uint32_t c = 0; c < program->call_count; c++) {
    for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
      uint32_t index = program->calls[c].operands[i].index;
      if (index != 0) executable->calls[c].operands[i] = executable->operands[index];
    }
  }
}

static dure_status executable_allocate(dure_executable *executable, const dure_program *program) {
  executable->operand_count = program->value_count;
  executable->call_count = program->call_count;
  executable->operands = calloc(program->value_count, sizeof(*executable->operands));
  executable->labels = calloc(program->value_count, sizeof(*executable->labels));
  executable->calls = calloc((size_t)program->call_count + 1, sizeof(*executable->calls));
  executable->call_labels = calloc((size_t)program->call_count + 1, sizeof(*executable->call_labels));
  executable->guards = calloc((size_t)program->value_count + 1, sizeof(*executable->guards));
  if (executable->operands == NULL || executable->labels == NULL || executable->calls == NULL ||
      executable->call_labels == NULL || executable->guards == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory compiling a program");
  }
  for (uint32_t i = 1; i < program->value_count; i++) {
    executable->operands[i] = program_operand(program, (dure_tensor){i});
    memcpy(executable->labels[i], program->values[i].label, sizeof(executable->labels[i]));
  }
  for (uint32_t c = 0; c < program->call_count; c++) {
    executable->calls[c] = program_resolve(program, &program->calls[c]);
    char description[128];
    dure_op_describe(&executable->calls[c], description, sizeof(description));
    const char *scope = program->scopes[program->calls[c].scope];
    snprintf(executable->call_labels[c], sizeof(executable->call_labels[c]), scope[0] != '\0' ? "%s @ %.50s" : "%s%s",
             description, scope);
  }
  return NULL;
}

// ---- recording -------------------------------------------------------------------------------------------------

typedef struct record_context {
  dure_device *device;
  dure_recording *recording;
  dure_executable *executable;  // of which the recording is the last, and may be ended; NULL: it is not
  double share;                 // of the work that one recording may hold, in it so far
  uint32_t call;                // that is recorded
  const char *label;
} record_context;

static dure_status start_recording(dure_executable *executable, uint32_t call);

// Of what a recording may hold, by computing or by moving memory, whichever takes longer.
static double share_of(const dure_limits *limits, dure_cost cost) {
  double computing = cost.flops / limits->max_recording_flops, moving = cost.bytes / limits->max_recording_bytes;
  return computing > moving ? computing : moving;
}

// Recordings end where their work would pass the device's limits: at most about 0.2 s each.
static dure_status make_room(record_context *into, dure_cost cost) {
  dure_executable *executable = into->executable;
  if (executable == NULL) return NULL;
  const double share = share_of(&executable->device->info.limits, cost);
  bool is_full = into->recording != NULL && into->share > 0 && into->share + share > 1;
  if (is_full) DURE_TRY(dure_recording_finish(into->recording));
  if (is_full || into->recording == NULL) {
    DURE_TRY(start_recording(executable, into->call));
    into->recording = executable->recordings[executable->recording_count - 1];
    into->share = 0;
    dure_recording_label(into->recording, into->label);
  }
  into->share += share;
  return NULL;
}

static dure_status record_part(void *context, const dure_op_call *call) {
  record_context *into = context;
  DURE_TRY(make_room(into, dure_op_get(call->op)->cost(call)));
  const dure_backend_op *op = into->device->vtable->op(into->device, (uint32_t)call->op);
  return op->record(into->device, into->recording, call);
}

dure_status executable_record_call(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  record_context into = {.device = device, .recording = recording};
  return dure_op_expand(call, &device->info.limits, record_part, &into);
}

static dure_status start_recording(dure_executable *executable, uint32_t call) {
  uint32_t flags = executable->with_timestamps ? DURE_RECORD_TIMESTAMPS : 0;
  const size_t count = executable->recording_count + 1;
  dure_recording **larger = realloc(executable->recordings, count * sizeof(*larger));
  if (larger == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a program");
  executable->recordings = larger;
  uint32_t *first_calls = realloc(executable->first_calls, count * sizeof(*first_calls));
  if (first_calls == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a program");
  executable->first_calls = first_calls;
  first_calls[count - 1] = call;
  DURE_TRY(dure_recording_create(executable->device, executable->label, flags,
                                 &executable->recordings[executable->recording_count]));
  executable->recording_count++;
  return NULL;
}

static dure_status record_calls(dure_executable *executable, const dure_compile_options *options) {
  record_context into = {.device = executable->device, .executable = executable};
  size_t cut = 0, cut_count = options != NULL ? options->cut_count : 0;
  for (uint32_t c = 0; c < executable->call_count; c++) {
    const dure_op_call *call = &executable->calls[c];
    into.call = c;
    while (cut < cut_count && options->cuts[cut] < c) cut++;
    if (into.recording != NULL && cut < cut_count && options->cuts[cut] == c) {
      DURE_TRY(dure_recording_finish(into.recording));
      into.recording = NULL;
    }
    dure_cost cost = dure_op_get(call->op)->cost(call);
    into.label = executable->call_labels[c];
    if (into.recording != NULL) dure_recording_label(into.recording, into.label);
    dure_status status = dure_op_expand(call, &executable->device->info.limits, record_part, &into);
    if (status != NULL) return dure_status_prefix(status, "%s", executable->call_labels[c]);
    executable->cost.flops += cost.flops;
    executable->cost.bytes += cost.bytes;
  }
  return into.recording != NULL ? dure_recording_finish(into.recording) : NULL;
}

// With guards: all planned memory starts as the pattern, except external tensors, which start as zeros.
static dure_status fill_guards(dure_executable *executable) {
  if (executable->guard_bytes == 0) return NULL;
  dure_recording *recording = NULL;
  dure_stream *stream = NULL;
  DURE_TRY(dure_recording_create(executable->device, "guards", 0, &recording));
  dure_status status = NULL;
  const arena *arenas[2] = {&executable->activations, &executable->owned};
  for (size_t a = 0; a < 2; a++) {
    for (size_t i = 0; i < arenas[a]->block_count; i++) {
      uint64_t size = dure_buffer_size(arenas[a]->blocks[i]) & ~(uint64_t)3;
      DURE_TRY_GOTO(status, dure_recording_fill(recording, arenas[a]->blocks[i], 0, size, EXECUTABLE_GUARD_PATTERN),
                    done);
    }
  }
  for (size_t i = 0; i < executable->guard_count; i++) {
    const guarded *g = &executable->guards[i];
    bool is_owned = false;
    for (size_t b = 0; b < executable->owned.block_count; b++)
      is_owned = is_owned || executable->owned.blocks[b] == g->buffer;
    if (is_owned)
      DURE_TRY_GOTO(status, dure_recording_fill(recording, g->buffer, g->offset, (g->size + 3) & ~(uint64_t)3, 0),
                    done);
  }
  DURE_TRY_GOTO(status, dure_recording_finish(recording), done);
  DURE_TRY_GOTO(status, dure_stream_create(executable->device, &stream), done);
  DURE_TRY_GOTO(status, dure_stream_submit(stream, &recording, 1, NULL, 0, NULL, 0, NULL), done);
  DURE_TRY_GOTO(status, dure_stream_wait(stream, 0), done);
done:
  dure_stream_destroy(stream);
  dure_recording_destroy(recording);
  return status;
}

// ---- measure ---------------------------------------------------------------------------------------------------

static layout layout_of(const dure_program *program, dure_device *device) {
  layout l = {.program = program, .device = device, .alignment = device->info.limits.offset_alignment};
  if (l.alignment < 64) l.alignment = 64;
  return l;
}

dure_status dure_program_measure(const dure_program *program, dure_device *device, dure_program_memory *out_memory) {
  memset(out_memory, 0, sizeof(*out_memory));
  DURE_TRY(dure_program_check(program));
  layout l = layout_of(program, device);
  dure_status status = layout_make(&l);
  if (status == NULL) status = plan_activations(&l, &out_memory->activation_bytes);
  for (uint32_t i = 1; status == NULL && i < program->value_count; i++) {
    const program_value *value = &program->values[i];
    if (!value->is_external || value->root != i) continue;
    out_memory->external_bytes[value->lifetime] += (root_bytes(program, i) + l.alignment - 1) & ~(l.alignment - 1);
  }
  for (uint32_t c = 0; status == NULL && c < program->call_count; c++) {
    dure_op_call call = program_resolve(program, &program->calls[c]);
    dure_cost cost = dure_op_get(call.op)->cost(&call);
    out_memory->cost.flops += cost.flops;
    out_memory->cost.bytes += cost.bytes;
    if (l.workspace[c] > out_memory->workspace_bytes) out_memory->workspace_bytes = l.workspace[c];
  }
  layout_free(&l);
  return status;
}

void dure_program_visit(const dure_program *program, dure_program_visitor visitor, void *context) {
  for (uint32_t c = 0; c < program->call_count; c++) {
    dure_op_call call = program_resolve(program, &program->calls[c]);
    visitor(context, &call, program->scopes[program->calls[c].scope]);
  }
}

void dure_program_visit_uses(const dure_program *program, dure_program_use_visitor visitor, void *context) {
  for (uint32_t c = 0; c < program->call_count; c++) {
    const dure_program_call_record *call = &program->calls[c];
    const dure_op_row *row = dure_op_get(call->op);
    for (uint32_t i = 0; i < row->operand_count; i++) {
      const uint32_t root = program->values[call->operands[i].index].root;
      if (call->operands[i].index == 0 || !program->values[root].is_external) continue;
      const dure_access access = i < row->input_count ? DURE_READ : DURE_READ_WRITE;
      visitor(context, c, (dure_tensor){root}, access);
    }
  }
}

uint32_t dure_program_call_count(const dure_program *program) { return program->call_count; }

void dure_program_visit_meetings(const dure_program *program, dure_program_meeting_visitor visitor, void *context) {
  for (uint32_t c = 0; c < program->call_count; c++) {
    const dure_program_call_record *call = &program->calls[c];
    const dure_copy_among among = call->op == DURE_OP_copy ? call->attributes.copy.among : DURE_AMONG_NOBODY;
    if (among != DURE_AMONG_SUM && among != DURE_AMONG_EXCHANGE) continue;
    const dure_program_meeting meeting = {c, among, call->operands[0], call->operands[1]};
    visitor(context, &meeting);
  }
}

// ---- constants -------------------------------------------------------------------------------------------------

static dure_status upload_constants(dure_executable *executable, const dure_program *program) {
  dure_stream *stream = NULL;
  dure_status status = NULL;
  for (uint32_t i = 1; i < program->value_count && status == NULL; i++) {
    const program_value *value = &program->values[i];
    if (value->root != i || value->contents == NULL) continue;
    if (stream == NULL) status = dure_stream_create(executable->device, &stream);
    const dure_operand *place = &executable->operands[i];
    if (status == NULL)
      status = dure_stream_upload(stream, place->buffer, place->offset, value->contents,
                                  dure_operand_count(place) * dure_dtype_size(place->dtype));
  }
  if (stream != NULL) status = dure_status_join(status, dure_stream_wait(stream, 0));
  dure_stream_destroy(stream);
  return status;
}

// ---- compile ---------------------------------------------------------------------------------------------------

dure_status dure_program_compile(const dure_program *program, dure_device *device, const dure_place *places,
                                 size_t place_count, const dure_compile_options *options,
                                 dure_executable **out_executable) {
  *out_executable = NULL;
  DURE_TRY(dure_program_check(program));
  dure_executable *executable = calloc(1, sizeof(*executable));
  if (executable == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory compiling a program");
  executable->device = device;
  snprintf(executable->label, sizeof(executable->label), "%s",
           options != NULL && options->label != NULL ? options->label : "program");
  executable->with_timestamps = (options != NULL && options->with_timestamps) || dure_trace_waits();

  layout l = layout_of(program, device);
  if (options != NULL && options->guard_bytes > 0) {
    l.guard_bytes = executable->guard_bytes = (options->guard_bytes + l.alignment - 1) & ~(l.alignment - 1);
  }
  dure_status status = NULL;
  DURE_TRY_GOTO(status, executable_allocate(executable, program), failed);
  DURE_TRY_GOTO(status, layout_make(&l), failed);
  DURE_TRY_GOTO(status, place_activations(executable, &l), failed);
  DURE_TRY_GOTO(status, place_externals(executable, program, places, place_count, l.alignment), failed);
  resolve_operands(executable, program);
  DURE_TRY_GOTO(status, fill_guards(executable), failed);
  DURE_TRY_GOTO(status, upload_constants(executable, program), failed);
  device->exposed_bytes = executable->guard_bytes;
  status = record_calls(executable, options);
  device->exposed_bytes = 0;
  if (status != NULL) goto failed;
  layout_free(&l);
  *out_executable = executable;
  return NULL;
failed:
  layout_free(&l);
  dure_executable_destroy(executable);
  return options != NULL && options->label != NULL ? dure_status_prefix(status, "%s", options->label) : status;
}

void dure_executable_destroy(dure_executable *executable) {
  if (executable == NULL) return;
  for (size_t i = 0; i < executable->recording_count; i++) dure_recording_destroy(executable->recordings[i]);
  free(executable->recordings);
  free(executable->first_calls);
  arena_destroy(&executable->activations);
  arena_destroy(&executable->owned);
  free(executable->operands);
  free(executable->labels);
  free(executable->calls);
  free(executable->call_labels);
  free(executable->guards);
  free(executable);
}
