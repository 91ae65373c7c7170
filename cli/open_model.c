#include "cli/open_model.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/weights.h"
#include "runtime/os.h"

// The weights of `path` on a device, with what --dtype and --weights say.
static dure_status open_weights(const char *dtype, const char *weights, const char *path, dure_device *device,
                                dure_stream *stream, dure_model **out_model) {
  dure_model_options kept = {.dtype = DURE_DTYPE_F32,
                             .keeps_packed = weights == NULL || strcmp(weights, "expanded") != 0,
                             .loads_later = true,
                             .rounds_activations = weights != NULL && strcmp(weights, "int8") == 0};
  DURE_TRY(dure_model_choose_dtype(dtype, device, path, &kept.dtype));
  return dure_model_open_as(path, &kept, device, stream, out_model);
}

// Files first: a mistyped path should not wait for a driver.
static dure_status check_path(const char *path) {
  if (dure_os_is_directory(path) || dure_gguf_is_file(path)) return NULL;
  return dure_fail(DURE_NOT_FOUND,
                   "no model at '%s': expected a directory with config.json and model.safetensors, or a GGUF file",
                   path);
}

static dure_status open_all(const char *device, const char *dtype, const char *weights, const char *directory,
                            bool with_tokenizer, opened_model *opened) {
  if (weights != NULL && strcmp(weights, "expanded") != 0 && strcmp(weights, "int8") != 0 &&
      strcmp(weights, "quantised") != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "--weights must be quantised, int8 or expanded; found '%.40s'", weights);
  DURE_TRY(check_path(directory));
  if (with_tokenizer) DURE_TRY(dure_weights_tokenizer(directory, &opened->tokenizer));
  DURE_TRY(dure_device_open(device, &opened->device));
  DURE_TRY(dure_stream_create(opened->device, &opened->stream));
  DURE_TRY(open_weights(dtype, weights, directory, opened->device, opened->stream, &opened->model));
  uint32_t rows = opened->model->config.vocabulary_size;
  if (with_tokenizer && dure_tokenizer_vocabulary_size(opened->tokenizer) > rows) {
    return dure_fail(DURE_CORRUPT,
                     "the tokenizer in '%s' has %u tokens, the model only %u; they do not belong together", directory,
                     dure_tokenizer_vocabulary_size(opened->tokenizer), rows);
  }
  return NULL;
}

dure_status opened_model_create(const char *device, const char *dtype, const char *directory, bool with_tokenizer,
                                opened_model *out_opened) {
  return opened_model_create_as(device, dtype, "expanded", directory, with_tokenizer, out_opened);
}

dure_status opened_model_create_as(const char *device, const char *dtype, const char *weights, const char *directory,
                                   bool with_tokenizer, opened_model *out_opened) {
  memset(out_opened, 0, sizeof(*out_opened));
  dure_status status = open_all(device, dtype, weights, directory, with_tokenizer, out_opened);
  if (status != NULL) opened_model_close(out_opened);
  return status;
}

void opened_model_close(opened_model *opened) {
  dure_tokenizer_close(opened->tokenizer);
  dure_model_destroy(opened->model);
  dure_stream_destroy(opened->stream);
  dure_device_close(opened->device);
  memset(opened, 0, sizeof(*opened));
}

// What one has proposed the other must mean.
static dure_status check_same_tokens(const dure_tokenizer *tokenizer, const dure_tokenizer *draft) {
  const uint32_t count = dure_tokenizer_vocabulary_size(tokenizer);
  if (dure_tokenizer_vocabulary_size(draft) != count)
    return dure_fail(DURE_INVALID_ARGUMENT, "its tokenizer has %u tokens, the model's %u; they must be the same",
                     dure_tokenizer_vocabulary_size(draft), count);
  for (uint32_t id = 0; id < count; id++) {
    const char *bytes = NULL, *draft_bytes = NULL;
    size_t length = 0, draft_length = 0;
    bool is_special = false, is_draft_special = false;
    dure_tokenizer_token(tokenizer, id, &bytes, &length, &is_special);
    dure_tokenizer_token(draft, id, &draft_bytes, &draft_length, &is_draft_special);
    const bool is_same = length == draft_length && (length == 0 || memcmp(bytes, draft_bytes, length) == 0);
    if (!is_same)
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "its token %u is '%.*s', the model's is '%.*s'; their tokenizers must be the same", id,
                       (int)draft_length, draft_length > 0 ? draft_bytes : "", (int)length, length > 0 ? bytes : "");
  }
  return NULL;
}

static dure_status open_draft(const opened_model *opened, const char *dtype, const char *weights, const char *path,
                              dure_model **out_draft) {
  dure_tokenizer *tokenizer = NULL;
  DURE_TRY(check_path(path));
  DURE_TRY(dure_weights_tokenizer(path, &tokenizer));
  dure_status status = check_same_tokens(opened->tokenizer, tokenizer);
  dure_tokenizer_close(tokenizer);
  return status != NULL ? status : open_weights(dtype, weights, path, opened->device, opened->stream, out_draft);
}

dure_status opened_model_draft(const opened_model *opened, const char *dtype, const char *weights, const char *path,
                               dure_model **out_draft) {
  *out_draft = NULL;
  return dure_status_prefix(open_draft(opened, dtype, weights, path, out_draft), "--draft");
}

static dure_status parse_ids(const char *text, uint32_t vocabulary_size, dure_ids *out_ids) {
  for (const char *cursor = text;;) {
    while (isspace((unsigned char)*cursor) || *cursor == ',') cursor++;
    if (*cursor == '\0') return NULL;
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(cursor, &end, 10);
    if (end == cursor || *cursor == '-' || errno != 0) {
      return dure_fail(DURE_INVALID_ARGUMENT, "expected token ids such as \"1 2 3\", found '%.20s'", cursor);
    }
    if (value >= vocabulary_size) {
      return dure_fail(DURE_INVALID_ARGUMENT, "token id %llu is outside the model's vocabulary of %u", value,
                       vocabulary_size);
    }
    DURE_TRY(dure_ids_reserve(out_ids, 1));
    out_ids->ids[out_ids->count++] = (uint32_t)value;
    cursor = end;
  }
}

dure_status parse_token_ids(const char *text, const char *path, uint32_t vocabulary_size, dure_ids *out_ids) {
  char *bytes = NULL;
  size_t size = 0;
  if (path != NULL) DURE_TRY(dure_os_read_file(path, (uint64_t)1 << 30, &bytes, &size));
  dure_status status = parse_ids(path != NULL ? bytes : text, vocabulary_size, out_ids);
  free(bytes);
  if (status == NULL && out_ids->count == 0) status = dure_fail(DURE_INVALID_ARGUMENT, "no token ids were given");
  return path != NULL ? dure_status_prefix(status, "%s", path) : status;
}
