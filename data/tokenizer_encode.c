// Text to ids: added tokens, normalizer, pre-tokens, merges, with a cache of the pre-tokens seen lately.
//
// Words repeat: in ordinary text 99 of 100 pre-tokens are found in the cache, whose entries hold the bytes and the ids
// themselves, so that a token costs a regular expression match, a hash and two cache lines, and no allocation.
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/tokenizer_parts.h"

enum {
  cached_bytes = 64,        // longer pre-tokens are merged each time
  cached_ids = 15,          // and those of more ids
  cache_set_count = 16384,  // sets of two: 4 MiB a thread
  pool_size = 64,           // encoders kept for later use; more threads than that create theirs each time
};

// 128 bytes, two cache lines. Length 0: empty.
typedef struct cache_entry {
  uint8_t length, count;
  uint16_t tag;  // more bits of the hash
  uint32_t ids[cached_ids];
  char bytes[cached_bytes];
} cache_entry;

// What one thread needs while it encodes.
typedef struct encoder {
  void *cache_memory;
  cache_entry *cache;  // [cache_set_count][2], aligned; the entry used last comes first in its set
  dure_pretokenize_scratch *pretokenize;
  dure_bpe_scratch merge;
} encoder;

// Idle encoders; each slot holds one or NULL and is emptied and filled by single atomic operations.
struct dure_encoder_pool {
  _Atomic(encoder *) idle[pool_size];
};

static void encoder_destroy(encoder *e) {
  if (e == NULL) return;
  dure_pretokenize_scratch_destroy(e->pretokenize);
  dure_bpe_scratch_free(&e->merge);
  free(e->cache_memory);
  free(e);
}

static dure_status encoder_create(encoder **out_encoder) {
  encoder *e = calloc(1, sizeof(*e));
  *out_encoder = NULL;
  if (e != NULL) e->cache_memory = calloc(2 * cache_set_count + 1, sizeof(cache_entry));
  if (e == NULL || e->cache_memory == NULL) {
    encoder_destroy(e);
    return dure_fail(DURE_OUT_OF_MEMORY, "no memory for an encoder");
  }
  uintptr_t address = (uintptr_t)e->cache_memory, alignment = sizeof(cache_entry);
  e->cache = (cache_entry *)(void *)((char *)e->cache_memory + (alignment - address % alignment) % alignment);
  dure_status status = dure_pretokenize_scratch_create(&e->pretokenize);
  if (status != NULL) {
    encoder_destroy(e);
    return status;
  }
  *out_encoder = e;
  return NULL;
}

dure_status dure_encoder_pool_create(dure_encoder_pool **out_pool) {
  *out_pool = calloc(1, sizeof(**out_pool));
  if (*out_pool == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for an encoder pool");
  for (size_t i = 0; i < pool_size; i++) atomic_init(&(*out_pool)->idle[i], NULL);
  return NULL;
}

void dure_encoder_pool_destroy(dure_encoder_pool *pool) {
  if (pool == NULL) return;
  for (size_t i = 0; i < pool_size; i++) encoder_destroy(atomic_load(&pool->idle[i]));
  free(pool);
}

static dure_status pool_take(dure_encoder_pool *pool, encoder **out_encoder) {
  for (size_t i = 0; i < pool_size; i++) {
    if (atomic_load_explicit(&pool->idle[i], memory_order_relaxed) == NULL) continue;
    *out_encoder = atomic_exchange(&pool->idle[i], NULL);
    if (*out_encoder != NULL) return NULL;
  }
  return encoder_create(out_encoder);
}

static void pool_give_back(dure_encoder_pool *pool, encoder *e) {
  for (size_t i = 0; i < pool_size; i++) {
    encoder *empty = NULL;
    if (atomic_compare_exchange_strong(&pool->idle[i], &empty, e)) return;
  }
  encoder_destroy(e);
}

// ---- one pre-token ----

typedef struct encoding {
  const dure_tokenizer *tokenizer;
  encoder *encoder;
  bool parse_special;
  dure_ids *out;
} encoding;

// The ids of a pre-token's bytes before merging, at the end of the output, which has room for them.
static size_t put_bytes(const dure_tokenizer *tokenizer, const char *bytes, size_t length, uint32_t *out_ids) {
  size_t count = 0;
  bool after_unknown = false;
  for (size_t i = 0; i < length; i++) {
    uint32_t id = tokenizer->byte_ids[(uint8_t)bytes[i]];
    bool is_unknown = id == DURE_NO_ID;
    if (is_unknown && (tokenizer->unknown_id == DURE_NO_ID || (tokenizer->fuse_unknown && after_unknown))) {
      after_unknown = tokenizer->unknown_id != DURE_NO_ID;
      continue;
    }
    out_ids[count++] = is_unknown ? tokenizer->unknown_id : id;
    after_unknown = is_unknown;
  }
  return count;
}

static dure_status encode_uncached(encoding *e, const char *bytes, size_t length) {
  const dure_tokenizer *tokenizer = e->tokenizer;
  dure_ids *out = e->out;
  DURE_TRY(dure_ids_reserve(out, length));
  if (tokenizer->ignore_merges) {
    uint32_t id = dure_tokenizer_find_bytes(tokenizer, bytes, length);
    if (id != DURE_NO_ID) {
      out->ids[out->count++] = id;
      return NULL;
    }
  }
  uint32_t *symbols = out->ids + out->count;
  size_t count = put_bytes(tokenizer, bytes, length, symbols);
  DURE_TRY(dure_bpe_merge(&tokenizer->merges, &e->encoder->merge, symbols, count, &count));
  out->count += count;
  return NULL;
}

static bool entry_is(const cache_entry *entry, uint16_t tag, const char *bytes, size_t length) {
  return entry->length == length && entry->tag == tag && memcmp(entry->bytes, bytes, length) == 0;
}

static dure_status encode_pretoken(void *context, const char *bytes, size_t length) {
  encoding *e = context;
  dure_ids *out = e->out;
  if (length > cached_bytes) return encode_uncached(e, bytes, length);
  uint64_t hash = XXH3_64bits(bytes, length);
  cache_entry *set = e->encoder->cache + 2 * (hash % cache_set_count);
  uint16_t tag = (uint16_t)(hash >> 48);
  const cache_entry *found = entry_is(&set[0], tag, bytes, length)   ? &set[0]
                             : entry_is(&set[1], tag, bytes, length) ? &set[1]
                                                                     : NULL;
  if (found != NULL) {
    if (out->capacity - out->count < cached_ids) DURE_TRY(dure_ids_reserve(out, cached_ids));
    for (size_t i = 0; i < found->count; i++) out->ids[out->count + i] = found->ids[i];
    out->count += found->count;
    return NULL;
  }
  size_t before = out->count;
  DURE_TRY(encode_uncached(e, bytes, length));
  size_t count = out->count - before;
  if (count > cached_ids) return NULL;
  set[1] = set[0];  // the older of the two makes room
  set[0].length = (uint8_t)length;
  set[0].count = (uint8_t)count;
  set[0].tag = tag;
  memcpy(set[0].ids, out->ids + before, count * sizeof(uint32_t));
  memcpy(set[0].bytes, bytes, length);
  return NULL;
}

// ---- the text around ----

static dure_status append_ids(dure_ids *out, const uint32_t *ids, size_t count) {
  if (count == 0) return NULL;
  DURE_TRY(dure_ids_reserve(out, count));
  memcpy(out->ids + out->count, ids, count * sizeof(uint32_t));
  out->count += count;
  return NULL;
}

// Text without added tokens, normalized.
static dure_status encode_plain(encoding *e, const char *text, size_t length) {
  const dure_tokenizer *tokenizer = e->tokenizer;
  bool has_merges = tokenizer->merges.count > 0 || tokenizer->ignore_merges || tokenizer->fuse_unknown;
  if (!has_merges && dure_pretokenizer_is_lossless(tokenizer->pretokenizer)) {
    DURE_TRY(dure_ids_reserve(e->out, length));  // where it is cut makes no difference
    e->out->count += put_bytes(tokenizer, text, length, e->out->ids + e->out->count);
    return NULL;
  }
  return dure_pretokenize(tokenizer->pretokenizer, e->encoder->pretokenize, text, length, encode_pretoken, e);
}

typedef dure_status (*encode_between)(encoding *e, const char *text, size_t length);

// Gives what lies between the added tokens of `set` to `between`.
static dure_status encode_around(encoding *e, const dure_added_set *set, const char *text, size_t length,
                                 encode_between between) {
  const dure_added_token *token;
  size_t done = 0, at = 0, start, end;
  while (dure_added_set_next(set, e->parse_special, text, length, at, done, &token, &start, &end, &at)) {
    if (start > done) DURE_TRY(between(e, text + done, start - done));
    DURE_TRY(append_ids(e->out, &token->id, 1));
    if (end > done) done = end;
  }
  return done < length ? between(e, text + done, length - done) : NULL;
}

static dure_status encode_segment(encoding *e, const char *text, size_t length) {
  char *normal;
  size_t normal_length;
  DURE_TRY(dure_tokenizer_normalize(e->tokenizer->normalizer, text, length, &normal, &normal_length));
  dure_status status =
      encode_around(e, &e->tokenizer->added_normalized, normal != NULL ? normal : text, normal_length, encode_plain);
  free(normal);
  return status;
}

dure_status dure_tokenizer_encode(const dure_tokenizer *tokenizer, const char *text, size_t length,
                                  const dure_encode_options *options, dure_ids *out_ids) {
  size_t count_before = out_ids->count;
  bool add_special = options != NULL && options->add_special;
  encoding e = {tokenizer, NULL, options != NULL && options->parse_special, out_ids};
  DURE_TRY(pool_take(tokenizer->encoders, &e.encoder));
  dure_status status = add_special ? append_ids(out_ids, tokenizer->prefix.ids, tokenizer->prefix.count) : NULL;
  if (status == NULL) status = encode_around(&e, &tokenizer->added, text, length, encode_segment);
  if (status == NULL && add_special) status = append_ids(out_ids, tokenizer->suffix.ids, tokenizer->suffix.count);
  pool_give_back(tokenizer->encoders, e.encoder);
  if (status != NULL) out_ids->count = count_before;
  return status;
}
