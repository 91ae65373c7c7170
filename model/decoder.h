// The forward pass of a decoder, recorded into a program: one for all families, by the options of dure_model_config.
//
//   B sequences, T tokens of each, C width, H query heads, G key heads, D head width, I inner width, V vocabulary
//
// Everything reads like the maths; mistakes stick to the program (program.h) and come out of compile().
#ifndef DURE_MODEL_DECODER_H_
#define DURE_MODEL_DECODER_H_

#include "model/config.h"
#include "model/parameters.h"
#include "runtime/program.h"

// What a sparse layer's router said of R rows: logits [R, E], the chosen experts [R, K] u32.
typedef struct dure_router {
  dure_tensor logits, experts;
} dure_router;

typedef struct dure_decoder {
  dure_program *program;  // borrowed, as the next two
  const dure_model_config *config;
  const dure_parameter_layout *layout;
  dure_tensor *pools;          // [layout->pool_count], the parameters
  dure_tensor position_table;  // rotary angles or ALiBi slopes; absent with learned positions
  dure_tensor local_table;     // rotary angles of layers with a window, where those have their own
  dure_dtype dtype;            // of activations
  bool fuses_loss;             // dure_decoder_loss makes the logits in chunks; set by the caller
  dure_router *routers;        // [layer_count], filled in by sparse layers; may be set by the caller
  // Set by the caller: T is one of so many equal parts of the sequences, by rank; attention exchanges heads for tokens
  // (0 or 1: T is all).
  uint32_t sequence_parts;
  // May be set by the caller: told of every product of x [.., in] with a matrix of a layer as it is recorded.
  void (*watch)(void *context, dure_role weight, uint32_t layer, dure_tensor x);
  void *watch_context;
} dure_decoder;

// Declares the parameters in the program; activations are of their type. `positions`: those that the program's inputs
// may name lie below it. Release with dure_decoder_clear.
DURE_MUST_CHECK dure_status dure_decoder_create(dure_program *program, const dure_model_config *config,
                                                const dure_parameter_layout *layout, dure_dtype dtype,
                                                uint32_t positions, dure_decoder *out_decoder);
// Of sequences that are divided among ranks, this one's part (see sequence_parts).
DURE_MUST_CHECK dure_status dure_decoder_divide(dure_decoder *decoder, uint32_t part, uint32_t parts);
void dure_decoder_clear(dure_decoder *decoder);

// A paged cache of keys and values, in the program's terms (see cache_append in ops.h).
typedef struct dure_decoder_cache {
  dure_tensor block_table;  // [B, blocks_per_sequence] u32
  dure_tensor lengths;      // [B] u32: tokens that the cache holds before this call
  const dure_tensor *keys;  // one a layer: [blocks, block_size, G, D]
  const dure_tensor *values;
  const dure_tensor *key_scales;  // of keys and values in blocks of codes (u8), else NULL
  const dure_tensor *value_scales;
} dure_decoder_cache;

// The residual stream after the last layer and the final norm. With a cache the new tokens are appended to it and
// attend to all that it holds; without, they attend among themselves.
//   tokens, positions [B, T] u32 -> [B, T, C]
dure_tensor dure_decoder_hidden(const dure_decoder *decoder, dure_tensor tokens, dure_tensor positions,
                                const dure_decoder_cache *cache);
// Its parts: the stream that enters the first layer [B, T, C], and one layer, stream to stream.
dure_tensor dure_decoder_embed(const dure_decoder *decoder, dure_tensor tokens, dure_tensor positions);
dure_tensor dure_decoder_layer(const dure_decoder *decoder, dure_tensor x, dure_tensor positions, uint32_t layer,
                               const dure_decoder_cache *cache);
// hidden [.., C] -> logits [.., V]
dure_tensor dure_decoder_logits(const dure_decoder *decoder, dure_tensor hidden);
// Cross-entropy of each label, nats: tokens, positions, labels [B, T] u32 -> [B T]
dure_tensor dure_decoder_loss(const dure_decoder *decoder, dure_tensor tokens, dure_tensor positions,
                              dure_tensor labels);

#endif  // DURE_MODEL_DECODER_H_
