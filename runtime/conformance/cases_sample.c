// Cases of adjust_logits, mask_logits, and of sample; tokens are judged by sample_check.c.
#include <math.h>

#include "runtime/conformance/cases.h"

typedef struct settings {
  double temperature, top_k, top_p, min_p, typical_p;
} settings;

// logits settings random -> token
static dure_case *add(dure_case_list *list, uint64_t B, uint64_t V, settings s) {
  dure_case *c = dure_case_add(list, DURE_OP_sample, "b=%llu,v=%llu,temperature=%g,top_k=%g,top_p=%g",
                               (unsigned long long)B, (unsigned long long)V, s.temperature, s.top_k, s.top_p);
  dure_case_generate(dure_case_tensor(c, 0, 2, DURE_SHAPE(B, V)), DURE_GENERATE_NORMAL, 2, 0);
  double values[DURE_SAMPLE_COUNT] = {s.temperature, s.top_k, s.top_p, s.min_p, s.typical_p};
  dure_case_list_values(dure_case_tensor(c, 1, 1, DURE_SHAPE(DURE_SAMPLE_COUNT)), DURE_SAMPLE_COUNT, values);
  if (s.min_p > 0) dure_case_rename(c, "min_p=%g", s.min_p);
  if (s.typical_p > 0) dure_case_rename(c, "typical_p=%g", s.typical_p);
  dure_case_tensor(c, 2, 1, DURE_SHAPE(4))->generator = DURE_GENERATE_WORDS;
  dure_case_tensor(c, 3, 1, &B);
  return c;
}

void dure_cases_sample(dure_case_list *list) {
  static const uint64_t widths[] = {1, 2, 7, 8, 9, 31, 33, 63, 65, 127, 129, 255, 257, 1025, 4099};
  static const settings choices[] = {{0, 0, 1, 0, 0},       {1, 0, 1, 0, 0},          {0.7, 40, 1, 0, 0},
                                     {1, 0, 0.9, 0, 0},     {1.3, 5, 0.5, 0, 0},      {1, 1, 1, 0, 0},
                                     {0.8, 50, 0.95, 0, 0}, {1, 0, 1, 0.1, 0},        {1.5, 30, 0.9, 0.3, 0},
                                     {1, 0, 1, 0, 0.5},     {1.2, 60, 0.9, 0.02, 0.8}};
  for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
    for (size_t j = i % 2; j < sizeof(choices) / sizeof(choices[0]); j += 2)
      add(list, 1 + (i + j) % 5, widths[i], choices[j]);
  }
  add(list, 33, 384, choices[6]);
  add(list, 2, 50257, choices[6]);
  add(list, 1, 50257, choices[0]);
  add(list, 2, 50257, (settings){1, 0, 1, 0, 0.9});
  dure_case *c = add(list, 5, 100, choices[0]);
  dure_case_rename(c, "ties");  // the lowest index wins
  dure_case_list_values(&c->operands[0], 7, (const double[]){1, 3, -2, 3, 0, 3, 1});
  c = add(list, 9, 64, (settings){1, 3, 1, 0, 0});
  dure_case_rename(c, "ties");  // those equal to the third most probable stay
  dure_case_list_values(&c->operands[0], 8, (const double[]){0, 3, 2, 2, 0, 2, 2, -1});
  c = add(list, 5, 129, choices[4]);
  dure_case_rename(c, "candidates=100");  // the largest logits lie beyond and do not count
  c->attributes.sample.candidate_count = 100;
  dure_case_sprinkle(&c->operands[0], 50, 30);
  c = add(list, 5, 129, choices[0]);
  dure_case_rename(c, "candidates=1");
  c->attributes.sample.candidate_count = 1;
  c = add(list, 9, 257, (settings){0.01, 0, 1, 0, 0});
  dure_case_rename(c, "cold");
  c = add(list, 9, 257, (settings){100, 0, 1, 0, 0});
  dure_case_rename(c, "hot");
  c = add(list, 9, 257, choices[1]);
  dure_case_rename(c, "far_from_zero");
  dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, 2, -5000);
  c = add(list, 9, 257, choices[1]);
  dure_case_rename(c, "masked");
  dure_case_sprinkle(&c->operands[0], -(double)INFINITY, 100);
  c = add(list, 9, 257, choices[9]);
  dure_case_rename(c, "masked");
  dure_case_sprinkle(&c->operands[0], -(double)INFINITY, 100);
  c = add(list, 3, 65, (settings){1, 1000, 0, 0, 0});
  dure_case_rename(c, "shifted");
  for (uint32_t i = 0; i < 4; i++) dure_case_shift(&c->operands[i], i + 1);
  c = add(list, 4, 300, choices[0]);
  dure_case_rename(c, "row_settings");  // of each row its own: greedy, plain, cut, hot
  dure_case_list_values(dure_case_tensor(c, 1, 2, DURE_SHAPE(4, DURE_SAMPLE_COUNT)), 20,
                        (const double[]){0, 0, 1, 0, 0, 1, 0, 1, 0, 0.7, 0.7, 20, 0.9, 0.05, 0, 3, 0, 1, 0, 1});
  dure_case_tensor(c, 2, 2, DURE_SHAPE(4, 4))->generator = DURE_GENERATE_WORDS;
}

void dure_cases_adjust_logits(dure_case_list *list) {
  static const uint64_t shapes[][3] = {{1, 1, 1},   {1, 7, 33}, {3, 16, 48},  {8, 65, 512}, {2, 300, 257},
                                       {4, 33, 64}, {16, 3, 5}, {5, 12, 129}, {2, 1, 4099}, {7, 129, 130}};
  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
    const uint64_t B = shapes[i][0], N = shapes[i][1], V = shapes[i][2];
    dure_case *c = dure_case_add(list, DURE_OP_adjust_logits, "b=%llu,n=%llu,v=%llu", (unsigned long long)B,
                                 (unsigned long long)N, (unsigned long long)V);
    dure_case_operand *ids = dure_case_tensor(c, 0, 2, DURE_SHAPE(B, N));
    ids->generator = DURE_GENERATE_PERMUTED;
    ids->limit = V;
    dure_case_generate(dure_case_tensor(c, 1, 3, DURE_SHAPE(B, N, 2)), DURE_GENERATE_UNIFORM, 1.5, 0.5);
    dure_case_tensor(c, 2, 2, DURE_SHAPE(B, V));
    c->roundings = 8;  // a division may err by 2.5 units in the last place (Vulkan's table of precision)
    if (i % 2 != 0) {
      dure_case_rename(c, "shifted");
      for (uint32_t j = 0; j < 3; j++) dure_case_shift(&c->operands[j], j + 1);
    }
    // None twice, of the longer base of shifted ones neither; so some lie beyond the vocabulary.
    if (ids->base_count > ids->limit) ids->limit = ids->base_count;
  }
}

void dure_cases_mask_logits(dure_case_list *list) {
  static const uint64_t shapes[][2] = {{1, 1},   {1, 31},  {3, 32},   {2, 33},   {5, 64},
                                       {7, 127}, {4, 257}, {2, 4099}, {33, 100}, {1, 50257}};
  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
    const uint64_t B = shapes[i][0], V = shapes[i][1], words = (V + 31) / 32;
    dure_case *c =
        dure_case_add(list, DURE_OP_mask_logits, "b=%llu,v=%llu", (unsigned long long)B, (unsigned long long)V);
    dure_case_tensor(c, 0, 2, DURE_SHAPE(B, words))->generator = DURE_GENERATE_WORDS;
    dure_case_tensor(c, 1, 2, DURE_SHAPE(B, V));
    if (i % 2 != 0) {
      dure_case_rename(c, "shifted");
      for (uint32_t j = 0; j < 2; j++) dure_case_shift(&c->operands[j], j + 1);
    }
    if (i % 3 != 0) dure_case_sprinkle(&c->operands[0], 4294967295.0, (uint32_t)(B * words / 2));
  }
}
