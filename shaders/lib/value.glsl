// VALUE: what one load or store moves. -DWIDTH=4 makes it a vec4 (counts and offsets are then in fours of floats), else a
// float. A kernel is written once for both; the recorder takes the wide one where every operand is aligned to 16 bytes.
#ifndef VALUE_GLSL
#define VALUE_GLSL

#if WIDTH == 4
#define VALUE vec4
float value_sum(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
#else
#define VALUE float
float value_sum(float v) { return v; }
#endif

#endif
