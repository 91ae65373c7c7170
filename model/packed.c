#include "model/packed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/weights.h"

enum {
  BLOCK = DURE_QUANTIZED_BLOCK,
  DIRECT_ROWS = 16,  // of x at most, for kernels that read codes; more are worth unpacking the matrix first
};

// ---- what stays packed -------------------------------------------------------------------------------------------

bool dure_packed_takes(dure_role role) {
  static const dure_role roles[] = {DURE_ROLE_TOKEN_EMBEDDING,
                                    DURE_ROLE_EMBEDDING_INPUT,
                                    DURE_ROLE_EMBEDDING_OUTPUT,
                                    DURE_ROLE_QKV_WEIGHT,
                                    DURE_ROLE_ATTENTION_OUTPUT_WEIGHT,
                                    DURE_ROLE_FEED_FORWARD_INPUT_WEIGHT,
                                    DURE_ROLE_FEED_FORWARD_OUTPUT_WEIGHT,
                                    DURE_ROLE_SHARED_INPUT_WEIGHT,
                                    DURE_ROLE_SHARED_OUTPUT_WEIGHT,
                                    DURE_ROLE_HEAD};
  for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
    if (roles[i] == role) return true;
  }
  return false;
}

static const dure_safetensors_tensor *find_part(const dure_safetensors *file, const dure_model_config *config,
                                                const dure_parameter *parameter, uint32_t part) {
  const char *name = parameter->parts[part].name, *prefix = config->family->optional_prefix;
  const dure_safetensors_tensor *tensor = dure_safetensors_find(file, name);
  if (tensor == NULL && strncmp(name, prefix, strlen(prefix)) == 0)
    tensor = dure_safetensors_find(file, name + strlen(prefix));
  return tensor;
}

// [out, in] of the matrix that a product takes.
static void matrix_shape(const dure_parameter *parameter, uint64_t *out_rows, uint64_t *out_width) {
  const bool is_output_first = parameter->row->is_output_first;
  *out_rows = parameter->shape[is_output_first ? 0 : 1];
  *out_width = parameter->shape[is_output_first ? 1 : 0];
}

// What holds every part of the parameter; bits 0: one of them cannot be held.
static dure_weights_codes codes_of(const dure_parameter *parameter, const dure_model_config *config,
                                   const dure_safetensors *file) {
  dure_weights_codes all = {0};
  const dure_weights_codes none = {0};
  uint64_t rows, width;
  matrix_shape(parameter, &rows, &width);
  if (parameter->rank != 2 || width % BLOCK != 0 || !dure_packed_takes(parameter->row->role)) return none;
  for (uint32_t part = 0; part < parameter->part_count; part++) {
    const dure_safetensors_tensor *tensor = find_part(file, config, parameter, part);
    const dure_weights_codes codes = tensor != NULL ? dure_weights_codes_of(tensor) : none;
    if (codes.bits == 0 || codes.width != width) return none;
    // A matrix that lies the other way round in memory must do so in the file, and be one tensor.
    if (codes.is_transposed == parameter->row->is_output_first || (codes.is_transposed && parameter->part_count > 1))
      return none;
    // The minimum that stands for a signed code, -8 scale, may be beyond f16.
    const bool mixes = part > 0 && codes.has_minima != all.has_minima;
    const bool is_wide = mixes || codes.scales == DURE_DTYPE_F32 || all.scales == DURE_DTYPE_F32;
    all.bits = codes.bits > all.bits ? codes.bits : all.bits;
    all.group = part == 0 || codes.group < all.group ? codes.group : all.group;
    all.has_minima = all.has_minima || codes.has_minima;
    all.scales = is_wide ? DURE_DTYPE_F32 : DURE_DTYPE_F16;
  }
  return all;
}

void dure_packed_choose(dure_parameter_layout *layout, const dure_model_config *config, const dure_safetensors *file,
                        bool rounds_activations) {
  for (size_t i = 0; i < layout->count; i++) {
    const dure_weights_codes codes = codes_of(&layout->parameters[i], config, file);
    dure_parameter *parameter = &layout->parameters[i];
    parameter->bits = codes.bits;
    parameter->scale_group = codes.group;
    parameter->has_minima = codes.has_minima;
    parameter->scales_dtype = codes.scales;
    parameter->rounds_inputs = rounds_activations && codes.bits == 8 && !codes.has_minima && codes.group >= BLOCK;
    if (!parameter->rounds_inputs) continue;
    parameter->scale_group = BLOCK;  // as matmul_q8 wants it
    parameter->scales_dtype = DURE_DTYPE_F32;
  }
  dure_parameter_layout_place(layout);
}

uint64_t dure_packed_bytes(const dure_parameter_layout *layout, uint64_t *out_elements) {
  uint64_t bytes = 0;
  *out_elements = 0;
  for (size_t i = 0; i < layout->count; i++) {
    const dure_parameter *parameter = &layout->parameters[i];
    if (parameter->bits == 0) continue;
    *out_elements += parameter->count;
    bytes += parameter->count * parameter->bits / 8;
    bytes += parameter->count / parameter->scale_group * dure_dtype_size(parameter->scales_dtype) *
             (parameter->has_minima ? 2 : 1);
  }
  return bytes;
}

// ---- loading -----------------------------------------------------------------------------------------------------

// A parameter's planes on the host.
typedef struct planes {
  uint8_t *codes;       // [rows, width * bits / 8]
  void *scales;         // [rows, width / group], minima behind them
  uint64_t width, all;  // all: scales of the parameter
  uint32_t bits, group;
  dure_dtype dtype;  // of scales
  bool has_minima;
  // A row as its file has it.
  int8_t *row_codes;               // [width]
  float *row_scales, *row_minima;  // [width / 16] at most
} planes;

static void store_scale(const planes *p, uint64_t index, float value) {
  if (p->dtype == DURE_DTYPE_F16) {
    ((uint16_t *)p->scales)[index] = dure_f16_from_float(value);
  } else {
    ((float *)p->scales)[index] = value;
  }
}

// The row that has been read, to row `to` of the planes. Codes without a minimum go among those with one as
// scale q + minimum too; a scale is repeated where the planes have smaller groups.
static void store_row(const planes *p, uint64_t to, const dure_weights_codes *from) {
  const bool shifts = p->bits == 4 && p->has_minima && !from->has_minima;
  const uint64_t groups = p->width / p->group;
  for (uint64_t i = 0; i < groups; i++) {
    const uint64_t source = i * p->group / from->group;
    store_scale(p, to * groups + i, p->row_scales[source]);
    if (p->has_minima)
      store_scale(p, p->all + to * groups + i, shifts ? -8 * p->row_scales[source] : p->row_minima[source]);
  }
  if (p->bits == 8) {
    memcpy(p->codes + to * p->width, p->row_codes, (size_t)p->width);
    return;
  }
  const int added = shifts || !p->has_minima ? 8 : 0;
  for (uint64_t k = 0; k < p->width; k += BLOCK) {
    const int8_t *codes = p->row_codes + k;
    uint8_t *pairs = p->codes + (to * p->width + k) / 2;
    for (int i = 0; i < BLOCK / 2; i++) pairs[i] = (uint8_t)((codes[i] + added) | (codes[i + BLOCK / 2] + added) << 4);
  }
}

static dure_status load_row(const planes *p, const dure_safetensors_tensor *tensor, const dure_weights_codes *codes,
                            uint64_t from, uint64_t to) {
  dure_weights_row(tensor, from, p->row_codes, p->row_scales, p->row_minima);
  for (uint64_t k = 0; k < p->width / codes->group; k++) {
    if (!isfinite(p->row_scales[k]) || !isfinite(p->row_minima[k]))
      return dure_fail(DURE_CORRUPT, "a scale in row %llu of tensor '%s' is not finite; the file is damaged",
                       (unsigned long long)from, tensor->name);
  }
  store_row(p, to, codes);
  return NULL;
}

static dure_status load_part(const planes *p, const dure_parameter *parameter, uint32_t part,
                             const dure_safetensors_tensor *tensor, uint64_t all_rows) {
  const uint64_t rows = parameter->row->is_output_first ? parameter->parts[part].rows : all_rows;
  const dure_weights_codes codes = dure_weights_codes_of(tensor);
  for (uint64_t row = 0; row < rows;) {
    uint64_t to = row, run = rows - row;
    if (parameter->row->is_output_first) run = dure_parameter_run(parameter, part, row, &to);
    for (uint64_t i = 0; i < run; i++) DURE_TRY(load_row(p, tensor, &codes, row + i, to + i));
    row += run;
  }
  return NULL;
}

static dure_status planes_create(const dure_parameter *parameter, planes *out_planes) {
  uint64_t rows, width;
  matrix_shape(parameter, &rows, &width);
  *out_planes = (planes){.width = width,
                         .all = rows * width / parameter->scale_group,
                         .bits = parameter->bits,
                         .group = parameter->scale_group,
                         .dtype = parameter->scales_dtype,
                         .has_minima = parameter->has_minima};
  planes *p = out_planes;
  const uint64_t scales = p->all * (p->has_minima ? 2 : 1);
  p->codes = malloc((size_t)(rows * width * p->bits / 8));
  p->scales = malloc((size_t)(scales * dure_dtype_size(p->dtype)));
  p->row_codes = malloc((size_t)width);
  p->row_scales = malloc((size_t)(width / 16) * sizeof(float));
  p->row_minima = malloc((size_t)(width / 16) * sizeof(float));
  if (p->codes != NULL && p->scales != NULL && p->row_codes != NULL && p->row_scales != NULL && p->row_minima != NULL)
    return NULL;
  return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", parameter->name);
}

static void planes_clear(planes *p) {
  free(p->codes);
  free(p->scales);
  free(p->row_codes);
  free(p->row_scales);
  free(p->row_minima);
}

static dure_status load_parameter(const dure_parameter_buffers *buffers, const dure_parameter *parameter,
                                  const dure_model_config *config, const dure_safetensors *file, dure_stream *stream) {
  const uint64_t rows = dure_packed_rows(parameter), size = dure_dtype_size(parameter->scales_dtype);
  planes p;
  dure_status status = planes_create(parameter, &p);
  for (uint32_t part = 0; part < parameter->part_count && status == NULL; part++)
    status = load_part(&p, parameter, part, find_part(file, config, parameter, part), rows);
  if (status == NULL)
    status = dure_parameter_pool_write(buffers, parameter->pool, stream, parameter->offset, p.codes,
                                       parameter->count * parameter->bits / 8);
  if (status == NULL)
    status = dure_parameter_pool_write(buffers, parameter->scales_pool, stream, parameter->scales_offset * size,
                                       p.scales, p.all * (p.has_minima ? 2 : 1) * size);
  planes_clear(&p);
  return status;
}

dure_status dure_packed_load(const dure_parameter_buffers *buffers, const dure_parameter_layout *layout,
                             const dure_model_config *config, const dure_safetensors *file, const char *path,
                             dure_stream *stream) {
  for (size_t i = 0; i < layout->count; i++) {
    if (layout->parameters[i].bits == 0) continue;
    DURE_TRY(dure_status_prefix(load_parameter(buffers, &layout->parameters[i], config, file, stream), "'%s'", path));
  }
  return NULL;
}

// ---- in programs -------------------------------------------------------------------------------------------------

uint64_t dure_packed_rows(const dure_parameter *parameter) {
  uint64_t rows, width;
  matrix_shape(parameter, &rows, &width);
  return rows;
}

// Codes, scales and minima (or absent) of rows [first, first + rows), as operands from `out_operands` on.
static void view_planes(dure_program *program, const dure_tensor *pools, const dure_parameter *parameter,
                        uint64_t first, uint64_t rows, dure_tensor *out_operands) {
  uint64_t all_rows, width;
  matrix_shape(parameter, &all_rows, &width);
  const uint64_t bytes = width * parameter->bits / 8, groups = width / parameter->scale_group;
  const uint64_t codes_shape[2] = {rows, bytes}, codes_stride[2] = {bytes, 1};
  const uint64_t scales_shape[2] = {rows, groups}, scales_stride[2] = {groups, 1};
  out_operands[0] = dure_tensor_view(program, pools[parameter->pool], 2, codes_shape, codes_stride,
                                     parameter->offset + first * bytes);
  out_operands[1] = dure_tensor_view(program, pools[parameter->scales_pool], 2, scales_shape, scales_stride,
                                     parameter->scales_offset + first * groups);
  out_operands[2] = DURE_ABSENT;
  if (!parameter->has_minima) return;
  out_operands[2] = dure_tensor_view(program, pools[parameter->scales_pool], 2, scales_shape, scales_stride,
                                     parameter->minima_offset + first * groups);
}

static dure_tensor unpack_rows(dure_program *program, const dure_tensor *pools, const dure_parameter *parameter,
                               uint64_t first, uint64_t rows, dure_tensor indices, dure_dtype dtype) {
  enum { CODES, INDICES = 3, Y };
  uint64_t all_rows, shape[DURE_MAX_RANK] = {rows}, width;
  matrix_shape(parameter, &all_rows, &width);
  uint32_t rank = 1;
  if (indices.index != 0) {
    rank = dure_tensor_rank(program, indices);
    for (uint32_t i = 0; i < rank; i++) shape[i] = dure_tensor_dimension(program, indices, i);
  }
  shape[rank] = width;
  dure_tensor operands[DURE_MAX_OPERANDS] = {0};
  view_planes(program, pools, parameter, first, rows, &operands[CODES]);
  operands[INDICES] = indices;
  operands[Y] = dure_tensor_temporary(program, "unpacked", dtype, rank + 1, shape);
  const dure_op_attributes attributes = {.blocks = {.bits = parameter->bits, .group = parameter->scale_group}};
  dure_program_call(program, DURE_OP_unpack_blocks, operands, &attributes, 0);
  return operands[Y];
}

dure_tensor dure_packed_unpack(dure_program *program, const dure_tensor *pools, const dure_parameter *parameter,
                               dure_tensor indices, dure_dtype dtype) {
  return unpack_rows(program, pools, parameter, 0, dure_packed_rows(parameter), indices, dtype);
}

// What matmul's epilogue does where the product has none.
static dure_tensor finish_product(dure_program *program, dure_tensor product, const dure_matmul_options *options) {
  const dure_tensor y =
      options->has_activation ? dure_activation_apply(program, product, options->activation) : product;
  return options->residual.index != 0 ? dure_add(program, y, options->residual) : y;
}

static dure_tensor integer_matmul(dure_program *program, const dure_tensor *pools, const dure_parameter *parameter,
                                  uint64_t first, uint64_t rows, dure_tensor x, const dure_matmul_options *options) {
  enum { CODES, SCALES };
  dure_tensor operands[3];
  view_planes(program, pools, parameter, first, rows, operands);
  const dure_quantized weight = {.q = operands[CODES], .scales = operands[SCALES]};
  const dure_tensor product = dure_quantized_matmul(program, dure_quantize_rows(program, x), weight, options->bias,
                                                    dure_tensor_dtype(program, x));
  return finish_product(program, product, options);
}

dure_tensor dure_packed_matmul(dure_program *program, const dure_tensor *pools, const dure_parameter *parameter,
                               uint64_t first, uint64_t rows, dure_tensor x, const dure_matmul_options *options) {
  enum { A, CODES, BIAS = 4, RESIDUAL, C };
  const uint32_t rank = dure_tensor_rank(program, x);
  if (rank == 0) return DURE_ABSENT;
  if (parameter->rounds_inputs) return integer_matmul(program, pools, parameter, first, rows, x, options);
  const uint64_t width = dure_tensor_dimension(program, x, rank - 1);
  if (dure_tensor_element_count(program, x) > DIRECT_ROWS * width) {
    dure_matmul_options transposed = *options;
    transposed.transpose_b = true;
    const dure_tensor matrix =
        unpack_rows(program, pools, parameter, first, rows, DURE_ABSENT, dure_tensor_dtype(program, x));
    return dure_matmul_with(program, x, matrix, &transposed);
  }
  dure_tensor operands[DURE_MAX_OPERANDS] = {x};
  view_planes(program, pools, parameter, first, rows, &operands[CODES]);
  operands[BIAS] = options->bias;
  if (!options->has_activation) operands[RESIDUAL] = options->residual;
  const dure_op_attributes attributes = {.blocks = {.bits = parameter->bits, .group = parameter->scale_group}};
  dure_program_call(program, DURE_OP_matmul_blocks, operands, &attributes, 0);
  return options->has_activation ? finish_product(program, operands[C], options) : operands[C];
}
