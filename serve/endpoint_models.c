// /v1/models, /health, /metrics and the chat page.
#include <string.h>

#include "data/json_text.h"
#include "serve/endpoints.h"
#include "serve/page.h"

static json_t *describe(const dure_server *server) {
  return json_pack("{s:s, s:s, s:I, s:s, s:I, s:b}", "id", server->options.name, "object", "model", "created",
                   (json_int_t)server->started, "owned_by", "dure", "max_model_len", (json_int_t)server->context,
                   "has_chat_template", dure_chat_has_template(server->served.chat) ? 1 : 0);
}

void endpoint_models(const http_request *request, http_reply *reply, job **out_job) {
  (void)out_job;
  http_reply_json(reply, 200, json_pack("{s:s, s:[o]}", "object", "list", "data", describe(request->server)));
}

void endpoint_model(const http_request *request, http_reply *reply, job **out_job) {
  (void)out_job;
  if (strcmp(request->rest, request->server->options.name) == 0) {
    http_reply_json(reply, 200, describe(request->server));
  } else {
    http_reply_error(reply, 404, "model_not_found", "model",
                     "there is no such model; GET /v1/models names the one there is");
  }
}

void endpoint_health(const http_request *request, http_reply *reply, job **out_job) {
  (void)out_job;
  const dure_server *server = request->server;
  const bool is_lost = atomic_load(&server->is_device_lost), is_draining = atomic_load(&server->is_draining);
  const char *state = is_lost ? "device lost" : is_draining ? "shutting down" : "ok";
  http_reply_json(reply, is_lost || is_draining ? 503 : 200, json_pack("{s:s}", "status", state));
}

void endpoint_metrics(const http_request *request, http_reply *reply, job **out_job) {
  (void)out_job;
  reply->status = 200;
  reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
  serve_metrics_page(request->server, &reply->body);
}

void endpoint_page(const http_request *request, http_reply *reply, job **out_job) {
  (void)out_job;
  (void)request;
  reply->status = 200;
  reply->content_type = "text/html; charset=utf-8";
  dure_bytes_append(&reply->body, serve_page, serve_page_size);
}
