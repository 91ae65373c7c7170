// The gradient's norm, the factor that clips it and undoes the loss scale, whether the step counts, and the loss scale of
// the next one. One invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "math.glsl"

layout(local_size_x = 1) in;
layout(set = 0, binding = 0) readonly buffer SquareSum { float square_sum[]; };
layout(set = 0, binding = 1) readonly buffer Step { float step_values[]; };  // DURE_STEP_...
layout(set = 0, binding = 2) buffer State { float state[]; };                // DURE_STATE_...
layout(push_constant) uniform Push {
  uint square_sum_offset, step_offset, state_offset;
  uint is_dynamic, growth_interval;
};

const uint NORM = 0, SCALE = 1, FINITE = 2, LOSS_SCALE = 3, GOOD_STEPS = 4, SKIPPED = 5;
const float LARGEST_LOSS_SCALE = 16777216.0;

// One Newton step: Vulkan's sqrt may be off by a few units in the last place.
float square_root(float x) {
  const float root = sqrt(x);
  if (!is_finite(root) || root == 0.0) return root;
  precise float remainder = fma(-root, root, x);
  return root + 0.5 * remainder / root;
}

// Dynamic loss scaling (Micikevicius et al. 2018, section 3.2).
void scale_losses(bool step_counts, float loss_scale) {
  float good_steps = step_counts ? state[state_offset + GOOD_STEPS] + 1.0 : 0.0;
  if (!step_counts) {
    loss_scale = max(0.5 * loss_scale, 1.0);
    state[state_offset + SKIPPED] += 1.0;
  } else if (growth_interval > 0 && good_steps >= float(growth_interval)) {
    loss_scale = min(2.0 * loss_scale, LARGEST_LOSS_SCALE);
    good_steps = 0.0;
  }
  state[state_offset + FINITE] = step_counts ? 1.0 : 0.0;
  state[state_offset + LOSS_SCALE] = loss_scale;
  state[state_offset + GOOD_STEPS] = good_steps;
}

void main() {
  const float loss_scale = state[state_offset + LOSS_SCALE];
  const float norm = square_root(square_sum[square_sum_offset]) / loss_scale;
  const float clip = step_values[step_offset + 3];
  const bool clips = clip > 0.0 && is_finite(clip);
  const float scale = clip / (norm + 1e-6);
  state[state_offset + NORM] = norm;
  state[state_offset + SCALE] = (clips && scale < 1.0 ? scale : 1.0) / loss_scale;
  if (is_dynamic != 0) scale_losses(is_finite(norm), loss_scale);
  else if (!is_finite(norm)) state[state_offset + FINITE] = 0.0;
}
