// A checksum of values by parameters' layout, to the bit: of parameters that ranks should have alike, of gradients made
// twice.
#ifndef DURE_MODEL_PARAMETER_HASH_H_
#define DURE_MODEL_PARAMETER_HASH_H_

#include "model/parameters.h"

// Of what is here of the buffers (of parts, this one's), in the order of the pools. `undivided_alone`: of parameters
// that tensor parallelism does not divide. Waits for the stream.
DURE_MUST_CHECK dure_status dure_parameters_hash(const dure_parameter_layout *layout,
                                                 const dure_parameter_buffers *buffers, bool undivided_alone,
                                                 dure_stream *stream, uint64_t *out_hash);

#endif  // DURE_MODEL_PARAMETER_HASH_H_
