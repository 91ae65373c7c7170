// A conversation on a terminal: `dure generate MODEL --chat` without a question.
//
// A line is a message; one that ends with a backslash goes on in the next. /reset forgets the conversation, /system
// TEXT begins another with that system's message, /save FILE writes the messages as JSON, /help lists these, /quit or
// the end of the input (Ctrl-D) ends. Ctrl-C ends an answer, of which what came is kept. Prompts and hints go to
// standard error where that is a terminal; answers alone to standard output.
#ifndef DURE_CLI_CHAT_SESSION_H_
#define DURE_CLI_CHAT_SESSION_H_

#include "model/chat.h"
#include "model/engine.h"

enum { CHAT_SESSION_CONTEXT_MOST = 8192 };  // tokens of a conversation, if the model knows more

typedef struct chat_session_options {
  dure_model *model;
  const dure_tokenizer *tokenizer;
  const dure_chat *chat;
  const char *system;    // NULL: none
  const char *stop;      // NULL: none
  dure_request request;  // of every answer but for its tokens
  dure_dtype cache_type;
  dure_engine_speculation speculation;
} chat_session_options;

DURE_MUST_CHECK dure_status chat_session_run(const chat_session_options *options);

#endif  // DURE_CLI_CHAT_SESSION_H_
