// Rotary position embedding (Su et al. 2021, section 3.4): pairs (x_1, x_2) of a head's first `width` elements become
// (x_1 cos - x_2 sin, x_1 sin + x_2 cos); the others are copied. y may be x's memory.
//
// An item is the VALUEs that are read and written together: a pair of VALUEs half a width apart, or when pairs are
// neighbours one VALUE of WIDTH 4 (a pair of WIDTH 1), or one that is copied. All divisors are constant.
// Bytes: 8 an element of f32; 3 FLOP.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "elements.glsl"
#include "math.glsl"
#include "value.glsl"

layout(constant_id = 2) const uint heads = 1;
layout(constant_id = 3) const uint head_size = 2;  // elements
layout(constant_id = 4) const uint width = 2;      // of them rotated
layout(constant_id = 5) const bool is_interleaved = false;
layout(constant_id = 6) const uint storage = F32;
READ_TENSOR(0, x, storage)                                                 // [rows, heads, head_size]
layout(set = 0, binding = 1) readonly buffer Positions { uint positions[]; };  // [rows]
READ_TENSOR(2, table, F32)                                                 // [table_rows, width]: cosines, sines
WRITE_TENSOR(3, y, storage)                                                // [rows, heads, head_size]
layout(push_constant) uniform Push {
  uint count;                 // items
  uint x_row, x_head, y_row, y_head;  // strides in VALUEs
  uint table_rows;
  float sign_of_sine;         // -1: the inverse rotation
  uint x_offset, positions_offset, table_offset, y_offset;  // of x, table and y in VALUEs
};

// The cosines and sines of VALUE k (or of WIDTH 4 neighbours: of the two pairs in it, each twice) at `position`.
void angles(uint position, uint k, out VALUE cosine, out VALUE sine) {
  const uint row = table_offset + position * (width / WIDTH);
#if WIDTH == 4
  if (is_interleaved) {
    const uint first = 4 * row + 2 * k;
    const vec2 c = vec2(load_table_element(first), load_table_element(first + 1));
    const vec2 s = vec2(load_table_element(first + width / 2), load_table_element(first + width / 2 + 1));
    cosine = c.xxyy;
    sine = s.xxyy;
  } else {
    cosine = load_table(row + k);
    sine = load_table(row + width / 8 + k);
  }
#else
  cosine = load_table(row + k);
  sine = load_table(row + width / 2 + k);
#endif
  sine *= sign_of_sine;
}

void main() {
  const bool is_one_value = is_interleaved && WIDTH == 4;
  const uint rotated_items = is_one_value ? width / 4 : width / (2 * WIDTH);
  const uint items = rotated_items + (head_size - width) / WIDTH;
  FOR_EACH_ELEMENT(i) {
    const uint k = i % items, h = i / items % heads, r = i / (items * heads);
    const uint source = x_offset + r * x_row + h * x_head, target = y_offset + r * y_row + h * y_head;
    if (k >= rotated_items) {
      const uint at = width / WIDTH + k - rotated_items;
      store_y(target + at, load_x(source + at));
    } else {
      const uint position = positions[positions_offset + r];
      VALUE cosine = VALUE(not_a_number()), sine = cosine;
      if (position < table_rows) angles(position, k, cosine, sine);
#if WIDTH == 4
      if (is_interleaved) {
        const vec4 value = load_x(source + k);
        store_y(target + k, value * cosine + vec4(-value.y, value.x, -value.w, value.z) * sine);
      } else
#endif
      {
        const uint first = is_interleaved ? 2 * k : k;
        const uint second = is_interleaved ? 2 * k + 1 : k + width / (2 * WIDTH);
        const VALUE x1 = load_x(source + first), x2 = load_x(source + second);
        store_y(target + first, x1 * cosine - x2 * sine);
        store_y(target + second, x1 * sine + x2 * cosine);
      }
    }
  }
}
