// What route and route_gradient share: the constants, a row's scores and how they are found (runtime/ops.h).
#ifndef ROUTE_GLSL
#define ROUTE_GLSL
#include "elements.glsl"
#include "math.glsl"
#include "value.glsl"

layout(constant_id = 2) const uint storage = F32;
layout(constant_id = 3) const uint experts = 1;
layout(constant_id = 4) const uint chosen = 1;
layout(constant_id = 5) const bool is_sigmoid = false;
layout(constant_id = 6) const bool is_normalised = false;
READ_TENSOR(0, logits, storage)  // [rows, experts]

// Of the row: the largest logit, and 1 / sum of e^(logit - largest).
struct softmax_row {
  uint first;
  float largest, reciprocal;
};

softmax_row softmax_of(uint first) {
  softmax_row row = softmax_row(first, minus_infinity(), 1.0);
  if (!is_sigmoid) {
    for (uint e = 0; e < experts; e++) {
      const float x = load_logits_element(first + e);
      if (x > row.largest) row.largest = x;
    }
    float sum = 0.0;
    for (uint e = 0; e < experts; e++) sum += exponential(load_logits_element(first + e) - row.largest);
    row.reciprocal = 1.0 / sum;
  }
  return row;
}

float score_of(softmax_row row, uint e) {
  const float x = load_logits_element(row.first + e);
  float score;
  if (is_sigmoid) {
    vec4 value, slope;
    logistic(vec4(x), value, slope);
    score = value.x;
  } else {
    score = exponential(x - row.largest) * row.reciprocal;
  }
  return score;
}

#endif
