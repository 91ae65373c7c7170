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

typedef enum dure_norm_kind {
  DURE_NORM_LAYER,  // Ba et al. 2016
  DURE_NORM_RMS,    // Zhang and Sennrich 2019
} dure_norm_kind;

typedef enum dure_position_kind {
  DURE_POSITION_LEARNED,  // a table added to the embeddings
  DURE_POSITION_ROTARY,   // Su et al. 2021
  DURE_POSITION_ALIBI,    // Press et al. 2022
} dure_position_kind;

// How a block adds to the residual stream x. a: attention, f: feed-forward, n: norms.
typedef enum dure_residual_kind {
  DURE_RESIDUAL_SEQUENTIAL,   // x += a(n1(x)), then x += f(n2(x))
  DURE_RESIDUAL_PARALLEL,     // x += a(n1(x)) + f(n2(x)); n2 is n1 where a family has one norm
  DURE_RESIDUAL_POST_NORM,    // x = n1(x + a(x)), then x = n2(x + f(x)) (the original transformer, OPT 350M)
  DURE_RESIDUAL_BOTH_NORMS,   // x += m1(a(n1(x))), then x += m2(f(n2(x))) (Gemma 2)
  DURE_RESIDUAL_NORMS_AFTER,  // x += m1(a(x)), then x += m2(f(x)) (OLMo 2)
} dure_residual_kind;

typedef enum dure_rotary_scaling {
  DURE_ROTARY_PLAIN,
  DURE_ROTARY_LINEAR,  // positions divided by the factor
  DURE_ROTARY_LLAMA3,  // low frequencies divided, a smooth passage to the high ones (Llama 3.1)
  DURE_ROTARY_YARN,    // Peng et al. 2023, section 3.2
} dure_rotary_scaling;

typedef struct dure_rotary_config {
  uint32_t width;  // rotated elements of a head
  bool is_interleaved;
  double base;
  dure_rotary_scaling scaling;
  double factor;
  double low_frequency_factor, high_frequency_factor;  // LLAMA3
  double beta_fast, beta_slow, attention_factor;       // YARN; attention_factor 0: 0.1 log(factor) + 1
  bool truncates;                                      // YARN: the ramp's ends are whole numbers
  uint32_t original_context;                           // LLAMA3, YARN
} dure_rotary_config;

// What a family's models may have or lack; a parameter row may need one (family.h).
typedef enum dure_trait {
  DURE_TRAIT_NONE = 0,  // always there
  DURE_TRAIT_UNTIED_HEAD = 1 << 0,
  DURE_TRAIT_QKV_BIAS = 1 << 1,
  DURE_TRAIT_ATTENTION_OUTPUT_BIAS = 1 << 2,
  DURE_TRAIT_FEED_FORWARD_BIAS = 1 << 3,
  DURE_TRAIT_TWO_NORMS = 1 << 4,  // of a block
  DURE_TRAIT_ONE_NORM = 1 << 5,
  DURE_TRAIT_FINAL_NORM = 1 << 6,
  DURE_TRAIT_EMBEDDING_PROJECTION = 1 << 7,  // embeddings are narrower than the model
  DURE_TRAIT_QKV_BY_KIND = 1 << 8,           // how one tensor of all projections lies in the file
  DURE_TRAIT_QKV_BY_GROUP = 1 << 9,
  DURE_TRAIT_QUERY_KEY_NORM = 1 << 10,  // queries and keys are normalised head by head, before they are rotated
  DURE_TRAIT_SHARED_EXPERT = 1 << 11,
  DURE_TRAIT_SHARED_GATE = 1 << 12,   // what the shared expert adds is multiplied by a sigmoid of the token's own
  DURE_TRAIT_ROUTER_BIAS = 1 << 13,   // that corrects the choice of experts
  DURE_TRAIT_QUERY_LATENT = 1 << 14,  // queries are made from a narrower vector
  DURE_TRAIT_QUERY_DIRECT = 1 << 15,  // or not, where keys and values are
  DURE_TRAIT_SEQUENTIAL = 1 << 16,    // a block's halves come one after the other, in families where they need not
  DURE_TRAIT_WHOLE_QUERY_KEY_NORM = 1 << 17,  // all of a token's queries are normalised together, and all its keys
} dure_trait;

enum { DURE_LAYERS_MOST = 4096 };

// What the shares and means of the auxiliary loss of experts are over (balance.h).
typedef enum dure_balance_scope {
  DURE_BALANCE_ALL_LAYERS,  // all tokens in all sparse layers, one loss; not divided by the choices a token
  DURE_BALANCE_LAYER,       // all tokens of a layer; losses are added up
  DURE_BALANCE_SEQUENCE,    // a sequence in a layer; averaged over sequences, added up over layers
} dure_balance_scope;

// Mixtures of experts: the feed-forward halves of the layers that config.is_sparse names.
typedef struct dure_expert_config {
  uint32_t count;         // E; 0: there are none
  uint32_t width;         // inner width of one
  uint32_t shared_width;  // of the one that every token has; 0: there is none
  dure_route_attributes route;
  double balance_weight;  // of the auxiliary loss
  dure_balance_scope balance_scope;
  bool adds_balance;  // the model's loss has it whoever asks (output_router_logits)
  double bias_rate;   // of ROUTER_BIAS: what it moves by in a step of training
} dure_expert_config;

// Multi-head latent attention (DeepSeek-AI 2024, section 2.1): keys and values are made from one narrow vector a token.
// A head has plain_width elements as they are, then rotary.width that are rotated; those of keys are one for all heads.
typedef struct dure_latent_config {
  uint32_t key_rank;    // of what keys and values are made from; 0: heads are projected directly
  uint32_t query_rank;  // likewise of queries; 0: directly
  uint32_t plain_width, value_width;
} dure_latent_config;

typedef struct dure_model_config {
  const dure_family *family;
  uint32_t vocabulary_size;  // V: rows of the embedding; the tokenizer may have fewer
  uint32_t context_length;   // positions the model knows
  uint32_t width;            // C
  uint32_t layer_count;
  uint32_t extra_layers;  // beyond the last, that files have and Dure leaves out (DeepSeek V3's predict further tokens)
  uint32_t head_count;    // H
  uint32_t key_head_count;   // G, a divisor of H
  uint32_t head_width;       // D
  uint32_t inner_width;      // I, of the feed-forward block
  uint32_t embedding_width;  // of the token embedding: C unless it is projected
  uint32_t traits;           // dure_trait bits
  dure_norm_kind norm;
  double norm_epsilon;
  double norm_offset;      // of RMS norms: their weights are stored as what they differ from this by (Gemma: 1)
  double embedding_scale;  // what the token embedding's rows are multiplied by; 0: nothing (Gemma: sqrt(C))
  dure_residual_kind residual;
  dure_position_kind position;
  uint32_t position_offset;  // rows of the learned table before the first position (OPT: 2)
  dure_rotary_config rotary;
  bool has_local_rotary;  // layers with a window rotate by local_rotary
  dure_rotary_config local_rotary;
  bool is_unrotated[DURE_LAYERS_MOST];  // layers whose queries and keys know no positions (SmolLM3)
  double alibi_largest;                 // exponent of the slopes: 2^(-largest h / H); 8 but for odd configurations
  bool alibi_is_interleaved;            // how heads beyond a power of two get theirs (MPT)
  bool alibi_is_scaled;                 // slopes too are multiplied by 1 / sqrt(D) (Falcon)
  uint32_t window;                      // of the layers that are local: positions seen, the token's own included
  bool is_local[DURE_LAYERS_MOST];      // layers with a window
  dure_latent_config latent;
  dure_expert_config experts;
  bool is_sparse[DURE_LAYERS_MOST];  // layers with experts
  dure_activation activation;
  bool is_gated;          // feed-forward: f(gate) * up, both in one matrix [2 I, C]
  bool tied_head;         // the output head is the token embedding
  bool scales_attention;  // by 1 / sqrt(D), or by 1 / sqrt(query_scalar) where that is above 0
  double query_scalar;
  double attention_soft_cap;           // scores are soft_cap tanh(score / soft_cap); 0: as they are
  double logits_soft_cap;              // logits likewise
  bool scales_by_layer;                // and by 1 / (layer + 1)
  uint32_t tensor_part, tensor_parts;  // this part of so many: the two counts of heads and inner_width are its own
                                       // (tensor_parallel.h); 0 or 1: the whole model
  double initializer_range;            // deviation of initial weights
  double largest_dropout;              // of the config's dropout probabilities; Dure trains without
  int64_t beginning_id, end_id;        // of text; -1: none
  struct json_t *source;  // the config.json as read, so that writing keeps what Dure does not know; may be NULL
} dure_model_config;

// Reads config.json, the one in a directory, or what a GGUF file says. DURE_NOT_FOUND, DURE_CORRUPT (naming the key),
// or DURE_UNSUPPORTED (naming the nearest model type, or the option that is not there). Release with
// dure_model_config_clear.
DURE_MUST_CHECK dure_status dure_model_config_read(const char *file_or_directory, dure_model_config *out_config);
// The same from text; `name` stands for the file in messages.
DURE_MUST_CHECK dure_status dure_model_config_parse(const char *name, const char *text, size_t length,
                                                    dure_model_config *out_config);
void dure_model_config_clear(dure_model_config *config);

// Writes a config.json that transformers opens: what was read, with every key that Dure knows set, and `dtype` (f32,
// bf16 or f16) as the type of the weights beside it.
DURE_MUST_CHECK dure_status dure_model_config_write(const dure_model_config *config, dure_dtype dtype,
                                                    const char *path);

// The families there are (families.def), by number; false beyond the last.
typedef struct dure_family_description {
  const char *model_type, *architecture, *about;
} dure_family_description;
bool dure_model_family(size_t index, dure_family_description *out_family);

// Whether files of such models may have a tensor of this name that Dure has no use for: masks and tables, scales of FP8
// blocks, layers beyond the last.
bool dure_model_config_leaves_out(const dure_model_config *config, const char *tensor_name);

bool dure_model_config_has(const dure_model_config *config, dure_trait trait);  // true for NONE

// Multiplier of the attention scores of a layer.
float dure_model_config_attention_scale(const dure_model_config *config, uint32_t layer);
uint32_t dure_model_config_window(const dure_model_config *config, uint32_t layer);  // 0: all positions

// Tables of positions, made in double (positions.c). Rotary: [positions, width] as the op takes them, the cosines of a
// position's frequencies, then their sines. ALiBi: the slope of each head [H].
void dure_model_config_rotary_table(const dure_rotary_config *rotary, uint32_t positions, float *out_table);
void dure_model_config_alibi_slopes(const dure_model_config *config, float *out_slopes);

#endif  // DURE_MODEL_CONFIG_H_
