// cuBLASLt called directly, to stand beside the matmul op: square products of random values in bf16 in the layouts of
// forward and gradients (by rows: nn, nt, tn), and in fp8 (e4m3 in, bf16 out), as tables of gpu.sh.
//
//   dure_cublaslt_rate [SIZE [GROUPS]]     JSON like that of `dure bench ops --json`
//
// For each: the algorithm that the library's heuristic names first, and the fastest of the first eight; no restriction
// as to how sums are split, 32 MiB of workspace. Median of GROUPS groups of three calls between CUDA's events.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cuda/cublaslt.h"
#include "cuda/library.h"

extern "C" {
#include "runtime/dtype.h"
#include "runtime/os.h"
#include "runtime/random.h"
}

namespace {

enum { CALLS = 3, CANDIDATES = 8 };
const size_t WORKSPACE = 32 << 20;

lt_functions lt;
lt_handle handle;
cudaStream_t stream;
void *a, *b, *d, *workspace;
float *scales;
bool has_printed;

void stop_at(const char *what, int status) {
  std::fprintf(stderr, "%s failed with status %d\n", what, status);
  std::exit(1);
}
#define CUDA(call)                                   \
  do {                                               \
    const cudaError_t error = (call);                \
    if (error != cudaSuccess) stop_at(#call, error); \
  } while (0)
#define LT(call)                                             \
  do {                                                       \
    const lt_status status = (call);                         \
    if (status != LT_STATUS_SUCCESS) stop_at(#call, status); \
  } while (0)

bool find_library() {
  static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", nullptr};
  static const char *const patterns[] = {"%s/lib/python3*/*-packages/nvidia/cu*/lib/libcublasLt.so.1[23]",
                                         "%s/cuda/lib*/libcublasLt.so.1[23]", nullptr};
  void *const library = cuda_library_open("DURE_CUBLASLT", names, patterns);
  if (library == nullptr) return false;
  void *address;
#define CUBLASLT_FUNCTION(name, parameters)                    \
  address = dure_os_library_symbol(library, "cublasLt" #name); \
  if (address == nullptr) return false;                        \
  std::memcpy(&lt.name, &address, sizeof(address));
#include "cuda/cublaslt.def"
#undef CUBLASLT_FUNCTION
#ifdef DURE_CUDA_EMULATION
  void (*attach)(cudaError_t(*)(cudaStream_t, void (*)(void *), void *)) = nullptr;
  address = dure_os_library_symbol(library, "cublaslt_emulation_attach");
  if (address == nullptr) return false;
  std::memcpy(&attach, &address, sizeof(address));
  attach(cudaLaunchHostFunc);
#endif
  return true;
}

// Uniform values in (-1, 1), bf16 or (of both bytes an exponent below that of 2) e4m3; a first part, repeated.
void fill(void *target, size_t bytes, bool is_fp8) {
  enum { PART = 1 << 20 };
  std::vector<uint16_t> part(PART);
  for (uint32_t i = 0; i < PART; i++) {
    uint32_t words[4];
    dure_random_words(20261121, 0, 0, i / 4, words);
    part[i] = is_fp8 ? (uint16_t)(words[i % 4] & 0xb7b7u)
                     : dure_bf16_from_float((float)(int32_t)words[i % 4] / 2147483648.0f);
  }
  for (size_t done = 0; done < bytes; done += PART * sizeof(uint16_t)) {
    const size_t piece = std::min(bytes - done, PART * sizeof(uint16_t));
    CUDA(cudaMemcpyAsync(static_cast<char *>(target) + done, part.data(), piece, cudaMemcpyDefault, stream));
  }
  CUDA(cudaStreamSynchronize(stream));
}

struct product {
  lt_matmul_desc desc;
  lt_layout a, b, d;
};

// d = op(a) op(b) by rows: the library, which goes by columns, is asked for its transpose.
product describe(uint64_t n, bool transpose_a, bool transpose_b, bool is_fp8) {
  product p = {};
  const int type = is_fp8 ? LT_R_8F_E4M3 : LT_R_16BF;
  const int32_t first = transpose_b ? LT_OP_T : LT_OP_N, second = transpose_a ? LT_OP_T : LT_OP_N;
  LT(lt.MatmulDescCreate(&p.desc, LT_COMPUTE_32F, LT_R_32F));
  LT(lt.MatmulDescSetAttribute(p.desc, LT_MATMUL_DESC_TRANSA, &first, sizeof(first)));
  LT(lt.MatmulDescSetAttribute(p.desc, LT_MATMUL_DESC_TRANSB, &second, sizeof(second)));
  if (is_fp8) {
    const void *const scale = scales;
    LT(lt.MatmulDescSetAttribute(p.desc, LT_MATMUL_DESC_A_SCALE_POINTER, &scale, sizeof(scale)));
    LT(lt.MatmulDescSetAttribute(p.desc, LT_MATMUL_DESC_B_SCALE_POINTER, &scale, sizeof(scale)));
  }
  LT(lt.MatrixLayoutCreate(&p.a, type, n, n, (int64_t)n));
  LT(lt.MatrixLayoutCreate(&p.b, type, n, n, (int64_t)n));
  LT(lt.MatrixLayoutCreate(&p.d, LT_R_16BF, n, n, (int64_t)n));
  return p;
}

void multiply(const product &p, const lt_algorithm *algorithm) {
  const float alpha = 1, beta = 0;
  LT(lt.Matmul(handle, p.desc, &alpha, b, p.a, a, p.b, &beta, d, p.d, d, p.d, algorithm, workspace, WORKSPACE, stream));
}

// Seconds a call, sorted.
std::vector<double> measure(const product &p, const lt_algorithm *algorithm, int groups) {
  std::vector<double> seconds;
  cudaEvent_t begin, end;
  CUDA(cudaEventCreateWithFlags(&begin, cudaEventDefault));
  CUDA(cudaEventCreateWithFlags(&end, cudaEventDefault));
  multiply(p, algorithm);
  for (int group = 0; group < groups; group++) {
    CUDA(cudaEventRecord(begin, stream));
    for (int i = 0; i < CALLS; i++) multiply(p, algorithm);
    CUDA(cudaEventRecord(end, stream));
    CUDA(cudaEventSynchronize(end));
    float milliseconds = 0;
    CUDA(cudaEventElapsedTime(&milliseconds, begin, end));
    seconds.push_back((double)milliseconds * 1e-3 / CALLS);
  }
  CUDA(cudaEventDestroy(begin));
  CUDA(cudaEventDestroy(end));
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

void print(const char *name, uint64_t n, const char *how, const std::vector<double> &seconds) {
  const size_t count = seconds.size();
  const double median = seconds[count / 2];
  const double flops = 2.0 * (double)n * (double)n * (double)n;
  std::printf(
      "%s{\"call\": \"cuBLASLt %s %llu cubed%s\", \"median_seconds\": %.9g, \"lower_quartile_seconds\": %.9g, "
      "\"upper_quartile_seconds\": %.9g, \"flops_per_second\": %.9g, \"bytes_per_second\": 0}",
      has_printed ? ",\n" : "", name, (unsigned long long)n, how, median, seconds[count / 4], seconds[count * 3 / 4],
      flops / median);
  has_printed = true;
}

void run(const char *name, uint64_t n, bool transpose_a, bool transpose_b, bool is_fp8, int groups) {
  const product p = describe(n, transpose_a, transpose_b, is_fp8);
  lt_preference preference;
  lt_heuristic_result results[CANDIDATES] = {};
  const uint64_t most = WORKSPACE;
  int count = 0;
  LT(lt.MatmulPreferenceCreate(&preference));
  LT(lt.MatmulPreferenceSetAttribute(preference, LT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof(most)));
  const lt_status found =
      lt.MatmulAlgoGetHeuristic(handle, p.desc, p.a, p.b, p.d, p.d, preference, CANDIDATES, results, &count);
  if (found != LT_STATUS_SUCCESS || count == 0) {
    std::printf("%s{\"call\": \"cuBLASLt %s %llu cubed\", \"unsupported\": \"no algorithm (status %d)\"}",
                has_printed ? ",\n" : "", name, (unsigned long long)n, found);
    has_printed = true;
    return;
  }
  int fastest = 0;
  double least = 0;
  for (int i = 0; i < count; i++) {
    if (results[i].state != LT_STATUS_SUCCESS) continue;
    const double seconds = measure(p, &results[i].algorithm, 3)[1];
    if (least > 0 && seconds >= least) continue;
    least = seconds;
    fastest = i;
  }
  print(name, n, "", measure(p, &results[0].algorithm, groups));
  print(name, n, ", fastest of 8 algorithms", measure(p, &results[fastest].algorithm, groups));
  lt.MatmulPreferenceDestroy(preference);
  lt.MatrixLayoutDestroy(p.a);
  lt.MatrixLayoutDestroy(p.b);
  lt.MatrixLayoutDestroy(p.d);
  lt.MatmulDescDestroy(p.desc);
}

}  // namespace

int main(int argc, char **argv) {
  const uint64_t n = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 8192;
  const int groups = argc > 2 ? std::atoi(argv[2]) : 20;
  if (n == 0 || n % 16 != 0 || n > 65536 || groups < 1) {
    std::fprintf(stderr, "usage: %s [SIZE [GROUPS]]: a size that is a multiple of 16\n", argv[0]);
    return 2;
  }
  const size_t bytes = n * n * sizeof(uint16_t);
  struct cudaDeviceProp properties;
  CUDA(cudaSetDevice(0));
  CUDA(cudaGetDeviceProperties(&properties, 0));
  CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (void **address : {&a, &b, &d}) CUDA(cudaMalloc(address, bytes));
  CUDA(cudaMalloc(&workspace, WORKSPACE));
  CUDA(cudaMalloc(reinterpret_cast<void **>(&scales), 256));
  const float one = 1;
  CUDA(cudaMemcpyAsync(scales, &one, sizeof(one), cudaMemcpyDefault, stream));
  CUDA(cudaStreamSynchronize(stream));
  if (!find_library()) stop_at("finding libcublasLt.so.13 (or .12; DURE_CUBLASLT names it)", 0);
  LT(lt.Create(&handle));
  std::printf(
      "{\"device\": \"cuBLASLt called directly\", \"name\": \"%s\", \"clock\": \"device\", "
      "\"copy_bytes_per_second\": 0, \"matmul_flops_per_second\": 0, \"calls\": [\n",
      properties.name);
  fill(a, bytes, false);
  fill(b, bytes, false);
  run("bf16 nn", n, false, false, false, groups);
  run("bf16 nt", n, false, true, false, groups);
  run("bf16 tn", n, true, false, false, groups);
  fill(a, bytes / 2, true);
  fill(b, bytes / 2, true);
  if (10 * properties.major + properties.minor >= 89) run("fp8 nt", n, false, true, true, groups);
  std::printf("]}\n");
  return 0;
}
