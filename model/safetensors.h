// Reading and writing safetensors: named tensors in one file, or in several with an index beside them.
//
// The format: u64 little-endian length N, N bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}},
// then the tensors' bytes, row-major and little-endian, without gaps. Files are hostile: a header is at most 100 MB,
// every product is checked, offsets must tile the data exactly (no holes, no overlaps), names must not repeat, across
// shards neither. Opening maps the files; tensors are read when asked for, so memory stays flat.
#ifndef DURE_MODEL_SAFETENSORS_H_
#define DURE_MODEL_SAFETENSORS_H_

#include "runtime/dtype.h"
#include "runtime/status.h"

enum { DURE_SAFETENSORS_MAX_RANK = 8 };

typedef struct dure_safetensors dure_safetensors;

typedef struct dure_safetensors_tensor {
  const char *name;
  const char *type;  // as the file spells it: "F32", "BF16", "I64", ...
  dure_dtype dtype;  // NONE for types that Dure does not compute with
  uint32_t rank;
  uint64_t shape[DURE_SAFETENSORS_MAX_RANK];
  uint64_t count;       // elements
  uint64_t size;        // bytes
  const uint8_t *data;  // in the mapped file; at any alignment
  // Tensors of other formats: how their elements are read, and from what. NULL: from `data`, as `dtype` says.
  dure_status (*read)(const struct dure_safetensors_tensor *tensor, uint64_t first, uint64_t count, float *out_values);
  void *source;
} dure_safetensors_tensor;

// ---- reading ----
// Opens one file, or a model directory: its model.safetensors, else the shards of model.safetensors.index.json.
// DURE_NOT_FOUND when there is neither, DURE_CORRUPT naming the file and what is wrong with it.
DURE_MUST_CHECK dure_status dure_safetensors_open(const char *file_or_directory, dure_safetensors **out_file);
void dure_safetensors_close(dure_safetensors *file);  // NULL is fine

// Tensors, sorted by name; owned by the file.
size_t dure_safetensors_count(const dure_safetensors *file);
const dure_safetensors_tensor *dure_safetensors_get(const dure_safetensors *file, size_t index);
const dure_safetensors_tensor *dure_safetensors_find(const dure_safetensors *file, const char *name);  // NULL: none
// `__metadata__`'s value for `key` (of the first shard that has it), NULL: none. Owned by the file.
const char *dure_safetensors_metadata(const dure_safetensors *file, const char *key);

// Elements [first, first + count) as f32, from F64, F32, F16 or BF16, or from F8_E4M3 matrices beside which
// "NAME_scale_inv" has a scale for each block of 128 x 128 (their dtype is BF16 then); DURE_UNSUPPORTED for other
// types.
DURE_MUST_CHECK dure_status dure_safetensors_read(const dure_safetensors_tensor *tensor, uint64_t first, uint64_t count,
                                                  float *out_values);

// Hints about the bytes of elements [first, first + count), for tensors that lie in the file's own mappings (others:
// nothing happens): they are read soon, so the disk may begin; they have been, so they need not stay in memory.
void dure_safetensors_expect(const dure_safetensors *file, const dure_safetensors_tensor *tensor, uint64_t first,
                             uint64_t count);
void dure_safetensors_release(const dure_safetensors *file, const dure_safetensors_tensor *tensor);

// All of it is read soon: a thread asks the disk for it in the file's order until it is closed (runtime/read_ahead.h).
void dure_safetensors_read_ahead(dure_safetensors *file);

// A file of another format, seen as one of these: takes `tensors` (from malloc; the names must live as long as
// `owner`), sorts them, and `owner`, which close() releases by `release`. Takes them even when it fails.
DURE_MUST_CHECK dure_status dure_safetensors_wrap(const char *path, dure_safetensors_tensor *tensors, size_t count,
                                                  void *owner, void (*release)(void *owner),
                                                  dure_safetensors **out_file);

// ---- writing ----
// Declare every tensor, then append their bytes in the same order, in pieces of any size, then finish. Nothing but the
// header is held in memory. The header carries {"format": "pt"} and its length is a multiple of 8.
typedef struct dure_safetensors_writer dure_safetensors_writer;
DURE_MUST_CHECK dure_status dure_safetensors_writer_create(const char *path, dure_safetensors_writer **out_writer);
void dure_safetensors_writer_bypass_cache(dure_safetensors_writer *writer);  // runtime/bulk_file.h
DURE_MUST_CHECK dure_status dure_safetensors_writer_declare(dure_safetensors_writer *writer, const char *name,
                                                            dure_dtype dtype, uint32_t rank, const uint64_t *shape);
// With the name, type, shape and size of a tensor that was read, whatever its type.
DURE_MUST_CHECK dure_status dure_safetensors_writer_declare_alike(dure_safetensors_writer *writer,
                                                                  const dure_safetensors_tensor *tensor);
// Writes the header at the first call.
DURE_MUST_CHECK dure_status dure_safetensors_writer_append(dure_safetensors_writer *writer, const void *bytes,
                                                           uint64_t size);
// Checks that every declared byte has come, flushes and syncs. The file is complete only after this.
DURE_MUST_CHECK dure_status dure_safetensors_writer_finish(dure_safetensors_writer *writer);
void dure_safetensors_writer_destroy(
    dure_safetensors_writer *writer);  // NULL is fine; leaves an unfinished file behind

#endif  // DURE_MODEL_SAFETENSORS_H_
