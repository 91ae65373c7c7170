// The structs behind the HAL's handles for Vulkan, and what the files of this folder ask of each other.
//
//   loader, capabilities, plan   what is there and what is used of it      instance   loader + instance + validation
//   device     open, close, failures        memory     blocks, buffers      hazards    where barriers go
//   stream     staging ring, submits, waits, events                         pipelines  kernels, pipeline cache on disk
//   recording  command lists, descriptors, timestamps
#ifndef DURE_RUNTIME_VULKAN_INTERNAL_H_
#define DURE_RUNTIME_VULKAN_INTERNAL_H_

#include "runtime/hal.h"
#include "runtime/vulkan/capabilities.h"
#include "runtime/vulkan/hazards.h"
#include "runtime/vulkan/loader.h"
#include "runtime/vulkan/plan.h"
#include "runtime/vulkan/profiles.h"
#include "runtime/vulkan/tuning.h"
#include "runtime/vulkan/vulkan_device.h"

// ---- instance.c ----

typedef struct vulkan_candidate {
  VkPhysicalDevice physical;
  vulkan_capabilities capabilities;
  vulkan_plan plan;
} vulkan_candidate;

// The devices of the process's one instance, the best first. The instance itself stays when a system is closed.
typedef struct vulkan_system {
  vulkan_api api;
  VkInstance instance;
  struct vulkan_instance *validating;  // this system's own, when validating
  vulkan_candidate *candidates;
  size_t candidate_count;
} vulkan_system;

DURE_MUST_CHECK dure_status vulkan_system_open(vulkan_system *out_system);
void vulkan_system_close(vulkan_system *system);

// ---- memory.c ----

typedef struct vulkan_range {
  uint64_t offset, size;
} vulkan_range;

// One VkDeviceMemory: shared by small buffers of one kind, or the whole of a larger one.
typedef struct vulkan_block {
  struct vulkan_block *next;
  VkDeviceMemory memory;
  uint8_t *mapped;  // NULL when not host-visible
  uint64_t size;
  uint32_t memory_type;
  dure_memory_kind kind;
  bool dedicated;
  vulkan_range *free;  // sorted by offset, never adjacent
  size_t free_count, free_capacity;
} vulkan_block;

typedef struct vulkan_buffer {
  dure_buffer head;
  VkBuffer handle;
  uint64_t handle_size;  // head.size rounded up to 16
  vulkan_block *block;
  vulkan_range place;  // in the block
} vulkan_buffer;

// ---- pipelines.c ----

typedef struct vulkan_kernel {
  dure_kernel head;
  struct vulkan_kernel *next;
  const dure_shader *shader;
  uint32_t *constants;
  size_t constant_count;
  uint32_t binding_count;
  VkDescriptorSetLayout set_layout;
  VkPipelineLayout layout;
  VkPipeline pipeline;
} vulkan_kernel;

// ---- device.c ----

typedef struct vulkan_device {
  dure_device head;
  vulkan_system system;
  vulkan_api api;  // of the system, with the device's functions
  VkPhysicalDevice physical;
  vulkan_capabilities capabilities;
  vulkan_plan plan;
  VkDevice handle;
  VkQueue queue;
  VkCommandPool command_pool;
  VkQueue transfer_queue;  // for large copies; NULL where there is none
  VkCommandPool transfer_pool;
  vulkan_block *first_block;
  vulkan_kernel *first_kernel;
  VkPipelineCache pipeline_cache;
  char *pipeline_cache_path;     // NULL when it is not kept on disk
  uint64_t pipeline_cache_hash;  // of what was read
  bool pipeline_cache_is_stale;  // a pipeline was made since it was read
  bool has_exact_bindings;       // the synchronization validation is watching: no binding reaches past its operand
  vulkan_tuning tuning;
  dure_vulkan_trust trust;  // in kernels of matrix units
  bool is_lost;
  char fault[512];               // what the driver said of it; "" for nothing
  uint64_t compile_nanoseconds;  // spent on compiling kernels so far
  uint32_t compiled_kernels;
  bool shows_progress;      // a line of progress has been shown
  char last_recording[64];  // what was submitted last, for messages
  char last_label[128];
} vulkan_device;

static inline vulkan_device *vulkan_device_of(const dure_device *device) { return (vulkan_device *)device; }

// Whether a switch of the environment is set to anything but 0.
bool vulkan_environment_is_on(const char *name);

// A failure that says what was being done ("allocating 3 MiB for weights") when a call returned `result`.
DURE_MUST_CHECK dure_status vulkan_fail(vulkan_device *device, VkResult result, const char *doing, ...)
    DURE_PRINTF(3, 4);

// Returns from the calling function when a Vulkan call fails; the further arguments say what was being done.
#define VULKAN_TRY(device, call, ...)                                                                \
  do {                                                                                               \
    VkResult vulkan_try_result = (call);                                                             \
    if (vulkan_try_result != VK_SUCCESS) return vulkan_fail(device, vulkan_try_result, __VA_ARGS__); \
  } while (0)

// A command buffer of one of the device's pools, in recording state.
DURE_MUST_CHECK dure_status vulkan_commands_begin(vulkan_device *device, VkCommandPool pool,
                                                  VkCommandBufferUsageFlags usage, VkCommandBuffer *out_commands);
void vulkan_commands_free(vulkan_device *device, VkCommandPool pool, VkCommandBuffer commands);
// Names an object for debuggers and validation messages.
void vulkan_name_object(vulkan_device *device, VkObjectType type, uint64_t handle, const char *name);

extern const dure_device_vtable vulkan_vtable;

dure_status vulkan_available_memory(dure_device *device, uint64_t *out_bytes);
dure_status vulkan_buffer_create(dure_device *device, uint64_t size, dure_memory_kind kind, const char *label,
                                 dure_buffer **out_buffer);
void vulkan_buffer_destroy(dure_buffer *buffer);
// A host buffer that is not zeroed: touching all of a ring's pages costs 0.1 s, and most programs use few of them.
DURE_MUST_CHECK dure_status vulkan_staging_create(vulkan_device *device, uint64_t size, dure_buffer **out_buffer);
void vulkan_memory_release(vulkan_device *device);
uint64_t vulkan_memory_overhead(const dure_device *device);

dure_status vulkan_stream_create(dure_device *device, dure_stream **out_stream);
void vulkan_stream_destroy(dure_stream *stream);
dure_status vulkan_stream_upload(dure_stream *stream, dure_buffer *buffer, uint64_t offset, const void *data,
                                 uint64_t size);
dure_status vulkan_stream_download(dure_stream *stream, dure_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                                   uint64_t *out_point);
dure_status vulkan_stream_submit(dure_stream *stream, dure_recording *const *recordings, size_t count,
                                 dure_event *wait_event, uint64_t wait_value, dure_event *signal_event,
                                 uint64_t signal_value);
dure_status vulkan_stream_wait(dure_stream *stream, uint64_t point);

dure_status vulkan_semaphore_create(vulkan_device *device, uint64_t value, VkSemaphore *out_semaphore);
VkSemaphore vulkan_event_semaphore(const dure_event *event);
dure_status vulkan_event_create(dure_device *device, uint64_t value, dure_event **out_event);
void vulkan_event_destroy(dure_event *event);
dure_status vulkan_event_signal(dure_event *event, uint64_t value);
dure_status vulkan_event_read(dure_event *event, uint64_t *out_value);
dure_status vulkan_event_wait(dure_event *event, uint64_t value, uint64_t timeout_nanoseconds, bool *out_reached);

// Takes away the line that says how far compiling is: something else begins.
void vulkan_kernels_end_progress(vulkan_device *device);
dure_status vulkan_kernel_get(dure_device *device, const char *name, const uint32_t *constants, size_t constant_count,
                              dure_kernel **out_kernel);
DURE_MUST_CHECK dure_status vulkan_pipelines_open(vulkan_device *device);
void vulkan_pipelines_close(vulkan_device *device);

dure_status vulkan_recording_create(dure_device *device, const char *label, uint32_t flags,
                                    dure_recording **out_recording);
void vulkan_recording_destroy(dure_recording *recording);
void vulkan_recording_label(dure_recording *recording, const char *label);
dure_status vulkan_recording_dispatch(dure_recording *recording, dure_kernel *kernel, const dure_binding *bindings,
                                      size_t binding_count, const void *push, size_t push_size, uint32_t groups_x,
                                      uint32_t groups_y, uint32_t groups_z);
dure_status vulkan_recording_copy(dure_recording *recording, dure_buffer *source, uint64_t source_offset,
                                  dure_buffer *target, uint64_t target_offset, uint64_t size);
dure_status vulkan_recording_fill(dure_recording *recording, dure_buffer *buffer, uint64_t offset, uint64_t size,
                                  uint32_t pattern);
dure_status vulkan_recording_finish(dure_recording *recording);
dure_status vulkan_recording_times(dure_recording *recording, const dure_command_time **out_times, size_t *out_count);
dure_status vulkan_tune(dure_device *device, dure_tune_sink sink, void *context, char **out_path);

VkCommandBuffer vulkan_recording_commands(const dure_recording *recording);
const char *vulkan_recording_name(const dure_recording *recording);
const char *vulkan_recording_first_label(const dure_recording *recording);
const char *vulkan_recording_last_label(const dure_recording *recording);

#endif  // DURE_RUNTIME_VULKAN_INTERNAL_H_
