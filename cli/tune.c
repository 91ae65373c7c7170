// dure tune: finds the fastest kernel variants of a device and measures its rates, for later runs.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "runtime/os.h"
#include "runtime/tune.h"

typedef struct tune_report {
  json_t *rows;  // NULL: a table is printed
  size_t changed, count;
} tune_report;

static void receive(void *context, const dure_tune_result *result) {
  tune_report *report = context;
  report->count = result->count;
  progress_show("%zu/%zu  %s", result->index + 1, result->count, result->shape);
  if (report->rows != NULL) {
    json_array_append_new(
        report->rows, json_pack("{s:s, s:s?, s:f, s:f}", "shape", result->shape, "variant", result->chosen, "seconds",
                                result->seconds, "usual_seconds", result->usual_seconds));
  }
  if (result->chosen == NULL) return;
  progress_clear();
  if (report->rows == NULL) {
    printf("%-40s %-28s %9.3f ms, usually %9.3f ms (%.2f x)\n", result->shape, result->chosen, result->seconds * 1e3,
           result->usual_seconds * 1e3, result->usual_seconds / result->seconds);
    fflush(stdout);
  }
  report->changed++;
}

static void print_summary(const dure_device *device, const tune_report *report, const char *path) {
  const dure_device_rates rates = dure_device_get_rates(device);
  printf("%zu of %zu classes of shapes have a faster variant than the shipped table's\n", report->changed,
         report->count);
  printf("rates: matmul %.4g GFLOP/s, 16-bit %.4g, attention %.4g; memory %.4g GB/s, transfers %.4g (%s)\n",
         rates.matmul_flops * 1e-9, rates.matmul16_flops * 1e-9, rates.attention_flops * 1e-9, rates.bandwidth * 1e-9,
         rates.transfer * 1e-9, rates.source);
  if (path != NULL) printf("kept in %s\n", path);
  if (path == NULL) printf("not kept: there is no cache folder (XDG_CACHE_HOME or HOME)\n");
}

static dure_status print_json(const dure_device *device, tune_report *report, const char *path) {
  const dure_device_rates rates = dure_device_get_rates(device);
  json_t *rows = report->rows;
  report->rows = NULL;
  return output_json(json_pack(
      "{s:s, s:s?, s:o, s:{s:f, s:f, s:f, s:f, s:f}}", "device", dure_device_get_info(device)->identifier, "path", path,
      "shapes", rows, "rates", "matmul_flops", rates.matmul_flops, "matmul16_flops", rates.matmul16_flops,
      "attention_flops", rates.attention_flops, "bandwidth", rates.bandwidth, "transfer", rates.transfer));
}

static dure_status tune(const char *identifier, bool as_json) {
  dure_device *device = NULL;
  char *path = NULL;
  tune_report report = {.rows = as_json ? json_array() : NULL};
  dure_status status = dure_device_open(identifier, &device);
  if (status == NULL) {
    const dure_device_info *info = dure_device_get_info(device);
    if (!as_json) printf("%s  %s  (%s)\n", info->identifier, info->name, info->driver);
    status = dure_device_tune(device, receive, &report, &path);
    progress_clear();
  }
  if (status == NULL && as_json)
    status = print_json(device, &report, path);
  else if (status == NULL)
    print_summary(device, &report, path);
  json_decref(report.rows);
  free(path);
  dure_device_close(device);
  return status;
}

int command_tune(int argc, char **argv) {
  const char *device = NULL;
  bool as_json = false;
  const option_row options[] = {
      {"device", OPTION_TEXT, &device, "D", "auto, vulkan, vulkan:N, cuda:N or reference (default: auto)"},
      {"json", OPTION_FLAG, &as_json, NULL, "the measurements as one JSON object"},
  };
  const command_usage usage = {
      .synopsis = "dure tune [--device D] [--json]",
      .description =
          "Times every kernel for matmul and attention that the device can run on typical shapes, and what it achieves "
          "at\n"
          "best. Faster choices than the shipped ones are kept in the cache folder for this device and driver\n"
          "version, and used from then on; 'dure plan' estimates with the measured rates. DURE_VULKAN_TUNING=0\n"
          "ignores them. Takes a minute or two; nothing else should run meanwhile.",
      .options = options,
      .option_count = sizeof(options) / sizeof(options[0]),
      .example = "dure tune --device vulkan:0",
  };
  int exit_status = command_parse(&usage, argc, argv, NULL, NULL);
  if (exit_status >= 0) return exit_status;
  dure_os_catch_interrupts();
  return command_finish("tune", tune(device, as_json));
}
