// A tokenizer.json of any bytes either is refused or encodes and decodes without harm.
//
// The input is the file; the part after its first NUL, if there is one, is a text to encode with it.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char usual_text[] = "The tokenizer 학습 <|endoftext|> 123's\n\n x\xFF\xEA\xB0";
  const uint8_t *end = size > 0 ? memchr(data, '\0', size) : NULL;
  size_t json_length = end != NULL ? (size_t)(end - data) : size;
  const char *text = end != NULL ? (const char *)end + 1 : usual_text;
  size_t text_length = end != NULL ? size - json_length - 1 : sizeof(usual_text) - 1;
  dure_tokenizer *tokenizer;
  dure_status status = dure_tokenizer_parse((const char *)data, json_length, &tokenizer);
  if (status == NULL) {
    dure_ids ids = {0};
    char *decoded = NULL;
    size_t decoded_length;
    dure_encode_options options = {.parse_special = true, .add_special = true};
    status = dure_tokenizer_encode(tokenizer, text, text_length, &options, &ids);
    // Every id that encoding gives must be one that decoding takes.
    if (status == NULL &&
        dure_tokenizer_decode(tokenizer, ids.ids, ids.count, false, &decoded, &decoded_length) != NULL)
      abort();
    free(decoded);
    dure_ids_free(&ids);
    dure_tokenizer_close(tokenizer);
  }
  dure_status_free(status);
  return 0;
}
