// The "decoder" of a tokenizer.json: what each token becomes by itself is worked out once; what concerns the ends of
// the text is left to decoding.
#include <stdlib.h>
#include <string.h>

#include "data/bytes.h"
#include "data/tokenizer_bytes.h"
#include "data/tokenizer_parts.h"

enum { nesting_limit = 8, step_limit = 16 };

typedef enum step_kind { STEP_REPLACE, STEP_BYTES, STEP_STRIP } step_kind;

// What is done to each token.
typedef struct step {
  step_kind kind;
  const char *from, *to;  // STEP_STRIP: `from` is the character
  size_t from_length, to_length;
  size_t left, right;
} step;

typedef struct chain {
  dure_tokenizer *tokenizer;
  step steps[step_limit];
  size_t count;
} chain;

int dure_byte_token_value(const char *text, size_t length) {
  static const char digits[] = "0123456789ABCDEF";
  if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
  const char *high = text[3] != '\0' ? strchr(digits, text[3]) : NULL;
  const char *low = text[4] != '\0' ? strchr(digits, text[4]) : NULL;
  return high != NULL && low != NULL ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

static dure_status add_step(chain *c, step added) {
  if (c->count == step_limit) return dure_fail(DURE_UNSUPPORTED, "a decoder of more than %d steps", step_limit);
  c->steps[c->count++] = added;
  return NULL;
}

static dure_status read_replace(chain *c, json_t *part) {
  json_t *pattern, *from, *content;
  DURE_TRY(dure_json_member(part, "decoder(Replace)", "pattern", JSON_OBJECT, &pattern));
  DURE_TRY(dure_json_member(part, "decoder(Replace)", "content", JSON_STRING, &content));
  from = json_object_get(pattern, "String");
  if (!json_is_string(from) || json_string_length(from) == 0)
    return dure_fail(DURE_UNSUPPORTED, "decoder(Replace).pattern: expected {\"String\": TEXT}, found something else");
  if (content == NULL) return dure_fail(DURE_CORRUPT, "decoder(Replace).content: expected a string, found nothing");
  if (c->tokenizer->decoder.is_fused)
    return dure_fail(DURE_UNSUPPORTED, "decoder(Replace) after Fuse is not supported; before it, it is");
  return add_step(c, (step){STEP_REPLACE, json_string_value(from), json_string_value(content), json_string_length(from),
                            json_string_length(content), 0, 0});
}

static dure_status read_strip(chain *c, json_t *part) {
  dure_decoder *decoder = &c->tokenizer->decoder;
  json_t *content, *start, *stop;
  DURE_TRY(dure_json_member(part, "decoder(Strip)", "content", JSON_STRING, &content));
  DURE_TRY(dure_json_member(part, "decoder(Strip)", "start", JSON_INTEGER, &start));
  DURE_TRY(dure_json_member(part, "decoder(Strip)", "stop", JSON_INTEGER, &stop));
  size_t length = json_string_length(content);
  json_int_t left = json_integer_value(start), right = json_integer_value(stop);
  if (length == 0 || dure_utf8_character(json_string_value(content), length, NULL) != length || left < 0 || right < 0)
    return dure_fail(DURE_CORRUPT,
                     "decoder(Strip): expected a character in \"content\" and counts in \"start\" and "
                     "\"stop\"");
  if (!decoder->is_fused) {
    return add_step(c, (step){STEP_STRIP, json_string_value(content), NULL, length, 0, (size_t)left, (size_t)right});
  }
  if (decoder->strip_length > 0) return dure_fail(DURE_UNSUPPORTED, "decoder(Strip) twice after Fuse is not supported");
  memcpy(decoder->strip, json_string_value(content), length);
  decoder->strip_length = length;
  decoder->strip_left = (size_t)left;
  decoder->strip_right = (size_t)right;
  return NULL;
}

static dure_status read_metaspace(chain *c, json_t *part) {
  dure_decoder *decoder = &c->tokenizer->decoder;
  json_t *replacement;
  dure_prepend prepend;
  DURE_TRY(dure_json_member(part, "decoder(Metaspace)", "replacement", JSON_STRING, &replacement));
  DURE_TRY(dure_part_prepend(part, "decoder(Metaspace)", &prepend));
  const char *mark = replacement != NULL ? json_string_value(replacement) : DURE_SPACE_MARK;
  size_t length = strlen(mark);
  if (length == 0 || dure_utf8_character(mark, length, NULL) != length)
    return dure_fail(DURE_UNSUPPORTED, "decoder(Metaspace).replacement: expected one character, found %zu bytes",
                     length);
  if (decoder->is_fused || c->count > 0)
    return dure_fail(DURE_UNSUPPORTED, "decoder(Metaspace) after other steps is not supported; it comes first");
  if (prepend != DURE_PREPEND_NEVER) {
    memcpy(decoder->metaspace, mark, length);
    decoder->metaspace_length = length;
  }
  return add_step(c, (step){STEP_REPLACE, replacement != NULL ? mark : DURE_SPACE_MARK, " ", length, 1, 0, 0});
}

static dure_status read_decoder(chain *c, json_t *part, int depth) {
  const char *type;
  DURE_TRY(dure_part_type(part, "decoder", &type));
  if (strcmp(type, "Sequence") == 0 && depth < nesting_limit) {
    json_t *parts, *one;
    size_t i;
    DURE_TRY(dure_part_array(part, "decoder", "decoders", &parts));
    json_array_foreach(parts, i, one) DURE_TRY(read_decoder(c, one, depth + 1));
    return NULL;
  }
  bool is_byte_level = c->tokenizer->is_byte_level;
  if (strcmp(type, "Fuse") == 0) {
    c->tokenizer->decoder.is_fused = true;
    return NULL;
  }
  if (strcmp(type, "ByteLevel") == 0 && is_byte_level) return NULL;  // its tokens are bytes already
  if (is_byte_level)
    return dure_part_unsupported("decoder of a byte-level model", type, "ByteLevel, Fuse and Sequence");
  if (strcmp(type, "Replace") == 0) return read_replace(c, part);
  if (strcmp(type, "ByteFallback") == 0) return add_step(c, (step){.kind = STEP_BYTES});
  if (strcmp(type, "Strip") == 0) return read_strip(c, part);
  if (strcmp(type, "Metaspace") == 0) return read_metaspace(c, part);
  return dure_part_unsupported("decoder", type,
                               "ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace and Sequence");
}

// ---- each token ----

static void replace(dure_bytes *text, const step *s, dure_bytes *spare) {
  dure_bytes_clear(spare);
  for (size_t at = 0; at < text->size;) {
    bool is_match = at + s->from_length <= text->size && memcmp(text->data + at, s->from, s->from_length) == 0;
    dure_bytes_append(spare, is_match ? s->to : text->data + at, is_match ? s->to_length : 1);
    at += is_match ? s->from_length : 1;
  }
  dure_bytes held = *text;
  *text = *spare;
  *spare = held;
}

static void strip(dure_bytes *text, const step *s) {
  size_t start = 0, end = text->size, size = s->from_length;
  for (size_t i = 0; i < s->left && end - start >= size && memcmp(text->data + start, s->from, size) == 0; i++)
    start += size;
  for (size_t i = 0; i < s->right && end - start >= size && memcmp(text->data + end - size, s->from, size) == 0; i++)
    end -= size;
  if (end > start) memmove(text->data, text->data + start, end - start);
  text->size = end - start;
}

static dure_status decode_token(chain *c, uint32_t id, dure_bytes *text, dure_bytes *spare) {
  const dure_token *token = &c->tokenizer->tokens[id];
  const dure_sentencepiece *sentencepiece = c->tokenizer->sentencepiece;
  dure_bytes_clear(text);
  if (sentencepiece != NULL && id == c->tokenizer->unknown_id) {
    dure_bytes_append_text(text, sentencepiece->unknown_text);
  } else {
    dure_bytes_append(text, token->bytes, token->length);
  }
  for (size_t i = 0; i < c->count && !text->is_failed; i++) {
    const step *s = &c->steps[i];
    int byte = s->kind == STEP_BYTES ? dure_byte_token_value(text->data, text->size) : -1;
    if (byte >= 0) {
      char one = (char)byte;
      dure_bytes_clear(text);
      dure_bytes_append(text, &one, 1);
    }
    if (s->kind == STEP_REPLACE) replace(text, s, spare);
    if (s->kind == STEP_STRIP) strip(text, s);
  }
  DURE_TRY(dure_bytes_status(text));
  if (text->size == token->length && (text->size == 0 || memcmp(text->data, token->bytes, text->size) == 0))
    return NULL;
  uint32_t length = (uint32_t)text->size;
  char *decoded = malloc(sizeof(length) + length);
  if (decoded == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a token of %u bytes", length);
  memcpy(decoded, &length, sizeof(length));
  if (length > 0) memcpy(decoded + sizeof(length), text->data, length);
  c->tokenizer->decoded[id] = decoded;
  return NULL;
}

static dure_status decode_tokens(chain *c) {
  dure_tokenizer *tokenizer = c->tokenizer;
  if (c->count == 0) return NULL;
  tokenizer->decoded = calloc(tokenizer->vocabulary_size, sizeof(char *));
  if (tokenizer->decoded == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a vocabulary of %u tokens", tokenizer->vocabulary_size);
  dure_bytes text = {0}, spare = {0};
  dure_status status = NULL;
  for (uint32_t id = 0; id < tokenizer->vocabulary_size && status == NULL; id++) {
    if (tokenizer->tokens[id].flags & DURE_TOKEN_USED) status = decode_token(c, id, &text, &spare);
  }
  dure_bytes_free(&text);
  dure_bytes_free(&spare);
  return status;
}

void dure_tokenizer_text_of(const dure_tokenizer *tokenizer, uint32_t id, const char **out_bytes, size_t *out_length) {
  const dure_token *token = &tokenizer->tokens[id];
  const char *decoded = tokenizer->decoded != NULL ? tokenizer->decoded[id] : NULL;
  uint32_t length = token->length;
  if (decoded != NULL) memcpy(&length, decoded, sizeof(length));
  *out_bytes = decoded != NULL ? decoded + sizeof(length) : token->bytes;
  *out_length = length;
}

// SentencePiece's: marks are spaces, and the one before the text goes with whatever put it there.
static dure_status sentencepiece_chain(chain *c) {
  const dure_sentencepiece *sentencepiece = c->tokenizer->sentencepiece;
  dure_decoder *decoder = &c->tokenizer->decoder;
  DURE_TRY(add_step(c, (step){.kind = STEP_BYTES}));
  decoder->drops_first_mark = sentencepiece->adds_dummy_prefix || sentencepiece->removes_extra_spaces;
  decoder->drops_all_first = sentencepiece->removes_extra_spaces;
  size_t mark_length = strlen(DURE_SPACE_MARK);
  return add_step(c, (step){STEP_REPLACE, DURE_SPACE_MARK, " ", mark_length, 1, 0, 0});
}

dure_status dure_tokenizer_read_decoder(dure_tokenizer *tokenizer, json_t *root) {
  json_t *decoder;
  chain c = {.tokenizer = tokenizer};
  DURE_TRY(dure_json_member(root, "tokenizer.json", "decoder", JSON_OBJECT, &decoder));
  if (tokenizer->sentencepiece != NULL) {
    DURE_TRY(sentencepiece_chain(&c));
  } else if (decoder != NULL) {
    DURE_TRY(read_decoder(&c, decoder, 0));
  } else {
    tokenizer->decoder.joins_with_spaces = !tokenizer->is_byte_level;
  }
  return decode_tokens(&c);
}
