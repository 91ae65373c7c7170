// What the other kinds of tokenizers promise: training of pieces, drawing segmentations, files refused by name,
// reports.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/tokenizer_fertility.h"
#include "data/tokenizer_parts.h"
#include "data/tokenizer_pieces.h"
#include "runtime/os.h"
#include "tests/suite.h"

static void must_fail(dure_status status, dure_code code, const char *words) {
  ck_assert_msg(status != NULL, "succeeded; expected a failure about '%s'", words);
  ck_assert_msg(dure_status_code(status) == code && strstr(dure_status_message(status), words) != NULL,
                "expected '%s' about '%s', found '%s': %s", dure_code_name(code), words,
                dure_code_name(dure_status_code(status)), dure_status_message(status));
  dure_status_free(status);
}

static const char *fixture(const char *name) {
  static char path[4096];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(path), "%s/tests/golden/tokenizer/%s", source != NULL ? source : ".", name);
  return path;
}

static dure_tokenizer *open_fixture(const char *name) {
  dure_tokenizer *tokenizer;
  require(dure_tokenizer_open(fixture(name), &tokenizer));
  return tokenizer;
}

static dure_tokenizer *train_pieces_by(bool is_unigram, bool byte_fallback, uint32_t threads) {
  char *text;
  size_t length;
  require(dure_os_read_file(fixture("corpus.txt"), 1 << 20, &text, &length));
  dure_pieces_options options = {.is_unigram = is_unigram,
                                 .vocabulary_size = 800,
                                 .character_coverage = 0.98,
                                 .byte_fallback = byte_fallback,
                                 .threads = threads};
  dure_pieces_trainer *trainer;
  dure_tokenizer *tokenizer;
  require(dure_pieces_trainer_create(&options, &trainer));
  require(dure_pieces_trainer_add(trainer, text, length));
  require(dure_pieces_trainer_finish(trainer, &tokenizer));
  dure_pieces_trainer_destroy(trainer);
  free(text);
  return tokenizer;
}

static dure_tokenizer *train_pieces(bool is_unigram, bool byte_fallback) {
  return train_pieces_by(is_unigram, byte_fallback, 1);
}

static void assert_comes_back(const dure_tokenizer *tokenizer, const char *text, const dure_encode_options *options) {
  dure_ids ids = {0};
  char *decoded;
  size_t length;
  require(dure_tokenizer_encode(tokenizer, text, strlen(text), options, &ids));
  require(dure_tokenizer_decode(tokenizer, ids.ids, ids.count, true, &decoded, &length));
  ck_assert_str_eq(decoded, text);
  free(decoded);
  dure_ids_free(&ids);
}

static size_t count_tokens(const dure_tokenizer *tokenizer, const char *text) {
  dure_ids ids = {0};
  require(dure_tokenizer_encode(tokenizer, text, strlen(text), NULL, &ids));
  size_t count = ids.count;
  dure_ids_free(&ids);
  return count;
}

static const char *const texts[] = {"안녕하세요, 세계!",
                                    " two  spaces \n\n",
                                    "𝔘𝔫𝔦 \xF0\x9F\x98\x80 ßÿ",
                                    "x = [i**2 for i in range(10)]\n\treturn",
                                    "▁",
                                    "<unk"};

START_TEST(trained_pieces_give_any_text_back) {
  dure_tokenizer *tokenizer = train_pieces(_i & 1, true), *again = train_pieces(_i & 1, true);
  size_t length, again_length;
  const char *json = dure_tokenizer_json(tokenizer, &length), *again_json = dure_tokenizer_json(again, &again_length);
  ck_assert(length == again_length && memcmp(json, again_json, length) == 0);
  // A mark in the text is a space to any reader of such a file.
  for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
    if (strstr(texts[i], "▁") == NULL && texts[i][0] != ' ') assert_comes_back(tokenizer, texts[i], NULL);
  }
  uint32_t id;
  ck_assert(dure_tokenizer_find(tokenizer, "<0xFF>", &id) && id == 3 + 255);
  ck_assert(dure_tokenizer_find(tokenizer, "</s>", &id) && id == 2);
  dure_tokenizer_close(tokenizer);
  dure_tokenizer_close(again);
}
END_TEST

START_TEST(trained_pieces_are_longer_than_characters) {
  char *text;
  size_t length;
  require(dure_os_read_file(fixture("corpus.txt"), 1 << 20, &text, &length));
  dure_tokenizer *tokenizer = train_pieces(_i, false);
  dure_text_units units = {0};
  dure_text_units_add(&units, text, length);
  ck_assert_uint_lt(count_tokens(tokenizer, text), units.characters * 6 / 10);
  uint32_t unknown;
  dure_ids ids = {0};
  ck_assert(dure_tokenizer_unknown(tokenizer, &unknown) && unknown == 0);
  require(dure_tokenizer_encode(tokenizer, "\xF0\x9D\x94\x98\xF0\x9D\x94\x98", 8, NULL, &ids));
  ck_assert_uint_eq(ids.ids[ids.count - 1], 0);  // and a run of unknown characters is one
  ck_assert_uint_eq(ids.count, 2);
  dure_ids_free(&ids);
  free(text);
  dure_tokenizer_close(tokenizer);
}
END_TEST

START_TEST(unigram_is_the_same_for_any_number_of_threads) {
  dure_tokenizer *one = train_pieces_by(true, true, 1);
  size_t length, other_length;
  const char *json = dure_tokenizer_json(one, &length);
  for (uint32_t threads = 2; threads <= 5; threads += 3) {
    dure_tokenizer *other = train_pieces_by(true, true, threads);
    const char *other_json = dure_tokenizer_json(other, &other_length);
    ck_assert_uint_eq(other_length, length);
    ck_assert_mem_eq(other_json, json, length);
    dure_tokenizer_close(other);
  }
  dure_tokenizer_close(one);
}
END_TEST

START_TEST(impossible_trainings_are_refused) {
  dure_pieces_options options = {.vocabulary_size = 10, .byte_fallback = true};
  dure_pieces_trainer *trainer;
  dure_tokenizer *tokenizer;
  require(dure_pieces_trainer_create(&options, &trainer));
  require(dure_pieces_trainer_add(trainer, "abc", 3));
  must_fail(dure_pieces_trainer_finish(trainer, &tokenizer), DURE_INVALID_ARGUMENT, "more than a vocabulary of 10");
  dure_pieces_trainer_destroy(trainer);
  options.character_coverage = 2;
  must_fail(dure_pieces_trainer_create(&options, &trainer), DURE_INVALID_ARGUMENT, "coverage");
  const char *twice[] = {"a", "a"};
  options = (dure_pieces_options){.vocabulary_size = 999, .special_tokens = twice, .special_token_count = 2};
  must_fail(dure_pieces_trainer_create(&options, &trainer), DURE_INVALID_ARGUMENT, "twice");
}
END_TEST

// ---- drawing segmentations ----

START_TEST(drawn_segmentations_differ_by_seed_and_spell_the_same) {
  static const char *const names[] = {"sp_unigram.model", "llama2.json", "gpt2.json", "t5.json"};
  static const double strengths[] = {0.2, 0.3, 0.5, 0.2};
  dure_tokenizer *tokenizer = open_fixture(names[_i]);
  const char *text = "The tokenizer learns pieces from the text";
  dure_ids best = {0}, first = {0}, other = {0};
  size_t different = 0;
  require(dure_tokenizer_encode(tokenizer, text, strlen(text), NULL, &best));
  for (uint64_t seed = 0; seed < 40; seed++) {
    dure_encode_options options = {.sampling = strengths[_i], .seed = seed};
    first.count = other.count = 0;
    require(dure_tokenizer_encode(tokenizer, text, strlen(text), &options, &first));
    require(dure_tokenizer_encode(tokenizer, text, strlen(text), &options, &other));
    ck_assert(first.count == other.count && memcmp(first.ids, other.ids, first.count * sizeof(uint32_t)) == 0);
    different += first.count != best.count || memcmp(first.ids, best.ids, best.count * sizeof(uint32_t)) != 0;
    assert_comes_back(tokenizer, text, &options);
  }
  ck_assert_uint_gt(different, 20);
  dure_ids_free(&best);
  dure_ids_free(&first);
  dure_ids_free(&other);
  dure_tokenizer_close(tokenizer);
}
END_TEST

// "ab" is either one piece of probability 2/3 or two of 1/2 each: drawn with P^1 the first comes 8 times in 11.
START_TEST(unigram_draws_by_probability) {
  const char *json =
      "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",-9],[\"a\",-0.69314718],[\"b\",-0.69314718],"
      "[\"ab\",-0.40546511]]}}";
  dure_tokenizer *tokenizer;
  dure_ids ids = {0};
  int whole = 0, draws = 20000;
  require(dure_tokenizer_parse(json, strlen(json), &tokenizer));
  for (int seed = 0; seed < draws; seed++) {
    ids.count = 0;
    require(
        dure_tokenizer_encode(tokenizer, "ab", 2, &(dure_encode_options){.sampling = 1, .seed = (uint64_t)seed}, &ids));
    whole += ids.count == 1;
  }
  double expected = 8.0 / 11, deviation = sqrt(expected * (1 - expected) / draws);
  ck_assert_msg(fabs((double)whole / draws - expected) < 5 * deviation, "%d of %d", whole, draws);
  must_fail(dure_tokenizer_encode(tokenizer, "ab", 2, &(dure_encode_options){.sampling = -1}, &ids),
            DURE_INVALID_ARGUMENT, "sampling");
  dure_ids_free(&ids);
  dure_tokenizer_close(tokenizer);
}
END_TEST

// ---- files ----

static const struct {
  const char *bytes;
  size_t length;
  dure_code code;
  const char *words;
} bad_models[] = {
    {"\n\x05", 2, DURE_CORRUPT, "longer than the message"},
    {"\n\x03\n\x01", 4, DURE_CORRUPT, "longer than the message"},
    {"\n\x02\n", 3, DURE_CORRUPT, "longer than the message"},
    {"\n\x05\n\x03\xFF\xFE\xFD", 7, DURE_CORRUPT, "pieces[0].piece"},
    {"\n\x05\n\x01\x61\x18\x09", 7, DURE_CORRUPT, "pieces[0].type"},
    {"\n\x08\n\x01\x61\x15\x00\x00\xC0\x7F", 10, DURE_CORRUPT, "pieces[0].score"},
    {"\x12\x02\x18\x02", 4, DURE_CORRUPT, "pieces"},
    {"\n\x03\n\x01\x61\x12\x02\x18\x03", 9, DURE_UNSUPPORTED, "trainer_spec.model_type \"WORD\""},
    {"\n\x03\n\x01\x61*\x03\x12\x01x", 10, DURE_UNSUPPORTED, "denormalizer_spec.precompiled_charsmap"},
    {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 11, DURE_CORRUPT, "at most 10 bytes"},
};

START_TEST(a_bad_model_is_refused_by_what_is_wrong_with_it) {
  char *json;
  size_t length;
  must_fail(dure_sentencepiece_to_json(bad_models[_i].bytes, bad_models[_i].length, &json, &length),
            bad_models[_i].code, bad_models[_i].words);
  ck_assert_ptr_null(json);
}
END_TEST

START_TEST(bad_ranks_are_refused_by_what_is_wrong_with_them) {
  static const struct {
    const char *text;
    const char *words;
  } rows[] = {
      {"IQ== x\n", "line 1"},
      {"IQ== 0\n!!! 1\n", "line 2"},
      {"IQ== 0\nIg== 0\n", "rank 0 is given twice"},
      {"IQ== 0\nIQ== 1\n", "same token"},
      {"IQ== 0\n", "256 bytes"},
      {"IQ== 99999999\n", "line 1"},
  };
  char *json;
  size_t length;
  must_fail(dure_tiktoken_to_json(rows[_i].text, strlen(rows[_i].text), "gpt2", "", &json, &length), DURE_CORRUPT,
            rows[_i].words);
}
END_TEST

// As in Whisper's multilingual.tiktoken, which has "= 50256".
START_TEST(a_token_of_no_bytes_is_passed_over) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  char text[256 * 12 + 16], *json = NULL;
  size_t size = 0, length = 0;
  for (int byte = 0; byte < 256; byte++) {
    size += (size_t)sprintf(text + size, "%c%c== %d\n", digits[byte >> 2], digits[byte << 4 & 63], byte);
  }
  size += (size_t)sprintf(text + size, "= 256\n");
  require(dure_tiktoken_to_json(text, size, "gpt2", "", &json, &length));
  ck_assert_ptr_nonnull(strstr(json, ":255"));
  free(json);
}
END_TEST

START_TEST(ranks_without_a_known_pattern_say_which_there_are) {
  char *bytes, *json;
  size_t length, json_length;
  require(dure_os_read_file(fixture("o200k_base.tiktoken"), 1 << 20, &bytes, &length));
  must_fail(dure_tiktoken_to_json(bytes, length, NULL, "mine.tiktoken", &json, &json_length), DURE_UNSUPPORTED,
            "cl100k_base");
  must_fail(dure_tiktoken_to_json(bytes, length, "mine", "", &json, &json_length), DURE_UNSUPPORTED, "llama3");
  require(dure_tiktoken_to_json(bytes, length, "qwen2", "", &json, &json_length));
  free(json);
  free(bytes);
}
END_TEST

START_TEST(a_pair_of_files_opens_from_either) {
  char folder[] = "/tmp/dure-pair-XXXXXX", path[64];
  dure_tokenizer *tokenizer;
  static const char vocabulary[] = "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3}",
                    merges[] = "#version: 0.2\r\na b\r\n";
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(path, sizeof(path), "%s/vocab.json", folder);
  require(dure_os_write_file(path, vocabulary, strlen(vocabulary)));
  must_fail(dure_tokenizer_open(path, &tokenizer), DURE_NOT_FOUND, "merges.txt");
  snprintf(path, sizeof(path), "%s/merges.txt", folder);
  require(dure_os_write_file(path, merges, strlen(merges)));
  const char *names[] = {path, folder};
  for (int i = 0; i < 2; i++) {
    uint32_t end;
    require(dure_tokenizer_open(names[i], &tokenizer));
    ck_assert_uint_eq(count_tokens(tokenizer, "abab"), 2);
    ck_assert(dure_tokenizer_end_of_text(tokenizer, &end) && end == 3);
    dure_tokenizer_close(tokenizer);
  }
  require(dure_os_remove_tree(folder));
}
END_TEST

static const struct {
  const char *vocabulary, *merges, *words;
} bad_pairs[] = {
    {"{\"a\":0", "", "not the JSON"},
    {"{\"a\":0,\"a\":1}", "", "duplicate"},
    {"{\"a\":0,\"b\":\"x\"}", "", "'b': its id"},
    {"{\"a\":0,\"b\":0}", "", "id 0 is given twice"},
    {"{\"a\":0,\"b\":1}", "a b\n", "makes 'ab'"},
    {"{\"a\":0,\"b\":1,\"ab\":2}", "#version: 0.2\na\n", "model.merges[0]: expected a string or an array of two"},
    {"{\"a\":0,\"b\":1,\"ab\":2}", "a b\na b c\n", "model.merges[1]: 'b c' is not in the vocabulary"},
};

START_TEST(a_bad_pair_is_refused_by_what_is_wrong_with_it) {
  char *json;
  size_t length;
  dure_tokenizer *tokenizer = NULL;
  require(dure_merges_to_json(bad_pairs[_i].vocabulary, strlen(bad_pairs[_i].vocabulary), bad_pairs[_i].merges,
                              strlen(bad_pairs[_i].merges), &json, &length));
  must_fail(dure_tokenizer_parse(json, length, &tokenizer), DURE_CORRUPT, bad_pairs[_i].words);
  ck_assert_ptr_null(tokenizer);
  free(json);
}
END_TEST

// ---- fertility ----

START_TEST(units_of_text_are_counted) {
  static const struct {
    const char *text;
    uint64_t characters, words, syllables;
  } rows[] = {
      {"", 0, 0, 0},       {"안녕 하세요", 6, 2, 5}, {"table  hmm", 10, 2, 3}, {"caf\xC3\xA9 x86, A-b", 13, 3, 5},
      {"日本 3", 4, 2, 2},
  };
  dure_text_units units = {0};
  dure_text_units_add(&units, rows[_i].text, strlen(rows[_i].text));
  ck_assert_uint_eq(units.characters, rows[_i].characters);
  ck_assert_uint_eq(units.words, rows[_i].words);
  ck_assert_uint_eq(units.syllables, rows[_i].syllables);
  ck_assert_uint_eq(units.bytes, strlen(rows[_i].text));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tokenizer_kinds");
  TCase *cases = tcase_create("kinds");
  tcase_set_timeout(cases, 120);
  tcase_add_loop_test(cases, trained_pieces_give_any_text_back, 0, 2);
  tcase_add_loop_test(cases, trained_pieces_are_longer_than_characters, 0, 2);
  tcase_add_test(cases, unigram_is_the_same_for_any_number_of_threads);
  tcase_add_test(cases, impossible_trainings_are_refused);
  tcase_add_loop_test(cases, drawn_segmentations_differ_by_seed_and_spell_the_same, 0, 4);
  tcase_add_test(cases, unigram_draws_by_probability);
  tcase_add_loop_test(cases, a_bad_model_is_refused_by_what_is_wrong_with_it, 0,
                      sizeof(bad_models) / sizeof(bad_models[0]));
  tcase_add_loop_test(cases, bad_ranks_are_refused_by_what_is_wrong_with_them, 0, 6);
  tcase_add_test(cases, a_token_of_no_bytes_is_passed_over);
  tcase_add_test(cases, ranks_without_a_known_pattern_say_which_there_are);
  tcase_add_test(cases, a_pair_of_files_opens_from_either);
  tcase_add_loop_test(cases, a_bad_pair_is_refused_by_what_is_wrong_with_it, 0,
                      sizeof(bad_pairs) / sizeof(bad_pairs[0]));
  tcase_add_loop_test(cases, units_of_text_are_counted, 0, 5);
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
