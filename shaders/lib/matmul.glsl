// What all matmul kernels share: t = op(a) op(b) + bias and what becomes of t, with the arguments of
// runtime/vulkan/ops_matmul.c.
//
//   a     [batch, M, K] or, TRANSPOSE_A, [batch, K, M]        b   [batch, K, N] or, TRANSPOSE_B, [batch, N, K]
//   bias  [N]                                                 c, residual, preactivation, saved   [batch, M, N]
// Everything counts elements. Rows are *_stride apart, matrices *_batch; element 0 of each operand lies *_offset elements
// into its binding. Kernels bring a and b themselves; a sum leaves by store (one) or store4 (four along a row). Where a
// call asks for no more than the sum in f32, by fours that lie as fours, PLAIN_STORE is set and put4 is enough.
#ifndef MATMUL_GLSL
#define MATMUL_GLSL
#include "activation.glsl"
#include "value.glsl"

#define HAS_BIAS 1u
layout(push_constant) uniform Push {
  uint M, N, K;
  uint a_stride, b_stride, c_stride;
  uint a_batch, b_batch, c_batch;
  uint a_offset, b_offset, bias_offset, c_offset;
  uint flags;
  uint residual_stride, residual_batch, residual_offset;
  uint preactivation_stride, preactivation_batch, preactivation_offset;
  uint saved_stride, saved_batch, saved_offset;
};

// Known when the pipeline is made: what a call does not ask for costs it nothing. Constants 0 and 1 are the kernels' own.
layout(constant_id = 2) const uint epilogue = 0;  // the bits below, and the activation above bit 8
layout(constant_id = 3) const uint A_TYPE = 0;
layout(constant_id = 4) const uint B_TYPE = 0;
layout(constant_id = 5) const uint STORAGE_TYPE = 0;  // of bias, residual, preactivation and saved
layout(constant_id = 6) const uint C_TYPE = 0;
#define ACTIVATES ((epilogue & 1u) != 0)           // t = f(t)
#define ACTIVATES_BACKWARD ((epilogue & 2u) != 0)  // t = t * f'(preactivation)
#define ADDS_RESIDUAL ((epilogue & 4u) != 0)
#define SAVES ((epilogue & 8u) != 0)         // saved = t, before all that; t is then what was saved
#define CONTINUES_C ((epilogue & 16u) != 0)  // t begins with what c holds
#define CONTINUES_SAVED ((epilogue & 32u) != 0)
#define ACCUMULATES ((epilogue & 64u) != 0)
#define WIDE_STORE ((epilogue & 128u) != 0)  // rows of all [M, N] operands begin at multiples of 4, N is a multiple of 4
#define ACTIVATION (epilogue >> 8)
#define HAS_EPILOGUE ((epilogue & 63u) != 0)
#define PLAIN_STORE (!HAS_EPILOGUE && WIDE_STORE && is_f32(C_TYPE))

READ_TENSOR(2, bias, STORAGE_TYPE)
WRITE_TENSOR(3, c, C_TYPE)
READ_TENSOR(4, residual, STORAGE_TYPE)
READ_TENSOR(5, preactivation, STORAGE_TYPE)
WRITE_TENSOR(6, saved, STORAGE_TYPE)

// Loops over registers must vanish: an array that is indexed at run time lies in memory.
#define UNROLL [[unroll]]
#define KEEP_LOOP [[dont_unroll]]

// What the sums of a column begin with.
float bias_of(uint column) {
  return (flags & HAS_BIAS) != 0 ? load_bias_element(bias_offset + min(column, N - 1)) : 0.0;
}

// Where an element of an [M, N] operand lies.
#define PLACE(operand) (gl_WorkGroupID.z * operand##_batch + operand##_offset + row * operand##_stride + column)

// Columns column .. column + 3 of an [M, N] operand.
#define QUAD_LOAD(NAME)                                                                                   \
  vec4 NAME##_quad(uint row, uint column) {                                                               \
    const uint at = PLACE(NAME);                                                                          \
    vec4 value = vec4(0);                                                                                 \
    if (WIDE_STORE) {                                                                                     \
      value = load_##NAME##_four(at / 4);                                                                 \
    } else {                                                                                              \
      UNROLL for (uint e = 0; e < 4; e++) {                                                               \
        if (column + e < N) value[e] = load_##NAME##_element(at + e);                                     \
      }                                                                                                   \
    }                                                                                                     \
    return value;                                                                                         \
  }
#define QUAD_STORE(NAME)                                                                                  \
  void put_##NAME##_quad(uint row, uint column, vec4 value) {                                             \
    const uint at = PLACE(NAME);                                                                          \
    if (WIDE_STORE) {                                                                                     \
      store_##NAME##_four(at / 4, value);                                                                 \
    } else {                                                                                              \
      UNROLL for (uint e = 0; e < 4; e++) {                                                               \
        if (column + e < N) store_##NAME##_element(at + e, value[e]);                                     \
      }                                                                                                   \
    }                                                                                                     \
  }
QUAD_LOAD(c)
QUAD_LOAD(residual)
QUAD_LOAD(preactivation)
QUAD_LOAD(saved)
QUAD_STORE(c)
QUAD_STORE(saved)

void store4(uint row, uint column, vec4 t) {
  if (row >= M || column >= N) return;
  if (CONTINUES_C) t += c_quad(row, column);
  if (CONTINUES_SAVED) t += saved_quad(row, column);
  if (SAVES) {  // what follows is of the sum as it was saved: computed again from there it is the same
    put_saved_quad(row, column, t);
    t = as_stored(STORAGE_TYPE, t);
  }
  if (ACTIVATES) t = activation_value(ACTIVATION, t);
  if (ACTIVATES_BACKWARD) t = activation_backward(ACTIVATION, preactivation_quad(row, column), t);
  if (ADDS_RESIDUAL) t += residual_quad(row, column);
  if (ACCUMULATES) t += c_quad(row, column);
  put_c_quad(row, column, t);
}

void store(uint row, uint column, float t) {
  if (row >= M || column >= N) return;
  if (CONTINUES_C) t += load_c_element(PLACE(c));
  if (CONTINUES_SAVED) t += load_saved_element(PLACE(saved));
  if (SAVES) {
    store_saved_element(PLACE(saved), t);
    t = as_stored(STORAGE_TYPE, vec4(t)).x;
  }
  if (ACTIVATES) t = activation_value(ACTIVATION, t);
  if (ACTIVATES_BACKWARD) t = activation_backward(ACTIVATION, load_preactivation_element(PLACE(preactivation)), t);
  if (ADDS_RESIDUAL) t += load_residual_element(PLACE(residual));
  if (ACCUMULATES) t += load_c_element(PLACE(c));
  store_c_element(PLACE(c), t);
}

// Little code, for sums in registers that are stored one after the other: with PLAIN_STORE, and for c of f32 without an
// epilogue.
void put4(uint row, uint column, vec4 t) {
  if (row >= M || column >= N) return;
  if (ACCUMULATES) t += uintBitsToFloat(c_fours[PLACE(c) / 4]);
  c_fours[PLACE(c) / 4] = floatBitsToUint(t);
}
void put(uint row, uint column, float t) {
  if (row >= M || column >= N) return;
  if (ACCUMULATES) t += uintBitsToFloat(c_words[PLACE(c)]);
  c_words[PLACE(c)] = floatBitsToUint(t);
}

#endif
