#include "runtime/vulkan/loader.h"

#include <string.h>

#include "runtime/os.h"

// ISO C has no cast between object and function pointers; POSIX promises that the bytes mean the same.
static PFN_vkGetInstanceProcAddr entry_point(void *symbol) {
  PFN_vkGetInstanceProcAddr function = NULL;
  memcpy(&function, &symbol, sizeof(function));
  return function;
}

dure_status vulkan_load_global(vulkan_api *out_api) {
  memset(out_api, 0, sizeof(*out_api));
  static const char *const names[] = {"libvulkan.so.1", "libvulkan.so"};
  void *library = NULL;
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && library == NULL; i++)
    library = dure_os_library_open(names[i]);
  if (library == NULL) {
    return dure_fail(
        DURE_NOT_FOUND,
        "Vulkan's loader (libvulkan.so.1) is not installed; on Debian: apt install libvulkan1 and a driver "
        "(mesa-vulkan-drivers for AMD, Intel and software; NVIDIA's own for NVIDIA)");
  }
  // Never closed: drivers leave threads and thread-local destructors behind that would then point nowhere.
  out_api->GetInstanceProcAddr = entry_point(dure_os_library_symbol(library, "vkGetInstanceProcAddr"));
  if (out_api->GetInstanceProcAddr == NULL)
    return dure_fail(DURE_NOT_FOUND, "libvulkan.so.1 has no vkGetInstanceProcAddr: not a Vulkan loader");
#define VULKAN_GLOBAL(name)                                                     \
  out_api->name = (PFN_vk##name)out_api->GetInstanceProcAddr(NULL, "vk" #name); \
  if (out_api->name == NULL)                                                    \
    return dure_fail(DURE_NOT_FOUND, "the installed Vulkan loader is older than Vulkan 1.1 (it has no vk" #name ")");
#define VULKAN_INSTANCE(name)
#define VULKAN_INSTANCE_OPTIONAL(name)
#define VULKAN_DEVICE(name)
#include "runtime/vulkan/functions.def"
#undef VULKAN_GLOBAL
#undef VULKAN_INSTANCE
#undef VULKAN_INSTANCE_OPTIONAL
  return NULL;
}

dure_status vulkan_load_instance(vulkan_api *api, VkInstance instance) {
#define VULKAN_GLOBAL(name)
#define VULKAN_INSTANCE(name)                                               \
  api->name = (PFN_vk##name)api->GetInstanceProcAddr(instance, "vk" #name); \
  if (api->name == NULL) return dure_fail(DURE_UNSUPPORTED, "the Vulkan loader has no vk" #name ": update it");
#define VULKAN_INSTANCE_OPTIONAL(name) api->name = (PFN_vk##name)api->GetInstanceProcAddr(instance, "vk" #name);
#include "runtime/vulkan/functions.def"
#undef VULKAN_DEVICE
#undef VULKAN_INSTANCE
#undef VULKAN_INSTANCE_OPTIONAL
  return NULL;
}

dure_status vulkan_load_device(vulkan_api *api, VkDevice device) {
#define VULKAN_INSTANCE(name)
#define VULKAN_INSTANCE_OPTIONAL(name)
#define VULKAN_DEVICE(name)                                             \
  api->name = (PFN_vk##name)api->GetDeviceProcAddr(device, "vk" #name); \
  if (api->name == NULL) return dure_fail(DURE_UNSUPPORTED, "the Vulkan driver has no vk" #name ": update it");
#include "runtime/vulkan/functions.def"
#undef VULKAN_GLOBAL
#undef VULKAN_INSTANCE
#undef VULKAN_INSTANCE_OPTIONAL
#undef VULKAN_DEVICE
  return NULL;
}

const char *vulkan_result_name(VkResult result) {
  static const struct {
    VkResult result;
    const char *name;
  } names[] = {
#define NAME(value) {value, #value}
      NAME(VK_SUCCESS),
      NAME(VK_NOT_READY),
      NAME(VK_TIMEOUT),
      NAME(VK_INCOMPLETE),
      NAME(VK_ERROR_OUT_OF_HOST_MEMORY),
      NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY),
      NAME(VK_ERROR_INITIALIZATION_FAILED),
      NAME(VK_ERROR_DEVICE_LOST),
      NAME(VK_ERROR_MEMORY_MAP_FAILED),
      NAME(VK_ERROR_LAYER_NOT_PRESENT),
      NAME(VK_ERROR_EXTENSION_NOT_PRESENT),
      NAME(VK_ERROR_FEATURE_NOT_PRESENT),
      NAME(VK_ERROR_INCOMPATIBLE_DRIVER),
      NAME(VK_ERROR_TOO_MANY_OBJECTS),
      NAME(VK_ERROR_FRAGMENTED_POOL),
      NAME(VK_ERROR_OUT_OF_POOL_MEMORY),
      NAME(VK_ERROR_FRAGMENTATION),
      NAME(VK_ERROR_INVALID_EXTERNAL_HANDLE),
      NAME(VK_ERROR_UNKNOWN),
#undef NAME
  };
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    if (names[i].result == result) return names[i].name;
  }
  return "an unknown VkResult";
}
