// cache_append and attention_cached: the paged cache of keys and values.
#include "cuda/kernels/attention_cached.cuh"
#include "cuda/kernels/cache_append.cuh"
#include "cuda/record.cuh"
extern "C" {
#include "cuda/ops.h"
}

// Whether rows of D elements begin at multiples of `width` elements.
static bool moves(const dure_operand *operand, uint64_t width) {
  if (operand->shape[operand->rank - 1] % width != 0) return false;
  for (uint32_t axis = 0; axis + 1 < operand->rank; axis++) {
    if (operand->stride[axis] % width != 0) return false;
  }
  return operand->offset % (width * dure_dtype_size(operand->dtype)) == 0;
}

static dure_status record_cache_append(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  enum { K, V, BLOCK_TABLE, POSITIONS, KEY_CACHE, VALUE_CACHE, KEY_SCALES, VALUE_SCALES };
  (void)device;
  const dure_operand *operands = call->operands, *k = &operands[K], *v = &operands[V];
  const dure_operand *cache = &operands[KEY_CACHE];
  const uint64_t size = dure_dtype_size(k->dtype), wide = 16 / size;
  const bool is_packed = cache->dtype == DURE_DTYPE_U8;
  const bool is_wide =
      !is_packed && moves(k, wide) && moves(v, wide) && moves(cache, wide) && moves(&operands[VALUE_CACHE], wide);
  const uint64_t width = is_wide ? wide : 1;
  cache_append_arguments a = {};
  a.T = (uint32_t)k->shape[1];
  a.G = (uint32_t)k->shape[2];
  a.D = (uint32_t)(k->shape[3] / (is_packed ? (uint64_t)QUANTIZE_BLOCK : width));
  a.count = k->shape[0] * a.T * a.G * a.D;
  a.k_t = k->stride[1] / width;
  a.k_h = k->stride[2] / width;
  a.v_t = v->stride[1] / width;
  a.v_h = v->stride[2] / width;
  a.blocks = (uint32_t)cache->shape[0];
  a.block_size = (uint32_t)cache->shape[1];
  a.blocks_per_sequence = (uint32_t)operands[BLOCK_TABLE].shape[1];
  a.k = cuda_address<const void>(k);
  a.v = cuda_address<const void>(v);
  a.block_table = cuda_address<const uint32_t>(&operands[BLOCK_TABLE]);
  a.positions = cuda_address<const uint32_t>(&operands[POSITIONS]);
  a.key_cache = cuda_address<void>(cache);
  a.value_cache = cuda_address<void>(&operands[VALUE_CACHE]);
  if (is_packed) {
    a.key_scales = cuda_address<float16>(&operands[KEY_SCALES]);
    a.value_scales = cuda_address<float16>(&operands[VALUE_SCALES]);
    CUDA_WITH_STORAGE(k->dtype, T,
                      return cuda_record(recording, cache_append_blocks_kernel<T>,
                                         cuda_grid(a.count, CACHE_APPEND_THREADS), CACHE_APPEND_THREADS, 0, a))
  }
  void (*const kernel)(cache_append_arguments) = is_wide     ? cache_append_kernel<uint4>
                                                 : size == 4 ? cache_append_kernel<uint32_t>
                                                             : cache_append_kernel<uint16_t>;
  return cuda_record(recording, kernel, cuda_grid(a.count, CACHE_APPEND_THREADS), CACHE_APPEND_THREADS, 0, a);
}

// ---- attention_cached --------------------------------------------------------------------------------------------

enum { Q, KEY_CACHE, VALUE_CACHE, BLOCK_TABLE, POSITIONS, SLOPES, KEY_SCALES, VALUE_SCALES, Y };

static const uint32_t LARGEST_HEAD = 256;

// How the first stage is cut: into blocks of so many queries, and of the positions.
struct cached_plan {
  uint32_t queries, query_blocks, splits;
};

// Enough blocks for four a multiprocessor, each with no fewer than 64 positions of a full cache.
static cached_plan plan_of(const dure_device *device, const dure_op_call *call) {
  const dure_operand *q = &call->operands[Q], *cache = &call->operands[KEY_CACHE];
  const uint64_t queries = q->shape[1] * (q->shape[2] / cache->shape[2]), rows = q->shape[0] * cache->shape[2];
  const uint64_t capacity = cache->shape[1] * call->operands[BLOCK_TABLE].shape[1];
  cached_plan plan = {queries > 1 ? 4u : 1u, 1, 1};
  plan.query_blocks = (uint32_t)cuda_ceil_divide(queries, plan.queries);
  const uint64_t wanted = 4 * (uint64_t)dure_cuda_device_caps(device)->multiprocessor_count;
  const uint64_t blocks = rows * plan.query_blocks, most = cuda_ceil_divide(capacity, 64);
  uint64_t splits = blocks > 0 ? cuda_ceil_divide(wanted, blocks) : 1;
  splits = splits < most ? splits : most;
  plan.splits = (uint32_t)(splits < 1 ? 1 : splits < 64 ? splits : 64);
  return plan;
}

static uint64_t attention_cached_workspace(dure_device *device, const dure_op_call *call) {
  const uint64_t *shape = call->operands[Q].shape;
  const cached_plan plan = plan_of(device, call);
  return plan.splits > 1 ? shape[0] * shape[1] * shape[2] * plan.splits * (shape[3] + 2) * 4 : 0;
}

static attention_cached_arguments arguments_of(const dure_op_call *call, const cached_plan &plan) {
  const dure_operand *operands = call->operands, *q = &operands[Q], *cache = &operands[KEY_CACHE];
  const dure_attention_attributes *attributes = &call->attributes.attention;
  attention_cached_arguments a = {};
  a.common.B = (uint32_t)q->shape[0];
  a.common.T = (uint32_t)q->shape[1];
  a.common.H = (uint32_t)q->shape[2];
  a.common.G = (uint32_t)cache->shape[2];
  a.common.D = (uint32_t)q->shape[3];
  a.common.window = attributes->window;
  a.common.scale = attributes->scale;
  a.common.soft_cap = attributes->soft_cap;
  a.common.q = cuda_address<const void>(q);
  a.common.q_t = q->stride[1];
  a.common.q_h = q->stride[2];
  a.common.slopes = cuda_address<const float>(&operands[SLOPES]);
  a.common.out = cuda_address<void>(&operands[Y]);
  a.blocks = (uint32_t)cache->shape[0];
  a.block_size = (uint32_t)cache->shape[1];
  a.blocks_per_sequence = (uint32_t)operands[BLOCK_TABLE].shape[1];
  a.query_blocks = plan.query_blocks;
  a.splits = plan.splits;
  a.in_eights = moves(q, 8) && moves(cache, 8) && moves(&operands[VALUE_CACHE], 8);
  a.key_cache = cuda_address<const void>(cache);
  a.value_cache = cuda_address<const void>(&operands[VALUE_CACHE]);
  a.key_scales = cuda_address<const float16>(&operands[KEY_SCALES]);
  a.value_scales = cuda_address<const float16>(&operands[VALUE_SCALES]);
  a.block_table = cuda_address<const uint32_t>(&operands[BLOCK_TABLE]);
  a.positions = cuda_address<const uint32_t>(&operands[POSITIONS]);
  if (plan.splits > 1) a.partial = cuda_address<float>(&call->workspace);
  return a;
}

typedef void (*cached_kernel)(attention_cached_arguments);

// C: what the cache holds, T or codes.
template <typename T, typename C>
static cached_kernel choose_cached(uint32_t D, uint32_t queries) {
  if (D <= 64) return queries > 1 ? attention_cached_kernel<T, C, 64, 4> : attention_cached_kernel<T, C, 64, 1>;
  if (D <= 128) return queries > 1 ? attention_cached_kernel<T, C, 128, 4> : attention_cached_kernel<T, C, 128, 1>;
  return queries > 1 ? attention_cached_kernel<T, C, 256, 4> : attention_cached_kernel<T, C, 256, 1>;
}

static dure_status record_attention_cached(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const cached_plan plan = plan_of(device, call);
  const attention_cached_arguments a = arguments_of(call, plan);
  if (a.common.D > LARGEST_HEAD) {
    return dure_fail(DURE_UNSUPPORTED, "attention heads have %u elements; the CUDA kernels take at most %u", a.common.D,
                     LARGEST_HEAD);
  }
  const dure_dtype dtype = call->operands[Q].dtype;
  const dim3 grid(plan.query_blocks * plan.splits * a.common.B * a.common.G);
  const bool is_packed = call->operands[KEY_CACHE].dtype == DURE_DTYPE_U8;
  CUDA_WITH_STORAGE(dtype, T,
                    const cached_kernel kernel = is_packed ? choose_cached<T, int8_t>(a.common.D, plan.queries)
                                                           : choose_cached<T, T>(a.common.D, plan.queries);
                    DURE_TRY(cuda_record(recording, kernel, grid, CACHED_THREADS, 0, a)))
  if (plan.splits == 1) return NULL;
  const uint64_t count = dure_operand_count(&call->operands[Y]);
  CUDA_WITH_STORAGE(dtype, T,
                    return cuda_record(recording, attention_cached_join_kernel<T>, cuda_grid(count, CACHED_THREADS),
                                       CACHED_THREADS, 0, a))
}

extern "C" {
const dure_backend_op dure_cuda_op_cache_append = {record_cache_append, nullptr, true};
const dure_backend_op dure_cuda_op_attention_cached = {record_attention_cached, attention_cached_workspace, true};
}
