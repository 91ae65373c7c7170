// The pieces that a decoder's block is recorded from: decoder.c puts them together, decoder_attention.c and
// decoder_feed_forward.c are its two halves.
#ifndef DURE_MODEL_DECODER_INTERNAL_H_
#define DURE_MODEL_DECODER_INTERNAL_H_

#include "model/decoder.h"

// The parameter of that role, or the absent tensor (a bias that the family does not have).
dure_tensor decoder_parameter(const dure_decoder *decoder, dure_role role, uint32_t layer);
// y = x W + b, whichever way round the family stores W; `options` may ask for an activation of it or a residual.
dure_tensor decoder_project_with(const dure_decoder *decoder, dure_tensor x, dure_role weight, dure_role bias,
                                 uint32_t layer, dure_matmul_options options);
dure_tensor decoder_project(const dure_decoder *decoder, dure_tensor x, dure_role weight, dure_role bias,
                            uint32_t layer);
// The product that ends a half block, y = x W + b + residual: W's rows may be divided among ranks, b is added once.
dure_tensor decoder_project_out(const dure_decoder *decoder, dure_tensor x, dure_role weight, dure_role bias,
                                uint32_t layer, dure_tensor residual);
// The sum of what the ranks have made, added to `residual` (or absent).
dure_tensor decoder_sum(const dure_decoder *decoder, dure_tensor part, dure_tensor residual);
// x, where what ranks divide begins: the same on all, while its gradient is the sum of theirs.
dure_tensor decoder_enter(const dure_decoder *decoder, dure_tensor x);
// The family's norm over the last dimension. DURE_ROLE_COUNT: no such parameter.
dure_tensor decoder_norm(const dure_decoder *decoder, dure_tensor x, dure_role weight, dure_role bias, uint32_t layer);
// Columns [first, first + head_count * count) of a fused projection [B, T, ..], `count` of them a head:
// [B, T, heads, count].
dure_tensor decoder_columns(const dure_decoder *decoder, dure_tensor fused, uint64_t first, uint64_t head_count,
                            uint64_t count);

// h [B, T, C] normalised -> the half block's part of the residual stream, added to `residual` (or absent).
dure_tensor decoder_attention(const dure_decoder *decoder, dure_tensor h, dure_tensor positions, dure_tensor residual,
                              uint32_t layer, const dure_decoder_cache *cache);
dure_tensor decoder_feed_forward(const dure_decoder *decoder, dure_tensor h, dure_tensor residual, uint32_t layer);

#endif  // DURE_MODEL_DECODER_INTERNAL_H_
