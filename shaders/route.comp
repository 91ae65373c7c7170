// The experts of each row and their weights (runtime/ops.h). One invocation a row: its experts are found one after the
// other as the largest that comes after the one before in the order (rank falling, number rising), so that nothing need
// be marked. Bytes: 4 E + 8 K a row of f32; about (K + 3) E steps of a few operations.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "route.glsl"

layout(constant_id = 7) const bool has_bias = false;
layout(constant_id = 8) const uint group_count = 0;
layout(constant_id = 9) const uint group_limit = 0;
layout(constant_id = 10) const uint group_best = 0;
READ_TENSOR(1, bias, storage)                                               // [experts]
layout(set = 0, binding = 2) buffer Weights { float weights[]; };           // [rows, chosen]
layout(set = 0, binding = 3) buffer Experts { uint experts_of_rows[]; };    // [rows, chosen]
layout(push_constant) uniform Push {
  uint count;  // rows
  float factor;
  uint logits_offset, bias_offset, weights_offset, experts_offset;
};

// What decides; without a bias and sums the logits do, which grow with the scores. NaN comes last.
float rank_of(softmax_row row, uint e) {
  precise float rank = load_logits_element(row.first + e);
  if (has_bias || (group_count > 0 && group_best > 1)) rank = score_of(row, e);
  if (has_bias) rank += load_bias_element(bias_offset + e);
  return is_nan(rank) ? minus_infinity() : rank;
}

const uint NONE = 0xffffffffu;

// The next of experts [first, first + size) after `last` (at first: infinity and NONE), of groups in `open_groups`.
void find_next(softmax_row row, uint first, uint size, uint open_groups, inout float last_rank, inout uint last) {
  float best_rank = minus_infinity();
  uint best = NONE;
  for (uint e = first; e < first + size; e++) {
    float rank = rank_of(row, e);
    if (group_count > 0 && (open_groups >> (e / (experts / max(group_count, 1))) & 1) == 0) rank = minus_infinity();
    const bool is_after = rank < last_rank || (rank == last_rank && (last == NONE || e > last));
    if (is_after && (best == NONE || rank > best_rank)) {
      best_rank = rank;
      best = e;
    }
  }
  last_rank = best_rank;
  last = best;
}

uint open_groups_of(softmax_row row) {
  float sums[32];
  const uint each = experts / max(group_count, 1);
  for (uint g = 0; g < group_count; g++) {
    float rank = -minus_infinity(), sum = 0.0;
    uint last = NONE;
    for (uint k = 0; k < group_best; k++) {
      find_next(row, g * each, each, NONE, rank, last);
      sum += rank;
    }
    sums[g] = sum;
  }
  uint open_groups = 0;
  for (uint k = 0; k < group_limit; k++) {
    uint best = NONE;
    for (uint g = 0; g < group_count; g++) {
      if ((open_groups >> g & 1) == 0 && (best == NONE || sums[g] > sums[best])) best = g;
    }
    open_groups |= 1u << best;
  }
  return open_groups;
}

void main() {
  FOR_EACH_ELEMENT(r) {
    const softmax_row row = softmax_of(logits_offset + r * experts);
    uint open_groups = NONE;
    if (group_count > 0) open_groups = open_groups_of(row);
    float rank = -minus_infinity(), sum = 0.0;
    uint last = NONE;
    for (uint k = 0; k < chosen; k++) {
      find_next(row, 0, experts, open_groups, rank, last);
      experts_of_rows[experts_offset + r * chosen + k] = last;
      const float score = score_of(row, last);
      weights[weights_offset + r * chosen + k] = score * factor;
      sum += score;
    }
    if (is_normalised) {
      for (uint k = 0; k < chosen; k++) weights[weights_offset + r * chosen + k] /= sum;
    }
  }
}
