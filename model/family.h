// What a decoder family provides: the row behind families.def.
#ifndef DURE_MODEL_FAMILY_H_
#define DURE_MODEL_FAMILY_H_

#include <jansson.h>

#include "model/config.h"

// What a parameter is for; decoder.c asks for parameters by role and layer.
typedef enum dure_role {
  DURE_ROLE_TOKEN_EMBEDDING,
  DURE_ROLE_POSITION_EMBEDDING,
  DURE_ROLE_EMBEDDING_NORM_WEIGHT,
  DURE_ROLE_EMBEDDING_NORM_BIAS,
  DURE_ROLE_EMBEDDING_INPUT,   // [C, E]: from the embedding's width to the model's
  DURE_ROLE_EMBEDDING_OUTPUT,  // [E, C]: back, before the head
  DURE_ROLE_ATTENTION_NORM_WEIGHT,
  DURE_ROLE_ATTENTION_NORM_BIAS,
  DURE_ROLE_QKV_WEIGHT,  // query, key and value in one matrix, in this order
  DURE_ROLE_QKV_BIAS,
  DURE_ROLE_ATTENTION_OUTPUT_WEIGHT,
  DURE_ROLE_ATTENTION_OUTPUT_BIAS,
  DURE_ROLE_QUERY_NORM_WEIGHT,  // [D], for every head; or of all heads together
  DURE_ROLE_KEY_NORM_WEIGHT,
  DURE_ROLE_ATTENTION_POST_NORM_WEIGHT,  // BOTH_NORMS, NORMS_AFTER: of the attention's output
  DURE_ROLE_FEED_FORWARD_POST_NORM_WEIGHT,
  DURE_ROLE_FEED_FORWARD_NORM_WEIGHT,
  DURE_ROLE_FEED_FORWARD_NORM_BIAS,
  DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT,  // gated: gate, then up
  DURE_ROLE_FEED_FORWARD_INPUT_BIAS,
  DURE_ROLE_FEED_FORWARD_OUTPUT_WEIGHT,
  DURE_ROLE_FEED_FORWARD_OUTPUT_BIAS,
  DURE_ROLE_ROUTER_WEIGHT,  // [E, C]
  DURE_ROLE_ROUTER_BIAS,
  DURE_ROLE_EXPERTS_INPUT_WEIGHT,   // [E (gate, then up), C]
  DURE_ROLE_EXPERTS_OUTPUT_WEIGHT,  // [E C, inner]
  DURE_ROLE_SHARED_INPUT_WEIGHT,    // gate, then up
  DURE_ROLE_SHARED_OUTPUT_WEIGHT,
  DURE_ROLE_SHARED_GATE_WEIGHT,  // [1, C]
  DURE_ROLE_QUERY_DOWN_WEIGHT,   // multi-head latent attention
  DURE_ROLE_QUERY_DOWN_BIAS,
  DURE_ROLE_QUERY_LATENT_NORM_WEIGHT,
  DURE_ROLE_QUERY_UP_WEIGHT,  // from the latent vector, or from the token's own where there is none
  DURE_ROLE_KEY_DOWN_WEIGHT,  // the latent vector, then the rotated part of keys
  DURE_ROLE_KEY_DOWN_BIAS,
  DURE_ROLE_KEY_LATENT_NORM_WEIGHT,
  DURE_ROLE_KEY_UP_WEIGHT,  // of each head the plain part of its key, then its value
  DURE_ROLE_FINAL_NORM_WEIGHT,
  DURE_ROLE_FINAL_NORM_BIAS,
  DURE_ROLE_HEAD,
  DURE_ROLE_HEAD_BIAS,
  DURE_ROLE_COUNT,
} dure_role;

// A dimension by its meaning, so that shapes follow from a config.
typedef enum dure_dimension {
  DURE_DIMENSION_NONE,
  DURE_DIMENSION_VOCABULARY,  // V
  DURE_DIMENSION_POSITIONS,
  DURE_DIMENSION_WIDTH,      // C
  DURE_DIMENSION_EMBEDDING,  // E: width of the token embedding
  DURE_DIMENSION_QKV,        // (H + 2 G) D
  DURE_DIMENSION_HEADS,      // H D
  DURE_DIMENSION_KEYS,       // G D
  DURE_DIMENSION_HEAD,       // D
  DURE_DIMENSION_INNER,      // I
  DURE_DIMENSION_GATED,      // 2 I
  DURE_DIMENSION_ONE,
  DURE_DIMENSION_EXPERTS,        // E
  DURE_DIMENSION_EXPERT_INNER,   // of one expert
  DURE_DIMENSION_EXPERTS_GATED,  // 2 E times that
  DURE_DIMENSION_EXPERTS_WIDTH,  // E C
  DURE_DIMENSION_SHARED_INNER,   // of the shared expert
  DURE_DIMENSION_SHARED_GATED,   // twice that
  DURE_DIMENSION_QUERY_RANK,     // multi-head latent attention
  DURE_DIMENSION_KEY_RANK,
  DURE_DIMENSION_KEY_DOWN,  // key rank and the rotated part
  DURE_DIMENSION_KEY_UP,    // H times (plain part and value)
  DURE_DIMENSION_VALUES,    // H times a value
} dure_dimension;

// How a parameter begins; which family has which, and where that is said, is in docs/model.md.
typedef enum dure_init {
  DURE_INIT_ZERO,
  DURE_INIT_ONE,
  DURE_INIT_NORMAL,           // deviation initializer_range
  DURE_INIT_NORMAL_RESIDUAL,  // the same / sqrt(2 layer_count): what is added to the residual stream
  DURE_INIT_NORMAL_SMALL,     // deviation sqrt(2 / (5 width)) (Nguyen and Salazar 2019, section 2.2)
  DURE_INIT_NORMAL_WANG,      // deviation 2 / (layer_count sqrt(width)): what is added to the residual stream (GPT-J)
} dure_init;

// In memory a parameter is one tensor, whatever files make of it. Files may have it
//   - as it is: one name;
//   - as several tensors, stacked along their first dimension (q_proj, k_proj, v_proj): several names, the rows of each
//     in `stacked`;
//   - as several tensors an expert, stacked likewise, one expert's after another's: is_per_expert;
//   - as one tensor whose rows come in another order: BY_GROUP has for each key head its query heads, the key, the
//   value.
enum { DURE_PARTS_MOST = 3 };
// In which layers a parameter is.
typedef enum dure_row_layers { DURE_LAYERS_ALL = 0, DURE_LAYERS_DENSE, DURE_LAYERS_SPARSE } dure_row_layers;
typedef enum dure_row_order { DURE_ORDER_SAME = 0, DURE_ORDER_BY_GROUP } dure_row_order;

typedef struct dure_parameter_row {
  dure_role role;
  const char *names[DURE_PARTS_MOST];  // public names; of a layer's parameter "...%u...", then the expert's if any
  dure_dimension stacked[DURE_PARTS_MOST];
  dure_row_order order;
  bool is_layered, is_per_expert;
  dure_row_layers layers;
  dure_trait needs, needs_too;  // only in models that have these
  bool is_output_first;         // [out, in] as torch.nn.Linear; else [in, out] as GPT-2's Conv1D
  dure_dimension shape[2];
  dure_init init;
} dure_parameter_row;

// Rows as most families have them: one name, matrices [out, in]; what else is set follows.
#define DURE_ROW(role_, name_, first, second, init_, ...)                                              \
  {                                                                                                    \
    .role = DURE_ROLE_##role_, .names = {name_}, .is_output_first = true,                              \
    .shape = {DURE_DIMENSION_##first, DURE_DIMENSION_##second}, .init = DURE_INIT_##init_, __VA_ARGS__ \
  }
#define DURE_LAYER_ROW(role_, name_, first, second, init_, ...) \
  DURE_ROW(role_, name_, first, second, init_, .is_layered = true, __VA_ARGS__)
// Queries, keys and values as three tensors.
#define DURE_THREE_PROJECTIONS(layer, q, k, v, ending)                                                    \
  .names = {layer q ending, layer k ending, layer v ending}, .is_layered = true, .is_output_first = true, \
  .stacked = {DURE_DIMENSION_HEADS, DURE_DIMENSION_KEYS, DURE_DIMENSION_KEYS}

// The three matrices of a gated feed-forward half, and of each expert, in sparse layers: gate and up in one.
#define DURE_DENSE_GATED_ROWS(folder)                                                             \
  {.role = DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT,                                                   \
   .is_layered = true,                                                                            \
   .is_output_first = true,                                                                       \
   .layers = DURE_LAYERS_DENSE,                                                                   \
   .names = {folder "gate_proj.weight", folder "up_proj.weight"},                                 \
   .stacked = {DURE_DIMENSION_INNER, DURE_DIMENSION_INNER},                                       \
   .shape = {DURE_DIMENSION_GATED, DURE_DIMENSION_WIDTH},                                         \
   .init = DURE_INIT_NORMAL},                                                                     \
      DURE_LAYER_ROW(FEED_FORWARD_OUTPUT_WEIGHT, folder "down_proj.weight", WIDTH, INNER, NORMAL, \
                     .layers = DURE_LAYERS_DENSE)
#define DURE_EXPERT_ROWS(gate, up, down)                                                                         \
  {.role = DURE_ROLE_EXPERTS_INPUT_WEIGHT,                                                                       \
   .is_layered = true,                                                                                           \
   .is_per_expert = true,                                                                                        \
   .is_output_first = true,                                                                                      \
   .layers = DURE_LAYERS_SPARSE,                                                                                 \
   .names = {gate, up},                                                                                          \
   .stacked = {DURE_DIMENSION_EXPERT_INNER, DURE_DIMENSION_EXPERT_INNER},                                        \
   .shape = {DURE_DIMENSION_EXPERTS_GATED, DURE_DIMENSION_WIDTH},                                                \
   .init = DURE_INIT_NORMAL},                                                                                    \
  {                                                                                                              \
    .role = DURE_ROLE_EXPERTS_OUTPUT_WEIGHT, .is_layered = true, .is_per_expert = true, .is_output_first = true, \
    .layers = DURE_LAYERS_SPARSE, .names = {down}, .stacked = {DURE_DIMENSION_WIDTH},                            \
    .shape = {DURE_DIMENSION_EXPERTS_WIDTH, DURE_DIMENSION_EXPERT_INNER}, .init = DURE_INIT_NORMAL               \
  }
#define DURE_SHARED_EXPERT_ROWS(folder)                                                            \
  {.role = DURE_ROLE_SHARED_INPUT_WEIGHT,                                                          \
   .is_layered = true,                                                                             \
   .is_output_first = true,                                                                        \
   .layers = DURE_LAYERS_SPARSE,                                                                   \
   .needs = DURE_TRAIT_SHARED_EXPERT,                                                              \
   .names = {folder "gate_proj.weight", folder "up_proj.weight"},                                  \
   .stacked = {DURE_DIMENSION_SHARED_INNER, DURE_DIMENSION_SHARED_INNER},                          \
   .shape = {DURE_DIMENSION_SHARED_GATED, DURE_DIMENSION_WIDTH},                                   \
   .init = DURE_INIT_NORMAL},                                                                      \
      DURE_LAYER_ROW(SHARED_OUTPUT_WEIGHT, folder "down_proj.weight", WIDTH, SHARED_INNER, NORMAL, \
                     .layers = DURE_LAYERS_SPARSE, .needs = DURE_TRAIT_SHARED_EXPERT)

struct dure_family {
  const char *model_type;
  const char *architecture;
  const char *optional_prefix;  // of public names; files without it are read too
  dure_status (*parse)(const char *name, const json_t *json, dure_model_config *config);
  dure_status (*write)(const dure_model_config *config, json_t *json);
  const dure_parameter_row *rows;
  size_t row_count;
  // Tensors of old files that hold no parameter (GPT-2's causal masks).
  bool (*is_ignored)(const char *tensor_name);
};

// One of several families in a file: its parse_SUFFIX, and what it shares with the others.
#define DURE_DEFINE_FAMILY(suffix, type, class, rows_, write_, is_ignored_)                  \
  const dure_family dure_family_##suffix = {.model_type = (type),                            \
                                            .architecture = (class),                         \
                                            .optional_prefix = "",                           \
                                            .parse = parse_##suffix,                         \
                                            .write = (write_),                               \
                                            .rows = (rows_),                                 \
                                            .row_count = sizeof(rows_) / sizeof((rows_)[0]), \
                                            .is_ignored = (is_ignored_)}

#define DURE_FAMILY(suffix, model_type, about) extern const dure_family dure_family_##suffix;
#include "model/families.def"
#undef DURE_FAMILY

// ---- reading keys of config.json; failures name the file, the key, what was expected and what was found ----
// A whole number in [minimum, maximum]. A missing or null key gives `fallback`; `fallback` < 0: the key must be there.
DURE_MUST_CHECK dure_status dure_config_integer(const char *name, const json_t *json, const char *key, int64_t fallback,
                                                int64_t minimum, int64_t maximum, int64_t *out_value);
DURE_MUST_CHECK dure_status dure_config_number(const char *name, const json_t *json, const char *key, double fallback,
                                               double minimum, double maximum, double *out_value);
DURE_MUST_CHECK dure_status dure_config_boolean(const char *name, const json_t *json, const char *key, bool fallback,
                                                bool *out_value);
// A token id below `vocabulary_size`, the first of a list of them, or -1 when missing or null.
DURE_MUST_CHECK dure_status dure_config_token(const char *name, const json_t *json, const char *key,
                                              uint32_t vocabulary_size, int64_t *out_id);
DURE_MUST_CHECK dure_status dure_config_activation(const char *name, const json_t *json, const char *key,
                                                   dure_activation fallback, dure_activation *out_kind);
const char *dure_config_activation_name(dure_activation kind);  // as config.json spells it

// What most families spell alike (family_common.c).
typedef struct dure_config_keys {
  const char *vocabulary, *context, *width, *layers, *heads, *inner;  // inner NULL: 4 width
  const char *norm_epsilon, *activation;                              // NULL: there is no such key
  int64_t default_context;                                            // where the key is missing; -1: it must be there
  double default_epsilon;
  dure_activation default_activation;
  bool default_tied;
  const char *deviation;     // of initial weights; NULL: "initializer_range"
  double default_deviation;  // 0: 0.02
} dure_config_keys;
// The names of sizes that most families have had since GPT-NeoX.
#define DURE_CONFIG_USUAL_KEYS                                                              \
  .vocabulary = "vocab_size", .context = "max_position_embeddings", .width = "hidden_size", \
  .layers = "num_hidden_layers", .heads = "num_attention_heads", .inner = "intermediate_size"
// Reads sizes (head_width = width / heads, one key head a head), epsilon, activation, initializer_range,
// tie_word_embeddings, the tokens; sets the traits FINAL_NORM and UNTIED_HEAD.
DURE_MUST_CHECK dure_status dure_config_common(const char *name, const json_t *json, const dure_config_keys *keys,
                                               dure_model_config *config);
// The same keys, written; what was read of epsilon and initializer_range stays.
void dure_config_common_write(const dure_model_config *config, const dure_config_keys *keys, json_t *json);
// num_key_value_heads, and rope_theta where no rope_parameters have it.
void dure_config_grouped_write(const dure_model_config *config, json_t *json);
// rope_theta, rope_scaling and the newer rope_parameters, into config->rotary (whose width the caller sets).
DURE_MUST_CHECK dure_status dure_config_rotary(const char *name, const json_t *json, double default_base,
                                               dure_model_config *config);
// The same over the part of each head that "partial_rotary_factor" says, there or in rope_parameters.
DURE_MUST_CHECK dure_status dure_config_partial_rotary(const char *name, const json_t *json, double default_base,
                                                       double default_share, dure_model_config *config);
// One object of that kind (or NULL: plain rotation) into `out_rotary`, whose width the caller sets.
DURE_MUST_CHECK dure_status dure_config_rotary_from(const char *name, const json_t *parameters, double default_base,
                                                    const dure_model_config *config, dure_rotary_config *out_rotary);
// 0.1 weight log(factor) + 1: what YaRN multiplies scores by (Peng et al. 2023, section 3.4); 1 for factors to 1.
double dure_config_yarn_magnitude(double factor, double weight);
// "num_key_value_heads" and "head_dim": G and D. DURE_CORRUPT where H is no multiple of G or D is odd.
DURE_MUST_CHECK dure_status dure_config_heads(const char *name, const json_t *json, dure_model_config *config);
// The number of experts under `key`, and "num_experts_per_tok" of them a token.
DURE_MUST_CHECK dure_status dure_config_experts(const char *name, const json_t *json, const char *key,
                                                int64_t default_count, int64_t default_chosen,
                                                dure_model_config *config);
// The auxiliary loss of experts: its weight under `key`, what it is over, and whether "output_router_logits" asks for
// it.
DURE_MUST_CHECK dure_status dure_config_balance(const char *name, const json_t *json, const char *key,
                                                double default_weight, dure_balance_scope scope,
                                                dure_model_config *config);
// "sliding_window" and which layers have it: those that "layer_types" calls "sliding_attention"; where it is missing,
// those that `is_local` (may be NULL: all) says.
DURE_MUST_CHECK dure_status dure_config_windows(const char *name, const json_t *json, int64_t default_window,
                                                bool (*is_local)(uint32_t layer, int64_t argument), int64_t argument,
                                                dure_model_config *config);
// The key, when it is missing; takes the reference.
void dure_config_set_default(json_t *json, const char *key, json_t *value);
// DURE_UNSUPPORTED when the boolean key is not `expected`; missing counts as `fallback`.
DURE_MUST_CHECK dure_status dure_config_require(const char *name, const json_t *json, const char *key, bool fallback,
                                                bool expected);

#endif  // DURE_MODEL_FAMILY_H_
