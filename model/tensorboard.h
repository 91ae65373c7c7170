// TensorBoard event files: scalars a step, in RUN/events.out.tfevents.<seconds>.<process>.
//
// A file is records of: u64 length, u32 masked crc32c of those 8 bytes, the bytes, u32 masked crc32c of them; the bytes
// are an `Event` in protobuf's wire format (tensorflow/core/util/event.proto: wall_time 1, step 2, file_version 3,
// summary 5, session_log 7). crc32c is Castagnoli's polynomial; masked: rotated right by 15, plus 0xa282ead8.
#ifndef DURE_MODEL_TENSORBOARD_H_
#define DURE_MODEL_TENSORBOARD_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_tensorboard dure_tensorboard;

typedef struct dure_scalar {
  const char *tag;  // "train/loss"
  double value;
} dure_scalar;

// Creates a new file in the directory. `first_step` > 0: tells readers to drop what older files say of that step and
// later ones (a resumed run).
DURE_MUST_CHECK dure_status dure_tensorboard_create(const char *directory, uint64_t first_step,
                                                    dure_tensorboard **out_board);
DURE_MUST_CHECK dure_status dure_tensorboard_append(dure_tensorboard *board, uint64_t step, const dure_scalar *scalars,
                                                    size_t count);
void dure_tensorboard_close(dure_tensorboard *board);  // NULL is fine

// Exposed for tests: plain (unmasked) crc32c.
uint32_t dure_crc32c(const void *bytes, size_t size);

#endif  // DURE_MODEL_TENSORBOARD_H_
