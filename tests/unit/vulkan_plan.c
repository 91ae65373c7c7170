// The Vulkan device plan, from made-up capabilities and environments: no device is needed.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/plan.h"
#include "tests/suite.h"

// ---- made-up devices, kernels and environments ----

static vulkan_capabilities graphics_card(void) {
  vulkan_capabilities c = {.name = "card",
                           .api_version = VK_API_VERSION_1_3,
                           .type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
                           .driver_id = VK_DRIVER_ID_NVIDIA_PROPRIETARY,
                           .has_timeline_semaphores = true,
                           .subgroup_size = 32,
                           .subgroup_minimum = 16,
                           .subgroup_maximum = 64,
                           .max_invocations = 1024,
                           .max_group_size = {1024, 1024, 64},
                           .max_group_count = {65535, 65535, 65535},
                           .shared_bytes = 49152,
                           .push_bytes = 256,
                           .max_storage_bindings = 4,
                           .max_binding_bytes = 1ull << 32,
                           .max_allocation_bytes = 1ull << 32,
                           .storage_alignment = 16,
                           .texel_alignment = 16,
                           .max_texel_elements = 1 << 27,
                           .has_compute_queue = true,
                           .device_heap_bytes = 8ull << 30};
  c.available = (1ull << DURE_VULKAN_FEATURE_COUNT) - 1;
  return c;
}

static vulkan_capabilities software(VkDriverId driver) {
  vulkan_capabilities c = graphics_card();
  c.type = VK_PHYSICAL_DEVICE_TYPE_CPU;
  c.driver_id = driver;
  c.storage_alignment = c.texel_alignment = 256;
  c.max_binding_bytes = 128 << 20;
  c.available &= ~(1ull << DURE_VULKAN_FP16);
  return c;
}

static const uint32_t words[] = {0x07230203};
static const uint32_t words_bytes = 4;
static const dure_shader kernels[] = {
    {"plain", words, &words_bytes, "rw", 4, ""},
    {"half", words, &words_bytes, "rw", 4, "fp16,storage16"},
    {"wide", words, &words_bytes, "rw", 4, "invocations:512,shared:40000"},
    {"waves", words, &words_bytes, "rw", 4, "subgroup:64"},
    {"left_out", NULL, NULL, "rw", 4, "int64"},
    {"odd", words, &words_bytes, "rw", 4, "warp_drive"},
    {"many", words, &words_bytes, "ttrrrww", 4, "texel_buffers"},
};
enum { kernel_count = sizeof(kernels) / sizeof(kernels[0]) };

static const char *variables[8][2];
static const char *environment(const char *name) {
  for (int i = 0; i < 8; i++) {
    if (variables[i][0] != NULL && strcmp(variables[i][0], name) == 0) return variables[i][1];
  }
  return NULL;
}
static void clear_environment(void) { memset(variables, 0, sizeof(variables)); }

static vulkan_plan plan_of(vulkan_capabilities capabilities) {
  vulkan_plan plan;
  vulkan_plan_make(&capabilities, kernels, kernel_count, environment, &plan);
  return plan;
}

static dure_code code_of_kernel(const vulkan_plan *plan, int kernel) {
  dure_status status = vulkan_requirements_check(&plan->caps, &kernels[kernel]);
  dure_code code = dure_status_code(status);
  dure_status_free(status);
  return code;
}

// ---- tests ----

START_TEST(features_are_enabled_only_when_something_uses_them) {
  clear_environment();
  vulkan_plan plan = plan_of(graphics_card());
  ck_assert(plan.usable);
  ck_assert_int_eq(plan.states[DURE_VULKAN_FP16], DURE_FEATURE_ENABLED);        // kernel "half"
  ck_assert_int_eq(plan.states[DURE_VULKAN_INT64], DURE_FEATURE_UNUSED);        // only a kernel that was left out
  ck_assert_int_eq(plan.states[DURE_VULKAN_TIMESTAMPS], DURE_FEATURE_ENABLED);  // the runtime itself
  ck_assert_int_eq(plan.states[DURE_VULKAN_COOPERATIVE_MATRIX], DURE_FEATURE_UNUSED);
  plan = plan_of(software(VK_DRIVER_ID_MESA_LLVMPIPE));
  ck_assert_int_eq(plan.states[DURE_VULKAN_FP16], DURE_FEATURE_MISSING);
  ck_assert(!dure_vulkan_caps_has(&plan.caps, DURE_VULKAN_FP16));
  ck_assert(dure_vulkan_caps_has(&plan.caps, DURE_VULKAN_STORAGE16));
}
END_TEST

START_TEST(every_feature_can_be_turned_off_in_both_ways) {
  for (int i = 0; i < DURE_VULKAN_FEATURE_COUNT; i++) {
    clear_environment();
    variables[0][0] = "DURE_VULKAN_DISABLE";
    variables[0][1] = vulkan_feature_name((dure_vulkan_feature)i);
    vulkan_plan listed = plan_of(graphics_card());
    clear_environment();
    variables[0][0] = vulkan_feature_switch((dure_vulkan_feature)i);
    variables[0][1] = "0";
    vulkan_plan switched = plan_of(graphics_card());
    for (int j = 0; j < DURE_VULKAN_FEATURE_COUNT; j++) {
      ck_assert_int_eq(listed.states[j] == DURE_FEATURE_DISABLED, i == j);
      ck_assert_int_eq(switched.states[j] == DURE_FEATURE_DISABLED, i == j);
    }
    ck_assert(!dure_vulkan_caps_has(&listed.caps, (dure_vulkan_feature)i));
    ck_assert_str_eq(listed.ignored, "");
  }
}
END_TEST

START_TEST(a_list_turns_off_several_and_names_what_it_does_not_know) {
  clear_environment();
  variables[0][0] = "DURE_VULKAN_DISABLE";
  variables[0][1] = "fp16, texel_buffers,,telepathy,int8";
  vulkan_plan plan = plan_of(graphics_card());
  ck_assert_int_eq(plan.states[DURE_VULKAN_FP16], DURE_FEATURE_DISABLED);
  ck_assert_int_eq(plan.states[DURE_VULKAN_TEXEL_BUFFERS], DURE_FEATURE_DISABLED);
  ck_assert_int_eq(plan.states[DURE_VULKAN_INT8], DURE_FEATURE_DISABLED);
  ck_assert_int_ne(plan.states[DURE_VULKAN_INT16], DURE_FEATURE_DISABLED);
  ck_assert_str_eq(plan.ignored, "telepathy");
  ck_assert_uint_eq(plan.caps.max_texel_elements, 0);
}
END_TEST

START_TEST(kernels_are_refused_by_what_is_missing) {
  clear_environment();
  vulkan_plan plan = plan_of(graphics_card());
  ck_assert_int_eq(code_of_kernel(&plan, 0), DURE_OK);
  ck_assert_int_eq(code_of_kernel(&plan, 1), DURE_OK);
  ck_assert_int_eq(code_of_kernel(&plan, 2), DURE_OK);
  ck_assert_int_eq(code_of_kernel(&plan, 3), DURE_OK);
  ck_assert_int_eq(code_of_kernel(&plan, 4), DURE_UNSUPPORTED);
  ck_assert_int_eq(code_of_kernel(&plan, 5), DURE_INTERNAL);
  ck_assert_int_eq(code_of_kernel(&plan, 6), DURE_UNSUPPORTED);
  variables[0][0] = "DURE_VULKAN_LIMIT_SHARED";
  variables[0][1] = "32768";
  variables[1][0] = "DURE_VULKAN_SUBGROUP_SIZE_CONTROL";
  variables[1][1] = "0";
  plan = plan_of(software(VK_DRIVER_ID_MESA_LLVMPIPE));
  ck_assert_int_eq(code_of_kernel(&plan, 0), DURE_OK);
  ck_assert_int_eq(code_of_kernel(&plan, 1), DURE_UNSUPPORTED);
  ck_assert_int_eq(code_of_kernel(&plan, 2), DURE_UNSUPPORTED);
  ck_assert_int_eq(code_of_kernel(&plan, 3), DURE_UNSUPPORTED);
  dure_status status = vulkan_requirements_check(&plan.caps, &kernels[1]);
  ck_assert_ptr_nonnull(strstr(dure_status_message(status), "fp16"));
  dure_status_free(status);
}
END_TEST

START_TEST(limits_can_only_be_lowered) {
  clear_environment();
  const char *settings[][2] = {{"DURE_VULKAN_LIMIT_BINDING", "1048576"},
                               {"DURE_VULKAN_LIMIT_ALLOCATION", "99999999999999"},
                               {"DURE_VULKAN_LIMIT_SHARED", "16384"},
                               {"DURE_VULKAN_LIMIT_INVOCATIONS", "128"},
                               {"DURE_VULKAN_LIMIT_TEXELS", "not a number"}};
  memcpy(variables, settings, sizeof(settings));
  vulkan_plan plan = plan_of(graphics_card());
  ck_assert_uint_eq(plan.limits.max_binding_bytes, 1 << 20);
  ck_assert_uint_eq(plan.caps.max_binding_bytes, 1 << 20);
  ck_assert_uint_eq(plan.limits.max_allocation_bytes, 1ull << 32);
  ck_assert_uint_eq(plan.caps.shared_bytes, 16384);
  ck_assert_uint_eq(plan.caps.max_invocations, 128);
  ck_assert_uint_eq(plan.caps.max_group_size[0], 128);
  ck_assert_uint_eq(plan.caps.max_group_size[2], 64);
  ck_assert_uint_eq(plan.caps.max_texel_elements, 1 << 27);
}
END_TEST

START_TEST(limits_fit_the_kind_of_device) {
  clear_environment();
  vulkan_plan card = plan_of(graphics_card()), slow = plan_of(software(VK_DRIVER_ID_GOOGLE_SWIFTSHADER));
  ck_assert_double_gt(card.limits.max_dispatch_flops, slow.limits.max_dispatch_flops);
  ck_assert_uint_lt(slow.limits.max_loop_iterations, 65536 / 2 + 1);  // llvmpipe gives up there
  ck_assert_uint_eq(card.limits.offset_alignment, 16);
  ck_assert_uint_eq(slow.limits.offset_alignment, 256);
  ck_assert_int_eq(slow.caps.driver, DURE_VULKAN_DRIVER_SWIFTSHADER);
  ck_assert_int_eq(card.caps.driver, DURE_VULKAN_DRIVER_NVIDIA);
}
END_TEST

START_TEST(devices_below_the_floor_are_unusable_with_a_reason) {
  clear_environment();
  vulkan_capabilities old = graphics_card(), mute = graphics_card(), tiny = graphics_card(), timeless = graphics_card();
  old.api_version = VK_API_VERSION_1_1;
  mute.has_compute_queue = false;
  tiny.shared_bytes = 8192;
  timeless.has_timeline_semaphores = false;
  const vulkan_capabilities *all[] = {&old, &mute, &tiny, &timeless};
  const char *words_of_reason[] = {"1.1", "queue", "8192", "timeline"};
  for (int i = 0; i < 4; i++) {
    vulkan_plan plan = plan_of(*all[i]);
    ck_assert(!plan.usable);
    ck_assert_ptr_nonnull(strstr(plan.reason, words_of_reason[i]));
  }
}
END_TEST

START_TEST(the_best_device_comes_first) {
  clear_environment();
  vulkan_capabilities order[7];
  for (int i = 0; i < 7; i++) order[i] = graphics_card();
  order[0].device_heap_bytes = 24ull << 30;
  order[2].type = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
  order[2].device_heap_bytes = 64ull << 30;
  order[3].type = VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU;
  order[4] = software(VK_DRIVER_ID_MESA_LLVMPIPE);
  order[4].device_heap_bytes = 2ull << 30;
  order[5] = software(VK_DRIVER_ID_GOOGLE_SWIFTSHADER);
  order[6].api_version = VK_API_VERSION_1_0;
  for (int i = 0; i + 1 < 7; i++) {
    vulkan_plan better = plan_of(order[i]), worse = plan_of(order[i + 1]);
    ck_assert_uint_gt(vulkan_plan_rank(&order[i], &better), vulkan_plan_rank(&order[i + 1], &worse));
  }
}
END_TEST

START_TEST(every_row_of_the_shader_tables_requires_known_things) {
  for (size_t i = 0; i < dure_shader_count; i++) {
    vulkan_requirements requirements;
    vulkan_requirements_parse(dure_shaders[i].requirements, &requirements);
    if (requirements.unknown[0] != '\0') ck_abort_msg("%s requires '%s'", dure_shaders[i].name, requirements.unknown);
    bool has_texels = strchr(dure_shaders[i].kinds, 't') != NULL;
    if (has_texels) ck_assert_msg(requirements.features >> DURE_VULKAN_TEXEL_BUFFERS & 1, "%s", dure_shaders[i].name);
    ck_assert_uint_eq(dure_shaders[i].push_bytes % 4, 0);
  }
  ck_assert_uint_gt(dure_shader_count, 0);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("vulkan plan");
  TCase *group = tcase_create("plan");
  tcase_add_test(group, features_are_enabled_only_when_something_uses_them);
  tcase_add_test(group, every_feature_can_be_turned_off_in_both_ways);
  tcase_add_test(group, a_list_turns_off_several_and_names_what_it_does_not_know);
  tcase_add_test(group, kernels_are_refused_by_what_is_missing);
  tcase_add_test(group, limits_can_only_be_lowered);
  tcase_add_test(group, limits_fit_the_kind_of_device);
  tcase_add_test(group, devices_below_the_floor_are_unusable_with_a_reason);
  tcase_add_test(group, the_best_device_comes_first);
  tcase_add_test(group, every_row_of_the_shader_tables_requires_known_things);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_FORK_GETENV);
}
