#include "data/dataset.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <xxhash.h>

#include "runtime/os.h"

enum { DESCRIPTION_LIMIT = 64 << 20, TOKENIZER_LIMIT = 1 << 30 };

typedef struct shard {
  char *path;
  const unsigned char *bytes;  // mapped
  uint64_t size;               // of the mapping
  uint64_t tokens;
  uint64_t first;  // position of its first token in the split
  uint64_t hash;
} shard;

typedef struct split_data {
  dure_split_counts counts;
  shard *shards;
  size_t shard_count;
} split_data;

struct dure_dataset {
  char *directory;
  char *description_path;
  char *tokenizer_path;
  uint64_t hash;
  uint64_t tokenizer_hash;
  uint32_t bytes_per_token;
  uint32_t vocabulary_size;
  uint32_t end_of_text;
  split_data splits[DURE_SPLIT_COUNT];
};

static const char *const split_names[DURE_SPLIT_COUNT] = {"train", "held_out"};

// ---- fields of dataset.json ----

static dure_status corrupt(const dure_dataset *dataset, const char *what, const char *expected) {
  return dure_fail(DURE_CORRUPT, "%s: '%s' should be %s; pack the dataset again", dataset->description_path, what,
                   expected);
}

static dure_status read_count(const dure_dataset *dataset, const json_t *object, const char *key, uint64_t limit,
                              uint64_t *out_value) {
  *out_value = 0;
  const json_t *value = json_object_get(object, key);
  if (!json_is_integer(value)) return corrupt(dataset, key, "a whole number");
  json_int_t number = json_integer_value(value);
  if (number < 0 || (uint64_t)number > limit) return corrupt(dataset, key, "a number within its limits");
  *out_value = (uint64_t)number;
  return NULL;
}

static dure_status read_hash(const dure_dataset *dataset, const json_t *object, const char *key, uint64_t *out_value) {
  *out_value = 0;
  const char *text = json_string_value(json_object_get(object, key));
  if (text == NULL || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) {
    return corrupt(dataset, key, "16 hexadecimal digits");
  }
  *out_value = strtoull(text, NULL, 16);
  return NULL;
}

// A shard's name must stay inside the directory: no separators, no leading dot.
static bool is_plain_name(const char *name) {
  if (name == NULL || name[0] == '\0' || name[0] == '.' || strlen(name) > 200) return false;
  for (const char *cursor = name; *cursor != '\0'; cursor++) {
    bool allowed = (*cursor >= 'a' && *cursor <= 'z') || (*cursor >= 'A' && *cursor <= 'Z') ||
                   (*cursor >= '0' && *cursor <= '9') || *cursor == '-' || *cursor == '_' || *cursor == '.';
    if (!allowed) return false;
  }
  return true;
}

static dure_status open_shard(const dure_dataset *dataset, const json_t *object, uint64_t first, shard *shard_out) {
  const char *name = json_string_value(json_object_get(object, "file"));
  if (!is_plain_name(name)) return corrupt(dataset, "file", "the plain name of a shard");
  DURE_TRY(read_count(dataset, object, "tokens", UINT64_C(1) << 60, &shard_out->tokens));
  DURE_TRY(read_hash(dataset, object, "xxh64", &shard_out->hash));
  if (shard_out->tokens == 0) return corrupt(dataset, "tokens", "at least 1 in every shard");
  shard_out->first = first;
  shard_out->path = dure_os_path_join(dataset->directory, name);
  if (shard_out->path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", dataset->directory);
  const void *bytes = NULL;
  DURE_TRY(dure_os_map_file(shard_out->path, &bytes, &shard_out->size));
  shard_out->bytes = bytes;
  if (shard_out->size != shard_out->tokens * dataset->bytes_per_token) {
    return dure_fail(DURE_CORRUPT,
                     "'%s' has %" PRIu64 " bytes where dataset.json says %" PRIu64
                     " tokens of %u bytes; the shard was cut or replaced: pack the dataset again",
                     shard_out->path, shard_out->size, shard_out->tokens, dataset->bytes_per_token);
  }
  return NULL;
}

static dure_status open_split(dure_dataset *dataset, const json_t *splits, dure_split which) {
  split_data *split = &dataset->splits[which];
  const json_t *object = json_object_get(splits, split_names[which]);
  if (!json_is_object(object)) return corrupt(dataset, split_names[which], "an object");
  const uint64_t limit = UINT64_C(1) << 60;
  DURE_TRY(read_count(dataset, object, "tokens", limit, &split->counts.tokens));
  DURE_TRY(read_count(dataset, object, "documents", split->counts.tokens, &split->counts.documents));
  DURE_TRY(read_count(dataset, object, "text_bytes", limit, &split->counts.text_bytes));
  const json_t *shards = json_object_get(object, "shards");
  if (!json_is_array(shards)) return corrupt(dataset, "shards", "an array");
  size_t count = json_array_size(shards);
  if (count > 0) {
    split->shards = calloc(count, sizeof(*split->shards));
    if (split->shards == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", dataset->directory);
  }
  uint64_t tokens = 0;
  for (size_t i = 0; i < count; i++) {
    split->shard_count = i + 1;  // counted before it is opened, so that closing releases a half-opened one
    DURE_TRY(open_shard(dataset, json_array_get(shards, i), tokens, &split->shards[i]));
    if (split->shards[i].tokens > limit - tokens) return corrupt(dataset, "tokens", "a number within its limits");
    tokens += split->shards[i].tokens;
  }
  if (tokens != split->counts.tokens) return corrupt(dataset, "tokens", "the sum of the shards' tokens");
  return NULL;
}

static dure_status read_description(dure_dataset *dataset, const json_t *root) {
  const char *format = json_string_value(json_object_get(root, "format"));
  if (format == NULL || strcmp(format, DURE_DATASET_FORMAT) != 0) {
    return corrupt(dataset, "format", "\"" DURE_DATASET_FORMAT "\"");
  }
  uint64_t version = 0, vocabulary = 0, end_of_text = 0;
  DURE_TRY(read_count(dataset, root, "version", UINT32_MAX, &version));
  if (version != DURE_DATASET_VERSION) {
    return dure_fail(DURE_UNSUPPORTED, "%s: version %" PRIu64 ", this program reads version %d",
                     dataset->description_path, version, DURE_DATASET_VERSION);
  }
  const char *dtype = json_string_value(json_object_get(root, "dtype"));
  if (dtype != NULL && strcmp(dtype, "u16") == 0) {
    dataset->bytes_per_token = 2;
  } else if (dtype != NULL && strcmp(dtype, "u32") == 0) {
    dataset->bytes_per_token = 4;
  } else {
    return corrupt(dataset, "dtype", "\"u16\" or \"u32\"");
  }
  // The ignore label must stay outside every vocabulary.
  DURE_TRY(read_count(dataset, root, "vocabulary_size", INT32_MAX, &vocabulary));
  if (vocabulary == 0) return corrupt(dataset, "vocabulary_size", "at least 1");
  DURE_TRY(read_count(dataset, root, "end_of_text", vocabulary - 1, &end_of_text));
  DURE_TRY(read_hash(dataset, root, "tokenizer_xxh64", &dataset->tokenizer_hash));
  dataset->vocabulary_size = (uint32_t)vocabulary;
  dataset->end_of_text = (uint32_t)end_of_text;
  const json_t *splits = json_object_get(root, "splits");
  if (!json_is_object(splits)) return corrupt(dataset, "splits", "an object");
  for (int i = 0; i < DURE_SPLIT_COUNT; i++) DURE_TRY(open_split(dataset, splits, (dure_split)i));
  return NULL;
}

static dure_status check_tokenizer(const dure_dataset *dataset) {
  char *bytes = NULL;
  size_t size = 0;
  DURE_TRY(dure_os_read_file(dataset->tokenizer_path, TOKENIZER_LIMIT, &bytes, &size));
  uint64_t hash = XXH64(bytes, size, 0);
  free(bytes);
  if (hash == dataset->tokenizer_hash) return NULL;
  return dure_fail(DURE_CORRUPT,
                   "'%s' is not the tokenizer that made these shards (its hash is %016" PRIx64
                   ", dataset.json says %016" PRIx64 "); pack the dataset again",
                   dataset->tokenizer_path, hash, dataset->tokenizer_hash);
}

static dure_status load(dure_dataset *dataset) {
  char *bytes = NULL;
  size_t size = 0;
  DURE_TRY(dure_os_read_file(dataset->description_path, DESCRIPTION_LIMIT, &bytes, &size));
  dataset->hash = XXH64(bytes, size, 0);
  json_error_t error;
  json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &error);
  free(bytes);
  if (root == NULL) {
    return dure_fail(DURE_CORRUPT, "%s:%d: not JSON: %s; pack the dataset again", dataset->description_path, error.line,
                     error.text);
  }
  dure_status status =
      json_is_object(root) ? read_description(dataset, root) : corrupt(dataset, DURE_DATASET_DESCRIPTION, "an object");
  json_decref(root);
  if (status == NULL) status = check_tokenizer(dataset);
  return status;
}

// ---- public ----

dure_status dure_dataset_open(const char *directory, dure_dataset **out_dataset) {
  *out_dataset = NULL;
  if (!dure_os_is_directory(directory)) {
    return dure_fail(DURE_NOT_FOUND, "no dataset at '%s': expected a directory made by 'dure data pack'", directory);
  }
  dure_dataset *dataset = calloc(1, sizeof(*dataset));
  if (dataset == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", directory);
  dataset->directory = strdup(directory);
  dataset->description_path = dure_os_path_join(directory, DURE_DATASET_DESCRIPTION);
  dataset->tokenizer_path = dure_os_path_join(directory, DURE_DATASET_TOKENIZER);
  dure_status status;
  if (dataset->directory == NULL || dataset->description_path == NULL || dataset->tokenizer_path == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", directory);
  } else {
    status = load(dataset);
  }
  if (status != NULL) {
    dure_dataset_close(dataset);
    return dure_status_prefix(status, "cannot open the dataset");
  }
  *out_dataset = dataset;
  return NULL;
}

void dure_dataset_close(dure_dataset *dataset) {
  if (dataset == NULL) return;
  for (int i = 0; i < DURE_SPLIT_COUNT; i++) {
    split_data *split = &dataset->splits[i];
    for (size_t j = 0; j < split->shard_count; j++) {
      dure_os_unmap(split->shards[j].bytes, split->shards[j].size);
      free(split->shards[j].path);
    }
    free(split->shards);
  }
  free(dataset->directory);
  free(dataset->description_path);
  free(dataset->tokenizer_path);
  free(dataset);
}

const char *dure_dataset_directory(const dure_dataset *dataset) { return dataset->directory; }
dure_split_counts dure_dataset_counts(const dure_dataset *dataset, dure_split split) {
  return dataset->splits[split].counts;
}
uint32_t dure_dataset_bytes_per_token(const dure_dataset *dataset) { return dataset->bytes_per_token; }
uint32_t dure_dataset_vocabulary_size(const dure_dataset *dataset) { return dataset->vocabulary_size; }
uint32_t dure_dataset_end_of_text(const dure_dataset *dataset) { return dataset->end_of_text; }
const char *dure_dataset_tokenizer_path(const dure_dataset *dataset) { return dataset->tokenizer_path; }
uint64_t dure_dataset_tokenizer_hash(const dure_dataset *dataset) { return dataset->tokenizer_hash; }
uint64_t dure_dataset_hash(const dure_dataset *dataset) { return dataset->hash; }

// Index of the shard that holds token `position`, which is below the split's token count.
static size_t find_shard(const split_data *split, uint64_t position) {
  size_t low = 0, high = split->shard_count;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (split->shards[middle].first <= position) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

static void widen(const unsigned char *bytes, uint32_t bytes_per_token, size_t count, uint32_t *out_ids) {
  if (bytes_per_token == 2) {
    for (size_t i = 0; i < count; i++) out_ids[i] = (uint32_t)bytes[2 * i] | (uint32_t)bytes[2 * i + 1] << 8;
  } else {
    for (size_t i = 0; i < count; i++) {
      const unsigned char *id = bytes + 4 * i;
      out_ids[i] = (uint32_t)id[0] | (uint32_t)id[1] << 8 | (uint32_t)id[2] << 16 | (uint32_t)id[3] << 24;
    }
  }
}

dure_status dure_dataset_read(const dure_dataset *dataset, dure_split which, uint64_t first, size_t count,
                              uint32_t *out_ids) {
  const split_data *split = &dataset->splits[which];
  if (first > split->counts.tokens || count > split->counts.tokens - first) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "tokens %" PRIu64 " to %" PRIu64 " asked of the %s split of '%s', which has %" PRIu64, first,
                     first + count, split_names[which], dataset->directory, split->counts.tokens);
  }
  size_t done = 0;
  for (size_t i = count > 0 ? find_shard(split, first) : 0; done < count; i++) {
    const shard *part = &split->shards[i];
    uint64_t start = first + done - part->first;
    size_t take = part->tokens - start < count - done ? (size_t)(part->tokens - start) : count - done;
    widen(part->bytes + start * dataset->bytes_per_token, dataset->bytes_per_token, take, out_ids + done);
    uint32_t largest = 0;
    for (size_t j = 0; j < take; j++) largest = out_ids[done + j] > largest ? out_ids[done + j] : largest;
    if (largest >= dataset->vocabulary_size) {
      return dure_fail(DURE_CORRUPT,
                       "'%s' holds token id %u within tokens %" PRIu64 " to %" PRIu64
                       " but the vocabulary has %u; pack the dataset again",
                       part->path, largest, start, start + take, dataset->vocabulary_size);
    }
    done += take;
  }
  return NULL;
}

dure_status dure_dataset_verify(const dure_dataset *dataset) {
  for (int i = 0; i < DURE_SPLIT_COUNT; i++) {
    const split_data *split = &dataset->splits[i];
    for (size_t j = 0; j < split->shard_count; j++) {
      const shard *part = &split->shards[j];
      uint64_t hash = XXH64(part->bytes, (size_t)part->size, 0);
      if (hash != part->hash) {
        return dure_fail(DURE_CORRUPT,
                         "'%s' has changed since it was packed (its hash is %016" PRIx64
                         ", dataset.json says %016" PRIx64 ")",
                         part->path, hash, part->hash);
      }
    }
  }
  return NULL;
}
