// The attention half of a block.
#include "model/decoder_internal.h"
#include "model/packed.h"

// Queries, keys and values of a layer: [B, T, H, D], [B, T, G, D], [B, T, G, D].
typedef struct heads {
  dure_tensor q, k, v;
} heads;

static bool is_rotated(const dure_model_config *config, uint32_t layer) {
  return config->position == DURE_POSITION_ROTARY && !config->is_unrotated[layer];
}

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
  if (is_rotated(config, layer))
    qkv = rotate(decoder, decoder_columns(decoder, qkv, 0, H + G, D), positions, layer);  // [B, T, H + G, D]
  return (heads){decoder_columns(decoder, qkv, 0, H, D), decoder_columns(decoder, qkv, H * D, G, D), v};
}

// The product with rows [first, first + heads D) of a stored matrix and its bias: [B, T, heads, D].
static dure_tensor project_rows(const dure_decoder *decoder, dure_tensor h, dure_role weight, dure_role bias,
                                uint64_t first, uint64_t head_count, uint64_t D, uint32_t layer) {
  dure_program *p = decoder->program;
  const uint64_t C = decoder->config->width, rows = head_count * D;
  const dure_parameter *matrix = dure_parameter_find(decoder->layout, weight, layer);
  const dure_tensor vector = decoder_parameter(decoder, bias, layer);
  if (decoder->watch != NULL) decoder->watch(decoder->watch_context, weight, layer, h);
  dure_matmul_options options = {.transpose_b = true};
  if (vector.index != 0) options.bias = dure_tensor_view(p, vector, 1, &rows, (const uint64_t[]){1}, first);
  dure_tensor y;
  if (matrix != NULL && matrix->bits > 0) {
    y = dure_packed_matmul(p, decoder->pools, matrix, first, rows, h, &options);
  } else {
    const uint64_t shape[2] = {rows, C}, stride[2] = {C, 1};
    y = dure_matmul_with(
        p, h, dure_tensor_view(p, decoder_parameter(decoder, weight, layer), 2, shape, stride, first * C), &options);
  }
  const uint64_t heads_shape[4] = {dure_tensor_dimension(p, y, 0), dure_tensor_dimension(p, y, 1), head_count, D};
  return dure_tensor_reshape(p, y, 4, heads_shape);
}

static dure_tensor project_part(const dure_decoder *decoder, dure_tensor h, uint64_t first, uint64_t head_count,
                                uint32_t layer) {
  return project_rows(decoder, h, DURE_ROLE_QKV_WEIGHT, DURE_ROLE_QKV_BIAS, first, head_count,
                      decoder->config->head_width, layer);
}

// x [B, T, heads, D], head by head or all heads of a token together.
static dure_tensor norm_heads(const dure_decoder *decoder, dure_tensor x, dure_role weight, uint32_t layer) {
  dure_program *p = decoder->program;
  if (!dure_model_config_has(decoder->config, DURE_TRAIT_WHOLE_QUERY_KEY_NORM))
    return decoder_norm(decoder, x, weight, DURE_ROLE_COUNT, layer);
  uint64_t shape[4];
  for (uint32_t i = 0; i < 4; i++) shape[i] = dure_tensor_dimension(p, x, i);
  const dure_tensor all = dure_tensor_reshape(p, x, 3, (const uint64_t[]){shape[0], shape[1], shape[2] * shape[3]});
  return dure_tensor_reshape(p, decoder_norm(decoder, all, weight, DURE_ROLE_COUNT, layer), 4, shape);
}

// With norms of queries and keys, which take whole tensors.
static heads project_apart(const dure_decoder *decoder, dure_tensor h, dure_tensor positions, uint32_t layer) {
  const dure_model_config *config = decoder->config;
  const uint64_t H = config->head_count, G = config->key_head_count, D = config->head_width;
  heads made = {norm_heads(decoder, project_part(decoder, h, 0, H, layer), DURE_ROLE_QUERY_NORM_WEIGHT, layer),
                norm_heads(decoder, project_part(decoder, h, H * D, G, layer), DURE_ROLE_KEY_NORM_WEIGHT, layer),
                project_part(decoder, h, (H + G) * D, G, layer)};
  if (!is_rotated(config, layer)) return made;
  made.q = rotate(decoder, made.q, positions, layer);
  made.k = rotate(decoder, made.k, positions, layer);
  return made;
}

// ---- multi-head latent attention -------------------------------------------------------------------------------

// Elements [first, first + count) of every head of x [B, T, H, D], as a view.
static dure_tensor part_of_heads(const dure_decoder *decoder, dure_tensor x, uint64_t first, uint64_t count) {
  dure_program *p = decoder->program;
  uint64_t shape[4], stride[4], size = 1;
  for (uint32_t i = 4; i-- > 0;) {
    stride[i] = size;
    size *= shape[i] = dure_tensor_dimension(p, x, i);
  }
  shape[3] = count;
  return dure_tensor_view(p, x, 4, shape, stride, first);
}

static dure_tensor as_heads(const dure_decoder *decoder, dure_tensor x, uint64_t D) {
  dure_program *p = decoder->program;
  const uint64_t shape[4] = {dure_tensor_dimension(p, x, 0), dure_tensor_dimension(p, x, 1),
                             decoder->config->head_count, D};
  return dure_tensor_reshape(p, x, 4, shape);
}

static dure_tensor latent_norm(const dure_decoder *decoder, dure_tensor x, dure_role weight, uint32_t layer) {
  const float epsilon = 1e-6f;  // whatever the other norms have
  return dure_rms_norm(decoder->program, x, decoder_parameter(decoder, weight, layer), epsilon, 0);
}

// Queries: the plain parts as they are, the others rotated.
static dure_tensor latent_queries(const dure_decoder *decoder, dure_tensor h, dure_tensor positions, uint32_t layer) {
  dure_program *p = decoder->program;
  const dure_model_config *config = decoder->config;
  const uint64_t plain = config->latent.plain_width, rotated = config->rotary.width;
  const dure_rotary_attributes attributes = {config->rotary.width, config->rotary.is_interleaved, false};
  if (config->latent.query_rank > 0) {
    h = decoder_project(decoder, h, DURE_ROLE_QUERY_DOWN_WEIGHT, DURE_ROLE_QUERY_DOWN_BIAS, layer);
    h = latent_norm(decoder, h, DURE_ROLE_QUERY_LATENT_NORM_WEIGHT, layer);
  }
  h = decoder_enter(decoder, h);
  h = as_heads(decoder, decoder_project(decoder, h, DURE_ROLE_QUERY_UP_WEIGHT, DURE_ROLE_COUNT, layer),
               config->head_width);
  const uint64_t shape[4] = {dure_tensor_dimension(p, h, 0), dure_tensor_dimension(p, h, 1), config->head_count,
                             config->head_width};
  const dure_tensor q = dure_tensor_temporary(p, "queries", dure_tensor_dtype(p, h), 4, shape);
  dure_copy_heads(p, part_of_heads(decoder, h, 0, plain), 0, part_of_heads(decoder, q, 0, plain));
  dure_rotary_into(p, part_of_heads(decoder, h, plain, rotated), positions, decoder->position_table, &attributes,
                   part_of_heads(decoder, q, plain, rotated));
  return q;
}

// Keys: the plain parts from the latent vector, then the one rotated part; values, filled up with zeros to their width,
// so that the attention is that of any other model. Ranks that share matrices divide what is made from latent vectors,
// which all of them have. (A cache of the latent vectors alone would be smaller.)
static heads project_latent(const dure_decoder *decoder, dure_tensor h, dure_tensor positions, uint32_t layer) {
  dure_program *p = decoder->program;
  const dure_model_config *config = decoder->config;
  const uint64_t rank = config->latent.key_rank, plain = config->latent.plain_width, value = config->latent.value_width;
  const uint64_t rotated = config->rotary.width, B = dure_tensor_dimension(p, h, 0), T = dure_tensor_dimension(p, h, 1);
  dure_tensor latent = project_rows(decoder, h, DURE_ROLE_KEY_DOWN_WEIGHT, DURE_ROLE_KEY_DOWN_BIAS, 0, 1, rank, layer);
  latent = decoder_enter(decoder, latent_norm(decoder, latent, DURE_ROLE_KEY_LATENT_NORM_WEIGHT, layer));
  latent = dure_tensor_reshape(p, latent, 3, (const uint64_t[]){B, T, rank});
  const dure_tensor made = as_heads(
      decoder, decoder_project(decoder, latent, DURE_ROLE_KEY_UP_WEIGHT, DURE_ROLE_COUNT, layer), plain + value);
  dure_tensor shared =
      project_rows(decoder, h, DURE_ROLE_KEY_DOWN_WEIGHT, DURE_ROLE_KEY_DOWN_BIAS, rank, 1, rotated, layer);
  shared = decoder_enter(decoder, rotate(decoder, shared, positions, layer));  // [B, T, 1, rotated]

  const uint64_t shape[4] = {B, T, config->head_count, config->head_width};
  const dure_tensor k = dure_tensor_temporary(p, "keys", dure_tensor_dtype(p, h), 4, shape);
  dure_copy_heads(p, part_of_heads(decoder, made, 0, plain), 0, part_of_heads(decoder, k, 0, plain));
  dure_copy_heads(p, shared, config->head_count, part_of_heads(decoder, k, plain, rotated));
  const dure_tensor v = dure_tensor_temporary(p, "values", dure_tensor_dtype(p, h), 4, shape);
  if (value < config->head_width) dure_fill(p, v, 0);
  dure_copy_heads(p, part_of_heads(decoder, made, plain, value), 0, part_of_heads(decoder, v, 0, value));
  return (heads){latent_queries(decoder, h, positions, layer), k, v};
}

static heads project_heads(const dure_decoder *decoder, dure_tensor h, dure_tensor positions, uint32_t layer) {
  if (decoder->config->latent.key_rank > 0) return project_latent(decoder, h, positions, layer);
  h = decoder_enter(decoder, h);
  const bool has_norms = dure_model_config_has(decoder->config, DURE_TRAIT_QUERY_KEY_NORM) ||
                         dure_model_config_has(decoder->config, DURE_TRAIT_WHOLE_QUERY_KEY_NORM);
  return has_norms ? project_apart(decoder, h, positions, layer) : project_together(decoder, h, positions, layer);
}

// ---- sequences divided among ranks -------------------------------------------------------------------------------
//
// Each rank has T of the N T tokens of a sequence. Before attention ranks exchange heads for tokens, so that each has
// all tokens of some heads, and back after it (Jacobs et al. 2023, "DeepSpeed Ulysses", section 3.1).

enum { TOKENS = 1, HEADS = 2 };

// Sequence `b` of piece `piece` of `count` pieces of x [B, T, H, D] along the axis, as a view [1, .., .., D].
static dure_tensor piece_of(const dure_decoder *decoder, dure_tensor x, uint32_t axis, uint64_t piece, uint64_t count,
                            uint64_t b) {
  dure_program *p = decoder->program;
  uint64_t shape[4], stride[4];
  for (uint32_t i = 0; i < 4; i++) {
    shape[i] = dure_tensor_dimension(p, x, i);
    stride[i] = dure_tensor_stride(p, x, i);
  }
  shape[0] = 1;
  shape[axis] /= count;
  return dure_tensor_view(p, x, 4, shape, stride, piece * shape[axis] * stride[axis] + b * stride[0]);
}

// Copies every rank's piece of x [B, T, H, D] along the axis, one after the other, to `pieces`; or back.
static void copy_pieces(const dure_decoder *decoder, dure_tensor x, uint32_t axis, dure_tensor pieces, bool is_back) {
  dure_program *p = decoder->program;
  const uint64_t N = decoder->sequence_parts, B = dure_tensor_dimension(p, x, 0);
  for (uint64_t i = 0; i < N * B; i++) {
    const dure_tensor whole = piece_of(decoder, x, axis, i / B, N, i % B);
    const uint64_t shape[4] = {1, dure_tensor_dimension(p, whole, 1), dure_tensor_dimension(p, whole, 2),
                               dure_tensor_dimension(p, whole, 3)};
    const uint64_t stride[4] = {shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1};
    const dure_tensor piece = dure_tensor_view(p, pieces, 4, shape, stride, i * stride[0]);
    dure_copy_heads(p, is_back ? piece : whole, 0, is_back ? whole : piece);
  }
}

// x [B, T, H, D], one of whose axes is cut among the ranks, becomes whole along it and is cut along the other: from
// [B, T, H, D] to [B, N T, H / N, D] with from HEADS and to TOKENS, and back.
static dure_tensor exchange(const dure_decoder *decoder, dure_tensor x, uint32_t from, uint32_t to) {
  dure_program *p = decoder->program;
  const uint64_t N = decoder->sequence_parts;
  uint64_t shape[4];
  for (uint32_t i = 0; i < 4; i++) shape[i] = dure_tensor_dimension(p, x, i);
  const uint64_t flat[2] = {N, dure_tensor_element_count(p, x) / N};
  shape[from] /= N;
  shape[to] *= N;
  const dure_tensor sent = dure_tensor_temporary(p, "sent", dure_tensor_dtype(p, x), 2, flat);
  copy_pieces(decoder, x, from, sent, false);
  const dure_tensor received = dure_copy_with_ranks(p, sent, DURE_AMONG_EXCHANGE);
  const dure_tensor y = dure_tensor_temporary(p, "exchanged", dure_tensor_dtype(p, x), 4, shape);
  copy_pieces(decoder, y, to, received, true);
  return y;
}

static dure_tensor attend_with_ranks(const dure_decoder *decoder, const heads *made, float scale,
                                     const dure_attention_options *options) {
  dure_program *p = decoder->program;
  if (decoder->sequence_parts < 2) return dure_attention_with(p, made->q, made->k, made->v, scale, options);
  const dure_tensor q = exchange(decoder, made->q, HEADS, TOKENS), k = exchange(decoder, made->k, HEADS, TOKENS);
  const dure_tensor v = exchange(decoder, made->v, HEADS, TOKENS);
  return exchange(decoder, dure_attention_with(p, q, k, v, scale, options), TOKENS, HEADS);
}

// x as `dtype`: itself where it is of that type.
static dure_tensor as_type(dure_program *p, dure_tensor x, dure_dtype dtype) {
  if (dure_tensor_dtype(p, x) == dtype) return x;
  uint64_t shape[DURE_MAX_RANK];
  const uint32_t rank = dure_tensor_rank(p, x);
  for (uint32_t i = 0; i < rank; i++) shape[i] = dure_tensor_dimension(p, x, i);
  // Heads of a fused projection lie apart, which copy_heads reads and copy does not.
  const dure_tensor whole = rank == 4 ? dure_copy_heads(p, x, 0, DURE_ABSENT) : x;
  dure_tensor operands[DURE_MAX_OPERANDS] = {whole, dure_tensor_temporary(p, "converted", dtype, rank, shape)};
  dure_program_call(p, DURE_OP_copy, operands, NULL, 0);
  return operands[1];
}

// Attention through the cache. A cache of another float type than the activations is read in its own: queries are
// rounded to it as keys and values are, and the result, which the kernels sum in f32, is rounded to it once more. One
// in blocks of codes takes and gives activations as they are.
static dure_tensor attend_cached(const dure_decoder *decoder, const heads *made, uint32_t layer, float scale,
                                 const dure_attention_options *options, const dure_decoder_cache *cache) {
  dure_program *p = decoder->program;
  dure_paged_cache paged = {.keys = cache->keys[layer],
                            .values = cache->values[layer],
                            .block_table = cache->block_table,
                            .positions = cache->lengths};
  const dure_dtype dtype = dure_tensor_dtype(p, made->q);
  dure_dtype stored = dure_tensor_dtype(p, paged.keys);
  if (stored == DURE_DTYPE_U8) {
    paged.key_scales = cache->key_scales[layer];
    paged.value_scales = cache->value_scales[layer];
    stored = dtype;
  }
  dure_cache_append(p, as_type(p, made->k, stored), as_type(p, made->v, stored), &paged);
  return as_type(p, dure_attention_cached(p, as_type(p, made->q, stored), &paged, scale, options), dtype);
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
  const heads made = project_heads(decoder, h, positions, layer);
  dure_tensor y;  // [B, T, H, D]
  if (cache == NULL) {
    y = attend_with_ranks(decoder, &made, scale, &options);
  } else {
    y = attend_cached(decoder, &made, layer, scale, &options, cache);
  }
  uint64_t value_width = config->head_width;
  if (config->latent.key_rank > 0 && config->latent.value_width < value_width) {
    value_width = config->latent.value_width;
    y = dure_copy_heads(p, part_of_heads(decoder, y, 0, value_width), 0, DURE_ABSENT);
  }
  const uint64_t shape[3] = {dure_tensor_dimension(p, y, 0), dure_tensor_dimension(p, y, 1),
                             config->head_count * value_width};
  return decoder_project_out(decoder, dure_tensor_reshape(p, y, 3, shape), DURE_ROLE_ATTENTION_OUTPUT_WEIGHT,
                             DURE_ROLE_ATTENTION_OUTPUT_BIAS, layer, residual);
}
