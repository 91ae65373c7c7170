// The inside of a backward pass, shared by gradient.c (the pass), gradient_recompute.c (what is computed
// again).
#ifndef DURE_RUNTIME_GRADIENT_INTERNAL_H_
#define DURE_RUNTIME_GRADIENT_INTERNAL_H_

#include "runtime/program_internal.h"

// `rows` runs of `columns` elements, `row_stride` apart: what every view that models make comes down to.
typedef struct gradient_region {
  uint64_t offset, rows, row_stride, columns;
  bool is_regular;  // false: more dimensions than that; compared conservatively
} gradient_region;

enum { GRADIENT_NO_CALL = UINT32_MAX };

// What is known of an allocation (root) of the forward pass.
typedef struct root_state {
  bool wanted;        // depends on a target
  bool reaches_loss;  // the loss depends on it
  bool is_target;
  dure_tensor gradient;      // same shape as the root; absent until first needed
  bool gradient_is_lent;     // its memory belongs to another root's gradient: to be read, not written
  bool gradient_is_through;  // already the gradient of what the producer's activation took
  bool zero_first;           // regions overlap or leave holes
  gradient_region *regions;  // that contributions will write, without repeats
  uint32_t region_count, region_capacity;
  bool *written;  // by region
  // Forward calls that touch it.
  uint32_t producer;  // the only call that writes it; GRADIENT_NO_CALL: none or several
  uint32_t writer_count, first_writer, last_writer;
  uint32_t read_count;  // operands by which calls read it
  uint32_t last_reader, reader_before_last;
  uint32_t first_block, last_block;  // of the calls that read it
  bool is_dropped;                   // not kept for the backward pass
  dure_tensor again;                 // computed again; absent until first needed
} root_state;

// A root made by computing another one again.
typedef struct gradient_stand_in {
  uint32_t root, original;
} gradient_stand_in;

struct dure_gradient {
  dure_program *program;
  root_state *roots;    // by value index; only roots' entries are used
  uint32_t root_count;  // values that existed before the backward pass
  uint32_t call_count;  // calls that existed before the backward pass
  uint32_t current_call;
  dure_gradient_options options;
  gradient_stand_in *stand_ins;
  uint32_t stand_in_count, stand_in_capacity;
  bool out_of_memory;
};

// The state of a tensor's root, or of the root that it stands for; NULL for tensors of the backward pass.
root_state *gradient_root_of(const dure_gradient *gradient, dure_tensor tensor);

// ---- gradient_recompute.c ----
// Decides which roots the policy drops.
void gradient_choose_dropped(dure_gradient *gradient);
// The tensor itself, or, when its root was dropped, the same view of the root computed again: its producer, and what
// that needs in turn, are recorded now.
dure_tensor gradient_recomputed(dure_gradient *gradient, dure_tensor tensor);
// Removes calls of the backward pass whose results nothing reads.
void gradient_remove_unread(dure_gradient *gradient);

#endif  // DURE_RUNTIME_GRADIENT_INTERNAL_H_
