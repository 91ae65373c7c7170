#include "serve/log_lines.h"

#include "runtime/log.h"

void log_request(const char *path, int status) { dure_log(DURE_LOG_DEBUG, "%s %d", path, status); }
void log_device_failure(const char *message) { dure_log(DURE_LOG_ERROR, "the device failed: %s", message); }
