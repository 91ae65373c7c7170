// Moments of 8 bits (runtime/moment_code.h) as the f32 values that they stand for, and back, for checkpoints.
//
// A scale belongs to a block of a pool, and where blocks begin depends on how parameters are placed: by one rank
// otherwise than by several. Values do not depend on it: parts of checkpoints have those (checkpoint_parts.h), and
// whoever goes on makes codes of them again. Where blocks are the same, codes and scales become what they were, to the
// bit: a block's largest magnitude is its scale, and the others are rounded to nearest.
#ifndef DURE_MODEL_MOMENTS_H_
#define DURE_MODEL_MOMENTS_H_

#include "model/parameters.h"
#include "model/safetensors.h"

// Whether a set has codes, with their scales beside them.
bool dure_moments_are_coded(const dure_named_buffers *set);

// Values of elements [first, first + count) of what the set's buffers keep of a pool; waits. `count` is at most
// DURE_MOMENTS_PIECE.
enum { DURE_MOMENTS_PIECE = 1 << 18 };
DURE_MUST_CHECK dure_status dure_moments_read(const dure_named_buffers *set, size_t pool, dure_stream *stream,
                                              uint64_t first, uint64_t count, float *out_values);

// Fills codes and scales from a file's values, as dure_parameters_load does with floats. Takes as much host memory for
// a while as these moments would in f32.
DURE_MUST_CHECK dure_status dure_moments_load(const dure_named_buffers *set, const dure_parameter_layout *layout,
                                              const dure_model_config *config, const dure_safetensors *file,
                                              const char *path, const char *suffix, dure_stream *stream);

// The values of the moments with that suffix which one rank has saved as codes and scales (dure_parameters_save).
// `config`: of the model or a part of it. `file` must stay until *out_file is closed; DURE_CORRUPT where it does not
// fit.
DURE_MUST_CHECK dure_status dure_moments_open(const dure_safetensors *file, const char *path,
                                              const dure_model_config *config, const char *suffix,
                                              dure_safetensors **out_file);

#define DURE_MOMENTS_FIRST ".first_moment"
#define DURE_MOMENTS_SECOND ".second_moment"
#define DURE_MOMENTS_FIRST_SCALES ".first_scales"
#define DURE_MOMENTS_SECOND_SCALES ".second_scales"

#endif  // DURE_MODEL_MOMENTS_H_
