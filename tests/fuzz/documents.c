// The readers of documents: the first byte chooses the name, and with it the format, of the file that the rest is;
// containers are found by their contents.
#include <string.h>

#include "data/decode.h"
#include "data/documents_internal.h"
#include "data/jsonl.h"
#include "data/markup.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static dure_status take(void *context, const dure_document *document) {
  uint64_t *total = context;
  char message[DURE_DECODE_MESSAGE];
  *total += document->size + (document->url != NULL ? strlen(document->url) : 0) + strlen(document->path);
  dure_bytes decoded = {0}, out = {0};
  if (dure_decode(document, NULL, document->line % 2 == 0, &decoded, message) != DURE_DECODED_NOT && decoded.size > 0) {
    if (document->format == DURE_FORMAT_MARKDOWN) dure_markdown_read(decoded.data, decoded.size, &out);
    if (document->format == DURE_FORMAT_JSONL) dure_jsonl_repair_surrogates(decoded.data, decoded.size, &out);
  }
  dure_bytes_free(&decoded);
  dure_bytes_free(&out);
  return NULL;
}

static bool pass_over(void *context, const dure_document_problem *problem) {
  (void)context;
  return problem->message != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static const char *const names[] = {"f", "f.txt", "f.jsonl", "f.warc", "f.csv", "f.tsv", "f.md", "f.html"};
  if (size < 1) return 0;
  uint64_t total = 0;
  const dure_document_reading reading = {
      .size_limit = 1 << 16, .stage = "", .visit = take, .problem = pass_over, .context = &total};
  dure_document_counts counts;
  dure_status_free(dure_documents_visit_memory(&reading, names[bytes[0] % 8], bytes + 1, size - 1, &counts));
  return 0;
}
