// Cases of sum_rows, sum and square_sum. Reduction: the terms of a sum; roundings: accumulation and the square.
#include <math.h>

#include "runtime/conformance/cases.h"

static dure_case *add_sum_rows(dure_case_list *list, uint64_t rows, uint64_t width, bool accumulate) {
  dure_case *c = dure_case_add(list, DURE_OP_sum_rows, "rows=%llu,n=%llu%s", (unsigned long long)rows,
                               (unsigned long long)width, accumulate ? "/accumulate" : "");
  dure_case_tensor(c, 0, 2, DURE_SHAPE(rows, width));
  dure_case_tensor(c, 1, 1, &width);
  c->accumulate = accumulate ? 1u << 1 : 0;
  c->reduction = (double)rows;
  c->roundings = 4;
  return c;
}

void dure_cases_sum_rows(dure_case_list *list) {
  static const uint64_t shapes[][2] = {{1, 1},      {1, 257},    {257, 1},  {7, 8},     {8, 9},    {15, 16},
                                       {16, 7},     {17, 33},    {31, 65},  {33, 31},   {63, 64},  {65, 127},
                                       {127, 63},   {129, 129},  {255, 17}, {257, 255}, {1025, 3}, {4099, 33},
                                       {1024, 384}, {300, 1153}, {3, 5000}};
  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
    add_sum_rows(list, shapes[i][0], shapes[i][1], i % 2 == 1);
    if (i % 4 != 3) continue;
    dure_case *c = add_sum_rows(list, shapes[i][0], shapes[i][1], i % 8 == 3);
    dure_case_rename(c, "shifted");
    dure_case_shift(&c->operands[0], i % 3 + 1);
    dure_case_shift(&c->operands[1], 1);
  }
  dure_case *c = add_sum_rows(list, 4 * 33, 65, true);
  dure_case_rename(c, "shape=4x33x65");
  dure_case_tensor(c, 0, 3, DURE_SHAPE(4, 33, 65));
  c = add_sum_rows(list, 100, 120, true);
  dure_case_rename(c, "special");
  c->any_not_finite = true;
  dure_case_sprinkle(&c->operands[0], (double)NAN, 5);
  dure_case_sprinkle(&c->operands[0], (double)INFINITY, 5);
  dure_case_sprinkle(&c->operands[1], -(double)INFINITY, 5);
  dure_case_restricted(list, add_sum_rows(list, 257, 129, true));
  dure_case_restricted(list, add_sum_rows(list, 700, 500, false));
  if (list->full) dure_case_generate(&add_sum_rows(list, 140001, 257, true)->operands[0], DURE_GENERATE_UNIFORM, 2, -1);
}

static dure_case *add_sum(dure_case_list *list, dure_op op, uint64_t count, bool accumulate) {
  dure_case *c = dure_case_add(list, op, "n=%llu%s", (unsigned long long)count, accumulate ? "/accumulate" : "");
  dure_case_tensor(c, 0, 1, &count);
  dure_case_tensor(c, 1, 1, DURE_SHAPE(1));
  c->accumulate = accumulate ? 1u << 1 : 0;
  c->reduction = (double)count;
  c->roundings = 4;
  return c;
}

static void add_sums(dure_case_list *list, dure_op op) {
  static const uint64_t counts[] = {1,  2,   3,   7,   8,   9,   15,   16,   17,   31,    33,    63,    64,
                                    65, 127, 129, 255, 256, 257, 1023, 1025, 4099, 65535, 65537, 300007};
  for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
    dure_case *c = add_sum(list, op, counts[i], i % 2 == 1);
    if (i % 5 != 3) continue;
    dure_case_rename(c, "shifted");
    dure_case_shift(&c->operands[0], i % 3 + 1);
    dure_case_shift(&c->operands[1], 3);
  }
  dure_case *c = add_sum(list, op, 3 * 7 * 129, true);
  dure_case_rename(c, "shape=3x7x129");
  dure_case_tensor(c, 0, 3, DURE_SHAPE(3, 7, 129));
  c = add_sum(list, op, 1000, false);
  dure_case_rename(c, "nan");
  dure_case_sprinkle(&c->operands[0], (double)NAN, 1);
  c = add_sum(list, op, 1000, false);
  dure_case_rename(c, "infinity");
  dure_case_sprinkle(&c->operands[0], -(double)INFINITY, 2);
  c = add_sum(list, op, 1000, true);
  dure_case_rename(c, "large");
  dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, 1e17, 0);
  c = add_sum(list, op, 5000, false);
  dure_case_rename(c, "overflow");
  dure_case_generate(&c->operands[0], DURE_GENERATE_UNIFORM, 1e38, 1e38);
  dure_case_restricted(list, add_sum(list, op, 30011, true));
  dure_case_restricted(list, add_sum(list, op, 30011, false));
  if (list->full) dure_case_generate(&add_sum(list, op, 34000001, false)->operands[0], DURE_GENERATE_UNIFORM, 2, -1);
}

void dure_cases_sum(dure_case_list *list) { add_sums(list, DURE_OP_sum); }
void dure_cases_square_sum(dure_case_list *list) { add_sums(list, DURE_OP_square_sum); }
