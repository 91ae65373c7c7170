// The oracle: every op of ops.def in plain C, one function a row, written to be read beside its definition in ops.h.
//
// `dure_reference_<op>` computes one call whose operands lie in mapped buffers. Storage may be any float type, strides
// are honoured for every operand, and all arithmetic is in double; values are rounded once, when they are stored. NaN
// and infinity go where the formulas take them. The call's shapes have been checked by the row's shape rule. Fails only
// with DURE_OUT_OF_MEMORY, before anything has been written.
//
// The same functions are the kernels of the device "reference" (device.c).
#ifndef DURE_RUNTIME_REFERENCE_REFERENCE_H_
#define DURE_RUNTIME_REFERENCE_REFERENCE_H_

#include "runtime/ops.h"

#define DURE_OP(name, ...) DURE_MUST_CHECK dure_status dure_reference_##name(const dure_op_call *call);
#include "runtime/ops.def"
#undef DURE_OP

// ---- access to operands (rows.c) --------------------------------------------------------------------------------
//
// Elements are numbered in the row-major order of the operand's shape, so callers need not care whether an operand came
// under another shape with the same elements ([B, T, C] for [B * T, C]) or with gaps between its rows.

enum { DURE_REFERENCE_CHUNK = 1024 };  // elements that element-wise ops convert at a time

// The last dimension (1 for rank 0).
uint64_t dure_reference_width(const dure_operand *operand);
// Elements [first, first + count) as doubles.
void dure_reference_load(const dure_operand *operand, uint64_t first, uint64_t count, double *out_values);
// Writes them, or adds them to what is there.
void dure_reference_store(const dure_operand *operand, uint64_t first, uint64_t count, const double *values,
                          bool accumulate);
double dure_reference_get(const dure_operand *operand, uint64_t index);
void dure_reference_put(const dure_operand *operand, uint64_t index, double value, bool accumulate);
uint32_t dure_reference_get_u32(const dure_operand *operand, uint64_t index);
void dure_reference_put_u32(const dure_operand *operand, uint64_t index, uint32_t value);
// Whether operand `index` of the call is added to.
bool dure_reference_accumulates(const dure_op_call *call, uint32_t index);
// The activations (elementwise.c) and their derivatives.
double dure_reference_activation_value(dure_activation kind, double x);
double dure_reference_activation_slope(dure_activation kind, double x);
// `count` doubles, uninitialised; released with free(). At least one is allocated.
DURE_MUST_CHECK dure_status dure_reference_scratch(uint64_t count, double **out_values);

// ---- packed weights (quantised.c) -------------------------------------------------------------------------------

typedef struct dure_packed_weight {
  const int8_t *codes;
  const dure_operand *scales, *minima;  // minima may be NULL
  uint32_t bits, group;                 // group: elements a scale
  uint64_t rows, width;
} dure_packed_weight;
// The weight whose codes are operand `codes` of the call, scales and minima the next two.
dure_packed_weight dure_reference_packed(const dure_op_call *call, uint32_t codes);
// Element [row, k]; out_magnitude (may be NULL): the sum of the magnitudes of its two parts.
double dure_reference_packed_value(const dure_packed_weight *weight, uint64_t row, uint64_t k, double *out_magnitude);

// ---- blocks of 32 (quantised.c) ---------------------------------------------------------------------------------

// quantize_rows of one block x [32]: its codes, and the scale that is returned.
float dure_reference_quantize_block(const double *x, int8_t *out_codes);
// Elements [first, first + count) of a float operand, or, where it is u8, of codes with a scale for each block.
void dure_reference_load_blocks(const dure_operand *operand, const dure_operand *scales, uint64_t first, uint64_t count,
                                double *out_values);

// ---- a paged cache (cache.c) ------------------------------------------------------------------------------------

// Row (block * block_size + row in the block) of a sequence's position in a cache [blocks, block_size, G, D]; false
// when the table [B, blocks_per_sequence] does not reach so far or names no block.
bool dure_reference_cache_row(const dure_operand *cache, const dure_operand *block_table, uint64_t sequence,
                              uint64_t position, uint64_t *out_row);

// ---- sample (sample.c) ------------------------------------------------------------------------------------------

// The u that a row of sample draws with, from its operand `random`.
double dure_reference_sample_uniform(const dure_operand *random, uint64_t row);

// ---- attention (attention.c) ------------------------------------------------------------------------------------

typedef struct dure_reference_score {
  double value, slope;  // the score, and its derivative with respect to q . k
} dure_reference_score;
// The score of a query and a key `distance` positions before it, from their product q . k and their head's slope.
dure_reference_score dure_reference_attention_score(const dure_op_call *call, double product, double slope,
                                                    double distance);
// Of the query head; 0 when `slopes` is absent.
double dure_reference_attention_slope(const dure_operand *slopes, uint64_t head);

#endif  // DURE_RUNTIME_REFERENCE_REFERENCE_H_
