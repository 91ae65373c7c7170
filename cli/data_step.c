#include "cli/data_step.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/progress.h"
#include "data/recipe.h"
#include "runtime/os.h"

data_timer data_timer_start(const char *const *inputs, size_t count) {
  data_timer timer = {.started = dure_os_nanoseconds()};
  for (size_t i = 0; i < count; i++) {
    uint64_t size = 0;
    dure_status status = dure_os_is_file(inputs[i]) ? dure_os_file_size(inputs[i], &size) : NULL;
    dure_status_free(status);
    if (size == 0) return (data_timer){.started = timer.started};  // a directory, a stream: not known
    timer.bytes_total += size;
  }
  return timer;
}

double data_timer_seconds(const data_timer *timer) { return (double)(dure_os_nanoseconds() - timer->started) * 1e-9; }

enum { BAR_CELLS = 20 };

bool data_step_progress(void *context, const dure_progress *progress) {
  data_timer *timer = context;
  const uint64_t now = dure_os_nanoseconds();
  if (timer->stage == NULL || strcmp(timer->stage, progress->stage) != 0) {
    timer->stage = progress->stage;
    timer->stage_started = now;
  }
  const double seconds = (double)(now - timer->stage_started) * 1e-9, read = (double)progress->bytes_read;
  const double rate = seconds > 0.05 ? read / seconds : 0;
  const double total = (double)(progress->bytes_total > 0 ? progress->bytes_total : timer->bytes_total);
  if (total > 0 && read <= total && rate > 0) {
    static const char cells[] = "####################";
    const double share = read / total, left = (total - read) / rate;
    progress_show("%s [%-*.*s] %3.0f %%, %" PRIu64 " documents, %.1f MB/s, %.0f:%02.0f left", progress->stage,
                  BAR_CELLS, (int)(share * BAR_CELLS), cells, share * 100, progress->documents, rate * 1e-6,
                  (double)(int)(left / 60), (double)((int)left % 60));
  } else {
    progress_show("%s: %" PRIu64 " documents in %" PRIu64 " files, %.1f MB, %.1f MB/s, %.1f s", progress->stage,
                  progress->documents, progress->files, read * 1e-6, rate * 1e-6, data_timer_seconds(timer));
  }
  return !dure_os_interrupted();
}

// "--name=value" of one member of a recipe.
static char *recipe_argument(const char *name, const json_t *value) {
  char *text = json_is_string(value) ? strdup(json_string_value(value)) : json_dumps(value, JSON_ENCODE_ANY);
  if (text == NULL) return NULL;
  const size_t size = strlen(name) + strlen(text) + 8;
  char *argument = malloc(size);
  if (argument != NULL && json_is_boolean(value)) {
    snprintf(argument, size, json_is_true(value) ? "--%s" : "--no-%s", name);
  } else if (argument != NULL) {
    snprintf(argument, size, "--%s=%s", name, text);
  }
  free(text);
  return argument;
}

bool data_recipe_apply(int *argc, char **argv, char ***out_argv) {
  *out_argv = argv;
  const char *path = NULL;
  for (int i = 1; i < *argc; i++) {
    if (strncmp(argv[i], "--recipe=", 9) == 0) path = argv[i] + 9;
    if (strcmp(argv[i], "--recipe") == 0 && i + 1 < *argc) path = argv[i + 1];
  }
  if (path == NULL) return true;
  json_t *recipe = NULL;
  dure_status status = dure_recipe_read(path, &recipe);
  if (status == NULL && !json_is_object(recipe)) {
    status = dure_fail(DURE_CORRUPT, "%s: expected a mapping of option names to values", path);
  }
  const size_t size = json_object_size(recipe);
  static char **joined;  // until the program ends
  joined = status == NULL ? calloc((size_t)*argc + size + 1, sizeof(*joined)) : NULL;
  int count = 0;
  if (joined != NULL) {
    const char *name = NULL;
    json_t *value = NULL;
    joined[count++] = argv[0];
    json_object_foreach(recipe, name, value) {
      char *argument = recipe_argument(name, value);
      if (argument != NULL) joined[count++] = argument;
    }
    for (int i = 1; i < *argc; i++) joined[count++] = argv[i];
    *argc = count;
    *out_argv = joined;
  }
  json_decref(recipe);
  return command_refuse(argv[0], status) == EXIT_DONE;
}

size_t data_list_cut(char *list, const char **out_parts, size_t limit) {
  size_t count = 0;
  for (char *part = list; part != NULL && count < limit;) {
    char *comma = strchr(part, ',');
    if (comma != NULL) *comma = '\0';
    if (*part != '\0') out_parts[count++] = part;
    part = comma != NULL ? comma + 1 : NULL;
  }
  return count;
}

json_t *data_counts_json(const data_count *rows, size_t count) {
  json_t *object = json_object();
  for (size_t i = 0; i < count; i++) json_object_set_new(object, rows[i].name, json_integer((json_int_t)rows[i].value));
  return object;
}

void data_counts_list(const data_count *rows, size_t count, char *out_text, size_t size) {
  size_t length = 0;
  out_text[0] = '\0';
  for (size_t i = 0; i < count; i++) {
    if (rows[i].value == 0) continue;
    int added = snprintf(out_text + length, size - length, "%s%" PRIu64 " %s", length > 0 ? ", " : "", rows[i].value,
                         rows[i].name);
    if (added < 0 || (size_t)added >= size - length) return;
    length += (size_t)added;
  }
  for (char *cursor = out_text; *cursor != '\0'; cursor++) *cursor = *cursor == '_' ? ' ' : *cursor;
}

void data_json_print(json_t *object) {
  char *text = json_dumps(object, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9));
  if (text != NULL) printf("%s\n", text);
  free(text);
  json_decref(object);
}

bool data_format_parse(const char *command, const char *name, dure_format *out_format) {
  const char *names[DURE_FORMAT_COUNT];
  *out_format = DURE_FORMAT_AUTO;
  for (int i = 0; i < DURE_FORMAT_COUNT; i++) {
    names[i] = dure_format_name((dure_format)i);
    if (strcmp(name, names[i]) != 0) continue;
    *out_format = (dure_format)i;
    return true;
  }
  const char *nearest = command_nearest(name, names, DURE_FORMAT_COUNT);
  fprintf(stderr, "dure %s: unknown format '%s': expected", command, name);
  for (int i = 0; i < DURE_FORMAT_COUNT; i++) fprintf(stderr, "%s %s", i > 0 ? "," : "", names[i]);
  fprintf(stderr, nearest != NULL ? "; did you mean '%s'?\n" : "\n", nearest);
  return false;
}

int data_output_missing(const char *command, const char *what) {
  fprintf(stderr, "dure %s: nothing says where to write: add -o %s\n", command, what);
  return EXIT_USAGE;
}
