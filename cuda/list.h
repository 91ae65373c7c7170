// What there is: the devices that CUDA sees, what would be used of them and why.
#ifndef DURE_CUDA_LIST_H_
#define DURE_CUDA_LIST_H_

#include <stdbool.h>

#include "cuda/cuda_device.h"
#include "runtime/hal.h"

// Describes the device of CUDA's number `ordinal`, without starting anything on it.
DURE_MUST_CHECK dure_status cuda_describe(int ordinal, dure_device_info *out_info, dure_cuda_caps *out_caps);

// A backend's `list` and `open` (runtime/hal.h).
DURE_MUST_CHECK dure_status cuda_list(dure_device_info **infos, size_t *count, char **out_note);
DURE_MUST_CHECK dure_status cuda_open(uint32_t index, dure_device **out_device);

// An environment variable that is 0 or 1; `otherwise` when it is not set.
bool cuda_switch_is_on(const char *name, bool otherwise);

#endif  // DURE_CUDA_LIST_H_
