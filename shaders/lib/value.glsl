// Elements in memory as f32, bf16 or f16; in registers always f32.
//
//   READ_TENSOR(0, x, storage)      // binding, name, type: a specialisation constant, so that the driver folds the branches
//   WRITE_TENSOR(1, y, storage)
//   store_y(i, load_x(i) + 1.0);
//
// VALUE is what one load or store moves. -DWIDTH=4 makes it a vec4: indices then count fours of elements, which must be
// aligned to four (16 bytes of f32, 8 of a 16-bit type). Without it VALUE is a float and indices count elements.
// load_NAME_element(i) and store_NAME_element(i, value) take single elements in both.
//
// 16-bit elements travel as halves of 32-bit words, so that no 16-bit storage is needed. A single one is stored into its
// half by two atomics that leave the other half alone: whoever owns that may do the same at the same time. Kernels that
// require storage16 define STORAGE16 instead, and store 16 bits.
//
// Types are compared in functions with one return: what SwiftShader folds once specialisation constants are constants.
#ifndef VALUE_GLSL
#define VALUE_GLSL

const uint F32 = 0, BF16 = 1, F16 = 2;  // dure_vulkan_type

#if WIDTH == 4
#define VALUE vec4
float value_sum(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
#else
#define VALUE float
float value_sum(float v) { return v; }
#endif

bool is_f32(uint type) { return type == F32; }

// ---- conversions of 16-bit floats: to nearest even, NaN stays NaN, as in runtime/dtype.c ----

vec4 widen(uint type, uvec2 words) {
  vec4 value;
  if (type == F16) {
    value = vec4(unpackHalf2x16(words.x), unpackHalf2x16(words.y));
  } else {
    value = uintBitsToFloat(uvec4(words.x << 16, words.x & 0xffff0000u, words.y << 16, words.y & 0xffff0000u));
  }
  return value;
}

uvec4 bf16_bits(vec4 value) {
  const uvec4 bits = floatBitsToUint(value);
  const uvec4 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return mix(rounded, (bits >> 16) | 0x40u, greaterThan(bits & 0x7fffffffu, uvec4(0x7f800000u)));
}

// packHalf2x16 may round either way.
uvec4 f16_bits(vec4 value) {
  const uvec4 bits = floatBitsToUint(value);
  const uvec4 magnitude = bits & 0x7fffffffu;
  const uvec4 normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  // Subnormal: the sum's last place is 2^-24, so the addition rounds and leaves the count of 2^-24 steps.
  const uvec4 small = floatBitsToUint(uintBitsToFloat(magnitude) + 0.5) - 0x3f000000u;
  uvec4 half_bits = mix(normal, small, lessThan(magnitude, uvec4(0x38800000u)));
  half_bits = mix(half_bits, uvec4(0x7c00u), greaterThanEqual(magnitude, uvec4(0x477ff000u)));  // 65520 and more
  half_bits = mix(half_bits, 0x7e00u | ((magnitude >> 13) & 0x3ffu), greaterThan(magnitude, uvec4(0x7f800000u)));
  return half_bits | ((bits >> 16) & 0x8000u);
}

uvec2 narrow(uint type, vec4 value) {
  uvec4 bits;
  if (type == F16) {
    bits = f16_bits(value);
  } else {
    bits = bf16_bits(value);
  }
  return bits.xz | bits.yw << 16;
}

// What a load finds after a store.
vec4 as_stored(uint type, vec4 value) {
  vec4 found = value;
  if (!is_f32(type)) found = widen(type, narrow(type, value));
  return found;
}

// ---- tensors ----

#define TENSOR_WORDS(BINDING, NAME, ACCESS)                                                             \
  layout(set = 0, binding = BINDING) ACCESS buffer NAME##_words_block { uint NAME##_words[]; };         \
  layout(set = 0, binding = BINDING) ACCESS buffer NAME##_pairs_block { uvec2 NAME##_pairs[]; };        \
  layout(set = 0, binding = BINDING) ACCESS buffer NAME##_fours_block { uvec4 NAME##_fours[]; };

#define TENSOR_LOADS(NAME, TYPE)                                                                        \
  float load_##NAME##_element(uint i) {                                                                 \
    float value;                                                                                        \
    if (is_f32(TYPE)) {                                                                                  \
      value = uintBitsToFloat(NAME##_words[i]);                                                         \
    } else {                                                                                            \
      value = widen(TYPE, uvec2(NAME##_words[i / 2] >> (i % 2 * 16), 0)).x;                             \
    }                                                                                                   \
    return value;                                                                                       \
  }                                                                                                     \
  vec4 load_##NAME##_four(uint i) {                                                                     \
    vec4 value;                                                                                         \
    if (is_f32(TYPE)) {                                                                                  \
      value = uintBitsToFloat(NAME##_fours[i]);                                                         \
    } else {                                                                                            \
      value = widen(TYPE, NAME##_pairs[i]);                                                             \
    }                                                                                                   \
    return value;                                                                                       \
  }

#ifdef STORAGE16
#define TENSOR_HALVES(BINDING, NAME) \
  layout(set = 0, binding = BINDING) buffer NAME##_halves_block { uint16_t NAME##_halves[]; };
#define STORE_HALF(NAME, i, half_bits) NAME##_halves[i] = uint16_t(half_bits)
#else
#define TENSOR_HALVES(BINDING, NAME)
#define STORE_HALF(NAME, i, half_bits)                                  \
  atomicAnd(NAME##_words[i / 2], i % 2 == 0 ? 0xffff0000u : 0xffffu);   \
  atomicOr(NAME##_words[i / 2], half_bits << (i % 2 * 16))
#endif

#define TENSOR_STORES(NAME, TYPE)                                                                       \
  void store_##NAME##_element(uint i, float value) {                                                    \
    if (is_f32(TYPE)) {                                                                                  \
      NAME##_words[i] = floatBitsToUint(value);                                                         \
    } else {                                                                                            \
      const uint half_bits = narrow(TYPE, vec4(value, 0, 0, 0)).x;                                      \
      STORE_HALF(NAME, i, half_bits);                                                                   \
    }                                                                                                   \
  }                                                                                                     \
  void store_##NAME##_four(uint i, vec4 value) {                                                        \
    if (is_f32(TYPE)) {                                                                                  \
      NAME##_fours[i] = floatBitsToUint(value);                                                         \
    } else {                                                                                            \
      NAME##_pairs[i] = narrow(TYPE, value);                                                            \
    }                                                                                                   \
  }

#if WIDTH == 4
#define TENSOR_LOAD_VALUE(NAME) vec4 load_##NAME(uint i) { return load_##NAME##_four(i); }
#define TENSOR_STORE_VALUE(NAME) void store_##NAME(uint i, vec4 value) { store_##NAME##_four(i, value); }
#else
#define TENSOR_LOAD_VALUE(NAME) float load_##NAME(uint i) { return load_##NAME##_element(i); }
#define TENSOR_STORE_VALUE(NAME) void store_##NAME(uint i, float value) { store_##NAME##_element(i, value); }
#endif

// A binding that is only read, and one that is written (and may be read).
#define READ_TENSOR(BINDING, NAME, TYPE) \
  TENSOR_WORDS(BINDING, NAME, readonly)  \
  TENSOR_LOADS(NAME, TYPE)               \
  TENSOR_LOAD_VALUE(NAME)
#define WRITE_TENSOR(BINDING, NAME, TYPE) \
  TENSOR_WORDS(BINDING, NAME, )           \
  TENSOR_HALVES(BINDING, NAME)            \
  TENSOR_LOADS(NAME, TYPE)                \
  TENSOR_STORES(NAME, TYPE)               \
  TENSOR_LOAD_VALUE(NAME)                 \
  TENSOR_STORE_VALUE(NAME)

#endif
