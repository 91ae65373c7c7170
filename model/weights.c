#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

#include "model/checkpoint_parts.h"
#include "model/family.h"
#include "model/gguf_family.h"
#include "model/grouped.h"
#include "runtime/os.h"

// ---- GGUF tensors under public names -----------------------------------------------------------------------------

enum { experts_most = 1024 };

typedef struct gguf_weights gguf_weights;

typedef struct mapped {
  gguf_weights *all;
  const dure_gguf_tensor *tensor;
  dure_gguf_order order;
  // Of a tensor of all experts: one's matrix, which `tensor` then is; likewise a vector as a row. KEY_UP: the values'.
  dure_gguf_tensor part;
  char name[160];
} mapped;

struct gguf_weights {
  dure_gguf *file;
  dure_model_config config;
  mapped *mapped;
  // The last transposed tensor, expanded: reading one column of blocks at a time would expand each block many times.
  const mapped *transposed;
  float *values;  // [in, out]
};

static void release(void *owner) {
  gguf_weights *all = owner;
  dure_gguf_close(all->file);
  if (all->config.family != NULL) dure_model_config_clear(&all->config);
  free(all->mapped);
  free(all->values);
  free(all);
}

static dure_status allocate_values(const mapped *m, uint64_t count, uint64_t row, float **out_row) {
  gguf_weights *all = m->all;
  all->transposed = NULL;
  free(all->values);
  all->values = count <= SIZE_MAX / sizeof(float) ? malloc((size_t)count * sizeof(float)) : NULL;
  *out_row = row <= SIZE_MAX / sizeof(float) ? malloc((size_t)row * sizeof(float)) : NULL;
  if (all->values != NULL && *out_row != NULL) return NULL;
  return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", m->tensor->name);
}

static dure_status expand_transposed(const mapped *m) {
  gguf_weights *all = m->all;
  if (all->transposed == m) return NULL;
  const uint64_t out = m->tensor->shape[0], in = m->tensor->shape[1];
  float *row = NULL;
  dure_status status = allocate_values(m, m->tensor->count, in, &row);
  for (uint64_t o = 0; o < out && status == NULL; o++) {
    status = dure_gguf_read(m->tensor, o * in, in, row);
    for (uint64_t i = 0; i < in && status == NULL; i++) all->values[i * out + o] = row[i];
  }
  free(row);
  if (status == NULL) all->transposed = m;
  return status;
}

// [H, rank, plain] and [H, value, rank] to [H (plain + value), rank]
static dure_status expand_key_up(const mapped *m) {
  gguf_weights *all = m->all;
  if (all->transposed == m) return NULL;
  const uint64_t H = m->tensor->shape[0], rank = m->tensor->shape[1], plain = m->tensor->shape[2];
  const uint64_t value = m->part.shape[1];
  float *row = NULL;
  dure_status status = allocate_values(m, m->tensor->count + m->part.count, plain, &row);
  for (uint64_t h = 0; h < H && status == NULL; h++) {
    float *head = all->values + h * (plain + value) * rank;
    for (uint64_t r = 0; r < rank && status == NULL; r++) {
      status = dure_gguf_read(m->tensor, (h * rank + r) * plain, plain, row);
      for (uint64_t i = 0; i < plain && status == NULL; i++) head[i * rank + r] = row[i];
    }
    if (status == NULL) status = dure_gguf_read(&m->part, h * value * rank, value * rank, head + plain * rank);
  }
  free(row);
  if (status == NULL) all->transposed = m;
  return status;
}

static dure_status read_rows(const mapped *m, uint64_t first, uint64_t count, float *out_values) {
  const uint64_t columns = m->tensor->rank > 1 ? m->tensor->shape[m->tensor->rank - 1] : 1;
  for (uint64_t done = 0; done < count;) {
    const uint64_t row = (first + done) / columns, within = (first + done) % columns;
    const uint64_t left = count - done, size = left < columns - within ? left : columns - within;
    const uint64_t source = dure_gguf_row(m->order, &m->all->config, row);
    DURE_TRY(dure_gguf_read(m->tensor, source * columns + within, size, out_values + done));
    done += size;
  }
  return NULL;
}

static dure_status read_mapped(const dure_safetensors_tensor *tensor, uint64_t first, uint64_t count,
                               float *out_values) {
  const mapped *m = tensor->source;
  if (count == 0) return NULL;  // of a tensor without elements, whose other dimension may be anything
  if (m->order == DURE_GGUF_TRANSPOSED || m->order == DURE_GGUF_KEY_UP) {
    DURE_TRY(m->order == DURE_GGUF_KEY_UP ? expand_key_up(m) : expand_transposed(m));
    if (count > 0) memcpy(out_values, m->all->values + first, (size_t)(count * sizeof(float)));
    return NULL;
  }
  if (m->order == DURE_GGUF_ROTARY_QUERY || m->order == DURE_GGUF_ROTARY_KEY || m->order == DURE_GGUF_BY_KIND)
    return read_rows(m, first, count, out_values);
  DURE_TRY(dure_gguf_read(m->tensor, first, count, out_values));
  for (uint64_t i = 0; i < count && m->order == DURE_GGUF_PLUS_ONE; i++) out_values[i] -= 1;
  return NULL;
}

// Rows beyond those that an order knows would be looked for outside the tensor.
static bool order_fits(const dure_model_config *config, dure_gguf_order order, const dure_gguf_tensor *tensor) {
  const uint64_t D = config->head_width, queries = config->head_count * D, keys = config->key_head_count * D;
  const uint64_t rows = tensor->rank > 0 ? tensor->shape[0] : 0;
  switch (order) {
    case DURE_GGUF_ROTARY_QUERY: return tensor->rank <= 2 && D % 2 == 0 && rows == queries;
    case DURE_GGUF_ROTARY_KEY: return tensor->rank <= 2 && D % 2 == 0 && rows == keys;
    case DURE_GGUF_BY_KIND: return tensor->rank <= 2 && rows == queries + 2 * keys;
    case DURE_GGUF_TRANSPOSED: return tensor->rank == 2;
    case DURE_GGUF_SAME:
    case DURE_GGUF_PLUS_ONE:
    case DURE_GGUF_EXPERTS:
    case DURE_GGUF_ONE_ROW: break;
    case DURE_GGUF_KEY_UP:
    case DURE_GGUF_VALUE_UP:
      return tensor->rank == 3 && rows == config->head_count && tensor->shape[1] > 0 && tensor->shape[2] > 0;
  }
  return true;
}

static dure_weights_codes gguf_codes(const mapped *m) {
  const dure_gguf_tensor *stored = m->tensor;
  if (stored->rank != 2 || stored->type->expand == NULL || m->order == DURE_GGUF_PLUS_ONE)
    return (dure_weights_codes){0};
  const dure_gguf_codes codes = dure_gguf_type_codes(stored->type);
  return (dure_weights_codes){codes.bits,   codes.group,      codes.has_minima, m->order == DURE_GGUF_TRANSPOSED,
                              codes.scales, stored->shape[0], stored->shape[1]};
}

dure_weights_codes dure_weights_codes_of(const dure_safetensors_tensor *tensor) {
  const dure_grouped *grouped = dure_grouped_of(tensor);
  if (grouped != NULL)
    return (dure_weights_codes){grouped->bits,          grouped->group, grouped->minima.data != NULL,
                                grouped->is_transposed, DURE_DTYPE_F16, grouped->rows,
                                grouped->width};
  return tensor->read == read_mapped ? gguf_codes(tensor->source) : (dure_weights_codes){0};
}

void dure_weights_row(const dure_safetensors_tensor *tensor, uint64_t row, int8_t *out_codes, float *out_scales,
                      float *out_minima) {
  const dure_grouped *grouped = dure_grouped_of(tensor);
  if (grouped != NULL) {
    dure_grouped_row(grouped, row, out_codes, out_scales, out_minima);
    return;
  }
  const mapped *m = tensor->source;
  const dure_gguf_type *type = m->tensor->type;
  const uint64_t blocks = m->tensor->shape[1] / type->elements;
  const uint32_t groups = type->elements / dure_gguf_type_codes(type).group;
  const uint64_t source = m->order == DURE_GGUF_TRANSPOSED ? row : dure_gguf_row(m->order, &m->all->config, row);
  const uint8_t *block = m->tensor->data + source * blocks * type->bytes;
  for (uint64_t i = 0; i < blocks; i++, block += type->bytes)
    dure_gguf_block_codes(type, block, out_codes + i * type->elements, out_scales + i * groups,
                          out_minima + i * groups);
}

static void describe(mapped *m, dure_safetensors_tensor *out_tensor) {
  const dure_gguf_tensor *tensor = m->tensor;
  *out_tensor = (dure_safetensors_tensor){.name = m->name,
                                          .type = tensor->type->name,
                                          .dtype = tensor->type->dtype,
                                          .rank = tensor->rank,
                                          .count = tensor->count,
                                          .size = tensor->size,
                                          .data = tensor->data,
                                          .read = read_mapped,
                                          .source = m};
  for (uint32_t i = 0; i < tensor->rank; i++) {
    const bool is_turned = m->order == DURE_GGUF_TRANSPOSED;
    out_tensor->shape[i] = tensor->shape[is_turned ? tensor->rank - 1 - i : i];
  }
}

// Tensors at most, those of all experts taken apart.
static size_t count_parts(const dure_gguf *file) {
  size_t count = 0;
  for (size_t i = 0; i < dure_gguf_tensor_count(file); i++) {
    const dure_gguf_tensor *tensor = dure_gguf_tensor_at(file, i);
    const bool may_be_experts = tensor->rank == 3 && tensor->shape[0] <= experts_most;
    count += may_be_experts ? (size_t)tensor->shape[0] : 1;
  }
  return count;
}

// The matrices of all experts; false when the tensor has none.
static bool map_experts(gguf_weights *all, const dure_gguf_family *family, const dure_gguf_tensor *tensor,
                        dure_safetensors_tensor *tensors, size_t *out_count) {
  const uint64_t experts = tensor->rank == 3 ? tensor->shape[0] : 0;
  char name[160];
  if (experts == 0 || experts > experts_most || !dure_gguf_name_of_expert(family, tensor->name, 0, name, sizeof(name)))
    return false;
  for (uint64_t i = 0; i < experts; i++) {
    mapped *m = &all->mapped[*out_count];
    *m = (mapped){.all = all, .part = *tensor};
    m->part.rank = 2;
    m->part.shape[0] = tensor->shape[1];
    m->part.shape[1] = tensor->shape[2];
    m->part.count /= experts;
    m->part.size /= experts;
    m->part.data += i * m->part.size;
    m->tensor = &m->part;
    (void)dure_gguf_name_of_expert(family, tensor->name, i, m->name, sizeof(m->name));
    describe(m, &tensors[(*out_count)++]);
  }
  return true;
}

static void make_row(mapped *m) {
  m->part = *m->tensor;
  m->part.rank = 2;
  m->part.shape[1] = m->part.shape[0];
  m->part.shape[0] = 1;
  m->tensor = &m->part;
}

// The values that go with the keys, and the shape of both together.
static dure_status join_values(mapped *m, dure_safetensors_tensor *tensor) {
  char name[160];
  const char *mark = strstr(m->tensor->name, "attn_k_b.");
  const int length = mark != NULL ? (int)(mark - m->tensor->name) : 0;
  snprintf(name, sizeof(name), "%.*sattn_v_b.%s", length, m->tensor->name, mark != NULL ? mark + 9 : "");
  const dure_gguf_tensor *values = dure_gguf_tensor_find(m->all->file, name);
  if (values == NULL || values->rank != 3 || values->shape[0] != m->tensor->shape[0] ||
      values->shape[2] != m->tensor->shape[1] || values->shape[1] == 0)
    return dure_fail(DURE_CORRUPT, "'%s': tensor '%s' does not go with '%s'", dure_gguf_path(m->all->file),
                     m->tensor->name, name);
  m->part = *values;
  tensor->rank = 2;
  tensor->shape[1] = m->tensor->shape[1];
  tensor->shape[0] = values->shape[0] * (m->tensor->shape[2] + values->shape[1]);
  tensor->count = m->tensor->count + values->count;
  tensor->size = m->tensor->size + values->size;
  return NULL;
}

// `family` NULL: as they are stored.
static dure_status map_tensors(gguf_weights *all, const dure_gguf_family *family, dure_safetensors_tensor *tensors,
                               size_t *out_count) {
  for (size_t i = 0; i < dure_gguf_tensor_count(all->file); i++) {
    if (family != NULL && map_experts(all, family, dure_gguf_tensor_at(all->file, i), tensors, out_count)) continue;
    mapped *m = &all->mapped[*out_count];
    *m = (mapped){.all = all, .tensor = dure_gguf_tensor_at(all->file, i)};
    if (family != NULL && strcmp(m->tensor->name, "rope_freqs.weight") == 0) continue;  // part of the configuration
    const bool is_known = family != NULL && dure_gguf_name_to_public(family, &all->config, m->tensor->name, m->name,
                                                                     sizeof(m->name), &m->order);
    if (is_known && !order_fits(&all->config, m->order, m->tensor)) {
      return dure_fail(DURE_CORRUPT, "'%s': tensor '%s' does not have the shape that the sizes of the model ask for",
                       dure_gguf_path(all->file), m->tensor->name);
    }
    if (!is_known && strlen(m->tensor->name) >= sizeof(m->name))
      return dure_fail(DURE_UNSUPPORTED, "'%s': tensor '%.100s...' has too long a name", dure_gguf_path(all->file),
                       m->tensor->name);
    if (!is_known) memcpy(m->name, m->tensor->name, strlen(m->tensor->name) + 1);
    if (m->order == DURE_GGUF_VALUE_UP) continue;
    if (m->order == DURE_GGUF_ONE_ROW && m->tensor->rank == 1) make_row(m);
    describe(m, &tensors[*out_count]);
    if (m->order == DURE_GGUF_KEY_UP) DURE_TRY(join_values(m, &tensors[*out_count]));
    (*out_count)++;
  }
  return NULL;
}

static dure_status open_gguf(const char *path, bool as_stored, dure_safetensors **out_file) {
  gguf_weights *all = calloc(1, sizeof(*all));
  if (all == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", path);
  const dure_gguf_family *family = NULL;
  dure_safetensors_tensor *tensors = NULL;
  size_t count = 0;
  dure_status status = dure_gguf_open(path, &all->file);
  if (status == NULL && !as_stored) status = dure_gguf_config(all->file, &all->config);
  if (status == NULL && !as_stored) {
    family = dure_gguf_family_writing(all->config.family->model_type);
    if (family == NULL) status = dure_fail(DURE_CORRUPT, "'%s': its config.json is of no family that GGUF has", path);
  }
  if (status == NULL) {
    const size_t most = count_parts(all->file) + 1;
    all->mapped = calloc(most, sizeof(*all->mapped));
    tensors = calloc(most, sizeof(*tensors));
    if (all->mapped == NULL || tensors == NULL)
      status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", path);
  }
  if (status == NULL) status = map_tensors(all, family, tensors, &count);
  if (status != NULL) {
    free(tensors);
    release(all);
    return status;
  }
  return dure_safetensors_wrap(path, tensors, count, all, release, out_file);
}

// ---- any kind ----------------------------------------------------------------------------------------------------

// A directory with one file of weights, or several that an index names.
static bool has_files(const char *path) {
  static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    char *file = dure_os_path_join(path, names[i]);
    const bool is_there = file != NULL && dure_os_is_file(file);
    free(file);
    if (is_there) return true;
  }
  return false;
}

bool dure_weights_exist(const char *path) {
  return dure_gguf_is_file(path) || has_files(path) || dure_checkpoint_parts_exist(path);
}

// Of a checkpoint whose parameters no rank had all of.
static dure_status open_parts(const char *path, dure_safetensors **out_file) {
  dure_status status = dure_checkpoint_parts_open(path, DURE_PARTS_MASTER, out_file);
  if (dure_status_code(status) != DURE_NOT_FOUND) return status;
  dure_status_free(status);
  return dure_checkpoint_parts_open(path, "", out_file);
}

dure_status dure_weights_open(const char *path, dure_safetensors **out_file) {
  *out_file = NULL;
  if (!dure_gguf_is_file(path) && !has_files(path) && dure_checkpoint_parts_exist(path))
    return open_parts(path, out_file);
  return dure_gguf_is_file(path) ? open_gguf(path, false, out_file) : dure_safetensors_open(path, out_file);
}

dure_status dure_weights_check_trainable(const char *path) {
  dure_safetensors *file = NULL;
  dure_status status = NULL;
  DURE_TRY(dure_weights_open(path, &file));
  for (size_t i = 0; i < dure_safetensors_count(file) && status == NULL; i++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_get(file, i);
    if (dure_weights_codes_of(tensor).bits == 0) continue;
    status = dure_fail(DURE_UNSUPPORTED,
                       "'%s': the weights are quantised ('%s' is %s), and only floating point is trained; train the "
                       "model that they were made from, or make floating point of them with dure convert --type bf16",
                       path, tensor->name, tensor->type);
  }
  dure_safetensors_close(file);
  return status;
}

dure_status dure_weights_open_as_stored(const char *path, dure_safetensors **out_file) {
  *out_file = NULL;
  return dure_gguf_is_file(path) ? open_gguf(path, true, out_file) : dure_safetensors_open(path, out_file);
}

dure_status dure_weights_tokenizer(const char *path, dure_tokenizer **out_tokenizer) {
  *out_tokenizer = NULL;
  if (!dure_gguf_is_file(path)) return dure_tokenizer_open(path, out_tokenizer);
  dure_gguf *file = NULL;
  char *json = NULL;
  size_t length = 0;
  dure_status status = dure_gguf_open(path, &file);
  if (status == NULL) status = dure_gguf_tokenizer(file, &json, &length);
  if (status == NULL) status = dure_status_prefix(dure_tokenizer_parse(json, length, out_tokenizer), "%s", path);
  free(json);
  dure_gguf_close(file);
  return status;
}
