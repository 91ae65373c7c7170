// Element types of tensors and files.
#ifndef DURE_RUNTIME_DTYPE_H_
#define DURE_RUNTIME_DTYPE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum dure_dtype {
  DURE_DTYPE_NONE = 0,
  DURE_DTYPE_F32,
  DURE_DTYPE_BF16,
  DURE_DTYPE_F16,
  DURE_DTYPE_F64,  // the reference device only: finite differences need it
  DURE_DTYPE_U32,
  DURE_DTYPE_U16,
  DURE_DTYPE_U8,
} dure_dtype;

size_t dure_dtype_size(dure_dtype dtype);  // bytes an element
bool dure_dtype_is_float(dure_dtype dtype);
const char *dure_dtype_name(dure_dtype dtype);  // "f32", "bf16", ...

// Conversions of 16-bit floats; to 16 bits they round to nearest even and keep NaN a NaN.
float dure_bf16_to_float(uint16_t bits);
uint16_t dure_bf16_from_float(float value);
float dure_f16_to_float(uint16_t bits);
uint16_t dure_f16_from_float(float value);

// Element `index` of an array of any float dtype, as a double, and back.
double dure_dtype_load(dure_dtype dtype, const void *array, uint64_t index);
void dure_dtype_store(dure_dtype dtype, void *array, uint64_t index, double value);

#endif  // DURE_RUNTIME_DTYPE_H_
