// quantize_rows, matmul_q8.
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"

enum { BLOCK = DURE_QUANTIZED_BLOCK };

// ---- quantize_rows -----------------------------------------------------------------------------------------------

static dure_status record_quantize_rows(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *q = &call->operands[1], *scales = &call->operands[2];
  if (q->offset % 16 != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "quantize_rows: operand 'q' does not begin at a multiple of 16 bytes");
  const uint32_t width = dure_vulkan_is_aligned(x) ? 4 : 1;
  struct {
    uint32_t count, x_offset, q_offset, scales_offset;
  } push = {.count = (uint32_t)dure_operand_count(scales)};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.x_offset = dure_vulkan_bind(&dispatch, x, DURE_READ) / width;
  push.q_offset = dure_vulkan_bind(&dispatch, q, DURE_WRITE);
  push.scales_offset = dure_vulkan_bind(&dispatch, scales, DURE_WRITE);
  const uint32_t steps = dure_vulkan_is_software(device) ? 8 : 1;
  const uint32_t constants[] = {dure_vulkan_group_size(device, 64), steps, dure_vulkan_type(x)};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("quantize_rows", width).text, constants, 3,
                                  &push, sizeof(push),
                                  dure_vulkan_ceil_divide(push.count, (uint64_t)constants[0] * steps));
}

const dure_backend_op dure_vulkan_op_quantize_rows = {.record = record_quantize_rows, .takes_16_bit = true};

// ---- matmul_q8: variants -----------------------------------------------------------------------------------------

enum { A, A_SCALES, B, B_SCALES, BIAS, C };

typedef enum variant_kind {
  TILE,   // one workgroup a tile of c
  ROWS,   // workgroups along the columns, all rows in each; has a variant with subgroup arithmetic
  TEXEL,  // a tile; a and b as texel buffers
} variant_kind;

typedef struct variant {
  const char *name;  // shaders/variants/quantised.txt
  variant_kind kind;
  uint32_t tile_rows, tile_columns;
} variant;

enum { MOST_ROWS = 8 };  // of matmul_q8_rows.comp

typedef enum variant_index {
  TEXEL_8X64,
  TEXEL_1X32,
  QUAD_8X16,
  QUAD_1X16,
  ROWS_DOT,
  ROWS_PLAIN,
  TILE_DOT,
  TILE_PLAIN,
  VARIANT_COUNT,
} variant_index;

static const variant variants[VARIANT_COUNT] = {
    [TEXEL_8X64] = {"matmul_q8_texel", TEXEL, 8, 64},        [TEXEL_1X32] = {"matmul_q8_texel_1", TEXEL, 1, 32},
    [QUAD_8X16] = {"matmul_q8_quad", TEXEL, 8, 16},          [QUAD_1X16] = {"matmul_q8_quad_1", TEXEL, 1, 16},
    [ROWS_DOT] = {"matmul_q8_rows_dot", ROWS, MOST_ROWS, 2}, [ROWS_PLAIN] = {"matmul_q8_rows", ROWS, MOST_ROWS, 2},
    [TILE_DOT] = {"matmul_q8_tile_dot", TILE, 64, 64},       [TILE_PLAIN] = {"matmul_q8_tile", TILE, 64, 64},
};

// Rows are tried in order: the first whose driver and number of rows agree and whose variant can run decides.
static const struct choice {
  bool is_software;
  dure_vulkan_driver driver;  // OTHER: any
  uint32_t most_m;
  variant_index variant;
} choices[] = {
    {true, DURE_VULKAN_DRIVER_LLVMPIPE, 1, TEXEL_1X32},
    {true, DURE_VULKAN_DRIVER_LLVMPIPE, UINT32_MAX, TEXEL_8X64},
    {true, DURE_VULKAN_DRIVER_SWIFTSHADER, 1, QUAD_1X16},
    {true, DURE_VULKAN_DRIVER_SWIFTSHADER, UINT32_MAX, QUAD_8X16},
    {false, DURE_VULKAN_DRIVER_OTHER, MOST_ROWS, ROWS_DOT},
    {false, DURE_VULKAN_DRIVER_OTHER, UINT32_MAX, TILE_DOT},
    {false, DURE_VULKAN_DRIVER_OTHER, MOST_ROWS, ROWS_PLAIN},
    {false, DURE_VULKAN_DRIVER_OTHER, UINT32_MAX, TILE_PLAIN},
};

static bool fits_texels(const dure_device *device, const dure_operand *operand) {
  const uint64_t alignment = device->info.limits.offset_alignment;
  return (dure_operand_span(operand) + alignment) / 16 < dure_vulkan_device_caps(device)->max_texel_elements;
}

static bool can_run(const dure_device *device, const dure_op_call *call, const variant *v) {
  const dure_operand *a = &call->operands[A], *b = &call->operands[B];
  if (v->kind == ROWS && dure_operand_rows(a) > MOST_ROWS) return false;
  if (v->kind == TEXEL && (!fits_texels(device, a) || !fits_texels(device, b))) return false;
  return dure_vulkan_device_has_kernel(device, v->name);
}

// DURE_VULKAN_MATMUL_Q8=name forces a variant where it can run.
static const variant *choose(const dure_device *device, const dure_op_call *call) {
  const char *forced = getenv("DURE_VULKAN_MATMUL_Q8");
  for (size_t i = 0; forced != NULL && i < VARIANT_COUNT; i++) {
    if (strcmp(variants[i].name, forced) == 0 && can_run(device, call, &variants[i])) return &variants[i];
  }
  const dure_vulkan_driver driver = dure_vulkan_device_caps(device)->driver;
  for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
    const struct choice *row = &choices[i];
    if (row->is_software && (row->driver != driver || !dure_vulkan_is_software(device))) continue;
    if (dure_operand_rows(&call->operands[A]) > row->most_m) continue;
    if (can_run(device, call, &variants[row->variant])) return &variants[row->variant];
  }
  return &variants[TILE_PLAIN];
}

// ---- matmul_q8: recording ----------------------------------------------------------------------------------------

typedef struct matmul_q8_push {
  uint32_t M, N, blocks;
  uint32_t c_stride;
  uint32_t a_offset, a_scales_offset, b_offset, b_scales_offset, bias_offset, c_offset;
} matmul_q8_push;

static void bind_operands(dure_vulkan_dispatch *dispatch, const dure_op_call *call, matmul_q8_push *push) {
  const dure_operand *o = call->operands, *bias = dure_operand_is_present(&o[BIAS]) ? &o[BIAS] : &o[C];
  push->a_offset = dure_vulkan_bind(dispatch, &o[A], DURE_READ);
  push->a_scales_offset = dure_vulkan_bind(dispatch, &o[A_SCALES], DURE_READ);
  push->b_offset = dure_vulkan_bind(dispatch, &o[B], DURE_READ);
  push->b_scales_offset = dure_vulkan_bind(dispatch, &o[B_SCALES], DURE_READ);
  push->bias_offset = dure_vulkan_bind(dispatch, bias, DURE_READ);
  push->c_offset = dure_vulkan_bind(dispatch, &o[C], dure_vulkan_accumulates(call, C) ? DURE_READ_WRITE : DURE_WRITE);
}

enum { MOST_GROUPS = 65535 };

static dure_status record_tiles(dure_vulkan_dispatch *dispatch, const variant *v, const uint32_t *constants,
                                size_t constant_count, const matmul_q8_push *push) {
  const uint64_t x = dure_vulkan_ceil_divide(push->N, v->tile_columns),
                 y = dure_vulkan_ceil_divide(push->M, v->tile_rows);
  if (x > MOST_GROUPS || y > MOST_GROUPS) {
    return dure_fail(DURE_UNSUPPORTED,
                     "matmul_q8 with a result of %u x %u needs more workgroups than one dispatch can have", push->M,
                     push->N);
  }
  dure_kernel *kernel = NULL;
  DURE_TRY(dure_kernel_get(dispatch->device, v->name, constants, constant_count, &kernel));
  return dure_recording_dispatch(dispatch->recording, kernel, dispatch->bindings, dispatch->binding_count, push,
                                 sizeof(*push), (uint32_t)x, (uint32_t)y, 1);
}

static dure_status record_matmul_q8(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *b = &call->operands[B], *c = &call->operands[C];
  const variant *v = choose(device, call);
  matmul_q8_push push = {.M = (uint32_t)dure_operand_rows(&call->operands[A]),
                         .N = (uint32_t)b->shape[0],
                         .blocks = (uint32_t)(b->shape[1] / BLOCK)};
  // Parts that expand() has cut along N have rows further apart than they are long.
  push.c_stride = c->rank == 2 ? (uint32_t)c->stride[0] : push.N;
  const uint32_t group_size = dure_vulkan_group_size_over(device, 64, push.blocks);
  uint32_t constants[6] = {0};
  if (v->kind == ROWS) {
    constants[0] = group_size;
    constants[1] = dure_vulkan_is_single_subgroup(device, group_size);
  }
  constants[2] = dure_vulkan_type(c);
  constants[3] = dure_operand_is_present(&call->operands[BIAS]);
  constants[4] = dure_vulkan_accumulates(call, C);
  constants[5] = push.M;
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  bind_operands(&dispatch, call, &push);
  if (v->kind != ROWS) return record_tiles(&dispatch, v, constants, 5, &push);
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_with_reduction(device, v->name, 1).text, constants, 6,
                                  &push, sizeof(push), dure_vulkan_ceil_divide(push.N, v->tile_columns));
}

const dure_backend_op dure_vulkan_op_matmul_q8 = {.record = record_matmul_q8, .takes_16_bit = true};
