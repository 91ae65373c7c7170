// Matrix units that take whole workgroups' tiles (VK_NV_cooperative_matrix2), on a made-up driver: no driver for tests
// has the extension. What is read of the driver, what turns it off, which rows fit it, when one is chosen, and that the
// build has its kernels.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/internal.h"
#include "runtime/vulkan/matmul_selftest.h"
#include "tests/suite.h"

// ---- a driver that has the extension -----------------------------------------------------------------------------

static const VkComponentTypeKHR f16 = VK_COMPONENT_TYPE_FLOAT16_KHR, bf16 = VK_COMPONENT_TYPE_BFLOAT16_KHR,
                                f32 = VK_COMPONENT_TYPE_FLOAT32_KHR;
static bool lacks_tensor_addressing;
static uint32_t largest_dimension = 1024, largest_workgroup = 256;

static VkResult list_extensions(VkPhysicalDevice physical, const char *layer, uint32_t *count,
                                VkExtensionProperties *properties) {
  static const char *const names[] = {VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME,
                                      VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME, VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME};
  (void)physical, (void)layer;
  for (uint32_t i = 0; properties != NULL && i < 3; i++) {
    snprintf(properties[i].extensionName, sizeof(properties[i].extensionName), "%s", names[i]);
  }
  *count = 3;
  return VK_SUCCESS;
}

static void get_properties(VkPhysicalDevice physical, VkPhysicalDeviceProperties *properties) {
  (void)physical;
  *properties = (VkPhysicalDeviceProperties){.apiVersion = VK_API_VERSION_1_3,
                                             .deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
                                             .deviceName = "made up",
                                             .deviceID = 0x2882};
  properties->limits = (VkPhysicalDeviceLimits){.maxComputeWorkGroupInvocations = 1024,
                                                .maxComputeWorkGroupSize = {1024, 1024, 64},
                                                .maxComputeWorkGroupCount = {65535, 65535, 65535},
                                                .maxComputeSharedMemorySize = 49152,
                                                .maxPushConstantsSize = 256,
                                                .maxStorageBufferRange = UINT32_MAX,
                                                .maxPerStageDescriptorStorageBuffers = 64,
                                                .minStorageBufferOffsetAlignment = 16,
                                                .minTexelBufferOffsetAlignment = 16};
}

static void get_properties2(VkPhysicalDevice physical, VkPhysicalDeviceProperties2 *properties) {
  get_properties(physical, &properties->properties);
  for (VkBaseOutStructure *next = properties->pNext; next != NULL; next = next->pNext) {
    if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES) {
      ((VkPhysicalDeviceVulkan11Properties *)next)->subgroupSize = 32;
    } else if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES) {
      ((VkPhysicalDeviceVulkan12Properties *)next)->driverID = VK_DRIVER_ID_NVIDIA_PROPRIETARY;
    } else if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV) {
      VkPhysicalDeviceCooperativeMatrix2PropertiesNV *limits = (void *)next;
      limits->cooperativeMatrixWorkgroupScopeMaxWorkgroupSize = largest_workgroup;
      limits->cooperativeMatrixFlexibleDimensionsMaxDimension = largest_dimension;
      limits->cooperativeMatrixWorkgroupScopeReservedSharedMemory = 16384;
    }
  }
}

// Everything is there, unless it was taken away: a feature struct is its type, the next one and VkBool32s.
static void get_features2(VkPhysicalDevice physical, VkPhysicalDeviceFeatures2 *features) {
  (void)physical;
  for (VkBaseOutStructure *next = features->pNext; next != NULL; next = next->pNext) {
    if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES) {
      VkPhysicalDeviceVulkan12Features *core = (void *)next;
      core->shaderFloat16 = core->vulkanMemoryModel = core->vulkanMemoryModelDeviceScope = core->timelineSemaphore =
          VK_TRUE;
    } else if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES) {
      ((VkPhysicalDeviceVulkan11Features *)next)->storageBuffer16BitAccess = VK_TRUE;
    } else if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR) {
      ((VkPhysicalDeviceCooperativeMatrixFeaturesKHR *)next)->cooperativeMatrix = VK_TRUE;
    } else if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR) {
      VkPhysicalDeviceShaderBfloat16FeaturesKHR *types = (void *)next;
      types->shaderBFloat16Type = types->shaderBFloat16CooperativeMatrix = VK_TRUE;
    } else if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV) {
      VkPhysicalDeviceCooperativeMatrix2FeaturesNV *matrix = (void *)next;
      matrix->cooperativeMatrixWorkgroupScope = matrix->cooperativeMatrixFlexibleDimensions =
          matrix->cooperativeMatrixPerElementOperations = VK_TRUE;
      matrix->cooperativeMatrixTensorAddressing = !lacks_tensor_addressing;
    }
  }
}

static VkResult list_matrices(VkPhysicalDevice physical, uint32_t *count, VkCooperativeMatrixPropertiesKHR *rows) {
  (void)physical;
  for (uint32_t i = 0; rows != NULL && i < 2; i++) {
    const VkComponentTypeKHR type = i == 0 ? f16 : bf16;
    rows[i] = (VkCooperativeMatrixPropertiesKHR){.sType = rows[i].sType,
                                                 .MSize = 16,
                                                 .NSize = 16,
                                                 .KSize = 16,
                                                 .AType = type,
                                                 .BType = type,
                                                 .CType = f32,
                                                 .ResultType = f32,
                                                 .scope = VK_SCOPE_SUBGROUP_KHR};
  }
  *count = 2;
  return VK_SUCCESS;
}

// The third and later rows are of no use: sums in f16, of one subgroup, integers, more invocations than may be.
static VkResult list_flexible(VkPhysicalDevice physical, uint32_t *count,
                              VkCooperativeMatrixFlexibleDimensionsPropertiesNV *rows) {
  static const struct {
    VkComponentTypeKHR factor, sum;
    VkScopeKHR scope;
    uint32_t granularity, invocations;
  } made[] = {{VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR, VK_SCOPE_WORKGROUP_KHR, 32, 128},
              {VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR, VK_SCOPE_WORKGROUP_KHR, 64, 256},
              {VK_COMPONENT_TYPE_BFLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR, VK_SCOPE_WORKGROUP_KHR, 128, 256},
              {VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT16_KHR, VK_SCOPE_WORKGROUP_KHR, 32, 128},
              {VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR, VK_SCOPE_SUBGROUP_KHR, 16, 32},
              {VK_COMPONENT_TYPE_SINT8_KHR, VK_COMPONENT_TYPE_SINT32_KHR, VK_SCOPE_WORKGROUP_KHR, 32, 128},
              {VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR, VK_SCOPE_WORKGROUP_KHR, 128, 512}};
  const uint32_t most = sizeof(made) / sizeof(made[0]);
  (void)physical;
  for (uint32_t i = 0; rows != NULL && i < most; i++) {
    ck_assert_int_eq(rows[i].sType, VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV);
    rows[i] = (VkCooperativeMatrixFlexibleDimensionsPropertiesNV){.sType = rows[i].sType,
                                                                  .MGranularity = made[i].granularity,
                                                                  .NGranularity = made[i].granularity,
                                                                  .KGranularity = 16,
                                                                  .AType = made[i].factor,
                                                                  .BType = made[i].factor,
                                                                  .CType = made[i].sum,
                                                                  .ResultType = made[i].sum,
                                                                  .scope = made[i].scope,
                                                                  .workgroupInvocations = made[i].invocations};
  }
  *count = most;
  return VK_SUCCESS;
}

static void get_memory(VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties2 *properties) {
  (void)physical;
  properties->memoryProperties.memoryHeapCount = 1;
  properties->memoryProperties.memoryHeaps[0] =
      (VkMemoryHeap){.size = 8ull << 30, .flags = VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
}

static void get_queues(VkPhysicalDevice physical, uint32_t *count, VkQueueFamilyProperties *families) {
  (void)physical;
  if (families != NULL) families[0] = (VkQueueFamilyProperties){.queueFlags = VK_QUEUE_COMPUTE_BIT, .queueCount = 1};
  *count = 1;
}

static void get_format(VkPhysicalDevice physical, VkFormat format, VkFormatProperties *properties) {
  (void)physical, (void)format, (void)properties;
}

static const char *switched_off;
static const char *environment(const char *name) {
  return strcmp(name, "DURE_VULKAN_DISABLE") == 0 ? switched_off : NULL;
}

// An opened device that only the tables may touch.
static void make_device(vulkan_device *device) {
  const vulkan_api api = {.EnumerateDeviceExtensionProperties = list_extensions,
                          .GetPhysicalDeviceProperties = get_properties,
                          .GetPhysicalDeviceProperties2 = get_properties2,
                          .GetPhysicalDeviceFeatures2 = get_features2,
                          .GetPhysicalDeviceMemoryProperties2 = get_memory,
                          .GetPhysicalDeviceQueueFamilyProperties = get_queues,
                          .GetPhysicalDeviceFormatProperties = get_format,
                          .GetPhysicalDeviceCooperativeMatrixPropertiesKHR = list_matrices,
                          .GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV = list_flexible};
  memset(device, 0, sizeof(*device));
  dure_status status = vulkan_capabilities_query(&api, VK_NULL_HANDLE, &device->capabilities);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  vulkan_plan_make(&device->capabilities, dure_shaders, dure_shader_count, environment, &device->plan);
  ck_assert_msg(device->plan.usable, "%s", device->plan.reason);
}

static void reset(void) {
  lacks_tensor_addressing = false;
  largest_dimension = 1024;
  largest_workgroup = 256;
  switched_off = NULL;
  unsetenv("DURE_VULKAN_MATMUL");
}

// A build without the newer shader tools has no such kernel, and says so.
static bool build_has_kernels(void) {
  for (size_t i = 0; i < dure_shader_count; i++) {
    if (strcmp(dure_shaders[i].name, "matmul_cooperative2_f16_nn") == 0) return dure_shaders[i].words != NULL;
  }
  ck_abort_msg("no row is named matmul_cooperative2_f16_nn");
}

static dure_vulkan_matmul_problem problem_of(bool is_bfloat16) {
  return (dure_vulkan_matmul_problem){.M = 4096,
                                      .N = 4096,
                                      .K = 4096,
                                      .batch = 1,
                                      .a_in_lines = true,
                                      .b_in_lines = true,
                                      .is_16_bit = true,
                                      .is_bfloat16 = is_bfloat16};
}

static const dure_vulkan_matmul_gpu *row(int i) { return &dure_vulkan_matmul_gpus[i]; }

// ---- tests ----

START_TEST(shapes_and_limits_are_those_of_the_driver) {
  reset();
  vulkan_device device;
  make_device(&device);
  const vulkan_capabilities *c = &device.capabilities;
  ck_assert((c->available >> DURE_VULKAN_COOPERATIVE_MATRIX2 & 1) != 0);
  ck_assert_uint_eq(c->workgroup_matrix_count, 3);
  ck_assert_uint_eq(c->workgroup_matrices[1].M, 64);
  ck_assert_uint_eq(c->workgroup_matrices[1].K, 16);
  ck_assert_uint_eq(c->workgroup_matrices[1].invocations, 256);
  ck_assert(c->workgroup_matrices[2].is_bfloat16 && !c->workgroup_matrices[1].is_bfloat16);
  ck_assert_uint_eq(c->workgroup_matrix_most, 1024);
  ck_assert_uint_eq(c->workgroup_matrix_shared_bytes, 16384);
}
END_TEST

START_TEST(it_is_off_where_a_part_is_missing_or_switched_off) {
  reset();
  vulkan_device device;
  lacks_tensor_addressing = true;
  make_device(&device);
  ck_assert_int_eq(device.plan.states[DURE_VULKAN_COOPERATIVE_MATRIX2], DURE_FEATURE_MISSING);
  ck_assert_uint_eq(device.plan.caps.workgroup_matrix_count, 0);
  lacks_tensor_addressing = false;
  switched_off = "cooperative_matrix2";
  make_device(&device);
  ck_assert_int_eq(device.plan.states[DURE_VULKAN_COOPERATIVE_MATRIX2], DURE_FEATURE_DISABLED);
  ck_assert_uint_eq(device.plan.caps.workgroup_matrix_count, 0);
  const dure_vulkan_matmul_problem problem = problem_of(false);
  ck_assert(!dure_vulkan_matmul_gpu_fits(&device.head, row(DURE_MATMUL_GPU_COOPERATIVE2_128), &problem));
  if (build_has_kernels()) ck_assert_uint_eq(device.plan.caps.matrix_shape_count, 2);  // those of subgroups stay
  switched_off = "bfloat16_matrix";
  make_device(&device);
  if (build_has_kernels()) ck_assert_uint_eq(device.plan.caps.workgroup_matrix_count, 2);
}
END_TEST

START_TEST(rows_fit_by_granularity_dimension_type_and_shared_memory) {
  reset();
  vulkan_device device;
  make_device(&device);
  const dure_vulkan_matmul_problem half = problem_of(false), brain = problem_of(true);
  dure_vulkan_matmul_problem single = problem_of(false);
  single.is_16_bit = false;
  const bool has_kernels = build_has_kernels();
  const dure_vulkan_matmul_gpu *large = row(DURE_MATMUL_GPU_COOPERATIVE2_128X256),
                               *small = row(DURE_MATMUL_GPU_COOPERATIVE2_64);
  ck_assert(dure_vulkan_matmul_gpu_fits(&device.head, large, &half) == has_kernels);
  ck_assert(dure_vulkan_matmul_gpu_fits(&device.head, large, &brain) == has_kernels);
  ck_assert(dure_vulkan_matmul_gpu_fits(&device.head, small, &half) == has_kernels);
  ck_assert(!dure_vulkan_matmul_gpu_fits(&device.head, small, &brain));   // in steps of 128
  ck_assert(!dure_vulkan_matmul_gpu_fits(&device.head, small, &single));  // f32 stays f32
  device.plan.caps.workgroup_matrix_most = 128;
  ck_assert(!dure_vulkan_matmul_gpu_fits(&device.head, large, &half));
  ck_assert(dure_vulkan_matmul_gpu_fits(&device.head, small, &half) == has_kernels);
  device.plan.caps.shared_bytes = 16383;
  ck_assert(!dure_vulkan_matmul_gpu_fits(&device.head, small, &half));
}
END_TEST

// The constants 19 to 22 of the kernel are its workgroup and its tile; there are no others behind.
START_TEST(a_row_becomes_constants_with_the_drivers_workgroup) {
  reset();
  vulkan_device device;
  make_device(&device);
  const dure_vulkan_matmul_problem problem = problem_of(false);
  uint32_t constants[DURE_MATMUL_GPU_CONSTANTS] = {0};
  const uint32_t count = dure_vulkan_matmul_gpu_constants(&device.head, row(DURE_MATMUL_GPU_COOPERATIVE2_128X256),
                                                          &problem, 1024, constants);
  if (!build_has_kernels()) return;  // the feature is not enabled for nothing
  const uint32_t expected[] = {2, 1024, 1, 1, 256, 128, 256, 64};
  ck_assert_uint_eq(count, 23);
  for (uint32_t i = 0; i < 8; i++) ck_assert_msg(constants[15 + i] == expected[i], "%u: %u", 15 + i, constants[15 + i]);
  largest_workgroup = 128;
  make_device(&device);
  dure_vulkan_matmul_gpu_constants(&device.head, row(DURE_MATMUL_GPU_COOPERATIVE2_64), &problem, 4096, constants);
  ck_assert_uint_eq(constants[16], UINT32_MAX);  // one pipeline for all uncut sums
  ck_assert_uint_eq(constants[19], 128);
}
END_TEST

// The verdict of the kernels' own test is put in place: this device cannot multiply.
START_TEST(it_is_chosen_when_asked_for_and_trusted_never_by_itself) {
  reset();
  vulkan_device device;
  make_device(&device);
  memset(device.trust.tested, 0xff, sizeof(device.trust.tested));
  memset(device.trust.passed, 0xff, sizeof(device.trust.passed));
  const bool has_kernels = build_has_kernels();
  for (uint32_t bits = 0; bits < 8; bits++) {
    dure_vulkan_matmul_problem problem = problem_of((bits & 4) != 0);
    problem.transpose_a = (bits & 2) != 0;
    problem.transpose_b = (bits & 1) != 0;
    const char *usual = dure_vulkan_matmul_choose(&device.head, &problem)->name;
    ck_assert_msg(strncmp(usual, "matmul_cooperative2", 19) != 0, "%s without a measurement", usual);
    setenv("DURE_VULKAN_MATMUL", "matmul_cooperative2_128x256", 1);
    const dure_vulkan_matmul_variant *asked = dure_vulkan_matmul_choose(&device.head, &problem);
    ck_assert_str_eq(asked->name, has_kernels ? "matmul_cooperative2_128x256" : "matmul_plain");
    char name[64], expected[64];
    dure_vulkan_matmul_kernel_name(asked, &problem, name);
    snprintf(expected, sizeof(expected), "matmul_cooperative2_%s_%c%c", problem.is_bfloat16 ? "bf16" : "f16",
             problem.transpose_a ? 't' : 'n', problem.transpose_b ? 't' : 'n');
    if (has_kernels) ck_assert_str_eq(name, expected);
    unsetenv("DURE_VULKAN_MATMUL");
    snprintf(device.tuning.candidate, sizeof(device.tuning.candidate), "matmul_cooperative2_128");  // as dure tune does
    device.tuning.candidate_op = DURE_OP_matmul;
    const char *tuned = dure_vulkan_matmul_choose(&device.head, &problem)->name;
    if (has_kernels) ck_assert_str_eq(tuned, "matmul_cooperative2_128");
    device.tuning.candidate[0] = '\0';
  }
  memset(device.trust.passed, 0, sizeof(device.trust.passed));
  setenv("DURE_VULKAN_MATMUL", "matmul_cooperative2_128x256", 1);
  const dure_vulkan_matmul_problem problem = problem_of(false);
  ck_assert_str_eq(dure_vulkan_matmul_choose(&device.head, &problem)->name, "matmul_plain");
  unsetenv("DURE_VULKAN_MATMUL");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("vulkan_workgroup_matrices");
  TCase *tests = tcase_create("workgroup_matrices");
  tcase_add_test(tests, shapes_and_limits_are_those_of_the_driver);
  tcase_add_test(tests, it_is_off_where_a_part_is_missing_or_switched_off);
  tcase_add_test(tests, rows_fit_by_granularity_dimension_type_and_shared_memory);
  tcase_add_test(tests, a_row_becomes_constants_with_the_drivers_workgroup);
  tcase_add_test(tests, it_is_chosen_when_asked_for_and_trusted_never_by_itself);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
