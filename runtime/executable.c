// Running an executable, moving its tensors to and from the host, profiling it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/executable_internal.h"
#include "runtime/os.h"
#include "runtime/trace.h"

static bool checks_every_op(void) {
  const char *value = getenv("DURE_VULKAN_CHECK");
  return value != NULL && value[0] != '\0' && strcmp(value, "0") != 0;
}

// Recordings [first, first + count).
static dure_status submit_traced(dure_executable *executable, dure_stream *stream, size_t first, size_t count) {
  DURE_TRY(dure_stream_wait(stream, 0));
  uint64_t begin = dure_os_nanoseconds();
  DURE_TRY(dure_stream_submit(stream, executable->recordings + first, count, NULL, 0, NULL, 0, NULL));
  DURE_TRY(dure_stream_wait(stream, 0));
  dure_trace_submission(executable->label, executable->recordings + first, count, begin, dure_os_nanoseconds());
  return NULL;
}

dure_status dure_executable_submit(dure_executable *executable, dure_stream *stream) {
  if (executable->recording_count == 0) return NULL;
  if (checks_every_op()) return dure_executable_check(executable, stream);
  if (dure_trace_waits()) return submit_traced(executable, stream, 0, executable->recording_count);
  return dure_stream_submit(stream, executable->recordings, executable->recording_count, NULL, 0, NULL, 0, NULL);
}

dure_status dure_executable_submit_after(dure_executable *executable, dure_stream *stream, dure_event *event,
                                         uint64_t value) {
  if (!checks_every_op() && !dure_trace_waits() && executable->recording_count > 0) {
    return dure_stream_submit(stream, executable->recordings, executable->recording_count, event, value, NULL, 0, NULL);
  }
  bool reached = false;
  while (!reached) DURE_TRY(dure_event_wait(event, value, UINT64_MAX, &reached));
  return dure_executable_submit(executable, stream);
}

dure_status dure_executable_submit_calls(dure_executable *executable, dure_stream *stream, uint32_t first,
                                         uint32_t end) {
  size_t begin = 0, stop;
  while (begin < executable->recording_count && executable->first_calls[begin] < first) begin++;
  for (stop = begin; stop < executable->recording_count && executable->first_calls[stop] < end;) stop++;
  if (begin == stop) return NULL;
  if (dure_trace_waits()) return submit_traced(executable, stream, begin, stop - begin);
  return dure_stream_submit(stream, executable->recordings + begin, stop - begin, NULL, 0, NULL, 0, NULL);
}

dure_status dure_executable_operand(const dure_executable *executable, dure_tensor tensor, dure_operand *out_operand) {
  memset(out_operand, 0, sizeof(*out_operand));
  if (tensor.index == 0 || tensor.index >= executable->operand_count ||
      executable->operands[tensor.index].buffer == NULL) {
    return dure_fail(DURE_INVALID_ARGUMENT, "tensor %u has no place in executable '%s'", tensor.index,
                     executable->label);
  }
  *out_operand = executable->operands[tensor.index];
  return NULL;
}

// The operand when it is contiguous and has `size` bytes.
static dure_status transferable(const dure_executable *executable, dure_tensor tensor, uint64_t size,
                                dure_operand *out_operand) {
  DURE_TRY(dure_executable_operand(executable, tensor, out_operand));
  uint64_t bytes = dure_operand_count(out_operand) * dure_dtype_size(out_operand->dtype);
  if (dure_operand_is_contiguous(out_operand) && bytes == size) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "tensor '%s' of '%s' has %llu bytes (%s), the host's copy %llu",
                   executable->labels[tensor.index], executable->label, (unsigned long long)bytes,
                   dure_operand_is_contiguous(out_operand) ? "contiguous" : "strided", (unsigned long long)size);
}

dure_status dure_executable_write(dure_executable *executable, dure_stream *stream, dure_tensor tensor,
                                  const void *data, uint64_t size) {
  dure_operand operand;
  DURE_TRY(transferable(executable, tensor, size, &operand));
  return dure_stream_upload(stream, operand.buffer, operand.offset, data, size);
}

dure_status dure_executable_read(dure_executable *executable, dure_stream *stream, dure_tensor tensor, void *data,
                                 uint64_t size) {
  dure_operand operand;
  DURE_TRY(transferable(executable, tensor, size, &operand));
  return dure_stream_download(stream, operand.buffer, operand.offset, data, size, NULL);
}

dure_status dure_executable_read_later(dure_executable *executable, dure_stream *stream, dure_tensor tensor, void *data,
                                       uint64_t size, uint64_t *out_point) {
  *out_point = 0;
  dure_operand operand;
  DURE_TRY(transferable(executable, tensor, size, &operand));
  return dure_stream_download(stream, operand.buffer, operand.offset, data, size, out_point);
}

dure_executable_memory dure_executable_memory_get(const dure_executable *executable) {
  return (dure_executable_memory){executable->activations.size, executable->owned.size, executable->workspace_bytes};
}

dure_cost dure_executable_cost(const dure_executable *executable) { return executable->cost; }
size_t dure_executable_recording_count(const dure_executable *executable) { return executable->recording_count; }

// ---- profile ---------------------------------------------------------------------------------------------------

// Labels are "OP SHAPES @ SCOPE": rows are kept by what stands before the scope.
static size_t shape_length(const char *label) {
  const char *scope = strstr(label, " @ ");
  return scope != NULL ? (size_t)(scope - label) : strlen(label);
}

static dure_profile_row *find_row(dure_profile_row *rows, size_t count, const char *label) {
  size_t length = shape_length(label);
  for (size_t i = 0; i < count; i++) {
    if (shape_length(rows[i].label) == length && memcmp(rows[i].label, label, length) == 0) return &rows[i];
  }
  return NULL;
}

static int slower_first(const void *a, const void *b) {
  double x = ((const dure_profile_row *)a)->nanoseconds, y = ((const dure_profile_row *)b)->nanoseconds;
  return (x < y) - (x > y);
}

dure_status dure_executable_profile(dure_executable *executable, dure_profile_row **out_rows, size_t *out_count) {
  *out_rows = NULL;
  *out_count = 0;
  if (!executable->with_timestamps)
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s' was compiled without timestamps", executable->label);
  dure_profile_row *rows = calloc((size_t)executable->call_count + 1, sizeof(*rows));
  if (rows == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory profiling");
  size_t count = 0;
  for (uint32_t c = 0; c < executable->call_count; c++) {
    dure_profile_row *row = find_row(rows, count, executable->call_labels[c]);
    if (row == NULL) {
      row = &rows[count++];
      row->op = executable->calls[c].op;
      row->label = executable->call_labels[c];
    }
    dure_cost cost = dure_op_get(row->op)->cost(&executable->calls[c]);
    row->calls++;
    row->cost.flops += cost.flops;
    row->cost.bytes += cost.bytes;
  }
  for (size_t r = 0; r < executable->recording_count; r++) {
    const dure_command_time *times = NULL;
    size_t time_count = 0;
    dure_status status = dure_recording_times(executable->recordings[r], &times, &time_count);
    if (status != NULL) {
      free(rows);
      return status;
    }
    for (size_t i = 0; i < time_count; i++) {
      dure_profile_row *row = find_row(rows, count, times[i].label);
      if (row != NULL) row->nanoseconds += times[i].nanoseconds;
    }
  }
  qsort(rows, count, sizeof(*rows), slower_first);
  *out_rows = rows;
  *out_count = count;
  return NULL;
}
