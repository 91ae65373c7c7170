// Cases of fill, copy, add, multiply, scale, activation and activation_gradient.
#include <math.h>

#include "runtime/conformance/cases.h"

static const uint64_t counts[] = {1, 2, 3, 7, 8, 15, 16, 31, 33, 63, 65, 127, 129, 255, 257, 1023, 1025, 4099, 65537};
enum { count_count = sizeof(counts) / sizeof(counts[0]) };
enum { HUGE_COUNT = 34000001 };  // f32 elements: a little over 128 MiB

void dure_cases_fill(dure_case_list *list) {
  for (size_t i = 0; i < count_count; i++) {
    dure_case *c = dure_case_add(list, DURE_OP_fill, "n=%llu", (unsigned long long)counts[i]);
    dure_case_tensor(c, 0, 1, &counts[i]);
    c->attributes.fill.value = i % 2 == 0 ? 0.0f : 1.5f;
    if (i % 3 == 2) {
      dure_case_shift(&c->operands[0], i % 5 + 1);
      dure_case_rename(c, "shifted");
    }
  }
  static const float values[] = {-0.0f, 1e-30f, 3.4e38f, INFINITY, NAN};
  for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
    dure_case *c = dure_case_add(list, DURE_OP_fill, "n=33/value=%g", (double)values[i]);
    dure_case_tensor(c, 0, 2, DURE_SHAPE(3, 11));
    c->attributes.fill.value = values[i];
  }
  dure_case *c = dure_case_add(list, DURE_OP_fill, "n=20001");
  dure_case_tensor(c, 0, 1, DURE_SHAPE(20001));
  c->attributes.fill.value = 2;
  dure_case_restricted(list, c);
  if (!list->full) return;
  c = dure_case_add(list, DURE_OP_fill, "n=%d", HUGE_COUNT);
  dure_case_tensor(c, 0, 1, DURE_SHAPE(HUGE_COUNT));
  dure_case_generate(&c->operands[0], DURE_GENERATE_CONSTANT, 0, 3);
  c->attributes.fill.value = 2;
}

static dure_case *add_copy(dure_case_list *list, uint64_t count) {
  dure_case *c = dure_case_add(list, DURE_OP_copy, "n=%llu", (unsigned long long)count);
  dure_case_tensor(c, 0, 1, &count);
  dure_case_tensor(c, 1, 1, &count);
  return c;
}

// Between every two float types, exact: ties, subnormal halves, what rounds up to infinity and what stays NaN.
static void add_conversions(dure_case_list *list) {
  static const dure_dtype types[] = {DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_F16};
  static const double ties[] = {0x1.002p0,      0x1.006p0,   0x1.01p0,    0x1.03p0,   0x1.8p-24, 0x1p-25,
                                0x1.000002p-25, 0x1.ffep-15, 0x1.ffcp-15, 65519,      65520,     -65520,
                                0x1.fep127,     0x1.ffp127,  -0.0,        (double)NAN};
  for (size_t from = 0; from < 3; from++) {
    for (size_t to = 0; to < 3; to++) {
      if (from == to) continue;
      for (uint32_t kind = 0; kind < 4; kind++) {
        static const char *const names[] = {"", "/ties", "/small", "/shifted"};
        dure_case *c = dure_case_add(list, DURE_OP_copy, "%s-to-%s%s", dure_dtype_name(types[from]),
                                     dure_dtype_name(types[to]), names[kind]);
        const uint64_t count = kind == 0 ? 20003 : 1021;
        c->storage = types[from];
        c->others = types[to];
        dure_case_operand *x = dure_case_tensor(c, 0, 1, &count), *y = dure_case_tensor(c, 1, 1, &count);
        dure_case_generate(x, DURE_GENERATE_NORMAL, kind == 2 ? 0x1p-16 : 1, 0);
        if (kind == 1) dure_case_list_values(x, sizeof(ties) / sizeof(ties[0]), ties);
        if (kind != 3) continue;
        dure_case_shift(x, from + 1);
        dure_case_shift(y, to + 2);
      }
    }
  }
}

void dure_cases_copy(dure_case_list *list) {
  for (size_t i = 0; i < count_count; i++) {
    add_copy(list, counts[i]);
    dure_case *c = add_copy(list, counts[i]);
    dure_case_rename(c, "shifted");
    dure_case_shift(&c->operands[0], i % 3 + 1);
    dure_case_shift(&c->operands[1], i % 5);
  }
  dure_case *c = add_copy(list, 257);
  dure_case_rename(c, "special");
  dure_case_sprinkle(&c->operands[0], (double)NAN, 3);
  dure_case_sprinkle(&c->operands[0], (double)INFINITY, 3);
  dure_case_sprinkle(&c->operands[0], -(double)INFINITY, 3);
  dure_case_sprinkle(&c->operands[0], 3e38, 3);
  dure_case_sprinkle(&c->operands[0], 2e-38, 3);
  dure_case_restricted(list, add_copy(list, 20001));
  add_conversions(list);
  for (size_t i = 0; i < count_count; i += 3) {
    c = add_copy(list, counts[i]);
    dure_case_rename(c, "accumulate");
    c->accumulate = 1u << 1;
    c->reduction = 1;
  }
  if (list->full) dure_case_generate(&add_copy(list, HUGE_COUNT)->operands[0], DURE_GENERATE_UNIFORM, 1, 0);
}

// Three operands of `count` elements under an op with two inputs and one output that can be added to.
static dure_case *add_binary(dure_case_list *list, dure_op op, const char *kind, uint64_t count, bool accumulate) {
  dure_case *c =
      dure_case_add(list, op, "%sn=%llu%s", kind, (unsigned long long)count, accumulate ? "/accumulate" : "");
  for (uint32_t i = 0; i < 3; i++) dure_case_tensor(c, i, 1, &count);
  c->accumulate = accumulate ? 1u << 2 : 0;
  c->reduction = 1;
  return c;
}

void dure_cases_add(dure_case_list *list) {
  for (size_t i = 0; i < count_count; i++) add_binary(list, DURE_OP_add, "", counts[i], i % 2 == 1);
  for (uint32_t same = 0; same < 2; same++) {  // y over a, y over b
    dure_case *c = add_binary(list, DURE_OP_add, "", 1031, false);
    dure_case_rename(c, same == 0 ? "y=a" : "y=b");
    dure_case_share(c, 2, same, 0);
  }
  for (uint64_t shift = 1; shift <= 3; shift++) {
    dure_case *c = add_binary(list, DURE_OP_add, "", 515, shift == 2);
    dure_case_rename(c, "shifted=%llu", (unsigned long long)shift);
    dure_case_shift(&c->operands[0], shift);
    dure_case_shift(&c->operands[1], shift + 1);
    dure_case_shift(&c->operands[2], 2 * shift + 1);
  }
  dure_case *c = add_binary(list, DURE_OP_add, "", 300, true);
  dure_case_rename(c, "special");
  for (uint32_t i = 0; i < 3; i++) {
    dure_case_sprinkle(&c->operands[i], (double)NAN, 4);
    dure_case_sprinkle(&c->operands[i], (double)INFINITY, 20);
    dure_case_sprinkle(&c->operands[i], -(double)INFINITY, 20);
    dure_case_sprinkle(&c->operands[i], 1e38, 20);
  }
  c = dure_case_add(list, DURE_OP_add, "shape=3x5x17x9");
  for (uint32_t i = 0; i < 3; i++) dure_case_tensor(c, i, 4, DURE_SHAPE(3, 5, 17, 9));
  c->reduction = 1;
  dure_case_restricted(list, add_binary(list, DURE_OP_add, "", 20001, true));
  if (!list->full) return;
  c = add_binary(list, DURE_OP_add, "", HUGE_COUNT, true);
  for (uint32_t i = 0; i < 3; i++) dure_case_generate(&c->operands[i], DURE_GENERATE_UNIFORM, 2, -1);
}

void dure_cases_multiply(dure_case_list *list) {
  for (size_t i = 0; i < count_count; i++) add_binary(list, DURE_OP_multiply, "", counts[i], i % 2 == 1);
  for (uint32_t same = 0; same < 2; same++) {  // y over a, y over b
    dure_case *c = add_binary(list, DURE_OP_multiply, "", 1031, false);
    dure_case_rename(c, same == 0 ? "y=a" : "y=b");
    dure_case_share(c, 2, same, 0);
  }
  dure_case *c = add_binary(list, DURE_OP_multiply, "", 515, true);
  dure_case_rename(c, "shifted");
  for (uint32_t i = 0; i < 3; i++) dure_case_shift(&c->operands[i], i + 1);
  c = add_binary(list, DURE_OP_multiply, "", 300, true);
  dure_case_rename(c, "special");
  for (uint32_t i = 0; i < 3; i++) {
    dure_case_sprinkle(&c->operands[i], (double)NAN, 4);
    dure_case_sprinkle(&c->operands[i], (double)INFINITY, 10);
    dure_case_sprinkle(&c->operands[i], 0, 10);
  }
  dure_case_restricted(list, add_binary(list, DURE_OP_multiply, "", 20001, false));
  if (!list->full) return;
  c = add_binary(list, DURE_OP_multiply, "", HUGE_COUNT, false);
  for (uint32_t i = 0; i < 3; i++) dure_case_generate(&c->operands[i], DURE_GENERATE_UNIFORM, 2, -1);
}

void dure_cases_scale(dure_case_list *list) {
  static const float factors[] = {0.5f, 48.0f, -3.3f};
  for (size_t i = 0; i < count_count; i++) {
    dure_case *c = dure_case_add(list, DURE_OP_scale, "n=%llu", (unsigned long long)counts[i]);
    for (uint32_t k = 0; k < 2; k++) dure_case_tensor(c, k, 1, &counts[i]);
    c->attributes.scale.factor = factors[i % 3];
    c->reduction = 1;
    if (i % 3 == 1) {
      dure_case_rename(c, "accumulate");
      c->accumulate = 1u << 1;
    }
    if (i % 4 == 2) {
      dure_case_rename(c, "y=x");
      dure_case_share(c, 1, 0, 0);
    } else if (i % 4 == 3) {
      dure_case_rename(c, "shifted");
      for (uint32_t k = 0; k < 2; k++) dure_case_shift(&c->operands[k], k + i % 3);
    }
    if (i == 10) dure_case_sprinkle(&c->operands[0], (double)NAN, 3);
    if (i == 13) dure_case_restricted(list, c);
  }
}

// ---- activations: 16 roundings for the exponential, the quotient and the products around them -------------------

static const char *const kinds[] = {"gelu_tanh/", "gelu_erf/", "relu/", "silu/", "tanh/"};

static dure_case *add_activation(dure_case_list *list, uint32_t kind, uint64_t count) {
  dure_case *c = dure_case_add(list, DURE_OP_activation, "%sn=%llu", kinds[kind], (unsigned long long)count);
  c->attributes.activation.kind = (dure_activation)kind;
  dure_case_tensor(c, 0, 1, &count);
  dure_case_tensor(c, 1, 1, &count);
  dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, 3, 0);
  c->roundings = kind == DURE_ACTIVATION_RELU ? 0 : 16;
  return c;
}

static dure_case *add_activation_gradient(dure_case_list *list, uint32_t kind, uint64_t count, bool accumulate) {
  dure_case *c = add_binary(list, DURE_OP_activation_gradient, kinds[kind], count, accumulate);
  c->attributes.activation.kind = (dure_activation)kind;
  dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, 3, 0);
  c->roundings = 32;
  return c;
}

// Zero of both signs, and magnitudes at which a careless formula overflows.
static const double extremes[] = {0,   -0.0, 1e-30, -1e-30, 10,   -10,   50,   -50,
                                  100, -100, 1e4,   -1e4,   1e15, -1e15, 1e30, -1e30};

void dure_cases_activation(dure_case_list *list) {
  for (uint32_t kind = 0; kind < DURE_ACTIVATION_COUNT; kind++) {
    for (size_t i = 0; i < count_count; i += kind % 2 + 1) {
      dure_case *c = add_activation(list, kind, counts[i]);
      if (i % 4 != 3) continue;
      dure_case_rename(c, "shifted");
      dure_case_shift(&c->operands[0], i % 3 + 1);
      dure_case_shift(&c->operands[1], 3);
    }
    dure_case *c = add_activation(list, kind, 257);
    dure_case_rename(c, "extreme");
    dure_case_list_values(&c->operands[0], 16, extremes);
    c = add_activation(list, kind, 1031);
    dure_case_rename(c, "y=x");
    dure_case_share(c, 1, 0, 0);
    c = add_activation(list, kind, 129);
    dure_case_rename(c, "special");
    dure_case_sprinkle(&c->operands[0], (double)NAN, 5);
    dure_case_sprinkle(&c->operands[0], (double)INFINITY, 5);
    dure_case_restricted(list, add_activation(list, kind, 33001));
    if (!list->full) continue;
    c = add_activation(list, kind, kind == 0 ? HUGE_COUNT : 1000003);
    dure_case_generate(&c->operands[0], DURE_GENERATE_UNIFORM, 12, -6);
  }
}

void dure_cases_activation_gradient(dure_case_list *list) {
  for (uint32_t kind = 0; kind < DURE_ACTIVATION_COUNT; kind++) {
    for (size_t i = 0; i < count_count; i += kind % 2 + 1) {
      dure_case *c = add_activation_gradient(list, kind, counts[i], i % 4 >= 2);
      if (i % 4 != 3) continue;
      dure_case_rename(c, "shifted");
      for (uint32_t j = 0; j < 3; j++) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
    }
    dure_case *c = add_activation_gradient(list, kind, 257, false);
    dure_case_rename(c, "extreme");
    dure_case_list_values(&c->operands[0], 16, extremes);
    c = add_activation_gradient(list, kind, 1031, kind % 2 == 1);
    dure_case_rename(c, "dx=dy");
    dure_case_share(c, 2, 1, 0);
    c = add_activation_gradient(list, kind, 129, true);
    dure_case_rename(c, "special");
    dure_case_sprinkle(&c->operands[2], (double)INFINITY, 5);
    if (kind != DURE_ACTIVATION_RELU) {  // whose slope at NaN, and whose 0 times NaN, kernels may take either way
      dure_case_sprinkle(&c->operands[0], (double)NAN, 5);
      dure_case_sprinkle(&c->operands[1], (double)NAN, 5);
    }
    dure_case_restricted(list, add_activation_gradient(list, kind, 33001, kind % 2 == 0));
    if (!list->full) continue;
    c = add_activation_gradient(list, kind, kind == 0 ? HUGE_COUNT : 1000003, false);
    for (uint32_t j = 0; j < 3; j++) dure_case_generate(&c->operands[j], DURE_GENERATE_UNIFORM, 12, -6);
  }
}
