#include "data/scratch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "runtime/os.h"

enum { PATH_SIZE = 4096, NAME_SIZE = 64, END_BYTES = 4096, DEPTH_LIMIT = 128 };

static const uint64_t POLL = 20000000;  // nanoseconds

struct dure_scratch {
  char directory[PATH_SIZE];
  uint64_t key;
  dure_ranks ranks;
  int lock;
  bool is_resumed;
};

static void path_of(const dure_scratch *scratch, const char *name, char out_path[PATH_SIZE + NAME_SIZE]) {
  snprintf(out_path, PATH_SIZE + NAME_SIZE, "%s/%s", scratch->directory, name);
}

bool dure_scratch_has(const dure_scratch *scratch, const char *name) {
  char path[PATH_SIZE + NAME_SIZE];
  path_of(scratch, name, path);
  return dure_os_is_file(path);
}

dure_status dure_scratch_save(const dure_scratch *scratch, const char *name, const uint64_t *numbers, size_t count) {
  char path[PATH_SIZE + NAME_SIZE];
  path_of(scratch, name, path);
  return dure_os_write_file(path, numbers, count * sizeof(*numbers));
}

dure_status dure_scratch_load(const dure_scratch *scratch, const char *name, uint64_t *out_numbers, size_t count) {
  memset(out_numbers, 0, count * sizeof(*out_numbers));
  if (!dure_scratch_has(scratch, name)) return NULL;
  char path[PATH_SIZE + NAME_SIZE], *bytes = NULL;
  size_t size = 0;
  path_of(scratch, name, path);
  DURE_TRY(dure_os_read_file(path, 1 << 20, &bytes, &size));
  if (size == count * sizeof(*out_numbers)) memcpy(out_numbers, bytes, size);
  free(bytes);
  return NULL;
}

dure_status dure_scratch_mark(dure_scratch *scratch, const char *name) {
  return dure_scratch_save(scratch, name, &scratch->key, 1);
}

static void name_of_rank(const char *name, uint32_t rank, char out_name[NAME_SIZE]) {
  snprintf(out_name, NAME_SIZE, "%s-%u", name, rank);
}

bool dure_scratch_has_own(const dure_scratch *scratch, const char *name) {
  char own[NAME_SIZE];
  name_of_rank(name, scratch->ranks.rank, own);
  return dure_scratch_has(scratch, own);
}

dure_status dure_scratch_mark_own(dure_scratch *scratch, const char *name) {
  char own[NAME_SIZE];
  name_of_rank(name, scratch->ranks.rank, own);
  return dure_scratch_mark(scratch, own);
}

dure_status dure_scratch_wait(const dure_scratch *scratch, const char *name) {
  while (!dure_scratch_has(scratch, name)) {
    // Rank 0 removes the directory when everything is done, perhaps before this rank has seen the last mark.
    if (scratch->ranks.rank > 0 && !dure_scratch_has(scratch, "key")) return NULL;
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "stopped while waiting for the other ranks");
    dure_os_sleep(POLL);
  }
  return NULL;
}

dure_status dure_scratch_wait_all(const dure_scratch *scratch, const char *name) {
  for (uint32_t rank = 0; rank < scratch->ranks.count; rank++) {
    char own[NAME_SIZE];
    name_of_rank(name, rank, own);
    DURE_TRY(dure_scratch_wait(scratch, own));
  }
  return NULL;
}

// ---- opening ----

static bool has_key(const dure_scratch *scratch) {
  uint64_t key = 0;
  dure_status status = dure_scratch_load(scratch, "key", &key, 1);
  const bool is_read = status == NULL && dure_scratch_has(scratch, "key");
  dure_status_free(status);
  return is_read && key == scratch->key;
}

// What is there may be emptied: nothing, or a directory that such work made.
static dure_status empty(const dure_scratch *scratch) {
  char **names = NULL;
  size_t count = 0;
  DURE_TRY(dure_os_list(scratch->directory, &names, &count));
  dure_status status = NULL;
  if (count > 0 && !dure_scratch_has(scratch, "key")) {
    status = dure_fail(DURE_INVALID_ARGUMENT, "'%s' holds other files; name another directory for the work in progress",
                       scratch->directory);
  }
  // The key goes last: until then the directory is known for what it is.
  for (int pass = 0; pass < 2; pass++) {
    for (size_t i = 0; i < count && status == NULL; i++) {
      if ((strcmp(names[i], "key") == 0) != (pass == 1)) continue;
      char path[PATH_SIZE + NAME_SIZE];
      path_of(scratch, names[i], path);
      status = dure_os_remove_tree(path);
    }
  }
  dure_os_names_free(names, count);
  return status;
}

static dure_status prepare(dure_scratch *scratch) {
  if (scratch->ranks.rank > 0) {
    while (!has_key(scratch)) {
      if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "stopped while waiting for rank 0");
      dure_os_sleep(POLL);
    }
    return NULL;
  }
  if (dure_os_is_file(scratch->directory)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s' is a file; work in progress needs a directory", scratch->directory);
  }
  DURE_TRY(dure_os_make_directories(scratch->directory));
  DURE_TRY(dure_os_lock_directory(scratch->directory, &scratch->lock));
  scratch->is_resumed = has_key(scratch);
  if (scratch->is_resumed) return NULL;
  DURE_TRY(empty(scratch));
  return dure_scratch_save(scratch, "key", &scratch->key, 1);
}

dure_status dure_scratch_open(const char *directory, uint64_t key, dure_ranks ranks, dure_scratch **out_scratch) {
  *out_scratch = NULL;
  if (strlen(directory) >= PATH_SIZE) return dure_fail(DURE_INVALID_ARGUMENT, "path too long: '%s'", directory);
  dure_scratch *scratch = calloc(1, sizeof(*scratch));
  if (scratch == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for '%s'", directory);
  *scratch = (dure_scratch){.key = key, .ranks = ranks, .lock = -1};
  snprintf(scratch->directory, sizeof(scratch->directory), "%s", directory);
  dure_status status = prepare(scratch);
  if (status != NULL) {
    dure_os_unlock(scratch->lock);
    free(scratch);
    return status;
  }
  *out_scratch = scratch;
  return NULL;
}

const char *dure_scratch_directory(const dure_scratch *scratch) { return scratch->directory; }
bool dure_scratch_is_resumed(const dure_scratch *scratch) { return scratch->is_resumed; }

dure_status dure_scratch_close(dure_scratch *scratch, bool is_kept) {
  if (scratch == NULL) return NULL;
  dure_status status = is_kept || scratch->ranks.rank > 0 ? NULL : dure_os_remove_tree(scratch->directory);
  dure_os_unlock(scratch->lock);
  free(scratch);
  return status;
}

// ---- what the inputs are ----

static dure_status add_file(const char *path, uint64_t *key) {
  uint64_t size = 0;
  DURE_TRY(dure_os_file_size(path, &size));
  FILE *file = fopen(path, "rb");
  if (file == NULL) return dure_fail_errno("cannot open '%s'", path);
  char ends[2 * END_BYTES];
  size_t count = fread(ends, 1, END_BYTES, file);
  if (size > END_BYTES && fseek(file, -END_BYTES, SEEK_END) == 0) count += fread(ends + count, 1, END_BYTES, file);
  fclose(file);
  *key = XXH3_64bits_withSeed(ends, count, *key ^ size);
  *key = XXH3_64bits_withSeed(path, strlen(path), *key);
  return NULL;
}

// Work in progress ends in .part.
static bool is_part(const char *path) {
  const size_t length = strlen(path);
  return length > 5 && strcmp(path + length - 5, ".part") == 0;
}

static dure_status add_path(const char *path, int depth, uint64_t *key) {
  if (depth > 0 && is_part(path)) return NULL;
  if (dure_os_is_file(path)) return add_file(path, key);
  if (!dure_os_is_directory(path) || depth > DEPTH_LIMIT || (depth > 0 && dure_os_is_link(path))) return NULL;
  char **names = NULL;
  size_t count = 0;
  DURE_TRY(dure_os_list(path, &names, &count));
  dure_status status = NULL;
  for (size_t i = 0; i < count && status == NULL; i++) {
    char *child = dure_os_path_join(path, names[i]);
    status =
        child == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory in '%s'", path) : add_path(child, depth + 1, key);
    free(child);
  }
  dure_os_names_free(names, count);
  return status;
}

dure_status dure_inputs_key(const char *const *inputs, size_t count, uint64_t seed, uint64_t *out_key) {
  *out_key = seed;
  for (size_t i = 0; i < count; i++) {
    *out_key = XXH3_64bits_withSeed(inputs[i], strlen(inputs[i]), *out_key);
    DURE_TRY(add_path(inputs[i], 0, out_key));
  }
  return NULL;
}
