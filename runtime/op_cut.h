// What the rules of column `expand` share (op_expand*.c): how many parts an operand or a call needs, and cutting them.
// The cuts depend on shapes and the device's fixed limits only, so results are repeatable.
#ifndef DURE_RUNTIME_OP_CUT_H_
#define DURE_RUNTIME_OP_CUT_H_

#include "runtime/op_rules.h"

// Rows of a cut are multiples of this, so that aligned operands stay aligned.
enum { DURE_CUT_GRAIN = 64 };

static inline uint64_t dure_cut_ceil_divide(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
static inline uint64_t dure_cut_max(uint64_t a, uint64_t b) { return a > b ? a : b; }

// Bytes of an operand that can be bound: a binding starts at an aligned byte before its operand, and that much of the
// limit may be lost.
uint64_t dure_cut_usable_binding(const dure_limits *limits);
// How many parts an operand of `units` rows (or batches) must be cut into, as far as its size goes. Counted in whole
// units to a binding, so that a part of ceil(units / parts) fits one too.
uint64_t dure_cut_parts_for_binding(const dure_operand *operand, uint64_t units, const dure_limits *limits);
// As far as a dispatch's FLOPs go.
uint64_t dure_cut_parts_for_work(const dure_op_call *call, const dure_limits *limits);
// Units a part, a multiple of the grain unless that would be everything.
uint64_t dure_cut_part_size(uint64_t units, uint64_t parts);
// Restricts one axis of an operand to [first, first + count).
void dure_cut_axis(dure_operand *operand, uint32_t axis, uint64_t first, uint64_t count);

// Cuts a call over R rows into ranges of rows. How each operand takes part, one letter an operand:
//   r  [.., C]: cut by rows           v  [R]: cut by elements
//   s  a sum over rows: whole, overwritten by the first part and added to by the others      -  whole
DURE_MUST_CHECK dure_status dure_cut_rows(const dure_op_call *call, const dure_limits *limits, const char *roles,
                                          dure_expand_sink sink, void *context);

#endif  // DURE_RUNTIME_OP_CUT_H_
