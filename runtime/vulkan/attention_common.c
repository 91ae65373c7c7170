#include "runtime/vulkan/attention_common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/tuning.h"

// ---- operands ----------------------------------------------------------------------------------------------------

void dure_vulkan_attention_strides(const dure_operand *operand, uint32_t *out_t, uint32_t *out_h) {
  *out_h = (uint32_t)operand->stride[2];
  *out_t = (uint32_t)(operand->shape[1] > 1 || operand->shape[0] == 1 ? operand->stride[1] : operand->stride[0]);
}

bool dure_vulkan_rows_begin_at(const dure_operand *operand, uint32_t count) {
  if (operand->shape[operand->rank - 1] % count != 0) return false;
  for (uint32_t axis = 0; axis + 1 < operand->rank; axis++) {
    if (operand->shape[axis] > 1 && operand->stride[axis] % count != 0) return false;
  }
  return operand->offset % (count * dure_dtype_size(operand->dtype)) == 0;
}

uint32_t dure_vulkan_rows_width(const dure_operand *operand) { return dure_vulkan_rows_begin_at(operand, 4) ? 4 : 1; }

bool dure_vulkan_is_in_quads(const dure_device *device, const dure_vulkan_attention_tier *tier,
                             const dure_operand *operand) {
  for (uint32_t axis = 0; axis + 1 < operand->rank; axis++) {
    if (operand->shape[axis] > 1 && operand->stride[axis] % 4 != 0) return false;
  }
  if (operand->offset % 16 != 0) return false;
  return dure_vulkan_attention_fits_texels(device, tier, dure_operand_span(operand) / 16);
}

bool dure_vulkan_attention_fits_texels(const dure_device *device, const dure_vulkan_attention_tier *tier,
                                       uint64_t texels) {
  const uint64_t most = dure_vulkan_device_caps(device)->max_texel_elements;
  return !tier->reads_texels || most == 0 || texels <= most;
}

dure_operand dure_vulkan_take_rows(const dure_operand *operand, dure_vulkan_rows rows) {
  dure_operand part = *operand;
  if (operand->shape[0] > 1) return part;
  part.offset += rows.begin * part.stride[1] * dure_dtype_size(part.dtype);
  part.shape[1] = rows.end - rows.begin;
  return part;
}

// ---- kernels -----------------------------------------------------------------------------------------------------

enum { MOST_HEAD_SIZE = 256 };

// Measured at B, T, H = 4, 256, 6 (docs/kernels-vulkan.md). `rows`: the lanes (8, of quads 4), each with the QUERIES or
// OWN of shaders/variants/attention.txt; of the plain kernels 4. SwiftShader has no limit of turns, so those of the
// quads are what they are.
static const dure_vulkan_attention_tier tiers[] = {
    // name, software, gpu, takes_types, wants_quads, reads_texels, shares_keys, head_size, rows, turns
    {"texel", true, false, false, true, true, false, 32, {32, 32, 32, 1, 0}, {8, 8, 8, 4, 0}},
    {"texel", true, false, false, true, true, false, 64, {32, 16, 16, 1, 0}, {8, 8, 8, 4, 0}},
    {"texel", true, false, false, true, true, false, 96, {16, 16, 8, 1, 0}, {8, 8, 8, 4, 0}},
    {"texel", true, false, false, true, true, false, 128, {16, 8, 8, 1, 0}, {8, 8, 8, 4, 0}},
    {"texel", true, false, false, true, true, false, 256, {8, 8, 8, 1, 0}, {8, 8, 8, 4, 0}},
    {"quad", true, false, false, true, false, true, 32, {16, 16, 16, 4, 1}, {16, 16, 16, 16, 16}},
    {"quad", true, false, false, true, false, true, 64, {16, 8, 8, 4, 1}, {16, 16, 16, 16, 16}},
    {"quad", true, false, false, true, false, true, 96, {8, 4, 4, 4, 1}, {16, 16, 16, 16, 16}},
    {"quad", true, false, false, true, false, true, 128, {8, 4, 4, 4, 1}, {16, 16, 16, 16, 16}},
    {"quad", true, false, false, true, false, true, 256, {4, 4, 4, 4, 1}, {16, 16, 16, 16, 16}},
    {"tile", false, true, true, false, false, false, 64, {64, 64, 64, 0, 0}, {200, 350, 450, 0, 0}},
    {"tile", false, true, true, false, false, false, 128, {64, 64, 64, 0, 0}, {350, 600, 750, 0, 0}},
    {"tile", false, true, true, false, false, false, 256, {64, 64, 64, 0, 0}, {650, 1150, 1400, 0, 0}},
    {"tile_small", false, true, true, false, false, false, 64, {32, 32, 32, 0, 0}, {350, 600, 750, 0, 0}},
    {"tile_small", false, true, true, false, false, false, 128, {32, 32, 32, 0, 0}, {600, 1000, 1200, 0, 0}},
    {"tile_small", false, true, true, false, false, false, 256, {32, 32, 32, 0, 0}, {1100, 1900, 2200, 0, 0}},
    {"plain", true, true, false, false, false, false, 0, {4, 4, 4, 4, 1}, {1024, 576, 576, 1024, 1024}},
};
enum { TIER_COUNT = sizeof(tiers) / sizeof(tiers[0]) };

const dure_vulkan_attention_tier *dure_vulkan_attention_plain(void) { return &tiers[TIER_COUNT - 1]; }

dure_op dure_vulkan_attention_op(dure_vulkan_attention_pass pass) {
  static const dure_op ops[DURE_VULKAN_ATTENTION_PASSES] = {DURE_OP_attention, DURE_OP_attention_gradient,
                                                            DURE_OP_attention_gradient, DURE_OP_attention_cached,
                                                            DURE_OP_attention_cached};
  return ops[pass];
}

const dure_vulkan_attention_tier *dure_vulkan_attention_find(const dure_device *device, const char *name,
                                                             uint64_t head_size, dure_vulkan_attention_pass pass) {
  const bool is_software = dure_vulkan_is_software(device);
  for (size_t i = 0; i < TIER_COUNT; i++) {
    const dure_vulkan_attention_tier *tier = &tiers[i];
    const bool is_wanted = name != NULL ? strcmp(name, tier->name) == 0 : is_software ? tier->software : tier->gpu;
    if (!is_wanted || tier->rows[pass] == 0 || (tier->head_size > 0 && head_size > tier->head_size)) continue;
    if (dure_vulkan_device_has_kernel(device, dure_vulkan_attention_kernel(tier, pass).text)) return tier;
  }
  return NULL;
}

const dure_vulkan_attention_tier *dure_vulkan_attention_choose(const dure_device *device, dure_dtype dtype,
                                                               uint64_t head_size, dure_vulkan_attention_pass pass) {
  const char *wanted = getenv("DURE_VULKAN_ATTENTION");
  const dure_vulkan_attention_tier *tier = NULL;
  if (wanted == NULL) {
    const char *tuned =
        dure_vulkan_tuned_attention(device, dure_vulkan_attention_op(pass), dtype != DURE_DTYPE_F32, head_size);
    if (tuned != NULL) tier = dure_vulkan_attention_find(device, tuned, head_size, pass);
  }
  if (tier == NULL) tier = dure_vulkan_attention_find(device, wanted, head_size, pass);
  return tier != NULL ? tier : dure_vulkan_attention_plain();
}

// Rows for several head sizes share a name.
const char *dure_vulkan_attention_tier_name(size_t i) {
  for (size_t k = 0; k < TIER_COUNT; k++) {
    const bool is_new = k == 0 || strcmp(tiers[k].name, tiers[k - 1].name) != 0;
    if (is_new && i-- == 0) return tiers[k].name;
  }
  return NULL;
}

dure_vulkan_kernel_name dure_vulkan_attention_kernel(const dure_vulkan_attention_tier *tier,
                                                     dure_vulkan_attention_pass pass) {
  static const char *const bases[DURE_VULKAN_ATTENTION_PASSES] = {
      "attention", "attention_gradient_q", "attention_gradient_kv", "attention_cached", "attention_cached_one"};
  dure_vulkan_kernel_name name;
  snprintf(name.text, sizeof(name.text), tier->head_size > 0 ? "%s_%s_%u" : "%s_%s", bases[pass], tier->name,
           tier->head_size);
  return name;
}

dure_status dure_vulkan_attention_check_head(uint64_t head_size) {
  if (head_size <= MOST_HEAD_SIZE) return NULL;
  return dure_fail(DURE_UNSUPPORTED, "attention with heads of %llu elements: the Vulkan kernels take at most %d",
                   (unsigned long long)head_size, MOST_HEAD_SIZE);
}

dure_status dure_vulkan_attention_check_loops(const dure_device *device, const dure_vulkan_attention_tier *tier,
                                              dure_vulkan_attention_pass pass, uint64_t others, uint64_t head_size) {
  if (dure_vulkan_device_caps(device)->driver == DURE_VULKAN_DRIVER_SWIFTSHADER) return NULL;  // has no such limit
  uint64_t turns_of_64 = tier->turns[pass];
  if (tier->head_size == 0) turns_of_64 += head_size;
  const uint64_t most = device->info.limits.max_loop_iterations;
  if (dure_vulkan_ceil_divide(others, 64) * turns_of_64 <= most) return NULL;
  return dure_fail(DURE_UNSUPPORTED,
                   "attention over %llu positions of heads of %llu elements: %s would need loops longer than this "
                   "driver runs (%llu); use a shorter context or a window",
                   (unsigned long long)others, (unsigned long long)head_size,
                   dure_vulkan_attention_kernel(tier, pass).text, (unsigned long long)most);
}

dure_status dure_vulkan_attention_run(const dure_vulkan_dispatch *dispatch, const char *kernel,
                                      const uint32_t *constants, size_t constant_count, const void *push,
                                      size_t push_size, uint64_t rows, uint64_t rows_each, uint64_t heads,
                                      uint64_t batch) {
  enum { MOST_GROUPS = 65535 };
  const uint64_t tiles = dure_vulkan_ceil_divide(rows, rows_each);
  dure_kernel *found = NULL;
  DURE_TRY(dure_kernel_get(dispatch->device, kernel, constants, constant_count, &found));
  if (tiles > MOST_GROUPS || heads > MOST_GROUPS || batch > MOST_GROUPS) {
    return dure_fail(DURE_UNSUPPORTED,
                     "attention over %llu tiles, %llu heads and %llu sequences is more than one dispatch can have",
                     (unsigned long long)tiles, (unsigned long long)heads, (unsigned long long)batch);
  }
  return dure_recording_dispatch(dispatch->recording, found, dispatch->bindings, dispatch->binding_count, push,
                                 push_size, (uint32_t)tiles, (uint32_t)heads, (uint32_t)batch);
}

// ---- f32 copies --------------------------------------------------------------------------------------------------

enum { PLACE_ALIGNMENT = 256 };

static bool is_packed(const dure_vulkan_packing *packing, uint32_t operand) {
  return (packing->operands >> operand & 1) != 0;
}

dure_vulkan_packing dure_vulkan_pack_plan(const dure_op_call *call, uint32_t mask, uint64_t head_size) {
  dure_vulkan_packing packing = {.operands = mask, .head_size = head_size};
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (!is_packed(&packing, i)) continue;
    const uint64_t D = call->operands[0].shape[3];
    const uint64_t bytes = dure_operand_count(&call->operands[i]) / D * head_size * sizeof(float);
    packing.place[i] = packing.rest;
    packing.rest += dure_vulkan_ceil_divide(bytes, PLACE_ALIGNMENT) * PLACE_ALIGNMENT;
  }
  return packing;
}

dure_op_call dure_vulkan_packed_call(const dure_op_call *call, const dure_vulkan_packing *packing) {
  dure_op_call packed = *call;
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (!is_packed(packing, i)) continue;
    dure_operand *operand = &packed.operands[i];
    const uint64_t *q = call->operands[0].shape;
    const uint64_t heads = dure_operand_count(operand) / (q[0] * q[1] * q[3]);
    operand->dtype = DURE_DTYPE_F32;
    operand->buffer = call->workspace.buffer;
    operand->offset = call->workspace.offset + packing->place[i];
    const uint64_t shape[4] = {q[0], q[1], heads, packing->head_size};
    dure_operand_set_shape(operand, 4, shape);
  }
  if (dure_operand_is_present(&call->workspace)) {
    packed.workspace.offset += packing->rest;
    packed.workspace.shape[0] -= packing->rest;
  }
  return packed;
}

static dure_status run_pack(dure_device *device, dure_recording *recording, const dure_op_call *call,
                            const dure_vulkan_packing *packing, uint32_t operand, dure_vulkan_rows rows,
                            bool is_unpacking) {
  if (!is_packed(packing, operand)) return NULL;
  const dure_op_call packed = dure_vulkan_packed_call(call, packing);
  dure_operand whole = call->operands[operand];
  if (dure_operand_is_contiguous(&whole)) {  // given under another shape
    uint64_t shape[4];
    memcpy(shape, packed.operands[operand].shape, sizeof(shape));
    shape[3] = call->operands[0].shape[3];
    dure_operand_set_shape(&whole, 4, shape);
  }
  const dure_operand tensor = dure_vulkan_take_rows(&whole, rows);
  const dure_operand copy = dure_vulkan_take_rows(&packed.operands[operand], rows);
  struct {
    uint32_t count, heads, D, quads, padded, t, h, offset, copy_offset;
  } push = {.heads = (uint32_t)tensor.shape[2], .D = (uint32_t)tensor.shape[3], .padded = (uint32_t)packing->head_size};
  push.quads = is_unpacking ? (uint32_t)dure_vulkan_ceil_divide(push.D, 4) : push.padded / 4;
  push.count = (uint32_t)(tensor.shape[0] * tensor.shape[1] * push.heads * push.quads);
  dure_vulkan_attention_strides(&tensor, &push.t, &push.h);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  if (is_unpacking) push.copy_offset = dure_vulkan_bind(&dispatch, &copy, DURE_READ);
  push.offset = dure_vulkan_bind(&dispatch, &tensor, is_unpacking ? DURE_READ_WRITE : DURE_READ);
  if (!is_unpacking) push.copy_offset = dure_vulkan_bind(&dispatch, &copy, DURE_WRITE);
  const uint32_t constants[2] = {dure_vulkan_group_size(device, 64), dure_vulkan_type(&tensor)};
  const dure_vulkan_kernel_name name = dure_vulkan_kernel_of_width(is_unpacking ? "attention_unpack" : "attention_pack",
                                                                   dure_vulkan_rows_width(&tensor));
  return dure_vulkan_dispatch_run(&dispatch, name.text, constants, 2, &push, sizeof(push),
                                  dure_vulkan_ceil_divide(push.count, constants[0]));
}

dure_status dure_vulkan_pack(dure_device *device, dure_recording *recording, const dure_op_call *call,
                             const dure_vulkan_packing *packing, uint32_t operand, dure_vulkan_rows rows) {
  return run_pack(device, recording, call, packing, operand, rows, false);
}

dure_status dure_vulkan_unpack(dure_device *device, dure_recording *recording, const dure_op_call *call,
                               const dure_vulkan_packing *packing, uint32_t operand, dure_vulkan_rows rows) {
  return run_pack(device, recording, call, packing, operand, rows, true);
}
