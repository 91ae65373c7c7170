// Recordings: a list of commands, each of which can enqueue itself. Finished, they are captured into a CUDA graph, so
// that submitting costs one call; with timestamps or checks they are enqueued one by one.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/internal.h"

// Arguments lie in chunks that never move; what is too large for one gets a chunk of its own.
enum { chunk_bytes = 64 << 10, argument_alignment = 64 };

typedef struct argument_chunk {
  struct argument_chunk *next;
  size_t used, size;
  unsigned char *bytes;
} argument_chunk;

typedef struct recorded_command {
  cuda_enqueue enqueue;
  const void *arguments;
  const char *label;  // one of the recording's
} recorded_command;

typedef struct cuda_recording {
  dure_recording head;
  char name[64];
  uint32_t flags;
  char **labels;
  size_t label_count, label_capacity;
  recorded_command *commands;
  size_t command_count, command_capacity;
  argument_chunk *chunks;  // the newest first
  cudaGraphExec_t graph;   // NULL: enqueued one by one
  cudaEvent_t *stamps;     // [command_count + 1], with timestamps
  dure_command_time *times;
} cuda_recording;

static cuda_recording *recording_of(const dure_recording *recording) { return (cuda_recording *)recording; }

const char *cuda_recording_name(const dure_recording *recording) { return recording_of(recording)->name; }
const char *cuda_recording_first_label(const dure_recording *recording) {
  return recording_of(recording)->command_count > 0 ? recording_of(recording)->commands[0].label : "";
}
const char *cuda_recording_last_label(const dure_recording *head) {
  const cuda_recording *recording = recording_of(head);
  return recording->command_count > 0 ? recording->commands[recording->command_count - 1].label : "";
}

static dure_status no_memory(const cuda_recording *recording) {
  return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to record command %zu of '%s'", recording->command_count,
                   recording->name);
}

// ---- recording ----

dure_status cuda_recording_create(dure_device *device, const char *label, uint32_t flags,
                                  dure_recording **out_recording) {
  *out_recording = NULL;
  cuda_recording *recording = calloc(1, sizeof(*recording));
  if (recording == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a recording");
  recording->head.device = device;
  recording->flags = flags;
  snprintf(recording->name, sizeof(recording->name), "%s", label != NULL ? label : "");
  *out_recording = &recording->head;
  return NULL;
}

void cuda_recording_label(dure_recording *head, const char *label) {
  cuda_recording *recording = recording_of(head);
  if (!cuda_reserve((void **)&recording->labels, &recording->label_capacity, recording->label_count,
                    sizeof(*recording->labels)))
    return;  // a missing name harms nothing
  char *text = strdup(label);
  if (text != NULL) recording->labels[recording->label_count++] = text;
}

static void *keep_arguments(cuda_recording *recording, const void *arguments, size_t size) {
  const size_t padded = (size + argument_alignment - 1) / argument_alignment * argument_alignment;
  argument_chunk *chunk = recording->chunks;
  if (chunk == NULL || chunk->size - chunk->used < padded) {
    chunk = calloc(1, sizeof(*chunk));
    if (chunk == NULL) return NULL;
    chunk->size = padded > chunk_bytes ? padded : chunk_bytes;
    chunk->bytes = aligned_alloc(argument_alignment, chunk->size);
    if (chunk->bytes == NULL) {
      free(chunk);
      return NULL;
    }
    chunk->next = recording->chunks;
    recording->chunks = chunk;
  }
  void *kept = chunk->bytes + chunk->used;
  chunk->used += padded;
  memcpy(kept, arguments, size);
  return kept;
}

dure_status cuda_recording_add(dure_recording *head, cuda_enqueue enqueue, const void *arguments, size_t size) {
  cuda_recording *recording = recording_of(head);
  if (!cuda_reserve((void **)&recording->commands, &recording->command_capacity, recording->command_count,
                    sizeof(*recording->commands)))
    return no_memory(recording);
  const void *kept = size > 0 ? keep_arguments(recording, arguments, size) : "";
  if (kept == NULL) return no_memory(recording);
  const char *label = recording->label_count > 0 ? recording->labels[recording->label_count - 1] : "";
  recording->commands[recording->command_count++] = (recorded_command){enqueue, kept, label};
  return NULL;
}

typedef struct copy_arguments {
  void *target;
  const void *source;
  uint64_t size;
} copy_arguments;

static dure_status enqueue_copy(cuda_device *device, cudaStream_t stream, const void *bytes) {
  const copy_arguments *copy = bytes;
  return cuda_check(device, cudaMemcpyAsync(copy->target, copy->source, copy->size, cudaMemcpyDefault, stream),
                    "copying");
}

dure_status cuda_recording_copy(dure_recording *head, dure_buffer *source, uint64_t source_offset, dure_buffer *target,
                                uint64_t target_offset, uint64_t size) {
  if (source == target && source_offset < target_offset + size && target_offset < source_offset + size)
    return dure_fail(DURE_INVALID_ARGUMENT, "a copy within '%s' overlaps itself", source->label);
  const copy_arguments copy = {((cuda_buffer *)target)->address + target_offset,
                               ((const cuda_buffer *)source)->address + source_offset, size};
  return cuda_recording_add(head, enqueue_copy, &copy, sizeof(copy));
}

typedef struct set_arguments {
  void *target;
  int byte;
  uint64_t size;
} set_arguments;

static dure_status enqueue_set(cuda_device *device, cudaStream_t stream, const void *bytes) {
  const set_arguments *set = bytes;
  return cuda_check(device, cudaMemsetAsync(set->target, set->byte, set->size, stream), "filling");
}

dure_status cuda_recording_fill(dure_recording *head, dure_buffer *buffer, uint64_t offset, uint64_t size,
                                uint32_t pattern) {
  unsigned char *address = ((cuda_buffer *)buffer)->address + offset;
  if (pattern != (pattern & 0xff) * 0x01010101u) return cuda_record_fill(head, address, size, pattern);
  const set_arguments set = {address, (int)(pattern & 0xff), size};
  return cuda_recording_add(head, enqueue_set, &set, sizeof(set));
}

// ---- finishing ----

// A failure of one command, named.
static dure_status name_failure(const cuda_recording *recording, size_t command, dure_status status) {
  const char *label = recording->commands[command].label;
  return dure_status_prefix(status, "recording '%s', command %zu ('%s')", recording->name, command, label);
}

static dure_status enqueue_commands(cuda_recording *recording, cudaStream_t stream) {
  cuda_device *device = cuda_device_of(recording->head.device);
  for (size_t i = 0; i < recording->command_count; i++) {
    const recorded_command *command = &recording->commands[i];
    dure_status status = command->enqueue(device, stream, command->arguments);
    if (status == NULL && device->checks_commands && recording->head.finished)
      status = cuda_check(device, cudaStreamSynchronize(stream), "checking a command (DURE_CUDA_CHECK)");
    if (status == NULL && recording->stamps != NULL)
      status = cuda_check(device, cudaEventRecord(recording->stamps[i + 1], stream), "taking a timestamp");
    if (status != NULL) return name_failure(recording, i, status);
  }
  return NULL;
}

// Relaxed: a kernel's code may have to be brought to the device now, which stricter modes forbid.
static dure_status capture(cuda_recording *recording) {
  cuda_device *device = cuda_device_of(recording->head.device);
  DURE_TRY(cuda_check(device, cudaStreamBeginCapture(device->setup, cudaStreamCaptureModeRelaxed), "making a graph"));
  dure_status status = enqueue_commands(recording, device->setup);
  cudaGraph_t graph = NULL;
  const cudaError_t ended = cudaStreamEndCapture(device->setup, &graph);
  if (status == NULL) status = cuda_check(device, ended, "making a graph");
  if (status == NULL)
    status = cuda_check(device, cudaGraphInstantiate(&recording->graph, graph, 0), "preparing a graph");
  if (graph != NULL) cudaGraphDestroy(graph);
  if (status != NULL) recording->graph = NULL;
  return dure_status_prefix(status, "recording '%s'", recording->name);
}

static dure_status make_stamps(cuda_recording *recording) {
  cuda_device *device = cuda_device_of(recording->head.device);
  recording->stamps = calloc(recording->command_count + 1, sizeof(*recording->stamps));
  recording->times = calloc(recording->command_count + 1, sizeof(*recording->times));
  if (recording->stamps == NULL || recording->times == NULL) return no_memory(recording);
  for (size_t i = 0; i <= recording->command_count; i++)
    DURE_TRY(
        cuda_check(device, cudaEventCreateWithFlags(&recording->stamps[i], cudaEventDefault), "making a timestamp"));
  return NULL;
}

dure_status cuda_recording_finish(dure_recording *head) {
  cuda_recording *recording = recording_of(head);
  cuda_device *device = cuda_device_of(head->device);
  DURE_TRY(cuda_enter(device, "finishing a recording"));
  if ((recording->flags & DURE_RECORD_TIMESTAMPS) != 0) return make_stamps(recording);
  // One command alone costs no more than a graph's launch.
  if (!device->caps.uses_graphs || device->checks_commands || recording->command_count < 2) return NULL;
  return capture(recording);
}

void cuda_recording_destroy(dure_recording *head) {
  cuda_recording *recording = recording_of(head);
  cudaSetDevice(cuda_device_of(head->device)->ordinal);
  if (recording->graph != NULL) cudaGraphExecDestroy(recording->graph);
  for (size_t i = 0; recording->stamps != NULL && i <= recording->command_count; i++) {
    if (recording->stamps[i] != NULL) cudaEventDestroy(recording->stamps[i]);
  }
  while (recording->chunks != NULL) {
    argument_chunk *next = recording->chunks->next;
    free(recording->chunks->bytes);
    free(recording->chunks);
    recording->chunks = next;
  }
  for (size_t i = 0; i < recording->label_count; i++) free(recording->labels[i]);
  free(recording->labels);
  free(recording->commands);
  free(recording->stamps);
  free(recording->times);
  free(recording);
}

// ---- running ----

dure_status cuda_recording_enqueue(dure_recording *head, cudaStream_t stream) {
  cuda_recording *recording = recording_of(head);
  cuda_device *device = cuda_device_of(head->device);
  if (recording->graph != NULL) {
    return dure_status_prefix(cuda_check(device, cudaGraphLaunch(recording->graph, stream), "submitting a graph"),
                              "recording '%s'", recording->name);
  }
  if (recording->stamps != NULL)
    DURE_TRY(cuda_check(device, cudaEventRecord(recording->stamps[0], stream), "taking a timestamp"));
  return enqueue_commands(recording, stream);
}

dure_status cuda_recording_times(dure_recording *head, const dure_command_time **out_times, size_t *out_count) {
  *out_times = NULL;
  *out_count = 0;
  cuda_recording *recording = recording_of(head);
  cuda_device *device = cuda_device_of(head->device);
  if (recording->stamps == NULL)
    return dure_fail(DURE_UNSUPPORTED, "recording '%s' has no timestamps: none were asked for", recording->name);
  DURE_TRY(cuda_enter(device, "reading timestamps"));
  for (size_t i = 0; i < recording->command_count; i++) {
    float milliseconds = 0;
    DURE_TRY(cuda_check(device, cudaEventElapsedTime(&milliseconds, recording->stamps[i], recording->stamps[i + 1]),
                        "reading timestamps (has the recording been submitted and waited for?)"));
    recording->times[i] =
        (dure_command_time){.label = recording->commands[i].label, .nanoseconds = (double)milliseconds * 1e6};
  }
  *out_times = recording->times;
  *out_count = recording->command_count;
  return NULL;
}
