// Whether the attention kernels for matrix units compute rightly on this very device: the same caution as for matmul
// (matmul_selftest.h, which also holds the table of drivers whose matrix units are tried at all).
#ifndef DURE_RUNTIME_VULKAN_ATTENTION_SELFTEST_H_
#define DURE_RUNTIME_VULKAN_ATTENTION_SELFTEST_H_

#include "runtime/vulkan/attention_matrix.h"

// A small random call by a row that fits the problem (of a gradient: both passes), with shared heads, a window, several
// tiles and a last one that is not full, against the host's in double: each element must be within three roundings to
// the 16-bit type of the sum of its terms' magnitudes. Fails with DURE_UNSUPPORTED, naming the first wrong element.
DURE_MUST_CHECK dure_status dure_vulkan_attention_test(dure_device *device, const dure_vulkan_attention_matrix *matrix,
                                                       const dure_vulkan_attention_problem *problem);

// Whether the row's kernels for the problem have computed rightly: tried once in the device's life, on a stream of its
// own, then remembered. A failure is logged and the caller takes another kernel.
bool dure_vulkan_attention_is_trusted(dure_device *device, const dure_vulkan_attention_matrix *matrix,
                                      const dure_vulkan_attention_problem *problem);

#endif  // DURE_RUNTIME_VULKAN_ATTENTION_SELFTEST_H_
