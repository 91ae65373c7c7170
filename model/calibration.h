// What a model's matrices are multiplied with on a text: the sums over its tokens of x x^T of every product's input x,
// by which rounding can tell what an error costs (model/rounding.h).
//
// The text goes through the model in windows; the sums of as many layers as fit a budget are gathered in one pass over
// it, and further passes gather the others'.
#ifndef DURE_MODEL_CALIBRATION_H_
#define DURE_MODEL_CALIBRATION_H_

#include "model/model.h"

typedef struct dure_calibration dure_calibration;

typedef struct dure_calibration_options {
  uint32_t context;  // tokens of a window; 0: 512, or the model's context where that is less
  uint32_t windows;  // at most; 0: 16
  uint64_t budget;   // bytes of sums gathered in one pass; 0: 1 GiB
  void (*progress)(void *context, uint64_t done, uint64_t total);  // may be NULL
  void *progress_context;
} dure_calibration_options;

// tokens [count]: at least one window. The model may be destroyed afterwards. DURE_CANCELLED when the user interrupts.
DURE_MUST_CHECK dure_status dure_calibration_create(dure_model *model, const uint32_t *tokens, uint64_t count,
                                                    const dure_calibration_options *options,
                                                    dure_calibration **out_calibration);
void dure_calibration_destroy(dure_calibration *calibration);  // NULL is fine
// The sum of x x^T [width, width] for the matrix of that role, whose rows have `width` elements; NULL: there is none.
const float *dure_calibration_products(const dure_calibration *calibration, dure_role role, uint32_t layer,
                                       uint64_t width);

#endif  // DURE_MODEL_CALIBRATION_H_
