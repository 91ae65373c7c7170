// The result of everything that can fail: nothing on success, or a code and a message a person can act on.
//
// A `dure_status` is NULL on success. Otherwise it owns a message that says what was expected, what was found,
// where, and what to do. Whoever receives a status either returns it to its own caller (DURE_TRY), prints and frees
// it (only the command line does that), or frees it. Ignoring one is a compile-time warning.
#ifndef DURE_RUNTIME_STATUS_H_
#define DURE_RUNTIME_STATUS_H_

#include <stdarg.h>
#include <stdbool.h>

typedef enum dure_code {
  DURE_OK = 0,
  DURE_INVALID_ARGUMENT,  // the caller asked for something that has no meaning
  DURE_NOT_FOUND,         // a file, tensor, device or option that does not exist
  DURE_UNSUPPORTED,       // meaningful, but not on this device or in this build
  DURE_OUT_OF_MEMORY,     // host, device or the budget given by the user
  DURE_DEVICE_LOST,       // the device or its driver went away; nothing on it can be read back
  DURE_IO,                // the operating system refused or a disk is full
  DURE_CORRUPT,           // a file's contents contradict its format or each other
  DURE_NOT_FINITE,        // NaN or infinity where training cannot go on
  DURE_RANK_LOST,         // another process of the run died, hangs or gave up; its name is in the message
  DURE_CANCELLED,         // the user or a supervisor asked to stop
  DURE_INTERNAL,          // a defect in Dure
} dure_code;

typedef struct dure_status_payload *dure_status;

#if defined(__GNUC__)
#define DURE_MUST_CHECK __attribute__((warn_unused_result))
#define DURE_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#else
#define DURE_MUST_CHECK
#define DURE_PRINTF(format_index, first_argument)
#endif

// A failed status with a formatted message. Never returns NULL, even when memory has run out.
DURE_MUST_CHECK dure_status dure_fail(dure_code code, const char *format, ...) DURE_PRINTF(2, 3);
DURE_MUST_CHECK dure_status dure_fail_v(dure_code code, const char *format, va_list arguments);

// DURE_IO (or DURE_NOT_FOUND, DURE_OUT_OF_MEMORY) for the C library's current `errno`; the message is followed by its
// text.
DURE_MUST_CHECK dure_status dure_fail_errno(const char *format, ...) DURE_PRINTF(1, 2);

// Puts "context: " in front of a failure's message, as it passes a layer that knows more. NULL stays NULL.
DURE_MUST_CHECK dure_status dure_status_prefix(dure_status status, const char *format, ...) DURE_PRINTF(2, 3);

dure_code dure_status_code(dure_status status);       // DURE_OK for NULL
const char *dure_status_message(dure_status status);  // "" for NULL; owned by the status
const char *dure_code_name(dure_code code);           // "invalid argument", ...
void dure_status_free(dure_status status);            // NULL is fine

// Keeps the first failure of several clean-up steps: returns `first` if it failed (freeing `second`), else `second`.
DURE_MUST_CHECK dure_status dure_status_join(dure_status first, dure_status second);

// Returns from the calling function when `expression` fails.
#define DURE_TRY(expression)                             \
  do {                                                   \
    dure_status dure_try_status = (expression);          \
    if (dure_try_status != NULL) return dure_try_status; \
  } while (0)

// Jumps to `label` when `expression` fails, leaving the failure in `status_variable`.
#define DURE_TRY_GOTO(status_variable, expression, label) \
  do {                                                    \
    (status_variable) = (expression);                     \
    if ((status_variable) != NULL) goto label;            \
  } while (0)

#endif  // DURE_RUNTIME_STATUS_H_
