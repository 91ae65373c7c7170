// The rows of all experts, one expert's after another's (runtime/ops.h): a counting sort without atomics, so that the
// order never varies. A block an expert; each thread counts the entries of lower experts, and of this one, in a run of
// consecutive entries, and then knows where its own begin.
#ifndef DURE_CUDA_KERNELS_EXPERT_ORDER_CUH_
#define DURE_CUDA_KERNELS_EXPERT_ORDER_CUH_

#include "cuda/record.cuh"

enum { EXPERT_ORDER_THREADS = 256 };

struct expert_order_arguments {
  const uint32_t *experts;  // [entries]
  uint32_t *offsets;        // [expert_count + 1]
  uint32_t *rows, *places;  // [entries]
  uint32_t entries, chosen, expert_count;
};

static __global__ void __launch_bounds__(EXPERT_ORDER_THREADS) expert_order_kernel(expert_order_arguments a) {
  __shared__ uint32_t lower[EXPERT_ORDER_THREADS], own[EXPERT_ORDER_THREADS];
  const uint32_t me = blockIdx.x, thread = threadIdx.x;
  const uint32_t each = (a.entries + EXPERT_ORDER_THREADS - 1) / EXPERT_ORDER_THREADS;
  const uint32_t begin = thread * each < a.entries ? thread * each : a.entries;
  const uint32_t end = begin + each < a.entries ? begin + each : a.entries;
  uint32_t lower_count = 0, own_count = 0;
  for (uint32_t i = begin; i < end; i++) {
    lower_count += a.experts[i] < me ? 1 : 0;
    own_count += a.experts[i] == me ? 1 : 0;
  }
  lower[thread] = lower_count;
  own[thread] = own_count;
  __syncthreads();
  uint32_t start = 0, before = 0, all = 0;
  for (uint32_t other = 0; other < EXPERT_ORDER_THREADS; other++) {
    start += lower[other];
    before += other < thread ? own[other] : 0;
    all += own[other];
  }
  if (thread == 0) a.offsets[me] = start;
  if (thread == 0 && me + 1 == a.expert_count) a.offsets[a.expert_count] = start + all;
  uint32_t place = start + before;
  for (uint32_t i = begin; i < end; i++) {
    if (a.experts[i] != me) continue;
    a.rows[place] = i / a.chosen;
    a.places[i] = place++;
  }
}

#endif  // DURE_CUDA_KERNELS_EXPERT_ORDER_CUH_
