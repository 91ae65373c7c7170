// tiktoken's ranks of any bytes either are refused or become a tokenizer that encodes and decodes without harm.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char text[] = "The tokenizer 학습 <|endoftext|> 123's\n\n x\xFF\xEA\xB0";
  const char *bytes = (const char *)data;
  char *json = NULL;
  size_t length;
  dure_tokenizer *tokenizer = NULL;
  dure_status status = dure_tiktoken_to_json(bytes, size, "cl100k_base", "", &json, &length);
  if (dure_is_tiktoken(bytes, size) && status == NULL) status = dure_tokenizer_parse(json, length, &tokenizer);
  free(json);
  if (status == NULL && tokenizer != NULL) {
    dure_ids ids = {0};
    char *decoded = NULL;
    size_t decoded_length = 0;
    status = dure_tokenizer_encode(tokenizer, text, sizeof(text) - 1, NULL, &ids);
    // Every byte has a rank, so the text comes back.
    if (status == NULL &&
        dure_tokenizer_decode(tokenizer, ids.ids, ids.count, false, &decoded, &decoded_length) != NULL)
      abort();
    if (status == NULL && (decoded_length != sizeof(text) - 1 || memcmp(decoded, text, decoded_length) != 0)) abort();
    free(decoded);
    dure_ids_free(&ids);
  }
  dure_tokenizer_close(tokenizer);
  dure_status_free(status);
  return 0;
}
