// Reading and writing GGUF: one file with metadata and named tensors, many of them quantised.
//
// The format (version 3; 2 is the same): "GGUF", u32 version, u64 tensors, u64 keys; each key a text, a u32 type and a
// value; each tensor a text, its dimensions (the fastest first; here the other way round, as everywhere), a u32 type
// and an offset into the data, which begins at the next multiple of `general.alignment`. A text is a u64 length and
// bytes. Files are hostile: every length is held against what the file still has, every product is checked, names must
// not repeat, offsets must be aligned and must neither overlap nor leave holes. Opening maps the file and reads the
// header; the data is read when asked for.
#ifndef DURE_MODEL_GGUF_H_
#define DURE_MODEL_GGUF_H_

#include <stddef.h>

#include "model/gguf_blocks.h"
#include "runtime/status.h"

enum { DURE_GGUF_MAX_RANK = 4 };

typedef enum dure_gguf_kind {  // as files number them
  DURE_GGUF_U8 = 0,
  DURE_GGUF_I8,
  DURE_GGUF_U16,
  DURE_GGUF_I16,
  DURE_GGUF_U32,
  DURE_GGUF_I32,
  DURE_GGUF_F32,
  DURE_GGUF_BOOL,
  DURE_GGUF_TEXT,
  DURE_GGUF_LIST,
  DURE_GGUF_U64,
  DURE_GGUF_I64,
  DURE_GGUF_F64,
} dure_gguf_kind;

typedef struct dure_gguf dure_gguf;

typedef struct dure_gguf_value {
  const char *key;
  dure_gguf_kind kind;
  dure_gguf_kind element_kind;  // of a LIST, else `kind`
  uint64_t count;               // elements; 1 unless a LIST
  const uint8_t *data;          // in the mapped file; at any alignment
} dure_gguf_value;

typedef struct dure_gguf_tensor {
  const char *name;
  const dure_gguf_type *type;
  uint32_t rank;
  uint64_t shape[DURE_GGUF_MAX_RANK];  // the last dimension's elements lie together
  uint64_t count, size;                // elements, bytes
  const uint8_t *data;                 // in the mapped file; at any alignment
} dure_gguf_tensor;

// ---- reading ----
bool dure_gguf_is_file(const char *path);  // a file that begins with "GGUF"
// DURE_CORRUPT naming the file and what is wrong; DURE_UNSUPPORTED for versions, byte orders and types that are not
// known here (named).
DURE_MUST_CHECK dure_status dure_gguf_open(const char *path, dure_gguf **out_file);
void dure_gguf_close(dure_gguf *file);  // NULL is fine
const char *dure_gguf_path(const dure_gguf *file);

// In the file's order; owned by the file.
size_t dure_gguf_tensor_count(const dure_gguf *file);
const dure_gguf_tensor *dure_gguf_tensor_at(const dure_gguf *file, size_t index);
const dure_gguf_tensor *dure_gguf_tensor_find(const dure_gguf *file, const char *name);  // NULL: none
size_t dure_gguf_value_count(const dure_gguf *file);
const dure_gguf_value *dure_gguf_value_at(const dure_gguf *file, size_t index);
const dure_gguf_value *dure_gguf_value_find(const dure_gguf *file, const char *key);  // NULL: none

// Element `index` of a value; false (and 0) when it is not such a number. A whole number must fit.
bool dure_gguf_integer(const dure_gguf_value *value, uint64_t index, int64_t *out_integer);
bool dure_gguf_number(const dure_gguf_value *value, uint64_t index, double *out_number);
bool dure_gguf_boolean(const dure_gguf_value *value, uint64_t index, bool *out_truth);
// A TEXT; it lies in the mapped file and no NUL ends it.
bool dure_gguf_text(const dure_gguf_value *value, const char **out_text, size_t *out_length);
// The texts of a TEXT or of a LIST of them, one after the other (none of any other value or of NULL).
typedef struct dure_gguf_texts {
  const uint8_t *at;
  uint64_t left;
} dure_gguf_texts;
dure_gguf_texts dure_gguf_texts_of(const dure_gguf_value *value);
bool dure_gguf_text_next(dure_gguf_texts *texts, const char **out_text, size_t *out_length);

// Elements [first, first + count) as f32; DURE_UNSUPPORTED for whole numbers.
DURE_MUST_CHECK dure_status dure_gguf_read(const dure_gguf_tensor *tensor, uint64_t first, uint64_t count,
                                           float *out_values);

// ---- writing ----
// Set every key, declare every tensor, then append their elements in the same order, in pieces of whole rows, then
// finish. Key and tensor names are copied. Nothing but the header is held in memory.
typedef struct dure_gguf_writer dure_gguf_writer;
DURE_MUST_CHECK dure_status dure_gguf_writer_create(const char *path, dure_gguf_writer **out_writer);
void dure_gguf_writer_text(dure_gguf_writer *writer, const char *key, const char *text, size_t length);
void dure_gguf_writer_u32(dure_gguf_writer *writer, const char *key, uint32_t value);
void dure_gguf_writer_f32(dure_gguf_writer *writer, const char *key, float value);
void dure_gguf_writer_boolean(dure_gguf_writer *writer, const char *key, bool value);
// A list: begin, then as many elements as said, by dure_gguf_writer_text_element, _i32_element or _f32_element.
void dure_gguf_writer_list(dure_gguf_writer *writer, const char *key, dure_gguf_kind kind, uint64_t count);
void dure_gguf_writer_text_element(dure_gguf_writer *writer, const char *text, size_t length);
void dure_gguf_writer_i32_element(dure_gguf_writer *writer, int32_t value);
void dure_gguf_writer_f32_element(dure_gguf_writer *writer, float value);
// `type` must be one that dure_gguf_type_can_pack; rows must be whole blocks.
DURE_MUST_CHECK dure_status dure_gguf_writer_declare(dure_gguf_writer *writer, const char *name,
                                                     const dure_gguf_type *type, uint32_t rank, const uint64_t *shape);
DURE_MUST_CHECK dure_status dure_gguf_writer_append(dure_gguf_writer *writer, const float *values, uint64_t count);
// The same for a tensor of Q8_0 or Q4_0 whose rounding was chosen elsewhere: codes as dure_group_pack leaves them, and
// a scale in f16 for every 32 of the `count` elements.
DURE_MUST_CHECK dure_status dure_gguf_writer_append_codes(dure_gguf_writer *writer, const uint8_t *codes,
                                                          const uint16_t *scales, uint64_t count);
// Checks that everything declared has come, flushes and syncs. The file is complete only after this.
DURE_MUST_CHECK dure_status dure_gguf_writer_finish(dure_gguf_writer *writer);
void dure_gguf_writer_destroy(dure_gguf_writer *writer);  // NULL is fine; leaves an unfinished file behind

#endif  // DURE_MODEL_GGUF_H_
