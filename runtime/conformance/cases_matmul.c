// Cases of matmul. Reduction: K terms; roundings: bias and accumulation.
#include <math.h>

#include "runtime/conformance/cases.h"

enum { A, B, BIAS, RESIDUAL, PREACTIVATION, C, SAVED };

typedef enum extras { PLAIN, WITH_BIAS, ACCUMULATE, BIAS_AND_ACCUMULATE } extras;
static const char *const extras_names[] = {"plain", "bias", "accumulate", "bias+accumulate"};

typedef enum orientation { NN, NT, TN, TT, ORIENTATION_COUNT } orientation;
static const char *const orientation_names[] = {"nn", "nt", "tn", "tt"};
static bool transposes_a(orientation o) { return o == TN || o == TT; }
static bool transposes_b(orientation o) { return o == NT || o == TT; }

static dure_case *add(dure_case_list *list, orientation o, uint64_t m, uint64_t n, uint64_t k, extras e) {
  dure_case *c = dure_case_add(list, DURE_OP_matmul, "%s/m=%llu,n=%llu,k=%llu/%s", orientation_names[o],
                               (unsigned long long)m, (unsigned long long)n, (unsigned long long)k, extras_names[e]);
  c->attributes.matmul = (dure_matmul_attributes){.transpose_a = transposes_a(o), .transpose_b = transposes_b(o)};
  dure_case_tensor(c, A, 2, transposes_a(o) ? DURE_SHAPE(k, m) : DURE_SHAPE(m, k));
  dure_case_tensor(c, B, 2, transposes_b(o) ? DURE_SHAPE(n, k) : DURE_SHAPE(k, n));
  if (e == WITH_BIAS || e == BIAS_AND_ACCUMULATE) dure_case_tensor(c, BIAS, 1, &n);
  dure_case_tensor(c, C, 2, DURE_SHAPE(m, n));
  if (e == ACCUMULATE || e == BIAS_AND_ACCUMULATE) c->accumulate = 1u << C;
  c->reduction = (double)k;
  c->roundings = 4;
  return c;
}

static void add_batched(dure_case_list *list, orientation o, uint64_t batch, uint64_t m, uint64_t n, uint64_t k,
                        extras e) {
  dure_case *c = add(list, o, m, n, k, e);
  dure_case_rename(c, "batch=%llu", (unsigned long long)batch);
  dure_case_tensor(c, A, 3, transposes_a(o) ? DURE_SHAPE(batch, k, m) : DURE_SHAPE(batch, m, k));
  dure_case_tensor(c, B, 3, transposes_b(o) ? DURE_SHAPE(batch, n, k) : DURE_SHAPE(batch, k, n));
  dure_case_tensor(c, C, 3, DURE_SHAPE(batch, m, n));
}

// a of rank 3 against one matrix: the rows of all batches, or, transposed, a sum over them.
static void add_tall(dure_case_list *list, orientation o, uint64_t batch, uint64_t m, uint64_t n, uint64_t k,
                     extras e) {
  uint64_t rows = transposes_a(o) ? k : m;
  dure_case *c = transposes_a(o) ? add(list, o, m, n, batch * rows, e) : add(list, o, batch * rows, n, k, e);
  dure_case_rename(c, "a=%llux%llu", (unsigned long long)batch, (unsigned long long)rows);
  dure_case_tensor(c, A, 3, transposes_a(o) ? DURE_SHAPE(batch, k, m) : DURE_SHAPE(batch, m, k));
  if (!transposes_a(o)) dure_case_tensor(c, C, 3, DURE_SHAPE(batch, m, n));
}

static void add_places(dure_case_list *list, orientation o) {
  for (uint64_t shift = 1; shift <= 3; shift++) {
    dure_case *c = add(list, o, 33, 65, 31, BIAS_AND_ACCUMULATE);
    dure_case_rename(c, "shifted=%llu", (unsigned long long)shift);
    dure_case_shift(&c->operands[A], shift);
    dure_case_shift(&c->operands[B], shift % 3 + 1);
    dure_case_shift(&c->operands[BIAS], shift);
    dure_case_shift(&c->operands[C], (shift + 1) % 3 + 1);
  }
  for (uint64_t gap = 1; gap <= 8; gap += 7) {
    dure_case *c = add(list, o, 17, 63, 65, gap == 1 ? BIAS_AND_ACCUMULATE : PLAIN);
    dure_case_rename(c, "gap=%llu", (unsigned long long)gap);
    dure_case_widen(&c->operands[A], gap);
    dure_case_widen(&c->operands[B], 2 * gap);
    dure_case_widen(&c->operands[C], 3 * gap);
  }
}

// ---- epilogues ---------------------------------------------------------------------------------------------------

// What a case has besides a, b, c and what `extras` say, as bits.
enum { WITH_RESIDUAL = 1, WITH_SAVED = 2 };

static const char *const epilogue_names[] = {"none", "activation", "activation_gradient"};
static const char *const activation_names[] = {"gelu_tanh", "gelu_erf", "relu", "silu", "tanh"};

// Gives the case an epilogue; its further operands take c's shape and strides.
static void give_epilogue(dure_case *c, dure_epilogue epilogue, dure_activation activation, uint32_t with) {
  c->attributes.matmul.epilogue = epilogue;
  c->attributes.matmul.activation = activation;
  const dure_case_operand *like = &c->operands[C];
  if ((with & WITH_RESIDUAL) != 0) dure_case_tensor(c, RESIDUAL, like->rank, like->shape);
  if ((with & WITH_SAVED) != 0) {
    dure_case_tensor(c, SAVED, like->rank, like->shape);
    c->storage_roundings = 1;  // the activation is of the rounded sum
  }
  if (epilogue == DURE_EPILOGUE_ACTIVATION_GRADIENT) {
    dure_case_generate(dure_case_tensor(c, PREACTIVATION, like->rank, like->shape), DURE_GENERATE_NORMAL, 3, 0);
  }
  if (epilogue != DURE_EPILOGUE_NONE) c->roundings += 32;  // of the activation, as its own cases allow
  dure_case_rename(c, "%s%s%s%s%s", epilogue_names[epilogue], epilogue != DURE_EPILOGUE_NONE ? "=" : "",
                   epilogue != DURE_EPILOGUE_NONE ? activation_names[activation] : "",
                   (with & WITH_RESIDUAL) != 0 ? "+residual" : "", (with & WITH_SAVED) != 0 ? "+saved" : "");
}

static void add_epilogue_places(dure_case_list *list, orientation o, dure_epilogue epilogue) {
  const uint32_t with = WITH_RESIDUAL | WITH_SAVED;
  dure_case *c = add(list, o, 33, 65, 31, WITH_BIAS);
  give_epilogue(c, epilogue, DURE_ACTIVATION_SILU, with);
  dure_case_rename(c, "shifted");
  for (uint32_t i = RESIDUAL; i <= SAVED; i++) {
    if (c->operands[i].present) dure_case_shift(&c->operands[i], i % 4);
  }
  for (uint64_t gap = 4; gap <= 7; gap += 3) {
    c = add(list, o, 17, 64, 36, WITH_BIAS);
    give_epilogue(c, epilogue, DURE_ACTIVATION_GELU_TANH, with);
    dure_case_rename(c, "gap=%llu", (unsigned long long)gap);
    for (uint32_t i = RESIDUAL; i <= SAVED; i++) {
      if (c->operands[i].present) dure_case_widen(&c->operands[i], gap * (i - RESIDUAL + 1));
    }
  }
  for (uint64_t n = 63; n <= 64; n++) {
    c = add(list, o, 31, n, 20, WITH_BIAS);
    give_epilogue(c, epilogue, DURE_ACTIVATION_GELU_ERF, with);
    dure_case_rename(c, "c=residual");
    dure_case_share(c, RESIDUAL, C, 0);
  }
  c = add(list, o, 12, 31, 17, WITH_BIAS);
  give_epilogue(c, epilogue, DURE_ACTIVATION_GELU_TANH, with);
  dure_case_rename(c, "nan");
  dure_case_sprinkle(&c->operands[A], (double)NAN, 1);
  dure_case_sprinkle(&c->operands[RESIDUAL], (double)NAN, 1);
  if (c->operands[PREACTIVATION].present) dure_case_sprinkle(&c->operands[PREACTIVATION], (double)NAN, 1);
}

static void add_epilogues(dure_case_list *list, orientation o) {
  static const uint64_t shapes[][3] = {{33, 65, 31}, {32, 64, 16}, {17, 40, 24}, {1, 36, 33}, {64, 31, 64}};
  size_t shape = (size_t)o;
  for (dure_epilogue epilogue = DURE_EPILOGUE_NONE; epilogue <= DURE_EPILOGUE_ACTIVATION_GRADIENT; epilogue++) {
    for (uint32_t with = 0; with <= (WITH_RESIDUAL | WITH_SAVED); with++) {
      if (epilogue == DURE_EPILOGUE_NONE && with == 0) continue;
      const uint64_t *s = shapes[shape++ % (sizeof(shapes) / sizeof(shapes[0]))];
      extras e = (extras)(shape / 3 % 4);
      if ((with & WITH_RESIDUAL) != 0) e = e == PLAIN || e == ACCUMULATE ? PLAIN : WITH_BIAS;
      const dure_activation activation = (dure_activation)((with + o) % DURE_ACTIVATION_COUNT);
      give_epilogue(add(list, o, s[0], s[1], s[2], e), epilogue, activation, with);
    }
    add_epilogue_places(list, o, epilogue);
    // Cut along every dimension; K in parts, whose sums meet in saved or in c.
    for (uint32_t with = 0; with <= (WITH_RESIDUAL | WITH_SAVED); with++) {
      bool is_chosen = with == ((uint32_t)o + (uint32_t)epilogue) % 4;  // each pair with one orientation
      if (!list->full && !is_chosen) continue;
      dure_case *c = add(list, o, 65, 130, 257, WITH_BIAS);
      give_epilogue(c, epilogue, DURE_ACTIVATION_GELU_TANH, with);
      dure_case_restricted(list, c);
    }
  }
  dure_case *c = add(list, o, 33, 129, 600, BIAS_AND_ACCUMULATE);
  give_epilogue(c, DURE_EPILOGUE_ACTIVATION_GRADIENT, DURE_ACTIVATION_SILU, 0);
  dure_case_restricted(list, c);
}

static void add_batched_epilogues(dure_case_list *list, orientation o) {
  for (dure_epilogue epilogue = DURE_EPILOGUE_NONE; epilogue <= DURE_EPILOGUE_ACTIVATION_GRADIENT; epilogue++) {
    add_batched(list, o, 3, 17, 36, 9, WITH_BIAS);
    give_epilogue(&list->cases[list->count - 1], epilogue, DURE_ACTIVATION_GELU_TANH, WITH_RESIDUAL | WITH_SAVED);
    if (list->full) dure_case_restricted(list, &list->cases[list->count - 1]);
    add_tall(list, o, 3, 33, 17, 31, WITH_BIAS);
    give_epilogue(&list->cases[list->count - 1], epilogue, DURE_ACTIVATION_GELU_TANH, WITH_RESIDUAL | WITH_SAVED);
  }
}

static void add_values(dure_case_list *list, orientation o) {
  dure_case *c = add(list, o, 33, 47, 65, WITH_BIAS);
  dure_case_rename(c, "nan");
  dure_case_sprinkle(&c->operands[A], (double)NAN, 2);
  dure_case_sprinkle(&c->operands[B], (double)NAN, 1);
  dure_case_sprinkle(&c->operands[BIAS], (double)NAN, 1);
  c = add(list, o, 33, 47, 65, ACCUMULATE);
  dure_case_rename(c, "infinity");
  c->any_not_finite = true;
  dure_case_sprinkle(&c->operands[A], (double)INFINITY, 2);
  dure_case_sprinkle(&c->operands[B], -(double)INFINITY, 1);
  c = add(list, o, 16, 31, 33, PLAIN);
  dure_case_rename(c, "large");
  dure_case_generate(&c->operands[A], DURE_GENERATE_NORMAL, 1e15, 0);
  dure_case_generate(&c->operands[B], DURE_GENERATE_NORMAL, 1e15, 0);
  c = add(list, o, 16, 31, 33, PLAIN);
  dure_case_rename(c, "small");
  dure_case_generate(&c->operands[A], DURE_GENERATE_NORMAL, 1e-14, 0);
  dure_case_generate(&c->operands[B], DURE_GENERATE_NORMAL, 1e-14, 0);
}

// One operand larger than 128 MiB, the smallest binding limit among the drivers we know.
static void add_huge(dure_case_list *list) {
  add(list, NN, 140001, 5, 257, WITH_BIAS);
  add(list, NN, 7, 140001, 257, ACCUMULATE);
  add(list, NT, 7, 140001, 257, WITH_BIAS);
  add(list, NT, 140001, 257, 5, PLAIN);
  add(list, TN, 257, 7, 140001, ACCUMULATE);
  add(list, TN, 5, 257, 140001, PLAIN);
}

void dure_cases_matmul(dure_case_list *list) {
  static const uint64_t shapes[][3] = {{1, 1, 1},    {1, 64, 64},   {64, 1, 33},    {7, 9, 8},      {8, 7, 1},
                                       {8, 16, 15},  {9, 15, 17},   {16, 8, 127},   {17, 31, 33},   {31, 33, 16},
                                       {63, 65, 64}, {65, 63, 127}, {129, 33, 65},  {257, 63, 129}, {16, 257, 9},
                                       {64, 64, 64}, {33, 129, 7},  {127, 17, 255}, {96, 255, 31}};
  for (orientation o = NN; o < ORIENTATION_COUNT; o++) {
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
      add(list, o, shapes[i][0], shapes[i][1], shapes[i][2], (extras)((i + (size_t)o) % 4));
    }
    for (extras e = PLAIN; e <= BIAS_AND_ACCUMULATE; e++) add(list, o, 32, 64, 16, e);
    add_places(list, o);
    add_epilogues(list, o);
    add_batched_epilogues(list, o);
    add_values(list, o);
    add_batched(list, o, 3, 17, 33, 9, PLAIN);
    add_batched(list, o, 2, 64, 33, 65, ACCUMULATE);
    add_batched(list, o, 1, 9, 16, 31, WITH_BIAS);
    add_tall(list, o, 3, 33, 17, 31, WITH_BIAS);
    add_tall(list, o, 2, 64, 64, 32, ACCUMULATE);
    dure_case_restricted(list, add(list, o, 129, 65, 63, BIAS_AND_ACCUMULATE));
    dure_case_restricted(list, add(list, o, 64, 300, 257, PLAIN));
    dure_case_restricted(list, add(list, o, 65, 33, 513, ACCUMULATE));
  }
  add(list, NN, 9, 17, 4097, PLAIN);        // a long sum
  add(list, TN, 64, 96, 1024, ACCUMULATE);  // a weight's gradient
  add(list, NN, 1, 257, 2048, WITH_BIAS);   // a decoded token
  add(list, NT, 1, 2048, 255, PLAIN);
  add(list, NT, 4, 1023, 768, PLAIN);
  add(list, NN, 256, 384, 128, WITH_BIAS);
  add(list, NT, 256, 384, 256, PLAIN);
  if (!list->full) return;
  for (orientation o = NN; o < ORIENTATION_COUNT; o++) {
    add(list, o, 512, 511, 513, BIAS_AND_ACCUMULATE);
    add(list, o, 256, 768, 768, WITH_BIAS);
    add(list, o, 1, 4096, 1024, PLAIN);
  }
  add(list, NN, 1024, 1024, 1024, PLAIN);
  add_huge(list);
}
