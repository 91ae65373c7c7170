// matmul: describes the call as strides and sizes, chooses the kernel, records it.
//
// Kernels, by the names that DURE_CUDA_MATMUL takes (tests and measurements; where one cannot run the call, the choice
// is as without it):
//   blas              cuBLASLt (blas.h), and matmul_epilogue where it has not got the call's epilogue
//   vector            few rows: reads b once
//   simt64, simt128   tiles without matrix units: every type, stride and alignment
//   mma64, mma128     matrix units: bf16 (sm_80 and later) and f16, every stride and alignment
//   fp8               products rounded to 8-bit floats, by cuBLASLt (sm_89 and later): see "fp8" below
#include <cstdlib>
#include <cstring>

#include "cuda/kernels/matmul.cuh"
#include "cuda/kernels/matmul_epilogue.cuh"
#include "cuda/kernels/matmul_fp8.cuh"
#include "cuda/kernels/matmul_mma.cuh"
#include "cuda/kernels/matmul_simt.cuh"
#include "cuda/kernels/matmul_sum_chunks.cuh"
#include "cuda/kernels/matmul_vector.cuh"
#include "cuda/record.cuh"

extern "C" {
#include "cuda/blas.h"
#include "cuda/ops.h"
}

namespace {

enum { A, B, BIAS, RESIDUAL, PREACTIVATION, C, SAVED };

// ---- the call as strides and sizes -------------------------------------------------------------------------------

// Distance of rows of `width` elements. Contiguous operands may have come under another shape with the same elements.
uint64_t row_stride(const dure_operand *operand, uint64_t width) {
  if (operand->rank < 2 || dure_operand_is_contiguous(operand)) return width;
  return operand->stride[operand->rank - 2];
}

uint64_t batch_stride(const dure_operand *operand, uint64_t rows, uint64_t width) {
  if (operand->rank < 3 || dure_operand_is_contiguous(operand)) return rows * width;
  return operand->stride[operand->rank - 3];
}

// Whether the rows begin at multiples of `count` elements.
bool in_groups(const dure_operand *operand, uint64_t stride, uint64_t batch, uint64_t count) {
  return operand->offset % (count * dure_dtype_size(operand->dtype)) == 0 && stride % count == 0 && batch % count == 0;
}

struct problem {
  uint32_t batch;
  dure_dtype storage;
  matmul_arguments arguments;  // chunk: K; no `partial`
};

uint32_t epilogue_flags(const dure_op_call *call) {
  const dure_matmul_attributes *attributes = &call->attributes.matmul;
  uint32_t flags = 0;
  if (attributes->continues == DURE_CONTINUES_C) flags |= MATMUL_CONTINUES_C;
  if (attributes->continues == DURE_CONTINUES_SAVED) flags |= MATMUL_CONTINUES_SAVED;
  if (attributes->epilogue == DURE_EPILOGUE_ACTIVATION) flags |= MATMUL_ACTIVATES;
  if (attributes->epilogue == DURE_EPILOGUE_ACTIVATION_GRADIENT) flags |= MATMUL_ACTIVATES_BACKWARD;
  if (cuda_accumulates(call, C)) flags |= MATMUL_ACCUMULATES;
  if (attributes->transpose_a) flags |= MATMUL_TRANSPOSES_A;
  if (attributes->transpose_b) flags |= MATMUL_TRANSPOSES_B;
  return flags;
}

// Addresses, and all about the [M, N] operands.
void resolve(const dure_op_call *call, matmul_arguments *o) {
  const dure_operand *operands = call->operands;
  struct {
    uint32_t operand;
    uint64_t *stride, *batch;
  } const results[] = {{RESIDUAL, &o->residual_stride, &o->residual_batch},
                       {PREACTIVATION, &o->preactivation_stride, &o->preactivation_batch},
                       {C, &o->c_stride, &o->c_batch},
                       {SAVED, &o->saved_stride, &o->saved_batch}};
  bool is_wide = o->N % 4 == 0;
  for (const auto &result : results) {
    const dure_operand *operand = &operands[result.operand];
    if (!dure_operand_is_present(operand)) continue;
    *result.stride = row_stride(operand, o->N);
    *result.batch = batch_stride(operand, o->M, o->N);
    is_wide = is_wide && in_groups(operand, *result.stride, *result.batch, 4);
  }
  if (is_wide) o->flags |= MATMUL_WIDE_STORE;
  o->a = cuda_address<void>(&operands[A]);
  o->b = cuda_address<void>(&operands[B]);
  o->bias = cuda_address<void>(&operands[BIAS]);
  o->residual = cuda_address<void>(&operands[RESIDUAL]);
  o->preactivation = cuda_address<void>(&operands[PREACTIVATION]);
  o->saved = cuda_address<void>(&operands[SAVED]);
  o->c = any_pointer{cuda_address<void>(&operands[C]), operands[C].dtype};
}

// All that needs no memory to be there.
problem describe(const dure_op_call *call) {
  const dure_operand *a = &call->operands[A], *b = &call->operands[B];
  const bool is_batched = b->rank == 3, transpose_a = call->attributes.matmul.transpose_a;
  const bool transpose_b = call->attributes.matmul.transpose_b;
  problem p = {};
  matmul_arguments *o = &p.arguments;
  p.batch = is_batched ? (uint32_t)b->shape[0] : 1;
  p.storage = a->dtype;
  const uint64_t b_rows = b->shape[b->rank - 2], b_width = b->shape[b->rank - 1], a_width = a->shape[a->rank - 1];
  const uint64_t a_rows = p.batch > 0 ? dure_operand_rows(a) / p.batch : 0;
  o->N = (uint32_t)(transpose_b ? b_rows : b_width);
  o->K = (uint32_t)(transpose_b ? b_width : b_rows);
  o->M = (uint32_t)(transpose_a ? a_width : a_rows);
  o->chunk = o->K > 0 ? o->K : 1;
  o->activation = call->attributes.matmul.activation;
  o->flags = epilogue_flags(call);
  o->a_stride = row_stride(a, a_width);
  o->b_stride = row_stride(b, b_width);
  if (is_batched) {
    o->a_batch = batch_stride(a, a_rows, a_width);
    o->b_batch = batch_stride(b, b_rows, b_width);
  }
  const uint64_t line = 16 / dure_dtype_size(a->dtype);
  if (in_groups(a, o->a_stride, o->a_batch, 4)) o->flags |= MATMUL_A_IN_FOURS;
  if (in_groups(b, o->b_stride, o->b_batch, 4)) o->flags |= MATMUL_B_IN_FOURS;
  if (in_groups(a, o->a_stride, o->a_batch, line)) o->flags |= MATMUL_A_IN_LINES;
  if (in_groups(b, o->b_stride, o->b_batch, line)) o->flags |= MATMUL_B_IN_LINES;
  return p;
}

// ---- kernels -----------------------------------------------------------------------------------------------------

typedef void (*matmul_kernel)(matmul_arguments);

enum family { VECTOR, SIMT, MMA };
struct variant {
  const char *name;
  family kind;
  uint32_t tile;  // of SIMT and MMA: rows and columns
};
enum { VARIANT_VECTOR, SIMT_64, SIMT_128, MMA_64, MMA_128, VARIANT_COUNT };
const variant variants[VARIANT_COUNT] = {
    {"vector", VECTOR, 0}, {"simt64", SIMT, 64}, {"simt128", SIMT, 128}, {"mma64", MMA, 64}, {"mma128", MMA, 128},
};

// How a variant runs a call: the part of c that a block makes.
struct launch {
  matmul_kernel kernel;
  uint32_t rows, columns, threads, shared_bytes;
};

template <typename T, int TILE>
matmul_kernel mma_kernel(uint32_t flags) {
  if ((flags & MATMUL_TRANSPOSES_A) == 0) {
    return (flags & MATMUL_TRANSPOSES_B) == 0 ? matmul_mma_kernel<T, TILE, false, false>
                                              : matmul_mma_kernel<T, TILE, false, true>;
  }
  return (flags & MATMUL_TRANSPOSES_B) == 0 ? matmul_mma_kernel<T, TILE, true, false>
                                            : matmul_mma_kernel<T, TILE, true, true>;
}

template <typename T, int ROWS>
matmul_kernel vector_kernel(uint32_t flags) {
  return (flags & MATMUL_TRANSPOSES_B) != 0 ? matmul_vector_kernel<T, ROWS, true>
                                            : matmul_vector_kernel<T, ROWS, false>;
}

// T: the call's storage type. What T has no kernel for is not asked for (can_run).
template <typename T>
matmul_kernel mma_or_null(uint32_t tile, uint32_t flags) {
  return tile == 64 ? mma_kernel<T, 64>(flags) : mma_kernel<T, 128>(flags);
}
template <>
matmul_kernel mma_or_null<float>(uint32_t tile, uint32_t flags) {
  (void)tile, (void)flags;
  return nullptr;
}

template <typename T>
launch launch_in(const variant *v, const problem *p) {
  const uint32_t flags = p->arguments.flags;
  if (v->kind == MMA) {
    const int tile = (int)v->tile;
    return {mma_or_null<T>(v->tile, flags), v->tile, v->tile, matmul_mma_threads(tile), matmul_mma_shared_bytes(tile)};
  }
  if (v->kind == SIMT) {
    return {v->tile == 64 ? matmul_simt_kernel<T, 1> : matmul_simt_kernel<T, 2>, v->tile, v->tile, MATMUL_SIMT_THREADS,
            0};
  }
  const uint32_t rows = p->arguments.M == 1 ? 1 : 4;
  return {rows == 1 ? vector_kernel<T, 1>(flags) : vector_kernel<T, 4>(flags), rows,
          matmul_vector_columns((flags & MATMUL_TRANSPOSES_B) != 0, sizeof(T)), MATMUL_VECTOR_THREADS, 0};
}

launch launch_of(const variant *v, const problem *p) {
  switch (p->storage) {
    case DURE_DTYPE_BF16: return launch_in<bfloat16>(v, p);
    case DURE_DTYPE_F16: return launch_in<float16>(v, p);
    default: return launch_in<float>(v, p);
  }
}

bool can_run(const variant *v, const dure_cuda_caps *caps, const problem *p) {
  if (v->kind != MMA) return true;
  return caps->uses_matrix_units && p->storage != DURE_DTYPE_F32 &&
         caps->compute_capability >= (p->storage == DURE_DTYPE_BF16 ? 80u : 75u);
}

uint64_t blocks_of(const problem *p, uint32_t rows, uint32_t columns) {
  return cuda_ceil_divide(p->arguments.M, rows) * cuda_ceil_divide(p->arguments.N, columns) * p->batch;
}

// The kernel `vector` reads b once for every four rows; matrix units read it once for 64, but make few loads at a time.
enum { VECTOR_ROWS = 8, VECTOR_ROWS_BEFORE_MMA = 4 };

const variant *choose(dure_device *device, const problem *p) {
  const dure_cuda_caps *caps = dure_cuda_device_caps(device);
  const char *name = getenv("DURE_CUDA_MATMUL");
  for (uint32_t i = 0; name != nullptr && i < VARIANT_COUNT; i++) {
    if (strcmp(variants[i].name, name) == 0 && can_run(&variants[i], caps, p)) return &variants[i];
  }
  const bool has_mma = can_run(&variants[MMA_64], caps, p);
  if (p->arguments.M <= (has_mma ? VECTOR_ROWS_BEFORE_MMA : VECTOR_ROWS)) return &variants[VARIANT_VECTOR];
  const bool is_large = blocks_of(p, 128, 128) >= caps->multiprocessor_count;
  if (has_mma) return &variants[is_large ? MMA_128 : MMA_64];
  return &variants[is_large ? SIMT_128 : SIMT_64];
}

// ---- sums in chunks of k -----------------------------------------------------------------------------------------

// A result of few tiles leaves most of a GPU idle however long the sums are: weight gradients of small models, one of
// the low-rank products, a vocabulary's share. Tiles are counted in 64 x 64, whatever makes them: the sums then depend
// on the shape alone.
enum { BLOCKS_ENOUGH = 264, CHUNK_LEAST = 512, CHUNKS_MOST = 32, CHUNK_GRAIN = 64 };

uint32_t chunk_of(const variant *v, const problem *p) {
  const uint32_t K = p->arguments.K;
  const launch of_vector = launch_of(v, p);
  const uint64_t blocks = v->kind == VECTOR ? blocks_of(p, of_vector.rows, of_vector.columns) : blocks_of(p, 64, 64);
  if (blocks == 0 || blocks >= BLOCKS_ENOUGH / 2 || K < 2 * CHUNK_LEAST) return p->arguments.chunk;
  uint64_t chunks = BLOCKS_ENOUGH / blocks;
  if (chunks > CHUNKS_MOST) chunks = CHUNKS_MOST;
  const uint64_t chunk = cuda_ceil_divide(cuda_ceil_divide(K, chunks), CHUNK_GRAIN) * CHUNK_GRAIN;
  return chunk < CHUNK_LEAST ? (uint32_t)CHUNK_LEAST : (uint32_t)chunk;
}

uint64_t chunks_bytes(const variant *v, const problem *p) {
  const uint32_t chunk = chunk_of(v, p);
  if (chunk >= p->arguments.K) return 0;
  return cuda_ceil_divide(p->arguments.K, chunk) * p->batch * p->arguments.M * p->arguments.N * sizeof(float);
}

bool has_workspace(const dure_op_call *call, uint64_t bytes) {
  return dure_operand_is_present(&call->workspace) && call->workspace.offset % 16 == 0 &&
         dure_operand_span(&call->workspace) >= bytes;
}

template <typename T>
dure_status record_sum(dure_recording *recording, const matmul_arguments *arguments, uint32_t batch) {
  const uint64_t fours = cuda_ceil_divide(arguments->N, 4) * arguments->M;
  const dim3 grid((unsigned)cuda_ceil_divide(fours, 256), batch);
  return cuda_record(recording, matmul_sum_chunks_kernel<T>, grid, 256, 0, *arguments);
}

// ---- recording ---------------------------------------------------------------------------------------------------

enum { BATCHES_MOST = 32768 / CHUNKS_MOST };  // of one launch

// Moves the arguments on by `count` matrices.
void skip_batches(problem *p, uint32_t count) {
  matmul_arguments *o = &p->arguments;
  const uint64_t size = dure_dtype_size(p->storage);
  const auto advance = [count](const void *address, uint64_t bytes) {
    return address == nullptr ? nullptr : const_cast<char *>(static_cast<const char *>(address)) + count * bytes;
  };
  o->a = advance(o->a, o->a_batch * size);
  o->b = advance(o->b, o->b_batch * size);
  o->residual = advance(o->residual, o->residual_batch * size);
  o->preactivation = advance(o->preactivation, o->preactivation_batch * size);
  o->saved = advance(o->saved, o->saved_batch * size);
  o->c.address = advance(o->c.address, o->c_batch * dure_dtype_size(o->c.dtype));
  p->batch -= count;
}

// At most BATCHES_MOST batches.
dure_status record_own(dure_recording *recording, const dure_op_call *call, const variant *v, const problem *p) {
  matmul_arguments arguments = p->arguments;
  const uint64_t bytes = chunks_bytes(v, p);
  uint32_t chunks = 1;
  if (bytes > 0 && has_workspace(call, bytes)) {
    arguments.chunk = chunk_of(v, p);
    arguments.partial = cuda_address<float>(&call->workspace);
    chunks = (uint32_t)cuda_ceil_divide(arguments.K, arguments.chunk);
  }
  const launch l = launch_of(v, p);
  const dim3 grid((unsigned)(cuda_ceil_divide(arguments.M, l.rows) * cuda_ceil_divide(arguments.N, l.columns)),
                  p->batch * chunks);
  DURE_TRY(cuda_record(recording, l.kernel, grid, l.threads, l.shared_bytes, arguments));
  if (chunks == 1) return nullptr;
  CUDA_WITH_STORAGE(p->storage, T, return record_sum<T>(recording, &arguments, p->batch));
  return nullptr;
}

// ---- cuBLASLt ----------------------------------------------------------------------------------------------------
//
// Its epilogues are of alpha op(a) op(b) + beta c, in f32 before the one rounding. So
//   bias, and t + residual or c + t without an activation    are the row's own semantics;
//   GELU      is used for f(t) that is not saved             (the row's semantics: t is not rounded);
//   DGELU     is used for t f'(preactivation)                (likewise);
//   GELU_AUX  gives f of t before it was rounded for `saved`, while the row's is of what was saved, so that what is
//             computed again from there is the same: only by DURE_CUDA_GELU_SAVED=1. Else the product goes to `saved`
//             and matmul_epilogue makes c of it, at the cost of reading it again.
// The documentation gives neither form nor error of its GELU; other frameworks use it for the tanh form, and so do we,
// with its gradient, where results are bf16, whose rounding is coarser than any approximation in use. All other
// epilogues are matmul_epilogue's. Its bias gradients (BGRADA, BGRADB, DGELU_BGRAD) have nothing to do: no row makes a
// product and the sum of its factor's rows; sum_rows makes those.

struct blas_route {
  cuda_blas_product product;
  bool has_epilogue;  // to be made from `t` after the product
  cuda_blas_matrix t;
  bool epilogue_has_bias, epilogue_has_residual;
};

bool is_switched_on(const char *name) {
  const char *value = getenv(name);
  return value != nullptr && strcmp(value, "1") == 0;
}

cuda_blas_matrix matrix_of(const void *address, dure_dtype dtype, uint64_t stride, uint64_t batch) {
  return cuda_blas_matrix{const_cast<void *>(address), dtype, stride, batch};
}

// Whether a matrix can be cuBLASLt's auxiliary one.
bool can_be_auxiliary(const cuda_blas_matrix *m) {
  return m->stride % 8 == 0 && m->batch % 8 == 0 && reinterpret_cast<uintptr_t>(m->address) % 16 == 0;
}

// The library's own activation, if it has the call's: see above. False where it has not.
bool use_own_activation(const problem *p, const cuda_blas_matrix *c, const cuda_blas_matrix *saved, blas_route *route) {
  const matmul_arguments *o = &p->arguments;
  const bool is_forward = (o->flags & MATMUL_ACTIVATES) != 0, is_backward = (o->flags & MATMUL_ACTIVATES_BACKWARD) != 0;
  if (o->activation != DURE_ACTIVATION_GELU_TANH || p->storage != DURE_DTYPE_BF16 || c->dtype != DURE_DTYPE_BF16 ||
      o->residual != nullptr || (o->flags & MATMUL_ACCUMULATES) != 0) {
    return false;
  }
  cuda_blas_product *product = &route->product;
  product->d = *c;
  if (is_forward && o->saved == nullptr) {
    product->epilogue = CUDA_BLAS_GELU;
    return true;
  }
  if (is_forward && is_switched_on("DURE_CUDA_GELU_SAVED") && can_be_auxiliary(saved)) {
    product->epilogue = CUDA_BLAS_GELU_SAVED;
    product->saved = *saved;
    return true;
  }
  product->saved = matrix_of(o->preactivation, p->storage, o->preactivation_stride, o->preactivation_batch);
  product->epilogue = CUDA_BLAS_GELU_GRADIENT;
  return is_backward && o->saved == nullptr && o->bias == nullptr && can_be_auxiliary(&product->saved);
}

// The product to `target`, the rest afterwards from there.
void use_epilogue_kernel(const problem *p, const cuda_blas_matrix *target, blas_route *route) {
  const matmul_arguments *o = &p->arguments;
  route->product.epilogue = CUDA_BLAS_NONE;
  route->product.saved = cuda_blas_matrix();
  route->product.d = *target;
  route->has_epilogue = true;
  route->t = *target;
  route->epilogue_has_residual = o->residual != nullptr;
}

// How cuBLASLt makes the call; false: not at all.
bool find_route(const problem *p, bool is_fp8, blas_route *route) {
  const matmul_arguments *o = &p->arguments;
  const uint32_t flags = o->flags;
  const cuda_blas_matrix c = matrix_of(o->c.address, o->c.dtype, o->c_stride, o->c_batch);
  const cuda_blas_matrix saved = matrix_of(o->saved, p->storage, o->saved_stride, o->saved_batch);
  *route = blas_route();
  if ((flags & (MATMUL_CONTINUES_C | MATMUL_CONTINUES_SAVED)) != 0 || o->K == 0) return false;
  const bool activates = (flags & (MATMUL_ACTIVATES | MATMUL_ACTIVATES_BACKWARD)) != 0;
  const bool accumulates = (flags & MATMUL_ACCUMULATES) != 0;
  const bool is_residual_c = o->residual == o->c.address;  // the product must not overwrite it
  cuda_blas_product *product = &route->product;
  if (activates && !is_fp8 && use_own_activation(p, &c, &saved, route)) {
    // nothing is left to do
  } else if (o->saved != nullptr) {
    use_epilogue_kernel(p, &saved, route);
  } else if (activates || (o->residual != nullptr && c.dtype != p->storage)) {
    const bool rounds = c.dtype != DURE_DTYPE_F32 && !is_fp8;  // t, before its time; fp8 has rounded more already
    if (rounds || accumulates || is_residual_c) return false;  // the last two: c would be lost
    use_epilogue_kernel(p, &c, route);
  } else {
    product->saved = cuda_blas_matrix();
    product->d = c;
    if (accumulates) product->added = c;
    if (o->residual != nullptr)
      product->added = matrix_of(o->residual, p->storage, o->residual_stride, o->residual_batch);
  }
  if (o->bias != nullptr && product->d.dtype == p->storage && !(is_fp8 && p->storage == DURE_DTYPE_F32)) {
    if (reinterpret_cast<uintptr_t>(o->bias) % 16 != 0) return false;  // no word on what its kernels need
    product->bias = o->bias;
  } else if (o->bias != nullptr) {  // cuBLASLt's bias is of the result's type
    if (!route->has_epilogue) {
      if (accumulates || product->added.address != nullptr) return false;
      use_epilogue_kernel(p, &c, route);
    }
    route->epilogue_has_bias = true;
  }
  return true;
}

template <typename T>
dure_status record_epilogue(dure_recording *recording, const matmul_epilogue_arguments *e, uint32_t batch) {
  const uint64_t fours = cuda_ceil_divide(e->o.N, 4) * e->o.M;
  return cuda_record(recording, matmul_epilogue_kernel<T>, dim3((unsigned)cuda_ceil_divide(fours, 256), batch), 256, 0,
                     *e);
}

dure_status record_rest(dure_recording *recording, const problem *p, const blas_route *route) {
  matmul_epilogue_arguments e = {};
  e.o = p->arguments;
  e.o.saved = nullptr;
  if (!route->epilogue_has_bias) e.o.bias = nullptr;
  if (!route->epilogue_has_residual) e.o.residual = nullptr;
  e.t = any_pointer{route->t.address, route->t.dtype};
  e.t_stride = route->t.stride;
  e.t_batch = route->t.batch;
  CUDA_WITH_STORAGE(p->storage, T, return record_epilogue<T>(recording, &e, p->batch));
  return nullptr;
}

// As much as PyTorch gives it; for small results as many parts of them as a sum is ever cut into.
uint64_t blas_workspace_bytes(const dure_cuda_caps *caps, const problem *p) {
  const uint64_t most = (uint64_t)(caps->compute_capability >= 90 ? 32 : 4) << 20;
  const uint64_t parts = (uint64_t)CHUNKS_MOST * p->batch * p->arguments.M * p->arguments.N * sizeof(float);
  return parts < most ? cuda_ceil_divide(parts, 256) * 256 : most;
}

// ---- fp8 ---------------------------------------------------------------------------------------------------------
//
// DURE_CUDA_MATMUL=fp8 (opt-in, sm_89 and later): both factors of every call that allows it are rounded to e4m3 with
// one scale a matrix, found anew each time (kernels/matmul_fp8.cuh), and multiplied by cuBLASLt with sums in f32 (its
// slower, exact accumulation); results, biases and epilogues are as ever. Each factor errs by 2^-4 of an element, or
// 2^-10 of 1 / 448 of the matrix's largest where an element is that small: a choice for training large models, not for
// comparing. Storage may be of any type. Calls with few rows, with a batch, or whose N is no multiple of 16 run as
// without the switch, and so does everything on older cards.

// The call's workspace, from its beginning: what the library may use, the copies of op(a) and op(b), the parts' largest
// magnitudes, the scales.
struct fp8_places {
  uint64_t padded_k, blas_bytes, a, b, largest, scales, size;
};

fp8_places fp8_places_of(const dure_cuda_caps *caps, const problem *p) {
  const auto whole = [](uint64_t bytes) { return cuda_ceil_divide(bytes, 256) * 256; };
  const matmul_arguments *o = &p->arguments;
  fp8_places places = {};
  places.padded_k = cuda_ceil_divide(o->K, 16) * 16;
  places.blas_bytes = places.a = blas_workspace_bytes(caps, p);
  places.b = places.a + whole(o->M * places.padded_k);
  places.largest = places.b + whole(o->N * places.padded_k);
  places.scales = places.largest + whole(2 * MATMUL_FP8_PARTS * sizeof(uint32_t));
  places.size = places.scales + whole(4 * sizeof(float));
  return places;
}

bool wants_fp8(const dure_cuda_caps *caps, const problem *p) {
  const char *name = getenv("DURE_CUDA_MATMUL");
  return name != nullptr && strcmp(name, "fp8") == 0 && caps->compute_capability >= 89 && p->batch == 1 &&
         p->arguments.N % 16 == 0 && p->arguments.K > 0;
}

template <typename T>
dure_status record_fp8_copies(dure_recording *recording, const matmul_fp8_arguments *o) {
  const uint32_t lines = o->operands[0].lines > o->operands[1].lines ? o->operands[0].lines : o->operands[1].lines;
  const uint64_t tiles = cuda_ceil_divide(lines, MATMUL_FP8_TILE) * cuda_ceil_divide(o->padded_k, MATMUL_FP8_TILE);
  const uint32_t threads = MATMUL_FP8_THREADS;
  DURE_TRY(cuda_record(recording, matmul_fp8_largest_kernel<T>, dim3(MATMUL_FP8_PARTS, 2), threads, 0, *o));
  DURE_TRY(cuda_record(recording, matmul_fp8_scales_kernel, dim3(1, 2), threads, 0, *o));
  return cuda_record(recording, matmul_fp8_copy_kernel<T>, dim3((unsigned)tiles, 2), threads, 0, *o);
}

// The product of the copies that `workspace` will hold.
matmul_fp8_arguments use_fp8(const problem *p, const fp8_places *places, char *workspace, cuda_blas_product *product) {
  const matmul_arguments *o = &p->arguments;
  const uint32_t flags = o->flags;
  matmul_fp8_arguments copies = {};
  copies.operands[0] = {o->a,
                        o->a_stride,
                        o->M,
                        (flags & MATMUL_TRANSPOSES_A) == 0,
                        (flags & MATMUL_A_IN_FOURS) != 0,
                        reinterpret_cast<uint8_t *>(workspace + places->a)};
  copies.operands[1] = {o->b,
                        o->b_stride,
                        o->N,
                        (flags & MATMUL_TRANSPOSES_B) != 0,
                        (flags & MATMUL_B_IN_FOURS) != 0,
                        reinterpret_cast<uint8_t *>(workspace + places->b)};
  copies.k = o->K;
  copies.padded_k = (uint32_t)places->padded_k;
  copies.largest = reinterpret_cast<uint32_t *>(workspace + places->largest);
  copies.scales = reinterpret_cast<float *>(workspace + places->scales);
  product->K = copies.padded_k;
  product->transpose_a = false;
  product->transpose_b = true;
  product->a = matrix_of(copies.operands[0].q, DURE_DTYPE_U8, copies.padded_k, 0);
  product->b = matrix_of(copies.operands[1].q, DURE_DTYPE_U8, copies.padded_k, 0);
  product->a_scale = copies.scales;
  product->b_scale = copies.scales + 1;
  return copies;
}

// ---- recording with cuBLASLt -------------------------------------------------------------------------------------

void describe_product(const problem *p, cuda_blas_product *product) {
  const matmul_arguments *o = &p->arguments;
  product->batch = p->batch;
  product->M = o->M;
  product->N = o->N;
  product->K = o->K;
  product->transpose_a = (o->flags & MATMUL_TRANSPOSES_A) != 0;
  product->transpose_b = (o->flags & MATMUL_TRANSPOSES_B) != 0;
  product->allows_tf32 = is_switched_on("DURE_CUDA_TF32");
  product->a = matrix_of(o->a, p->storage, o->a_stride, o->a_batch);
  product->b = matrix_of(o->b, p->storage, o->b_stride, o->b_batch);
}

// The workspace, if it has that size and lies at a multiple of 256 bytes.
char *blas_workspace(const dure_op_call *call, uint64_t bytes) {
  char *workspace = has_workspace(call, bytes) ? cuda_address<char>(&call->workspace) : nullptr;
  return reinterpret_cast<uintptr_t>(workspace) % 256 == 0 ? workspace : nullptr;
}

dure_status record_fp8(cuda_device *device, dure_recording *recording, const dure_op_call *call, const problem *p,
                       bool *out_recorded) {
  struct cuda_blas *blas = cuda_blas_get(device);
  const fp8_places places = fp8_places_of(&device->caps, p);
  char *workspace = blas_workspace(call, places.size);
  blas_route route;
  *out_recorded = false;
  if (blas == nullptr || workspace == nullptr || !find_route(p, true, &route)) return nullptr;
  describe_product(p, &route.product);
  const matmul_fp8_arguments copies = use_fp8(p, &places, workspace, &route.product);
  bool is_possible = false;
  DURE_TRY(cuda_blas_ask(blas, &route.product, places.blas_bytes, &is_possible));
  if (!is_possible) return nullptr;
  CUDA_WITH_STORAGE(p->storage, T, DURE_TRY(record_fp8_copies<T>(recording, &copies)));
  DURE_TRY(cuda_blas_record(blas, recording, &route.product, workspace, places.blas_bytes, out_recorded));
  return *out_recorded && route.has_epilogue ? record_rest(recording, p, &route) : nullptr;
}

// At most BATCHES_MOST batches. out_recorded: false where own kernels must do it.
dure_status record_blas(dure_device *device, dure_recording *recording, const dure_op_call *call, const problem *p,
                        bool *out_recorded) {
  *out_recorded = false;
  cuda_device *owner = cuda_device_of(device);
  struct cuda_blas *blas = cuda_blas_get(owner);
  blas_route route;
  if (wants_fp8(&owner->caps, p)) DURE_TRY(record_fp8(owner, recording, call, p, out_recorded));
  if (*out_recorded || blas == nullptr || !find_route(p, false, &route)) return nullptr;
  describe_product(p, &route.product);
  uint64_t bytes = blas_workspace_bytes(&owner->caps, p);
  char *workspace = blas_workspace(call, bytes);
  if (workspace == nullptr) bytes = 0;
  DURE_TRY(cuda_blas_record(blas, recording, &route.product, workspace, bytes, out_recorded));
  return *out_recorded && route.has_epilogue ? record_rest(recording, p, &route) : nullptr;
}

// Few rows are the kernel `vector`'s.
bool prefers_blas(dure_device *device, const variant *v) {
  const char *name = getenv("DURE_CUDA_MATMUL");
  if (name != nullptr && name[0] != '\0' && strcmp(name, "fp8") != 0)
    return strcmp(name, "blas") == 0 && dure_cuda_device_caps(device)->uses_cublaslt;
  return v->kind != VECTOR && dure_cuda_device_caps(device)->uses_cublaslt;
}

// ---- the op ------------------------------------------------------------------------------------------------------

dure_status record_matmul(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  problem p = describe(call);
  if (p.arguments.M == 0 || p.arguments.N == 0) return nullptr;
  resolve(call, &p.arguments);
  const variant *v = choose(device, &p);
  while (p.batch > 0) {
    problem part = p;
    if (part.batch > BATCHES_MOST) part.batch = BATCHES_MOST;
    bool is_recorded = false;
    if (prefers_blas(device, v)) DURE_TRY(record_blas(device, recording, call, &part, &is_recorded));
    if (!is_recorded) DURE_TRY(record_own(recording, call, v, &part));
    skip_batches(&p, part.batch);
  }
  return nullptr;
}

uint64_t matmul_workspace(dure_device *device, const dure_op_call *call) {
  const problem p = describe(call);
  if (p.arguments.M == 0 || p.arguments.N == 0 || p.batch == 0) return 0;
  const variant *v = choose(device, &p);
  const uint64_t own = chunks_bytes(v, &p);
  if (!prefers_blas(device, v) || cuda_blas_get(cuda_device_of(device)) == nullptr) return own;
  const dure_cuda_caps *caps = dure_cuda_device_caps(device);
  const uint64_t blas = wants_fp8(caps, &p) ? fp8_places_of(caps, &p).size : blas_workspace_bytes(caps, &p);
  return own > blas ? own : blas;
}

}  // namespace

extern "C" const dure_backend_op dure_cuda_op_matmul = {record_matmul, matmul_workspace, true};
