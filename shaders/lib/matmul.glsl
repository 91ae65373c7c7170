// What all matmul kernels share: t = op(a) op(b) + bias and what becomes of t, with the arguments of
// runtime/vulkan/ops_matmul.c.
//
//   a     [batch, M, K] or, TRANSPOSE_A, [batch, K, M]        b   [batch, K, N] or, TRANSPOSE_B, [batch, N, K]
//   bias  [N]                                                 c, residual, preactivation, saved   [batch, M, N]
// Everything counts elements. Rows are *_stride apart, matrices *_batch; element 0 of each operand lies *_offset elements
// into its binding.
#include "activation.glsl"

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

// The epilogue is known when the pipeline is made: what a call does not ask for costs it nothing.
layout(constant_id = 2) const uint epilogue = 0;  // the bits below, and the activation above bit 8
#define ACTIVATES ((epilogue & 1u) != 0)          // t = f(t)
#define ACTIVATES_BACKWARD ((epilogue & 2u) != 0)  // t = t * f'(preactivation)
#define ADDS_RESIDUAL ((epilogue & 4u) != 0)
#define SAVES ((epilogue & 8u) != 0)       // saved = t, before all that
#define CONTINUES_C ((epilogue & 16u) != 0)  // t begins with what c holds
#define CONTINUES_SAVED ((epilogue & 32u) != 0)
#define ACCUMULATES ((epilogue & 64u) != 0)
#define WIDE_STORE ((epilogue & 128u) != 0)  // rows of all [M, N] operands begin at multiples of 4, N is a multiple of 4
#define ACTIVATION (epilogue >> 8)
// More than storing t: worth a loop over sums that were put aside, instead of code for each of them.
#define HAS_EPILOGUE ((epilogue & 63u) != 0)

layout(set = 0, binding = 2) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 3) buffer Output { float c[]; };
layout(set = 0, binding = 3) buffer WideOutput { vec4 c_wide[]; };
layout(set = 0, binding = 4) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 4) readonly buffer WideResidual { vec4 residual_wide[]; };
layout(set = 0, binding = 5) readonly buffer Preactivation { float preactivation[]; };
layout(set = 0, binding = 5) readonly buffer WidePreactivation { vec4 preactivation_wide[]; };
layout(set = 0, binding = 6) buffer Saved { float saved[]; };
layout(set = 0, binding = 6) buffer WideSaved { vec4 saved_wide[]; };

// Loops over registers must vanish: an array that is indexed at run time lies in memory.
#define UNROLL [[unroll]]
#define KEEP_LOOP [[dont_unroll]]

// What the sums of a column begin with.
float bias_of(uint column) { return (flags & HAS_BIAS) != 0 ? bias[bias_offset + min(column, N - 1)] : 0.0; }

// Where an element of each of the [M, N] operands lies.
#define PLACE(operand) (gl_WorkGroupID.z * operand##_batch + operand##_offset + row * operand##_stride + column)

// The epilogue for one element or four; `over` is 4 where the buffers count fours.
#define FINISH(c_, residual_, preactivation_, saved_, over)                                               \
  if (row >= M || column >= N) return;                                                                    \
  if (CONTINUES_SAVED) t += saved_[PLACE(saved) / over];                                               \
  if (CONTINUES_C) t += c_[PLACE(c) / over];                                                      \
  if (SAVES) saved_[PLACE(saved) / over] = t;                                                             \
  if (ACTIVATES) t = activation_value(ACTIVATION, t);                                                     \
  if (ACTIVATES_BACKWARD) t = activation_backward(ACTIVATION, preactivation_[PLACE(preactivation) / over], t); \
  if (ADDS_RESIDUAL) t += residual_[PLACE(residual) / over];                                              \
  if (ACCUMULATES) t += c_[PLACE(c) / over];                                                              \
  c_[PLACE(c) / over] = t;

void store(uint row, uint column, float t) { FINISH(c, residual, preactivation, saved, 1) }

void store_wide(uint row, uint column, vec4 t) { FINISH(c_wide, residual_wide, preactivation_wide, saved_wide, 4) }

// Columns column .. column + 3.
void store4(uint row, uint column, vec4 t) {
  if (WIDE_STORE) {
    store_wide(row, column, t);
  } else {
    store(row, column, t.x);
    store(row, column + 1, t.y);
    store(row, column + 2, t.z);
    store(row, column + 3, t.w);
  }
}
