// Packed weights (runtime/ops.h): the sixteen bytes of codes that a fetch brings, as floats.
//
//   BITS 8: a block is two such fetches, elements 0..15 and 16..31;   BITS 4: one, with all 32
// value_of(word, part): elements 4 w .. 4 w + 3 of a fetch's word w; of 4 bits those of its lower halves (part 0), or of
// its upper ones, which come 16 later (part 1).
#ifndef BLOCKS_GLSL
#define BLOCKS_GLSL

layout(constant_id = 2) const uint BITS = 8;
layout(constant_id = 3) const bool has_minima = false;
layout(constant_id = 6) const uint GROUP = 32;       // elements a scale: 16 (half a block), 32, 64, 128
layout(constant_id = 7) const uint SCALE_TYPE = 0;  // of scales and minima: value.glsl

// Where the scale (and the minimum) of half `part` of a block lies, both counted over all rows.
uint scale_place(uint block, uint part) {
  uint place;
  if (GROUP == 16) {
    place = block * 2 + part;
  } else {
    place = block / (GROUP / 32);
  }
  return place;
}

vec4 codes_of(uint word, uint part) {
  vec4 q;
  if (BITS == 8) {
    q = vec4(ivec4(uvec4(word << 24, word << 16, word << 8, word)) >> 24);
  } else {
    const uint halves = (part == 0 ? word : word >> 4) & 0x0f0f0f0fu;
    q = vec4(uvec4(halves, halves >> 8, halves >> 16, halves >> 24) & 0xffu);
    if (!has_minima) q -= 8.0;
  }
  return q;
}

vec4 value_of(uint word, uint part, float scale, float minimum) {
  precise vec4 value = codes_of(word, part) * scale;
  if (has_minima) value += minimum;
  return value;
}

#endif
