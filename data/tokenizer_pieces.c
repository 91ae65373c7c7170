#include "data/tokenizer_pieces.h"

#include <stdlib.h>
#include <string.h>

#include "data/bpe_learn.h"
#include "data/tokenizer_bytes.h"
#include "data/tokenizer_json_text.h"
#include "data/tokenizer_parts.h"
#include "data/tokenizer_trie.h"

struct dure_pieces_trainer {
  dure_pieces_options options;
  dure_pretokenizer *pretokenizer;
  dure_pretokenize_scratch *scratch;
  dure_words words;
  dure_token_names names;      // the characters first, then in BPE the pieces made of others
  uint64_t *character_counts;  // [character_count]
  size_t character_count;
  dure_trie characters;
  dure_run *runs;
  size_t run_count, run_capacity;
  dure_merge_learner learner;  // BPE
  dure_scored_piece *scored;   // unigram
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
  t->progress.vocabulary_wanted = t->options.vocabulary_size;
  return dure_train_report(&t->progress, t->options.progress, t->options.progress_context);
}

// ---- reading ----

static dure_status check_options(const trainer *t) {
  if (special_count(t) == 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "expected a special token for what is unknown, found none");
  DURE_TRY(dure_special_tokens_check(t->options.special_tokens != NULL ? t->options.special_tokens : usual_specials,
                                     special_count(t)));
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
  free(t->character_counts);
  free(t->runs);
  free(t->scored);
  dure_trie_free(&t->characters);
  dure_merge_learner_free(&t->learner);
  dure_token_names_free(&t->names);
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
  t->progress.distinct_words = t->words.count;
  return t->chunk_count++ % dure_train_progress_interval == 0 ? report(t) : NULL;
}

// ---- characters ----

typedef struct counted {
  uint32_t character;
  uint64_t count;
} counted;

// By frequency, then by code point.
static int compare_counted(const void *a, const void *b) {
  const counted *left = a, *right = b;
  if (left->count != right->count) return left->count > right->count ? -1 : 1;
  return left->character < right->character ? -1 : left->character > right->character;
}

enum { code_points = 0x110000 };

// All characters of the words but NUL in `out` [code_points], how many there are, and how much text they are.
static size_t count_characters(const trainer *t, counted *out, uint64_t *out_all) {
  *out_all = 0;
  for (uint32_t c = 0; c < code_points; c++) out[c] = (counted){c, 0};
  for (size_t w = 0; w < t->words.count; w++) {
    const dure_word *word = &t->words.words[w];
    const char *bytes = t->words.arena + word->start;
    for (size_t at = 0; at < word->length;) {
      uint32_t c = 0;
      at += dure_utf8_character(bytes + at, word->length - at, &c);
      if (c != 0) out[c].count += word->count;
      *out_all += word->count;
    }
  }
  size_t kept = 0;
  for (uint32_t c = 0; c < code_points; c++) {
    if (out[c].count > 0) out[kept++] = out[c];
  }
  return kept;
}

// The most frequent characters that cover enough, by their frequency.
static dure_status keep_characters(trainer *t, const counted *found, size_t count, uint64_t all) {
  uint64_t covered = 0;
  size_t kept = 0;
  while (kept < count && (double)covered < t->options.character_coverage * (double)all) covered += found[kept++].count;
  if (reserved_count(t) + kept > t->options.vocabulary_size) {
    return dure_fail(
        DURE_INVALID_ARGUMENT,
        "%zu special tokens and bytes and %zu characters are more than a vocabulary of %u; ask for more, or "
        "a lower character coverage than %g",
        reserved_count(t), kept, t->options.vocabulary_size, t->options.character_coverage);
  }
  t->character_counts = malloc((kept + 1) * sizeof(uint64_t));
  if (t->character_counts == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu characters", kept);
  for (size_t i = 0; i < kept; i++) {
    char bytes[4];
    uint32_t id;
    t->character_counts[i] = found[i].count;
    DURE_TRY(dure_token_names_add(&t->names, bytes, dure_utf8_write(found[i].character, bytes), "", 0, &id));
  }
  t->character_count = kept;
  return NULL;
}

static dure_status choose_characters(trainer *t) {
  uint64_t all;
  counted *found = malloc(code_points * sizeof(*found));
  if (found == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory to count characters");
  size_t count = count_characters(t, found, &all);
  qsort(found, count, sizeof(*found), compare_counted);
  dure_status status = keep_characters(t, found, count, all);
  free(found);
  return status;
}

static dure_status index_characters(trainer *t) {
  dure_trie_key *keys = malloc((t->character_count + 1) * sizeof(*keys));
  if (keys == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu characters", t->character_count);
  for (size_t i = 0; i < t->character_count; i++)
    keys[i] = (dure_trie_key){t->names.tokens[i].text, t->names.tokens[i].length, (uint32_t)i};
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

static size_t count_run_characters(const trainer *t) {
  size_t count = 0;
  for (size_t r = 0; r < t->run_count; r++) {
    for (uint32_t i = 0; i < t->runs[r].length; i++) count += ((uint8_t)t->runs[r].bytes[i] & 0xC0) != 0x80;
  }
  return count;
}

// The runs become symbols, and neither they nor the words are needed any more.
static dure_status count_pairs(trainer *t) {
  size_t total = count_run_characters(t);
  DURE_TRY(dure_merge_learner_reserve(&t->learner, t->run_count, total));
  for (size_t r = 0; r < t->run_count; r++) {
    const dure_run *run = &t->runs[r];
    uint32_t *symbols = dure_merge_learner_begin(&t->learner), count = 0;
    for (size_t at = 0; at < run->length;) {
      size_t size = dure_utf8_character(run->bytes + at, run->length - at, NULL);
      symbols[count++] = character_at(t, run->bytes + at, size);
      at += size;
    }
    dure_merge_learner_end(&t->learner, count, run->count);
  }
  free(t->runs);
  t->runs = NULL;
  t->run_count = t->run_capacity = 0;
  dure_words_free(&t->words);
  return dure_merge_learner_count(&t->learner);
}

static dure_status learn_merges(trainer *t) {
  bool is_done = false;
  DURE_TRY(count_pairs(t));
  while (reserved_count(t) + t->names.count < t->options.vocabulary_size) {
    DURE_TRY(dure_merge_learner_next(&t->learner, &t->names, 1, &is_done));
    if (is_done) break;
    t->progress.vocabulary_size = (uint32_t)(reserved_count(t) + t->names.count);
    if (t->learner.merge_count % dure_train_progress_interval == 0) DURE_TRY(report(t));
  }
  return NULL;
}

// ---- unigram ----

static dure_status learn_scores(trainer *t) {
  dure_scored_piece *characters = malloc((t->character_count + 1) * sizeof(*characters));
  if (characters == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu characters", t->character_count);
  for (size_t i = 0; i < t->character_count; i++)
    characters[i] =
        (dure_scored_piece){t->names.tokens[i].text, t->names.tokens[i].length, true, (double)t->character_counts[i]};
  dure_status status = dure_unigram_learn(t->runs, t->run_count, characters, t->character_count,
                                          t->options.vocabulary_size - reserved_count(t), t->options.threads,
                                          &t->scored, &t->scored_count);
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
  for (size_t i = 0; i < t->names.count; i++) {
    dure_bytes_append_text(out, ",\n");
    dure_json_put_string(out, t->names.tokens[i].text, t->names.tokens[i].length);
    dure_json_put(out, ":%u", id++);
  }
  dure_json_put(out, "},\n\"merges\":[\n");
  for (size_t i = 0; i < t->learner.merge_count; i++) {
    const uint64_t pair = t->learner.merges[i];
    const dure_new_token *left = &t->names.tokens[pair >> 32], *right = &t->names.tokens[(uint32_t)pair];
    dure_bytes_append_text(out, i > 0 ? ",\n[" : "[");
    dure_json_put_string(out, left->text, left->length);
    dure_bytes_append(out, ",", 1);
    dure_json_put_string(out, right->text, right->length);
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
