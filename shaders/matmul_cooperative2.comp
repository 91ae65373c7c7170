// matmul by matrix units on whole workgroups' tiles (VK_NV_cooperative_matrix2): a and b in f16 (or, rewritten by
// bfloat16_matrix.cmake, bf16), sums in f32.
//
// A workgroup computes one matrix of sums, TILE_M x TILE_N; the driver spreads it over the subgroups and brings pieces of a
// and b through shared memory as it knows best. A piece is loaded through a tensor layout: the operand's size, its strides
// and which part is wanted. What lies outside is 0, so edges are no special case. A transposed operand is loaded through a
// view that swaps its dimensions. 2 K FLOP an output and K (1 / TILE_M + 1 / TILE_N) * 2 bytes (128 x 256: 85 FLOP a byte).
// Not run on hardware: no driver at hand has the extension.
//
// Sums leave by a function that the driver calls for every element with its row and column: the epilogue of lib/matmul.glsl.
//
// GLSL of the compilers at hand knows none of this, so the instructions are spelled out as SPIR-V (SPV_NV_tensor_addressing,
// SPV_NV_cooperative_matrix2). One thing cannot be said even so, that an operand is a function: a call of it stands in its
// place, which cooperative_matrix2.cmake replaces by the function.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_spirv_intrinsics : require
#define STORAGE16
#include "matmul.glsl"
#include "matmul_place.glsl"

layout(local_size_x_id = 19) in;
layout(constant_id = 20) const uint TILE_M = 128;
layout(constant_id = 21) const uint TILE_N = 128;
layout(constant_id = 22) const uint TILE_K = 64;

// Only read; but `readonly` elements cannot be passed by reference.
layout(set = 0, binding = 0) buffer a_block { float16_t a[]; };
layout(set = 0, binding = 1) buffer b_block { float16_t b[]; };

// ---- the instructions --------------------------------------------------------------------------------------------
// cooperative_matrix2.cmake writes the operands of the two types: two dimensions, 0 outside; two dimensions, swapped. It
// moves the types behind all constants, so nothing but a value may have them: no variables.

#define tensor_layout \
  spirv_type(extensions = ["SPV_NV_tensor_addressing"], capabilities = [5439], id = 5370, 1u, 1u)
#define swapped_view \
  spirv_type(extensions = ["SPV_NV_tensor_addressing"], capabilities = [5439], id = 5371, 1u, 1u, 1u, 1u)
#define TENSOR(number) spirv_instruction(extensions = ["SPV_NV_tensor_addressing"], capabilities = [5439], id = number)
TENSOR(5372) tensor_layout create_layout();
TENSOR(5373) tensor_layout set_size(tensor_layout t, uint rows, uint columns);
TENSOR(5374) tensor_layout set_strides(tensor_layout t, uint row, uint column);
TENSOR(5375) tensor_layout slice(tensor_layout t, uint row, uint rows, uint column, uint columns);
TENSOR(5377) swapped_view create_view();
// Rows [row, row + rows) and columns [column, column + columns) of a matrix.
#define PART(row_count, column_count, stride, row, rows, column, columns) \
  slice(set_strides(set_size(create_layout(), row_count, column_count), stride, 1), row, rows, column, columns)

#define LEFT coopmat<float16_t, gl_ScopeWorkgroup, TILE_M, TILE_K, gl_MatrixUseA>
#define RIGHT coopmat<float16_t, gl_ScopeWorkgroup, TILE_K, TILE_N, gl_MatrixUseB>
#define SUMS coopmat<float, gl_ScopeWorkgroup, TILE_M, TILE_N, gl_MatrixUseAccumulator>
#define TENSOR_VIEW 1
#define LOAD spirv_instruction(extensions = ["SPV_NV_cooperative_matrix2"], capabilities = [5433], id = 5367)
#ifdef TRANSPOSE_A
LOAD LEFT load_left(spirv_by_reference float16_t from, LEFT outside, tensor_layout t, spirv_literal uint memory,
                    spirv_literal uint addressing, swapped_view view);
#else
LOAD LEFT load_left(spirv_by_reference float16_t from, LEFT outside, tensor_layout t, spirv_literal uint memory,
                    spirv_literal uint addressing);
#endif
#ifdef TRANSPOSE_B
LOAD RIGHT load_right(spirv_by_reference float16_t from, RIGHT outside, tensor_layout t, spirv_literal uint memory,
                      spirv_literal uint addressing, swapped_view view);
#else
LOAD RIGHT load_right(spirv_by_reference float16_t from, RIGHT outside, tensor_layout t, spirv_literal uint memory,
                      spirv_literal uint addressing);
#endif
spirv_instruction(extensions = ["SPV_NV_cooperative_matrix2"], capabilities = [5432], id = 5369)
SUMS for_each_element(SUMS sums, float function_call, uint row0, uint column0);

// ------------------------------------------------------------------------------------------------------------------

// Called by the driver for every element of the tile.
float finish(const in uint row, const in uint column, const in float sum, const in uint row0, const in uint column0) {
  store(row0 + row, column0 + column, sum + bias_of(column0 + column));
  return sum;
}

void main() {
  const matmul_place place = matmul_place_of(TILE_M, TILE_N);
  SUMS sums = SUMS(0);
  for (uint k = place.k; k < place.k_end; k += TILE_K) {
#ifdef TRANSPOSE_A
    const LEFT left = load_left(a[place.a], LEFT(0), PART(place.k_end, M, a_stride, k, TILE_K, place.row, TILE_M), 0,
                                TENSOR_VIEW, create_view());
#else
    const LEFT left = load_left(a[place.a], LEFT(0), PART(M, place.k_end, a_stride, place.row, TILE_M, k, TILE_K), 0, 0);
#endif
#ifdef TRANSPOSE_B
    const RIGHT right = load_right(b[place.b], RIGHT(0), PART(N, place.k_end, b_stride, place.column, TILE_N, k, TILE_K),
                                   0, TENSOR_VIEW, create_view());
#else
    const RIGHT right = load_right(b[place.b], RIGHT(0), PART(place.k_end, N, b_stride, k, TILE_K, place.column, TILE_N),
                                   0, 0);
#endif
    sums = coopMatMulAdd(left, right, sums);
  }
  for_each_element(sums, finish(0u, 0u, 0.0, 0u, 0u), place.row, place.column);
}
