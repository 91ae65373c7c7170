#include "runtime/vulkan/matmul_pack.h"

#include "runtime/vulkan/ops_common.h"

enum { A, B, BIAS, RESIDUAL, PREACTIVATION, C, SAVED };

enum { STEPS = 32 };  // shaders/matmul_pack.comp
enum { MOST_GROUPS = 65535 };

typedef struct matrix {
  uint64_t batch, rows, width, padded;
  uint64_t row_stride, batch_stride;
} matrix;

static matrix matrix_of(const dure_operand *operand) {
  const uint32_t rank = operand->rank;
  matrix m = {.batch = rank == 3 ? operand->shape[0] : 1,
              .rows = operand->shape[rank - 2],
              .width = operand->shape[rank - 1],
              .row_stride = operand->stride[rank - 2]};
  m.padded = dure_vulkan_ceil_divide(m.width, 4) * 4;
  m.batch_stride = rank == 3 ? operand->stride[0] : 0;
  if (m.batch == 1 || m.batch_stride == m.rows * m.row_stride) {  // evenly spaced: one tall matrix
    m.rows *= m.batch;
    m.batch = 1;
  }
  return m;
}

static bool is_in_quads(const dure_operand *operand) {
  const matrix m = matrix_of(operand);
  return operand->offset % 16 == 0 && m.width % 4 == 0 && m.row_stride % 4 == 0 && m.batch_stride % 4 == 0;
}

static uint64_t packed_bytes(const dure_operand *operand) {
  const matrix m = matrix_of(operand);
  return dure_vulkan_ceil_divide(m.batch * m.rows * m.padded * sizeof(float), 256) * 256;
}

// Whether a copy of the operand pays: it is not what the fast kernels read. It pays for a single row of c too: the
// plain kernel would compute a tile of 32.
static bool wants_copy(const dure_device *device, const dure_op_call *call, uint32_t index) {
  const dure_vulkan_driver driver = dure_vulkan_device_caps(device)->driver;
  if (driver != DURE_VULKAN_DRIVER_LLVMPIPE && driver != DURE_VULKAN_DRIVER_SWIFTSHADER) return false;
  if (call->attributes.matmul.transpose_a && call->attributes.matmul.transpose_b) return false;  // the plain kernel
  const dure_operand *operand = &call->operands[index];
  return (operand->dtype != DURE_DTYPE_F32 || !is_in_quads(operand)) &&
         packed_bytes(operand) <= device->info.limits.max_binding_bytes;
}

uint64_t dure_vulkan_matmul_pack_bytes(dure_device *device, const dure_op_call *call) {
  uint64_t bytes = 0;
  for (uint32_t i = A; i <= B; i++) bytes += wants_copy(device, call, i) ? packed_bytes(&call->operands[i]) : 0;
  return bytes;
}

typedef struct pack_push {
  uint32_t width, quads;
  uint32_t x_stride, x_offset;
  uint32_t y_offset;
} pack_push;

static dure_status pack_rows(dure_device *device, dure_recording *recording, const dure_operand *x, const matrix *m,
                             bool is_wide, const dure_operand *y) {
  const uint32_t constants[] = {dure_vulkan_group_size(device, 64), dure_vulkan_type(x), is_wide};
  dure_kernel *kernel = NULL;
  DURE_TRY(dure_kernel_get(device, "matmul_pack", constants, 3, &kernel));
  const uint32_t quads = (uint32_t)(m->padded / 4);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  pack_push push = {.width = (uint32_t)m->width, .quads = quads, .x_stride = (uint32_t)m->row_stride};
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ);
  push.y_offset = dure_vulkan_bind(&dispatch, y, DURE_WRITE) / 4;
  return dure_recording_dispatch(recording, kernel, dispatch.bindings, dispatch.binding_count, &push, sizeof(push),
                                 (uint32_t)dure_vulkan_ceil_divide(quads, STEPS * constants[0]), (uint32_t)x->shape[0],
                                 1);
}

// In slabs of as many rows as a dispatch can have.
static dure_status pack_operand(dure_device *device, dure_recording *recording, const dure_operand *x,
                                const dure_operand *y) {
  const matrix m = matrix_of(x);
  const uint64_t row_bytes = m.padded * sizeof(float), most = MOST_GROUPS;
  const bool is_wide =
      m.width % 4 == 0 && m.row_stride % 4 == 0 && m.batch_stride % 4 == 0 && dure_vulkan_is_aligned(x);
  for (uint64_t z = 0; z < m.batch; z++) {
    for (uint64_t first = 0; first < m.rows; first += most) {
      const uint64_t count = m.rows - first < most ? m.rows - first : most;
      dure_operand from = *x, to = *y;
      from.rank = 2;
      from.shape[0] = count;
      from.shape[1] = m.width;
      from.stride[0] = m.row_stride;
      from.stride[1] = 1;
      from.offset += (z * m.batch_stride + first * m.row_stride) * dure_dtype_size(x->dtype);
      const uint64_t shape[2] = {count, m.padded};
      dure_operand_set_shape(&to, 2, shape);
      to.offset += (z * m.rows + first) * row_bytes;
      DURE_TRY(pack_rows(device, recording, &from, &m, is_wide, &to));
    }
  }
  return NULL;
}

dure_status dure_vulkan_matmul_pack(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                    dure_operand out_operands[2]) {
  const dure_operand *workspace = &call->workspace;
  uint64_t used = 0;
  for (uint32_t i = A; i <= B; i++) {
    const dure_operand *operand = &call->operands[i];
    out_operands[i] = *operand;
    const uint64_t bytes = wants_copy(device, call, i) ? packed_bytes(operand) : 0;
    if (bytes == 0 || dure_operand_count(workspace) < used + bytes) continue;
    dure_operand *copy = &out_operands[i];
    uint64_t shape[DURE_MAX_RANK];
    for (uint32_t axis = 0; axis < operand->rank; axis++) shape[axis] = operand->shape[axis];
    shape[operand->rank - 1] = matrix_of(operand).padded;
    dure_operand_set_shape(copy, operand->rank, shape);
    copy->dtype = DURE_DTYPE_F32;
    copy->buffer = workspace->buffer;
    copy->offset = workspace->offset + used;
    DURE_TRY(pack_operand(device, recording, operand, copy));
    used += bytes;
  }
  return NULL;
}
