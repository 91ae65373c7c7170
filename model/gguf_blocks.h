// The element types of GGUF files: blocks of quantised weights to f32 and, for some types, back.
//
// A block holds a fixed number of consecutive elements of a row in a fixed number of bytes, little-endian:
//
//   Q4_0  d f16, 32 x 4 bits                  x = d (q - 8)
//   Q4_1  d f16, m f16, 32 x 4 bits           x = d q + m
//   Q5_0, Q5_1                                the same with a fifth bit of each element in 4 bytes of their own
//   Q8_0  d f16, 32 x i8                      x = d q
//   Q2_K .. Q6_K                              256 elements in 8 or 16 sub-blocks, whose scales (and minima) are small
//                                             whole numbers times one f16 of the block
//
// Every value is computed in f32 in one order (scale times whole number, then one product, then one sum), so that the
// bits are those of the format's own Python package. No type is known here by name alone: what is not in the table is
// refused by its number.
#ifndef DURE_MODEL_GGUF_BLOCKS_H_
#define DURE_MODEL_GGUF_BLOCKS_H_

#include <stdbool.h>
#include <stdint.h>

#include "runtime/dtype.h"

typedef struct dure_gguf_type {
  const char *name;   // "Q4_0"
  uint32_t number;    // in files
  uint32_t elements;  // of a block
  uint32_t bytes;
  dure_dtype dtype;  // what plain types are here; F32 for quantised ones; NONE for whole numbers
  // One block to its elements; NULL: a plain type.
  void (*expand)(const uint8_t *block, float *out_values);
  // The reverse; NULL: such files are read but not written.
  void (*quantize)(const float *values, uint8_t *out_block);
} dure_gguf_type;

enum { DURE_GGUF_BLOCK_MOST = 256 };  // elements

// By number or by name in any case ("q8_0"); NULL: not known.
const dure_gguf_type *dure_gguf_type_numbered(uint32_t number);
const dure_gguf_type *dure_gguf_type_named(const char *name);
// The name of a type that is not supported ("IQ2_XXS"), for messages; "unknown" for numbers that mean nothing.
const char *dure_gguf_type_refused(uint32_t number);

// Elements [first, first + count) of packed blocks to f32. The type must be plain floating point or quantised.
void dure_gguf_expand(const dure_gguf_type *type, const uint8_t *blocks, uint64_t first, uint64_t count,
                      float *out_values);
// `count` elements, a whole number of blocks, to packed bytes. The type must be F32, F16, BF16 or have `quantize`.
void dure_gguf_pack(const dure_gguf_type *type, const float *values, uint64_t count, uint8_t *out_bytes);
bool dure_gguf_type_can_pack(const dure_gguf_type *type);

// ---- codes, for weights that stay packed (packed.h) ----
// What the elements of a type are made of: x = scale q, or scale q + minimum. bits 0: not of such parts.
typedef struct dure_gguf_codes {
  uint32_t bits;  // 4: q is 0..15, or -8..7 without minima; 8: -128..127
  bool has_minima;
  uint32_t group;     // elements a scale: 16 or 32
  dure_dtype scales;  // that hold every scale and minimum exactly: f16 or f32
} dure_gguf_codes;
dure_gguf_codes dure_gguf_type_codes(const dure_gguf_type *type);
// The codes [type->elements] of a block, and a scale and a minimum (0 where there are none) for each group of them.
void dure_gguf_block_codes(const dure_gguf_type *type, const uint8_t *block, int8_t *out_codes, float *out_scales,
                           float *out_minima);

#endif  // DURE_MODEL_GGUF_BLOCKS_H_
