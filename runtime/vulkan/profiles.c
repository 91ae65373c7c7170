#include "runtime/vulkan/profiles.h"

#include <stdio.h>
#include <string.h>

#include "runtime/vulkan/plan.h"

static const vulkan_profile profiles[] = {
#define DURE_VULKAN_PROFILE(name, text, driver, invocations, x, y, z, shared, push, bindings, binding, allocation, \
                            storage_alignment, texel_alignment, texels, heap, budget, loops, features)             \
  {name,   text,     driver,  invocations, {x, y, z},         shared,                                              \
   push,   bindings, binding, allocation,  storage_alignment, texel_alignment,                                     \
   texels, heap,     budget,  loops,       features},
#include "runtime/vulkan/profiles.def"
#undef DURE_VULKAN_PROFILE
};
enum { profile_count = sizeof(profiles) / sizeof(profiles[0]) };

const vulkan_profile *vulkan_profile_get(size_t i) { return i < profile_count ? &profiles[i] : NULL; }

const vulkan_profile *vulkan_profile_find(const char *name) {
  for (size_t i = 0; i < profile_count; i++) {
    if (strcmp(profiles[i].name, name) == 0) return &profiles[i];
  }
  return NULL;
}

void vulkan_profile_list(char *text, size_t size) {
  text[0] = '\0';
  for (size_t i = 0; i < profile_count; i++) {
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "", profiles[i].name);
  }
}

static void lower(uint64_t *value, uint64_t most) {
  if (most < *value) *value = most;
}
static void lower_32(uint32_t *value, uint32_t most) {
  if (most < *value) *value = most;
}
static void raise(uint64_t *value, uint64_t least) {
  if (least > *value) *value = least;
}

static uint64_t features_of(const char *names) {
  vulkan_requirements requirements;
  vulkan_requirements_parse(names, &requirements);
  return requirements.features;
}

void vulkan_profile_impose(const vulkan_profile *profile, vulkan_capabilities *c) {
  c->available &= features_of(profile->features);
  lower_32(&c->max_invocations, profile->max_invocations);
  for (int i = 0; i < 3; i++) lower_32(&c->max_group_size[i], profile->max_group_size[i]);
  lower_32(&c->shared_bytes, profile->shared_bytes);
  lower_32(&c->push_bytes, profile->push_bytes);
  lower_32(&c->max_storage_bindings, profile->max_storage_bindings);
  lower(&c->max_binding_bytes, profile->max_binding_bytes);
  lower(&c->max_allocation_bytes, profile->max_allocation_bytes);
  raise(&c->storage_alignment, profile->storage_alignment);
  raise(&c->texel_alignment, profile->texel_alignment);
  lower(&c->max_texel_elements, profile->max_texel_elements);
}
