#include <math.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/tokenizer_bytes.h"
#include "data/tokenizer_pieces.h"
#include "data/tokenizer_trie.h"
#include "runtime/os.h"
#include "runtime/workers.h"

// Sums are taken over so many parts of the text, each in its order, and then over the parts: the same scores whatever
// the number of threads.
enum { part_count = 8 };
enum { longest_piece = 16, seed_limit = 1000000, longest_run = 4096, steps_per_round = 2 };

typedef struct learner learner;

// A part of the runs, or of the pieces, and what one thread needs for it.
typedef struct part {
  learner *l;
  size_t index;
  double *forward, *after;  // [longest_run + 1]: log sums over the segmentations of what is before and after
  uint32_t *best_start, *best_piece, *path;
  double *sums;  // [count] of pieces: how often each occurs in this part
  double all;
} part;

typedef void (*part_work)(part *p);

struct learner {
  const dure_run *runs;
  size_t run_count;
  dure_scored_piece *pieces;
  size_t count;
  dure_trie trie;
  double *expected, expected_all;  // [count]: how often each piece occurs, and all do
  double *losses;                  // [count]
  part parts[part_count];
  dure_workers *workers;  // NULL: this thread
  part_work work;
};

// ---- parts ----

static void work_on_parts(void *context, uint64_t first, uint64_t count) {
  learner *l = context;
  for (uint64_t i = first; i < first + count; i++) l->work(&l->parts[i]);
}

static void for_each_part(learner *l, part_work work) {
  l->work = work;
  if (l->workers == NULL) {
    work_on_parts(l, 0, part_count);
    return;
  }
  dure_workers_start(l->workers, work_on_parts, l, part_count, 1);
  dure_workers_wait(l->workers);
}

// The first of `count` elements that is the part's; the one of the next part is where it ends.
static size_t part_start(const part *p, size_t count) { return count * p->index / part_count; }
static size_t part_end(const part *p, size_t count) { return count * (p->index + 1) / part_count; }

// Lets `work` sum how often pieces occur, and adds the parts up in `expected`.
static dure_status sum_parts(learner *l, part_work work) {
  dure_status status = NULL;
  double *expected = realloc(l->expected, (l->count + 1) * sizeof(double));
  if (expected != NULL) l->expected = expected;
  bool is_enough = expected != NULL;
  for (size_t i = 0; i < part_count; i++) {
    l->parts[i].sums = calloc(l->count + 1, sizeof(double));
    l->parts[i].all = 0;
    is_enough = is_enough && l->parts[i].sums != NULL;
  }
  if (!is_enough) status = dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu pieces", l->count);
  if (status == NULL) for_each_part(l, work);
  if (status == NULL && dure_os_interrupted())
    status = dure_fail(DURE_CANCELLED, "training the tokenizer was interrupted");
  l->expected_all = 0;
  for (size_t i = 0; i < part_count && status == NULL; i++) l->expected_all += l->parts[i].all;
  for (size_t k = 0; k < l->count && status == NULL; k++) {
    expected[k] = 0;
    for (size_t i = 0; i < part_count; i++) expected[k] += l->parts[i].sums[k];
  }
  for (size_t i = 0; i < part_count; i++) {
    free(l->parts[i].sums);
    l->parts[i].sums = NULL;
  }
  return status;
}

// ---- seeds ----

typedef struct substring {
  const char *bytes;  // NULL: an empty slot
  uint32_t length, characters;
  uint64_t count;
} substring;

typedef struct substrings {
  substring *slots;
  size_t mask, count;
} substrings;

static dure_status grow(substrings *all) {
  size_t size = all->slots == NULL ? 1 << 16 : (all->mask + 1) * 2;
  substring *slots = calloc(size, sizeof(*slots));
  if (slots == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu substrings", size);
  for (size_t i = 0; all->slots != NULL && i <= all->mask; i++) {
    if (all->slots[i].bytes == NULL) continue;
    size_t at = (size_t)XXH3_64bits(all->slots[i].bytes, all->slots[i].length) & (size - 1);
    while (slots[at].bytes != NULL) at = (at + 1) & (size - 1);
    slots[at] = all->slots[i];
  }
  free(all->slots);
  all->slots = slots;
  all->mask = size - 1;
  return NULL;
}

static dure_status count_substring(substrings *all, const char *bytes, uint32_t length, uint32_t characters,
                                   uint64_t count) {
  if (all->slots == NULL || all->count * 2 > all->mask) DURE_TRY(grow(all));
  size_t at = (size_t)XXH3_64bits(bytes, length) & all->mask;
  for (; all->slots[at].bytes != NULL; at = (at + 1) & all->mask) {
    substring *slot = &all->slots[at];
    if (slot->length != length || memcmp(slot->bytes, bytes, length) != 0) continue;
    slot->count += count;
    return NULL;
  }
  all->slots[at] = (substring){bytes, length, characters, count};
  all->count++;
  return NULL;
}

static dure_status count_run(substrings *all, const dure_run *run) {
  for (uint32_t start = 0; start < run->length;) {
    uint32_t end = start, characters = 0;
    while (end < run->length && characters < longest_piece) {
      end += (uint32_t)dure_utf8_character(run->bytes + end, run->length - end, NULL);
      if (++characters >= 2) DURE_TRY(count_substring(all, run->bytes + start, end - start, characters, run->count));
    }
    start += (uint32_t)dure_utf8_character(run->bytes + start, run->length - start, NULL);
  }
  return NULL;
}

static int compare_bytes(const char *a, uint32_t a_length, const char *b, uint32_t b_length) {
  int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
  if (order != 0) return order;
  return a_length < b_length ? -1 : a_length > b_length;
}

// The most text covered first; empty slots last.
static int compare_substrings(const void *a, const void *b) {
  const substring *left = a, *right = b;
  double left_weight = (double)left->count * left->characters, right_weight = (double)right->count * right->characters;
  if (left_weight != right_weight) return left_weight > right_weight ? -1 : 1;
  if (left->bytes == NULL || right->bytes == NULL) return (left->bytes == NULL) - (right->bytes == NULL);
  return compare_bytes(left->bytes, left->length, right->bytes, right->length);
}

static dure_status make_seeds(learner *l, const dure_scored_piece *characters, size_t character_count) {
  substrings all = {0};
  dure_status status = grow(&all);
  for (size_t i = 0; i < l->run_count && status == NULL; i++) status = count_run(&all, &l->runs[i]);
  if (status == NULL) {
    qsort(all.slots, all.mask + 1, sizeof(*all.slots), compare_substrings);
    size_t most = character_count + (all.count < seed_limit ? all.count : seed_limit);
    l->pieces = malloc((most + 1) * sizeof(*l->pieces));
    if (l->pieces == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu pieces", most);
  }
  if (status == NULL) {
    double sum = 0;
    for (size_t i = 0; i < character_count; i++) l->pieces[l->count++] = characters[i];
    for (size_t i = 0; i < all.count && i < seed_limit; i++) {
      const substring *s = &all.slots[i];
      if (s->count < 2) continue;
      l->pieces[l->count++] = (dure_scored_piece){s->bytes, s->length, false, (double)s->count * s->characters};
    }
    for (size_t i = 0; i < l->count; i++) sum += l->pieces[i].score;
    for (size_t i = 0; i < l->count; i++) l->pieces[i].score = log(l->pieces[i].score) - log(sum);
  }
  free(all.slots);
  return status;
}

// ---- expectation maximisation ----

static dure_status index_pieces(learner *l) {
  dure_trie_key *keys = malloc((l->count + 1) * sizeof(*keys));
  if (keys == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu pieces", l->count);
  for (size_t i = 0; i < l->count; i++) keys[i] = (dure_trie_key){l->pieces[i].bytes, l->pieces[i].length, (uint32_t)i};
  dure_trie_free(&l->trie);
  dure_status status = dure_trie_create(keys, l->count, &l->trie);
  free(keys);
  return status;
}

static double log_add(double a, double b) {
  if (a == -INFINITY) return b;
  double high = a > b ? a : b, low = a > b ? b : a;
  return low < high - 50 ? high : high + log1p(exp(low - high));
}

// Calls for each piece [start, end) of the text.
typedef void (*piece_visit)(part *p, uint32_t start, uint32_t end, uint32_t piece, uint64_t count);

static void visit_from(part *p, const dure_run *run, uint32_t start, piece_visit visit) {
  const dure_trie *trie = &p->l->trie;
  uint32_t node = 0;
  for (uint32_t end = start; end < run->length;) {
    node = dure_trie_next(trie, node, (uint8_t)run->bytes[end++]);
    if (node == DURE_TRIE_NONE) return;
    if (trie->nodes[node].value != DURE_TRIE_NONE) visit(p, start, end, trie->nodes[node].value, run->count);
  }
}

static void sum_forward(part *p, uint32_t start, uint32_t end, uint32_t piece, uint64_t count) {
  (void)count;
  p->forward[end] = log_add(p->forward[end], p->forward[start] + p->l->pieces[piece].score);
}

static void sum_after(part *p, uint32_t start, uint32_t end, uint32_t piece, uint64_t count) {
  (void)count;
  p->after[start] = log_add(p->after[start], p->after[end] + p->l->pieces[piece].score);
}

static void sum_expected(part *p, uint32_t start, uint32_t end, uint32_t piece, uint64_t count) {
  double all = p->after[0], this_one = p->forward[start] + p->l->pieces[piece].score + p->after[end];
  p->sums[piece] += (double)count * exp(this_one - all);
}

static void expect(part *p, const dure_run *run) {
  for (uint32_t i = 0; i <= run->length; i++) p->forward[i] = p->after[i] = -INFINITY;
  p->forward[0] = p->after[run->length] = 0;
  for (uint32_t i = 0; i < run->length; i++) {
    if (p->forward[i] != -INFINITY) visit_from(p, run, i, sum_forward);
  }
  for (uint32_t i = run->length; i-- > 0;) {
    if (p->forward[i] != -INFINITY) visit_from(p, run, i, sum_after);
  }
  for (uint32_t i = 0; i < run->length; i++) {
    if (p->forward[i] != -INFINITY) visit_from(p, run, i, sum_expected);
  }
}

static void expect_part(part *p) {
  const learner *l = p->l;
  for (size_t i = part_start(p, l->run_count); i < part_end(p, l->run_count); i++) {
    if (i % 4096 == 0 && dure_os_interrupted()) return;
    expect(p, &l->runs[i]);
  }
}

// The derivative of log gamma, by its asymptotic series from 7 on.
static double digamma(double x) {
  double result = 0;
  while (x < 7) {
    result -= 1 / x;
    x += 1;
  }
  x -= 0.5;
  double square = 1 / (x * x);
  return result + log(x) + square / 24 - 7 * square * square / 960 + 31 * square * square * square / 8064;
}

// Pieces that hardly occur go; the others' scores are those of a variational Bayesian update (Kudo's own choice), which
// makes rare ones rarer.
static dure_status step(learner *l) {
  const double rare = 0.5;
  DURE_TRY(index_pieces(l));
  DURE_TRY(sum_parts(l, expect_part));
  size_t kept = 0;
  double sum = 0;
  for (size_t i = 0; i < l->count; i++) {
    double expected = l->expected[i];
    if (expected < rare && !l->pieces[i].is_character) continue;
    l->pieces[kept] = l->pieces[i];
    l->expected[kept++] = expected < rare ? rare : expected;
  }
  l->count = kept;
  for (size_t i = 0; i < kept; i++) sum += l->expected[i];
  for (size_t i = 0; i < kept; i++) l->pieces[i].score = digamma(l->expected[i]) - digamma(sum);
  return NULL;
}

// ---- pruning ----

// The best segmentation of the text into pieces other than `without`; the pieces in `out` from the last one. Returns
// how many, 0 when there is none.
static size_t best_path(part *p, const char *bytes, uint32_t length, uint32_t without, uint32_t *out) {
  const learner *l = p->l;
  double *score = p->forward;
  for (uint32_t i = 0; i <= length; i++) score[i] = -INFINITY;
  score[0] = 0;
  for (uint32_t start = 0; start < length; start++) {
    if (score[start] == -INFINITY) continue;
    uint32_t node = 0;
    for (uint32_t end = start; end < length;) {
      node = dure_trie_next(&l->trie, node, (uint8_t)bytes[end++]);
      if (node == DURE_TRIE_NONE) break;
      uint32_t piece = l->trie.nodes[node].value;
      if (piece == DURE_TRIE_NONE || piece == without) continue;
      double candidate = score[start] + l->pieces[piece].score;
      if (!(candidate > score[end])) continue;
      score[end] = candidate;
      p->best_start[end] = start;
      p->best_piece[end] = piece;
    }
  }
  size_t count = 0;
  if (score[length] == -INFINITY) return 0;
  for (uint32_t end = length; end > 0; end = p->best_start[end]) out[count++] = p->best_piece[end];
  return count;
}

typedef struct ranked {
  double loss;
  uint32_t piece;
} ranked;

static int compare_ranked(const void *a, const void *b) {
  const ranked *left = a, *right = b;
  if (left->loss != right->loss) return left->loss > right->loss ? -1 : 1;
  return left->piece < right->piece ? -1 : left->piece > right->piece;
}

static void count_best_of_part(part *p) {
  const learner *l = p->l;
  for (size_t i = part_start(p, l->run_count); i < part_end(p, l->run_count); i++) {
    size_t parts = best_path(p, l->runs[i].bytes, l->runs[i].length, DURE_TRIE_NONE, p->path);
    for (size_t k = 0; k < parts; k++) p->sums[p->path[k]] += (double)l->runs[i].count;
    p->all += (double)l->runs[i].count * (double)parts;
  }
}

// How much the likelihood loses, for each occurrence of any piece, when the text of this one is written with others.
static double loss_without(part *p, uint32_t piece) {
  const learner *l = p->l;
  const dure_scored_piece *removed = &l->pieces[piece];
  const double *frequency = l->expected, sum = l->expected_all;
  if (removed->is_character) return INFINITY;
  if (frequency[piece] == 0) return -1;
  size_t parts = best_path(p, removed->bytes, removed->length, piece, p->path);
  if (parts == 0) return INFINITY;
  double own = log(frequency[piece]) - log(sum), others = 0;
  double new_sum = log(sum + frequency[piece] * ((double)parts - 1));
  for (size_t i = 0; i < parts; i++) others += log(frequency[p->path[i]] + frequency[piece]) - new_sum;
  return frequency[piece] / sum * (own - others);
}

static void losses_of_part(part *p) {
  for (size_t i = part_start(p, p->l->count); i < part_end(p, p->l->count); i++)
    p->l->losses[i] = loss_without(p, (uint32_t)i);
}

static dure_status prune(learner *l, size_t wanted) {
  DURE_TRY(index_pieces(l));
  DURE_TRY(sum_parts(l, count_best_of_part));
  size_t before = l->count;
  l->losses = malloc((before + 1) * sizeof(double));
  ranked *order = malloc((before + 1) * sizeof(*order));
  dure_scored_piece *kept = malloc((before + 1) * sizeof(*kept));
  dure_status status = l->losses == NULL || order == NULL || kept == NULL
                           ? dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu pieces", before)
                           : NULL;
  if (status == NULL) {
    for_each_part(l, losses_of_part);
    for (uint32_t i = 0; i < before; i++) order[i] = (ranked){l->losses[i], i};
    qsort(order, before, sizeof(*order), compare_ranked);
    l->count = before < wanted ? before : wanted;
    for (size_t i = 0; i < l->count; i++) kept[i] = l->pieces[order[i].piece];
    memcpy(l->pieces, kept, l->count * sizeof(*kept));
  }
  free(l->losses);
  l->losses = NULL;
  free(order);
  free(kept);
  return status;
}

// ---- all of it ----

static int compare_pieces(const void *a, const void *b) {
  const dure_scored_piece *left = a, *right = b;
  if (left->is_character != right->is_character) return left->is_character ? -1 : 1;
  if (left->score != right->score) return left->score > right->score ? -1 : 1;
  return compare_bytes(left->bytes, left->length, right->bytes, right->length);
}

static dure_status learn(learner *l, const dure_scored_piece *characters, size_t character_count, size_t wanted) {
  DURE_TRY(make_seeds(l, characters, character_count));
  size_t enough = wanted + wanted / 10;
  if (enough < character_count) enough = character_count;
  for (;;) {
    for (int i = 0; i < steps_per_round; i++) DURE_TRY(step(l));
    if (l->count <= enough) break;
    size_t smaller = l->count - l->count / 4;
    DURE_TRY(prune(l, smaller > enough ? smaller : enough));
  }
  qsort(l->pieces, l->count, sizeof(*l->pieces), compare_pieces);
  if (l->count > wanted) l->count = wanted;
  return NULL;
}

static dure_status create_parts(learner *l, uint32_t threads) {
  for (size_t i = 0; i < part_count; i++) {
    part *p = &l->parts[i];
    *p = (part){.l = l, .index = i};
    p->forward = malloc((longest_run + 1) * sizeof(double));
    p->after = malloc((longest_run + 1) * sizeof(double));
    p->best_start = malloc((longest_run + 1) * sizeof(uint32_t));
    p->best_piece = malloc((longest_run + 1) * sizeof(uint32_t));
    p->path = malloc((longest_run + 1) * sizeof(uint32_t));
    if (p->forward == NULL || p->after == NULL || p->best_start == NULL || p->best_piece == NULL || p->path == NULL)
      return dure_fail(DURE_OUT_OF_MEMORY, "no memory to train on %zu words", l->run_count);
  }
  if (threads == 0) threads = dure_os_core_count();
  return threads > 1 ? dure_workers_create(threads < part_count ? threads : part_count, &l->workers) : NULL;
}

static void destroy_learner(learner *l) {
  dure_workers_destroy(l->workers);
  for (size_t i = 0; i < part_count; i++) {
    free(l->parts[i].forward);
    free(l->parts[i].after);
    free(l->parts[i].best_start);
    free(l->parts[i].best_piece);
    free(l->parts[i].path);
  }
  free(l->expected);
  dure_trie_free(&l->trie);
}

dure_status dure_unigram_learn(const dure_run *runs, size_t run_count, const dure_scored_piece *characters,
                               size_t character_count, size_t wanted, uint32_t threads, dure_scored_piece **out_pieces,
                               size_t *out_count) {
  learner l = {.run_count = run_count};
  *out_pieces = NULL;
  *out_count = 0;
  dure_run *cut = malloc((run_count + 1) * sizeof(*cut));
  dure_status status = cut == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "no memory to train on %zu words", run_count)
                                   : create_parts(&l, threads);
  for (size_t i = 0; i < run_count && status == NULL; i++) {
    cut[i] = runs[i];  // what comes after the first few thousand bytes of a word makes no difference
    while (cut[i].length > longest_run ||
           (cut[i].length < runs[i].length && ((uint8_t)cut[i].bytes[cut[i].length] & 0xC0) == 0x80))
      cut[i].length = cut[i].length > longest_run ? longest_run : cut[i].length - 1;
  }
  l.runs = cut;
  if (status == NULL) status = learn(&l, characters, character_count, wanted);
  if (status == NULL) {
    *out_pieces = l.pieces;
    *out_count = l.count;
  } else {
    free(l.pieces);
  }
  free(cut);
  destroy_learner(&l);
  return status;
}
