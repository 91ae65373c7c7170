// The parts of a tokenizer.json around the model: what is done to the text before and to the ids after.
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_parts.h"

enum { nesting_limit = 8 };  // of a Sequence within a Sequence

// The "type" of a part; refuses what is not an object with one.
static dure_status part_type(json_t *part, const char *where, const char **out_type) {
  *out_type = NULL;
  if (!json_is_object(part))
    return dure_fail(DURE_CORRUPT, "%s: expected an object with a \"type\", found %s", where, dure_json_kind(part));
  const json_t *type = json_object_get(part, "type");
  if (!json_is_string(type))
    return dure_fail(DURE_CORRUPT, "%s.type: expected a string, found %s", where, dure_json_kind(type));
  *out_type = json_string_value(type);
  return NULL;
}

static dure_status unsupported(const char *what, const char *type, const char *supported) {
  return dure_fail(DURE_UNSUPPORTED, "the %s \"%.100s\" is not supported; a byte-level tokenizer has %s", what, type,
                   supported);
}

// A member that must be an array.
static dure_status part_array(json_t *part, const char *where, const char *name, json_t **out_array) {
  DURE_TRY(dure_json_member(part, where, name, JSON_ARRAY, out_array));
  return *out_array != NULL ? NULL : dure_fail(DURE_CORRUPT, "%s.%s: expected an array, found nothing", where, name);
}

// ---- normalizer ----

static dure_status read_normalizer(dure_tokenizer *tokenizer, json_t *part, int depth) {
  static const char *const names[] = {NULL, "NFC", "NFD", "NFKC", "NFKD"};
  const char *type;
  DURE_TRY(part_type(part, "normalizer", &type));
  if (strcmp(type, "Sequence") == 0 && depth < nesting_limit) {
    json_t *parts, *one;
    size_t i;
    DURE_TRY(part_array(part, "normalizer", "normalizers", &parts));
    json_array_foreach(parts, i, one) DURE_TRY(read_normalizer(tokenizer, one, depth + 1));
    return NULL;
  }
  for (int form = 1; form < 5; form++) {
    if (strcmp(type, names[form]) != 0) continue;
    if (tokenizer->normalizer != DURE_NORMALIZER_NONE && tokenizer->normalizer != (dure_normalizer)form) {
      return dure_fail(DURE_UNSUPPORTED, "the normalizers %s and %s one after the other are not supported",
                       names[tokenizer->normalizer], type);
    }
    tokenizer->normalizer = (dure_normalizer)form;
    return NULL;
  }
  return unsupported("normalizer", type, "none or NFC, NFD, NFKC, NFKD");
}

// ---- pre_tokenizer ----

static dure_status read_split(dure_pretokenizer *pretokenizer, json_t *part) {
  json_t *pattern, *text, *behaviour;
  bool is_inverted = false;
  DURE_TRY(dure_json_member(part, "pre_tokenizer(Split)", "pattern", JSON_OBJECT, &pattern));
  if (pattern == NULL)
    return dure_fail(DURE_CORRUPT, "pre_tokenizer(Split).pattern: expected an object, found nothing");
  DURE_TRY(dure_json_member(pattern, "pre_tokenizer(Split).pattern", "Regex", JSON_STRING, &text));
  bool is_literal = text == NULL;
  if (is_literal) DURE_TRY(dure_json_member(pattern, "pre_tokenizer(Split).pattern", "String", JSON_STRING, &text));
  if (text == NULL)
    return dure_fail(DURE_CORRUPT, "pre_tokenizer(Split).pattern: expected \"Regex\" or \"String\", found neither");
  DURE_TRY(dure_json_member(part, "pre_tokenizer(Split)", "behavior", JSON_STRING, &behaviour));
  DURE_TRY(dure_json_bool(part, "pre_tokenizer(Split)", "invert", &is_inverted));
  const char *name = behaviour != NULL ? json_string_value(behaviour) : "nothing";
  bool is_isolated = strcmp(name, "Isolated") == 0;
  if (!is_isolated && strcmp(name, "Removed") != 0)
    return unsupported("pre-tokenizer Split's behavior", name, "Isolated or Removed");
  // Inverted, what lies between the matches counts as the match, and "Removed" drops that.
  return dure_pretokenizer_add_pattern(pretokenizer, json_string_value(text), json_string_length(text), is_literal,
                                       is_isolated || is_inverted, is_isolated || !is_inverted);
}

static dure_status read_byte_level(dure_pretokenizer *pretokenizer, json_t *part) {
  bool add_prefix_space = true, use_regex = true;
  DURE_TRY(dure_json_bool(part, "pre_tokenizer(ByteLevel)", "add_prefix_space", &add_prefix_space));
  DURE_TRY(dure_json_bool(part, "pre_tokenizer(ByteLevel)", "use_regex", &use_regex));
  if (add_prefix_space) DURE_TRY(dure_pretokenizer_add_prefix_space(pretokenizer));
  if (!use_regex) return NULL;
  return dure_pretokenizer_add_pattern(pretokenizer, DURE_GPT2_PATTERN, strlen(DURE_GPT2_PATTERN), false, true, true);
}

static dure_status read_digits(dure_pretokenizer *pretokenizer, json_t *part) {
  bool is_individual = false;
  DURE_TRY(dure_json_bool(part, "pre_tokenizer(Digits)", "individual_digits", &is_individual));
  const char *pattern = is_individual ? "\\p{N}" : "\\p{N}+";
  return dure_pretokenizer_add_pattern(pretokenizer, pattern, strlen(pattern), false, true, true);
}

static dure_status read_pretokenizer(dure_pretokenizer *pretokenizer, json_t *part, bool *has_byte_level, int depth) {
  const char *type;
  DURE_TRY(part_type(part, "pre_tokenizer", &type));
  if (strcmp(type, "Sequence") == 0 && depth < nesting_limit) {
    json_t *parts, *one;
    size_t i;
    DURE_TRY(part_array(part, "pre_tokenizer", "pretokenizers", &parts));
    json_array_foreach(parts, i, one) DURE_TRY(read_pretokenizer(pretokenizer, one, has_byte_level, depth + 1));
    return NULL;
  }
  if (*has_byte_level) {
    return dure_fail(DURE_UNSUPPORTED,
                     "the pre-tokenizer \"%.100s\" after ByteLevel is not supported; ByteLevel comes last", type);
  }
  if (strcmp(type, "ByteLevel") == 0) {
    *has_byte_level = true;
    return read_byte_level(pretokenizer, part);
  }
  if (strcmp(type, "Split") == 0) return read_split(pretokenizer, part);
  if (strcmp(type, "Digits") == 0) return read_digits(pretokenizer, part);
  return unsupported("pre-tokenizer", type, "ByteLevel, alone or in a Sequence after Split and Digits");
}

// ---- post_processor ----

static dure_status append_id(const dure_tokenizer *tokenizer, dure_ids *ids, const json_t *value, const char *where) {
  uint32_t id;
  DURE_TRY(dure_json_token_id(value, where, &id));
  if (id >= tokenizer->vocabulary_size || !(tokenizer->tokens[id].flags & DURE_TOKEN_USED)) {
    return dure_fail(DURE_CORRUPT, "%s: token id %u is not in the vocabulary (ids up to %u)", where, id,
                     tokenizer->vocabulary_size - 1);
  }
  DURE_TRY(dure_ids_reserve(ids, 1));
  ids->ids[ids->count++] = id;
  return NULL;
}

// {"single": [{"SpecialToken": {"id": NAME}}, {"Sequence": ...}], "special_tokens": {NAME: {"ids": [...]}}}
static dure_status read_template(dure_tokenizer *tokenizer, json_t *part) {
  const char *where = "post_processor(TemplateProcessing)";
  json_t *single, *specials, *piece;
  size_t i;
  bool is_after_text = false;
  DURE_TRY(part_array(part, where, "single", &single));
  DURE_TRY(dure_json_member(part, where, "special_tokens", JSON_OBJECT, &specials));
  json_array_foreach(single, i, piece) {
    json_t *special, *name, *row, *ids, *id;
    size_t k;
    if (json_object_get(piece, "Sequence") != NULL) {
      is_after_text = true;
      continue;
    }
    special = json_object_get(piece, "SpecialToken");
    name = json_object_get(special, "id");
    if (!json_is_string(name))
      return dure_fail(DURE_CORRUPT, "%s.single[%zu]: expected a SpecialToken with an id, or a Sequence", where, i);
    row = json_object_get(specials, json_string_value(name));
    ids = json_object_get(row, "ids");
    if (!json_is_array(ids)) {
      return dure_fail(DURE_CORRUPT, "%s.special_tokens: expected the ids of '%.100s', which \"single\" uses", where,
                       json_string_value(name));
    }
    json_array_foreach(ids, k, id)
        DURE_TRY(append_id(tokenizer, is_after_text ? &tokenizer->suffix : &tokenizer->prefix, id, where));
  }
  return NULL;
}

// {"cls": [TEXT, ID], "sep": [TEXT, ID]}
static dure_status read_cls_sep(dure_tokenizer *tokenizer, json_t *part) {
  DURE_TRY(append_id(tokenizer, &tokenizer->prefix, json_array_get(json_object_get(part, "cls"), 1),
                     "post_processor.cls[1]"));
  return append_id(tokenizer, &tokenizer->suffix, json_array_get(json_object_get(part, "sep"), 1),
                   "post_processor.sep[1]");
}

static dure_status read_post_processor(dure_tokenizer *tokenizer, json_t *part, int depth) {
  const char *type;
  DURE_TRY(part_type(part, "post_processor", &type));
  if (strcmp(type, "Sequence") == 0 && depth < nesting_limit) {
    json_t *parts, *one;
    size_t i;
    DURE_TRY(part_array(part, "post_processor", "processors", &parts));
    json_array_foreach(parts, i, one) DURE_TRY(read_post_processor(tokenizer, one, depth + 1));
    return NULL;
  }
  if (strcmp(type, "ByteLevel") == 0) return NULL;  // it moves offsets only
  if (strcmp(type, "TemplateProcessing") == 0) return read_template(tokenizer, part);
  if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
    return read_cls_sep(tokenizer, part);
  return unsupported("post-processor", type, "none, ByteLevel or TemplateProcessing");
}

// ---- decoder ----

static dure_status read_decoder(json_t *part, int depth) {
  const char *type;
  DURE_TRY(part_type(part, "decoder", &type));
  if (strcmp(type, "Sequence") == 0 && depth < nesting_limit) {
    json_t *parts, *one;
    size_t i;
    DURE_TRY(part_array(part, "decoder", "decoders", &parts));
    json_array_foreach(parts, i, one) DURE_TRY(read_decoder(one, depth + 1));
    return NULL;
  }
  if (strcmp(type, "ByteLevel") == 0 || strcmp(type, "Fuse") == 0) return NULL;
  return unsupported("decoder", type, "ByteLevel");
}

dure_status dure_tokenizer_read_normalizer(dure_tokenizer *tokenizer, json_t *root) {
  json_t *normalizer;
  DURE_TRY(dure_json_member(root, "tokenizer.json", "normalizer", JSON_OBJECT, &normalizer));
  return normalizer != NULL ? read_normalizer(tokenizer, normalizer, 0) : NULL;
}

// "truncation" and "padding" are for batches of other programs; text is never cut short here.
dure_status dure_tokenizer_read_pipeline(dure_tokenizer *tokenizer, json_t *root) {
  json_t *pretokenizer, *post_processor, *decoder;
  bool has_byte_level = false;
  DURE_TRY(dure_pretokenizer_create(&tokenizer->pretokenizer));
  DURE_TRY(dure_json_member(root, "tokenizer.json", "pre_tokenizer", JSON_OBJECT, &pretokenizer));
  DURE_TRY(dure_json_member(root, "tokenizer.json", "post_processor", JSON_OBJECT, &post_processor));
  DURE_TRY(dure_json_member(root, "tokenizer.json", "decoder", JSON_OBJECT, &decoder));
  if (pretokenizer != NULL) DURE_TRY(read_pretokenizer(tokenizer->pretokenizer, pretokenizer, &has_byte_level, 0));
  if (!has_byte_level) {
    return dure_fail(DURE_UNSUPPORTED,
                     "the tokenizer has no ByteLevel pre-tokenizer; only byte-level BPE is supported");
  }
  if (post_processor != NULL) DURE_TRY(read_post_processor(tokenizer, post_processor, 0));
  return decoder != NULL ? read_decoder(decoder, 0) : NULL;
}
