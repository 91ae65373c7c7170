// Cases of linear_cross_entropy and its gradient. Reduction: every sum on the way; with 16-bit storage the logits,
// their gradients and the log-sum-exp made of rounded logits are each off by a rounding to storage.
#include <math.h>

#include "runtime/conformance/cases.h"

typedef struct shape {
  uint64_t R, V, C;
  float soft_cap;
} shape;

// One chunk and several. Caps of the size of a logit and below it, so that tanh bends most of them.
static const shape capped_shapes[] = {{17, 65, 33, 2}, {3, 7, 5, 0.5f}, {130, 257, 7, 1}, {1344, 9, 12, 3}};
enum { capped_count = sizeof(capped_shapes) / sizeof(capped_shapes[0]) };

// Up to 64 rows are one chunk; 1,344 rows make chunks of 64, 2,700 of 128.
static const shape shapes[] = {{1, 1, 1, 0},     {3, 7, 5, 0},    {8, 16, 8, 0},    {17, 65, 33, 0},
                               {63, 129, 31, 0}, {64, 64, 64, 0}, {65, 33, 16, 0},  {130, 257, 7, 0},
                               {1344, 9, 12, 0}, {2700, 5, 4, 0}, {40, 1023, 24, 0}};
enum { shape_count = sizeof(shapes) / sizeof(shapes[0]) };

static void add_inputs(dure_case *c, const shape *s) {
  dure_case_tensor(c, 0, 2, DURE_SHAPE(s->R, s->C));
  dure_case_generate(dure_case_tensor(c, 1, 2, DURE_SHAPE(s->V, s->C)), DURE_GENERATE_NORMAL, 0.5, 0);
  dure_case_indices(dure_case_tensor(c, 2, 1, &s->R), s->V);
  c->reduction = (double)(s->C + s->V);
  c->roundings = 16;
  c->storage_roundings = 3;
  if (!(s->soft_cap > 0)) return;
  dure_case_rename(c, "soft_cap=%g", (double)s->soft_cap);
  c->attributes.linear_loss.soft_cap = s->soft_cap;
  c->roundings += 8;  // what tanh takes, what it gives and the multiple of that
  c->storage_roundings += 3;
}

static void add_outputs(dure_case *c, const shape *s, uint32_t loss, uint32_t chunk, bool keeps_both) {
  const uint64_t rows = dure_linear_cross_entropy_chunk(s->R);
  dure_case_tensor(c, loss, 1, &s->R);
  dure_case_tensor(c, loss + 1, 1, &s->R);
  dure_case_tensor(c, chunk, 2, DURE_SHAPE(keeps_both ? 2 * rows : rows, s->V));
}

static dure_case *add_loss(dure_case_list *list, const shape *s) {
  dure_case *c = dure_case_add(list, DURE_OP_linear_cross_entropy, "rows=%llu,v=%llu,c=%llu", (unsigned long long)s->R,
                               (unsigned long long)s->V, (unsigned long long)s->C);
  add_inputs(c, s);
  add_outputs(c, s, 3, 5, false);
  return c;
}

void dure_cases_linear_cross_entropy(dure_case_list *list) {
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_loss(list, &shapes[i]);
    if (i % 2 == 1) dure_case_sprinkle(&c->operands[2], (double)DURE_IGNORE_LABEL, (uint32_t)(shapes[i].R / 4));
    if (i % 3 != 2) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 5; j++) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
  }
  dure_case *c = add_loss(list, &(shape){70, 33, 9, 0});
  dure_case_rename(c, "nan");
  dure_case_sprinkle(&c->operands[0], (double)NAN, 3);
  dure_case_restricted(list, add_loss(list, &(shape){150, 129, 40, 0}));
  for (size_t i = 0; i < (list->full ? capped_count : 2); i++) add_loss(list, &capped_shapes[i]);
  if (list->full) add_loss(list, &(shape){257, 5003, 96, 0});
}

// hidden weight labels dloss -> loss log_sum_exp dhidden? dweight? chunk
static dure_case *add_gradient(dure_case_list *list, const shape *s, bool has_dhidden, bool has_dweight,
                               uint32_t accumulate) {
  dure_case *c =
      dure_case_add(list, DURE_OP_linear_cross_entropy_gradient, "rows=%llu,v=%llu,c=%llu%s%s%s",
                    (unsigned long long)s->R, (unsigned long long)s->V, (unsigned long long)s->C,
                    has_dhidden ? "/dhidden" : "", has_dweight ? "/dweight" : "", accumulate != 0 ? "/accumulate" : "");
  add_inputs(c, s);
  dure_case_generate(dure_case_tensor(c, 3, 1, DURE_SHAPE(1)), DURE_GENERATE_CONSTANT, 0, 0.25);
  add_outputs(c, s, 4, 8, s->soft_cap > 0);
  if (has_dhidden) dure_case_tensor(c, 6, 2, DURE_SHAPE(s->R, s->C));
  if (has_dweight) dure_case_tensor(c, 7, 2, DURE_SHAPE(s->V, s->C));
  c->accumulate = accumulate;
  c->reduction += (double)s->R;
  c->sums_over_chunks = has_dweight && s->R > dure_linear_cross_entropy_chunk(s->R);
  return c;
}

void dure_cases_linear_cross_entropy_gradient(dure_case_list *list) {
  for (size_t i = 0; i < shape_count; i++) {
    uint32_t accumulate = i % 4 == 1 ? 1u << 6 | 1u << 7 : i % 4 == 3 ? 1u << 7 : 0;
    dure_case *c = add_gradient(list, &shapes[i], true, true, accumulate);
    if (i % 2 == 1) dure_case_sprinkle(&c->operands[2], (double)DURE_IGNORE_LABEL, (uint32_t)(shapes[i].R / 4));
    if (i % 3 != 2) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 8; j++) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
  }
  add_gradient(list, &(shape){70, 33, 9, 0}, true, false, 0);
  add_gradient(list, &(shape){70, 33, 9, 0}, false, true, 0);
  dure_case_restricted(list, add_gradient(list, &(shape){150, 129, 40, 0}, true, true, 0));
  for (size_t i = 0; i < capped_count; i++)
    if (list->full || i % 2 == 0) add_gradient(list, &capped_shapes[i], true, true, i == 2 ? 1u << 6 | 1u << 7 : 0);
  if (list->full) add_gradient(list, &(shape){257, 5003, 96, 0}, true, true, 0);
}
