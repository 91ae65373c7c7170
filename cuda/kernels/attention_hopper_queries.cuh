// What the kernels for sm_90a whose blocks own queries share: attention's forward pass and its gradient for q. Blocks,
// tiles and products: attention_hopper.cuh.
#ifndef DURE_CUDA_KERNELS_ATTENTION_HOPPER_QUERIES_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_HOPPER_QUERIES_CUH_

#include "cuda/kernels/attention_hopper.cuh"

// Where tiles lie in shared memory, in elements: OWN tiles of the block's rows (q; q and dy), then those of keys and of
// values, a stage each.
template <int HEAD, int KEYS, int OWN>
struct hopper_places {
  using own = hopper_tile<HEAD, HOPPER_ROWS>;
  using tile = hopper_tile<HEAD, KEYS>;
  static constexpr uint32_t keys_at = OWN * own::elements, values_at = keys_at + HOPPER_STAGES * tile::elements;
  static constexpr size_t bytes = OWN * own::bytes + 2 * HOPPER_STAGES * tile::bytes;
};

// Complete when: the own rows, keys or values have come; they have been read by the consumers' warps.
struct hopper_barriers {
  uint64_t q_full, q_free, k_full[HOPPER_STAGES], k_free[HOPPER_STAGES], v_full[HOPPER_STAGES], v_free[HOPPER_STAGES];
};

__device__ __forceinline__ void hopper_barriers_make(hopper_barriers *barriers) {
  phase_barrier_init(&barriers->q_full, 1);
  phase_barrier_init(&barriers->q_free, HOPPER_READERS);
  for (int s = 0; s < HOPPER_STAGES; s++) {
    phase_barrier_init(&barriers->k_full[s], 1);
    phase_barrier_init(&barriers->k_free[s], HOPPER_READERS);
    phase_barrier_init(&barriers->v_full[s], 1);
    phase_barrier_init(&barriers->v_free[s], HOPPER_READERS);
  }
  phase_barriers_made();
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

// By one thread.
template <int HEAD, int KEYS, int OWN>
__device__ __forceinline__ void hopper_produce(const attention_hopper_arguments &a, hopper_barriers *barriers,
                                               uint16_t *tiles) {
  using places = hopper_places<HEAD, KEYS, OWN>;
  using tile = typename places::tile;
  const attention_arguments &c = a.common;
  tensor_map_prefetch(&a.q);
  if (OWN == 2) tensor_map_prefetch(&a.dy);
  tensor_map_prefetch(&a.k);
  tensor_map_prefetch(&a.v);
  hopper_stage stage = {0};
  attention_place place;
  for (uint32_t round = 0; hopper_place(a, round, &place); round++) {
    const hopper_range range = hopper_range_of(c, place);
    const uint32_t g = place.head / (c.H / c.G);
    phase_barrier_wait(&barriers->q_free, (round + 1) % 2, a.patience);
    phase_barrier_expect(&barriers->q_full, OWN * places::own::bytes);
    hopper_copy<HEAD, HOPPER_ROWS>(tiles, &a.q, &barriers->q_full, range.t0, place.head, place.b);
    if (OWN == 2) {
      hopper_copy<HEAD, HOPPER_ROWS>(tiles + places::own::elements, &a.dy, &barriers->q_full, range.t0, place.head,
                                     place.b);
    }
    for (uint32_t key0 = range.first_key; key0 < range.past; key0 += KEYS, stage.number++) {
      const uint32_t s = stage.at();
      phase_barrier_wait(&barriers->k_free[s], stage.phase() ^ 1, a.patience);
      phase_barrier_expect(&barriers->k_full[s], tile::bytes);
      hopper_copy<HEAD, KEYS>(tiles + places::keys_at + s * tile::elements, &a.k, &barriers->k_full[s], key0, g,
                              place.b);
      phase_barrier_wait(&barriers->v_free[s], stage.phase() ^ 1, a.patience);
      phase_barrier_expect(&barriers->v_full[s], tile::bytes);
      hopper_copy<HEAD, KEYS>(tiles + places::values_at + s * tile::elements, &a.v, &barriers->v_full[s], key0, g,
                              place.b);
    }
  }
}

// What a consumer's thread keeps of its piece of work.
struct hopper_rows {
  uint32_t b, g, row0;  // row0, row0 + 8: its queries
  hopper_range range;
  matrix_scores units;
};
__device__ __forceinline__ hopper_rows hopper_rows_of(const attention_arguments &a, const attention_place &place,
                                                      uint32_t consumer) {
  hopper_rows rows = {place.b, place.head / (a.H / a.G), 0, hopper_range_of(a, place), matrix_scores_of(a, place.head)};
  rows.row0 = rows.range.t0 + 64 * consumer + threadIdx.x / WARP % 4 * 16 + threadIdx.x % WARP / 4;
  return rows;
}

// Puts `hidden` where the query does not see the key.
template <int KEYS>
__device__ __forceinline__ void hopper_hide(float (&pairs)[1][KEYS / 8][4], const attention_arguments &a,
                                            const hopper_rows &rows, uint32_t key0, float hidden) {
  const int distance0 = (int)(rows.row0 - key0) - (int)threadIdx.x % 4 * 2;  // from the first row to the first key
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint32_t row = computed_here(rows.row0) + 8 * half;
    const int end = distance0 + 8 * half + 1;  // the row sees the tile's keys [begin, end)
    const int begin = end - (int)(row + 1 - first_key(a, rows.b, min(row, rows.range.past - 1)));
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        if (8 * n + e < begin || 8 * n + e >= end) pairs[0][n][2 * half + e] = hidden;
      }
    }
  }
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_HOPPER_QUERIES_CUH_
