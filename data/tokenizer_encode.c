// Text to ids: added tokens, normalizer, pre-tokens, merges, with a cache of the pre-tokens seen lately.
//
// Words repeat: in ordinary text 99 of 100 pre-tokens are found in the cache, whose entries hold the bytes and the ids
// themselves, so that a token costs a regular expression match, a hash and two cache lines, and no allocation.
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/tokenizer_bytes.h"
#include "data/tokenizer_parts.h"

#ifdef DURE_FUZZ  // a cache that fills, and no 4 MiB to clear for each input
#define CACHE_SETS 16
#else
#define CACHE_SETS 16384
#endif

enum {
  cached_bytes = 64,             // longer pre-tokens are merged each time
  cached_ids = 15,               // and those of more ids
  cache_set_count = CACHE_SETS,  // sets of two: 4 MiB a thread
  pool_size = 64,                // encoders kept for later use; more threads than that create theirs each time
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
  dure_normalize_scratch normalize;
  dure_aligned sentence;  // what SentencePiece's rules make of a text
  dure_bpe_scratch merge;
  dure_unigram_scratch segment;
} encoder;

// Idle encoders; each slot holds one or NULL and is emptied and filled by single atomic operations.
struct dure_encoder_pool {
  _Atomic(encoder *) idle[pool_size];
};

static void encoder_destroy(encoder *e) {
  if (e == NULL) return;
  dure_pretokenize_scratch_destroy(e->pretokenize);
  dure_normalize_scratch_free(&e->normalize);
  dure_aligned_free(&e->sentence);
  dure_bpe_scratch_free(&e->merge);
  dure_unigram_scratch_free(&e->segment);
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
  double sampling;
  dure_draws draws;
  dure_ids *out;
  dure_spans *spans;  // NULL when nobody asked
} encoding;

// Notes what the unknown token stands for, or makes the last one longer where a run of them is one.
typedef struct symbol_writer {
  const dure_tokenizer *tokenizer;
  uint32_t *ids;
  size_t count;
  bool after_unknown;
} symbol_writer;

static void put_unknown(symbol_writer *w) {
  bool is_more = w->tokenizer->fuse_unknown && w->after_unknown;
  if (w->tokenizer->unknown_id == DURE_NO_ID || is_more) return;
  w->ids[w->count++] = w->tokenizer->unknown_id;
  w->after_unknown = true;
}

static void put_known(symbol_writer *w, uint32_t id) {
  w->ids[w->count++] = id;
  w->after_unknown = false;
}

// The tokens "<0xHH>" of the bytes. False when one of them is missing.
static bool put_byte_tokens(symbol_writer *w, const char *bytes, size_t length) {
  if (!w->tokenizer->has_byte_fallback) return false;
  for (size_t i = 0; i < length; i++) {
    if (w->tokenizer->byte_ids[(uint8_t)bytes[i]] == DURE_NO_ID) return false;
  }
  for (size_t i = 0; i < length; i++) put_known(w, w->tokenizer->byte_ids[(uint8_t)bytes[i]]);
  return true;
}

// The ids of a pre-token's bytes before merging, at the end of the output, which has room for them.
static size_t put_bytes(const dure_tokenizer *tokenizer, const char *bytes, size_t length, uint32_t *out_ids) {
  symbol_writer w = {tokenizer, out_ids, 0, false};
  for (size_t i = 0; i < length; i++) {
    uint32_t id = tokenizer->byte_ids[(uint8_t)bytes[i]];
    if (id != DURE_NO_ID) {
      put_known(&w, id);
    } else {
      put_unknown(&w);
    }
  }
  return w.count;
}

// The same for a vocabulary of characters.
static size_t put_characters(const dure_tokenizer *tokenizer, const char *bytes, size_t length, uint32_t *out_ids) {
  symbol_writer w = {tokenizer, out_ids, 0, false};
  for (size_t at = 0; at < length;) {
    size_t size = dure_utf8_character(bytes + at, length - at, NULL);
    uint32_t id = size > 0 ? dure_tokenizer_find_bytes(tokenizer, bytes + at, size) : DURE_NO_ID;
    if (size == 0) size = 1;
    if (id != DURE_NO_ID) {
      put_known(&w, id);
    } else if (!put_byte_tokens(&w, bytes + at, size)) {
      put_unknown(&w);
    }
    at += size;
  }
  return w.count;
}

static dure_status encode_by_merges(encoding *e, const char *bytes, size_t length) {
  const dure_tokenizer *tokenizer = e->tokenizer;
  dure_ids *out = e->out;
  DURE_TRY(dure_ids_reserve(out, length));
  if (tokenizer->ignore_merges && e->sampling == 0) {
    uint32_t id = dure_tokenizer_find_bytes(tokenizer, bytes, length);
    if (id != DURE_NO_ID) {
      out->ids[out->count++] = id;
      return NULL;
    }
  }
  uint32_t *symbols = out->ids + out->count;
  size_t count = tokenizer->is_byte_level ? put_bytes(tokenizer, bytes, length, symbols)
                                          : put_characters(tokenizer, bytes, length, symbols);
  dure_bpe_dropout dropout = {e->sampling, &e->draws};
  DURE_TRY(dure_bpe_merge(&tokenizer->merges, &e->encoder->merge, e->sampling > 0 ? &dropout : NULL, symbols, count,
                          &count));
  out->count += count;
  return NULL;
}

static dure_status put_span(encoding *e, const dure_piece *piece, size_t start, size_t end) {
  dure_spans *spans = e->spans;
  if (spans == NULL) return NULL;
  if (spans->count == spans->capacity) {
    size_t capacity = spans->capacity + spans->capacity / 2 + 64;
    dure_span *grown = realloc(spans->spans, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu offsets", capacity);
    spans->spans = grown;
    spans->capacity = capacity;
  }
  spans->spans[spans->count++] = dure_piece_span(piece, start, end);
  return NULL;
}

// Unigram: a part that is unknown becomes its bytes' tokens or, with its neighbours, one unknown token.
static dure_status encode_by_scores(encoding *e, const dure_piece *piece) {
  const dure_tokenizer *tokenizer = e->tokenizer;
  const dure_unigram_part *parts;
  size_t count;
  dure_unigram_scratch *scratch = &e->encoder->segment;
  DURE_TRY(e->sampling > 0
               ? dure_unigram_sample(&tokenizer->unigram, scratch, piece->bytes, piece->length, e->sampling, &e->draws,
                                     &parts, &count)
               : dure_unigram_segment(&tokenizer->unigram, scratch, piece->bytes, piece->length, &parts, &count));
  DURE_TRY(dure_ids_reserve(e->out, piece->length));
  symbol_writer w = {tokenizer, e->out->ids + e->out->count, 0, false};
  for (size_t i = 0; i < count; i++) {
    size_t start = parts[i].start, before = w.count;
    if (parts[i].id != tokenizer->unknown_id) {
      put_known(&w, parts[i].id);
      DURE_TRY(put_span(e, piece, start, parts[i].end));
      continue;
    }
    // A run of unknown characters is looked at as one, since all its bytes must have tokens.
    while (i + 1 < count && parts[i + 1].id == tokenizer->unknown_id) i++;
    if (put_byte_tokens(&w, piece->bytes + start, parts[i].end - start)) {
      for (size_t at = start; at < parts[i].end; at++) DURE_TRY(put_span(e, piece, at, at + 1));
    } else {
      put_unknown(&w);
      if (w.count > before) DURE_TRY(put_span(e, piece, start, parts[i].end));
    }
  }
  e->out->count += w.count;
  return NULL;
}

// Whether the character at `at` has no token, nor have its bytes.
static bool is_unknown_at(const dure_tokenizer *tokenizer, const dure_piece *piece, size_t at) {
  if (tokenizer->is_byte_level) return tokenizer->byte_ids[(uint8_t)piece->bytes[at]] == DURE_NO_ID;
  size_t size = dure_utf8_character(piece->bytes + at, piece->length - at, NULL);
  if (size > 0 && dure_tokenizer_find_bytes(tokenizer, piece->bytes + at, size) != DURE_NO_ID) return false;
  for (size_t i = 0; i < (size > 0 ? size : 1); i++) {
    if (tokenizer->byte_ids[(uint8_t)piece->bytes[at + i]] == DURE_NO_ID) return true;
  }
  return !tokenizer->has_byte_fallback;
}

// Where the ids [first, count) of a piece that was merged came from: walks along its bytes.
static dure_status put_merged_spans(encoding *e, const dure_piece *piece, size_t first) {
  const dure_tokenizer *tokenizer = e->tokenizer;
  size_t at = 0;
  for (size_t i = first; i < e->out->count; i++) {
    uint32_t id = e->out->ids[i];
    const dure_token *token = &tokenizer->tokens[id];
    size_t left = piece->length - at;
    bool is_spelled = token->length <= left && token->length > 0 && id != tokenizer->unknown_id;
    // Bytes that vanish come before the next token that is there.
    size_t skipped = 0;
    while (is_spelled && tokenizer->unknown_id == DURE_NO_ID && skipped + token->length <= left &&
           memcmp(piece->bytes + at + skipped, token->bytes, token->length) != 0 && !tokenizer->has_byte_fallback)
      skipped++;
    if (is_spelled && skipped + token->length <= left &&
        memcmp(piece->bytes + at + skipped, token->bytes, token->length) == 0) {
      DURE_TRY(put_span(e, piece, at + skipped, at + skipped + token->length));
      at += skipped + token->length;
      continue;
    }
    size_t start = at;
    bool is_byte = id != tokenizer->unknown_id;
    do {
      size_t size =
          is_byte || tokenizer->is_byte_level ? 1 : dure_utf8_character(piece->bytes + at, piece->length - at, NULL);
      at += size > 0 ? size : 1;
      if (at > piece->length) at = piece->length;
    } while (!is_byte && tokenizer->fuse_unknown && at < piece->length && is_unknown_at(tokenizer, piece, at));
    DURE_TRY(put_span(e, piece, start, at));
  }
  return NULL;
}

static bool entry_is(const cache_entry *entry, uint16_t tag, const char *bytes, size_t length) {
  return entry->length == length && entry->tag == tag && memcmp(entry->bytes, bytes, length) == 0;
}

static dure_status encode_uncached(encoding *e, const dure_piece *piece) {
  return e->tokenizer->is_unigram ? encode_by_scores(e, piece) : encode_by_merges(e, piece->bytes, piece->length);
}

static dure_status encode_cached(encoding *e, const dure_piece *piece) {
  dure_ids *out = e->out;
  const char *bytes = piece->bytes;
  size_t length = piece->length;
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
  DURE_TRY(encode_uncached(e, piece));
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

static dure_status encode_pretoken(void *context, const dure_piece *piece) {
  encoding *e = context;
  size_t before = e->out->count;
  // Unigram notes where its tokens came from as it goes, so it does not use the cache then.
  bool is_cached = piece->length <= cached_bytes && e->sampling == 0 && !(e->spans != NULL && e->tokenizer->is_unigram);
  DURE_TRY(is_cached ? encode_cached(e, piece) : encode_uncached(e, piece));
  return e->spans != NULL && !e->tokenizer->is_unigram ? put_merged_spans(e, piece, before) : NULL;
}

// ---- the text around ----

static dure_status append_ids(dure_ids *out, const uint32_t *ids, size_t count) {
  if (count == 0) return NULL;
  DURE_TRY(dure_ids_reserve(out, count));
  memcpy(out->ids + out->count, ids, count * sizeof(uint32_t));
  out->count += count;
  return NULL;
}

// A text, or part of one, on its way through the steps.
typedef struct stretch {
  dure_piece piece;
  bool is_start;  // nothing came before it
} stretch;

// Text without added tokens, normalized.
static dure_status encode_plain(encoding *e, const stretch *text) {
  const dure_tokenizer *tokenizer = e->tokenizer;
  bool has_merges = !tokenizer->is_byte_level || tokenizer->merges.count > 0 || tokenizer->ignore_merges ||
                    tokenizer->fuse_unknown || e->spans != NULL;
  const dure_piece *piece = &text->piece;
  if (!has_merges && dure_pretokenizer_is_lossless(tokenizer->pretokenizer)) {
    DURE_TRY(dure_ids_reserve(e->out, piece->length));  // where it is cut makes no difference
    e->out->count += put_bytes(tokenizer, piece->bytes, piece->length, e->out->ids + e->out->count);
    return NULL;
  }
  return dure_pretokenize(tokenizer->pretokenizer, e->encoder->pretokenize, piece, text->is_start, e->spans != NULL,
                          encode_pretoken, e);
}

typedef dure_status (*encode_between)(encoding *e, const stretch *text);

static dure_status pass_between(encoding *e, const stretch *text, size_t start, size_t end, encode_between between) {
  if (start >= end) return NULL;
  stretch part = {dure_piece_slice(&text->piece, start, end - start), text->is_start && start == 0};
  return between(e, &part);
}

// Gives what lies between the added tokens of `set` to `between`.
static dure_status encode_around(encoding *e, const dure_added_set *set, const stretch *text, encode_between between) {
  const dure_added_token *token;
  const dure_piece *piece = &text->piece;
  size_t done = 0, at = 0, start, end;
  while (dure_added_set_next(set, e->parse_special, piece->bytes, piece->length, at, done, &token, &start, &end, &at)) {
    DURE_TRY(pass_between(e, text, done, start, between));
    DURE_TRY(append_ids(e->out, &token->id, 1));
    DURE_TRY(put_span(e, piece, start, end));
    if (end > done) done = end;
  }
  return pass_between(e, text, done, piece->length, between);
}

// SentencePiece's BPE never joins a user-defined symbol with anything; its unigram model gives it a score.
static dure_status encode_sentence(encoding *e, const stretch *text) {
  const dure_sentencepiece *sentencepiece = e->tokenizer->sentencepiece;
  dure_aligned *out = &e->encoder->sentence;
  dure_aligned_clear(out, e->spans != NULL);
  DURE_TRY(dure_sentencepiece_normalize(sentencepiece, &text->piece, out));
  if (out->length == 0) return NULL;
  stretch normal = {dure_aligned_piece(out, text->piece.origin), text->is_start};
  if (e->tokenizer->is_unigram) return encode_plain(e, &normal);
  return encode_around(e, &sentencepiece->user_defined, &normal, encode_plain);
}

static dure_status encode_segment(encoding *e, const stretch *text) {
  if (e->tokenizer->sentencepiece != NULL) return encode_sentence(e, text);
  stretch normal = {.is_start = text->is_start};
  DURE_TRY(
      dure_normalize(&e->tokenizer->normalizer, &e->encoder->normalize, &text->piece, e->spans != NULL, &normal.piece));
  return encode_around(e, &e->tokenizer->added_normalized, &normal, encode_plain);
}

// What the post-processor puts before or after the text.
static dure_status encode_template(encoding *e, const dure_ids *ids) {
  const dure_piece nothing = {"", 0, NULL, 0};
  for (size_t i = 0; i < ids->count; i++) DURE_TRY(put_span(e, &nothing, 0, 0));
  return append_ids(e->out, ids->ids, ids->count);
}

static dure_status encode_text(encoding *e, const char *text, size_t length, bool add_special) {
  stretch whole = {{text, length, NULL, 0}, true};
  if (add_special) DURE_TRY(encode_template(e, &e->tokenizer->prefix));
  DURE_TRY(encode_around(e, &e->tokenizer->added, &whole, encode_segment));
  return add_special ? encode_template(e, &e->tokenizer->suffix) : NULL;
}

static dure_status check_sampling(const dure_tokenizer *tokenizer, const dure_encode_options *options) {
  double sampling = options != NULL ? options->sampling : 0;
  if (sampling >= 0 && sampling <= (tokenizer->is_unigram ? 1e6 : 1)) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "sampling is %g; expected 0, or %s", sampling,
                   tokenizer->is_unigram ? "a positive exponent of probabilities" : "a probability up to 1");
}

dure_status dure_tokenizer_encode_spans(const dure_tokenizer *tokenizer, const char *text, size_t length,
                                        const dure_encode_options *options, dure_ids *out_ids, dure_spans *out_spans) {
  size_t count_before = out_ids->count, spans_before = out_spans != NULL ? out_spans->count : 0;
  DURE_TRY(check_sampling(tokenizer, options));
  encoding e = {.tokenizer = tokenizer, .out = out_ids, .spans = out_spans};
  if (options != NULL) {
    e.parse_special = options->parse_special;
    e.sampling = options->sampling;
    e.draws.seed = options->seed;
  }
  DURE_TRY(pool_take(tokenizer->encoders, &e.encoder));
  dure_status status = encode_text(&e, text, length, options != NULL && options->add_special);
  pool_give_back(tokenizer->encoders, e.encoder);
  if (status != NULL) {
    out_ids->count = count_before;
    if (out_spans != NULL) out_spans->count = spans_before;
  }
  return status;
}

dure_status dure_tokenizer_encode(const dure_tokenizer *tokenizer, const char *text, size_t length,
                                  const dure_encode_options *options, dure_ids *out_ids) {
  return dure_tokenizer_encode_spans(tokenizer, text, length, options, out_ids, NULL);
}
