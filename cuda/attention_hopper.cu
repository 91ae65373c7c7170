// Instances and launches of the kernels of attention for sm_90a. Heads of other sizes take those of the next larger
// one, with columns of zeros.
#include "cuda/attention_hopper.h"

#include "cuda/attention_selftest.h"
#include "cuda/kernels/attention_forward_hopper.cuh"
#include "cuda/tensor_map.h"

typedef void (*hopper_kernel)(attention_hopper_arguments);

template <typename T>
static hopper_kernel kernel_of(uint32_t D) {
  return D <= 64 ? attention_forward_hopper_kernel<T, 64> : attention_forward_hopper_kernel<T, 128>;
}

// Heads of up to 32 would be more than half zeros, and between 64 and 80 nearly: the mma kernels have their sizes.
static bool suits(const dure_cuda_caps *caps, const dure_op_call *call) {
  const dure_operand *q = &call->operands[ATTENTION_Q];
  const uint64_t D = q->shape[3];
  if (!caps->uses_wide_matrix_units || hopper_forward<128>::shared_bytes > caps->shared_bytes) return false;
  if (q->dtype == DURE_DTYPE_F32 || D > 128 || D <= 32 || (D > 64 && D <= 80)) return false;
  return attention_moves(call, 8);
}

// Tensor maps of the operands; false where the driver makes none.
static bool describe(dure_device *device, attention_hopper_arguments *a) {
  cuda_device *owner = cuda_device_of(device);
  const attention_arguments *c = &a->common;
  return cuda_tensor_map_encode(owner, c->q, c->B, c->T, c->H, c->D, c->q_t, c->q_h, HOPPER_ROWS, &a->q) &&
         cuda_tensor_map_encode(owner, c->k, c->B, c->T, c->G, c->D, c->k_t, c->k_h, HOPPER_KEYS, &a->k) &&
         cuda_tensor_map_encode(owner, c->v, c->B, c->T, c->G, c->D, c->v_t, c->v_h, HOPPER_KEYS, &a->v);
}

static attention_hopper_arguments arguments_of(const dure_cuda_caps *caps, const dure_op_call *call) {
  attention_hopper_arguments a = {};
  a.common = attention_arguments_of_pass(call, ATTENTION_FORWARD, HOPPER_ROWS, caps->l2_bytes);
  a.count = a.common.B * a.common.heads * a.common.tiles;
  return a;
}

bool attention_hopper_takes(dure_device *device, const dure_op_call *call, bool trusts) {
  const dure_cuda_caps *caps = dure_cuda_device_caps(device);
  if (!suits(caps, call)) return false;
  attention_hopper_arguments a = arguments_of(caps, call);
  if (!describe(device, &a)) return false;
  return trusts || attention_hopper_is_trusted(device, call->operands[ATTENTION_Q].dtype, a.common.D);
}

dure_status attention_hopper_record(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_cuda_caps *caps = dure_cuda_device_caps(device);
  attention_hopper_arguments a = arguments_of(caps, call);
  if (!describe(device, &a))
    return dure_fail(DURE_UNSUPPORTED, "the driver makes no tensor maps of attention's operands");
  const uint32_t D = a.common.D, blocks = a.count < caps->multiprocessor_count ? a.count : caps->multiprocessor_count;
  const hopper_kernel kernel =
      call->operands[ATTENTION_Q].dtype == DURE_DTYPE_BF16 ? kernel_of<bfloat16>(D) : kernel_of<float16>(D);
  const size_t shared_bytes = D <= 64 ? hopper_forward<64>::shared_bytes : hopper_forward<128>::shared_bytes;
  return cuda_record(recording, kernel, dim3(blocks), HOPPER_THREADS, shared_bytes, a);
}
