// attention and attention_gradient by the kernels for sm_90a (kernels/attention_forward_hopper.cuh,
// attention_gradient_hopper.cuh): which calls they take, and their launches.
#ifndef DURE_CUDA_ATTENTION_HOPPER_H_
#define DURE_CUDA_ATTENTION_HOPPER_H_

#include "cuda/attention_call.cuh"

// The head size of the kernels that may run a pass of the call, the smallest such; 0: none. Its type, head size and
// rows must suit them, the device have what they need, and, unless the caller trusts them anyway, they must have
// computed rightly on it (attention_selftest.cu; tried with the first such call).
uint32_t attention_hopper_takes(dure_device *device, const dure_op_call *call, attention_pass pass, bool trusts);

// Records the pass by the kernel of that head size, trusted or not. patience: of its waits (cuda/hopper.cuh), 0 but in
// a test. Fails with DURE_UNSUPPORTED where the driver makes no tensor maps of the operands.
dure_status attention_hopper_record(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                    attention_pass pass, uint32_t head, uint32_t patience);

#endif  // DURE_CUDA_ATTENTION_HOPPER_H_
