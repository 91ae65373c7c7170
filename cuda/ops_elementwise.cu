// fill, copy, add, multiply, scale, activation, activation_gradient: one element in, one element out.
#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/activation_gradient.cuh"
#include "cuda/kernels/add.cuh"
#include "cuda/kernels/copy.cuh"
#include "cuda/kernels/fill.cuh"
#include "cuda/kernels/multiply.cuh"
#include "cuda/kernels/scale.cuh"
#include "cuda/ops.h"
#include "cuda/record.cuh"

static dure_status record_fill(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  const dure_operand *y = &call->operands[0];
  const uint64_t count = dure_operand_count(y);
  const uint32_t run = elements_run(&y, 1);
  CUDA_WITH_STORAGE(y->dtype, T, {
    const fill_elements<T> elements = {cuda_address<T>(y), call->attributes.fill.value};
    return (elements_record<fill_elements<T>, sizeof(T) == 2>(recording, elements, count, run));
  });
  return NULL;
}

template <typename T, typename U>
static dure_status record_copy_between(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  const dure_operand *const operands[] = {x, y};
  const copy_elements<T, U> elements = {cuda_address<T>(x), cuda_address<U>(y), cuda_accumulates(call, 1)};
  return elements_record<copy_elements<T, U>, sizeof(T) + sizeof(U) == 4>(recording, elements, dure_operand_count(y),
                                                                          elements_run(operands, 2));
}

static dure_status record_copy(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T,
                    CUDA_WITH_STORAGE(call->operands[1].dtype, U, return record_copy_between<T, U>(recording, call)));
  return NULL;
}

// y = a (+) b: add_elements and multiply_elements have the same members.
template <typename Elements, bool has_eights>
static dure_status record_binary(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *a = &call->operands[0], *b = &call->operands[1], *y = &call->operands[2];
  const dure_operand *const operands[] = {a, b, y};
  Elements elements;
  elements.a = cuda_address<typename Elements::input>(a);
  elements.b = cuda_address<typename Elements::input>(b);
  elements.y = cuda_address<typename Elements::output>(y);
  elements.accumulate = cuda_accumulates(call, 2);
  return elements_record<Elements, has_eights>(recording, elements, dure_operand_count(y), elements_run(operands, 3));
}

static dure_status record_add(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(
      call->operands[0].dtype, T,
      CUDA_WITH_STORAGE(call->operands[2].dtype, U,
                        return (record_binary<add_elements<T, U>, sizeof(T) + sizeof(U) == 4>(recording, call))));
  return NULL;
}

static dure_status record_multiply(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T,
                    return (record_binary<multiply_elements<T>, sizeof(T) == 2>(recording, call)));
  return NULL;
}

static dure_status record_scale(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  const dure_operand *const operands[] = {x, y};
  CUDA_WITH_STORAGE(x->dtype, T, {
    const scale_elements<T> elements = {cuda_address<T>(x), cuda_address<T>(y), call->attributes.scale.factor,
                                        cuda_accumulates(call, 1)};
    return elements_record<scale_elements<T>, sizeof(T) == 2>(recording, elements, dure_operand_count(y),
                                                              elements_run(operands, 2));
  });
  return NULL;
}

static dure_status record_activation(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  const dure_operand *const operands[] = {x, y};
  CUDA_WITH_STORAGE(x->dtype, T, {
    const activation_elements<T> elements = {cuda_address<T>(x), cuda_address<T>(y), call->attributes.activation.kind};
    return elements_record<activation_elements<T>, sizeof(T) == 2>(recording, elements, dure_operand_count(y),
                                                                   elements_run(operands, 2));
  });
  return NULL;
}

static dure_status record_activation_gradient(dure_device *device, dure_recording *recording,
                                              const dure_op_call *call) {
  (void)device;
  const dure_operand *x = &call->operands[0], *dy = &call->operands[1], *dx = &call->operands[2];
  const dure_operand *const operands[] = {x, dy, dx};
  CUDA_WITH_STORAGE(x->dtype, T, {
    const activation_gradient_elements<T> elements = {cuda_address<T>(x), cuda_address<T>(dy), cuda_address<T>(dx),
                                                      call->attributes.activation.kind, cuda_accumulates(call, 2)};
    return elements_record<activation_gradient_elements<T>, sizeof(T) == 2>(recording, elements, dure_operand_count(dx),
                                                                            elements_run(operands, 3));
  });
  return NULL;
}

const dure_backend_op dure_cuda_op_fill = {record_fill, NULL, true};
const dure_backend_op dure_cuda_op_copy = {record_copy, NULL, true};
const dure_backend_op dure_cuda_op_add = {record_add, NULL, true};
const dure_backend_op dure_cuda_op_multiply = {record_multiply, NULL, true};
const dure_backend_op dure_cuda_op_scale = {record_scale, NULL, true};
const dure_backend_op dure_cuda_op_activation = {record_activation, NULL, true};
const dure_backend_op dure_cuda_op_activation_gradient = {record_activation_gradient, NULL, true};
