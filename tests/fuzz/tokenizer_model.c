// A SentencePiece model of any bytes either is refused or encodes and decodes without harm.
#include <stdint.h>
#include <stdlib.h>

#include "data/tokenizer_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char text[] = "  The tokenizer 학습 <s>  123's\n\n x\xFF\xEA\xB0 \xEF\xAC\x81";
  char *json = NULL;
  size_t length;
  dure_tokenizer *tokenizer = NULL;
  dure_status status = dure_sentencepiece_to_json((const char *)data, size, &json, &length);
  if (status == NULL) status = dure_tokenizer_parse(json, length, &tokenizer);
  free(json);
  if (status == NULL) {
    dure_ids ids = {0};
    dure_spans spans = {0};
    char *decoded = NULL;
    size_t decoded_length;
    dure_encode_options options = {.parse_special = true, .add_special = true};
    status = dure_tokenizer_encode_spans(tokenizer, text, sizeof(text) - 1, &options, &ids, &spans);
    if (status == NULL && spans.count != ids.count) abort();
    for (size_t i = 0; i < spans.count; i++) {
      if (spans.spans[i].start > spans.spans[i].end || spans.spans[i].end > sizeof(text) - 1) abort();
    }
    // Every id that encoding gives must be one that decoding takes.
    if (status == NULL &&
        dure_tokenizer_decode(tokenizer, ids.ids, ids.count, false, &decoded, &decoded_length) != NULL)
      abort();
    free(decoded);
    dure_ids_free(&ids);
    dure_spans_free(&spans);
    dure_tokenizer_close(tokenizer);
  }
  dure_status_free(status);
  return 0;
}
