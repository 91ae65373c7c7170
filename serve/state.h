// What the parts of a server share. `lock` is over the fields below it and over those of jobs that say so; it is never
// held while the device or a client is waited for.
#ifndef DURE_SERVE_STATE_H_
#define DURE_SERVE_STATE_H_

#include <pthread.h>
#include <stdatomic.h>

#include "serve/connections.h"
#include "serve/constraints.h"
#include "serve/metrics.h"
#include "serve/server.h"

enum { TURN_SLOTS = 1024 };

typedef struct job job;
typedef struct choice choice;
typedef struct http_transport http_transport;

struct dure_server {
  dure_server_options options;  // its texts are owned, with defaults filled in
  dure_served_model served;
  int64_t started;   // wall clock
  uint32_t context;  // tokens that a sequence may have: of the engine, and of its cache
  http_transport *transport;
  connection_list connections;
  serve_metrics metrics;
  constraint_cache constraints;
  dure_embedder *embedder;  // of the device's thread
  pthread_t delivery;
  bool has_delivery;
  atomic_bool is_draining, is_device_lost;
  atomic_uint_least64_t body_bytes;  // of bodies that arrive, of all connections

  pthread_mutex_t lock;
  pthread_cond_t work, news;  // for the device's thread; for the delivery
  job *jobs;                  // all that are not done
  uint32_t job_count;
  uint64_t held_bytes;             // of their prompts
  choice *waiting, **waiting_end;  // in the order in which they came
  uint32_t waiting_count, running_count;
  choice *fresh;                          // taken by the engine, not yet seen by the delivery
  job *embeddings;                        // that wait, in the order in which they came
  uint64_t turns[TURN_SLOTS], last_turn;  // when a client, by the hash of its name, had its last turn
  uint64_t last_job, steps;               // of the engine
  bool is_stopping;
};

#endif  // DURE_SERVE_STATE_H_
