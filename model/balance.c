#include "model/balance.h"

#include <string.h>

// Of the gradients of biases: their squares are nothing beside those of the weights.
static const float bias_gradient_scale = 1e-5f;

static uint64_t rows_of(const dure_program *p, const dure_router *router) {
  return dure_tensor_dimension(p, router->experts, 0);
}

static dure_tensor ones_of(dure_program *p, uint64_t rows, uint64_t columns) {
  const dure_tensor ones = dure_tensor_temporary(p, "ones", DURE_DTYPE_F32, 2, (const uint64_t[]){rows, columns});
  dure_fill(p, ones, 1);
  return ones;
}

// What a choice of each row counts for [R, K]: its row's presence; DURE_ABSENT: 1.
static dure_tensor weights_of_choices(dure_program *p, const dure_model_config *config, uint64_t rows,
                                      dure_tensor presence) {
  const uint64_t K = config->experts.route.count, column[2] = {rows, 1};
  if (presence.index == 0) return ones_of(p, rows, K);
  return dure_matmul(p, dure_tensor_reshape(p, presence, 2, column), ones_of(p, 1, K), DURE_ABSENT, false, false);
}

// Adds to `counts` [E, 1] what the choices of each expert in rows [first, first + rows) count for.
static void add_counts(dure_program *p, const dure_model_config *config, const dure_router *router, uint64_t first,
                       uint64_t rows, dure_tensor presence, dure_tensor counts) {
  const uint64_t K = config->experts.route.count;
  const uint64_t shape[2] = {rows, K}, stride[2] = {K, 1}, column[3] = {rows, K, 1};
  const dure_tensor weights = dure_tensor_reshape(p, weights_of_choices(p, config, rows, presence), 3, column);
  dure_tensor operands[DURE_MAX_OPERANDS] = {dure_tensor_view(p, router->experts, 2, shape, stride, first * K), weights,
                                             counts};
  const dure_op_attributes attributes = {.embedding = {.row_count = config->experts.count}};
  dure_program_call(p, DURE_OP_embedding_gradient, operands, &attributes, 1u << 2);
}

static dure_tensor new_counts(dure_program *p, const dure_model_config *config, uint64_t sequences, float first) {
  const uint64_t shape[2] = {sequences * config->experts.count, 1};
  const dure_tensor counts = dure_tensor_temporary(p, "expert counts", DURE_DTYPE_F32, 2, shape);
  dure_fill(p, counts, first);
  return counts;
}

// counts [.., 1] * share [1] * factor
static dure_tensor scaled(dure_program *p, dure_tensor counts, dure_tensor share, double factor) {
  const uint64_t one[2] = {1, 1};
  return dure_scale(p, dure_matmul(p, counts, dure_tensor_reshape(p, share, 2, one), DURE_ABSENT, false, false),
                    (float)factor);
}

static dure_tensor one_sequence(dure_program *p, const dure_model_config *config, dure_tensor table, uint64_t index) {
  const uint64_t E = config->experts.count, shape[2] = {E, 1}, stride[2] = {1, 1};
  return dure_tensor_view(p, table, 2, shape, stride, index * E);
}

// The scores of all experts, in falling order, and the gradient of each: its expert's entry of the row's table, times
// the row's presence.
static dure_gradient_target pair_of(dure_program *p, const dure_model_config *config, const dure_router *router,
                                    uint64_t sequences, dure_tensor tables, dure_tensor presence) {
  const uint64_t E = config->experts.count, R = rows_of(p, router), each = R / sequences;
  const bool is_sigmoid = config->experts.route.is_sigmoid;
  const dure_route_attributes all = {
      .count = (uint32_t)E, .is_sigmoid = is_sigmoid, .is_normalised = is_sigmoid, .factor = 1};
  const dure_routing scores = dure_route(p, router->logits, DURE_ABSENT, &all);  // [R, E]
  const uint64_t shape[2] = {R, E}, part[2] = {each, E}, stride[2] = {E, 1};
  const uint64_t rows[3] = {each, E, 1}, row_stride[3] = {E, 1, 1};
  const dure_tensor gradient = dure_tensor_temporary(p, "balance gradient", DURE_DTYPE_F32, 2, shape);
  for (uint64_t s = 0; s < sequences; s++) {
    dure_tensor operands[DURE_MAX_OPERANDS] = {one_sequence(p, config, tables, s),
                                               dure_tensor_view(p, scores.experts, 2, part, stride, s * each * E),
                                               dure_tensor_view(p, gradient, 3, rows, row_stride, s * each * E)};
    dure_program_call(p, DURE_OP_embedding, operands, NULL, 0);
  }
  const uint64_t present[2] = {R, 1};
  return (dure_gradient_target){
      scores.weights,
      dure_expert_combine(p, gradient, dure_tensor_reshape(p, presence, 2, present), DURE_ABSENT, DURE_ABSENT)};
}

size_t dure_balance_record(dure_program *p, const dure_model_config *config, const dure_router *routers,
                           uint64_t sequences, dure_tensor share, dure_tensor presence,
                           dure_gradient_target *out_pairs) {
  const dure_expert_config *experts = &config->experts;
  const bool is_of_all = experts->balance_scope == DURE_BALANCE_ALL_LAYERS;
  size_t count = 0, layers = 0;
  if (!(experts->balance_weight > 0)) return 0;
  dure_program_scope(p, "expert balance");
  if (experts->balance_scope != DURE_BALANCE_SEQUENCE) sequences = 1;
  dure_tensor counts = is_of_all ? new_counts(p, config, 1, 0) : DURE_ABSENT;
  for (uint32_t layer = 0; layer < config->layer_count; layer++) {
    if (!config->is_sparse[layer]) continue;
    if (is_of_all) add_counts(p, config, &routers[layer], 0, rows_of(p, &routers[layer]), presence, counts);
    layers++;
  }
  for (uint32_t layer = 0; layer < config->layer_count; layer++) {
    if (!config->is_sparse[layer]) continue;
    const uint64_t rows = rows_of(p, &routers[layer]), each = rows / sequences;
    if (!is_of_all) {
      counts = new_counts(p, config, sequences, 0);
      // Of sequences each has its own counts, those of padding too, which reach nothing.
      const dure_tensor counted = sequences > 1 ? DURE_ABSENT : presence;
      for (uint64_t s = 0; s < sequences; s++)
        add_counts(p, config, &routers[layer], s * each, each, counted, one_sequence(p, config, counts, s));
    }
    // d/d(score) of weight * E * sum of (counts / N) (scores / N) over N rows; and divided by the number of choices,
    // and averaged over sequences, where it is so.
    const double N = is_of_all ? (double)layers * (double)rows : (double)each;
    const double parts = is_of_all ? 1 : (double)experts->route.count * (double)sequences;
    const double factor = experts->balance_weight * (double)experts->count / (N * N * parts);
    out_pairs[count++] = pair_of(p, config, &routers[layer], sequences, scaled(p, counts, share, factor), presence);
  }
  return count;
}

void dure_balance_record_biases(dure_program *p, const dure_model_config *config, const dure_parameter_layout *layout,
                                const dure_router *routers, dure_tensor share, dure_tensor presence, bool adds,
                                const dure_tensor *gradients) {
  if (!dure_model_config_has(config, DURE_TRAIT_ROUTER_BIAS)) return;
  dure_program_scope(p, "expert balance");
  for (uint32_t layer = 0; layer < config->layer_count; layer++) {
    if (!config->is_sparse[layer]) continue;
    const uint64_t rows = rows_of(p, &routers[layer]), E = config->experts.count;
    const float mean = (float)((double)rows * config->experts.route.count / (double)E);
    const dure_tensor excess = new_counts(p, config, 1, -mean);
    add_counts(p, config, &routers[layer], 0, rows, presence, excess);
    const dure_parameter *bias = dure_parameter_find(layout, DURE_ROLE_ROUTER_BIAS, layer);
    const dure_tensor part = scaled(p, excess, share, (double)bias_gradient_scale / (double)mean);
    const uint64_t shape[1] = {E};
    dure_tensor operands[DURE_MAX_OPERANDS] = {dure_tensor_reshape(p, part, 1, shape),
                                               dure_parameter_view(p, gradients, bias)};
    dure_program_call(p, DURE_OP_copy, operands, NULL, adds ? 1u << 1 : 0);
  }
}

static bool has_label(const uint32_t *labels, uint64_t tokens) {
  for (uint64_t i = 0; i < tokens; i++)
    if (labels[i] != DURE_IGNORE_LABEL) return true;
  return false;
}

void dure_balance_presence(const uint32_t *labels, uint64_t sequences, uint64_t tokens, float *out_presence) {
  uint64_t present = 0;
  for (uint64_t s = 0; s < sequences; s++) present += has_label(labels + s * tokens, tokens);
  for (uint64_t s = 0; s < sequences; s++) {
    const float value = has_label(labels + s * tokens, tokens) ? (float)sequences / (float)present : 0;
    for (uint64_t i = 0; i < tokens; i++) out_presence[s * tokens + i] = value;
  }
}
