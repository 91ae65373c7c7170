// What `dure train` may be told, from defaults, a recipe, a checkpoint and the command line.
//
// train_options.def is the one table; everything that knows the options walks its rows.
#ifndef DURE_MODEL_TRAIN_OPTIONS_H_
#define DURE_MODEL_TRAIN_OPTIONS_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

struct json_t;

typedef const char *dure_option_TEXT;
typedef int64_t dure_option_INTEGER;
typedef double dure_option_NUMBER;
typedef bool dure_option_FLAG;
typedef uint64_t dure_option_SIZE;

typedef struct dure_train_options {
#define DURE_TRAIN_OPTION(kind, field, name, initial, placeholder, help) dure_option_##kind field;
#include "model/train_options.def"
#undef DURE_TRAIN_OPTION
  char **texts;  // texts that came from files; owned
  size_t text_count;
} dure_train_options;

typedef enum dure_option_kind {
  DURE_OPTION_TEXT,
  DURE_OPTION_INTEGER,
  DURE_OPTION_NUMBER,
  DURE_OPTION_FLAG,
  DURE_OPTION_SIZE,
} dure_option_kind;

typedef struct dure_train_option_row {
  dure_option_kind kind;
  const char *name;
  size_t offset;  // of the field in dure_train_options
  const char *placeholder, *help;
} dure_train_option_row;

const dure_train_option_row *dure_train_option_rows(size_t *out_count);

// An option's value as text, cut to `size`.
void dure_train_option_text(const dure_train_options *options, const dure_train_option_row *row, char *out_text,
                            size_t size);

void dure_train_options_default(dure_train_options *out_options);
void dure_train_options_clear(dure_train_options *options);

// Sets one option from its text; '_' and '-' are the same in names. `source` (a file) begins the message of a failure:
// DURE_INVALID_ARGUMENT, with the nearest name for one that is not known.
DURE_MUST_CHECK dure_status dure_train_options_set(dure_train_options *options, const char *source, const char *name,
                                                   const char *text);

// A recipe: a YAML file that is one flat mapping of option names to values. A relative `model` or `data` is looked for
// beside the recipe first.
DURE_MUST_CHECK dure_status dure_train_options_read_recipe(dure_train_options *options, const char *path);

// As a JSON object with every option, and back (unknown names are left out, so that newer files can be read).
struct json_t *dure_train_options_to_json(const dure_train_options *options);  // NULL when out of memory
DURE_MUST_CHECK dure_status dure_train_options_from_json(dure_train_options *options, const char *source,
                                                         const struct json_t *json);

// Checks ranges and combinations: DURE_INVALID_ARGUMENT; DURE_UNSUPPORTED for what Dure cannot do yet.
DURE_MUST_CHECK dure_status dure_train_options_check(const dure_train_options *options);

#endif  // DURE_MODEL_TRAIN_OPTIONS_H_
