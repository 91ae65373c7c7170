#include "model/exchange.h"

#include <stdlib.h>
#include <string.h>

typedef struct slot_list {
  dure_buffer **buffers;
  dure_recording **clears;  // of gradients
  size_t count;
} slot_list;

struct dure_exchange {
  dure_exchange_ranks ranks;
  const dure_parameter_layout *layout;
  dure_training_options options;
  dure_device *device;
  dure_staging staging;
  slot_list parameters, gradients;
  const dure_parameter_buffers *kept_parameters, *kept_gradients;
  uint64_t *tickets;  // [2, pool_count]: of the collective begun last for a pool's parameters and gradient
  bool *is_begun;     // [2, pool_count]
};

enum { OF_PARAMETERS, OF_GRADIENTS };

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status make_slots(dure_exchange *e, const dure_staging_slots *slots, dure_training_set set,
                              slot_list *list) {
  list->buffers = calloc(slots->count + 1, sizeof(*list->buffers));
  list->clears = calloc(slots->count + 1, sizeof(*list->clears));
  if (list->buffers == NULL || list->clears == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for slots");
  const char *label = set == DURE_TRAINING_GRADIENTS ? "gradients of some layers" : "parameters of some layers";
  const uint64_t size = dure_dtype_size(dure_training_set_dtype(&e->options, set));
  for (; list->count < slots->count; list->count++) {
    const size_t i = list->count;
    DURE_TRY(dure_buffer_create(e->device, slots->counts[i] * size, DURE_MEMORY_DEVICE, label, &list->buffers[i]));
    if (set != DURE_TRAINING_GRADIENTS) continue;
    dure_status status = dure_recording_create(e->device, "clear gradients", 0, &list->clears[i]);
    if (status == NULL)
      status = dure_recording_fill(list->clears[i], list->buffers[i], 0, slots->counts[i] * size / 4 * 4, 0);
    if (status == NULL) status = dure_recording_finish(list->clears[i]);
    if (status != NULL) {
      list->count++;
      return status;
    }
  }
  return NULL;
}

static void clear_slots(slot_list *list) {
  for (size_t i = 0; i < list->count; i++) {
    if (list->clears[i] != NULL) dure_recording_destroy(list->clears[i]);
    dure_buffer_destroy(list->buffers[i]);
  }
  free(list->buffers);
  free(list->clears);
}

dure_status dure_exchange_create(const dure_exchange_ranks *ranks, const dure_parameter_layout *layout,
                                 const dure_training_options *options, dure_device *device, dure_staging *staging,
                                 dure_exchange **out_exchange) {
  *out_exchange = NULL;
  dure_exchange *e = calloc(1, sizeof(*e));
  if (e == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to train with other ranks");
  *e = (dure_exchange){.ranks = *ranks, .layout = layout, .options = *options, .device = device, .staging = *staging};
  memset(staging, 0, sizeof(*staging));
  e->tickets = calloc(2 * layout->pool_count + 1, sizeof(*e->tickets));
  e->is_begun = calloc(2 * layout->pool_count + 1, sizeof(*e->is_begun));
  dure_status status = e->tickets == NULL || e->is_begun == NULL
                           ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to train with other ranks")
                           : NULL;
  if (status == NULL) status = make_slots(e, &e->staging.parameters, DURE_TRAINING_PARAMETERS, &e->parameters);
  if (status == NULL) status = make_slots(e, &e->staging.gradients, DURE_TRAINING_GRADIENTS, &e->gradients);
  if (status != NULL) {
    dure_exchange_destroy(e);
    return status;
  }
  *out_exchange = e;
  return NULL;
}

void dure_exchange_destroy(dure_exchange *e) {
  if (e == NULL) return;
  clear_slots(&e->parameters);
  clear_slots(&e->gradients);
  dure_staging_clear(&e->staging);
  free(e->tickets);
  free(e->is_begun);
  free(e);
}

const dure_staging *dure_exchange_staging(const dure_exchange *e) { return &e->staging; }

dure_buffer *dure_exchange_slot(const dure_exchange *e, dure_training_set set, size_t pool) {
  if (set == DURE_TRAINING_PARAMETERS && e->parameters.count > 0)
    return e->parameters.buffers[e->staging.parameters.of_pool[pool]];
  if (set == DURE_TRAINING_GRADIENTS && e->gradients.count > 0)
    return e->gradients.buffers[e->staging.gradients.of_pool[pool]];
  return NULL;
}

void dure_exchange_bind(dure_exchange *e, const dure_parameter_buffers *parameters,
                        const dure_parameter_buffers *gradients) {
  e->kept_parameters = parameters;
  e->kept_gradients = gradients;
}

// ---- collectives -------------------------------------------------------------------------------------------------

static uint64_t part_count(const dure_exchange *e, size_t pool) {
  const uint32_t shards = e->options.shards > 1 ? e->options.shards : 1;
  return e->layout->pools[pool].count / shards;
}

static dure_status begin(dure_exchange *e, dure_communicator *among, dure_stream *stream, int kind, size_t pool,
                         const dure_collective *collective) {
  const size_t at = (size_t)kind * e->layout->pool_count + pool;
  e->is_begun[at] = true;
  return dure_communicator_begin(among, stream, collective, &e->tickets[at]);
}

static dure_status join(dure_exchange *e, dure_communicator *among, dure_stream *stream, int kind, size_t pool) {
  const size_t at = (size_t)kind * e->layout->pool_count + pool;
  if (!e->is_begun[at]) return NULL;
  e->is_begun[at] = false;
  return dure_communicator_join(among, stream, e->tickets[at]);
}

// Of a pool of parameters, its parts kept in `source`; in place where that is the whole pool.
static dure_status begin_gathering(dure_exchange *e, dure_stream *stream, size_t pool, dure_buffer *target) {
  const dure_dtype dtype = dure_training_set_dtype(&e->options, DURE_TRAINING_PARAMETERS);
  const uint64_t count = part_count(e, pool);
  dure_buffer *source = e->kept_parameters->pools[pool];
  const dure_collective collective = {
      .kind = DURE_ALL_GATHER,
      .dtype = dtype,
      .count = count,
      .source = source,
      .source_offset = source == target ? e->options.shard * count * dure_dtype_size(dtype) : 0,
      .target = target,
  };
  return begin(e, e->ranks.within, stream, OF_PARAMETERS, pool, &collective);
}

// Where the sum of this rank's part goes.
static void place_sum(const dure_exchange *e, size_t pool, dure_collective *collective) {
  const bool is_kept = dure_training_set_is_sharded(&e->options, DURE_TRAINING_GRADIENTS);
  collective->target = collective->source;
  collective->target_offset = e->options.shard * collective->count * dure_dtype_size(collective->dtype);
  if (!is_kept || e->options.accumulate > 1) return;
  collective->target = e->kept_gradients->pools[pool];
  collective->target_offset = 0;
}

static dure_collective sum_of(const dure_exchange *e, size_t pool) {
  dure_buffer *slot = dure_exchange_slot(e, DURE_TRAINING_GRADIENTS, pool);
  dure_collective collective = {
      .kind = DURE_ALL_REDUCE,
      .dtype = dure_training_set_dtype(&e->options, DURE_TRAINING_GRADIENTS),
      .reduction = DURE_REDUCTION_SUM,
      .count = e->layout->pools[pool].count,
      .source = slot != NULL ? slot : e->kept_gradients->pools[pool],
  };
  collective.target = collective.source;
  if (!dure_training_set_is_sharded(&e->options, DURE_TRAINING_FIRST_MOMENTS)) return collective;
  collective.kind = DURE_REDUCE_SCATTER;
  collective.count = part_count(e, pool);
  place_sum(e, pool, &collective);
  return collective;
}

static dure_status finish_sum(dure_exchange *e, dure_executable *add, dure_stream *stream, size_t pool) {
  if (!e->is_begun[e->layout->pool_count + pool]) return NULL;
  DURE_TRY(join(e, e->ranks.within, stream, OF_GRADIENTS, pool));
  if (e->ranks.across != NULL) {
    dure_collective collective = sum_of(e, pool);
    collective.kind = DURE_ALL_REDUCE;
    collective.source = collective.target;
    collective.source_offset = collective.target_offset;
    DURE_TRY(begin(e, e->ranks.across, stream, OF_GRADIENTS, pool, &collective));
    DURE_TRY(join(e, e->ranks.across, stream, OF_GRADIENTS, pool));
  }
  return add != NULL ? dure_executable_submit_calls(add, stream, (uint32_t)pool, (uint32_t)pool + 1) : NULL;
}

// ---- a micro-step ------------------------------------------------------------------------------------------------

typedef struct stepping {
  dure_executable *micro_step, *add;
  dure_stream *stream;
  bool sums;
  char *text;  // where the first bad value goes; NULL: it is not looked for
  size_t text_size;
} stepping;

static dure_status run_calls(const stepping *s, uint32_t first, uint32_t end) {
  bool found = false;
  if (s->text == NULL || s->text[0] != '\0') return dure_executable_submit_calls(s->micro_step, s->stream, first, end);
  return dure_executable_find_not_finite_in(s->micro_step, s->stream, first, end, &found, s->text, s->text_size);
}

static dure_status complete(dure_communicator *among, dure_stream *stream, const dure_collective *collective) {
  uint64_t ticket;
  DURE_TRY(dure_communicator_begin(among, stream, collective, &ticket));
  return dure_communicator_join(among, stream, ticket);
}

// Sends each rank its piece of the source, and receives that rank's; of two, the lower one sends first. This rank's own
// has been copied. In round i ranks whose sum is i, modulo their number, meet: no rank waits for one that meets
// another.
static dure_status swap_pieces(dure_communicator *among, dure_stream *stream, const dure_operand *source,
                               const dure_operand *target) {
  const uint32_t size = dure_communicator_size(among), rank = dure_communicator_rank(among);
  const uint64_t count = dure_operand_count(source) / size, bytes = count * dure_dtype_size(source->dtype);
  for (uint32_t round = 0; round < size; round++) {
    const uint32_t peer = (round + size - rank % size) % size;
    if (peer == rank) continue;
    dure_collective steps[2] = {
        {.kind = DURE_SEND, .source = source->buffer, .source_offset = source->offset + peer * bytes},
        {.kind = DURE_RECEIVE, .target = target->buffer, .target_offset = target->offset + peer * bytes}};
    for (uint32_t i = 0; i < 2; i++) {
      dure_collective *step = &steps[rank < peer ? i : 1 - i];
      step->dtype = source->dtype;
      step->count = count;
      step->peer = peer;
      DURE_TRY(complete(among, stream, step));
    }
  }
  return NULL;
}

static dure_status meet(const dure_exchange *e, const stepping *s, const dure_program_meeting *meeting) {
  dure_operand source, target;
  DURE_TRY(dure_executable_operand(s->micro_step, meeting->source, &source));
  DURE_TRY(dure_executable_operand(s->micro_step, meeting->target, &target));
  if (meeting->among == DURE_AMONG_EXCHANGE) return swap_pieces(e->ranks.sequence, s->stream, &source, &target);
  const dure_collective sum = {.kind = DURE_ALL_REDUCE,
                               .dtype = target.dtype,
                               .reduction = DURE_REDUCTION_SUM,
                               .count = dure_operand_count(&target),
                               .source = target.buffer,
                               .source_offset = target.offset,
                               .target = target.buffer,
                               .target_offset = target.offset};
  return complete(e->ranks.tensor, s->stream, &sum);
}

static dure_status act(dure_exchange *e, const stepping *s, const dure_staging_action *action) {
  const size_t pool = action->pool;
  switch (action->kind) {
    case DURE_STAGING_MEET: return meet(e, s, &e->staging.meetings[action->first]);
    case DURE_STAGING_RUN: return run_calls(s, action->first, action->end);
    case DURE_STAGING_GATHER:
      return begin_gathering(e, s->stream, pool, dure_exchange_slot(e, DURE_TRAINING_PARAMETERS, pool));
    case DURE_STAGING_NEED: return join(e, e->ranks.within, s->stream, OF_PARAMETERS, pool);
    case DURE_STAGING_FORWARD: return NULL;
    case DURE_STAGING_CLEAR:
      return dure_stream_submit(s->stream, &e->gradients.clears[e->staging.gradients.of_pool[pool]], 1, NULL, 0, NULL,
                                0, NULL);
    case DURE_STAGING_REDUCE: {
      if (!s->sums) return NULL;
      const dure_collective collective = sum_of(e, pool);
      return begin(e, e->ranks.within, s->stream, OF_GRADIENTS, pool, &collective);
    }
    case DURE_STAGING_FINISH: return finish_sum(e, s->add, s->stream, pool);
  }
  return NULL;
}

static dure_status step(dure_exchange *e, stepping s, bool is_last) {
  s.sums = is_last || dure_training_set_is_sharded(&e->options, DURE_TRAINING_GRADIENTS);
  for (size_t i = 0; i < e->staging.action_count; i++) DURE_TRY(act(e, &s, &e->staging.actions[i]));
  return NULL;
}

dure_status dure_exchange_micro_step(dure_exchange *e, dure_executable *micro_step, dure_executable *add,
                                     dure_stream *stream, bool is_last) {
  return step(e, (stepping){.micro_step = micro_step, .add = add, .stream = stream}, is_last);
}

dure_status dure_exchange_find_not_finite(dure_exchange *e, dure_executable *micro_step, dure_executable *add,
                                          dure_stream *stream, bool is_last, char *out_text, size_t text_size) {
  out_text[0] = '\0';
  return step(e, (stepping){micro_step, add, stream, false, out_text, text_size}, is_last);
}

dure_status dure_exchange_forward(dure_exchange *e, dure_executable *micro_step, dure_stream *stream) {
  const stepping s = {.micro_step = micro_step, .stream = stream};
  for (size_t i = 0; i < e->staging.action_count; i++) {
    const dure_staging_action *action = &e->staging.actions[i];
    if (action->kind == DURE_STAGING_FORWARD) break;
    DURE_TRY(act(e, &s, action));
  }
  return dure_exchange_settle(e, stream);
}

dure_status dure_exchange_sum(dure_exchange *e, dure_stream *stream, dure_buffer *buffer, uint64_t offset,
                              bool of_parts) {
  const bool has_parts = dure_training_set_is_sharded(&e->options, DURE_TRAINING_FIRST_MOMENTS);
  dure_communicator *const all[2] = {e->ranks.within, e->ranks.across};
  dure_communicator *const parts[2] = {has_parts ? e->ranks.within : NULL, e->ranks.tensor};
  dure_communicator *const *among = of_parts ? parts : all;
  const dure_collective collective = {.kind = DURE_ALL_REDUCE,
                                      .dtype = DURE_DTYPE_F32,
                                      .reduction = DURE_REDUCTION_SUM,
                                      .count = 1,
                                      .source = buffer,
                                      .source_offset = offset,
                                      .target = buffer,
                                      .target_offset = offset};
  for (size_t i = 0; i < 2; i++) {
    if (among[i] != NULL) DURE_TRY(complete(among[i], stream, &collective));
  }
  return NULL;
}

dure_status dure_exchange_settle(dure_exchange *e, dure_stream *stream) {
  for (size_t i = 0; i < e->layout->pool_count; i++) DURE_TRY(join(e, e->ranks.within, stream, OF_PARAMETERS, i));
  return NULL;
}

void dure_exchange_join_all(dure_exchange *e, dure_stream *stream) {
  for (int kind = OF_PARAMETERS; kind <= OF_GRADIENTS; kind++) {
    for (size_t i = 0; i < e->layout->pool_count; i++) dure_status_free(join(e, e->ranks.within, stream, kind, i));
  }
}

static dure_status begin_update(dure_exchange *e, dure_stream *stream, size_t pool) {
  return e->is_begun[pool] ? NULL : begin_gathering(e, stream, pool, e->kept_parameters->pools[pool]);
}

dure_status dure_exchange_parameters(dure_exchange *e, dure_stream *stream) {
  if (!dure_training_set_is_sharded(&e->options, DURE_TRAINING_FIRST_MOMENTS)) return NULL;
  if (dure_training_set_is_sharded(&e->options, DURE_TRAINING_PARAMETERS)) return NULL;
  DURE_TRY(dure_exchange_settle(e, stream));  // of pools that no forward pass has asked for
  for (size_t i = 0; i < e->staging.action_count; i++) {
    const dure_staging_action *action = &e->staging.actions[i];
    if (action->kind == DURE_STAGING_NEED) DURE_TRY(begin_update(e, stream, action->pool));
  }
  for (size_t i = 0; i < e->layout->pool_count; i++) DURE_TRY(begin_update(e, stream, i));
  return NULL;
}

dure_communicator_statistics dure_exchange_get_statistics(const dure_exchange *e) {
  const dure_communicator *const all[] = {e->ranks.within, e->ranks.across, e->ranks.tensor, e->ranks.sequence};
  dure_communicator_statistics sum = {0};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
    if (all[i] == NULL) continue;
    const dure_communicator_statistics one = dure_communicator_get_statistics(all[i]);
    sum.collectives += one.collectives;
    sum.bytes_sent += one.bytes_sent;
    sum.bytes_received += one.bytes_received;
    sum.busy_seconds += one.busy_seconds;
    sum.wait_seconds += one.wait_seconds;
  }
  return sum;
}
