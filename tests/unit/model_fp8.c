// Matrices in FP8 with a scale for each block of 128 x 128, and whole models of them, as DeepSeek V3's files have them.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/inference.h"
#include "model/safetensors.h"
#include "runtime/os.h"
#include "tests/suite.h"

enum { ROWS = 130, COLUMNS = 257 };

// A file with `w` [ROWS, COLUMNS], whose bytes count up, and its scales; its path is written to `path`.
static void write_file(char *path, uint32_t scale_columns) {
  char header[512];
  const size_t bytes = (size_t)ROWS * COLUMNS, scale_bytes = (size_t)2 * scale_columns * sizeof(float);
  snprintf(header, sizeof(header),
           "{\"w\":{\"dtype\":\"F8_E4M3\",\"shape\":[%d,%d],\"data_offsets\":[%zu,%zu]},"
           "\"w_scale_inv\":{\"dtype\":\"F32\",\"shape\":[2,%u],\"data_offsets\":[0,%zu]}}",
           ROWS, COLUMNS, scale_bytes, scale_bytes + bytes, scale_columns, scale_bytes);
  FILE *file = fdopen(mkstemp(path), "wb");
  ck_assert_ptr_nonnull(file);
  const uint64_t length = strlen(header);
  fwrite(&length, sizeof(length), 1, file);
  fwrite(header, 1, length, file);
  for (uint32_t i = 0; i < 2 * scale_columns; i++) {
    const float scale = 0.5f + (float)i;
    fwrite(&scale, sizeof(scale), 1, file);
  }
  for (size_t i = 0; i < bytes; i++) fputc((int)(i % 256), file);
  fclose(file);
}

// By the format's definition.
static double value_of(uint32_t bits) {
  const double sign = bits >= 128 ? -1 : 1;
  const uint32_t exponent = bits / 8 % 16, fraction = bits % 8;
  return sign * (exponent == 0 ? ldexp(fraction, -9) : ldexp(8 + fraction, (int)exponent - 10));
}

START_TEST(every_element_is_its_value_times_its_blocks_scale) {
  char path[] = "/tmp/dure-fp8-XXXXXX";
  write_file(path, 3);
  dure_safetensors *file = NULL;
  dure_status status = dure_safetensors_open(path, &file);
  unlink(path);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  const dure_safetensors_tensor *tensor = dure_safetensors_find(file, "w");
  ck_assert_int_eq(tensor->dtype, DURE_DTYPE_BF16);
  float *values = malloc(tensor->count * sizeof(*values));
  ck_assert_ptr_null(dure_safetensors_read(tensor, 0, tensor->count, values));
  for (uint64_t i = 0; i < tensor->count; i++) {
    const uint64_t block = i / COLUMNS / 128 * 3 + i % COLUMNS / 128;
    if (i % 256 % 128 == 127) {
      ck_assert(isnan(values[i]));
    } else {
      ck_assert_double_eq((double)values[i], (double)(float)(value_of(i % 256) * (0.5 + (double)block)));
    }
  }
  float part[5];
  ck_assert_ptr_null(dure_safetensors_read(tensor, 33000, 5, part));
  ck_assert_mem_eq(part, values + 33000, sizeof(part));
  free(values);
  dure_safetensors_close(file);
}
END_TEST

START_TEST(scales_of_another_shape_are_refused) {
  char path[] = "/tmp/dure-fp8-XXXXXX";
  write_file(path, 2);
  dure_safetensors *file = NULL;
  dure_status status = dure_safetensors_open(path, &file);
  unlink(path);
  ck_assert_int_eq(dure_status_code(status), DURE_CORRUPT);
  ck_assert_ptr_nonnull(strstr(dure_status_message(status), "w_scale_inv"));
  dure_status_free(status);
}
END_TEST

// ---- a directory -------------------------------------------------------------------------------------------------

enum { TOKENS = 12, BEYOND = 2 };  // the number of the layer behind the last, which predicts further tokens

static const char *inside(const char *folder, const char *name) {
  static char paths[4][4352];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
  return path;
}

// What published files have in FP8: all matrices of layers but the routers'.
static bool is_fp8(const dure_safetensors_tensor *tensor) {
  return tensor->rank == 2 && strstr(tensor->name, "proj") != NULL;
}

// The nearest code to `value`; the largest number is 448.
static uint8_t nearest_code(double value) {
  uint8_t best = 0;
  for (uint32_t code = 0; code < 256; code++) {
    if (code % 128 != 127 && fabs(value_of(code) - value) < fabs(value_of(best) - value)) best = (uint8_t)code;
  }
  return best;
}

typedef struct directory {
  dure_safetensors_writer *weights, *scales, *plain;  // two shards, and the same numbers in f32
  FILE *index;
  bool is_declaring;
} directory;

static void index_tensor(directory *d, const char *name, const char *shard) {
  fprintf(d->index, "%s\"%s\": \"%s\"", ftell(d->index) > 16 ? ",\n" : "", name, shard);
}

// One tensor into all three files: declared, or written.
static void put(directory *d, const dure_safetensors_tensor *tensor) {
  char name[256];
  const uint64_t one[2] = {1, 1};
  snprintf(name, sizeof(name), "%s_scale_inv", tensor->name);
  if (d->is_declaring) {
    dure_safetensors_tensor coded = *tensor;
    coded.type = "F8_E4M3";
    coded.size = tensor->count;
    require(dure_safetensors_writer_declare_alike(d->weights, is_fp8(tensor) ? &coded : tensor));
    if (is_fp8(tensor)) require(dure_safetensors_writer_declare(d->scales, name, DURE_DTYPE_F32, 2, one));
    require(dure_safetensors_writer_declare(d->plain, tensor->name, DURE_DTYPE_F32, tensor->rank, tensor->shape));
    index_tensor(d, tensor->name, "one.safetensors");
    if (is_fp8(tensor)) index_tensor(d, name, "two.safetensors");
    return;
  }
  float *values = malloc(tensor->count * sizeof(*values)), largest = 0;
  uint8_t *codes = malloc(tensor->count);
  require(dure_safetensors_read(tensor, 0, tensor->count, values));
  for (uint64_t i = 0; i < tensor->count; i++) largest = fmaxf(largest, fabsf(values[i]));
  const float scale = largest / 448;
  for (uint64_t i = 0; is_fp8(tensor) && i < tensor->count; i++) {
    codes[i] = nearest_code((double)(values[i] / scale));
    values[i] = (float)value_of(codes[i]) * scale;
  }
  require(is_fp8(tensor) ? dure_safetensors_writer_append(d->weights, codes, tensor->count)
                         : dure_safetensors_writer_append(d->weights, tensor->data, tensor->size));
  if (is_fp8(tensor)) require(dure_safetensors_writer_append(d->scales, &scale, sizeof(scale)));
  require(dure_safetensors_writer_append(d->plain, values, tensor->count * sizeof(*values)));
  free(values);
  free(codes);
}

// config.json as it is, and for FP8 with what published files say besides.
static void write_configs(const char *from, const char *fp8, const char *plain) {
  char *text = NULL, *changed = NULL;
  size_t size = 0;
  require(dure_os_read_file(inside(from, "config.json"), 1 << 20, &text, &size));
  require(dure_os_write_file(inside(plain, "config.json"), text, size));
  char *place = strstr(text, "\"num_nextn_predict_layers\": 0");
  ck_assert_ptr_nonnull(place);
  place[strlen("\"num_nextn_predict_layers\": ")] = '1';
  changed = malloc(size + 256);
  snprintf(
      changed, size + 256,
      "{\"quantization_config\": {\"quant_method\": \"fp8\", \"fmt\": \"e4m3\", \"weight_block_size\": [128, 128]}, %s",
      strchr(text, '{') + 1);
  require(dure_os_write_file(inside(fp8, "config.json"), changed, strlen(changed)));
  free(changed);
  free(text);
}

// The fixture's model in FP8 and two shards, with a tensor of the layer beyond the last; and what its codes mean in
// f32.
static void write_directories(const char *from, const char *fp8, const char *plain) {
  dure_safetensors *source = NULL;
  directory d = {.index = fopen(inside(fp8, "model.safetensors.index.json"), "w")};
  require(dure_safetensors_open(from, &source));
  require(dure_safetensors_writer_create(inside(fp8, "one.safetensors"), &d.weights));
  require(dure_safetensors_writer_create(inside(fp8, "two.safetensors"), &d.scales));
  require(dure_safetensors_writer_create(inside(plain, "model.safetensors"), &d.plain));
  const uint64_t one = 1;
  const float zero = 0;
  char beyond[64];
  snprintf(beyond, sizeof(beyond), "model.layers.%d.enorm.weight", BEYOND);
  fprintf(d.index, "{\"weight_map\": {");
  for (int pass = 0; pass < 2; pass++) {
    d.is_declaring = pass == 0;
    for (size_t i = 0; i < dure_safetensors_count(source); i++) put(&d, dure_safetensors_get(source, i));
    if (pass == 0) require(dure_safetensors_writer_declare(d.scales, beyond, DURE_DTYPE_F32, 1, &one));
    if (pass == 0) index_tensor(&d, beyond, "two.safetensors");
  }
  require(dure_safetensors_writer_append(d.scales, &zero, sizeof(zero)));
  fprintf(d.index, "}}");
  fclose(d.index);
  dure_safetensors_writer *const writers[] = {d.weights, d.scales, d.plain};
  for (int i = 0; i < 3; i++) {
    require(dure_safetensors_writer_finish(writers[i]));
    dure_safetensors_writer_destroy(writers[i]);
  }
  dure_safetensors_close(source);
  write_configs(from, fp8, plain);
}

static void compute_logits(const char *folder, float **out_logits, size_t *out_size) {
  dure_device *device = NULL;
  dure_stream *stream = NULL;
  dure_model *model = NULL;
  uint32_t tokens[TOKENS];
  require(dure_device_open("reference", &device));
  require(dure_stream_create(device, &stream));
  require(dure_model_open(folder, device, stream, &model));
  for (uint32_t i = 0; i < TOKENS; i++) tokens[i] = (5 * i + 3) % model->config.vocabulary_size;
  *out_size = (size_t)TOKENS * model->config.vocabulary_size * sizeof(float);
  *out_logits = malloc(*out_size);
  require(dure_model_logits(model, tokens, TOKENS, *out_logits));
  dure_model_destroy(model);
  dure_stream_destroy(stream);
  dure_device_close(device);
}

START_TEST(a_directory_in_fp8_is_the_model_that_its_codes_mean) {
  char folder[] = "/tmp/dure-fp8-XXXXXX", from[4096], fp8[64], plain[64];
  const char *source = getenv("DURE_SOURCE_DIR");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(from, sizeof(from), "%s/tests/golden/families/deepseek_v3", source != NULL ? source : ".");
  snprintf(fp8, sizeof(fp8), "%s/fp8", folder);
  snprintf(plain, sizeof(plain), "%s/plain", folder);
  require(dure_os_make_directories(fp8));
  require(dure_os_make_directories(plain));
  write_directories(from, fp8, plain);
  float *found = NULL, *wanted = NULL, *before = NULL;
  size_t size = 0;
  compute_logits(fp8, &found, &size);
  compute_logits(plain, &wanted, &size);
  compute_logits(from, &before, &size);
  ck_assert_mem_eq(found, wanted, size);
  double difference = 0;  // what three bits of fraction leave: something, and not much
  for (size_t i = 0; i < size / sizeof(float); i++)
    difference = fmax(difference, fabs((double)found[i] - (double)before[i]));
  ck_assert_double_gt(difference, 1e-4);
  ck_assert_double_lt(difference, 0.5);
  free(found);
  free(wanted);
  free(before);
  require(dure_os_remove_tree(folder));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("model_fp8");
  TCase *tests = tcase_create("fp8");
  tcase_add_test(tests, every_element_is_its_value_times_its_blocks_scale);
  tcase_add_test(tests, scales_of_another_shape_are_refused);
  tcase_add_test(tests, a_directory_in_fp8_is_the_model_that_its_codes_mean);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
