// Embeddings on the device's thread: a few texts between two steps of the engine, and their answer.
#ifndef DURE_SERVE_EMBEDDING_WORK_H_
#define DURE_SERVE_EMBEDDING_WORK_H_

#include "serve/job.h"

// The next texts of a waiting job; with the last, its reply. The job's mistakes are its reply; a failure is the
// device's.
DURE_MUST_CHECK dure_status embedding_work_step(job *self);

#endif  // DURE_SERVE_EMBEDDING_WORK_H_
