#include "data/name_list.h"

#include <string.h>
#include <strings.h>

bool dure_name_is_listed(const char *list, const char *name, size_t length) {
  if (length == 0) return false;
  for (const char *cursor = list; cursor != NULL; cursor = strchr(cursor, ' ')) {
    cursor += *cursor == ' ';
    // The first letter decides most cases; ASCII letters differ in bit 5 alone.
    if (((*cursor ^ *name) & ~0x20) != 0 || strncasecmp(cursor, name, length) != 0) continue;
    if (cursor[length] == ' ' || cursor[length] == '\0') return true;
  }
  return false;
}
