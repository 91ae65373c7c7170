// Bytes, UTF-8 and GPT-2's printable characters for bytes: the small change of the tokenizer.
#ifndef DURE_DATA_TOKENIZER_BYTES_H_
#define DURE_DATA_TOKENIZER_BYTES_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Bytes of the character at `bytes`: 1 to 4, or 0 where the UTF-8 is not valid (overlong forms, surrogates and values
// above U+10FFFF included) or `length` is 0. `out_character` may be NULL.
size_t dure_utf8_character(const char *bytes, size_t length, uint32_t *out_character);
// Length of the longest prefix that is valid UTF-8.
size_t dure_utf8_valid_prefix(const char *bytes, size_t length);
// Length of the run of bytes at the start that are in no valid character.
size_t dure_utf8_invalid_prefix(const char *bytes, size_t length);
// How many bytes at the end are the beginning of a character whose rest may still come: 0 to 3.
size_t dure_utf8_unfinished_suffix(const char *bytes, size_t length);
// Writes 1 to 4 bytes and returns how many.
size_t dure_utf8_write(uint32_t character, char *out_bytes);
// Unicode's White_Space.
bool dure_utf8_is_space(uint32_t character);
// The first place at or after `at` that is not white space; the last at or before `end`, not before `start`.
size_t dure_utf8_skip_spaces(const char *text, size_t length, size_t at);
size_t dure_utf8_skip_spaces_back(const char *text, size_t start, size_t end);
// Bytes of the character that ends at `end`, 0 where there is none.
size_t dure_utf8_character_before(const char *text, size_t end, uint32_t *out_character);

// Base64 without line breaks; `out_bytes` has room for `length`. False for other characters or a wrong length.
bool dure_base64_decode(const char *text, size_t length, char *out_bytes, size_t *out_length);
// The other way, with padding and a NUL; `out_text` has room for length / 3 * 4 + 5.
void dure_base64_encode(const char *bytes, size_t length, char *out_text);

// GPT-2's table: each byte has a printable character, so that a vocabulary is a list of words in JSON. Bytes that print
// in Latin-1 (except the soft hyphen) stand for themselves, the others are U+0100, U+0101, ... in order.
uint32_t dure_byte_to_character(uint8_t byte);
// -1 for a character that stands for no byte.
int dure_character_to_byte(uint32_t character);
// Replaces the characters of `text` by their bytes, in `out_bytes` (room for `length`). False where one stands for no
// byte.
bool dure_characters_to_bytes(const char *text, size_t length, char *out_bytes, size_t *out_length);
// The other way; `out_text` has room for 2 * length bytes. Returns the number written.
size_t dure_bytes_to_characters(const char *bytes, size_t length, char *out_text);

#endif  // DURE_DATA_TOKENIZER_BYTES_H_
