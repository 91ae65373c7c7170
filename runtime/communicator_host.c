#include "runtime/communicator_host.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/collectives_host.h"
#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/trace.h"

static const uint64_t glance = 50000000;  // nanoseconds between looks at the world while waiting
static const uint64_t staging_granule = 64 << 10;
static const uint64_t staging_limit = UINT64_C(256) << 20;  // of pinned memory, where waiting can keep within it

// A collective between its begin and the time when nothing of it is used any more. One that goes by a staging buffer
// is cut into chunks: while one travels, the device brings the next, and takes back the one before.
typedef struct flight {
  uint64_t ticket;
  uint64_t mark;  // that events have when the last chunk is done; chunk i's is mark - chunk_count + 1 + i
  dure_collective what;
  dure_buffer *staging;                   // NULL: the ranges are the host's to reach
  uint64_t source_offset, target_offset;  // in what the thread works on: the staging buffer, or the ranges themselves
  uint64_t chunk;                         // elements
  uint32_t chunk_count;                   // 1 without a staging buffer
  dure_recording **copies;                // [2, chunk_count]: to the staging buffer, and back; NULL: none
  bool is_joined;
} flight;

typedef struct staging_buffer {
  dure_buffer *buffer;
  bool is_taken;
} staging_buffer;

struct dure_host_communicator {
  dure_host_collectives collectives;
  dure_device *device;
  dure_stream *stream;  // of the first begin
  bool runs_at_once;    // a device that does work as it is submitted, and cannot wait for what is to come
  bool has_thread;
  pthread_t thread;
  dure_host_communicator_options options;

  // The caller's alone.
  uint64_t begun, joined;  // tickets
  uint64_t marks;          // given to chunks so far
  staging_buffer *buffers;
  size_t buffer_count;
  uint64_t buffer_bytes;
  dure_event *arrived;   // the device has brought a chunk: its mark
  dure_event *finished;  // the host is done with it
  dure_event *awaited;   // the device has come to the join: a ticket
  dure_event *returned;  // the device has taken it back: a mark

  pthread_mutex_t mutex;  // over what follows
  pthread_cond_t changed;
  flight *flights;  // in order of tickets, of which flights[0] is `first_ticket`
  size_t flight_count, flight_capacity;
  uint64_t completed;  // by the thread
  bool ends;
  dure_code failure_code;
  char *failure;  // of the first collective that failed; all later ones do
  dure_communicator_statistics statistics;
  uint64_t awaited_since;  // when the thread saw that the device waits for the current collective; 0: not yet
  uint64_t current;        // ticket
};

static void lock(dure_host_communicator *c) { pthread_mutex_lock(&c->mutex); }
static void unlock(dure_host_communicator *c) { pthread_mutex_unlock(&c->mutex); }

static dure_status failure_of(dure_host_communicator *c) {
  lock(c);
  dure_status status =
      c->failure_code != DURE_OK ? dure_fail(c->failure_code, "%s", c->failure != NULL ? c->failure : "") : NULL;
  unlock(c);
  return status;
}

// ---- the thread --------------------------------------------------------------------------------------------------

// While bytes travel: whether the device has come to the join meanwhile.
static void tick(void *context) {
  dure_host_communicator *c = context;
  uint64_t value = 0;
  if (c->awaited_since != 0) return;
  dure_status status = dure_event_read(c->awaited, &value);
  if (status == NULL && value >= c->current) c->awaited_since = dure_os_nanoseconds();
  dure_status_free(status);
}

static dure_status wait_arrival(dure_host_communicator *c, uint64_t mark) {
  for (bool has_arrived = false; !has_arrived;) {
    DURE_TRY(dure_event_wait(c->arrived, mark, glance, &has_arrived));
    if (has_arrived) break;
    DURE_TRY(dure_world_check(c->collectives.world));
    lock(c);
    const bool ends = c->ends;
    unlock(c);
    if (ends) return dure_fail(DURE_CANCELLED, "the communicator was destroyed before its collective began");
    if (c->runs_at_once) dure_os_sleep(glance / 1000);
  }
  return NULL;
}

// Names it for the others, who may wait for this rank, or it for them.
static void enter(dure_host_communicator *c, const dure_collective *what) {
  const bool is_message = what->kind == DURE_SEND || what->kind == DURE_RECEIVE;
  dure_channel_enter(c->collectives.world, c->collectives.channel, is_message ? what->peer : DURE_NOBODY, false,
                     "%s of %llu %s", dure_collective_name(what->kind), (unsigned long long)what->count,
                     dure_dtype_name(what->dtype));
}

// Moves the chunks, each as soon as the device has brought it.
static dure_status move(dure_host_communicator *c, const flight *f) {
  uint8_t *source = NULL, *target = NULL;
  if (f->staging != NULL)
    source = target = dure_buffer_map(f->staging);
  else {
    source = f->what.source != NULL ? dure_buffer_map(f->what.source) : NULL;
    target = f->what.target != NULL ? dure_buffer_map(f->what.target) : NULL;
  }
  if (source != NULL) source += f->source_offset;
  if (target != NULL) target += f->target_offset;
  for (uint32_t i = 0; i < f->chunk_count; i++) {
    const uint64_t first = i * f->chunk, left = f->what.count - first;
    const uint64_t mark = f->mark - f->chunk_count + 1 + i;
    if (i > 0) DURE_TRY(wait_arrival(c, mark));
    DURE_TRY(
        dure_host_collective_run(&c->collectives, &f->what, first, left < f->chunk ? left : f->chunk, source, target));
    if (mark < f->mark) DURE_TRY(dure_event_signal(c->finished, mark));
  }
  return NULL;
}

static void trace(const dure_collective *what, uint64_t begin, uint64_t end) {
  char label[64];
  if (!dure_trace_enabled()) return;
  snprintf(label, sizeof(label), "%s of %llu %s", dure_collective_name(what->kind), (unsigned long long)what->count,
           dure_dtype_name(what->dtype));
  dure_trace_span("collectives", label, begin, end);
}

static dure_status fly(dure_host_communicator *c, const flight *f) {
  DURE_TRY(wait_arrival(c, f->mark - f->chunk_count + 1));
  const uint64_t begin = dure_os_nanoseconds();
  c->current = f->ticket;
  c->awaited_since = 0;
  tick(c);
  enter(c, &f->what);
  dure_status status = move(c, f);
  dure_channel_leave(c->collectives.channel);
  const uint64_t end = dure_os_nanoseconds();
  trace(&f->what, begin, end);
  lock(c);
  c->statistics.collectives++;
  c->statistics.bytes_sent = c->collectives.channel->bytes_sent;
  c->statistics.bytes_received = c->collectives.channel->bytes_received;
  c->statistics.busy_seconds += (double)(end - begin) / 1e9;
  if (c->awaited_since != 0) c->statistics.wait_seconds += (double)(end - c->awaited_since) / 1e9;
  unlock(c);
  return status;
}

// The device must go on whatever became of the collective.
static void complete(dure_host_communicator *c, const flight *f, dure_status status) {
  dure_status signalled = dure_event_signal(c->finished, f->mark);
  status = dure_status_join(status, signalled);
  lock(c);
  if (status != NULL && c->failure_code == DURE_OK) {
    c->failure_code = dure_status_code(status);
    c->failure = strdup(dure_status_message(status));
  }
  c->completed = f->ticket;
  pthread_cond_broadcast(&c->changed);
  unlock(c);
  dure_status_free(status);
}

static void *run(void *argument) {
  dure_host_communicator *c = argument;
  lock(c);
  for (;;) {
    const uint64_t next = c->completed + 1;
    size_t i = 0;
    while (i < c->flight_count && c->flights[i].ticket != next) i++;
    if (i < c->flight_count) {
      const flight f = c->flights[i];
      const bool has_failed = c->failure_code != DURE_OK;
      unlock(c);
      complete(c, &f, has_failed ? NULL : fly(c, &f));
      lock(c);
      continue;
    }
    if (c->ends) break;
    pthread_cond_wait(&c->changed, &c->mutex);
  }
  unlock(c);
  return NULL;
}

// ---- flights -----------------------------------------------------------------------------------------------------

static void land(dure_host_communicator *c, flight *f) {
  for (uint32_t i = 0; f->copies != NULL && i < 2 * f->chunk_count; i++) dure_recording_destroy(f->copies[i]);
  free(f->copies);
  f->copies = NULL;
  for (size_t i = 0; i < c->buffer_count; i++) {
    if (c->buffers[i].buffer == f->staging) c->buffers[i].is_taken = false;
  }
}

// Takes back what the oldest flights used, as far as they are over.
static dure_status land_finished(dure_host_communicator *c) {
  uint64_t returned = 0;
  DURE_TRY(dure_event_read(c->returned, &returned));
  lock(c);
  size_t done = 0;
  for (; done < c->flight_count; done++) {
    flight *f = &c->flights[done];
    const bool is_used = f->staging != NULL || f->copies != NULL;
    if (f->ticket > c->completed || !f->is_joined || (is_used && returned < f->mark)) break;
    land(c, f);
  }
  if (done > 0) memmove(c->flights, c->flights + done, (c->flight_count - done) * sizeof(*c->flights));
  c->flight_count -= done;
  unlock(c);
  return NULL;
}

static dure_status find_staging(dure_host_communicator *c, uint64_t size, dure_buffer **out_buffer) {
  staging_buffer *best = NULL;
  *out_buffer = NULL;
  for (size_t i = 0; i < c->buffer_count; i++) {
    staging_buffer *b = &c->buffers[i];
    const bool fits = !b->is_taken && dure_buffer_size(b->buffer) >= size;
    if (fits && (best == NULL || dure_buffer_size(b->buffer) < dure_buffer_size(best->buffer))) best = b;
  }
  if (best == NULL) return NULL;
  best->is_taken = true;
  *out_buffer = best->buffer;
  return NULL;
}

static dure_status add_staging(dure_host_communicator *c, uint64_t size, dure_buffer **out_buffer) {
  staging_buffer *grown = realloc(c->buffers, (c->buffer_count + 1) * sizeof(*grown));
  if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for collectives");
  c->buffers = grown;
  dure_buffer *buffer = NULL;
  DURE_TRY(dure_buffer_create(c->device, size, DURE_MEMORY_HOST, "collectives, by way of the host", &buffer));
  c->buffers[c->buffer_count++] = (staging_buffer){buffer, true};
  c->buffer_bytes += size;
  *out_buffer = buffer;
  return NULL;
}

// Gives back the buffers that nobody uses: they were of other sizes.
static void drop_free_staging(dure_host_communicator *c) {
  size_t kept = 0;
  for (size_t i = 0; i < c->buffer_count; i++) {
    if (c->buffers[i].is_taken) {
      c->buffers[kept++] = c->buffers[i];
      continue;
    }
    c->buffer_bytes -= dure_buffer_size(c->buffers[i].buffer);
    dure_buffer_destroy(c->buffers[i].buffer);
  }
  c->buffer_count = kept;
}

static dure_status take_staging(dure_host_communicator *c, uint64_t size, dure_buffer **out_buffer) {
  size = (size + staging_granule - 1) / staging_granule * staging_granule;
  DURE_TRY(find_staging(c, size, out_buffer));
  while (*out_buffer == NULL && c->buffer_bytes + size > staging_limit) {
    drop_free_staging(c);
    if (c->flight_count == 0 || !c->flights[0].is_joined || c->buffer_bytes + size <= staging_limit) break;
    bool is_back = false;  // the oldest's buffer: already on its way
    DURE_TRY(dure_event_wait(c->returned, c->flights[0].mark, glance, &is_back));
    DURE_TRY(land_finished(c));
    DURE_TRY(find_staging(c, size, out_buffer));
  }
  return *out_buffer != NULL ? NULL : add_staging(c, size, out_buffer);
}

// ---- begin -------------------------------------------------------------------------------------------------------

static dure_status start_recording(dure_host_communicator *c, const char *label, dure_recording **out_recording) {
  DURE_TRY(dure_recording_create(c->device, label, 0, out_recording));
  dure_recording_label(*out_recording, label);
  return NULL;
}

// Elements [first, first + count) of a collective's range, between the device and the staging buffer. A range that has
// a part for each rank (`parts` of them) has the elements in each.
static dure_status record_chunk(dure_recording *recording, const flight *f, bool is_back, uint32_t parts,
                                uint64_t first, uint64_t count) {
  const uint64_t element = dure_dtype_size(f->what.dtype);
  dure_buffer *range = is_back ? f->what.target : f->what.source;
  const uint64_t there = is_back ? f->what.target_offset : f->what.source_offset;
  const uint64_t here = is_back ? f->target_offset : f->source_offset;
  if (count == f->what.count) {  // all of it: the parts lie one behind the other
    count *= parts;
    parts = 1;
  }
  for (uint32_t i = 0; i < parts; i++) {
    const uint64_t place = (i * f->what.count + first) * element;
    if (is_back)
      DURE_TRY(dure_recording_copy(recording, f->staging, here + place, range, there + place, count * element));
    else
      DURE_TRY(dure_recording_copy(recording, range, there + place, f->staging, here + place, count * element));
  }
  return NULL;
}

static dure_status record_chunks(dure_host_communicator *c, flight *f, bool is_back) {
  const dure_collective_kind in_parts = is_back ? DURE_ALL_GATHER : DURE_REDUCE_SCATTER;
  const char *label = is_back ? "collective: from the host" : "collective: to the host";
  for (uint32_t i = 0; i < f->chunk_count; i++) {
    dure_recording **recording = &f->copies[is_back * f->chunk_count + i];
    const uint64_t first = i * f->chunk, left = f->what.count - first;
    DURE_TRY(start_recording(c, label, recording));
    DURE_TRY(record_chunk(*recording, f, is_back, f->what.kind == in_parts ? c->collectives.size : 1, first,
                          left < f->chunk ? left : f->chunk));
    DURE_TRY(dure_recording_finish(*recording));
  }
  return NULL;
}

// Where source and target lie in a staging buffer: the same places as where one of them is part of the other.
static void place_in_staging(const dure_host_communicator *c, flight *f) {
  const uint64_t part = f->what.count * dure_dtype_size(f->what.dtype) * c->collectives.rank;
  f->source_offset = f->what.kind == DURE_ALL_GATHER ? part : 0;
  f->target_offset = f->what.kind == DURE_REDUCE_SCATTER ? part : 0;
}

static bool is_reached(dure_buffer *buffer) { return buffer == NULL || dure_buffer_map(buffer) != NULL; }

static dure_status allocate_copies(flight *f) {
  f->copies = calloc(2 * (size_t)f->chunk_count, sizeof(*f->copies));
  return f->copies != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a collective");
}

// Chunks of about chunk_bytes, in elements that keep copies aligned: the same on every rank, whether the host reaches
// its ranges or not, as the bytes go out in this order.
static void cut(const dure_host_communicator *c, flight *f) {
  enum { granule = 1024 };
  const bool has_parts = f->what.kind == DURE_ALL_GATHER || f->what.kind == DURE_REDUCE_SCATTER;
  const bool is_even = f->what.count * dure_dtype_size(f->what.dtype) % 4 == 0;
  if (f->what.count == 0 || (has_parts && !is_even)) return;
  const uint64_t element = dure_dtype_size(f->what.dtype) * (has_parts ? c->collectives.size : 1);
  const uint64_t chunk = (c->options.chunk_bytes / element + granule - 1) / granule * granule;
  f->chunk = chunk < granule ? granule : chunk < f->what.count ? chunk : f->what.count;
  f->chunk_count = (uint32_t)((f->what.count + f->chunk - 1) / f->chunk);
}

static dure_status prepare_staged(dure_host_communicator *c, flight *f) {
  const uint32_t size = c->collectives.size;
  const uint64_t source = dure_collective_source_bytes(&f->what, size);
  const uint64_t target = dure_collective_target_bytes(&f->what, size);
  const bool is_root = f->what.kind != DURE_BROADCAST || f->what.peer == c->collectives.rank;
  DURE_TRY(allocate_copies(f));
  DURE_TRY(take_staging(c, source > target ? source : target, &f->staging));
  place_in_staging(c, f);
  return source == 0 || !is_root ? NULL : record_chunks(c, f, false);
}

// In a world of one a collective is a copy, or nothing.
static dure_status prepare_alone(dure_host_communicator *c, flight *f) {
  const dure_collective *what = &f->what;
  const uint64_t bytes = dure_collective_target_bytes(what, 1);
  if (bytes == 0 || (what->source == what->target && what->source_offset == what->target_offset)) return NULL;
  DURE_TRY(allocate_copies(f));
  DURE_TRY(start_recording(c, "collective of one", &f->copies[0]));
  DURE_TRY(
      dure_recording_copy(f->copies[0], what->source, what->source_offset, what->target, what->target_offset, bytes));
  return dure_recording_finish(f->copies[0]);
}

static dure_status prepare(dure_host_communicator *c, flight *f) {
  if (c->collectives.size == 1) return prepare_alone(c, f);
  cut(c, f);
  const bool is_far = c->options.stages || !is_reached(f->what.source) || !is_reached(f->what.target);
  if (f->what.count > 0 && is_far) return prepare_staged(c, f);
  f->source_offset = f->what.source_offset;
  f->target_offset = f->what.target_offset;
  return NULL;
}

static dure_status add_flight(dure_host_communicator *c, const flight *f) {
  lock(c);
  if (c->flight_count == c->flight_capacity) {
    const size_t capacity = c->flight_capacity * 2 + 16;
    flight *grown = realloc(c->flights, capacity * sizeof(*grown));
    if (grown == NULL) {
      unlock(c);
      return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a collective");
    }
    c->flights = grown;
    c->flight_capacity = capacity;
  }
  c->flights[c->flight_count++] = *f;
  pthread_cond_broadcast(&c->changed);
  unlock(c);
  return NULL;
}

// The device brings the chunks one by one, or comes to the collective.
static dure_status submit_begin(dure_stream *stream, const flight *f, dure_event *signal) {
  for (uint32_t i = 0; i < f->chunk_count; i++) {
    const bool has_copy = f->copies != NULL && f->copies[i] != NULL;
    if (!has_copy && i + 1 < f->chunk_count) continue;  // nothing to bring: all may go
    DURE_TRY(dure_stream_submit(stream, &f->copies[has_copy ? i : 0], has_copy ? 1 : 0, NULL, 0, signal,
                                f->mark - f->chunk_count + 1 + i, NULL));
  }
  return NULL;
}

dure_status dure_host_communicator_begin(dure_host_communicator *c, dure_stream *stream, const dure_collective *what,
                                         uint64_t *out_ticket) {
  *out_ticket = 0;
  DURE_TRY(failure_of(c));
  DURE_TRY(dure_world_check(c->collectives.world));
  if (c->stream != NULL && c->stream != stream)
    return dure_fail(DURE_INVALID_ARGUMENT, "a communicator's collectives are begun on one stream; this is another");
  c->stream = stream;
  DURE_TRY(land_finished(c));
  flight f = {.ticket = c->begun + 1, .what = *what, .chunk = what->count, .chunk_count = 1};
  const bool is_alone = c->collectives.size == 1;
  dure_status status = prepare(c, &f);
  f.mark = c->marks + f.chunk_count;
  f.is_joined = is_alone;  // what comes later on the stream sees it
  if (status == NULL) status = submit_begin(stream, &f, is_alone ? c->returned : c->arrived);
  if (status == NULL) status = add_flight(c, &f);
  if (status != NULL) {
    if (f.chunk_count > 1) dure_status_free(dure_stream_wait(stream, 0));  // some chunks may be on their way
    land(c, &f);
    return status;
  }
  *out_ticket = c->begun = f.ticket;
  c->marks = f.mark;
  if (is_alone) {
    lock(c);
    c->completed = c->joined = f.ticket;
    c->statistics.collectives++;
    unlock(c);
  }
  return NULL;
}

// ---- join --------------------------------------------------------------------------------------------------------

static dure_status wait_completed(dure_host_communicator *c, uint64_t ticket) {
  lock(c);
  while (c->completed < ticket) pthread_cond_wait(&c->changed, &c->mutex);
  unlock(c);
  return failure_of(c);
}

// Whether the collective leaves anything on this rank that is not there yet.
static bool brings_back(const dure_host_communicator *c, const flight *f) {
  const dure_collective *what = &f->what;
  if (f->staging == NULL || what->kind == DURE_SEND) return false;
  const bool is_in_place = what->source == what->target && what->source_offset == what->target_offset;
  return what->kind != DURE_BROADCAST || what->peer != c->collectives.rank || !is_in_place;
}

// What brings an unjoined collective's result back to the device, chunk by chunk as they come.
static dure_status submit_return(dure_host_communicator *c, flight *f) {
  if (!brings_back(c, f)) return NULL;
  DURE_TRY(record_chunks(c, f, true));
  for (uint32_t i = 0; i < f->chunk_count; i++)
    DURE_TRY(dure_stream_submit(c->stream, &f->copies[f->chunk_count + i], 1, c->finished,
                                f->mark - f->chunk_count + 1 + i, NULL, 0, NULL));
  return NULL;
}

static dure_status submit_join(dure_host_communicator *c, uint64_t ticket) {
  uint64_t mark = 0;
  DURE_TRY(dure_stream_submit(c->stream, NULL, 0, NULL, 0, c->awaited, ticket, NULL));
  if (c->runs_at_once) {
    const uint64_t begin = dure_os_nanoseconds();
    DURE_TRY(wait_completed(c, ticket));
    lock(c);
    c->statistics.wait_seconds += (double)(dure_os_nanoseconds() - begin) / 1e9;
    unlock(c);
  }
  for (size_t i = 0; i < c->flight_count; i++) {  // only the caller adds and removes flights
    flight *f = &c->flights[i];
    if (f->ticket > ticket) break;
    mark = f->mark;
    if (!f->is_joined) DURE_TRY(submit_return(c, f));
  }
  return dure_stream_submit(c->stream, NULL, 0, c->finished, mark, c->returned, mark, NULL);
}

dure_status dure_host_communicator_join(dure_host_communicator *c, uint64_t ticket) {
  DURE_TRY(failure_of(c));
  if (ticket <= c->joined) return NULL;
  DURE_TRY(submit_join(c, ticket));
  c->joined = ticket;
  lock(c);
  for (size_t i = 0; i < c->flight_count; i++) {
    if (c->flights[i].ticket <= ticket) c->flights[i].is_joined = true;
  }
  unlock(c);
  return NULL;
}

dure_status dure_host_communicator_wait(dure_host_communicator *c, uint64_t ticket) {
  uint64_t mark = 0;  // 0: nothing of it is used any more
  DURE_TRY(dure_host_communicator_join(c, ticket));
  DURE_TRY(wait_completed(c, ticket));
  for (size_t i = 0; i < c->flight_count; i++)
    if (c->flights[i].ticket == ticket) mark = c->flights[i].mark;
  for (bool is_back = mark == 0; !is_back;) DURE_TRY(dure_event_wait(c->returned, mark, glance, &is_back));
  return NULL;
}

dure_communicator_statistics dure_host_communicator_statistics(dure_host_communicator *c) {
  lock(c);
  const dure_communicator_statistics statistics = c->statistics;
  unlock(c);
  return statistics;
}

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status open_thread(dure_host_communicator *c) {
  DURE_TRY(dure_world_channel(c->collectives.world, &c->collectives.channel));
  if (!c->runs_at_once) {
    c->collectives.channel->tick = tick;
    c->collectives.channel->tick_context = c;
  }
  if (pthread_create(&c->thread, NULL, run, c) != 0)
    return dure_fail(DURE_OUT_OF_MEMORY, "cannot start the thread of collectives");
  c->has_thread = true;
  return NULL;
}

dure_status dure_host_communicator_create(dure_world *world, dure_device *device,
                                          const dure_host_communicator_options *options,
                                          dure_host_communicator **out_communicator) {
  *out_communicator = NULL;
  dure_host_communicator *c = calloc(1, sizeof(*c));
  if (c == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a communicator");
  const dure_world_place place = dure_world_get_place(world);
  c->collectives = (dure_host_collectives){.world = world, .rank = place.rank, .size = place.size};
  c->device = device;
  c->options = *options;
  c->runs_at_once = dure_device_get_info(device)->kind == DURE_DEVICE_REFERENCE;
  pthread_mutex_init(&c->mutex, NULL);
  pthread_cond_init(&c->changed, NULL);
  dure_event **const events[] = {&c->arrived, &c->finished, &c->awaited, &c->returned};
  dure_status status = NULL;
  for (size_t i = 0; i < sizeof(events) / sizeof(events[0]) && status == NULL; i++)
    status = dure_event_create(device, 0, events[i]);
  if (status == NULL && place.size > 1) status = open_thread(c);
  if (status != NULL) {
    dure_host_communicator_destroy(c);
    return status;
  }
  *out_communicator = c;
  return NULL;
}

void dure_host_communicator_destroy(dure_host_communicator *c) {
  if (c == NULL) return;
  if (c->has_thread) {
    lock(c);
    c->ends = true;
    pthread_cond_broadcast(&c->changed);
    unlock(c);
    pthread_join(c->thread, NULL);
  }
  if (c->stream != NULL) {  // what it still does uses events and copies
    dure_status status = dure_stream_wait(c->stream, 0);
    if (status != NULL) dure_log(DURE_LOG_WARNING, "ending collectives: %s", dure_status_message(status));
    dure_status_free(status);
  }
  for (size_t i = 0; i < c->flight_count; i++) land(c, &c->flights[i]);
  for (size_t i = 0; i < c->buffer_count; i++) dure_buffer_destroy(c->buffers[i].buffer);
  dure_event *const events[] = {c->arrived, c->finished, c->awaited, c->returned};
  for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
    if (events[i] != NULL) dure_event_destroy(events[i]);
  }
  dure_channel_close(c->collectives.channel);
  dure_host_collectives_release(&c->collectives);
  pthread_cond_destroy(&c->changed);
  pthread_mutex_destroy(&c->mutex);
  free(c->flights);
  free(c->buffers);
  free(c->failure);
  free(c);
}
