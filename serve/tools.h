// Functions that a chat's model may ask its client to call: OpenAI's `tools` and `tool_choice`, and the calls in what
// the model says.
//
// The model's own template describes the tools to it. Calls are JSON objects with "name" and "arguments" (Llama's
// templates: "parameters"), between <tool_call> and </tool_call> where the template speaks of those (Hermes, Qwen).
// tool_choice "required" and a named function make the answer one call by a grammar, its arguments by the function's
// schema; "auto" leaves it to the model, and finds calls in its text.
#ifndef DURE_SERVE_TOOLS_H_
#define DURE_SERVE_TOOLS_H_

#include "serve/fields.h"

typedef enum tool_choice { TOOLS_NONE, TOOLS_AUTO, TOOLS_REQUIRED, TOOLS_NAMED } tool_choice;

typedef struct tool_request {
  const json_t *tools;  // of the request's body; NULL: none
  tool_choice choice;
  const char *name;           // of the one that must be called (TOOLS_NAMED)
  bool has_tags;              // as the template wants calls; tools_look_at_prompt
  const char *arguments_key;  // a literal
} tool_request;

// Reads "tools" and "tool_choice". The mistake is the reader's.
void tools_read(field_reader *reader, tool_request *out_request);
// How the prompt, which the template has made, tells the model to write calls: by what it has beyond the one `without`
// tools (NULL: there is none).
void tools_look_at_prompt(tool_request *request, const char *prompt, const char *without);
// The grammar of one call (TOOLS_REQUIRED, TOOLS_NAMED); free().
DURE_MUST_CHECK dure_status tools_write_grammar(const tool_request *request, char **out_text);
// Of a text that goes on, the bytes that are surely not of a call.
size_t tools_plain_length(const tool_request *request, const char *text, size_t length);
// The calls of a whole text as OpenAI has them, their ids made of `id` and numbers, and the length of what stands
// before them. NULL: there are none.
json_t *tools_find_calls(const tool_request *request, const char *text, size_t length, const char *id,
                         size_t *out_plain_length);

#endif  // DURE_SERVE_TOOLS_H_
