// The gradient's norm, the factor that clips it, and the sticky finite flag. One invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "math.glsl"

layout(local_size_x = 1) in;
layout(set = 0, binding = 0) readonly buffer SquareSum { float square_sum[]; };
layout(set = 0, binding = 1) readonly buffer Step { float step_values[]; };  // DURE_STEP_...
layout(set = 0, binding = 2) buffer State { float state[]; };                // DURE_STATE_...
layout(push_constant) uniform Push { uint square_sum_offset, step_offset, state_offset; };

// One Newton step: Vulkan's sqrt may be off by a few units in the last place.
float square_root(float x) {
  const float root = sqrt(x);
  if (!is_finite(root) || root == 0.0) return root;
  precise float remainder = fma(-root, root, x);
  return root + 0.5 * remainder / root;
}

void main() {
  const float norm = square_root(square_sum[square_sum_offset]);
  const float clip = step_values[step_offset + 3];
  const bool clips = clip > 0.0 && is_finite(clip);
  const float scale = clip / (norm + 1e-6);
  state[state_offset + 0] = norm;
  state[state_offset + 1] = clips && scale < 1.0 ? scale : 1.0;
  if (!is_finite(norm)) state[state_offset + 2] = 0.0;
}
