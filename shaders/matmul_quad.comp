// matmul in registers for software drivers whose subgroups are 4 lanes of a CPU's vector: SwiftShader.
//
// One invocation computes ROWS x (4 * QUADS) of c; a workgroup of WIDTH x HEIGHT invocations computes a tile of
// (ROWS * HEIGHT) x (4 * QUADS * WIDTH). Neighbouring invocations own neighbouring columns and the same rows; k advances by 4.
//
// SwiftShader makes of each scalar that is loaded, of any width and whatever the addresses, a gather of 4 lanes: 70
// instructions and 8 branches, beside which a multiply-add is nothing. So the 4 lanes of a quad load a quarter of their rows
// of a each and swap: lane l's own part is part 0, that of lane l ^ e part e. A swap is one instruction (a quad's broadcast is
// thirty), and needs no order among the parts: they are rows, and each lane adds up the rows that come to it:
//
//              part:   0   1   2   3
//   lane 0 computes    A   B   C   D     of the rows that lane 0 loaded (A), lane 1 (B) ...
//   lane 1             B   A   D   C
//   lane 2             C   D   A   B
//   lane 3             D   C   B   A
//
// A turn of the loop copies and blends every sum, so tiles are as large as the instruction cache takes. The sum of one
// output over 4 values of k is one statement: nothing stays in a register for longer.
//
// Needs: rows of a and b that begin at multiples of 4 elements and are, or are padded with zeros to, multiples of 4 long.
// has_tail: K is no multiple of 4. 2 K FLOP an output; 4 K (1 / ROWS + 1 / (4 QUADS)) + 4 bytes an output, and
// (ROWS + 16 QUADS) / (16 ROWS QUADS) gathers a multiply-add. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_quad : require
#include "matmul.glsl"

layout(local_size_x = WIDTH, local_size_y = HEIGHT) in;
layout(constant_id = 0) const bool has_tail = false;
layout(set = 0, binding = 0) readonly buffer A { vec4 a[]; };
layout(set = 0, binding = 1) readonly buffer B { vec4 b[]; };
shared vec4 stage[ROWS * QUADS * WIDTH * HEIGHT];  // each invocation only reads what it wrote

// Part e: what lane (own number ^ e) loaded.
vec4 part_of(vec4 mine, int e) {
  return e == 0   ? mine
         : e == 1 ? subgroupQuadSwapHorizontal(mine)
         : e == 2 ? subgroupQuadSwapVertical(mine)
                  : subgroupQuadSwapDiagonal(mine);
}

void main() {
  const uint lane = gl_SubgroupInvocationID % 4;
  const uint row0 = (gl_WorkGroupID.y * HEIGHT + gl_LocalInvocationID.y) * ROWS;
  const uint column0 = gl_WorkGroupID.x * (4 * QUADS * WIDTH) + gl_LocalInvocationID.x * 4;
  const uint a0 = (a_offset + gl_WorkGroupID.z * a_batch) / 4, b0 = (b_offset + gl_WorkGroupID.z * b_batch) / 4;
  vec4 sum[ROWS][QUADS];
  UNROLL for (int j = 0; j < QUADS; j++) {
    vec4 first;
    UNROLL for (int e = 0; e < 4; e++) first[e] = bias_of(column0 + j * (4 * WIDTH) + e);
    UNROLL for (int i = 0; i < ROWS; i++) sum[i][j] = first;
  }

  // Rows and columns outside are read as the last ones: never stored. sum[i] is of row row0 + ROW_OF(i).
#ifdef TRANSPOSE_A  // a lane loads 4 rows of one k: parts are fours of rows
#define ROW_OF(i) ((i) / 16 * 16 + (lane ^ ((i) / 4 % 4)) * 4 + (i) % 4)
  uint a_at[ROWS / 16];
  UNROLL for (int i = 0; i < ROWS / 16; i++) a_at[i] = a0 + min(row0 + 16 * i + lane * 4, (M - 1) / 4 * 4) / 4;
#else  // a lane loads 4 k of one row
#define ROW_OF(i) ((i) / 4 * 4 + (lane ^ ((i) % 4)))
  uint a_at[ROWS / 4];
  UNROLL for (int i = 0; i < ROWS / 4; i++) a_at[i] = a0 + min(row0 + 4 * i + lane, M - 1) * (a_stride / 4);
#endif
#ifdef TRANSPOSE_B
  uint b_at[QUADS * 4];
  UNROLL for (int j = 0; j < QUADS * 4; j++) b_at[j] = b0 + min(column0 + j / 4 * (4 * WIDTH) + j % 4, N - 1) * (b_stride / 4);
#else
  uint b_at[QUADS];
  UNROLL for (int j = 0; j < QUADS; j++) b_at[j] = b0 + min(column0 + j * (4 * WIDTH), (N - 1) / 4 * 4) / 4;
#endif

  for (uint k = 0; k < K; k += 4) {
    vec4 left[ROWS];  // 4 values of k of each row
#ifdef TRANSPOSE_A
    UNROLL for (int i = 0; i < ROWS; i += 16) {
      UNROLL for (int u = 0; u < 4; u++) {
        vec4 mine = a[a_at[i / 16] + (has_tail ? min(k + u, K - 1) : k + u) * (a_stride / 4)];
        if (has_tail) mine = k + u < K ? mine : vec4(0);
        UNROLL for (int e = 0; e < 4; e++) {
          const vec4 part = part_of(mine, e);
          UNROLL for (int r = 0; r < 4; r++) left[i + e * 4 + r][u] = part[r];
        }
      }
    }
#else
    UNROLL for (int i = 0; i < ROWS; i += 4) {
      const vec4 mine = a[a_at[i / 4] + k / 4];
      UNROLL for (int e = 0; e < 4; e++) left[i + e] = part_of(mine, e);
    }
#endif
    UNROLL for (int j = 0; j < QUADS; j++) {
      vec4 right[4];  // 4 columns of each of 4 values of k
#ifdef TRANSPOSE_B
      vec4 columns[4];
      UNROLL for (int e = 0; e < 4; e++) columns[e] = b[b_at[j * 4 + e] + k / 4];
      UNROLL for (int e = 0; e < 4; e++) right[e] = vec4(columns[0][e], columns[1][e], columns[2][e], columns[3][e]);
#else
      UNROLL for (int e = 0; e < 4; e++) {
        right[e] = b[b_at[j] + (has_tail ? min(k + e, K - 1) : k + e) * (b_stride / 4)];
        if (has_tail) right[e] = k + e < K ? right[e] : vec4(0);
      }
#endif
      UNROLL for (int i = 0; i < ROWS; i++) {
        UNROLL for (int c = 0; c < 4; c++) {
          float total = sum[i][j][c];
          UNROLL for (int e = 0; e < 4; e++) total = fma(left[i][e], right[e][c], total);
          sum[i][j][c] = total;
        }
      }
    }
  }

  const uint me = gl_LocalInvocationIndex;
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < QUADS; j++) stage[(i * QUADS + j) * (WIDTH * HEIGHT) + me] = sum[i][j];
  KEEP_LOOP for (int e = 0; e < ROWS * QUADS; e++)
    store4(row0 + ROW_OF(e / QUADS), column0 + e % QUADS * (4 * WIDTH), stage[e * (WIDTH * HEIGHT) + me]);
}
