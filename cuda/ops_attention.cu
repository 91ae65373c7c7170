// attention and attention_gradient: which kernels run a call. The cache's ops: ops_attention_cached.cu.
//
//   16-bit operands whose rows begin at multiples of 16 bytes, on tensor cores: attention_matrix.cu
//   of these, on sm_90 in heads of more than 32 (up to 128 in the gradient): attention_hopper.cu
//   everything else: kernels/attention_tile.cuh, attention_gradient_tile.cuh
//
// DURE_CUDA_ATTENTION=plain: the last ones alone; mma: these and attention_matrix.cu; hopper: as without it, but the
// kernels for sm_90 are used without having been tested on the device.
#include <cstdlib>
#include <cstring>

#include "cuda/attention_call.cuh"
#include "cuda/attention_hopper.h"
#include "cuda/attention_matrix.h"
#include "cuda/kernels/attention_gradient_tile.cuh"
#include "cuda/kernels/attention_tile.cuh"
extern "C" {
#include "cuda/ops.h"
}

static const uint32_t LARGEST_HEAD = 256;

static dure_status check_head(const dure_op_call *call) {
  const uint64_t D = call->operands[ATTENTION_Q].shape[3];
  if (D <= LARGEST_HEAD) return NULL;
  return dure_fail(DURE_UNSUPPORTED, "attention heads have %llu elements; the CUDA kernels take at most %u",
                   (unsigned long long)D, LARGEST_HEAD);
}

static bool is_empty(const dure_op_call *call) {
  return dure_operand_count(&call->operands[ATTENTION_Q]) == 0 ||
         attention_end_row(call) <= call->attributes.attention.first_row;
}

// ---- on the plain units ------------------------------------------------------------------------------------------

typedef void (*attention_kernel)(attention_arguments);

template <typename T, int HEAD>
static attention_kernel tile_kernel_of_head(attention_pass pass) {
  if (pass == ATTENTION_FORWARD) return attention_tile_kernel<T, HEAD>;
  return pass == ATTENTION_GRADIENT_Q ? attention_gradient_q_tile_kernel<T, HEAD>
                                      : attention_gradient_k_v_tile_kernel<T, HEAD>;
}

template <typename T>
static attention_kernel tile_kernel(attention_pass pass, uint32_t D) {
  if (D <= 64) return tile_kernel_of_head<T, 64>(pass);
  return D <= 128 ? tile_kernel_of_head<T, 128>(pass) : tile_kernel_of_head<T, 256>(pass);
}

static dure_status record_tiles(dure_device *device, dure_recording *recording, const dure_op_call *call,
                                attention_pass pass) {
  const attention_arguments a =
      attention_arguments_of_pass(call, pass, TILE_ROWS, dure_cuda_device_caps(device)->l2_bytes);
  attention_kernel kernel = nullptr;
  CUDA_WITH_STORAGE(call->operands[ATTENTION_Q].dtype, T, kernel = tile_kernel<T>(pass, a.D))
  return cuda_record(recording, kernel, attention_grid(a), TILE_THREADS, 0, a);
}

// ---- on tensor cores ---------------------------------------------------------------------------------------------

// Whether a call's rows and type suit tensor cores, and the device has them.
static bool suits_matrix_units(const dure_cuda_caps *caps, const dure_op_call *call, attention_pass pass) {
  const dure_operand *q = &call->operands[ATTENTION_Q];
  if (!caps->uses_matrix_units || caps->compute_capability < 80) return false;
  if (q->dtype == DURE_DTYPE_F32 || !attention_moves(call, 8)) return false;
  return attention_matrix_choose(pass, q->dtype, (uint32_t)q->shape[3]).shared_bytes <= caps->shared_bytes;
}

// The best kernels that may be used; FORCED: those for sm_90a without a test of them.
enum attention_kernels { PLAIN, MMA, HOPPER, FORCED };
static attention_kernels allowed() {
  static const char *const names[] = {"plain", "mma", "", "hopper"};
  const char *wanted = std::getenv("DURE_CUDA_ATTENTION");
  for (int i = PLAIN; wanted != nullptr && i <= FORCED; i++) {
    if (std::strcmp(wanted, names[i]) == 0) return (attention_kernels)i;
  }
  return HOPPER;
}

static dure_status record_pass(dure_device *device, dure_recording *recording, const dure_op_call *call,
                               attention_pass pass) {
  const attention_kernels best = allowed();
  if (best == PLAIN || !suits_matrix_units(dure_cuda_device_caps(device), call, pass))
    return record_tiles(device, recording, call, pass);
  const uint32_t head = best >= HOPPER ? attention_hopper_takes(device, call, pass, best == FORCED) : 0;
  if (head > 0) return attention_hopper_record(device, recording, call, pass, head, 0);
  return attention_matrix_record(device, recording, call, pass);
}

// ---- forward -----------------------------------------------------------------------------------------------------

static dure_status record_attention(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  DURE_TRY(check_head(call));
  if (is_empty(call)) return NULL;
  return record_pass(device, recording, call, ATTENTION_FORWARD);
}

// ---- gradient ----------------------------------------------------------------------------------------------------

// The workspace is delta [B, H, T].
static uint64_t attention_gradient_workspace(dure_device *device, const dure_op_call *call) {
  (void)device;
  const uint64_t *shape = call->operands[ATTENTION_Q].shape;
  return 4 * shape[0] * shape[1] * shape[2];
}

static dure_status record_attention_gradient(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  DURE_TRY(check_head(call));
  if (is_empty(call)) return NULL;
  DURE_TRY(attention_delta_record(recording, call));
  DURE_TRY(record_pass(device, recording, call, ATTENTION_GRADIENT_Q));
  return record_pass(device, recording, call, ATTENTION_GRADIENT_K_V);
}

extern "C" {
const dure_backend_op dure_cuda_op_attention = {record_attention, nullptr, true};
const dure_backend_op dure_cuda_op_attention_gradient = {record_attention_gradient, attention_gradient_workspace, true};
}
