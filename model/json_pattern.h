// The regular expressions of JSON Schema's `pattern` (ECMA-262) as expressions of a grammar, for the inside of a JSON
// string: what must be escaped there is.
//
// Taken: characters, ., classes, \d \w \s and their opposites, \t \n \r \f \v \0 \xHH \uHHHH \cX and escaped
// punctuation, groups (also (?:...)), |, * + ? {n} {n,} {n,m} and their lazy forms, ^ at the beginning and $ at the end
// of the whole. Refused by name: look-around, back references, named groups, \b, \B, \p, anchors elsewhere.
#ifndef DURE_MODEL_JSON_PATTERN_H_
#define DURE_MODEL_JSON_PATTERN_H_

#include "data/bytes.h"

// Appends an expression for what stands between the quotes of a string that matches. It speaks of the rule `char`, any
// character of a JSON string.
DURE_MUST_CHECK dure_status json_pattern_write(const char *pattern, dure_bytes *out);

#endif  // DURE_MODEL_JSON_PATTERN_H_
