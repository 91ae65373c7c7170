// attention on sm_90a (Shah et al. 2024, FlashAttention-3, sections 3.1 and 3.2; here bf16 and f16 only): heads of a
// multiple of 8 elements up to HEAD (64, 128), rows aligned to 16 bytes.
//
// A block is three warpgroups and stays on its multiprocessor, going from one piece of work (128 queries of one head)
// to the next. One thread of the first warpgroup starts bulk tensor copies; the others own 64 queries each:
//
//   producer   q | k0 v0 k1 v1 k2 ..   into two tiles of 128 keys and two of values, each with a barrier that says it
//                                      is full and one that says it is free
//   consumer   scores(n + 1) = q . k(n + 1)    started, then    result += p(n) v(n)    started;
//              softmax of scores(n + 1) while the second one goes on; result rescaled; p(n + 1) packed
//
// and the two consumers take turns at starting products, so that one's softmax goes on beside the other's products.
// Scores and results stay in registers; p is a left operand as it lies there. Rows of a tile are 128 bytes (64 columns)
// swizzled, a head of 128 is two such tiles beside each other. Columns from D to HEAD and rows from T on are zeros, by
// the copies. Tiles that no query of the block sees are not visited; those on an edge look at each pair, and have
// values that are not finite taken out as in attention_matrix.cuh.
//
// 4 HEAD FLOP a pair. A tile: 4 HEAD x 128 x 128 FLOP for 512 HEAD bytes from L2. Shared memory: 128 x 2 HEAD x 5
// bytes; registers: results HEAD / 2, scores 64 and p 32 a thread; one block a multiprocessor. Not yet measured on
// hardware.
#ifndef DURE_CUDA_KERNELS_ATTENTION_FORWARD_HOPPER_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_FORWARD_HOPPER_CUH_

#include "cuda/hopper.cuh"
#include "cuda/kernels/attention_forward_matrix.cuh"

enum {
  HOPPER_ROWS = 128,  // queries of a block
  HOPPER_KEYS = 128,  // of a tile
  HOPPER_STAGES = 2,
  HOPPER_CONSUMERS = 2,  // warpgroups
  HOPPER_THREADS = WARPGROUP * (1 + HOPPER_CONSUMERS),
  HOPPER_TURN = 1,   // part barriers: the first consumer's turn; the second's is the next one
  HOPPER_VALUES = 3  // both consumers
};

struct attention_hopper_arguments {
  tensor_map q, k, v;  // in boxes of 64 columns of 128 rows of a head
  attention_arguments common;
  uint32_t count;  // pieces of work
};

template <int HEAD>
struct hopper_forward {
  static constexpr int columns = HEAD / 64;                            // tiles of 64 columns beside each other
  static constexpr uint32_t tile_bytes = HOPPER_KEYS * 128 * columns;  // as of queries
  static constexpr size_t shared_bytes = tile_bytes * (1 + 2 * HOPPER_STAGES) + 1024;  // 1024: to align them
};

// Complete when: queries, keys or values have come; they have been read by the consumers' 8 warps.
struct hopper_barriers {
  uint64_t q_full, q_free, k_full[HOPPER_STAGES], k_free[HOPPER_STAGES], v_full[HOPPER_STAGES], v_free[HOPPER_STAGES];
};

__device__ __forceinline__ void hopper_barriers_make(hopper_barriers *barriers) {
  enum { READERS = 4 * HOPPER_CONSUMERS };
  phase_barrier_init(&barriers->q_full, 1);
  phase_barrier_init(&barriers->q_free, READERS);
  for (int s = 0; s < HOPPER_STAGES; s++) {
    phase_barrier_init(&barriers->k_full[s], 1);
    phase_barrier_init(&barriers->k_free[s], READERS);
    phase_barrier_init(&barriers->v_full[s], 1);
    phase_barrier_init(&barriers->v_free[s], READERS);
  }
  phase_barriers_made();
}

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

// The queries of a piece of work, and the keys that any of them sees.
struct hopper_range {
  uint32_t t0, past, first_key, begin_of_last;  // keys [first_key, past); the last query's begin at begin_of_last
};
__device__ __forceinline__ hopper_range hopper_range_of(const attention_arguments &a, const attention_place &place) {
  const uint32_t t0 = a.first_row + (a.tiles - 1 - place.tile) * HOPPER_ROWS;  // the longest rows first
  const uint32_t past = min(t0 + HOPPER_ROWS, a.end_row);
  return hopper_range{t0, past, first_key(a, place.b, t0), first_key(a, place.b, past - 1)};
}

// Counts tiles, whose places and phases follow from that.
struct hopper_stage {
  uint32_t number;
  __device__ __forceinline__ uint32_t at() const { return number % HOPPER_STAGES; }
  __device__ __forceinline__ uint32_t phase() const { return number / HOPPER_STAGES % 2; }
};

// ---- producer
// --------------------------------------------------------------------------------------------------------

template <int HEAD>
__device__ __forceinline__ void hopper_copy(uint16_t *tile, const tensor_map *map, uint64_t *full, uint32_t row,
                                            uint32_t head, uint32_t b) {
  phase_barrier_expect(full, hopper_forward<HEAD>::tile_bytes);
#pragma unroll
  for (int c = 0; c < hopper_forward<HEAD>::columns; c++)
    tensor_copy(tile + c * HOPPER_KEYS * 64, map, full, 64 * c, head, row, b);
}

// By one thread.
template <int HEAD>
__device__ __forceinline__ void hopper_produce(const attention_hopper_arguments &a, hopper_barriers *barriers,
                                               uint16_t *tiles) {
  constexpr uint32_t tile = hopper_forward<HEAD>::tile_bytes / 2;  // elements
  const attention_arguments &c = a.common;
  tensor_map_prefetch(&a.q);
  tensor_map_prefetch(&a.k);
  tensor_map_prefetch(&a.v);
  hopper_stage stage = {0};
  attention_place place;
  for (uint32_t round = 0; hopper_place(a, round, &place); round++) {
    const hopper_range range = hopper_range_of(c, place);
    const uint32_t g = place.head / (c.H / c.G);
    phase_barrier_wait(&barriers->q_free, (round + 1) % 2);
    hopper_copy<HEAD>(tiles, &a.q, &barriers->q_full, range.t0, place.head, place.b);
    for (uint32_t key0 = range.first_key; key0 < range.past; key0 += HOPPER_KEYS, stage.number++) {
      const uint32_t s = stage.at();
      phase_barrier_wait(&barriers->k_free[s], stage.phase() ^ 1);
      hopper_copy<HEAD>(tiles + (1 + s) * tile, &a.k, &barriers->k_full[s], key0, g, place.b);
      phase_barrier_wait(&barriers->v_free[s], stage.phase() ^ 1);
      hopper_copy<HEAD>(tiles + (1 + HOPPER_STAGES + s) * tile, &a.v, &barriers->v_full[s], key0, g, place.b);
    }
  }
}

// ---- consumers
// -------------------------------------------------------------------------------------------------------

// A warp has read the tile that the barrier guards.
__device__ __forceinline__ void hopper_release(uint64_t *free) {
  __syncwarp();
  if (threadIdx.x % WARP == 0) phase_barrier_arrive(free);
}

// Starts scores = own queries . keys.
template <typename T, int HEAD>
__device__ __forceinline__ void hopper_scores(float (&scores)[1][HOPPER_KEYS / 8][4], uint64_t q, uint64_t k) {
#pragma unroll
  for (int d = 0; d < HEAD; d += 16) {
    const uint32_t at = d / 64 * HOPPER_KEYS * 128 + d % 64 * 2;
    warpgroup_multiply<T, HOPPER_KEYS>(scores[0], matrix_descriptor_at(q, at), matrix_descriptor_at(k, at), d > 0);
  }
  warpgroup_commit();
}

// Starts result += p values.
template <typename T, int HEAD>
__device__ __forceinline__ void hopper_add_values(float (&result)[1][HEAD / 8][4],
                                                  const uint32_t (&p)[HOPPER_KEYS / 16][4], uint64_t v) {
#pragma unroll
  for (int j = 0; j < HOPPER_KEYS / 16; j++)
    warpgroup_multiply_across<T, HEAD>(result[0], p[j], matrix_descriptor_at(v, j * 16 * 128));
  warpgroup_commit();
}

// p, packed, of exponentials.
template <typename T>
__device__ __forceinline__ void hopper_pack(uint32_t (&p)[HOPPER_KEYS / 16][4],
                                            const float (&scores)[1][HOPPER_KEYS / 8][4]) {
#pragma unroll
  for (int j = 0; j < HOPPER_KEYS / 16; j++) {
#pragma unroll
    for (int i = 0; i < 4; i++)
      p[j][i] = pack_two<T>(scores[0][2 * j + i / 2][i % 2 * 2], scores[0][2 * j + i / 2][i % 2 * 2 + 1]);
  }
}

// Whether the tile of values holds any that are not finite; both consumers together, who then go on without them.
template <typename T, int HEAD>
__device__ __forceinline__ bool hopper_clear_infinite(uint16_t *tile) {
  constexpr uint32_t threads = HOPPER_CONSUMERS * WARPGROUP;
  uint4 *const chunks = reinterpret_cast<uint4 *>(tile);
  bool found = false;
#pragma unroll 1
  for (uint32_t pass = 0; pass < 2; pass++) {
#pragma unroll 1
    for (uint32_t i = computed_here(threadIdx.x) - WARPGROUP; i < hopper_forward<HEAD>::tile_bytes / 16; i += threads) {
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

// What a consumer's thread keeps of its piece of work.
struct hopper_rows {
  uint32_t b, g, row0;  // row0, row0 + 8: its queries
  hopper_range range;
  matrix_scores units;
};

// Scores in the units of exponentials, and -infinity where the query does not see the key.
template <int TILES>
__device__ __forceinline__ void hopper_mask(float (&scores)[1][TILES][4], const attention_arguments &a,
                                            const hopper_rows &rows, uint32_t key0) {
  const int distance0 = (int)(rows.row0 - key0) - (int)threadIdx.x % 4 * 2;  // from the first row to the first key
  if (!rows.units.is_plain) {
#pragma unroll
    for (int n = 0; n < TILES; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const float distance = (float)distance0 + (float)(e / 2 * 8 - 8 * n - e % 2);
        float derivative;
        scores[0][n][e] = matrix_score(a, rows.units.slope, scores[0][n][e], distance, &derivative);
      }
    }
  }
  const uint32_t own = rows.row0 - (threadIdx.x % WARP / 4 + threadIdx.x / WARP % 4 * 16);  // the warpgroup's first
  if (key0 + HOPPER_KEYS - 1 <= own && key0 >= rows.range.begin_of_last) return;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint32_t row = computed_here(rows.row0) + 8 * half;
    const int end = distance0 + 8 * half + 1;  // the row sees the tile's keys [begin, end)
    const int begin = end - (int)(row + 1 - first_key(a, rows.b, min(row, rows.range.past - 1)));
#pragma unroll
    for (int n = 0; n < TILES; n++) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        if (8 * n + e < begin || 8 * n + e >= end) scores[0][n][2 * half + e] = -INFINITY;
      }
    }
  }
}

// Writes the results, whose four lanes of a row trade words so that each stores 16 bytes at a time.
template <typename T, int TILES>
__device__ __forceinline__ void hopper_store(const attention_arguments &a, const hopper_rows &rows, uint32_t h,
                                             const float (&result)[1][TILES][4], const float (&factors)[1][2]) {
  const uint32_t lane = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint32_t t = rows.row0 + 8 * half;
    T *const out = static_cast<T *>(a.out) + ((uint64_t)rows.b * a.T + t) * a.out_t + h * a.out_h;
#pragma unroll
    for (int n = 0; n < TILES; n += 4) {
      uint32_t w[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        w[i] = pack_two<T>(result[0][n + i][2 * half] * factors[0][half],
                           result[0][n + i][2 * half + 1] * factors[0][half]);
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
      if (t < rows.range.past && d < a.D)
        store_whole(reinterpret_cast<uint4 *>(out + d), make_uint4(w[0], w[1], w[2], w[3]));
    }
  }
}

template <typename T, int HEAD>
__device__ __forceinline__ void hopper_consume(const attention_hopper_arguments &arguments, hopper_barriers *barriers,
                                               uint16_t *tiles) {
  constexpr uint32_t tile = hopper_forward<HEAD>::tile_bytes / 2;  // elements
  constexpr uint32_t stride = 8 * 128, leading = HOPPER_KEYS * 128;
  const attention_arguments &a = arguments.common;
  const uint32_t consumer = threadIdx.x / WARPGROUP - 1;
  const uint32_t own_turn = HOPPER_TURN + consumer, other_turn = HOPPER_TURN + 1 - consumer;
  uint16_t *const k_tiles = tiles + tile, *const v_tiles = k_tiles + HOPPER_STAGES * tile;
  const uint64_t q = matrix_descriptor(tiles + consumer * 64 * 64, leading, stride);
  const uint64_t k = matrix_descriptor(k_tiles, leading, stride), v = matrix_descriptor(v_tiles, leading, stride);
  if (consumer == 1) part_barrier_arrive(other_turn, HOPPER_CONSUMERS * WARPGROUP);  // the first one begins
  hopper_stage stage = {0};
  attention_place place;
  for (uint32_t round = 0; hopper_place(arguments, round, &place); round++) {
    hopper_rows rows = {place.b, place.head / (a.H / a.G), 0, hopper_range_of(a, place),
                        matrix_scores_of(a, place.head)};
    rows.row0 = rows.range.t0 + 64 * consumer + threadIdx.x / WARP % 4 * 16 + threadIdx.x % WARP / 4;
    float scores[1][HOPPER_KEYS / 8][4], result[1][HEAD / 8][4], maximum[1][2], sum[1][2], rescale[2];
    uint32_t p[HOPPER_KEYS / 16][4];
    matrix_clear(result);
    maximum[0][0] = maximum[0][1] = -INFINITY;
    sum[0][0] = sum[0][1] = 0;

    phase_barrier_wait(&barriers->q_full, round % 2);
    phase_barrier_wait(&barriers->k_full[stage.at()], stage.phase());
    warpgroup_settle(scores[0]);
    warpgroup_begin();
    hopper_scores<T, HEAD>(scores, q, matrix_descriptor_at(k, stage.at() * 2 * tile));
    warpgroup_wait<0>();
    warpgroup_settle(scores[0]);
    hopper_release(&barriers->k_free[stage.at()]);
    uint32_t key0 = rows.range.first_key;
    hopper_mask(scores, a, rows, key0);
#pragma unroll
    for (int half = 0; half < 2; half++)
      (void)matrix_softmax(scores[0], half, rows.units.factor, maximum[0][half], sum[0][half]);
    hopper_pack<T>(p, scores);

    bool found = false;
    for (;; key0 += HOPPER_KEYS, stage.number++) {  // stage: of the values of key0; the scores are one tile ahead
      const uint32_t s = stage.at();
      const bool is_edge = key0 + HOPPER_KEYS - 1 > rows.range.t0 || key0 < rows.range.begin_of_last;
      phase_barrier_wait(&barriers->v_full[s], stage.phase());
      found = is_edge && hopper_clear_infinite<T, HEAD>(v_tiles + s * tile);
      if (key0 + HOPPER_KEYS >= rows.range.past) break;
      const hopper_stage next = {stage.number + 1};
      phase_barrier_wait(&barriers->k_full[next.at()], next.phase());
      part_barrier_sync(own_turn, HOPPER_CONSUMERS * WARPGROUP);
      warpgroup_settle(scores[0]);
      warpgroup_settle(result[0]);
      warpgroup_begin();
      hopper_scores<T, HEAD>(scores, q, matrix_descriptor_at(k, next.at() * 2 * tile));
      hopper_add_values<T, HEAD>(result, p, matrix_descriptor_at(v, s * 2 * tile));
      part_barrier_arrive(other_turn, HOPPER_CONSUMERS * WARPGROUP);
      warpgroup_wait<1>();
      warpgroup_settle(scores[0]);
      hopper_release(&barriers->k_free[next.at()]);
      hopper_mask(scores, a, rows, key0 + HOPPER_KEYS);
#pragma unroll
      for (int half = 0; half < 2; half++)
        rescale[half] = matrix_softmax(scores[0], half, rows.units.factor, maximum[0][half], sum[0][half]);
      warpgroup_wait<0>();
      warpgroup_settle(result[0]);
      hopper_release(&barriers->v_free[s]);
      if (found) {
        matrix_add_infinite<T, false, HOPPER_KEYS>(
            result, a, rows.b, matrix_rows_of(a, a.v, a.v_t, a.v_h, rows.b, rows.g, key0, rows.range.past), rows.row0,
            0);
      }
#pragma unroll
      for (int half = 0; half < 2; half++) matrix_rescale(result[0], half, rescale[half]);
      hopper_pack<T>(p, scores);
    }
    hopper_release(&barriers->q_free);
    warpgroup_settle(result[0]);
    warpgroup_begin();
    hopper_add_values<T, HEAD>(result, p, matrix_descriptor_at(v, stage.at() * 2 * tile));
    warpgroup_wait<0>();
    warpgroup_settle(result[0]);
    hopper_release(&barriers->v_free[stage.at()]);
    stage.number++;
    if (found) {
      matrix_add_infinite<T, false, HOPPER_KEYS>(
          result, a, rows.b, matrix_rows_of(a, a.v, a.v_t, a.v_h, rows.b, rows.g, key0, rows.range.past), rows.row0, 0);
    }
    matrix_finish(a, rows.b, place.head, rows.row0, rows.range.past, rows.units.factor, maximum, sum);
    hopper_store<T>(a, rows, place.head, result, sum);
  }
}

template <typename T, int HEAD>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    attention_forward_hopper_kernel(const __grid_constant__ attention_hopper_arguments a) {
#if CUDA_HAS_HOPPER
  CUDA_DYNAMIC_SHARED(unsigned char, memory);
  __shared__ hopper_barriers barriers;
  uint16_t *const tiles = reinterpret_cast<uint16_t *>(memory + (0u - shared_address(memory)) % 1024);
  if (threadIdx.x == 0) hopper_barriers_make(&barriers);
  __syncthreads();
  if (threadIdx.x < WARPGROUP) {
    registers_give<24>();
    if (threadIdx.x == 0) hopper_produce<HEAD>(a, &barriers, tiles);
  } else {
    registers_take<240>();
    hopper_consume<T, HEAD>(a, &barriers, tiles);
  }
#endif
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_FORWARD_HOPPER_CUH_
