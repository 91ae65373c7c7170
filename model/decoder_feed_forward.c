// The feed-forward half of a block: dense, or a mixture of experts.
#include "model/decoder_internal.h"

// f(gate) * up of a fused product [.., 2 I]: [.., I]
static dure_tensor apply_gate(const dure_decoder *decoder, dure_tensor fused) {
  dure_program *p = decoder->program;
  const uint32_t rank = dure_tensor_rank(p, fused);
  uint64_t shape[DURE_MAX_RANK], stride[DURE_MAX_RANK], size = 1;
  for (uint32_t i = rank; i-- > 0;) {
    stride[i] = size;
    size *= shape[i] = dure_tensor_dimension(p, fused, i);
  }
  const uint64_t width = rank > 0 ? shape[rank - 1] /= 2 : 0;
  return dure_gated_activation(p, dure_tensor_view(p, fused, rank, shape, stride, 0),
                               dure_tensor_view(p, fused, rank, shape, stride, width), decoder->config->activation);
}

static dure_tensor dense(const dure_decoder *decoder, dure_tensor h, dure_tensor residual, uint32_t layer) {
  const dure_model_config *config = decoder->config;
  h = decoder_enter(decoder, h);
  if (config->is_gated) {
    h = decoder_project(decoder, h, DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT, DURE_ROLE_FEED_FORWARD_INPUT_BIAS, layer);
    h = apply_gate(decoder, h);  // [B, T, I]
  } else {
    h = decoder_project_with(decoder, h, DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT, DURE_ROLE_FEED_FORWARD_INPUT_BIAS, layer,
                             (dure_matmul_options){.has_activation = true, .activation = config->activation});
  }
  return decoder_project_out(decoder, h, DURE_ROLE_FEED_FORWARD_OUTPUT_WEIGHT, DURE_ROLE_FEED_FORWARD_OUTPUT_BIAS,
                             layer, residual);
}

// The matrices of all experts, stored as one, as [E, rows, columns].
static dure_tensor expert_matrices(const dure_decoder *decoder, dure_role role, uint64_t rows, uint64_t columns,
                                   uint32_t layer) {
  const uint64_t shape[3] = {decoder->config->experts.count, rows, columns}, stride[3] = {rows * columns, columns, 1};
  return dure_tensor_view(decoder->program, decoder_parameter(decoder, role, layer), 3, shape, stride, 0);
}

// What the expert that every token has adds to `sum` [.., C]; h [R, C], which is `whole` as the ranks that share
// matrices enter it.
static dure_tensor add_shared(const dure_decoder *decoder, dure_tensor whole, dure_tensor h, dure_tensor sum,
                              uint32_t layer) {
  dure_program *p = decoder->program;
  const dure_model_config *config = decoder->config;
  const uint64_t shape[2] = {dure_tensor_dimension(p, h, 0), config->width};
  dure_tensor y =
      apply_gate(decoder, decoder_project(decoder, h, DURE_ROLE_SHARED_INPUT_WEIGHT, DURE_ROLE_COUNT, layer));
  if (!dure_model_config_has(config, DURE_TRAIT_SHARED_GATE)) {
    const dure_matmul_options options = {.residual = dure_tensor_reshape(p, sum, 2, shape)};
    y = decoder_project_with(decoder, y, DURE_ROLE_SHARED_OUTPUT_WEIGHT, DURE_ROLE_COUNT, layer, options);
    const uint64_t rows[3] = {dure_tensor_dimension(p, sum, 0), dure_tensor_dimension(p, sum, 1), config->width};
    return dure_tensor_rank(p, sum) == 3 ? dure_tensor_reshape(p, y, 3, rows) : y;
  }
  y = decoder_project(decoder, y, DURE_ROLE_SHARED_OUTPUT_WEIGHT, DURE_ROLE_COUNT, layer);
  const dure_tensor gate =
      decoder_project(decoder, whole, DURE_ROLE_SHARED_GATE_WEIGHT, DURE_ROLE_COUNT, layer);  // [R, 1]
  const dure_route_attributes sigmoid = {.count = 1, .is_sigmoid = true, .factor = 1};
  const dure_tensor weights = decoder_enter(decoder, dure_route(p, gate, DURE_ABSENT, &sigmoid).weights);
  return dure_expert_combine(p, y, weights, DURE_ABSENT, sum);
}

// sum over the chosen experts of weight * expert(h) [R, C], added to `sum`, which may be absent
static dure_tensor add_chosen(const dure_decoder *decoder, dure_tensor whole, dure_tensor h, dure_tensor sum,
                              uint32_t layer) {
  dure_program *p = decoder->program;
  const dure_model_config *config = decoder->config;
  const uint64_t C = config->width, I = config->experts.width;
  const dure_tensor logits =
      decoder_project(decoder, whole, DURE_ROLE_ROUTER_WEIGHT, DURE_ROLE_COUNT, layer);  // [R, E]
  const dure_routing routing =
      dure_route(p, logits, decoder_parameter(decoder, DURE_ROLE_ROUTER_BIAS, layer), &config->experts.route);
  if (decoder->routers != NULL) decoder->routers[layer] = (dure_router){logits, routing.experts};
  const dure_expert_rows order = dure_expert_order(p, routing.experts, config->experts.count);
  dure_tensor y = dure_embedding(p, h, order.rows);  // [R K, C], one expert's rows after another's
  y = dure_expert_matmul(p, y, order.offsets, expert_matrices(decoder, DURE_ROLE_EXPERTS_INPUT_WEIGHT, 2 * I, C, layer),
                         true);
  y = dure_expert_matmul(p, apply_gate(decoder, y), order.offsets,
                         expert_matrices(decoder, DURE_ROLE_EXPERTS_OUTPUT_WEIGHT, C, I, layer), true);
  return dure_expert_combine(p, y, decoder_enter(decoder, routing.weights), order.places, sum);
}

// The chosen experts, and the shared one. Ranks that share matrices have a part of every expert: of what they make of
// their rows, and of the gradients of their weights, there is one sum over the ranks; routers and gates are alike on
// all.
static dure_tensor mixture(const dure_decoder *decoder, dure_tensor h, dure_tensor residual, uint32_t layer) {
  dure_program *p = decoder->program;
  const dure_model_config *config = decoder->config;
  const bool is_divided = config->tensor_parts > 1;
  const uint64_t shape[3] = {dure_tensor_dimension(p, h, 0), dure_tensor_dimension(p, h, 1), config->width};
  const uint64_t flat[2] = {shape[0] * shape[1], config->width};
  const dure_tensor whole = dure_tensor_reshape(p, h, 2, flat), entered = decoder_enter(decoder, whole);
  dure_tensor y = add_chosen(decoder, whole, entered, is_divided ? DURE_ABSENT : residual, layer);
  if (dure_tensor_rank(p, y) == 2) y = dure_tensor_reshape(p, y, 3, shape);
  if (dure_model_config_has(config, DURE_TRAIT_SHARED_EXPERT)) y = add_shared(decoder, whole, entered, y, layer);
  return is_divided ? decoder_sum(decoder, y, residual) : y;
}

dure_tensor decoder_feed_forward(const dure_decoder *decoder, dure_tensor h, dure_tensor residual, uint32_t layer) {
  return decoder->config->is_sparse[layer] ? mixture(decoder, h, residual, layer) : dense(decoder, h, residual, layer);
}
