// The emulation of CUDA must notice what a GPU would do wrong silently: each kernel here has one fault, and each of its
// twins without the fault must pass. Without this a green conformance run on the emulation would say little.
#include <cstdio>
#include <string>

#include "cuda/block.cuh"
#include "cuda/instructions.cuh"

static int failures;

struct arguments {
  float *x, *y;
  bool is_faulty;
};

// The fault's text, "" when the kernel ran to its end.
template <typename Kernel>
static std::string run(Kernel kernel, dim3 grid, dim3 block, size_t shared_bytes, const arguments &a) {
  struct call {
    Kernel kernel;
    const arguments *a;
  } context = {kernel, &a};
  const char *fault = nullptr;
  emulation_run(
      grid, block, shared_bytes,
      [](const void *bytes) {
        const call *c = static_cast<const call *>(bytes);
        c->kernel(*c->a);
      },
      &context, &fault);
  return fault == nullptr ? "" : fault;
}

template <typename Kernel>
static void expect_fault(const char *name, Kernel kernel, unsigned threads, size_t shared_bytes, const char *part) {
  static float x[4096], y[4096];
  for (int twin = 0; twin < 2; twin++) {
    const std::string fault = run(kernel, 2, threads, shared_bytes, {x, y, twin == 1});
    const bool is_right = twin == 0 ? fault.empty() : fault.find(part) != std::string::npos;
    if (is_right) continue;
    std::printf("FAIL  %s%s: '%s'\n", name, twin == 0 ? " (without its fault)" : "", fault.c_str());
    failures++;
  }
}

__global__ void barrier_not_reached(arguments a) {
  if (a.is_faulty && threadIdx.x >= 40) return;
  __syncthreads();
}
__global__ void barriers_cross(arguments a) {
  if (a.is_faulty && threadIdx.x < 32) {
    __syncwarp();
    if (threadIdx.x < 16) (void)__shfl_sync(0xffffffffu, 1, 0);
  }
  __syncthreads();
}
__global__ void lane_has_ended(arguments a) {
  if (a.is_faulty && threadIdx.x == 3) return;
  a.y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}
__global__ void lane_left_out(arguments a) {
  if (threadIdx.x < 16) a.y[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, a.is_faulty ? 20 : 3);
}
__global__ void beyond_shared(arguments a) {
  CUDA_DYNAMIC_SHARED(float, shared);
  shared[threadIdx.x + (a.is_faulty ? 1 : 0)] = 1;
}
__global__ void row_not_aligned(arguments a) {
  CUDA_DYNAMIC_SHARED(uint16_t, shared);
  uint32_t r[4];
  load_matrices(r, shared + threadIdx.x % 8 * 8 + (a.is_faulty ? 4 : 0));
}
__global__ void traps(arguments a) {
  if (a.is_faulty) __trap();
}

// ---- what shows in results ----

static void expect(const char *name, bool holds) {
  if (holds) return;
  std::printf("FAIL  %s\n", name);
  failures++;
}

__global__ void reads_shared_unwritten(arguments a) {
  CUDA_DYNAMIC_SHARED(float, shared);
  if (!a.is_faulty) shared[threadIdx.x] = 0;
  a.y[threadIdx.x] = shared[threadIdx.x];
}
__global__ void reads_copy_too_early(arguments a) {
  CUDA_DYNAMIC_SHARED(float, shared);
  copy_async(shared + 4 * threadIdx.x, a.x + 4 * threadIdx.x, true);
  copy_async_commit();
  if (!a.is_faulty) copy_async_wait<0>();
  a.y[threadIdx.x] = shared[4 * threadIdx.x];
}
// Without its barrier the result depends on which thread comes first.
__global__ void races(arguments a) {
  CUDA_DYNAMIC_SHARED(float, shared);
  shared[threadIdx.x] = 0;
  __syncthreads();
  shared[threadIdx.x] = (float)threadIdx.x;
  if (!a.is_faulty) __syncthreads();
  a.y[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}

static void expect_results() {
  alignas(16) static float x[256], y[256], again[256];
  for (int i = 0; i < 256; i++) x[i] = (float)i;
  for (int twin = 0; twin < 2; twin++) {
    const bool is_faulty = twin == 1;
    run(reads_shared_unwritten, 1, 32, 4 * 32, {x, y, is_faulty});
    expect("shared memory that nobody wrote is NaN", std::isnan(y[5]) == is_faulty);
    run(reads_copy_too_early, 1, 32, 16 * 32, {x, y, is_faulty});
    expect("an asynchronous copy is there only after it was waited for", (y[5] == 20) == !is_faulty);
    run(races, 1, 64, 4 * 64, {x, y, is_faulty});
    run(races, 1, 64, 4 * 64, {x, again, is_faulty});
    expect("a race gives other bits on the second run", (std::memcmp(y, again, 4 * 64) != 0) == is_faulty);
  }
}

int main() {
  expect_fault("barrier_not_reached", barrier_not_reached, 64, 0, "__syncthreads() after a thread");
  expect_fault("barriers_cross", barriers_cross, 64, 0, "wait for each other");
  expect_fault("lane_has_ended", lane_has_ended, 32, 0, "lane that has ended");
  expect_fault("lane_left_out", lane_left_out, 32, 0, "leaves out");
  expect_fault("beyond_shared", beyond_shared, 64, 4 * 64, "beyond the dynamic shared memory");
  expect_fault("row_not_aligned", row_not_aligned, 32, 256, "not aligned");
  expect_fault("traps", traps, 64, 0, "__trap()");
  expect_results();
  std::printf(failures == 0 ? "every fault was noticed\n" : "%d faults were not noticed\n", failures);
  return failures == 0 ? 0 : 1;
}
