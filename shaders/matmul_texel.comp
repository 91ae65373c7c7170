// matmul through texel buffers and subgroup shuffles, for software drivers whose subgroups are 8 lanes of a CPU's vector.
//
// One subgroup of 8 lanes computes ROWS x (8 * COLUMNS) of c; a lane owns COLUMNS columns in groups of 4 and all ROWS rows.
//
//               |<- lane 0: 4 ->|<- lane 1: 4 ->| ... |<- lane 7: 4 ->|<- lane 0: 4 ->| ...      (8 * COLUMNS wide)
//        ROWS   |   registers   |               |     |               |
//
// k advances by 16: the lanes fetch ROWS x 16 of a once between them (16 bytes each, no value twice) and hand the values
// round by shuffles; every lane fetches its own columns of b. Fetches, not arithmetic, are dear on llvmpipe: a tile needs
// ROWS / 8 + COLUMNS fetches of 4 floats for 4 * ROWS * COLUMNS multiply-adds a lane. 16 floats of k are a cache line.
//
// Needs: rows of a and b that begin at multiples of 4 elements and are, or are padded with zeros to, multiples of 4
// long. has_tail: K is no multiple of 16.
//
// 2 K FLOP an output; K (1 / (8 COLUMNS) + 1 / ROWS) * 4 + 4 bytes an output. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "matmul.glsl"

#define LANES 8
#define STEP 16
layout(local_size_x = LANES) in;
layout(constant_id = 0) const bool has_tail = false;
layout(constant_id = 1) const bool is_staged = false;  // more than stores of 4 floats each
shared vec4 stage[ROWS * COLUMNS / 4 * LANES];  // each lane only reads what it wrote: an array to index at run time

layout(set = 0, binding = 0) uniform textureBuffer a;
layout(set = 0, binding = 1) uniform textureBuffer b;

void main() {
  const uint lane = gl_SubgroupInvocationID;
  const uint row0 = gl_WorkGroupID.y * ROWS, column0 = gl_WorkGroupID.x * (LANES * COLUMNS);
  const uint a0 = a_offset + gl_WorkGroupID.z * a_batch, b0 = b_offset + gl_WorkGroupID.z * b_batch;
  vec4 first[COLUMNS / 4];  // sums begin with the bias
  UNROLL for (int j = 0; j < COLUMNS / 4; j++)
    UNROLL for (int e = 0; e < 4; e++) first[j][e] = bias_of(column0 + j * (4 * LANES) + lane * 4 + e);
#ifdef TRANSPOSE_B  // lanes fetch along k: scalar sums; else along the columns: sums of 4
  float sum[ROWS][COLUMNS];
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < COLUMNS; j++) sum[i][j] = first[j / 4][j % 4];
#define SUM4(i, j) vec4(sum[i][j * 4], sum[i][j * 4 + 1], sum[i][j * 4 + 2], sum[i][j * 4 + 3])
#else
  vec4 sum[ROWS][COLUMNS / 4];
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < COLUMNS / 4; j++) sum[i][j] = first[j];
#define SUM4(i, j) sum[i][j]
#endif

  // Rows and columns outside are read as the last ones: never stored.
#ifdef TRANSPOSE_A
  const uint quads = ROWS / 4, steps_a = LANES / quads;  // a fetch covers ROWS columns of a for steps_a values of k
  const uint a_at = a0 + min(row0 + lane % quads * 4, (M - 1) / 4 * 4);
#else
  uint a_at[ROWS / LANES];
  UNROLL for (int i = 0; i < ROWS / LANES; i++) a_at[i] = a0 + min(row0 + LANES * i + lane, M - 1) * a_stride;
#endif
#ifdef TRANSPOSE_B
  uint b_at[COLUMNS];
  UNROLL for (int j = 0; j < COLUMNS; j++) b_at[j] = (b0 + min(column0 + j / 4 * (4 * LANES) + lane * 4 + j % 4, N - 1) * b_stride) / 4;
#else
  uint b_at[COLUMNS / 4];
  UNROLL for (int j = 0; j < COLUMNS / 4; j++) b_at[j] = (b0 + min(column0 + j * (4 * LANES) + lane * 4, (N - 1) / 4 * 4)) / 4;
#endif

  for (uint k0 = 0; k0 < K; k0 += STEP) {
    float left[ROWS][STEP];  // op(a) of this tile, the same in every lane
#ifdef TRANSPOSE_A
    UNROLL for (int f = 0; f < STEP / steps_a; f++) {
      const uint k = k0 + f * steps_a + lane / quads;
      const vec4 part = texelFetch(a, has_tail && k >= K ? -1 : int((a_at + k * a_stride) / 4));
      UNROLL for (int t = 0; t < steps_a; t++)
        UNROLL for (int i = 0; i < ROWS; i++) left[i][f * steps_a + t] = subgroupShuffle(part[i % 4], t * quads + i / 4);
    }
#else
    UNROLL for (int i = 0; i < ROWS / LANES; i++) {
      UNROLL for (int u = 0; u < STEP / 4; u++) {
        const uint k = k0 + u * 4;
        const vec4 part = texelFetch(a, has_tail && k >= K ? -1 : int((a_at[i] + k) / 4));
        UNROLL for (int t = 0; t < LANES; t++)
          UNROLL for (int e = 0; e < 4; e++) left[i * LANES + t][u * 4 + e] = subgroupShuffle(part[e], t);
      }
    }
#endif

#ifdef TRANSPOSE_B
    UNROLL for (int j = 0; j < COLUMNS; j++) {
      UNROLL for (int u = 0; u < STEP / 4; u++) {
        const vec4 right = texelFetch(b, has_tail && k0 + u * 4 >= K ? -1 : int(b_at[j] + k0 / 4 + u));
        for (int i = 0; i < ROWS; i++)
          for (int e = 0; e < 4; e++) sum[i][j] = fma(left[i][u * 4 + e], right[e], sum[i][j]);
      }
    }
#else
    UNROLL for (int j = 0; j < COLUMNS / 4; j++) {
      UNROLL for (int u = 0; u < STEP / 4; u++) {
        vec4 right[4];
        UNROLL for (int e = 0; e < 4; e++) {
          const uint k = k0 + u * 4 + e;
          right[e] = texelFetch(b, has_tail && k >= K ? -1 : int(b_at[j] + k * b_stride / 4));
        }
        UNROLL for (int i = 0; i < ROWS; i++)
          UNROLL for (int e = 0; e < 4; e++) sum[i][j] = fma(vec4(left[i][u * 4 + e]), right[e], sum[i][j]);
      }
    }
#endif
  }

  if (!is_staged) {
    const uint c0 = gl_WorkGroupID.z * c_batch + c_offset + row0 * c_stride + column0 + lane * 4;
    UNROLL for (int j = 0; j < COLUMNS / 4; j++) {
      if (column0 + j * (4 * LANES) + lane * 4 < N) {
        UNROLL for (int i = 0; i < ROWS; i++)
          if (row0 + i < M) c_fours[(c0 + i * c_stride) / 4 + j * LANES] = floatBitsToUint(SUM4(i, j));
      }
    }
    return;
  }
  // Unrolled stores with all their conditions would take llvmpipe ten seconds to compile: a loop instead.
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < COLUMNS / 4; j++) stage[(i * (COLUMNS / 4) + j) * LANES + lane] = SUM4(i, j);
  KEEP_LOOP for (int i = 0; i < ROWS; i++)
    KEEP_LOOP for (int j = 0; j < COLUMNS / 4; j++)
      store4(row0 + i, column0 + j * (4 * LANES) + lane * 4, stage[(i * (COLUMNS / 4) + j) * LANES + lane]);
}
