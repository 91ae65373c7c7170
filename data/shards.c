#include "data/shards.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "runtime/os.h"

enum { BLOCK_TOKENS = 1 << 14, SHARD_LIMIT = 100000 };

struct dure_shards {
  char *directory;
  char prefix[32];
  uint32_t bytes_per_token;
  uint64_t shard_tokens;
  json_t *list;
  // The open shard, if any.
  FILE *file;
  char name[64];
  char *path;
  uint64_t tokens;
  XXH64_state_t *hash;
};

static dure_status out_of_memory(void) { return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing shards"); }

dure_status dure_shards_create(const char *directory, const char *prefix, uint32_t bytes_per_token,
                               uint64_t shard_tokens, dure_shards **out_shards) {
  *out_shards = NULL;
  dure_shards *shards = calloc(1, sizeof(*shards));
  if (shards == NULL) return out_of_memory();
  shards->directory = strdup(directory);
  shards->list = json_array();
  shards->hash = XXH64_createState();
  if (shards->directory == NULL || shards->list == NULL || shards->hash == NULL) {
    dure_shards_destroy(shards);
    return out_of_memory();
  }
  snprintf(shards->prefix, sizeof(shards->prefix), "%s", prefix);
  shards->bytes_per_token = bytes_per_token;
  shards->shard_tokens = shard_tokens;
  *out_shards = shards;
  return NULL;
}

void dure_shards_destroy(dure_shards *shards) {
  if (shards == NULL) return;
  if (shards->file != NULL) fclose(shards->file);
  free(shards->path);
  free(shards->directory);
  json_decref(shards->list);
  XXH64_freeState(shards->hash);
  free(shards);
}

static dure_status name_shard(dure_shards *shards) {
  size_t index = json_array_size(shards->list);
  if (index >= SHARD_LIMIT) {
    return dure_fail(DURE_INVALID_ARGUMENT, "more than %d shards: raise --shard-tokens", SHARD_LIMIT);
  }
  snprintf(shards->name, sizeof(shards->name), "%s-%05zu.bin", shards->prefix, index);
  shards->path = dure_os_path_join(shards->directory, shards->name);
  if (shards->path == NULL) return out_of_memory();
  shards->tokens = 0;
  XXH64_reset(shards->hash, 0);
  return NULL;
}

static dure_status open_shard(dure_shards *shards) {
  DURE_TRY(name_shard(shards));
  shards->file = fopen(shards->path, "wb");
  return shards->file != NULL ? NULL : dure_fail_errno("cannot create '%s'", shards->path);
}

// Hashes the tokens of an earlier process again and cuts off what it wrote beyond them.
static dure_status reopen_shard(dure_shards *shards, uint64_t tokens) {
  DURE_TRY(name_shard(shards));
  const uint64_t size = tokens * shards->bytes_per_token;
  uint64_t found = 0;
  DURE_TRY(dure_os_file_size(shards->path, &found));
  if (found < size) return dure_fail(DURE_CORRUPT, "'%s' was cut: remove its directory to begin anew", shards->path);
  DURE_TRY(dure_os_truncate(shards->path, size));
  shards->file = fopen(shards->path, "r+b");
  if (shards->file == NULL) return dure_fail_errno("cannot open '%s'", shards->path);
  unsigned char block[BLOCK_TOKENS * 4];
  for (size_t count = 1; count > 0;) {
    count = fread(block, 1, sizeof(block), shards->file);
    XXH64_update(shards->hash, block, count);
  }
  if (ferror(shards->file) || fseek(shards->file, 0, SEEK_END) != 0) {
    return dure_fail_errno("cannot read '%s'", shards->path);
  }
  shards->tokens = tokens;
  return NULL;
}

dure_status dure_shards_resume(dure_shards *shards, json_t *state) {
  json_t *list = json_object_get(state, "list");
  if (!json_is_array(list)) return dure_fail(DURE_CORRUPT, "the journal of '%s' is broken", shards->directory);
  json_decref(shards->list);
  shards->list = json_incref(list);
  const json_int_t open = json_integer_value(json_object_get(state, "open"));
  return open > 0 ? reopen_shard(shards, (uint64_t)open) : NULL;
}

dure_status dure_shards_save(dure_shards *shards, json_t **out_state) {
  *out_state = NULL;
  if (shards->file != NULL) {
    if (fflush(shards->file) != 0) return dure_fail_errno("cannot write '%s'", shards->path);
    DURE_TRY(dure_os_sync_file(shards->path));
  }
  *out_state =
      json_pack("{s:O, s:I}", "list", shards->list, "open", (json_int_t)(shards->file != NULL ? shards->tokens : 0));
  return *out_state != NULL ? NULL : out_of_memory();
}

static dure_status close_shard(dure_shards *shards) {
  FILE *file = shards->file;
  shards->file = NULL;
  dure_status status = fflush(file) == 0 ? NULL : dure_fail_errno("cannot write '%s'", shards->path);
  if (fclose(file) != 0 && status == NULL) status = dure_fail_errno("cannot close '%s'", shards->path);
  if (status == NULL) status = dure_os_sync_file(shards->path);
  free(shards->path);
  shards->path = NULL;
  if (status != NULL) return status;
  char digits[17];
  snprintf(digits, sizeof(digits), "%016" PRIx64, (uint64_t)XXH64_digest(shards->hash));
  json_t *entry =
      json_pack("{s:s, s:I, s:s}", "file", shards->name, "tokens", (json_int_t)shards->tokens, "xxh64", digits);
  return entry == NULL || json_array_append_new(shards->list, entry) != 0 ? out_of_memory() : NULL;
}

static dure_status write_block(dure_shards *shards, const uint32_t *ids, size_t count) {
  unsigned char block[BLOCK_TOKENS * 4];
  size_t size = 0;
  for (size_t i = 0; i < count; i++) {
    for (uint32_t byte = 0; byte < shards->bytes_per_token; byte++)
      block[size++] = (unsigned char)(ids[i] >> (8 * byte));
  }
  XXH64_update(shards->hash, block, size);
  if (fwrite(block, 1, size, shards->file) != size) return dure_fail_errno("cannot write '%s'", shards->path);
  shards->tokens += count;
  return NULL;
}

dure_status dure_shards_write(dure_shards *shards, const uint32_t *ids, size_t count) {
  while (count > 0) {
    if (shards->file == NULL) DURE_TRY(open_shard(shards));
    uint64_t room = shards->shard_tokens - shards->tokens;
    size_t part = count < BLOCK_TOKENS ? count : BLOCK_TOKENS;
    if (part > room) part = (size_t)room;
    DURE_TRY(write_block(shards, ids, part));
    if (shards->tokens == shards->shard_tokens) DURE_TRY(close_shard(shards));
    ids += part;
    count -= part;
  }
  return NULL;
}

dure_status dure_shards_finish(dure_shards *shards, json_t **out_list) {
  *out_list = NULL;
  if (shards->file != NULL) DURE_TRY(close_shard(shards));
  *out_list = json_incref(shards->list);
  return NULL;
}
