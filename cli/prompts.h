// The prompts of `dure generate`: one from the command line or a file, or many from a file's lines.
#ifndef DURE_CLI_PROMPTS_H_
#define DURE_CLI_PROMPTS_H_

#include <stddef.h>

#include "runtime/status.h"

typedef struct prompt_text {
  char *text;  // owned; NUL behind it
  size_t length;
} prompt_text;

typedef struct prompt_list {
  prompt_text *prompts;
  size_t count, capacity;
} prompt_list;

// The text, or the whole file; an empty prompt when both are NULL.
DURE_MUST_CHECK dure_status prompt_list_one(const char *text, const char *path, prompt_list *out_list);
// A prompt a line: as it stands, or a JSON object's "prompt" (when the first character is a brace). Empty lines are
// passed over. DURE_INVALID_ARGUMENT names the line that is wrong.
DURE_MUST_CHECK dure_status prompt_list_read(const char *path, prompt_list *out_list);
void prompt_list_clear(prompt_list *list);

#endif  // DURE_CLI_PROMPTS_H_
