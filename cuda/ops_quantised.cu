// quantize_rows, matmul_q8.
//
// matmul_q8's kernels, by the names that DURE_CUDA_MATMUL_Q8 takes (where one cannot run, the choice is as without it):
//   rows           few rows, and any number without matrix units: reads b once for every 8 rows
//   mma64, mma128  matrix units
#include <cstdlib>
#include <cstring>

#include "cuda/kernels/matmul_q8_mma.cuh"
#include "cuda/kernels/matmul_q8_rows.cuh"
#include "cuda/kernels/matmul_sum_chunks.cuh"
#include "cuda/kernels/quantize_rows.cuh"
#include "cuda/record.cuh"

extern "C" {
#include "cuda/ops.h"
}

namespace {

// ---- quantize_rows -----------------------------------------------------------------------------------------------

template <typename T>
dure_status record_quantize_rows_of(dure_recording *recording, const dure_op_call *call) {
  const dure_operand *x = &call->operands[0];
  quantize_rows_arguments<T> arguments = {};
  arguments.x = cuda_address<T>(x);
  arguments.q = cuda_address<uint32_t>(&call->operands[1]);
  arguments.scales = cuda_address<float>(&call->operands[2]);
  arguments.count = dure_operand_count(x);
  arguments.is_aligned = x->offset % 16 == 0;
  const dim3 grid = cuda_grid(arguments.count, QUANTIZE_THREADS * QUANTIZE_STEPS * 16 / sizeof(T));
  return cuda_record(recording, quantize_rows_kernel<T>, grid, QUANTIZE_THREADS, 0, arguments);
}

dure_status record_quantize_rows(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  (void)device;
  if (call->operands[1].offset % 16 != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "quantize_rows: operand 'q' does not begin at a multiple of 16 bytes");
  CUDA_WITH_STORAGE(call->operands[0].dtype, T, return record_quantize_rows_of<T>(recording, call));
  return nullptr;
}

// ---- matmul_q8: choice -------------------------------------------------------------------------------------------

enum { A, A_SCALES, B, B_SCALES, BIAS, C };

typedef void (*matmul_q8_kernel)(matmul_q8_arguments);

struct variant {
  const char *name;
  int tile;  // 0: rows
};
enum { ROWS, MMA_64, MMA_128, VARIANT_COUNT };
const variant variants[VARIANT_COUNT] = {{"rows", 0}, {"mma64", 64}, {"mma128", 128}};
enum { ROWS_MOST = 8 };  // of a block of `rows`

uint64_t tiles_of(const matmul_arguments *o, uint32_t tile) {
  return cuda_ceil_divide(o->M, tile) * cuda_ceil_divide(o->N, tile);
}

const variant *choose(const dure_device *device, const matmul_arguments *o) {
  const dure_cuda_caps *caps = dure_cuda_device_caps(device);
  const char *name = getenv("DURE_CUDA_MATMUL_Q8");
  for (const variant &v : variants) {
    if (name != nullptr && strcmp(v.name, name) == 0 && (v.tile == 0 || caps->uses_matrix_units)) return &v;
  }
  if (o->M <= ROWS_MOST || !caps->uses_matrix_units) return &variants[ROWS];
  return &variants[tiles_of(o, 128) >= caps->multiprocessor_count ? MMA_128 : MMA_64];
}

// A result of few tiles is made in chunks of k, which matmul_sum_chunks adds in order; they depend on the shape alone.
enum { TILES_ENOUGH = 264, CHUNK_LEAST = 512, CHUNKS_MOST = 16 };

uint32_t chunk_of(const variant *v, const matmul_arguments *o) {
  const uint64_t tiles = tiles_of(o, 64);
  if (v->tile == 0 || tiles == 0 || tiles >= TILES_ENOUGH / 2 || o->K < 2 * CHUNK_LEAST) return o->K;
  uint64_t chunks = TILES_ENOUGH / tiles;
  if (chunks > CHUNKS_MOST) chunks = CHUNKS_MOST;
  const uint64_t chunk = cuda_ceil_divide(cuda_ceil_divide(o->K, chunks), MATMUL_Q8_STEP) * MATMUL_Q8_STEP;
  return chunk < CHUNK_LEAST ? (uint32_t)CHUNK_LEAST : (uint32_t)chunk;
}

uint64_t chunks_bytes(const variant *v, const matmul_arguments *o) {
  const uint64_t chunks = o->K > 0 ? cuda_ceil_divide(o->K, chunk_of(v, o)) : 1;
  return chunks > 1 ? chunks * o->M * o->N * sizeof(float) : 0;
}

// ---- matmul_q8: recording ----------------------------------------------------------------------------------------

void describe(const dure_op_call *call, matmul_arguments *o) {
  const dure_operand *b = &call->operands[B];
  o->M = (uint32_t)dure_operand_rows(&call->operands[A]);
  o->N = (uint32_t)b->shape[0];
  o->K = (uint32_t)b->shape[1];
  o->chunk = o->K;
}

void resolve(const dure_op_call *call, matmul_q8_arguments *p) {
  const dure_operand *operands = call->operands, *c = &operands[C];
  matmul_arguments *o = &p->o;
  // Parts that expand() has cut along N have rows further apart than they are long.
  o->c_stride = c->rank == 2 ? c->stride[0] : o->N;
  if (cuda_accumulates(call, C)) o->flags |= MATMUL_ACCUMULATES;
  if (o->N % 4 == 0 && o->c_stride % 4 == 0 && c->offset % (4 * dure_dtype_size(c->dtype)) == 0)
    o->flags |= MATMUL_WIDE_STORE;
  o->a = cuda_address<void>(&operands[A]);
  o->b = cuda_address<void>(&operands[B]);
  o->bias = cuda_address<void>(&operands[BIAS]);
  o->c = any_pointer{cuda_address<void>(c), c->dtype};
  p->a_scales = cuda_address<float>(&operands[A_SCALES]);
  p->b_scales = cuda_address<float>(&operands[B_SCALES]);
}

template <typename T>
dure_status record_rows(dure_recording *recording, const matmul_q8_arguments *p) {
  const uint32_t M = p->o.M, rows = M <= 1 ? 1 : M <= 2 ? 2 : M <= 4 ? 4 : ROWS_MOST;
  const matmul_q8_kernel kernel = rows == 1   ? matmul_q8_rows_kernel<T, 1>
                                  : rows == 2 ? matmul_q8_rows_kernel<T, 2>
                                  : rows == 4 ? matmul_q8_rows_kernel<T, 4>
                                              : matmul_q8_rows_kernel<T, ROWS_MOST>;
  const dim3 grid((unsigned)(cuda_ceil_divide(M, rows) * cuda_ceil_divide(p->o.N, MATMUL_Q8_ROWS_COLUMNS)));
  return cuda_record(recording, kernel, grid, MATMUL_Q8_ROWS_THREADS, 0, *p);
}

template <typename T>
dure_status record_tiles(dure_recording *recording, const dure_op_call *call, const variant *v,
                         matmul_q8_arguments *p) {
  matmul_arguments *o = &p->o;
  const uint64_t bytes = chunks_bytes(v, o);
  uint32_t chunks = 1;
  if (bytes > 0 && dure_operand_is_present(&call->workspace) && call->workspace.offset % 16 == 0 &&
      dure_operand_span(&call->workspace) >= bytes) {
    o->chunk = chunk_of(v, o);
    o->partial = cuda_address<float>(&call->workspace);
    chunks = (uint32_t)cuda_ceil_divide(o->K, o->chunk);
  }
  const matmul_q8_kernel kernel = v->tile == 64 ? matmul_q8_mma_kernel<T, 64> : matmul_q8_mma_kernel<T, 128>;
  const dim3 grid((unsigned)tiles_of(o, (uint32_t)v->tile), chunks);
  DURE_TRY(cuda_record(recording, kernel, grid, matmul_mma_threads(v->tile), matmul_q8_mma_shared_bytes(v->tile), *p));
  if (chunks == 1) return nullptr;
  const uint64_t fours = cuda_ceil_divide(o->N, 4) * o->M;
  return cuda_record(recording, matmul_sum_chunks_kernel<T>, cuda_grid(fours, 256), 256, 0, *o);
}

template <typename T>
dure_status record_matmul_q8_of(dure_recording *recording, const dure_op_call *call, const variant *v,
                                matmul_q8_arguments *p) {
  return v->tile == 0 ? record_rows<T>(recording, p) : record_tiles<T>(recording, call, v, p);
}

dure_status record_matmul_q8(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  matmul_q8_arguments p = {};
  describe(call, &p.o);
  if (p.o.M == 0 || p.o.N == 0) return nullptr;
  resolve(call, &p);
  const variant *v = choose(device, &p.o);
  CUDA_WITH_STORAGE(call->operands[C].dtype, T, return record_matmul_q8_of<T>(recording, call, v, &p));
  return nullptr;
}

uint64_t matmul_q8_workspace(dure_device *device, const dure_op_call *call) {
  matmul_arguments o = {};
  describe(call, &o);
  if (o.M == 0 || o.N == 0) return 0;
  return chunks_bytes(choose(device, &o), &o);
}

}  // namespace

extern "C" const dure_backend_op dure_cuda_op_quantize_rows = {record_quantize_rows, nullptr, true};
extern "C" const dure_backend_op dure_cuda_op_matmul_q8 = {record_matmul_q8, matmul_q8_workspace, true};
