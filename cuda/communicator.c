// Collectives by NCCL. A communicator has three lanes, each an NCCL communicator with a stream of its own: collectives,
// messages to higher ranks and messages to lower ranks. A message waits on its stream until the other side has come to
// it; as those of a lane all go one way, no ring of ranks can wait for itself, whatever is begun first.
//
//   begin   the lane's stream waits for what was enqueued on the caller's, then comes the collective, then a mark
//   join    the caller's stream waits for the lanes' marks up to the ticket
//   wait    the host looks at the marks, at NCCL's asynchronous errors and at what the caller knows of the others
//
// NCCL sums 16-bit values in 16 bits, rounding at every rank on the way. So all_reduce and reduce_scatter of those
// exchange shares (every rank gets all ranks' values of its own share), sum them in f32 in the order of ranks, and
// all_reduce hands the sums round: the bytes of a ring, and bits that depend on ranks and counts alone. Sums in f32,
// maxima and minima are NCCL's.
//
// NCCL's calls do not wait (its configuration says so), and a thread looks at its errors every WATCH: one that is
// found, or abort() by whoever watches the other ranks, aborts all lanes, whose kernels end. So the device goes on in
// any case, and everything that follows fails with the reason.
#include "cuda/communicator.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/nccl.h"
#include "runtime/os.h"

enum { COLLECTIVES, UPWARD, DOWNWARD, LANES };
enum { SHARE_ALIGNMENT = 8 };  // elements
static const uint64_t largest_scratch = 64 << 20, smallest_scratch = 64 << 10;
static const uint64_t watch_nanoseconds = 20 * 1000000;
static const uint64_t poll_nanoseconds = 50 * 1000;
static const uint64_t start_patience = 300 * 1000000000ull;  // for ranks to meet, and for connections at first use
static const uint64_t end_patience = 10 * 1000000000ull;     // for finishing together

// Reached when all collectives of the lane up to `ticket` are done.
typedef struct lane_mark {
  uint64_t ticket;
  cudaEvent_t event;
} lane_mark;

typedef struct lane {
  nc_comm comm;  // NULL once it is aborted
  cudaStream_t stream;
  cudaEvent_t ready;  // what the caller's stream had come to
  lane_mark *marks;   // not known to be reached, oldest first
  size_t mark_count, mark_capacity;
} lane;

typedef struct cuda_communicator {
  cuda_device *device;
  const nc_functions *nccl;
  uint32_t rank, size;
  uint64_t ticket;  // of the last collective that was begun
  lane lanes[LANES];
  void *scratch;           // on the device: the other ranks' shares
  uint64_t scratch_bytes;  // what is larger is summed in pieces
  cudaEvent_t *idle;
  size_t idle_count, idle_capacity;

  pthread_mutex_t mutex;  // of what follows, and of every NCCL call
  bool has_failed;
  char failure[400];
  pthread_t watch;
  bool is_watched;
  atomic_bool is_closing;
} cuda_communicator;

// ---- failures ----------------------------------------------------------------------------------------------------

// With the mutex held: ends what NCCL's kernels wait for, for good.
static void give_up(cuda_communicator *c, const char *reason) {
  if (c->has_failed) return;
  c->has_failed = true;
  snprintf(c->failure, sizeof(c->failure), "%s", reason);
  for (int i = LANES; i-- > 0;) {
    if (c->lanes[i].comm != NULL) (void)c->nccl->CommAbort(c->lanes[i].comm);
    c->lanes[i].comm = NULL;
  }
}

static void give_up_with(cuda_communicator *c, nc_result result, nc_comm comm) {
  const char *detail = comm != NULL ? c->nccl->GetLastError(comm) : NULL;
  char reason[400];
  snprintf(reason, sizeof(reason), "NCCL on rank %u of %u: %s%s%s", c->rank, c->size, c->nccl->GetErrorString(result),
           detail != NULL && detail[0] != '\0' ? ": " : "", detail != NULL ? detail : "");
  give_up(c, reason);
}

// With the mutex held.
static dure_status failure_of(const cuda_communicator *c) {
  return c->has_failed ? dure_fail(DURE_RANK_LOST, "%s", c->failure) : NULL;
}

// With the mutex held: an asynchronous error of any lane ends all of them.
static void look(cuda_communicator *c) {
  for (int i = 0; i < LANES && !c->has_failed; i++) {
    nc_result error = NC_SUCCESS;
    if (c->lanes[i].comm == NULL) continue;
    const nc_result asked = c->nccl->CommGetAsyncError(c->lanes[i].comm, &error);
    if (asked != NC_SUCCESS) error = asked;
    if (error != NC_SUCCESS && error != NC_IN_PROGRESS) give_up_with(c, error, c->lanes[i].comm);
  }
}

static dure_status current_failure(cuda_communicator *c) {
  pthread_mutex_lock(&c->mutex);
  look(c);
  dure_status status = failure_of(c);
  pthread_mutex_unlock(&c->mutex);
  return status;
}

static void *watch(void *context) {
  cuda_communicator *c = context;
  cudaSetDevice(c->device->ordinal);  // else NCCL's calls would start a context on the first one
  while (!atomic_load(&c->is_closing)) {
    dure_os_sleep(watch_nanoseconds);
    pthread_mutex_lock(&c->mutex);
    look(c);
    pthread_mutex_unlock(&c->mutex);
  }
  return NULL;
}

// With the mutex held, which it lets go while it waits: until what a call has begun on the lane is under way.
static dure_status settle(cuda_communicator *c, lane *l, nc_result result, uint64_t patience) {
  const uint64_t begin = dure_os_nanoseconds();
  while (result == NC_IN_PROGRESS && !c->has_failed) {
    pthread_mutex_unlock(&c->mutex);
    dure_os_sleep(poll_nanoseconds);
    pthread_mutex_lock(&c->mutex);
    nc_comm comm = __atomic_load_n(&l->comm, __ATOMIC_ACQUIRE);  // one that is being split off is not there yet
    if (dure_os_nanoseconds() - begin > patience) {
      give_up(c, "NCCL has waited too long for other ranks to come");
    } else if (comm != NULL && !c->has_failed && c->nccl->CommGetAsyncError(comm, &result) != NC_SUCCESS) {
      result = NC_INTERNAL_ERROR;
    }
  }
  if (result != NC_SUCCESS && !c->has_failed) give_up_with(c, result, l->comm);
  return failure_of(c);
}

// ---- marks -------------------------------------------------------------------------------------------------------

static dure_status take_event(cuda_communicator *c, cudaEvent_t *out_event) {
  if (c->idle_count > 0) {
    *out_event = c->idle[--c->idle_count];
    return NULL;
  }
  return cuda_check(c->device, cudaEventCreateWithFlags(out_event, cudaEventDisableTiming), "making a mark");
}

// Marks the lane's end as that of the ticket.
static dure_status mark(cuda_communicator *c, lane *l, uint64_t ticket) {
  // Room for an event to return to is made now, so that taking marks back cannot fail.
  size_t marks = c->idle_count + 1;
  for (int i = 0; i < LANES; i++) marks += c->lanes[i].mark_count;
  if (!cuda_reserve((void **)&l->marks, &l->mark_capacity, l->mark_count, sizeof(*l->marks)) ||
      !cuda_reserve((void **)&c->idle, &c->idle_capacity, marks, sizeof(*c->idle)))
    return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for collectives");
  cudaEvent_t event = NULL;
  DURE_TRY(take_event(c, &event));
  dure_status status = cuda_check(c->device, cudaEventRecord(event, l->stream), "marking a collective's end");
  if (status != NULL) {
    c->idle[c->idle_count++] = event;
    return status;
  }
  l->marks[l->mark_count++] = (lane_mark){ticket, event};
  return NULL;
}

// Takes the lane's marks back that have been reached.
static dure_status retire(cuda_communicator *c, lane *l) {
  size_t done = 0;
  cudaError_t error = cudaSuccess;
  while (done < l->mark_count && (error = cudaEventQuery(l->marks[done].event)) == cudaSuccess)
    c->idle[c->idle_count++] = l->marks[done++].event;
  if (done > 0) memmove(l->marks, l->marks + done, (l->mark_count - done) * sizeof(*l->marks));
  l->mark_count -= done;
  if (error == cudaErrorNotReady) (void)cudaGetLastError();
  return error == cudaSuccess || error == cudaErrorNotReady ? NULL : cuda_check(c->device, error, "a collective");
}

// The last mark of the lane up to the ticket, NULL where there is none left.
static const lane_mark *last_mark(const lane *l, uint64_t ticket) {
  const lane_mark *found = NULL;
  for (size_t i = 0; i < l->mark_count && l->marks[i].ticket <= ticket; i++) found = &l->marks[i];
  return found;
}

// ---- enqueuing ---------------------------------------------------------------------------------------------------

static unsigned char *address_of(const dure_buffer *buffer, uint64_t offset) {
  return buffer != NULL ? ((const cuda_buffer *)buffer)->address + offset : NULL;
}

// A group of messages, with the mutex held from its first one to its end.
static nc_result exchange(cuda_communicator *c, lane *l, const void *const *sources, const uint64_t *send_bytes,
                          void *const *targets, const uint64_t *receive_bytes) {
  const nc_functions *nccl = c->nccl;
  nc_result result = nccl->GroupStart();
  for (uint32_t r = 0; r < c->size && result == NC_SUCCESS; r++) {
    if (r != c->rank && send_bytes[r] > 0)
      result = nccl->Send(sources[r], send_bytes[r], NC_UINT8, (int)r, l->comm, l->stream);
    if (r != c->rank && receive_bytes[r] > 0 && (result == NC_SUCCESS || result == NC_IN_PROGRESS))
      result = nccl->Recv(targets[r], receive_bytes[r], NC_UINT8, (int)r, l->comm, l->stream);
    if (result == NC_IN_PROGRESS) result = NC_SUCCESS;  // known at the group's end
  }
  const nc_result ended = nccl->GroupEnd();
  return result == NC_SUCCESS ? ended : result;
}

// What one exchange of shares needs to know, by rank.
typedef struct share_plan {
  const void **sources;
  void **targets;
  uint64_t *send_bytes, *receive_bytes;
} share_plan;

static dure_status share_plan_make(uint32_t size, share_plan *out_plan) {
  *out_plan = (share_plan){.sources = calloc(size, sizeof(void *)),
                           .targets = calloc(size, sizeof(void *)),
                           .send_bytes = calloc(size, sizeof(uint64_t)),
                           .receive_bytes = calloc(size, sizeof(uint64_t))};
  if (out_plan->sources != NULL && out_plan->targets != NULL && out_plan->send_bytes != NULL &&
      out_plan->receive_bytes != NULL)
    return NULL;
  return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a collective");
}

static void share_plan_free(share_plan *plan) {
  free(plan->sources);
  free(plan->targets);
  free(plan->send_bytes);
  free(plan->receive_bytes);
}

// A piece of a sum over 16-bit values: share r of `source` begins at element first[r] of it and belongs to rank r.
typedef struct share_piece {
  const unsigned char *source;
  unsigned char *target;       // of this rank's share's sum
  uint64_t begin, step, most;  // share r: source elements begin + r * step .., `most` of them,
  uint64_t end;                // but none from `end` on
} share_piece;

static uint64_t share_begin(const share_piece *p, uint32_t r) {
  const uint64_t begin = p->begin + r * p->step;
  return begin < p->end ? begin : p->end;
}
static uint64_t share_count(const share_piece *p, uint32_t r) {
  const uint64_t begin = share_begin(p, r);
  return p->end - begin < p->most ? p->end - begin : p->most;
}

// All ranks' values of this rank's share come here and are summed.
static dure_status sum_share(cuda_communicator *c, lane *l, dure_dtype dtype, const share_piece *piece,
                             share_plan *plan) {
  enum { ELEMENT = 2 };
  const uint64_t own = share_count(piece, c->rank);
  for (uint32_t r = 0; r < c->size; r++) {
    plan->sources[r] = piece->source + share_begin(piece, r) * ELEMENT;
    plan->send_bytes[r] = share_count(piece, r) * ELEMENT;
    plan->targets[r] = (unsigned char *)c->scratch + r * piece->most * ELEMENT;
    plan->receive_bytes[r] = own * ELEMENT;
  }
  DURE_TRY(settle(c, l, exchange(c, l, plan->sources, plan->send_bytes, plan->targets, plan->receive_bytes),
                  start_patience));
  if (own == 0) return NULL;
  const cuda_shares shares = {.dtype = dtype,
                              .rank = c->rank,
                              .size = c->size,
                              .own = plan->sources[c->rank],
                              .others = c->scratch,
                              .target = piece->target,
                              .count = own,
                              .stride = piece->most};
  return cuda_shares_sum(c->device, l->stream, &shares);
}

// The sums of all shares go to everybody. `target`: where element 0 of the source has its sum.
static dure_status hand_round(cuda_communicator *c, lane *l, unsigned char *target, const share_piece *piece,
                              share_plan *plan) {
  enum { ELEMENT = 2 };
  for (uint32_t r = 0; r < c->size; r++) {
    plan->sources[r] = target + share_begin(piece, c->rank) * ELEMENT;
    plan->send_bytes[r] = share_count(piece, c->rank) * ELEMENT;
    plan->targets[r] = target + share_begin(piece, r) * ELEMENT;
    plan->receive_bytes[r] = share_count(piece, r) * ELEMENT;
  }
  return settle(c, l, exchange(c, l, plan->sources, plan->send_bytes, plan->targets, plan->receive_bytes),
                start_patience);
}

static uint64_t round_up(uint64_t count, uint64_t to) { return (count + to - 1) / to * to; }

static dure_status sum_16_bit(cuda_communicator *c, lane *l, const dure_collective *collective) {
  enum { ELEMENT = 2 };
  const uint64_t count = collective->count;
  const uint64_t largest = c->scratch_bytes / ELEMENT / c->size / SHARE_ALIGNMENT * SHARE_ALIGNMENT;
  unsigned char *const source = address_of(collective->source, collective->source_offset);
  unsigned char *const target = address_of(collective->target, collective->target_offset);
  share_plan plan;
  dure_status status = share_plan_make(c->size, &plan);
  for (uint64_t done = 0; done < count && status == NULL;) {
    if (collective->kind == DURE_ALL_REDUCE) {
      const uint64_t length = count - done < largest * c->size ? count - done : largest * c->size;
      const uint64_t share = round_up((length + c->size - 1) / c->size, SHARE_ALIGNMENT);
      share_piece piece = {source, NULL, done, share, share, done + length};
      piece.target = target + share_begin(&piece, c->rank) * ELEMENT;
      status = sum_share(c, l, collective->dtype, &piece, &plan);
      if (status == NULL) status = hand_round(c, l, target, &piece, &plan);
      done += length;
    } else {
      const uint64_t length = count - done < largest ? count - done : largest;
      const share_piece piece = {source, target + done * ELEMENT, done, count, length, UINT64_MAX};
      status = sum_share(c, l, collective->dtype, &piece, &plan);
      done += length;
    }
  }
  share_plan_free(&plan);
  return status;
}

static int type_of(dure_dtype dtype) {
  return dtype == DURE_DTYPE_BF16 ? NC_BFLOAT16 : dtype == DURE_DTYPE_F16 ? NC_FLOAT16 : NC_FLOAT32;
}
static int operation_of(dure_reduction reduction) {
  return reduction == DURE_REDUCTION_SUM ? NC_SUM : reduction == DURE_REDUCTION_MAXIMUM ? NC_MAXIMUM : NC_MINIMUM;
}

// One call of NCCL's, with the mutex held.
static nc_result call(cuda_communicator *c, lane *l, const dure_collective *x) {
  const nc_functions *nccl = c->nccl;
  const void *source = address_of(x->source, x->source_offset);
  void *target = address_of(x->target, x->target_offset);
  const int type = type_of(x->dtype), operation = operation_of(x->reduction), peer = (int)x->peer;
  const uint64_t bytes = x->count * dure_dtype_size(x->dtype);
  switch (x->kind) {
    case DURE_ALL_REDUCE: return nccl->AllReduce(source, target, x->count, type, operation, l->comm, l->stream);
    case DURE_REDUCE_SCATTER: return nccl->ReduceScatter(source, target, x->count, type, operation, l->comm, l->stream);
    case DURE_ALL_GATHER: return nccl->AllGather(source, target, bytes, NC_UINT8, l->comm, l->stream);
    case DURE_BROADCAST:
      return nccl->Broadcast(x->peer == c->rank ? source : target, target, bytes, NC_UINT8, peer, l->comm, l->stream);
    case DURE_SEND: return nccl->Send(source, bytes, NC_UINT8, peer, l->comm, l->stream);
    default: return nccl->Recv(target, bytes, NC_UINT8, peer, l->comm, l->stream);
  }
}

static bool is_sum(const dure_collective *x) {
  return (x->kind == DURE_ALL_REDUCE || x->kind == DURE_REDUCE_SCATTER) && x->reduction == DURE_REDUCTION_SUM;
}

// With the mutex held.
static dure_status enqueue(cuda_communicator *c, lane *l, const dure_collective *x) {
  DURE_TRY(failure_of(c));
  if (x->count == 0) return NULL;
  if (is_sum(x) && x->dtype != DURE_DTYPE_F32) return sum_16_bit(c, l, x);
  return settle(c, l, call(c, l, x), start_patience);
}

// ---- the table's functions ---------------------------------------------------------------------------------------

static dure_status validate(const cuda_communicator *c, const dure_collective *x) {
  const bool reduces = x->kind == DURE_ALL_REDUCE || x->kind == DURE_REDUCE_SCATTER;
  const bool has_peer = x->kind == DURE_BROADCAST || x->kind == DURE_SEND || x->kind == DURE_RECEIVE;
  if (reduces && x->dtype != DURE_DTYPE_F32 && x->dtype != DURE_DTYPE_BF16 && x->dtype != DURE_DTYPE_F16)
    return dure_fail(DURE_INVALID_ARGUMENT, "a collective cannot reduce values of type %s", dure_dtype_name(x->dtype));
  if (has_peer && x->peer >= c->size)
    return dure_fail(DURE_INVALID_ARGUMENT, "a collective names rank %u of a group of %u", x->peer, c->size);
  if ((x->kind == DURE_SEND || x->kind == DURE_RECEIVE) && x->peer == c->rank)
    return dure_fail(DURE_INVALID_ARGUMENT, "rank %u sends itself a message", c->rank);
  return NULL;
}

static lane *lane_of(cuda_communicator *c, const dure_collective *x) {
  if (x->kind != DURE_SEND && x->kind != DURE_RECEIVE) return &c->lanes[COLLECTIVES];
  const bool goes_up = (x->kind == DURE_SEND) == (x->peer > c->rank);
  return &c->lanes[goes_up ? UPWARD : DOWNWARD];
}

static dure_status begin(void *state, dure_stream *stream, const dure_collective *collective, uint64_t *out_ticket) {
  cuda_communicator *c = state;
  *out_ticket = 0;
  DURE_TRY(validate(c, collective));
  DURE_TRY(cuda_enter(c->device, "beginning a collective"));
  lane *l = lane_of(c, collective);
  if (l->mark_count >= 64) DURE_TRY(retire(c, l));  // what is never waited for must not gather marks without end
  DURE_TRY(cuda_check(c->device, cudaEventRecord(l->ready, cuda_stream_handle(stream)), "beginning a collective"));
  DURE_TRY(cuda_check(c->device, cudaStreamWaitEvent(l->stream, l->ready, 0), "beginning a collective"));
  pthread_mutex_lock(&c->mutex);
  dure_status status = enqueue(c, l, collective);
  pthread_mutex_unlock(&c->mutex);
  DURE_TRY(status);
  DURE_TRY(mark(c, l, c->ticket + 1));
  *out_ticket = ++c->ticket;
  return NULL;
}

static dure_status join(void *state, dure_stream *stream, uint64_t ticket) {
  cuda_communicator *c = state;
  DURE_TRY(cuda_enter(c->device, "joining a collective"));
  DURE_TRY(current_failure(c));
  for (int i = 0; i < LANES; i++) {
    const lane_mark *last = last_mark(&c->lanes[i], ticket);
    if (last != NULL) {
      DURE_TRY(cuda_check(c->device, cudaStreamWaitEvent(cuda_stream_handle(stream), last->event, 0),
                          "joining a collective"));
    }
  }
  return NULL;
}

static void abort_all(void *state, const char *reason) {
  cuda_communicator *c = state;
  cudaSetDevice(c->device->ordinal);  // any thread may come here
  pthread_mutex_lock(&c->mutex);
  give_up(c, reason);
  pthread_mutex_unlock(&c->mutex);
}

static dure_status wait_for(void *state, uint64_t ticket, dure_status (*check)(void *context), void *context) {
  cuda_communicator *c = state;
  const uint64_t begin_time = dure_os_nanoseconds();
  DURE_TRY(cuda_enter(c->device, "waiting for a collective"));
  for (;;) {
    bool is_done = true;
    for (int i = 0; i < LANES; i++) {
      DURE_TRY(retire(c, &c->lanes[i]));
      is_done = is_done && last_mark(&c->lanes[i], ticket) == NULL;
    }
    DURE_TRY(current_failure(c));  // data of a collective that was given up are worthless, also where its kernels ended
    if (is_done) return NULL;
    dure_status status = check != NULL ? check(context) : NULL;
    if (status != NULL) {
      abort_all(c, dure_status_message(status));
      return status;
    }
    if (dure_os_nanoseconds() - begin_time > 2 * poll_nanoseconds) dure_os_sleep(poll_nanoseconds);
  }
}

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status available(dure_device *head) {
  const nc_functions *nccl = NULL;
  const cuda_device *device = cuda_device_of(head);
  if (!device->caps.uses_nccl)
    return dure_fail(DURE_UNSUPPORTED,
                     "NCCL is turned off by DURE_CUDA_NCCL (the emulation of CUDA has one only where "
                     "DURE_NCCL names it)");
  return cuda_nccl_get(&nccl);
}

static dure_status identifier(dure_device *head, uint8_t *out_identifier) {
  const nc_functions *nccl = NULL;
  nc_unique_id id;
  memset(out_identifier, 0, DURE_COMMUNICATOR_IDENTIFIER_BYTES);
  DURE_TRY(available(head));
  DURE_TRY(cuda_nccl_get(&nccl));
  DURE_TRY(cuda_enter(cuda_device_of(head), "making an identifier for NCCL"));
  const nc_result result = nccl->GetUniqueId(&id);
  if (result != NC_SUCCESS)
    return dure_fail(DURE_INTERNAL, "NCCL makes no identifier: %s (NCCL_DEBUG=INFO tells more)",
                     nccl->GetErrorString(result));
  memcpy(out_identifier, id.bytes, sizeof(id.bytes));
  return NULL;
}
_Static_assert((int)NC_UNIQUE_ID_BYTES == (int)DURE_COMMUNICATOR_IDENTIFIER_BYTES, "NCCL's identifiers");

// NCCL's communicators: the first by the identifier, the others split off it. With the mutex held.
static dure_status make_comms(cuda_communicator *c, const uint8_t *bytes) {
  nc_unique_id id;
  nc_config config = {.bytes = sizeof(config),
                      .magic = NC_MAGIC,
                      .version = NC_VERSION,
                      .is_blocking = 0,
                      .group_size = NC_NOT_SET,
                      .fewest_blocks = NC_NOT_SET,
                      .most_blocks = NC_NOT_SET,
                      .splits_share = NC_NOT_SET};
  memcpy(id.bytes, bytes, sizeof(id.bytes));
  lane *first = &c->lanes[COLLECTIVES];
  nc_result result = c->nccl->CommInitRankConfig(&first->comm, (int)c->size, id, (int)c->rank, &config);
  DURE_TRY(settle(c, first, result, start_patience));
  for (int i = COLLECTIVES + 1; i < LANES; i++) {
    result = c->nccl->CommSplit(first->comm, 0, (int)c->rank, &c->lanes[i].comm, NULL);
    DURE_TRY(settle(c, first, result, start_patience));
    DURE_TRY(settle(c, &c->lanes[i], NC_IN_PROGRESS, start_patience));
  }
  return NULL;
}

static dure_status start(cuda_communicator *c, const uint8_t *bytes) {
  cuda_device *device = c->device;
  DURE_TRY(cuda_enter(device, "making a communicator"));
  DURE_TRY(cuda_nccl_get(&c->nccl));
  for (int i = 0; i < LANES; i++) {
    lane *l = &c->lanes[i];
    DURE_TRY(cuda_check(device, cudaStreamCreateWithFlags(&l->stream, cudaStreamNonBlocking), "making a communicator"));
    DURE_TRY(cuda_check(device, cudaEventCreateWithFlags(&l->ready, cudaEventDisableTiming), "making a communicator"));
  }
  const uint64_t budget = device->head.memory_restriction;
  c->scratch_bytes = largest_scratch;
  while (budget > 0 && c->scratch_bytes > smallest_scratch && c->scratch_bytes > budget / 64) c->scratch_bytes /= 2;
  DURE_TRY(cuda_check(device, cudaMalloc(&c->scratch, c->scratch_bytes), "taking memory for collectives"));
  device->head.memory_overhead += c->scratch_bytes;
  pthread_mutex_lock(&c->mutex);
  dure_status status = make_comms(c, bytes);
  pthread_mutex_unlock(&c->mutex);
  DURE_TRY(status);
  if (pthread_create(&c->watch, NULL, watch, c) != 0)
    return dure_fail(DURE_OUT_OF_MEMORY, "no thread to watch a communicator");
  c->is_watched = true;
  return NULL;
}

// Until the lanes' streams have ended, or other ranks fail.
static void drain(cuda_communicator *c) {
  for (int i = 0; i < LANES; i++) {
    lane *l = &c->lanes[i];
    while (l->mark_count > 0 && !c->device->is_lost) {
      dure_status status = retire(c, l);
      dure_status_free(status);
      if (l->mark_count > 0) dure_os_sleep(poll_nanoseconds);
    }
  }
}

// With the mutex held: ends the lanes together with the other ranks.
static void finish(cuda_communicator *c) {
  for (int i = LANES; i-- > 0;) {
    lane *l = &c->lanes[i];
    if (l->comm == NULL || c->has_failed) continue;
    dure_status status = settle(c, l, c->nccl->CommFinalize(l->comm), end_patience);
    if (status == NULL) {
      (void)c->nccl->CommDestroy(l->comm);
      l->comm = NULL;
    }
    dure_status_free(status);
  }
}

static void destroy(void *state, bool aborts) {
  cuda_communicator *c = state;
  if (c == NULL) return;
  cudaSetDevice(c->device->ordinal);
  if (aborts) abort_all(c, "the communicator was given up");
  drain(c);
  atomic_store(&c->is_closing, true);
  if (c->is_watched) pthread_join(c->watch, NULL);
  pthread_mutex_lock(&c->mutex);
  finish(c);
  pthread_mutex_unlock(&c->mutex);
  for (int i = 0; i < LANES; i++) {
    lane *l = &c->lanes[i];
    for (size_t m = 0; m < l->mark_count; m++) cudaEventDestroy(l->marks[m].event);
    if (l->ready != NULL) cudaEventDestroy(l->ready);
    if (l->stream != NULL) cudaStreamDestroy(l->stream);
    free(l->marks);
  }
  for (size_t i = 0; i < c->idle_count; i++) cudaEventDestroy(c->idle[i]);
  free(c->idle);
  if (c->scratch != NULL) {
    cudaFree(c->scratch);
    c->device->head.memory_overhead -= c->scratch_bytes;
  }
  pthread_mutex_destroy(&c->mutex);
  free(c);
}

static dure_status create(dure_device *head, const uint8_t *bytes, uint32_t rank, uint32_t size, void **out_state) {
  *out_state = NULL;
  DURE_TRY(available(head));
  cuda_communicator *c = calloc(1, sizeof(*c));
  if (c == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for a communicator");
  c->device = cuda_device_of(head);
  c->rank = rank;
  c->size = size;
  pthread_mutex_init(&c->mutex, NULL);
  dure_status status = start(c, bytes);
  if (status != NULL) {
    if (c->nccl != NULL) abort_all(c, dure_status_message(status));
    destroy(c, false);
    return status;
  }
  *out_state = c;
  return NULL;
}

const dure_communicator_vtable cuda_communicator_vtable = {.available = available,
                                                           .identifier = identifier,
                                                           .create = create,
                                                           .destroy = destroy,
                                                           .abort = abort_all,
                                                           .begin = begin,
                                                           .join = join,
                                                           .wait = wait_for};
