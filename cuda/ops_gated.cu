// gated_activation, gated_activation_gradient, rotary: one element after the other, in strided tensors.
#include "cuda/kernels/gated_activation.cuh"
#include "cuda/kernels/gated_activation_gradient.cuh"
#include "cuda/kernels/rotary.cuh"
#include "cuda/ops.h"
#include "cuda/record.cuh"

enum { OPERANDS_MOST = 5 };

// How a call's operands lie: rows of `columns` elements at these distances, to be moved in runs of `run`.
struct gated_layout {
  uint64_t count, columns, strides[OPERANDS_MOST];
  uint32_t run;
};

// Elements from a row to the next; rows of several leading dimensions are evenly spaced (op_shapes.c checks inputs).
static dure_status row_stride(const dure_op_call *call, uint32_t index, uint64_t columns, uint64_t *out_stride) {
  const dure_operand *operand = &call->operands[index];
  *out_stride = columns;
  if (dure_operand_is_contiguous(operand)) return NULL;  // perhaps under another shape
  *out_stride = operand->stride[operand->rank - 2];
  for (uint32_t i = 0; i + 2 < operand->rank; i++) {
    if (operand->shape[i] == 1 || operand->stride[i] == operand->shape[i + 1] * operand->stride[i + 1]) continue;
    return dure_fail(DURE_INVALID_ARGUMENT, "the rows of operand '%s' are not evenly spaced",
                     dure_op_get(call->op)->operands[index].name);
  }
  return NULL;
}

static dure_status gated_layout_of(const dure_op_call *call, uint32_t operand_count, gated_layout *out_layout) {
  gated_layout *layout = out_layout;
  layout->count = dure_operand_count(&call->operands[0]);
  layout->columns = cuda_last_dimension(&call->operands[0]);
  const dure_operand *operands[OPERANDS_MOST];
  for (uint32_t i = 0; i < operand_count; i++) {
    operands[i] = &call->operands[i];
    DURE_TRY(row_stride(call, i, layout->columns, &layout->strides[i]));
  }
  layout->run = elements_run_of_rows(operands, operand_count, layout->columns);
  for (uint32_t i = 0; i < operand_count; i++) {
    while (layout->strides[i] % layout->run != 0) layout->run = layout->run == 8 ? 4 : 1;
  }
  return NULL;
}

template <typename T>
static dure_status record_gated(dure_recording *recording, const dure_op_call *call, const gated_layout *layout) {
  gated_activation_elements<T> elements;
  elements.gate = cuda_address<T>(&call->operands[0]);
  elements.up = cuda_address<T>(&call->operands[1]);
  elements.y = cuda_address<T>(&call->operands[2]);
  elements.columns = divider_make(layout->columns, layout->count);
  elements.gate_stride = layout->strides[0];
  elements.up_stride = layout->strides[1];
  elements.kind = call->attributes.activation.kind;
  return elements_record<gated_activation_elements<T>, sizeof(T) == 2>(recording, elements, layout->count, layout->run);
}

static dure_status record_gated_activation(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  gated_layout layout;
  DURE_TRY(gated_layout_of(call, 3, &layout));
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_gated<T>(recording, call, &layout));
  return NULL;
}

template <typename T>
static dure_status record_gradient(dure_recording *recording, const dure_op_call *call, const gated_layout *layout) {
  gated_activation_gradient_elements<T> elements;
  elements.gate = cuda_address<T>(&call->operands[0]);
  elements.up = cuda_address<T>(&call->operands[1]);
  elements.dy = cuda_address<T>(&call->operands[2]);
  elements.dgate = cuda_address<T>(&call->operands[3]);
  elements.dup = cuda_address<T>(&call->operands[4]);
  elements.columns = divider_make(layout->columns, layout->count);
  elements.gate_stride = layout->strides[0];
  elements.up_stride = layout->strides[1];
  elements.dgate_stride = layout->strides[3];
  elements.dup_stride = layout->strides[4];
  elements.kind = call->attributes.activation.kind;
  return elements_record<gated_activation_gradient_elements<T>, sizeof(T) == 2>(recording, elements, layout->count,
                                                                                layout->run);
}

static dure_status record_gated_activation_gradient(dure_device *device, dure_recording *recording,
                                                    const dure_op_call *call) {
  (void)device;
  gated_layout layout;
  DURE_TRY(gated_layout_of(call, 5, &layout));
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_gradient<T>(recording, call, &layout));
  return NULL;
}

// ---- rotary ------------------------------------------------------------------------------------------------------

// Runs must not cross from rotated elements to others, nor from one half to the other.
static uint32_t rotary_run(const dure_op_call *call, const dure_operand *y) {
  const dure_operand *x = &call->operands[0], *table = &call->operands[2];
  const dure_rotary_attributes *attributes = &call->attributes.rotary;
  const dure_operand *const operands[] = {x, y};
  uint32_t run = table->offset % 16 == 0 ? elements_run_of_rows(operands, 2, x->shape[3]) : 1;
  while (run > 1) {
    bool is_whole = attributes->width % (attributes->is_interleaved ? run : 2 * run) == 0;
    for (uint32_t axis = 1; axis <= 2; axis++)
      is_whole = is_whole && x->stride[axis] % run == 0 && y->stride[axis] % run == 0;
    if (is_whole) break;
    run = run == 8 ? 4 : 1;
  }
  return run;
}

template <typename T, int N>
static dure_status record_rotary_runs(dure_recording *recording, const dure_op_call *call, const dure_operand *y) {
  const dure_operand *x = &call->operands[0], *table = &call->operands[2];
  const dure_rotary_attributes *attributes = &call->attributes.rotary;
  const uint64_t rows = x->shape[0] * x->shape[1], heads = x->shape[2], size = x->shape[3];
  rotary_arguments<T> arguments;
  arguments.x = cuda_address<T>(x);
  arguments.positions = cuda_address<uint32_t>(&call->operands[1]);
  arguments.cosines_sines = cuda_address<float>(table);
  arguments.y = cuda_address<T>(y);
  arguments.width = attributes->width;
  arguments.rotated_items = attributes->width / (attributes->is_interleaved && N > 1 ? N : 2 * N);
  const uint64_t items = arguments.rotated_items + (size - attributes->width) / N;
  arguments.count = rows * heads * items;
  arguments.items = divider_make(items, arguments.count);
  arguments.heads = divider_make(heads, rows * heads);
  arguments.table_rows = (uint32_t)table->shape[0];
  arguments.x_row = x->stride[1];
  arguments.x_head = x->stride[2];
  arguments.y_row = y->stride[1];
  arguments.y_head = y->stride[2];
  arguments.sign_of_sine = attributes->is_inverse ? -1.0f : 1.0f;
  const dim3 grid = cuda_grid(arguments.count, ROTARY_THREADS);
  if (attributes->is_interleaved)
    return cuda_record(recording, rotary_kernel<T, N, true>, grid, ROTARY_THREADS, 0, arguments);
  return cuda_record(recording, rotary_kernel<T, N, false>, grid, ROTARY_THREADS, 0, arguments);
}

template <typename T>
static dure_status record_rotary_as(dure_recording *recording, const dure_op_call *call, const dure_operand *y) {
  const uint32_t run = rotary_run(call, y);
  if constexpr (sizeof(T) == 2) {
    if (run == 8) return record_rotary_runs<T, 8>(recording, call, y);
  }
  return run >= 4 ? record_rotary_runs<T, 4>(recording, call, y) : record_rotary_runs<T, 1>(recording, call, y);
}

static dure_status record_rotary(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  const dure_operand *x = &call->operands[0];
  dure_operand y = call->operands[3];
  if (y.rank != 4) dure_operand_set_shape(&y, 4, x->shape);
  if (y.shape[0] != 1 && y.stride[0] != y.shape[1] * y.stride[1])
    return dure_fail(DURE_INVALID_ARGUMENT, "operand 'y' must have the batch stride T times the stride of T");
  CUDA_WITH_STORAGE(x->dtype, T, return record_rotary_as<T>(recording, call, &y));
  return NULL;
}

const dure_backend_op dure_cuda_op_gated_activation = {record_gated_activation, NULL, true};
const dure_backend_op dure_cuda_op_gated_activation_gradient = {record_gated_activation_gradient, NULL, true};
const dure_backend_op dure_cuda_op_rotary = {record_rotary, NULL, true};
