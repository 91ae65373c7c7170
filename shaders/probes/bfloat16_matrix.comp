// Can these tools do bf16 in cooperative matrices? Compiled with float16_t, then rewritten (bfloat16_matrix.cmake).
#version 450
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
layout(local_size_x = 32) in;
shared uvec4 factors[64];
shared float sums[256];
void main() {
  coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> a;
  coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB> b;
  coopMatLoad(a, factors, 0, 2, gl_CooperativeMatrixLayoutRowMajor);
  coopMatLoad(b, factors, 32, 2, gl_CooperativeMatrixLayoutRowMajor);
  coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> c =
      coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0);
  c = coopMatMulAdd(a, b, c);
  coopMatStore(c, sums, 0, 16, gl_CooperativeMatrixLayoutRowMajor);
}
