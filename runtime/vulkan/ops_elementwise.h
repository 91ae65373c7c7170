// The frame of the elementwise kernels (shaders/lib/elementwise.glsl): four elements at a time where all operands are
// aligned to fours of theirs, the rest one by one.
#ifndef DURE_RUNTIME_VULKAN_OPS_ELEMENTWISE_H_
#define DURE_RUNTIME_VULKAN_OPS_ELEMENTWISE_H_

#include "runtime/ops.h"

enum { DURE_VULKAN_ELEMENTWISE_CONSTANTS = 6 };

typedef struct dure_vulkan_elementwise {
  const char *kernel;  // "add" for add and add_x4
  struct {
    const dure_operand *operand;  // contiguous
    dure_access access;
    bool is_whole;  // a small operand that every invocation sees, not one element each
  } operands[6];    // in the order of the bindings
  uint32_t operand_count;
  uint32_t constants[DURE_VULKAN_ELEMENTWISE_CONSTANTS];  // specialisation constants from number 2 on
  uint32_t constant_count;
  float parameter[4];
} dure_vulkan_elementwise;

// How many elements an invocation takes (constant `steps` of shaders/lib/elements.glsl).
uint32_t dure_vulkan_element_steps(const dure_device *device);
// Records the op over `count` elements.
DURE_MUST_CHECK dure_status dure_vulkan_record_elementwise(dure_device *device, dure_recording *recording,
                                                           const dure_vulkan_elementwise *op, uint64_t count);

#endif  // DURE_RUNTIME_VULKAN_OPS_ELEMENTWISE_H_
