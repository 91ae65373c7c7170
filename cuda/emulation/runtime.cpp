// Streams, events, graphs and memory of the emulation. A stream is a thread that does what is enqueued, one thing after
// the other, so that the host runs ahead as it does of a GPU.
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "block.h"
#include "cuda_runtime.h"

namespace {

using work = std::function<void()>;
using clock_type = std::chrono::steady_clock;

std::mutex fault_mutex;
cudaError_t sticky = cudaSuccess;  // a kernel has faulted: every later call fails

cudaError_t lasting() {
  const std::lock_guard<std::mutex> lock(fault_mutex);
  return sticky;
}

void report_fault(const char *text) {
  const std::lock_guard<std::mutex> lock(fault_mutex);
  std::fprintf(stderr, "emulation: %s\n", text);
  sticky = cudaErrorLaunchFailure;
}

}  // namespace

struct emulation_graph {
  std::vector<work> nodes;
};

struct emulation_stream {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<work> queue;
  bool is_busy = false, is_closing = false;
  std::unique_ptr<emulation_graph> captured;
  std::thread worker;

  emulation_stream() : worker([this] { work_off(); }) {}

  void work_off() {
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return is_closing || !queue.empty(); });
      if (queue.empty()) return;
      work next = std::move(queue.front());
      queue.pop_front();
      is_busy = true;
      lock.unlock();
      next();
      lock.lock();
      is_busy = false;
      changed.notify_all();
    }
  }

  cudaError_t push(work what) {
    if (captured != nullptr) {
      captured->nodes.push_back(std::move(what));
      return cudaSuccess;
    }
    const std::lock_guard<std::mutex> lock(mutex);
    queue.push_back(std::move(what));
    changed.notify_all();
    return lasting();
  }

  void drain() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [this] { return queue.empty() && !is_busy; });
  }
};

struct emulation_event {
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t recorded = 0, reached = 0;  // how often
  clock_type::time_point time;
};

namespace {

// The streams that exist: for cudaDeviceSynchronize, and for calls that are forbidden while any of them captures.
std::mutex streams_mutex;
std::vector<emulation_stream *> streams;

bool any_captures() {
  const std::lock_guard<std::mutex> lock(streams_mutex);
  for (const emulation_stream *stream : streams) {
    if (stream->captured != nullptr) return true;
  }
  return false;
}

// What a call that synchronises or allocates begins with.
cudaError_t may_wait() { return any_captures() ? cudaErrorStreamCaptureUnsupported : lasting(); }

}  // namespace

// ---- the device ----

// DURE_CUDA_EMULATION_ERROR=number: what a machine without a device, or with an old driver, answers.
cudaError_t cudaGetDeviceCount(int *count) {
  const char *error = std::getenv("DURE_CUDA_EMULATION_ERROR");
  *count = error == nullptr ? 1 : 0;
  return error == nullptr ? cudaSuccess : (cudaError_t)std::atoi(error);
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }

// As an H100's, with the host's memory.
static size_t host_memory(const char *field) {
  FILE *file = std::fopen("/proc/meminfo", "r");
  size_t kilobytes = 1 << 20;
  char line[256];
  while (file != nullptr && std::fgets(line, sizeof(line), file) != nullptr) {
    if (std::strncmp(line, field, std::strlen(field)) == 0)
      kilobytes = std::strtoull(line + std::strlen(field), nullptr, 10);
  }
  if (file != nullptr) std::fclose(file);
  return kilobytes * 1024;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  if (device != 0) return cudaErrorInvalidDevice;
  *properties = cudaDeviceProp();
  std::snprintf(properties->name, sizeof(properties->name), "CUDA emulation on the host");
  properties->totalGlobalMem = host_memory("MemTotal:");
  properties->sharedMemPerBlock = 48 * 1024;
  properties->sharedMemPerBlockOptin = 227 * 1024;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->major = 9;
  properties->multiProcessorCount = 4;
  properties->l2CacheSize = 1 << 20;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)properties.sharedMemPerBlock; break;
    case cudaDevAttrClockRate: *value = 1000000; break;
    case cudaDevAttrMultiProcessorCount: *value = properties.multiProcessorCount; break;
    case cudaDevAttrIntegrated: *value = 0; break;
    case cudaDevAttrMemoryClockRate: *value = 1000000; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = 64; break;
    case cudaDevAttrL2CacheSize: *value = properties.l2CacheSize; break;
    case cudaDevAttrComputeCapabilityMajor: *value = properties.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = properties.minor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)properties.sharedMemPerBlockOptin; break;
    default: return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
  *available = host_memory("MemAvailable:");
  *total = host_memory("MemTotal:");
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
  const cudaError_t error = may_wait();
  if (error != cudaSuccess) return error;
  const std::lock_guard<std::mutex> lock(streams_mutex);
  for (emulation_stream *stream : streams) stream->drain();
  return lasting();
}
cudaError_t cudaGetLastError(void) { return lasting(); }
cudaError_t cudaPeekAtLastError(void) { return lasting(); }

static const struct {
  cudaError_t error;
  const char *name, *text;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "the driver is older than the runtime"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
};
const char *cudaGetErrorName(cudaError_t error) {
  for (const auto &row : errors) {
    if (row.error == error) return row.name;
  }
  return "cudaErrorUnknown";
}
const char *cudaGetErrorString(cudaError_t error) {
  for (const auto &row : errors) {
    if (row.error == error) return row.text;
  }
  return "unknown error";
}

// ---- memory ----

cudaError_t cudaMalloc(void **address, size_t size) {
  *address = nullptr;
  const cudaError_t error = may_wait();
  if (error != cudaSuccess) return error;
  if (size > host_memory("MemTotal:")) return cudaErrorMemoryAllocation;
  *address = std::aligned_alloc(512, (size + 511) / 512 * 512);
  if (*address != nullptr) std::memset(*address, 0xa5, size);  // never zeroed by CUDA
  return *address != nullptr || size == 0 ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *address) {
  const cudaError_t error = any_captures() ? cudaErrorStreamCaptureUnsupported : cudaDeviceSynchronize();
  std::free(address);
  return error;
}
cudaError_t cudaHostAlloc(void **address, size_t size, unsigned flags) {
  static_cast<void>(flags);
  return cudaMalloc(address, size);
}
cudaError_t cudaFreeHost(void *address) { return cudaFree(address); }

cudaError_t cudaMemset(void *target, int value, size_t size) {
  const cudaError_t error = cudaDeviceSynchronize();
  if (error == cudaSuccess && size > 0) std::memset(target, value, size);
  return error;
}
cudaError_t cudaMemcpy(void *target, const void *source, size_t size, enum cudaMemcpyKind kind) {
  static_cast<void>(kind);
  const cudaError_t error = cudaDeviceSynchronize();
  if (error == cudaSuccess && size > 0) std::memcpy(target, source, size);
  return error;
}
cudaError_t cudaMemsetAsync(void *target, int value, size_t size, cudaStream_t stream) {
  return emulation_enqueue(stream, [=] { std::memset(target, value, size); });
}
cudaError_t cudaMemcpyAsync(void *target, const void *source, size_t size, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
  static_cast<void>(kind);
  return emulation_enqueue(stream, [=] { std::memmove(target, source, size); });
}

// ---- streams ----

cudaError_t emulation_enqueue(cudaStream_t stream, std::function<void()> what) {
  if (stream == nullptr) return cudaErrorInvalidValue;  // the plugin never uses the default stream
  return stream->push([what] {
    if (lasting() == cudaSuccess) what();
  });
}

// DURE_CUDA_EMULATION_FAULT=n: the n-th kernel of the process is stopped by the device, for tests of what follows.
static bool is_to_fail() {
  static std::atomic<int> launches;
  const char *text = std::getenv("DURE_CUDA_EMULATION_FAULT");
  return ++launches == (text != nullptr ? std::atoi(text) : 0);
}

cudaError_t emulation_launch(cudaStream_t stream, dim3 grid, dim3 block, size_t shared_bytes,
                             std::function<void()> body) {
  const uint64_t threads = (uint64_t)block.x * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 || shared_bytes > 227 * 1024)
    return cudaErrorInvalidValue;
  return emulation_enqueue(stream, [=] {
    const char *fault = nullptr;
    if (is_to_fail()) {
      report_fault("a fault asked for by DURE_CUDA_EMULATION_FAULT");
    } else if (!emulation_run(
                   grid, block, shared_bytes,
                   [](const void *context) { (*static_cast<const std::function<void()> *>(context))(); }, &body,
                   &fault))
      report_fault(fault);
  });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
  static_cast<void>(flags);
  *stream = new emulation_stream;
  const std::lock_guard<std::mutex> lock(streams_mutex);
  streams.push_back(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  {
    const std::lock_guard<std::mutex> lock(streams_mutex);
    for (size_t i = 0; i < streams.size(); i++) {
      if (streams[i] == stream) streams.erase(streams.begin() + (long)i--);
    }
  }
  stream->drain();
  {
    const std::lock_guard<std::mutex> lock(stream->mutex);
    stream->is_closing = true;
    stream->changed.notify_all();
  }
  stream->worker.join();
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const cudaError_t error = may_wait();
  if (error != cudaSuccess) return error;
  stream->drain();
  return lasting();
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const std::lock_guard<std::mutex> lock(stream->mutex);
  return !stream->queue.empty() || stream->is_busy ? cudaErrorNotReady : lasting();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  static_cast<void>(flags);
  uint64_t wanted;
  {
    const std::lock_guard<std::mutex> lock(event->mutex);
    wanted = event->recorded;
  }
  return stream->push([=] {
    std::unique_lock<std::mutex> lock(event->mutex);
    event->changed.wait(lock, [=] { return event->reached >= wanted; });
  });
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
  return emulation_enqueue(stream, [=] { function(data); });
}

// ---- events ----

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
  static_cast<void>(flags);
  *event = new emulation_event;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  cudaEventSynchronize(event);
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  uint64_t number;
  {
    const std::lock_guard<std::mutex> lock(event->mutex);
    number = ++event->recorded;
  }
  return stream->push([=] {
    const std::lock_guard<std::mutex> lock(event->mutex);
    event->reached = number;
    event->time = clock_type::now();
    event->changed.notify_all();
  });
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const std::lock_guard<std::mutex> lock(event->mutex);
  return event->reached < event->recorded ? cudaErrorNotReady : lasting();
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  std::unique_lock<std::mutex> lock(event->mutex);
  event->changed.wait(lock, [=] { return event->reached >= event->recorded; });
  return lasting();
}
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (start->recorded == 0 || end->recorded == 0) return cudaErrorInvalidValue;
  if (cudaEventQuery(start) == cudaErrorNotReady || cudaEventQuery(end) == cudaErrorNotReady) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

// ---- graphs ----

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
  static_cast<void>(mode);
  if (stream->captured != nullptr) return cudaErrorStreamCaptureUnsupported;
  stream->captured.reset(new emulation_graph);
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  *graph = stream->captured.release();
  return *graph != nullptr ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags) {
  static_cast<void>(flags);
  *executable = new emulation_graph(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (const work &node : executable->nodes) {
    const cudaError_t error = stream->push(node);
    if (error != cudaSuccess) return error;
  }
  return lasting();
}
cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream) {
  static_cast<void>(executable);
  static_cast<void>(stream);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return cudaGraphDestroy(executable); }

// ---- the driver's calls ----

// Waits until *(uint64_t *)address >= value (flag CU_STREAM_WAIT_VALUE_GEQ, the only one in use).
static int wait_value(cudaStream_t stream, unsigned long long address, uint64_t value, unsigned flags) {
  if (flags != 0) return cudaErrorInvalidValue;
  const auto *counter = reinterpret_cast<const volatile uint64_t *>(address);
  return emulation_enqueue(stream, [=] {
    while (__atomic_load_n(counter, __ATOMIC_ACQUIRE) < value && lasting() == cudaSuccess)
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  });
}
static int write_value(cudaStream_t stream, unsigned long long address, uint64_t value, unsigned flags) {
  if (flags != 0) return cudaErrorInvalidValue;
  auto *counter = reinterpret_cast<volatile uint64_t *>(address);
  return emulation_enqueue(stream, [=] { __atomic_store_n(counter, value, __ATOMIC_RELEASE); });
}

cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned version,
                                             unsigned long long flags, enum cudaDriverEntryPointQueryResult *result) {
  static_cast<void>(version);
  static_cast<void>(flags);
  *function = nullptr;
  if (std::strcmp(symbol, "cuStreamWaitValue64") == 0) *function = reinterpret_cast<void *>(wait_value);
  if (std::strcmp(symbol, "cuStreamWriteValue64") == 0) *function = reinterpret_cast<void *>(write_value);
  if (std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0) *function = emulation_tensor_map_encoder();
  if (result != nullptr)
    *result = *function != nullptr ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
