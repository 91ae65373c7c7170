// Matrix products by cuBLASLt, opened at run time: DURE_CUBLASLT names the library; else it is looked for where the
// system looks for libraries, beside the plugin, and where the Python package nvidia-cublas puts it.
//
// Products are described row-major, as everything of ours is; cuBLASLt's column-major view of the same memory is the
// transposed matrix, so it is asked for c^T = op(b)^T op(a)^T.
//
// Algorithms: only such as give the same bits every time (sums in one piece, or parts in f32 added in a step of their
// own). What is asked of the library for a product (descriptors, the heuristic's choice) is kept with the device, keyed
// by sizes, types, strides, alignments and epilogue.
#ifndef DURE_CUDA_BLAS_H_
#define DURE_CUDA_BLAS_H_

#include "cuda/internal.h"
#include "runtime/dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cuda_blas_matrix {
  void *address;
  dure_dtype dtype;        // f32, bf16 or f16; a and b of products in fp8: U8, which stands for e4m3
  uint64_t stride, batch;  // of rows and of matrices, elements
} cuda_blas_matrix;

typedef enum cuda_blas_epilogue {
  CUDA_BLAS_NONE,
  CUDA_BLAS_GELU,           // d = gelu_tanh(t)
  CUDA_BLAS_GELU_SAVED,     // the same, and t goes to `saved`
  CUDA_BLAS_GELU_GRADIENT,  // d = t * gelu_tanh'(saved); without bias
} cuda_blas_epilogue;

// d = epilogue(t), t = op(a) op(b) + bias + added
// In fp8 (e4m3) a and b have a scale each, which their product is multiplied with; a is not transposed, b is, strides
// and addresses of both are multiples of 16, so is N; no batch, no epilogue.
typedef struct cuda_blas_product {
  uint32_t batch, M, N, K;  // none is 0
  bool transpose_a, transpose_b, allows_tf32;
  cuda_blas_epilogue epilogue;
  cuda_blas_matrix a, b, d;
  cuda_blas_matrix added;          // of d's type, may be d itself; address NULL: none
  cuda_blas_matrix saved;          // of d's type, for the epilogues that need it
  const void *bias;                // [N] of d's type; NULL: none
  const float *a_scale, *b_scale;  // on the device; NULL but in fp8
} cuda_blas_product;

// The device's, made by the first call; NULL where the switch is off or there is no library (said once in the log, and
// caps.uses_cublaslt is false from then on).
struct cuda_blas *cuda_blas_get(cuda_device *device);

// Whether the library has an algorithm for it. Nothing is recorded; addresses need not be valid yet.
DURE_MUST_CHECK dure_status cuda_blas_ask(struct cuda_blas *blas, const cuda_blas_product *product,
                                          uint64_t workspace_bytes, bool *out_possible);

// Adds the product to the recording; out_recorded is false where the library has no algorithm for it. `workspace` is
// aligned to 256 bytes and stays the product's while it runs.
DURE_MUST_CHECK dure_status cuda_blas_record(struct cuda_blas *blas, dure_recording *recording,
                                             const cuda_blas_product *product, void *workspace,
                                             uint64_t workspace_bytes, bool *out_recorded);

#ifdef __cplusplus
}
#endif
#endif  // DURE_CUDA_BLAS_H_
