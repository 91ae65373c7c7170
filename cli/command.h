// What every command of the program shares: exit statuses, option parsing, failure printing.
//
// Results go to standard output, progress and messages to standard error.
#ifndef DURE_CLI_COMMAND_H_
#define DURE_CLI_COMMAND_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_UNSUPPORTED = 3 };

#define DURE_COMMAND(suffix, name, summary) int command_##suffix(int argc, char **argv);
#include "cli/commands.def"
#undef DURE_COMMAND

typedef enum option_kind {
  OPTION_FLAG,     // bool *: set by --name, cleared by --no-name
  OPTION_TEXT,     // const char **: points into argv
  OPTION_INTEGER,  // int64_t *
  OPTION_NUMBER,   // double *
  OPTION_SIZE,     // uint64_t *: bytes, written like 8GiB, 512MiB, 1000
} option_kind;

typedef struct option_row {
  const char *name;  // without the dashes; `--name VALUE` and `--name=VALUE` both work; one letter: also `-n VALUE`
  option_kind kind;
  void *value;              // written when the option is given; holds the default before
  const char *placeholder;  // shown in the help: "N", "FILE"; NULL for flags
  const char *help;         // one line
} option_row;

typedef struct command_usage {
  const char *synopsis;     // "dure train --model CONFIG_OR_DIR --data DIR --out RUN [options]"
  const char *description;  // a paragraph
  const option_row *options;
  size_t option_count;
  const char *example;  // one or more lines that work when pasted
  size_t positional_minimum;
  size_t positional_maximum;
} command_usage;

// Parses argv[1..]: options may stand anywhere, "--" ends them. Positional arguments are moved to the front, to
// argv[1..], where `*out_positional` then points (either out-parameter may be NULL). `--help` prints the usage to
// standard output. Returns -1 when the command should go on, else the exit status to return at once (a mistake has been
// explained on standard error, with the nearest option's name).
int command_parse(const command_usage *usage, int argc, char **argv, const char *const **out_positional,
                  size_t *out_positional_count);

// Prints "dure COMMAND: message" on standard error, frees the status and returns the exit status for its code
// (EXIT_DONE for NULL).
int command_finish(const char *command, dure_status status);

// The same for a check of the options, before any work: what has no meaning is wrong usage.
int command_refuse(const char *command, dure_status status);

// A whole command of options and one positional argument: parses, lets `check` look at the options (and complete them),
// whose complaints are wrong usage, then does the work, which asks dure_os_interrupted whether to end. `options` is
// what the usage's rows write to. Returns the exit status.
typedef dure_status (*command_check)(void *options);
typedef dure_status (*command_work)(const void *options, const char *positional);
int command_run(const command_usage *usage, int argc, char **argv, void *options, command_check check,
                command_work work);

// The candidate with the smallest edit distance to `text` if it is near enough to be meant, else NULL.
const char *command_nearest(const char *text, const char *const *candidates, size_t count);

// "8GiB", "512MiB", "1.5GB", "1000" -> bytes.
bool command_parse_size(const char *text, uint64_t *out_bytes);

#endif  // DURE_CLI_COMMAND_H_
