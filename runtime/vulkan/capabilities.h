// What a Vulkan device says about itself, asked once, as plain data that the device plan is made from.
#ifndef DURE_RUNTIME_VULKAN_CAPABILITIES_H_
#define DURE_RUNTIME_VULKAN_CAPABILITIES_H_

#include <stdbool.h>
#include <stdint.h>

#include "runtime/status.h"
#include "runtime/vulkan/loader.h"
#include "runtime/vulkan/vulkan_device.h"

typedef struct vulkan_capabilities {
  char name[256];
  char driver_name[256], driver_info[256];
  uint32_t api_version, driver_version;
  uint32_t vendor_id, device_id;
  uint32_t driver_id;  // VkDriverId
  uint8_t device_uuid[16];
  uint8_t pipeline_cache_uuid[16];
  VkPhysicalDeviceType type;

  uint64_t available;  // bit 1 << dure_vulkan_feature: the device could do it
  bool has_timeline_semaphores;

  uint32_t subgroup_size, subgroup_minimum, subgroup_maximum;
  uint32_t max_invocations, max_group_size[3], max_group_count[3];
  uint32_t shared_bytes, push_bytes;
  uint64_t max_binding_bytes, max_allocation_bytes;
  uint64_t storage_alignment, texel_alignment, max_texel_elements;
  uint32_t max_storage_bindings;
  double timestamp_period;  // nanoseconds a tick
  uint32_t timestamp_bits;

  uint32_t matrix_shape_count;  // with f32 sums, for one subgroup, those of 16-bit floats
  dure_vulkan_matrix_shape matrix_shapes[DURE_VULKAN_MATRIX_SHAPES_MOST];

  uint32_t workgroup_matrix_count;                                // the same for workgroups
  uint32_t workgroup_matrix_most, workgroup_matrix_shared_bytes;  // vulkan_device.h
  dure_vulkan_workgroup_matrix workgroup_matrices[DURE_VULKAN_MATRIX_SHAPES_MOST];

  bool has_compute_queue;
  uint32_t queue_family;
  uint32_t transfer_family;  // copies only; with DURE_VULKAN_TRANSFER_QUEUE
  VkPhysicalDeviceMemoryProperties memory;
  uint64_t device_heap_bytes;   // of the largest device-local heap
  uint32_t device_heap;         // its index
  uint64_t device_heap_budget;  // for this process, now; device_heap_bytes without the extension
  uint64_t device_heap_used;    // by this process, now
} vulkan_capabilities;

// Asks everything. Fails only when host memory runs out or the driver fails to answer.
DURE_MUST_CHECK dure_status vulkan_capabilities_query(const vulkan_api *api, VkPhysicalDevice physical,
                                                      vulkan_capabilities *out_capabilities);

// Asks the memory budget anew (device_heap_budget and device_heap_used).
void vulkan_capabilities_refresh_budget(const vulkan_api *api, VkPhysicalDevice physical, bool has_budget,
                                        vulkan_capabilities *capabilities);

#endif  // DURE_RUNTIME_VULKAN_CAPABILITIES_H_
