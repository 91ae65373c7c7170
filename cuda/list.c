#include "cuda/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/internal.h"
#include "runtime/os.h"

bool cuda_switch_is_on(const char *name, bool otherwise) {
  const char *value = getenv(name);
  if (value == NULL || value[0] == '\0') return otherwise;
  return strcmp(value, "0") != 0;
}

// ---- one device ----

static const dure_device_feature features[] = {
    {"matrix_units", "matrix units: bf16 and f16 products, f32 sums", "DURE_CUDA_MATRIX_UNITS", DURE_FEATURE_MISSING},
    {"wgmma", "products of four warps together and bulk tensor copies", "DURE_CUDA_WGMMA", DURE_FEATURE_MISSING},
    {"graphs", "recordings as CUDA graphs", "DURE_CUDA_GRAPHS", DURE_FEATURE_MISSING},
    {"cublaslt", "matmul by NVIDIA's library", "DURE_CUDA_CUBLASLT", DURE_FEATURE_MISSING},
    {"nccl", "collectives of several GPUs by NVIDIA's library", "DURE_CUDA_NCCL", DURE_FEATURE_MISSING},
};
enum { MATRIX_UNITS, WGMMA, GRAPHS, CUBLASLT, NCCL, FEATURE_COUNT };

// Enters what the device could do and what the switches leave of it; whether it is used.
static bool choose(dure_device_info *info, int feature, bool is_possible) {
  dure_device_feature *row = &info->features[feature];
  *row = features[feature];
  if (is_possible)
    row->state = cuda_switch_is_on(row->environment, true) ? DURE_FEATURE_ENABLED : DURE_FEATURE_DISABLED;
  return row->state == DURE_FEATURE_ENABLED;
}

static void choose_features(dure_device_info *info, dure_cuda_caps *caps) {
  info->feature_count = FEATURE_COUNT;
  caps->uses_matrix_units = choose(info, MATRIX_UNITS, caps->compute_capability >= 75);
  caps->uses_wide_matrix_units = choose(info, WGMMA, caps->compute_capability == 90);
  caps->uses_graphs = choose(info, GRAPHS, true);
  caps->uses_cublaslt = choose(info, CUBLASLT, !caps->is_emulated || getenv("DURE_CUBLASLT") != NULL);
  caps->uses_nccl = choose(info, NCCL, !caps->is_emulated || getenv("DURE_NCCL") != NULL);
}

static int attribute(int ordinal, enum cudaDeviceAttr which) {
  int value = 0;
  if (cudaDeviceGetAttribute(&value, which, ordinal) != cudaSuccess) (void)cudaGetLastError();
  return value;
}

// A multiprocessor has 128 lanes of f32 on most cards, 64 on the others; matrix units do sixteen times as much and
// more. So a dispatch of 0.1 s of the lanes' peak ends within 0.2 s whatever does it.
static void choose_limits(int ordinal, const struct cudaDeviceProp *properties, bool is_emulated, dure_limits *limits) {
  const double clock = 1e3 * attribute(ordinal, cudaDevAttrClockRate);
  const double flops = 2.0 * 64 * properties->multiProcessorCount * (clock > 0 ? clock : 1e9);
  const double memory_clock = 1e3 * attribute(ordinal, cudaDevAttrMemoryClockRate);
  const double bandwidth = 2 * memory_clock * attribute(ordinal, cudaDevAttrGlobalMemoryBusWidth) / 8;
  *limits = (dure_limits){.max_binding_bytes = UINT64_MAX,
                          .max_allocation_bytes = properties->totalGlobalMem,
                          .offset_alignment = 256,
                          .max_dispatch_flops = is_emulated ? 3e9 : 0.2 * flops,
                          .max_recording_flops = is_emulated ? 3e9 : 0.4 * flops,
                          .max_recording_bytes = is_emulated        ? 1.5e9
                                                 : bandwidth > 4e10 ? 0.2 * bandwidth
                                                                    : 8e9,
                          .max_loop_iterations = UINT64_MAX};
}

static void describe_driver(char *text, size_t size) {
  int driver = 0, runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || cudaRuntimeGetVersion(&runtime) != cudaSuccess)
    (void)cudaGetLastError();
  char version[64];
  if (!cuda_management_driver(version, sizeof(version))) snprintf(version, sizeof(version), "driver");
  snprintf(text, size, "NVIDIA %s, CUDA %d.%d (plugin: %d.%d)", version, driver / 1000, driver % 1000 / 10,
           runtime / 1000, runtime % 1000 / 10);
}

static void describe_choices(const struct cudaDeviceProp *properties, const dure_cuda_caps *caps,
                             dure_device_info *info) {
  if (caps->compute_capability < 75) {
    info->usable = false;
    snprintf(info->reason, sizeof(info->reason),
             "compute capability %d.%d: there are kernels for 7.5 (Turing) and later; through Vulkan the card works",
             properties->major, properties->minor);
    return;
  }
  info->usable = true;
  snprintf(info->reason, sizeof(info->reason),
           "compute capability %d.%d, %u multiprocessors, %u KiB shared memory a block, %.0f MiB L2\n"
           "matmul: %s; attention: %s\nrecordings: %s",
           properties->major, properties->minor, caps->multiprocessor_count, caps->shared_bytes / 1024,
           (double)caps->l2_bytes / 1048576.0,
           caps->uses_cublaslt       ? "cuBLASLt where it is found, else our own kernels"
           : caps->uses_matrix_units ? "our own kernels on matrix units"
                                     : "our own kernels",
           caps->uses_wide_matrix_units                                ? "wgmma"
           : caps->uses_matrix_units && caps->compute_capability >= 80 ? "mma"
                                                                       : "without matrix units",
           caps->uses_graphs ? "CUDA graphs" : "command by command");
}

dure_status cuda_describe(int ordinal, dure_device_info *info, dure_cuda_caps *caps) {
  memset(info, 0, sizeof(*info));
  memset(caps, 0, sizeof(*caps));
  struct cudaDeviceProp properties;
  DURE_TRY(cuda_check(NULL, cudaGetDeviceProperties(&properties, ordinal), "describing a device"));
#ifdef DURE_CUDA_EMULATION
  caps->is_emulated = true;
#endif
  caps->compute_capability = (uint32_t)(10 * properties.major + properties.minor);
  caps->multiprocessor_count = (uint32_t)properties.multiProcessorCount;
  caps->shared_bytes = (uint32_t)properties.sharedMemPerBlockOptin;
  caps->l2_bytes = (uint64_t)properties.l2CacheSize;
  snprintf(info->identifier, sizeof(info->identifier), "cuda:%d", ordinal);
  snprintf(info->backend, sizeof(info->backend), "cuda");
  snprintf(info->name, sizeof(info->name), "%s", properties.name);
  info->kind = caps->is_emulated       ? DURE_DEVICE_CPU
               : properties.integrated ? DURE_DEVICE_INTEGRATED_GPU
                                       : DURE_DEVICE_DISCRETE_GPU;
  info->memory_bytes = info->memory_budget_bytes = properties.totalGlobalMem;
  if (caps->is_emulated) {
    snprintf(info->driver, sizeof(info->driver), "dure %s, kernels for CUDA run by this machine's cores", DURE_VERSION);
    info->memory_budget_bytes = dure_os_memory_available() / 5 * 4;
  } else {
    describe_driver(info->driver, sizeof(info->driver));
    (void)cuda_management_free_memory(&properties, &info->memory_budget_bytes);
  }
  choose_limits(ordinal, &properties, caps->is_emulated, &info->limits);
  choose_features(info, caps);
  describe_choices(&properties, caps, info);
  return NULL;
}

// ---- what is missing ----

// The note for a machine whose driver does not answer; released with free().
static char *explain(cudaError_t error) {
  char text[512];
  int driver = 0, runtime = 0;
  void *library = NULL;
  switch ((int)error) {
    case cudaErrorInsufficientDriver:
      library = dure_os_library_open("libcuda.so.1");
      (void)cudaDriverGetVersion(&driver);
      (void)cudaRuntimeGetVersion(&runtime);
      if (library == NULL) {
        snprintf(text, sizeof(text),
                 "no CUDA: NVIDIA's driver (libcuda.so.1) is not installed; on Debian: apt install nvidia-driver "
                 "libcuda1 (section non-free), in a container: run it with the host's driver");
      } else {
        snprintf(text, sizeof(text),
                 "no CUDA: NVIDIA's driver knows CUDA %d.%d, the plugin needs %d.%d; install a newer driver, or build "
                 "with an older CUDA",
                 driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
      }
      dure_os_library_close(library);
      break;
    case cudaErrorNoDevice:
      snprintf(text, sizeof(text),
               "no CUDA: NVIDIA's driver is there, but offers no GPU (CUDA_VISIBLE_DEVICES is %s; nvidia-smi shows "
               "what the driver sees)",
               getenv("CUDA_VISIBLE_DEVICES") != NULL ? getenv("CUDA_VISIBLE_DEVICES") : "not set");
      break;
    default: {
      dure_status status = cuda_check(NULL, error, "starting CUDA");
      snprintf(text, sizeof(text), "no CUDA: %s", dure_status_message(status));
      dure_status_free(status);
    }
  }
  (void)cudaGetLastError();
  return strdup(text);
}

dure_status cuda_list(dure_device_info **infos, size_t *count, char **out_note) {
  *out_note = NULL;
  int found = 0;
  const cudaError_t error = cudaGetDeviceCount(&found);
  if (error != cudaSuccess || found <= 0) {
    *out_note = explain(error != cudaSuccess ? error : cudaErrorNoDevice);
    return NULL;
  }
  dure_device_info *grown = realloc(*infos, (*count + (size_t)found) * sizeof(*grown));
  if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to list the CUDA devices");
  *infos = grown;
  for (int i = 0; i < found; i++) {
    dure_cuda_caps caps;
    DURE_TRY(cuda_describe(i, &grown[*count], &caps));
    (*count)++;
  }
  return NULL;
}
