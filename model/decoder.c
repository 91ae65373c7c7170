#include "model/decoder.h"

#include <stdlib.h>
#include <string.h>

// The table that the kind of positions needs, as a constant of the program.
static dure_status declare_positions(dure_decoder *decoder, uint32_t positions) {
  const dure_model_config *config = decoder->config;
  if (config->position == DURE_POSITION_LEARNED) return NULL;
  const bool is_rotary = config->position == DURE_POSITION_ROTARY;
  const uint64_t shape[2] = {is_rotary ? positions : config->head_count, config->rotary.width};
  float *table = calloc(shape[0] * (is_rotary ? shape[1] : 1), sizeof(*table));
  if (table == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a table of positions");
  if (is_rotary) {
    dure_model_config_rotary_table(config, positions, table);
  } else {
    dure_model_config_alibi_slopes(config, table);
  }
  decoder->position_table = dure_tensor_constant(decoder->program, is_rotary ? "rotary table" : "ALiBi slopes",
                                                 DURE_DTYPE_F32, is_rotary ? 2 : 1, shape, table);
  free(table);
  return NULL;
}

dure_status dure_decoder_create(dure_program *program, const dure_model_config *config,
                                const dure_parameter_layout *layout, dure_dtype dtype, uint32_t positions,
                                dure_decoder *out_decoder) {
  memset(out_decoder, 0, sizeof(*out_decoder));
  dure_tensor *pools = calloc(layout->pool_count + 1, sizeof(*pools));
  if (pools == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a model");
  const dure_parameter_storage storage = {.label = "parameters", .dtype = dtype, .block = 1};
  dure_parameter_pools_declare(program, layout, &storage, DURE_LIFETIME_PARAMETER, pools);
  *out_decoder = (dure_decoder){.program = program, .config = config, .layout = layout, .pools = pools};
  dure_status status = declare_positions(out_decoder, positions);
  if (status != NULL) dure_decoder_clear(out_decoder);
  return status;
}

void dure_decoder_clear(dure_decoder *decoder) {
  free(decoder->pools);
  memset(decoder, 0, sizeof(*decoder));
}

// The parameter of that role, or the absent tensor (a bias that the family does not have).
static dure_tensor parameter(const dure_decoder *decoder, dure_role role, uint32_t layer) {
  const dure_parameter *found = dure_parameter_find(decoder->layout, role, layer);
  return found == NULL ? DURE_ABSENT : dure_parameter_view(decoder->program, decoder->pools, found);
}

// y = x W + b, whichever way round the family stores W; `options` may ask for an activation of it or a residual.
static dure_tensor project_with(const dure_decoder *decoder, dure_tensor x, dure_role weight, dure_role bias,
                                uint32_t layer, dure_matmul_options options) {
  const dure_parameter *matrix = dure_parameter_find(decoder->layout, weight, layer);
  options.transpose_b = matrix != NULL && matrix->row->is_output_first;
  options.bias = parameter(decoder, bias, layer);
  return dure_matmul_with(decoder->program, x, parameter(decoder, weight, layer), &options);
}

static dure_tensor project(const dure_decoder *decoder, dure_tensor x, dure_role weight, dure_role bias,
                           uint32_t layer) {
  return project_with(decoder, x, weight, bias, layer, (dure_matmul_options){0});
}

static dure_tensor norm(const dure_decoder *decoder, dure_tensor x, dure_role weight, dure_role bias, uint32_t layer) {
  const dure_model_config *config = decoder->config;
  const float epsilon = (float)config->norm_epsilon;
  if (config->norm == DURE_NORM_RMS)
    return dure_rms_norm(decoder->program, x, parameter(decoder, weight, layer), epsilon, 0);
  return dure_layer_norm(decoder->program, x, parameter(decoder, weight, layer), parameter(decoder, bias, layer),
                         epsilon);
}

static dure_tensor attention_norm(const dure_decoder *decoder, dure_tensor x, uint32_t layer) {
  return norm(decoder, x, DURE_ROLE_ATTENTION_NORM_WEIGHT, DURE_ROLE_ATTENTION_NORM_BIAS, layer);
}

static dure_tensor feed_forward_norm(const dure_decoder *decoder, dure_tensor x, uint32_t layer) {
  return norm(decoder, x, DURE_ROLE_FEED_FORWARD_NORM_WEIGHT, DURE_ROLE_FEED_FORWARD_NORM_BIAS, layer);
}

// Columns [first, first + width) of a fused projection [B, T, ..], `count` of them a head: [B, T, heads, count].
static dure_tensor columns(const dure_decoder *decoder, dure_tensor fused, uint64_t first, uint64_t head_count,
                           uint64_t count) {
  dure_program *p = decoder->program;
  const uint64_t B = dure_tensor_dimension(p, fused, 0), T = dure_tensor_dimension(p, fused, 1);
  const uint64_t row = dure_tensor_element_count(p, fused) / (B * T);
  return dure_tensor_view(p, fused, 4, (const uint64_t[]){B, T, head_count, count},
                          (const uint64_t[]){T * row, row, count, 1}, first);
}

// Queries, keys and values of a layer: [B, T, H, D], [B, T, G, D], [B, T, G, D].
typedef struct heads {
  dure_tensor q, k, v;
} heads;

static heads project_heads(const dure_decoder *decoder, dure_tensor h, dure_tensor positions, uint32_t layer) {
  const dure_model_config *config = decoder->config;
  const uint64_t H = config->head_count, G = config->key_head_count, D = config->head_width;
  dure_tensor qkv = project(decoder, h, DURE_ROLE_QKV_WEIGHT, DURE_ROLE_QKV_BIAS, layer);  // [B, T, (H + 2 G) D]
  const dure_tensor v = columns(decoder, qkv, (H + G) * D, G, D);
  if (config->position == DURE_POSITION_ROTARY) {
    const dure_rotary_attributes attributes = {config->rotary.width, config->rotary.is_interleaved, false};
    qkv = dure_rotary(decoder->program, columns(decoder, qkv, 0, H + G, D), positions, decoder->position_table,
                      &attributes);  // queries and keys [B, T, H + G, D]
  }
  return (heads){columns(decoder, qkv, 0, H, D), columns(decoder, qkv, H * D, G, D), v};
}

// h [B, T, C] normalised -> the block's part of the residual stream, added to `residual` (or absent).
static dure_tensor attention_block(const dure_decoder *decoder, dure_tensor h, dure_tensor positions,
                                   dure_tensor residual, uint32_t layer, const dure_decoder_cache *cache) {
  dure_program *p = decoder->program;
  const dure_model_config *config = decoder->config;
  const float scale = dure_model_config_attention_scale(config, layer);
  const dure_attention_options options = {
      .window = dure_model_config_window(config, layer),
      .slopes = config->position == DURE_POSITION_ALIBI ? decoder->position_table : DURE_ABSENT,
  };
  const heads made = project_heads(decoder, h, positions, layer);
  dure_tensor y;  // [B, T, H, D]
  if (cache == NULL) {
    y = dure_attention_with(p, made.q, made.k, made.v, scale, &options);
  } else {
    dure_cache_append(p, made.k, made.v, cache->block_table, cache->lengths, cache->keys[layer], cache->values[layer]);
    y = dure_attention_cached_with(p, made.q, cache->keys[layer], cache->values[layer], cache->block_table,
                                   cache->lengths, scale, &options);
  }
  const uint64_t shape[3] = {dure_tensor_dimension(p, y, 0), dure_tensor_dimension(p, y, 1),
                             (uint64_t)config->head_count * config->head_width};
  return project_with(decoder, dure_tensor_reshape(p, y, 3, shape), DURE_ROLE_ATTENTION_OUTPUT_WEIGHT,
                      DURE_ROLE_ATTENTION_OUTPUT_BIAS, layer, (dure_matmul_options){.residual = residual});
}

// Likewise.
static dure_tensor feed_forward_block(const dure_decoder *decoder, dure_tensor h, dure_tensor residual,
                                      uint32_t layer) {
  dure_program *p = decoder->program;
  const dure_model_config *config = decoder->config;
  const uint64_t I = config->inner_width;
  if (config->is_gated) {
    h = project(decoder, h, DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT, DURE_ROLE_FEED_FORWARD_INPUT_BIAS, layer);
    const uint64_t B = dure_tensor_dimension(p, h, 0), T = dure_tensor_dimension(p, h, 1);
    const uint64_t shape[3] = {B, T, I}, stride[3] = {2 * I * T, 2 * I, 1};
    h = dure_gated_activation(p, dure_tensor_view(p, h, 3, shape, stride, 0),
                              dure_tensor_view(p, h, 3, shape, stride, I), config->activation);  // [B, T, I]
  } else {
    h = project_with(decoder, h, DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT, DURE_ROLE_FEED_FORWARD_INPUT_BIAS, layer,
                     (dure_matmul_options){.has_activation = true, .activation = config->activation});
  }
  return project_with(decoder, h, DURE_ROLE_FEED_FORWARD_OUTPUT_WEIGHT, DURE_ROLE_FEED_FORWARD_OUTPUT_BIAS, layer,
                      (dure_matmul_options){.residual = residual});
}

static dure_tensor block(const dure_decoder *decoder, dure_tensor x, dure_tensor positions, uint32_t layer,
                         const dure_decoder_cache *cache) {
  dure_program *p = decoder->program;
  dure_program_block(p, layer + 1);
  dure_program_scope(p, "layer %u attention", layer);
  const bool norms_first = decoder->config->residual != DURE_RESIDUAL_POST_NORM;
  dure_tensor h = norms_first ? attention_norm(decoder, x, layer) : x;
  const dure_tensor shared = h;
  dure_tensor y = attention_block(decoder, h, positions, x, layer, cache);
  if (!norms_first) y = attention_norm(decoder, y, layer);

  dure_program_scope(p, "layer %u feed-forward", layer);
  switch (decoder->config->residual) {
    case DURE_RESIDUAL_SEQUENTIAL: return feed_forward_block(decoder, feed_forward_norm(decoder, y, layer), y, layer);
    case DURE_RESIDUAL_PARALLEL:
      h = dure_model_config_has(decoder->config, DURE_TRAIT_TWO_NORMS) ? feed_forward_norm(decoder, x, layer) : shared;
      return feed_forward_block(decoder, h, y, layer);
    case DURE_RESIDUAL_POST_NORM: return feed_forward_norm(decoder, feed_forward_block(decoder, y, y, layer), layer);
  }
  return y;
}

static dure_tensor embed(const dure_decoder *decoder, dure_tensor tokens, dure_tensor positions) {
  dure_program *p = decoder->program;
  const dure_model_config *config = decoder->config;
  dure_tensor x = dure_embedding(p, parameter(decoder, DURE_ROLE_TOKEN_EMBEDDING, 0), tokens);  // [B, T, E]
  if (dure_model_config_has(config, DURE_TRAIT_EMBEDDING_PROJECTION))
    x = project(decoder, x, DURE_ROLE_EMBEDDING_INPUT, DURE_ROLE_COUNT, 0);  // [B, T, C]
  if (config->position == DURE_POSITION_LEARNED) {
    const uint64_t shape[2] = {config->context_length, config->width}, stride[2] = {config->width, 1};
    const dure_tensor table = dure_tensor_view(p, parameter(decoder, DURE_ROLE_POSITION_EMBEDDING, 0), 2, shape, stride,
                                               (uint64_t)config->position_offset * config->width);
    dure_embedding_add(p, table, positions, x);
  }
  if (dure_parameter_find(decoder->layout, DURE_ROLE_EMBEDDING_NORM_WEIGHT, 0) != NULL)
    x = norm(decoder, x, DURE_ROLE_EMBEDDING_NORM_WEIGHT, DURE_ROLE_EMBEDDING_NORM_BIAS, 0);
  return x;
}

dure_tensor dure_decoder_hidden(const dure_decoder *decoder, dure_tensor tokens, dure_tensor positions,
                                const dure_decoder_cache *cache) {
  dure_program *p = decoder->program;
  const dure_model_config *config = decoder->config;
  dure_program_scope(p, "embedding");
  dure_tensor x = embed(decoder, tokens, positions);  // [B, T, C]
  for (uint32_t layer = 0; layer < config->layer_count; layer++) x = block(decoder, x, positions, layer, cache);
  dure_program_block(p, 0);
  dure_program_scope(p, "final norm");
  if (dure_model_config_has(config, DURE_TRAIT_FINAL_NORM))
    x = norm(decoder, x, DURE_ROLE_FINAL_NORM_WEIGHT, DURE_ROLE_FINAL_NORM_BIAS, 0);
  if (dure_model_config_has(config, DURE_TRAIT_EMBEDDING_PROJECTION))
    x = project(decoder, x, DURE_ROLE_EMBEDDING_OUTPUT, DURE_ROLE_COUNT, 0);  // [B, T, E]
  return x;
}

// [V, E]
static dure_tensor head_weight(const dure_decoder *decoder) {
  return parameter(decoder, decoder->config->tied_head ? DURE_ROLE_TOKEN_EMBEDDING : DURE_ROLE_HEAD, 0);
}

dure_tensor dure_decoder_logits(const dure_decoder *decoder, dure_tensor hidden) {
  dure_program_scope(decoder->program, "head");
  return dure_matmul(decoder->program, hidden, head_weight(decoder), parameter(decoder, DURE_ROLE_HEAD_BIAS, 0), false,
                     true);
}

dure_tensor dure_decoder_loss(const dure_decoder *decoder, dure_tensor tokens, dure_tensor positions,
                              dure_tensor labels) {
  dure_tensor hidden = dure_decoder_hidden(decoder, tokens, positions, NULL);
  const bool has_bias = dure_parameter_find(decoder->layout, DURE_ROLE_HEAD_BIAS, 0) != NULL;
  if (decoder->fuses_loss && !has_bias) {
    dure_program_scope(decoder->program, "head and loss");
    return dure_linear_cross_entropy(decoder->program, hidden, head_weight(decoder), labels);
  }
  dure_tensor logits = dure_decoder_logits(decoder, hidden);
  dure_program_scope(decoder->program, "loss");
  return dure_cross_entropy(decoder->program, logits, labels);
}
