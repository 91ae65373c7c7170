// Operations: what each computes, and the call structure that carries one from the model to a backend's kernel.
//
// The table is ops.def; this header holds attributes, operands and the functions that the table's columns name.
// Tensors are row-major with the last dimension contiguous (stride 1). Unless an op says "strided", its operands are
// wholly contiguous. Sums and statistics are f32 or better whatever the storage type.
#ifndef DURE_RUNTIME_OPS_H_
#define DURE_RUNTIME_OPS_H_

#include "runtime/dtype.h"
#include "runtime/hal.h"
#include "runtime/status.h"

enum { DURE_MAX_RANK = 4, DURE_MAX_OPERANDS = 12 };

// Labels with this value give zero loss and zero gradient.
#define DURE_IGNORE_LABEL UINT32_MAX

typedef enum dure_op {
#define DURE_OP(name, ...) DURE_OP_##name,
#include "runtime/ops.def"
#undef DURE_OP
  DURE_OP_COUNT,
} dure_op;

// ---- attributes and semantics, in the table's order --------------------------------------------------------------

typedef struct dure_none_attributes {
  uint32_t unused;
} dure_none_attributes;

// fill: y = value everywhere.
typedef struct dure_fill_attributes {
  float value;
} dure_fill_attributes;

// copy: y = x, from one float type to another if need be.   add: y = a + b.   multiply: y = a * b.   Any shape; y of
// add and multiply may be the same memory as a or b.
//
// A copy may stand for something that ranks do together. Kernels copy all the same, and whoever submits the program
// carries out the rest behind the call (model/staging.h); a program that is run alone is that of a group of one:
//   SUM           y = the sum of all ranks' x; the gradient of each x is that of y, which is the same on all ranks
//   SUM_GRADIENT  y = x, the same on all ranks; its gradient is the sum of all ranks' gradients of y: SUM's mirror
//                 (Shoeybi et al. 2019, section 3: g and f)
//   EXCHANGE      x and y are N equal pieces by rank; piece s of rank r's y is piece r of rank s's x. Its own gradient
typedef enum dure_copy_among {
  DURE_AMONG_NOBODY,
  DURE_AMONG_SUM,
  DURE_AMONG_SUM_GRADIENT,
  DURE_AMONG_EXCHANGE,
} dure_copy_among;
typedef struct dure_copy_attributes {
  dure_copy_among among;
} dure_copy_attributes;

// scale: y = factor * x, or y += factor * x. Any shape; y may be x's memory.
typedef struct dure_scale_attributes {
  float factor;
} dure_scale_attributes;

// embedding: y[r, :] = table[indices[r], :].
//   table [V, C], indices [R] (any rank, flattened), y [R.., C]
// embedding_gradient: dtable[v, :] = sum over r with indices[r] == v of dy[r, :], in the order of r (deterministic).
// expand() cuts tables by rows: this call then covers indices in [first_row, first_row + V) and leaves y's other rows
// alone. An index >= row_count (the whole table's rows; 0 means V) yields a row of NaN, so that the finite check finds
// it; in the gradient it is skipped.
typedef struct dure_embedding_attributes {
  uint32_t first_row, row_count;
} dure_embedding_attributes;

// activation: y = f(x); activation_gradient: dx = f'(x) * dy. y may be the same memory as x, dx as dy.
//   gelu_tanh, gelu_erf: Hendrycks and Gimpel 2016, section 2
typedef enum dure_activation {
  DURE_ACTIVATION_GELU_TANH,
  DURE_ACTIVATION_GELU_ERF,
  DURE_ACTIVATION_RELU,
  DURE_ACTIVATION_SILU,
  DURE_ACTIVATION_TANH,
  DURE_ACTIVATION_COUNT,
} dure_activation;
typedef struct dure_activation_attributes {
  dure_activation kind;
} dure_activation_attributes;

// gated_activation (Shazeer 2020, section 2: SwiGLU, GeGLU): y = f(gate) * up, f as in activation.
//   gate, up [.., C] strided (halves of a fused projection), their rows evenly spaced; y [.., C]
// gated_activation_gradient: dgate = f'(gate) * up * dy, dup = f(gate) * dy, strided like gate and up. Each of the two
//   may be the same memory as gate, up or dy (not both the same).

// rotary (Su et al. 2021, section 3.4): in each head the first `width` elements are rotated pair by pair, the others
// copied: (x_1, x_2) becomes (x_1 cos - x_2 sin, x_1 sin + x_2 cos).
//   x, y [B, T, H, D] strided as attention's q; y may be exactly x's memory; positions [B, T];
//   cosines_sines [P, width]: of each position the cosines of the width / 2 frequencies, then their sines
//   pairs: (i, i + width / 2), or (2 i, 2 i + 1) when is_interleaved, i < width / 2
//   is_inverse: by the opposite angles, which undoes it and is its gradient.
//   A position >= P makes its rotated elements NaN, so that the finite check finds it.
typedef struct dure_rotary_attributes {
  uint32_t width;
  bool is_interleaved, is_inverse;
} dure_rotary_attributes;

// copy_heads: y = x, or y += x, between heads that lie differently: from one head to all (Hx = 1), or the sum of all to
// one (Hy = 1), or head by head.
//   x [B, T, Hx, D]; y [B, T, Hy, D], Hy = `head_count` (0: Hx), both strided as attention's q
typedef struct dure_copy_heads_attributes {
  uint32_t head_count;
} dure_copy_heads_attributes;

// matmul: t = op(a) op(b) + bias, op = transpose of the last two dimensions when asked; then the epilogue:
//   saved = t, and t = saved as it was rounded     (when given; absent it is not made)
//   ACTIVATION: t = f(t)      ACTIVATION_GRADIENT: t = t * f'(preactivation)      f: `activation`
//   c = t + residual, or c += t when accumulating (not both)
//   op(a) [M, K] or [batch, M, K]; op(b) [K, N] or [batch, K, N]; bias [N]; c [M, N] or [batch, M, N]
//   residual, preactivation, saved: c's shape
//   a of rank 3 with b of rank 2 is taken as [batch * M, K] (transpose_a then contracts over batch * M).
// Strided: rows of all but bias may have any stride (the last dimension is contiguous). residual may be exactly c's
// memory (same place and strides: each element is read before it is written); outputs overlap with nothing else.
// continues, set by expand() alone for the last part of K: t begins with what c, or saved, has got from the others.
typedef enum dure_epilogue {
  DURE_EPILOGUE_NONE = 0,
  DURE_EPILOGUE_ACTIVATION,
  DURE_EPILOGUE_ACTIVATION_GRADIENT,
} dure_epilogue;
typedef enum dure_continuation {
  DURE_CONTINUES_NOTHING = 0,
  DURE_CONTINUES_C,
  DURE_CONTINUES_SAVED,
} dure_continuation;
typedef struct dure_matmul_attributes {
  bool transpose_a, transpose_b;
  dure_continuation continues;
  dure_epilogue epilogue;
  dure_activation activation;
} dure_matmul_attributes;

// quantize_rows: 8-bit integers in blocks of DURE_QUANTIZED_BLOCK along the last dimension, a scale each.
//   x [.., K], K a multiple of the block; q [.., K] signed integers, -127 .. 127; scales [.., K / 32]
//   In f32, every operation rounded, in this order, with m the block's largest |x|:
//     scale = m * (1 / 127)      1 / 127 as f32 has it: 0x1.020408p-7
//     q = x * (127 / m)          rounded to the nearest integer, halves to even
//   A block with m < 2^-100 is all zero, its scale 0; one with NaN or an infinity in it gets the scale NaN and q = 0.
//   The integers are the reference's except where the quotient is within its rounding error of a half: devices divide
//   in different ways. The scales are the same to the bit.
// matmul_q8: c = a b^T + bias of two operands in such blocks, or c += (the integers may be any, -128 as well).
//   a [.., K] and a_scales [.., K / 32] (M rows); b [N, K] and b_scales [N, K / 32]; bias [N]; c [.., N]
//   c[m, n] = sum over blocks i of a_scales[m, i] * b_scales[n, i] * (the dot product of 32 integers) + bias[n]
//   The dot products are exact; the sum over blocks is in f32. q operands begin at multiples of 16 bytes. c's type is
//   the call's: bias is of it too.
// With float activations: quantize_rows and then matmul_q8 (dure_quantized_matmul of program.h).
enum { DURE_QUANTIZED_BLOCK = 32 };

// Weights in blocks of 32 along K that stay packed in memory: codes, and scales (and minima) [N, K / group], of any
// float type. A group of 16 is half a block, one of 64 or 128 is several; rows are whole groups.
//   bits 8: codes [N, K], signed bytes q;   bits 4: codes [N, K / 2], byte i of a block's 16 has the code of element i
//   in its lower half and that of element i + 16 in its upper one; q is that code, less 8 where there are no minima.
//   b[n, k] = scale * q, and + minimum, each operation rounded to f32 (as GGUF's types are expanded)
// unpack_blocks: y = b [N, K], or the rows that are asked for: y [.., K] = b[indices[.. ], :].
//   first_row, row_count: as in embedding.
// matmul_blocks: c = a b^T + bias + residual, with few rows of a in mind (decoding).
//   a [.., K]; bias [N]; residual and c [.., N]; residual may be c's memory. For many rows: unpack_blocks, then matmul.
//   On software drivers c has the bits of those two, whatever the number of rows.
// Codes begin at multiples of 16 bytes.
typedef struct dure_blocks_attributes {
  uint32_t bits;   // 4 or 8
  uint32_t group;  // elements a scale: 16, 32, 64 or 128; 0: 32
  uint32_t first_row, row_count;
} dure_blocks_attributes;
static inline uint32_t dure_blocks_group(const dure_blocks_attributes *attributes) {
  return attributes->group > 0 ? attributes->group : (uint32_t)DURE_QUANTIZED_BLOCK;
}

// sum_rows: y[n] = sum over m of x[m, n]; x [.., N].   sum: y[0] = sum of all x.   square_sum: y[0] = sum of all x * x.

// layer_norm (Ba et al. 2016, section 3): y = (x - mean) * reciprocal_deviation * weight + bias over the last
// dimension,
//   reciprocal_deviation = 1 / sqrt(variance + epsilon).  x, y [.., C]; weight, bias [C]; mean, reciprocal_deviation
//   [R]
// layer_norm_gradient: dx given dy; dx may be the same memory as dy.
// layer_norm_parameters: dweight, dbias [C], summed over rows.
typedef struct dure_layer_norm_attributes {
  float epsilon;
} dure_layer_norm_attributes;

// rms_norm (Zhang and Sennrich 2019, eq. 4): y = x * reciprocal_rms * (weight_offset + weight) over the last dimension,
//   reciprocal_rms = 1 / sqrt(mean of x^2 + epsilon).  x, y [.., C]; weight [C] (absent: y = x * reciprocal_rms);
//   reciprocal_rms [R]; weight_offset: 0, or 1 where weights are stored as what they differ from 1 by (Gemma)
// rms_norm_gradient: dx given dy; dx may be the same memory as dy.   rms_norm_parameters: dweight [C], summed over
// rows.
typedef struct dure_rms_norm_attributes {
  float epsilon, weight_offset;
} dure_rms_norm_attributes;

// attention: causal softmax(score) v without a [T, T] matrix in memory (Dao et al. 2022, algorithm 1).
//   q, y [B, T, H, D]; k, v [B, T, G, D], H a multiple of G (query head h reads key head h / (H / G));
//   log_sum_exp [B, H, T] of the scores of query t with each key s that it sees,
//     score = soft_cap * tanh(q . k * scale / soft_cap) + slopes[h] * (s - t)
//   soft_cap > 0: scores stay within it (Gemma Team 2024, section 2). 0: q . k * scale as it is.
//   slopes [H]: a bias against distant keys (ALiBi, Press et al. 2022, section 3), added after soft-capping;
//     a constant, without a gradient.
//   window > 0: a query sees only its last `window` positions, itself included. 0: all.
//   document_starts [B, T]: several documents packed into a sequence; the position at which the document of token t
//     begins: <= t (larger counts as t) and never falling along a sequence. A query sees nothing before it:
//     keys max(document_starts[t], t - window + 1) .. t.
//   row_count > 0: the call covers the rows (positions) [first_row, first_row + row_count) only, of y and log_sum_exp
//   or
//     of dq, dk and dv; the others are left alone. For expand(), which cuts long sequences.
// attention_gradient: dq, dk, dv from saved y and log_sum_exp (Dao et al. 2022, appendix B.2), deterministic.
// Strided: q, k, v, dq, dk, dv (views into a fused projection); y and dy contiguous. The stride of the batch dimension
// is T times that of the T dimension.
typedef struct dure_attention_attributes {
  float scale;
  uint32_t window;
  float soft_cap;
  uint32_t first_row, row_count;
} dure_attention_attributes;

// cache_append: puts k and v of T new tokens of each sequence into the paged cache.
//   k, v [B, T, G, D] strided; key_cache, value_cache [blocks, block_size, G, D]; block_table [B, blocks_per_sequence];
//   positions [B]: tokens of the sequence that were in the cache before. Token t of sequence b goes to position
//   p = positions[b] + t: block block_table[b, p / block_size], row p % block_size. Positions beyond the table are
//   dropped.
//   Caches in blocks: key_cache and value_cache are u8, DURE_QUANTIZED_BLOCK elements along D to a scale in key_scales
//   and value_scales [blocks, block_size, G, D / 32]; D is whole blocks. Codes and scales are quantize_rows's, the
//   scale rounded to f16 (GGUF's q8_0 in two planes); what is read is code * scale. Codes begin at multiples of 16
//   bytes.
// attention_cached: as attention, for T queries at positions[b] + t against the cache's positions up to their own.
//   q [B, T, H, D] strided; y [B, T, H, D] contiguous; slopes [H]. Attributes as attention, without rows.

// cross_entropy: loss[r] = log_sum_exp[r] - logits[r, labels[r]], nats; log_sum_exp over the row.
//   logits [.., V]; labels [R] (any rank, flattened); loss, log_sum_exp [R]. Ignored labels give loss 0.
//   A label that is neither ignored nor < V yields NaN.
// cross_entropy_gradient: logits[r, v] becomes (exp(logits[r, v] - log_sum_exp[r]) - [v == labels[r]]) * dloss[0]
//   (zero for ignored rows); dloss [1].

// linear_cross_entropy: cross_entropy of logits = hidden weight^T, made and used in chunks of rows, so that the logits
// of a large vocabulary are never stored whole.
//   hidden [.., C] (R rows); weight [V, C]; labels [R]; loss, log_sum_exp [R];
//   chunk [dure_linear_cross_entropy_chunk(R), V]: logits of one chunk, in the storage type (scratch)
//   soft_cap > 0: logits = soft_cap * tanh(hidden weight^T / soft_cap) (Gemma Team 2024, section 2). 0: as they are.
//   The gradient's chunk then has twice the rows: what tanh took stays beside what it gave.
// linear_cross_entropy_gradient: the same, and dhidden [.., C] and dweight [V, C] given dloss [1], either of which may
// be absent. The chunks' parts of dweight are added in order; each addition rounds to dweight's type, so give it f32.
typedef struct dure_linear_loss_attributes {
  float soft_cap;
} dure_linear_loss_attributes;
uint64_t dure_linear_cross_entropy_chunk(uint64_t rows);  // a twentieth of the rows, in 64s; at least 64, if there are

// ---- mixtures of experts (Shazeer et al. 2017): R rows, E experts, K of them a row, P = R K rows of experts ----
//
// route: each row's experts and what their results are weighted by.
//   logits [.., E]; bias [E]; weights, experts [R, K], K = `count`
//   scores s = softmax(logits) over the row, or 1 / (1 + exp(-logits)) each when is_sigmoid
//   Experts are chosen one after the other by the largest s + bias, the lower number on ties; what the bias adds counts
//   for the choice alone (Wang et al. 2024). With groups (DeepSeek-AI 2024, section 2.1.2): the E / group_count experts
//   of each group stand together; the sum of the group's group_best largest ranks it, and only experts of the
//   group_limit best groups are chosen.
//   weights = factor * s of the chosen, divided by their sum when is_normalised.
//   NaN among the logits: such an expert comes last, and the weights are NaN where the formulas say so.
// route_gradient: dlogits given dweights; the choice, and so the bias, is a constant.
typedef struct dure_route_attributes {
  uint32_t count;
  bool is_sigmoid, is_normalised;
  float factor;
  uint32_t group_count, group_limit, group_best;  // group_count 0: none; at most 32
} dure_route_attributes;

// expert_order: the rows of all experts, one expert's after another's, in the order of the entries of `experts`.
//   experts [R, K], each below E = expert_count (other entries are left out);
//   offsets [E + 1]: expert e has the rows offsets[e] .. offsets[e + 1] - 1;
//   rows [P]: the row of `experts` that an expert's row comes from (embedding gathers them);
//   places [R, K]: the expert's row that an entry became. What no entry leads to is left alone.
typedef struct dure_expert_order_attributes {
  uint32_t expert_count;
} dure_expert_order_attributes;

// expert_matmul: c[p, :] = a[p, :] op(b[e]), or c += it, for the rows p of each expert e.
//   a [P, K]; offsets [E + 1], rising; b [E, K, N], or [E, N, K] when transpose_b; c [P, N]
//   first_row: the number that offsets have for row 0 of a and c (for expand, which cuts rows). Rows of no expert are
//   left alone.
// expert_outer: z[e] = sum over the rows p of expert e of the outer products x[p, :] y[p, :], or z += it; an expert
//   without rows has zero. x [P, I]; y [P, J]; z [E, I, J]. The gradient of expert_matmul's b.
// Strided: rows of all matrices may have any stride.
typedef struct dure_expert_matmul_attributes {
  bool transpose_b;
  uint32_t first_row;
} dure_expert_matmul_attributes;

// expert_combine: y[r, :] = residual[r, :] + sum over k of weights[r, k] x[places[r, k], :], or y += the sum (then
//   without a residual).
//   x [P, C]; weights [R, K]; places [R, K], all different (absent, with K = 1: row r is row r of x); residual [.., C],
//   or absent; y residual's shape, else [R, C]
// expert_combine_gradient: dx [P, C] and dweights [R, K] given dy.
//   first_row: the number that places have for row 0 of x and dx (for expand, which cuts rows). Places outside count
//   for nothing, and leave their dweights alone.
typedef struct dure_expert_combine_attributes {
  uint32_t first_row;
} dure_expert_combine_attributes;

// The values that change with every step, uploaded as one f32 tensor `step` [DURE_STEP_COUNT].
enum {
  DURE_STEP_LEARNING_RATE,
  DURE_STEP_CORRECTION1,  // 1 / (1 - beta1^t), computed in double on the host
  DURE_STEP_CORRECTION2,  // 1 / (1 - beta2^t)
  DURE_STEP_CLIP,         // largest gradient norm; infinity or 0: no clipping
  DURE_STEP_COUNT = 8,
};
// What the optimizer keeps on the device from step to step, one f32 tensor `state` [DURE_STATE_COUNT].
enum {
  DURE_STATE_NORM,        // of the gradients, loss scale taken out
  DURE_STATE_SCALE,       // what adamw multiplies gradients by
  DURE_STATE_FINITE,      // 0: adamw does nothing. The host sets it to 1 at first
  DURE_STATE_LOSS_SCALE,  // S: gradients arrive multiplied by it. The host sets it at first: 1, or 65536 for f16
  DURE_STATE_GOOD_STEPS,  // in a row, since S last changed
  DURE_STATE_SKIPPED,     // steps so far that a norm that was not finite has cost
  DURE_STATE_COUNT = 8,
};
// gradient_clip: from the sum of squares of all gradients, the state that the optimizer obeys.
//   square_sum [1]; norm = sqrt(square_sum) / S; scale = min(1, clip / (norm + 1e-6)) / S, clipping as PyTorch's
//   clip_grad_norm_
// Not dynamic: finite stays 1 while every norm so far was finite, then 0 for good. S stays as it is.
// Dynamic loss scaling (Micikevicius et al. 2018, section 3.2): a norm that is not finite costs this step only
// (finite = 0, good_steps = 0, skipped += 1, S = max(S / 2, 1)); else finite = 1, good_steps += 1 and at
// growth_interval of them S = min(2 S, 2^24), good_steps = 0. The new S is that of the next step's gradients.
typedef struct dure_gradient_clip_attributes {
  bool is_dynamic;
  uint32_t growth_interval;  // 0: S never grows
} dure_gradient_clip_attributes;

// adamw (Loshchilov and Hutter 2019, algorithm 2), all in place, nothing at all when state's finite is 0. In f32, every
// operation rounded (none contracted), in this order:
//   g = gradient * scale
//   m = flush(beta1 * m + (1 - beta1) * g)                  flush(x) = 0 where |x| < 2^-100, else x: so that drivers
//   v = flush(beta2 * v + (1 - beta2) * (g * g))            which flush subnormal numbers make no difference
//   p = p - learning_rate * ((m * correction1) * (1 / (sqrt(v * correction2) + epsilon)) + weight_decay * p)
// so that devices whose division and square root are correctly rounded leave the same bits as the host's version does
// (runtime/adamw_host.h); the reference device computes in double and rounds once.
// gradient, parameter, first_moment, second_moment: any equal shape, each of any float type.
//   p     is `master` (f32) when there is one; `parameter` is then p rounded to nearest even. Else it is `parameter`;
//   and
//         if that has 16 bits and `random` is there, p is rounded stochastically (Gupta et al. 2015, section 3), so
//         that updates below half a unit in the last place count on average (runtime/stochastic.h has the bits).
//   m, v  are used for p as computed, then rounded to nearest even in their type. u8: in blocks of DURE_MOMENT_BLOCK
//         elements (the last may be shorter) relative to the block's largest magnitude, which goes to first_scales or
//         second_scales f32 [ceil(n / DURE_MOMENT_BLOCK)] (Dettmers et al. 2022, section 2.1), stochastically when
//         `random` is there (runtime/moment_code.h has the code).
//   random u32 [4] = seed low, seed high, step, stream: the word of element e is word e % 4 of
//         dure_random_words(seed, step, stream, e / 4) for p, and of stream ^ 2^31 for m and v (low and high half).
//   first_element  of a part of a tensor (as expand() makes): e counts from there. A multiple of 4; parts of tensors
//   with
//         8-bit moments begin at whole blocks.
typedef struct dure_adamw_attributes {
  float beta1, beta2, epsilon, weight_decay;
  uint64_t first_element;
} dure_adamw_attributes;
enum { DURE_MOMENT_BLOCK = 256 };

// adjust_logits: penalties and biases of some tokens, before sampling.
//   ids u32 [B, N], those of a row all different; changes [B, N, 2]: a factor f and an addend a; logits [B, V], in
//   place x = logits[b, ids[b, i]] becomes (x > 0 ? x / f : x * f) + a (Keskar et al. 2019, section 4.1, with f above
//   1). An id >= V changes nothing.

// mask_logits: tokens that must not be drawn. mask u32 [B, ceil(V / 32)]; logits [B, V], in place: logits[b, v] becomes
//   -infinity where bit v % 32 of mask[b, v / 32] is 0.

// sample: one token a row. logits [B, V]; settings f32 [DURE_SAMPLE_COUNT] for all rows, or [B, DURE_SAMPLE_COUNT];
//   random u32 [4]: seed low, seed high, step, stream; or [B, 4];
//   token u32 [B]. Only the first candidate_count logits of a row are considered (0: all V).
//   temperature 0: the largest logit, the lowest index on ties. Else p = softmax(logits / temperature) is cut to the
//   top_k most probable (0: all; ties with the last one stay) and of those to the smallest set of the most probable
//   whose mass reaches top_p of theirs together (1: all; ties stay), and of those to the ones with at least min_p times
//   the largest probability (0: all), and of those to the smallest set of the most typical ones whose mass reaches
//   typical_p of theirs together (0 or 1: all; ties stay): the smaller | -log p - H |, H being the entropy of what is
//   left, the more typical (Meister et al. 2022, "Locally Typical Sampling", section 4). That is the order in which
//   transformers cuts. The token is the first in index order at which the running mass of what is left, scaled to 1,
//   exceeds
//   u = dure_random_uniform(random, row), or dure_random_uniform(random[row], 0) when each row has its own.
enum {
  DURE_SAMPLE_TEMPERATURE,
  DURE_SAMPLE_TOP_K,
  DURE_SAMPLE_TOP_P,
  DURE_SAMPLE_MIN_P,
  DURE_SAMPLE_TYPICAL_P,
  DURE_SAMPLE_COUNT
};
typedef struct dure_sample_attributes {
  uint32_t candidate_count;
} dure_sample_attributes;

typedef union dure_op_attributes {
  dure_none_attributes none;
  dure_copy_attributes copy;
  dure_fill_attributes fill;
  dure_scale_attributes scale;
  dure_embedding_attributes embedding;
  dure_blocks_attributes blocks;
  dure_matmul_attributes matmul;
  dure_layer_norm_attributes layer_norm;
  dure_rms_norm_attributes rms_norm;
  dure_rotary_attributes rotary;
  dure_copy_heads_attributes copy_heads;
  dure_route_attributes route;
  dure_expert_order_attributes expert_order;
  dure_expert_matmul_attributes expert_matmul;
  dure_expert_combine_attributes expert_combine;
  dure_activation_attributes activation;
  dure_attention_attributes attention;
  dure_linear_loss_attributes linear_loss;
  dure_gradient_clip_attributes gradient_clip;
  dure_adamw_attributes adamw;
  dure_sample_attributes sample;
} dure_op_attributes;

// ---- calls -------------------------------------------------------------------------------------------------------

// Places of matmul's operands in dure_op_call.operands; other rows state theirs in ops.def.
enum {
  DURE_MATMUL_A,
  DURE_MATMUL_B,
  DURE_MATMUL_BIAS,
  DURE_MATMUL_RESIDUAL,
  DURE_MATMUL_PREACTIVATION,
  DURE_MATMUL_C,
  DURE_MATMUL_SAVED
};

// A tensor in memory as kernels see it. dtype NONE: an absent optional operand.
typedef struct dure_operand {
  dure_dtype dtype;
  uint32_t rank;
  uint64_t shape[DURE_MAX_RANK];
  uint64_t stride[DURE_MAX_RANK];  // elements
  dure_buffer *buffer;
  uint64_t offset;  // bytes from the buffer's start to element 0; any multiple of the dtype's size
} dure_operand;

typedef struct dure_op_call {
  dure_op op;
  uint32_t accumulate;  // bit i: operands[i] (an output marked '+') is added to instead of overwritten
  dure_op_attributes attributes;
  dure_operand operands[DURE_MAX_OPERANDS];
  dure_operand workspace;  // u8 [bytes], as the backend's workspace_bytes asked; contents undefined; dtype NONE: none
} dure_op_call;

uint64_t dure_operand_count(const dure_operand *operand);  // elements; 0 when absent
uint64_t dure_operand_rows(const dure_operand *operand);   // elements / last dimension
bool dure_operand_is_contiguous(const dure_operand *operand);
bool dure_operand_is_present(const dure_operand *operand);
// Bytes from element 0 to past the last element.
uint64_t dure_operand_span(const dure_operand *operand);
// Sets shape and contiguous strides.
void dure_operand_set_shape(dure_operand *operand, uint32_t rank, const uint64_t *shape);

// ---- the table ---------------------------------------------------------------------------------------------------

typedef struct dure_operand_rule {
  char name[24];
  dure_access access;
  bool is_optional;
  bool can_accumulate;
  bool may_be_strided;
  bool is_scratch;     // contents afterwards mean nothing
  bool is_statistic;   // f32, or f64 in an f64 call
  bool is_any_float;   // a float type of its own
  bool may_be_blocks;  // ... or u8 with a scale for each block
  dure_dtype dtype;    // U32, U8, F16; NONE: a float, by the flags above, or else of the call's storage type
} dure_operand_rule;

typedef struct dure_cost {
  double flops, bytes;
} dure_cost;
typedef struct dure_gradient dure_gradient;                        // runtime/gradient.h
typedef struct dure_program_call_record dure_program_call_record;  // runtime/gradient.h

// Receives the calls that an expanded call consists of, in order.
typedef dure_status (*dure_expand_sink)(void *context, const dure_op_call *call);

typedef struct dure_op_row {
  const char *name;
  uint32_t operand_count, input_count;  // inputs come first
  dure_operand_rule operands[DURE_MAX_OPERANDS];
  dure_status (*shape)(dure_op_call *call);
  dure_status (*gradient)(dure_gradient *gradient, const dure_program_call_record *call);  // NULL: none
  dure_cost (*cost)(const dure_op_call *call);
  dure_status (*expand)(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                        void *context);  // NULL: none
} dure_op_row;

const dure_op_row *dure_op_get(dure_op op);
// The op of that name; DURE_OP_COUNT when there is none.
dure_op dure_op_find(const char *name);
// Checks operands, dtypes, strides and the row's shape rule. Outputs that are absent get dtype, shape and contiguous
// strides (no memory); outputs that are given must agree.
DURE_MUST_CHECK dure_status dure_op_check(dure_op_call *call);
// Passes the call to the sink, split by its row's expand() as far as `limits` demand.
DURE_MUST_CHECK dure_status dure_op_expand(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink,
                                           void *context);
// "matmul [256, 768] x [768, 3072] -> [256, 3072]": for messages; cut to `size`.
void dure_op_describe(const dure_op_call *call, char *out_text, size_t size);

#endif  // DURE_RUNTIME_OPS_H_
