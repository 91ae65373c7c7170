// Cases of embedding (exact unless it adds) and embedding_gradient (reduction: the most rows that share an index).
#include <math.h>

#include "runtime/conformance/cases.h"

static dure_case *add_embedding(dure_case_list *list, uint64_t V, uint64_t C, uint64_t R, bool accumulate) {
  dure_case *c = dure_case_add(list, DURE_OP_embedding, "v=%llu,c=%llu,r=%llu%s", (unsigned long long)V,
                               (unsigned long long)C, (unsigned long long)R, accumulate ? "/accumulate" : "");
  dure_case_tensor(c, 0, 2, DURE_SHAPE(V, C));
  dure_case_indices(dure_case_tensor(c, 1, 1, &R), V);
  dure_case_tensor(c, 2, 2, DURE_SHAPE(R, C));
  c->accumulate = accumulate ? 1u << 2 : 0;
  c->reduction = accumulate ? 1 : 0;
  return c;
}

static const uint64_t shapes[][3] = {{1, 1, 1},       {1, 64, 9},     {7, 1, 33},      {8, 8, 8},     {9, 7, 17},
                                     {16, 31, 15},    {33, 33, 65},   {65, 63, 127},   {129, 65, 31}, {255, 127, 63},
                                     {257, 129, 255}, {384, 64, 128}, {1000, 257, 64}, {5, 1025, 7},  {512, 384, 256}};
enum { shape_count = sizeof(shapes) / sizeof(shapes[0]) };

void dure_cases_embedding(dure_case_list *list) {
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_embedding(list, shapes[i][0], shapes[i][1], shapes[i][2], i % 2 == 1);
    if (i % 4 != 2) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 3; j++) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
  }
  dure_case *c = add_embedding(list, 65, 33, 24, true);
  dure_case_rename(c, "shape=4x6");
  dure_case_tensor(c, 1, 2, DURE_SHAPE(4, 6));
  dure_case_indices(&c->operands[1], 65);
  dure_case_tensor(c, 2, 3, DURE_SHAPE(4, 6, 33));
  for (int accumulate = 0; accumulate < 2; accumulate++) {  // NaN rows
    c = add_embedding(list, 65, 33, 40, accumulate == 1);
    dure_case_rename(c, "beyond");
    dure_case_sprinkle(&c->operands[1], 65, 3);
    dure_case_sprinkle(&c->operands[1], 4294967295.0, 3);
    dure_case_sprinkle(&c->operands[1], 2147483648.0, 3);
    c = add_embedding(list, 33, 65, 90, accumulate == 1);  // a part of a larger table: other rows of y stay
    dure_case_rename(c, "first_row=20,row_count=100");
    c->attributes.embedding = (dure_embedding_attributes){20, 100};
    dure_case_indices(&c->operands[1], 110);
  }
  c = add_embedding(list, 33, 65, 20, false);
  dure_case_rename(c, "special");
  dure_case_sprinkle(&c->operands[0], (double)NAN, 50);
  dure_case_sprinkle(&c->operands[0], (double)INFINITY, 50);
  dure_case_restricted(list, add_embedding(list, 513, 65, 300, true));
  dure_case_restricted(list, add_embedding(list, 129, 129, 200, false));
  if (!list->full) return;
  dure_case_generate(&add_embedding(list, 50257, 768, 1024, true)->operands[0], DURE_GENERATE_UNIFORM, 2, -1);
  dure_case_generate(&add_embedding(list, 300, 257, 140001, false)->operands[2], DURE_GENERATE_UNIFORM, 2, -1);
}

static dure_case *add_gradient(dure_case_list *list, uint64_t V, uint64_t C, uint64_t R, bool accumulate) {
  dure_case *c = dure_case_add(list, DURE_OP_embedding_gradient, "v=%llu,c=%llu,r=%llu%s", (unsigned long long)V,
                               (unsigned long long)C, (unsigned long long)R, accumulate ? "/accumulate" : "");
  dure_case_indices(dure_case_tensor(c, 0, 1, &R), V);
  dure_case_tensor(c, 1, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, 2, 2, DURE_SHAPE(V, C));
  c->attributes.embedding.row_count = (uint32_t)V;
  c->accumulate = accumulate ? 1u << 2 : 0;
  c->reduction = (double)R;
  c->roundings = 4;
  return c;
}

void dure_cases_embedding_gradient(dure_case_list *list) {
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_gradient(list, shapes[i][0], shapes[i][1], shapes[i][2], i % 2 == 1);
    if (i % 4 != 2) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 3; j++) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
  }
  dure_case *c = add_gradient(list, 65, 33, 200, false);
  dure_case_rename(c, "one_index");
  dure_case_indices(&c->operands[0], 1);
  c = add_gradient(list, 70000, 9, 1500, false);
  dure_case_rename(c, "three_indices");  // most of the text
  dure_case_list_values(&c->operands[0], 3, (const double[]){7, 69999, 4096});
  dure_case_sprinkle(&c->operands[0], 33, 20);
  c = add_gradient(list, 200, 33, 200, true);
  dure_case_rename(c, "every_index_once");
  c->operands[0].generator = DURE_GENERATE_PERMUTED;
  c = add_gradient(list, 20, 65, 150, true);
  dure_case_rename(c, "beyond");
  dure_case_indices(&c->operands[0], 30);
  dure_case_sprinkle(&c->operands[0], 4294967295.0, 5);
  c = add_gradient(list, 65, 33, 24, false);
  dure_case_rename(c, "shape=4x6");
  dure_case_tensor(c, 0, 2, DURE_SHAPE(4, 6));
  dure_case_indices(&c->operands[0], 65);
  dure_case_tensor(c, 1, 3, DURE_SHAPE(4, 6, 33));
  c = add_gradient(list, 65, 33, 100, true);
  dure_case_rename(c, "special");
  c->any_not_finite = true;
  dure_case_sprinkle(&c->operands[1], (double)NAN, 5);
  dure_case_sprinkle(&c->operands[1], (double)INFINITY, 5);
  dure_case_restricted(list, add_gradient(list, 513, 65, 300, true));
  dure_case_restricted(list, add_gradient(list, 129, 129, 200, false));
  if (!list->full) return;
  dure_case_generate(&add_gradient(list, 50257, 768, 1024, true)->operands[2], DURE_GENERATE_UNIFORM, 2, -1);
  dure_case_generate(&add_gradient(list, 300, 257, 140001, false)->operands[1], DURE_GENERATE_UNIFORM, 2, -1);
}
