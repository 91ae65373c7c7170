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

dure_dtype dure_parameters_file_dtype(const dure_parameter_layout *layout, const dure_model_config *config,
                                      const dure_safetensors *file, const char *suffix) {
  const dure_safetensors_tensor *tensor = find_tensor(file, config->family, layout->parameters[0].name, suffix);
  return tensor != NULL ? tensor->dtype : DURE_DTYPE_NONE;
}

static uint64_t piece_count(uint64_t count, uint64_t first) {
  return count - first < piece_elements ? count - first : piece_elements;
}

dure_status dure_parameters_load(const dure_parameter_buffers *const *targets, size_t target_count,
                                 const dure_parameter_layout *layout, const dure_model_config *config,
                                 const dure_safetensors *file, const char *path, const char *suffix,
                                 dure_stream *stream) {
  DURE_TRY(check_tensors(layout, config, file, path, suffix));
  float *piece = malloc(piece_elements * sizeof(*piece));
  if (piece == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", path);
  dure_status status = NULL;
  for (size_t i = 0; i < layout->count && status == NULL; i++) {
    const dure_parameter *parameter = &layout->parameters[i];
    const dure_safetensors_tensor *tensor = find_tensor(file, config->family, parameter->name, suffix);
    for (uint64_t first = 0; first < parameter->count && status == NULL; first += piece_elements) {
      const uint64_t count = piece_count(parameter->count, first);
      status = dure_status_prefix(dure_safetensors_read(tensor, first, count, piece), "'%s'", path);
      if (status == NULL) status = check_finite(piece, count, first, path, tensor->name);
      for (size_t k = 0; k < target_count && status == NULL; k++)
        status = dure_parameter_upload(targets[k], parameter, stream, first, count, piece);
    }
  }
  free(piece);
  return status;
}

// ---- as they are -------------------------------------------------------------------------------------------------

// What one tensor of a set's file is: a parameter, or all scales of a pool.
typedef struct part {
  char name[160];
  uint32_t rank;
  uint64_t shape[2];
  size_t pool;
  uint64_t offset, size;  // bytes in the pool
} part;

static size_t part_count(const dure_parameter_buffers *buffers, const dure_parameter_layout *layout) {
  if (buffers->count == 0) return 0;
  return buffers->storage.block > 1 ? layout->pool_count : layout->count;
}

static part get_part(const dure_named_buffers *set, const dure_parameter_layout *layout, size_t index) {
  const dure_parameter_storage *storage = &set->buffers->storage;
  part found = {.rank = 1};
  if (storage->block > 1) {
    snprintf(found.name, sizeof(found.name), "pool.%zu%s", index, set->suffix);
    found.shape[0] = dure_parameter_pool_values(&layout->pools[index], storage);
    found.pool = index;
    found.size = dure_parameter_pool_bytes(&layout->pools[index], storage);
    return found;
  }
  const dure_parameter *parameter = &layout->parameters[index];
  snprintf(found.name, sizeof(found.name), "%s%s", parameter->name, set->suffix);
  found.rank = parameter->rank;
  memcpy(found.shape, parameter->shape, sizeof(found.shape));
  found.pool = parameter->pool;
  found.offset = parameter->offset * dure_dtype_size(storage->dtype);
  found.size = parameter->count * dure_dtype_size(storage->dtype);
  return found;
}

enum { piece_bytes = 4 << 20 };

static dure_status append_part(dure_safetensors_writer *writer, const dure_parameter_buffers *buffers, const part *what,
                               dure_stream *stream, uint8_t *piece) {
  for (uint64_t done = 0; done < what->size; done += piece_bytes) {
    const uint64_t size = what->size - done < piece_bytes ? what->size - done : piece_bytes;
    DURE_TRY(dure_parameter_pool_read(buffers, what->pool, stream, what->offset + done, piece, size));
    DURE_TRY(dure_safetensors_writer_append(writer, piece, size));
  }
  return NULL;
}

static dure_status write_sets(dure_safetensors_writer *writer, const dure_named_buffers *sets, size_t set_count,
                              const dure_parameter_layout *layout, dure_stream *stream, uint8_t *piece) {
  for (size_t set = 0; set < set_count; set++) {
    for (size_t i = 0; i < part_count(sets[set].buffers, layout); i++) {
      const part what = get_part(&sets[set], layout, i);
      DURE_TRY(
          dure_safetensors_writer_declare(writer, what.name, sets[set].buffers->storage.dtype, what.rank, what.shape));
    }
  }
  for (size_t set = 0; set < set_count; set++) {
    for (size_t i = 0; i < part_count(sets[set].buffers, layout); i++) {
      const part what = get_part(&sets[set], layout, i);
      DURE_TRY(append_part(writer, sets[set].buffers, &what, stream, piece));
    }
  }
  return dure_safetensors_writer_finish(writer);
}

dure_status dure_parameters_save(const dure_named_buffers *sets, size_t set_count, const dure_parameter_layout *layout,
                                 dure_stream *stream, const char *path) {
  uint8_t *piece = malloc(piece_bytes);
  if (piece == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  dure_safetensors_writer *writer = NULL;
  dure_status status = dure_safetensors_writer_create(path, &writer);
  if (status == NULL) status = write_sets(writer, sets, set_count, layout, stream, piece);
  dure_safetensors_writer_destroy(writer);
  free(piece);
  return status;
}

dure_status dure_parameters_load_exactly(const dure_parameter_buffers *buffers, const dure_parameter_layout *layout,
                                         const dure_safetensors *file, const char *path, const char *suffix,
                                         dure_stream *stream) {
  const dure_named_buffers set = {buffers, suffix};
  for (size_t i = 0; i < part_count(buffers, layout); i++) {
    const part what = get_part(&set, layout, i);
    const dure_safetensors_tensor *tensor = dure_safetensors_find(file, what.name);
    if (tensor == NULL || tensor->dtype != buffers->storage.dtype || tensor->size != what.size) {
      return dure_fail(DURE_CORRUPT, "'%s' has no tensor '%s' of %s and the size that config.json asks for", path,
                       what.name, dure_dtype_name(buffers->storage.dtype));
    }
  }
  for (size_t i = 0; i < part_count(buffers, layout); i++) {
    const part what = get_part(&set, layout, i);
    const dure_safetensors_tensor *tensor = dure_safetensors_find(file, what.name);
    DURE_TRY(dure_parameter_pool_write(buffers, what.pool, stream, what.offset, tensor->data, what.size));
  }
  return NULL;
}
