#include "runtime/vulkan/tuning.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/vulkan/internal.h"

enum { FORMAT = 1, MOST_ROWS = 4096 };
static const size_t most_bytes = 1 << 20;

// ---- classes -----------------------------------------------------------------------------------------------------

static const char *bucket(uint64_t value, const uint64_t *limits, const char *const *names, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (value <= limits[i]) return names[i];
  }
  return names[count];
}

vulkan_tuning_class vulkan_tuning_class_of(uint64_t M, uint64_t N, uint64_t K, bool transpose_a, bool transpose_b,
                                           bool is_16_bit) {
  static const uint64_t row_limits[] = {1, 16, 128}, width_limits[] = {512, 2048};
  static const char *const row_names[] = {"1", "16", "128", "more"}, *const width_names[] = {"512", "2048", "more"};
  vulkan_tuning_class made;
  snprintf(made.text, sizeof(made.text), "%c%c/%s/m%s/n%s/k%s", transpose_a ? 't' : 'n', transpose_b ? 't' : 'n',
           is_16_bit ? "16" : "f32", bucket(M, row_limits, row_names, 3), bucket(N, width_limits, width_names, 2),
           bucket(K, width_limits, width_names, 2));
  return made;
}

static const char attention_classes[] = "attention/";

vulkan_tuning_class vulkan_tuning_class_of_attention(dure_op op, uint64_t head_size, bool is_16_bit) {
  static const uint64_t limits[] = {32, 64, 96, 128};
  static const char *const names[] = {"32", "64", "96", "128", "more"};
  vulkan_tuning_class made;
  snprintf(made.text, sizeof(made.text), "%s%s/%s/d%s", attention_classes, is_16_bit ? "16" : "f32",
           op == DURE_OP_attention_gradient ? "gradient" : "forward", bucket(head_size, limits, names, 4));
  return made;
}

// ---- rows --------------------------------------------------------------------------------------------------------

// The row's place, or where it would be inserted.
static size_t row_place(const vulkan_tuning *tuning, const char *shape_class, bool *out_found) {
  size_t low = 0, high = tuning->count;
  *out_found = false;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(tuning->rows[middle].shape_class, shape_class);
    if (order == 0) *out_found = true;
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

dure_status vulkan_tuning_set(vulkan_tuning *tuning, const char *shape_class, const char *variant, double speedup) {
  vulkan_tuning_row row = {.speedup = speedup};
  if (strlen(shape_class) >= sizeof(row.shape_class) || strlen(variant) >= sizeof(row.variant))
    return dure_fail(DURE_INVALID_ARGUMENT, "the names '%.60s' and '%.60s' are too long", shape_class, variant);
  snprintf(row.shape_class, sizeof(row.shape_class), "%s", shape_class);
  snprintf(row.variant, sizeof(row.variant), "%s", variant);
  bool found = false;
  size_t place = row_place(tuning, shape_class, &found);
  if (!found && tuning->count == tuning->capacity) {
    size_t capacity = tuning->capacity * 2 + 16;
    vulkan_tuning_row *grown = realloc(tuning->rows, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for measured choices");
    tuning->rows = grown;
    tuning->capacity = capacity;
  }
  if (!found) {
    memmove(&tuning->rows[place + 1], &tuning->rows[place], (tuning->count - place) * sizeof(row));
    tuning->count++;
  }
  tuning->rows[place] = row;
  return NULL;
}

void vulkan_tuning_describe(const vulkan_tuning *tuning, char *out_text, size_t size) {
  if (tuning->count == 0) {
    snprintf(out_text, size, "untuned");
    return;
  }
  uint64_t hash = 0;
  for (size_t i = 0; i < tuning->count; i++) {
    hash = XXH64(tuning->rows[i].shape_class, strlen(tuning->rows[i].shape_class), hash);
    hash = XXH64(tuning->rows[i].variant, strlen(tuning->rows[i].variant), hash);
  }
  snprintf(out_text, size, "%zu classes tuned (%016" PRIx64 ")", tuning->count, hash);
}

const char *vulkan_tuning_find(const vulkan_tuning *tuning, const char *shape_class) {
  bool found = false;
  size_t place = row_place(tuning, shape_class, &found);
  return found ? tuning->rows[place].variant : NULL;
}

void vulkan_tuning_release(vulkan_tuning *tuning) {
  free(tuning->rows);
  memset(tuning, 0, sizeof(*tuning));
}

// ---- the file ----------------------------------------------------------------------------------------------------

static const struct rate_row {
  const char *key;
  size_t offset;
} rate_rows[] = {
    {"matmul_flops", offsetof(dure_device_rates, matmul_flops)},
    {"matmul16_flops", offsetof(dure_device_rates, matmul16_flops)},
    {"attention_flops", offsetof(dure_device_rates, attention_flops)},
    {"bandwidth", offsetof(dure_device_rates, bandwidth)},
    {"transfer", offsetof(dure_device_rates, transfer)},
};
enum { rate_count = sizeof(rate_rows) / sizeof(rate_rows[0]) };

static double *rate_of(dure_device_rates *rates, size_t i) { return (double *)((char *)rates + rate_rows[i].offset); }

static dure_status parse_rates(const json_t *object, vulkan_tuning *tuning) {
  if (object == NULL) return NULL;
  for (size_t i = 0; i < rate_count; i++) {
    double value = json_number_value(json_object_get(object, rate_rows[i].key));  // 0 for what is no number
    if (!isfinite(value) || value < 1 || value > 1e18)
      return dure_fail(DURE_CORRUPT, "'rates' has no '%s' between 1 and 1e18", rate_rows[i].key);
    *rate_of(&tuning->rates, i) = value;
  }
  tuning->rates.is_measured = true;
  return NULL;
}

static bool is_name(const char *text, size_t most) {
  size_t length = strlen(text);
  return length > 0 && length < most && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_/") == length;
}

static dure_status parse_choices(const char *name, json_t *object, vulkan_tuning *tuning) {
  if (json_object_size(object) > MOST_ROWS)
    return dure_fail(DURE_CORRUPT, "'%s' has %zu entries, more than %d", name, json_object_size(object), MOST_ROWS);
  const char *shape_class = NULL;
  json_t *entry = NULL;
  json_object_foreach(object, shape_class, entry) {
    const char *variant = json_string_value(json_object_get(entry, "variant"));
    double speedup = json_number_value(json_object_get(entry, "speedup"));
    if (variant == NULL || !is_name(variant, sizeof(tuning->rows->variant)) ||
        !is_name(shape_class, sizeof(tuning->rows->shape_class)) || !isfinite(speedup))
      return dure_fail(DURE_CORRUPT, "the entry '%.40s' of '%s' names no variant", shape_class, name);
    DURE_TRY(vulkan_tuning_set(tuning, shape_class, variant, speedup));
  }
  return NULL;
}

static dure_status parse_root(json_t *root, vulkan_tuning *tuning) {
  if (!json_is_object(root) || json_integer_value(json_object_get(root, "format")) != FORMAT)
    return dure_fail(DURE_CORRUPT, "it is no object of format %d", FORMAT);
  json_t *rates = json_object_get(root, "rates"), *matmul = json_object_get(root, "matmul");
  json_t *attention = json_object_get(root, "attention");
  if ((rates != NULL && !json_is_object(rates)) || !json_is_object(matmul) ||
      (attention != NULL && !json_is_object(attention)))
    return dure_fail(DURE_CORRUPT, "'rates', 'matmul' or 'attention' is no object");
  tuning->measured = (int64_t)json_integer_value(json_object_get(root, "measured"));
  DURE_TRY(parse_rates(rates, tuning));
  DURE_TRY(parse_choices("matmul", matmul, tuning));
  return attention != NULL ? parse_choices("attention", attention, tuning) : NULL;
}

dure_status vulkan_tuning_parse(const char *bytes, size_t size, vulkan_tuning *out_tuning) {
  memset(out_tuning, 0, sizeof(*out_tuning));
  json_error_t error;
  json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &error);
  if (root == NULL) return dure_fail(DURE_CORRUPT, "line %d: %s", error.line, error.text);
  dure_status status = parse_root(root, out_tuning);
  json_decref(root);
  if (status != NULL) vulkan_tuning_release(out_tuning);
  return status;
}

dure_status vulkan_tuning_format(const vulkan_tuning *tuning, const char *device, const char *driver, char **out_text) {
  *out_text = NULL;
  json_t *rates = json_object(), *matmul = json_object(), *attention = json_object();
  dure_device_rates values = tuning->rates;
  for (size_t i = 0; i < rate_count && values.is_measured; i++)
    json_object_set_new(rates, rate_rows[i].key, json_real(*rate_of(&values, i)));
  for (size_t i = 0; i < tuning->count; i++) {
    const vulkan_tuning_row *row = &tuning->rows[i];
    const bool is_attention = strncmp(row->shape_class, attention_classes, strlen(attention_classes)) == 0;
    json_object_set_new(is_attention ? attention : matmul, row->shape_class,
                        json_pack("{s:s, s:f}", "variant", row->variant, "speedup", row->speedup));
  }
  json_t *root =
      json_pack("{s:i, s:s?, s:s?, s:I, s:o, s:o, s:o}", "format", FORMAT, "device", device, "driver", driver,
                "measured", (json_int_t)tuning->measured, "matmul", matmul, "attention", attention, "rates", rates);
  if (root != NULL && !values.is_measured) json_object_del(root, "rates");
  if (root != NULL) *out_text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
  json_decref(root);
  if (*out_text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "measured choices cannot be written as JSON");
  return NULL;
}

char *vulkan_tuning_path(const vulkan_capabilities *c, const vulkan_plan *plan) {
  char *directory = NULL;
  dure_status status = dure_os_cache_directory(&directory);
  if (status != NULL) {
    dure_status_free(status);
    return NULL;
  }
  char name[128] = "tuning-";
  size_t used = strlen(name);
  for (int i = 0; i < 16; i++) used += (size_t)snprintf(name + used, sizeof(name) - used, "%02x", c->device_uuid[i]);
  snprintf(name + used, sizeof(name) - used, "-%x-%08x%s%s.json", c->driver_id, c->driver_version,
           plan->profile != NULL ? "-" : "", plan->profile != NULL ? plan->profile->name : "");
  char *path = dure_os_path_join(directory, name);
  free(directory);
  return path;
}

void vulkan_tuning_load(const vulkan_capabilities *c, const vulkan_plan *plan, vulkan_tuning *out_tuning) {
  memset(out_tuning, 0, sizeof(*out_tuning));
  const char *is_on = getenv("DURE_VULKAN_TUNING");
  if (!plan->usable || (is_on != NULL && strcmp(is_on, "0") == 0)) return;
  char *path = vulkan_tuning_path(c, plan), *bytes = NULL;
  size_t size = 0;
  if (path != NULL && dure_os_is_file(path)) {
    dure_status status = dure_os_read_file(path, most_bytes, &bytes, &size);
    if (status == NULL) status = vulkan_tuning_parse(bytes, size, out_tuning);
    if (status != NULL) {
      dure_log(DURE_LOG_WARNING, "%s is not used: %s; 'dure tune' makes it anew", path, dure_status_message(status));
    }
    dure_status_free(status);
  }
  free(bytes);
  free(path);
  if (out_tuning->rates.is_measured)
    snprintf(out_tuning->rates.source, sizeof(out_tuning->rates.source), "measured by dure tune");
}

// ---- choosing ----------------------------------------------------------------------------------------------------

const char *dure_vulkan_tuned_matmul(const dure_device *device, const dure_vulkan_matmul_problem *problem,
                                     bool is_16_bit) {
  const vulkan_tuning *tuning = &vulkan_device_of(device)->tuning;
  if (tuning->candidate[0] != '\0' && tuning->candidate_op == DURE_OP_matmul) return tuning->candidate;
  if (tuning->count == 0 || problem->batch > 1) return NULL;
  vulkan_tuning_class own =
      vulkan_tuning_class_of(problem->M, problem->N, problem->K, problem->transpose_a, problem->transpose_b, is_16_bit);
  return vulkan_tuning_find(tuning, own.text);
}

const char *dure_vulkan_tuned_attention(const dure_device *device, dure_op op, bool is_16_bit, uint64_t head_size) {
  const vulkan_tuning *tuning = &vulkan_device_of(device)->tuning;
  if (tuning->candidate[0] != '\0' && tuning->candidate_op == op) return tuning->candidate;
  if (tuning->count == 0) return NULL;
  const vulkan_tuning_class own = vulkan_tuning_class_of_attention(op, head_size, is_16_bit);
  return vulkan_tuning_find(tuning, own.text);
}
