#include "data/tokenizer_pieces.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/bpe_pairs.h"
#include "data/tokenizer_bytes.h"
#include "data/tokenizer_json_text.h"
#include "data/tokenizer_parts.h"
#include "data/tokenizer_trie.h"
#include "runtime/os.h"

enum { progress_interval = 256 };

// A character of the text, and in BPE the piece made of others.
typedef struct symbol {
  char *bytes;  // owned
  uint32_t length;
  uint64_t count;
} symbol;

struct dure_pieces_trainer {
  dure_pieces_options options;
  dure_pretokenizer *pretokenizer;
  dure_pretokenize_scratch *scratch;
  dure_words words;
  symbol *symbols;  // [symbol_count]: the characters first
  size_t symbol_count, symbol_capacity, character_count;
  dure_trie characters;
  dure_run *runs;
  size_t run_count, run_capacity;
  uint32_t *run_symbols;  // BPE: the ids of all runs; run r's begin at run_starts[r]
  size_t *run_starts;
  uint32_t *run_sizes;
  dure_pairs pairs;
  uint64_t *merges;  // left << 32 | right, of symbols
  size_t merge_count, merge_capacity;
  dure_scored_piece *scored;  // unigram
  size_t scored_count;
  uint64_t chunk_count;
  dure_train_progress progress;
};

typedef dure_pieces_trainer trainer;

static const char *const usual_specials[] = {"<unk>", "<s>", "</s>"};

static size_t special_count(const trainer *t) {
  return t->options.special_tokens != NULL ? t->options.special_token_count : 3;
}

static const char *special(const trainer *t, size_t i) {
  return t->options.special_tokens != NULL ? t->options.special_tokens[i] : usual_specials[i];
}

static size_t reserved_count(const trainer *t) { return special_count(t) + (t->options.byte_fallback ? 256 : 0); }

static dure_status report(trainer *t) {
  t->progress.distinct_words = t->words.count;
  t->progress.vocabulary_wanted = t->options.vocabulary_size;
  if (t->options.progress != NULL) t->options.progress(t->options.progress_context, &t->progress);
  return dure_os_interrupted() ? dure_fail(DURE_CANCELLED, "training the tokenizer was interrupted") : NULL;
}

// ---- reading ----

static dure_status check_options(const trainer *t) {
  if (special_count(t) == 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "expected a special token for what is unknown, found none");
  for (size_t i = 0; i < special_count(t); i++) {
    size_t length = strlen(special(t, i));
    if (length == 0 || length > 1000 || dure_utf8_valid_prefix(special(t, i), length) != length)
      return dure_fail(DURE_INVALID_ARGUMENT, "special token %zu: expected 1 to 1000 bytes of UTF-8", i);
    for (size_t k = 0; k < i; k++) {
      if (strcmp(special(t, i), special(t, k)) == 0)
        return dure_fail(DURE_INVALID_ARGUMENT, "the special token '%s' is given twice", special(t, i));
    }
  }
  double coverage = t->options.character_coverage;
  if (!(coverage > 0 && coverage <= 1))
    return dure_fail(DURE_INVALID_ARGUMENT, "the character coverage is %g; expected more than 0 and at most 1",
                     coverage);
  if (t->options.vocabulary_size >= DURE_TOKEN_ID_LIMIT)
    return dure_fail(DURE_INVALID_ARGUMENT, "a vocabulary of %u tokens; expected fewer than %u",
                     t->options.vocabulary_size, DURE_TOKEN_ID_LIMIT);
  return NULL;
}

dure_status dure_pieces_trainer_create(const dure_pieces_options *options, dure_pieces_trainer **out_trainer) {
  *out_trainer = NULL;
  trainer *t = calloc(1, sizeof(*t));
  if (t == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory to train a tokenizer");
  t->options = *options;
  if (t->options.character_coverage == 0) t->options.character_coverage = 0.9995;
  dure_status status = check_options(t);
  if (status == NULL) status = dure_pretokenizer_create(&t->pretokenizer);
  if (status == NULL) {
    status = dure_pretokenizer_add_metaspace(t->pretokenizer, DURE_SPACE_MARK, strlen(DURE_SPACE_MARK),
                                             DURE_PREPEND_ALWAYS, true);
  }
  if (status == NULL)
    status = dure_pretokenizer_add_pattern(t->pretokenizer, "[\r\n]", 4, false, DURE_SPLIT_REMOVED, false);
  if (status == NULL) status = dure_pretokenize_scratch_create(&t->scratch);
  if (status != NULL) {
    dure_pieces_trainer_destroy(t);
    return status;
  }
  *out_trainer = t;
  return NULL;
}

void dure_pieces_trainer_destroy(dure_pieces_trainer *t) {
  if (t == NULL) return;
  for (size_t i = 0; i < t->symbol_count; i++) free(t->symbols[i].bytes);
  free(t->symbols);
  free(t->runs);
  free(t->run_symbols);
  free(t->run_starts);
  free(t->run_sizes);
  free(t->merges);
  free(t->scored);
  dure_trie_free(&t->characters);
  dure_pairs_free(&t->pairs);
  dure_words_free(&t->words);
  dure_pretokenize_scratch_destroy(t->scratch);
  dure_pretokenizer_destroy(t->pretokenizer);
  free(t);
}

static dure_status count_word(void *context, const dure_piece *piece) {
  trainer *t = context;
  if (dure_utf8_valid_prefix(piece->bytes, piece->length) != piece->length) return NULL;
  return dure_words_add(&t->words, piece->bytes, piece->length);
}

dure_status dure_pieces_trainer_add(dure_pieces_trainer *t, const char *text, size_t length) {
  dure_piece chunk = {text, length, NULL, 0};
  DURE_TRY(dure_pretokenize(t->pretokenizer, t->scratch, &chunk, true, false, count_word, t));
  t->progress.bytes_read += length;
  return t->chunk_count++ % progress_interval == 0 ? report(t) : NULL;
}

// ---- characters ----

static dure_status add_symbol(trainer *t, const char *a, size_t a_length, const char *b, size_t b_length,
                              uint64_t count) {
  if (t->symbol_count == t->symbol_capacity) {
    size_t capacity = t->symbol_capacity * 2 + 1024;
    symbol *grown = realloc(t->symbols, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu pieces", capacity);
    t->symbols = grown;
    t->symbol_capacity = capacity;
  }
  char *bytes = malloc(a_length + b_length);
  if (bytes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a piece");
  memcpy(bytes, a, a_length);
  if (b_length > 0) memcpy(bytes + a_length, b, b_length);
  t->symbols[t->symbol_count++] = (symbol){bytes, (uint32_t)(a_length + b_length), count};
  return NULL;
}

static int compare_symbols(const void *a, const void *b) {
  const symbol *left = a, *right = b;
  if (left->count != right->count) return left->count > right->count ? -1 : 1;
  const int order = memcmp(left->bytes, right->bytes, left->length < right->length ? left->length : right->length);
  if (order != 0) return order;
  return left->length < right->length ? -1 : left->length > right->length;
}

// Counts all characters and keeps the most frequent ones that cover enough.
static dure_status choose_characters(trainer *t) {
  const size_t planes = 0x110000;
  uint64_t *counts = calloc(planes, sizeof(*counts)), all = 0, covered = 0;
  if (counts == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory to count characters");
  for (size_t w = 0; w < t->words.count; w++) {
    const dure_word *word = &t->words.words[w];
    const char *bytes = t->words.arena + word->start;
    for (size_t at = 0; at < word->length;) {
      uint32_t c = 0;
      at += dure_utf8_character(bytes + at, word->length - at, &c);
      if (c != 0) counts[c] += word->count;
      all += word->count;
    }
  }
  dure_status status = NULL;
  for (uint32_t c = 0; c < planes && status == NULL; c++) {
    char bytes[4];
    if (counts[c] > 0) status = add_symbol(t, bytes, dure_utf8_write(c, bytes), "", 0, counts[c]);
  }
  free(counts);
  DURE_TRY(status);
  if (t->symbol_count > 0) qsort(t->symbols, t->symbol_count, sizeof(*t->symbols), compare_symbols);
  size_t kept = 0;
  while (kept < t->symbol_count && (double)covered < t->options.character_coverage * (double)all)
    covered += t->symbols[kept++].count;
  for (size_t i = kept; i < t->symbol_count; i++) free(t->symbols[i].bytes);
  t->symbol_count = t->character_count = kept;
  if (reserved_count(t) + kept > t->options.vocabulary_size) {
    return dure_fail(
        DURE_INVALID_ARGUMENT,
        "%zu special tokens and bytes and %zu characters are more than a vocabulary of %u; ask for more, or "
        "a lower character coverage than %g",
        reserved_count(t), kept, t->options.vocabulary_size, t->options.character_coverage);
  }
  return NULL;
}

static dure_status index_characters(trainer *t) {
  dure_trie_key *keys = malloc((t->character_count + 1) * sizeof(*keys));
  if (keys == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu characters", t->character_count);
  for (size_t i = 0; i < t->character_count; i++)
    keys[i] = (dure_trie_key){t->symbols[i].bytes, t->symbols[i].length, (uint32_t)i};
  dure_status status = dure_trie_create(keys, t->character_count, &t->characters);
  free(keys);
  return status;
}

static uint32_t character_at(const trainer *t, const char *bytes, size_t size) {
  uint32_t node = 0;
  for (size_t i = 0; i < size && node != DURE_TRIE_NONE; i++)
    node = dure_trie_next(&t->characters, node, (uint8_t)bytes[i]);
  return node != DURE_TRIE_NONE ? t->characters.nodes[node].value : DURE_TRIE_NONE;
}

static dure_status add_run(trainer *t, const char *bytes, size_t length, uint64_t count) {
  if (length == 0) return NULL;
  if (t->run_count == t->run_capacity) {
    size_t capacity = t->run_capacity * 2 + 4096;
    dure_run *grown = capacity < UINT32_MAX ? realloc(t->runs, capacity * sizeof(*grown)) : NULL;
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu words", capacity);
    t->runs = grown;
    t->run_capacity = capacity;
  }
  t->runs[t->run_count++] = (dure_run){bytes, (uint32_t)length, count};
  return NULL;
}

// Words without the characters that are no pieces.
static dure_status cut_words(trainer *t) {
  for (size_t w = 0; w < t->words.count; w++) {
    const dure_word *word = &t->words.words[w];
    const char *bytes = t->words.arena + word->start;
    size_t start = 0, at = 0;
    while (at < word->length) {
      size_t size = dure_utf8_character(bytes + at, word->length - at, NULL);
      if (character_at(t, bytes + at, size) == DURE_TRIE_NONE) {
        DURE_TRY(add_run(t, bytes + start, at - start, word->count));
        start = at + size;
      }
      at += size;
    }
    DURE_TRY(add_run(t, bytes + start, at - start, word->count));
  }
  return NULL;
}

// ---- BPE ----

static dure_status count_pairs(trainer *t) {
  size_t total = 0;
  for (size_t r = 0; r < t->run_count; r++) total += t->runs[r].length;
  t->run_symbols = malloc((total + 1) * sizeof(uint32_t));
  t->run_starts = malloc((t->run_count + 1) * sizeof(size_t));
  t->run_sizes = malloc((t->run_count + 1) * sizeof(uint32_t));
  if (t->run_symbols == NULL || t->run_starts == NULL || t->run_sizes == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu different words", t->run_count);
  size_t next = 0;
  for (size_t r = 0; r < t->run_count; r++) {
    const dure_run *run = &t->runs[r];
    t->run_starts[r] = next;
    for (size_t at = 0; at < run->length;) {
      size_t size = dure_utf8_character(run->bytes + at, run->length - at, NULL);
      t->run_symbols[next++] = character_at(t, run->bytes + at, size);
      at += size;
    }
    t->run_sizes[r] = (uint32_t)(next - t->run_starts[r]);
    for (size_t i = t->run_starts[r]; i + 1 < next; i++) {
      DURE_TRY(
          dure_pairs_change(&t->pairs, t->run_symbols[i], t->run_symbols[i + 1], (int64_t)run->count, (uint32_t)r));
    }
  }
  return dure_pairs_queue(&t->pairs);
}

// Joins the pair wherever it is in the run, from the left, and counts what that changes for the pairs beside it.
static dure_status merge_in_run(trainer *t, uint32_t r, uint32_t left, uint32_t right, uint32_t merged) {
  uint32_t *symbols = t->run_symbols + t->run_starts[r], size = t->run_sizes[r], written = 0;
  int64_t count = (int64_t)t->runs[r].count;
  for (uint32_t i = 0; i < size; i++) {
    if (symbols[i] != left || i + 1 >= size || symbols[i + 1] != right) {
      symbols[written++] = symbols[i];
      continue;
    }
    if (written > 0) {
      DURE_TRY(dure_pairs_change(&t->pairs, symbols[written - 1], left, -count, r));
      DURE_TRY(dure_pairs_change(&t->pairs, symbols[written - 1], merged, count, r));
    }
    if (i + 2 < size) {
      DURE_TRY(dure_pairs_change(&t->pairs, right, symbols[i + 2], -count, r));
      DURE_TRY(dure_pairs_change(&t->pairs, merged, symbols[i + 2], count, r));
    }
    symbols[written++] = merged;
    i++;
  }
  t->run_sizes[r] = written;
  return NULL;
}

// The symbol with these bytes that is there already; two pairs can spell the same.
static size_t find_symbol(const trainer *t, const dure_bytes *bytes, const uint32_t *table, size_t mask) {
  size_t at = 0;
  for (size_t i = 0; i < bytes->size; i++) at = at * 31 + (uint8_t)bytes->data[i];
  at = (at * 0x9E3779B97F4A7C15u) >> 32 & mask;
  while (table[at] != UINT32_MAX) {
    const symbol *s = &t->symbols[table[at]];
    if (s->length == bytes->size && memcmp(s->bytes, bytes->data, bytes->size) == 0) break;
    at = (at + 1) & mask;
  }
  return at;
}

static dure_status merge_best(trainer *t, const dure_queued_pair *best, uint32_t *table, size_t mask,
                              dure_bytes *spelled) {
  uint32_t left = (uint32_t)(best->pair >> 32), right = (uint32_t)best->pair;
  dure_bytes_clear(spelled);
  dure_bytes_append(spelled, t->symbols[left].bytes, t->symbols[left].length);
  dure_bytes_append(spelled, t->symbols[right].bytes, t->symbols[right].length);
  DURE_TRY(dure_bytes_status(spelled));
  size_t slot = find_symbol(t, spelled, table, mask);
  if (table[slot] == UINT32_MAX) {
    table[slot] = (uint32_t)t->symbol_count;
    DURE_TRY(add_symbol(t, spelled->data, spelled->size, "", 0, (uint64_t)best->count));
  }
  if (t->merge_count == t->merge_capacity) {
    size_t capacity = t->merge_capacity * 2 + 1024;
    uint64_t *grown = realloc(t->merges, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu merges", capacity);
    t->merges = grown;
    t->merge_capacity = capacity;
  }
  t->merges[t->merge_count++] = best->pair;
  for (uint32_t i = 0; i < best->words.count; i++)
    DURE_TRY(merge_in_run(t, best->words.words[i], left, right, table[slot]));
  return dure_pairs_queue(&t->pairs);
}

static dure_status learn_merges(trainer *t) {
  size_t slots = 1024;
  while (slots < (size_t)t->options.vocabulary_size * 4) slots *= 2;
  uint32_t *table = malloc(slots * sizeof(uint32_t));
  dure_bytes spelled = {0};
  if (table == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %u pieces", t->options.vocabulary_size);
  memset(table, 0xFF, slots * sizeof(uint32_t));
  for (uint32_t i = 0; i < t->symbol_count; i++) {
    dure_bytes_clear(&spelled);
    dure_bytes_append(&spelled, t->symbols[i].bytes, t->symbols[i].length);
    table[find_symbol(t, &spelled, table, slots - 1)] = i;
  }
  dure_status status = count_pairs(t);
  dure_queued_pair best;
  while (status == NULL && reserved_count(t) + t->symbol_count < t->options.vocabulary_size &&
         dure_pairs_pop(&t->pairs, &best)) {
    status = best.count > 0 ? merge_best(t, &best, table, slots - 1, &spelled) : NULL;
    bool is_done = best.count <= 0;
    free(best.words.words);
    if (is_done) break;
    t->progress.vocabulary_size = (uint32_t)(reserved_count(t) + t->symbol_count);
    if (status == NULL && t->merge_count % progress_interval == 0) status = report(t);
  }
  free(table);
  dure_bytes_free(&spelled);
  return status;
}

// ---- unigram ----

static dure_status learn_scores(trainer *t) {
  dure_scored_piece *characters = malloc((t->character_count + 1) * sizeof(*characters));
  if (characters == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu characters", t->character_count);
  for (size_t i = 0; i < t->character_count; i++)
    characters[i] = (dure_scored_piece){t->symbols[i].bytes, t->symbols[i].length, true, (double)t->symbols[i].count};
  dure_status status = dure_unigram_learn(t->runs, t->run_count, characters, t->character_count,
                                          t->options.vocabulary_size - reserved_count(t), &t->scored, &t->scored_count);
  free(characters);
  return status;
}

// ---- writing ----

static void put_pipeline(const trainer *t, dure_bytes *out) {
  bool is_first = true;
  dure_json_put(out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n\"added_tokens\":[\n");
  for (size_t i = 0; i < special_count(t); i++)
    dure_json_put_added(out, &is_first, special(t, i), strlen(special(t, i)), (unsigned)i, true);
  dure_json_put(out,
                "],\n\"normalizer\":null,\n\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"%s\","
                "\"prepend_scheme\":\"always\",\"split\":true},\n\"post_processor\":null,\n",
                DURE_SPACE_MARK);
  dure_json_put(
      out,
      "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"%s\"},"
      "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \","
      "\"start\":1,\"stop\":0}]},\n\"model\":{\"byte_fallback\":%s,",
      DURE_SPACE_MARK, t->options.byte_fallback ? "true" : "false");
}

static void put_merges(const trainer *t, dure_bytes *out) {
  uint32_t id = 0;
  dure_json_put(out,
                "\"type\":\"BPE\",\"dropout\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
                "\"fuse_unk\":true,\"ignore_merges\":false,\"unk_token\":");
  dure_json_put_string(out, special(t, 0), strlen(special(t, 0)));
  dure_json_put(out, ",\n\"vocab\":{\n");
  for (size_t i = 0; i < special_count(t); i++) {
    dure_bytes_append_text(out, i > 0 ? ",\n" : "");
    dure_json_put_string(out, special(t, i), strlen(special(t, i)));
    dure_json_put(out, ":%u", id++);
  }
  for (unsigned byte = 0; byte < 256 && t->options.byte_fallback; byte++)
    dure_json_put(out, ",\n\"<0x%02X>\":%u", byte, id++);
  for (size_t i = 0; i < t->symbol_count; i++) {
    dure_bytes_append_text(out, ",\n");
    dure_json_put_string(out, t->symbols[i].bytes, t->symbols[i].length);
    dure_json_put(out, ":%u", id++);
  }
  dure_json_put(out, "},\n\"merges\":[\n");
  for (size_t i = 0; i < t->merge_count; i++) {
    const symbol *left = &t->symbols[t->merges[i] >> 32], *right = &t->symbols[(uint32_t)t->merges[i]];
    dure_bytes_append_text(out, i > 0 ? ",\n[" : "[");
    dure_json_put_string(out, left->bytes, left->length);
    dure_bytes_append(out, ",", 1);
    dure_json_put_string(out, right->bytes, right->length);
    dure_bytes_append(out, "]", 1);
  }
  dure_json_put(out, "]}}\n");
}

static void put_scores(const trainer *t, dure_bytes *out) {
  // Readers look for these texts like any other: so low that nothing is written with them.
  const double never = -1000;
  dure_json_put(out, "\"type\":\"Unigram\",\"unk_id\":0,\n\"vocab\":[\n");
  for (size_t i = 0; i < special_count(t); i++) {
    dure_bytes_append_text(out, i > 0 ? ",\n[" : "[");
    dure_json_put_string(out, special(t, i), strlen(special(t, i)));
    dure_json_put(out, ",%.1f]", never);
  }
  for (unsigned byte = 0; byte < 256 && t->options.byte_fallback; byte++)
    dure_json_put(out, ",\n[\"<0x%02X>\",%.1f]", byte, never);
  for (size_t i = 0; i < t->scored_count; i++) {
    dure_bytes_append_text(out, ",\n[");
    dure_json_put_string(out, t->scored[i].bytes, t->scored[i].length);
    dure_json_put(out, ",%.9g]", t->scored[i].score);
  }
  dure_json_put(out, "]}}\n");
}

dure_status dure_pieces_trainer_finish(dure_pieces_trainer *t, dure_tokenizer **out_tokenizer) {
  dure_bytes out = {0};
  char *json = NULL;
  size_t length = 0;
  *out_tokenizer = NULL;
  DURE_TRY(report(t));
  DURE_TRY(choose_characters(t));
  DURE_TRY(index_characters(t));
  DURE_TRY(cut_words(t));
  DURE_TRY(t->options.is_unigram ? learn_scores(t) : learn_merges(t));
  put_pipeline(t, &out);
  if (t->options.is_unigram) {
    put_scores(t, &out);
  } else {
    put_merges(t, &out);
  }
  DURE_TRY(dure_json_finish(&out, &json, &length));
  dure_status status = dure_tokenizer_parse(json, length, out_tokenizer);
  free(json);
  return status;
}
