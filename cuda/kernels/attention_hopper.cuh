// What the kernels of attention for sm_90a share: tiles that bulk tensor copies bring, the barriers around them, which
// block does what, and the two kinds of product of a warpgroup. bf16 and f16; heads of a multiple of 8 elements up to
// HEAD (64, 80, 96, 128; forward 256 too), rows aligned to 16 bytes.
//
// A block is three warpgroups and stays on its multiprocessor, going from one piece of work (128 rows of one head) to
// the next. The first warpgroup's first warp starts the copies; the two others own 64 rows each and go through the
// other side's rows tile by tile:
//
//            others                                    columns of the head
//   64 rows [ scores = own . other, f32 registers ] --> [ sums += weights x other, f32 registers ]
//             own, other: shared memory                   weights: the scores' registers, rounded and packed
//
// Rows of a tile are 128 bytes (64 columns) swizzled; a head of more columns is several such parts, one after the
// other. Columns from D to the parts' end and rows from T on are zeros, by the copies; products go up to HEAD.
#ifndef DURE_CUDA_KERNELS_ATTENTION_HOPPER_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_HOPPER_CUH_

#include "cuda/hopper.cuh"
#include "cuda/kernels/attention_matrix.cuh"

enum {
  HOPPER_ROWS = 128,  // of a block
  HOPPER_STAGES = 2,
  HOPPER_CONSUMERS = 2,  // warpgroups
  HOPPER_THREADS = WARPGROUP * (1 + HOPPER_CONSUMERS),
  HOPPER_READERS = 4 * HOPPER_CONSUMERS,  // warps
  HOPPER_TURN = 1,                        // part barriers: the first consumer's turn; the second's is the next one
  HOPPER_VALUES = 3                       // both consumers
};

struct attention_hopper_arguments {
  tensor_map q, k, v, dy;  // in boxes of 64 columns of a head, of as many rows as the kernel's tiles
  attention_arguments common;
  uint32_t count;     // pieces of work
  uint32_t patience;  // of phase_barrier_wait(): 0 but in a test
};

// ROWS rows of a head in shared memory.
template <int HEAD, int ROWS>
struct hopper_tile {
  static constexpr int parts = (HEAD + 63) / 64;
  static constexpr uint32_t part_bytes = ROWS * 128, bytes = part_bytes * parts, elements = bytes / 2;
};

// Which tile of which head is this block's piece of work number `round`; every second round goes backwards through the
// blocks, so that none always has the longest. False: there is no such piece.
__device__ __forceinline__ bool hopper_place(const attention_hopper_arguments &a, uint32_t round,
                                             attention_place *out_place) {
  const uint32_t at = round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
  const uint64_t piece = (uint64_t)round * gridDim.x + at;
  const bool is_there = piece < a.count;
  *out_place = attention_place_at(a.common, is_there ? (uint32_t)piece : 0);
  return is_there;
}

// Counts tiles, whose places and phases follow from that.
struct hopper_stage {
  uint32_t number;
  __device__ __forceinline__ uint32_t at() const { return number % HOPPER_STAGES; }
  __device__ __forceinline__ uint32_t phase() const { return number / HOPPER_STAGES % 2; }
};

// ---- tiles -------------------------------------------------------------------------------------------------------

// The dynamic shared memory, as tiles want it.
__device__ __forceinline__ uint16_t *hopper_tiles(unsigned char *memory) {
  return reinterpret_cast<uint16_t *>(memory + (0u - shared_address(memory)) % 1024);
}

// Starts copying a tile, whose bytes the barrier expects.
template <int HEAD, int ROWS>
__device__ __forceinline__ void hopper_copy(uint16_t *tile, const tensor_map *map, uint64_t *full, uint32_t row,
                                            uint32_t head, uint32_t b) {
#pragma unroll
  for (int part = 0; part < hopper_tile<HEAD, ROWS>::parts; part++)
    tensor_copy(tile + part * ROWS * 64, map, full, 64 * part, head, row, b);
}

// A warp has read the tile that the barrier guards.
__device__ __forceinline__ void hopper_release(uint64_t *free) {
  __syncwarp();
  if (threadIdx.x % WARP == 0) phase_barrier_arrive(free);
}

// Whether `bytes` of tiles hold values that are not finite; both consumers together, who then go on without them. Both
// have made what they make with these values before.
template <typename T>
__device__ __forceinline__ bool hopper_clear_infinite(uint16_t *tile, uint32_t bytes) {
  constexpr uint32_t threads = HOPPER_CONSUMERS * WARPGROUP;
  uint4 *const chunks = reinterpret_cast<uint4 *>(tile);
  bool found = false;
#pragma unroll 1
  for (uint32_t pass = 0; pass < 2; pass++) {
#pragma unroll 1
    for (uint32_t i = computed_here(threadIdx.x) - WARPGROUP; i < bytes / 16; i += threads) {
      uint32_t *const words = reinterpret_cast<uint32_t *>(chunks + i);
      for (int w = 0; w < 4; w++) {
        const uint32_t word = words[w];
        const bool low = matrix_is_infinite<T>(word), high = matrix_is_infinite<T>(word >> 16);
        found = found || low || high;
        if (pass > 0 && (low || high)) words[w] = word & ((low ? 0 : 0xffffu) | (high ? 0 : 0xffff0000u));
      }
    }
    if (pass == 0 && !part_barrier_or(HOPPER_VALUES, threads, found)) return false;
  }
  shared_stores_visible();
  part_barrier_sync(HOPPER_VALUES, threads);
  return true;
}

// ---- products ----------------------------------------------------------------------------------------------------

// Of a tile of ROWS rows, from a multiple of 8 rows on.
template <int ROWS>
__device__ __forceinline__ uint64_t hopper_descriptor(const uint16_t *tile) {
  return matrix_descriptor(tile, ROWS * 128, 8 * 128);
}

// Starts scores = own rows . others: `own` in a tile of HOPPER_ROWS rows, `others` one of OTHERS.
template <typename T, int HEAD, int OTHERS>
__device__ __forceinline__ void hopper_scores(float (&scores)[1][OTHERS / 8][4], uint64_t own, uint64_t others) {
#pragma unroll
  for (int d = 0; d < HEAD; d += 16) {
    warpgroup_multiply<T, OTHERS>(scores[0], matrix_descriptor_at(own, d / 64 * HOPPER_ROWS * 128 + d % 64 * 2),
                                  matrix_descriptor_at(others, d / 64 * OTHERS * 128 + d % 64 * 2), d > 0);
  }
  warpgroup_commit();
}

// Starts sums += weights x others.
template <typename T, int HEAD, int OTHERS>
__device__ __forceinline__ void hopper_add_sums(float (&sums)[1][HEAD / 8][4],
                                                const uint32_t (&weights)[OTHERS / 16][4], uint64_t others) {
#pragma unroll
  for (int j = 0; j < OTHERS / 16; j++)
    warpgroup_multiply_across<T, HEAD>(sums[0], weights[j], matrix_descriptor_at(others, j * 16 * 128));
  warpgroup_commit();
}

// Weights as left operands.
template <typename T, int OTHERS>
__device__ __forceinline__ void hopper_pack(uint32_t (&packed)[OTHERS / 16][4],
                                            const float (&weights)[1][OTHERS / 8][4]) {
#pragma unroll
  for (int j = 0; j < OTHERS / 16; j++) {
#pragma unroll
    for (int i = 0; i < 4; i++)
      packed[j][i] = pack_two<T>(weights[0][2 * j + i / 2][i % 2 * 2], weights[0][2 * j + i / 2][i % 2 * 2 + 1]);
  }
}

// ---- stores ------------------------------------------------------------------------------------------------------

// Writes rows row0 and row0 + 8 before `past`, times a factor of each; the four lanes of a row trade words so that each
// stores 16 bytes at a time. `out`: the head at position 0.
template <typename T, int TILES>
__device__ __forceinline__ void hopper_store(T *out, uint64_t out_stride, uint32_t row0, uint32_t past, uint32_t D,
                                             const float (&sums)[1][TILES][4], float factor0, float factor8) {
  const uint32_t lane = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint32_t t = row0 + 8 * half;
    const float factor = half == 0 ? factor0 : factor8;
    T *const row = out + (uint64_t)t * out_stride;
#pragma unroll
    for (int n = 0; n < TILES; n += 4) {
      uint32_t w[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        w[i] = n + i < TILES ? pack_two<T>(sums[0][min(n + i, TILES - 1)][2 * half] * factor,
                                           sums[0][min(n + i, TILES - 1)][2 * half + 1] * factor)
                             : 0;
      }
#pragma unroll
      for (int bit = 2; bit > 0; bit /= 2) {  // lane i gets word i of all four
        const bool is_upper = (lane & bit) != 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
          if ((i & bit) != 0) continue;
          const uint32_t theirs = __shfl_xor_sync(0xffffffffu, is_upper ? w[i] : w[i | bit], bit);
          w[i] = is_upper ? theirs : w[i];
          w[i | bit] = is_upper ? w[i | bit] : theirs;
        }
      }
      const uint32_t d = 8 * (n + lane);
      if (t < past && d < D) store_whole(reinterpret_cast<uint4 *>(row + d), make_uint4(w[0], w[1], w[2], w[3]));
    }
  }
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_HOPPER_CUH_
