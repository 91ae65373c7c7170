// The text of a document alone, some four times as fast as building its whole object.
#ifndef DURE_DATA_JSONL_TEXT_H_
#define DURE_DATA_JSONL_TEXT_H_

#include "data/bytes.h"
#include "data/documents.h"

// As dure_jsonl_document_text (data/jsonl.h), with the same failures, but without the object: the text lies in
// `decoded`, whose contents are replaced, or is the document's own bytes.
DURE_MUST_CHECK dure_status dure_jsonl_read_text(const dure_document *document, dure_bytes *decoded,
                                                 const char **out_text, size_t *out_length);

#endif  // DURE_DATA_JSONL_TEXT_H_
