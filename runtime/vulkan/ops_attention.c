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
  float scale, soft_cap;
  uint32_t first_row, end_row;
  uint32_t q_t, q_h, k_t, k_h, v_t, v_h;
  uint32_t out_t, out_h, second_t, second_h;
  uint32_t q_offset, k_offset, v_offset, document_starts_offset, slopes_offset, log_sum_exp_offset;
  uint32_t dy_offset, delta_offset, out_offset, second_offset;
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
  const dure_attention_attributes *attributes = &call->attributes.attention;
  attention_push push = {
      .T = (uint32_t)q->shape[1],
      .H = (uint32_t)q->shape[2],
      .G = (uint32_t)k->shape[2],
      .D = (uint32_t)q->shape[3],
      .window = attributes->window,
      .scale = attributes->scale,
      .soft_cap = attributes->soft_cap,
      .first_row = attributes->first_row,
      .end_row = attributes->row_count > 0 ? attributes->first_row + attributes->row_count : (uint32_t)q->shape[1],
  };
  strides_of(q, &push.q_t, &push.q_h);
  strides_of(k, &push.k_t, &push.k_h);
  strides_of(&call->operands[2], &push.v_t, &push.v_h);
  return push;
}

// The constants of shaders/lib/attention.glsl and attention_cached.glsl.
typedef struct attention_constants {
  uint32_t has_documents, has_slopes, has_soft_cap;
} attention_constants;
enum { CONSTANT_COUNT = sizeof(attention_constants) / sizeof(uint32_t) };

// y and dy, which are contiguous, under the shape of q.
static dure_operand in_shape_of(const dure_operand *operand, const dure_operand *q) {
  dure_operand shaped = *operand;
  dure_operand_set_shape(&shaped, 4, q->shape);
  return shaped;
}

// Positions [begin, end).
typedef struct range {
  uint64_t begin, end;
} range;

// Binds the range of positions of [B, T, heads, D], all of them where there are several sequences, and returns the
// place of position 0: modulo 2^32, before the binding where the range begins later.
static uint32_t bind_rows(dure_vulkan_dispatch *dispatch, const dure_operand *operand, range rows, dure_access access) {
  if (operand->shape[0] > 1) return dure_vulkan_bind(dispatch, operand, access);
  dure_operand part = *operand;
  part.offset += rows.begin * part.stride[1] * dure_dtype_size(part.dtype);
  part.shape[1] = rows.end - rows.begin;
  return dure_vulkan_bind(dispatch, &part, access) - (uint32_t)(rows.begin * part.stride[1]);
}

// The rows that a call covers, the keys that these see, and the queries that see these.
static range covered_rows(const attention_push *push) { return (range){push->first_row, push->end_row}; }
static range keys_seen(const attention_push *push) {
  const uint32_t before = push->window > 0 ? push->window - 1 : push->first_row;
  return (range){push->first_row > before ? push->first_row - before : 0, push->end_row};
}
static range queries_seeing(const attention_push *push) {
  const uint64_t end = push->window > 0 ? (uint64_t)push->end_row - 1 + push->window : push->T;
  return (range){push->first_row, end < push->T ? end : push->T};
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

// Adds `kernel` over tiles of rows, heads and sequences.
static dure_status run(const dure_vulkan_dispatch *dispatch, const char *kernel, const attention_constants *constants,
                       const void *push, size_t push_size, uint64_t tiles, uint64_t heads, uint64_t batch) {
  enum { MOST_GROUPS = 65535 };
  dure_kernel *found = NULL;
  DURE_TRY(dure_kernel_get(dispatch->device, kernel, (const uint32_t *)constants, CONSTANT_COUNT, &found));
  if (tiles > MOST_GROUPS || heads > MOST_GROUPS || batch > MOST_GROUPS) {
    return dure_fail(DURE_UNSUPPORTED,
                     "attention over %llu tiles, %llu heads and %llu sequences is more than one dispatch can have",
                     (unsigned long long)tiles, (unsigned long long)heads, (unsigned long long)batch);
  }
  return dure_recording_dispatch(dispatch->recording, found, dispatch->bindings, dispatch->binding_count, push,
                                 push_size, (uint32_t)tiles, (uint32_t)heads, (uint32_t)batch);
}

// ---- training ----------------------------------------------------------------------------------------------------

enum { Q, K, V, DOCUMENT_STARTS, SLOPES };  // of attention and attention_gradient

static attention_constants constants_of(const dure_op_call *call) {
  return (attention_constants){.has_documents = dure_operand_is_present(&call->operands[DOCUMENT_STARTS]),
                               .has_slopes = dure_operand_is_present(&call->operands[SLOPES]),
                               .has_soft_cap = call->attributes.attention.soft_cap > 0};
}

static dure_status record_attention(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  enum { Y = SLOPES + 1, LOG_SUM_EXP };
  const dure_operand *operands = call->operands;
  const dure_operand y = in_shape_of(&operands[Y], &operands[Q]);
  attention_push push = describe(call);
  DURE_TRY(check_head_size(push.D));
  strides_of(&y, &push.out_t, &push.out_h);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.q_offset = bind_rows(&dispatch, &operands[Q], covered_rows(&push), DURE_READ);
  push.k_offset = bind_rows(&dispatch, &operands[K], keys_seen(&push), DURE_READ);
  push.v_offset = bind_rows(&dispatch, &operands[V], keys_seen(&push), DURE_READ);
  push.document_starts_offset = dure_vulkan_bind(&dispatch, &operands[DOCUMENT_STARTS], DURE_READ);
  push.slopes_offset = dure_vulkan_bind(&dispatch, &operands[SLOPES], DURE_READ);
  push.out_offset = bind_rows(&dispatch, &y, covered_rows(&push), DURE_WRITE);
  push.log_sum_exp_offset = dure_vulkan_bind(&dispatch, &operands[LOG_SUM_EXP], DURE_WRITE);
  bool in_quads = is_in_quads(device, &y);
  for (uint32_t i = Q; i <= V; i++) in_quads = in_quads && is_in_quads(device, &operands[i]);
  const attention_kernel kernel = choose_kernel(device, call, FORWARD, in_quads);
  const attention_constants constants = constants_of(call);
  const range keys = keys_seen(&push);
  DURE_TRY(check_loops(device, kernel.name, keys.end - keys.begin, push.D));
  return run(&dispatch, kernel.name, &constants, &push, sizeof(push),
             dure_vulkan_ceil_divide(push.end_row - push.first_row, kernel.rows), push.H, operands[Q].shape[0]);
}

// The workspace holds delta [B, H, T].
static uint64_t attention_gradient_workspace(dure_device *device, const dure_op_call *call) {
  (void)device;
  const uint64_t *shape = call->operands[0].shape;
  return 4 * shape[0] * shape[1] * shape[2];
}

enum {
  GRADIENT_Y = SLOPES + 1,
  GRADIENT_LOG_SUM_EXP,
  GRADIENT_DY,
  GRADIENT_DQ,
  GRADIENT_DK,
  GRADIENT_DV,
};

// delta = dy . y, of all rows: both of the other passes read it.
static dure_status record_delta(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const uint64_t *shape = call->operands[Q].shape;
  const dure_operand *y = &call->operands[GRADIENT_Y], *dy = &call->operands[GRADIENT_DY];
  struct {
    uint32_t count, T, H, D, y_offset, dy_offset, delta_offset;
  } push = {.count = (uint32_t)(shape[0] * shape[1] * shape[2]),
            .T = (uint32_t)shape[1],
            .H = (uint32_t)shape[2],
            .D = (uint32_t)shape[3]};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.y_offset = dure_vulkan_bind(&dispatch, y, DURE_READ);
  push.dy_offset = dure_vulkan_bind(&dispatch, dy, DURE_READ);
  push.delta_offset = dure_vulkan_bind(&dispatch, &call->workspace, DURE_WRITE);
  const uint32_t width = dure_vulkan_width((const dure_operand *const[]){y, dy}, 2, shape[3]);
  const uint32_t group_size = dure_vulkan_group_size(device, 64);
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("attention_delta", width).text, &group_size, 1,
                                  &push, sizeof(push), dure_vulkan_ceil_divide(push.count, group_size));
}

static void bind_gradient_inputs(dure_vulkan_dispatch *dispatch, const dure_op_call *call, range queries, range keys,
                                 attention_push *push) {
  const dure_operand *operands = call->operands;
  const dure_operand dy = in_shape_of(&operands[GRADIENT_DY], &operands[Q]);
  push->q_offset = bind_rows(dispatch, &operands[Q], queries, DURE_READ);
  push->k_offset = bind_rows(dispatch, &operands[K], keys, DURE_READ);
  push->v_offset = bind_rows(dispatch, &operands[V], keys, DURE_READ);
  push->log_sum_exp_offset = dure_vulkan_bind(dispatch, &operands[GRADIENT_LOG_SUM_EXP], DURE_READ);
  push->dy_offset = bind_rows(dispatch, &dy, queries, DURE_READ);
  push->delta_offset = dure_vulkan_bind(dispatch, &call->workspace, DURE_READ);
  push->document_starts_offset = dure_vulkan_bind(dispatch, &operands[DOCUMENT_STARTS], DURE_READ);
  push->slopes_offset = dure_vulkan_bind(dispatch, &operands[SLOPES], DURE_READ);
}

static dure_status record_gradient_of_q(const dure_op_call *call, attention_push push, bool in_quads,
                                        dure_vulkan_dispatch *dispatch) {
  const dure_operand *dq = &call->operands[GRADIENT_DQ];
  const range rows = covered_rows(&push), keys = keys_seen(&push);
  strides_of(dq, &push.out_t, &push.out_h);
  bind_gradient_inputs(dispatch, call, rows, keys, &push);
  push.out_offset = bind_rows(dispatch, dq, rows, DURE_WRITE);
  const attention_kernel kernel = choose_kernel(dispatch->device, call, GRADIENT_OF_Q, in_quads);
  const attention_constants constants = constants_of(call);
  DURE_TRY(check_loops(dispatch->device, kernel.name, keys.end - keys.begin, push.D));
  return run(dispatch, kernel.name, &constants, &push, sizeof(push),
             dure_vulkan_ceil_divide(rows.end - rows.begin, kernel.rows), push.H, dq->shape[0]);
}

static dure_status record_gradient_of_k_v(const dure_op_call *call, attention_push push, bool in_quads,
                                          dure_vulkan_dispatch *dispatch) {
  const dure_operand *dk = &call->operands[GRADIENT_DK], *dv = &call->operands[GRADIENT_DV];
  const range rows = covered_rows(&push), queries = queries_seeing(&push);
  strides_of(dk, &push.out_t, &push.out_h);
  strides_of(dv, &push.second_t, &push.second_h);
  bind_gradient_inputs(dispatch, call, queries, rows, &push);
  push.out_offset = bind_rows(dispatch, dk, rows, DURE_WRITE);
  push.second_offset = bind_rows(dispatch, dv, rows, DURE_WRITE);
  const attention_kernel kernel = choose_kernel(dispatch->device, call, GRADIENT_OF_K_V, in_quads);
  const attention_constants constants = constants_of(call);
  DURE_TRY(check_loops(dispatch->device, kernel.name, (queries.end - queries.begin) * (push.H / push.G), push.D));
  return run(dispatch, kernel.name, &constants, &push, sizeof(push),
             dure_vulkan_ceil_divide(rows.end - rows.begin, kernel.rows), push.G, dk->shape[0]);
}

static dure_status record_attention_gradient(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const attention_push push = describe(call);
  DURE_TRY(check_head_size(push.D));
  const uint32_t in_rows[] = {Q, K, V, GRADIENT_DQ, GRADIENT_DK, GRADIENT_DV};
  const dure_operand dy = in_shape_of(&call->operands[GRADIENT_DY], &call->operands[Q]);
  bool in_quads = is_in_quads(device, &dy);
  for (size_t i = 0; i < sizeof(in_rows) / sizeof(in_rows[0]); i++) {
    in_quads = in_quads && is_in_quads(device, &call->operands[in_rows[i]]);
  }
  DURE_TRY(record_delta(device, recording, call));
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  DURE_TRY(record_gradient_of_q(call, push, in_quads, &dispatch));
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  return record_gradient_of_k_v(call, push, in_quads, &dispatch);
}

// ---- the paged cache ---------------------------------------------------------------------------------------------

static dure_status record_cache_append(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  enum { NEW_K, NEW_V, BLOCK_TABLE, POSITIONS, KEY_CACHE, VALUE_CACHE };
  const dure_operand *k = &call->operands[NEW_K], *cache = &call->operands[KEY_CACHE];
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
  strides_of(&call->operands[NEW_V], &push.v_t, &push.v_h);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.k_offset = dure_vulkan_bind(&dispatch, k, DURE_READ);
  push.v_offset = dure_vulkan_bind(&dispatch, &call->operands[NEW_V], DURE_READ);
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
  enum { QUERY, KEY_CACHE, VALUE_CACHE, BLOCK_TABLE, POSITIONS, CACHED_SLOPES, Y };
  const dure_operand *q = &call->operands[QUERY], *cache = &call->operands[KEY_CACHE];
  struct {
    uint32_t T, H, G, D, window;
    float scale, soft_cap;
    uint32_t q_t, q_h, blocks, block_size, blocks_per_sequence;
    uint32_t q_offset, key_cache_offset, value_cache_offset, block_table_offset, positions_offset, slopes_offset;
    uint32_t y_offset;
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
  DURE_TRY(check_head_size(push.D));
  strides_of(q, &push.q_t, &push.q_h);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.q_offset = dure_vulkan_bind(&dispatch, q, DURE_READ);
  push.key_cache_offset = dure_vulkan_bind(&dispatch, cache, DURE_READ);
  push.value_cache_offset = dure_vulkan_bind(&dispatch, &call->operands[VALUE_CACHE], DURE_READ);
  push.block_table_offset = dure_vulkan_bind(&dispatch, &call->operands[BLOCK_TABLE], DURE_READ);
  push.positions_offset = dure_vulkan_bind(&dispatch, &call->operands[POSITIONS], DURE_READ);
  push.slopes_offset = dure_vulkan_bind(&dispatch, &call->operands[CACHED_SLOPES], DURE_READ);
  push.y_offset = dure_vulkan_bind(&dispatch, &call->operands[Y], DURE_WRITE);
  const uint32_t texels[] = {QUERY, KEY_CACHE, VALUE_CACHE, Y};
  bool in_quads = true;
  for (uint32_t i = 0; i < 4; i++) in_quads = in_quads && is_in_quads(device, &call->operands[texels[i]]);
  attention_kernel kernel = choose_kernel(device, call, CACHED, in_quads);
  if (push.T == 1 && strcmp(kernel.name, plain_names[CACHED]) == 0) {
    kernel = (attention_kernel){.name = "attention_cached_one", .rows = 1};
  }
  const uint64_t capacity = (uint64_t)push.block_size * push.blocks_per_sequence;
  const uint64_t reach = push.window > 0 && push.window + kernel.rows < capacity ? push.window + kernel.rows : capacity;
  const attention_constants constants = {.has_slopes = dure_operand_is_present(&call->operands[CACHED_SLOPES]),
                                         .has_soft_cap = push.soft_cap > 0};
  DURE_TRY(check_loops(device, kernel.name, reach, push.D));
  return run(&dispatch, kernel.name, &constants, &push, sizeof(push), dure_vulkan_ceil_divide(push.T, kernel.rows),
             push.H, q->shape[0]);
}

const dure_backend_op dure_vulkan_op_attention = {.record = record_attention};
const dure_backend_op dure_vulkan_op_attention_gradient = {.record = record_attention_gradient,
                                                           .workspace_bytes = attention_gradient_workspace};
const dure_backend_op dure_vulkan_op_cache_append = {.record = record_cache_append};
const dure_backend_op dure_vulkan_op_attention_cached = {.record = record_attention_cached};
