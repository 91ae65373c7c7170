// matmul_blocks on any device: a workgroup makes COLUMNS columns of c for up to 8 rows. Its invocations take the blocks of
// K in turn, so that the codes are read once, 16 bytes an invocation side by side; their sums meet in shared memory or by
// subgroup arithmetic. The order of summation does not depend on the number of rows.
//
// 2 K FLOP and 1.125 K / rows bytes (4 bits: 0.625) an output.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_basic : require
#endif
#include "matmul_blocks.glsl"
#include "workgroup.glsl"

#define MOST_ROWS 8
#define COLUMNS 2
layout(constant_id = 5) const uint rows = 1;  // that a workgroup makes, 1, 2, 4 or 8
READ_TENSOR(0, a, STORAGE)
layout(set = 0, binding = 1) readonly buffer Codes { uvec4 codes[]; };

WORKGROUP_REDUCTION(float, workgroup_sum, sums, subgroupAdd, COMBINE_SUM)

vec4 load_four(uint place) {
#if WIDTH == 4
  return load_a(place / 4);
#else
  return vec4(load_a(place), load_a(place + 1), load_a(place + 2), load_a(place + 3));
#endif
}

void main() {
  // Columns count on in z: there may be more of them than workgroups in x.
  const uint column0 = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * COLUMNS, row0 = gl_WorkGroupID.y * MOST_ROWS;
  float sum[MOST_ROWS][COLUMNS];
  UNROLL for (uint i = 0; i < MOST_ROWS; i++)
    UNROLL for (uint j = 0; j < COLUMNS; j++) sum[i][j] = 0;
  for (uint block = gl_LocalInvocationIndex; block < blocks; block += gl_WorkGroupSize.x) {
    UNROLL for (uint h = 0; h < 2; h++) {  // halves of the block: 16 elements
      vec4 right[COLUMNS][4];
      UNROLL for (uint j = 0; j < COLUMNS; j++) {
        const uint b_block = min(column0 + j, N - 1) * blocks + block;
        const float scale = scale_of(b_block, h), minimum = minimum_of(b_block, h);
        const uvec4 words = codes[codes_offset / 4 + (BITS == 8 ? b_block * 2 + h : b_block)];
        UNROLL for (uint w = 0; w < 4; w++) right[j][w] = value_of(words[w], h, scale, minimum);
      }
      UNROLL for (uint i = 0; i < MOST_ROWS; i++) {
        if (i < rows) {
          const uint place = a_offset + (min(row0 + i, M - 1) * blocks + block) * 32 + h * 16;
          UNROLL for (uint w = 0; w < 4; w++) {
            const vec4 left = load_four(place + w * 4);
            UNROLL for (uint j = 0; j < COLUMNS; j++) sum[i][j] += dot(left, right[j][w]);
          }
        }
      }
    }
  }
  UNROLL for (uint i = 0; i < MOST_ROWS; i++) {
    if (i < rows) {
      UNROLL for (uint j = 0; j < COLUMNS; j++) {
        const float total = workgroup_sum(sum[i][j]);
        if (gl_LocalInvocationIndex == 0) store_result(row0 + i, column0 + j, total + bias_of(column0 + j));
      }
    }
  }
}
