// The paths that the server has, and what each does with a request. One row a path (endpoints.c); the functions lie in
// endpoint_NAME.c.
#ifndef DURE_SERVE_ENDPOINTS_H_
#define DURE_SERVE_ENDPOINTS_H_

#include "serve/job.h"

typedef struct http_request {
  dure_server *server;
  const char *rest;  // of the path, behind the row's, where it has more
  const char *body;
  size_t length;
  uint32_t turn;  // of the client
} http_request;

// Fills the reply, or gives a job whose reply will come (the caller then holds it).
typedef void endpoint_function(const http_request *request, http_reply *reply, job **out_job);

typedef struct endpoint {
  const char *path;  // "/v1/models/" stands for all that begin so
  bool is_post;
  bool is_open;  // needs no key
  endpoint_function *serve;
} endpoint;

extern const endpoint endpoint_rows[];
extern const uint32_t endpoint_count;
// NULL when there is no such path.
const endpoint *endpoint_find(const char *path);

endpoint_function endpoint_page, endpoint_health, endpoint_metrics, endpoint_models, endpoint_model,
    endpoint_completions, endpoint_chat, endpoint_embeddings, endpoint_tokenize, endpoint_detokenize;

#endif  // DURE_SERVE_ENDPOINTS_H_
