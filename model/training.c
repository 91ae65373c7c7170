#include "model/training.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
  dure_buffer *values;                                        // by dure_training_value_offset
  dure_executable *executables[DURE_TRAINING_PROGRAM_COUNT];  // NULL where it is not needed
  dure_tensor tokens, positions, labels;                      // of micro_step
  pending_step pending[DURE_TRAINING_MAX_IN_FLIGHT];
  uint32_t first_pending, pending_count;
};

// ---- compiling ---------------------------------------------------------------------------------------------------

static const dure_parameter_buffers *set_buffers(const dure_training *training, dure_training_set set) {
  switch (set) {
    case DURE_TRAINING_PARAMETERS: return &training->model->weights;
    case DURE_TRAINING_GRADIENTS: return &training->gradients;
    case DURE_TRAINING_FIRST_MOMENTS: return &training->first_moments;
    case DURE_TRAINING_SECOND_MOMENTS: return &training->second_moments;
    case DURE_TRAINING_MASTERS:
    case DURE_TRAINING_SET_COUNT: break;
  }
  return NULL;
}

// The places of all tensors that the program has and the training owns.
static size_t list_places(const dure_training *training, const dure_training_tensors *tensors, dure_place *out_places) {
  size_t count = 0;
  for (int set = 0; set < DURE_TRAINING_SET_COUNT; set++) {
    const dure_parameter_buffers *buffers = set_buffers(training, (dure_training_set)set);
    for (size_t i = 0; buffers != NULL && i < tensors->pool_count; i++) {
      if (tensors->sets[set][i].index == 0) continue;
      out_places[count++] = (dure_place){tensors->sets[set][i], buffers->pools[i], 0};
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
      calloc(DURE_TRAINING_SET_COUNT * tensors->pool_count + DURE_TRAINING_VALUE_COUNT, sizeof(*places));
  if (places == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a training step");
  const size_t count = list_places(training, tensors, places);
  const dure_compile_options options = {.label = dure_training_program_label(which)};
  dure_status status =
      dure_program_compile(program, training->model->device, places, count, &options, &training->executables[which]);
  free(places);
  return status;
}

static dure_status compile(dure_training *training, dure_training_program which) {
  if (!dure_training_program_is_needed(&training->options, which)) return NULL;
  dure_program *program = dure_program_create();
  if (program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a training step");
  dure_training_tensors tensors;
  dure_status status = dure_training_program_record(which, &training->model->config, &training->model->layout,
                                                    &training->options, program, &tensors);
  if (status == NULL) status = compile_recorded(training, which, program, &tensors);
  if (which == DURE_TRAINING_MICRO_STEP) {
    training->tokens = tensors.tokens;
    training->positions = tensors.positions;
    training->labels = tensors.labels;
  }
  dure_training_tensors_clear(&tensors);
  dure_program_destroy(program);
  return status;
}

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status write_values(dure_training *training, dure_training_value value, const float *values, size_t count) {
  return dure_stream_upload(training->model->stream, training->values, dure_training_value_offset(value), values,
                            count * sizeof(float));
}

static dure_status allocate(dure_training *training) {
  dure_device *device = training->model->device;
  const dure_parameter_layout *layout = &training->model->layout;
  DURE_TRY(dure_parameter_buffers_create(device, layout, "gradients", &training->gradients));
  DURE_TRY(dure_parameter_buffers_create(device, layout, "first moments", &training->first_moments));
  DURE_TRY(dure_parameter_buffers_create(device, layout, "second moments", &training->second_moments));
  DURE_TRY(
      dure_buffer_create(device, dure_training_values_bytes(), DURE_MEMORY_DEVICE, "step values", &training->values));
  float state[DURE_STATE_COUNT] = {0};
  state[DURE_STATE_SCALE] = 1;
  state[DURE_STATE_FINITE] = 1;
  state[DURE_STATE_LOSS_SCALE] = 1;
  return write_values(training, DURE_TRAINING_STATE, state, DURE_STATE_COUNT);
}

// Positions are the same for every micro-step: uploaded once.
static dure_status upload_positions(dure_training *training) {
  const uint64_t B = training->options.batch_size, T = training->options.context;
  uint32_t *positions = malloc(B * T * sizeof(*positions));
  if (positions == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to train");
  for (uint64_t i = 0; i < B * T; i++) positions[i] = (uint32_t)(i % T);
  dure_status status = dure_executable_write(training->executables[DURE_TRAINING_MICRO_STEP], training->model->stream,
                                             training->positions, positions, B * T * sizeof(*positions));
  free(positions);
  return status;
}

dure_status dure_training_create(dure_model *model, const dure_training_options *options,
                                 dure_training **out_training) {
  *out_training = NULL;
  DURE_TRY(dure_training_options_check(&model->config, options));
  dure_training *training = calloc(1, sizeof(*training));
  if (training == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to train");
  training->model = model;
  training->options = *options;
  dure_status status = allocate(training);
  for (int i = 0; i < DURE_TRAINING_PROGRAM_COUNT && status == NULL; i++)
    status = compile(training, (dure_training_program)i);
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
  for (size_t i = 0; i < DURE_TRAINING_PROGRAM_COUNT; i++) dure_executable_destroy(training->executables[i]);
  dure_buffer_destroy(training->values);
  dure_parameter_buffers_clear(&training->second_moments);
  dure_parameter_buffers_clear(&training->first_moments);
  dure_parameter_buffers_clear(&training->gradients);
  free(training);
}

// ---- steps -------------------------------------------------------------------------------------------------------

static uint64_t micro_step_size(const dure_training *training) {
  return (uint64_t)training->options.batch_size * training->options.context;
}

// Uploads micro-step `index` of a step.
static dure_status write_micro_step(dure_training *training, uint32_t index, const uint32_t *tokens,
                                    const uint32_t *labels) {
  const uint64_t count = micro_step_size(training), first = index * count;
  dure_stream *stream = training->model->stream;
  DURE_TRY(dure_executable_write(training->executables[DURE_TRAINING_MICRO_STEP], stream, training->tokens,
                                 tokens + first, count * sizeof(*tokens)));
  return dure_executable_write(training->executables[DURE_TRAINING_MICRO_STEP], stream, training->labels,
                               labels + first, count * sizeof(*labels));
}

// The gradient of every label: 1 / valid labels of the step.
static dure_status write_seed(dure_training *training, const uint32_t *labels, uint64_t *out_valid) {
  *out_valid = 0;
  const uint64_t count = micro_step_size(training) * training->options.accumulate;
  for (uint64_t i = 0; i < count; i++) *out_valid += labels[i] != DURE_IGNORE_LABEL;
  if (*out_valid == 0) return dure_fail(DURE_INVALID_ARGUMENT, "a training step has no label to learn from");
  const float seed = (float)(1.0 / (double)*out_valid);
  return write_values(training, DURE_TRAINING_SEED, &seed, 1);
}

static dure_status submit_micro_steps(dure_training *training, const uint32_t *tokens, const uint32_t *labels,
                                      uint64_t *out_valid) {
  dure_stream *stream = training->model->stream;
  DURE_TRY(write_seed(training, labels, out_valid));
  if (training->executables[DURE_TRAINING_CLEAR] != NULL)
    DURE_TRY(dure_executable_submit(training->executables[DURE_TRAINING_CLEAR], stream));
  for (uint32_t i = 0; i < training->options.accumulate; i++) {
    DURE_TRY(write_micro_step(training, i, tokens, labels));
    DURE_TRY(dure_executable_submit(training->executables[DURE_TRAINING_MICRO_STEP], stream));
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
  DURE_TRY(write_values(training, DURE_TRAINING_STEP, values, DURE_STEP_COUNT));
  DURE_TRY(submit_micro_steps(training, tokens, labels, &step->valid_labels));
  DURE_TRY(dure_executable_submit(training->executables[DURE_TRAINING_UPDATE], stream));
  uint64_t earlier_point;
  DURE_TRY(dure_stream_download(stream, training->values, dure_training_value_offset(DURE_TRAINING_LOSS_SUM),
                                &step->loss_sum, sizeof(step->loss_sum), &earlier_point));
  DURE_TRY(dure_stream_download(stream, training->values, dure_training_value_offset(DURE_TRAINING_STATE), step->state,
                                sizeof(step->state), &step->point));
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
  DURE_TRY(dure_stream_download(training->model->stream, training->values,
                                dure_training_value_offset(DURE_TRAINING_LOSS_SUM), &loss_sum, sizeof(loss_sum), NULL));
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
  if (training->executables[DURE_TRAINING_CLEAR] != NULL)
    DURE_TRY(dure_executable_submit(training->executables[DURE_TRAINING_CLEAR], stream));
  for (uint32_t i = 0; i < training->options.accumulate && !found; i++) {
    DURE_TRY(write_micro_step(training, i, tokens, labels));
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
