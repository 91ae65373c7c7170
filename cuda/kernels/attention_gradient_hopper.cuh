// attention_gradient on sm_90a: the passes of attention_gradient_matrix.cuh (which has the formulas; delta comes from
// attention_delta.cuh) by products of warpgroups, deterministic for the same reason: a block owns all of what it
// writes. Blocks, tiles and products: attention_hopper.cuh.
//
//   dq       own rows: q, dy             others: keys and values, 128 a tile
//   dk, dv   own rows: k, v              others: q and dy, 64 a tile (128 where HEAD is 64), of every head that shares
//            the keys; with them, log_sum_exp and delta
//
//   consumer   scores = q . k and dp = dy . v; p and ds made in their registers, and packed; dq += ds k (dv += p dy and
//              dk += ds q)
//
// each waited for. What keeps the tensor cores busy is the other consumer: products take longer than exponentials, so
// that the two come to alternate. Tiles that nobody sees, edges and values that are not finite: as in the forward pass.
//
// 14 HEAD FLOP a pair. A tile: 6 HEAD x 128 x 128 FLOP for 512 HEAD bytes from L2 (dq); 8 HEAD x 128 x 64 for 256 HEAD
// (dk, dv). Shared memory: 128 x 2 HEAD x 6 bytes (dq), 128 x 2 HEAD x 4 (64: x 6). Registers: 64 + 64 and HEAD / 2
// (dq), 32 + 32 (64: 64 + 64) and HEAD (dk, dv) a thread; one block a multiprocessor. Not yet measured on hardware.
#ifndef DURE_CUDA_KERNELS_ATTENTION_GRADIENT_HOPPER_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_GRADIENT_HOPPER_CUH_

#include "cuda/kernels/attention_gradient_matrix.cuh"
#include "cuda/kernels/attention_hopper_queries.cuh"

// ---- dq ----------------------------------------------------------------------------------------------------------

template <int HEAD>
struct hopper_gradient_q {
  static constexpr int keys = 128;
  using places = hopper_places<HEAD, keys, 2>;
  static constexpr size_t shared_bytes = places::bytes + 1024;  // 1024: to align them
};

// ds / scale of the pairs of a tile, in the place of dp; `scores` are done with.
template <int KEYS>
__device__ __forceinline__ void hopper_query_gradient(float (&scores)[1][KEYS / 8][4], float (&ds)[1][KEYS / 8][4],
                                                      const attention_arguments &a, const hopper_rows &rows,
                                                      const matrix_query (&queries)[2], uint32_t key0) {
  const int distance0 = (int)(rows.row0 - key0) - (int)threadIdx.x % 4 * 2;  // from the first row to the first key
#pragma unroll
  for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const float distance = (float)distance0 + (float)(e / 2 * 8 - 8 * n - e % 2);
      matrix_pair_gradient(a, rows.units, distance, queries[e / 2].log_sum_exp, queries[e / 2].delta, &scores[0][n][e],
                           &ds[0][n][e]);
    }
  }
}

template <typename T, int HEAD>
__device__ __forceinline__ void hopper_consume_q(const attention_hopper_arguments &arguments, hopper_barriers *barriers,
                                                 uint16_t *tiles) {
  constexpr int keys = hopper_gradient_q<HEAD>::keys;
  using places = typename hopper_gradient_q<HEAD>::places;
  const attention_arguments &a = arguments.common;
  const uint32_t patience = arguments.patience, consumer = threadIdx.x / WARPGROUP - 1;
  const uint64_t q = hopper_descriptor<HOPPER_ROWS>(tiles + consumer * 64 * 64);
  const uint64_t dy = matrix_descriptor_at(q, places::own::bytes);
  const uint64_t k = hopper_descriptor<keys>(tiles + places::keys_at);
  const uint64_t v = hopper_descriptor<keys>(tiles + places::values_at);
  hopper_stage stage = {0};
  attention_place place;
  for (uint32_t round = 0; hopper_place(arguments, round, &place); round++) {
    const hopper_rows rows = hopper_rows_of(a, place, consumer);
    matrix_query queries[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const uint32_t row = min(rows.row0 + 8 * half, rows.range.past - 1);
      const uint64_t at = ((uint64_t)rows.b * a.H + place.head) * a.T + row;
      queries[half] = matrix_query{a.log_sum_exp[at] * LOG2_E, a.delta[at]};
    }
    float scores[1][keys / 8][4], ds[1][keys / 8][4], dq[1][HEAD / 8][4];
    uint32_t packed[keys / 16][4];
    matrix_clear(dq);
    phase_barrier_wait(&barriers->q_full, round % 2, patience);
    for (uint32_t key0 = rows.range.first_key; key0 < rows.range.past; key0 += keys, stage.number++) {
      const uint32_t s = stage.at();
      phase_barrier_wait(&barriers->k_full[s], stage.phase(), patience);
      phase_barrier_wait(&barriers->v_full[s], stage.phase(), patience);
      warpgroup_settle(scores[0]);
      warpgroup_settle(ds[0]);
      warpgroup_begin();
      hopper_scores<T, HEAD, keys>(scores, q, matrix_descriptor_at(k, s * places::tile::bytes));
      hopper_scores<T, HEAD, keys>(ds, dy, matrix_descriptor_at(v, s * places::tile::bytes));
      warpgroup_wait<0>();
      warpgroup_settle(scores[0]);
      warpgroup_settle(ds[0]);
      hopper_release(&barriers->v_free[s]);
      hopper_query_gradient<keys>(scores, ds, a, rows, queries, key0);
      const bool is_edge = key0 + keys - 1 > rows.range.t0 || key0 < rows.range.begin_of_last;
      if (is_edge) hopper_hide<keys>(ds, a, rows, key0, 0);
      const bool found = is_edge && hopper_clear_infinite<T>(tiles + places::keys_at + s * places::tile::elements,
                                                             places::tile::bytes);
      hopper_pack<T, keys>(packed, ds);
      warpgroup_settle(dq[0]);
      warpgroup_begin();
      hopper_add_sums<T, HEAD, keys>(dq, packed, matrix_descriptor_at(k, s * places::tile::bytes));
      warpgroup_wait<0>();
      warpgroup_settle(dq[0]);
      hopper_release(&barriers->k_free[s]);
      if (found) {
        matrix_add_infinite<T, false, keys>(
            dq, a, rows.b, matrix_rows_of(a, a.k, a.k_t, a.k_h, rows.b, rows.g, key0, rows.range.past), rows.row0, 0);
      }
    }
    hopper_release(&barriers->q_free);
    hopper_store(static_cast<T *>(a.out) + (uint64_t)rows.b * a.T * a.out_t + place.head * a.out_h, a.out_t, rows.row0,
                 rows.range.past, a.D, dq, a.scale, a.scale);
  }
}

template <typename T, int HEAD>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    attention_gradient_q_hopper_kernel(const __grid_constant__ attention_hopper_arguments a) {
#if CUDA_HAS_HOPPER
  CUDA_DYNAMIC_SHARED(unsigned char, memory);
  __shared__ hopper_barriers barriers;
  uint16_t *const tiles = hopper_tiles(memory);
  if (threadIdx.x == 0) hopper_barriers_make(&barriers);
  __syncthreads();
  if (threadIdx.x < WARPGROUP) {
    registers_give<24>();
    if (threadIdx.x == 0) hopper_produce<HEAD, hopper_gradient_q<HEAD>::keys, 2>(a, &barriers, tiles);
  } else {
    registers_take<240>();
    hopper_consume_q<T, HEAD>(a, &barriers, tiles);
  }
#endif
}

// ---- dk and dv ---------------------------------------------------------------------------------------------------

// Shared memory: k, v, then q and dy of a stage beside each other.
template <int HEAD>
struct hopper_gradient_k_v {
  static constexpr int queries = HEAD <= 64 ? 128 : 64;
  using own = hopper_tile<HEAD, HOPPER_ROWS>;
  using tile = hopper_tile<HEAD, queries>;
  static constexpr size_t shared_bytes = 2 * own::bytes + HOPPER_STAGES * 2 * tile::bytes + 1024;  // 1024: as above
};

// Complete when: keys and values, or queries with what belongs to them, have come; they have been read.
struct hopper_key_barriers {
  uint64_t k_full, k_free, q_full[HOPPER_STAGES], q_free[HOPPER_STAGES];
};

__device__ __forceinline__ void hopper_key_barriers_make(hopper_key_barriers *barriers) {
  phase_barrier_init(&barriers->k_full, 1);
  phase_barrier_init(&barriers->k_free, HOPPER_READERS);
  for (int s = 0; s < HOPPER_STAGES; s++) {
    phase_barrier_init(&barriers->q_full[s], 1 + WARP);  // the copies; the producer's lanes, with what they store
    phase_barrier_init(&barriers->q_free[s], HOPPER_READERS);
  }
  phase_barriers_made();
}

// A block's keys, and where it is on its way through the queries that see any of them.
struct hopper_queries {
  uint32_t b, g, key0, keys_past, past;  // queries before `past` see these keys
  uint32_t h, query0;                    // of the tile
  __device__ __forceinline__ hopper_queries(const attention_arguments &a, const attention_place &place)
      : b(place.b),
        g(place.head),
        key0(a.first_row + place.tile * HOPPER_ROWS),
        keys_past(min(key0 + HOPPER_ROWS, a.end_row)),
        past(queries_past_of(a, keys_past)),
        h(place.head * (a.H / a.G)),
        query0(key0) {}
  // To the next tile of `count` queries, of this head or the next one; false: there is none.
  __device__ __forceinline__ bool advance(const attention_arguments &a, uint32_t count) {
    query0 += count;
    if (query0 < past && first_key(a, b, query0) < keys_past) return true;
    query0 = key0;
    h++;
    return h < (g + 1) * (a.H / a.G);
  }
};

// By one warp.
template <int HEAD>
__device__ __forceinline__ void hopper_produce_k_v(const attention_hopper_arguments &a, hopper_key_barriers *barriers,
                                                   uint16_t *tiles, float *statistics) {
  using shape = hopper_gradient_k_v<HEAD>;
  using own = typename shape::own;
  using tile = typename shape::tile;
  constexpr uint32_t queries = shape::queries;
  const attention_arguments &c = a.common;
  const bool copies = threadIdx.x == 0;
  hopper_stage stage = {0};
  attention_place place;
  for (uint32_t round = 0; hopper_place(a, round, &place); round++) {
    hopper_queries at(c, place);
    if (copies) {
      phase_barrier_wait(&barriers->k_free, (round + 1) % 2, a.patience);
      phase_barrier_expect(&barriers->k_full, 2 * own::bytes);
      hopper_copy<HEAD, HOPPER_ROWS>(tiles, &a.k, &barriers->k_full, at.key0, at.g, at.b);
      hopper_copy<HEAD, HOPPER_ROWS>(tiles + own::elements, &a.v, &barriers->k_full, at.key0, at.g, at.b);
    }
    do {
      const uint32_t s = stage.at();
      uint16_t *const target = tiles + 2 * own::elements + s * 2 * tile::elements;
      phase_barrier_wait(&barriers->q_free[s], stage.phase() ^ 1, a.patience);
      if (copies) {
        phase_barrier_expect(&barriers->q_full[s], 2 * tile::bytes);
        hopper_copy<HEAD, queries>(target, &a.q, &barriers->q_full[s], at.query0, at.h, at.b);
        hopper_copy<HEAD, queries>(target + tile::elements, &a.dy, &barriers->q_full[s], at.query0, at.h, at.b);
      }
      const uint64_t first = ((uint64_t)at.b * c.H + at.h) * c.T;
      for (uint32_t i = threadIdx.x; i < queries; i += WARP) {
        const uint64_t query = first + min(at.query0 + i, at.past - 1);
        *reinterpret_cast<float2 *>(statistics + 2 * (s * queries + i)) =
            make_float2(c.log_sum_exp[query] * LOG2_E, c.delta[query]);
      }
      phase_barrier_arrive(&barriers->q_full[s]);
      stage.number++;
    } while (at.advance(c, queries));
  }
}

// p and ds / scale of the pairs of a tile, in the place of the products k . q and v . dy.
template <int QUERIES>
__device__ __forceinline__ void hopper_key_gradient(float (&p)[1][QUERIES / 8][4], float (&ds)[1][QUERIES / 8][4],
                                                    const attention_arguments &a, const matrix_scores &units,
                                                    const hopper_queries &at, uint32_t row0, const float *statistics) {
  const int pair = (int)threadIdx.x % 4 * 2;
  const int distance0 = (int)(at.query0 - row0) + pair;  // from the thread's first key to its first query
#pragma unroll
  for (int n = 0; n < QUERIES / 8; n++) {
    const float4 two = *reinterpret_cast<const float4 *>(statistics + 2 * (8 * n + pair));
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const float distance = (float)distance0 + (float)(8 * n + e % 2 - e / 2 * 8);
      matrix_pair_gradient(a, units, distance, e % 2 == 0 ? two.x : two.z, e % 2 == 0 ? two.y : two.w, &p[0][n][e],
                           &ds[0][n][e]);
    }
  }
}

// Zeros where a query does not see the key.
template <int QUERIES>
__device__ __forceinline__ void hopper_hide_keys(float (&p)[1][QUERIES / 8][4], float (&ds)[1][QUERIES / 8][4],
                                                 const attention_arguments &a, const hopper_queries &at,
                                                 uint32_t row0) {
  const uint32_t pair = threadIdx.x % 4 * 2, last = min(at.query0 + QUERIES, at.past) - 1;
  const int distance0 = (int)(at.query0 - row0) + (int)pair;  // from the thread's first key to its first query
  const uint32_t thread_query = computed_here(at.query0 + pair);
#pragma unroll
  for (int n = 0; n < QUERIES / 8; n++) {
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const uint32_t query = thread_query + 8 * n + e;
      // The query sees keys [query - reach, query]; none if there is no such query.
      const int reach = query <= last ? (int)(query - first_key(a, at.b, query)) : -1;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int distance = distance0 + 8 * n + e - 8 * half;
        if (distance < 0 || distance > reach) p[0][n][2 * half + e] = ds[0][n][2 * half + e] = 0;
      }
    }
  }
}

// Adds the values that are not finite of a tile of queries to both sums.
template <typename T, int HEAD>
__device__ __forceinline__ void hopper_add_infinite_k_v(float (&dk)[1][HEAD / 8][4], float (&dv)[1][HEAD / 8][4],
                                                        const attention_arguments &a, const hopper_queries &at,
                                                        uint32_t row0) {
  constexpr int queries = hopper_gradient_k_v<HEAD>::queries;
  matrix_add_infinite<T, true, queries>(
      dv, a, at.b, matrix_rows_of(a, a.dy, a.dy_t, a.dy_h, at.b, at.h, at.query0, at.past), computed_here(row0), 0);
  matrix_add_infinite<T, true, queries>(
      dk, a, at.b, matrix_rows_of(a, a.q, a.q_t, a.q_h, at.b, at.h, at.query0, at.past), computed_here(row0), 0);
}

template <typename T, int HEAD>
__device__ __forceinline__ void hopper_consume_k_v(const attention_hopper_arguments &arguments,
                                                   hopper_key_barriers *barriers, uint16_t *tiles,
                                                   const float *statistics) {
  using shape = hopper_gradient_k_v<HEAD>;
  using own = typename shape::own;
  using tile = typename shape::tile;
  constexpr int queries = shape::queries;
  const attention_arguments &a = arguments.common;
  const uint32_t patience = arguments.patience, consumer = threadIdx.x / WARPGROUP - 1;
  uint16_t *const others = tiles + 2 * own::elements;
  const uint64_t k = hopper_descriptor<HOPPER_ROWS>(tiles + consumer * 64 * 64);
  const uint64_t v = matrix_descriptor_at(k, own::bytes);
  const uint64_t q = hopper_descriptor<queries>(others), dy = matrix_descriptor_at(q, tile::bytes);
  hopper_stage stage = {0};
  attention_place place;
  for (uint32_t round = 0; hopper_place(arguments, round, &place); round++) {
    hopper_queries at(a, place);
    const uint32_t row0 = at.key0 + 64 * consumer + threadIdx.x / WARP % 4 * 16 + threadIdx.x % WARP / 4;
    float p[1][queries / 8][4], ds[1][queries / 8][4], dk[1][HEAD / 8][4], dv[1][HEAD / 8][4];
    uint32_t packed_p[queries / 16][4], packed_ds[queries / 16][4];
    matrix_clear(dk);
    matrix_clear(dv);
    phase_barrier_wait(&barriers->k_full, round % 2, patience);
    do {
      const uint32_t s = stage.at(), stage_bytes = s * 2 * tile::bytes;
      phase_barrier_wait(&barriers->q_full[s], stage.phase(), patience);
      warpgroup_settle(p[0]);
      warpgroup_settle(ds[0]);
      warpgroup_begin();
      hopper_scores<T, HEAD, queries>(p, k, matrix_descriptor_at(q, stage_bytes));
      hopper_scores<T, HEAD, queries>(ds, v, matrix_descriptor_at(dy, stage_bytes));
      warpgroup_wait<0>();
      warpgroup_settle(p[0]);
      warpgroup_settle(ds[0]);
      hopper_key_gradient<queries>(p, ds, a, matrix_scores_of(a, at.h), at, row0, statistics + 2 * s * queries);
      const bool is_edge = at.query0 < at.keys_past || at.query0 + queries > at.past ||
                           first_key(a, at.b, min(at.query0 + queries, at.past) - 1) > at.key0;
      if (is_edge) hopper_hide_keys<queries>(p, ds, a, at, row0);
      const bool found = is_edge && hopper_clear_infinite<T>(others + s * 2 * tile::elements, 2 * tile::bytes);
      hopper_pack<T, queries>(packed_p, p);
      hopper_pack<T, queries>(packed_ds, ds);
      warpgroup_settle(dk[0]);
      warpgroup_settle(dv[0]);
      warpgroup_begin();
      hopper_add_sums<T, HEAD, queries>(dv, packed_p, matrix_descriptor_at(dy, stage_bytes));
      hopper_add_sums<T, HEAD, queries>(dk, packed_ds, matrix_descriptor_at(q, stage_bytes));
      warpgroup_wait<0>();
      warpgroup_settle(dk[0]);
      warpgroup_settle(dv[0]);
      hopper_release(&barriers->q_free[s]);
      if (found) hopper_add_infinite_k_v<T, HEAD>(dk, dv, a, at, row0);
      stage.number++;
    } while (at.advance(a, queries));
    hopper_release(&barriers->k_free);
    const uint64_t b = at.b;
    hopper_store(static_cast<T *>(a.out) + b * a.T * a.out_t + at.g * a.out_h, a.out_t, row0, at.keys_past, a.D, dk,
                 a.scale, a.scale);
    hopper_store(static_cast<T *>(a.second) + b * a.T * a.second_t + at.g * a.second_h, a.second_t, row0, at.keys_past,
                 a.D, dv, 1, 1);
  }
}

template <typename T, int HEAD>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    attention_gradient_k_v_hopper_kernel(const __grid_constant__ attention_hopper_arguments a) {
#if CUDA_HAS_HOPPER
  CUDA_DYNAMIC_SHARED(unsigned char, memory);
  __shared__ hopper_key_barriers barriers;
  __shared__ __align__(16) float statistics[HOPPER_STAGES * hopper_gradient_k_v<HEAD>::queries * 2];
  uint16_t *const tiles = hopper_tiles(memory);
  if (threadIdx.x == 0) hopper_key_barriers_make(&barriers);
  __syncthreads();
  if (threadIdx.x < WARPGROUP) {
    registers_give<40>();
    if (threadIdx.x < WARP) hopper_produce_k_v<HEAD>(a, &barriers, tiles, statistics);
  } else {
    registers_take<232>();
    hopper_consume_k_v<T, HEAD>(a, &barriers, tiles, statistics);
  }
#endif
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_GRADIENT_HOPPER_CUH_
