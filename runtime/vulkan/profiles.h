// Profiles: another device's limits imposed on the device that is there, so that a program is tried on hardware that is
// not. DURE_VULKAN_PROFILE=rtx4060 (profiles.def lists them) makes the device plan from the smaller of both devices'
// limits and the features that both have. A profile only tightens: a device that has less keeps less. What it cannot
// impose: subgroup sizes, rounding, speed, and the driver's own behaviour.
//
// Kernels are chosen as for the profile's device: GPU workgroups, and the rows of tables that its driver has.
#ifndef DURE_RUNTIME_VULKAN_PROFILES_H_
#define DURE_RUNTIME_VULKAN_PROFILES_H_

#include "runtime/vulkan/capabilities.h"

typedef struct vulkan_profile {
  const char *name, *text;
  dure_vulkan_driver driver;
  uint32_t max_invocations, max_group_size[3];
  uint32_t shared_bytes, push_bytes, max_storage_bindings;
  uint64_t max_binding_bytes, max_allocation_bytes;
  uint64_t storage_alignment, texel_alignment, max_texel_elements;
  uint64_t heap_bytes, budget_bytes;
  uint64_t max_loop_iterations;
  const char *features;  // names, separated by commas
} vulkan_profile;

// NULL when there is none of that name.
const vulkan_profile *vulkan_profile_find(const char *name);
// The i-th profile, NULL after the last.
const vulkan_profile *vulkan_profile_get(size_t i);
// "rtx4060, rx7600, ...", for messages.
void vulkan_profile_list(char *text, size_t size);

// Lowers the capabilities to the profile's.
void vulkan_profile_impose(const vulkan_profile *profile, vulkan_capabilities *capabilities);

#endif  // DURE_RUNTIME_VULKAN_PROFILES_H_
