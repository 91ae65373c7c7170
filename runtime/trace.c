#include "runtime/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/world/internal.h"

static once_flag opened = ONCE_FLAG_INIT;
static FILE *file;

static void close_file(void) {
  fputs("\n]\n", file);
  fclose(file);
}

// The closing bracket may be missing in this format, so that a trace of a run that died can be read too.
static void open_file(void) {
  const char *path = getenv("DURE_TRACE");
  char own[4096];
  dure_launch launch;
  if (path == NULL || path[0] == '\0') return;
  dure_status status = dure_launch_read(&launch);
  if (status == NULL && launch.size > 1) {
    snprintf(own, sizeof(own), "%s.%u", path, launch.rank);
    path = own;
  }
  dure_status_free(status);
  file = fopen(path, "w");
  if (file == NULL) {
    dure_log(DURE_LOG_WARNING, "cannot write the trace '%s'; running without", path);
    return;
  }
  // The format needs a first event for the commas of the others.
  fputs("[\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":{\"name\":\"dure\"}}", file);
  atexit(close_file);
}

bool dure_trace_enabled(void) {
  call_once(&opened, open_file);
  return file != NULL;
}

bool dure_trace_waits(void) {
  const char *spans = getenv("DURE_TRACE_SPANS");
  return dure_trace_enabled() && (spans == NULL || strcmp(spans, "1") != 0);
}

// Labels are op names, shapes and scopes of our own; only quotes and backslashes would need an escape.
static void write_event(const char *name, const char *category, int thread, double start_us, double duration_us) {
  flockfile(file);  // other threads write whole events too
  fputs(",\n{\"name\":\"", file);
  for (const char *c = name; *c != '\0'; c++) {
    if (*c == '"' || *c == '\\') fputc('\\', file);
    fputc(*c, file);
  }
  fprintf(file, "\",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f}", category, thread,
          start_us, duration_us);
  funlockfile(file);
}

void dure_trace_span(const char *row, const char *label, uint64_t begin, uint64_t end) {
  if (!dure_trace_enabled()) return;
  write_event(label, row, 3, (double)begin / 1e3, (double)(end - begin) / 1e3);
}

void dure_trace_submission(const char *label, dure_recording *const *recordings, size_t count, uint64_t begin,
                           uint64_t end) {
  if (!dure_trace_enabled()) return;
  double start = (double)begin / 1e3;
  write_event(label, "submit", 1, start, (double)(end - begin) / 1e3);
  for (size_t r = 0; r < count; r++) {
    const dure_command_time *times = NULL;
    size_t time_count = 0;
    dure_status status = dure_recording_times(recordings[r], &times, &time_count);
    if (status != NULL) {  // no timestamps on this device
      dure_status_free(status);
      break;
    }
    for (size_t i = 0; i < time_count; i++) {  // the device's durations, laid end to end
      write_event(times[i].label, "op", 2, start, times[i].nanoseconds / 1e3);
      start += times[i].nanoseconds / 1e3;
    }
  }
  fflush(file);
}
