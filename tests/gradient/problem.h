// A small f64 program on the reference device whose gradient is held against central finite differences.
//
// Each input is an external tensor. The loss is the sum of the tensor that `build` returns; where an op's output is not
// a loss, build() weighs its elements by fixed random numbers (problem_weigh), so that every element counts
// differently.
#ifndef DURE_TESTS_GRADIENT_PROBLEM_H_
#define DURE_TESTS_GRADIENT_PROBLEM_H_

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"
#include "runtime/random.h"

enum { PROBLEM_INPUTS = 8, PROBLEM_SEED = 20260, STREAM_WEIGHTS = 100, STREAM_BEFORE = 200 };

typedef struct problem_input {
  const char *label;  // NULL: no more inputs
  uint32_t rank;
  uint64_t shape[DURE_MAX_RANK];
  uint64_t index_limit;  // 0: f64, standard normal times `scale` (0: 1); else u32 below this, not differentiated
  bool with_ignored;     // of indices: every third is DURE_IGNORE_LABEL
  bool is_constant;      // of f64: no gradient is asked for
  bool counts_up;        // of indices: 0, 0, 2, 2, 4, 4, .. along the last dimension: documents of two tokens
  double scale;
  bool away_from_zero;  // at least 0.1: a function has a kink there
} problem_input;

typedef struct problem_build {
  dure_program *program;
  dure_tensor inputs[PROBLEM_INPUTS];
  dure_tensor weights;  // made by problem_weigh; absent when not used
} problem_build;

typedef struct problem {
  const char *name;
  dure_op op;  // whose gradient rule it is about
  problem_input inputs[PROBLEM_INPUTS];
  dure_tensor (*build)(problem_build *b);  // records the forward pass, returns the loss
} problem;

typedef struct problem_options {
  double seed;         // the gradient of each of the loss's elements
  bool accumulate;     // the gradients hold random numbers before, and are added to
  uint64_t gap_count;  // elements of the inputs that the program does not use: their gradients must be left alone
} problem_options;

// A compiled pass over the problem: forward alone, or with its gradient.
typedef struct problem_run {
  dure_executable *executable;
  problem_build build;
  dure_tensor loss, seed, gradients[PROBLEM_INPUTS];
  uint64_t loss_count;
} problem_run;

static inline void expect_success(dure_status status) {
  ck_assert_msg(status == NULL, "%s", dure_status_message(status));
}

// y's elements times fixed random weights, summed: [1, 1].
static inline dure_tensor problem_weigh(problem_build *b, dure_tensor y) {
  uint64_t count = dure_tensor_element_count(b->program, y);
  if (count == 0) return DURE_ABSENT;
  b->weights =
      dure_tensor_external(b->program, "weights", DURE_DTYPE_F64, 2, (uint64_t[]){count, 1}, DURE_LIFETIME_INPUT);
  dure_tensor row = dure_tensor_reshape(b->program, y, 2, (uint64_t[]){1, count});
  return dure_matmul(b->program, row, b->weights, DURE_ABSENT, false, false);
}

static inline uint64_t input_count(const problem_input *input) {
  uint64_t count = 1;
  for (uint32_t i = 0; i < input->rank; i++) count *= input->shape[i];
  return count;
}

static inline bool is_differentiated(const problem_input *input) {
  return input->label != NULL && input->index_limit == 0 && !input->is_constant;
}

// The input's contents: doubles or u32s. Released with free().
static inline void *input_values(const problem_input *input, uint32_t stream) {
  uint64_t count = input_count(input);
  void *values = calloc(count, sizeof(double));
  ck_assert_ptr_nonnull(values);
  for (uint64_t i = 0; i < count; i++) {
    double normal = dure_random_normal(PROBLEM_SEED, 0, stream, i);
    if (input->index_limit == 0) {
      ((double *)values)[i] = normal * (input->scale != 0 ? input->scale : 1);
      if (input->away_from_zero) ((double *)values)[i] += normal < 0 ? -0.1 : 0.1;
    } else {
      uint32_t words[4];
      dure_random_words(PROBLEM_SEED, 0, stream, i, words);
      bool ignored = input->with_ignored && i % 3 == 1;
      ((uint32_t *)values)[i] = ignored ? DURE_IGNORE_LABEL : words[0] % (uint32_t)input->index_limit;
      if (input->counts_up) ((uint32_t *)values)[i] = (uint32_t)(i % input->shape[input->rank - 1] / 2 * 2);
    }
  }
  return values;
}

static inline problem_run compile_problem(const problem *p, dure_device *device, const problem_options *options) {
  problem_run run;
  memset(&run, 0, sizeof(run));
  dure_program *program = run.build.program = dure_program_create();
  ck_assert_ptr_nonnull(program);
  dure_gradient_target targets[PROBLEM_INPUTS];
  size_t target_count = 0;
  for (uint32_t i = 0; i < PROBLEM_INPUTS && p->inputs[i].label != NULL; i++) {
    const problem_input *input = &p->inputs[i];
    dure_dtype dtype = input->index_limit == 0 ? DURE_DTYPE_F64 : DURE_DTYPE_U32;
    run.build.inputs[i] =
        dure_tensor_external(program, input->label, dtype, input->rank, input->shape, DURE_LIFETIME_PARAMETER);
    if (options == NULL || !is_differentiated(input)) continue;
    run.gradients[i] =
        dure_tensor_external(program, "gradient", dtype, input->rank, input->shape, DURE_LIFETIME_GRADIENT);
    targets[target_count++] = (dure_gradient_target){run.build.inputs[i], run.gradients[i]};
  }
  run.loss = p->build(&run.build);
  run.loss_count = dure_tensor_element_count(program, run.loss);
  if (options != NULL) {
    run.seed = dure_tensor_external(program, "seed", DURE_DTYPE_F64, 2, (uint64_t[]){1, 1}, DURE_LIFETIME_INPUT);
    expect_success(dure_program_gradient(program, run.loss, run.seed, targets, target_count,
                                         &(dure_gradient_options){.accumulate = options->accumulate}));
  }
  expect_success(
      dure_program_compile(program, device, NULL, 0, &(dure_compile_options){.label = p->name}, &run.executable));
  dure_program_destroy(program);
  run.build.program = NULL;
  return run;
}

static inline void write_inputs(const problem *p, const problem_run *run, dure_stream *stream, void *const *values) {
  for (uint32_t i = 0; i < PROBLEM_INPUTS && p->inputs[i].label != NULL; i++) {
    uint64_t size = input_count(&p->inputs[i]) * (p->inputs[i].index_limit == 0 ? sizeof(double) : sizeof(uint32_t));
    expect_success(dure_executable_write(run->executable, stream, run->build.inputs[i], values[i], size));
  }
  if (run->build.weights.index == 0) return;
  dure_operand weights;
  expect_success(dure_executable_operand(run->executable, run->build.weights, &weights));
  uint64_t count = dure_operand_count(&weights);
  double *numbers = malloc(count * sizeof(double));
  ck_assert_ptr_nonnull(numbers);
  for (uint64_t i = 0; i < count; i++) numbers[i] = dure_random_normal(PROBLEM_SEED, 0, STREAM_WEIGHTS, i);
  expect_success(dure_executable_write(run->executable, stream, run->build.weights, numbers, count * sizeof(double)));
  free(numbers);
}

static inline double total_loss(const problem_run *run, dure_stream *stream) {
  double *losses = malloc(run->loss_count * sizeof(double)), total = 0;
  ck_assert_ptr_nonnull(losses);
  expect_success(dure_executable_submit(run->executable, stream));
  expect_success(dure_executable_read(run->executable, stream, run->loss, losses, run->loss_count * sizeof(double)));
  for (uint64_t i = 0; i < run->loss_count; i++) total += losses[i];
  free(losses);
  return total;
}

// (loss(x + h) - loss(x - h)) / 2h, extrapolated from h and 2h, which leaves an error of the order of h^4.
static inline double difference_quotient(const problem *p, const problem_run *run, dure_stream *stream, uint32_t input,
                                         double *values, uint64_t index) {
  const double h = 1e-3, at = values[index], steps[4] = {at + h, at - h, at + 2 * h, at - 2 * h};
  uint64_t size = input_count(&p->inputs[input]) * sizeof(double);
  double losses[4];
  for (int i = 0; i < 4; i++) {
    values[index] = steps[i];
    expect_success(dure_executable_write(run->executable, stream, run->build.inputs[input], values, size));
    losses[i] = total_loss(run, stream);
  }
  values[index] = at;
  expect_success(dure_executable_write(run->executable, stream, run->build.inputs[input], values, size));
  return (8 * (losses[0] - losses[1]) - (losses[2] - losses[3])) / (12 * h);
}

// The gradients of one submission; [i] is NULL for inputs that are not differentiated. Each released with free().
static inline void run_gradient(const problem *p, const problem_run *run, dure_stream *stream, void *const *values,
                                const problem_options *options, double **out_gradients) {
  write_inputs(p, run, stream, values);
  expect_success(dure_executable_write(run->executable, stream, run->seed, &options->seed, sizeof(double)));
  for (uint32_t i = 0; i < PROBLEM_INPUTS && p->inputs[i].label != NULL; i++) {
    if (!is_differentiated(&p->inputs[i])) continue;
    problem_input before = p->inputs[i];
    before.scale = 1;
    before.away_from_zero = false;
    out_gradients[i] = input_values(&before, STREAM_BEFORE + i);
    uint64_t size = input_count(&p->inputs[i]) * sizeof(double);
    expect_success(dure_executable_write(run->executable, stream, run->gradients[i], out_gradients[i], size));
  }
  expect_success(dure_executable_submit(run->executable, stream));
  for (uint32_t i = 0; i < PROBLEM_INPUTS && p->inputs[i].label != NULL; i++) {
    if (!is_differentiated(&p->inputs[i])) continue;
    uint64_t size = input_count(&p->inputs[i]) * sizeof(double);
    expect_success(dure_executable_read(run->executable, stream, run->gradients[i], out_gradients[i], size));
  }
}

// Checks every element of one gradient: within `limit` of the finite difference, relative to the larger of the element
// and a thousandth of the gradient's largest element. Returns how many are off and keeps the worst error.
static inline uint64_t check_gradient(const problem *p, const problem_run *forward, dure_stream *stream, uint32_t input,
                                      double *values, const double *gradient, const problem_options *options,
                                      double limit, double *worst) {
  uint64_t count = input_count(&p->inputs[input]), wrong = 0, untouched = 0;
  double *expected = malloc(count * sizeof(double)), largest = 1e-6;
  ck_assert_ptr_nonnull(expected);
  for (uint64_t i = 0; i < count; i++) {
    expected[i] = options->seed * difference_quotient(p, forward, stream, input, values, i);
    if (options->accumulate) expected[i] += dure_random_normal(PROBLEM_SEED, 0, STREAM_BEFORE + input, i);
    largest = fmax(largest, fabs(expected[i]));
  }
  for (uint64_t i = 0; i < count; i++) {
    if (expected[i] == 0 && gradient[i] == dure_random_normal(PROBLEM_SEED, 0, STREAM_BEFORE + input, i)) {
      untouched++;
      continue;
    }
    double error = fabs(gradient[i] - expected[i]) / fmax(fabs(expected[i]), 1e-3 * largest);
    *worst = fmax(*worst, error);
    if (error <= limit) continue;
    if (wrong++ < 3) {
      printf("%s: d loss / d %s[%llu] is %.12g, finite differences give %.12g\n", p->name, p->inputs[input].label,
             (unsigned long long)i, gradient[i], expected[i]);
    }
  }
  free(expected);
  if (!options->accumulate) ck_assert_uint_eq(untouched, options->gap_count);
  return wrong;
}

// Fails the running test when an element of a gradient is further than `limit` from the finite difference.
static inline void check_problem(const problem *p, const problem_options *options, double limit) {
  dure_device *device = NULL;
  dure_stream *stream = NULL;
  expect_success(dure_device_open("reference", &device));
  expect_success(dure_stream_create(device, &stream));
  problem_run forward = compile_problem(p, device, NULL), backward = compile_problem(p, device, options);
  void *values[PROBLEM_INPUTS] = {NULL};
  double *gradients[PROBLEM_INPUTS] = {NULL}, worst = 0;
  for (uint32_t i = 0; i < PROBLEM_INPUTS && p->inputs[i].label != NULL; i++)
    values[i] = input_values(&p->inputs[i], i);
  run_gradient(p, &backward, stream, values, options, gradients);
  write_inputs(p, &forward, stream, values);
  uint64_t wrong = 0;
  for (uint32_t i = 0; i < PROBLEM_INPUTS && p->inputs[i].label != NULL; i++) {
    if (gradients[i] == NULL) continue;
    wrong += check_gradient(p, &forward, stream, i, values[i], gradients[i], options, limit, &worst);
  }
  printf("%-44s worst relative error %.2e\n", p->name, worst);
  for (uint32_t i = 0; i < PROBLEM_INPUTS; i++) {
    free(values[i]);
    free(gradients[i]);
  }
  dure_executable_destroy(forward.executable);
  dure_executable_destroy(backward.executable);
  dure_stream_destroy(stream);
  dure_device_close(device);
  ck_assert_msg(wrong == 0, "%s: %llu elements are wrong (inputs from seed %d)", p->name, (unsigned long long)wrong,
                PROBLEM_SEED);
}

#endif  // DURE_TESTS_GRADIENT_PROBLEM_H_
