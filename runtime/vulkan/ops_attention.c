// attention, attention_gradient, cache_append and attention_cached: strides and sizes of the call, and its dispatches.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"

enum {
  MOST_HEAD_SIZE = 256,
  PLAIN_ROWS = 4
};  // PLAIN_ROWS: queries or keys of a workgroup (shaders/variants/attention.txt)

// The push constants of shaders/lib/attention.glsl.
typedef struct attention_push {
  uint32_t T, H, G, D, window;
  float scale;
  uint32_t q_t, q_h, k_t, k_h, v_t, v_h;
  uint32_t dq_t, dq_h, dk_t, dk_h, dv_t, dv_h;
  uint32_t q_offset, k_offset, v_offset, y_offset, log_sum_exp_offset;
  uint32_t dy_offset, delta_offset, dq_offset, dk_offset, dv_offset;
} attention_push;

static dure_status check_head_size(uint64_t head_size) {
  if (head_size <= MOST_HEAD_SIZE) return NULL;
  return dure_fail(DURE_UNSUPPORTED, "attention with heads of %llu elements: the Vulkan kernels take at most %d",
                   (unsigned long long)head_size, MOST_HEAD_SIZE);
}

// [B, T, heads, D]: elements between positions and between heads. A dimension of one element may have any stride.
static void strides_of(const dure_operand *operand, uint32_t *out_t, uint32_t *out_h) {
  *out_h = (uint32_t)operand->stride[2];
  *out_t = (uint32_t)(operand->shape[1] > 1 || operand->shape[0] == 1 ? operand->stride[1] : operand->stride[0]);
}

static attention_push describe(const dure_op_call *call) {
  const dure_operand *q = &call->operands[0], *k = &call->operands[1];
  attention_push push = {
      .T = (uint32_t)q->shape[1],
      .H = (uint32_t)q->shape[2],
      .G = (uint32_t)k->shape[2],
      .D = (uint32_t)q->shape[3],
      .window = call->attributes.attention.window,
      .scale = call->attributes.attention.scale,
  };
  strides_of(q, &push.q_t, &push.q_h);
  strides_of(k, &push.k_t, &push.k_h);
  strides_of(&call->operands[2], &push.v_t, &push.v_h);
  return push;
}

// ---- choices -----------------------------------------------------------------------------------------------------

typedef enum attention_pass { FORWARD, GRADIENT_OF_Q, GRADIENT_OF_K_V, CACHED, PASS_COUNT } attention_pass;

// Kernels by head size, "<name>_<head size>", and the queries or keys of a workgroup: 8 lanes, each with the QUERIES or
// OWN of shaders/variants/attention.txt. Measured at B, T, H = 4, 256, 6 (docs/kernels-vulkan.md).
static const char *const texel_names[PASS_COUNT] = {"attention_texel", "attention_gradient_q_texel",
                                                    "attention_gradient_kv_texel", "attention_cached_texel"};
static const char *const plain_names[PASS_COUNT] = {"attention_plain", "attention_gradient_q_plain",
                                                    "attention_gradient_kv_plain", "attention_cached_plain"};
static const struct texel_choice {
  uint32_t head_size;
  uint32_t rows[PASS_COUNT];
} texel_choices[] = {
    {32, {32, 32, 32, 1}},
    {64, {32, 16, 16, 1}},
    {96, {16, 16, 8, 1}},
    {128, {16, 8, 8, 1}},
};

typedef struct attention_kernel {
  char name[64];
  uint32_t rows;  // of T, a workgroup
} attention_kernel;

// Rows of head size begin at 16 bytes, and the whole may be bound as texels.
static bool is_in_quads(const dure_device *device, const dure_operand *operand) {
  for (uint32_t axis = 0; axis + 1 < operand->rank; axis++) {
    if (operand->shape[axis] > 1 && operand->stride[axis] % 4 != 0) return false;
  }
  return operand->offset % 16 == 0 &&
         dure_operand_span(operand) / 16 <= dure_vulkan_device_caps(device)->max_texel_elements;
}

// DURE_VULKAN_ATTENTION=plain keeps to the plain kernels, for tests and measurements.
static attention_kernel choose_kernel(const dure_device *device, const dure_op_call *call, attention_pass pass,
                                      bool in_quads) {
  attention_kernel kernel = {.rows = PLAIN_ROWS};
  const char *forced = getenv("DURE_VULKAN_ATTENTION");
  const bool may_be_texel = in_quads && (forced == NULL || strcmp(forced, "plain") != 0);
  for (size_t i = 0; may_be_texel && i < sizeof(texel_choices) / sizeof(texel_choices[0]); i++) {
    if (texel_choices[i].head_size != call->operands[0].shape[3]) continue;
    snprintf(kernel.name, sizeof(kernel.name), "%s_%u", texel_names[pass], texel_choices[i].head_size);
    kernel.rows = texel_choices[i].rows[pass];
    if (dure_vulkan_device_has_kernel(device, kernel.name)) return kernel;
  }
  snprintf(kernel.name, sizeof(kernel.name), "%s", plain_names[pass]);
  kernel.rows = PLAIN_ROWS;
  return kernel;
}

// Turns of all loops of one invocation together, which llvmpipe limits: a kernel cut short would be wrong in silence.
// `others`: rows of the other side (keys, or queries of every head that shares a key) that one invocation goes through.
static dure_status check_loops(const dure_device *device, const char *kernel, uint64_t others, uint64_t head_size) {
  enum { TEXEL_ROWS = 8, PLAIN_TILE = 64 };
  const bool is_texel = strstr(kernel, "_texel_") != NULL;
  if (dure_vulkan_device_caps(device)->driver == DURE_VULKAN_DRIVER_SWIFTSHADER) return NULL;  // has no such limit
  const bool is_gradient = strstr(kernel, "_gradient_") != NULL;
  const uint64_t tile_loops = (is_gradient ? 0 : 2 * PLAIN_ROWS) + dure_vulkan_ceil_divide(head_size, PLAIN_TILE);
  const uint64_t turns_of_tile = tile_loops * PLAIN_TILE + head_size;
  const uint64_t turns = is_texel ? others / TEXEL_ROWS : dure_vulkan_ceil_divide(others, PLAIN_TILE) * turns_of_tile;
  if (turns <= device->info.limits.max_loop_iterations) return NULL;
  return dure_fail(
      DURE_UNSUPPORTED,
      "attention over %llu positions of heads of %llu elements: %s would need loops longer than this driver "
      "runs (%llu); use a shorter context or a window",
      (unsigned long long)others, (unsigned long long)head_size, kernel,
      (unsigned long long)device->info.limits.max_loop_iterations);
}

// Positions that one row sees or is seen by, at most.
static uint64_t reach(const dure_op_call *call, uint64_t positions) {
  enum { MOST_ROWS_OF_A_GROUP = 64 };
  const uint64_t window = call->attributes.attention.window;
  return window > 0 && window + MOST_ROWS_OF_A_GROUP < positions ? window + MOST_ROWS_OF_A_GROUP : positions;
}

// Adds `kernel` over tiles of T, heads and sequences.
static dure_status run(const dure_vulkan_dispatch *dispatch, const char *kernel, const void *push, size_t push_size,
                       uint64_t tiles, uint64_t heads, uint64_t batch) {
  enum { MOST_GROUPS = 65535 };
  dure_kernel *found = NULL;
  DURE_TRY(dure_kernel_get(dispatch->device, kernel, NULL, 0, &found));
  if (tiles > MOST_GROUPS || heads > MOST_GROUPS || batch > MOST_GROUPS) {
    return dure_fail(DURE_UNSUPPORTED,
                     "attention over %llu tiles, %llu heads and %llu sequences is more than one dispatch can have",
                     (unsigned long long)tiles, (unsigned long long)heads, (unsigned long long)batch);
  }
  return dure_recording_dispatch(dispatch->recording, found, dispatch->bindings, dispatch->binding_count, push,
                                 push_size, (uint32_t)tiles, (uint32_t)heads, (uint32_t)batch);
}

// ---- training ----------------------------------------------------------------------------------------------------

static dure_status record_attention(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  enum { Q, K, V, Y, LOG_SUM_EXP };
  attention_push push = describe(call);
  DURE_TRY(check_head_size(push.D));
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.q_offset = dure_vulkan_bind(&dispatch, &call->operands[Q], DURE_READ);
  push.k_offset = dure_vulkan_bind(&dispatch, &call->operands[K], DURE_READ);
  push.v_offset = dure_vulkan_bind(&dispatch, &call->operands[V], DURE_READ);
  push.y_offset = dure_vulkan_bind(&dispatch, &call->operands[Y], DURE_WRITE);
  push.log_sum_exp_offset = dure_vulkan_bind(&dispatch, &call->operands[LOG_SUM_EXP], DURE_WRITE);
  bool in_quads = true;
  for (uint32_t i = Q; i <= Y; i++) in_quads = in_quads && is_in_quads(device, &call->operands[i]);
  const attention_kernel kernel = choose_kernel(device, call, FORWARD, in_quads);
  DURE_TRY(check_loops(device, kernel.name, reach(call, push.T), push.D));
  return run(&dispatch, kernel.name, &push, sizeof(push), dure_vulkan_ceil_divide(push.T, kernel.rows), push.H,
             call->operands[Q].shape[0]);
}

// The workspace holds delta [B, H, T]: the first pass writes it, the second reads it.
static uint64_t attention_gradient_workspace(dure_device *device, const dure_op_call *call) {
  (void)device;
  const uint64_t *shape = call->operands[0].shape;
  return 4 * shape[0] * shape[1] * shape[2];
}

enum {
  GRADIENT_Q,
  GRADIENT_K,
  GRADIENT_V,
  GRADIENT_Y,
  GRADIENT_LOG_SUM_EXP,
  GRADIENT_DY,
  GRADIENT_DQ,
  GRADIENT_DK,
  GRADIENT_DV
};

static void bind_gradient_inputs(dure_vulkan_dispatch *dispatch, const dure_op_call *call, attention_push *push) {
  push->q_offset = dure_vulkan_bind(dispatch, &call->operands[GRADIENT_Q], DURE_READ);
  push->k_offset = dure_vulkan_bind(dispatch, &call->operands[GRADIENT_K], DURE_READ);
  push->v_offset = dure_vulkan_bind(dispatch, &call->operands[GRADIENT_V], DURE_READ);
  push->log_sum_exp_offset = dure_vulkan_bind(dispatch, &call->operands[GRADIENT_LOG_SUM_EXP], DURE_READ);
  push->dy_offset = dure_vulkan_bind(dispatch, &call->operands[GRADIENT_DY], DURE_READ);
}

static dure_status record_attention_gradient(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  attention_push push = describe(call);
  DURE_TRY(check_head_size(push.D));
  strides_of(&call->operands[GRADIENT_DQ], &push.dq_t, &push.dq_h);
  strides_of(&call->operands[GRADIENT_DK], &push.dk_t, &push.dk_h);
  strides_of(&call->operands[GRADIENT_DV], &push.dv_t, &push.dv_h);
  const uint64_t batch = call->operands[GRADIENT_Q].shape[0];
  bool in_quads = true;
  for (uint32_t i = GRADIENT_Q; i <= GRADIENT_DV; i++) {
    in_quads = in_quads && (i == GRADIENT_LOG_SUM_EXP || is_in_quads(device, &call->operands[i]));
  }

  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  bind_gradient_inputs(&dispatch, call, &push);
  push.y_offset = dure_vulkan_bind(&dispatch, &call->operands[GRADIENT_Y], DURE_READ);
  push.dq_offset = dure_vulkan_bind(&dispatch, &call->operands[GRADIENT_DQ], DURE_WRITE);
  push.delta_offset = dure_vulkan_bind(&dispatch, &call->workspace, DURE_WRITE);
  attention_kernel kernel = choose_kernel(device, call, GRADIENT_OF_Q, in_quads);
  DURE_TRY(check_loops(device, kernel.name, reach(call, push.T), push.D));
  DURE_TRY(
      run(&dispatch, kernel.name, &push, sizeof(push), dure_vulkan_ceil_divide(push.T, kernel.rows), push.H, batch));

  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  bind_gradient_inputs(&dispatch, call, &push);
  push.delta_offset = dure_vulkan_bind(&dispatch, &call->workspace, DURE_READ);
  push.dk_offset = dure_vulkan_bind(&dispatch, &call->operands[GRADIENT_DK], DURE_WRITE);
  push.dv_offset = dure_vulkan_bind(&dispatch, &call->operands[GRADIENT_DV], DURE_WRITE);
  kernel = choose_kernel(device, call, GRADIENT_OF_K_V, in_quads);
  DURE_TRY(check_loops(device, kernel.name, reach(call, push.T) * (push.H / push.G), push.D));
  return run(&dispatch, kernel.name, &push, sizeof(push), dure_vulkan_ceil_divide(push.T, kernel.rows), push.G, batch);
}

// ---- the paged cache ---------------------------------------------------------------------------------------------

static dure_status record_cache_append(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  enum { K, V, BLOCK_TABLE, POSITIONS, KEY_CACHE, VALUE_CACHE };
  const dure_operand *k = &call->operands[K], *cache = &call->operands[KEY_CACHE];
  struct {
    uint32_t count, T, G, D, k_t, k_h, v_t, v_h, blocks, block_size, blocks_per_sequence;
    uint32_t k_offset, v_offset, block_table_offset, positions_offset, key_cache_offset, value_cache_offset;
  } push = {
      .count = (uint32_t)dure_operand_count(k),
      .T = (uint32_t)k->shape[1],
      .G = (uint32_t)k->shape[2],
      .D = (uint32_t)k->shape[3],
      .blocks = (uint32_t)cache->shape[0],
      .block_size = (uint32_t)cache->shape[1],
      .blocks_per_sequence = (uint32_t)call->operands[BLOCK_TABLE].shape[1],
  };
  strides_of(k, &push.k_t, &push.k_h);
  strides_of(&call->operands[V], &push.v_t, &push.v_h);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.k_offset = dure_vulkan_bind(&dispatch, k, DURE_READ);
  push.v_offset = dure_vulkan_bind(&dispatch, &call->operands[V], DURE_READ);
  push.block_table_offset = dure_vulkan_bind(&dispatch, &call->operands[BLOCK_TABLE], DURE_READ);
  push.positions_offset = dure_vulkan_bind(&dispatch, &call->operands[POSITIONS], DURE_READ);
  push.key_cache_offset = dure_vulkan_bind(&dispatch, cache, DURE_READ_WRITE);
  push.value_cache_offset = dure_vulkan_bind(&dispatch, &call->operands[VALUE_CACHE], DURE_READ_WRITE);
  // On a software driver the workgroup is one subgroup. SwiftShader lost whole workgroups of 64 of this kernel (33
  // tokens of 64 elements to an unaligned cache, different ones each time); with workgroups of 4 it never did.
  const uint32_t group_size = dure_vulkan_group_size(device, 64);
  return dure_vulkan_dispatch_run(&dispatch, "cache_append", &group_size, 1, &push, sizeof(push),
                                  dure_vulkan_ceil_divide(push.count, group_size));
}

static dure_status record_attention_cached(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  enum { Q, KEY_CACHE, VALUE_CACHE, BLOCK_TABLE, POSITIONS, Y };
  const dure_operand *q = &call->operands[Q], *cache = &call->operands[KEY_CACHE];
  struct {
    uint32_t T, H, G, D, window;
    float scale;
    uint32_t q_t, q_h, blocks, block_size, blocks_per_sequence;
    uint32_t q_offset, key_cache_offset, value_cache_offset, block_table_offset, positions_offset, y_offset;
  } push = {
      .T = (uint32_t)q->shape[1],
      .H = (uint32_t)q->shape[2],
      .G = (uint32_t)cache->shape[2],
      .D = (uint32_t)q->shape[3],
      .window = call->attributes.attention.window,
      .scale = call->attributes.attention.scale,
      .blocks = (uint32_t)cache->shape[0],
      .block_size = (uint32_t)cache->shape[1],
      .blocks_per_sequence = (uint32_t)call->operands[BLOCK_TABLE].shape[1],
  };
  DURE_TRY(check_head_size(push.D));
  strides_of(q, &push.q_t, &push.q_h);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.q_offset = dure_vulkan_bind(&dispatch, q, DURE_READ);
  push.key_cache_offset = dure_vulkan_bind(&dispatch, cache, DURE_READ);
  push.value_cache_offset = dure_vulkan_bind(&dispatch, &call->operands[VALUE_CACHE], DURE_READ);
  push.block_table_offset = dure_vulkan_bind(&dispatch, &call->operands[BLOCK_TABLE], DURE_READ);
  push.positions_offset = dure_vulkan_bind(&dispatch, &call->operands[POSITIONS], DURE_READ);
  push.y_offset = dure_vulkan_bind(&dispatch, &call->operands[Y], DURE_WRITE);
  const uint32_t texels[] = {Q, KEY_CACHE, VALUE_CACHE, Y};
  bool in_quads = true;
  for (uint32_t i = 0; i < 4; i++) in_quads = in_quads && is_in_quads(device, &call->operands[texels[i]]);
  attention_kernel kernel = choose_kernel(device, call, CACHED, in_quads);
  if (push.T == 1 && strcmp(kernel.name, plain_names[CACHED]) == 0) {
    kernel = (attention_kernel){.name = "attention_cached_one", .rows = 1};
  }
  DURE_TRY(check_loops(device, kernel.name, reach(call, (uint64_t)push.block_size * push.blocks_per_sequence), push.D));
  return run(&dispatch, kernel.name, &push, sizeof(push), dure_vulkan_ceil_divide(push.T, kernel.rows), push.H,
             q->shape[0]);
}

const dure_backend_op dure_vulkan_op_attention = {.record = record_attention};
const dure_backend_op dure_vulkan_op_attention_gradient = {.record = record_attention_gradient,
                                                           .workspace_bytes = attention_gradient_workspace};
const dure_backend_op dure_vulkan_op_cache_append = {.record = record_cache_append};
const dure_backend_op dure_vulkan_op_attention_cached = {.record = record_attention_cached};
