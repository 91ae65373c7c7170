// Recipes: YAML files as JSON values.
//
// Mappings, sequences and scalars; plain scalars that read as numbers or true and false are those, everything else is
// text. Aliases, tags, several documents, repeated keys and nesting deeper than 16 are refused.
#ifndef DURE_DATA_RECIPE_H_
#define DURE_DATA_RECIPE_H_

#include <jansson.h>

#include "runtime/status.h"

// `out_value` is the caller's, released with json_decref.
DURE_MUST_CHECK dure_status dure_recipe_read(const char *path, json_t **out_value);

#endif  // DURE_DATA_RECIPE_H_
