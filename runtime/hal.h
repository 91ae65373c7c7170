// Hardware abstraction: device, buffer, stream, event, kernel, recording. Knows bytes, not tensors.
//
// A backend implements `dure_device_vtable` (about 20 entry points). The public functions below validate their
// arguments and then dispatch; callers use only those. Handles are owned by whoever created them and must be destroyed
// before their device is closed. Nothing here is thread-safe except where said: one thread drives one device.
#ifndef DURE_RUNTIME_HAL_H_
#define DURE_RUNTIME_HAL_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_device dure_device;
typedef struct dure_buffer dure_buffer;
typedef struct dure_stream dure_stream;
typedef struct dure_event dure_event;
typedef struct dure_kernel dure_kernel;
typedef struct dure_recording dure_recording;

struct dure_op_call;              // runtime/ops.h
struct dure_tune_result;          // runtime/tune.h
struct dure_communicator_vtable;  // runtime/communicator.h
typedef void (*dure_tune_sink)(void *context, const struct dure_tune_result *result);

// ---- devices ---------------------------------------------------------------------------------------------------

typedef enum dure_device_kind {
  DURE_DEVICE_DISCRETE_GPU,
  DURE_DEVICE_INTEGRATED_GPU,
  DURE_DEVICE_VIRTUAL_GPU,
  DURE_DEVICE_CPU,        // a software driver
  DURE_DEVICE_REFERENCE,  // the plain C oracle
} dure_device_kind;

// What compile() must respect. Rates are estimates that only size dispatches; results never depend on them.
typedef struct dure_limits {
  uint64_t max_binding_bytes;     // range of one buffer binding of a dispatch
  uint64_t max_allocation_bytes;  // size of one buffer
  uint64_t offset_alignment;      // of tensors placed in a buffer, bytes; a power of two, at least 16
  double max_dispatch_flops;      // work of one dispatch, so that it ends within about 0.2 s
  double max_recording_flops;     // likewise for one recording
  double max_recording_bytes;     // moved by one recording, for the same reason
  uint64_t max_loop_iterations;   // of one invocation, all its loops together
} dure_limits;

// An optional feature of a device and what became of it. The texts live as long as the program.
typedef enum dure_feature_state {
  DURE_FEATURE_MISSING,   // the device cannot do it
  DURE_FEATURE_DISABLED,  // it could, but the switch turns it off
  DURE_FEATURE_UNUSED,    // it could, but no kernel of this build uses it
  DURE_FEATURE_ENABLED,
} dure_feature_state;
typedef struct dure_device_feature {
  const char *name;
  const char *text;         // what it is
  const char *environment;  // set to 0 it turns the feature off
  dure_feature_state state;
} dure_device_feature;
enum { DURE_FEATURES_MAX = 32 };

// What a device achieves on large work, for estimates; results never depend on it. FLOP/s and bytes/s.
typedef struct dure_device_rates {
  double matmul_flops;     // f32
  double matmul16_flops;   // bf16 or f16 with f32 sums; matmul_flops where nothing is faster
  double attention_flops;  // causal, forward; of the FLOPs that dure_cost counts
  double bandwidth;        // read + written, by a kernel that does little else
  double transfer;         // between host and device
  bool is_measured;        // on this device, by `dure tune`; else from the shipped table (runtime/rates.def)
  char source[96];         // where they are from, for people
} dure_device_rates;

typedef struct dure_device_info {
  char identifier[32];  // what --device takes: "vulkan:0", "cuda:1", "reference"
  char backend[16];     // "vulkan", "cuda", "reference"
  char name[256];       // the device's own name
  char driver[256];     // driver name and version
  dure_device_kind kind;
  uint64_t memory_bytes;         // the device's own memory
  uint64_t memory_budget_bytes;  // of which this process may use about so much now
  bool usable;                   // can be opened by this build
  char reason[512];              // why it is not usable; or what was chosen for it and why, one fact a line
  char kernels[96];              // what decides which kernels run, where something does: switches, tuning
  char profile[32];              // whose limits are imposed on it ("rtx4060"); "" for its own
  dure_limits limits;
  dure_device_rates rates;  // measured ones; zero: dure_device_info_rates has the shipped ones
  uint32_t feature_count;
  dure_device_feature features[DURE_FEATURES_MAX];
} dure_device_info;

// Every device of every backend, also those that cannot be used (with the reason), the best first. Release with free().
// Missing loaders and drivers are no failure: `out_notes` (free(), may be NULL) then says what is missing and what to
// install.
DURE_MUST_CHECK dure_status dure_devices_list(dure_device_info **out_infos, size_t *out_count, char **out_notes);

// Opens the device named like --device: "auto" (or NULL), "vulkan", "vulkan:N", "cuda:N", "reference".
DURE_MUST_CHECK dure_status dure_device_open(const char *identifier, dure_device **out_device);
void dure_device_close(dure_device *device);  // NULL is fine; waits for work in flight
const dure_device_info *dure_device_get_info(const dure_device *device);
// Bytes of device memory taken through this device now and at most so far, all that the backend takes with them
// included, and what may still be taken (asked of the driver each time; NULL: it is not). Buffers of DURE_MEMORY_HOST
// do not count.
DURE_MUST_CHECK dure_status dure_device_memory(dure_device *device, uint64_t *out_used, uint64_t *out_peak,
                                               uint64_t *out_available);
// The most by which the bytes taken exceed the sizes of the buffers, about: memory that small buffers share, and is not
// full. Known beforehand, for plans; less under a small budget.
uint64_t dure_device_memory_overhead(const dure_device *device);
// Overrides limits (the smaller of each wins; zero fields are ignored). For tests, profiles and --device-memory.
void dure_device_restrict(dure_device *device, const dure_limits *limits, uint64_t memory_budget_bytes);

// An imposed profile's own rates, else what was measured, else the shipped table's.
dure_device_rates dure_device_get_rates(const dure_device *device);
dure_device_rates dure_device_info_rates(const dure_device_info *info);  // the same of a listed device
// The shipped table's, without a device: by a profile's name (NULL or "": none), else by kind and the device's name.
dure_device_rates dure_device_rates_shipped(const char *profile, const char *name, dure_device_kind kind);
// The shipped table's row that a person means by a profile's name ("rtx4060") or a card's ("RTX 4060"), in any case.
// DURE_NOT_FOUND names those there are.
DURE_MUST_CHECK dure_status dure_device_rates_find(const char *name, dure_device_rates *out_rates);

// ---- buffers ---------------------------------------------------------------------------------------------------

typedef enum dure_memory_kind {
  DURE_MEMORY_DEVICE,  // fastest for kernels; reached through stream uploads and downloads
  DURE_MEMORY_HOST,    // host-visible and coherent, mapped for its whole life (dure_buffer_map)
} dure_memory_kind;

// Zero-filled; the size is rounded up to whole 4-byte words. `label` says what it is for in messages about memory.
// Fails with DURE_OUT_OF_MEMORY, naming the largest buffers that exist and what to change, when the device's budget
// would be passed.
DURE_MUST_CHECK dure_status dure_buffer_create(dure_device *device, uint64_t size, dure_memory_kind kind,
                                               const char *label, dure_buffer **out_buffer);
void dure_buffer_destroy(dure_buffer *buffer);  // NULL is fine; the caller has waited for work that uses it
uint64_t dure_buffer_size(const dure_buffer *buffer);
// DURE_MEMORY_HOST, and every buffer of devices made of the host's cores (reference, most software drivers); else NULL.
void *dure_buffer_map(dure_buffer *buffer);

// ---- streams and events ----------------------------------------------------------------------------------------

// One ordered timeline: what is enqueued later sees what was enqueued earlier. Each enqueue advances the stream's point
// by one; points are waited for, so one stream needs no events within itself.
DURE_MUST_CHECK dure_status dure_stream_create(dure_device *device, dure_stream **out_stream);
void dure_stream_destroy(dure_stream *stream);  // waits for its work

// Copies `size` bytes at `data` into the buffer, in stream order; `data` may be reused as soon as this returns. Any
// size.
DURE_MUST_CHECK dure_status dure_stream_upload(dure_stream *stream, dure_buffer *buffer, uint64_t offset,
                                               const void *data, uint64_t size);
// Copies out of the buffer, in stream order. `data` is filled, and must stay valid, until `*out_point` has been waited
// for by dure_stream_wait (which is what fills it). `out_point` may be NULL: then this call waits.
DURE_MUST_CHECK dure_status dure_stream_download(dure_stream *stream, dure_buffer *buffer, uint64_t offset, void *data,
                                                 uint64_t size, uint64_t *out_point);
// Runs recordings one after the other. If `wait_event` is not NULL they start when it reaches `wait_value`; if
// `signal_event` is not NULL it gets `signal_value` when they are done. `out_point` may be NULL.
DURE_MUST_CHECK dure_status dure_stream_submit(dure_stream *stream, dure_recording *const *recordings, size_t count,
                                               dure_event *wait_event, uint64_t wait_value, dure_event *signal_event,
                                               uint64_t signal_value, uint64_t *out_point);
uint64_t dure_stream_point(const dure_stream *stream);  // of the last thing enqueued
// Times that the host has waited for this stream so far, also where a transfer had to wait for room.
uint64_t dure_stream_wait_count(const dure_stream *stream);
// Waits until the stream has reached `point` (0: everything enqueued so far). DURE_DEVICE_LOST when it never will.
DURE_MUST_CHECK dure_status dure_stream_wait(dure_stream *stream, uint64_t point);

// A counter that only grows, signalled by the device (submit) or by the host. Waiting for the stream does not wait for
// the events that its work signals: they may get their values a moment later. Events are for any thread: signalled,
// read and waited for beside the thread that drives the device, on every backend (one thread signals an event at a
// time, and it is destroyed when none uses it).
DURE_MUST_CHECK dure_status dure_event_create(dure_device *device, uint64_t value, dure_event **out_event);
void dure_event_destroy(dure_event *event);
DURE_MUST_CHECK dure_status dure_event_signal(dure_event *event, uint64_t value);
DURE_MUST_CHECK dure_status dure_event_read(dure_event *event, uint64_t *out_value);
DURE_MUST_CHECK dure_status dure_event_wait(dure_event *event, uint64_t value, uint64_t timeout_nanoseconds,
                                            bool *out_reached);

// ---- kernels and recordings ------------------------------------------------------------------------------------

// A compiled kernel of the device, by its variant's name and its specialisation constants (in the order in which the
// shader numbers them from 0). Created on first use, cached and owned by the device, never destroyed by callers.
DURE_MUST_CHECK dure_status dure_kernel_get(dure_device *device, const char *name, const uint32_t *constants,
                                            size_t constant_count, dure_kernel **out_kernel);

typedef enum dure_access { DURE_READ = 1, DURE_WRITE = 2, DURE_READ_WRITE = 3 } dure_access;

// A byte range that a command touches. Barriers are inferred from these; a range that is wrong is a race.
typedef struct dure_binding {
  dure_buffer *buffer;
  uint64_t offset;  // a multiple of the device's offset_alignment
  uint64_t size;    // bytes, at most max_binding_bytes
  dure_access access;
} dure_binding;

enum { DURE_RECORD_TIMESTAMPS = 1 };  // flags of dure_recording_create

// Commands recorded once and submitted any number of times. `label` names it in traces and messages.
DURE_MUST_CHECK dure_status dure_recording_create(dure_device *device, const char *label, uint32_t flags,
                                                  dure_recording **out_recording);
void dure_recording_destroy(dure_recording *recording);  // NULL is fine; not while it runs
// Names the commands that follow (an op's name and place), for timestamps, traces and device-lost messages. Copied.
void dure_recording_label(dure_recording *recording, const char *label);
DURE_MUST_CHECK dure_status dure_recording_dispatch(dure_recording *recording, dure_kernel *kernel,
                                                    const dure_binding *bindings, size_t binding_count,
                                                    const void *push, size_t push_size, uint32_t groups_x,
                                                    uint32_t groups_y, uint32_t groups_z);
DURE_MUST_CHECK dure_status dure_recording_copy(dure_recording *recording, dure_buffer *source, uint64_t source_offset,
                                                dure_buffer *target, uint64_t target_offset, uint64_t size);
// `size` and `offset` in bytes, multiples of 4; the pattern is repeated.
DURE_MUST_CHECK dure_status dure_recording_fill(dure_recording *recording, dure_buffer *buffer, uint64_t offset,
                                                uint64_t size, uint32_t pattern);
DURE_MUST_CHECK dure_status dure_recording_finish(dure_recording *recording);

typedef struct dure_command_time {
  const char *label;   // owned by the recording
  double nanoseconds;  // device time of this command
} dure_command_time;
// Times of the last completed submission of a recording made with DURE_RECORD_TIMESTAMPS; wait for it first.
// The array belongs to the recording. Commands, not labels: equal labels repeat.
DURE_MUST_CHECK dure_status dure_recording_times(dure_recording *recording, const dure_command_time **out_times,
                                                 size_t *out_count);

// ---- what a backend provides -----------------------------------------------------------------------------------

// How a backend runs one op row: it adds dispatches for the call (whose operands are resolved to buffers) to the
// recording.
typedef struct dure_backend_op {
  DURE_MUST_CHECK dure_status (*record)(dure_device *device, dure_recording *recording,
                                        const struct dure_op_call *call);
  uint64_t (*workspace_bytes)(dure_device *device, const struct dure_op_call *call);  // NULL: none
  bool takes_16_bit;  // operands may be bf16 or f16; else such a call is refused when its program is compiled
} dure_backend_op;

typedef struct dure_device_vtable {
  void (*close)(dure_device *device);
  DURE_MUST_CHECK dure_status (*available_memory)(dure_device *device, uint64_t *out_bytes);
  DURE_MUST_CHECK dure_status (*buffer_create)(dure_device *device, uint64_t size, dure_memory_kind kind,
                                               const char *label, dure_buffer **out_buffer);
  void (*buffer_destroy)(dure_buffer *buffer);
  DURE_MUST_CHECK dure_status (*stream_create)(dure_device *device, dure_stream **out_stream);
  void (*stream_destroy)(dure_stream *stream);
  DURE_MUST_CHECK dure_status (*stream_upload)(dure_stream *stream, dure_buffer *buffer, uint64_t offset,
                                               const void *data, uint64_t size);
  DURE_MUST_CHECK dure_status (*stream_download)(dure_stream *stream, dure_buffer *buffer, uint64_t offset, void *data,
                                                 uint64_t size, uint64_t *out_point);
  DURE_MUST_CHECK dure_status (*stream_submit)(dure_stream *stream, dure_recording *const *recordings, size_t count,
                                               dure_event *wait_event, uint64_t wait_value, dure_event *signal_event,
                                               uint64_t signal_value);
  DURE_MUST_CHECK dure_status (*stream_wait)(dure_stream *stream, uint64_t point);
  DURE_MUST_CHECK dure_status (*event_create)(dure_device *device, uint64_t value, dure_event **out_event);
  void (*event_destroy)(dure_event *event);
  DURE_MUST_CHECK dure_status (*event_signal)(dure_event *event, uint64_t value);
  DURE_MUST_CHECK dure_status (*event_read)(dure_event *event, uint64_t *out_value);
  DURE_MUST_CHECK dure_status (*event_wait)(dure_event *event, uint64_t value, uint64_t timeout_nanoseconds,
                                            bool *out_reached);
  DURE_MUST_CHECK dure_status (*kernel_get)(dure_device *device, const char *name, const uint32_t *constants,
                                            size_t constant_count, dure_kernel **out_kernel);
  DURE_MUST_CHECK dure_status (*recording_create)(dure_device *device, const char *label, uint32_t flags,
                                                  dure_recording **out_recording);
  void (*recording_destroy)(dure_recording *recording);
  void (*recording_label)(dure_recording *recording, const char *label);
  DURE_MUST_CHECK dure_status (*recording_dispatch)(dure_recording *recording, dure_kernel *kernel,
                                                    const dure_binding *bindings, size_t binding_count,
                                                    const void *push, size_t push_size, uint32_t groups_x,
                                                    uint32_t groups_y, uint32_t groups_z);
  DURE_MUST_CHECK dure_status (*recording_copy)(dure_recording *recording, dure_buffer *source, uint64_t source_offset,
                                                dure_buffer *target, uint64_t target_offset, uint64_t size);
  DURE_MUST_CHECK dure_status (*recording_fill)(dure_recording *recording, dure_buffer *buffer, uint64_t offset,
                                                uint64_t size, uint32_t pattern);
  DURE_MUST_CHECK dure_status (*recording_finish)(dure_recording *recording);
  DURE_MUST_CHECK dure_status (*recording_times)(dure_recording *recording, const dure_command_time **out_times,
                                                 size_t *out_count);
  const dure_backend_op *(*op)(dure_device *device, uint32_t op);  // NULL: this backend has no kernel for the row
  uint64_t (*memory_overhead)(const dure_device *device);          // dure_device_memory_overhead; NULL: none
  // dure_device_tune (runtime/tune.h); NULL: nothing to tune.
  DURE_MUST_CHECK dure_status (*tune)(dure_device *device, dure_tune_sink sink, void *context, char **out_path);
  const struct dure_communicator_vtable *communicator;  // collectives on streams; NULL: by the host
} dure_device_vtable;

// The heads of the backends' own structs: each backend's struct starts with one of these.
struct dure_device {
  const dure_device_vtable *vtable;
  dure_device_info info;
  uint64_t memory_used;              // sizes of the buffers in device memory
  uint64_t memory_overhead;          // what the backend has taken beyond them; kept by it
  uint64_t memory_peak;              // of the sum
  uint64_t memory_restriction;       // 0: none
  uint64_t exposed_bytes;            // beyond each binding that kernels can reach (tests: stray stores meet sentinels)
  struct dure_buffer *first_buffer;  // all live buffers, for messages about memory
};
struct dure_buffer {
  dure_device *device;
  uint64_t size;
  dure_memory_kind kind;
  void *mapped;  // host address, NULL when the host does not reach it
  char label[64];
  struct dure_buffer *previous, *next;  // the device's list, kept by the HAL
};
struct dure_stream {
  dure_device *device;
  uint64_t point;       // of the last thing enqueued; advanced by the HAL, before the backend's call
  uint64_t wait_count;  // of the host; by the HAL, and by the backend where an enqueue waits
};
struct dure_event {
  dure_device *device;
};
struct dure_recording {
  dure_device *device;
  bool finished;
};
struct dure_kernel {
  dure_device *device;
};

// One backend, found by the registry in hal.c. `list` appends the backend's devices (realloc), `open` takes the index
// in that list. A note says what is missing when the backend cannot work here.
typedef struct dure_backend {
  const char *name;
  DURE_MUST_CHECK dure_status (*list)(dure_device_info **infos, size_t *count, char **out_note);
  DURE_MUST_CHECK dure_status (*open)(uint32_t index, dure_device **out_device);
} dure_backend;

extern const dure_backend dure_backend_reference;
extern const dure_backend dure_backend_cuda;  // through its plugin (runtime/cuda_plugin.h)
extern const dure_backend dure_backend_vulkan;

#endif  // DURE_RUNTIME_HAL_H_
