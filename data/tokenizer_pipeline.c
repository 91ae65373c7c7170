// The parts of a tokenizer.json around the model: what is done to the text before and to the ids after.
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_parts.h"

enum { nesting_limit = 8 };  // of a Sequence within a Sequence

// What splits punctuation: ASCII signs and Unicode's punctuation.
#define DURE_PUNCTUATION "[!-/:-@\\x5B-`{-~\\p{P}]"

dure_status dure_part_type(json_t *part, const char *where, const char **out_type) {
  *out_type = NULL;
  if (!json_is_object(part))
    return dure_fail(DURE_CORRUPT, "%s: expected an object with a \"type\", found %s", where, dure_json_kind(part));
  const json_t *type = json_object_get(part, "type");
  if (!json_is_string(type))
    return dure_fail(DURE_CORRUPT, "%s.type: expected a string, found %s", where, dure_json_kind(type));
  *out_type = json_string_value(type);
  return NULL;
}

dure_status dure_part_unsupported(const char *what, const char *type, const char *supported) {
  return dure_fail(DURE_UNSUPPORTED, "%s \"%.100s\" is not supported; supported: %s", what, type, supported);
}

dure_status dure_part_array(json_t *part, const char *where, const char *name, json_t **out_array) {
  DURE_TRY(dure_json_member(part, where, name, JSON_ARRAY, out_array));
  return *out_array != NULL ? NULL : dure_fail(DURE_CORRUPT, "%s.%s: expected an array, found nothing", where, name);
}

dure_status dure_part_pattern(json_t *part, const char *where, json_t **out_text, bool *out_is_literal) {
  json_t *pattern;
  *out_is_literal = false;
  *out_text = NULL;
  DURE_TRY(dure_json_member(part, where, "pattern", JSON_OBJECT, &pattern));
  if (pattern == NULL) return dure_fail(DURE_CORRUPT, "%s.pattern: expected an object, found nothing", where);
  DURE_TRY(dure_json_member(pattern, where, "Regex", JSON_STRING, out_text));
  if (*out_text != NULL) return NULL;
  *out_is_literal = true;
  DURE_TRY(dure_json_member(pattern, where, "String", JSON_STRING, out_text));
  if (*out_text != NULL) return NULL;
  return dure_fail(DURE_CORRUPT, "%s.pattern: expected \"Regex\" or \"String\", found neither", where);
}

// ---- pre_tokenizer ----

static dure_status read_behaviour(json_t *part, const char *where, dure_split fallback, dure_split *out_split) {
  static const char *const names[] = {
      [DURE_SPLIT_ISOLATED] = "Isolated",
      [DURE_SPLIT_REMOVED] = "Removed",
      [DURE_SPLIT_WITH_PREVIOUS] = "MergedWithPrevious",
      [DURE_SPLIT_WITH_NEXT] = "MergedWithNext",
      [DURE_SPLIT_CONTIGUOUS] = "Contiguous",
  };
  json_t *behaviour;
  *out_split = fallback;
  DURE_TRY(dure_json_member(part, where, "behavior", JSON_STRING, &behaviour));
  if (behaviour == NULL) return NULL;
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    if (strcmp(json_string_value(behaviour), names[i]) != 0) continue;
    *out_split = (dure_split)i;
    return NULL;
  }
  return dure_part_unsupported("the pre-tokenizer's behavior", json_string_value(behaviour),
                               "Isolated, Removed, MergedWithPrevious, MergedWithNext and Contiguous");
}

static dure_status read_split(dure_pretokenizer *pretokenizer, json_t *part) {
  const char *where = "pre_tokenizer(Split)";
  json_t *text;
  bool is_inverted = false, is_literal;
  dure_split split;
  DURE_TRY(dure_part_pattern(part, where, &text, &is_literal));
  DURE_TRY(read_behaviour(part, where, DURE_SPLIT_ISOLATED, &split));
  DURE_TRY(dure_json_bool(part, where, "invert", &is_inverted));
  return dure_pretokenizer_add_pattern(pretokenizer, json_string_value(text), json_string_length(text), is_literal,
                                       split, is_inverted);
}

static dure_status add_pattern(dure_pretokenizer *pretokenizer, const char *pattern, dure_split split) {
  return dure_pretokenizer_add_pattern(pretokenizer, pattern, strlen(pattern), false, split, false);
}

static dure_status read_byte_level(dure_pretokenizer *pretokenizer, json_t *part) {
  bool add_prefix_space = true, use_regex = true;
  DURE_TRY(dure_json_bool(part, "pre_tokenizer(ByteLevel)", "add_prefix_space", &add_prefix_space));
  DURE_TRY(dure_json_bool(part, "pre_tokenizer(ByteLevel)", "use_regex", &use_regex));
  if (add_prefix_space) DURE_TRY(dure_pretokenizer_add_prefix_space(pretokenizer));
  if (!use_regex) return NULL;
  return add_pattern(pretokenizer, DURE_GPT2_PATTERN, DURE_SPLIT_ISOLATED);
}

static dure_status read_digits(dure_pretokenizer *pretokenizer, json_t *part) {
  bool is_individual = false;
  DURE_TRY(dure_json_bool(part, "pre_tokenizer(Digits)", "individual_digits", &is_individual));
  return add_pattern(pretokenizer, is_individual ? "\\p{N}" : "\\p{N}+", DURE_SPLIT_ISOLATED);
}

static dure_status read_metaspace(dure_pretokenizer *pretokenizer, json_t *part) {
  const char *where = "pre_tokenizer(Metaspace)";
  json_t *replacement;
  bool is_splitting = true;
  dure_prepend prepend;
  DURE_TRY(dure_json_member(part, where, "replacement", JSON_STRING, &replacement));
  DURE_TRY(dure_json_bool(part, where, "split", &is_splitting));
  DURE_TRY(dure_part_prepend(part, where, &prepend));
  const char *mark = replacement != NULL ? json_string_value(replacement) : DURE_SPACE_MARK;
  return dure_status_prefix(dure_pretokenizer_add_metaspace(pretokenizer, mark, strlen(mark), prepend, is_splitting),
                            "%s.replacement", where);
}

static dure_status read_delimiter(dure_pretokenizer *pretokenizer, json_t *part) {
  json_t *delimiter;
  DURE_TRY(dure_json_member(part, "pre_tokenizer(CharDelimiterSplit)", "delimiter", JSON_STRING, &delimiter));
  if (delimiter == NULL || json_string_length(delimiter) == 0)
    return dure_fail(DURE_CORRUPT, "pre_tokenizer(CharDelimiterSplit).delimiter: expected a character, found none");
  return dure_pretokenizer_add_pattern(pretokenizer, json_string_value(delimiter), json_string_length(delimiter), true,
                                       DURE_SPLIT_REMOVED, false);
}

static dure_status read_punctuation(dure_pretokenizer *pretokenizer, json_t *part) {
  dure_split split;
  DURE_TRY(read_behaviour(part, "pre_tokenizer(Punctuation)", DURE_SPLIT_ISOLATED, &split));
  return add_pattern(pretokenizer, DURE_PUNCTUATION, split);
}

static dure_status read_whitespace(dure_pretokenizer *pretokenizer, json_t *part) {
  // Words of Unicode's Alphabetic, marks, decimal digits, connectors and joiners, or runs of what is neither they nor
  // white space; PCRE2 knows no Alphabetic, which has some symbols besides letters and letter numbers.
#define WORD                                                                                                         \
  "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}" \
  "\\x{1F170}-\\x{1F189}"
  static const char pattern[] = "[" WORD "]+|[^\\s" WORD "]+";
  (void)part;
  return dure_pretokenizer_add_pattern(pretokenizer, pattern, strlen(pattern), false, DURE_SPLIT_REMOVED, true);
#undef WORD
}

static dure_status read_whitespace_split(dure_pretokenizer *pretokenizer, json_t *part) {
  (void)part;
  return add_pattern(pretokenizer, "\\s", DURE_SPLIT_REMOVED);
}

static dure_status read_bert(dure_pretokenizer *pretokenizer, json_t *part) {
  (void)part;
  DURE_TRY(add_pattern(pretokenizer, "\\s", DURE_SPLIT_REMOVED));
  return add_pattern(pretokenizer, DURE_PUNCTUATION, DURE_SPLIT_ISOLATED);
}

static const struct {
  const char *type;
  dure_status (*read)(dure_pretokenizer *pretokenizer, json_t *part);
} pretokenizers[] = {
    {"ByteLevel", read_byte_level},
    {"Split", read_split},
    {"Digits", read_digits},
    {"Metaspace", read_metaspace},
    {"Punctuation", read_punctuation},
    {"Whitespace", read_whitespace},
    {"WhitespaceSplit", read_whitespace_split},
    {"BertPreTokenizer", read_bert},
    {"CharDelimiterSplit", read_delimiter},
};

// How far reading a Sequence has come.
typedef struct pretokenizer_reading {
  dure_pretokenizer *pretokenizer;
  bool has_byte_level;
  bool is_spelled;  // what follows ByteLevel sees the characters of bytes
} pretokenizer_reading;

static dure_status read_pretokenizer(pretokenizer_reading *reading, json_t *part, int depth) {
  const char *type;
  DURE_TRY(dure_part_type(part, "pre_tokenizer", &type));
  if (strcmp(type, "Sequence") == 0 && depth < nesting_limit) {
    json_t *parts, *one;
    size_t i;
    DURE_TRY(dure_part_array(part, "pre_tokenizer", "pretokenizers", &parts));
    json_array_foreach(parts, i, one) DURE_TRY(read_pretokenizer(reading, one, depth + 1));
    return NULL;
  }
  bool is_byte_level = strcmp(type, "ByteLevel") == 0;
  if (reading->has_byte_level && (is_byte_level || strcmp(type, "Metaspace") == 0)) {
    return dure_part_unsupported("pre_tokenizer after ByteLevel:", type,
                                 "those that cut text, such as Split, Digits and Punctuation");
  }
  if (reading->has_byte_level && !reading->is_spelled) {
    DURE_TRY(dure_pretokenizer_add_spelling(reading->pretokenizer, false));
    reading->is_spelled = true;
  }
  reading->has_byte_level = reading->has_byte_level || is_byte_level;
  for (size_t i = 0; i < sizeof(pretokenizers) / sizeof(pretokenizers[0]); i++) {
    if (strcmp(type, pretokenizers[i].type) == 0) return pretokenizers[i].read(reading->pretokenizer, part);
  }
  return dure_part_unsupported("pre_tokenizer", type,
                               "ByteLevel, Split, Digits, Metaspace, Punctuation, Whitespace, WhitespaceSplit, "
                               "BertPreTokenizer, CharDelimiterSplit and Sequence");
}

static bool has_byte_level_part(json_t *part, int depth) {
  const json_t *type = json_object_get(part, "type");
  if (json_is_string(type) && strcmp(json_string_value(type), "ByteLevel") == 0) return true;
  json_t *parts = json_object_get(part, "pretokenizers");
  for (size_t i = 0; i < json_array_size(parts) && depth < nesting_limit; i++) {
    if (has_byte_level_part(json_array_get(parts, i), depth + 1)) return true;
  }
  return false;
}

bool dure_tokenizer_has_byte_level(json_t *root) {
  return has_byte_level_part(json_object_get(root, "pre_tokenizer"), 0);
}

dure_status dure_part_prepend(json_t *part, const char *where, dure_prepend *out_prepend) {
  json_t *scheme;
  bool adds_prefix_space = true;
  *out_prepend = DURE_PREPEND_ALWAYS;
  DURE_TRY(dure_json_member(part, where, "prepend_scheme", JSON_STRING, &scheme));
  DURE_TRY(dure_json_bool(part, where, "add_prefix_space", &adds_prefix_space));  // files from before 2024
  const char *name = scheme != NULL ? json_string_value(scheme) : adds_prefix_space ? "always" : "never";
  if (strcmp(name, "always") == 0) return NULL;
  *out_prepend = strcmp(name, "first") == 0 ? DURE_PREPEND_FIRST : DURE_PREPEND_NEVER;
  if (*out_prepend == DURE_PREPEND_FIRST || strcmp(name, "never") == 0) return NULL;
  return dure_fail(DURE_UNSUPPORTED, "%s.prepend_scheme \"%.100s\" is not supported; supported: always, first, never",
                   where, name);
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
  DURE_TRY(dure_part_array(part, where, "single", &single));
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
  DURE_TRY(dure_part_type(part, "post_processor", &type));
  if (strcmp(type, "Sequence") == 0 && depth < nesting_limit) {
    json_t *parts, *one;
    size_t i;
    DURE_TRY(dure_part_array(part, "post_processor", "processors", &parts));
    json_array_foreach(parts, i, one) DURE_TRY(read_post_processor(tokenizer, one, depth + 1));
    return NULL;
  }
  if (strcmp(type, "ByteLevel") == 0) return NULL;  // it moves offsets only
  if (strcmp(type, "TemplateProcessing") == 0) return read_template(tokenizer, part);
  if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
    return read_cls_sep(tokenizer, part);
  return dure_part_unsupported("post_processor", type,
                               "ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing and Sequence");
}

// ---- all of it ----

// "truncation" and "padding" are for batches of other programs; text is never cut short here.
dure_status dure_tokenizer_read_pipeline(dure_tokenizer *tokenizer, json_t *root) {
  json_t *pretokenizer, *post_processor;
  DURE_TRY(dure_pretokenizer_create(&tokenizer->pretokenizer));
  pretokenizer_reading reading = {tokenizer->pretokenizer, false, false};
  DURE_TRY(dure_json_member(root, "tokenizer.json", "pre_tokenizer", JSON_OBJECT, &pretokenizer));
  DURE_TRY(dure_json_member(root, "tokenizer.json", "post_processor", JSON_OBJECT, &post_processor));
  if (pretokenizer != NULL && tokenizer->sentencepiece == NULL) DURE_TRY(read_pretokenizer(&reading, pretokenizer, 0));
  if (reading.is_spelled) DURE_TRY(dure_pretokenizer_add_spelling(tokenizer->pretokenizer, true));
  if (tokenizer->may_cut_before_marks && dure_pretokenizer_is_empty(tokenizer->pretokenizer))
    DURE_TRY(dure_pretokenizer_add_runs(tokenizer->pretokenizer, DURE_SPACE_MARK, strlen(DURE_SPACE_MARK)));
  return post_processor != NULL ? read_post_processor(tokenizer, post_processor, 0) : NULL;
}
