// `dure devices`: valid JSON with every fact, and a note instead of a failure where no driver is.
#include <check.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/suite.h"

// Runs the built program with these variables and arguments; its standard output, to be freed.
static char *run(const char *variables, const char *arguments) {
  const char *program = getenv("DURE_PROGRAM");
  ck_assert_msg(program != NULL, "DURE_PROGRAM names the program to test");
  char command[4096];
  snprintf(command, sizeof(command), "%s '%s' %s", variables, program, arguments);
  FILE *pipe = popen(command, "r");
  ck_assert_ptr_nonnull(pipe);
  size_t size = 0, capacity = 1 << 20;
  char *text = calloc(capacity, 1);
  ck_assert_ptr_nonnull(text);
  for (size_t got = 1; got > 0 && size + 1 < capacity; size += got)
    got = fread(text + size, 1, capacity - 1 - size, pipe);
  int status = pclose(pipe);
  ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "'%s' ended with %d", command, status);
  return text;
}

static json_t *run_json(const char *variables) {
  char *text = run(variables, "devices --json");
  json_error_t error;
  json_t *root = json_loads(text, 0, &error);
  ck_assert_msg(root != NULL, "%s in: %s", error.text, text);
  free(text);
  return root;
}

START_TEST(json_has_every_device_with_its_facts) {
  json_t *root = run_json("");
  json_t *devices = json_object_get(root, "devices"), *device = NULL;
  ck_assert_uint_gt(json_array_size(devices), 0);  // the reference is always there
  size_t i = 0;
  bool has_reference = false;
  json_array_foreach(devices, i, device) {
    const char *const texts[] = {"identifier", "backend", "name", "driver", "kind", "reason"};
    for (size_t t = 0; t < 6; t++) ck_assert_msg(json_is_string(json_object_get(device, texts[t])), "%s", texts[t]);
    ck_assert(json_is_boolean(json_object_get(device, "usable")));
    ck_assert_int_gt(json_integer_value(json_object_get(device, "memory_bytes")), 0);
    ck_assert_int_gt(json_integer_value(json_object_get(json_object_get(device, "limits"), "max_binding_bytes")), 0);
    ck_assert(json_is_array(json_object_get(device, "features")));
    has_reference = has_reference || strcmp(json_string_value(json_object_get(device, "identifier")), "reference") == 0;
  }
  ck_assert(has_reference);
  ck_assert(json_is_string(json_object_get(root, "auto")));
  json_decref(root);
}
END_TEST

START_TEST(without_a_driver_it_says_what_to_install) {
  json_t *root = run_json("VK_DRIVER_FILES=/nonexistent.json VK_ICD_FILENAMES=/nonexistent.json DURE_CUDA_OFF=1");
  const char *notes = json_string_value(json_object_get(root, "notes"));
  ck_assert_msg(notes != NULL && strstr(notes, "apt install") != NULL, "%s", notes != NULL ? notes : "no note");
  ck_assert_str_eq(json_string_value(json_object_get(root, "auto")), "reference");
  json_decref(root);
}
END_TEST

START_TEST(switches_show_as_disabled) {
  json_t *root = run_json("DURE_VULKAN_DISABLE=timestamps DURE_VULKAN_PIPELINE_CACHE=0");
  json_t *device = NULL, *feature = NULL;
  size_t i = 0, j = 0;
  json_array_foreach(json_object_get(root, "devices"), i, device) {
    json_array_foreach(json_object_get(device, "features"), j, feature) {
      const char *name = json_string_value(json_object_get(feature, "name"));
      const char *state = json_string_value(json_object_get(feature, "state"));
      bool is_off = strcmp(name, "timestamps") == 0 || strcmp(name, "pipeline_cache") == 0;
      if (strcmp(state, "missing") != 0) ck_assert_int_eq(strcmp(state, "disabled") == 0, is_off);
    }
  }
  json_decref(root);
}
END_TEST

START_TEST(a_profile_is_said_and_its_memory_is_the_most_there_is) {
  json_t *root = run_json("DURE_VULKAN_PROFILE=minimum"), *device = NULL;
  size_t i = 0;
  json_array_foreach(json_object_get(root, "devices"), i, device) {
    if (strcmp(json_string_value(json_object_get(device, "backend")), "vulkan") != 0) continue;
    ck_assert_str_eq(json_string_value(json_object_get(device, "profile")), "minimum");
    ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(device, "reason")), "minimum"));
    ck_assert_int_le(json_integer_value(json_object_get(device, "memory_budget_bytes")), 1 << 30);
  }
  json_decref(root);
}
END_TEST

START_TEST(the_table_for_people_names_the_devices) {
  char *text = run("", "devices");
  ck_assert_ptr_nonnull(strstr(text, "reference"));
  ck_assert_ptr_nonnull(strstr(text, "driver"));
  ck_assert_ptr_nonnull(strstr(text, "used unless --device says otherwise"));
  free(text);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("dure devices");
  TCase *group = tcase_create("command");
  tcase_set_timeout(group, 120);
  tcase_add_test(group, json_has_every_device_with_its_facts);
  tcase_add_test(group, without_a_driver_it_says_what_to_install);
  tcase_add_test(group, switches_show_as_disabled);
  tcase_add_test(group, a_profile_is_said_and_its_memory_is_the_most_there_is);
  tcase_add_test(group, the_table_for_people_names_the_devices);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_FORK_GETENV);
}
