// What the program and its CUDA plugin (libdure_cuda.so, built from cuda/) agree on.
//
// The plugin is opened when devices are first listed. It has one entry point, `dure_cuda_plugin_get`; whatever else it
// offers is in the struct which that returns. Both sides are built from the same headers, and pass structs of
// runtime/hal.h and runtime/ops.h to each other: the layouts are compared before anything else is used, and a plugin of
// another build is refused. Statuses, lists and texts cross the boundary as memory of malloc().
#ifndef DURE_RUNTIME_CUDA_PLUGIN_H_
#define DURE_RUNTIME_CUDA_PLUGIN_H_

#include <stdint.h>

#include "runtime/hal.h"
#include "runtime/log.h"
#include "runtime/ops.h"

enum { DURE_CUDA_PLUGIN_ABI = 1 };  // raised when the meaning of something changes whose size stays
#define DURE_CUDA_PLUGIN_ENTRY "dure_cuda_plugin_get"

// One number for each thing that both sides must have alike. The first never moves.
typedef struct dure_cuda_layout {
  uint32_t abi;
  uint32_t layout_bytes;
  uint32_t vtable_bytes, device_bytes, info_bytes, buffer_bytes, recording_bytes, binding_bytes, backend_op_bytes;
  uint32_t operand_bytes, call_bytes;
  uint32_t op_count;
  uint64_t op_names;  // a hash of the rows' names in their order
} dure_cuda_layout;

static inline uint64_t dure_cuda_op_names(void) {
  static const char *const names[] = {
#define DURE_OP(name, ...) #name,
#include "runtime/ops.def"
#undef DURE_OP
  };
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (uint32_t i = 0; i < DURE_OP_COUNT; i++) {
    for (const char *c = names[i]; *c != '\0'; c++) hash = (hash ^ (uint8_t)*c) * 1099511628211u;
    hash = (hash ^ ',') * 1099511628211u;
  }
  return hash;
}

static inline dure_cuda_layout dure_cuda_layout_here(void) {
  return (dure_cuda_layout){.abi = DURE_CUDA_PLUGIN_ABI,
                            .layout_bytes = sizeof(dure_cuda_layout),
                            .vtable_bytes = sizeof(dure_device_vtable),
                            .device_bytes = sizeof(dure_device),
                            .info_bytes = sizeof(dure_device_info),
                            .buffer_bytes = sizeof(dure_buffer),
                            .recording_bytes = sizeof(dure_recording),
                            .binding_bytes = sizeof(dure_binding),
                            .backend_op_bytes = sizeof(dure_backend_op),
                            .operand_bytes = sizeof(dure_operand),
                            .call_bytes = sizeof(dure_op_call),
                            .op_count = DURE_OP_COUNT,
                            .op_names = dure_cuda_op_names()};
}

// What the program lends to the plugin, which has copies of its own of the runtime's small parts.
typedef struct dure_cuda_host {
  dure_log_sink log;  // levels are the program's matter
  bool (*log_enabled)(dure_log_level level);
} dure_cuda_host;

typedef struct dure_cuda_plugin {
  dure_cuda_layout layout;
  const char *version;  // of the program that it was built with
  dure_backend backend;
  void (*attach)(const dure_cuda_host *host);  // before anything of `backend` is called
} dure_cuda_plugin;

// The entry point's type. The result lives as long as the plugin, which is never closed.
typedef const dure_cuda_plugin *(*dure_cuda_plugin_getter)(void);

#endif  // DURE_RUNTIME_CUDA_PLUGIN_H_
