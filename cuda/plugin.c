// The plugin's one entry point, and what the program has lent it.
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "cuda/internal.h"
#include "cuda/list.h"
#include "runtime/cuda_plugin.h"

static const dure_cuda_host *lent;

void cuda_log(dure_log_level level, const char *format, ...) {
  if (lent == NULL || !lent->log_enabled(level)) return;
  char message[2048];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  lent->log(NULL, level, message);
}

static void attach(const dure_cuda_host *host) { lent = host; }

__attribute__((visibility("default"))) const dure_cuda_plugin *dure_cuda_plugin_get(void);

const dure_cuda_plugin *dure_cuda_plugin_get(void) {
  static dure_cuda_plugin plugin;
  plugin = (dure_cuda_plugin){.layout = dure_cuda_layout_here(),
                              .version = DURE_VERSION,
                              .backend = {.name = "cuda", .list = cuda_list, .open = cuda_open},
                              .attach = attach};
  return &plugin;
}
