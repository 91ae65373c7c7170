#include "model/checkpoint.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint_parts.h"
#include "model/moments.h"
#include "model/safetensors.h"
#include "runtime/os.h"

#define FOLDER "checkpoints"
#define LINK "latest"
enum { name_size = 64, path_size = 4096, max_state_bytes = 1 << 20, state_version = 1, set_count = 4 };

// ---- trainer.json ------------------------------------------------------------------------------------------------

void dure_trainer_state_clear(dure_trainer_state *state) {
  dure_train_options_clear(&state->options);
  memset(state, 0, sizeof(*state));
}

static json_t *hash_to_json(uint64_t hash) {
  char text[32];
  snprintf(text, sizeof(text), "%016" PRIx64, hash);
  return json_string(text);
}

static dure_status write_state(const dure_trainer_state *state, const char *directory) {
  json_t *json = json_object();
  json_object_set_new(json, "format", json_string("dure-trainer"));
  json_object_set_new(json, "version", json_integer(state_version));
  json_object_set_new(json, "step", json_integer((json_int_t)state->step));
  json_object_set_new(json, "samples", json_integer((json_int_t)state->samples));
  json_object_set_new(json, "tokens", json_integer((json_int_t)state->tokens));
  json_object_set_new(json, "seconds", json_real(state->seconds));
  json_object_set_new(json, "device", json_string(state->device));
  json_object_set_new(json, "device_name", json_string(state->device_name));
  json_object_set_new(json, "driver", json_string(state->driver));
  json_object_set_new(json, "build", json_string(state->build));
  json_object_set_new(json, "kernels", json_string(state->kernels));
  json_object_set_new(json, "dtype", json_string(state->dtype));
  json_object_set_new(json, "choice", json_string(state->choice));
  json_object_set_new(json, "loss_scale", json_real(state->scaling.scale));
  json_object_set_new(json, "loss_scale_good_steps", json_integer((json_int_t)state->scaling.good_steps));
  json_object_set_new(json, "skipped_steps", json_integer((json_int_t)state->scaling.skipped));
  json_object_set_new(json, "norm_mean", json_real(state->norm_mean));
  json_object_set_new(json, "norm_count", json_integer((json_int_t)state->norm_count));
  json_object_set_new(json, "data_hash", hash_to_json(state->data_hash));
  json_object_set_new(json, "tokenizer_hash", hash_to_json(state->tokenizer_hash));
  json_object_set_new(json, "options", dure_train_options_to_json(&state->options));
  // Fifteen digits give every option back as it was typed.
  char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
  char *path = dure_os_path_join(directory, "trainer.json");
  dure_status status = text == NULL || path == NULL
                           ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory saving into '%s'", directory)
                           : dure_os_write_file(path, text, strlen(text));
  json_decref(json);
  free(text);
  free(path);
  return status;
}

static bool read_count(const json_t *json, const char *key, uint64_t *out_value) {
  const json_t *value = json_object_get(json, key);
  *out_value = json_is_integer(value) && json_integer_value(value) >= 0 ? (uint64_t)json_integer_value(value) : 0;
  return json_is_integer(value) && json_integer_value(value) >= 0;
}

static void read_text(const json_t *json, const char *key, char *out_text, size_t size) {
  const char *text = json_string_value(json_object_get(json, key));
  snprintf(out_text, size, "%s", text != NULL ? text : "");
}

static uint64_t read_hash(const json_t *json, const char *key) {
  const char *text = json_string_value(json_object_get(json, key));
  return text != NULL ? strtoull(text, NULL, 16) : 0;
}

static dure_status parse_state(const char *path, const json_t *json, dure_trainer_state *state) {
  const char *format = json_string_value(json_object_get(json, "format"));
  uint64_t version = 0;
  if (format == NULL || strcmp(format, "dure-trainer") != 0 || !read_count(json, "version", &version)) {
    return dure_fail(DURE_CORRUPT, "'%s' is not a training state", path);
  }
  if (version > state_version) {
    return dure_fail(DURE_UNSUPPORTED, "'%s' has version %" PRIu64 ", this build reads up to %d", path, version,
                     state_version);
  }
  if (!read_count(json, "step", &state->step) || !read_count(json, "samples", &state->samples) ||
      !read_count(json, "tokens", &state->tokens)) {
    return dure_fail(DURE_CORRUPT, "'%s' lacks a valid step, samples or tokens", path);
  }
  state->norm_mean = json_number_value(json_object_get(json, "norm_mean"));
  (void)read_count(json, "norm_count", &state->norm_count);
  state->seconds = json_number_value(json_object_get(json, "seconds"));
  read_text(json, "device", state->device, sizeof(state->device));
  read_text(json, "device_name", state->device_name, sizeof(state->device_name));
  read_text(json, "driver", state->driver, sizeof(state->driver));
  read_text(json, "build", state->build, sizeof(state->build));
  read_text(json, "kernels", state->kernels, sizeof(state->kernels));
  read_text(json, "dtype", state->dtype, sizeof(state->dtype));
  read_text(json, "choice", state->choice, sizeof(state->choice));
  const double scale = json_number_value(json_object_get(json, "loss_scale"));
  state->scaling.scale = scale >= 1 && scale <= 0x1p24 ? scale : 0;
  (void)read_count(json, "loss_scale_good_steps", &state->scaling.good_steps);
  (void)read_count(json, "skipped_steps", &state->scaling.skipped);
  state->data_hash = read_hash(json, "data_hash");
  state->tokenizer_hash = read_hash(json, "tokenizer_hash");
  return dure_train_options_from_json(&state->options, path, json_object_get(json, "options"));
}

dure_status dure_checkpoint_advise(dure_status status, const char *directory) {
  dure_code code = dure_status_code(status);
  if (directory == NULL || (code != DURE_CORRUPT && code != DURE_NOT_FOUND)) return status;
  return dure_status_prefix(status, "'%s' is damaged (move it away, and --resume goes on from the one before)",
                            directory);
}

dure_status dure_checkpoint_read_state(const char *directory, dure_trainer_state *out_state) {
  memset(out_state, 0, sizeof(*out_state));
  dure_train_options_default(&out_state->options);
  char *path = dure_os_path_join(directory, "trainer.json");
  if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", directory);
  char *text = NULL;
  size_t size = 0;
  json_t *json = NULL;
  dure_status status = dure_os_read_file(path, max_state_bytes, &text, &size);
  if (status == NULL) {
    json_error_t error;
    json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) status = dure_fail(DURE_CORRUPT, "'%s' is not JSON: line %d: %s", path, error.line, error.text);
  }
  if (status == NULL) status = parse_state(path, json, out_state);
  if (status != NULL) dure_trainer_state_clear(out_state);
  json_decref(json);
  free(text);
  free(path);
  return dure_checkpoint_advise(status, directory);
}

// ---- directories -------------------------------------------------------------------------------------------------

static dure_status join(char out_path[path_size], const char *run, const char *name) {
  int length = snprintf(out_path, path_size, "%s/" FOLDER "%s%s", run, name[0] != '\0' ? "/" : "", name);
  if (length > 0 && length < path_size) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "the path of the run is too long: '%s'", run);
}

// "step-00001000" -> 1000; false for other names.
static bool parse_name(const char *name, uint64_t *out_step) {
  static const char prefix[] = "step-";
  if (strncmp(name, prefix, sizeof(prefix) - 1) != 0) return false;
  const char *digits = name + sizeof(prefix) - 1;
  size_t length = strspn(digits, "0123456789");
  if (length < 8 || length > 18 || digits[length] != '\0') return false;
  *out_step = strtoull(digits, NULL, 10);
  return true;
}

static bool is_complete(const char *run, const char *name) {
  char path[path_size];
  int length = snprintf(path, sizeof(path), "%s/" FOLDER "/%s/trainer.json", run, name);
  return length > 0 && length < path_size && dure_os_is_file(path);
}

typedef struct step_list {
  uint64_t *steps;  // ascending
  size_t count;
} step_list;

static int compare_steps(const void *a, const void *b) {
  uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
  return (left > right) - (left < right);
}

static void step_name(uint64_t step, char out_name[name_size]) {
  snprintf(out_name, name_size, "step-%08" PRIu64, step);
}

// The complete checkpoints of a run. free(out_list->steps).
static dure_status list_steps(const char *run, step_list *out_list) {
  memset(out_list, 0, sizeof(*out_list));
  char folder[path_size];
  DURE_TRY(join(folder, run, ""));
  if (!dure_os_is_directory(folder)) return NULL;
  char **names = NULL;
  size_t count = 0;
  DURE_TRY(dure_os_list(folder, &names, &count));
  uint64_t *steps = calloc(count + 1, sizeof(*steps));
  for (size_t i = 0; steps != NULL && i < count; i++) {
    uint64_t step;
    char canonical[name_size];
    if (!parse_name(names[i], &step) || !is_complete(run, names[i])) continue;
    step_name(step, canonical);
    if (strcmp(canonical, names[i]) == 0) steps[out_list->count++] = step;
  }
  dure_os_names_free(names, count);
  if (steps == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory listing '%s'", folder);
  qsort(steps, out_list->count, sizeof(*steps), compare_steps);
  out_list->steps = steps;
  return NULL;
}

dure_status dure_checkpoint_find(const char *run, char **out_directory) {
  *out_directory = NULL;
  step_list list;
  DURE_TRY(list_steps(run, &list));
  dure_status status = NULL;
  if (list.count > 0) {
    char name[name_size], path[path_size];
    step_name(list.steps[list.count - 1], name);
    status = join(path, run, name);
    if (status == NULL && (*out_directory = strdup(path)) == NULL)
      status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory");
  }
  free(list.steps);
  return status;
}

dure_status dure_checkpoint_clean(const char *run) {
  char folder[path_size], path[path_size];
  DURE_TRY(join(folder, run, ""));
  if (!dure_os_is_directory(folder)) return NULL;
  char **names = NULL;
  size_t count = 0;
  DURE_TRY(dure_os_list(folder, &names, &count));
  dure_status status = NULL;
  for (size_t i = 0; i < count && status == NULL; i++) {
    // ".step-00001000.part", ".step-00001000.old", and a link on its way to `latest`.
    bool is_leftover = strncmp(names[i], ".step-", 6) == 0 || strncmp(names[i], LINK ".", sizeof(LINK)) == 0;
    if (!is_leftover) continue;
    status = join(path, run, names[i]);
    if (status == NULL) status = dure_os_remove_tree(path);
  }
  dure_os_names_free(names, count);
  return status;
}

// ---- saving ------------------------------------------------------------------------------------------------------

// What optimizer.safetensors holds of a training; of its copy where `snapshot` is not NULL.
static size_t list_sets(const dure_training *training, const dure_snapshot *snapshot,
                        dure_named_buffers out_sets[set_count]) {
  static const struct {
    dure_training_set set;
    const char *suffix;
  } rows[set_count] = {{DURE_TRAINING_FIRST_MOMENTS, DURE_MOMENTS_FIRST},
                       {DURE_TRAINING_SECOND_MOMENTS, DURE_MOMENTS_SECOND},
                       {DURE_TRAINING_FIRST_SCALES, DURE_MOMENTS_FIRST_SCALES},
                       {DURE_TRAINING_SECOND_SCALES, DURE_MOMENTS_SECOND_SCALES}};
  size_t count = 0;
  for (size_t i = 0; i < set_count; i++) {
    const dure_parameter_buffers *buffers =
        snapshot != NULL ? dure_snapshot_buffers(snapshot, rows[i].set) : dure_training_buffers(training, rows[i].set);
    if (buffers != NULL) out_sets[count++] = (dure_named_buffers){buffers, rows[i].suffix, NULL};
  }
  return count;
}

// The moments alone, those of 8 bits with their scales.
static size_t list_moments(const dure_training *training, const dure_snapshot *snapshot,
                           dure_named_buffers out_sets[set_count]) {
  const size_t count = list_sets(training, snapshot, out_sets), moments = 2;
  for (size_t i = moments; i < count; i++) out_sets[i - moments].scales = out_sets[i].buffers;
  return moments;
}

static dure_status save_model(const dure_checkpoint_content *content, const char *directory) {
  if (content->snapshot == NULL) return dure_model_save(content->model, directory);
  const dure_parameter_buffers *masters = dure_snapshot_buffers(content->snapshot, DURE_TRAINING_MASTERS);
  const dure_parameter_buffers *weights = dure_snapshot_buffers(content->snapshot, DURE_TRAINING_PARAMETERS);
  return dure_model_save_copy(content->model, masters != NULL ? masters : weights, directory);
}

static dure_status write_content(const dure_checkpoint_content *content, const char *directory) {
  const dure_model *model = content->model;
  DURE_TRY(save_model(content, directory));
  DURE_TRY(dure_model_save_tokenizer(model, content->tokenizer_path, content->end_of_text, directory));
  char *path = dure_os_path_join(directory, "optimizer.safetensors");
  if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory saving into '%s'", directory);
  dure_named_buffers sets[set_count];
  const size_t count = list_sets(content->training, content->snapshot, sets);
  dure_status status = dure_parameters_save(sets, count, &model->layout, model->stream, path);
  free(path);
  DURE_TRY(status);
  DURE_TRY(write_state(content->state, directory));
  return dure_os_sync_directory(directory);
}

// Renames the finished directory into place. One of the same step (from before the run was taken back) makes room
// first.
static dure_status move_into_place(const char *run, const char *aside, const char *final, const char *name) {
  char old[path_size], old_name[name_size + 8], folder[path_size];
  DURE_TRY(join(folder, run, ""));
  snprintf(old_name, sizeof(old_name), ".%s.old", name);
  DURE_TRY(join(old, run, old_name));
  if (dure_os_is_directory(final)) {
    DURE_TRY(dure_os_remove_tree(old));
    DURE_TRY(dure_os_rename(final, old));
  }
  DURE_TRY(dure_os_rename(aside, final));
  DURE_TRY(dure_os_sync_directory(folder));
  return dure_os_remove_tree(old);
}

static dure_status remove_older(const char *run, uint64_t newest, uint64_t keep) {
  step_list list;
  DURE_TRY(list_steps(run, &list));
  dure_status status = NULL;
  size_t older = 0;
  while (older < list.count && list.steps[older] <= newest) older++;
  for (size_t i = 0; i + keep < older && status == NULL; i++) {
    // Renamed first: a directory that is half removed must not look complete.
    char name[name_size], aside_name[name_size + 8], path[path_size], aside[path_size];
    step_name(list.steps[i], name);
    snprintf(aside_name, sizeof(aside_name), ".%s.old", name);
    status = join(path, run, name);
    if (status == NULL) status = join(aside, run, aside_name);
    if (status == NULL) status = dure_os_remove_tree(aside);
    if (status == NULL) status = dure_os_rename(path, aside);
    if (status == NULL) status = dure_os_remove_tree(aside);
  }
  free(list.steps);
  return status;
}

// ---- of several ranks --------------------------------------------------------------------------------------------

typedef struct part_paths {
  char name[name_size], aside[path_size], final[path_size], link[path_size];
} part_paths;

static dure_status find_paths(const char *run, uint64_t step, part_paths *out_paths) {
  char aside_name[name_size + 8];
  step_name(step, out_paths->name);
  snprintf(aside_name, sizeof(aside_name), ".%s.part", out_paths->name);
  DURE_TRY(join(out_paths->aside, run, aside_name));
  DURE_TRY(join(out_paths->final, run, out_paths->name));
  return join(out_paths->link, run, LINK);
}

// The sets of which ranks write parts: the moments; masters, or parameters without any, of which none has all.
static size_t list_parts(const dure_checkpoint_content *content, dure_named_buffers out_sets[set_count + 1]) {
  const dure_training *training = content->training;
  size_t count = list_moments(training, content->snapshot, out_sets);
  const bool has_masters = dure_training_buffers(training, DURE_TRAINING_MASTERS) != NULL;
  const dure_training_set set = has_masters ? DURE_TRAINING_MASTERS : DURE_TRAINING_PARAMETERS;
  const dure_parameter_buffers *buffers =
      content->snapshot != NULL ? dure_snapshot_buffers(content->snapshot, set) : dure_training_buffers(training, set);
  if (buffers != NULL && (dure_training_buffers(training, set)->storage.shards > 1 || content->tensor_parts > 1))
    out_sets[count++] = (dure_named_buffers){buffers, has_masters ? DURE_PARTS_MASTER : "", NULL};
  return count;
}

// Parameters of which this rank has all: masters, if it has all of those, else the weights.
static dure_status save_whole(const dure_checkpoint_content *content, const char *directory) {
  static const dure_training_set order[] = {DURE_TRAINING_MASTERS, DURE_TRAINING_PARAMETERS};
  for (size_t i = 0; i < 2 && content->tensor_parts < 2; i++) {
    const dure_parameter_buffers *kept = dure_training_buffers(content->training, order[i]);
    if (kept == NULL || kept->storage.shards > 1) continue;
    if (content->snapshot != NULL) kept = dure_snapshot_buffers(content->snapshot, order[i]);
    return dure_model_save_copy(content->model, kept, directory);
  }
  return dure_model_save_description(content->model, directory);
}

static dure_checkpoint_place place_of(const dure_checkpoint_content *content) {
  return (dure_checkpoint_place){content->shard, content->shards, content->tensor_part, content->tensor_parts};
}

static dure_status write_part(const dure_checkpoint_content *content, const char *directory) {
  const dure_model *model = content->model;
  dure_named_buffers sets[set_count + 1];
  const size_t count = list_parts(content, sets);
  const dure_checkpoint_place place = place_of(content);
  DURE_TRY(dure_checkpoint_parts_save(sets, count, &model->layout, &place, model->stream, directory));
  if (content->shard > 0 || content->tensor_part > 0) return NULL;
  DURE_TRY(save_whole(content, directory));
  return dure_model_save_tokenizer(model, content->tokenizer_path, content->end_of_text, directory);
}

static dure_status fail_to_save(dure_status status, const dure_checkpoint_content *content) {
  return dure_status_prefix(status, "cannot save the checkpoint of step %" PRIu64 " (earlier ones are intact)",
                            content->state->step);
}

dure_status dure_checkpoint_write_part(const char *run, const dure_checkpoint_content *content) {
  if (content->is_replica) return NULL;
  part_paths paths;
  DURE_TRY(find_paths(run, content->state->step, &paths));
  dure_status status = dure_os_make_directories(paths.aside);
  if (status == NULL) status = write_part(content, paths.aside);
  if (status == NULL) status = dure_os_sync_directory(paths.aside);
  return fail_to_save(status, content);
}

dure_status dure_checkpoint_commit(const char *run, const dure_checkpoint_content *content, uint64_t keep,
                                   char **out_directory) {
  *out_directory = NULL;
  part_paths paths;
  DURE_TRY(find_paths(run, content->state->step, &paths));
  dure_named_buffers sets[set_count + 1];
  const size_t count = list_parts(content, sets);
  const dure_checkpoint_place place = place_of(content);
  dure_status status = dure_checkpoint_parts_index(sets, count, &content->model->layout, &place, paths.aside);
  if (status == NULL) status = write_state(content->state, paths.aside);
  if (status == NULL) status = dure_os_sync_directory(paths.aside);
  if (status == NULL) status = move_into_place(run, paths.aside, paths.final, paths.name);
  if (status == NULL) status = dure_os_link_replace(paths.name, paths.link);
  DURE_TRY(fail_to_save(status, content));
  if (keep > 0) DURE_TRY(remove_older(run, content->state->step, keep));
  *out_directory = strdup(paths.final);
  return *out_directory != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "out of memory");
}

// ---- of one rank -------------------------------------------------------------------------------------------------

dure_status dure_checkpoint_save(const char *run, const dure_checkpoint_content *content, uint64_t keep,
                                 char **out_directory) {
  if (out_directory != NULL) *out_directory = NULL;
  part_paths paths;
  DURE_TRY(find_paths(run, content->state->step, &paths));
  DURE_TRY(dure_os_remove_tree(paths.aside));
  DURE_TRY(dure_os_make_directories(paths.aside));
  dure_status status = write_content(content, paths.aside);
  if (status == NULL) status = move_into_place(run, paths.aside, paths.final, paths.name);
  if (status == NULL) status = dure_os_link_replace(paths.name, paths.link);
  if (status != NULL) {
    // What was written so far gives the disk its room back; the last complete checkpoint is untouched.
    dure_status_free(dure_os_remove_tree(paths.aside));
    return fail_to_save(status, content);
  }
  if (keep > 0) DURE_TRY(remove_older(run, content->state->step, keep));
  if (out_directory != NULL && (*out_directory = strdup(paths.final)) == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory");
  return NULL;
}

// By their values, into moments of any type.
static dure_status load_values(const dure_named_buffers *set, const dure_model *model, const dure_safetensors *file,
                               const char *path, const char *suffix) {
  if (dure_moments_are_coded(set))
    return dure_moments_load(set, &model->layout, &model->config, file, path, suffix, model->stream);
  return dure_parameters_load(&set->buffers, 1, &model->layout, &model->config, file, path, suffix, DURE_POOLS_ALL,
                              model->stream);
}

// What one rank has saved of a set: codes are taken as they are by one rank that has codes, by values otherwise.
static dure_status load_moments(const dure_named_buffers *set, const dure_model *model, const dure_training *training,
                                const dure_safetensors *file, const char *path) {
  const dure_parameter_layout *layout = &model->layout;
  const dure_training_options *options = dure_training_get_options(training);
  if (dure_parameters_file_dtype(layout, &model->config, file, set->suffix) != DURE_DTYPE_U8)
    return load_values(set, model, file, path, set->suffix);
  if (dure_moments_are_coded(set) && options->shards < 2 && options->tensor_parts < 2) {
    const bool is_first = strcmp(set->suffix, DURE_MOMENTS_FIRST) == 0;
    const char *scales = is_first ? DURE_MOMENTS_FIRST_SCALES : DURE_MOMENTS_SECOND_SCALES;
    DURE_TRY(dure_parameters_load_exactly(set->buffers, layout, file, path, set->suffix, model->stream));
    return dure_parameters_load_exactly(set->scales, layout, file, path, scales, model->stream);
  }
  dure_safetensors *values = NULL;
  DURE_TRY(dure_moments_open(file, path, &model->config, set->suffix, &values));
  dure_status status = load_values(set, model, values, path, set->suffix);
  dure_safetensors_close(values);
  return status;
}

// Values of a set from the parts that several ranks have saved.
static dure_status load_parts(const char *directory, const dure_model *model, const dure_named_buffers *set) {
  dure_safetensors *file = NULL;
  DURE_TRY(dure_checkpoint_parts_open(directory, set->suffix, &file));
  dure_status status = load_values(set, model, file, directory, "");
  dure_safetensors_close(file);
  return status;
}

static dure_status load_all_parts(const char *directory, const dure_model *model, const dure_training *training) {
  dure_named_buffers sets[set_count];
  const size_t count = list_moments(training, NULL, sets);
  for (size_t i = 0; i < count; i++) DURE_TRY(load_parts(directory, model, &sets[i]));
  const dure_named_buffers masters = {dure_training_buffers(training, DURE_TRAINING_MASTERS), DURE_PARTS_MASTER, NULL};
  if (masters.buffers == NULL) return NULL;
  dure_status status = load_parts(directory, model, &masters);
  if (dure_status_code(status) != DURE_NOT_FOUND) return status;
  dure_status_free(status);  // they were whole: the model's own file has them
  return NULL;
}

dure_status dure_checkpoint_load_moments(const char *directory, const dure_model *model,
                                         const dure_training *training) {
  if (dure_checkpoint_parts_exist(directory))
    return dure_checkpoint_advise(load_all_parts(directory, model, training), directory);
  char *path = dure_os_path_join(directory, "optimizer.safetensors");
  if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", directory);
  dure_safetensors *file = NULL;
  dure_named_buffers sets[set_count];
  const size_t count = list_moments(training, NULL, sets);
  dure_status status = dure_safetensors_open(path, &file);
  for (size_t i = 0; status == NULL && i < count; i++) status = load_moments(&sets[i], model, training, file, path);
  dure_safetensors_close(file);
  free(path);
  return dure_checkpoint_advise(status, directory);
}
