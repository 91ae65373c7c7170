// Rounding a matrix to groups of 4 or 8 bits so that its products change least.
//
// Without a calibration every element becomes the nearest value that its group has. With one, the elements of a row are
// rounded one after the other, and what each loses is made up for by those that are still to come, in the proportions
// that the inverse of sum x x^T gives (Frantar et al. 2022, "GPTQ", section 3 and algorithm 1). Those with the largest
// inputs come first, while most others can still make up for them; scales are those of the row as it was, chosen by
// the squares of the errors weighted with the inputs' squares.
#ifndef DURE_MODEL_ROUNDING_H_
#define DURE_MODEL_ROUNDING_H_

#include "model/grouped.h"

typedef struct dure_rounding dure_rounding;

// products [width, width]: the sum of x x^T; NULL: to the nearest.
DURE_MUST_CHECK dure_status dure_rounding_create(const dure_group_type *type, uint64_t width, const float *products,
                                                 dure_rounding **out_rounding);
void dure_rounding_destroy(dure_rounding *rounding);  // NULL is fine
// values [rows, width]; codes as bytes (dure_group_pack), scales and minima [rows, width / group] as
// f16 bits (minima NULL where the type has none).
void dure_rounding_run(const dure_rounding *rounding, const float *values, uint64_t rows, uint8_t *out_codes,
                       uint16_t *out_scales, uint16_t *out_minima);

#endif  // DURE_MODEL_ROUNDING_H_
