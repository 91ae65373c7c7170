// RUN/metrics.jsonl: one JSON object a step, appended as training goes.
//
//   step               from 1
//   loss               nats a token, mean over the step's labels
//   lr                 learning rate of the step
//   grad_norm          global gradient norm before clipping
//   tokens             labels trained on since the run began, this step included
//   tokens_per_second, flops_per_second, seconds    of this step
//   device_memory_bytes  taken on the device, at most so far
//   communication_seconds, exposed_seconds  only of several ranks: while collectives moved bytes, since the step
//   before,
//                      and of that, while the first rank's device waited for them, other ranks' delays included
//   loss_scale, skipped_steps  only of f16: the factor of the step's losses, and steps so far that an overflow has cost
//   eval_loss, bits_per_byte   only in lines of steps after which the held-out split was evaluated
#ifndef DURE_MODEL_METRICS_H_
#define DURE_MODEL_METRICS_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_metrics_row {
  uint64_t step;
  double loss, learning_rate, gradient_norm;
  uint64_t tokens;
  double tokens_per_second, flops_per_second, seconds;
  uint64_t device_memory_bytes;
  double communication_seconds, exposed_seconds;  // 0: a rank alone, or not known
  double loss_scale;                              // 0: losses are not scaled
  uint64_t skipped_steps;
  bool has_evaluation;
  double evaluation_loss, bits_per_byte;  // bits_per_byte is 0 when the bytes are unknown
} dure_metrics_row;

typedef struct dure_metrics_file dure_metrics_file;

// Opens `path` for appending after cutting it back to the lines of steps 1..`last_step` (0: an empty file); a line
// that is not whole ends what is kept. `visit` (may be NULL) sees every line that is kept, in order.
typedef void (*dure_metrics_visit)(void *context, const dure_metrics_row *row);
DURE_MUST_CHECK dure_status dure_metrics_open(const char *path, uint64_t last_step, dure_metrics_visit visit,
                                              void *context, dure_metrics_file **out_file);
DURE_MUST_CHECK dure_status dure_metrics_append(dure_metrics_file *file, const dure_metrics_row *row);
DURE_MUST_CHECK dure_status dure_metrics_sync(dure_metrics_file *file);
void dure_metrics_close(dure_metrics_file *file);  // NULL is fine

#endif  // DURE_MODEL_METRICS_H_
