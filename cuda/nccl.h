// NCCL's interface as far as it is used here (NVIDIA, "NCCL Documentation", chapter "NCCL API"), and opening it at run
// time, so that nothing of it is needed to build, nor to use one GPU. Where its own header exists, the values below are
// compared with it (emulation/nccl_check.c). `nc_` stands for nccl, `NC_` for its enumerators.
#ifndef DURE_CUDA_NCCL_H_
#define DURE_CUDA_NCCL_H_

#include <cuda_runtime_api.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// ncclResult_t
typedef int nc_result;
enum {
  NC_SUCCESS = 0,
  NC_UNHANDLED_CUDA_ERROR = 1,
  NC_SYSTEM_ERROR = 2,
  NC_INTERNAL_ERROR = 3,
  NC_INVALID_ARGUMENT = 4,
  NC_INVALID_USAGE = 5,
  NC_REMOTE_ERROR = 6,
  NC_IN_PROGRESS = 7,
};
// ncclDataType_t
enum { NC_UINT8 = 1, NC_FLOAT16 = 6, NC_FLOAT32 = 7, NC_BFLOAT16 = 9 };
// ncclRedOp_t
enum { NC_SUM = 0, NC_MAXIMUM = 2, NC_MINIMUM = 3 };

enum { NC_UNIQUE_ID_BYTES = 128 };
typedef struct nc_unique_id {
  char bytes[NC_UNIQUE_ID_BYTES];
} nc_unique_id;

typedef struct ncclComm *nc_comm;

// ncclConfig_t as of version 2.18, which says so of itself; later libraries take what is missing as not set.
enum { NC_VERSION = 21800, NC_NOT_SET = INT_MIN };
#define NC_MAGIC 0xcafebeefu
typedef struct nc_config {
  size_t bytes;
  unsigned magic, version;
  int is_blocking, group_size, fewest_blocks, most_blocks;
  const char *network;
  int splits_share;
} nc_config;

#define NCCL_FUNCTION(result, name, parameters) typedef result(*nc_##name) parameters;
#include "cuda/nccl.def"
#undef NCCL_FUNCTION

typedef struct nc_functions {
#define NCCL_FUNCTION(result, name, parameters) nc_##name name;
#include "cuda/nccl.def"
#undef NCCL_FUNCTION
} nc_functions;

// The library's functions, opened once in the process; DURE_UNSUPPORTED says what is missing. DURE_NCCL names the
// library; else libnccl.so.2 is looked for as library.h says, and where the Python package nvidia-nccl puts it.
DURE_MUST_CHECK dure_status cuda_nccl_get(const nc_functions **out_functions);

#ifdef __cplusplus
}
#endif
#endif  // DURE_CUDA_NCCL_H_
