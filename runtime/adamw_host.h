// AdamW on the host's cores, for optimizer states that live in host memory: the update of ops.h (adamw) over plain
// arrays, in f32 and in the order of operations given there, so that it leaves the same bits as a device whose division
// and square root are correctly rounded.
#ifndef DURE_RUNTIME_ADAMW_HOST_H_
#define DURE_RUNTIME_ADAMW_HOST_H_

#include <stdbool.h>
#include <stdint.h>

#include "runtime/dtype.h"
#include "runtime/ops.h"

// The numbers of one step.
typedef struct dure_adamw_host_step {
  float beta1, beta2, epsilon, weight_decay;
  float learning_rate, correction1, correction2, scale;
  bool is_finite;          // false: nothing changes
  const uint32_t *random;  // [4] as the operand of ops.h; NULL: none
  uint64_t first_element;  // attribute of that name: the number of the arrays' element 0
} dure_adamw_host_step;

// From the attributes and the operands step [DURE_STEP_COUNT], state [DURE_STATE_COUNT] and random ([4] or NULL), which
// is kept.
dure_adamw_host_step dure_adamw_host_step_of(const dure_adamw_attributes *attributes, const float *step,
                                             const float *state, const uint32_t *random);

// The operands of ops.h, owned by the caller; element 0 of the whole tensors.
typedef struct dure_adamw_host_arrays {
  dure_dtype gradient_type, parameter_type;  // f32, bf16 or f16
  dure_dtype first_type, second_type;        // f32, bf16, f16, or u8 with scales
  const void *gradient;
  void *parameter;  // with a master only written
  float *master;    // or NULL
  void *first_moment, *second_moment;
  float *first_scales, *second_scales;  // NULL where a moment is not u8
} dure_adamw_host_arrays;

// Updates elements [first, first + count). `first` is a multiple of DURE_MOMENT_BLOCK, and so is `count` unless the
// range ends where the arrays end; ranges that do not overlap may be updated by several threads at a time, in any
// order, with the same result. Allocates nothing and cannot fail.
void dure_adamw_host(const dure_adamw_host_step *step, const dure_adamw_host_arrays *arrays, uint64_t first,
                     uint64_t count);

#endif  // DURE_RUNTIME_ADAMW_HOST_H_
