// How much of communication hides behind computing: a backward pass's shape, layers of products each followed by the
// all-reduce of a bucket, with the sums joined at the end (as training does) and joined at once, alternately.
//
//   dure launch -n 2 --program build/dure_overlap -- DEVICE KIND LAYERS MEBIBYTES REPEATS     overlap.sh sets it up
//
// A bucket has MEBIBYTES; a layer computes for about as long as its bucket travels. Of L buckets the last has nothing
// to hide behind: hideable are (L - 1) / L of the shorter of computing and travelling. The share that is hidden is what
// overlapping saves of the pass, of the hideable seconds; median and quartiles over the repeats. With DURE_TRACE the
// last repeat's spans are written, of which timeline.py draws a picture.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/communicator.h"
#include "runtime/os.h"
#include "runtime/program.h"
#include "runtime/trace.h"

enum { layers_most = 64, repeats_most = 200, product_size = 256, products_most = 100000 };

typedef enum way { WAY_COMPUTES, WAY_SENDS, WAY_JOINS_AT_ONCE, WAY_OVERLAPS, WAYS } way;

typedef struct bench_state {
  dure_world *world;
  dure_world_place place;
  dure_device *device;
  dure_stream *stream;
  dure_communicator *communicator;
  dure_executable *product;
  dure_buffer *buckets[layers_most];
  dure_event *computed;           // 2 layer + 1 at its begin, 2 layer + 2 at its end
  uint64_t counted;               // added to both, from earlier passes
  uint64_t bytes;                 // of a bucket
  int layers, repeats, products;  // products of a layer
} bench_state;

// ---- one pass ----------------------------------------------------------------------------------------------------

static dure_status compute(bench_state *s, int layer) {
  const uint64_t mark = s->counted + 2 * (uint64_t)layer;
  DURE_TRY(dure_stream_submit(s->stream, NULL, 0, NULL, 0, s->computed, mark + 1, NULL));
  for (int i = 0; i < s->products; i++) DURE_TRY(dure_executable_submit(s->product, s->stream));
  return dure_stream_submit(s->stream, NULL, 0, NULL, 0, s->computed, mark + 2, NULL);
}

static dure_status enqueue(bench_state *s, way how) {
  uint64_t ticket = 0;
  for (int i = 0; i < s->layers; i++) {
    const dure_collective sum = {.kind = DURE_ALL_REDUCE,
                                 .dtype = DURE_DTYPE_F32,
                                 .count = s->bytes / 4,
                                 .source = s->buckets[i],
                                 .target = s->buckets[i]};
    if (how != WAY_SENDS) DURE_TRY(compute(s, i));
    if (how == WAY_COMPUTES) continue;
    DURE_TRY(dure_communicator_begin(s->communicator, s->stream, &sum, &ticket));
    if (how == WAY_JOINS_AT_ONCE) DURE_TRY(dure_communicator_join(s->communicator, s->stream, ticket));
  }
  if (how != WAY_COMPUTES) DURE_TRY(dure_communicator_wait(s->communicator, ticket));
  return dure_stream_wait(s->stream, 0);
}

// Sees when the device comes to the layers' begins and ends.
typedef struct observer {
  bench_state *state;
  uint64_t times[2 * layers_most];
  atomic_bool ends;
} observer;

static void *observe(void *context) {
  observer *o = context;
  uint64_t seen = 0;
  while (!o->ends && seen < 2 * (uint64_t)o->state->layers) {
    uint64_t value = 0;
    dure_status_free(dure_event_read(o->state->computed, &value));
    for (; value > o->state->counted + seen; seen++) o->times[seen] = dure_os_nanoseconds();
    dure_os_sleep(500000);
  }
  return NULL;
}

static dure_status pass(bench_state *s, way how, bool is_traced, double *out_seconds) {
  observer o = {.state = s};
  pthread_t thread;
  DURE_TRY(dure_world_barrier(s->world));
  if (is_traced && pthread_create(&thread, NULL, observe, &o) != 0) return dure_fail_errno("no thread");
  const uint64_t begin = dure_os_nanoseconds();
  dure_status status = enqueue(s, how);
  *out_seconds = (double)(dure_os_nanoseconds() - begin) / 1e9;
  o.ends = status != NULL;
  if (is_traced) {
    pthread_join(thread, NULL);
    for (int i = 0; i < s->layers && status == NULL; i++) {
      char label[32];
      snprintf(label, sizeof(label), "layer %d", s->layers - 1 - i);
      dure_trace_span("compute", label, o.times[2 * i], o.times[2 * i + 1]);
    }
    dure_trace_span("pass", how == WAY_OVERLAPS ? "with overlap" : "joined at once", begin,
                    begin + (uint64_t)(*out_seconds * 1e9));
  }
  if (how != WAY_SENDS) s->counted += 2 * (uint64_t)s->layers;
  DURE_TRY(status);
  return dure_world_reduce(s->world, DURE_REDUCTION_MAXIMUM, out_seconds, 1);
}

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status compile_product(bench_state *s) {
  const uint64_t shape[2] = {product_size, product_size};
  dure_program *program = dure_program_create();
  if (program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a program");
  const dure_tensor matrix = dure_tensor_external(program, "matrix", DURE_DTYPE_F32, 2, shape, DURE_LIFETIME_INPUT);
  (void)dure_matmul(program, matrix, matrix, DURE_ABSENT, false, false);
  dure_status status =
      dure_program_compile(program, s->device, NULL, 0, &(dure_compile_options){.label = "layer"}, &s->product);
  dure_program_destroy(program);
  return status;
}

static dure_status start(bench_state *s, const char *device, const char *kind) {
  DURE_TRY(dure_world_join(NULL, &s->world));
  s->place = dure_world_get_place(s->world);
  DURE_TRY(dure_device_open(device, &s->device));
  DURE_TRY(dure_stream_create(s->device, &s->stream));
  DURE_TRY(dure_event_create(s->device, 0, &s->computed));
  DURE_TRY(dure_communicator_create(s->world, s->device, kind, &s->communicator));
  for (int i = 0; i < s->layers; i++)
    DURE_TRY(dure_buffer_create(s->device, s->bytes, DURE_MEMORY_DEVICE, "bucket", &s->buckets[i]));
  return compile_product(s);
}

static void stop(bench_state *s, dure_status failure) {
  dure_communicator_destroy(s->communicator);
  dure_executable_destroy(s->product);
  for (int i = 0; i < s->layers; i++) dure_buffer_destroy(s->buckets[i]);
  if (s->computed != NULL) dure_event_destroy(s->computed);
  if (s->stream != NULL) dure_stream_destroy(s->stream);
  dure_device_close(s->device);
  dure_world_leave(s->world, failure);
}

// As many products as take as long as a bucket.
static dure_status calibrate(bench_state *s) {
  double sends = 0, computes = 0;
  s->products = 1;
  DURE_TRY(pass(s, WAY_OVERLAPS, false, &sends));  // connections, kernels
  DURE_TRY(pass(s, WAY_SENDS, false, &sends));
  s->products = 20;
  DURE_TRY(pass(s, WAY_COMPUTES, false, &computes));
  const double wanted = 20 * sends / computes;
  s->products = wanted < 1 ? 1 : wanted > products_most ? products_most : (int)wanted;
  return NULL;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void print_row(const char *name, double *values, int count, double scale, const char *unit) {
  qsort(values, (size_t)count, sizeof(values[0]), ascending);
  printf("| %s | %.3g %s | %.3g to %.3g | %.3g to %.3g |\n", name, values[count / 2] * scale, unit,
         values[count / 4] * scale, values[count * 3 / 4] * scale, values[0] * scale, values[count - 1] * scale);
}

static dure_status run(bench_state *s) {
  static const char *const names[WAYS] = {"computing alone", "sums alone", "each sum joined at once", "overlapped"};
  double seconds[WAYS][repeats_most], hidden[repeats_most];
  DURE_TRY(calibrate(s));
  for (int i = 0; i < s->repeats; i++) {
    const bool is_last = i + 1 == s->repeats && dure_trace_enabled();
    for (int how = 0; how < WAYS; how++)
      DURE_TRY(pass(s, (way)how, is_last && how >= WAY_JOINS_AT_ONCE, &seconds[how][i]));
    const double shorter =
        seconds[WAY_COMPUTES][i] < seconds[WAY_SENDS][i] ? seconds[WAY_COMPUTES][i] : seconds[WAY_SENDS][i];
    hidden[i] = (seconds[WAY_JOINS_AT_ONCE][i] - seconds[WAY_OVERLAPS][i]) / (shorter * (s->layers - 1) / s->layers);
  }
  if (s->place.rank != 0) return NULL;
  printf("%u ranks on %u machines, %s by %s, %d buckets of %.3g MiB, %d products of %d a layer, %d repeats\n\n",
         s->place.size, s->place.node_count, dure_device_get_info(s->device)->name,
         dure_communicator_kind(s->communicator), s->layers, (double)s->bytes / (1 << 20), s->products, product_size,
         s->repeats);
  printf("| what | median | quartiles | all |\n| --- | --- | --- | --- |\n");
  for (int how = 0; how < WAYS; how++) print_row(names[how], seconds[how], s->repeats, 1e3, "ms");
  print_row("hidden, of what could be", hidden, s->repeats, 100, "%");
  return NULL;
}

int main(int argc, char **argv) {
  bench_state s = {.layers = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 0,
                   .bytes = argc > 4 ? (uint64_t)(strtod(argv[4], NULL) * (1 << 20)) / 4096 * 4096 : 0,
                   .repeats = argc > 5 ? (int)strtol(argv[5], NULL, 10) : 0};
  if (argc != 6 || s.layers < 2 || s.layers > layers_most || s.bytes == 0 || s.repeats < 1 ||
      s.repeats > repeats_most) {
    fprintf(stderr, "usage: %s DEVICE auto|nccl|host|staged LAYERS MEBIBYTES REPEATS\n", argv[0]);
    return 2;
  }
  dure_status status = start(&s, argv[1], argv[2]);
  if (status == NULL) status = run(&s);
  stop(&s, status);
  if (status == NULL) return 0;
  fprintf(stderr, "%s\n", dure_status_message(status));
  dure_status_free(status);
  return 1;
}
