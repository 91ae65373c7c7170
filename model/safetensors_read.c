#include "model/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/grouped.h"
#include "runtime/nearest.h"
#include "runtime/os.h"
#include "runtime/read_ahead.h"

static const uint64_t max_header_bytes = UINT64_C(100) * 1000 * 1000;  // as the format's own library
static const uint64_t max_index_bytes = UINT64_C(100) * 1000 * 1000;

typedef struct mapped_file {
  const void *bytes;
  uint64_t size;
  json_t *header;  // owns the tensors' names
} mapped_file;

struct dure_safetensors {
  mapped_file *files;
  size_t file_count;
  dure_safetensors_tensor *tensors;
  size_t tensor_count;
  void *owner;  // of a file of another format
  void (*release)(void *owner);
  dure_grouped *grouped;  // what quantised matrices refer to (grouped.h)
  dure_read_ahead *reader;
};

static const struct {
  const char *name;
  uint64_t size;
  dure_dtype dtype;
} types[] = {
    {"F32", 4, DURE_DTYPE_F32},   {"BF16", 2, DURE_DTYPE_BF16},    {"F16", 2, DURE_DTYPE_F16},
    {"F64", 8, DURE_DTYPE_F64},   {"U32", 4, DURE_DTYPE_U32},      {"U16", 2, DURE_DTYPE_U16},
    {"U8", 1, DURE_DTYPE_U8},     {"I64", 8, DURE_DTYPE_NONE},     {"U64", 8, DURE_DTYPE_NONE},
    {"I32", 4, DURE_DTYPE_NONE},  {"I16", 2, DURE_DTYPE_NONE},     {"I8", 1, DURE_DTYPE_NONE},
    {"BOOL", 1, DURE_DTYPE_NONE}, {"F8_E4M3", 1, DURE_DTYPE_NONE}, {"F8_E5M2", 1, DURE_DTYPE_NONE},
};
enum { type_count = sizeof(types) / sizeof(types[0]) };

static bool multiply(uint64_t a, uint64_t b, uint64_t *out_product) {
  if (b != 0 && a > UINT64_MAX / b) return false;
  *out_product = a * b;
  return true;
}

static uint64_t load_u64(const uint8_t *bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; i--) value = value << 8 | bytes[i];
  return value;
}

static bool read_count(const json_t *value, uint64_t *out_count) {
  if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
  *out_count = (uint64_t)json_integer_value(value);
  return true;
}

// A value as the header has it, its beginning; "nothing" where it is missing. Release with free().
static char *spell(const json_t *value) {
  return value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : strdup("nothing");
}

// `expected` and what is there instead.
static dure_status fail_on(const char *path, const char *name, const json_t *found, const char *expected) {
  char *text = spell(found);
  dure_status status = dure_fail(DURE_CORRUPT, "'%s': tensor '%.200s' %s; found %.80s. The file is damaged", path, name,
                                 expected, text != NULL ? text : "something else");
  free(text);
  return status;
}

static dure_status parse_shape(const char *path, const json_t *shape, uint64_t element_size,
                               dure_safetensors_tensor *tensor) {
  if (!json_is_array(shape) || json_array_size(shape) > DURE_SAFETENSORS_MAX_RANK) {
    return fail_on(path, tensor->name, shape, "must have a shape, a list of at most 8 dimensions");
  }
  tensor->rank = (uint32_t)json_array_size(shape);
  tensor->count = 1;
  for (uint32_t i = 0; i < tensor->rank; i++) {
    if (!read_count(json_array_get(shape, i), &tensor->shape[i]) ||
        !multiply(tensor->count, tensor->shape[i], &tensor->count)) {
      return fail_on(path, tensor->name, shape,
                     "has an impossible shape: expected whole numbers with a product below 2^64");
    }
  }
  if (!multiply(tensor->count, element_size, &tensor->size)) {
    return fail_on(path, tensor->name, shape, "is larger than any file");
  }
  return NULL;
}

static dure_status parse_tensor(const char *path, const char *name, const json_t *entry, const uint8_t *data,
                                uint64_t data_size, dure_safetensors_tensor *tensor) {
  memset(tensor, 0, sizeof(*tensor));
  tensor->name = name;
  const char *type = json_string_value(json_object_get(entry, "dtype"));
  if (type == NULL) return fail_on(path, name, json_object_get(entry, "dtype"), "has no dtype, such as \"F32\"");
  uint64_t element_size = 0;
  for (size_t i = 0; i < type_count; i++) {
    if (strcmp(type, types[i].name) != 0) continue;
    tensor->type = types[i].name;
    tensor->dtype = types[i].dtype;
    element_size = types[i].size;
  }
  if (element_size == 0) {
    const char *names[type_count];
    for (size_t i = 0; i < type_count; i++) names[i] = types[i].name;
    return dure_fail(DURE_UNSUPPORTED,
                     "'%s': tensor '%.200s' has dtype '%.32s', which is not known here; the nearest that is: %s", path,
                     name, type, dure_nearest_name(type, names, type_count, NULL));
  }
  DURE_TRY(parse_shape(path, json_object_get(entry, "shape"), element_size, tensor));

  const json_t *offsets = json_object_get(entry, "data_offsets");
  uint64_t begin = 0, end = 0;
  if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !read_count(json_array_get(offsets, 0), &begin) ||
      !read_count(json_array_get(offsets, 1), &end) || begin > end) {
    return fail_on(path, name, offsets, "has no valid data_offsets, [begin, end] in bytes");
  }
  if (end > data_size) {
    return dure_fail(DURE_CORRUPT,
                     "'%s': tensor '%s' ends at byte %" PRIu64 " of the data, but the file holds %" PRIu64
                     "; it has been cut off or damaged",
                     path, name, end, data_size);
  }
  if (end - begin != tensor->size) {
    return dure_fail(DURE_CORRUPT, "'%s': tensor '%s' has %" PRIu64 " bytes, but its shape and dtype need %" PRIu64,
                     path, name, end - begin, tensor->size);
  }
  tensor->data = data + begin;
  return NULL;
}

static int compare_positions(const void *a, const void *b) {
  const dure_safetensors_tensor *left = a, *right = b;
  if (left->data != right->data) return left->data < right->data ? -1 : 1;
  return (left->size > right->size) - (left->size < right->size);  // empty tensors first
}

static int compare_names(const void *a, const void *b) {
  return strcmp(((const dure_safetensors_tensor *)a)->name, ((const dure_safetensors_tensor *)b)->name);
}

// The tensors must tile the data: each begins where the one before it ended.
static dure_status check_tiling(const char *path, dure_safetensors_tensor *tensors, size_t count, const uint8_t *data,
                                uint64_t data_size) {
  if (count > 0) qsort(tensors, count, sizeof(*tensors), compare_positions);
  const uint8_t *expected = data;
  for (size_t i = 0; i < count; i++) {
    if (tensors[i].data != expected) {
      return dure_fail(DURE_CORRUPT,
                       "'%s': tensor '%.200s' begins at byte %" PRIu64
                       " of the data and %s '%.200s', which ends at %" PRIu64 "; the file is damaged",
                       path, tensors[i].name, (uint64_t)(tensors[i].data - data),
                       tensors[i].data < expected ? "overlaps" : "leaves a hole after",
                       i > 0 ? tensors[i - 1].name : "the header", (uint64_t)(expected - data));
    }
    expected += tensors[i].size;
  }
  if (expected != data + data_size) {
    return dure_fail(DURE_CORRUPT,
                     "'%s': %" PRIu64
                     " bytes at the end belong to no tensor; the file is damaged, or not only safetensors",
                     path, (uint64_t)(data + data_size - expected));
  }
  return NULL;
}

static dure_status parse_header(const char *path, mapped_file *file) {
  const uint8_t *bytes = file->bytes;
  if (file->size < 8) {
    return dure_fail(DURE_CORRUPT,
                     "'%s' is too short to be a safetensors file: %" PRIu64
                     " bytes, of which the first 8 should be the header's length; download it again",
                     path, file->size);
  }
  uint64_t header_size = load_u64(bytes);
  if (header_size > max_header_bytes || header_size > file->size - 8) {
    return dure_fail(DURE_CORRUPT,
                     "'%s': the header claims %" PRIu64 " bytes, but the file has %" PRIu64
                     " and a header at most %" PRIu64 "; it has been cut off, or is no safetensors file",
                     path, header_size, file->size, max_header_bytes);
  }
  json_error_t error;
  file->header = json_loadb((const char *)bytes + 8, (size_t)header_size, JSON_REJECT_DUPLICATES, &error);
  if (file->header == NULL) {
    return dure_fail(DURE_CORRUPT, "'%s': the header is not JSON: byte %d: %s; the file is damaged", path,
                     8 + error.position, error.text);
  }
  if (!json_is_object(file->header)) {
    return dure_fail(DURE_CORRUPT, "'%s': the header is not an object of tensors by name; the file is damaged", path);
  }
  return NULL;
}

// Appends the file's tensors to `all`; the caller checks names across files.
static dure_status add_file(const char *path, dure_safetensors *all) {
  mapped_file *files = realloc(all->files, (all->file_count + 1) * sizeof(*files));
  if (files == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", path);
  all->files = files;
  mapped_file *file = &files[all->file_count];
  memset(file, 0, sizeof(*file));
  DURE_TRY(dure_os_map_file(path, &file->bytes, &file->size));
  all->file_count++;
  DURE_TRY(parse_header(path, file));

  const uint8_t *data = (const uint8_t *)file->bytes + 8 + load_u64(file->bytes);
  uint64_t data_size = file->size - 8 - load_u64(file->bytes);
  size_t capacity = all->tensor_count + json_object_size(file->header);
  dure_safetensors_tensor *tensors = realloc(all->tensors, (capacity + 1) * sizeof(*tensors));
  if (tensors == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", path);
  all->tensors = tensors;
  size_t first = all->tensor_count;
  const char *name;
  json_t *entry;
  json_object_foreach(file->header, name, entry) {
    if (strcmp(name, "__metadata__") == 0) continue;
    DURE_TRY(parse_tensor(path, name, entry, data, data_size, &tensors[all->tensor_count]));
    all->tensor_count++;
  }
  return check_tiling(path, tensors + first, all->tensor_count - first, data, data_size);
}

// A shard's name must be a plain file name, so that an index cannot point outside its directory.
static bool is_plain_name(const char *name) {
  return name != NULL && name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL && strchr(name, '\\') == NULL;
}

static int compare_texts(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static dure_status add_shards(const char *directory, const char *index_path, const json_t *weight_map,
                              dure_safetensors *all) {
  size_t count = json_object_size(weight_map), unique = 0;
  const char **names = calloc(count + 1, sizeof(*names));
  if (names == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", index_path);
  dure_status status = NULL;
  const char *tensor_name;
  json_t *value;
  size_t filled = 0;
  json_object_foreach((json_t *)(uintptr_t)weight_map, tensor_name, value) {
    names[filled] = json_string_value(value);
    if (!is_plain_name(names[filled])) {
      char *found = spell(value);
      status =
          dure_fail(DURE_CORRUPT,
                    "'%s': tensor '%.200s' must be mapped to the plain file name of a shard beside the index; found "
                    "%.80s",
                    index_path, tensor_name, found != NULL ? found : "something else");
      free(found);
      break;
    }
    filled++;
  }
  if (status == NULL && count > 0) qsort(names, count, sizeof(*names), compare_texts);
  for (size_t i = 0; i < count && status == NULL; i++) {
    if (i > 0 && strcmp(names[i], names[i - 1]) == 0) continue;
    unique++;
    char *path = dure_os_path_join(directory, names[i]);
    if (path == NULL) {
      status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", index_path);
    } else if (!dure_os_is_file(path)) {
      status = dure_fail(DURE_NOT_FOUND, "'%s' asks for the shard '%s', which is not there; download the missing shard",
                         index_path, path);
    } else {
      status = add_file(path, all);
    }
    free(path);
  }
  free(names);
  if (status == NULL && unique == 0)
    status =
        dure_fail(DURE_CORRUPT, "'%s' lists no shards; its weight_map should have one for every tensor", index_path);
  return status;
}

static dure_status check_against_index(const char *index_path, const json_t *weight_map, const dure_safetensors *all) {
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)weight_map, name, value) {
    if (dure_safetensors_find(all, name) == NULL) {
      return dure_fail(DURE_CORRUPT,
                       "'%s' lists tensor '%.200s', which '%s' does not hold; index and shards do not belong together",
                       index_path, name, json_string_value(value));
    }
  }
  return NULL;
}

static dure_status sort_names(const char *path, dure_safetensors *all) {
  if (all->tensor_count == 0) return NULL;
  qsort(all->tensors, all->tensor_count, sizeof(*all->tensors), compare_names);
  for (size_t i = 1; i < all->tensor_count; i++) {
    if (strcmp(all->tensors[i - 1].name, all->tensors[i].name) == 0) {
      return dure_fail(DURE_CORRUPT,
                       "'%s': tensor '%.200s' is there twice, or in two shards; which one is meant cannot be told",
                       path, all->tensors[i].name);
    }
  }
  return NULL;
}

static dure_status open_index(const char *directory, const char *index_path, dure_safetensors *all) {
  char *text = NULL;
  size_t size = 0;
  DURE_TRY(dure_os_read_file(index_path, max_index_bytes, &text, &size));
  json_error_t error;
  json_t *index = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
  free(text);
  if (index == NULL)
    return dure_fail(DURE_CORRUPT, "'%s' is not JSON: line %d: %s", index_path, error.line, error.text);
  const json_t *weight_map = json_object_get(index, "weight_map");
  dure_status status = NULL;
  if (!json_is_object(weight_map)) {
    status = dure_fail(DURE_CORRUPT,
                       "'%s' has no weight_map, an object of shards' file names by tensors' names; download it again",
                       index_path);
  }
  if (status == NULL) status = add_shards(directory, index_path, weight_map, all);
  if (status == NULL) status = sort_names(index_path, all);
  if (status == NULL) status = check_against_index(index_path, weight_map, all);
  json_decref(index);
  return status;
}

static dure_status open_directory(const char *directory, dure_safetensors *all) {
  char *single = dure_os_path_join(directory, "model.safetensors");
  char *index = dure_os_path_join(directory, "model.safetensors.index.json");
  dure_status status;
  if (single == NULL || index == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", directory);
  } else if (dure_os_is_file(single)) {
    status = add_file(single, all);
    if (status == NULL) status = sort_names(single, all);
  } else if (dure_os_is_file(index)) {
    status = open_index(directory, index, all);
  } else {
    status =
        dure_fail(DURE_NOT_FOUND, "'%s' has neither model.safetensors nor model.safetensors.index.json", directory);
  }
  free(single);
  free(index);
  return status;
}

// ---- FP8 with a scale for each block (DeepSeek-AI 2025, section 3.3.2) ----------------------------------------------

enum { FP8_BLOCK = 128 };

// 1 sign, 4 bits of exponent with bias 7, 3 of fraction; no infinities (Micikevicius et al. 2022, section 3).
static float fp8_value(uint8_t bits) {
  const int exponent = bits >> 3 & 15, fraction = bits & 7;
  const float sign = (bits & 0x80) != 0 ? -1.0f : 1.0f;
  if ((bits & 0x7f) == 0x7f) return (float)NAN;
  if (exponent == 0) return sign * (float)fraction * 0x1p-9f;
  return sign * ldexpf((float)(8 + fraction), exponent - 10);
}

static uint64_t fp8_blocks(uint64_t count) { return (count + FP8_BLOCK - 1) / FP8_BLOCK; }

static dure_status read_fp8(const dure_safetensors_tensor *tensor, uint64_t first, uint64_t count, float *out_values) {
  const dure_safetensors_tensor *scales = tensor->source;
  const uint64_t columns = tensor->shape[1];
  uint64_t block = UINT64_MAX;
  float scale = 0;
  for (uint64_t i = 0; i < count; i++) {
    const uint64_t row = (first + i) / columns, column = (first + i) % columns;
    const uint64_t here = row / FP8_BLOCK * scales->shape[1] + column / FP8_BLOCK;
    if (here != block) DURE_TRY(dure_safetensors_read(scales, here, 1, &scale));
    block = here;
    out_values[i] = fp8_value(tensor->data[first + i]) * scale;
  }
  return NULL;
}

// FP8 matrices whose scales are there under their name with "_scale_inv" count as bf16, the type they are computed in.
static dure_status link_scales(const char *path, dure_safetensors *all) {
  for (size_t i = 0; i < all->tensor_count; i++) {
    dure_safetensors_tensor *tensor = &all->tensors[i];
    char name[256];
    if (strcmp(tensor->type, "F8_E4M3") != 0) continue;
    if (snprintf(name, sizeof(name), "%s_scale_inv", tensor->name) >= (int)sizeof(name)) continue;
    const dure_safetensors_tensor *scales = dure_safetensors_find(all, name);
    if (scales == NULL) continue;
    if (tensor->rank != 2 || scales->rank != 2 || !dure_dtype_is_float(scales->dtype) ||
        scales->shape[0] != fp8_blocks(tensor->shape[0]) || scales->shape[1] != fp8_blocks(tensor->shape[1])) {
      return dure_fail(DURE_CORRUPT, "'%s': tensor '%s' is not a scale for each block of %d x %d of '%s'", path, name,
                       FP8_BLOCK, FP8_BLOCK, tensor->name);
    }
    tensor->dtype = DURE_DTYPE_BF16;
    tensor->read = read_fp8;
    tensor->source = (void *)(uintptr_t)scales;
  }
  return NULL;
}

dure_status dure_safetensors_open(const char *file_or_directory, dure_safetensors **out_file) {
  *out_file = NULL;
  dure_safetensors *all = calloc(1, sizeof(*all));
  if (all == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", file_or_directory);
  dure_status status;
  if (dure_os_is_directory(file_or_directory)) {
    status = open_directory(file_or_directory, all);
  } else {
    status = add_file(file_or_directory, all);
    if (status == NULL) status = sort_names(file_or_directory, all);
  }
  if (status == NULL) status = dure_grouped_link(file_or_directory, all->tensors, &all->tensor_count, &all->grouped);
  if (status == NULL) status = link_scales(file_or_directory, all);
  if (status != NULL) {
    dure_safetensors_close(all);
    return status;
  }
  *out_file = all;
  return NULL;
}

void dure_safetensors_close(dure_safetensors *file) {
  if (file == NULL) return;
  dure_read_ahead_end(file->reader);
  for (size_t i = 0; i < file->file_count; i++) {
    json_decref(file->files[i].header);
    dure_os_unmap(file->files[i].bytes, file->files[i].size);
  }
  free(file->files);
  free(file->tensors);
  free(file->grouped);
  if (file->owner != NULL) file->release(file->owner);
  free(file);
}

dure_status dure_safetensors_wrap(const char *path, dure_safetensors_tensor *tensors, size_t count, void *owner,
                                  void (*release)(void *owner), dure_safetensors **out_file) {
  *out_file = NULL;
  dure_safetensors *all = calloc(1, sizeof(*all));
  if (all == NULL) {
    free(tensors);
    release(owner);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", path);
  }
  *all = (dure_safetensors){.tensors = tensors, .tensor_count = count, .owner = owner, .release = release};
  dure_status status = sort_names(path, all);
  if (status != NULL) {
    dure_safetensors_close(all);
    return status;
  }
  *out_file = all;
  return NULL;
}

size_t dure_safetensors_count(const dure_safetensors *file) { return file->tensor_count; }

const dure_safetensors_tensor *dure_safetensors_get(const dure_safetensors *file, size_t index) {
  return index < file->tensor_count ? &file->tensors[index] : NULL;
}

const dure_safetensors_tensor *dure_safetensors_find(const dure_safetensors *file, const char *name) {
  if (file->tensor_count == 0) return NULL;
  const dure_safetensors_tensor key = {.name = name};
  return bsearch(&key, file->tensors, file->tensor_count, sizeof(*file->tensors), compare_names);
}

const char *dure_safetensors_metadata(const dure_safetensors *file, const char *key) {
  for (size_t i = 0; i < file->file_count; i++) {
    const char *value = json_string_value(json_object_get(json_object_get(file->files[i].header, "__metadata__"), key));
    if (value != NULL) return value;
  }
  return NULL;
}

static bool is_mapped(const dure_safetensors *file, const dure_safetensors_tensor *tensor) {
  for (size_t i = 0; i < file->file_count; i++) {
    const uint8_t *begin = file->files[i].bytes;
    if (tensor->data >= begin && tensor->data + tensor->size <= begin + file->files[i].size) return true;
  }
  return false;
}

void dure_safetensors_expect(const dure_safetensors *file, const dure_safetensors_tensor *tensor, uint64_t first,
                             uint64_t count) {
  if (first >= tensor->count || !is_mapped(file, tensor)) return;
  const uint64_t bytes = tensor->size / tensor->count;
  const uint64_t size = count < tensor->count - first ? count : tensor->count - first;
  dure_os_map_expect(tensor->data + first * bytes, size * bytes);
}

void dure_safetensors_release(const dure_safetensors *file, const dure_safetensors_tensor *tensor) {
  if (is_mapped(file, tensor)) dure_os_map_release(tensor->data, tensor->size);
}

static int compare_addresses(const void *a, const void *b) {
  const dure_read_ahead_range *left = a, *right = b;
  return (left->bytes > right->bytes) - (left->bytes < right->bytes);
}

void dure_safetensors_read_ahead(dure_safetensors *file) {
  if (file->reader != NULL || file->tensor_count == 0) return;
  dure_read_ahead_range *ranges = calloc(file->tensor_count, sizeof(*ranges));
  if (ranges == NULL) return;
  for (size_t i = 0; i < file->tensor_count; i++)
    ranges[i] = (dure_read_ahead_range){file->tensors[i].data, file->tensors[i].size};
  qsort(ranges, file->tensor_count, sizeof(*ranges), compare_addresses);
  file->reader = dure_read_ahead_begin(ranges, file->tensor_count);
  free(ranges);
}

dure_status dure_safetensors_read(const dure_safetensors_tensor *tensor, uint64_t first, uint64_t count,
                                  float *out_values) {
  if (first > tensor->count || count > tensor->count - first) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "tensor '%s' has %" PRIu64 " elements; %" PRIu64 " from %" PRIu64 " asked for", tensor->name,
                     tensor->count, count, first);
  }
  if (!dure_dtype_is_float(tensor->dtype)) {
    return dure_fail(DURE_UNSUPPORTED, "tensor '%s' has dtype %s where floating point is needed", tensor->name,
                     tensor->type);
  }
  if (tensor->read != NULL) return tensor->read(tensor, first, count, out_values);
  const uint64_t size = dure_dtype_size(tensor->dtype);
  const uint8_t *source = tensor->data + first * size;
  if (tensor->dtype == DURE_DTYPE_F32) {
    if (count > 0) memcpy(out_values, source, (size_t)(count * size));
    return NULL;
  }
  // The file's data need not be aligned.
  for (uint64_t i = 0; i < count && tensor->dtype == DURE_DTYPE_F64; i++) {
    double wide;
    memcpy(&wide, source + i * size, sizeof(wide));
    out_values[i] = (float)wide;
  }
  for (uint64_t i = 0; i < count && size == sizeof(uint16_t); i++) {
    uint16_t half;
    memcpy(&half, source + i * size, sizeof(half));
    out_values[i] = tensor->dtype == DURE_DTYPE_BF16 ? dure_bf16_to_float(half) : dure_f16_to_float(half);
  }
  return NULL;
}
