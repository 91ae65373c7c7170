#include "serve/reply.h"

#include <stdlib.h>
#include <string.h>

#include "data/json_text.h"

void http_reply_clear(http_reply *reply) {
  dure_bytes_free(&reply->body);
  *reply = (http_reply){0};
}

void bytes_append_json(dure_bytes *bytes, json_t *object) {
  char *text = object != NULL ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
  json_decref(object);
  if (text == NULL) {
    bytes->is_failed = true;
  } else {
    dure_bytes_append_text(bytes, text);
  }
  free(text);
}

void http_reply_json(http_reply *reply, int status, json_t *object) {
  dure_bytes_clear(&reply->body);
  reply->status = status;
  reply->content_type = "application/json";
  bytes_append_json(&reply->body, object);
  if (!reply->body.is_failed) return;
  dure_bytes_clear(&reply->body);
  reply->status = 503;
  dure_bytes_append_text(&reply->body, "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\"}}");
}

static const char *error_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 429: return "rate_limit_error";
    default: return status < 500 ? "invalid_request_error" : "server_error";
  }
}

static json_t *text_or_null(const char *text) {
  return text != NULL && text[0] != '\0' ? dure_json_text(text, strlen(text)) : json_null();
}

json_t *json_error(int status, const char *code, const char *field, const char *message) {
  return json_pack("{s:{s:o, s:s, s:o, s:o}}", "error", "message", dure_json_text(message, strlen(message)), "type",
                   error_type(status), "param", text_or_null(field), "code", text_or_null(code));
}

void http_reply_error(http_reply *reply, int status, const char *code, const char *field, const char *message) {
  http_reply_json(reply, status, json_error(status, code, field, message));
}

int http_status_of(dure_status failure) {
  switch (dure_status_code(failure)) {
    case DURE_INVALID_ARGUMENT:
    case DURE_UNSUPPORTED: return 400;
    case DURE_NOT_FOUND: return 404;
    case DURE_OUT_OF_MEMORY:
    case DURE_DEVICE_LOST:
    case DURE_CANCELLED: return 503;
    default: return 500;
  }
}

void http_reply_failure(http_reply *reply, const char *field, dure_status failure) {
  const char *code = dure_status_code(failure) == DURE_UNSUPPORTED ? "unsupported" : NULL;
  http_reply_error(reply, http_status_of(failure), code, field, dure_status_message(failure));
  dure_status_free(failure);
}
