// cuBLASLt's interface as far as it is used here (NVIDIA, "cuBLAS Library User Guide", chapter "Using the cuBLASLt
// API"): the library is opened at run time (blas.c), so that nothing of it is needed to build. Where its own header
// exists, the values below are compared with it (cublaslt_check.c). `lt_` stands for cublasLt, `LT_` for CUBLASLT_ and
// CUBLAS_.
#ifndef DURE_CUDA_CUBLASLT_H_
#define DURE_CUDA_CUBLASLT_H_

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int lt_status;
enum {
  LT_STATUS_SUCCESS = 0,
  LT_STATUS_NOT_INITIALIZED = 1,
  LT_STATUS_ALLOC_FAILED = 3,
  LT_STATUS_INVALID_VALUE = 7,
  LT_STATUS_NOT_SUPPORTED = 15,
};

// cudaDataType
enum { LT_R_32F = 0, LT_R_16F = 2, LT_R_16BF = 14, LT_R_8F_E4M3 = 28 };
// cublasComputeType_t
enum { LT_COMPUTE_32F = 68, LT_COMPUTE_32F_FAST_TF32 = 77 };
// cublasOperation_t
enum { LT_OP_N = 0, LT_OP_T = 1 };

// cublasLtMatmulDescAttributes_t; the type of the value behind each.
enum {
  LT_MATMUL_DESC_TRANSA = 3,                      // int32_t
  LT_MATMUL_DESC_TRANSB = 4,                      // int32_t
  LT_MATMUL_DESC_EPILOGUE = 7,                    // uint32_t
  LT_MATMUL_DESC_BIAS_POINTER = 8,                // const void *
  LT_MATMUL_DESC_EPILOGUE_AUX_POINTER = 11,       // void *
  LT_MATMUL_DESC_EPILOGUE_AUX_LD = 12,            // int64_t
  LT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE = 13,  // int64_t
  LT_MATMUL_DESC_A_SCALE_POINTER = 17,            // const float *
  LT_MATMUL_DESC_B_SCALE_POINTER = 18,            // const float *
};

// cublasLtEpilogue_t: what is done to alpha op(A) op(B) + beta C.
enum {
  LT_EPILOGUE_DEFAULT = 1,
  LT_EPILOGUE_BIAS = 4,
  LT_EPILOGUE_GELU = 32,
  LT_EPILOGUE_GELU_BIAS = 36,
  LT_EPILOGUE_GELU_AUX = 160,
  LT_EPILOGUE_GELU_AUX_BIAS = 164,
  LT_EPILOGUE_DGELU = 192,
};

// cublasLtMatrixLayoutAttribute_t
enum {
  LT_MATRIX_LAYOUT_BATCH_COUNT = 5,           // int32_t
  LT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET = 6,  // int64_t
};

// cublasLtMatmulPreferenceAttributes_t
enum {
  LT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,    // uint64_t
  LT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3,  // uint32_t
  LT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,  // uint32_t
  LT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,  // uint32_t
  LT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,  // uint32_t
  LT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8,  // uint32_t
};

// cublasLtReductionScheme_t: sums in parts by f32 in the workspace, added in a step of their own. The others round
// between or go through the output in the order in which blocks arrive.
enum { LT_REDUCTION_SCHEME_COMPUTE_TYPE = 2 };

typedef struct lt_context *lt_handle;
typedef struct lt_matmul_desc_opaque *lt_matmul_desc;
typedef struct lt_layout_opaque *lt_layout;
typedef struct lt_preference_opaque *lt_preference;

typedef struct lt_algorithm {
  uint64_t data[8];
} lt_algorithm;

typedef struct lt_heuristic_result {
  lt_algorithm algorithm;
  size_t workspace_bytes;
  lt_status state;
  float waves;
  int reserved[4];
} lt_heuristic_result;

#define CUBLASLT_FUNCTION(name, parameters) typedef lt_status(*lt_##name) parameters;
#include "cuda/cublaslt.def"
#undef CUBLASLT_FUNCTION

typedef struct lt_functions {
#define CUBLASLT_FUNCTION(name, parameters) lt_##name name;
#include "cuda/cublaslt.def"
#undef CUBLASLT_FUNCTION
} lt_functions;

#ifdef __cplusplus
}
#endif
#endif  // DURE_CUDA_CUBLASLT_H_
