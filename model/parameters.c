#include "model/parameters.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tensor_parallel.h"
#include "runtime/random.h"

// ---- layout ------------------------------------------------------------------------------------------------------

static uint64_t dimension(const dure_model_config *config, dure_dimension kind) {
  switch (kind) {
    case DURE_DIMENSION_VOCABULARY: return config->vocabulary_size;
    case DURE_DIMENSION_POSITIONS: return (uint64_t)config->context_length + config->position_offset;
    case DURE_DIMENSION_WIDTH: return config->width;
    case DURE_DIMENSION_EMBEDDING: return config->embedding_width;
    case DURE_DIMENSION_QKV:
      return ((uint64_t)config->head_count + 2 * (uint64_t)config->key_head_count) * config->head_width;
    case DURE_DIMENSION_HEADS: return (uint64_t)config->head_count * config->head_width;
    case DURE_DIMENSION_KEYS: return (uint64_t)config->key_head_count * config->head_width;
    case DURE_DIMENSION_HEAD: return config->head_width;
    case DURE_DIMENSION_INNER: return config->inner_width;
    case DURE_DIMENSION_GATED: return 2 * (uint64_t)config->inner_width;
    case DURE_DIMENSION_ONE: return 1;
    case DURE_DIMENSION_EXPERTS: return config->experts.count;
    case DURE_DIMENSION_EXPERT_INNER: return config->experts.width;
    case DURE_DIMENSION_EXPERTS_GATED: return 2 * (uint64_t)config->experts.count * config->experts.width;
    case DURE_DIMENSION_EXPERTS_WIDTH: return (uint64_t)config->experts.count * config->width;
    case DURE_DIMENSION_SHARED_INNER: return config->experts.shared_width;
    case DURE_DIMENSION_SHARED_GATED: return 2 * (uint64_t)config->experts.shared_width;
    case DURE_DIMENSION_QUERY_RANK: return config->latent.query_rank;
    case DURE_DIMENSION_KEY_RANK: return config->latent.key_rank;
    case DURE_DIMENSION_KEY_DOWN: return (uint64_t)config->latent.key_rank + config->rotary.width;
    case DURE_DIMENSION_KEY_UP:
      return (uint64_t)config->head_count * (config->latent.plain_width + config->latent.value_width);
    case DURE_DIMENSION_VALUES: return (uint64_t)config->head_count * config->latent.value_width;
    case DURE_DIMENSION_NONE: break;
  }
  return 0;
}

// Writes the numbers in the places of the name's "%u"s: the layer's, then the expert's.
static void write_name(const char *name, uint32_t layer, uint32_t expert, char *out_name, size_t size) {
  const uint32_t numbers[2] = {layer, expert};
  size_t used = 0;
  for (uint32_t i = 0; used < size; i++) {
    const char *mark = i < 2 ? strstr(name, "%u") : NULL;
    if (mark == NULL) {
      snprintf(out_name + used, size - used, "%s", name);
      return;
    }
    used += (size_t)snprintf(out_name + used, size - used, "%.*s%u", (int)(mark - name), name, numbers[i]);
    name = mark + 2;
  }
}

static uint32_t name_count(const dure_parameter_row *row) {
  uint32_t count = 0;
  while (count < DURE_PARTS_MOST && row->names[count] != NULL) count++;
  return count;
}

static bool is_in_layer(const dure_parameter_row *row, const dure_model_config *config, uint32_t layer) {
  if (!dure_model_config_has(config, row->needs) || !dure_model_config_has(config, row->needs_too)) return false;
  return row->layers == DURE_LAYERS_ALL || config->is_sparse[layer] == (row->layers == DURE_LAYERS_SPARSE);
}

static void add_parts(dure_parameter_layout *layout, dure_parameter *parameter, const dure_model_config *whole) {
  const dure_parameter_row *row = parameter->row;
  const uint32_t names = name_count(row), experts = row->is_per_expert ? whole->experts.count : 1;
  parameter->part_count = names * experts;
  parameter->parts = &layout->parts[layout->part_count];
  layout->part_count += parameter->part_count;
  for (uint32_t i = 0; i < parameter->part_count; i++) {
    dure_parameter_part *part = &parameter->parts[i];
    const dure_dimension stacked = row->stacked[i % names];
    write_name(row->names[i % names], parameter->layer, i / names, part->name, sizeof(part->name));
    part->rows = stacked == DURE_DIMENSION_NONE ? parameter->whole[0] : dimension(whole, stacked);
  }
  memcpy(parameter->name, parameter->parts[0].name, sizeof(parameter->name));
  if (row->order != DURE_ORDER_BY_GROUP) return;
  parameter->group_count = whole->key_head_count;
  parameter->group_heads = whole->head_count / whole->key_head_count;
  parameter->head_width = whole->head_width;
}

static void add_parameter(dure_parameter_layout *layout, const dure_model_config *config, const dure_parameter_row *row,
                          uint32_t layer) {
  if (!is_in_layer(row, config, layer)) return;
  dure_parameter *parameter = &layout->parameters[layout->count++];
  parameter->row = row;
  parameter->layer = layer;
  parameter->count = 1;
  for (uint32_t i = 0; i < 2 && row->shape[i] != DURE_DIMENSION_NONE; i++) {
    parameter->shape[parameter->rank++] = dimension(config, row->shape[i]);
    parameter->count *= parameter->shape[i];
  }
  dure_parameter_cut_make(config, parameter);
  const dure_model_config whole = dure_model_config_whole(config);
  add_parts(layout, parameter, &whole);
  parameter->decays = parameter->rank >= 2;
  parameter->steers = row->role == DURE_ROLE_ROUTER_BIAS;
  layout->element_count += parameter->count;
}

// Rows of a part to those of the whole parameter.
static uint64_t run_of_whole(const dure_parameter *parameter, uint32_t part, uint64_t row, uint64_t *out_row) {
  *out_row = row;
  for (uint32_t i = 0; i < part; i++) *out_row += parameter->parts[i].rows;
  if (parameter->group_count == 0) return parameter->parts[part].rows - row;
  // The file has (q.., k, v) for each group; memory has all q, then all k, then all v.
  const uint64_t D = parameter->head_width, queries = parameter->group_heads * D, group = row / (queries + 2 * D);
  const uint64_t within = row % (queries + 2 * D), all_queries = parameter->group_count * queries;
  if (within < queries) {
    *out_row = group * queries + within;
    return queries - within;
  }
  const bool is_value = within >= queries + D;
  const uint64_t first = queries + (is_value ? D : 0);
  *out_row = all_queries + (is_value ? parameter->group_count * D : 0) + group * D + (within - first);
  return first + D - within;
}

uint64_t dure_parameter_run(const dure_parameter *parameter, uint32_t part, uint64_t row, uint64_t *out_row) {
  uint64_t whole;
  const uint64_t rows = run_of_whole(parameter, part, row, &whole);
  return dure_parameter_cut_rows(parameter, whole, rows, out_row);
}

// The rows in order; each run of layered rows is repeated for every layer.
static void add_parameters(dure_parameter_layout *layout, const dure_model_config *config) {
  const dure_family *family = config->family;
  for (size_t begin = 0; begin < family->row_count;) {
    const dure_parameter_row *row = &family->rows[begin];
    if (!row->is_layered) {
      add_parameter(layout, config, row, 0);
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

// What shares pools: parameters that decay, others, and those that steer.
typedef struct pool_kind {
  bool decays, steers;
} pool_kind;
static const pool_kind pool_kinds[] = {{true, false}, {false, false}, {false, true}};
enum { pool_kind_count = sizeof(pool_kinds) / sizeof(pool_kinds[0]) };

static bool is_of_kind(const dure_parameter *parameter, pool_kind kind) {
  return parameter->decays == kind.decays && parameter->steers == kind.steers;
}

// With the room behind it. Of a model's part, no block of moments has what all parts have alike and what they do not:
// its scale would be another one in each.
static uint64_t placed_count(const dure_parameter *parameter) {
  const uint64_t multiple = dure_parameter_alignment(parameter);
  return (parameter->count + multiple - 1) / multiple * multiple;
}

static void place_parameters(dure_parameter_layout *layout, pool_kind kind) {
  dure_parameter_pool *pool = NULL;
  for (size_t i = 0; i < layout->count; i++) {
    dure_parameter *parameter = &layout->parameters[i];
    if (!is_of_kind(parameter, kind) || parameter->bits > 0) continue;
    const uint64_t count = placed_count(parameter);
    if (pool == NULL || pool->count + count > DURE_POOL_MAX_ELEMENTS) {
      pool = &layout->pools[layout->pool_count++];
      pool->decays = kind.decays;
      pool->steers = kind.steers;
    }
    parameter->pool = (uint32_t)(pool - layout->pools);
    parameter->offset = pool->count;
    pool->count += count;
  }
}

// The end of the last pool of that kind, or of a new one where it would become too large.
static uint64_t reserve_packed(dure_parameter_layout *layout, dure_dtype dtype, uint64_t wanted, uint32_t *out_pool) {
  const uint64_t count = (wanted + DURE_PARAMETER_ALIGNMENT - 1) / DURE_PARAMETER_ALIGNMENT * DURE_PARAMETER_ALIGNMENT;
  dure_parameter_pool *pool = NULL;
  for (size_t i = 0; i < layout->pool_count; i++) {
    if (layout->pools[i].dtype == dtype) pool = &layout->pools[i];
  }
  if (pool == NULL || pool->count + count > DURE_POOL_MAX_ELEMENTS) {
    pool = &layout->pools[layout->pool_count++];
    *pool = (dure_parameter_pool){.dtype = dtype};
  }
  const uint64_t offset = pool->count;
  *out_pool = (uint32_t)(pool - layout->pools);
  pool->count += count;
  return offset;
}

void dure_parameter_layout_place(dure_parameter_layout *layout) {
  memset(layout->pools, 0, layout->pool_count * sizeof(*layout->pools));
  layout->pool_count = 0;
  for (size_t i = 0; i < pool_kind_count; i++) place_parameters(layout, pool_kinds[i]);
  for (size_t i = 0; i < layout->count; i++) {
    dure_parameter *parameter = &layout->parameters[i];
    if (parameter->bits == 0) continue;
    const uint64_t groups = parameter->count / parameter->scale_group;
    parameter->offset = reserve_packed(layout, DURE_DTYPE_U8, parameter->count * parameter->bits / 8, &parameter->pool);
    parameter->scales_offset = reserve_packed(layout, parameter->scales_dtype,
                                              parameter->has_minima ? 2 * groups : groups, &parameter->scales_pool);
    parameter->minima_offset = parameter->scales_offset + groups;
  }
}

// At most.
static size_t count_parts(const dure_model_config *config) {
  size_t count = 1;
  for (size_t i = 0; i < config->family->row_count; i++) {
    const dure_parameter_row *row = &config->family->rows[i];
    const size_t experts = row->is_per_expert ? config->experts.count : 1;
    count += experts * name_count(row) * (row->is_layered ? config->layer_count : 1);
  }
  return count;
}

// 0: before the layers; L + 1: of layer L; UINT32_MAX: behind them.
static uint32_t stage_of(const dure_parameter_layout *layout, size_t index) {
  const dure_parameter *parameter = &layout->parameters[index];
  if (parameter->row->is_layered) return parameter->layer + 1;
  for (size_t i = 0; i < index; i++) {
    if (layout->parameters[i].row->is_layered) return UINT32_MAX;
  }
  return 0;
}

// Places the parameters of a kind in pools that end where a stage does.
static void place_by_stages(dure_parameter_layout *layout, pool_kind kind, uint64_t target) {
  dure_parameter_pool *pool = NULL;
  uint32_t before = 0;
  for (size_t i = 0; i < layout->count; i++) {
    dure_parameter *parameter = &layout->parameters[i];
    if (!is_of_kind(parameter, kind)) continue;
    const uint32_t stage = stage_of(layout, i);
    const uint64_t count = placed_count(parameter);
    const bool is_edge = stage != before, is_of_layers = stage != 0 && stage != UINT32_MAX && before != 0;
    const bool ends = pool != NULL && is_edge && kind.decays && (!is_of_layers || pool->count >= target);
    if (pool == NULL || ends || pool->count + count > DURE_POOL_MAX_ELEMENTS) {
      pool = &layout->pools[layout->pool_count++];
      *pool = (dure_parameter_pool){.decays = kind.decays, .steers = kind.steers};
    }
    parameter->pool = (uint32_t)(pool - layout->pools);
    parameter->offset = pool->count;
    pool->count += count;
    before = stage;
  }
}

enum { divided_pools = 8 };

void dure_parameter_layout_divide(dure_parameter_layout *layout, uint32_t shards) {
  if (shards < 2) return;
  layout->pool_count = 0;
  for (size_t i = 0; i < pool_kind_count; i++)
    place_by_stages(layout, pool_kinds[i], pool_kinds[i].decays ? layout->element_count / divided_pools : 0);
  const uint64_t multiple = (uint64_t)shards * DURE_SHARD_ALIGNMENT;
  for (size_t i = 0; i < layout->pool_count; i++) {
    dure_parameter_pool *pool = &layout->pools[i];
    pool->padding = (multiple - pool->count % multiple) % multiple;
    pool->count += pool->padding;
  }
}

dure_status dure_parameter_layout_create(const dure_model_config *config, dure_parameter_layout *out_layout) {
  memset(out_layout, 0, sizeof(*out_layout));
  dure_parameter_layout layout = {0};
  size_t capacity = config->family->row_count * ((size_t)config->layer_count + 1);
  layout.parameters = calloc(capacity, sizeof(*layout.parameters));
  layout.pools = calloc(3 * capacity + 2, sizeof(*layout.pools));  // packed parameters have two
  layout.parts = calloc(count_parts(config), sizeof(*layout.parts));
  if (layout.parameters == NULL || layout.pools == NULL || layout.parts == NULL) {
    dure_parameter_layout_clear(&layout);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a model of %u layers", config->layer_count);
  }
  add_parameters(&layout, config);
  dure_parameter_layout_place(&layout);
  *out_layout = layout;
  return NULL;
}

void dure_parameter_layout_clear(dure_parameter_layout *layout) {
  free(layout->parameters);
  free(layout->pools);
  free(layout->parts);
  memset(layout, 0, sizeof(*layout));
}

const dure_parameter *dure_parameter_find(const dure_parameter_layout *layout, dure_role role, uint32_t layer) {
  for (size_t i = 0; i < layout->count; i++) {
    if (layout->parameters[i].row->role == role && layout->parameters[i].layer == layer) return &layout->parameters[i];
  }
  return NULL;
}

static double initial_deviation(dure_init init, const dure_model_config *config) {
  const double layers = config->layer_count, width = config->width;
  switch (init) {
    case DURE_INIT_NORMAL: return config->initializer_range;
    case DURE_INIT_NORMAL_RESIDUAL: return config->initializer_range / sqrt(2 * layers);
    case DURE_INIT_NORMAL_SMALL: return sqrt(2 / (5 * width));
    case DURE_INIT_NORMAL_WANG: return 2 / (layers * sqrt(width));
    case DURE_INIT_ZERO:
    case DURE_INIT_ONE: break;
  }
  return 0;
}

void dure_parameter_initial(const dure_parameter_layout *layout, size_t index, const dure_model_config *config,
                            uint64_t seed, uint64_t first, uint64_t count, float *out_values) {
  const dure_parameter *parameter = &layout->parameters[index];
  const dure_init init = parameter->row->init;
  const double deviation = initial_deviation(init, config);
  for (uint64_t i = 0; i < count; i++) {
    if (init == DURE_INIT_ZERO || init == DURE_INIT_ONE) {
      out_values[i] = init == DURE_INIT_ONE ? 1.0f : 0.0f;
    } else {
      out_values[i] = (float)(deviation * dure_random_normal(seed, 0, (uint32_t)index,
                                                             dure_parameter_whole_element(parameter, first + i)));
    }
  }
}

// ---- buffers -----------------------------------------------------------------------------------------------------

static dure_dtype pool_dtype(const dure_parameter_pool *pool, const dure_parameter_storage *storage) {
  return pool->dtype != DURE_DTYPE_NONE ? pool->dtype : storage->dtype;
}

void dure_parameter_shard_range(const dure_parameter_pool *pool, const dure_parameter_storage *storage,
                                uint64_t *out_first, uint64_t *out_end) {
  const uint64_t size = storage->shards > 1 ? pool->count / storage->shards : pool->count;
  *out_first = storage->shards > 1 ? storage->shard * size : 0;
  *out_end = *out_first + size;
}

uint64_t dure_parameter_pool_values(const dure_parameter_pool *pool, const dure_parameter_storage *storage) {
  uint64_t first, end;
  dure_parameter_shard_range(pool, storage, &first, &end);
  return (end - first + storage->block - 1) / storage->block;
}

uint64_t dure_parameter_pool_bytes(const dure_parameter_pool *pool, const dure_parameter_storage *storage) {
  return dure_parameter_pool_values(pool, storage) * dure_dtype_size(pool_dtype(pool, storage));
}

static dure_status create_pool(dure_device *device, const dure_parameter_pool *pool, dure_parameter_buffers *buffers) {
  const dure_parameter_storage *storage = &buffers->storage;
  const uint64_t bytes = dure_parameter_pool_bytes(pool, storage);
  const size_t i = buffers->count;
  if (storage->home == DURE_HOME_HOST) {
    buffers->mapped[i] = bytes <= SIZE_MAX ? calloc(1, (size_t)bytes) : NULL;
    if (buffers->mapped[i] != NULL) return NULL;
    return dure_fail(DURE_OUT_OF_MEMORY,
                     "%s need %.1f MiB of host memory, which are not there; use --offload none, smaller "
                     "--optimizer-states, or a smaller model",
                     storage->label, (double)bytes / 1048576.0);
  }
  DURE_TRY(dure_buffer_create(device, bytes, DURE_MEMORY_DEVICE, storage->label, &buffers->pools[i]));
  if (storage->home != DURE_HOME_MAPPED) return NULL;
  buffers->mapped[i] = dure_buffer_map(buffers->pools[i]);
  if (buffers->mapped[i] != NULL) return NULL;
  dure_buffer_destroy(buffers->pools[i]);  // a driver whose own memory is out of reach after all
  buffers->pools[i] = NULL;
  DURE_TRY(dure_buffer_create(device, bytes, DURE_MEMORY_HOST, storage->label, &buffers->pools[i]));
  buffers->mapped[i] = dure_buffer_map(buffers->pools[i]);
  return NULL;
}

dure_status dure_parameter_shard_sizes(const dure_parameter_layout *layout, dure_parameter_buffers *buffers) {
  const uint32_t shards = buffers->storage.shards;
  if (shards < 2) return NULL;
  buffers->shard_sizes = calloc(layout->pool_count + 1, sizeof(*buffers->shard_sizes));
  if (buffers->shard_sizes == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %s", buffers->storage.label);
  for (size_t i = 0; i < layout->pool_count; i++) buffers->shard_sizes[i] = layout->pools[i].count / shards;
  return NULL;
}

dure_status dure_parameter_buffers_create(dure_device *device, const dure_parameter_layout *layout,
                                          const dure_parameter_storage *storage, dure_parameter_buffers *out_buffers) {
  memset(out_buffers, 0, sizeof(*out_buffers));
  dure_parameter_buffers buffers = {
      .pools = calloc(layout->pool_count + 1, sizeof(*buffers.pools)),
      .mapped = calloc(layout->pool_count + 1, sizeof(*buffers.mapped)),
      .storage = *storage,
  };
  dure_status status = NULL;
  if (buffers.pools == NULL || buffers.mapped == NULL)
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %s", storage->label);
  if (status == NULL) status = dure_parameter_shard_sizes(layout, &buffers);
  while (status == NULL && buffers.count < layout->pool_count) {
    status = create_pool(device, &layout->pools[buffers.count], &buffers);
    if (status == NULL) buffers.count++;
  }
  if (status != NULL) {
    dure_parameter_buffers_clear(&buffers);
    return status;
  }
  *out_buffers = buffers;
  return NULL;
}

void dure_parameter_buffers_clear(dure_parameter_buffers *buffers) {
  for (size_t i = 0; i < buffers->count; i++) {
    if (buffers->storage.home == DURE_HOME_HOST) free(buffers->mapped[i]);
    dure_buffer_destroy(buffers->pools[i]);
  }
  free(buffers->pools);
  free(buffers->mapped);
  free(buffers->shard_sizes);
  memset(buffers, 0, sizeof(*buffers));
}

dure_status dure_parameter_pool_write(const dure_parameter_buffers *buffers, size_t pool, dure_stream *stream,
                                      uint64_t offset, const void *bytes, uint64_t size) {
  uint8_t *mapped = buffers->mapped[pool];
  if (mapped == NULL) mapped = dure_buffer_map(buffers->pools[pool]);  // a software driver's
  if (mapped == NULL) return dure_stream_upload(stream, buffers->pools[pool], offset, bytes, size);
  memcpy(mapped + offset, bytes, (size_t)size);
  return NULL;
}

dure_status dure_parameter_pool_read(const dure_parameter_buffers *buffers, size_t pool, dure_stream *stream,
                                     uint64_t offset, void *out_bytes, uint64_t size) {
  if (buffers->mapped[pool] == NULL)
    return dure_stream_download(stream, buffers->pools[pool], offset, out_bytes, size, NULL);
  if (buffers->pools[pool] != NULL) DURE_TRY(dure_stream_wait(stream, 0));
  memcpy(out_bytes, (const uint8_t *)buffers->mapped[pool] + offset, (size_t)size);
  return NULL;
}

static dure_status check_range(const dure_parameter *parameter, uint64_t first, uint64_t count) {
  if (first <= parameter->count && count <= parameter->count - first) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "'%s' has %" PRIu64 " elements; %" PRIu64 " from %" PRIu64 " asked for",
                   parameter->name, parameter->count, count, first);
}

static void narrow(dure_dtype dtype, const float *values, uint64_t count, uint16_t *out_bits) {
  for (uint64_t i = 0; i < count; i++)
    out_bits[i] = dtype == DURE_DTYPE_BF16 ? dure_bf16_from_float(values[i]) : dure_f16_from_float(values[i]);
}

static void widen(dure_dtype dtype, const uint16_t *bits, uint64_t count, float *out_values) {
  for (uint64_t i = 0; i < count; i++)
    out_values[i] = dtype == DURE_DTYPE_BF16 ? dure_bf16_to_float(bits[i]) : dure_f16_to_float(bits[i]);
}

// Leaves of elements [*begin, *begin + *count) of a pool those of the part that is kept, counted from its start; false:
// there are none.
static bool clip_to_shard(const dure_parameter_buffers *buffers, uint32_t pool, uint64_t *begin, uint64_t *count,
                          const float **values) {
  if (buffers->shard_sizes == NULL) return true;
  const uint64_t size = buffers->shard_sizes[pool], first = buffers->storage.shard * size, end = first + size;
  if (*begin + *count <= first || *begin >= end) return false;
  const uint64_t skipped = *begin < first ? first - *begin : 0;
  *values += skipped;
  *begin += skipped;
  *count -= skipped;
  if (*begin + *count > end) *count = end - *begin;
  *begin -= first;
  return true;
}

dure_status dure_parameter_upload(const dure_parameter_buffers *buffers, const dure_parameter *parameter,
                                  dure_stream *stream, uint64_t first, uint64_t count, const float *values) {
  DURE_TRY(check_range(parameter, first, count));
  const dure_dtype dtype = buffers->storage.dtype;
  uint64_t begin = parameter->offset + first;
  if (!clip_to_shard(buffers, parameter->pool, &begin, &count, &values)) return NULL;
  if (dtype == DURE_DTYPE_F32)
    return dure_parameter_pool_write(buffers, parameter->pool, stream, begin * sizeof(float), values,
                                     count * sizeof(float));
  uint16_t *bits = malloc(count * sizeof(*bits));
  if (bits == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory rounding '%s'", parameter->name);
  narrow(dtype, values, count, bits);
  dure_status status =
      dure_parameter_pool_write(buffers, parameter->pool, stream, begin * sizeof(*bits), bits, count * sizeof(*bits));
  free(bits);
  return status;
}

dure_status dure_parameter_download(const dure_parameter_buffers *buffers, const dure_parameter *parameter,
                                    dure_stream *stream, uint64_t first, uint64_t count, float *out_values) {
  DURE_TRY(check_range(parameter, first, count));
  const dure_dtype dtype = buffers->storage.dtype;
  const uint64_t begin = parameter->offset + first;
  if (dtype == DURE_DTYPE_F32)
    return dure_parameter_pool_read(buffers, parameter->pool, stream, begin * sizeof(float), out_values,
                                    count * sizeof(float));
  uint16_t *bits = malloc(count * sizeof(*bits));
  if (bits == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", parameter->name);
  dure_status status =
      dure_parameter_pool_read(buffers, parameter->pool, stream, begin * sizeof(*bits), bits, count * sizeof(*bits));
  if (status == NULL) widen(dtype, bits, count, out_values);
  free(bits);
  return status;
}

void dure_parameter_pools_declare(dure_program *program, const dure_parameter_layout *layout,
                                  const dure_parameter_storage *storage, dure_lifetime lifetime,
                                  dure_tensor *out_pools) {
  for (size_t i = 0; i < layout->pool_count; i++) {
    const uint64_t count = dure_parameter_pool_values(&layout->pools[i], storage);
    out_pools[i] =
        dure_tensor_external(program, storage->label, pool_dtype(&layout->pools[i], storage), 1, &count, lifetime);
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
