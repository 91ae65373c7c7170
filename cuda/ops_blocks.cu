// unpack_blocks, matmul_blocks.
#include "cuda/kernels/matmul_blocks.cuh"
#include "cuda/kernels/unpack_blocks.cuh"
#include "cuda/record.cuh"

extern "C" {
#include "cuda/ops.h"
}

namespace {

packed_weight weight_of(const dure_op_call *call, uint32_t codes) {
  const dure_operand *o = &call->operands[codes];
  const uint32_t bits = call->attributes.blocks.bits;
  return packed_weight{cuda_address<const uint4>(o),
                       any_pointer{cuda_address<void>(o + 1), o[1].dtype},
                       any_pointer{cuda_address<void>(o + 2), o[2].dtype},
                       bits,
                       dure_blocks_group(&call->attributes.blocks),
                       (uint32_t)(o->shape[1] * (8 / bits) / DURE_QUANTIZED_BLOCK)};
}

template <typename T>
dure_status record_unpack_of(dure_recording *recording, const dure_op_call *call) {
  enum { CODES, SCALES, MINIMA, INDICES, Y };
  const dure_operand *o = call->operands;
  unpack_blocks_arguments<T> arguments = {};
  arguments.weight = weight_of(call, CODES);
  arguments.indices = cuda_address<const uint32_t>(&o[INDICES]);
  arguments.y = cuda_address<T>(&o[Y]);
  arguments.halves = dure_operand_count(&o[Y]) / 16;
  arguments.first_row = call->attributes.blocks.first_row;
  arguments.table_rows = (uint32_t)o[CODES].shape[0];
  arguments.row_count = call->attributes.blocks.row_count;
  if (arguments.row_count == 0) arguments.row_count = arguments.table_rows;
  return cuda_record(recording, unpack_blocks_kernel<T>, cuda_grid(arguments.halves, 128), 128, 0, arguments);
}

dure_status record_unpack_blocks(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[4].dtype, T, return record_unpack_of<T>(recording, call));
  return nullptr;
}

// Parts that expand() has cut along N have rows further apart than they are long.
uint64_t row_stride(const dure_operand *operand, uint64_t N) { return operand->rank == 2 ? operand->stride[0] : N; }

template <typename T>
dure_status record_matmul_of(dure_recording *recording, const dure_op_call *call) {
  enum { A, CODES, SCALES, MINIMA, BIAS, RESIDUAL, C };
  const dure_operand *o = call->operands;
  matmul_blocks_arguments<T> arguments = {};
  arguments.a = cuda_address<const T>(&o[A]);
  arguments.weight = weight_of(call, CODES);
  arguments.bias = cuda_address<const T>(&o[BIAS]);
  arguments.residual = cuda_address<const T>(&o[RESIDUAL]);
  arguments.c = cuda_address<T>(&o[C]);
  arguments.M = (uint32_t)dure_operand_rows(&o[A]);
  arguments.N = (uint32_t)o[CODES].shape[0];
  arguments.c_stride = row_stride(&o[C], arguments.N);
  arguments.residual_stride = row_stride(&o[RESIDUAL], arguments.N);
  void (*kernel)(matmul_blocks_arguments<T>) = matmul_blocks_kernel<T, MATMUL_BLOCKS_ROWS>;
  uint32_t rows = MATMUL_BLOCKS_ROWS;
  if (arguments.M <= 2) {
    kernel = arguments.M == 1 ? matmul_blocks_kernel<T, 1> : matmul_blocks_kernel<T, 2>;
    rows = arguments.M;
  }
  const dim3 grid(
      (unsigned)(cuda_ceil_divide(arguments.N, MATMUL_BLOCKS_COLUMNS) * cuda_ceil_divide(arguments.M, rows)));
  return cuda_record(recording, kernel, grid, MATMUL_BLOCKS_THREADS, 0, arguments);
}

dure_status record_matmul_blocks(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_matmul_of<T>(recording, call));
  return nullptr;
}

}  // namespace

extern "C" const dure_backend_op dure_cuda_op_unpack_blocks = {record_unpack_blocks, nullptr, true};
extern "C" const dure_backend_op dure_cuda_op_matmul_blocks = {record_matmul_blocks, nullptr, true};
