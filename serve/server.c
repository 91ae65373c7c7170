#include "serve/server.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/os.h"
#include "serve/delivery.h"
#include "serve/http.h"
#include "serve/job.h"
#include "serve/scheduler.h"

enum { OTHER_FILES = 1024 };  // of the model, the device, and connections beyond the limit

// ---- options -----------------------------------------------------------------------------------------------------

static void free_texts(dure_server_options *options) {
  free((void *)(uintptr_t)options->host);
  free((void *)(uintptr_t)options->name);
  free((void *)(uintptr_t)options->allowed_origin);
  for (size_t i = 0; options->keys != NULL && i < options->key_count; i++) free((void *)(uintptr_t)options->keys[i]);
  free((void *)(uintptr_t)options->keys);
}

static dure_status copy_texts(dure_server_options *options, const dure_server_options *from) {
  const char **keys = calloc(from->key_count + 1, sizeof(*keys));
  options->host = strdup(from->host != NULL ? from->host : "127.0.0.1");
  options->name = strdup(from->name != NULL ? from->name : "model");
  options->allowed_origin = from->allowed_origin != NULL ? strdup(from->allowed_origin) : NULL;
  options->keys = keys;
  bool is_whole = keys != NULL && options->host != NULL && options->name != NULL;
  for (size_t i = 0; i < from->key_count && is_whole; i++) is_whole = (keys[i] = strdup(from->keys[i])) != NULL;
  return is_whole ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a server");
}

static void fill_defaults(dure_server_options *o) {
  if (o->body_bytes == 0) o->body_bytes = UINT64_C(8) << 20;
  if (o->queue == 0) o->queue = 1024;
  if (o->connections == 0) o->connections = 16384;
  if (!(o->request_seconds > 0)) o->request_seconds = 600;
  if (!(o->read_seconds > 0)) o->read_seconds = 30;
  if (!(o->drain_seconds > 0)) o->drain_seconds = 30;
  if (o->unsent_bytes == 0) o->unsent_bytes = UINT64_C(1) << 20;
  if (o->grammar_bytes == 0) o->grammar_bytes = UINT64_C(256) << 20;
  // Every connection is an open file, besides those of transport, device and model.
  const uint32_t files = dure_os_open_files(o->connections + OTHER_FILES);
  if (files < OTHER_FILES + o->connections) o->connections = files > 2 * OTHER_FILES ? files - OTHER_FILES : files / 2;
}

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status create(dure_server *server, const dure_server_options *options) {
  const dure_engine_statistics engine = dure_engine_statistics_get(server->served.engine);
  const uint64_t cache = (uint64_t)engine.blocks * dure_engine_block_size(server->served.engine);
  const uint32_t context = dure_engine_context(server->served.engine);
  DURE_TRY(copy_texts(&server->options, options));
  fill_defaults(&server->options);
  server->connections.most = server->options.connections;
  server->context = cache < context ? (uint32_t)cache : context;
  server->started = dure_os_unix_seconds();
  if (options->overflow == DURE_OVERFLOW_SHIFT && cache < context)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "shifting needs a cache that holds a whole context of %u tokens, and it holds %llu: ask for a "
                     "context of as many",
                     context, (unsigned long long)cache);
  DURE_TRY(dure_embedder_create(server->served.model,
                                &(dure_embedder_options){.pooling = options->pooling, .context = context},
                                &server->embedder));
  DURE_TRY(constraint_cache_create(server->served.tokenizer, server->options.grammar_bytes, &server->constraints));
  DURE_TRY(delivery_start(server));
  return http_start(server, &server->transport);
}

dure_status dure_server_start(const dure_server_options *options, const dure_served_model *served,
                              dure_server **out_server) {
  *out_server = NULL;
  dure_server *server = calloc(1, sizeof(*server));
  if (server == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a server");
  server->options = *options;
  server->options.host = server->options.name = server->options.allowed_origin = NULL;
  server->options.keys = NULL;
  server->served = *served;
  server->waiting_end = &server->waiting;
  pthread_mutex_init(&server->lock, NULL);  // on Linux none of these fails
  pthread_cond_init(&server->work, NULL);
  pthread_cond_init(&server->news, NULL);
  const double read_seconds = options->read_seconds > 0 ? options->read_seconds : 30;
  dure_status status = serve_metrics_create(&server->metrics);
  if (status == NULL)
    status =
        connections_create(&server->connections, options->connections > 0 ? options->connections : 16384, read_seconds);
  if (status == NULL) status = create(server, options);
  if (status != NULL) {
    dure_server_stop(server);
    return status;
  }
  *out_server = server;
  return NULL;
}

uint16_t dure_server_port(const dure_server *server) { return http_port(server->transport); }

void dure_server_stop(dure_server *server) {
  if (server == NULL) return;
  atomic_store(&server->is_draining, true);
  delivery_stop(server);
  // Those that were just told (503) get to read it; who does not is not waited for.
  for (int i = 0; i < 100 && server->transport != NULL && connections_busy(&server->connections) > 0; i++)
    dure_os_sleep(10000000);
  http_stop(server->transport);
  dure_embedder_destroy(server->embedder);
  constraint_cache_clear(&server->constraints);
  connections_clear(&server->connections);
  serve_metrics_clear(&server->metrics);
  pthread_cond_destroy(&server->work);
  pthread_cond_destroy(&server->news);
  pthread_mutex_destroy(&server->lock);
  free_texts(&server->options);
  free(server);
}

// ---- running -----------------------------------------------------------------------------------------------------

// Waits for work, at most a tenth of a second.
static void wait_for_work(dure_server *server) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 100000000;
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  pthread_mutex_lock(&server->lock);
  if (!scheduler_has_work(server)) pthread_cond_timedwait(&server->work, &server->lock, &until);
  pthread_mutex_unlock(&server->lock);
}

// Nothing is worked on, and all answers are sent.
static bool is_empty(dure_server *server) {
  pthread_mutex_lock(&server->lock);
  const bool found = server->jobs == NULL;
  pthread_mutex_unlock(&server->lock);
  return found && connections_busy(&server->connections) == 0;
}

dure_status dure_server_run(dure_server *server, bool (*should_stop)(void)) {
  uint64_t stop_at = 0;
  for (bool has_more = false;;) {
    scheduler_step(server, &has_more);
    if (stop_at == 0 && should_stop()) {
      atomic_store(&server->is_draining, true);
      stop_at = dure_os_nanoseconds() + (uint64_t)(server->options.drain_seconds * 1e9);
    }
    if (stop_at > 0 && (is_empty(server) || dure_os_nanoseconds() > stop_at)) return NULL;
    if (!has_more) wait_for_work(server);
  }
}
