// Vulkan's loader, opened at run time, and the table of its functions.
#ifndef DURE_RUNTIME_VULKAN_LOADER_H_
#define DURE_RUNTIME_VULKAN_LOADER_H_

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include "runtime/status.h"
#include "runtime/vulkan/extensions.h"

// `api->CreateBuffer` is vkCreateBuffer, and so on; looked up for one instance and one device.
typedef struct vulkan_api {
  PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define VULKAN_GLOBAL(name) PFN_vk##name name;
#define VULKAN_INSTANCE(name) PFN_vk##name name;
#define VULKAN_INSTANCE_OPTIONAL(name) PFN_vk##name name;
#define VULKAN_DEVICE(name) PFN_vk##name name;
#include "runtime/vulkan/functions.def"
#undef VULKAN_GLOBAL
#undef VULKAN_INSTANCE
#undef VULKAN_INSTANCE_OPTIONAL
#undef VULKAN_DEVICE
} vulkan_api;

// Opens libvulkan and fills the global functions. Fails with DURE_NOT_FOUND, saying what to install.
DURE_MUST_CHECK dure_status vulkan_load_global(vulkan_api *out_api);
DURE_MUST_CHECK dure_status vulkan_load_instance(vulkan_api *api, VkInstance instance);
DURE_MUST_CHECK dure_status vulkan_load_device(vulkan_api *api, VkDevice device);

const char *vulkan_result_name(VkResult result);

#endif  // DURE_RUNTIME_VULKAN_LOADER_H_
