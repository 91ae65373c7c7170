// A model's files by their path, whichever kind they are: a Hugging Face directory, or one GGUF file.
//
// What a GGUF file holds is shown as a directory would have it: public names, shapes and orders of rows; quantised
// tensors are read as f32. So everything that takes a model directory takes a GGUF file too.
#ifndef DURE_MODEL_WEIGHTS_H_
#define DURE_MODEL_WEIGHTS_H_

#include "data/tokenizer.h"
#include "model/gguf.h"
#include "model/safetensors.h"

bool dure_weights_exist(const char *path);  // a GGUF file, or a directory with weights
// A directory's or a single file's tensors under public names. Of a GGUF file: those that the architecture's tables
// know; the others keep their own names. Quantised tensors have dtype F32 and `type` as "Q4_0".
DURE_MUST_CHECK dure_status dure_weights_open(const char *path, dure_safetensors **out_file);
// The same with the names, shapes and orders of the file itself, whatever model it is.
DURE_MUST_CHECK dure_status dure_weights_open_as_stored(const char *path, dure_safetensors **out_file);

// What a quantised matrix's elements are made of, whichever kind of file holds it: x = scale q (+ minimum), codes q of
// `bits` bits (q of 4 bits is 0 .. 15 with minima, -8 .. 7 without), a scale for each `group` of them. bits 0: the
// tensor is no such matrix.
typedef struct dure_weights_codes {
  uint32_t bits, group;
  bool has_minima, is_transposed;  // transposed: rows are those of the transposed matrix
  dure_dtype scales;               // that hold its scales and minima exactly: f16 or f32
  uint64_t rows, width;
} dure_weights_codes;
dure_weights_codes dure_weights_codes_of(const dure_safetensors_tensor *tensor);
// A row of it: codes [width], scales and minima (0 where there are none) [width / group]. Rows of a GGUF file's matrix
// are counted as the tensor has them.
void dure_weights_row(const dure_safetensors_tensor *tensor, uint64_t row, int8_t *out_codes, float *out_scales,
                      float *out_minima);
// DURE_UNSUPPORTED, saying what to do instead, when the model's matrices are quantised: training them would go on from
// what rounding has left of them, and save them in another type without a word.
DURE_MUST_CHECK dure_status dure_weights_check_trainable(const char *path);
// The tokenizer of a model, a directory of one, a GGUF file, or a tokenizer.json.
DURE_MUST_CHECK dure_status dure_weights_tokenizer(const char *path, dure_tokenizer **out_tokenizer);

// ---- tokenizers in GGUF files (gguf_tokenizer.c) ----
// The tokenizer as a tokenizer.json, for byte-level BPE ("gpt2"): DURE_UNSUPPORTED names other kinds. Release with
// free().
DURE_MUST_CHECK dure_status dure_gguf_tokenizer(const dure_gguf *file, char **out_json, size_t *out_length);
// tokenizer.chat_template, ended by a NUL; release with free(). NULL: there is none.
DURE_MUST_CHECK dure_status dure_gguf_chat_template(const dure_gguf *file, char **out_template);
// Writes a tokenizer.json's tokens, kinds and merges, and the file itself (tokenizer.huggingface.json). `rows` is the
// model's vocabulary: ids beyond the tokenizer's are filled up. Ids of -1 are none.
DURE_MUST_CHECK dure_status dure_gguf_write_tokenizer(dure_gguf_writer *writer, const char *json, size_t length,
                                                      uint32_t rows, int64_t beginning_id, int64_t end_id);

#endif  // DURE_MODEL_WEIGHTS_H_
