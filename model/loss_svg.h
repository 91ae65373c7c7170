// RUN/loss.svg: the curve of the training and held-out loss, for any browser.
#ifndef DURE_MODEL_LOSS_SVG_H_
#define DURE_MODEL_LOSS_SVG_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_curve_point {
  double step, loss;
} dure_curve_point;

// Points in the order of their steps; grows geometrically. Start from {0}.
typedef struct dure_curve {
  dure_curve_point *points;
  size_t count, capacity;
} dure_curve;
DURE_MUST_CHECK dure_status dure_curve_add(dure_curve *curve, double step, double loss);
void dure_curve_clear(dure_curve *curve);

// Draws both curves (the training one averaged down to what a screen shows) and replaces the file atomically. Points
// that are not finite are left out. `last_step` is the right end of the axis: the steps planned.
DURE_MUST_CHECK dure_status dure_loss_svg_write(const char *path, const char *title, const dure_curve *training,
                                                const dure_curve *held_out, double last_step);

#endif  // DURE_MODEL_LOSS_SVG_H_
