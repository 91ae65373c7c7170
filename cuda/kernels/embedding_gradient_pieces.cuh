// For the gradient of an embedding: the indices whose sorted entries reach over the end of a piece. The block of the
// piece in which such an index begins adds up the partial sums that it and the following pieces have left
// (embedding_gradient.cuh), its rows of threads in turns, in a fixed order; all other blocks leave at once.
#ifndef DURE_CUDA_KERNELS_EMBEDDING_GRADIENT_PIECES_CUH_
#define DURE_CUDA_KERNELS_EMBEDDING_GRADIENT_PIECES_CUH_

#include "cuda/kernels/embedding_gradient.cuh"

template <typename T, typename U, int N>
__global__ void __launch_bounds__(EMBEDDING_THREADS)
    embedding_gradient_pieces_kernel(embedding_gradient_arguments<T, U> a) {
  constexpr uint32_t turns = EMBEDDING_THREADS / WARP;  // blockDim is [WARP, turns]
  __shared__ float shared[turns * WARP * N];
  const uint32_t piece = blockIdx.x, begin = piece * EMBEDDING_PIECE, end = begin + EMBEDDING_PIECE;
  if (end >= a.count) return;  // nothing goes on after the last piece
  const uint32_t row = a.entries[end - 1].row;
  if (row >= a.table_rows || a.entries[end].row != row) return;
  if (begin > 0 && a.entries[begin - 1].row == row) return;  // began before

  const uint32_t run = blockIdx.y * WARP + threadIdx.x;
  const uint64_t c = (uint64_t)(run < a.runs ? run : a.runs - 1) * N;  // beyond the row: read, never stored
  float sums[N] = {}, values[N];
  if (threadIdx.y == 0) load_floats<N>(a.partials + (2 * (uint64_t)piece + 1) * a.columns + c, sums);
  bool goes_on = true;
  for (uint32_t next = piece + 1 + threadIdx.y; goes_on && next < a.pieces; next += EMBEDDING_STEPS * turns) {
    packed<float, N> partials[EMBEDDING_STEPS];
    bool is_ours[EMBEDDING_STEPS];
#pragma unroll
    for (uint32_t s = 0; s < EMBEDDING_STEPS; s++) {
      const uint32_t other = next + s * turns;
      is_ours[s] = other < a.pieces && a.entries[other * EMBEDDING_PIECE].row == row;
      if (is_ours[s]) partials[s] = load_packed<N>(a.partials + 2 * (uint64_t)other * a.columns + c);
    }
#pragma unroll
    for (uint32_t s = 0; s < EMBEDDING_STEPS; s++) {
      if (!is_ours[s]) continue;
      unpack(partials[s], values);
#pragma unroll
      for (int e = 0; e < N; e++) sums[e] += values[e];
    }
    goes_on = is_ours[EMBEDDING_STEPS - 1];
  }
#pragma unroll
  for (int e = 0; e < N; e++) shared[(threadIdx.y * N + e) * WARP + threadIdx.x] = sums[e];
  __syncthreads();
  if (threadIdx.y > 0 || run >= a.runs) return;
  U *target = a.dtable + row * a.columns + c;
#pragma unroll
  for (int e = 0; e < N; e++) {
    for (uint32_t y = 1; y < turns; y++) sums[e] += shared[(y * N + e) * WARP + threadIdx.x];
  }
  if (a.accumulate) {
    load_floats<N>(target, values);
#pragma unroll
    for (int e = 0; e < N; e++) sums[e] += values[e];
  }
  store_floats<N>(target, sums);
}

#endif  // DURE_CUDA_KERNELS_EMBEDDING_GRADIENT_PIECES_CUH_
