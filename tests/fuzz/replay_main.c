// Runs a fuzz target over every file of the directories given, and over truncations and single-byte changes of each:
// a short, repeatable stand-in for the fuzzer where there is none.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { mutations_per_file = 400 };

// A small linear congruential step (Knuth): positions and values need only be varied and repeatable.
static uint32_t next_random(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}

static void run_mutated(const uint8_t *bytes, size_t size, uint32_t *state) {
  uint8_t *copy = malloc(size + 1);
  if (copy == NULL) return;
  for (int i = 0; i < mutations_per_file; i++) {
    memcpy(copy, bytes, size);
    size_t length = size;
    if (i % 4 == 0 && size > 0) length = next_random(state) % size;
    int changes = 1 + (int)(next_random(state) % 3);
    for (int c = 0; c < changes && length > 0; c++) copy[next_random(state) % length] = (uint8_t)next_random(state);
    LLVMFuzzerTestOneInput(copy, length);
  }
  free(copy);
}

int main(int argc, char **argv) {
  size_t files = 0;
  uint32_t state = 20240607;
  for (int a = 1; a < argc; a++) {
    char **names = NULL;
    size_t count = 0;
    dure_status status = dure_os_list(argv[a], &names, &count);
    for (size_t i = 0; status == NULL && i < count; i++) {
      char *path = dure_os_path_join(argv[a], names[i]), *bytes = NULL;
      size_t size = 0;
      status = dure_os_read_file(path, 1u << 26, &bytes, &size);
      if (status == NULL) {
        LLVMFuzzerTestOneInput((const uint8_t *)bytes, size);
        run_mutated((const uint8_t *)bytes, size, &state);
        files++;
      }
      free(bytes);
      free(path);
    }
    dure_os_names_free(names, count);
    if (status != NULL) {
      fprintf(stderr, "%s\n", dure_status_message(status));
      dure_status_free(status);
      return 1;
    }
  }
  printf("%zu seeds and %zu changed copies ran clean\n", files, files * mutations_per_file);
  return files > 0 ? 0 : 1;
}
