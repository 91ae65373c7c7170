#include "data/tokenizer_unigram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_bytes.h"
#include "runtime/random.h"

// Where the best segmentation of the first bytes ends, or in sampling, all of them.
typedef struct place {
  double score;         // sum of log probabilities; of the sum of all, in sampling
  uint32_t start, id;   // the last token; in sampling `id` is the last edge that ends here
  uint32_t is_reached;  // by a segmentation
} place;

// A token of the lattice, chained with the others that end where it does.
typedef struct edge {
  double score;
  uint32_t start, id, previous;
} edge;

#define NO_EDGE UINT32_MAX

void dure_unigram_scratch_free(dure_unigram_scratch *scratch) {
  free(scratch->nodes);
  free(scratch->edges);
  free(scratch->parts);
  *scratch = (dure_unigram_scratch){0};
}

double dure_draw(dure_draws *draws) {
  uint32_t words[4];
  dure_random_words(draws->seed, 0, 0x746F6B65u, draws->count++, words);
  return ((double)(words[0] >> 5) * 67108864.0 + (double)(words[1] >> 6)) / 9007199254740992.0;  // 53 bits
}

static dure_status prepare(dure_unigram_scratch *scratch, size_t length, place **out_places) {
  *out_places = NULL;
  if (length > INT32_MAX)
    return dure_fail(DURE_UNSUPPORTED, "a text of %zu bytes without a break; at most 2^31 are supported", length);
  size_t size = (length + 1) * sizeof(place);
  if (size > scratch->node_size) {
    free(scratch->nodes);
    scratch->node_size = 0;
    scratch->nodes = malloc(size + size / 4);
    if (scratch->nodes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory to segment %zu bytes", length);
    scratch->node_size = size + size / 4;
  }
  *out_places = scratch->nodes;
  memset(*out_places, 0, size);
  (*out_places)[0].is_reached = 1;
  return NULL;
}

static dure_status add_part(dure_unigram_scratch *scratch, size_t *count, dure_unigram_part part) {
  if (*count == scratch->part_capacity) {
    size_t capacity = scratch->part_capacity * 2 + 64;
    dure_unigram_part *grown = realloc(scratch->parts, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu tokens", capacity);
    scratch->parts = grown;
    scratch->part_capacity = capacity;
  }
  scratch->parts[(*count)++] = part;
  return NULL;
}

static void reverse(dure_unigram_part *parts, size_t count) {
  for (size_t i = 0; i < count / 2; i++) {
    dure_unigram_part held = parts[i];
    parts[i] = parts[count - 1 - i];
    parts[count - 1 - i] = held;
  }
}

static void offer(const dure_unigram *unigram, place *target, double before, double score, uint32_t start,
                  uint32_t id) {
  double candidate = unigram->is_single ? (double)((float)score + (float)before) : score + before;
  if (target->is_reached && !(candidate > target->score)) return;
  *target = (place){candidate, start, id, 1};
}

static void search(const dure_unigram *unigram, const char *text, size_t length, place *places) {
  for (size_t start = 0; start < length;) {
    size_t size = dure_utf8_character(text + start, length - start, NULL);
    if (size == 0) size = 1;
    double before = places[start].score;
    bool has_single = false;
    uint32_t node = 0;
    for (size_t end = start; end < length;) {
      node = dure_trie_next(&unigram->trie, node, (uint8_t)text[end++]);
      if (node == DURE_TRIE_NONE) break;
      uint32_t id = unigram->trie.nodes[node].value;
      if (id == DURE_TRIE_NONE) continue;
      offer(unigram, &places[end], before, unigram->scores[id], (uint32_t)start, id);
      has_single = has_single || end - start == size;
    }
    if (!has_single)
      offer(unigram, &places[start + size], before, unigram->unknown_score, (uint32_t)start, unigram->unknown_id);
    start += size;
  }
}

dure_status dure_unigram_segment(const dure_unigram *unigram, dure_unigram_scratch *scratch, const char *text,
                                 size_t length, const dure_unigram_part **out_parts, size_t *out_count) {
  place *places;
  *out_parts = NULL;
  *out_count = 0;
  DURE_TRY(prepare(scratch, length, &places));
  search(unigram, text, length, places);
  for (size_t end = length; end > 0; end = places[end].start)
    DURE_TRY(add_part(scratch, out_count, (dure_unigram_part){places[end].id, places[end].start, (uint32_t)end}));
  if (*out_count > 0) reverse(scratch->parts, *out_count);
  *out_parts = scratch->parts;
  return NULL;
}

// ---- sampling ----

static double log_add(double a, double b) {
  double high = a > b ? a : b, low = a > b ? b : a;
  return high + log1p(exp(low - high));
}

static dure_status add_edge(dure_unigram_scratch *scratch, size_t *count, place *places, size_t start, size_t end,
                            double score, uint32_t id) {
  if ((*count + 1) * sizeof(edge) > scratch->edge_size) {
    size_t size = scratch->edge_size * 2 + 256 * sizeof(edge);
    void *grown = *count < UINT32_MAX - 1 ? realloc(scratch->edges, size) : NULL;
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a lattice of %zu tokens", *count);
    scratch->edges = grown;
    scratch->edge_size = size;
  }
  place *target = &places[end];
  double sum = places[start].score + score;
  ((edge *)scratch->edges)[*count] = (edge){score, (uint32_t)start, id, target->is_reached ? target->id : NO_EDGE};
  target->score = target->is_reached ? log_add(target->score, sum) : sum;
  target->id = (uint32_t)(*count)++;
  target->is_reached = 1;
  return NULL;
}

static dure_status build_lattice(const dure_unigram *unigram, dure_unigram_scratch *scratch, const char *text,
                                 size_t length, double alpha, place *places) {
  size_t count = 0;
  for (size_t start = 0; start < length;) {
    size_t size = dure_utf8_character(text + start, length - start, NULL);
    if (size == 0) size = 1;
    bool has_single = false;
    uint32_t node = 0;
    for (size_t end = start; end < length;) {
      node = dure_trie_next(&unigram->trie, node, (uint8_t)text[end++]);
      if (node == DURE_TRIE_NONE) break;
      uint32_t id = unigram->trie.nodes[node].value;
      if (id == DURE_TRIE_NONE) continue;
      DURE_TRY(add_edge(scratch, &count, places, start, end, alpha * unigram->scores[id], id));
      has_single = has_single || end - start == size;
    }
    if (!has_single) {
      DURE_TRY(
          add_edge(scratch, &count, places, start, start + size, alpha * unigram->unknown_score, unigram->unknown_id));
    }
    start += size;
  }
  return NULL;
}

dure_status dure_unigram_sample(const dure_unigram *unigram, dure_unigram_scratch *scratch, const char *text,
                                size_t length, double alpha, dure_draws *draws, const dure_unigram_part **out_parts,
                                size_t *out_count) {
  place *places;
  *out_parts = NULL;
  *out_count = 0;
  DURE_TRY(prepare(scratch, length, &places));
  DURE_TRY(build_lattice(unigram, scratch, text, length, alpha, places));
  const edge *edges = scratch->edges;
  for (size_t end = length; end > 0;) {
    double left = dure_draw(draws);
    uint32_t chosen = places[end].id;
    // From the last edge on; the first one takes what rounding leaves.
    for (uint32_t e = chosen; e != NO_EDGE; e = edges[e].previous) {
      chosen = e;
      left -= exp(places[edges[e].start].score + edges[e].score - places[end].score);
      if (left < 0) break;
    }
    DURE_TRY(add_part(scratch, out_count, (dure_unigram_part){edges[chosen].id, edges[chosen].start, (uint32_t)end}));
    end = edges[chosen].start;
  }
  if (*out_count > 0) reverse(scratch->parts, *out_count);
  *out_parts = scratch->parts;
  return NULL;
}
