// safetensors: what is written is read back, by any split; what lies about itself is refused.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/safetensors.h"
#include "runtime/os.h"
#include "tests/suite.h"

static char folder[64];
static char path[128];

static void require_code(dure_status status, dure_code code, const char *part) {
  ck_assert_msg(dure_status_code(status) == code, "%s: '%s', expected %s", dure_code_name(dure_status_code(status)),
                dure_status_message(status), dure_code_name(code));
  ck_assert_msg(strstr(dure_status_message(status), part) != NULL, "'%s' lacks '%s'", dure_status_message(status),
                part);
  dure_status_free(status);
}

static void make_folder(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-safetensors-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(path, sizeof(path), "%s/model.safetensors", folder);
}

static void remove_folder(void) { require(dure_os_remove_tree(folder)); }

// Writes a file from a header's text and zeroed data.
static void write_raw(const char *file, const char *header, uint64_t claimed, size_t data_size) {
  size_t length = strlen(header);
  uint8_t *bytes = calloc(8 + length + data_size, 1);
  for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(claimed >> (8 * i));
  memcpy(bytes + 8, header, length);
  FILE *out = fopen(file, "wb");
  ck_assert_ptr_nonnull(out);
  ck_assert_uint_eq(fwrite(bytes, 1, 8 + length + data_size, out), 8 + length + data_size);
  fclose(out);
  free(bytes);
}

static dure_status open_raw(const char *header, size_t data_size) {
  write_raw(path, header, strlen(header), data_size);
  dure_safetensors *file = NULL;
  dure_status status = dure_safetensors_open(path, &file);
  ck_assert(status != NULL || file != NULL);
  dure_safetensors_close(file);
  return status;
}

// Past the page cache: pieces that may be written from where they lie, and others before, between and after them.
START_TEST(large_files_are_written_whole) {
  enum { BLOCK = 4096, SMALL = 1000, LARGE = 3 << 20 };
  static const uint64_t sizes[] = {LARGE, BLOCK, LARGE + SMALL, SMALL, LARGE, LARGE};
  enum { count = sizeof(sizes) / sizeof(sizes[0]) };
  uint8_t *bytes = NULL;
  ck_assert_int_eq(posix_memalign((void **)&bytes, BLOCK, LARGE + SMALL), 0);
  for (size_t i = 0; i < LARGE + SMALL; i++) bytes[i] = (uint8_t)(i * 2654435761u >> 24);
  dure_safetensors_writer *writer = NULL;
  dure_safetensors *file = NULL;
  require(dure_safetensors_writer_create(path, &writer));
  dure_safetensors_writer_bypass_cache(writer);
  for (char name[2] = "a"; name[0] < 'a' + count; name[0]++)
    require(dure_safetensors_writer_declare(writer, name, DURE_DTYPE_U8, 1, &sizes[name[0] - 'a']));
  for (size_t i = 0; i < count; i++) require(dure_safetensors_writer_append(writer, bytes, sizes[i]));
  require(dure_safetensors_writer_finish(writer));
  dure_safetensors_writer_destroy(writer);
  require(dure_safetensors_open(path, &file));
  for (char name[2] = "a"; name[0] < 'a' + count; name[0]++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_find(file, name);
    ck_assert_ptr_nonnull(tensor);
    ck_assert_uint_eq(tensor->size, sizes[name[0] - 'a']);
    ck_assert_mem_eq(tensor->data, bytes, tensor->size);
  }
  dure_safetensors_close(file);
  free(bytes);
}
END_TEST

START_TEST(what_is_written_is_read_back) {
  const uint64_t shape[2] = {3, 5}, one = 1;
  float values[15];
  for (int i = 0; i < 15; i++) values[i] = (float)i / 7.0f - 1.0f;
  const uint16_t halves[1] = {0xc000};
  dure_safetensors_writer *writer = NULL;
  require(dure_safetensors_writer_create(path, &writer));
  require(dure_safetensors_writer_declare(writer, "b", DURE_DTYPE_F32, 2, shape));
  require(dure_safetensors_writer_declare(writer, "a", DURE_DTYPE_F16, 1, &one));
  require(dure_safetensors_writer_declare(writer, "scalar", DURE_DTYPE_BF16, 0, NULL));
  require(dure_safetensors_writer_append(writer, values, 20));
  require(dure_safetensors_writer_append(writer, values + 5, 40));
  require(dure_safetensors_writer_append(writer, halves, 2));
  require(dure_safetensors_writer_append(writer, halves, 2));
  require(dure_safetensors_writer_finish(writer));
  dure_safetensors_writer_destroy(writer);

  dure_safetensors *file = NULL;
  require(dure_safetensors_open(folder, &file));
  ck_assert_uint_eq(dure_safetensors_count(file), 3);
  ck_assert_str_eq(dure_safetensors_get(file, 0)->name, "a");
  ck_assert_ptr_null(dure_safetensors_get(file, 3));
  ck_assert_str_eq(dure_safetensors_metadata(file, "format"), "pt");
  const dure_safetensors_tensor *b = dure_safetensors_find(file, "b");
  ck_assert_ptr_nonnull(b);
  ck_assert_uint_eq(b->rank, 2);
  ck_assert_uint_eq(b->shape[1], 5);
  ck_assert_uint_eq((uintptr_t)b->data % 8, 0);
  float found[15];
  require(dure_safetensors_read(b, 0, 15, found));
  ck_assert_mem_eq(found, values, sizeof(values));
  require(dure_safetensors_read(b, 7, 2, found));
  ck_assert_float_eq(found[1], values[8]);
  require(dure_safetensors_read(dure_safetensors_find(file, "a"), 0, 1, found));
  ck_assert_float_eq(found[0], -2.0f);  // f16 0xc000
  require(dure_safetensors_read(dure_safetensors_find(file, "scalar"), 0, 1, found));
  ck_assert_float_eq(found[0], -2.0f);  // bf16 0xc000
  require_code(dure_safetensors_read(b, 10, 6, found), DURE_INVALID_ARGUMENT, "15 elements");
  ck_assert_ptr_null(dure_safetensors_find(file, "c"));
  dure_safetensors_close(file);
}
END_TEST

START_TEST(a_writer_refuses_more_or_less_than_declared) {
  const uint64_t two = 2;
  const float values[3] = {1, 2, 3};
  dure_safetensors_writer *writer = NULL;
  require(dure_safetensors_writer_create(path, &writer));
  require(dure_safetensors_writer_declare(writer, "a", DURE_DTYPE_F32, 1, &two));
  require_code(dure_safetensors_writer_declare(writer, "a", DURE_DTYPE_F32, 1, &two), DURE_INVALID_ARGUMENT,
               "declared twice");
  require_code(dure_safetensors_writer_append(writer, values, 12), DURE_INVALID_ARGUMENT, "more data");
  require(dure_safetensors_writer_append(writer, values, 4));
  require_code(dure_safetensors_writer_finish(writer), DURE_INVALID_ARGUMENT, "4 came");
  dure_safetensors_writer_destroy(writer);
}
END_TEST

static const struct {
  const char *header;
  size_t data_size;
  dure_code code;
  const char *part;
} lies[] = {
    {"{", 0, DURE_CORRUPT, "not JSON"},
    {"[]", 0, DURE_CORRUPT, "not an object"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, DURE_CORRUPT, "cut off"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, DURE_CORRUPT, "shape and dtype need 8"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, DURE_CORRUPT, "belong to no tensor"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, DURE_CORRUPT, "hole"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
     "offsets\":[0,4]}}",
     4, DURE_CORRUPT, "overlaps"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
     "offsets\":[0,4]}}",
     4, DURE_CORRUPT, "not JSON"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, DURE_CORRUPT,
     "impossible shape"},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}", 0, DURE_CORRUPT,
     "larger than any"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, DURE_CORRUPT, "impossible shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, DURE_CORRUPT, "impossible shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, DURE_CORRUPT, "dimensions"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, DURE_CORRUPT, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, DURE_CORRUPT, "data_offsets"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, DURE_CORRUPT, "no dtype"},
    {"{\"a\":{\"dtype\":\"X9\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, DURE_UNSUPPORTED, "X9"},
    {"{\"a\":7}", 0, DURE_CORRUPT, "no dtype"},
    {"{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, DURE_CORRUPT, "found 3"},
    {"{\"a\":{\"dtype\":\"BF61\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, DURE_UNSUPPORTED, "nearest that is: BF16"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, DURE_CORRUPT, "found [-1]"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,4]}}", 4, DURE_CORRUPT,
     "not JSON"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[0,4]}}", 4, DURE_CORRUPT, "found {}"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, DURE_CORRUPT, "found nothing"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, DURE_CORRUPT, "found nothing"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, DURE_CORRUPT, "found [-4,0]"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775804,9223372036854775807]}}", 4,
     DURE_CORRUPT, "cut off"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
     "offsets\":[8,12]}}",
     12, DURE_CORRUPT, "begins at byte 8 of the data and leaves a hole after 'a', which ends at 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_"
     "offsets\":[4,12]}}",
     12, DURE_CORRUPT, "overlaps 'a'"},
};

START_TEST(a_file_that_lies_is_refused) {
  require_code(open_raw(lies[_i].header, lies[_i].data_size), lies[_i].code, lies[_i].part);
}
END_TEST

START_TEST(a_header_longer_than_the_file_or_the_limit_is_refused) {
  dure_safetensors *file = NULL;
  const uint64_t claims[] = {3, 100000001, UINT64_MAX, UINT64_MAX - 7, 1u << 31};
  for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
    write_raw(path, "{}", claims[i], 0);
    require_code(dure_safetensors_open(path, &file), DURE_CORRUPT, "header claims");
    ck_assert_ptr_null(file);
  }
  FILE *short_file = fopen(path, "wb");
  fputs("abc", short_file);
  fclose(short_file);
  require_code(dure_safetensors_open(path, &file), DURE_CORRUPT, "too short");
  require(dure_os_write_file(path, "", 0));
  require_code(dure_safetensors_open(path, &file), DURE_CORRUPT, "too short");
}
END_TEST

START_TEST(empty_files_and_empty_tensors_are_fine) {
  require(open_raw("{}", 0));
  require(open_raw("{\"a\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[0,0]}}    ", 0));
  require(open_raw(
      "{\"__metadata__\":{\"format\":\"pt\"},\"z\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8));
}
END_TEST

START_TEST(whole_numbers_are_not_read_as_floats) {
  const char *header = "{\"z\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}";
  write_raw(path, header, strlen(header), 8);
  dure_safetensors *file = NULL;
  require(dure_safetensors_open(path, &file));
  float value;
  require_code(dure_safetensors_read(dure_safetensors_find(file, "z"), 0, 1, &value), DURE_UNSUPPORTED, "I64");
  dure_safetensors_close(file);
}
END_TEST

static void write_shard(const char *name, const char *tensor, float value) {
  char shard[160];
  snprintf(shard, sizeof(shard), "%s/%s", folder, name);
  const uint64_t one = 1;
  dure_safetensors_writer *writer = NULL;
  require(dure_safetensors_writer_create(shard, &writer));
  require(dure_safetensors_writer_declare(writer, tensor, DURE_DTYPE_F32, 1, &one));
  require(dure_safetensors_writer_append(writer, &value, 4));
  require(dure_safetensors_writer_finish(writer));
  dure_safetensors_writer_destroy(writer);
}

static dure_status open_index(const char *text, dure_safetensors **out_file) {
  char index[160];
  snprintf(index, sizeof(index), "%s/model.safetensors.index.json", folder);
  require(dure_os_write_file(index, text, strlen(text)));
  return dure_safetensors_open(folder, out_file);
}

START_TEST(shards_are_one_set_of_tensors) {
  write_shard("one.safetensors", "x", 1);
  write_shard("two.safetensors", "y", 2);
  dure_safetensors *file = NULL;
  require(open_index("{\"weight_map\":{\"x\":\"one.safetensors\",\"y\":\"two.safetensors\"}}", &file));
  float value;
  require(dure_safetensors_read(dure_safetensors_find(file, "y"), 0, 1, &value));
  ck_assert_float_eq(value, 2);
  dure_safetensors_close(file);
  require_code(open_index("{\"weight_map\":{\"x\":\"one.safetensors\",\"q\":\"two.safetensors\"}}", &file),
               DURE_CORRUPT, "'q'");
  require_code(open_index("{\"weight_map\":{\"x\":\"../one.safetensors\"}}", &file), DURE_CORRUPT, "plain file name");
  require_code(open_index("{\"weight_map\":{\"x\":3}}", &file), DURE_CORRUPT, "plain file name");
  require_code(open_index("{\"weight_map\":{}}", &file), DURE_CORRUPT, "no shards");
  require_code(open_index("{}", &file), DURE_CORRUPT, "weight_map");
  require_code(open_index("{\"weight_map\":{\"x\":\"three.safetensors\"}}", &file), DURE_NOT_FOUND,
               "download the missing");
  write_shard("two.safetensors", "x", 2);
  require_code(open_index("{\"weight_map\":{\"x\":\"one.safetensors\",\"y\":\"two.safetensors\"}}", &file),
               DURE_CORRUPT, "two shards");
}
END_TEST

START_TEST(a_directory_without_weights_says_what_is_missing) {
  dure_safetensors *file = NULL;
  require_code(dure_safetensors_open(folder, &file), DURE_NOT_FOUND, "model.safetensors.index.json");
  require_code(dure_safetensors_open("/nowhere/x.safetensors", &file), DURE_NOT_FOUND, "/nowhere");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("model_safetensors");
  TCase *tests = tcase_create("safetensors");
  tcase_add_checked_fixture(tests, make_folder, remove_folder);
  tcase_add_test(tests, what_is_written_is_read_back);
  tcase_add_test(tests, large_files_are_written_whole);
  tcase_add_test(tests, a_writer_refuses_more_or_less_than_declared);
  tcase_add_loop_test(tests, a_file_that_lies_is_refused, 0, (int)(sizeof(lies) / sizeof(lies[0])));
  tcase_add_test(tests, a_header_longer_than_the_file_or_the_limit_is_refused);
  tcase_add_test(tests, empty_files_and_empty_tensors_are_fine);
  tcase_add_test(tests, whole_numbers_are_not_read_as_floats);
  tcase_add_test(tests, shards_are_one_set_of_tensors);
  tcase_add_test(tests, a_directory_without_weights_says_what_is_missing);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
