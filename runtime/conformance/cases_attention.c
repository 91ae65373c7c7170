// Cases of attention and attention_gradient. Reduction: positions and elements of a head together, since an output
// element is a sum over positions of probabilities that are sums over the head; roundings: two exponentials. In 16-bit
// types matrix units take probabilities and scores' gradients rounded once to the type.
#include <math.h>
#include <stdio.h>

#include "runtime/conformance/cases.h"

typedef struct shape {
  uint64_t B, T, H, G, D;
  uint32_t window;
  uint32_t document_length;  // on average; 0: no documents
  float soft_cap;
  bool has_slopes;
} shape;

enum { Q, K, V, DOCUMENT_STARTS, SLOPES, Y, LOG_SUM_EXP, DY, DQ, DK, DV };

static void add_options(dure_case *c, shape s) {
  if (s.document_length > 0) {
    dure_case_rename(c, "documents=%u", s.document_length);
    dure_case_indices(dure_case_tensor(c, DOCUMENT_STARTS, 2, DURE_SHAPE(s.B, s.T)), s.document_length);
  }
  if (s.has_slopes) {
    dure_case_rename(c, "slopes");
    dure_case_generate(dure_case_tensor(c, SLOPES, 1, &s.H), DURE_GENERATE_UNIFORM, 0.5, 0);
  }
  if (s.soft_cap > 0) dure_case_rename(c, "soft_cap=%g", (double)s.soft_cap);
  c->attributes.attention.soft_cap = s.soft_cap;
}

static dure_case *add(dure_case_list *list, dure_op op, shape s) {
  char window[32] = "";
  if (s.window > 0) snprintf(window, sizeof(window), ",window=%u", s.window);
  dure_case *c =
      dure_case_add(list, op, "b=%llu,t=%llu,h=%llu,g=%llu,d=%llu%s", (unsigned long long)s.B, (unsigned long long)s.T,
                    (unsigned long long)s.H, (unsigned long long)s.G, (unsigned long long)s.D, window);
  c->attributes.attention = (dure_attention_attributes){.scale = (float)(1 / sqrt((double)s.D)), .window = s.window};
  add_options(c, s);
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
  c->storage_roundings = 1;
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
    {.B = 1, .T = 1, .H = 1, .G = 1, .D = 1},
    {.B = 1, .T = 1, .H = 2, .G = 1, .D = 64},
    {.B = 2, .T = 7, .H = 1, .G = 1, .D = 8},
    {.B = 1, .T = 8, .H = 2, .G = 2, .D = 7},
    {.B = 3, .T = 9, .H = 3, .G = 1, .D = 16},
    {.B = 1, .T = 15, .H = 2, .G = 1, .D = 31},
    {.B = 2, .T = 16, .H = 4, .G = 2, .D = 16},
    {.B = 1, .T = 17, .H = 1, .G = 1, .D = 33},
    {.B = 2, .T = 31, .H = 2, .G = 2, .D = 64},
    {.B = 1, .T = 33, .H = 6, .G = 3, .D = 32},
    {.B = 1, .T = 63, .H = 2, .G = 1, .D = 17},
    {.B = 2, .T = 64, .H = 4, .G = 4, .D = 16},
    {.B = 1, .T = 65, .H = 2, .G = 2, .D = 65},
    {.B = 1, .T = 127, .H = 1, .G = 1, .D = 64},
    {.B = 1, .T = 129, .H = 2, .G = 1, .D = 48},
    {.B = 4, .T = 32, .H = 4, .G = 4, .D = 16},
    {.B = 1, .T = 255, .H = 1, .G = 1, .D = 32},
    {.B = 1, .T = 257, .H = 2, .G = 2, .D = 8},
    {.B = 1, .T = 64, .H = 2, .G = 2, .D = 128},
    {.B = 1, .T = 40, .H = 2, .G = 1, .D = 80},
    {.B = 1, .T = 45, .H = 2, .G = 1, .D = 96},
    {.B = 1, .T = 37, .H = 2, .G = 1, .D = 256},
    {.B = 2, .T = 33, .H = 2, .G = 1, .D = 16, .window = 1},
    {.B = 1, .T = 65, .H = 2, .G = 2, .D = 32, .window = 7},
    {.B = 1, .T = 129, .H = 1, .G = 1, .D = 64, .window = 16},
    {.B = 1, .T = 100, .H = 2, .G = 1, .D = 24, .window = 64},
    {.B = 1, .T = 33, .H = 2, .G = 2, .D = 8, .window = 1000},
    {.B = 2, .T = 65, .H = 2, .G = 1, .D = 32, .document_length = 1},
    {.B = 2, .T = 130, .H = 2, .G = 1, .D = 64, .document_length = 20},
    {.B = 1, .T = 67, .H = 2, .G = 2, .D = 19, .document_length = 5},
    {.B = 1, .T = 150, .H = 1, .G = 1, .D = 128, .window = 21, .document_length = 30},
    {.B = 1, .T = 1, .H = 4, .G = 2, .D = 32, .document_length = 2, .soft_cap = 5, .has_slopes = true},
    {.B = 2, .T = 70, .H = 4, .G = 2, .D = 32, .has_slopes = true},
    {.B = 1, .T = 66, .H = 3, .G = 1, .D = 40, .window = 33, .has_slopes = true},
    {.B = 1, .T = 90, .H = 2, .G = 1, .D = 96, .soft_cap = 2},
    {.B = 2, .T = 35, .H = 2, .G = 2, .D = 11, .soft_cap = 0.5f},
    {.B = 2, .T = 100, .H = 6, .G = 2, .D = 64, .window = 40, .document_length = 25, .soft_cap = 3, .has_slopes = true},
    {.B = 1, .T = 50, .H = 2, .G = 1, .D = 200, .document_length = 15, .soft_cap = 50, .has_slopes = true}};
enum { shape_count = sizeof(shapes) / sizeof(shapes[0]) };

static void add_values(dure_case_list *list, dure_op op) {
  shape s = {.B = 1, .T = 33, .H = 2, .G = 2, .D = 16};
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
  s.soft_cap = 30;
  c = add(list, op, s);
  dure_case_rename(c, "large");  // scores far beyond the cap: tanh is 1, its slope 0
  dure_case_generate(&c->operands[Q], DURE_GENERATE_NORMAL, 20, 0);
  dure_case_generate(&c->operands[K], DURE_GENERATE_NORMAL, 20, 0);
  s = (shape){.B = 1, .T = 65, .H = 2, .G = 2, .D = 32, .document_length = 10};
  c = add(list, op, s);
  dure_case_rename(c, "nan");  // stays in its document
  dure_case_sprinkle(&c->operands[K], (double)NAN, 1);
  dure_case_sprinkle(&c->operands[V], (double)NAN, 1);
}

// Calls that expand() cuts: by sequences; by heads and by rows.
static void add_restricted(dure_case_list *list, dure_op op) {
  const bool is_gradient = op == DURE_OP_attention_gradient;
  dure_case_restricted(list, add(list, op, (shape){.B = 5, .T = 33, .H = 2, .G = 1, .D = 32}));
  shape s = {.B = 4, .T = 31, .H = 4, .G = 2, .D = 16, .document_length = 10};
  dure_case *c = add(list, op, s);
  dure_case_rename(c, "fused");
  fuse(c, Q, s);
  if (is_gradient) fuse(c, DQ, s);
  dure_case_restricted(list, c);
  s = (shape){.B = 2, .T = 133, .H = 6, .G = 3, .D = 32, .window = 60, .document_length = 50, .has_slopes = true};
  c = add(list, op, s);
  dure_case_rename(c, "fused/dispatch=200kflop");
  fuse(c, Q, s);
  if (is_gradient) fuse(c, DQ, s);
  c->profile = DURE_PROFILE_SMALL_DISPATCH;
  // Neither q nor k fits whole: a range of rows needs those that it sees or is seen by.
  c = add(list, op, (shape){.B = 2, .T = 140, .H = 1, .G = 1, .D = 31, .window = 9});
  dure_case_rename(c, "binding=16KiB");
  c->profile = DURE_PROFILE_SMALL_BINDING;
}

// Several tiles of the kernels for matrix units, which take 16-bit types only.
static void add_tiles(dure_case_list *list, dure_op op) {
  static const shape longer[] = {
      {.B = 1, .T = 390, .H = 3, .G = 1, .D = 64},
      {.B = 1, .T = 300, .H = 2, .G = 2, .D = 128, .window = 150, .document_length = 90},
      {.B = 2, .T = 200, .H = 2, .G = 1, .D = 96, .document_length = 60, .soft_cap = 3, .has_slopes = true},
      {.B = 1, .T = 280, .H = 2, .G = 1, .D = 64, .document_length = 70},
      {.B = 1, .T = 150, .H = 2, .G = 1, .D = 256},
      {.B = 1, .T = 200, .H = 1, .G = 1, .D = 80, .window = 150, .document_length = 70}};
  for (uint32_t i = 0; i < sizeof(longer) / sizeof(longer[0]); i++) {
    dure_case *c = add(list, op, longer[i]);
    c->storage = i % 2 == 0 ? DURE_DTYPE_BF16 : DURE_DTYPE_F16;
    dure_case_rename(c, "fused,%s", dure_dtype_name(c->storage));
    fuse(c, Q, longer[i]);
    if (op == DURE_OP_attention_gradient) fuse(c, DQ, longer[i]);
    if (i != 3 && i != 5) continue;
    dure_case_rename(c, "nan");  // stays in its document
    if (i == 3) dure_case_sprinkle(&c->operands[V], (double)NAN, 3);
    if (i == 5) dure_case_sprinkle(&c->operands[K], (double)NAN, 1);
    if (i == 5 && op == DURE_OP_attention_gradient) dure_case_sprinkle(&c->operands[DY], (double)NAN, 1);
  }
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
  dure_case *c =
      add(list, op, (shape){.B = 2, .T = 33, .H = 2, .G = 1, .D = 17, .document_length = 9, .has_slopes = true});
  dure_case_rename(c, "shifted");
  for (uint32_t i = Q; i <= (is_gradient ? DV : LOG_SUM_EXP); i++) dure_case_shift(&c->operands[i], i % 3 + 1);
  add_values(list, op);
  add_tiles(list, op);
  add_restricted(list, op);
  if (!list->full) return;
  add(list, op, (shape){.B = 4, .T = 256, .H = 6, .G = 6, .D = 64});
  add(list, op, (shape){.B = 1, .T = 1025, .H = 2, .G = 1, .D = 64});
  add(list, op, (shape){.B = 1, .T = 700, .H = 2, .G = 2, .D = 128, .window = 100});
  add(list, op,
      (shape){.B = 1, .T = 900, .H = 2, .G = 1, .D = 64, .document_length = 200, .soft_cap = 20, .has_slopes = true});
}

void dure_cases_attention(dure_case_list *list) {
  add_all(list, DURE_OP_attention);
  if (!list->full) return;
  dure_case *c = add(list, DURE_OP_attention,
                     (shape){.B = 1030, .T = 32, .H = 16, .G = 16, .D = 64});  // each of q, k, v, y passes 128 MiB
  for (uint32_t i = Q; i <= Y; i++) dure_case_generate(&c->operands[i], DURE_GENERATE_UNIFORM, 2, -1);
}

void dure_cases_attention_gradient(dure_case_list *list) { add_all(list, DURE_OP_attention_gradient); }
