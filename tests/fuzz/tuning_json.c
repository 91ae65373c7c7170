// The file of `dure tune` as somebody else writes it: refused, or read and written to the same choices again.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/vulkan/tuning.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  vulkan_tuning tuning, again;
  char *text = NULL;
  dure_status status = vulkan_tuning_parse((const char *)data, size, &tuning);
  if (status == NULL) status = vulkan_tuning_format(&tuning, "device", "driver", &text);
  if (status == NULL) {
    dure_status second = vulkan_tuning_parse(text, strlen(text), &again);
    if (second != NULL || again.count != tuning.count) abort();
    for (size_t i = 0; i < tuning.count; i++) {
      const char *variant = vulkan_tuning_find(&again, tuning.rows[i].shape_class);
      if (variant == NULL || strcmp(variant, tuning.rows[i].variant) != 0) abort();
    }
    vulkan_tuning_release(&again);
    vulkan_tuning_release(&tuning);
  }
  free(text);
  dure_status_free(status);
  return 0;
}
