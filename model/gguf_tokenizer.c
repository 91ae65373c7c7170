// The byte-level BPE tokenizers of GGUF files as tokenizer.json, and back.
//
// GGUF lists tokens with a kind each, and the merges; how text is cut before merging is a name ("tokenizer.ggml.pre"),
// whose regular expressions are in the table below.
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/pretokenize.h"
#include "data/tokenizer_bytes.h"
#include "model/gguf_sentencepiece.h"
#include "model/weights.h"
#include "runtime/log.h"
#include "runtime/nearest.h"

enum { PATTERNS_MOST = 4 };
enum { KIND_NORMAL = 1, KIND_UNKNOWN = 2, KIND_CONTROL = 3, KIND_USER = 4, KIND_UNUSED = 5, KIND_BYTE = 6 };

typedef struct pre_tokenizer {
  const char *name;  // of tokenizer.ggml.pre
  const char *patterns[PATTERNS_MOST];
  bool is_normalized;   // to NFC
  bool ignores_merges;  // words of the vocabulary are taken whole
  bool adds_beginning;  // where the file does not say
} pre_tokenizer;

#define WORDS_AND_DIGITS(digits)                                             \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits \
  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define DEEPSEEK_WORDS                                                                                                 \
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]" \
  "+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

// The first row with the same patterns is the name that writing gives.
static const pre_tokenizer pre_tokenizers[] = {
    {"gpt-2", {DURE_GPT2_PATTERN}, false, false, false},
    {"llama-bpe", {WORDS_AND_DIGITS("{1,3}")}, false, true, true},
    {"qwen2", {WORDS_AND_DIGITS("")}, true, false, false},
    {"smollm", {"\\p{N}", DURE_GPT2_PATTERN}, false, false, false},
    {"falcon", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", DURE_GPT2_PATTERN, "[0-9][0-9][0-9]"}, false, false, false},
    {"bloom", {" ?[^(\\s|.,!?…。，、।۔،)]+"}, false, false, false},
    {"deepseek-v3", {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK_WORDS}, false, false, true},
    // Others that are the same.
    {"mpt", {DURE_GPT2_PATTERN}, false, false, false},
    {"olmo", {DURE_GPT2_PATTERN}, false, false, false},
    {"phi-2", {DURE_GPT2_PATTERN}, false, false, false},
    {"jais", {DURE_GPT2_PATTERN}, false, false, false},
    {"trillion", {DURE_GPT2_PATTERN}, false, false, false},
    {"llama3", {WORDS_AND_DIGITS("{1,3}")}, false, true, true},
    {"llama-v3", {WORDS_AND_DIGITS("{1,3}")}, false, true, true},
    {"dbrx", {WORDS_AND_DIGITS("{1,3}")}, false, false, false},
    {"smaug-bpe", {WORDS_AND_DIGITS("{1,3}")}, false, false, false},
    {"stablelm2", {WORDS_AND_DIGITS("")}, false, false, false},
    {"deepseek-r1-qwen", {WORDS_AND_DIGITS("")}, true, false, true},
    {"starcoder", {"\\p{N}", DURE_GPT2_PATTERN}, false, false, false},
    {"refact", {"\\p{N}", DURE_GPT2_PATTERN}, false, false, false},
    {"command-r", {"\\p{N}", DURE_GPT2_PATTERN}, true, false, false},
    {"exaone", {"\\p{N}", DURE_GPT2_PATTERN}, false, false, false},
    {"poro-chat", {" ?[^(\\s|.,!?…。，、।۔،)]+"}, false, false, false},
    {"gpt3-finnish", {" ?[^(\\s|.,!?…。，、।۔،)]+"}, false, false, false},
    // Files from before the name existed.
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", DURE_GPT2_PATTERN, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false, false},
};
enum { pre_count = sizeof(pre_tokenizers) / sizeof(pre_tokenizers[0]) };

static dure_status find_pre(const dure_gguf *file, const pre_tokenizer **out_pre) {
  const char *text;
  size_t length;
  *out_pre = &pre_tokenizers[pre_count - 1];
  if (!dure_gguf_text(dure_gguf_value_find(file, "tokenizer.ggml.pre"), &text, &length)) {
    dure_log(DURE_LOG_WARNING, "'%s' does not say how its tokenizer cuts text (tokenizer.ggml.pre); words may differ",
             dure_gguf_path(file));
    return NULL;
  }
  const char *names[pre_count];
  char name[64];
  snprintf(name, sizeof(name), "%.*s", (int)(length < 63 ? length : 63), text);
  for (size_t i = 0; i < pre_count; i++) {
    names[i] = pre_tokenizers[i].name;
    if (strcmp(names[i], name) != 0) continue;
    *out_pre = &pre_tokenizers[i];
    return NULL;
  }
  return dure_fail(DURE_UNSUPPORTED,
                   "'%s': the pre-tokenizer \"%s\" is not supported; the nearest that is: \"%s\". Give the model's "
                   "tokenizer.json instead",
                   dure_gguf_path(file), name, dure_nearest_name(name, names, pre_count, NULL));
}

// ---- reading -----------------------------------------------------------------------------------------------------

// What is being made: the parts of a tokenizer.json.
typedef struct parts {
  const dure_gguf *file;
  json_t *vocabulary, *added, *merges;
  char *text;  // the token at hand, ended by a NUL
  size_t capacity;
} parts;

static dure_status corrupt(const parts *p, uint64_t id, const char *what) {
  return dure_fail(DURE_CORRUPT, "'%s': token %" PRIu64 " %s", dure_gguf_path(p->file), id, what);
}

static dure_status copy_text(parts *p, uint64_t id, const char *text, size_t length) {
  if (length > 65536) return corrupt(p, id, "is longer than 65536 bytes");
  if (memchr(text, '\0', length) != NULL) return corrupt(p, id, "holds a NUL");
  if (length + 1 > p->capacity) {
    char *larger = realloc(p->text, 2 * length + 64);
    if (larger == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a token of %zu bytes", length);
    p->text = larger;
    p->capacity = 2 * length + 64;
  }
  memcpy(p->text, text, length);
  p->text[length] = '\0';
  return NULL;
}

// Added tokens are in the vocabulary as well, or other readers of tokenizer.json would number them anew; but not those
// whose characters stand for other bytes there.
static bool stands_for_itself(const char *text, size_t length) {
  char *bytes = malloc(length + 1);
  size_t byte_length;
  const bool is_same = bytes != NULL && (!dure_characters_to_bytes(text, length, bytes, &byte_length) ||
                                         (byte_length == length && memcmp(bytes, text, length) == 0));
  free(bytes);
  return is_same;
}

static dure_status add_token(parts *p, uint64_t id, int64_t kind, const char *text, size_t length) {
  if (kind == KIND_UNUSED) return NULL;
  DURE_TRY(copy_text(p, id, text, length));
  if (kind == KIND_CONTROL || kind == KIND_UNKNOWN || kind == KIND_USER) {
    json_t *row = json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content", p->text,
                            "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", kind != KIND_USER);
    if (row == NULL) return corrupt(p, id, "is not UTF-8");
    json_array_append_new(p->added, row);
    if (!stands_for_itself(p->text, length)) return NULL;
  }
  if (json_object_get(p->vocabulary, p->text) != NULL) return corrupt(p, id, "is there twice");
  if (json_object_set_new(p->vocabulary, p->text, json_integer((json_int_t)id)) != 0)
    return corrupt(p, id, "is not UTF-8");
  return NULL;
}

static dure_status read_tokens(parts *p) {
  const dure_gguf_value *tokens = dure_gguf_value_find(p->file, "tokenizer.ggml.tokens");
  const dure_gguf_value *kinds = dure_gguf_value_find(p->file, "tokenizer.ggml.token_type");
  const dure_gguf_value *merges = dure_gguf_value_find(p->file, "tokenizer.ggml.merges");
  const bool has_merges = merges != NULL && merges->count > 0;  // a tokenizer of bytes alone has none
  if (tokens == NULL || tokens->element_kind != DURE_GGUF_TEXT ||
      (has_merges && merges->element_kind != DURE_GGUF_TEXT)) {
    return dure_fail(DURE_CORRUPT, "'%s' has no lists of texts tokenizer.ggml.tokens and tokenizer.ggml.merges",
                     dure_gguf_path(p->file));
  }
  if (kinds != NULL && kinds->count != tokens->count)
    return dure_fail(DURE_CORRUPT, "'%s': %" PRIu64 " tokens have %" PRIu64 " kinds", dure_gguf_path(p->file),
                     tokens->count, kinds->count);
  dure_gguf_texts texts = dure_gguf_texts_of(tokens);
  const char *text;
  size_t length;
  for (uint64_t id = 0; dure_gguf_text_next(&texts, &text, &length); id++) {
    int64_t kind = KIND_NORMAL;
    if (kinds != NULL && !dure_gguf_integer(kinds, id, &kind)) return corrupt(p, id, "has a kind that is no number");
    DURE_TRY(add_token(p, id, kind, text, length));
  }
  texts = dure_gguf_texts_of(merges);
  for (uint64_t i = 0; dure_gguf_text_next(&texts, &text, &length); i++) {
    json_t *merge = json_stringn(text, length);
    if (merge == NULL) return corrupt(p, i, "of the merges is not UTF-8");
    json_array_append_new(p->merges, merge);
  }
  return NULL;
}

static json_t *byte_level(bool use_regex) {
  return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                   use_regex);
}

static json_t *pre_tokenizer_json(const pre_tokenizer *pre) {
  if (pre->patterns[1] == NULL && strcmp(pre->patterns[0], DURE_GPT2_PATTERN) == 0) return byte_level(true);
  json_t *list = json_array();
  for (size_t i = 0; i < PATTERNS_MOST && pre->patterns[i] != NULL; i++) {
    json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                                          pre->patterns[i], "behavior", "Isolated", "invert", 0));
  }
  json_array_append_new(list, byte_level(false));
  return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

// The beginning of text before every text, when the file says so.
static json_t *post_processor(const parts *p, const pre_tokenizer *pre) {
  bool adds = pre->adds_beginning;
  int64_t id;
  const json_t *row = NULL, *found = NULL;
  size_t i;
  (void)dure_gguf_boolean(dure_gguf_value_find(p->file, "tokenizer.ggml.add_bos_token"), 0, &adds);
  if (dure_gguf_value_find(p->file, "tokenizer.ggml.add_bos_token") == NULL) adds = pre->adds_beginning;
  if (!adds || !dure_gguf_integer(dure_gguf_value_find(p->file, "tokenizer.ggml.bos_token_id"), 0, &id))
    return json_null();
  json_array_foreach(p->added, i, row) {
    if (json_integer_value(json_object_get(row, "id")) == id) found = row;
  }
  if (found == NULL) return json_null();
  const char *text = json_string_value(json_object_get(found, "content"));
  json_t *single = json_pack("[{s:{s:s, s:i}}, {s:{s:s, s:i}}]", "SpecialToken", "id", text, "type_id", 0, "Sequence",
                             "id", "A", "type_id", 0);
  json_t *pair = json_deep_copy(single);
  json_array_append_new(pair, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1));
  return json_pack("{s:s, s:o, s:o, s:{s:{s:s, s:[I], s:[s]}}}", "type", "TemplateProcessing", "single", single, "pair",
                   pair, "special_tokens", text, "id", text, "ids", (json_int_t)id, "tokens", text);
}

static json_t *assemble(const parts *p, const pre_tokenizer *pre) {
  json_t *model = json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b}", "type", "BPE", "dropout", "unk_token",
                            "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                            "ignore_merges", pre->ignores_merges);
  json_object_set(model, "vocab", p->vocabulary);
  json_object_set(model, "merges", p->merges);
  json_t *normalizer = pre->is_normalized ? json_pack("{s:s}", "type", "NFC") : json_null();
  return json_pack("{s:s, s:n, s:n, s:O, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                   "added_tokens", p->added, "normalizer", normalizer, "pre_tokenizer", pre_tokenizer_json(pre),
                   "post_processor", post_processor(p, pre), "decoder", byte_level(true), "model", model);
}

static dure_status make_json(parts *p, char **out_json, size_t *out_length) {
  const pre_tokenizer *pre;
  DURE_TRY(find_pre(p->file, &pre));
  DURE_TRY(read_tokens(p));
  json_t *root = assemble(p, pre);
  *out_json = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;
  json_decref(root);
  if (*out_json == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for the tokenizer of '%s'", dure_gguf_path(p->file));
  *out_length = strlen(*out_json);
  return NULL;
}

// Of the whole text, with a NUL after it.
static dure_status copy_value(const char *text, size_t length, char **out_text) {
  *out_text = malloc(length + 1);
  if (*out_text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a text of %zu bytes", length);
  memcpy(*out_text, text, length);
  (*out_text)[length] = '\0';
  return NULL;
}

// Its JSON, and the beginning of text before every text.
static dure_status read_sentencepiece(const dure_gguf *file, bool is_unigram, char **out_json, size_t *out_length) {
  const pre_tokenizer pre = {.adds_beginning = !is_unigram};
  DURE_TRY(dure_gguf_sentencepiece(file, is_unigram, out_json, out_length));
  json_t *root = json_loadb(*out_json, *out_length, JSON_ALLOW_NUL, NULL);
  free(*out_json);
  *out_json = NULL;
  const parts p = {.file = file, .added = json_object_get(root, "added_tokens")};
  if (root != NULL) json_object_set_new(root, "post_processor", post_processor(&p, &pre));
  *out_json = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
  json_decref(root);
  if (*out_json == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for the tokenizer of '%s'", dure_gguf_path(file));
  *out_length = strlen(*out_json);
  return NULL;
}

dure_status dure_gguf_tokenizer(const dure_gguf *file, char **out_json, size_t *out_length) {
  *out_json = NULL;
  *out_length = 0;
  const char *text;
  size_t length;
  if (dure_gguf_text(dure_gguf_value_find(file, "tokenizer.huggingface.json"), &text, &length)) {
    *out_length = length;
    return copy_value(text, length, out_json);
  }
  if (!dure_gguf_text(dure_gguf_value_find(file, "tokenizer.ggml.model"), &text, &length) ||
      (length == 8 && memcmp(text, "no_vocab", 8) == 0))
    return dure_fail(DURE_NOT_FOUND, "'%s' has no tokenizer", dure_gguf_path(file));
  const bool is_unigram = length == 2 && memcmp(text, "t5", 2) == 0;
  if (is_unigram || (length == 5 && memcmp(text, "llama", 5) == 0))
    return read_sentencepiece(file, is_unigram, out_json, out_length);
  if (length != 4 || memcmp(text, "gpt2", 4) != 0) {
    return dure_fail(DURE_UNSUPPORTED,
                     "'%s' has a tokenizer of kind \"%.*s\"; byte-level BPE (\"gpt2\") and SentencePiece (\"llama\", "
                     "\"t5\") are supported. The model itself opens: give token ids (dure logits --tokens)",
                     dure_gguf_path(file), (int)(length < 40 ? length : 40), text);
  }
  parts p = {.file = file, .vocabulary = json_object(), .added = json_array(), .merges = json_array()};
  dure_status status = make_json(&p, out_json, out_length);
  json_decref(p.vocabulary);
  json_decref(p.added);
  json_decref(p.merges);
  free(p.text);
  return status;
}

dure_status dure_gguf_chat_template(const dure_gguf *file, char **out_template) {
  *out_template = NULL;
  const char *text;
  size_t length;
  if (!dure_gguf_text(dure_gguf_value_find(file, "tokenizer.chat_template"), &text, &length)) return NULL;
  return copy_value(text, length, out_template);
}

// ---- writing -----------------------------------------------------------------------------------------------------

// The regular expressions that a tokenizer.json cuts text by, in order; false when they are not of the kinds above.
static bool list_patterns(const json_t *part, const char *out_patterns[PATTERNS_MOST], size_t *count) {
  const char *type = json_string_value(json_object_get(part, "type")), *pattern = NULL;
  if (type == NULL) return false;
  if (strcmp(type, "Sequence") == 0) {
    const json_t *one = NULL;
    size_t i;
    json_array_foreach(json_object_get(part, "pretokenizers"), i, one) {
      if (!list_patterns(one, out_patterns, count)) return false;
    }
    return true;
  }
  if (strcmp(type, "ByteLevel") == 0) {
    const json_t *uses_regex = json_object_get(part, "use_regex"), *adds = json_object_get(part, "add_prefix_space");
    if (adds == NULL || json_is_true(adds)) return false;
    if (json_is_false(uses_regex)) return true;
    pattern = DURE_GPT2_PATTERN;
  } else if (strcmp(type, "Digits") == 0) {
    pattern = json_is_true(json_object_get(part, "individual_digits")) ? "\\p{N}" : "\\p{N}+";
  } else if (strcmp(type, "Split") == 0) {
    pattern = json_string_value(json_object_get(json_object_get(part, "pattern"), "Regex"));
  }
  if (pattern == NULL || *count >= PATTERNS_MOST) return false;
  out_patterns[(*count)++] = pattern;
  return true;
}

static const char *name_pre(const json_t *root) {
  const char *patterns[PATTERNS_MOST + 1] = {NULL};
  size_t count = 0;
  if (!list_patterns(json_object_get(root, "pre_tokenizer"), patterns, &count)) return NULL;
  for (size_t i = 0; i < pre_count; i++) {
    bool agrees = true;
    for (size_t k = 0; k < PATTERNS_MOST && agrees; k++) {
      const char *known = pre_tokenizers[i].patterns[k];
      agrees = known == NULL || patterns[k] == NULL ? known == patterns[k] : strcmp(known, patterns[k]) == 0;
    }
    if (agrees) return pre_tokenizers[i].name;
  }
  return NULL;
}

typedef struct token_list {
  const char **texts;
  int32_t *kinds;
  uint32_t rows;
} token_list;

static dure_status place_token(const token_list *list, const json_t *id, const char *text, int32_t kind) {
  if (text == NULL || !json_is_integer(id) || json_integer_value(id) < 0 ||
      json_integer_value(id) >= (json_int_t)list->rows) {
    return dure_fail(DURE_CORRUPT, "tokenizer.json: the token '%.60s' has no id below the model's %u rows",
                     text != NULL ? text : "", list->rows);
  }
  list->texts[json_integer_value(id)] = text;
  list->kinds[json_integer_value(id)] = kind;
  return NULL;
}

static dure_status list_tokens(const json_t *root, const token_list *list) {
  const char *text = NULL;
  json_t *id = NULL, *row = NULL;
  size_t i;
  json_object_foreach(json_object_get(json_object_get(root, "model"), "vocab"), text, id) {
    DURE_TRY(place_token(list, id, text, KIND_NORMAL));
  }
  json_array_foreach(json_object_get(root, "added_tokens"), i, row) {
    const bool is_special = json_is_true(json_object_get(row, "special"));
    DURE_TRY(place_token(list, json_object_get(row, "id"), json_string_value(json_object_get(row, "content")),
                         is_special ? KIND_CONTROL : KIND_USER));
  }
  return NULL;
}

static void write_tokens(dure_gguf_writer *writer, const token_list *list) {
  dure_gguf_writer_list(writer, "tokenizer.ggml.tokens", DURE_GGUF_TEXT, list->rows);
  for (uint32_t i = 0; i < list->rows; i++) {
    char padding[32];
    snprintf(padding, sizeof(padding), "[PAD%u]", i);
    const char *text = list->texts[i] != NULL ? list->texts[i] : padding;
    dure_gguf_writer_text_element(writer, text, strlen(text));
  }
  dure_gguf_writer_list(writer, "tokenizer.ggml.token_type", DURE_GGUF_I32, list->rows);
  for (uint32_t i = 0; i < list->rows; i++)
    dure_gguf_writer_i32_element(writer, list->texts[i] != NULL ? list->kinds[i] : KIND_UNUSED);
}

static dure_status write_merges(dure_gguf_writer *writer, const json_t *merges) {
  const json_t *merge = NULL;
  size_t i;
  dure_gguf_writer_list(writer, "tokenizer.ggml.merges", DURE_GGUF_TEXT, json_array_size(merges));
  json_array_foreach(merges, i, merge) {
    const char *left = json_string_value(json_array_get(merge, 0)),
               *right = json_string_value(json_array_get(merge, 1));
    const char *text = json_string_value(merge);
    if (text == NULL && (left == NULL || right == NULL))
      return dure_fail(DURE_CORRUPT, "tokenizer.json: merge %zu is neither a text nor two", i);
    const size_t length = text != NULL ? strlen(text) : strlen(left) + 1 + strlen(right);
    char *joined = malloc(length + 1);
    if (joined == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a merge");
    if (text != NULL) snprintf(joined, length + 1, "%s", text);
    if (text == NULL) snprintf(joined, length + 1, "%s %s", left, right);
    dure_gguf_writer_text_element(writer, joined, length);
    free(joined);
  }
  return NULL;
}

// Whether a text begins with a token of its own.
static bool adds_beginning(const json_t *processor) {
  const char *type = json_string_value(json_object_get(processor, "type"));
  const json_t *one = NULL;
  size_t i;
  if (type == NULL) return false;
  if (strcmp(type, "TemplateProcessing") == 0)
    return json_object_get(json_array_get(json_object_get(processor, "single"), 0), "SpecialToken") != NULL;
  if (strcmp(type, "Sequence") != 0) return false;
  json_array_foreach(json_object_get(processor, "processors"), i, one) {
    if (adds_beginning(one)) return true;
  }
  return false;
}

static dure_status write_parts(dure_gguf_writer *writer, const json_t *root, uint32_t rows) {
  const json_t *model = json_object_get(root, "model");
  if (json_is_object(json_object_get(model, "sentencepiece"))) {
    dure_gguf_writer_boolean(writer, "tokenizer.ggml.add_bos_token",
                             adds_beginning(json_object_get(root, "post_processor")));
    return dure_gguf_write_sentencepiece(writer, model, rows);
  }
  const char *pre = name_pre(root);
  if (pre == NULL) {
    pre = "gpt-2";
    dure_log(DURE_LOG_WARNING,
             "GGUF has no name for how this tokenizer cuts text; \"gpt-2\" is written, and the whole tokenizer.json "
             "beside it for tools that read that");
  }
  token_list list = {calloc(rows + 1u, sizeof(*list.texts)), calloc(rows + 1u, sizeof(*list.kinds)), rows};
  dure_status status = NULL;
  if (list.texts == NULL || list.kinds == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "no memory for %u tokens", rows);
  if (status == NULL) status = list_tokens(root, &list);
  if (status == NULL) {
    dure_gguf_writer_text(writer, "tokenizer.ggml.model", "gpt2", 4);
    dure_gguf_writer_text(writer, "tokenizer.ggml.pre", pre, strlen(pre));
    write_tokens(writer, &list);
    status = write_merges(writer, json_object_get(json_object_get(root, "model"), "merges"));
    dure_gguf_writer_boolean(writer, "tokenizer.ggml.add_bos_token",
                             adds_beginning(json_object_get(root, "post_processor")));
  }
  free(list.texts);
  free(list.kinds);
  return status;
}

dure_status dure_gguf_write_tokenizer(dure_gguf_writer *writer, const char *json, size_t length, uint32_t rows,
                                      int64_t beginning_id, int64_t end_id) {
  dure_tokenizer *checked = NULL;
  DURE_TRY(dure_tokenizer_parse(json, length, &checked));  // byte-level BPE, whole and not contradicting itself
  dure_tokenizer_close(checked);
  json_t *root = json_loadb(json, length, JSON_ALLOW_NUL, NULL);
  if (root == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a tokenizer of %zu bytes", length);
  dure_status status = write_parts(writer, root, rows);
  json_decref(root);
  DURE_TRY(status);
  if (beginning_id >= 0) dure_gguf_writer_u32(writer, "tokenizer.ggml.bos_token_id", (uint32_t)beginning_id);
  if (end_id >= 0) dure_gguf_writer_u32(writer, "tokenizer.ggml.eos_token_id", (uint32_t)end_id);
  dure_gguf_writer_text(writer, "tokenizer.huggingface.json", json, length);
  return NULL;
}
