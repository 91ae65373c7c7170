// Tensor maps (CUtensorMap): what the bulk tensor copies of sm_90 are told of a tensor. Encoded by the driver, which is
// asked for the function by name.
#ifndef DURE_CUDA_TENSOR_MAP_H_
#define DURE_CUDA_TENSOR_MAP_H_

#include <stdbool.h>
#include <stdint.h>

#include "cuda/internal.h"

#ifdef __cplusplus
extern "C" {
#endif

// For copies of `rows` rows of 64 columns of one head, into tiles as cuda/hopper.cuh wants them. The tensor has 16-bit
// elements [B, T, heads, D]: element (b, t, h, d) is (b * T + t) * t_stride + h * h_stride + d elements from
// `address`, which and the strides are multiples of 16 bytes. out_map: 128 bytes, aligned to 64. False where the driver
// has no such function or does not take the tensor.
bool cuda_tensor_map_encode(cuda_device *device, const void *address, uint64_t B, uint64_t T, uint64_t heads,
                            uint64_t D, uint64_t t_stride, uint64_t h_stride, uint32_t rows, void *out_map);

#ifdef __cplusplus
}
#endif
#endif  // DURE_CUDA_TENSOR_MAP_H_
