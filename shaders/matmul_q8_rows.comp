// matmul_q8 of up to 8 rows (decoding): a workgroup makes COLUMNS columns of c for all rows. Its invocations take the blocks
// of K in turn, so that b is read once, 32 bytes an invocation side by side; their sums meet in shared memory or by
// subgroup arithmetic. The order of summation does not depend on the number of rows.
//
// 2 K FLOP and 1.125 K / rows bytes an output.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_basic : require
#endif
#include "grid.glsl"
#include "matmul_q8.glsl"
#include "workgroup.glsl"

#define MOST_ROWS 8
#define COLUMNS 2
layout(constant_id = 5) const uint rows = 1;  // M, known when the pipeline is made
layout(set = 0, binding = 0) readonly buffer a_block { uvec4 a[]; };
layout(set = 0, binding = 2) readonly buffer b_block { uvec4 b[]; };

WORKGROUP_REDUCTION(float, workgroup_sum, sums, subgroupAdd, COMBINE_SUM)

void main() {
  const uint column0 = workgroup_index() * COLUMNS;
  if (column0 >= N) return;
  float sum[MOST_ROWS][COLUMNS];
  UNROLL for (uint i = 0; i < MOST_ROWS; i++)
    UNROLL for (uint j = 0; j < COLUMNS; j++) sum[i][j] = 0;
  for (uint block = gl_LocalInvocationIndex; block < blocks; block += gl_WorkGroupSize.x) {
    uvec4 right[COLUMNS][2];
    float scale[COLUMNS];
    UNROLL for (uint j = 0; j < COLUMNS; j++) {
      const uint b_row = min(column0 + j, N - 1);
      UNROLL for (uint h = 0; h < 2; h++) right[j][h] = b[b_offset / 4 + (b_row * blocks + block) * 2 + h];
      scale[j] = b_scales[b_scales_offset + b_row * blocks + block];
    }
    UNROLL for (uint i = 0; i < MOST_ROWS; i++) {
      if (i < rows) {
        const uint a_at = a_offset / 4 + (i * blocks + block) * 2;
        const uvec4 left[2] = {a[a_at], a[a_at + 1]};
        const float left_scale = a_scales[a_scales_offset + i * blocks + block];
        UNROLL for (uint j = 0; j < COLUMNS; j++) {
          int dots = 0;
          UNROLL for (uint h = 0; h < 2; h++)
            UNROLL for (uint w = 0; w < 4; w++) dots = DOT(left[h][w], right[j][h][w], dots);
          sum[i][j] = fma(left_scale * scale[j], float(dots), sum[i][j]);
        }
      }
    }
  }
  UNROLL for (uint i = 0; i < MOST_ROWS; i++) {
    if (i < rows) {
      UNROLL for (uint j = 0; j < COLUMNS; j++) {
        const float total = workgroup_sum(sum[i][j]);
        if (gl_LocalInvocationIndex == 0) store_result(i, column0 + j, total);
      }
    }
  }
}
