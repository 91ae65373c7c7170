// What all kernels of attention share: their arguments (made by ops_attention.cu), which block does what, who sees
// whom, and scores. B, T, H, G, D as in runtime/ops.h; the counterpart of shaders/lib/attention.glsl.
//
// Element (b, t, h, d) of an operand x lies at x + (b * T + t) * x_t + h * x_h + d; y and dy are contiguous;
// log_sum_exp and delta are [B, H, T]. The outputs are those of the pass: y; or dq; or dk and, second, dv.
#ifndef DURE_CUDA_KERNELS_ATTENTION_COMMON_CUH_
#define DURE_CUDA_KERNELS_ATTENTION_COMMON_CUH_

#include "cuda/block.cuh"
#include "cuda/numbers.cuh"

struct attention_arguments {
  uint32_t B, T, H, G, D;
  uint32_t window;  // 0: all earlier positions
  float scale, soft_cap;
  uint32_t first_row, end_row;    // of T: what is computed
  uint32_t heads, tiles, nearby;  // of the grid: attention_place()
  uint32_t in_fours;              // rows begin at multiples of 4 elements and D is one
  const void *q, *k, *v, *dy;
  void *out, *second;
  uint64_t q_t, q_h, k_t, k_h, v_t, v_h, dy_t, dy_h, out_t, out_h, second_t, second_h;
  const uint32_t *document_starts;  // null: no documents
  const float *slopes;              // null: none
  float *log_sum_exp;
  float *delta;
};

// Which tile of which head (of B * heads) a block computes. Blocks go through the heads `nearby` at a time: those whose
// keys and values fit the L2 cache together; within these, tile by tile of all heads.
struct attention_place {
  uint32_t b, head, tile;
};
__device__ __forceinline__ attention_place attention_place_at(const attention_arguments &a, uint32_t block) {
  const uint32_t heads = a.B * a.heads, each = a.nearby * a.tiles, group = block / each;
  const uint32_t first = group * a.nearby, count = min(a.nearby, heads - first), rest = block - group * each;
  const uint32_t head = first + rest % count;
  return attention_place{head / a.heads, head % a.heads, rest / count};
}
__device__ __forceinline__ attention_place attention_place_of(const attention_arguments &a) {
  return attention_place_at(a, blockIdx.x);
}

// The first key that the query at position t of sequence b sees; it sees all from there to itself.
__device__ __forceinline__ uint32_t first_key(const attention_arguments &a, uint32_t b, uint32_t t) {
  const uint32_t begin = a.window > 0 && t + 1 > a.window ? t + 1 - a.window : 0;
  if (a.document_starts == nullptr) return begin;
  return max(begin, min(a.document_starts[(uint64_t)b * a.T + t], t));
}

// Past the last query that may see a key before `keys_past`.
__device__ __forceinline__ uint32_t queries_past_of(const attention_arguments &a, uint32_t keys_past) {
  const uint64_t past = (uint64_t)keys_past - 1 + a.window;
  return a.window > 0 && past < a.T ? (uint32_t)past : a.T;
}

// A score from its product q . k, and its derivative with respect to that. `distance`: positions from the query back
// to the key.
struct attention_score {
  float value, derivative;
};
__device__ __forceinline__ attention_score attention_score_of(const attention_arguments &a, float product, float slope,
                                                              float distance) {
  attention_score score = {product * a.scale, a.scale};
  if (a.soft_cap > 0) {
    const float squashed = tanhf(score.value / a.soft_cap);
    score.value = a.soft_cap * squashed;
    score.derivative = (1 - squashed) * (1 + squashed) * a.scale;
  }
  if (a.slopes != nullptr) score.value -= slope * distance;
  return score;
}

// Rows of one head of one sequence: row r of a tile that begins at position `begin`; those from `past` on stand for the
// last one (and are left out by the masks).
template <typename T>
struct attention_rows {
  const T *head;  // position 0
  uint64_t stride;
  uint32_t begin, past;
  __device__ __forceinline__ const T *at(uint32_t r) const {
    return head + (uint64_t)min(begin + r, past - 1) * stride;
  }
};
template <typename T>
__device__ __forceinline__ attention_rows<T> attention_rows_of(const attention_arguments &a, const void *base,
                                                               uint64_t t_stride, uint64_t h_stride, uint32_t b,
                                                               uint32_t head, uint32_t begin, uint32_t past) {
  const T *const first = static_cast<const T *>(base) + (uint64_t)b * a.T * t_stride + head * h_stride;
  return attention_rows<T>{first, t_stride, begin, past};
}

#endif  // DURE_CUDA_KERNELS_ATTENTION_COMMON_CUH_
