// Cases of gradient_clip and adamw. Roundings: square roots, quotients and the products around them.
#include <math.h>
#include <stdio.h>

#include "runtime/conformance/cases.h"

// square_sum step -> state
static dure_case *add_clip(dure_case_list *list, const char *name, double square_sum, double clip, double finite) {
  dure_case *c = dure_case_add(list, DURE_OP_gradient_clip, "%s", name);
  dure_case_generate(dure_case_tensor(c, 0, 1, DURE_SHAPE(1)), DURE_GENERATE_CONSTANT, 0, square_sum);
  double step[DURE_STEP_COUNT] = {1e-3, 2, 3, clip, 5, 6, 7, 8},
         state[DURE_STATE_COUNT] = {17, 18, finite, 1, 21, 22, 23, 24};
  dure_case_list_values(dure_case_tensor(c, 1, 1, DURE_SHAPE(DURE_STEP_COUNT)), DURE_STEP_COUNT, step);
  dure_case_list_values(dure_case_tensor(c, 2, 1, DURE_SHAPE(DURE_STATE_COUNT)), DURE_STATE_COUNT, state);
  c->roundings = 16;
  return c;
}

typedef struct loss_scaling {
  double loss_scale, good_steps, skipped;
  uint32_t growth_interval;
} loss_scaling;

static dure_case *add_dynamic(dure_case_list *list, const char *name, double square_sum, loss_scaling at) {
  dure_case *c = add_clip(list, name, square_sum, 1, 0);
  dure_case_rename(c, "dynamic");
  c->attributes.gradient_clip = (dure_gradient_clip_attributes){true, at.growth_interval};
  c->operands[2].values[DURE_STATE_LOSS_SCALE] = at.loss_scale;
  c->operands[2].values[DURE_STATE_GOOD_STEPS] = at.good_steps;
  c->operands[2].values[DURE_STATE_SKIPPED] = at.skipped;
  return c;
}

static void add_loss_scaling(dure_case_list *list) {
  add_dynamic(list, "good_step", 1e8, (loss_scaling){1024, 3, 2, 10});
  add_dynamic(list, "grows", 1e8, (loss_scaling){1024, 9, 2, 10});
  add_dynamic(list, "grows_to_the_most", 1e12, (loss_scaling){0x1p24, 9, 0, 10});
  add_dynamic(list, "never_grows", 1e8, (loss_scaling){1024, 1e6, 0, 0});
  add_dynamic(list, "overflow", (double)INFINITY, (loss_scaling){65536, 7, 2, 10});
  add_dynamic(list, "nan", (double)NAN, (loss_scaling){65536, 7, 2, 10});
  add_dynamic(list, "overflow_at_the_least", (double)INFINITY, (loss_scaling){1, 7, 2, 10});
  dure_case *c = add_clip(list, "fixed_loss_scale", 1e8, 1, 1);
  c->operands[2].values[DURE_STATE_LOSS_SCALE] = 512;
}

void dure_cases_gradient_clip(dure_case_list *list) {
  add_clip(list, "clipped", 25, 1, 1);
  add_clip(list, "below", 0.25, 1, 1);
  add_clip(list, "at", 1, 1, 1);
  add_clip(list, "zero", 0, 1, 1);
  add_clip(list, "no_clipping=0", 25, 0, 1);
  add_clip(list, "no_clipping=infinity", 25, (double)INFINITY, 1);
  add_clip(list, "large", 1e37, 0.5, 1);
  add_clip(list, "small", 1e-30, 1e-20, 1);
  add_clip(list, "was_not_finite", 25, 1, 0);  // stays so
  // Once the norm is not finite the scale is of no account; without clipping it is 1 all the same.
  add_clip(list, "nan", (double)NAN, (double)INFINITY, 1);
  add_clip(list, "infinity", (double)INFINITY, 0, 1);
  add_loss_scaling(list);
  dure_case *c = add_clip(list, "shifted", 25, 1, 1);
  for (uint32_t i = 0; i < 3; i++) dure_case_shift(&c->operands[i], i + 1);
}

typedef struct moment {
  double step, finite, scale, weight_decay;
} moment;

// gradient step state random? -> parameter master? first_moment second_moment first_scales? second_scales?
enum { GRADIENT, STEP, STATE, RANDOM, PARAMETER, MASTER, FIRST_MOMENT, SECOND_MOMENT, FIRST_SCALES, SECOND_SCALES };

static dure_case *add_adamw(dure_case_list *list, uint64_t count, moment at) {
  dure_case *c = dure_case_add(list, DURE_OP_adamw, "n=%llu,t=%g,scale=%g,decay=%g", (unsigned long long)count, at.step,
                               at.scale, at.weight_decay);
  c->attributes.adamw = (dure_adamw_attributes){0.9f, 0.999f, 1e-8f, (float)at.weight_decay, 0};
  double correction1 = 1 / (1 - pow(0.9, at.step)), correction2 = 1 / (1 - pow(0.999, at.step));
  double step[DURE_STEP_COUNT] = {3e-4, correction1, correction2, 1},
         state[DURE_STATE_COUNT] = {2, at.scale, at.finite, 1};
  dure_case_generate(dure_case_tensor(c, 0, 1, &count), DURE_GENERATE_NORMAL, 0.01, 0);
  dure_case_list_values(dure_case_tensor(c, 1, 1, DURE_SHAPE(DURE_STEP_COUNT)), DURE_STEP_COUNT, step);
  dure_case_list_values(dure_case_tensor(c, 2, 1, DURE_SHAPE(DURE_STATE_COUNT)), DURE_STATE_COUNT, state);
  dure_case_generate(dure_case_tensor(c, PARAMETER, 1, &count), DURE_GENERATE_NORMAL, 0.02, 0);
  dure_case_generate(dure_case_tensor(c, FIRST_MOMENT, 1, &count), DURE_GENERATE_NORMAL, 0.01, 0);
  dure_case_generate(dure_case_tensor(c, SECOND_MOMENT, 1, &count), DURE_GENERATE_UNIFORM, 1e-4, 0);
  c->roundings = 16;
  return c;
}

typedef struct precision {
  dure_dtype gradient, parameter, moments;
  bool has_master, has_random;
} precision;

// The precisions of training: 16-bit parameters with a master copy or stochastic rounding, 8-bit moments.
static dure_case *add_precision(dure_case_list *list, uint64_t count, precision of) {
  dure_case *c = add_adamw(list, count, (moment){7, 1, 0.5, 0.1});
  dure_case_rename(c, "%s,%s,%s%s%s", dure_dtype_name(of.gradient), dure_dtype_name(of.parameter),
                   dure_dtype_name(of.moments), of.has_master ? ",master" : "", of.has_random ? ",random" : "");
  if (of.has_master) dure_case_generate(dure_case_tensor(c, MASTER, 1, &count), DURE_GENERATE_NORMAL, 0.02, 0);
  if (of.has_random) dure_case_tensor(c, RANDOM, 1, DURE_SHAPE(4))->generator = DURE_GENERATE_WORDS;
  c->attributes.adamw.first_element = 0x3ffffff00u;  // groups of four carry into the high word
  c->is_stochastic = of.has_random;
  const uint64_t blocks = (count + DURE_MOMENT_BLOCK - 1) / DURE_MOMENT_BLOCK;
  for (uint32_t i = FIRST_SCALES; i <= SECOND_SCALES && of.moments == DURE_DTYPE_U8; i++) {
    dure_case_generate(dure_case_tensor(c, i, 1, &blocks), DURE_GENERATE_UNIFORM, i == FIRST_SCALES ? 0.03 : 1e-4,
                       1e-6);
  }
  c->operands[GRADIENT].dtype = of.gradient;
  c->operands[PARAMETER].dtype = of.parameter;
  c->operands[FIRST_MOMENT].dtype = c->operands[SECOND_MOMENT].dtype = of.moments;
  return c;
}

static void add_precisions(dure_case_list *list) {
  static const precision all[] = {
      {DURE_DTYPE_BF16, DURE_DTYPE_BF16, DURE_DTYPE_F32, true, false},
      {DURE_DTYPE_F16, DURE_DTYPE_F16, DURE_DTYPE_F32, true, false},
      {DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_BF16, true, true},
      {DURE_DTYPE_BF16, DURE_DTYPE_BF16, DURE_DTYPE_F32, false, true},
      {DURE_DTYPE_F16, DURE_DTYPE_F16, DURE_DTYPE_F32, false, true},
      {DURE_DTYPE_BF16, DURE_DTYPE_BF16, DURE_DTYPE_BF16, false, true},
      {DURE_DTYPE_F32, DURE_DTYPE_F32, DURE_DTYPE_U8, false, false},
      {DURE_DTYPE_F32, DURE_DTYPE_F32, DURE_DTYPE_U8, false, true},
      {DURE_DTYPE_BF16, DURE_DTYPE_BF16, DURE_DTYPE_U8, true, true},
      {DURE_DTYPE_BF16, DURE_DTYPE_BF16, DURE_DTYPE_U8, false, true},
      {DURE_DTYPE_F16, DURE_DTYPE_F16, DURE_DTYPE_U8, false, true},
  };
  static const uint64_t counts[] = {7, 256, 1025, 4099};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
    for (size_t j = 0; j < sizeof(counts) / sizeof(counts[0]); j++) {
      dure_case *c = add_precision(list, counts[j], all[i]);
      if ((i + j) % 4 != 3) continue;
      dure_case_rename(c, "shifted");
      for (uint32_t k = GRADIENT; k <= SECOND_SCALES; k++) {
        if (!c->operands[k].present) continue;
        dure_case_shift(&c->operands[k], c->operands[k].dtype == DURE_DTYPE_U8 ? 4 : (i + k) % 3 + 1);
      }
    }
    dure_case_restricted(list, add_precision(list, 20001, all[i]));
  }
  dure_case *c = add_precision(list, 1000, all[6]);
  dure_case_rename(c, "first_step");
  for (uint32_t i = FIRST_MOMENT; i <= SECOND_SCALES; i++)
    dure_case_generate(&c->operands[i], DURE_GENERATE_CONSTANT, 0, 0);
  c = add_precision(list, 1000, all[9]);
  dure_case_rename(c, "zero_gradient");
  dure_case_generate(&c->operands[GRADIENT], DURE_GENERATE_CONSTANT, 0, 0);
  for (uint32_t i = FIRST_MOMENT; i <= SECOND_SCALES; i++)
    dure_case_generate(&c->operands[i], DURE_GENERATE_CONSTANT, 0, 0);
  c = add_precision(list, 1000, all[9]);
  dure_case_rename(c, "not_finite");  // nothing may change
  c->operands[STATE].values[DURE_STATE_FINITE] = 0;
  c->roundings = 0;
  c->is_stochastic = false;
}

void dure_cases_adamw(dure_case_list *list) {
  static const uint64_t counts[] = {1, 2, 3, 7, 8, 9, 15, 17, 31, 33, 63, 65, 127, 129, 255, 257, 1025, 4099, 65537};
  for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
    dure_case *c =
        add_adamw(list, counts[i], (moment){(double)(1 + i * i), 1, i % 2 == 0 ? 1 : 0.25, i % 3 == 0 ? 0.1 : 0});
    if (i % 3 != 1) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = GRADIENT; j <= SECOND_MOMENT; j++) {
      if (c->operands[j].present) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
    }
  }
  dure_case *c = add_adamw(list, 257, (moment){1, 1, 1, 0.1});
  dure_case_rename(c, "first_step");
  for (uint32_t i = FIRST_MOMENT; i <= SECOND_MOMENT; i++)
    dure_case_generate(&c->operands[i], DURE_GENERATE_CONSTANT, 0, 0);
  c = add_adamw(list, 257, (moment){1, 1, 1, 0});
  dure_case_rename(c, "zero_gradient");  // 0 / epsilon
  dure_case_generate(&c->operands[0], DURE_GENERATE_CONSTANT, 0, 0);
  for (uint32_t i = FIRST_MOMENT; i <= SECOND_MOMENT; i++)
    dure_case_generate(&c->operands[i], DURE_GENERATE_CONSTANT, 0, 0);
  c = add_adamw(list, 257, (moment){9, 0, 0.5, 0.1});
  dure_case_rename(c, "not_finite");  // nothing may change
  c->roundings = 0;
  c = add_adamw(list, 257, (moment){9, 1, 1, 0.1});
  dure_case_rename(c, "nan");
  dure_case_sprinkle(&c->operands[0], (double)NAN, 5);
  c = add_adamw(list, 255, (moment){9, 1, 1e-6, 0.1});
  dure_case_rename(c, "large");
  dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, 1e12, 0);
  dure_case_restricted(list, add_adamw(list, 20001, (moment){5, 1, 0.5, 0.1}));
  add_precisions(list);
  if (!list->full) return;
  c = add_adamw(list, 34000001, (moment){5, 1, 0.5, 0.1});
  dure_case_generate(&c->operands[0], DURE_GENERATE_UNIFORM, 0.02, -0.01);
  dure_case_generate(&c->operands[PARAMETER], DURE_GENERATE_UNIFORM, 0.04, -0.02);
  dure_case_generate(&c->operands[FIRST_MOMENT], DURE_GENERATE_UNIFORM, 0.02, -0.01);
}
