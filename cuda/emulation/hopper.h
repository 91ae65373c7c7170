// The twin of cuda/hopper.cuh in plain C++ (hopper.cpp has what is not inline). As pessimistic as the GPU may be:
//
//   a product reads shared memory when it is waited for, and its results are NaN until then; operands in registers and
//   results that are touched in between, warps of a warpgroup that start different products: faults
//   a bulk copy writes only when all threads wait; in every second launch at once, into what may still be read
//   a thread that sleeps through a whole phase of a barrier, a barrier that has not been made or whose memory has been
//   written to, arrivals or bytes too many, copies or products that are unfinished at the end of a block: faults
#ifndef DURE_CUDA_EMULATION_HOPPER_H_
#define DURE_CUDA_EMULATION_HOPPER_H_

#include "cuda/numbers.cuh"

// ---- hopper.cpp ----

uint32_t shared_address(const void *p);  // of the block's dynamic shared memory
void phase_barrier_init(uint64_t *barrier, uint32_t arrivals);
void phase_barriers_made();
void phase_barrier_arrive(uint64_t *barrier);
void phase_barrier_expect(uint64_t *barrier, uint32_t bytes);
void phase_barrier_wait(uint64_t *barrier, uint32_t parity, uint32_t patience);  // for ever: a deadlock is a fault
void tensor_copy(void *shared, const tensor_map *map, uint64_t *barrier, uint32_t x, uint32_t y, uint32_t z,
                 uint32_t w);
void part_barrier_sync(uint32_t barrier, uint32_t threads);
void part_barrier_arrive(uint32_t barrier, uint32_t threads);
bool part_barrier_or(uint32_t barrier, uint32_t threads, bool mine);

void warpgroup_commit();
void emulation_products_wait(int pending);

// A product that is under way: `tiles` times 4 results; left operand: two rows of 16 values, or a descriptor.
struct emulation_product {
  float (*d)[4];
  int tiles;
  bool adds, is_across;  // is_across: rows of the right operand run across the depth
  uint64_t a, b;
  const uint32_t *registers;  // null: the left operand lies in shared memory
  uint32_t kept[4];
  float left[2][16];
  const float *values;  // of each pattern of 16 bits
};
void emulation_product_start(const emulation_product &product);

inline void tensor_map_prefetch(const tensor_map *map) {
  if ((uintptr_t)map % 64 != 0) emulation_fault("a tensor map is not aligned to 64 bytes");
}
inline void shared_stores_visible() {}
template <int Registers>
void registers_give() {
  static_assert(Registers % 8 == 0 && Registers >= 24 && Registers <= 256, "what setmaxnreg takes");
}
template <int Registers>
void registers_take() {
  static_assert(Registers % 8 == 0 && Registers >= 24 && Registers <= 256, "what setmaxnreg takes");
}
inline void warpgroup_begin() {}
template <int Pending>
void warpgroup_wait() {
  emulation_products_wait(Pending);
}
template <int TILES>
void warpgroup_settle(float (&d)[TILES][4]) {
  static_cast<void>(d);
}

// The values of a type, by their bits.
template <typename T>
const float *emulation_values() {
  static float *values = nullptr;
  if (values == nullptr) {
    values = new float[1 << 16];
    for (uint32_t bits = 0; bits < 1 << 16; bits++) values[bits] = to_float(T{(uint16_t)bits});
  }
  return values;
}

template <typename T, int N>
void warpgroup_multiply(float (&d)[N / 8][4], uint64_t a, uint64_t b, bool adds) {
  emulation_product product = {};
  product.d = d;
  product.tiles = N / 8;
  product.adds = adds;
  product.a = a;
  product.b = b;
  product.values = emulation_values<T>();
  emulation_product_start(product);
}

template <typename T, int N>
void warpgroup_multiply_across(float (&d)[N / 8][4], const uint32_t (&a)[4], uint64_t b) {
  emulation_product product = {};
  product.d = d;
  product.tiles = N / 8;
  product.adds = true;
  product.is_across = true;
  product.b = b;
  product.registers = a;
  product.values = emulation_values<T>();
  std::memcpy(product.kept, a, sizeof(product.kept));
  emulation_warp_meet(0xffffffffu, a, sizeof(product.kept));
  for (int k = 0; k < 16; k++) {  // from the four lanes that have the thread's two rows
    uint32_t theirs[4];
    std::memcpy(theirs, emulation_warp_left(emulation_lane() / 4 * 4 + k % 8 / 2), sizeof(theirs));
    for (int half = 0; half < 2; half++)
      product.left[half][k] = product.values[(uint16_t)(theirs[k / 8 * 2 + half] >> k % 2 * 16)];
  }
  emulation_product_start(product);
}

#endif  // DURE_CUDA_EMULATION_HOPPER_H_
