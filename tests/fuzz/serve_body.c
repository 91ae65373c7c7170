// Bodies of requests, as the server reads them before it looks at its model: the first byte chooses the endpoint.
#include <stdlib.h>
#include <string.h>

#include "serve/generation_request.h"
#include "serve/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void read_generation(json_t *body, bool is_chat) {
  generation_request request;
  char field[64];
  dure_status status = generation_request_read(body, is_chat, &request, field, sizeof(field));
  if (status == NULL && !is_chat &&
      (request.prompts.count == 0 || request.prompts.count * request.best_of > CHOICES_MOST))
    abort();
  if (status == NULL && is_chat) {
    json_t *variables = messages_variables(request.body);
    if (json_array_size(json_object_get(variables, "messages")) == 0) abort();
    json_decref(variables);
  }
  dure_status_free(status);
  generation_request_clear(&request);
}

static void read_texts(json_t *body) {
  field_reader reader = {.object = body};
  prompt_set set = {0};
  field_prompts(&reader, "input", CHOICES_MOST, &set);
  if (reader.status == NULL && set.count == 0) abort();
  dure_status_free(reader.status);
  prompt_set_clear(&set);
  json_decref(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  json_t *body = NULL;
  if (size == 0) return 0;
  dure_status status = body_parse((const char *)bytes + 1, size - 1, &body);
  if (status != NULL) {
    dure_status_free(status);
  } else if (bytes[0] % 3 == 2) {
    read_texts(body);
  } else {
    read_generation(body, bytes[0] % 3 == 1);
  }
  return 0;
}
