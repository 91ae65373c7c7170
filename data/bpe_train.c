#include "data/bpe_train.h"

#include <stdlib.h>
#include <string.h>

#include "data/bpe_learn.h"
#include "data/bpe_words.h"
#include "data/pretokenize.h"
#include "data/tokenizer_bytes.h"
#include "data/tokenizer_write.h"

enum { token_limit = 1 << 22 };

struct dure_bpe_trainer {
  dure_bpe_train_options options;
  dure_pretokenizer *pretokenizer;
  dure_pretokenize_scratch *scratch;
  dure_words words;
  dure_merge_learner learner;
  dure_token_names names;
  uint32_t special_count;
  uint32_t byte_ids[256];
  uint64_t chunk_count;
  dure_train_progress progress;
};

typedef dure_bpe_trainer trainer;

static dure_status report(trainer *t) {
  t->progress.vocabulary_wanted = t->options.vocabulary_size;
  return dure_train_report(&t->progress, t->options.progress, t->options.progress_context);
}

// ---- tokens ----

static dure_status add_special_tokens(trainer *t) {
  static const char *const end_of_text[] = {"<|endoftext|>"};
  const char *const *specials = t->options.special_tokens != NULL ? t->options.special_tokens : end_of_text;
  size_t count = t->options.special_tokens != NULL ? t->options.special_token_count : 1;
  DURE_TRY(dure_special_tokens_check(specials, count));
  for (size_t i = 0; i < count; i++) {
    uint32_t id;
    DURE_TRY(dure_token_names_add(&t->names, specials[i], strlen(specials[i]), "", 0, &id));
  }
  t->special_count = (uint32_t)count;
  return NULL;
}

// In the order of the characters that stand for them, as `tokenizers` sorts its alphabet.
static dure_status add_bytes(trainer *t) {
  for (uint32_t character = 0; character < 512; character++) {
    int byte = dure_character_to_byte(character);
    char text[4];
    if (byte < 0) continue;
    size_t length = dure_utf8_write(character, text);
    DURE_TRY(dure_token_names_add(&t->names, text, length, "", 0, &t->byte_ids[byte]));
  }
  return NULL;
}

// ---- reading ----

static dure_status count_word(void *context, const dure_piece *piece) {
  return dure_words_add(&((trainer *)context)->words, piece->bytes, piece->length);
}

bool dure_bpe_trainer_needs_text(const dure_bpe_trainer *t) { return t->names.count < t->options.vocabulary_size; }

dure_status dure_bpe_trainer_add(dure_bpe_trainer *t, const char *text, size_t length) {
  if (!dure_bpe_trainer_needs_text(t)) return NULL;
  dure_piece chunk = {text, length, NULL, 0};
  DURE_TRY(dure_pretokenize(t->pretokenizer, t->scratch, &chunk, true, false, count_word, t));
  t->progress.bytes_read += length;
  t->progress.distinct_words = t->words.count;
  return t->chunk_count++ % dure_train_progress_interval == 0 ? report(t) : NULL;
}

// ---- merging ----

// The words become symbols, and are themselves not needed any more.
static dure_status count_pairs(trainer *t) {
  DURE_TRY(dure_merge_learner_reserve(&t->learner, t->words.count, t->words.arena_length));
  for (size_t w = 0; w < t->words.count; w++) {
    const dure_word *word = &t->words.words[w];
    const char *bytes = t->words.arena + word->start;
    uint32_t *symbols = dure_merge_learner_begin(&t->learner);
    for (uint32_t i = 0; i < word->length; i++) symbols[i] = t->byte_ids[(uint8_t)bytes[i]];
    dure_merge_learner_end(&t->learner, word->length, word->count);
  }
  dure_words_free(&t->words);
  return dure_merge_learner_count(&t->learner);
}

static dure_status learn_merges(trainer *t) {
  bool is_done = false;
  while (t->names.count < t->options.vocabulary_size) {
    DURE_TRY(dure_merge_learner_next(&t->learner, &t->names, t->options.min_frequency, &is_done));
    if (is_done) break;
    t->progress.vocabulary_size = t->names.count;
    if (t->learner.merge_count % dure_train_progress_interval == 0) DURE_TRY(report(t));
  }
  t->progress.vocabulary_size = t->names.count;
  return report(t);
}

// ---- all of it ----

void dure_bpe_trainer_destroy(dure_bpe_trainer *t) {
  if (t == NULL) return;
  dure_merge_learner_free(&t->learner);
  dure_token_names_free(&t->names);
  dure_words_free(&t->words);
  dure_pretokenize_scratch_destroy(t->scratch);
  dure_pretokenizer_destroy(t->pretokenizer);
  free(t);
}

static dure_status prepare(trainer *t) {
  DURE_TRY(add_special_tokens(t));
  DURE_TRY(add_bytes(t));
  DURE_TRY(dure_pretokenizer_create(&t->pretokenizer));
  DURE_TRY(dure_pretokenizer_add_pattern(t->pretokenizer, DURE_GPT2_PATTERN, strlen(DURE_GPT2_PATTERN), false,
                                         DURE_SPLIT_ISOLATED, false));
  return dure_pretokenize_scratch_create(&t->scratch);
}

dure_status dure_bpe_trainer_create(const dure_bpe_train_options *options, dure_bpe_trainer **out_trainer) {
  *out_trainer = NULL;
  if (options->vocabulary_size > token_limit) {
    return dure_fail(DURE_INVALID_ARGUMENT, "a vocabulary of %u tokens; at most %d are supported",
                     options->vocabulary_size, token_limit);
  }
  trainer *t = calloc(1, sizeof(*t));
  if (t == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory to train a tokenizer");
  t->options = *options;
  dure_status status = prepare(t);
  if (status != NULL) {
    dure_bpe_trainer_destroy(t);
    return status;
  }
  *out_trainer = t;
  return NULL;
}

dure_status dure_bpe_trainer_finish(dure_bpe_trainer *t, dure_tokenizer **out_tokenizer) {
  *out_tokenizer = NULL;
  if (dure_bpe_trainer_needs_text(t)) {
    DURE_TRY(report(t));
    DURE_TRY(count_pairs(t));
    DURE_TRY(learn_merges(t));
  }
  char *json = NULL;
  size_t length = 0;
  dure_new_vocabulary vocabulary = {t->names.tokens, t->names.count, t->special_count, t->learner.merges,
                                    t->learner.merge_count};
  DURE_TRY(dure_tokenizer_write_json(&vocabulary, &json, &length));
  dure_status status = dure_tokenizer_parse(json, length, out_tokenizer);
  free(json);
  return status;
}

static dure_status add_all(trainer *t, dure_text_source next, void *source_context) {
  while (dure_bpe_trainer_needs_text(t)) {
    const char *text = NULL;
    size_t length = 0;
    DURE_TRY(next(source_context, &text, &length));
    if (text == NULL) break;
    DURE_TRY(dure_bpe_trainer_add(t, text, length));
  }
  return NULL;
}

dure_status dure_tokenizer_train(dure_text_source next, void *source_context, const dure_bpe_train_options *options,
                                 dure_tokenizer **out_tokenizer) {
  trainer *t;
  *out_tokenizer = NULL;
  DURE_TRY(dure_bpe_trainer_create(options, &t));
  dure_status status = add_all(t, next, source_context);
  if (status == NULL) status = dure_bpe_trainer_finish(t, out_tokenizer);
  dure_bpe_trainer_destroy(t);
  return status;
}
