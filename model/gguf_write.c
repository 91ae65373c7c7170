#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf.h"
#include "runtime/os.h"

enum { alignment = 32 };

typedef struct bytes {
  uint8_t *data;
  size_t size, capacity;
} bytes;

typedef struct declared {
  const dure_gguf_type *type;
  uint64_t count, size;
} declared;

struct dure_gguf_writer {
  char *path;
  FILE *file;
  bytes values, tensors;  // the header's two parts
  uint64_t value_count;
  declared *declared;
  size_t tensor_count;
  uint64_t data_size;  // declared, alignment included
  size_t current;      // tensor that is being appended
  uint64_t done;       // elements of it
  bool header_is_written, has_no_memory;
};

static void put(dure_gguf_writer *writer, bytes *to, const void *data, size_t size) {
  if (writer->has_no_memory || size == 0) return;
  if (size > to->capacity - to->size) {
    const size_t capacity = (to->capacity + size) * 2;
    uint8_t *larger = realloc(to->data, capacity);
    if (larger == NULL) {
      writer->has_no_memory = true;  // told by the next call that can fail
      return;
    }
    to->data = larger;
    to->capacity = capacity;
  }
  memcpy(to->data + to->size, data, size);
  to->size += size;
}

static void put_number(dure_gguf_writer *writer, bytes *to, uint64_t value, int size) {
  uint8_t little[8];
  for (int i = 0; i < size; i++) little[i] = (uint8_t)(value >> (8 * i));
  put(writer, to, little, (size_t)size);
}

static void put_text(dure_gguf_writer *writer, bytes *to, const char *text, size_t length) {
  put_number(writer, to, length, 8);
  put(writer, to, text, length);
}

static void begin_value(dure_gguf_writer *writer, const char *key, dure_gguf_kind kind) {
  put_text(writer, &writer->values, key, strlen(key));
  put_number(writer, &writer->values, kind, 4);
  writer->value_count++;
}

dure_status dure_gguf_writer_create(const char *path, dure_gguf_writer **out_writer) {
  *out_writer = NULL;
  dure_gguf_writer *writer = calloc(1, sizeof(*writer));
  if (writer == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  dure_status status = NULL;
  writer->path = strdup(path);
  if (writer->path == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  } else if ((writer->file = fopen(path, "wb")) == NULL) {
    status = dure_fail_errno("cannot create '%s'", path);
  }
  if (status != NULL) {
    dure_gguf_writer_destroy(writer);
    return status;
  }
  *out_writer = writer;
  return NULL;
}

void dure_gguf_writer_destroy(dure_gguf_writer *writer) {
  if (writer == NULL) return;
  if (writer->file != NULL) fclose(writer->file);
  free(writer->values.data);
  free(writer->tensors.data);
  free(writer->declared);
  free(writer->path);
  free(writer);
}

void dure_gguf_writer_text(dure_gguf_writer *writer, const char *key, const char *text, size_t length) {
  begin_value(writer, key, DURE_GGUF_TEXT);
  put_text(writer, &writer->values, text, length);
}

void dure_gguf_writer_u32(dure_gguf_writer *writer, const char *key, uint32_t value) {
  begin_value(writer, key, DURE_GGUF_U32);
  put_number(writer, &writer->values, value, 4);
}

void dure_gguf_writer_f32(dure_gguf_writer *writer, const char *key, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  begin_value(writer, key, DURE_GGUF_F32);
  put_number(writer, &writer->values, bits, 4);
}

void dure_gguf_writer_boolean(dure_gguf_writer *writer, const char *key, bool value) {
  begin_value(writer, key, DURE_GGUF_BOOL);
  put_number(writer, &writer->values, value, 1);
}

void dure_gguf_writer_list(dure_gguf_writer *writer, const char *key, dure_gguf_kind kind, uint64_t count) {
  begin_value(writer, key, DURE_GGUF_LIST);
  put_number(writer, &writer->values, kind, 4);
  put_number(writer, &writer->values, count, 8);
}

void dure_gguf_writer_text_element(dure_gguf_writer *writer, const char *text, size_t length) {
  put_text(writer, &writer->values, text, length);
}

void dure_gguf_writer_i32_element(dure_gguf_writer *writer, int32_t value) {
  put_number(writer, &writer->values, (uint32_t)value, 4);
}

void dure_gguf_writer_f32_element(dure_gguf_writer *writer, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  put_number(writer, &writer->values, bits, 4);
}

dure_status dure_gguf_writer_declare(dure_gguf_writer *writer, const char *name, const dure_gguf_type *type,
                                     uint32_t rank, const uint64_t *shape) {
  const uint64_t row = rank > 0 ? shape[rank - 1] : 1;
  if (writer->header_is_written || rank > DURE_GGUF_MAX_RANK || !dure_gguf_type_can_pack(type) ||
      row % type->elements != 0) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "'%s': tensor '%s' is declared too late, or rows of %" PRIu64 " elements cannot be %s",
                     writer->path, name, row, type->name);
  }
  declared *grown = realloc(writer->declared, (writer->tensor_count + 1) * sizeof(*grown));
  if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", writer->path);
  writer->declared = grown;
  declared *tensor = &grown[writer->tensor_count++];
  *tensor = (declared){.type = type, .count = 1};
  put_text(writer, &writer->tensors, name, strlen(name));
  put_number(writer, &writer->tensors, rank, 4);
  for (uint32_t i = rank; i-- > 0;) {
    tensor->count *= shape[i];
    put_number(writer, &writer->tensors, shape[i], 8);
  }
  tensor->size = tensor->count / type->elements * type->bytes;
  put_number(writer, &writer->tensors, type->number, 4);
  put_number(writer, &writer->tensors, writer->data_size, 8);
  writer->data_size += (tensor->size + alignment - 1) / alignment * alignment;
  if (writer->has_no_memory) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", writer->path);
  return NULL;
}

static dure_status write_bytes(dure_gguf_writer *writer, const void *data, size_t size) {
  errno = 0;
  if (size > 0 && fwrite(data, 1, size, writer->file) != size)
    return dure_fail_errno("cannot write '%s'", writer->path);
  return NULL;
}

static dure_status pad(dure_gguf_writer *writer, uint64_t size) {
  static const uint8_t zeros[alignment];
  return write_bytes(writer, zeros, (size_t)((alignment - size % alignment) % alignment));
}

static dure_status write_header(dure_gguf_writer *writer) {
  bytes head = {0};
  writer->header_is_written = true;
  put(writer, &head, "GGUF", 4);
  put_number(writer, &head, 3, 4);
  put_number(writer, &head, writer->tensor_count, 8);
  put_number(writer, &head, writer->value_count, 8);
  dure_status status = NULL;
  if (writer->has_no_memory) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", writer->path);
  if (status == NULL) status = write_bytes(writer, head.data, head.size);
  if (status == NULL) status = write_bytes(writer, writer->values.data, writer->values.size);
  if (status == NULL) status = write_bytes(writer, writer->tensors.data, writer->tensors.size);
  if (status == NULL) status = pad(writer, head.size + writer->values.size + writer->tensors.size);
  free(head.data);
  return status;
}

// Whole blocks of one tensor, a bounded piece at a time.
static dure_status append_blocks(dure_gguf_writer *writer, const dure_gguf_type *type, const float *values,
                                 uint64_t count) {
  uint8_t packed[16384];
  const uint64_t most = sizeof(packed) / type->bytes * type->elements;
  for (uint64_t done = 0; done < count;) {
    const uint64_t size = count - done < most ? count - done : most;
    dure_gguf_pack(type, values + done, size, packed);
    DURE_TRY(write_bytes(writer, packed, (size_t)(size / type->elements * type->bytes)));
    done += size;
  }
  return NULL;
}

// Blocks of a scale in f16 and then the codes, as they come.
static dure_status append_codes(dure_gguf_writer *writer, const dure_gguf_type *type, const uint8_t *codes,
                                const uint16_t *scales, uint64_t count) {
  const size_t code_bytes = type->bytes - 2;
  for (uint64_t i = 0; i < count / type->elements; i++) {
    const uint8_t scale[2] = {(uint8_t)scales[i], (uint8_t)(scales[i] >> 8)};
    DURE_TRY(write_bytes(writer, scale, sizeof(scale)));
    DURE_TRY(write_bytes(writer, codes + i * code_bytes, code_bytes));
  }
  return NULL;
}

// The tensor that the next `count` elements belong to.
static dure_status begin_append(dure_gguf_writer *writer, uint64_t count, const declared **out_tensor) {
  *out_tensor = NULL;
  if (!writer->header_is_written) DURE_TRY(write_header(writer));
  while (writer->current < writer->tensor_count && writer->declared[writer->current].count == 0) writer->current++;
  const declared *tensor = writer->current < writer->tensor_count ? &writer->declared[writer->current] : NULL;
  *out_tensor = tensor;
  if (tensor == NULL || count > tensor->count - writer->done || count % tensor->type->elements != 0) {
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s': %" PRIu64 " elements are not what was declared", writer->path,
                     count);
  }
  return NULL;
}

static dure_status end_append(dure_gguf_writer *writer, const declared *tensor, uint64_t count) {
  writer->done += count;
  if (writer->done < tensor->count) return NULL;
  writer->done = 0;
  writer->current++;
  return pad(writer, tensor->size);
}

dure_status dure_gguf_writer_append(dure_gguf_writer *writer, const float *values, uint64_t count) {
  const declared *tensor;
  DURE_TRY(begin_append(writer, count, &tensor));
  DURE_TRY(append_blocks(writer, tensor->type, values, count));
  return end_append(writer, tensor, count);
}

dure_status dure_gguf_writer_append_codes(dure_gguf_writer *writer, const uint8_t *codes, const uint16_t *scales,
                                          uint64_t count) {
  const declared *tensor;
  DURE_TRY(begin_append(writer, count, &tensor));
  if (strcmp(tensor->type->name, "Q8_0") != 0 && strcmp(tensor->type->name, "Q4_0") != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s': codes of 32 with a scale are no %s", writer->path,
                     tensor->type->name);
  DURE_TRY(append_codes(writer, tensor->type, codes, scales, count));
  return end_append(writer, tensor, count);
}

dure_status dure_gguf_writer_finish(dure_gguf_writer *writer) {
  if (!writer->header_is_written) DURE_TRY(write_header(writer));
  while (writer->current < writer->tensor_count && writer->declared[writer->current].count == 0) writer->current++;
  if (writer->current < writer->tensor_count)
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s': not every tensor that was declared has come", writer->path);
  FILE *file = writer->file;
  writer->file = NULL;
  errno = 0;
  if (fclose(file) != 0) return dure_fail_errno("cannot write '%s'", writer->path);
  return dure_os_sync_file(writer->path);
}
