// Every gradient rule of ops.def against finite differences, in f64.
#include "problem.h"
#include "tests/suite.h"

// ---- what is differentiated -------------------------------------------------------------------------------------

static dure_tensor build_copy(problem_build *b) {
  dure_tensor operands[DURE_MAX_OPERANDS] = {b->inputs[0]};
  dure_program_call(b->program, DURE_OP_copy, operands, NULL, 0);
  return problem_weigh(b, operands[1]);
}

static dure_tensor build_add(problem_build *b) {
  return problem_weigh(b, dure_add(b->program, b->inputs[0], b->inputs[1]));
}

// x + f(x) + f(x): three contributions to the gradient of x
static dure_tensor build_add_repeated(problem_build *b) {
  dure_tensor f = dure_activation_apply(b->program, b->inputs[0], DURE_ACTIVATION_SILU);
  return problem_weigh(b, dure_add(b->program, dure_add(b->program, b->inputs[0], f), f));
}

static dure_tensor build_embedding(problem_build *b) {
  return problem_weigh(b, dure_embedding(b->program, b->inputs[0], b->inputs[1]));
}

// Tokens and positions: the second table's rows are added to the first's.
static dure_tensor build_embedding_add(problem_build *b) {
  dure_tensor y = dure_embedding(b->program, b->inputs[0], b->inputs[1]);
  dure_embedding_add(b->program, b->inputs[2], b->inputs[3], y);
  return problem_weigh(b, y);
}

static dure_tensor build_matmul(problem_build *b, bool transpose_a, bool transpose_b) {
  dure_tensor y = dure_matmul(b->program, b->inputs[0], b->inputs[1], b->inputs[2], transpose_a, transpose_b);
  return problem_weigh(b, y);
}
static dure_tensor build_matmul_nn(problem_build *b) { return build_matmul(b, false, false); }
static dure_tensor build_matmul_nt(problem_build *b) { return build_matmul(b, false, true); }
static dure_tensor build_matmul_tn(problem_build *b) { return build_matmul(b, true, false); }
static dure_tensor build_matmul_tt(problem_build *b) { return build_matmul(b, true, true); }

// x x^T: one tensor as both operands
static dure_tensor build_matmul_square(problem_build *b) {
  return problem_weigh(b, dure_matmul(b->program, b->inputs[0], b->inputs[0], DURE_ABSENT, false, true));
}

// Columns 1 to 3 of x [5, 6] times w: the rest of x has no gradient
static dure_tensor build_matmul_view(problem_build *b) {
  dure_tensor part = dure_tensor_view(b->program, b->inputs[0], 2, (uint64_t[]){5, 3}, (uint64_t[]){6, 1}, 1);
  dure_tensor other = dure_tensor_view(b->program, b->inputs[0], 2, (uint64_t[]){5, 2}, (uint64_t[]){6, 1}, 4);
  dure_tensor y = dure_matmul(b->program, part, b->inputs[1], DURE_ABSENT, false, false);
  dure_tensor z = dure_matmul(b->program, other, b->inputs[2], DURE_ABSENT, false, false);
  dure_tensor first = dure_tensor_view(b->program, b->inputs[0], 2, (uint64_t[]){5, 1}, (uint64_t[]){6, 1}, 0);
  dure_tensor w = dure_matmul(b->program, first, b->inputs[3], DURE_ABSENT, false, false);
  return problem_weigh(b, dure_add(b->program, dure_add(b->program, y, z), w));
}

static dure_tensor build_layer_norm(problem_build *b) {
  return problem_weigh(b, dure_layer_norm(b->program, b->inputs[0], b->inputs[1], b->inputs[2], 1e-5f));
}

static dure_tensor build_layer_norm_bias(problem_build *b) {
  return problem_weigh(b, dure_layer_norm(b->program, b->inputs[0], DURE_ABSENT, b->inputs[1], 1e-5f));
}

static dure_tensor build_activation(problem_build *b, dure_activation kind) {
  return problem_weigh(b, dure_activation_apply(b->program, b->inputs[0], kind));
}
static dure_tensor build_gelu_tanh(problem_build *b) { return build_activation(b, DURE_ACTIVATION_GELU_TANH); }
static dure_tensor build_gelu_erf(problem_build *b) { return build_activation(b, DURE_ACTIVATION_GELU_ERF); }
static dure_tensor build_relu(problem_build *b) { return build_activation(b, DURE_ACTIVATION_RELU); }
static dure_tensor build_silu(problem_build *b) { return build_activation(b, DURE_ACTIVATION_SILU); }
static dure_tensor build_tanh(problem_build *b) { return build_activation(b, DURE_ACTIVATION_TANH); }

static dure_tensor build_route(problem_build *b, dure_route_attributes attributes) {
  return problem_weigh(b, dure_route(b->program, b->inputs[0], DURE_ABSENT, &attributes).weights);
}
static dure_tensor build_route_shares(problem_build *b) {
  return build_route(b, (dure_route_attributes){.count = 2, .is_normalised = true, .factor = 1});
}
static dure_tensor build_route_parts(problem_build *b) {
  return build_route(b, (dure_route_attributes){.count = 3, .factor = 1.5f});
}
static dure_tensor build_route_groups(problem_build *b) {
  return build_route(b, (dure_route_attributes){.count = 3,
                                                .is_sigmoid = true,
                                                .is_normalised = true,
                                                .factor = 2.5f,
                                                .group_count = 3,
                                                .group_limit = 2,
                                                .group_best = 2});
}

// Two experts of three for each row of x, two products each, and x once more.
static dure_tensor build_experts(problem_build *b) {
  dure_program *p = b->program;
  const dure_route_attributes attributes = {.count = 2, .factor = 1};
  const dure_tensor logits = dure_matmul(p, b->inputs[0], b->inputs[1], DURE_ABSENT, false, true);
  const dure_routing routing = dure_route(p, logits, DURE_ABSENT, &attributes);
  const dure_expert_rows order = dure_expert_order(p, routing.experts, 3);
  dure_tensor h = dure_embedding(p, b->inputs[0], order.rows);
  h = dure_expert_matmul(p, h, order.offsets, b->inputs[2], true);
  h = dure_expert_matmul(p, h, order.offsets, b->inputs[3], false);
  return problem_weigh(b, dure_expert_combine(p, h, routing.weights, order.places, b->inputs[0]));
}

static dure_tensor build_heads_spread(problem_build *b) {
  return problem_weigh(b, dure_copy_heads(b->program, b->inputs[0], 5, DURE_ABSENT));
}
static dure_tensor build_heads_sum(problem_build *b) {
  return problem_weigh(b, dure_copy_heads(b->program, b->inputs[0], 1, DURE_ABSENT));
}

// Heads of 6 elements: 4 of their own, and 2 that all share.
static dure_tensor build_heads_assembled(problem_build *b) {
  dure_program *p = b->program;
  const uint64_t shape[4] = {1, 3, 2, 6}, stride[4] = {36, 12, 6, 1};
  const dure_tensor whole = dure_tensor_temporary(p, "heads", dure_tensor_dtype(p, b->inputs[0]), 4, shape);
  dure_copy_heads(p, b->inputs[0], 0, dure_tensor_view(p, whole, 4, (const uint64_t[]){1, 3, 2, 4}, stride, 0));
  dure_copy_heads(p, b->inputs[1], 2, dure_tensor_view(p, whole, 4, (const uint64_t[]){1, 3, 2, 2}, stride, 4));
  return problem_weigh(b, whole);
}

// Every row times a sigmoid of its own.
static dure_tensor build_gate(problem_build *b) {
  dure_program *p = b->program;
  const dure_route_attributes attributes = {.count = 1, .is_sigmoid = true, .factor = 1};
  const dure_tensor logits = dure_matmul(p, b->inputs[0], b->inputs[1], DURE_ABSENT, false, true);
  const dure_routing routing = dure_route(p, logits, DURE_ABSENT, &attributes);
  return problem_weigh(b, dure_expert_combine(p, b->inputs[0], routing.weights, DURE_ABSENT, DURE_ABSENT));
}

static dure_tensor build_scale(problem_build *b) {
  return problem_weigh(b, dure_scale(b->program, b->inputs[0], -2.5f));
}

static dure_tensor build_multiply(problem_build *b) {
  return problem_weigh(b, dure_multiply(b->program, b->inputs[0], b->inputs[1]));
}
static dure_tensor build_square(problem_build *b) {
  return problem_weigh(b, dure_multiply(b->program, b->inputs[0], b->inputs[0]));
}

static dure_tensor build_rms_norm(problem_build *b) {
  return problem_weigh(b, dure_rms_norm(b->program, b->inputs[0], b->inputs[1], 1e-5f, 0));
}
static dure_tensor build_rms_norm_offset(problem_build *b) {
  return problem_weigh(b, dure_rms_norm(b->program, b->inputs[0], b->inputs[1], 1e-5f, 1));
}
static dure_tensor build_rms_norm_plain(problem_build *b) {
  return problem_weigh(b, dure_rms_norm(b->program, b->inputs[0], DURE_ABSENT, 1e-5f, 0));
}

static dure_tensor build_gated(problem_build *b, dure_activation kind) {
  return problem_weigh(b, dure_gated_activation(b->program, b->inputs[0], b->inputs[1], kind));
}
static dure_tensor build_gated_silu(problem_build *b) { return build_gated(b, DURE_ACTIVATION_SILU); }
static dure_tensor build_gated_gelu(problem_build *b) { return build_gated(b, DURE_ACTIVATION_GELU_TANH); }
static dure_tensor build_gated_relu(problem_build *b) { return build_gated(b, DURE_ACTIVATION_RELU); }

// gate and up as the halves of one projection [3, 2 x 4]
static dure_tensor build_gated_fused(problem_build *b) {
  dure_tensor fused = dure_matmul(b->program, b->inputs[0], b->inputs[1], DURE_ABSENT, false, false);
  dure_tensor gate = dure_tensor_view(b->program, fused, 2, (uint64_t[]){3, 4}, (uint64_t[]){8, 1}, 0);
  dure_tensor up = dure_tensor_view(b->program, fused, 2, (uint64_t[]){3, 4}, (uint64_t[]){8, 1}, 4);
  return problem_weigh(b, dure_gated_activation(b->program, gate, up, DURE_ACTIVATION_SILU));
}

static dure_tensor build_rotary(problem_build *b, bool is_interleaved, bool is_inverse) {
  const dure_rotary_attributes attributes = {4, is_interleaved, is_inverse};
  dure_tensor y = dure_rotary(b->program, b->inputs[0], b->inputs[1], b->inputs[2], &attributes);
  return problem_weigh(b, y);
}
static dure_tensor build_rotary_halves(problem_build *b) { return build_rotary(b, false, false); }
static dure_tensor build_rotary_interleaved(problem_build *b) { return build_rotary(b, true, false); }
static dure_tensor build_rotary_inverse(problem_build *b) { return build_rotary(b, false, true); }

static dure_tensor build_attention(problem_build *b) {
  return problem_weigh(b, dure_attention(b->program, b->inputs[0], b->inputs[1], b->inputs[2], 0.6f, 0));
}
static dure_tensor build_attention_window(problem_build *b) {
  return problem_weigh(b, dure_attention(b->program, b->inputs[0], b->inputs[1], b->inputs[2], 0.6f, 3));
}

static dure_tensor build_attention_soft_cap(problem_build *b) {
  const dure_attention_options options = {.soft_cap = 1.5f};
  return problem_weigh(b, dure_attention_with(b->program, b->inputs[0], b->inputs[1], b->inputs[2], 0.6f, &options));
}
static dure_tensor build_attention_slopes(problem_build *b) {
  const dure_attention_options options = {.slopes = b->inputs[3]};
  return problem_weigh(b, dure_attention_with(b->program, b->inputs[0], b->inputs[1], b->inputs[2], 0.6f, &options));
}
static dure_tensor build_attention_documents(problem_build *b) {
  const dure_attention_options options = {.document_starts = b->inputs[3]};
  return problem_weigh(b, dure_attention_with(b->program, b->inputs[0], b->inputs[1], b->inputs[2], 0.6f, &options));
}
static dure_tensor build_attention_options(problem_build *b) {
  const dure_attention_options options = {
      .window = 4, .soft_cap = 1.5f, .document_starts = b->inputs[3], .slopes = b->inputs[4]};
  return problem_weigh(b, dure_attention_with(b->program, b->inputs[0], b->inputs[1], b->inputs[2], 0.6f, &options));
}

// q, k and v as parts of one projection [B = 2, T = 4, (H + 2 G) D], H = 4, G = 2, D = 3
static dure_tensor build_attention_fused(problem_build *b) {
  enum { B = 2, T = 4, H = 4, G = 2, D = 3, WIDTH = (H + 2 * G) * D };
  dure_tensor qkv = dure_matmul(b->program, b->inputs[0], b->inputs[1], b->inputs[2], false, false);
  const uint64_t stride[4] = {(uint64_t)T * WIDTH, WIDTH, D, 1};
  dure_tensor q = dure_tensor_view(b->program, qkv, 4, (uint64_t[]){B, T, H, D}, stride, 0);
  dure_tensor k = dure_tensor_view(b->program, qkv, 4, (uint64_t[]){B, T, G, D}, stride, (uint64_t)H * D);
  dure_tensor v = dure_tensor_view(b->program, qkv, 4, (uint64_t[]){B, T, G, D}, stride, (uint64_t)(H + G) * D);
  return problem_weigh(b, dure_attention(b->program, q, k, v, 0.5f, 0));
}

// One tensor as queries, keys and values.
static dure_tensor build_attention_self(problem_build *b) {
  return problem_weigh(b, dure_attention(b->program, b->inputs[0], b->inputs[0], b->inputs[0], 0.5f, 0));
}

static dure_tensor build_cross_entropy(
    problem_build *b) {  // its logits are overwritten, so they are not the input itself
  dure_tensor logits = dure_matmul(b->program, b->inputs[0], b->inputs[1], DURE_ABSENT, false, false);
  return dure_cross_entropy(b->program, logits, b->inputs[2]);
}

// Two matmuls with an activation between them and a residual: the second's gradient goes on through the activation.
static dure_tensor build_matmul_feed_forward(problem_build *b) {
  dure_tensor h = dure_matmul_with(
      b->program, b->inputs[0], b->inputs[1],
      &(dure_matmul_options){.bias = b->inputs[2], .has_activation = true, .activation = DURE_ACTIVATION_GELU_TANH});
  return problem_weigh(b, dure_matmul_with(b->program, h, b->inputs[3],
                                           &(dure_matmul_options){.residual = b->inputs[0], .transpose_b = true}));
}

// Read twice, so that its gradient goes through the activation by itself.
static dure_tensor build_matmul_activation_used_twice(problem_build *b) {
  dure_tensor h = dure_matmul_with(b->program, b->inputs[0], b->inputs[1],
                                   &(dure_matmul_options){.has_activation = true, .activation = DURE_ACTIVATION_SILU});
  return problem_weigh(b, dure_matmul(b->program, h, h, DURE_ABSENT, false, true));
}

static dure_tensor build_matmul_activation_and_residual(problem_build *b) {
  return problem_weigh(b, dure_matmul_with(b->program, b->inputs[0], b->inputs[1],
                                           &(dure_matmul_options){.residual = b->inputs[0],
                                                                  .has_activation = true,
                                                                  .activation = DURE_ACTIVATION_GELU_ERF}));
}

static dure_tensor build_linear_cross_entropy(problem_build *b) {
  return dure_linear_cross_entropy(b->program, b->inputs[0], b->inputs[1], b->inputs[2], 0);
}

static dure_tensor build_linear_cross_entropy_capped(problem_build *b) {
  return dure_linear_cross_entropy(b->program, b->inputs[0], b->inputs[1], b->inputs[2], 4);
}

// The weight has a second gradient, by way of hidden.
static dure_tensor build_linear_cross_entropy_tied(problem_build *b) {
  dure_tensor doubled = dure_add(b->program, b->inputs[0], b->inputs[0]);
  return dure_linear_cross_entropy(b->program, doubled, b->inputs[0], b->inputs[1], 0);
}

#define VALUES(name, dimensions, ...)                               \
  {                                                                 \
    .label = (name), .rank = (dimensions), .shape = { __VA_ARGS__ } \
  }
#define CONSTANTS(name, dimensions, ...) \
  { .label = (name), .rank = (dimensions), .shape = {__VA_ARGS__}, .is_constant = true }
#define DOCUMENTS(name, dimensions, ...) \
  { .label = (name), .rank = (dimensions), .shape = {__VA_ARGS__}, .index_limit = 1, .counts_up = true }
#define WIDE_VALUES(name, dimensions, ...) \
  { .label = (name), .rank = (dimensions), .shape = {__VA_ARGS__}, .scale = 2 }
#define AROUND_ZERO(name, dimensions, ...) \
  { .label = (name), .rank = (dimensions), .shape = {__VA_ARGS__}, .away_from_zero = true }
#define INDICES(limit, name, dimensions, ...) \
  { .label = (name), .rank = (dimensions), .shape = {__VA_ARGS__}, .index_limit = (limit) }
#define LABELS(limit, name, dimensions, ...) \
  { .label = (name), .rank = (dimensions), .shape = {__VA_ARGS__}, .index_limit = (limit), .with_ignored = true }

static const problem problems[] = {
    {"copy", DURE_OP_copy, {VALUES("x", 2, 3, 5)}, build_copy},
    {"add", DURE_OP_add, {VALUES("a", 2, 3, 5), VALUES("b", 2, 3, 5)}, build_add},
    {"add, a value used three times", DURE_OP_add, {VALUES("x", 2, 3, 5)}, build_add_repeated},
    {"embedding", DURE_OP_embedding, {VALUES("table", 2, 5, 3), INDICES(5, "indices", 2, 2, 4)}, build_embedding},
    {"embedding added to another",
     DURE_OP_embedding,
     {VALUES("tokens", 2, 5, 3), INDICES(5, "token_indices", 1, 6), VALUES("positions", 2, 4, 3),
      INDICES(4, "position_indices", 1, 6)},
     build_embedding_add},
    {"matmul nn", DURE_OP_matmul, {VALUES("a", 2, 4, 5), VALUES("b", 2, 5, 3)}, build_matmul_nn},
    {"matmul nn with bias",
     DURE_OP_matmul,
     {VALUES("a", 2, 4, 5), VALUES("b", 2, 5, 3), VALUES("bias", 1, 3)},
     build_matmul_nn},
    {"matmul nt with bias",
     DURE_OP_matmul,
     {VALUES("a", 2, 4, 5), VALUES("b", 2, 3, 5), VALUES("bias", 1, 3)},
     build_matmul_nt},
    {"matmul tn with bias",
     DURE_OP_matmul,
     {VALUES("a", 2, 5, 4), VALUES("b", 2, 5, 3), VALUES("bias", 1, 3)},
     build_matmul_tn},
    {"matmul tt with bias",
     DURE_OP_matmul,
     {VALUES("a", 2, 5, 4), VALUES("b", 2, 3, 5), VALUES("bias", 1, 3)},
     build_matmul_tt},
    {"matmul of [B, T, C] with bias",
     DURE_OP_matmul,
     {VALUES("a", 3, 2, 3, 4), VALUES("b", 2, 4, 5), VALUES("bias", 1, 5)},
     build_matmul_nn},
    {"matmul of [B, T, C], nt", DURE_OP_matmul, {VALUES("a", 3, 2, 3, 4), VALUES("b", 2, 5, 4)}, build_matmul_nt},
    {"matmul in a batch, nn", DURE_OP_matmul, {VALUES("a", 3, 2, 3, 4), VALUES("b", 3, 2, 4, 5)}, build_matmul_nn},
    {"matmul in a batch, nt", DURE_OP_matmul, {VALUES("a", 3, 2, 3, 4), VALUES("b", 3, 2, 5, 4)}, build_matmul_nt},
    {"matmul in a batch, tn", DURE_OP_matmul, {VALUES("a", 3, 2, 4, 3), VALUES("b", 3, 2, 4, 5)}, build_matmul_tn},
    {"matmul in a batch, tt", DURE_OP_matmul, {VALUES("a", 3, 2, 4, 3), VALUES("b", 3, 2, 5, 4)}, build_matmul_tt},
    {"matmul of a tensor with itself", DURE_OP_matmul, {VALUES("x", 2, 4, 3)}, build_matmul_square},
    {"matmul of views",
     DURE_OP_matmul,
     {VALUES("x", 2, 5, 6), VALUES("w", 2, 3, 4), VALUES("v", 2, 2, 4), VALUES("u", 2, 1, 4)},
     build_matmul_view},
    {"layer_norm",
     DURE_OP_layer_norm,
     {VALUES("x", 3, 2, 3, 7), VALUES("weight", 1, 7), VALUES("bias", 1, 7)},
     build_layer_norm},
    {"layer_norm with bias alone",
     DURE_OP_layer_norm,
     {VALUES("x", 2, 4, 5), VALUES("bias", 1, 5)},
     build_layer_norm_bias},
    {"layer_norm with weight alone",
     DURE_OP_layer_norm,
     {VALUES("x", 2, 4, 5), VALUES("weight", 1, 5)},
     build_layer_norm},
    {"layer_norm alone", DURE_OP_layer_norm, {VALUES("x", 2, 4, 5)}, build_layer_norm},
    {"activation gelu_tanh", DURE_OP_activation, {WIDE_VALUES("x", 2, 4, 9)}, build_gelu_tanh},
    {"activation gelu_erf", DURE_OP_activation, {WIDE_VALUES("x", 2, 4, 9)}, build_gelu_erf},
    {"activation relu", DURE_OP_activation, {AROUND_ZERO("x", 2, 4, 9)}, build_relu},
    {"activation silu", DURE_OP_activation, {WIDE_VALUES("x", 2, 4, 9)}, build_silu},
    {"activation tanh", DURE_OP_activation, {WIDE_VALUES("x", 2, 4, 9)}, build_tanh},
    {"scale", DURE_OP_scale, {VALUES("x", 2, 3, 5)}, build_scale},
    {"multiply", DURE_OP_multiply, {VALUES("a", 2, 3, 5), VALUES("b", 2, 3, 5)}, build_multiply},
    {"multiply of a tensor with itself", DURE_OP_multiply, {VALUES("a", 2, 3, 5)}, build_square},
    {"rms_norm", DURE_OP_rms_norm, {VALUES("x", 2, 4, 7), VALUES("w", 1, 7)}, build_rms_norm},
    {"rms_norm with an offset", DURE_OP_rms_norm, {VALUES("x", 3, 2, 2, 6), VALUES("w", 1, 6)}, build_rms_norm_offset},
    {"rms_norm without weights", DURE_OP_rms_norm, {VALUES("x", 2, 4, 7)}, build_rms_norm_plain},
    {"route: shares of the best", DURE_OP_route, {WIDE_VALUES("logits", 2, 5, 6)}, build_route_shares},
    {"route: parts of all", DURE_OP_route, {WIDE_VALUES("logits", 2, 5, 6)}, build_route_parts},
    {"route: sigmoids in groups", DURE_OP_route, {WIDE_VALUES("logits", 2, 5, 6)}, build_route_groups},
    {"mixture of experts",
     DURE_OP_expert_matmul,
     {VALUES("x", 2, 5, 4), VALUES("router", 2, 3, 4), VALUES("w", 3, 3, 6, 4), VALUES("v", 3, 3, 6, 4)},
     build_experts},
    {"copy_heads: one to all", DURE_OP_copy_heads, {VALUES("x", 4, 1, 3, 1, 4)}, build_heads_spread},
    {"copy_heads: all to one", DURE_OP_copy_heads, {VALUES("x", 4, 1, 3, 5, 4)}, build_heads_sum},
    {"copy_heads: into parts of wider heads",
     DURE_OP_copy_heads,
     {VALUES("x", 4, 1, 3, 2, 4), VALUES("one", 4, 1, 3, 1, 2)},
     build_heads_assembled},
    {"expert_combine", DURE_OP_expert_combine, {VALUES("x", 2, 5, 4), VALUES("gate", 2, 1, 4)}, build_gate},
    {"gated_activation silu",
     DURE_OP_gated_activation,
     {WIDE_VALUES("gate", 2, 3, 5), VALUES("up", 2, 3, 5)},
     build_gated_silu},
    {"gated_activation gelu_tanh",
     DURE_OP_gated_activation,
     {WIDE_VALUES("gate", 2, 3, 5), VALUES("up", 2, 3, 5)},
     build_gated_gelu},
    {"gated_activation relu",
     DURE_OP_gated_activation,
     {{.label = "gate", .rank = 2, .shape = {3, 5}, .away_from_zero = true}, VALUES("up", 2, 3, 5)},
     build_gated_relu},
    {"gated_activation of a fused projection",
     DURE_OP_gated_activation,
     {VALUES("x", 2, 3, 6), VALUES("w", 2, 6, 8)},
     build_gated_fused},
    {"rotary",
     DURE_OP_rotary,
     {VALUES("x", 4, 2, 3, 2, 6), INDICES(5, "positions", 2, 2, 3), CONSTANTS("table", 2, 5, 4)},
     build_rotary_halves},
    {"rotary interleaved",
     DURE_OP_rotary,
     {VALUES("x", 4, 2, 3, 2, 6), INDICES(5, "positions", 2, 2, 3), CONSTANTS("table", 2, 5, 4)},
     build_rotary_interleaved},
    {"rotary inverse",
     DURE_OP_rotary,
     {VALUES("x", 4, 2, 3, 2, 6), INDICES(5, "positions", 2, 2, 3), CONSTANTS("table", 2, 5, 4)},
     build_rotary_inverse},
    {"attention",
     DURE_OP_attention,
     {VALUES("q", 4, 2, 5, 2, 3), VALUES("k", 4, 2, 5, 2, 3), VALUES("v", 4, 2, 5, 2, 3)},
     build_attention},
    {"attention, shared key heads",
     DURE_OP_attention,
     {VALUES("q", 4, 1, 5, 4, 3), VALUES("k", 4, 1, 5, 2, 3), VALUES("v", 4, 1, 5, 2, 3)},
     build_attention},
    {"attention in a window",
     DURE_OP_attention,
     {VALUES("q", 4, 1, 7, 2, 3), VALUES("k", 4, 1, 7, 1, 3), VALUES("v", 4, 1, 7, 1, 3)},
     build_attention_window},
    {"attention with a soft cap",
     DURE_OP_attention,
     {VALUES("q", 4, 1, 5, 2, 3), VALUES("k", 4, 1, 5, 2, 3), VALUES("v", 4, 1, 5, 2, 3)},
     build_attention_soft_cap},
    {"attention with slopes",
     DURE_OP_attention,
     {VALUES("q", 4, 1, 5, 4, 3), VALUES("k", 4, 1, 5, 2, 3), VALUES("v", 4, 1, 5, 2, 3), CONSTANTS("slopes", 1, 4)},
     build_attention_slopes},
    {"attention within documents",
     DURE_OP_attention,
     {VALUES("q", 4, 2, 5, 2, 3), VALUES("k", 4, 2, 5, 1, 3), VALUES("v", 4, 2, 5, 1, 3), DOCUMENTS("starts", 2, 2, 5)},
     build_attention_documents},
    {"attention with everything",
     DURE_OP_attention,
     {VALUES("q", 4, 1, 7, 2, 3), VALUES("k", 4, 1, 7, 1, 3), VALUES("v", 4, 1, 7, 1, 3), DOCUMENTS("starts", 2, 1, 7),
      CONSTANTS("slopes", 1, 2)},
     build_attention_options},
    {"attention on views of one projection",
     DURE_OP_attention,
     {VALUES("x", 3, 2, 4, 5), VALUES("w", 2, 5, 24), VALUES("bias", 1, 24)},
     build_attention_fused},
    {"attention of a tensor with itself", DURE_OP_attention, {VALUES("x", 4, 2, 4, 2, 3)}, build_attention_self},
    {"cross_entropy",
     DURE_OP_cross_entropy,
     {VALUES("x", 2, 6, 4), VALUES("w", 2, 4, 7), INDICES(7, "labels", 1, 6)},
     build_cross_entropy},
    {"cross_entropy of [B, T, V] with ignored labels",
     DURE_OP_cross_entropy,
     {VALUES("x", 3, 2, 3, 4), VALUES("w", 2, 4, 7), LABELS(7, "labels", 2, 2, 3)},
     build_cross_entropy},
    {"matmul, activation, matmul, residual",
     DURE_OP_matmul,
     {VALUES("x", 3, 2, 3, 4), VALUES("w", 2, 4, 5), VALUES("bias", 1, 5), VALUES("v", 2, 4, 5)},
     build_matmul_feed_forward},
    {"matmul with an activation, read twice",
     DURE_OP_matmul,
     {VALUES("x", 2, 3, 4), VALUES("w", 2, 4, 5)},
     build_matmul_activation_used_twice},
    {"matmul with an activation and a residual",
     DURE_OP_matmul,
     {VALUES("x", 2, 3, 4), VALUES("w", 2, 4, 4)},
     build_matmul_activation_and_residual},
    {"linear_cross_entropy",
     DURE_OP_linear_cross_entropy,
     {VALUES("hidden", 3, 2, 3, 4), VALUES("w", 2, 7, 4), LABELS(7, "labels", 2, 2, 3)},
     build_linear_cross_entropy},
    {"linear_cross_entropy in several chunks",
     DURE_OP_linear_cross_entropy,
     {VALUES("hidden", 2, 130, 2), VALUES("w", 2, 3, 2), LABELS(3, "labels", 1, 130)},
     build_linear_cross_entropy},
    {"linear_cross_entropy, soft-capped",
     DURE_OP_linear_cross_entropy,
     {VALUES("hidden", 3, 2, 3, 4), VALUES("w", 2, 7, 4), LABELS(7, "labels", 2, 2, 3)},
     build_linear_cross_entropy_capped},
    {"linear_cross_entropy, hidden made of the weight",
     DURE_OP_linear_cross_entropy,
     {VALUES("w", 2, 7, 4), LABELS(7, "labels", 1, 7)},
     build_linear_cross_entropy_tied},
};
enum { problem_count = sizeof(problems) / sizeof(problems[0]) };

static const double tolerance = 1e-7;

START_TEST(a_gradient_equals_finite_differences) {
  check_problem(&problems[_i], &(problem_options){.seed = 1}, tolerance);
}
END_TEST

START_TEST(a_gradient_is_added_and_scaled_by_its_seed) {
  check_problem(&problems[_i], &(problem_options){.seed = -0.37, .accumulate = true}, tolerance);
}
END_TEST

START_TEST(every_gradient_rule_is_tested) {
  for (int op = 0; op < DURE_OP_COUNT; op++) {
    bool is_tested = dure_op_get((dure_op)op)->gradient == NULL;
    for (size_t i = 0; i < problem_count; i++) is_tested = is_tested || problems[i].op == (dure_op)op;
    ck_assert_msg(is_tested, "no problem differentiates %s", dure_op_get((dure_op)op)->name);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("gradients of ops");
  TCase *tests = tcase_create("finite differences");
  tcase_set_timeout(tests, 120);
  tcase_add_loop_test(tests, a_gradient_equals_finite_differences, 0, problem_count);
  tcase_add_loop_test(tests, a_gradient_is_added_and_scaled_by_its_seed, 0, problem_count);
  tcase_add_test(tests, every_gradient_rule_is_tested);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
