// Personal data out of text: each find becomes a word that says what stood there.
//
//   mail addresses                  [email]
//   phone numbers                   [phone]: Korean ones as they are written (010-1234-5678, 02) 123-4567, +82 10 ...),
//                                   international ones with their +, and North American ones in groups
//   resident registration numbers   [resident-number]: a date, a century digit and the check digit that fits; also of
//                                   foreigners (13 digits, with or without a hyphen)
//   card numbers                    [card-number]: 13 to 19 digits that Luhn's formula holds for, in a range that
//   issuers
//                                   have
#ifndef DURE_DATA_PERSONAL_DATA_H_
#define DURE_DATA_PERSONAL_DATA_H_

#include <stdint.h>

#include "data/bytes.h"

typedef enum dure_personal_kind {
  DURE_PERSONAL_MAIL,
  DURE_PERSONAL_PHONE,
  DURE_PERSONAL_RESIDENT_NUMBER,
  DURE_PERSONAL_CARD,
  DURE_PERSONAL_COUNT,
} dure_personal_kind;

const char *dure_personal_name(dure_personal_kind kind);  // "mail", "phone", "resident_number", "card_number"

// Appends the text to `out` without what is found, which is added to `counts`. `text` is valid UTF-8.
void dure_personal_data_remove(const char *text, size_t size, dure_bytes *out, uint64_t counts[DURE_PERSONAL_COUNT]);

#endif  // DURE_DATA_PERSONAL_DATA_H_
