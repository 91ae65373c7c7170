// matmul_q8 by matrix units: a product of 16 x 8 x 32 integers is exactly a block of k, whose dot products are then
// scaled and added in f32. The counterpart of shaders/matmul_q8_tile.comp.
//
// Tiles, warps, stages and the epilogue are matmul_mma.cuh's: two integers travel as one 16-bit value, so a step is two
// blocks of k, and ldmatrix leaves four integers a register, as the product wants them. The scales of the step, two a
// row, come beside: [a, b][block][TILE].
//
// An output costs 2 K FLOP on matrix units and K / 32 times three in f32 (subtraction, product of the scales,
// multiplication and addition): those bound the speed, at about the rate of products in bf16.
#ifndef DURE_CUDA_KERNELS_MATMUL_Q8_MMA_CUH_
#define DURE_CUDA_KERNELS_MATMUL_Q8_MMA_CUH_

#include "cuda/kernels/matmul_mma.cuh"
#include "cuda/kernels/matmul_q8.cuh"

struct matmul_q8_pair {
  uint16_t bits;
};

enum { MATMUL_Q8_STEP = 2 * MATMUL_MMA_K };  // integers of k

constexpr uint32_t matmul_q8_mma_shared_bytes(int tile) {
  return matmul_mma_shared_bytes(tile) + MATMUL_MMA_STAGES * 4 * tile * sizeof(float);
}

// Blocks a multiprocessor should hold at once. Two of 128 x 128 need 108 KiB of shared memory.
constexpr int matmul_q8_mma_blocks(int tile) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ != 800 && (__CUDA_ARCH__ < 900 || __CUDA_ARCH__ >= 1200)
  return tile == 128 ? 1 : 2;
#else
  return tile == 128 ? 2 : 4;
#endif
}

// The integers' way into shared memory is matmul_mma's, but that its chunks of 16 bytes are never cut. k_left: pairs.
template <int TILE>
struct matmul_q8_source : matmul_mma_source<matmul_q8_pair, TILE, true> {
  __device__ __forceinline__ void fetch(matmul_q8_pair *tile, uint64_t stride, int k_left) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      matmul_q8_pair *const place = tile + matmul_mma_place<TILE, true>(this->row() + i * this->ROWS, this->chunk());
      copy_async(place, this->next + i * this->ROWS * stride,
                 i * this->ROWS < this->lines_left && (int)this->chunk() * 8 < k_left);
    }
    this->next += MATMUL_MMA_K;
  }
};

// The scales' way into shared memory: the first half of the threads brings a row of a's each, the other one of b's;
// zeros where there is none, with zeros for integers beside.
template <int TILE>
struct matmul_q8_scales {
  const float *next;  // null where the row does not exist

  __device__ __forceinline__ void begin(const matmul_q8_arguments &p, const matmul_place &place) {
    const bool is_a = threadIdx.x < TILE;
    const uint32_t row = (is_a ? place.row : place.column) + threadIdx.x % TILE;
    next = row < (is_a ? p.o.M : p.o.N)
               ? (is_a ? p.a_scales : p.b_scales) + ((uint64_t)row * p.o.K + place.k) / MATMUL_Q8_BLOCK
               : nullptr;
  }
  __device__ __forceinline__ void fetch(float *shared, int blocks_left) {
    float *const at = shared + threadIdx.x / TILE * 2 * TILE + threadIdx.x % TILE;
    copy_async_word(at, next, next != nullptr);
    copy_async_word(at + TILE, next + 1, next != nullptr && blocks_left > 1);
    if (next != nullptr) next += 2;
  }
};

template <int TILE>
__device__ __forceinline__ void matmul_q8_mma_step(const matmul_q8_pair *tile_a, const matmul_q8_pair *tile_b,
                                                   const float *scales, uint32_t row, uint32_t column,
                                                   float (&sums)[TILE / 32][4][4]) {
  const uint32_t lane = threadIdx.x % WARP;
#pragma unroll 1
  for (uint32_t block = 0; block < 2; block++) {  // side by side they would need more registers than there are
    // 16 rows further down a tile a chunk's place is the same within its row.
    const uint32_t a_place = matmul_mma_place<TILE, true>(row + lane % 16, block * 2 + lane / 16);
    const uint32_t b_place = matmul_mma_place<TILE, true>(column + lane / 16 * 8 + lane % 8, block * 2 + lane / 8 % 2);
    uint32_t b[2][4];
    float2 b_scale[4];
#pragma unroll
    for (uint32_t j = 0; j < 2; j++) load_matrices(b[j], tile_b + b_place + 16 * j * MATMUL_MMA_K);
    const float *const a_scales = scales + block * TILE + row + lane / 4;
    const float *const b_scales = scales + (2 + block) * TILE + column + lane % 4 * 2;
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) b_scale[j] = *reinterpret_cast<const float2 *>(b_scales + 8 * j);
#pragma unroll
    for (uint32_t i = 0; i < TILE / 32; i++) {
      const float upper = a_scales[16 * i], lower = a_scales[16 * i + 8];
      uint32_t a[4];
      load_matrices(a, tile_a + a_place + 16 * i * MATMUL_MMA_K);
#pragma unroll
      for (uint32_t j = 0; j < 4; j++) {
        const uint32_t right[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
        int dots[4];
        matrix_multiply_integers(dots, a, right, MATMUL_Q8_BEGIN);
        sums[i][j][0] = fmaf(upper * b_scale[j].x, matmul_q8_dot(dots[0]), sums[i][j][0]);
        sums[i][j][1] = fmaf(upper * b_scale[j].y, matmul_q8_dot(dots[1]), sums[i][j][1]);
        sums[i][j][2] = fmaf(lower * b_scale[j].x, matmul_q8_dot(dots[2]), sums[i][j][2]);
        sums[i][j][3] = fmaf(lower * b_scale[j].y, matmul_q8_dot(dots[3]), sums[i][j][3]);
      }
    }
  }
}

// Grid: as matmul_mma_kernel's.
template <typename T, int TILE>
__global__ void __launch_bounds__(TILE * 2, matmul_q8_mma_blocks(TILE)) matmul_q8_mma_kernel(matmul_q8_arguments p) {
  enum { STAGES = MATMUL_MMA_STAGES, SIZE = TILE * MATMUL_MMA_K };
  CUDA_DYNAMIC_SHARED(matmul_q8_pair, tiles);                                  // [STAGES][a, b][SIZE]; then the sums
  float *const scales = reinterpret_cast<float *>(tiles + STAGES * 2 * SIZE);  // [STAGES][a, b][2][TILE]
  const matmul_arguments &o = p.o;
  const matmul_place place = matmul_place_of(o, TILE, TILE);
  const uint32_t warp = threadIdx.x / WARP, row = warp / (TILE / 32) * (TILE / 2), column = warp % (TILE / 32) * 32;
  matmul_q8_source<TILE> a, b;
  a.begin(static_cast<const matmul_q8_pair *>(o.a), o.K / 2, place.row, o.M, place.k / 2);
  b.begin(static_cast<const matmul_q8_pair *>(o.b), o.K / 2, place.column, o.N, place.k / 2);
  matmul_q8_scales<TILE> scale;
  scale.begin(p, place);
  float sums[TILE / 32][4][4] = {};

  const int steps = (int)((place.k_end - place.k + MATMUL_Q8_STEP - 1) / MATMUL_Q8_STEP);
  int k_left = (int)(place.k_end - place.k);  // of what is fetched
  uint32_t filled = 0, used = 0;              // stages
  for (int step = 1 - STAGES; step < steps; step++) {
    if (step >= 0) {
      copy_async_wait<STAGES - 2>();
      __syncthreads();
    }
    if (step + STAGES - 1 < steps) {
      matmul_q8_pair *const stage = tiles + filled * 2 * SIZE;
      a.fetch(stage, o.K / 2, k_left / 2);
      b.fetch(stage + SIZE, o.K / 2, k_left / 2);
      scale.fetch(scales + filled * 4 * TILE, k_left / MATMUL_Q8_BLOCK);
      k_left -= MATMUL_Q8_STEP;
      filled = filled + 1 < STAGES ? filled + 1 : 0;
    }
    copy_async_commit();
    if (step < 0) continue;
    const matmul_q8_pair *const stage = tiles + used * 2 * SIZE;
    matmul_q8_mma_step<TILE>(stage, stage + SIZE, scales + used * 4 * TILE, row, column, sums);
    used = used + 1 < STAGES ? used + 1 : 0;
  }
  copy_async_wait<0>();
  matmul_mma_finish<T, TILE>(o, place, reinterpret_cast<float *>(tiles), sums);
}

#endif  // DURE_CUDA_KERNELS_MATMUL_Q8_MMA_CUH_
