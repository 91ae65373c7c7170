// The "normalizer" of a tokenizer.json.
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_parts.h"

enum { nesting_limit = 8 };  // of a Sequence within a Sequence

static dure_status copy_content(dure_normalizer_step *step, const json_t *text) {
  step->content_length = json_string_length(text);
  step->content = malloc(step->content_length + 1);
  if (step->content == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a normalizer of %zu bytes", step->content_length);
  memcpy(step->content, json_string_value(text), step->content_length + 1);
  return NULL;
}

static dure_status read_prepend(json_t *part, dure_normalizer_step *step) {
  json_t *text;
  DURE_TRY(dure_json_member(part, "normalizer(Prepend)", "prepend", JSON_STRING, &text));
  if (text == NULL) return dure_fail(DURE_CORRUPT, "normalizer(Prepend).prepend: expected a string, found nothing");
  return copy_content(step, text);
}

static dure_status read_replace(json_t *part, dure_normalizer_step *step) {
  json_t *text, *content;
  bool is_literal;
  DURE_TRY(dure_part_pattern(part, "normalizer(Replace)", &text, &is_literal));
  DURE_TRY(dure_json_member(part, "normalizer(Replace)", "content", JSON_STRING, &content));
  if (content == NULL) return dure_fail(DURE_CORRUPT, "normalizer(Replace).content: expected a string, found nothing");
  DURE_TRY(dure_pattern_create(json_string_value(text), json_string_length(text), is_literal, &step->pattern));
  return copy_content(step, content);
}

static dure_status read_strip(json_t *part, dure_normalizer_step *step) {
  step->strips_left = step->strips_right = true;
  DURE_TRY(dure_json_bool(part, "normalizer(Strip)", "strip_left", &step->strips_left));
  return dure_json_bool(part, "normalizer(Strip)", "strip_right", &step->strips_right);
}

static dure_status read_precompiled(json_t *part, dure_normalizer_step *step) {
  const char *where = "normalizer(Precompiled).precompiled_charsmap";
  json_t *map;
  DURE_TRY(dure_json_member(part, "normalizer(Precompiled)", "precompiled_charsmap", JSON_STRING, &map));
  if (map == NULL) return NULL;
  return dure_charsmap_parse_base64(json_string_value(map), json_string_length(map), where, &step->charsmap);
}

static const struct {
  const char *type;
  dure_normalizer_kind kind;
  dure_status (*read)(json_t *part, dure_normalizer_step *step);
} kinds[] = {
    {"NFC", DURE_NORMALIZER_NFC, NULL},
    {"NFD", DURE_NORMALIZER_NFD, NULL},
    {"NFKC", DURE_NORMALIZER_NFKC, NULL},
    {"NFKD", DURE_NORMALIZER_NFKD, NULL},
    {"Lowercase", DURE_NORMALIZER_LOWERCASE, NULL},
    {"StripAccents", DURE_NORMALIZER_STRIP_ACCENTS, NULL},
    {"Nmt", DURE_NORMALIZER_NMT, NULL},
    {"Strip", DURE_NORMALIZER_STRIP, read_strip},
    {"Prepend", DURE_NORMALIZER_PREPEND, read_prepend},
    {"Replace", DURE_NORMALIZER_REPLACE, read_replace},
    {"Precompiled", DURE_NORMALIZER_PRECOMPILED, read_precompiled},
};

static dure_status read_one(dure_tokenizer *tokenizer, json_t *part, int depth) {
  const char *type;
  DURE_TRY(dure_part_type(part, "normalizer", &type));
  if (strcmp(type, "Sequence") == 0 && depth < nesting_limit) {
    json_t *parts, *one;
    size_t i;
    DURE_TRY(dure_part_array(part, "normalizer", "normalizers", &parts));
    json_array_foreach(parts, i, one) DURE_TRY(read_one(tokenizer, one, depth + 1));
    return NULL;
  }
  for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
    if (strcmp(type, kinds[i].type) != 0) continue;
    dure_normalizer_step step = {.kind = kinds[i].kind};
    dure_status status = kinds[i].read != NULL ? kinds[i].read(part, &step) : NULL;
    return dure_status_join(status, dure_normalizer_add(&tokenizer->normalizer, step));
  }
  return dure_part_unsupported("normalizer", type,
                               "NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Nmt, Prepend, Replace, "
                               "Precompiled and Sequence");
}

dure_status dure_tokenizer_read_normalizer(dure_tokenizer *tokenizer, json_t *root) {
  json_t *normalizer;
  DURE_TRY(dure_json_member(root, "tokenizer.json", "normalizer", JSON_OBJECT, &normalizer));
  bool is_sentencepiece = json_is_object(json_object_get(json_object_get(root, "model"), "sentencepiece"));
  return normalizer != NULL && !is_sentencepiece ? read_one(tokenizer, normalizer, 0) : NULL;
}
