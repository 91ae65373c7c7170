// matmul: describes the call as strides and sizes, lets matmul_table.c choose the kernel, records it.
#include "runtime/vulkan/matmul_table.h"
#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"

enum { A, B, BIAS, C };

// The push constants of shaders/lib/matmul.glsl.
typedef struct matmul_push {
  uint32_t M, N, K;
  uint32_t a_stride, b_stride, c_stride;
  uint32_t a_batch, b_batch, c_batch;
  uint32_t a_offset, b_offset, bias_offset, c_offset;
  uint32_t flags;
} matmul_push;
enum { HAS_BIAS = 1, ACCUMULATE = 2, WIDE_STORE = 4 };

// Distance of rows of `width` elements. Contiguous operands may have come under another shape with the same elements.
static uint32_t row_stride(const dure_operand *operand, uint64_t width) {
  if (operand->rank < 2 || dure_operand_is_contiguous(operand)) return (uint32_t)width;
  return (uint32_t)operand->stride[operand->rank - 2];
}

static uint32_t batch_stride(const dure_operand *operand, uint64_t rows, uint64_t width) {
  if (operand->rank < 3 || dure_operand_is_contiguous(operand)) return (uint32_t)(rows * width);
  return (uint32_t)operand->stride[operand->rank - 3];
}

static bool in_quads(const dure_operand *operand, uint64_t width, uint32_t stride, uint32_t batch) {
  return operand->offset % 16 == 0 && width % 4 == 0 && stride % 4 == 0 && batch % 4 == 0;
}

static dure_vulkan_matmul_problem describe(const dure_op_call *call) {
  const dure_operand *a = &call->operands[A], *b = &call->operands[B], *c = &call->operands[C];
  const bool is_batched = b->rank == 3;
  dure_vulkan_matmul_problem p = {
      .batch = is_batched ? (uint32_t)b->shape[0] : 1,
      .transpose_a = call->attributes.matmul.transpose_a,
      .transpose_b = call->attributes.matmul.transpose_b,
      .a_bytes = dure_operand_span(a),
      .b_bytes = dure_operand_span(b),
  };
  const uint64_t b_rows = b->shape[b->rank - 2], b_width = b->shape[b->rank - 1];
  const uint64_t a_width = a->shape[a->rank - 1];
  const uint64_t a_rows = dure_operand_rows(a) / (is_batched ? p.batch : 1);
  p.N = (uint32_t)(p.transpose_b ? b_rows : b_width);
  p.K = (uint32_t)(p.transpose_b ? b_width : b_rows);
  p.M = (uint32_t)(p.transpose_a ? a_width : a_rows);
  p.a_stride = row_stride(a, a_width);
  p.b_stride = row_stride(b, b_width);
  p.c_stride = row_stride(c, p.N);
  if (is_batched) {
    p.a_batch = batch_stride(a, a_rows, a_width);
    p.b_batch = batch_stride(b, b_rows, b_width);
    p.c_batch = batch_stride(c, p.M, p.N);
  }
  p.a_in_quads = in_quads(a, a_width, p.a_stride, p.a_batch);
  p.b_in_quads = in_quads(b, b_width, p.b_stride, p.b_batch);
  p.c_in_quads = in_quads(c, p.N, p.c_stride, p.c_batch);
  return p;
}

enum { MOST_GROUPS = 65535 };

static dure_status record_matmul(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_vulkan_matmul_problem p = describe(call);
  if (p.M == 0 || p.N == 0 || p.batch == 0) return NULL;
  const dure_vulkan_matmul_variant *variant = dure_vulkan_matmul_choose(device, &p);
  const bool accumulates = (call->accumulate >> C & 1) != 0;
  const uint32_t flags = (dure_operand_is_present(&call->operands[BIAS]) ? HAS_BIAS : 0) |
                         (accumulates ? ACCUMULATE : 0) | (p.c_in_quads ? WIDE_STORE : 0);
  const uint32_t constants[] = {variant->step > 0 && p.K % variant->step != 0, accumulates || !p.c_in_quads};
  char name[64];
  dure_vulkan_matmul_kernel_name(variant, &p, name);
  dure_kernel *kernel = NULL;
  DURE_TRY(dure_kernel_get(device, name, constants, variant->step > 0 ? 2 : 0, &kernel));

  matmul_push push = {p.M,       p.N,       p.K, p.a_stride, p.b_stride, p.c_stride, p.a_batch,
                      p.b_batch, p.c_batch, 0,   0,          0,          0,          flags};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.a_offset = dure_vulkan_bind(&dispatch, &call->operands[A], DURE_READ);
  push.b_offset = dure_vulkan_bind(&dispatch, &call->operands[B], DURE_READ);
  push.bias_offset = dure_vulkan_bind(&dispatch, &call->operands[BIAS], DURE_READ);
  push.c_offset = dure_vulkan_bind(&dispatch, &call->operands[C], accumulates ? DURE_READ_WRITE : DURE_WRITE);
  const uint64_t x = dure_vulkan_ceil_divide(p.N, variant->tile_columns),
                 y = dure_vulkan_ceil_divide(p.M, variant->tile_rows);
  if (x > MOST_GROUPS || y > MOST_GROUPS) {
    return dure_fail(DURE_UNSUPPORTED,
                     "matmul with a result of %u x %u needs more workgroups than one dispatch can have", p.M, p.N);
  }
  for (uint32_t first = 0; first < p.batch; first += MOST_GROUPS) {
    const uint32_t z = p.batch - first < MOST_GROUPS ? p.batch - first : MOST_GROUPS;
    DURE_TRY(dure_recording_dispatch(recording, kernel, dispatch.bindings, dispatch.binding_count, &push, sizeof(push),
                                     (uint32_t)x, (uint32_t)y, z));
    push.a_offset += z * p.a_batch;
    push.b_offset += z * p.b_batch;
    push.c_offset += z * p.c_batch;
  }
  return NULL;
}

const dure_backend_op dure_vulkan_op_matmul = {.record = record_matmul};
