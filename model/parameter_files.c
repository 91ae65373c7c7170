// Parameters to and from safetensors, a piece at a time.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/parameters.h"
#include "model/safetensors.h"
#include "runtime/log.h"

enum { piece_elements = 1 << 20 };  // 4 MiB on the host whatever the tensor's size

static const dure_safetensors_tensor *find_tensor(const dure_safetensors *file, const dure_family *family,
                                                  const char *public_name, const char *suffix) {
  char name[160];
  snprintf(name, sizeof(name), "%s%s", public_name, suffix);
  const dure_safetensors_tensor *tensor = dure_safetensors_find(file, name);
  size_t length = strlen(family->optional_prefix);
  if (tensor == NULL && strncmp(name, family->optional_prefix, length) == 0) {
    tensor = dure_safetensors_find(file, name + length);
  }
  return tensor;
}

static void describe_shape(uint32_t rank, const uint64_t *shape, char *out_text, size_t size) {
  size_t used = (size_t)snprintf(out_text, size, "[");
  for (uint32_t i = 0; i < rank && used < size; i++) {
    used += (size_t)snprintf(out_text + used, size - used, "%s%" PRIu64, i > 0 ? ", " : "", shape[i]);
  }
  if (used < size) snprintf(out_text + used, size - used, "]");
}

static dure_status check_shape(const dure_parameter *parameter, const dure_safetensors_tensor *tensor,
                               const char *path) {
  bool agrees = tensor->rank == parameter->rank;
  for (uint32_t i = 0; agrees && i < parameter->rank; i++) agrees = tensor->shape[i] == parameter->shape[i];
  if (agrees) return NULL;
  char expected[64], found[128];
  describe_shape(parameter->rank, parameter->shape, expected, sizeof(expected));
  describe_shape(tensor->rank, tensor->shape, found, sizeof(found));
  return dure_fail(DURE_CORRUPT,
                   "'%s': tensor '%s' has shape %s, but config.json asks for %s; the config and the weights do not "
                   "belong together",
                   path, tensor->name, found, expected);
}

static bool is_known(const dure_parameter_layout *layout, const char *prefix, const char *name) {
  size_t length = strlen(prefix);
  for (size_t i = 0; i < layout->count; i++) {
    const char *public_name = layout->parameters[i].name;
    if (strcmp(public_name, name) == 0) return true;
    if (strncmp(public_name, prefix, length) == 0 && strcmp(public_name + length, name) == 0) return true;
  }
  return false;
}

// The layer number of a name that is one of the family's layered parameters; -1 for other names.
static int64_t layer_of(const dure_family *family, const char *name) {
  size_t prefix = strlen(family->optional_prefix);
  for (size_t i = 0; i < family->row_count; i++) {
    const char *mark = family->rows[i].is_layered ? strstr(family->rows[i].name, "%u") : NULL;
    if (mark == NULL) continue;
    for (size_t skipped = 0; skipped <= prefix; skipped += prefix > 0 ? prefix : 1) {
      size_t head = (size_t)(mark - family->rows[i].name) - skipped;
      if (strncmp(name, family->rows[i].name + skipped, head) != 0 || name[head] < '0' || name[head] > '9') continue;
      char *end = NULL;
      unsigned long layer = strtoul(name + head, &end, 10);
      if (strcmp(end, mark + 2) == 0) return (int64_t)(layer & 0x7fffffff);
    }
  }
  return -1;
}

static dure_status check_leftovers(const dure_parameter_layout *layout, const dure_model_config *config,
                                   const dure_safetensors *file, const char *path) {
  const dure_family *family = config->family;
  for (size_t i = 0; i < dure_safetensors_count(file); i++) {
    const char *name = dure_safetensors_get(file, i)->name;
    if (is_known(layout, family->optional_prefix, name)) continue;
    if (family->is_ignored != NULL && family->is_ignored(name)) continue;
    if (config->tied_head && strcmp(name, "lm_head.weight") == 0) continue;  // the embedding once more
    int64_t layer = layer_of(family, name);
    if (layer >= (int64_t)config->layer_count) {
      return dure_fail(DURE_CORRUPT,
                       "'%s' has tensor '%s', but config.json asks for %u layers; the config and the weights do not "
                       "belong together",
                       path, name, config->layer_count);
    }
    dure_log(DURE_LOG_WARNING, "'%s': tensor '%s' has no place in this model and is left out", path, name);
  }
  return NULL;
}

// Everything is checked before anything is loaded.
static dure_status check_tensors(const dure_parameter_layout *layout, const dure_model_config *config,
                                 const dure_safetensors *file, const char *path, const char *suffix) {
  for (size_t i = 0; i < layout->count; i++) {
    const dure_parameter *parameter = &layout->parameters[i];
    const dure_safetensors_tensor *tensor = find_tensor(file, config->family, parameter->name, suffix);
    if (tensor == NULL) {
      return dure_fail(DURE_CORRUPT, "'%s' has no tensor '%s%s', which config.json (%s, %u layers) asks for", path,
                       parameter->name, suffix, config->family->model_type, config->layer_count);
    }
    DURE_TRY(check_shape(parameter, tensor, path));
    if (!dure_dtype_is_float(tensor->dtype)) {
      return dure_fail(DURE_UNSUPPORTED, "'%s': tensor '%s' has dtype %s; weights must be floating point", path,
                       tensor->name, tensor->type);
    }
  }
  return suffix[0] == '\0' ? check_leftovers(layout, config, file, path) : NULL;
}

static dure_status check_finite(const float *values, uint64_t count, uint64_t first, const char *path,
                                const char *name) {
  for (uint64_t i = 0; i < count; i++) {
    if (isfinite(values[i])) continue;
    return dure_fail(DURE_CORRUPT, "'%s': element %" PRIu64 " of tensor '%s' is %g; the file is damaged", path,
                     first + i, name, (double)values[i]);
  }
  return NULL;
}

dure_status dure_parameters_load(const dure_parameter_buffers *buffers, const dure_parameter_layout *layout,
                                 const dure_model_config *config, const dure_safetensors *file, const char *path,
                                 const char *suffix, dure_stream *stream) {
  DURE_TRY(check_tensors(layout, config, file, path, suffix));
  float *piece = malloc(piece_elements * sizeof(*piece));
  if (piece == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", path);
  dure_status status = NULL;
  for (size_t i = 0; i < layout->count && status == NULL; i++) {
    const dure_parameter *parameter = &layout->parameters[i];
    const dure_safetensors_tensor *tensor = find_tensor(file, config->family, parameter->name, suffix);
    for (uint64_t first = 0; first < parameter->count && status == NULL; first += piece_elements) {
      uint64_t count = parameter->count - first < piece_elements ? parameter->count - first : piece_elements;
      status = dure_status_prefix(dure_safetensors_read(tensor, first, count, piece), "'%s'", path);
      if (status == NULL) status = check_finite(piece, count, first, path, tensor->name);
      if (status == NULL) status = dure_parameter_upload(buffers, parameter, stream, first, count, piece);
    }
  }
  free(piece);
  return status;
}

static dure_status append_parameter(dure_safetensors_writer *writer, const dure_parameter_buffers *buffers,
                                    const dure_parameter *parameter, dure_stream *stream, float *piece) {
  for (uint64_t first = 0; first < parameter->count; first += piece_elements) {
    uint64_t count = parameter->count - first < piece_elements ? parameter->count - first : piece_elements;
    DURE_TRY(dure_parameter_download(buffers, parameter, stream, first, count, piece));
    DURE_TRY(dure_safetensors_writer_append(writer, piece, count * sizeof(float)));
  }
  return NULL;
}

static dure_status write_sets(dure_safetensors_writer *writer, const dure_named_buffers *sets, size_t set_count,
                              const dure_parameter_layout *layout, dure_stream *stream, float *piece) {
  for (size_t set = 0; set < set_count; set++) {
    for (size_t i = 0; i < layout->count; i++) {
      const dure_parameter *parameter = &layout->parameters[i];
      char name[160];
      snprintf(name, sizeof(name), "%s%s", parameter->name, sets[set].suffix);
      DURE_TRY(dure_safetensors_writer_declare(writer, name, DURE_DTYPE_F32, parameter->rank, parameter->shape));
    }
  }
  for (size_t set = 0; set < set_count; set++) {
    for (size_t i = 0; i < layout->count; i++) {
      DURE_TRY(append_parameter(writer, sets[set].buffers, &layout->parameters[i], stream, piece));
    }
  }
  return dure_safetensors_writer_finish(writer);
}

dure_status dure_parameters_save(const dure_named_buffers *sets, size_t set_count, const dure_parameter_layout *layout,
                                 dure_stream *stream, const char *path) {
  float *piece = malloc(piece_elements * sizeof(*piece));
  if (piece == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  dure_safetensors_writer *writer = NULL;
  dure_status status = dure_safetensors_writer_create(path, &writer);
  if (status == NULL) status = write_sets(writer, sets, set_count, layout, stream, piece);
  dure_safetensors_writer_destroy(writer);
  free(piece);
  return status;
}
