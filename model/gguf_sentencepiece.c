// SentencePiece vocabularies in GGUF files: lists of pieces, scores and kinds, numbered as in a tokenizer.model.
//
// Read by way of that message (sentencepiece_model.proto: ModelProto 1 pieces, 2 trainer_spec, 3 normalizer_spec), so
// that there is one place which knows what SentencePiece does; written from the "model.sentencepiece" of a
// tokenizer.json that was made of one.
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/bytes.h"
#include "data/tokenizer.h"
#include "model/gguf_sentencepiece.h"
#include "runtime/log.h"

enum { KIND_NORMAL = 1, KIND_UNKNOWN, KIND_CONTROL, KIND_USER, KIND_UNUSED, KIND_BYTE };

// ---- the message -------------------------------------------------------------------------------------------------

static void put_varint(dure_bytes *out, uint64_t value) {
  do {
    const uint8_t byte = (uint8_t)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
    dure_bytes_append(out, &byte, 1);
    value >>= 7;
  } while (value > 0);
}

static void put_number(dure_bytes *out, uint32_t field, uint64_t value) {
  put_varint(out, (uint64_t)field << 3);
  put_varint(out, value);
}

static void put_text(dure_bytes *out, uint32_t field, const char *text, size_t length) {
  put_varint(out, (uint64_t)field << 3 | 2);
  put_varint(out, length);
  dure_bytes_append(out, text, length);
}

static void put_piece(dure_bytes *out, dure_bytes *piece, const char *text, size_t length, float score, uint32_t kind) {
  uint32_t bits;
  memcpy(&bits, &score, sizeof(bits));
  const uint8_t little[5] = {2 << 3 | 5, (uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                             (uint8_t)(bits >> 24)};
  dure_bytes_clear(piece);
  put_text(piece, 1, text, length);
  dure_bytes_append(piece, little, sizeof(little));
  put_number(piece, 3, kind);
  put_text(out, 1, piece->data, piece->size);
}

static dure_status put_pieces(const dure_gguf *file, dure_bytes *out, bool *out_has_bytes) {
  const dure_gguf_value *tokens = dure_gguf_value_find(file, "tokenizer.ggml.tokens");
  const dure_gguf_value *scores = dure_gguf_value_find(file, "tokenizer.ggml.scores");
  const dure_gguf_value *kinds = dure_gguf_value_find(file, "tokenizer.ggml.token_type");
  const char *text;
  size_t length;
  if (tokens == NULL || tokens->element_kind != DURE_GGUF_TEXT || scores == NULL || kinds == NULL ||
      scores->count != tokens->count || kinds->count != tokens->count)
    return dure_fail(DURE_CORRUPT, "'%s' has no lists tokenizer.ggml.tokens, scores and token_type of one length",
                     dure_gguf_path(file));
  dure_gguf_texts texts = dure_gguf_texts_of(tokens);
  dure_bytes piece = {0};
  dure_status status = NULL;
  *out_has_bytes = false;
  for (uint64_t i = 0; status == NULL && dure_gguf_text_next(&texts, &text, &length); i++) {
    double score;
    int64_t kind;
    if (!dure_gguf_number(scores, i, &score) || !isfinite(score) || !dure_gguf_integer(kinds, i, &kind) ||
        kind < KIND_NORMAL || kind > KIND_BYTE) {
      status = dure_fail(DURE_CORRUPT, "'%s': token %" PRIu64 " has no score or no kind", dure_gguf_path(file), i);
      break;
    }
    *out_has_bytes = *out_has_bytes || kind == KIND_BYTE;
    // What no text becomes: as a control token, which SentencePiece's BPE knows too.
    put_piece(out, &piece, text, length, (float)score, kind == KIND_UNUSED ? KIND_CONTROL : (uint32_t)kind);
  }
  if (status == NULL) status = dure_bytes_status(&piece);
  dure_bytes_free(&piece);
  return status;
}

static bool truth_of(const dure_gguf *file, const char *key, bool fallback) {
  bool truth = fallback;
  return dure_gguf_boolean(dure_gguf_value_find(file, key), 0, &truth) ? truth : fallback;
}

static void put_rules(const dure_gguf *file, bool is_unigram, bool has_bytes, dure_bytes *out) {
  const dure_gguf_value *charsmap = dure_gguf_value_find(file, "tokenizer.ggml.precompiled_charsmap");
  dure_bytes part = {0};
  put_number(&part, 3, is_unigram ? 1 : 2);
  put_number(&part, 35, has_bytes);
  put_text(out, 2, part.data, part.size);
  dure_bytes_clear(&part);
  if (charsmap != NULL && charsmap->kind == DURE_GGUF_LIST &&
      (charsmap->element_kind == DURE_GGUF_U8 || charsmap->element_kind == DURE_GGUF_I8) && charsmap->count > 0)
    put_text(&part, 2, (const char *)charsmap->data, (size_t)charsmap->count);
  put_number(&part, 3, truth_of(file, "tokenizer.ggml.add_space_prefix", true));
  put_number(&part, 4, truth_of(file, "tokenizer.ggml.remove_extra_whitespaces", is_unigram));
  put_number(&part, 5, true);
  put_text(out, 3, part.data, part.size);
  if (part.is_failed) out->is_failed = true;
  dure_bytes_free(&part);
}

dure_status dure_gguf_sentencepiece(const dure_gguf *file, bool is_unigram, char **out_json, size_t *out_length) {
  dure_bytes message = {0};
  bool has_bytes = false;
  *out_json = NULL;
  *out_length = 0;
  dure_status status = put_pieces(file, &message, &has_bytes);
  if (status == NULL) put_rules(file, is_unigram, has_bytes, &message);
  if (status == NULL) status = dure_bytes_status(&message);
  if (status == NULL)
    status = dure_status_prefix(dure_sentencepiece_to_json(message.data, message.size, out_json, out_length), "'%s'",
                                dure_gguf_path(file));
  dure_bytes_free(&message);
  return status;
}

// ---- writing -----------------------------------------------------------------------------------------------------

typedef struct piece_lists {
  const char **texts;
  float *scores;
  uint32_t rows;
} piece_lists;

static dure_status place(const piece_lists *lists, json_int_t id, const char *text) {
  if (text == NULL || id < 0 || id >= (json_int_t)lists->rows)
    return dure_fail(DURE_CORRUPT, "tokenizer.json: the piece '%.60s' has no id below the model's %u rows",
                     text != NULL ? text : "", lists->rows);
  lists->texts[id] = text;
  return NULL;
}

static dure_status list_unigram(const json_t *vocabulary, const piece_lists *lists) {
  const json_t *row = NULL;
  size_t i;
  json_array_foreach(vocabulary, i, row) {
    DURE_TRY(place(lists, (json_int_t)i, json_string_value(json_array_get(row, 0))));
    lists->scores[i] = (float)json_number_value(json_array_get(row, 1));
  }
  return NULL;
}

// A merge's rank stands for the score of the piece that it makes: the first that makes it counts.
static dure_status list_bpe(const json_t *model, const piece_lists *lists) {
  const json_t *vocabulary = json_object_get(model, "vocab"), *merge = NULL;
  const char *text = NULL;
  json_t *id = NULL;
  size_t i;
  json_object_foreach((json_t *)(uintptr_t)vocabulary, text, id) {
    DURE_TRY(place(lists, json_is_integer(id) ? json_integer_value(id) : -1, text));
  }
  dure_bytes joined = {0};
  json_array_foreach(json_object_get(model, "merges"), i, merge) {
    dure_bytes_clear(&joined);
    for (size_t side = 0; side < 2; side++) {
      const char *part = json_string_value(json_array_get(merge, side));
      if (part != NULL) dure_bytes_append_text(&joined, part);
    }
    dure_bytes_append(&joined, "", 1);
    const json_t *made = joined.is_failed ? NULL : json_object_get(vocabulary, joined.data);
    if (json_is_integer(made) && lists->scores[json_integer_value(made)] == 0)
      lists->scores[json_integer_value(made)] = -(float)(i + 1);
  }
  dure_status status = dure_bytes_status(&joined);
  dure_bytes_free(&joined);
  return status;
}

static void write_lists(dure_gguf_writer *writer, const piece_lists *lists, const char *kinds) {
  const size_t count = strlen(kinds);
  dure_gguf_writer_list(writer, "tokenizer.ggml.tokens", DURE_GGUF_TEXT, lists->rows);
  for (uint32_t i = 0; i < lists->rows; i++) {
    char padding[32];
    snprintf(padding, sizeof(padding), "[PAD%u]", i);
    const char *text = lists->texts[i] != NULL ? lists->texts[i] : padding;
    dure_gguf_writer_text_element(writer, text, strlen(text));
  }
  dure_gguf_writer_list(writer, "tokenizer.ggml.scores", DURE_GGUF_F32, lists->rows);
  for (uint32_t i = 0; i < lists->rows; i++) dure_gguf_writer_f32_element(writer, lists->scores[i]);
  dure_gguf_writer_list(writer, "tokenizer.ggml.token_type", DURE_GGUF_I32, lists->rows);
  for (uint32_t i = 0; i < lists->rows; i++) {
    const bool is_known = lists->texts[i] != NULL && i < count && kinds[i] >= '1' && kinds[i] <= '6';
    dure_gguf_writer_i32_element(writer, is_known ? kinds[i] - '0' : KIND_UNUSED);
  }
}

dure_status dure_gguf_write_sentencepiece(dure_gguf_writer *writer, const json_t *model, uint32_t rows) {
  const json_t *rules = json_object_get(model, "sentencepiece");
  const char *type = json_string_value(json_object_get(model, "type"));
  const char *kinds = json_string_value(json_object_get(rules, "types"));
  const char *charsmap = json_string_value(json_object_get(rules, "precompiled_charsmap"));
  const bool is_unigram = type != NULL && strcmp(type, "Unigram") == 0;
  if (kinds == NULL) return dure_fail(DURE_CORRUPT, "tokenizer.json: \"model.sentencepiece\" has no \"types\"");
  piece_lists lists = {calloc(rows + 1u, sizeof(*lists.texts)), calloc(rows + 1u, sizeof(*lists.scores)), rows};
  dure_status status = NULL;
  if (lists.texts == NULL || lists.scores == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "no memory for %u tokens", rows);
  } else {
    status = is_unigram ? list_unigram(json_object_get(model, "vocab"), &lists) : list_bpe(model, &lists);
  }
  if (status == NULL) {
    const char *kind = is_unigram ? "t5" : "llama";
    dure_gguf_writer_text(writer, "tokenizer.ggml.model", kind, strlen(kind));
    write_lists(writer, &lists, kinds);
    dure_gguf_writer_boolean(writer, "tokenizer.ggml.add_space_prefix",
                             json_is_true(json_object_get(rules, "add_dummy_prefix")));
    dure_gguf_writer_boolean(writer, "tokenizer.ggml.remove_extra_whitespaces",
                             json_is_true(json_object_get(rules, "remove_extra_whitespaces")));
    if (charsmap != NULL && charsmap[0] != '\0')
      dure_log(DURE_LOG_WARNING, "the tokenizer's character map is written into its tokenizer.json alone");
  }
  free(lists.texts);
  free(lists.scores);
  return status;
}
