// A CUDA plugin of another build, for tests/unit/cuda_plugin.c: DURE_TEST_DIFFERS says what is not as it should be.
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda_plugin.h"

const dure_cuda_plugin *dure_cuda_plugin_get(void);

// Nothing but the layout may be looked at.
const dure_cuda_plugin *dure_cuda_plugin_get(void) {
  static dure_cuda_plugin plugin;
  const char *differs = getenv("DURE_TEST_DIFFERS");
  plugin.layout = dure_cuda_layout_here();
  if (differs != NULL && strcmp(differs, "version") == 0) plugin.layout.abi++;
  if (differs != NULL && strcmp(differs, "ops") == 0) plugin.layout.op_count--;
  if (differs != NULL && strcmp(differs, "names") == 0) plugin.layout.op_names ^= 1;
  if (differs != NULL && strcmp(differs, "size") == 0) plugin.layout.call_bytes += 8;
  return &plugin;
}
