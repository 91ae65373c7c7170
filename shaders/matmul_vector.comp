// matmul of one row (decoding a token): c[n] = sum over k of a[k] op(b)[k, n] + bias, for software drivers whose subgroups are
// 8 lanes of a CPU's vector. b is read once and nothing else counts, so all is arranged for its loads.
//
// One subgroup of 8 lanes computes 8 * COLUMNS of c, a lane COLUMNS of them. k advances by STEP: the lanes fetch 32 values of
// a between them and hand STEP round by shuffles; each fetches its own columns of b.
//
// A core has some 5 fetches under way, so their order decides how many cache lines it waits for at once. Transposed, the lanes
// of a fetch read 8 rows: 8 lines; those that follow read on along them. Untransposed, a lane owns runs of 16 columns, a
// line each, and the fetches of a turn first touch the lines of all its STEP rows, then read the rest of them:
//
//        lane 0: 16 columns | lane 1: 16 columns | ...     quads of STEP rows in order:  0 of every row, then 1, 2, 3
//
// (With 4 columns a lane a fetch would read two lines, and the next ones the lines after them.)
//
// Needs: as matmul_texel.comp, M = 1 and a not transposed. has_tail: K is no multiple of STEP.
// 2 K FLOP and 4 K bytes an output: as fast as memory. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "matmul.glsl"

#define LANES 8
#ifdef TRANSPOSE_B
#define RUN 4
#else
#define RUN 16
#endif
layout(local_size_x = LANES) in;
layout(constant_id = 0) const bool has_tail = false;
layout(set = 0, binding = 0) uniform textureBuffer a;
layout(set = 0, binding = 1) uniform textureBuffer b;

void main() {
  const uint lane = gl_SubgroupInvocationID, column0 = gl_WorkGroupID.x * (LANES * COLUMNS) + lane * RUN;
  const uint a0 = (a_offset + gl_WorkGroupID.z * a_batch) / 4, b0 = b_offset + gl_WorkGroupID.z * b_batch;
  vec4 sum[COLUMNS / 4];
  // The lane's column j.
#define COLUMN(j) (column0 + (j) / RUN * (RUN * LANES) + (j) % RUN)
  UNROLL for (int j = 0; j < COLUMNS; j++) sum[j / 4][j % 4] = bias_of(COLUMN(j));

  // Columns outside are read as the last ones: never stored.
#ifdef TRANSPOSE_B
  uint b_at[COLUMNS];
  UNROLL for (int j = 0; j < COLUMNS; j++) b_at[j] = (b0 + min(COLUMN(j), N - 1) * b_stride) / 4;
#else
  uint b_at[COLUMNS / 4];
  UNROLL for (int j = 0; j < COLUMNS / 4; j++) b_at[j] = (b0 + min(COLUMN(j * 4), (N - 1) / 4 * 4)) / 4;
#endif

  for (uint k0 = 0; k0 < K; k0 += STEP) {
    const vec4 part = texelFetch(a, has_tail && k0 + lane * 4 >= K ? -1 : int(a0 + k0 / 4 + lane));
    vec4 left[STEP / 4];
    UNROLL for (int u = 0; u < STEP / 4; u++) left[u] = subgroupShuffle(part, u);
#ifdef TRANSPOSE_B
    UNROLL for (int j = 0; j < COLUMNS; j++) {
      UNROLL for (int u = 0; u < STEP / 4; u++) {
        const vec4 right = texelFetch(b, has_tail && k0 + u * 4 >= K ? -1 : int(b_at[j] + k0 / 4 + u));
        UNROLL for (int e = 0; e < 4; e++) sum[j / 4][j % 4] = fma(left[u][e], right[e], sum[j / 4][j % 4]);
      }
    }
#else
    UNROLL for (int quad = 0; quad < RUN / 4; quad++) {
      UNROLL for (int u = 0; u < STEP; u++) {
        UNROLL for (int run = 0; run < COLUMNS / RUN; run++) {
          const uint k = k0 + u, j = run * (RUN / 4) + quad;
          const vec4 right = texelFetch(b, has_tail && k >= K ? -1 : int(b_at[j] + k * b_stride / 4));
          sum[j] = fma(vec4(left[u / 4][u % 4]), right, sum[j]);
        }
      }
    }
#endif
  }
  UNROLL for (int j = 0; j < COLUMNS / 4; j++) store4(0, COLUMN(j * 4), sum[j]);
}
