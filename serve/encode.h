// From what requests name to what the model knows.
#ifndef DURE_SERVE_ENCODE_H_
#define DURE_SERVE_ENCODE_H_

#include "serve/prompts.h"
#include "serve/reply.h"
#include "serve/state.h"

// The tokens of a prompt that came as text; of an empty one, the token that begins a document. Ids that came are
// checked.
DURE_MUST_CHECK dure_status encode_prompt(const dure_server *server, prompt *self, bool adds_special);
// Whether the request names this server's model, or none; else the reply is 404.
bool encode_is_model(const dure_server *server, const char *name, http_reply *reply);

#endif  // DURE_SERVE_ENCODE_H_
