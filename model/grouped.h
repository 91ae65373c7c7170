// Group-wise 4- and 8-bit matrices in safetensors files: Dure's own quantised format (docs/formats.md).
//
//   NAME           U8 [out, in / 2]  4 bits: byte i of each 16 has the code of element i of its 32 in the lower half
//   and
//                                    that of element i + 16 in the upper one;   I8 [out, in]  8 bits
//   NAME_scales    F16 [out, in / group]; group 32, 64 or 128
//   NAME_minima    F16, of the same shape, or absent
//
//   x = scale q + minimum, each operation rounded to f32; q of 4 bits is the code, less 8 where there are no minima.
//   "transposed_scales" and "transposed_minima" instead mark a matrix whose public shape is [in, out].
//
// An opened safetensors file (safetensors.h) shows such a matrix as one tensor NAME of its public shape, dtype F32 and
// type "INT4" or "INT8", whose elements are read as f32; the companions are not listed.
#ifndef DURE_MODEL_GROUPED_H_
#define DURE_MODEL_GROUPED_H_

#include "model/safetensors.h"

typedef struct dure_grouped {
  dure_safetensors_tensor codes, scales, minima;  // as the file has them; minima.data NULL: none
  uint32_t bits, group;
  uint64_t rows, width;  // [out, in]
  bool is_transposed;
} dure_grouped;

// Makes one tensor of the parts of each such matrix among the `*count` sorted tensors, which it takes the others out
// of. *out_grouped: what they then refer to, from malloc, to live as long as they. DURE_CORRUPT for shapes that do not
// fit together.
DURE_MUST_CHECK dure_status dure_grouped_link(const char *path, dure_safetensors_tensor *tensors, size_t *count,
                                              dure_grouped **out_grouped);
// NULL: the tensor is no such matrix.
const dure_grouped *dure_grouped_of(const dure_safetensors_tensor *tensor);
// A row: codes [width] as q is, scales and minima [width / group] (minima of 0 where there are none).
void dure_grouped_row(const dure_grouped *matrix, uint64_t row, int8_t *out_codes, float *out_scales,
                      float *out_minima);

// ---- writing ----
typedef struct dure_group_type {
  uint32_t bits, group;
  bool has_minima;
} dure_group_type;

// The scale and the minimum (f16 values; 0 without minima) under which the `group` values lose least, by their squares
// times `weights` (NULL: 1 each): of the whole range and ranges down to 0.6 of it, each as it is and, of 4 bits, as
// least squares fit it to the codes that it gives.
void dure_group_range(const dure_group_type *type, const float *values, const float *weights, float *out_scale,
                      float *out_minimum);
// The nearest q of one value, and what it stands for.
int dure_group_round(const dure_group_type *type, float value, float scale, float minimum);
// The bytes of a row's codes: width of 8 bits, width / 2 of 4.
void dure_group_pack(const dure_group_type *type, const int8_t *codes, uint64_t width, uint8_t *out_bytes);

#endif  // DURE_MODEL_GROUPED_H_
