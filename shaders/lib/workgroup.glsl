// Sums and maxima over a workgroup of any power-of-two size up to 256; every invocation gets the result.
//
// With -DSUBGROUP within subgroups of any size by their arithmetic, then across them through shared memory; without it a
// tree in shared memory. Both add in a fixed order. Must be reached by the whole workgroup. `single_subgroup` says that a
// workgroup is one subgroup (software drivers): no barrier is left then, which saves lavapipe its coroutines.
#ifndef WORKGROUP_GLSL
#define WORKGROUP_GLSL

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool single_subgroup = false;

#ifdef SUBGROUP
#define WORKGROUP_REDUCTION(TYPE, NAME, STORE, SUBGROUP_OPERATION, COMBINE)          \
  shared TYPE STORE[256];                                                            \
  TYPE NAME(TYPE value) {                                                            \
    value = SUBGROUP_OPERATION(value);                                               \
    if (!single_subgroup && gl_NumSubgroups > 1) {                                   \
      barrier();                                                                     \
      if (subgroupElect()) STORE[gl_SubgroupID] = value;                             \
      barrier();                                                                     \
      value = STORE[0];                                                              \
      for (uint s = 1; s < gl_NumSubgroups; s++) value = COMBINE(value, STORE[s]);   \
    }                                                                                \
    return value;                                                                    \
  }
#else
#define WORKGROUP_REDUCTION(TYPE, NAME, STORE, SUBGROUP_OPERATION, COMBINE)                           \
  shared TYPE STORE[256];                                                                             \
  TYPE NAME(TYPE value) {                                                                             \
    const uint lane = gl_LocalInvocationIndex;                                                        \
    barrier();                                                                                        \
    STORE[lane] = value;                                                                              \
    barrier();                                                                                        \
    for (uint distance_ = gl_WorkGroupSize.x / 2; distance_ > 0; distance_ /= 2) {                    \
      if (lane < distance_) STORE[lane] = COMBINE(STORE[lane], STORE[lane + distance_]);              \
      barrier();                                                                                      \
    }                                                                                                 \
    return STORE[0];                                                                                  \
  }
#endif

#define COMBINE_SUM(a, b) ((a) + (b))

#endif
