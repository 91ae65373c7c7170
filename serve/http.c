#include "serve/http.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/access.h"
#include "serve/endpoints.h"
#include "serve/log_lines.h"

enum { THREADS = 4, MEMORY_OF_CONNECTION = 16384, SURPLUS = 512, INACTIVE_SECONDS = 120 };
enum { BODIES_MOST = 64 };  // of the largest size, that arrive at once

struct http_transport {
  dure_server *server;
  struct MHD_Daemon *daemon;
};

// One request of a connection, from its headers to its end.
typedef struct exchange {
  dure_server *server;
  connection *opened;
  const endpoint *row;  // NULL: unknown path
  char *path;
  dure_bytes body;
  uint64_t discarded;  // bytes of a body that is not wanted
  http_reply reply;    // status 0: not yet
  job *job;
  uint32_t key;
  bool is_handled, with_body;
  bool is_last;  // no other request may follow on the connection
} exchange;

// ---- sending -----------------------------------------------------------------------------------------------------

void http_resume(void *suspended) { MHD_resume_connection(suspended); }

static void add_headers(const dure_server *server, const http_reply *reply, struct MHD_Response *response) {
  MHD_add_response_header(response, "Content-Type", reply->content_type);
  MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
  MHD_add_response_header(response, "Cache-Control", "no-store");
  if (strncmp(reply->content_type, "text/html", 9) == 0) {
    MHD_add_response_header(response, "Content-Security-Policy",
                            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src "
                            "'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
  }
  if (server->options.allowed_origin != NULL) {
    MHD_add_response_header(response, "Access-Control-Allow-Origin", server->options.allowed_origin);
    MHD_add_response_header(response, "Access-Control-Allow-Headers", "Authorization, Content-Type");
    MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    MHD_add_response_header(response, "Vary", "Origin");
  }
  if (reply->allow != NULL) MHD_add_response_header(response, "Allow", reply->allow);
  if (reply->status == 401) MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
  if (reply->status == 429 || reply->status == 503) MHD_add_response_header(response, "Retry-After", "1");
}

static enum MHD_Result queue_response(exchange *self, struct MHD_Connection *to, const http_reply *reply,
                                      struct MHD_Response *response) {
  if (response == NULL) return MHD_NO;
  const uint32_t route = self->row != NULL ? (uint32_t)(self->row - endpoint_rows) : endpoint_count;
  add_headers(self->server, reply, response);
  if (self->is_last || (self->opened != NULL && self->opened->is_surplus))
    MHD_add_response_header(response, "Connection", "close");
  const enum MHD_Result result = MHD_queue_response(to, (unsigned)reply->status, response);
  MHD_destroy_response(response);
  serve_metrics_request(&self->server->metrics, route, reply->status);
  log_request(self->path, reply->status);
  return result;
}

// The body's bytes become the response's.
static enum MHD_Result send_reply(exchange *self, struct MHD_Connection *to, http_reply *reply) {
  if (reply->body.is_failed) http_reply_error(reply, 503, NULL, NULL, "out of memory");
  const size_t size = reply->body.size;
  void *data = reply->body.data;
  reply->body = (dure_bytes){0};
  struct MHD_Response *response =
      MHD_create_response_from_buffer(size, data, data != NULL ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
  if (response == NULL) free(data);
  return queue_response(self, to, reply, response);
}

// More of a stream's bytes; waits (suspended) while there are none.
static ssize_t read_stream(void *context, uint64_t position, char *out_bytes, size_t capacity) {
  job *self = context;
  dure_server *server = self->server;
  (void)position;
  pthread_mutex_lock(&server->lock);
  dure_bytes *out = &self->reply.body;
  size_t count = out->size - self->sent;
  ssize_t result = 0;
  if (self->is_dropped || (atomic_load(&self->is_cancelled) && !self->is_done)) {
    result = MHD_CONTENT_READER_END_WITH_ERROR;
  } else if (count > 0) {
    if (count > capacity) count = capacity;
    memcpy(out_bytes, out->data + self->sent, count);
    self->sent += count;
    result = (ssize_t)count;
  } else if (self->is_done || self->connection == NULL) {
    result = MHD_CONTENT_READER_END_OF_STREAM;
  } else {
    self->is_suspended = true;
    MHD_suspend_connection(self->connection);
  }
  pthread_mutex_unlock(&server->lock);
  return result;
}

static void release_stream(void *context) { job_release(context); }

static enum MHD_Result send_stream(exchange *self, struct MHD_Connection *to) {
  http_reply head = {.status = 200, .content_type = "text/event-stream; charset=utf-8"};
  pthread_mutex_lock(&self->server->lock);
  job_hold(self->job);
  pthread_mutex_unlock(&self->server->lock);
  struct MHD_Response *response =
      MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, self->job, release_stream);
  if (response == NULL) job_release(self->job);
  return queue_response(self, to, &head, response);
}

// What a job has: its answer, the beginning of its stream, or nothing yet.
static enum MHD_Result send_job(exchange *self, struct MHD_Connection *to) {
  job *work = self->job;
  pthread_mutex_lock(&self->server->lock);
  const bool is_stream = work->has_begun, is_done = work->is_done;
  const bool is_given_up = atomic_load(&work->is_cancelled) && !is_done;
  if (!is_stream && !is_done && !is_given_up) {
    work->is_suspended = true;
    MHD_suspend_connection(to);
  }
  pthread_mutex_unlock(&self->server->lock);
  if (is_stream) return send_stream(self, to);
  if (is_given_up || (is_done && work->reply.body.size == 0)) return MHD_NO;
  return is_done ? send_reply(self, to, &work->reply) : MHD_YES;
}

// ---- taking ------------------------------------------------------------------------------------------------------

static const char *header_of(struct MHD_Connection *from, const char *name) {
  return MHD_lookup_connection_value(from, MHD_HEADER_KIND, name);
}

static bool is_json(const char *content_type) {
  static const char wanted[] = "application/json";
  const size_t length = sizeof(wanted) - 1;
  return content_type != NULL && strncasecmp(content_type, wanted, length) == 0 &&
         (content_type[length] == '\0' || content_type[length] == ';' || content_type[length] == ' ');
}

static void refuse_method(exchange *self, const char *method) {
  http_reply *reply = &self->reply;
  const bool is_post = self->row->is_post;
  if (strcmp(method, "OPTIONS") == 0 && self->server->options.allowed_origin != NULL) {
    reply->status = 204;
    reply->content_type = "text/plain";
    return;
  }
  http_reply_error(reply, 405, "method_not_allowed", NULL, is_post ? "this path takes POST" : "this path takes GET");
  reply->allow = is_post ? "POST" : "GET, HEAD";
}

// Headers that say where a request ends, or for whom it is.
typedef struct framing {
  uint32_t lengths, encodings, hosts;
  bool is_broken;
} framing;

static enum MHD_Result note_header(void *context, enum MHD_ValueKind kind, const char *name, const char *value) {
  framing *found = context;
  (void)kind;
  found->lengths += strcasecmp(name, "Content-Length") == 0;
  found->hosts += strcasecmp(name, "Host") == 0;
  if (strcasecmp(name, "Transfer-Encoding") == 0) {
    found->encodings++;
    found->is_broken = found->is_broken || value == NULL || strcasecmp(value, "chunked") != 0;
  }
  found->is_broken = found->is_broken || strpbrk(name, " \t") != NULL;
  return MHD_YES;
}

// Whether a proxy before this server would find the same end of the request (RFC 9112, sections 5.1 and 6.3): else it
// could take for a request of its own what a client has hidden in another's body.
static bool has_one_end(struct MHD_Connection *from) {
  framing found = {0};
  (void)MHD_get_connection_values(from, MHD_HEADER_KIND, note_header, &found);
  return !found.is_broken && found.lengths + found.encodings <= 1 && found.hosts <= 1;
}

// What can be refused by the headers alone.
static void check_headers(exchange *self, struct MHD_Connection *from, const char *method) {
  const dure_server_options *options = &self->server->options;
  http_reply *reply = &self->reply;
  const char *size = header_of(from, "Content-Length");
  const bool fits =
      self->row == NULL ||
      (self->row->is_post ? strcmp(method, "POST") == 0 : strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0);
  const bool is_preflight = strcmp(method, "OPTIONS") == 0 && options->allowed_origin != NULL;
  if (self->opened != NULL && self->opened->is_surplus) {
    http_reply_error(reply, 503, "too_many_connections", NULL, "too many connections are open; try again later");
  } else if (!has_one_end(from)) {
    http_reply_error(reply, 400, "ambiguous_request", NULL,
                     "the headers contradict each other about the body's length or the host");
    self->is_last = true;
  } else if (!access_has_host(options, header_of(from, "Host"))) {
    http_reply_error(
        reply, 403, "host_not_allowed", NULL,
        "this server answers to localhost and its address alone; ask it so, or give it a key or an origin");
  } else if (!access_has_origin(options, header_of(from, "Origin"), header_of(from, "Host"))) {
    http_reply_error(reply, 403, "origin_not_allowed", NULL, "pages of this origin may not ask this server");
  } else if (!access_has_key(options, header_of(from, "Authorization"), &self->key) &&
             !(self->row != NULL && self->row->is_open) && !is_preflight) {
    http_reply_error(reply, 401, "invalid_api_key", NULL,
                     "the API key is missing or wrong; send it as 'Authorization: Bearer KEY'");
  } else if (self->row == NULL) {
    http_reply_error(reply, 404, "not_found", NULL,
                     "there is no such path; docs/serving.md lists those that there are");
  } else if (!fits) {
    refuse_method(self, method);
  } else if (self->row->is_post && !is_json(header_of(from, "Content-Type"))) {
    http_reply_error(reply, 415, "unsupported_media_type", NULL,
                     "the body must be sent as Content-Type: application/json");
  } else if (size != NULL && strtoull(size, NULL, 10) > options->body_bytes) {
    http_reply_error(reply, 413, "body_too_large", NULL, "the body is larger than this server takes");
  }
}

// An API key is a client, else an address.
static uint32_t turn_of(const exchange *self, struct MHD_Connection *from) {
  uint64_t hash = UINT64_C(14695981039346656037);
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(from, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  const unsigned char *bytes = (const unsigned char *)&self->key;
  size_t size = sizeof(self->key);
  if (self->key == 0 && info != NULL && info->client_addr->sa_family == AF_INET) {
    bytes = (const unsigned char *)&((const struct sockaddr_in *)(const void *)info->client_addr)->sin_addr;
    size = sizeof(struct in_addr);
  } else if (self->key == 0 && info != NULL && info->client_addr->sa_family == AF_INET6) {
    bytes = (const unsigned char *)&((const struct sockaddr_in6 *)(const void *)info->client_addr)->sin6_addr;
    size = sizeof(struct in6_addr);
  }
  for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
  return (uint32_t)((hash ^ hash >> 32) % TURN_SLOTS);
}

static enum MHD_Result begin(dure_server *server, struct MHD_Connection *from, const char *url, const char *method,
                             void **out_exchange) {
  exchange *self = calloc(1, sizeof(*self));
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(from, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  if (self == NULL) return MHD_NO;
  *out_exchange = self;
  self->server = server;
  self->opened = info != NULL ? info->socket_context : NULL;
  self->row = endpoint_find(url);
  self->path = strdup(url);
  if (self->path == NULL) return MHD_NO;
  check_headers(self, from, method);
  // Who waits to be told to send its body is told to keep it.
  if (self->reply.status != 0 && header_of(from, "Expect") != NULL) self->is_last = true;
  self->with_body = header_of(from, "Content-Length") != NULL || header_of(from, "Transfer-Encoding") != NULL;
  connections_set(&server->connections, self->opened, self->with_body ? CONNECTION_BODY : CONNECTION_BUSY);
  return MHD_YES;
}

static void free_body(exchange *self) {
  atomic_fetch_sub(&self->server->body_bytes, self->body.size);
  dure_bytes_free(&self->body);
}

static void append_body(exchange *self, const char *bytes, size_t size) {
  const uint64_t most = self->server->options.body_bytes * BODIES_MOST;
  const uint64_t held = atomic_fetch_add(&self->server->body_bytes, size) + size;
  const size_t before = self->body.size;
  if (held <= most) dure_bytes_append(&self->body, bytes, size);
  atomic_fetch_sub(&self->server->body_bytes, size - (self->body.size - before));
  if (held <= most) return;
  free_body(self);
  http_reply_error(&self->reply, 503, NULL, NULL, "too many large bodies arrive at once; try again later");
}

// A refused body is read all the same, up to a bound: who is still sending could not read the refusal.
static enum MHD_Result take_body(exchange *self, const char *bytes, size_t size) {
  const dure_server_options *options = &self->server->options;
  if (self->reply.status == 0 && self->body.size + size > options->body_bytes) {
    free_body(self);
    http_reply_error(&self->reply, 413, "body_too_large", NULL, "the body is larger than this server takes");
  }
  if (self->reply.status == 0) {
    append_body(self, bytes, size);
    return self->body.is_failed ? MHD_NO : MHD_YES;
  }
  self->discarded += size;
  return self->discarded > options->body_bytes + (UINT64_C(64) << 20) ? MHD_NO : MHD_YES;
}

static void handle(exchange *self, struct MHD_Connection *from) {
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(from, MHD_CONNECTION_INFO_CONNECTION_FD);
  const size_t own = strlen(self->row->path);
  const http_request request = {.server = self->server,
                                .rest = self->path + (strlen(self->path) < own ? strlen(self->path) : own),
                                .body = self->body.data,
                                .length = self->body.size,
                                .turn = turn_of(self, from)};
  self->row->serve(&request, &self->reply, &self->job);
  free_body(self);
  if (self->job == NULL) return;
  pthread_mutex_lock(&self->server->lock);
  self->job->connection = from;
  self->job->descriptor = info != NULL ? info->connect_fd : -1;
  pthread_mutex_unlock(&self->server->lock);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *from, const char *url, const char *method,
                                  const char *version, const char *bytes, size_t *size, void **state) {
  exchange *self = *state;
  (void)version;
  if (self == NULL) {
    const enum MHD_Result result = begin(context, from, url, method, state);
    self = *state;
    if (result == MHD_NO || !self->is_last) return result;
    self->is_handled = true;
    connections_set(&self->server->connections, self->opened, CONNECTION_BUSY);
    return send_reply(self, from, &self->reply);
  }
  if (*size > 0) {
    const enum MHD_Result result = take_body(self, bytes, *size);
    *size = 0;
    return result;
  }
  if (!self->is_handled) {
    self->is_handled = true;
    connections_set(&self->server->connections, self->opened, CONNECTION_BUSY);
    if (self->reply.status == 0) handle(self, from);
  }
  return self->job != NULL ? send_job(self, from) : send_reply(self, from, &self->reply);
}

static void on_end(void *context, struct MHD_Connection *from, void **state, enum MHD_RequestTerminationCode how) {
  exchange *self = *state;
  dure_server *server = context;
  (void)from;
  (void)how;
  if (self == NULL) return;
  *state = NULL;
  if (self->job != NULL) {
    pthread_mutex_lock(&server->lock);
    self->job->connection = NULL;
    self->job->descriptor = -1;
    if (!self->job->is_done) job_cancel(self->job);
    pthread_mutex_unlock(&server->lock);
    job_release(self->job);
  }
  connections_set(&server->connections, self->opened, CONNECTION_KEPT);
  http_reply_clear(&self->reply);
  free_body(self);
  free(self->path);
  free(self);
}

static void on_connection(void *context, struct MHD_Connection *from, void **state,
                          enum MHD_ConnectionNotificationCode what) {
  dure_server *server = context;
  if (what == MHD_CONNECTION_NOTIFY_STARTED) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(from, MHD_CONNECTION_INFO_CONNECTION_FD);
    *state = info != NULL ? connections_add(&server->connections, info->connect_fd) : NULL;
  } else if (*state != NULL) {
    connections_remove(&server->connections, *state);
    *state = NULL;
  }
}

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status parse_address(const dure_server_options *options, struct sockaddr_storage *out_address,
                                 bool *out_is_v6) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)out_address;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out_address;
  memset(out_address, 0, sizeof(*out_address));
  *out_is_v6 = strchr(options->host, ':') != NULL;
  if (*out_is_v6 && inet_pton(AF_INET6, options->host, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(options->port);
    return NULL;
  }
  if (!*out_is_v6 && inet_pton(AF_INET, options->host, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(options->port);
    return NULL;
  }
  return dure_fail(DURE_INVALID_ARGUMENT, "'%.60s' is not an address such as 127.0.0.1, 0.0.0.0 or ::1", options->host);
}

dure_status http_start(dure_server *server, http_transport **out_transport) {
  struct sockaddr_storage address;
  bool is_v6 = false;
  *out_transport = NULL;
  DURE_TRY(parse_address(&server->options, &address, &is_v6));
  http_transport *self = calloc(1, sizeof(*self));
  if (self == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a server");
  self->server = server;
  // Each thread takes its part of the connections; more than there may be, so that the surplus can be told.
  const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | (is_v6 ? MHD_USE_IPv6 : 0);
  self->daemon = MHD_start_daemon(
      flags, server->options.port, NULL, NULL, on_request, server, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address,
      MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS, MHD_OPTION_CONNECTION_LIMIT,
      (unsigned)server->options.connections + SURPLUS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_OF_CONNECTION,
      MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)INACTIVE_SECONDS, MHD_OPTION_LISTENING_ADDRESS_REUSE, (unsigned)1,
      MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_LISTEN_BACKLOG_SIZE, (unsigned)4096, MHD_OPTION_NOTIFY_COMPLETED,
      on_end, server, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_END);
  if (self->daemon == NULL) {
    free(self);
    return dure_fail_errno("cannot listen at %s, port %u", server->options.host, server->options.port);
  }
  *out_transport = self;
  return NULL;
}

uint16_t http_port(const http_transport *transport) {
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(transport->daemon, MHD_DAEMON_INFO_BIND_PORT);
  return info != NULL ? info->port : 0;
}

void http_stop(http_transport *transport) {
  if (transport == NULL) return;
  MHD_stop_daemon(transport->daemon);
  free(transport);
}
