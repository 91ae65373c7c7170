// cache_append and attention_cached: the paged cache of keys and values.
#include <stddef.h>

#include "runtime/vulkan/attention_common.h"
#include "runtime/vulkan/ops.h"

// The type of caches of codes (shaders/lib/attention_cached.glsl).
enum { TYPE_CODES = 3 };

static dure_status record_cache_append(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  enum { K, V, BLOCK_TABLE, POSITIONS, KEY_CACHE, VALUE_CACHE, KEY_SCALES, VALUE_SCALES };
  const dure_operand *k = &call->operands[K], *cache = &call->operands[KEY_CACHE];
  struct append_arguments {
    uint32_t count, T, G, D, k_t, k_h, v_t, v_h, blocks, block_size, blocks_per_sequence;
    uint32_t k_offset, v_offset, block_table_offset, positions_offset, key_cache_offset, value_cache_offset;
    uint32_t key_scales_offset, value_scales_offset;  // of caches in blocks
  } push = {
      .T = (uint32_t)k->shape[1],
      .G = (uint32_t)k->shape[2],
      .D = (uint32_t)k->shape[3],
      .blocks = (uint32_t)cache->shape[0],
      .block_size = (uint32_t)cache->shape[1],
      .blocks_per_sequence = (uint32_t)call->operands[BLOCK_TABLE].shape[1],
  };
  dure_vulkan_attention_strides(k, &push.k_t, &push.k_h);
  dure_vulkan_attention_strides(&call->operands[V], &push.v_t, &push.v_h);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.k_offset = dure_vulkan_bind(&dispatch, k, DURE_READ);
  push.v_offset = dure_vulkan_bind(&dispatch, &call->operands[V], DURE_READ);
  push.block_table_offset = dure_vulkan_bind(&dispatch, &call->operands[BLOCK_TABLE], DURE_READ);
  push.positions_offset = dure_vulkan_bind(&dispatch, &call->operands[POSITIONS], DURE_READ);
  push.key_cache_offset = dure_vulkan_bind(&dispatch, cache, DURE_READ_WRITE);
  push.value_cache_offset = dure_vulkan_bind(&dispatch, &call->operands[VALUE_CACHE], DURE_READ_WRITE);
  const bool is_packed = cache->dtype == DURE_DTYPE_U8;
  if (is_packed) {
    push.key_scales_offset = dure_vulkan_bind(&dispatch, &call->operands[KEY_SCALES], DURE_READ_WRITE);
    push.value_scales_offset = dure_vulkan_bind(&dispatch, &call->operands[VALUE_SCALES], DURE_READ_WRITE);
  }
  uint32_t width = dure_vulkan_rows_width(k);
  const uint32_t others[] = {V, KEY_CACHE, VALUE_CACHE};
  for (size_t i = 0; i < 3; i++) width = dure_vulkan_rows_width(&call->operands[others[i]]) == 4 ? width : 1;
  push.count = (uint32_t)(dure_operand_count(k) / (is_packed ? DURE_QUANTIZED_BLOCK : width));
  // On a software driver the workgroup is one subgroup. SwiftShader lost whole workgroups of 64 of this kernel (33
  // tokens of 64 elements to an unaligned cache, different ones each time); with workgroups of 4 it never did.
  const uint32_t constants[3] = {dure_vulkan_group_size(device, 64), dure_vulkan_type(k), width == 4};
  const uint64_t groups = dure_vulkan_ceil_divide(push.count, constants[0]);
  if (is_packed)
    return dure_vulkan_dispatch_run(&dispatch, "cache_append_blocks", constants, 3, &push, sizeof(push), groups);
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("cache_append", width).text, constants, 2,
                                  &push, offsetof(struct append_arguments, key_scales_offset), groups);
}

enum { Q, KEY_CACHE, VALUE_CACHE, BLOCK_TABLE, POSITIONS, SLOPES, KEY_SCALES, VALUE_SCALES, Y };

// The kernels write y in f32; of another type it is copied from the workspace. q and the caches are read as they are.
static dure_vulkan_packing packing_of(const dure_op_call *call) {
  const dure_operand *q = &call->operands[Q];
  return dure_vulkan_pack_plan(call, q->dtype == DURE_DTYPE_F32 ? 0 : 1u << Y,
                               dure_vulkan_ceil_divide(q->shape[3], 4) * 4);
}

static uint64_t attention_cached_workspace(dure_device *device, const dure_op_call *call) {
  (void)device;
  return packing_of(call).rest;
}

// Kernels that fetch rows whole want them aligned.
static bool fits_tier(const dure_device *device, const dure_vulkan_attention_tier *tier, const dure_op_call *call,
                      const dure_operand *y) {
  const dure_operand *operands = call->operands, *q = &operands[Q];
  if (!tier->wants_quads) return true;
  if (tier->shares_keys) {
    return dure_vulkan_rows_width(q) == 4 && dure_vulkan_rows_width(&operands[KEY_CACHE]) == 4 &&
           dure_vulkan_rows_width(&operands[VALUE_CACHE]) == 4 && dure_vulkan_rows_width(y) == 4;
  }
  return q->shape[3] % 4 == 0 && dure_vulkan_is_in_quads(device, tier, q) &&
         dure_vulkan_is_in_quads(device, tier, &operands[KEY_CACHE]) &&
         dure_vulkan_is_in_quads(device, tier, &operands[VALUE_CACHE]) && dure_vulkan_is_in_quads(device, tier, y);
}

// How a call is run: rows are queries or, where the heads of a group share what is fetched of the cache, those of them.
typedef struct cached_plan {
  const dure_vulkan_attention_tier *tier;
  dure_vulkan_attention_pass pass;
  uint64_t rows, rows_each, heads;
} cached_plan;

// One query a sequence is no use to kernels that share keys between several.
static cached_plan plan_cached(const dure_device *device, const dure_op_call *call, const dure_operand *y) {
  const uint64_t *q = call->operands[Q].shape, groups = call->operands[KEY_CACHE].shape[2];
  cached_plan plan = {.pass = DURE_VULKAN_ATTENTION_CACHED};
  plan.tier = dure_vulkan_attention_choose(device, call->operands[Q].dtype, q[3], plan.pass);
  if (!fits_tier(device, plan.tier, call, y)) plan.tier = dure_vulkan_attention_plain();
  plan.rows = plan.tier->shares_keys ? q[1] * (q[2] / groups) : q[1];
  plan.heads = plan.tier->shares_keys ? groups : q[2];
  if (plan.rows == 1 && plan.tier->rows[DURE_VULKAN_ATTENTION_CACHED_ONE] > 0) {
    plan.pass = DURE_VULKAN_ATTENTION_CACHED_ONE;
  }
  plan.rows_each = plan.tier->rows[plan.pass];
  return plan;
}

static dure_status record_attention_cached(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_vulkan_packing packing = packing_of(call);
  const dure_op_call packed = dure_vulkan_packed_call(call, &packing);
  const dure_operand *q = &call->operands[Q], *cache = &call->operands[KEY_CACHE];
  struct {
    uint32_t T, H, G, D, window;
    float scale, soft_cap;
    uint32_t q_t, q_h, blocks, block_size, blocks_per_sequence;
    uint32_t q_offset, key_cache_offset, value_cache_offset, block_table_offset, positions_offset, slopes_offset;
    uint32_t key_scales_offset, value_scales_offset;
    uint32_t y_offset, y_width;
  } push = {
      .T = (uint32_t)q->shape[1],
      .H = (uint32_t)q->shape[2],
      .G = (uint32_t)cache->shape[2],
      .D = (uint32_t)q->shape[3],
      .window = call->attributes.attention.window,
      .scale = call->attributes.attention.scale,
      .soft_cap = call->attributes.attention.soft_cap,
      .blocks = (uint32_t)cache->shape[0],
      .block_size = (uint32_t)cache->shape[1],
      .blocks_per_sequence = (uint32_t)call->operands[BLOCK_TABLE].shape[1],
  };
  DURE_TRY(dure_vulkan_attention_check_head(push.D));
  dure_vulkan_attention_strides(q, &push.q_t, &push.q_h);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.q_offset = dure_vulkan_bind(&dispatch, q, DURE_READ);
  const bool is_packed = cache->dtype == DURE_DTYPE_U8;  // whose places are given in words
  push.key_cache_offset = dure_vulkan_bind(&dispatch, cache, DURE_READ) * (is_packed ? 4 : 1);
  push.value_cache_offset = dure_vulkan_bind(&dispatch, &call->operands[VALUE_CACHE], DURE_READ) * (is_packed ? 4 : 1);
  push.block_table_offset = dure_vulkan_bind(&dispatch, &call->operands[BLOCK_TABLE], DURE_READ);
  push.positions_offset = dure_vulkan_bind(&dispatch, &call->operands[POSITIONS], DURE_READ);
  push.slopes_offset = dure_vulkan_bind(&dispatch, &call->operands[SLOPES], DURE_READ);
  push.key_scales_offset = dure_vulkan_bind(&dispatch, &call->operands[KEY_SCALES], DURE_READ);
  push.value_scales_offset = dure_vulkan_bind(&dispatch, &call->operands[VALUE_SCALES], DURE_READ);
  push.y_offset = dure_vulkan_bind(&dispatch, &packed.operands[Y], DURE_WRITE);
  push.y_width = (uint32_t)packed.operands[Y].shape[packed.operands[Y].rank - 1];
  const cached_plan plan = plan_cached(device, call, &packed.operands[Y]);
  const uint64_t capacity = (uint64_t)push.block_size * push.blocks_per_sequence;
  const uint64_t reach =
      push.window > 0 && push.window + plan.rows_each < capacity ? push.window + plan.rows_each : capacity;
  const struct {
    dure_vulkan_attention_constants common;
    uint32_t cache_type;
  } constants = {.common = {.has_slopes = dure_operand_is_present(&call->operands[SLOPES]),
                            .has_soft_cap = push.soft_cap > 0,
                            .type = dure_vulkan_type(q)},
                 .cache_type = is_packed ? TYPE_CODES : dure_vulkan_type(q)};
  DURE_TRY(dure_vulkan_attention_check_loops(device, plan.tier, plan.pass, reach, push.D));
  DURE_TRY(dure_vulkan_attention_run(&dispatch, dure_vulkan_attention_kernel(plan.tier, plan.pass).text,
                                     (const uint32_t *)&constants, DURE_VULKAN_ATTENTION_CONSTANTS + 1, &push,
                                     sizeof(push), plan.rows, plan.rows_each, plan.heads, q->shape[0]));
  return dure_vulkan_unpack(device, recording, call, &packing, Y, (dure_vulkan_rows){0, push.T});
}

const dure_backend_op dure_vulkan_op_cache_append = {.record = record_cache_append, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_attention_cached = {
    .record = record_attention_cached, .workspace_bytes = attention_cached_workspace, .takes_16_bit = true};
