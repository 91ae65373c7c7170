// What is sent for a request: a status, a body, and what kind of body it is.
#ifndef DURE_SERVE_REPLY_H_
#define DURE_SERVE_REPLY_H_

#include <jansson.h>

#include "data/bytes.h"

typedef struct http_reply {
  int status;
  const char *content_type;  // a literal
  const char *allow;         // a literal: the methods of a path (405); NULL
  dure_bytes body;           // owned
} http_reply;

void http_reply_clear(http_reply *reply);
// Takes `object`; NULL (out of memory) makes it a failure.
void http_reply_json(http_reply *reply, int status, json_t *object);
// An error as OpenAI's clients know it: {"error": {"message", "type", "param", "code"}}. `field` and `code` may be
// NULL.
void http_reply_error(http_reply *reply, int status, const char *code, const char *field, const char *message);
// The same for a failure, which is freed: the caller's mistakes are 400, what is missing 404, memory and device 503,
// others 500.
void http_reply_failure(http_reply *reply, const char *field, dure_status failure);

int http_status_of(dure_status failure);
json_t *json_error(int status, const char *code, const char *field, const char *message);
void bytes_append_json(dure_bytes *bytes, json_t *object);  // takes it; NULL: out of memory

#endif  // DURE_SERVE_REPLY_H_
