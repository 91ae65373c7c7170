// A line on the terminal that is drawn again and again while a command works; nothing where standard error is a file.
#ifndef DURE_CLI_PROGRESS_H_
#define DURE_CLI_PROGRESS_H_

#include <stdbool.h>

#include "runtime/status.h"

// Draws the line anew, at most ten times a second, cut to the terminal's width: a wrapped one could not be taken back.
void progress_show(const char *format, ...) DURE_PRINTF(1, 2);
// Takes the line away, so that other text can follow.
void progress_clear(void);

#endif  // DURE_CLI_PROGRESS_H_
