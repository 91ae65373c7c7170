// The activation functions and their derivatives (runtime/ops.h); `kind` counts as dure_activation does.
//
// Both GELUs and SiLU are x times a probability: of the logistic distribution (gelu_tanh, silu: 0.5 (1 + tanh(u)) is
// logistic(2u)) or of the normal one (gelu_erf). Written so, nothing overflows or cancels.
#ifndef ACTIVATION_GLSL
#define ACTIVATION_GLSL
#include "math.glsl"

const uint GELU_TANH = 0, GELU_ERF = 1, RELU = 2, SILU = 3;
const float TWICE_SQRT_2_OVER_PI = 1.595769122;
const float CUBIC = 0.044715;

vec4 activation_value(uint kind, vec4 x) {
  vec4 probability, slope;
  if (kind == RELU) {
    precise vec4 y = mix(x, vec4(0.0), lessThanEqual(x, vec4(0.0)));  // NaN stays
    return y;
  }
  if (kind == GELU_ERF) {
    normal_distribution(x, probability, slope);
  } else {
    logistic(kind == SILU ? x : TWICE_SQRT_2_OVER_PI * x * (1.0 + CUBIC * x * x), probability, slope);
  }
  return x * probability;
}

vec4 activation_slope(uint kind, vec4 x) {
  vec4 probability, slope;
  if (kind == RELU) return mix(vec4(1.0), vec4(0.0), lessThanEqual(x, vec4(0.0)));
  if (kind == GELU_ERF) {
    normal_distribution(x, probability, slope);
    return probability + x * slope;
  }
  if (kind == SILU) {
    logistic(x, probability, slope);
    return probability + x * slope;
  }
  logistic(TWICE_SQRT_2_OVER_PI * x * (1.0 + CUBIC * x * x), probability, slope);
  // The square is bounded: beyond it `slope` is 0 and must not meet infinity.
  const vec4 square = mix(x * x, vec4(1e4), greaterThan(x * x, vec4(1e4)));
  return probability + x * slope * (TWICE_SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * square));
}

vec4 activation_backward(uint kind, vec4 x, vec4 dy) {
  precise vec4 dx = activation_slope(kind, x) * dy;  // 0 times infinity is NaN here too
  return dx;
}

float activation_value(uint kind, float x) { return activation_value(kind, vec4(x)).x; }
float activation_backward(uint kind, float x, float dy) { return activation_backward(kind, vec4(x), vec4(dy)).x; }

#endif
