// A decoder's configuration: Hugging Face's config.json, understood.
//
// The struct describes any decoder by options (kind of norm, of position, activation, biases, heads, ...), so that the
// forward pass in decoder.c is one for all families; how a family spells them is in its own file (gpt2.c), one row in
// families.def. Files are hostile: every key that matters is checked for type, range and agreement with the others.
#ifndef DURE_MODEL_CONFIG_H_
#define DURE_MODEL_CONFIG_H_

#include "runtime/ops.h"
#include "runtime/status.h"

struct json_t;
typedef struct dure_family dure_family;  // model/family.h

typedef enum dure_norm_kind { DURE_NORM_LAYER } dure_norm_kind;                // Ba et al. 2016; before each block
typedef enum dure_position_kind { DURE_POSITION_LEARNED } dure_position_kind;  // a table added to the embeddings

typedef struct dure_model_config {
  const dure_family *family;
  uint32_t vocabulary_size;  // V: rows of the embedding; the tokenizer may have fewer
  uint32_t context_length;   // positions the model knows
  uint32_t width;            // C
  uint32_t layer_count;
  uint32_t head_count;      // H
  uint32_t key_head_count;  // G, a divisor of H
  uint32_t head_width;      // D
  uint32_t inner_width;     // I, of the feed-forward block
  dure_norm_kind norm;
  double norm_epsilon;
  dure_position_kind position;
  dure_activation activation;
  bool tied_head;                // the output head is the token embedding
  bool scales_attention;         // by 1 / sqrt(D)
  bool scales_by_layer;          // and by 1 / (layer + 1)
  double initializer_range;      // deviation of initial weights
  double largest_dropout;        // of the config's dropout probabilities; Dure trains without
  int64_t beginning_id, end_id;  // of text; -1: none
  struct json_t *source;         // the config.json as read, so that writing keeps what Dure does not know; may be NULL
} dure_model_config;

// Reads config.json, or the one in a directory. DURE_NOT_FOUND, DURE_CORRUPT (naming the key), or DURE_UNSUPPORTED
// (naming the nearest model type, or the option that is not there). Release with dure_model_config_clear.
DURE_MUST_CHECK dure_status dure_model_config_read(const char *file_or_directory, dure_model_config *out_config);
// The same from text; `name` stands for the file in messages.
DURE_MUST_CHECK dure_status dure_model_config_parse(const char *name, const char *text, size_t length,
                                                    dure_model_config *out_config);
void dure_model_config_clear(dure_model_config *config);

// Writes a config.json that transformers opens: what was read, with every key that Dure knows set, and `dtype` (f32,
// bf16 or f16) as the type of the weights beside it.
DURE_MUST_CHECK dure_status dure_model_config_write(const dure_model_config *config, dure_dtype dtype,
                                                    const char *path);

// Multiplier of the attention scores of a layer.
float dure_model_config_attention_scale(const dure_model_config *config, uint32_t layer);

#endif  // DURE_MODEL_CONFIG_H_
