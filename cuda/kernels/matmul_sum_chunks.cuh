// The end of a matmul whose sums were made in chunks of k: adds the chunks' sums in order, then the epilogue. The
// counterpart of shaders/matmul_sum_chunks.comp.
//
//   partial  f32 [batch x chunks, M, N]
// A thread makes four columns of a row. 4 chunks bytes read an output, as fast as memory.
#ifndef DURE_CUDA_KERNELS_MATMUL_SUM_CHUNKS_CUH_
#define DURE_CUDA_KERNELS_MATMUL_SUM_CHUNKS_CUH_

#include "cuda/kernels/matmul.cuh"

// Grid: x over fours of the rows' columns, y over batches.
template <typename T>
__global__ void __launch_bounds__(256) matmul_sum_chunks_kernel(matmul_arguments o) {
  const uint32_t fours = (o.N + 3) / 4, chunks = (o.K + o.chunk - 1) / o.chunk;
  const uint64_t index = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= (uint64_t)fours * o.M) return;
  const uint32_t row = (uint32_t)(index / fours), column = (uint32_t)(index % fours) * 4;
  const int left = (int)(o.N - column);
  const bool in_fours = o.N % 4 == 0;
  const uint64_t size = (uint64_t)o.M * o.N;
  const float *line = o.partial + blockIdx.y * chunks * size + (uint64_t)row * o.N + column;
  float4 sums = make_float4(0, 0, 0, 0);
#pragma unroll 4
  for (uint32_t i = 0; i < chunks; i++) sums = matmul_sum(sums, matmul_line(line + i * size, left, in_fours));
  if (o.bias != nullptr) sums = matmul_sum(sums, matmul_line(static_cast<const T *>(o.bias) + column, left, false));
  matmul_store<T>(o, blockIdx.y, row, column, sums);
}

#endif  // DURE_CUDA_KERNELS_MATMUL_SUM_CHUNKS_CUH_
