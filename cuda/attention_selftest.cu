#include "cuda/attention_selftest.h"

#include <cmath>
#include <cstdlib>

#include "cuda/attention_hopper.h"
#include "cuda/attention_matrix.h"
extern "C" {
#include "runtime/random.h"
}

// The call. A document begins at position DOCUMENT.
enum { T = 261, H = 2, G = 1, WINDOW = 150, DOCUMENT = 170 };
enum { SLOTS = GRADIENT_DV + 1, WAYS = 2 };  // operands of attention_gradient; kernels that are compared
enum { PATIENCE = 1 << 26 };                 // cycles: some 40 ms

struct trial {
  attention_pass pass;
  uint64_t count[SLOTS];
  uint64_t bytes[SLOTS];
  unsigned char *stored[WAYS][SLOTS];
  dure_buffer *buffers[WAYS][SLOTS];  // of the second way only what it makes
  dure_buffer *delta;
  dure_stream *stream;
  dure_recording *recording;
  dure_op_call call;
};

// What the pass makes, and what it is given; y and log_sum_exp are made by the mma kernels for the gradient's passes.
static bool is_output(attention_pass pass, int slot) {
  if (pass == ATTENTION_FORWARD) return slot == ATTENTION_Y || slot == ATTENTION_LOG_SUM_EXP;
  return pass == ATTENTION_GRADIENT_Q ? slot == GRADIENT_DQ : slot == GRADIENT_DK || slot == GRADIENT_DV;
}
static bool is_input(int slot) {
  return slot < ATTENTION_SLOPES || slot == GRADIENT_DY;  // of these slots there are no slopes
}

static void release(trial *t) {
  dure_recording_destroy(t->recording);
  dure_stream_destroy(t->stream);
  dure_buffer_destroy(t->delta);
  for (int way = 0; way < WAYS; way++) {
    for (int slot = 0; slot < SLOTS; slot++) {
      dure_buffer_destroy(t->buffers[way][slot]);
      std::free(t->stored[way][slot]);
    }
  }
}

// Values of +-2 in 16-bit types; where documents begin.
static void fill_input(const dure_operand *operand, int slot, uint64_t count, unsigned char *stored) {
  for (uint64_t i = 0; i < count; i++) {
    if (slot == ATTENTION_DOCUMENT_STARTS) {
      reinterpret_cast<uint32_t *>(stored)[i] = i < DOCUMENT ? 0u : (uint32_t)DOCUMENT;
      continue;
    }
    uint32_t words[4];
    dure_random_words((uint64_t)slot + 1, 0, 0, i / 4, words);
    dure_dtype_store(operand->dtype, stored, i, (double)((int32_t)(words[i % 4] % 255) - 127) / 64);
  }
}

static void describe(dure_operand *operand, int slot, dure_dtype dtype, uint64_t D) {
  const bool is_of_keys = slot == ATTENTION_K || slot == ATTENTION_V || slot == GRADIENT_DK || slot == GRADIENT_DV;
  const uint64_t rows[4] = {1, T, is_of_keys ? (uint64_t)G : (uint64_t)H, D}, starts[2] = {1, T}, sums[3] = {1, H, T};
  operand->dtype = dtype;
  if (slot == ATTENTION_DOCUMENT_STARTS) {
    operand->dtype = DURE_DTYPE_U32;
    dure_operand_set_shape(operand, 2, starts);
  } else if (slot == ATTENTION_LOG_SUM_EXP) {
    operand->dtype = DURE_DTYPE_F32;
    dure_operand_set_shape(operand, 3, sums);
  } else {
    dure_operand_set_shape(operand, 4, rows);
  }
}

static dure_status prepare(dure_device *device, trial *t, dure_dtype dtype, uint64_t D) {
  static const char name[] = "test of attention";
  t->call.attributes.attention.scale = 1 / std::sqrt((float)D);
  t->call.attributes.attention.window = WINDOW;
  DURE_TRY(dure_stream_create(device, &t->stream));
  DURE_TRY(dure_recording_create(device, name, 0, &t->recording));
  DURE_TRY(dure_buffer_create(device, sizeof(float) * H * T, DURE_MEMORY_DEVICE, name, &t->delta));
  t->call.workspace.buffer = t->delta;
  t->call.workspace.dtype = DURE_DTYPE_F32;
  for (int slot = 0; slot < SLOTS; slot++) {
    if (slot == ATTENTION_SLOPES) continue;
    dure_operand *operand = &t->call.operands[slot];
    describe(operand, slot, dtype, D);
    t->count[slot] = dure_operand_count(operand);
    t->bytes[slot] = (t->count[slot] * dure_dtype_size(operand->dtype) + 3) / 4 * 4;
    for (int way = 0; way < (is_output(t->pass, slot) ? WAYS : 1); way++) {
      t->stored[way][slot] = static_cast<unsigned char *>(std::calloc(t->bytes[slot], 1));
      if (t->stored[way][slot] == nullptr) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to test attention");
      DURE_TRY(dure_buffer_create(device, t->bytes[slot], DURE_MEMORY_DEVICE, name, &t->buffers[way][slot]));
      if (is_input(slot)) {
        fill_input(operand, slot, t->count[slot], t->stored[way][slot]);
        DURE_TRY(dure_stream_upload(t->stream, t->buffers[way][slot], 0, t->stored[way][slot], t->bytes[slot]));
      } else {  // NaN in every type: an element that is not written is seen
        DURE_TRY(dure_recording_fill(t->recording, t->buffers[way][slot], 0, t->bytes[slot], 0x7fff7fffu));
      }
    }
  }
  return NULL;
}

static dure_status run(dure_device *device, trial *t, uint32_t head) {
  for (int slot = 0; slot < SLOTS; slot++) t->call.operands[slot].buffer = t->buffers[0][slot];
  t->call.op = DURE_OP_attention;
  DURE_TRY(attention_matrix_record(device, t->recording, &t->call, ATTENTION_FORWARD));
  if (t->pass != ATTENTION_FORWARD) {
    t->call.op = DURE_OP_attention_gradient;
    DURE_TRY(attention_delta_record(t->recording, &t->call));
    DURE_TRY(attention_matrix_record(device, t->recording, &t->call, t->pass));
  }
  for (int slot = 0; slot < SLOTS; slot++) {
    if (is_output(t->pass, slot)) t->call.operands[slot].buffer = t->buffers[1][slot];
  }
  DURE_TRY(attention_hopper_record(device, t->recording, &t->call, t->pass, head, PATIENCE));
  DURE_TRY(dure_recording_finish(t->recording));
  DURE_TRY(dure_stream_submit(t->stream, &t->recording, 1, NULL, 0, NULL, 0, NULL));
  for (int way = 0; way < WAYS; way++) {
    for (int slot = 0; slot < SLOTS; slot++) {
      if (!is_output(t->pass, slot)) continue;
      DURE_TRY(dure_stream_download(t->stream, t->buffers[way][slot], 0, t->stored[way][slot], t->bytes[slot], NULL));
    }
  }
  return NULL;
}

// Weights and results are rounded once each by both ways.
static dure_status compare(const trial *t) {
  for (int slot = 0; slot < SLOTS; slot++) {
    if (!is_output(t->pass, slot)) continue;
    const dure_dtype dtype = t->call.operands[slot].dtype;
    const double unit = dtype == DURE_DTYPE_F32 ? 1e-4 : dtype == DURE_DTYPE_BF16 ? 0x1p-8 : 0x1p-11;
    double largest = 0;
    for (uint64_t i = 0; i < t->count[slot]; i++)
      largest = std::fmax(largest, std::fabs(dure_dtype_load(dtype, t->stored[0][slot], i)));
    for (uint64_t i = 0; i < t->count[slot]; i++) {
      const double expected = dure_dtype_load(dtype, t->stored[0][slot], i);
      const double found = dure_dtype_load(dtype, t->stored[1][slot], i);
      if (std::fabs(found - expected) <= 2 * unit * largest) continue;  // false for NaN
      return dure_fail(DURE_UNSUPPORTED, "element %llu of operand %d is %.9g instead of %.9g", (unsigned long long)i,
                       slot, found, expected);
    }
  }
  return NULL;
}

bool attention_hopper_is_trusted(dure_device *device, attention_pass pass, dure_dtype dtype, uint32_t size) {
  static const char *const names[ATTENTION_PASSES] = {"attention", "dq of attention", "dk, dv of attention"};
  cuda_device *owner = cuda_device_of(device);
  const uint32_t bit = ((uint32_t)pass * 2 + (dtype == DURE_DTYPE_BF16 ? 1 : 0)) * ATTENTION_HOPPER_SIZES + size;
  if ((owner->attention_tested >> bit & 1) == 0) {
    owner->attention_tested |= 1u << bit;
    const uint32_t head = attention_hopper_sizes[size];
    trial t = {};
    t.pass = pass;
    dure_status status = prepare(device, &t, dtype, head);
    if (status == NULL) status = run(device, &t, head);
    if (status == NULL) status = compare(&t);
    release(&t);
    if (status == NULL) owner->attention_trusted |= 1u << bit;
    cuda_log(status == NULL ? DURE_LOG_DEBUG : DURE_LOG_WARNING, "%s by warpgroups (%s, heads of %u): %s", names[pass],
             dure_dtype_name(dtype), head, status == NULL ? "computes rightly" : dure_status_message(status));
    dure_status_free(status);
  }
  return (owner->attention_trusted >> bit & 1) != 0;
}
