// Matrices that stay quantised in memory: what a file has in blocks or groups is given to the kernels as codes with
// scales (and minima), whose values are those of the file to the bit (ops.h, matmul_blocks).
//
//   bits an element, a scale's and a minimum's type and elements
//   Q4_0, INT4   4  f16, 32 (INT4: its group)      Q4_1, INT4 with minima   4  f16 and f16
//   Q8_0, Q5_0, INT8   8  f16                      Q5_1                     8  f16 and f16, 32
//   Q4_K         4  f32 and f32, 32                Q5_K                     8  f32 and f32, 32
//   Q3_K         4  f32, 16                        Q2_K                     4  f32 and f32, 16
//   Q6_K         8  f32, 16
//
// Scales of the K types are products of two numbers of the file, which only f32 holds. Matrices of roles that no kernel
// takes packed (experts, latent attention) are expanded.
#ifndef DURE_MODEL_PACKED_H_
#define DURE_MODEL_PACKED_H_

#include "model/parameters.h"
#include "model/safetensors.h"

// Marks what stays packed and places all parameters again. Before buffers are made.
// rounds_activations: matrices of 8 bits without minima (Q8_0, Q5_0, INT8) are multiplied as integers, with inputs that
// are rounded to 8 bits in blocks of 32 as they come (quantize_rows, matmul_q8); the others take floats as ever.
void dure_packed_choose(dure_parameter_layout *layout, const dure_model_config *config, const dure_safetensors *file,
                        bool rounds_activations);
// Fills the buffers of packed parameters; the others are dure_parameters_load's.
DURE_MUST_CHECK dure_status dure_packed_load(const dure_parameter_buffers *buffers, const dure_parameter_layout *layout,
                                             const dure_model_config *config, const dure_safetensors *file,
                                             const char *path, dure_stream *stream);
// Bytes of packed parameters and how many elements they hold; 0 when nothing is packed.
uint64_t dure_packed_bytes(const dure_parameter_layout *layout, uint64_t *out_elements);

bool dure_packed_takes(dure_role role);                      // whether kernels take matrices of that role packed
uint64_t dure_packed_rows(const dure_parameter *parameter);  // [out, in]: of `out`
// The matrix as `dtype`, or the rows that `indices` [..] name (absent: all): [.., in].
dure_tensor dure_packed_unpack(dure_program *program, const dure_tensor *pools, const dure_parameter *parameter,
                               dure_tensor indices, dure_dtype dtype);
// x [.., in] times rows [first, first + rows) of the matrix, transposed: [.., rows]. bias, residual and activation of
// the options count.
dure_tensor dure_packed_matmul(dure_program *program, const dure_tensor *pools, const dure_parameter *parameter,
                               uint64_t first, uint64_t rows, dure_tensor x, const dure_matmul_options *options);

#endif  // DURE_MODEL_PACKED_H_
