// Cases of cross_entropy and its gradient. Reduction: the row; roundings: exponential, logarithm, difference.
#include <math.h>

#include "runtime/conformance/cases.h"

static const uint64_t shapes[][2] = {{1, 1},     {1, 257},   {7, 8},    {9, 7},    {8, 16},   {17, 15},   {16, 33},
                                     {33, 31},   {31, 63},   {64, 65},  {65, 127}, {63, 129}, {129, 255}, {127, 257},
                                     {128, 384}, {256, 256}, {5, 1023}, {3, 4099}, {2, 50257}};
enum { shape_count = sizeof(shapes) / sizeof(shapes[0]) };

static dure_case *add_loss(dure_case_list *list, uint64_t R, uint64_t V) {
  dure_case *c =
      dure_case_add(list, DURE_OP_cross_entropy, "rows=%llu,v=%llu", (unsigned long long)R, (unsigned long long)V);
  dure_case_generate(dure_case_tensor(c, 0, 2, DURE_SHAPE(R, V)), DURE_GENERATE_NORMAL, 2, 0);
  dure_case_indices(dure_case_tensor(c, 1, 1, &R), V);
  dure_case_tensor(c, 2, 1, &R);
  dure_case_tensor(c, 3, 1, &R);
  c->reduction = (double)V;
  c->roundings = 16;
  return c;
}

void dure_cases_cross_entropy(dure_case_list *list) {
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_loss(list, shapes[i][0], shapes[i][1]);
    if (i % 2 == 1) dure_case_sprinkle(&c->operands[1], (double)DURE_IGNORE_LABEL, (uint32_t)(shapes[i][0] / 4));
    if (i % 4 != 3) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 4; j++) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
  }
  dure_case *c = add_loss(list, 24, 65);
  dure_case_rename(c, "shape=4x6x65");
  dure_case_generate(dure_case_tensor(c, 0, 3, DURE_SHAPE(4, 6, 65)), DURE_GENERATE_NORMAL, 2, 0);
  dure_case_indices(dure_case_tensor(c, 1, 2, DURE_SHAPE(4, 6)), 65);
  c = add_loss(list, 33, 65);
  dure_case_rename(c, "ignored");
  dure_case_list_values(&c->operands[1], 1, (const double[]){(double)DURE_IGNORE_LABEL});
  c = add_loss(list, 33, 65);
  dure_case_rename(c, "labels_beyond");
  dure_case_sprinkle(&c->operands[1], 65, 4);
  dure_case_sprinkle(&c->operands[1], 4294967294.0, 4);
  c = add_loss(list, 33, 65);
  dure_case_rename(c, "large");
  dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, 1e4, 0);
  c = add_loss(list, 33, 65);
  dure_case_rename(c, "far_from_zero");
  dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, 1, -1000);
  c = add_loss(list, 33, 65);
  dure_case_rename(c, "special");
  c->any_not_finite = true;
  dure_case_sprinkle(&c->operands[0], (double)NAN, 3);
  dure_case_sprinkle(&c->operands[0], (double)INFINITY, 3);
  c = add_loss(list, 33, 65);
  dure_case_rename(c, "masked");  // logits of minus infinity are impossible tokens
  dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, 1, 0);
  dure_case_sprinkle(&c->operands[0], -(double)INFINITY, 200);
  dure_case_list_values(&c->operands[1], 1, (const double[]){7});
  c->any_not_finite = true;
  dure_case_restricted(list, add_loss(list, 300, 129));
  if (!list->full) return;
  dure_case_generate(&add_loss(list, 701, 50257)->operands[0], DURE_GENERATE_UNIFORM, 8, -4);
}

// labels log_sum_exp dloss -> logits
static dure_case *add_gradient(dure_case_list *list, uint64_t R, uint64_t V) {
  dure_case *c = dure_case_add(list, DURE_OP_cross_entropy_gradient, "rows=%llu,v=%llu", (unsigned long long)R,
                               (unsigned long long)V);
  dure_case_indices(dure_case_tensor(c, 0, 1, &R), V);
  dure_case_tensor(c, 1, 1, &R);
  dure_case_generate(dure_case_tensor(c, 2, 1, DURE_SHAPE(1)), DURE_GENERATE_CONSTANT, 0, 1 / (double)R);
  dure_case_generate(dure_case_tensor(c, 3, 2, DURE_SHAPE(R, V)), DURE_GENERATE_NORMAL, 2, 0);
  c->reduction = 1;
  c->roundings = 16;
  return c;
}

void dure_cases_cross_entropy_gradient(dure_case_list *list) {
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_gradient(list, shapes[i][0], shapes[i][1]);
    if (i % 2 == 1) dure_case_sprinkle(&c->operands[0], (double)DURE_IGNORE_LABEL, (uint32_t)(shapes[i][0] / 4));
    if (i % 4 != 3) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 4; j++) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
  }
  dure_case *c = add_gradient(list, 33, 65);
  dure_case_rename(c, "ignored");
  dure_case_list_values(&c->operands[0], 1, (const double[]){(double)DURE_IGNORE_LABEL});
  c = add_gradient(list, 33, 65);
  dure_case_rename(c, "large");
  dure_case_generate(&c->operands[3], DURE_GENERATE_NORMAL, 1e3, 0);
  c = add_gradient(list, 33, 65);
  dure_case_rename(c, "dloss=-3");
  dure_case_generate(&c->operands[2], DURE_GENERATE_CONSTANT, 0, -3);
  c = add_gradient(list, 33, 65);
  dure_case_rename(c, "nan");
  dure_case_sprinkle(&c->operands[3], (double)NAN, 3);
  c = add_gradient(list, 33, 65);
  dure_case_rename(c, "masked");
  dure_case_sprinkle(&c->operands[3], -(double)INFINITY, 200);
  dure_case_restricted(list, add_gradient(list, 300, 129));
  if (!list->full) return;
  dure_case_generate(&add_gradient(list, 701, 50257)->operands[3], DURE_GENERATE_UNIFORM, 8, -4);
}
