// Instances and launches of the kernels of attention for sm_90a. Heads of other sizes take those of the next larger
// one, with columns of zeros.
#include "cuda/attention_hopper.h"

#include "cuda/attention_selftest.h"
#include "cuda/kernels/attention_forward_hopper.cuh"
#include "cuda/kernels/attention_gradient_hopper.cuh"
#include "cuda/tensor_map.h"

// A kernel and what its launch needs; boxes: rows of the tiles of the block's own side, and of the other one.
struct hopper_kernel {
  void (*kernel)(attention_hopper_arguments);
  uint32_t own_rows, other_rows;
  size_t shared_bytes;
};

template <typename T, int HEAD>
static hopper_kernel kernel_of(attention_pass pass) {
  switch (pass) {
    case ATTENTION_FORWARD: {
      using shape = hopper_forward<HEAD>;
      return {attention_forward_hopper_kernel<T, HEAD>, HOPPER_ROWS, shape::keys, shape::shared_bytes};
    }
    case ATTENTION_GRADIENT_Q: {
      using shape = hopper_gradient_q<HEAD>;
      return {attention_gradient_q_hopper_kernel<T, HEAD>, HOPPER_ROWS, shape::keys, shape::shared_bytes};
    }
    default: {
      using shape = hopper_gradient_k_v<HEAD>;
      return {attention_gradient_k_v_hopper_kernel<T, HEAD>, HOPPER_ROWS, shape::queries, shape::shared_bytes};
    }
  }
}

template <typename T>
static hopper_kernel kernel_of_size(attention_pass pass, uint32_t head) {
  switch (head) {
    case 64: return kernel_of<T, 64>(pass);
    case 80: return kernel_of<T, 80>(pass);
    case 96: return kernel_of<T, 96>(pass);
    case 128: return kernel_of<T, 128>(pass);
    default: {
      using shape = hopper_forward<256>;
      return {attention_forward_hopper_kernel<T, 256>, HOPPER_ROWS, shape::keys, shape::shared_bytes};
    }
  }
}

static hopper_kernel kernel_of_call(const dure_op_call *call, attention_pass pass, uint32_t head) {
  return call->operands[ATTENTION_Q].dtype == DURE_DTYPE_BF16 ? kernel_of_size<bfloat16>(pass, head)
                                                              : kernel_of_size<float16>(pass, head);
}

// Heads of up to 32 would be more than half zeros: the mma kernels have less of them. The gradient of more than 128
// columns does not fit a warpgroup's registers.
static bool suits(const dure_cuda_caps *caps, const dure_op_call *call, attention_pass pass) {
  const dure_operand *q = &call->operands[ATTENTION_Q];
  const uint64_t D = q->shape[3];
  if (!caps->uses_wide_matrix_units || q->dtype == DURE_DTYPE_F32) return false;
  return D > 32 && D <= (pass == ATTENTION_FORWARD ? 256 : 128) && attention_moves(call, 8);
}

// Tensor maps of the operands; false where the driver makes none.
static bool describe(dure_device *device, attention_pass pass, const hopper_kernel &chosen,
                     attention_hopper_arguments *a) {
  cuda_device *owner = cuda_device_of(device);
  const attention_arguments *c = &a->common;
  const bool owns_keys = pass == ATTENTION_GRADIENT_K_V;
  const uint32_t queries = owns_keys ? chosen.other_rows : chosen.own_rows;
  const uint32_t keys = owns_keys ? chosen.own_rows : chosen.other_rows;
  return cuda_tensor_map_encode(owner, c->q, c->B, c->T, c->H, c->D, c->q_t, c->q_h, queries, &a->q) &&
         cuda_tensor_map_encode(owner, c->k, c->B, c->T, c->G, c->D, c->k_t, c->k_h, keys, &a->k) &&
         cuda_tensor_map_encode(owner, c->v, c->B, c->T, c->G, c->D, c->v_t, c->v_h, keys, &a->v) &&
         (pass == ATTENTION_FORWARD ||
          cuda_tensor_map_encode(owner, c->dy, c->B, c->T, c->H, c->D, c->dy_t, c->dy_h, queries, &a->dy));
}

static attention_hopper_arguments arguments_of(const dure_cuda_caps *caps, const dure_op_call *call,
                                               attention_pass pass) {
  attention_hopper_arguments a = {};
  a.common = attention_arguments_of_pass(call, pass, HOPPER_ROWS, caps->l2_bytes);
  a.count = a.common.B * a.common.heads * a.common.tiles;
  return a;
}

uint32_t attention_hopper_takes(dure_device *device, const dure_op_call *call, attention_pass pass, bool trusts) {
  const dure_cuda_caps *caps = dure_cuda_device_caps(device);
  if (!suits(caps, call, pass)) return 0;
  attention_hopper_arguments a = arguments_of(caps, call, pass);
  const uint32_t largest = a.common.D > 128 ? 256 : 128;
  for (uint32_t size = 0; size < ATTENTION_HOPPER_SIZES && attention_hopper_sizes[size] <= largest; size++) {
    const uint32_t head = attention_hopper_sizes[size];
    if (head < a.common.D) continue;
    const hopper_kernel chosen = kernel_of_call(call, pass, head);
    if (chosen.shared_bytes > caps->shared_bytes || !describe(device, pass, chosen, &a)) return 0;
    if (trusts || attention_hopper_is_trusted(device, pass, call->operands[ATTENTION_Q].dtype, size)) return head;
  }
  return 0;
}

dure_status attention_hopper_record(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                    attention_pass pass, uint32_t head, uint32_t patience) {
  const dure_cuda_caps *caps = dure_cuda_device_caps(device);
  const hopper_kernel chosen = kernel_of_call(call, pass, head);
  attention_hopper_arguments a = arguments_of(caps, call, pass);
  a.patience = patience;
  if (!describe(device, pass, chosen, &a))
    return dure_fail(DURE_UNSUPPORTED, "the driver makes no tensor maps of attention's operands");
  const uint32_t blocks = a.count < caps->multiprocessor_count ? a.count : caps->multiprocessor_count;
  return cuda_record(recording, chosen.kernel, dim3(blocks), HOPPER_THREADS, chosen.shared_bytes, a);
}
