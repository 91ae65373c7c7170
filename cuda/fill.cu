// Recordings' fill with a repeated 32-bit word: 4 bytes written per element, nothing read.
#include "cuda/record.cuh"

namespace {

struct fill_arguments {
  uint32_t *target;
  uint64_t count;  // words
  uint32_t pattern;
};

__global__ void fill_kernel(fill_arguments a) {
  const uint64_t stride = (uint64_t)gridDim.x * blockDim.x;
  for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < a.count; i += stride) a.target[i] = a.pattern;
}

}  // namespace

extern "C" dure_status cuda_record_fill(dure_recording *recording, unsigned char *address, uint64_t size,
                                        uint32_t pattern) {
  enum { BLOCK = 256, MOST_BLOCKS = 2048 };
  const fill_arguments arguments = {reinterpret_cast<uint32_t *>(address), size / 4, pattern};
  dim3 grid = cuda_grid(arguments.count, BLOCK);
  if (grid.x > MOST_BLOCKS) grid.x = MOST_BLOCKS;
  return cuda_record(recording, fill_kernel, grid, BLOCK, 0, arguments);
}
