// The frame of the elementwise kernels: invocation and loop over `count` VALUEs; operands start at offset[binding].
//
// Consecutive invocations take consecutive VALUEs; each goes on `steps` times at the workgroup's stride, so that a driver
// for which a workgroup is dear (lavapipe) gets few of them.
#ifndef ELEMENTWISE_GLSL
#define ELEMENTWISE_GLSL
#include "grid.glsl"
#include "value.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint steps = 1;
layout(push_constant) uniform Push {
  uint count;         // VALUEs
  uint offset[6];     // of each binding: VALUEs (elements for the small operands that are not elementwise)
  float parameter[4];
};

#define FOR_EACH_ELEMENT(i)                                                                                         \
  for (uint step_ = 0, i = workgroup_index() * gl_WorkGroupSize.x * steps + gl_LocalInvocationIndex;                \
       step_ < steps && i < count; step_++, i += gl_WorkGroupSize.x)

#endif
