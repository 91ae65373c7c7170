#include "model/tensor_parallel.h"

#include <string.h>

// ---- configs -----------------------------------------------------------------------------------------------------

dure_status dure_model_config_check_heads(const dure_model_config *config, const char *option, uint32_t parts) {
  const char *type = config->family->model_type;
  if (config->head_count % parts != 0 || config->key_head_count % parts != 0)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "%s %u does not divide the %u heads and %u key heads of this %s; it must be a divisor of both",
                     option, parts, config->head_count, config->key_head_count, type);
  return NULL;
}

dure_status dure_model_config_divide(dure_model_config *config, uint32_t part, uint32_t parts) {
  if (parts < 2) return NULL;
  if (dure_model_config_has(config, DURE_TRAIT_WHOLE_QUERY_KEY_NORM))
    return dure_fail(DURE_UNSUPPORTED,
                     "--tensor-parallel %u: norms over all heads (%s) are not divided yet; use data parallelism alone "
                     "(--shard)",
                     parts, config->family->model_type);
  DURE_TRY(dure_model_config_check_heads(config, "--tensor-parallel", parts));
  if (config->inner_width % parts != 0)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "--tensor-parallel %u does not divide the %u inner elements of this %s's feed-forward layers",
                     parts, config->inner_width, config->family->model_type);
  if (config->experts.width % parts != 0 || config->experts.shared_width % parts != 0)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "--tensor-parallel %u does not divide the %u inner elements of this %s's experts (of the shared "
                     "one: %u)",
                     parts, config->experts.width, config->family->model_type, config->experts.shared_width);
  config->head_count /= parts;
  config->key_head_count /= parts;
  config->inner_width /= parts;
  config->experts.width /= parts;
  config->experts.shared_width /= parts;
  config->tensor_part = part;
  config->tensor_parts = parts;
  return NULL;
}

dure_model_config dure_model_config_whole(const dure_model_config *config) {
  dure_model_config whole = *config;
  if (config->tensor_parts < 2) return whole;
  whole.head_count *= config->tensor_parts;
  whole.key_head_count *= config->tensor_parts;
  whole.inner_width *= config->tensor_parts;
  whole.experts.width *= config->tensor_parts;
  whole.experts.shared_width *= config->tensor_parts;
  whole.tensor_part = whole.tensor_parts = 0;
  return whole;
}

// ---- cuts --------------------------------------------------------------------------------------------------------

static void add_run(dure_parameter_cut *cut, uint64_t *begin, uint64_t count) {
  cut->runs[cut->run_count++] = (dure_parameter_cut_run){*begin, count};
  *begin += count * cut->parts;
}

// The runs of an axis of that kind; none: it is not divided.
static void find_runs(const dure_model_config *config, dure_dimension kind, dure_parameter_cut *cut) {
  const uint64_t queries = (uint64_t)config->head_count * config->head_width;
  const uint64_t keys = (uint64_t)config->key_head_count * config->head_width;
  uint64_t begin = 0;
  switch (kind) {
    case DURE_DIMENSION_QKV:
      add_run(cut, &begin, queries);
      add_run(cut, &begin, keys);
      add_run(cut, &begin, keys);
      return;
    case DURE_DIMENSION_HEADS: add_run(cut, &begin, queries); return;
    case DURE_DIMENSION_KEYS: add_run(cut, &begin, keys); return;
    case DURE_DIMENSION_KEY_UP:
      add_run(cut, &begin, (uint64_t)config->head_count * (config->latent.plain_width + config->latent.value_width));
      return;
    case DURE_DIMENSION_VALUES: add_run(cut, &begin, (uint64_t)config->head_count * config->latent.value_width); return;
    case DURE_DIMENSION_GATED: add_run(cut, &begin, config->inner_width); break;
    case DURE_DIMENSION_INNER: break;
    case DURE_DIMENSION_EXPERTS_GATED:  // again and again: gate and up of every expert
    case DURE_DIMENSION_EXPERT_INNER: add_run(cut, &begin, config->experts.width); return;
    case DURE_DIMENSION_SHARED_GATED:
    case DURE_DIMENSION_SHARED_INNER: add_run(cut, &begin, config->experts.shared_width); return;
    default: return;
  }
  add_run(cut, &begin, config->inner_width);
}

void dure_parameter_cut_make(const dure_model_config *config, dure_parameter *parameter) {
  memcpy(parameter->whole, parameter->shape, sizeof(parameter->whole));
  parameter->cut = (dure_parameter_cut){.part = config->tensor_part, .parts = config->tensor_parts};
  for (uint32_t axis = 0; config->tensor_parts > 1 && axis < parameter->rank; axis++) {
    if (parameter->cut.run_count > 0) break;
    find_runs(config, parameter->row->shape[axis], &parameter->cut);
    parameter->cut.axis = axis;
    if (parameter->cut.run_count > 0) parameter->whole[axis] *= config->tensor_parts;
  }
}

bool dure_parameter_is_cut(const dure_parameter *parameter) { return parameter->cut.run_count > 0; }

bool dure_parameter_has_cut_columns(const dure_parameter *parameter) {
  return parameter->cut.run_count > 0 && parameter->cut.axis == 1;
}

uint64_t dure_parameter_cut_first(const dure_parameter *parameter, uint32_t run) {
  return parameter->cut.runs[run].first + parameter->cut.part * parameter->cut.runs[run].count;
}

// Elements of the part's axis after which its runs begin again, further on in the whole one.
static uint64_t period(const dure_parameter *parameter) {
  uint64_t count = 0;
  for (uint32_t i = 0; i < parameter->cut.run_count; i++) count += parameter->cut.runs[i].count;
  return count;
}

// The part's place along the axis that is cut, in the whole.
static uint64_t whole_place(const dure_parameter *parameter, uint64_t place) {
  const uint64_t again = place / period(parameter) * period(parameter) * parameter->cut.parts;
  place %= period(parameter);
  for (uint32_t i = 0; i < parameter->cut.run_count; i++) {
    const uint64_t count = parameter->cut.runs[i].count;
    if (place < count) return again + dure_parameter_cut_first(parameter, i) + place;
    place -= count;
  }
  return again;
}

uint64_t dure_parameter_whole_element(const dure_parameter *parameter, uint64_t element) {
  if (!dure_parameter_is_cut(parameter)) return element;
  if (parameter->rank < 2) return whole_place(parameter, element);
  uint64_t row = element / parameter->shape[1], column = element % parameter->shape[1];
  if (parameter->cut.axis == 0) row = whole_place(parameter, row);
  if (parameter->cut.axis == 1) column = whole_place(parameter, column);
  return row * parameter->whole[1] + column;
}

uint64_t dure_parameter_cut_rows(const dure_parameter *parameter, uint64_t row, uint64_t rows, uint64_t *out_row) {
  *out_row = row;
  if (!dure_parameter_is_cut(parameter) || parameter->cut.axis != 0) return rows;
  const uint64_t own = period(parameter), all = own * parameter->cut.parts, within = row % all;
  uint64_t before = row / all * own;
  for (uint32_t i = 0; i < parameter->cut.run_count; i++) {
    const uint64_t first = dure_parameter_cut_first(parameter, i), end = first + parameter->cut.runs[i].count;
    if (within < first) {
      *out_row = DURE_ROW_ELSEWHERE;
      return first - within < rows ? first - within : rows;
    }
    if (within < end) {
      *out_row = before + within - first;
      return end - within < rows ? end - within : rows;
    }
    before += parameter->cut.runs[i].count;
  }
  *out_row = DURE_ROW_ELSEWHERE;
  return all - within < rows ? all - within : rows;
}

void dure_parameter_cut_columns(const dure_parameter *parameter, uint64_t rows, float *values) {
  const uint64_t columns = parameter->whole[1];
  float *to = values;
  for (uint64_t row = 0; row < rows; row++) {
    for (uint32_t i = 0; i < parameter->cut.run_count; i++) {
      const uint64_t count = parameter->cut.runs[i].count;
      memmove(to, values + row * columns + dure_parameter_cut_first(parameter, i), count * sizeof(*to));
      to += count;
    }
  }
}
