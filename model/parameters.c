#include "model/parameters.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/random.h"

// ---- layout ------------------------------------------------------------------------------------------------------

static uint64_t dimension(const dure_model_config *config, dure_dimension kind) {
  switch (kind) {
    case DURE_DIMENSION_VOCABULARY: return config->vocabulary_size;
    case DURE_DIMENSION_POSITIONS: return config->context_length;
    case DURE_DIMENSION_WIDTH: return config->width;
    case DURE_DIMENSION_QKV:
      return ((uint64_t)config->head_count + 2 * (uint64_t)config->key_head_count) * config->head_width;
    case DURE_DIMENSION_HEADS: return (uint64_t)config->head_count * config->head_width;
    case DURE_DIMENSION_INNER: return config->inner_width;
    case DURE_DIMENSION_NONE: break;
  }
  return 0;
}

// Writes `layer` in the place of the row's "%u".
static void write_name(const dure_parameter_row *row, uint32_t layer, char *out_name, size_t size) {
  const char *mark = row->is_layered ? strstr(row->name, "%u") : NULL;
  if (mark == NULL) {
    snprintf(out_name, size, "%s", row->name);
  } else {
    snprintf(out_name, size, "%.*s%u%s", (int)(mark - row->name), row->name, layer, mark + 2);
  }
}

static void add_parameter(dure_parameter_layout *layout, const dure_model_config *config, const dure_parameter_row *row,
                          uint32_t layer) {
  dure_parameter *parameter = &layout->parameters[layout->count++];
  parameter->row = row;
  parameter->layer = layer;
  write_name(row, layer, parameter->name, sizeof(parameter->name));
  parameter->count = 1;
  for (uint32_t i = 0; i < 2 && row->shape[i] != DURE_DIMENSION_NONE; i++) {
    parameter->shape[parameter->rank++] = dimension(config, row->shape[i]);
    parameter->count *= parameter->shape[i];
  }
  parameter->decays = parameter->rank >= 2;
  layout->element_count += parameter->count;
}

// The rows in order; each run of layered rows is repeated for every layer.
static void add_parameters(dure_parameter_layout *layout, const dure_model_config *config) {
  const dure_family *family = config->family;
  for (size_t begin = 0; begin < family->row_count;) {
    const dure_parameter_row *row = &family->rows[begin];
    if (!row->is_layered) {
      if (!(row->is_absent_when_tied && config->tied_head)) add_parameter(layout, config, row, 0);
      begin++;
      continue;
    }
    size_t end = begin;
    while (end < family->row_count && family->rows[end].is_layered) end++;
    for (uint32_t layer = 0; layer < config->layer_count; layer++) {
      for (size_t i = begin; i < end; i++) add_parameter(layout, config, &family->rows[i], layer);
    }
    begin = end;
  }
}

static void place_parameters(dure_parameter_layout *layout, bool decays) {
  dure_parameter_pool *pool = NULL;
  for (size_t i = 0; i < layout->count; i++) {
    dure_parameter *parameter = &layout->parameters[i];
    if (parameter->decays != decays) continue;
    uint64_t count =
        (parameter->count + DURE_PARAMETER_ALIGNMENT - 1) / DURE_PARAMETER_ALIGNMENT * DURE_PARAMETER_ALIGNMENT;
    if (pool == NULL || pool->count + count > DURE_POOL_MAX_ELEMENTS) {
      pool = &layout->pools[layout->pool_count++];
      pool->decays = decays;
    }
    parameter->pool = (uint32_t)(pool - layout->pools);
    parameter->offset = pool->count;
    pool->count += count;
  }
}

dure_status dure_parameter_layout_create(const dure_model_config *config, dure_parameter_layout *out_layout) {
  memset(out_layout, 0, sizeof(*out_layout));
  dure_parameter_layout layout = {0};
  size_t capacity = config->family->row_count * ((size_t)config->layer_count + 1);
  layout.parameters = calloc(capacity, sizeof(*layout.parameters));
  layout.pools = calloc(capacity, sizeof(*layout.pools));
  if (layout.parameters == NULL || layout.pools == NULL) {
    dure_parameter_layout_clear(&layout);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a model of %u layers", config->layer_count);
  }
  add_parameters(&layout, config);
  place_parameters(&layout, true);
  place_parameters(&layout, false);
  *out_layout = layout;
  return NULL;
}

void dure_parameter_layout_clear(dure_parameter_layout *layout) {
  free(layout->parameters);
  free(layout->pools);
  memset(layout, 0, sizeof(*layout));
}

const dure_parameter *dure_parameter_find(const dure_parameter_layout *layout, dure_role role, uint32_t layer) {
  for (size_t i = 0; i < layout->count; i++) {
    if (layout->parameters[i].row->role == role && layout->parameters[i].layer == layer) return &layout->parameters[i];
  }
  return NULL;
}

void dure_parameter_initial(const dure_parameter_layout *layout, size_t index, const dure_model_config *config,
                            uint64_t seed, uint64_t first, uint64_t count, float *out_values) {
  const dure_init init = layout->parameters[index].row->init;
  double deviation = config->initializer_range;
  if (init == DURE_INIT_NORMAL_RESIDUAL) deviation /= sqrt(2.0 * (double)config->layer_count);
  for (uint64_t i = 0; i < count; i++) {
    if (init == DURE_INIT_ZERO || init == DURE_INIT_ONE) {
      out_values[i] = init == DURE_INIT_ONE ? 1.0f : 0.0f;
    } else {
      out_values[i] = (float)(deviation * dure_random_normal(seed, 0, (uint32_t)index, first + i));
    }
  }
}

// ---- buffers -----------------------------------------------------------------------------------------------------

dure_status dure_parameter_buffers_create(dure_device *device, const dure_parameter_layout *layout, const char *label,
                                          dure_parameter_buffers *out_buffers) {
  memset(out_buffers, 0, sizeof(*out_buffers));
  dure_parameter_buffers buffers = {.pools = calloc(layout->pool_count + 1, sizeof(*buffers.pools))};
  if (buffers.pools == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %s", label);
  for (; buffers.count < layout->pool_count; buffers.count++) {
    dure_status status = dure_buffer_create(device, layout->pools[buffers.count].count * sizeof(float),
                                            DURE_MEMORY_DEVICE, label, &buffers.pools[buffers.count]);
    if (status != NULL) {
      dure_parameter_buffers_clear(&buffers);
      return status;
    }
  }
  *out_buffers = buffers;
  return NULL;
}

void dure_parameter_buffers_clear(dure_parameter_buffers *buffers) {
  for (size_t i = 0; i < buffers->count; i++) dure_buffer_destroy(buffers->pools[i]);
  free(buffers->pools);
  memset(buffers, 0, sizeof(*buffers));
}

static dure_status check_range(const dure_parameter *parameter, uint64_t first, uint64_t count) {
  if (first <= parameter->count && count <= parameter->count - first) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "'%s' has %" PRIu64 " elements; %" PRIu64 " from %" PRIu64 " asked for",
                   parameter->name, parameter->count, count, first);
}

dure_status dure_parameter_upload(const dure_parameter_buffers *buffers, const dure_parameter *parameter,
                                  dure_stream *stream, uint64_t first, uint64_t count, const float *values) {
  DURE_TRY(check_range(parameter, first, count));
  return dure_stream_upload(stream, buffers->pools[parameter->pool], (parameter->offset + first) * sizeof(float),
                            values, count * sizeof(float));
}

dure_status dure_parameter_download(const dure_parameter_buffers *buffers, const dure_parameter *parameter,
                                    dure_stream *stream, uint64_t first, uint64_t count, float *out_values) {
  DURE_TRY(check_range(parameter, first, count));
  return dure_stream_download(stream, buffers->pools[parameter->pool], (parameter->offset + first) * sizeof(float),
                              out_values, count * sizeof(float), NULL);
}

void dure_parameter_pools_declare(dure_program *program, const dure_parameter_layout *layout, const char *label,
                                  dure_dtype dtype, dure_lifetime lifetime, dure_tensor *out_pools) {
  for (size_t i = 0; i < layout->pool_count; i++) {
    out_pools[i] = dure_tensor_external(program, label, dtype, 1, &layout->pools[i].count, lifetime);
  }
}

void dure_parameter_pools_place(const dure_parameter_buffers *buffers, const dure_tensor *pools,
                                dure_place *out_places) {
  for (size_t i = 0; i < buffers->count; i++) out_places[i] = (dure_place){pools[i], buffers->pools[i], 0};
}

dure_tensor dure_parameter_view(dure_program *program, const dure_tensor *pools, const dure_parameter *parameter) {
  const uint64_t stride[2] = {parameter->rank == 2 ? parameter->shape[1] : 1, 1};
  return dure_tensor_view(program, pools[parameter->pool], parameter->rank, parameter->shape, stride,
                          parameter->offset);
}
