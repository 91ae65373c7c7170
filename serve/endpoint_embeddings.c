// /v1/embeddings.
#include <stdlib.h>
#include <string.h>

#include "serve/encode.h"
#include "serve/endpoints.h"
#include "serve/scheduler.h"

static const field_row rows[] = {
    {"model", FIELD_TAKEN, NULL},      {"input", FIELD_TAKEN, NULL},  {"encoding_format", FIELD_TAKEN, NULL},
    {"dimensions", FIELD_TAKEN, NULL}, {"user", FIELD_IGNORED, NULL},
};

static void read_fields(const dure_server *server, field_reader *reader, job *self) {
  const uint32_t width = dure_embedder_width(server->embedder);
  const json_t *format = field_value(reader, "encoding_format");
  const char *word = json_string_value(format);
  field_check_names(reader, rows, sizeof(rows) / sizeof(rows[0]));
  if (format != NULL && (word == NULL || (strcmp(word, "float") != 0 && strcmp(word, "base64") != 0)))
    field_refuse(reader, "encoding_format",
                 dure_fail(DURE_INVALID_ARGUMENT, "'encoding_format' must be \"float\" or \"base64\""));
  self->is_base64 = word != NULL && strcmp(word, "base64") == 0;
  if (field_integer(reader, "dimensions", 1, INT32_MAX, width) != width)
    field_refuse(reader, "dimensions",
                 dure_fail(DURE_UNSUPPORTED, "'dimensions' must be the model's, which are %u, or left out", width));
  field_prompts(reader, "input", CHOICES_MOST, &self->texts);
}

static dure_status prepare(dure_server *server, job *self) {
  for (size_t i = 0; i < self->texts.count; i++) {
    prompt *text = &self->texts.prompts[i];
    DURE_TRY(dure_status_prefix(encode_prompt(server, text, true), "'input' %zu", i));
    if (text->tokens.count > dure_embedder_context(server->embedder))
      return dure_fail(DURE_INVALID_ARGUMENT, "'input' %zu has %zu tokens, more than the context of %u", i,
                       text->tokens.count, dure_embedder_context(server->embedder));
    self->prompt_tokens += (uint32_t)text->tokens.count;
  }
  self->vectors = calloc(self->texts.count, dure_embedder_width(server->embedder) * sizeof(float));
  return self->vectors != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "out of memory for embeddings");
}

void endpoint_embeddings(const http_request *request, http_reply *reply, job **out_job) {
  dure_server *server = request->server;
  json_t *body = NULL;
  int status_code = 0;
  dure_status status = body_parse(request->body, request->length, &body);
  field_reader reader = {.object = body};
  job *self = status == NULL ? job_create(server, "embd-", request->turn) : NULL;
  if (status == NULL && self == NULL) {
    json_decref(body);
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a request");
  }
  if (status == NULL) {
    self->request.body = body;
    read_fields(server, &reader, self);
    status = reader.status;
  }
  if (status == NULL && !encode_is_model(server, json_string_value(field_value(&reader, "model")), reply)) {
    job_release(self);
    return;
  }
  if (status == NULL) status = prepare(server, self);
  if (status != NULL) {
    http_reply_failure(reply, reader.field, status);
    job_release(self);
    return;
  }
  json_decref(self->request.body);  // may be large, and its texts are tokens now
  self->request.body = NULL;
  status = scheduler_submit(self, &status_code);
  if (status == NULL) {
    *out_job = self;
    return;
  }
  http_reply_error(reply, status_code, NULL, NULL, dure_status_message(status));
  dure_status_free(status);
  job_release(self);
}
