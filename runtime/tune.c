#include "runtime/tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

enum { RUNS_LEAST = 3, RUNS_MOST = 12 };
static const double seconds_a_program = 0.1;

// ---- timing ------------------------------------------------------------------------------------------------------

// Numbers in [-1, 1), since multiplying zeros takes less power, and so less time, than multiplying numbers.
static dure_status write_numbers(dure_executable *executable, dure_stream *stream, dure_tensor tensor) {
  dure_operand operand;
  DURE_TRY(dure_executable_operand(executable, tensor, &operand));
  const uint64_t count = dure_operand_count(&operand), bytes = count * dure_dtype_size(operand.dtype);
  uint8_t *data = malloc((size_t)bytes);
  if (data == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for the numbers to measure with");
  uint32_t state = 0x9e3779b9u;
  for (uint64_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    const float value = (float)(int32_t)state * 0x1p-31f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    const uint16_t upper = (uint16_t)(bits >> 16);  // bf16, cut off
    if (operand.dtype == DURE_DTYPE_F32)
      memcpy(data + 4 * i, &bits, 4);
    else
      memcpy(data + 2 * i, &upper, 2);
  }
  dure_status status = dure_executable_write(executable, stream, tensor, data, bytes);
  free(data);
  return status;
}

// Device time where it keeps one, else the wall clock's.
static dure_status run_once(dure_executable *executable, dure_stream *stream, double *out_seconds) {
  *out_seconds = 0;
  if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "interrupted");
  const uint64_t start = dure_os_nanoseconds();
  DURE_TRY(dure_executable_submit(executable, stream));
  DURE_TRY(dure_stream_wait(stream, 0));
  *out_seconds = (double)(dure_os_nanoseconds() - start) * 1e-9;
  dure_profile_row *rows = NULL;
  size_t count = 0;
  double nanoseconds = 0;
  dure_status status = dure_executable_profile(executable, &rows, &count);
  for (size_t i = 0; status == NULL && i < count; i++) nanoseconds += rows[i].nanoseconds;
  free(rows);
  dure_status_free(status);
  if (nanoseconds > 0) *out_seconds = nanoseconds * 1e-9;
  return NULL;
}

static dure_status best_of_runs(dure_executable *executable, dure_stream *stream, double *out_seconds) {
  double seconds = 0, spent = 0;
  DURE_TRY(run_once(executable, stream, &seconds));  // compiles kernels, fills caches
  *out_seconds = HUGE_VAL;
  for (int i = 0; i < RUNS_MOST && (i < RUNS_LEAST || spent < seconds_a_program); i++) {
    DURE_TRY(run_once(executable, stream, &seconds));
    spent += seconds;
    if (seconds < *out_seconds) *out_seconds = seconds;
  }
  if (!(*out_seconds > 1e-9)) *out_seconds = 1e-9;
  return NULL;
}

dure_status dure_tune_time(dure_device *device, dure_stream *stream, dure_program *program, const dure_tensor *inputs,
                           size_t input_count, double *out_seconds) {
  *out_seconds = 0;
  dure_executable *executable = NULL;
  const dure_compile_options options = {.label = "tune", .with_timestamps = true};
  DURE_TRY(dure_program_compile(program, device, NULL, 0, &options, &executable));
  dure_status status = NULL;
  for (size_t i = 0; i < input_count && status == NULL; i++) status = write_numbers(executable, stream, inputs[i]);
  if (status == NULL) status = best_of_runs(executable, stream, out_seconds);
  if (status != NULL) status = dure_status_join(status, dure_stream_wait(stream, 0));
  dure_executable_destroy(executable);
  return status;
}

// ---- programs ----------------------------------------------------------------------------------------------------

static dure_tensor input(dure_program *program, dure_dtype dtype, uint32_t rank, const uint64_t *shape) {
  return dure_tensor_external(program, "input", dtype, rank, shape, DURE_LIFETIME_INPUT);
}

dure_status dure_tune_time_matmul(dure_device *device, dure_stream *stream, dure_dtype dtype, bool transpose_a,
                                  bool transpose_b, uint64_t M, uint64_t N, uint64_t K, double *out_seconds) {
  *out_seconds = 0;
  dure_program *program = dure_program_create();
  if (program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to measure with");
  const uint64_t a[] = {transpose_a ? K : M, transpose_a ? M : K}, b[] = {transpose_b ? N : K, transpose_b ? K : N};
  const dure_tensor inputs[] = {input(program, dtype, 2, a), input(program, dtype, 2, b)};
  dure_matmul(program, inputs[0], inputs[1], DURE_ABSENT, transpose_a, transpose_b);
  dure_status status = dure_tune_time(device, stream, program, inputs, 2, out_seconds);
  dure_program_destroy(program);
  return status;
}

enum { TIMED_HEADS = 12 };

// The gradient's y, log_sum_exp and dy are numbers like the others: any will do to be measured with.
dure_status dure_tune_time_attention(dure_device *device, dure_stream *stream, dure_dtype dtype, bool is_gradient,
                                     uint64_t T, uint64_t D, double *out_seconds) {
  enum { Q, K, V, Y = 5, LOG_SUM_EXP, DY, INPUTS = 6 };
  *out_seconds = 0;
  dure_program *program = dure_program_create();
  if (program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to measure with");
  const uint64_t shape[] = {1, T, TIMED_HEADS, D}, sums[] = {1, TIMED_HEADS, T};
  const float scale = (float)(1 / sqrt((double)D));
  dure_tensor inputs[INPUTS];
  size_t count = 0;
  while (count < 3) inputs[count++] = input(program, dtype, 4, shape);
  if (is_gradient) {
    dure_tensor operands[DURE_MAX_OPERANDS];
    for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) operands[i] = i <= V ? inputs[i] : DURE_ABSENT;
    operands[Y] = inputs[count++] = input(program, dtype, 4, shape);
    operands[LOG_SUM_EXP] = inputs[count++] = input(program, DURE_DTYPE_F32, 3, sums);
    operands[DY] = inputs[count++] = input(program, dtype, 4, shape);
    const dure_op_attributes attributes = {.attention = {.scale = scale}};
    dure_program_call(program, DURE_OP_attention_gradient, operands, &attributes, 0);
  } else {
    dure_attention(program, inputs[Q], inputs[K], inputs[V], scale, 0);
  }
  dure_status status = dure_tune_time(device, stream, program, inputs, count, out_seconds);
  dure_program_destroy(program);
  return status;
}

static dure_status attention_rate(dure_device *device, dure_stream *stream, dure_dtype dtype, uint64_t T,
                                  double *out_rate) {
  enum { D = 64 };
  *out_rate = 0;
  double seconds = 0;
  DURE_TRY(dure_tune_time_attention(device, stream, dtype, false, T, D, &seconds));
  *out_rate = 4.0 * TIMED_HEADS * D * ((double)T * (double)(T + 1) / 2) / seconds;  // as dure_cost_attention counts
  return NULL;
}

static dure_status time_memory(dure_device *device, dure_stream *stream, uint64_t count, double *out_rate) {
  *out_rate = 0;
  dure_program *program = dure_program_create();
  if (program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to measure with");
  const dure_tensor inputs[] = {input(program, DURE_DTYPE_F32, 1, &count), input(program, DURE_DTYPE_F32, 1, &count)};
  dure_add(program, inputs[0], inputs[1]);
  double seconds = 0;
  dure_status status = dure_tune_time(device, stream, program, NULL, 0, &seconds);
  dure_program_destroy(program);
  DURE_TRY(status);
  *out_rate = 12.0 * (double)count / seconds;
  return NULL;
}

// Of an upload, which costs about as much as a download.
static dure_status time_transfer(dure_device *device, dure_stream *stream, uint64_t bytes, double *out_rate) {
  *out_rate = 0;
  dure_buffer *buffer = NULL;
  void *data = calloc(1, (size_t)bytes);
  if (data == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to measure with");
  dure_status status = dure_buffer_create(device, bytes, DURE_MEMORY_DEVICE, "tune", &buffer);
  double best = HUGE_VAL;
  for (int i = 0; i < 3 && status == NULL; i++) {
    const uint64_t start = dure_os_nanoseconds();
    status = dure_stream_upload(stream, buffer, 0, data, bytes);
    if (status == NULL) status = dure_stream_wait(stream, 0);
    best = fmin(best, (double)(dure_os_nanoseconds() - start) * 1e-9);
  }
  dure_buffer_destroy(buffer);
  free(data);
  if (status == NULL) *out_rate = (double)bytes / fmax(best, 1e-9);
  return status;
}

// ---- rates -------------------------------------------------------------------------------------------------------

static const double work_seconds = 0.03;

// The largest multiple of 256 whose `power` stays below the work, within [256, most].
static uint64_t side_of(double work, double power, uint64_t most) {
  double side = floor(pow(work, 1 / power) / 256) * 256;
  return side < 256 ? 256 : side > (double)most ? most : (uint64_t)side;
}

static bool takes_16_bit(dure_device *device, dure_op op) {
  const dure_backend_op *row = device->vtable->op(device, (uint32_t)op);
  return row != NULL && row->takes_16_bit;
}

dure_status dure_tune_rates(dure_device *device, dure_stream *stream, dure_device_rates *out_rates) {
  const dure_device_info *info = dure_device_get_info(device);
  const dure_device_rates shipped = dure_device_rates_shipped(NULL, info->name, info->kind);
  memset(out_rates, 0, sizeof(*out_rates));
  double seconds = 0, rate = 0;
  uint64_t n = side_of(shipped.matmul_flops * work_seconds / 2, 3, 4096);
  DURE_TRY(dure_tune_time_matmul(device, stream, DURE_DTYPE_F32, false, true, n, n, n, &seconds));
  out_rates->matmul_flops = out_rates->matmul16_flops = 2.0 * (double)n * (double)n * (double)n / seconds;
  if (takes_16_bit(device, DURE_OP_matmul)) {
    n = side_of(shipped.matmul16_flops * work_seconds / 2, 3, 4096);
    DURE_TRY(dure_tune_time_matmul(device, stream, DURE_DTYPE_BF16, false, true, n, n, n, &seconds));
    rate = 2.0 * (double)n * (double)n * (double)n / seconds;
    out_rates->matmul16_flops = fmax(rate, out_rates->matmul_flops);
  }
  const uint64_t T = side_of(shipped.attention_flops * work_seconds / (2.0 * TIMED_HEADS * 64), 2, 4096);
  DURE_TRY(attention_rate(device, stream, DURE_DTYPE_F32, T, &out_rates->attention_flops));
  if (takes_16_bit(device, DURE_OP_attention)) {
    DURE_TRY(attention_rate(device, stream, DURE_DTYPE_BF16, T, &rate));
    out_rates->attention_flops = fmax(rate, out_rates->attention_flops);
  }
  const uint64_t count = side_of(shipped.bandwidth * work_seconds / 12, 1, 64 << 20);
  DURE_TRY(time_memory(device, stream, count, &out_rates->bandwidth));
  DURE_TRY(time_transfer(device, stream, 64 << 20, &out_rates->transfer));
  out_rates->is_measured = true;
  return NULL;
}

dure_status dure_device_tune(dure_device *device, dure_tune_sink sink, void *context, char **out_path) {
  *out_path = NULL;
  if (device->vtable->tune == NULL) {
    return dure_fail(DURE_UNSUPPORTED, "%s has one kernel for each operation: there is nothing to choose between",
                     device->info.identifier);
  }
  return device->vtable->tune(device, sink, context, out_path);
}
