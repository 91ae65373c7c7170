// The activation functions and their derivatives (runtime/ops.h), as shaders/lib/activation.glsl has them.
//
// Both GELUs and SiLU are x times a probability: of the logistic distribution (gelu_tanh, silu: 0.5 (1 + tanh(u)) is
// logistic(2u)) or of the normal one (gelu_erf). Written so, nothing overflows or cancels. NaN stays NaN.
#ifndef DURE_CUDA_ACTIVATION_CUH_
#define DURE_CUDA_ACTIVATION_CUH_

#include <cuda_runtime.h>

extern "C" {
#include "runtime/ops.h"
}

// The logistic function s(x) = 1 / (1 + e^-x) and its slope s (1 - s), without overflow or cancellation.
__device__ __forceinline__ float logistic(float x, float *out_slope) {
  const float q = expf(-fabsf(x)), upper = 1.0f / (1.0f + q);
  *out_slope = q * upper * upper;
  return x < 0 ? q * upper : upper;
}

// f(x), and f'(x); what is not used costs nothing.
__device__ __forceinline__ float activation_parts(dure_activation kind, float x, float *out_slope) {
  const float twice_sqrt_2_over_pi = 1.595769122f, cubic = 0.044715f;
  float density;
  switch (kind) {
    case DURE_ACTIVATION_RELU: *out_slope = x <= 0 ? 0.0f : 1.0f; return x <= 0 ? 0.0f : x;
    case DURE_ACTIVATION_GELU_ERF: {
      const float probability = 0.5f * erfcf(-0.7071067812f * x);
      *out_slope = probability + x * (0.3989422804f * expf(-0.5f * x * x));
      return x * probability;
    }
    case DURE_ACTIVATION_SILU: {
      const float probability = logistic(x, &density);
      *out_slope = probability + x * density;
      return x * probability;
    }
    default: {
      const float probability = logistic(twice_sqrt_2_over_pi * x * (1.0f + cubic * x * x), &density);
      // The square is bounded: beyond it `density` is 0 and must not meet infinity.
      const float square = x * x > 1e4f ? 1e4f : x * x;
      *out_slope = probability + x * density * (twice_sqrt_2_over_pi * (1.0f + 3.0f * cubic * square));
      return x * probability;
    }
  }
}

__device__ __forceinline__ float activation_value(dure_activation kind, float x) {
  float slope;
  return activation_parts(kind, x, &slope);
}
__device__ __forceinline__ float activation_slope(dure_activation kind, float x) {
  float slope;
  activation_parts(kind, x, &slope);
  return slope;
}

#endif  // DURE_CUDA_ACTIVATION_CUH_
