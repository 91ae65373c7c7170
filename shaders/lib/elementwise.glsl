// The frame of the elementwise kernels: invocation and loop over `count` VALUEs; operands start at offset[binding].
#ifndef ELEMENTWISE_GLSL
#define ELEMENTWISE_GLSL
#include "elements.glsl"
#include "value.glsl"

layout(push_constant) uniform Push {
  uint count;         // VALUEs
  uint offset[6];     // of each binding: VALUEs (elements for the small operands that are not elementwise)
  float parameter[4];
};

#endif
