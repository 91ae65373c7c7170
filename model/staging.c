#include "model/staging.h"

#include <stdlib.h>
#include <string.h>

// Calls [first, end) during which a pool must be whole; [from, to) with those in which its slot fills or empties.
typedef struct window {
  size_t pool;
  uint32_t first, end, from, to;
} window;

typedef struct window_list {
  window *items;  // ascending by `first`
  size_t count;
} window_list;

typedef struct maker {
  const dure_training_tensors *tensors;
  const dure_parameter_layout *layout;
  uint32_t forward_calls, call_count;
  bool shards_parameters, shards_gradients;
  bool awaits_parameters;  // whole ones are on their way from the ranks that have updated them
  bool has_forward;        // whether the end of the forward pass is an action
  size_t next_meeting;     // that has no action yet
  window *uses;            // [3, pool_count]: of parameters forward and backward, of gradients
  window_list parameters, gradients;
  uint32_t *boundaries;  // where something begins or ends; ascending, from 0 to call_count
  size_t boundary_count;
  dure_staging *staging;
  size_t *gathered;  // of each parameter slot: the window that it was gathered for last; SIZE_MAX: none
  size_t *in_slot;   // of each gradient slot: the pool whose sum it holds; SIZE_MAX: none
} maker;

enum { FORWARD, BACKWARD, GRADIENT, PHASES };

// ---- windows -----------------------------------------------------------------------------------------------------

static void widen(window *use, uint32_t call) {
  if (use->end == 0) use->first = call;
  use->end = call + 1;
}

static void note_use(void *context, uint32_t call, dure_tensor external, dure_access access) {
  maker *m = context;
  (void)access;
  const size_t count = m->layout->pool_count;
  for (size_t i = 0; i < count; i++) {
    if (m->tensors->sets[DURE_TRAINING_PARAMETERS][i].index == external.index)
      widen(&m->uses[(call < m->forward_calls ? FORWARD : BACKWARD) * count + i], call);
    if (m->tensors->sets[DURE_TRAINING_GRADIENTS][i].index == external.index)
      widen(&m->uses[GRADIENT * count + i], call);
  }
}

static int compare_windows(const void *a, const void *b) {
  const window *left = a, *right = b;
  if (left->first != right->first) return left->first < right->first ? -1 : 1;
  return (left->pool > right->pool) - (left->pool < right->pool);
}

static void collect(const maker *m, int from_phase, int to_phase, window_list *list) {
  const size_t count = m->layout->pool_count;
  for (int phase = from_phase; phase <= to_phase; phase++) {
    for (size_t i = 0; i < count; i++) {
      window use = m->uses[(size_t)phase * count + i];
      if (use.end == 0) continue;
      use.pool = i;
      list->items[list->count++] = use;
    }
  }
  qsort(list->items, list->count, sizeof(*list->items), compare_windows);
}

// A slot fills while the window before is in use.
static void lengthen_forward(window_list *list) {
  for (size_t i = 0; i < list->count; i++) {
    list->items[i].from = i > 0 ? list->items[i - 1].first : 0;
    list->items[i].to = list->items[i].end;
  }
}

// A slot empties while the window that ends next is in use.
static void lengthen_backward(window_list *list, uint32_t call_count) {
  for (size_t i = 0; i < list->count; i++) {
    window *w = &list->items[i];
    w->from = w->first;
    w->to = call_count;
    for (size_t k = 0; k < list->count; k++) {
      const uint32_t end = list->items[k].end;
      if (end > w->end && end < w->to) w->to = end;
    }
  }
}

// ---- slots -------------------------------------------------------------------------------------------------------

static bool overlap(const window *a, const window *b) { return a->from < b->to && b->from < a->to; }

// Whether the pool could lie in a slot with those that are in it already.
static bool fits_slot(const window_list *list, const dure_staging_slots *slots, const bool *is_placed, size_t slot,
                      size_t pool) {
  for (size_t i = 0; i < list->count; i++) {
    const window *other = &list->items[i];
    if (!is_placed[other->pool] || slots->of_pool[other->pool] != slot) continue;
    for (size_t k = 0; k < list->count; k++) {
      if (list->items[k].pool == pool && overlap(&list->items[k], other)) return false;
    }
  }
  return true;
}

static dure_status assign_slots(const maker *m, const window_list *list, dure_staging_slots *slots) {
  const size_t count = m->layout->pool_count;
  slots->of_pool = calloc(count + 1, sizeof(*slots->of_pool));
  slots->counts = calloc(count + 1, sizeof(*slots->counts));
  bool *is_placed = calloc(count + 1, sizeof(*is_placed));
  if (slots->of_pool == NULL || slots->counts == NULL || is_placed == NULL) {
    free(is_placed);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory planning a training step");
  }
  for (size_t i = 0; i < list->count; i++) {
    const size_t pool = list->items[i].pool;
    if (is_placed[pool]) continue;
    size_t slot = 0;
    while (slot < slots->count && !fits_slot(list, slots, is_placed, slot, pool)) slot++;
    if (slot == slots->count) slots->count++;
    const uint64_t size = m->layout->pools[pool].count;
    slots->of_pool[pool] = slot;
    if (size > slots->counts[slot]) slots->counts[slot] = size;
    is_placed[pool] = true;
  }
  free(is_placed);
  return NULL;
}

// ---- actions -----------------------------------------------------------------------------------------------------

static int compare_calls(const void *a, const void *b) {
  const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
  return (left > right) - (left < right);
}

// Whether a pool must have come when the window begins; those that an update has sent stay for the backward pass.
static bool is_needed(const maker *m, const window *w) {
  return m->shards_parameters || (m->awaits_parameters && w->first < m->forward_calls);
}

static void find_boundaries(maker *m) {
  size_t count = 0;
  m->boundaries[count++] = 0;
  m->boundaries[count++] = m->call_count;
  if (m->has_forward) m->boundaries[count++] = m->forward_calls;
  for (size_t i = 0; i < m->staging->meeting_count; i++) m->boundaries[count++] = m->staging->meetings[i].call + 1;
  for (size_t i = 0; i < m->parameters.count; i++) {
    if (is_needed(m, &m->parameters.items[i])) m->boundaries[count++] = m->parameters.items[i].first;
    if (m->shards_parameters) m->boundaries[count++] = m->parameters.items[i].end;
  }
  for (size_t i = 0; i < m->gradients.count; i++) {
    if (m->shards_gradients) m->boundaries[count++] = m->gradients.items[i].first;
    m->boundaries[count++] = m->gradients.items[i].end;
  }
  qsort(m->boundaries, count, sizeof(*m->boundaries), compare_calls);
  m->boundary_count = 0;
  for (size_t i = 0; i < count; i++) {
    if (i == 0 || m->boundaries[i] != m->boundaries[i - 1]) m->boundaries[m->boundary_count++] = m->boundaries[i];
  }
}

static void add(const maker *m, dure_staging_kind kind, size_t pool, uint32_t first, uint32_t end) {
  m->staging->actions[m->staging->action_count++] = (dure_staging_action){kind, pool, first, end};
}

// Fills slots whose last window is over for the next.
static void gather_ahead(const maker *m, uint32_t call) {
  const dure_staging_slots *slots = &m->staging->parameters;
  for (size_t i = 0; i < m->parameters.count; i++) {
    const window *w = &m->parameters.items[i];
    const size_t slot = slots->of_pool[w->pool], before = m->gathered[slot];
    if (before != SIZE_MAX && (before >= i || m->parameters.items[before].end > call)) continue;
    m->gathered[slot] = i;
    add(m, DURE_STAGING_GATHER, w->pool, 0, 0);
  }
}

// Behind the call that comes before `call`, if there is such a meeting.
static void meet(maker *m, uint32_t call) {
  const dure_staging *staging = m->staging;
  if (m->next_meeting == staging->meeting_count || staging->meetings[m->next_meeting].call + 1 != call) return;
  add(m, DURE_STAGING_MEET, 0, (uint32_t)m->next_meeting++, 0);
}

static void act_on_parameters(const maker *m, uint32_t call) {
  if (m->has_forward && call == m->forward_calls) add(m, DURE_STAGING_FORWARD, 0, 0, 0);
  if (m->shards_parameters) gather_ahead(m, call);
  for (size_t i = 0; i < m->parameters.count; i++) {
    const window *w = &m->parameters.items[i];
    if (w->first == call && is_needed(m, w)) add(m, DURE_STAGING_NEED, w->pool, 0, 0);
  }
}

static void act_on_gradients(const maker *m, uint32_t call) {
  for (size_t i = 0; i < m->gradients.count; i++) {
    const window *w = &m->gradients.items[i];
    if (w->end == call) add(m, DURE_STAGING_REDUCE, w->pool, 0, 0);
  }
  for (size_t i = 0; m->shards_gradients && i < m->gradients.count; i++) {
    const window *w = &m->gradients.items[i];
    if (w->first != call) continue;
    size_t *held = &m->in_slot[m->staging->gradients.of_pool[w->pool]];
    if (*held != SIZE_MAX) add(m, DURE_STAGING_FINISH, *held, 0, 0);
    add(m, DURE_STAGING_CLEAR, w->pool, 0, 0);
    *held = w->pool;
  }
}

static void finish_all(const maker *m) {
  for (size_t i = 0; i < m->gradients.count; i++) {
    const size_t pool = m->gradients.items[i].pool;
    const bool is_done = m->shards_gradients && m->in_slot[m->staging->gradients.of_pool[pool]] != pool;
    if (!is_done) add(m, DURE_STAGING_FINISH, pool, 0, 0);
  }
}

static void list_actions(maker *m) {
  const size_t count = m->layout->pool_count;
  for (size_t i = 0; i < count; i++) m->gathered[i] = m->in_slot[i] = SIZE_MAX;
  find_boundaries(m);
  for (size_t i = 0; i < m->boundary_count; i++) {
    const uint32_t call = m->boundaries[i];
    meet(m, call);
    act_on_gradients(m, call);
    act_on_parameters(m, call);
    if (call == m->call_count) break;
    if (call > 0) m->staging->cuts[m->staging->cut_count++] = call;
    add(m, DURE_STAGING_RUN, 0, call, m->boundaries[i + 1]);
  }
  finish_all(m);
}

static void note_meeting(void *context, const dure_program_meeting *meeting) {
  maker *m = context;
  m->staging->meetings[m->staging->meeting_count++] = *meeting;
}

static dure_status make(maker *m, const dure_program *program, dure_staging *staging) {
  const size_t count = m->layout->pool_count;
  staging->meetings = calloc((size_t)m->call_count + 1, sizeof(*staging->meetings));
  if (staging->meetings == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory planning a training step");
  dure_program_visit_meetings(program, note_meeting, m);
  const size_t most = 7 * count + 4 + staging->meeting_count;
  m->uses = calloc(PHASES * count + 1, sizeof(*m->uses));
  m->parameters.items = calloc(2 * count + 1, sizeof(*m->parameters.items));
  m->gradients.items = calloc(count + 1, sizeof(*m->gradients.items));
  m->boundaries = calloc(most, sizeof(*m->boundaries));
  m->gathered = calloc(2 * count + 1, sizeof(*m->gathered));
  m->in_slot = m->gathered + count;
  staging->cuts = calloc(most, sizeof(*staging->cuts));
  staging->actions = calloc(2 * most + 8 * count, sizeof(*staging->actions));
  if (m->uses == NULL || m->parameters.items == NULL || m->gradients.items == NULL || m->boundaries == NULL ||
      m->gathered == NULL || staging->cuts == NULL || staging->actions == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory planning a training step");
  dure_program_visit_uses(program, note_use, m);
  collect(m, FORWARD, BACKWARD, &m->parameters);
  collect(m, GRADIENT, GRADIENT, &m->gradients);
  lengthen_forward(&m->parameters);
  lengthen_backward(&m->gradients, m->call_count);
  if (m->shards_parameters) DURE_TRY(assign_slots(m, &m->parameters, &staging->parameters));
  if (m->shards_gradients) DURE_TRY(assign_slots(m, &m->gradients, &staging->gradients));
  list_actions(m);
  return NULL;
}

dure_status dure_staging_make(const dure_program *program, const dure_training_tensors *tensors,
                              const dure_parameter_layout *layout, const dure_training_options *options,
                              dure_staging *out_staging) {
  memset(out_staging, 0, sizeof(*out_staging));
  maker m = {
      .tensors = tensors,
      .layout = layout,
      .forward_calls = tensors->forward_calls,
      .call_count = dure_program_call_count(program),
      .shards_parameters = dure_training_set_is_sharded(options, DURE_TRAINING_PARAMETERS),
      .shards_gradients = dure_training_set_is_sharded(options, DURE_TRAINING_GRADIENTS),
      .awaits_parameters = dure_training_set_is_sharded(options, DURE_TRAINING_FIRST_MOMENTS),
      .has_forward = dure_training_set_is_sharded(options, DURE_TRAINING_PARAMETERS) || dure_training_meets(options),
      .staging = out_staging,
  };
  dure_status status = make(&m, program, out_staging);
  free(m.uses);
  free(m.parameters.items);
  free(m.gradients.items);
  free(m.boundaries);
  free(m.gathered);
  if (status != NULL) dure_staging_clear(out_staging);
  return status;
}

void dure_staging_clear(dure_staging *staging) {
  free(staging->actions);
  free(staging->cuts);
  free(staging->meetings);
  free(staging->parameters.of_pool);
  free(staging->parameters.counts);
  free(staging->gradients.of_pool);
  free(staging->gradients.counts);
  memset(staging, 0, sizeof(*staging));
}

uint64_t dure_staging_bytes(const dure_staging *staging, const dure_training_options *options) {
  const uint64_t parameter = dure_dtype_size(dure_training_set_dtype(options, DURE_TRAINING_PARAMETERS));
  const uint64_t gradient = dure_dtype_size(dure_training_set_dtype(options, DURE_TRAINING_GRADIENTS));
  uint64_t bytes = 0;
  for (size_t i = 0; i < staging->parameters.count; i++) bytes += staging->parameters.counts[i] * parameter;
  for (size_t i = 0; i < staging->gradients.count; i++) bytes += staging->gradients.counts[i] * gradient;
  return bytes;
}
