// Chooses the command; everything else is in one file a command.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/world.h"

typedef struct command_row {
  const char *name;
  const char *summary;
  int (*run)(int argc, char **argv);
} command_row;

static const command_row commands[] = {
#define DURE_COMMAND(suffix, name, summary) {name, summary, command_##suffix},
#include "cli/commands.def"
#undef DURE_COMMAND
};
enum { command_count = sizeof(commands) / sizeof(commands[0]) };

static void print_log(void *context, dure_log_level level, const char *message) {
  static const char *const names[] = {"error", "warning", "info", "debug"};
  (void)context;
  fprintf(stderr, "dure: %s: %s\n", names[level], message);
}

static void show_progress(const char *text) {
  if (text != NULL)
    progress_show("%s", text);
  else
    progress_clear();
}

// A rank was lost, and this one is caught where it cannot see that.
static void end_stuck(const char *message) {
  fprintf(stderr, "dure: %s\n", message);
  fflush(stderr);
  _Exit(EXIT_FAILED);
}

static void print_help(FILE *file) {
  fprintf(file,
          "dure: trains, fine-tunes, evaluates and runs GPT-2 language models on any GPU, or none\n\n"
          "usage: dure COMMAND [options]     dure COMMAND --help     dure --version\n\n");
  for (size_t i = 0; i < command_count; i++) fprintf(file, "  %-12s %s\n", commands[i].name, commands[i].summary);
  fprintf(file,
          "\nexample: dure train --recipe examples/demo-ko-en.yaml --model examples/demo-ko-en.json --data DATA --out "
          "RUN\n");
}

static int run(int argc, char **argv) {
  if (argc < 2) {
    print_help(stderr);
    return EXIT_USAGE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
    print_help(stdout);
    return EXIT_DONE;
  }
  if (strcmp(argv[1], "--version") == 0) {
    printf("dure %s\n", DURE_VERSION);
    return EXIT_DONE;
  }
  const char *names[command_count + 2] = {[command_count] = "--help", "--version"};
  for (size_t i = 0; i < command_count; i++) {
    names[i] = commands[i].name;
    if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
  }
  const char *nearest = command_nearest(argv[1], names, command_count + 2);
  fprintf(stderr, "dure: unknown command '%s'", argv[1]);
  if (nearest != NULL) fprintf(stderr, "; did you mean '%s'?", nearest);
  fprintf(stderr, "\nrun 'dure --help' for the list\n");
  return EXIT_USAGE;
}

int main(int argc, char **argv) {
  dure_os_occupy_standard_files();
  dure_log_set_sink(print_log, NULL);
  dure_progress_set_sink(show_progress);
  dure_world_set_stuck_handler(end_stuck);
  int code = run(argc, argv);
  // Results that did not arrive are a failure, whatever printed them; a command that failed has said why.
  return code == EXIT_DONE ? command_finish(argc > 1 ? argv[1] : "", output_check()) : code;
}
