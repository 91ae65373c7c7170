#include "cli/bench_cases.h"

#include <math.h>
#include <string.h>

typedef unsigned long long number;  // for printf

static void add_matmul(dure_case_list *list, bool transpose_a, bool transpose_b, uint64_t m, uint64_t n, uint64_t k) {
  dure_case *c = dure_case_add(list, DURE_OP_matmul, "%c%c/m=%llu,n=%llu,k=%llu", transpose_a ? 't' : 'n',
                               transpose_b ? 't' : 'n', (number)m, (number)n, (number)k);
  c->attributes.matmul = (dure_matmul_attributes){.transpose_a = transpose_a, .transpose_b = transpose_b};
  dure_case_tensor(c, 0, 2, transpose_a ? DURE_SHAPE(k, m) : DURE_SHAPE(m, k));
  dure_case_tensor(c, 1, 2, transpose_b ? DURE_SHAPE(n, k) : DURE_SHAPE(k, n));
  dure_case_tensor(c, 5, 2, DURE_SHAPE(m, n));
}

enum { MATMUL_BIAS = 2, MATMUL_RESIDUAL, MATMUL_PREACTIVATION, MATMUL_C, MATMUL_SAVED };

// A feed-forward block of GPT-2 as it is trained, `rows` tokens of width C: up with bias and GELU whose input is kept,
// down with bias and the residual, back through the GELU, and the gradient of a weight added to what is there, which is
// f32 whatever the operands are.
static void add_feed_forward(dure_case_list *list, uint64_t rows, uint64_t C) {
  add_matmul(list, false, false, rows, 4 * C, C);
  dure_case *c = &list->cases[list->count - 1];
  dure_case_rename(c, "bias+gelu+saved");
  c->attributes.matmul.epilogue = DURE_EPILOGUE_ACTIVATION;
  dure_case_tensor(c, MATMUL_BIAS, 1, DURE_SHAPE(4 * C));
  dure_case_tensor(c, MATMUL_SAVED, 2, DURE_SHAPE(rows, 4 * C));

  add_matmul(list, false, false, rows, C, 4 * C);
  c = &list->cases[list->count - 1];
  dure_case_rename(c, "bias+residual");
  dure_case_tensor(c, MATMUL_BIAS, 1, &C);
  dure_case_tensor(c, MATMUL_RESIDUAL, 2, DURE_SHAPE(rows, C));

  add_matmul(list, false, true, rows, 4 * C, C);
  c = &list->cases[list->count - 1];
  dure_case_rename(c, "gelu_gradient");
  c->attributes.matmul.epilogue = DURE_EPILOGUE_ACTIVATION_GRADIENT;
  dure_case_tensor(c, MATMUL_PREACTIVATION, 2, DURE_SHAPE(rows, 4 * C));

  add_matmul(list, true, false, C, 4 * C, rows);
  c = &list->cases[list->count - 1];
  dure_case_rename(c, "accumulate_f32");
  c->operands[MATMUL_C].dtype = DURE_DTYPE_F32;
  c->accumulate = 1u << MATMUL_C;
}

static void add_matmul_q8(dure_case_list *list, uint64_t m, uint64_t n, uint64_t k) {
  dure_case *c = dure_case_add(list, DURE_OP_matmul_q8, "m=%llu,n=%llu,k=%llu", (number)m, (number)n, (number)k);
  dure_case_tensor(c, 0, 2, DURE_SHAPE(m, k));
  dure_case_tensor(c, 1, 2, DURE_SHAPE(m, k / DURE_QUANTIZED_BLOCK));
  dure_case_tensor(c, 2, 2, DURE_SHAPE(n, k));
  dure_case_tensor(c, 3, 2, DURE_SHAPE(n, k / DURE_QUANTIZED_BLOCK));
  dure_case_tensor(c, 5, 2, DURE_SHAPE(m, n));
}

static void add_matmul_blocks(dure_case_list *list, uint32_t bits, uint64_t m, uint64_t n, uint64_t k) {
  dure_case *c =
      dure_case_add(list, DURE_OP_matmul_blocks, "m=%llu,n=%llu,k=%llu/%u", (number)m, (number)n, (number)k, bits);
  c->attributes.blocks.bits = bits;
  dure_case_tensor(c, 0, 2, DURE_SHAPE(m, k));
  dure_case_tensor(c, 1, 2, DURE_SHAPE(n, k * bits / 8));
  dure_case_tensor(c, 2, 2, DURE_SHAPE(n, k / DURE_QUANTIZED_BLOCK));
  dure_case_tensor(c, 6, 2, DURE_SHAPE(m, n));
}

static void add_unpack_blocks(dure_case_list *list, uint32_t bits, uint64_t n, uint64_t k) {
  dure_case *c = dure_case_add(list, DURE_OP_unpack_blocks, "n=%llu,k=%llu/%u", (number)n, (number)k, bits);
  c->attributes.blocks.bits = bits;
  dure_case_tensor(c, 0, 2, DURE_SHAPE(n, k * bits / 8));
  dure_case_tensor(c, 1, 2, DURE_SHAPE(n, k / DURE_QUANTIZED_BLOCK));
  dure_case_tensor(c, 4, 2, DURE_SHAPE(n, k));
}

static void add_quantize_rows(dure_case_list *list, uint64_t m, uint64_t k) {
  dure_case *c = dure_case_add(list, DURE_OP_quantize_rows, "rows=%llu,k=%llu", (number)m, (number)k);
  dure_case_tensor(c, 0, 2, DURE_SHAPE(m, k));
  dure_case_tensor(c, 1, 2, DURE_SHAPE(m, k));
  dure_case_tensor(c, 2, 2, DURE_SHAPE(m, k / DURE_QUANTIZED_BLOCK));
}

// `count` elements in each of the first `operands` operands.
static void add_elementwise(dure_case_list *list, dure_op op, uint32_t operands, uint64_t count) {
  dure_case *c = dure_case_add(list, op, "n=%llu", (number)count);
  for (uint32_t i = 0; i < operands; i++) dure_case_tensor(c, i, 1, &count);
}

static void add_matmuls(dure_case_list *list, uint64_t scale) {
  uint64_t rows = 1024 / scale;
  add_matmul(list, false, true, 1024 / scale, 1024, 1024);
  add_matmul(list, true, false, 1024, 1024, 1024 / scale);
  add_matmul(list, false, false, 256, 768, 768 / scale);  // GPT-2, 256 tokens
  add_matmul(list, false, false, 256, 3072 / scale, 768);
  add_matmul(list, false, false, 256, 768, 3072 / scale);
  add_matmul(list, false, true, 256, 768, 3072 / scale);
  add_matmul(list, true, false, 768, 3072 / scale, 256);
  add_matmul(list, false, false, rows, 1152, 384);  // 6 layers, 384 wide, batch 4 x 256
  add_matmul(list, false, false, rows, 384, 1536);
  add_matmul(list, true, false, 384, 1536, rows);
  add_matmul(list, false, true, rows, 256, 384);
  add_matmul(list, false, true, rows, 8192, 384);
  add_matmul(list, false, false, 1, 2048, 2048);  // decoding
  add_matmul(list, false, true, 1, 2048, 2048);
  add_feed_forward(list, 256 / scale, 768);
}

static void add_quantized(dure_case_list *list, uint64_t scale) {
  add_quantize_rows(list, 1024 / scale, 1024);
  add_quantize_rows(list, 1, 2048);
  add_matmul_q8(list, 1024 / scale, 1024, 1024);
  add_matmul_q8(list, 256, 3072 / scale, 768);
  add_matmul_q8(list, 1, 2048, 2048);  // decoding
  add_matmul_q8(list, 8, 2048, 2048);
  for (uint32_t bits = 4; bits <= 8; bits += 4) {
    for (uint64_t m = 1; m <= 32; m *= m == 1 ? 4 : 2) add_matmul_blocks(list, bits, m, 2048, 2048);
    add_unpack_blocks(list, bits, 2048, 2048);
  }
}

static void add_attention(dure_case_list *list, dure_op op, uint64_t B, uint64_t T, uint64_t H, uint64_t D) {
  dure_case *c = dure_case_add(list, op, "b=%llu,t=%llu,h=%llu,d=%llu", (number)B, (number)T, (number)H, (number)D);
  c->attributes.attention.scale = (float)(1 / sqrt((double)D));
  enum { Q, V = 2, Y = 5, LOG_SUM_EXP, DY, DV = 10 };
  for (uint32_t i = Q; i <= V; i++) dure_case_tensor(c, i, 4, DURE_SHAPE(B, T, H, D));
  dure_case_tensor(c, Y, 4, DURE_SHAPE(B, T, H, D));
  dure_case_tensor(c, LOG_SUM_EXP, 3, DURE_SHAPE(B, H, T));
  if (op == DURE_OP_attention) return;
  for (uint32_t i = DY; i <= DV; i++) dure_case_tensor(c, i, 4, DURE_SHAPE(B, T, H, D));
}

static void add_cache(dure_case_list *list, uint64_t H, uint64_t D, uint64_t length) {
  uint64_t blocks = length / 16, one = 1;
  dure_case *c = dure_case_add(list, DURE_OP_cache_append, "t=1,h=%llu,d=%llu", (number)H, (number)D);
  for (uint32_t i = 0; i < 2; i++) dure_case_tensor(c, i, 4, DURE_SHAPE(1, 1, H, D));
  dure_case_operand *table = dure_case_tensor(c, 2, 2, DURE_SHAPE(1, blocks));
  table->generator = DURE_GENERATE_PERMUTED;
  table->limit = blocks;
  dure_case_list_values(dure_case_tensor(c, 3, 1, &one), 1, (const double[]){(double)(length - 1)});
  for (uint32_t i = 4; i < 6; i++) dure_case_tensor(c, i, 4, DURE_SHAPE(blocks, 16, H, D));

  c = dure_case_add(list, DURE_OP_attention_cached, "t=1,h=%llu,d=%llu,length=%llu", (number)H, (number)D,
                    (number)length);
  c->attributes.attention.scale = (float)(1 / sqrt((double)D));
  dure_case_tensor(c, 0, 4, DURE_SHAPE(1, 1, H, D));
  for (uint32_t i = 1; i < 3; i++) dure_case_tensor(c, i, 4, DURE_SHAPE(blocks, 16, H, D));
  table = dure_case_tensor(c, 3, 2, DURE_SHAPE(1, blocks));
  table->generator = DURE_GENERATE_PERMUTED;
  table->limit = blocks;
  dure_case_list_values(dure_case_tensor(c, 4, 1, &one), 1, (const double[]){(double)(length - 1)});
  dure_case_tensor(c, 8, 4, DURE_SHAPE(1, 1, H, D));
}

static void add_embeddings(dure_case_list *list, uint64_t V, uint64_t C, uint64_t R) {
  dure_case *c = dure_case_add(list, DURE_OP_embedding, "v=%llu,c=%llu,rows=%llu", (number)V, (number)C, (number)R);
  dure_case_tensor(c, 0, 2, DURE_SHAPE(V, C));
  dure_case_indices(dure_case_tensor(c, 1, 1, &R), V);
  dure_case_tensor(c, 2, 2, DURE_SHAPE(R, C));

  c = dure_case_add(list, DURE_OP_embedding_gradient, "v=%llu,c=%llu,rows=%llu", (number)V, (number)C, (number)R);
  c->attributes.embedding.row_count = (uint32_t)V;
  dure_case_indices(dure_case_tensor(c, 0, 1, &R), V);
  dure_case_tensor(c, 1, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, 2, 2, DURE_SHAPE(V, C));
}

static void add_norms(dure_case_list *list, uint64_t R, uint64_t C) {
  dure_case *c = dure_case_add(list, DURE_OP_layer_norm, "rows=%llu,c=%llu", (number)R, (number)C);
  c->attributes.layer_norm.epsilon = 1e-5f;
  dure_case_tensor(c, 0, 2, DURE_SHAPE(R, C));
  for (uint32_t i = 1; i < 3; i++) dure_case_tensor(c, i, 1, &C);
  dure_case_tensor(c, 3, 2, DURE_SHAPE(R, C));
  for (uint32_t i = 4; i < 6; i++) dure_case_tensor(c, i, 1, &R);

  c = dure_case_add(list, DURE_OP_layer_norm_gradient, "rows=%llu,c=%llu", (number)R, (number)C);
  for (uint32_t i = 0; i < 2; i++) dure_case_tensor(c, i, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, 2, 1, &C);
  for (uint32_t i = 3; i < 5; i++) dure_case_tensor(c, i, 1, &R);
  dure_case_tensor(c, 5, 2, DURE_SHAPE(R, C));

  c = dure_case_add(list, DURE_OP_layer_norm_parameters, "rows=%llu,c=%llu", (number)R, (number)C);
  for (uint32_t i = 0; i < 2; i++) dure_case_tensor(c, i, 2, DURE_SHAPE(R, C));
  for (uint32_t i = 2; i < 4; i++) dure_case_tensor(c, i, 1, &R);
  for (uint32_t i = 4; i < 6; i++) dure_case_tensor(c, i, 1, &C);
}

static void add_rms_norms(dure_case_list *list, uint64_t R, uint64_t C) {
  dure_case *c = dure_case_add(list, DURE_OP_rms_norm, "rows=%llu,c=%llu", (number)R, (number)C);
  c->attributes.rms_norm.epsilon = 1e-6f;
  dure_case_tensor(c, 0, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, 1, 1, &C);
  dure_case_tensor(c, 2, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, 3, 1, &R);

  c = dure_case_add(list, DURE_OP_rms_norm_gradient, "rows=%llu,c=%llu", (number)R, (number)C);
  for (uint32_t i = 0; i < 2; i++) dure_case_tensor(c, i, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, 2, 1, &C);
  dure_case_tensor(c, 3, 1, &R);
  dure_case_tensor(c, 4, 2, DURE_SHAPE(R, C));

  c = dure_case_add(list, DURE_OP_rms_norm_parameters, "rows=%llu,c=%llu", (number)R, (number)C);
  for (uint32_t i = 0; i < 2; i++) dure_case_tensor(c, i, 2, DURE_SHAPE(R, C));
  dure_case_tensor(c, 2, 1, &R);
  dure_case_tensor(c, 3, 1, &C);
}

// gate and up as the halves of one projection
static void add_gated(dure_case_list *list, uint64_t R, uint64_t C) {
  for (dure_op op = DURE_OP_gated_activation; op <= DURE_OP_gated_activation_gradient; op = (dure_op)(op + 1)) {
    dure_case *c = dure_case_add(list, op, "rows=%llu,c=%llu", (number)R, (number)C);
    c->attributes.activation.kind = DURE_ACTIVATION_SILU;
    for (uint32_t i = 0; i < dure_op_get(op)->operand_count; i++) dure_case_tensor(c, i, 2, DURE_SHAPE(R, C));
    dure_case_widen(&c->operands[0], C);
    dure_case_share(c, 1, 0, C);
  }
}

static void add_rotary(dure_case_list *list, uint64_t B, uint64_t T, uint64_t H, uint64_t D) {
  dure_case *c =
      dure_case_add(list, DURE_OP_rotary, "b=%llu,t=%llu,h=%llu,d=%llu", (number)B, (number)T, (number)H, (number)D);
  c->attributes.rotary.width = (uint32_t)D;
  dure_case_tensor(c, 0, 4, DURE_SHAPE(B, T, H, D));
  dure_case_indices(dure_case_tensor(c, 1, 2, DURE_SHAPE(B, T)), T);
  dure_case_tensor(c, 2, 2, DURE_SHAPE(T, D));
  dure_case_tensor(c, 3, 4, DURE_SHAPE(B, T, H, D));
}

static void add_losses(dure_case_list *list, uint64_t R, uint64_t V) {
  dure_case *c = dure_case_add(list, DURE_OP_cross_entropy, "rows=%llu,v=%llu", (number)R, (number)V);
  dure_case_tensor(c, 0, 2, DURE_SHAPE(R, V));
  dure_case_indices(dure_case_tensor(c, 1, 1, &R), V);
  for (uint32_t i = 2; i < 4; i++) dure_case_tensor(c, i, 1, &R);

  c = dure_case_add(list, DURE_OP_cross_entropy_gradient, "rows=%llu,v=%llu", (number)R, (number)V);
  dure_case_indices(dure_case_tensor(c, 0, 1, &R), V);
  dure_case_tensor(c, 1, 1, &R);
  dure_case_tensor(c, 2, 1, DURE_SHAPE(1));
  dure_case_tensor(c, 3, 2, DURE_SHAPE(R, V));
}

static void add_reductions(dure_case_list *list, uint64_t rows, uint64_t width) {
  dure_case *c = dure_case_add(list, DURE_OP_sum_rows, "rows=%llu,n=%llu", (number)rows, (number)width);
  dure_case_tensor(c, 0, 2, DURE_SHAPE(rows, width));
  dure_case_tensor(c, 1, 1, &width);
  for (dure_op op = DURE_OP_sum; op <= DURE_OP_square_sum; op = (dure_op)(op + 1)) {
    c = dure_case_add(list, op, "n=%llu", (number)(rows * width * 2));
    dure_case_tensor(c, 0, 1, DURE_SHAPE(rows * width * 2));
    dure_case_tensor(c, 1, 1, DURE_SHAPE(1));
  }
}

static void add_adamw(dure_case_list *list, uint64_t count) {
  dure_case *c = dure_case_add(list, DURE_OP_adamw, "n=%llu", (number)count);
  c->attributes.adamw = (dure_adamw_attributes){0.9f, 0.999f, 1e-8f, 0.1f, 0};
  dure_case_tensor(c, 0, 1, &count);
  dure_case_list_values(dure_case_tensor(c, 1, 1, DURE_SHAPE(DURE_STEP_COUNT)), 4, (const double[]){1e-6, 1.5, 1.5, 1});
  dure_case_list_values(dure_case_tensor(c, 2, 1, DURE_SHAPE(DURE_STATE_COUNT)), 4, (const double[]){1, 1, 1, 0});
  dure_case_tensor(c, 4, 1, &count);
  dure_case_tensor(c, 6, 1, &count);
  dure_case_generate(dure_case_tensor(c, 7, 1, &count), DURE_GENERATE_UNIFORM, 1, 0);
}

static void add_sample(dure_case_list *list, uint64_t V) {
  dure_case *c = dure_case_add(list, DURE_OP_sample, "rows=1,v=%llu,top_k=50,top_p=0.95", (number)V);
  dure_case_tensor(c, 0, 2, DURE_SHAPE(1, V));
  dure_case_list_values(dure_case_tensor(c, 1, 1, DURE_SHAPE(DURE_SAMPLE_COUNT)), DURE_SAMPLE_COUNT,
                        (const double[]){0.8, 50, 0.95, 0, 0});
  dure_case_tensor(c, 2, 1, DURE_SHAPE(4))->generator = DURE_GENERATE_WORDS;
  dure_case_tensor(c, 3, 1, DURE_SHAPE(1));
}

static void add_cubes(dure_case_list *list, uint64_t size) {
  add_matmul(list, false, false, size, size, size);
  add_matmul(list, false, true, size, size, size);
  add_matmul(list, true, false, size, size, size);
}

static void add_training(dure_case_list *list, uint64_t scale) {
  uint64_t elements = (1u << 22) / scale, rows = 1024 / scale;
  add_matmuls(list, scale);
  add_quantized(list, scale);
  add_elementwise(list, DURE_OP_fill, 1, elements);
  add_elementwise(list, DURE_OP_copy, 2, elements);
  add_elementwise(list, DURE_OP_add, 3, elements);
  add_elementwise(list, DURE_OP_multiply, 3, elements);
  add_embeddings(list, 8192, 384, rows);
  add_reductions(list, rows, 1536);
  add_norms(list, rows, 384);
  add_norms(list, rows, 768);
  add_rms_norms(list, rows, 768);
  add_gated(list, rows, 2048);
  add_rotary(list, 4, 256 / scale, 12, 64);
  add_elementwise(list, DURE_OP_activation, 2, rows * 1536);
  add_elementwise(list, DURE_OP_activation_gradient, 3, rows * 1536);
  add_attention(list, DURE_OP_attention, 4, 256 / scale, 6, 64);
  add_attention(list, DURE_OP_attention, 1, 1024 / scale, 12, 64);
  add_attention(list, DURE_OP_attention_gradient, 4, 256 / scale, 6, 64);
  add_attention(list, DURE_OP_attention_gradient, 1, 1024 / scale, 12, 64);
  add_cache(list, 12, 64, 1024);
  add_losses(list, rows, 256);
  add_losses(list, rows, 8192);
  add_adamw(list, elements);
  add_sample(list, 8192);
}

// In 16 bits with f32 masters and moments, as mixed precision trains.
static void add_adamw_with_masters(dure_case_list *list, uint64_t count) {
  add_adamw(list, count);
  dure_case *c = &list->cases[list->count - 1];
  dure_case_rename(c, "masters");
  dure_case_tensor(c, 5, 1, &count);
  c->operands[0].dtype = c->operands[4].dtype = DURE_DTYPE_BF16;
  c->operands[6].dtype = c->operands[7].dtype = DURE_DTYPE_F32;
}

// What fills a data centre's card: operands of several times its caches.
static void add_large(dure_case_list *list, uint64_t scale) {
  const uint64_t rows = 32768 / scale;
  add_cubes(list, 8192 / scale);
  add_feed_forward(list, 16384 / scale, scale > 1 ? 96 : 768);
  add_matmul_q8(list, 4096 / scale, 4096, 4096 / scale);
  add_attention(list, DURE_OP_attention, 4, 4096 / scale, 16, 128);
  add_attention(list, DURE_OP_attention_gradient, 4, 4096 / scale, 16, 128);
  add_norms(list, rows, 2048);
  add_rms_norms(list, rows, 2048);
  add_losses(list, 4096 / scale, 50257);
  add_embeddings(list, 50257 / scale, 768, rows);
  add_adamw(list, (1u << 26) / scale);
  add_adamw_with_masters(list, (1u << 26) / scale);
}

dure_status bench_cases_collect(const bench_choice *choice, dure_case_list *out_list) {
  memset(out_list, 0, sizeof(*out_list));
  dure_case_list *list = out_list;
  const uint64_t scale = choice->scale, cube = (choice->is_large ? 8192 : 1024) / scale;
  add_elementwise(list, DURE_OP_copy, 2, (1u << (choice->is_large ? 27 : 24)) / scale);
  add_matmul(list, false, false, cube, choice->is_large ? cube : 1024, choice->is_large ? cube : 1024);
  const uint64_t *shape = choice->attention;
  if (shape[0] > 0) {
    add_attention(list, DURE_OP_attention, shape[0], shape[1], shape[2], shape[3]);
    add_attention(list, DURE_OP_attention_gradient, shape[0], shape[1], shape[2], shape[3]);
  } else if (choice->size > 0) {
    add_cubes(list, choice->size);
  } else if (choice->is_large) {
    add_large(list, scale);
  } else {
    add_training(list, scale);
  }
  for (size_t i = 0; i < list->count; i++) list->cases[i].storage = choice->storage;
  for (size_t i = 0; i < list->count; i++) {  // cheap to make, and no slower or faster than other numbers
    for (uint32_t j = 0; j < DURE_MAX_OPERANDS; j++) {
      dure_case_operand *operand = &list->cases[i].operands[j];
      if (operand->generator == DURE_GENERATE_NORMAL) dure_case_generate(operand, DURE_GENERATE_UNIFORM, 2, -1);
    }
  }
  if (!list->out_of_memory) return NULL;
  dure_cases_free(list);
  return dure_fail(DURE_OUT_OF_MEMORY, "no memory left for the list of measurements");
}
