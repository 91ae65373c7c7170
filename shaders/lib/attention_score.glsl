// The score of a query and a key from their product (runtime/ops.h), and its derivative. Needs the specialisation constants
// HAS_SLOPES and HAS_SOFT_CAP and the arguments `scale` and `soft_cap`.
#ifndef ATTENTION_SCORE_GLSL
#define ATTENTION_SCORE_GLSL
#include "math.glsl"

#define UNROLL [[unroll]]
#define KEEP_LOOP [[dont_unroll]]

// `distance`: positions from the query back to the key. `derivative`: of the score with respect to the product.
vec4 attention_score(vec4 product, float slope, vec4 distance, out vec4 derivative) {
  vec4 score = product * scale;
  derivative = vec4(scale);
  if (HAS_SOFT_CAP) {
    const vec4 squashed = hyperbolic_tangent(score / soft_cap);
    score = soft_cap * squashed;
    derivative = (1.0 - squashed) * (1.0 + squashed) * scale;
  }
  if (HAS_SLOPES) score -= slope * distance;
  return score;
}
vec4 attention_score(vec4 product, float slope, vec4 distance) {
  vec4 derivative;
  return attention_score(product, slope, distance, derivative);
}
float attention_score(float product, float slope, float distance, out float derivative) {
  vec4 derivatives;
  const float score = attention_score(vec4(product), slope, vec4(distance), derivatives).x;
  derivative = derivatives.x;
  return score;
}
float attention_score(float product, float slope, float distance) {
  float derivative;
  return attention_score(product, slope, distance, derivative);
}
#endif
