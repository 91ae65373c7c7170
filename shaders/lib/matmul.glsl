// What all matmul kernels share: c = op(a) op(b) + bias, with the arguments of runtime/vulkan/ops_matmul.c.
//
//   a     [batch, M, K] or, TRANSPOSE_A, [batch, K, M]        b   [batch, K, N] or, TRANSPOSE_B, [batch, N, K]
//   bias  [N]                                                 c   [batch, M, N]
// Everything counts elements. Rows are *_stride apart, matrices *_batch; element 0 of each operand lies *_offset elements
// into its binding.
#define HAS_BIAS 1u
#define ACCUMULATE 2u
#define WIDE_STORE 4u  // c's rows begin at multiples of 4 elements, N is a multiple of 4
layout(push_constant) uniform Push {
  uint M, N, K;
  uint a_stride, b_stride, c_stride;
  uint a_batch, b_batch, c_batch;
  uint a_offset, b_offset, bias_offset, c_offset;
  uint flags;
};

layout(set = 0, binding = 2) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 3) buffer Output { float c[]; };
layout(set = 0, binding = 3) buffer WideOutput { vec4 c_wide[]; };

// Loops over registers must vanish: an array that is indexed at run time lies in memory.
#define UNROLL [[unroll]]
#define KEEP_LOOP [[dont_unroll]]

// What the sums of a column begin with.
float bias_of(uint column) { return (flags & HAS_BIAS) != 0 ? bias[bias_offset + min(column, N - 1)] : 0.0; }

void store(uint row, uint column, float value) {
  if (row >= M || column >= N) return;
  const uint at = gl_WorkGroupID.z * c_batch + c_offset + row * c_stride + column;
  if ((flags & ACCUMULATE) != 0) value += c[at];
  c[at] = value;
}

// Columns column .. column + 3.
void store4(uint row, uint column, vec4 value) {
  if ((flags & WIDE_STORE) != 0) {
    if (row >= M || column >= N) return;
    const uint at = (gl_WorkGroupID.z * c_batch + c_offset + row * c_stride + column) / 4;
    if ((flags & ACCUMULATE) != 0) value += c_wide[at];
    c_wide[at] = value;
  } else {
    store(row, column, value.x);
    store(row, column + 1, value.y);
    store(row, column + 2, value.z);
    store(row, column + 3, value.w);
  }
}
