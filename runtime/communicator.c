// Chooses the kind of communicator, checks collectives, and watches the world for the kind that waits on the device.
#include "runtime/communicator.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/communicator_host.h"
#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/world/internal.h"

static const uint64_t watch_nanoseconds = 100000000;

struct dure_communicator {
  dure_world *world;
  dure_device *device;
  dure_world_place place;
  dure_host_communicator *host;            // or:
  const dure_communicator_vtable *vtable;  // on the device
  void *state;
  dure_channel *followed;                   // carries nothing: others see by it to which collective this rank has come
  dure_communicator_statistics statistics;  // of that kind

  // Gives up the device's collectives when a rank is lost, as the device's thread may be waiting for them.
  bool has_watcher;
  pthread_t watcher;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  bool ends, has_aborted;  // under the mutex
};

// ---- choosing ----------------------------------------------------------------------------------------------------

typedef enum wish { WISH_AUTO, WISH_NCCL, WISH_HOST, WISH_STAGED } wish;

typedef struct ability {
  uint8_t wish, is_able;
  uint64_t chunk_bytes;
} ability;

static uint64_t read_chunk_bytes(void) {
  static const uint64_t default_bytes = 4 << 20, least = 4 << 10;
  const char *text = getenv("DURE_COLLECTIVE_CHUNK");
  const uint64_t bytes = text != NULL ? strtoull(text, NULL, 10) : 0;
  return bytes == 0 ? default_bytes : bytes < least ? least : bytes;
}

static dure_status read_wish(const char *kind, wish *out_wish) {
  static const char *const names[] = {"auto", "nccl", "host", "staged"};
  *out_wish = WISH_AUTO;
  if (kind == NULL) return NULL;
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    if (strcmp(kind, names[i]) != 0) continue;
    *out_wish = (wish)i;
    return NULL;
  }
  return dure_fail(DURE_INVALID_ARGUMENT, "there is no communicator '%s': expected auto, nccl, host or staged", kind);
}

// All ranks must come to the same: by the device only where each of them can.
static dure_status choose(dure_world *world, wish asked, dure_status inability, bool *out_is_on_device,
                          uint64_t *out_chunk_bytes) {
  const dure_world_place place = dure_world_get_place(world);
  ability own;
  memset(&own, 0, sizeof(own));  // sent as it lies here
  own.wish = (uint8_t)asked;
  own.is_able = inability == NULL;
  own.chunk_bytes = read_chunk_bytes();
  *out_is_on_device = false;
  *out_chunk_bytes = own.chunk_bytes;
  ability *all = calloc(place.size, sizeof(*all));
  if (all == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a communicator");
  dure_status status = dure_world_gather(world, &own, sizeof(own), all);
  bool is_able = place.size > 1 || asked == WISH_NCCL;
  for (uint32_t i = 0; i < place.size && status == NULL; i++) {
    if (all[i].wish != own.wish)
      status = dure_fail(DURE_INVALID_ARGUMENT, "%s asks for another kind of communicator than %s",
                         dure_world_rank_name(world, i), dure_world_rank_name(world, place.rank));
    is_able = is_able && all[i].is_able;
    if (all[i].chunk_bytes < *out_chunk_bytes) *out_chunk_bytes = all[i].chunk_bytes;
    if (status == NULL && asked == WISH_NCCL && all[i].is_able == 0)
      status = i == place.rank ? dure_fail(DURE_UNSUPPORTED, "%s", dure_status_message(inability))
                               : dure_fail(DURE_UNSUPPORTED, "%s cannot use NCCL", dure_world_rank_name(world, i));
  }
  *out_is_on_device = status == NULL && asked < WISH_HOST && is_able;
  free(all);
  return status;
}

static dure_status ability_of(const dure_device *device) {
  const dure_communicator_vtable *vtable = device->vtable->communicator;
  if (vtable == NULL)
    return dure_fail(DURE_UNSUPPORTED, "NCCL is for CUDA devices; %s is none", device->info.identifier);
  return vtable->available((dure_device *)(uintptr_t)device);
}

// ---- on the device -----------------------------------------------------------------------------------------------

static void *watch(void *argument) {
  dure_communicator *c = argument;
  pthread_mutex_lock(&c->mutex);
  while (!c->ends) {
    pthread_mutex_unlock(&c->mutex);
    dure_status lost = dure_world_check(c->world);
    if (lost != NULL) c->vtable->abort(c->state, dure_status_message(lost));
    pthread_mutex_lock(&c->mutex);
    if (lost != NULL) c->has_aborted = true;
    dure_status_free(lost);
    if (c->ends || c->has_aborted) break;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)watch_nanoseconds;
    if (until.tv_nsec >= 1000000000) {
      until.tv_nsec -= 1000000000;
      until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&c->changed, &c->mutex, &until);
  }
  pthread_mutex_unlock(&c->mutex);
  return NULL;
}

static dure_status create_on_device(dure_communicator *c) {
  uint8_t identifier[1 + DURE_COMMUNICATOR_IDENTIFIER_BYTES] = {0};  // first: whether rank 0 could make one
  dure_status status = NULL;
  if (c->place.rank == 0) status = c->vtable->identifier(c->device, identifier + 1);
  identifier[0] = status == NULL;
  status = dure_status_join(status, dure_world_broadcast(c->world, 0, identifier, sizeof(identifier)));
  if (status == NULL && identifier[0] == 0)
    status = dure_fail(DURE_UNSUPPORTED, "rank 0 could not begin a communicator of NCCL");
  DURE_TRY(status);
  DURE_TRY(c->vtable->create(c->device, identifier + 1, c->place.rank, c->place.size, &c->state));
  if (c->place.size == 1) return NULL;
  DURE_TRY(dure_world_channel(c->world, &c->followed));
  if (pthread_create(&c->watcher, NULL, watch, c) != 0)
    return dure_fail(DURE_OUT_OF_MEMORY, "cannot start the thread that watches the other ranks");
  c->has_watcher = true;
  return NULL;
}

// ---- life --------------------------------------------------------------------------------------------------------

dure_status dure_communicator_create(dure_world *world, dure_device *device, const char *kind,
                                     dure_communicator **out_communicator) {
  *out_communicator = NULL;
  wish asked;
  DURE_TRY(read_wish(kind, &asked));
  dure_status inability = ability_of(device);
  bool is_on_device = false;
  dure_host_communicator_options by_host = {.stages = asked == WISH_STAGED};
  dure_status status = choose(world, asked, inability, &is_on_device, &by_host.chunk_bytes);
  if (inability != NULL) dure_log(DURE_LOG_DEBUG, "%s", dure_status_message(inability));
  dure_status_free(inability);
  DURE_TRY(status);
  dure_communicator *c = calloc(1, sizeof(*c));
  if (c == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a communicator");
  c->world = world;
  c->device = device;
  c->place = dure_world_get_place(world);
  pthread_mutex_init(&c->mutex, NULL);
  pthread_cond_init(&c->changed, NULL);
  if (is_on_device) {
    c->vtable = device->vtable->communicator;
    status = create_on_device(c);
  } else {
    status = dure_host_communicator_create(world, device, &by_host, &c->host);
  }
  if (status != NULL) {
    dure_communicator_destroy(c);
    return status;
  }
  *out_communicator = c;
  return NULL;
}

void dure_communicator_destroy(dure_communicator *c) {
  if (c == NULL) return;
  if (c->has_watcher) {
    pthread_mutex_lock(&c->mutex);
    c->ends = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    pthread_join(c->watcher, NULL);
  }
  if (c->state != NULL) {
    dure_status lost = dure_world_check(c->world);
    c->vtable->destroy(c->state, lost != NULL);
    dure_status_free(lost);
  }
  dure_channel_close(c->followed);
  dure_host_communicator_destroy(c->host);
  pthread_cond_destroy(&c->changed);
  pthread_mutex_destroy(&c->mutex);
  free(c);
}

const char *dure_communicator_kind(const dure_communicator *c) {
  if (c->state != NULL) return "nccl";
  return c->place.size > 1 ? "host" : "single";
}

uint32_t dure_communicator_rank(const dure_communicator *c) { return c->place.rank; }
uint32_t dure_communicator_size(const dure_communicator *c) { return c->place.size; }

dure_communicator_statistics dure_communicator_get_statistics(const dure_communicator *c) {
  return c->host != NULL ? dure_host_communicator_statistics(c->host) : c->statistics;
}

// ---- collectives -------------------------------------------------------------------------------------------------

static dure_status check_range(const char *name, const dure_buffer *buffer, uint64_t offset, uint64_t bytes) {
  if (bytes == 0) return NULL;
  if (buffer == NULL) return dure_fail(DURE_INVALID_ARGUMENT, "a collective has no %s", name);
  if (offset % 4 != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "a collective's %s is at byte %llu of '%s': expected a multiple of 4", name,
                     (unsigned long long)offset, buffer->label);
  if (offset <= buffer->size && bytes <= buffer->size - offset) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "a collective's %s of %llu bytes at %llu lies outside '%s' of %llu", name,
                   (unsigned long long)bytes, (unsigned long long)offset, buffer->label,
                   (unsigned long long)buffer->size);
}

const char *dure_collective_name(dure_collective_kind kind) {
  static const char *const names[DURE_COLLECTIVE_COUNT] = {"all-reduce", "reduce-scatter", "all-gather",
                                                           "broadcast",  "send",           "receive"};
  return (unsigned)kind < DURE_COLLECTIVE_COUNT ? names[kind] : "unknown collective";
}

static dure_status check(const dure_communicator *c, const dure_collective *what) {
  const uint64_t element = dure_dtype_size(what->dtype), size = c->place.size;
  const bool reduces = what->kind == DURE_ALL_REDUCE || what->kind == DURE_REDUCE_SCATTER;
  const bool has_peer = what->kind == DURE_BROADCAST || what->kind == DURE_SEND || what->kind == DURE_RECEIVE;
  if ((unsigned)what->kind >= DURE_COLLECTIVE_COUNT)
    return dure_fail(DURE_INVALID_ARGUMENT, "there is no collective number %d", (int)what->kind);
  if (element == 0 || (reduces && (!dure_dtype_is_float(what->dtype) || what->dtype == DURE_DTYPE_F64)))
    return dure_fail(DURE_INVALID_ARGUMENT, "%s cannot be %s", dure_dtype_name(what->dtype),
                     reduces ? "reduced: expected f32, bf16 or f16" : "moved");
  if (has_peer && what->peer >= size)
    return dure_fail(DURE_INVALID_ARGUMENT, "a collective names rank %u of %u", what->peer, c->place.size);
  if (has_peer && what->kind != DURE_BROADCAST && what->peer == c->place.rank)
    return dure_fail(DURE_INVALID_ARGUMENT, "rank %u cannot send to itself", what->peer);
  if (what->count > UINT64_MAX / 16 / size)
    return dure_fail(DURE_INVALID_ARGUMENT, "a collective of too many elements");
  uint64_t source = what->count * element, target = source;
  if (what->kind == DURE_REDUCE_SCATTER) source *= size;
  if (what->kind == DURE_ALL_GATHER) target *= size;
  if (what->kind == DURE_RECEIVE || (what->kind == DURE_BROADCAST && what->peer != c->place.rank)) source = 0;
  if (what->kind == DURE_SEND) target = 0;
  DURE_TRY(check_range("source", what->source, what->source_offset, source));
  return check_range("target", what->target, what->target_offset, target);
}

dure_status dure_communicator_begin(dure_communicator *c, dure_stream *stream, const dure_collective *collective,
                                    uint64_t *out_ticket) {
  *out_ticket = 0;
  DURE_TRY(check(c, collective));
  if (c->host != NULL) return dure_host_communicator_begin(c->host, stream, collective, out_ticket);
  DURE_TRY(dure_world_check(c->world));
  const bool is_message = collective->kind == DURE_SEND || collective->kind == DURE_RECEIVE;
  if (c->followed != NULL && !is_message)
    dure_channel_enter(c->world, c->followed, DURE_NOBODY, true, "%s of %llu %s",
                       dure_collective_name(collective->kind), (unsigned long long)collective->count,
                       dure_dtype_name(collective->dtype));
  DURE_TRY(c->vtable->begin(c->state, stream, collective, out_ticket));
  c->statistics.collectives++;
  return NULL;
}

static dure_status check_ticket(uint64_t ticket) {
  return ticket > 0 ? NULL : dure_fail(DURE_INVALID_ARGUMENT, "ticket 0 is of a collective that did not begin");
}

dure_status dure_communicator_join(dure_communicator *c, dure_stream *stream, uint64_t ticket) {
  DURE_TRY(check_ticket(ticket));
  return c->host != NULL ? dure_host_communicator_join(c->host, ticket) : c->vtable->join(c->state, stream, ticket);
}

static dure_status check_world(void *context) { return dure_world_check(context); }

dure_status dure_communicator_wait(dure_communicator *c, uint64_t ticket) {
  DURE_TRY(check_ticket(ticket));
  return c->host != NULL ? dure_host_communicator_wait(c->host, ticket)
                         : c->vtable->wait(c->state, ticket, check_world, c->world);
}
