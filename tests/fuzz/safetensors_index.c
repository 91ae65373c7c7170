// model.safetensors.index.json as an attacker writes it, beside three good shards (two of which have a name in common),
// a broken one and a link to nothing: every tensor of what opens must be readable.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char directory[64];
static const char *const shards[] = {"a", "b", "c", "broken"};

static void path_of(const char *name, char out_path[128]) { snprintf(out_path, 128, "%s/%s", directory, name); }

static void remove_all(void) {
  char path[128];
  for (size_t i = 0; i < sizeof(shards) / sizeof(shards[0]); i++) {
    path_of(shards[i], path);
    unlink(path);
  }
  path_of("link", path);
  unlink(path);
  path_of("model.safetensors.index.json", path);
  unlink(path);
  rmdir(directory);
}

static void write_shard(const char *name, const char *header) {
  char path[128];
  const uint64_t length = strlen(header);  // little-endian, as the machines that this is run on are
  path_of(name, path);
  FILE *file = fopen(path, "wb");
  if (file == NULL) return;
  fwrite(&length, sizeof(length), 1, file);
  fwrite(header, length, 1, file);
  fwrite("12345678", 8, 1, file);
  fclose(file);
}

// Makes the directory, in memory where the system has a place for that. The index's descriptor, -1 when that fails.
static int prepare(void) {
  strcpy(directory, access("/dev/shm", W_OK) == 0 ? "/dev/shm/fuzz_XXXXXX" : "/tmp/fuzz_XXXXXX");
  if (mkdtemp(directory) == NULL) return -1;
  atexit(remove_all);
  write_shard("a", "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}");
  write_shard("b",
              "{\"y\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[0,8]},\"__metadata__\":{\"k\":\"v\"}}");
  write_shard("c", "{\"x\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]}}");
  write_shard("broken", "{\"x\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}");
  char path[128];
  path_of("link", path);
  if (symlink("nothing", path) != 0) return -1;
  path_of("model.safetensors.index.json", path);
  return open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static int index = -2;
  if (index == -2) index = prepare();
  if (index < 0 || ftruncate(index, 0) != 0 || pwrite(index, data, size, 0) != (ssize_t)size) return 0;
  dure_safetensors *file = NULL;
  dure_status status = dure_safetensors_open(directory, &file);
  for (size_t i = 0; status == NULL && i < dure_safetensors_count(file); i++) {
    float values[4];
    const dure_safetensors_tensor *tensor = dure_safetensors_get(file, i);
    dure_status_free(dure_safetensors_read(tensor, 0, tensor->count < 4 ? tensor->count : 4, values));
  }
  if (status == NULL) dure_safetensors_metadata(file, "k");
  dure_safetensors_close(file);
  dure_status_free(status);
  return 0;
}
