// Making a case's inputs and running the oracle over them.
#include "runtime/conformance/case_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/random.h"
#include "runtime/reference/reference.h"

// Random streams: one for the values of each operand, and one for the places of sprinkled values.
enum { STREAM_VALUES = 0x1000, STREAM_PLACES = 0x2000 };

void dure_case_data_free(dure_case_data *data) {
  for (size_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    free(data->bases[i]);
    data->bases[i] = NULL;
  }
}

static bool owns_base(const dure_case *c, uint32_t index) {
  return c->operands[index].present && c->operands[index].base == index;
}

static dure_status allocate(const dure_case *c, dure_case_data *out_data) {
  memset(out_data, 0, sizeof(*out_data));
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (!owns_base(c, i)) continue;
    out_data->bases[i] = malloc((size_t)c->operands[i].base_count * sizeof(uint32_t));
    if (out_data->bases[i] != NULL) continue;
    dure_case_data_free(out_data);
    return dure_fail(DURE_OUT_OF_MEMORY, "the host has no memory for this case's operands");
  }
  return NULL;
}

dure_status dure_case_data_copy(const dure_case *c, const dure_case_data *data, dure_case_data *out_data) {
  DURE_TRY(allocate(c, out_data));
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (owns_base(c, i))
      memcpy(out_data->bases[i], data->bases[i], (size_t)c->operands[i].base_count * sizeof(uint32_t));
  }
  return NULL;
}

uint64_t dure_case_count(const dure_case_operand *operand) {
  uint64_t count = operand->present ? 1 : 0;
  for (uint32_t i = 0; i < operand->rank; i++) count *= operand->shape[i];
  return count;
}

uint64_t dure_case_place(const dure_case_operand *operand, uint64_t index) {
  uint64_t place = operand->offset;
  for (uint32_t axis = operand->rank; axis-- > 0;) {
    place += index % operand->shape[axis] * operand->stride[axis];
    index /= operand->shape[axis];
  }
  return place;
}

bool dure_case_is_written(const dure_case *c, uint32_t operand) {
  return c->operands[operand].present && (dure_op_get(c->op)->operands[operand].access & DURE_WRITE) != 0;
}

// ---- inputs -----------------------------------------------------------------------------------------------------

static void store_float(uint32_t *place, double value) {
  float rounded = (float)value;
  memcpy(place, &rounded, sizeof(rounded));
}

static uint32_t random_word(uint64_t seed, uint32_t stream, uint64_t index) {
  uint32_t words[4];
  dure_random_words(seed, 0, stream, index, words);
  return words[0];
}

static void generate_uniform(const dure_case_operand *operand, uint64_t seed, uint32_t stream, uint32_t *base) {
  for (uint64_t i = 0; i < operand->base_count; i += 4) {
    uint32_t words[4];
    dure_random_words(seed, 0, stream, i / 4, words);
    for (uint64_t j = 0; j < 4 && i + j < operand->base_count; j++) {
      store_float(base + i + j, operand->shift + operand->scale * (double)dure_random_to_uniform(words[j]));
    }
  }
}

static void generate_permuted(const dure_case_operand *operand, uint64_t seed, uint32_t stream, uint32_t *base) {
  for (uint64_t i = 0; i < operand->base_count; i++) base[i] = (uint32_t)(i % operand->limit);
  for (uint64_t i = operand->base_count; i > 1; i--) {
    uint64_t j = random_word(seed, stream, i) % i;
    uint32_t swapped = base[i - 1];
    base[i - 1] = base[j];
    base[j] = swapped;
  }
}

// Any bytes: codes of 8-bit moments.
static void generate_bytes(const dure_case_operand *operand, uint64_t seed, uint32_t stream, uint32_t *base) {
  uint8_t *bytes = (uint8_t *)base;
  for (uint64_t i = 0; i < operand->base_count; i++) {
    bytes[i] =
        operand->generator == DURE_GENERATE_CONSTANT ? (uint8_t)operand->shift : (uint8_t)random_word(seed, stream, i);
  }
}

static void generate_base(const dure_case_operand *operand, bool is_float, uint64_t seed, uint32_t stream,
                          uint32_t *base) {
  if (operand->generator == DURE_GENERATE_UNIFORM) return generate_uniform(operand, seed, stream, base);
  if (operand->generator == DURE_GENERATE_PERMUTED) return generate_permuted(operand, seed, stream, base);
  for (uint64_t i = 0; i < operand->base_count; i++) {
    switch (operand->generator) {
      case DURE_GENERATE_NORMAL:
        store_float(base + i, operand->shift + operand->scale * dure_random_normal(seed, 0, stream, i));
        break;
      case DURE_GENERATE_CONSTANT: store_float(base + i, operand->shift); break;
      case DURE_GENERATE_INDICES: base[i] = (uint32_t)(random_word(seed, stream, i) % operand->limit); break;
      case DURE_GENERATE_WORDS: base[i] = random_word(seed, stream, i); break;
      case DURE_GENERATE_LISTED: {
        double value = operand->values[i % operand->value_count];
        if (is_float) {
          store_float(base + i, value);
        } else {
          base[i] = (uint32_t)value;
        }
        break;
      }
      case DURE_GENERATE_UNIFORM:
      case DURE_GENERATE_PERMUTED: break;
    }
  }
}

static void sprinkle(const dure_case_operand *operand, bool is_float, uint64_t seed, uint32_t stream, uint32_t *base) {
  uint64_t count = dure_case_count(operand);
  for (uint32_t i = 0; i < operand->sprinkled; i++) {
    uint64_t place = dure_case_place(operand, random_word(seed, stream, i) % count);
    double value = operand->values[i % operand->value_count];
    if (is_float) {
      store_float(base + place, value);
    } else {
      base[place] = (uint32_t)value;
    }
  }
}

// Random numbers [B, T] become the positions at which documents begin, a new one wherever a 0 stood.
static void make_document_starts(const dure_operand *starts, uint64_t sequence_length) {
  uint32_t start = 0;
  for (uint64_t i = 0; i < dure_operand_count(starts); i++) {
    const uint32_t t = (uint32_t)(i % sequence_length);
    if (t == 0 || dure_reference_get_u32(starts, i) == 0) start = t;
    dure_reference_put_u32(starts, i, start);
  }
}

// Operands that only make sense together with others, in place of random values.
static dure_status make_consistent(const dure_case *c, dure_case_data *data) {
  dure_buffer buffers[DURE_MAX_OPERANDS];
  dure_op_call call = dure_case_call(c, data, buffers);
  const dure_operand *operands = call.operands;
  dure_op_call forward = {.attributes = call.attributes};
  if (c->op == DURE_OP_attention || c->op == DURE_OP_attention_gradient) {
    enum { Q, DOCUMENT_STARTS = 3 };
    make_document_starts(&operands[DOCUMENT_STARTS], operands[Q].shape[1]);
  }
  if (c->op == DURE_OP_attention_gradient) {  // q to slopes, then y and log_sum_exp as the forward op leaves them
    for (uint32_t i = 0; i < 7; i++) forward.operands[i] = operands[i];
    return dure_reference_attention(&forward);
  }
  if (c->op == DURE_OP_cross_entropy_gradient) {  // labels log_sum_exp dloss logits
    double *losses = NULL;
    DURE_TRY(dure_reference_scratch(dure_operand_count(&operands[0]), &losses));
    dure_buffer scratch = {.mapped = losses};
    forward.operands[0] = operands[3];
    forward.operands[1] = operands[0];
    forward.operands[2] = operands[1];
    forward.operands[2].buffer = &scratch;
    forward.operands[2].offset = 0;
    forward.operands[3] = operands[1];
    dure_status status = dure_reference_cross_entropy(&forward);
    free(losses);
    return status;
  }
  return NULL;
}

// What the device will be given: values of 16-bit operands as their type holds them.
static void round_to_storage(const dure_case *c, dure_case_data *data) {
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (data->bases[i] == NULL || dure_dtype_size(dure_case_dtype(c, i)) != 2) continue;
    uint16_t rounded;
    for (uint64_t j = 0; j < c->operands[i].base_count; j++) {
      dure_dtype_store(dure_case_dtype(c, i), &rounded, 0, dure_dtype_load(DURE_DTYPE_F32, data->bases[i], j));
      dure_dtype_store(DURE_DTYPE_F32, data->bases[i], j, dure_dtype_load(dure_case_dtype(c, i), &rounded, 0));
    }
  }
}

static dure_status generate(const dure_case *c, uint64_t seed, dure_case_data *out_data) {
  DURE_TRY(allocate(c, out_data));
  const dure_op_row *row = dure_op_get(c->op);
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    const dure_case_operand *operand = &c->operands[i];
    if (!owns_base(c, i)) continue;
    bool is_float = row->operands[i].dtype != DURE_DTYPE_U32;
    if (dure_case_dtype(c, i) == DURE_DTYPE_U8) {
      generate_bytes(operand, seed, STREAM_VALUES + i, out_data->bases[i]);
      continue;
    }
    generate_base(operand, is_float, seed, STREAM_VALUES + i, out_data->bases[i]);
    if (operand->sprinkled > 0) sprinkle(operand, is_float, seed, STREAM_PLACES + i, out_data->bases[i]);
  }
  return NULL;
}

dure_status dure_case_data_generate_part(const dure_case *c, uint64_t seed, uint64_t most, dure_case_data *out_data) {
  dure_case part = *c;
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    part.operands[i].sprinkled = 0;
    if (part.operands[i].base_count > most) part.operands[i].base_count = most;
  }
  return generate(&part, seed, out_data);
}

dure_status dure_case_data_generate(const dure_case *c, uint64_t seed, dure_case_data *out_data) {
  DURE_TRY(generate(c, seed, out_data));
  round_to_storage(c, out_data);
  dure_status status = make_consistent(c, out_data);
  round_to_storage(c, out_data);
  if (status != NULL) dure_case_data_free(out_data);
  return status;
}

// ---- the oracle -------------------------------------------------------------------------------------------------

dure_op_call dure_case_call(const dure_case *c, const dure_case_data *data, dure_buffer buffers[DURE_MAX_OPERANDS]) {
  const dure_op_row *row = dure_op_get(c->op);
  dure_op_call call = {.op = c->op, .accumulate = c->accumulate, .attributes = c->attributes};
  memset(buffers, 0, DURE_MAX_OPERANDS * sizeof(*buffers));
  for (uint32_t i = 0; i < row->operand_count; i++) {
    const dure_case_operand *source = &c->operands[i];
    if (!source->present) continue;
    dure_operand *operand = &call.operands[i];
    operand->dtype = dure_case_dtype(c, i);
    if (dure_dtype_is_float(operand->dtype)) operand->dtype = DURE_DTYPE_F32;
    operand->rank = source->rank;
    memcpy(operand->shape, source->shape, sizeof(operand->shape));
    memcpy(operand->stride, source->stride, sizeof(operand->stride));
    buffers[i].mapped = data->bases[source->base];
    buffers[i].size = c->operands[source->base].base_count * dure_dtype_size(operand->dtype);
    operand->buffer = &buffers[i];
    operand->offset = source->offset * dure_dtype_size(operand->dtype);
  }
  return call;
}

dure_status dure_case_data_run_oracle(const dure_case *c, dure_case_data *data) {
  static dure_status (*const oracles[DURE_OP_COUNT])(const dure_op_call *call) = {
#define DURE_OP(name, ...) dure_reference_##name,
#include "runtime/ops.def"
#undef DURE_OP
  };
  dure_buffer buffers[DURE_MAX_OPERANDS];
  dure_op_call call = dure_case_call(c, data, buffers);
  return oracles[c->op](&call);
}
