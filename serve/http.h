// The transport: libmicrohttpd's threads, which take requests, hand them to endpoints, and send what is ready.
#ifndef DURE_SERVE_HTTP_H_
#define DURE_SERVE_HTTP_H_

#include "serve/server.h"

typedef struct http_transport http_transport;

// Listens at the server's address. DURE_IO when that cannot be bound.
DURE_MUST_CHECK dure_status http_start(dure_server *server, http_transport **out_transport);
uint16_t http_port(const http_transport *transport);
void http_stop(http_transport *transport);  // no job may be waited for any more; NULL is fine
// A suspended connection (a job's) goes on: its answer, or more of it, is ready.
void http_resume(void *suspended);

#endif  // DURE_SERVE_HTTP_H_
