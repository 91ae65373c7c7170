// attention by the kernels for sm_90a (kernels/attention_forward_hopper.cuh): which calls they take, and their launch.
#ifndef DURE_CUDA_ATTENTION_HOPPER_H_
#define DURE_CUDA_ATTENTION_HOPPER_H_

#include "cuda/attention_call.cuh"

// Whether these kernels may run the call's forward pass: its type, head size and rows suit them, the device has what
// they need, and, unless the caller trusts them anyway, they have computed rightly on it (attention_selftest.cu; tried
// with the first such call).
bool attention_hopper_takes(dure_device *device, const dure_op_call *call, bool trusts);

// Records the pass, trusted or not. Fails with DURE_UNSUPPORTED where the driver makes no tensor maps of the operands.
dure_status attention_hopper_record(dure_device *device, dure_recording *recording, const dure_op_call *call);

#endif  // DURE_CUDA_ATTENTION_HOPPER_H_
