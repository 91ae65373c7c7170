// What a model's matrices are multiplied with on a text, layer by layer: the sums over its tokens of x x^T of every
// product's input x, by which rounding can tell what an error costs (model/rounding.h).
//
// The text goes through the model in windows, all of them through a layer before the next one's turn: one layer's sums
// are in memory, and one stream [tokens, C]. The layers are as the model has them. GPTQ's authors let each layer see
// what the rounded ones before it make; here that was not better (docs/decisions.md), and takes the text twice as long.
#ifndef DURE_MODEL_CALIBRATION_H_
#define DURE_MODEL_CALIBRATION_H_

#include "model/model.h"

typedef struct dure_calibration dure_calibration;

typedef struct dure_calibration_options {
  uint32_t context;  // tokens of a window; 0: 512, or the model's context where that is less
  uint32_t windows;  // at most; 0: 16
  // Called with each layer's sums, in order.
  dure_status (*take_layer)(void *context, const dure_calibration *calibration, uint32_t layer);
  void *take_context;
  void (*progress)(void *context, uint64_t done, uint64_t total);  // may be NULL
  void *progress_context;
} dure_calibration_options;

// tokens [count]: at least one window; where there are more than options->windows they are taken from all over the
// text. DURE_CANCELLED when the user interrupts.
DURE_MUST_CHECK dure_status dure_calibration_run(dure_model *model, const uint32_t *tokens, uint64_t count,
                                                 const dure_calibration_options *options);
// Of the current layer: the sum of x x^T [width, width] for the matrix of that role whose rows have `width` elements;
// NULL: there is none. Valid until take_layer returns.
const float *dure_calibration_products(const dure_calibration *calibration, dure_role role, uint64_t width);

#endif  // DURE_MODEL_CALIBRATION_H_
