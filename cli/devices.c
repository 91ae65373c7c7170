// dure devices: every device of every backend, what would be used of it and why.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "model/training_choice.h"
#include "runtime/hal.h"

static const char *kind_name(dure_device_kind kind) {
  switch (kind) {
    case DURE_DEVICE_DISCRETE_GPU: return "discrete GPU";
    case DURE_DEVICE_INTEGRATED_GPU: return "integrated GPU";
    case DURE_DEVICE_VIRTUAL_GPU: return "virtual GPU";
    case DURE_DEVICE_CPU: return "software";
    case DURE_DEVICE_REFERENCE: return "reference";
  }
  return "unknown";
}

static const char *state_name(dure_feature_state state) {
  switch (state) {
    case DURE_FEATURE_MISSING: return "missing";
    case DURE_FEATURE_DISABLED: return "disabled";
    case DURE_FEATURE_UNUSED: return "unused";
    case DURE_FEATURE_ENABLED: return "enabled";
  }
  return "unknown";
}

// The device that `--device auto` opens: the first usable one, as the list is sorted.
static const char *automatic_choice(const dure_device_info *infos, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (infos[i].usable) return infos[i].identifier;
  }
  return NULL;
}

// ---- for people ----

// `bytes` as "1.5 GiB".
static void print_bytes(uint64_t bytes) {
  if (bytes >> 60 != 0) {
    printf("any size");
    return;
  }
  static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  double value = (double)bytes;
  size_t unit = 0;
  for (; value >= 1024 && unit < 4; unit++) value /= 1024;
  printf(unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

// Lines of `text`, the first after `title`, the others below it.
static void print_lines(const char *title, const char *text) {
  while (*text != '\0') {
    size_t length = strcspn(text, "\n");
    printf("  %-10s%.*s\n", title, (int)length, text);
    title = "";
    text += length;
    if (*text == '\n') text++;
  }
}

// "  on        fp16, texel_buffers, ...", broken into lines of about 100 columns.
static void print_features(const dure_device_info *info, dure_feature_state state, const char *title) {
  int column = 0;
  for (uint32_t i = 0; i < info->feature_count; i++) {
    const dure_device_feature *feature = &info->features[i];
    if (feature->state != state) continue;
    if (column == 0)
      column = printf("  %-10s%s", title, feature->name);
    else if (column > 90)
      column = printf(",\n%12s%s", "", feature->name) - 2;
    else
      column += printf(", %s", feature->name);
  }
  if (column > 0) printf("\n");
}

// What `dure plan` reckons with.
static void print_rates(const dure_device_info *info) {
  dure_device_rates rates = dure_device_info_rates(info);
  printf("  %-10smatmul %.3g GFLOP/s, 16-bit %.3g, attention %.3g, memory %.3g GB/s (%s)\n", "rates",
         rates.matmul_flops * 1e-9, rates.matmul16_flops * 1e-9, rates.attention_flops * 1e-9, rates.bandwidth * 1e-9,
         rates.source);
}

// What `dure train --dtype auto` means here.
static void print_training_dtype(const dure_device_info *info) {
  dure_dtype dtype;
  char why[128];
  if (!info->usable) return;
  dure_training_dtype_for(info, &dtype, why, sizeof(why));
  printf("  %-10s%s: %s\n", "trains in", dure_dtype_name(dtype), why);
}

static void print_device(const dure_device_info *info, bool is_automatic) {
  printf("%s  %s (%s)%s\n", info->identifier, info->name, kind_name(info->kind),
         is_automatic ? "  <- used unless --device says otherwise" : "");
  print_lines("driver", info->driver);
  if (!info->usable) {
    print_lines("unusable", info->reason);
    return;
  }
  printf("  %-10s", "memory");
  print_bytes(info->memory_bytes);
  printf(", of which ");
  print_bytes(info->memory_budget_bytes);
  printf(" may be used now\n  %-10s", "limits");
  print_bytes(info->limits.max_binding_bytes);
  printf(" a binding, ");
  print_bytes(info->limits.max_allocation_bytes);
  printf(" a buffer");
  if (info->limits.max_dispatch_flops < 1e18)
    printf(", dispatches of %.3g GFLOP", info->limits.max_dispatch_flops / 1e9);
  printf("\n");
  print_lines("choices", info->reason);
  print_training_dtype(info);
  print_rates(info);
  print_features(info, DURE_FEATURE_ENABLED, "on");
  print_features(info, DURE_FEATURE_UNUSED, "unused");
  print_features(info, DURE_FEATURE_DISABLED, "off");
  print_features(info, DURE_FEATURE_MISSING, "missing");
}

static void print_all(const dure_device_info *infos, size_t count, const char *notes) {
  const char *automatic = automatic_choice(infos, count);
  bool has_switches = false;
  for (size_t i = 0; i < count; i++) {
    if (i > 0) printf("\n");
    print_device(&infos[i], automatic != NULL && strcmp(automatic, infos[i].identifier) == 0);
    has_switches = has_switches || infos[i].feature_count > 0;
  }
  if (has_switches) {
    printf(
        "\non: used; unused: the device could, but no kernel of this build needs it; off: turned off by a switch.\n"
        "DURE_VULKAN_DISABLE=name,name (or DURE_VULKAN_<NAME>=0) turns features off; docs/vulkan.md has the others.\n");
  }
  if (notes != NULL) printf("\nnote: %s\n", notes);
}

// ---- for machines ----

// JSON's integers are signed; what has no limit shows as the largest.
static json_int_t integer(uint64_t value) { return value > INT64_MAX ? INT64_MAX : (json_int_t)value; }

static json_t *limits_json(const dure_limits *limits) {
  return json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:I}", "max_binding_bytes", integer(limits->max_binding_bytes),
                   "max_allocation_bytes", integer(limits->max_allocation_bytes), "offset_alignment",
                   integer(limits->offset_alignment), "max_dispatch_flops", limits->max_dispatch_flops,
                   "max_recording_flops", limits->max_recording_flops, "max_recording_bytes",
                   limits->max_recording_bytes, "max_loop_iterations", integer(limits->max_loop_iterations));
}

static json_t *features_json(const dure_device_info *info) {
  json_t *features = json_array();
  for (uint32_t i = 0; i < info->feature_count; i++) {
    const dure_device_feature *feature = &info->features[i];
    json_array_append_new(features,
                          json_pack("{s:s, s:s, s:s, s:s}", "name", feature->name, "state", state_name(feature->state),
                                    "switch", feature->environment, "description", feature->text));
  }
  return features;
}

static json_t *device_json(const dure_device_info *info) {
  dure_dtype dtype;
  char why[128];
  dure_training_dtype_for(info, &dtype, why, sizeof(why));
  return json_pack("{s:s, s:s, s:s, s:s, s:s*, s:s, s:s, s:s, s:b, s:s, s:I, s:I, s:o, s:o}", "training_dtype",
                   dure_dtype_name(dtype), "training_dtype_reason", why, "identifier", info->identifier, "backend",
                   info->backend, "profile", info->profile[0] != '\0' ? info->profile : NULL, "name", info->name,
                   "driver", info->driver, "kind", kind_name(info->kind), "usable", (int)info->usable, "reason",
                   info->reason, "memory_bytes", integer(info->memory_bytes), "memory_budget_bytes",
                   integer(info->memory_budget_bytes), "limits", limits_json(&info->limits), "features",
                   features_json(info));
}

static dure_status print_json(const dure_device_info *infos, size_t count, const char *notes) {
  json_t *devices = json_array();
  for (size_t i = 0; i < count; i++) {
    if (json_array_append_new(devices, device_json(&infos[i])) == 0) continue;
    json_decref(devices);
    return dure_fail(DURE_INTERNAL, "device %s cannot be written as JSON (is its name not UTF-8?)",
                     infos[i].identifier);
  }
  json_t *root =
      json_pack("{s:s?, s:s?, s:o}", "auto", automatic_choice(infos, count), "notes", notes, "devices", devices);
  if (root == NULL) return dure_fail(DURE_INTERNAL, "the list of devices cannot be written as JSON");
  json_dumpf(root, stdout, JSON_INDENT(2));
  printf("\n");
  json_decref(root);
  return NULL;
}

// ---- families ----

static dure_status print_families(bool as_json) {
  dure_family_description family;
  json_t *list = as_json ? json_array() : NULL;
  if (!as_json) printf("| `model_type` | architecture | what it is |\n| --- | --- | --- |\n");
  for (size_t i = 0; dure_model_family(i, &family); i++) {
    if (!as_json) {
      printf("| `%s` | `%s` | %s |\n", family.model_type, family.architecture, family.about);
    } else if (list != NULL) {
      json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "model_type", family.model_type, "architecture",
                                            family.architecture, "about", family.about));
    }
  }
  if (!as_json) return NULL;
  json_t *object = json_pack("{s:o}", "families", list);
  char *text = object == NULL ? NULL : json_dumps(object, JSON_INDENT(2));
  json_decref(object);
  if (text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory listing the families");
  puts(text);
  free(text);
  return NULL;
}

int command_devices(int argc, char **argv) {
  bool as_json = false, lists_families = false;
  const option_row options[] = {
      {"json", OPTION_FLAG, &as_json, NULL, "one JSON object on standard output"},
      {"families", OPTION_FLAG, &lists_families, NULL, "the decoder families that are supported, instead of devices"}};
  const command_usage usage = {
      .synopsis = "dure devices [--families] [--json]",
      .description =
          "Lists every device with its driver, memory, optional features and their switches, and says what would\n"
          "be used of it and why. When a loader or driver is missing, says what to install.",
      .options = options,
      .option_count = sizeof(options) / sizeof(options[0]),
      .example = "dure devices",
  };
  int exit_status = command_parse(&usage, argc, argv, NULL, NULL);
  if (exit_status >= 0) return exit_status;

  if (lists_families) return command_finish("devices", print_families(as_json));
  dure_device_info *infos = NULL;
  size_t count = 0;
  char *notes = NULL;
  dure_status status = dure_devices_list(&infos, &count, &notes);
  if (status == NULL && as_json)
    status = print_json(infos, count, notes);
  else if (status == NULL)
    print_all(infos, count, notes);
  free(infos);
  free(notes);
  return command_finish("devices", status);
}
