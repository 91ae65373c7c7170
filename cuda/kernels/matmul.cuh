// What all matmul kernels share: t = op(a) op(b) + bias and what becomes of t, with the arguments of ops_matmul.cu. The
// counterpart of shaders/lib/matmul.glsl and matmul_gpu.glsl.
//
//   a     [batch, M, K] or, transposed, [batch, K, M]        b   [batch, K, N] or, transposed, [batch, N, K]
//   bias  [N]                                                c, residual, preactivation, saved   [batch, M, N]
// Everything counts elements; rows are *_stride apart, matrices *_batch. T is the storage type of all but c.
//
// A grid counts x over tiles of c, y over batches and, within a batch, over chunks of `chunk` values of k. With more
// than one chunk the sums go to `partial` (f32 [batch x chunks, M, N]), whose chunks matmul_sum_chunks adds in order;
// `chunk` depends on the shape alone, and so do the sums.
#ifndef DURE_CUDA_KERNELS_MATMUL_CUH_
#define DURE_CUDA_KERNELS_MATMUL_CUH_

#include "cuda/activation.cuh"
#include "cuda/numbers.cuh"

enum {
  MATMUL_CONTINUES_C = 1,  // t begins with what c holds
  MATMUL_CONTINUES_SAVED = 2,
  MATMUL_ACTIVATES = 4,           // t = f(t)
  MATMUL_ACTIVATES_BACKWARD = 8,  // t = t * f'(preactivation)
  MATMUL_ACCUMULATES = 16,        // c += t
  MATMUL_WIDE_STORE = 32,         // rows of all [M, N] operands begin at multiples of 4 elements, N is a multiple of 4
  MATMUL_TRANSPOSES_A = 64,
  MATMUL_TRANSPOSES_B = 128,
  MATMUL_A_IN_FOURS = 256,  // rows of a begin at multiples of 4 elements
  MATMUL_B_IN_FOURS = 512,
  MATMUL_A_IN_LINES = 1024,  // ... of 16 bytes
  MATMUL_B_IN_LINES = 2048,
};

struct matmul_arguments {
  uint32_t M, N, K, chunk;
  uint32_t flags;
  dure_activation activation;
  const void *a, *b;
  const void *bias, *residual, *preactivation;  // null where absent
  any_pointer c;
  void *saved;     // null where absent
  float *partial;  // null: the sums are whole
  uint64_t a_stride, b_stride, residual_stride, preactivation_stride, c_stride, saved_stride;
  uint64_t a_batch, b_batch, residual_batch, preactivation_batch, c_batch, saved_batch;
};

// Where a block works.
struct matmul_place {
  uint32_t row, column;  // its tile's first
  uint32_t batch;
  uint32_t k, k_end;
};

// Blocks that run together take BAND rows of tiles, column by column: what they read of b stays in the cache while BAND
// tiles of a use it.
__device__ __forceinline__ matmul_place matmul_place_of(const matmul_arguments &o, uint32_t tile_rows,
                                                        uint32_t tile_columns) {
  const uint32_t BAND = 8;
  const uint32_t across = (o.N + tile_columns - 1) / tile_columns, down = (o.M + tile_rows - 1) / tile_rows;
  const uint32_t first = blockIdx.x / (BAND * across) * BAND, within = blockIdx.x - first * across;
  const uint32_t height = down - first < BAND ? down - first : BAND;
  const uint32_t chunks = (o.K + o.chunk - 1) / o.chunk;
  matmul_place place;
  place.row = (first + within % height) * tile_rows;
  place.column = within / height * tile_columns;
  place.batch = chunks > 1 ? blockIdx.y / chunks : blockIdx.y;
  place.k = chunks > 1 ? blockIdx.y % chunks * o.chunk : 0;
  place.k_end = o.K - place.k < o.chunk ? o.K : place.k + o.chunk;
  return place;
}

// Elements 0 .. 3 of a line, of which `left` exist; the others are 0. in_fours: the address is a multiple of four of
// them.
template <typename T>
__device__ __forceinline__ float4 matmul_line(const T *line, int left, bool in_fours) {
  if (left >= 4 && in_fours) return load_four(line);
  float4 x = make_float4(0, 0, 0, 0);
  if (left > 0) x.x = to_float(line[0]);
  if (left > 1) x.y = to_float(line[1]);
  if (left > 2) x.z = to_float(line[2]);
  if (left > 3) x.w = to_float(line[3]);
  return x;
}

template <typename T>
__device__ __forceinline__ void matmul_put_line(T *line, int left, bool in_fours, float4 x) {
  if (in_fours) {  // then all four exist
    store_four(line, x);
    return;
  }
  line[0] = from_float<T>(x.x);
  if (left > 1) line[1] = from_float<T>(x.y);
  if (left > 2) line[2] = from_float<T>(x.z);
  if (left > 3) line[3] = from_float<T>(x.w);
}

__device__ __forceinline__ float4 matmul_line_any(any_pointer p, uint64_t at, int left, bool in_fours) {
  switch (p.dtype) {
    case DURE_DTYPE_BF16: return matmul_line(static_cast<const bfloat16 *>(p.address) + at, left, in_fours);
    case DURE_DTYPE_F16: return matmul_line(static_cast<const float16 *>(p.address) + at, left, in_fours);
    default: return matmul_line(static_cast<const float *>(p.address) + at, left, in_fours);
  }
}
__device__ __forceinline__ void matmul_put_line_any(any_pointer p, uint64_t at, int left, bool in_fours, float4 x) {
  switch (p.dtype) {
    case DURE_DTYPE_BF16: matmul_put_line(static_cast<bfloat16 *>(p.address) + at, left, in_fours, x); break;
    case DURE_DTYPE_F16: matmul_put_line(static_cast<float16 *>(p.address) + at, left, in_fours, x); break;
    default: matmul_put_line(static_cast<float *>(p.address) + at, left, in_fours, x);
  }
}

__device__ __forceinline__ float4 matmul_sum(float4 x, float4 y) {
  return make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w);
}
template <typename T>
__device__ __forceinline__ float4 matmul_as_stored(float4 x) {
  return make_float4(to_float(from_float<T>(x.x)), to_float(from_float<T>(x.y)), to_float(from_float<T>(x.z)),
                     to_float(from_float<T>(x.w)));
}

// What becomes of four sums of a row, bias included (ops.h).
template <typename T>
__device__ __forceinline__ void matmul_store(const matmul_arguments &o, uint32_t batch, uint32_t row, uint32_t column,
                                             float4 t) {
  const int left = (int)(o.N - column);
  const bool wide = (o.flags & MATMUL_WIDE_STORE) != 0;
  const uint64_t c_at = batch * o.c_batch + row * o.c_stride + column;
  const uint64_t saved_at = batch * o.saved_batch + row * o.saved_stride + column;
  T *const saved = static_cast<T *>(o.saved) + saved_at;
  if ((o.flags & MATMUL_CONTINUES_C) != 0) t = matmul_sum(t, matmul_line_any(o.c, c_at, left, wide));
  if ((o.flags & MATMUL_CONTINUES_SAVED) != 0) t = matmul_sum(t, matmul_line<T>(saved, left, wide));
  if (o.saved != nullptr) {  // what follows is of the sum as it was saved: computed again from there it is the same
    matmul_put_line(saved, left, wide, t);
    t = matmul_as_stored<T>(t);
  }
  if ((o.flags & MATMUL_ACTIVATES) != 0) {
    t = make_float4(activation_value(o.activation, t.x), activation_value(o.activation, t.y),
                    activation_value(o.activation, t.z), activation_value(o.activation, t.w));
  } else if ((o.flags & MATMUL_ACTIVATES_BACKWARD) != 0) {
    const T *line =
        static_cast<const T *>(o.preactivation) + batch * o.preactivation_batch + row * o.preactivation_stride + column;
    const float4 x = matmul_line(line, left, wide);
    t = make_float4(activation_slope(o.activation, x.x) * t.x, activation_slope(o.activation, x.y) * t.y,
                    activation_slope(o.activation, x.z) * t.z, activation_slope(o.activation, x.w) * t.w);
  }
  if (o.residual != nullptr) {
    const T *line = static_cast<const T *>(o.residual) + batch * o.residual_batch + row * o.residual_stride + column;
    t = matmul_sum(t, matmul_line(line, left, wide));
  }
  if ((o.flags & MATMUL_ACCUMULATES) != 0) t = matmul_sum(t, matmul_line_any(o.c, c_at, left, wide));
  matmul_put_line_any(o.c, c_at, left, wide, t);
}

// Four sums of a row leave the kernel: with more than one chunk as they are, else through the epilogue.
template <typename T>
__device__ __forceinline__ void matmul_finish(const matmul_arguments &o, uint32_t batch, uint32_t row, uint32_t column,
                                              float4 sums) {
  if (row >= o.M || column >= o.N) return;
  if (o.partial != nullptr) {
    float *line = o.partial + ((uint64_t)blockIdx.y * o.M + row) * o.N + column;
    matmul_put_line(line, (int)(o.N - column), o.N % 4 == 0, sums);
    return;
  }
  if (o.bias != nullptr) {
    const T *bias = static_cast<const T *>(o.bias) + column;
    sums = matmul_sum(sums, matmul_line(bias, (int)(o.N - column), false));
  }
  matmul_store<T>(o, batch, row, column, sums);
}

#endif  // DURE_CUDA_KERNELS_MATMUL_CUH_
