// Rotary position embedding (Su et al. 2021, section 3.4): pairs (x_1, x_2) of a head's first `width` elements become
// (x_1 cos - x_2 sin, x_1 sin + x_2 cos); the others are copied. y may be x's memory.
//
// An item is what one thread reads and writes: two runs of N elements half a width apart; or, when pairs are
// neighbours, one run (a pair, if N = 1); or one run that is copied. Bytes: one element read and one written; the
// angles of a position serve all heads, from the cache. FLOPs: 3.
#ifndef DURE_CUDA_KERNELS_ROTARY_CUH_
#define DURE_CUDA_KERNELS_ROTARY_CUH_

#include "cuda/kernels/divider.cuh"
#include "cuda/kernels/packed.cuh"
#include "cuda/record.cuh"

enum { ROTARY_THREADS = 256 };

template <typename T>
struct rotary_arguments {
  const T *x;                  // [rows, heads, head_size]
  const uint32_t *positions;   // [rows]
  const float *cosines_sines;  // [table_rows, width]
  T *y;                        // [rows, heads, head_size]
  uint64_t count;              // items
  divider items, heads;        // items of a head; heads of a row
  uint32_t rotated_items;      // of a head
  uint32_t width, table_rows;
  uint64_t x_row, x_head, y_row, y_head;  // strides
  float sign_of_sine;                     // -1: the inverse rotation
};

// The cosines and sines of M pairs from pair `first` on; NaN for a position beyond the table.
template <int M, typename T>
__device__ __forceinline__ void rotary_angles(const rotary_arguments<T> &a, uint32_t position, uint32_t first,
                                              float (&cosines)[M], float (&sines)[M]) {
  const bool is_known = position < a.table_rows;
  const float *row = a.cosines_sines + (uint64_t)(is_known ? position : 0) * a.width + first;
  if constexpr (M % 4 == 0) {
#pragma unroll
    for (int e = 0; e < M; e += 4) {
      load_floats<4>(row + e, *reinterpret_cast<float(*)[4]>(cosines + e));
      load_floats<4>(row + a.width / 2 + e, *reinterpret_cast<float(*)[4]>(sines + e));
    }
  } else {
#pragma unroll
    for (int e = 0; e < M; e++) {
      cosines[e] = row[e];
      sines[e] = row[a.width / 2 + e];
    }
  }
#pragma unroll
  for (int e = 0; e < M; e++) {
    cosines[e] = is_known ? cosines[e] : __uint_as_float(0x7fc00000u);
    sines[e] = is_known ? sines[e] * a.sign_of_sine : __uint_as_float(0x7fc00000u);
  }
}

// Runs of N > 1 whose pairs are neighbours.
template <int N, typename T>
__device__ __forceinline__ void rotary_neighbours(const rotary_arguments<T> &a, uint32_t position, uint32_t k,
                                                  const T *source, T *target) {
  float values[N], cosines[N / 2], sines[N / 2];
  load_floats<N>(source + k * N, values);
  rotary_angles(a, position, k * (N / 2), cosines, sines);
#pragma unroll
  for (int e = 0; e < N / 2; e++) {
    const float x1 = values[2 * e], x2 = values[2 * e + 1];
    values[2 * e] = x1 * cosines[e] - x2 * sines[e];
    values[2 * e + 1] = x1 * sines[e] + x2 * cosines[e];
  }
  store_floats<N>(target + k * N, values);
}

// Runs of N at `first` and `second`, their pairs from pair `pair` on.
template <int N, typename T>
__device__ __forceinline__ void rotary_runs(const rotary_arguments<T> &a, uint32_t position, uint32_t pair,
                                            uint32_t first, uint32_t second, const T *source, T *target) {
  float x1[N], x2[N], y1[N], y2[N], cosines[N], sines[N];
  load_floats<N>(source + first, x1);
  load_floats<N>(source + second, x2);
  rotary_angles(a, position, pair, cosines, sines);
#pragma unroll
  for (int e = 0; e < N; e++) {
    y1[e] = x1[e] * cosines[e] - x2[e] * sines[e];
    y2[e] = x1[e] * sines[e] + x2[e] * cosines[e];
  }
  store_floats<N>(target + first, y1);
  store_floats<N>(target + second, y2);
}

template <typename T, int N, bool IsInterleaved>
__global__ void __launch_bounds__(ROTARY_THREADS) rotary_kernel(rotary_arguments<T> a) {
  const uint64_t i = (uint64_t)blockIdx.x * ROTARY_THREADS + threadIdx.x;
  if (i >= a.count) return;
  const uint64_t head = quotient(a.items, i), row = quotient(a.heads, head);  // of all heads; of all rows
  const uint32_t k = (uint32_t)(i - head * a.items.divisor), h = (uint32_t)(head - row * a.heads.divisor);
  const T *source = a.x + row * a.x_row + h * a.x_head;
  T *target = a.y + row * a.y_row + h * a.y_head;
  if (k >= a.rotated_items) {
    const uint32_t at = a.width + (k - a.rotated_items) * N;
    store_packed<N>(target + at, load_packed<N>(source + at));
    return;
  }
  const uint32_t position = a.positions[row];
  if constexpr (IsInterleaved && N > 1) {
    rotary_neighbours<N>(a, position, k, source, target);
  } else if constexpr (IsInterleaved) {
    rotary_runs<1>(a, position, k, 2 * k, 2 * k + 1, source, target);
  } else {
    rotary_runs<N>(a, position, k * N, k * N, k * N + a.width / 2, source, target);
  }
}

#endif  // DURE_CUDA_KERNELS_ROTARY_CUH_
