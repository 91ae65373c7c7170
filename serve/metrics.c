#include "serve/metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/bytes.h"
#include "serve/endpoints.h"

static const double bounds[METRIC_BUCKETS] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3,
                                              0.5,    0.75,  1,     2,     5,    10,   20,   60,  180, 600};
static const int statuses[METRIC_STATUSES] = {200, 204, 400, 401, 403, 404, 405, 413, 415, 422, 429, 500, 503};

dure_status serve_metrics_create(serve_metrics *metrics) {
  memset(metrics, 0, sizeof(*metrics));
  if (pthread_mutex_init(&metrics->mutex, NULL) != 0)
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a server");
  return NULL;
}

void serve_metrics_clear(serve_metrics *metrics) { pthread_mutex_destroy(&metrics->mutex); }

void serve_metrics_time(serve_metrics *metrics, metric_time which, double seconds, uint64_t count) {
  int bucket = 0;
  while (bucket < METRIC_BUCKETS && seconds > bounds[bucket]) bucket++;
  pthread_mutex_lock(&metrics->mutex);
  metric_histogram *h = &metrics->times[which];
  h->buckets[bucket] += count;
  h->count += count;
  h->sum += seconds * (double)count;
  pthread_mutex_unlock(&metrics->mutex);
}

void serve_metrics_request(serve_metrics *metrics, uint32_t route, int status) {
  int place = 0;
  while (place < METRIC_STATUSES - 1 && statuses[place] != status) place++;
  pthread_mutex_lock(&metrics->mutex);
  metrics->requests[route][place]++;
  pthread_mutex_unlock(&metrics->mutex);
}

void serve_metrics_add(serve_metrics *metrics, uint64_t *counter, uint64_t amount) {
  pthread_mutex_lock(&metrics->mutex);
  *counter += amount;
  pthread_mutex_unlock(&metrics->mutex);
}

// ---- the page ----------------------------------------------------------------------------------------------------

static void add_line(dure_bytes *out, const char *format, ...) DURE_PRINTF(2, 3);

static void add_line(dure_bytes *out, const char *format, ...) {
  char line[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof(line), format, arguments);
  va_end(arguments);
  dure_bytes_append_text(out, line);
}

static void add_value(dure_bytes *out, const char *name, const char *type, const char *help, double value) {
  add_line(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

static void add_histogram(dure_bytes *out, const char *name, const char *help, const metric_histogram *h) {
  uint64_t sum = 0;
  add_line(out, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
  for (int i = 0; i < METRIC_BUCKETS; i++) {
    sum += h->buckets[i];
    add_line(out, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[i], (unsigned long long)sum);
  }
  add_line(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", name, (unsigned long long)h->count, name,
           h->sum, name, (unsigned long long)h->count);
}

static void add_requests(dure_bytes *out, const serve_metrics *metrics) {
  add_line(out, "# HELP dure_requests_total Requests answered.\n# TYPE dure_requests_total counter\n");
  for (uint32_t route = 0; route <= endpoint_count; route++) {
    const char *path = route < endpoint_count ? endpoint_rows[route].path : "other";
    for (int i = 0; i < METRIC_STATUSES; i++) {
      if (metrics->requests[route][i] == 0) continue;
      add_line(out, "dure_requests_total{path=\"%s\",status=\"%d\"} %llu\n", path, statuses[i],
               (unsigned long long)metrics->requests[route][i]);
    }
  }
}

static void add_engine(dure_bytes *out, dure_server *server) {
  const dure_engine_statistics e = dure_engine_statistics_get(server->served.engine);
  pthread_mutex_lock(&server->lock);
  const uint32_t waiting = server->waiting_count, jobs = server->job_count;
  pthread_mutex_unlock(&server->lock);
  add_value(out, "dure_requests_open", "gauge", "Requests waiting or running.", jobs);
  add_value(out, "dure_sequences_waiting", "gauge", "Sequences in the queue.", (double)waiting + e.waiting);
  add_value(out, "dure_sequences_running", "gauge", "Sequences that run together now.", e.running);
  add_value(out, "dure_sequences_finished_total", "counter", "Sequences that have ended.", (double)e.finished);
  add_value(out, "dure_sequences_cancelled_total", "counter", "Of those, ended early.", (double)e.cancelled);
  add_value(out, "dure_sequences_preempted_total", "counter", "Times that one had to wait for room in the cache.",
            (double)e.preempted);
  add_value(out, "dure_prompt_tokens_total", "counter", "Tokens of prompts that were computed.",
            (double)e.prompt_tokens);
  add_value(out, "dure_prompt_tokens_reused_total", "counter", "Tokens of prompts that were found in the cache.",
            (double)e.reused_tokens);
  add_value(out, "dure_generated_tokens_total", "counter", "Tokens generated.", (double)e.generated_tokens);
  add_value(out, "dure_proposed_tokens_total", "counter", "Tokens guessed and verified (--speculate, --draft).",
            (double)e.proposed_tokens);
  add_value(out, "dure_accepted_tokens_total", "counter", "Of those, right.", (double)e.accepted_tokens);
  add_value(out, "dure_decode_steps_total", "counter", "Steps of decoding, whatever their width.",
            (double)e.decode_steps);
  add_value(out, "dure_decode_seconds_total", "counter", "Seconds in such steps.", e.decode_seconds);
  add_value(out, "dure_prompt_seconds_total", "counter", "Seconds in pieces of prompts.", e.prompt_seconds);
  add_value(out, "dure_cache_blocks", "gauge", "Blocks of the KV cache.", e.blocks);
  add_value(out, "dure_cache_blocks_used", "gauge", "Blocks that requests hold.", e.blocks_used);
  add_value(out, "dure_cache_blocks_kept", "gauge", "Blocks kept for prompts that begin alike.", e.blocks_kept);
  add_value(out, "dure_grammar_bytes", "gauge", "Memory of grammars, waiting, running and kept.",
            (double)dure_constraint_budget_used(server->constraints.budget));
  add_value(out, "dure_device_lost", "gauge", "1 when the device is lost.", atomic_load(&server->is_device_lost));
}

static void add_connections(dure_bytes *out, connection_list *list) {
  pthread_mutex_lock(&list->mutex);
  const double count = list->count, opened = (double)list->opened, refused = (double)list->refused,
               timed_out = (double)list->timed_out;
  pthread_mutex_unlock(&list->mutex);
  add_value(out, "dure_connections_open", "gauge", "Open connections.", count);
  add_value(out, "dure_connections_total", "counter", "Connections that were opened.", opened);
  add_value(out, "dure_connections_refused_total", "counter", "Of those, more than the limit.", refused);
  add_value(out, "dure_connections_timed_out_total", "counter", "Requests that did not arrive in time (408).",
            timed_out);
}

void serve_metrics_page(dure_server *server, dure_bytes *out) {
  static const char *const names[METRIC_TIME_COUNT][2] = {
      {"dure_time_to_first_token_seconds", "From a request's arrival to its first token."},
      {"dure_inter_token_seconds", "From one token to the next."},
      {"dure_queue_seconds", "From a request's arrival until the engine takes it."},
      {"dure_request_seconds", "From a request's arrival to its end."},
  };
  serve_metrics *metrics = &server->metrics;
  add_engine(out, server);
  add_connections(out, &server->connections);
  pthread_mutex_lock(&metrics->mutex);
  add_requests(out, metrics);
  add_value(out, "dure_clients_left_total", "counter", "Clients that closed before their answer.",
            (double)metrics->clients_left);
  add_value(out, "dure_clients_slow_total", "counter", "Streams ended because their client did not take them.",
            (double)metrics->clients_slow);
  for (int i = 0; i < METRIC_TIME_COUNT; i++) add_histogram(out, names[i][0], names[i][1], &metrics->times[i]);
  pthread_mutex_unlock(&metrics->mutex);
}
