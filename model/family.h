// What a decoder family provides: the row behind families.def.
#ifndef DURE_MODEL_FAMILY_H_
#define DURE_MODEL_FAMILY_H_

#include <jansson.h>

#include "model/config.h"

// What a parameter is for; decoder.c asks for parameters by role and layer.
typedef enum dure_role {
  DURE_ROLE_TOKEN_EMBEDDING,
  DURE_ROLE_POSITION_EMBEDDING,
  DURE_ROLE_ATTENTION_NORM_WEIGHT,
  DURE_ROLE_ATTENTION_NORM_BIAS,
  DURE_ROLE_QKV_WEIGHT,  // query, key and value in one matrix, in this order
  DURE_ROLE_QKV_BIAS,
  DURE_ROLE_ATTENTION_OUTPUT_WEIGHT,
  DURE_ROLE_ATTENTION_OUTPUT_BIAS,
  DURE_ROLE_FEED_FORWARD_NORM_WEIGHT,
  DURE_ROLE_FEED_FORWARD_NORM_BIAS,
  DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT,
  DURE_ROLE_FEED_FORWARD_INPUT_BIAS,
  DURE_ROLE_FEED_FORWARD_OUTPUT_WEIGHT,
  DURE_ROLE_FEED_FORWARD_OUTPUT_BIAS,
  DURE_ROLE_FINAL_NORM_WEIGHT,
  DURE_ROLE_FINAL_NORM_BIAS,
  DURE_ROLE_HEAD,
  DURE_ROLE_COUNT,
} dure_role;

// A dimension by its meaning, so that shapes follow from a config.
typedef enum dure_dimension {
  DURE_DIMENSION_NONE,
  DURE_DIMENSION_VOCABULARY,  // V
  DURE_DIMENSION_POSITIONS,
  DURE_DIMENSION_WIDTH,  // C
  DURE_DIMENSION_QKV,    // (H + 2 G) D
  DURE_DIMENSION_HEADS,  // H D
  DURE_DIMENSION_INNER,  // I
} dure_dimension;

// How a parameter begins (Radford et al. 2019, section 2.3).
typedef enum dure_init {
  DURE_INIT_ZERO,
  DURE_INIT_ONE,
  DURE_INIT_NORMAL,           // deviation initializer_range
  DURE_INIT_NORMAL_RESIDUAL,  // the same / sqrt(2 layer_count): what is added to the residual stream
} dure_init;

typedef struct dure_parameter_row {
  dure_role role;
  const char *name;  // the public name; of a layer's parameter "...%u..."
  bool is_layered;
  bool is_absent_when_tied;  // the output head
  bool is_output_first;      // [out, in] as torch.nn.Linear; else [in, out] as GPT-2's Conv1D
  dure_dimension shape[2];
  dure_init init;
} dure_parameter_row;

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

extern const dure_family dure_family_gpt2;

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

#endif  // DURE_MODEL_FAMILY_H_
