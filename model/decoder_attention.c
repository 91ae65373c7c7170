// The attention half of a block.
#include "model/decoder_internal.h"

// Queries, keys and values of a layer: [B, T, H, D], [B, T, G, D], [B, T, G, D].
typedef struct heads {
  dure_tensor q, k, v;
} heads;

// x [B, T, heads, D]
static dure_tensor rotate(const dure_decoder *decoder, dure_tensor x, dure_tensor positions, uint32_t layer) {
  const dure_model_config *config = decoder->config;
  const bool is_local = config->has_local_rotary && dure_model_config_window(config, layer) > 0;
  const dure_rotary_config *rotary = is_local ? &config->local_rotary : &config->rotary;
  const dure_rotary_attributes attributes = {rotary->width, rotary->is_interleaved, false};
  return dure_rotary(decoder->program, x, positions, is_local ? decoder->local_table : decoder->position_table,
                     &attributes);
}

static heads project_together(const dure_decoder *decoder, dure_tensor h, dure_tensor positions, uint32_t layer) {
  const dure_model_config *config = decoder->config;
  const uint64_t H = config->head_count, G = config->key_head_count, D = config->head_width;
  dure_tensor qkv =
      decoder_project(decoder, h, DURE_ROLE_QKV_WEIGHT, DURE_ROLE_QKV_BIAS, layer);  // [B, T, (H + 2 G) D]
  const dure_tensor v = decoder_columns(decoder, qkv, (H + G) * D, G, D);
  if (config->position == DURE_POSITION_ROTARY)
    qkv = rotate(decoder, decoder_columns(decoder, qkv, 0, H + G, D), positions, layer);  // [B, T, H + G, D]
  return (heads){decoder_columns(decoder, qkv, 0, H, D), decoder_columns(decoder, qkv, H * D, G, D), v};
}

// The product with rows [first, first + heads D) of the fused projection: [B, T, heads, D].
static dure_tensor project_part(const dure_decoder *decoder, dure_tensor h, uint64_t first, uint64_t head_count,
                                uint32_t layer) {
  dure_program *p = decoder->program;
  const uint64_t C = decoder->config->width, D = decoder->config->head_width, rows = head_count * D;
  const dure_tensor weight = decoder_parameter(decoder, DURE_ROLE_QKV_WEIGHT, layer);
  const dure_tensor bias = decoder_parameter(decoder, DURE_ROLE_QKV_BIAS, layer);
  dure_matmul_options options = {.transpose_b = true};
  if (bias.index != 0) options.bias = dure_tensor_view(p, bias, 1, &rows, (const uint64_t[]){1}, first);
  const dure_tensor part =
      dure_tensor_view(p, weight, 2, (const uint64_t[]){rows, C}, (const uint64_t[]){C, 1}, first * C);
  const dure_tensor y = dure_matmul_with(p, h, part, &options);
  const uint64_t shape[4] = {dure_tensor_dimension(p, y, 0), dure_tensor_dimension(p, y, 1), head_count, D};
  return dure_tensor_reshape(p, y, 4, shape);
}

// With norms of queries and keys, which take whole tensors.
static heads project_apart(const dure_decoder *decoder, dure_tensor h, dure_tensor positions, uint32_t layer) {
  const dure_model_config *config = decoder->config;
  const uint64_t H = config->head_count, G = config->key_head_count, D = config->head_width;
  heads made = {
      decoder_norm(decoder, project_part(decoder, h, 0, H, layer), DURE_ROLE_QUERY_NORM_WEIGHT, DURE_ROLE_COUNT, layer),
      decoder_norm(decoder, project_part(decoder, h, H * D, G, layer), DURE_ROLE_KEY_NORM_WEIGHT, DURE_ROLE_COUNT,
                   layer),
      project_part(decoder, h, (H + G) * D, G, layer)};
  if (config->position != DURE_POSITION_ROTARY) return made;
  made.q = rotate(decoder, made.q, positions, layer);
  made.k = rotate(decoder, made.k, positions, layer);
  return made;
}

dure_tensor decoder_attention(const dure_decoder *decoder, dure_tensor h, dure_tensor positions, dure_tensor residual,
                              uint32_t layer, const dure_decoder_cache *cache) {
  dure_program *p = decoder->program;
  const dure_model_config *config = decoder->config;
  const float scale = dure_model_config_attention_scale(config, layer);
  const dure_attention_options options = {
      .window = dure_model_config_window(config, layer),
      .soft_cap = (float)config->attention_soft_cap,
      .slopes = config->position == DURE_POSITION_ALIBI ? decoder->position_table : DURE_ABSENT,
  };
  const heads made = dure_model_config_has(config, DURE_TRAIT_QUERY_KEY_NORM)
                         ? project_apart(decoder, h, positions, layer)
                         : project_together(decoder, h, positions, layer);
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
  return decoder_project_with(decoder, dure_tensor_reshape(p, y, 3, shape), DURE_ROLE_ATTENTION_OUTPUT_WEIGHT,
                              DURE_ROLE_ATTENTION_OUTPUT_BIAS, layer, (dure_matmul_options){.residual = residual});
}
