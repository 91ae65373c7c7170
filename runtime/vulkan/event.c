// Events: a timeline semaphore that the host or a submission signals.
#include <inttypes.h>
#include <stdlib.h>

#include "runtime/vulkan/internal.h"

typedef struct vulkan_event {
  dure_event head;
  vulkan_device *device;
  VkSemaphore semaphore;
} vulkan_event;

VkSemaphore vulkan_event_semaphore(const dure_event *event) { return ((const vulkan_event *)event)->semaphore; }

dure_status vulkan_event_create(dure_device *head, uint64_t value, dure_event **out_event) {
  *out_event = NULL;
  vulkan_event *event = calloc(1, sizeof(*event));
  if (event == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for an event");
  event->device = vulkan_device_of(head);
  dure_status status = vulkan_semaphore_create(event->device, value, &event->semaphore);
  if (status != NULL) {
    free(event);
    return status;
  }
  *out_event = &event->head;
  return NULL;
}

void vulkan_event_destroy(dure_event *head) {
  vulkan_event *event = (vulkan_event *)head;
  event->device->api.DestroySemaphore(event->device->handle, event->semaphore, NULL);
  free(event);
}

dure_status vulkan_event_signal(dure_event *head, uint64_t value) {
  vulkan_event *event = (vulkan_event *)head;
  uint64_t current = 0;
  DURE_TRY(vulkan_event_read(head, &current));
  if (value <= current) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "an event at %" PRIu64 " cannot be signalled with %" PRIu64 ": it only grows", current, value);
  }
  VkSemaphoreSignalInfo info = {
      .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO, .semaphore = event->semaphore, .value = value};
  VULKAN_TRY(event->device, event->device->api.SignalSemaphore(event->device->handle, &info), "signalling an event");
  return NULL;
}

dure_status vulkan_event_read(dure_event *head, uint64_t *out_value) {
  vulkan_event *event = (vulkan_event *)head;
  VULKAN_TRY(event->device,
             event->device->api.GetSemaphoreCounterValue(event->device->handle, event->semaphore, out_value),
             "reading an event");
  return NULL;
}

dure_status vulkan_event_wait(dure_event *head, uint64_t value, uint64_t timeout_nanoseconds, bool *out_reached) {
  vulkan_event *event = (vulkan_event *)head;
  *out_reached = false;
  VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                              .semaphoreCount = 1,
                              .pSemaphores = &event->semaphore,
                              .pValues = &value};
  VkResult result = event->device->api.WaitSemaphores(event->device->handle, &info, timeout_nanoseconds);
  if (result != VK_SUCCESS && result != VK_TIMEOUT) return vulkan_fail(event->device, result, "waiting for an event");
  *out_reached = result == VK_SUCCESS;
  return NULL;
}
