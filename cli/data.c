// dure data STEP: raw text into a dataset, one step after the other; each is cli/data_STEP.c.
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/data_step.h"

static const struct {
  const char *name, *full_name, *summary;
  int (*run)(int argc, char **argv);
} steps[] = {
    {"clean", "data clean", "raw text, web pages, archives -> clean JSONL", data_clean},
    {"classifier", "data classifier", "good and bad examples -> a classifier for clean", data_classifier},
    {"dedup", "data dedup", "clean JSONL -> JSONL without duplicates", data_dedup},
    {"mix", "data mix", "JSONL of several sources -> JSONL in the parts of a recipe", data_mix},
    {"pack", "data pack", "JSONL or text -> token shards", data_pack},
    {"report", "data report", "what the steps kept and dropped -> one HTML page", data_report},
};
enum { step_count = sizeof(steps) / sizeof(steps[0]) };

static int print_steps(FILE *file, int status) {
  fprintf(file, "usage: dure data STEP IN... -o OUT [options]     dure data STEP --help\n\n");
  for (size_t i = 0; i < step_count; i++) fprintf(file, "  %-10s %s\n", steps[i].name, steps[i].summary);
  fprintf(file,
          "\nexample:\n  dure data clean docs/ -o clean.jsonl && dure data dedup clean.jsonl -o distinct.jsonl\n"
          "  dure tokenizer train --vocab-size 8192 -o tokenizer.json distinct.jsonl\n"
          "  dure data pack distinct.jsonl --tokenizer tokenizer.json -o DATA\n");
  return status;
}

int command_data(int argc, char **argv) {
  if (argc < 2) return print_steps(stderr, EXIT_USAGE);
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return print_steps(stdout, EXIT_DONE);
  const char *names[step_count];
  for (size_t i = 0; i < step_count; i++) {
    names[i] = steps[i].name;
    if (strcmp(argv[1], steps[i].name) != 0) continue;
    char name[32];  // what messages call the command
    snprintf(name, sizeof(name), "%s", steps[i].full_name);
    argv[1] = name;
    return steps[i].run(argc - 1, argv + 1);
  }
  const char *nearest = command_nearest(argv[1], names, step_count);
  fprintf(stderr, "dure data: unknown step '%s'", argv[1]);
  if (nearest != NULL) fprintf(stderr, "; did you mean '%s'?", nearest);
  fprintf(stderr, "\n");
  return print_steps(stderr, EXIT_USAGE);
}
