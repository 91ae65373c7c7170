// The functions of cuBLASLt that the plugin calls (cuda/cublaslt.def), in plain loops with the meanings that NVIDIA's
// documentation gives them: a library of its own, libdure_cublaslt_emulated.so, that DURE_CUBLASLT names to the
// emulated plugin. So the plugin's descriptors, strides, epilogues and its cache of plans are held against the
// reference too.
//
// It refuses what is documented to fail: matrices whose sizes, types or batches disagree, leading dimensions shorter
// than a column, an auxiliary matrix that is missing or whose leading dimension is no multiple of 8, results in f32 of
// 16-bit factors with a GELU, sums in place over another layout, a workspace too small. Beyond that, to be a strict
// examiner: an algorithm is refused for any other problem than the one it was chosen for, pointers must be as aligned
// as was promised, and for 16-bit matrices at odd places there is no algorithm at all (the real library has some).
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "cuda/cublaslt.h"

extern "C" {
#include "runtime/dtype.h"
}

#define EXPORTED extern "C" __attribute__((visibility("default")))

struct lt_context {
  std::mutex mutex;
  std::deque<std::function<void()>> products;  // kept: a graph may run them again
  unsigned refused = 0, in_fp8 = 0;
};
struct lt_matmul_desc_opaque {
  int compute_type;
  int32_t transpose_a, transpose_b;
  uint32_t epilogue;
  const void *bias;
  void *auxiliary;
  int64_t auxiliary_ld, auxiliary_batch;
  const float *a_scale, *b_scale;
};
struct lt_layout_opaque {
  int type;
  uint64_t rows, columns;
  int64_t leading_dimension, batch_offset;
  int32_t batch;
};
struct lt_preference_opaque {
  uint64_t workspace_bytes;
  uint32_t schemes, alignments[4];
};

namespace {

cudaError_t (*launch_host_function)(cudaStream_t, void (*)(void *), void *);

enum { HAS_BIAS = LT_EPILOGUE_BIAS, HAS_GELU = LT_EPILOGUE_GELU, IS_GRADIENT = 64, HAS_AUXILIARY = 128 };
const uint64_t WORKSPACE_NEEDED = 256;

size_t size_of(int type) { return type == LT_R_32F ? 4 : type == LT_R_8F_E4M3 ? 1 : 2; }

float from_e4m3(uint8_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  if ((bits & 0x7f) == 0x7f) return NAN;
  const float magnitude =
      exponent == 0 ? std::ldexp((float)mantissa, -9) : std::ldexp(1 + mantissa / 8.0f, exponent - 7);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

float load(const void *matrix, int type, int64_t index) {
  if (type == LT_R_32F) return static_cast<const float *>(matrix)[index];
  if (type == LT_R_8F_E4M3) return from_e4m3(static_cast<const uint8_t *>(matrix)[index]);
  const uint16_t bits = static_cast<const uint16_t *>(matrix)[index];
  return type == LT_R_16BF ? dure_bf16_to_float(bits) : dure_f16_to_float(bits);
}
void store(void *matrix, int type, int64_t index, float x) {
  if (type == LT_R_32F) {
    static_cast<float *>(matrix)[index] = x;
  } else {
    static_cast<uint16_t *>(matrix)[index] = type == LT_R_16BF ? dure_bf16_from_float(x) : dure_f16_from_float(x);
  }
}

float gelu(float x) { return 0.5f * x * (1 + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x))); }
float gelu_slope(float x) {
  const float t = std::tanh(0.7978845608f * (x + 0.044715f * x * x * x));
  return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * 0.7978845608f * (1 + 3 * 0.044715f * x * x);
}

// ---- what is possible --------------------------------------------------------------------------------------------

bool is_type(int type) { return type == LT_R_32F || type == LT_R_16F || type == LT_R_16BF || type == LT_R_8F_E4M3; }

bool is_layout(const lt_layout_opaque &l) {
  return is_type(l.type) && l.rows > 0 && l.columns > 0 && l.leading_dimension >= (int64_t)l.rows && l.batch > 0;
}

bool agree(const lt_matmul_desc_opaque &desc, const lt_layout_opaque &a, const lt_layout_opaque &b,
           const lt_layout_opaque &c, const lt_layout_opaque &d) {
  const uint64_t m = desc.transpose_a == LT_OP_T ? a.columns : a.rows,
                 k = desc.transpose_a == LT_OP_T ? a.rows : a.columns;
  const uint64_t n = desc.transpose_b == LT_OP_T ? b.rows : b.columns;
  const uint64_t k_of_b = desc.transpose_b == LT_OP_T ? b.columns : b.rows;
  return is_layout(a) && is_layout(b) && is_layout(c) && is_layout(d) && k == k_of_b && d.rows == m && d.columns == n &&
         c.rows == m && c.columns == n && a.batch == d.batch && b.batch == d.batch && c.batch == d.batch &&
         a.type == b.type && c.type == d.type;
}

bool has_epilogue(const lt_matmul_desc_opaque &desc, const lt_layout_opaque &a, const lt_layout_opaque &d) {
  switch (desc.epilogue) {
    case LT_EPILOGUE_DEFAULT:
    case LT_EPILOGUE_BIAS:
    case LT_EPILOGUE_GELU:
    case LT_EPILOGUE_GELU_BIAS:
    case LT_EPILOGUE_GELU_AUX:
    case LT_EPILOGUE_GELU_AUX_BIAS:
    case LT_EPILOGUE_DGELU: break;
    default: return false;
  }
  const bool is_gelu = (desc.epilogue & (HAS_GELU | IS_GRADIENT)) != 0;
  if (is_gelu && d.type != a.type) return false;
  if ((desc.epilogue & HAS_BIAS) != 0 && desc.bias == nullptr) return false;
  if ((desc.epilogue & HAS_AUXILIARY) == 0) return true;
  return desc.auxiliary != nullptr && desc.auxiliary_ld % 8 == 0 && desc.auxiliary_ld >= (int64_t)d.rows &&
         desc.auxiliary_batch % 8 == 0;
}

bool has_types(const lt_layout_opaque &a, const lt_layout_opaque &d) {
  if (d.type == LT_R_8F_E4M3) return false;
  return d.type == a.type || a.type == LT_R_8F_E4M3 || (a.type != LT_R_32F && d.type == LT_R_32F);
}

// Products in fp8: the first factor transposed, the second not, all matrices at multiples of 16 bytes, with scales,
// bias only for results in bf16 (its types are others where they are in f32).
bool is_in_order(const lt_matmul_desc_opaque &desc, const lt_layout_opaque &a, const lt_layout_opaque &b,
                 const lt_layout_opaque &d) {
  if (a.type != LT_R_8F_E4M3) return desc.a_scale == nullptr && desc.b_scale == nullptr;
  return desc.transpose_a == LT_OP_T && desc.transpose_b == LT_OP_N && desc.a_scale != nullptr &&
         desc.b_scale != nullptr && a.rows % 16 == 0 && a.columns % 16 == 0 && a.leading_dimension % 16 == 0 &&
         b.leading_dimension % 16 == 0 && d.leading_dimension * (int64_t)size_of(d.type) % 16 == 0 &&
         (desc.epilogue == LT_EPILOGUE_DEFAULT || (desc.epilogue == LT_EPILOGUE_BIAS && d.type == LT_R_16BF));
}

bool is_even(const lt_layout_opaque &l, uint32_t alignment) {
  if (l.type == LT_R_8F_E4M3) return alignment >= 16;
  return size_of(l.type) == 4 || (alignment >= 4 && l.leading_dimension % 2 == 0 && l.batch_offset % 2 == 0);
}

// Of everything that an algorithm may depend on.
uint64_t digest(const lt_matmul_desc_opaque &desc, const lt_layout_opaque *const (&layouts)[4]) {
  uint64_t hash = 14695981039346656037u;
  const auto add = [&hash](uint64_t value) { hash = (hash ^ value) * 1099511628211u; };
  add((uint64_t)desc.compute_type << 32 | desc.epilogue);
  add((uint64_t)desc.transpose_a << 1 | (uint64_t)desc.transpose_b);
  add((uint64_t)desc.auxiliary_ld);
  add((uint64_t)desc.auxiliary_batch);
  for (const lt_layout_opaque *l : layouts) {
    add((uint64_t)l->type << 32 | (uint64_t)l->batch);
    add(l->rows << 32 ^ l->columns);
    add((uint64_t)l->leading_dimension << 32 ^ (uint64_t)l->batch_offset);
  }
  return hash;
}

// ---- the product -------------------------------------------------------------------------------------------------

struct product {
  lt_matmul_desc_opaque desc;
  lt_layout_opaque a_layout, b_layout, c_layout, d_layout;
  const void *a, *b, *c;
  void *d;
  float alpha, beta;
};

// op(matrix) of one batch: rows of k values each when `by_rows`, else columns of k values.
std::vector<float> factor(const void *matrix, const lt_layout_opaque &l, int64_t batch, bool is_transposed,
                          bool by_rows) {
  const int64_t rows = (int64_t)(is_transposed ? l.columns : l.rows),
                columns = (int64_t)(is_transposed ? l.rows : l.columns);
  std::vector<float> values((size_t)(rows * columns));
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < columns; j++) {
      const int64_t at = is_transposed ? j + i * l.leading_dimension : i + j * l.leading_dimension;
      values[(size_t)(by_rows ? i * columns + j : j * rows + i)] = load(matrix, l.type, batch * l.batch_offset + at);
    }
  }
  return values;
}

float finish(const product &p, int64_t batch, int64_t i, int64_t j, float t) {
  const uint32_t epilogue = p.desc.epilogue;
  if (p.beta != 0) {
    const int64_t at = batch * p.c_layout.batch_offset + i + j * p.c_layout.leading_dimension;
    t += p.beta * load(p.c, p.c_layout.type, at);
  }
  if (epilogue == LT_EPILOGUE_DEFAULT) return t;
  if ((epilogue & HAS_BIAS) != 0) t += load(p.desc.bias, p.d_layout.type, i);
  const int64_t at = batch * p.desc.auxiliary_batch + i + j * p.desc.auxiliary_ld;
  if ((epilogue & IS_GRADIENT) != 0) return t * gelu_slope(load(p.desc.auxiliary, p.d_layout.type, at));
  if ((epilogue & HAS_AUXILIARY) != 0) store(p.desc.auxiliary, p.d_layout.type, at, t);
  return (epilogue & HAS_GELU) != 0 ? gelu(t) : t;
}

void compute(const product &p) {
  const int64_t m = (int64_t)p.d_layout.rows, n = (int64_t)p.d_layout.columns;
  for (int64_t batch = 0; batch < p.d_layout.batch; batch++) {
    const std::vector<float> a = factor(p.a, p.a_layout, batch, p.desc.transpose_a == LT_OP_T, true);
    const std::vector<float> b = factor(p.b, p.b_layout, batch, p.desc.transpose_b == LT_OP_T, false);
    const int64_t k = (int64_t)a.size() / m;
    const float scale = p.desc.a_scale != nullptr ? *p.desc.a_scale * *p.desc.b_scale : 1;
    for (int64_t j = 0; j < n; j++) {
      for (int64_t i = 0; i < m; i++) {
        float sum = 0;
        for (int64_t x = 0; x < k; x++) sum += a[(size_t)(i * k + x)] * b[(size_t)(j * k + x)];
        const float t = finish(p, batch, i, j, p.alpha * scale * sum);
        store(p.d, p.d_layout.type, batch * p.d_layout.batch_offset + i + j * p.d_layout.leading_dimension, t);
      }
    }
  }
}

// Writes `size` bytes of an attribute; refuses another size.
template <typename T>
lt_status set(T *out_value, const void *value, size_t size) {
  if (value == nullptr || size != sizeof(T)) return LT_STATUS_INVALID_VALUE;
  std::memcpy(out_value, value, size);
  return LT_STATUS_SUCCESS;
}

}  // namespace

// ---- the interface -----------------------------------------------------------------------------------------------

EXPORTED void cublaslt_emulation_attach(cudaError_t (*launch)(cudaStream_t, void (*)(void *), void *));
void cublaslt_emulation_attach(cudaError_t (*launch)(cudaStream_t, void (*)(void *), void *)) {
  launch_host_function = launch;
}

EXPORTED lt_status cublasLtCreate(lt_handle *out_handle) {
  *out_handle = new lt_context;
  return LT_STATUS_SUCCESS;
}
// DURE_CUBLASLT_COUNT=1: says how much it was asked for, so that tests can tell that they have tested it.
EXPORTED lt_status cublasLtDestroy(lt_handle handle) {
  if (std::getenv("DURE_CUBLASLT_COUNT") != nullptr) {
    std::fprintf(stderr, "cublaslt emulation: %zu products, %u of them in fp8, %u problems refused\n",
                 handle->products.size(), handle->in_fp8, handle->refused);
  }
  delete handle;
  return LT_STATUS_SUCCESS;
}

EXPORTED lt_status cublasLtMatmulDescCreate(lt_matmul_desc *out_desc, int compute_type, int scale_type) {
  if (scale_type != LT_R_32F || (compute_type != LT_COMPUTE_32F && compute_type != LT_COMPUTE_32F_FAST_TF32))
    return LT_STATUS_INVALID_VALUE;
  *out_desc = new lt_matmul_desc_opaque{compute_type, LT_OP_N, LT_OP_N, LT_EPILOGUE_DEFAULT, nullptr, nullptr, 0, 0,
                                        nullptr,      nullptr};
  return LT_STATUS_SUCCESS;
}
EXPORTED lt_status cublasLtMatmulDescDestroy(lt_matmul_desc desc) {
  delete desc;
  return LT_STATUS_SUCCESS;
}
EXPORTED lt_status cublasLtMatmulDescSetAttribute(lt_matmul_desc desc, int attribute, const void *value, size_t size) {
  switch (attribute) {
    case LT_MATMUL_DESC_TRANSA: return set(&desc->transpose_a, value, size);
    case LT_MATMUL_DESC_TRANSB: return set(&desc->transpose_b, value, size);
    case LT_MATMUL_DESC_EPILOGUE: return set(&desc->epilogue, value, size);
    case LT_MATMUL_DESC_BIAS_POINTER: return set(&desc->bias, value, size);
    case LT_MATMUL_DESC_EPILOGUE_AUX_POINTER: return set(&desc->auxiliary, value, size);
    case LT_MATMUL_DESC_EPILOGUE_AUX_LD: return set(&desc->auxiliary_ld, value, size);
    case LT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE: return set(&desc->auxiliary_batch, value, size);
    case LT_MATMUL_DESC_A_SCALE_POINTER: return set(&desc->a_scale, value, size);
    case LT_MATMUL_DESC_B_SCALE_POINTER: return set(&desc->b_scale, value, size);
    default: return LT_STATUS_INVALID_VALUE;
  }
}

EXPORTED lt_status cublasLtMatrixLayoutCreate(lt_layout *out_layout, int type, uint64_t rows, uint64_t columns,
                                              int64_t leading_dimension) {
  *out_layout = new lt_layout_opaque{type, rows, columns, leading_dimension, 0, 1};
  return LT_STATUS_SUCCESS;
}
EXPORTED lt_status cublasLtMatrixLayoutDestroy(lt_layout layout) {
  delete layout;
  return LT_STATUS_SUCCESS;
}
EXPORTED lt_status cublasLtMatrixLayoutSetAttribute(lt_layout layout, int attribute, const void *value, size_t size) {
  switch (attribute) {
    case LT_MATRIX_LAYOUT_BATCH_COUNT: return set(&layout->batch, value, size);
    case LT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(&layout->batch_offset, value, size);
    default: return LT_STATUS_INVALID_VALUE;
  }
}

EXPORTED lt_status cublasLtMatmulPreferenceCreate(lt_preference *out_preference) {
  *out_preference = new lt_preference_opaque{0, 7, {256, 256, 256, 256}};
  return LT_STATUS_SUCCESS;
}
EXPORTED lt_status cublasLtMatmulPreferenceDestroy(lt_preference preference) {
  delete preference;
  return LT_STATUS_SUCCESS;
}
EXPORTED lt_status cublasLtMatmulPreferenceSetAttribute(lt_preference preference, int attribute, const void *value,
                                                        size_t size) {
  switch (attribute) {
    case LT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return set(&preference->workspace_bytes, value, size);
    case LT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return set(&preference->schemes, value, size);
    case LT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case LT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case LT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case LT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return set(&preference->alignments[attribute - LT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, size);
    default: return LT_STATUS_INVALID_VALUE;
  }
}

// algorithm.data: a digest of the problem, the alignments, the workspace it needs (a little for long sums, if it may).
EXPORTED lt_status cublasLtMatmulAlgoGetHeuristic(lt_handle handle, lt_matmul_desc desc, lt_layout a, lt_layout b,
                                                  lt_layout c, lt_layout d, lt_preference preference, int most,
                                                  lt_heuristic_result *out_results, int *out_count) {
  *out_count = 0;
  if (handle == nullptr || most <= 0) return LT_STATUS_INVALID_VALUE;
  handle->refused++;
  if (!agree(*desc, *a, *b, *c, *d)) return LT_STATUS_INVALID_VALUE;
  const lt_layout_opaque *const layouts[4] = {a, b, c, d};
  bool is_possible = has_types(*a, *d) && has_epilogue(*desc, *a, *d) && is_in_order(*desc, *a, *b, *d);
  for (int i = 0; i < 4; i++) is_possible = is_possible && is_even(*layouts[i], preference->alignments[i]);
  if (!is_possible) return LT_STATUS_NOT_SUPPORTED;
  lt_heuristic_result result = {};
  result.algorithm.data[0] = digest(*desc, layouts);
  std::memcpy(&result.algorithm.data[1], preference->alignments, sizeof(preference->alignments));
  result.workspace_bytes = preference->workspace_bytes >= WORKSPACE_NEEDED ? WORKSPACE_NEEDED : 0;
  result.algorithm.data[3] = result.workspace_bytes;
  handle->refused--;
  out_results[0] = result;
  *out_count = 1;
  return LT_STATUS_SUCCESS;
}

EXPORTED lt_status cublasLtMatmul(lt_handle handle, lt_matmul_desc desc, const void *alpha, const void *a,
                                  lt_layout a_layout, const void *b, lt_layout b_layout, const void *beta,
                                  const void *c, lt_layout c_layout, void *d, lt_layout d_layout,
                                  const lt_algorithm *algorithm, void *workspace, size_t workspace_bytes,
                                  cudaStream_t stream) {
  const lt_layout_opaque *const layouts[4] = {a_layout, b_layout, c_layout, d_layout};
  const void *const addresses[4] = {a, b, c, d};
  uint32_t alignments[4];
  std::memcpy(alignments, &algorithm->data[1], sizeof(alignments));
  if (algorithm->data[0] != digest(*desc, layouts)) return LT_STATUS_INVALID_VALUE;
  for (int i = 0; i < 4; i++) {
    if (reinterpret_cast<uintptr_t>(addresses[i]) % alignments[i] != 0) return LT_STATUS_INVALID_VALUE;
  }
  if (workspace_bytes < algorithm->data[3] || (algorithm->data[3] > 0 && workspace == nullptr) ||
      reinterpret_cast<uintptr_t>(workspace) % 256 != 0) {
    return LT_STATUS_INVALID_VALUE;
  }
  product p = {*desc, *a_layout, *b_layout, *c_layout, *d_layout, a, b, c, d, 0, 0};
  std::memcpy(&p.alpha, alpha, sizeof(p.alpha));
  std::memcpy(&p.beta, beta, sizeof(p.beta));
  const bool same =
      c_layout->leading_dimension == d_layout->leading_dimension && c_layout->batch_offset == d_layout->batch_offset;
  if (p.beta != 0 && c == d && !same) return LT_STATUS_INVALID_VALUE;
  std::memset(workspace, 0xff, algorithm->data[3]);
  const std::lock_guard<std::mutex> lock(handle->mutex);
  handle->products.push_back([p] { compute(p); });
  if (a_layout->type == LT_R_8F_E4M3) handle->in_fp8++;
  const auto run = [](void *work) { (*static_cast<std::function<void()> *>(work))(); };
  return launch_host_function(stream, run, &handle->products.back()) == cudaSuccess ? LT_STATUS_SUCCESS
                                                                                    : LT_STATUS_NOT_INITIALIZED;
}
