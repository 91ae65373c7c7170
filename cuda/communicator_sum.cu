#include "cuda/record.cuh"

#include "cuda/communicator.h"
#include "cuda/kernels/sum_shares.cuh"

enum { BLOCK = 256, RUN = 8 };  // threads; elements of 16 bytes

template <typename T, int N>
static dure_status launch(cuda_device *device, cudaStream_t stream, const cuda_shares *s, uint64_t begin,
                          uint64_t count) {
  if (count == 0) return NULL;
  const sum_shares_arguments arguments = {static_cast<const T *>(s->own) + begin,
                                          static_cast<const T *>(s->others) + begin,
                                          static_cast<T *>(s->target) + begin,
                                          s->stride,
                                          count,
                                          s->rank,
                                          s->size};
  const cuda_launch_record<sum_shares_arguments> launch = {sum_shares_kernel<T, N>, cuda_grid(count / N, BLOCK),
                                                           dim3(BLOCK), 0, arguments};
  return cuda_enqueue_launch<sum_shares_arguments>(device, stream, &launch);
}

template <typename T>
static dure_status sum(cuda_device *device, cudaStream_t stream, const cuda_shares *s) {
  const uintptr_t bits = reinterpret_cast<uintptr_t>(s->own) | reinterpret_cast<uintptr_t>(s->others) |
                         reinterpret_cast<uintptr_t>(s->target) | (uintptr_t)(s->stride * sizeof(T));
  const uint64_t whole = bits % (RUN * sizeof(T)) == 0 ? s->count / RUN * RUN : 0;
  DURE_TRY((launch<T, RUN>(device, stream, s, 0, whole)));
  return launch<T, 1>(device, stream, s, whole, s->count - whole);
}

dure_status cuda_shares_sum(cuda_device *device, cudaStream_t stream, const cuda_shares *shares) {
  switch (shares->dtype) {
    case DURE_DTYPE_BF16: return sum<bfloat16>(device, stream, shares);
    case DURE_DTYPE_F16: return sum<float16>(device, stream, shares);
    default: return dure_fail(DURE_INTERNAL, "shares of %s are not summed here", dure_dtype_name(shares->dtype));
  }
}
