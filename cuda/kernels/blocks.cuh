// Packed weights (runtime/ops.h): sixteen bytes of codes as floats. The counterpart of shaders/lib/blocks.glsl.
//
//   8 bits: a block is two such lines, elements 0..15 and 16..31;   4 bits: one, with all 32
#ifndef DURE_CUDA_KERNELS_BLOCKS_CUH_
#define DURE_CUDA_KERNELS_BLOCKS_CUH_

#include <cstdint>

#include "cuda/numbers.cuh"

struct packed_weight {
  const uint4 *codes;          // [rows, lines]
  any_pointer scales, minima;  // [rows, K / group]; minima may be null
  uint32_t bits, group;
  uint32_t blocks;  // of a row: K / 32
};

// Element e of a word's four; of 4 bits those of its lower halves (part 0) or of its upper ones.
__device__ __forceinline__ float packed_code(const packed_weight &weight, uint32_t word, uint32_t part, uint32_t e) {
  if (weight.bits == 8) return (float)(int8_t)(word >> (8 * e));
  const float q = (float)(word >> (8 * e + 4 * part) & 15u);
  return weight.minima.address == nullptr ? q - 8.0f : q;
}

__device__ __forceinline__ uint32_t packed_word(const uint4 &line, uint32_t w) {
  return w == 0 ? line.x : w == 1 ? line.y : w == 2 ? line.z : line.w;
}

// Sixteen elements: half `h` of block `block` (counted over all rows), whose line is given.
__device__ __forceinline__ void packed_half(const packed_weight &weight, const uint4 &line, uint64_t block, uint32_t h,
                                            float (&out_values)[16]) {
  const uint64_t place = weight.group == 16 ? block * 2 + h : block / (weight.group / 32);
  const bool has_minima = weight.minima.address != nullptr;
  const float scale = load_any(weight.scales, place), minimum = has_minima ? load_any(weight.minima, place) : 0.0f;
#pragma unroll
  for (uint32_t i = 0; i < 16; i++) {
    const float product = packed_code(weight, packed_word(line, i / 4), h, i % 4) * scale;
    out_values[i] = has_minima ? __fadd_rn(product, minimum) : product;
  }
}

__device__ __forceinline__ uint4 packed_line(const packed_weight &weight, uint64_t block, uint32_t h) {
  return weight.codes[weight.bits == 8 ? block * 2 + h : block];
}

#endif  // DURE_CUDA_KERNELS_BLOCKS_CUH_
