// Bytes of unknown encoding into valid UTF-8.
//
// In this order: a byte order mark decides (UTF-8, UTF-16); valid UTF-8 is itself; else the encoding that the transport
// or the document declares (HTTP's and <meta>'s charset=, XML's encoding=) or that the caller names is converted, as
// browsers understand its name (data/encoding_names.h), by what libxml2 and the C library know; else Korean in CP949
// (of which EUC-KR is a part) is known by its frequent syllables, also where a Western encoding is declared; else the
// text is invalid. Encodings that look like ASCII (ISO-2022) are converted when declared.
#ifndef DURE_DATA_DECODE_H_
#define DURE_DATA_DECODE_H_

#include "data/bytes.h"
#include "data/documents.h"

typedef enum dure_decoding {
  DURE_DECODED,           // nothing was lost
  DURE_DECODED_REPAIRED,  // invalid sequences became U+FFFD
  DURE_DECODED_NOT,       // invalid and not to be repaired; the output is empty
} dure_decoding;

// `fallback` names the encoding of documents that are not UTF-8 and declare none; NULL for none. `may_repair` replaces
// invalid sequences by U+FFFD instead of giving up. The result is appended to `out`. Of DURE_DECODED_NOT, `out_message`
// (or NULL) says why.
enum { DURE_DECODE_MESSAGE = 160 };
dure_decoding dure_decode(const dure_document *document, const char *fallback, bool may_repair, dure_bytes *out,
                          char out_message[DURE_DECODE_MESSAGE]);

// Length of the longest prefix that is valid UTF-8 (no surrogates, no overlong forms, nothing beyond U+10FFFF).
size_t dure_utf8_valid_length(const char *text, size_t size);

// Appends with U+FFFD in place of each maximal invalid stretch.
void dure_utf8_append_repaired(dure_bytes *out, const char *text, size_t size);

#endif  // DURE_DATA_DECODE_H_
