// config.json as an attacker writes it.
#include <stdint.h>

#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  dure_model_config config;
  dure_status status = dure_model_config_parse("config.json", (const char *)data, size, &config);
  if (status == NULL) dure_model_config_clear(&config);
  dure_status_free(status);
  return 0;
}
