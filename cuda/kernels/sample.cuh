// One token a row from logits [rows, vocabulary]: the largest, or drawn after top-k, top-p, min-p and typical-p
// (runtime/ops.h). One block a row.
//
// Thresholds are found on keys: unsigned integers in the order of the floats. A threshold is the largest key at or
// above which there are still k logits (or still the mass top_p). It is fixed three bits a pass, from the top: seven
// candidates are tallied at once, so at most 11 passes over the row decide all 32 bits, without sorting; it is found
// sooner when only one logit is left between two candidates, and what lies below all candidates of a pass is only
// looked at. For typical-p the keys are those of minus the deviation: with t = (logit - maximum) / temperature,
// | -log p - H | is | t - the mean of t |. The token is then found by narrowing: the block's warps sum the masses of as
// many parts of the row, in order, and go on in the part in which the running mass passes what was drawn. Bytes: 4 a
// logit and pass: 2 passes greedy, 3 plain, about 5 more for each of top-k and top-p (from cache).
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
  uint32_t candidates;                      // of a row, from its first on
  uint32_t settings_stride, random_stride;  // 0: the same for all rows
};

constexpr uint32_t SAMPLE_THREADS = 512;  // at most; fewer for short rows
constexpr uint32_t SAMPLE_WARPS = SAMPLE_THREADS / WARP, SAMPLE_DIGITS = 8;

struct sample_shared {
  float sums[SAMPLE_WARPS];
  uint32_t integers[SAMPLE_WARPS];
  uint32_t counts[SAMPLE_DIGITS][SAMPLE_WARPS + 1];  // of each warp, then of all
  float masses[SAMPLE_DIGITS][SAMPLE_WARPS + 1];
};

// What a block works on.
template <typename T>
struct sample_row {
  const T *logits;  // [count]
  uint32_t count;
  float maximum, temperature, min_p;
  float mean_exponent;   // of those that stay before typical-p
  uint32_t typical_key;  // of minus the largest deviation that stays; 0: all
  sample_shared *shared;
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

// Of minus the deviation.
template <typename T>
__device__ __forceinline__ uint32_t typical_key_of(const sample_row<T> &row, float value) {
  return key_of(-fabsf(__fsub_rn(__fdiv_rn(__fsub_rn(value, row.maximum), row.temperature), row.mean_exponent)));
}

template <typename T>
__device__ __forceinline__ uint32_t block_largest(const sample_row<T> &row, uint32_t x) {
#pragma unroll
  for (int offset = WARP / 2; offset > 0; offset /= 2) x = max(x, __shfl_xor_sync(0xffffffffu, x, offset));
  __syncthreads();
  if (threadIdx.x % WARP == 0) row.shared->integers[threadIdx.x / WARP] = x;
  __syncthreads();
  for (uint32_t i = 0; i < blockDim.x / WARP; i++) x = max(x, row.shared->integers[i]);
  return x;
}

// ---- thresholds ----

// The mass of the keys from `floor_key` on.
template <typename T>
__device__ float mass_from(const sample_row<T> &row, uint32_t floor_key) {
  float sum = 0;
  for (uint32_t i = threadIdx.x; i < row.count; i += blockDim.x) {
    const float value = to_float(row.logits[i]);
    const uint32_t key = key_of(value);
    if (key != 0 && key >= floor_key) sum += mass_of(row, value);
  }
  return block_sum(sum, row.shared->sums);
}

// The mass of those that min-p leaves too; fixes mean_exponent.
template <typename T>
__device__ float mass_before_typical(sample_row<T> &row, uint32_t floor_key) {
  float sum = 0, weighted = 0;
  for (uint32_t i = threadIdx.x; i < row.count; i += blockDim.x) {
    const float value = to_float(row.logits[i]), mass = mass_of(row, value);
    const uint32_t key = key_of(value);
    if (key == 0 || key < floor_key || mass < row.min_p || !(mass > 0)) continue;
    sum += mass;
    weighted += mass * ((value - row.maximum) / row.temperature);
  }
  sum = block_sum(sum, row.shared->sums);
  weighted = block_sum(weighted, row.shared->sums);
  row.mean_exponent = weighted / sum;
  return sum;
}

// What is tallied: the number of logits, their mass, or their mass in the order of their typicality.
enum sample_order { BY_COUNT, BY_MASS, BY_TYPICALITY };

// Adds up the tallies of all threads; every thread gets the result.
template <typename T, sample_order Order>
__device__ void block_tally(const sample_row<T> &row, uint32_t (&count)[SAMPLE_DIGITS], float (&mass)[SAMPLE_DIGITS]) {
  sample_shared &shared = *row.shared;
  const uint32_t warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
#pragma unroll
  for (uint32_t d = 0; d < SAMPLE_DIGITS; d++) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) count[d] += __shfl_xor_sync(0xffffffffu, count[d], offset);
    if (Order != BY_COUNT) mass[d] = warp_sum(mass[d]);
    if (threadIdx.x % WARP == 0) shared.counts[d][warp] = count[d];
    if (Order != BY_COUNT && threadIdx.x % WARP == 0) shared.masses[d][warp] = mass[d];
  }
  __syncthreads();
  if (threadIdx.x < SAMPLE_DIGITS) {
    uint32_t all = 0;
    float all_mass = 0;
    for (uint32_t i = 0; i < warps; i++) all += shared.counts[threadIdx.x][i];
    for (uint32_t i = 0; i < warps && Order != BY_COUNT; i++) all_mass += shared.masses[threadIdx.x][i];
    shared.counts[threadIdx.x][SAMPLE_WARPS] = all;
    shared.masses[threadIdx.x][SAMPLE_WARPS] = all_mass;
  }
  __syncthreads();
#pragma unroll
  for (uint32_t d = 0; d < SAMPLE_DIGITS; d++) {
    count[d] = shared.counts[d][SAMPLE_WARPS];
    mass[d] = shared.masses[d][SAMPLE_WARPS];
  }
}

// Of the keys from `floor_key` on: how many, and which mass, are at least each of eight candidates prefix + (0..7 <<
// shift)?
template <typename T, sample_order Order>
__device__ void tally_row(const sample_row<T> &row, uint32_t prefix, uint32_t shift, uint32_t floor_key,
                          uint32_t (&count)[SAMPLE_DIGITS], float (&mass)[SAMPLE_DIGITS]) {
#pragma unroll
  for (uint32_t d = 0; d < SAMPLE_DIGITS; d++) count[d] = 0, mass[d] = 0;
  const bool is_typical = Order == BY_TYPICALITY;
  const uint32_t least = max(is_typical ? prefix : max(prefix, floor_key), 1u);  // key 0 counts for nothing
  for (uint32_t i = threadIdx.x; i < row.count; i += blockDim.x) {
    const float value = to_float(row.logits[i]);
    uint32_t key = key_of(value);
    const float own = Order != BY_COUNT ? mass_of(row, value) : 0;
    if (is_typical) key = key == 0 || key < floor_key || own < row.min_p ? 0 : typical_key_of(row, value);
    if (key < least) continue;
    const uint32_t digit = (key - prefix) >> shift;  // 8 and more: above all candidates
#pragma unroll
    for (uint32_t d = 0; d < SAMPLE_DIGITS; d++) {
      if (digit < d) continue;
      count[d]++;
      if (Order != BY_COUNT) mass[d] += own;
    }
  }
  block_tally<T, Order>(row, count, mass);
}

// The largest key at or above which at least `wanted` (logits, or mass) is found among the keys from floor_key on; or a
// lower one with the same logits above it.
template <typename T, sample_order Order>
__device__ uint32_t threshold(const sample_row<T> &row, float wanted, uint32_t floor_key) {
  uint32_t prefix = 0;
  for (int shift = 30; shift >= 0; shift -= 3) {
    uint32_t count[SAMPLE_DIGITS], digit = 0;
    float mass[SAMPLE_DIGITS];
    tally_row<T, Order>(row, prefix, (uint32_t)shift, floor_key, count, mass);
    const uint32_t last = shift == 30 ? 3 : 7;  // the first digit has two bits
    uint32_t kept = count[0], above = count[1];
#pragma unroll
    for (uint32_t d = 1; d < SAMPLE_DIGITS; d++) {
      if (d > last || !((Order != BY_COUNT ? mass[d] : (float)count[d]) >= wanted)) continue;
      digit = d;
      kept = count[d];
      above = d + 1 < SAMPLE_DIGITS ? count[(d + 1) % SAMPLE_DIGITS] : 0;
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
  for (uint32_t i = threadIdx.x; i < row.count; i += blockDim.x)
    largest = max(largest, key_of(to_float(row.logits[i])));
  return block_largest(row, largest);
}

// The first candidate with this key.
template <typename T>
__device__ uint32_t first_of(const sample_row<T> &row, uint32_t key) {
  uint32_t after = 0;  // how far before the end
  for (uint32_t i = threadIdx.x; i < row.count; i += blockDim.x) {
    if (key_of(to_float(row.logits[i])) == key) after = max(after, row.count - 1 - i);
  }
  return row.count - 1 - block_largest(row, after);
}

// The first index at which the running mass of the keys from `floor_key` on exceeds u times all of it; the last of them
// where rounding leaves it just short of that. Needs two warps.
template <typename T>
__device__ uint32_t pick(const sample_row<T> &row, uint32_t floor_key, float u) {
  const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  uint32_t begin = 0, size = row.count;
  float before = 0, target = -1;
  while (size > 1) {
    const uint32_t part = (size + warps - 1) / warps;
    const uint32_t part_begin = min(warp * part, size), part_end = min(part_begin + part, size);
    float sum = 0;
    for (uint32_t i = part_begin + lane; i < part_end; i += WARP) {
      const float value = to_float(row.logits[begin + i]);
      const uint32_t key = key_of(value);
      const float mass = mass_of(row, value);
      if (key == 0 || key < floor_key || !(mass >= row.min_p)) continue;
      if (row.typical_key == 0 || typical_key_of(row, value) >= row.typical_key) sum += mass;
    }
    sum = warp_sum(sum);
    __syncthreads();
    if (lane == 0) row.shared->sums[warp] = sum;
    __syncthreads();
    if (target < 0) {
      float total = 0;
      for (uint32_t i = 0; i < warps; i++) total += row.shared->sums[i];
      target = u * total;
    }
    uint32_t chosen = 0;
    float running = before, before_chosen = before;
    for (uint32_t i = 0; i < warps; i++) {
      const float mass = row.shared->sums[i];
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
  __shared__ sample_shared shared[1];
  const uint32_t r = blockIdx.x;
  const float *settings = a.settings + r * a.settings_stride;
  sample_row<T> row = {a.logits + r * a.vocabulary,
                       a.candidates,
                       0,
                       settings[DURE_SAMPLE_TEMPERATURE],
                       settings[DURE_SAMPLE_MIN_P],
                       0,
                       0,
                       shared};
  const uint32_t largest = largest_key(row);
  uint32_t choice;
  if (!(row.temperature > 0)) {
    choice = first_of(row, largest);
  } else {
    const float top_k = floorf(settings[DURE_SAMPLE_TOP_K]), top_p = settings[DURE_SAMPLE_TOP_P];
    row.maximum = from_key(largest);
    uint32_t floor_key = 0;
    if (top_k >= 1 && top_k < (float)row.count) floor_key = threshold<T, BY_COUNT>(row, top_k, 0);
    if (top_p < 1) {
      const float wanted = top_p * mass_from(row, floor_key);
      floor_key = min(max(floor_key, threshold<T, BY_MASS>(row, wanted, floor_key)), largest);
    }
    const float typical_p = settings[DURE_SAMPLE_TYPICAL_P];
    if (typical_p > 0 && typical_p < 1) {
      const float wanted = typical_p * mass_before_typical(row, floor_key);
      row.typical_key = threshold<T, BY_TYPICALITY>(row, wanted, floor_key);
    }
    const uint32_t *words = a.random + r * a.random_stride;
    const uint4 random = make_uint4(words[0], words[1], words[2], words[3]);
    choice = pick(row, floor_key, random_uniform(random, a.random_stride == 0 ? r : 0));
  }
  if (threadIdx.x == 0) a.token[r] = choice;
}

#endif  // DURE_CUDA_KERNELS_SAMPLE_CUH_
