// Recordings: one command buffer, recorded once. Barriers come from the hazard tracker; descriptor sets, texel views
// and timestamp queries belong to the recording.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/internal.h"

enum { queries_per_pool = 256, max_bindings = 32 };

typedef struct recording_label {
  char *text;
  uint32_t first_command;  // it names the commands from here to the next label
} recording_label;

typedef struct vulkan_recording {
  dure_recording head;
  vulkan_device *device;
  char label[64];
  uint32_t flags;
  VkCommandBuffer commands;
  dure_hazards hazards;
  bool writes_host_memory;

  VkDescriptorPool *pools;
  size_t pool_count, pool_capacity;
  uint32_t next_pool_sets;
  VkBufferView *views;
  size_t view_count, view_capacity;

  recording_label *labels;
  size_t label_count, label_capacity;
  bool label_is_open;

  uint32_t command_count;
  VkQueryPool
      *query_pools;  // query i is in pool i / queries_per_pool; query 0 is the start, query i + 1 ends command i
  size_t query_pool_count, query_pool_capacity;
  uint32_t query_count;
  dure_command_time *times;
} vulkan_recording;

static vulkan_recording *recording_of(const dure_recording *recording) { return (vulkan_recording *)recording; }
VkCommandBuffer vulkan_recording_commands(const dure_recording *recording) { return recording_of(recording)->commands; }
const char *vulkan_recording_name(const dure_recording *recording) { return recording_of(recording)->label; }
const char *vulkan_recording_first_label(const dure_recording *recording) {
  return recording_of(recording)->label_count > 0 ? recording_of(recording)->labels[0].text : "";
}
const char *vulkan_recording_last_label(const dure_recording *head) {
  const vulkan_recording *recording = recording_of(head);
  return recording->label_count > 0 ? recording->labels[recording->label_count - 1].text : "";
}

// Makes room for one more element of `size` bytes in a growing array.
static dure_status reserve(void **items, size_t *capacity, size_t count, size_t size) {
  if (count < *capacity) return NULL;
  size_t grown_capacity = *capacity * 2 + 8;
  void *grown = realloc(*items, grown_capacity * size);
  if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to record %zu commands", count);
  *items = grown;
  *capacity = grown_capacity;
  return NULL;
}

// ---- barriers ----

static void barrier(const vulkan_recording *recording, VkPipelineStageFlags source, VkAccessFlags source_access,
                    VkPipelineStageFlags target, VkAccessFlags target_access) {
  VkMemoryBarrier memory = {
      .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = source_access, .dstAccessMask = target_access};
  recording->device->api.CmdPipelineBarrier(recording->commands, source, target, 0, 1, &memory, 0, NULL, 0, NULL);
}

static const VkPipelineStageFlags device_stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
static const VkAccessFlags device_writes = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
static const VkAccessFlags device_accesses =
    VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;

// One global barrier for all ranges: drivers merge ranges anyway.
static void order_device_work(const vulkan_recording *recording) {
  barrier(recording, device_stages, device_writes, device_stages, device_accesses);
}

static dure_status track(vulkan_recording *recording, const dure_hazard_range *ranges, size_t count) {
  bool needed = false;
  DURE_TRY(dure_hazards_add(&recording->hazards, ranges, count, &needed));
  if (needed) order_device_work(recording);
  return NULL;
}

static dure_hazard_range range_of(vulkan_recording *recording, const dure_buffer *buffer, uint64_t offset,
                                  uint64_t size, bool writes) {
  if (writes && buffer->kind == DURE_MEMORY_HOST) recording->writes_host_memory = true;
  return (dure_hazard_range){buffer, offset, offset + size, writes};
}

// ---- timestamps ----

static dure_status write_timestamp(vulkan_recording *recording) {
  if ((recording->flags & DURE_RECORD_TIMESTAMPS) == 0) return NULL;
  vulkan_device *device = recording->device;
  uint32_t index = recording->query_count % queries_per_pool;
  if (index == 0) {
    DURE_TRY(reserve((void **)&recording->query_pools, &recording->query_pool_capacity, recording->query_pool_count,
                     sizeof(VkQueryPool)));
    VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                  .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                  .queryCount = queries_per_pool};
    VkQueryPool pool = VK_NULL_HANDLE;
    VULKAN_TRY(device, device->api.CreateQueryPool(device->handle, &info, NULL, &pool), "creating timestamps");
    recording->query_pools[recording->query_pool_count++] = pool;
    device->api.CmdResetQueryPool(recording->commands, pool, 0, queries_per_pool);
  }
  VkQueryPool pool = recording->query_pools[recording->query_pool_count - 1];
  device->api.CmdWriteTimestamp(recording->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool, index);
  recording->query_count++;
  return NULL;
}

static dure_status end_command(vulkan_recording *recording) {
  recording->command_count++;
  return write_timestamp(recording);
}

static dure_status read_ticks(vulkan_recording *recording, uint64_t *ticks) {
  vulkan_device *device = recording->device;
  for (uint32_t first = 0; first < recording->query_count; first += queries_per_pool) {
    uint32_t count =
        recording->query_count - first < queries_per_pool ? recording->query_count - first : queries_per_pool;
    VULKAN_TRY(
        device,
        device->api.GetQueryPoolResults(device->handle, recording->query_pools[first / queries_per_pool], 0, count,
                                        count * sizeof(*ticks), ticks + first, sizeof(*ticks), VK_QUERY_RESULT_64_BIT),
        "reading timestamps of recording '%s' (has it been submitted and waited for?)", recording->label);
  }
  return NULL;
}

dure_status vulkan_recording_times(dure_recording *head, const dure_command_time **out_times, size_t *out_count) {
  *out_times = NULL;
  *out_count = 0;
  vulkan_recording *recording = recording_of(head);
  if ((recording->flags & DURE_RECORD_TIMESTAMPS) == 0) {
    return dure_fail(DURE_UNSUPPORTED, "recording '%s' has no timestamps (not asked for, or not possible on %s)",
                     recording->label, recording->device->head.info.identifier);
  }
  if (recording->times == NULL) recording->times = calloc(recording->command_count + 1u, sizeof(*recording->times));
  uint64_t *ticks = calloc(recording->query_count + 1u, sizeof(*ticks));
  if (recording->times == NULL || ticks == NULL) {
    free(ticks);
    return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for the times of %u commands", recording->command_count);
  }
  dure_status status = read_ticks(recording, ticks);
  const vulkan_capabilities *c = &recording->device->capabilities;
  uint64_t mask = c->timestamp_bits >= 64 ? UINT64_MAX : (1ull << c->timestamp_bits) - 1;
  size_t label = 0;
  for (uint32_t i = 0; i < recording->command_count && status == NULL; i++) {
    while (label + 1 < recording->label_count && recording->labels[label + 1].first_command <= i) label++;
    bool is_named = recording->label_count > 0 && recording->labels[label].first_command <= i;
    recording->times[i] =
        (dure_command_time){.label = is_named ? recording->labels[label].text : "",
                            .nanoseconds = (double)((ticks[i + 1] - ticks[i]) & mask) * c->timestamp_period};
  }
  free(ticks);
  if (status != NULL) return status;
  *out_times = recording->times;
  *out_count = recording->command_count;
  return NULL;
}

// ---- descriptor sets and texel views ----

static dure_status add_descriptor_pool(vulkan_recording *recording) {
  vulkan_device *device = recording->device;
  DURE_TRY(
      reserve((void **)&recording->pools, &recording->pool_capacity, recording->pool_count, sizeof(VkDescriptorPool)));
  uint32_t sets = recording->next_pool_sets;
  VkDescriptorPoolSize sizes[] = {{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, sets * 8},
                                  {VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, sets * 4}};
  if (sizes[0].descriptorCount < max_bindings) sizes[0].descriptorCount = max_bindings;
  if (sizes[1].descriptorCount < max_bindings) sizes[1].descriptorCount = max_bindings;
  VkDescriptorPoolCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = sets, .poolSizeCount = 2, .pPoolSizes = sizes};
  VkDescriptorPool pool = VK_NULL_HANDLE;
  VULKAN_TRY(device, device->api.CreateDescriptorPool(device->handle, &info, NULL, &pool),
             "creating %u descriptor sets", sets);
  recording->pools[recording->pool_count++] = pool;
  if (recording->next_pool_sets < 1024) recording->next_pool_sets *= 2;
  return NULL;
}

static dure_status allocate_set(vulkan_recording *recording, const vulkan_kernel *kernel, VkDescriptorSet *out_set) {
  vulkan_device *device = recording->device;
  *out_set = VK_NULL_HANDLE;
  for (int attempt = 0; attempt < 2; attempt++) {
    if (recording->pool_count == 0 || attempt == 1) DURE_TRY(add_descriptor_pool(recording));
    VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                        .descriptorPool = recording->pools[recording->pool_count - 1],
                                        .descriptorSetCount = 1,
                                        .pSetLayouts = &kernel->set_layout};
    VkResult result = device->api.AllocateDescriptorSets(device->handle, &info, out_set);
    if (result == VK_SUCCESS) return NULL;
    bool pool_is_full = result == VK_ERROR_OUT_OF_POOL_MEMORY || result == VK_ERROR_FRAGMENTED_POOL;
    if (!pool_is_full) return vulkan_fail(device, result, "allocating bindings of kernel %s", kernel->shader->name);
  }
  return dure_fail(DURE_INTERNAL, "a new descriptor pool cannot hold one set of kernel %s", kernel->shader->name);
}

// Texels are 16 bytes; a view's length is rounded up within the buffer's padding.
static dure_status create_view(vulkan_recording *recording, const vulkan_kernel *kernel, const dure_binding *binding,
                               VkBufferView *out_view) {
  vulkan_device *device = recording->device;
  const dure_vulkan_caps *caps = &device->plan.caps;
  const vulkan_buffer *buffer = (const vulkan_buffer *)binding->buffer;
  *out_view = VK_NULL_HANDLE;
  uint64_t size = (binding->size + 15) / 16 * 16;
  if (size > buffer->handle_size - binding->offset) size = (buffer->handle_size - binding->offset) / 16 * 16;
  if (size / 16 > caps->max_texel_elements || binding->offset % caps->texel_alignment != 0) {
    return dure_fail(DURE_UNSUPPORTED,
                     "kernel %s: a texel binding of %" PRIu64 " bytes at byte %" PRIu64
                     " of '%s' passes the device's limits (%" PRIu64 " texels, alignment %" PRIu64 ")",
                     kernel->shader->name, binding->size, binding->offset, binding->buffer->label,
                     caps->max_texel_elements, caps->texel_alignment);
  }
  DURE_TRY(reserve((void **)&recording->views, &recording->view_capacity, recording->view_count, sizeof(VkBufferView)));
  VkBufferViewCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
                                 .buffer = buffer->handle,
                                 .format = VK_FORMAT_R32G32B32A32_SFLOAT,
                                 .offset = binding->offset,
                                 .range = size};
  VULKAN_TRY(device, device->api.CreateBufferView(device->handle, &info, NULL, out_view), "making a texel view of '%s'",
             binding->buffer->label);
  recording->views[recording->view_count++] = *out_view;
  return NULL;
}

// What a storage binding covers: the operand, and in tests the sentinels after it (drivers drop stores beyond a
// binding).
// The hazard tracker knows the operand alone, and the synchronization validation would see neighbours overlap.
static uint64_t exposed_size(const vulkan_device *device, const dure_binding *binding) {
  if (device->has_exact_bindings) return binding->size;
  uint64_t size = binding->size + device->head.exposed_bytes, left = binding->buffer->size - binding->offset;
  if (size > device->plan.caps.max_binding_bytes) size = device->plan.caps.max_binding_bytes;
  return size < left ? size : left;
}

static dure_status write_set(vulkan_recording *recording, const vulkan_kernel *kernel, const dure_binding *bindings,
                             VkDescriptorSet set) {
  VkDescriptorBufferInfo buffers[max_bindings];
  VkBufferView views[max_bindings];
  VkWriteDescriptorSet writes[max_bindings];
  for (uint32_t i = 0; i < kernel->binding_count; i++) {
    bool is_texel = kernel->shader->kinds[i] == 't';
    writes[i] = (VkWriteDescriptorSet){
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = set,
        .dstBinding = i,
        .descriptorCount = 1,
        .descriptorType = is_texel ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = is_texel ? NULL : &buffers[i],
        .pTexelBufferView = is_texel ? &views[i] : NULL};
    if (is_texel) {
      DURE_TRY(create_view(recording, kernel, &bindings[i], &views[i]));
    } else {
      buffers[i] = (VkDescriptorBufferInfo){((const vulkan_buffer *)bindings[i].buffer)->handle, bindings[i].offset,
                                            exposed_size(recording->device, &bindings[i])};
    }
  }
  recording->device->api.UpdateDescriptorSets(recording->device->handle, kernel->binding_count, writes, 0, NULL);
  return NULL;
}

// ---- commands ----

static dure_status check_dispatch(const vulkan_recording *recording, const vulkan_kernel *kernel,
                                  const dure_binding *bindings, size_t binding_count, size_t push_size,
                                  const uint32_t groups[3]) {
  const dure_vulkan_caps *caps = &recording->device->plan.caps;
  const char *name = kernel->shader->name;
  if (binding_count != kernel->binding_count || push_size != kernel->shader->push_bytes) {
    return dure_fail(
        DURE_INVALID_ARGUMENT,
        "kernel %s takes %u bindings and %u bytes of push constants, the dispatch gives %zu and %zu (shaders/variants)",
        name, kernel->binding_count, kernel->shader->push_bytes, binding_count, push_size);
  }
  for (size_t i = 0; i < binding_count; i++) {
    if ((bindings[i].access & DURE_WRITE) != 0 && kernel->shader->kinds[i] != 'w') {
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "kernel %s: binding %zu is read-only, the dispatch says that it is written", name, i);
    }
    if (bindings[i].size == 0) return dure_fail(DURE_INVALID_ARGUMENT, "kernel %s: binding %zu is empty", name, i);
  }
  for (int i = 0; i < 3; i++) {
    if (groups[i] > caps->max_group_count[i]) {
      return dure_fail(DURE_UNSUPPORTED, "kernel %s: %u workgroups along %c, the device allows %u", name, groups[i],
                       "xyz"[i], caps -> max_group_count[i]);
    }
  }
  return NULL;
}

dure_status vulkan_recording_dispatch(dure_recording *head, dure_kernel *kernel_head, const dure_binding *bindings,
                                      size_t binding_count, const void *push, size_t push_size, uint32_t groups_x,
                                      uint32_t groups_y, uint32_t groups_z) {
  vulkan_recording *recording = recording_of(head);
  const vulkan_kernel *kernel = (const vulkan_kernel *)kernel_head;
  const vulkan_api *api = &recording->device->api;
  const uint32_t groups[3] = {groups_x, groups_y, groups_z};
  DURE_TRY(check_dispatch(recording, kernel, bindings, binding_count, push_size, groups));
  VkDescriptorSet set;
  DURE_TRY(allocate_set(recording, kernel, &set));
  DURE_TRY(write_set(recording, kernel, bindings, set));
  dure_hazard_range ranges[max_bindings];
  for (size_t i = 0; i < binding_count; i++) {
    ranges[i] = range_of(recording, bindings[i].buffer, bindings[i].offset, bindings[i].size,
                         (bindings[i].access & DURE_WRITE) != 0);
  }
  DURE_TRY(track(recording, ranges, binding_count));
  api->CmdBindPipeline(recording->commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->pipeline);
  api->CmdBindDescriptorSets(recording->commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->layout, 0, 1, &set, 0, NULL);
  if (push_size > 0)
    api->CmdPushConstants(recording->commands, kernel->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, (uint32_t)push_size,
                          push);
  api->CmdDispatch(recording->commands, groups_x, groups_y, groups_z);
  return end_command(recording);
}

dure_status vulkan_recording_copy(dure_recording *head, dure_buffer *source, uint64_t source_offset,
                                  dure_buffer *target, uint64_t target_offset, uint64_t size) {
  vulkan_recording *recording = recording_of(head);
  dure_hazard_range ranges[] = {range_of(recording, source, source_offset, size, false),
                                range_of(recording, target, target_offset, size, true)};
  if (source == target && source_offset < target_offset + size && target_offset < source_offset + size) {
    return dure_fail(DURE_INVALID_ARGUMENT, "a copy within '%s' overlaps itself", source->label);
  }
  DURE_TRY(track(recording, ranges, 2));
  VkBufferCopy region = {.srcOffset = source_offset, .dstOffset = target_offset, .size = size};
  recording->device->api.CmdCopyBuffer(recording->commands, ((vulkan_buffer *)source)->handle,
                                       ((vulkan_buffer *)target)->handle, 1, &region);
  return end_command(recording);
}

dure_status vulkan_recording_fill(dure_recording *head, dure_buffer *buffer, uint64_t offset, uint64_t size,
                                  uint32_t pattern) {
  vulkan_recording *recording = recording_of(head);
  dure_hazard_range range = range_of(recording, buffer, offset, size, true);
  DURE_TRY(track(recording, &range, 1));
  recording->device->api.CmdFillBuffer(recording->commands, ((vulkan_buffer *)buffer)->handle, offset, size, pattern);
  return end_command(recording);
}

// ---- labels ----

static bool has_debug_labels(const vulkan_recording *recording) {
  return dure_vulkan_caps_has(&recording->device->plan.caps, DURE_VULKAN_DEBUG_LABELS);
}

static void close_label(vulkan_recording *recording) {
  if (recording->label_is_open) recording->device->api.CmdEndDebugUtilsLabelEXT(recording->commands);
  recording->label_is_open = false;
}

void vulkan_recording_label(dure_recording *head, const char *label) {
  vulkan_recording *recording = recording_of(head);
  dure_status status =
      reserve((void **)&recording->labels, &recording->label_capacity, recording->label_count, sizeof(recording_label));
  char *text = status == NULL ? strdup(label) : NULL;
  dure_status_free(status);
  if (text == NULL) return;  // a missing name harms nothing
  recording->labels[recording->label_count++] = (recording_label){text, recording->command_count};
  if (!has_debug_labels(recording)) return;
  close_label(recording);
  VkDebugUtilsLabelEXT info = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT, .pLabelName = text};
  recording->device->api.CmdBeginDebugUtilsLabelEXT(recording->commands, &info);
  recording->label_is_open = true;
}

// ---- life ----

dure_status vulkan_recording_create(dure_device *head, const char *label, uint32_t flags,
                                    dure_recording **out_recording) {
  *out_recording = NULL;
  vulkan_device *device = vulkan_device_of(head);
  vulkan_recording *recording = calloc(1, sizeof(*recording));
  if (recording == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a recording");
  recording->head.device = head;
  recording->device = device;
  recording->flags = flags;
  recording->next_pool_sets = 16;
  snprintf(recording->label, sizeof(recording->label), "%s", label != NULL ? label : "");
  if (!dure_vulkan_caps_has(&device->plan.caps, DURE_VULKAN_TIMESTAMPS))
    recording->flags &= ~(uint32_t)DURE_RECORD_TIMESTAMPS;
  // A recording may be submitted again while its earlier submission still runs; the barrier at its start orders the
  // two.
  dure_status status = vulkan_commands_begin(device, device->command_pool, VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT,
                                             &recording->commands);
  if (status == NULL) {
    vulkan_name_object(device, VK_OBJECT_TYPE_COMMAND_BUFFER, (uint64_t)(uintptr_t)recording->commands,
                       recording->label);
    order_device_work(recording);
    status = write_timestamp(recording);
  }
  if (status != NULL) {
    vulkan_recording_destroy(&recording->head);
    return status;
  }
  *out_recording = &recording->head;
  return NULL;
}

dure_status vulkan_recording_finish(dure_recording *head) {
  vulkan_recording *recording = recording_of(head);
  vulkan_device *device = recording->device;
  close_label(recording);
  if (recording->writes_host_memory)
    barrier(recording, device_stages, device_writes, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
  dure_hazards_release(&recording->hazards);
  VULKAN_TRY(device, device->api.EndCommandBuffer(recording->commands), "finishing recording '%s'", recording->label);
  return NULL;
}

void vulkan_recording_destroy(dure_recording *head) {
  vulkan_recording *recording = recording_of(head);
  vulkan_device *device = recording->device;
  const vulkan_api *api = &device->api;
  if (recording->commands != VK_NULL_HANDLE) vulkan_commands_free(device, device->command_pool, recording->commands);
  for (size_t i = 0; i < recording->pool_count; i++)
    api->DestroyDescriptorPool(device->handle, recording->pools[i], NULL);
  for (size_t i = 0; i < recording->view_count; i++) api->DestroyBufferView(device->handle, recording->views[i], NULL);
  for (size_t i = 0; i < recording->query_pool_count; i++)
    api->DestroyQueryPool(device->handle, recording->query_pools[i], NULL);
  for (size_t i = 0; i < recording->label_count; i++) free(recording->labels[i].text);
  dure_hazards_release(&recording->hazards);
  free(recording->pools);
  free(recording->views);
  free(recording->query_pools);
  free(recording->labels);
  free(recording->times);
  free(recording);
}
