#include "model/training.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/decoder.h"

// Small values share one buffer, each at a multiple of the largest alignment that a device asks for.
enum { scalar_stride = 256 };
typedef enum scalar_slot { SLOT_SEED, SLOT_STEP, SLOT_STATE, SLOT_SQUARE_SUM, SLOT_LOSS, SLOT_COUNT } scalar_slot;

// What a step in flight will be told by the device.
typedef struct pending_step {
  float loss_sum;
  float state[DURE_STATE_COUNT];
  uint64_t valid_labels;
  uint64_t point;
} pending_step;

struct dure_training {
  dure_model *model;
  dure_training_options options;
  dure_parameter_buffers gradients, first_moments, second_moments;
  dure_buffer *scalars;
  dure_executable *clear;       // gradients and loss to zero; NULL with one micro-step
  dure_executable *micro_step;  // forward and backward
  dure_executable *update;
  dure_tensor tokens, positions, labels;  // of micro_step
  pending_step pending[DURE_TRAINING_MAX_IN_FLIGHT];
  uint32_t first_pending, pending_count;
};

static dure_place place_scalar(const dure_training *training, dure_tensor tensor, scalar_slot slot) {
  return (dure_place){tensor, training->scalars, (uint64_t)slot * scalar_stride};
}

static dure_tensor declare_scalar(dure_program *program, const char *label, uint64_t count, dure_lifetime lifetime) {
  return dure_tensor_external(program, label, DURE_DTYPE_F32, 1, &count, lifetime);
}

// The arrays of handles and places that a program over all pools needs; freed with one call.
typedef struct pool_tensors {
  dure_tensor *parameters, *gradients, *first_moments, *second_moments;
  dure_gradient_target *targets;
  dure_place *places;
  size_t place_count;
} pool_tensors;

enum { max_scalar_places = SLOT_COUNT };

static dure_status allocate_pool_tensors(const dure_parameter_layout *layout, pool_tensors *out_tensors) {
  memset(out_tensors, 0, sizeof(*out_tensors));
  size_t count = layout->pool_count;
  out_tensors->parameters = calloc(4 * count + 1, sizeof(dure_tensor));
  out_tensors->targets = calloc(count + 1, sizeof(dure_gradient_target));
  out_tensors->places = calloc(4 * count + max_scalar_places, sizeof(dure_place));
  if (out_tensors->parameters == NULL || out_tensors->targets == NULL || out_tensors->places == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a training step");
  }
  out_tensors->gradients = out_tensors->parameters + count;
  out_tensors->first_moments = out_tensors->parameters + 2 * count;
  out_tensors->second_moments = out_tensors->parameters + 3 * count;
  return NULL;
}

static void free_pool_tensors(pool_tensors *tensors) {
  free(tensors->parameters);
  free(tensors->targets);
  free(tensors->places);
}

static void place_pools(pool_tensors *tensors, const dure_parameter_buffers *buffers, const dure_tensor *pools) {
  dure_parameter_pools_place(buffers, pools, tensors->places + tensors->place_count);
  tensors->place_count += buffers->count;
}

static void place_one(pool_tensors *tensors, dure_place place) { tensors->places[tensors->place_count++] = place; }

// ---- programs ----------------------------------------------------------------------------------------------------

static dure_status compile_clear(dure_training *training, dure_program *p, pool_tensors *t) {
  const dure_parameter_layout *layout = &training->model->layout;
  dure_program_scope(p, "clear gradients");
  dure_parameter_pools_declare(p, layout, "gradients", DURE_LIFETIME_GRADIENT, t->gradients);
  dure_tensor loss_sum = declare_scalar(p, "loss sum", 1, DURE_LIFETIME_OUTPUT);
  for (size_t i = 0; i < layout->pool_count; i++) dure_fill(p, t->gradients[i], 0);
  dure_fill(p, loss_sum, 0);
  place_pools(t, &training->gradients, t->gradients);
  place_one(t, place_scalar(training, loss_sum, SLOT_LOSS));
  const dure_compile_options options = {.label = "clear gradients"};
  return dure_program_compile(p, training->model->device, t->places, t->place_count, &options, &training->clear);
}

static dure_status record_micro_step(dure_training *training, dure_program *p, const dure_decoder *decoder,
                                     pool_tensors *t) {
  const dure_parameter_layout *layout = &training->model->layout;
  const uint64_t shape[2] = {training->options.batch_size, training->options.context};
  const bool accumulates = training->options.accumulate > 1;
  dure_tensor tokens = dure_tensor_external(p, "tokens", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  dure_tensor positions = dure_tensor_external(p, "positions", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  dure_tensor labels = dure_tensor_external(p, "labels", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  dure_tensor seed = declare_scalar(p, "loss gradient", 1, DURE_LIFETIME_INPUT);
  dure_tensor loss_sum = declare_scalar(p, "loss sum", 1, DURE_LIFETIME_OUTPUT);
  dure_parameter_pools_declare(p, layout, "gradients", DURE_LIFETIME_GRADIENT, t->gradients);

  dure_tensor loss = dure_decoder_loss(decoder, tokens, positions, labels);  // [B T]
  dure_sum(p, loss, loss_sum, accumulates);
  for (size_t i = 0; i < layout->pool_count; i++)
    t->targets[i] = (dure_gradient_target){decoder->pools[i], t->gradients[i]};
  DURE_TRY(dure_program_gradient(p, loss, seed, t->targets, layout->pool_count, accumulates));

  place_pools(t, &training->model->weights, decoder->pools);
  place_pools(t, &training->gradients, t->gradients);
  place_one(t, place_scalar(training, seed, SLOT_SEED));
  place_one(t, place_scalar(training, loss_sum, SLOT_LOSS));
  training->tokens = tokens;
  training->positions = positions;
  training->labels = labels;
  return NULL;
}

static dure_status compile_micro_step(dure_training *training, dure_program *p, pool_tensors *t) {
  dure_decoder decoder;
  DURE_TRY(dure_decoder_create(p, &training->model->config, &training->model->layout, &decoder));
  dure_status status = record_micro_step(training, p, &decoder, t);
  dure_decoder_clear(&decoder);
  DURE_TRY(status);
  const dure_compile_options options = {.label = "train"};
  return dure_program_compile(p, training->model->device, t->places, t->place_count, &options, &training->micro_step);
}

static dure_status compile_update(dure_training *training, dure_program *p, pool_tensors *t) {
  const dure_parameter_layout *layout = &training->model->layout;
  dure_parameter_pools_declare(p, layout, "parameters", DURE_LIFETIME_PARAMETER, t->parameters);
  dure_parameter_pools_declare(p, layout, "gradients", DURE_LIFETIME_GRADIENT, t->gradients);
  dure_parameter_pools_declare(p, layout, "first moments", DURE_LIFETIME_OPTIMIZER, t->first_moments);
  dure_parameter_pools_declare(p, layout, "second moments", DURE_LIFETIME_OPTIMIZER, t->second_moments);
  const dure_optimizer_tensors tensors = {
      .parameters = t->parameters,
      .gradients = t->gradients,
      .first_moments = t->first_moments,
      .second_moments = t->second_moments,
      .step = declare_scalar(p, "step values", DURE_STEP_COUNT, DURE_LIFETIME_INPUT),
      .state = declare_scalar(p, "optimizer state", DURE_STATE_COUNT, DURE_LIFETIME_OPTIMIZER),
      .square_sum = declare_scalar(p, "gradient square sum", 1, DURE_LIFETIME_OUTPUT),
  };
  dure_optimizer_record(p, layout, &tensors, &training->options.adamw);
  place_pools(t, &training->model->weights, t->parameters);
  place_pools(t, &training->gradients, t->gradients);
  place_pools(t, &training->first_moments, t->first_moments);
  place_pools(t, &training->second_moments, t->second_moments);
  place_one(t, place_scalar(training, tensors.step, SLOT_STEP));
  place_one(t, place_scalar(training, tensors.state, SLOT_STATE));
  place_one(t, place_scalar(training, tensors.square_sum, SLOT_SQUARE_SUM));
  const dure_compile_options options = {.label = "optimizer"};
  return dure_program_compile(p, training->model->device, t->places, t->place_count, &options, &training->update);
}

// Records and compiles one of the programs above.
static dure_status compile(dure_training *training,
                           dure_status (*compile_one)(dure_training *training, dure_program *p, pool_tensors *t)) {
  pool_tensors tensors;
  dure_status status = allocate_pool_tensors(&training->model->layout, &tensors);
  dure_program *program = dure_program_create();
  if (status == NULL && program == NULL)
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a training step");
  if (status == NULL) status = compile_one(training, program, &tensors);
  dure_program_destroy(program);
  free_pool_tensors(&tensors);
  return status;
}

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status check_options(const dure_model *model, const dure_training_options *options) {
  if (options->batch_size == 0 || options->context == 0 || options->accumulate == 0) {
    return dure_fail(DURE_INVALID_ARGUMENT, "batch size, context and accumulation must be at least 1");
  }
  if (options->context > model->config.context_length) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "a context of %u tokens is more than the model's %u positions; use --context %u", options->context,
                     model->config.context_length, model->config.context_length);
  }
  return NULL;
}

static dure_status allocate(dure_training *training) {
  dure_device *device = training->model->device;
  const dure_parameter_layout *layout = &training->model->layout;
  DURE_TRY(dure_parameter_buffers_create(device, layout, "gradients", &training->gradients));
  DURE_TRY(dure_parameter_buffers_create(device, layout, "first moments", &training->first_moments));
  DURE_TRY(dure_parameter_buffers_create(device, layout, "second moments", &training->second_moments));
  DURE_TRY(
      dure_buffer_create(device, SLOT_COUNT * scalar_stride, DURE_MEMORY_DEVICE, "step values", &training->scalars));
  float state[DURE_STATE_COUNT] = {0};
  state[DURE_STATE_SCALE] = 1;
  state[DURE_STATE_FINITE] = 1;
  return dure_stream_upload(training->model->stream, training->scalars, SLOT_STATE * scalar_stride, state,
                            sizeof(state));
}

// Positions are the same for every micro-step: uploaded once.
static dure_status upload_positions(dure_training *training) {
  const uint64_t B = training->options.batch_size, T = training->options.context;
  uint32_t *positions = malloc(B * T * sizeof(*positions));
  if (positions == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to train");
  for (uint64_t i = 0; i < B * T; i++) positions[i] = (uint32_t)(i % T);
  dure_status status = dure_executable_write(training->micro_step, training->model->stream, training->positions,
                                             positions, B * T * sizeof(*positions));
  free(positions);
  return status;
}

dure_status dure_training_create(dure_model *model, const dure_training_options *options,
                                 dure_training **out_training) {
  *out_training = NULL;
  DURE_TRY(check_options(model, options));
  dure_training *training = calloc(1, sizeof(*training));
  if (training == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to train");
  training->model = model;
  training->options = *options;
  dure_status status = allocate(training);
  if (status == NULL && options->accumulate > 1) status = compile(training, compile_clear);
  if (status == NULL) status = compile(training, compile_micro_step);
  if (status == NULL) status = compile(training, compile_update);
  if (status == NULL) status = upload_positions(training);
  if (status != NULL) {
    dure_training_destroy(training);
    return status;
  }
  *out_training = training;
  return NULL;
}

void dure_training_destroy(dure_training *training) {
  if (training == NULL) return;
  dure_status_free(dure_stream_wait(training->model->stream, 0));
  dure_executable_destroy(training->clear);
  dure_executable_destroy(training->micro_step);
  dure_executable_destroy(training->update);
  dure_buffer_destroy(training->scalars);
  dure_parameter_buffers_clear(&training->second_moments);
  dure_parameter_buffers_clear(&training->first_moments);
  dure_parameter_buffers_clear(&training->gradients);
  free(training);
}

// ---- steps -------------------------------------------------------------------------------------------------------

static dure_status write_scalars(dure_training *training, scalar_slot slot, const float *values, size_t count) {
  return dure_stream_upload(training->model->stream, training->scalars, (uint64_t)slot * scalar_stride, values,
                            count * sizeof(float));
}

static uint64_t micro_step_size(const dure_training *training) {
  return (uint64_t)training->options.batch_size * training->options.context;
}

// Uploads micro-step `index` of a step.
static dure_status write_micro_step(dure_training *training, uint32_t index, const uint32_t *tokens,
                                    const uint32_t *labels) {
  const uint64_t count = micro_step_size(training), first = index * count;
  dure_stream *stream = training->model->stream;
  DURE_TRY(
      dure_executable_write(training->micro_step, stream, training->tokens, tokens + first, count * sizeof(*tokens)));
  return dure_executable_write(training->micro_step, stream, training->labels, labels + first, count * sizeof(*labels));
}

// The gradient of every label: 1 / valid labels of the step.
static dure_status write_seed(dure_training *training, const uint32_t *labels, uint64_t *out_valid) {
  *out_valid = 0;
  const uint64_t count = micro_step_size(training) * training->options.accumulate;
  for (uint64_t i = 0; i < count; i++) *out_valid += labels[i] != DURE_IGNORE_LABEL;
  if (*out_valid == 0) return dure_fail(DURE_INVALID_ARGUMENT, "a training step has no label to learn from");
  const float seed = (float)(1.0 / (double)*out_valid);
  return write_scalars(training, SLOT_SEED, &seed, 1);
}

static dure_status submit_micro_steps(dure_training *training, const uint32_t *tokens, const uint32_t *labels,
                                      uint64_t *out_valid) {
  dure_stream *stream = training->model->stream;
  DURE_TRY(write_seed(training, labels, out_valid));
  if (training->clear != NULL) DURE_TRY(dure_executable_submit(training->clear, stream));
  for (uint32_t i = 0; i < training->options.accumulate; i++) {
    DURE_TRY(write_micro_step(training, i, tokens, labels));
    DURE_TRY(dure_executable_submit(training->micro_step, stream));
  }
  return NULL;
}

dure_status dure_training_submit(dure_training *training, uint64_t update, double learning_rate, const uint32_t *tokens,
                                 const uint32_t *labels) {
  if (training->pending_count == DURE_TRAINING_MAX_IN_FLIGHT) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%d training steps are in flight already; collect one first",
                     DURE_TRAINING_MAX_IN_FLIGHT);
  }
  dure_stream *stream = training->model->stream;
  pending_step *step =
      &training->pending[(training->first_pending + training->pending_count) % DURE_TRAINING_MAX_IN_FLIGHT];
  float values[DURE_STEP_COUNT];
  dure_adamw_step_values(&training->options.adamw, update, learning_rate, values);
  DURE_TRY(write_scalars(training, SLOT_STEP, values, DURE_STEP_COUNT));
  DURE_TRY(submit_micro_steps(training, tokens, labels, &step->valid_labels));
  DURE_TRY(dure_executable_submit(training->update, stream));
  uint64_t earlier_point;
  DURE_TRY(dure_stream_download(stream, training->scalars, SLOT_LOSS * scalar_stride, &step->loss_sum,
                                sizeof(step->loss_sum), &earlier_point));
  DURE_TRY(dure_stream_download(stream, training->scalars, SLOT_STATE * scalar_stride, step->state, sizeof(step->state),
                                &step->point));
  training->pending_count++;
  return NULL;
}

uint32_t dure_training_in_flight(const dure_training *training) { return training->pending_count; }

dure_status dure_training_collect(dure_training *training, dure_training_result *out_result) {
  memset(out_result, 0, sizeof(*out_result));
  if (training->pending_count == 0) return dure_fail(DURE_INVALID_ARGUMENT, "no training step is in flight");
  pending_step *step = &training->pending[training->first_pending];
  DURE_TRY(dure_stream_wait(training->model->stream, step->point));
  out_result->loss = (double)step->loss_sum / (double)step->valid_labels;
  out_result->gradient_norm = (double)step->state[DURE_STATE_NORM];
  out_result->is_finite = step->state[DURE_STATE_FINITE] != 0 && isfinite(step->loss_sum);
  training->first_pending = (training->first_pending + 1) % DURE_TRAINING_MAX_IN_FLIGHT;
  training->pending_count--;
  return NULL;
}

dure_status dure_training_gradients(dure_training *training, const uint32_t *tokens, const uint32_t *labels,
                                    double *out_loss) {
  *out_loss = 0;
  uint64_t valid = 0;
  float loss_sum = 0;
  DURE_TRY(submit_micro_steps(training, tokens, labels, &valid));
  DURE_TRY(dure_stream_download(training->model->stream, training->scalars, SLOT_LOSS * scalar_stride, &loss_sum,
                                sizeof(loss_sum), NULL));
  *out_loss = (double)loss_sum / (double)valid;
  return NULL;
}

const dure_parameter_buffers *dure_training_gradient_buffers(const dure_training *training) {
  return &training->gradients;
}
const dure_parameter_buffers *dure_training_first_moments(const dure_training *training) {
  return &training->first_moments;
}
const dure_parameter_buffers *dure_training_second_moments(const dure_training *training) {
  return &training->second_moments;
}

dure_status dure_training_explain(dure_training *training, const uint32_t *tokens, const uint32_t *labels,
                                  char *out_text, size_t text_size) {
  dure_stream *stream = training->model->stream;
  bool found = false;
  uint64_t valid = 0;
  out_text[0] = '\0';
  DURE_TRY(write_seed(training, labels, &valid));
  if (training->clear != NULL) DURE_TRY(dure_executable_submit(training->clear, stream));
  for (uint32_t i = 0; i < training->options.accumulate && !found; i++) {
    DURE_TRY(write_micro_step(training, i, tokens, labels));
    DURE_TRY(dure_executable_find_not_finite(training->micro_step, stream, &found, out_text, text_size));
  }
  if (!found) DURE_TRY(dure_executable_find_not_finite(training->update, stream, &found, out_text, text_size));
  if (!found) out_text[0] = '\0';
  return NULL;
}

double dure_training_flops(const dure_training *training) {
  double flops = dure_executable_cost(training->update).flops;
  if (training->clear != NULL) flops += dure_executable_cost(training->clear).flops;
  return flops + training->options.accumulate * dure_executable_cost(training->micro_step).flops;
}

uint64_t dure_training_activation_bytes(const dure_training *training) {
  dure_executable_memory memory = dure_executable_memory_get(training->micro_step);
  return memory.activation_bytes + memory.workspace_bytes;
}
