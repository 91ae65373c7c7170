// The op table made from ops.def, and the checks common to all rows.
#include "runtime/ops.h"

#include <stdio.h>
#include <string.h>
#include <threads.h>

#include "runtime/op_rules.h"

// ---- operands --------------------------------------------------------------------------------------------------

bool dure_operand_is_present(const dure_operand *operand) { return operand->dtype != DURE_DTYPE_NONE; }

uint64_t dure_operand_count(const dure_operand *operand) {
  if (!dure_operand_is_present(operand)) return 0;
  uint64_t count = 1;
  for (uint32_t i = 0; i < operand->rank; i++) count *= operand->shape[i];
  return count;
}

uint64_t dure_operand_rows(const dure_operand *operand) {
  if (!dure_operand_is_present(operand) || operand->rank == 0) return dure_operand_count(operand);
  uint64_t rows = 1;
  for (uint32_t i = 0; i + 1 < operand->rank; i++) rows *= operand->shape[i];
  return rows;
}

bool dure_operand_is_contiguous(const dure_operand *operand) {
  uint64_t expected = 1;
  for (uint32_t i = operand->rank; i-- > 0;) {
    if (operand->shape[i] != 1 && operand->stride[i] != expected) return false;
    expected *= operand->shape[i];
  }
  return true;
}

uint64_t dure_operand_span(const dure_operand *operand) {
  if (dure_operand_count(operand) == 0) return 0;
  uint64_t last = 0;
  for (uint32_t i = 0; i < operand->rank; i++) last += (operand->shape[i] - 1) * operand->stride[i];
  return (last + 1) * dure_dtype_size(operand->dtype);
}

void dure_operand_set_shape(dure_operand *operand, uint32_t rank, const uint64_t *shape) {
  uint64_t stride = 1;
  operand->rank = rank;
  for (uint32_t i = rank; i-- > 0;) {
    operand->shape[i] = shape[i];
    operand->stride[i] = stride;
    stride *= shape[i];
  }
}

// ---- table -----------------------------------------------------------------------------------------------------

static const char *const signatures[DURE_OP_COUNT] = {
#define DURE_OP(name, operands, ...) operands,
#include "runtime/ops.def"
#undef DURE_OP
};

static dure_op_row rows[DURE_OP_COUNT] = {
#define DURE_OP(row_name, row_operands, row_attributes, row_shape, row_gradient, row_cost, row_expand) \
  {.name = #row_name,                                                                                  \
   .shape = dure_shape_##row_shape,                                                                    \
   .gradient = dure_gradient_##row_gradient,                                                           \
   .cost = dure_cost_##row_cost,                                                                       \
   .expand = dure_expand_##row_expand},
#include "runtime/ops.def"
#undef DURE_OP
};

static once_flag rows_parsed = ONCE_FLAG_INIT;

static bool type_is(const char *word, size_t length, const char *type) {
  return length == strlen(type) && memcmp(word, type, length) == 0;
}

// Reads one word of a signature ("+~c:any", "labels:u32", "bias?") into a rule; '?' stands after the name or the type.
static void parse_operand(const char *word, size_t length, bool is_output, dure_operand_rule *rule) {
  rule->access = is_output ? DURE_WRITE : DURE_READ;
  while (length > 0 && strchr("+&~!", *word) != NULL) {
    if (*word == '+') rule->can_accumulate = true;
    if (*word == '&') rule->access = DURE_READ_WRITE;
    if (*word == '~') rule->may_be_strided = true;
    if (*word == '!') rule->is_scratch = true;
    word++;
    length--;
  }
  if (length > 0 && word[length - 1] == '?') {
    rule->is_optional = true;
    length--;
  }
  const char *colon = memchr(word, ':', length);
  if (colon != NULL) {
    size_t type_length = length - (size_t)(colon - word) - 1;
    if (type_is(colon + 1, type_length, "u32")) rule->dtype = DURE_DTYPE_U32;
    if (type_is(colon + 1, type_length, "u8")) rule->dtype = DURE_DTYPE_U8;
    if (type_is(colon + 1, type_length, "f16")) rule->dtype = DURE_DTYPE_F16;
    rule->is_statistic = type_is(colon + 1, type_length, "f32");
    const bool is_any8 = type_is(colon + 1, type_length, "any8");
    rule->may_be_blocks = is_any8 || type_is(colon + 1, type_length, "or8");
    rule->is_any_float = is_any8 || type_is(colon + 1, type_length, "any");
    length = (size_t)(colon - word);
  }
  if (length > 0 && word[length - 1] == '?') {
    rule->is_optional = true;
    length--;
  }
  snprintf(rule->name, sizeof(rule->name), "%.*s", (int)length, word);
}

static void parse_rows(void) {
  for (size_t i = 0; i < DURE_OP_COUNT; i++) {
    dure_op_row *row = &rows[i];
    bool is_output = false;
    for (const char *cursor = signatures[i]; *cursor != '\0';) {
      size_t length = strcspn(cursor, " ");
      if (length == 2 && memcmp(cursor, "->", 2) == 0) {
        is_output = true;
        row->input_count = row->operand_count;
      } else if (length > 0) {
        parse_operand(cursor, length, is_output, &row->operands[row->operand_count++]);
      }
      cursor += length;
      while (*cursor == ' ') cursor++;
    }
  }
}

const dure_op_row *dure_op_get(dure_op op) {
  call_once(&rows_parsed, parse_rows);
  return &rows[op];
}

dure_op dure_op_find(const char *name) {
  for (size_t i = 0; i < DURE_OP_COUNT; i++) {
    if (strcmp(rows[i].name, name) == 0) return (dure_op)i;
  }
  return DURE_OP_COUNT;
}

// ---- descriptions ----------------------------------------------------------------------------------------------

static size_t append_shape(char *text, size_t size, size_t used, const dure_operand *operand) {
  if (used >= size) return used;
  used += (size_t)snprintf(text + used, size - used, " [");
  for (uint32_t i = 0; i < operand->rank && used < size; i++) {
    used +=
        (size_t)snprintf(text + used, size - used, "%s%llu", i == 0 ? "" : ",", (unsigned long long)operand->shape[i]);
  }
  if (used < size) used += (size_t)snprintf(text + used, size - used, "]");
  return used;
}

void dure_op_describe(const dure_op_call *call, char *out_text, size_t size) {
  const dure_op_row *row = dure_op_get(call->op);
  size_t used = (size_t)snprintf(out_text, size, "%s", row->name);
  if (call->op == DURE_OP_matmul && used < size) {
    used += (size_t)snprintf(out_text + used, size - used, " %c%c", call->attributes.matmul.transpose_a ? 'T' : 'N',
                             call->attributes.matmul.transpose_b ? 'T' : 'N');
  }
  for (uint32_t i = 0; i < row->operand_count; i++) {
    if (i == row->input_count && used < size) used += (size_t)snprintf(out_text + used, size - used, " ->");
    if (dure_operand_is_present(&call->operands[i])) used = append_shape(out_text, size, used, &call->operands[i]);
  }
}

// ---- checks ----------------------------------------------------------------------------------------------------

// The call's storage type: of the first float operand that has no type of its own, else of the first float operand.
static dure_dtype storage_type(const dure_op_call *call, const dure_op_row *row) {
  dure_dtype found = DURE_DTYPE_F32;
  bool is_found = false;
  for (uint32_t i = 0; i < row->operand_count; i++) {
    const dure_operand_rule *rule = &row->operands[i];
    if (rule->dtype != DURE_DTYPE_NONE || !dure_operand_is_present(&call->operands[i])) continue;
    if (!rule->is_statistic && !rule->is_any_float) return call->operands[i].dtype;
    if (!is_found && dure_dtype_is_float(call->operands[i].dtype)) found = call->operands[i].dtype;
    is_found = is_found || dure_dtype_is_float(call->operands[i].dtype);
  }
  return found;
}

// The type that an operand must have, or gets when it is made.
static dure_dtype expected_type(const dure_operand_rule *rule, dure_dtype storage) {
  if (rule->dtype != DURE_DTYPE_NONE) return rule->dtype;
  if (rule->is_statistic) return storage == DURE_DTYPE_F64 ? DURE_DTYPE_F64 : DURE_DTYPE_F32;
  return storage;
}

static bool type_agrees(const dure_operand_rule *rule, dure_dtype given, dure_dtype expected) {
  if (rule->may_be_blocks && given == DURE_DTYPE_U8) return true;
  return rule->is_any_float ? dure_dtype_is_float(given) : given == expected;
}

static dure_status check_operand(const dure_op_call *call, const dure_op_row *row, uint32_t index, dure_dtype storage) {
  const dure_operand *operand = &call->operands[index];
  const dure_operand_rule *rule = &row->operands[index];
  if (!dure_operand_is_present(operand)) {
    if (rule->is_optional || (rule->access == DURE_WRITE)) return NULL;
    return dure_fail(DURE_INVALID_ARGUMENT, "%s: operand '%s' is missing", row->name, rule->name);
  }
  dure_dtype expected = expected_type(rule, storage);
  if (!type_agrees(rule, operand->dtype, expected)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%s: operand '%s' is %s, expected %s", row->name, rule->name,
                     dure_dtype_name(operand->dtype), rule->is_any_float ? "a float type" : dure_dtype_name(expected));
  }
  if (dure_operand_count(operand) == 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "%s: operand '%s' is empty", row->name, rule->name);
  if (operand->rank > 0 && operand->shape[operand->rank - 1] != 1 && operand->stride[operand->rank - 1] != 1) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%s: the last dimension of operand '%s' is not contiguous", row->name,
                     rule->name);
  }
  if (!rule->may_be_strided && !dure_operand_is_contiguous(operand)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%s: operand '%s' must be contiguous", row->name, rule->name);
  }
  return NULL;
}

static dure_status check_given_output(const dure_op_row *row, const dure_operand_rule *rule, const dure_operand *given,
                                      const dure_operand *expected) {
  bool agrees = given->rank == expected->rank;
  for (uint32_t i = 0; agrees && i < given->rank; i++) agrees = given->shape[i] == expected->shape[i];
  if (agrees) return NULL;
  // The same elements under another shape are as good when both are contiguous.
  if (dure_operand_is_contiguous(given) && dure_operand_count(given) == dure_operand_count(expected)) return NULL;
  char given_text[96], expected_text[96];
  append_shape(given_text, sizeof(given_text), 0, given);
  append_shape(expected_text, sizeof(expected_text), 0, expected);
  return dure_fail(DURE_INVALID_ARGUMENT, "%s: output '%s' is%s, expected%s", row->name, rule->name, given_text,
                   expected_text);
}

dure_status dure_op_check(dure_op_call *call) {
  const dure_op_row *row = dure_op_get(call->op);
  dure_dtype storage = storage_type(call, row);
  if (!dure_dtype_is_float(storage)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%s: expected a float type, found %s", row->name, dure_dtype_name(storage));
  }
  for (uint32_t i = 0; i < row->operand_count; i++) DURE_TRY(check_operand(call, row, i, storage));

  dure_op_call inferred = *call;
  for (uint32_t i = row->input_count; i < row->operand_count; i++) {
    if (row->operands[i].access == DURE_READ_WRITE) continue;
    memset(&inferred.operands[i], 0, sizeof(inferred.operands[i]));
    inferred.operands[i].dtype = expected_type(&row->operands[i], storage);
  }
  // fill has no inputs: its shape rule needs the output that was given.
  if (row->input_count == 0) inferred.operands[0] = call->operands[0];
  dure_status status = row->shape(&inferred);
  if (status != NULL) {
    char text[256];
    dure_op_describe(call, text, sizeof(text));
    return dure_status_prefix(status, "%s", text);
  }
  for (uint32_t i = row->input_count; i < row->operand_count; i++) {
    const dure_operand_rule *rule = &row->operands[i];
    if (rule->access == DURE_READ_WRITE) continue;
    if (dure_operand_is_present(&call->operands[i])) {
      DURE_TRY(check_given_output(row, rule, &call->operands[i], &inferred.operands[i]));
    } else if (!rule->is_optional) {
      call->operands[i] = inferred.operands[i];
    }
  }
  for (uint32_t i = 0; i < row->operand_count; i++) {
    if ((call->accumulate >> i & 1u) != 0 && !row->operands[i].can_accumulate) {
      return dure_fail(DURE_INVALID_ARGUMENT, "%s: operand '%s' cannot be added to", row->name, row->operands[i].name);
    }
  }
  return NULL;
}

dure_status dure_op_expand(const dure_op_call *call, const dure_limits *limits, dure_expand_sink sink, void *context) {
  const dure_op_row *row = dure_op_get(call->op);
  if (row->expand == NULL) return sink(context, call);
  return row->expand(call, limits, sink, context);
}
