// The device "reference": the oracle behind the hardware abstraction. Buffers are host memory, streams run at once.
#include <float.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/hal.h"
#include "runtime/os.h"
#include "runtime/reference/reference.h"

typedef struct reference_event {
  dure_event base;
  _Atomic uint64_t value;
} reference_event;

typedef enum command_kind { COMMAND_OP, COMMAND_COPY, COMMAND_FILL } command_kind;

typedef struct reference_command {
  command_kind kind;
  char *label;
  dure_op_call *call;            // COMMAND_OP, owned
  dure_buffer *source, *target;  // COMMAND_COPY, COMMAND_FILL
  uint64_t source_offset, target_offset, size;
  uint32_t pattern;
} reference_command;

typedef struct reference_recording {
  dure_recording base;
  bool with_timestamps;
  char *label;  // of the commands that follow
  reference_command *commands;
  size_t count, capacity;
  dure_command_time *times;  // [count] once finished, with timestamps
} reference_recording;

static const dure_device_vtable vtable;

static char *copy_text(const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = malloc(size);
  if (copy != NULL) memcpy(copy, text, size);
  return copy;
}

static dure_status out_of_memory(const char *what) {
  return dure_fail(DURE_OUT_OF_MEMORY, "the reference device has no memory left for %s", what);
}

// ---- the device -------------------------------------------------------------------------------------------------

static dure_device_info describe(void) {
  dure_device_info info = {.kind = DURE_DEVICE_REFERENCE,
                           .memory_bytes = dure_os_memory_total(),
                           .memory_budget_bytes = dure_os_memory_available(),
                           .usable = true,
                           .limits = {.max_binding_bytes = UINT64_MAX,
                                      .max_allocation_bytes = UINT64_MAX,
                                      .offset_alignment = 64,
                                      .max_dispatch_flops = DBL_MAX,
                                      .max_recording_flops = DBL_MAX,
                                      .max_recording_bytes = DBL_MAX,
                                      .max_loop_iterations = UINT64_MAX}};
  snprintf(info.identifier, sizeof(info.identifier), "reference");
  snprintf(info.backend, sizeof(info.backend), "reference");
  snprintf(info.name, sizeof(info.name), "plain C reference");
  snprintf(info.driver, sizeof(info.driver), "dure %s", DURE_VERSION);
  snprintf(info.reason, sizeof(info.reason), "the oracle: double-precision sums on one core, slow");
  return info;
}

static dure_status device_list(dure_device_info **infos, size_t *count, char **out_note) {
  *out_note = NULL;
  dure_device_info *grown = realloc(*infos, (*count + 1) * sizeof(*grown));
  if (grown == NULL) return out_of_memory("the list of devices");
  *infos = grown;
  grown[(*count)++] = describe();
  return NULL;
}

static dure_status device_open(uint32_t index, dure_device **out_device) {
  *out_device = NULL;
  if (index != 0) return dure_fail(DURE_NOT_FOUND, "there is one reference device, number 0; found number %u", index);
  dure_device *device = calloc(1, sizeof(*device));
  if (device == NULL) return out_of_memory("itself");
  device->vtable = &vtable;
  device->info = describe();
  *out_device = device;
  return NULL;
}

static void device_close(dure_device *device) { free(device); }

static dure_status available_memory(dure_device *device, uint64_t *out_bytes) {
  (void)device;
  *out_bytes = dure_os_memory_available();
  return NULL;
}

static dure_status buffer_create(dure_device *device, uint64_t size, dure_memory_kind kind, const char *label,
                                 dure_buffer **out_buffer) {
  *out_buffer = NULL;
  dure_buffer *buffer = calloc(1, sizeof(*buffer));
  if (buffer == NULL) return out_of_memory(label != NULL ? label : "a buffer");
  buffer->device = device;
  buffer->size = size;
  buffer->kind = kind;
  buffer->mapped = size <= SIZE_MAX ? calloc(size > 0 ? (size_t)size : 1, 1) : NULL;
  snprintf(buffer->label, sizeof(buffer->label), "%s", label != NULL ? label : "");
  if (buffer->mapped == NULL) {
    free(buffer);
    return dure_fail(DURE_OUT_OF_MEMORY, "the host has no %llu bytes for %s", (unsigned long long)size,
                     label != NULL ? label : "a buffer");
  }
  *out_buffer = buffer;
  return NULL;
}

static void buffer_destroy(dure_buffer *buffer) {
  free(buffer->mapped);
  free(buffer);
}

// ---- events -----------------------------------------------------------------------------------------------------

static dure_status event_create(dure_device *device, uint64_t value, dure_event **out_event) {
  *out_event = NULL;
  reference_event *event = calloc(1, sizeof(*event));
  if (event == NULL) return out_of_memory("an event");
  event->base.device = device;
  atomic_init(&event->value, value);
  *out_event = &event->base;
  return NULL;
}

static void event_destroy(dure_event *event) { free(event); }

static dure_status event_signal(dure_event *event, uint64_t value) {
  reference_event *self = (reference_event *)event;
  const uint64_t current = atomic_load(&self->value);
  if (value <= current) {
    return dure_fail(DURE_INVALID_ARGUMENT, "an event only grows: it has reached %llu, so it cannot be set to %llu",
                     (unsigned long long)current, (unsigned long long)value);
  }
  atomic_store(&self->value, value);
  return NULL;
}

static dure_status event_read(dure_event *event, uint64_t *out_value) {
  *out_value = atomic_load(&((reference_event *)event)->value);
  return NULL;
}

static dure_status event_wait(dure_event *event, uint64_t value, uint64_t timeout_nanoseconds, bool *out_reached) {
  (void)timeout_nanoseconds;  // everything enqueued has been done, so waiting would change nothing
  *out_reached = atomic_load(&((reference_event *)event)->value) >= value;
  return NULL;
}

// ---- streams ----------------------------------------------------------------------------------------------------

static dure_status stream_create(dure_device *device, dure_stream **out_stream) {
  *out_stream = calloc(1, sizeof(**out_stream));
  if (*out_stream == NULL) return out_of_memory("a stream");
  (*out_stream)->device = device;
  return NULL;
}

static void stream_destroy(dure_stream *stream) { free(stream); }

static dure_status stream_upload(dure_stream *stream, dure_buffer *buffer, uint64_t offset, const void *data,
                                 uint64_t size) {
  (void)stream;
  if (size > 0) memcpy((unsigned char *)buffer->mapped + offset, data, (size_t)size);
  return NULL;
}

static dure_status stream_download(dure_stream *stream, dure_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                                   uint64_t *out_point) {
  if (size > 0) memcpy(data, (const unsigned char *)buffer->mapped + offset, (size_t)size);
  if (out_point != NULL) *out_point = stream->point;
  return NULL;
}

static dure_status (*const oracles[DURE_OP_COUNT])(const dure_op_call *call) = {
#define DURE_OP(name, ...) dure_reference_##name,
#include "runtime/ops.def"
#undef DURE_OP
};

static dure_status run_command(const reference_command *command) {
  unsigned char *target =
      command->target != NULL ? (unsigned char *)command->target->mapped + command->target_offset : NULL;
  switch (command->kind) {
    case COMMAND_OP: return oracles[command->call->op](command->call);
    case COMMAND_COPY:
      memmove(target, (const unsigned char *)command->source->mapped + command->source_offset, (size_t)command->size);
      return NULL;
    case COMMAND_FILL:
      for (uint64_t i = 0; i + sizeof(command->pattern) <= command->size; i += sizeof(command->pattern)) {
        memcpy(target + i, &command->pattern, sizeof(command->pattern));
      }
      return NULL;
  }
  return NULL;
}

static dure_status run_recording(reference_recording *recording) {
  for (size_t i = 0; i < recording->count; i++) {
    const reference_command *command = &recording->commands[i];
    uint64_t start = recording->with_timestamps ? dure_os_nanoseconds() : 0;
    dure_status status = run_command(command);
    if (status != NULL) return dure_status_prefix(status, "%s", command->label != NULL ? command->label : "reference");
    if (recording->with_timestamps) recording->times[i].nanoseconds = (double)(dure_os_nanoseconds() - start);
  }
  return NULL;
}

static dure_status stream_submit(dure_stream *stream, dure_recording *const *recordings, size_t count,
                                 dure_event *wait_event, uint64_t wait_value, dure_event *signal_event,
                                 uint64_t signal_value) {
  (void)stream;
  const uint64_t reached = wait_event != NULL ? atomic_load(&((reference_event *)wait_event)->value) : 0;
  if (wait_event != NULL && reached < wait_value) {
    return dure_fail(
        DURE_UNSUPPORTED,
        "the reference device runs work as it is submitted, so the event must have reached %llu before (it is at %llu)",
        (unsigned long long)wait_value, (unsigned long long)reached);
  }
  for (size_t i = 0; i < count; i++) DURE_TRY(run_recording((reference_recording *)recordings[i]));
  return signal_event != NULL ? event_signal(signal_event, signal_value) : NULL;
}

static dure_status stream_wait(dure_stream *stream, uint64_t point) {
  (void)stream;
  (void)point;
  return NULL;
}

// ---- recordings -------------------------------------------------------------------------------------------------

static dure_status recording_create(dure_device *device, const char *label, uint32_t flags,
                                    dure_recording **out_recording) {
  *out_recording = NULL;
  reference_recording *recording = calloc(1, sizeof(*recording));
  if (recording == NULL) return out_of_memory("a recording");
  recording->base.device = device;
  recording->with_timestamps = (flags & DURE_RECORD_TIMESTAMPS) != 0;
  recording->label = copy_text(label != NULL ? label : "");
  *out_recording = &recording->base;
  return NULL;
}

static void recording_destroy(dure_recording *recording) {
  reference_recording *self = (reference_recording *)recording;
  for (size_t i = 0; i < self->count; i++) {
    free(self->commands[i].label);
    free(self->commands[i].call);
  }
  free(self->commands);
  free(self->times);
  free(self->label);
  free(self);
}

static void recording_label(dure_recording *recording, const char *label) {
  reference_recording *self = (reference_recording *)recording;
  free(self->label);
  self->label = copy_text(label != NULL ? label : "");
}

// Adds the command under the current label; takes over `command.call`, also when it fails.
static dure_status append(dure_recording *recording, reference_command command) {
  reference_recording *self = (reference_recording *)recording;
  if (self->count == self->capacity) {
    size_t capacity = self->capacity > 0 ? 2 * self->capacity : 16;
    reference_command *grown = realloc(self->commands, capacity * sizeof(*grown));
    if (grown == NULL) {
      free(command.call);
      return out_of_memory("a recording's commands");
    }
    self->commands = grown;
    self->capacity = capacity;
  }
  command.label = copy_text(self->label != NULL ? self->label : "");
  self->commands[self->count++] = command;
  return NULL;
}

static dure_status recording_copy(dure_recording *recording, dure_buffer *source, uint64_t source_offset,
                                  dure_buffer *target, uint64_t target_offset, uint64_t size) {
  return append(recording, (reference_command){.kind = COMMAND_COPY,
                                               .source = source,
                                               .source_offset = source_offset,
                                               .target = target,
                                               .target_offset = target_offset,
                                               .size = size});
}

static dure_status recording_fill(dure_recording *recording, dure_buffer *buffer, uint64_t offset, uint64_t size,
                                  uint32_t pattern) {
  return append(recording,
                (reference_command){
                    .kind = COMMAND_FILL, .target = buffer, .target_offset = offset, .size = size, .pattern = pattern});
}

static dure_status recording_finish(dure_recording *recording) {
  reference_recording *self = (reference_recording *)recording;
  recording->finished = true;
  if (!self->with_timestamps || self->count == 0) return NULL;
  self->times = calloc(self->count, sizeof(*self->times));
  if (self->times == NULL) return out_of_memory("a recording's times");
  for (size_t i = 0; i < self->count; i++) {
    self->times[i].label = self->commands[i].label != NULL ? self->commands[i].label : "";
  }
  return NULL;
}

static dure_status recording_times(dure_recording *recording, const dure_command_time **out_times, size_t *out_count) {
  const reference_recording *self = (const reference_recording *)recording;
  *out_times = self->times;
  *out_count = self->times != NULL ? self->count : 0;
  return NULL;
}

// ---- ops instead of kernels -------------------------------------------------------------------------------------

static dure_status kernel_get(dure_device *device, const char *name, const uint32_t *constants, size_t constant_count,
                              dure_kernel **out_kernel) {
  (void)device;
  (void)constants;
  (void)constant_count;
  *out_kernel = NULL;
  return dure_fail(DURE_UNSUPPORTED, "the reference device has ops, not kernels; there is no kernel '%s'", name);
}

static dure_status recording_dispatch(dure_recording *recording, dure_kernel *kernel, const dure_binding *bindings,
                                      size_t binding_count, const void *push, size_t push_size, uint32_t groups_x,
                                      uint32_t groups_y, uint32_t groups_z) {
  (void)recording, (void)kernel, (void)bindings, (void)binding_count, (void)push, (void)push_size;
  (void)groups_x, (void)groups_y, (void)groups_z;
  return dure_fail(DURE_UNSUPPORTED, "the reference device has ops, not kernels, and dispatches nothing");
}

static dure_status record_op(dure_device *device, dure_recording *recording, const struct dure_op_call *call) {
  (void)device;
  if ((unsigned)call->op >= DURE_OP_COUNT)
    return dure_fail(DURE_INTERNAL, "there is no op number %u", (unsigned)call->op);
  dure_op_call *copy = malloc(sizeof(*copy));
  if (copy == NULL) return out_of_memory("a recorded op");
  *copy = *call;
  return append(recording, (reference_command){.kind = COMMAND_OP, .call = copy});
}

static const dure_backend_op *device_op(dure_device *device, uint32_t op) {
  static const dure_backend_op any = {.record = record_op, .takes_16_bit = true};
  (void)device;
  return op < DURE_OP_COUNT ? &any : NULL;
}

static const dure_device_vtable vtable = {
    .close = device_close,
    .available_memory = available_memory,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .stream_upload = stream_upload,
    .stream_download = stream_download,
    .stream_submit = stream_submit,
    .stream_wait = stream_wait,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .event_signal = event_signal,
    .event_read = event_read,
    .event_wait = event_wait,
    .kernel_get = kernel_get,
    .recording_create = recording_create,
    .recording_destroy = recording_destroy,
    .recording_label = recording_label,
    .recording_dispatch = recording_dispatch,
    .recording_copy = recording_copy,
    .recording_fill = recording_fill,
    .recording_finish = recording_finish,
    .recording_times = recording_times,
    .op = device_op,
};

const dure_backend dure_backend_reference = {"reference", device_list, device_open};
