// What a case consists of, and how the files cases_*.c describe them.
#ifndef DURE_RUNTIME_CONFORMANCE_CASES_H_
#define DURE_RUNTIME_CONFORMANCE_CASES_H_

#include "runtime/ops.h"

typedef enum dure_generator {
  DURE_GENERATE_NORMAL,    // shift + scale * standard normal
  DURE_GENERATE_UNIFORM,   // shift + scale * [0, 1)
  DURE_GENERATE_CONSTANT,  // shift everywhere
  DURE_GENERATE_INDICES,   // u32 below `limit`
  DURE_GENERATE_PERMUTED,  // u32: every number below `limit` once, in a shuffled order
  DURE_GENERATE_WORDS,     // u32 of any value
  DURE_GENERATE_LISTED,    // the `values` given, repeated
} dure_generator;

enum { DURE_CASE_VALUES = 20 };

// An operand and the memory it lies in. A base is flat memory of `base_count` elements; several operands may share one
// (views into a fused tensor, in-place operation).
typedef struct dure_case_operand {
  bool present;
  dure_dtype dtype;  // NONE: by the op's row and the case's storage
  uint32_t rank;
  uint64_t shape[DURE_MAX_RANK], stride[DURE_MAX_RANK];
  uint64_t offset;      // elements from the base's start
  uint32_t base;        // the operand that owns the base: its own index, or another's
  uint64_t base_count;  // elements; of an owner
  dure_generator generator;
  double scale, shift;
  uint64_t limit;
  double values[DURE_CASE_VALUES];
  uint32_t value_count;
  uint32_t sprinkled;  // so many elements at seeded places are replaced by the `values` in turn
} dure_case_operand;

// Limits under which a case runs, so that expand() is exercised without large memory.
typedef enum dure_case_profile {
  DURE_PROFILE_NORMAL,
  DURE_PROFILE_SMALL_BINDING,   // 16 KiB a binding
  DURE_PROFILE_SMALL_DISPATCH,  // 200,000 floating-point operations a dispatch
  DURE_PROFILE_COUNT,
} dure_case_profile;

typedef struct dure_case {
  char name[192];
  dure_op op;
  dure_op_attributes attributes;
  uint32_t accumulate;
  dure_case_operand operands[DURE_MAX_OPERANDS];
  // Tolerance of an element: u * (8 sqrt(reduction) + roundings) * magnitude, u = 2^-24 (compare.c), and one rounding
  // to its storage type. Both 0: exact.
  double reduction;          // terms summed for one element
  double roundings;          // further roundings, in units in the last place
  dure_dtype storage;        // of operands that are of the call's storage type; NONE: f32
  dure_dtype others;         // of operands with a float type of their own; NONE: the storage type
  double storage_roundings;  // of values on the way to 16-bit storage, in units of dure_case_rounded()
  bool sums_over_chunks;     // an output with a type of its own is added to more than once: f32 in 16-bit copies
  bool is_stochastic;        // 16-bit outputs are rounded to either neighbour
  bool any_not_finite;  // NaN and infinities count as the same: which one appears depends on the order of operations
  dure_case_profile profile;
} dure_case;

typedef struct dure_case_list {
  dure_case *cases;
  size_t count, capacity;
  bool full;  // the large shapes are wanted
  bool out_of_memory;
  dure_case spare;  // handed out when memory has run out
} dure_case_list;

// A new case named "op/<formatted>", valid until the next is added.
dure_case *dure_case_add(dure_case_list *list, dure_op op, const char *format, ...) DURE_PRINTF(3, 4);
// A further case that starts as a copy of `original`, its name extended by "/<formatted>".
dure_case *dure_case_copy(dure_case_list *list, const dure_case *original, const char *format, ...) DURE_PRINTF(3, 4);
void dure_case_rename(dure_case *c, const char *format, ...) DURE_PRINTF(2, 3);  // extends the name

// A contiguous operand of standard normal values (u32: indices below 1) in its own base.
dure_case_operand *dure_case_tensor(dure_case *c, uint32_t index, uint32_t rank, const uint64_t *shape);
// Puts the operand at `before` elements into its base, with as many after it: an address that is not aligned.
void dure_case_shift(dure_case_operand *operand, uint64_t before);
// Rows of the last dimension `gap` elements apart from each other; every other dimension stays evenly spaced.
void dure_case_widen(dure_case_operand *operand, uint64_t gap);
// The operand lies in the base of operand `owner`, `offset` elements from its start, with the owner's strides.
void dure_case_share(dure_case *c, uint32_t index, uint32_t owner, uint64_t offset);
void dure_case_generate(dure_case_operand *operand, dure_generator generator, double scale, double shift);
void dure_case_indices(dure_case_operand *operand, uint64_t limit);
// `value` will stand at `count` seeded places (up to DURE_CASE_VALUES values, `count` each).
void dure_case_sprinkle(dure_case_operand *operand, double value, uint32_t count);
void dure_case_list_values(dure_case_operand *operand, uint32_t count, const double *values);
// The type of an operand on the device. On the host all floats of a case are f32, rounded to this type beforehand.
dure_dtype dure_case_dtype(const dure_case *c, uint32_t operand);
// Adds a copy of the case for each profile of small limits.
void dure_case_restricted(dure_case_list *list, const dure_case *original);

#define DURE_SHAPE(...) \
  (uint64_t[]) { __VA_ARGS__ }

// Appends the cases of one op, with f32 storage. dure_cases_collect adds copies of some (in the full set: of all) with
// 16-bit storage.
#define DURE_OP(name, ...) void dure_cases_##name(dure_case_list *list);
#include "runtime/ops.def"
#undef DURE_OP

// All cases of all ops in the table's order. Release with dure_cases_free.
DURE_MUST_CHECK dure_status dure_cases_collect(bool full, dure_case_list *out_list);
void dure_cases_free(dure_case_list *list);

#endif  // DURE_RUNTIME_CONFORMANCE_CASES_H_
