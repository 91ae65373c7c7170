// Cases of quantize_rows and matmul_q8. Scales are exact; integers are judged by quantized_check.c.
#include <math.h>

#include "runtime/conformance/cases.h"

enum { BLOCK = DURE_QUANTIZED_BLOCK };

// ---- quantize_rows -----------------------------------------------------------------------------------------------

static dure_case *add_rows(dure_case_list *list, uint64_t rows, uint64_t k) {
  enum { X, Q, SCALES };
  dure_case *c =
      dure_case_add(list, DURE_OP_quantize_rows, "rows=%llu,k=%llu", (unsigned long long)rows, (unsigned long long)k);
  dure_case_tensor(c, X, 2, DURE_SHAPE(rows, k));
  dure_case_tensor(c, Q, 2, DURE_SHAPE(rows, k));
  dure_case_tensor(c, SCALES, 2, DURE_SHAPE(rows, k / BLOCK));
  return c;
}

static void add_row_values(dure_case_list *list) {
  dure_case *c = add_rows(list, 9, 96);
  dure_case_rename(c, "ties");
  // 127 sets the scale to 1: halves lie exactly between two integers and go to the even one.
  dure_case_list_values(&c->operands[0], 8, (const double[]){127, 0.5, 1.5, -0.5, -1.5, 2.5, -126.5, 126.5});
  c = add_rows(list, 9, 96);
  dure_case_rename(c, "zero");
  dure_case_generate(&c->operands[0], DURE_GENERATE_CONSTANT, 0, 0);
  c = add_rows(list, 9, 96);
  dure_case_rename(c, "nan");
  dure_case_sprinkle(&c->operands[0], (double)NAN, 3);
  c = add_rows(list, 9, 96);
  dure_case_rename(c, "infinity");
  dure_case_sprinkle(&c->operands[0], (double)INFINITY, 2);
  dure_case_sprinkle(&c->operands[0], -(double)INFINITY, 2);
  const double scales[] = {1e-36, 1e-30, 1e-29, 1e30, 5e37};
  for (size_t i = 0; i < sizeof(scales) / sizeof(scales[0]); i++) {
    c = add_rows(list, 9, 64);
    dure_case_rename(c, "scale=%g", scales[i]);
    dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, scales[i], 0);
  }
}

void dure_cases_quantize_rows(dure_case_list *list) {
  static const uint64_t shapes[][2] = {{1, 32},  {7, 32},   {1, 64},    {33, 96},
                                       {5, 256}, {129, 64}, {31, 1056}, {256, 768}};
  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) add_rows(list, shapes[i][0], shapes[i][1]);
  for (uint64_t shift = 1; shift <= 3; shift++) {
    dure_case *c = add_rows(list, 17, 96);
    dure_case_rename(c, "shifted=%llu", (unsigned long long)shift);
    dure_case_shift(&c->operands[0], shift);
    dure_case_shift(&c->operands[1], 16 * shift);
    dure_case_shift(&c->operands[2], shift);
  }
  dure_case *c = add_rows(list, 3 * 11, 64);
  dure_case_rename(c, "shape=3x11x64");
  dure_case_tensor(c, 0, 3, DURE_SHAPE(3, 11, 64));
  add_row_values(list);
  dure_case_restricted(list, add_rows(list, 300, 256));
  dure_case_restricted(list, add_rows(list, 515, 96));
  if (list->full) add_rows(list, 70001, 512);
}

// ---- matmul_q8 ---------------------------------------------------------------------------------------------------

enum { A, A_SCALES, B, B_SCALES, BIAS, C };

typedef enum extras { PLAIN, WITH_BIAS, ACCUMULATE, BIAS_AND_ACCUMULATE } extras;
static const char *const extras_names[] = {"plain", "bias", "accumulate", "bias+accumulate"};

static dure_case *add(dure_case_list *list, uint64_t m, uint64_t n, uint64_t k, extras e) {
  dure_case *c = dure_case_add(list, DURE_OP_matmul_q8, "m=%llu,n=%llu,k=%llu/%s", (unsigned long long)m,
                               (unsigned long long)n, (unsigned long long)k, extras_names[e]);
  dure_case_tensor(c, A, 2, DURE_SHAPE(m, k));
  dure_case_generate(dure_case_tensor(c, A_SCALES, 2, DURE_SHAPE(m, k / BLOCK)), DURE_GENERATE_UNIFORM, 0.02, 0.001);
  dure_case_tensor(c, B, 2, DURE_SHAPE(n, k));
  dure_case_generate(dure_case_tensor(c, B_SCALES, 2, DURE_SHAPE(n, k / BLOCK)), DURE_GENERATE_UNIFORM, 0.002, 0.0001);
  if (e == WITH_BIAS || e == BIAS_AND_ACCUMULATE) dure_case_tensor(c, BIAS, 1, &n);
  dure_case_tensor(c, C, 2, DURE_SHAPE(m, n));
  if (e == ACCUMULATE || e == BIAS_AND_ACCUMULATE) c->accumulate = 1u << C;
  c->reduction = (double)(k / BLOCK);
  c->roundings = 5;  // of each term twice, bias and accumulation
  return c;
}

static void add_places(dure_case_list *list) {
  for (uint64_t shift = 1; shift <= 3; shift++) {
    for (uint64_t m = 1; m <= 33; m += 16) {
      dure_case *c = add(list, m, 65, 96, BIAS_AND_ACCUMULATE);
      dure_case_rename(c, "shifted=%llu", (unsigned long long)shift);
      dure_case_shift(&c->operands[A], 16 * shift);
      dure_case_shift(&c->operands[A_SCALES], shift);
      dure_case_shift(&c->operands[B], 16 * (4 - shift));
      dure_case_shift(&c->operands[B_SCALES], shift % 3 + 1);
      dure_case_shift(&c->operands[BIAS], shift);
      dure_case_shift(&c->operands[C], (shift + 1) % 3 + 1);
    }
  }
}

static void add_values(dure_case_list *list, uint64_t m) {
  dure_case *c = add(list, m, 47, 64, WITH_BIAS);
  dure_case_rename(c, "nan");
  dure_case_sprinkle(&c->operands[A_SCALES], (double)NAN, 1);
  dure_case_sprinkle(&c->operands[B_SCALES], (double)NAN, 2);
  c = add(list, m, 33, 64, PLAIN);
  dure_case_rename(c, "largest");  // -128 * -128 everywhere: the largest dot product
  dure_case_generate(&c->operands[A], DURE_GENERATE_CONSTANT, 0, 128);
  dure_case_generate(&c->operands[B], DURE_GENERATE_CONSTANT, 0, 128);
  c = add(list, m, 33, 64, ACCUMULATE);
  dure_case_rename(c, "ends");  // 127 * -128
  dure_case_generate(&c->operands[A], DURE_GENERATE_CONSTANT, 0, 127);
  dure_case_generate(&c->operands[B], DURE_GENERATE_CONSTANT, 0, 128);
  c = add(list, m, 64, 96, PLAIN);
  dure_case_rename(c, "zero_scales");
  dure_case_generate(&c->operands[B_SCALES], DURE_GENERATE_CONSTANT, 0, 0);
  c = add(list, m, 31, 96, PLAIN);
  dure_case_rename(c, "large");
  dure_case_generate(&c->operands[A_SCALES], DURE_GENERATE_UNIFORM, 1e15, 1e14);
  dure_case_generate(&c->operands[B_SCALES], DURE_GENERATE_UNIFORM, 1e15, 1e14);
}

void dure_cases_matmul_q8(dure_case_list *list) {
  static const uint64_t shapes[][3] = {{1, 1, 32},     {1, 64, 64},   {7, 9, 32},     {8, 16, 96},   {9, 15, 128},
                                       {2, 33, 256},   {3, 65, 1056}, {4, 127, 64},   {5, 31, 160},  {16, 8, 128},
                                       {17, 31, 32},   {31, 33, 64},  {63, 65, 96},   {65, 63, 128}, {129, 33, 64},
                                       {257, 63, 160}, {16, 257, 32}, {64, 64, 2048}, {33, 129, 96}, {127, 130, 256}};
  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
    add(list, shapes[i][0], shapes[i][1], shapes[i][2], (extras)(i % 4));
  for (extras e = PLAIN; e <= BIAS_AND_ACCUMULATE; e++) {
    add(list, 32, 64, 64, e);
    add(list, 1, 64, 128, e);
  }
  add_places(list);
  for (uint64_t m = 1; m <= 17; m += 8) add_values(list, m);
  dure_case *c = add(list, 3 * 11, 47, 64, WITH_BIAS);
  dure_case_rename(c, "a=3x11");
  dure_case_tensor(c, A, 3, DURE_SHAPE(3, 11, 64));
  dure_case_tensor(c, C, 3, DURE_SHAPE(3, 11, 47));
  c = add(list, 1, 47, 64, PLAIN);
  dure_case_rename(c, "a=64");  // a vector
  dure_case_tensor(c, A, 1, DURE_SHAPE(64));
  dure_case_tensor(c, C, 1, DURE_SHAPE(47));
  dure_case_restricted(list, add(list, 129, 300, 256, BIAS_AND_ACCUMULATE));
  dure_case_restricted(list, add(list, 1, 1000, 288, WITH_BIAS));
  dure_case_restricted(list, add(list, 300, 65, 64, PLAIN));
  add(list, 1, 2049, 2048, WITH_BIAS);  // a decoded token
  add(list, 8, 1023, 768, PLAIN);
  add(list, 256, 384, 768, WITH_BIAS);
  if (!list->full) return;
  add(list, 512, 511, 1024, BIAS_AND_ACCUMULATE);
  add(list, 1, 262145, 544, PLAIN);  // b above 128 MiB
  add(list, 4, 4096, 4096, PLAIN);
}
