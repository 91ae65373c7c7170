// When a micro-step needs which whole pools: the order in which gradients are summed over the ranks and parameters
// gathered, between the calls of its program. Plain arithmetic over a recorded program; exchange.h carries it out.
//
// A pool's gradient can be summed as soon as the last call that writes it is done: backward passes end with the first
// layers, so most sums travel while the pass goes on. Where ranks keep parts of gradients or parameters alone
// (dure_sharding), whole pools exist for a window of calls, in staging slots that pools share whose windows do not
// overlap: parameters from their first to their last use in the forward pass, and again in the backward pass;
// gradients from the first to the last call that writes them. Where parts of the optimizer's states alone are kept,
// whole parameters travel after an update, and each pool is waited for when the next forward pass comes to it. Windows
// are taken to be longer by a neighbour's, so that one slot fills, or empties, while another is in use.
#ifndef DURE_MODEL_STAGING_H_
#define DURE_MODEL_STAGING_H_

#include "model/training_programs.h"

typedef enum dure_staging_kind {
  DURE_STAGING_RUN,      // calls [first, end)
  DURE_STAGING_MEET,     // what the last call has copied is summed over ranks, or exchanged: meetings[first]
  DURE_STAGING_GATHER,   // begin to gather a pool's parameters into its slot
  DURE_STAGING_NEED,     // they must be there
  DURE_STAGING_FORWARD,  // the forward pass is done
  DURE_STAGING_CLEAR,    // a gradient's slot to zeros: another pool's was in it
  DURE_STAGING_REDUCE,   // begin to sum a pool's gradient
  DURE_STAGING_FINISH,   // the sum must be there
} dure_staging_kind;

typedef struct dure_staging_action {
  dure_staging_kind kind;
  size_t pool;
  uint32_t first, end;
} dure_staging_action;

// Slots of one kind of pool; without any, pools are whole all the time.
typedef struct dure_staging_slots {
  size_t *of_pool;   // [pool_count]
  uint64_t *counts;  // [count]: elements
  size_t count;
} dure_staging_slots;

typedef struct dure_staging {
  dure_staging_action *actions;
  size_t action_count;
  uint32_t *cuts;  // of the program, for compile()
  size_t cut_count;
  dure_staging_slots parameters, gradients;
  dure_program_meeting *meetings;
  size_t meeting_count;
} dure_staging;

// Of a recorded micro-step and its tensors. Release with dure_staging_clear.
DURE_MUST_CHECK dure_status dure_staging_make(const dure_program *program, const dure_training_tensors *tensors,
                                              const dure_parameter_layout *layout, const dure_training_options *options,
                                              dure_staging *out_staging);
void dure_staging_clear(dure_staging *staging);
uint64_t dure_staging_bytes(const dure_staging *staging, const dure_training_options *options);  // of all slots

#endif  // DURE_MODEL_STAGING_H_
