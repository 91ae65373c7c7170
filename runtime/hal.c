// The public face of the hardware abstraction: validates arguments, keeps the list of buffers and the memory account,
// finds the backends, and dispatches.
#include "runtime/hal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/log.h"

// In the order of preference of `auto` among devices of one kind: an NVIDIA card is driven by CUDA where it can be. A
// backend is added by one row.
static const dure_backend *const backends[] = {&dure_backend_cuda, &dure_backend_vulkan, &dure_backend_reference};
enum { backend_count = sizeof(backends) / sizeof(backends[0]) };

// ---- devices ---------------------------------------------------------------------------------------------------

static int preference(dure_device_kind kind) {
  switch (kind) {
    case DURE_DEVICE_DISCRETE_GPU: return 0;
    case DURE_DEVICE_INTEGRATED_GPU: return 1;
    case DURE_DEVICE_VIRTUAL_GPU: return 2;
    case DURE_DEVICE_CPU: return 3;
    case DURE_DEVICE_REFERENCE: return 4;
  }
  return 5;
}

// Unusable devices last; otherwise by kind. Stable, so that a backend's own order and the backends' order are kept.
static void sort_by_preference(dure_device_info *infos, size_t count) {
  for (size_t i = 1; i < count; i++) {
    dure_device_info moved = infos[i];
    int rank = preference(moved.kind) + (moved.usable ? 0 : 100);
    size_t j = i;
    for (; j > 0; j--) {
      int before = preference(infos[j - 1].kind) + (infos[j - 1].usable ? 0 : 100);
      if (before <= rank) break;
      infos[j] = infos[j - 1];
    }
    infos[j] = moved;
  }
}

static void append_note(char **notes, char *note) {
  if (note == NULL) return;
  if (*notes == NULL) {
    *notes = note;
    return;
  }
  size_t size = strlen(*notes) + strlen(note) + 2;
  char *joined = malloc(size);
  if (joined != NULL) {
    snprintf(joined, size, "%s\n%s", *notes, note);
    free(*notes);
    *notes = joined;
  }
  free(note);
}

dure_status dure_devices_list(dure_device_info **out_infos, size_t *out_count, char **out_notes) {
  *out_infos = NULL;
  *out_count = 0;
  if (out_notes != NULL) *out_notes = NULL;
  dure_device_info *infos = NULL;
  size_t count = 0;
  char *notes = NULL;
  for (size_t i = 0; i < backend_count; i++) {
    char *note = NULL;
    dure_status status = backends[i]->list(&infos, &count, &note);
    append_note(&notes, note);
    if (status != NULL) {
      free(infos);
      free(notes);
      return status;
    }
  }
  sort_by_preference(infos, count);
  *out_infos = infos;
  *out_count = count;
  if (out_notes != NULL) {
    *out_notes = notes;
  } else {
    free(notes);
  }
  return NULL;
}

static dure_status open_identified(const char *identifier, dure_device **out_device) {
  const char *colon = strchr(identifier, ':');
  size_t length = colon == NULL ? strlen(identifier) : (size_t)(colon - identifier);
  uint32_t index = colon == NULL ? 0 : (uint32_t)strtoul(colon + 1, NULL, 10);
  for (size_t i = 0; i < backend_count; i++) {
    if (strlen(backends[i]->name) == length && memcmp(backends[i]->name, identifier, length) == 0) {
      return backends[i]->open(index, out_device);
    }
  }
  return dure_fail(DURE_INTERNAL, "no backend for device '%s'", identifier);
}

// The listed device that `wanted` means: "auto", an identifier, or a backend's name (its first device).
static const dure_device_info *match_device(const dure_device_info *infos, size_t count, const char *wanted) {
  bool any = strcmp(wanted, "auto") == 0;
  for (size_t i = 0; i < count; i++) {
    if (any && !infos[i].usable) continue;
    if (any || strcmp(infos[i].identifier, wanted) == 0 || strcmp(infos[i].backend, wanted) == 0) return &infos[i];
  }
  return NULL;
}

static dure_status unknown_device(const dure_device_info *infos, size_t count, const char *wanted, const char *notes) {
  char names[512] = "";
  for (size_t i = 0; i < count; i++) {
    size_t used = strlen(names);
    snprintf(names + used, sizeof(names) - used, "%s%s", i == 0 ? "" : ", ", infos[i].identifier);
  }
  return dure_fail(DURE_NOT_FOUND, "no device '%s'; expected auto or one of: %s%s%s", wanted, names,
                   notes != NULL ? "\n" : "", notes != NULL ? notes : "");
}

dure_status dure_device_open(const char *identifier, dure_device **out_device) {
  *out_device = NULL;
  const char *wanted = identifier == NULL || identifier[0] == '\0' ? "auto" : identifier;
  dure_device_info *infos = NULL;
  size_t count = 0;
  char *notes = NULL;
  DURE_TRY(dure_devices_list(&infos, &count, &notes));
  const dure_device_info *info = match_device(infos, count, wanted);
  dure_status status = NULL;
  if (info == NULL) {
    status = unknown_device(infos, count, wanted, notes);
  } else if (!info->usable) {
    status =
        dure_fail(DURE_UNSUPPORTED, "device '%s' (%s) cannot be used: %s", info->identifier, info->name, info->reason);
  } else {
    status = open_identified(info->identifier, out_device);
    if (status == NULL && info->kind == DURE_DEVICE_REFERENCE && strcmp(wanted, "auto") == 0) {
      dure_log(DURE_LOG_WARNING,
               "no GPU or Vulkan driver can be used; the reference device is slow ('dure devices' "
               "says what to install)");
    }
  }
  free(infos);
  free(notes);
  return status;
}

void dure_device_close(dure_device *device) {
  if (device == NULL) return;
  for (dure_buffer *buffer = device->first_buffer; buffer != NULL; buffer = buffer->next) {
    dure_log(DURE_LOG_WARNING, "buffer '%s' (%llu bytes) still exists while device %s is closed", buffer->label,
             (unsigned long long)buffer->size, device->info.identifier);
  }
  device->vtable->close(device);
}

const dure_device_info *dure_device_get_info(const dure_device *device) { return &device->info; }

dure_status dure_device_memory(dure_device *device, uint64_t *out_used, uint64_t *out_peak, uint64_t *out_available) {
  const uint64_t taken = device->memory_used + device->memory_overhead;
  *out_used = taken;
  *out_peak = device->memory_peak;
  if (out_available == NULL) return NULL;
  *out_available = 0;
  uint64_t available = 0;
  DURE_TRY(device->vtable->available_memory(device, &available));
  if (device->memory_restriction > 0) {
    uint64_t left = device->memory_restriction > taken ? device->memory_restriction - taken : 0;
    if (left < available) available = left;
  }
  *out_available = available;
  return NULL;
}

uint64_t dure_device_memory_overhead(const dure_device *device) {
  return device->vtable->memory_overhead != NULL ? device->vtable->memory_overhead(device) : 0;
}

static void restrict_bytes(uint64_t *limit, uint64_t wanted) {
  if (wanted > 0 && wanted < *limit) *limit = wanted;
}
static void restrict_rate(double *limit, double wanted) {
  if (wanted > 0 && wanted < *limit) *limit = wanted;
}

void dure_device_restrict(dure_device *device, const dure_limits *limits, uint64_t memory_budget_bytes) {
  if (limits != NULL) {
    restrict_bytes(&device->info.limits.max_binding_bytes, limits->max_binding_bytes);
    restrict_bytes(&device->info.limits.max_allocation_bytes, limits->max_allocation_bytes);
    if (limits->offset_alignment > device->info.limits.offset_alignment)
      device->info.limits.offset_alignment = limits->offset_alignment;
    restrict_rate(&device->info.limits.max_dispatch_flops, limits->max_dispatch_flops);
    restrict_rate(&device->info.limits.max_recording_flops, limits->max_recording_flops);
    restrict_rate(&device->info.limits.max_recording_bytes, limits->max_recording_bytes);
    restrict_bytes(&device->info.limits.max_loop_iterations, limits->max_loop_iterations);
  }
  bool is_smaller = device->memory_restriction == 0 || memory_budget_bytes < device->memory_restriction;
  if (memory_budget_bytes > 0 && is_smaller) device->memory_restriction = memory_budget_bytes;
}

// ---- buffers ---------------------------------------------------------------------------------------------------

// "parameters 480.0 MiB, gradients 480.0 MiB, ...": the largest live buffers.
static void describe_consumers(const dure_device *device, char *text, size_t size) {
  const dure_buffer *shown[4] = {NULL};
  text[0] = '\0';
  for (size_t rank = 0; rank < 4; rank++) {
    const dure_buffer *largest = NULL;
    for (const dure_buffer *buffer = device->first_buffer; buffer != NULL; buffer = buffer->next) {
      bool is_shown = false;
      for (size_t i = 0; i < rank; i++) is_shown = is_shown || shown[i] == buffer;
      if (!is_shown && (largest == NULL || buffer->size > largest->size)) largest = buffer;
    }
    if (largest == NULL) return;
    shown[rank] = largest;
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s %.1f MiB", rank == 0 ? "" : ", ", largest->label,
             (double)largest->size / 1048576.0);
  }
}

// Device memory only: what the host has left is known when it is taken.
static dure_status check_budget(dure_device *device, uint64_t size, dure_memory_kind kind, const char *label) {
  const uint64_t used = device->memory_used;
  uint64_t available = 0;
  if (kind == DURE_MEMORY_HOST) return NULL;
  DURE_TRY(device->vtable->available_memory(device, &available));
  available += device->memory_overhead;  // taken already, and the buffer may lie in it
  if (device->memory_restriction > 0) {
    const uint64_t left = device->memory_restriction > used ? device->memory_restriction - used : 0;
    if (left < available) available = left;
  }
  if (size <= available) return NULL;
  char consumers[512];
  describe_consumers(device, consumers, sizeof(consumers));
  return dure_fail(
      DURE_OUT_OF_MEMORY,
      "%s needs %.1f MiB on %s, but only %.1f MiB are available (%.1f MiB in use; largest: %s); use a smaller "
      "batch size, context or model, or close other programs that use the device",
      label, (double)size / 1048576.0, device->info.identifier, (double)available / 1048576.0, (double)used / 1048576.0,
      consumers[0] != '\0' ? consumers : "none");
}

dure_status dure_buffer_create(dure_device *device, uint64_t size, dure_memory_kind kind, const char *label,
                               dure_buffer **out_buffer) {
  *out_buffer = NULL;
  if (label == NULL) label = "buffer";
  if (size == 0) return dure_fail(DURE_INVALID_ARGUMENT, "buffer '%s' must not be empty", label);
  if (size <= UINT64_MAX - 3) size = (size + 3) / 4 * 4;
  if (size > device->info.limits.max_allocation_bytes) {
    return dure_fail(DURE_OUT_OF_MEMORY, "%s needs one buffer of %.1f MiB, but %s allows %.1f MiB", label,
                     (double)size / 1048576.0, device->info.identifier,
                     (double)device->info.limits.max_allocation_bytes / 1048576.0);
  }
  DURE_TRY(check_budget(device, size, kind, label));
  dure_buffer *buffer = NULL;
  dure_status status = device->vtable->buffer_create(device, size, kind, label, &buffer);
  if (status != NULL) {
    if (dure_status_code(status) != DURE_OUT_OF_MEMORY) return status;
    char consumers[512];
    describe_consumers(device, consumers, sizeof(consumers));
    return dure_status_prefix(status, "%s needs %.1f MiB on %s (largest in use: %s)", label, (double)size / 1048576.0,
                              device->info.identifier, consumers);
  }
  buffer->device = device;
  buffer->size = size;
  buffer->kind = kind;
  snprintf(buffer->label, sizeof(buffer->label), "%s", label);
  buffer->previous = NULL;
  buffer->next = device->first_buffer;
  if (buffer->next != NULL) buffer->next->previous = buffer;
  device->first_buffer = buffer;
  if (kind == DURE_MEMORY_DEVICE) device->memory_used += size;
  const uint64_t taken = device->memory_used + device->memory_overhead;
  if (taken > device->memory_peak) device->memory_peak = taken;
  *out_buffer = buffer;
  return NULL;
}

void dure_buffer_destroy(dure_buffer *buffer) {
  if (buffer == NULL) return;
  dure_device *device = buffer->device;
  if (buffer->previous != NULL) {
    buffer->previous->next = buffer->next;
  } else {
    device->first_buffer = buffer->next;
  }
  if (buffer->next != NULL) buffer->next->previous = buffer->previous;
  if (buffer->kind == DURE_MEMORY_DEVICE) device->memory_used -= buffer->size;
  device->vtable->buffer_destroy(buffer);
}

uint64_t dure_buffer_size(const dure_buffer *buffer) { return buffer->size; }
void *dure_buffer_map(dure_buffer *buffer) { return buffer->mapped; }

static dure_status check_range(const dure_buffer *buffer, uint64_t offset, uint64_t size, const char *what) {
  if (offset <= buffer->size && size <= buffer->size - offset) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "%s of bytes %llu to %llu lies outside buffer '%s' of %llu bytes", what,
                   (unsigned long long)offset, (unsigned long long)(offset + size), buffer->label,
                   (unsigned long long)buffer->size);
}

// ---- streams and events ----------------------------------------------------------------------------------------

dure_status dure_stream_create(dure_device *device, dure_stream **out_stream) {
  *out_stream = NULL;
  dure_stream *stream = NULL;
  DURE_TRY(device->vtable->stream_create(device, &stream));
  stream->device = device;
  stream->point = 0;
  stream->wait_count = 0;
  *out_stream = stream;
  return NULL;
}

void dure_stream_destroy(dure_stream *stream) {
  if (stream != NULL) stream->device->vtable->stream_destroy(stream);
}

dure_status dure_stream_upload(dure_stream *stream, dure_buffer *buffer, uint64_t offset, const void *data,
                               uint64_t size) {
  DURE_TRY(check_range(buffer, offset, size, "an upload"));
  if (size == 0) return NULL;
  stream->point++;
  return stream->device->vtable->stream_upload(stream, buffer, offset, data, size);
}

dure_status dure_stream_download(dure_stream *stream, dure_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                                 uint64_t *out_point) {
  if (out_point != NULL) *out_point = 0;
  DURE_TRY(check_range(buffer, offset, size, "a download"));
  if (size == 0) {
    if (out_point != NULL) *out_point = stream->point;
    return NULL;
  }
  stream->point++;
  uint64_t point = stream->point;
  DURE_TRY(stream->device->vtable->stream_download(stream, buffer, offset, data, size, &point));
  if (out_point == NULL) return dure_stream_wait(stream, point);
  *out_point = point;
  return NULL;
}

dure_status dure_stream_submit(dure_stream *stream, dure_recording *const *recordings, size_t count,
                               dure_event *wait_event, uint64_t wait_value, dure_event *signal_event,
                               uint64_t signal_value, uint64_t *out_point) {
  if (out_point != NULL) *out_point = 0;
  for (size_t i = 0; i < count; i++) {
    if (!recordings[i]->finished)
      return dure_fail(DURE_INVALID_ARGUMENT, "recording %zu of a submission is not finished", i);
    if (recordings[i]->device != stream->device)
      return dure_fail(DURE_INVALID_ARGUMENT, "a recording belongs to another device");
  }
  stream->point++;
  DURE_TRY(stream->device->vtable->stream_submit(stream, recordings, count, wait_event, wait_value, signal_event,
                                                 signal_value));
  if (out_point != NULL) *out_point = stream->point;
  return NULL;
}

uint64_t dure_stream_point(const dure_stream *stream) { return stream->point; }
uint64_t dure_stream_wait_count(const dure_stream *stream) { return stream->wait_count; }

dure_status dure_stream_wait(dure_stream *stream, uint64_t point) {
  if (point > stream->point) {
    return dure_fail(DURE_INVALID_ARGUMENT, "waiting for point %llu of a stream that is at %llu would never end",
                     (unsigned long long)point, (unsigned long long)stream->point);
  }
  stream->wait_count++;
  return stream->device->vtable->stream_wait(stream, point == 0 ? stream->point : point);
}

dure_status dure_event_create(dure_device *device, uint64_t value, dure_event **out_event) {
  *out_event = NULL;
  dure_event *event = NULL;
  DURE_TRY(device->vtable->event_create(device, value, &event));
  event->device = device;
  *out_event = event;
  return NULL;
}

void dure_event_destroy(dure_event *event) {
  if (event != NULL) event->device->vtable->event_destroy(event);
}

dure_status dure_event_signal(dure_event *event, uint64_t value) {
  return event->device->vtable->event_signal(event, value);
}

dure_status dure_event_read(dure_event *event, uint64_t *out_value) {
  *out_value = 0;
  return event->device->vtable->event_read(event, out_value);
}

dure_status dure_event_wait(dure_event *event, uint64_t value, uint64_t timeout_nanoseconds, bool *out_reached) {
  *out_reached = false;
  return event->device->vtable->event_wait(event, value, timeout_nanoseconds, out_reached);
}

// ---- kernels and recordings ------------------------------------------------------------------------------------

dure_status dure_kernel_get(dure_device *device, const char *name, const uint32_t *constants, size_t constant_count,
                            dure_kernel **out_kernel) {
  *out_kernel = NULL;
  return device->vtable->kernel_get(device, name, constants, constant_count, out_kernel);
}

dure_status dure_recording_create(dure_device *device, const char *label, uint32_t flags,
                                  dure_recording **out_recording) {
  *out_recording = NULL;
  dure_recording *recording = NULL;
  DURE_TRY(device->vtable->recording_create(device, label, flags, &recording));
  recording->device = device;
  recording->finished = false;
  *out_recording = recording;
  return NULL;
}

void dure_recording_destroy(dure_recording *recording) {
  if (recording != NULL) recording->device->vtable->recording_destroy(recording);
}

void dure_recording_label(dure_recording *recording, const char *label) {
  recording->device->vtable->recording_label(recording, label);
}

static dure_status check_open(const dure_recording *recording) {
  if (!recording->finished) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "a command was added to a finished recording");
}

dure_status dure_recording_dispatch(dure_recording *recording, dure_kernel *kernel, const dure_binding *bindings,
                                    size_t binding_count, const void *push, size_t push_size, uint32_t groups_x,
                                    uint32_t groups_y, uint32_t groups_z) {
  DURE_TRY(check_open(recording));
  const dure_limits *limits = &recording->device->info.limits;
  for (size_t i = 0; i < binding_count; i++) {
    DURE_TRY(check_range(bindings[i].buffer, bindings[i].offset, bindings[i].size, "a binding"));
    if (bindings[i].size > limits->max_binding_bytes) {
      return dure_fail(DURE_UNSUPPORTED,
                       "binding %zu of a dispatch covers %llu bytes of '%s', more than the %llu that %s can bind", i,
                       (unsigned long long)bindings[i].size, bindings[i].buffer->label,
                       (unsigned long long)limits->max_binding_bytes, recording->device->info.identifier);
    }
    if (bindings[i].offset % limits->offset_alignment != 0) {
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "binding %zu of a dispatch starts at byte %llu, which is not a multiple of %llu", i,
                       (unsigned long long)bindings[i].offset, (unsigned long long)limits->offset_alignment);
    }
  }
  if (groups_x == 0 || groups_y == 0 || groups_z == 0) return NULL;
  return recording->device->vtable->recording_dispatch(recording, kernel, bindings, binding_count, push, push_size,
                                                       groups_x, groups_y, groups_z);
}

dure_status dure_recording_copy(dure_recording *recording, dure_buffer *source, uint64_t source_offset,
                                dure_buffer *target, uint64_t target_offset, uint64_t size) {
  DURE_TRY(check_open(recording));
  DURE_TRY(check_range(source, source_offset, size, "a copy"));
  DURE_TRY(check_range(target, target_offset, size, "a copy"));
  if (size == 0) return NULL;
  return recording->device->vtable->recording_copy(recording, source, source_offset, target, target_offset, size);
}

dure_status dure_recording_fill(dure_recording *recording, dure_buffer *buffer, uint64_t offset, uint64_t size,
                                uint32_t pattern) {
  DURE_TRY(check_open(recording));
  DURE_TRY(check_range(buffer, offset, size, "a fill"));
  if (offset % 4 != 0 || size % 4 != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "a fill's offset and size must be multiples of 4 bytes");
  if (size == 0) return NULL;
  return recording->device->vtable->recording_fill(recording, buffer, offset, size, pattern);
}

dure_status dure_recording_finish(dure_recording *recording) {
  DURE_TRY(check_open(recording));
  DURE_TRY(recording->device->vtable->recording_finish(recording));
  recording->finished = true;
  return NULL;
}

dure_status dure_recording_times(dure_recording *recording, const dure_command_time **out_times, size_t *out_count) {
  *out_times = NULL;
  *out_count = 0;
  return recording->device->vtable->recording_times(recording, out_times, out_count);
}
