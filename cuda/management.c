// NVIDIA's management library: the driver's version and free memory without starting anything on the card. It comes
// with the driver; without it the answers are left out.
#include <stdio.h>
#include <string.h>

#include "cuda/internal.h"

#ifdef DURE_CUDA_EMULATION

bool cuda_management_driver(char *text, size_t size) {
  (void)text, (void)size;
  return false;
}
bool cuda_management_free_memory(const struct cudaDeviceProp *properties, uint64_t *out_bytes) {
  (void)properties, (void)out_bytes;
  return false;
}

#else

#include "runtime/os.h"

typedef struct management_memory {
  unsigned long long total, available, used;
} management_memory;

static struct {
  bool is_tried, is_there;
  int (*driver_version)(char *text, unsigned size);
  int (*device_by_bus)(const char *bus, void **out_device);
  int (*memory)(void *device, management_memory *out_memory);
} library;

static void *symbol_of(void *handle, const char *name) { return dure_os_library_symbol(handle, name); }

static bool start(void) {
  if (library.is_tried) return library.is_there;
  library.is_tried = true;
  void *handle = dure_os_library_open("libnvidia-ml.so.1");
  if (handle == NULL) return false;
  int (*initialise)(void) = NULL;
  void *symbols[] = {symbol_of(handle, "nvmlInit_v2"), symbol_of(handle, "nvmlSystemGetDriverVersion"),
                     symbol_of(handle, "nvmlDeviceGetHandleByPciBusId_v2"),
                     symbol_of(handle, "nvmlDeviceGetMemoryInfo")};
  for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
    if (symbols[i] == NULL) return false;
  }
  memcpy(&initialise, &symbols[0], sizeof(initialise));
  memcpy(&library.driver_version, &symbols[1], sizeof(library.driver_version));
  memcpy(&library.device_by_bus, &symbols[2], sizeof(library.device_by_bus));
  memcpy(&library.memory, &symbols[3], sizeof(library.memory));
  library.is_there = initialise() == 0;
  return library.is_there;
}

bool cuda_management_driver(char *text, size_t size) {
  return start() && library.driver_version(text, (unsigned)size) == 0;
}

bool cuda_management_free_memory(const struct cudaDeviceProp *properties, uint64_t *out_bytes) {
  char bus[32];
  void *device = NULL;
  management_memory memory;
  snprintf(bus, sizeof(bus), "%08x:%02x:%02x.0", (unsigned)properties->pciDomainID, (unsigned)properties->pciBusID,
           (unsigned)properties->pciDeviceID);
  if (!start() || library.device_by_bus(bus, &device) != 0 || library.memory(device, &memory) != 0) return false;
  *out_bytes = memory.available;
  return true;
}

#endif
