// What stands beside a model's weights and is no configuration: how texts become prompts, and how answers end.
//
// Read from a Hugging Face directory (tokenizer_config.json, special_tokens_map.json, generation_config.json,
// chat_template.jinja) or from a GGUF file's keys, carried along by training and conversion, and written beside the
// weights again.
#ifndef DURE_MODEL_COMPANIONS_H_
#define DURE_MODEL_COMPANIONS_H_

#include <stddef.h>

#include "model/gguf.h"
#include "runtime/status.h"

struct json_t;

typedef struct dure_companions {
  struct json_t *tokenizer_config;   // an object; NULL: there is none
  struct json_t *generation_config;  // likewise
  char *chat_template;               // of chat_template.jinja, else tokenizer_config.json's; NULL: none
  char *tool_template;               // another for requests with tools, where there are several
} dure_companions;

// A path without any of them gives none. DURE_CORRUPT for files that are not JSON objects. Release with
// dure_companions_clear.
DURE_MUST_CHECK dure_status dure_companions_read(const char *model_path, dure_companions *out_companions);
// Of a GGUF file: the texts of its special tokens, their ids, its template.
DURE_MUST_CHECK dure_status dure_companions_of_gguf(const dure_gguf *file, dure_companions *out_companions);
void dure_companions_clear(dure_companions *companions);

// The text of a special token ("bos_token"), which files write as a text or as an object with "content"; NULL: none.
const char *dure_companions_token(const dure_companions *companions, const char *name);

// Writes tokenizer_config.json and chat_template.jinja into a directory; what there is none of is not written.
// `context_length` is told where the source did not say.
DURE_MUST_CHECK dure_status dure_companions_write(const dure_companions *companions, uint32_t context_length,
                                                  const char *directory);

#endif  // DURE_MODEL_COMPANIONS_H_
