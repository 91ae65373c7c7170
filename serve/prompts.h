// What a model is to continue, embed or count: one text or many, as characters or as token ids.
#ifndef DURE_SERVE_PROMPTS_H_
#define DURE_SERVE_PROMPTS_H_

#include "data/tokenizer.h"
#include "serve/fields.h"

typedef struct prompt {
  const char *text;  // owned by the body; NULL: given as ids; once submitted only whether it is NULL counts
  size_t length;
  dure_ids tokens;
} prompt;

typedef struct prompt_set {
  prompt *prompts;
  size_t count;
} prompt_set;

// A text, a list of texts, a list of ids, or a list of lists of ids; at most `most` of them. The mistake is the
// reader's. Release with prompt_set_clear.
void field_prompts(field_reader *reader, const char *name, size_t most, prompt_set *out_set);
void prompt_set_clear(prompt_set *list);

#endif  // DURE_SERVE_PROMPTS_H_
