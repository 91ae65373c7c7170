// AdamW with 8-bit moments (Dettmers et al. 2022, section 2.1) in blocks of 256 elements: runtime/moment_code.h has the
// code. A warp takes one block, two fours a lane, and keeps its new moments in registers until the warp's maximum has
// given the scale they are stored by. Either moment may also be f32 or of 16 bits.
//
// Bytes: 16 a parameter in f32, 10 in bf16; about 70 instructions a parameter, 30 more with random words.
#ifndef DURE_CUDA_KERNELS_ADAMW_BLOCKS_CUH_
#define DURE_CUDA_KERNELS_ADAMW_BLOCKS_CUH_

#include "cuda/adamw.cuh"
#include "cuda/block.cuh"

constexpr uint32_t ADAMW_BLOCKS_THREADS = 256;
constexpr uint32_t ADAMW_BLOCKS_EACH = ADAMW_BLOCKS_THREADS / WARP;      // moment blocks a thread block
constexpr uint32_t ADAMW_BLOCKS_FOURS = DURE_MOMENT_BLOCK / 4;           // fours of a moment block
constexpr uint32_t ADAMW_BLOCKS_FOURS_EACH = ADAMW_BLOCKS_FOURS / WARP;  // of a lane
#define ADAMW_MOMENT_STREAM 0x80000000u  // random words of the moments come from a stream of their own
#define ADAMW_NEAREST (DURE_MOMENT_NEAREST * 0x10001u)

__device__ __forceinline__ float4 first_moments_of(any_pointer p, raw_four raw, float scale) {
  if (p.dtype != DURE_DTYPE_U8) return floats_of(p.dtype, raw);
  const uint32_t w = raw.words.x;
  return make_float4(first_moment_decode(w & 0xffu, scale), first_moment_decode(w >> 8 & 0xffu, scale),
                     first_moment_decode(w >> 16 & 0xffu, scale), first_moment_decode(w >> 24, scale));
}
__device__ __forceinline__ float4 second_moments_of(any_pointer p, raw_four raw, float scale) {
  if (p.dtype != DURE_DTYPE_U8) return floats_of(p.dtype, raw);
  const uint32_t w = raw.words.x;
  return make_float4(second_moment_decode(w & 0xffu, scale), second_moment_decode(w >> 8 & 0xffu, scale),
                     second_moment_decode(w >> 16 & 0xffu, scale), second_moment_decode(w >> 24, scale));
}

// Noise: the word's low half for the first moment, its high half for the second.
__device__ __forceinline__ raw_four raw_of_first_moments(any_pointer p, float4 m, float ratio, uint4 noise) {
  if (p.dtype != DURE_DTYPE_U8) return raw_of(p.dtype, m);
  return raw_four{make_uint4(first_moment_encode(__fmul_rn(m.x, ratio), noise.x & 0xffffu) |
                                 first_moment_encode(__fmul_rn(m.y, ratio), noise.y & 0xffffu) << 8 |
                                 first_moment_encode(__fmul_rn(m.z, ratio), noise.z & 0xffffu) << 16 |
                                 first_moment_encode(__fmul_rn(m.w, ratio), noise.w & 0xffffu) << 24,
                             0, 0, 0)};
}
__device__ __forceinline__ raw_four raw_of_second_moments(any_pointer p, float4 v, float ratio, uint4 noise) {
  if (p.dtype != DURE_DTYPE_U8) return raw_of(p.dtype, v);
  return raw_four{make_uint4(second_moment_encode(__fmul_rn(v.x, ratio), noise.x >> 16) |
                                 second_moment_encode(__fmul_rn(v.y, ratio), noise.y >> 16) << 8 |
                                 second_moment_encode(__fmul_rn(v.z, ratio), noise.z >> 16) << 16 |
                                 second_moment_encode(__fmul_rn(v.w, ratio), noise.w >> 16) << 24,
                             0, 0, 0)};
}

__device__ __forceinline__ float largest_magnitude(float4 x) {
  return fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)));
}

template <typename Types>
__global__ void __launch_bounds__(ADAMW_BLOCKS_THREADS) adamw_blocks_kernel(adamw_arguments a) {
  if (!adamw_step_counts(a)) return;
  const adamw_step s = adamw_read_step(a);
  const adamw_operands<Types> o = adamw_operands_of<Types>(a);
  const uint32_t lane = threadIdx.x % WARP;
  const uint64_t block = (uint64_t)blockIdx.x * ADAMW_BLOCKS_EACH + threadIdx.x / WARP, fours = (a.count + 3) / 4;
  const uint64_t first = block * ADAMW_BLOCKS_FOURS + lane;
  if (block * ADAMW_BLOCKS_FOURS >= fours) return;  // the whole warp
  const bool has_first = o.first_moment.dtype == DURE_DTYPE_U8, has_second = o.second_moment.dtype == DURE_DTYPE_U8;

  const raw_four nothing = {make_uint4(0, 0, 0, 0)};
  raw_four gradient[ADAMW_BLOCKS_FOURS_EACH], before[ADAMW_BLOCKS_FOURS_EACH];
  raw_four first_moment[ADAMW_BLOCKS_FOURS_EACH], second_moment[ADAMW_BLOCKS_FOURS_EACH];
#pragma unroll
  for (uint32_t f = 0; f < ADAMW_BLOCKS_FOURS_EACH; f++) {
    const uint64_t i = first + f * WARP;
    gradient[f] = i < fours ? load_raw(o, o.gradient, i) : nothing;
    before[f] = i < fours ? load_raw(o, o.updated, i) : nothing;
    first_moment[f] = i < fours ? load_raw(o, o.first_moment, i) : nothing;
    second_moment[f] = i < fours ? load_raw(o, o.second_moment, i) : nothing;
  }
  const float old_first = has_first ? a.first_scales[block] : 0, old_second = has_second ? a.second_scales[block] : 0;

  float4 m[ADAMW_BLOCKS_FOURS_EACH], v[ADAMW_BLOCKS_FOURS_EACH];
  float most_first = 0, most_second = 0;  // what is past the end gives zeros
#pragma unroll
  for (uint32_t f = 0; f < ADAMW_BLOCKS_FOURS_EACH; f++) {
    m[f] = first_moments_of(o.first_moment, first_moment[f], old_first);
    v[f] = second_moments_of(o.second_moment, second_moment[f], old_second);
    adamw_moments(s, floats_of(o.gradient.dtype, gradient[f]), m[f], v[f]);
    most_first = fmaxf(most_first, largest_magnitude(m[f]));
    most_second = fmaxf(most_second, largest_magnitude(v[f]));
  }
  most_first = warp_maximum(most_first);
  most_second = warp_maximum(most_second);
  const float first_ratio = most_first > 0 ? __frcp_rn(most_first) : 0;
  const float second_ratio = most_second > 0 ? __frcp_rn(most_second) : 0;
  if (lane == 0 && has_first) a.first_scales[block] = most_first;
  if (lane == 0 && has_second) a.second_scales[block] = most_second;

  uint4 random = s.random;
  random.w ^= ADAMW_MOMENT_STREAM;
#pragma unroll
  for (uint32_t f = 0; f < ADAMW_BLOCKS_FOURS_EACH; f++) {
    const uint64_t i = first + f * WARP;
    if (i >= fours) continue;
    uint4 noise = make_uint4(ADAMW_NEAREST, ADAMW_NEAREST, ADAMW_NEAREST, ADAMW_NEAREST);
    if (s.has_random) noise = random_words(random, s.first_group + i);
    store_raw(o, o.first_moment, i, raw_of_first_moments(o.first_moment, m[f], first_ratio, noise));
    store_raw(o, o.second_moment, i, raw_of_second_moments(o.second_moment, v[f], second_ratio, noise));
    adamw_store_parameter(o, s, i, adamw_parameter(s, floats_of(o.updated.dtype, before[f]), m[f], v[f]));
  }
}

#endif  // DURE_CUDA_KERNELS_ADAMW_BLOCKS_CUH_
