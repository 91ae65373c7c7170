#include "cli/open_model.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/weights.h"
#include "runtime/os.h"

static dure_status open_all(const char *device, const char *dtype, const char *weights, const char *directory,
                            bool with_tokenizer, opened_model *opened) {
  const bool is_expanded = weights != NULL && strcmp(weights, "expanded") == 0;
  const bool rounds_activations = weights != NULL && strcmp(weights, "int8") == 0;
  if (weights != NULL && !is_expanded && !rounds_activations && strcmp(weights, "quantised") != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "--weights must be quantised, int8 or expanded; found '%.40s'", weights);
  // Files first: a mistyped path should not wait for a driver.
  if (!dure_os_is_directory(directory) && !dure_gguf_is_file(directory)) {
    return dure_fail(DURE_NOT_FOUND,
                     "no model at '%s': expected a directory with config.json and model.safetensors, or a GGUF file",
                     directory);
  }
  if (with_tokenizer) DURE_TRY(dure_weights_tokenizer(directory, &opened->tokenizer));
  DURE_TRY(dure_device_open(device, &opened->device));
  DURE_TRY(dure_stream_create(opened->device, &opened->stream));
  dure_model_options kept = {.dtype = DURE_DTYPE_F32,
                             .keeps_packed = !is_expanded,
                             .loads_later = true,
                             .rounds_activations = rounds_activations};
  DURE_TRY(dure_model_choose_dtype(dtype, opened->device, directory, &kept.dtype));
  DURE_TRY(dure_model_open_as(directory, &kept, opened->device, opened->stream, &opened->model));
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
