// Cases of attention and attention_gradient. Reduction: positions and elements of a head together, since an output
// element is a sum over positions of probabilities that are sums over the head; roundings: two exponentials.
#include <math.h>
#include <stdio.h>

#include "runtime/conformance/cases.h"

typedef struct shape {
  uint64_t B, T, H, G, D;
  uint32_t window;
} shape;

enum { Q, K, V, Y, LOG_SUM_EXP };
enum { DY = 5, DQ, DK, DV };

static dure_case *add(dure_case_list *list, dure_op op, shape s) {
  char window[32] = "";
  if (s.window > 0) snprintf(window, sizeof(window), ",window=%u", s.window);
  dure_case *c =
      dure_case_add(list, op, "b=%llu,t=%llu,h=%llu,g=%llu,d=%llu%s", (unsigned long long)s.B, (unsigned long long)s.T,
                    (unsigned long long)s.H, (unsigned long long)s.G, (unsigned long long)s.D, window);
  c->attributes.attention = (dure_attention_attributes){(float)(1 / sqrt((double)s.D)), s.window};
  dure_case_tensor(c, Q, 4, DURE_SHAPE(s.B, s.T, s.H, s.D));
  dure_case_tensor(c, K, 4, DURE_SHAPE(s.B, s.T, s.G, s.D));
  dure_case_tensor(c, V, 4, DURE_SHAPE(s.B, s.T, s.G, s.D));
  dure_case_tensor(c, Y, 4, DURE_SHAPE(s.B, s.T, s.H, s.D));
  dure_case_tensor(c, LOG_SUM_EXP, 3, DURE_SHAPE(s.B, s.H, s.T));
  if (op == DURE_OP_attention_gradient) {
    dure_case_tensor(c, DY, 4, DURE_SHAPE(s.B, s.T, s.H, s.D));
    dure_case_tensor(c, DQ, 4, DURE_SHAPE(s.B, s.T, s.H, s.D));
    dure_case_tensor(c, DK, 4, DURE_SHAPE(s.B, s.T, s.G, s.D));
    dure_case_tensor(c, DV, 4, DURE_SHAPE(s.B, s.T, s.G, s.D));
  }
  c->reduction = (double)(s.T * (s.H / s.G) + s.D);
  c->roundings = 16;
  return c;
}

// Three operands as parts of one projection [B, T, (H + 2 G) D].
static void fuse(dure_case *c, uint32_t first, shape s) {
  uint64_t width = (s.H + 2 * s.G) * s.D;
  dure_case_operand *owner = &c->operands[first];
  owner->stride[1] = width;
  owner->stride[0] = s.T * width;
  owner->base_count = s.B * s.T * width;
  dure_case_share(c, first + 1, first, s.H * s.D);
  dure_case_share(c, first + 2, first, (s.H + s.G) * s.D);
}

static const shape shapes[] = {
    {1, 1, 1, 1, 1, 0},    {1, 1, 2, 1, 64, 0},   {2, 7, 1, 1, 8, 0},     {1, 8, 2, 2, 7, 0},
    {3, 9, 3, 1, 16, 0},   {1, 15, 2, 1, 31, 0},  {2, 16, 4, 2, 16, 0},   {1, 17, 1, 1, 33, 0},
    {2, 31, 2, 2, 64, 0},  {1, 33, 6, 3, 32, 0},  {1, 63, 2, 1, 17, 0},   {2, 64, 4, 4, 16, 0},
    {1, 65, 2, 2, 65, 0},  {1, 127, 1, 1, 64, 0}, {1, 129, 2, 1, 48, 0},  {4, 32, 4, 4, 16, 0},
    {1, 255, 1, 1, 32, 0}, {1, 257, 2, 2, 8, 0},  {1, 64, 2, 2, 128, 0},  {1, 40, 2, 1, 80, 0},
    {2, 33, 2, 1, 16, 1},  {1, 65, 2, 2, 32, 7},  {1, 129, 1, 1, 64, 16}, {1, 100, 2, 1, 24, 64},
    {1, 33, 2, 2, 8, 1000}};
enum { shape_count = sizeof(shapes) / sizeof(shapes[0]) };

static void add_values(dure_case_list *list, dure_op op) {
  shape s = {1, 33, 2, 2, 16, 0};
  dure_case *c = add(list, op, s);
  dure_case_rename(c, "large");  // scores of several hundred: without the maximum taken out, infinity
  dure_case_generate(&c->operands[Q], DURE_GENERATE_NORMAL, 20, 0);
  dure_case_generate(&c->operands[K], DURE_GENERATE_NORMAL, 20, 0);
  c = add(list, op, s);
  dure_case_rename(c, "nan");
  dure_case_sprinkle(&c->operands[Q], (double)NAN, 2);
  dure_case_sprinkle(&c->operands[V], (double)NAN, 2);
  c = add(list, op, s);
  dure_case_rename(c, "nan_key");
  dure_case_sprinkle(&c->operands[K], (double)NAN, 1);
  c = add(list, op, s);
  dure_case_rename(c, "scale=0");  // an average
  c->attributes.attention.scale = 0;
  c = add(list, op, s);
  dure_case_rename(c, "scale=-1.5");
  c->attributes.attention.scale = -1.5f;
}

static void add_all(dure_case_list *list, dure_op op) {
  bool is_gradient = op == DURE_OP_attention_gradient;
  for (size_t i = 0; i < shape_count; i++) {
    add(list, op, shapes[i]);
    dure_case *c = add(list, op, shapes[i]);
    dure_case_rename(c, "fused");
    fuse(c, Q, shapes[i]);
    if (is_gradient) fuse(c, DQ, shapes[i]);
  }
  dure_case *c = add(list, op, (shape){2, 33, 2, 1, 17, 0});
  dure_case_rename(c, "shifted");
  for (uint32_t i = 0; i < (is_gradient ? 9u : 5u); i++) dure_case_shift(&c->operands[i], i % 3 + 1);
  add_values(list, op);
  dure_case_restricted(list, add(list, op, (shape){5, 33, 2, 1, 32, 0}));
  c = add(list, op, (shape){4, 31, 4, 2, 16, 0});
  dure_case_rename(c, "fused");
  fuse(c, Q, (shape){4, 31, 4, 2, 16, 0});
  if (is_gradient) fuse(c, DQ, (shape){4, 31, 4, 2, 16, 0});
  dure_case_restricted(list, c);
  if (!list->full) return;
  add(list, op, (shape){4, 256, 6, 6, 64, 0});
  add(list, op, (shape){1, 1025, 2, 1, 64, 0});
  add(list, op, (shape){1, 700, 2, 2, 128, 100});
}

void dure_cases_attention(dure_case_list *list) {
  add_all(list, DURE_OP_attention);
  if (!list->full) return;
  dure_case *c = add(list, DURE_OP_attention, (shape){1030, 32, 16, 16, 64, 0});  // each of q, k, v, y passes 128 MiB
  for (uint32_t i = Q; i <= Y; i++) dure_case_generate(&c->operands[i], DURE_GENERATE_UNIFORM, 2, -1);
}

void dure_cases_attention_gradient(dure_case_list *list) { add_all(list, DURE_OP_attention_gradient); }
