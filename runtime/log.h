// Diagnostics for people who debug. The library prints nothing by itself: the command line installs a sink.
//
// Levels follow DURE_LOG: error, warning (default), info, debug. Progress of long work goes through callbacks of the
// function that does the work, not through the log; where nobody asked for the work (compiling kernels), through
// dure_progress.
#ifndef DURE_RUNTIME_LOG_H_
#define DURE_RUNTIME_LOG_H_

#include "runtime/status.h"

typedef enum dure_log_level { DURE_LOG_ERROR, DURE_LOG_WARNING, DURE_LOG_INFO, DURE_LOG_DEBUG } dure_log_level;

typedef void (*dure_log_sink)(void *context, dure_log_level level, const char *message);

// Not thread-safe: set once at start. NULL silences the log.
void dure_log_set_sink(dure_log_sink sink, void *context);
// The most detailed level that is passed on; from the environment's DURE_LOG until it is set.
void dure_log_set_level(dure_log_level level);
bool dure_log_enabled(dure_log_level level);
void dure_log(dure_log_level level, const char *format, ...) DURE_PRINTF(2, 3);

// What a long wait is about: a line on a terminal, replaced by the next one. The sink gets NULL at its end. Without a
// sink, nothing.
typedef void (*dure_progress_sink)(const char *text);
void dure_progress_set_sink(dure_progress_sink sink);
void dure_progress(const char *format, ...) DURE_PRINTF(1, 2);
void dure_progress_end(void);

#endif  // DURE_RUNTIME_LOG_H_
