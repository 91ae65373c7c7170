// Weights that stay quantised: the values of the file to the bit, and so the same logits as expanded, on the device
// that DURE_TEST_DEVICE names, else on the reference device and every Vulkan device.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/engine.h"
#include "model/packed.h"
#include "model/rounded.h"
#include "model/rounding.h"
#include "runtime/os.h"
#include "tests/amount.h"
#include "tests/suite.h"

enum { MOST_DEVICES = 8, TOKENS = 40 };

static char device_names[MOST_DEVICES][32];
static int device_count;
static dure_device *device;
static dure_stream *stream;
static char folder[64];

static const char *source_path(const char *name) {
  static char path[4096];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(path), "%s/tests/golden/%s", source != NULL ? source : ".", name);
  return path;
}

static void make_folder(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-packed-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void) { require(dure_os_remove_tree(folder)); }

static bool rounds_activations;

static dure_model *open_model(const char *path, bool keeps_packed) {
  dure_model *model = NULL;
  const dure_model_options options = {
      .dtype = DURE_DTYPE_F32, .keeps_packed = keeps_packed, .rounds_activations = rounds_activations};
  require(dure_model_open_as(path, &options, device, stream, &model));
  return model;
}

// ---- codes -------------------------------------------------------------------------------------------------------

START_TEST(codes_are_the_values_that_blocks_expand_to) {
  static const char *const names[] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "Q3_K", "Q2_K"};
  const dure_gguf_type *type = dure_gguf_type_named(names[_i]);
  uint32_t state = 2463534242u;
  for (int round = 0; round < 200; round++) {
    uint8_t block[256];
    for (uint32_t i = 0; i < type->bytes; i++) {
      state ^= state << 13, state ^= state >> 17, state ^= state << 5;
      block[i] = (uint8_t)(state >> 11);
    }
    const uint32_t group = dure_gguf_type_codes(type).group;
    const uint32_t half_bytes[] = {1, 3, type->bytes - 1, type->bytes - 3};
    for (size_t i = 0; i < 4; i++) block[half_bytes[i]] &= 0x3b;  // scales that are finite
    float expected[DURE_GGUF_BLOCK_MOST], scales[16], minima[16];
    int8_t codes[DURE_GGUF_BLOCK_MOST];
    dure_gguf_expand(type, block, 0, type->elements, expected);
    dure_gguf_block_codes(type, block, codes, scales, minima);
    for (uint32_t i = 0; i < type->elements; i++) {
      const float product = scales[i / group] * (float)codes[i];
      ck_assert_msg(product + minima[i / group] == expected[i], "%s, element %u", names[_i], i);
    }
  }
}
END_TEST

START_TEST(other_types_have_no_codes) {
  static const char *const names[] = {"F32", "F16", "BF16"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
    ck_assert_uint_eq(dure_gguf_type_codes(dure_gguf_type_named(names[i])).bits, 0);
}
END_TEST

// ---- models ------------------------------------------------------------------------------------------------------

static void make_tokens(const dure_model *model, uint32_t *out_tokens) {
  for (uint32_t i = 0; i < TOKENS; i++) out_tokens[i] = (7 * i * i + 3 * i + 5) % model->config.vocabulary_size;
}

// Greedy tokens with their log-probabilities after a prompt: pieces of it go one way, tokens another.
static uint32_t generate(dure_model *model, const uint32_t *tokens, dure_scored_token *out_tokens) {
  dure_engine *engine = NULL;
  const dure_engine_options options = {.sequences = 1};
  require(dure_engine_create(model, &options, &engine));
  const dure_request request = {.tokens = tokens,
                                .count = TOKENS - 8,
                                .most_tokens = 8,
                                .sampling = {.top_p = 1},
                                .with_log_probabilities = true};
  uint64_t id = 0;
  uint32_t count = 0;
  dure_request_progress progress;
  require(dure_engine_submit(engine, &request, &id));
  for (bool is_busy = true; is_busy;) require(dure_engine_step(engine, &is_busy));
  require(dure_engine_poll(engine, id, 0, out_tokens, 8, &count, &progress));
  dure_engine_destroy(engine);
  return count;
}

// Writes the model with its matrices quantised: to a GGUF file, or with a grouping to a directory.
static void write_quantised(const char *source, const char *type, const dure_convert_grouping *grouping, char *path,
                            size_t size) {
  snprintf(path, size, "%s/%s", folder, grouping != NULL ? "grouped" : "model.gguf");
  dure_convert_summary summary;
  const dure_convert_options options = {.type = type, .grouping = grouping};
  require(dure_convert(source_path(source), path, &options, &summary));
}

static void compare_models(const char *source, const char *type, const dure_convert_grouping *grouping) {
  char path[128];
  write_quantised(source, type, grouping, path, sizeof(path));
  dure_model *expanded = open_model(path, false), *packed = open_model(path, true);
  const uint32_t V = expanded->config.vocabulary_size;
  uint64_t elements = 0, none = 0;
  ck_assert_uint_eq(dure_packed_bytes(&expanded->layout, &none), 0);
  ck_assert_uint_gt(dure_packed_bytes(&packed->layout, &elements), 0);
  ck_assert_uint_gt(elements * 2, expanded->layout.element_count);
  uint32_t tokens[TOKENS];
  make_tokens(expanded, tokens);
  float *a = malloc((size_t)TOKENS * V * sizeof(*a)), *b = malloc((size_t)TOKENS * V * sizeof(*b));
  require(dure_model_logits(expanded, tokens, TOKENS, a));
  require(dure_model_logits(packed, tokens, TOKENS, b));
  for (size_t i = 0; i < (size_t)TOKENS * V; i++)
    ck_assert_msg(a[i] == b[i], "%s %s: logit %zu is %.9g packed, %.9g expanded", source, type, i, (double)b[i],
                  (double)a[i]);
  dure_scored_token first[8], second[8];
  ck_assert_uint_eq(generate(expanded, tokens, first), generate(packed, tokens, second));
  for (int i = 0; i < 8; i++) {
    ck_assert_uint_eq(first[i].token, second[i].token);
    ck_assert_double_eq_tol((double)first[i].log_probability, (double)second[i].log_probability, 1e-5);
  }
  free(a);
  free(b);
  dure_model_destroy(packed);
  dure_model_destroy(expanded);
  require(dure_os_remove_tree(path));
}

START_TEST(packed_models_give_what_expanded_ones_do) {
  require(dure_device_open(device_names[_i / 2], &device));
  require(dure_stream_create(device, &stream));
  if (_i % 2 == 0) {
    compare_models("families/gpt2", "q8_0", NULL);  // matrices the other way round, activations and biases
    compare_models("families/qwen2", "q4_0", NULL);
  } else {
    compare_models("families/gpt2", NULL, &(dure_convert_grouping){.type = {8, 32, false}});
    compare_models("families/qwen2", NULL, &(dure_convert_grouping){.type = {4, 32, true}});
  }
  dure_stream_destroy(stream);
  dure_device_close(device);
}
END_TEST

// The mean square of what a file's logits differ by.
static double loss_of_file(const char *path, const uint32_t *tokens, const float *wanted) {
  dure_model *model = open_model(path, true);
  const size_t count = (size_t)TOKENS * model->config.vocabulary_size;
  float *found = malloc(count * sizeof(*found));
  require(dure_model_logits(model, tokens, TOKENS, found));
  double sum = 0;
  for (size_t i = 0; i < count; i++)
    sum += ((double)found[i] - (double)wanted[i]) * ((double)found[i] - (double)wanted[i]);
  free(found);
  dure_model_destroy(model);
  return sum / (double)count;
}

// The model that is opened, and what its logits of the tokens are.
typedef struct original {
  dure_model *model;
  uint32_t tokens[TOKENS];
  float *wanted;
} original;

static original open_original(const char *path) {
  original o;
  require(dure_device_open("reference", &device));
  require(dure_stream_create(device, &stream));
  o.model = open_model(path, false);
  make_tokens(o.model, o.tokens);
  o.wanted = malloc((size_t)TOKENS * o.model->config.vocabulary_size * sizeof(*o.wanted));
  require(dure_model_logits(o.model, o.tokens, TOKENS, o.wanted));
  return o;
}

static void close_original(const original *o) {
  free(o->wanted);
  dure_model_destroy(o->model);
  dure_stream_destroy(stream);
  dure_device_close(device);
}

// The loss of what the options make of the source.
static double loss_as(const original *o, const char *source, const dure_convert_options *options) {
  char path[128];
  snprintf(path, sizeof(path), "%s/%s", folder, options->type != NULL ? "model.gguf" : "directory");
  dure_convert_summary summary;
  require(dure_convert(source_path(source), path, options, &summary));
  const double loss = loss_of_file(path, o->tokens, o->wanted);
  require(dure_os_remove_tree(path));
  return loss;
}

// On the text that it was calibrated with. GPT-2's matrices lie the other way round in its file.
START_TEST(a_calibrated_file_loses_less) {
  const char *source = _i % 2 == 0 ? "families/gpt2" : "families/qwen2";
  const bool to_gguf = _i < 2;
  const original o = open_original(source_path(source));
  const dure_calibration_options settings = {.context = TOKENS, .windows = 1};
  const dure_convert_grouping grouping = {.type = {4, 32, !to_gguf}};
  dure_rounded *rounded = NULL;
  require(dure_rounded_create(o.model, source_path(source), &grouping, o.tokens, TOKENS, &settings, &rounded));
  dure_convert_options options = {.type = to_gguf ? "q4_0" : NULL, .grouping = to_gguf ? NULL : &grouping};
  const double plain = loss_as(&o, source, &options);
  options.rounded = rounded;
  const double calibrated = loss_as(&o, source, &options);
  ck_assert_msg(calibrated < 0.7 * plain, "%s: %g calibrated, %g to the nearest", source, calibrated, plain);
  dure_rounded_destroy(rounded);
  close_original(&o);
}
END_TEST

START_TEST(mixed_groups_have_8_bits_behind_the_inner_layer) {
  const char *source = _i == 0 ? "families/gpt2" : "families/gpt_neo";
  const dure_convert_grouping int4 = {.type = {4, 32, true}}, mixed = {.type = {4, 32, true}, .is_mixed = true};
  char path[128];
  write_quantised(source, NULL, &mixed, path, sizeof(path));
  dure_safetensors *file = NULL;
  require(dure_weights_open(path, &file));
  size_t wide = 0, narrow = 0;
  for (size_t i = 0; i < dure_safetensors_count(file); i++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_get(file, i);
    const dure_weights_codes codes = dure_weights_codes_of(tensor);
    if (codes.bits == 0 || strstr(tensor->name, "h.") == NULL) continue;  // not of a layer
    const bool is_inner = strstr(tensor->name, "mlp.c_proj") != NULL;
    ck_assert_msg(codes.bits == (is_inner ? 8 : 4) && codes.has_minima == !is_inner, "%s", tensor->name);
    wide += is_inner;
    narrow += !is_inner;
  }
  ck_assert(wide > 0 && narrow > wide);
  dure_safetensors_close(file);
  require(dure_os_remove_tree(path));
  const original o = open_original(source_path(source));
  const double all = loss_as(&o, source, &(dure_convert_options){.grouping = &int4});
  const double some = loss_as(&o, source, &(dure_convert_options){.grouping = &mixed});
  ck_assert_msg(some < all, "%s: %g with some in 8 bits, %g without", source, some, all);
  compare_models(source, NULL, &mixed);
  close_original(&o);
}
END_TEST

// Inputs of products in 8 bits cost something, but little beside what 4 bits of weights do.
START_TEST(rounded_activations_cost_little) {
  const char *source = _i == 0 ? "families/gpt2" : "families/qwen2";
  char path[128];
  write_quantised(source, "q8_0", NULL, path, sizeof(path));
  const original o = open_original(path);
  double square = 0;
  const size_t count = (size_t)TOKENS * o.model->config.vocabulary_size;
  for (size_t i = 0; i < count; i++) square += (double)o.wanted[i] * (double)o.wanted[i] / (double)count;
  rounds_activations = true;
  const double loss = loss_of_file(path, o.tokens, o.wanted);
  rounds_activations = false;
  ck_assert_msg(loss > 0 && loss < 1e-3 * square, "%s: %g of %g", source, loss, square);
  close_original(&o);
}
END_TEST

// ---- the format of groups ----------------------------------------------------------------------------------------

START_TEST(groups_lose_at_most_half_a_step) {
  char path[128];
  const dure_convert_grouping grouping = {.type = {_i % 2 == 0 ? 8 : 4, 32, _i >= 2}};
  write_quantised("families/gpt2", NULL, &grouping, path, sizeof(path));
  dure_safetensors *before = NULL, *after = NULL;
  require(dure_weights_open(source_path("families/gpt2"), &before));
  require(dure_weights_open(path, &after));
  size_t grouped = 0;
  for (size_t i = 0; i < dure_safetensors_count(after); i++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_get(after, i);
    const dure_safetensors_tensor *exact = dure_safetensors_find(before, tensor->name);
    ck_assert_ptr_nonnull(exact);
    ck_assert_uint_eq(tensor->count, exact->count);
    float *a = malloc((size_t)tensor->count * sizeof(*a)), *b = malloc((size_t)tensor->count * sizeof(*b));
    require(dure_safetensors_read(exact, 0, tensor->count, a));
    require(dure_safetensors_read(tensor, 0, tensor->count, b));
    const dure_weights_codes codes = dure_weights_codes_of(tensor);
    double most = 0, error = 0, largest = 0;
    for (uint64_t k = 0; k < tensor->count; k++) {
      most = fmax(most, fabs((double)a[k] - (double)b[k]));
      error += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]) / (double)tensor->count;
      largest = fmax(largest, fabs((double)a[k]));
    }
    grouped += codes.bits > 0;
    // Ranges of 4 bits may be shrunk to 0.62 of what they were: half a step is a sixteenth of the largest at most then.
    if (codes.bits == 0) ck_assert_msg(most <= largest * 0x1p-10, "%s", tensor->name);
    if (codes.bits == 8) ck_assert_msg(most <= largest / 126 / 2 * 1.01, "%s: %g of %g", tensor->name, most, largest);
    if (codes.bits == 4) ck_assert_msg(sqrt(error) <= largest / 16, "%s: %g of %g", tensor->name, error, largest);
    free(a);
    free(b);
  }
  ck_assert_uint_ge(grouped, 5);
  dure_safetensors_close(before);
  dure_safetensors_close(after);
  dure_status status = dure_weights_check_trainable(path);
  ck_assert_int_eq(dure_status_code(status), DURE_UNSUPPORTED);
  dure_status_free(status);
  require(dure_weights_check_trainable(source_path("families/gpt2")));
}
END_TEST

// One matrix of 4 bits, its scales `scale_columns` wide.
static dure_status open_damaged(const char *name, dure_dtype scale_type, uint64_t scale_rows, uint64_t scale_columns) {
  char path[128];
  snprintf(path, sizeof(path), "%s/damaged.safetensors", folder);
  const uint64_t scales[2] = {scale_rows, scale_columns};
  const uint64_t size = scale_rows * scale_columns * dure_dtype_size(scale_type);
  const uint8_t zeros[1024] = {0};
  dure_safetensors_writer *writer = NULL;
  const dure_safetensors_tensor codes = {
      .name = "w", .type = "U8", .rank = 2, .shape = {2, 64}, .count = 128, .size = 128};
  require(dure_safetensors_writer_create(path, &writer));
  require(dure_safetensors_writer_declare_alike(writer, &codes));
  require(dure_safetensors_writer_declare(writer, name, scale_type, 2, scales));
  require(dure_safetensors_writer_append(writer, zeros, codes.size));
  require(dure_safetensors_writer_append(writer, zeros, size));
  require(dure_safetensors_writer_finish(writer));
  dure_safetensors_writer_destroy(writer);
  dure_safetensors *file = NULL;
  dure_status status = dure_safetensors_open(path, &file);
  dure_safetensors_close(file);
  return status;
}

START_TEST(scales_that_do_not_fit_are_refused) {
  require(open_damaged("w_scales", DURE_DTYPE_F16, 2, 4));
  require(open_damaged("w_transposed_scales", DURE_DTYPE_F16, 2, 1));
  require(open_damaged("v_scales", DURE_DTYPE_F16, 2, 3));  // of another tensor: bytes like any
  static const struct {
    dure_dtype type;
    uint64_t rows, columns;
  } wrong[] = {{DURE_DTYPE_F16, 2, 3},
               {DURE_DTYPE_F16, 1, 4},
               {DURE_DTYPE_F16, 2, 8},
               {DURE_DTYPE_F32, 2, 4},
               {DURE_DTYPE_F16, 2, 0}};
  for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
    dure_status status = open_damaged("w_scales", wrong[i].type, wrong[i].rows, wrong[i].columns);
    ck_assert_int_eq(dure_status_code(status), DURE_CORRUPT);
    dure_status_free(status);
  }
}
END_TEST

// ---- calibration -------------------------------------------------------------------------------------------------

static const dure_role product_roles[] = {DURE_ROLE_QKV_WEIGHT, DURE_ROLE_ATTENTION_OUTPUT_WEIGHT,
                                          DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT, DURE_ROLE_FEED_FORWARD_OUTPUT_WEIGHT};

typedef struct layer_visit {
  const dure_model *model;
  uint32_t layers;
} layer_visit;

static dure_status visit_layer(void *context, const dure_calibration *calibration, uint32_t layer) {
  layer_visit *visit = context;
  ck_assert_uint_eq(layer, visit->layers++);
  for (size_t i = 0; i < sizeof(product_roles) / sizeof(product_roles[0]); i++) {
    const dure_parameter *matrix = dure_parameter_find(&visit->model->layout, product_roles[i], layer);
    const uint64_t width = matrix->shape[matrix->row->is_output_first ? 1 : 0];
    const float *products = dure_calibration_products(calibration, product_roles[i], width);
    ck_assert_ptr_nonnull(products);
    for (uint64_t k = 0; k < width; k++) {
      ck_assert_float_gt(products[k * width + k], 0);
      ck_assert_float_eq(products[k], products[k * width]);
    }
    ck_assert_ptr_null(dure_calibration_products(calibration, product_roles[i], width + 1));
  }
  ck_assert_ptr_null(dure_calibration_products(calibration, DURE_ROLE_HEAD, visit->model->config.width));
  return NULL;
}

START_TEST(layers_are_visited_in_order_with_their_sums) {
  uint32_t tokens[4 * TOKENS];
  require(dure_device_open("reference", &device));
  require(dure_stream_create(device, &stream));
  dure_model *model = open_model(source_path("families/qwen2"), false);
  for (uint32_t i = 0; i < 4 * TOKENS; i++) tokens[i] = i * 2654435761u % model->config.vocabulary_size;
  layer_visit visit = {model, 0};
  dure_calibration_options options = {
      .context = TOKENS / 2, .windows = 3, .take_layer = visit_layer, .take_context = &visit};
  require(dure_calibration_run(model, tokens, 4 * TOKENS, &options));
  ck_assert_uint_eq(visit.layers, model->config.layer_count);
  dure_status status = dure_calibration_run(model, tokens, TOKENS / 2 - 1, &options);
  ck_assert_int_eq(dure_status_code(status), DURE_INVALID_ARGUMENT);
  dure_status_free(status);
  dure_model_destroy(model);
  dure_stream_destroy(stream);
  dure_device_close(device);
}
END_TEST

// ---- rounding ----------------------------------------------------------------------------------------------------

enum { WIDTH = 64, ROWS = 24, SAMPLES = 200 };

static float random_normal(uint32_t *state) {  // the sum of 12 uniform numbers
  float sum = -6;
  for (int i = 0; i < 12; i++) {
    *state ^= *state << 13, *state ^= *state >> 17, *state ^= *state << 5;
    sum += (float)(*state >> 8) * 0x1p-24f;
  }
  return sum;
}

// The sum over rows of e^T products e, e the error of the rounded row.
static double product_error(const dure_group_type *type, const float *products, const float *given,
                            const float *values) {
  uint8_t codes[ROWS * WIDTH];
  uint16_t scales[ROWS * WIDTH / 32], minima[ROWS * WIDTH / 32];
  dure_rounding *rounding = NULL;
  require(dure_rounding_create(type, WIDTH, given, &rounding));
  dure_rounding_run(rounding, values, ROWS, codes, scales, minima);
  dure_rounding_destroy(rounding);
  double total = 0;
  for (int row = 0; row < ROWS; row++) {
    double error[WIDTH];
    for (int k = 0; k < WIDTH; k++) {
      const int group = (row * WIDTH + k) / 32, within = k % 32;
      const uint8_t pair = codes[row * WIDTH / 2 + k / 32 * 16 + within % 16];
      const int q = within < 16 ? pair & 15 : pair >> 4;
      error[k] = (double)values[row * WIDTH + k] -
                 (double)(dure_f16_to_float(scales[group]) * (float)q + dure_f16_to_float(minima[group]));
    }
    for (int i = 0; i < WIDTH; i++)
      for (int j = 0; j < WIDTH; j++) total += error[i] * (double)products[i * WIDTH + j] * error[j];
  }
  return total;
}

// The squares of a group's errors times their weights.
static double group_loss(const dure_group_type *type, const float *values, const float *weights, float scale,
                         float minimum) {
  double loss = 0;
  for (uint32_t i = 0; i < type->group; i++) {
    const int q = dure_group_round(type, values[i], scale, minimum);
    const double error = (double)values[i] - (double)(scale * (float)q + minimum);
    loss += (double)weights[i] * error * error;
  }
  return loss;
}

START_TEST(ranges_of_4_bits_suit_what_weighs) {
  const dure_group_type type = {4, 32, _i == 1};
  uint32_t state = 362436069u;
  double chosen = 0, whole = 0;
  for (int round = 0; round < 50; round++) {
    float values[32], weights[32], least = 0, most = 0, scale, minimum;
    for (int i = 0; i < 32; i++) {
      values[i] = random_normal(&state);
      weights[i] = expf(random_normal(&state));
      least = fminf(least, values[i]);
      most = fmaxf(most, values[i]);
    }
    dure_group_range(&type, values, weights, &scale, &minimum);
    ck_assert_float_eq(scale, dure_f16_to_float(dure_f16_from_float(scale)));
    ck_assert_float_eq(minimum, dure_f16_to_float(dure_f16_from_float(minimum)));
    chosen += group_loss(&type, values, weights, scale, minimum);
    const float extreme = -least > most ? least : most;
    whole += type.has_minima ? group_loss(&type, values, weights, (most - least) / 15, least)
                             : group_loss(&type, values, weights, extreme / -8, 0);
  }
  ck_assert_msg(chosen < 0.85 * whole, "%g as chosen, %g of whole ranges", chosen, whole);
}
END_TEST

START_TEST(calibrated_rounding_changes_products_less) {
  static float x[SAMPLES][WIDTH], products[WIDTH * WIDTH], values[ROWS * WIDTH];
  uint32_t state = 88172645u;
  for (int s = 0; s < SAMPLES; s++) {
    const float shared = random_normal(&state);  // inputs that go together
    for (int k = 0; k < WIDTH; k++) x[s][k] = (k % 7 == 0 ? 5.0f : 1.0f) * (shared + random_normal(&state));
  }
  for (int i = 0; i < WIDTH; i++) {
    for (int j = 0; j < WIDTH; j++) {
      for (int s = 0; s < SAMPLES; s++) products[i * WIDTH + j] += x[s][i] * x[s][j];
    }
  }
  for (int i = 0; i < ROWS * WIDTH; i++) values[i] = random_normal(&state);
  const dure_group_type type = {4, 32, true};
  const double plain = product_error(&type, products, NULL, values);
  const double calibrated = product_error(&type, products, products, values);
  ck_assert_msg(calibrated < plain / 2, "%g calibrated, %g to the nearest", calibrated, plain);
  memset(products, 0, sizeof(products));  // a text that says nothing
  ck_assert_double_eq(product_error(&type, products, products, values), 0);
}
END_TEST

// ---- running -----------------------------------------------------------------------------------------------------

static void find_devices(void) {
  const char *wanted = getenv("DURE_TEST_DEVICE");
  const int most = is_full() ? MOST_DEVICES : 2;
  snprintf(device_names[device_count++], sizeof(device_names[0]), "%s", wanted != NULL ? wanted : "reference");
  dure_device_info *infos = NULL;
  size_t count = 0;
  char *notes = NULL;
  require(dure_devices_list(&infos, &count, &notes));
  for (size_t i = 0; i < count && wanted == NULL && device_count < most; i++) {
    if (infos[i].usable && infos[i].kind == DURE_DEVICE_CPU)
      snprintf(device_names[device_count++], sizeof(device_names[0]), "%s", infos[i].identifier);
  }
  free(infos);
  free(notes);
}

int main(void) {
  find_devices();
  Suite *suite = suite_create("packed");
  TCase *codes = tcase_create("codes"), *models = tcase_create("models");
  tcase_add_loop_test(codes, codes_are_the_values_that_blocks_expand_to, 0, 10);
  tcase_add_test(codes, other_types_have_no_codes);
  tcase_add_checked_fixture(models, make_folder, remove_folder);
  tcase_add_loop_test(codes, ranges_of_4_bits_suit_what_weighs, 0, 2);
  tcase_add_test(codes, calibrated_rounding_changes_products_less);
  tcase_add_test(models, layers_are_visited_in_order_with_their_sums);
  tcase_add_loop_test(models, groups_lose_at_most_half_a_step, 0, 4);
  tcase_add_test(models, scales_that_do_not_fit_are_refused);
  tcase_add_loop_test(models, rounded_activations_cost_little, 0, 2);
  tcase_add_loop_test(models, a_calibrated_file_loses_less, 0, 4);
  tcase_add_loop_test(models, mixed_groups_have_8_bits_behind_the_inner_layer, 0, 2);
  tcase_add_loop_test(models, packed_models_give_what_expanded_ones_do, 0, 2 * device_count);
  suite_add_tcase(suite, codes);
  suite_add_tcase(suite, models);
  return run_suite(suite, CK_FORK_GETENV);
}
