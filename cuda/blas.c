#include "cuda/blas.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cublaslt.h"
#include "cuda/library.h"
#include "runtime/os.h"

// A product's sizes, types and places, as far as descriptors and the choice of an algorithm depend on them.
enum { KEY_SHAPE = 25, KEY_SIZE = 29 };  // the last four: addresses that descriptors hold

typedef struct plan {
  uint64_t key[KEY_SIZE];
  bool is_possible;
  lt_matmul_desc desc;
  lt_layout a, b, c, d;  // c may be d's
  lt_algorithm algorithm;
  struct plan *next;
} plan;

struct cuda_blas {
  cuda_device *device;
  lt_functions functions;
  lt_handle handle;
  pthread_mutex_t mutex;  // of the plans
  plan *plans;
};

static dure_status check(lt_status status, const char *what) {
  if (status == LT_STATUS_SUCCESS) return NULL;
  return dure_fail(status == LT_STATUS_ALLOC_FAILED ? DURE_OUT_OF_MEMORY : DURE_INTERNAL,
                   "cuBLASLt: %s failed with status %d; DURE_CUDA_CUBLASLT=0 does without the library", what, status);
}

// ---- the library -------------------------------------------------------------------------------------------------

// The toolkit's, and PyPI's: nvidia/cublas/lib (CUDA 12), nvidia/cu13/lib (CUDA 13) below site-packages.
static void *open_library(void) {
  static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};
  static const char *const patterns[] = {"%s/lib/python3*/site-packages/nvidia/cu*/lib/libcublasLt.so.1[23]",
                                         "%s/lib/python3*/dist-packages/nvidia/cu*/lib/libcublasLt.so.1[23]",
                                         "%s/cuda/lib*/libcublasLt.so.1[23]", NULL};
  return cuda_library_open("DURE_CUBLASLT", names, patterns);
}

static bool find_functions(void *library, lt_functions *out_functions) {
  void *address;
#define CUBLASLT_FUNCTION(name, parameters)                    \
  address = dure_os_library_symbol(library, "cublasLt" #name); \
  if (address == NULL) return false;                           \
  memcpy(&out_functions->name, &address, sizeof(address));
#include "cuda/cublaslt.def"
#undef CUBLASLT_FUNCTION
#ifdef DURE_CUDA_EMULATION  // the library in the place of NVIDIA's runs on the emulation's streams
  void (*attach)(cudaError_t(*)(cudaStream_t, void (*)(void *), void *)) = NULL;
  address = dure_os_library_symbol(library, "cublaslt_emulation_attach");
  if (address == NULL) return false;
  memcpy(&attach, &address, sizeof(address));
  attach(cudaLaunchHostFunc);
#endif
  return true;
}

// ---- plans -------------------------------------------------------------------------------------------------------

static void release_plan(const lt_functions *lt, plan *p) {
  if (p->desc != NULL) lt->MatmulDescDestroy(p->desc);
  if (p->a != NULL) lt->MatrixLayoutDestroy(p->a);
  if (p->b != NULL) lt->MatrixLayoutDestroy(p->b);
  if (p->c != NULL && p->c != p->d) lt->MatrixLayoutDestroy(p->c);
  if (p->d != NULL) lt->MatrixLayoutDestroy(p->d);
  free(p);
}

static void release(struct cuda_blas *blas) {
  while (blas->plans != NULL) {
    plan *first = blas->plans;
    blas->plans = first->next;
    release_plan(&blas->functions, first);
  }
  if (blas->handle != NULL) blas->functions.Destroy(blas->handle);
  pthread_mutex_destroy(&blas->mutex);
  free(blas);
}

static struct cuda_blas *open_for(cuda_device *device) {
  void *library = open_library();
  struct cuda_blas *blas = calloc(1, sizeof(*blas));
  const char *problem = NULL;
  if (blas == NULL || library == NULL) {
    problem = library == NULL ? "libcublasLt.so.13 (or .12) was not found" : "no memory";
  } else if (!find_functions(library, &blas->functions)) {
    problem = "the library lacks functions that are needed";
  } else if (cudaSetDevice(device->ordinal) != cudaSuccess ||  // a thread that records may have another current
             blas->functions.Create(&blas->handle) != LT_STATUS_SUCCESS) {
    problem = "cublasLtCreate failed";
  }
  if (problem != NULL) {
    cuda_log(
        DURE_LOG_WARNING,
        "cuBLASLt is not used (%s): matmul runs on our own kernels, slower; DURE_CUBLASLT names the library's path",
        problem);
    device->caps.uses_cublaslt = false;
    free(blas);
    return NULL;
  }
  blas->device = device;
  pthread_mutex_init(&blas->mutex, NULL);
  return blas;
}

struct cuda_blas *cuda_blas_get(cuda_device *device) {
  static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;  // two threads may record the device's first products
  pthread_mutex_lock(&opening);
  if (device->blas == NULL && device->caps.uses_cublaslt) {
    device->blas = open_for(device);
    device->blas_release = release;
  }
  struct cuda_blas *blas = device->blas;
  pthread_mutex_unlock(&opening);
  return blas;
}

static int type_of(dure_dtype dtype) {
  switch (dtype) {
    case DURE_DTYPE_BF16: return LT_R_16BF;
    case DURE_DTYPE_F16: return LT_R_16F;
    case DURE_DTYPE_U8: return LT_R_8F_E4M3;
    default: return LT_R_32F;
  }
}

// Of an address: the largest power of two up to 256 that it and all matrices of the batch are multiples of.
static uint32_t alignment_of(const cuda_blas_matrix *m, uint32_t batch) {
  uintptr_t bits = (uintptr_t)m->address | 256;
  if (batch > 1) bits |= m->batch * dure_dtype_size(m->dtype);
  return (uint32_t)(bits & (~bits + 1));
}

static uint32_t epilogue_of(const cuda_blas_product *p) {
  const uint32_t bias = p->bias != NULL ? LT_EPILOGUE_BIAS : 0;
  switch (p->epilogue) {
    case CUDA_BLAS_GELU: return LT_EPILOGUE_GELU | bias;
    case CUDA_BLAS_GELU_SAVED: return LT_EPILOGUE_GELU_AUX | bias;
    case CUDA_BLAS_GELU_GRADIENT: return LT_EPILOGUE_DGELU;
    default: return bias != 0 ? bias : LT_EPILOGUE_DEFAULT;
  }
}

static void fill_key(const cuda_blas_product *p, uint64_t workspace_bytes, uint64_t key[KEY_SIZE]) {
  const cuda_blas_matrix *matrices[] = {&p->a, &p->b, &p->d, &p->added, &p->saved};
  size_t n = 0;
  key[n++] = (uint64_t)p->batch << 32 | p->M;
  key[n++] = (uint64_t)p->N << 32 | p->K;
  key[n++] =
      (uint64_t)epilogue_of(p) << 3 | (uint64_t)p->transpose_a << 2 | (uint64_t)p->transpose_b << 1 | p->allows_tf32;
  key[n++] = workspace_bytes;
  key[n++] = p->bias != NULL ? (uint64_t)((uintptr_t)p->bias & 255) | 256 : 0;
  for (size_t i = 0; i < sizeof(matrices) / sizeof(matrices[0]); i++) {
    const cuda_blas_matrix *m = matrices[i];
    const bool is_there = m->address != NULL;
    key[n++] = is_there ? (uint64_t)type_of(m->dtype) + 1 : 0;
    key[n++] = is_there ? m->stride : 0;
    key[n++] = is_there && p->batch > 1 ? m->batch : 0;
    key[n++] = is_there ? alignment_of(m, p->batch) : 0;
  }
  key[n++] = (uint64_t)(uintptr_t)p->bias;  // KEY_SHAPE
  key[n++] = (uint64_t)(uintptr_t)p->saved.address;
  key[n++] = (uint64_t)(uintptr_t)p->a_scale;
  key[n++] = (uint64_t)(uintptr_t)p->b_scale;
}

// The column-major view of a row-major matrix [rows, columns].
static dure_status make_layout(const lt_functions *lt, const cuda_blas_matrix *m, uint32_t batch, uint64_t rows,
                               uint64_t columns, lt_layout *out_layout) {
  DURE_TRY(check(lt->MatrixLayoutCreate(out_layout, type_of(m->dtype), columns, rows, (int64_t)m->stride),
                 "describing a matrix"));
  if (batch == 1) return NULL;
  const int32_t count = (int32_t)batch;
  const int64_t offset = (int64_t)m->batch;
  DURE_TRY(check(lt->MatrixLayoutSetAttribute(*out_layout, LT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)),
                 "describing a matrix"));
  return check(
      lt->MatrixLayoutSetAttribute(*out_layout, LT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &offset, sizeof(offset)),
      "describing a matrix");
}

static dure_status set_epilogue(const lt_functions *lt, const cuda_blas_product *p, lt_matmul_desc desc) {
  const uint32_t epilogue = epilogue_of(p);
  const int64_t stride = (int64_t)p->saved.stride, batch_stride = (int64_t)p->saved.batch;
  const char *const what = "describing an epilogue";
  DURE_TRY(check(lt->MatmulDescSetAttribute(desc, LT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof(epilogue)), what));
  if (p->bias != NULL) {
    DURE_TRY(check(lt->MatmulDescSetAttribute(desc, LT_MATMUL_DESC_BIAS_POINTER, &p->bias, sizeof(p->bias)), what));
  }
  if (p->epilogue != CUDA_BLAS_GELU_SAVED && p->epilogue != CUDA_BLAS_GELU_GRADIENT) return NULL;
  DURE_TRY(check(lt->MatmulDescSetAttribute(desc, LT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &p->saved.address,
                                            sizeof(p->saved.address)),
                 what));
  DURE_TRY(check(lt->MatmulDescSetAttribute(desc, LT_MATMUL_DESC_EPILOGUE_AUX_LD, &stride, sizeof(stride)), what));
  if (p->batch == 1) return NULL;
  return check(
      lt->MatmulDescSetAttribute(desc, LT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, &batch_stride, sizeof(batch_stride)),
      what);
}

// cuBLASLt's first factor is our b.
static dure_status set_scales(const lt_functions *lt, const cuda_blas_product *p, lt_matmul_desc desc) {
  if (p->a_scale == NULL) return NULL;
  DURE_TRY(check(lt->MatmulDescSetAttribute(desc, LT_MATMUL_DESC_A_SCALE_POINTER, &p->b_scale, sizeof(p->b_scale)),
                 "describing a scale"));
  return check(lt->MatmulDescSetAttribute(desc, LT_MATMUL_DESC_B_SCALE_POINTER, &p->a_scale, sizeof(p->a_scale)),
               "describing a scale");
}

static dure_status describe(const lt_functions *lt, const cuda_blas_product *p, plan *out_plan) {
  const int32_t first = p->transpose_b ? LT_OP_T : LT_OP_N, second = p->transpose_a ? LT_OP_T : LT_OP_N;
  const bool is_tf32 = p->allows_tf32 && p->a.dtype == DURE_DTYPE_F32;
  DURE_TRY(check(lt->MatmulDescCreate(&out_plan->desc, is_tf32 ? LT_COMPUTE_32F_FAST_TF32 : LT_COMPUTE_32F, LT_R_32F),
                 "describing a product"));
  DURE_TRY(check(lt->MatmulDescSetAttribute(out_plan->desc, LT_MATMUL_DESC_TRANSA, &first, sizeof(first)),
                 "describing a product"));
  DURE_TRY(check(lt->MatmulDescSetAttribute(out_plan->desc, LT_MATMUL_DESC_TRANSB, &second, sizeof(second)),
                 "describing a product"));
  DURE_TRY(set_epilogue(lt, p, out_plan->desc));
  DURE_TRY(set_scales(lt, p, out_plan->desc));
  DURE_TRY(make_layout(lt, &p->b, p->batch, p->transpose_b ? p->N : p->K, p->transpose_b ? p->K : p->N, &out_plan->a));
  DURE_TRY(make_layout(lt, &p->a, p->batch, p->transpose_a ? p->K : p->M, p->transpose_a ? p->M : p->K, &out_plan->b));
  DURE_TRY(make_layout(lt, &p->d, p->batch, p->M, p->N, &out_plan->d));
  out_plan->c = out_plan->d;
  if (p->added.address == NULL) return NULL;
  out_plan->c = NULL;
  return make_layout(lt, &p->added, p->batch, p->M, p->N, &out_plan->c);
}

static dure_status set_preference(const lt_functions *lt, lt_preference preference, const cuda_blas_product *p,
                                  uint64_t workspace_bytes) {
  const uint32_t scheme = LT_REDUCTION_SCHEME_COMPUTE_TYPE;
  const cuda_blas_matrix *added = p->added.address != NULL ? &p->added : &p->d;
  const uint32_t alignments[] = {alignment_of(&p->b, p->batch), alignment_of(&p->a, p->batch),
                                 alignment_of(added, p->batch), alignment_of(&p->d, p->batch)};
  const char *const what = "describing what may be chosen";
  DURE_TRY(check(lt->MatmulPreferenceSetAttribute(preference, LT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                                                  sizeof(workspace_bytes)),
                 what));
  DURE_TRY(
      check(lt->MatmulPreferenceSetAttribute(preference, LT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme, sizeof(scheme)),
            what));
  for (int i = 0; i < 4; i++) {
    DURE_TRY(check(lt->MatmulPreferenceSetAttribute(preference, LT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + i,
                                                    &alignments[i], sizeof(alignments[i])),
                   what));
  }
  return NULL;
}

// The algorithm that the library thinks fastest; is_possible stays false where it has none.
static dure_status choose_algorithm(struct cuda_blas *blas, const cuda_blas_product *p, uint64_t workspace_bytes,
                                    plan *out_plan) {
  const lt_functions *lt = &blas->functions;
  lt_preference preference = NULL;
  lt_heuristic_result result = {.state = LT_STATUS_NOT_SUPPORTED};
  int count = 0;
  dure_status status = check(lt->MatmulPreferenceCreate(&preference), "describing what may be chosen");
  if (status == NULL) status = set_preference(lt, preference, p, workspace_bytes);
  if (status == NULL) {
    const lt_status found = lt->MatmulAlgoGetHeuristic(blas->handle, out_plan->desc, out_plan->a, out_plan->b,
                                                       out_plan->c, out_plan->d, preference, 1, &result, &count);
    out_plan->is_possible = found == LT_STATUS_SUCCESS && count > 0 && result.state == LT_STATUS_SUCCESS;
    out_plan->algorithm = result.algorithm;
  }
  if (preference != NULL) lt->MatmulPreferenceDestroy(preference);
  return status;
}

static dure_status make_plan(struct cuda_blas *blas, const cuda_blas_product *p, uint64_t workspace_bytes,
                             const plan *alike, plan **out_plan) {
  plan *made = calloc(1, sizeof(*made));
  *out_plan = NULL;
  if (made == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a matrix product's description");
  fill_key(p, workspace_bytes, made->key);
  dure_status status = describe(&blas->functions, p, made);
  if (status == NULL && alike != NULL) {
    made->is_possible = alike->is_possible;
    made->algorithm = alike->algorithm;
  } else if (status == NULL) {
    status = choose_algorithm(blas, p, workspace_bytes, made);
  }
  if (status != NULL) {
    release_plan(&blas->functions, made);
    return status;
  }
  *out_plan = made;
  return NULL;
}

// The plan for the product: one that exists, or one with what the heuristic chose for the same shape, or a new one.
static dure_status find_plan(struct cuda_blas *blas, const cuda_blas_product *p, uint64_t workspace_bytes,
                             const plan **out_plan) {
  uint64_t key[KEY_SIZE];
  const plan *alike = NULL;
  *out_plan = NULL;
  fill_key(p, workspace_bytes, key);
  for (const plan *i = blas->plans; i != NULL; i = i->next) {
    if (memcmp(i->key, key, KEY_SHAPE * sizeof(key[0])) != 0) continue;
    alike = i;
    if (memcmp(i->key, key, sizeof(key)) != 0) continue;
    *out_plan = i;
    return NULL;
  }
  plan *made = NULL;
  DURE_TRY(make_plan(blas, p, workspace_bytes, alike, &made));
  made->next = blas->plans;
  blas->plans = made;
  *out_plan = made;
  return NULL;
}

// ---- recording ---------------------------------------------------------------------------------------------------

typedef struct product_command {
  const plan *plan;  // the device's
  const void *a, *b, *added;
  void *d, *workspace;
  uint64_t workspace_bytes;
  float beta;
} product_command;

static dure_status enqueue(cuda_device *device, cudaStream_t stream, const void *arguments) {
  const product_command *command = arguments;
  const plan *p = command->plan;
  const float alpha = 1;
  return check(device->blas->functions.Matmul(device->blas->handle, p->desc, &alpha, command->b, p->a, command->a, p->b,
                                              &command->beta, command->added, p->c, command->d, p->d, &p->algorithm,
                                              command->workspace, command->workspace_bytes, stream),
               "a matrix product");
}

static dure_status find_plan_alone(struct cuda_blas *blas, const cuda_blas_product *p, uint64_t workspace_bytes,
                                   const plan **out_plan) {
  DURE_TRY(cuda_enter(blas->device, "choosing a matrix product"));
  pthread_mutex_lock(&blas->mutex);
  dure_status status = find_plan(blas, p, workspace_bytes, out_plan);
  pthread_mutex_unlock(&blas->mutex);
  return status;
}

dure_status cuda_blas_ask(struct cuda_blas *blas, const cuda_blas_product *product, uint64_t workspace_bytes,
                          bool *out_possible) {
  const plan *found = NULL;
  *out_possible = false;
  DURE_TRY(find_plan_alone(blas, product, workspace_bytes, &found));
  *out_possible = found->is_possible;
  return NULL;
}

dure_status cuda_blas_record(struct cuda_blas *blas, dure_recording *recording, const cuda_blas_product *product,
                             void *workspace, uint64_t workspace_bytes, bool *out_recorded) {
  const plan *found = NULL;
  *out_recorded = false;
  DURE_TRY(find_plan_alone(blas, product, workspace_bytes, &found));
  if (!found->is_possible) return NULL;
  const product_command command = {
      .plan = found,
      .a = product->a.address,
      .b = product->b.address,
      .added = product->added.address != NULL ? product->added.address : product->d.address,
      .d = product->d.address,
      .workspace = workspace,
      .workspace_bytes = workspace_bytes,
      .beta = product->added.address != NULL ? 1 : 0};
  DURE_TRY(cuda_recording_add(recording, enqueue, &command, sizeof(command)));
  *out_recorded = true;
  return NULL;
}
