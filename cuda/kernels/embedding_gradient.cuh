// dtable[v, :] = (or +=) the sum of dy[r, :] over the positions r with indices[r] == v, from positions sorted by index
// (embedding_sort.cuh). A row of threads walks one piece of EMBEDDING_PIECE sorted entries: the sum of an index that
// begins and ends in the piece goes to its row of the table; an index that goes on in the next piece, or comes from the
// one before, leaves partial sums, which embedding_gradient_pieces.cuh adds up in order. So a token that makes up half
// of the text costs no more than others, nothing depends on the size of the vocabulary, and no row is written twice.
//   partials [pieces, 2, columns]: of the piece's first index if it came from before, of its last if it goes on
// Bytes: one element of dy; of the table one written (adding: and read) for each index that occurs.
#ifndef DURE_CUDA_KERNELS_EMBEDDING_GRADIENT_CUH_
#define DURE_CUDA_KERNELS_EMBEDDING_GRADIENT_CUH_

#include "cuda/kernels/embedding_sort.cuh"
#include "cuda/kernels/packed.cuh"

enum { EMBEDDING_PIECE = 16, EMBEDDING_STEPS = 4, EMBEDDING_THREADS = 256 };

template <typename T, typename U>
struct embedding_gradient_arguments {
  const embedding_entry *entries;  // [count]
  const T *dy;                     // [count, columns]
  U *dtable;                       // [table_rows, columns]
  float *partials;                 // [pieces, 2, columns]
  uint64_t columns;
  uint32_t count, pieces, runs, table_rows;
  bool accumulate;
};

// What becomes of the sum after an entry of a piece.
enum embedding_fate : uint32_t {
  EMBEDDING_GOES_ON,
  EMBEDDING_IS_WHOLE,
  EMBEDDING_IS_FIRST_PART,
  EMBEDDING_IS_LAST_PART
};

template <typename T, typename U>
__device__ __forceinline__ embedding_fate embedding_fate_of(const embedding_gradient_arguments<T, U> &a, uint32_t begin,
                                                            uint32_t end, uint32_t i, uint32_t row) {
  const bool goes_on = i + 1 < a.count && a.entries[i + 1].row == row;
  if (goes_on && i + 1 < end) return EMBEDDING_GOES_ON;
  const bool came = begin > 0 && a.entries[begin - 1].row == row;
  return came ? EMBEDDING_IS_FIRST_PART : goes_on ? EMBEDDING_IS_LAST_PART : EMBEDDING_IS_WHOLE;
}

template <typename T, typename U, int N>
__global__ void __launch_bounds__(EMBEDDING_THREADS) embedding_gradient_kernel(embedding_gradient_arguments<T, U> a) {
  const uint32_t piece = blockIdx.x * blockDim.y + threadIdx.y, run = blockIdx.y * blockDim.x + threadIdx.x;
  if (piece >= a.pieces || run >= a.runs) return;
  const uint32_t begin = piece * EMBEDDING_PIECE;
  const uint32_t end = begin + EMBEDDING_PIECE < a.count ? begin + EMBEDDING_PIECE : a.count;
  const uint64_t c = (uint64_t)run * N;
  float sums[N] = {};
  for (uint32_t first = begin; first < end; first += EMBEDDING_STEPS) {
    uint32_t rows[EMBEDDING_STEPS];
    embedding_fate fates[EMBEDDING_STEPS];
    packed<T, N> gradients[EMBEDDING_STEPS];
    packed<U, N> before[EMBEDDING_STEPS];
#pragma unroll
    for (uint32_t s = 0; s < EMBEDDING_STEPS; s++) {  // all that is read, before the first of it is used
      const embedding_entry entry = a.entries[first + s < end ? first + s : end - 1];
      rows[s] = first + s < end ? entry.row : a.table_rows;
      if (rows[s] >= a.table_rows) continue;
      fates[s] = embedding_fate_of(a, begin, end, first + s, rows[s]);
      gradients[s] = load_packed<N>(a.dy + entry.position * a.columns + c);
      if (a.accumulate && fates[s] == EMBEDDING_IS_WHOLE)
        before[s] = load_packed<N>(a.dtable + rows[s] * a.columns + c);
    }
#pragma unroll
    for (uint32_t s = 0; s < EMBEDDING_STEPS; s++) {
      if (rows[s] >= a.table_rows) continue;
      float values[N];
      unpack(gradients[s], values);
#pragma unroll
      for (int e = 0; e < N; e++) sums[e] += values[e];
      if (fates[s] == EMBEDDING_GOES_ON) continue;
      if (fates[s] == EMBEDDING_IS_WHOLE) {
        if (a.accumulate) {
          unpack(before[s], values);
#pragma unroll
          for (int e = 0; e < N; e++) sums[e] += values[e];
        }
        store_floats<N>(a.dtable + rows[s] * a.columns + c, sums);
      } else {
        const uint64_t slot = 2 * (uint64_t)piece + (fates[s] == EMBEDDING_IS_LAST_PART ? 1 : 0);
        store_floats<N>(a.partials + slot * a.columns + c, sums);
      }
#pragma unroll
      for (int e = 0; e < N; e++) sums[e] = 0;
    }
  }
}

#endif  // DURE_CUDA_KERNELS_EMBEDDING_GRADIENT_CUH_
