// The gradient's norm, the factor that clips it and undoes the loss scale, whether the step counts, and the loss scale
// of the next one (runtime/ops.h). One thread.
#ifndef DURE_CUDA_KERNELS_GRADIENT_CLIP_CUH_
#define DURE_CUDA_KERNELS_GRADIENT_CLIP_CUH_

#include <cuda_runtime.h>

#include <cstdint>

extern "C" {
#include "runtime/ops.h"
}

struct gradient_clip_arguments {
  const float *square_sum;  // [1]
  const float *step;        // DURE_STEP_...
  float *state;             // DURE_STATE_...
  bool is_dynamic;
  uint32_t growth_interval;
};

#define LARGEST_LOSS_SCALE 16777216.0f

__device__ __forceinline__ bool is_finite(float x) { return (__float_as_uint(x) & 0x7fffffffu) < 0x7f800000u; }

// Dynamic loss scaling (Micikevicius et al. 2018, section 3.2).
__device__ __forceinline__ void scale_losses(const gradient_clip_arguments &a, bool step_counts, float loss_scale) {
  float good_steps = step_counts ? a.state[DURE_STATE_GOOD_STEPS] + 1.0f : 0.0f;
  if (!step_counts) {
    loss_scale = fmaxf(0.5f * loss_scale, 1.0f);
    a.state[DURE_STATE_SKIPPED] += 1.0f;
  } else if (a.growth_interval > 0 && good_steps >= (float)a.growth_interval) {
    loss_scale = fminf(2.0f * loss_scale, LARGEST_LOSS_SCALE);
    good_steps = 0.0f;
  }
  a.state[DURE_STATE_FINITE] = step_counts ? 1.0f : 0.0f;
  a.state[DURE_STATE_LOSS_SCALE] = loss_scale;
  a.state[DURE_STATE_GOOD_STEPS] = good_steps;
}

__global__ void gradient_clip_kernel(gradient_clip_arguments a) {
  if (blockIdx.x != 0 || threadIdx.x != 0) return;
  const float loss_scale = a.state[DURE_STATE_LOSS_SCALE];
  const float norm = __fdiv_rn(__fsqrt_rn(a.square_sum[0]), loss_scale);
  const float clip = a.step[DURE_STEP_CLIP];
  const bool clips = clip > 0.0f && is_finite(clip);
  const float scale = __fdiv_rn(clip, norm + 1e-6f);
  a.state[DURE_STATE_NORM] = norm;
  a.state[DURE_STATE_SCALE] = __fdiv_rn(clips && scale < 1.0f ? scale : 1.0f, loss_scale);
  if (a.is_dynamic) {
    scale_losses(a, is_finite(norm), loss_scale);
  } else if (!is_finite(norm)) {
    a.state[DURE_STATE_FINITE] = 0.0f;
  }
}

#endif  // DURE_CUDA_KERNELS_GRADIENT_CLIP_CUH_
