// A copy of what a checkpoint holds of a training, taken while the device goes on.
//
// The copy lies in pinned host memory. A stream of its own fills it: it begins when the steps submitted so far are
// done, and the next update, the first thing that would change what is copied, waits for it on the device. So the
// gradients of the next step are computed meanwhile where the device copies and computes at once, and the host waits
// for neither.
#ifndef DURE_MODEL_SNAPSHOT_H_
#define DURE_MODEL_SNAPSHOT_H_

#include "model/training.h"

typedef struct dure_snapshot dure_snapshot;

// Bytes of host memory that a copy takes.
uint64_t dure_snapshot_bytes(const dure_training *training);
// The training must outlive it. DURE_UNSUPPORTED where a part of the state lies in host memory (which the host
// changes).
DURE_MUST_CHECK dure_status dure_snapshot_create(dure_training *training, dure_snapshot **out_snapshot);
void dure_snapshot_destroy(dure_snapshot *snapshot);  // NULL is fine; waits for a copy

// Begins to copy the state after the steps submitted so far. An earlier copy is overwritten: it must be complete, and
// nobody may read it.
DURE_MUST_CHECK dure_status dure_snapshot_take(dure_snapshot *snapshot);
// Whether the copy is complete; `waits`: when it is.
DURE_MUST_CHECK dure_status dure_snapshot_is_complete(dure_snapshot *snapshot, bool waits, bool *out_is_complete);
// A set of the copy, in host memory, for any thread; NULL where it has none.
const dure_parameter_buffers *dure_snapshot_buffers(const dure_snapshot *snapshot, dure_training_set set);

#endif  // DURE_MODEL_SNAPSHOT_H_
