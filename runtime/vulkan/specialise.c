#include "runtime/vulkan/specialise.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// Numbers of the SPIR-V specification, section 3.
enum {
  HEADER_WORDS = 5,
  BOUND_WORD = 3,
  OP_TYPE_BOOL = 20,
  OP_TYPE_INT = 21,
  OP_CONSTANT_TRUE = 41,
  OP_CONSTANT_FALSE = 42,
  OP_CONSTANT = 43,
  OP_CONSTANT_COMPOSITE = 44,
  OP_SPEC_CONSTANT_TRUE = 48,
  OP_SPEC_CONSTANT_FALSE = 49,
  OP_SPEC_CONSTANT = 50,
  OP_SPEC_CONSTANT_COMPOSITE = 51,
  OP_SPEC_CONSTANT_OP = 52,
  OP_FUNCTION = 54,
  OP_DECORATE = 71,
  DECORATION_SPEC_ID = 1,
};

typedef enum id_kind { ID_OTHER, ID_BOOL_TYPE, ID_INT_TYPE, ID_VALUE } id_kind;

typedef struct id_fact {
  id_kind kind;
  uint32_t value;       // of an ID_VALUE: a bool or a 32-bit integer
  bool is_specialised;  // decorated with SpecId
  uint32_t constant;    // its number
} id_fact;

typedef struct rewriting {
  id_fact *ids;
  uint32_t bound;
  const uint32_t *constants;
  size_t count;
  uint32_t *out;
  size_t used;
} rewriting;

static uint32_t operation_of(uint32_t word) { return word & 0xffffu; }

static void emit(rewriting *r, uint32_t operation, const uint32_t *words, uint32_t word_count) {
  r->out[r->used] = word_count << 16 | operation;
  memcpy(r->out + r->used + 1, words + 1, (word_count - 1) * sizeof(*words));
  r->used += word_count;
}

// A bool or 32-bit integer constant `id` of `type`.
static void emit_value(rewriting *r, uint32_t type, uint32_t id, uint32_t value) {
  const bool is_bool = r->ids[type].kind == ID_BOOL_TYPE;
  const uint32_t words[4] = {0, type, id, value};
  emit(r, !is_bool ? OP_CONSTANT : value != 0 ? OP_CONSTANT_TRUE : OP_CONSTANT_FALSE, words, is_bool ? 3 : 4);
  r->ids[id].kind = ID_VALUE;
  r->ids[id].value = is_bool ? value != 0 : value;
}

// Division by 0 is undefined, and left to the driver.
static bool evaluate(uint32_t operation, const uint32_t *v, uint32_t operand_count, uint32_t *out_value) {
  const uint32_t a = v[0], b = operand_count > 1 ? v[1] : 0;
  switch (operation) {
    case 128: *out_value = a + b; return true;                 // OpIAdd
    case 130: *out_value = a - b; return true;                 // OpISub
    case 132: *out_value = a * b; return true;                 // OpIMul
    case 134: *out_value = b != 0 ? a / b : 0; return b != 0;  // OpUDiv
    case 137: *out_value = b != 0 ? a % b : 0; return b != 0;  // OpUMod
    case 164:
    case 170: *out_value = a == b; return true;  // OpLogicalEqual, OpIEqual
    case 165:
    case 171: *out_value = a != b; return true;                           // OpLogicalNotEqual, OpINotEqual
    case 166: *out_value = a != 0 || b != 0; return true;                 // OpLogicalOr
    case 167: *out_value = a != 0 && b != 0; return true;                 // OpLogicalAnd
    case 168: *out_value = a == 0; return true;                           // OpLogicalNot
    case 169: *out_value = a != 0 ? b : v[2]; return operand_count == 3;  // OpSelect
    case 172: *out_value = a > b; return true;                            // OpUGreaterThan
    case 174: *out_value = a >= b; return true;                           // OpUGreaterThanEqual
    case 176: *out_value = a < b; return true;                            // OpULessThan
    case 178: *out_value = a <= b; return true;                           // OpULessThanEqual
    case 194: *out_value = b < 32 ? a >> b : 0; return b < 32;            // OpShiftRightLogical
    case 196: *out_value = b < 32 ? a << b : 0; return b < 32;            // OpShiftLeftLogical
    case 197: *out_value = a | b; return true;                            // OpBitwiseOr
    case 199: *out_value = a & b; return true;                            // OpBitwiseAnd
    default: return false;
  }
}

// words: opcode, type, id, operation, operands
static void rewrite_operation(rewriting *r, const uint32_t *words, uint32_t word_count) {
  const uint32_t type = words[1], id = words[2], operand_count = word_count - 4;
  uint32_t values[3] = {0}, result = 0;
  bool is_known = operand_count >= 1 && operand_count <= 3 && r->ids[type].kind != ID_OTHER;
  for (uint32_t i = 0; is_known && i < operand_count; i++) {
    is_known = words[4 + i] < r->bound && r->ids[words[4 + i]].kind == ID_VALUE;
    if (is_known) values[i] = r->ids[words[4 + i]].value;
  }
  if (is_known && evaluate(words[3], values, operand_count, &result)) {
    emit_value(r, type, id, result);
  } else {
    emit(r, OP_SPEC_CONSTANT_OP, words, word_count);
  }
}

// The default, or what was given for it.
static uint32_t value_of(const rewriting *r, uint32_t id, uint32_t otherwise) {
  const id_fact *fact = &r->ids[id];
  return fact->is_specialised && fact->constant < r->count ? r->constants[fact->constant] : otherwise;
}

static void rewrite(rewriting *r, const uint32_t *words, uint32_t word_count) {
  const uint32_t operation = operation_of(words[0]);
  switch (operation) {
    case OP_TYPE_BOOL: r->ids[words[1]].kind = ID_BOOL_TYPE; break;
    case OP_TYPE_INT:
      if (words[2] == 32) r->ids[words[1]].kind = ID_INT_TYPE;
      break;
    case OP_DECORATE:
      if (words[2] != DECORATION_SPEC_ID) break;
      r->ids[words[1]].is_specialised = true;
      r->ids[words[1]].constant = words[3];
      return;  // what is constant has no number
    case OP_CONSTANT_TRUE:
    case OP_CONSTANT_FALSE: emit_value(r, words[1], words[2], operation == OP_CONSTANT_TRUE); return;
    case OP_SPEC_CONSTANT_TRUE:
    case OP_SPEC_CONSTANT_FALSE:
      emit_value(r, words[1], words[2], value_of(r, words[2], operation == OP_SPEC_CONSTANT_TRUE));
      return;
    case OP_CONSTANT:
    case OP_SPEC_CONSTANT: {
      if (word_count != 4) break;
      uint32_t constant[4] = {0, words[1], words[2], words[3]};
      if (operation == OP_SPEC_CONSTANT) constant[3] = value_of(r, words[2], words[3]);
      if (r->ids[words[1]].kind == ID_INT_TYPE) r->ids[words[2]] = (id_fact){.kind = ID_VALUE, .value = constant[3]};
      emit(r, OP_CONSTANT, constant, word_count);
      return;
    }
    case OP_SPEC_CONSTANT_COMPOSITE: emit(r, OP_CONSTANT_COMPOSITE, words, word_count); return;
    case OP_SPEC_CONSTANT_OP: rewrite_operation(r, words, word_count); return;
    default: break;
  }
  emit(r, operation, words, word_count);
}

dure_status dure_vulkan_specialise(const uint32_t *words, size_t size, const uint32_t *constants, size_t count,
                                   uint32_t **out_words, size_t *out_size) {
  *out_words = NULL;
  *out_size = 0;
  const size_t word_total = size / sizeof(*words);
  if (word_total < HEADER_WORDS) return dure_fail(DURE_INTERNAL, "a kernel of %zu bytes is no SPIR-V", size);
  rewriting r = {.bound = words[BOUND_WORD], .constants = constants, .count = count, .used = HEADER_WORDS};
  r.ids = calloc((size_t)r.bound + 1, sizeof(*r.ids));
  r.out = malloc(size);
  if (r.ids == NULL || r.out == NULL) {
    free(r.ids);
    free(r.out);
    return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to specialise a kernel");
  }
  memcpy(r.out, words, HEADER_WORDS * sizeof(*words));
  size_t at = HEADER_WORDS;
  while (at < word_total && operation_of(words[at]) != OP_FUNCTION && words[at] >> 16 != 0) {
    rewrite(&r, words + at, words[at] >> 16);
    at += words[at] >> 16;
  }
  memcpy(r.out + r.used, words + at, (word_total - at) * sizeof(*words));
  free(r.ids);
  *out_words = r.out;
  *out_size = (r.used + word_total - at) * sizeof(*words);
  return NULL;
}
