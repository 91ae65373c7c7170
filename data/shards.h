// Writes one split's token shards and describes them for dataset.json.
#ifndef DURE_DATA_SHARDS_H_
#define DURE_DATA_SHARDS_H_

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_shards dure_shards;

// Shards DIRECTORY/PREFIX-00000.bin and on, of `shard_tokens` ids each but the last, little-endian in 2 or 4 bytes.
DURE_MUST_CHECK dure_status dure_shards_create(const char *directory, const char *prefix, uint32_t bytes_per_token,
                                               uint64_t shard_tokens, dure_shards **out_shards);
// Every id fits the width: the caller chose it by the vocabulary.
DURE_MUST_CHECK dure_status dure_shards_write(dure_shards *shards, const uint32_t *ids, size_t count);
// What has been written is synced and described, for a process that goes on: {"list", "open"}, a new object.
DURE_MUST_CHECK dure_status dure_shards_save(dure_shards *shards, json_t **out_state);
// Goes on after such a state, in place of beginning; what was written after it is cut off.
DURE_MUST_CHECK dure_status dure_shards_resume(dure_shards *shards, json_t *state);
// Completes and syncs the last file. `out_list` is a new array of {"file", "tokens", "xxh64"}, owned by the caller.
DURE_MUST_CHECK dure_status dure_shards_finish(dure_shards *shards, json_t **out_list);
void dure_shards_destroy(dure_shards *shards);  // NULL is fine; an unfinished file is closed as it is

#endif  // DURE_DATA_SHARDS_H_
