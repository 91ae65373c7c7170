// The loss in chunks against the loss of whole logits, in a whole model whose logits are soft-capped (Gemma 2): losses
// of evaluation and training, and every gradient, to 1e-6 of their size. On the reference device and, where there is
// one, on a Vulkan device.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/inference.h"
#include "model/training.h"
#include "runtime/os.h"
#include "runtime/random.h"
#include "tests/suite.h"

// 80 rows: a chunk of 64 and one of 16. Logits that the cap bends, as the weights are large.
enum { batch_size = 2, context = 40, token_count = batch_size * context, vocabulary = 61 };
static const char config_text[] =
    "{\"model_type\": \"gemma2\", \"vocab_size\": 61, \"hidden_size\": 32, \"intermediate_size\": 40, "
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 16, "
    "\"query_pre_attn_scalar\": 10, \"sliding_window\": 8, \"max_position_embeddings\": 64, "
    "\"initializer_range\": 0.3, \"attn_logit_softcapping\": 2.0, \"final_logit_softcapping\": 1.5, "
    "\"tie_word_embeddings\": true}";

static char folder[64], config_path[96];
static uint32_t tokens[token_count], labels[token_count];
static dure_device *device;
static dure_stream *stream;

static void set_up(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-fused-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(config_path, sizeof(config_path), "%s/config.json", folder);
  require(dure_os_write_file(config_path, config_text, sizeof(config_text) - 1));
  for (uint32_t i = 0; i < token_count; i++) {
    uint32_t words[4];
    dure_random_words(5, 0, 0, i, words);
    tokens[i] = words[0] % vocabulary;
    labels[i] = i % 7 == 3 ? DURE_IGNORE_LABEL : words[1] % vocabulary;
  }
}

static void tear_down(void) { dure_status_free(dure_os_remove_tree(folder)); }

typedef struct outcome {
  float scores[token_count];
  double loss;
  float *gradients;  // of all parameters, one after the other
  uint64_t count;
} outcome;

static void read_gradients(const dure_training *training, outcome *out) {
  const dure_parameter_buffers *buffers = dure_training_buffers(training, DURE_TRAINING_GRADIENTS);
  const dure_parameter_layout *layout = &dure_training_model(training)->layout;
  for (size_t i = 0; i < layout->count; i++) out->count += layout->parameters[i].count;
  out->gradients = calloc((size_t)out->count, sizeof(*out->gradients));
  ck_assert_ptr_nonnull(out->gradients);
  uint64_t first = 0;
  for (size_t i = 0; i < layout->count; i++) {
    const dure_parameter *parameter = &layout->parameters[i];
    require(dure_parameter_download(buffers, parameter, stream, 0, parameter->count, out->gradients + first));
    first += parameter->count;
  }
}

// The same step has the same checksum, and another one when one parameter is another.
static void check_checksums(dure_training *training, dure_model *model) {
  uint64_t sums[3];
  const float other = 0.37F;
  for (int i = 0; i < 3; i++) {
    if (i == 2)
      require(
          dure_parameter_pool_write(&model->weights, model->layout.pool_count - 1, stream, 0, &other, sizeof(other)));
    require(dure_training_checksum(training, tokens, labels, 0, &sums[i]));
  }
  ck_assert_uint_eq(sums[0], sums[1]);
  ck_assert_uint_ne(sums[0], sums[2]);
}

static outcome run(bool fuses_loss) {
  const dure_training_options options = {.batch_size = batch_size,
                                         .context = context,
                                         .accumulate = 1,
                                         .adamw = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8},
                                         .fuses_loss = fuses_loss};
  const dure_model_options kept = dure_training_model_options(&options, device);
  dure_model *model = NULL;
  dure_scorer *scorer = NULL;
  dure_training *training = NULL;
  outcome out = {.loss = 0};
  require(dure_model_create_as(config_path, 1, &kept, device, stream, &model));
  require(dure_scorer_create(model, batch_size, context, fuses_loss, &scorer));
  require(dure_scorer_run(scorer, tokens, labels, out.scores));
  require(dure_training_create(model, &options, &training));
  require(dure_training_gradients(training, tokens, labels, &out.loss));
  read_gradients(training, &out);
  check_checksums(training, model);
  dure_training_destroy(training);
  dure_scorer_destroy(scorer);
  dure_model_destroy(model);
  return out;
}

static void compare(const outcome *whole, const outcome *fused) {
  for (uint32_t i = 0; i < token_count; i++)
    ck_assert_msg(
        fabs((double)whole->scores[i] - (double)fused->scores[i]) <= 1e-6 * (1 + fabs((double)whole->scores[i])),
        "loss of token %u: %.9g, in chunks %.9g", i, (double)whole->scores[i], (double)fused->scores[i]);
  ck_assert_msg(fabs(whole->loss - fused->loss) <= 1e-6 * whole->loss, "loss %.9g, in chunks %.9g", whole->loss,
                fused->loss);
  double squares = 0, differences = 0;
  ck_assert_uint_eq(whole->count, fused->count);
  for (uint64_t i = 0; i < whole->count; i++) {
    const double difference = (double)whole->gradients[i] - (double)fused->gradients[i];
    squares += (double)whole->gradients[i] * (double)whole->gradients[i];
    differences += difference * difference;
  }
  printf("loss %.9g, relative difference of the gradients %.2g\n", whole->loss, sqrt(differences / squares));
  ck_assert(squares > 0);
  ck_assert_msg(sqrt(differences) <= 1e-6 * sqrt(squares), "gradients of norm %g differ by %g", sqrt(squares),
                sqrt(differences));
}

static bool has_device(const char *backend) {
  dure_device_info *infos = NULL;
  size_t count = 0;
  bool found = false;
  require(dure_devices_list(&infos, &count, NULL));
  for (size_t i = 0; i < count; i++) found = found || (infos[i].usable && strcmp(infos[i].backend, backend) == 0);
  free(infos);
  return found;
}

static const char *const backends[] = {"reference", "vulkan"};

START_TEST(a_soft_capped_loss_in_chunks_is_that_of_whole_logits) {
  if (!has_device(backends[_i])) {
    printf("no %s device\n", backends[_i]);
    return;
  }
  require(dure_device_open(backends[_i], &device));
  require(dure_stream_create(device, &stream));
  outcome whole = run(false), fused = run(true);
  compare(&whole, &fused);
  free(whole.gradients);
  free(fused.gradients);
  dure_stream_destroy(stream);
  dure_device_close(device);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("model fused loss");
  TCase *tests = tcase_create("loss");
  tcase_add_checked_fixture(tests, set_up, tear_down);
  tcase_set_timeout(tests, 120);
  tcase_add_loop_test(tests, a_soft_capped_loss_in_chunks_is_that_of_whole_logits, 0,
                      (int)(sizeof(backends) / sizeof(backends[0])));
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
