// From GGUF's metadata to config.json and back.
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/family.h"
#include "model/gguf_family.h"

// Models of Dure carry their config.json along, so that what the keys cannot say comes back.
#define OWN_CONFIG_KEY "dure.config_json"

// The shortest decimal that gives this f32: 1e-05 rather than 9.99999975e-06.
static double shortest_decimal(double number) {
  char text[32];
  for (int digits = 6; digits < 9; digits++) {
    snprintf(text, sizeof(text), "%.*g", digits, number);
    const double found = strtod(text, NULL);
    if ((float)found == (float)number) return found;
  }
  return number;
}

static const dure_gguf_value *find_key(const dure_gguf *file, const char *architecture, const char *suffix) {
  char key[160];
  snprintf(key, sizeof(key), "%.60s.%s", architecture, suffix);
  return dure_gguf_value_find(file, key);
}

// A number that every layer has may be a list of one for each: all must be the same.
static dure_status check_uniform(const dure_gguf *file, const dure_gguf_value *value) {
  double first, other;
  if (value->kind != DURE_GGUF_LIST) return NULL;
  for (uint64_t i = 0; i < value->count; i++) {
    if (!dure_gguf_number(value, 0, &first) || !dure_gguf_number(value, i, &other) || first != other)
      return dure_fail(DURE_UNSUPPORTED, "'%s': %s differs between layers", dure_gguf_path(file), value->key);
  }
  return NULL;
}

static dure_status read_key(const dure_gguf *file, const dure_gguf_family *family, const dure_gguf_key *row,
                            json_t *json) {
  const dure_gguf_value *value = find_key(file, family->architecture, row->gguf_key);
  if (value == NULL && !row->is_required) return NULL;
  double number;
  int64_t integer;
  if (value != NULL) DURE_TRY(check_uniform(file, value));
  const bool is_there =
      row->is_number ? dure_gguf_number(value, 0, &number) && isfinite(number) : dure_gguf_integer(value, 0, &integer);
  if (!is_there) {
    return dure_fail(DURE_CORRUPT, "'%s': the key %s.%s is %s", dure_gguf_path(file), family->architecture,
                     row->gguf_key, value == NULL ? "missing" : "not a number of the kind that it should be");
  }
  json_object_set_new(json, row->config_key,
                      row->is_number ? json_real(shortest_decimal(number)) : json_integer((json_int_t)integer));
  return NULL;
}

static void read_token(const dure_gguf *file, const char *gguf_key, const char *config_key, json_t *json) {
  int64_t id;
  if (dure_gguf_integer(dure_gguf_value_find(file, gguf_key), 0, &id) && id >= 0)
    json_object_set_new(json, config_key, json_integer((json_int_t)id));
}

// ---- rotary scaling ----------------------------------------------------------------------------------------------

// Llama 3.1's factor of the frequency whose wavelength is given, in f32 as other writers have it.
static double llama3_factor(double wavelength, double factor, double low, double high, double original) {
  if (wavelength < original / high) return 1;
  if (wavelength > original / low) return factor;
  const double smooth = (original / wavelength - low) / (high - low);
  return 1 / ((1 - smooth) / factor + smooth);
}

static double wavelength_of(double base, uint64_t index, uint64_t width) {
  return 2 * 3.14159265358979323846 * pow(base, 2 * (double)index / (double)width);
}

typedef struct llama3 {
  double factor, low, high, original;
} llama3;

static bool explains(const llama3 *scaling, double base, uint64_t count, const float *factors) {
  for (uint64_t i = 0; i < count; i++) {
    const double expected = llama3_factor(wavelength_of(base, i, 2 * count), scaling->factor, scaling->low,
                                          scaling->high, scaling->original);
    if (!(fabs((double)factors[i] - expected) <= 1e-4 * expected)) return false;
  }
  return true;
}

// The usual values; else from the line on which the factors between 1 and the largest lie: smooth is linear in
// 1 / wavelength. Only ratios of low, high and the original context matter, so low is 1.
static bool find_llama3(double base, uint64_t count, const float *factors, llama3 *out_scaling) {
  double largest = 1, x[2] = {0}, y[2] = {0};
  int found = 0;
  for (uint64_t i = 0; i < count; i++) largest = fmax(largest, (double)factors[i]);
  *out_scaling = (llama3){largest, 1, 4, 8192};
  if (explains(out_scaling, base, count, factors)) return true;
  for (uint64_t i = 0; i < count; i++) {
    const double factor = (double)factors[i];
    if (!(factor > 1 + 1e-6 && factor < largest * (1 - 1e-6))) continue;
    const int at = found++ == 0 ? 0 : 1;  // the first and the last
    x[at] = 1 / wavelength_of(base, i, 2 * count);
    y[at] = (1 / factor - 1 / largest) / (1 - 1 / largest);
  }
  if (found == 1) {  // as if the usual ratio of high to low
    *out_scaling = (llama3){largest, 1, 4, round((1 + 3 * y[0]) / x[0])};
    return explains(out_scaling, base, count, factors);
  }
  if (found < 2) return false;
  const double slope = (y[1] - y[0]) / (x[1] - x[0]), at_zero = slope * x[0] - y[0];
  if (!(slope > 0 && at_zero > 0)) return false;
  *out_scaling = (llama3){largest, 1, 1 + 1 / at_zero, round(slope / at_zero)};
  return out_scaling->original >= 1 && out_scaling->original < 1 << 24 && explains(out_scaling, base, count, factors);
}

static dure_status read_rope_factors(const dure_gguf *file, const dure_gguf_tensor *tensor, json_t *json) {
  enum { most = 1024 };
  float factors[most];
  llama3 scaling;
  if (tensor->count == 0 || tensor->count > most)
    return dure_fail(DURE_CORRUPT, "'%s': '%s' has an impossible size", dure_gguf_path(file), tensor->name);
  DURE_TRY(dure_gguf_read(tensor, 0, tensor->count, factors));
  const json_t *theta = json_object_get(json, "rope_theta");
  if (!find_llama3(theta != NULL ? json_number_value(theta) : 10000, tensor->count, factors, &scaling)) {
    return dure_fail(DURE_UNSUPPORTED, "'%s': the factors of '%s' are not those of Llama 3.1's scaling",
                     dure_gguf_path(file), tensor->name);
  }
  if (scaling.factor == 1) return NULL;
  json_object_set_new(json, "rope_scaling",
                      json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", scaling.factor,
                                "low_freq_factor", scaling.low, "high_freq_factor", shortest_decimal(scaling.high),
                                "original_max_position_embeddings", (json_int_t)scaling.original));
  return NULL;
}

static dure_status read_scaling(const dure_gguf *file, const char *architecture, json_t *json) {
  const dure_gguf_tensor *factors = dure_gguf_tensor_find(file, "rope_freqs.weight");
  const char *type;
  size_t length;
  double factor = 1;
  int64_t original;
  if (factors != NULL) return read_rope_factors(file, factors, json);
  if (!dure_gguf_text(find_key(file, architecture, "rope.scaling.type"), &type, &length)) return NULL;
  if (length == 4 && memcmp(type, "none", 4) == 0) return NULL;
  json_t *scaling = json_object();
  json_t *name = json_stringn(type, length);
  if (name == NULL || json_object_set_new(scaling, "rope_type", name) != 0) {
    json_decref(scaling);
    return dure_fail(DURE_CORRUPT, "'%s': %s.rope.scaling.type is not a text", dure_gguf_path(file), architecture);
  }
  if (dure_gguf_number(find_key(file, architecture, "rope.scaling.factor"), 0, &factor) && isfinite(factor))
    json_object_set_new(scaling, "factor", json_real(factor));
  if (dure_gguf_integer(find_key(file, architecture, "rope.scaling.original_context_length"), 0, &original))
    json_object_set_new(scaling, "original_max_position_embeddings", json_integer((json_int_t)original));
  json_object_set_new(json, "rope_scaling", scaling);
  return NULL;
}

uint32_t dure_gguf_rope_factors(const dure_model_config *config, float *out_factors) {
  const dure_rotary_config *r = &config->rotary;
  if (config->position != DURE_POSITION_ROTARY || r->scaling != DURE_ROTARY_LLAMA3) return 0;
  for (uint32_t i = 0; i < r->width / 2 && out_factors != NULL; i++) {
    out_factors[i] = (float)llama3_factor(wavelength_of(r->base, i, r->width), r->factor, r->low_frequency_factor,
                                          r->high_frequency_factor, (double)r->original_context);
  }
  return r->width / 2;
}

// ---- reading -----------------------------------------------------------------------------------------------------

static dure_status fill_json(const dure_gguf *file, const dure_gguf_family *family, json_t *json) {
  const dure_gguf_tensor *embedding = dure_gguf_tensor_find(file, "token_embd.weight");
  if (embedding == NULL || embedding->rank != 2)
    return dure_fail(DURE_CORRUPT, "'%s' has no tensor token_embd.weight with two dimensions", dure_gguf_path(file));
  json_object_set_new(json, "model_type", json_string(family->model_type));
  json_object_set_new(json, "vocab_size", json_integer((json_int_t)embedding->shape[0]));
  for (size_t i = 0; i < family->key_count; i++) DURE_TRY(read_key(file, family, &family->keys[i], json));
  DURE_TRY(read_scaling(file, family->architecture, json));
  json_object_set_new(json, "tie_word_embeddings", json_boolean(dure_gguf_tensor_find(file, "output.weight") == NULL));
  read_token(file, "tokenizer.ggml.bos_token_id", "bos_token_id", json);
  read_token(file, "tokenizer.ggml.eos_token_id", "eos_token_id", json);
  return family->finish != NULL ? family->finish(file, json) : NULL;
}

static dure_status find_architecture(const dure_gguf *file, const dure_gguf_family **out_family) {
  const char *text;
  char architecture[64];
  size_t length;
  int64_t parts;
  *out_family = NULL;
  if (!dure_gguf_text(dure_gguf_value_find(file, "general.architecture"), &text, &length))
    return dure_fail(DURE_CORRUPT, "'%s' has no key general.architecture", dure_gguf_path(file));
  if (dure_gguf_integer(dure_gguf_value_find(file, "split.count"), 0, &parts) && parts > 1) {
    return dure_fail(DURE_UNSUPPORTED,
                     "'%s' is one of %" PRId64 " parts; join them into one file first (gguf-split --merge)",
                     dure_gguf_path(file), parts);
  }
  snprintf(architecture, sizeof(architecture), "%.*s", (int)(length < 63 ? length : 63), text);
  return dure_gguf_family_find(dure_gguf_path(file), architecture, out_family);
}

dure_status dure_gguf_config(const dure_gguf *file, dure_model_config *out_config) {
  memset(out_config, 0, sizeof(*out_config));
  const dure_gguf_family *family;
  const char *own;
  size_t length;
  DURE_TRY(find_architecture(file, &family));
  if (dure_gguf_text(dure_gguf_value_find(file, OWN_CONFIG_KEY), &own, &length))
    return dure_model_config_parse(dure_gguf_path(file), own, length, out_config);
  json_t *json = json_object();
  if (json == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", dure_gguf_path(file));
  dure_status status = fill_json(file, family, json);
  char *text = status == NULL ? json_dumps(json, JSON_COMPACT) : NULL;
  json_decref(json);
  if (status == NULL && text == NULL)
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", dure_gguf_path(file));
  if (status == NULL) status = dure_model_config_parse(dure_gguf_path(file), text, strlen(text), out_config);
  free(text);
  return status;
}

// ---- writing -----------------------------------------------------------------------------------------------------

// The architecture's keys, all beginning with its name.
typedef struct section {
  dure_gguf_writer *writer;
  const char *architecture;
  char key[160];
} section;

static const char *key_of(section *s, const char *suffix) {
  snprintf(s->key, sizeof(s->key), "%s.%s", s->architecture, suffix);
  return s->key;
}

static void put_u32(section *s, const char *suffix, uint32_t value) {
  dure_gguf_writer_u32(s->writer, key_of(s, suffix), value);
}

static void put_f32(section *s, const char *suffix, double value) {
  dure_gguf_writer_f32(s->writer, key_of(s, suffix), (float)value);
}

static void write_sizes(section *s, const dure_model_config *config) {
  put_u32(s, "context_length", config->context_length);
  put_u32(s, "embedding_length", config->width);
  put_u32(s, "block_count", config->layer_count);
  put_u32(s, "feed_forward_length", config->inner_width);
  put_u32(s, "attention.head_count", config->head_count);
  put_u32(s, "attention.head_count_kv", config->key_head_count);
  put_u32(s, "vocab_size", config->vocabulary_size);
  put_f32(s, config->norm == DURE_NORM_RMS ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
          config->norm_epsilon);
  if (config->head_width * config->head_count != config->width || config->latent.key_rank > 0) {
    put_u32(s, "attention.key_length", config->head_width);
    put_u32(s, "attention.value_length", config->latent.key_rank > 0 ? config->latent.value_width : config->head_width);
  }
  if (config->window > 0) put_u32(s, "attention.sliding_window", config->window);
}

static void write_positions(section *s, const dure_model_config *config) {
  const dure_rotary_config *r = &config->rotary;
  if (config->position == DURE_POSITION_ALIBI) put_f32(s, "attention.max_alibi_bias", config->alibi_largest);
  if (config->position != DURE_POSITION_ROTARY) return;
  put_u32(s, "rope.dimension_count", r->width);
  put_f32(s, "rope.freq_base", r->base);
  if (r->scaling != DURE_ROTARY_LINEAR && r->scaling != DURE_ROTARY_YARN) return;
  const char *type = r->scaling == DURE_ROTARY_YARN ? "yarn" : "linear";
  dure_gguf_writer_text(s->writer, key_of(s, "rope.scaling.type"), type, strlen(type));
  put_f32(s, "rope.scaling.factor", r->factor);
  if (r->scaling == DURE_ROTARY_YARN) put_u32(s, "rope.scaling.original_context_length", r->original_context);
}

// What DeepSeek's models have: latent attention, and how their experts are chosen.
static void write_latent(section *s, const dure_model_config *config) {
  const dure_route_attributes *route = &config->experts.route;
  const json_t *rope = json_object_get(config->source, "rope_parameters");
  if (rope == NULL) rope = json_object_get(config->source, "rope_scaling");
  const double weight = json_number_value(json_object_get(rope, "mscale_all_dim"));
  uint32_t dense = 0;
  while (dense < config->layer_count && !config->is_sparse[dense]) dense++;
  if (config->latent.query_rank > 0) put_u32(s, "attention.q_lora_rank", config->latent.query_rank);
  put_u32(s, "attention.kv_lora_rank", config->latent.key_rank);
  put_u32(s, "leading_dense_block_count", dense);
  put_u32(s, "expert_count", config->experts.count);
  put_u32(s, "expert_used_count", route->count);
  put_u32(s, "expert_shared_count", config->experts.shared_width / config->experts.width);
  put_u32(s, "expert_feed_forward_length", config->experts.width);
  put_f32(s, "expert_weights_scale", (double)route->factor);
  dure_gguf_writer_boolean(s->writer, key_of(s, "expert_weights_norm"), route->is_normalised);
  put_u32(s, "expert_gating_func", route->is_sigmoid ? 2 : 1);
  put_u32(s, "expert_group_count", route->group_count > 0 ? route->group_count : 1);
  put_u32(s, "expert_group_used_count", route->group_count > 0 ? route->group_limit : 1);
  if (config->rotary.scaling == DURE_ROTARY_YARN && weight > 0)
    put_f32(s, "rope.scaling.yarn_log_multiplier", 0.1 * weight);
}

// config.json as it would be written, and the keys of the family that only it has.
static void write_own(section *s, const dure_gguf_family *family, const dure_model_config *config) {
  json_t *json = config->source != NULL ? json_deep_copy(config->source) : json_object();
  if (json == NULL) return;
  json_object_set_new(json, "model_type", json_string(config->family->model_type));
  dure_status_free(config->family->write(config, json));
  for (size_t i = 0; i < family->key_count; i++) {
    const json_t *value = json_object_get(json, family->keys[i].config_key);
    if (!family->keys[i].is_own || !json_is_number(value)) continue;
    if (family->keys[i].is_number) put_f32(s, family->keys[i].gguf_key, json_number_value(value));
    if (!family->keys[i].is_number) put_u32(s, family->keys[i].gguf_key, (uint32_t)json_integer_value(value));
  }
  char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
  if (text != NULL) dure_gguf_writer_text(s->writer, OWN_CONFIG_KEY, text, strlen(text));
  free(text);
  json_decref(json);
}

void dure_gguf_write_config(dure_gguf_writer *writer, const dure_gguf_family *family, const dure_model_config *config) {
  section s = {.writer = writer, .architecture = family->architecture};
  dure_gguf_writer_text(writer, "general.architecture", family->architecture, strlen(family->architecture));
  dure_gguf_writer_u32(writer, "general.quantization_version", 2);
  write_sizes(&s, config);
  write_positions(&s, config);
  if (config->latent.key_rank > 0) write_latent(&s, config);
  if (strcmp(family->architecture, "gptneox") == 0)
    dure_gguf_writer_boolean(writer, key_of(&s, "use_parallel_residual"), config->residual == DURE_RESIDUAL_PARALLEL);
  write_own(&s, family, config);
}
