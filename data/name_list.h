// Lists of names in the source: words with single spaces between them.
#ifndef DURE_DATA_NAME_LIST_H_
#define DURE_DATA_NAME_LIST_H_

#include <stdbool.h>
#include <stddef.h>

// Whether the list has this name [length], compared whole and without regard to ASCII's case. False for an empty name.
bool dure_name_is_listed(const char *list, const char *name, size_t length);

#endif  // DURE_DATA_NAME_LIST_H_
