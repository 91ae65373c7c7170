// Device memory: 4 MiB blocks shared by buffers of up to 1 MiB, an allocation of its own for each larger buffer.
// Programs have few buffers (pools of parameters, arenas), so that larger blocks would save nothing and be counted as
// used.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/internal.h"

static const uint64_t largest_block = 4ull << 20, smallest_block = 256ull << 10;
static const uint64_t handle_granule = 16;  // so that texel views may cover the last bytes of any buffer

static uint64_t round_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

// Under a budget a hundredth of it at most, so that plans hold. A buffer shares one when it takes a quarter or less.
static uint64_t shared_block_size(const vulkan_device *device) {
  uint64_t size = largest_block, budget = device->head.memory_restriction;
  while (budget > 0 && size > smallest_block && size > budget / 128) size /= 2;
  return size;
}

uint64_t vulkan_memory_overhead(const dure_device *device) { return shared_block_size(vulkan_device_of(device)); }

// ---- memory types ----

// The first type, in the driver's order, that has all of `required` and, if possible, all of `preferred`. -1: none.
static int find_memory_type(const vulkan_device *device, uint32_t allowed, VkMemoryPropertyFlags required,
                            VkMemoryPropertyFlags preferred) {
  const VkPhysicalDeviceMemoryProperties *memory = &device->capabilities.memory;
  for (int pass = 0; pass < 2; pass++) {
    VkMemoryPropertyFlags wanted = pass == 0 ? required | preferred : required;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
      if ((allowed >> i & 1) != 0 && (memory->memoryTypes[i].propertyFlags & wanted) == wanted) return (int)i;
    }
  }
  return -1;
}

static int choose_memory_type(const vulkan_device *device, uint32_t allowed, dure_memory_kind kind) {
  VkMemoryPropertyFlags host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  if (kind == DURE_MEMORY_HOST) return find_memory_type(device, allowed, host, VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
  return find_memory_type(device, allowed, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0);
}

static bool type_is_mapped(const vulkan_device *device, uint32_t type) {
  VkMemoryPropertyFlags host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  return (device->capabilities.memory.memoryTypes[type].propertyFlags & host) == host;
}

// ---- blocks ----

static void block_destroy(vulkan_device *device, vulkan_block *block) {
  if (block->memory != VK_NULL_HANDLE && block->kind == DURE_MEMORY_DEVICE) device->head.memory_overhead -= block->size;
  if (block->memory != VK_NULL_HANDLE) device->api.FreeMemory(device->handle, block->memory, NULL);  // also unmaps
  free(block->free);
  free(block);
}

static dure_status block_create(vulkan_device *device, uint32_t type, dure_memory_kind kind, uint64_t size,
                                bool dedicated, vulkan_block **out_block) {
  *out_block = NULL;
  vulkan_block *block = calloc(1, sizeof(*block));
  if (block == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to describe device memory");
  block->size = size;
  block->memory_type = type;
  block->kind = kind;
  block->dedicated = dedicated;
  block->free_capacity = 16;
  block->free = calloc(block->free_capacity, sizeof(*block->free));
  if (block->free == NULL) {
    free(block);
    return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to describe device memory");
  }
  block->free[0] = (vulkan_range){0, size};
  block->free_count = 1;
  VkMemoryAllocateInfo info = {
      .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = size, .memoryTypeIndex = type};
  VkResult result = device->api.AllocateMemory(device->handle, &info, NULL, &block->memory);
  if (result == VK_SUCCESS && kind == DURE_MEMORY_DEVICE) device->head.memory_overhead += size;
  if (result == VK_SUCCESS && type_is_mapped(device, type)) {
    void *address = NULL;
    result = device->api.MapMemory(device->handle, block->memory, 0, VK_WHOLE_SIZE, 0, &address);
    block->mapped = address;
  }
  if (result != VK_SUCCESS) {
    block_destroy(device, block);
    return vulkan_fail(device, result, "allocating %.1f MiB of device memory", (double)size / 1048576.0);
  }
  block->next = device->first_block;
  device->first_block = block;
  *out_block = block;
  return NULL;
}

// First fit. The part before an aligned start stays free.
static bool block_take(vulkan_block *block, uint64_t size, uint64_t alignment, uint64_t *out_offset) {
  // Splitting one range needs at most one more entry.
  if (block->free_count + 1 > block->free_capacity) {
    vulkan_range *grown = realloc(block->free, 2 * block->free_capacity * sizeof(*grown));
    if (grown == NULL) return false;
    block->free = grown;
    block->free_capacity *= 2;
  }
  for (size_t i = 0; i < block->free_count; i++) {
    vulkan_range range = block->free[i];
    uint64_t start = round_up(range.offset, alignment), end = range.offset + range.size;
    if (start > end || end - start < size) continue;
    vulkan_range before = {range.offset, start - range.offset}, after = {start + size, end - start - size};
    size_t kept = (before.size > 0) + (size_t)(after.size > 0);
    memmove(&block->free[i + kept], &block->free[i + 1], (block->free_count - i - 1) * sizeof(range));
    block->free_count += kept;
    block->free_count--;
    if (before.size > 0) block->free[i++] = before;
    if (after.size > 0) block->free[i] = after;
    *out_offset = start;
    return true;
  }
  return false;
}

// Gives a range back and joins it with its neighbours. Room for the entry exists: taking it left room for one more,
// unless several were taken from one free range; then the array grows, or the range is lost until the block is empty.
static void block_give(vulkan_block *block, vulkan_range range) {
  size_t i = 0;
  while (i < block->free_count && block->free[i].offset < range.offset) i++;
  bool joins_left = i > 0 && block->free[i - 1].offset + block->free[i - 1].size == range.offset;
  bool joins_right = i < block->free_count && range.offset + range.size == block->free[i].offset;
  if (joins_left && joins_right) {
    block->free[i - 1].size += range.size + block->free[i].size;
    memmove(&block->free[i], &block->free[i + 1], (block->free_count - i - 1) * sizeof(range));
    block->free_count--;
  } else if (joins_left) {
    block->free[i - 1].size += range.size;
  } else if (joins_right) {
    block->free[i].offset = range.offset;
    block->free[i].size += range.size;
  } else {
    if (block->free_count == block->free_capacity) {
      vulkan_range *grown = realloc(block->free, 2 * block->free_capacity * sizeof(*grown));
      if (grown == NULL) return;
      block->free = grown;
      block->free_capacity *= 2;
    }
    memmove(&block->free[i + 1], &block->free[i], (block->free_count - i) * sizeof(range));
    block->free[i] = range;
    block->free_count++;
  }
}

// An empty block goes back to the driver unless it is the only shared one of its type: the next buffer needs it again.
static void block_release_if_empty(vulkan_device *device, vulkan_block *block) {
  if (block->free_count != 1 || block->free[0].size != block->size) return;
  if (!block->dedicated) {
    size_t alike = 0;
    for (const vulkan_block *other = device->first_block; other != NULL; other = other->next) {
      alike += !other->dedicated && other->memory_type == block->memory_type && other->kind == block->kind;
    }
    if (alike == 1) return;
  }
  vulkan_block **link = &device->first_block;
  while (*link != block) link = &(*link)->next;
  *link = block->next;
  block_destroy(device, block);
}

// Whether a whole block more stays within the budget.
static bool has_room_for_block(const vulkan_device *device, dure_memory_kind kind, uint64_t size) {
  const dure_device *head = &device->head;
  return kind == DURE_MEMORY_HOST || head->memory_restriction == 0 ||
         head->memory_used + head->memory_overhead + size <= head->memory_restriction;
}

static dure_status place_buffer(vulkan_device *device, vulkan_buffer *buffer, const VkMemoryRequirements *needs,
                                uint32_t type) {
  buffer->place.size = round_up(needs->size, needs->alignment);
  const dure_memory_kind kind = buffer->head.kind;
  const uint64_t block_size = shared_block_size(device);
  bool shared = needs->size <= block_size / 4;
  for (vulkan_block *block = device->first_block; block != NULL && shared; block = block->next) {
    if (block->dedicated || block->memory_type != type || block->kind != kind) continue;
    if (block_take(block, buffer->place.size, needs->alignment, &buffer->place.offset)) {
      buffer->block = block;
      return NULL;
    }
  }
  shared = shared && has_room_for_block(device, kind, block_size);
  uint64_t size = shared ? block_size : buffer->place.size;
  vulkan_block *block = NULL;
  dure_status status = block_create(device, type, kind, size, !shared, &block);
  if (status != NULL && shared && dure_status_code(status) == DURE_OUT_OF_MEMORY) {
    dure_status_free(status);  // not a whole block any more, but perhaps this buffer alone
    status = block_create(device, type, kind, buffer->place.size, true, &block);
  }
  DURE_TRY(status);
  if (!block_take(block, buffer->place.size, needs->alignment, &buffer->place.offset)) {
    return dure_fail(DURE_INTERNAL, "a new block of device memory has no room for its first buffer");
  }
  buffer->block = block;
  return NULL;
}

// ---- buffers ----

// Waits for the device: buffers are created while a program is compiled, not while it runs.
static dure_status zero_on_device(vulkan_device *device, vulkan_buffer *buffer) {
  VkCommandBuffer commands = VK_NULL_HANDLE;
  DURE_TRY(vulkan_commands_begin(device, device->command_pool, VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT, &commands));
  device->api.CmdFillBuffer(commands, buffer->handle, 0, VK_WHOLE_SIZE, 0);
  VkFenceCreateInfo fence_info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
  VkFence fence = VK_NULL_HANDLE;
  VkResult result = device->api.EndCommandBuffer(commands);
  if (result == VK_SUCCESS) result = device->api.CreateFence(device->handle, &fence_info, NULL, &fence);
  VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &commands};
  if (result == VK_SUCCESS) result = device->api.QueueSubmit(device->queue, 1, &submit, fence);
  if (result == VK_SUCCESS) result = device->api.WaitForFences(device->handle, 1, &fence, VK_TRUE, UINT64_MAX);
  if (fence != VK_NULL_HANDLE) device->api.DestroyFence(device->handle, fence, NULL);
  vulkan_commands_free(device, device->command_pool, commands);
  if (result != VK_SUCCESS) return vulkan_fail(device, result, "zeroing a new buffer");
  return NULL;
}

static void destroy_parts(vulkan_device *device, vulkan_buffer *buffer) {
  if (buffer->handle != VK_NULL_HANDLE) device->api.DestroyBuffer(device->handle, buffer->handle, NULL);
  if (buffer->block != NULL) {
    block_give(buffer->block, buffer->place);
    block_release_if_empty(device, buffer->block);
  }
  free(buffer);
}

static dure_status create_parts(vulkan_device *device, dure_memory_kind kind, const char *label,
                                vulkan_buffer *buffer) {
  VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                             .size = buffer->handle_size,
                             .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                      VK_BUFFER_USAGE_TRANSFER_DST_BIT};
  // Both queues may use it without handing it over: buffers lose nothing by that.
  const uint32_t families[2] = {device->capabilities.queue_family, device->capabilities.transfer_family};
  if (device->transfer_queue != VK_NULL_HANDLE && families[0] != families[1]) {
    info.sharingMode = VK_SHARING_MODE_CONCURRENT;
    info.queueFamilyIndexCount = 2;
    info.pQueueFamilyIndices = families;
  }
  if (dure_vulkan_caps_has(&device->plan.caps, DURE_VULKAN_TEXEL_BUFFERS))
    info.usage |= VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT;
  VULKAN_TRY(device, device->api.CreateBuffer(device->handle, &info, NULL, &buffer->handle), "creating buffer '%s'",
             label);
  vulkan_name_object(device, VK_OBJECT_TYPE_BUFFER, (uint64_t)buffer->handle, label);

  VkMemoryRequirements needs;
  device->api.GetBufferMemoryRequirements(device->handle, buffer->handle, &needs);
  int type = choose_memory_type(device, needs.memoryTypeBits, kind);
  if (type < 0) {
    return dure_fail(DURE_UNSUPPORTED, "%s has no %s memory for buffers", device->head.info.identifier,
                     kind == DURE_MEMORY_HOST ? "host-visible coherent" : "device-local");
  }
  DURE_TRY(place_buffer(device, buffer, &needs, (uint32_t)type));
  VULKAN_TRY(device,
             device->api.BindBufferMemory(device->handle, buffer->handle, buffer->block->memory, buffer->place.offset),
             "binding memory of buffer '%s'", label);
  return NULL;
}

static dure_status zero(vulkan_device *device, vulkan_buffer *buffer) {
  if (buffer->block->mapped == NULL) return zero_on_device(device, buffer);
  memset(buffer->block->mapped + buffer->place.offset, 0, buffer->handle_size);
  return NULL;
}

static dure_status create_buffer(vulkan_device *device, uint64_t size, dure_memory_kind kind, const char *label,
                                 bool is_zeroed, dure_buffer **out_buffer) {
  *out_buffer = NULL;
  vulkan_buffer *buffer = calloc(1, sizeof(*buffer));
  if (buffer == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to describe buffer '%s'", label);
  buffer->head.device = &device->head;
  buffer->head.kind = kind;
  buffer->handle_size = round_up(size, handle_granule);
  dure_status status = create_parts(device, kind, label, buffer);
  if (status == NULL && is_zeroed) status = zero(device, buffer);
  if (status != NULL) {
    destroy_parts(device, buffer);
    return status;
  }
  // A software driver's device memory is the host's own.
  const bool is_reachable = kind == DURE_MEMORY_HOST || device->plan.caps.kind == DURE_DEVICE_CPU;
  if (is_reachable && buffer->block->mapped != NULL) buffer->head.mapped = buffer->block->mapped + buffer->place.offset;
  *out_buffer = &buffer->head;
  return NULL;
}

dure_status vulkan_buffer_create(dure_device *head, uint64_t size, dure_memory_kind kind, const char *label,
                                 dure_buffer **out_buffer) {
  DURE_TRY(create_buffer(vulkan_device_of(head), size, kind, label, true, out_buffer));
  if (kind == DURE_MEMORY_DEVICE) head->memory_overhead -= size;  // the HAL counts it from now on
  return NULL;
}

dure_status vulkan_staging_create(vulkan_device *device, uint64_t size, dure_buffer **out_buffer) {
  return create_buffer(device, size, DURE_MEMORY_HOST, "staging", false, out_buffer);
}

void vulkan_buffer_destroy(dure_buffer *buffer) {
  if (buffer->kind == DURE_MEMORY_DEVICE) buffer->device->memory_overhead += buffer->size;
  destroy_parts(vulkan_device_of(buffer->device), (vulkan_buffer *)buffer);
}

void vulkan_memory_release(vulkan_device *device) {
  while (device->first_block != NULL) {
    vulkan_block *block = device->first_block;
    device->first_block = block->next;
    block_destroy(device, block);
  }
}
