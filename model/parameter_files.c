// Parameters to and from safetensors, a piece at a time.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/parameters.h"
#include "model/safetensors.h"
#include "model/tensor_parallel.h"
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

// What the file's tensor of a part must look like.
static uint32_t part_shape(const dure_parameter *parameter, uint32_t part, uint64_t out_shape[2]) {
  out_shape[0] = parameter->parts[part].rows;
  out_shape[1] = parameter->whole[1];
  return parameter->rank;
}

static uint64_t row_elements(const dure_parameter *parameter) { return parameter->rank == 2 ? parameter->whole[1] : 1; }

static dure_status check_shape(const dure_parameter *parameter, uint32_t part, const dure_safetensors_tensor *tensor,
                               const char *path) {
  uint64_t shape[2];
  const uint32_t rank = part_shape(parameter, part, shape);
  bool agrees = tensor->rank == rank;
  for (uint32_t i = 0; agrees && i < rank; i++) agrees = tensor->shape[i] == shape[i];
  if (agrees) return NULL;
  char expected[64], found[128];
  describe_shape(rank, shape, expected, sizeof(expected));
  describe_shape(tensor->rank, tensor->shape, found, sizeof(found));
  return dure_fail(DURE_CORRUPT,
                   "'%s': tensor '%s' has shape %s, but config.json asks for %s; the config and the weights do not "
                   "belong together",
                   path, tensor->name, found, expected);
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// The names of all tensors that the layout has a place for, sorted; released with free(). NULL: out of memory.
static const char **sort_names(const dure_parameter_layout *layout) {
  const char **names = malloc((layout->part_count + 1) * sizeof(*names));
  if (names == NULL) return NULL;
  for (size_t i = 0; i < layout->part_count; i++) names[i] = layout->parts[i].name;
  qsort(names, layout->part_count, sizeof(*names), compare_names);
  return names;
}

static bool is_known(const char *const *names, size_t count, const char *prefix, const char *name) {
  char whole[224];
  snprintf(whole, sizeof(whole), "%s%s", prefix, name);
  const char *spellings[2] = {name, whole};
  for (size_t i = 0; i < 2; i++) {
    if (bsearch(&spellings[i], names, count, sizeof(*names), compare_names) != NULL) return true;
  }
  return false;
}

// The layer number of a name that is the pattern's; -1 for other names. Some files leave the first `skipped` bytes of
// names out.
static int64_t layer_in(const char *pattern, size_t skipped, const char *name) {
  int64_t layer = -1;
  if (strlen(pattern) < skipped) return -1;
  for (pattern += skipped; *pattern != '\0' && *name != '\0';) {
    if (strncmp(pattern, "%u", 2) != 0) {
      if (*pattern++ != *name++) return -1;
      continue;
    }
    if (*name < '0' || *name > '9') return -1;
    char *end = NULL;
    const unsigned long number = strtoul(name, &end, 10);
    if (layer < 0) layer = (int64_t)(number & 0x7fffffff);  // the next is an expert's
    pattern += 2;
    name = end;
  }
  return *pattern == '\0' && *name == '\0' ? layer : -1;
}

// The layer number of a name that is one of the family's layered parameters; -1 for other names.
static int64_t layer_of(const dure_family *family, const char *name) {
  const size_t prefix = strlen(family->optional_prefix);
  for (size_t i = 0; i < family->row_count; i++) {
    for (uint32_t part = 0; part < DURE_PARTS_MOST && family->rows[i].names[part] != NULL; part++) {
      if (!family->rows[i].is_layered) continue;
      int64_t layer = layer_in(family->rows[i].names[part], 0, name);
      if (layer < 0) layer = layer_in(family->rows[i].names[part], prefix, name);
      if (layer >= 0) return layer;
    }
  }
  return -1;
}

static bool is_head(const dure_family *family, const char *name) {
  for (size_t i = 0; i < family->row_count; i++) {
    if (family->rows[i].role == DURE_ROLE_HEAD && strcmp(family->rows[i].names[0], name) == 0) return true;
  }
  return false;
}

static dure_status check_leftover_names(const char *const *names, size_t name_count, const dure_model_config *config,
                                        const dure_safetensors *file, const char *path) {
  const dure_family *family = config->family;
  for (size_t i = 0; i < dure_safetensors_count(file); i++) {
    const char *name = dure_safetensors_get(file, i)->name;
    if (is_known(names, name_count, family->optional_prefix, name)) continue;
    if (dure_model_config_leaves_out(config, name)) continue;
    if (config->tied_head && is_head(family, name)) continue;  // the embedding once more
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

static dure_status check_leftovers(const dure_parameter_layout *layout, const dure_model_config *config,
                                   const dure_safetensors *file, const char *path) {
  const char **names = sort_names(layout);
  if (names == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", path);
  dure_status status = check_leftover_names(names, layout->part_count, config, file, path);
  free((void *)names);
  return status;
}

static dure_status check_part(const dure_parameter *parameter, uint32_t part, const dure_model_config *config,
                              const dure_safetensors *file, const char *path, const char *suffix) {
  const dure_safetensors_tensor *tensor = find_tensor(file, config->family, parameter->parts[part].name, suffix);
  if (tensor == NULL) {
    return dure_fail(DURE_CORRUPT, "'%s' has no tensor '%s%s', which config.json (%s, %u layers) asks for", path,
                     parameter->parts[part].name, suffix, config->family->model_type, config->layer_count);
  }
  DURE_TRY(check_shape(parameter, part, tensor, path));
  if (dure_dtype_is_float(tensor->dtype)) return NULL;
  return dure_fail(DURE_UNSUPPORTED, "'%s': tensor '%s' has dtype %s; weights must be floating point", path,
                   tensor->name, tensor->type);
}

// Everything is checked before anything is loaded.
dure_status dure_parameters_check(const dure_parameter_layout *layout, const dure_model_config *config,
                                  const dure_safetensors *file, const char *path, const char *suffix) {
  for (size_t i = 0; i < layout->count; i++) {
    for (uint32_t part = 0; part < layout->parameters[i].part_count; part++)
      DURE_TRY(check_part(&layout->parameters[i], part, config, file, path, suffix));
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

enum { elements_ahead = 32 << 20 };  // that the disk may read before they are needed

typedef struct loading {
  const dure_parameter_buffers *const *targets;
  size_t target_count;
  const dure_model_config *config;
  const dure_safetensors *file;
  const char *path, *suffix;
  dure_stream *stream;
  float *piece;
} loading;

// Whether the file's bytes are what every target holds.
static bool is_stored_alike(const loading *l, const dure_safetensors_tensor *tensor) {
  bool is_alike = tensor->read == NULL && dure_dtype_size(tensor->dtype) <= sizeof(float);
  for (size_t k = 0; k < l->target_count; k++) {
    const bool is_whole = l->targets[k]->shard_sizes == NULL;
    is_alike = is_alike && is_whole && l->targets[k]->storage.dtype == tensor->dtype;
  }
  return is_alike;
}

// All bits of the exponent set: an infinity or NaN. In either width eight at a time, wherever they lie.
static bool has_only_numbers(const uint8_t *bytes, uint64_t count, dure_dtype dtype) {
  uint32_t found = 0;
  if (dtype == DURE_DTYPE_F32) {
    for (uint64_t i = 0; i < count; i++) {
      uint32_t bits;
      memcpy(&bits, bytes + 4 * i, sizeof(bits));
      found |= (uint32_t)((bits & 0x7f800000u) == 0x7f800000u);
    }
    return found == 0;
  }
  const uint16_t exponent = dtype == DURE_DTYPE_BF16 ? 0x7f80 : 0x7c00;
  for (uint64_t i = 0; i < count; i++) {
    uint16_t bits;
    memcpy(&bits, bytes + 2 * i, sizeof(bits));
    found |= (uint32_t)((bits & exponent) == exponent);
  }
  return found == 0;
}

// Straight from the mapped file to the targets. What is no number is left for the other way to name.
static dure_status load_alike(const loading *l, const dure_parameter *parameter, const dure_safetensors_tensor *tensor,
                              uint64_t first, uint64_t count, uint64_t to, uint64_t *out_done) {
  const uint64_t element = dure_dtype_size(tensor->dtype);
  for (*out_done = 0; *out_done < count;) {
    const uint64_t size = piece_count(count, *out_done), from = first + *out_done;
    const uint8_t *bytes = tensor->data + from * element;
    dure_safetensors_expect(l->file, tensor, from + elements_ahead, size);
    if (!has_only_numbers(bytes, size, tensor->dtype)) return NULL;
    const uint64_t begin = (parameter->offset + to + *out_done) * element;
    for (size_t k = 0; k < l->target_count; k++)
      DURE_TRY(dure_parameter_pool_write(l->targets[k], parameter->pool, l->stream, begin, bytes, size * element));
    *out_done += size;
  }
  return NULL;
}

// Elements [first, first + count) of the file's tensor to the parameter's from `to` on.
static dure_status load_elements(const loading *l, const dure_parameter *parameter,
                                 const dure_safetensors_tensor *tensor, uint64_t first, uint64_t count, uint64_t to) {
  uint64_t done = 0;
  if (is_stored_alike(l, tensor)) DURE_TRY(load_alike(l, parameter, tensor, first, count, to, &done));
  while (done < count) {
    const uint64_t size = piece_count(count, done);
    dure_safetensors_expect(l->file, tensor, first + done + elements_ahead, size);
    DURE_TRY(dure_status_prefix(dure_safetensors_read(tensor, first + done, size, l->piece), "'%s'", l->path));
    DURE_TRY(check_finite(l->piece, size, first + done, l->path, tensor->name));
    for (size_t k = 0; k < l->target_count; k++)
      DURE_TRY(dure_parameter_upload(l->targets[k], parameter, l->stream, to + done, size, l->piece));
    done += size;
  }
  return NULL;
}

// The part's columns of `rows` rows of the file, to the parameter's rows from `to` on.
static dure_status load_columns(const loading *l, const dure_parameter *parameter,
                                const dure_safetensors_tensor *tensor, uint64_t row, uint64_t rows, uint64_t to) {
  const uint64_t columns = parameter->whole[1], kept = parameter->shape[1], most = piece_elements / columns;
  if (most == 0) return dure_fail(DURE_UNSUPPORTED, "'%s' is too wide to be divided", parameter->name);
  for (uint64_t done = 0; done < rows;) {
    const uint64_t now = rows - done < most ? rows - done : most, first = (row + done) * columns;
    dure_safetensors_expect(l->file, tensor, first + elements_ahead, now * columns);
    DURE_TRY(dure_status_prefix(dure_safetensors_read(tensor, first, now * columns, l->piece), "'%s'", l->path));
    DURE_TRY(check_finite(l->piece, now * columns, first, l->path, tensor->name));
    dure_parameter_cut_columns(parameter, now, l->piece);
    for (size_t k = 0; k < l->target_count; k++)
      DURE_TRY(dure_parameter_upload(l->targets[k], parameter, l->stream, (to + done) * kept, now * kept, l->piece));
    done += now;
  }
  return NULL;
}

static dure_status load_part(const loading *l, const dure_parameter *parameter, uint32_t part,
                             const dure_safetensors_tensor *tensor) {
  const uint64_t elements = row_elements(parameter);
  for (uint64_t row = 0; row < parameter->parts[part].rows;) {
    uint64_t to;
    const uint64_t rows = dure_parameter_run(parameter, part, row, &to);
    if (dure_parameter_has_cut_columns(parameter)) {
      DURE_TRY(load_columns(l, parameter, tensor, row, rows, to));
    } else if (to != DURE_ROW_ELSEWHERE) {
      DURE_TRY(load_elements(l, parameter, tensor, row * elements, rows * elements, to * elements));
    }
    row += rows;
  }
  dure_safetensors_release(l->file, tensor);
  return NULL;
}

static const dure_safetensors_tensor *tensor_of(const loading *l, const dure_parameter *parameter, uint32_t part) {
  return find_tensor(l->file, l->config->family, parameter->parts[part].name, l->suffix);
}

// The beginning of what comes after it is on its way while a parameter is loaded.
static dure_status load_parameter(const loading *l, const dure_parameter *parameter, const dure_parameter *next) {
  for (uint32_t part = 0; next != NULL && part < next->part_count; part++)
    dure_safetensors_expect(l->file, tensor_of(l, next, part), 0, elements_ahead);
  for (uint32_t part = 0; part < parameter->part_count; part++)
    DURE_TRY(load_part(l, parameter, part, tensor_of(l, parameter, part)));
  return NULL;
}

dure_status dure_parameters_load(const dure_parameter_buffers *const *targets, size_t target_count,
                                 const dure_parameter_layout *layout, const dure_model_config *config,
                                 const dure_safetensors *file, const char *path, const char *suffix, size_t pool,
                                 dure_stream *stream) {
  if (pool == DURE_POOLS_ALL) DURE_TRY(dure_parameters_check(layout, config, file, path, suffix));
  float *piece = malloc(piece_elements * sizeof(*piece));
  if (piece == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", path);
  const loading l = {targets, target_count, config, file, path, suffix, stream, piece};
  dure_status status = NULL;
  for (size_t i = 0; i < layout->count && status == NULL; i++) {
    if (layout->parameters[i].bits > 0) continue;  // dure_packed_load
    if (pool != DURE_POOLS_ALL && layout->parameters[i].pool != pool) continue;
    status = load_parameter(&l, &layout->parameters[i], i + 1 < layout->count ? &layout->parameters[i + 1] : NULL);
  }
  free(piece);
  return status;
}

// ---- as they are -------------------------------------------------------------------------------------------------

// What one tensor of a set's file is: a part of a parameter, or all scales of a pool.
typedef struct file_part {
  char name[160];
  uint32_t rank;
  uint64_t shape[2];
  size_t pool;
  const dure_parameter *parameter;  // NULL: of a pool
  uint32_t part;
  uint64_t offset, size;  // bytes: of the parameter or the pool's values in the pool; of the tensor
  uint64_t row_bytes;
} file_part;

static file_part pool_part(const dure_named_buffers *set, const dure_parameter_layout *layout, size_t pool) {
  file_part found = {.rank = 1, .pool = pool};
  snprintf(found.name, sizeof(found.name), "pool.%zu%s", pool, set->suffix);
  found.shape[0] = dure_parameter_pool_values(&layout->pools[pool], &set->buffers->storage);
  found.size = dure_parameter_pool_bytes(&layout->pools[pool], &set->buffers->storage);
  return found;
}

static file_part parameter_part(const dure_named_buffers *set, const dure_parameter *parameter, uint32_t part) {
  const uint64_t element_size = dure_dtype_size(set->buffers->storage.dtype);
  file_part found = {.pool = parameter->pool, .parameter = parameter, .part = part};
  snprintf(found.name, sizeof(found.name), "%s%s", parameter->parts[part].name, set->suffix);
  found.rank = part_shape(parameter, part, found.shape);
  found.row_bytes = row_elements(parameter) * element_size;
  found.offset = parameter->offset * element_size;
  found.size = parameter->parts[part].rows * found.row_bytes;
  return found;
}

typedef dure_status (*part_action)(void *context, const dure_named_buffers *set, const file_part *part);

// Does something with every tensor of a set's file, in the file's order.
static dure_status for_each_part(const dure_named_buffers *set, const dure_parameter_layout *layout, part_action action,
                                 void *context) {
  if (set->buffers->count == 0) return NULL;
  if (set->buffers->storage.block > 1) {
    for (size_t i = 0; i < layout->pool_count; i++) {
      const file_part part = pool_part(set, layout, i);
      DURE_TRY(action(context, set, &part));
    }
    return NULL;
  }
  for (size_t i = 0; i < layout->count; i++) {
    for (uint32_t k = 0; k < layout->parameters[i].part_count; k++) {
      const file_part part = parameter_part(set, &layout->parameters[i], k);
      DURE_TRY(action(context, set, &part));
    }
  }
  return NULL;
}

// Bytes [from, from + *out_size) of the tensor lie in its pool at *out_offset.
static void locate(const file_part *part, uint64_t from, uint64_t *out_offset, uint64_t *out_size) {
  *out_offset = part->offset + from;
  *out_size = part->size - from;
  if (part->parameter == NULL) return;
  uint64_t row;
  const uint64_t rows = dure_parameter_run(part->parameter, part->part, from / part->row_bytes, &row);
  *out_offset = part->offset + row * part->row_bytes + from % part->row_bytes;
  *out_size = rows * part->row_bytes - from % part->row_bytes;
}

enum { piece_bytes = 4 << 20 };

typedef struct saving {
  dure_safetensors_writer *writer;
  dure_stream *stream;
  uint8_t *piece;
} saving;

static dure_status declare_part(void *context, const dure_named_buffers *set, const file_part *part) {
  const saving *s = context;
  return dure_safetensors_writer_declare(s->writer, part->name, set->buffers->storage.dtype, part->rank, part->shape);
}

static dure_status append_part(void *context, const dure_named_buffers *set, const file_part *part) {
  const saving *s = context;
  for (uint64_t done = 0; done < part->size;) {
    uint64_t offset, size;
    locate(part, done, &offset, &size);
    const uint8_t *bytes = set->buffers->storage.home == DURE_HOME_HOST ? set->buffers->mapped[part->pool] : NULL;
    if (bytes != NULL) {
      bytes += offset;
    } else {
      if (size > piece_bytes) size = piece_bytes;
      DURE_TRY(dure_parameter_pool_read(set->buffers, part->pool, s->stream, offset, s->piece, size));
      bytes = s->piece;
    }
    DURE_TRY(dure_safetensors_writer_append(s->writer, bytes, size));
    done += size;
  }
  return NULL;
}

static dure_status write_sets(saving *s, const dure_named_buffers *sets, size_t set_count,
                              const dure_parameter_layout *layout) {
  for (size_t set = 0; set < set_count; set++) DURE_TRY(for_each_part(&sets[set], layout, declare_part, s));
  for (size_t set = 0; set < set_count; set++) DURE_TRY(for_each_part(&sets[set], layout, append_part, s));
  return dure_safetensors_writer_finish(s->writer);
}

dure_status dure_parameters_save(const dure_named_buffers *sets, size_t set_count, const dure_parameter_layout *layout,
                                 dure_stream *stream, const char *path) {
  saving s = {.stream = stream, .piece = malloc(piece_bytes)};
  if (s.piece == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  dure_status status = dure_safetensors_writer_create(path, &s.writer);
  if (status == NULL) dure_safetensors_writer_bypass_cache(s.writer);
  if (status == NULL) status = write_sets(&s, sets, set_count, layout);
  dure_safetensors_writer_destroy(s.writer);
  free(s.piece);
  return status;
}

typedef struct reading {
  const dure_safetensors *file;
  const char *path;
  dure_stream *stream;
} reading;

static dure_status check_saved_part(void *context, const dure_named_buffers *set, const file_part *part) {
  const reading *r = context;
  const dure_safetensors_tensor *tensor = dure_safetensors_find(r->file, part->name);
  if (tensor != NULL && tensor->dtype == set->buffers->storage.dtype && tensor->size == part->size) return NULL;
  return dure_fail(DURE_CORRUPT, "'%s' has no tensor '%s' of %s and the size that config.json asks for", r->path,
                   part->name, dure_dtype_name(set->buffers->storage.dtype));
}

static dure_status read_part(void *context, const dure_named_buffers *set, const file_part *part) {
  const reading *r = context;
  const dure_safetensors_tensor *tensor = dure_safetensors_find(r->file, part->name);
  for (uint64_t done = 0; done < part->size;) {
    uint64_t offset, size;
    locate(part, done, &offset, &size);
    DURE_TRY(dure_parameter_pool_write(set->buffers, part->pool, r->stream, offset, tensor->data + done, size));
    done += size;
  }
  return NULL;
}

dure_status dure_parameters_load_exactly(const dure_parameter_buffers *buffers, const dure_parameter_layout *layout,
                                         const dure_safetensors *file, const char *path, const char *suffix,
                                         dure_stream *stream) {
  const dure_named_buffers set = {buffers, suffix, NULL};
  reading r = {file, path, stream};
  DURE_TRY(for_each_part(&set, layout, check_saved_part, &r));
  return for_each_part(&set, layout, read_part, &r);
}
