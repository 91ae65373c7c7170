// Profiles: the plan under each of them, from made-up capabilities. A profile only tightens, each of the embedded
// kernels that the floor promises stays, and names that are no profile are refused.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/plan.h"
#include "runtime/vulkan/profiles.h"
#include "tests/suite.h"

// A device that has more of everything than any profile.
static vulkan_capabilities rich_device(void) {
  vulkan_capabilities c = {.name = "rich",
                           .api_version = VK_API_VERSION_1_3,
                           .type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
                           .driver_id = VK_DRIVER_ID_NVIDIA_PROPRIETARY,
                           .has_timeline_semaphores = true,
                           .subgroup_size = 32,
                           .subgroup_minimum = 8,
                           .subgroup_maximum = 128,
                           .max_invocations = 2048,
                           .max_group_size = {2048, 2048, 2048},
                           .max_group_count = {65535, 65535, 65535},
                           .shared_bytes = 1 << 20,
                           .push_bytes = 4096,
                           .max_storage_bindings = 1u << 30,
                           .max_binding_bytes = 1ull << 40,
                           .max_allocation_bytes = 1ull << 40,
                           .storage_alignment = 4,
                           .texel_alignment = 4,
                           .max_texel_elements = 1ull << 36,
                           .has_compute_queue = true,
                           .device_heap_bytes = 80ull << 30};
  c.available = (1ull << DURE_VULKAN_FEATURE_COUNT) - 1;
  return c;
}

// A device that has the least that is needed.
static vulkan_capabilities poor_device(void) {
  vulkan_capabilities c = rich_device();
  c.type = VK_PHYSICAL_DEVICE_TYPE_CPU;
  c.subgroup_size = c.subgroup_minimum = c.subgroup_maximum = 1;
  c.max_invocations = c.max_group_size[0] = c.max_group_size[1] = 128;
  c.max_group_size[2] = 64;
  c.shared_bytes = 16384;
  c.push_bytes = 128;
  c.max_storage_bindings = 4;
  c.max_binding_bytes = 1 << 20;
  c.max_allocation_bytes = 1 << 24;
  c.storage_alignment = c.texel_alignment = 1024;
  c.max_texel_elements = 1024;
  c.device_heap_bytes = 1 << 28;
  c.available = 0;
  return c;
}

static const char *chosen;
static const char *environment(const char *name) { return strcmp(name, "DURE_VULKAN_PROFILE") == 0 ? chosen : NULL; }

static vulkan_plan plan_under(const char *profile, vulkan_capabilities capabilities) {
  vulkan_plan plan;
  chosen = profile;
  vulkan_plan_make(&capabilities, dure_shaders, dure_shader_count, environment, &plan);
  return plan;
}

START_TEST(a_profile_gives_its_own_limits_to_a_richer_device) {
  const vulkan_profile *profile = NULL;
  for (size_t i = 0; (profile = vulkan_profile_get(i)) != NULL; i++) {
    vulkan_plan plan = plan_under(profile->name, rich_device());
    const dure_vulkan_caps *caps = &plan.caps;
    ck_assert_msg(plan.usable, "%s: %s", profile->name, plan.reason);
    ck_assert_ptr_eq(plan.profile, profile);
    ck_assert_uint_eq(caps->max_invocations, profile->max_invocations);
    ck_assert_uint_eq(caps->shared_bytes, profile->shared_bytes);
    ck_assert_uint_eq(caps->push_bytes, profile->push_bytes);
    ck_assert_uint_eq(caps->max_storage_bindings, profile->max_storage_bindings);
    ck_assert_uint_eq(caps->max_binding_bytes, profile->max_binding_bytes);
    ck_assert_uint_eq(plan.limits.max_binding_bytes, profile->max_binding_bytes);
    ck_assert_uint_eq(plan.limits.max_allocation_bytes, profile->max_allocation_bytes);
    ck_assert_uint_eq(caps->storage_alignment, profile->storage_alignment);
    ck_assert_uint_ge(plan.limits.offset_alignment, profile->storage_alignment);
    ck_assert_uint_eq(caps->max_texel_elements, profile->max_texel_elements);
    ck_assert_uint_le(plan.limits.max_loop_iterations, profile->max_loop_iterations);
    ck_assert_int_eq(caps->driver, profile->driver);
    ck_assert(!caps->has_software_workgroups);
  }
}
END_TEST

START_TEST(a_profile_only_tightens) {
  const vulkan_profile *profile = NULL;
  vulkan_plan own = plan_under(NULL, poor_device());
  for (size_t i = 0; (profile = vulkan_profile_get(i)) != NULL; i++) {
    vulkan_plan plan = plan_under(profile->name, poor_device());
    ck_assert_uint_eq(plan.caps.max_invocations, own.caps.max_invocations);
    ck_assert_uint_eq(plan.caps.shared_bytes, own.caps.shared_bytes);
    ck_assert_uint_eq(plan.caps.max_storage_bindings, own.caps.max_storage_bindings);
    ck_assert_uint_eq(plan.limits.max_binding_bytes, own.limits.max_binding_bytes);
    ck_assert_uint_eq(plan.limits.max_allocation_bytes, own.limits.max_allocation_bytes);
    ck_assert_uint_eq(plan.caps.storage_alignment, own.caps.storage_alignment);
    ck_assert_uint_le(plan.limits.max_loop_iterations, own.limits.max_loop_iterations);
    ck_assert(plan.limits.max_dispatch_flops <= own.limits.max_dispatch_flops);
    ck_assert_uint_eq(plan.caps.features, 0);
  }
}
END_TEST

START_TEST(the_minimum_has_no_optional_arithmetic) {
  vulkan_plan plan = plan_under("minimum", rich_device());
  const dure_vulkan_feature off[] = {DURE_VULKAN_SUBGROUP_ARITHMETIC,
                                     DURE_VULKAN_SUBGROUP_SHUFFLE,
                                     DURE_VULKAN_FP16,
                                     DURE_VULKAN_STORAGE16,
                                     DURE_VULKAN_INT64,
                                     DURE_VULKAN_COOPERATIVE_MATRIX,
                                     DURE_VULKAN_INT8,
                                     DURE_VULKAN_MEMORY_BUDGET};
  for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) ck_assert(!dure_vulkan_caps_has(&plan.caps, off[i]));
  ck_assert_uint_eq(plan.caps.max_invocations, 128);
  ck_assert_uint_eq(plan.caps.shared_bytes, 16384);
  ck_assert_uint_eq(plan.caps.max_texel_elements, 65536);
}
END_TEST

START_TEST(every_feature_that_a_profile_lists_exists) {
  const vulkan_profile *profile = NULL;
  for (size_t i = 0; (profile = vulkan_profile_get(i)) != NULL; i++) {
    vulkan_requirements requirements;
    vulkan_requirements_parse(profile->features, &requirements);
    ck_assert_msg(requirements.unknown[0] == '\0', "%s lists '%s'", profile->name, requirements.unknown);
    ck_assert_uint_le(profile->budget_bytes, profile->heap_bytes);
    ck_assert_ptr_eq(vulkan_profile_find(profile->name), profile);
  }
}
END_TEST

START_TEST(a_name_that_is_no_profile_makes_the_device_unusable) {
  vulkan_plan plan = plan_under("rtx9999", rich_device());
  ck_assert(!plan.usable);
  ck_assert_ptr_nonnull(strstr(plan.reason, "rtx9999"));
  ck_assert_ptr_nonnull(strstr(plan.reason, "minimum"));
  plan = plan_under("", rich_device());
  ck_assert(plan.usable && plan.profile == NULL);
}
END_TEST

// What runs under the minimum runs everywhere: each kernel that asks for no feature must run there.
START_TEST(kernels_that_ask_for_nothing_run_under_the_minimum) {
  vulkan_plan plan = plan_under("minimum", rich_device());
  for (size_t i = 0; i < dure_shader_count; i++) {
    if (dure_shaders[i].requirements[0] != '\0' && strcmp(dure_shaders[i].requirements, "-") != 0) continue;
    dure_status status = vulkan_requirements_check(&plan.caps, &dure_shaders[i]);
    ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("vulkan profiles");
  TCase *group = tcase_create("profiles");
  tcase_add_test(group, a_profile_gives_its_own_limits_to_a_richer_device);
  tcase_add_test(group, a_profile_only_tightens);
  tcase_add_test(group, the_minimum_has_no_optional_arithmetic);
  tcase_add_test(group, every_feature_that_a_profile_lists_exists);
  tcase_add_test(group, a_name_that_is_no_profile_makes_the_device_unusable);
  tcase_add_test(group, kernels_that_ask_for_nothing_run_under_the_minimum);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_FORK_GETENV);
}
