// Streams and events: one timeline semaphore each.
//
// Uploads and downloads go through a staging ring and are gathered in a pending command list, which is submitted
// together with the next recordings, or when somebody waits. Every submission signals the next serial number on the
// stream's semaphore; what a serial used (ring space, command list) is taken back once the semaphore has reached it.
// Points, which the HAL counts one an enqueue, are mapped to serials by the list of flights: a large upload takes
// several serials.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/log.h"
#include "runtime/vulkan/internal.h"

// The ring's size; a sixty-fourth of a small memory budget. Pieces of a transfer take a quarter of it at most.
enum {
  largest_staging = 16 << 20,
  smallest_staging = 256 << 10,
  staging_alignment = 256,  // covers every driver's optimal copy alignment
};
static const uint64_t large_transfer = 1 << 20;
static const uint64_t patience = 10ull * 1000000000;  // nanoseconds between messages of a long wait

// A part of the ring in use until `serial` is reached; a download's part is then copied to `target`.
typedef struct staging_part {
  uint64_t offset, size;
  uint64_t serial;
  void *target;  // NULL for uploads
} staging_part;

typedef struct flight {
  uint64_t serial;
  uint64_t point;            // everything up to this point is done when the serial is reached
  VkCommandBuffer commands;  // the pending list that it carried, or NULL
  VkCommandPool pool;        // of the list
} flight;

// What is handed to the queue at once; kept, so that submitting allocates nothing.
typedef struct vulkan_batch {
  uint32_t count, wait_count;
  size_t capacity;
  VkCommandBuffer *commands;
  VkSubmitInfo *infos;
  VkTimelineSemaphoreSubmitInfo *timelines;
  VkSemaphore (*signals)[2];
  uint64_t (*signal_values)[2];
  VkSemaphore waits[2];  // of the first submission: the other queue's last one, an event
  uint64_t wait_values[2];
} vulkan_batch;

// The recordings submitted last, so that a lost device names the one that it was working on.
typedef struct trail_entry {
  uint64_t serial;
  char recording[64], first_label[128], last_label[128];
} trail_entry;
enum { TRAIL_ENTRIES = 64 };

typedef struct vulkan_stream {
  dure_stream head;
  vulkan_device *device;
  VkSemaphore timeline;
  uint64_t submitted_serial;
  uint64_t complete_point;  // enqueued in full: the pending list and what was submitted hold it

  VkCommandBuffer pending;  // NULL when nothing is gathered
  bool pending_has_downloads;
  bool pending_is_large;       // it goes to the transfer queue
  bool was_on_transfer_queue;  // what was submitted last
  dure_hazards pending_hazards;

  dure_buffer *staging;  // created at the first transfer
  uint64_t staging_bytes;
  uint64_t staging_head;  // next free byte of the ring
  staging_part *parts;    // oldest first
  size_t part_count, part_capacity;
  flight *flights;  // oldest first
  size_t flight_count, flight_capacity;
  vulkan_batch batch;
  trail_entry trail[TRAIL_ENTRIES];  // by serial modulo TRAIL_ENTRIES
} vulkan_stream;

static void batch_release(vulkan_batch *batch) {
  free(batch->commands);
  free(batch->infos);
  free(batch->timelines);
  free(batch->signals);
  free(batch->signal_values);
}

static vulkan_stream *stream_of(dure_stream *stream) { return (vulkan_stream *)stream; }

dure_status vulkan_semaphore_create(vulkan_device *device, uint64_t value, VkSemaphore *out_semaphore) {
  *out_semaphore = VK_NULL_HANDLE;
  VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                    .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
                                    .initialValue = value};
  VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
  VULKAN_TRY(device, device->api.CreateSemaphore(device->handle, &info, NULL, out_semaphore),
             "creating a timeline semaphore");
  return NULL;
}

// ---- waiting and taking back ----

static void retire_until(vulkan_stream *stream, uint64_t serial) {
  vulkan_device *device = stream->device;
  size_t done = 0;
  while (done < stream->part_count && stream->parts[done].serial <= serial) {
    staging_part part = stream->parts[done++];
    if (part.target != NULL) memcpy(part.target, (uint8_t *)stream->staging->mapped + part.offset, part.size);
  }
  if (done > 0) memmove(stream->parts, stream->parts + done, (stream->part_count - done) * sizeof(*stream->parts));
  stream->part_count -= done;
  done = 0;
  while (done < stream->flight_count && stream->flights[done].serial <= serial) {
    flight landed = stream->flights[done++];
    if (landed.commands != VK_NULL_HANDLE) vulkan_commands_free(device, landed.pool, landed.commands);
  }
  if (done > 0)
    memmove(stream->flights, stream->flights + done, (stream->flight_count - done) * sizeof(*stream->flights));
  stream->flight_count -= done;
}

// Names the recording that was being worked on, where the driver still tells how far the timeline came.
static dure_status fail_lost_wait(vulkan_stream *stream) {
  vulkan_device *device = stream->device;
  uint64_t reached = 0;
  VkResult result = device->api.GetSemaphoreCounterValue(device->handle, stream->timeline, &reached);
  const trail_entry *entry = &stream->trail[(reached + 1) % TRAIL_ENTRIES];
  if (result != VK_SUCCESS || entry->serial != reached + 1)
    return vulkan_fail(device, VK_ERROR_DEVICE_LOST, "waiting for submitted work");
  return vulkan_fail(device, VK_ERROR_DEVICE_LOST, "running recording '%s' from '%s' to '%s'", entry->recording,
                     entry->first_label, entry->last_label);
}

static dure_status wait_serial(vulkan_stream *stream, uint64_t serial) {
  vulkan_device *device = stream->device;
  VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                              .semaphoreCount = 1,
                              .pSemaphores = &stream->timeline,
                              .pValues = &serial};
  VkResult result = VK_TIMEOUT;
  for (int attempt = 1; result == VK_TIMEOUT; attempt++) {
    result = device->api.WaitSemaphores(device->handle, &info, patience);
    if (result == VK_TIMEOUT) {
      dure_log(DURE_LOG_WARNING,
               "%s has worked for more than %d s on what was submitted (last recording: '%s', ending with '%s')",
               device->head.info.identifier, attempt * 10, device->last_recording, device->last_label);
    }
  }
  if (result == VK_ERROR_DEVICE_LOST) return fail_lost_wait(stream);
  if (result != VK_SUCCESS) return vulkan_fail(device, result, "waiting for submitted work");
  retire_until(stream, serial);
  return NULL;
}

// ---- submitting ----

static dure_status add_flight(vulkan_stream *stream, flight added) {
  if (stream->flight_count == stream->flight_capacity) {
    size_t capacity = stream->flight_capacity * 2 + 16;
    flight *grown = realloc(stream->flights, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to submit work");
    stream->flights = grown;
    stream->flight_capacity = capacity;
  }
  stream->flights[stream->flight_count++] = added;
  return NULL;
}

static dure_status end_pending(vulkan_stream *stream) {
  vulkan_device *device = stream->device;
  if (stream->pending_has_downloads) {
    VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                              .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    device->api.CmdPipelineBarrier(stream->pending, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
                                   &memory, 0, NULL, 0, NULL);
  }
  stream->pending_has_downloads = false;
  dure_hazards_reset(&stream->pending_hazards);
  VULKAN_TRY(device, device->api.EndCommandBuffer(stream->pending), "finishing a transfer");
  return NULL;
}

typedef struct submission {
  dure_recording *const *recordings;
  size_t count;
  dure_event *wait_event;
  uint64_t wait_value;
  dure_event *signal_event;
  uint64_t signal_value;
} submission;

// Fills the i-th of the batch's submissions: one command list, so that a driver that ends long work counts each alone.
static void fill_submission(const vulkan_stream *stream, const submission *what, vulkan_batch *batch, uint32_t i) {
  static const VkPipelineStageFlags wait_stages[2] = {VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                                                      VK_PIPELINE_STAGE_ALL_COMMANDS_BIT};
  const uint32_t wait_count = i == 0 ? batch->wait_count : 0;
  const bool signals = i + 1 == batch->count && what->signal_event != NULL;
  batch->signals[i][0] = stream->timeline;
  batch->signal_values[i][0] = stream->submitted_serial + i + 1;
  if (signals) batch->signals[i][1] = vulkan_event_semaphore(what->signal_event);
  batch->signal_values[i][1] = what->signal_value;
  batch->timelines[i] = (VkTimelineSemaphoreSubmitInfo){.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                                        .waitSemaphoreValueCount = wait_count,
                                                        .pWaitSemaphoreValues = batch->wait_values,
                                                        .signalSemaphoreValueCount = signals ? 2 : 1,
                                                        .pSignalSemaphoreValues = batch->signal_values[i]};
  batch->infos[i] = (VkSubmitInfo){.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                                   .pNext = &batch->timelines[i],
                                   .waitSemaphoreCount = wait_count,
                                   .pWaitSemaphores = batch->waits,
                                   .pWaitDstStageMask = wait_stages,
                                   .commandBufferCount = batch->commands[i] != VK_NULL_HANDLE ? 1 : 0,
                                   .pCommandBuffers = &batch->commands[i],
                                   .signalSemaphoreCount = signals ? 2 : 1,
                                   .pSignalSemaphores = batch->signals[i]};
}

// The stream stays one ordered timeline whichever queue its parts run on: where the queue changes, the first submission
// waits for the last one of the other, and a timeline semaphore's wait sees all that was written before its signal.
static dure_status queue_submit(vulkan_stream *stream, const submission *what, bool is_on_transfer_queue,
                                vulkan_batch *batch) {
  vulkan_device *device = stream->device;
  batch->wait_count = 0;
  if (is_on_transfer_queue != stream->was_on_transfer_queue) {
    batch->wait_values[batch->wait_count] = stream->submitted_serial;
    batch->waits[batch->wait_count++] = stream->timeline;
  }
  if (what->wait_event != NULL) {
    batch->wait_values[batch->wait_count] = what->wait_value;
    batch->waits[batch->wait_count++] = vulkan_event_semaphore(what->wait_event);
  }
  for (uint32_t i = 0; i < batch->count; i++) fill_submission(stream, what, batch, i);
  VkQueue queue = is_on_transfer_queue ? device->transfer_queue : device->queue;
  VULKAN_TRY(device, device->api.QueueSubmit(queue, batch->count, batch->infos, VK_NULL_HANDLE),
             "submitting recording '%s'", device->last_recording);
  stream->was_on_transfer_queue = is_on_transfer_queue;
  return NULL;
}

static void remember(vulkan_stream *stream, uint64_t serial, const dure_recording *recording) {
  trail_entry *entry = &stream->trail[serial % TRAIL_ENTRIES];
  entry->serial = serial;
  snprintf(entry->recording, sizeof(entry->recording), "%s", vulkan_recording_name(recording));
  snprintf(entry->first_label, sizeof(entry->first_label), "%s", vulkan_recording_first_label(recording));
  snprintf(entry->last_label, sizeof(entry->last_label), "%s", vulkan_recording_last_label(recording));
}

static void remember_labels(vulkan_device *device, const submission *what) {
  if (what->count == 0) return;
  const dure_recording *last = what->recordings[what->count - 1];
  snprintf(device->last_recording, sizeof(device->last_recording), "%s", vulkan_recording_name(last));
  snprintf(device->last_label, sizeof(device->last_label), "%s", vulkan_recording_last_label(last));
}

static VkCommandPool pending_pool(const vulkan_stream *stream) {
  return stream->pending_is_large ? stream->device->transfer_pool : stream->device->command_pool;
}

// Room for `count` command lists; one at least, for events alone.
static dure_status batch_reserve(vulkan_batch *batch, size_t count) {
  if (count <= batch->capacity) return NULL;
  const size_t capacity = count + 8;
  vulkan_batch grown = {.capacity = capacity,
                        .commands = calloc(capacity, sizeof(*grown.commands)),
                        .infos = calloc(capacity, sizeof(*grown.infos)),
                        .timelines = calloc(capacity, sizeof(*grown.timelines)),
                        .signals = calloc(capacity, sizeof(*grown.signals)),
                        .signal_values = calloc(capacity, sizeof(*grown.signal_values))};
  const bool is_whole = grown.commands != NULL && grown.infos != NULL && grown.timelines != NULL &&
                        grown.signals != NULL && grown.signal_values != NULL;
  batch_release(is_whole ? batch : &grown);
  if (!is_whole) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to submit %zu recordings", count);
  *batch = grown;
  return NULL;
}

// The failed submission's serials are never signalled: its pieces are taken back with those of the next one.
static void forget_submission(vulkan_stream *stream) {
  stream->flights[stream->flight_count - 1].serial = stream->submitted_serial;
  for (size_t i = 0; i < stream->part_count; i++) {
    if (stream->parts[i].serial <= stream->submitted_serial) continue;
    stream->parts[i].serial = stream->submitted_serial;
    stream->parts[i].target = NULL;
  }
}

// Submits the pending list, if any, and the recordings, each as the next serial.
// A pending list for the transfer queue goes ahead by itself.
static dure_status submit(vulkan_stream *stream, const submission *what) {
  vulkan_device *device = stream->device;
  if (device->is_lost) return vulkan_fail(device, VK_ERROR_DEVICE_LOST, "submitting work");
  vulkan_kernels_end_progress(device);
  const bool is_large = stream->pending != VK_NULL_HANDLE && stream->pending_is_large;
  if (is_large && (what->count > 0 || what->signal_event != NULL)) DURE_TRY(submit(stream, &(submission){0}));
  vulkan_batch *batch = &stream->batch;
  DURE_TRY(batch_reserve(batch, what->count + 1));
  const bool has_pending = stream->pending != VK_NULL_HANDLE;
  batch->count = (uint32_t)(what->count + (has_pending ? 1 : 0));
  if (batch->count == 0) {
    batch->commands[0] = VK_NULL_HANDLE;
    batch->count = 1;
  }
  DURE_TRY(add_flight(stream, (flight){stream->submitted_serial + batch->count, stream->complete_point, stream->pending,
                                       pending_pool(stream)}));
  dure_status status = NULL;
  uint32_t place = 0;
  if (has_pending) {
    status = end_pending(stream);
    batch->commands[place++] = stream->pending;
    stream->pending = VK_NULL_HANDLE;  // now the flight's
  }
  for (size_t i = 0; i < what->count; i++) {
    remember(stream, stream->submitted_serial + place + 1, what->recordings[i]);
    batch->commands[place++] = vulkan_recording_commands(what->recordings[i]);
  }
  remember_labels(device, what);
  if (status == NULL) status = queue_submit(stream, what, is_large && has_pending, batch);
  if (status != NULL) {
    forget_submission(stream);
    return status;
  }
  stream->submitted_serial += batch->count;
  return NULL;
}

static dure_status flush(vulkan_stream *stream) {
  if (stream->pending == VK_NULL_HANDLE) return NULL;
  return submit(stream, &(submission){0});
}

dure_status vulkan_stream_submit(dure_stream *head, dure_recording *const *recordings, size_t count,
                                 dure_event *wait_event, uint64_t wait_value, dure_event *signal_event,
                                 uint64_t signal_value) {
  vulkan_stream *stream = stream_of(head);
  // What was enqueued before must not wait for the event as well.
  if (wait_event != NULL) DURE_TRY(flush(stream));
  uint64_t before = stream->complete_point;
  stream->complete_point = head->point;
  dure_status status =
      submit(stream, &(submission){recordings, count, wait_event, wait_value, signal_event, signal_value});
  if (status != NULL) stream->complete_point = before;
  // A stream that is never waited for must not gather flights without end.
  if (status == NULL && stream->flight_count >= 64) {
    uint64_t reached = 0;
    if (stream->device->api.GetSemaphoreCounterValue(stream->device->handle, stream->timeline, &reached) == VK_SUCCESS)
      retire_until(stream, reached);
  }
  return status;
}

dure_status vulkan_stream_wait(dure_stream *head, uint64_t point) {
  vulkan_stream *stream = stream_of(head);
  if (stream->device->is_lost) return vulkan_fail(stream->device, VK_ERROR_DEVICE_LOST, "waiting for submitted work");
  DURE_TRY(flush(stream));
  uint64_t serial = stream->submitted_serial;
  for (size_t i = stream->flight_count; i > 0 && stream->flights[i - 1].point >= point; i--)
    serial = stream->flights[i - 1].serial;
  return wait_serial(stream, serial);
}

// ---- transfers ----

static dure_status begin_pending(vulkan_stream *stream) {
  vulkan_device *device = stream->device;
  if (stream->pending != VK_NULL_HANDLE) return NULL;
  DURE_TRY(vulkan_commands_begin(device, pending_pool(stream), VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
                                 &stream->pending));
  VkPipelineStageFlags stages = VK_PIPELINE_STAGE_TRANSFER_BIT;
  if (!stream->pending_is_large) stages |= VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
  VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                            .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                            .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
  if (!stream->pending_is_large) memory.srcAccessMask |= VK_ACCESS_SHADER_WRITE_BIT;
  device->api.CmdPipelineBarrier(stream->pending, stages, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &memory, 0, NULL, 0,
                                 NULL);
  return NULL;
}

static uint64_t chunk_bytes(vulkan_stream *stream) {
  if (stream->staging_bytes == 0) {
    uint64_t size = largest_staging, budget = stream->device->head.memory_restriction;
    while (budget > 0 && size > smallest_staging && size > budget / 64) size /= 2;
    stream->staging_bytes = size;
  }
  return stream->staging_bytes / 4;
}

// Where `size` contiguous bytes of the ring are free; false when they are not.
static bool find_room(const vulkan_stream *stream, uint64_t size, uint64_t *out_offset) {
  uint64_t head = stream->staging_head;
  *out_offset = head;
  if (stream->part_count == 0) {
    *out_offset = 0;
    return true;
  }
  uint64_t tail = stream->parts[0].offset;
  if (head == tail) return false;  // full
  if (head < tail) return size <= tail - head;
  if (size <= stream->staging_bytes - head) return true;
  *out_offset = 0;
  return size <= tail;
}

// Takes `size` bytes (at most chunk_bytes()) of the ring for the next serial.
static dure_status take_staging(vulkan_stream *stream, uint64_t size, void *target, uint64_t *out_offset) {
  vulkan_device *device = stream->device;
  if (stream->staging == NULL) DURE_TRY(vulkan_staging_create(device, stream->staging_bytes, &stream->staging));
  if (stream->part_count == stream->part_capacity) {
    size_t capacity = stream->part_capacity * 2 + 16;
    staging_part *grown = realloc(stream->parts, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a transfer");
    stream->parts = grown;
    stream->part_capacity = capacity;
  }
  uint64_t padded = (size + staging_alignment - 1) / staging_alignment * staging_alignment;
  while (!find_room(stream, padded, out_offset)) {
    if (stream->parts[0].serial > stream->submitted_serial) DURE_TRY(flush(stream));
    stream->head.wait_count++;
    DURE_TRY(wait_serial(stream, stream->parts[0].serial));
  }
  stream->parts[stream->part_count++] = (staging_part){*out_offset, size, stream->submitted_serial + 1, target};
  stream->staging_head = (*out_offset + padded) % stream->staging_bytes;
  return NULL;
}

// Before the copies of a transfer: large ones go to the transfer queue where there is one. Small ones would only pay
// for the change of queues, and join whatever is pending.
static dure_status choose_queue(vulkan_stream *stream, uint64_t size) {
  const bool is_large = stream->device->transfer_queue != VK_NULL_HANDLE && size >= large_transfer;
  if (stream->pending != VK_NULL_HANDLE && is_large && !stream->pending_is_large) DURE_TRY(flush(stream));
  if (stream->pending == VK_NULL_HANDLE) stream->pending_is_large = is_large;
  return NULL;
}

// Records one copy between the ring and a buffer, with a barrier when the pending list already touches those bytes.
static dure_status record_copy(vulkan_stream *stream, dure_buffer *source, uint64_t source_offset, dure_buffer *target,
                               uint64_t target_offset, uint64_t size) {
  vulkan_device *device = stream->device;
  DURE_TRY(begin_pending(stream));
  dure_hazard_range ranges[] = {{source, source_offset, source_offset + size, false},
                                {target, target_offset, target_offset + size, true}};
  bool needed = false;
  DURE_TRY(dure_hazards_add(&stream->pending_hazards, ranges, 2, &needed));
  if (needed) {
    VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                              .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    device->api.CmdPipelineBarrier(stream->pending, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT, 0,
                                   1, &memory, 0, NULL, 0, NULL);
  }
  VkBufferCopy region = {.srcOffset = source_offset, .dstOffset = target_offset, .size = size};
  device->api.CmdCopyBuffer(stream->pending, ((vulkan_buffer *)source)->handle, ((vulkan_buffer *)target)->handle, 1,
                            &region);
  return NULL;
}

dure_status vulkan_stream_upload(dure_stream *head, dure_buffer *buffer, uint64_t offset, const void *data,
                                 uint64_t size) {
  vulkan_stream *stream = stream_of(head);
  if (stream->device->is_lost) return vulkan_fail(stream->device, VK_ERROR_DEVICE_LOST, "uploading");
  DURE_TRY(choose_queue(stream, size));
  for (uint64_t done = 0; done < size;) {
    uint64_t chunk = size - done < chunk_bytes(stream) ? size - done : chunk_bytes(stream);
    uint64_t place = 0;
    DURE_TRY(take_staging(stream, chunk, NULL, &place));
    memcpy((uint8_t *)stream->staging->mapped + place, (const uint8_t *)data + done, chunk);
    DURE_TRY(record_copy(stream, stream->staging, place, buffer, offset + done, chunk));
    done += chunk;
  }
  stream->complete_point = head->point;
  return NULL;
}

static dure_status download_chunks(vulkan_stream *stream, dure_buffer *buffer, uint64_t offset, uint8_t *data,
                                   uint64_t size) {
  DURE_TRY(choose_queue(stream, size));
  for (uint64_t done = 0; done < size;) {
    uint64_t chunk = size - done < chunk_bytes(stream) ? size - done : chunk_bytes(stream);
    uint64_t place = 0;
    DURE_TRY(take_staging(stream, chunk, data + done, &place));
    DURE_TRY(record_copy(stream, buffer, offset + done, stream->staging, place, chunk));
    stream->pending_has_downloads = true;
    done += chunk;
  }
  stream->complete_point = stream->head.point;
  return flush(stream);  // so that it is on its way while the caller does something else
}

dure_status vulkan_stream_download(dure_stream *head, dure_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                                   uint64_t *out_point) {
  vulkan_stream *stream = stream_of(head);
  *out_point = head->point;
  if (stream->device->is_lost) return vulkan_fail(stream->device, VK_ERROR_DEVICE_LOST, "downloading");
  dure_status status = download_chunks(stream, buffer, offset, data, size);
  if (status == NULL) return NULL;
  // The caller may release `data` now: nothing may be written there any more.
  for (size_t i = 0; i < stream->part_count; i++) {
    uint8_t *target = stream->parts[i].target;
    if (target != NULL && target >= (uint8_t *)data && target < (uint8_t *)data + size) stream->parts[i].target = NULL;
  }
  return status;
}

// ---- life ----

dure_status vulkan_stream_create(dure_device *head, dure_stream **out_stream) {
  *out_stream = NULL;
  vulkan_stream *stream = calloc(1, sizeof(*stream));
  if (stream == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a stream");
  stream->device = vulkan_device_of(head);
  dure_status status = vulkan_semaphore_create(stream->device, 0, &stream->timeline);
  if (status != NULL) {
    free(stream);
    return status;
  }
  *out_stream = &stream->head;
  return NULL;
}

void vulkan_stream_destroy(dure_stream *head) {
  vulkan_stream *stream = stream_of(head);
  vulkan_device *device = stream->device;
  // Nobody reads downloads any more: their targets may be gone.
  for (size_t i = 0; i < stream->part_count; i++) stream->parts[i].target = NULL;
  dure_status status = vulkan_stream_wait(head, head->point);
  if (status != NULL) {
    dure_log(DURE_LOG_WARNING, "a stream ended with a failure: %s", dure_status_message(status));
    dure_status_free(status);
    retire_until(stream, UINT64_MAX);
  }
  if (stream->pending != VK_NULL_HANDLE) vulkan_commands_free(device, pending_pool(stream), stream->pending);
  if (stream->staging != NULL) vulkan_buffer_destroy(stream->staging);
  device->api.DestroySemaphore(device->handle, stream->timeline, NULL);
  dure_hazards_release(&stream->pending_hazards);
  free(stream->parts);
  free(stream->flights);
  batch_release(&stream->batch);
  free(stream);
}
