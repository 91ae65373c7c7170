// Counters and histograms in Prometheus's text format (version 0.0.4).
#ifndef DURE_SERVE_METRICS_H_
#define DURE_SERVE_METRICS_H_

#include <pthread.h>

#include "data/bytes.h"

#include <stddef.h>
#include <stdint.h>

enum { METRIC_BUCKETS = 20, METRIC_ROUTES = 12, METRIC_STATUSES = 24 };

typedef struct metric_histogram {
  uint64_t buckets[METRIC_BUCKETS + 1];  // the last: above all bounds
  uint64_t count;
  double sum;
} metric_histogram;

typedef enum metric_time {
  METRIC_FIRST_TOKEN,  // from the request's arrival
  METRIC_INTER_TOKEN,
  METRIC_QUEUE,    // until the engine took it
  METRIC_REQUEST,  // of requests that the device works for
  METRIC_TIME_COUNT,
} metric_time;

typedef struct serve_metrics {
  pthread_mutex_t mutex;  // over what follows
  metric_histogram times[METRIC_TIME_COUNT];
  uint64_t requests[METRIC_ROUTES][METRIC_STATUSES];
  uint64_t clients_left, clients_slow;
} serve_metrics;

DURE_MUST_CHECK dure_status serve_metrics_create(serve_metrics *metrics);
void serve_metrics_clear(serve_metrics *metrics);
// `count` events that took `seconds` each.
void serve_metrics_time(serve_metrics *metrics, metric_time which, double seconds, uint64_t count);
void serve_metrics_request(serve_metrics *metrics, uint32_t route, int status);
void serve_metrics_add(serve_metrics *metrics, uint64_t *counter, uint64_t amount);  // one of its own counters

struct dure_server;
void serve_metrics_page(struct dure_server *server, dure_bytes *out);  // appends the whole page

#endif  // DURE_SERVE_METRICS_H_
