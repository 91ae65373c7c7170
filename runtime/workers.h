// A few threads that share the elements of one job at a time.
#ifndef DURE_RUNTIME_WORKERS_H_
#define DURE_RUNTIME_WORKERS_H_

#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_workers dure_workers;

// Handles elements [first, first + count); called by several threads at a time, for ranges that do not overlap.
typedef void (*dure_work)(void *context, uint64_t first, uint64_t count);

// `count` threads, at least 1; they sleep while there is nothing to do.
DURE_MUST_CHECK dure_status dure_workers_create(uint32_t count, dure_workers **out_workers);
void dure_workers_destroy(dure_workers *workers);  // NULL is fine; waits for the job
// Starts a job over `count` elements and returns. Ranges begin at multiples of `grain`; which thread does what makes no
// difference to results that do not depend on the order. One job at a time: wait before the next.
void dure_workers_start(dure_workers *workers, dure_work work, void *context, uint64_t count, uint64_t grain);
void dure_workers_wait(dure_workers *workers);

#endif  // DURE_RUNTIME_WORKERS_H_
