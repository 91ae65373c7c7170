// A model's files into another layout, type or format: `dure convert`.
//
// Nothing runs on a device, and a tensor at a time is in memory. The result appears only when it is complete.
#ifndef DURE_MODEL_CONVERT_H_
#define DURE_MODEL_CONVERT_H_

#include "model/grouped.h"
#include "model/weights.h"

// Matrices that a calibration has rounded beforehand (rounded.h).
typedef struct dure_rounded dure_rounded;

// Matrices to groups of 4 or 8 bits (grouped.h).
typedef struct dure_convert_grouping {
  dure_group_type type;
  bool is_mixed;  // what feeds the residual stream from the feed-forward part (and tables) has 8 bits in any case
} dure_convert_grouping;

typedef struct dure_convert_options {
  // Of matrices: "f32", "bf16", "f16", in GGUF also "q8_0" and "q4_0"; NULL: each tensor keeps its own, quantised ones
  // become f32.
  const char *type;
  const dure_convert_grouping *grouping;  // NULL: none; of directories alone, with a NULL `type`
  const dure_rounded *rounded;  // written in place of what the grouping, "q8_0" or "q4_0" (groups of 32 without
                                // minima) would make of the same matrices; NULL: all of them to the nearest
  uint64_t shard_size;          // bytes of one safetensors file at most (one tensor may be larger); 0: one file
} dure_convert_options;

typedef struct dure_convert_summary {
  size_t tensors, files;
  uint64_t elements, bytes;
  size_t kept;  // matrices whose rows are not whole blocks of the type that was asked for: they are f16 instead
} dure_convert_summary;

// From a model directory or GGUF file to OUT: a GGUF file when the name ends so, else a directory, which must not exist
// or be empty. DURE_INVALID_ARGUMENT for types that OUT cannot have; DURE_UNSUPPORTED for families that GGUF has no
// architecture for, and for values that a type cannot hold.
DURE_MUST_CHECK dure_status dure_convert(const char *in, const char *out, const dure_convert_options *options,
                                         dure_convert_summary *out_summary);

// The two ways that it goes (convert_gguf.c, convert_directory.c); `out` is written as it comes.
DURE_MUST_CHECK dure_status dure_convert_to_gguf(const char *in, const char *out, const dure_convert_options *options,
                                                 dure_convert_summary *summary);
DURE_MUST_CHECK dure_status dure_convert_to_directory(const char *in, const char *out,
                                                      const dure_convert_options *options,
                                                      dure_convert_summary *summary);
// A text file of a model directory: *out_text is NULL when there is none; release with free().
DURE_MUST_CHECK dure_status dure_convert_read(const char *directory, const char *name, char **out_text,
                                              size_t *out_length);
// DURE_UNSUPPORTED where a finite value is beyond f16.
DURE_MUST_CHECK dure_status dure_convert_check_f16(const char *name, const float *values, uint64_t count);

#endif  // DURE_MODEL_CONVERT_H_
