#include "runtime/vulkan/capabilities.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t bit(dure_vulkan_feature feature) { return 1ull << feature; }

// ---- extensions ----

typedef struct extension_list {
  VkExtensionProperties *items;
  uint32_t count;
} extension_list;

static dure_status query_extensions(const vulkan_api *api, VkPhysicalDevice physical, extension_list *out_list) {
  memset(out_list, 0, sizeof(*out_list));
  VkResult result = api->EnumerateDeviceExtensionProperties(physical, NULL, &out_list->count, NULL);
  if (result != VK_SUCCESS)
    return dure_fail(DURE_UNSUPPORTED, "the driver does not list its extensions (%s)", vulkan_result_name(result));
  out_list->items = calloc(out_list->count + 1u, sizeof(*out_list->items));
  if (out_list->items == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to list a device's extensions");
  result = api->EnumerateDeviceExtensionProperties(physical, NULL, &out_list->count, out_list->items);
  if (result != VK_SUCCESS && result != VK_INCOMPLETE) out_list->count = 0;
  return NULL;
}

static bool has_extension(const extension_list *list, const char *name) {
  for (uint32_t i = 0; i < list->count; i++) {
    if (strcmp(list->items[i].extensionName, name) == 0) return true;
  }
  return false;
}

// ---- properties ----

static void copy_text(char *target, size_t size, const char *source) { snprintf(target, size, "%s", source); }

static void read_limits(const VkPhysicalDeviceProperties *properties, vulkan_capabilities *c) {
  const VkPhysicalDeviceLimits *limits = &properties->limits;
  copy_text(c->name, sizeof(c->name), properties->deviceName);
  c->api_version = properties->apiVersion;
  c->driver_version = properties->driverVersion;
  c->vendor_id = properties->vendorID;
  c->device_id = properties->deviceID;
  c->type = properties->deviceType;
  memcpy(c->pipeline_cache_uuid, properties->pipelineCacheUUID, sizeof(c->pipeline_cache_uuid));
  c->max_invocations = limits->maxComputeWorkGroupInvocations;
  memcpy(c->max_group_size, limits->maxComputeWorkGroupSize, sizeof(c->max_group_size));
  memcpy(c->max_group_count, limits->maxComputeWorkGroupCount, sizeof(c->max_group_count));
  c->shared_bytes = limits->maxComputeSharedMemorySize;
  c->push_bytes = limits->maxPushConstantsSize;
  c->max_binding_bytes = limits->maxStorageBufferRange;
  c->max_storage_bindings = limits->maxPerStageDescriptorStorageBuffers;
  c->storage_alignment = limits->minStorageBufferOffsetAlignment;
  c->texel_alignment = limits->minTexelBufferOffsetAlignment;
  c->max_texel_elements = limits->maxTexelBufferElements;
  c->timestamp_period = limits->timestampPeriod;
}

static void read_properties(const vulkan_api *api, VkPhysicalDevice physical, const extension_list *extensions,
                            vulkan_capabilities *c) {
  VkPhysicalDeviceVulkan12Properties vulkan12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES};
  VkPhysicalDeviceVulkan11Properties vulkan11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES,
                                                 .pNext = &vulkan12};
  VkPhysicalDeviceSubgroupSizeControlProperties sizes = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
  VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                            .pNext = &vulkan11};
  if (has_extension(extensions, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME)) vulkan12.pNext = &sizes;
  api->GetPhysicalDeviceProperties2(physical, &properties);

  read_limits(&properties.properties, c);
  copy_text(c->driver_name, sizeof(c->driver_name), vulkan12.driverName);
  copy_text(c->driver_info, sizeof(c->driver_info), vulkan12.driverInfo);
  c->driver_id = (uint32_t)vulkan12.driverID;
  memcpy(c->device_uuid, vulkan11.deviceUUID, sizeof(c->device_uuid));
  c->max_allocation_bytes = vulkan11.maxMemoryAllocationSize;
  c->subgroup_size = c->subgroup_minimum = c->subgroup_maximum = vulkan11.subgroupSize;
  if (sizes.maxSubgroupSize != 0 && (sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0) {
    c->subgroup_minimum = sizes.minSubgroupSize;
    c->subgroup_maximum = sizes.maxSubgroupSize;
  }
  if ((vulkan11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0) {
    if (vulkan11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT)
      c->available |= bit(DURE_VULKAN_SUBGROUP_ARITHMETIC);
    if (vulkan11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT)
      c->available |= bit(DURE_VULKAN_SUBGROUP_SHUFFLE);
    if (vulkan11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_QUAD_BIT)
      c->available |= bit(DURE_VULKAN_SUBGROUP_QUAD);
  }
}

// ---- matrix units ----

static bool lists_shape(const vulkan_capabilities *c, bool is_bfloat16) {
  for (uint32_t i = 0; i < c->matrix_shape_count; i++) {
    if (c->matrix_shapes[i].is_bfloat16 == is_bfloat16) return true;
  }
  return false;
}

// Products of 16-bit floats with f32 sums; others (f16 sums overflow, integers) are not used.
static dure_status read_matrix_shapes(const vulkan_api *api, VkPhysicalDevice physical,
                                      const extension_list *extensions, vulkan_capabilities *c) {
  if (!has_extension(extensions, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME)) return NULL;
  if (api->GetPhysicalDeviceCooperativeMatrixPropertiesKHR == NULL) return NULL;
  uint32_t count = 0;
  if (api->GetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, &count, NULL) != VK_SUCCESS) return NULL;
  VkCooperativeMatrixPropertiesKHR *rows = calloc(count + 1u, sizeof(*rows));
  if (rows == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to list a device's matrix units");
  for (uint32_t i = 0; i < count; i++) rows[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
  if (api->GetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, &count, rows) != VK_SUCCESS) count = 0;
  for (uint32_t i = 0; i < count && c->matrix_shape_count < DURE_VULKAN_MATRIX_SHAPES_MOST; i++) {
    const VkCooperativeMatrixPropertiesKHR *row = &rows[i];
    const bool is_bfloat16 = row->AType == VK_COMPONENT_TYPE_BFLOAT16_KHR;
    if (row->scope != VK_SCOPE_SUBGROUP_KHR || row->saturatingAccumulation || row->BType != row->AType) continue;
    if (row->CType != VK_COMPONENT_TYPE_FLOAT32_KHR || row->ResultType != VK_COMPONENT_TYPE_FLOAT32_KHR) continue;
    if (!is_bfloat16 && row->AType != VK_COMPONENT_TYPE_FLOAT16_KHR) continue;
    c->matrix_shapes[c->matrix_shape_count++] =
        (dure_vulkan_matrix_shape){.M = row->MSize, .N = row->NSize, .K = row->KSize, .is_bfloat16 = is_bfloat16};
  }
  free(rows);
  return NULL;
}

static bool is_usable(const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *row) {
  const bool is_16_bit = row->AType == VK_COMPONENT_TYPE_FLOAT16_KHR || row->AType == VK_COMPONENT_TYPE_BFLOAT16_KHR;
  return is_16_bit && row->BType == row->AType && row->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
         row->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && !row->saturatingAccumulation &&
         row->scope == VK_SCOPE_WORKGROUP_KHR && row->MGranularity > 0 && row->NGranularity > 0 &&
         row->KGranularity > 0;
}

static uint32_t read_workgroup_limits(const vulkan_api *api, VkPhysicalDevice physical, vulkan_capabilities *c) {
  VkPhysicalDeviceCooperativeMatrix2PropertiesNV limits = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV};
  VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &limits};
  api->GetPhysicalDeviceProperties2(physical, &properties);
  c->workgroup_matrix_most = limits.cooperativeMatrixFlexibleDimensionsMaxDimension;
  c->workgroup_matrix_shared_bytes = limits.cooperativeMatrixWorkgroupScopeReservedSharedMemory;
  return limits.cooperativeMatrixWorkgroupScopeMaxWorkgroupSize;
}

// The same products by workgroups, of any size in multiples of what a row says.
static dure_status read_workgroup_matrices(const vulkan_api *api, VkPhysicalDevice physical,
                                           const extension_list *extensions, vulkan_capabilities *c) {
  if (!has_extension(extensions, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME)) return NULL;
  if (api->GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV == NULL) return NULL;
  const uint32_t most_invocations = read_workgroup_limits(api, physical, c);
  uint32_t count = 0;
  if (api->GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV(physical, &count, NULL) != VK_SUCCESS)
    return NULL;
  VkCooperativeMatrixFlexibleDimensionsPropertiesNV *rows = calloc(count + 1u, sizeof(*rows));
  if (rows == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to list a device's matrix units");
  for (uint32_t i = 0; i < count; i++)
    rows[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV;
  if (api->GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV(physical, &count, rows) != VK_SUCCESS)
    count = 0;
  for (uint32_t i = 0; i < count && c->workgroup_matrix_count < DURE_VULKAN_MATRIX_SHAPES_MOST; i++) {
    if (!is_usable(&rows[i]) || rows[i].workgroupInvocations > most_invocations) continue;
    c->workgroup_matrices[c->workgroup_matrix_count++] =
        (dure_vulkan_workgroup_matrix){.M = rows[i].MGranularity,
                                       .N = rows[i].NGranularity,
                                       .K = rows[i].KGranularity,
                                       .invocations = rows[i].workgroupInvocations,
                                       .is_bfloat16 = rows[i].AType == VK_COMPONENT_TYPE_BFLOAT16_KHR};
  }
  free(rows);
  return NULL;
}

// ---- features ----

static void read_features(const vulkan_api *api, VkPhysicalDevice physical, const extension_list *extensions,
                          vulkan_capabilities *c) {
  VkPhysicalDeviceVulkan12Features vulkan12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  VkPhysicalDeviceVulkan11Features vulkan11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                               .pNext = &vulkan12};
  VkPhysicalDeviceSubgroupSizeControlFeatures sizes = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
  VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &vulkan11};
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
  VkPhysicalDeviceShaderBfloat16FeaturesKHR bfloat16 = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR};
  VkPhysicalDeviceFaultFeaturesEXT fault = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FAULT_FEATURES_EXT};
  VkPhysicalDeviceCooperativeMatrix2FeaturesNV matrix2 = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV};
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot_product = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES};
  void **next = &vulkan12.pNext;
  if (has_extension(extensions, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME)) *next = &sizes, next = &sizes.pNext;
  if (has_extension(extensions, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME)) *next = &matrix, next = &matrix.pNext;
  if (has_extension(extensions, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME)) *next = &matrix2, next = &matrix2.pNext;
  if (has_extension(extensions, VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME)) *next = &bfloat16, next = &bfloat16.pNext;
  if (has_extension(extensions, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME))
    *next = &dot_product, next = &dot_product.pNext;
  if (has_extension(extensions, VK_EXT_DEVICE_FAULT_EXTENSION_NAME)) *next = &fault;
  api->GetPhysicalDeviceFeatures2(physical, &features);

  const struct {
    dure_vulkan_feature feature;
    bool available;
  } rows[] = {
      {DURE_VULKAN_SUBGROUP_SIZE_CONTROL, sizes.subgroupSizeControl && sizes.computeFullSubgroups},
      // GPUs pay for it with a check at every access; software drivers make the check anyway.
      {DURE_VULKAN_ROBUST_ACCESS, features.features.robustBufferAccess && c->type == VK_PHYSICAL_DEVICE_TYPE_CPU},
      {DURE_VULKAN_FP16, vulkan12.shaderFloat16},
      {DURE_VULKAN_FP64, features.features.shaderFloat64},
      {DURE_VULKAN_INT8, vulkan12.shaderInt8},
      {DURE_VULKAN_INT16, features.features.shaderInt16},
      {DURE_VULKAN_INT64, features.features.shaderInt64},
      {DURE_VULKAN_STORAGE16, vulkan11.storageBuffer16BitAccess},
      {DURE_VULKAN_STORAGE8, vulkan12.storageBuffer8BitAccess},
      // Atomics of kernels that know nothing of the model are of device scope, which it then must allow.
      {DURE_VULKAN_MEMORY_MODEL, vulkan12.vulkanMemoryModel && vulkan12.vulkanMemoryModelDeviceScope},
      {DURE_VULKAN_DEVICE_ADDRESS, vulkan12.bufferDeviceAddress},
      {DURE_VULKAN_MEMORY_BUDGET, has_extension(extensions, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME)},
      {DURE_VULKAN_DEVICE_FAULT, fault.deviceFault && api->GetDeviceFaultInfoEXT != NULL},
      {DURE_VULKAN_PIPELINE_CACHE, true},
      {DURE_VULKAN_DEBUG_LABELS, api->CmdBeginDebugUtilsLabelEXT != NULL && api->CmdEndDebugUtilsLabelEXT != NULL},
      {DURE_VULKAN_DOT_PRODUCT, dot_product.shaderIntegerDotProduct},
      {DURE_VULKAN_PUSH_DESCRIPTORS, has_extension(extensions, VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME)},
      {DURE_VULKAN_COOPERATIVE_MATRIX, matrix.cooperativeMatrix && lists_shape(c, false)},
      {DURE_VULKAN_COOPERATIVE_MATRIX2, matrix.cooperativeMatrix && matrix2.cooperativeMatrixWorkgroupScope &&
                                            matrix2.cooperativeMatrixFlexibleDimensions &&
                                            matrix2.cooperativeMatrixPerElementOperations &&
                                            matrix2.cooperativeMatrixTensorAddressing && c->workgroup_matrix_count > 0},
      {DURE_VULKAN_BFLOAT16_MATRIX, matrix.cooperativeMatrix && bfloat16.shaderBFloat16Type &&
                                        bfloat16.shaderBFloat16CooperativeMatrix && lists_shape(c, true)},
  };
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    if (rows[i].available) c->available |= bit(rows[i].feature);
  }
  c->has_timeline_semaphores = vulkan12.timelineSemaphore;

  VkFormatProperties format = {0};
  api->GetPhysicalDeviceFormatProperties(physical, VK_FORMAT_R32G32B32A32_SFLOAT, &format);
  if (format.bufferFeatures & VK_FORMAT_FEATURE_UNIFORM_TEXEL_BUFFER_BIT)
    c->available |= bit(DURE_VULKAN_TEXEL_BUFFERS);
}

// ---- queues and memory ----

// A family with compute only runs beside a desktop's drawing; else any family with compute.
static dure_status read_queues(const vulkan_api *api, VkPhysicalDevice physical, vulkan_capabilities *c) {
  uint32_t count = 0;
  api->GetPhysicalDeviceQueueFamilyProperties(physical, &count, NULL);
  VkQueueFamilyProperties *families = calloc(count + 1u, sizeof(*families));
  if (families == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to list a device's queues");
  api->GetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
  for (uint32_t i = 0; i < count; i++) {
    if ((families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0 || families[i].queueCount == 0) continue;
    bool only_compute = (families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) == 0;
    if (c->has_compute_queue && !only_compute) continue;
    c->has_compute_queue = true;
    c->queue_family = i;
    c->timestamp_bits = families[i].timestampValidBits;
    if (only_compute) break;
  }
  for (uint32_t i = 0; i < count; i++) {
    const VkQueueFlags kinds = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT;
    if ((families[i].queueFlags & kinds) != VK_QUEUE_TRANSFER_BIT || families[i].queueCount == 0) continue;
    // Families for video have the bit as well, and are no faster than the compute queue.
    if ((families[i].queueFlags & ~(kinds | VK_QUEUE_SPARSE_BINDING_BIT | VK_QUEUE_PROTECTED_BIT)) != 0) continue;
    c->transfer_family = i;
    c->available |= bit(DURE_VULKAN_TRANSFER_QUEUE);
    break;
  }
  free(families);
  if (c->timestamp_bits > 0 && c->timestamp_period > 0) c->available |= bit(DURE_VULKAN_TIMESTAMPS);
  return NULL;
}

static void read_memory(const vulkan_api *api, VkPhysicalDevice physical, vulkan_capabilities *c) {
  VkPhysicalDeviceMemoryProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  api->GetPhysicalDeviceMemoryProperties2(physical, &properties);
  c->memory = properties.memoryProperties;
  for (uint32_t i = 0; i < c->memory.memoryHeapCount; i++) {
    bool local = (c->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) != 0;
    if (local && c->memory.memoryHeaps[i].size > c->device_heap_bytes) {
      c->device_heap_bytes = c->memory.memoryHeaps[i].size;
      c->device_heap = i;
    }
  }
}

void vulkan_capabilities_refresh_budget(const vulkan_api *api, VkPhysicalDevice physical, bool has_budget,
                                        vulkan_capabilities *capabilities) {
  capabilities->device_heap_budget = capabilities->device_heap_bytes;
  capabilities->device_heap_used = 0;
  if (!has_budget) return;
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                                  .pNext = &budget};
  api->GetPhysicalDeviceMemoryProperties2(physical, &properties);
  uint64_t bytes = budget.heapBudget[capabilities->device_heap];
  // Some drivers report a budget beyond the heap.
  if (bytes > 0 && bytes < capabilities->device_heap_bytes) capabilities->device_heap_budget = bytes;
  capabilities->device_heap_used = budget.heapUsage[capabilities->device_heap];
}

dure_status vulkan_capabilities_query(const vulkan_api *api, VkPhysicalDevice physical,
                                      vulkan_capabilities *out_capabilities) {
  vulkan_capabilities *c = out_capabilities;
  memset(c, 0, sizeof(*c));
  VkPhysicalDeviceProperties properties;
  api->GetPhysicalDeviceProperties(physical, &properties);
  read_limits(&properties, c);
  // A device below the floor is listed with the reason; it may not know the structs asked for below.
  if (properties.apiVersion < VK_API_VERSION_1_2) return NULL;

  extension_list extensions;
  DURE_TRY(query_extensions(api, physical, &extensions));
  read_properties(api, physical, &extensions, c);
  dure_status status = read_matrix_shapes(api, physical, &extensions, c);
  if (status == NULL) status = read_workgroup_matrices(api, physical, &extensions, c);
  read_features(api, physical, &extensions, c);
  free(extensions.items);
  DURE_TRY(status);
  DURE_TRY(read_queues(api, physical, c));
  read_memory(api, physical, c);
  vulkan_capabilities_refresh_budget(api, physical, (c->available & bit(DURE_VULKAN_MEMORY_BUDGET)) != 0, c);
  return NULL;
}
