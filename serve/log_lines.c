#include "serve/log_lines.h"

#include <stddef.h>

#include "runtime/log.h"

// What a client sends must not make lines of its own, nor reach a terminal.
void log_request(const char *path, int status) {
  char shown[200];
  size_t length = 0;
  for (; path[length] != '\0' && length + 1 < sizeof(shown); length++)
    shown[length] = path[length] > ' ' && path[length] < 0x7f ? path[length] : '?';
  shown[length] = '\0';
  dure_log(DURE_LOG_DEBUG, "%s %d", shown, status);
}

void log_device_failure(const char *message) { dure_log(DURE_LOG_ERROR, "the device failed: %s", message); }
