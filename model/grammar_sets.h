// The automaton of a grammar while it runs: sets of places at which a text may stand, made when they are first reached.
//
// A place is a state and a stack of the states to go on from when rules end. Stacks share their lower parts and sets
// are told apart by their contents, so both have numbers; from a set and a byte to the next set is then one look-up in
// a table that fills as it is used (the lazy subset construction of Thompson 1968, "Regular expression search
// algorithm", with the shared stacks of Tomita 1986). What exceeds the limits is refused: DURE_UNSUPPORTED. Not
// thread-safe.
#ifndef DURE_MODEL_GRAMMAR_SETS_H_
#define DURE_MODEL_GRAMMAR_SETS_H_

#include <stdbool.h>

#include "model/grammar_internal.h"

enum {
  GRAMMAR_SET_DEAD = 0,  // nothing fits any more
  GRAMMAR_SETS_MOST = 1 << 14,
  GRAMMAR_PLACES_MOST = 1 << 12,  // in one set, and met while making one
  GRAMMAR_FRAMES_MOST = 1 << 18,  // of all stacks
  GRAMMAR_WORK_MOST = 1 << 22,    // places met for one mask or token: 0.1 s; large schemas of tools meet 40 thousand
};

typedef struct grammar_place {
  uint32_t state, stack;
} grammar_place;

typedef struct grammar_frame {
  uint32_t state, below;  // where to go on, and the rest of the stack; frame 0 is the bottom
} grammar_frame;

typedef struct grammar_set {
  uint32_t first, count;  // of its places
  uint32_t note;          // of whoever uses the set; GRAMMAR_NONE at first
  uint32_t hash;          // of its places
  bool may_end, goes_on;  // the text may end here; something may follow
} grammar_set;

typedef struct grammar_sets {
  const dure_grammar *grammar;  // borrowed
  uint32_t start;
  grammar_set *sets;  // [set_count]
  uint32_t *next;     // [set_count, class_count]; GRAMMAR_NONE: not known yet
  uint32_t set_count, set_capacity;
  grammar_place *places;
  uint32_t place_count, place_capacity;
  grammar_frame *frames;
  uint32_t frame_count, frame_capacity;
  uint32_t *set_slots, *frame_slots;  // hash tables
  uint32_t set_slot_count, frame_slot_count;
  // While a set is made: what was met, marked by number, and what of it stays.
  uint32_t *met_marks, met_mark, met_count;
  grammar_place *met, *waiting, *kept;
  uint32_t waiting_count, kept_count;
  uint64_t work;  // places met since its user set it to 0
} grammar_sets;

DURE_MUST_CHECK dure_status grammar_sets_create(const dure_grammar *grammar, grammar_sets *out_sets);
void grammar_sets_clear(grammar_sets *sets);
// The set after a byte of class `byte_class`.
DURE_MUST_CHECK dure_status grammar_sets_step(grammar_sets *sets, uint32_t set, uint32_t byte_class, uint32_t *out_set);
bool grammar_sets_are_many(const grammar_sets *sets);   // half of a limit is reached
uint64_t grammar_sets_bytes(const grammar_sets *sets);  // of memory
// Forgets all sets but the `count` of `keep`, which get new numbers, and the start; gives back their memory.
DURE_MUST_CHECK dure_status grammar_sets_forget(grammar_sets *sets, uint32_t *const *keep, size_t count);

#endif  // DURE_MODEL_GRAMMAR_SETS_H_
