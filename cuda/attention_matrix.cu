// Instances of the kernels of attention on tensor cores. Heads of other sizes take those of the next larger one, with
// columns of zeros.
#include "cuda/attention_matrix.h"

#include "cuda/kernels/attention_delta.cuh"
#include "cuda/kernels/attention_forward_matrix.cuh"
#include "cuda/kernels/attention_gradient_matrix.cuh"

template <typename T, int HEAD>
static attention_matrix_kernel kernel_of(attention_pass pass) {
  switch (pass) {
    case ATTENTION_FORWARD: {
      using shape = matrix_forward<HEAD>;
      return {attention_forward_matrix_kernel<T, HEAD>, shape::rows, 1, MATRIX_THREADS, shape::shared_bytes};
    }
    case ATTENTION_GRADIENT_Q: {
      using shape = matrix_gradient_q<HEAD>;
      return {attention_gradient_q_matrix_kernel<T, HEAD>, shape::rows, 1, MATRIX_THREADS, shape::shared_bytes};
    }
    default: {
      using shape = matrix_gradient_k_v<HEAD>;
      return {attention_gradient_k_v_matrix_kernel<T, HEAD>, shape::rows, shape::parts, MATRIX_THREADS,
              shape::shared_bytes};
    }
  }
}

template <typename T>
static attention_matrix_kernel kernel_of_type(attention_pass pass, uint32_t D) {
  if (D <= 64) return kernel_of<T, 64>(pass);
  if (D <= 80) return kernel_of<T, 80>(pass);
  if (D <= 96) return kernel_of<T, 96>(pass);
  return D <= 128 ? kernel_of<T, 128>(pass) : kernel_of<T, 256>(pass);
}

attention_matrix_kernel attention_matrix_choose(attention_pass pass, dure_dtype dtype, uint32_t D) {
  return dtype == DURE_DTYPE_BF16 ? kernel_of_type<bfloat16>(pass, D) : kernel_of_type<float16>(pass, D);
}

dure_status attention_matrix_record(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                    attention_pass pass) {
  const dure_operand *q = &call->operands[ATTENTION_Q];
  const attention_matrix_kernel chosen = attention_matrix_choose(pass, q->dtype, (uint32_t)q->shape[3]);
  attention_arguments a = attention_arguments_of_pass(call, pass, chosen.rows, dure_cuda_device_caps(device)->l2_bytes);
  a.tiles *= chosen.parts;
  return cuda_record(recording, chosen.kernel, attention_grid(a), chosen.threads, chosen.shared_bytes, a);
}

// Of the rows that the other passes read: those covered, and the later ones that see these.
dure_status attention_delta_record(dure_recording *recording, const dure_op_call *call) {
  const attention_arguments all = attention_arguments_of(call);
  const uint64_t past = (uint64_t)all.end_row - 1 + all.window;
  attention_delta_arguments a = {};
  a.y = cuda_address<void>(&call->operands[ATTENTION_Y]);
  a.dy = all.dy;
  a.delta = all.delta;
  a.T = all.T;
  a.H = all.H;
  a.D = all.D;
  a.first_row = all.first_row;
  a.rows = (all.window > 0 && past < all.T ? (uint32_t)past : all.T) - all.first_row;
  a.count = (uint64_t)all.B * a.rows * all.H;
  a.in_fours = all.in_fours;
  CUDA_WITH_STORAGE(
      call->operands[ATTENTION_Q].dtype, T,
      return cuda_record(recording, attention_delta_kernel<T>, cuda_grid(a.count, DELTA_ROWS), DELTA_THREADS, 0, a))
}
