#include "model/training.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/balance.h"
#include "model/offload.h"
#include "model/parameter_hash.h"

// What a step in flight will be told by the device.
typedef struct pending_step {
  float loss_sum;
  float state[DURE_STATE_COUNT];
  uint64_t valid_labels;
  uint64_t point;
  bool is_left_out;
  double norm;  // that this was decided by
} pending_step;

struct dure_training {
  dure_model *model;
  dure_training_options options;
  const dure_exchange_ranks *ranks;                           // while it is created
  dure_parameter_buffers sets[DURE_TRAINING_SET_COUNT];       // those of the model are not here
  dure_offload *offload;                                      // NULL: the device updates
  dure_loss_scaling scaling;                                  // after the last step collected
  dure_buffer *values;                                        // by dure_training_value_offset
  dure_executable *executables[DURE_TRAINING_PROGRAM_COUNT];  // NULL where it is not needed
  dure_tensor tokens, positions, labels, presence;            // of micro_step
  double limit;                                               // of the gradient norm; 0: none
  dure_norm_agreement agree;                                  // NULL: a rank alone
  void *agreement_context;
  uint32_t clip_calls;      // of the update: what comes before AdamW
  uint32_t *every_call;     // 0, 1, 2, ...: cuts between all calls
  dure_exchange *exchange;  // NULL: there are no other ranks
  dure_event *held_by;      // NULL: the next update begins when it can
  uint64_t held_until;
  pending_step pending[DURE_TRAINING_MAX_IN_FLIGHT];
  uint32_t first_pending, pending_count;
};

// ---- compiling ---------------------------------------------------------------------------------------------------

const dure_parameter_buffers *dure_training_buffers(const dure_training *training, dure_training_set set) {
  const dure_parameter_buffers *buffers = &training->sets[set];
  if (set == DURE_TRAINING_PARAMETERS) buffers = &training->model->weights;
  if (set == DURE_TRAINING_MASTERS) buffers = &training->model->masters;
  return buffers->count > 0 ? buffers : NULL;
}

const dure_model *dure_training_model(const dure_training *training) { return training->model; }

const dure_training_options *dure_training_get_options(const dure_training *training) { return &training->options; }

// Where a program has a pool. A micro-step has it whole, in a slot where ranks keep parts of it.
static dure_buffer *pool_buffer(const dure_training *training, dure_training_program which, dure_training_set set,
                                const dure_parameter_buffers *buffers, size_t pool) {
  dure_buffer *slot = training->exchange != NULL && which == DURE_TRAINING_MICRO_STEP
                          ? dure_exchange_slot(training->exchange, set, pool)
                          : NULL;
  return slot != NULL ? slot : buffers->pools[pool];
}

// The places of all tensors that the program has and the training owns.
static size_t list_places(const dure_training *training, dure_training_program which,
                          const dure_training_tensors *tensors, dure_place *out_places) {
  size_t count = 0;
  for (size_t i = 0; which == DURE_TRAINING_ADD && i < tensors->pool_count; i++)
    out_places[count++] =
        (dure_place){tensors->whole[i], dure_exchange_slot(training->exchange, DURE_TRAINING_GRADIENTS, i), 0};
  for (int set = 0; set < DURE_TRAINING_SET_COUNT; set++) {
    const dure_parameter_buffers *buffers = dure_training_buffers(training, (dure_training_set)set);
    for (size_t i = 0; buffers != NULL && i < tensors->pool_count; i++) {
      if (tensors->sets[set][i].index == 0) continue;
      dure_buffer *buffer = pool_buffer(training, which, (dure_training_set)set, buffers, i);
      out_places[count++] = (dure_place){tensors->sets[set][i], buffer, 0};
    }
  }
  for (int value = 0; value < DURE_TRAINING_VALUE_COUNT; value++) {
    if (tensors->values[value].index == 0) continue;
    out_places[count++] =
        (dure_place){tensors->values[value], training->values, dure_training_value_offset((dure_training_value)value)};
  }
  return count;
}

static dure_status compile_recorded(dure_training *training, dure_training_program which, const dure_program *program,
                                    const dure_training_tensors *tensors) {
  dure_place *places =
      calloc((DURE_TRAINING_SET_COUNT + 1) * tensors->pool_count + DURE_TRAINING_VALUE_COUNT, sizeof(*places));
  if (places == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a training step");
  const size_t count = list_places(training, which, tensors, places);
  dure_compile_options options = {.label = dure_training_program_label(which)};
  if (training->exchange != NULL && which == DURE_TRAINING_MICRO_STEP) {
    options.cuts = dure_exchange_staging(training->exchange)->cuts;
    options.cut_count = dure_exchange_staging(training->exchange)->cut_count;
  }
  if (which == DURE_TRAINING_UPDATE && training->options.has_limits) {
    const bool has_norm = dure_training_program_is_needed(&training->options, DURE_TRAINING_NORM);
    training->clip_calls = has_norm ? 1 : (uint32_t)tensors->pool_count + 1;
    options.cuts = &training->clip_calls;
    options.cut_count = 1;
  }
  if (which == DURE_TRAINING_ADD) {
    options.cuts = training->every_call;
    options.cut_count = tensors->pool_count;
  }
  dure_status status =
      dure_model_compile(training->model, program, places, count, &options, &training->executables[which]);
  free(places);
  return status;
}

static dure_status create_exchange(dure_training *training, const dure_program *program,
                                   const dure_training_tensors *tensors) {
  const dure_model *model = training->model;
  dure_staging staging;
  DURE_TRY(dure_staging_make(program, tensors, &model->layout, &training->options, &staging));
  dure_status status = dure_exchange_create(training->ranks, &model->layout, &training->options, model->device,
                                            &staging, &training->exchange);
  dure_staging_clear(&staging);
  if (status == NULL)
    dure_exchange_bind(training->exchange, dure_training_buffers(training, DURE_TRAINING_PARAMETERS),
                       dure_training_buffers(training, DURE_TRAINING_GRADIENTS));
  return status;
}

static dure_status compile(dure_training *training, dure_training_program which) {
  if (!dure_training_program_is_needed(&training->options, which)) return NULL;
  dure_program *program = dure_program_create();
  if (program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a training step");
  dure_training_tensors tensors;
  dure_status status = dure_training_program_record(which, &training->model->config, &training->model->layout,
                                                    &training->options, program, &tensors);
  if (status == NULL && training->ranks != NULL && which == DURE_TRAINING_MICRO_STEP)
    status = create_exchange(training, program, &tensors);
  if (status == NULL) status = compile_recorded(training, which, program, &tensors);
  if (which == DURE_TRAINING_MICRO_STEP) {
    training->tokens = tensors.tokens;
    training->positions = tensors.positions;
    training->labels = tensors.labels;
    training->presence = tensors.presence;
  }
  dure_training_tensors_clear(&tensors);
  dure_program_destroy(program);
  return status;
}

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status write_values(dure_training *training, dure_training_value value, const void *values, size_t count) {
  return dure_stream_upload(training->model->stream, training->values, dure_training_value_offset(value), values,
                            count * sizeof(float));
}

// Devices made of this machine's own cores: what the host reads need not be copied.
static bool shares_host_memory(const dure_device *device) {
  const dure_device_info *info = dure_device_get_info(device);
  const bool is_software = info->kind == DURE_DEVICE_CPU || info->kind == DURE_DEVICE_REFERENCE;
  return is_software && info->profile[0] == '\0';  // another device's memory would be out of reach
}

static dure_parameter_home device_home(const dure_training_options *options, const dure_device *device) {
  return options->offloads_optimizer && shares_host_memory(device) ? DURE_HOME_MAPPED : DURE_HOME_DEVICE;
}

dure_model_options dure_training_model_options(const dure_training_options *options, const dure_device *device) {
  return (dure_model_options){
      .dtype = dure_training_set_dtype(options, DURE_TRAINING_PARAMETERS),
      .home = device_home(options, device),
      .has_master = dure_training_set_dtype(options, DURE_TRAINING_MASTERS) != DURE_DTYPE_NONE,
      .master_home = options->offloads_optimizer ? DURE_HOME_HOST : DURE_HOME_DEVICE,
      .shard = options->shard,
      .shards = options->shards,
      .tensor_part = options->tensor_part,
      .tensor_parts = options->tensor_parts,
      .shards_weights = dure_training_set_is_sharded(options, DURE_TRAINING_PARAMETERS),
      .shards_masters = dure_training_set_is_sharded(options, DURE_TRAINING_MASTERS),
  };
}

static dure_status allocate_sets(dure_training *training) {
  for (int i = DURE_TRAINING_GRADIENTS; i < DURE_TRAINING_SET_COUNT; i++) {
    const dure_training_set set = (dure_training_set)i;
    dure_parameter_storage storage;
    if (!dure_training_set_storage(&training->options, set, &storage)) continue;
    if (storage.home == DURE_HOME_DEVICE) storage.home = device_home(&training->options, training->model->device);
    DURE_TRY(dure_parameter_buffers_create(training->model->device, &training->model->layout, &storage,
                                           &training->sets[set]));
  }
  return dure_buffer_create(training->model->device, dure_training_values_bytes(), DURE_MEMORY_DEVICE, "step values",
                            &training->values);
}

dure_loss_scaling dure_training_get_scaling(const dure_training *training) { return training->scaling; }

dure_status dure_training_set_scaling(dure_training *training, const dure_loss_scaling *scaling) {
  training->scaling = *scaling;
  const float state[DURE_STATE_COUNT] = {
      [DURE_STATE_SCALE] = 1,
      [DURE_STATE_FINITE] = 1,
      [DURE_STATE_LOSS_SCALE] = (float)scaling->scale,
      [DURE_STATE_GOOD_STEPS] = (float)scaling->good_steps,
      [DURE_STATE_SKIPPED] = (float)scaling->skipped,
  };
  return write_values(training, DURE_TRAINING_STATE, state, DURE_STATE_COUNT);
}

static dure_status check_model(const dure_model *model, const dure_training_options *options) {
  DURE_TRY(dure_training_options_check(&model->config, options));
  const dure_model_options expected = dure_training_model_options(options, model->device);
  const dure_parameter_storage *weights = &model->weights.storage;
  const bool has_master = model->masters.count > 0;
  if (weights->dtype == expected.dtype && weights->home == expected.home && has_master == expected.has_master &&
      (!has_master || model->masters.storage.home == expected.master_home) &&
      (weights->shards > 1) == expected.shards_weights) {
    return NULL;
  }
  return dure_fail(DURE_INVALID_ARGUMENT, "the model was opened in %s, %s masters, and not as this training needs it",
                   dure_dtype_name(weights->dtype), has_master ? "with" : "without");
}

// Positions are the same for every micro-step: uploaded once.
static dure_status upload_positions(dure_training *training) {
  const uint64_t B = training->options.batch_size, T = dure_training_tokens(&training->options);
  const uint64_t first = training->options.sequence_parts > 1 ? training->options.sequence_part * T : 0;
  uint32_t *positions = malloc(B * T * sizeof(*positions));
  if (positions == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to train");
  for (uint64_t i = 0; i < B * T; i++) positions[i] = (uint32_t)(first + i % T);
  dure_status status = dure_executable_write(training->executables[DURE_TRAINING_MICRO_STEP], training->model->stream,
                                             training->positions, positions, B * T * sizeof(*positions));
  free(positions);
  return status;
}

static dure_status create_offload(dure_training *training) {
  dure_offload_sets sets;
  for (int i = 0; i < DURE_TRAINING_SET_COUNT; i++)
    sets.buffers[i] = dure_training_buffers(training, (dure_training_set)i);
  return dure_offload_create(&training->model->layout, &training->options, &sets, training->model->stream,
                             &training->offload);
}

static dure_status number_calls(dure_training *training) {
  const size_t count = training->model->layout.pool_count;
  training->every_call = calloc(count + 1, sizeof(*training->every_call));
  if (training->every_call == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to train");
  for (size_t i = 0; i < count; i++) training->every_call[i] = (uint32_t)i;
  return NULL;
}

dure_status dure_training_create(dure_model *model, const dure_training_options *options,
                                 dure_training **out_training) {
  return dure_training_create_among(model, options, NULL, out_training);
}

dure_status dure_training_create_among(dure_model *model, const dure_training_options *options,
                                       const dure_exchange_ranks *ranks, dure_training **out_training) {
  *out_training = NULL;
  DURE_TRY(check_model(model, options));
  dure_training *training = calloc(1, sizeof(*training));
  if (training == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to train");
  training->model = model;
  training->options = *options;
  training->ranks = ranks;
  const dure_loss_scaling scaling = {.scale = dure_training_scales_loss(options) ? DURE_LOSS_SCALE_FIRST : 1};
  dure_status status = number_calls(training);
  if (status == NULL) status = allocate_sets(training);
  if (status == NULL) status = dure_training_set_scaling(training, &scaling);
  for (int i = 0; i < DURE_TRAINING_PROGRAM_COUNT && status == NULL; i++)
    status = compile(training, (dure_training_program)i);
  training->ranks = NULL;
  if (status == NULL) status = upload_positions(training);
  if (status == NULL && options->offloads_optimizer) status = create_offload(training);
  if (status != NULL) {
    dure_training_destroy(training);
    return status;
  }
  *out_training = training;
  return NULL;
}

dure_communicator_statistics dure_training_communication(const dure_training *training) {
  return training->exchange != NULL ? dure_exchange_get_statistics(training->exchange)
                                    : (dure_communicator_statistics){0};
}

dure_status dure_training_settle(dure_training *training) {
  return training->exchange != NULL ? dure_exchange_settle(training->exchange, training->model->stream) : NULL;
}

void dure_training_destroy(dure_training *training) {
  if (training == NULL) return;
  if (training->exchange != NULL) dure_exchange_join_all(training->exchange, training->model->stream);
  dure_status_free(dure_stream_wait(training->model->stream, 0));
  dure_offload_destroy(training->offload);
  for (size_t i = 0; i < DURE_TRAINING_PROGRAM_COUNT; i++) dure_executable_destroy(training->executables[i]);
  dure_exchange_destroy(training->exchange);
  free(training->every_call);
  dure_buffer_destroy(training->values);
  for (size_t i = DURE_TRAINING_SET_COUNT; i > 0; i--) dure_parameter_buffers_clear(&training->sets[i - 1]);
  free(training);
}

// ---- steps -------------------------------------------------------------------------------------------------------

static uint64_t micro_step_size(const dure_training *training) {
  return (uint64_t)training->options.batch_size * dure_training_tokens(&training->options);
}

static dure_status write_presence(dure_training *training, const uint32_t *labels) {
  const uint64_t tokens = dure_training_tokens(&training->options), bytes = micro_step_size(training) * sizeof(float);
  if (training->presence.index == 0) return NULL;
  float *presence = malloc(bytes);
  if (presence == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing a step");
  dure_balance_presence(labels, training->options.batch_size, tokens, presence);
  dure_status status = dure_executable_write(training->executables[DURE_TRAINING_MICRO_STEP], training->model->stream,
                                             training->presence, presence, bytes);
  free(presence);
  return status;
}

// Uploads micro-step `index` of a step.
static dure_status write_micro_step(dure_training *training, uint32_t index, const uint32_t *tokens,
                                    const uint32_t *labels) {
  const uint64_t count = micro_step_size(training), first = index * count;
  dure_stream *stream = training->model->stream;
  DURE_TRY(dure_executable_write(training->executables[DURE_TRAINING_MICRO_STEP], stream, training->tokens,
                                 tokens + first, count * sizeof(*tokens)));
  DURE_TRY(write_presence(training, labels + first));
  return dure_executable_write(training->executables[DURE_TRAINING_MICRO_STEP], stream, training->labels,
                               labels + first, count * sizeof(*labels));
}

// The gradient of every label: 1 / valid labels of the step, which are `all` with other ranks; 0: those given.
static dure_status write_seed(dure_training *training, const uint32_t *labels, uint64_t all, uint64_t *out_valid) {
  *out_valid = all;
  const uint64_t count = micro_step_size(training) * training->options.accumulate;
  for (uint64_t i = 0; all == 0 && i < count; i++) *out_valid += labels[i] != DURE_IGNORE_LABEL;
  if (*out_valid == 0) return dure_fail(DURE_INVALID_ARGUMENT, "a training step has no label to learn from");
  const float seed = (float)(1.0 / (double)*out_valid);
  return write_values(training, DURE_TRAINING_SEED, &seed, 1);
}

// The rank's part of the step's labels, over its micro-steps that have any; one of padding alone counts for nothing.
static dure_status write_share(dure_training *training, uint32_t index, const uint32_t *labels, uint64_t all) {
  if (!training->options.balances_experts) return NULL;
  const uint64_t count = micro_step_size(training);
  uint64_t own = 0, present = 0, here = 0;
  for (uint64_t m = 0; m < training->options.accumulate; m++) {
    uint64_t valid = 0;
    for (uint64_t i = 0; i < count; i++) valid += labels[m * count + i] != DURE_IGNORE_LABEL;
    own += valid;
    present += valid > 0;
    if (m == index) here = valid;
  }
  const float share = here > 0 ? (float)((double)own / (double)all / (double)present) : 0;
  return write_values(training, DURE_TRAINING_SHARE, &share, 1);
}

static dure_status submit_micro_step(dure_training *training, bool is_last) {
  dure_executable *micro_step = training->executables[DURE_TRAINING_MICRO_STEP];
  if (training->exchange == NULL) return dure_executable_submit(micro_step, training->model->stream);
  return dure_exchange_micro_step(training->exchange, micro_step, training->executables[DURE_TRAINING_ADD],
                                  training->model->stream, is_last);
}

static dure_status sum_over_ranks(dure_training *training, dure_training_value value, bool of_parts) {
  if (training->exchange == NULL) return NULL;
  return dure_exchange_sum(training->exchange, training->model->stream, training->values,
                           dure_training_value_offset(value), of_parts);
}

static dure_status submit_micro_steps(dure_training *training, const uint32_t *tokens, const uint32_t *labels,
                                      uint64_t all, uint64_t *out_valid) {
  dure_stream *stream = training->model->stream;
  DURE_TRY(write_seed(training, labels, all, out_valid));
  if (training->executables[DURE_TRAINING_CLEAR] != NULL)
    DURE_TRY(dure_executable_submit(training->executables[DURE_TRAINING_CLEAR], stream));
  for (uint32_t i = 0; i < training->options.accumulate; i++) {
    DURE_TRY(write_micro_step(training, i, tokens, labels));
    DURE_TRY(write_share(training, i, labels, *out_valid));
    DURE_TRY(submit_micro_step(training, i + 1 == training->options.accumulate));
  }
  return sum_over_ranks(training, DURE_TRAINING_LOSS_SUM, false);
}

// What changes with every step, of the update.
typedef struct update_values {
  float step[DURE_STEP_COUNT];
  uint32_t random[4];
} update_values;

static dure_status write_update_values(dure_training *training, uint64_t update, double learning_rate,
                                       update_values *out_values) {
  const dure_training_options *options = &training->options;
  dure_adamw_step_values(&options->adamw, update, learning_rate, out_values->step);
  const uint32_t random[4] = {(uint32_t)options->seed, (uint32_t)(options->seed >> 32), (uint32_t)update,
                              DURE_TRAINING_RANDOM_STREAM};
  memcpy(out_values->random, random, sizeof(random));
  DURE_TRY(write_values(training, DURE_TRAINING_STEP, out_values->step, DURE_STEP_COUNT));
  return write_values(training, DURE_TRAINING_RANDOM, out_values->random, 4);
}

// Brings loss and state to the host: they are there when step->point is reached.
static dure_status read_result(dure_training *training, pending_step *step) {
  dure_stream *stream = training->model->stream;
  uint64_t earlier_point;
  DURE_TRY(dure_stream_download(stream, training->values, dure_training_value_offset(DURE_TRAINING_LOSS_SUM),
                                &step->loss_sum, sizeof(step->loss_sum), &earlier_point));
  return dure_stream_download(stream, training->values, dure_training_value_offset(DURE_TRAINING_STATE), step->state,
                              sizeof(step->state), &step->point);
}

void dure_training_hold_update(dure_training *training, dure_event *event, uint64_t value) {
  training->held_by = event;
  training->held_until = value;
}

// Of parts the sum of squares is one of all ranks.
static dure_status submit_norm(dure_training *training) {
  dure_executable *norm = training->executables[DURE_TRAINING_NORM];
  if (norm == NULL) return NULL;
  DURE_TRY(dure_executable_submit(norm, training->model->stream));
  return sum_over_ranks(training, DURE_TRAINING_SQUARE_SUM, true);
}

static dure_status submit_update(dure_training *training) {
  dure_executable *update = training->executables[DURE_TRAINING_UPDATE];
  DURE_TRY(submit_norm(training));
  if (training->held_by == NULL) return dure_executable_submit(update, training->model->stream);
  DURE_TRY(dure_executable_submit_after(update, training->model->stream, training->held_by, training->held_until));
  training->held_by = NULL;
  return NULL;
}

void dure_training_set_limit(dure_training *training, double limit) { training->limit = limit; }

void dure_training_set_agreement(dure_training *training, dure_norm_agreement agree, void *context) {
  training->agree = agree;
  training->agreement_context = context;
}

// The update, unless the norm is above the limit, for which the host waits.
static dure_status submit_update_within_limit(dure_training *training, pending_step *step) {
  step->is_left_out = false;
  if (!training->options.has_limits) return submit_update(training);
  dure_executable *update = training->executables[DURE_TRAINING_UPDATE];
  dure_stream *stream = training->model->stream;
  if (training->held_by != NULL)
    DURE_TRY(dure_stream_submit(stream, NULL, 0, training->held_by, training->held_until, NULL, 0, NULL));
  training->held_by = NULL;
  DURE_TRY(submit_norm(training));
  DURE_TRY(dure_executable_submit_calls(update, stream, 0, training->clip_calls));
  DURE_TRY(read_result(training, step));
  DURE_TRY(dure_stream_wait(stream, step->point));
  step->norm = (double)step->state[DURE_STATE_NORM];
  if (training->agree != NULL) DURE_TRY(training->agree(training->agreement_context, &step->norm));
  step->is_left_out = training->limit > 0 && step->norm > training->limit;
  return step->is_left_out ? NULL : dure_executable_submit_calls(update, stream, training->clip_calls, UINT32_MAX);
}

dure_status dure_training_submit(dure_training *training, uint64_t update, double learning_rate, const uint32_t *tokens,
                                 const uint32_t *labels) {
  return dure_training_submit_part(training, update, learning_rate, tokens, labels, 0);
}

dure_status dure_training_submit_part(dure_training *training, uint64_t update, double learning_rate,
                                      const uint32_t *tokens, const uint32_t *labels, uint64_t all_labels) {
  if (training->pending_count == DURE_TRAINING_MAX_IN_FLIGHT) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%d training steps are in flight already; collect one first",
                     DURE_TRAINING_MAX_IN_FLIGHT);
  }
  dure_stream *stream = training->model->stream;
  pending_step *step =
      &training->pending[(training->first_pending + training->pending_count) % DURE_TRAINING_MAX_IN_FLIGHT];
  update_values values;
  DURE_TRY(write_update_values(training, update, learning_rate, &values));
  DURE_TRY(submit_micro_steps(training, tokens, labels, all_labels, &step->valid_labels));
  DURE_TRY(submit_update_within_limit(training, step));
  DURE_TRY(read_result(training, step));
  if (training->offload != NULL && !step->is_left_out) {
    DURE_TRY(dure_stream_wait(stream, step->point));  // the host must know the clip scale
    DURE_TRY(dure_offload_update(training->offload, values.step, step->state, values.random));
  }
  if (training->exchange != NULL) DURE_TRY(dure_exchange_parameters(training->exchange, stream));
  training->pending_count++;
  return NULL;
}

uint32_t dure_training_in_flight(const dure_training *training) { return training->pending_count; }

dure_status dure_training_collect(dure_training *training, dure_training_result *out_result) {
  memset(out_result, 0, sizeof(*out_result));
  if (training->pending_count == 0) return dure_fail(DURE_INVALID_ARGUMENT, "no training step is in flight");
  pending_step *step = &training->pending[training->first_pending];
  DURE_TRY(dure_stream_wait(training->model->stream, step->point));
  const double scale_before = training->scaling.scale;
  training->scaling = (dure_loss_scaling){
      .scale = (double)step->state[DURE_STATE_LOSS_SCALE],
      .good_steps = (uint64_t)step->state[DURE_STATE_GOOD_STEPS],
      .skipped = (uint64_t)step->state[DURE_STATE_SKIPPED],
  };
  // A step that overflowed is lost, no more, as long as a smaller scale may help.
  const bool may_recover = dure_training_scales_loss(&training->options) && scale_before > 1;
  out_result->loss = (double)step->loss_sum / (double)step->valid_labels;
  out_result->gradient_norm = training->options.has_limits ? step->norm : (double)step->state[DURE_STATE_NORM];
  out_result->is_finite = (step->state[DURE_STATE_FINITE] != 0 || may_recover) && isfinite(step->loss_sum);
  out_result->scaling = training->scaling;
  out_result->is_left_out = step->is_left_out;
  training->first_pending = (training->first_pending + 1) % DURE_TRAINING_MAX_IN_FLIGHT;
  training->pending_count--;
  return NULL;
}

dure_status dure_training_checksum(dure_training *training, const uint32_t *tokens, const uint32_t *labels,
                                   uint64_t all_labels, uint64_t *out_sum) {
  const dure_model *model = training->model;
  const dure_parameter_buffers *gradients = dure_training_buffers(training, DURE_TRAINING_GRADIENTS);
  uint64_t hash = 0, valid = 0;
  uint32_t loss = 0;  // its bits
  *out_sum = 0;
  DURE_TRY(submit_micro_steps(training, tokens, labels, all_labels, &valid));
  DURE_TRY(dure_stream_download(model->stream, training->values, dure_training_value_offset(DURE_TRAINING_LOSS_SUM),
                                &loss, sizeof(loss), NULL));
  if (gradients != NULL) DURE_TRY(dure_parameters_hash(&model->layout, gradients, false, model->stream, &hash));
  *out_sum = hash ^ (loss * UINT64_C(0x9e3779b97f4a7c15));
  return NULL;
}

dure_status dure_training_gradients(dure_training *training, const uint32_t *tokens, const uint32_t *labels,
                                    double *out_loss) {
  *out_loss = 0;
  uint64_t valid = 0;
  float loss_sum = 0;
  DURE_TRY(submit_micro_steps(training, tokens, labels, 0, &valid));
  DURE_TRY(dure_stream_download(training->model->stream, training->values,
                                dure_training_value_offset(DURE_TRAINING_LOSS_SUM), &loss_sum, sizeof(loss_sum), NULL));
  *out_loss = (double)loss_sum / (double)valid;
  return NULL;
}

dure_status dure_training_forward(dure_training *training, const uint32_t *tokens, const uint32_t *labels,
                                  double *out_sum) {
  float sum = 0;
  *out_sum = 0;
  DURE_TRY(write_values(training, DURE_TRAINING_LOSS_SUM, &sum, 1));
  DURE_TRY(write_micro_step(training, 0, tokens, labels));
  DURE_TRY(dure_exchange_forward(training->exchange, training->executables[DURE_TRAINING_MICRO_STEP],
                                 training->model->stream));
  DURE_TRY(dure_stream_download(training->model->stream, training->values,
                                dure_training_value_offset(DURE_TRAINING_LOSS_SUM), &sum, sizeof(sum), NULL));
  *out_sum = (double)sum;
  return NULL;
}

// Runs a program; while nothing has been found, op by op.
static dure_status look_through(dure_training *training, dure_training_program which, char *out_text,
                                size_t text_size) {
  dure_stream *stream = training->model->stream;
  bool found = false;
  if (out_text[0] != '\0') return dure_executable_submit(training->executables[which], stream);
  DURE_TRY(dure_executable_find_not_finite(training->executables[which], stream, &found, out_text, text_size));
  if (!found) out_text[0] = '\0';
  return NULL;
}

// Gradients may be finite whose norm is not.
static dure_status explain_update_among(dure_training *training, char *out_text, size_t text_size) {
  if (training->executables[DURE_TRAINING_NORM] != NULL) {
    DURE_TRY(look_through(training, DURE_TRAINING_NORM, out_text, text_size));
    DURE_TRY(sum_over_ranks(training, DURE_TRAINING_SQUARE_SUM, true));
  }
  return out_text[0] == '\0' ? look_through(training, DURE_TRAINING_UPDATE, out_text, text_size) : NULL;
}

// Where ranks keep parts of gradients alone, or meet: all run all of a step, as its collectives are everybody's.
static dure_status explain_among(dure_training *training, const uint32_t *tokens, const uint32_t *labels,
                                 char *out_text, size_t text_size) {
  uint64_t valid = 0;
  DURE_TRY(write_seed(training, labels, 0, &valid));
  if (training->executables[DURE_TRAINING_CLEAR] != NULL)
    DURE_TRY(dure_executable_submit(training->executables[DURE_TRAINING_CLEAR], training->model->stream));
  for (uint32_t i = 0; i < training->options.accumulate; i++) {
    char text[512];
    DURE_TRY(write_micro_step(training, i, tokens, labels));
    DURE_TRY(write_share(training, i, labels, valid));
    DURE_TRY(dure_exchange_find_not_finite(training->exchange, training->executables[DURE_TRAINING_MICRO_STEP],
                                           training->executables[DURE_TRAINING_ADD], training->model->stream,
                                           i + 1 == training->options.accumulate, text, sizeof(text)));
    if (out_text[0] == '\0') snprintf(out_text, text_size, "%s", text);
  }
  DURE_TRY(explain_update_among(training, out_text, text_size));
  return dure_stream_wait(training->model->stream, 0);
}

dure_status dure_training_explain(dure_training *training, const uint32_t *tokens, const uint32_t *labels,
                                  char *out_text, size_t text_size) {
  dure_stream *stream = training->model->stream;
  bool found = false;
  uint64_t valid = 0;
  out_text[0] = '\0';
  const bool has_parts = dure_training_set_is_sharded(&training->options, DURE_TRAINING_GRADIENTS);
  if (training->exchange != NULL && (has_parts || dure_training_meets(&training->options)))
    return explain_among(training, tokens, labels, out_text, text_size);
  DURE_TRY(dure_training_settle(training));
  DURE_TRY(write_seed(training, labels, 0, &valid));
  if (training->executables[DURE_TRAINING_CLEAR] != NULL)
    DURE_TRY(dure_executable_submit(training->executables[DURE_TRAINING_CLEAR], stream));
  for (uint32_t i = 0; i < training->options.accumulate && !found; i++) {
    DURE_TRY(write_micro_step(training, i, tokens, labels));
    DURE_TRY(write_share(training, i, labels, valid));
    DURE_TRY(dure_executable_find_not_finite(training->executables[DURE_TRAINING_MICRO_STEP], stream, &found, out_text,
                                             text_size));
  }
  if (!found)
    DURE_TRY(dure_executable_find_not_finite(training->executables[DURE_TRAINING_UPDATE], stream, &found, out_text,
                                             text_size));
  if (!found) out_text[0] = '\0';
  return NULL;
}

double dure_training_flops(const dure_training *training) {
  double flops = dure_executable_cost(training->executables[DURE_TRAINING_UPDATE]).flops;
  if (training->executables[DURE_TRAINING_CLEAR] != NULL)
    flops += dure_executable_cost(training->executables[DURE_TRAINING_CLEAR]).flops;
  return flops +
         training->options.accumulate * dure_executable_cost(training->executables[DURE_TRAINING_MICRO_STEP]).flops;
}

uint64_t dure_training_activation_bytes(const dure_training *training) {
  dure_executable_memory memory = dure_executable_memory_get(training->executables[DURE_TRAINING_MICRO_STEP]);
  return memory.activation_bytes + memory.workspace_bytes;
}
