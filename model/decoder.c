#include "model/decoder.h"

#include <stdlib.h>
#include <string.h>

dure_status dure_decoder_create(dure_program *program, const dure_model_config *config,
                                const dure_parameter_layout *layout, dure_dtype dtype, dure_decoder *out_decoder) {
  memset(out_decoder, 0, sizeof(*out_decoder));
  dure_tensor *pools = calloc(layout->pool_count + 1, sizeof(*pools));
  if (pools == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a model");
  const dure_parameter_storage storage = {.label = "parameters", .dtype = dtype, .block = 1};
  dure_parameter_pools_declare(program, layout, &storage, DURE_LIFETIME_PARAMETER, pools);
  *out_decoder = (dure_decoder){.program = program, .config = config, .layout = layout, .pools = pools};
  return NULL;
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
  return dure_layer_norm(decoder->program, x, parameter(decoder, weight, layer), parameter(decoder, bias, layer),
                         (float)decoder->config->norm_epsilon);
}

// Heads [first, first + count) of a fused projection [B, T, heads * D], as [B, T, count, D].
static dure_tensor heads(const dure_decoder *decoder, dure_tensor fused, uint32_t first, uint32_t count) {
  dure_program *p = decoder->program;
  const uint64_t B = dure_tensor_dimension(p, fused, 0), T = dure_tensor_dimension(p, fused, 1);
  const uint64_t row = dure_tensor_dimension(p, fused, 2), D = decoder->config->head_width;
  return dure_tensor_view(p, fused, 4, (const uint64_t[]){B, T, count, D}, (const uint64_t[]){T * row, row, D, 1},
                          first * D);
}

static dure_tensor attention_block(const dure_decoder *decoder, dure_tensor x, uint32_t layer,
                                   const dure_decoder_cache *cache) {
  dure_program *p = decoder->program;
  const uint32_t H = decoder->config->head_count, G = decoder->config->key_head_count;
  const float scale = dure_model_config_attention_scale(decoder->config, layer);
  dure_program_scope(p, "layer %u attention", layer);

  dure_tensor h = norm(decoder, x, DURE_ROLE_ATTENTION_NORM_WEIGHT, DURE_ROLE_ATTENTION_NORM_BIAS, layer);  // [B, T, C]
  dure_tensor qkv = project(decoder, h, DURE_ROLE_QKV_WEIGHT, DURE_ROLE_QKV_BIAS, layer);  // [B, T, (H + 2 G) D]
  dure_tensor q = heads(decoder, qkv, 0, H);                                               // [B, T, H, D]
  dure_tensor k = heads(decoder, qkv, H, G);                                               // [B, T, G, D]
  dure_tensor v = heads(decoder, qkv, H + G, G);
  dure_tensor y;  // [B, T, H, D]
  if (cache == NULL) {
    y = dure_attention(p, q, k, v, scale, 0);
  } else {
    dure_cache_append(p, k, v, cache->block_table, cache->lengths, cache->keys[layer], cache->values[layer]);
    y = dure_attention_cached(p, q, cache->keys[layer], cache->values[layer], cache->block_table, cache->lengths, scale,
                              0);
  }
  y = dure_tensor_reshape(p, y, 3,
                          (const uint64_t[]){dure_tensor_dimension(p, x, 0), dure_tensor_dimension(p, x, 1),
                                             (uint64_t)H * decoder->config->head_width});
  return project_with(decoder, y, DURE_ROLE_ATTENTION_OUTPUT_WEIGHT, DURE_ROLE_ATTENTION_OUTPUT_BIAS, layer,
                      (dure_matmul_options){.residual = x});
}

static dure_tensor feed_forward_block(const dure_decoder *decoder, dure_tensor x, uint32_t layer) {
  dure_program *p = decoder->program;
  dure_program_scope(p, "layer %u feed-forward", layer);
  dure_tensor h = norm(decoder, x, DURE_ROLE_FEED_FORWARD_NORM_WEIGHT, DURE_ROLE_FEED_FORWARD_NORM_BIAS, layer);
  h = project_with(
      decoder, h, DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT, DURE_ROLE_FEED_FORWARD_INPUT_BIAS, layer,
      (dure_matmul_options){.has_activation = true, .activation = decoder->config->activation});  // [B, T, I]
  return project_with(decoder, h, DURE_ROLE_FEED_FORWARD_OUTPUT_WEIGHT, DURE_ROLE_FEED_FORWARD_OUTPUT_BIAS, layer,
                      (dure_matmul_options){.residual = x});
}

dure_tensor dure_decoder_hidden(const dure_decoder *decoder, dure_tensor tokens, dure_tensor positions,
                                const dure_decoder_cache *cache) {
  dure_program *p = decoder->program;
  dure_program_scope(p, "embedding");
  dure_tensor x = dure_embedding(p, parameter(decoder, DURE_ROLE_TOKEN_EMBEDDING, 0), tokens);  // [B, T, C]
  if (decoder->config->position == DURE_POSITION_LEARNED) {
    dure_embedding_add(p, parameter(decoder, DURE_ROLE_POSITION_EMBEDDING, 0), positions, x);
  }
  for (uint32_t layer = 0; layer < decoder->config->layer_count; layer++) {
    dure_program_block(p, layer + 1);
    x = attention_block(decoder, x, layer, cache);
    x = feed_forward_block(decoder, x, layer);
  }
  dure_program_block(p, 0);
  dure_program_scope(p, "final norm");
  return norm(decoder, x, DURE_ROLE_FINAL_NORM_WEIGHT, DURE_ROLE_FINAL_NORM_BIAS, 0);
}

// [V, C]
static dure_tensor head_weight(const dure_decoder *decoder) {
  return parameter(decoder, decoder->config->tied_head ? DURE_ROLE_TOKEN_EMBEDDING : DURE_ROLE_HEAD, 0);
}

dure_tensor dure_decoder_logits(const dure_decoder *decoder, dure_tensor hidden) {
  dure_program_scope(decoder->program, "head");
  return dure_matmul(decoder->program, hidden, head_weight(decoder), DURE_ABSENT, false, true);
}

dure_tensor dure_decoder_loss(const dure_decoder *decoder, dure_tensor tokens, dure_tensor positions,
                              dure_tensor labels) {
  dure_tensor hidden = dure_decoder_hidden(decoder, tokens, positions, NULL);
  if (decoder->fuses_loss) {
    dure_program_scope(decoder->program, "head and loss");
    return dure_linear_cross_entropy(decoder->program, hidden, head_weight(decoder), labels);
  }
  dure_tensor logits = dure_decoder_logits(decoder, hidden);
  dure_program_scope(decoder->program, "loss");
  return dure_cross_entropy(decoder->program, logits, labels);
}
