// AdamW over moments and masters that live in host memory, on the host's cores.
//
// Where the host reaches the device's buffers the update happens in place. Elsewhere gradients come in chunks: while
// one travels, the cores update the one before, and the parameters of the one before that, in the model's type, are on
// their way back. The result is the device's own, bit by bit, as far as adamw_host.h says.
#ifndef DURE_MODEL_OFFLOAD_H_
#define DURE_MODEL_OFFLOAD_H_

#include "model/training_programs.h"

typedef struct dure_offload dure_offload;

typedef struct dure_offload_sets {
  const dure_parameter_buffers *buffers[DURE_TRAINING_SET_COUNT];  // borrowed; NULL where there is no such set
} dure_offload_sets;

// Starts a thread for each core. The sets, the layout and the stream must outlive it.
DURE_MUST_CHECK dure_status dure_offload_create(const dure_parameter_layout *layout,
                                                const dure_training_options *options, const dure_offload_sets *sets,
                                                dure_stream *stream, dure_offload **out_offload);
void dure_offload_destroy(dure_offload *offload);  // NULL is fine

// One update of all pools; the operands of the row adamw as host values. Returns when every moment is updated; what is
// still on its way to the device comes before whatever is enqueued next.
//   step [DURE_STEP_COUNT], state [DURE_STATE_COUNT], random [4]
DURE_MUST_CHECK dure_status dure_offload_update(dure_offload *offload, const float *step, const float *state,
                                                const uint32_t *random);

#endif  // DURE_MODEL_OFFLOAD_H_
