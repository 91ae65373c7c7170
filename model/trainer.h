// A training run from options to its last checkpoint: data, schedule, steps, evaluation, metrics, files.
//
// The run's directory is described in docs/formats.md. Given the same device, seed, data and options a run gives the
// same bits; stopped anywhere and resumed, too.
#ifndef DURE_MODEL_TRAINER_H_
#define DURE_MODEL_TRAINER_H_

#include "model/metrics.h"
#include "model/train_options.h"

typedef struct dure_train_progress {
  uint64_t step, steps;
  double loss;               // of the last step
  double tokens_per_second;  // smoothed
  double seconds_left;       // estimated; negative: not known yet
} dure_train_progress;

// How a run speaks; either function may be NULL.
typedef struct dure_train_observer {
  void *context;
  void (*progress)(void *context, const dure_train_progress *progress);                // after every step
  void (*evaluated)(void *context, uint64_t step, double loss, double bits_per_byte);  // bits_per_byte 0: unknown
  void (*message)(void *context, const char *text);  // what a person should know: one sentence, no newline
} dure_train_observer;

typedef struct dure_train_result {
  uint64_t step;   // reached
  double loss;     // of the last step (NaN: none was made)
  uint64_t waits;  // of the host for the device, all in all: one a step, and those of preparing, evaluating and saving
  bool has_evaluation;
  double evaluation_loss, bits_per_byte;
  bool is_other_rank;     // of several ranks not the first, which speaks for all
  char checkpoint[4096];  // the last one saved or found; "" when there is none
} dure_train_result;

// Trains, with the other ranks that a launcher has started. `resume`: go on from the newest checkpoint in options->out;
// without one the run begins anew, which is said. Without `resume` a directory that already holds checkpoints is
// refused.
//
// DURE_CANCELLED after an interrupt (the state has been saved); DURE_NOT_FINITE when the loss is not (naming step and
// op; the last checkpoint is good); DURE_INVALID_ARGUMENT, DURE_UNSUPPORTED, DURE_OUT_OF_MEMORY, DURE_IO as elsewhere.
// DURE_RANK_LOST names the rank that died, hangs or gave up; checkpoints that were complete before are.
// `out_result` is filled as far as the run got in every case.
DURE_MUST_CHECK dure_status dure_train(const dure_train_options *options, bool resume,
                                       const dure_train_observer *observer, dure_train_result *out_result);

#endif  // DURE_MODEL_TRAINER_H_
