#include "runtime/conformance/case_program.h"

#include <stdlib.h>
#include <string.h>

static bool is_whole_base(const dure_case_operand *operand) {
  uint64_t expected = 1;
  for (uint32_t i = operand->rank; i-- > 0;) {
    if (operand->stride[i] != expected) return false;
    expected *= operand->shape[i];
  }
  return operand->offset == 0 && expected == operand->base_count;
}

static void record_bases(const dure_case *c, dure_program *program, dure_case_program *out_program) {
  const dure_op_row *row = dure_op_get(c->op);
  for (uint32_t i = 0; i < row->operand_count; i++) {
    const dure_case_operand *operand = &c->operands[i];
    if (!operand->present || operand->base != i) continue;
    dure_lifetime lifetime = i < row->input_count ? DURE_LIFETIME_INPUT : DURE_LIFETIME_OUTPUT;
    bool whole = is_whole_base(operand);
    out_program->bases[i] =
        dure_tensor_external(program, row->operands[i].name, dure_case_dtype(c, i), whole ? operand->rank : 1,
                             whole ? operand->shape : &operand->base_count, lifetime);
  }
}

static void record_call(const dure_case *c, dure_program *program, const dure_case_program *bases) {
  const dure_op_row *row = dure_op_get(c->op);
  dure_tensor operands[DURE_MAX_OPERANDS] = {DURE_ABSENT};
  for (uint32_t i = 0; i < row->operand_count; i++) {
    const dure_case_operand *operand = &c->operands[i];
    if (!operand->present) continue;
    operands[i] = bases->bases[operand->base];
    // In place, or alone in its base: no view is needed.
    if (is_whole_base(operand) && is_whole_base(&c->operands[operand->base])) continue;
    operands[i] =
        dure_tensor_view(program, operands[i], operand->rank, operand->shape, operand->stride, operand->offset);
  }
  dure_program_call(program, c->op, operands, &c->attributes, c->accumulate);
}

dure_status dure_case_compile(const dure_case *c, dure_device *device, const dure_compile_options *options,
                              dure_case_program *out_program) {
  memset(out_program, 0, sizeof(*out_program));
  dure_program *program = dure_program_create();
  if (program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "the host has no memory for a program");
  record_bases(c, program, out_program);
  record_call(c, program, out_program);
  dure_status status = dure_program_compile(program, device, NULL, 0, options, &out_program->executable);
  dure_program_destroy(program);
  return status;
}

// ---- memory ------------------------------------------------------------------------------------------------------

static bool is_16_bit(const dure_case *c, uint32_t base) { return dure_dtype_size(dure_case_dtype(c, base)) == 2; }

// The base of a 16-bit operand as the device holds it; released with free().
static dure_status narrow_base(const dure_case *c, uint32_t base, const uint32_t *values, uint16_t **out_narrow) {
  uint64_t count = c->operands[base].base_count;
  *out_narrow = malloc((size_t)count * sizeof(uint16_t));
  if (*out_narrow == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "the host has no memory for this case's operands");
  for (uint64_t i = 0; values != NULL && i < count; i++) {
    dure_dtype_store(dure_case_dtype(c, base), *out_narrow, i, dure_dtype_load(DURE_DTYPE_F32, values, i));
  }
  return NULL;
}

static dure_status write_narrow(const dure_case *c, const dure_case_program *program, dure_stream *stream,
                                uint32_t base, const uint32_t *values) {
  uint16_t *narrow = NULL;
  DURE_TRY(narrow_base(c, base, values, &narrow));
  dure_status status = dure_executable_write(program->executable, stream, program->bases[base], narrow,
                                             c->operands[base].base_count * sizeof(*narrow));
  free(narrow);
  return status;
}

static dure_status read_narrow(const dure_case *c, const dure_case_program *program, dure_stream *stream, uint32_t base,
                               uint32_t *out_values) {
  uint16_t *narrow = NULL;
  uint64_t count = c->operands[base].base_count;
  DURE_TRY(narrow_base(c, base, NULL, &narrow));
  dure_status status =
      dure_executable_read(program->executable, stream, program->bases[base], narrow, count * sizeof(*narrow));
  for (uint64_t i = 0; status == NULL && i < count; i++) {
    dure_dtype_store(DURE_DTYPE_F32, out_values, i, dure_dtype_load(dure_case_dtype(c, base), narrow, i));
  }
  free(narrow);
  return status;
}

dure_status dure_case_write(const dure_case *c, const dure_case_program *program, dure_stream *stream,
                            const dure_case_data *data) {
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (data->bases[i] == NULL) continue;
    if (is_16_bit(c, i)) {
      DURE_TRY(write_narrow(c, program, stream, i, data->bases[i]));
      continue;
    }
    uint64_t size = c->operands[i].base_count * dure_dtype_size(dure_case_dtype(c, i));
    DURE_TRY(dure_executable_write(program->executable, stream, program->bases[i], data->bases[i], size));
  }
  return NULL;
}

dure_status dure_case_read(const dure_case *c, const dure_case_program *program, dure_stream *stream,
                           dure_case_data *data) {
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (data->bases[i] == NULL) continue;
    if (is_16_bit(c, i)) {
      DURE_TRY(read_narrow(c, program, stream, i, data->bases[i]));
      continue;
    }
    uint64_t size = c->operands[i].base_count * dure_dtype_size(dure_case_dtype(c, i));
    DURE_TRY(dure_executable_read(program->executable, stream, program->bases[i], data->bases[i], size));
  }
  return NULL;
}
