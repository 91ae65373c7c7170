// Recomputation in the backward pass, the loss in chunks, and gradients that pass their memory on: results are the same
// bits, memory is less. On the reference device.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"
#include "runtime/random.h"
#include "tests/suite.h"

enum { LAYERS = 4, R = 48, C = 16, INNER = 64, V = 129, PARAMETERS = LAYERS * (2 * C + 2 * C * INNER) + V * C };

static dure_device *device;
static dure_stream *stream;

static void set_up(void) {
  ck_assert_ptr_null(dure_device_open("reference", &device));
  ck_assert_ptr_null(dure_stream_create(device, &stream));
}

static void tear_down(void) {
  dure_stream_destroy(stream);
  dure_device_close(device);
}

typedef struct network {
  dure_program *program;
  dure_tensor x, pool, gradients, labels, seed, loss;
  uint64_t used;  // elements of the pool
} network;

static dure_tensor parameter(network *n, uint64_t rows, uint64_t columns) {
  uint64_t shape[2] = {rows, columns}, stride[2] = {columns, 1};
  dure_tensor view = rows == 1 ? dure_tensor_view(n->program, n->pool, 1, &columns, stride + 1, n->used)
                               : dure_tensor_view(n->program, n->pool, 2, shape, stride, n->used);
  n->used += rows * columns;
  return view;
}

// A copy of x [R, C] that two calls write, a half each.
static dure_tensor put_together(dure_program *p, dure_tensor x) {
  const uint64_t shape[2] = {R, C}, half[4] = {1, R, 1, C / 2}, stride[4] = {R * C, C, C, 1};
  dure_tensor y = dure_tensor_temporary(p, "halves", DURE_DTYPE_F32, 2, shape);
  for (uint64_t i = 0; i < 2; i++)
    dure_copy_heads(p, dure_tensor_view(p, x, 4, half, stride, i * C / 2), 0,
                    dure_tensor_view(p, y, 4, half, stride, i * C / 2));
  return y;
}

// Norm, two matmuls with an activation between them, and a residual sum, LAYERS times; then logits against labels.
static network build(bool in_chunks, const dure_gradient_options *options) {
  network n = {.program = dure_program_create()};
  dure_program *p = n.program;
  const uint64_t x_shape[2] = {R, C}, pool = PARAMETERS, rows = R, one = 1;
  n.x = dure_tensor_external(p, "x", DURE_DTYPE_F32, 2, x_shape, DURE_LIFETIME_INPUT);
  n.pool = dure_tensor_external(p, "pool", DURE_DTYPE_F32, 1, &pool, DURE_LIFETIME_PARAMETER);
  n.gradients = dure_tensor_external(p, "gradients", DURE_DTYPE_F32, 1, &pool, DURE_LIFETIME_GRADIENT);
  n.labels = dure_tensor_external(p, "labels", DURE_DTYPE_U32, 1, &rows, DURE_LIFETIME_INPUT);
  n.seed = dure_tensor_external(p, "seed", DURE_DTYPE_F32, 1, &one, DURE_LIFETIME_INPUT);
  dure_tensor x = n.x;
  for (uint32_t layer = 0; layer < LAYERS; layer++) {
    dure_program_scope(p, "layer %u", layer);
    dure_program_block(p, layer + 1);
    dure_tensor weight = parameter(&n, 1, C), bias = parameter(&n, 1, C);
    dure_tensor h = dure_layer_norm(p, x, weight, bias, 1e-5f);
    if (layer == 2) h = put_together(p, h);
    dure_tensor input = parameter(&n, C, INNER), output = parameter(&n, INNER, C);
    if (layer % 2 == 0) {
      h = dure_activation_apply(p, dure_matmul(p, h, input, DURE_ABSENT, false, false), DURE_ACTIVATION_GELU_TANH);
      x = dure_add(p, x, dure_matmul(p, h, output, DURE_ABSENT, false, false));
    } else {
      h = dure_matmul_with(p, h, input,
                           &(dure_matmul_options){.has_activation = true, .activation = DURE_ACTIVATION_GELU_TANH});
      x = dure_matmul_with(p, h, output, &(dure_matmul_options){.residual = x});
    }
  }
  dure_program_block(p, 0);
  dure_tensor head = parameter(&n, V, C);
  if (in_chunks) {
    n.loss = dure_linear_cross_entropy(p, x, head, n.labels, 0);
  } else {
    n.loss = dure_cross_entropy(p, dure_matmul(p, x, head, DURE_ABSENT, false, true), n.labels);
  }
  const dure_gradient_target target = {n.pool, n.gradients};
  require(dure_program_gradient(p, n.loss, n.seed, &target, 1, options));
  return n;
}

// Runs a training pass twice; the gradients and losses of the second, and the bytes of the activations.
static uint64_t run(network *n, float *out_gradients, float *out_losses) {
  dure_executable *executable = NULL;
  dure_compile_options options = {.label = "network", .guard_bytes = 64};
  require(dure_program_compile(n->program, device, NULL, 0, &options, &executable));
  float *values = calloc(PARAMETERS, sizeof(*values)), seed = 1.0f / R;
  uint32_t labels[R];
  for (uint64_t i = 0; i < PARAMETERS; i++) values[i] = (float)dure_random_normal(7, 0, 0, i) * 0.3f;
  for (uint32_t i = 0; i < R; i++) labels[i] = i * 37 % V;
  require(dure_executable_write(executable, stream, n->pool, values, PARAMETERS * sizeof(*values)));
  for (uint64_t i = 0; i < R * C; i++) values[i] = (float)dure_random_normal(7, 0, 1, i);
  require(dure_executable_write(executable, stream, n->x, values, R * C * sizeof(*values)));
  require(dure_executable_write(executable, stream, n->labels, labels, sizeof(labels)));
  require(dure_executable_write(executable, stream, n->seed, &seed, sizeof(seed)));
  require(dure_executable_submit(executable, stream));
  require(dure_executable_submit(executable, stream));
  require(dure_executable_read(executable, stream, n->gradients, out_gradients, PARAMETERS * sizeof(float)));
  require(dure_executable_read(executable, stream, n->loss, out_losses, R * sizeof(float)));
  require(dure_executable_guards(executable, stream));
  dure_executable_destroy(executable);
  free(values);
  dure_program_memory memory;
  require(dure_program_measure(n->program, device, &memory));
  return memory.activation_bytes;
}

typedef struct outcome {
  float gradients[PARAMETERS], losses[R];
  uint64_t bytes;
} outcome;

static outcome *train(bool in_chunks, dure_recompute recompute, uint32_t blocks) {
  outcome *o = calloc(1, sizeof(*o));
  network n = build(in_chunks, &(dure_gradient_options){.recompute = recompute, .recompute_blocks = blocks});
  o->bytes = run(&n, o->gradients, o->losses);
  dure_program_destroy(n.program);
  return o;
}

START_TEST(recomputing_gives_the_same_bits_with_less_memory) {
  outcome *plain = train(false, DURE_RECOMPUTE_NONE, 0);
  uint64_t before = plain->bytes;
  const struct {
    dure_recompute policy;
    uint32_t blocks;
  } choices[] = {{DURE_RECOMPUTE_ACTIVATIONS, LAYERS}, {DURE_RECOMPUTE_BLOCK, 2}, {DURE_RECOMPUTE_BLOCK, LAYERS}};
  for (size_t i = 0; i < 3; i++) {
    outcome *again = train(false, choices[i].policy, choices[i].blocks);
    ck_assert_mem_eq(again->gradients, plain->gradients, sizeof(plain->gradients));
    ck_assert_mem_eq(again->losses, plain->losses, sizeof(plain->losses));
    if (i != 1) ck_assert_uint_lt(again->bytes, before);
    if (i != 1) before = again->bytes;
    ck_assert_uint_lt(again->bytes, plain->bytes);
    free(again);
  }
  free(plain);
}
END_TEST

// What has to be kept per layer is the residual stream alone, and one layer is computed again at a time.
START_TEST(a_recomputed_block_keeps_only_its_input) {
  outcome *plain = train(false, DURE_RECOMPUTE_NONE, 0), *again = train(false, DURE_RECOMPUTE_BLOCK, LAYERS);
  const uint64_t layer = (2 * C + 2 * INNER) * R * sizeof(float);  // norm, sum, before and after the activation
  ck_assert_uint_ge(plain->bytes, LAYERS * layer);
  ck_assert_uint_le(again->bytes, LAYERS * C * R * sizeof(float) + 2 * layer + V * R * sizeof(float));
  free(plain);
  free(again);
}
END_TEST

START_TEST(a_loss_in_chunks_agrees_with_the_plain_one) {
  outcome *plain = train(false, DURE_RECOMPUTE_NONE, 0), *chunks = train(true, DURE_RECOMPUTE_NONE, 0);
  for (uint64_t i = 0; i < R; i++) ck_assert_float_eq_tol(chunks->losses[i], plain->losses[i], 2e-6f);
  for (uint64_t i = 0; i < PARAMETERS; i++) ck_assert_float_eq_tol(chunks->gradients[i], plain->gradients[i], 2e-6f);
  free(plain);
  free(chunks);
}
END_TEST

typedef struct op_counts {
  uint32_t of[DURE_OP_COUNT];
} op_counts;

static void count_op(void *context, const dure_op_call *call, const char *scope) {
  (void)scope;
  ((op_counts *)context)->of[call->op]++;
}

START_TEST(the_loss_in_chunks_makes_its_logits_once) {
  network n = build(true, NULL);
  op_counts counts = {{0}};
  dure_program_visit(n.program, count_op, &counts);
  ck_assert_uint_eq(counts.of[DURE_OP_linear_cross_entropy], 0);
  ck_assert_uint_eq(counts.of[DURE_OP_linear_cross_entropy_gradient], 1);
  dure_program_destroy(n.program);
}
END_TEST

START_TEST(what_several_calls_write_is_computed_again_by_all_of_them) {
  op_counts counts[2] = {{{0}}};
  for (int i = 0; i < 2; i++) {
    network n = build(false, &(dure_gradient_options){.recompute = i == 1 ? DURE_RECOMPUTE_BLOCK : DURE_RECOMPUTE_NONE,
                                                      .recompute_blocks = LAYERS});
    dure_program_visit(n.program, count_op, &counts[i]);
    dure_program_destroy(n.program);
  }
  ck_assert_uint_eq(counts[1].of[DURE_OP_copy_heads], counts[0].of[DURE_OP_copy_heads] + 2);
}
END_TEST

START_TEST(the_gradient_of_a_residual_sum_is_not_copied) {
  network n = build(false, NULL);
  op_counts counts = {{0}};
  dure_program_visit(n.program, count_op, &counts);
  ck_assert_uint_eq(counts.of[DURE_OP_copy], 0);
  ck_assert_uint_eq(counts.of[DURE_OP_add], LAYERS / 2);
  ck_assert_uint_eq(counts.of[DURE_OP_activation_gradient], LAYERS / 2);
  dure_program_destroy(n.program);
}
END_TEST

// 8,192 rows of a vocabulary of 151,642 words, 896 wide: at most a twentieth of the logits beyond what the plain
// tensors of the backward pass take.
START_TEST(a_large_vocabulary_is_never_stored_whole) {
  dure_program *p = dure_program_create();
  const uint64_t rows = 8192, width = 896, vocabulary = 151642, one = 1;
  const uint64_t hidden_shape[2] = {rows, width}, head_shape[2] = {vocabulary, width};
  dure_tensor hidden = dure_tensor_external(p, "hidden", DURE_DTYPE_BF16, 2, hidden_shape, DURE_LIFETIME_PARAMETER);
  dure_tensor dhidden = dure_tensor_external(p, "dhidden", DURE_DTYPE_BF16, 2, hidden_shape, DURE_LIFETIME_GRADIENT);
  dure_tensor head = dure_tensor_external(p, "head", DURE_DTYPE_BF16, 2, head_shape, DURE_LIFETIME_PARAMETER);
  dure_tensor dhead = dure_tensor_external(p, "dhead", DURE_DTYPE_F32, 2, head_shape, DURE_LIFETIME_GRADIENT);
  dure_tensor labels = dure_tensor_external(p, "labels", DURE_DTYPE_U32, 1, &rows, DURE_LIFETIME_INPUT);
  dure_tensor seed = dure_tensor_external(p, "seed", DURE_DTYPE_F32, 1, &one, DURE_LIFETIME_INPUT);
  const dure_gradient_target targets[2] = {{hidden, dhidden}, {head, dhead}};
  require(dure_program_gradient(p, dure_linear_cross_entropy(p, hidden, head, labels, 0), seed, targets, 2, NULL));
  dure_program_memory memory;
  require(dure_program_measure(p, device, &memory));
  ck_assert_uint_le(memory.activation_bytes, rows * vocabulary * sizeof(uint16_t) / 20);
  ck_assert_uint_ge(memory.activation_bytes, vocabulary * 64 * sizeof(uint16_t));
  dure_program_destroy(p);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("recompute");
  TCase *tests = tcase_create("recompute");
  tcase_add_checked_fixture(tests, set_up, tear_down);
  tcase_add_test(tests, recomputing_gives_the_same_bits_with_less_memory);
  tcase_add_test(tests, a_recomputed_block_keeps_only_its_input);
  tcase_add_test(tests, a_loss_in_chunks_agrees_with_the_plain_one);
  tcase_add_test(tests, the_loss_in_chunks_makes_its_logits_once);
  tcase_add_test(tests, what_several_calls_write_is_computed_again_by_all_of_them);
  tcase_add_test(tests, the_gradient_of_a_residual_sum_is_not_copied);
  tcase_add_test(tests, a_large_vocabulary_is_never_stored_whole);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
