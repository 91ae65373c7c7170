// Specialisation done here instead of by the driver: SwiftShader keeps the code behind branches on specialisation
// constants (an elementwise kernel that can take three storage types then runs at a quarter of its rate).
#ifndef DURE_RUNTIME_VULKAN_SPECIALISE_H_
#define DURE_RUNTIME_VULKAN_SPECIALISE_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

// A copy of the module (`size` bytes) in which the constants that are numbered `SpecId` i < count are plain constants
// of value constants[i] (bools: not 0), the others plain constants of their defaults. Operations on them are evaluated
// as far as they are known here (32-bit integers and bools). Release with free(). `out_size` in bytes.
DURE_MUST_CHECK dure_status dure_vulkan_specialise(const uint32_t *words, size_t size, const uint32_t *constants,
                                                   size_t count, uint32_t **out_words, size_t *out_size);

#endif  // DURE_RUNTIME_VULKAN_SPECIALISE_H_
