// Rates of devices that nobody has measured, by the shipped table.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "runtime/hal.h"
#include "runtime/os.h"

static const struct rates_row {
  const char *profile, *name;
  dure_device_kind kind;
  double matmul, matmul16, attention, bandwidth, transfer;  // GFLOP/s and GB/s
} rows[] = {
#define DURE_RATES(profile, name, kind, matmul, matmul16, attention, bandwidth, transfer) \
  {profile, name, kind, matmul, matmul16, attention, bandwidth, transfer},
#include "runtime/rates.def"
#undef DURE_RATES
};
enum { row_count = sizeof(rows) / sizeof(rows[0]) };

static const struct rates_row *find_row(const char *profile, const char *name, dure_device_kind kind) {
  for (size_t i = 0; i < row_count && profile != NULL && profile[0] != '\0'; i++) {
    if (strcmp(rows[i].profile, profile) == 0) return &rows[i];
  }
  for (size_t i = 0; i < row_count; i++) {
    if (rows[i].kind == kind && strstr(name, rows[i].name) != NULL) return &rows[i];
  }
  return &rows[row_count - 1];
}

static dure_device_rates rates_of(const struct rates_row *row) {
  const double cores = row->kind == DURE_DEVICE_CPU ? dure_os_core_count() : 1, giga = 1e9;
  dure_device_rates rates = {
      .matmul_flops = row->matmul * cores * giga,
      .matmul16_flops = row->matmul16 * cores * giga,
      .attention_flops = row->attention * cores * giga,
      .bandwidth = row->bandwidth * giga,
      .transfer = row->transfer * giga,
  };
  snprintf(rates.source, sizeof(rates.source), "the shipped table's %s%s",
           row->name[0] != '\0' ? row->name : "figures for an unknown device of its kind",
           row->name[0] != '\0' ? " row" : "");
  return rates;
}

dure_device_rates dure_device_rates_shipped(const char *profile, const char *name, dure_device_kind kind) {
  return rates_of(find_row(profile, name != NULL ? name : "", kind));
}

dure_status dure_device_rates_find(const char *name, dure_device_rates *out_rates) {
  memset(out_rates, 0, sizeof(*out_rates));
  char known[256] = "";
  for (size_t i = 0; i < row_count; i++) {
    if (rows[i].name[0] == '\0') continue;
    const char *profile = rows[i].profile[0] != '\0' ? rows[i].profile : rows[i].name;
    if (strcasecmp(name, profile) == 0 || strcasecmp(name, rows[i].name) == 0) {
      *out_rates = rates_of(&rows[i]);
      return NULL;
    }
    size_t used = strlen(known);
    snprintf(known + used, sizeof(known) - used, "%s%s", used > 0 ? ", " : "", profile);
  }
  return dure_fail(DURE_NOT_FOUND, "no rates of '%.60s' are shipped; there are those of %s", name, known);
}

dure_device_rates dure_device_info_rates(const dure_device_info *info) {
  if (info->rates.is_measured) return info->rates;
  return dure_device_rates_shipped(info->profile, info->name, info->kind);
}

dure_device_rates dure_device_get_rates(const dure_device *device) { return dure_device_info_rates(&device->info); }
