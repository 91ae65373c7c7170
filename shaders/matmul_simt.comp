// matmul by tiles in shared memory and registers, for GPUs: any size, stride, offset and transposition; a and b f32, bf16
// or f16, products and sums f32.
//
// A workgroup computes TILE_M x TILE_N of c; TILE_K values of k at a time pass through shared memory as f32, k by k, each
// element read once from the buffers. An invocation owns ROW_QUADS x COLUMN_QUADS blocks of 4 x 4 sums, spread so that
// neighbours read neighbouring fours:
//
//               ACROSS invocations: columns 4 x .. 4 x + 3, then 4 (x + ACROSS) ..
//            +----+----+----+----+----+----+----+----+       k:  tile_a[k] [TILE_M]   column of op(a)
//      DOWN  | 0  | 1  | 2  | 3  | 0  | 1  | 2  | 3  |           tile_b[k] [TILE_N]   row of op(b)
//   rows     +----+----+----+----+----+----+----+----+
//   4 y ..   | 4  | 5  | 6  | 7  | 4  | 5  | 6  | 7  |       for each k an invocation reads ROW_QUADS + COLUMN_QUADS
//            +----+----+----+----+----+----+----+----+       fours (2 + 2: 64 bytes) for 16 ROW_QUADS COLUMN_QUADS
//            | 0  | 1  | 2  | 3  | 0  | 1  | 2  | 3  |       multiply-adds (64: 2 FLOP a byte of shared memory)
//            ...
//
// While one half of the shared memory is multiplied, the next TILE_K values are on their way to registers, then into the
// other half: one barrier a step. 2 K FLOP an output; (1 / TILE_M + 1 / TILE_N) K elements read an output (128 x 128,
// f32: 32 FLOP a byte; f16: 64). Rows in shared memory are 16 bytes longer than they need be: an operand that arrives
// along k is written four rows at a time, otherwise all to the same banks.
//
// Sizes are specialisation constants; runtime/vulkan/matmul_gpu.c has the table of them.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "matmul.glsl"
#include "matmul_gpu.glsl"

layout(local_size_x_id = 19) in;
layout(constant_id = 20) const uint TILE_M = 64;
layout(constant_id = 21) const uint TILE_N = 64;
layout(constant_id = 22) const uint TILE_K = 8;
layout(constant_id = 23) const uint ROW_QUADS = 1;
layout(constant_id = 24) const uint COLUMN_QUADS = 2;
layout(constant_id = 25) const uint POOL = 544;  // of shared memory, 16 bytes each

const uint ACROSS = TILE_N / 4 / COLUMN_QUADS, DOWN = TILE_M / 4 / ROW_QUADS;
const uint A_PITCH = TILE_M / 4 + 1, A_SIZE = A_PITCH * TILE_K;
const uint B_PITCH = TILE_N / 4 + 1, B_SIZE = B_PITCH * TILE_K;
const uint A_FOURS = TILE_M * TILE_K / 4, A_SHARE = (A_FOURS + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
const uint B_FOURS = TILE_N * TILE_K / 4, B_SHARE = (B_FOURS + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
shared vec4 pool[POOL];

vec4 sums[4 * ROW_QUADS][COLUMN_QUADS];
vec4 next_a[A_SHARE], next_b[B_SHARE];  // on their way to shared memory

void fetch(matmul_place place, uint k0) {
  [[unroll]] for (uint i = 0; i < A_SHARE; i++) {
    const uint e = i * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
#ifdef TRANSPOSE_A
    const uint k = k0 + e / (TILE_M / 4), row = place.row + e % (TILE_M / 4) * 4;
    next_a[i] = four_of_a(place.a + k * a_stride + row, k < place.k_end ? int(M) - int(row) : 0);
#else
    const uint row = place.row + e / (TILE_K / 4), k = k0 + e % (TILE_K / 4) * 4;
    next_a[i] = four_of_a(place.a + row * a_stride + k, row < M ? int(place.k_end) - int(k) : 0);
#endif
  }
  [[unroll]] for (uint i = 0; i < B_SHARE; i++) {
    const uint e = i * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
#ifdef TRANSPOSE_B
    const uint column = place.column + e / (TILE_K / 4), k = k0 + e % (TILE_K / 4) * 4;
    next_b[i] = four_of_b(place.b + column * b_stride + k, column < N ? int(place.k_end) - int(k) : 0);
#else
    const uint k = k0 + e / (TILE_N / 4), column = place.column + e % (TILE_N / 4) * 4;
    next_b[i] = four_of_b(place.b + k * b_stride + column, k < place.k_end ? int(N) - int(column) : 0);
#endif
  }
}

// Four elements of one k, or of one row (column) for four values of k.
void put_line(uint at, uint pitch, uint k, uint quad, vec4 value) { pool[at + k * pitch + quad] = value; }
void put_across(uint at, uint pitch, uint k, uint row, vec4 value) {
  [[unroll]] for (uint j = 0; j < 4; j++) pool[at + (k + j) * pitch + row / 4][row % 4] = value[j];
}

void put(uint at) {
  [[unroll]] for (uint i = 0; i < A_SHARE; i++) {
    const uint e = i * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
    if (e >= A_FOURS) break;
#ifdef TRANSPOSE_A
    put_line(at, A_PITCH, e / (TILE_M / 4), e % (TILE_M / 4), next_a[i]);
#else
    put_across(at, A_PITCH, e % (TILE_K / 4) * 4, e / (TILE_K / 4), next_a[i]);
#endif
  }
  [[unroll]] for (uint i = 0; i < B_SHARE; i++) {
    const uint e = i * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
    if (e >= B_FOURS) break;
#ifdef TRANSPOSE_B
    put_across(at + A_SIZE, B_PITCH, e % (TILE_K / 4) * 4, e / (TILE_K / 4), next_b[i]);
#else
    put_line(at + A_SIZE, B_PITCH, e / (TILE_N / 4), e % (TILE_N / 4), next_b[i]);
#endif
  }
}

void multiply(uint at, uint x, uint y) {
  for (uint k = 0; k < TILE_K; k++) {
    vec4 left[ROW_QUADS], right[COLUMN_QUADS];
    [[unroll]] for (uint i = 0; i < ROW_QUADS; i++) left[i] = pool[at + k * A_PITCH + y + i * DOWN];
    [[unroll]] for (uint j = 0; j < COLUMN_QUADS; j++) right[j] = pool[at + A_SIZE + k * B_PITCH + x + j * ACROSS];
    [[unroll]] for (uint i = 0; i < ROW_QUADS; i++) {
      [[unroll]] for (uint r = 0; r < 4; r++) {
        [[unroll]] for (uint j = 0; j < COLUMN_QUADS; j++) {
          sums[4 * i + r][j] = fma(vec4(left[i][r]), right[j], sums[4 * i + r][j]);
        }
      }
    }
  }
}

void main() {
  const matmul_place place = matmul_place_of(TILE_M, TILE_N);
  const uint x = gl_LocalInvocationIndex % ACROSS, y = gl_LocalInvocationIndex / ACROSS;
  [[unroll]] for (uint i = 0; i < 4 * ROW_QUADS; i++) {
    [[unroll]] for (uint j = 0; j < COLUMN_QUADS; j++) sums[i][j] = vec4(0);
  }

  uint at = 0;
  fetch(place, place.k);
  put(0);
  barrier();
  for (uint k0 = place.k; k0 < place.k_end; k0 += TILE_K) {
    const bool has_more = k0 + TILE_K < place.k_end;
    if (has_more) fetch(place, k0 + TILE_K);
    multiply(at, x, y);
    at = A_SIZE + B_SIZE - at;
    if (has_more) put(at);
    barrier();
  }

  [[unroll]] for (uint i = 0; i < ROW_QUADS; i++) {
    [[unroll]] for (uint r = 0; r < 4; r++) {
      [[unroll]] for (uint j = 0; j < COLUMN_QUADS; j++) {
        finish4(place.row + 4 * (y + i * DOWN) + r, place.column + 4 * (x + j * ACROSS), sums[4 * i + r][j]);
      }
    }
  }
}
