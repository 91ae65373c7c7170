// The activation functions and their derivatives (runtime/ops.h), as shaders/lib/activation.glsl has them.
//
// Both GELUs and SiLU are x times a probability: of the logistic distribution (gelu_tanh, silu: 0.5 (1 + tanh(u)) is
// logistic(2u)) or of the normal one (gelu_erf). Written so, nothing overflows or cancels. NaN stays NaN.
//
// IsFast: exponential and quotient by the GPU's own instructions, good to about 1e-6 relative, which is for results
// that are rounded to 16 bits next.
#ifndef DURE_CUDA_ACTIVATION_CUH_
#define DURE_CUDA_ACTIVATION_CUH_

#include <cuda_runtime.h>

extern "C" {
#include "runtime/ops.h"
}

template <bool IsFast>
__device__ __forceinline__ float exponential(float x) {
  return IsFast ? __expf(x) : expf(x);
}
// Of 1 <= x < 2^126.
template <bool IsFast>
__device__ __forceinline__ float reciprocal_of(float x) {
  return IsFast ? __fdividef(1.0f, x) : 1.0f / x;
}

// A function's value and derivative; what is not used costs nothing.
struct value_and_slope {
  float value, slope;
};

// 1 / (1 + e^-x), without overflow or cancellation.
template <bool IsFast>
__device__ __forceinline__ value_and_slope logistic(float x) {
  const float q = exponential<IsFast>(-fabsf(x));
  const float upper = reciprocal_of<IsFast>(1.0f + q);
  return value_and_slope{x < 0 ? q * upper : upper, q * upper * upper};
}

// The standard normal's distribution function and density. The tail is e^(-x^2/2) t Q(t) with t = 1 / (1 + 0.35 |x|),
// relative error < 4e-8 (a minimax fit), so erf and erfc are never subtracted from one another.
template <bool IsFast>
__device__ __forceinline__ value_and_slope normal_distribution(float x) {
  const float e = exponential<IsFast>(-0.5f * x * x);
  const float t = reciprocal_of<IsFast>(fminf(1.0f + 0.35f * fabsf(x), 1e30f));
  float q = -0.02914198860526085f * t + 0.1439521461725235f;
  q = q * t - 0.25567302107810974f;
  q = q * t + 0.15912595391273499f;
  q = q * t - 0.02307581529021263f;
  q = q * t + 0.1054932102560997f;
  q = q * t + 0.11983672529459f;
  q = q * t + 0.1398613154888153f;
  q = q * t + 0.13962143659591675f;
  const float tail = e * (q * t);
  return value_and_slope{x < 0 ? tail : 1.0f - tail, e * 0.3989422804f};
}

template <bool IsFast>
__device__ __forceinline__ value_and_slope gelu_tanh(float x) {
  const float twice_root = 1.595769122f, cubic = 0.044715f;  // 2 sqrt(2 / pi)
  const value_and_slope p = logistic<IsFast>(twice_root * x * (1.0f + cubic * x * x));
  const float square = x * x > 1e4f ? 1e4f : x * x;  // beyond it the density is 0 and must not meet infinity
  return value_and_slope{x * p.value, p.value + x * p.slope * (twice_root * (1.0f + 3.0f * cubic * square))};
}

template <bool IsFast>
__device__ __forceinline__ value_and_slope gelu_erf(float x) {
  const value_and_slope p = normal_distribution<IsFast>(x);
  return value_and_slope{x * p.value, p.value + x * p.slope};
}

template <bool IsFast>
__device__ __forceinline__ value_and_slope silu(float x) {
  const value_and_slope p = logistic<IsFast>(x);
  return value_and_slope{x * p.value, p.value + x * p.slope};
}

template <bool IsFast>
__device__ __forceinline__ value_and_slope hyperbolic_tangent(float x) {
  return value_and_slope{tanhf(x), 4.0f * logistic<IsFast>(2.0f * x).slope};
}

__device__ __forceinline__ value_and_slope relu(float x) {
  return value_and_slope{x <= 0 ? 0 : x, x <= 0 ? 0.0f : 1.0f};
}

// f and f' of N values; `kind` is the same for the whole grid, so one choice serves all.
template <bool IsFast, int N>
__device__ __forceinline__ void activate(dure_activation kind, const float (&x)[N], value_and_slope (&y)[N]) {
  switch (kind) {
    case DURE_ACTIVATION_RELU:
#pragma unroll
      for (int e = 0; e < N; e++) y[e] = relu(x[e]);
      break;
    case DURE_ACTIVATION_GELU_ERF:
#pragma unroll
      for (int e = 0; e < N; e++) y[e] = gelu_erf<IsFast>(x[e]);
      break;
    case DURE_ACTIVATION_SILU:
#pragma unroll
      for (int e = 0; e < N; e++) y[e] = silu<IsFast>(x[e]);
      break;
    case DURE_ACTIVATION_TANH:
#pragma unroll
      for (int e = 0; e < N; e++) y[e] = hyperbolic_tangent<IsFast>(x[e]);
      break;
    default:
#pragma unroll
      for (int e = 0; e < N; e++) y[e] = gelu_tanh<IsFast>(x[e]);
      break;
  }
}

// f(x), f'(x).
template <bool IsFast = false>
__device__ __forceinline__ float activation_value(dure_activation kind, float x) {
  const float values[1] = {x};
  value_and_slope y[1];
  activate<IsFast>(kind, values, y);
  return y[0].value;
}
template <bool IsFast = false>
__device__ __forceinline__ float activation_slope(dure_activation kind, float x) {
  const float values[1] = {x};
  value_and_slope y[1];
  activate<IsFast>(kind, values, y);
  return y[0].slope;
}

#endif  // DURE_CUDA_ACTIVATION_CUH_
