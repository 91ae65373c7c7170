// The Vulkan backend when things go wrong: drivers' failures (injected by replacing entries of the function table), a
// damaged cache of compiled kernels, and a dropped barrier that the validation layers must notice. On every Vulkan
// device.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/os.h"
#include "runtime/vulkan/internal.h"
#include "tests/suite.h"

// Version 1.3.239 of the validation layer never frees its own records of command buffers.
#if defined(__SANITIZE_ADDRESS__)
static const bool leaks_are_counted = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
static const bool leaks_are_counted = true;
#else
static const bool leaks_are_counted = false;
#endif
#else
static const bool leaks_are_counted = false;
#endif

static char identifiers[8][32];
static int device_count;

static dure_device *device;
static dure_stream *stream;
static dure_buffer *x, *y;

static void open_device(int index) {
  require(dure_device_open(identifiers[index], &device));
  require(dure_stream_create(device, &stream));
  require(dure_buffer_create(device, 4096, DURE_MEMORY_DEVICE, "x", &x));
  require(dure_buffer_create(device, 4096, DURE_MEMORY_DEVICE, "y", &y));
}

static void close_device(void) {
  dure_buffer_destroy(x);
  dure_buffer_destroy(y);
  dure_stream_destroy(stream);
  dure_device_close(device);
}

// y = x, x = y, ... `count` times: each dispatch reads what the one before wrote.
static dure_recording *record_chain(int count) {
  dure_recording *recording = NULL;
  require(dure_recording_create(device, "the chain", 0, &recording));
  dure_recording_label(recording, "the link");
  uint32_t constants[2] = {64, 0};
  float scale = 1.0f;
  uint32_t push[2] = {1024};
  memcpy(&push[1], &scale, 4);
  dure_kernel *kernel = NULL;
  require(dure_kernel_get(device, "smoke_affine", constants, 2, &kernel));
  for (int i = 0; i < count; i++) {
    dure_binding bindings[] = {{i % 2 ? y : x, 0, 4096, DURE_READ}, {i % 2 ? x : y, 0, 4096, DURE_WRITE}};
    require(dure_recording_dispatch(recording, kernel, bindings, 2, push, 8, 16, 1, 1));
  }
  require(dure_recording_finish(recording));
  return recording;
}

static VKAPI_ATTR VkResult VKAPI_CALL lose_at_submit(VkQueue queue, uint32_t count, const VkSubmitInfo *infos,
                                                     VkFence fence) {
  (void)queue, (void)count, (void)infos, (void)fence;
  return VK_ERROR_DEVICE_LOST;
}

static VKAPI_ATTR VkResult VKAPI_CALL have_no_memory(VkDevice handle, const VkMemoryAllocateInfo *info,
                                                     const VkAllocationCallbacks *callbacks, VkDeviceMemory *out) {
  (void)handle, (void)info, (void)callbacks;
  *out = VK_NULL_HANDLE;
  return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

START_TEST(a_lost_device_names_what_ran_and_refuses_everything_after) {
  open_device(_i);
  dure_recording *chain = record_chain(3);
  uint32_t word = 0;
  require(dure_stream_submit(stream, &chain, 1, NULL, 0, NULL, 0, NULL));
  require(dure_stream_wait(stream, 0));
  vulkan_device *vulkan = vulkan_device_of(device);
  vulkan->api.QueueSubmit = lose_at_submit;
  require_failure(dure_stream_submit(stream, &chain, 1, NULL, 0, NULL, 0, NULL), DURE_DEVICE_LOST, "the chain");
  require_failure(dure_stream_submit(stream, &chain, 1, NULL, 0, NULL, 0, NULL), DURE_DEVICE_LOST, "the link");
  require_failure(dure_stream_upload(stream, x, 0, &word, 4), DURE_DEVICE_LOST, "uploading");
  require_failure(dure_stream_download(stream, x, 0, &word, 4, NULL), DURE_DEVICE_LOST, "downloading");
  require_failure(dure_stream_wait(stream, 0), DURE_DEVICE_LOST, identifiers[_i]);
  dure_recording_destroy(chain);
  close_device();  // and everything can still be given back
}
END_TEST

static VKAPI_ATTR VkResult VKAPI_CALL lose_at_wait(VkDevice handle, const VkSemaphoreWaitInfo *info, uint64_t timeout) {
  (void)handle, (void)info, (void)timeout;
  return VK_ERROR_DEVICE_LOST;
}

// The timeline of a device that was lost in its second recording.
static VKAPI_ATTR VkResult VKAPI_CALL one_is_done(VkDevice handle, VkSemaphore semaphore, uint64_t *out_value) {
  (void)handle, (void)semaphore;
  *out_value = 1;
  return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL blame_a_write(VkDevice handle, VkDeviceFaultCountsEXT *counts,
                                                    VkDeviceFaultInfoEXT *info) {
  (void)handle;
  counts->addressInfoCount = counts->vendorInfoCount = 1;
  if (info == NULL) return VK_SUCCESS;
  snprintf(info->description, sizeof(info->description), "page fault");
  info->pAddressInfos[0].addressType = VK_DEVICE_FAULT_ADDRESS_TYPE_WRITE_INVALID_EXT;
  info->pAddressInfos[0].reportedAddress = 0xdead000;
  snprintf(info->pVendorInfos[0].description, sizeof(info->pVendorInfos[0].description), "engine 5");
  return VK_SUCCESS;
}

START_TEST(a_device_lost_while_it_works_names_the_recording_and_the_driver_s_reason) {
  open_device(_i);
  dure_recording *chains[3] = {record_chain(3), NULL, record_chain(3)};
  require(dure_recording_create(device, "the culprit", 0, &chains[1]));
  dure_recording_label(chains[1], "its first op");
  require(dure_recording_fill(chains[1], y, 0, 4, 0));
  dure_recording_label(chains[1], "its last op");
  require(dure_recording_fill(chains[1], y, 4, 4, 0));
  require(dure_recording_finish(chains[1]));
  vulkan_device *vulkan = vulkan_device_of(device);
  const vulkan_api real = vulkan->api;
  require(dure_stream_submit(stream, chains, 3, NULL, 0, NULL, 0, NULL));
  require(dure_stream_wait(stream, 0));
  vulkan->api.WaitSemaphores = lose_at_wait;
  vulkan->api.GetSemaphoreCounterValue = one_is_done;
  vulkan->api.GetDeviceFaultInfoEXT = blame_a_write;
  vulkan->plan.caps.features |= 1ull << DURE_VULKAN_DEVICE_FAULT;
  dure_status status = dure_stream_wait(stream, 0);
  ck_assert_int_eq(dure_status_code(status), DURE_DEVICE_LOST);
  const char *const parts[] = {
      "the culprit", "its first op", "its last op", "page fault", "an invalid write at address 0xdead000", "engine 5"};
  for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
    ck_assert_msg(strstr(dure_status_message(status), parts[i]) != NULL, "'%s' is not in: %s", parts[i],
                  dure_status_message(status));
  dure_status_free(status);
  vulkan->api = real;
  for (int i = 0; i < 3; i++) dure_recording_destroy(chains[i]);
  close_device();
}
END_TEST

// A driver that ends work of more than 2 s counts each submission alone.
static uint32_t most_lists;
static PFN_vkQueueSubmit real_submit;
static VKAPI_ATTR VkResult VKAPI_CALL count_lists(VkQueue queue, uint32_t count, const VkSubmitInfo *infos,
                                                  VkFence fence) {
  for (uint32_t i = 0; i < count; i++) {
    if (infos[i].commandBufferCount > most_lists) most_lists = infos[i].commandBufferCount;
  }
  return real_submit(queue, count, infos, fence);
}

START_TEST(each_recording_is_a_submission_of_its_own) {
  open_device(_i);
  enum { COUNT = 100 };
  dure_recording *chain = record_chain(4), *many[COUNT];
  for (int i = 0; i < COUNT; i++) many[i] = chain;
  vulkan_device *vulkan = vulkan_device_of(device);
  real_submit = vulkan->api.QueueSubmit;
  vulkan->api.QueueSubmit = count_lists;
  most_lists = 0;
  dure_event *event = NULL;
  require(dure_event_create(device, 0, &event));
  float word = 3, back = 0;
  for (int round = 0; round < 3; round++) {
    require(dure_stream_upload(stream, x, 0, &word, 4));
    require(dure_stream_submit(stream, many, COUNT, round > 0 ? event : NULL, (uint64_t)round, event,
                               (uint64_t)round + 1, NULL));
    uint64_t point = 0;
    require(dure_stream_download(stream, x, 0, &back, 4, &point));
    require(dure_stream_wait(stream, point));
    ck_assert(back == word);
  }
  require(dure_stream_submit(stream, NULL, 0, event, 3, event, 4, NULL));  // events alone
  bool reached = false;
  require(dure_event_wait(event, 4, UINT64_MAX, &reached));
  ck_assert(reached);
  ck_assert_uint_eq(most_lists, 1);
  require(dure_stream_wait(stream, 0));
  vulkan->api.QueueSubmit = real_submit;
  dure_event_destroy(event);
  dure_recording_destroy(chain);
  close_device();
}
END_TEST

// ---- a transfer queue, which software drivers do not have: the compute queue under a second name ----

static const uintptr_t second_name_bits = 0x10;
#define SECOND_NAME ((VkQueue)second_name_bits)
static VkQueue real_queue, last_queue;
static uint64_t last_signal;
static int queue_changes, on_transfer_queue;

static VKAPI_ATTR VkResult VKAPI_CALL watch_queues(VkQueue queue, uint32_t count, const VkSubmitInfo *infos,
                                                   VkFence fence) {
  if (fence == VK_NULL_HANDLE) {
    const VkTimelineSemaphoreSubmitInfo *first = infos[0].pNext, *last = infos[count - 1].pNext;
    if (queue != last_queue && last_signal > 0) {
      queue_changes++;
      ck_assert_uint_ge(infos[0].waitSemaphoreCount, 1);
      ck_assert(infos[0].pWaitSemaphores[0] == infos[0].pSignalSemaphores[0]);
      ck_assert_uint_eq(first->pWaitSemaphoreValues[0], last_signal);
    }
    on_transfer_queue += queue == SECOND_NAME;
    last_queue = queue;
    last_signal = last->pSignalSemaphoreValues[0];
  }
  return real_submit(real_queue, count, infos, fence);
}

START_TEST(large_transfers_take_their_own_queue_and_keep_their_order) {
  open_device(_i);
  enum { BYTES = 5 << 20, STEPS = 60 };
  vulkan_device *vulkan = vulkan_device_of(device);
  const vulkan_api real = vulkan->api;
  real_submit = real.QueueSubmit;
  real_queue = last_queue = vulkan->queue;
  last_signal = 0;
  queue_changes = on_transfer_queue = 0;
  vulkan->api.QueueSubmit = watch_queues;
  vulkan->transfer_queue = SECOND_NAME;
  vulkan->transfer_pool = vulkan->command_pool;
  dure_buffer *buffers[2] = {NULL};
  uint8_t *model[2], *back = malloc(BYTES);
  dure_recording *copies[2] = {NULL};
  for (int i = 0; i < 2; i++) {
    require(dure_buffer_create(device, BYTES, DURE_MEMORY_DEVICE, "large", &buffers[i]));
    model[i] = calloc(1, BYTES);
    ck_assert(model[i] != NULL && back != NULL);
  }
  for (int i = 0; i < 2; i++) {
    require(dure_recording_create(device, "copy", 0, &copies[i]));
    require(dure_recording_copy(copies[i], buffers[i], 0, buffers[1 - i], 0, BYTES));
    require(dure_recording_finish(copies[i]));
  }
  srand(1);
  for (int step = 0; step < STEPS; step++) {
    const int i = rand() % 2, kind = rand() % 4;
    const uint64_t size = kind == 1 ? 64 : BYTES - 64, offset = 4 * (uint64_t)(rand() % 16);
    if (kind <= 1) {
      memset(model[i] + offset, step, size);
      require(dure_stream_upload(stream, buffers[i], offset, model[i] + offset, size));
    } else if (kind == 2) {
      memcpy(model[1 - i], model[i], BYTES);
      require(dure_stream_submit(stream, &copies[i], 1, NULL, 0, NULL, 0, NULL));
    } else {
      require(dure_stream_download(stream, buffers[i], 0, back, BYTES, NULL));
      ck_assert_int_eq(memcmp(back, model[i], BYTES), 0);
    }
  }
  for (int i = 0; i < 2; i++) {
    require(dure_stream_download(stream, buffers[i], 0, back, BYTES, NULL));
    ck_assert_int_eq(memcmp(back, model[i], BYTES), 0);
  }
  ck_assert_int_gt(queue_changes, 10);
  ck_assert_int_gt(on_transfer_queue, 10);
  for (int i = 0; i < 2; i++) {
    dure_recording_destroy(copies[i]);
    dure_buffer_destroy(buffers[i]);
    free(model[i]);
  }
  free(back);
  vulkan->api = real;
  vulkan->transfer_queue = VK_NULL_HANDLE;
  vulkan->transfer_pool = VK_NULL_HANDLE;
  close_device();
}
END_TEST

START_TEST(memory_that_runs_out_is_reported_as_such) {
  open_device(_i);
  vulkan_device *vulkan = vulkan_device_of(device);
  PFN_vkAllocateMemory allocate = vulkan->api.AllocateMemory;
  vulkan->api.AllocateMemory = have_no_memory;
  dure_buffer *large = NULL;
  require_failure(dure_buffer_create(device, 20 << 20, DURE_MEMORY_DEVICE, "activations", &large), DURE_OUT_OF_MEMORY,
                  "activations");
  ck_assert_ptr_null(large);
  vulkan->api.AllocateMemory = allocate;
  require(dure_buffer_create(device, 20 << 20, DURE_MEMORY_DEVICE, "activations", &large));
  dure_buffer_destroy(large);
  close_device();
}
END_TEST

START_TEST(budgets_and_limits_are_kept) {
  open_device(_i);
  dure_buffer *large = NULL;
  uint64_t used = 0, peak = 0, available = 0;
  require(dure_device_memory(device, &used, &peak, &available));
  ck_assert_uint_ge(used, 8192);
  ck_assert_uint_le(used, 8192 + dure_device_memory_overhead(device));
  ck_assert_uint_gt(available, 1 << 20);
  dure_device_restrict(device, NULL, 1 << 20);
  require_failure(dure_buffer_create(device, 2 << 20, DURE_MEMORY_DEVICE, "weights", &large), DURE_OUT_OF_MEMORY,
                  "weights");
  uint64_t limit = dure_device_get_info(device)->limits.max_allocation_bytes;
  require_failure(dure_buffer_create(device, limit + 1, DURE_MEMORY_DEVICE, "weights", &large), DURE_OUT_OF_MEMORY,
                  "weights");
  close_device();
}
END_TEST

// The file of the cache in the temporary directory that XDG_CACHE_HOME names; NULL when there is none.
static char *cache_file(const char *directory) {
  char *folder = dure_os_path_join(directory, "dure"), *path = NULL;
  char **names = NULL;
  size_t count = 0;
  if (dure_os_is_directory(folder)) require(dure_os_list(folder, &names, &count));
  if (count > 0) path = dure_os_path_join(folder, names[0]);
  dure_os_names_free(names, count);
  free(folder);
  return path;
}

static void use_a_kernel(int index) {
  open_device(index);
  dure_recording *chain = record_chain(2);
  dure_recording_destroy(chain);
  close_device();
}

START_TEST(a_damaged_cache_of_kernels_is_ignored_and_replaced) {
  char directory[] = "/tmp/dure-cache-XXXXXX";
  ck_assert_ptr_nonnull(mkdtemp(directory));
  setenv("XDG_CACHE_HOME", directory, 1);
  use_a_kernel(_i);
  char *path = cache_file(directory);
  ck_assert_msg(path != NULL, "no cache was written");
  char *whole = NULL, *now = NULL;
  size_t size = 0, size_now = 0;
  require(dure_os_read_file(path, 1 << 30, &whole, &size));
  for (int damage = 0; damage < 4; damage++) {
    char *bytes = malloc(size + 1);
    ck_assert_ptr_nonnull(bytes);
    memcpy(bytes, whole, size);
    bytes[size] = 0;
    if (damage == 0) bytes[size / 2] ^= 1;
    if (damage == 1) bytes[size - 1] ^= 0x80;
    size_t damaged_size = damage == 2 ? size - 1 : damage == 3 ? 0 : size;
    require(dure_os_write_file(path, bytes, damaged_size));
    free(bytes);
    use_a_kernel(_i);
    require(dure_os_read_file(path, 1 << 30, &now, &size_now));
    ck_assert_uint_eq(size_now, size);
    free(now);
  }
  free(whole);
  free(path);
  require(dure_os_remove_tree(directory));
  unsetenv("XDG_CACHE_HOME");
}
END_TEST

// The hazard tracker against the drivers' own checker: silent with all barriers, loud with one missing.
START_TEST(validation_is_silent_until_a_barrier_is_dropped) {
  if (leaks_are_counted) {
    printf("the validation layer's own leaks would be counted: not tested in this build\n");
    return;
  }
  setenv("DURE_VULKAN_VALIDATION", "1", 1);
  dure_device *probe = NULL;
  dure_status status = dure_device_open(identifiers[_i], &probe);
  if (dure_status_code(status) == DURE_NOT_FOUND) {
    printf("the validation layers are not installed: not tested\n");
    dure_status_free(status);
    unsetenv("DURE_VULKAN_VALIDATION");
    return;
  }
  require(status);
  dure_device_close(probe);
  open_device(_i);
  for (uint64_t dropped = 0; dropped < 3; dropped++) {
    uint64_t before = dure_vulkan_validation_message_count();
    dure_hazards_drop_barrier(dropped);
    dure_recording *chain = record_chain(4);
    dure_hazards_drop_barrier(0);
    require(dure_stream_submit(stream, &chain, 1, NULL, 0, NULL, 0, NULL));
    require(dure_stream_wait(stream, 0));
    dure_recording_destroy(chain);
    uint64_t messages = dure_vulkan_validation_message_count() - before;
    if (dropped == 0) ck_assert_uint_eq(messages, 0);
    if (dropped > 0) ck_assert_uint_gt(messages, 0);
  }
  close_device();
  unsetenv("DURE_VULKAN_VALIDATION");
}
END_TEST

int main(void) {
  device_count = find_vulkan_devices(identifiers, 8);
  if (device_count == 0) return SKIPPED;
  Suite *suite = suite_create("vulkan failures");
  TCase *group = tcase_create("every device");
  tcase_set_timeout(group, 120);
  const TTest *tests[] = {
      a_lost_device_names_what_ran_and_refuses_everything_after,
      a_device_lost_while_it_works_names_the_recording_and_the_driver_s_reason,
      each_recording_is_a_submission_of_its_own,
      large_transfers_take_their_own_queue_and_keep_their_order,
      memory_that_runs_out_is_reported_as_such,
      budgets_and_limits_are_kept,
      a_damaged_cache_of_kernels_is_ignored_and_replaced,
      validation_is_silent_until_a_barrier_is_dropped,
  };
  for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) tcase_add_loop_test(group, tests[i], 0, device_count);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_NOFORK);
}
