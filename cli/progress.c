#include "cli/progress.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include "runtime/os.h"

static const uint64_t interval = 100000000;  // nanoseconds
static uint64_t drawn;                       // when
static bool is_drawn;

void progress_show(const char *format, ...) {
  uint64_t now = dure_os_nanoseconds();
  if (now - drawn < interval || !dure_os_is_terminal(2)) return;
  drawn = now;
  is_drawn = true;
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  fprintf(stderr, "\r\033[K%.*s", (int)dure_os_terminal_columns(2) - 1, text);
  fflush(stderr);
}

void progress_clear(void) {
  if (is_drawn) fprintf(stderr, "\r\033[K");
  is_drawn = false;
}
