// Collectives by NCCL as the CUDA backend uses it, on the emulation of both: ranks are threads, each with a device and
// a communicator of its own. Every kind, type and layout against sums made here, in f32 in the order of ranks; messages
// in an order that would wait for ever on one stream; ranks that fail, die in silence or are given up by another
// thread.
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/communicator.h"
#include "runtime/os.h"
#include "runtime/random.h"
#include "tests/suite.h"

enum { RANKS = 3, SEED = 20261121, MOST_BUFFERS = 256 };
// Memory budgets, of which a communicator takes a 64th to sum in: enough for every case, and not.
enum { LARGE = 64 << 20, SMALL = 4 << 20 };

typedef struct rank_state {
  uint32_t rank;
  dure_device *device;
  const dure_communicator_vtable *table;
  const uint8_t *identifier;
  void *state;
  dure_stream *stream;
  void (*test)(struct rank_state *);
  // Kept until all ranks are done: CUDA frees memory when all work of the device has ended, and here all ranks have one
  // and the same device.
  dure_buffer *buffers[MOST_BUFFERS];
  size_t buffer_count;
} rank_state;

static pthread_barrier_t all_ranks;

static dure_buffer *make_buffer(rank_state *r, uint64_t bytes) {
  dure_buffer *buffer = NULL;
  ck_assert_uint_lt(r->buffer_count, MOST_BUFFERS);
  require(dure_buffer_create(r->device, bytes, DURE_MEMORY_DEVICE, "values", &buffer));
  return r->buffers[r->buffer_count++] = buffer;
}

static void *run_rank(void *context) {
  rank_state *r = context;
  require(r->table->create(r->device, r->identifier, r->rank, RANKS, &r->state));
  require(dure_stream_create(r->device, &r->stream));
  pthread_barrier_wait(&all_ranks);
  r->test(r);
  pthread_barrier_wait(&all_ranks);
  dure_stream_destroy(r->stream);
  r->table->destroy(r->state, false);
  for (size_t i = 0; i < r->buffer_count; i++) dure_buffer_destroy(r->buffers[i]);
  return NULL;
}

static void open_devices(rank_state ranks[RANKS], uint64_t budget) {
  setenv("DURE_CUDA_PLUGIN", getenv("DURE_CUDA_EMULATED"), 1);
  setenv("DURE_NCCL", getenv("DURE_NCCL_EMULATED"), 1);
  for (uint32_t r = 0; r < RANKS; r++) {
    ranks[r] = (rank_state){.rank = r};
    require(dure_device_open("cuda", &ranks[r].device));
    dure_device_restrict(ranks[r].device, NULL, budget);
    ranks[r].table = ranks[r].device->vtable->communicator;
    ck_assert_ptr_nonnull(ranks[r].table);
  }
}

// The test on every rank at once.
static void run_all(void (*test)(rank_state *), uint64_t budget) {
  rank_state ranks[RANKS];
  uint8_t identifier[DURE_COMMUNICATOR_IDENTIFIER_BYTES];
  pthread_t threads[RANKS];
  open_devices(ranks, budget);
  pthread_barrier_init(&all_ranks, NULL, RANKS);
  require(ranks[0].table->available(ranks[0].device));
  require(ranks[0].table->identifier(ranks[0].device, identifier));
  for (uint32_t r = 0; r < RANKS; r++) {
    ranks[r].identifier = identifier;
    ranks[r].test = test;
    ck_assert_int_eq(pthread_create(&threads[r], NULL, run_rank, &ranks[r]), 0);
  }
  for (uint32_t r = 0; r < RANKS; r++) pthread_join(threads[r], NULL);
  pthread_barrier_destroy(&all_ranks);
  for (uint32_t r = 0; r < RANKS; r++) dure_device_close(ranks[r].device);
}

// ---- values ------------------------------------------------------------------------------------------------------

// Element i of what a rank brings.
static float value_of(uint32_t rank, uint64_t i) {
  uint32_t words[4];
  dure_random_words(SEED, rank, 0, i / 4, words);
  return (float)((int32_t)(words[i % 4] % 4001) - 2000) / 256;
}

static unsigned char *make_values(dure_dtype dtype, uint32_t rank, uint64_t count) {
  unsigned char *bytes = malloc(count * dure_dtype_size(dtype) + 1);
  ck_assert_ptr_nonnull(bytes);
  for (uint64_t i = 0; i < count; i++) {
    if (dtype == DURE_DTYPE_U32) {
      ((uint32_t *)(void *)bytes)[i] = (uint32_t)(rank * 1000003 + i);
    } else {
      dure_dtype_store(dtype, bytes, i, (double)value_of(rank, i));
    }
  }
  return bytes;
}

// Element i of every rank's values, reduced: rounded to the type once.
static double reduced(dure_dtype dtype, dure_reduction reduction, uint64_t i) {
  float result = 0;
  for (uint32_t r = 0; r < RANKS; r++) {
    unsigned char stored[4];
    dure_dtype_store(dtype, stored, 0, (double)value_of(r, i));
    const float x = (float)dure_dtype_load(dtype, stored, 0);
    const bool takes = reduction == DURE_REDUCTION_MAXIMUM ? x > result : x < result;
    result = r == 0 ? x : reduction == DURE_REDUCTION_SUM ? result + x : takes ? x : result;
  }
  unsigned char stored[4];
  dure_dtype_store(dtype, stored, 0, (double)result);
  return dure_dtype_load(dtype, stored, 0);
}

// ---- every kind --------------------------------------------------------------------------------------------------

typedef struct collective_case {
  dure_collective_kind kind;
  dure_dtype dtype;
  dure_reduction reduction;
  uint64_t count;
  bool is_in_place;
} collective_case;

static uint64_t source_count(const collective_case *c) {
  return c->kind == DURE_REDUCE_SCATTER ? RANKS * c->count : c->count;
}
static uint64_t target_count(const collective_case *c) {
  return c->kind == DURE_ALL_GATHER ? RANKS * c->count : c->count;
}

// Where in one buffer source and target lie, bytes.
static void place(const collective_case *c, uint32_t rank, uint64_t *out_source, uint64_t *out_target) {
  const uint64_t element = dure_dtype_size(c->dtype), part = rank * c->count * element;
  *out_source = 64;
  *out_target = 64 + (source_count(c) * element + 255) / 256 * 256;
  if (!c->is_in_place) return;
  *out_target = *out_source;
  if (c->kind == DURE_REDUCE_SCATTER) *out_target = *out_source + part;
  if (c->kind == DURE_ALL_GATHER) *out_source = *out_target + part;
}

static void check_element(const collective_case *c, uint32_t rank, const unsigned char *found, uint64_t i) {
  const uint32_t owner = c->kind == DURE_ALL_GATHER ? (uint32_t)(i / c->count) : 1;  // broadcasts come from rank 1
  const uint64_t at = c->kind == DURE_ALL_GATHER ? i % c->count : i;
  if (c->dtype == DURE_DTYPE_U32) {
    ck_assert_uint_eq(((const uint32_t *)(const void *)found)[i], (uint32_t)(owner * 1000003 + at));
    return;
  }
  double expected;
  if (c->kind == DURE_ALL_REDUCE || c->kind == DURE_REDUCE_SCATTER) {
    expected = reduced(c->dtype, c->reduction, c->kind == DURE_REDUCE_SCATTER ? rank * c->count + i : i);
  } else {
    unsigned char stored[4];
    dure_dtype_store(c->dtype, stored, 0, (double)value_of(owner, at));
    expected = dure_dtype_load(c->dtype, stored, 0);
  }
  const double value = dure_dtype_load(c->dtype, found, i);
  ck_assert_msg(value == expected, "kind %d, %s, %llu elements%s: element %llu of rank %u is %.9g instead of %.9g",
                (int)c->kind, dure_dtype_name(c->dtype), (unsigned long long)c->count,
                c->is_in_place ? " in place" : "", (unsigned long long)i, rank, value, expected);
}

static void run_case(rank_state *r, const collective_case *c) {
  const uint64_t element = dure_dtype_size(c->dtype), bytes = 256 + (source_count(c) + target_count(c) + 256) * element;
  uint64_t source = 0, target = 0, ticket = 0;
  unsigned char *values = make_values(c->dtype, r->rank, source_count(c));
  unsigned char *found = malloc(target_count(c) * element + 1);
  dure_buffer *buffer = make_buffer(r, bytes / 4 * 4 + 4);
  place(c, r->rank, &source, &target);
  require(dure_stream_upload(r->stream, buffer, source, values, source_count(c) * element));
  const dure_collective collective = {c->kind, c->dtype, c->reduction, 1, c->count, buffer, buffer, source, target};
  require(r->table->begin(r->state, r->stream, &collective, &ticket));
  require(r->table->join(r->state, r->stream, ticket));
  require(dure_stream_download(r->stream, buffer, target, found, target_count(c) * element, NULL));
  require(r->table->wait(r->state, ticket, NULL, NULL));
  for (uint64_t i = 0; i < target_count(c); i++) check_element(c, r->rank, found, i);
  free(values);
  free(found);
}

static void run_kinds(rank_state *r) {
  static const dure_dtype dtypes[] = {DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_F16, DURE_DTYPE_U32};
  static const uint64_t counts[] = {1, 2, 37, 4096};
  for (int kind = 0; kind < DURE_SEND; kind++) {
    for (size_t t = 0; t < sizeof(dtypes) / sizeof(dtypes[0]); t++) {
      const bool reduces = kind == DURE_ALL_REDUCE || kind == DURE_REDUCE_SCATTER;
      if (reduces && dtypes[t] == DURE_DTYPE_U32) continue;
      for (int reduction = 0; reduction < (reduces ? 3 : 1); reduction++) {
        for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
          const collective_case c = {(dure_collective_kind)kind, dtypes[t], (dure_reduction)reduction, counts[n],
                                     (n + t) % 2 == 0};
          run_case(r, &c);
        }
      }
    }
  }
  const collective_case nothing = {.kind = DURE_ALL_REDUCE, .dtype = DURE_DTYPE_BF16};
  run_case(r, &nothing);
}

START_TEST(every_kind_type_and_layout_is_right) { run_all(run_kinds, LARGE); }
END_TEST

static void run_pieces(rank_state *r) {
  for (int kind = DURE_ALL_REDUCE; kind <= DURE_REDUCE_SCATTER; kind++) {
    for (int is_in_place = 0; is_in_place < 2; is_in_place++) {
      const collective_case c = {(dure_collective_kind)kind, DURE_DTYPE_BF16, DURE_REDUCTION_SUM, 40961,
                                 is_in_place != 0};
      run_case(r, &c);
    }
  }
}

START_TEST(sums_larger_than_the_scratch_memory_are_made_in_pieces) { run_all(run_pieces, SMALL); }
END_TEST

// ---- messages ----------------------------------------------------------------------------------------------------

// Everybody sends to the next rank and hears from the one before; half of them begin with what the others end with.
static void run_ring(rank_state *r) {
  enum { WORDS = 1000 };
  dure_buffer *const buffers[2] = {make_buffer(r, 4 * WORDS), make_buffer(r, 4 * WORDS)};
  uint32_t words[WORDS];
  uint64_t ticket = 0;
  for (uint32_t round = 0; round < 8; round++) {
    for (uint32_t i = 0; i < WORDS; i++) words[i] = r->rank * 100000 + round * 1000 + i;
    require(dure_stream_upload(r->stream, buffers[0], 0, words, sizeof(words)));
    for (uint32_t i = 0; i < 2; i++) {
      const bool sends = (i == 0) == (r->rank != 1);
      const uint32_t peer = (r->rank + (sends ? 1 : RANKS - 1)) % RANKS;
      const dure_collective message = {.kind = sends ? DURE_SEND : DURE_RECEIVE,
                                       .dtype = DURE_DTYPE_U32,
                                       .peer = peer,
                                       .count = WORDS,
                                       .source = buffers[0],
                                       .target = buffers[1]};
      require(r->table->begin(r->state, r->stream, &message, &ticket));
    }
    require(r->table->join(r->state, r->stream, ticket));
    require(dure_stream_download(r->stream, buffers[1], 0, words, sizeof(words), NULL));
    for (uint32_t i = 0; i < WORDS; i++)
      ck_assert_uint_eq(words[i], (r->rank + RANKS - 1) % RANKS * 100000 + round * 1000 + i);
  }
}

START_TEST(messages_round_a_ring_do_not_wait_for_each_other) { run_all(run_ring, LARGE); }
END_TEST

// ---- failures ----------------------------------------------------------------------------------------------------

static void begin_sum(rank_state *r, dure_buffer *buffer, uint64_t *out_ticket) {
  const dure_collective sum = {
      .kind = DURE_ALL_REDUCE, .dtype = DURE_DTYPE_F32, .count = 256, .source = buffer, .target = buffer};
  require(r->table->begin(r->state, r->stream, &sum, out_ticket));
}

static dure_status lost(void *context) {
  const uint64_t *begin = context;
  if (dure_os_nanoseconds() - *begin < 20 * 1000000) return NULL;
  return dure_fail(DURE_RANK_LOST, "rank 2 (somewhere, process 7) is lost");
}

// Rank 2 gives up. The others have begun a sum, whose join their streams wait at; they go on in any case.
static void run_loss(rank_state *r) {
  dure_buffer *buffer = make_buffer(r, 1024);
  uint64_t ticket = 0, begin = dure_os_nanoseconds();
  if (r->rank == RANKS - 1) {
    r->table->abort(r->state, "this rank gives up");
    const dure_collective sum = {
        .kind = DURE_ALL_REDUCE, .dtype = DURE_DTYPE_F32, .count = 1, .source = buffer, .target = buffer};
    require_failure(r->table->begin(r->state, r->stream, &sum, &ticket), DURE_RANK_LOST, "this rank gives up");
  } else {
    const bool is_silent = getenv("DURE_NCCL_EMULATION_SILENT") != NULL;
    dure_status status = r->table->begin(
        r->state, r->stream,
        &(dure_collective){
            .kind = DURE_ALL_REDUCE, .dtype = DURE_DTYPE_F32, .count = 256, .source = buffer, .target = buffer},
        &ticket);
    if (status == NULL) status = r->table->join(r->state, r->stream, ticket);
    if (status == NULL) status = r->table->wait(r->state, ticket, is_silent ? lost : NULL, &begin);
    require_failure(status, DURE_RANK_LOST, is_silent ? "rank 2 (somewhere" : "remote process exited");
    require(dure_stream_wait(r->stream, 0));  // the device goes on
    require_failure(r->table->wait(r->state, ticket, NULL, NULL), DURE_RANK_LOST,
                    is_silent ? "rank 2" : "remote process");
  }
}

START_TEST(a_rank_that_gives_up_ends_the_others_waits) {
  if (_i == 1) setenv("DURE_NCCL_EMULATION_SILENT", "1", 1);
  run_all(run_loss, LARGE);
}
END_TEST

static void *abort_later(void *context) {
  rank_state *r = context;
  dure_os_sleep(20 * 1000000);
  r->table->abort(r->state, "the world has lost rank 2");
  return NULL;
}

// The host waits for work behind a join that nobody else comes to, while another thread watches the world.
static void run_abort(rank_state *r) {
  uint64_t ticket = 0;
  uint32_t word = 0;
  pthread_t watcher;
  if (r->rank == RANKS - 1) {
    r->table->abort(r->state, "this rank gives up");
    return;
  }
  dure_buffer *buffer = make_buffer(r, 1024);
  begin_sum(r, buffer, &ticket);
  require(r->table->join(r->state, r->stream, ticket));
  ck_assert_int_eq(pthread_create(&watcher, NULL, abort_later, r), 0);
  require(dure_stream_download(r->stream, buffer, 0, &word, sizeof(word), NULL));
  pthread_join(watcher, NULL);
  require_failure(r->table->wait(r->state, ticket, NULL, NULL), DURE_RANK_LOST, "the world has lost rank 2");
}

START_TEST(another_thread_can_give_up_what_the_device_waits_for) {
  setenv("DURE_NCCL_EMULATION_SILENT", "1", 1);
  run_all(run_abort, LARGE);
}
END_TEST

static void run_wrong(rank_state *r) {
  dure_buffer *buffer = make_buffer(r, 1024);
  uint64_t ticket = 0;
  dure_collective wrong = {
      .kind = DURE_ALL_REDUCE, .dtype = DURE_DTYPE_U32, .count = 4, .source = buffer, .target = buffer};
  require_failure(r->table->begin(r->state, r->stream, &wrong, &ticket), DURE_INVALID_ARGUMENT, "u32");
  wrong = (dure_collective){.kind = DURE_SEND, .dtype = DURE_DTYPE_F32, .peer = r->rank, .count = 4, .source = buffer};
  require_failure(r->table->begin(r->state, r->stream, &wrong, &ticket), DURE_INVALID_ARGUMENT, "itself");
  wrong = (dure_collective){
      .kind = DURE_BROADCAST, .dtype = DURE_DTYPE_F32, .peer = RANKS, .count = 4, .source = buffer, .target = buffer};
  require_failure(r->table->begin(r->state, r->stream, &wrong, &ticket), DURE_INVALID_ARGUMENT, "group of 3");
  // Ranks that disagree are an error that NCCL tells later.
  wrong = (dure_collective){
      .kind = DURE_ALL_REDUCE, .dtype = DURE_DTYPE_F32, .count = 4 + r->rank, .source = buffer, .target = buffer};
  dure_status status = r->table->begin(r->state, r->stream, &wrong, &ticket);
  if (status == NULL) status = r->table->wait(r->state, ticket, NULL, NULL);
  require_failure(status, DURE_RANK_LOST, "NCCL on rank");
}

START_TEST(what_cannot_be_is_refused) { run_all(run_wrong, LARGE); }
END_TEST

START_TEST(without_nccl_it_says_what_is_missing) {
  rank_state ranks[RANKS];
  open_devices(ranks, LARGE);
  setenv("DURE_NCCL", "/nonexistent/libnccl.so.2", 1);
  require_failure(ranks[0].table->available(ranks[0].device), DURE_UNSUPPORTED, "libnccl.so.2");
  setenv("DURE_NCCL", "libm.so.6", 1);
  require_failure(ranks[0].table->available(ranks[0].device), DURE_UNSUPPORTED, "2.18 or newer");
  for (uint32_t r = 0; r < RANKS; r++) dure_device_close(ranks[r].device);
  setenv("DURE_CUDA_NCCL", "0", 1);
  open_devices(ranks, LARGE);
  require_failure(ranks[0].table->available(ranks[0].device), DURE_UNSUPPORTED, "DURE_CUDA_NCCL");
  for (uint32_t r = 0; r < RANKS; r++) dure_device_close(ranks[r].device);
}
END_TEST

int main(void) {
  if (getenv("DURE_CUDA_EMULATED") == NULL) {
    printf("SKIPPED: the emulation needs a C++ compiler\n");
    return 77;
  }
  Suite *suite = suite_create("cuda communicator");
  TCase *group = tcase_create("collectives");  // each in a process of its own: environment, plugin and library
  tcase_add_test(group, every_kind_type_and_layout_is_right);
  tcase_add_test(group, sums_larger_than_the_scratch_memory_are_made_in_pieces);
  tcase_add_test(group, messages_round_a_ring_do_not_wait_for_each_other);
  tcase_add_loop_test(group, a_rank_that_gives_up_ends_the_others_waits, 0, 2);
  tcase_add_test(group, another_thread_can_give_up_what_the_device_waits_for);
  tcase_add_test(group, what_cannot_be_is_refused);
  tcase_add_test(group, without_nccl_it_says_what_is_missing);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_FORK_GETENV);
}
