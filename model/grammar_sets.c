#include "model/grammar_sets.h"

#include <stdlib.h>
#include <string.h>

enum { MET_SLOTS = 4 * GRAMMAR_PLACES_MOST, PLACES_KEPT_MOST = 1 << 20 };

static dure_status out_of_memory(void) { return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a grammar"); }

static dure_status too_large(const char *what) {
  return dure_fail(DURE_UNSUPPORTED, "the grammar is too ambiguous or too deep here: %s", what);
}

static uint32_t mix(uint32_t a, uint32_t b) {
  uint64_t x = ((uint64_t)a << 32 | b) * UINT64_C(0x9e3779b97f4a7c15);
  x ^= x >> 29;
  return (uint32_t)((x * UINT64_C(0xbf58476d1ce4e5b9)) >> 32);
}

// ---- stacks ------------------------------------------------------------------------------------------------------

static void place_frame(grammar_sets *s, uint32_t frame) {
  uint32_t slot = mix(s->frames[frame].state, s->frames[frame].below) & (s->frame_slot_count - 1);
  while (s->frame_slots[slot] != GRAMMAR_NONE) slot = (slot + 1) & (s->frame_slot_count - 1);
  s->frame_slots[slot] = frame;
}

static dure_status grow_frames(grammar_sets *s) {
  const uint32_t capacity = s->frame_capacity * 2;
  grammar_frame *frames = realloc(s->frames, capacity * sizeof(*frames));
  if (frames == NULL) return out_of_memory();
  s->frames = frames;
  uint32_t *slots = realloc(s->frame_slots, (size_t)capacity * 2 * sizeof(*slots));
  if (slots == NULL) return out_of_memory();
  s->frame_slots = slots;
  s->frame_capacity = capacity;
  s->frame_slot_count = capacity * 2;
  memset(slots, 0xff, (size_t)capacity * 2 * sizeof(*slots));
  for (uint32_t i = 1; i < s->frame_count; i++) place_frame(s, i);
  return NULL;
}

// The stack `below` with `state` on top.
static dure_status push(grammar_sets *s, uint32_t state, uint32_t below, uint32_t *out_stack) {
  *out_stack = below;
  for (uint32_t slot = mix(state, below) & (s->frame_slot_count - 1); s->frame_slots[slot] != GRAMMAR_NONE;
       slot = (slot + 1) & (s->frame_slot_count - 1)) {
    const grammar_frame *frame = &s->frames[s->frame_slots[slot]];
    if (frame->state != state || frame->below != below) continue;
    *out_stack = s->frame_slots[slot];
    return NULL;
  }
  if (s->frame_count == GRAMMAR_FRAMES_MOST) return too_large("its stacks are full");
  if (s->frame_count == s->frame_capacity) DURE_TRY(grow_frames(s));
  s->frames[s->frame_count] = (grammar_frame){state, below};
  place_frame(s, s->frame_count);
  *out_stack = s->frame_count++;
  return NULL;
}

// ---- making a set ------------------------------------------------------------------------------------------------

static void begin_set(grammar_sets *s) {
  s->met_count = s->waiting_count = s->kept_count = 0;
  if (++s->met_mark != 0) return;
  memset(s->met_marks, 0, MET_SLOTS * sizeof(*s->met_marks));
  s->met_mark = 1;
}

// A place to look at, unless it was met already.
static dure_status meet(grammar_sets *s, uint32_t state, uint32_t stack) {
  uint32_t slot = mix(state, stack) & (MET_SLOTS - 1);
  for (; s->met_marks[slot] == s->met_mark; slot = (slot + 1) & (MET_SLOTS - 1)) {
    if (s->met[slot].state == state && s->met[slot].stack == stack) return NULL;
  }
  if (s->met_count++ == GRAMMAR_PLACES_MOST) return too_large("a text may be read in too many ways");
  s->met_marks[slot] = s->met_mark;
  s->met[slot] = s->waiting[s->waiting_count++] = (grammar_place){state, stack};
  return NULL;
}

static dure_status look(grammar_sets *s, grammar_place place) {
  const grammar_state state = s->grammar->states[place.state];
  uint32_t stack = place.stack;
  switch (state.kind) {
    case GRAMMAR_STATE_SPLIT: DURE_TRY(meet(s, state.next, stack)); return meet(s, state.other, stack);
    case GRAMMAR_STATE_CALL:  // what a rule ends with needs no frame of its own
      if (s->grammar->states[state.next].kind != GRAMMAR_STATE_RETURN) DURE_TRY(push(s, state.next, stack, &stack));
      return meet(s, state.other, stack);
    case GRAMMAR_STATE_RETURN:
      if (stack != 0) return meet(s, s->frames[stack].state, s->frames[stack].below);
      break;
    default: break;
  }
  s->kept[s->kept_count++] = place;
  return NULL;
}

static int compare_places(const void *left, const void *right) {
  const grammar_place *a = left, *b = right;
  if (a->state != b->state) return a->state < b->state ? -1 : 1;
  return (a->stack > b->stack) - (a->stack < b->stack);
}

// A place in the table for a set with this hash that is not there yet.
static uint32_t free_slot(const grammar_sets *s, uint32_t hash) {
  uint32_t slot = hash & (s->set_slot_count - 1);
  while (s->set_slots[slot] != GRAMMAR_NONE) slot = (slot + 1) & (s->set_slot_count - 1);
  return slot;
}

static dure_status grow_sets(grammar_sets *s) {
  const uint32_t capacity = s->set_capacity * 2, classes = s->grammar->class_count;
  grammar_set *sets = realloc(s->sets, capacity * sizeof(*sets));
  if (sets == NULL) return out_of_memory();
  s->sets = sets;
  uint32_t *next = realloc(s->next, (size_t)capacity * classes * sizeof(*next));
  if (next == NULL) return out_of_memory();
  s->next = next;
  uint32_t *slots = realloc(s->set_slots, (size_t)capacity * 4 * sizeof(*slots));
  if (slots == NULL) return out_of_memory();
  s->set_slots = slots;
  s->set_slot_count = capacity * 4;
  s->set_capacity = capacity;
  memset(slots, 0xff, (size_t)s->set_slot_count * sizeof(*slots));
  for (uint32_t i = 0; i < s->set_count; i++) slots[free_slot(s, s->sets[i].hash)] = i;
  return NULL;
}

static dure_status add_set(grammar_sets *s, uint32_t hash, uint32_t *out_set) {
  if (s->set_count == GRAMMAR_SETS_MOST || s->place_count + s->kept_count > PLACES_KEPT_MOST)
    return too_large("it has too many different continuations");
  if (s->set_count == s->set_capacity) DURE_TRY(grow_sets(s));
  if (s->place_count + s->kept_count > s->place_capacity) {
    const uint32_t capacity = (s->place_count + s->kept_count) * 2;
    grammar_place *places = realloc(s->places, capacity * sizeof(*places));
    if (places == NULL) return out_of_memory();
    s->places = places;
    s->place_capacity = capacity;
  }
  grammar_set set = {.first = s->place_count, .count = s->kept_count, .note = GRAMMAR_NONE, .hash = hash};
  for (uint32_t i = 0; i < s->kept_count; i++) {
    const bool is_end = s->grammar->states[s->kept[i].state].kind == GRAMMAR_STATE_RETURN;
    if (is_end) set.may_end = true;
    if (!is_end) set.goes_on = true;
    s->places[s->place_count++] = s->kept[i];
  }
  const uint32_t classes = s->grammar->class_count;
  memset(s->next + (size_t)s->set_count * classes, set.goes_on ? 0xff : 0, classes * sizeof(*s->next));
  s->sets[s->set_count] = set;
  *out_set = s->set_slots[free_slot(s, hash)] = s->set_count++;
  return NULL;
}

// Follows all that waits without a byte; the set of what then stays.
static dure_status finish_set(grammar_sets *s, uint32_t *out_set) {
  *out_set = GRAMMAR_SET_DEAD;
  while (s->waiting_count > 0) DURE_TRY(look(s, s->waiting[--s->waiting_count]));
  if (s->kept_count > 0) qsort(s->kept, s->kept_count, sizeof(*s->kept), compare_places);
  uint32_t hash = s->kept_count;
  for (uint32_t i = 0; i < s->kept_count; i++) hash = mix(hash ^ s->kept[i].state, s->kept[i].stack);
  uint32_t slot = hash & (s->set_slot_count - 1);
  for (; s->set_slots[slot] != GRAMMAR_NONE; slot = (slot + 1) & (s->set_slot_count - 1)) {
    const grammar_set *set = &s->sets[s->set_slots[slot]];
    if (set->count != s->kept_count) continue;
    if (set->count > 0 && memcmp(s->places + set->first, s->kept, set->count * sizeof(*s->kept)) != 0) continue;
    *out_set = s->set_slots[slot];
    return NULL;
  }
  return add_set(s, hash, out_set);
}

dure_status grammar_sets_step(grammar_sets *sets, uint32_t set, uint32_t byte_class, uint32_t *out_set) {
  const size_t cell = (size_t)set * sets->grammar->class_count + byte_class;
  *out_set = sets->next[cell];
  if (*out_set != GRAMMAR_NONE) return NULL;
  if (sets->work > GRAMMAR_WORK_MOST) return too_large("to look one token ahead takes too long");
  const uint8_t byte = sets->grammar->class_bytes[byte_class];
  const grammar_set from = sets->sets[set];
  begin_set(sets);
  for (uint32_t i = 0; i < from.count; i++) {
    const grammar_place place = sets->places[from.first + i];
    const grammar_state *state = &sets->grammar->states[place.state];
    if (state->kind == GRAMMAR_STATE_BYTES && state->low <= byte && byte <= state->high)
      DURE_TRY(meet(sets, state->next, place.stack));
  }
  DURE_TRY(finish_set(sets, out_set));
  sets->work += (uint64_t)from.count + sets->met_count;
  sets->next[cell] = *out_set;
  return NULL;
}

// ---- life --------------------------------------------------------------------------------------------------------

// The dead set and the start.
static dure_status begin(grammar_sets *s) {
  uint32_t dead = 0;
  s->set_count = s->place_count = 0;
  s->frame_count = 1;
  memset(s->set_slots, 0xff, s->set_slot_count * sizeof(*s->set_slots));
  memset(s->frame_slots, 0xff, s->frame_slot_count * sizeof(*s->frame_slots));
  begin_set(s);
  DURE_TRY(finish_set(s, &dead));
  begin_set(s);
  DURE_TRY(meet(s, s->grammar->root, 0));
  return finish_set(s, &s->start);
}

// Another size; where that fails what there was, which is large enough when it shrinks.
static void *resized(void *old, size_t size) {
  void *made = realloc(old, size);
  return made != NULL ? made : old;
}

// Room for a few sets; what was there is lost.
static dure_status make_small(grammar_sets *s) {
  s->set_capacity = 64;
  s->place_capacity = s->frame_capacity = 256;
  s->set_slot_count = 4 * s->set_capacity;
  s->frame_slot_count = 2 * s->frame_capacity;
  s->sets = resized(s->sets, s->set_capacity * sizeof(*s->sets));
  s->next = resized(s->next, (size_t)s->set_capacity * s->grammar->class_count * sizeof(*s->next));
  s->places = resized(s->places, s->place_capacity * sizeof(*s->places));
  s->frames = resized(s->frames, s->frame_capacity * sizeof(*s->frames));
  s->set_slots = resized(s->set_slots, s->set_slot_count * sizeof(*s->set_slots));
  s->frame_slots = resized(s->frame_slots, s->frame_slot_count * sizeof(*s->frame_slots));
  const bool is_short = s->sets == NULL || s->next == NULL || s->places == NULL || s->frames == NULL ||
                        s->set_slots == NULL || s->frame_slots == NULL;
  if (is_short) return out_of_memory();
  s->frames[0] = (grammar_frame){0};
  return NULL;
}

dure_status grammar_sets_create(const dure_grammar *grammar, grammar_sets *out_sets) {
  grammar_sets *s = out_sets;
  *s = (grammar_sets){.grammar = grammar};
  s->met_marks = calloc(MET_SLOTS, sizeof(*s->met_marks));
  s->met = malloc(MET_SLOTS * sizeof(*s->met));
  s->waiting = malloc((GRAMMAR_PLACES_MOST + 1) * sizeof(*s->waiting));
  s->kept = malloc((GRAMMAR_PLACES_MOST + 1) * sizeof(*s->kept));
  const bool is_short = s->met_marks == NULL || s->met == NULL || s->waiting == NULL || s->kept == NULL;
  dure_status status = is_short ? out_of_memory() : make_small(s);
  if (status == NULL) status = begin(s);
  if (status != NULL) grammar_sets_clear(s);
  return status;
}

void grammar_sets_clear(grammar_sets *sets) {
  free(sets->sets);
  free(sets->next);
  free(sets->places);
  free(sets->frames);
  free(sets->set_slots);
  free(sets->frame_slots);
  free(sets->met_marks);
  free(sets->met);
  free(sets->waiting);
  free(sets->kept);
  *sets = (grammar_sets){0};
}

bool grammar_sets_are_many(const grammar_sets *sets) {
  return sets->set_count > GRAMMAR_SETS_MOST / 2 || sets->frame_count > GRAMMAR_FRAMES_MOST / 2 ||
         sets->place_count > PLACES_KEPT_MOST / 2;
}

uint64_t grammar_sets_bytes(const grammar_sets *sets) {
  const uint64_t a_set = sizeof(*sets->sets) + sets->grammar->class_count * sizeof(*sets->next);
  const uint64_t making = MET_SLOTS * (sizeof(*sets->met_marks) + sizeof(*sets->met)) +
                          (GRAMMAR_PLACES_MOST + 1) * (sizeof(*sets->waiting) + sizeof(*sets->kept));
  return making + sets->set_capacity * a_set + sets->place_capacity * sizeof(*sets->places) +
         sets->frame_capacity * sizeof(*sets->frames) +
         ((uint64_t)sets->set_slot_count + sets->frame_slot_count) * sizeof(uint32_t);
}

// The same stack among new frames: from the bottom up. `order` has room for the depth of any stack.
static dure_status copy_stack(grammar_sets *s, const grammar_frame *old, uint32_t stack, uint32_t *order,
                              uint32_t *out_stack) {
  uint32_t depth = 0;
  *out_stack = 0;
  for (; stack != 0; stack = old[stack].below) order[depth++] = old[stack].state;
  while (depth > 0) DURE_TRY(push(s, order[--depth], *out_stack, out_stack));
  return NULL;
}

dure_status grammar_sets_forget(grammar_sets *sets, uint32_t *const *keep, size_t count) {
  const size_t old_frames = sets->frame_count, old_places = sets->place_count;
  grammar_frame *frames = malloc(old_frames * sizeof(*frames));
  grammar_place *places = malloc((old_places + 1) * sizeof(*places));
  grammar_set *old = malloc((count + 1) * sizeof(*old));
  uint32_t *order = malloc(old_frames * sizeof(*order));
  dure_status status = frames == NULL || places == NULL || old == NULL || order == NULL ? out_of_memory() : NULL;
  if (status == NULL) {
    memcpy(frames, sets->frames, old_frames * sizeof(*frames));
    memcpy(places, sets->places, old_places * sizeof(*places));
    for (size_t i = 0; i < count; i++) old[i] = sets->sets[*keep[i]];
    status = make_small(sets);
    if (status == NULL) status = begin(sets);
    for (size_t i = 0; i < count && status != NULL; i++) *keep[i] = GRAMMAR_SET_DEAD;
  }
  for (size_t i = 0; i < count && status == NULL; i++) {
    begin_set(sets);
    for (uint32_t k = 0; k < old[i].count && status == NULL; k++) {
      const grammar_place place = places[old[i].first + k];
      uint32_t stack = 0;
      status = copy_stack(sets, frames, place.stack, order, &stack);
      if (status == NULL) status = meet(sets, place.state, stack);
    }
    if (status == NULL) status = finish_set(sets, keep[i]);
    for (size_t k = i; k < count && status != NULL; k++) *keep[k] = GRAMMAR_SET_DEAD;  // what they were is lost
  }
  free(frames);
  free(places);
  free(old);
  free(order);
  return status;
}
