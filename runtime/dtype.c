#include "runtime/dtype.h"

#include <string.h>

typedef struct dtype_row {
  const char *name;
  size_t size;
  bool is_float;
} dtype_row;

static const dtype_row rows[] = {
    [DURE_DTYPE_NONE] = {"none", 0, false}, [DURE_DTYPE_F32] = {"f32", 4, true}, [DURE_DTYPE_BF16] = {"bf16", 2, true},
    [DURE_DTYPE_F16] = {"f16", 2, true},    [DURE_DTYPE_F64] = {"f64", 8, true}, [DURE_DTYPE_U32] = {"u32", 4, false},
    [DURE_DTYPE_U16] = {"u16", 2, false},   [DURE_DTYPE_U8] = {"u8", 1, false},
};

static const dtype_row *row_of(dure_dtype dtype) {
  size_t index = (size_t)dtype;
  return &rows[index < sizeof(rows) / sizeof(rows[0]) ? index : 0];
}

size_t dure_dtype_size(dure_dtype dtype) { return row_of(dtype)->size; }
bool dure_dtype_is_float(dure_dtype dtype) { return row_of(dtype)->is_float; }
const char *dure_dtype_name(dure_dtype dtype) { return row_of(dtype)->name; }

static uint32_t float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

static float float_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

float dure_bf16_to_float(uint16_t bits) { return float_from_bits((uint32_t)bits << 16); }

uint16_t dure_bf16_from_float(float value) {
  uint32_t bits = float_bits(value);
  // Rounding could carry a NaN's payload into infinity, so NaNs are cut and made quiet.
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u);
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float dure_f16_to_float(uint16_t bits) {
  uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
  uint32_t exponent = (bits >> 10) & 0x1fu;
  uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 31) return float_from_bits(sign | 0x7f800000u | (mantissa << 13));
  if (exponent > 0) return float_from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  float magnitude = (float)mantissa * 0x1p-24f;  // subnormal or zero: exact in f32
  return sign != 0 ? -magnitude : magnitude;
}

uint16_t dure_f16_from_float(float value) {
  uint32_t bits = float_bits(value);
  uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
  uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);  // 65520 and more round to infinity
  if (magnitude >= 0x38800000u) {                                   // normal in f16: 2^-14 and more
    uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
  }
  // Subnormal: the sum's last place is 2^-24, so the addition rounds to nearest even and leaves the count of 2^-24
  // steps in the low bits of the mantissa.
  uint32_t steps = float_bits(float_from_bits(magnitude) + 0.5f) - float_bits(0.5f);
  return (uint16_t)(sign | steps);
}

double dure_dtype_load(dure_dtype dtype, const void *array, uint64_t index) {
  switch (dtype) {
    case DURE_DTYPE_F32: return (double)((const float *)array)[index];
    case DURE_DTYPE_F64: return ((const double *)array)[index];
    case DURE_DTYPE_BF16: return (double)dure_bf16_to_float(((const uint16_t *)array)[index]);
    case DURE_DTYPE_F16: return (double)dure_f16_to_float(((const uint16_t *)array)[index]);
    default: return 0.0;
  }
}

void dure_dtype_store(dure_dtype dtype, void *array, uint64_t index, double value) {
  switch (dtype) {
    case DURE_DTYPE_F32: ((float *)array)[index] = (float)value; break;
    case DURE_DTYPE_F64: ((double *)array)[index] = value; break;
    case DURE_DTYPE_BF16: ((uint16_t *)array)[index] = dure_bf16_from_float((float)value); break;
    case DURE_DTYPE_F16: ((uint16_t *)array)[index] = dure_f16_from_float((float)value); break;
    default: break;
  }
}
