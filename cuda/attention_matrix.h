// The kernels of attention on tensor cores, chosen by pass, type and head size (attention_matrix.cu).
#ifndef DURE_CUDA_ATTENTION_MATRIX_H_
#define DURE_CUDA_ATTENTION_MATRIX_H_

#include "cuda/attention_call.cuh"

// A kernel and what its launch needs.
struct attention_matrix_kernel {
  void (*kernel)(attention_arguments);
  uint32_t rows;          // of the pass's own side that a block owns
  uint32_t parts;         // blocks that share these: each owns a part of the columns
  uint32_t threads;       // of a block
  uint32_t shared_bytes;  // of a block
};

// For heads of at most 256 elements; dtype is bf16 or f16.
attention_matrix_kernel attention_matrix_choose(attention_pass pass, dure_dtype dtype, uint32_t D);

// Records the pass by the kernel chosen.
dure_status attention_matrix_record(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                    attention_pass pass);

// Records delta, which all kernels of the gradient's passes read, into the call's workspace.
dure_status attention_delta_record(dure_recording *recording, const dure_op_call *call);

#endif  // DURE_CUDA_ATTENTION_MATRIX_H_
