// Sums over rows, for each column: first of slabs of rows, side by side, then of the slabs' sums. Both stages add in a
// fixed order, and the slabs depend on the shape alone, so the bits are the same every time and on every GPU.
//
// A block of COLUMN_THREADS covers blockDim.x runs of columns (512 bytes of a row, if it has as many) in one slab; its
// blockDim.y rows of threads take the slab's rows in turns, COLUMN_STEPS of them loaded at a time.
//
// `Terms` holds the operands and says what is summed:
//   static const int outputs                                      how many sums a column has
//   template <int N> struct loaded
//   load(uint64_t r, uint64_t c, loaded<N> &x) const              row r, columns from c on
//   add(const loaded<N> &x, float (&sums)[outputs][N]) const
#ifndef DURE_CUDA_KERNELS_COLUMN_SUMS_CUH_
#define DURE_CUDA_KERNELS_COLUMN_SUMS_CUH_

#include "cuda/block.cuh"
#include "cuda/kernels/packed.cuh"
#include "cuda/record.cuh"

enum { COLUMN_THREADS = 256, COLUMN_STEPS = 4, COLUMN_OUTPUTS_MOST = 2, COLUMN_BLOCKS_WANTED = 528 };

template <typename Terms>
struct column_sums_arguments {
  Terms terms;
  uint64_t rows, columns, rows_per_slab;
  uint32_t runs;
  float *partials;                           // [outputs, slabs, columns]; null: one slab, whose sums are the results
  any_pointer results[COLUMN_OUTPUTS_MOST];  // [columns]
  bool accumulate[COLUMN_OUTPUTS_MOST];
};

__device__ __forceinline__ void column_store(any_pointer result, bool accumulate, uint64_t c, float sum) {
  store_any(result, c, accumulate ? load_any(result, c) + sum : sum);
}

template <typename Terms, int N>
__global__ void __launch_bounds__(COLUMN_THREADS) column_sums_kernel(column_sums_arguments<Terms> a) {
  __shared__ float shared[COLUMN_THREADS * N];  // [blockDim.y, blockDim.x * N]
  const uint32_t run = blockIdx.x * blockDim.x + threadIdx.x;
  const uint64_t begin = blockIdx.y * a.rows_per_slab;
  const uint64_t end = begin + a.rows_per_slab < a.rows ? begin + a.rows_per_slab : a.rows;
  const uint64_t c = (uint64_t)(run < a.runs ? run : a.runs - 1) * N;  // beyond the row: read, never stored
  float sums[Terms::outputs][N] = {};
  uint64_t r = begin + threadIdx.y;
  for (; r + (COLUMN_STEPS - 1) * blockDim.y < end; r += COLUMN_STEPS * blockDim.y) {
    typename Terms::template loaded<N> x[COLUMN_STEPS];
#pragma unroll
    for (int s = 0; s < COLUMN_STEPS; s++) a.terms.load(r + s * blockDim.y, c, x[s]);
#pragma unroll
    for (int s = 0; s < COLUMN_STEPS; s++) a.terms.add(x[s], sums);
  }
  for (; r < end; r += blockDim.y) {
    typename Terms::template loaded<N> x;
    a.terms.load(r, c, x);
    a.terms.add(x, sums);
  }

  const uint32_t width = blockDim.x * N, thread = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
  for (int o = 0; o < Terms::outputs; o++) {
    __syncthreads();
#pragma unroll
    for (int e = 0; e < N; e++) shared[threadIdx.y * width + threadIdx.x * N + e] = sums[o][e];
    __syncthreads();
    for (uint32_t i = thread; i < width; i += COLUMN_THREADS) {
      const uint64_t column = (uint64_t)blockIdx.x * width + i;
      if (column >= a.columns) continue;
      float sum = 0;
      for (uint32_t y = 0; y < blockDim.y; y++) sum += shared[y * width + i];
      if (a.partials != nullptr) {
        a.partials[((uint64_t)o * gridDim.y + blockIdx.y) * a.columns + column] = sum;
      } else {
        column_store(a.results[o], a.accumulate[o], column, sum);
      }
    }
  }
}

// ---- the second stage ----

struct column_totals_arguments {
  const float *partials;  // [outputs, slabs, columns]
  uint64_t columns;
  uint32_t slabs;
  any_pointer results[COLUMN_OUTPUTS_MOST];  // [columns]
  bool accumulate[COLUMN_OUTPUTS_MOST];
};

// A block: WARP columns of output blockIdx.y; its rows of threads take the slabs in turns.
static __global__ void __launch_bounds__(COLUMN_THREADS) column_totals_kernel(column_totals_arguments a) {
  __shared__ float shared[COLUMN_THREADS];
  const uint64_t column = (uint64_t)blockIdx.x * WARP + threadIdx.x;
  const uint64_t c = column < a.columns ? column : a.columns - 1;
  const float *partials = a.partials + (uint64_t)blockIdx.y * a.slabs * a.columns + c;
  float sum = 0;
#pragma unroll 8
  for (uint32_t slab = threadIdx.y; slab < a.slabs; slab += COLUMN_THREADS / WARP)
    sum += partials[(uint64_t)slab * a.columns];
  shared[threadIdx.y * WARP + threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || column >= a.columns) return;
  sum = 0;
  for (uint32_t y = 0; y < COLUMN_THREADS / WARP; y++) sum += shared[y * WARP + threadIdx.x];
  if (blockIdx.y == 0) column_store(a.results[0], a.accumulate[0], column, sum);  // indices known to the compiler
  if (blockIdx.y == 1) column_store(a.results[1], a.accumulate[1], column, sum);
}

// ---- recording ----

// How many slabs a sum over `rows` is made in: enough blocks for the largest GPUs, at least 64 rows each.
static inline uint64_t column_rows_per_slab(uint64_t rows, uint64_t columns) {
  const uint64_t blocks = cuda_ceil_divide(columns, COLUMN_THREADS);
  const uint64_t slabs = cuda_ceil_divide(COLUMN_BLOCKS_WANTED, blocks);
  const uint64_t each = cuda_ceil_divide(cuda_ceil_divide(rows, slabs), 8) * 8;
  return each > 64 ? each : 64;
}

static inline uint64_t column_workspace(uint64_t rows, uint64_t columns, uint64_t outputs) {
  const uint64_t slabs = cuda_ceil_divide(rows, column_rows_per_slab(rows, columns));
  return slabs > 1 ? outputs * slabs * columns * sizeof(float) : 0;
}

// Adds up the terms into the call's operands from `first_output` on. N: of a run, which the operands of the terms
// allow.
template <typename Terms, int N>
dure_status column_sums_record(dure_recording *recording, const dure_op_call *call, const Terms &terms, uint64_t rows,
                               uint64_t columns, uint32_t first_output) {
  column_sums_arguments<Terms> arguments = {};
  arguments.terms = terms;
  arguments.rows = rows;
  arguments.columns = columns;
  arguments.rows_per_slab = column_rows_per_slab(rows, columns);
  arguments.runs = (uint32_t)(columns / N);
  const uint32_t slabs = (uint32_t)cuda_ceil_divide(rows, arguments.rows_per_slab);
  column_totals_arguments totals = {};
  for (uint32_t o = 0; o < (uint32_t)Terms::outputs; o++) {
    const dure_operand *result = &call->operands[first_output + o];
    arguments.results[o] = totals.results[o] = any_pointer{cuda_address<void>(result), result->dtype};
    arguments.accumulate[o] = totals.accumulate[o] = cuda_accumulates(call, first_output + o);
  }
  if (slabs > 1) totals.partials = arguments.partials = cuda_address<float>(&call->workspace);
  totals.columns = columns;
  totals.slabs = slabs;
  uint32_t across = 1;  // runs of a block
  while (across < WARP && across < arguments.runs) across *= 2;
  DURE_TRY(cuda_record(recording, column_sums_kernel<Terms, N>,
                       dim3((uint32_t)cuda_ceil_divide(arguments.runs, across), slabs),
                       dim3(across, COLUMN_THREADS / across), 0, arguments));
  if (slabs <= 1) return NULL;
  return cuda_record(recording, column_totals_kernel,
                     dim3((uint32_t)cuda_ceil_divide(columns, WARP), (uint32_t)Terms::outputs),
                     dim3(WARP, COLUMN_THREADS / WARP), 0, totals);
}

#endif  // DURE_CUDA_KERNELS_COLUMN_SUMS_CUH_
