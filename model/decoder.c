#include "model/decoder_internal.h"

#include <stdlib.h>
#include <string.h>

#include "model/packed.h"
#include "model/tensor_parallel.h"

static dure_status declare_rotary(dure_decoder *decoder, const char *label, const dure_rotary_config *rotary,
                                  uint32_t positions, dure_tensor *out_table) {
  const uint64_t shape[2] = {positions, rotary->width};
  float *table = calloc(shape[0] * shape[1], sizeof(*table));
  *out_table = DURE_ABSENT;
  if (table == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a table of positions");
  dure_model_config_rotary_table(rotary, positions, table);
  *out_table = dure_tensor_constant(decoder->program, label, DURE_DTYPE_F32, 2, shape, table);
  free(table);
  return NULL;
}

// Of `count` heads from `first` on, of those that the config has.
static dure_status declare_slopes(dure_decoder *decoder, uint64_t first, uint64_t count) {
  const dure_model_config whole = dure_model_config_whole(decoder->config);
  const uint64_t before = (uint64_t)decoder->config->tensor_part * decoder->config->head_count;
  float *slopes = calloc(whole.head_count, sizeof(*slopes));
  if (slopes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a table of positions");
  dure_model_config_alibi_slopes(&whole, slopes);
  decoder->position_table =
      dure_tensor_constant(decoder->program, "ALiBi slopes", DURE_DTYPE_F32, 1, &count, slopes + before + first);
  free(slopes);
  return NULL;
}

// The tables that the kind of positions needs, as constants of the program.
static dure_status declare_positions(dure_decoder *decoder, uint32_t positions) {
  const dure_model_config *config = decoder->config;
  if (config->position == DURE_POSITION_LEARNED) return NULL;
  if (config->position == DURE_POSITION_ALIBI) return declare_slopes(decoder, 0, config->head_count);
  DURE_TRY(declare_rotary(decoder, "rotary table", &config->rotary, positions, &decoder->position_table));
  if (!config->has_local_rotary) return NULL;
  return declare_rotary(decoder, "local rotary table", &config->local_rotary, positions, &decoder->local_table);
}

dure_status dure_decoder_create(dure_program *program, const dure_model_config *config,
                                const dure_parameter_layout *layout, dure_dtype dtype, uint32_t positions,
                                dure_decoder *out_decoder) {
  memset(out_decoder, 0, sizeof(*out_decoder));
  dure_tensor *pools = calloc(layout->pool_count + 1, sizeof(*pools));
  if (pools == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a model");
  const dure_parameter_storage storage = {.label = "parameters", .dtype = dtype, .block = 1};
  dure_parameter_pools_declare(program, layout, &storage, DURE_LIFETIME_PARAMETER, pools);
  *out_decoder = (dure_decoder){.program = program, .config = config, .layout = layout, .pools = pools, .dtype = dtype};
  dure_status status = declare_positions(out_decoder, positions);
  if (status != NULL) dure_decoder_clear(out_decoder);
  return status;
}

dure_status dure_decoder_divide(dure_decoder *decoder, uint32_t part, uint32_t parts) {
  if (parts < 2) return NULL;
  DURE_TRY(dure_model_config_check_heads(decoder->config, "--sequence-parallel", parts));
  decoder->sequence_parts = parts;
  if (decoder->config->position != DURE_POSITION_ALIBI) return NULL;
  const uint32_t heads = decoder->config->head_count / parts;
  return declare_slopes(decoder, (uint64_t)part * heads, heads);
}

void dure_decoder_clear(dure_decoder *decoder) {
  free(decoder->pools);
  memset(decoder, 0, sizeof(*decoder));
}

dure_tensor decoder_parameter(const dure_decoder *decoder, dure_role role, uint32_t layer) {
  const dure_parameter *found = dure_parameter_find(decoder->layout, role, layer);
  if (found == NULL) return DURE_ABSENT;
  if (found->bits > 0) return dure_packed_unpack(decoder->program, decoder->pools, found, DURE_ABSENT, decoder->dtype);
  return dure_parameter_view(decoder->program, decoder->pools, found);
}

dure_tensor decoder_project_with(const dure_decoder *decoder, dure_tensor x, dure_role weight, dure_role bias,
                                 uint32_t layer, dure_matmul_options options) {
  const dure_parameter *matrix = dure_parameter_find(decoder->layout, weight, layer);
  if (decoder->watch != NULL) decoder->watch(decoder->watch_context, weight, layer, x);
  options.transpose_b = matrix != NULL && matrix->row->is_output_first;
  options.bias = decoder_parameter(decoder, bias, layer);
  if (matrix != NULL && matrix->bits > 0)
    return dure_packed_matmul(decoder->program, decoder->pools, matrix, 0, dure_packed_rows(matrix), x, &options);
  return dure_matmul_with(decoder->program, x, decoder_parameter(decoder, weight, layer), &options);
}

dure_tensor decoder_project(const dure_decoder *decoder, dure_tensor x, dure_role weight, dure_role bias,
                            uint32_t layer) {
  return decoder_project_with(decoder, x, weight, bias, layer, (dure_matmul_options){0});
}

dure_tensor decoder_enter(const dure_decoder *decoder, dure_tensor x) {
  if (decoder->config->tensor_parts < 2) return x;
  return dure_copy_with_ranks(decoder->program, x, DURE_AMONG_SUM_GRADIENT);
}

// y + b for every row: a product over one dimension.
static dure_tensor add_vector(const dure_decoder *decoder, dure_tensor y, dure_tensor vector) {
  dure_program *p = decoder->program;
  const uint64_t width = dure_tensor_dimension(p, vector, 0);
  uint64_t shape[3] = {dure_tensor_dimension(p, y, 0), dure_tensor_dimension(p, y, 1), 1};
  const dure_tensor ones = dure_tensor_temporary(p, "ones", dure_tensor_dtype(p, y), 3, shape);
  dure_fill(p, ones, 1);
  return dure_matmul_with(p, ones, dure_tensor_reshape(p, vector, 2, (const uint64_t[]){1, width}),
                          &(dure_matmul_options){.residual = y});
}

dure_tensor decoder_sum(const dure_decoder *decoder, dure_tensor part, dure_tensor residual) {
  const dure_tensor y = dure_copy_with_ranks(decoder->program, part, DURE_AMONG_SUM);
  return residual.index != 0 ? dure_add(decoder->program, residual, y) : y;
}

dure_tensor decoder_project_out(const dure_decoder *decoder, dure_tensor x, dure_role weight, dure_role bias,
                                uint32_t layer, dure_tensor residual) {
  if (decoder->config->tensor_parts < 2)
    return decoder_project_with(decoder, x, weight, bias, layer, (dure_matmul_options){.residual = residual});
  const dure_tensor vector = decoder_parameter(decoder, bias, layer);
  const dure_tensor part = decoder_project(decoder, x, weight, DURE_ROLE_COUNT, layer);
  if (vector.index == 0) return decoder_sum(decoder, part, residual);
  const dure_tensor y = add_vector(decoder, decoder_sum(decoder, part, DURE_ABSENT), vector);
  return residual.index != 0 ? dure_add(decoder->program, residual, y) : y;
}

// The norm's weight; one of heads is shared by the ranks' heads.
static dure_tensor norm_weight(const dure_decoder *decoder, dure_role role, uint32_t layer) {
  const dure_tensor weight = decoder_parameter(decoder, role, layer);
  const bool is_of_heads = role == DURE_ROLE_QUERY_NORM_WEIGHT || role == DURE_ROLE_KEY_NORM_WEIGHT;
  return is_of_heads ? decoder_enter(decoder, weight) : weight;
}

dure_tensor decoder_norm(const dure_decoder *decoder, dure_tensor x, dure_role weight, dure_role bias, uint32_t layer) {
  const dure_model_config *config = decoder->config;
  const float epsilon = (float)config->norm_epsilon;
  if (config->norm == DURE_NORM_RMS)
    return dure_rms_norm(decoder->program, x, norm_weight(decoder, weight, layer), epsilon, (float)config->norm_offset);
  return dure_layer_norm(decoder->program, x, norm_weight(decoder, weight, layer),
                         decoder_parameter(decoder, bias, layer), epsilon);
}

static dure_tensor attention_norm(const dure_decoder *decoder, dure_tensor x, uint32_t layer) {
  return decoder_norm(decoder, x, DURE_ROLE_ATTENTION_NORM_WEIGHT, DURE_ROLE_ATTENTION_NORM_BIAS, layer);
}

static dure_tensor feed_forward_norm(const dure_decoder *decoder, dure_tensor x, uint32_t layer) {
  return decoder_norm(decoder, x, DURE_ROLE_FEED_FORWARD_NORM_WEIGHT, DURE_ROLE_FEED_FORWARD_NORM_BIAS, layer);
}

dure_tensor decoder_columns(const dure_decoder *decoder, dure_tensor fused, uint64_t first, uint64_t head_count,
                            uint64_t count) {
  dure_program *p = decoder->program;
  const uint64_t B = dure_tensor_dimension(p, fused, 0), T = dure_tensor_dimension(p, fused, 1);
  const uint64_t row = B * T > 0 ? dure_tensor_element_count(p, fused) / (B * T) : 0;  // 0: the program has failed
  return dure_tensor_view(p, fused, 4, (const uint64_t[]){B, T, head_count, count},
                          (const uint64_t[]){T * row, row, count, 1}, first);
}

// x += m1(a(n1(x))), then x += m2(f(n2(x))); without n1 and n2 where norms come after alone
static dure_tensor block_of_output_norms(const dure_decoder *decoder, dure_tensor x, dure_tensor positions,
                                         uint32_t layer, const dure_decoder_cache *cache) {
  dure_program *p = decoder->program;
  const bool norms_first = decoder->config->residual == DURE_RESIDUAL_BOTH_NORMS;
  dure_tensor h = norms_first ? attention_norm(decoder, x, layer) : x;
  h = decoder_attention(decoder, h, positions, DURE_ABSENT, layer, cache);
  x = dure_add(p, x, decoder_norm(decoder, h, DURE_ROLE_ATTENTION_POST_NORM_WEIGHT, DURE_ROLE_COUNT, layer));
  dure_program_scope(p, "layer %u feed-forward", layer);
  h = decoder_feed_forward(decoder, norms_first ? feed_forward_norm(decoder, x, layer) : x, DURE_ABSENT, layer);
  return dure_add(p, x, decoder_norm(decoder, h, DURE_ROLE_FEED_FORWARD_POST_NORM_WEIGHT, DURE_ROLE_COUNT, layer));
}

dure_tensor dure_decoder_layer(const dure_decoder *decoder, dure_tensor x, dure_tensor positions, uint32_t layer,
                               const dure_decoder_cache *cache) {
  dure_program *p = decoder->program;
  dure_program_block(p, layer + 1);
  dure_program_scope(p, "layer %u attention", layer);
  const dure_residual_kind residual = decoder->config->residual;
  if (residual == DURE_RESIDUAL_BOTH_NORMS || residual == DURE_RESIDUAL_NORMS_AFTER)
    return block_of_output_norms(decoder, x, positions, layer, cache);
  const bool norms_first = residual != DURE_RESIDUAL_POST_NORM;
  dure_tensor h = norms_first ? attention_norm(decoder, x, layer) : x;
  const dure_tensor shared = h;
  dure_tensor y = decoder_attention(decoder, h, positions, x, layer, cache);
  if (!norms_first) y = attention_norm(decoder, y, layer);

  dure_program_scope(p, "layer %u feed-forward", layer);
  switch (residual) {
    case DURE_RESIDUAL_SEQUENTIAL: return decoder_feed_forward(decoder, feed_forward_norm(decoder, y, layer), y, layer);
    case DURE_RESIDUAL_PARALLEL:
      h = dure_model_config_has(decoder->config, DURE_TRAIT_TWO_NORMS) ? feed_forward_norm(decoder, x, layer) : shared;
      return decoder_feed_forward(decoder, h, y, layer);
    case DURE_RESIDUAL_BOTH_NORMS:
    case DURE_RESIDUAL_NORMS_AFTER: break;
    case DURE_RESIDUAL_POST_NORM: return feed_forward_norm(decoder, decoder_feed_forward(decoder, y, y, layer), layer);
  }
  return y;
}

dure_tensor dure_decoder_embed(const dure_decoder *decoder, dure_tensor tokens, dure_tensor positions) {
  dure_program *p = decoder->program;
  dure_program_scope(p, "embedding");
  const dure_model_config *config = decoder->config;
  const dure_parameter *table = dure_parameter_find(decoder->layout, DURE_ROLE_TOKEN_EMBEDDING, 0);
  dure_tensor x =
      table != NULL && table->bits > 0
          ? dure_packed_unpack(p, decoder->pools, table, tokens, decoder->dtype)
          : dure_embedding(p, decoder_parameter(decoder, DURE_ROLE_TOKEN_EMBEDDING, 0), tokens);  // [B, T, E]
  if (config->embedding_scale > 0) x = dure_scale(p, x, (float)config->embedding_scale);
  if (dure_model_config_has(config, DURE_TRAIT_EMBEDDING_PROJECTION))
    x = decoder_project(decoder, x, DURE_ROLE_EMBEDDING_INPUT, DURE_ROLE_COUNT, 0);  // [B, T, C]
  if (config->position == DURE_POSITION_LEARNED) {
    const uint64_t shape[2] = {config->context_length, config->width}, stride[2] = {config->width, 1};
    const dure_tensor rows = dure_tensor_view(p, decoder_parameter(decoder, DURE_ROLE_POSITION_EMBEDDING, 0), 2, shape,
                                              stride, (uint64_t)config->position_offset * config->width);
    dure_embedding_add(p, rows, positions, x);
  }
  if (dure_parameter_find(decoder->layout, DURE_ROLE_EMBEDDING_NORM_WEIGHT, 0) != NULL)
    x = decoder_norm(decoder, x, DURE_ROLE_EMBEDDING_NORM_WEIGHT, DURE_ROLE_EMBEDDING_NORM_BIAS, 0);
  return x;
}

dure_tensor dure_decoder_hidden(const dure_decoder *decoder, dure_tensor tokens, dure_tensor positions,
                                const dure_decoder_cache *cache) {
  dure_program *p = decoder->program;
  const dure_model_config *config = decoder->config;
  dure_tensor x = dure_decoder_embed(decoder, tokens, positions);  // [B, T, C]
  for (uint32_t layer = 0; layer < config->layer_count; layer++)
    x = dure_decoder_layer(decoder, x, positions, layer, cache);
  dure_program_block(p, 0);
  dure_program_scope(p, "final norm");
  if (dure_model_config_has(config, DURE_TRAIT_FINAL_NORM))
    x = decoder_norm(decoder, x, DURE_ROLE_FINAL_NORM_WEIGHT, DURE_ROLE_FINAL_NORM_BIAS, 0);
  if (dure_model_config_has(config, DURE_TRAIT_EMBEDDING_PROJECTION))
    x = decoder_project(decoder, x, DURE_ROLE_EMBEDDING_OUTPUT, DURE_ROLE_COUNT, 0);  // [B, T, E]
  return x;
}

static dure_role head_role(const dure_decoder *decoder) {
  return decoder->config->tied_head ? DURE_ROLE_TOKEN_EMBEDDING : DURE_ROLE_HEAD;
}

// [V, E]
static dure_tensor head_weight(const dure_decoder *decoder) {
  return decoder_parameter(decoder, head_role(decoder), 0);
}

static dure_tensor head_product(const dure_decoder *decoder, dure_tensor hidden, const dure_matmul_options *options) {
  const dure_parameter *head = dure_parameter_find(decoder->layout, head_role(decoder), 0);
  if (head != NULL && head->bits > 0)
    return dure_packed_matmul(decoder->program, decoder->pools, head, 0, dure_packed_rows(head), hidden, options);
  return dure_matmul_with(decoder->program, hidden, head_weight(decoder), options);
}

dure_tensor dure_decoder_logits(const dure_decoder *decoder, dure_tensor hidden) {
  dure_program *p = decoder->program;
  const float cap = (float)decoder->config->logits_soft_cap;
  dure_program_scope(p, "head");
  dure_matmul_options options = {.transpose_b = true, .bias = decoder_parameter(decoder, DURE_ROLE_HEAD_BIAS, 0)};
  if (!(cap > 0)) return head_product(decoder, hidden, &options);
  // cap tanh(logits / cap), with the division where there are the fewest elements
  options.has_activation = true;
  options.activation = DURE_ACTIVATION_TANH;
  return dure_scale(p, head_product(decoder, dure_scale(p, hidden, 1 / cap), &options), cap);
}

dure_tensor dure_decoder_loss(const dure_decoder *decoder, dure_tensor tokens, dure_tensor positions,
                              dure_tensor labels) {
  dure_tensor hidden = dure_decoder_hidden(decoder, tokens, positions, NULL);
  const bool has_bias = dure_parameter_find(decoder->layout, DURE_ROLE_HEAD_BIAS, 0) != NULL;
  if (decoder->fuses_loss && !has_bias) {
    dure_program_scope(decoder->program, "head and loss");
    return dure_linear_cross_entropy(decoder->program, hidden, head_weight(decoder), labels,
                                     (float)decoder->config->logits_soft_cap);
  }
  dure_tensor logits = dure_decoder_logits(decoder, hidden);
  dure_program_scope(decoder->program, "loss");
  return dure_cross_entropy(decoder->program, logits, labels);
}
