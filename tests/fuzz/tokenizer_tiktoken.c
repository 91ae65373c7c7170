// tiktoken's ranks of any bytes either are refused or become a tokenizer that encodes and decodes without harm.
//
// An input that begins with '+' is what follows ranks 0 to 255 of the single bytes, without which there is no
// tokenizer.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The base64 of each byte with the byte as its rank, "AA== 0" to "/w== 255", and then `bytes`.
static char *after_bytes(const char *bytes, size_t size, size_t *out_size) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  static char ranks[256 * 10];
  static size_t length = 0;
  for (int rank = 0; length == 0 || rank % 256 != 0; rank++) {
    length += (size_t)snprintf(ranks + length, sizeof(ranks) - length, "%c%c== %d\n", digits[rank >> 2],
                               digits[(rank & 3) << 4], rank);
  }
  char *all = malloc(length + size);
  if (all == NULL) abort();
  memcpy(all, ranks, length);
  memcpy(all + length, bytes, size);
  *out_size = length + size;
  return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char text[] = "The tokenizer 학습 <|endoftext|> 123's\n\n x\xFF\xEA\xB0";
  char *whole = size > 0 && data[0] == '+' ? after_bytes((const char *)data + 1, size - 1, &size) : NULL;
  const char *bytes = whole != NULL ? whole : (const char *)data;
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
  free(whole);
  return 0;
}
