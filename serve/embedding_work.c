#include "serve/embedding_work.h"

#include <stdlib.h>
#include <string.h>

#include "serve/scheduler.h"

enum { TEXTS_TOGETHER = 16, TOKENS_TOGETHER = 1024 };

// IEEE singles, little-endian, in base64 (RFC 4648), as OpenAI's Python client asks for them.
static json_t *base64_vector(const float *vector, uint32_t width) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const size_t size = (size_t)width * 4;
  char *text = malloc((size + 2) / 3 * 4 + 1), *at = text;
  if (text == NULL) return NULL;
  for (size_t i = 0; i < size; i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; k++) {
      uint32_t word = 0;
      if (i + k < size) memcpy(&word, &vector[(i + k) / 4], sizeof(word));
      group = group << 8 | (word >> (i + k) % 4 * 8 & 0xff);
    }
    for (int k = 0; k < 4; k++) *at++ = digits[group >> (18 - 6 * k) & 63];
  }
  for (size_t i = size; i % 3 != 0; i++) at[-1 - (ptrdiff_t)(i - size)] = '=';
  json_t *value = json_stringn(text, (size_t)(at - text));
  free(text);
  return value;
}

static json_t *plain_vector(const float *vector, uint32_t width) {
  json_t *list = json_array();
  for (uint32_t c = 0; c < width; c++) json_array_append_new(list, json_real((double)vector[c]));
  return list;
}

static json_t *answer(const job *self) {
  const uint32_t width = dure_embedder_width(self->server->embedder);
  json_t *data = json_array();
  for (size_t i = 0; i < self->texts.count; i++) {
    const float *vector = self->vectors + i * width;
    json_array_append_new(data,
                          json_pack("{s:s, s:I, s:o}", "object", "embedding", "index", (json_int_t)i, "embedding",
                                    self->is_base64 ? base64_vector(vector, width) : plain_vector(vector, width)));
  }
  return json_pack("{s:s, s:o, s:o, s:{s:I, s:I}}", "object", "list", "data", data, "model",
                   json_string(self->server->options.name), "usage", "prompt_tokens", (json_int_t)self->prompt_tokens,
                   "total_tokens", (json_int_t)self->prompt_tokens);
}

// As many of the next texts as fit a step; at least one.
static size_t next_texts(const job *self, dure_token_text *out_texts) {
  size_t count = 0, tokens = 0;
  while (count < TEXTS_TOGETHER && self->embedded + count < self->texts.count) {
    const dure_ids *ids = &self->texts.prompts[self->embedded + count].tokens;
    tokens += ids->count;
    if (count > 0 && tokens > TOKENS_TOGETHER) break;
    out_texts[count++] = (dure_token_text){ids->ids, (uint32_t)ids->count};
  }
  return count;
}

static void end(job *self, dure_status failure) {
  dure_server *server = self->server;
  http_reply reply = {0};
  if (failure == NULL) http_reply_json(&reply, 200, answer(self));  // long to write: not under the lock
  pthread_mutex_lock(&server->lock);
  if (failure != NULL) {
    job_fail(self, http_status_of(failure), dure_status_message(failure));
  } else if (!self->is_done) {
    http_reply_clear(&self->reply);
    self->reply = reply;
    reply = (http_reply){0};
    scheduler_forget(self);  // off the queue; with no choices it is finished
  }
  pthread_mutex_unlock(&server->lock);
  http_reply_clear(&reply);
}

dure_status embedding_work_step(job *self) {
  dure_token_text texts[TEXTS_TOGETHER];
  dure_server *server = self->server;
  const size_t count = next_texts(self, texts);
  float *vectors = self->vectors + self->embedded * dure_embedder_width(server->embedder);
  dure_status status = dure_embedder_run(server->embedder, texts, count, vectors);
  if (status != NULL) {
    const dure_code code = dure_status_code(status);
    dure_status lost = code == DURE_DEVICE_LOST ? dure_fail(code, "%s", dure_status_message(status)) : NULL;
    end(self, status);
    dure_status_free(status);
    return lost;
  }
  self->embedded += count;
  if (self->embedded == self->texts.count) end(self, NULL);
  return NULL;
}
