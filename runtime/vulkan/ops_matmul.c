// matmul: describes the call as strides and sizes, lets matmul_table.c choose the kernel, records it.
#include <string.h>

#include "runtime/vulkan/matmul_pack.h"
#include "runtime/vulkan/matmul_table.h"
#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"

enum {
  A = DURE_MATMUL_A,
  B = DURE_MATMUL_B,
  BIAS = DURE_MATMUL_BIAS,
  RESIDUAL = DURE_MATMUL_RESIDUAL,
  PREACTIVATION = DURE_MATMUL_PREACTIVATION,
  C = DURE_MATMUL_C,
  SAVED = DURE_MATMUL_SAVED
};

// The push constants of shaders/lib/matmul.glsl.
typedef struct matmul_push {
  uint32_t M, N, K;
  uint32_t a_stride, b_stride, c_stride;
  uint32_t a_batch, b_batch, c_batch;
  uint32_t a_offset, b_offset, bias_offset, c_offset;
  uint32_t flags;
  uint32_t residual_stride, residual_batch, residual_offset;
  uint32_t preactivation_stride, preactivation_batch, preactivation_offset;
  uint32_t saved_stride, saved_batch, saved_offset;
} matmul_push;
enum { HAS_BIAS = 1 };

// The constants that all matmul kernels take, in the order of their numbers.
typedef struct matmul_constants {
  uint32_t has_tail;   // K is no multiple of the variant's step
  uint32_t is_staged;  // more than stores of 4
  uint32_t epilogue;   // the bits of shaders/lib/matmul.glsl
  uint32_t a_type, b_type, storage_type, c_type;
} matmul_constants;
enum {
  ACTIVATES = 1,
  ACTIVATES_BACKWARD = 2,
  ADDS_RESIDUAL = 4,
  SAVES = 8,
  CONTINUES_C = 16,
  CONTINUES_SAVED = 32,
  ACCUMULATES = 64,
  WIDE_STORE = 128,
  ACTIVATION_SHIFT = 8,
};

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
  return dure_vulkan_is_aligned(operand) && width % 4 == 0 && stride % 4 == 0 && batch % 4 == 0;
}

static bool in_lines(const dure_operand *operand, uint64_t width, uint32_t stride, uint32_t batch) {
  const uint32_t each = 16 / (uint32_t)dure_dtype_size(operand->dtype);
  return operand->offset % 16 == 0 && width % each == 0 && stride % each == 0 && batch % each == 0;
}

// inputs: what kernels read, the call's a and b or copies whose rows may be longer (matmul_pack.h).
static dure_vulkan_matmul_problem describe(const dure_op_call *call, const dure_operand *inputs) {
  const dure_operand *a = &inputs[A], *b = &inputs[B];
  const bool is_batched = b->rank == 3;
  dure_vulkan_matmul_problem p = {
      .batch = is_batched ? (uint32_t)b->shape[0] : 1,
      .transpose_a = call->attributes.matmul.transpose_a,
      .transpose_b = call->attributes.matmul.transpose_b,
      .a_bytes = dure_operand_span(a),
      .b_bytes = dure_operand_span(b),
      .is_16_bit = dure_dtype_size(a->dtype) == 2 || dure_dtype_size(b->dtype) == 2,
      .is_bfloat16 = a->dtype == DURE_DTYPE_BF16,
  };
  const uint64_t b_rows = b->shape[b->rank - 2], b_width = call->operands[B].shape[b->rank - 1];
  const uint64_t a_width = call->operands[A].shape[a->rank - 1];
  const uint64_t b_line = b->shape[b->rank - 1], a_line = a->shape[a->rank - 1];
  const uint64_t a_rows = dure_operand_rows(a) / (is_batched ? p.batch : 1);
  p.N = (uint32_t)(p.transpose_b ? b_rows : b_width);
  p.K = (uint32_t)(p.transpose_b ? b_width : b_rows);
  p.M = (uint32_t)(p.transpose_a ? a_width : a_rows);
  p.a_stride = row_stride(a, a_line);
  p.b_stride = row_stride(b, b_line);
  if (is_batched) {
    p.a_batch = batch_stride(a, a_rows, a_line);
    p.b_batch = batch_stride(b, b_rows, b_line);
  }
  p.a_in_quads = in_quads(a, a_line, p.a_stride, p.a_batch);
  p.b_in_quads = in_quads(b, b_line, p.b_stride, p.b_batch);
  p.a_in_lines = in_lines(a, a_line, p.a_stride, p.a_batch);
  p.b_in_lines = in_lines(b, b_line, p.b_stride, p.b_batch);
  p.c_in_quads = true;
  const uint32_t results[] = {RESIDUAL, PREACTIVATION, C, SAVED};
  for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
    const dure_operand *operand = &call->operands[results[i]];
    if (!dure_operand_is_present(operand)) continue;
    p.c_in_quads = p.c_in_quads && in_quads(operand, p.N, row_stride(operand, p.N), batch_stride(operand, p.M, p.N));
  }
  return p;
}

static uint32_t epilogue_bits(const dure_op_call *call, const dure_vulkan_matmul_problem *p) {
  const dure_matmul_attributes *attributes = &call->attributes.matmul;
  uint32_t bits = 0;
  if (attributes->continues == DURE_CONTINUES_C) bits |= CONTINUES_C;
  if (attributes->continues == DURE_CONTINUES_SAVED) bits |= CONTINUES_SAVED;
  if (attributes->epilogue == DURE_EPILOGUE_ACTIVATION) bits |= ACTIVATES;
  if (attributes->epilogue == DURE_EPILOGUE_ACTIVATION_GRADIENT) bits |= ACTIVATES_BACKWARD;
  if (attributes->epilogue != DURE_EPILOGUE_NONE) bits |= (uint32_t)attributes->activation << ACTIVATION_SHIFT;
  if (dure_operand_is_present(&call->operands[RESIDUAL])) bits |= ADDS_RESIDUAL;
  if (dure_operand_is_present(&call->operands[SAVED])) bits |= SAVES;
  if (dure_vulkan_accumulates(call, C)) bits |= ACCUMULATES;
  if (p->c_in_quads) bits |= WIDE_STORE;
  return bits;
}

// The bindings in the order of shaders/variants/matmul.txt, and the operands' places in them. For absent operands c's
// binding is repeated: it may be written, as shaders declare `saved`.
static void bind_operands(dure_vulkan_dispatch *dispatch, const dure_op_call *call, const dure_operand *inputs,
                          matmul_push *push) {
  const dure_operand *o = call->operands, *c = &o[C];
  const bool continues = call->attributes.matmul.continues != DURE_CONTINUES_NOTHING;
  const dure_access access = dure_vulkan_accumulates(call, C) || continues ? DURE_READ_WRITE : DURE_WRITE;
  const dure_operand *bias = dure_operand_is_present(&o[BIAS]) ? &o[BIAS] : c;
  const dure_operand *residual = dure_operand_is_present(&o[RESIDUAL]) ? &o[RESIDUAL] : c;
  const dure_operand *preactivation = dure_operand_is_present(&o[PREACTIVATION]) ? &o[PREACTIVATION] : c;
  const dure_operand *saved = dure_operand_is_present(&o[SAVED]) ? &o[SAVED] : c;
  push->a_offset = dure_vulkan_bind(dispatch, &inputs[A], DURE_READ);
  push->b_offset = dure_vulkan_bind(dispatch, &inputs[B], DURE_READ);
  push->bias_offset = dure_vulkan_bind(dispatch, bias, DURE_READ);
  push->c_offset = dure_vulkan_bind(dispatch, c, access);
  push->residual_offset = dure_vulkan_bind(dispatch, residual, DURE_READ);
  push->preactivation_offset = dure_vulkan_bind(dispatch, preactivation, DURE_READ);
  push->saved_offset = dure_vulkan_bind(dispatch, saved, saved == c || !continues ? access : DURE_READ_WRITE);
}

enum { MOST_GROUPS = 65535 };

// Everything but the places, which bind_operands adds.
static matmul_push push_of(const dure_op_call *call, const dure_vulkan_matmul_problem *p) {
  const dure_operand *o = call->operands;
  return (matmul_push){.M = p->M,
                       .N = p->N,
                       .K = p->K,
                       .a_stride = p->a_stride,
                       .b_stride = p->b_stride,
                       .c_stride = row_stride(&o[C], p->N),
                       .residual_stride = row_stride(&o[RESIDUAL], p->N),
                       .preactivation_stride = row_stride(&o[PREACTIVATION], p->N),
                       .saved_stride = row_stride(&o[SAVED], p->N),
                       .a_batch = p->a_batch,
                       .b_batch = p->b_batch,
                       .c_batch = batch_stride(&o[C], p->M, p->N),
                       .residual_batch = batch_stride(&o[RESIDUAL], p->M, p->N),
                       .preactivation_batch = batch_stride(&o[PREACTIVATION], p->M, p->N),
                       .saved_batch = batch_stride(&o[SAVED], p->M, p->N),
                       .flags = dure_operand_is_present(&o[BIAS]) ? HAS_BIAS : 0};
}

static matmul_constants constants_of(const dure_op_call *call, const dure_operand *inputs,
                                     const dure_vulkan_matmul_problem *p, uint32_t step) {
  const uint32_t epilogue = epilogue_bits(call, p);
  return (matmul_constants){
      .has_tail = step > 0 && p->K % step != 0,
      .is_staged = step > 0 && (epilogue != WIDE_STORE || call->operands[C].dtype != DURE_DTYPE_F32),
      .epilogue = epilogue,
      .a_type = dure_vulkan_type(&inputs[A]),
      .b_type = dure_vulkan_type(&inputs[B]),
      .storage_type = dure_vulkan_type(&call->operands[A]),
      .c_type = dure_vulkan_type(&call->operands[C])};
}

// `count` matrices of c, each of `chunk` values of k.
static dure_status record_products(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                   const dure_operand *inputs, const dure_vulkan_matmul_variant *variant,
                                   const dure_vulkan_matmul_problem *p, uint32_t chunk, uint32_t count) {
  uint32_t constants[DURE_MATMUL_GPU_CONSTANTS] = {0}, constant_count = sizeof(matmul_constants) / sizeof(uint32_t);
  const matmul_constants common = constants_of(call, inputs, p, variant->step);
  memcpy(constants, &common, sizeof(common));
  if (variant->gpu != NULL) {
    constant_count = dure_vulkan_matmul_gpu_constants(device, variant->gpu, p, chunk, constants);
  }
  char name[64];
  dure_vulkan_matmul_kernel_name(variant, p, name);
  dure_kernel *kernel = NULL;
  DURE_TRY(dure_kernel_get(device, name, constants, constant_count, &kernel));

  matmul_push push = push_of(call, p);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  bind_operands(&dispatch, call, inputs, &push);
  const uint64_t x = dure_vulkan_ceil_divide(p->N, variant->tile_columns),
                 y = dure_vulkan_ceil_divide(p->M, variant->tile_rows);
  if (x > MOST_GROUPS || y > MOST_GROUPS) {
    return dure_fail(DURE_UNSUPPORTED,
                     "matmul with a result of %u x %u needs more workgroups than one dispatch can have", p->M, p->N);
  }
  for (uint32_t first = 0; first < count; first += MOST_GROUPS) {
    const uint32_t z = count - first < MOST_GROUPS ? count - first : MOST_GROUPS;
    DURE_TRY(dure_recording_dispatch(recording, kernel, dispatch.bindings, dispatch.binding_count, &push, sizeof(push),
                                     (uint32_t)x, (uint32_t)y, z));
    push.a_offset += z * push.a_batch;
    push.b_offset += z * push.b_batch;
    push.c_offset += z * push.c_batch;
    push.residual_offset += z * push.residual_batch;
    push.preactivation_offset += z * push.preactivation_batch;
    push.saved_offset += z * push.saved_batch;
  }
  return NULL;
}

// ---- sums in chunks of k -----------------------------------------------------------------------------------------

static uint32_t chunk_of(const dure_vulkan_matmul_variant *variant, const dure_vulkan_matmul_problem *p) {
  return variant->gpu != NULL ? dure_vulkan_matmul_chunk(p->M, p->N, p->K, p->batch) : p->K;
}

// f32 [batch * chunks, M, N] in the call's workspace.
static dure_operand partial_sums(const dure_op_call *call, const dure_vulkan_matmul_problem *p, uint32_t count) {
  dure_operand sums = {.dtype = DURE_DTYPE_F32,
                       .rank = 3,
                       .shape = {count, p->M, p->N},
                       .stride = {(uint64_t)p->M * p->N, p->N, 1},
                       .buffer = call->workspace.buffer,
                       .offset = call->workspace.offset};
  return sums;
}

// Each chunk's product into the workspace; then their sum, in order, and the epilogue.
static dure_status record_chunks(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                 const dure_vulkan_matmul_variant *variant, const dure_vulkan_matmul_problem *p,
                                 uint32_t chunk) {
  const uint32_t chunks = (uint32_t)dure_vulkan_ceil_divide(p->K, chunk), count = p->batch * chunks;
  dure_op_call products = {.op = DURE_OP_matmul};
  products.attributes.matmul.transpose_a = p->transpose_a;
  products.attributes.matmul.transpose_b = p->transpose_b;
  products.operands[A] = call->operands[A];
  products.operands[B] = call->operands[B];
  products.operands[C] = partial_sums(call, p, count);
  const dure_vulkan_matmul_problem without_epilogue = describe(&products, products.operands);
  DURE_TRY(record_products(device, recording, &products, products.operands, variant, &without_epilogue, chunk, count));

  dure_op_call sum = *call;
  sum.operands[A] = sum.operands[B] = products.operands[C];
  dure_vulkan_matmul_problem of_sum = *p;
  of_sum.K = chunks;
  of_sum.a_stride = of_sum.b_stride = p->N;
  of_sum.a_batch = of_sum.b_batch = p->M * p->N;
  matmul_constants constants = constants_of(&sum, sum.operands, p, 0);
  constants.storage_type = dure_vulkan_type(&call->operands[A]);
  matmul_push push = push_of(&sum, &of_sum);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  bind_operands(&dispatch, &sum, sum.operands, &push);
  dure_kernel *kernel = NULL;
  DURE_TRY(
      dure_kernel_get(device, "matmul_sum_chunks", &constants.has_tail, sizeof(constants) / sizeof(uint32_t), &kernel));
  const uint64_t x = dure_vulkan_ceil_divide(p->N, 4 * 64);  // local size and columns an invocation of the shader
  return dure_recording_dispatch(recording, kernel, dispatch.bindings, dispatch.binding_count, &push, sizeof(push),
                                 (uint32_t)x, p->M, p->batch);
}

static bool has_workspace(const dure_op_call *call, uint64_t bytes) {
  return dure_operand_is_present(&call->workspace) && dure_operand_span(&call->workspace) >= bytes;
}

static uint64_t chunks_bytes(const dure_vulkan_matmul_variant *variant, const dure_vulkan_matmul_problem *p) {
  const uint32_t chunk = chunk_of(variant, p);
  return chunk < p->K ? 4 * dure_vulkan_ceil_divide(p->K, chunk) * p->batch * p->M * p->N : 0;
}

// ---- the op ------------------------------------------------------------------------------------------------------

static dure_status record_variant(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                  const dure_operand *inputs, const dure_vulkan_matmul_problem *p,
                                  const dure_vulkan_matmul_variant *variant) {
  const uint64_t bytes = chunks_bytes(variant, p);
  if (bytes > 0 && has_workspace(call, bytes)) {
    return record_chunks(device, recording, call, variant, p, chunk_of(variant, p));
  }
  return record_products(device, recording, call, inputs, variant, p, p->K, p->batch);
}

dure_status dure_vulkan_matmul_record(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                      const dure_vulkan_matmul_variant *variant) {
  const dure_vulkan_matmul_problem p = describe(call, call->operands);
  return record_variant(device, recording, call, call->operands, &p, variant);
}

static dure_status record_matmul(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  dure_operand inputs[2];
  DURE_TRY(dure_vulkan_matmul_pack(device, recording, call, inputs));
  const dure_vulkan_matmul_problem p = describe(call, inputs);
  if (p.M == 0 || p.N == 0 || p.batch == 0) return NULL;
  return record_variant(device, recording, call, inputs, &p, dure_vulkan_matmul_choose(device, &p));
}

static uint64_t matmul_workspace(dure_device *device, const dure_op_call *call) {
  const uint64_t pack_bytes = dure_vulkan_matmul_pack_bytes(device, call);  // software drivers; chunks are for others
  if (pack_bytes > 0) return pack_bytes;
  const dure_vulkan_matmul_problem p = describe(call, call->operands);
  if (p.M == 0 || p.N == 0 || p.batch == 0) return 0;
  return chunks_bytes(dure_vulkan_matmul_choose(device, &p), &p);
}

const dure_backend_op dure_vulkan_op_matmul = {
    .record = record_matmul, .workspace_bytes = matmul_workspace, .takes_16_bit = true};
