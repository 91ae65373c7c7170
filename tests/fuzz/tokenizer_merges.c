// GPT-2's two files of any bytes, vocab.json and behind a NUL merges.txt, either are refused or become a tokenizer that
// encodes and decodes without harm.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char text[] = "abab low lower 학습 <|endoftext|> 123's\n\n x\xFF\xEA\xB0";
  const char *vocabulary = (const char *)data;
  const uint8_t *end = size > 0 ? memchr(data, '\0', size) : NULL;
  const size_t length = end != NULL ? (size_t)(end - data) : size;
  char *json = NULL, *decoded = NULL;
  size_t json_length = 0, decoded_length = 0;
  dure_tokenizer *tokenizer = NULL;
  dure_ids ids = {0};
  dure_status status = dure_merges_to_json(vocabulary, length, end != NULL ? vocabulary + length + 1 : "",
                                           end != NULL ? size - length - 1 : 0, &json, &json_length);
  if (status == NULL) status = dure_tokenizer_parse(json, json_length, &tokenizer);
  if (status == NULL) status = dure_tokenizer_encode(tokenizer, text, sizeof(text) - 1, NULL, &ids);
  // Every id that encoding gives must be one that decoding takes.
  if (status == NULL && dure_tokenizer_decode(tokenizer, ids.ids, ids.count, false, &decoded, &decoded_length) != NULL)
    abort();
  free(decoded);
  free(json);
  dure_ids_free(&ids);
  dure_tokenizer_close(tokenizer);
  dure_status_free(status);
  return 0;
}
