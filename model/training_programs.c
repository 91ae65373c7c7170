#include "model/training_programs.h"

#include <stdlib.h>
#include <string.h>

#include "model/balance.h"
#include "model/decoder.h"

// ---- what lasts --------------------------------------------------------------------------------------------------

enum { value_stride = 256 };  // the largest alignment that Vulkan allows devices to ask of a storage buffer's offset

static dure_dtype or_f32(dure_dtype dtype) { return dtype != DURE_DTYPE_NONE ? dtype : DURE_DTYPE_F32; }

const char *dure_sharding_describe(dure_sharding sharding) {
  static const char *const texts[DURE_SHARDING_COUNT] = {
      "each with all parameters, gradients and optimizer states",
      "each with a part of the optimizer's states",
      "each with a part of the gradients and the optimizer's states",
      "each with a part of the parameters, gradients and the optimizer's states",
  };
  return texts[sharding];
}

const char *dure_training_set_label(dure_training_set set) {
  static const char *const labels[DURE_TRAINING_SET_COUNT] = {
      [DURE_TRAINING_PARAMETERS] = "parameters",
      [DURE_TRAINING_MASTERS] = "f32 masters",
      [DURE_TRAINING_GRADIENTS] = "gradients",
      [DURE_TRAINING_FIRST_MOMENTS] = "first moments",
      [DURE_TRAINING_SECOND_MOMENTS] = "second moments",
      [DURE_TRAINING_FIRST_SCALES] = "scales of first moments",
      [DURE_TRAINING_SECOND_SCALES] = "scales of second moments",
  };
  return labels[set];
}

dure_dtype dure_training_set_dtype(const dure_training_options *options, dure_training_set set) {
  const dure_dtype dtype = or_f32(options->dtype), moment = or_f32(options->moment_dtype);
  switch (set) {
    case DURE_TRAINING_PARAMETERS: return dtype;
    case DURE_TRAINING_MASTERS:
      return options->has_master && dtype != DURE_DTYPE_F32 ? DURE_DTYPE_F32 : DURE_DTYPE_NONE;
    case DURE_TRAINING_GRADIENTS: return or_f32(options->gradient_dtype);
    case DURE_TRAINING_FIRST_MOMENTS:
    case DURE_TRAINING_SECOND_MOMENTS: return moment;
    case DURE_TRAINING_FIRST_SCALES:
    case DURE_TRAINING_SECOND_SCALES: return moment == DURE_DTYPE_U8 ? DURE_DTYPE_F32 : DURE_DTYPE_NONE;
    case DURE_TRAINING_SET_COUNT: break;
  }
  return DURE_DTYPE_NONE;
}

bool dure_training_set_is_on_device(const dure_training_options *options, dure_training_set set) {
  return !options->offloads_optimizer || set == DURE_TRAINING_PARAMETERS || set == DURE_TRAINING_GRADIENTS;
}

bool dure_training_set_is_sharded(const dure_training_options *options, dure_training_set set) {
  static const dure_sharding from[DURE_TRAINING_SET_COUNT] = {
      [DURE_TRAINING_PARAMETERS] = DURE_SHARDING_PARAMETERS,    [DURE_TRAINING_MASTERS] = DURE_SHARDING_OPTIMIZER,
      [DURE_TRAINING_GRADIENTS] = DURE_SHARDING_GRADIENTS,      [DURE_TRAINING_FIRST_MOMENTS] = DURE_SHARDING_OPTIMIZER,
      [DURE_TRAINING_SECOND_MOMENTS] = DURE_SHARDING_OPTIMIZER, [DURE_TRAINING_FIRST_SCALES] = DURE_SHARDING_OPTIMIZER,
      [DURE_TRAINING_SECOND_SCALES] = DURE_SHARDING_OPTIMIZER,
  };
  return options->shards > 1 && options->sharding >= from[set];
}

dure_parameter_storage dure_training_whole_storage(const dure_training_options *options, dure_training_set set) {
  dure_parameter_storage storage;
  (void)dure_training_set_storage(options, set, &storage);
  storage.shard = storage.shards = 0;
  return storage;
}

bool dure_training_set_storage(const dure_training_options *options, dure_training_set set,
                               dure_parameter_storage *out_storage) {
  const bool holds_scales = set == DURE_TRAINING_FIRST_SCALES || set == DURE_TRAINING_SECOND_SCALES;
  *out_storage = (dure_parameter_storage){
      .label = dure_training_set_label(set),
      .dtype = dure_training_set_dtype(options, set),
      .block = holds_scales ? DURE_MOMENT_BLOCK : 1,
      .home = dure_training_set_is_on_device(options, set) ? DURE_HOME_DEVICE : DURE_HOME_HOST,
      .shard = dure_training_set_is_sharded(options, set) ? options->shard : 0,
      .shards = dure_training_set_is_sharded(options, set) ? options->shards : 0,
  };
  return out_storage->dtype != DURE_DTYPE_NONE;
}

uint64_t dure_training_pool_bytes(const dure_training_options *options, const dure_parameter_layout *layout,
                                  dure_training_set set, size_t pool) {
  dure_parameter_storage storage;
  return dure_training_set_storage(options, set, &storage) ? dure_parameter_pool_bytes(&layout->pools[pool], &storage)
                                                           : 0;
}

uint64_t dure_training_set_bytes(const dure_training_options *options, const dure_parameter_layout *layout,
                                 dure_training_set set) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < layout->pool_count; i++) bytes += dure_training_pool_bytes(options, layout, set, i);
  return bytes;
}

uint64_t dure_training_value_count(dure_training_value value) {
  static const uint8_t counts[DURE_TRAINING_VALUE_COUNT] = {
      [DURE_TRAINING_SEED] = 1,       [DURE_TRAINING_STEP] = DURE_STEP_COUNT, [DURE_TRAINING_STATE] = DURE_STATE_COUNT,
      [DURE_TRAINING_SQUARE_SUM] = 1, [DURE_TRAINING_LOSS_SUM] = 1,           [DURE_TRAINING_RANDOM] = 4,
      [DURE_TRAINING_SHARE] = 1,
  };
  return counts[value];
}
uint64_t dure_training_value_offset(dure_training_value value) { return (uint64_t)value * value_stride; }
uint64_t dure_training_values_bytes(void) { return (uint64_t)DURE_TRAINING_VALUE_COUNT * value_stride; }

bool dure_training_scales_loss(const dure_training_options *options) { return options->dtype == DURE_DTYPE_F16; }

uint32_t dure_training_tokens(const dure_training_options *options) {
  return options->sequence_parts > 1 ? options->context / options->sequence_parts : options->context;
}

bool dure_training_meets(const dure_training_options *options) {
  return options->tensor_parts > 1 || options->sequence_parts > 1;
}

// ---- checking ----------------------------------------------------------------------------------------------------

static bool is_16_bit(dure_dtype dtype) { return dtype == DURE_DTYPE_BF16 || dtype == DURE_DTYPE_F16; }

static dure_status check_dtypes(const dure_training_options *options) {
  const dure_dtype dtype = or_f32(options->dtype), gradient = or_f32(options->gradient_dtype);
  const dure_dtype moment = or_f32(options->moment_dtype);
  if (dtype != DURE_DTYPE_F32 && !is_16_bit(dtype)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "training is in f32, bf16 or f16, not in %s", dure_dtype_name(dtype));
  }
  if (gradient != DURE_DTYPE_F32 && gradient != dtype) {
    return dure_fail(DURE_INVALID_ARGUMENT, "gradients are f32 or of the parameters' type %s, not %s",
                     dure_dtype_name(dtype), dure_dtype_name(gradient));
  }
  if (gradient != DURE_DTYPE_F32 && options->accumulate > 1) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "%s gradients lose small contributions when micro-steps add to them; use f32 gradients or "
                     "--accumulate 1",
                     dure_dtype_name(gradient));
  }
  if (moment != DURE_DTYPE_F32 && moment != DURE_DTYPE_BF16 && moment != DURE_DTYPE_U8) {
    return dure_fail(DURE_INVALID_ARGUMENT, "optimizer states are f32, bf16 or 8bit, not %s", dure_dtype_name(moment));
  }
  return NULL;
}

dure_status dure_training_options_check(const dure_model_config *config, const dure_training_options *options) {
  if (options->batch_size == 0 || options->context == 0 || options->accumulate == 0) {
    return dure_fail(DURE_INVALID_ARGUMENT, "batch size, context and accumulation must be at least 1");
  }
  if (options->context > config->context_length) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "a context of %u tokens is more than the model's %u positions; use --context %u", options->context,
                     config->context_length, config->context_length);
  }
  if (options->sequence_parts > 1 && options->context % options->sequence_parts != 0) {
    return dure_fail(DURE_INVALID_ARGUMENT, "--sequence-parallel %u does not divide a context of %u tokens",
                     options->sequence_parts, options->context);
  }
  if (options->sequence_parts > 1 && options->balances_experts && config->experts.count > 0) {
    return dure_fail(DURE_UNSUPPORTED,
                     "--sequence-parallel %u: the experts of this %s are balanced over whole sequences, which no rank "
                     "has; use --balance-experts off, or --shard alone",
                     options->sequence_parts, config->family->model_type);
  }
  return check_dtypes(options);
}

bool dure_training_needs_random(const dure_training_options *options) {
  return (is_16_bit(or_f32(options->dtype)) && !options->has_master) || options->moment_dtype == DURE_DTYPE_U8;
}

// ---- recording ---------------------------------------------------------------------------------------------------

// One program on its way.
typedef struct recorder {
  const dure_model_config *config;
  const dure_parameter_layout *layout;
  const dure_training_options *options;
  dure_program *program;
  dure_training_tensors *tensors;
} recorder;

// NULL when there is no such set.
static const dure_tensor *declare_set(const recorder *r, dure_training_set set) {
  dure_parameter_storage storage;
  if (!dure_training_set_storage(r->options, set, &storage)) return NULL;
  static const dure_lifetime lifetimes[DURE_TRAINING_SET_COUNT] = {
      [DURE_TRAINING_PARAMETERS] = DURE_LIFETIME_PARAMETER,     [DURE_TRAINING_MASTERS] = DURE_LIFETIME_OPTIMIZER,
      [DURE_TRAINING_GRADIENTS] = DURE_LIFETIME_GRADIENT,       [DURE_TRAINING_FIRST_MOMENTS] = DURE_LIFETIME_OPTIMIZER,
      [DURE_TRAINING_SECOND_MOMENTS] = DURE_LIFETIME_OPTIMIZER, [DURE_TRAINING_FIRST_SCALES] = DURE_LIFETIME_OPTIMIZER,
      [DURE_TRAINING_SECOND_SCALES] = DURE_LIFETIME_OPTIMIZER,
  };
  dure_parameter_pools_declare(r->program, r->layout, &storage, lifetimes[set], r->tensors->sets[set]);
  return r->tensors->sets[set];
}

// The same, but whole pools whatever part of them is kept.
static const dure_tensor *declare_whole(const recorder *r, dure_training_set set, dure_tensor *out_pools) {
  const dure_parameter_storage storage = dure_training_whole_storage(r->options, set);
  dure_parameter_pools_declare(r->program, r->layout, &storage, DURE_LIFETIME_GRADIENT, out_pools);
  return out_pools;
}

static uint64_t shard_size(const recorder *r, size_t pool) { return r->layout->pools[pool].count / r->options->shards; }

// The rank's own part of a pool that is whole.
static dure_tensor view_shard(const recorder *r, dure_tensor whole, size_t pool) {
  const uint64_t size = shard_size(r, pool), stride = 1;
  return dure_tensor_view(r->program, whole, 1, &size, &stride, r->options->shard * size);
}

static dure_tensor declare_value(const recorder *r, dure_training_value value) {
  static const struct {
    const char *label;
    dure_lifetime lifetime;
  } rows[DURE_TRAINING_VALUE_COUNT] = {
      [DURE_TRAINING_SEED] = {"loss gradient", DURE_LIFETIME_INPUT},
      [DURE_TRAINING_STEP] = {"step values", DURE_LIFETIME_INPUT},
      [DURE_TRAINING_STATE] = {"optimizer state", DURE_LIFETIME_OPTIMIZER},
      [DURE_TRAINING_SQUARE_SUM] = {"gradient square sum", DURE_LIFETIME_OUTPUT},
      [DURE_TRAINING_LOSS_SUM] = {"loss sum", DURE_LIFETIME_OUTPUT},
      [DURE_TRAINING_RANDOM] = {"random", DURE_LIFETIME_INPUT},
      [DURE_TRAINING_SHARE] = {"share of the balance", DURE_LIFETIME_INPUT},
  };
  const dure_dtype dtype = value == DURE_TRAINING_RANDOM ? DURE_DTYPE_U32 : DURE_DTYPE_F32;
  const uint64_t count = dure_training_value_count(value);
  r->tensors->values[value] =
      dure_tensor_external(r->program, rows[value].label, dtype, 1, &count, rows[value].lifetime);
  return r->tensors->values[value];
}

static void record_clear(const recorder *r) {
  dure_program_scope(r->program, "clear gradients");
  const dure_tensor *gradients = declare_set(r, DURE_TRAINING_GRADIENTS);
  for (size_t i = 0; i < r->layout->pool_count; i++) dure_fill(r->program, gradients[i], 0);
  dure_fill(r->program, declare_value(r, DURE_TRAINING_LOSS_SUM), 0);
}

// `balance` and its count: what the experts' auxiliary loss adds.
static dure_status record_backward(const recorder *r, dure_tensor loss, dure_tensor seed, bool accumulates,
                                   const dure_gradient_target *balance, size_t balance_count) {
  const size_t count = r->layout->pool_count;
  dure_gradient_target *targets = calloc(count + 1, sizeof(*targets));
  if (targets == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a training step");
  const dure_tensor *gradients = declare_whole(r, DURE_TRAINING_GRADIENTS, r->tensors->sets[DURE_TRAINING_GRADIENTS]);
  for (size_t i = 0; i < count; i++)
    targets[i] = (dure_gradient_target){r->tensors->sets[DURE_TRAINING_PARAMETERS][i], gradients[i]};
  dure_status status = dure_program_gradient(r->program, loss, seed, targets, count,
                                             &(dure_gradient_options){.accumulate = accumulates,
                                                                      .recompute = r->options->recompute,
                                                                      .recompute_blocks = r->options->recompute_blocks,
                                                                      .further = balance,
                                                                      .further_count = balance_count});
  free(targets);
  return status;
}

// The loss's gradient times the loss scale, which stays on the device: no step waits for the host.
static dure_tensor scale_seed(const recorder *r, dure_tensor seed) {
  const uint64_t one[2] = {1, 1}, stride[2] = {1, 1}, count = 1;
  dure_tensor state = declare_value(r, DURE_TRAINING_STATE);
  dure_tensor scale = dure_tensor_view(r->program, state, 2, one, stride, DURE_STATE_LOSS_SCALE);
  dure_program_scope(r->program, "loss scale");
  dure_tensor product =
      dure_matmul(r->program, dure_tensor_reshape(r->program, seed, 2, one), scale, DURE_ABSENT, false, false);
  return dure_tensor_reshape(r->program, product, 1, &count);
}

// The backward pass, and where experts are to be kept busy alike, what that adds to it.
static dure_status record_gradients(const recorder *r, dure_tensor loss, dure_tensor seed, bool accumulates,
                                    const dure_router *routers) {
  if (routers == NULL) return record_backward(r, loss, seed, accumulates, NULL, 0);
  dure_tensor share = declare_value(r, DURE_TRAINING_SHARE);
  if (dure_training_scales_loss(r->options)) share = scale_seed(r, share);
  dure_gradient_target *pairs = calloc(r->config->layer_count, sizeof(*pairs));
  if (pairs == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a training step");
  const uint64_t rows = (uint64_t)r->options->batch_size * dure_training_tokens(r->options);
  const dure_tensor presence =
      dure_tensor_external(r->program, "presence", DURE_DTYPE_F32, 1, &rows, DURE_LIFETIME_INPUT);
  r->tensors->presence = presence;
  const size_t count =
      dure_balance_record(r->program, r->config, routers, r->options->batch_size, share, presence, pairs);
  dure_status status = record_backward(r, loss, seed, accumulates, pairs, count);
  free(pairs);
  DURE_TRY(status);
  if (!(r->options->adamw.bias_rate > 0)) return NULL;
  dure_balance_record_biases(r->program, r->config, r->layout, routers, share, presence, accumulates,
                             r->tensors->sets[DURE_TRAINING_GRADIENTS]);
  return NULL;
}

static dure_status record_micro_step(const recorder *r) {
  dure_program *p = r->program;
  dure_training_tensors *t = r->tensors;
  const uint64_t shape[2] = {r->options->batch_size, dure_training_tokens(r->options)};
  const bool is_sharded = dure_training_set_is_sharded(r->options, DURE_TRAINING_GRADIENTS);
  const bool accumulates = r->options->accumulate > 1;
  t->tokens = dure_tensor_external(p, "tokens", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  t->positions = dure_tensor_external(p, "positions", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  t->labels = dure_tensor_external(p, "labels", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  dure_tensor seed = declare_value(r, DURE_TRAINING_SEED);
  dure_tensor loss_sum = declare_value(r, DURE_TRAINING_LOSS_SUM);

  dure_decoder decoder;
  DURE_TRY(dure_decoder_create(p, r->config, r->layout, dure_training_set_dtype(r->options, DURE_TRAINING_PARAMETERS),
                               r->options->context, &decoder));
  memcpy(t->sets[DURE_TRAINING_PARAMETERS], decoder.pools, t->pool_count * sizeof(*decoder.pools));
  decoder.fuses_loss = r->options->fuses_loss;
  dure_status status = dure_decoder_divide(&decoder, r->options->sequence_part, r->options->sequence_parts);
  if (status == NULL && r->options->balances_experts && r->config->experts.count > 0) {
    decoder.routers = calloc(r->config->layer_count, sizeof(*decoder.routers));
    if (decoder.routers == NULL)
      status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %u routers", r->config->layer_count);
  }
  if (status != NULL) {
    dure_decoder_clear(&decoder);
    return status;
  }
  dure_router *routers = decoder.routers;
  dure_tensor loss = dure_decoder_loss(&decoder, t->tokens, t->positions, t->labels);  // [B T]
  dure_decoder_clear(&decoder);
  dure_sum(p, loss, loss_sum, accumulates);
  if (dure_training_scales_loss(r->options)) seed = scale_seed(r, seed);
  t->forward_calls = dure_program_call_count(p);
  status = record_gradients(r, loss, seed, accumulates && !is_sharded, routers);
  free(routers);
  return status;
}

static void record_add(const recorder *r) {
  const dure_tensor *whole = declare_whole(r, DURE_TRAINING_GRADIENTS, r->tensors->whole);
  const dure_tensor *kept = declare_set(r, DURE_TRAINING_GRADIENTS);
  dure_program_scope(r->program, "add gradients");
  for (size_t i = 0; i < r->layout->pool_count; i++) {
    dure_tensor operands[DURE_MAX_OPERANDS] = {view_shard(r, whole[i], i), kept[i]};
    dure_program_call(r->program, DURE_OP_copy, operands, &(dure_op_attributes){{0}}, 1u << 1);
  }
}

// Handles of a set as the optimizer sees it: the rank's parts, where it has only those to update.
static void declare_parts(const recorder *r, dure_training_set set, dure_tensor *out_parts) {
  const dure_tensor *pools = declare_set(r, set);
  const bool has_parts = dure_training_set_is_sharded(r->options, DURE_TRAINING_FIRST_MOMENTS);
  const bool is_whole = !dure_training_set_is_sharded(r->options, set);
  for (size_t i = 0; i < r->layout->pool_count; i++)
    out_parts[i] = has_parts && is_whole ? view_shard(r, pools[i], i) : pools[i];
}

static void record_norm(const recorder *r, dure_tensor *parts) {
  declare_parts(r, DURE_TRAINING_GRADIENTS, parts);
  const bool has_parts = dure_training_set_is_sharded(r->options, DURE_TRAINING_FIRST_MOMENTS);
  const dure_optimizer_tensors tensors = {
      .gradients = parts,
      .square_sum = declare_value(r, DURE_TRAINING_SQUARE_SUM),
      .shard = has_parts ? r->options->shard : 0,
      .shards = has_parts ? r->options->shards : 1,
  };
  dure_optimizer_record_norm(r->program, r->layout, &tensors);
}

// `parts` has room for two sets.
static void record_update(const recorder *r, dure_tensor *parts) {
  const bool has_parts = dure_training_set_is_sharded(r->options, DURE_TRAINING_FIRST_MOMENTS);
  declare_parts(r, DURE_TRAINING_GRADIENTS, parts);
  dure_optimizer_tensors tensors = {
      .gradients = parts,
      .step = declare_value(r, DURE_TRAINING_STEP),
      .state = declare_value(r, DURE_TRAINING_STATE),
      .square_sum = declare_value(r, DURE_TRAINING_SQUARE_SUM),
      .shard = has_parts ? r->options->shard : 0,
      .shards = has_parts ? r->options->shards : 1,
  };
  if (!dure_training_program_is_needed(r->options, DURE_TRAINING_NORM))
    dure_optimizer_record_norm(r->program, r->layout, &tensors);
  dure_optimizer_record_clip(r->program, &tensors, dure_training_scales_loss(r->options));
  if (r->options->offloads_optimizer) return;
  declare_parts(r, DURE_TRAINING_PARAMETERS, parts + r->layout->pool_count);
  tensors.parameters = parts + r->layout->pool_count;
  tensors.masters = declare_set(r, DURE_TRAINING_MASTERS);
  tensors.first_moments = declare_set(r, DURE_TRAINING_FIRST_MOMENTS);
  tensors.second_moments = declare_set(r, DURE_TRAINING_SECOND_MOMENTS);
  tensors.first_scales = declare_set(r, DURE_TRAINING_FIRST_SCALES);
  tensors.second_scales = declare_set(r, DURE_TRAINING_SECOND_SCALES);
  if (dure_training_needs_random(r->options)) tensors.random = declare_value(r, DURE_TRAINING_RANDOM);
  dure_optimizer_record_update(r->program, r->layout, &tensors, &r->options->adamw);
}

const char *dure_training_program_label(dure_training_program which) {
  static const char *const labels[DURE_TRAINING_PROGRAM_COUNT] = {[DURE_TRAINING_CLEAR] = "clear gradients",
                                                                  [DURE_TRAINING_MICRO_STEP] = "train",
                                                                  [DURE_TRAINING_ADD] = "add gradients",
                                                                  [DURE_TRAINING_NORM] = "gradient norm",
                                                                  [DURE_TRAINING_UPDATE] = "optimizer"};
  return labels[which];
}

bool dure_training_program_is_needed(const dure_training_options *options, dure_training_program which) {
  const bool accumulates = options->accumulate > 1;
  switch (which) {
    case DURE_TRAINING_CLEAR: return accumulates;
    case DURE_TRAINING_ADD: return accumulates && dure_training_set_is_sharded(options, DURE_TRAINING_GRADIENTS);
    case DURE_TRAINING_NORM:
      return options->tensor_parts > 1 || dure_training_set_is_sharded(options, DURE_TRAINING_FIRST_MOMENTS);
    case DURE_TRAINING_MICRO_STEP:
    case DURE_TRAINING_UPDATE:
    case DURE_TRAINING_PROGRAM_COUNT: break;
  }
  return true;
}

static dure_status allocate_tensors(const dure_parameter_layout *layout, dure_training_tensors *out_tensors) {
  memset(out_tensors, 0, sizeof(*out_tensors));
  dure_tensor *all = calloc((DURE_TRAINING_SET_COUNT + 3) * layout->pool_count + 1, sizeof(*all));
  if (all == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a training step");
  out_tensors->pool_count = layout->pool_count;
  for (size_t i = 0; i < DURE_TRAINING_SET_COUNT; i++) out_tensors->sets[i] = all + i * layout->pool_count;
  out_tensors->whole = all + DURE_TRAINING_SET_COUNT * layout->pool_count;
  return NULL;
}

void dure_training_tensors_clear(dure_training_tensors *tensors) {
  free(tensors->sets[0]);
  memset(tensors, 0, sizeof(*tensors));
}

dure_status dure_training_program_record(dure_training_program which, const dure_model_config *config,
                                         const dure_parameter_layout *layout, const dure_training_options *options,
                                         dure_program *program, dure_training_tensors *out_tensors) {
  DURE_TRY(allocate_tensors(layout, out_tensors));
  DURE_TRY(dure_training_options_check(config, options));
  const recorder r = {config, layout, options, program, out_tensors};
  switch (which) {
    case DURE_TRAINING_CLEAR: record_clear(&r); break;
    case DURE_TRAINING_MICRO_STEP: DURE_TRY(record_micro_step(&r)); break;
    case DURE_TRAINING_ADD: record_add(&r); break;
    case DURE_TRAINING_NORM: record_norm(&r, out_tensors->whole + layout->pool_count); break;
    case DURE_TRAINING_UPDATE: record_update(&r, out_tensors->whole + layout->pool_count); break;
    case DURE_TRAINING_PROGRAM_COUNT: break;
  }
  return dure_program_check(program);
}
