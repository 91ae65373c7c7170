// What the steps of `dure data` share: progress, counts as JSON and as words, options that several of them take.
// Each step is one file, cli/data_STEP.c, with one function here and one row in cli/data.c.
#ifndef DURE_CLI_DATA_STEP_H
#define DURE_CLI_DATA_STEP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/documents.h"

int data_clean(int argc, char **argv);
int data_classifier(int argc, char **argv);
int data_dedup(int argc, char **argv);
int data_mix(int argc, char **argv);
int data_pack(int argc, char **argv);
int data_report(int argc, char **argv);

// One count of a summary and what it is called.
typedef struct data_count {
  const char *name;
  uint64_t value;
} data_count;

// When a step began and how much it will read: what `data_step_progress` needs to know the time left.
typedef struct data_timer {
  uint64_t started;      // dure_os_nanoseconds()
  uint64_t bytes_total;  // of the input files; 0 if not known
  const char *stage;     // of the last call, and when that began
  uint64_t stage_started;
} data_timer;

data_timer data_timer_start(const char *const *inputs, size_t count);
double data_timer_seconds(const data_timer *timer);

// A step's `progress`; the context is a data_timer.
bool data_step_progress(void *context, const dure_progress *progress);

// With `--recipe FILE` among the arguments: the options of that YAML file (a flat mapping of their names to values) are
// put in front of the others, which so override them. `out_argv` is argv, or a new array that the command may keep
// until the program ends. False after an explanation.
bool data_recipe_apply(int *argc, char **argv, char ***out_argv);

// "A,B,C" cut in place at its commas: up to `limit` parts.
size_t data_list_cut(char *list, const char **out_parts, size_t limit);

// A JSON object of whole numbers.
json_t *data_counts_json(const data_count *rows, size_t count);

// "3 too short, 1 empty": the rows that are not zero; "" for none.
void data_counts_list(const data_count *rows, size_t count, char *out_text, size_t size);

// Prints to standard output and releases the object.
void data_json_print(json_t *object);

// False with an explanation for an unknown one.
bool data_format_parse(const char *command, const char *name, dure_format *out_format);

// Says that -o is missing; returns the exit status.
int data_output_missing(const char *command, const char *what);

#endif
