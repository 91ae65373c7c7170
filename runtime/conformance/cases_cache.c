// Cases of cache_append (exact) and attention_cached.
#include <math.h>
#include <stdio.h>

#include "runtime/conformance/cases.h"

typedef struct shape {
  uint64_t B, T, H, G, D, block_size, blocks_per_sequence;
  uint32_t window;
  float soft_cap;
  bool has_slopes;
} shape;

// Caches in blocks of codes with scales, of calls whose other operands are of `storage`.
static void keep_in_blocks(dure_case *c, uint32_t cache, uint32_t scales, shape s, dure_dtype storage) {
  for (uint32_t i = 0; i < 2; i++) {
    c->operands[cache + i].dtype = DURE_DTYPE_U8;
    dure_case_operand *of_blocks = dure_case_tensor(
        c, scales + i, 4, DURE_SHAPE(c->operands[cache].shape[0], s.block_size, s.G, s.D / DURE_QUANTIZED_BLOCK));
    dure_case_generate(of_blocks, DURE_GENERATE_UNIFORM, 0.02, 0.001);
  }
  c->storage = storage;
  dure_case_rename(c, "q8_0,%s", dure_dtype_name(storage));
}

static const shape block_shapes[] = {
    {1, 1, 1, 1, 32, 1, 1, 0, 0, false},   {1, 1, 2, 2, 64, 16, 4, 0, 0, false}, {3, 1, 4, 2, 32, 16, 3, 0, 0, false},
    {1, 17, 2, 1, 96, 16, 2, 0, 0, false}, {2, 7, 3, 3, 64, 8, 5, 5, 0, false},  {1, 33, 4, 2, 128, 7, 9, 0, 2, true},
    {1, 1, 9, 3, 64, 16, 9, 0, 0, false},  {2, 3, 2, 1, 160, 8, 5, 0, 0, false}, {1, 2, 2, 2, 256, 16, 3, 0, 0, true}};
enum { block_shape_count = sizeof(block_shapes) / sizeof(block_shapes[0]), quick_block_shape_count = 7 };
static const dure_dtype storages[] = {DURE_DTYPE_F32, DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_F32, DURE_DTYPE_F16};

static void name_case(dure_case *c, shape s) {
  dure_case_rename(c, "h=%llu,g=%llu,d=%llu,block=%llu,blocks=%llu", (unsigned long long)s.H, (unsigned long long)s.G,
                   (unsigned long long)s.D, (unsigned long long)s.block_size,
                   (unsigned long long)s.blocks_per_sequence);
  if (s.window > 0) dure_case_rename(c, "window=%u", s.window);
}

// A cache with twice the blocks that the sequences use, which lie anywhere in it.
static void add_cache(dure_case *c, uint32_t key_cache, uint32_t value_cache, uint32_t block_table, uint32_t positions,
                      shape s) {
  uint64_t blocks = 2 * s.B * s.blocks_per_sequence;
  dure_case_tensor(c, key_cache, 4, DURE_SHAPE(blocks, s.block_size, s.G, s.D));
  dure_case_tensor(c, value_cache, 4, DURE_SHAPE(blocks, s.block_size, s.G, s.D));
  dure_case_operand *table = dure_case_tensor(c, block_table, 2, DURE_SHAPE(s.B, s.blocks_per_sequence));
  table->generator = DURE_GENERATE_PERMUTED;
  // All of them, so that a shifted table, which is made longer, names no block twice: two tokens would race for a
  // place.
  table->limit = blocks;
  uint64_t room = s.blocks_per_sequence * s.block_size;
  dure_case_indices(dure_case_tensor(c, positions, 1, &s.B), room > s.T ? room - s.T + 1 : 1);
}

// k v block_table positions -> key_cache value_cache
static dure_case *add_append(dure_case_list *list, shape s) {
  dure_case *c =
      dure_case_add(list, DURE_OP_cache_append, "b=%llu,t=%llu", (unsigned long long)s.B, (unsigned long long)s.T);
  name_case(c, s);
  dure_case_tensor(c, 0, 4, DURE_SHAPE(s.B, s.T, s.G, s.D));
  dure_case_tensor(c, 1, 4, DURE_SHAPE(s.B, s.T, s.G, s.D));
  add_cache(c, 4, 5, 2, 3, s);
  return c;
}

static const shape shapes[] = {
    {1, 1, 1, 1, 1, 1, 1, 0, 0, false},    {1, 1, 2, 2, 64, 16, 4, 0, 0, false}, {3, 1, 4, 2, 16, 16, 3, 0, 0, false},
    {2, 7, 3, 1, 33, 8, 5, 0, 0, false},   {1, 17, 2, 1, 8, 16, 2, 0, 0, false}, {1, 33, 4, 4, 16, 7, 9, 0, 0, false},
    {2, 65, 2, 2, 31, 16, 9, 0, 0, false}, {4, 9, 6, 3, 48, 32, 2, 0, 0, false}, {1, 1, 2, 2, 128, 16, 20, 0, 0, false},
    {2, 3, 2, 1, 17, 1, 9, 0, 0, false},   {1, 1, 2, 1, 32, 16, 9, 5, 0, false}, {2, 9, 4, 4, 65, 8, 6, 16, 0, false},
    {1, 1, 6, 6, 64, 16, 16, 0, 0, false}, {8, 1, 4, 4, 16, 16, 4, 0, 0, false}};
enum { shape_count = sizeof(shapes) / sizeof(shapes[0]) };

static void add_append_blocks(dure_case_list *list) {
  enum { K, V, KEY_CACHE = 4, KEY_SCALES = 6 };
  for (size_t i = 0; i < block_shape_count; i++) {
    dure_case *c = add_append(list, block_shapes[i]);
    keep_in_blocks(c, KEY_CACHE, KEY_SCALES, block_shapes[i], storages[i % 5]);
    if (i % 3 != 2) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 8; j++)
      dure_case_shift(&c->operands[j], c->operands[j].dtype == DURE_DTYPE_U8 ? 16 : (i + j) % 3 + 1);
  }
  dure_case *c = add_append(list, block_shapes[1]);
  keep_in_blocks(c, KEY_CACHE, KEY_SCALES, block_shapes[1], DURE_DTYPE_F32);
  dure_case_rename(c, "special");
  dure_case_sprinkle(&c->operands[K], (double)NAN, 1);
  dure_case_sprinkle(&c->operands[V], -(double)INFINITY, 2);
  const double magnitudes[] = {0, 1e-31, 3e-5, 1e-3, 1e9};  // scales of 0, below f16's steps, below 2^-14, infinite
  for (size_t i = 0; i < sizeof(magnitudes) / sizeof(magnitudes[0]); i++) {
    c = add_append(list, block_shapes[3]);
    keep_in_blocks(c, KEY_CACHE, KEY_SCALES, block_shapes[3], DURE_DTYPE_F32);
    dure_case_rename(c, "magnitude=%g", magnitudes[i]);
    dure_case_generate(&c->operands[K], DURE_GENERATE_NORMAL, magnitudes[i], 0);
  }
}

void dure_cases_cache_append(dure_case_list *list) {
  add_append_blocks(list);
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_append(list, shapes[i]);
    if (i % 3 != 2) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j < 6; j++) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
  }
  shape s = {2, 9, 4, 2, 16, 8, 3, 0, 0, false};
  dure_case *c = add_append(list, s);  // k and v in one projection [B, T, (H + 2 G) D]
  dure_case_rename(c, "fused");
  uint64_t width = (s.H + 2 * s.G) * s.D;
  c->operands[0].stride[1] = width;
  c->operands[0].stride[0] = s.T * width;
  c->operands[0].offset = s.H * s.D;
  c->operands[0].base_count = s.B * s.T * width;
  dure_case_share(c, 1, 0, (s.H + s.G) * s.D);
  c = add_append(list,
                 (shape){3, 9, 2, 2, 16, 8, 2, 0, 0, false});  // 16 positions: some tokens fall beyond and are dropped
  dure_case_rename(c, "beyond");
  dure_case_list_values(&c->operands[3], 3, (const double[]){10, 16, 4294967290.0});
  c = add_append(list, s);
  dure_case_rename(c, "special");
  dure_case_sprinkle(&c->operands[0], (double)NAN, 4);
  dure_case_sprinkle(&c->operands[1], -(double)INFINITY, 4);
}

// q key_cache value_cache block_table positions slopes key_scales value_scales -> y
enum { Y = 8 };
static dure_case *add_cached(dure_case_list *list, shape s) {
  dure_case *c =
      dure_case_add(list, DURE_OP_attention_cached, "b=%llu,t=%llu", (unsigned long long)s.B, (unsigned long long)s.T);
  name_case(c, s);
  c->attributes.attention =
      (dure_attention_attributes){.scale = (float)(1 / sqrt((double)s.D)), .window = s.window, .soft_cap = s.soft_cap};
  dure_case_tensor(c, 0, 4, DURE_SHAPE(s.B, s.T, s.H, s.D));
  add_cache(c, 1, 2, 3, 4, s);
  if (s.has_slopes) {
    dure_case_rename(c, "slopes");
    dure_case_generate(dure_case_tensor(c, 5, 1, &s.H), DURE_GENERATE_UNIFORM, 0.5, 0);
  }
  if (s.soft_cap > 0) dure_case_rename(c, "soft_cap=%g", (double)s.soft_cap);
  dure_case_tensor(c, Y, 4, DURE_SHAPE(s.B, s.T, s.H, s.D));
  c->reduction = (double)(s.blocks_per_sequence * s.block_size + s.D);
  c->roundings = 16;
  return c;
}

static void add_cached_options(dure_case_list *list) {
  const shape base[] = {{1, 1, 2, 1, 32, 16, 9, 0, 0, true},      {2, 9, 4, 4, 64, 8, 6, 16, 2, false},
                        {1, 1, 6, 3, 96, 16, 7, 0, 20, true},     {3, 1, 2, 2, 17, 4, 11, 13, 1, true},
                        {1, 40, 2, 1, 128, 16, 5, 0, 0.5f, true}, {1, 1, 3, 3, 256, 16, 3, 0, 0, false},
                        {2, 3, 4, 2, 160, 8, 5, 11, 0, true}};
  for (size_t i = 0; i < sizeof(base) / sizeof(base[0]); i++) add_cached(list, base[i]);
}

static void add_cached_blocks(dure_case_list *list) {
  enum { KEY_CACHE = 1, KEY_SCALES = 6 };
  const size_t count = list->full ? block_shape_count : quick_block_shape_count;  // large heads take long to compile
  for (size_t i = 0; i < count; i++) {
    dure_case *c = add_cached(list, block_shapes[i]);
    keep_in_blocks(c, KEY_CACHE, KEY_SCALES, block_shapes[i], storages[i % 5]);
    if (i % 3 != 2) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j <= Y; j++)
      dure_case_shift(&c->operands[j], c->operands[j].dtype == DURE_DTYPE_U8 ? 16 : (i + j) % 3 + 1);
  }
}

void dure_cases_attention_cached(dure_case_list *list) {
  add_cached_blocks(list);
  add_cached_options(list);
  for (size_t i = 0; i < shape_count; i++) {
    dure_case *c = add_cached(list, shapes[i]);
    if (i % 3 != 2) continue;
    dure_case_rename(c, "shifted");
    for (uint32_t j = 0; j <= Y; j++) dure_case_shift(&c->operands[j], (i + j) % 3 + 1);
  }
  shape s = {2, 5, 4, 2, 16, 8, 4, 0, 0, false};
  dure_case *c = add_cached(list, s);  // q in a projection [B, T, (H + 2 G) D]
  dure_case_rename(c, "fused");
  uint64_t width = (s.H + 2 * s.G) * s.D;
  c->operands[0].stride[1] = width;
  c->operands[0].stride[0] = s.T * width;
  c->operands[0].base_count = s.B * s.T * width;
  c = add_cached(list, s);
  dure_case_rename(c, "empty");  // the first tokens of their sequences
  dure_case_list_values(&c->operands[4], 1, (const double[]){0});
  c = add_cached(list, s);
  dure_case_rename(c, "large");
  dure_case_generate(&c->operands[0], DURE_GENERATE_NORMAL, 20, 0);
  dure_case_generate(&c->operands[1], DURE_GENERATE_NORMAL, 20, 0);
  if (!list->full) return;
  add_cached(list, (shape){1, 1, 12, 12, 64, 16, 128, 0, 0, false});
  add_cached(list, (shape){2, 257, 4, 2, 64, 16, 40, 0, 0, false});
}
