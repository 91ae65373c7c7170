// What keeps the experts of a mixture equally busy: the auxiliary loss's gradient beside finite differences of the
// loss, over whichever tokens it is, sequences of padding left out; and the routers' biases, which move by their rate
// against the excess of tokens.
#include "model/balance.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/training.h"
#include "runtime/os.h"
#include "runtime/random.h"
#include "tests/device.h"
#include "tests/suite.h"

enum { B = 3, T = 6, R = B * T, E = 5, K = 2, LAYERS = 2, TOTAL = LAYERS * R * E };
static const double weight = 0.7;

static dure_device *device;
static dure_stream *stream;

static void open_device(void) {
  require(dure_device_open(device_of_test(), &device));
  require(dure_stream_create(device, &stream));
}

static void close_device(void) {
  dure_stream_destroy(stream);
  dure_device_close(device);
}

// ---- the loss ----------------------------------------------------------------------------------------------------

static const struct {
  dure_balance_scope scope;
  bool is_sigmoid;
} losses[] = {{DURE_BALANCE_ALL_LAYERS, false},
              {DURE_BALANCE_LAYER, false},
              {DURE_BALANCE_SEQUENCE, false},
              {DURE_BALANCE_SEQUENCE, true}};

// Of every entry, over its row: softmax, or sigmoids divided by their sum.
static void score(const double *logits, bool is_sigmoid, double *out_scores) {
  for (int r = 0; r < LAYERS * R; r++) {
    double sum = 0;
    for (int e = r * E; e < (r + 1) * E; e++)
      sum += out_scores[e] = is_sigmoid ? 1 / (1 + exp(-logits[e])) : exp(logits[e]);
    for (int e = r * E; e < (r + 1) * E; e++) out_scores[e] /= sum;
  }
}

static bool is_padding(int row, int padded) { return row / T % B == padded; }  // a sequence of every layer

// By the header's formula, from the choices (for each entry, whether the row chose it): the loss of rows
// [first, first + rows) of all layers together, but for those of sequence `padded`.
static double loss_of(const double *scores, const bool *is_chosen, int first, int rows, int padded) {
  double loss = 0;
  int present = 0;
  for (int r = first; r < first + rows; r++) present += !is_padding(r, padded);
  for (int e = 0; e < E && present > 0; e++) {
    double share = 0, mean = 0;
    for (int r = first; r < first + rows; r++) {
      if (is_padding(r, padded)) continue;
      share += is_chosen[r * E + e] ? 1.0 / present : 0;
      mean += scores[r * E + e] / present;
    }
    loss += E * share * mean;
  }
  return weight * loss;
}

static double total_loss(const double *logits, const bool *is_chosen, size_t kind, int padded) {
  double scores[TOTAL], loss = 0;
  score(logits, losses[kind].is_sigmoid, scores);
  if (losses[kind].scope == DURE_BALANCE_ALL_LAYERS) return loss_of(scores, is_chosen, 0, LAYERS * R, padded);
  const int parts = losses[kind].scope == DURE_BALANCE_SEQUENCE ? B : 1, counted = parts - (parts > 1 && padded < B);
  for (int i = 0; i < LAYERS * parts; i++)
    loss += loss_of(scores, is_chosen, i * R / parts, R / parts, padded) / counted / K;
  return loss;
}

// The gradient of all logits as a program has it, and which experts were chosen.
static void run_program(dure_model_config *config, const float *logits, const float *presence, float *out_gradient,
                        bool *out_chosen) {
  dure_program *p = dure_program_create();
  const uint64_t all[2] = {LAYERS * R, E}, one = 1, rows = R, layer_shape[2] = {R, E}, stride[2] = {E, 1};
  const dure_tensor value = dure_tensor_external(p, "logits", DURE_DTYPE_F32, 2, all, DURE_LIFETIME_PARAMETER);
  const dure_tensor gradient = dure_tensor_external(p, "gradient", DURE_DTYPE_F32, 2, all, DURE_LIFETIME_GRADIENT);
  const dure_tensor seed = dure_tensor_external(p, "seed", DURE_DTYPE_F32, 1, &one, DURE_LIFETIME_INPUT);
  const dure_tensor share = dure_tensor_external(p, "share", DURE_DTYPE_F32, 1, &one, DURE_LIFETIME_INPUT);
  const dure_tensor present = dure_tensor_external(p, "presence", DURE_DTYPE_F32, 1, &rows, DURE_LIFETIME_INPUT);
  dure_router routers[LAYERS];
  dure_gradient_target pairs[LAYERS];
  for (uint64_t layer = 0; layer < LAYERS; layer++) {
    // A product as in a model: what is differentiated is no external tensor itself.
    routers[layer].logits = dure_scale(p, dure_tensor_view(p, value, 2, layer_shape, stride, layer * R * E), 1);
    routers[layer].experts = dure_route(p, routers[layer].logits, DURE_ABSENT, &config->experts.route).experts;
  }
  const dure_tensor loss = dure_scale(p, value, 1);
  ck_assert_uint_eq(dure_balance_record(p, config, routers, B, share, present, pairs), LAYERS);
  const dure_gradient_target target = {value, gradient};
  const dure_gradient_options options = {.further = pairs, .further_count = LAYERS};
  require(dure_program_gradient(p, loss, seed, &target, 1, &options));
  dure_executable *executable = NULL;
  require(dure_program_compile(p, device, NULL, 0, &(dure_compile_options){.label = "balance"}, &executable));
  const float zero = 0, half = 0.5f;  // of the loss itself nothing, of the balance half
  require(dure_executable_write(executable, stream, value, logits, TOTAL * sizeof(float)));
  require(dure_executable_write(executable, stream, seed, &zero, sizeof(zero)));
  require(dure_executable_write(executable, stream, share, &half, sizeof(half)));
  require(dure_executable_write(executable, stream, present, presence, R * sizeof(float)));
  require(dure_executable_submit(executable, stream));
  require(dure_executable_read(executable, stream, gradient, out_gradient, TOTAL * sizeof(float)));
  dure_executable_destroy(executable);
  dure_program_destroy(p);
  memset(out_chosen, 0, TOTAL * sizeof(*out_chosen));
  for (int r = 0; r < LAYERS * R; r++) {
    for (int k = 0; k < K; k++) {
      int best = -1;
      for (int e = r * E; e < (r + 1) * E; e++)
        if (!out_chosen[e] && (best < 0 || logits[e] > logits[best])) best = e;
      out_chosen[best] = true;
    }
  }
}

// Of every kind of loss, without padding and with a sequence of it.
START_TEST(gradients_are_those_of_the_loss) {
  static dure_model_config config;
  const size_t kind = (size_t)_i / 2;
  const int padded = _i % 2 == 1 ? 1 : B;
  float logits[TOTAL], gradient[TOTAL], presence[R];
  uint32_t labels[R];
  double exact[TOTAL], largest = 0, worst = 0;
  bool is_chosen[TOTAL];
  config = (dure_model_config){.layer_count = LAYERS};
  config.experts = (dure_expert_config){.count = E, .balance_weight = weight, .balance_scope = losses[kind].scope};
  config.experts.route = (dure_route_attributes){.count = K, .is_sigmoid = losses[kind].is_sigmoid, .factor = 1};
  config.is_sparse[0] = config.is_sparse[1] = true;
  for (uint64_t i = 0; i < TOTAL; i++) exact[i] = logits[i] = (float)dure_random_normal(11, 0, 0, i);
  for (int r = 0; r < R; r++) labels[r] = is_padding(r, padded) ? DURE_IGNORE_LABEL : 1;
  labels[R - 1] = DURE_IGNORE_LABEL;  // of a sequence that has others
  dure_balance_presence(labels, B, T, presence);
  open_device();
  run_program(&config, logits, presence, gradient, is_chosen);
  close_device();
  for (int i = 0; i < TOTAL; i++) {
    const double at = exact[i], step = 1e-4;
    exact[i] = at + step;
    double difference = total_loss(exact, is_chosen, kind, padded);
    exact[i] = at - step;
    difference = (difference - total_loss(exact, is_chosen, kind, padded)) / (2 * step) * 0.5;  // half of it: the share
    exact[i] = at;
    largest = fmax(largest, fabs(difference));
    worst = fmax(worst, fabs(difference - (double)gradient[i]));
  }
  ck_assert_double_gt(largest, 1e-3);
  ck_assert_double_le(worst, 1e-5 * largest);
}
END_TEST

// ---- biases ------------------------------------------------------------------------------------------------------

static void read_biases(dure_model *model, float *out_values) {
  for (uint32_t layer = 0; layer < model->config.layer_count; layer++) {
    const dure_parameter *bias = dure_parameter_find(&model->layout, DURE_ROLE_ROUTER_BIAS, layer);
    require(dure_parameter_download(&model->weights, bias, stream, 0, bias->count, out_values + layer * bias->count));
  }
}

enum { CONTEXT = 16, ROWS = 4, MOST = 64 };  // of biases at most
static const double rate = 0.125;            // no rounding

typedef struct bias_training {
  dure_model *model;
  dure_training *training;
  uint32_t count;  // of biases
} bias_training;

static void begin_bias_training(uint32_t batch_size, uint32_t accumulate, bool offloads, bias_training *out) {
  char folder[4096];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(folder, sizeof(folder), "%s/tests/golden/families/deepseek_v3_balanced", source != NULL ? source : ".");
  *out = (bias_training){0};
  open_device();  // whose kind decides how the model is kept
  const dure_training_options options = {.batch_size = batch_size,
                                         .context = CONTEXT,
                                         .accumulate = accumulate,
                                         .balances_experts = true,
                                         .offloads_optimizer = offloads,
                                         .adamw = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .bias_rate = rate}};
  const dure_model_options kept = dure_training_model_options(&options, device);
  require(dure_model_open_as(folder, &kept, device, stream, &out->model));
  require(dure_training_create(out->model, &options, &out->training));
  out->count = out->model->config.experts.count * out->model->config.layer_count;
  ck_assert_uint_le(out->count, MOST);
}

static void end_bias_training(bias_training *self) {
  dure_training_destroy(self->training);
  dure_model_destroy(self->model);
  close_device();
}

// One step of ROWS rows, and as many of padding behind them as there is room for.
static void step_biases(const bias_training *self, uint32_t step, float *out_before, float *out_after) {
  uint32_t tokens[2 * ROWS * CONTEXT], labels[2 * ROWS * CONTEXT];
  for (uint32_t i = 0; i < 2 * ROWS * CONTEXT; i++) {
    tokens[i] = (step * 31 + i * 7) % self->model->config.vocabulary_size;
    labels[i] = i < ROWS * CONTEXT ? (tokens[i] + 1) % self->model->config.vocabulary_size : DURE_IGNORE_LABEL;
  }
  dure_training_result result;
  read_biases(self->model, out_before);
  require(dure_training_submit(self->training, step, 0, tokens, labels));
  require(dure_training_collect(self->training, &result));
  read_biases(self->model, out_after);
}

// Steps whose other parameters stand still. With the optimizer on the device, and on the host.
START_TEST(biases_move_against_the_excess) {
  bias_training training;
  float before[MOST], after[MOST];
  begin_bias_training(_i == 1 ? ROWS / 2 : ROWS, _i == 1 ? 2 : 1, _i == 1, &training);
  for (uint32_t step = 1; step <= 3; step++) {
    step_biases(&training, step, before, after);
    uint32_t up = 0, down = 0;
    for (uint32_t i = 0; i < training.count; i++) {
      const double move = (double)after[i] - (double)before[i];
      ck_assert_msg(move == 0 || fabs(fabs(move) - rate) < 1e-6, "a bias moved by %g", move);
      up += move > 0;
      down += move < 0;
    }
    ck_assert_uint_gt(up, 0);
    ck_assert_uint_gt(down, 0);
  }
  end_bias_training(&training);
}
END_TEST

// As where ranks divide a step's rows and one has fewer micro-steps of them than others.
START_TEST(micro_steps_of_padding_alone_move_no_bias) {
  float before[MOST], after[2][MOST];
  for (uint32_t padded = 0; padded < 2; padded++) {
    bias_training training;
    begin_bias_training(ROWS, 1 + padded, false, &training);
    step_biases(&training, 1, before, after[padded]);
    ck_assert_mem_eq(after[0], after[padded], training.count * sizeof(float));
    ck_assert(memcmp(before, after[padded], training.count * sizeof(float)) != 0);
    end_bias_training(&training);
  }
}
END_TEST

int main(void) {
  if (is_device_missing()) return SKIPPED;
  Suite *suite = suite_create("balance");
  TCase *tcase = tcase_create("experts");
  tcase_set_timeout(tcase, 120);
  tcase_add_loop_test(tcase, gradients_are_those_of_the_loss, 0, 2 * sizeof(losses) / sizeof(losses[0]));
  tcase_add_loop_test(tcase, biases_move_against_the_excess, 0, 2);
  tcase_add_test(tcase, micro_steps_of_padding_alone_move_no_bias);
  suite_add_tcase(suite, tcase);
  return run_suite(suite, CK_FORK_GETENV);
}
