// What threads.cpp and hopper.cpp ask of each other.
#ifndef DURE_CUDA_EMULATION_BLOCK_H_
#define DURE_CUDA_EMULATION_BLOCK_H_

#include <cstddef>

// ---- threads.cpp ----

unsigned emulation_thread();  // the running thread's number in its block
// Lets other threads run until holds(what).
void emulation_wait_until(bool (*holds)(const void *what), const void *what);
bool emulation_is_reversed();  // of the launch: which of two extremes is tried
size_t emulation_dynamic_shared_bytes();

// ---- hopper.cpp ----

void emulation_hopper_begin();         // before a block
bool emulation_hopper_idle();          // all threads wait: does something that goes on behind them, or false
const char *emulation_hopper_end();    // after a block: what is wrong, or null
void *emulation_tensor_map_encoder();  // cuTensorMapEncodeTiled

#endif  // DURE_CUDA_EMULATION_BLOCK_H_
