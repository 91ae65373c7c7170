#include "cuda/attention_selftest.h"

#include <cmath>
#include <cstdlib>

#include "cuda/attention_hopper.h"
#include "cuda/attention_matrix.h"
extern "C" {
#include "runtime/random.h"
}

// The call. A document begins at position DOCUMENT.
enum { T = 261, H = 4, G = 2, WINDOW = 150, DOCUMENT = 170 };
enum { SLOTS = ATTENTION_LOG_SUM_EXP + 1, WAYS = 2 };  // operands; kernels that are compared

struct trial {
  uint64_t count[SLOTS];
  uint64_t bytes[SLOTS];
  unsigned char *stored[WAYS][SLOTS];
  dure_buffer *buffers[WAYS][SLOTS];  // inputs only of the first
  dure_stream *stream;
  dure_recording *recording;
  dure_op_call call;
};

static bool is_output(int slot) { return slot == ATTENTION_Y || slot == ATTENTION_LOG_SUM_EXP; }

static void release(trial *t) {
  dure_recording_destroy(t->recording);
  dure_stream_destroy(t->stream);
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

static dure_status prepare(dure_device *device, trial *t, dure_dtype dtype, uint64_t D) {
  static const char name[] = "test of attention";
  t->call.op = DURE_OP_attention;
  t->call.attributes.attention.scale = 1 / std::sqrt((float)D);
  t->call.attributes.attention.window = WINDOW;
  DURE_TRY(dure_stream_create(device, &t->stream));
  DURE_TRY(dure_recording_create(device, name, 0, &t->recording));
  for (int slot = 0; slot < SLOTS; slot++) {
    if (slot == ATTENTION_SLOPES) continue;
    const bool is_of_keys = slot == ATTENTION_K || slot == ATTENTION_V;
    const uint64_t rows[4] = {1, T, is_of_keys ? (uint64_t)G : (uint64_t)H, D}, starts[2] = {1, T}, sums[3] = {1, H, T};
    dure_operand *operand = &t->call.operands[slot];
    operand->dtype = slot == ATTENTION_DOCUMENT_STARTS ? DURE_DTYPE_U32
                     : slot == ATTENTION_LOG_SUM_EXP   ? DURE_DTYPE_F32
                                                       : dtype;
    if (slot == ATTENTION_DOCUMENT_STARTS)
      dure_operand_set_shape(operand, 2, starts);
    else if (slot == ATTENTION_LOG_SUM_EXP)
      dure_operand_set_shape(operand, 3, sums);
    else
      dure_operand_set_shape(operand, 4, rows);
    t->count[slot] = dure_operand_count(operand);
    t->bytes[slot] = (t->count[slot] * dure_dtype_size(operand->dtype) + 3) / 4 * 4;
    for (int way = 0; way < (is_output(slot) ? WAYS : 1); way++) {
      t->stored[way][slot] = static_cast<unsigned char *>(std::calloc(t->bytes[slot], 1));
      if (t->stored[way][slot] == nullptr) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to test attention");
      DURE_TRY(dure_buffer_create(device, t->bytes[slot], DURE_MEMORY_DEVICE, name, &t->buffers[way][slot]));
      if (is_output(slot)) {  // NaN in every type: an element that is not written is seen
        DURE_TRY(dure_recording_fill(t->recording, t->buffers[way][slot], 0, t->bytes[slot], 0x7fff7fffu));
      } else {
        fill_input(operand, slot, t->count[slot], t->stored[way][slot]);
        DURE_TRY(dure_stream_upload(t->stream, t->buffers[way][slot], 0, t->stored[way][slot], t->bytes[slot]));
      }
    }
  }
  return NULL;
}

static dure_status run(dure_device *device, trial *t) {
  for (int way = 0; way < WAYS; way++) {
    for (int slot = 0; slot < SLOTS; slot++)
      t->call.operands[slot].buffer = t->buffers[is_output(slot) ? way : 0][slot];
    if (way == 0) DURE_TRY(attention_matrix_record(device, t->recording, &t->call, ATTENTION_FORWARD));
    if (way == 1) DURE_TRY(attention_hopper_record(device, t->recording, &t->call));
  }
  DURE_TRY(dure_recording_finish(t->recording));
  DURE_TRY(dure_stream_submit(t->stream, &t->recording, 1, NULL, 0, NULL, 0, NULL));
  for (int way = 0; way < WAYS; way++) {
    for (int slot = ATTENTION_Y; slot <= ATTENTION_LOG_SUM_EXP; slot++) {
      DURE_TRY(dure_stream_download(t->stream, t->buffers[way][slot], 0, t->stored[way][slot], t->bytes[slot], NULL));
    }
  }
  return NULL;
}

// Weights and results are rounded once each by both ways; values are within 2.
static dure_status compare(const trial *t) {
  for (int slot = ATTENTION_Y; slot <= ATTENTION_LOG_SUM_EXP; slot++) {
    const dure_dtype dtype = t->call.operands[slot].dtype;
    const double unit = dtype == DURE_DTYPE_F32 ? 1e-4 : dtype == DURE_DTYPE_BF16 ? 0x1p-8 : 0x1p-11;
    for (uint64_t i = 0; i < t->count[slot]; i++) {
      const double expected = dure_dtype_load(dtype, t->stored[0][slot], i);
      const double found = dure_dtype_load(dtype, t->stored[1][slot], i);
      if (std::fabs(found - expected) <= 2 * unit * 2) continue;  // false for NaN
      return dure_fail(DURE_UNSUPPORTED, "element %llu of %s is %.9g instead of %.9g", (unsigned long long)i,
                       slot == ATTENTION_Y ? "y" : "log_sum_exp", found, expected);
    }
  }
  return NULL;
}

bool attention_hopper_is_trusted(dure_device *device, dure_dtype dtype, uint32_t D) {
  cuda_device *owner = cuda_device_of(device);
  const uint32_t bit = (dtype == DURE_DTYPE_BF16 ? 2u : 0u) + (D <= 64 ? 0u : 1u);
  if ((owner->attention_tested >> bit & 1) == 0) {
    owner->attention_tested |= 1u << bit;
    trial t = {};
    dure_status status = prepare(device, &t, dtype, D <= 64 ? 64 : 128);
    if (status == NULL) status = run(device, &t);
    if (status == NULL) status = compare(&t);
    release(&t);
    if (status == NULL) owner->attention_trusted |= 1u << bit;
    cuda_log(status == NULL ? DURE_LOG_DEBUG : DURE_LOG_WARNING, "attention by warpgroups (%s, heads of %u): %s",
             dure_dtype_name(dtype), D <= 64 ? 64 : 128,
             status == NULL ? "computes rightly" : dure_status_message(status));
    dure_status_free(status);
  }
  return (owner->attention_trusted >> bit & 1) != 0;
}
