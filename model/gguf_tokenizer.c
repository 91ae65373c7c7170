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

static dure_status add_token(parts *p, uint64_t id, int64_t kind, const char *text, size_t length) {
  if (kind == KIND_UNUSED) return NULL;
  DURE_TRY(copy_text(p, id, text, length));
  if (kind == KIND_CONTROL || kind == KIND_UNKNOWN || kind == KIND_USER) {
    json_t *row = json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content", p->text,
                            "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", kind != KIND_USER);
    if (row == NULL) return corrupt(p, id, "is not UTF-8");
    json_array_append_new(p->added, row);
    return NULL;
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

dure_status dure_gguf_tokenizer(const dure_gguf *file, char **out_json, size_t *out_length) {
  *out_json = NULL;
  *out_length = 0;
  const char *text;
  size_t length;
  if (dure_gguf_text(dure_gguf_value_find(file, "tokenizer.huggingface.json"), &text, &length)) {
    *out_length = length;
    return copy_value(text, length, out_json);
  }
  if (!dure_gguf_text(dure_gguf_value_find(file, "tokenizer.ggml.model"), &text, &length))
    return dure_fail(DURE_NOT_FOUND, "'%s' has no tokenizer", dure_gguf_path(file));
  if (length != 4 || memcmp(text, "gpt2", 4) != 0) {
    return dure_fail(DURE_UNSUPPORTED,
                     "'%s' has a tokenizer of kind \"%.*s\"%s; only byte-level BPE (\"gpt2\") is supported. The model "
                     "itself opens: give token ids (dure logits --tokens)",
                     dure_gguf_path(file), (int)(length < 40 ? length : 40), text,
                     length == 5 && memcmp(text, "llama", 5) == 0 ? " (SentencePiece)" : "");
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
