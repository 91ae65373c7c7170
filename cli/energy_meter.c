#include "cli/energy_meter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

enum { CARDS_MOST = 16, NAME_LENGTH = 96 };

// The few functions of NVIDIA's management library that are used; all return 0 when they succeed.
typedef struct management_library {
  void *library;
  int (*init)(void), (*shutdown)(void);
  int (*count)(unsigned int *out_count);
  int (*handle)(unsigned int index, void **out_device);
  int (*name)(void *device, char *out_name, unsigned int length);
  int (*energy)(void *device, unsigned long long *out_millijoules);
  int (*power)(void *device, unsigned int *out_milliwatts);
  int (*temperature)(void *device, int sensor, unsigned int *out_celsius);
} management_library;

struct energy_meter {
  management_library nvidia;  // library NULL: by files
  void *device;
  char *folder;  // /sys/class/drm/cardN/device/hwmon/hwmonM
};

// ---- NVIDIA's management library -----------------------------------------------------------------------------------

static bool load_management(management_library *out_nvidia) {
  *out_nvidia = (management_library){.library = dure_os_library_open("libnvidia-ml.so.1")};
  management_library *n = out_nvidia;
  if (n->library == NULL) return false;
  const struct {
    const char *name;
    void *target;
  } symbols[] = {{"nvmlInit_v2", &n->init},
                 {"nvmlShutdown", &n->shutdown},
                 {"nvmlDeviceGetCount_v2", &n->count},
                 {"nvmlDeviceGetHandleByIndex_v2", &n->handle},
                 {"nvmlDeviceGetName", &n->name},
                 {"nvmlDeviceGetTotalEnergyConsumption", &n->energy},
                 {"nvmlDeviceGetPowerUsage", &n->power},
                 {"nvmlDeviceGetTemperature", &n->temperature}};
  bool is_whole = true;
  for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
    void *symbol = dure_os_library_symbol(n->library, symbols[i].name);
    memcpy(symbols[i].target, &symbol, sizeof(symbol));  // an object pointer to a function's, as POSIX has it
    is_whole = is_whole && symbol != NULL;
  }
  if (is_whole && n->init() == 0) return true;
  dure_os_library_close(n->library);
  n->library = NULL;
  return false;
}

// The first card of that name: of several alike any stands for the others.
static bool find_nvidia(energy_meter *meter, const char *name) {
  management_library *n = &meter->nvidia;
  unsigned int count = 0;
  if (!load_management(n)) return false;
  if (n->count(&count) != 0) count = 0;
  for (unsigned int i = 0; i < count; i++) {
    char found[NAME_LENGTH] = "";
    if (n->handle(i, &meter->device) != 0 || n->name(meter->device, found, sizeof(found)) != 0) continue;
    if (strstr(name, found) != NULL || strstr(found, name) != NULL) return true;
  }
  n->shutdown();
  dure_os_library_close(n->library);
  n->library = NULL;
  return false;
}

static energy_reading read_nvidia(const energy_meter *meter) {
  const management_library *n = &meter->nvidia;
  energy_reading reading = {(double)NAN, (double)NAN, (double)NAN};
  unsigned long long millijoules = 0;
  unsigned int milliwatts = 0, celsius = 0;
  if (n->energy(meter->device, &millijoules) == 0) reading.joules = (double)millijoules / 1e3;
  if (n->power(meter->device, &milliwatts) == 0) reading.watts = milliwatts / 1e3;
  if (n->temperature(meter->device, 0, &celsius) == 0) reading.celsius = celsius;
  return reading;
}

// ---- hwmon files ---------------------------------------------------------------------------------------------------

// A file of one number; NaN: there is none.
static double read_number(const char *folder, const char *name) {
  char *path = dure_os_path_join(folder, name), *text = NULL;
  size_t length = 0;
  double value = (double)NAN;
  dure_status status = path != NULL ? dure_os_read_file(path, 64, &text, &length) : NULL;
  if (status == NULL && text != NULL) {
    char *end = NULL;
    const double number = strtod(text, &end);
    if (end != text) value = number;
  }
  dure_status_free(status);
  free(text);
  free(path);
  return value;
}

// The only card with a sensor, where there is one: the files do not say which device of Vulkan they are of.
static char *find_folder(void) {
  char *found = NULL;
  for (int card = 0; card < CARDS_MOST; card++) {
    char folder[NAME_LENGTH];
    snprintf(folder, sizeof(folder), "/sys/class/drm/card%d/device/hwmon", card);
    char **names = NULL;
    size_t count = 0;
    if (!dure_os_is_directory(folder)) continue;
    dure_status status = dure_os_list(folder, &names, &count);
    const bool has_sensor = status == NULL && count > 0;
    if (has_sensor && found != NULL) {
      dure_os_names_free(names, count);
      free(found);
      return NULL;
    }
    if (has_sensor) found = dure_os_path_join(folder, names[0]);
    if (status == NULL) dure_os_names_free(names, count);
    dure_status_free(status);
  }
  return found;
}

static energy_reading read_files(const energy_meter *meter) {
  const double average = read_number(meter->folder, "power1_average");
  return (energy_reading){
      .joules = read_number(meter->folder, "energy1_input") / 1e6,
      .watts = (isnan(average) ? read_number(meter->folder, "power1_input") : average) / 1e6,
      .celsius = read_number(meter->folder, "temp1_input") / 1e3,
  };
}

// ---- either --------------------------------------------------------------------------------------------------------

energy_meter *energy_meter_open(const dure_device_info *info) {
  if (info->kind == DURE_DEVICE_CPU || info->kind == DURE_DEVICE_REFERENCE) return NULL;
  energy_meter *meter = calloc(1, sizeof(*meter));
  if (meter == NULL || find_nvidia(meter, info->name)) return meter;
  meter->folder = find_folder();
  if (meter->folder != NULL) return meter;
  free(meter);
  return NULL;
}

void energy_meter_close(energy_meter *meter) {
  if (meter == NULL) return;
  if (meter->nvidia.library != NULL) {
    meter->nvidia.shutdown();
    dure_os_library_close(meter->nvidia.library);
  }
  free(meter->folder);
  free(meter);
}

energy_reading energy_meter_read(energy_meter *meter) {
  return meter->nvidia.library != NULL ? read_nvidia(meter) : read_files(meter);
}
