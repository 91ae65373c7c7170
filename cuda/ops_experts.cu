// Mixtures of experts: route, route_gradient, expert_order, expert_matmul, expert_outer, expert_combine and its
// gradient; and copy_heads, which multi-head latent attention needs.
#include "cuda/kernels/copy_heads.cuh"
#include "cuda/kernels/expert_combine.cuh"
#include "cuda/kernels/expert_matmul.cuh"
#include "cuda/kernels/expert_order.cuh"
#include "cuda/kernels/route.cuh"
#include "cuda/ops.h"
#include "cuda/record.cuh"

// ---- routing -----------------------------------------------------------------------------------------------------

template <typename T>
static route_arguments<T> route_arguments_of(const dure_op_call *call) {
  const dure_operand *logits = &call->operands[0];
  const dure_route_attributes *attributes = &call->attributes.route;
  route_arguments<T> a = {};
  a.logits = cuda_address<T>(logits);
  a.rows = dure_operand_rows(logits);
  a.experts = (uint32_t)cuda_last_dimension(logits);
  a.chosen = attributes->count;
  a.group_count = attributes->group_count;
  a.group_limit = attributes->group_limit;
  a.group_best = attributes->group_best;
  a.is_sigmoid = attributes->is_sigmoid;
  a.is_normalised = attributes->is_normalised;
  a.factor = attributes->factor;
  return a;
}

template <typename T>
static dure_status record_route_of(dure_recording *recording, const dure_op_call *call) {
  route_arguments<T> a = route_arguments_of<T>(call);
  a.bias = cuda_address<T>(&call->operands[1]);
  a.weights = cuda_address<float>(&call->operands[2]);
  a.choices = cuda_address<uint32_t>(&call->operands[3]);
  return cuda_record(recording, route_kernel<T>, cuda_grid(a.rows, ROUTE_THREADS), ROUTE_THREADS, 0, a);
}

static dure_status record_route(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_route_of<T>(recording, call));
  return NULL;
}

template <typename T>
static dure_status record_route_gradient_of(dure_recording *recording, const dure_op_call *call) {
  route_arguments<T> a = route_arguments_of<T>(call);
  a.weights = cuda_address<float>(&call->operands[1]);
  a.choices = cuda_address<uint32_t>(&call->operands[2]);
  a.dweights = cuda_address<float>(&call->operands[3]);
  a.dlogits = cuda_address<T>(&call->operands[4]);
  a.accumulate = cuda_accumulates(call, 4);
  return cuda_record(recording, route_gradient_kernel<T>, cuda_grid(a.rows, ROUTE_THREADS), ROUTE_THREADS, 0, a);
}

static dure_status record_route_gradient(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_route_gradient_of<T>(recording, call));
  return NULL;
}

static dure_status record_expert_order(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  const dure_operand *experts = &call->operands[0];
  expert_order_arguments a;
  a.experts = cuda_address<uint32_t>(experts);
  a.offsets = cuda_address<uint32_t>(&call->operands[1]);
  a.rows = cuda_address<uint32_t>(&call->operands[2]);
  a.places = cuda_address<uint32_t>(&call->operands[3]);
  a.entries = (uint32_t)dure_operand_count(experts);
  a.chosen = (uint32_t)experts->shape[1];
  a.expert_count = call->attributes.expert_order.expert_count;
  return cuda_record(recording, expert_order_kernel, a.expert_count, EXPERT_ORDER_THREADS, 0, a);
}

// ---- products ----------------------------------------------------------------------------------------------------

// What both have: the left and right matrices of rows, offsets, and where results go.
template <typename T>
static expert_matmul_arguments<T> expert_arguments_of(const dure_op_call *call) {
  const dure_operand *a = &call->operands[0], *b = &call->operands[2], *c = &call->operands[3];
  expert_matmul_arguments<T> o = {};
  o.a = cuda_address<T>(a);
  o.offsets = cuda_address<uint32_t>(&call->operands[1]);
  o.b = cuda_address<T>(b);
  o.c = any_pointer{cuda_address<unsigned char>(c), c->dtype};
  o.rows = (uint32_t)a->shape[0];
  o.experts = (uint32_t)dure_operand_count(&call->operands[1]) - 1;
  o.first_row = call->attributes.expert_matmul.first_row;
  o.a_stride = a->stride[0];
  o.accumulate = cuda_accumulates(call, 3);
  return o;
}

template <typename T>
static dure_status record_expert_matmul_of(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *b = &call->operands[2], *c = &call->operands[3];
  expert_matmul_arguments<T> o = expert_arguments_of<T>(call);
  o.K = (uint32_t)call->operands[0].shape[1];
  o.N = (uint32_t)c->shape[1];
  o.b_stride = b->stride[1];
  o.b_expert = b->stride[0];
  o.c_stride = c->stride[0];
  o.transpose_b = call->attributes.expert_matmul.transpose_b;
  o.column_tiles = (uint32_t)cuda_ceil_divide(o.N, EXPERT_TILE);
  const uint32_t tiles = o.rows / EXPERT_TILE + o.experts;
  return cuda_record(recording, expert_matmul_kernel<T>, tiles * o.column_tiles, EXPERT_THREADS, 0, o);
}

static dure_status record_expert_matmul(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_expert_matmul_of<T>(recording, call));
  return NULL;
}

template <typename T>
static dure_status record_expert_outer_of(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *y = &call->operands[2], *z = &call->operands[3];
  expert_matmul_arguments<T> o = expert_arguments_of<T>(call);
  o.M = (uint32_t)call->operands[0].shape[1];
  o.N = (uint32_t)y->shape[1];
  o.b_stride = y->stride[0];
  o.c_stride = z->stride[1];
  o.c_expert = z->stride[0];
  o.row_tiles = (uint32_t)cuda_ceil_divide(o.M, EXPERT_TILE);
  o.column_tiles = (uint32_t)cuda_ceil_divide(o.N, EXPERT_TILE);
  return cuda_record(recording, expert_outer_kernel<T>, o.experts * o.row_tiles * o.column_tiles, EXPERT_THREADS, 0, o);
}

static dure_status record_expert_outer(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_expert_outer_of<T>(recording, call));
  return NULL;
}

// ---- combination -------------------------------------------------------------------------------------------------

template <typename T>
static dure_status record_combine_of(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *weights = &call->operands[1];
  expert_combine_arguments<T> a = {};
  a.x = cuda_address<T>(x);
  a.weights = cuda_address<float>(weights);
  a.places = cuda_address<uint32_t>(&call->operands[2]);
  a.residual = cuda_address<T>(&call->operands[3]);
  a.y = cuda_address<T>(&call->operands[4]);
  a.count = dure_operand_count(&call->operands[4]);
  a.columns = x->shape[1];
  a.row = divider_make(a.columns, a.count);
  a.x_rows = (uint32_t)x->shape[0];
  a.chosen = (uint32_t)weights->shape[1];
  a.first_row = call->attributes.expert_combine.first_row;
  a.accumulate = cuda_accumulates(call, 4);
  return cuda_record(recording, expert_combine_kernel<T>, cuda_grid(a.count, EXPERT_COMBINE_THREADS),
                     EXPERT_COMBINE_THREADS, 0, a);
}

static dure_status record_expert_combine(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_combine_of<T>(recording, call));
  return NULL;
}

template <typename T>
static dure_status record_combine_gradient_of(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[1], *weights = &call->operands[2];
  expert_combine_arguments<T> a = {};
  a.dy = cuda_address<T>(&call->operands[0]);
  a.x = cuda_address<T>(x);
  a.weights = cuda_address<float>(weights);
  a.places = cuda_address<uint32_t>(&call->operands[3]);
  a.dx = cuda_address<T>(&call->operands[4]);
  a.dweights = cuda_address<float>(&call->operands[5]);
  a.columns = x->shape[1];
  a.x_rows = (uint32_t)x->shape[0];
  a.chosen = (uint32_t)weights->shape[1];
  a.first_row = call->attributes.expert_combine.first_row;
  return cuda_record(recording, expert_combine_gradient_kernel<T>, (uint32_t)dure_operand_count(weights),
                     EXPERT_COMBINE_THREADS, 0, a);
}

static dure_status record_expert_combine_gradient(dure_device *device, dure_recording *recording,
                                                  const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_combine_gradient_of<T>(recording, call));
  return NULL;
}

// ---- heads -------------------------------------------------------------------------------------------------------

template <typename T>
static dure_status record_copy_heads_of(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  copy_heads_arguments<T> a = {};
  a.x = cuda_address<T>(x);
  a.y = cuda_address<T>(y);
  a.count = dure_operand_count(y);
  a.size = divider_make(x->shape[3], a.count);
  a.heads = divider_make(y->shape[2], a.count / x->shape[3]);
  a.x_heads = (uint32_t)x->shape[2];
  a.y_heads = (uint32_t)y->shape[2];
  a.x_row = x->stride[1];
  a.x_head = x->stride[2];
  a.y_row = y->stride[1];
  a.y_head = y->stride[2];
  a.accumulate = cuda_accumulates(call, 1);
  return cuda_record(recording, copy_heads_kernel<T>, cuda_grid(a.count, COPY_HEADS_THREADS), COPY_HEADS_THREADS, 0, a);
}

static dure_status record_copy_heads(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_copy_heads_of<T>(recording, call));
  return NULL;
}

const dure_backend_op dure_cuda_op_route = {record_route, NULL, true};
const dure_backend_op dure_cuda_op_route_gradient = {record_route_gradient, NULL, true};
const dure_backend_op dure_cuda_op_expert_order = {record_expert_order, NULL, true};
const dure_backend_op dure_cuda_op_expert_matmul = {record_expert_matmul, NULL, true};
const dure_backend_op dure_cuda_op_expert_outer = {record_expert_outer, NULL, true};
const dure_backend_op dure_cuda_op_expert_combine = {record_expert_combine, NULL, true};
const dure_backend_op dure_cuda_op_expert_combine_gradient = {record_expert_combine_gradient, NULL, true};
const dure_backend_op dure_cuda_op_copy_heads = {record_copy_heads, NULL, true};
