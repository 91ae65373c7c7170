// The activation functions and their derivatives (runtime/ops.h); `kind` counts as dure_activation does.
//
// Both GELUs and SiLU are x times a probability: of the logistic distribution (gelu_tanh, silu: 0.5 (1 + tanh(u)) is
// logistic(2u)) or of the normal one (gelu_erf). Written so, nothing overflows or cancels.
#ifndef ACTIVATION_GLSL
#define ACTIVATION_GLSL
#include "math.glsl"

const uint GELU_TANH = 0, GELU_ERF = 1, RELU = 2, SILU = 3, TANH = 4;
const float TWICE_SQRT_2_OVER_PI = 1.595769122;
const float CUBIC = 0.044715;

// f(x) and f'(x); what is not used costs nothing.
void activation_parts(uint kind, vec4 x, out vec4 value, out vec4 slope) {
  vec4 probability, density;
  if (kind == RELU) {
    precise vec4 y = mix(x, vec4(0.0), lessThanEqual(x, vec4(0.0)));  // NaN stays
    value = y;
    slope = mix(vec4(1.0), vec4(0.0), lessThanEqual(x, vec4(0.0)));
  } else if (kind == GELU_ERF) {
    normal_distribution(x, probability, density);
    value = x * probability;
    slope = probability + x * density;
  } else if (kind == SILU) {
    logistic(x, probability, density);
    value = x * probability;
    slope = probability + x * density;
  } else if (kind == TANH) {
    logistic(2.0 * x, probability, density);
    value = hyperbolic_tangent(x);
    slope = 4.0 * density;
  } else {
    logistic(TWICE_SQRT_2_OVER_PI * x * (1.0 + CUBIC * x * x), probability, density);
    // The square is bounded: beyond it `density` is 0 and must not meet infinity.
    const vec4 square = mix(x * x, vec4(1e4), greaterThan(x * x, vec4(1e4)));
    value = x * probability;
    slope = probability + x * density * (TWICE_SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * square));
  }
}

vec4 activation_value(uint kind, vec4 x) {
  vec4 value, slope;
  activation_parts(kind, x, value, slope);
  return value;
}

vec4 activation_backward(uint kind, vec4 x, vec4 dy) {
  vec4 value, slope;
  activation_parts(kind, x, value, slope);
  precise vec4 dx = slope * dy;  // 0 times infinity is NaN here too
  return dx;
}

void activation_parts(uint kind, float x, out float value, out float slope) {
  vec4 values, slopes;
  activation_parts(kind, vec4(x), values, slopes);
  value = values.x;
  slope = slopes.x;
}
float activation_value(uint kind, float x) { return activation_value(kind, vec4(x)).x; }
float activation_backward(uint kind, float x, float dy) { return activation_backward(kind, vec4(x), vec4(dy)).x; }

#endif
