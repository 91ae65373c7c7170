#include "model/completion.h"

#include <stdlib.h>
#include <string.h>

struct dure_completion {
  dure_token_stream *stream;
  char *stops[DURE_STOPS_MOST];
  size_t stop_lengths[DURE_STOPS_MOST], stop_count;
  char *text;  // [length]: given out up to `given`, the rest held back
  size_t length, given, capacity;
  bool has_stopped;
};

dure_status dure_completion_create(const dure_tokenizer *tokenizer, const char *const *stops, size_t stop_count,
                                   dure_completion **out_completion) {
  *out_completion = NULL;
  if (stop_count > DURE_STOPS_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "at most %d stop strings are possible, %zu were given", DURE_STOPS_MOST,
                     stop_count);
  dure_completion *self = calloc(1, sizeof(*self));
  if (self == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a completion");
  dure_status status = dure_token_stream_create(tokenizer, true, &self->stream);
  for (size_t i = 0; i < stop_count && status == NULL; i++) {
    if (stops[i][0] == '\0') continue;
    const size_t length = strlen(stops[i]);
    char *copy = malloc(length + 1);
    if (copy == NULL) {
      status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a stop string");
      break;
    }
    memcpy(copy, stops[i], length + 1);
    self->stops[self->stop_count] = copy;
    self->stop_lengths[self->stop_count++] = length;
  }
  if (status != NULL) {
    dure_completion_destroy(self);
    return status;
  }
  *out_completion = self;
  return NULL;
}

void dure_completion_destroy(dure_completion *completion) {
  if (completion == NULL) return;
  dure_token_stream_destroy(completion->stream);
  for (size_t i = 0; i < completion->stop_count; i++) free(completion->stops[i]);
  free(completion->text);
  free(completion);
}

static dure_status append(dure_completion *self, const char *bytes, size_t length) {
  if (self->given > 0) {
    self->length -= self->given;
    memmove(self->text, self->text + self->given, self->length);
    self->given = 0;
  }
  if (self->length + length > self->capacity) {
    const size_t capacity = (self->length + length) * 2;
    char *grown = realloc(self->text, capacity);
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for generated text");
    self->text = grown;
    self->capacity = capacity;
  }
  if (length > 0) memcpy(self->text + self->length, bytes, length);
  self->length += length;
  return NULL;
}

// Whether the stop string, or its beginning where the text ends, stands at `place`.
static bool stands_at(const dure_completion *self, size_t stop, size_t place, bool *out_is_whole) {
  const size_t left = self->length - place, size = self->stop_lengths[stop];
  *out_is_whole = left >= size;
  return memcmp(self->text + place, self->stops[stop], left < size ? left : size) == 0;
}

// How much of the text is certain: up to the first stop string or, unless nothing follows, what may become one.
static size_t certain_length(dure_completion *self, bool is_end) {
  for (size_t place = 0; place < self->length; place++) {
    bool may_begin = false;
    for (size_t i = 0; i < self->stop_count; i++) {
      bool is_whole;
      if (!stands_at(self, i, place, &is_whole) || (is_end && !is_whole)) continue;
      self->has_stopped = self->has_stopped || is_whole;
      may_begin = true;
    }
    if (may_begin) return place;
  }
  return self->length;
}

static void give(dure_completion *self, size_t length, const char **out_bytes, size_t *out_length) {
  self->given = length;
  *out_bytes = self->text;
  *out_length = length;
}

dure_status dure_completion_push(dure_completion *completion, uint32_t token, const char **out_bytes,
                                 size_t *out_length, bool *out_stopped) {
  *out_bytes = NULL;
  *out_length = 0;
  *out_stopped = completion->has_stopped;
  if (completion->has_stopped) return NULL;
  const char *bytes = NULL;
  size_t length = 0;
  DURE_TRY(dure_token_stream_push(completion->stream, token, &bytes, &length));
  DURE_TRY(append(completion, bytes, length));
  give(completion, certain_length(completion, false), out_bytes, out_length);
  *out_stopped = completion->has_stopped;
  return NULL;
}

dure_status dure_completion_flush(dure_completion *completion, const char **out_bytes, size_t *out_length) {
  *out_bytes = NULL;
  *out_length = 0;
  if (completion->has_stopped) return NULL;
  const char *bytes = NULL;
  size_t length = 0;
  dure_token_stream_flush(completion->stream, &bytes, &length);
  DURE_TRY(append(completion, bytes, length));
  give(completion, certain_length(completion, true), out_bytes, out_length);
  return NULL;
}
