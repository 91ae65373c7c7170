// GGUF files against PyPI's `gguf` (tests/golden/make_gguf_fixtures.py): blocks bit by bit, and families' files, which
// must be the models of tests/golden/families. Writing; files that lie.
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/gguf_sentencepiece.h"
#include "model/model.h"
#include "model/weights.h"
#include "runtime/os.h"
#include "tests/suite.h"

static char path_text[2][4096];

// A path under tests/golden; two may be used at a time.
static const char *golden(int slot, const char *folder, const char *name) {
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path_text[slot], sizeof(path_text[slot]), "%s/tests/golden/%s/%s", source != NULL ? source : ".", folder,
           name);
  return path_text[slot];
}

static void *allocate(size_t size) {
  void *bytes = malloc(size + 1);
  ck_assert_ptr_nonnull(bytes);
  return bytes;
}

static float *read_values(const dure_safetensors_tensor *tensor) {
  float *values = allocate(tensor->count * sizeof(*values));
  require(dure_safetensors_read(tensor, 0, tensor->count, values));
  return values;
}

// ---- blocks ------------------------------------------------------------------------------------------------------

START_TEST(blocks_expand_to_the_bits_of_the_formats_own_package) {
  dure_gguf *file = NULL;
  dure_safetensors *expected = NULL;
  require(dure_gguf_open(golden(0, "gguf", "blocks.gguf"), &file));
  require(dure_safetensors_open(golden(0, "gguf", "blocks.safetensors"), &expected));
  ck_assert_uint_eq(dure_gguf_tensor_count(file), 13);
  for (size_t i = 0; i < dure_gguf_tensor_count(file); i++) {
    const dure_gguf_tensor *tensor = dure_gguf_tensor_at(file, i);
    const dure_safetensors_tensor *wanted = dure_safetensors_find(expected, tensor->name);
    ck_assert_ptr_nonnull(wanted);
    ck_assert_str_eq(tensor->name + strlen("tensor."), tensor->type->name);
    ck_assert_uint_eq(tensor->rank, 2);
    ck_assert_uint_eq(tensor->shape[0], 3);
    ck_assert_uint_eq(tensor->shape[1], 512);
    float *values = read_values(wanted), *found = allocate(tensor->count * sizeof(*found));
    require(dure_gguf_read(tensor, 0, tensor->count, found));
    for (uint64_t k = 0; k < tensor->count; k++) {
      uint32_t bits[2];
      memcpy(&bits[0], &found[k], 4);
      memcpy(&bits[1], &values[k], 4);
      ck_assert_msg(bits[0] == bits[1], "%s: element %d is %.9g, not %.9g", tensor->name, (int)k, (double)found[k],
                    (double)values[k]);
    }
    // Parts that begin and end within blocks.
    for (uint64_t first = 0; first < 600; first += 97) {
      require(dure_gguf_read(tensor, first, 301, found));
      ck_assert_mem_eq(found, values + first, 301 * sizeof(*found));
    }
    free(values);
    free(found);
  }
  dure_gguf_close(file);
  dure_safetensors_close(expected);
}
END_TEST

START_TEST(keys_are_read_by_their_kinds) {
  dure_gguf *file = NULL;
  require(dure_gguf_open(golden(0, "gguf", "blocks.gguf"), &file));
  int64_t integer;
  double number;
  bool truth;
  const char *text;
  size_t length;
  ck_assert(dure_gguf_integer(dure_gguf_value_find(file, "key.u8"), 0, &integer));
  ck_assert_int_eq(integer, 200);
  ck_assert(dure_gguf_integer(dure_gguf_value_find(file, "key.i64"), 0, &integer));
  ck_assert_int_eq(integer, -5);
  ck_assert(!dure_gguf_integer(dure_gguf_value_find(file, "key.f64"), 0, &integer));
  ck_assert(dure_gguf_number(dure_gguf_value_find(file, "key.f64"), 0, &number));
  ck_assert_double_eq(number, 0.25);
  ck_assert(dure_gguf_boolean(dure_gguf_value_find(file, "key.bool"), 0, &truth) && truth);
  ck_assert(dure_gguf_text(dure_gguf_value_find(file, "key.text"), &text, &length));
  ck_assert_uint_eq(length, strlen("안녕"));
  ck_assert_mem_eq(text, "안녕", length);
  dure_gguf_texts texts = dure_gguf_texts_of(dure_gguf_value_find(file, "key.texts"));
  static const size_t lengths[] = {1, 0, 2};
  for (size_t i = 0; i < 3; i++) {
    ck_assert(dure_gguf_text_next(&texts, &text, &length));
    ck_assert_uint_eq(length, lengths[i]);
  }
  ck_assert(!dure_gguf_text_next(&texts, &text, &length));
  ck_assert(!dure_gguf_text(dure_gguf_value_find(file, "key.texts"), &text, &length));
  ck_assert_ptr_null(dure_gguf_value_find(file, "key.none"));
  dure_gguf_close(file);
}
END_TEST

// ---- families ----------------------------------------------------------------------------------------------------

static const char *const families[] = {
    "llama",    "llama_3_1",           "llama_linear",     "llama_yarn", "qwen2", "gpt2",
    "gpt_neox", "gpt_neox_sequential", "falcon_7b",        "falcon_40b", "bloom", "mpt",
    "mixtral",  "qwen2_moe",           "deepseek_v2_lite", "deepseek_v3"};
enum { family_count = sizeof(families) / sizeof(families[0]) };

static void compare_tensors(const char *label, const dure_safetensors *found, const dure_safetensors *wanted) {
  ck_assert_uint_eq(dure_safetensors_count(found), dure_safetensors_count(wanted));
  for (size_t i = 0; i < dure_safetensors_count(wanted); i++) {
    const dure_safetensors_tensor *a = dure_safetensors_get(wanted, i);
    const dure_safetensors_tensor *b = dure_safetensors_find(found, a->name);
    ck_assert_msg(b != NULL, "%s: '%s' is not there", label, a->name);
    ck_assert_uint_eq(a->rank, b->rank);
    for (uint32_t k = 0; k < a->rank; k++) ck_assert_uint_eq(a->shape[k], b->shape[k]);
    float *left = read_values(a), *right = read_values(b);
    ck_assert_msg(memcmp(left, right, a->count * sizeof(*left)) == 0, "%s: '%s' has other values", label, a->name);
    // A piece that begins and ends within rows.
    const uint64_t first = a->count / 3, count = a->count / 2;
    require(dure_safetensors_read(b, first, count, right));
    ck_assert_mem_eq(right, left + first, count * sizeof(*left));
    free(left);
    free(right);
  }
}

START_TEST(files_of_families_are_the_models_of_their_directories) {
  char name[64];
  snprintf(name, sizeof(name), "%s.gguf", families[_i]);
  dure_safetensors *found = NULL, *wanted = NULL;
  const char *gguf = golden(0, "gguf", name), *directory = golden(1, "families", families[_i]);
  ck_assert(dure_model_has_weights(gguf));
  require(dure_weights_open(gguf, &found));
  require(dure_weights_open(directory, &wanted));
  compare_tensors(families[_i], found, wanted);
  dure_safetensors_close(found);
  dure_safetensors_close(wanted);

  dure_model_config a, b;
  require(dure_model_config_read(gguf, &a));
  require(dure_model_config_read(directory, &b));
  b.largest_dropout = a.largest_dropout;  // GGUF knows nothing of training
  b.initializer_range = a.initializer_range;
  if (b.rotary.scaling == DURE_ROTARY_LLAMA3) {
    // Found from the factors; only ratios of these matter.
    ck_assert_double_eq_tol(a.rotary.high_frequency_factor / a.rotary.low_frequency_factor,
                            b.rotary.high_frequency_factor / b.rotary.low_frequency_factor, 1e-3);
    b.rotary.low_frequency_factor = a.rotary.low_frequency_factor;
    b.rotary.high_frequency_factor = a.rotary.high_frequency_factor;
    b.rotary.original_context = a.rotary.original_context;
  }
  struct json_t *sources[2] = {a.source, b.source};
  a.source = b.source = NULL;
  const uint8_t *left = (const uint8_t *)&a, *right = (const uint8_t *)&b;
  for (size_t i = 0; i < offsetof(dure_model_config, source); i++)
    ck_assert_msg(left[i] == right[i], "%s: the configuration differs at byte %zu", families[_i], i);
  a.source = sources[0];
  b.source = sources[1];
  dure_model_config_clear(&a);
  dure_model_config_clear(&b);
}
END_TEST

START_TEST(the_embedded_tokenizer_is_the_one_it_was_made_from) {
  dure_tokenizer *found = NULL, *wanted = NULL;
  require(dure_weights_tokenizer(golden(0, "gguf", "tokenizer.gguf"), &found));
  require(dure_weights_tokenizer(golden(0, "gpt2", "even"), &wanted));
  ck_assert_uint_eq(dure_tokenizer_vocabulary_size(found), dure_tokenizer_vocabulary_size(wanted));
  static const char text[] = "The 안녕 <|endoftext|> 123's\n\n x\xFF";
  const dure_encode_options options = {.parse_special = true};
  dure_ids a = {0}, b = {0};
  require(dure_tokenizer_encode(found, text, sizeof(text) - 1, &options, &a));
  require(dure_tokenizer_encode(wanted, text, sizeof(text) - 1, &options, &b));
  ck_assert_uint_eq(a.count, b.count);
  ck_assert_mem_eq(a.ids, b.ids, a.count * sizeof(*a.ids));
  uint32_t end;
  ck_assert(dure_tokenizer_end_of_text(found, &end));
  ck_assert_uint_eq(end, 256);
  dure_ids_free(&a);
  dure_ids_free(&b);
  // In the vocabulary too: other readers give added tokens that are not there ids of their own.
  size_t length;
  ck_assert_ptr_nonnull(strstr(dure_tokenizer_json(found, &length), "\"<|endoftext|>\": 256"));
  dure_tokenizer_close(found);
  dure_tokenizer_close(wanted);
  dure_gguf *file = NULL;
  char *template = NULL;
  require(dure_gguf_open(golden(0, "gguf", "tokenizer.gguf"), &file));
  require(dure_gguf_chat_template(file, &template));
  ck_assert_str_eq(template, "{{ messages }}");
  free(template);
  dure_gguf_close(file);
}
END_TEST

static void check_pieces(const char *name) {
  static const char text[] = "The 안녕 quick  brown\tfox, 123 <s>\xE2\x96\x81x 한국어";
  char path[] = "/tmp/dure-gguf-XXXXXX";
  dure_tokenizer *found = NULL, *wanted = NULL;
  dure_gguf_writer *writer = NULL;
  size_t length;
  close(mkstemp(path));
  require(dure_tokenizer_open(golden(0, "tokenizer", name), &wanted));
  const char *json = dure_tokenizer_json(wanted, &length);
  json_t *root = json_loadb(json, length, JSON_ALLOW_NUL, NULL);
  const json_t *rules = json_object_get(json_object_get(root, "model"), "sentencepiece");
  require(dure_gguf_writer_create(path, &writer));
  require(
      dure_gguf_write_sentencepiece(writer, json_object_get(root, "model"), dure_tokenizer_vocabulary_size(wanted)));
  require(dure_gguf_writer_finish(writer));
  dure_gguf_writer_destroy(writer);
  require(dure_weights_tokenizer(path, &found));
  ck_assert_uint_eq(dure_tokenizer_vocabulary_size(found), dure_tokenizer_vocabulary_size(wanted));
  // The character map is not in the lists: texts that it does not change.
  const char *charsmap = json_string_value(json_object_get(rules, "precompiled_charsmap"));
  const size_t size = charsmap != NULL && charsmap[0] != '\0' ? 3 : sizeof(text) - 1;
  dure_ids a = {0}, b = {0};
  require(dure_tokenizer_encode(found, text, size, NULL, &a));
  require(dure_tokenizer_encode(wanted, text, size, NULL, &b));
  ck_assert_msg(a.count == b.count && memcmp(a.ids, b.ids, a.count * sizeof(*a.ids)) == 0, "%s: other ids", name);
  dure_ids_free(&a);
  dure_ids_free(&b);
  json_decref(root);
  dure_tokenizer_close(found);
  dure_tokenizer_close(wanted);
  unlink(path);
}

START_TEST(sentencepiece_vocabularies_come_back_from_their_lists) {
  check_pieces("sp_bpe.model");
  check_pieces("sp_unigram.model");
  check_pieces("sp_cross.model");
}
END_TEST

// ---- files that lie ----------------------------------------------------------------------------------------------

typedef struct bytes {
  uint8_t data[4096];
  size_t size;
} bytes;

static void put(bytes *b, const void *data, size_t size) {
  ck_assert_uint_le(b->size + size, sizeof(b->data));
  memcpy(b->data + b->size, data, size);
  b->size += size;
}
static void put_u32(bytes *b, uint32_t value) { put(b, &value, 4); }
static void put_u64(bytes *b, uint64_t value) { put(b, &value, 8); }
static void put_text(bytes *b, const char *text) {
  put_u64(b, strlen(text));
  put(b, text, strlen(text));
}

static bytes head(uint64_t tensors, uint64_t keys) {
  bytes b = {.size = 0};
  put(&b, "GGUF", 4);
  put_u32(&b, 3);
  put_u64(&b, tensors);
  put_u64(&b, keys);
  return b;
}

static void put_tensor(bytes *b, const char *name, uint64_t columns, uint32_t type, uint64_t offset) {
  put_text(b, name);
  put_u32(b, 1);
  put_u64(b, columns);
  put_u32(b, type);
  put_u64(b, offset);
}

static void put_data(bytes *b, size_t size) {
  static const uint8_t zeros[1024];
  put(b, zeros, (32 - b->size % 32) % 32 + size);
}

static void expect_refused(const bytes *b, dure_code code, const char *words) {
  char path[] = "/tmp/dure-gguf-XXXXXX";
  const int handle = mkstemp(path);
  ck_assert_int_ge(handle, 0);
  ck_assert_int_eq((int)write(handle, b->data, b->size), (int)b->size);
  close(handle);
  dure_gguf *file = NULL;
  dure_status status = dure_gguf_open(path, &file);
  unlink(path);
  ck_assert_msg(status != NULL, "a file was opened that should be refused: %s", words);
  ck_assert_ptr_null(file);
  ck_assert_msg(dure_status_code(status) == code && strstr(dure_status_message(status), words) != NULL,
                "expected '%s', found '%s'", words, dure_status_message(status));
  dure_status_free(status);
}

START_TEST(heads_that_lie_are_refused) {
  bytes b = head(0, 0);
  b.data[0] = 'X';
  expect_refused(&b, DURE_CORRUPT, "does not begin with");
  b = head(0, 0);
  b.data[4] = 1;
  expect_refused(&b, DURE_UNSUPPORTED, "version 1");
  b = head(0, 0);
  memcpy(b.data + 4, "\0\0\0\3", 4);
  expect_refused(&b, DURE_UNSUPPORTED, "big-endian");
  b = head(0, 0);
  b.size = 20;
  expect_refused(&b, DURE_CORRUPT, "ends within the head");
  b = head(UINT64_MAX, 0);
  expect_refused(&b, DURE_CORRUPT, "more than its");
  b = head(0, 1ull << 60);
  expect_refused(&b, DURE_CORRUPT, "more than its");
}
END_TEST

START_TEST(keys_that_lie_are_refused) {
  bytes b = head(0, 1);
  put_u64(&b, UINT64_MAX);
  put_u64(&b, 0);
  expect_refused(&b, DURE_CORRUPT, "a key has");
  b = head(0, 1);
  put_text(&b, "k");
  put_u32(&b, 13);
  put_u32(&b, 0);
  expect_refused(&b, DURE_CORRUPT, "has type 13");
  b = head(0, 1);
  put_text(&b, "k");
  put_u32(&b, DURE_GGUF_LIST);
  put_u32(&b, DURE_GGUF_F64);
  put_u64(&b, 1ull << 61);  // times 8 is 0
  expect_refused(&b, DURE_CORRUPT, "ends within a list");
  b = head(0, 1);
  put_text(&b, "k");
  put_u32(&b, DURE_GGUF_TEXT);
  put_u64(&b, UINT64_MAX - 4);
  expect_refused(&b, DURE_CORRUPT, "ends within a text");
  b = head(0, 2);
  for (int i = 0; i < 2; i++) {
    put_text(&b, "k");
    put_u32(&b, DURE_GGUF_U32);
    put_u32(&b, 1);
  }
  expect_refused(&b, DURE_CORRUPT, "'k' is there twice");
  b = head(0, 1);
  put_text(&b, "k");
  put_u32(&b, DURE_GGUF_LIST);
  for (int i = 0; i < 8; i++) {
    put_u32(&b, DURE_GGUF_LIST);
    put_u64(&b, 1);
  }
  expect_refused(&b, DURE_UNSUPPORTED, "list of lists");
  for (int bad = 0; bad < 3; bad++) {
    static const uint32_t alignments[] = {0, 3, 1u << 30};
    b = head(0, 1);
    put_text(&b, "general.alignment");
    put_u32(&b, DURE_GGUF_U32);
    put_u32(&b, alignments[bad]);
    expect_refused(&b, DURE_CORRUPT, "general.alignment");
  }
}
END_TEST

START_TEST(tensors_that_lie_are_refused) {
  bytes b = head(1, 0);
  put_tensor(&b, "t", 64, 0, 0);
  put_data(&b, 255);
  expect_refused(&b, DURE_CORRUPT, "cut off or damaged");
  b = head(1, 0);
  put_tensor(&b, "t", 64, 0, 16);
  put_data(&b, 512);
  expect_refused(&b, DURE_CORRUPT, "no multiple of 32");
  b = head(1, 0);
  put_tensor(&b, "t", 64, 0, 32);
  put_data(&b, 512);
  expect_refused(&b, DURE_CORRUPT, "leaves a hole");
  b = head(2, 0);
  put_tensor(&b, "t", 64, 0, 0);
  put_tensor(&b, "u", 64, 0, 32);
  put_data(&b, 512);
  expect_refused(&b, DURE_CORRUPT, "overlaps");
  b = head(2, 0);
  put_tensor(&b, "t", 64, 0, 0);
  put_tensor(&b, "t", 64, 0, 256);
  put_data(&b, 512);
  expect_refused(&b, DURE_CORRUPT, "'t' is there twice");
  b = head(1, 0);
  put_tensor(&b, "t", UINT64_MAX / 2 + 1, 0, 0);
  put_data(&b, 64);
  expect_refused(&b, DURE_CORRUPT, "impossible shape");
  b = head(1, 0);
  put_tensor(&b, "t", 1ull << 62, 0, 0);  // times 4 bytes is 0
  put_data(&b, 64);
  expect_refused(&b, DURE_CORRUPT, "larger than any file");
  b = head(1, 0);
  put_tensor(&b, "t", 48, 8, 0);
  put_data(&b, 64);
  expect_refused(&b, DURE_CORRUPT, "blocks of 32");
  b = head(1, 0);
  put_tensor(&b, "t", 256, 16, 0);
  put_data(&b, 66);
  expect_refused(&b, DURE_UNSUPPORTED, "IQ2_XXS");
  b = head(1, 0);
  put_tensor(&b, "t", 256, 4711, 0);
  put_data(&b, 64);
  expect_refused(&b, DURE_UNSUPPORTED, "4711");
  b = head(1, 0);
  put_text(&b, "t");
  put_u32(&b, 5);
  put_data(&b, 64);
  expect_refused(&b, DURE_CORRUPT, "5 dimensions");
}
END_TEST

START_TEST(a_file_cut_off_anywhere_is_refused) {
  const void *whole;
  uint64_t size;
  require(dure_os_map_file(golden(0, "gguf", "tokenizer.gguf"), &whole, &size));
  char path[] = "/tmp/dure-gguf-XXXXXX";
  const int handle = mkstemp(path);
  ck_assert_int_eq((int)write(handle, whole, (size_t)size), (int)size);
  for (uint64_t length = size - 40; length > 0; length -= length / 40 + 1) {
    ck_assert_int_eq(ftruncate(handle, (off_t)length), 0);
    dure_gguf *file = NULL;
    dure_status status = dure_gguf_open(path, &file);
    ck_assert_msg(status != NULL, "%d of %d bytes were enough", (int)length, (int)size);
    dure_status_free(status);
  }
  close(handle);
  unlink(path);
  dure_os_unmap(whole, size);
}
END_TEST

START_TEST(what_is_not_supported_is_named) {
  static const struct {
    const char *architecture, *words;
  } cases[] = {{"lama", "the nearest that is: \"llama\""}, {"gpt2", "token_embd.weight"}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    char path[] = "/tmp/dure-gguf-XXXXXX";
    close(mkstemp(path));
    dure_gguf_writer *writer = NULL;
    require(dure_gguf_writer_create(path, &writer));
    dure_gguf_writer_text(writer, "general.architecture", cases[i].architecture, strlen(cases[i].architecture));
    require(dure_gguf_writer_finish(writer));
    dure_gguf_writer_destroy(writer);
    dure_model_config config;
    dure_status status = dure_model_config_read(path, &config);
    unlink(path);
    ck_assert_ptr_nonnull(status);
    ck_assert_msg(strstr(dure_status_message(status), cases[i].words) != NULL, "%s", dure_status_message(status));
    dure_status_free(status);
  }
}
END_TEST

// ---- writing -----------------------------------------------------------------------------------------------------

// Every type that is written, read again: plain ones as rounding gives them, quantised ones within half a step.
START_TEST(written_files_are_read_again) {
  static const char *const types[] = {"f32", "f16", "bf16", "q8_0", "q4_0"};
  static const double steps[] = {0, 1.0 / 2048, 1.0 / 256, 1.0 / 254 + 1.0 / 2048, 1.0 / 8 + 1.0 / 2048};
  enum { type_count = 5, columns = 96, rows = 5 };
  float values[rows * columns];
  for (int i = 0; i < rows * columns; i++) values[i] = (float)sin(i * 0.7) * (float)(1 + i / columns);
  char path[] = "/tmp/dure-gguf-XXXXXX";
  close(mkstemp(path));
  dure_gguf_writer *writer = NULL;
  require(dure_gguf_writer_create(path, &writer));
  dure_gguf_writer_list(writer, "texts", DURE_GGUF_TEXT, 2);
  dure_gguf_writer_text_element(writer, "a", 1);
  dure_gguf_writer_text_element(writer, "", 0);
  dure_gguf_writer_f32(writer, "f32", 0.5f);
  const uint64_t shape[2] = {rows, columns};
  for (int t = 0; t < type_count; t++)
    require(dure_gguf_writer_declare(writer, types[t], dure_gguf_type_named(types[t]), 2, shape));
  for (int t = 0; t < type_count; t++) {
    require(dure_gguf_writer_append(writer, values, 2 * columns));
    require(dure_gguf_writer_append(writer, values + 2 * columns, 3 * columns));
  }
  require(dure_gguf_writer_finish(writer));
  dure_gguf_writer_destroy(writer);

  dure_gguf *file = NULL;
  require(dure_gguf_open(path, &file));
  unlink(path);
  for (int t = 0; t < type_count; t++) {
    const dure_gguf_tensor *tensor = dure_gguf_tensor_find(file, types[t]);
    ck_assert_ptr_nonnull(tensor);
    ck_assert_uint_eq(tensor->shape[0], rows);
    ck_assert_uint_eq(tensor->shape[1], columns);
    float found[rows * columns];
    require(dure_gguf_read(tensor, 0, rows * columns, found));
    for (int i = 0; i < rows * columns; i++) {
      double largest = 0;
      for (int k = i / 32 * 32; k < i / 32 * 32 + 32; k++) largest = fmax(largest, fabs((double)values[k]));
      ck_assert_msg(fabs((double)found[i] - (double)values[i]) <= steps[t] * largest, "%s: %g became %g", types[t],
                    (double)values[i], (double)found[i]);
    }
  }
  dure_gguf_close(file);
}
END_TEST

START_TEST(blocks_of_no_finite_scale_are_still_blocks) {
  static const float extremes[] = {0, 1e-45f, 3e38f, INFINITY, NAN};
  for (size_t e = 0; e < sizeof(extremes) / sizeof(extremes[0]); e++) {
    float values[32];
    for (int i = 0; i < 32; i++) values[i] = i % 3 == 0 ? extremes[e] : -extremes[e];
    uint8_t block[34];
    dure_gguf_pack(dure_gguf_type_named("Q8_0"), values, 32, block);
    dure_gguf_pack(dure_gguf_type_named("Q4_0"), values, 32, block);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("gguf");
  TCase *tests = tcase_create("gguf");
  tcase_add_test(tests, blocks_expand_to_the_bits_of_the_formats_own_package);
  tcase_add_test(tests, keys_are_read_by_their_kinds);
  tcase_add_loop_test(tests, files_of_families_are_the_models_of_their_directories, 0, family_count);
  tcase_add_test(tests, the_embedded_tokenizer_is_the_one_it_was_made_from);
  tcase_add_test(tests, sentencepiece_vocabularies_come_back_from_their_lists);
  tcase_add_test(tests, heads_that_lie_are_refused);
  tcase_add_test(tests, keys_that_lie_are_refused);
  tcase_add_test(tests, tensors_that_lie_are_refused);
  tcase_add_test(tests, a_file_cut_off_anywhere_is_refused);
  tcase_add_test(tests, what_is_not_supported_is_named);
  tcase_add_test(tests, written_files_are_read_again);
  tcase_add_test(tests, blocks_of_no_finite_scale_are_still_blocks);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
