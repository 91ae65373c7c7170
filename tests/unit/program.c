// Programs on the reference device: recording, sticky failures, views, lifetimes, gradients of views, expansion.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"
#include "tests/suite.h"

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

static dure_tensor input(dure_program *program, const char *label, uint64_t rows, uint64_t columns) {
  uint64_t shape[2] = {rows, columns};
  return dure_tensor_external(program, label, DURE_DTYPE_F32, 2, shape, DURE_LIFETIME_INPUT);
}

static dure_executable *compile(const dure_program *program) {
  dure_executable *executable = NULL;
  dure_status status = dure_program_compile(program, device, NULL, 0, NULL, &executable);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  return executable;
}

START_TEST(the_first_failure_sticks_and_names_the_shapes) {
  dure_program *program = dure_program_create();
  dure_tensor a = input(program, "a", 2, 3), b = input(program, "b", 4, 5);
  dure_tensor c = dure_matmul(program, a, b, DURE_ABSENT, false, false);
  ck_assert_uint_eq(c.index, 0);
  dure_add(program, c, a);
  dure_status status = dure_program_check(program);
  ck_assert_int_eq(dure_status_code(status), DURE_INVALID_ARGUMENT);
  ck_assert_ptr_nonnull(strstr(dure_status_message(status), "matmul NN [2,3] [4,5]"));
  dure_status_free(status);
  dure_program_destroy(program);
}
END_TEST

START_TEST(a_matmul_of_a_view_computes_the_product) {
  dure_program *program = dure_program_create();
  dure_tensor a = input(program, "a", 3, 4), b = input(program, "b", 2, 2);
  uint64_t shape[2] = {3, 2}, stride[2] = {4, 1};
  dure_tensor right = dure_tensor_view(program, a, 2, shape, stride, 2);
  dure_tensor c = dure_matmul(program, right, b, DURE_ABSENT, false, true);
  dure_executable *executable = compile(program);
  float a_data[12], b_data[4] = {1, 2, 3, 4}, c_data[6];
  for (int i = 0; i < 12; i++) a_data[i] = (float)i;
  ck_assert_ptr_null(dure_executable_write(executable, stream, a, a_data, sizeof(a_data)));
  ck_assert_ptr_null(dure_executable_write(executable, stream, b, b_data, sizeof(b_data)));
  ck_assert_ptr_null(dure_executable_submit(executable, stream));
  ck_assert_ptr_null(dure_executable_read(executable, stream, c, c_data, sizeof(c_data)));
  for (int m = 0; m < 3; m++) {
    for (int n = 0; n < 2; n++) {
      float expected = a_data[m * 4 + 2] * b_data[n * 2] + a_data[m * 4 + 3] * b_data[n * 2 + 1];
      ck_assert_float_eq(c_data[m * 2 + n], expected);
    }
  }
  dure_executable_destroy(executable);
  dure_program_destroy(program);
}
END_TEST

START_TEST(activations_that_are_not_alive_together_share_memory) {
  dure_program *program = dure_program_create();
  dure_tensor x = input(program, "x", 16, 1024);
  for (int i = 0; i < 20; i++) x = dure_add(program, x, x);
  dure_executable *executable = compile(program);
  dure_executable_memory memory = dure_executable_memory_get(executable);
  ck_assert_uint_eq(memory.activation_bytes, 2 * 16 * 1024 * 4);
  dure_executable_destroy(executable);
  dure_program_destroy(program);
}
END_TEST

START_TEST(a_loss_of_one_element_takes_a_seed_of_any_rank) {
  dure_program *program = dure_program_create();
  uint64_t one_shape = 1;
  dure_tensor w = input(program, "w", 1, 3), dw = input(program, "dw", 1, 3);
  dure_tensor seed = dure_tensor_external(program, "seed", DURE_DTYPE_F32, 1, &one_shape, DURE_LIFETIME_INPUT);
  dure_tensor loss = dure_matmul(program, w, w, DURE_ABSENT, false, true);  // [1, 1]
  dure_gradient_target target = {w, dw};
  dure_status status = dure_program_gradient(program, loss, seed, &target, 1, NULL);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  dure_executable *executable = compile(program);
  float w_data[3] = {1, 2, 3}, seed_data = 0.5f, found[3];
  ck_assert_ptr_null(dure_executable_write(executable, stream, w, w_data, sizeof(w_data)));
  ck_assert_ptr_null(dure_executable_write(executable, stream, seed, &seed_data, sizeof(seed_data)));
  ck_assert_ptr_null(dure_executable_submit(executable, stream));
  ck_assert_ptr_null(dure_executable_read(executable, stream, dw, found, sizeof(found)));
  for (int i = 0; i < 3; i++) ck_assert_float_eq(found[i], w_data[i]);  // d(w w^T) = 2 w, halved
  dure_executable_destroy(executable);
  dure_program_destroy(program);
}
END_TEST

// y = (left * right half products): both halves of one tensor get their own gradient, and a tensor used twice gets the
// sum.
START_TEST(views_of_one_tensor_and_repeated_use_get_their_gradients) {
  dure_program *program = dure_program_create();
  dure_tensor w = input(program, "w", 2, 4), dw = input(program, "dw", 2, 4), one = input(program, "seed", 1, 1);
  uint64_t shape[2] = {2, 2}, stride[2] = {4, 1};
  dure_tensor copy = dure_add(program, w, w);  // an activation: 2 w
  dure_tensor left = dure_tensor_view(program, copy, 2, shape, stride, 0),
              right = dure_tensor_view(program, copy, 2, shape, stride, 2);
  dure_tensor product = dure_matmul(program, left, right, DURE_ABSENT, false, false);
  dure_gradient_target target = {w, dw};
  dure_status status = dure_program_gradient(program, product, one, &target, 1, NULL);
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
  dure_executable *executable = compile(program);
  float w_data[8] = {1, 2, 3, 4, 5, 6, 7, 8}, seed = 1, found[8];
  ck_assert_ptr_null(dure_executable_write(executable, stream, w, w_data, sizeof(w_data)));
  ck_assert_ptr_null(dure_executable_write(executable, stream, one, &seed, sizeof(seed)));
  ck_assert_ptr_null(dure_executable_submit(executable, stream));
  ck_assert_ptr_null(dure_executable_read(executable, stream, dw, found, sizeof(found)));
  // loss = sum (2L)(2R): dL = 4 * rowsum(R)^T repeated, dR = 4 * colsum(L) repeated
  for (int i = 0; i < 2; i++) {
    for (int j = 0; j < 2; j++) {
      float row_sum = w_data[j * 4 + 2] + w_data[j * 4 + 3], column_sum = w_data[i] + w_data[4 + i];
      ck_assert_float_eq(found[i * 4 + j], 4 * row_sum);
      ck_assert_float_eq(found[i * 4 + 2 + j], 4 * column_sum);
    }
  }
  dure_executable_destroy(executable);
  dure_program_destroy(program);
}
END_TEST

START_TEST(a_second_micro_step_adds_to_the_gradient) {
  float found[4], w_data[4] = {1, 2, 3, 4}, seed = 1;
  uint64_t shape[2] = {2, 2};
  dure_program *program = dure_program_create();
  dure_tensor w = input(program, "w", 2, 2), dw = input(program, "dw", 2, 2), one = input(program, "seed", 1, 1);
  dure_tensor square = dure_matmul(program, w, w, DURE_ABSENT, false, true);
  (void)shape;
  dure_gradient_target target = {w, dw};
  ck_assert_ptr_null(
      dure_program_gradient(program, square, one, &target, 1, &(dure_gradient_options){.accumulate = true}));
  dure_executable *executable = compile(program);
  ck_assert_ptr_null(dure_executable_write(executable, stream, w, w_data, sizeof(w_data)));
  ck_assert_ptr_null(dure_executable_write(executable, stream, one, &seed, sizeof(seed)));
  ck_assert_ptr_null(dure_executable_submit(executable, stream));
  ck_assert_ptr_null(dure_executable_submit(executable, stream));
  ck_assert_ptr_null(dure_executable_read(executable, stream, dw, found, sizeof(found)));
  // d(sum w w^T) = 2 * column sums; twice.
  ck_assert_float_eq(found[0], 2 * 2 * (1 + 3));
  ck_assert_float_eq(found[1], 2 * 2 * (2 + 4));
  ck_assert_float_eq(found[2], 2 * 2 * (1 + 3));
  dure_executable_destroy(executable);
  dure_program_destroy(program);
}
END_TEST

typedef struct tally {
  size_t calls;
  double flops;
  uint64_t largest_span;
} tally;

static dure_status count_call(void *context, const dure_op_call *call) {
  tally *seen = context;
  seen->calls++;
  seen->flops += dure_op_get(call->op)->cost(call).flops;
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    uint64_t span = dure_operand_span(&call->operands[i]);
    if (span > seen->largest_span) seen->largest_span = span;
  }
  return NULL;
}

START_TEST(a_large_matmul_is_cut_below_every_limit_and_loses_no_work) {
  dure_op_call call;
  memset(&call, 0, sizeof(call));
  call.op = DURE_OP_matmul;
  call.attributes.matmul.transpose_b = true;
  uint64_t a[2] = {1024, 768}, b[2] = {50257, 768};
  call.operands[0].dtype = call.operands[1].dtype = DURE_DTYPE_F32;
  dure_operand_set_shape(&call.operands[0], 2, a);
  dure_operand_set_shape(&call.operands[1], 2, b);
  ck_assert_ptr_null(dure_op_check(&call));
  dure_limits limits = {.max_binding_bytes = 128u << 20,
                        .max_allocation_bytes = 2u << 30,
                        .offset_alignment = 64,
                        .max_dispatch_flops = 3e9,
                        .max_recording_flops = 3e9,
                        .max_loop_iterations = 16384};
  tally seen = {0, 0, 0};
  ck_assert_ptr_null(dure_op_expand(&call, &limits, count_call, &seen));
  ck_assert_uint_gt(seen.calls, 25);
  ck_assert_uint_le(seen.largest_span, (128u << 20) - 64);
  ck_assert_double_eq(seen.flops, 2.0 * 1024 * 768 * 50257);
}
END_TEST

// So that a driver that ends long work never meets any: by floating-point operations, and by bytes where those take
// longer; also within one call that expand() cuts.
START_TEST(recordings_are_cut_by_the_work_and_by_the_bytes_they_hold) {
  dure_device *limited = NULL;
  ck_assert(dure_device_open("reference", &limited) == NULL);
  const double bytes = 3 * 4 * 64 * 64;  // of one addition
  dure_device_restrict(limited, &(dure_limits){.max_recording_bytes = 2.5 * bytes}, 0);
  dure_program *program = dure_program_create();
  dure_tensor x = input(program, "x", 64, 64), y = x;
  for (int i = 0; i < 10; i++) y = dure_add(program, y, x);
  dure_executable *executable = NULL;
  ck_assert(dure_program_compile(program, limited, NULL, 0, NULL, &executable) == NULL);
  ck_assert_uint_eq(dure_executable_recording_count(executable), 5);
  dure_executable_destroy(executable);
  dure_device_restrict(limited, &(dure_limits){.max_recording_flops = 8.0 * 64 * 64}, 0);  // one addition
  ck_assert(dure_program_compile(program, limited, NULL, 0, NULL, &executable) == NULL);
  ck_assert_uint_eq(dure_executable_recording_count(executable), 10);
  dure_executable_destroy(executable);
  dure_program_destroy(program);

  program = dure_program_create();
  dure_tensor a = input(program, "a", 256, 256), b = input(program, "b", 256, 256);
  dure_matmul(program, a, b, DURE_ABSENT, false, false);
  const double flops = 2.0 * 256 * 256 * 256;
  dure_device_restrict(
      limited,
      &(dure_limits){.max_dispatch_flops = flops / 4, .max_recording_flops = flops / 4, .max_recording_bytes = 1e12},
      0);
  ck_assert(dure_program_compile(program, limited, NULL, 0, NULL, &executable) == NULL);
  ck_assert_uint_ge(dure_executable_recording_count(executable), 4);
  dure_executable_destroy(executable);
  dure_program_destroy(program);
  dure_device_close(limited);
}
END_TEST

START_TEST(not_finite_values_are_traced_to_the_op_that_made_them) {
  dure_program *program = dure_program_create();
  dure_tensor a = input(program, "a", 2, 2), b = input(program, "b", 2, 2);
  dure_program_scope(program, "layer 0");
  dure_tensor c = dure_matmul(program, a, b, DURE_ABSENT, false, false);
  dure_program_scope(program, "layer 1");
  dure_tensor d = dure_matmul(program, c, c, DURE_ABSENT, false, false);
  dure_add(program, d, d);
  dure_executable *executable = compile(program);
  float large[4] = {1e30f, 0, 0, 1}, small[4] = {1, 0, 0, 1};
  bool found = false;
  char text[256];
  ck_assert_ptr_null(dure_executable_write(executable, stream, a, small, sizeof(small)));
  ck_assert_ptr_null(dure_executable_write(executable, stream, b, small, sizeof(small)));
  ck_assert_ptr_null(dure_executable_find_not_finite(executable, stream, &found, text, sizeof(text)));
  ck_assert(!found);
  ck_assert_ptr_null(dure_executable_write(executable, stream, a, large, sizeof(large)));
  ck_assert_ptr_null(dure_executable_find_not_finite(executable, stream, &found, text, sizeof(text)));
  ck_assert(found);
  ck_assert_msg(strstr(text, "layer 1") != NULL, "%s", text);
  dure_executable_destroy(executable);
  dure_program_destroy(program);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("program");
  TCase *test_case = tcase_create("program");
  tcase_add_checked_fixture(test_case, set_up, tear_down);
  tcase_add_test(test_case, the_first_failure_sticks_and_names_the_shapes);
  tcase_add_test(test_case, a_matmul_of_a_view_computes_the_product);
  tcase_add_test(test_case, activations_that_are_not_alive_together_share_memory);
  tcase_add_test(test_case, views_of_one_tensor_and_repeated_use_get_their_gradients);
  tcase_add_test(test_case, a_loss_of_one_element_takes_a_seed_of_any_rank);
  tcase_add_test(test_case, a_second_micro_step_adds_to_the_gradient);
  tcase_add_test(test_case, a_large_matmul_is_cut_below_every_limit_and_loses_no_work);
  tcase_add_test(test_case, recordings_are_cut_by_the_work_and_by_the_bytes_they_hold);
  tcase_add_test(test_case, not_finite_values_are_traced_to_the_op_that_made_them);
  suite_add_tcase(suite, test_case);
  return run_suite(suite, CK_FORK_GETENV);
}
