// Matrices that stay quantised in memory: what a GGUF file has in blocks is given to the kernels as codes with f32
// scales (and minima), whose values are those of the file to the bit (ops.h, matmul_blocks).
//
// Types of 32 elements a scale: Q4_0, Q4_1, Q4_K in 4 bits an element; Q5_0, Q5_1, Q5_K, Q8_0 in 8. Matrices of other
// types (Q6_K, Q2_K, Q3_K), and of roles that no kernel takes packed (experts, latent attention), are expanded.
#ifndef DURE_MODEL_PACKED_H_
#define DURE_MODEL_PACKED_H_

#include "model/parameters.h"
#include "model/safetensors.h"

// Marks what stays packed and places all parameters again. Before buffers are made.
void dure_packed_choose(dure_parameter_layout *layout, const dure_model_config *config, const dure_safetensors *file);
// Fills the buffers of packed parameters; the others are dure_parameters_load's.
DURE_MUST_CHECK dure_status dure_packed_load(const dure_parameter_buffers *buffers, const dure_parameter_layout *layout,
                                             const dure_model_config *config, const dure_safetensors *file,
                                             const char *path, dure_stream *stream);
// Bytes of packed parameters and how many elements they hold; 0 when nothing is packed.
uint64_t dure_packed_bytes(const dure_parameter_layout *layout, uint64_t *out_elements);

uint64_t dure_packed_rows(const dure_parameter *parameter);  // [out, in]: of `out`
// The matrix as `dtype`, or the rows that `indices` [..] name (absent: all): [.., in].
dure_tensor dure_packed_unpack(dure_program *program, const dure_tensor *pools, const dure_parameter *parameter,
                               dure_tensor indices, dure_dtype dtype);
// x [.., in] times rows [first, first + rows) of the matrix, transposed: [.., rows]. bias, residual and activation of
// the options count.
dure_tensor dure_packed_matmul(dure_program *program, const dure_tensor *pools, const dure_parameter *parameter,
                               uint64_t first, uint64_t rows, dure_tensor x, const dure_matmul_options *options);

#endif  // DURE_MODEL_PACKED_H_
