// Kernels: found by name in the embedded table, specialised, compiled on demand, kept until the device is closed.
// What the driver compiled is kept on disk between runs.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/vulkan/internal.h"
#include "runtime/vulkan/specialise.h"

enum { max_constants = 32 };
static const uint64_t silent_nanoseconds = 1000000000;  // of compiling before one is told of it

// ---- the cache on disk ----

// Precedes the driver's bytes in the file: drivers check their own header, not that the rest is whole.
typedef struct cache_header {
  char magic[8];
  uint64_t size;  // of the driver's bytes that follow
  uint64_t hash;  // XXH64 of them
} cache_header;
static const char cache_magic[8] = {'D', 'U', 'R', 'E', 'V', 'K', 'P', '1'};
static const uint64_t cache_limit = 256ull << 20;

// ~/.cache/dure/vulkan-<device>-<cache version>-<driver version>.bin; NULL when there is nowhere to keep it.
static char *cache_path(const vulkan_device *device) {
  char *directory = NULL;
  dure_status status = dure_os_cache_directory(&directory);
  if (status != NULL) {
    dure_log(DURE_LOG_INFO, "compiled kernels are not kept on disk: %s", dure_status_message(status));
    dure_status_free(status);
    return NULL;
  }
  const vulkan_capabilities *c = &device->capabilities;
  char name[128] = "vulkan-";
  size_t used = strlen(name);
  for (int i = 0; i < 16; i++) used += (size_t)snprintf(name + used, sizeof(name) - used, "%02x", c->device_uuid[i]);
  used += (size_t)snprintf(name + used, sizeof(name) - used, "-");
  for (int i = 0; i < 16; i++)
    used += (size_t)snprintf(name + used, sizeof(name) - used, "%02x", c->pipeline_cache_uuid[i]);
  snprintf(name + used, sizeof(name) - used, "-%08x.bin", c->driver_version);
  char *path = dure_os_path_join(directory, name);
  free(directory);
  return path;
}

// The driver's bytes within the file's, or NULL when the file is not whole.
static const char *cache_payload(const char *bytes, size_t size, size_t *out_size) {
  cache_header header;
  *out_size = 0;
  if (size < sizeof(header)) return NULL;
  memcpy(&header, bytes, sizeof(header));
  if (memcmp(header.magic, cache_magic, sizeof(cache_magic)) != 0 || header.size != size - sizeof(header)) return NULL;
  if (XXH64(bytes + sizeof(header), header.size, 0) != header.hash) return NULL;
  *out_size = header.size;
  return bytes + sizeof(header);
}

dure_status vulkan_pipelines_open(vulkan_device *device) {
  char *bytes = NULL;
  size_t size = 0, payload_size = 0;
  const char *payload = NULL;
  if (dure_vulkan_caps_has(&device->plan.caps, DURE_VULKAN_PIPELINE_CACHE))
    device->pipeline_cache_path = cache_path(device);
  if (device->pipeline_cache_path != NULL && dure_os_is_file(device->pipeline_cache_path)) {
    dure_status status = dure_os_read_file(device->pipeline_cache_path, cache_limit, &bytes, &size);
    if (status == NULL) payload = cache_payload(bytes, size, &payload_size);
    if (payload == NULL)
      dure_log(DURE_LOG_INFO, "the cache of compiled kernels %s is unreadable and is made anew",
               device->pipeline_cache_path);
    dure_status_free(status);
  }
  device->pipeline_cache_hash = XXH64(payload, payload_size, 0);
  VkPipelineCacheCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO, .initialDataSize = payload_size, .pInitialData = payload};
  VkResult result = device->api.CreatePipelineCache(device->handle, &info, NULL, &device->pipeline_cache);
  free(bytes);
  if (result != VK_SUCCESS) return vulkan_fail(device, result, "creating a pipeline cache");
  return NULL;
}

static dure_status write_cache(vulkan_device *device) {
  size_t size = 0;
  VULKAN_TRY(device, device->api.GetPipelineCacheData(device->handle, device->pipeline_cache, &size, NULL),
             "reading the pipeline cache");
  char *bytes = malloc(sizeof(cache_header) + size);
  if (bytes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for %zu bytes of compiled kernels", size);
  VkResult result =
      device->api.GetPipelineCacheData(device->handle, device->pipeline_cache, &size, bytes + sizeof(cache_header));
  dure_status status = NULL;
  if (result == VK_SUCCESS) {
    cache_header header = {.size = size, .hash = XXH64(bytes + sizeof(header), size, 0)};
    memcpy(header.magic, cache_magic, sizeof(cache_magic));
    memcpy(bytes, &header, sizeof(header));
    bool is_new = header.hash != device->pipeline_cache_hash;  // some drivers keep nothing there: no need to write that
    if (is_new) status = dure_os_write_file(device->pipeline_cache_path, bytes, sizeof(header) + size);
  }
  free(bytes);
  return status;
}

// ---- kernels ----

static void kernel_destroy(vulkan_device *device, vulkan_kernel *kernel) {
  const vulkan_api *api = &device->api;
  if (kernel->pipeline != VK_NULL_HANDLE) api->DestroyPipeline(device->handle, kernel->pipeline, NULL);
  if (kernel->layout != VK_NULL_HANDLE) api->DestroyPipelineLayout(device->handle, kernel->layout, NULL);
  if (kernel->set_layout != VK_NULL_HANDLE) api->DestroyDescriptorSetLayout(device->handle, kernel->set_layout, NULL);
  free(kernel->constants);
  free(kernel);
}

void vulkan_pipelines_close(vulkan_device *device) {
  vulkan_kernels_end_progress(device);
  if (device->compile_nanoseconds >= silent_nanoseconds) {
    dure_log(DURE_LOG_INFO, "%u kernels were compiled in %.1f s; %s", device->compiled_kernels,
             (double)device->compile_nanoseconds * 1e-9,
             device->pipeline_cache_path != NULL ? "the next run finds them on disk" : "they are not kept");
  }
  if (device->pipeline_cache_path != NULL && device->pipeline_cache_is_stale && !device->is_lost) {
    dure_status status = write_cache(device);
    if (status != NULL) dure_log(DURE_LOG_INFO, "compiled kernels are not kept: %s", dure_status_message(status));
    dure_status_free(status);
  }
  while (device->first_kernel != NULL) {
    vulkan_kernel *kernel = device->first_kernel;
    device->first_kernel = kernel->next;
    kernel_destroy(device, kernel);
  }
  if (device->pipeline_cache != VK_NULL_HANDLE)
    device->api.DestroyPipelineCache(device->handle, device->pipeline_cache, NULL);
  free(device->pipeline_cache_path);
  device->pipeline_cache_path = NULL;
}

static dure_status create_layouts(vulkan_device *device, vulkan_kernel *kernel) {
  VkDescriptorSetLayoutBinding bindings[32];
  kernel->binding_count = (uint32_t)strlen(kernel->shader->kinds);
  if (kernel->binding_count > 32)
    return dure_fail(DURE_INTERNAL, "kernel %s has more than 32 bindings", kernel->shader->name);
  for (uint32_t i = 0; i < kernel->binding_count; i++) {
    bindings[i] = (VkDescriptorSetLayoutBinding){.binding = i,
                                                 .descriptorType = kernel->shader->kinds[i] == 't'
                                                                       ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER
                                                                       : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                                 .descriptorCount = 1,
                                                 .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
  }
  VkDescriptorSetLayoutCreateInfo set = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                         .bindingCount = kernel->binding_count,
                                         .pBindings = bindings};
  VULKAN_TRY(device, device->api.CreateDescriptorSetLayout(device->handle, &set, NULL, &kernel->set_layout),
             "describing kernel %s", kernel->shader->name);
  VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = kernel->shader->push_bytes};
  VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                       .setLayoutCount = 1,
                                       .pSetLayouts = &kernel->set_layout,
                                       .pushConstantRangeCount = push.size > 0 ? 1 : 0,
                                       .pPushConstantRanges = &push};
  VULKAN_TRY(device, device->api.CreatePipelineLayout(device->handle, &layout, NULL, &kernel->layout),
             "describing kernel %s", kernel->shader->name);
  return NULL;
}

static VkResult create_pipeline(vulkan_device *device, vulkan_kernel *kernel, VkShaderModule module) {
  vulkan_requirements requirements;
  vulkan_requirements_parse(kernel->shader->requirements, &requirements);
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
      .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
      .requiredSubgroupSize =
          requirements.matrix_subgroups ? device->plan.caps.matrix_subgroup_size : requirements.subgroup_size};
  bool asks_size =
      subgroup.requiredSubgroupSize != 0 && dure_vulkan_caps_has(&device->plan.caps, DURE_VULKAN_SUBGROUP_SIZE_CONTROL);
  VkComputePipelineCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
      .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .pNext = asks_size ? &subgroup : NULL,
                .flags = asks_size ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = module,
                .pName = "main"},
      .layout = kernel->layout};
  return device->api.CreateComputePipelines(device->handle, device->pipeline_cache, 1, &info, NULL, &kernel->pipeline);
}

void vulkan_kernels_end_progress(vulkan_device *device) {
  if (!device->shows_progress) return;
  dure_progress_end();
  device->shows_progress = false;
}

// Compiling is worth a word only when one waits for it: the first run of a program on a driver version.
static void count_compiled(vulkan_device *device, const char *name, uint64_t nanoseconds) {
  device->compile_nanoseconds += nanoseconds;
  device->compiled_kernels++;
  dure_log(DURE_LOG_DEBUG, "kernel %s compiled in %.1f ms", name, (double)nanoseconds * 1e-6);
  if (device->compile_nanoseconds < silent_nanoseconds) return;
  dure_progress("compiling kernels for their first use: %u so far, %.0f s", device->compiled_kernels,
                (double)device->compile_nanoseconds * 1e-9);
  device->shows_progress = true;
}

static dure_status compile(vulkan_device *device, vulkan_kernel *kernel) {
  uint64_t start = dure_os_nanoseconds();
  uint32_t *words = NULL;
  VkShaderModuleCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
  DURE_TRY(dure_vulkan_specialise(kernel->shader->words, *kernel->shader->bytes, kernel->constants,
                                  kernel->constant_count, &words, &info.codeSize));
  info.pCode = words;
  VkShaderModule module = VK_NULL_HANDLE;
  VkResult result = device->api.CreateShaderModule(device->handle, &info, NULL, &module);
  free(words);
  if (result != VK_SUCCESS) return vulkan_fail(device, result, "reading kernel %s", kernel->shader->name);
  result = create_pipeline(device, kernel, module);
  device->api.DestroyShaderModule(device->handle, module, NULL);
  if (result != VK_SUCCESS) return vulkan_fail(device, result, "compiling kernel %s", kernel->shader->name);
  device->pipeline_cache_is_stale = true;
  vulkan_name_object(device, VK_OBJECT_TYPE_PIPELINE, (uint64_t)kernel->pipeline, kernel->shader->name);
  count_compiled(device, kernel->shader->name, dure_os_nanoseconds() - start);
  return NULL;
}

static const dure_shader *find_shader(const char *name) {
  for (size_t i = 0; i < dure_shader_count; i++) {
    if (strcmp(dure_shaders[i].name, name) == 0) return &dure_shaders[i];
  }
  return NULL;
}

dure_status vulkan_kernel_get(dure_device *head, const char *name, const uint32_t *constants, size_t constant_count,
                              dure_kernel **out_kernel) {
  *out_kernel = NULL;
  vulkan_device *device = vulkan_device_of(head);
  for (vulkan_kernel *kernel = device->first_kernel; kernel != NULL; kernel = kernel->next) {
    if (kernel->constant_count != constant_count || strcmp(kernel->shader->name, name) != 0) continue;
    if (constant_count > 0 && memcmp(kernel->constants, constants, constant_count * sizeof(*constants)) != 0) continue;
    *out_kernel = &kernel->head;
    return NULL;
  }
  const dure_shader *shader = find_shader(name);
  if (shader == NULL)
    return dure_fail(DURE_UNSUPPORTED, "the Vulkan backend has no kernel '%s' (shaders/variants)", name);
  DURE_TRY(vulkan_requirements_check(&device->plan.caps, shader));
  if (constant_count > max_constants) {
    return dure_fail(DURE_INVALID_ARGUMENT, "kernel %s: %zu specialisation constants, at most %d are possible", name,
                     constant_count, max_constants);
  }
  vulkan_kernel *kernel = calloc(1, sizeof(*kernel));
  uint32_t *copy = calloc(constant_count + 1, sizeof(*copy));
  if (kernel == NULL || copy == NULL) {
    free(kernel);
    free(copy);
    return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for kernel %s", name);
  }
  if (constant_count > 0) memcpy(copy, constants, constant_count * sizeof(*copy));
  kernel->head.device = head;
  kernel->shader = shader;
  kernel->constants = copy;
  kernel->constant_count = constant_count;
  dure_status status = create_layouts(device, kernel);
  if (status == NULL) status = compile(device, kernel);
  if (status != NULL) {
    kernel_destroy(device, kernel);
    return status;
  }
  kernel->next = device->first_kernel;
  device->first_kernel = kernel;
  *out_kernel = &kernel->head;
  return NULL;
}
