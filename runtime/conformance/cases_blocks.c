// Cases of unpack_blocks (one rounding each operation) and matmul_blocks.
#include <math.h>

#include "runtime/conformance/cases.h"

typedef enum kind { EIGHT, FOUR, EIGHT_MINIMA, FOUR_MINIMA, KIND_COUNT } kind;
static const char *const kind_names[] = {"8", "4", "8+minima", "4+minima"};

// Elements a scale: 32 or, for every third shape, another number that goes with the kind (each is one more pipeline).
static uint32_t group_of(uint64_t n, uint64_t k, kind which) {
  static const uint32_t others[KIND_COUNT] = {16, 64, 128, 16};
  return n % 3 == 0 && k % others[which] == 0 ? others[which] : 32;
}

static void add_packed(dure_case *c, uint32_t codes, uint64_t n, uint64_t k, kind which) {
  const bool is_four = which == FOUR || which == FOUR_MINIMA, has_minima = which >= EIGHT_MINIMA;
  c->attributes.blocks.bits = is_four ? 4 : 8;
  dure_case_tensor(c, codes, 2, DURE_SHAPE(n, is_four ? k / 2 : k));
  c->attributes.blocks.group = group_of(n, k, which);
  dure_case_rename(c, "group=%u", c->attributes.blocks.group);
  const uint64_t blocks = k / c->attributes.blocks.group;
  dure_case_generate(dure_case_tensor(c, codes + 1, 2, DURE_SHAPE(n, blocks)), DURE_GENERATE_NORMAL, 0.02, 0);
  if (has_minima)
    dure_case_generate(dure_case_tensor(c, codes + 2, 2, DURE_SHAPE(n, blocks)), DURE_GENERATE_NORMAL, 0.1, 0);
}

// ---- unpack_blocks -----------------------------------------------------------------------------------------------

static dure_case *add_unpack(dure_case_list *list, uint64_t n, uint64_t k, uint64_t indices, kind which) {
  dure_case *c = dure_case_add(list, DURE_OP_unpack_blocks, "n=%llu,k=%llu/%s", (unsigned long long)n,
                               (unsigned long long)k, kind_names[which]);
  add_packed(c, 0, n, k, which);
  if (indices > 0) {
    dure_case_rename(c, "indices=%llu", (unsigned long long)indices);
    dure_case_indices(dure_case_tensor(c, 3, 1, &indices), n);
  }
  dure_case_tensor(c, 4, 2, DURE_SHAPE(indices > 0 ? indices : n, k));
  c->roundings = 2;
  return c;
}

void dure_cases_unpack_blocks(dure_case_list *list) {
  static const uint64_t shapes[][3] = {{1, 32, 0},     {7, 64, 0},    {33, 96, 5},
                                       {65, 160, 130}, {256, 256, 0}, {129, 544, 64}};
  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
    for (kind which = EIGHT; which < KIND_COUNT; which++)
      add_unpack(list, shapes[i][0], shapes[i][1], shapes[i][2], which);
  }
  for (uint64_t shift = 1; shift <= 3; shift++) {
    dure_case *c = add_unpack(list, 17, 96, shift == 2 ? 9 : 0, (kind)shift);
    dure_case_rename(c, "shifted=%llu", (unsigned long long)shift);
    for (uint32_t i = 0; i < 5; i++) {
      if (c->operands[i].present) dure_case_shift(&c->operands[i], i == 0 ? 16 * shift : shift);
    }
  }
  dure_case *c = add_unpack(list, 9, 64, 20, FOUR);
  dure_case_rename(c, "beyond");  // rows of NaN
  dure_case_indices(&c->operands[3], 12);
  dure_case_restricted(list, add_unpack(list, 515, 128, 0, EIGHT));
  dure_case_restricted(list, add_unpack(list, 700, 96, 90, FOUR_MINIMA));
  if (list->full) add_unpack(list, 70001, 512, 0, FOUR);
}

// ---- matmul_blocks -----------------------------------------------------------------------------------------------

enum { A, CODES, SCALES, MINIMA, BIAS, RESIDUAL, C };

typedef enum extras { PLAIN, WITH_BIAS, WITH_RESIDUAL, WITH_BOTH } extras;
static const char *const extras_names[] = {"plain", "bias", "residual", "bias+residual"};

static dure_case *add_matmul(dure_case_list *list, uint64_t m, uint64_t n, uint64_t k, kind which, extras e) {
  dure_case *c = dure_case_add(list, DURE_OP_matmul_blocks, "m=%llu,n=%llu,k=%llu/%s/%s", (unsigned long long)m,
                               (unsigned long long)n, (unsigned long long)k, kind_names[which], extras_names[e]);
  dure_case_tensor(c, A, 2, DURE_SHAPE(m, k));
  add_packed(c, CODES, n, k, which);
  if (e == WITH_BIAS || e == WITH_BOTH) dure_case_tensor(c, BIAS, 1, &n);
  if (e == WITH_RESIDUAL || e == WITH_BOTH) dure_case_tensor(c, RESIDUAL, 2, DURE_SHAPE(m, n));
  dure_case_tensor(c, C, 2, DURE_SHAPE(m, n));
  c->reduction = (double)k;
  c->roundings = 6;
  return c;
}

void dure_cases_matmul_blocks(dure_case_list *list) {
  static const uint64_t shapes[][3] = {{1, 1, 32},   {1, 64, 64},  {7, 9, 32},    {8, 16, 96},   {9, 15, 128},
                                       {2, 33, 256}, {3, 65, 544}, {4, 127, 64},  {5, 31, 160},  {16, 8, 128},
                                       {17, 31, 32}, {33, 65, 96}, {16, 257, 32}, {1, 576, 192}, {64, 33, 64}};
  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
    add_matmul(list, shapes[i][0], shapes[i][1], shapes[i][2], (kind)(i % 4), (extras)(i / 4 % 4));
    add_matmul(list, shapes[i][0], shapes[i][1], shapes[i][2], (kind)((i + 1) % 4), (extras)((i + 1) / 2 % 4));
  }
  for (uint64_t shift = 1; shift <= 3; shift++) {
    for (uint64_t m = 1; m <= 9; m += 4) {
      dure_case *c = add_matmul(list, m, 65, 96, (kind)((m + shift) % 4), WITH_BOTH);
      dure_case_rename(c, "shifted=%llu", (unsigned long long)shift);
      for (uint32_t i = A; i <= C; i++) {
        if (c->operands[i].present) dure_case_shift(&c->operands[i], i == CODES ? 16 * shift : (shift + i) % 3 + 1);
      }
    }
  }
  dure_case *c = add_matmul(list, 6, 47, 64, FOUR, WITH_RESIDUAL);
  dure_case_rename(c, "a=2x3");
  dure_case_tensor(c, A, 3, DURE_SHAPE(2, 3, 64));
  dure_case_tensor(c, RESIDUAL, 3, DURE_SHAPE(2, 3, 47));
  dure_case_tensor(c, C, 3, DURE_SHAPE(2, 3, 47));
  c = add_matmul(list, 3, 33, 64, EIGHT, PLAIN);
  dure_case_rename(c, "nan");
  dure_case_sprinkle(&c->operands[A], (double)NAN, 1);
  dure_case_sprinkle(&c->operands[SCALES], (double)NAN, 1);
  dure_case_restricted(list, add_matmul(list, 3, 1000, 288, FOUR, WITH_BOTH));
  dure_case_restricted(list, add_matmul(list, 300, 65, 64, EIGHT_MINIMA, WITH_RESIDUAL));
  add_matmul(list, 1, 2049, 1024, EIGHT, WITH_BIAS);  // a decoded token
  add_matmul(list, 8, 1023, 768, FOUR, PLAIN);
  if (!list->full) return;
  add_matmul(list, 1, 262145, 544, EIGHT, PLAIN);  // codes above 128 MiB
  add_matmul(list, 4, 4096, 4096, FOUR, PLAIN);
}
