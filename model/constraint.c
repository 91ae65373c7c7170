#include "model/constraint.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "model/grammar_sets.h"

enum { MASKS_MOST = 256, SHARES = 128 };

struct dure_constraint_budget {
  atomic_int references;
  uint64_t bytes;
  atomic_uint_least64_t used;
};

typedef struct kept_mask {
  uint32_t set;  // whose it is; GRAMMAR_NONE: nobody's
  uint32_t count;
  uint32_t *bits;  // [mask_words]
} kept_mask;

struct dure_constraint {
  atomic_int references;
  dure_grammar *grammar;
  const dure_token_trie *trie;
  uint32_t mask_words;
  grammar_sets sets;
  kept_mask masks[MASKS_MOST];
  uint32_t next_mask;              // the one that is replaced next
  dure_match *matches;             // all, linked
  dure_constraint_budget *budget;  // NULL: none
  uint64_t counted;                // bytes of it
};

struct dure_match {
  dure_constraint *constraint;
  dure_match *next, **place;
  uint32_t set;
};

static dure_status out_of_memory(void) { return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a grammar"); }

dure_status dure_constraint_create(dure_grammar *grammar, const dure_token_trie *trie,
                                   dure_constraint **out_constraint) {
  *out_constraint = NULL;
  dure_constraint *self = calloc(1, sizeof(*self));
  if (self == NULL) {
    dure_grammar_destroy(grammar);
    return out_of_memory();
  }
  atomic_init(&self->references, 1);
  self->grammar = grammar;
  self->trie = trie;
  self->mask_words = (trie->vocabulary + 31) / 32;
  for (uint32_t i = 0; i < MASKS_MOST; i++) self->masks[i].set = GRAMMAR_NONE;
  dure_status status = grammar_sets_create(grammar, &self->sets);
  if (status != NULL) {
    dure_constraint_release(self);
    return status;
  }
  *out_constraint = self;
  return NULL;
}

static void free_masks(dure_constraint *self) {
  for (uint32_t i = 0; i < MASKS_MOST; i++) {
    free(self->masks[i].bits);
    self->masks[i] = (kept_mask){.set = GRAMMAR_NONE};
  }
}

dure_constraint *dure_constraint_hold(dure_constraint *constraint) {
  atomic_fetch_add(&constraint->references, 1);
  return constraint;
}

void dure_constraint_release(dure_constraint *constraint) {
  if (constraint == NULL || atomic_fetch_sub(&constraint->references, 1) > 1) return;
  free_masks(constraint);
  if (constraint->budget != NULL) atomic_fetch_sub(&constraint->budget->used, constraint->counted);
  dure_constraint_budget_release(constraint->budget);
  grammar_sets_clear(&constraint->sets);
  dure_grammar_destroy(constraint->grammar);
  free(constraint);
}

// Begins the sets anew with those at which matches stand.
static dure_status forget_sets(dure_constraint *self) {
  size_t count = 0;
  for (const dure_match *match = self->matches; match != NULL; match = match->next) count++;
  uint32_t **keep = malloc((count + 1) * sizeof(*keep));
  if (keep == NULL) return out_of_memory();
  count = 0;
  for (dure_match *match = self->matches; match != NULL; match = match->next) keep[count++] = &match->set;
  for (uint32_t i = 0; i < MASKS_MOST; i++) self->masks[i].set = GRAMMAR_NONE;
  dure_status status = grammar_sets_forget(&self->sets, keep, count);
  free(keep);
  return status;
}

// ---- memory ------------------------------------------------------------------------------------------------------

dure_status dure_constraint_budget_create(uint64_t bytes, dure_constraint_budget **out_budget) {
  *out_budget = calloc(1, sizeof(**out_budget));
  if (*out_budget == NULL) return out_of_memory();
  (*out_budget)->bytes = bytes;
  atomic_init(&(*out_budget)->references, 1);
  atomic_init(&(*out_budget)->used, 0);
  return NULL;
}

void dure_constraint_budget_release(dure_constraint_budget *budget) {
  if (budget != NULL && atomic_fetch_sub(&budget->references, 1) == 1) free(budget);
}

uint64_t dure_constraint_budget_used(const dure_constraint_budget *budget) { return atomic_load(&budget->used); }

uint64_t dure_constraint_bytes(const dure_constraint *constraint) {
  uint64_t masks = 0;
  for (uint32_t i = 0; i < MASKS_MOST; i++) masks += constraint->masks[i].bits != NULL;
  return sizeof(*constraint) + masks * (constraint->mask_words + 1) * sizeof(uint32_t) +
         dure_grammar_bytes(constraint->grammar) + grammar_sets_bytes(&constraint->sets);
}

static void count_bytes(dure_constraint *self) {
  const uint64_t bytes = dure_constraint_bytes(self);
  atomic_fetch_add(&self->budget->used, bytes - self->counted);  // modulo 2^64, so that less is less
  self->counted = bytes;
}

void dure_constraint_share(dure_constraint *constraint, dure_constraint_budget *budget) {
  atomic_fetch_add(&budget->references, 1);
  constraint->budget = budget;
  count_bytes(constraint);
}

// Once a token is done: gives back what was made for it where all together take too much.
static dure_status keep_budget(dure_constraint *self) {
  if (self->budget == NULL) return NULL;
  count_bytes(self);
  const uint64_t bytes = self->budget->bytes;
  if (atomic_load(&self->budget->used) <= bytes / 2 || self->counted <= bytes / SHARES) return NULL;
  free_masks(self);
  DURE_TRY(forget_sets(self));
  count_bytes(self);
  return NULL;
}

// ---- matches -----------------------------------------------------------------------------------------------------

dure_status dure_match_create(dure_constraint *constraint, dure_match **out_match) {
  *out_match = calloc(1, sizeof(**out_match));
  if (*out_match == NULL) return out_of_memory();
  dure_match *match = *out_match;
  match->constraint = dure_constraint_hold(constraint);
  match->set = constraint->sets.start;
  match->next = constraint->matches;
  match->place = &constraint->matches;
  if (match->next != NULL) match->next->place = &match->next;
  constraint->matches = match;
  return NULL;
}

void dure_match_destroy(dure_match *match) {
  if (match == NULL) return;
  *match->place = match->next;
  if (match->next != NULL) match->next->place = match->place;
  dure_constraint_release(match->constraint);
  free(match);
}

void dure_match_move(dure_match *match, const dure_match *to) { match->set = to->set; }

// Every token whose bytes lead from `set` to a set that is not dead.
static dure_status walk(dure_constraint *self, uint32_t set, kept_mask *mask) {
  const dure_token_trie *trie = self->trie;
  const uint8_t *classes = self->grammar->classes;
  const uint32_t class_count = self->grammar->class_count;
  uint32_t path[DURE_TRIE_DEPTH_MOST + 1] = {set};
  memset(mask->bits, 0, self->mask_words * sizeof(*mask->bits));
  mask->count = 0;
  for (uint32_t i = 0; i < trie->node_count;) {
    const dure_trie_node *node = &trie->nodes[i];
    const uint32_t byte_class = classes[node->byte], from = path[node->depth - 1];
    uint32_t to = self->sets.next[(size_t)from * class_count + byte_class];
    if (to == GRAMMAR_NONE) DURE_TRY(grammar_sets_step(&self->sets, from, byte_class, &to));
    if (to == GRAMMAR_SET_DEAD) {
      i = node->skip;
      continue;
    }
    path[node->depth] = to;
    for (uint32_t t = node->first_token; t < node[1].first_token; t++) {
      mask->bits[trie->tokens[t] / 32] |= UINT32_C(1) << trie->tokens[t] % 32;
      mask->count++;
    }
    i++;
  }
  return NULL;
}

static dure_status find_mask(dure_constraint *self, uint32_t set, const kept_mask **out_mask) {
  const uint32_t known = self->sets.sets[set].note;
  *out_mask = known != GRAMMAR_NONE ? &self->masks[known] : NULL;
  if (known != GRAMMAR_NONE && self->masks[known].set == set) return NULL;
  const uint32_t place = self->next_mask;
  kept_mask *mask = &self->masks[place];
  mask->set = GRAMMAR_NONE;
  if (mask->bits == NULL) mask->bits = malloc((self->mask_words + 1) * sizeof(*mask->bits));
  if (mask->bits == NULL) return out_of_memory();
  DURE_TRY(walk(self, set, mask));
  mask->set = set;
  self->sets.sets[set].note = place;
  self->next_mask = (place + 1) % MASKS_MOST;
  *out_mask = mask;
  return NULL;
}

dure_status dure_match_mask(dure_match *match, uint32_t *out_mask, uint32_t words, uint32_t *out_count,
                            bool *out_may_end) {
  dure_constraint *self = match->constraint;
  const kept_mask *mask = NULL;
  memset(out_mask, 0, words * sizeof(*out_mask));
  *out_count = 0;
  *out_may_end = false;
  self->sets.work = 0;
  if (grammar_sets_are_many(&self->sets)) DURE_TRY(forget_sets(self));
  dure_status status = find_mask(self, match->set, &mask);
  if (status != NULL) {
    if (self->budget != NULL) count_bytes(self);
    return status;
  }
  const uint32_t shared = words < self->mask_words ? words : self->mask_words;
  memcpy(out_mask, mask->bits, shared * sizeof(*out_mask));
  *out_count = mask->count;
  *out_may_end = dure_match_may_end(match);
  return keep_budget(self);
}

dure_status dure_match_bytes(dure_match *match, const char *bytes, size_t length) {
  dure_constraint *self = match->constraint;
  self->sets.work = 0;
  if (grammar_sets_are_many(&self->sets)) DURE_TRY(forget_sets(self));
  uint32_t set = match->set;
  for (size_t i = 0; i < length; i++) {
    DURE_TRY(grammar_sets_step(&self->sets, set, self->grammar->classes[(uint8_t)bytes[i]], &set));
    if (set == GRAMMAR_SET_DEAD)
      return dure_fail(DURE_INVALID_ARGUMENT, "byte %zu (0x%02x) does not fit the grammar", i, (uint8_t)bytes[i]);
  }
  match->set = set;
  return keep_budget(self);
}

dure_status dure_match_token(dure_match *match, uint32_t token) {
  const dure_token_trie *trie = match->constraint->trie;
  if (token >= trie->vocabulary || trie->bytes[token] == NULL)
    return dure_fail(DURE_INVALID_ARGUMENT, "token %u stands for no text", token);
  return dure_match_bytes(match, trie->bytes[token], trie->lengths[token]);
}

bool dure_match_may_end(const dure_match *match) { return match->constraint->sets.sets[match->set].may_end; }
