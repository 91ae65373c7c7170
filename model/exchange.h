// What the ranks of a training exchange in a step: gradients summed as the backward pass produces them, parameters
// gathered around their use and after an update. Carries out what staging.h lists.
//
// Within a group of ranks parts are kept (`within`: as many ranks as the options have shards); groups that are replicas
// of each other, if there are several, sum their parts as well (`across`).
#ifndef DURE_MODEL_EXCHANGE_H_
#define DURE_MODEL_EXCHANGE_H_

#include "model/staging.h"
#include "runtime/communicator.h"

typedef struct dure_exchange_ranks {
  dure_communicator *within;
  dure_communicator *across;  // NULL: there is one group
  // Whose ranks have parts of the model's matrices, and of the sequences; NULL: they are whole. Those of `within` and
  // `across` have the same part of the matrices.
  dure_communicator *tensor, *sequence;
} dure_exchange_ranks;

typedef struct dure_exchange dure_exchange;

// Takes the staging (leaves it empty), and memory for its slots; the rest is borrowed.
DURE_MUST_CHECK dure_status dure_exchange_create(const dure_exchange_ranks *ranks, const dure_parameter_layout *layout,
                                                 const dure_training_options *options, dure_device *device,
                                                 dure_staging *staging, dure_exchange **out_exchange);
void dure_exchange_destroy(dure_exchange *exchange);  // NULL is fine; the caller has waited for the stream
// Where a micro-step's pool lies whole; NULL where it is in the training's own buffers.
dure_buffer *dure_exchange_slot(const dure_exchange *exchange, dure_training_set set, size_t pool);
// What is kept: pools, or this rank's parts of them. Must stay.
void dure_exchange_bind(dure_exchange *exchange, const dure_parameter_buffers *parameters,
                        const dure_parameter_buffers *gradients);

// Enqueues a micro-step, compiled with the staging's cuts. `is_last`: of its step; whole gradients are summed then.
// `add`: the program DURE_TRAINING_ADD compiled with a cut before each call, or NULL.
DURE_MUST_CHECK dure_status dure_exchange_micro_step(dure_exchange *exchange, dure_executable *micro_step,
                                                     dure_executable *add, dure_stream *stream, bool is_last);
// The same, op by op, until this rank finds an output that is not finite (`out_text` names it, else ""); what is left
// is then run as ever, as the other ranks have the same collectives to come to.
DURE_MUST_CHECK dure_status dure_exchange_find_not_finite(dure_exchange *exchange, dure_executable *micro_step,
                                                          dure_executable *add, dure_stream *stream, bool is_last,
                                                          char *out_text, size_t text_size);
const dure_staging *dure_exchange_staging(const dure_exchange *exchange);
// Its forward pass alone.
DURE_MUST_CHECK dure_status dure_exchange_forward(dure_exchange *exchange, dure_executable *micro_step,
                                                  dure_stream *stream);
// Sums an f32 value over the ranks that have the same part of the model; or one that parts have of their own: over the
// ranks of the group that have parts of the optimizer's states, if there are any, and over the model's parts.
DURE_MUST_CHECK dure_status dure_exchange_sum(dure_exchange *exchange, dure_stream *stream, dure_buffer *buffer,
                                              uint64_t offset, bool of_parts);
// Begins to gather whole parameters from the parts that the ranks have updated, those first that a forward pass needs
// first; nothing where parameters are kept in parts. The next micro-step waits for each pool when it comes to it;
// whatever else reads parameters must have settled before.
DURE_MUST_CHECK dure_status dure_exchange_parameters(dure_exchange *exchange, dure_stream *stream);
// The stream waits for parameters that are on their way.
DURE_MUST_CHECK dure_status dure_exchange_settle(dure_exchange *exchange, dure_stream *stream);
// The same for every collective that has begun and has not been joined, after a failure too: before their memory goes.
void dure_exchange_join_all(dure_exchange *exchange, dure_stream *stream);
// Of all its communicators together, so far.
dure_communicator_statistics dure_exchange_get_statistics(const dure_exchange *exchange);

#endif  // DURE_MODEL_EXCHANGE_H_
