// Access to strided operands of any float type as doubles.
#include <stdlib.h>
#include <string.h>

#include "runtime/reference/reference.h"

static void *element_zero(const dure_operand *operand) {
  return (unsigned char *)operand->buffer->mapped + operand->offset;
}

uint64_t dure_reference_width(const dure_operand *operand) {
  return operand->rank > 0 ? operand->shape[operand->rank - 1] : 1;
}

// Where element `index` lies, in elements counted from element 0.
static uint64_t place_of(const dure_operand *operand, uint64_t index) {
  uint64_t place = 0;
  for (uint32_t axis = operand->rank; axis-- > 0;) {
    place += index % operand->shape[axis] * operand->stride[axis];
    index /= operand->shape[axis];
  }
  return place;
}

// How many of the `count` elements from `first` on lie one after the other; their place goes to `out_place`.
static uint64_t run_of(const dure_operand *operand, uint64_t first, uint64_t count, uint64_t *out_place) {
  if (dure_operand_is_contiguous(operand)) {
    *out_place = first;
    return count;
  }
  uint64_t left_in_row = dure_reference_width(operand) - first % dure_reference_width(operand);
  *out_place = place_of(operand, first);
  return count < left_in_row ? count : left_in_row;
}

static void load_run(dure_dtype dtype, const void *data, uint64_t place, uint64_t count, double *out_values) {
  if (dtype == DURE_DTYPE_F32) {
    const float *values = (const float *)data + place;
    for (uint64_t i = 0; i < count; i++) out_values[i] = (double)values[i];
  } else if (dtype == DURE_DTYPE_F64) {
    memcpy(out_values, (const double *)data + place, count * sizeof(double));
  } else {
    for (uint64_t i = 0; i < count; i++) out_values[i] = dure_dtype_load(dtype, data, place + i);
  }
}

void dure_reference_load(const dure_operand *operand, uint64_t first, uint64_t count, double *out_values) {
  while (count > 0) {
    uint64_t place = 0, run = run_of(operand, first, count, &place);
    load_run(operand->dtype, element_zero(operand), place, run, out_values);
    first += run;
    count -= run;
    out_values += run;
  }
}

static void store_run(dure_dtype dtype, void *data, uint64_t place, uint64_t count, const double *values,
                      bool accumulate) {
  if (dtype == DURE_DTYPE_F32 && !accumulate) {
    float *target = (float *)data + place;
    for (uint64_t i = 0; i < count; i++) target[i] = (float)values[i];
    return;
  }
  for (uint64_t i = 0; i < count; i++) {
    double before = accumulate ? dure_dtype_load(dtype, data, place + i) : 0;
    dure_dtype_store(dtype, data, place + i, accumulate ? before + values[i] : values[i]);
  }
}

void dure_reference_store(const dure_operand *operand, uint64_t first, uint64_t count, const double *values,
                          bool accumulate) {
  while (count > 0) {
    uint64_t place = 0, run = run_of(operand, first, count, &place);
    store_run(operand->dtype, element_zero(operand), place, run, values, accumulate);
    first += run;
    count -= run;
    values += run;
  }
}

double dure_reference_get(const dure_operand *operand, uint64_t index) {
  return dure_dtype_load(operand->dtype, element_zero(operand), place_of(operand, index));
}

void dure_reference_put(const dure_operand *operand, uint64_t index, double value, bool accumulate) {
  void *data = element_zero(operand);
  uint64_t place = place_of(operand, index);
  if (accumulate) value += dure_dtype_load(operand->dtype, data, place);
  dure_dtype_store(operand->dtype, data, place, value);
}

uint32_t dure_reference_get_u32(const dure_operand *operand, uint64_t index) {
  return ((const uint32_t *)element_zero(operand))[place_of(operand, index)];
}

void dure_reference_put_u32(const dure_operand *operand, uint64_t index, uint32_t value) {
  ((uint32_t *)element_zero(operand))[place_of(operand, index)] = value;
}

bool dure_reference_accumulates(const dure_op_call *call, uint32_t index) {
  return (call->accumulate >> index & 1u) != 0;
}

dure_status dure_reference_scratch(uint64_t count, double **out_values) {
  *out_values = NULL;
  if (count > SIZE_MAX / sizeof(double))
    return dure_fail(DURE_OUT_OF_MEMORY, "an operand is too large for this machine");
  *out_values = malloc((count > 0 ? (size_t)count : 1) * sizeof(double));
  if (*out_values == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY, "the reference device needs %llu more bytes of memory than there are",
                     (unsigned long long)(count * sizeof(double)));
  }
  return NULL;
}
