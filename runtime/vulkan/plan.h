// The device plan: which optional features are enabled and why, and the limits that Dure will keep to. Made from the
// capabilities, the embedded kernels and the environment before the device is created; a pure function, so that it is
// tested without a device.
//
// Environment: DURE_VULKAN_DISABLE=name,name and DURE_VULKAN_<NAME>=0 turn optional features off (features.def);
// DURE_VULKAN_LIMIT_BINDING, _ALLOCATION, _SHARED, _INVOCATIONS, _TEXELS impose smaller limits (bytes or counts);
// DURE_VULKAN_PROFILE=name another device's (profiles.h). A profile that does not exist makes the device unusable: what
// was asked for must not be missing silently.
#ifndef DURE_RUNTIME_VULKAN_PLAN_H_
#define DURE_RUNTIME_VULKAN_PLAN_H_

#include "runtime/vulkan/capabilities.h"
#include "shaders/shaders.h"

// getenv, or a test's own.
typedef const char *(*vulkan_environment)(const char *name);

typedef struct vulkan_plan {
  bool usable;
  char reason[256];  // why it is not usable
  dure_vulkan_caps caps;
  dure_limits limits;
  const struct vulkan_profile *profile;  // imposed; NULL: none
  dure_feature_state states[DURE_VULKAN_FEATURE_COUNT];
  char ignored[128];  // names in DURE_VULKAN_DISABLE that are no feature; "" for none
} vulkan_plan;

void vulkan_plan_make(const vulkan_capabilities *capabilities, const dure_shader *shaders, size_t shader_count,
                      vulkan_environment environment, vulkan_plan *out_plan);

// Higher is better: usable first, then discrete, integrated, virtual, software (llvmpipe before slower ones), then
// memory.
uint64_t vulkan_plan_rank(const vulkan_capabilities *capabilities, const vulkan_plan *plan);

const char *vulkan_feature_name(dure_vulkan_feature feature);
const char *vulkan_feature_text(dure_vulkan_feature feature);
const char *vulkan_feature_switch(dure_vulkan_feature feature);  // "DURE_VULKAN_FP16"

// What a variant's `requirements` ask for.
typedef struct vulkan_requirements {
  uint64_t features;
  uint32_t invocations, shared_bytes;
  uint32_t subgroup_size;  // 0: any
  bool matrix_subgroups;   // caps.matrix_subgroup_size, and whole subgroups
  char unknown[48];        // a token that means nothing; "" for none
} vulkan_requirements;
void vulkan_requirements_parse(const char *text, vulkan_requirements *out_requirements);

// NULL when a device with these caps can run the variant, else a DURE_UNSUPPORTED that names what is missing.
DURE_MUST_CHECK dure_status vulkan_requirements_check(const dure_vulkan_caps *caps, const dure_shader *shader);

#endif  // DURE_RUNTIME_VULKAN_PLAN_H_
