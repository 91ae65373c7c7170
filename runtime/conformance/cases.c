// The list of cases and the helpers that describe them.
#include "runtime/conformance/cases.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void extend_name(dure_case *c, const char *format, va_list arguments) {
  size_t used = strlen(c->name);
  if (used + 1 >= sizeof(c->name)) return;
  c->name[used++] = '/';
  vsnprintf(c->name + used, sizeof(c->name) - used, format, arguments);
}

static dure_case *append(dure_case_list *list, const dure_case *content) {
  if (list->count == list->capacity) {
    size_t capacity = list->capacity > 0 ? 2 * list->capacity : 128;
    dure_case *grown = realloc(list->cases, capacity * sizeof(*grown));
    if (grown == NULL) {
      list->out_of_memory = true;
      list->spare = *content;
      return &list->spare;
    }
    list->cases = grown;
    list->capacity = capacity;
  }
  list->cases[list->count] = *content;
  return &list->cases[list->count++];
}

dure_case *dure_case_add(dure_case_list *list, dure_op op, const char *format, ...) {
  dure_case empty;
  memset(&empty, 0, sizeof(empty));
  empty.op = op;
  snprintf(empty.name, sizeof(empty.name), "%s", dure_op_get(op)->name);
  dure_case *c = append(list, &empty);
  va_list arguments;
  va_start(arguments, format);
  extend_name(c, format, arguments);
  va_end(arguments);
  return c;
}

dure_case *dure_case_copy(dure_case_list *list, const dure_case *original, const char *format, ...) {
  dure_case content = *original;  // appending may move the list that `original` lies in
  dure_case *c = append(list, &content);
  va_list arguments;
  va_start(arguments, format);
  extend_name(c, format, arguments);
  va_end(arguments);
  return c;
}

void dure_case_rename(dure_case *c, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  extend_name(c, format, arguments);
  va_end(arguments);
}

static uint64_t span(const dure_case_operand *operand) {
  uint64_t last = 0;
  for (uint32_t i = 0; i < operand->rank; i++) last += (operand->shape[i] - 1) * operand->stride[i];
  return last + 1;
}

dure_case_operand *dure_case_tensor(dure_case *c, uint32_t index, uint32_t rank, const uint64_t *shape) {
  dure_case_operand *operand = &c->operands[index];
  memset(operand, 0, sizeof(*operand));
  operand->present = true;
  operand->rank = rank;
  uint64_t stride = 1;
  for (uint32_t i = rank; i-- > 0;) {
    operand->shape[i] = shape[i];
    operand->stride[i] = stride;
    stride *= shape[i];
  }
  operand->base = index;
  operand->base_count = stride;
  operand->scale = 1;
  operand->limit = 1;
  bool is_index = dure_op_get(c->op)->operands[index].dtype == DURE_DTYPE_U32;
  operand->generator = is_index ? DURE_GENERATE_INDICES : DURE_GENERATE_NORMAL;
  return operand;
}

void dure_case_shift(dure_case_operand *operand, uint64_t before) {
  operand->offset = before;
  operand->base_count = span(operand) + 2 * before;
}

void dure_case_widen(dure_case_operand *operand, uint64_t gap) {
  uint64_t stride = operand->shape[operand->rank - 1] + gap;
  for (uint32_t i = operand->rank - 1; i-- > 0;) {
    operand->stride[i] = stride;
    stride *= operand->shape[i];
  }
  operand->base_count = stride + operand->offset;
}

void dure_case_share(dure_case *c, uint32_t index, uint32_t owner, uint64_t offset) {
  dure_case_operand *operand = &c->operands[index];
  operand->base = owner;
  operand->offset = offset;
  memcpy(operand->stride, c->operands[owner].stride, sizeof(operand->stride));
  uint64_t needed = offset + span(operand);
  if (c->operands[owner].base_count < needed) c->operands[owner].base_count = needed;
}

void dure_case_generate(dure_case_operand *operand, dure_generator generator, double scale, double shift) {
  operand->generator = generator;
  operand->scale = scale;
  operand->shift = shift;
}

void dure_case_indices(dure_case_operand *operand, uint64_t limit) {
  operand->generator = DURE_GENERATE_INDICES;
  operand->limit = limit;
}

void dure_case_sprinkle(dure_case_operand *operand, double value, uint32_t count) {
  if (operand->value_count >= DURE_CASE_VALUES) return;
  operand->values[operand->value_count++] = value;
  operand->sprinkled = operand->value_count * count;
}

void dure_case_list_values(dure_case_operand *operand, uint32_t count, const double *values) {
  operand->generator = DURE_GENERATE_LISTED;
  operand->value_count = count < DURE_CASE_VALUES ? count : DURE_CASE_VALUES;
  memcpy(operand->values, values, operand->value_count * sizeof(*values));
}

void dure_case_restricted(dure_case_list *list, const dure_case *original) {
  dure_case copy = *original;
  dure_case_copy(list, &copy, "binding=16KiB")->profile = DURE_PROFILE_SMALL_BINDING;
  dure_case_copy(list, &copy, "dispatch=200kflop")->profile = DURE_PROFILE_SMALL_DISPATCH;
}

dure_dtype dure_case_dtype(const dure_case *c, uint32_t operand) {
  const dure_operand_rule *rule = &dure_op_get(c->op)->operands[operand];
  if (c->operands[operand].dtype != DURE_DTYPE_NONE) return c->operands[operand].dtype;
  if (rule->dtype != DURE_DTYPE_NONE) return rule->dtype;
  if (rule->is_statistic) return DURE_DTYPE_F32;
  if (rule->is_any_float && c->others != DURE_DTYPE_NONE) return c->others;
  return c->storage != DURE_DTYPE_NONE ? c->storage : DURE_DTYPE_F32;
}

// ---- 16-bit storage ---------------------------------------------------------------------------------------------

static bool fits_f16(const dure_case *c) {
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    const dure_case_operand *operand = &c->operands[i];
    if (!operand->present) continue;
    if (fabs(operand->scale) > 1000 || fabs(operand->shift) > 1000) return false;
    for (uint32_t v = 0; v < operand->value_count; v++) {
      if (isfinite(operand->values[v]) && fabs(operand->values[v]) > 1000) return false;
    }
  }
  return true;
}

// Operands over one another's memory must be of one type.
static bool shares_consistently(const dure_case *c) {
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (c->operands[i].present && dure_case_dtype(c, i) != dure_case_dtype(c, c->operands[i].base)) return false;
  }
  return true;
}

static bool has_storage(const dure_op_row *row, bool *out_has_others) {
  bool found = false;
  *out_has_others = false;
  for (uint32_t i = 0; i < row->operand_count; i++) {
    const dure_operand_rule *rule = &row->operands[i];
    if (rule->dtype != DURE_DTYPE_NONE || rule->is_statistic) continue;
    found = true;
    *out_has_others = *out_has_others || rule->is_any_float;
  }
  return found;
}

// Whether the case itself says types.
static bool has_types(const dure_case *c) {
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (c->operands[i].present && c->operands[i].dtype != DURE_DTYPE_NONE) return true;
  }
  return false;
}

// Copies of the cases from `first` on: bf16 and f16 in turn, with outputs of a type of their own now f32, now not.
static void add_16_bit(dure_case_list *list, size_t first) {
  const size_t end = list->count, every = list->full ? 1 : 3;
  size_t added = 0;
  for (size_t i = first; i < end; i += every) {
    dure_case original = list->cases[i];
    bool has_others = false;
    if (has_types(&original) || original.storage != DURE_DTYPE_NONE || original.others != DURE_DTYPE_NONE ||
        !has_storage(dure_op_get(original.op), &has_others))
      continue;
    original.storage = added % 2 == 0 || !fits_f16(&original) ? DURE_DTYPE_BF16 : DURE_DTYPE_F16;
    // Sums that small limits cut into parts are rounded after each part.
    const bool others_are_f32 =
        has_others && (added % 4 < 2 || original.profile != DURE_PROFILE_NORMAL || original.sums_over_chunks);
    if (others_are_f32) original.others = DURE_DTYPE_F32;
    if (!shares_consistently(&original)) continue;
    dure_case_copy(list, &original, "%s%s", dure_dtype_name(original.storage), others_are_f32 ? "+f32" : "");
    added++;
  }
}

dure_status dure_cases_collect(bool full, dure_case_list *out_list) {
  static void (*const rows[DURE_OP_COUNT])(dure_case_list * list) = {
#define DURE_OP(name, ...) dure_cases_##name,
#include "runtime/ops.def"
#undef DURE_OP
  };
  memset(out_list, 0, sizeof(*out_list));
  out_list->full = full;
  for (size_t i = 0; i < DURE_OP_COUNT; i++) {
    size_t first = out_list->count;
    rows[i](out_list);
    if (!out_list->out_of_memory) add_16_bit(out_list, first);
  }
  if (!out_list->out_of_memory) return NULL;
  dure_cases_free(out_list);
  return dure_fail(DURE_OUT_OF_MEMORY, "no memory left for the list of conformance cases");
}

void dure_cases_free(dure_case_list *list) {
  free(list->cases);
  memset(list, 0, sizeof(*list));
}
