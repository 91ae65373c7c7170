// Collectives of device buffers among forked ranks, against plain loops over the ranks: same bits, every time.
#include "runtime/communicator.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/world/internal.h"
#include "tests/unit/ranks.h"
#include "tests/amount.h"
#include "tests/suite.h"

typedef struct shape {
  const char *device;
  bool is_hidden;  // buffers as those that the host does not reach
  uint64_t seed;
} shape;

static float value_of(uint64_t seed, uint32_t rank, uint64_t index) {
  uint64_t x = seed * 0x9E3779B97F4A7C15u + rank * 0xBF58476D1CE4E5B9u + index * 0x94D049BB133111EBu;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return (float)((double)(x >> 11) / 9007199254740992.0 * 4 - 2);
}

// What a rank's source holds at `index`, as the dtype keeps it.
static float kept_value(dure_dtype dtype, uint64_t seed, uint32_t rank, uint64_t index) {
  uint32_t bits = 0;
  dure_dtype_store(dtype, &bits, 0, value_of(seed, rank, index));
  return (float)dure_dtype_load(dtype, &bits, 0);
}

typedef struct bench {  // what one rank works with
  dure_world *world;
  dure_device *device;
  dure_stream *stream;
  dure_communicator *communicator;
  dure_buffer *source, *target;
  void *source_map, *target_map;
} bench;

static void hide(bench *b, bool is_hidden) {
  b->source->mapped = is_hidden ? NULL : b->source_map;
  b->target->mapped = is_hidden ? NULL : b->target_map;
}

static void bench_open(bench *b, const shape *s, uint64_t bytes) {
  const dure_world_options options = {.fingerprint = "test: communicator"};
  RANK_OK(dure_world_join(&options, &b->world));
  RANK_OK(dure_device_open(s->device, &b->device));
  RANK_OK(dure_stream_create(b->device, &b->stream));
  if (s->is_hidden && getenv("RANK")[0] == '0') ranks_set("DURE_COLLECTIVE_CHUNK", 16384);  // one rank's is for all
  RANK_OK(dure_communicator_create(b->world, b->device, "host", &b->communicator));
  RANK_OK(dure_buffer_create(b->device, bytes, DURE_MEMORY_DEVICE, "source", &b->source));
  RANK_OK(dure_buffer_create(b->device, bytes, DURE_MEMORY_DEVICE, "target", &b->target));
  b->source_map = b->source->mapped;
  b->target_map = b->target->mapped;
  const dure_world_place place = dure_world_get_place(b->world);
  hide(b, s->is_hidden && (place.size != 3 || place.rank != 1));  // of three, one rank's host reaches them
}

static void bench_close(bench *b) {
  dure_communicator_destroy(b->communicator);
  hide(b, false);
  dure_buffer_destroy(b->source);
  dure_buffer_destroy(b->target);
  dure_stream_destroy(b->stream);
  dure_device_close(b->device);
  dure_world_leave(b->world, NULL);
}

// What the target must hold at `index`, in f32: a plain loop over the ranks.
static float expected(const dure_collective *what, uint64_t seed, uint32_t rank, uint32_t size, uint64_t index) {
  uint64_t place = index;
  if (what->kind == DURE_ALL_GATHER)
    return kept_value(what->dtype, seed, (uint32_t)(index / what->count), index % what->count);
  if (what->kind == DURE_BROADCAST || what->kind == DURE_RECEIVE)
    return kept_value(what->dtype, seed, what->peer, index);
  if (what->kind == DURE_REDUCE_SCATTER) place += rank * what->count;
  float sum = kept_value(what->dtype, seed, 0, place);
  for (uint32_t r = 1; r < size; r++) {
    const float more = kept_value(what->dtype, seed, r, place);
    if (what->reduction == DURE_REDUCTION_SUM)
      sum += more;
    else if (what->reduction == DURE_REDUCTION_MAXIMUM)
      sum = more > sum ? more : sum;
    else
      sum = more < sum ? more : sum;
  }
  return sum;
}

static void fill_source(bench *b, const dure_collective *what, uint64_t seed, uint32_t rank, uint64_t count) {
  const size_t element = dure_dtype_size(what->dtype);
  uint8_t *bytes = malloc(count * element + 8);
  for (uint64_t i = 0; i < count; i++) dure_dtype_store(what->dtype, bytes, i, value_of(seed, rank, i));
  RANK_OK(dure_stream_upload(b->stream, what->source, what->source_offset, bytes, count * element));
  free(bytes);
}

static void check_target(bench *b, const dure_collective *what, uint64_t seed, uint64_t count) {
  const size_t element = dure_dtype_size(what->dtype);
  const uint32_t rank = dure_communicator_rank(b->communicator), size = dure_communicator_size(b->communicator);
  uint8_t *bytes = malloc(count * element + 8);
  RANK_OK(dure_stream_download(b->stream, what->target, what->target_offset, bytes, count * element, NULL));
  for (uint64_t i = 0; i < count; i++) {
    uint8_t wanted[4] = {0};
    dure_dtype_store(what->dtype, wanted, 0, expected(what, seed, rank, size, i));
    RANK_EXPECT(memcmp(wanted, bytes + i * element, element) == 0,
                "collective %d of %s, reduction %d, %llu elements, rank %u of %u, seed %llu: element %llu differs",
                (int)what->kind, dure_dtype_name(what->dtype), (int)what->reduction, (unsigned long long)what->count,
                rank, size, (unsigned long long)seed, (unsigned long long)i);
  }
  free(bytes);
}

static void run_collective(bench *b, dure_collective what, uint64_t seed, bool in_place) {
  const uint32_t rank = dure_communicator_rank(b->communicator), size = dure_communicator_size(b->communicator);
  const uint64_t part = what.count * dure_dtype_size(what.dtype);
  what.source = b->source;
  what.target = b->target;
  what.source_offset = 8;
  what.target_offset = 4;
  if (in_place) {
    what.target = b->source;
    what.target_offset = what.source_offset;
    if (what.kind == DURE_REDUCE_SCATTER) what.target_offset += rank * part;
    if (what.kind == DURE_ALL_GATHER) what.source_offset += rank * part;
  }
  const bool receives = what.kind == DURE_RECEIVE || (what.kind == DURE_BROADCAST && what.peer != rank);
  if (!receives) fill_source(b, &what, seed, rank, what.kind == DURE_REDUCE_SCATTER ? what.count * size : what.count);
  uint64_t ticket = 0;
  RANK_OK(dure_communicator_begin(b->communicator, b->stream, &what, &ticket));
  RANK_OK(dure_communicator_join(b->communicator, b->stream, ticket));
  if (what.kind == DURE_SEND)
    RANK_OK(dure_communicator_wait(b->communicator, ticket));
  else
    check_target(b, &what, seed, what.kind == DURE_ALL_GATHER ? what.count * size : what.count);
}

static const uint64_t counts[] = {0, 1, 3, 64, 1001, 70001};
static const dure_dtype dtypes[] = {DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_F16};

static void all_collectives(uint32_t rank, uint32_t size, void *context) {
  const shape *s = context;
  bench b = {0};
  bench_open(&b, s, 70001 * 4 * size + 64);
  uint64_t seed = s->seed;
  for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
    for (size_t d = 0; d < sizeof(dtypes) / sizeof(dtypes[0]); d++) {
      dure_collective what = {.dtype = dtypes[d], .count = counts[c]};
      const bool is_aligned = counts[c] * dure_dtype_size(dtypes[d]) % 4 == 0;
      for (int in_place = 0; in_place <= (is_aligned ? 1 : 0); in_place++) {
        what.reduction = (dure_reduction)(seed % 3);
        what.kind = DURE_ALL_REDUCE;
        run_collective(&b, what, seed++, in_place == 1);
        what.kind = DURE_REDUCE_SCATTER;
        run_collective(&b, what, seed++, in_place == 1);
        what.kind = DURE_ALL_GATHER;
        run_collective(&b, what, seed++, in_place == 1);
        what.kind = DURE_BROADCAST;
        what.peer = (uint32_t)(seed % size);
        run_collective(&b, what, seed++, in_place == 1);
      }
      if (size > 1 && rank < 2) {
        what.kind = rank == 0 ? DURE_SEND : DURE_RECEIVE;
        what.peer = 1 - rank;
        run_collective(&b, what, seed, false);
      }
      seed++;
    }
  }
  bench_close(&b);
}

static const char *const devices[] = {"reference", "vulkan:0", "vulkan:1"};

static bool device_exists(const char *identifier) {
  dure_device *device = NULL;
  dure_status status = dure_device_open(identifier, &device);
  const bool exists = status == NULL;
  dure_status_free(status);
  dure_device_close(device);
  return exists;
}

static void probe(uint32_t rank, uint32_t size, void *context) {
  (void)rank, (void)size;
  exit(device_exists(context) ? 0 : 77);
}

// In a process of its own: drivers are not to be forked.
static bool has_device(const char *identifier) {
  pid_t pids[RANKS_MAX];
  ranks_start(1, probe, (void *)(uintptr_t)identifier, pids);
  return ranks_wait(pids[0], 60) == 0;
}

START_TEST(every_collective_has_the_bits_of_a_plain_loop_over_the_ranks) {
  shape s = {.device = devices[_i % 3], .is_hidden = _i >= 3, .seed = 100 + (uint64_t)_i};
  if (!has_device(s.device) || (s.is_hidden && _i % 3 == 0)) return;
  for (uint32_t size = 1; size <= 4; size++) {
    const bool is_drawn = is_full() || (size + (uint32_t)_i) % 2 == 0 || _i == 0;
    if (is_drawn) ranks_run(size, all_collectives, &s);
  }
}
END_TEST

// ---- under mpirun ------------------------------------------------------------------------------------------------

// What each of mpirun's processes does.
static int be_a_rank(const char *device) {
  const shape s = {.device = device, .seed = 500};
  dure_launch launch;
  RANK_OK(dure_launch_read(&launch));
  all_collectives(launch.rank, launch.size, (void *)(uintptr_t)&s);
  return 0;
}

START_TEST(mpi_carries_the_same_bits) {
  static const char *const rows[][2] = {{"3", "reference"}, {"2", "vulkan:0"}};
  char command[2048], folder[1024] = "";
  char *directory = NULL;
  if (system("mpirun --version >/dev/null 2>&1") != 0 || getenv("DURE_MPI_BUILT") == NULL) {
    printf("SKIPPED: no mpirun, or no libdure_mpi.so\n");
    return;
  }
  if (_i == 1 && !has_device(rows[_i][1])) return;
  ck_assert_ptr_null(dure_os_executable_directory(&directory));
  snprintf(folder, sizeof(folder), "%s", directory);
  free(directory);
  setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // MPI keeps what it takes
  snprintf(command, sizeof(command), "mpirun --oversubscribe --bind-to none -n %s '%s/test_unit_communicator' %s",
           rows[_i][0], folder, rows[_i][1]);
  ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(int argc, char **argv) {
  if (argc > 1) return be_a_rank(argv[1]);
  Suite *suite = suite_create("communicator");
  TCase *collectives = tcase_create("collectives");
  tcase_add_loop_test(collectives, every_collective_has_the_bits_of_a_plain_loop_over_the_ranks, 0, 6);
  tcase_add_loop_test(collectives, mpi_carries_the_same_bits, 0, 2);
  suite_add_tcase(suite, collectives);
  return run_suite(suite, CK_FORK_GETENV);
}
