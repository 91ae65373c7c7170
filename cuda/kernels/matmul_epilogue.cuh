// The end of a matmul whose product another kernel has stored: t is read back, goes through the rest of the epilogue,
// and leaves for c (matmul.cuh).
//
//   t  [batch, M, N] of any float type, strided: what was saved, or c itself
// A thread makes four columns of a row: as fast as memory.
#ifndef DURE_CUDA_KERNELS_MATMUL_EPILOGUE_CUH_
#define DURE_CUDA_KERNELS_MATMUL_EPILOGUE_CUH_

#include "cuda/kernels/matmul.cuh"

struct matmul_epilogue_arguments {
  matmul_arguments o;  // no a, b, saved
  any_pointer t;
  uint64_t t_stride, t_batch;
};

// Grid: x over fours of the rows' columns, y over batches.
template <typename T>
__global__ void __launch_bounds__(256) matmul_epilogue_kernel(matmul_epilogue_arguments e) {
  const uint32_t fours = (e.o.N + 3) / 4;
  const uint64_t index = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= (uint64_t)fours * e.o.M) return;
  const uint32_t row = (uint32_t)(index / fours), column = (uint32_t)(index % fours) * 4;
  const int left = (int)(e.o.N - column);
  const uint64_t at = blockIdx.y * e.t_batch + row * e.t_stride + column;
  float4 t = matmul_line_any(e.t, at, left, (e.o.flags & MATMUL_WIDE_STORE) != 0);
  if (e.o.bias != nullptr) t = matmul_sum(t, matmul_line(static_cast<const T *>(e.o.bias) + column, left, false));
  matmul_store<T>(e.o, blockIdx.y, row, column, t);
}

#endif  // DURE_CUDA_KERNELS_MATMUL_EPILOGUE_CUH_
