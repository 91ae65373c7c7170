// How much of the whole a run of the tests does. Its environment says so:
//   DURE_FULL=1         everything, long variants included
//   DURE_TEST_EVERY=N   one case in N where cases are drawn; DURE_TEST_PART says which of the N parts. From 6 on a run
//                       is a sparing one (as under sanitizers, which make everything several times slower): one way
//                       of each kind, the dearest shapes left out
#ifndef DURE_TESTS_AMOUNT_H
#define DURE_TESTS_AMOUNT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

// The number in an environment variable, `otherwise` where there is none.
static inline uint32_t number_from(const char *variable, uint32_t otherwise) {
  const char *text = getenv(variable);
  return text != NULL && text[0] != '\0' ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

static inline bool is_full(void) { return number_from("DURE_FULL", 0) == 1; }

static inline bool is_sparing(void) { return !is_full() && number_from("DURE_TEST_EVERY", 1) >= 6; }

#endif
