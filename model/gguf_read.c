#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf.h"
#include "runtime/log.h"
#include "runtime/os.h"

enum { longest_key = 65535, longest_name = 255, deepest_list = 4, default_alignment = 32 };

struct dure_gguf {
  char *path;
  const uint8_t *bytes;
  uint64_t size;
  uint64_t alignment;
  dure_gguf_value *values;
  size_t value_count;
  dure_gguf_tensor *tensors;
  size_t tensor_count;
  const dure_gguf_value **sorted_values;    // by key
  const dure_gguf_tensor **sorted_tensors;  // by name
};

// Where reading the header has come to.
typedef struct cursor {
  dure_gguf *file;
  uint64_t at;
} cursor;

static uint64_t load(const uint8_t *bytes, int size) {
  uint64_t value = 0;
  for (int i = size - 1; i >= 0; i--) value = value << 8 | bytes[i];
  return value;
}

static dure_status cut_off(const cursor *c, const char *what) {
  return dure_fail(DURE_CORRUPT, "'%s': the file ends within %s, at byte %" PRIu64 "; it has been cut off or damaged",
                   c->file->path, what, c->at);
}

static dure_status take(cursor *c, uint64_t size, const char *what, const uint8_t **out_bytes) {
  *out_bytes = c->file->bytes + c->at;
  if (size > c->file->size - c->at) return cut_off(c, what);
  c->at += size;
  return NULL;
}

static dure_status take_number(cursor *c, int size, const char *what, uint64_t *out_number) {
  const uint8_t *bytes;
  *out_number = 0;
  DURE_TRY(take(c, (uint64_t)size, what, &bytes));
  *out_number = load(bytes, size);
  return NULL;
}

// A name of the header, copied: at most `most` bytes, none of them NUL.
static dure_status take_name(cursor *c, uint64_t most, const char *what, char **out_name) {
  uint64_t length;
  const uint8_t *bytes;
  *out_name = NULL;
  DURE_TRY(take_number(c, 8, what, &length));
  if (length == 0 || length > most) {
    return dure_fail(DURE_CORRUPT, "'%s': %s has %" PRIu64 " bytes at byte %" PRIu64 "; expected 1 to %" PRIu64,
                     c->file->path, what, length, c->at - 8, most);
  }
  DURE_TRY(take(c, length, what, &bytes));
  if (memchr(bytes, '\0', (size_t)length) != NULL)
    return dure_fail(DURE_CORRUPT, "'%s': %s at byte %" PRIu64 " holds a NUL", c->file->path, what, c->at - length);
  *out_name = malloc((size_t)length + 1);
  if (*out_name == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", c->file->path);
  memcpy(*out_name, bytes, (size_t)length);
  (*out_name)[length] = '\0';
  return NULL;
}

// ---- keys --------------------------------------------------------------------------------------------------------

static int kind_size(dure_gguf_kind kind) {  // 0: varies
  switch (kind) {
    case DURE_GGUF_U8:
    case DURE_GGUF_I8:
    case DURE_GGUF_BOOL: return 1;
    case DURE_GGUF_U16:
    case DURE_GGUF_I16: return 2;
    case DURE_GGUF_U32:
    case DURE_GGUF_I32:
    case DURE_GGUF_F32: return 4;
    case DURE_GGUF_U64:
    case DURE_GGUF_I64:
    case DURE_GGUF_F64: return 8;
    case DURE_GGUF_TEXT:
    case DURE_GGUF_LIST: break;
  }
  return 0;
}

static dure_status take_kind(cursor *c, const char *key, dure_gguf_kind *out_kind) {
  uint64_t number;
  *out_kind = DURE_GGUF_U8;
  DURE_TRY(take_number(c, 4, "the type of a key", &number));
  if (number > DURE_GGUF_F64)
    return dure_fail(DURE_CORRUPT, "'%s': key '%.100s' has type %" PRIu64 ", which is not one of GGUF's", c->file->path,
                     key, number);
  *out_kind = (dure_gguf_kind)number;
  return NULL;
}

static dure_status skip_text(cursor *c) {
  uint64_t length;
  const uint8_t *bytes;
  DURE_TRY(take_number(c, 8, "a text", &length));
  return take(c, length, "a text", &bytes);
}

static dure_status skip_elements(cursor *c, dure_gguf_kind kind, uint64_t count) {
  const int size = kind_size(kind);
  const uint8_t *bytes;
  if (size > 0) {
    if (count > (c->file->size - c->at) / (uint64_t)size) return cut_off(c, "a list");
    return take(c, count * (uint64_t)size, "a value", &bytes);
  }
  for (uint64_t i = 0; i < count; i++) DURE_TRY(skip_text(c));
  return NULL;
}

// The head of a list, then what it holds.
static dure_status skip_list(cursor *c, const char *key, int depth, dure_gguf_kind *out_kind, uint64_t *out_count,
                             const uint8_t **out_data) {
  DURE_TRY(take_kind(c, key, out_kind));
  DURE_TRY(take_number(c, 8, "the length of a list", out_count));
  *out_data = c->file->bytes + c->at;
  if (*out_kind != DURE_GGUF_LIST) return skip_elements(c, *out_kind, *out_count);
  if (depth >= deepest_list)
    return dure_fail(DURE_UNSUPPORTED, "'%s': key '%.100s' is a list of lists, deeper than %d", c->file->path, key,
                     deepest_list);
  for (uint64_t i = 0; i < *out_count; i++) {
    dure_gguf_kind kind;
    uint64_t count;
    const uint8_t *data;
    DURE_TRY(skip_list(c, key, depth + 1, &kind, &count, &data));
  }
  return NULL;
}

static dure_status take_value(cursor *c, dure_gguf_value *value) {
  char *key;
  DURE_TRY(take_name(c, longest_key, "a key", &key));
  value->key = key;
  DURE_TRY(take_kind(c, key, &value->kind));
  value->element_kind = value->kind;
  value->count = 1;
  value->data = c->file->bytes + c->at;
  if (value->kind == DURE_GGUF_LIST) return skip_list(c, key, 1, &value->element_kind, &value->count, &value->data);
  return skip_elements(c, value->kind, 1);
}

static int compare_keys(const void *a, const void *b) {
  const dure_gguf_value *const *left = a, *const *right = b;
  return strcmp((*left)->key, (*right)->key);
}

static dure_status sort_values(dure_gguf *file) {
  file->sorted_values = calloc(file->value_count + 1, sizeof(*file->sorted_values));
  if (file->sorted_values == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", file->path);
  for (size_t i = 0; i < file->value_count; i++) file->sorted_values[i] = &file->values[i];
  qsort(file->sorted_values, file->value_count, sizeof(*file->sorted_values), compare_keys);
  for (size_t i = 1; i < file->value_count; i++) {
    if (strcmp(file->sorted_values[i]->key, file->sorted_values[i - 1]->key) == 0)
      return dure_fail(DURE_CORRUPT, "'%s': key '%.100s' is there twice", file->path, file->sorted_values[i]->key);
  }
  return NULL;
}

static dure_status read_alignment(dure_gguf *file) {
  file->alignment = default_alignment;
  const dure_gguf_value *value = dure_gguf_value_find(file, "general.alignment");
  int64_t alignment;
  if (value == NULL) return NULL;
  if (value->kind == DURE_GGUF_LIST || !dure_gguf_integer(value, 0, &alignment) || alignment < 1 ||
      alignment > 1 << 20 || (alignment & (alignment - 1)) != 0) {
    return dure_fail(DURE_CORRUPT, "'%s': general.alignment must be a power of two up to 2^20", file->path);
  }
  file->alignment = (uint64_t)alignment;
  return NULL;
}

// ---- tensors -----------------------------------------------------------------------------------------------------

static dure_status take_shape(cursor *c, dure_gguf_tensor *tensor) {
  uint64_t rank;
  DURE_TRY(take_number(c, 4, "a tensor's shape", &rank));
  if (rank > DURE_GGUF_MAX_RANK) {
    return dure_fail(DURE_CORRUPT, "'%s': tensor '%s' has %" PRIu64 " dimensions; at most %d are possible",
                     c->file->path, tensor->name, rank, DURE_GGUF_MAX_RANK);
  }
  tensor->rank = (uint32_t)rank;
  tensor->count = 1;
  for (uint32_t i = 0; i < tensor->rank; i++) {
    uint64_t *size = &tensor->shape[tensor->rank - 1 - i];
    DURE_TRY(take_number(c, 8, "a tensor's shape", size));
    if (*size != 0 && tensor->count > INT64_MAX / *size)
      return dure_fail(DURE_CORRUPT, "'%s': tensor '%s' has an impossible shape", c->file->path, tensor->name);
    tensor->count *= *size;
  }
  return NULL;
}

static dure_status take_type(cursor *c, dure_gguf_tensor *tensor) {
  uint64_t number;
  DURE_TRY(take_number(c, 4, "a tensor's type", &number));
  tensor->type = dure_gguf_type_numbered((uint32_t)number);
  if (tensor->type == NULL) {
    return dure_fail(DURE_UNSUPPORTED,
                     "'%s': tensor '%s' has type %s (number %" PRIu64
                     "), which is not read here; convert the file to Q8_0, Q4_0 or one of Q2_K to Q6_K",
                     c->file->path, tensor->name, dure_gguf_type_refused((uint32_t)number), number);
  }
  const uint64_t row = tensor->rank > 0 ? tensor->shape[tensor->rank - 1] : 1;
  if (row % tensor->type->elements != 0) {
    return dure_fail(DURE_CORRUPT, "'%s': tensor '%s' has rows of %" PRIu64 " elements; %s comes in blocks of %u",
                     c->file->path, tensor->name, row, tensor->type->name, tensor->type->elements);
  }
  const uint64_t blocks = tensor->count / tensor->type->elements;
  if (blocks > INT64_MAX / tensor->type->bytes)
    return dure_fail(DURE_CORRUPT, "'%s': tensor '%s' is larger than any file", c->file->path, tensor->name);
  tensor->size = blocks * tensor->type->bytes;
  return NULL;
}

// `data` is an offset until the end of the header is known.
static dure_status take_tensor(cursor *c, dure_gguf_tensor *tensor, uint64_t *out_offset) {
  char *name;
  DURE_TRY(take_name(c, longest_name, "a tensor's name", &name));
  tensor->name = name;
  DURE_TRY(take_shape(c, tensor));
  DURE_TRY(take_type(c, tensor));
  DURE_TRY(take_number(c, 8, "a tensor's offset", out_offset));
  if (*out_offset % c->file->alignment == 0) return NULL;
  return dure_fail(DURE_CORRUPT, "'%s': tensor '%s' begins at byte %" PRIu64 " of the data, no multiple of %" PRIu64,
                   c->file->path, name, *out_offset, c->file->alignment);
}

static dure_status place_tensor(const dure_gguf *file, dure_gguf_tensor *tensor, uint64_t data_start, uint64_t offset) {
  const uint64_t available = file->size - data_start;
  if (offset > available || tensor->size > available - offset) {
    return dure_fail(DURE_CORRUPT,
                     "'%s': tensor '%s' needs %" PRIu64 " bytes from byte %" PRIu64
                     " of the data, but the file has %" PRIu64 "; it has been cut off or damaged",
                     file->path, tensor->name, tensor->size, offset, available);
  }
  tensor->data = file->bytes + data_start + offset;
  return NULL;
}

static int compare_places(const void *a, const void *b) {
  const dure_gguf_tensor *left = *(const dure_gguf_tensor *const *)a, *right = *(const dure_gguf_tensor *const *)b;
  if (left->data != right->data) return left->data < right->data ? -1 : 1;
  return (left->size > right->size) - (left->size < right->size);  // empty tensors first
}

static int compare_names(const void *a, const void *b) {
  return strcmp((*(const dure_gguf_tensor *const *)a)->name, (*(const dure_gguf_tensor *const *)b)->name);
}

// One after the other but for what fills up to the alignment.
static dure_status check_places(const dure_gguf *file, const uint8_t *data) {
  const uint8_t *end = data;
  for (size_t i = 0; i < file->tensor_count; i++) {
    const dure_gguf_tensor *tensor = file->sorted_tensors[i];
    if (tensor->data < end || (uint64_t)(tensor->data - end) >= file->alignment) {
      return dure_fail(DURE_CORRUPT, "'%s': tensor '%s' %s the tensor before it", file->path, tensor->name,
                       tensor->data < end ? "overlaps" : "leaves a hole after");
    }
    end = tensor->data + tensor->size;
  }
  const uint64_t rest = (uint64_t)(file->bytes + file->size - end);
  if (rest >= file->alignment)
    dure_log(DURE_LOG_WARNING, "'%s': %" PRIu64 " bytes at the end belong to no tensor", file->path, rest);
  return NULL;
}

static dure_status sort_tensors(dure_gguf *file, const uint8_t *data) {
  file->sorted_tensors = calloc(file->tensor_count + 1, sizeof(*file->sorted_tensors));
  if (file->sorted_tensors == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", file->path);
  for (size_t i = 0; i < file->tensor_count; i++) file->sorted_tensors[i] = &file->tensors[i];
  qsort(file->sorted_tensors, file->tensor_count, sizeof(*file->sorted_tensors), compare_places);
  DURE_TRY(check_places(file, data));
  qsort(file->sorted_tensors, file->tensor_count, sizeof(*file->sorted_tensors), compare_names);
  for (size_t i = 1; i < file->tensor_count; i++) {
    if (strcmp(file->sorted_tensors[i]->name, file->sorted_tensors[i - 1]->name) == 0)
      return dure_fail(DURE_CORRUPT, "'%s': tensor '%s' is there twice", file->path, file->sorted_tensors[i]->name);
  }
  return NULL;
}

static dure_status read_tensors(cursor *c, uint64_t *offsets) {
  dure_gguf *file = c->file;
  for (size_t i = 0; i < file->tensor_count; i++) DURE_TRY(take_tensor(c, &file->tensors[i], &offsets[i]));
  uint64_t start = c->at;
  if (start % file->alignment != 0) start += file->alignment - start % file->alignment;
  if (start > file->size) start = file->size;  // a file without data
  for (size_t i = 0; i < file->tensor_count; i++) DURE_TRY(place_tensor(file, &file->tensors[i], start, offsets[i]));
  return sort_tensors(file, file->bytes + start);
}

// ---- the file ----------------------------------------------------------------------------------------------------

static dure_status check_version(cursor *c) {
  uint64_t version;
  const uint8_t *magic;
  DURE_TRY(take(c, 4, "the head", &magic));
  if (memcmp(magic, "GGUF", 4) != 0)
    return dure_fail(DURE_CORRUPT, "'%s' does not begin with \"GGUF\"; it is another kind of file", c->file->path);
  DURE_TRY(take_number(c, 4, "the head", &version));
  if (version == 2 || version == 3) return NULL;
  const bool is_swapped = version != 0 && (version & 0xffff) == 0;
  return dure_fail(DURE_UNSUPPORTED, "'%s' is GGUF %s; versions 2 and 3, little-endian, are read", c->file->path,
                   is_swapped     ? "in big-endian order"
                   : version == 1 ? "version 1"
                                  : "of a version that is not known here");
}

// The least bytes that an entry takes bound the counts, so that memory is bounded by the file.
static dure_status read_counts(cursor *c, uint64_t *out_values, uint64_t *out_tensors) {
  DURE_TRY(take_number(c, 8, "the head", out_tensors));
  DURE_TRY(take_number(c, 8, "the head", out_values));
  const uint64_t left = c->file->size - c->at, least_value = 8 + 1 + 4 + 1, least_tensor = 8 + 1 + 4 + 4 + 8;
  if (*out_values <= left / least_value && *out_tensors <= left / least_tensor) return NULL;
  return dure_fail(DURE_CORRUPT,
                   "'%s' claims %" PRIu64 " keys and %" PRIu64 " tensors, more than its %" PRIu64 " bytes can hold",
                   c->file->path, *out_values, *out_tensors, c->file->size);
}

static dure_status read_header(dure_gguf *file) {
  cursor c = {file, 0};
  uint64_t values, tensors;
  DURE_TRY(check_version(&c));
  DURE_TRY(read_counts(&c, &values, &tensors));
  file->values = calloc((size_t)values + 1, sizeof(*file->values));
  file->tensors = calloc((size_t)tensors + 1, sizeof(*file->tensors));
  if (file->values == NULL || file->tensors == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", file->path);
  file->value_count = (size_t)values;
  file->tensor_count = (size_t)tensors;
  for (size_t i = 0; i < file->value_count; i++) DURE_TRY(take_value(&c, &file->values[i]));
  DURE_TRY(sort_values(file));
  DURE_TRY(read_alignment(file));
  uint64_t *offsets = calloc(file->tensor_count + 1, sizeof(*offsets));
  if (offsets == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", file->path);
  dure_status status = read_tensors(&c, offsets);
  free(offsets);
  return status;
}

bool dure_gguf_is_file(const char *path) {
  char magic[4];
  FILE *file = dure_os_is_file(path) ? fopen(path, "rb") : NULL;
  if (file == NULL) return false;
  const bool is_gguf = fread(magic, 1, sizeof(magic), file) == sizeof(magic) && memcmp(magic, "GGUF", 4) == 0;
  fclose(file);
  return is_gguf;
}

dure_status dure_gguf_open(const char *path, dure_gguf **out_file) {
  *out_file = NULL;
  dure_gguf *file = calloc(1, sizeof(*file));
  char *copy = strdup(path);
  if (file == NULL || copy == NULL) {
    free(file);
    free(copy);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", path);
  }
  file->path = copy;
  const void *bytes;
  dure_status status = dure_os_map_file(path, &bytes, &file->size);
  file->bytes = status == NULL ? bytes : NULL;
  if (status == NULL && file->size == 0) status = dure_fail(DURE_CORRUPT, "'%s' is empty", path);
  if (status == NULL) status = read_header(file);
  if (status != NULL) {
    dure_gguf_close(file);
    return status;
  }
  *out_file = file;
  return NULL;
}

void dure_gguf_close(dure_gguf *file) {
  if (file == NULL) return;
  for (size_t i = 0; i < file->value_count; i++) free((void *)(uintptr_t)file->values[i].key);
  for (size_t i = 0; i < file->tensor_count; i++) free((void *)(uintptr_t)file->tensors[i].name);
  free(file->sorted_values);
  free(file->sorted_tensors);
  free(file->values);
  free(file->tensors);
  if (file->bytes != NULL) dure_os_unmap(file->bytes, file->size);
  free(file->path);
  free(file);
}

const char *dure_gguf_path(const dure_gguf *file) { return file->path; }
size_t dure_gguf_tensor_count(const dure_gguf *file) { return file->tensor_count; }
size_t dure_gguf_value_count(const dure_gguf *file) { return file->value_count; }

const dure_gguf_tensor *dure_gguf_tensor_at(const dure_gguf *file, size_t index) {
  return index < file->tensor_count ? &file->tensors[index] : NULL;
}

const dure_gguf_value *dure_gguf_value_at(const dure_gguf *file, size_t index) {
  return index < file->value_count ? &file->values[index] : NULL;
}

const dure_gguf_tensor *dure_gguf_tensor_find(const dure_gguf *file, const char *name) {
  const dure_gguf_tensor wanted = {.name = name}, *key = &wanted;
  if (file->tensor_count == 0) return NULL;
  const dure_gguf_tensor *const *found =
      bsearch(&key, file->sorted_tensors, file->tensor_count, sizeof(*file->sorted_tensors), compare_names);
  return found != NULL ? *found : NULL;
}

const dure_gguf_value *dure_gguf_value_find(const dure_gguf *file, const char *key) {
  const dure_gguf_value wanted = {.key = key}, *sought = &wanted;
  if (file->value_count == 0) return NULL;
  const dure_gguf_value *const *found =
      bsearch(&sought, file->sorted_values, file->value_count, sizeof(*file->sorted_values), compare_keys);
  return found != NULL ? *found : NULL;
}

// ---- values ------------------------------------------------------------------------------------------------------

bool dure_gguf_integer(const dure_gguf_value *value, uint64_t index, int64_t *out_integer) {
  *out_integer = 0;
  if (value == NULL || index >= value->count) return false;
  const int size = kind_size(value->element_kind);
  const uint64_t raw = size > 0 ? load(value->data + index * (uint64_t)size, size) : 0;
  switch (value->element_kind) {
    case DURE_GGUF_I8:
    case DURE_GGUF_I16:
    case DURE_GGUF_I32:
    case DURE_GGUF_I64: {
      const uint64_t sign = UINT64_C(1) << (8 * size - 1);  // of two's complement
      *out_integer = (int64_t)((raw ^ sign) - sign);
      return true;
    }
    case DURE_GGUF_U8:
    case DURE_GGUF_U16:
    case DURE_GGUF_U32:
    case DURE_GGUF_U64:
      if (raw > INT64_MAX) return false;
      *out_integer = (int64_t)raw;
      return true;
    case DURE_GGUF_F32:
    case DURE_GGUF_F64:
    case DURE_GGUF_BOOL:
    case DURE_GGUF_TEXT:
    case DURE_GGUF_LIST: break;
  }
  return false;
}

bool dure_gguf_number(const dure_gguf_value *value, uint64_t index, double *out_number) {
  *out_number = 0;
  if (value == NULL || index >= value->count) return false;
  int64_t integer;
  if (dure_gguf_integer(value, index, &integer)) {
    *out_number = (double)integer;
    return true;
  }
  if (value->element_kind == DURE_GGUF_F32) {
    float number;
    memcpy(&number, value->data + index * sizeof(number), sizeof(number));
    *out_number = (double)number;
    return true;
  }
  if (value->element_kind != DURE_GGUF_F64) return false;
  memcpy(out_number, value->data + index * sizeof(double), sizeof(double));
  return true;
}

bool dure_gguf_boolean(const dure_gguf_value *value, uint64_t index, bool *out_truth) {
  *out_truth = false;
  if (value == NULL || index >= value->count || value->element_kind != DURE_GGUF_BOOL) return false;
  *out_truth = value->data[index] != 0;
  return true;
}

bool dure_gguf_text_next(dure_gguf_texts *texts, const char **out_text, size_t *out_length) {
  *out_text = NULL;
  *out_length = 0;
  if (texts->left == 0) return false;
  // The lengths were held against the file when it was opened.
  *out_length = (size_t)load(texts->at, 8);
  *out_text = (const char *)texts->at + 8;
  texts->at += 8 + *out_length;
  texts->left--;
  return true;
}

dure_gguf_texts dure_gguf_texts_of(const dure_gguf_value *value) {
  if (value == NULL || value->element_kind != DURE_GGUF_TEXT) return (dure_gguf_texts){0};
  return (dure_gguf_texts){value->data, value->count};
}

bool dure_gguf_text(const dure_gguf_value *value, const char **out_text, size_t *out_length) {
  dure_gguf_texts texts = dure_gguf_texts_of(value != NULL && value->kind == DURE_GGUF_TEXT ? value : NULL);
  return dure_gguf_text_next(&texts, out_text, out_length);
}

dure_status dure_gguf_read(const dure_gguf_tensor *tensor, uint64_t first, uint64_t count, float *out_values) {
  if (first > tensor->count || count > tensor->count - first) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "tensor '%s' has %" PRIu64 " elements; %" PRIu64 " from %" PRIu64 " asked for", tensor->name,
                     tensor->count, count, first);
  }
  if (tensor->type->dtype == DURE_DTYPE_NONE) {
    return dure_fail(DURE_UNSUPPORTED, "tensor '%s' has type %s where floating point is needed", tensor->name,
                     tensor->type->name);
  }
  dure_gguf_expand(tensor->type, tensor->data, first, count, out_values);
  return NULL;
}
