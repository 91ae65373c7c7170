// The messages of a chat as templates know them: contents are texts.
#ifndef DURE_SERVE_MESSAGES_H_
#define DURE_SERVE_MESSAGES_H_

#include "serve/fields.h"

// Checks the object's "messages" and changes them: lists of text parts become one text, "developer" becomes "system".
// The mistake is the reader's.
void messages_normalise(field_reader *reader);

// What a template is given for such a body: "messages", "tools" unless "tool_choice" is "none", and
// "chat_template_kwargs" beside them. NULL when out of memory.
json_t *messages_variables(const json_t *body);

#endif  // DURE_SERVE_MESSAGES_H_
