#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "runtime/bulk_file.h"

struct dure_safetensors_writer {
  char *path;
  dure_bulk_file *file;
  json_t *header;
  uint64_t declared, written;  // bytes of data
  bool bypasses_cache;
  bool header_is_written;
};

dure_status dure_safetensors_writer_create(const char *path, dure_safetensors_writer **out_writer) {
  *out_writer = NULL;
  dure_safetensors_writer *writer = calloc(1, sizeof(*writer));
  if (writer == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  writer->path = strdup(path);
  writer->header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
  dure_status status = NULL;
  if (writer->path == NULL || writer->header == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  } else {
    status = dure_bulk_file_create(path, &writer->file);
  }
  if (status != NULL) {
    dure_safetensors_writer_destroy(writer);
    return status;
  }
  *out_writer = writer;
  return NULL;
}

void dure_safetensors_writer_destroy(dure_safetensors_writer *writer) {
  if (writer == NULL) return;
  dure_bulk_file_destroy(writer->file);
  json_decref(writer->header);
  free(writer->path);
  free(writer);
}

static const char *type_name(dure_dtype dtype) {
  switch (dtype) {
    case DURE_DTYPE_F32: return "F32";
    case DURE_DTYPE_BF16: return "BF16";
    case DURE_DTYPE_F16: return "F16";
    case DURE_DTYPE_F64: return "F64";
    case DURE_DTYPE_U32: return "U32";
    case DURE_DTYPE_U16: return "U16";
    case DURE_DTYPE_U8: return "U8";
    case DURE_DTYPE_NONE: break;
  }
  return NULL;
}

static dure_status declare(dure_safetensors_writer *writer, const char *name, const char *type, uint32_t rank,
                           const uint64_t *shape, uint64_t size) {
  if (writer->header_is_written || type == NULL || json_object_get(writer->header, name) != NULL) {
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s': tensor '%s' is declared twice, too late, or without a dtype",
                     writer->path, name);
  }
  json_t *dimensions = json_array();
  for (uint32_t i = 0; i < rank; i++) json_array_append_new(dimensions, json_integer((json_int_t)shape[i]));
  uint64_t end = writer->declared + size;
  json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", type, "shape", dimensions, "data_offsets",
                            (json_int_t)writer->declared, (json_int_t)end);
  if (entry == NULL || json_object_set_new(writer->header, name, entry) != 0) {
    return dure_fail(DURE_OUT_OF_MEMORY, "'%s': out of memory declaring tensor '%s'", writer->path, name);
  }
  writer->declared = end;
  return NULL;
}

dure_status dure_safetensors_writer_declare(dure_safetensors_writer *writer, const char *name, dure_dtype dtype,
                                            uint32_t rank, const uint64_t *shape) {
  uint64_t size = dure_dtype_size(dtype);
  for (uint32_t i = 0; i < rank; i++) size *= shape[i];
  return declare(writer, name, type_name(dtype), rank, shape, size);
}

dure_status dure_safetensors_writer_declare_alike(dure_safetensors_writer *writer,
                                                  const dure_safetensors_tensor *tensor) {
  return declare(writer, tensor->name, tensor->type, tensor->rank, tensor->shape, tensor->size);
}

void dure_safetensors_writer_bypass_cache(dure_safetensors_writer *writer) {
  dure_bulk_file_bypass_cache(writer->file);
  writer->bypasses_cache = true;
}

static dure_status write_header(dure_safetensors_writer *writer) {
  writer->header_is_written = true;
  char *text = json_dumps(writer->header, JSON_COMPACT);
  if (text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", writer->path);
  // Spaces at the end put the data at a multiple of 8; of large files at the beginning of a block.
  const size_t multiple = writer->bypasses_cache ? DURE_BULK_FILE_BLOCK : 8, length = strlen(text);
  const size_t padding = (multiple - (sizeof(uint64_t) + length) % multiple) % multiple;
  uint64_t total = length + padding;
  uint8_t prefix[8];
  for (int i = 0; i < 8; i++) prefix[i] = (uint8_t)(total >> (8 * i));
  dure_status status = dure_bulk_file_append(writer->file, prefix, sizeof(prefix));
  if (status == NULL) status = dure_bulk_file_append(writer->file, text, length);
  char spaces[DURE_BULK_FILE_BLOCK];
  memset(spaces, ' ', sizeof(spaces));
  if (status == NULL) status = dure_bulk_file_append(writer->file, spaces, padding);
  free(text);
  return status;
}

dure_status dure_safetensors_writer_append(dure_safetensors_writer *writer, const void *bytes, uint64_t size) {
  if (!writer->header_is_written) DURE_TRY(write_header(writer));
  if (size > writer->declared - writer->written) {
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s': more data than was declared (%" PRIu64 " bytes)", writer->path,
                     writer->declared);
  }
  DURE_TRY(dure_bulk_file_append(writer->file, bytes, size));
  writer->written += size;
  return NULL;
}

dure_status dure_safetensors_writer_finish(dure_safetensors_writer *writer) {
  if (!writer->header_is_written) DURE_TRY(write_header(writer));
  if (writer->written != writer->declared) {
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s': %" PRIu64 " bytes were declared, %" PRIu64 " came", writer->path,
                     writer->declared, writer->written);
  }
  return dure_bulk_file_finish(writer->file);
}
