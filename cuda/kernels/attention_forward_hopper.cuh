// attention on sm_90a (Shah et al. 2024, FlashAttention-3, sections 3.1 and 3.2; here bf16 and f16 only): a block owns
// queries. Blocks, tiles and products: attention_hopper.cuh.
//
//   producer   q | k0 v0 k1 v1 k2 ..   into two tiles of keys and two of values, each with a barrier that says it is
//                                      full and one that says it is free
//   consumer   scores(n + 1) = q . k(n + 1)    started, then    result += p(n) v(n)    started;
//              softmax of scores(n + 1) while the second one goes on; result rescaled; p(n + 1) packed
//
// and the two consumers take turns at starting products, so that one's softmax goes on beside the other's products.
// Scores and results stay in registers; p is a left operand as it lies there. Tiles that no query of the block sees are
// not visited; those on an edge look at each pair, and have values that are not finite taken out as in
// attention_matrix.cuh.
//
// 4 HEAD FLOP a pair. A tile of 128 keys (64 where HEAD is 256): 4 HEAD x 128 x 128 FLOP for 512 HEAD bytes from L2.
// Shared memory: 128 x 2 HEAD x 5 bytes (256: x 3); registers: results HEAD / 2, scores 64 and p 32 a thread (256: 32
// and 16); one block a multiprocessor. Not yet measured on hardware.
#ifndef DURE_CUDA_KERNELS_ATTENTION_FORWARD_HOPPER_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_FORWARD_HOPPER_CUH_

#include "cuda/kernels/attention_forward_matrix.cuh"
#include "cuda/kernels/attention_hopper_queries.cuh"

template <int HEAD>
struct hopper_forward {
  static constexpr int keys = HEAD <= 128 ? 128 : 64;  // of a tile
  using places = hopper_places<HEAD, keys, 1>;
  static constexpr size_t shared_bytes = places::bytes + 1024;  // 1024: to align them
};

// Scores in the units of exponentials, and -infinity where the query does not see the key.
template <int KEYS>
__device__ __forceinline__ void hopper_mask(float (&scores)[1][KEYS / 8][4], const attention_arguments &a,
                                            const hopper_rows &rows, uint32_t key0) {
  const int distance0 = (int)(rows.row0 - key0) - (int)threadIdx.x % 4 * 2;  // from the first row to the first key
  if (!rows.units.is_plain) {
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const float distance = (float)distance0 + (float)(e / 2 * 8 - 8 * n - e % 2);
        float derivative;
        scores[0][n][e] = matrix_score(a, rows.units.slope, scores[0][n][e], distance, &derivative);
      }
    }
  }
  const uint32_t own = rows.row0 - (threadIdx.x % WARP / 4 + threadIdx.x / WARP % 4 * 16);  // the warpgroup's first
  if (key0 + KEYS - 1 <= own && key0 >= rows.range.begin_of_last) return;
  hopper_hide<KEYS>(scores, a, rows, key0, -INFINITY);
}

// Scores become exponentials; rescale: what the results so far must be multiplied by.
template <int KEYS>
__device__ __forceinline__ void hopper_softmax(float (&scores)[1][KEYS / 8][4], float factor, float (&maximum)[1][2],
                                               float (&sum)[1][2], float (&rescale)[2]) {
#pragma unroll
  for (int half = 0; half < 2; half++)
    rescale[half] = matrix_softmax(scores[0], half, factor, maximum[0][half], sum[0][half]);
}

template <typename T, int HEAD>
__device__ __forceinline__ void hopper_consume(const attention_hopper_arguments &arguments, hopper_barriers *barriers,
                                               uint16_t *tiles) {
  constexpr int keys = hopper_forward<HEAD>::keys;
  using places = typename hopper_forward<HEAD>::places;
  const attention_arguments &a = arguments.common;
  const uint32_t patience = arguments.patience, consumer = threadIdx.x / WARPGROUP - 1;
  const uint32_t own_turn = HOPPER_TURN + consumer, other_turn = HOPPER_TURN + 1 - consumer;
  uint16_t *const k_tiles = tiles + places::keys_at, *const v_tiles = tiles + places::values_at;
  const uint64_t q = hopper_descriptor<HOPPER_ROWS>(tiles + consumer * 64 * 64);
  const uint64_t k = hopper_descriptor<keys>(k_tiles), v = hopper_descriptor<keys>(v_tiles);
  if (consumer == 1) part_barrier_arrive(other_turn, HOPPER_CONSUMERS * WARPGROUP);  // the first one begins
  hopper_stage stage = {0};
  attention_place place;
  for (uint32_t round = 0; hopper_place(arguments, round, &place); round++) {
    const hopper_rows rows = hopper_rows_of(a, place, consumer);
    float scores[1][keys / 8][4], result[1][HEAD / 8][4], maximum[1][2], sum[1][2], rescale[2];
    uint32_t p[keys / 16][4];
    matrix_clear(result);
    maximum[0][0] = maximum[0][1] = -INFINITY;
    sum[0][0] = sum[0][1] = 0;

    phase_barrier_wait(&barriers->q_full, round % 2, patience);
    phase_barrier_wait(&barriers->k_full[stage.at()], stage.phase(), patience);
    warpgroup_settle(scores[0]);
    warpgroup_begin();
    hopper_scores<T, HEAD, keys>(scores, q, matrix_descriptor_at(k, stage.at() * places::tile::bytes));
    warpgroup_wait<0>();
    warpgroup_settle(scores[0]);
    hopper_release(&barriers->k_free[stage.at()]);
    uint32_t key0 = rows.range.first_key;
    hopper_mask<keys>(scores, a, rows, key0);
    hopper_softmax<keys>(scores, rows.units.factor, maximum, sum, rescale);
    hopper_pack<T, keys>(p, scores);

    bool found = false;
    for (;; key0 += keys, stage.number++) {  // stage: of the values of key0; the scores are one tile ahead
      const uint32_t s = stage.at();
      const bool is_edge = key0 + keys - 1 > rows.range.t0 || key0 < rows.range.begin_of_last;
      phase_barrier_wait(&barriers->v_full[s], stage.phase(), patience);
      found = is_edge && hopper_clear_infinite<T>(v_tiles + s * places::tile::elements, places::tile::bytes);
      if (key0 + keys >= rows.range.past) break;
      const hopper_stage next = {stage.number + 1};
      phase_barrier_wait(&barriers->k_full[next.at()], next.phase(), patience);
      part_barrier_sync(own_turn, HOPPER_CONSUMERS * WARPGROUP);
      warpgroup_settle(scores[0]);
      warpgroup_settle(result[0]);
      warpgroup_begin();
      hopper_scores<T, HEAD, keys>(scores, q, matrix_descriptor_at(k, next.at() * places::tile::bytes));
      hopper_add_sums<T, HEAD, keys>(result, p, matrix_descriptor_at(v, s * places::tile::bytes));
      part_barrier_arrive(other_turn, HOPPER_CONSUMERS * WARPGROUP);
      warpgroup_wait<1>();
      warpgroup_settle(scores[0]);
      hopper_release(&barriers->k_free[next.at()]);
      hopper_mask<keys>(scores, a, rows, key0 + keys);
      hopper_softmax<keys>(scores, rows.units.factor, maximum, sum, rescale);
      warpgroup_wait<0>();
      warpgroup_settle(result[0]);
      hopper_release(&barriers->v_free[s]);
      if (found) {
        matrix_add_infinite<T, false, keys>(result, a, rows.b,
                                            matrix_rows_of(a, a.v, a.v_t, a.v_h, rows.b, rows.g, key0, rows.range.past),
                                            rows.row0, 0);
      }
#pragma unroll
      for (int half = 0; half < 2; half++) matrix_rescale(result[0], half, rescale[half]);
      hopper_pack<T, keys>(p, scores);
    }
    hopper_release(&barriers->q_free);
    warpgroup_settle(result[0]);
    warpgroup_begin();
    hopper_add_sums<T, HEAD, keys>(result, p, matrix_descriptor_at(v, stage.at() * places::tile::bytes));
    warpgroup_wait<0>();
    warpgroup_settle(result[0]);
    hopper_release(&barriers->v_free[stage.at()]);
    stage.number++;
    if (found) {
      matrix_add_infinite<T, false, keys>(
          result, a, rows.b, matrix_rows_of(a, a.v, a.v_t, a.v_h, rows.b, rows.g, key0, rows.range.past), rows.row0, 0);
    }
    matrix_finish(a, rows.b, place.head, rows.row0, rows.range.past, rows.units.factor, maximum, sum);
    hopper_store(static_cast<T *>(a.out) + (uint64_t)rows.b * a.T * a.out_t + place.head * a.out_h, a.out_t, rows.row0,
                 rows.range.past, a.D, result, sum[0][0], sum[0][1]);
  }
}

template <typename T, int HEAD>
__global__ void __launch_bounds__(HOPPER_THREADS, 1)
    attention_forward_hopper_kernel(const __grid_constant__ attention_hopper_arguments a) {
#if CUDA_HAS_HOPPER
  CUDA_DYNAMIC_SHARED(unsigned char, memory);
  __shared__ hopper_barriers barriers;
  uint16_t *const tiles = hopper_tiles(memory);
  if (threadIdx.x == 0) hopper_barriers_make(&barriers);
  __syncthreads();
  if (threadIdx.x < WARPGROUP) {
    registers_give<24>();
    if (threadIdx.x == 0) hopper_produce<HEAD, hopper_forward<HEAD>::keys, 1>(a, &barriers, tiles);
  } else {
    registers_take<240>();
    hopper_consume<T, HEAD>(a, &barriers, tiles);
  }
#endif
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_FORWARD_HOPPER_CUH_
