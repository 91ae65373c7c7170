// unpack_blocks, matmul_blocks.
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"

enum { BLOCK = DURE_QUANTIZED_BLOCK };

// ---- unpack_blocks -----------------------------------------------------------------------------------------------

static dure_status record_unpack_blocks(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  enum { CODES, SCALES, MINIMA, INDICES, Y };
  const dure_operand *o = call->operands;
  const dure_blocks_attributes *attributes = &call->attributes.blocks;
  const uint32_t width = dure_vulkan_is_aligned(&o[Y]) ? 4 : 1, line_elements = attributes->bits == 8 ? 16 : 32;
  struct {
    uint32_t count, lines, first_row, table_rows, row_count;
    uint32_t codes_offset, scales_offset, minima_offset, indices_offset, y_offset;
  } push = {.count = (uint32_t)(dure_operand_count(&o[Y]) / line_elements),
            .lines = (uint32_t)(o[CODES].shape[1] / 16),
            .first_row = attributes->first_row,
            .table_rows = (uint32_t)o[CODES].shape[0],
            .row_count = attributes->row_count};
  if (push.row_count == 0) push.row_count = push.table_rows;
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.codes_offset = dure_vulkan_bind(&dispatch, &o[CODES], DURE_READ) / 4;
  push.scales_offset = dure_vulkan_bind(&dispatch, &o[SCALES], DURE_READ);
  push.minima_offset = dure_vulkan_bind(&dispatch, &o[MINIMA], DURE_READ);
  push.indices_offset = dure_vulkan_bind(&dispatch, &o[INDICES], DURE_READ);
  push.y_offset = dure_vulkan_bind(&dispatch, &o[Y], DURE_WRITE) / width;
  const uint32_t steps = dure_vulkan_is_software(device) ? 16 : 1;
  const uint32_t constants[] = {dure_vulkan_group_size(device, 64),
                                steps,
                                attributes->bits,
                                dure_operand_is_present(&o[MINIMA]),
                                dure_operand_is_present(&o[INDICES]),
                                dure_vulkan_type(&o[Y]),
                                dure_blocks_group(attributes),
                                dure_vulkan_type(&o[SCALES])};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("unpack_blocks", width).text, constants, 8,
                                  &push, sizeof(push),
                                  dure_vulkan_ceil_divide(push.count, (uint64_t)constants[0] * steps));
}

const dure_backend_op dure_vulkan_op_unpack_blocks = {.record = record_unpack_blocks, .takes_16_bit = true};

// ---- matmul_blocks -----------------------------------------------------------------------------------------------

enum { A, CODES, SCALES, MINIMA, BIAS, RESIDUAL, C };
enum { ROWS_MOST = 8, ROWS_COLUMNS = 2 };  // of matmul_blocks_rows.comp

// The kernels for software drivers; the first that can run and has rows enough, or the last of a driver.
static const struct variant {
  const char *name;
  dure_vulkan_driver driver;
  uint32_t rows, columns;
} variants[] = {
    {"matmul_blocks_texel_1", DURE_VULKAN_DRIVER_LLVMPIPE, 1, 32},
    {"matmul_blocks_texel_4", DURE_VULKAN_DRIVER_LLVMPIPE, 4, 32},
    {"matmul_blocks_quad_1", DURE_VULKAN_DRIVER_SWIFTSHADER, 1, 16},
    {"matmul_blocks_quad_4", DURE_VULKAN_DRIVER_SWIFTSHADER, 4, 16},
};
enum { variant_count = sizeof(variants) / sizeof(variants[0]) };

static bool fits_texels(const dure_device *device, const dure_operand *operand) {
  const uint64_t alignment = device->info.limits.offset_alignment;
  return (dure_operand_span(operand) + alignment) / 16 < dure_vulkan_device_caps(device)->max_texel_elements;
}

// NULL: matmul_blocks_rows.
static const struct variant *choose(const dure_device *device, const dure_op_call *call) {
  const dure_operand *a = &call->operands[A];
  const uint64_t rows = dure_operand_rows(a);
  const char *forced = getenv("DURE_VULKAN_MATMUL_BLOCKS");
  if (a->dtype != DURE_DTYPE_F32 || !dure_vulkan_is_aligned(a) || !dure_vulkan_is_software(device)) return NULL;
  if (!fits_texels(device, a) || !fits_texels(device, &call->operands[CODES])) return NULL;
  if (forced != NULL && strcmp(forced, "rows") == 0) return NULL;
  const struct variant *chosen = NULL;
  for (size_t i = 0; i < variant_count; i++) {
    const struct variant *v = &variants[i];
    if (v->driver != dure_vulkan_device_caps(device)->driver || !dure_vulkan_device_has_kernel(device, v->name))
      continue;
    if (chosen == NULL || rows > 1) chosen = v;
  }
  return chosen;
}

typedef struct matmul_blocks_push {
  uint32_t M, N, blocks;
  uint32_t residual_stride, c_stride;
  uint32_t a_offset, codes_offset, scales_offset, minima_offset, bias_offset, residual_offset, c_offset;
  uint32_t flags;
} matmul_blocks_push;
enum { HAS_BIAS = 1, HAS_RESIDUAL = 2 };

// Parts that expand() has cut along N have rows further apart than they are long.
static uint32_t row_stride(const dure_operand *operand, uint32_t N) {
  return operand->rank == 2 ? (uint32_t)operand->stride[0] : N;
}

static void bind_operands(dure_vulkan_dispatch *dispatch, const dure_op_call *call, matmul_blocks_push *push) {
  const dure_operand *o = call->operands;
  push->a_offset = dure_vulkan_bind(dispatch, &o[A], DURE_READ);
  push->codes_offset = dure_vulkan_bind(dispatch, &o[CODES], DURE_READ);
  push->scales_offset = dure_vulkan_bind(dispatch, &o[SCALES], DURE_READ);
  const dure_operand *minima = dure_operand_is_present(&o[MINIMA]) ? &o[MINIMA] : &o[SCALES];
  push->minima_offset = dure_vulkan_bind(dispatch, minima, DURE_READ);
  const dure_operand *bias = dure_operand_is_present(&o[BIAS]) ? &o[BIAS] : &o[C];
  push->bias_offset = dure_vulkan_bind(dispatch, bias, DURE_READ);
  const dure_operand *residual = dure_operand_is_present(&o[RESIDUAL]) ? &o[RESIDUAL] : &o[C];
  push->residual_offset = dure_vulkan_bind(dispatch, residual, DURE_READ);
  push->c_offset = dure_vulkan_bind(dispatch, &o[C], DURE_WRITE);
}

enum { MOST_GROUPS = 65535, GROUPS_IN_X = 32768 };

static dure_status record_matmul_blocks(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *o = call->operands;
  const struct variant *v = choose(device, call);
  matmul_blocks_push push = {.M = (uint32_t)dure_operand_rows(&o[A]), .N = (uint32_t)o[CODES].shape[0]};
  push.blocks = (uint32_t)(o[A].shape[o[A].rank - 1] / BLOCK);
  push.c_stride = row_stride(&o[C], push.N);
  push.residual_stride = dure_operand_is_present(&o[RESIDUAL]) ? row_stride(&o[RESIDUAL], push.N) : push.N;
  const uint32_t group_size = dure_vulkan_group_size_over(device, 64, push.blocks);
  uint32_t constants[8] = {0};
  if (v == NULL) {
    constants[0] = group_size;
    constants[1] = dure_vulkan_is_single_subgroup(device, group_size);
  }
  constants[2] = call->attributes.blocks.bits;
  constants[3] = dure_operand_is_present(&o[MINIMA]);
  constants[4] = dure_vulkan_type(&o[A]);
  if (v == NULL) constants[5] = push.M <= 1 ? 1 : push.M <= 2 ? 2 : push.M <= 4 ? 4 : ROWS_MOST;
  constants[6] = dure_blocks_group(&call->attributes.blocks);
  constants[7] = dure_vulkan_type(&o[SCALES]);
  push.flags =
      (dure_operand_is_present(&o[BIAS]) ? HAS_BIAS : 0) | (dure_operand_is_present(&o[RESIDUAL]) ? HAS_RESIDUAL : 0);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  bind_operands(&dispatch, call, &push);
  const uint32_t width = dure_vulkan_is_aligned(&o[A]) ? 4 : 1;
  const dure_vulkan_kernel_name rows = dure_vulkan_kernel_with_reduction(device, "matmul_blocks_rows", width);
  const uint64_t x = dure_vulkan_ceil_divide(push.N, v != NULL ? v->columns : ROWS_COLUMNS);
  const uint64_t y = dure_vulkan_ceil_divide(push.M, v != NULL ? v->rows : ROWS_MOST);
  dure_kernel *kernel = NULL;
  DURE_TRY(dure_kernel_get(device, v != NULL ? v->name : rows.text, constants, 8, &kernel));
  const uint64_t z = v == NULL ? dure_vulkan_ceil_divide(x, GROUPS_IN_X) : 1;
  if (y > MOST_GROUPS || z > MOST_GROUPS || (v != NULL && x > MOST_GROUPS))
    return dure_fail(DURE_UNSUPPORTED,
                     "matmul_blocks with a result of %u x %u needs more workgroups than one dispatch has", push.M,
                     push.N);
  return dure_recording_dispatch(recording, kernel, dispatch.bindings, dispatch.binding_count, &push, sizeof(push),
                                 (uint32_t)(z > 1 ? GROUPS_IN_X : x), (uint32_t)y, (uint32_t)z);
}

const dure_backend_op dure_vulkan_op_matmul_blocks = {.record = record_matmul_blocks, .takes_16_bit = true};
