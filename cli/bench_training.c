// The training step that dure bench MODEL --train measures: forward, backward and AdamW on any tokens.
#include <stdlib.h>

#include "cli/bench_model.h"
#include "model/training.h"
#include "model/weights.h"
#include "runtime/os.h"

// One step's tokens, each labelled with the next; what is computed does not depend on which they are.
static dure_status fill_tokens(const dure_model *model, uint64_t count, uint32_t **out_tokens) {
  uint32_t *tokens = malloc((size_t)(count + 1) * sizeof(*tokens));
  *out_tokens = tokens;
  if (tokens == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a step's tokens");
  for (uint64_t i = 0; i <= count; i++) tokens[i] = ((uint32_t)i * 2654435761u >> 8) % model->config.vocabulary_size;
  return NULL;
}

// The first step warms up, and is not counted.
static dure_status run_steps(dure_training *training, const uint32_t *tokens, uint64_t count, uint32_t repeats,
                             double *out_rates) {
  for (uint32_t i = 0; i <= repeats; i++) {
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "interrupted");
    dure_training_result result;
    const uint64_t begin = dure_os_nanoseconds();
    DURE_TRY(dure_training_submit(training, i + 1, 1e-6, tokens, tokens + 1));
    DURE_TRY(dure_training_collect(training, &result));
    if (i > 0) out_rates[i - 1] = (double)count * 1e9 / (double)(dure_os_nanoseconds() - begin);
  }
  return NULL;
}

dure_status bench_training(dure_device *device, const char *path, const char *dtype, uint32_t context,
                           uint32_t batch_size, uint32_t repeats, double *out_rates) {
  dure_training_options options = {.batch_size = batch_size,
                                   .context = context,
                                   .accumulate = 1,
                                   .adamw = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8}};
  DURE_TRY(dure_weights_check_trainable(path));
  DURE_TRY(dure_model_choose_dtype(dtype, device, path, &options.dtype));
  options.gradient_dtype = options.moment_dtype = DURE_DTYPE_F32;
  options.has_master = options.dtype != DURE_DTYPE_F32;
  const dure_model_options kept = dure_training_model_options(&options, device);
  dure_stream *stream = NULL;
  dure_model *model = NULL;
  dure_training *training = NULL;
  uint32_t *tokens = NULL;
  const uint64_t count = (uint64_t)batch_size * context;
  dure_status status = dure_stream_create(device, &stream);
  if (status == NULL) status = dure_model_open_as(path, &kept, device, stream, &model);
  if (status == NULL) status = fill_tokens(model, count, &tokens);
  if (status == NULL) status = dure_training_create(model, &options, &training);
  if (status == NULL) status = run_steps(training, tokens, count, repeats, out_rates);
  dure_training_destroy(training);
  dure_model_destroy(model);
  dure_stream_destroy(stream);
  free(tokens);
  return status;
}
