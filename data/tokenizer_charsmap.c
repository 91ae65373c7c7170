#include "data/tokenizer_charsmap.h"

#include <stdlib.h>
#include <string.h>

#include "data/tokenizer_bytes.h"

static uint32_t read_u32(const char *bytes) {
  const uint8_t *b = (const uint8_t *)bytes;
  return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

dure_status dure_charsmap_parse(const char *bytes, size_t length, const char *where, dure_charsmap *out_map) {
  *out_map = (dure_charsmap){0};
  if (length == 0) return NULL;
  size_t size = length >= 4 ? read_u32(bytes) : 0;
  if (length < 4 || size % 4 != 0 || size == 0 || size > length - 4) {
    return dure_fail(DURE_CORRUPT,
                     "%s: expected a character map (a trie's size and the trie in units of 4 bytes), found %zu bytes "
                     "that say %zu",
                     where, length, size);
  }
  out_map->unit_count = size / 4;
  out_map->replacements_length = length - 4 - size;
  out_map->units = malloc(size);
  out_map->replacements = malloc(out_map->replacements_length + 1);
  if (out_map->units == NULL || out_map->replacements == NULL) {
    dure_charsmap_free(out_map);
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a character map of %zu bytes", length);
  }
  for (size_t i = 0; i < out_map->unit_count; i++) out_map->units[i] = read_u32(bytes + 4 + 4 * i);
  memcpy(out_map->replacements, bytes + 4 + size, out_map->replacements_length);
  out_map->replacements[out_map->replacements_length] = '\0';
  return NULL;
}

dure_status dure_charsmap_parse_base64(const char *text, size_t length, const char *where, dure_charsmap *out_map) {
  *out_map = (dure_charsmap){0};
  char *bytes = malloc(length + 1);
  size_t size;
  if (bytes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a character map of %zu bytes", length);
  dure_status status = dure_base64_decode(text, length, bytes, &size)
                           ? dure_charsmap_parse(bytes, size, where, out_map)
                           : dure_fail(DURE_CORRUPT, "%s: expected base64, found other characters", where);
  free(bytes);
  return status;
}

void dure_charsmap_free(dure_charsmap *map) {
  free(map->units);
  free(map->replacements);
  *map = (dure_charsmap){0};
}

// A unit's fields: the byte that leads to it (a leaf has bit 31 instead), whether a string ends there, and what its
// position is xored with to find its children.
static uint32_t unit_label(uint32_t unit) { return unit & (1u << 31 | 0xFFu); }
static bool unit_has_leaf(uint32_t unit) { return (unit >> 8 & 1u) != 0; }
static size_t unit_offset(uint32_t unit) { return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6); }
static size_t unit_value(uint32_t unit) { return unit & ((1u << 31) - 1); }

size_t dure_charsmap_find(const dure_charsmap *map, const char *text, size_t length, bool is_longest,
                          const char **out_replacement, size_t *out_length) {
  size_t found = 0, value = 0;
  *out_replacement = NULL;
  *out_length = 0;
  if (map->unit_count == 0) return 0;
  size_t node = unit_offset(map->units[0]);
  for (size_t i = 0; i < length && text[i] != '\0' && (found == 0 || is_longest); i++) {
    node ^= (uint8_t)text[i];
    if (node >= map->unit_count || unit_label(map->units[node]) != (uint8_t)text[i]) break;
    uint32_t unit = map->units[node];
    node ^= unit_offset(unit);
    if (!unit_has_leaf(unit) || node >= map->unit_count) continue;
    size_t at = unit_value(map->units[node]);
    if (at > map->replacements_length) continue;
    value = at;
    found = i + 1;
  }
  if (found == 0) return 0;
  *out_replacement = map->replacements + value;
  *out_length = strlen(*out_replacement);
  return found;
}
