#include "runtime/vulkan/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/profiles.h"

typedef enum feature_use { RUNTIME, KERNEL, REPORTED } feature_use;

static const struct {
  const char *name;
  const char *environment;
  feature_use use;
  const char *text;
} features[DURE_VULKAN_FEATURE_COUNT] = {
#define DURE_VULKAN_FEATURE(identifier, name, use, text) {name, "DURE_VULKAN_" #identifier, use, text},
#include "runtime/vulkan/features.def"
#undef DURE_VULKAN_FEATURE
};

const char *vulkan_feature_name(dure_vulkan_feature feature) { return features[feature].name; }
const char *vulkan_feature_text(dure_vulkan_feature feature) { return features[feature].text; }
const char *vulkan_feature_switch(dure_vulkan_feature feature) { return features[feature].environment; }

static int find_feature(const char *name, size_t length) {
  for (int i = 0; i < DURE_VULKAN_FEATURE_COUNT; i++) {
    if (strlen(features[i].name) == length && memcmp(features[i].name, name, length) == 0) return i;
  }
  return -1;
}

// ---- what a kernel requires ----

static bool parse_numeric_token(const char *token, size_t length, vulkan_requirements *out) {
  static const char matrix[] = "subgroup:matrix";
  if (length == strlen(matrix) && memcmp(token, matrix, length) == 0) return out->matrix_subgroups = true;
  const struct {
    const char *prefix;
    uint32_t *value;
  } rows[] = {{"invocations:", &out->invocations}, {"shared:", &out->shared_bytes}, {"subgroup:", &out->subgroup_size}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    size_t prefix = strlen(rows[i].prefix);
    if (length <= prefix || memcmp(token, rows[i].prefix, prefix) != 0) continue;
    *rows[i].value = (uint32_t)strtoul(token + prefix, NULL, 10);
    return true;
  }
  return false;
}

void vulkan_requirements_parse(const char *text, vulkan_requirements *out_requirements) {
  memset(out_requirements, 0, sizeof(*out_requirements));
  while (*text != '\0') {
    size_t length = strcspn(text, ",");
    int feature = find_feature(text, length);
    if (feature >= 0) {
      out_requirements->features |= 1ull << feature;
    } else if (!parse_numeric_token(text, length, out_requirements) && length > 0) {
      snprintf(out_requirements->unknown, sizeof(out_requirements->unknown), "%.*s", (int)length, text);
    }
    text += length;
    if (*text == ',') text++;
  }
}

dure_status vulkan_requirements_check(const dure_vulkan_caps *caps, const dure_shader *shader) {
  if (shader->words == NULL) {
    return dure_fail(DURE_UNSUPPORTED,
                     "kernel %s was left out of this build: its shader compiler cannot do %s; rebuild with a newer "
                     "glslang",
                     shader->name, shader->requirements);
  }
  vulkan_requirements requirements;
  vulkan_requirements_parse(shader->requirements, &requirements);
  if (requirements.unknown[0] != '\0') {
    return dure_fail(DURE_INTERNAL, "kernel %s requires '%s', which is no known feature", shader->name,
                     requirements.unknown);
  }
  for (int i = 0; i < DURE_VULKAN_FEATURE_COUNT; i++) {
    if ((requirements.features & ~caps->features) >> i & 1) {
      return dure_fail(DURE_UNSUPPORTED, "kernel %s needs %s (%s), which this device lacks or %s=0 turns off",
                       shader->name, features[i].name, features[i].text, features[i].environment);
    }
  }
  if (requirements.invocations > caps->max_invocations) {
    return dure_fail(DURE_UNSUPPORTED, "kernel %s needs workgroups of %u invocations, the device has %u", shader->name,
                     requirements.invocations, caps->max_invocations);
  }
  if (requirements.shared_bytes > caps->shared_bytes) {
    return dure_fail(DURE_UNSUPPORTED, "kernel %s needs %u bytes of shared memory, the device has %u", shader->name,
                     requirements.shared_bytes, caps->shared_bytes);
  }
  if (shader->push_bytes > caps->push_bytes) {
    return dure_fail(DURE_UNSUPPORTED, "kernel %s needs %u bytes of push constants, the device has %u", shader->name,
                     shader->push_bytes, caps->push_bytes);
  }
  uint32_t bindings = 0;
  for (const char *kind = shader->kinds; *kind != '\0'; kind++) bindings += *kind != 't';
  if (bindings > caps->max_storage_bindings) {
    return dure_fail(DURE_UNSUPPORTED, "kernel %s needs %u storage buffers at once, the device allows %u", shader->name,
                     bindings, caps->max_storage_bindings);
  }
  uint32_t size = requirements.subgroup_size;
  if (size != 0 && (size < caps->subgroup_minimum || size > caps->subgroup_maximum)) {
    return dure_fail(DURE_UNSUPPORTED, "kernel %s needs subgroups of %u, the device offers %u to %u", shader->name,
                     size, caps->subgroup_minimum, caps->subgroup_maximum);
  }
  return NULL;
}

// ---- features ----

static uint64_t required_by_kernels(const dure_shader *shaders, size_t count) {
  uint64_t required = 0;
  for (size_t i = 0; i < count; i++) {
    vulkan_requirements requirements;
    vulkan_requirements_parse(shaders[i].requirements, &requirements);
    if (shaders[i].words != NULL) required |= requirements.features;
  }
  return required;
}

// Names listed in DURE_VULKAN_DISABLE; the last one that is no feature is kept for a warning.
static uint64_t disabled_by_environment(vulkan_environment environment, char *ignored, size_t ignored_size) {
  uint64_t disabled = 0;
  const char *list = environment("DURE_VULKAN_DISABLE");
  for (const char *text = list != NULL ? list : ""; *text != '\0';) {
    size_t length = strcspn(text, ", ");
    int feature = find_feature(text, length);
    if (feature >= 0) disabled |= 1ull << feature;
    if (feature < 0 && length > 0) snprintf(ignored, ignored_size, "%.*s", (int)length, text);
    text += length;
    text += strspn(text, ", ");
  }
  for (int i = 0; i < DURE_VULKAN_FEATURE_COUNT; i++) {
    const char *value = environment(features[i].environment);
    if (value != NULL && strcmp(value, "0") == 0) disabled |= 1ull << i;
  }
  return disabled;
}

static dure_feature_state feature_state(int feature, bool available, bool disabled, bool required) {
  if (!available) return DURE_FEATURE_MISSING;
  if (disabled) return DURE_FEATURE_DISABLED;
  if (features[feature].use == RUNTIME || (features[feature].use == KERNEL && required)) return DURE_FEATURE_ENABLED;
  return DURE_FEATURE_UNUSED;
}

static void plan_features(const vulkan_capabilities *capabilities, uint64_t required, vulkan_environment environment,
                          vulkan_plan *plan) {
  uint64_t disabled = disabled_by_environment(environment, plan->ignored, sizeof(plan->ignored));
  for (int i = 0; i < DURE_VULKAN_FEATURE_COUNT; i++) {
    plan->states[i] = feature_state(i, capabilities->available >> i & 1, disabled >> i & 1, required >> i & 1);
    if (plan->states[i] == DURE_FEATURE_ENABLED) plan->caps.features |= 1ull << i;
  }
}

// ---- limits ----

// The smaller of `value` and the environment's, when that is a positive number.
static uint64_t limited(uint64_t value, vulkan_environment environment, const char *name) {
  const char *text = environment(name);
  if (text == NULL) return value;
  uint64_t limit = strtoull(text, NULL, 10);
  return limit > 0 && limit < value ? limit : value;
}

static dure_device_kind device_kind(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return DURE_DEVICE_DISCRETE_GPU;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return DURE_DEVICE_INTEGRATED_GPU;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return DURE_DEVICE_CPU;
    default: return DURE_DEVICE_VIRTUAL_GPU;
  }
}

static dure_vulkan_driver known_driver(uint32_t driver_id) {
  switch ((VkDriverId)driver_id) {
    case VK_DRIVER_ID_MESA_LLVMPIPE: return DURE_VULKAN_DRIVER_LLVMPIPE;
    case VK_DRIVER_ID_GOOGLE_SWIFTSHADER: return DURE_VULKAN_DRIVER_SWIFTSHADER;
    case VK_DRIVER_ID_NVIDIA_PROPRIETARY: return DURE_VULKAN_DRIVER_NVIDIA;
    case VK_DRIVER_ID_AMD_PROPRIETARY:
    case VK_DRIVER_ID_AMD_OPEN_SOURCE:
    case VK_DRIVER_ID_MESA_RADV: return DURE_VULKAN_DRIVER_AMD;
    case VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS:
    case VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA: return DURE_VULKAN_DRIVER_INTEL;
    default: return DURE_VULKAN_DRIVER_OTHER;
  }
}

static void plan_workgroup_matrices(const vulkan_capabilities *c, dure_vulkan_caps *caps) {
  if (!dure_vulkan_caps_has(caps, DURE_VULKAN_COOPERATIVE_MATRIX2)) return;
  caps->workgroup_matrix_most = c->workgroup_matrix_most;
  caps->workgroup_matrix_shared_bytes = c->workgroup_matrix_shared_bytes;
  for (uint32_t i = 0; i < c->workgroup_matrix_count; i++) {
    const bool is_bfloat16 = c->workgroup_matrices[i].is_bfloat16;
    if (is_bfloat16 && !dure_vulkan_caps_has(caps, DURE_VULKAN_BFLOAT16_MATRIX)) continue;
    caps->workgroup_matrices[caps->workgroup_matrix_count++] = c->workgroup_matrices[i];
  }
}

static void plan_caps(const vulkan_capabilities *c, const vulkan_profile *profile, vulkan_environment environment,
                      dure_vulkan_caps *caps) {
  caps->kind = device_kind(c->type);
  caps->driver = profile != NULL ? profile->driver : known_driver(c->driver_id);
  caps->has_software_workgroups = profile == NULL && caps->kind == DURE_DEVICE_CPU;
  caps->vendor_id = c->vendor_id;
  caps->device_id = c->device_id;
  caps->driver_id = c->driver_id;
  caps->subgroup_size = caps->subgroup_minimum = caps->subgroup_maximum = c->subgroup_size;
  if (dure_vulkan_caps_has(caps, DURE_VULKAN_SUBGROUP_SIZE_CONTROL)) {
    caps->subgroup_minimum = c->subgroup_minimum;
    caps->subgroup_maximum = c->subgroup_maximum;
  }
  // Intel's matrix units work in the smallest subgroups that its hardware has, others' in the usual ones.
  caps->matrix_subgroup_size = caps->driver == DURE_VULKAN_DRIVER_INTEL ? caps->subgroup_minimum : caps->subgroup_size;
  for (uint32_t i = 0; i < c->matrix_shape_count; i++) {
    const dure_vulkan_feature feature =
        c->matrix_shapes[i].is_bfloat16 ? DURE_VULKAN_BFLOAT16_MATRIX : DURE_VULKAN_COOPERATIVE_MATRIX;
    if (dure_vulkan_caps_has(caps, feature)) caps->matrix_shapes[caps->matrix_shape_count++] = c->matrix_shapes[i];
  }
  plan_workgroup_matrices(c, caps);
  caps->max_invocations = (uint32_t)limited(c->max_invocations, environment, "DURE_VULKAN_LIMIT_INVOCATIONS");
  for (int i = 0; i < 3; i++) {
    caps->max_group_size[i] =
        c->max_group_size[i] < caps->max_invocations ? c->max_group_size[i] : caps->max_invocations;
    caps->max_group_count[i] = c->max_group_count[i];
  }
  caps->shared_bytes = (uint32_t)limited(c->shared_bytes, environment, "DURE_VULKAN_LIMIT_SHARED");
  caps->push_bytes = c->push_bytes;
  caps->max_binding_bytes = limited(c->max_binding_bytes, environment, "DURE_VULKAN_LIMIT_BINDING");
  caps->max_storage_bindings = c->max_storage_bindings;
  caps->storage_alignment = c->storage_alignment;
  if (dure_vulkan_caps_has(caps, DURE_VULKAN_TEXEL_BUFFERS)) {
    caps->max_texel_elements = limited(c->max_texel_elements, environment, "DURE_VULKAN_LIMIT_TEXELS");
    caps->texel_alignment = c->texel_alignment;
  }
}

// About 0.2 s of work. Software drivers reach 15 GFLOP/s or more on two cores; a GPU below 1 TFLOP/s is rare, and the
// drivers that end long work do so after 2 s; memory moves at 8 GB/s on those cores, at 40 on slow GPUs. llvmpipe ends
// the loops of an invocation after 65,535 turns, all loops counted together and the turn that leaves a loop too: half
// of that leaves room for counting roughly.
static void plan_limits(const vulkan_capabilities *c, vulkan_environment environment, vulkan_plan *plan) {
  bool software = plan->caps.kind == DURE_DEVICE_CPU;
  dure_limits *limits = &plan->limits;
  limits->max_binding_bytes = plan->caps.max_binding_bytes;
  limits->max_allocation_bytes = limited(c->max_allocation_bytes, environment, "DURE_VULKAN_LIMIT_ALLOCATION");
  limits->offset_alignment = 16;
  if (c->storage_alignment > limits->offset_alignment) limits->offset_alignment = c->storage_alignment;
  if (plan->caps.texel_alignment > limits->offset_alignment && plan->caps.texel_alignment <= 256) {
    limits->offset_alignment = plan->caps.texel_alignment;
  }
  limits->max_dispatch_flops = software ? 3e9 : 2e11;
  limits->max_recording_flops = limits->max_dispatch_flops;
  limits->max_recording_bytes = software ? 1.5e9 : 8e9;
  limits->max_loop_iterations = software ? 32768 : 1u << 24;
  if (plan->profile != NULL && plan->profile->max_loop_iterations < limits->max_loop_iterations)
    limits->max_loop_iterations = plan->profile->max_loop_iterations;
}

static bool check_floor(const vulkan_capabilities *c, char *reason, size_t size) {
  if (c->api_version < VK_API_VERSION_1_2) {
    snprintf(reason, size, "its driver offers Vulkan %u.%u, Dure needs 1.2: update the driver",
             VK_API_VERSION_MAJOR(c->api_version), VK_API_VERSION_MINOR(c->api_version));
  } else if (!c->has_compute_queue) {
    snprintf(reason, size, "it has no compute queue");
  } else if (!c->has_timeline_semaphores) {
    snprintf(reason, size, "its driver has no timeline semaphores (required by Vulkan 1.2): update the driver");
  } else if (c->push_bytes < 128 || c->max_invocations < 128 || c->shared_bytes < 16384) {
    snprintf(reason, size,
             "it is below Vulkan's required limits (push constants %u bytes, workgroups %u, shared memory %u bytes)",
             c->push_bytes, c->max_invocations, c->shared_bytes);
  } else if (c->device_heap_bytes == 0) {
    snprintf(reason, size, "it has no device-local memory");
  } else {
    return true;
  }
  return false;
}

void vulkan_plan_make(const vulkan_capabilities *capabilities, const dure_shader *shaders, size_t shader_count,
                      vulkan_environment environment, vulkan_plan *out_plan) {
  memset(out_plan, 0, sizeof(*out_plan));
  vulkan_capabilities c = *capabilities;
  const char *profile_name = environment("DURE_VULKAN_PROFILE");
  bool wants_profile = profile_name != NULL && profile_name[0] != '\0';
  if (wants_profile) out_plan->profile = vulkan_profile_find(profile_name);
  if (out_plan->profile != NULL) vulkan_profile_impose(out_plan->profile, &c);
  plan_features(&c, required_by_kernels(shaders, shader_count), environment, out_plan);
  plan_caps(&c, out_plan->profile, environment, &out_plan->caps);
  plan_limits(&c, environment, out_plan);
  out_plan->usable = check_floor(&c, out_plan->reason, sizeof(out_plan->reason));
  if (wants_profile && out_plan->profile == NULL) {
    char names[96];
    vulkan_profile_list(names, sizeof(names));
    out_plan->usable = false;
    snprintf(out_plan->reason, sizeof(out_plan->reason), "DURE_VULKAN_PROFILE=%.48s is no profile; there are: %s",
             profile_name, names);
  }
}

uint64_t vulkan_plan_rank(const vulkan_capabilities *capabilities, const vulkan_plan *plan) {
  uint64_t rank = plan->usable ? 1 : 0;
  rank = rank * 8 + (uint64_t)(DURE_DEVICE_CPU - plan->caps.kind);
  rank = rank * 2 + (plan->caps.driver == DURE_VULKAN_DRIVER_LLVMPIPE);  // measured faster than other software drivers
  uint64_t gibibytes = capabilities->device_heap_bytes >> 30;
  return rank << 20 | (gibibytes < 0xfffff ? gibibytes : 0xfffff);
}

bool dure_vulkan_caps_has(const dure_vulkan_caps *caps, dure_vulkan_feature feature) {
  return caps->features >> feature & 1;
}
