// Running an executable op by op to find the first that goes wrong: not finite, off from the reference, or out of
// bounds.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/executable_internal.h"

// ---- one op at a time ------------------------------------------------------------------------------------------

static dure_status run_call(dure_executable *executable, dure_stream *stream, uint32_t index) {
  dure_recording *recording = NULL;
  DURE_TRY(dure_recording_create(executable->device, executable->call_labels[index], 0, &recording));
  dure_recording_label(recording, executable->call_labels[index]);
  dure_status status = executable_record_call(executable->device, recording, &executable->calls[index]);
  if (status == NULL) status = dure_recording_finish(recording);
  if (status == NULL) status = dure_stream_submit(stream, &recording, 1, NULL, 0, NULL, 0, NULL);
  if (status == NULL) status = dure_stream_wait(stream, 0);
  dure_recording_destroy(recording);
  return status;
}

// The bytes from an operand's first element to past its last one, in host memory (free()).
static dure_status download_span(dure_stream *stream, const dure_operand *operand, void **out_bytes) {
  uint64_t size = dure_operand_span(operand);
  *out_bytes = malloc((size_t)size + 1);
  if (*out_bytes == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading back a tensor");
  dure_status status = dure_stream_download(stream, operand->buffer, operand->offset, *out_bytes, size, NULL);
  if (status != NULL) {
    free(*out_bytes);
    *out_bytes = NULL;
  }
  return status;
}

// The place of element `index` (in row-major order of the shape) in the span.
static uint64_t element_place(const dure_operand *operand, uint64_t index) {
  uint64_t place = 0;
  for (uint32_t i = operand->rank; i-- > 0;) {
    place += index % operand->shape[i] * operand->stride[i];
    index /= operand->shape[i];
  }
  return place;
}

// ---- not finite ------------------------------------------------------------------------------------------------

static dure_status scan_operand(dure_stream *stream, const dure_operand *operand, bool *out_found, uint64_t *out_index,
                                double *out_value) {
  void *bytes = NULL;
  DURE_TRY(download_span(stream, operand, &bytes));
  uint64_t count = dure_operand_count(operand);
  for (uint64_t i = 0; i < count && !*out_found; i++) {
    double value = dure_dtype_load(operand->dtype, bytes, element_place(operand, i));
    if (!isfinite(value)) {
      *out_found = true;
      *out_index = i;
      *out_value = value;
    }
  }
  free(bytes);
  return NULL;
}

dure_status dure_executable_find_not_finite(dure_executable *executable, dure_stream *stream, bool *out_found,
                                            char *out_text, size_t text_size) {
  return dure_executable_find_not_finite_in(executable, stream, 0, UINT32_MAX, out_found, out_text, text_size);
}

dure_status dure_executable_find_not_finite_in(dure_executable *executable, dure_stream *stream, uint32_t first,
                                               uint32_t end, bool *out_found, char *out_text, size_t text_size) {
  *out_found = false;
  if (text_size > 0) out_text[0] = '\0';
  for (uint32_t c = first; c < executable->call_count && c < end; c++) {
    const dure_op_call *call = &executable->calls[c];
    const dure_op_row *row = dure_op_get(call->op);
    DURE_TRY(run_call(executable, stream, c));
    for (uint32_t i = row->input_count; i < row->operand_count; i++) {
      const dure_operand *operand = &call->operands[i];
      if (!dure_operand_is_present(operand) || !dure_dtype_is_float(operand->dtype)) continue;
      uint64_t index = 0;
      double value = 0;
      DURE_TRY(scan_operand(stream, operand, out_found, &index, &value));
      if (!*out_found) continue;
      snprintf(out_text, text_size, "op %u of %u of '%s', %s: element %llu of '%s' is %g", c + 1,
               executable->call_count, executable->label, executable->call_labels[c], (unsigned long long)index,
               row->operands[i].name, value);
      return NULL;
    }
  }
  return NULL;
}

// ---- against the reference -------------------------------------------------------------------------------------

// A call's operands copied into one buffer each on the reference device.
typedef struct twin {
  dure_device *device;
  dure_stream *stream;
  dure_op_call call;
} twin;

static void twin_free(twin *t) {
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) dure_buffer_destroy(t->call.operands[i].buffer);
  dure_stream_destroy(t->stream);
}

static dure_status twin_make(twin *t, dure_device *reference, dure_stream *stream, const dure_op_call *call) {
  t->device = reference;
  t->stream = NULL;
  t->call = *call;
  memset(&t->call.workspace, 0, sizeof(t->call.workspace));
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) t->call.operands[i].buffer = NULL;
  DURE_TRY(dure_stream_create(reference, &t->stream));
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    const dure_operand *operand = &call->operands[i];
    if (!dure_operand_is_present(operand)) continue;
    void *bytes = NULL;
    DURE_TRY(download_span(stream, operand, &bytes));
    dure_status status = dure_buffer_create(reference, dure_operand_span(operand), DURE_MEMORY_DEVICE, "check",
                                            &t->call.operands[i].buffer);
    if (status == NULL)
      status = dure_stream_upload(t->stream, t->call.operands[i].buffer, 0, bytes, dure_operand_span(operand));
    free(bytes);
    DURE_TRY(status);
    t->call.operands[i].offset = 0;
  }
  return NULL;
}

static dure_status twin_run(twin *t) {
  dure_recording *recording = NULL;
  DURE_TRY(dure_recording_create(t->device, "check", 0, &recording));
  dure_status status = executable_record_call(t->device, recording, &t->call);
  if (status == NULL) status = dure_recording_finish(recording);
  if (status == NULL) status = dure_stream_submit(t->stream, &recording, 1, NULL, 0, NULL, 0, NULL);
  if (status == NULL) status = dure_stream_wait(t->stream, 0);
  dure_recording_destroy(recording);
  return status;
}

// A debugging aid, so one generous tolerance: 1e-4 of the tensor's largest magnitude (the suite derives tight ones).
static dure_status compare_operand(dure_stream *stream, const twin *t, const dure_op_call *call, uint32_t index,
                                   const char *label) {
  const dure_operand *operand = &call->operands[index];
  void *found = NULL;
  DURE_TRY(download_span(stream, operand, &found));
  const void *expected = dure_buffer_map(t->call.operands[index].buffer);
  uint64_t count = dure_operand_count(operand);
  double largest = 1e-6;
  for (uint64_t i = 0; i < count; i++) {
    double value = fabs(dure_dtype_load(operand->dtype, expected, element_place(operand, i)));
    if (isfinite(value) && value > largest) largest = value;
  }
  dure_status status = NULL;
  for (uint64_t i = 0; i < count && status == NULL; i++) {
    uint64_t place = element_place(operand, i);
    double a = dure_dtype_load(operand->dtype, found, place), b = dure_dtype_load(operand->dtype, expected, place);
    bool agrees = isnan(b) ? isnan(a) : isinf(b) ? a == b : fabs(a - b) <= 1e-4 * largest;
    if (!agrees) {
      status = dure_fail(DURE_INTERNAL, "%s: element %llu of '%s' is %.9g, the reference says %.9g", label,
                         (unsigned long long)i, dure_op_get(call->op)->operands[index].name, a, b);
    }
  }
  free(found);
  return status;
}

dure_status dure_executable_check(dure_executable *executable, dure_stream *stream) {
  dure_device *reference = NULL;
  DURE_TRY(dure_device_open("reference", &reference));
  dure_status status = NULL;
  for (uint32_t c = 0; c < executable->call_count && status == NULL; c++) {
    const dure_op_call *call = &executable->calls[c];
    const dure_op_row *row = dure_op_get(call->op);
    twin t;
    status = twin_make(&t, reference, stream, call);
    if (status == NULL) status = run_call(executable, stream, c);
    if (status == NULL) status = twin_run(&t);
    for (uint32_t i = row->input_count; status == NULL && i < row->operand_count; i++) {
      if (!dure_operand_is_present(&call->operands[i]) || !dure_dtype_is_float(call->operands[i].dtype)) continue;
      status = compare_operand(stream, &t, call, i, executable->call_labels[c]);
    }
    twin_free(&t);
  }
  dure_device_close(reference);
  return status;
}

// ---- sentinels -------------------------------------------------------------------------------------------------

static dure_status check_guard(dure_executable *executable, dure_stream *stream, const guarded *g, uint64_t offset,
                               const char *side) {
  uint32_t *words = malloc((size_t)executable->guard_bytes);
  if (words == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory checking sentinels");
  dure_status status = dure_stream_download(stream, g->buffer, offset, words, executable->guard_bytes, NULL);
  for (uint64_t i = 0; status == NULL && i < executable->guard_bytes / 4; i++) {
    if (words[i] == EXECUTABLE_GUARD_PATTERN) continue;
    status = dure_fail(DURE_INTERNAL,
                       "'%s' (%llu bytes at %llu): the sentinel %s it was overwritten, %llu bytes in, with %08x",
                       executable->labels[g->value], (unsigned long long)g->size, (unsigned long long)g->offset, side,
                       (unsigned long long)(i * 4), words[i]);
  }
  free(words);
  return status;
}

dure_status dure_executable_guards(dure_executable *executable, dure_stream *stream) {
  if (executable->guard_bytes == 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s' was compiled without guards", executable->label);
  for (size_t i = 0; i < executable->guard_count; i++) {
    const guarded *g = &executable->guards[i];
    DURE_TRY(check_guard(executable, stream, g, g->offset - executable->guard_bytes, "before"));
    DURE_TRY(check_guard(executable, stream, g, g->offset + ((g->size + 3) & ~(uint64_t)3), "after"));
  }
  return NULL;
}
