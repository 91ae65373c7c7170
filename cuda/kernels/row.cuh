// Kernels that work on rows of `columns` elements: a group of threads a row, sums over the group, and rows kept in
// registers so that memory is read once.
//
// blockDim.x threads (a power of two up to 32, or whole warps) share a row; blockDim.y rows share a block, more than
// one only where a row has no more than one warp. Thread x has the runs x, x + blockDim.x, ... of N elements. K > 0: at
// most K of them, kept as they lie in memory (16 bytes each); K = 0: any number, loaded again each time.
#ifndef DURE_CUDA_KERNELS_ROW_CUH_
#define DURE_CUDA_KERNELS_ROW_CUH_

#include "cuda/block.cuh"
#include "cuda/kernels/packed.cuh"
#include "cuda/record.cuh"

enum { ROW_RUNS_KEPT = 4, ROW_THREADS_MOST = 512, ROW_WARPS_MOST = ROW_THREADS_MOST / WARP, ROW_BLOCK = 128 };

// x[m] becomes its sum over the group, in a fixed order. `scratch`: M * ROW_WARPS_MOST floats of shared memory, used by
// nothing else. All threads of the block take part.
template <int M>
__device__ __forceinline__ void row_sums(float (&x)[M], float *scratch) {
#pragma unroll
  for (int offset = WARP / 2; offset > 0; offset /= 2) {
    if (offset >= (int)blockDim.x) continue;
#pragma unroll
    for (int m = 0; m < M; m++) x[m] += __shfl_xor_sync(0xffffffffu, x[m], offset);
  }
  if (blockDim.x <= WARP) return;
  const int warps = (int)blockDim.x / WARP, warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
  __syncthreads();
#pragma unroll
  for (int m = 0; m < M; m++) {
    if (lane == 0) scratch[m * ROW_WARPS_MOST + warp] = x[m];
    x[m] = 0;
  }
  __syncthreads();
  for (int i = 0; i < warps; i++) {
#pragma unroll
    for (int m = 0; m < M; m++) x[m] += scratch[m * ROW_WARPS_MOST + i];
  }
}

__device__ __forceinline__ float row_sum(float x, float *scratch) {
  float sums[1] = {x};
  row_sums(sums, scratch);
  return sums[0];
}

__device__ __forceinline__ float row_maximum(float x, float *scratch) {
#pragma unroll
  for (int offset = WARP / 2; offset > 0; offset /= 2) {
    if (offset < (int)blockDim.x) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  }
  if (blockDim.x <= WARP) return x;
  const int warps = (int)blockDim.x / WARP, warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
  __syncthreads();
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  float largest = scratch[0];
  for (int i = 1; i < warps; i++) largest = fmaxf(largest, scratch[i]);
  return largest;
}

// The row of this thread's group; `rows` or more where there is none. Every thread stays for the sums over its warp:
// groups without a row work on the last one and store nothing.
__device__ __forceinline__ uint64_t row_of_group() { return (uint64_t)blockIdx.x * blockDim.y + threadIdx.y; }

// Statements for each run of the thread: its number k, and c among the row's `runs`.
#define ROW_FOR_EACH_RUN(K, k, c, runs)                                                             \
  _Pragma("unroll") for (uint32_t k = 0, c = threadIdx.x; (K) > 0 ? k < (uint32_t)(K) : c < (runs); \
                         k++, c += blockDim.x) if ((K) == 0 || c < (runs))

template <typename T, int N, int K>
struct row_runs {
  const T *row;
  packed<T, N> kept[K > 0 ? K : 1];
};

template <typename T, int N, int K>
__device__ __forceinline__ void row_load(row_runs<T, N, K> &x, const T *row, uint32_t runs) {
  x.row = row;
  if constexpr (K > 0) {
    ROW_FOR_EACH_RUN(K, k, c, runs) x.kept[k] = load_packed<N>(row + (uint64_t)c * N);
  }
}

template <typename T, int N, int K>
__device__ __forceinline__ void row_get(const row_runs<T, N, K> &x, uint32_t k, uint32_t c, float (&values)[N]) {
  unpack(K > 0 ? x.kept[K > 0 ? k : 0] : load_packed<N>(x.row + (uint64_t)c * N), values);
}

// N values of a parameter of the row's width, or `otherwise` where it is absent.
template <int N, typename T>
__device__ __forceinline__ void row_parameter(const T *parameter, uint32_t c, float otherwise, float (&values)[N]) {
  if (parameter != nullptr) {
    load_floats<N>(parameter + (uint64_t)c * N, values);
  } else {
#pragma unroll
    for (int e = 0; e < N; e++) values[e] = otherwise;
  }
}

// How a kernel over rows is launched.
struct row_launch {
  dim3 grid, block;
  uint32_t runs;    // of a row
  bool keeps_runs;  // rows fit into registers: K = ROW_RUNS_KEPT, else K = 0
};

static inline row_launch row_launch_of(uint64_t rows, uint64_t columns, uint32_t run) {
  row_launch launch;
  launch.runs = (uint32_t)(columns / run);
  const uint64_t wanted = cuda_ceil_divide(launch.runs, ROW_RUNS_KEPT);
  uint32_t threads = 1;
  while (threads < WARP && threads < wanted) threads *= 2;
  if (wanted > WARP) threads = (uint32_t)(cuda_ceil_divide(wanted, WARP) * WARP);
  if (threads > ROW_THREADS_MOST) threads = ROW_THREADS_MOST;
  launch.keeps_runs = run > 1 && wanted <= threads;
  const uint32_t group = threads <= WARP ? ROW_BLOCK / threads : 1;
  launch.block = dim3(threads, group);
  launch.grid = cuda_grid(rows, group);
  return launch;
}

// Records the kernel's variant for rows in runs of `run` (of 16 bytes, or 1). A macro, since `kernel` is a template.
#define ROW_RECORD(recording, kernel, T, run, launch, arguments)                                                  \
  do {                                                                                                            \
    constexpr int longest = 16 / (int)sizeof(T);                                                                  \
    const row_launch &how = (launch);                                                                             \
    if ((run) == 1) return cuda_record(recording, kernel<T, 1, 0>, how.grid, how.block, 0, arguments);            \
    if (!how.keeps_runs) return cuda_record(recording, kernel<T, longest, 0>, how.grid, how.block, 0, arguments); \
    return cuda_record(recording, kernel<T, longest, ROW_RUNS_KEPT>, how.grid, how.block, 0, arguments);          \
  } while (0)

// The run for ROW_RECORD: 16 bytes if all the operands, all of type T, allow it; else 1.
template <typename T>
static uint32_t row_run_of(const dure_operand *const *operands, size_t count, uint64_t columns) {
  constexpr uint32_t longest = 16 / sizeof(T);
  if (columns % longest != 0) return 1;
  for (size_t i = 0; i < count; i++) {
    if (dure_operand_is_present(operands[i]) && operands[i]->offset % 16 != 0) return 1;
  }
  return longest;
}

#endif  // DURE_CUDA_KERNELS_ROW_CUH_
