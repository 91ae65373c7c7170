// Texts as vectors against the logits that transformers made of the same tokens: the head is linear, so that it maps
// the pooled hidden states to the pooled logits. On the reference device and a Vulkan device (with DURE_FULL=1 every
// one).
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/embedding.h"
#include "model/safetensors.h"
#include "tests/amount.h"
#include "tests/suite.h"

enum { MOST_DEVICES = 8, TEXTS = 23, LONGEST = 60 };

static char device_names[MOST_DEVICES][32];
static int device_count;
static dure_device *device;
static dure_stream *stream;
static dure_model *model;
static char folder[4096];

static void refuse(dure_status status, dure_code code, const char *part) {
  ck_assert_msg(dure_status_code(status) == code && strstr(dure_status_message(status), part) != NULL, "got '%s'",
                dure_status_message(status));
  dure_status_free(status);
}

static void open_model(const char *device_name) {
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(folder, sizeof(folder), "%s/tests/golden/families/llama", source != NULL ? source : ".");
  require(dure_device_open(device_name, &device));
  require(dure_stream_create(device, &stream));
  require(dure_model_open(folder, device, stream, &model));
}

static void close_model(void) {
  dure_model_destroy(model);
  dure_stream_destroy(stream);
  dure_device_close(device);
}

static float *read_tensor(const char *file, const char *name, uint64_t *out_count) {
  char path[4200];
  dure_safetensors *opened = NULL;
  snprintf(path, sizeof(path), "%s/%s", folder, file);
  require(dure_safetensors_open(path, &opened));
  const dure_safetensors_tensor *tensor = dure_safetensors_find(opened, name);
  ck_assert_ptr_nonnull(tensor);
  float *values = malloc(tensor->count * sizeof(*values));
  if (strcmp(name, "tokens") == 0) {
    memcpy(values, tensor->data, tensor->count * sizeof(int32_t));
  } else {
    require(dure_safetensors_read(tensor, 0, tensor->count, values));
  }
  *out_count = tensor->count;
  dure_safetensors_close(opened);
  return values;
}

static dure_embedder *create(dure_pooling pooling, uint32_t tokens) {
  dure_embedder *embedder = NULL;
  require(dure_embedder_create(model, &(dure_embedder_options){.pooling = pooling, .tokens = tokens}, &embedder));
  return embedder;
}

// The cosine of the angle between the logits that the head makes of a vector, and the fixture's for tokens [first,
// count) summed; and the vector's length.
static double cosine(const float *vector, uint32_t width, const float *head, const float *logits, uint32_t vocabulary,
                     uint64_t first, uint64_t count) {
  double product = 0, squares = 0, expected_squares = 0, length = 0;
  for (uint32_t v = 0; v < vocabulary; v++) {
    double found = 0, expected = 0;
    for (uint32_t c = 0; c < width; c++) found += (double)head[(size_t)v * width + c] * (double)vector[c];
    for (uint64_t t = first; t < count; t++) expected += (double)logits[t * vocabulary + v];
    product += found * expected;
    squares += found * found;
    expected_squares += expected * expected;
  }
  for (uint32_t c = 0; c < width; c++) length += (double)vector[c] * (double)vector[c];
  ck_assert_double_eq_tol(length, 1, 1e-6);
  return product / sqrt(squares * expected_squares);
}

START_TEST(vectors_are_the_pooled_hidden_states_of_transformers) {
  open_model(device_names[_i]);
  uint64_t token_count, logit_count, head_count;
  float *tokens = read_tensor("expected.safetensors", "tokens", &token_count);
  float *logits = read_tensor("expected.safetensors", "logits", &logit_count);
  float *head = read_tensor("model.safetensors", "lm_head.weight", &head_count);
  const uint32_t vocabulary = model->config.vocabulary_size;
  ck_assert_uint_eq(logit_count, token_count * vocabulary);
  for (int last = 0; last <= 1; last++) {
    dure_embedder *embedder = create(last ? DURE_POOLING_LAST : DURE_POOLING_MEAN, 64);
    const uint32_t width = dure_embedder_width(embedder);
    dure_token_text *texts = calloc(token_count, sizeof(*texts));
    float *vectors = malloc(token_count * width * sizeof(*vectors));
    for (uint64_t i = 0; i < token_count; i++)
      texts[i] = (dure_token_text){(const uint32_t *)(const void *)tokens, (uint32_t)i + 1};
    require(dure_embedder_run(embedder, texts, token_count, vectors));
    for (uint64_t i = 0; i < token_count; i++) {
      const double found = cosine(vectors + i * width, width, head, logits, vocabulary, last ? i : 0, i + 1);
      ck_assert_msg(found > 1 - 1e-7, "%s, %llu tokens: cosine 1 - %g", device_names[_i], (unsigned long long)i + 1,
                    1 - found);
    }
    free(texts);
    free(vectors);
    dure_embedder_destroy(embedder);
  }
  free(tokens);
  free(logits);
  free(head);
  close_model();
}
END_TEST

START_TEST(a_text_gets_the_same_vector_alone_and_among_others) {
  static uint32_t tokens[TEXTS][LONGEST];
  dure_token_text texts[TEXTS];
  uint32_t state = 4711;
  open_model(device_names[_i]);
  for (int i = 0; i < TEXTS; i++) {
    texts[i] = (dure_token_text){tokens[i], 1 + (uint32_t)(i * 37) % LONGEST};
    for (uint32_t t = 0; t < texts[i].count; t++) {
      state = state * 1664525u + 1013904223u;
      tokens[i][t] = (state >> 16) % model->config.vocabulary_size;
    }
  }
  dure_embedder *one = create(DURE_POOLING_MEAN, 1), *many = create(DURE_POOLING_MEAN, 256);
  const uint32_t width = dure_embedder_width(one);
  float *alone = malloc(TEXTS * width * sizeof(*alone)), *among = malloc(TEXTS * width * sizeof(*among));
  for (int i = 0; i < TEXTS; i++) require(dure_embedder_run(one, &texts[i], 1, alone + (size_t)i * width));
  require(dure_embedder_run(many, texts, TEXTS, among));
  ck_assert_mem_eq(alone, among, TEXTS * width * sizeof(*alone));
  free(alone);
  free(among);
  dure_embedder_destroy(one);
  dure_embedder_destroy(many);
  close_model();
}
END_TEST

START_TEST(what_cannot_be_embedded_is_named) {
  static const uint32_t few[] = {1, 2, 1000};
  static const uint32_t long_text[65] = {0};
  float vectors[2 * 48];
  open_model("reference");
  dure_embedder *embedder = create(DURE_POOLING_MEAN, 0);
  ck_assert_uint_eq(dure_embedder_context(embedder), 64);
  const dure_token_text unknown[] = {{few, 2}, {few, 3}}, empty[] = {{few, 0}}, too_long[] = {{long_text, 65}};
  refuse(dure_embedder_run(embedder, unknown, 2, vectors), DURE_INVALID_ARGUMENT, "text 1: token 1000");
  refuse(dure_embedder_run(embedder, empty, 1, vectors), DURE_INVALID_ARGUMENT, "text 0: it has no tokens");
  refuse(dure_embedder_run(embedder, too_long, 1, vectors), DURE_INVALID_ARGUMENT, "text 0: it has 65 tokens");
  require(dure_embedder_run(embedder, NULL, 0, vectors));
  dure_embedder *none = NULL;
  refuse(dure_embedder_create(model, &(dure_embedder_options){.context = 65}, &none), DURE_INVALID_ARGUMENT,
         "65 tokens are more");
  ck_assert_ptr_null(none);
  dure_embedder_destroy(embedder);
  close_model();
}
END_TEST

// The reference device and the first Vulkan device; with DURE_FULL=1 each that there is.
static void find_devices(void) {
  const int most = is_full() ? MOST_DEVICES : 2;
  snprintf(device_names[device_count++], sizeof(device_names[0]), "reference");
  for (int i = 0; device_count < most; i++) {
    dure_device *found = NULL;
    snprintf(device_names[device_count], sizeof(device_names[0]), "vulkan:%d", i);
    dure_status status = dure_device_open(device_names[device_count], &found);
    dure_device_close(found);
    dure_status_free(status);
    if (found == NULL) break;
    device_count++;
  }
}

int main(void) {
  find_devices();
  TCase *cases = tcase_create("embedding");
  tcase_add_loop_test(cases, vectors_are_the_pooled_hidden_states_of_transformers, 0, device_count);
  tcase_add_loop_test(cases, a_text_gets_the_same_vector_alone_and_among_others, 0, device_count);
  tcase_add_test(cases, what_cannot_be_embedded_is_named);
  Suite *suite = suite_create("embedding");
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
