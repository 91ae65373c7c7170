// How operands are cut into parts that can be bound, and calls into parts that end soon.
#include "runtime/op_cut.h"

uint64_t dure_cut_usable_binding(const dure_limits *limits) {
  return limits->max_binding_bytes > 2 * limits->offset_alignment ? limits->max_binding_bytes - limits->offset_alignment
                                                                  : 1;
}

uint64_t dure_cut_parts_for_binding(const dure_operand *operand, uint64_t units, const dure_limits *limits) {
  if (dure_operand_span(operand) <= dure_cut_usable_binding(limits)) return 1;
  uint64_t unit_bytes = dure_cut_ceil_divide(dure_operand_span(operand), units);
  return dure_cut_ceil_divide(units, dure_cut_max(1, dure_cut_usable_binding(limits) / unit_bytes));
}

uint64_t dure_cut_parts_for_work(const dure_op_call *call, const dure_limits *limits) {
  double flops = dure_op_get(call->op)->cost(call).flops;
  if (!(flops > limits->max_dispatch_flops)) return 1;
  double parts = flops / limits->max_dispatch_flops;
  return parts > 1e9 ? 1000000000u : (uint64_t)parts + 1;
}

uint64_t dure_cut_part_size(uint64_t units, uint64_t parts) {
  if (parts <= 1) return units;
  uint64_t size = dure_cut_ceil_divide(units, parts);
  return size >= DURE_CUT_GRAIN ? size / DURE_CUT_GRAIN * DURE_CUT_GRAIN : size;
}

void dure_cut_axis(dure_operand *operand, uint32_t axis, uint64_t first, uint64_t count) {
  operand->offset += first * operand->stride[axis] * dure_dtype_size(operand->dtype);
  operand->shape[axis] = count;
}

dure_status dure_cut_rows(const dure_op_call *call, const dure_limits *limits, const char *roles, dure_expand_sink sink,
                          void *context) {
  uint64_t rows = 0, parts = dure_cut_parts_for_work(call, limits);
  for (uint32_t i = 0; roles[i] != '\0'; i++) {
    const dure_operand *operand = &call->operands[i];
    if (!dure_operand_is_present(operand) || (roles[i] != 'r' && roles[i] != 'v')) continue;
    rows = roles[i] == 'r' ? dure_operand_rows(operand) : dure_operand_count(operand);
    parts = dure_cut_max(parts, dure_cut_parts_for_binding(operand, rows, limits));
  }
  if (parts <= 1 || rows <= 1) return sink(context, call);
  uint64_t size = dure_cut_max(1, dure_cut_part_size(rows, parts));

  for (uint64_t first = 0; first < rows; first += size) {
    uint64_t count = rows - first < size ? rows - first : size;
    dure_op_call part = *call;
    for (uint32_t i = 0; roles[i] != '\0'; i++) {
      dure_operand *operand = &part.operands[i];
      if (!dure_operand_is_present(operand)) continue;
      if (roles[i] == 'r') {
        uint64_t flat[2] = {rows, operand->rank == 0 ? 1 : operand->shape[operand->rank - 1]};
        dure_operand_set_shape(operand, 2, flat);
        dure_cut_axis(operand, 0, first, count);
      } else if (roles[i] == 'v') {
        dure_operand_set_shape(operand, 1, &rows);
        dure_cut_axis(operand, 0, first, count);
      } else if (roles[i] == 's' && first > 0) {
        part.accumulate |= 1u << i;
      }
    }
    DURE_TRY(sink(context, &part));
  }
  return NULL;
}
