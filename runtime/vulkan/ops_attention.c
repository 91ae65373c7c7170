// attention and attention_gradient: strides and sizes of the call, copies of its operands where the kernels want them
// aligned and in f32, and the passes' dispatches. The cache's ops: ops_attention_cached.c.
#include <string.h>

#include "runtime/vulkan/attention_common.h"
#include "runtime/vulkan/attention_matrix.h"
#include "runtime/vulkan/ops.h"

enum { Q, K, V, DOCUMENT_STARTS, SLOPES };  // of both ops
enum { Y = SLOPES + 1, LOG_SUM_EXP };
enum { GRADIENT_Y = SLOPES + 1, GRADIENT_LOG_SUM_EXP, GRADIENT_DY, GRADIENT_DQ, GRADIENT_DK, GRADIENT_DV };

// The operands whose rows of D elements the kernels move.
static const uint32_t forward_rows_mask = 1u << Q | 1u << K | 1u << V | 1u << Y;
static const uint32_t gradient_rows_mask = 1u << Q | 1u << K | 1u << V | 1u << GRADIENT_Y | 1u << GRADIENT_DY |
                                           1u << GRADIENT_DQ | 1u << GRADIENT_DK | 1u << GRADIENT_DV;

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

static attention_push describe(const dure_op_call *call) {
  const dure_operand *q = &call->operands[Q], *k = &call->operands[K];
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
  dure_vulkan_attention_strides(q, &push.q_t, &push.q_h);
  dure_vulkan_attention_strides(k, &push.k_t, &push.k_h);
  dure_vulkan_attention_strides(&call->operands[V], &push.v_t, &push.v_h);
  return push;
}

// `mask`: the operands whose rows the kernels move.
static dure_vulkan_attention_constants constants_of(const dure_op_call *call, uint32_t mask) {
  bool in_fours = true;
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    in_fours = in_fours && ((mask >> i & 1) == 0 || dure_vulkan_rows_width(&call->operands[i]) == 4);
  }
  return (dure_vulkan_attention_constants){.type = dure_vulkan_type(&call->operands[Q]),
                                           .in_fours = in_fours,
                                           .has_documents = dure_operand_is_present(&call->operands[DOCUMENT_STARTS]),
                                           .has_slopes = dure_operand_is_present(&call->operands[SLOPES]),
                                           .has_soft_cap = call->attributes.attention.soft_cap > 0};
}

// The rows that a call covers, the keys that these see, and the queries that see these.
static dure_vulkan_rows covered_rows(const attention_push *push) {
  return (dure_vulkan_rows){push->first_row, push->end_row};
}
static dure_vulkan_rows keys_seen(const attention_push *push) {
  const uint32_t before = push->window > 0 ? push->window - 1 : push->first_row;
  return (dure_vulkan_rows){push->first_row > before ? push->first_row - before : 0, push->end_row};
}
static dure_vulkan_rows queries_seeing(const attention_push *push) {
  const uint64_t end = push->window > 0 ? (uint64_t)push->end_row - 1 + push->window : push->T;
  return (dure_vulkan_rows){push->first_row, end < push->T ? end : push->T};
}

// y and dy, which are contiguous, under the shape of q.
static dure_operand in_shape_of(const dure_operand *operand, const dure_operand *q) {
  dure_operand shaped = *operand;
  dure_operand_set_shape(&shaped, 4, q->shape);
  return shaped;
}

// Binds these positions of [B, T, heads, D] and returns the place of position 0: modulo 2^32, before the binding where
// they begin later.
static uint32_t bind_rows(dure_vulkan_dispatch *dispatch, const dure_operand *operand, dure_vulkan_rows rows,
                          dure_access access) {
  const dure_operand part = dure_vulkan_take_rows(operand, rows);
  const uint64_t first = operand->shape[0] > 1 ? 0 : rows.begin;
  return dure_vulkan_bind(dispatch, &part, access) - (uint32_t)(first * operand->stride[1]);
}

// ---- choices -----------------------------------------------------------------------------------------------------

// How a call is run: by matrix units, or by the tier of its first pass; and the operands that are copied for it.
typedef struct attention_plan {
  const dure_vulkan_attention_matrix *matrix;  // or NULL
  const dure_vulkan_attention_tier *tier;
  dure_vulkan_packing packing;
} attention_plan;

static bool all_in_quads(const dure_device *device, const dure_vulkan_attention_tier *tier, const dure_op_call *call,
                         uint32_t mask) {
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if ((mask >> i & 1) != 0 && !dure_vulkan_is_in_quads(device, tier, &call->operands[i])) return false;
  }
  return true;
}

// Kernels that want quads get copies of operands that are not in quads, or of heads of another size; all get copies of
// 16-bit operands. `workspace_bytes`: what there is, since a workspace is planned before the operands' places are
// known.
static attention_plan plan_call(const dure_device *device, const dure_op_call *call, uint32_t mask,
                                dure_vulkan_attention_pass pass, uint64_t workspace_bytes) {
  const dure_operand *q = &call->operands[Q];
  const uint64_t D = q->shape[3];
  attention_plan plan = {.matrix = dure_vulkan_attention_matrix_choose(device, pass, q->dtype, D)};
  if (plan.matrix != NULL) return plan;
  plan.tier = dure_vulkan_attention_choose(device, q->dtype, D, pass);
  const bool is_f32 = q->dtype == DURE_DTYPE_F32;
  if (plan.tier->takes_types) return plan;
  if (plan.tier->wants_quads &&
      (!is_f32 || D != plan.tier->head_size || !all_in_quads(device, plan.tier, call, mask))) {
    plan.packing = dure_vulkan_pack_plan(call, mask, plan.tier->head_size);
    const uint64_t copied = dure_operand_count(q) / D * plan.tier->head_size / 4;
    if (plan.packing.rest <= workspace_bytes && dure_vulkan_attention_fits_texels(device, plan.tier, copied))
      return plan;
    plan.tier = dure_vulkan_attention_plain();
  }
  plan.packing = dure_vulkan_pack_plan(call, is_f32 ? 0 : mask, dure_vulkan_ceil_divide(D, 4) * 4);
  return plan;
}

// Adds one pass over `rows` for `heads` heads. `others`: rows of the other side that one workgroup goes through.
// `mask`: the operands whose rows it moves.
static dure_status run_pass(const dure_vulkan_dispatch *dispatch, const dure_op_call *call, const attention_plan *plan,
                            dure_vulkan_attention_pass pass, const attention_push *push, uint32_t mask,
                            dure_vulkan_rows rows, uint64_t others, uint64_t heads) {
  const uint64_t count = rows.end - rows.begin, batch = call->operands[Q].shape[0];
  const dure_vulkan_attention_constants options = constants_of(call, mask);
  uint32_t constants[DURE_ATTENTION_MATRIX_CONSTANTS];
  memcpy(constants, &options, sizeof(options));
  if (plan->matrix == NULL) {
    DURE_TRY(dure_vulkan_attention_check_loops(dispatch->device, plan->tier, pass, others, push->D));
    return dure_vulkan_attention_run(dispatch, dure_vulkan_attention_kernel(plan->tier, pass).text, constants,
                                     DURE_VULKAN_ATTENTION_CONSTANTS, push, sizeof(*push), count,
                                     plan->tier->rows[pass], heads, batch);
  }
  const dure_vulkan_attention_problem problem = {
      .pass = pass, .is_bfloat16 = call->operands[Q].dtype == DURE_DTYPE_BF16, .head_size = push->D};
  bool in_eights = true;
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    in_eights = in_eights && ((mask >> i & 1) == 0 || dure_vulkan_rows_begin_at(&call->operands[i], 8));
  }
  dure_vulkan_attention_matrix_constants(dispatch->device, plan->matrix, &problem, in_eights, constants);
  return dure_vulkan_attention_run(dispatch, dure_vulkan_attention_matrix_kernel(&problem).text, constants,
                                   DURE_ATTENTION_MATRIX_CONSTANTS, push, sizeof(*push), count,
                                   plan->matrix->subgroups * plan->matrix->part_rows, heads, batch);
}

// ---- forward -----------------------------------------------------------------------------------------------------

static uint64_t attention_workspace(dure_device *device, const dure_op_call *call) {
  return plan_call(device, call, forward_rows_mask, DURE_VULKAN_ATTENTION_FORWARD, UINT64_MAX).packing.rest;
}

static dure_status record_forward(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                  const attention_plan *plan) {
  const dure_operand *operands = call->operands;
  const dure_operand y = in_shape_of(&operands[Y], &operands[Q]);
  attention_push push = describe(call);
  dure_vulkan_attention_strides(&y, &push.out_t, &push.out_h);
  const dure_vulkan_rows rows = covered_rows(&push), keys = keys_seen(&push);
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.q_offset = bind_rows(&dispatch, &operands[Q], rows, DURE_READ);
  push.k_offset = bind_rows(&dispatch, &operands[K], keys, DURE_READ);
  push.v_offset = bind_rows(&dispatch, &operands[V], keys, DURE_READ);
  push.document_starts_offset = dure_vulkan_bind(&dispatch, &operands[DOCUMENT_STARTS], DURE_READ);
  push.slopes_offset = dure_vulkan_bind(&dispatch, &operands[SLOPES], DURE_READ);
  push.out_offset = bind_rows(&dispatch, &y, rows, DURE_WRITE);
  push.log_sum_exp_offset = dure_vulkan_bind(&dispatch, &operands[LOG_SUM_EXP], DURE_WRITE);
  return run_pass(&dispatch, call, plan, DURE_VULKAN_ATTENTION_FORWARD, &push, forward_rows_mask, rows,
                  keys.end - keys.begin, push.H);
}

static dure_status record_attention(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  DURE_TRY(dure_vulkan_attention_check_head(call->operands[Q].shape[3]));
  const attention_push push = describe(call);
  const dure_vulkan_rows rows = covered_rows(&push), keys = keys_seen(&push);
  const attention_plan plan =
      plan_call(device, call, forward_rows_mask, DURE_VULKAN_ATTENTION_FORWARD, dure_operand_count(&call->workspace));
  const dure_op_call packed = dure_vulkan_packed_call(call, &plan.packing);
  DURE_TRY(dure_vulkan_pack(device, recording, call, &plan.packing, Q, rows));
  DURE_TRY(dure_vulkan_pack(device, recording, call, &plan.packing, K, keys));
  DURE_TRY(dure_vulkan_pack(device, recording, call, &plan.packing, V, keys));
  DURE_TRY(record_forward(device, recording, &packed, &plan));
  return dure_vulkan_unpack(device, recording, call, &plan.packing, Y, rows);
}

// ---- gradient ----------------------------------------------------------------------------------------------------

// The workspace holds the copies, then delta [B, H, T].
static uint64_t attention_gradient_workspace(dure_device *device, const dure_op_call *call) {
  const uint64_t *shape = call->operands[Q].shape;
  const attention_plan plan = plan_call(device, call, gradient_rows_mask, DURE_VULKAN_ATTENTION_GRADIENT_Q, UINT64_MAX);
  return plan.packing.rest + 4 * shape[0] * shape[1] * shape[2];
}

// delta = dy . y, of the rows that the other passes read.
static dure_status record_delta(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                dure_vulkan_rows rows) {
  const uint64_t *shape = call->operands[Q].shape;
  const dure_operand y = in_shape_of(&call->operands[GRADIENT_Y], &call->operands[Q]);
  const dure_operand dy = in_shape_of(&call->operands[GRADIENT_DY], &call->operands[Q]);
  struct {
    uint32_t count, T, H, D, first_row, rows, y_offset, dy_offset, delta_offset;
  } push = {.count = (uint32_t)(shape[0] * (rows.end - rows.begin) * shape[2]),
            .T = (uint32_t)shape[1],
            .H = (uint32_t)shape[2],
            .D = (uint32_t)shape[3],
            .first_row = (uint32_t)rows.begin,
            .rows = (uint32_t)(rows.end - rows.begin)};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.y_offset = bind_rows(&dispatch, &y, rows, DURE_READ);
  push.dy_offset = bind_rows(&dispatch, &dy, rows, DURE_READ);
  push.delta_offset = dure_vulkan_bind(&dispatch, &call->workspace, DURE_WRITE);
  const uint32_t width = dure_vulkan_rows_width(&y) == 4 && dure_vulkan_rows_width(&dy) == 4 ? 4 : 1;
  const uint32_t constants[2] = {dure_vulkan_group_size(device, 64), dure_vulkan_type(&y)};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_of_width("attention_delta", width).text, constants, 2,
                                  &push, sizeof(push), dure_vulkan_ceil_divide(push.count, constants[0]));
}

static void bind_gradient_inputs(dure_vulkan_dispatch *dispatch, const dure_op_call *call, dure_vulkan_rows queries,
                                 dure_vulkan_rows keys, attention_push *push) {
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

static dure_status record_gradient_of_q(const dure_op_call *call, attention_push push, const attention_plan *plan,
                                        dure_vulkan_dispatch *dispatch) {
  const dure_operand *dq = &call->operands[GRADIENT_DQ];
  const dure_vulkan_rows rows = covered_rows(&push), keys = keys_seen(&push);
  dure_vulkan_attention_strides(dq, &push.out_t, &push.out_h);
  bind_gradient_inputs(dispatch, call, rows, keys, &push);
  push.out_offset = bind_rows(dispatch, dq, rows, DURE_WRITE);
  return run_pass(dispatch, call, plan, DURE_VULKAN_ATTENTION_GRADIENT_Q, &push, gradient_rows_mask, rows,
                  keys.end - keys.begin, push.H);
}

static dure_status record_gradient_of_k_v(const dure_op_call *call, attention_push push, const attention_plan *plan,
                                          dure_vulkan_dispatch *dispatch) {
  const dure_operand *dk = &call->operands[GRADIENT_DK], *dv = &call->operands[GRADIENT_DV];
  const dure_vulkan_rows rows = covered_rows(&push), queries = queries_seeing(&push);
  dure_vulkan_attention_strides(dk, &push.out_t, &push.out_h);
  dure_vulkan_attention_strides(dv, &push.second_t, &push.second_h);
  bind_gradient_inputs(dispatch, call, queries, rows, &push);
  push.out_offset = bind_rows(dispatch, dk, rows, DURE_WRITE);
  push.second_offset = bind_rows(dispatch, dv, rows, DURE_WRITE);
  return run_pass(dispatch, call, plan, DURE_VULKAN_ATTENTION_GRADIENT_K_V, &push, gradient_rows_mask, rows,
                  (queries.end - queries.begin) * (push.H / push.G), push.G);
}

static dure_status record_gradient(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                   const attention_plan *plan) {
  const attention_push push = describe(call);
  DURE_TRY(record_delta(device, recording, call, queries_seeing(&push)));
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  DURE_TRY(record_gradient_of_q(call, push, plan, &dispatch));
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  return record_gradient_of_k_v(call, push, plan, &dispatch);
}

static dure_status record_attention_gradient(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  DURE_TRY(dure_vulkan_attention_check_head(call->operands[Q].shape[3]));
  const attention_push push = describe(call);
  const dure_vulkan_rows rows = covered_rows(&push), keys = keys_seen(&push), queries = queries_seeing(&push);
  const uint64_t *shape = call->operands[Q].shape;
  const uint64_t delta_bytes = 4 * shape[0] * shape[1] * shape[2];
  const attention_plan plan = plan_call(device, call, gradient_rows_mask, DURE_VULKAN_ATTENTION_GRADIENT_Q,
                                        dure_operand_count(&call->workspace) - delta_bytes);
  const dure_vulkan_packing *packing = &plan.packing;
  const dure_op_call packed = dure_vulkan_packed_call(call, packing);
  DURE_TRY(dure_vulkan_pack(device, recording, call, packing, Q, queries));
  DURE_TRY(dure_vulkan_pack(device, recording, call, packing, K, keys));
  DURE_TRY(dure_vulkan_pack(device, recording, call, packing, V, keys));
  DURE_TRY(dure_vulkan_pack(device, recording, call, packing, GRADIENT_Y, queries));
  DURE_TRY(dure_vulkan_pack(device, recording, call, packing, GRADIENT_DY, queries));
  DURE_TRY(record_gradient(device, recording, &packed, &plan));
  DURE_TRY(dure_vulkan_unpack(device, recording, call, packing, GRADIENT_DQ, rows));
  DURE_TRY(dure_vulkan_unpack(device, recording, call, packing, GRADIENT_DK, rows));
  return dure_vulkan_unpack(device, recording, call, packing, GRADIENT_DV, rows);
}

// ---- matrix units ------------------------------------------------------------------------------------------------

dure_status dure_vulkan_attention_matrix_record(dure_device *device, dure_recording *recording,
                                                const dure_op_call *call, const dure_vulkan_attention_matrix *matrix) {
  const attention_plan plan = {.matrix = matrix};
  if (call->op == DURE_OP_attention) return record_forward(device, recording, call, &plan);
  return record_gradient(device, recording, call, &plan);
}

const dure_backend_op dure_vulkan_op_attention = {
    .record = record_attention, .workspace_bytes = attention_workspace, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_attention_gradient = {
    .record = record_attention_gradient, .workspace_bytes = attention_gradient_workspace, .takes_16_bit = true};
