// Cases of copy_heads.
#include <math.h>

#include "runtime/conformance/cases.h"

typedef struct heads_shape {
  uint64_t B, T, from, to, D;
} heads_shape;

static dure_case *add_copy_heads(dure_case_list *list, const heads_shape *s, bool accumulate) {
  typedef unsigned long long number;
  dure_case *c =
      dure_case_add(list, DURE_OP_copy_heads, "b=%llu,t=%llu,h=%llu,to=%llu,d=%llu%s", (number)s->B, (number)s->T,
                    (number)s->from, (number)s->to, (number)s->D, accumulate ? "/accumulate" : "");
  c->attributes.copy_heads.head_count = s->from == s->to ? 0 : (uint32_t)s->to;
  dure_case_tensor(c, 0, 4, DURE_SHAPE(s->B, s->T, s->from, s->D));
  dure_case_tensor(c, 1, 4, DURE_SHAPE(s->B, s->T, s->to, s->D));
  c->accumulate = accumulate ? 1u << 1 : 0;
  c->reduction = s->to == 1 && s->from > 1 ? (double)s->from : accumulate ? 1 : 0;
  return c;
}

// Heads that are parts of wider ones.
static void spread(dure_case_operand *operand, uint64_t head_gap, uint64_t row_gap) {
  operand->stride[2] = operand->shape[3] + head_gap;
  operand->stride[1] = operand->shape[2] * operand->stride[2] + row_gap;
  operand->stride[0] = operand->shape[1] * operand->stride[1];
  operand->base_count = operand->shape[0] * operand->stride[0] + operand->offset;
}

void dure_cases_copy_heads(dure_case_list *list) {
  static const heads_shape shapes[] = {{1, 1, 1, 1, 1},  {2, 3, 4, 4, 8},  {1, 7, 1, 5, 6},   {2, 5, 6, 1, 16},
                                       {1, 9, 3, 3, 33}, {3, 4, 1, 8, 24}, {2, 3, 16, 1, 64}, {1, 33, 2, 2, 128}};
  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
    for (uint32_t kind = 0; kind < 3; kind++) {
      dure_case *c = add_copy_heads(list, &shapes[i], kind == 1);
      if (kind == 0) continue;
      dure_case_rename(c, "spread");
      spread(&c->operands[0], 4 * kind, i % 2 == 0 ? 8 : 3);
      spread(&c->operands[1], i % 3 == 0 ? 5 : 8, 0);
      if (kind == 2) dure_case_shift(&c->operands[1], 1 + i);
    }
  }
  static const heads_shape tall = {2, 150, 4, 4, 16}, wide = {2, 150, 1, 4, 16}, sum = {2, 150, 4, 1, 16};
  dure_case_restricted(list, add_copy_heads(list, &tall, false));
  dure_case_restricted(list, add_copy_heads(list, &wide, false));
  dure_case_restricted(list, add_copy_heads(list, &sum, true));
}
