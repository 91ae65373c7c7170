#include <stdlib.h>
#include <string.h>

#include "data/tokenizer.h"
#include "data/tokenizer_bytes.h"

struct dure_token_stream {
  const dure_tokenizer *tokenizer;
  bool skip_special;
  char *buffer;  // what was given out last, then what is held back
  size_t capacity;
  size_t given;  // bytes at the start that the caller has seen
  size_t held;   // bytes after them that wait for the rest of their character
};

dure_status dure_token_stream_create(const dure_tokenizer *tokenizer, bool skip_special,
                                     dure_token_stream **out_stream) {
  *out_stream = calloc(1, sizeof(**out_stream));
  if (*out_stream == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a token stream");
  (*out_stream)->tokenizer = tokenizer;
  (*out_stream)->skip_special = skip_special;
  return NULL;
}

void dure_token_stream_destroy(dure_token_stream *stream) {
  if (stream == NULL) return;
  free(stream->buffer);
  free(stream);
}

// Drops what has been given out, so that what is held back comes first.
static void drop_given(dure_token_stream *stream) {
  if (stream->given > 0) memmove(stream->buffer, stream->buffer + stream->given, stream->held);
  stream->given = 0;
}

dure_status dure_token_stream_push(dure_token_stream *stream, uint32_t id, const char **out_bytes, size_t *out_length) {
  const char *bytes;
  size_t length;
  bool is_special;
  *out_bytes = "";
  *out_length = 0;
  if (!dure_tokenizer_token(stream->tokenizer, id, &bytes, &length, &is_special)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "token id %u is not in the vocabulary (ids up to %u)", id,
                     dure_tokenizer_vocabulary_size(stream->tokenizer) - 1);
  }
  if (is_special && stream->skip_special) return NULL;
  drop_given(stream);
  size_t total = stream->held + length;
  if (total > stream->capacity) {
    char *grown = realloc(stream->buffer, total * 2);
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a token of %zu bytes", length);
    stream->buffer = grown;
    stream->capacity = total * 2;
  }
  if (total == 0) return NULL;
  memcpy(stream->buffer + stream->held, bytes, length);
  stream->held = dure_utf8_unfinished_suffix(stream->buffer, total);
  stream->given = total - stream->held;
  *out_bytes = stream->buffer;
  *out_length = stream->given;
  return NULL;
}

void dure_token_stream_flush(dure_token_stream *stream, const char **out_bytes, size_t *out_length) {
  *out_bytes = stream->buffer != NULL ? stream->buffer + stream->given : "";
  *out_length = stream->held;
  stream->given += stream->held;
  stream->held = 0;
}
