// What kind of file a tokenizer comes in, and GPT-2's pair of files as one.
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_bytes.h"
#include "data/tokenizer_json_text.h"
#include "data/tokenizer_parts.h"
#include "runtime/os.h"

// Files in use are below 40 MB.
static const uint64_t size_limit = (uint64_t)1 << 30;

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? slash + 1 : path;
}

char *dure_tokenizer_file_beside(const char *path, const char *const *names, size_t count) {
  size_t folder = (size_t)(base_name(path) - path);
  char *found = malloc(folder + 64);
  for (size_t i = 0; i < count && found != NULL; i++) {
    memcpy(found, path, folder);
    memcpy(found + folder, names[i], strlen(names[i]) + 1);
    if (dure_os_is_file(found)) return found;
  }
  free(found);
  return NULL;
}

// The first value of the object is a number: GPT-2's vocab.json.
static bool is_plain_vocabulary(const char *bytes, size_t length) {
  size_t at = 0;
  while (at < length && (bytes[at] != '"' || at == 0)) at++;
  for (at++; at < length && bytes[at] != '"'; at++) at += bytes[at] == '\\';
  for (at++; at < length && strchr(" \t\r\n:", bytes[at]) != NULL && bytes[at] != '\0';) at++;
  return at < length && bytes[at] >= '0' && bytes[at] <= '9';
}

static void put_merge(dure_bytes *out, bool *is_first, const char *line, size_t length) {
  const char *space = memchr(line, ' ', length);
  size_t left = space != NULL ? (size_t)(space - line) : length;
  dure_bytes_append_text(out, *is_first ? "[" : ",\n[");
  dure_json_put_string(out, line, left);
  if (space != NULL) {
    dure_bytes_append(out, ",", 1);
    dure_json_put_string(out, space + 1, length - left - 1);
  }
  dure_bytes_append(out, "]", 1);
  *is_first = false;
}

// The special tokens of a vocab.json are not marked; the customary ones are.
static void put_specials(dure_bytes *out, const char *vocabulary, size_t length) {
  static const char *const names[] = {"<|endoftext|>", "<s>", "</s>", "<pad>", "<unk>", "<mask>"};
  json_t *root = json_loadb(vocabulary, length, 0, NULL);
  bool is_first = true;
  dure_json_put(out, "\"added_tokens\":[");
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    const json_t *id = json_object_get(root, names[i]);
    bool is_id = json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < DURE_TOKEN_ID_LIMIT;
    if (is_id) dure_json_put_added(out, &is_first, names[i], strlen(names[i]), (unsigned)json_integer_value(id), true);
  }
  dure_json_put(out, "],\n");
  json_decref(root);
}

dure_status dure_merges_to_json(const char *vocabulary, size_t vocabulary_length, const char *merges,
                                size_t merges_length, char **out_json, size_t *out_length) {
  static const char byte_level[] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true}";
  dure_bytes out = {0};
  bool is_first = true;
  dure_json_put(&out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n");
  put_specials(&out, vocabulary, vocabulary_length);
  dure_json_put(&out, "\"normalizer\":null,\"pre_tokenizer\":%s,\"post_processor\":null,\"decoder\":%s,\n", byte_level,
                byte_level);
  dure_json_put(&out,
                "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,"
                "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\n\"vocab\":");
  dure_bytes_append(&out, vocabulary, vocabulary_length);
  dure_json_put(&out, ",\n\"merges\":[\n");
  for (size_t at = 0; at < merges_length;) {
    const char *newline = memchr(merges + at, '\n', merges_length - at);
    size_t size = newline != NULL ? (size_t)(newline - (merges + at)) : merges_length - at, next = at + size + 1;
    if (size > 0 && merges[at + size - 1] == '\r') size--;
    bool is_heading = at == 0 && size >= 8 && memcmp(merges, "#version", 8) == 0;
    if (size > 0 && !is_heading) put_merge(&out, &is_first, merges + at, size);
    at = next;
  }
  dure_json_put(&out, "]}}\n");
  return dure_json_finish(&out, out_json, out_length);
}

// From the path of either file.
static dure_status read_pair(const char *path, char **out_json, size_t *out_length) {
  static const char *const vocabularies[] = {"vocab.json", "encoder.json"}, *const lists[] = {"merges.txt",
                                                                                              "vocab.bpe"};
  char *vocabulary_path = dure_tokenizer_file_beside(path, vocabularies, 2);
  char *merges_path = dure_tokenizer_file_beside(path, lists, 2);
  char *vocabulary = NULL, *merges = NULL;
  size_t vocabulary_length = 0, merges_length = 0;
  dure_status status = NULL;
  if (vocabulary_path == NULL || merges_path == NULL) {
    status = dure_fail(DURE_NOT_FOUND,
                       "%s: expected vocab.json (or encoder.json) and merges.txt (or vocab.bpe) beside each "
                       "other, found no %s",
                       path, vocabulary_path == NULL ? vocabularies[0] : lists[0]);
  }
  if (status == NULL) status = dure_os_read_file(vocabulary_path, size_limit, &vocabulary, &vocabulary_length);
  if (status == NULL) status = dure_os_read_file(merges_path, size_limit, &merges, &merges_length);
  if (status == NULL)
    status = dure_merges_to_json(vocabulary, vocabulary_length, merges, merges_length, out_json, out_length);
  free(vocabulary_path);
  free(merges_path);
  free(vocabulary);
  free(merges);
  return status;
}

dure_status dure_tokenizer_file_to_json(const char *path, const char *pattern, char **out_json, size_t *out_length,
                                        bool *out_is_own) {
  char *bytes = NULL;
  size_t length = 0, at = 0;
  *out_json = NULL;
  *out_length = 0;
  *out_is_own = false;
  const char *name = base_name(path);
  if (strcmp(name, "merges.txt") == 0 || strcmp(name, "vocab.bpe") == 0) return read_pair(path, out_json, out_length);
  DURE_TRY(dure_os_read_file(path, size_limit, &bytes, &length));
  while (at < length && strchr(" \t\r\n", bytes[at]) != NULL && bytes[at] != '\0') at++;
  bool is_json = at < length && bytes[at] == '{';
  if (is_json && !is_plain_vocabulary(bytes + at, length - at)) {
    *out_json = bytes;
    *out_length = length;
    *out_is_own = true;
    return NULL;
  }
  dure_status status;
  if (is_json) {
    status = read_pair(path, out_json, out_length);
  } else if (dure_is_tiktoken(bytes, length)) {
    status = dure_tiktoken_to_json(bytes, length, pattern, name, out_json, out_length);
  } else if (length > 0 && bytes[0] == '\n') {  // the tag of the first piece
    status = dure_sentencepiece_to_json(bytes, length, out_json, out_length);
  } else {
    status = dure_fail(DURE_CORRUPT,
                       "expected a tokenizer.json, a SentencePiece model, tiktoken's ranks or a vocab.json, "
                       "found %zu bytes of something else",
                       length);
  }
  free(bytes);
  return dure_status_prefix(status, "%s", path);
}
