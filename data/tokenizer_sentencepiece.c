// SentencePiece's own rules for white space and characters.
//
// Kudo and Richardson, "SentencePiece: A simple and language independent subword tokenizer and detokenizer for Neural
// Text Processing" (2018), section 3.2. The longest string of the character map at a place is replaced; user-defined
// symbols are passed over; spaces at the ends and beyond the first of a run may go; a space is put before the text; a
// space is written as U+2581.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_bytes.h"
#include "data/tokenizer_parts.h"

void dure_sentencepiece_destroy(dure_sentencepiece *sentencepiece) {
  if (sentencepiece == NULL) return;
  dure_charsmap_free(&sentencepiece->charsmap);
  dure_added_set_free(&sentencepiece->user_defined);
  free(sentencepiece);
}

// ---- text ----

// What the next bytes of the text become: `length` bytes at `bytes`, or the text's own.
typedef struct replaced {
  const char *bytes;
  size_t length, taken;
} replaced;

static replaced replace_prefix(const dure_sentencepiece *sentencepiece, const dure_piece *text, size_t at) {
  const char *bytes = text->bytes + at;
  size_t left = text->length - at;
  replaced next = {bytes, 0, 0};
  const dure_added_token *symbol = dure_added_set_longest(&sentencepiece->user_defined, bytes, left);
  if (symbol != NULL) return (replaced){bytes, symbol->length, symbol->length};
  next.taken = dure_charsmap_find(&sentencepiece->charsmap, bytes, left, true, &next.bytes, &next.length);
  if (next.taken > 0) return next;
  size_t size = dure_utf8_character(bytes, left, NULL);
  return size > 0 ? (replaced){bytes, size, size} : (replaced){"\xEF\xBF\xBD", 3, 1};
}

static dure_status put_spaced(const dure_sentencepiece *sentencepiece, dure_aligned *out, const char *bytes,
                              size_t length, dure_span span) {
  for (size_t at = 0; at < length && sentencepiece->escapes_spaces;) {
    const char *space = memchr(bytes + at, ' ', length - at);
    if (space == NULL) return dure_aligned_put(out, bytes + at, length - at, span);
    size_t end = (size_t)(space - bytes);
    DURE_TRY(dure_aligned_put(out, bytes + at, end - at, span));
    DURE_TRY(dure_aligned_put(out, DURE_SPACE_MARK, strlen(DURE_SPACE_MARK), span));
    at = end + 1;
  }
  return sentencepiece->escapes_spaces ? NULL : dure_aligned_put(out, bytes, length, span);
}

static bool ends_with(const dure_aligned *out, const char *mark) {
  size_t length = strlen(mark);
  return out->length >= length && memcmp(out->bytes + out->length - length, mark, length) == 0;
}

dure_status dure_sentencepiece_normalize(const dure_sentencepiece *sentencepiece, const dure_piece *text,
                                         dure_aligned *out) {
  size_t at = 0;
  bool removes = sentencepiece->removes_extra_spaces, after_space = removes;
  const char *mark = sentencepiece->escapes_spaces ? DURE_SPACE_MARK : " ";
  while (removes && at < text->length) {
    replaced next = replace_prefix(sentencepiece, text, at);
    if (next.length != 1 || next.bytes[0] != ' ') break;
    at += next.taken;
  }
  if (at == text->length) return NULL;
  if (sentencepiece->adds_dummy_prefix && !sentencepiece->space_is_suffix)
    DURE_TRY(dure_aligned_put(out, mark, strlen(mark), dure_piece_span(text, at, at)));
  while (at < text->length) {
    replaced next = replace_prefix(sentencepiece, text, at);
    dure_span span = dure_piece_span(text, at, at + next.taken);
    at += next.taken;
    while (after_space && next.length > 0 && next.bytes[0] == ' ') {
      next.bytes++;
      next.length--;
    }
    if (next.length == 0) continue;
    DURE_TRY(put_spaced(sentencepiece, out, next.bytes, next.length, span));
    after_space = removes && next.bytes[next.length - 1] == ' ';
  }
  while (removes && ends_with(out, mark)) out->length -= strlen(mark);
  if (sentencepiece->adds_dummy_prefix && sentencepiece->space_is_suffix)
    return dure_aligned_put(out, mark, strlen(mark), dure_piece_span(text, text->length, text->length));
  return NULL;
}

// ---- reading ----

// "types": a digit for each id, as in the protobuf (1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte).
static dure_status read_types(dure_tokenizer *tokenizer, const char *types, size_t count) {
  dure_added_token *symbols = calloc(count + 1, sizeof(*symbols));
  uint32_t symbol_count = 0;
  if (symbols == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu tokens", count);
  for (uint32_t id = 0; id < count; id++) {
    dure_token *token = &tokenizer->tokens[id];
    if (types[id] == '4' && token->length > 0) {
      token->flags |= DURE_TOKEN_USER;
      symbols[symbol_count++] = (dure_added_token){token->bytes, token->length, id, false, false, false, false};
      // What `sentencepiece` 0.2.3 takes for it, whatever score the file has: the longer one wins.
      if (tokenizer->is_unigram) tokenizer->scores[id] = (double)(float)(0.1 * (double)token->length - 0.1);
    } else if (types[id] != '1' && types[id] != '4') {
      token->flags &= ~(uint32_t)DURE_TOKEN_MODEL;
    }
  }
  return dure_added_set_create(symbols, symbol_count, &tokenizer->sentencepiece->user_defined);
}

dure_status dure_tokenizer_read_sentencepiece(dure_tokenizer *tokenizer, json_t *model) {
  const char *where = "model.sentencepiece";
  json_t *part, *map, *types, *unknown;
  DURE_TRY(dure_json_member(model, "model", "sentencepiece", JSON_OBJECT, &part));
  if (part == NULL) return NULL;
  if (tokenizer->is_byte_level)
    return dure_fail(DURE_UNSUPPORTED, "%s is not supported with pre_tokenizer ByteLevel", where);
  dure_sentencepiece *sentencepiece = calloc(1, sizeof(*sentencepiece));
  if (sentencepiece == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a tokenizer");
  tokenizer->sentencepiece = sentencepiece;
  sentencepiece->adds_dummy_prefix = sentencepiece->removes_extra_spaces = sentencepiece->escapes_spaces = true;
  DURE_TRY(dure_json_bool(part, where, "add_dummy_prefix", &sentencepiece->adds_dummy_prefix));
  DURE_TRY(dure_json_bool(part, where, "remove_extra_whitespaces", &sentencepiece->removes_extra_spaces));
  DURE_TRY(dure_json_bool(part, where, "escape_whitespaces", &sentencepiece->escapes_spaces));
  DURE_TRY(dure_json_bool(part, where, "treat_whitespace_as_suffix", &sentencepiece->space_is_suffix));
  DURE_TRY(dure_json_member(part, where, "precompiled_charsmap", JSON_STRING, &map));
  DURE_TRY(dure_json_member(part, where, "types", JSON_STRING, &types));
  DURE_TRY(dure_json_member(part, where, "unk_surface", JSON_STRING, &unknown));
  snprintf(sentencepiece->unknown_text, sizeof(sentencepiece->unknown_text), "%s",
           unknown != NULL ? json_string_value(unknown) : " \xE2\x81\x87 ");
  if (map != NULL) {
    DURE_TRY(dure_charsmap_parse_base64(json_string_value(map), json_string_length(map),
                                        "model.sentencepiece.precompiled_charsmap", &sentencepiece->charsmap));
  }
  if (json_string_length(types) > tokenizer->vocabulary_size) {
    return dure_fail(DURE_CORRUPT, "%s.types: %zu types for %u tokens", where, json_string_length(types),
                     tokenizer->vocabulary_size);
  }
  return types != NULL ? read_types(tokenizer, json_string_value(types), json_string_length(types)) : NULL;
}
