// matmul by matrix units (VK_KHR_cooperative_matrix): a and b in f16 (or, rewritten by bfloat16_matrix.cmake, bf16), sums in f32.
//
// A workgroup of some subgroups computes TILE_M x TILE_N of c, each subgroup PART_M x PART_N of that. TILE_K values of k at
// a time pass from the buffers through registers into shared memory, as they lie in the buffers; the matrix units take
// MATRIX_M x MATRIX_K and MATRIX_K x MATRIX_N pieces from there, turned where an operand is transposed.
//
//                 TILE_N                      k0          k0 + TILE_K     ...
//            +------+------+         fetch    |..........||..........|
//            | s 0  | s 1  |         put                 |..........|
//    TILE_M  +------+------+         multiply |..........||..........|
//            | s 2  | s 3  | PART_M
//            +------+------+         While the units multiply what lies in one half of the shared memory, the next
//              PART_N                values are on their way to registers; they are put into the other half afterwards:
//                                    one barrier a step.
//
// A step of a subgroup: PART_M x PART_N x TILE_K multiply-adds for (PART_M + PART_N) x TILE_K x 2 bytes of shared memory
// (64 x 32: 21 FLOP a byte) and, of the workgroup's, (TILE_M + TILE_N) x TILE_K x 2 bytes of the buffers (128 x 128: 64
// FLOP a byte). 2 K FLOP an output. Rows in shared memory are 16 bytes longer than they need be, so that 8 rows of 16
// bytes, which is what the units load at once, lie in different banks.
//
// The sums leave through shared memory too, a strip of MATRIX_M rows of each subgroup at a time: what the elements of a
// cooperative matrix are to an invocation is the driver's secret, and the epilogue needs rows and columns.
//
// Sizes are specialisation constants: the driver's table of shapes and runtime/vulkan/matmul_gpu.c choose them.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "matmul.glsl"
#include "matmul_gpu.glsl"

layout(local_size_x_id = 19) in;
layout(constant_id = 20) const uint TILE_M = 64;
layout(constant_id = 21) const uint TILE_N = 64;
layout(constant_id = 22) const uint TILE_K = 32;
layout(constant_id = 23) const uint PART_M = 32;
layout(constant_id = 24) const uint PART_N = 32;
layout(constant_id = 25) const uint POOL = 1280;  // of shared memory, 16 bytes each
layout(constant_id = 26) const uint MATRIX_M = 16;
layout(constant_id = 27) const uint MATRIX_N = 16;
layout(constant_id = 28) const uint MATRIX_K = 16;

// Tiles as they lie in the buffers, in eights: lines along k or, transposed, along the rows (columns) of c.
#ifdef TRANSPOSE_A
#define A_LINE TILE_M
#define A_LINES TILE_K
#define A_LAYOUT gl_CooperativeMatrixLayoutColumnMajor
#else
#define A_LINE TILE_K
#define A_LINES TILE_M
#define A_LAYOUT gl_CooperativeMatrixLayoutRowMajor
#endif
#ifdef TRANSPOSE_B
#define B_LINE TILE_K
#define B_LINES TILE_N
#define B_LAYOUT gl_CooperativeMatrixLayoutColumnMajor
#else
#define B_LINE TILE_N
#define B_LINES TILE_K
#define B_LAYOUT gl_CooperativeMatrixLayoutRowMajor
#endif
const uint A_EIGHTS = A_LINE / 8, A_PITCH = A_EIGHTS + 1, A_SIZE = A_PITCH * A_LINES;
const uint B_EIGHTS = B_LINE / 8, B_PITCH = B_EIGHTS + 1, B_SIZE = B_PITCH * B_LINES;
const uint HALF_POOL = A_SIZE + B_SIZE;
const uint A_SHARE = (A_EIGHTS * A_LINES + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;  // eights an invocation brings
const uint B_SHARE = (B_EIGHTS * B_LINES + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
shared uvec4 pool[POOL];

const uint ROWS = PART_M / MATRIX_M, COLUMNS = PART_N / MATRIX_N;  // matrices of sums of a subgroup
coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> sums[ROWS][COLUMNS];
uvec4 next_a[A_SHARE], next_b[B_SHARE];

// TILE_K values of k from k0 on into registers.
void fetch(matmul_place place, uint k0) {
  [[unroll]] for (uint i = 0; i < A_SHARE; i++) {
    const uint e = i * gl_WorkGroupSize.x + gl_LocalInvocationIndex, line = e / A_EIGHTS, x = e % A_EIGHTS * 8;
#ifdef TRANSPOSE_A
    const uint k = k0 + line, row = place.row + x;
    next_a[i] = eight_of_a(place.a + k * a_stride + row, k < place.k_end ? int(M) - int(row) : 0);
#else
    const uint row = place.row + line, k = k0 + x;
    next_a[i] = eight_of_a(place.a + row * a_stride + k, row < M ? int(place.k_end) - int(k) : 0);
#endif
  }
  [[unroll]] for (uint i = 0; i < B_SHARE; i++) {
    const uint e = i * gl_WorkGroupSize.x + gl_LocalInvocationIndex, line = e / B_EIGHTS, x = e % B_EIGHTS * 8;
#ifdef TRANSPOSE_B
    const uint column = place.column + line, k = k0 + x;
    next_b[i] = eight_of_b(place.b + column * b_stride + k, column < N ? int(place.k_end) - int(k) : 0);
#else
    const uint k = k0 + line, column = place.column + x;
    next_b[i] = eight_of_b(place.b + k * b_stride + column, k < place.k_end ? int(N) - int(column) : 0);
#endif
  }
}

// The registers into shared memory, from `at` on.
void put(uint at) {
  [[unroll]] for (uint i = 0; i < A_SHARE; i++) {
    const uint e = i * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
    if (e < A_EIGHTS * A_LINES) pool[at + e / A_EIGHTS * A_PITCH + e % A_EIGHTS] = next_a[i];
  }
  [[unroll]] for (uint i = 0; i < B_SHARE; i++) {
    const uint e = i * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
    if (e < B_EIGHTS * B_LINES) pool[at + A_SIZE + e / B_EIGHTS * B_PITCH + e % B_EIGHTS] = next_b[i];
  }
}

// Adds the products of what lies in shared memory from `at` on; the subgroup's part begins at (part_row, part_column).
void multiply(uint at, uint part_row, uint part_column) {
  [[unroll]] for (uint k = 0; k < TILE_K; k += MATRIX_K) {
    coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> left[ROWS];
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
#ifdef TRANSPOSE_A
      const uint from = at + k * A_PITCH + (part_row + i * MATRIX_M) / 8;
#else
      const uint from = at + (part_row + i * MATRIX_M) * A_PITCH + k / 8;
#endif
      coopMatLoad(left[i], pool, from, A_PITCH, A_LAYOUT);
    }
    [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
#ifdef TRANSPOSE_B
      const uint from = at + A_SIZE + (part_column + j * MATRIX_N) * B_PITCH + k / 8;
#else
      const uint from = at + A_SIZE + k * B_PITCH + (part_column + j * MATRIX_N) / 8;
#endif
      coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> right;
      coopMatLoad(right, pool, from, B_PITCH, B_LAYOUT);
      [[unroll]] for (uint i = 0; i < ROWS; i++) sums[i][j] = coopMatMulAdd(left[i], right, sums[i][j]);
    }
  }
}

// Strips of MATRIX_M rows of all subgroups' sums through shared memory into c.
void leave(uint row0, uint column0) {
  const uint strip = gl_SubgroupID * MATRIX_M * PART_N / 4;  // of sums in fours
  [[unroll]] for (uint i = 0; i < ROWS; i++) {
    [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
      coopMatStore(sums[i][j], pool, strip + j * MATRIX_N / 4, PART_N / 4, gl_CooperativeMatrixLayoutRowMajor);
    }
    barrier();
    for (uint e = gl_SubgroupInvocationID; e < MATRIX_M * PART_N / 4; e += gl_SubgroupSize) {
      const uint row = row0 + i * MATRIX_M + e / (PART_N / 4), column = column0 + e % (PART_N / 4) * 4;
      finish4(row, column, uintBitsToFloat(pool[strip + e]));
    }
    barrier();
  }
}

void main() {
  const matmul_place place = matmul_place_of(TILE_M, TILE_N);
  const uint parts_across = TILE_N / PART_N;
  const uint part_row = gl_SubgroupID / parts_across * PART_M, part_column = gl_SubgroupID % parts_across * PART_N;
  [[unroll]] for (uint i = 0; i < ROWS; i++) {
    [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
      sums[i][j] = coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(0);
    }
  }

  uint at = 0;
  fetch(place, place.k);
  put(0);
  barrier();
  for (uint k0 = place.k; k0 < place.k_end; k0 += TILE_K) {
    const bool has_more = k0 + TILE_K < place.k_end;
    if (has_more) fetch(place, k0 + TILE_K);
    multiply(at, part_row, part_column);
    at = HALF_POOL - at;
    if (has_more) put(at);
    barrier();
  }
  leave(place.row + part_row, place.column + part_column);
}
