// sum_rows, sum, square_sum.
#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/sum.cuh"
#include "cuda/kernels/sum_rows.cuh"
#include "cuda/ops.h"
#include "cuda/record.cuh"

template <typename T>
static dure_status record_sum_rows_of(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0];
  const uint64_t rows = dure_operand_rows(x), columns = cuda_last_dimension(x);
  sum_rows_terms<T> terms;
  terms.x = cuda_address<T>(x);
  terms.columns = columns;
  constexpr int longest = 16 / sizeof(T);
  if (elements_run_of_rows(&x, 1, columns) == longest)
    return column_sums_record<sum_rows_terms<T>, longest>(recording, call, terms, rows, columns, 1);
  return column_sums_record<sum_rows_terms<T>, 1>(recording, call, terms, rows, columns, 1);
}

static dure_status record_sum_rows(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_sum_rows_of<T>(recording, call));
  return NULL;
}

static uint64_t sum_rows_workspace(dure_device *device, const dure_op_call *call) {
  (void)device;
  const dure_operand *x = &call->operands[0];
  return column_workspace(dure_operand_rows(x), cuda_last_dimension(x), 1);
}

// ---- sum, square_sum ---------------------------------------------------------------------------------------------

// One block does what it loads in two rounds; the rest is shared among at most SUM_BLOCKS_MOST.
static uint64_t sum_blocks(uint64_t count) {
  const uint64_t blocks = cuda_ceil_divide(count, 2 * SUM_STEPS * SUM_THREADS * 8);
  return blocks < SUM_BLOCKS_MOST ? blocks : (uint64_t)SUM_BLOCKS_MOST;
}

template <typename T, bool is_square>
static dure_status record_sum_stage(dure_recording *recording, const sum_arguments<T> &arguments, uint64_t blocks,
                                    bool is_aligned) {
  constexpr int longest = 16 / sizeof(T);
  const dim3 grid((uint32_t)blocks);
  if (is_aligned) return cuda_record(recording, sum_kernel<T, longest, is_square>, grid, SUM_THREADS, 0, arguments);
  return cuda_record(recording, sum_kernel<T, 1, is_square>, grid, SUM_THREADS, 0, arguments);
}

template <typename T, bool is_square>
static dure_status record_sum_of(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0];
  const uint64_t count = dure_operand_count(x), blocks = sum_blocks(count);
  const bool accumulates = cuda_accumulates(call, 1), is_aligned = x->offset % 16 == 0;
  float *y = cuda_address<float>(&call->operands[1]);
  const sum_arguments<T> whole = {cuda_address<T>(x), y, count, accumulates};
  if (blocks <= 1) return record_sum_stage<T, is_square>(recording, whole, 1, is_aligned);
  float *partials = cuda_address<float>(&call->workspace);  // [blocks]
  const sum_arguments<T> parts = {cuda_address<T>(x), partials, count, false};
  const sum_arguments<float> total = {partials, y, blocks, accumulates};
  DURE_TRY((record_sum_stage<T, is_square>(recording, parts, blocks, is_aligned)));
  return record_sum_stage<float, false>(recording, total, 1, call->workspace.offset % 16 == 0);
}

static dure_status record_sum(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_sum_of<T, false>(recording, call));
  return NULL;
}

static dure_status record_square_sum(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_sum_of<T, true>(recording, call));
  return NULL;
}

static uint64_t sum_workspace(dure_device *device, const dure_op_call *call) {
  (void)device;
  const uint64_t blocks = sum_blocks(dure_operand_count(&call->operands[0]));
  return blocks > 1 ? blocks * sizeof(float) : 0;
}

const dure_backend_op dure_cuda_op_sum_rows = {record_sum_rows, sum_rows_workspace, true};
const dure_backend_op dure_cuda_op_sum = {record_sum, sum_workspace, true};
const dure_backend_op dure_cuda_op_square_sum = {record_square_sum, sum_workspace, true};
