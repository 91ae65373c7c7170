// Conversations with a model: its own template makes a prompt of them, and its own tokens end the answer.
//
//   dure_chat *chat = NULL;
//   DURE_TRY(dure_chat_open("some/model", tokenizer, &chat));
//   DURE_TRY(dure_chat_render(chat, request, &text, &length));     // then encode with parse_special, not add_special
//   ... generate until one of dure_chat_ends(chat, &count)
#ifndef DURE_MODEL_CHAT_H_
#define DURE_MODEL_CHAT_H_

#include <stddef.h>
#include <stdint.h>

#include "data/tokenizer.h"
#include "runtime/status.h"

struct json_t;
typedef struct dure_chat dure_chat;

// The template (model/companions.h) and special tokens of a model directory or GGUF file. A model without a template
// opens too. DURE_CORRUPT or DURE_UNSUPPORTED naming the template's line.
DURE_MUST_CHECK dure_status dure_chat_open(const char *model_path, const dure_tokenizer *tokenizer,
                                           dure_chat **out_chat);
void dure_chat_close(dure_chat *chat);  // NULL is fine
bool dure_chat_has_template(const dure_chat *chat);

// The prompt for a request: an object with "messages" (a list of objects with "role" and "content") and, if wanted,
// "tools", "documents", "add_generation_prompt" (true where it is missing) and whatever else the template knows.
// Release with free(). DURE_NOT_FOUND without a template, DURE_INVALID_ARGUMENT for a request of another shape or one
// that the template refuses.
DURE_MUST_CHECK dure_status dure_chat_render(const dure_chat *chat, const struct json_t *request, char **out_text,
                                             size_t *out_length);
// The same for one question; `system` may be NULL.
DURE_MUST_CHECK dure_status dure_chat_ask(const dure_chat *chat, const char *system, const char *question,
                                          size_t question_length, char **out_text, size_t *out_length);

// The tokens that end an answer: those of generation_config.json and config.json, the tokenizer's end of text. Owned
// by the chat.
const uint32_t *dure_chat_ends(const dure_chat *chat, size_t *out_count);

#endif  // DURE_MODEL_CHAT_H_
