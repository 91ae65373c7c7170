#include "cli/command.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/nearest.h"
#include "runtime/os.h"

const char *command_nearest(const char *text, const char *const *candidates, size_t count) {
  size_t distance = 0;
  const char *nearest = dure_nearest_name(text, candidates, count, &distance);
  return distance < strlen(text) / 3 + 2 ? nearest : NULL;  // further than that is a different word
}

bool command_parse_size(const char *text, uint64_t *out_bytes) {
  static const struct {
    const char *suffix;
    double factor;
  } units[] = {{"", 1},
               {"B", 1},
               {"KiB", 1024.0},
               {"MiB", 1048576.0},
               {"GiB", 1073741824.0},
               {"K", 1024.0},
               {"M", 1048576.0},
               {"G", 1073741824.0},
               {"kB", 1e3},
               {"MB", 1e6},
               {"GB", 1e9},
               {"TiB", 1099511627776.0}};
  char *end = NULL;
  double value = strtod(text, &end);
  if (end == text || !isfinite(value) || value < 0) return false;
  for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
    if (strcmp(end, units[i].suffix) != 0) continue;
    double bytes = value * units[i].factor;
    if (bytes >= 9.2e18) return false;
    *out_bytes = (uint64_t)bytes;
    return true;
  }
  return false;
}

static void print_usage(const command_usage *usage, FILE *file) {
  fprintf(file, "usage: %s\n\n%s\n", usage->synopsis, usage->description);
  if (usage->option_count > 0) fprintf(file, "\noptions:\n");
  for (size_t i = 0; i < usage->option_count; i++) {
    const option_row *row = &usage->options[i];
    char left[64];
    snprintf(left, sizeof(left), "%s%s%s%s", strlen(row->name) == 1 ? "-" : "--", row->name,
             row->placeholder != NULL ? " " : "", row->placeholder != NULL ? row->placeholder : "");
    fprintf(file, "  %-26s %s\n", left, row->help);
  }
  if (usage->example != NULL) fprintf(file, "\nexample:\n  %s\n", usage->example);
}

// Writes the option's value; false when `text` is not of its kind.
static bool set_option(const option_row *row, const char *text) {
  char *end = NULL;
  switch (row->kind) {
    case OPTION_FLAG: *(bool *)row->value = true; return true;
    case OPTION_TEXT: *(const char **)row->value = text; return true;
    case OPTION_INTEGER: {
      errno = 0;
      long long value = strtoll(text, &end, 10);
      if (end == text || *end != '\0' || errno != 0) return false;
      *(int64_t *)row->value = (int64_t)value;
      return true;
    }
    case OPTION_NUMBER: {
      double value = strtod(text, &end);
      if (end == text || *end != '\0' || isnan(value)) return false;
      *(double *)row->value = value;
      return true;
    }
    case OPTION_SIZE: return command_parse_size(text, (uint64_t *)row->value);
  }
  return false;
}

static const option_row *find_option(const command_usage *usage, const char *name, size_t length) {
  for (size_t i = 0; i < usage->option_count; i++) {
    if (strlen(usage->options[i].name) == length && memcmp(usage->options[i].name, name, length) == 0)
      return &usage->options[i];
  }
  return NULL;
}

static int explain_unknown(const command_usage *usage, const char *command, const char *argument, const char *name,
                           size_t length) {
  char text[64];
  snprintf(text, sizeof(text), "%.*s", (int)(length < 63 ? length : 63), name);
  const char *candidates[128];
  size_t count = 0;
  for (size_t i = 0; i < usage->option_count && count < 128; i++) candidates[count++] = usage->options[i].name;
  const char *nearest = command_nearest(text, candidates, count);
  fprintf(stderr, "dure %s: unknown option '%s'", command, argument);
  if (nearest != NULL) fprintf(stderr, "; did you mean '%s%s'?", strlen(nearest) == 1 ? "-" : "--", nearest);
  fprintf(stderr, "\nrun 'dure %s --help' for all of them\n", command);
  return EXIT_USAGE;
}

// Handles the option at argv[*index]; advances *index when its value is the next argument. -1 to go on.
static int parse_option(const command_usage *usage, int argc, char **argv, int *index) {
  const char *argument = argv[*index];
  const char *name = argument[1] == '-' ? argument + 2 : argument + 1;
  const char *equals = strchr(name, '=');
  size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);

  const option_row *row = find_option(usage, name, length);
  if (row == NULL && length > 3 && memcmp(name, "no-", 3) == 0) {
    const option_row *flag = find_option(usage, name + 3, length - 3);
    if (flag != NULL && flag->kind == OPTION_FLAG) {
      *(bool *)flag->value = false;
      return -1;
    }
  }
  if (row == NULL) return explain_unknown(usage, argv[0], argument, name, length);

  const char *text = equals != NULL ? equals + 1 : NULL;
  if (row->kind == OPTION_FLAG && text != NULL) {
    fprintf(stderr, "dure %s: option '--%s' takes no value (found '%s')\n", argv[0], row->name, text);
    return EXIT_USAGE;
  }
  if (row->kind != OPTION_FLAG && text == NULL) {
    if (*index + 1 >= argc) {
      fprintf(stderr, "dure %s: option '%s' needs a value: %s\n", argv[0], argument, row->placeholder);
      return EXIT_USAGE;
    }
    text = argv[++*index];
  }
  if (!set_option(row, text)) {
    static const char *const expected[] = {"", "text", "a whole number", "a number", "a size such as 8GiB"};
    fprintf(stderr, "dure %s: option '--%s' expects %s, found '%s'\n", argv[0], row->name, expected[row->kind], text);
    return EXIT_USAGE;
  }
  return -1;
}

int command_parse(const command_usage *usage, int argc, char **argv, const char *const **out_positional,
                  size_t *out_positional_count) {
  char **positional = argv + 1;  // filled from the front: never ahead of what has been read
  size_t count = 0;
  bool options_ended = false;
  if (out_positional != NULL) *out_positional = NULL;
  if (out_positional_count != NULL) *out_positional_count = 0;
  for (int i = 1; i < argc; i++) {
    char *argument = argv[i];
    if (options_ended || argument[0] != '-' || argument[1] == '\0') {
      positional[count++] = argument;
      continue;
    }
    if (strcmp(argument, "--") == 0) {
      options_ended = true;
      continue;
    }
    if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
      print_usage(usage, stdout);
      return EXIT_DONE;
    }
    int status = parse_option(usage, argc, argv, &i);
    if (status >= 0) return status;
  }
  if (count < usage->positional_minimum || count > usage->positional_maximum) {
    if (count > usage->positional_maximum) {
      fprintf(stderr, "dure %s: unexpected argument '%s'\n", argv[0], positional[usage->positional_maximum]);
    } else {
      fprintf(stderr, "dure %s: an argument is missing\n", argv[0]);
    }
    fprintf(stderr, "usage: %s\n", usage->synopsis);
    return EXIT_USAGE;
  }
  if (out_positional != NULL) *out_positional = (const char *const *)positional;
  if (out_positional_count != NULL) *out_positional_count = count;
  return -1;
}

int command_finish(const char *command, dure_status status) {
  if (status == NULL) return EXIT_DONE;
  dure_code code = dure_status_code(status);
  fprintf(stderr, "dure %s: %s\n", command, dure_status_message(status));
  dure_status_free(status);
  return code == DURE_UNSUPPORTED ? EXIT_UNSUPPORTED : EXIT_FAILED;
}

int command_refuse(const char *command, dure_status status) {
  bool is_mistake = dure_status_code(status) == DURE_INVALID_ARGUMENT;
  int code = command_finish(command, status);
  return is_mistake ? EXIT_USAGE : code;
}

int command_run(const command_usage *usage, int argc, char **argv, void *options, command_check check,
                command_work work) {
  const char *const *positional;
  const int status = command_parse(usage, argc, argv, &positional, NULL);
  if (status >= 0) return status;
  dure_status mistake = check(options);
  if (mistake != NULL) return command_refuse(argv[0], mistake);
  dure_os_catch_interrupts();
  return command_finish(argv[0], work(options, positional[0]));
}
