// Cases of layer_norm, rms_norm and their gradients. Reduction: the width, or for parameters the rows.
#include <math.h>

#include "runtime/conformance/cases.h"

static const uint64_t shapes[][2] = {{1, 1},     {1, 64},  {7, 8},    {8, 7},     {9, 15},   {16, 16}, {15, 17},
                                     {17, 31},   {33, 33}, {31, 63},  {63, 65},   {65, 127}, {64, 64}, {129, 129},
                                     {127, 255}, {3, 257}, {257, 48}, {255, 384}, {5, 1023}, {4, 2049}};
enum { shape_count = sizeof(shapes) / sizeof(shapes[0]) };

enum { X, WEIGHT, BIAS, Y, MEAN, RECIPROCAL };

static dure_case *add_norm(dure_case_list *list, uint64_t R, uint64_t C, bool has_weight, bool has_bias) {
  dure_case *c = dure_case_add(list, DURE_OP_layer_norm, "rows=%llu,c=%llu%s%s", (unsigned long long)R,
                               (unsigned long long)C, has_weight ? "/weight" : "", has_bias ? "/bias" : "");
  c->attributes.layer_norm.epsilon = 1e-5f;
  dure_case_generate(dure_case_tensor(c, X, 2, DURE_SHAPE(R, C)), DURE_GENERATE_NORMAL, 1, 0.5);
  if (has_weight) dure_case_generate(dure_case_tensor(c, WEIGHT, 1, &C), DURE_GENERATE_NORMAL, 0.3, 1);
  if (has_bias) dure_case_tensor(c, BIAS, 1, &C);
  dure_case_tensor(c, Y, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, MEAN, 1, &R);
  dure_case_tensor(c, RECIPROCAL, 1, &R);
  c->reduction = (double)C;
  c->roundings = 8;
  return c;
}

static void add_norm_values(dure_case_list *list) {
  dure_case *c = add_norm(list, 40, 129, true, true);
  dure_case_rename(c, "nan");
  dure_case_sprinkle(&c->operands[X], (double)NAN, 4);
  c = add_norm(list, 40, 129, true, true);
  dure_case_rename(c, "infinity");
  c->any_not_finite = true;
  dure_case_sprinkle(&c->operands[X], (double)INFINITY, 4);
  // The variance must not be taken as the difference of two averages: here all of it would be lost.
  c = add_norm(list, 17, 256, true, true);
  dure_case_rename(c, "mean=1000");
  dure_case_generate(&c->operands[X], DURE_GENERATE_NORMAL, 1, 1000);
  c = add_norm(list, 17, 65, true, false);
  dure_case_rename(c, "constant");  // no variance: epsilon alone
  dure_case_generate(&c->operands[X], DURE_GENERATE_CONSTANT, 0, 0.5);
  c = add_norm(list, 17, 65, false, false);
  dure_case_rename(c, "large");
  dure_case_generate(&c->operands[X], DURE_GENERATE_NORMAL, 1e15, 0);
  c = add_norm(list, 17, 65, false, false);
  dure_case_rename(c, "small");
  dure_case_generate(&c->operands[X], DURE_GENERATE_NORMAL, 1e-10, 0);
}

void dure_cases_layer_norm(dure_case_list *list) {
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_norm(list, shapes[i][0], shapes[i][1], i % 4 != 3, i % 4 < 2);
    if (i % 5 != 4) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 6; j++) {
      if (c->operands[j].present) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
    }
  }
  add_norm(list, 33, 64, false, true);
  dure_case *c = add_norm(list, 4 * 9, 48, true, true);
  dure_case_rename(c, "shape=4x9x48");
  dure_case_generate(dure_case_tensor(c, X, 3, DURE_SHAPE(4, 9, 48)), DURE_GENERATE_NORMAL, 2, -1);
  dure_case_tensor(c, Y, 3, DURE_SHAPE(4, 9, 48));
  add_norm_values(list);
  dure_case_restricted(list, add_norm(list, 257, 129, true, true));
  if (!list->full) return;
  add_norm(list, 1024, 768, true, true);
  add_norm(list, 3, 30011, true, true);
  dure_case_generate(&add_norm(list, 140001, 257, true, true)->operands[X], DURE_GENERATE_UNIFORM, 2, -1);
}

// dy x weight? mean reciprocal_deviation -> dx
static dure_case *add_gradient(dure_case_list *list, uint64_t R, uint64_t C, bool has_weight, bool accumulate) {
  dure_case *c = dure_case_add(list, DURE_OP_layer_norm_gradient, "rows=%llu,c=%llu%s%s", (unsigned long long)R,
                               (unsigned long long)C, has_weight ? "/weight" : "", accumulate ? "/accumulate" : "");
  dure_case_tensor(c, 0, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, 1, 2, DURE_SHAPE(R, C));
  if (has_weight) dure_case_generate(dure_case_tensor(c, 2, 1, &C), DURE_GENERATE_NORMAL, 0.3, 1);
  dure_case_generate(dure_case_tensor(c, 3, 1, &R), DURE_GENERATE_NORMAL, 0.2, 0);
  dure_case_generate(dure_case_tensor(c, 4, 1, &R), DURE_GENERATE_UNIFORM, 1, 0.5);
  dure_case_tensor(c, 5, 2, DURE_SHAPE(R, C));
  c->accumulate = accumulate ? 1u << 5 : 0;
  c->reduction = (double)C;
  c->roundings = 8;
  return c;
}

void dure_cases_layer_norm_gradient(dure_case_list *list) {
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_gradient(list, shapes[i][0], shapes[i][1], i % 4 != 3, i % 2 == 1);
    if (i % 5 != 4) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 6; j++) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
  }
  dure_case *c = add_gradient(list, 40, 129, true, true);
  dure_case_rename(c, "special");
  c->any_not_finite = true;
  dure_case_sprinkle(&c->operands[0], (double)NAN, 3);
  dure_case_sprinkle(&c->operands[1], (double)INFINITY, 3);
  for (uint64_t C = 64; C <= 129; C += 65) {
    c = add_gradient(list, 40, C, true, false);
    dure_case_rename(c, "dx=dy");
    dure_case_share(c, 5, 0, 0);
  }
  c = add_gradient(list, 40, 129, false, false);
  dure_case_rename(c, "large");
  dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, 1e20, 0);
  dure_case_restricted(list, add_gradient(list, 257, 129, true, true));
  if (!list->full) return;
  add_gradient(list, 1024, 768, true, true);
  c = add_gradient(list, 140001, 257, true, false);
  for (uint32_t i = 0; i < 2; i++) dure_case_generate(&c->operands[i], DURE_GENERATE_UNIFORM, 2, -1);
  dure_case_generate(&c->operands[5], DURE_GENERATE_UNIFORM, 2, -1);
}

// dy x mean reciprocal_deviation -> dweight dbias
static dure_case *add_parameters(dure_case_list *list, uint64_t R, uint64_t C, uint32_t accumulate) {
  static const char *const names[] = {"", "/accumulate=dweight", "/accumulate=dbias", "/accumulate"};
  dure_case *c = dure_case_add(list, DURE_OP_layer_norm_parameters, "rows=%llu,c=%llu%s", (unsigned long long)R,
                               (unsigned long long)C, names[accumulate]);
  dure_case_tensor(c, 0, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, 1, 2, DURE_SHAPE(R, C));
  dure_case_generate(dure_case_tensor(c, 2, 1, &R), DURE_GENERATE_NORMAL, 0.2, 0);
  dure_case_generate(dure_case_tensor(c, 3, 1, &R), DURE_GENERATE_UNIFORM, 1, 0.5);
  dure_case_tensor(c, 4, 1, &C);
  dure_case_tensor(c, 5, 1, &C);
  c->accumulate = accumulate << 4;
  c->reduction = (double)R;
  c->roundings = 8;
  return c;
}

void dure_cases_layer_norm_parameters(dure_case_list *list) {
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_parameters(list, shapes[i][0], shapes[i][1], (uint32_t)(i % 4));
    if (i % 5 != 4) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 6; j++) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
  }
  add_parameters(list, 1024, 96, 3);
  add_parameters(list, 4099, 17, 0);
  dure_case *c = add_parameters(list, 40, 129, 3);
  dure_case_rename(c, "special");
  c->any_not_finite = true;
  dure_case_sprinkle(&c->operands[0], (double)NAN, 3);
  dure_case_sprinkle(&c->operands[1], (double)INFINITY, 3);
  dure_case_restricted(list, add_parameters(list, 257, 129, 3));
  dure_case_restricted(list, add_parameters(list, 300, 65, 0));
  if (!list->full) return;
  add_parameters(list, 1024, 768, 3);
  c = add_parameters(list, 140001, 257, 0);
  for (uint32_t i = 0; i < 2; i++) dure_case_generate(&c->operands[i], DURE_GENERATE_UNIFORM, 2, -1);
}

// ---- root mean square -------------------------------------------------------------------------------------------

// x weight? -> y reciprocal_rms
static dure_case *add_rms(dure_case_list *list, uint64_t R, uint64_t C, bool has_weight, bool has_offset) {
  dure_case *c = dure_case_add(list, DURE_OP_rms_norm, "rows=%llu,c=%llu%s%s", (unsigned long long)R,
                               (unsigned long long)C, has_weight ? "/weight" : "", has_offset ? "/offset" : "");
  c->attributes.rms_norm = (dure_rms_norm_attributes){1e-6f, has_offset ? 1 : 0};
  dure_case_generate(dure_case_tensor(c, 0, 2, DURE_SHAPE(R, C)), DURE_GENERATE_NORMAL, 1, 0.5);
  if (has_weight) dure_case_generate(dure_case_tensor(c, 1, 1, &C), DURE_GENERATE_NORMAL, 0.3, has_offset ? 0 : 1);
  dure_case_tensor(c, 2, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, 3, 1, &R);
  c->reduction = (double)C;
  c->roundings = 8;
  return c;
}

void dure_cases_rms_norm(dure_case_list *list) {
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_rms(list, shapes[i][0], shapes[i][1], i % 4 != 3, i % 3 == 1);
    if (i % 5 != 4) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 4; j++) {
      if (c->operands[j].present) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
    }
  }
  dure_case *c = add_rms(list, 40, 129, true, false);
  dure_case_rename(c, "special");
  c->any_not_finite = true;
  dure_case_sprinkle(&c->operands[0], (double)NAN, 3);
  dure_case_sprinkle(&c->operands[0], (double)INFINITY, 3);
  c = add_rms(list, 17, 65, false, false);
  dure_case_rename(c, "large");
  dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, 1e15, 0);
  c = add_rms(list, 17, 65, true, false);
  dure_case_rename(c, "zero");  // epsilon alone
  dure_case_generate(&c->operands[0], DURE_GENERATE_CONSTANT, 0, 0);
  dure_case_restricted(list, add_rms(list, 257, 129, true, true));
  if (!list->full) return;
  add_rms(list, 1024, 768, true, false);
  add_rms(list, 3, 30011, true, true);
  dure_case_generate(&add_rms(list, 140001, 257, true, false)->operands[0], DURE_GENERATE_UNIFORM, 2, -1);
}

// dy x weight? reciprocal_rms -> dx
static dure_case *add_rms_gradient(dure_case_list *list, uint64_t R, uint64_t C, bool has_weight, bool accumulate) {
  dure_case *c = dure_case_add(list, DURE_OP_rms_norm_gradient, "rows=%llu,c=%llu%s%s", (unsigned long long)R,
                               (unsigned long long)C, has_weight ? "/weight" : "", accumulate ? "/accumulate" : "");
  c->attributes.rms_norm.weight_offset = C % 2 == 0 ? 1 : 0;
  dure_case_tensor(c, 0, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, 1, 2, DURE_SHAPE(R, C));
  if (has_weight) dure_case_generate(dure_case_tensor(c, 2, 1, &C), DURE_GENERATE_NORMAL, 0.3, 1);
  dure_case_generate(dure_case_tensor(c, 3, 1, &R), DURE_GENERATE_UNIFORM, 1, 0.5);
  dure_case_tensor(c, 4, 2, DURE_SHAPE(R, C));
  c->accumulate = accumulate ? 1u << 4 : 0;
  c->reduction = (double)C;
  c->roundings = 8;
  return c;
}

void dure_cases_rms_norm_gradient(dure_case_list *list) {
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_rms_gradient(list, shapes[i][0], shapes[i][1], i % 4 != 3, i % 2 == 1);
    if (i % 5 != 4) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 5; j++) {
      if (c->operands[j].present) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
    }
  }
  dure_case *c = NULL;
  for (uint64_t C = 64; C <= 129; C += 65) {
    c = add_rms_gradient(list, 40, C, true, false);
    dure_case_rename(c, "dx=dy");
    dure_case_share(c, 4, 0, 0);
  }
  c = add_rms_gradient(list, 40, 129, true, true);
  dure_case_rename(c, "special");
  c->any_not_finite = true;
  dure_case_sprinkle(&c->operands[0], (double)NAN, 3);
  dure_case_sprinkle(&c->operands[1], (double)INFINITY, 3);
  dure_case_restricted(list, add_rms_gradient(list, 257, 129, true, true));
  if (!list->full) return;
  add_rms_gradient(list, 1024, 768, true, true);
  c = add_rms_gradient(list, 140001, 257, true, false);
  for (uint32_t i = 0; i < 2; i++) dure_case_generate(&c->operands[i], DURE_GENERATE_UNIFORM, 2, -1);
  dure_case_generate(&c->operands[4], DURE_GENERATE_UNIFORM, 2, -1);
}

// dy x reciprocal_rms -> dweight
static dure_case *add_rms_parameters(dure_case_list *list, uint64_t R, uint64_t C, bool accumulate) {
  dure_case *c = dure_case_add(list, DURE_OP_rms_norm_parameters, "rows=%llu,c=%llu%s", (unsigned long long)R,
                               (unsigned long long)C, accumulate ? "/accumulate" : "");
  dure_case_tensor(c, 0, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, 1, 2, DURE_SHAPE(R, C));
  dure_case_generate(dure_case_tensor(c, 2, 1, &R), DURE_GENERATE_UNIFORM, 1, 0.5);
  dure_case_tensor(c, 3, 1, &C);
  c->accumulate = accumulate ? 1u << 3 : 0;
  c->reduction = (double)R;
  c->roundings = 8;
  return c;
}

void dure_cases_rms_norm_parameters(dure_case_list *list) {
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_rms_parameters(list, shapes[i][0], shapes[i][1], i % 2 == 1);
    if (i % 5 != 4) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 4; j++) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
  }
  add_rms_parameters(list, 4099, 17, false);
  dure_case *c = add_rms_parameters(list, 40, 129, true);
  dure_case_rename(c, "special");
  c->any_not_finite = true;
  dure_case_sprinkle(&c->operands[0], (double)NAN, 3);
  dure_case_sprinkle(&c->operands[1], (double)INFINITY, 3);
  dure_case_restricted(list, add_rms_parameters(list, 257, 129, true));
  dure_case_restricted(list, add_rms_parameters(list, 300, 65, false));
  if (!list->full) return;
  add_rms_parameters(list, 1024, 768, true);
  c = add_rms_parameters(list, 140001, 257, false);
  for (uint32_t i = 0; i < 2; i++) dure_case_generate(&c->operands[i], DURE_GENERATE_UNIFORM, 2, -1);
}
