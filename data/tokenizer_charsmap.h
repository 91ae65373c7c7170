// SentencePiece's precompiled character map: byte strings and what each is written as.
//
// The file holds a double-array trie (Aoe 1989, "An efficient digital search algorithm by using a double-array
// structure"; the layout is that of Darts-clone) after its size in bytes, and then the replacements, each ended by a
// NUL. Hostile bytes are fine: every step is checked against the arrays.
#ifndef DURE_DATA_TOKENIZER_CHARSMAP_H_
#define DURE_DATA_TOKENIZER_CHARSMAP_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_charsmap {
  uint32_t *units;  // [unit_count]
  size_t unit_count;
  char *replacements;
  size_t replacements_length;
} dure_charsmap;

// Copies the bytes. `where` is for messages. An empty map maps nothing. Release with dure_charsmap_free.
DURE_MUST_CHECK dure_status dure_charsmap_parse(const char *bytes, size_t length, const char *where,
                                                dure_charsmap *out_map);
// The same from the base64 of the bytes.
DURE_MUST_CHECK dure_status dure_charsmap_parse_base64(const char *text, size_t length, const char *where,
                                                       dure_charsmap *out_map);
void dure_charsmap_free(dure_charsmap *map);

// The replacement of the longest string in the map at the start of `text`, or of the shortest. Returns how many bytes
// it replaces, 0 when there is none.
size_t dure_charsmap_find(const dure_charsmap *map, const char *text, size_t length, bool is_longest,
                          const char **out_replacement, size_t *out_length);

#endif  // DURE_DATA_TOKENIZER_CHARSMAP_H_
