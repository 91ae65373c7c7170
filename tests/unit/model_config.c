// Configurations and parameters: what config.json may say, where parameters lie, and weights that do not fit.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/model.h"
#include "model/safetensors.h"
#include "runtime/os.h"
#include "tests/suite.h"

static void require_code(dure_status status, dure_code code, const char *part) {
  ck_assert_msg(dure_status_code(status) == code, "%s: '%s', expected %s", dure_code_name(dure_status_code(status)),
                dure_status_message(status), dure_code_name(code));
  ck_assert_msg(strstr(dure_status_message(status), part) != NULL, "'%s' lacks '%s'", dure_status_message(status),
                part);
  dure_status_free(status);
}

#define LLAMA_SIZES \
  "\"vocab_size\":8,\"hidden_size\":8,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"intermediate_size\":8"
#define SIZES "\"vocab_size\":257,\"n_positions\":16,\"n_embd\":12,\"n_layer\":2,\"n_head\":3"
static const char small[] = "{\"model_type\":\"gpt2\"," SIZES "}";

static dure_status parse(const char *text, dure_model_config *config) {
  return dure_model_config_parse("config.json", text, strlen(text), config);
}

START_TEST(a_minimal_config_has_gpt2s_defaults) {
  dure_model_config config;
  require(parse(small, &config));
  ck_assert_str_eq(config.family->model_type, "gpt2");
  ck_assert_uint_eq(config.vocabulary_size, 257);
  ck_assert_uint_eq(config.head_width, 4);
  ck_assert_uint_eq(config.inner_width, 48);
  ck_assert_int_eq((int)config.activation, DURE_ACTIVATION_GELU_TANH);
  ck_assert(config.tied_head && config.scales_attention && !config.scales_by_layer);
  ck_assert_double_eq_tol(config.norm_epsilon, 1e-5, 1e-20);
  ck_assert_int_eq((int)config.end_id, -1);
  ck_assert_float_eq_tol(dure_model_config_attention_scale(&config, 1), 0.5f, 1e-9f);
  dure_model_config_clear(&config);
}
END_TEST

static const struct {
  const char *text;
  dure_code code;
  const char *part;
} mistakes[] = {
    {"", DURE_CORRUPT, "not JSON"},
    {"[]", DURE_CORRUPT, "object"},
    {"{" SIZES "}", DURE_CORRUPT, "model_type"},
    {"{\"model_type\":\"gtp2\"," SIZES "}", DURE_UNSUPPORTED, "nearest that is: \"gpt2\""},
    {"{\"model_type\":\"gpt2\"}", DURE_CORRUPT, "vocab_size"},
    {"{\"model_type\":\"gpt2\",\"vocab_size\":\"many\"}", DURE_CORRUPT, "found a text"},
    {"{\"model_type\":\"gpt2\",\"vocab_size\":1,\"n_positions\":1,\"n_embd\":5,\"n_layer\":1,\"n_head\":2}",
     DURE_CORRUPT, "multiple of"},
    {"{\"model_type\":\"gpt2\",\"vocab_size\":1,\"n_positions\":1,\"n_embd\":5,\"n_layer\":1000000,\"n_head\":1}",
     DURE_CORRUPT, "n_layer"},
    {"{\"model_type\":\"gpt2\",\"activation_function\":\"gelu_mew\"," SIZES "}", DURE_UNSUPPORTED, "gelu_new"},
    {"{\"model_type\":\"gpt2\",\"eos_token_id\":\"end\"," SIZES "}", DURE_CORRUPT, "eos_token_id"},
    {"{\"model_type\":\"gpt2\",\"tie_word_embeddings\":1," SIZES "}", DURE_CORRUPT, "true or false"},
    {"{\"model_type\":\"gpt2\",\"layer_norm_epsilon\":0," SIZES "}", DURE_CORRUPT, "layer_norm_epsilon"},
    {"{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"yarnn\",\"factor\":2},\"vocab_size\":8,\"hidden_"
     "size\":8,"
     "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"intermediate_size\":8}",
     DURE_UNSUPPORTED, "nearest that is: \"yarn\""},
    {"{\"model_type\":\"lama\"," LLAMA_SIZES "}", DURE_UNSUPPORTED, "nearest that is: \"llama\""},
    {"{\"model_type\":7," LLAMA_SIZES "}", DURE_CORRUPT, "model_type"},
    {"{\"model_type\":\"llama\",\"num_key_value_heads\":3," LLAMA_SIZES "}", DURE_CORRUPT, "from 1 to 2; found 3"},
    {"{\"model_type\":\"llama\",\"head_dim\":7," LLAMA_SIZES "}", DURE_CORRUPT, "heads of 7"},
    {"{\"model_type\":\"llama\",\"rms_norm_eps\":-1," LLAMA_SIZES "}", DURE_CORRUPT, "found -1"},
    {"{\"model_type\":\"llama\",\"rms_norm_eps\":1e999," LLAMA_SIZES "}", DURE_CORRUPT, "not JSON"},
    {"{\"model_type\":\"llama\",\"rms_norm_eps\":NaN," LLAMA_SIZES "}", DURE_CORRUPT, "not JSON"},
    {"{\"model_type\":\"llama\",\"max_position_embeddings\":99999999999999999999," LLAMA_SIZES "}", DURE_CORRUPT,
     "not JSON"},
    {"{\"model_type\":\"llama\",\"max_position_embeddings\":9223372036854775807," LLAMA_SIZES "}", DURE_CORRUPT,
     "found 9223372036854775807"},
    {"{\"model_type\":\"llama\",\"rope_scaling\":\"linear\"," LLAMA_SIZES "}", DURE_CORRUPT, "null or an object"},
    {"{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":3}," LLAMA_SIZES "}", DURE_CORRUPT, "rope_type"},
    {"{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_type\":\"longrope\"}," LLAMA_SIZES "}", DURE_UNSUPPORTED,
     "nearest that is"},
    {"{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":0}," LLAMA_SIZES "}",
     DURE_CORRUPT, "\"factor\""},
    {"{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"layer_types\":[\"full_attention\"]," LLAMA_SIZES "}",
     DURE_CORRUPT, "each of the 2 layers"},
    {"{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"layer_types\":[\"full_attention\",\"slidng_attention\"]"
     "," LLAMA_SIZES "}",
     DURE_UNSUPPORTED, "\"sliding_attention\""},
    {"{\"model_type\":\"mixtral\",\"num_local_experts\":2,\"num_experts_per_tok\":3," LLAMA_SIZES "}", DURE_CORRUPT,
     "num_experts_per_tok"},
    {"{\"model_type\":\"mixtral\",\"router_aux_loss_coef\":-1," LLAMA_SIZES "}", DURE_CORRUPT, "router_aux_loss_coef"},
    {"{\"model_type\":\"deepseek_v3\",\"router_bias_update_rate\":2," LLAMA_SIZES "}", DURE_CORRUPT,
     "router_bias_update_rate"},
    {"{\"model_type\":\"gpt2\",\"add_cross_attention\":true," SIZES "}", DURE_UNSUPPORTED, "add_cross_attention"},
    {"{\"model_type\":\"gpt2\",\"model_type\":\"gpt2\"," SIZES "}", DURE_CORRUPT, "not JSON"},
};

START_TEST(spellings_of_one_activation_mean_the_same) {
  static const struct {
    const char *name;
    dure_activation kind;
  } spellings[] = {
      {"gelu", DURE_ACTIVATION_GELU_ERF},
      {"gelu_python", DURE_ACTIVATION_GELU_ERF},
      {"gelu_accurate", DURE_ACTIVATION_GELU_TANH},
      {"gelu_python_tanh", DURE_ACTIVATION_GELU_TANH},
      {"gelu_fast", DURE_ACTIVATION_GELU_TANH},
      {"gelu_pytorch_tanh", DURE_ACTIVATION_GELU_TANH},
      {"swish", DURE_ACTIVATION_SILU},
      {"relu", DURE_ACTIVATION_RELU},
  };
  for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
    char text[256];
    snprintf(text, sizeof(text), "{\"model_type\":\"gpt2\",\"activation_function\":\"%s\"," SIZES "}",
             spellings[i].name);
    dure_model_config config;
    require(parse(text, &config));
    ck_assert_int_eq((int)config.activation, (int)spellings[i].kind);
    dure_model_config_clear(&config);
  }
}
END_TEST

START_TEST(a_mistake_names_its_key) {
  dure_model_config config;
  require_code(parse(mistakes[_i].text, &config), mistakes[_i].code, mistakes[_i].part);
  ck_assert_ptr_null(config.family);
}
END_TEST

START_TEST(a_written_config_reads_back_the_same_and_keeps_unknown_keys) {
  char path[] = "/tmp/dure-config-XXXXXX";
  int descriptor = mkstemp(path);
  ck_assert_int_ge(descriptor, 0);
  close(descriptor);
  dure_model_config config, again;
  require(
      parse("{\"model_type\":\"gpt2\",\"n_inner\":20,\"activation_function\":\"gelu\",\"scale_attn_by_inverse_layer_"
            "idx\":true,"
            "\"eos_token_id\":[3],\"torch_dtype\":\"bfloat16\",\"my_key\":7," SIZES "}",
            &config));
  require(dure_model_config_write(&config, DURE_DTYPE_F32, path));
  require(dure_model_config_read(path, &again));
  ck_assert_uint_eq(again.inner_width, 20);
  ck_assert_int_eq((int)again.activation, DURE_ACTIVATION_GELU_ERF);
  ck_assert(again.scales_by_layer);
  ck_assert_int_eq((int)again.end_id, 3);
  ck_assert_float_eq_tol(dure_model_config_attention_scale(&again, 1), 0.25f, 1e-9f);
  char *text = NULL;
  size_t size;
  require(dure_os_read_file(path, 1 << 16, &text, &size));
  ck_assert_ptr_nonnull(strstr(text, "\"my_key\": 7"));
  ck_assert_ptr_nonnull(strstr(text, "\"dtype\": \"float32\""));
  ck_assert_ptr_nonnull(strstr(text, "GPT2LMHeadModel"));
  ck_assert_ptr_null(strstr(text, "torch_dtype"));
  free(text);
  dure_model_config_clear(&config);
  dure_model_config_clear(&again);
  unlink(path);
}
END_TEST

START_TEST(parameters_lie_apart_aligned_and_decayed_ones_first) {
  dure_model_config config;
  require(parse(small, &config));
  dure_parameter_layout layout;
  require(dure_parameter_layout_create(&config, &layout));
  ck_assert_uint_eq(layout.count, 2 + 12 * 2 + 2);
  ck_assert_uint_eq(layout.pool_count, 2);
  ck_assert(layout.pools[0].decays && !layout.pools[1].decays);
  uint64_t total = 0;
  for (size_t i = 0; i < layout.count; i++) {
    const dure_parameter *a = &layout.parameters[i];
    total += a->count;
    ck_assert_uint_eq(a->offset % DURE_PARAMETER_ALIGNMENT, 0);
    ck_assert_uint_le(a->offset + a->count, layout.pools[a->pool].count);
    ck_assert_int_eq(a->decays, a->rank == 2);
    ck_assert_int_eq(layout.pools[a->pool].decays, a->decays);
    for (size_t k = 0; k < i; k++) {
      const dure_parameter *b = &layout.parameters[k];
      ck_assert(a->pool != b->pool || a->offset >= b->offset + b->count || b->offset >= a->offset + a->count);
      ck_assert_str_ne(a->name, b->name);
    }
  }
  ck_assert_uint_eq(layout.element_count, total);
  const dure_parameter *qkv = dure_parameter_find(&layout, DURE_ROLE_QKV_WEIGHT, 1);
  ck_assert_str_eq(qkv->name, "transformer.h.1.attn.c_attn.weight");
  ck_assert_uint_eq(qkv->shape[0], 12);
  ck_assert_uint_eq(qkv->shape[1], 36);
  ck_assert_ptr_null(dure_parameter_find(&layout, DURE_ROLE_HEAD, 0));
  dure_parameter_layout_clear(&layout);
  dure_model_config_clear(&config);
}
END_TEST

START_TEST(a_pool_is_cut_before_it_grows_too_large) {
  dure_model_config config;
  require(parse(
      "{\"model_type\":\"gpt2\",\"vocab_size\":100000,\"n_positions\":1024,\"n_embd\":1600,\"n_layer\":4,\"n_head\":25,"
      "\"tie_word_embeddings\":false}",
      &config));
  dure_parameter_layout layout;
  require(dure_parameter_layout_create(&config, &layout));
  const dure_parameter *embedding = dure_parameter_find(&layout, DURE_ROLE_TOKEN_EMBEDDING, 0);
  ck_assert_uint_eq(layout.pools[embedding->pool].count, embedding->count);  // 160 M elements: alone
  for (size_t i = 0; i < layout.pool_count; i++) {
    ck_assert(layout.pools[i].count <= DURE_POOL_MAX_ELEMENTS || layout.pools[i].count == embedding->count);
  }
  ck_assert_ptr_nonnull(dure_parameter_find(&layout, DURE_ROLE_HEAD, 0));
  dure_parameter_layout_clear(&layout);
  dure_model_config_clear(&config);
}
END_TEST

START_TEST(initial_values_have_the_papers_deviations_and_do_not_depend_on_pieces) {
  dure_model_config config;
  require(
      parse("{\"model_type\":\"gpt2\",\"vocab_size\":100,\"n_positions\":16,\"n_embd\":64,\"n_layer\":8,\"n_head\":4}",
            &config));
  dure_parameter_layout layout;
  require(dure_parameter_layout_create(&config, &layout));
  for (size_t i = 0; i < layout.count; i++) {
    const dure_parameter *parameter = &layout.parameters[i];
    float *values = malloc(parameter->count * sizeof(*values)), piece[3];
    dure_parameter_initial(&layout, i, &config, 5, 0, parameter->count, values);
    dure_parameter_initial(&layout, i, &config, 5, 2, 3, piece);
    ck_assert_mem_eq(piece, values + 2, sizeof(piece));
    double sum = 0, squares = 0;
    for (uint64_t k = 0; k < parameter->count; k++) {
      sum += (double)values[k];
      squares += (double)values[k] * (double)values[k];
    }
    double mean = sum / (double)parameter->count, deviation = sqrt(squares / (double)parameter->count);
    bool is_residual = parameter->row->init == DURE_INIT_NORMAL_RESIDUAL;
    double expected = is_residual ? 0.02 / 4 : 0.02;
    // The sample deviation of n normals errs by 1 / sqrt(2 n): five of those.
    double tolerance = expected * 5 / sqrt(2.0 * (double)parameter->count);
    if (parameter->rank == 2)
      ck_assert_msg(fabs(deviation - expected) < tolerance, "%s: %g", parameter->name, deviation);
    if (parameter->row->init == DURE_INIT_ONE) ck_assert_double_eq_tol(mean, 1, 1e-12);
    if (parameter->row->init == DURE_INIT_ZERO) ck_assert_double_eq_tol(squares, 0, 1e-30);
    free(values);
  }
  dure_parameter_layout_clear(&layout);
  dure_model_config_clear(&config);
}
END_TEST

// ---- model directories -------------------------------------------------------------------------------------------

static char folder[64];
static dure_device *device;
static dure_stream *stream;

static void make_folder(void) {
  snprintf(folder, sizeof(folder), "/tmp/dure-model-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  require(dure_device_open("reference", &device));
  require(dure_stream_create(device, &stream));
}

static void remove_folder(void) {
  dure_stream_destroy(stream);
  dure_device_close(device);
  require(dure_os_remove_tree(folder));
}

static void write_config(const char *text) {
  char path[128];
  snprintf(path, sizeof(path), "%s/config.json", folder);
  require(dure_os_write_file(path, text, strlen(text)));
}

static void save_new_model(const char *config) {
  write_config(config);
  dure_model *model = NULL;
  require(dure_model_create(folder, 9, device, stream, &model));
  require(dure_model_save(model, folder));
  dure_model_destroy(model);
}

START_TEST(a_saved_model_opens_with_the_same_bits) {
  ck_assert(!dure_model_has_weights(folder));
  save_new_model(small);
  ck_assert(dure_model_has_weights(folder));
  dure_model *model = NULL;
  require(dure_model_open(folder, device, stream, &model));
  for (size_t i = 0; i < model->layout.count; i++) {
    const dure_parameter *parameter = &model->layout.parameters[i];
    float *values = malloc(parameter->count * sizeof(*values)),
          *expected = malloc(parameter->count * sizeof(*expected));
    dure_parameter_initial(&model->layout, i, &model->config, 9, 0, parameter->count, expected);
    require(dure_parameter_download(&model->weights, parameter, stream, 0, parameter->count, values));
    ck_assert_mem_eq(values, expected, parameter->count * sizeof(*values));
    free(values);
    free(expected);
  }
  dure_model_destroy(model);
}
END_TEST

START_TEST(a_config_that_contradicts_its_weights_is_explained) {
  static const struct {
    const char *config, *part;
  } cases[] = {
      {"{\"model_type\":\"gpt2\",\"vocab_size\":300,\"n_positions\":16,\"n_embd\":12,\"n_layer\":2,\"n_head\":3}",
       "[300, 12]"},
      {"{\"model_type\":\"gpt2\",\"vocab_size\":257,\"n_positions\":16,\"n_embd\":12,\"n_layer\":3,\"n_head\":3}",
       "h.2.ln_1.weight"},
      {"{\"model_type\":\"gpt2\",\"vocab_size\":257,\"n_positions\":16,\"n_embd\":12,\"n_layer\":1,\"n_head\":3}",
       "asks for 1 layers"},
      {"{\"model_type\":\"gpt2\",\"vocab_size\":257,\"n_positions\":16,\"n_embd\":12,\"n_layer\":2,\"n_head\":3,"
       "\"tie_word_embeddings\":false}",
       "lm_head.weight"},
  };
  save_new_model(small);
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    write_config(cases[i].config);
    dure_model *model = NULL;
    require_code(dure_model_open(folder, device, stream, &model), DURE_CORRUPT, cases[i].part);
    ck_assert_ptr_null(model);
  }
}
END_TEST

// The first element of the data becomes NaN; the first type named F32 becomes I32.
START_TEST(weights_that_are_no_numbers_are_refused) {
  static const struct {
    const char *in_header, *instead;
    dure_code code;
    const char *part;
  } cases[] = {{NULL, NULL, DURE_CORRUPT, "element 0 of tensor"},
               {"\"F32\"", "\"I32\"", DURE_UNSUPPORTED, "has dtype I32"}};
  char path[128];
  snprintf(path, sizeof(path), "%s/model.safetensors", folder);
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    save_new_model(small);
    char *bytes = NULL;
    size_t size = 0;
    uint64_t header = 0;
    require(dure_os_read_file(path, 1 << 24, &bytes, &size));
    memcpy(&header, bytes, sizeof(header));
    if (cases[i].in_header == NULL) {
      const float nan = NAN;
      memcpy(bytes + 8 + header, &nan, sizeof(nan));
    } else {
      memcpy(strstr(bytes + 8, cases[i].in_header), cases[i].instead, strlen(cases[i].instead));
    }
    require(dure_os_write_file(path, bytes, size));
    free(bytes);
    dure_model *model = NULL;
    require_code(dure_model_open(folder, device, stream, &model), cases[i].code, cases[i].part);
    ck_assert_ptr_null(model);
  }
}
END_TEST

START_TEST(names_without_the_prefix_and_old_masks_are_read) {
  write_config(small);
  dure_model *model = NULL;
  require(dure_model_create(folder, 9, device, stream, &model));
  char path[128];
  snprintf(path, sizeof(path), "%s/model.safetensors", folder);
  dure_safetensors_writer *writer = NULL;
  require(dure_safetensors_writer_create(path, &writer));
  const uint64_t mask_shape[4] = {1, 1, 16, 16};
  const float zeros[257 * 12] = {0};
  for (size_t i = 0; i < model->layout.count; i++) {
    const dure_parameter *parameter = &model->layout.parameters[i];
    require(dure_safetensors_writer_declare(writer, parameter->name + strlen("transformer."), DURE_DTYPE_F32,
                                            parameter->rank, parameter->shape));
  }
  require(dure_safetensors_writer_declare(writer, "h.0.attn.bias", DURE_DTYPE_U8, 4, mask_shape));
  for (size_t i = 0; i < model->layout.count; i++) {
    require(dure_safetensors_writer_append(writer, zeros, model->layout.parameters[i].count * sizeof(float)));
  }
  require(dure_safetensors_writer_append(writer, zeros, 256));
  require(dure_safetensors_writer_finish(writer));
  dure_safetensors_writer_destroy(writer);
  dure_model_destroy(model);
  require(dure_model_open(folder, device, stream, &model));
  dure_model_destroy(model);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("model_config");
  TCase *tests = tcase_create("config");
  tcase_add_test(tests, a_minimal_config_has_gpt2s_defaults);
  tcase_add_test(tests, spellings_of_one_activation_mean_the_same);
  tcase_add_loop_test(tests, a_mistake_names_its_key, 0, (int)(sizeof(mistakes) / sizeof(mistakes[0])));
  tcase_add_test(tests, a_written_config_reads_back_the_same_and_keeps_unknown_keys);
  tcase_add_test(tests, parameters_lie_apart_aligned_and_decayed_ones_first);
  tcase_add_test(tests, a_pool_is_cut_before_it_grows_too_large);
  tcase_add_test(tests, initial_values_have_the_papers_deviations_and_do_not_depend_on_pieces);
  suite_add_tcase(suite, tests);
  TCase *directories = tcase_create("directories");
  tcase_add_checked_fixture(directories, make_folder, remove_folder);
  tcase_add_test(directories, a_saved_model_opens_with_the_same_bits);
  tcase_add_test(directories, a_config_that_contradicts_its_weights_is_explained);
  tcase_add_test(directories, weights_that_are_no_numbers_are_refused);
  tcase_add_test(directories, names_without_the_prefix_and_old_masks_are_read);
  suite_add_tcase(suite, directories);
  return run_suite(suite, CK_FORK_GETENV);
}
