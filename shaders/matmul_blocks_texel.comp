// matmul_blocks for software drivers, whose subgroups are LANES lanes of a CPU's vector.
//
// One subgroup makes ROWS x (LANES * COLUMNS) of c; a lane owns COLUMNS columns and all rows. K advances by a block: the
// lanes fetch the 32 values of each row of a between them and hand them round by shuffles; each fetches the codes of its own
// columns, 16 bytes at a time, and makes floats of them for all rows.
//
// A weight becomes the f32 that unpack_blocks makes of it, and a sum begins with the bias and takes k in order, as in
// matmul_texel.comp, matmul_vector.comp and matmul_quad.comp: the same bits, however many rows there are.
//
// The innermost loops are left for the driver to unroll.
//
// Needs: texel buffers that hold all of a (f32, beginning at a multiple of 4 elements) and of the codes. 2 K FLOP and
// K / ROWS bytes (4 bits: half) an output. Rates: docs/kernels-vulkan.md.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "matmul_blocks.glsl"

layout(local_size_x = LANES) in;
layout(set = 0, binding = 0) uniform textureBuffer a;
layout(set = 0, binding = 1) uniform textureBuffer codes;
#if ROWS > 1
shared float stage[ROWS * COLUMNS * LANES];  // each lane only reads what it wrote: an array to index at run time
#endif

void main() {
  const uint lane = gl_SubgroupInvocationID;
  const uint row0 = gl_WorkGroupID.y * ROWS, column0 = gl_WorkGroupID.x * (LANES * COLUMNS) + lane;
  // Rows and columns outside are read as the last ones: never stored.
  uint a_row[ROWS], b_row[COLUMNS];
  UNROLL for (uint i = 0; i < ROWS; i++) a_row[i] = a_offset / 4 + min(row0 + i, M - 1) * blocks * 8;
  UNROLL for (uint j = 0; j < COLUMNS; j++) b_row[j] = min(column0 + j * LANES, N - 1) * blocks;
  float sum[ROWS][COLUMNS];
  UNROLL for (uint j = 0; j < COLUMNS; j++) {
    const float bias = bias_of(column0 + j * LANES);
    UNROLL for (uint i = 0; i < ROWS; i++) sum[i][j] = bias;
  }

  for (uint block = 0; block < blocks; block++) {
    vec4 left[ROWS][8];
    UNROLL for (uint i = 0; i < ROWS; i++) {
      UNROLL for (uint f = 0; f < 8 / LANES; f++) {
        const vec4 part = texelFetch(a, int(a_row[i] + block * 8 + f * LANES + lane));
        UNROLL for (uint t = 0; t < LANES; t++) left[i][f * LANES + t] = subgroupShuffle(part, t);
      }
    }
    UNROLL for (uint j = 0; j < COLUMNS; j++) {
      float scale = scale_of(b_row[j] + block, 0), minimum = minimum_of(b_row[j] + block, 0);
      if (BITS == 8) {
        UNROLL for (uint h = 0; h < 2; h++) {
          const uvec4 words = floatBitsToUint(texelFetch(codes, int(codes_offset / 4 + (b_row[j] + block) * 2 + h)));
          if (GROUP == 16 && h == 1) {
            scale = scale_of(b_row[j] + block, 1);
            minimum = minimum_of(b_row[j] + block, 1);
          }
          UNROLL for (uint w = 0; w < 4; w++) {
            const vec4 right = value_of(words[w], 0, scale, minimum);
            for (uint i = 0; i < ROWS; i++)
              for (uint e = 0; e < 4; e++) sum[i][j] = fma(left[i][h * 4 + w][e], right[e], sum[i][j]);
          }
        }
      } else {
        const uvec4 words = floatBitsToUint(texelFetch(codes, int(codes_offset / 4 + b_row[j] + block)));
        UNROLL for (uint h = 0; h < 2; h++) {
          if (GROUP == 16 && h == 1) {
            scale = scale_of(b_row[j] + block, 1);
            minimum = minimum_of(b_row[j] + block, 1);
          }
          UNROLL for (uint w = 0; w < 4; w++) {
            const vec4 right = value_of(words[w], h, scale, minimum);
            for (uint i = 0; i < ROWS; i++)
              for (uint e = 0; e < 4; e++) sum[i][j] = fma(left[i][h * 4 + w][e], right[e], sum[i][j]);
          }
        }
      }
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
