// y[r, :] = table[indices[r] - first_row, :] (or +=) for indices in this part of the table; rows of other parts stay as
// they are, and an index beyond the whole table gives a row of NaN. A group of threads a row (row.cuh).
// Bytes: one element read and one written (adding: one of y read), 4 a row.
#ifndef DURE_CUDA_KERNELS_EMBEDDING_CUH_
#define DURE_CUDA_KERNELS_EMBEDDING_CUH_

#include "cuda/kernels/row.cuh"

template <typename T>
struct embedding_arguments {
  const T *table;           // [table_rows, columns]
  const uint32_t *indices;  // [rows]
  T *y;                     // [rows, columns]
  uint64_t rows, columns;
  uint32_t runs;
  uint32_t first_row, table_rows;  // this part of the table
  uint32_t row_count;              // of the whole table
  bool accumulate;
};

template <typename T, int N, int K>
__global__ void __launch_bounds__(ROW_THREADS_MOST) embedding_kernel(embedding_arguments<T> a) {
  const uint64_t r = row_of_group();
  if (r >= a.rows) return;
  const uint32_t index = a.indices[r];
  const bool is_beyond = index >= a.row_count;
  if (!is_beyond && (index < a.first_row || index - a.first_row >= a.table_rows)) return;
  row_runs<T, N, K> x;
  row_load(x, a.table + (is_beyond ? 0 : index - a.first_row) * a.columns, a.runs);
  ROW_FOR_EACH_RUN(K, k, c, a.runs) {
    T *target = a.y + r * a.columns + (uint64_t)c * N;
    float values[N], before[N];
    row_get(x, k, c, values);
    if (a.accumulate) load_floats<N>(target, before);
#pragma unroll
    for (int e = 0; e < N; e++) {
      if (is_beyond) values[e] = __uint_as_float(0x7fc00000u);
      if (a.accumulate) values[e] += before[e];
    }
    store_floats<N>(target, values);
  }
}

#endif  // DURE_CUDA_KERNELS_EMBEDDING_CUH_
