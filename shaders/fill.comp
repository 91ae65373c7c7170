// y = a constant: the 16-bit elements at the ends of a tensor that share a word with others (whole words are filled by
// the recording itself). Bytes: 2 an element.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "elementwise.glsl"

layout(constant_id = 2) const uint storage = F32;
WRITE_TENSOR(0, y, storage)

void main() {
  FOR_EACH_ELEMENT(i) { store_y(offset[0] + i, VALUE(parameter[0])); }
}
