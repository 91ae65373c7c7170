// The twin of cuda/instructions.cuh in plain C++: the same functions, with fragments laid out as the PTX ISA says.
#ifndef DURE_CUDA_EMULATION_INSTRUCTIONS_H_
#define DURE_CUDA_EMULATION_INSTRUCTIONS_H_

#include "cuda/numbers.cuh"

struct emulation_fragment {
  uint32_t a[4], b[2];
};

template <typename T>
float emulation_half(uint32_t pair, int which) {
  return to_float(T{(uint16_t)(which == 0 ? pair : pair >> 16)});
}

// Element [row, column] of A, [row, column] of B, from the fragments that the lanes have left.
template <typename T>
float emulation_a(int row, int column) {
  const auto *theirs = static_cast<const emulation_fragment *>(emulation_warp_left(row % 8 * 4 + column % 8 / 2));
  return emulation_half<T>(theirs->a[row / 8 + column / 8 * 2], column % 2);
}
template <typename T>
float emulation_b(int row, int column) {
  const auto *theirs = static_cast<const emulation_fragment *>(emulation_warp_left(column * 4 + row % 8 / 2));
  return emulation_half<T>(theirs->b[row / 8], row % 2);
}

template <typename T>
void matrix_multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulation_fragment mine;
  std::memcpy(mine.a, a, sizeof(mine.a));
  std::memcpy(mine.b, b, sizeof(mine.b));
  emulation_warp_meet(0xffffffffu, &mine, sizeof(mine));
  const int group = emulation_lane() / 4, pair = emulation_lane() % 4;
  for (int i = 0; i < 4; i++) {
    const int row = group + i / 2 * 8, column = pair * 2 + i % 2;
    float sum = 0;
    for (int k = 0; k < 16; k++) sum += emulation_a<T>(row, k) * emulation_b<T>(k, column);
    d[i] += sum;
  }
}

inline void matrix_multiply_integers(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int begin) {
  emulation_fragment mine;
  std::memcpy(mine.a, a, sizeof(mine.a));
  std::memcpy(mine.b, b, sizeof(mine.b));
  emulation_warp_meet(0xffffffffu, &mine, sizeof(mine));
  const int group = emulation_lane() / 4, pair = emulation_lane() % 4;
  for (int i = 0; i < 4; i++) {
    const int row = group + i / 2 * 8, column = pair * 2 + i % 2;
    d[i] = begin;
    for (int k = 0; k < 32; k += 4) {
      const auto *left = static_cast<const emulation_fragment *>(emulation_warp_left(row % 8 * 4 + k % 16 / 4));
      const auto *right = static_cast<const emulation_fragment *>(emulation_warp_left(column * 4 + k % 16 / 4));
      d[i] = __dp4a((int)left->a[row / 8 + k / 16 * 2], (int)right->b[k / 16], d[i]);
    }
  }
}

inline void emulation_load_matrices(uint32_t (&r)[4], const void *row, bool is_transposed) {
  if ((uintptr_t)row % 16 != 0) emulation_fault("a row given to ldmatrix is not aligned to 16 bytes");
  emulation_warp_meet(0xffffffffu, &row, sizeof(row));
  const int group = emulation_lane() / 4, pair = emulation_lane() % 4;
  for (int matrix = 0; matrix < 4; matrix++) {
    uint16_t values[2];
    for (int i = 0; i < 2; i++) {
      const int stored_row = is_transposed ? 2 * pair + i : group, stored_column = is_transposed ? group : 2 * pair + i;
      const uint16_t *address;
      std::memcpy(&address, emulation_warp_left(8 * matrix + stored_row), sizeof(address));
      values[i] = address[stored_column];
    }
    r[matrix] = (uint32_t)values[0] | (uint32_t)values[1] << 16;
  }
}
inline void load_matrices(uint32_t (&r)[4], const void *row) { emulation_load_matrices(r, row, false); }
inline void load_matrices_transposed(uint32_t (&r)[4], const void *row) { emulation_load_matrices(r, row, true); }

inline void copy_async(void *shared, const void *global, bool is_valid) {
  if ((uintptr_t)shared % 16 != 0) emulation_fault("the target of an asynchronous copy is not aligned to 16 bytes");
  if (is_valid && (uintptr_t)global % 16 != 0)
    emulation_fault("the source of an asynchronous copy is not aligned to 16 bytes");
  emulation_copy_later(shared, is_valid ? global : nullptr, 16);
}
inline void copy_async_word(float *shared, const float *global, bool is_valid) {
  if ((uintptr_t)shared % 4 != 0 || (is_valid && (uintptr_t)global % 4 != 0))
    emulation_fault("an asynchronous copy of a word is not aligned to 4 bytes");
  emulation_copy_later(shared, is_valid ? global : nullptr, 4);
}
inline void copy_async_commit() { emulation_copy_commit(); }
template <int Pending>
void copy_async_wait() {
  emulation_copy_wait(Pending);
}

inline uint32_t emulation_e4m3(float x) {
  const uint32_t sign = std::signbit(x) ? 0x80 : 0;
  const float magnitude = std::fabs(x);
  if (std::isnan(x)) return sign | 0x7f;
  if (magnitude >= 448) return sign | 0x7e;
  int exponent = magnitude < 0.015625f ? -6 : std::ilogb(magnitude);
  int mantissa = (int)std::nearbyint(std::ldexp(magnitude, 3 - exponent));  // 8 .. 16, below 8 where subnormal
  if (mantissa == 16) {
    mantissa = 8;
    exponent++;
  }
  return sign | (uint32_t)(mantissa < 8 ? mantissa : (exponent + 7) << 3 | (mantissa - 8));
}
inline uint32_t pack_four_e4m3(float4 x) {
  return emulation_e4m3(x.x) | emulation_e4m3(x.y) << 8 | emulation_e4m3(x.z) << 16 | emulation_e4m3(x.w) << 24;
}

inline float exp2_approximate(float x) {
  const float y = std::exp2(x);
  return y < 1.17549435e-38f ? 0 : y;
}

// What the GPU faults on, most processors allow.
template <typename T>
void store_whole(T *p, T x) {
  if ((uintptr_t)p % sizeof(T) != 0) emulation_fault("a store to an address that is not aligned to its size");
  *p = x;
}
template <typename T>
T load_whole(const T *p) {
  if ((uintptr_t)p % sizeof(T) != 0) emulation_fault("a load from an address that is not aligned to its size");
  return *p;
}

#endif  // DURE_CUDA_EMULATION_INSTRUCTIONS_H_
