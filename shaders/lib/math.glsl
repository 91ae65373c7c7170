// Exponential, logarithm, logistic and normal distribution to about 1e-7 relative on every driver (their own differ: Vulkan
// allows exp 3 + 2|x| units in the last place). NaN stays NaN; infinities give the limits. Bounds are applied by
// comparisons, since min, max and clamp may turn NaN into a number. Coefficients are minimax fits (Lawson's iteration)
// with the error given beside them.
#ifndef MATH_GLSL
#define MATH_GLSL

const float LARGEST_FLOAT = 3.402823466e38;
float not_a_number() { return uintBitsToFloat(0x7fc00000u); }
float minus_infinity() { return uintBitsToFloat(0xff800000u); }

bool is_nan(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }
bool is_finite(float x) { return (floatBitsToUint(x) & 0x7fffffffu) < 0x7f800000u; }

// e^x = 2^k e^r with |r| <= ln 2 / 2; e^r = 1 + r + r^2 P(r), |error| < 4e-9. The scale goes in two factors, so that
// results below the normal range and overflow come out right.
vec4 exponential(vec4 x) {
  precise vec4 bounded = mix(x, vec4(-104.0), lessThan(x, vec4(-104.0)));
  bounded = mix(bounded, vec4(89.0), greaterThan(bounded, vec4(89.0)));
  const vec4 k = floor(bounded * 1.44269504 + 0.5);
  const vec4 r = (bounded - k * 0.693359375) + k * 2.12194440e-4;
  vec4 p = 0.0013950629 * r + 0.00836897;
  p = p * r + 0.041666202;
  p = p * r + 0.16666518;
  p = p * r + 0.5;
  const vec4 y = (p * r * r + r) + 1.0;
  // Multiplied, not shifted: SwiftShader shifts lane by lane, in 40 instructions.
  const vec4 half_k = floor(k * 0.5);
  return y * intBitsToFloat(ivec4(half_k + 127.0) * 0x800000) * intBitsToFloat(ivec4(k - half_k + 127.0) * 0x800000);
}
float exponential(float x) { return exponential(vec4(x)).x; }

// ln(2^k m) with m in [sqrt(1/2), sqrt(2)): 2 artanh((m - 1) / (m + 1)) by its series to the ninth power (|error| < 1e-9).
// For normal numbers, infinity and NaN; negative numbers give NaN.
float logarithm(float x) {
  if (x == 0.0) return minus_infinity();
  if (!is_finite(x) || x < 0.0) return x < 0.0 ? not_a_number() : x;
  const int bits = floatBitsToInt(x);
  const int k = (bits - 0x3f3504f3) >> 23;
  const float m = intBitsToFloat(bits - (k << 23));
  const float s = (m - 1.0) / (m + 1.0);
  const float q = s * s;
  const float series = s * q * (0.66666667 + q * (0.4 + q * (0.28571429 + q * 0.22222222)));
  return float(k) * 0.693359375 + (2.0 * s + (series - float(k) * 2.12194440e-4));
}

// The logistic function s(x) = 1 / (1 + e^-x) and its slope s (1 - s), without overflow or cancellation.
void logistic(vec4 x, out vec4 value, out vec4 slope) {
  const vec4 q = exponential(-abs(x));
  const vec4 upper = 1.0 / (1.0 + q);
  value = mix(upper, q * upper, lessThan(x, vec4(0.0)));
  slope = q * upper * upper;
}

// tanh: up to 0.625 x + x^3 P(x^2) (error < 2e-7), beyond it by the exponential, where nothing cancels.
vec4 hyperbolic_tangent(vec4 x) {
  const vec4 square = x * x;
  vec4 p = 0.015226903 * square - 0.051971618;
  p = p * square + 0.13308714;
  p = p * square - 0.33332375;
  const vec4 q = exponential(-2.0 * abs(x));
  return mix(sign(x) * (1.0 - q) / (1.0 + q), x + x * square * p, lessThan(abs(x), vec4(0.625)));
}

// The standard normal's distribution function and density. The tail is e^(-x^2/2) t Q(t) with t = 1 / (1 + 0.35 |x|),
// relative error < 4e-8, so erf and erfc are never subtracted from one another.
void normal_distribution(vec4 x, out vec4 cumulative, out vec4 density) {
  const vec4 e = exponential(-0.5 * x * x);
  const vec4 t = 1.0 / (1.0 + 0.35 * abs(x));
  vec4 q = -0.02914198860526085 * t + 0.1439521461725235;
  q = q * t - 0.25567302107810974;
  q = q * t + 0.15912595391273499;
  q = q * t - 0.02307581529021263;
  q = q * t + 0.1054932102560997;
  q = q * t + 0.11983672529459;
  q = q * t + 0.1398613154888153;
  q = q * t + 0.13962143659591675;
  const vec4 tail = e * (q * t);
  cumulative = mix(1.0 - tail, tail, lessThan(x, vec4(0.0)));
  density = e * 0.3989422804;
}

#endif
