// Which documents are the same, from sorted hashes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/dedup_state.h"
#include "data/output.h"

// Runs of words that more documents than this have are common phrases (Brown et al. 2020, appendix C).
enum { COMMON_DOCUMENTS = 10, PAIRED_DOCUMENTS = 1000, FIRST_CAPACITY = 1 << 12 };

// ---- cursors ----

dure_status dedup_cursor_open(const deduplication *state, const char *name, uint32_t words,
                              document_cursor *out_cursor) {
  *out_cursor = (document_cursor){0};
  DURE_TRY(dure_merge_open(state->directory, name, 0, words, &out_cursor->merge));
  return dedup_cursor_next(out_cursor);
}

dure_status dedup_cursor_next(document_cursor *cursor) {
  return dure_merge_next(cursor->merge, cursor->record, &cursor->has);
}

dure_status dedup_cursor_find(document_cursor *cursor, uint64_t document, bool *out_has) {
  *out_has = false;
  while (cursor->has && cursor->record[0] < document) DURE_TRY(dedup_cursor_next(cursor));
  *out_has = cursor->has && cursor->record[0] == document;
  return NULL;
}

// ---- merging this rank's hashes ----

// Results about documents: one part, runs of every rank.
static dure_status create_results(const deduplication *state, const char *name, uint32_t words,
                                  dure_sorter **out_sorter) {
  const dure_sorter_options options = {.directory = state->directory,
                                       .name = name,
                                       .words = words,
                                       .parts = 1,
                                       .memory = state->memory / 4,
                                       .run = state->ranks.rank,
                                       .run_step = state->ranks.count};
  return dure_sorter_create(&options, out_sorter);
}

// Records of one kind in order of their hash; what follows from them goes to `results` (and `pairs`).
typedef struct hash_pass {
  const deduplication *state;
  dure_sorter *results, *pairs;
  // The records with the current hash:
  uint64_t hash[2], first, count;
  uint64_t members[PAIRED_DOCUMENTS];  // of a band, when pairs are wanted
} hash_pass;

typedef dure_status hash_visitor(hash_pass *pass, const uint64_t *record);

static dure_status see_text(hash_pass *pass, const uint64_t *record) {
  if (pass->count == 1) pass->first = record[2];
  const uint64_t decision[3] = {record[2], DROP_EXACT, pass->first};
  return pass->count > 1 ? dure_sorter_add(pass->results, decision) : NULL;
}

static dure_status see_band(hash_pass *pass, const uint64_t *record) {
  if (pass->count == 1) pass->first = record[1];
  const uint64_t edge[2] = {pass->first, record[1]};
  if (pass->count > 1) DURE_TRY(dure_sorter_add(pass->results, edge));
  if (pass->pairs == NULL) return NULL;
  const uint64_t known = pass->count - 1 < PAIRED_DOCUMENTS ? pass->count - 1 : PAIRED_DOCUMENTS;
  for (uint64_t i = 0; i < known; i++) {
    const uint64_t pair[2] = {pass->members[i], record[1]};
    DURE_TRY(dure_sorter_add(pass->pairs, pair));
  }
  if (known < PAIRED_DOCUMENTS) pass->members[known] = record[1];
  return NULL;
}

static dure_status see_overlap(hash_pass *pass, const uint64_t *record) {
  return pass->count == COMMON_DOCUMENTS + 1 ? dure_sorter_add(pass->results, record) : NULL;
}

static dure_status see_line(hash_pass *pass, const uint64_t *record) {
  const dure_dedup_options *options = pass->state->options;
  const uint64_t kind = record[0] & 1, number = record[1] & ((UINT64_C(1) << POSITION_BITS) - 1);
  const uint64_t cut[2] = {record[1] >> POSITION_BITS, number << 1 | kind};
  const uint64_t limit = kind == KIND_LINE ? options->line_limit : options->paragraph_limit;
  return pass->count > limit ? dure_sorter_add(pass->results, cut) : NULL;
}

typedef struct merge_row {
  const char *runs;
  uint32_t words, hash_words;
  const char *results;
  uint32_t result_words;
  hash_visitor *see;
} merge_row;

static dure_status visit_hashes(hash_pass *pass, const merge_row *row) {
  dure_merge *merge = NULL;
  DURE_TRY(dure_merge_open(pass->state->directory, row->runs, pass->state->ranks.rank, row->words, &merge));
  dure_status status = NULL;
  uint64_t record[DURE_RECORD_WORDS] = {0};
  for (bool has = true; status == NULL;) {
    status = dure_merge_next(merge, record, &has);
    if (status != NULL || !has) break;
    const bool is_same = pass->count > 0 && memcmp(pass->hash, record, row->hash_words * sizeof(uint64_t)) == 0;
    pass->count = is_same ? pass->count + 1 : 1;
    memcpy(pass->hash, record, row->hash_words * sizeof(uint64_t));
    status = row->see(pass, record);
  }
  dure_merge_close(merge);
  return status;
}

static dure_status merge_kind(const deduplication *state, const merge_row *row) {
  hash_pass *pass = calloc(1, sizeof(*pass));
  if (pass == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory merging");
  pass->state = state;
  dure_status status = create_results(state, row->results, row->result_words, &pass->results);
  if (status == NULL && row->see == see_band && state->options->pairs != NULL) {
    status = create_results(state, PAIR_RUNS, 2, &pass->pairs);
  }
  if (status == NULL) status = visit_hashes(pass, row);
  if (status == NULL) status = dure_sorter_spill(pass->results);
  if (status == NULL && pass->pairs != NULL) status = dure_sorter_spill(pass->pairs);
  dure_sorter_destroy(pass->results);
  dure_sorter_destroy(pass->pairs);
  free(pass);
  return status;
}

dure_status dedup_merge(deduplication *state) {
  static const merge_row rows[] = {
      {EXACT_RUNS, 3, 2, DECISION_RUNS "-exact", 3, see_text},
      {BAND_RUNS, 2, 1, EDGE_RUNS, 2, see_band},
      {OVERLAP_RUNS, 2, 1, COMMON_RUNS, 1, see_overlap},
  };
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) DURE_TRY(merge_kind(state, &rows[i]));
  return NULL;
}

dure_status dedup_merge_lines(deduplication *state) {
  static const merge_row row = {LINE_RUNS, 2, 1, CUT_RUNS, 2, see_line};
  return merge_kind(state, &row);
}

// ---- clusters ----

// A forest over the documents that have edges; the root of a tree is its smallest document.
typedef struct node {
  uint64_t document, parent;  // each plus 1; 0: empty
} node;

typedef struct forest {
  node *nodes;
  size_t capacity, count;
} forest;

static node *find_node(const forest *trees, uint64_t document) {
  size_t i = (size_t)(document * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (trees->capacity - 1);
  while (trees->nodes[i].document != 0 && trees->nodes[i].document != document) i = (i + 1) & (trees->capacity - 1);
  return &trees->nodes[i];
}

static dure_status grow(forest *trees) {
  forest larger = {.capacity = trees->capacity == 0 ? FIRST_CAPACITY : trees->capacity * 2, .count = trees->count};
  larger.nodes = calloc(larger.capacity, sizeof(node));
  if (larger.nodes == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %zu near duplicates", trees->count);
  }
  for (size_t i = 0; i < trees->capacity; i++) {
    if (trees->nodes[i].document != 0) *find_node(&larger, trees->nodes[i].document) = trees->nodes[i];
  }
  free(trees->nodes);
  *trees = larger;
  return NULL;
}

static uint64_t find_root(const forest *trees, uint64_t document) {
  for (;;) {
    node *at = find_node(trees, document);
    if (at->parent == document) return document;
    at->parent = find_node(trees, at->parent)->parent;  // halves the path
    document = at->parent;
  }
}

static dure_status plant(forest *trees, uint64_t document) {
  if (trees->count * 10 >= trees->capacity * 7) DURE_TRY(grow(trees));
  node *at = find_node(trees, document);
  if (at->document != 0) return NULL;
  *at = (node){document, document};
  trees->count++;
  return NULL;
}

static dure_status join_edge(forest *trees, const uint64_t *edge) {
  DURE_TRY(plant(trees, edge[0] + 1));
  DURE_TRY(plant(trees, edge[1] + 1));
  const uint64_t a = find_root(trees, edge[0] + 1), b = find_root(trees, edge[1] + 1);
  if (a < b) find_node(trees, b)->parent = a;
  if (b < a) find_node(trees, a)->parent = b;
  return NULL;
}

static dure_status read_edges(const deduplication *state, forest *trees) {
  document_cursor edges;
  dure_status status = dedup_cursor_open(state, EDGE_RUNS, 2, &edges);
  while (status == NULL && edges.has) {
    status = join_edge(trees, edges.record);
    if (status == NULL) status = dedup_cursor_next(&edges);
  }
  dure_merge_close(edges.merge);
  return status;
}

static dure_status add_near(const forest *trees, dure_sorter *decisions) {
  for (size_t i = 0; i < trees->capacity; i++) {
    const uint64_t document = trees->nodes[i].document;
    if (document == 0) continue;
    const uint64_t root = find_root(trees, document);
    const uint64_t decision[3] = {document - 1, DROP_NEAR, root - 1};
    if (root != document) DURE_TRY(dure_sorter_add(decisions, decision));
  }
  return NULL;
}

static dure_status add_exact(const deduplication *state, dure_sorter *decisions) {
  document_cursor exact;
  dure_status status = dedup_cursor_open(state, DECISION_RUNS "-exact", 3, &exact);
  while (status == NULL && exact.has) {
    status = dure_sorter_add(decisions, exact.record);
    if (status == NULL) status = dedup_cursor_next(&exact);
  }
  dure_merge_close(exact.merge);
  return status;
}

dure_status dedup_join(deduplication *state) {
  forest trees = {0};
  dure_sorter *decisions = NULL;
  dure_status status = read_edges(state, &trees);
  if (status == NULL) status = create_results(state, DECISION_RUNS, 3, &decisions);
  if (status == NULL) status = add_near(&trees, decisions);
  if (status == NULL) status = add_exact(state, decisions);
  if (status == NULL) status = dure_sorter_spill(decisions);
  dure_sorter_destroy(decisions);
  free(trees.nodes);
  return status;
}

dure_status dedup_write_pairs(deduplication *state) {
  dure_output *output = NULL;
  document_cursor pairs;
  DURE_TRY(dure_output_open(state->options->pairs, &output));
  dure_status status = dedup_cursor_open(state, PAIR_RUNS, 2, &pairs);
  while (status == NULL && pairs.has) {
    char line[64];
    const int length = snprintf(line, sizeof(line), "%llu\t%llu\n", (unsigned long long)pairs.record[0],
                                (unsigned long long)pairs.record[1]);
    status = dure_output_write(output, line, (size_t)length);
    if (status == NULL) status = dedup_cursor_next(&pairs);
  }
  dure_merge_close(pairs.merge);
  return dure_output_close(output, status);
}
