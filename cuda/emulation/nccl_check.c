// What cuda/nccl.h says about NCCL, held against NVIDIA's own header at compile time, where there is one.
#include "cuda/nccl.h"

#include <nccl.h>

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours " is not " #theirs)
SAME(NC_SUCCESS, ncclSuccess);
SAME(NC_UNHANDLED_CUDA_ERROR, ncclUnhandledCudaError);
SAME(NC_SYSTEM_ERROR, ncclSystemError);
SAME(NC_INTERNAL_ERROR, ncclInternalError);
SAME(NC_INVALID_ARGUMENT, ncclInvalidArgument);
SAME(NC_INVALID_USAGE, ncclInvalidUsage);
SAME(NC_REMOTE_ERROR, ncclRemoteError);
SAME(NC_IN_PROGRESS, ncclInProgress);
SAME(NC_UINT8, ncclUint8);
SAME(NC_FLOAT16, ncclFloat16);
SAME(NC_FLOAT32, ncclFloat32);
SAME(NC_BFLOAT16, ncclBfloat16);
SAME(NC_SUM, ncclSum);
SAME(NC_MAXIMUM, ncclMax);
SAME(NC_MINIMUM, ncclMin);
SAME(NC_UNIQUE_ID_BYTES, NCCL_UNIQUE_ID_BYTES);
SAME(NC_NOT_SET, NCCL_CONFIG_UNDEF_INT);
#ifdef NCCL_API_MAGIC
SAME(NC_MAGIC, NCCL_API_MAGIC);
#endif
SAME(NC_VERSION, NCCL_VERSION(2, 18, 0));
SAME(sizeof(nc_result), sizeof(ncclResult_t));
SAME(sizeof(nc_unique_id), sizeof(ncclUniqueId));

#define AT(ours, theirs) SAME(offsetof(nc_config, ours), offsetof(ncclConfig_t, theirs))
AT(bytes, size);
AT(magic, magic);
AT(version, version);
AT(is_blocking, blocking);
AT(group_size, cgaClusterSize);
AT(fewest_blocks, minCTAs);
AT(most_blocks, maxCTAs);
AT(network, netName);
AT(splits_share, splitShare);

// Numbers of parameters and their sizes.
#define CALL(name, ...) _Static_assert(_Generic(&nccl##name, ncclResult_t(*)(__VA_ARGS__) : 1, default : 0), #name)
CALL(CommInitRankConfig, ncclComm_t *, int, ncclUniqueId, int, ncclConfig_t *);
CALL(CommSplit, ncclComm_t, int, int, ncclComm_t *, ncclConfig_t *);
CALL(CommGetAsyncError, ncclComm_t, ncclResult_t *);
CALL(AllReduce, const void *, void *, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t);
CALL(ReduceScatter, const void *, void *, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t);
CALL(AllGather, const void *, void *, size_t, ncclDataType_t, ncclComm_t, cudaStream_t);
CALL(Broadcast, const void *, void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);
CALL(Send, const void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);
CALL(Recv, void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);
