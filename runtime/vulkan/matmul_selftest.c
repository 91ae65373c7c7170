#include "runtime/vulkan/matmul_selftest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/log.h"
#include "runtime/ops.h"
#include "runtime/random.h"
#include "runtime/vulkan/loader.h"

// ---- who is tried at all -----------------------------------------------------------------------------------------

// The first row that matches decides. Reports of others until somebody measures with Dure; `dure tune` and the
// self-test stand behind this table, not before it: a wrong result can be seen, a hung device cannot.
// clang-format off
static const struct row {
  uint32_t driver;                  // VkDriverId; 0: any
  uint32_t first_device, last_device;  // PCI device ids
  bool is_allowed;
  const char *reason;
} rows[] = {
    {VK_DRIVER_ID_NVIDIA_PROPRIETARY,          0x1e00, 0x1fff, false, "Turing's are slower than its ordinary units"},
    {VK_DRIVER_ID_NVIDIA_PROPRIETARY,          0x2180, 0x21ff, false, "Turing without matrix units emulates them"},
    {VK_DRIVER_ID_NVIDIA_PROPRIETARY,          0, UINT32_MAX, true,   ""},
    {VK_DRIVER_ID_MESA_RADV,                   0, UINT32_MAX, true,   ""},
    {VK_DRIVER_ID_AMD_PROPRIETARY,             0, UINT32_MAX, false,  "AMD's proprietary driver has returned wrong products"},
    {VK_DRIVER_ID_AMD_OPEN_SOURCE,             0, UINT32_MAX, false,  "AMDVLK has returned wrong products"},
    {VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA,      0x5690, 0x56c1, false, "Arc Alchemist's are wrong or slow (A770)"},
    {VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS,   0x5690, 0x56c1, false, "Arc Alchemist's are wrong or slow (A770)"},
    {VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA,      0, UINT32_MAX, true,   ""},
    {VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS,   0, UINT32_MAX, true,   ""},
    {VK_DRIVER_ID_MESA_LLVMPIPE,               0, UINT32_MAX, false,  "a software driver emulates them, slower than plain code"},
    {0,                                        0, UINT32_MAX, false,  "nobody has tried this driver's yet"},
};
// clang-format on

bool dure_vulkan_matrix_units_allowed(const dure_vulkan_caps *caps, const char **out_reason) {
  const char *everything = getenv("DURE_VULKAN_MATRIX_UNITS");
  *out_reason = "";
  if (everything != NULL && strcmp(everything, "all") == 0) return true;
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    const struct row *row = &rows[i];
    if (row->driver != 0 && row->driver != caps->driver_id) continue;
    if (caps->device_id < row->first_device || caps->device_id > row->last_device) continue;
    *out_reason = row->reason;
    return row->is_allowed;
  }
  return false;
}

void dure_vulkan_matrix_units_describe(const dure_vulkan_caps *caps, char *out_text, size_t size) {
  const char *reason = NULL;
  out_text[0] = '\0';
  if (caps->matrix_shape_count == 0) return;
  const bool is_allowed = dure_vulkan_matrix_units_allowed(caps, &reason);
  size_t used = (size_t)snprintf(out_text, size, "matrix units: ");
  for (uint32_t i = 0; i < caps->matrix_shape_count && used < size; i++) {
    const dure_vulkan_matrix_shape *shape = &caps->matrix_shapes[i];
    used += (size_t)snprintf(out_text + used, size - used, "%s%ux%ux%u %s", i > 0 ? ", " : "", shape->M, shape->N,
                             shape->K, shape->is_bfloat16 ? "bf16" : "f16");
  }
  for (uint32_t i = 0; i < caps->workgroup_matrix_count && used < size; i++) {
    const dure_vulkan_workgroup_matrix *matrix = &caps->workgroup_matrices[i];
    used += (size_t)snprintf(out_text + used, size - used, ", multiples of %ux%ux%u %s by workgroups of %u", matrix->M,
                             matrix->N, matrix->K, matrix->is_bfloat16 ? "bf16" : "f16", matrix->invocations);
  }
  if (used >= size) return;
  snprintf(out_text + used, size - used,
           is_allowed ? "; used once a kernel has multiplied rightly%s" : "; not used: %s", reason);
}

// ---- one product -------------------------------------------------------------------------------------------------

enum { A, B, C, TENSORS };

typedef struct product {
  dure_op_call call;
  uint32_t M, N, K;
  uint16_t *a, *b;  // as stored: [M, K] or [K, M], [K, N] or [N, K]
  float *c;         // [M, N]
  dure_buffer *buffers[TENSORS];
  dure_stream *stream;
  dure_recording *recording;
} product;

static void product_release(product *p) {
  dure_recording_destroy(p->recording);
  dure_stream_destroy(p->stream);
  for (int i = 0; i < TENSORS; i++) dure_buffer_destroy(p->buffers[i]);
  free(p->a);
  free(p->b);
  free(p->c);
}

static dure_operand matrix(dure_buffer *buffer, dure_dtype dtype, uint32_t rows_, uint32_t columns) {
  return (dure_operand){
      .dtype = dtype, .rank = 2, .shape = {rows_, columns}, .stride = {columns, 1}, .buffer = buffer, .offset = 0};
}

// Multiples of 1/64 up to 2 have 8 significant bits, which bf16 and f16 hold; their products' sums need 16 to 20, which
// f32 holds and f16 does not.
static uint16_t random_value(uint64_t seed, uint32_t index, bool is_bfloat16) {
  uint32_t words[4];
  dure_random_words(seed, 0, 0, index / 4, words);
  const float value = (float)((int32_t)(words[index % 4] % 255) - 127) / 64.0f;
  return is_bfloat16 ? dure_bf16_from_float(value) : dure_f16_from_float(value);
}

static dure_status product_prepare(dure_device *device, const dure_vulkan_matmul_problem *problem, product *p) {
  const dure_dtype dtype = problem->is_bfloat16 ? DURE_DTYPE_BF16 : DURE_DTYPE_F16;
  const uint32_t a_count = p->M * p->K, b_count = p->K * p->N;
  p->a = malloc(2 * a_count + 4);
  p->b = malloc(2 * b_count + 4);
  p->c = malloc(4 * (size_t)p->M * p->N);
  if (p->a == NULL || p->b == NULL || p->c == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to test matrix units");
  }
  for (uint32_t i = 0; i < a_count; i++) p->a[i] = random_value(1, i, problem->is_bfloat16);
  for (uint32_t i = 0; i < b_count; i++) p->b[i] = random_value(2, i, problem->is_bfloat16);
  DURE_TRY(dure_buffer_create(device, 2 * a_count, DURE_MEMORY_DEVICE, "test of matrix units", &p->buffers[A]));
  DURE_TRY(dure_buffer_create(device, 2 * b_count, DURE_MEMORY_DEVICE, "test of matrix units", &p->buffers[B]));
  DURE_TRY(dure_buffer_create(device, 4 * (uint64_t)p->M * p->N, DURE_MEMORY_DEVICE, "test of matrix units",
                              &p->buffers[C]));
  p->call.op = DURE_OP_matmul;
  p->call.attributes.matmul.transpose_a = problem->transpose_a;
  p->call.attributes.matmul.transpose_b = problem->transpose_b;
  p->call.operands[DURE_MATMUL_A] =
      problem->transpose_a ? matrix(p->buffers[A], dtype, p->K, p->M) : matrix(p->buffers[A], dtype, p->M, p->K);
  p->call.operands[DURE_MATMUL_B] =
      problem->transpose_b ? matrix(p->buffers[B], dtype, p->N, p->K) : matrix(p->buffers[B], dtype, p->K, p->N);
  p->call.operands[DURE_MATMUL_C] = matrix(p->buffers[C], DURE_DTYPE_F32, p->M, p->N);
  return NULL;
}

static dure_status product_run(dure_device *device, const dure_vulkan_matmul_variant *variant, product *p) {
  const uint32_t poison = 0x7fc00000;  // NaN: an element that is not written is seen
  DURE_TRY(dure_stream_create(device, &p->stream));
  DURE_TRY(dure_stream_upload(p->stream, p->buffers[A], 0, p->a, 2 * (uint64_t)p->M * p->K));
  DURE_TRY(dure_stream_upload(p->stream, p->buffers[B], 0, p->b, 2 * (uint64_t)p->K * p->N));
  DURE_TRY(dure_recording_create(device, "test of matrix units", 0, &p->recording));
  DURE_TRY(dure_recording_fill(p->recording, p->buffers[C], 0, 4 * (uint64_t)p->M * p->N, poison));
  DURE_TRY(dure_vulkan_matmul_record(device, p->recording, &p->call, variant));
  DURE_TRY(dure_recording_finish(p->recording));
  DURE_TRY(dure_stream_submit(p->stream, &p->recording, 1, NULL, 0, NULL, 0, NULL));
  return dure_stream_download(p->stream, p->buffers[C], 0, p->c, 4 * (uint64_t)p->M * p->N, NULL);
}

static dure_status product_check(const dure_vulkan_matmul_problem *problem, const product *p) {
  const dure_dtype dtype = problem->is_bfloat16 ? DURE_DTYPE_BF16 : DURE_DTYPE_F16;
  for (uint32_t row = 0; row < p->M; row++) {
    for (uint32_t column = 0; column < p->N; column++) {
      double sum = 0, magnitude = 0;
      for (uint32_t k = 0; k < p->K; k++) {
        const double x = dure_dtype_load(dtype, p->a, problem->transpose_a ? k * p->M + row : row * p->K + k);
        const double y = dure_dtype_load(dtype, p->b, problem->transpose_b ? column * p->K + k : k * p->N + column);
        sum += x * y;
        magnitude += fabs(x * y);
      }
      const double found = p->c[row * p->N + column];
      if (fabs(found - sum) <= 1e-5 * magnitude) continue;  // false for NaN
      return dure_fail(DURE_UNSUPPORTED, "element [%u, %u] of [%u, %u] x [%u, %u] is %.9g instead of %.9g", row, column,
                       p->M, p->K, p->K, p->N, found, sum);
    }
  }
  return NULL;
}

static dure_status test_product(dure_device *device, const dure_vulkan_matmul_variant *variant,
                                const dure_vulkan_matmul_problem *problem, uint32_t M, uint32_t N, uint32_t K) {
  product p = {.M = M, .N = N, .K = K};
  dure_status status = product_prepare(device, problem, &p);
  if (status == NULL) status = product_run(device, variant, &p);
  if (status == NULL) status = product_check(problem, &p);
  product_release(&p);
  return status;
}

dure_status dure_vulkan_matmul_test(dure_device *device, const dure_vulkan_matmul_variant *variant,
                                    const dure_vulkan_matmul_problem *problem) {
  const dure_vulkan_matmul_gpu *gpu = variant->gpu;
  // Whole groups of 16 bytes, then sizes that are multiples of nothing; both pass the tile and need several steps.
  DURE_TRY(test_product(device, variant, problem, gpu->tile_m + 8, gpu->tile_n + 8, 3 * gpu->tile_k + 8));
  return test_product(device, variant, problem, gpu->tile_m + 3, gpu->tile_n + 5, 2 * gpu->tile_k + 3);
}

// ---- verdicts ----------------------------------------------------------------------------------------------------

bool dure_vulkan_matmul_is_trusted(dure_device *device, const dure_vulkan_matmul_variant *variant,
                                   const dure_vulkan_matmul_problem *problem) {
  const size_t row = (size_t)(variant->gpu - dure_vulkan_matmul_gpus);
  const uint8_t bit = (uint8_t)(1u << (problem->is_bfloat16 * 4u + problem->transpose_a * 2u + problem->transpose_b));
  _Static_assert((int)DURE_MATMUL_GPU_COUNT <= (int)DURE_VULKAN_MATMUL_TRUST, "each row has its verdicts");
  dure_vulkan_trust *trust = dure_vulkan_device_trust(device);
  if ((trust->tested[row] & bit) == 0) {
    trust->tested[row] |= bit;
    dure_status status = dure_vulkan_matmul_test(device, variant, problem);
    char name[64];
    dure_vulkan_matmul_kernel_name(variant, problem, name);
    if (status == NULL) {
      trust->passed[row] |= bit;
      dure_log(DURE_LOG_DEBUG, "matrix units: %s (%s) multiplies rightly", variant->name, name);
    } else {
      dure_log(DURE_LOG_WARNING, "matrix units are not used for %s (%s): %s", variant->name, name,
               dure_status_message(status));
    }
    dure_status_free(status);
  }
  return (trust->passed[row] & bit) != 0;
}
