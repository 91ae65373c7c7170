// What the tokenizer promises by itself: round trips, hostile files, special tokens, streaming, threads.
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/bpe_merge.h"
#include "data/bpe_train.h"
#include "data/tokenizer.h"
#include "data/tokenizer_bytes.h"
#include "runtime/os.h"
#include "tests/amount.h"
#include "tests/suite.h"

static void must_fail(dure_status status, dure_code code, const char *words) {
  ck_assert_msg(status != NULL, "succeeded; expected a failure about '%s'", words);
  ck_assert_msg(dure_status_code(status) == code && strstr(dure_status_message(status), words) != NULL,
                "expected '%s' about '%s', found '%s': %s", dure_code_name(code), words,
                dure_code_name(dure_status_code(status)), dure_status_message(status));
  dure_status_free(status);
}

// xorshift64*: the tests' own random numbers, so that a seed means the same everywhere.
static uint64_t random_next(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545F4914F6CDD1Du;
}

static dure_tokenizer *open_fixture(const char *name) {
  const char *source = getenv("DURE_SOURCE_DIR");
  char path[4096];
  snprintf(path, sizeof(path), "%s/tests/golden/tokenizer/%s", source != NULL ? source : ".", name);
  dure_tokenizer *tokenizer;
  require(dure_tokenizer_open(path, &tokenizer));
  return tokenizer;
}

static void assert_round_trip(const dure_tokenizer *tokenizer, const char *text, size_t length, dure_ids *ids) {
  char *decoded;
  size_t decoded_length;
  ids->count = 0;
  require(dure_tokenizer_encode(tokenizer, text, length, NULL, ids));
  require(dure_tokenizer_decode(tokenizer, ids->ids, ids->count, false, &decoded, &decoded_length));
  ck_assert_uint_eq(decoded_length, length);
  ck_assert(memcmp(decoded, text, length) == 0);
  free(decoded);
}

// ---- round trips ----

// Bytes from several distributions: any, ASCII, valid Hangul and emoji with faults, white space.
static size_t random_text(uint64_t *state, char *text) {
  static const char *const pieces[] = {
      "한국어", " the",         "\xF0\x9F\x98\x80", "\xEA\xB0", "\xC3",         "  \n", "<|endoftext|>",
      "'s",     "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC0\x80", "\xE2\x80\xA8", "123"};
  size_t length = random_next(state) % 64, at = 0;
  uint64_t kind = random_next(state) % 4;
  while (at < length) {
    if (kind == 0 || random_next(state) % 8 == 0) {
      text[at++] = (char)random_next(state);
    } else if (kind == 1) {
      text[at++] = (char)(random_next(state) % 128);
    } else {
      const char *piece = pieces[random_next(state) % (sizeof(pieces) / sizeof(pieces[0]))];
      size_t size = strlen(piece);
      memcpy(text + at, piece, size);
      at += size;
    }
  }
  return at;
}

START_TEST(any_bytes_come_back_from_their_ids) {
  static const char *const names[] = {"gpt2.json", "llama3.json", "digits.json", "trained_256_0.json"};
  dure_tokenizer *tokenizer = open_fixture(names[_i]);
  uint64_t state = 20261121u + (uint64_t)_i;
  printf("seed %llu\n", (unsigned long long)state);
  dure_ids ids = {0};
  char text[128];
  const int rounds = is_full() ? 100000 : is_sparing() ? 4000 : 20000;
  for (int round = 0; round < rounds; round++) assert_round_trip(tokenizer, text, random_text(&state, text), &ids);
  dure_ids_free(&ids);
  dure_tokenizer_close(tokenizer);
}
END_TEST

START_TEST(a_long_word_takes_no_quadratic_time) {
  static const char *const fills[] = {"a", "ab", " ", "\xEA\xB0\x80", "\xFF"};
  enum { size = 600000 };  // quadratic time would be minutes
  dure_tokenizer *tokenizer = open_fixture("gpt2.json");
  char *text = malloc(size);
  dure_ids ids = {0};
  for (size_t i = 0; i < size; i++) text[i] = fills[_i][i % strlen(fills[_i])];
  uint64_t start = dure_os_nanoseconds();
  assert_round_trip(tokenizer, text, size, &ids);
  ck_assert_uint_lt(dure_os_nanoseconds() - start, 10000000000u);
  free(text);
  dure_ids_free(&ids);
  dure_tokenizer_close(tokenizer);
}
END_TEST

// ---- merging, against the definition ----

typedef struct listed_merge {
  uint32_t left, right, rank, id;
} listed_merge;

static size_t merge_by_definition(const listed_merge *merges, size_t merge_count, uint32_t *symbols, size_t count) {
  for (;;) {
    const listed_merge *best = NULL;
    size_t best_at = 0;
    for (size_t i = 0; i + 1 < count; i++) {
      for (size_t m = 0; m < merge_count; m++) {
        bool is_pair = merges[m].left == symbols[i] && merges[m].right == symbols[i + 1];
        if (is_pair && (best == NULL || merges[m].rank < best->rank)) {
          best = &merges[m];
          best_at = i;
        }
      }
    }
    if (best == NULL) return count;
    symbols[best_at] = best->id;
    memmove(symbols + best_at + 1, symbols + best_at + 2, (count - best_at - 2) * sizeof(uint32_t));
    count--;
  }
}

START_TEST(merging_joins_the_lowest_rank_first) {
  uint64_t state = 77u + (uint64_t)_i;
  printf("seed %llu\n", (unsigned long long)state);
  dure_bpe_scratch scratch = {0};
  for (int round = 0; round < 300; round++) {
    listed_merge merges[40];
    size_t merge_count = 0, count = 1 + random_next(&state) % 200, fast_count;
    uint32_t symbols[200], expected[200];
    dure_bpe_table table;
    require(dure_bpe_table_create(40, &table));
    for (uint32_t rank = 0; rank < 40; rank++) {  // later merges use the tokens of earlier ones, in any order of ranks
      listed_merge m = {(uint32_t)(random_next(&state) % (3 + rank / 2)),
                        (uint32_t)(random_next(&state) % (3 + rank / 2)), (rank * 7) % 40, 3 + rank};
      bool is_new = true;
      for (size_t k = 0; k < merge_count; k++)
        is_new = is_new && !(merges[k].left == m.left && merges[k].right == m.right);
      if (!is_new) continue;
      merges[merge_count++] = m;
      dure_bpe_table_add(&table, m.left, m.right, m.rank, m.id);
    }
    for (size_t i = 0; i < count; i++) symbols[i] = expected[i] = (uint32_t)(random_next(&state) % 3);
    size_t expected_count = merge_by_definition(merges, merge_count, expected, count);
    require(dure_bpe_merge(&table, &scratch, NULL, symbols, count, &fast_count));
    ck_assert_uint_eq(fast_count, expected_count);
    ck_assert(memcmp(symbols, expected, fast_count * sizeof(uint32_t)) == 0);
    dure_bpe_table_free(&table);
  }
  dure_bpe_scratch_free(&scratch);
}
END_TEST

// ---- special tokens ----

START_TEST(a_document_cannot_forge_a_special_token) {
  dure_tokenizer *tokenizer = open_fixture("gpt2.json");
  const char *text = "a<|endoftext|>b";
  dure_ids ids = {0};
  uint32_t end;
  ck_assert(dure_tokenizer_end_of_text(tokenizer, &end));
  require(dure_tokenizer_encode(tokenizer, text, strlen(text), NULL, &ids));
  for (size_t i = 0; i < ids.count; i++) ck_assert_uint_ne(ids.ids[i], end);
  ids.count = 0;
  require(dure_tokenizer_encode(tokenizer, text, strlen(text), &(dure_encode_options){.parse_special = true}, &ids));
  ck_assert_uint_eq(ids.count, 3);
  ck_assert_uint_eq(ids.ids[1], end);
  char *decoded;
  size_t length;
  require(dure_tokenizer_decode(tokenizer, ids.ids, ids.count, true, &decoded, &length));
  ck_assert_str_eq(decoded, "ab");
  free(decoded);
  dure_ids_free(&ids);
  dure_tokenizer_close(tokenizer);
}
END_TEST

START_TEST(tokens_are_found_by_their_text) {
  dure_tokenizer *tokenizer = open_fixture("gpt2.json");
  uint32_t id;
  const char *bytes;
  size_t length;
  bool is_special;
  ck_assert(dure_tokenizer_find(tokenizer, " the", &id));
  ck_assert(dure_tokenizer_token(tokenizer, id, &bytes, &length, &is_special));
  ck_assert_uint_eq(length, 4);
  ck_assert(memcmp(bytes, " the", 4) == 0 && !is_special);
  ck_assert(dure_tokenizer_find(tokenizer, "<|endoftext|>", &id));
  ck_assert(dure_tokenizer_token(tokenizer, id, &bytes, &length, &is_special) && is_special);
  ck_assert(!dure_tokenizer_find(tokenizer, "no such token", &id));
  ck_assert(!dure_tokenizer_token(tokenizer, dure_tokenizer_vocabulary_size(tokenizer), &bytes, &length, &is_special));
  uint32_t outside = dure_tokenizer_vocabulary_size(tokenizer);
  char *text;
  must_fail(dure_tokenizer_decode(tokenizer, &outside, 1, false, &text, &length), DURE_INVALID_ARGUMENT,
            "not in the vocabulary");
  dure_tokenizer_close(tokenizer);
}
END_TEST

// ---- streaming ----

START_TEST(a_stream_gives_whole_characters_and_all_bytes) {
  dure_tokenizer *tokenizer = open_fixture("trained_256_0.json");  // a token a byte: every character is split
  const char *text = "a한\xF0\x9F\x98\x80\xFF\xE0\x9F.\xED\x95";
  dure_ids ids = {0};
  require(dure_tokenizer_encode(tokenizer, text, strlen(text), NULL, &ids));
  ck_assert_uint_eq(ids.count, strlen(text));
  dure_token_stream *stream;
  require(dure_token_stream_create(tokenizer, true, &stream));
  char all[64];
  size_t total = 0, length;
  const char *bytes;
  for (size_t i = 0; i < ids.count; i++) {
    require(dure_token_stream_push(stream, ids.ids[i], &bytes, &length));
    if (i < 8) ck_assert_uint_eq(dure_utf8_valid_prefix(bytes, length), length);  // the valid part of the text
    memcpy(all + total, bytes, length);
    total += length;
  }
  ck_assert_uint_eq(total, strlen(text) - 2);
  dure_token_stream_flush(stream, &bytes, &length);
  ck_assert_uint_eq(length, 2);
  memcpy(all + total, bytes, length);
  ck_assert(memcmp(all, text, strlen(text)) == 0);
  uint32_t end;
  ck_assert(dure_tokenizer_end_of_text(tokenizer, &end));
  require(dure_token_stream_push(stream, end, &bytes, &length));
  ck_assert_uint_eq(length, 0);
  must_fail(dure_token_stream_push(stream, 1u << 30, &bytes, &length), DURE_INVALID_ARGUMENT, "not in the vocabulary");
  dure_token_stream_destroy(stream);
  dure_ids_free(&ids);
  dure_tokenizer_close(tokenizer);
}
END_TEST

// ---- threads ----

static void *encode_many(void *tokenizer) {
  uint64_t state = 5;
  char text[128];
  dure_ids ids = {0};
  for (int i = 0; i < 3000; i++) assert_round_trip(tokenizer, text, random_text(&state, text), &ids);
  dure_ids_free(&ids);
  return NULL;
}

START_TEST(several_threads_share_one_tokenizer) {
  dure_tokenizer *tokenizer = open_fixture("gpt2.json");
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, encode_many, tokenizer), 0);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  dure_tokenizer_close(tokenizer);
}
END_TEST

// ---- files ----

START_TEST(a_saved_tokenizer_opens_again_from_file_and_directory) {
  char folder[] = "/tmp/dure-tokenizer-XXXXXX", path[64];
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(path, sizeof(path), "%s/tokenizer.json", folder);
  dure_tokenizer *tokenizer = open_fixture("gpt2.json"), *again;
  require(dure_tokenizer_save(tokenizer, path));
  size_t length, again_length;
  const char *json = dure_tokenizer_json(tokenizer, &length);
  require(dure_tokenizer_open(folder, &again));
  ck_assert(memcmp(dure_tokenizer_json(again, &again_length), json, length) == 0 && again_length == length);
  dure_tokenizer_close(again);
  require(dure_os_remove_tree(folder));
  must_fail(dure_tokenizer_open(path, &again), DURE_NOT_FOUND, path);
  dure_tokenizer_close(tokenizer);
}
END_TEST

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define FILE_OF(model, rest) "{\"model\":{" model "},\"pre_tokenizer\":" BYTE_LEVEL rest "}"
#define VOCAB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}"
#define MODEL VOCAB ",\"merges\":[\"a b\"]"

static const struct {
  const char *json;
  dure_code code;
  const char *words;
} bad_files[] = {
    {"", DURE_CORRUPT, "JSON"},
    {"{", DURE_CORRUPT, "line 1"},
    {"[]", DURE_CORRUPT, "expected an object"},
    {"{}", DURE_CORRUPT, "\"model\""},
    {"{\"model\":[]}", DURE_CORRUPT, "model: expected an object, found an array"},
    {"{\"model\":{\"type\":\"WordPiece\"}}", DURE_UNSUPPORTED, "WordPiece"},
    {"{\"model\":{\"type\":\"Unigram\"}}", DURE_CORRUPT, "no \"vocab\""},
    {FILE_OF("\"type\":5", ""), DURE_CORRUPT, "model.type"},
    {FILE_OF("\"vocab\":{}", ""), DURE_CORRUPT, "no \"merges\""},
    {FILE_OF("\"vocab\":{},\"merges\":[]", ""), DURE_CORRUPT, "empty"},
    {FILE_OF("\"type\":\"BPE\",\"vocab\":[],\"merges\":[]", ""), DURE_CORRUPT, "model.vocab"},
    {FILE_OF("\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]", ""), DURE_CORRUPT, "id 0 is given twice"},
    {FILE_OF("\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]", ""), DURE_CORRUPT, "duplicate"},
    {FILE_OF("\"vocab\":{\"a\":-1},\"merges\":[]", ""), DURE_CORRUPT, "found -1"},
    {FILE_OF("\"vocab\":{\"a\":1.5},\"merges\":[]", ""), DURE_CORRUPT, "'a'"},
    {FILE_OF("\"vocab\":{\"a\":4194304},\"merges\":[]", ""), DURE_CORRUPT, "4194304"},
    {FILE_OF("\"vocab\":{\"a\":99999999999999999999},\"merges\":[]", ""), DURE_CORRUPT, "too big"},
    {FILE_OF(VOCAB ",\"merges\":[\"a\"]", ""), DURE_CORRUPT, "model.merges[0]"},
    {FILE_OF(VOCAB ",\"merges\":[\"a b\",\"a  b\"]", ""), DURE_CORRUPT, "model.merges[1]"},
    {FILE_OF(VOCAB ",\"merges\":[\"a c\"]", ""), DURE_CORRUPT, "'c' is not in the vocabulary"},
    {FILE_OF(VOCAB ",\"merges\":[[\"b\",\"a\"]]", ""), DURE_CORRUPT, "makes 'ba'"},
    {FILE_OF(VOCAB ",\"merges\":[[\"b\"]]", ""), DURE_CORRUPT, "array of two strings"},
    {FILE_OF(VOCAB ",\"merges\":[7]", ""), DURE_CORRUPT, "found a whole number"},
    {FILE_OF(MODEL ",\"dropout\":0.1", ""), DURE_UNSUPPORTED, "dropout"},
    {FILE_OF(MODEL ",\"end_of_word_suffix\":\"</w>\"", ""), DURE_UNSUPPORTED, "end_of_word_suffix"},
    {FILE_OF("\"type\":\"Unigram\",\"vocab\":[[\"a\",-1]]", ""), DURE_UNSUPPORTED,
     "ByteLevel is not supported with model.type Unigram"},
    {"{\"model\":{\"vocab\":[[\"a\"]]}}", DURE_CORRUPT, "model.vocab[0]"},
    {"{\"model\":{\"vocab\":[[\"a\",-1]],\"unk_id\":1}}", DURE_CORRUPT, "model.unk_id"},
    {FILE_OF(MODEL ",\"unk_token\":\"<unk>\"", ""), DURE_CORRUPT, "<unk>"},
    {FILE_OF(MODEL, ",\"added_tokens\":{}"), DURE_CORRUPT, "added_tokens"},
    {FILE_OF(MODEL, ",\"added_tokens\":[{\"id\":3}]"), DURE_CORRUPT, "added_tokens[0].content"},
    {FILE_OF(MODEL, ",\"added_tokens\":[{\"id\":\"3\",\"content\":\"x\"}]"), DURE_CORRUPT, "added_tokens[0]"},
    {FILE_OF(MODEL, ",\"added_tokens\":[{\"id\":1,\"content\":\"x\"}]"), DURE_CORRUPT, "another token's"},
    {FILE_OF(MODEL, ",\"added_tokens\":[{\"id\":3,\"content\":\"a\"}]"), DURE_CORRUPT, "id 3 here and 0"},
    {FILE_OF(MODEL, ",\"added_tokens\":[{\"id\":3,\"content\":\"x\"},{\"id\":4,\"content\":\"x\"}]"), DURE_CORRUPT,
     "twice"},
    {FILE_OF(MODEL, ",\"added_tokens\":[{\"id\":3,\"content\":\"x\"},{\"id\":3,\"content\":\"y\"}]"), DURE_CORRUPT,
     "another token's"},
    {FILE_OF(MODEL, ",\"added_tokens\":[{\"id\":3,\"content\":\"x\",\"special\":1}]"), DURE_CORRUPT, "special"},
    {FILE_OF(MODEL, ",\"normalizer\":{\"type\":\"BertNormalizer\"}"), DURE_UNSUPPORTED, "BertNormalizer"},
    {FILE_OF(MODEL, ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}"), DURE_CORRUPT,
     "precompiled_charsmap"},
    {FILE_OF(MODEL, ",\"normalizer\":{}"), DURE_CORRUPT, "normalizer.type"},
    {FILE_OF(MODEL, ",\"decoder\":{\"type\":\"WordPiece\"}"), DURE_UNSUPPORTED, "WordPiece"},
    {FILE_OF(MODEL, ",\"post_processor\":{\"type\":\"Other\"}"), DURE_UNSUPPORTED, "Other"},
    {FILE_OF(MODEL, ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",9],\"sep\":[\"b\",1]}"),
     DURE_CORRUPT, "token id 9"},
    {FILE_OF(MODEL,
             ",\"added_tokens\":[{\"id\":9,\"content\":\"x\"}],\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":"
             "[\"a\",5]}"),
     DURE_CORRUPT, "token id 5"},
    {"{\"model\":{" MODEL "},\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}", DURE_UNSUPPORTED, "UnicodeScripts"},
    {"{\"model\":{" MODEL "},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL "," BYTE_LEVEL
     "]}}",
     DURE_UNSUPPORTED, "after ByteLevel"},
    {"{\"model\":{" MODEL
     "},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}}",
     DURE_UNSUPPORTED, "cannot be compiled"},
    {"{\"model\":{" MODEL
     "},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a-z&&[^b]]\"},\"behavior\":\"Isolated\"}}",
     DURE_UNSUPPORTED, "intersection"},
    {"{\"model\":{" MODEL
     "},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Other\"}}",
     DURE_UNSUPPORTED, "MergedWithNext"},
    {"{\"model\":{" MODEL "},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":\"a\",\"behavior\":\"Isolated\"}}",
     DURE_CORRUPT, "pattern"},
};

START_TEST(a_bad_file_is_refused_by_what_is_wrong_with_it) {
  dure_tokenizer *tokenizer = NULL;
  must_fail(dure_tokenizer_parse(bad_files[_i].json, strlen(bad_files[_i].json), &tokenizer), bad_files[_i].code,
            bad_files[_i].words);
  ck_assert_ptr_null(tokenizer);
}
END_TEST

START_TEST(a_deeply_nested_file_is_refused) {
  enum { depth = 1000000 };
  char *json = malloc(depth);
  memset(json, _i == 0 ? '[' : '{', depth);
  for (int i = 1; _i == 1 && i + 4 < depth; i += 5) memcpy(json + i, "\"a\":{", 5);
  dure_tokenizer *tokenizer;
  must_fail(dure_tokenizer_parse(json, depth, &tokenizer), DURE_CORRUPT, "");
  free(json);
}
END_TEST

START_TEST(a_minimal_file_encodes) {
  const char *json = FILE_OF(MODEL, ",\"added_tokens\":[{\"id\":9,\"content\":\"<x>\",\"special\":true}]");
  dure_tokenizer *tokenizer;
  require(dure_tokenizer_parse(json, strlen(json), &tokenizer));
  dure_ids ids = {0};
  // The bytes without a token vanish, as in `tokenizers`.
  require(dure_tokenizer_encode(tokenizer, "abc<x>b", 7, &(dure_encode_options){.parse_special = true}, &ids));
  ck_assert_uint_eq(ids.count, 3);
  ck_assert(ids.ids[0] == 2 && ids.ids[1] == 9 && ids.ids[2] == 1);
  ck_assert_uint_eq(dure_tokenizer_vocabulary_size(tokenizer), 10);  // 3 to 8 are holes
  const char *bytes;
  size_t length;
  bool is_special;
  ck_assert(!dure_tokenizer_token(tokenizer, 5, &bytes, &length, &is_special));
  dure_ids_free(&ids);
  dure_tokenizer_close(tokenizer);
}
END_TEST

START_TEST(a_damaged_file_never_does_harm) {
  dure_tokenizer *tokenizer = open_fixture("llama3.json"), *damaged;
  size_t length;
  const char *json = dure_tokenizer_json(tokenizer, &length);
  char *copy = malloc(length);
  uint64_t state = 4242u + (uint64_t)_i;
  printf("seed %llu\n", (unsigned long long)state);
  for (int round = 0; round < 150; round++) {
    memcpy(copy, json, length);
    size_t changes = 1 + random_next(&state) % 3, size = round % 4 == 0 ? random_next(&state) % length : length;
    for (size_t i = 0; i < changes; i++)
      copy[random_next(&state) % length] = "0\"{}[],:a\\ 9\x80"[random_next(&state) % 13];
    dure_status status = dure_tokenizer_parse(copy, size, &damaged);
    if (status == NULL) {
      dure_ids ids = {0};
      const char *text = "The tokenizer 학습 <|begin|> 123's\n\n x";
      dure_status_free(dure_tokenizer_encode(damaged, text, strlen(text),
                                             &(dure_encode_options){.parse_special = true, .add_special = true}, &ids));
      dure_ids_free(&ids);
    }
    dure_status_free(status);
    dure_tokenizer_close(damaged);
  }
  free(copy);
  dure_tokenizer_close(tokenizer);
}
END_TEST

// ---- training ----

static dure_status no_text(void *context, const char **out_text, size_t *out_length) {
  *out_text = NULL;
  *out_length = 0;
  ++*(int *)context;
  return NULL;
}

static dure_status failing_text(void *context, const char **out_text, size_t *out_length) {
  (void)context;
  *out_text = NULL;
  *out_length = 0;
  return dure_fail(DURE_IO, "the disk is gone");
}

START_TEST(a_vocabulary_of_257_is_bytes_and_end_of_text) {
  int calls = 0;
  dure_tokenizer *tokenizer;
  require(dure_tokenizer_train(no_text, &calls, &(dure_bpe_train_options){.vocabulary_size = 257}, &tokenizer));
  ck_assert_int_eq(calls, 0);
  ck_assert_uint_eq(dure_tokenizer_vocabulary_size(tokenizer), 257);
  uint32_t end;
  ck_assert(dure_tokenizer_end_of_text(tokenizer, &end));
  ck_assert_uint_eq(end, 0);
  dure_ids ids = {0};
  require(dure_tokenizer_encode(tokenizer, "!\"", 2, NULL, &ids));
  ck_assert(ids.count == 2 && ids.ids[0] == 1 && ids.ids[1] == 2);
  dure_ids_free(&ids);
  dure_tokenizer_close(tokenizer);
}
END_TEST

START_TEST(training_passes_failures_on) {
  dure_tokenizer *tokenizer;
  const char *twice[] = {"<x>", "<x>"}, *empty[] = {""}, *broken[] = {"\xFF"};
  must_fail(dure_tokenizer_train(failing_text, NULL, &(dure_bpe_train_options){.vocabulary_size = 300}, &tokenizer),
            DURE_IO, "the disk is gone");
  must_fail(dure_tokenizer_train(
                no_text, NULL,
                &(dure_bpe_train_options){.vocabulary_size = 300, .special_tokens = twice, .special_token_count = 2},
                &tokenizer),
            DURE_INVALID_ARGUMENT, "twice");
  must_fail(dure_tokenizer_train(
                no_text, NULL,
                &(dure_bpe_train_options){.vocabulary_size = 300, .special_tokens = empty, .special_token_count = 1},
                &tokenizer),
            DURE_INVALID_ARGUMENT, "special token 0");
  must_fail(dure_tokenizer_train(
                no_text, NULL,
                &(dure_bpe_train_options){.vocabulary_size = 300, .special_tokens = broken, .special_token_count = 1},
                &tokenizer),
            DURE_INVALID_ARGUMENT, "UTF-8");
  must_fail(dure_tokenizer_train(no_text, NULL, &(dure_bpe_train_options){.vocabulary_size = UINT32_MAX}, &tokenizer),
            DURE_INVALID_ARGUMENT, "at most");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tokenizer");
  TCase *cases = tcase_create("tokenizer");
  tcase_set_timeout(cases, 300);
  tcase_add_loop_test(cases, any_bytes_come_back_from_their_ids, 0, 4);
  tcase_add_loop_test(cases, a_long_word_takes_no_quadratic_time, 0, 5);
  tcase_add_loop_test(cases, merging_joins_the_lowest_rank_first, 0, 2);
  tcase_add_test(cases, a_document_cannot_forge_a_special_token);
  tcase_add_test(cases, tokens_are_found_by_their_text);
  tcase_add_test(cases, a_stream_gives_whole_characters_and_all_bytes);
  tcase_add_test(cases, several_threads_share_one_tokenizer);
  tcase_add_test(cases, a_saved_tokenizer_opens_again_from_file_and_directory);
  tcase_add_loop_test(cases, a_bad_file_is_refused_by_what_is_wrong_with_it, 0,
                      sizeof(bad_files) / sizeof(bad_files[0]));
  tcase_add_loop_test(cases, a_deeply_nested_file_is_refused, 0, 2);
  tcase_add_test(cases, a_minimal_file_encodes);
  tcase_add_loop_test(cases, a_damaged_file_never_does_harm, 0, 4);
  tcase_add_test(cases, a_vocabulary_of_257_is_bytes_and_end_of_text);
  tcase_add_test(cases, training_passes_failures_on);
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
