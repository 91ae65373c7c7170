// Datasets and loaders: what is read is what was packed, every token is seen, hostile files are refused.
#include <xxhash.h>

#include "data/loader.h"
#include "data/shards.h"
#include "data_files.h"

enum { TRAIN_TOKENS = 1003, HELD_OUT_TOKENS = 107, VOCABULARY = 1000, SHARD_TOKENS = 300, CONTEXT = 16 };

// Token i of a split: distinct from its neighbours, below VOCABULARY.
static uint32_t token_at(dure_split split, uint64_t i) {
  return (uint32_t)((i * 7 + (split == DURE_SPLIT_TRAIN ? 0 : 3)) % VOCABULARY);
}

static json_t *write_split(const char *directory, dure_split split, uint32_t bytes_per_token) {
  dure_shards *shards = NULL;
  const char *prefix = split == DURE_SPLIT_TRAIN ? "shard" : "heldout";
  require(dure_shards_create(directory, prefix, bytes_per_token, SHARD_TOKENS, &shards));
  uint64_t tokens = split == DURE_SPLIT_TRAIN ? TRAIN_TOKENS : HELD_OUT_TOKENS;
  for (uint64_t i = 0; i < tokens; i++) {
    uint32_t id = token_at(split, i);
    require(dure_shards_write(shards, &id, 1));
  }
  json_t *list = NULL;
  require(dure_shards_finish(shards, &list));
  dure_shards_destroy(shards);
  return json_pack("{s:I, s:i, s:i, s:o}", "tokens", (json_int_t)tokens, "documents", 5, "text_bytes", 4321, "shards",
                   list);
}

// dataset.json as an object that a test may spoil before writing it.
static json_t *describe(uint32_t bytes_per_token) {
  const char *tokenizer = "{}";
  write_test_text("tokenizer.json", tokenizer);
  char digits[17];
  snprintf(digits, sizeof(digits), "%016llx", (unsigned long long)XXH64(tokenizer, 2, 0));
  json_t *train = write_split(test_directory, DURE_SPLIT_TRAIN, bytes_per_token);
  json_t *held_out = write_split(test_directory, DURE_SPLIT_HELD_OUT, bytes_per_token);
  return json_pack("{s:s, s:i, s:s, s:i, s:i, s:s, s:{s:o, s:o}}", "format", "dure-dataset", "version", 1, "dtype",
                   bytes_per_token == 2 ? "u16" : "u32", "vocabulary_size", VOCABULARY, "end_of_text", 999,
                   "tokenizer_xxh64", digits, "splits", "train", train, "held_out", held_out);
}

static void write_description(json_t *root) {
  char *text = json_dumps(root, 0);
  write_test_text("dataset.json", text);
  free(text);
}

static dure_dataset *open_dataset(uint32_t bytes_per_token) {
  json_t *root = describe(bytes_per_token);
  write_description(root);
  json_decref(root);
  dure_dataset *dataset = NULL;
  require(dure_dataset_open(test_directory, &dataset));
  return dataset;
}

START_TEST(reads_what_was_written_across_shards) {
  for (uint32_t width = 2; width <= 4; width += 2) {
    dure_dataset *dataset = open_dataset(width);
    ck_assert_uint_eq(dure_dataset_counts(dataset, DURE_SPLIT_TRAIN).tokens, TRAIN_TOKENS);
    ck_assert_uint_eq(dure_dataset_counts(dataset, DURE_SPLIT_HELD_OUT).text_bytes, 4321);
    ck_assert_uint_eq(dure_dataset_bytes_per_token(dataset), width);
    uint32_t ids[TRAIN_TOKENS];
    require(dure_dataset_read(dataset, DURE_SPLIT_TRAIN, 0, TRAIN_TOKENS, ids));
    for (uint64_t i = 0; i < TRAIN_TOKENS; i++) ck_assert_uint_eq(ids[i], token_at(DURE_SPLIT_TRAIN, i));
    require(dure_dataset_read(dataset, DURE_SPLIT_TRAIN, 299, 2, ids));
    ck_assert_uint_eq(ids[1], token_at(DURE_SPLIT_TRAIN, 300));
    require(dure_dataset_read(dataset, DURE_SPLIT_TRAIN, TRAIN_TOKENS, 0, ids));
    require_failure(dure_dataset_read(dataset, DURE_SPLIT_TRAIN, TRAIN_TOKENS - 1, 2, ids), DURE_INVALID_ARGUMENT, "");
    require_failure(dure_dataset_read(dataset, DURE_SPLIT_TRAIN, UINT64_MAX, 2, ids), DURE_INVALID_ARGUMENT, "");
    require(dure_dataset_verify(dataset));
    dure_dataset_close(dataset);
  }
}
END_TEST

START_TEST(permutation_is_a_bijection_for_every_size) {
  static const uint64_t sizes[] = {1, 2, 3, 4, 5, 7, 15, 16, 17, 63, 64, 65, 1000, 4097, 65537};
  for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
    for (uint64_t key = 0; key < 3; key++) {
      unsigned char *seen = calloc(sizes[s], 1);
      for (uint64_t i = 0; i < sizes[s]; i++) {
        uint64_t to = dure_loader_permute(i, sizes[s], key);
        ck_assert_uint_lt(to, sizes[s]);
        ck_assert_msg(!seen[to], "size %llu key %llu", (unsigned long long)sizes[s], (unsigned long long)key);
        seen[to] = 1;
      }
      free(seen);
    }
  }
}
END_TEST

START_TEST(permutation_mixes_and_depends_on_its_key) {
  const uint64_t size = 10000;
  uint64_t fixed = 0, successors = 0, equal = 0;
  for (uint64_t i = 0; i + 1 < size; i++) {
    uint64_t to = dure_loader_permute(i, size, 42);
    fixed += to == i;
    successors += dure_loader_permute(i + 1, size, 42) == to + 1;
    equal += dure_loader_permute(i, size, 43) == to;
  }
  // Each count is about 1 for a random permutation; 12 has a probability below 1e-9.
  ck_assert_uint_lt(fixed, 12);
  ck_assert_uint_lt(successors, 12);
  ck_assert_uint_lt(equal, 12);
}
END_TEST

START_TEST(unshuffled_windows_run_through_the_text) {
  dure_dataset *dataset = open_dataset(2);
  dure_loader *loader = NULL;
  require(dure_loader_create(dataset, DURE_SPLIT_TRAIN, CONTEXT, 1, false, &loader));
  uint64_t n = dure_loader_samples_per_epoch(loader);
  ck_assert_uint_eq(n, (TRAIN_TOKENS - 1) / CONTEXT);
  uint32_t inputs[3 * CONTEXT], labels[3 * CONTEXT];
  require(dure_loader_read(loader, n - 1, 3, inputs, labels));  // the last of one epoch, two of the next
  for (int row = 0; row < 3; row++) {
    uint64_t start = ((n - 1 + (uint64_t)row) % n) * CONTEXT;
    for (uint64_t j = 0; j < CONTEXT; j++) {
      ck_assert_uint_eq(inputs[row * CONTEXT + j], token_at(DURE_SPLIT_TRAIN, start + j));
      ck_assert_uint_eq(labels[row * CONTEXT + j], token_at(DURE_SPLIT_TRAIN, start + j + 1));
    }
  }
  dure_loader_destroy(loader);
  dure_dataset_close(dataset);
}
END_TEST

// Where in the ring a label lies, from its value: ids repeat only VOCABULARY tokens apart, so only 3 are ambiguous.
START_TEST(a_shuffled_epoch_has_each_token_once_as_a_label) {
  dure_dataset *dataset = open_dataset(4);
  dure_loader *loader = NULL;
  require(dure_loader_create(dataset, DURE_SPLIT_TRAIN, CONTEXT, 7, true, &loader));
  uint64_t n = dure_loader_samples_per_epoch(loader);
  uint32_t first_labels[2] = {0};
  for (uint64_t epoch = 0; epoch < 2; epoch++) {
    uint32_t expected[VOCABULARY] = {0}, counts[VOCABULARY] = {0};
    for (uint64_t i = 0; i < TRAIN_TOKENS; i++) expected[token_at(DURE_SPLIT_TRAIN, i)]++;
    uint64_t labels_seen = 0;
    for (uint64_t i = 0; i < n; i++) {
      uint32_t inputs[CONTEXT], labels[CONTEXT];
      require(dure_loader_read(loader, epoch * n + i, 1, inputs, labels));
      ck_assert_mem_eq(inputs + 1, labels, (CONTEXT - 1) * sizeof(uint32_t));
      if (i == 0) first_labels[epoch] = labels[0];
      for (int j = 0; j < CONTEXT; j++, labels_seen++) counts[labels[j]]++;
    }
    ck_assert_uint_eq(labels_seen, n * CONTEXT);
    for (int id = 0; id < VOCABULARY; id++) ck_assert_uint_le(counts[id], expected[id]);
  }
  ck_assert_uint_ne(first_labels[0], first_labels[1]);  // for this seed
  dure_loader_destroy(loader);
  dure_dataset_close(dataset);
}
END_TEST

START_TEST(a_sample_depends_on_nothing_but_its_number_and_the_seed) {
  dure_dataset *dataset = open_dataset(2);
  dure_loader *one = NULL, *two = NULL, *other = NULL;
  require(dure_loader_create(dataset, DURE_SPLIT_TRAIN, CONTEXT, 5, true, &one));
  require(dure_loader_create(dataset, DURE_SPLIT_TRAIN, CONTEXT, 5, true, &two));
  require(dure_loader_create(dataset, DURE_SPLIT_TRAIN, CONTEXT, 6, true, &other));
  uint32_t batch[2][8 * CONTEXT], single[2][CONTEXT];
  require(dure_loader_read(one, 1000000007, 8, batch[0], batch[1]));
  uint64_t same_under_other_seed = 0;
  for (uint32_t i = 8; i-- > 0;) {  // backwards, one at a time
    require(dure_loader_read(two, 1000000007 + i, 1, single[0], single[1]));
    ck_assert_mem_eq(single[0], batch[0] + i * CONTEXT, sizeof(single[0]));
    ck_assert_mem_eq(single[1], batch[1] + i * CONTEXT, sizeof(single[1]));
    require(dure_loader_read(other, 1000000007 + i, 1, single[0], single[1]));
    same_under_other_seed += memcmp(single[0], batch[0] + i * CONTEXT, sizeof(single[0])) == 0;
  }
  ck_assert_uint_lt(same_under_other_seed, 8);
  dure_loader_destroy(one);
  dure_loader_destroy(two);
  dure_loader_destroy(other);
  dure_dataset_close(dataset);
}
END_TEST

START_TEST(held_out_tokens_are_labels_exactly_once_in_order) {
  dure_dataset *dataset = open_dataset(2);
  dure_loader *loader = NULL;
  require(dure_loader_create(dataset, DURE_SPLIT_HELD_OUT, CONTEXT, 0, true, &loader));
  uint64_t n = dure_loader_samples_per_epoch(loader), position = 0;
  ck_assert_uint_eq(n, (HELD_OUT_TOKENS + CONTEXT - 1) / CONTEXT);
  uint32_t all[HELD_OUT_TOKENS];
  require(dure_dataset_read(dataset, DURE_SPLIT_HELD_OUT, 0, HELD_OUT_TOKENS, all));
  for (uint64_t i = 0; i < n + 2; i++) {  // two samples of padding after the end
    uint32_t inputs[CONTEXT], labels[CONTEXT], window[2][CONTEXT];
    require(dure_loader_read(loader, i, 1, inputs, labels));
    for (int j = 0; j < CONTEXT; j++) {
      if (position == HELD_OUT_TOKENS) {
        ck_assert_uint_eq(labels[j], DURE_IGNORE_LABEL);
        ck_assert_uint_eq(inputs[j], 999);
        continue;
      }
      ck_assert_uint_eq(labels[j], token_at(DURE_SPLIT_HELD_OUT, position));
      ck_assert_uint_eq(inputs[j], position == 0 ? 999 : token_at(DURE_SPLIT_HELD_OUT, position - 1));
      position++;
    }
    dure_loader_window(all, HELD_OUT_TOKENS, 999, CONTEXT, i, window[0], window[1]);
    ck_assert_mem_eq(window[0], inputs, sizeof(inputs));
    ck_assert_mem_eq(window[1], labels, sizeof(labels));
  }
  ck_assert_uint_eq(position, HELD_OUT_TOKENS);
  dure_loader_destroy(loader);
  dure_dataset_close(dataset);
}
END_TEST

START_TEST(impossible_contexts_are_refused) {
  dure_dataset *dataset = open_dataset(2);
  dure_loader *loader = NULL;
  require_failure(dure_loader_create(dataset, DURE_SPLIT_TRAIN, 0, 0, false, &loader), DURE_INVALID_ARGUMENT, "");
  require_failure(dure_loader_create(dataset, DURE_SPLIT_TRAIN, TRAIN_TOKENS, 0, false, &loader), DURE_INVALID_ARGUMENT,
                  "");
  require(dure_loader_create(dataset, DURE_SPLIT_TRAIN, TRAIN_TOKENS - 1, 0, true, &loader));
  ck_assert_uint_eq(dure_loader_samples_per_epoch(loader), 1);
  static uint32_t inputs[TRAIN_TOKENS], labels[TRAIN_TOKENS];
  require(dure_loader_read(loader, UINT64_MAX, 1, inputs, labels));
  dure_loader_destroy(loader);
  dure_dataset_close(dataset);
}
END_TEST

// ---- hostile files ----

static void require_refusal(json_t *root, dure_code code) {
  write_description(root);
  dure_dataset *dataset = NULL;
  require_failure(dure_dataset_open(test_directory, &dataset), code, "");
  ck_assert_ptr_null(dataset);
}

START_TEST(contradicting_descriptions_are_refused) {
  static const struct {
    const char *path;   // keys to follow, then the one to set, separated by dots; "0" is the first shard
    const char *value;  // JSON
  } spoilings[] = {
      {"format", "\"other\""},
      {"format", "7"},
      {"dtype", "\"u8\""},
      {"dtype", "null"},
      {"vocabulary_size", "0"},
      {"vocabulary_size", "-1"},
      {"vocabulary_size", "4294967296"},
      {"vocabulary_size", "1.5"},
      {"end_of_text", "1000"},
      {"end_of_text", "-1"},
      {"tokenizer_xxh64", "\"0000000000000000\""},
      {"tokenizer_xxh64", "\"zz\""},
      {"splits", "[]"},
      {"splits.train", "null"},
      {"splits.held_out", "3"},
      {"splits.train.tokens", "1002"},
      {"splits.train.tokens", "9223372036854775807"},
      {"splits.train.documents", "2000"},
      {"splits.train.text_bytes", "-5"},
      {"splits.train.shards", "{}"},
      {"splits.train.shards.0", "1"},
      {"splits.train.shards.0.file", "\"../shard-00000.bin\""},
      {"splits.train.shards.0.file", "\"/etc/passwd\""},
      {"splits.train.shards.0.file", "\".\""},
      {"splits.train.shards.0.file", "\"tokenizer.json\""},
      {"splits.train.shards.0.tokens", "299"},
      {"splits.train.shards.0.tokens", "0"},
      {"splits.train.shards.0.tokens", "1152921504606846976"},
      {"splits.train.shards.0.xxh64", "12"},
  };
  for (size_t i = 0; i < sizeof(spoilings) / sizeof(spoilings[0]); i++) {
    json_t *root = describe(2), *value = json_loads(spoilings[i].value, JSON_DECODE_ANY, NULL), *cursor = root;
    ck_assert_ptr_nonnull(value);
    char path[64];
    snprintf(path, sizeof(path), "%s", spoilings[i].path);
    char *key = strtok(path, ".");
    for (char *next = strtok(NULL, "."); next != NULL; next = strtok(NULL, ".")) {
      cursor = json_is_array(cursor) ? json_array_get(cursor, 0) : json_object_get(cursor, key);
      key = next;
    }
    int failed = json_is_array(cursor) ? json_array_set_new(cursor, 0, value) : json_object_set_new(cursor, key, value);
    ck_assert_int_eq(failed, 0);
    require_refusal(root, DURE_CORRUPT);
    json_decref(root);
  }
}
END_TEST

START_TEST(other_versions_are_unsupported_and_missing_files_not_found) {
  json_t *root = describe(2);
  json_object_set_new(root, "version", json_integer(2));
  require_refusal(root, DURE_UNSUPPORTED);
  json_object_set_new(root, "version", json_integer(1));
  write_description(root);
  json_decref(root);
  dure_dataset *dataset = NULL;
  ck_assert_int_eq(unlink(in_test_directory("shard-00002.bin")), 0);
  require_failure(dure_dataset_open(test_directory, &dataset), DURE_NOT_FOUND, "");
  require_failure(dure_dataset_open(in_test_directory("nowhere"), &dataset), DURE_NOT_FOUND, "");
  write_test_text("dataset.json", "{\"format\": \"dure-dataset\", ");
  require_failure(dure_dataset_open(test_directory, &dataset), DURE_CORRUPT, "");
  write_test_text("dataset.json", "[1, 2]");
  require_failure(dure_dataset_open(test_directory, &dataset), DURE_CORRUPT, "");
}
END_TEST

START_TEST(cut_and_changed_shards_are_noticed) {
  dure_dataset_close(open_dataset(2));
  size_t size = 0;
  char *bytes = read_test_file(in_test_directory("shard-00001.bin"), &size);
  write_test_file("shard-00001.bin", bytes, size - 1);
  dure_dataset *dataset = NULL;
  require_failure(dure_dataset_open(test_directory, &dataset), DURE_CORRUPT, "");
  bytes[10] = (char)0xe8;  // id 0x3e8 = 1000: just outside the vocabulary
  bytes[11] = 3;
  write_test_file("shard-00001.bin", bytes, size);
  free(bytes);
  require(dure_dataset_open(test_directory, &dataset));
  uint32_t ids[8];
  require(dure_dataset_read(dataset, DURE_SPLIT_TRAIN, 296, 8, ids));
  require_failure(dure_dataset_read(dataset, DURE_SPLIT_TRAIN, 299, 8, ids), DURE_CORRUPT, "");
  require_failure(dure_dataset_verify(dataset), DURE_CORRUPT, "");
  dure_dataset_close(dataset);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("data_loader");
  TCase *test_case = tcase_create("dataset and loader");
  tcase_add_checked_fixture(test_case, make_test_directory, remove_test_directory);
  tcase_set_timeout(test_case, 60);
  tcase_add_test(test_case, reads_what_was_written_across_shards);
  tcase_add_test(test_case, permutation_is_a_bijection_for_every_size);
  tcase_add_test(test_case, permutation_mixes_and_depends_on_its_key);
  tcase_add_test(test_case, unshuffled_windows_run_through_the_text);
  tcase_add_test(test_case, a_shuffled_epoch_has_each_token_once_as_a_label);
  tcase_add_test(test_case, a_sample_depends_on_nothing_but_its_number_and_the_seed);
  tcase_add_test(test_case, held_out_tokens_are_labels_exactly_once_in_order);
  tcase_add_test(test_case, impossible_contexts_are_refused);
  tcase_add_test(test_case, contradicting_descriptions_are_refused);
  tcase_add_test(test_case, other_versions_are_unsupported_and_missing_files_not_found);
  tcase_add_test(test_case, cut_and_changed_shards_are_noticed);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
