#include "runtime/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dure_status_payload {
  dure_code code;
  bool is_permanent;  // never freed; plugins have one of their own, so that its address says nothing
  char *message;
};

// Returned when there is no memory left to describe a failure.
static struct dure_status_payload out_of_memory_status = {DURE_OUT_OF_MEMORY, true, "out of host memory"};

dure_status dure_fail_v(dure_code code, const char *format, va_list arguments) {
  va_list measured;
  va_copy(measured, arguments);
  int length = vsnprintf(NULL, 0, format, measured);
  va_end(measured);
  if (length < 0) length = 0;

  struct dure_status_payload *status = malloc(sizeof(*status));
  char *message = malloc((size_t)length + 1);
  if (status == NULL || message == NULL) {
    free(status);
    free(message);
    return &out_of_memory_status;
  }
  message[0] = '\0';
  vsnprintf(message, (size_t)length + 1, format, arguments);
  status->code = code;
  status->is_permanent = false;
  status->message = message;
  return status;
}

dure_status dure_fail(dure_code code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  dure_status status = dure_fail_v(code, format, arguments);
  va_end(arguments);
  return status;
}

dure_status dure_fail_errno(const char *format, ...) {
  int error = errno;
  dure_code code = DURE_IO;
  if (error == ENOENT) code = DURE_NOT_FOUND;
  if (error == ENOMEM) code = DURE_OUT_OF_MEMORY;
  va_list arguments;
  va_start(arguments, format);
  dure_status status = dure_fail_v(code, format, arguments);
  va_end(arguments);
  if (status->is_permanent) return status;

  const char *reason = strerror(error);
  const char *advice = error == ENOSPC || error == EDQUOT ? "; make room or write elsewhere" : "";
  size_t size = strlen(status->message) + strlen(reason) + strlen(advice) + 3;
  char *message = malloc(size);
  if (message == NULL) return status;
  snprintf(message, size, "%s: %s%s", status->message, reason, advice);
  free(status->message);
  status->message = message;
  return status;
}

dure_status dure_status_prefix(dure_status status, const char *format, ...) {
  if (status == NULL || status->is_permanent) return status;
  va_list arguments;
  va_start(arguments, format);
  dure_status prefix = dure_fail_v(status->code, format, arguments);
  va_end(arguments);
  if (prefix->is_permanent) return status;

  size_t size = strlen(prefix->message) + strlen(status->message) + 3;
  char *message = malloc(size);
  if (message != NULL) {
    snprintf(message, size, "%s: %s", prefix->message, status->message);
    free(status->message);
    status->message = message;
  }
  dure_status_free(prefix);
  return status;
}

dure_code dure_status_code(dure_status status) { return status == NULL ? DURE_OK : status->code; }

const char *dure_status_message(dure_status status) { return status == NULL ? "" : status->message; }

const char *dure_code_name(dure_code code) {
  switch (code) {
    case DURE_OK: return "ok";
    case DURE_INVALID_ARGUMENT: return "invalid argument";
    case DURE_NOT_FOUND: return "not found";
    case DURE_UNSUPPORTED: return "unsupported";
    case DURE_OUT_OF_MEMORY: return "out of memory";
    case DURE_DEVICE_LOST: return "device lost";
    case DURE_IO: return "input/output";
    case DURE_CORRUPT: return "corrupt";
    case DURE_NOT_FINITE: return "not finite";
    case DURE_RANK_LOST: return "rank lost";
    case DURE_CANCELLED: return "cancelled";
    case DURE_INTERNAL: return "internal";
  }
  return "unknown";
}

void dure_status_free(dure_status status) {
  if (status == NULL || status->is_permanent) return;
  free(status->message);
  free(status);
}

dure_status dure_status_join(dure_status first, dure_status second) {
  if (first == NULL) return second;
  dure_status_free(second);
  return first;
}
