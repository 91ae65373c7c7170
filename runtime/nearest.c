#include "runtime/nearest.h"

#include <string.h>

// Longer texts are compared by their first 63 characters: enough for names.
static size_t edit_distance(const char *a, const char *b) {
  enum { limit = 64 };
  size_t row[limit];
  size_t a_length = strnlen(a, limit - 1), b_length = strnlen(b, limit - 1);
  for (size_t j = 0; j <= b_length; j++) row[j] = j;
  for (size_t i = 1; i <= a_length; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b_length; j++) {
      size_t above = row[j];
      size_t best = diagonal + (a[i - 1] != b[j - 1]);
      if (above + 1 < best) best = above + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      row[j] = best;
      diagonal = above;
    }
  }
  return row[b_length];
}

const char *dure_nearest_name(const char *text, const char *const *candidates, size_t count, size_t *out_distance) {
  const char *nearest = NULL;
  size_t nearest_distance = (size_t)-1;
  for (size_t i = 0; i < count; i++) {
    size_t distance = edit_distance(text, candidates[i]);
    if (distance >= nearest_distance) continue;
    nearest = candidates[i];
    nearest_distance = distance;
  }
  if (out_distance != NULL) *out_distance = nearest_distance;
  return nearest;
}
