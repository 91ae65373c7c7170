// The functions of NCCL that the plugin calls (cuda/nccl.def), with the meanings that NVIDIA's documentation gives them,
// for ranks that are threads of one process: a library of its own, libdure_nccl_emulated.so, that DURE_NCCL names to the
// emulated plugin.
//
// It takes the worst that NCCL may do: calls answer "in progress", communicators that are split off appear only when all
// ranks have come, sums of 16-bit values are rounded at every rank, a message waits on its stream until the other side
// has come to it. It refuses what is documented to fail: a configuration of the wrong size, ranks whose collectives
// disagree (every rank then has an asynchronous error), calls on a communicator that is not ready, messages of other
// lengths. A rank that aborts is an asynchronous error of the others; DURE_NCCL_EMULATION_SILENT=1: it is not noticed.
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda/nccl.h"

extern "C" {
#include "runtime/dtype.h"
}

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

cudaError_t (*launch_host_function)(cudaStream_t, void (*)(void *), void *);

enum kind { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST, SEND, RECEIVE };

struct operation {
  kind what;
  const void *source;
  void *target;
  size_t count;
  int type, reduction, peer;  // peer: of messages and broadcasts
};

// The ranks' calls of one collective.
struct meeting {
  std::vector<operation> calls;
  uint32_t arrived = 0, computed = 0, left = 0;
};

struct message {
  const void *bytes;
  size_t size;
  bool is_taken = false;
};

// What all ranks of a communicator share.
struct group {
  std::mutex mutex;
  std::condition_variable changed;
  uint32_t size = 0, joined = 0;
  nc_result error = NC_SUCCESS;  // that every rank sees
  std::map<uint64_t, meeting> meetings;
  std::map<std::pair<uint32_t, uint32_t>, std::deque<std::shared_ptr<message>>> mail;  // by sender and receiver
  std::vector<std::shared_ptr<group>> children;
};

// What a rank's communicator and its work on streams share.
struct member {
  std::shared_ptr<group> all;
  uint32_t rank = 0;
  bool is_aborted = false;
  uint64_t collectives = 0;
};

}  // namespace

struct ncclComm {
  std::shared_ptr<member> own;
  size_t splits = 0;
  nc_comm pending = nullptr;  // being split off
  nc_comm *pending_target = nullptr;
  bool is_first_call = true, is_settling = false;
};

namespace {

std::mutex worlds_mutex;
std::map<uint64_t, std::shared_ptr<group>> worlds;  // by identifier
uint64_t next_identifier = 1;

size_t size_of(int type) { return type == NC_UINT8 ? 1 : type == NC_FLOAT32 ? 4 : 2; }

float load(const void *values, int type, size_t i) {
  if (type == NC_FLOAT32) return static_cast<const float *>(values)[i];
  const uint16_t bits = static_cast<const uint16_t *>(values)[i];
  return type == NC_BFLOAT16 ? dure_bf16_to_float(bits) : dure_f16_to_float(bits);
}
void store(void *values, int type, size_t i, float x) {
  if (type == NC_FLOAT32) {
    static_cast<float *>(values)[i] = x;
  } else {
    static_cast<uint16_t *>(values)[i] = type == NC_BFLOAT16 ? dure_bf16_from_float(x) : dure_f16_from_float(x);
  }
}
float combine(int reduction, float a, float b) {
  return reduction == NC_SUM ? a + b : (reduction == NC_MAXIMUM) == (a > b) ? a : b;
}

// ---- collectives -------------------------------------------------------------------------------------------------

// What a rank gets of a collective. Rounded to the type at every rank.
std::vector<unsigned char> result_of(const std::vector<operation> &calls, uint32_t rank) {
  const operation &own = calls[rank];
  const size_t element = size_of(own.type), bytes = own.count * element;
  std::vector<unsigned char> result;
  if (own.what == BROADCAST) {
    const auto *source = static_cast<const unsigned char *>(calls[(size_t)own.peer].source);
    result.assign(source, source + bytes);
  } else if (own.what == ALL_GATHER) {
    for (const operation &call : calls) {
      const auto *source = static_cast<const unsigned char *>(call.source);
      result.insert(result.end(), source, source + bytes);
    }
  } else {
    const size_t first = own.what == REDUCE_SCATTER ? rank * own.count : 0;
    result.resize(bytes);
    for (size_t i = 0; i < own.count; i++) {
      store(result.data(), own.type, i, load(calls[0].source, own.type, first + i));
      for (size_t r = 1; r < calls.size(); r++) {
        store(result.data(), own.type, i,
              combine(own.reduction, load(result.data(), own.type, i), load(calls[r].source, own.type, first + i)));
      }
    }
  }
  return result;
}

bool agree(const std::vector<operation> &calls) {
  for (const operation &call : calls) {
    if (call.what != calls[0].what || call.count != calls[0].count || call.type != calls[0].type ||
        call.reduction != calls[0].reduction || call.peer != calls[0].peer)
      return false;
  }
  return true;
}

void run_collective(const std::shared_ptr<member> &own, uint64_t number, const operation &call) {
  group &all = *own->all;
  std::unique_lock<std::mutex> lock(all.mutex);
  meeting &here = all.meetings[number];
  here.calls.resize(all.size);
  here.calls[own->rank] = call;
  here.arrived++;
  all.changed.notify_all();
  all.changed.wait(lock, [&] { return here.arrived == all.size || own->is_aborted; });
  if (own->is_aborted) return;
  if (!agree(here.calls)) {
    all.error = NC_INVALID_USAGE;
    return;
  }
  const std::vector<unsigned char> result = result_of(here.calls, own->rank);
  here.computed++;
  all.changed.notify_all();
  all.changed.wait(lock, [&] { return here.computed == all.size || own->is_aborted; });
  if (own->is_aborted) return;
  std::memcpy(call.target, result.data(), result.size());
  if (++here.left == all.size) all.meetings.erase(number);
}

// Messages that were begun together: none of them waits for another.
void run_messages(const std::shared_ptr<member> &own, const std::vector<operation> &calls) {
  group &all = *own->all;
  std::unique_lock<std::mutex> lock(all.mutex);
  std::vector<std::shared_ptr<message>> sent;
  for (const operation &call : calls) {
    if (call.what != SEND) continue;
    sent.push_back(std::make_shared<message>(message{call.source, call.count * size_of(call.type)}));
    all.mail[{own->rank, (uint32_t)call.peer}].push_back(sent.back());
  }
  all.changed.notify_all();
  for (const operation &call : calls) {
    if (call.what != RECEIVE) continue;
    auto &box = all.mail[{(uint32_t)call.peer, own->rank}];
    all.changed.wait(lock, [&] { return !box.empty() || own->is_aborted; });
    if (own->is_aborted) break;
    message &found = *box.front();
    if (found.size != call.count * size_of(call.type)) all.error = NC_INVALID_USAGE;
    if (all.error == NC_SUCCESS) std::memcpy(call.target, found.bytes, found.size);
    found.is_taken = true;
    box.pop_front();
    all.changed.notify_all();
  }
  for (const auto &one : sent) all.changed.wait(lock, [&] { return one->is_taken || own->is_aborted; });
  if (!own->is_aborted) return;
  for (auto &box : all.mail) {  // what nobody has taken is the caller's memory again
    for (const auto &one : sent) {
      for (size_t i = 0; i < box.second.size(); i++) {
        if (box.second[i] == one) box.second.erase(box.second.begin() + (long)i--);
      }
    }
  }
}

// ---- groups of calls ---------------------------------------------------------------------------------------------

struct begun {
  nc_comm comm;
  cudaStream_t stream;
  std::vector<operation> calls;
};
thread_local int depth;
thread_local std::vector<begun> queue;

nc_result launch(const begun &what) {
  const std::shared_ptr<member> own = what.comm->own;
  const std::vector<operation> calls = what.calls;
  const auto run = [](void *given) {
    const std::unique_ptr<std::function<void()>> once(static_cast<std::function<void()> *>(given));
    (*once)();
  };
  std::function<void()> work;
  if (calls[0].what == SEND || calls[0].what == RECEIVE) {
    work = [own, calls] { run_messages(own, calls); };
  } else {
    const uint64_t number = own->collectives++;
    const operation call = calls[0];
    work = [own, number, call] { run_collective(own, number, call); };
  }
  if (launch_host_function(what.stream, run, new std::function<void()>(work)) != cudaSuccess)
    return NC_UNHANDLED_CUDA_ERROR;
  what.comm->is_settling = what.comm->is_first_call;
  what.comm->is_first_call = false;
  return what.comm->is_settling ? NC_IN_PROGRESS : NC_SUCCESS;
}

bool is_ready(nc_comm comm) {
  const std::lock_guard<std::mutex> lock(comm->own->all->mutex);
  return comm->own->all->joined == comm->own->all->size && comm->pending == nullptr && !comm->is_settling;
}

nc_result add(nc_comm comm, cudaStream_t stream, const operation &call) {
  if (comm == nullptr || stream == nullptr) return NC_INVALID_ARGUMENT;
  if (!is_ready(comm)) return NC_INVALID_USAGE;
  if (call.count > 0 && call.source == nullptr && call.target == nullptr) return NC_INVALID_ARGUMENT;
  const bool is_message = call.what == SEND || call.what == RECEIVE;
  if (call.peer >= (int)comm->own->all->size || (is_message && call.peer == (int)comm->own->rank))
    return NC_INVALID_ARGUMENT;
  if (depth == 0) return launch(begun{comm, stream, {call}});
  for (begun &one : queue) {
    const bool is_alike = one.comm == comm && one.stream == stream && one.calls[0].what >= SEND;
    if (is_message && is_alike) {
      one.calls.push_back(call);
      return NC_SUCCESS;
    }
  }
  queue.push_back(begun{comm, stream, {call}});
  return NC_SUCCESS;
}

}  // namespace

// ---- NCCL's functions --------------------------------------------------------------------------------------------

EXPORTED void nccl_emulation_attach(cudaError_t (*launch_function)(cudaStream_t, void (*)(void *), void *));
void nccl_emulation_attach(cudaError_t (*launch_function)(cudaStream_t, void (*)(void *), void *)) {
  launch_host_function = launch_function;
}

EXPORTED nc_result ncclGetVersion(int *out_version) {
  *out_version = NC_VERSION;
  return NC_SUCCESS;
}
EXPORTED nc_result ncclGetUniqueId(nc_unique_id *out_id) {
  const std::lock_guard<std::mutex> lock(worlds_mutex);
  std::memset(out_id, 0x5a, sizeof(*out_id));
  std::memcpy(out_id->bytes, &next_identifier, sizeof(next_identifier));
  next_identifier++;
  return NC_SUCCESS;
}
EXPORTED const char *ncclGetErrorString(nc_result result) {
  switch (result) {
    case NC_SUCCESS: return "no error";
    case NC_INVALID_ARGUMENT: return "invalid argument";
    case NC_INVALID_USAGE: return "invalid usage";
    case NC_REMOTE_ERROR: return "remote process exited or there was a network error";
    case NC_IN_PROGRESS: return "NCCL operation in progress";
    default: return "internal error";
  }
}
EXPORTED const char *ncclGetLastError(nc_comm comm) {
  static_cast<void>(comm);
  return "";
}

EXPORTED nc_result ncclCommInitRankConfig(nc_comm *out_comm, int size, nc_unique_id id, int rank, nc_config *config) {
  *out_comm = nullptr;
  if (size <= 0 || rank < 0 || rank >= size || config == nullptr) return NC_INVALID_ARGUMENT;
  if (config->bytes != sizeof(nc_config) || config->magic != NC_MAGIC || config->version != NC_VERSION ||
      config->is_blocking != 0)
    return NC_INVALID_ARGUMENT;
  uint64_t identifier = 0;
  std::memcpy(&identifier, id.bytes, sizeof(identifier));
  std::shared_ptr<group> all;
  {
    const std::lock_guard<std::mutex> lock(worlds_mutex);
    std::shared_ptr<group> &found = worlds[identifier];
    if (found == nullptr) found = std::make_shared<group>();
    all = found;
  }
  const std::lock_guard<std::mutex> lock(all->mutex);
  if (all->size != 0 && all->size != (uint32_t)size) return NC_INVALID_ARGUMENT;
  all->size = (uint32_t)size;
  all->joined++;
  *out_comm = new ncclComm;
  (*out_comm)->own = std::make_shared<member>();
  (*out_comm)->own->all = all;
  (*out_comm)->own->rank = (uint32_t)rank;
  return NC_IN_PROGRESS;
}

EXPORTED nc_result ncclCommSplit(nc_comm comm, int color, int key, nc_comm *out_comm, nc_config *config) {
  *out_comm = nullptr;
  if (color != 0 || key != (int)comm->own->rank || config != nullptr) return NC_INVALID_ARGUMENT;
  if (!is_ready(comm)) return NC_INVALID_USAGE;
  group &parent = *comm->own->all;
  const std::lock_guard<std::mutex> lock(parent.mutex);
  if (parent.children.size() == comm->splits) {
    parent.children.push_back(std::make_shared<group>());
    parent.children.back()->size = parent.size;
  }
  const std::shared_ptr<group> child = parent.children[comm->splits++];
  child->joined++;
  comm->pending = new ncclComm;
  comm->pending->own = std::make_shared<member>();
  comm->pending->own->all = child;
  comm->pending->own->rank = comm->own->rank;
  comm->pending_target = out_comm;
  return NC_IN_PROGRESS;
}

EXPORTED nc_result ncclCommGetAsyncError(nc_comm comm, nc_result *out_error) {
  if (comm == nullptr) return NC_INVALID_ARGUMENT;
  group &all = *comm->own->all;
  const std::lock_guard<std::mutex> lock(all.mutex);
  if (comm->pending != nullptr) {
    const group &child = *comm->pending->own->all;
    if (child.joined == child.size) {
      *comm->pending_target = comm->pending;
      comm->pending = nullptr;
    }
  }
  comm->is_settling = false;
  *out_error = all.error != NC_SUCCESS                                     ? all.error
               : all.joined < all.size || comm->pending != nullptr ? NC_IN_PROGRESS
                                                                           : NC_SUCCESS;
  return NC_SUCCESS;
}

EXPORTED nc_result ncclCommFinalize(nc_comm comm) { return is_ready(comm) ? NC_SUCCESS : NC_INVALID_USAGE; }
EXPORTED nc_result ncclCommDestroy(nc_comm comm) {
  delete comm;
  return NC_SUCCESS;
}
EXPORTED nc_result ncclCommAbort(nc_comm comm) {
  {
    group &all = *comm->own->all;
    const std::lock_guard<std::mutex> lock(all.mutex);
    comm->own->is_aborted = true;
    if (std::getenv("DURE_NCCL_EMULATION_SILENT") == nullptr && all.error == NC_SUCCESS) all.error = NC_REMOTE_ERROR;
    all.changed.notify_all();
  }
  delete comm->pending;
  delete comm;
  return NC_SUCCESS;
}

EXPORTED nc_result ncclGroupStart() {
  depth++;
  return NC_SUCCESS;
}
EXPORTED nc_result ncclGroupEnd() {
  if (depth == 0) return NC_INVALID_USAGE;
  if (--depth > 0) return NC_SUCCESS;
  nc_result result = NC_SUCCESS;
  for (const begun &one : queue) {
    const nc_result launched = launch(one);
    if (launched != NC_SUCCESS) result = launched;
  }
  queue.clear();
  return result;
}

EXPORTED nc_result ncclAllReduce(const void *source, void *target, size_t count, int type, int reduction, nc_comm comm,
                                 cudaStream_t stream) {
  return add(comm, stream, operation{ALL_REDUCE, source, target, count, type, reduction, 0});
}
EXPORTED nc_result ncclReduceScatter(const void *source, void *target, size_t count, int type, int reduction,
                                     nc_comm comm, cudaStream_t stream) {
  return add(comm, stream, operation{REDUCE_SCATTER, source, target, count, type, reduction, 0});
}
EXPORTED nc_result ncclAllGather(const void *source, void *target, size_t count, int type, nc_comm comm,
                                 cudaStream_t stream) {
  return add(comm, stream, operation{ALL_GATHER, source, target, count, type, 0, 0});
}
EXPORTED nc_result ncclBroadcast(const void *source, void *target, size_t count, int type, int root, nc_comm comm,
                                 cudaStream_t stream) {
  return add(comm, stream, operation{BROADCAST, source, target, count, type, 0, root});
}
EXPORTED nc_result ncclSend(const void *source, size_t count, int type, int peer, nc_comm comm, cudaStream_t stream) {
  return add(comm, stream, operation{SEND, source, nullptr, count, type, 0, peer});
}
EXPORTED nc_result ncclRecv(void *target, size_t count, int type, int peer, nc_comm comm, cudaStream_t stream) {
  return add(comm, stream, operation{RECEIVE, nullptr, target, count, type, 0, peer});
}
