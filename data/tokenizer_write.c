#include "data/tokenizer_write.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Steals `value`; false when memory has run out.
static bool put(json_t *object, const char *name, json_t *value) {
  return json_object_set_new(object, name, value) == 0;
}

static json_t *added_tokens(const dure_new_vocabulary *vocabulary) {
  json_t *rows = json_array();
  for (uint32_t id = 0; id < vocabulary->special_count; id++) {
    json_array_append_new(rows, json_pack("{s:i, s:s%, s:b, s:b, s:b, s:b, s:b}", "id", (int)id, "content",
                                          vocabulary->tokens[id].text, (size_t)vocabulary->tokens[id].length,
                                          "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1));
  }
  return rows;
}

static json_t *byte_level(void) {
  return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                   1);
}

static json_t *vocabulary_object(const dure_new_vocabulary *vocabulary) {
  json_t *object = json_object();
  for (uint32_t id = 0; id < vocabulary->token_count; id++) put(object, vocabulary->tokens[id].text, json_integer(id));
  return object;
}

// As "a b", which every version of every reader knows; no byte's character is a space.
static json_t *merge_array(const dure_new_vocabulary *vocabulary) {
  size_t longest = 0;
  for (uint32_t id = 0; id < vocabulary->token_count; id++) {
    if (vocabulary->tokens[id].length > longest) longest = vocabulary->tokens[id].length;
  }
  char *text = malloc(2 * longest + 2);
  json_t *array = json_array();
  for (size_t i = 0; i < vocabulary->merge_count && text != NULL; i++) {
    const dure_new_token *left = &vocabulary->tokens[vocabulary->merges[i] >> 32];
    const dure_new_token *right = &vocabulary->tokens[(uint32_t)vocabulary->merges[i]];
    memcpy(text, left->text, left->length);
    text[left->length] = ' ';
    memcpy(text + left->length + 1, right->text, right->length);
    json_array_append_new(array, json_stringn(text, left->length + 1 + right->length));
  }
  free(text);
  return array;
}

static json_t *model_object(const dure_new_vocabulary *vocabulary) {
  json_t *model = json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b}", "type", "BPE", "dropout", "unk_token",
                            "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                            "ignore_merges", 0);
  put(model, "vocab", vocabulary_object(vocabulary));
  put(model, "merges", merge_array(vocabulary));
  return model;
}

dure_status dure_tokenizer_write_json(const dure_new_vocabulary *vocabulary, char **out_json, size_t *out_length) {
  *out_json = NULL;
  *out_length = 0;
  json_t *root = json_pack("{s:s, s:n, s:n}", "version", "1.0", "truncation", "padding");
  put(root, "added_tokens", added_tokens(vocabulary));
  put(root, "normalizer", json_null());
  put(root, "pre_tokenizer", byte_level());
  put(root, "post_processor", json_null());
  put(root, "decoder", byte_level());
  put(root, "model", model_object(vocabulary));
  json_t *model = json_object_get(root, "model");
  // Where memory has run out something is missing.
  bool is_whole = json_object_size(root) == 9 &&
                  json_array_size(json_object_get(root, "added_tokens")) == vocabulary->special_count &&
                  json_object_size(json_object_get(model, "vocab")) == vocabulary->token_count &&
                  json_array_size(json_object_get(model, "merges")) == vocabulary->merge_count;
  char *text = is_whole ? json_dumps(root, JSON_INDENT(2)) : NULL;
  json_decref(root);
  if (text == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory to write a vocabulary of %u tokens", vocabulary->token_count);
  *out_json = text;
  *out_length = strlen(text);
  return NULL;
}
