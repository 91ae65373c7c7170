#include "model/metrics.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

struct dure_metrics_file {
  char *path;
  FILE *file;
};

static double number(const json_t *json, const char *key) { return json_number_value(json_object_get(json, key)); }

static bool parse_line(const char *line, size_t length, dure_metrics_row *out_row) {
  memset(out_row, 0, sizeof(*out_row));
  json_error_t error;
  json_t *json = json_loadb(line, length, 0, &error);
  const json_t *step = json_object_get(json, "step");
  bool is_row = json_is_integer(step) && json_integer_value(step) > 0;
  if (is_row) {
    out_row->step = (uint64_t)json_integer_value(step);
    out_row->loss = number(json, "loss");
    out_row->learning_rate = number(json, "lr");
    out_row->gradient_norm = number(json, "grad_norm");
    out_row->tokens = (uint64_t)json_integer_value(json_object_get(json, "tokens"));
    out_row->tokens_per_second = number(json, "tokens_per_second");
    out_row->flops_per_second = number(json, "flops_per_second");
    out_row->seconds = number(json, "seconds");
    out_row->device_memory_bytes = (uint64_t)json_integer_value(json_object_get(json, "device_memory_bytes"));
    out_row->communication_seconds = number(json, "communication_seconds");
    out_row->exposed_seconds = number(json, "exposed_seconds");
    out_row->loss_scale = number(json, "loss_scale");
    out_row->skipped_steps = (uint64_t)json_integer_value(json_object_get(json, "skipped_steps"));
    out_row->has_evaluation = json_object_get(json, "eval_loss") != NULL;
    out_row->evaluation_loss = number(json, "eval_loss");
    out_row->bits_per_byte = number(json, "bits_per_byte");
  }
  json_decref(json);
  return is_row;
}

// Walks the lines to keep; returns the number of bytes they take. Lines are read one at a time, so memory stays flat.
static dure_status scan(const char *path, uint64_t last_step, dure_metrics_visit visit, void *context,
                        uint64_t *out_kept) {
  *out_kept = 0;
  if (!dure_os_is_file(path)) return NULL;
  FILE *file = fopen(path, "rb");
  if (file == NULL) return dure_fail_errno("cannot open '%s'", path);
  char line[4096];
  uint64_t expected = 1;
  while (fgets(line, sizeof(line), file) != NULL) {
    size_t length = strlen(line);
    dure_metrics_row row;
    if (length == 0 || line[length - 1] != '\n' || !parse_line(line, length, &row)) break;
    if (row.step < expected || row.step > last_step) break;
    expected = row.step + 1;
    *out_kept += length;
    if (visit != NULL) visit(context, &row);
  }
  fclose(file);
  return NULL;
}

dure_status dure_metrics_open(const char *path, uint64_t last_step, dure_metrics_visit visit, void *context,
                              dure_metrics_file **out_file) {
  *out_file = NULL;
  uint64_t kept = 0;
  DURE_TRY(scan(path, last_step, visit, context, &kept));
  if (dure_os_is_file(path)) DURE_TRY(dure_os_truncate(path, kept));
  dure_metrics_file *file = calloc(1, sizeof(*file));
  if (file == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", path);
  file->path = strdup(path);
  file->file = fopen(path, "ab");
  dure_status status = NULL;
  if (file->file == NULL) status = dure_fail_errno("cannot open '%s' for writing", path);
  if (status == NULL && file->path == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", path);
  if (status != NULL) {
    dure_metrics_close(file);
    return status;
  }
  *out_file = file;
  return NULL;
}

void dure_metrics_close(dure_metrics_file *file) {
  if (file == NULL) return;
  if (file->file != NULL) fclose(file->file);
  free(file->path);
  free(file);
}

// JSON has no NaN or infinity: those become null.
static void set_number(json_t *json, const char *key, double value) {
  json_object_set_new(json, key, isfinite(value) ? json_real(value) : json_null());
}

dure_status dure_metrics_append(dure_metrics_file *file, const dure_metrics_row *row) {
  json_t *json = json_object();
  if (json == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", file->path);
  json_object_set_new(json, "step", json_integer((json_int_t)row->step));
  set_number(json, "loss", row->loss);
  set_number(json, "lr", row->learning_rate);
  set_number(json, "grad_norm", row->gradient_norm);
  json_object_set_new(json, "tokens", json_integer((json_int_t)row->tokens));
  set_number(json, "tokens_per_second", row->tokens_per_second);
  set_number(json, "flops_per_second", row->flops_per_second);
  json_object_set_new(json, "device_memory_bytes", json_integer((json_int_t)row->device_memory_bytes));
  set_number(json, "seconds", row->seconds);
  if (row->communication_seconds > 0) {
    set_number(json, "communication_seconds", row->communication_seconds);
    set_number(json, "exposed_seconds", row->exposed_seconds);
  }
  if (row->loss_scale > 0) {
    set_number(json, "loss_scale", row->loss_scale);
    json_object_set_new(json, "skipped_steps", json_integer((json_int_t)row->skipped_steps));
  }
  if (row->has_evaluation) set_number(json, "eval_loss", row->evaluation_loss);
  if (row->has_evaluation && row->bits_per_byte > 0) set_number(json, "bits_per_byte", row->bits_per_byte);
  // Nine digits name every f32 exactly.
  char *text = json_dumps(json, JSON_REAL_PRECISION(9));
  json_decref(json);
  if (text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", file->path);
  errno = 0;
  // One line reaches the operating system at a time, so that a crash leaves whole lines.
  bool is_written = fprintf(file->file, "%s\n", text) > 0 && fflush(file->file) == 0;
  free(text);
  return is_written ? NULL : dure_fail_errno("cannot write '%s'", file->path);
}

dure_status dure_metrics_sync(dure_metrics_file *file) {
  errno = 0;
  if (fflush(file->file) != 0) return dure_fail_errno("cannot write '%s'", file->path);
  return dure_os_sync_file(file->path);
}
