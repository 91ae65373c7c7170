// matmul_q8 for software drivers, whose subgroups are LANES lanes of a CPU's vector: the integers as floats, which CPUs
// multiply and add fastest and which hold a block's dot product exactly.
//
// One subgroup computes ROWS x (LANES * COLUMNS) of c; a lane owns COLUMNS columns, LANES apart, and all ROWS rows. K advances
// by a block of 32 (two texels of a row). With ROWS >= LANES each lane fetches and unpacks ROWS / LANES rows of a and hands the
// values round by shuffles; a single row is fetched by every lane, which is cheaper than handing it round.
//
// The innermost loops are left for the driver to unroll: spirv-opt would take gigabytes for them.
//
// Needs: texel buffers that hold all of a and of b. 2 K FLOP an output. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "matmul_q8.glsl"

layout(local_size_x = LANES) in;
layout(set = 0, binding = 0) uniform textureBuffer a;
layout(set = 0, binding = 2) uniform textureBuffer b;
#if ROWS > 1
shared float stage[ROWS * COLUMNS * LANES];  // each lane only reads what it wrote: an array to index at run time
#endif

void main() {
  const uint lane = gl_SubgroupInvocationID;
  const uint row0 = gl_WorkGroupID.y * ROWS, column0 = gl_WorkGroupID.x * (LANES * COLUMNS) + lane;
  // Rows and columns outside are read as the last ones: never stored.
#if ROWS > 1
  uint a_row[ROWS / LANES];
  UNROLL for (uint i = 0; i < ROWS / LANES; i++) a_row[i] = min(row0 + i * LANES + lane, M - 1) * blocks;
#else
  uint a_row[1] = {row0 * blocks};
#endif
  uint b_row[COLUMNS];
  UNROLL for (uint j = 0; j < COLUMNS; j++) b_row[j] = min(column0 + j * LANES, N - 1) * blocks;
  float sum[ROWS][COLUMNS];
  UNROLL for (uint i = 0; i < ROWS; i++)
    UNROLL for (uint j = 0; j < COLUMNS; j++) sum[i][j] = 0;

  for (uint block = 0; block < blocks; block++) {
    float left[ROWS][32], left_scale[ROWS];
#if ROWS > 1
    UNROLL for (uint i = 0; i < ROWS / LANES; i++) {
      const float scale = a_scales[a_scales_offset + a_row[i] + block];
      UNROLL for (uint t = 0; t < LANES; t++) left_scale[i * LANES + t] = subgroupShuffle(scale, t);
      UNROLL for (uint h = 0; h < 2; h++) {
        const uvec4 words = floatBitsToUint(texelFetch(a, int(a_offset / 4 + (a_row[i] + block) * 2 + h)));
        UNROLL for (uint w = 0; w < 4; w++) {
          const vec4 values = unpack(words[w]);
          UNROLL for (uint t = 0; t < LANES; t++)
            UNROLL for (uint e = 0; e < 4; e++) left[i * LANES + t][h * 16 + w * 4 + e] = subgroupShuffle(values[e], t);
        }
      }
    }
#else
    left_scale[0] = a_scales[a_scales_offset + a_row[0] + block];
    UNROLL for (uint h = 0; h < 2; h++) {
      const uvec4 words = floatBitsToUint(texelFetch(a, int(a_offset / 4 + (a_row[0] + block) * 2 + h)));
      UNROLL for (uint w = 0; w < 4; w++) {
        const vec4 values = unpack(words[w]);
        UNROLL for (uint e = 0; e < 4; e++) left[0][h * 16 + w * 4 + e] = values[e];
      }
    }
#endif
    UNROLL for (uint j = 0; j < COLUMNS; j++) {
      float dots[ROWS];
      UNROLL for (uint i = 0; i < ROWS; i++) dots[i] = 0;
      UNROLL for (uint h = 0; h < 2; h++) {
        const uvec4 words = floatBitsToUint(texelFetch(b, int(b_offset / 4 + (b_row[j] + block) * 2 + h)));
        UNROLL for (uint w = 0; w < 4; w++) {
          const vec4 right = unpack(words[w]);
          for (uint i = 0; i < ROWS; i++)
            for (uint e = 0; e < 4; e++) dots[i] = fma(left[i][h * 16 + w * 4 + e], right[e], dots[i]);
        }
      }
      const float scale = b_scales[b_scales_offset + b_row[j] + block];
      UNROLL for (uint i = 0; i < ROWS; i++) sum[i][j] = fma(dots[i], left_scale[i] * scale, sum[i][j]);
    }
  }
#if ROWS > 1
  // A loop: unrolled stores with all their conditions would take llvmpipe seconds to compile.
  UNROLL for (uint i = 0; i < ROWS; i++)
    UNROLL for (uint j = 0; j < COLUMNS; j++) stage[(i * COLUMNS + j) * LANES + lane] = sum[i][j];
  [[dont_unroll]] for (uint i = 0; i < ROWS; i++)
    [[dont_unroll]] for (uint j = 0; j < COLUMNS; j++)
      store_result(row0 + i, column0 + j * LANES, stage[(i * COLUMNS + j) * LANES + lane]);
#else
  UNROLL for (uint j = 0; j < COLUMNS; j++) store_result(row0, column0 + j * LANES, sum[0][j]);
#endif
}
