// Whether the kernels of attention for sm_90a compute rightly on this very device: they rest on layouts that no
// compiler checks, and a wrong number would go unnoticed for long.
#ifndef DURE_CUDA_ATTENTION_SELFTEST_H_
#define DURE_CUDA_ATTENTION_SELFTEST_H_

#include "cuda/attention_call.cuh"

// The head sizes that there are kernels of, from the smallest.
enum { ATTENTION_HOPPER_SIZES = 5 };
static const uint32_t attention_hopper_sizes[ATTENTION_HOPPER_SIZES] = {64, 80, 96, 128, 256};

// A small random call, with shared heads, a window, documents, several tiles and a last one that is not full, by these
// kernels and by those on mma: each element must agree to two roundings to the type. Tried once for a pass, a type and
// a kernel's head size (by number) in the device's life, on a stream of its own, then remembered; a kernel that would
// wait for ever goes on after a while and computes wrongly. A failure is logged and the caller takes another kernel.
bool attention_hopper_is_trusted(dure_device *device, attention_pass pass, dure_dtype dtype, uint32_t size);

#endif  // DURE_CUDA_ATTENTION_SELFTEST_H_
