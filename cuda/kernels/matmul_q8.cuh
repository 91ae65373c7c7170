// What the kernels of matmul_q8 share: c = a b^T + bias of signed 8-bit integers in blocks of 32, a scale each
// (runtime/ops.h), with the arguments of ops_quantised.cu. The counterpart of shaders/lib/matmul_q8.glsl.
//
//   a [M, K], b [N, K]    integers, rows at multiples of 16 bytes        a_scales [M, K / 32], b_scales [N, K / 32]
//   bias [N], c [M, N]    as in matmul.cuh, which also says how sums in chunks of k leave
#ifndef DURE_CUDA_KERNELS_MATMUL_Q8_CUH_
#define DURE_CUDA_KERNELS_MATMUL_Q8_CUH_

#include "cuda/kernels/matmul.cuh"

enum { MATMUL_Q8_BLOCK = 32 };

struct matmul_q8_arguments {
  matmul_arguments o;  // of it M, N, K, chunk (in blocks' multiples), bias, c and its stride, partial, flags
  const float *a_scales, *b_scales;
};

// A dot product is begun with the bits of 1.5 * 2^23 instead of 0: its sum, below 2^19 + 1 in magnitude, then stands in
// the lowest bits of a float, and one subtraction, instead of a conversion at a quarter of its rate, makes it one.
enum { MATMUL_Q8_BEGIN = 0x4b400000 };
__device__ __forceinline__ float matmul_q8_dot(int sum) { return __int_as_float(sum) - 12582912.0f; }

#endif  // DURE_CUDA_KERNELS_MATMUL_Q8_CUH_
