// Speed of the collectives that training uses, between the processes of a world (nccl.sh starts them), each checked on
// whole numbers that every type holds exactly. Rank 0 prints a table.
//
//   dure_collectives DEVICE KIND LARGEST GROUPS     cuda|reference, nccl|host, bytes, timed groups of each call
//
// The device of a rank is DEVICE:local rank ("reference" as it is). Bus bandwidth: bytes that a rank must at least send
// or receive, by the time: 2 (N - 1) / N of the array for all_reduce, (N - 1) / N for reduce_scatter and all_gather.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/communicator.h"
#include "runtime/os.h"

enum { GROUPS_MOST = 1000, CALLS = 4 };

typedef struct bench_state {
  dure_world *world;
  dure_world_place place;
  dure_device *device;
  dure_communicator *communicator;
  dure_stream *stream;
  dure_buffer *source, *target;
  uint64_t largest;  // bytes of the arrays
  int groups;
} bench_state;

typedef struct bench_row {
  const char *name;
  dure_collective_kind kind;
  dure_dtype dtype;
} bench_row;

static const bench_row rows[] = {
    {"all_reduce f32", DURE_ALL_REDUCE, DURE_DTYPE_F32},
    {"all_reduce bf16", DURE_ALL_REDUCE, DURE_DTYPE_BF16},
    {"reduce_scatter f32", DURE_REDUCE_SCATTER, DURE_DTYPE_F32},
    {"reduce_scatter bf16", DURE_REDUCE_SCATTER, DURE_DTYPE_BF16},
    {"all_gather bf16", DURE_ALL_GATHER, DURE_DTYPE_BF16},
    {"broadcast bf16", DURE_BROADCAST, DURE_DTYPE_BF16},
    {"ring of messages bf16", DURE_SEND, DURE_DTYPE_BF16},
};

// Elements of the whole array; the collective's count follows from it.
static uint64_t count_of(const bench_state *s, const bench_row *row, uint64_t bytes) {
  const uint64_t count = bytes / dure_dtype_size(row->dtype) / s->place.size / 2 * 2;
  return row->kind == DURE_REDUCE_SCATTER || row->kind == DURE_ALL_GATHER ? count : count * s->place.size;
}

static dure_status begin(bench_state *s, const bench_row *row, uint64_t count, uint64_t *out_ticket) {
  const uint32_t rank = s->place.rank, size = s->place.size;
  dure_collective c = {row->kind, row->dtype, DURE_REDUCTION_SUM, 0, count, s->source, s->target, 0, 0};
  if (row->kind == DURE_SEND) {
    c.peer = (rank + 1) % size;
    DURE_TRY(dure_communicator_begin(s->communicator, s->stream, &c, out_ticket));
    c.kind = DURE_RECEIVE;
    c.peer = (rank + size - 1) % size;
  }
  return dure_communicator_begin(s->communicator, s->stream, &c, out_ticket);
}

// Element i of a rank's source: small whole numbers, of which sums over some ranks are exact in bf16.
static double value_of(uint32_t rank, uint64_t i) { return (double)((rank + i) % 4); }

static double expected(const bench_state *s, const bench_row *row, uint64_t count, uint64_t i) {
  const uint32_t rank = s->place.rank, size = s->place.size;
  switch (row->kind) {
    case DURE_ALL_GATHER: return value_of((uint32_t)(i / count), i % count);
    case DURE_BROADCAST: return value_of(0, i);
    case DURE_SEND: return value_of((rank + size - 1) % size, i);
    default: break;
  }
  double sum = 0;
  for (uint32_t r = 0; r < size; r++) sum += value_of(r, row->kind == DURE_REDUCE_SCATTER ? rank * count + i : i);
  return sum;
}

static dure_status check(bench_state *s, const bench_row *row, uint64_t bytes) {
  const uint64_t count = count_of(s, row, bytes), element = dure_dtype_size(row->dtype);
  const uint64_t given = row->kind == DURE_REDUCE_SCATTER ? count * s->place.size : count;
  const uint64_t made = row->kind == DURE_ALL_GATHER ? count * s->place.size : count;
  unsigned char *values = calloc(given > made ? given : made, element);
  uint64_t ticket = 0;
  if (values == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory to check collectives");
  for (uint64_t i = 0; i < given; i++) dure_dtype_store(row->dtype, values, i, value_of(s->place.rank, i));
  dure_status status = dure_stream_upload(s->stream, s->source, 0, values, given * element);
  if (status == NULL) status = begin(s, row, count, &ticket);
  if (status == NULL) status = dure_communicator_join(s->communicator, s->stream, ticket);
  if (status == NULL) status = dure_stream_download(s->stream, s->target, 0, values, made * element, NULL);
  if (status == NULL) status = dure_communicator_wait(s->communicator, ticket);
  for (uint64_t i = 0; i < made && status == NULL; i++) {
    const double found = dure_dtype_load(row->dtype, values, i);
    if (found != expected(s, row, count, i))
      status = dure_fail(DURE_INTERNAL, "%s: element %llu of rank %u is %g instead of %g", row->name,
                         (unsigned long long)i, s->place.rank, found, expected(s, row, count, i));
  }
  free(values);
  return status;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static dure_status measure(bench_state *s, const bench_row *row, uint64_t bytes) {
  const uint64_t count = count_of(s, row, bytes);
  double seconds[GROUPS_MOST];
  uint64_t ticket = 0;
  for (int group = 0; group <= s->groups; group++) {  // the first one warms up
    DURE_TRY(dure_world_barrier(s->world));
    const uint64_t start = dure_os_nanoseconds();
    for (int i = 0; i < CALLS; i++) DURE_TRY(begin(s, row, count, &ticket));
    DURE_TRY(dure_communicator_wait(s->communicator, ticket));
    if (group > 0) seconds[group - 1] = (double)(dure_os_nanoseconds() - start) * 1e-9 / CALLS;
  }
  qsort(seconds, (size_t)s->groups, sizeof(seconds[0]), ascending);
  const double N = s->place.size, median = seconds[s->groups / 2];
  const double share = row->kind == DURE_ALL_REDUCE                                       ? 2 * (N - 1) / N
                       : row->kind == DURE_REDUCE_SCATTER || row->kind == DURE_ALL_GATHER ? (N - 1) / N
                                                                                          : 1;
  if (s->place.rank == 0)
    printf("| %s | %llu | %.3f | %.3f to %.3f | %.1f |\n", row->name, (unsigned long long)bytes, median * 1e3,
           seconds[s->groups / 4] * 1e3, seconds[s->groups * 3 / 4] * 1e3, (double)bytes * share / median * 1e-9);
  return NULL;
}

static dure_status run(bench_state *s) {
  if (s->place.rank == 0)
    printf(
        "%u ranks on %u machines, %s by %s\n\n| collective | bytes | median ms | quartiles | bus GB/s |\n"
        "| --- | --- | --- | --- | --- |\n",
        s->place.size, s->place.node_count, dure_device_get_info(s->device)->name,
        dure_communicator_kind(s->communicator));
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    const uint64_t checked = s->largest < 1 << 20 ? s->largest : 1 << 20;
    if (rows[i].kind == DURE_SEND && s->place.size < 2) continue;
    DURE_TRY(check(s, &rows[i], checked));
    for (uint64_t bytes = 1 << 12; bytes < s->largest; bytes *= 16) DURE_TRY(measure(s, &rows[i], bytes));
    DURE_TRY(measure(s, &rows[i], s->largest));
  }
  return NULL;
}

static dure_status start(bench_state *s, const char *device, const char *kind) {
  char identifier[64];
  DURE_TRY(dure_world_join(&(dure_world_options){0}, &s->world));
  s->place = dure_world_get_place(s->world);
  snprintf(identifier, sizeof(identifier), "%s:%u", device, s->place.local_rank);
  DURE_TRY(dure_device_open(strcmp(device, "cuda") == 0 ? identifier : device, &s->device));
  DURE_TRY(dure_stream_create(s->device, &s->stream));
  DURE_TRY(dure_buffer_create(s->device, s->largest, DURE_MEMORY_DEVICE, "source", &s->source));
  DURE_TRY(dure_buffer_create(s->device, s->largest, DURE_MEMORY_DEVICE, "target", &s->target));
  return dure_communicator_create(s->world, s->device, kind, &s->communicator);
}

int main(int argc, char **argv) {
  bench_state s = {.largest = argc > 3 ? strtoull(argv[3], NULL, 10) / 4096 * 4096 : 0,
                   .groups = argc > 4 ? (int)strtol(argv[4], NULL, 10) : 0};
  if (argc != 5 || s.largest == 0 || s.groups < 1 || s.groups > GROUPS_MOST) {
    fprintf(stderr, "usage: %s cuda|reference nccl|host LARGEST GROUPS\n", argv[0]);
    return 2;
  }
  dure_status status = start(&s, argv[1], argv[2]);
  if (status == NULL) status = run(&s);
  dure_communicator_destroy(s.communicator);
  dure_buffer_destroy(s.source);
  dure_buffer_destroy(s.target);
  dure_stream_destroy(s.stream);
  dure_device_close(s.device);
  dure_world_leave(s.world, status);
  if (status == NULL) return 0;
  fprintf(stderr, "%s\n", dure_status_message(status));
  dure_status_free(status);
  return 1;
}
