// tokenizer.json as an attacker writes it; whatever opens must encode and decode without harm.
#include <stdint.h>
#include <stdlib.h>

#include "data/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  dure_tokenizer *tokenizer = NULL;
  dure_status status = dure_tokenizer_parse((const char *)data, size, &tokenizer);
  if (status == NULL) {
    static const char text[] = "The \xea\xb3\xa0\xec\x96\x91\xec\x9d\xb4 sat.\n\xff\x00<|endoftext|> 123";
    dure_ids ids = {0};
    status = dure_tokenizer_encode(tokenizer, text, sizeof(text) - 1, NULL, &ids);
    if (status == NULL) {
      char *decoded = NULL;
      size_t length = 0;
      status = dure_tokenizer_decode(tokenizer, ids.ids, ids.count, false, &decoded, &length);
      free(decoded);
    }
    dure_ids_free(&ids);
    dure_tokenizer_close(tokenizer);
  }
  dure_status_free(status);
  return 0;
}
