// The Vulkan backend's sub-allocation under random use: live buffers never overlap, freed memory joins up again and
// goes back to the driver. On every Vulkan device.
#include <check.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"
#include "runtime/vulkan/internal.h"
#include "tests/suite.h"

enum { slots = 60, steps = 1500 };

static char identifiers[8][32];
static int device_count;

static uint64_t random_state;
static uint64_t draw(uint64_t below) {
  random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
  return (random_state >> 33) % below;
}

// Mostly small, some of megabytes, a few beyond what shares a block.
static uint64_t draw_size(void) {
  switch (draw(10)) {
    case 0: return 1 + draw(18u << 20);
    case 1:
    case 2: return 1 + draw(1u << 20);
    default: return 1 + draw(5000);
  }
}

static uint64_t used_bytes(const vulkan_block *block, dure_buffer *const *buffers) {
  uint64_t used = 0;
  for (int i = 0; i < slots; i++) {
    const vulkan_buffer *buffer = (const vulkan_buffer *)buffers[i];
    if (buffer != NULL && buffer->block == block) used += buffer->place.size;
  }
  return used;
}

// Free ranges are sorted and apart, and with the used ones make up the block.
static void check_blocks(const vulkan_device *device, dure_buffer *const *buffers) {
  for (const vulkan_block *block = device->first_block; block != NULL; block = block->next) {
    uint64_t free_bytes = 0, end = 0;
    bool is_sound = true;
    for (size_t i = 0; i < block->free_count; i++) {
      is_sound = is_sound && block->free[i].size > 0 && (i == 0 || block->free[i].offset > end);
      end = block->free[i].offset + block->free[i].size;
      free_bytes += block->free[i].size;
    }
    ck_assert(is_sound && end <= block->size);
    ck_assert_uint_eq(free_bytes + used_bytes(block, buffers), block->size);
  }
}

// What the device says is used is what has been taken from the driver for device memory, no more and no less.
static void check_account(dure_device *device) {
  uint64_t taken = 0, used = 0, peak = 0, available = 0;
  for (const vulkan_block *block = vulkan_device_of(device)->first_block; block != NULL; block = block->next)
    taken += block->kind == DURE_MEMORY_DEVICE ? block->size : 0;
  require(dure_device_memory(device, &used, &peak, &available));
  ck_assert_uint_eq(used, taken);
  ck_assert_uint_ge(peak, used);
}

static void check_overlaps(dure_buffer *const *buffers, int added) {
  const vulkan_buffer *new_buffer = (const vulkan_buffer *)buffers[added];
  for (int i = 0; i < slots; i++) {
    const vulkan_buffer *other = (const vulkan_buffer *)buffers[i];
    if (other == NULL || i == added || other->block != new_buffer->block) continue;
    bool apart = other->place.offset + other->place.size <= new_buffer->place.offset ||
                 new_buffer->place.offset + new_buffer->place.size <= other->place.offset;
    ck_assert_msg(apart, "two buffers share memory");
  }
}

START_TEST(random_creation_and_destruction_keeps_memory_in_order) {
  const uint64_t seed = 20240 + (uint64_t)_i;
  printf("%s: seed %" PRIu64 "\n", identifiers[_i], seed);
  random_state = seed;
  dure_device *device = NULL;
  dure_buffer *buffers[slots] = {NULL};
  require(dure_device_open(identifiers[_i], &device));
  const vulkan_device *vulkan = vulkan_device_of(device);
  for (int step = 0; step < steps; step++) {
    int slot = (int)draw(slots);
    if (buffers[slot] != NULL) {
      dure_buffer_destroy(buffers[slot]);
      buffers[slot] = NULL;
    } else {
      dure_memory_kind kind = draw(4) == 0 ? DURE_MEMORY_HOST : DURE_MEMORY_DEVICE;
      require(dure_buffer_create(device, draw_size(), kind, "random", &buffers[slot]));
      check_overlaps(buffers, slot);
    }
    check_blocks(vulkan, buffers);
    if (step % 10 == 0) check_account(device);
  }
  for (int i = 0; i < slots; i++) {
    dure_buffer_destroy(buffers[i]);
    buffers[i] = NULL;
  }
  check_blocks(vulkan, buffers);
  size_t kept = 0;
  for (const vulkan_block *block = vulkan->first_block; block != NULL; block = block->next) kept++;
  ck_assert_uint_le(kept, 2);  // one shared block for each type of memory at most
  check_account(device);
  dure_device_close(device);
}
END_TEST

START_TEST(the_overhead_of_small_buffers_is_known_and_small_under_a_budget) {
  const uint64_t budgets[] = {0, 800u << 20, 64u << 20, 4u << 20};
  for (size_t i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
    dure_device *device = NULL;
    dure_buffer *small[20] = {NULL}, *large = NULL, *host = NULL;
    require(dure_device_open(identifiers[_i], &device));
    dure_device_restrict(device, NULL, budgets[i]);
    uint64_t sizes = 2u << 20, used = 0, peak = 0, available = 0;
    require(dure_buffer_create(device, sizes, DURE_MEMORY_DEVICE, "large", &large));
    require(dure_buffer_create(device, 8u << 20, DURE_MEMORY_HOST, "host", &host));  // does not count
    for (int b = 0; b < 20; b++) {
      uint64_t size = 100 + 3000 * (uint64_t)b;
      sizes += size;
      require(dure_buffer_create(device, size, DURE_MEMORY_DEVICE, "small", &small[b]));
    }
    require(dure_device_memory(device, &used, &peak, &available));
    uint64_t overhead = dure_device_memory_overhead(device);
    ck_assert_uint_ge(used, sizes);
    ck_assert_msg(used <= sizes + 3 * overhead, "%" PRIu64 " bytes for %" PRIu64, used, sizes);
    if (budgets[i] > 0) ck_assert_uint_le(peak, budgets[i]);
    if (budgets[i] >= 64u << 20) ck_assert_uint_le(overhead, budgets[i] / 100);
    for (int b = 0; b < 20; b++) dure_buffer_destroy(small[b]);
    dure_buffer_destroy(large);
    dure_buffer_destroy(host);
    dure_device_close(device);
  }
}
END_TEST

// Uploads and downloads of any size pass through a ring that is small under a small budget.
START_TEST(transfers_work_through_a_small_ring) {
  dure_device *device = NULL;
  dure_stream *stream = NULL;
  dure_buffer *buffer = NULL;
  const size_t size = (3u << 20) + 12;
  uint8_t *sent = malloc(size), *back = calloc(1, size);
  ck_assert(sent != NULL && back != NULL);
  random_state = 7;
  for (size_t i = 0; i < size; i++) sent[i] = (uint8_t)draw(256);
  require(dure_device_open(identifiers[_i], &device));
  dure_device_restrict(device, NULL, 8u << 20);
  require(dure_stream_create(device, &stream));
  require(dure_buffer_create(device, size, DURE_MEMORY_DEVICE, "buffer", &buffer));
  require(dure_stream_upload(stream, buffer, 0, sent, size));
  require(dure_stream_download(stream, buffer, 0, back, size, NULL));
  ck_assert_int_eq(memcmp(sent, back, size), 0);
  for (const vulkan_block *block = vulkan_device_of(device)->first_block; block != NULL; block = block->next)
    if (block->kind == DURE_MEMORY_HOST) ck_assert_uint_le(block->size, 512u << 10);
  dure_stream_destroy(stream);
  dure_buffer_destroy(buffer);
  dure_device_close(device);
  free(sent);
  free(back);
}
END_TEST

// ---- tensors and arenas beyond the limits of one binding and one buffer ----

enum { ROWS = 200, WIDTH = 512 };

// Two layers and their sum, all activations alive at once: about 4 MiB.
static void run_layers(int index, const dure_limits *limits, float *out, size_t *out_buffers) {
  dure_device *device = NULL;
  dure_stream *stream = NULL;
  require(dure_device_open(identifiers[index], &device));
  dure_device_restrict(device, limits, 0);
  require(dure_stream_create(device, &stream));
  dure_program *program = dure_program_create();
  const uint64_t shape[] = {ROWS, WIDTH}, square[] = {WIDTH, WIDTH};
  dure_tensor x = dure_tensor_external(program, "x", DURE_DTYPE_F32, 2, shape, DURE_LIFETIME_INPUT);
  dure_tensor w = dure_tensor_external(program, "w", DURE_DTYPE_F32, 2, square, DURE_LIFETIME_INPUT);
  dure_tensor made[6] = {x};
  for (int i = 1; i < 6; i++) {
    made[i] = i % 2 == 1 ? dure_matmul(program, made[i - 1], w, DURE_ABSENT, false, true)
                         : dure_activation_apply(program, made[i - 1], DURE_ACTIVATION_GELU_TANH);
  }
  dure_tensor y = dure_tensor_external(program, "y", DURE_DTYPE_F32, 2, shape, DURE_LIFETIME_OUTPUT);
  dure_tensor sum = made[5];
  for (int i = 4; i > 0; i--) sum = dure_add(program, sum, made[i]);
  dure_program_call(program, DURE_OP_copy, (dure_tensor[DURE_MAX_OPERANDS]){sum, y}, &(dure_op_attributes){0}, 0);
  dure_executable *executable = NULL;
  require(dure_program_compile(program, device, NULL, 0, NULL, &executable));
  *out_buffers = 0;
  for (const dure_buffer *b = device->first_buffer; b != NULL; b = b->next)
    *out_buffers += strstr(b->label, "activations") != NULL;
  float *data = malloc(sizeof(float) * WIDTH * WIDTH);
  ck_assert_ptr_nonnull(data);
  random_state = 3;
  for (size_t i = 0; i < (size_t)WIDTH * WIDTH; i++) data[i] = (float)draw(2001) / 20000 - 0.05f;
  require(dure_executable_write(executable, stream, w, data, sizeof(float) * WIDTH * WIDTH));
  require(dure_executable_write(executable, stream, x, data, sizeof(float) * ROWS * WIDTH));
  require(dure_executable_submit(executable, stream));
  require(dure_executable_read(executable, stream, y, out, sizeof(float) * ROWS * WIDTH));
  free(data);
  dure_executable_destroy(executable);
  dure_program_destroy(program);
  dure_stream_destroy(stream);
  dure_device_close(device);
}

START_TEST(arenas_of_several_buffers_and_tensors_of_several_bindings_compute_the_same) {
  static float whole[ROWS * WIDTH], apart[ROWS * WIDTH];
  size_t buffers = 0;
  run_layers(_i, NULL, whole, &buffers);
  ck_assert_uint_eq(buffers, 1);
  run_layers(_i, &(dure_limits){.max_allocation_bytes = 1100 << 10}, apart, &buffers);
  ck_assert_uint_gt(buffers, 1);
  ck_assert_mem_eq(whole, apart, sizeof(whole));  // where tensors lie changes no bit

  run_layers(_i, &(dure_limits){.max_allocation_bytes = 1100 << 10, .max_binding_bytes = 100 << 10}, apart, &buffers);
  for (size_t i = 0; i < ROWS * WIDTH; i++)
    ck_assert_msg(fabsf(whole[i] - apart[i]) <= 1e-5f * (1 + fabsf(whole[i])), "%zu: %g, %g", i, (double)whole[i],
                  (double)apart[i]);
}
END_TEST

int main(void) {
  device_count = find_vulkan_devices(identifiers, 8);
  if (device_count == 0) return SKIPPED;
  Suite *suite = suite_create("vulkan memory");
  TCase *group = tcase_create("every device");
  tcase_set_timeout(group, 300);
  tcase_add_loop_test(group, random_creation_and_destruction_keeps_memory_in_order, 0, device_count);
  tcase_add_loop_test(group, the_overhead_of_small_buffers_is_known_and_small_under_a_budget, 0, device_count);
  tcase_add_loop_test(group, transfers_work_through_a_small_ring, 0, device_count);
  tcase_add_loop_test(group, arenas_of_several_buffers_and_tensors_of_several_bindings_compute_the_same, 0,
                      device_count);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_NOFORK);
}
