// The inside of an executable, shared by compile.c (making), executable.c (running) and executable_check.c (checking).
#ifndef DURE_RUNTIME_EXECUTABLE_INTERNAL_H_
#define DURE_RUNTIME_EXECUTABLE_INTERNAL_H_

#include "runtime/program.h"

// A list of equally sized buffers that together hold an arena; the last may be smaller.
typedef struct arena {
  dure_buffer **blocks;
  size_t block_count;
  uint64_t block_size;
  uint64_t size;
} arena;

// Sentinels before and after one allocation.
typedef struct guarded {
  uint32_t value;
  dure_buffer *buffer;
  uint64_t offset, size;
} guarded;

struct dure_executable {
  dure_device *device;
  char label[32];
  dure_operand *operands;  // by tensor index: every tensor of the program, resolved to memory where it is used
  uint32_t operand_count;
  char (*labels)[48];        // by tensor index
  dure_op_call *calls;       // resolved, not expanded
  char (*call_labels)[192];  // "matmul NN [4,8] [8,8] -> [4,8] @ layer 3"
  uint32_t call_count;
  arena activations, owned;
  uint64_t workspace_bytes;
  uint64_t guard_bytes;
  guarded *guards;
  size_t guard_count;
  dure_recording **recordings;
  uint32_t *first_calls;  // of each recording
  size_t recording_count;
  bool with_timestamps;
  dure_cost cost;
};

// Records one call, expanded as the device's limits demand.
DURE_MUST_CHECK dure_status executable_record_call(dure_device *device, dure_recording *recording,
                                                   const dure_op_call *call);

// What fills guards and, with guards, all memory before first use: a NaN as f32, so that reading the unwritten shows.
enum { EXECUTABLE_GUARD_PATTERN = 0x7fc5a5a5 };

#endif  // DURE_RUNTIME_EXECUTABLE_INTERNAL_H_
