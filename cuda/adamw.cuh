// What the AdamW kernels share, as shaders/lib/adamw.glsl: arguments, loads and stores of four elements of any type,
// and the update of runtime/ops.h. Each operation is an intrinsic that is never contracted, and division and square
// root are correctly rounded, so that runtime/adamw_host.c leaves the same bits.
//
// Gradient, parameter and moments have a type each: 162 combinations, of which those that training uses get a kernel
// each (adamw_types); in the kernel for all others the types are read from the arguments. A four is loaded as it lies
// in memory and converted only where it is used, so all loads of a thread are in flight together.
#ifndef DURE_CUDA_ADAMW_CUH_
#define DURE_CUDA_ADAMW_CUH_

#include "cuda/numbers.cuh"
#include "cuda/random.cuh"
#include "cuda/stochastic.cuh"

extern "C" {
#include "runtime/ops.h"
}

struct adamw_arguments {
  uint64_t count;                       // elements
  any_pointer gradient;                 // [count]
  const float *step, *state;            // DURE_STEP_..., DURE_STATE_...
  const uint32_t *random;               // [4] or null
  any_pointer parameter;                // [count]; with a master only written
  any_pointer master;                   // [count] f32 or null
  any_pointer first_moment;             // [count]
  any_pointer second_moment;            // [count]
  float *first_scales, *second_scales;  // [ceil(count / DURE_MOMENT_BLOCK)] of moments in u8
  uint64_t first_group;                 // element 0 is the first of this group of four, for random words
  float beta1, beta2, epsilon, weight_decay;
};

// What a kernel knows of its operands when it is compiled. NONE: the type is in the arguments.
enum adamw_masters { ADAMW_ANY_MASTERS, ADAMW_MASTERS, ADAMW_NO_MASTERS };
template <dure_dtype Gradient, dure_dtype Parameter, dure_dtype Moments, adamw_masters Masters, bool IsWhole = true>
struct adamw_types {
  static constexpr dure_dtype gradient = Gradient, parameter = Parameter, moments = Moments;
  static constexpr adamw_masters masters = Masters;
  // Every operand begins at a four of its elements, and all fours have four; else elements are moved one by one.
  static constexpr bool is_whole = IsWhole;
};
template <bool IsWhole>
using adamw_any_types = adamw_types<DURE_DTYPE_NONE, DURE_DTYPE_NONE, DURE_DTYPE_NONE, ADAMW_ANY_MASTERS, IsWhole>;

// The operands with their types, those known when compiling and the others.
template <typename Types>
struct adamw_operands {
  any_pointer gradient, parameter, master, first_moment, second_moment;
  any_pointer updated;  // the master, or the parameter where there is none
  bool has_master;
  uint64_t count;
};

__device__ __forceinline__ any_pointer adamw_known(any_pointer p, dure_dtype known) {
  return any_pointer{p.address, known != DURE_DTYPE_NONE ? known : p.dtype};
}

template <typename Types>
__device__ __forceinline__ adamw_operands<Types> adamw_operands_of(const adamw_arguments &a) {
  adamw_operands<Types> o;
  o.gradient = adamw_known(a.gradient, Types::gradient);
  o.parameter = adamw_known(a.parameter, Types::parameter);
  o.master = adamw_known(a.master, DURE_DTYPE_F32);
  o.first_moment = adamw_known(a.first_moment, Types::moments);
  o.second_moment = adamw_known(a.second_moment, Types::moments);
  o.has_master = Types::masters == ADAMW_ANY_MASTERS ? a.master.address != nullptr : Types::masters == ADAMW_MASTERS;
  o.updated = o.has_master ? o.master : o.parameter;
  o.count = a.count;
  return o;
}

// ---- fours as they lie in memory ----

// f32: a word each; 16 bits: two a word; u8: all in the first word. Elements past the end are 0.
struct raw_four {
  uint4 words;
};

__device__ __forceinline__ uint32_t load_bits(any_pointer p, uint64_t index) {
  switch (p.dtype) {
    case DURE_DTYPE_F32: return static_cast<const uint32_t *>(p.address)[index];
    case DURE_DTYPE_U8: return static_cast<const uint8_t *>(p.address)[index];
    default: return static_cast<const uint16_t *>(p.address)[index];
  }
}
__device__ __forceinline__ void store_bits(any_pointer p, uint64_t index, uint32_t bits) {
  switch (p.dtype) {
    case DURE_DTYPE_F32: static_cast<uint32_t *>(p.address)[index] = bits; break;
    case DURE_DTYPE_U8: static_cast<uint8_t *>(p.address)[index] = (uint8_t)bits; break;
    default: static_cast<uint16_t *>(p.address)[index] = (uint16_t)bits;
  }
}

// The first `size` elements of four i.
__device__ inline raw_four load_elements(any_pointer p, uint64_t i, uint64_t size) {
  uint32_t e[4] = {0, 0, 0, 0};
#pragma unroll
  for (uint32_t k = 0; k < 4; k++) {
    if (k < size) e[k] = load_bits(p, 4 * i + k);
  }
  switch (p.dtype) {
    case DURE_DTYPE_F32: return raw_four{make_uint4(e[0], e[1], e[2], e[3])};
    case DURE_DTYPE_U8: return raw_four{make_uint4(e[0] | e[1] << 8 | e[2] << 16 | e[3] << 24, 0, 0, 0)};
    default: return raw_four{make_uint4(e[0] | e[1] << 16, e[2] | e[3] << 16, 0, 0)};
  }
}
__device__ inline void store_elements(any_pointer p, uint64_t i, uint64_t size, raw_four raw) {
  const uint4 w = raw.words;
#pragma unroll
  for (uint32_t k = 0; k < 4; k++) {
    if (k >= size) continue;
    const uint32_t word = k == 0 ? w.x : k == 1 ? w.y : k == 2 ? w.z : w.w, pair = k < 2 ? w.x : w.y;
    const bool is_wide = p.dtype == DURE_DTYPE_F32, is_byte = p.dtype == DURE_DTYPE_U8;
    store_bits(p, 4 * i + k, is_wide ? word : is_byte ? w.x >> 8 * k : pair >> 16 * (k % 2));
  }
}

template <typename Types>
__device__ __forceinline__ raw_four load_raw(const adamw_operands<Types> &o, any_pointer p, uint64_t i) {
  if (!Types::is_whole) return load_elements(p, i, o.count - 4 * i);
  switch (p.dtype) {
    case DURE_DTYPE_F32: return raw_four{static_cast<const uint4 *>(p.address)[i]};
    case DURE_DTYPE_U8: return raw_four{make_uint4(static_cast<const uint32_t *>(p.address)[i], 0, 0, 0)};
    default: {
      const uint2 pairs = static_cast<const uint2 *>(p.address)[i];
      return raw_four{make_uint4(pairs.x, pairs.y, 0, 0)};
    }
  }
}
template <typename Types>
__device__ __forceinline__ void store_raw(const adamw_operands<Types> &o, any_pointer p, uint64_t i, raw_four raw) {
  if (!Types::is_whole) {
    store_elements(p, i, o.count - 4 * i, raw);
    return;
  }
  switch (p.dtype) {
    case DURE_DTYPE_F32: static_cast<uint4 *>(p.address)[i] = raw.words; break;
    case DURE_DTYPE_U8: static_cast<uint32_t *>(p.address)[i] = raw.words.x; break;
    default: static_cast<uint2 *>(p.address)[i] = make_uint2(raw.words.x, raw.words.y);
  }
}

// ---- what a four is worth ----

template <typename T>
__device__ __forceinline__ float4 floats_of_pairs(uint4 words) {
  float4 x;
  unpack_two<T>(words.x, x.x, x.y);
  unpack_two<T>(words.y, x.z, x.w);
  return x;
}

// Of a float type.
__device__ __forceinline__ float4 floats_of(dure_dtype dtype, raw_four raw) {
  const uint4 w = raw.words;
  switch (dtype) {
    case DURE_DTYPE_BF16: return floats_of_pairs<bfloat16>(w);
    case DURE_DTYPE_F16: return floats_of_pairs<float16>(w);
    default: return make_float4(__uint_as_float(w.x), __uint_as_float(w.y), __uint_as_float(w.z), __uint_as_float(w.w));
  }
}
__device__ __forceinline__ raw_four raw_of(dure_dtype dtype, float4 x) {
  switch (dtype) {
    case DURE_DTYPE_BF16: return raw_four{make_uint4(pack_two<bfloat16>(x.x, x.y), pack_two<bfloat16>(x.z, x.w), 0, 0)};
    case DURE_DTYPE_F16: return raw_four{make_uint4(pack_two<float16>(x.x, x.y), pack_two<float16>(x.z, x.w), 0, 0)};
    default:
      return raw_four{
          make_uint4(__float_as_uint(x.x), __float_as_uint(x.y), __float_as_uint(x.z), __float_as_uint(x.w))};
  }
}
__device__ __forceinline__ raw_four raw_of_stochastically(dure_dtype dtype, float4 x, uint4 words) {
  const bool is_half = dtype == DURE_DTYPE_F16;
  const uint32_t a = is_half ? float16_stochastic(x.x, words.x) : bfloat16_stochastic(x.x, words.x);
  const uint32_t b = is_half ? float16_stochastic(x.y, words.y) : bfloat16_stochastic(x.y, words.y);
  const uint32_t c = is_half ? float16_stochastic(x.z, words.z) : bfloat16_stochastic(x.z, words.z);
  const uint32_t d = is_half ? float16_stochastic(x.w, words.w) : bfloat16_stochastic(x.w, words.w);
  return raw_four{make_uint4(a | b << 16, c | d << 16, 0, 0)};
}

// ---- the update ----

// The numbers of one step.
struct adamw_step {
  float scale, learning_rate, correction1, correction2, beta1, beta2, other1, other2, epsilon, weight_decay;
  uint64_t first_group;
  bool has_random;
  uint4 random;
};

__device__ __forceinline__ bool adamw_step_counts(const adamw_arguments &a) { return a.state[DURE_STATE_FINITE] != 0; }

__device__ __forceinline__ adamw_step adamw_read_step(const adamw_arguments &a) {
  adamw_step s;
  s.scale = a.state[DURE_STATE_SCALE];
  s.learning_rate = a.step[DURE_STEP_LEARNING_RATE];
  s.correction1 = a.step[DURE_STEP_CORRECTION1];
  s.correction2 = a.step[DURE_STEP_CORRECTION2];
  s.beta1 = a.beta1;
  s.beta2 = a.beta2;
  s.other1 = __fsub_rn(1.0f, a.beta1);
  s.other2 = __fsub_rn(1.0f, a.beta2);
  s.epsilon = a.epsilon;
  s.weight_decay = a.weight_decay;
  s.first_group = a.first_group;
  s.has_random = a.random != nullptr;
  s.random = make_uint4(0, 0, 0, 0);
  if (s.has_random) s.random = make_uint4(a.random[0], a.random[1], a.random[2], a.random[3]);
  return s;
}

__device__ __forceinline__ float flushed(float x) { return fabsf(x) < 0x1p-100f ? 0.0f : x; }

__device__ __forceinline__ void adamw_moments(const adamw_step &s, float gradient, float &m, float &v) {
  const float g = __fmul_rn(gradient, s.scale);
  m = flushed(__fadd_rn(__fmul_rn(s.beta1, m), __fmul_rn(s.other1, g)));
  v = flushed(__fadd_rn(__fmul_rn(s.beta2, v), __fmul_rn(s.other2, __fmul_rn(g, g))));
}
__device__ __forceinline__ float adamw_parameter(const adamw_step &s, float p, float m, float v) {
  const float root = __fadd_rn(__fsqrt_rn(__fmul_rn(v, s.correction2)), s.epsilon);
  const float direction = __fmul_rn(__fmul_rn(m, s.correction1), __frcp_rn(root));
  return __fsub_rn(p, __fmul_rn(s.learning_rate, __fadd_rn(direction, __fmul_rn(s.weight_decay, p))));
}

__device__ __forceinline__ void adamw_moments(const adamw_step &s, float4 gradient, float4 &m, float4 &v) {
  adamw_moments(s, gradient.x, m.x, v.x);
  adamw_moments(s, gradient.y, m.y, v.y);
  adamw_moments(s, gradient.z, m.z, v.z);
  adamw_moments(s, gradient.w, m.w, v.w);
}
__device__ __forceinline__ float4 adamw_parameter(const adamw_step &s, float4 p, float4 m, float4 v) {
  return make_float4(adamw_parameter(s, p.x, m.x, v.x), adamw_parameter(s, p.y, m.y, v.y),
                     adamw_parameter(s, p.z, m.z, v.z), adamw_parameter(s, p.w, m.w, v.w));
}

// Stores what the parameter of four i is now, and its master.
template <typename Types>
__device__ __forceinline__ void adamw_store_parameter(const adamw_operands<Types> &o, const adamw_step &s, uint64_t i,
                                                      float4 p) {
  if (o.has_master) store_raw(o, o.master, i, raw_of(DURE_DTYPE_F32, p));
  if (s.has_random && !o.has_master && o.parameter.dtype != DURE_DTYPE_F32) {
    const uint4 words = random_words(s.random, s.first_group + i);
    store_raw(o, o.parameter, i, raw_of_stochastically(o.parameter.dtype, p, words));
  } else {
    store_raw(o, o.parameter, i, raw_of(o.parameter.dtype, p));
  }
}

#endif  // DURE_CUDA_ADAMW_CUH_
