// Can these tools do SPV_NV_cooperative_matrix2? What GLSL cannot say is rewritten (cooperative_matrix2.cmake).
#version 450
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_spirv_intrinsics : require
layout(local_size_x = 128) in;
layout(set = 0, binding = 0) buffer Factors { float16_t factors[]; };
layout(set = 0, binding = 1) buffer Results { float results[]; };
#define tensor_layout spirv_type(extensions = ["SPV_NV_tensor_addressing"], capabilities = [5439], id = 5370, 1u, 1u)
spirv_instruction(extensions = ["SPV_NV_tensor_addressing"], capabilities = [5439], id = 5372) tensor_layout create_layout();
#define MATRIX coopmat<float16_t, gl_ScopeWorkgroup, 64, 64, gl_MatrixUseA>
spirv_instruction(extensions = ["SPV_NV_cooperative_matrix2"], capabilities = [5433], id = 5367)
MATRIX load(spirv_by_reference float16_t from, MATRIX outside, tensor_layout t, spirv_literal uint memory, spirv_literal uint addressing);
spirv_instruction(extensions = ["SPV_NV_cooperative_matrix2"], capabilities = [5432], id = 5369)
MATRIX for_each_element(MATRIX m, float16_t function_call, uint more);
float16_t finish(const in uint row, const in uint column, const in float16_t value, const in uint more) {
  results[row * more + column] = float(value);
  return value;
}
void main() {
  const MATRIX m = load(factors[0], MATRIX(0), create_layout(), 0, 0);
  for_each_element(m, finish(0u, 0u, float16_t(0), 0u), gl_WorkGroupID.x < 3 && gl_WorkGroupID.y > 2 ? 64u : 32u);
}
