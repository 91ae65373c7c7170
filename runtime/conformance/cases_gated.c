// Cases of gated_activation, its gradient, and rotary.
#include <math.h>

#include "runtime/conformance/cases.h"

static const char *const kinds[] = {"gelu_tanh", "gelu_erf", "relu", "silu"};
static const uint64_t shapes[][2] = {{1, 1},   {1, 64},  {3, 8},   {9, 7},    {16, 16},  {17, 31},   {33, 33},
                                     {5, 127}, {64, 64}, {7, 256}, {65, 129}, {13, 384}, {128, 100}, {2, 3001}};
enum { shape_count = sizeof(shapes) / sizeof(shapes[0]) };
enum { GATE, UP, Y };         // of gated_activation
enum { DY = 2, DGATE, DUP };  // of its gradient, after gate and up
static const double extremes[] = {0, -0.0, 1e-30, 10, -10, 50, -50, 100, -100, 1e4, -1e4, 1e15, -1e15};

typedef unsigned long long number;

static dure_case *add_gated(dure_case_list *list, dure_op op, uint32_t kind, uint64_t R, uint64_t C) {
  dure_case *c = dure_case_add(list, op, "%s/rows=%llu,c=%llu", kinds[kind], (number)R, (number)C);
  c->attributes.activation.kind = (dure_activation)kind;
  for (uint32_t i = 0; i < dure_op_get(op)->operand_count; i++) dure_case_tensor(c, i, 2, DURE_SHAPE(R, C));
  dure_case_generate(&c->operands[GATE], DURE_GENERATE_NORMAL, 3, 0);
  c->roundings = op == DURE_OP_gated_activation ? 18 : 34;
  return c;
}

// Operand `second` as the right half of rows whose left half is operand `first`.
static void fuse(dure_case *c, uint32_t first, uint32_t second) {
  const uint64_t width = c->operands[first].shape[1];
  dure_case_widen(&c->operands[first], width);
  dure_case_share(c, second, first, width);
}

// Of both ops: shapes with gaps, shifts and halves of one tensor.
static void add_gated_shapes(dure_case_list *list, dure_op op) {
  const bool is_gradient = op == DURE_OP_gated_activation_gradient;
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_gated(list, op, (uint32_t)(i % 4), shapes[i][0], shapes[i][1]);
    if (i % 3 == 1) {
      dure_case_rename(c, "fused");
      fuse(c, GATE, UP);
      if (is_gradient) fuse(c, DGATE, DUP);
    } else if (i % 3 == 2) {
      dure_case_rename(c, "strided");
      for (uint32_t j = 0; j < dure_op_get(op)->operand_count; j++) {
        dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
        if (j != 2) dure_case_widen(&c->operands[j], j + 3);
      }
    }
  }
  dure_case *c = add_gated(list, op, DURE_ACTIVATION_SILU, 6, 48);
  dure_case_rename(c, "shape=2x3x48");
  for (uint32_t i = 0; i < dure_op_get(op)->operand_count; i++) dure_case_tensor(c, i, 3, DURE_SHAPE(2, 3, 48));
  dure_case_widen(&c->operands[UP], 8);
  dure_case_restricted(list, add_gated(list, op, DURE_ACTIVATION_SILU, 257, 129));
  c = add_gated(list, op, DURE_ACTIVATION_GELU_TANH, 300, 64);
  dure_case_rename(c, "fused");
  fuse(c, GATE, UP);
  if (is_gradient) fuse(c, DGATE, DUP);
  dure_case_restricted(list, c);
  if (!list->full) return;
  c = add_gated(list, op, DURE_ACTIVATION_SILU, 140001, 257);
  for (uint32_t i = 0; i < 3; i++) dure_case_generate(&c->operands[i], DURE_GENERATE_UNIFORM, 12, -6);
}

void dure_cases_gated_activation(dure_case_list *list) {
  add_gated_shapes(list, DURE_OP_gated_activation);
  for (uint32_t kind = 0; kind < 4; kind++) {
    dure_case *c = add_gated(list, DURE_OP_gated_activation, kind, 7, 37);
    dure_case_rename(c, "extreme");
    dure_case_list_values(&c->operands[GATE], 13, extremes);
    c = add_gated(list, DURE_OP_gated_activation, kind, 7, 37);
    dure_case_rename(c, "special");
    dure_case_sprinkle(&c->operands[GATE], (double)NAN, 5);
    dure_case_sprinkle(&c->operands[GATE], (double)INFINITY, 5);
    dure_case_sprinkle(&c->operands[UP], (double)NAN, 5);
  }
}

void dure_cases_gated_activation_gradient(dure_case_list *list) {
  add_gated_shapes(list, DURE_OP_gated_activation_gradient);
  for (uint32_t kind = 0; kind < 4; kind++) {
    dure_case *c = add_gated(list, DURE_OP_gated_activation_gradient, kind, 7, 37);
    dure_case_rename(c, "extreme");
    dure_case_list_values(&c->operands[GATE], 13, extremes);
    c = add_gated(list, DURE_OP_gated_activation_gradient, kind, 9, 40);
    dure_case_rename(c, "dgate=gate,dup=up");
    dure_case_share(c, DGATE, GATE, 0);
    dure_case_share(c, DUP, UP, 0);
    c = add_gated(list, DURE_OP_gated_activation_gradient, kind, 7, 37);
    dure_case_rename(c, "special");
    dure_case_sprinkle(&c->operands[DY], (double)NAN, 5);
    if (kind == DURE_ACTIVATION_RELU) continue;  // whose slope at NaN kernels may take either way
    dure_case_sprinkle(&c->operands[GATE], (double)NAN, 5);
  }
}

// ---- rotary: one product and sum for each element ----------------------------------------------------------------

typedef struct rotary_shape {
  uint64_t B, T, H, D;
  uint32_t width;
} rotary_shape;

// x positions cosines_sines -> y, with any numbers as cosines and sines.
static dure_case *add_rotary(dure_case_list *list, const rotary_shape *s, bool is_interleaved, bool is_inverse) {
  enum { TABLE_ROWS = 70 };
  dure_case *c = dure_case_add(list, DURE_OP_rotary, "b=%llu,t=%llu,h=%llu,d=%llu,width=%u%s%s", (number)s->B,
                               (number)s->T, (number)s->H, (number)s->D, s->width, is_interleaved ? "/interleaved" : "",
                               is_inverse ? "/inverse" : "");
  c->attributes.rotary = (dure_rotary_attributes){s->width, is_interleaved, is_inverse};
  dure_case_tensor(c, 0, 4, DURE_SHAPE(s->B, s->T, s->H, s->D));
  dure_case_indices(dure_case_tensor(c, 1, 2, DURE_SHAPE(s->B, s->T)), TABLE_ROWS);
  dure_case_tensor(c, 2, 2, DURE_SHAPE(TABLE_ROWS, s->width));
  dure_case_tensor(c, 3, 4, DURE_SHAPE(s->B, s->T, s->H, s->D));
  c->reduction = 2;
  return c;
}

// Heads of a fused projection: rows `gap` elements longer than H heads.
static void fuse_heads(dure_case_operand *operand, uint64_t gap) {
  operand->stride[1] = operand->shape[2] * operand->shape[3] + gap;
  operand->stride[0] = operand->shape[1] * operand->stride[1];
  operand->base_count = operand->shape[0] * operand->stride[0] + operand->offset;
}

void dure_cases_rotary(dure_case_list *list) {
  static const rotary_shape rotary_shapes[] = {
      {1, 1, 1, 2, 2},   {2, 3, 2, 8, 8},   {1, 7, 3, 6, 4},   {2, 5, 4, 64, 64}, {1, 9, 2, 64, 32},
      {3, 4, 1, 24, 16}, {2, 3, 3, 20, 12}, {1, 2, 5, 80, 20}, {1, 1, 1, 9, 6},   {1, 33, 2, 128, 128}};
  for (size_t i = 0; i < sizeof(rotary_shapes) / sizeof(rotary_shapes[0]); i++) {
    for (uint32_t kind = 0; kind < 4; kind++) {
      const bool is_interleaved = kind % 2 == 1, is_inverse = kind >= 2;
      dure_case *c = add_rotary(list, &rotary_shapes[i], is_interleaved, is_inverse);
      if ((i + kind) % 3 == 1) {
        dure_case_rename(c, "y=x");
        dure_case_share(c, 3, 0, 0);
      } else if ((i + kind) % 3 == 2) {
        dure_case_rename(c, "fused");
        fuse_heads(&c->operands[0], 8 * i);
        fuse_heads(&c->operands[3], i % 2 == 0 ? 4 : 3);
      }
      if (i % 4 != 3) continue;
      dure_case_rename(c, "shifted");
      if (c->operands[3].base == 3) dure_case_shift(&c->operands[3], 1 + kind);
      dure_case_shift(&c->operands[2], 1 + kind % 3);
    }
  }
  static const rotary_shape whole = {2, 4, 3, 16, 8};
  dure_case *c = add_rotary(list, &whole, false, false);
  dure_case_rename(c, "special");
  dure_case_sprinkle(&c->operands[0], (double)NAN, 4);
  c = add_rotary(list, &whole, true, false);
  dure_case_rename(c, "beyond");  // positions that the table does not have
  dure_case_indices(&c->operands[1], 140);
  static const rotary_shape long_one = {2, 150, 4, 16, 16};
  dure_case_restricted(list, add_rotary(list, &long_one, false, false));
  c = add_rotary(list, &long_one, false, true);
  dure_case_rename(c, "fused");
  fuse_heads(&c->operands[0], 32);
  dure_case_restricted(list, c);
  if (!list->full) return;
  static const rotary_shape large = {2, 4100, 32, 132, 128};
  c = add_rotary(list, &large, false, false);
  dure_case_generate(&c->operands[0], DURE_GENERATE_UNIFORM, 2, -1);
  dure_case_generate(&c->operands[3], DURE_GENERATE_UNIFORM, 2, -1);
}
