// A run of N elements that one instruction moves: 16 bytes of f32 (N = 4) or of a 16-bit type (N = 8), 8 bytes of a
// 16-bit type (N = 4), or a single element (N = 1). Kept as it lies in memory, which for 16-bit types takes half the
// registers of floats; unpack() and pack() convert, rounding once.
#ifndef DURE_CUDA_KERNELS_PACKED_CUH_
#define DURE_CUDA_KERNELS_PACKED_CUH_

#include "cuda/instructions.cuh"
#include "cuda/numbers.cuh"

template <typename T, int N>
struct packed;
template <>
struct packed<float, 1> {
  float bits;
};
template <>
struct packed<float, 4> {
  float4 bits;
};
template <typename T>
struct packed<T, 1> {
  uint16_t bits;
};
template <typename T>
struct packed<T, 4> {
  uint2 bits;
};
template <typename T>
struct packed<T, 8> {
  uint4 bits;
};

// The address is a multiple of the run's size.
template <int N, typename T>
__device__ __forceinline__ packed<T, N> load_packed(const T *p) {
  packed<T, N> run;
  run.bits = load_whole(reinterpret_cast<const decltype(run.bits) *>(p));
  return run;
}

template <int N, typename T>
__device__ __forceinline__ void store_packed(T *p, const packed<T, N> &run) {
  auto *const target = reinterpret_cast<decltype(packed<T, N>::bits) *>(p);
  if constexpr (N == 1) {
    *target = run.bits;
  } else {
    store_whole(target, run.bits);
  }
}

__device__ __forceinline__ void unpack(const packed<float, 1> &run, float (&x)[1]) { x[0] = run.bits; }
__device__ __forceinline__ void unpack(const packed<float, 4> &run, float (&x)[4]) {
  x[0] = run.bits.x;
  x[1] = run.bits.y;
  x[2] = run.bits.z;
  x[3] = run.bits.w;
}
template <typename T>
__device__ __forceinline__ void unpack(const packed<T, 1> &run, float (&x)[1]) {
  x[0] = to_float(T{run.bits});
}
template <typename T>
__device__ __forceinline__ void unpack(const packed<T, 4> &run, float (&x)[4]) {
  unpack_two<T>(run.bits.x, x[0], x[1]);
  unpack_two<T>(run.bits.y, x[2], x[3]);
}
template <typename T>
__device__ __forceinline__ void unpack(const packed<T, 8> &run, float (&x)[8]) {
  unpack_two<T>(run.bits.x, x[0], x[1]);
  unpack_two<T>(run.bits.y, x[2], x[3]);
  unpack_two<T>(run.bits.z, x[4], x[5]);
  unpack_two<T>(run.bits.w, x[6], x[7]);
}

__device__ __forceinline__ void pack(const float (&x)[1], packed<float, 1> &run) { run.bits = x[0]; }
__device__ __forceinline__ void pack(const float (&x)[4], packed<float, 4> &run) {
  run.bits = make_float4(x[0], x[1], x[2], x[3]);
}
template <typename T>
__device__ __forceinline__ void pack(const float (&x)[1], packed<T, 1> &run) {
  run.bits = from_float<T>(x[0]).bits;
}
template <typename T>
__device__ __forceinline__ void pack(const float (&x)[4], packed<T, 4> &run) {
  run.bits.x = pack_two<T>(x[0], x[1]);
  run.bits.y = pack_two<T>(x[2], x[3]);
}
template <typename T>
__device__ __forceinline__ void pack(const float (&x)[8], packed<T, 8> &run) {
  run.bits.x = pack_two<T>(x[0], x[1]);
  run.bits.y = pack_two<T>(x[2], x[3]);
  run.bits.z = pack_two<T>(x[4], x[5]);
  run.bits.w = pack_two<T>(x[6], x[7]);
}

// Both at once.
template <int N, typename T>
__device__ __forceinline__ void load_floats(const T *p, float (&x)[N]) {
  unpack(load_packed<N>(p), x);
}
template <int N, typename T>
__device__ __forceinline__ void store_floats(T *p, const float (&x)[N]) {
  packed<T, N> run;
  pack(x, run);
  store_packed<N>(p, run);
}

#endif  // DURE_CUDA_KERNELS_PACKED_CUH_
