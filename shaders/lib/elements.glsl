// A loop over `count` elements (a push constant of the kernel's) by all workgroups together.
//
// Consecutive invocations take consecutive elements; each goes on `steps` times at the workgroup's stride, so that a
// driver for which a workgroup is dear (lavapipe) gets few of them.
#ifndef ELEMENTS_GLSL
#define ELEMENTS_GLSL
#include "grid.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint steps = 1;

#define FOR_EACH_ELEMENT(i)                                                                                         \
  for (uint step_ = 0, i = workgroup_index() * gl_WorkGroupSize.x * steps + gl_LocalInvocationIndex;                \
       step_ < steps && i < count; step_++, i += gl_WorkGroupSize.x)

#endif
