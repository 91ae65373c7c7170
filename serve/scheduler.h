// Who is served next, and the thread that drives the engine and the device.
//
// Sequences wait in one queue; the next is the first one of the client whose last turn is longest ago (a client is an
// API key, else an address), so that one with many requests does not keep others from theirs, and each client's come in
// their order. The engine is given a few more than it runs together, so that a place that becomes free is filled in the
// next step. Embeddings take turns with its steps.
#ifndef DURE_SERVE_SCHEDULER_H_
#define DURE_SERVE_SCHEDULER_H_

#include "serve/job.h"

// Queues all choices of a job, or its embedding, and puts it on the server's list, which holds it. DURE_CANCELLED when
// the queue is full, or the server is ending: *out_http_status is then 429 or 503.
DURE_MUST_CHECK dure_status scheduler_submit(job *self, int *out_http_status);
// With the lock held: its waiting choices are finished, its running ones end soon.
void scheduler_forget(job *self);
// With the lock held: whether something waits that a step would take.
bool scheduler_has_work(const dure_server *server);
// On the device's thread: takes what waits, runs a step of everything. *out_has_more: call again at once.
void scheduler_step(dure_server *server, bool *out_has_more);

#endif  // DURE_SERVE_SCHEDULER_H_
