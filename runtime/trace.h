// DURE_TRACE=FILE: a Chrome trace (chrome://tracing, Perfetto) of every op and submission, for people who look for
// time.
//
// Tracing waits after each submission, so that a run with it is slower than without; the ops' own times are the
// device's. Devices without timestamps give one event a submission. Of several ranks each has a file of its own, with
// the rank's number behind: FILE.0, FILE.1. Times are of the machine's clock, so that ranks of one machine compare.
#ifndef DURE_RUNTIME_TRACE_H_
#define DURE_RUNTIME_TRACE_H_

#include <stdint.h>

#include "runtime/hal.h"

// With DURE_TRACE_SPANS=1 nothing waits, and only spans are written: what overlaps is seen to.
bool dure_trace_enabled(void);
bool dure_trace_waits(void);  // enabled, and not for spans alone
// Appends the commands of recordings that have just completed, between two host times (dure_os_nanoseconds).
void dure_trace_submission(const char *label, dure_recording *const *recordings, size_t count, uint64_t begin,
                           uint64_t end);

// Something of the host's between two times, in a row of its own: "collectives". Any thread.
void dure_trace_span(const char *row, const char *label, uint64_t begin, uint64_t end);

#endif  // DURE_RUNTIME_TRACE_H_
