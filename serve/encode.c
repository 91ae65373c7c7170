#include "serve/encode.h"

#include <stdio.h>
#include <string.h>

static dure_status check_ids(const dure_server *server, const dure_ids *ids) {
  const uint32_t vocabulary = server->served.model->config.vocabulary_size;
  for (size_t i = 0; i < ids->count; i++) {
    if (ids->ids[i] >= vocabulary)
      return dure_fail(DURE_INVALID_ARGUMENT, "token %u (number %zu) is not below the model's vocabulary of %u",
                       ids->ids[i], i, vocabulary);
  }
  return NULL;
}

dure_status encode_prompt(const dure_server *server, prompt *self, bool adds_special) {
  const dure_tokenizer *tokenizer = server->served.tokenizer;
  const dure_encode_options encoding = {.parse_special = true, .add_special = adds_special};
  uint32_t begin = 0;
  if (self->text == NULL) return check_ids(server, &self->tokens);
  DURE_TRY(dure_tokenizer_encode(tokenizer, self->text, self->length, &encoding, &self->tokens));
  if (self->tokens.count > 0) return NULL;
  if (!dure_tokenizer_end_of_text(tokenizer, &begin))
    return dure_fail(DURE_INVALID_ARGUMENT, "the text is empty, and the tokenizer has no token to begin with");
  DURE_TRY(dure_ids_reserve(&self->tokens, 1));
  self->tokens.ids[self->tokens.count++] = begin;
  return NULL;
}

bool encode_is_model(const dure_server *server, const char *name, http_reply *reply) {
  char message[256];
  if (name == NULL || strcmp(name, server->options.name) == 0) return true;
  snprintf(message, sizeof(message), "there is no model '%.80s'; this server has '%.80s'", name, server->options.name);
  http_reply_error(reply, 404, "model_not_found", "model", message);
  return false;
}
