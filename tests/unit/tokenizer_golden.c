// The same ids, pieces and merges as the Python library `tokenizers`, whose answers are in tests/golden/tokenizer.
// DURE_TOKENIZER_FIXTURES names another folder, made by make.py with more cases.
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/bpe_train.h"
#include "data/pretokenize.h"
#include "data/tokenizer.h"
#include "runtime/os.h"
#include "tests/suite.h"

static char path_buffer[4096];

static const char *fixture(const char *name) {
  const char *folder = getenv("DURE_TOKENIZER_FIXTURES"), *source = getenv("DURE_SOURCE_DIR");
  if (folder != NULL) {
    snprintf(path_buffer, sizeof(path_buffer), "%s/%s", folder, name);
  } else {
    snprintf(path_buffer, sizeof(path_buffer), "%s/tests/golden/tokenizer/%s", source != NULL ? source : ".", name);
  }
  return path_buffer;
}

static dure_tokenizer *open_fixture(const char *name) {
  dure_tokenizer *tokenizer;
  require(dure_tokenizer_open(fixture(name), &tokenizer));
  return tokenizer;
}

// Calls `check` with each line of a .jsonl file; returns how many there were.
static size_t for_each_case(const char *name, void (*check)(void *context, const json_t *row), void *context) {
  FILE *file = fopen(fixture(name), "rb");
  ck_assert_ptr_nonnull(file);
  size_t count = 0;
  json_error_t error;
  for (json_t *row; (row = json_loadf(file, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &error)) != NULL; count++) {
    check(context, row);
    json_decref(row);
  }
  fclose(file);
  return count;
}

static void print_ids(const char *label, const uint32_t *ids, size_t count) {
  fprintf(stderr, "%s:", label);
  for (size_t i = 0; i < count; i++) fprintf(stderr, " %u", ids[i]);
  fprintf(stderr, "\n");
}

static void check_ids(const dure_tokenizer *tokenizer, const json_t *row, const char *key,
                      dure_encode_options options) {
  const json_t *text = json_object_get(row, "text"), *wanted = json_object_get(row, key);
  dure_ids ids = {0};
  require(dure_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), &options, &ids));
  bool is_same = ids.count == json_array_size(wanted);
  for (size_t i = 0; i < ids.count && is_same; i++)
    is_same = json_integer_value(json_array_get(wanted, i)) == ids.ids[i];
  if (!is_same) {
    char *shown = json_dumps(row, JSON_ENSURE_ASCII);
    fprintf(stderr, "expected %s of %s\n", key, shown);
    print_ids("found", ids.ids, ids.count);
    free(shown);
  }
  ck_assert(is_same);
  dure_ids_free(&ids);
}

static void check_encoding(void *context, const json_t *row) {
  check_ids(context, row, "ids", (dure_encode_options){.parse_special = true, .add_special = true});
  check_ids(context, row, "plain", (dure_encode_options){.parse_special = false});
}

static const char *const encoding_fixtures[] = {"gpt2", "llama3", "qwen2", "digits", "prefix_space"};

START_TEST(ids_are_those_of_tokenizers) {
  char name[64];
  snprintf(name, sizeof(name), "%s.json", encoding_fixtures[_i]);
  dure_tokenizer *tokenizer = open_fixture(name);
  snprintf(name, sizeof(name), "%s.cases.jsonl", encoding_fixtures[_i]);
  ck_assert_uint_ge(for_each_case(name, check_encoding, tokenizer), 100);
  dure_tokenizer_close(tokenizer);
}
END_TEST

// ---- every kind of file: make_kinds.py ----

static const char *const kinds[] = {"llama2.json",     "gemma.json",     "first.json",         "t5.json",
                                    "xlmr.json",       "falcon.json",    "bloom.json",         "deepseek.json",
                                    "albert.json",     "sp_bpe.model",   "sp_unigram.model",   "sp_symbols.model",
                                    "sp_suffix.model", "sp_cross.model", "o200k_base.tiktoken"};

// How many characters begin before byte `at`.
static size_t characters_before(const char *text, size_t at) {
  size_t count = 0;
  for (size_t i = 0; i < at; i++) count += ((uint8_t)text[i] & 0xC0) != 0x80;
  return count;
}

// Characters that a span touches, as the library counts them: parts of one count for all of it.
static void check_offsets(const json_t *row, const char *text, size_t length, const dure_spans *spans) {
  const json_t *wanted = json_object_get(row, "offsets"), *pair;
  size_t i;
  json_array_foreach(wanted, i, pair) {
    dure_span span = spans->spans[i];
    ck_assert(span.start <= span.end && span.end <= length);
    size_t start = span.start, end = span.end;
    while (start > 0 && start < length && ((uint8_t)text[start] & 0xC0) == 0x80) start--;
    while (end > span.start && end < length && ((uint8_t)text[end] & 0xC0) == 0x80) end++;
    ck_assert_msg((json_int_t)characters_before(text, start) == json_integer_value(json_array_get(pair, 0)) &&
                      (json_int_t)characters_before(text, end) == json_integer_value(json_array_get(pair, 1)),
                  "token %zu of '%s' is at bytes [%zu, %zu)", i, text, span.start, span.end);
  }
}

// "special" in a row: its program makes special tokens of their texts.
static void check_kind(void *context, const json_t *row) {
  const dure_tokenizer *tokenizer = context;
  const json_t *text = json_object_get(row, "text"), *decoded = json_object_get(row, "decoded");
  const char *bytes = json_string_value(text);
  size_t length = json_string_length(text), found_length;
  dure_ids ids = {0};
  dure_spans spans = {0};
  char *found;
  dure_encode_options options = {.parse_special = json_object_get(row, "special") != NULL, .add_special = true};
  check_ids(tokenizer, row, "ids", options);
  require(dure_tokenizer_encode_spans(tokenizer, bytes, length, &options, &ids, &spans));
  ck_assert_uint_eq(spans.count, ids.count);
  ck_assert_uint_eq(ids.count, json_array_size(json_object_get(row, "ids")));
  check_offsets(row, bytes, length, &spans);
  require(dure_tokenizer_decode(tokenizer, ids.ids, ids.count, true, &found, &found_length));
  ck_assert_msg(
      found_length == json_string_length(decoded) && memcmp(found, json_string_value(decoded), found_length) == 0,
      "'%s' comes back as '%s', expected '%s'", bytes, found, json_string_value(decoded));
  free(found);
  dure_ids_free(&ids);
  dure_spans_free(&spans);
}

START_TEST(every_kind_of_file_gives_the_ids_text_and_offsets_of_its_program) {
  char name[64];
  dure_tokenizer *tokenizer = open_fixture(kinds[_i]), *again;
  snprintf(name, sizeof(name), "%.*s.cases.jsonl", (int)(strrchr(kinds[_i], '.') - kinds[_i]), kinds[_i]);
  ck_assert_uint_ge(for_each_case(name, check_kind, tokenizer), 100);
  // What it would save encodes the same.
  size_t length;
  const char *json = dure_tokenizer_json(tokenizer, &length);
  require(dure_tokenizer_parse(json, length, &again));
  for_each_case(name, check_kind, again);
  dure_tokenizer_close(again);
  dure_tokenizer_close(tokenizer);
}
END_TEST

// ---- pre-tokens ----

typedef struct expected_pieces {
  const json_t *pieces;
  size_t next;
  bool is_same;
} expected_pieces;

static dure_status compare_piece(void *context, const dure_piece *found) {
  expected_pieces *expected = context;
  const json_t *piece = json_array_get(expected->pieces, expected->next++);
  if (piece == NULL || json_string_length(piece) != found->length ||
      memcmp(json_string_value(piece), found->bytes, found->length) != 0)
    expected->is_same = false;
  return NULL;
}

typedef struct pretokenizing {
  dure_pretokenizer *pretokenizer;
  dure_pretokenize_scratch *scratch;
} pretokenizing;

static void check_pieces(void *context, const json_t *row) {
  pretokenizing *p = context;
  const json_t *text = json_object_get(row, "text");
  expected_pieces expected = {json_object_get(row, "pieces"), 0, true};
  dure_piece whole = {json_string_value(text), json_string_length(text), NULL, 0};
  require(dure_pretokenize(p->pretokenizer, p->scratch, &whole, true, false, compare_piece, &expected));
  if (!expected.is_same || expected.next != json_array_size(expected.pieces)) {
    char *shown = json_dumps(row, JSON_ENSURE_ASCII);
    ck_abort_msg("other pieces than %s", shown);
  }
}

START_TEST(pieces_are_those_of_byte_level) {
  pretokenizing p;
  require(dure_pretokenizer_create(&p.pretokenizer));
  require(dure_pretokenizer_add_pattern(p.pretokenizer, DURE_GPT2_PATTERN, strlen(DURE_GPT2_PATTERN), false,
                                        DURE_SPLIT_ISOLATED, false));
  require(dure_pretokenize_scratch_create(&p.scratch));
  ck_assert_uint_ge(for_each_case("pretokens.jsonl", check_pieces, &p), 100);
  dure_pretokenize_scratch_destroy(p.scratch);
  dure_pretokenizer_destroy(p.pretokenizer);
}
END_TEST

// ---- training ----

// Gives out a file line by line, newlines included, as `tokenizers` reads files.
typedef struct corpus_lines {
  char *text;
  size_t length, at;
} corpus_lines;

static dure_status next_line(void *context, const char **out_text, size_t *out_length) {
  corpus_lines *lines = context;
  const char *start = lines->text + lines->at;
  const char *newline = memchr(start, '\n', lines->length - lines->at);
  *out_length = newline != NULL ? (size_t)(newline - start) + 1 : lines->length - lines->at;
  *out_text = *out_length > 0 ? start : NULL;
  lines->at += *out_length;
  return NULL;
}

static json_t *model_of(const char *json, size_t length) {
  json_error_t error;
  json_t *root = json_loadb(json, length, 0, &error);
  ck_assert_msg(root != NULL, "%s", error.text);
  json_t *model = json_incref(json_object_get(root, "model"));
  json_decref(root);
  return model;
}

// "a b" of either spelling of a merge.
static void merge_text(const json_t *merge, char *out_text, size_t size) {
  if (json_is_string(merge)) {
    snprintf(out_text, size, "%s", json_string_value(merge));
  } else {
    snprintf(out_text, size, "%s %s", json_string_value(json_array_get(merge, 0)),
             json_string_value(json_array_get(merge, 1)));
  }
}

static const struct {
  uint32_t size;
  uint64_t min_frequency;
} trainings[] = {{256, 0}, {300, 0}, {900, 0}, {5000, 2}};

START_TEST(training_learns_the_merges_of_tokenizers) {
  corpus_lines lines = {0};
  require(dure_os_read_file(fixture("corpus.txt"), 1 << 20, &lines.text, &lines.length));
  dure_bpe_train_options options = {.vocabulary_size = trainings[_i].size,
                                    .min_frequency = trainings[_i].min_frequency};
  dure_tokenizer *tokenizer;
  require(dure_tokenizer_train(next_line, &lines, &options, &tokenizer));
  char name[64];
  snprintf(name, sizeof(name), "trained_%u_%u.json", trainings[_i].size, (unsigned)trainings[_i].min_frequency);
  char *wanted_text;
  size_t wanted_length, found_length;
  require(dure_os_read_file(fixture(name), 1 << 24, &wanted_text, &wanted_length));
  const char *found_text = dure_tokenizer_json(tokenizer, &found_length);
  json_t *wanted = model_of(wanted_text, wanted_length), *found = model_of(found_text, found_length);
  ck_assert_msg(json_equal(json_object_get(wanted, "vocab"), json_object_get(found, "vocab")), "other ids than %s",
                name);
  const json_t *wanted_merges = json_object_get(wanted, "merges"), *found_merges = json_object_get(found, "merges");
  ck_assert_uint_eq(json_array_size(wanted_merges), json_array_size(found_merges));
  for (size_t i = 0; i < json_array_size(wanted_merges); i++) {
    char left[1024], right[1024];
    merge_text(json_array_get(wanted_merges, i), left, sizeof(left));
    merge_text(json_array_get(found_merges, i), right, sizeof(right));
    ck_assert_str_eq(left, right);
  }
  json_decref(wanted);
  json_decref(found);
  free(wanted_text);
  free(lines.text);
  dure_tokenizer_close(tokenizer);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tokenizer_golden");
  TCase *cases = tcase_create("golden");
  tcase_set_timeout(cases, 120);
  tcase_add_loop_test(cases, ids_are_those_of_tokenizers, 0, sizeof(encoding_fixtures) / sizeof(encoding_fixtures[0]));
  tcase_add_loop_test(cases, every_kind_of_file_gives_the_ids_text_and_offsets_of_its_program, 0,
                      sizeof(kinds) / sizeof(kinds[0]));
  tcase_add_test(cases, pieces_are_those_of_byte_level);
  tcase_add_loop_test(cases, training_learns_the_merges_of_tokenizers, 0, sizeof(trainings) / sizeof(trainings[0]));
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
