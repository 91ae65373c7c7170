#include "cli/data_step.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/progress.h"
#include "runtime/os.h"

bool data_step_progress(void *context, const dure_progress *progress) {
  double seconds = (double)(dure_os_nanoseconds() - *(const uint64_t *)context) * 1e-9;
  progress_show("%s: %" PRIu64 " documents in %" PRIu64 " files, %.1f MB read, %.1f s", progress->stage,
                progress->documents, progress->files, (double)progress->bytes_read * 1e-6, seconds);
  return !dure_os_interrupted();
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
  static const char *const names[] = {"auto", "text", "html", "xml", "jsonl"};
  *out_format = DURE_FORMAT_AUTO;
  for (int i = 0; i < 5; i++) {
    if (strcmp(name, names[i]) != 0) continue;
    *out_format = (dure_format)i;
    return true;
  }
  const char *nearest = command_nearest(name, names, 5);
  fprintf(stderr, "dure %s: unknown format '%s': expected auto, text, html, xml or jsonl", command, name);
  fprintf(stderr, nearest != NULL ? "; did you mean '%s'?\n" : "\n", nearest);
  return false;
}

int data_output_missing(const char *command, const char *what) {
  fprintf(stderr, "dure %s: nothing says where to write: add -o %s\n", command, what);
  return EXIT_USAGE;
}
