// Listing, opening and closing Vulkan devices; translating failures.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/vulkan/internal.h"
#include "runtime/vulkan/matmul_selftest.h"

// ---- failures ----

static dure_code code_of(VkResult result) {
  switch (result) {
    case VK_ERROR_DEVICE_LOST: return DURE_DEVICE_LOST;
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS: return DURE_OUT_OF_MEMORY;
    case VK_ERROR_FEATURE_NOT_PRESENT:
    case VK_ERROR_EXTENSION_NOT_PRESENT:
    case VK_ERROR_INCOMPATIBLE_DRIVER: return DURE_UNSUPPORTED;
    default: return DURE_INTERNAL;
  }
}

static const char *fault_name(VkDeviceFaultAddressTypeEXT type) {
  switch (type) {
    case VK_DEVICE_FAULT_ADDRESS_TYPE_READ_INVALID_EXT: return "an invalid read";
    case VK_DEVICE_FAULT_ADDRESS_TYPE_WRITE_INVALID_EXT: return "an invalid write";
    case VK_DEVICE_FAULT_ADDRESS_TYPE_EXECUTE_INVALID_EXT: return "an invalid execution";
    default: return "an instruction";
  }
}

// What VK_EXT_device_fault says of a lost device: " The driver says: ...", or nothing.
static void ask_for_fault(vulkan_device *device) {
  enum { MOST = 8 };
  VkDeviceFaultAddressInfoEXT addresses[MOST] = {0};
  VkDeviceFaultVendorInfoEXT vendor[MOST] = {0};
  VkDeviceFaultCountsEXT counts = {.sType = VK_STRUCTURE_TYPE_DEVICE_FAULT_COUNTS_EXT};
  VkDeviceFaultInfoEXT info = {
      .sType = VK_STRUCTURE_TYPE_DEVICE_FAULT_INFO_EXT, .pAddressInfos = addresses, .pVendorInfos = vendor};
  device->fault[0] = '\0';
  if (!dure_vulkan_caps_has(&device->plan.caps, DURE_VULKAN_DEVICE_FAULT)) return;
  if (device->api.GetDeviceFaultInfoEXT(device->handle, &counts, NULL) < VK_SUCCESS) return;
  if (counts.addressInfoCount > MOST) counts.addressInfoCount = MOST;
  if (counts.vendorInfoCount > MOST) counts.vendorInfoCount = MOST;
  counts.vendorBinarySize = 0;
  if (device->api.GetDeviceFaultInfoEXT(device->handle, &counts, &info) < VK_SUCCESS) return;
  int used = snprintf(device->fault, sizeof(device->fault), " The driver says: %.*s", (int)sizeof(info.description),
                      info.description);
  for (uint32_t i = 0; i < counts.addressInfoCount && used > 0 && (size_t)used < sizeof(device->fault); i++) {
    used += snprintf(device->fault + used, sizeof(device->fault) - (size_t)used, "; %s at address 0x%" PRIx64,
                     fault_name(addresses[i].addressType), (uint64_t)addresses[i].reportedAddress);
  }
  for (uint32_t i = 0; i < counts.vendorInfoCount && used > 0 && (size_t)used < sizeof(device->fault); i++) {
    used += snprintf(device->fault + used, sizeof(device->fault) - (size_t)used, "; %.*s",
                     (int)sizeof(vendor[i].description), vendor[i].description);
  }
}

dure_status vulkan_fail(vulkan_device *device, VkResult result, const char *doing, ...) {
  char what[512];
  va_list arguments;
  va_start(arguments, doing);
  vsnprintf(what, sizeof(what), doing, arguments);
  va_end(arguments);
  const char *name = vulkan_result_name(result);
  const char *identifier = device->head.info.identifier;
  if (result != VK_ERROR_DEVICE_LOST) return dure_fail(code_of(result), "%s on %s failed (%s)", what, identifier, name);
  if (!device->is_lost) ask_for_fault(device);
  device->is_lost = true;
  return dure_fail(
      DURE_DEVICE_LOST,
      "%s (%s) was lost while %s; last submitted: recording '%s', ending with '%s'. Its driver reset it (work of "
      "more than about 2 s, memory run out, a driver's defect or an unplugged device); what was on it is gone.%s",
      identifier, device->head.info.name, what, device->last_recording[0] != '\0' ? device->last_recording : "none",
      device->last_label[0] != '\0' ? device->last_label : "none", device->fault);
}

// ---- listing ----

static void format_version(const vulkan_capabilities *c, char *text, size_t size) {
  snprintf(text, size, "%.100s%s%.100s, Vulkan %u.%u.%u", c->driver_name, c->driver_info[0] != '\0' ? " " : "",
           c->driver_info, VK_API_VERSION_MAJOR(c->api_version), VK_API_VERSION_MINOR(c->api_version),
           VK_API_VERSION_PATCH(c->api_version));
}

// Of the device itself; an imposed profile's is the device's restriction (dure_device_restrict).
static uint64_t memory_budget(const vulkan_capabilities *c, dure_device_kind kind) {
  if (kind == DURE_DEVICE_CPU) return dure_os_memory_available() / 5 * 4;
  return c->device_heap_budget > c->device_heap_used ? c->device_heap_budget - c->device_heap_used : 0;
}

static void describe_choices(const vulkan_candidate *candidate, char *text, size_t size) {
  const dure_vulkan_caps *caps = &candidate->plan.caps;
  const vulkan_profile *profile = candidate->plan.profile;
  uint32_t runnable = 0;
  for (size_t i = 0; i < dure_shader_count; i++) {
    dure_status status = vulkan_requirements_check(caps, &dure_shaders[i]);
    if (status == NULL) runnable++;
    dure_status_free(status);
  }
  const char *budget = caps->kind == DURE_DEVICE_CPU ? "80 % of the machine's available memory"
                       : dure_vulkan_caps_has(caps, DURE_VULKAN_MEMORY_BUDGET)
                           ? "as the driver reports"
                           : "the whole heap (the driver reports no budget)";
  int used = 0;
  if (profile != NULL) {
    used = snprintf(text, size,
                    "profile %s imposed by DURE_VULKAN_PROFILE (%s): its limits, its %.1f GiB of memory, kernels "
                    "chosen as for it\n",
                    profile->name, profile->text, (double)profile->budget_bytes / (1u << 30));
  }
  snprintf(
      text + used, size - (size_t)used,
      "runs %u of the %zu embedded kernels\nsubgroups of %u, workgroups of up to %u invocations, %u KiB shared memory\n"
      "memory budget: %s\nread-only inputs %s",
      runnable, dure_shader_count, caps->subgroup_size, caps->max_invocations, caps->shared_bytes / 1024, budget,
      caps->max_texel_elements > 0 ? "may be texel buffers" : "are storage buffers");
  char units[512];
  dure_vulkan_matrix_units_describe(caps, units, sizeof(units));
  const size_t length = strlen(text);
  if (units[0] != '\0') snprintf(text + length, size - length, "\n%s", units);
}

// What decides which kernels run, beside the build and the driver.
static void describe_kernels(const vulkan_plan *plan, const vulkan_tuning *tuning, dure_device_info *info) {
  char tuned[64];
  vulkan_tuning_describe(tuning, tuned, sizeof(tuned));
  snprintf(info->kernels, sizeof(info->kernels), "features 0x%" PRIx64 ", %s", plan->caps.features, tuned);
}

static void fill_info(const vulkan_candidate *candidate, const vulkan_tuning *tuning, uint32_t index,
                      dure_device_info *info) {
  const vulkan_capabilities *c = &candidate->capabilities;
  const vulkan_plan *plan = &candidate->plan;
  memset(info, 0, sizeof(*info));
  snprintf(info->identifier, sizeof(info->identifier), "vulkan:%u", index);
  snprintf(info->backend, sizeof(info->backend), "vulkan");
  snprintf(info->name, sizeof(info->name), "%s", c->name);
  format_version(c, info->driver, sizeof(info->driver));
  info->kind = plan->caps.kind;
  info->memory_bytes = info->kind == DURE_DEVICE_CPU ? dure_os_memory_total() : c->device_heap_bytes;
  info->memory_budget_bytes = memory_budget(c, info->kind);
  if (plan->profile != NULL) {
    snprintf(info->profile, sizeof(info->profile), "%s", plan->profile->name);
    if (plan->profile->heap_bytes < info->memory_bytes) info->memory_bytes = plan->profile->heap_bytes;
    if (plan->profile->budget_bytes < info->memory_budget_bytes)
      info->memory_budget_bytes = plan->profile->budget_bytes;
  }
  info->usable = plan->usable;
  info->limits = plan->limits;
  snprintf(info->reason, sizeof(info->reason), "%s", plan->reason);
  if (plan->usable) describe_choices(candidate, info->reason, sizeof(info->reason));
  describe_kernels(plan, tuning, info);
  if (plan->profile == NULL) info->rates = tuning->rates;  // a profile's rates are not this device's
  for (int i = 0; i < DURE_VULKAN_FEATURE_COUNT && i < DURE_FEATURES_MAX; i++) {
    info->features[info->feature_count++] = (dure_device_feature){
        .name = vulkan_feature_name((dure_vulkan_feature)i),
        .text = vulkan_feature_text((dure_vulkan_feature)i),
        .environment = vulkan_feature_switch((dure_vulkan_feature)i),
        .state = plan->states[i],
    };
  }
}

// A missing loader or driver is a note, not a failure.
static dure_status backend_list(dure_device_info **infos, size_t *count, char **out_note) {
  *out_note = NULL;
  vulkan_system system;
  dure_status status = vulkan_system_open(&system);
  if (status != NULL) {
    if (dure_status_code(status) == DURE_OUT_OF_MEMORY) return status;
    *out_note = strdup(dure_status_message(status));
    dure_status_free(status);
    return NULL;
  }
  dure_device_info *grown = realloc(*infos, (*count + system.candidate_count) * sizeof(*grown));
  if (grown == NULL) {
    vulkan_system_close(&system);
    return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to list the Vulkan devices");
  }
  *infos = grown;
  const char *ignored = system.candidate_count > 0 ? system.candidates[0].plan.ignored : "";
  if (ignored[0] != '\0') {
    char note[256];
    snprintf(note, sizeof(note), "DURE_VULKAN_DISABLE names '%s', which is no feature", ignored);
    *out_note = strdup(note);
  }
  for (size_t i = 0; i < system.candidate_count; i++) {
    const vulkan_candidate *candidate = &system.candidates[i];
    vulkan_tuning tuning;
    vulkan_tuning_load(&candidate->capabilities, &candidate->plan, &tuning);
    fill_info(candidate, &tuning, (uint32_t)i, &grown[(*count)++]);
    vulkan_tuning_release(&tuning);
  }
  vulkan_system_close(&system);
  return NULL;
}

// ---- opening ----

enum { MOST_EXTENSIONS = 8 };

// The device extensions behind the features that are enabled.
static uint32_t list_extensions(const dure_vulkan_caps *caps, const char *extensions[MOST_EXTENSIONS]) {
  static const struct {
    uint64_t features;  // any of them
    const char *name;
  } rows[] = {
      {1ull << DURE_VULKAN_SUBGROUP_SIZE_CONTROL, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME},
      {1ull << DURE_VULKAN_MEMORY_BUDGET, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME},
      {1ull << DURE_VULKAN_COOPERATIVE_MATRIX2, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME},
      {1ull << DURE_VULKAN_COOPERATIVE_MATRIX | 1ull << DURE_VULKAN_BFLOAT16_MATRIX |
           1ull << DURE_VULKAN_COOPERATIVE_MATRIX2,
       VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME},
      {1ull << DURE_VULKAN_BFLOAT16_MATRIX, VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME},
      {1ull << DURE_VULKAN_DOT_PRODUCT, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME},
      {1ull << DURE_VULKAN_DEVICE_FAULT, VK_EXT_DEVICE_FAULT_EXTENSION_NAME},
  };
  uint32_t count = 0;
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && count < MOST_EXTENSIONS; i++) {
    if ((caps->features & rows[i].features) != 0) extensions[count++] = rows[i].name;
  }
  return count;
}

static dure_status open_queue(vulkan_device *device, uint32_t family, VkQueue *out_queue, VkCommandPool *out_pool) {
  device->api.GetDeviceQueue(device->handle, family, 0, out_queue);
  VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                  .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                  .queueFamilyIndex = family};
  VULKAN_TRY(device, device->api.CreateCommandPool(device->handle, &pool, NULL, out_pool), "creating a command pool");
  return NULL;
}

static dure_status create_device(vulkan_device *device) {
  const dure_vulkan_caps *caps = &device->plan.caps;
#define HAS(identifier) (dure_vulkan_caps_has(caps, DURE_VULKAN_##identifier) ? VK_TRUE : VK_FALSE)
  VkPhysicalDeviceSubgroupSizeControlFeatures sizes = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
      .subgroupSizeControl = VK_TRUE,
      .computeFullSubgroups = VK_TRUE};
  VkPhysicalDeviceShaderBfloat16FeaturesKHR bfloat16 = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR,
      .pNext = HAS(SUBGROUP_SIZE_CONTROL) ? &sizes : NULL,
      .shaderBFloat16Type = VK_TRUE,
      .shaderBFloat16CooperativeMatrix = VK_TRUE};
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
      .pNext = HAS(BFLOAT16_MATRIX) ? &bfloat16 : bfloat16.pNext,
      .cooperativeMatrix = VK_TRUE};
  const bool has_matrix = HAS(COOPERATIVE_MATRIX) || HAS(BFLOAT16_MATRIX) || HAS(COOPERATIVE_MATRIX2);
  VkPhysicalDeviceCooperativeMatrix2FeaturesNV matrix2 = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV,
      .pNext = has_matrix ? &matrix : matrix.pNext,
      .cooperativeMatrixWorkgroupScope = VK_TRUE,
      .cooperativeMatrixFlexibleDimensions = VK_TRUE,
      .cooperativeMatrixPerElementOperations = VK_TRUE,
      .cooperativeMatrixTensorAddressing = VK_TRUE};
  VkPhysicalDeviceFaultFeaturesEXT fault = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FAULT_FEATURES_EXT,
                                            .pNext = HAS(COOPERATIVE_MATRIX2) ? &matrix2 : matrix2.pNext,
                                            .deviceFault = VK_TRUE};
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot_product = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES,
      .pNext = HAS(DEVICE_FAULT) ? &fault : fault.pNext,
      .shaderIntegerDotProduct = VK_TRUE};
  VkPhysicalDeviceVulkan12Features vulkan12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                               .pNext = HAS(DOT_PRODUCT) ? &dot_product : dot_product.pNext,
                                               .timelineSemaphore = VK_TRUE,
                                               .shaderFloat16 = HAS(FP16),
                                               .shaderInt8 = HAS(INT8),
                                               .storageBuffer8BitAccess = HAS(STORAGE8),
                                               .vulkanMemoryModel = HAS(MEMORY_MODEL),
                                               .vulkanMemoryModelDeviceScope = HAS(MEMORY_MODEL)};
  VkPhysicalDeviceVulkan11Features vulkan11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                               .pNext = &vulkan12,
                                               .storageBuffer16BitAccess = HAS(STORAGE16)};
  VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                        .pNext = &vulkan11,
                                        .features = {.robustBufferAccess = HAS(ROBUST_ACCESS),
                                                     .shaderFloat64 = HAS(FP64),
                                                     .shaderInt16 = HAS(INT16),
                                                     .shaderInt64 = HAS(INT64)}};
  const bool has_transfer_queue = HAS(TRANSFER_QUEUE);
#undef HAS
  const char *extensions[MOST_EXTENSIONS];
  float priority = 1.0f;
  const uint32_t families[2] = {device->capabilities.queue_family, device->capabilities.transfer_family};
  VkDeviceQueueCreateInfo queues[2];
  for (int i = 0; i < 2; i++) {
    queues[i] = (VkDeviceQueueCreateInfo){.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                          .queueFamilyIndex = families[i],
                                          .queueCount = 1,
                                          .pQueuePriorities = &priority};
  }
  VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                             .pNext = &features,
                             .queueCreateInfoCount = has_transfer_queue ? 2 : 1,
                             .pQueueCreateInfos = queues,
                             .enabledExtensionCount = list_extensions(caps, extensions),
                             .ppEnabledExtensionNames = extensions};
  VULKAN_TRY(device, device->api.CreateDevice(device->physical, &info, NULL, &device->handle), "opening '%s'",
             device->head.info.name);
  DURE_TRY(vulkan_load_device(&device->api, device->handle));
  DURE_TRY(open_queue(device, families[0], &device->queue, &device->command_pool));
  if (has_transfer_queue) DURE_TRY(open_queue(device, families[1], &device->transfer_queue, &device->transfer_pool));
  return vulkan_pipelines_open(device);
}

static void close_device(dure_device *head) {
  vulkan_device *device = vulkan_device_of(head);
  uint64_t messages_before = dure_vulkan_validation_message_count();
  if (device->handle != VK_NULL_HANDLE && device->api.DestroyDevice != NULL) {
    device->api.DeviceWaitIdle(device->handle);
    vulkan_pipelines_close(device);
    if (device->command_pool != VK_NULL_HANDLE)
      device->api.DestroyCommandPool(device->handle, device->command_pool, NULL);
    if (device->transfer_pool != VK_NULL_HANDLE)
      device->api.DestroyCommandPool(device->handle, device->transfer_pool, NULL);
    vulkan_memory_release(device);
    device->api.DestroyDevice(device->handle, NULL);
  }
  vulkan_system_close(&device->system);
  vulkan_tuning_release(&device->tuning);
  uint64_t messages = dure_vulkan_validation_message_count();
  if (messages > 0) {
    dure_log(DURE_LOG_ERROR,
             "%" PRIu64 " messages of the Vulkan validation layers so far, %" PRIu64 " of them while closing %s",
             messages, messages - messages_before, device->head.info.identifier);
  }
  free(device);
}

static dure_status backend_open(uint32_t index, dure_device **out_device) {
  *out_device = NULL;
  vulkan_device *device = calloc(1, sizeof(*device));
  if (device == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to open a Vulkan device");
  dure_status status = vulkan_system_open(&device->system);
  if (status != NULL) {
    free(device);
    return status;
  }
  if (index >= device->system.candidate_count) {
    status = dure_fail(DURE_NOT_FOUND, "there is no device vulkan:%u, only %zu", index, device->system.candidate_count);
    vulkan_system_close(&device->system);
    free(device);
    return status;
  }
  const vulkan_candidate *candidate = &device->system.candidates[index];
  device->head.vtable = &vulkan_vtable;
  device->api = device->system.api;
  device->physical = candidate->physical;
  device->capabilities = candidate->capabilities;
  device->plan = candidate->plan;
  device->has_exact_bindings =
      vulkan_environment_is_on("DURE_VULKAN_EXACT_BINDINGS") || vulkan_environment_is_on("DURE_VULKAN_VALIDATION");
  vulkan_tuning_load(&device->capabilities, &device->plan, &device->tuning);
  fill_info(candidate, &device->tuning, index, &device->head.info);
  if (device->plan.profile != NULL) dure_device_restrict(&device->head, NULL, device->plan.profile->budget_bytes);
  status = device->plan.usable ? create_device(device)
                               : dure_fail(DURE_UNSUPPORTED, "device vulkan:%u (%s) cannot be used: %s", index,
                                           candidate->capabilities.name, candidate->plan.reason);
  if (status != NULL) {
    close_device(&device->head);
    return status;
  }
  *out_device = &device->head;
  return NULL;
}

dure_status vulkan_available_memory(dure_device *head, uint64_t *out_bytes) {
  vulkan_device *device = vulkan_device_of(head);
  bool has_budget = dure_vulkan_caps_has(&device->plan.caps, DURE_VULKAN_MEMORY_BUDGET);
  vulkan_capabilities_refresh_budget(&device->api, device->physical, has_budget, &device->capabilities);
  *out_bytes = memory_budget(&device->capabilities, device->plan.caps.kind);
  if (has_budget || device->plan.caps.kind == DURE_DEVICE_CPU) return NULL;
  const uint64_t taken = head->memory_used + head->memory_overhead;
  *out_bytes = *out_bytes > taken ? *out_bytes - taken : 0;
  return NULL;
}

// ---- shared by the files of this folder ----

dure_status vulkan_commands_begin(vulkan_device *device, VkCommandPool pool, VkCommandBufferUsageFlags usage,
                                  VkCommandBuffer *out_commands) {
  *out_commands = VK_NULL_HANDLE;
  VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                          .commandPool = pool,
                                          .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                          .commandBufferCount = 1};
  VkCommandBuffer commands = VK_NULL_HANDLE;
  VULKAN_TRY(device, device->api.AllocateCommandBuffers(device->handle, &allocate, &commands),
             "allocating a command list");
  VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO, .flags = usage};
  VkResult result = device->api.BeginCommandBuffer(commands, &begin);
  if (result != VK_SUCCESS) {
    vulkan_commands_free(device, pool, commands);
    return vulkan_fail(device, result, "starting a command list");
  }
  *out_commands = commands;
  return NULL;
}

void vulkan_commands_free(vulkan_device *device, VkCommandPool pool, VkCommandBuffer commands) {
  device->api.FreeCommandBuffers(device->handle, pool, 1, &commands);
}

void vulkan_name_object(vulkan_device *device, VkObjectType type, uint64_t handle, const char *name) {
  if (!dure_vulkan_caps_has(&device->plan.caps, DURE_VULKAN_DEBUG_LABELS) ||
      device->api.SetDebugUtilsObjectNameEXT == NULL)
    return;
  VkDebugUtilsObjectNameInfoEXT info = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
                                        .objectType = type,
                                        .objectHandle = handle,
                                        .pObjectName = name};
  VkResult ignored = device->api.SetDebugUtilsObjectNameEXT(device->handle, &info);
  (void)ignored;  // a name that is not set changes nothing
}

dure_vulkan_trust *dure_vulkan_device_trust(const dure_device *device) { return &vulkan_device_of(device)->trust; }

const dure_vulkan_caps *dure_vulkan_device_caps(const dure_device *device) {
  return &vulkan_device_of(device)->plan.caps;
}

bool dure_vulkan_device_has_kernel(const dure_device *device, const char *name) {
  for (size_t i = 0; i < dure_shader_count; i++) {
    if (strcmp(dure_shaders[i].name, name) != 0) continue;
    dure_status status = vulkan_requirements_check(&vulkan_device_of(device)->plan.caps, &dure_shaders[i]);
    bool runnable = status == NULL;
    dure_status_free(status);
    return runnable;
  }
  return false;
}

const dure_device_vtable vulkan_vtable = {
    .close = close_device,
    .available_memory = vulkan_available_memory,
    .buffer_create = vulkan_buffer_create,
    .buffer_destroy = vulkan_buffer_destroy,
    .stream_create = vulkan_stream_create,
    .stream_destroy = vulkan_stream_destroy,
    .stream_upload = vulkan_stream_upload,
    .stream_download = vulkan_stream_download,
    .stream_submit = vulkan_stream_submit,
    .stream_wait = vulkan_stream_wait,
    .event_create = vulkan_event_create,
    .event_destroy = vulkan_event_destroy,
    .event_signal = vulkan_event_signal,
    .event_read = vulkan_event_read,
    .event_wait = vulkan_event_wait,
    .kernel_get = vulkan_kernel_get,
    .recording_create = vulkan_recording_create,
    .recording_destroy = vulkan_recording_destroy,
    .recording_label = vulkan_recording_label,
    .recording_dispatch = vulkan_recording_dispatch,
    .recording_copy = vulkan_recording_copy,
    .recording_fill = vulkan_recording_fill,
    .recording_finish = vulkan_recording_finish,
    .recording_times = vulkan_recording_times,
    .op = dure_vulkan_op,
    .memory_overhead = vulkan_memory_overhead,
    .tune = vulkan_tune,
};

const dure_backend dure_backend_vulkan = {.name = "vulkan", .list = backend_list, .open = backend_open};
