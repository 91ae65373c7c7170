// AdamW (Loshchilov and Hutter 2019, algorithm 2) in place; nothing at all once `state` says that the step does not
// count. runtime/ops.h says what master, random and the types do; cuda/adamw.cuh has the update.
//
// A thread takes ADAMW_FOURS fours, a block's width apart, and loads all that it needs of them before it computes.
// Bytes: 28 a parameter in f32, also with a master and gradient and parameter in bf16; 14 in bf16 throughout;
// about 40 instructions a parameter, 15 of them FLOPs, and 15 more with random words.
#ifndef DURE_CUDA_KERNELS_ADAMW_CUH_
#define DURE_CUDA_KERNELS_ADAMW_CUH_

#include "cuda/adamw.cuh"

constexpr uint32_t ADAMW_THREADS = 256, ADAMW_FOURS = 2;

template <typename Types>
__global__ void __launch_bounds__(ADAMW_THREADS) adamw_kernel(adamw_arguments a) {
  if (!adamw_step_counts(a)) return;
  const adamw_step s = adamw_read_step(a);
  const adamw_operands<Types> o = adamw_operands_of<Types>(a);
  const uint64_t fours = (a.count + 3) / 4;
  const uint64_t first = (uint64_t)blockIdx.x * (ADAMW_THREADS * ADAMW_FOURS) + threadIdx.x;
  raw_four gradient[ADAMW_FOURS], before[ADAMW_FOURS], first_moment[ADAMW_FOURS], second_moment[ADAMW_FOURS];
#pragma unroll
  for (uint32_t f = 0; f < ADAMW_FOURS; f++) {
    const uint64_t i = first + f * ADAMW_THREADS;
    if (i >= fours) continue;
    gradient[f] = load_raw(o, o.gradient, i);
    before[f] = load_raw(o, o.updated, i);
    first_moment[f] = load_raw(o, o.first_moment, i);
    second_moment[f] = load_raw(o, o.second_moment, i);
  }
#pragma unroll
  for (uint32_t f = 0; f < ADAMW_FOURS; f++) {
    const uint64_t i = first + f * ADAMW_THREADS;
    if (i >= fours) continue;
    float4 m = floats_of(o.first_moment.dtype, first_moment[f]), v = floats_of(o.second_moment.dtype, second_moment[f]);
    adamw_moments(s, floats_of(o.gradient.dtype, gradient[f]), m, v);
    store_raw(o, o.first_moment, i, raw_of(o.first_moment.dtype, m));
    store_raw(o, o.second_moment, i, raw_of(o.second_moment.dtype, v));
    adamw_store_parameter(o, s, i, adamw_parameter(s, floats_of(o.updated.dtype, before[f]), m, v));
  }
}

#endif  // DURE_CUDA_KERNELS_ADAMW_CUH_
