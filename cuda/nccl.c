#include "cuda/nccl.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cuda/library.h"
#include "runtime/os.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool is_open;
static nc_functions functions;

// NULL, or the name of a symbol that the library lacks.
static const char *find_functions(void *library) {
  void *address;
#define NCCL_FUNCTION(result, name, parameters)            \
  address = dure_os_library_symbol(library, "nccl" #name); \
  if (address == NULL) return "nccl" #name;                \
  memcpy(&functions.name, &address, sizeof(address));
#include "cuda/nccl.def"
#undef NCCL_FUNCTION
#ifdef DURE_CUDA_EMULATION  // the library in the place of NVIDIA's runs on the emulation's streams
  void (*attach)(cudaError_t(*)(cudaStream_t, void (*)(void *), void *)) = NULL;
  address = dure_os_library_symbol(library, "nccl_emulation_attach");
  if (address == NULL) return "nccl_emulation_attach";
  memcpy(&attach, &address, sizeof(address));
  attach(cudaLaunchHostFunc);
#endif
  return NULL;
}

static dure_status open_library(void) {
  static const char *const names[] = {"libnccl.so.2", NULL};
  static const char *const patterns[] = {"%s/lib/python3*/site-packages/nvidia/nccl/lib/libnccl.so.2",
                                         "%s/lib/python3*/dist-packages/nvidia/nccl/lib/libnccl.so.2",
                                         "%s/cuda/lib*/libnccl.so.2", NULL};
  void *library = cuda_library_open("DURE_NCCL", names, patterns);
  if (library == NULL) {
    return dure_fail(DURE_UNSUPPORTED,
                     "NCCL (libnccl.so.2) was not found: %s; NVIDIA's repositories have the package libnccl2, PyPI has "
                     "nvidia-nccl-cu13, and DURE_NCCL names the library's path",
                     dure_os_library_error());
  }
  const char *missing = find_functions(library);
  if (missing != NULL) {
    dure_os_library_close(library);
    return dure_fail(DURE_UNSUPPORTED, "the NCCL that was found lacks %s: version 2.18 or newer is needed", missing);
  }
  is_open = true;
  return NULL;
}

dure_status cuda_nccl_get(const nc_functions **out_functions) {
  *out_functions = NULL;
  pthread_mutex_lock(&mutex);
  dure_status status = is_open ? NULL : open_library();
  pthread_mutex_unlock(&mutex);
  if (status == NULL) *out_functions = &functions;
  return status;
}
