#include "model/moments.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tensor_parallel.h"
#include "runtime/moment_code.h"

enum { BLOCK = DURE_MOMENT_BLOCK, piece_blocks = DURE_MOMENTS_PIECE / BLOCK };

static bool is_second(const char *suffix) { return strcmp(suffix, DURE_MOMENTS_SECOND) == 0; }

bool dure_moments_are_coded(const dure_named_buffers *set) { return set->scales != NULL; }

// ---- codes -------------------------------------------------------------------------------------------------------

// Of elements of a pool from number `place` on; `scales` [..] are the bytes of the scale of place's block and those
// after it, at any alignment.
static void decode(bool second, const uint8_t *codes, const uint8_t *scales, uint64_t place, uint64_t count,
                   float *out_values) {
  const uint64_t lead = place % BLOCK;
  for (uint64_t i = 0; i < count; i++) {
    float scale;
    memcpy(&scale, scales + (lead + i) / BLOCK * sizeof(scale), sizeof(scale));
    out_values[i] = second ? dure_second_moment_decode(codes[i], scale) : dure_first_moment_decode(codes[i], scale);
  }
}

static float encode_block(bool second, const float *values, uint64_t count, uint8_t *out_codes) {
  float scale = 0;
  for (uint64_t i = 0; i < count; i++) scale = fmaxf(scale, fabsf(values[i]));
  for (uint64_t i = 0; i < count; i++) {
    const float ratio = scale > 0 ? values[i] / scale : 0;
    out_codes[i] = second ? dure_second_moment_encode(ratio, DURE_MOMENT_NEAREST)
                          : dure_first_moment_encode(ratio, DURE_MOMENT_NEAREST);
  }
  return scale;
}

// ---- reading a training's ----------------------------------------------------------------------------------------

typedef struct coded_piece {
  uint8_t codes[DURE_MOMENTS_PIECE];
  float scales[piece_blocks + 1];
} coded_piece;

dure_status dure_moments_read(const dure_named_buffers *set, size_t pool, dure_stream *stream, uint64_t first,
                              uint64_t count, float *out_values) {
  const uint64_t block = first / BLOCK, blocks = (first + count + BLOCK - 1) / BLOCK - block;
  coded_piece *piece = malloc(sizeof(*piece));
  if (piece == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading %s", set->buffers->storage.label);
  dure_status status = dure_parameter_pool_read(set->buffers, pool, stream, first, piece->codes, count);
  if (status == NULL)
    status = dure_parameter_pool_read(set->scales, pool, stream, block * sizeof(float), piece->scales,
                                      blocks * sizeof(float));
  if (status == NULL)
    decode(is_second(set->suffix), piece->codes, (const uint8_t *)piece->scales, first, count, out_values);
  free(piece);
  return status;
}

// ---- from values -------------------------------------------------------------------------------------------------

static dure_status encode_pool(const dure_named_buffers *set, size_t pool, const float *values, uint64_t count,
                               coded_piece *piece, dure_stream *stream) {
  for (uint64_t first = 0; first < count; first += DURE_MOMENTS_PIECE) {
    const uint64_t now = count - first < DURE_MOMENTS_PIECE ? count - first : DURE_MOMENTS_PIECE;
    const uint64_t blocks = (now + BLOCK - 1) / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
      const uint64_t at = b * BLOCK, size = now - at < BLOCK ? now - at : BLOCK;
      piece->scales[b] = encode_block(is_second(set->suffix), values + first + at, size, piece->codes + at);
    }
    DURE_TRY(dure_parameter_pool_write(set->buffers, pool, stream, first, piece->codes, now));
    DURE_TRY(dure_parameter_pool_write(set->scales, pool, stream, first / BLOCK * sizeof(float), piece->scales,
                                       blocks * sizeof(float)));
  }
  return NULL;
}

dure_status dure_moments_load(const dure_named_buffers *set, const dure_parameter_layout *layout,
                              const dure_model_config *config, const dure_safetensors *file, const char *path,
                              const char *suffix, dure_stream *stream) {
  dure_parameter_storage storage = set->buffers->storage;
  storage.dtype = DURE_DTYPE_F32;
  storage.home = DURE_HOME_HOST;
  dure_parameter_buffers values;
  DURE_TRY(dure_parameter_buffers_create(NULL, layout, &storage, &values));
  const dure_parameter_buffers *target = &values;
  dure_status status = dure_parameters_load(&target, 1, layout, config, file, path, suffix, DURE_POOLS_ALL, stream);
  coded_piece *piece = malloc(sizeof(*piece));
  if (status == NULL && piece == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", path);
  for (size_t i = 0; status == NULL && i < layout->pool_count; i++)
    status =
        encode_pool(set, i, values.mapped[i], dure_parameter_pool_values(&layout->pools[i], &storage), piece, stream);
  free(piece);
  dure_parameter_buffers_clear(&values);
  return status;
}

// ---- one rank's file ---------------------------------------------------------------------------------------------

// A tensor of codes, and the scales of the pool that it was in.
typedef struct coded_tensor {
  const dure_safetensors_tensor *codes, *scales;
  const dure_parameter *parameter;
  uint32_t part;
  bool is_second;
} coded_tensor;

typedef struct coded_file {
  dure_parameter_layout layout;  // as one rank places parameters
  coded_tensor *tensors;
} coded_file;

static void release(void *owner) {
  coded_file *all = owner;
  dure_parameter_layout_clear(&all->layout);
  free(all->tensors);
  free(all);
}

static dure_status read_coded(const dure_safetensors_tensor *tensor, uint64_t first, uint64_t count,
                              float *out_values) {
  const coded_tensor *coded = tensor->source;
  const uint64_t columns = coded->parameter->rank == 2 ? coded->parameter->shape[1] : 1;
  while (count > 0) {
    uint64_t row;
    const uint64_t rows = dure_parameter_run(coded->parameter, coded->part, first / columns, &row);
    const uint64_t left = rows * columns - first % columns, now = count < left ? count : left;
    const uint64_t place = coded->parameter->offset + row * columns + first % columns;
    decode(coded->is_second, coded->codes->data + first, coded->scales->data + place / BLOCK * sizeof(float), place,
           now, out_values);
    out_values += now;
    first += now;
    count -= now;
  }
  return NULL;
}

static dure_status find_coded(const dure_safetensors *file, const char *path, const char *suffix,
                              const dure_parameter_layout *layout, const dure_parameter *parameter, uint32_t part,
                              coded_tensor *out) {
  char name[192], scales[64];
  const dure_parameter_storage storage = {.dtype = DURE_DTYPE_F32, .block = BLOCK};
  const uint64_t columns = parameter->rank == 2 ? parameter->shape[1] : 1;
  snprintf(name, sizeof(name), "%s%s", parameter->parts[part].name, suffix);
  snprintf(scales, sizeof(scales), "pool.%u%s", parameter->pool,
           is_second(suffix) ? DURE_MOMENTS_SECOND_SCALES : DURE_MOMENTS_FIRST_SCALES);
  *out = (coded_tensor){.codes = dure_safetensors_find(file, name),
                        .scales = dure_safetensors_find(file, scales),
                        .parameter = parameter,
                        .part = part,
                        .is_second = is_second(suffix)};
  const bool has_codes = out->codes != NULL && out->codes->dtype == DURE_DTYPE_U8 &&
                         out->codes->count == parameter->parts[part].rows * columns;
  const bool has_scales = out->scales != NULL && out->scales->dtype == DURE_DTYPE_F32 &&
                          out->scales->count == dure_parameter_pool_values(&layout->pools[parameter->pool], &storage);
  if (has_codes && has_scales) return NULL;
  return dure_fail(DURE_CORRUPT, "'%s' has no tensor '%s' of the type and size that config.json asks for", path,
                   has_codes ? scales : name);
}

// Of every part of every parameter: `all->tensors` and what shows them, which the caller frees.
static dure_status list_coded(const dure_safetensors *file, const char *path, const char *suffix, coded_file *all,
                              dure_safetensors_tensor **out_tensors, size_t *out_count) {
  const dure_parameter_layout *layout = &all->layout;
  *out_count = 0;
  all->tensors = calloc(layout->part_count + 1, sizeof(*all->tensors));
  *out_tensors = calloc(layout->part_count + 1, sizeof(**out_tensors));
  if (all->tensors == NULL || *out_tensors == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", path);
  for (size_t i = 0; i < layout->count; i++) {
    for (uint32_t part = 0; part < layout->parameters[i].part_count; part++) {
      coded_tensor *coded = &all->tensors[*out_count];
      DURE_TRY(find_coded(file, path, suffix, layout, &layout->parameters[i], part, coded));
      dure_safetensors_tensor *tensor = &(*out_tensors)[(*out_count)++];
      *tensor = *coded->codes;
      tensor->type = "F32";
      tensor->dtype = DURE_DTYPE_F32;
      tensor->size = tensor->count * sizeof(float);
      tensor->data = NULL;
      tensor->read = read_coded;
      tensor->source = coded;
    }
  }
  return NULL;
}

dure_status dure_moments_open(const dure_safetensors *file, const char *path, const dure_model_config *config,
                              const char *suffix, dure_safetensors **out_file) {
  *out_file = NULL;
  const dure_model_config whole = dure_model_config_whole(config);
  coded_file *all = calloc(1, sizeof(*all));
  if (all == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", path);
  dure_safetensors_tensor *tensors = NULL;
  size_t count = 0;
  dure_status status = dure_parameter_layout_create(&whole, &all->layout);
  if (status == NULL) status = list_coded(file, path, suffix, all, &tensors, &count);
  if (status != NULL) {
    free(tensors);
    release(all);
    return status;
  }
  return dure_safetensors_wrap(path, tensors, count, all, release, out_file);
}
