#include "runtime/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dure_log_sink installed_sink;
static void *installed_context;
static int level_limit = -1;  // not read from the environment yet

static dure_log_level level_from_environment(void) {
  const char *name = getenv("DURE_LOG");
  if (name == NULL) return DURE_LOG_WARNING;
  if (strcmp(name, "error") == 0) return DURE_LOG_ERROR;
  if (strcmp(name, "info") == 0) return DURE_LOG_INFO;
  if (strcmp(name, "debug") == 0) return DURE_LOG_DEBUG;
  return DURE_LOG_WARNING;
}

void dure_log_set_sink(dure_log_sink sink, void *context) {
  installed_sink = sink;
  installed_context = context;
}

void dure_log_set_level(dure_log_level level) { level_limit = (int)level; }

bool dure_log_enabled(dure_log_level level) {
  if (installed_sink == NULL) return false;
  if (level_limit < 0) level_limit = (int)level_from_environment();
  return (int)level <= level_limit;
}

void dure_log(dure_log_level level, const char *format, ...) {
  if (!dure_log_enabled(level)) return;
  char message[2048];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  installed_sink(installed_context, level, message);
}

static dure_progress_sink installed_progress;

void dure_progress_set_sink(dure_progress_sink sink) { installed_progress = sink; }

void dure_progress(const char *format, ...) {
  if (installed_progress == NULL) return;
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  installed_progress(text);
}

void dure_progress_end(void) {
  if (installed_progress != NULL) installed_progress(NULL);
}
