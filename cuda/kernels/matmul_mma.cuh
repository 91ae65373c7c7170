// matmul by matrix units (mma.sync): T bf16 (sm_80 and later) or f16 (sm_75 and later), products exact, sums f32; any
// size, stride, offset and transposition. The counterpart of shaders/matmul_cooperative.comp.
//
// A block computes TILE x TILE of c, TILE_K = 32 values of k at a time; STAGES tiles of a and b are on their way into
// shared memory by asynchronous copies while one is multiplied: one barrier a step. Warps, 2 down and TILE / 32 across,
// own TILE / 2 x 32 each, as blocks of 16 x 8:
//
//        +---------+---------+---------+---------+      a step of 16 values of k, TILE 128: a warp reads 4 blocks of a
//        | warp 0  | warp 1  | warp 2  | warp 3  |      (16 x 16) and 4 of b (16 x 8) by ldmatrix, 3 KiB, for 16
//   64   | 64 x 32 |         |         |         |      products of 16 x 8 x 16 (65536 FLOP: 21 FLOP a byte)
//        +---------+---------+---------+---------+
//        | warp 4  | ..                          |      2 K FLOP an output, 2 K / TILE elements read an output
//        +---------+---------+---------+---------+
//
// Tiles lie in shared memory as in memory, in chunks of 16 bytes, transposed when they are read into registers:
//   along k          [line][4 chunks], the chunk's place XORed with line / 2: 8 lines of a chunk lie in 8 bank groups
//   along the lines  [k][TILE / 8 chunks], XORed with k
// Chunks that are cut by an edge, or lie at no multiple of 16 bytes, are brought element by element.
//
// At the end a half of the tile at a time passes through shared memory, so that the epilogue reads and writes rows.
#ifndef DURE_CUDA_KERNELS_MATMUL_MMA_CUH_
#define DURE_CUDA_KERNELS_MATMUL_MMA_CUH_

#include "cuda/block.cuh"
#include "cuda/instructions.cuh"
#include "cuda/kernels/matmul.cuh"

enum { MATMUL_MMA_K = 32, MATMUL_MMA_STAGES = 3 };

constexpr uint32_t matmul_mma_threads(int tile) { return (uint32_t)tile * 2; }
constexpr uint32_t matmul_mma_shared_bytes(int tile) { return MATMUL_MMA_STAGES * 2 * tile * MATMUL_MMA_K * 2; }
// Blocks a multiprocessor should hold at once, for which registers must suffice. The 64 KiB of shared memory of sm_75
// hold one of 128 x 128.
constexpr int matmul_mma_blocks(int tile) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  return tile == 128 ? 1 : 2;
#else
  return tile == 128 ? 2 : 4;
#endif
}

// Where chunk `chunk` of a line (along k), or of a value of k, lies in a tile; elements.
template <int TILE, bool ALONG_K>
__device__ __forceinline__ uint32_t matmul_mma_place(uint32_t row, uint32_t chunk) {
  return ALONG_K ? (row * (MATMUL_MMA_K / 8) + (chunk ^ (row >> 1 & 3))) * 8
                 : (row * (TILE / 8) + (chunk ^ (row & 7))) * 8;
}

// `left` of 8 elements, the others 0, one by one.
template <typename T>
__device__ __forceinline__ void matmul_mma_gather(T *shared, const T *line, int left) {
  uint32_t pairs[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const uint32_t low = 2 * i < left ? line[2 * i].bits : 0, high = 2 * i + 1 < left ? line[2 * i + 1].bits : 0;
    pairs[i] = low | high << 16;
  }
  *reinterpret_cast<uint4 *>(shared) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

// One operand's way into shared memory, two chunks a thread; rows of op(a), or columns of op(b), are its lines.
template <typename T, int TILE, bool ALONG_K>
struct matmul_mma_source {
  enum {
    THREADS = TILE * 2,
    ROW_CHUNKS = ALONG_K ? MATMUL_MMA_K / 8 : TILE / 8,  // of a row as stored
    ROWS = THREADS / ROW_CHUNKS,                         // from a thread's first chunk to its second
  };
  const T *next;
  int lines_left;  // from the thread's first line on

  __device__ __forceinline__ static uint32_t row() { return threadIdx.x / ROW_CHUNKS; }
  __device__ __forceinline__ static uint32_t chunk() { return threadIdx.x % ROW_CHUNKS; }
  __device__ __forceinline__ void begin(const T *first, uint64_t stride, uint32_t first_line, uint32_t lines,
                                        uint32_t first_k) {
    const uint64_t line = first_line + (ALONG_K ? row() : chunk() * 8), k = first_k + (ALONG_K ? chunk() * 8 : row());
    lines_left = (int)((int64_t)lines - (int64_t)line);
    next = first + (ALONG_K ? line * stride + k : k * stride + line);
  }
  // k_left: values of k from the tile's first on.
  __device__ __forceinline__ void fetch(T *tile, uint64_t stride, bool in_lines, int k_left) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      T *const place = tile + matmul_mma_place<TILE, ALONG_K>(row() + i * ROWS, chunk());
      const T *const source = next + i * ROWS * stride;
      const bool row_exists = ALONG_K ? i * ROWS < lines_left : (int)row() + i * ROWS < k_left;
      const int left = !row_exists ? 0 : ALONG_K ? k_left - (int)chunk() * 8 : lines_left;
      if (in_lines && (left <= 0 || left >= 8)) {  // copies want an aligned address even where they bring zeros
        copy_async(place, source, left > 0);
      } else {
        matmul_mma_gather(place, source, left);
      }
    }
    next += ALONG_K ? (uint64_t)MATMUL_MMA_K : MATMUL_MMA_K * stride;
  }
};

// The fragments of 16 values of k (the step's first or second): of 16 rows of a from `first` on, ...
template <typename T, int TILE, bool ALONG_K>
__device__ __forceinline__ void matmul_mma_load_a(uint32_t (&a)[4], const T *tile, uint32_t first, uint32_t half) {
  const uint32_t lane = threadIdx.x % WARP, quarter = lane / 8;
  if (ALONG_K) {
    load_matrices(a, tile + matmul_mma_place<TILE, true>(first + lane % 16, half * 2 + lane / 16));
  } else {
    const uint32_t k = half * 16 + quarter / 2 * 8 + lane % 8;
    load_matrices_transposed(a, tile + matmul_mma_place<TILE, false>(k, first / 8 + quarter % 2));
  }
}
// ... and of 16 columns of b: two blocks of 8.
template <typename T, int TILE, bool ALONG_K>
__device__ __forceinline__ void matmul_mma_load_b(uint32_t (&b)[4], const T *tile, uint32_t first, uint32_t half) {
  const uint32_t lane = threadIdx.x % WARP, quarter = lane / 8;
  if (ALONG_K) {
    const uint32_t line = first + quarter / 2 * 8 + lane % 8;
    load_matrices(b, tile + matmul_mma_place<TILE, true>(line, half * 2 + quarter % 2));
  } else {
    const uint32_t k = half * 16 + quarter % 2 * 8 + lane % 8;
    load_matrices_transposed(b, tile + matmul_mma_place<TILE, false>(k, first / 8 + quarter / 2));
  }
}

// A warp's sums: ROW_BLOCKS x 4 blocks of 16 x 8 from (row, column) of the tile on.
template <typename T, int TILE, bool A_ALONG_K, bool B_ALONG_K>
__device__ __forceinline__ void matmul_mma_step(const T *tile_a, const T *tile_b, uint32_t row, uint32_t column,
                                                float (&sums)[TILE / 32][4][4]) {
#pragma unroll
  for (uint32_t half = 0; half < 2; half++) {
    uint32_t a[TILE / 32][4], b[2][4];
#pragma unroll
    for (uint32_t i = 0; i < TILE / 32; i++) matmul_mma_load_a<T, TILE, A_ALONG_K>(a[i], tile_a, row + 16 * i, half);
#pragma unroll
    for (uint32_t j = 0; j < 2; j++) matmul_mma_load_b<T, TILE, B_ALONG_K>(b[j], tile_b, column + 16 * j, half);
#pragma unroll
    for (uint32_t i = 0; i < TILE / 32; i++) {
#pragma unroll
      for (uint32_t j = 0; j < 4; j++) {
        const uint32_t block[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
        matrix_multiply<T>(sums[i][j], a[i], block);
      }
    }
  }
}

// The epilogue: each row of warps in turn leaves its sums in shared memory, and all threads finish them by rows.
template <typename T, int TILE>
__device__ __forceinline__ void matmul_mma_finish(const matmul_arguments &o, const matmul_place &place, float *shared,
                                                  const float (&sums)[TILE / 32][4][4]) {
  enum { PITCH = TILE + 8, ROWS = TILE / 2, THREADS = TILE * 2 };
  const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, column = warp % (TILE / 32) * 32;
  for (uint32_t half = 0; half < 2; half++) {
    __syncthreads();
    if (warp / (TILE / 32) == half) {
#pragma unroll
      for (uint32_t i = 0; i < TILE / 32; i++) {
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) {
          float *const at = shared + (16 * i + lane / 4) * PITCH + column + 8 * j + lane % 4 * 2;
          *reinterpret_cast<float2 *>(at) = make_float2(sums[i][j][0], sums[i][j][1]);
          *reinterpret_cast<float2 *>(at + 8 * PITCH) = make_float2(sums[i][j][2], sums[i][j][3]);
        }
      }
    }
    __syncthreads();
#pragma unroll 1
    for (uint32_t four = threadIdx.x; four < ROWS * TILE / 4; four += THREADS) {
      const uint32_t row = four / (TILE / 4), x = four % (TILE / 4) * 4;
      matmul_finish<T>(o, place.batch, place.row + half * ROWS + row, place.column + x,
                       load_four(shared + row * PITCH + x));
    }
  }
}

template <typename T, int TILE, bool TRANSPOSE_A, bool TRANSPOSE_B>
__global__ void __launch_bounds__(TILE * 2, matmul_mma_blocks(TILE)) matmul_mma_kernel(matmul_arguments o) {
  enum { STAGES = MATMUL_MMA_STAGES, SIZE = TILE * MATMUL_MMA_K };
  CUDA_DYNAMIC_SHARED(T, tiles);  // [STAGES][a, b][SIZE]; then the sums
  const matmul_place place = matmul_place_of(o, TILE, TILE);
  const uint32_t warp = threadIdx.x / WARP, row = warp / (TILE / 32) * (TILE / 2), column = warp % (TILE / 32) * 32;
  matmul_mma_source<T, TILE, !TRANSPOSE_A> a;
  matmul_mma_source<T, TILE, TRANSPOSE_B> b;
  a.begin(static_cast<const T *>(o.a) + place.batch * o.a_batch, o.a_stride, place.row, o.M, place.k);
  b.begin(static_cast<const T *>(o.b) + place.batch * o.b_batch, o.b_stride, place.column, o.N, place.k);
  float sums[TILE / 32][4][4] = {};

  const int steps = (int)((place.k_end - place.k + MATMUL_MMA_K - 1) / MATMUL_MMA_K);
  int k_left = (int)(place.k_end - place.k);  // of what is fetched
  uint32_t filled = 0, used = 0;              // stages
  for (int step = 1 - STAGES; step < steps; step++) {
    if (step >= 0) {
      copy_async_wait<STAGES - 2>();
      __syncthreads();
    }
    if (step + STAGES - 1 < steps) {
      T *const stage = tiles + filled * 2 * SIZE;
      a.fetch(stage, o.a_stride, (o.flags & MATMUL_A_IN_LINES) != 0, k_left);
      b.fetch(stage + SIZE, o.b_stride, (o.flags & MATMUL_B_IN_LINES) != 0, k_left);
      k_left -= MATMUL_MMA_K;
      filled = filled + 1 < STAGES ? filled + 1 : 0;
    }
    copy_async_commit();
    if (step < 0) continue;
    const T *const stage = tiles + used * 2 * SIZE;
    // A transposed a needs more places than there are registers to keep them in.
    const uint32_t first_row = TRANSPOSE_A ? computed_here(row) : row;
    matmul_mma_step<T, TILE, !TRANSPOSE_A, TRANSPOSE_B>(stage, stage + SIZE, first_row, column, sums);
    used = used + 1 < STAGES ? used + 1 : 0;
  }
  copy_async_wait<0>();
  matmul_mma_finish<T, TILE>(o, place, reinterpret_cast<float *>(tiles), sums);
}

#endif  // DURE_CUDA_KERNELS_MATMUL_MMA_CUH_
