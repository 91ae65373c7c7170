// unpack_blocks: packed weights to floats, whole or the rows that `indices` name. An invocation takes 16 bytes of codes:
// 16 elements of 8 bits or 32 of 4. 4 + 1 (or 0.5) bytes an element of f32, and 4 for each 32.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "blocks.glsl"
#include "elements.glsl"
#include "math.glsl"
#include "value.glsl"

layout(constant_id = 4) const bool has_indices = false;
layout(constant_id = 5) const uint STORAGE = F32;
layout(push_constant) uniform Push {
  uint count;                  // lines of 16 bytes in all rows of y
  uint lines;                  // of a row
  uint first_row, table_rows;  // this part of the table
  uint row_count;              // of the whole table
  uint codes_offset, scales_offset, minima_offset, indices_offset, y_offset;  // codes in lines, y in VALUEs
};
layout(set = 0, binding = 0) readonly buffer Codes { uvec4 codes[]; };       // [table_rows, lines]
READ_TENSOR(1, scales, SCALE_TYPE)                                           // [table_rows, K / GROUP]
READ_TENSOR(2, minima, SCALE_TYPE)
layout(set = 0, binding = 3) readonly buffer Indices { uint indices[]; };    // [rows]
WRITE_TENSOR(4, y, STORAGE)                                                  // [rows, K]

void store_values(uint place, vec4 value) {
#if WIDTH == 4
  store_y(y_offset + place / 4, value);
#else
  [[unroll]] for (uint e = 0; e < 4; e++) store_y(y_offset + place + e, value[e]);
#endif
}

// Of half `part` of a block.
float scale_of(uint block, uint part) { return load_scales_element(scales_offset + scale_place(block, part)); }
float minimum_of(uint block, uint part) {
  float minimum = 0;
  if (has_minima) minimum = load_minima_element(minima_offset + scale_place(block, part));
  return minimum;
}

void main() {
  FOR_EACH_ELEMENT(i) {
    const uint row = i / lines, line = i % lines;
    const uint index = has_indices ? indices[indices_offset + row] : row + first_row;
    const bool is_here = index >= first_row && index - first_row < table_rows;
    const bool is_beyond = has_indices && index >= row_count;
    if (is_here || is_beyond) {
      const uint source = (is_here ? index - first_row : 0) * lines + line, block = BITS == 8 ? source / 2 : source;
      const uvec4 words = codes[codes_offset + source];
      const uint first = BITS == 8 ? source % 2 : 0;
      const float scale = scale_of(block, first), minimum = minimum_of(block, first);
      const uint place = i * (BITS == 8 ? 16 : 32);
      [[unroll]] for (uint w = 0; w < 4; w++) {
        const vec4 value = value_of(words[w], 0, scale, minimum);
        store_values(place + 4 * w, is_here ? value : vec4(not_a_number()));
      }
      if (BITS == 4) {
        const float upper_scale = scale_of(block, 1), upper_minimum = minimum_of(block, 1);
        [[unroll]] for (uint w = 0; w < 4; w++) {
          const vec4 value = value_of(words[w], 1, upper_scale, upper_minimum);
          store_values(place + 16 + 4 * w, is_here ? value : vec4(not_a_number()));
        }
      }
    }
  }
}
