// Opening and closing CUDA devices; translating failures; the backend's vtable. list.c describes the devices.
#include "cuda/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/communicator.h"
#include "cuda/internal.h"

// ---- failures ----

// After these the context takes no more work and what was on the device cannot be read.
static bool is_fatal(cudaError_t error) {
  switch ((int)error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorUnknown: return true;
    default: return false;
  }
}

static dure_code code_of(cudaError_t error) {
  switch ((int)error) {
    case cudaErrorMemoryAllocation: return DURE_OUT_OF_MEMORY;
    case cudaErrorNotSupported:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorInsufficientDriver:
    case cudaErrorDevicesUnavailable:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorCompatNotSupportedOnDevice: return DURE_UNSUPPORTED;
    default: return DURE_INTERNAL;
  }
}

static const char *advice_for(cudaError_t error) {
  switch ((int)error) {
    case cudaErrorNoKernelImageForDevice:
      return "; the plugin has no code for this card: configure with -DDURE_CUDA_ARCHITECTURES=native and rebuild";
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorInsufficientDriver:
    case cudaErrorCompatNotSupportedOnDevice: return "; install a newer NVIDIA driver";
    case cudaErrorSystemDriverMismatch: return "; the driver's parts are of different versions: restart the machine";
    case cudaErrorDevicesUnavailable: return "; another process has the card for itself (compute mode, MIG)";
    default: return "";
  }
}

dure_status cuda_check(cuda_device *device, cudaError_t error, const char *what) {
  if (error == cudaSuccess) return NULL;
  (void)cudaGetLastError();  // else the next call that looks would meet it again
  const char *name = cudaGetErrorName(error), *text = cudaGetErrorString(error), *advice = advice_for(error);
  if (device == NULL) return dure_fail(code_of(error), "%s failed (%s: %s%s)", what, name, text, advice);
  const char *identifier = device->head.info.identifier;
  if (!is_fatal(error))
    return dure_fail(code_of(error), "%s on %s failed (%s: %s%s)", what, identifier, name, text, advice);
  device->is_lost = true;
  return dure_fail(
      DURE_DEVICE_LOST,
      "%s (%s) was lost while %s (%s: %s); last submitted: recording '%s', ending with '%s'. What was on "
      "it is gone%s",
      identifier, device->head.info.name, what, name, text,
      device->last_recording[0] != '\0' ? device->last_recording : "none",
      device->last_label[0] != '\0' ? device->last_label : "none",
      device->checks_commands ? "." : "; DURE_CUDA_CHECK=1 waits after each op and names the one at fault.");
}

dure_status cuda_enter(cuda_device *device, const char *what) {
  if (device->is_lost)
    return dure_fail(DURE_DEVICE_LOST, "%s: %s (%s) was lost before; start the program again", what,
                     device->head.info.identifier, device->head.info.name);
  return cuda_check(device, cudaSetDevice(device->ordinal), what);
}

// ---- opening ----

// A function of the driver, which the plugin is not linked with; NULL where it has none of that name.
static void *find_driver_call(const char *name) {
  void *address = NULL;
  cudaError_t error;
#if CUDART_VERSION >= 12050
  enum cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  error = cudaGetDriverEntryPointByVersion(name, &address, 12000, cudaEnableDefault, &result);
#else
  enum cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  error = cudaGetDriverEntryPoint(name, &address, cudaEnableDefault, &result);
#endif
  if (error != cudaSuccess) (void)cudaGetLastError();
  return error == cudaSuccess && result == cudaDriverEntryPointSuccess ? address : NULL;
}

static void close_device(dure_device *head) {
  cuda_device *device = cuda_device_of(head);
  cudaSetDevice(device->ordinal);
  if (device->blas != NULL && device->blas_release != NULL) device->blas_release(device->blas);
  if (device->setup != NULL) cudaStreamDestroy(device->setup);
  free(device);
}

static dure_status start(cuda_device *device) {
  DURE_TRY(cuda_check(device, cudaSetDevice(device->ordinal), "opening the device"));
  DURE_TRY(cuda_check(device, cudaStreamCreateWithFlags(&device->setup, cudaStreamNonBlocking), "opening the device"));
  void *const wait_value = find_driver_call("cuStreamWaitValue64");
  void *const write_value = find_driver_call("cuStreamWriteValue64");
  memcpy(&device->wait_value, &wait_value, sizeof(wait_value));
  memcpy(&device->write_value, &write_value, sizeof(write_value));
  device->encode_tensor_map = find_driver_call("cuTensorMapEncodeTiled");
  size_t available = 0, total = 0;
  DURE_TRY(cuda_check(device, cudaMemGetInfo(&available, &total), "opening the device"));
  device->head.info.memory_budget_bytes = available;
  return NULL;
}

dure_status cuda_open(uint32_t index, dure_device **out_device) {
  *out_device = NULL;
  cuda_device *device = calloc(1, sizeof(*device));
  if (device == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to open a CUDA device");
  device->head.vtable = &cuda_vtable;
  device->ordinal = (int)index;
  device->checks_commands = cuda_switch_is_on("DURE_CUDA_CHECK", false);
  dure_status status = cuda_describe((int)index, &device->head.info, &device->caps);
  if (status == NULL && !device->head.info.usable)
    status =
        dure_fail(DURE_UNSUPPORTED, "%s cannot be used: %s", device->head.info.identifier, device->head.info.reason);
  if (status == NULL) status = start(device);
  if (status != NULL) {
    close_device(&device->head);
    return status;
  }
  *out_device = &device->head;
  return NULL;
}

const dure_cuda_caps *dure_cuda_device_caps(const dure_device *device) { return &cuda_device_of(device)->caps; }

// ---- what CUDA has not ----

static dure_status kernel_get(dure_device *device, const char *name, const uint32_t *constants, size_t constant_count,
                              dure_kernel **out_kernel) {
  (void)device, (void)constants, (void)constant_count;
  *out_kernel = NULL;
  return dure_fail(DURE_UNSUPPORTED, "a CUDA device has ops, not kernels by name; there is no kernel '%s'", name);
}

static dure_status recording_dispatch(dure_recording *recording, dure_kernel *kernel, const dure_binding *bindings,
                                      size_t binding_count, const void *push, size_t push_size, uint32_t groups_x,
                                      uint32_t groups_y, uint32_t groups_z) {
  (void)recording, (void)kernel, (void)bindings, (void)binding_count, (void)push, (void)push_size;
  (void)groups_x, (void)groups_y, (void)groups_z;
  return dure_fail(DURE_UNSUPPORTED, "a CUDA device has ops, not kernels by name, and dispatches nothing");
}

const dure_device_vtable cuda_vtable = {
    .close = close_device,
    .available_memory = cuda_available_memory,
    .buffer_create = cuda_buffer_create,
    .buffer_destroy = cuda_buffer_destroy,
    .stream_create = cuda_stream_create,
    .stream_destroy = cuda_stream_destroy,
    .stream_upload = cuda_stream_upload,
    .stream_download = cuda_stream_download,
    .stream_submit = cuda_stream_submit,
    .stream_wait = cuda_stream_wait,
    .event_create = cuda_event_create,
    .event_destroy = cuda_event_destroy,
    .event_signal = cuda_event_signal,
    .event_read = cuda_event_read,
    .event_wait = cuda_event_wait,
    .kernel_get = kernel_get,
    .recording_create = cuda_recording_create,
    .recording_destroy = cuda_recording_destroy,
    .recording_label = cuda_recording_label,
    .recording_dispatch = recording_dispatch,
    .recording_copy = cuda_recording_copy,
    .recording_fill = cuda_recording_fill,
    .recording_finish = cuda_recording_finish,
    .recording_times = cuda_recording_times,
    .op = dure_cuda_op,
    .communicator = &cuda_communicator_vtable,
};
