// Training steps on a device: the programs, their buffers, and one call a step. Knows no files and no clock.
//
// A step is `accumulate` micro-steps of B sequences of T tokens, then one AdamW update. With one micro-step its program
// overwrites the gradients; with several the gradients are cleared first and each micro-step adds, so that there is one
// program with one arena of activations either way. The gradient of every label is 1 / (valid labels of the whole
// step): the loss that is minimised is the mean over the step's tokens, however they are cut into micro-steps.
//
// Steps are submitted without waiting; their results are collected in order, at most DURE_TRAINING_MAX_IN_FLIGHT
// behind.
#ifndef DURE_MODEL_TRAINING_H_
#define DURE_MODEL_TRAINING_H_

#include "model/exchange.h"
#include "model/model.h"
#include "model/training_programs.h"

enum { DURE_TRAINING_MAX_IN_FLIGHT = 2 };

typedef struct dure_training dure_training;

// Dynamic loss scaling, which f16 needs: the device adapts it (gradient_clip in ops.h).
typedef struct dure_loss_scaling {
  double scale;         // of the next step's losses; 1 without scaling
  uint64_t good_steps;  // in a row, since the scale last changed
  uint64_t skipped;     // steps so far that changed nothing, because gradients overflowed
} dure_loss_scaling;

typedef struct dure_training_result {
  double loss;           // nats, mean over the step's valid labels, before the update
  double gradient_norm;  // before clipping; not finite for a step that was skipped
  bool is_left_out;      // the norm was above the limit: no parameter was changed by this step
  bool is_finite;        // false: loss or norm were not finite, and no parameter was changed by this step or any since
  dure_loss_scaling scaling;  // after the step
} dure_training_result;

// The model must outlive it, and have been opened as dure_training_model_options says. Moments begin at zero.
DURE_MUST_CHECK dure_status dure_training_create(dure_model *model, const dure_training_options *options,
                                                 dure_training **out_training);
// The same with other ranks, each of which has a part of a step's rows: B, T and accumulate are those of this one. All
// must have the same model and options otherwise. The communicators must outlive it.
DURE_MUST_CHECK dure_status dure_training_create_among(dure_model *model, const dure_training_options *options,
                                                       const dure_exchange_ranks *ranks, dure_training **out_training);
void dure_training_destroy(dure_training *training);  // NULL is fine; waits

// How the model of a training with these options must be kept on a device.
dure_model_options dure_training_model_options(const dure_training_options *options, const dure_device *device);

// Enqueues one step. Fails with DURE_INVALID_ARGUMENT when too many are in flight or no label is valid.
//   tokens, labels  [accumulate, B, T] u32; labels may be DURE_IGNORE_LABEL
//   update          number of this update from 1 (bias correction)
DURE_MUST_CHECK dure_status dure_training_submit(dure_training *training, uint64_t update, double learning_rate,
                                                 const uint32_t *tokens, const uint32_t *labels);
// The same with other ranks: `all_labels` are valid in all their rows, and the result is that of all.
DURE_MUST_CHECK dure_status dure_training_submit_part(dure_training *training, uint64_t update, double learning_rate,
                                                      const uint32_t *tokens, const uint32_t *labels,
                                                      uint64_t all_labels);
// Updates of steps whose gradient norm is above it are left out; 0: none. Each submit then waits for the norm. Only
// where the options say that there are limits.
void dure_training_set_limit(dure_training *training, double limit);
// Of several ranks: makes one norm of theirs before it is held against the limit, so that they decide alike whatever
// the last bits of their devices' square roots are.
typedef dure_status (*dure_norm_agreement)(void *context, double *norm);
void dure_training_set_agreement(dure_training *training, dure_norm_agreement agree, void *context);
// What the ranks have sent each other so far, and how long devices waited for it; all zero for a rank alone.
dure_communicator_statistics dure_training_communication(const dure_training *training);
// The stream waits for parameters that other ranks have updated, which otherwise come as the next step needs them:
// before anything else reads them.
DURE_MUST_CHECK dure_status dure_training_settle(dure_training *training);
uint32_t dure_training_in_flight(const dure_training *training);
// The next update, before which nothing changes the parameters and moments, begins when the event has reached the
// value. The event must stay until then; NULL: forget it.
void dure_training_hold_update(dure_training *training, dure_event *event, uint64_t value);
// Waits for the oldest step in flight and returns its result.
DURE_MUST_CHECK dure_status dure_training_collect(dure_training *training, dure_training_result *out_result);

// Loss and gradients of one step without an update; `out_loss` as in the result.
DURE_MUST_CHECK dure_status dure_training_gradients(dure_training *training, const uint32_t *tokens,
                                                    const uint32_t *labels, double *out_loss);
// Loss and gradients of one step without an update, as a checksum of what this rank has of them: the same to the bit
// whenever it is computed from the same parameters. Other ranks call it too.
DURE_MUST_CHECK dure_status dure_training_checksum(dure_training *training, const uint32_t *tokens,
                                                   const uint32_t *labels, uint64_t all_labels, uint64_t *out_sum);
// The sum of the losses of one micro-step's labels, nats: for evaluations where parameters are kept in parts.
DURE_MUST_CHECK dure_status dure_training_forward(dure_training *training, const uint32_t *tokens,
                                                  const uint32_t *labels, double *out_sum);
// Buffers by the model's layout; NULL where the options ask for no such set. Gradients are those of the last step,
// times the loss scale.
const dure_parameter_buffers *dure_training_buffers(const dure_training *training, dure_training_set set);
const dure_model *dure_training_model(const dure_training *training);
const dure_training_options *dure_training_get_options(const dure_training *training);

// Loss scaling as of the last step collected, for a checkpoint, and back.
dure_loss_scaling dure_training_get_scaling(const dure_training *training);
DURE_MUST_CHECK dure_status dure_training_set_scaling(dure_training *training, const dure_loss_scaling *scaling);

// Runs a step op by op to find the first output that is not finite. `out_text` says which op, in which part of the
// model; "" when every value is finite this time, on this rank.
DURE_MUST_CHECK dure_status dure_training_explain(dure_training *training, const uint32_t *tokens,
                                                  const uint32_t *labels, char *out_text, size_t text_size);

// Floating-point operations of one step, and bytes of activations and workspace.
double dure_training_flops(const dure_training *training);
uint64_t dure_training_activation_bytes(const dure_training *training);

#endif  // DURE_MODEL_TRAINING_H_
