// matmul of one row (decoding a token): c[n] = sum over k of a[k] op(b)[k, n] + bias, for software drivers whose subgroups are
// 8 lanes of a CPU's vector. b is read once and nothing else counts, so all is arranged for its loads.
//
// One subgroup of 8 lanes computes 8 * COLUMNS of c; a lane owns COLUMNS columns in groups of 4. k advances by 32: the
// lanes fetch 32 values of a between them and hand them round by shuffles; each fetches its own columns of b.
//
// Untransposed, b is read a row at a time: with 32 columns a lane a workgroup takes 1 KiB of each row instead of 128 bytes of
// many pages, and is half as fast again.
//
// Needs: as matmul_texel.comp, M = 1 and a not transposed. has_tail: K is no multiple of 32.
// 2 K FLOP and 4 K bytes an output: as fast as memory. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "matmul.glsl"

#define LANES 8
#define STEP 32
layout(local_size_x = LANES) in;
layout(constant_id = 0) const bool has_tail = false;
layout(set = 0, binding = 0) uniform textureBuffer a;
layout(set = 0, binding = 1) uniform textureBuffer b;

void main() {
  const uint lane = gl_SubgroupInvocationID, column0 = gl_WorkGroupID.x * (LANES * COLUMNS) + lane * 4;
  const uint a0 = (a_offset + gl_WorkGroupID.z * a_batch) / 4, b0 = b_offset + gl_WorkGroupID.z * b_batch;
  vec4 sum[COLUMNS / 4];
  UNROLL for (int j = 0; j < COLUMNS / 4; j++)
    UNROLL for (int e = 0; e < 4; e++) sum[j][e] = bias_of(column0 + j * (4 * LANES) + e);

  // Columns outside are read as the last ones: never stored.
#ifdef TRANSPOSE_B
  uint b_at[COLUMNS];
  UNROLL for (int j = 0; j < COLUMNS; j++) b_at[j] = (b0 + min(column0 + j / 4 * (4 * LANES) + j % 4, N - 1) * b_stride) / 4;
#else
  uint b_at[COLUMNS / 4];
  UNROLL for (int j = 0; j < COLUMNS / 4; j++) b_at[j] = (b0 + min(column0 + j * (4 * LANES), (N - 1) / 4 * 4)) / 4;
#endif

  for (uint k0 = 0; k0 < K; k0 += STEP) {
    const vec4 part = texelFetch(a, has_tail && k0 + lane * 4 >= K ? -1 : int(a0 + k0 / 4 + lane));
    vec4 left[LANES];
    UNROLL for (int u = 0; u < LANES; u++) left[u] = subgroupShuffle(part, u);
#ifdef TRANSPOSE_B
    UNROLL for (int j = 0; j < COLUMNS; j++) {
      UNROLL for (int u = 0; u < LANES; u++) {
        const vec4 right = texelFetch(b, has_tail && k0 + u * 4 >= K ? -1 : int(b_at[j] + k0 / 4 + u));
        UNROLL for (int e = 0; e < 4; e++) sum[j / 4][j % 4] = fma(left[u][e], right[e], sum[j / 4][j % 4]);
      }
    }
#else
    UNROLL for (int u = 0; u < LANES; u++) {
      UNROLL for (int e = 0; e < 4; e++) {
        const uint k = k0 + u * 4 + e;
        UNROLL for (int j = 0; j < COLUMNS / 4; j++) {
          const vec4 right = texelFetch(b, has_tail && k >= K ? -1 : int(b_at[j] + k * b_stride / 4));
          sum[j] = fma(vec4(left[u][e]), right, sum[j]);
        }
      }
    }
#endif
  }
  UNROLL for (int j = 0; j < COLUMNS / 4; j++) store4(0, column0 + j * (4 * LANES), sum[j]);
}
