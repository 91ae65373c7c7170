// The instance: loader, validation layers, and the list of devices in order of preference.
//
// There is one instance a process (and one more with validation, if that is asked for later). It is never destroyed:
// the loader would unload the drivers, whose global allocations then count as leaks, and loading them takes longer than
// anything else that listing devices does. Every device, and all that belongs to it, is destroyed when it is closed.
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/vulkan/internal.h"

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";
static atomic_ullong validation_messages;

uint64_t dure_vulkan_validation_message_count(void) { return atomic_load(&validation_messages); }

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *context) {
  (void)types;
  (void)context;
  atomic_fetch_add(&validation_messages, 1);
  dure_log(severity & VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT ? DURE_LOG_ERROR : DURE_LOG_WARNING,
           "Vulkan validation: %s", data->pMessage);
  return VK_FALSE;
}

static const VkDebugUtilsMessengerCreateInfoEXT messenger_info = {
    .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
    .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
    .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
    .pfnUserCallback = on_message,
};

bool vulkan_environment_is_on(const char *name) {
  const char *value = getenv(name);
  return value != NULL && value[0] != '\0' && strcmp(value, "0") != 0;
}

static bool has_validation_layer(const vulkan_api *api) {
  uint32_t count = 0;
  if (api->EnumerateInstanceLayerProperties(&count, NULL) != VK_SUCCESS) return false;
  VkLayerProperties *layers = calloc(count + 1u, sizeof(*layers));
  if (layers == NULL) return false;
  VkResult result = api->EnumerateInstanceLayerProperties(&count, layers);
  bool found = false;
  for (uint32_t i = 0; i < count && result == VK_SUCCESS; i++)
    found = found || strcmp(layers[i].layerName, validation_layer) == 0;
  free(layers);
  return found;
}

static bool has_instance_extension(const vulkan_api *api, const char *name) {
  uint32_t count = 0;
  if (api->EnumerateInstanceExtensionProperties(NULL, &count, NULL) != VK_SUCCESS) return false;
  VkExtensionProperties *extensions = calloc(count + 1u, sizeof(*extensions));
  if (extensions == NULL) return false;
  VkResult result = api->EnumerateInstanceExtensionProperties(NULL, &count, extensions);
  bool found = false;
  for (uint32_t i = 0; i < count && result >= VK_SUCCESS; i++)
    found = found || strcmp(extensions[i].extensionName, name) == 0;
  free(extensions);
  return found;
}

typedef struct vulkan_instance {
  struct vulkan_instance *next;
  uint64_t process_id;  // a forked child has none of the drivers' threads and needs an instance of its own
  bool validates;
  vulkan_api api;
  VkInstance handle;
  VkDebugUtilsMessengerEXT messenger;
} vulkan_instance;

static vulkan_instance *first_instance;

static dure_status create_instance(vulkan_instance *instance) {
  vulkan_api *api = &instance->api;
  const bool validate = instance->validates;
  VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                   .pApplicationName = "dure",
                                   .pEngineName = "dure",
                                   .apiVersion = VK_API_VERSION_1_2};
  VkValidationFeatureEnableEXT enables[] = {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
  VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_info;
  VkValidationFeaturesEXT validation = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                        .pNext = &messenger,
                                        .enabledValidationFeatureCount = 1,
                                        .pEnabledValidationFeatures = enables};
  const char *layers[] = {validation_layer};
  const char *extensions[2];
  uint32_t extension_count = 0;
  if (validate || has_instance_extension(api, VK_EXT_DEBUG_UTILS_EXTENSION_NAME)) {
    extensions[extension_count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
  }
  if (validate) extensions[extension_count++] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;
  VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                               .pNext = validate ? &validation : NULL,
                               .pApplicationInfo = &application,
                               .enabledLayerCount = validate ? 1 : 0,
                               .ppEnabledLayerNames = layers,
                               .enabledExtensionCount = extension_count,
                               .ppEnabledExtensionNames = extensions};
  VkResult result = api->CreateInstance(&info, NULL, &instance->handle);
  if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
    return dure_fail(
        DURE_NOT_FOUND,
        "Vulkan's loader found no driver; on Debian: apt install mesa-vulkan-drivers (AMD, Intel, and a software "
        "device for any machine), or NVIDIA's driver; VK_DRIVER_FILES names drivers that lie elsewhere");
  }
  if (result != VK_SUCCESS)
    return dure_fail(DURE_UNSUPPORTED, "Vulkan cannot be started (%s)", vulkan_result_name(result));
  DURE_TRY(vulkan_load_instance(api, instance->handle));
  if (validate && api->CreateDebugUtilsMessengerEXT != NULL) {
    result = api->CreateDebugUtilsMessengerEXT(instance->handle, &messenger_info, NULL, &instance->messenger);
    if (result != VK_SUCCESS)
      return dure_fail(DURE_UNSUPPORTED, "no validation messenger (%s)", vulkan_result_name(result));
  }
  return NULL;
}

static int compare_candidates(const void *a, const void *b) {
  const vulkan_candidate *left = a, *right = b;
  uint64_t left_rank = vulkan_plan_rank(&left->capabilities, &left->plan);
  uint64_t right_rank = vulkan_plan_rank(&right->capabilities, &right->plan);
  return left_rank < right_rank ? 1 : left_rank > right_rank ? -1 : 0;
}

static const char *environment(const char *name) { return getenv(name); }

static dure_status list_candidates(vulkan_system *system) {
  const vulkan_api *api = &system->api;
  uint32_t count = 0;
  VkResult result = api->EnumeratePhysicalDevices(system->instance, &count, NULL);
  if (result != VK_SUCCESS || count == 0) {
    return dure_fail(DURE_NOT_FOUND,
                     "Vulkan's drivers offer no device (%s); on Debian, mesa-vulkan-drivers brings a software one",
                     vulkan_result_name(result));
  }
  VkPhysicalDevice *physical = calloc(count, sizeof(*physical));
  system->candidates = calloc(count, sizeof(*system->candidates));
  if (physical == NULL || system->candidates == NULL) {
    free(physical);
    return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to list %u Vulkan devices", count);
  }
  result = api->EnumeratePhysicalDevices(system->instance, &count, physical);
  dure_status status = NULL;
  for (uint32_t i = 0; i < count && result >= VK_SUCCESS && status == NULL; i++) {
    vulkan_candidate *candidate = &system->candidates[i];
    candidate->physical = physical[i];
    status = vulkan_capabilities_query(api, physical[i], &candidate->capabilities);
    vulkan_plan_make(&candidate->capabilities, dure_shaders, dure_shader_count, environment, &candidate->plan);
    system->candidate_count++;
  }
  free(physical);
  if (status != NULL) return status;
  // Insertion keeps the driver's order of equal devices (a machine with two of the same card).
  for (size_t i = 1; i < system->candidate_count; i++) {
    vulkan_candidate moved = system->candidates[i];
    size_t j = i;
    for (; j > 0 && compare_candidates(&system->candidates[j - 1], &moved) > 0; j--)
      system->candidates[j] = system->candidates[j - 1];
    system->candidates[j] = moved;
  }
  return NULL;
}

static void destroy_instance(vulkan_instance *instance) {
  const vulkan_api *api = &instance->api;
  if (instance->messenger != VK_NULL_HANDLE)
    api->DestroyDebugUtilsMessengerEXT(instance->handle, instance->messenger, NULL);
  if (instance->handle != VK_NULL_HANDLE && api->DestroyInstance != NULL) api->DestroyInstance(instance->handle, NULL);
  free(instance);
}

static dure_status load_and_create(vulkan_instance *instance) {
  DURE_TRY(vulkan_load_global(&instance->api));
  if (instance->validates && !has_validation_layer(&instance->api)) {
    return dure_fail(DURE_NOT_FOUND,
                     "DURE_VULKAN_VALIDATION is set, but the layer %s is not installed; on Debian: apt install "
                     "vulkan-validationlayers",
                     validation_layer);
  }
  return create_instance(instance);
}

static dure_status new_instance(bool validates, vulkan_instance **out_instance) {
  *out_instance = NULL;
  vulkan_instance *instance = calloc(1, sizeof(*instance));
  if (instance == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to start Vulkan");
  instance->validates = validates;
  instance->process_id = dure_os_process_id();
  dure_status status = load_and_create(instance);
  if (status != NULL) {
    destroy_instance(instance);
    return status;
  }
  *out_instance = instance;
  return NULL;
}

static dure_status shared_instance(const vulkan_instance **out_instance) {
  *out_instance = NULL;
  for (const vulkan_instance *instance = first_instance; instance != NULL; instance = instance->next) {
    if (instance->process_id == dure_os_process_id()) *out_instance = instance;
  }
  if (*out_instance != NULL) return NULL;
  vulkan_instance *created = NULL;
  DURE_TRY(new_instance(false, &created));
  created->next = first_instance;
  first_instance = created;
  *out_instance = created;
  return NULL;
}

dure_status vulkan_system_open(vulkan_system *out_system) {
  memset(out_system, 0, sizeof(*out_system));
  if (vulkan_environment_is_on("DURE_VULKAN_OFF"))
    return dure_fail(DURE_NOT_FOUND, "Vulkan is turned off by DURE_VULKAN_OFF");
  const vulkan_instance *instance = NULL;
  DURE_TRY(shared_instance(&instance));
  if (vulkan_environment_is_on("DURE_VULKAN_VALIDATION")) {
    DURE_TRY(new_instance(true, &out_system->validating));
    instance = out_system->validating;
  }
  out_system->api = instance->api;
  out_system->instance = instance->handle;
  dure_status status = list_candidates(out_system);
  if (status != NULL) vulkan_system_close(out_system);
  return status;
}

void vulkan_system_close(vulkan_system *system) {
  if (system->validating != NULL) destroy_instance(system->validating);
  free(system->candidates);
  memset(system, 0, sizeof(*system));
}
