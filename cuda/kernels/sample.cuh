// One token a row from logits [rows, vocabulary]: the largest, or drawn after top-k and top-p (runtime/ops.h). One
// block a row.
//
// Thresholds are found on keys: unsigned integers in the order of the floats. A threshold is the largest key at or
// above which there are still k logits (or still the mass top_p). It is fixed three bits a pass, from the top: seven
// candidates are tallied at once, so at most 11 passes over the row decide all 32 bits, without sorting; it is found
// sooner when only one logit is left between two candidates, and what lies below all candidates of a pass is only
// looked at. The token is then found by narrowing: the block's warps sum the masses of as many parts of the row, in
// order, and go on in the part in which the running mass passes what was drawn. Bytes: 4 a logit and pass: 2 passes
// greedy, 3 plain, about 5 more for each of top-k and top-p (from cache).
#ifndef DURE_CUDA_KERNELS_SAMPLE_CUH_
#define DURE_CUDA_KERNELS_SAMPLE_CUH_

#include "cuda/block.cuh"
#include "cuda/numbers.cuh"
#include "cuda/random.cuh"

extern "C" {
#include "runtime/ops.h"
}

template <typename T>
struct sample_arguments {
  const T *logits;         // [rows, vocabulary]
  const float *settings;   // DURE_SAMPLE_...
  const uint32_t *random;  // seed low, seed high, step, stream
  uint32_t *token;         // [rows]
  uint64_t vocabulary;
  uint32_t candidates;  // of a row, from its first on
};

enum { SAMPLE_THREADS = 512, SAMPLE_WARPS = SAMPLE_THREADS / WARP };

// What a block works on, and shared memory for its reductions.
template <typename T>
struct sample_row {
  const T *logits;  // [count]
  uint32_t count;
  float maximum, temperature;
  float *scratch;      // [SAMPLE_WARPS]
  uint32_t *integers;  // [SAMPLE_WARPS]
};

// Keys order as the floats do; the two zeros are one, and NaN comes below everything, with key 0.
__device__ __forceinline__ uint32_t key_of(float value) {
  const uint32_t bits = value == 0.0f ? 0 : __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0;
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float from_key(uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

template <typename T>
__device__ __forceinline__ float mass_of(const sample_row<T> &row, float value) {
  return expf((value - row.maximum) / row.temperature);
}

struct sum_of {
  __device__ __forceinline__ uint32_t operator()(uint32_t a, uint32_t b) const { return a + b; }
};
struct largest_of {
  __device__ __forceinline__ uint32_t operator()(uint32_t a, uint32_t b) const { return max(a, b); }
};
struct smallest_of {
  __device__ __forceinline__ uint32_t operator()(uint32_t a, uint32_t b) const { return min(a, b); }
};

// Over the block; every thread gets the result.
template <typename Combine>
__device__ __forceinline__ uint32_t block_reduce(uint32_t x, uint32_t *scratch, Combine combine) {
#pragma unroll
  for (int offset = WARP / 2; offset > 0; offset /= 2) x = combine(x, __shfl_xor_sync(0xffffffffu, x, offset));
  __syncthreads();
  if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
  __syncthreads();
  uint32_t result = scratch[0];
  for (int i = 1; i < SAMPLE_WARPS; i++) result = combine(result, scratch[i]);
  return result;
}

// ---- thresholds ----

// The mass of the keys from `floor_key` on.
template <typename T>
__device__ float mass_from(const sample_row<T> &row, uint32_t floor_key) {
  float sum = 0;
  for (uint32_t i = threadIdx.x; i < row.count; i += SAMPLE_THREADS) {
    const float value = to_float(row.logits[i]);
    const uint32_t key = key_of(value);
    if (key != 0 && key >= floor_key) sum += mass_of(row, value);
  }
  return block_sum(sum, row.scratch);
}

// Of the keys from `floor_key` on: how many, and which mass, are at least each of eight candidates prefix + (0..7 <<
// shift)?
template <typename T, bool ByMass>
__device__ void tally_row(const sample_row<T> &row, uint32_t prefix, uint32_t shift, uint32_t floor_key,
                          uint32_t (&count)[8], float (&mass)[8]) {
#pragma unroll
  for (int d = 0; d < 8; d++) count[d] = 0, mass[d] = 0;
  const uint32_t least = max(max(prefix, floor_key), 1u);  // key 0 counts for nothing
  for (uint32_t i = threadIdx.x; i < row.count; i += SAMPLE_THREADS) {
    const float value = to_float(row.logits[i]);
    const uint32_t key = key_of(value);
    if (key < least) continue;
    const uint32_t digit = (key - prefix) >> shift;  // 8 and more: above all candidates
    const float own = ByMass ? mass_of(row, value) : 0;
#pragma unroll
    for (uint32_t d = 0; d < 8; d++) {
      if (digit < d) continue;
      count[d]++;
      if (ByMass) mass[d] += own;
    }
  }
#pragma unroll
  for (int d = 0; d < 8; d++) {
    count[d] = block_reduce(count[d], row.integers, sum_of());
    if (ByMass) mass[d] = block_sum(mass[d], row.scratch);
  }
}

// The largest key at or above which at least `wanted` (logits, or mass) is found among the keys from floor_key on; or a
// lower one with the same logits above it.
template <typename T, bool ByMass>
__device__ uint32_t threshold(const sample_row<T> &row, float wanted, uint32_t floor_key) {
  uint32_t prefix = 0;
  for (int shift = 30; shift >= 0; shift -= 3) {
    uint32_t count[8], kept = 0, above = 0, digit = 0;
    float mass[8];
    tally_row<T, ByMass>(row, prefix, (uint32_t)shift, floor_key, count, mass);
    const uint32_t last = shift == 30 ? 3 : 7;  // the first digit has two bits
    kept = count[0];
    above = count[1];
#pragma unroll
    for (uint32_t d = 1; d < 8; d++) {
      if (d > last || !((ByMass ? mass[d] : (float)count[d]) >= wanted)) continue;
      digit = d;
      kept = count[d];
      above = d < 7 ? count[(d + 1) % 8] : 0;
    }
    prefix += digit << shift;
    if (digit < last && kept - above <= 1) break;
  }
  return prefix;
}

// ---- choosing ----

template <typename T>
__device__ uint32_t largest_key(const sample_row<T> &row) {
  uint32_t largest = 0;
  for (uint32_t i = threadIdx.x; i < row.count; i += SAMPLE_THREADS)
    largest = max(largest, key_of(to_float(row.logits[i])));
  return block_reduce(largest, row.integers, largest_of());
}

// The first candidate with this key.
template <typename T>
__device__ uint32_t first_of(const sample_row<T> &row, uint32_t key) {
  uint32_t first = row.count - 1;
  for (uint32_t i = threadIdx.x; i < row.count; i += SAMPLE_THREADS) {
    if (key_of(to_float(row.logits[i])) == key) first = min(first, i);
  }
  return block_reduce(first, row.integers, smallest_of());
}

// The first index at which the running mass of the keys from `floor_key` on exceeds u times all of it; the last of them
// where rounding leaves it just short of that.
template <typename T>
__device__ uint32_t pick(const sample_row<T> &row, uint32_t floor_key, float u) {
  const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  uint32_t begin = 0, size = row.count;
  float before = 0, target = -1;
  while (size > 1) {
    const uint32_t part = (size + SAMPLE_WARPS - 1) / SAMPLE_WARPS;
    const uint32_t part_begin = min(warp * part, size), part_end = min(part_begin + part, size);
    float sum = 0;
    for (uint32_t i = part_begin + lane; i < part_end; i += WARP) {
      const float value = to_float(row.logits[begin + i]);
      const uint32_t key = key_of(value);
      if (key != 0 && key >= floor_key) sum += mass_of(row, value);
    }
    sum = warp_sum(sum);
    __syncthreads();
    if (lane == 0) row.scratch[warp] = sum;
    __syncthreads();
    if (target < 0) {
      float total = 0;
      for (int i = 0; i < SAMPLE_WARPS; i++) total += row.scratch[i];
      target = u * total;
    }
    uint32_t chosen = 0;
    float running = before, before_chosen = before;
    for (uint32_t i = 0; i < SAMPLE_WARPS; i++) {
      const float mass = row.scratch[i];
      if (!(mass > 0)) continue;
      chosen = i;
      before_chosen = running;
      running += mass;
      if (running > target) break;
    }
    before = before_chosen;
    begin += chosen * part;
    size = min(part, size - chosen * part);
  }
  return begin;
}

template <typename T>
__global__ void __launch_bounds__(SAMPLE_THREADS) sample_kernel(sample_arguments<T> a) {
  __shared__ float scratch[SAMPLE_WARPS];
  __shared__ uint32_t integers[SAMPLE_WARPS];
  const uint32_t r = blockIdx.x;
  sample_row<T> row = {a.logits + r * a.vocabulary,         a.candidates, 0,
                       a.settings[DURE_SAMPLE_TEMPERATURE], scratch,      integers};
  const uint32_t largest = largest_key(row);
  uint32_t choice;
  if (!(row.temperature > 0)) {
    choice = first_of(row, largest);
  } else {
    const float top_k = floorf(a.settings[DURE_SAMPLE_TOP_K]), top_p = a.settings[DURE_SAMPLE_TOP_P];
    row.maximum = from_key(largest);
    uint32_t floor_key = 0;
    if (top_k >= 1 && top_k < (float)row.count) floor_key = threshold<T, false>(row, top_k, 0);
    if (top_p < 1) {
      const float wanted = top_p * mass_from(row, floor_key);
      floor_key = min(max(floor_key, threshold<T, true>(row, wanted, floor_key)), largest);
    }
    const uint4 random = make_uint4(a.random[0], a.random[1], a.random[2], a.random[3]);
    choice = pick(row, floor_key, random_uniform(random, r));
  }
  if (threadIdx.x == 0) a.token[r] = choice;
}

#endif  // DURE_CUDA_KERNELS_SAMPLE_CUH_
