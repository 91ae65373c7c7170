// Cases of the rows for mixtures of experts.
#include <math.h>

#include "runtime/conformance/cases.h"

typedef unsigned long long number;

// ---- routing -----------------------------------------------------------------------------------------------------

typedef struct route_shape {
  uint64_t rows, experts;
  dure_route_attributes attributes;
} route_shape;

// count, sigmoid, normalised, factor, groups, limit, best
static const route_shape route_shapes[] = {
    {1, 1, {1, true, false, 1, 0, 0, 0}},      {7, 1, {1, true, false, 1, 0, 0, 0}},
    {3, 2, {1, false, false, 1, 0, 0, 0}},     {9, 8, {2, false, true, 1, 0, 0, 0}},
    {65, 8, {2, false, false, 1.5f, 0, 0, 0}}, {33, 60, {4, false, false, 1, 0, 0, 0}},
    {17, 64, {6, false, false, 16, 8, 3, 1}},  {31, 16, {4, true, true, 2.5f, 4, 2, 2}},
    {12, 256, {8, true, true, 2.5f, 8, 4, 2}}, {5, 9, {9, false, true, 1, 0, 0, 0}},
    {128, 4, {4, true, false, 0.5f, 0, 0, 0}}, {300, 12, {3, false, true, 1, 0, 0, 0}},
};
enum { route_count = sizeof(route_shapes) / sizeof(route_shapes[0]) };

static dure_case *add_route(dure_case_list *list, const route_shape *s, bool has_bias) {
  enum { LOGITS, BIAS, WEIGHTS, EXPERTS };
  const dure_route_attributes *a = &s->attributes;
  dure_case *c =
      dure_case_add(list, DURE_OP_route, "r=%llu,e=%llu,k=%u%s%s%s", (number)s->rows, (number)s->experts, a->count,
                    a->is_sigmoid ? "/sigmoid" : "", a->is_normalised ? "/normalised" : "", has_bias ? "/bias" : "");
  if (a->group_count > 0) dure_case_rename(c, "groups=%u,%u,%u", a->group_count, a->group_limit, a->group_best);
  c->attributes.route = *a;
  dure_case_tensor(c, LOGITS, 2, DURE_SHAPE(s->rows, s->experts));
  if (has_bias) dure_case_generate(dure_case_tensor(c, BIAS, 1, &s->experts), DURE_GENERATE_NORMAL, 0.3, 0);
  dure_case_tensor(c, WEIGHTS, 2, DURE_SHAPE(s->rows, a->count));
  dure_case_tensor(c, EXPERTS, 2, DURE_SHAPE(s->rows, a->count));
  c->roundings = 32;
  return c;
}

void dure_cases_route(dure_case_list *list) {
  for (size_t i = 0; i < route_count; i++) {
    dure_case *c = add_route(list, &route_shapes[i], route_shapes[i].attributes.is_sigmoid && i % 2 == 1);
    if (i % 3 != 1) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t k = 0; k < 4; k++) {
      if (c->operands[k].present) dure_case_shift(&c->operands[k], k % 3 + 1);
    }
  }
  dure_case *c = add_route(list, &route_shapes[3], false);
  dure_case_rename(c, "ties");
  dure_case_list_values(&c->operands[0], 5, (const double[]){1, 2, 2, 0.5, 1});
  c = add_route(list, &route_shapes[4], false);
  dure_case_rename(c, "large");
  dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, 60, 0);
  c = add_route(list, &route_shapes[3], false);
  dure_case_rename(c, "special");  // the row's weights are NaN, the experts numbers all the same
  dure_case_sprinkle(&c->operands[0], (double)NAN, 5);
  static const route_shape tall = {20000, 4, {2, false, true, 1, 0, 0, 0}};
  dure_case_restricted(list, add_route(list, &tall, false));
}

static dure_case *add_route_gradient(dure_case_list *list, const route_shape *s, bool accumulate) {
  enum { LOGITS, WEIGHTS, EXPERTS, DWEIGHTS, DLOGITS };
  const dure_route_attributes *a = &s->attributes;
  dure_case *c = dure_case_add(list, DURE_OP_route_gradient, "r=%llu,e=%llu,k=%u%s%s%s", (number)s->rows,
                               (number)s->experts, a->count, a->is_sigmoid ? "/sigmoid" : "",
                               a->is_normalised ? "/normalised" : "", accumulate ? "/accumulate" : "");
  c->attributes.route = *a;
  dure_case_tensor(c, LOGITS, 2, DURE_SHAPE(s->rows, s->experts));
  dure_case_generate(dure_case_tensor(c, WEIGHTS, 2, DURE_SHAPE(s->rows, a->count)), DURE_GENERATE_UNIFORM, 1, 0);
  dure_case_operand *experts = dure_case_tensor(c, EXPERTS, 2, DURE_SHAPE(s->rows, a->count));
  dure_case_indices(experts, s->experts);
  double numbers[DURE_CASE_VALUES];  // different within a row
  for (uint32_t k = 0; k < a->count; k++) numbers[k] = (double)((3 + k) % s->experts);
  dure_case_list_values(experts, a->count, numbers);
  dure_case_tensor(c, DWEIGHTS, 2, DURE_SHAPE(s->rows, a->count));
  dure_case_tensor(c, DLOGITS, 2, DURE_SHAPE(s->rows, s->experts));
  c->accumulate = accumulate ? 1u << DLOGITS : 0;
  c->reduction = a->count;
  c->roundings = 32;
  return c;
}

void dure_cases_route_gradient(dure_case_list *list) {
  for (size_t i = 0; i < route_count; i++) {
    dure_case *c = add_route_gradient(list, &route_shapes[i], i % 2 == 1);
    if (i % 3 != 1) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t k = 0; k < 5; k++) dure_case_shift(&c->operands[k], k % 3 + 1);
  }
  static const route_shape tall = {20000, 4, {2, false, false, 1, 0, 0, 0}};
  dure_case_restricted(list, add_route_gradient(list, &tall, false));
}

// ---- order -------------------------------------------------------------------------------------------------------

void dure_cases_expert_order(dure_case_list *list) {
  static const uint64_t shapes[][3] = {{1, 1, 1},  {5, 1, 3},    {7, 2, 4},     {33, 4, 60},
                                       {64, 8, 8}, {129, 6, 64}, {500, 8, 256}, {1000, 3, 7}};
  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
    const uint64_t *s = shapes[i], entries = s[0] * s[1], ends = s[2] + 1;
    for (uint32_t kind = 0; kind < 2; kind++) {
      dure_case *c = dure_case_add(list, DURE_OP_expert_order, "r=%llu,k=%llu,e=%llu%s", (number)s[0], (number)s[1],
                                   (number)s[2], kind == 1 ? "/some" : "");
      c->attributes.expert_order.expert_count = (uint32_t)s[2];
      dure_case_indices(dure_case_tensor(c, 0, 2, s), kind == 1 ? (s[2] + 1) / 2 : s[2]);
      dure_case_tensor(c, 1, 1, &ends);
      dure_case_tensor(c, 2, 1, &entries);
      dure_case_tensor(c, 3, 2, s);
      if (i % 3 != 1) continue;
      dure_case_rename(c, "shifted");
      for (uint32_t k = 0; k < 4; k++) dure_case_shift(&c->operands[k], k + 1);
    }
  }
}

// ---- products ----------------------------------------------------------------------------------------------------

typedef struct expert_shape {
  uint64_t rows, inner, columns;
  uint32_t experts;
  double ends[DURE_CASE_VALUES];  // offsets
} expert_shape;

static const expert_shape expert_shapes[] = {
    {1, 1, 1, 1, {0, 1}},
    {5, 3, 2, 3, {0, 0, 5, 5}},
    {16, 16, 16, 2, {0, 7, 16}},
    {33, 31, 17, 4, {0, 1, 20, 20, 33}},
    {70, 64, 48, 5, {0, 33, 33, 64, 65, 70}},
    {64, 33, 65, 2, {0, 32, 64}},
    {40, 8, 100, 3, {2, 10, 11, 38}},  // rows of no expert at both ends
    {129, 65, 33, 8, {0, 5, 17, 17, 50, 51, 90, 128, 129}},
    {100, 128, 64, 1, {0, 100}},
};
enum { expert_count = sizeof(expert_shapes) / sizeof(expert_shapes[0]) };

static void give_offsets(dure_case *c, const expert_shape *s, uint32_t first_row) {
  dure_case_operand *offsets = dure_case_tensor(c, 1, 1, DURE_SHAPE((uint64_t)s->experts + 1));
  double ends[DURE_CASE_VALUES];
  for (uint32_t e = 0; e <= s->experts; e++) ends[e] = s->ends[e] + first_row;
  dure_case_list_values(offsets, s->experts + 1, ends);
  c->attributes.expert_matmul.first_row = first_row;
}

static dure_case *add_expert_matmul(dure_case_list *list, const expert_shape *s, bool transposed, bool accumulate,
                                    uint32_t first_row) {
  dure_case *c =
      dure_case_add(list, DURE_OP_expert_matmul, "p=%llu,k=%llu,n=%llu,e=%u%s%s", (number)s->rows, (number)s->inner,
                    (number)s->columns, s->experts, transposed ? "/nt" : "/nn", accumulate ? "/accumulate" : "");
  if (first_row > 0) dure_case_rename(c, "first_row=%u", first_row);
  c->attributes.expert_matmul.transpose_b = transposed;
  dure_case_tensor(c, 0, 2, DURE_SHAPE(s->rows, s->inner));
  give_offsets(c, s, first_row);
  dure_case_tensor(
      c, 2, 3,
      transposed ? DURE_SHAPE(s->experts, s->columns, s->inner) : DURE_SHAPE(s->experts, s->inner, s->columns));
  dure_case_tensor(c, 3, 2, DURE_SHAPE(s->rows, s->columns));
  c->accumulate = accumulate ? 1u << 3 : 0;
  c->reduction = (double)s->inner;
  c->roundings = 2;
  return c;
}

void dure_cases_expert_matmul(dure_case_list *list) {
  for (size_t i = 0; i < expert_count; i++) {
    for (uint32_t transposed = 0; transposed < 2; transposed++) {
      dure_case *c = add_expert_matmul(list, &expert_shapes[i], transposed == 1, (i + transposed) % 3 == 1, 0);
      if (i % 3 != 2) continue;
      dure_case_rename(c, "strided");
      dure_case_shift(&c->operands[0], 1);
      dure_case_widen(&c->operands[0], 3);
      dure_case_shift(&c->operands[2], 2);
      dure_case_widen(&c->operands[3], 5);
    }
  }
  add_expert_matmul(list, &expert_shapes[3], true, false, 1000);
  for (size_t i = 4; i <= 7; i += 3) {
    dure_case *c = add_expert_matmul(list, &expert_shapes[i], i == 7, i == 4, 0);
    dure_case_rename(c, "restricted");
    dure_case_restricted(list, c);
  }
}

static dure_case *add_expert_outer(dure_case_list *list, const expert_shape *s, bool accumulate, uint32_t first_row) {
  dure_case *c = dure_case_add(list, DURE_OP_expert_outer, "p=%llu,i=%llu,j=%llu,e=%u%s", (number)s->rows,
                               (number)s->inner, (number)s->columns, s->experts, accumulate ? "/accumulate" : "");
  if (first_row > 0) dure_case_rename(c, "first_row=%u", first_row);
  dure_case_tensor(c, 0, 2, DURE_SHAPE(s->rows, s->inner));
  give_offsets(c, s, first_row);
  dure_case_tensor(c, 2, 2, DURE_SHAPE(s->rows, s->columns));
  dure_case_tensor(c, 3, 3, DURE_SHAPE(s->experts, s->inner, s->columns));
  c->accumulate = accumulate ? 1u << 3 : 0;
  c->reduction = (double)s->rows;
  c->roundings = 2;
  return c;
}

void dure_cases_expert_outer(dure_case_list *list) {
  for (size_t i = 0; i < expert_count; i++) {
    dure_case *c = add_expert_outer(list, &expert_shapes[i], i % 2 == 1, 0);
    if (i % 3 != 2) continue;
    dure_case_rename(c, "strided");
    dure_case_shift(&c->operands[0], 1);
    dure_case_widen(&c->operands[0], 3);
    dure_case_widen(&c->operands[2], 1);
    dure_case_shift(&c->operands[3], 3);
  }
  add_expert_outer(list, &expert_shapes[3], false, 1000);
  dure_case *c = add_expert_outer(list, &expert_shapes[7], false, 0);
  dure_case_rename(c, "restricted");
  dure_case_restricted(list, c);
}

// ---- combination -------------------------------------------------------------------------------------------------

static const uint64_t combine_shapes[][3] = {{1, 1, 1}, {3, 2, 5},    {9, 1, 33},   {17, 1, 64},
                                             {5, 8, 7}, {33, 2, 100}, {2, 6, 1025}, {65, 3, 48}};
enum { combine_count = sizeof(combine_shapes) / sizeof(combine_shapes[0]) };

// x weights places residual -> y
static dure_case *add_combine(dure_case_list *list, const uint64_t *s, bool has_places, bool has_residual) {
  dure_case *c = dure_case_add(list, DURE_OP_expert_combine, "r=%llu,k=%llu,c=%llu%s%s", (number)s[0], (number)s[1],
                               (number)s[2], has_places ? "/places" : "", has_residual ? "/residual" : "");
  const uint64_t rows = s[0] * s[1];
  dure_case_tensor(c, 0, 2, DURE_SHAPE(rows, s[2]));
  dure_case_tensor(c, 1, 2, DURE_SHAPE(s[0], s[1]));
  if (has_places) {
    dure_case_indices(dure_case_tensor(c, 2, 2, DURE_SHAPE(s[0], s[1])), rows);
    c->operands[2].generator = DURE_GENERATE_PERMUTED;
  }
  if (has_residual) dure_case_tensor(c, 3, 2, DURE_SHAPE(s[0], s[2]));
  dure_case_tensor(c, 4, 2, DURE_SHAPE(s[0], s[2]));
  c->reduction = (double)s[1] + 1;
  c->roundings = 2;
  return c;
}

void dure_cases_expert_combine(dure_case_list *list) {
  for (size_t i = 0; i < combine_count; i++) {
    dure_case *c = add_combine(list, combine_shapes[i], combine_shapes[i][1] > 1, i % 2 == 1);
    if (i % 4 == 1) {
      dure_case_rename(c, "shifted");
      for (uint32_t k = 0; k < 5; k++) {
        if (c->operands[k].present) dure_case_shift(&c->operands[k], k % 3 + 1);
      }
    }
    if (i == 3) dure_case_sprinkle(&c->operands[0], (double)NAN, 5);
  }
  dure_case *c = add_combine(list, DURE_SHAPE(9, 4, 20), true, false);
  dure_case_rename(c, "accumulate,first_row=12");  // of the rows of x that this part has
  c->accumulate = 1u << 4;
  c->attributes.expert_combine.first_row = 12;
  dure_case_tensor(c, 0, 2, DURE_SHAPE(10, 20));
  c = add_combine(list, DURE_SHAPE(300, 2, 64), true, true);
  dure_case_restricted(list, c);
}

// dy x weights places -> dx dweights
static dure_case *add_combine_gradient(dure_case_list *list, const uint64_t *s, bool has_places) {
  dure_case *c = dure_case_add(list, DURE_OP_expert_combine_gradient, "r=%llu,k=%llu,c=%llu%s", (number)s[0],
                               (number)s[1], (number)s[2], has_places ? "/places" : "");
  const uint64_t rows = s[0] * s[1];
  dure_case_tensor(c, 0, 2, DURE_SHAPE(s[0], s[2]));
  dure_case_tensor(c, 1, 2, DURE_SHAPE(rows, s[2]));
  dure_case_tensor(c, 2, 2, DURE_SHAPE(s[0], s[1]));
  if (has_places) {
    dure_case_indices(dure_case_tensor(c, 3, 2, DURE_SHAPE(s[0], s[1])), rows);
    c->operands[3].generator = DURE_GENERATE_PERMUTED;
  }
  dure_case_tensor(c, 4, 2, DURE_SHAPE(rows, s[2]));
  dure_case_tensor(c, 5, 2, DURE_SHAPE(s[0], s[1]));
  c->reduction = (double)s[2];
  c->roundings = 2;
  return c;
}

void dure_cases_expert_combine_gradient(dure_case_list *list) {
  for (size_t i = 0; i < combine_count; i++) {
    dure_case *c = add_combine_gradient(list, combine_shapes[i], combine_shapes[i][1] > 1);
    if (i % 4 != 1) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t k = 0; k < 6; k++) {  // of places no more than there are, so that they are all different
      if (c->operands[k].present && k != 3) dure_case_shift(&c->operands[k], k % 3 + 1);
    }
  }
  dure_case *c = add_combine_gradient(list, DURE_SHAPE(9, 4, 20), true);
  dure_case_rename(c, "first_row=12");
  c->attributes.expert_combine.first_row = 12;
  dure_case_tensor(c, 1, 2, DURE_SHAPE(10, 20));
  dure_case_tensor(c, 4, 2, DURE_SHAPE(10, 20));
  dure_case_restricted(list, add_combine_gradient(list, DURE_SHAPE(150, 2, 64), true));
}
