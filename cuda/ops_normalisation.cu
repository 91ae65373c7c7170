// layer_norm, rms_norm and their gradients: rows, and sums over rows for the parameters.
#include "cuda/kernels/layer_norm.cuh"
#include "cuda/kernels/layer_norm_gradient.cuh"
#include "cuda/kernels/layer_norm_parameters.cuh"
#include "cuda/kernels/rms_norm.cuh"
#include "cuda/kernels/rms_norm_gradient.cuh"
#include "cuda/kernels/rms_norm_parameters.cuh"
#include "cuda/ops.h"
#include "cuda/record.cuh"

// ---- layer norm --------------------------------------------------------------------------------------------------

template <typename T>
static dure_status record_layer_norm_as(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *weight = &call->operands[1], *bias = &call->operands[2];
  const dure_operand *y = &call->operands[3];
  const dure_operand *const operands[] = {x, weight, bias, y};
  layer_norm_arguments<T> arguments;
  arguments.x = cuda_address<T>(x);
  arguments.weight = cuda_address<T>(weight);
  arguments.bias = cuda_address<T>(bias);
  arguments.y = cuda_address<T>(y);
  arguments.mean = cuda_address<float>(&call->operands[4]);
  arguments.reciprocal_deviation = cuda_address<float>(&call->operands[5]);
  arguments.rows = dure_operand_rows(x);
  arguments.columns = cuda_last_dimension(x);
  arguments.reciprocal_columns = 1.0f / (float)arguments.columns;
  arguments.epsilon = call->attributes.layer_norm.epsilon;
  const uint32_t run = row_run_of<T>(operands, 4, arguments.columns);
  const row_launch launch = row_launch_of(arguments.rows, arguments.columns, run);
  arguments.runs = launch.runs;
  ROW_RECORD(recording, layer_norm_kernel, T, run, launch, arguments);
}

static dure_status record_layer_norm(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_layer_norm_as<T>(recording, call));
  return NULL;
}

template <typename T>
static dure_status record_layer_norm_gradient_as(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1], *weight = &call->operands[2];
  const dure_operand *dx = &call->operands[5];
  const dure_operand *const operands[] = {dy, x, weight, dx};
  layer_norm_gradient_arguments<T> arguments;
  arguments.dy = cuda_address<T>(dy);
  arguments.x = cuda_address<T>(x);
  arguments.weight = cuda_address<T>(weight);
  arguments.mean = cuda_address<float>(&call->operands[3]);
  arguments.reciprocal_deviation = cuda_address<float>(&call->operands[4]);
  arguments.dx = cuda_address<T>(dx);
  arguments.rows = dure_operand_rows(x);
  arguments.columns = cuda_last_dimension(x);
  arguments.reciprocal_columns = 1.0f / (float)arguments.columns;
  arguments.accumulate = cuda_accumulates(call, 5);
  const uint32_t run = row_run_of<T>(operands, 4, arguments.columns);
  const row_launch launch = row_launch_of(arguments.rows, arguments.columns, run);
  arguments.runs = launch.runs;
  ROW_RECORD(recording, layer_norm_gradient_kernel, T, run, launch, arguments);
}

static dure_status record_layer_norm_gradient(dure_device *device, dure_recording *recording,
                                              const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_layer_norm_gradient_as<T>(recording, call));
  return NULL;
}

template <typename T>
static dure_status record_layer_norm_parameters_as(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1];
  const dure_operand *const operands[] = {dy, x};
  const uint64_t rows = dure_operand_rows(x), columns = cuda_last_dimension(x);
  using terms_of = layer_norm_parameters_terms<T>;
  terms_of terms;
  terms.dy = cuda_address<T>(dy);
  terms.x = cuda_address<T>(x);
  terms.mean = cuda_address<float>(&call->operands[2]);
  terms.reciprocal_deviation = cuda_address<float>(&call->operands[3]);
  terms.columns = columns;
  constexpr int longest = 16 / sizeof(T);
  if (row_run_of<T>(operands, 2, columns) == longest)
    return column_sums_record<terms_of, longest>(recording, call, terms, rows, columns, 4);
  return column_sums_record<terms_of, 1>(recording, call, terms, rows, columns, 4);
}

static dure_status record_layer_norm_parameters(dure_device *device, dure_recording *recording,
                                                const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_layer_norm_parameters_as<T>(recording, call));
  return NULL;
}

static uint64_t layer_norm_parameters_workspace(dure_device *device, const dure_op_call *call) {
  (void)device;
  const dure_operand *x = &call->operands[1];
  return column_workspace(dure_operand_rows(x), cuda_last_dimension(x), 2);
}

// ---- root mean square --------------------------------------------------------------------------------------------

template <typename T>
static dure_status record_rms_norm_as(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *weight = &call->operands[1], *y = &call->operands[2];
  const dure_operand *const operands[] = {x, weight, y};
  rms_norm_arguments<T> arguments;
  arguments.x = cuda_address<T>(x);
  arguments.weight = cuda_address<T>(weight);
  arguments.y = cuda_address<T>(y);
  arguments.reciprocal_rms = cuda_address<float>(&call->operands[3]);
  arguments.rows = dure_operand_rows(x);
  arguments.columns = cuda_last_dimension(x);
  arguments.reciprocal_columns = 1.0f / (float)arguments.columns;
  arguments.epsilon = call->attributes.rms_norm.epsilon;
  arguments.weight_offset = call->attributes.rms_norm.weight_offset;
  const uint32_t run = row_run_of<T>(operands, 3, arguments.columns);
  const row_launch launch = row_launch_of(arguments.rows, arguments.columns, run);
  arguments.runs = launch.runs;
  ROW_RECORD(recording, rms_norm_kernel, T, run, launch, arguments);
}

static dure_status record_rms_norm(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_rms_norm_as<T>(recording, call));
  return NULL;
}

template <typename T>
static dure_status record_rms_norm_gradient_as(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1], *weight = &call->operands[2];
  const dure_operand *dx = &call->operands[4];
  const dure_operand *const operands[] = {dy, x, weight, dx};
  rms_norm_gradient_arguments<T> arguments;
  arguments.dy = cuda_address<T>(dy);
  arguments.x = cuda_address<T>(x);
  arguments.weight = cuda_address<T>(weight);
  arguments.reciprocal_rms = cuda_address<float>(&call->operands[3]);
  arguments.dx = cuda_address<T>(dx);
  arguments.rows = dure_operand_rows(x);
  arguments.columns = cuda_last_dimension(x);
  arguments.reciprocal_columns = 1.0f / (float)arguments.columns;
  arguments.weight_offset = call->attributes.rms_norm.weight_offset;
  arguments.accumulate = cuda_accumulates(call, 4);
  const uint32_t run = row_run_of<T>(operands, 4, arguments.columns);
  const row_launch launch = row_launch_of(arguments.rows, arguments.columns, run);
  arguments.runs = launch.runs;
  ROW_RECORD(recording, rms_norm_gradient_kernel, T, run, launch, arguments);
}

static dure_status record_rms_norm_gradient(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_rms_norm_gradient_as<T>(recording, call));
  return NULL;
}

template <typename T>
static dure_status record_rms_norm_parameters_as(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *dy = &call->operands[0], *x = &call->operands[1];
  const dure_operand *const operands[] = {dy, x};
  const uint64_t rows = dure_operand_rows(x), columns = cuda_last_dimension(x);
  using terms_of = rms_norm_parameters_terms<T>;
  terms_of terms;
  terms.dy = cuda_address<T>(dy);
  terms.x = cuda_address<T>(x);
  terms.reciprocal_rms = cuda_address<float>(&call->operands[2]);
  terms.columns = columns;
  constexpr int longest = 16 / sizeof(T);
  if (row_run_of<T>(operands, 2, columns) == longest)
    return column_sums_record<terms_of, longest>(recording, call, terms, rows, columns, 3);
  return column_sums_record<terms_of, 1>(recording, call, terms, rows, columns, 3);
}

static dure_status record_rms_norm_parameters(dure_device *device, dure_recording *recording,
                                              const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_rms_norm_parameters_as<T>(recording, call));
  return NULL;
}

static uint64_t rms_norm_parameters_workspace(dure_device *device, const dure_op_call *call) {
  (void)device;
  const dure_operand *x = &call->operands[1];
  return column_workspace(dure_operand_rows(x), cuda_last_dimension(x), 1);
}

const dure_backend_op dure_cuda_op_layer_norm = {record_layer_norm, NULL, true};
const dure_backend_op dure_cuda_op_layer_norm_gradient = {record_layer_norm_gradient, NULL, true};
const dure_backend_op dure_cuda_op_layer_norm_parameters = {record_layer_norm_parameters,
                                                            layer_norm_parameters_workspace, true};
const dure_backend_op dure_cuda_op_rms_norm = {record_rms_norm, NULL, true};
const dure_backend_op dure_cuda_op_rms_norm_gradient = {record_rms_norm_gradient, NULL, true};
const dure_backend_op dure_cuda_op_rms_norm_parameters = {record_rms_norm_parameters, rms_norm_parameters_workspace,
                                                          true};
