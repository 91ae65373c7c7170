// A whole model's backward pass against finite differences: two layers shaped like GPT-2's, tied weights, every
// parameter a view into one flat tensor, as models keep them.
#include "problem.h"
#include "tests/suite.h"

enum { B = 2, T = 4, C = 6, H = 2, V = 7, LAYERS = 2, HIDDEN = 4 * C };

// Where parameters lie in the flat tensor; some elements between them belong to none.
typedef struct cursor {
  problem_build *build;
  uint64_t offset;
} cursor;

static dure_tensor next(cursor *at, uint64_t rows, uint64_t columns) {
  dure_tensor view = dure_tensor_view(at->build->program, at->build->inputs[0], 2, (uint64_t[]){rows, columns},
                                      (uint64_t[]){columns, 1}, at->offset);
  at->offset += rows * columns + 1;
  return view;
}

static dure_tensor next_vector(cursor *at, uint64_t count) {
  dure_tensor view = dure_tensor_view(at->build->program, at->build->inputs[0], 1, &count, (uint64_t[]){1}, at->offset);
  at->offset += count + 1;
  return view;
}

static dure_tensor normalise(cursor *at, dure_tensor x) {
  dure_tensor weight = next_vector(at, C), bias = next_vector(at, C);
  return dure_layer_norm(at->build->program, x, weight, bias, 1e-5f);
}

static dure_tensor project(cursor *at, dure_tensor x, uint64_t inputs, uint64_t outputs) {
  dure_tensor weight = next(at, inputs, outputs), bias = next_vector(at, outputs);
  return dure_matmul(at->build->program, x, weight, bias, false, false);
}

static dure_tensor attend(cursor *at, dure_tensor x) {
  dure_program *p = at->build->program;
  const uint64_t shape[4] = {B, T, H, C / H}, stride[4] = {(uint64_t)T * 3 * C, (uint64_t)3 * C, C / H, 1};
  dure_tensor qkv = project(at, x, C, (uint64_t)3 * C);
  dure_tensor q = dure_tensor_view(p, qkv, 4, shape, stride, 0);
  dure_tensor k = dure_tensor_view(p, qkv, 4, shape, stride, C);
  dure_tensor v = dure_tensor_view(p, qkv, 4, shape, stride, (uint64_t)2 * C);
  dure_tensor y = dure_attention(p, q, k, v, 0.577f, 0);
  return project(at, dure_tensor_reshape(p, y, 3, (uint64_t[]){B, T, C}), C, C);
}

static dure_tensor build_model(problem_build *b) {
  dure_program *p = b->program;
  cursor at = {b, 3};
  dure_tensor tokens = next(&at, V, C), positions = next(&at, T, C);
  dure_tensor x = dure_embedding(p, tokens, b->inputs[1]);
  dure_embedding_add(p, positions, b->inputs[2], x);
  for (int layer = 0; layer < LAYERS; layer++) {
    x = dure_add(p, x, attend(&at, normalise(&at, x)));
    dure_tensor hidden =
        dure_activation_apply(p, project(&at, normalise(&at, x), C, HIDDEN), DURE_ACTIVATION_GELU_TANH);
    x = dure_add(p, x, project(&at, hidden, HIDDEN, C));
  }
  x = normalise(&at, x);
  return dure_cross_entropy(p, dure_matmul(p, x, tokens, DURE_ABSENT, false, true), b->inputs[3]);
}

enum {
  LAYER_COUNT = 2 * 2 * (C + 1) + (C * 3 * C + 1) + (3 * C + 1) + (C * C + 1) + (C + 1) + (C * HIDDEN + 1) +
                (HIDDEN + 1) + (HIDDEN * C + 1) + (C + 1),
  PARAMETER_COUNT = 3 + (V * C + 1) + (T * C + 1) + LAYERS * LAYER_COUNT + 2 * (C + 1),
  GAP_COUNT = 3 + 2 + 12 * LAYERS + 2,  // before the first parameter and after each
};

static const problem model = {
    .name = "two layers",
    .inputs = {{.label = "parameters", .rank = 1, .shape = {PARAMETER_COUNT}, .scale = 0.7},
               {.label = "tokens", .rank = 2, .shape = {B, T}, .index_limit = V},
               {.label = "positions", .rank = 2, .shape = {B, T}, .index_limit = T},
               {.label = "labels", .rank = 2, .shape = {B, T}, .index_limit = V, .with_ignored = true}},
    .build = build_model};

static const double tolerance = 1e-6;

START_TEST(the_gradient_of_two_layers_equals_finite_differences) {
  check_problem(&model, &(problem_options){.seed = 1.0 / (B * T), .gap_count = GAP_COUNT}, tolerance);
}
END_TEST

START_TEST(a_second_micro_step_adds_to_the_gradient_of_two_layers) {
  check_problem(&model, &(problem_options){.seed = 1.0 / (B * T), .accumulate = true}, tolerance);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("gradient of a model");
  TCase *tests = tcase_create("finite differences");
  tcase_set_timeout(tests, 300);
  tcase_add_test(tests, the_gradient_of_two_layers_equals_finite_differences);
  tcase_add_test(tests, a_second_micro_step_adds_to_the_gradient_of_two_layers);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
