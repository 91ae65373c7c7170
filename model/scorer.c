#include <stdlib.h>
#include <string.h>

#include "model/decoder.h"
#include "model/inference_internal.h"

struct dure_scorer {
  dure_model *model;
  uint64_t count;  // B T
  dure_executable *executable;
  dure_scorer_tensors tensors;  // without pools
};

dure_status inference_compile(dure_model *model, const char *label, dure_program *program, const dure_tensor *pools,
                              dure_executable **out_executable) {
  dure_place *places = calloc(model->layout.pool_count + 1, sizeof(*places));
  if (places == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a model");
  dure_parameter_pools_place(&model->weights, pools, places);
  const dure_compile_options options = {.label = label};
  dure_status status = dure_model_compile(model, program, places, model->layout.pool_count, &options, out_executable);
  free(places);
  return status;
}

static dure_status check_sizes(const dure_model *model, uint32_t batch_size, uint32_t context) {
  if (batch_size == 0 || context == 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "batch size and context must be at least 1");
  if (context > model->config.context_length) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%u tokens are more than the model's %u positions", context,
                     model->config.context_length);
  }
  return NULL;
}

dure_status inference_write_positions(dure_model *model, dure_executable *executable, dure_tensor positions,
                                      uint64_t count, uint32_t context) {
  uint32_t *values = malloc(count * sizeof(*values));
  if (values == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing positions");
  for (uint64_t i = 0; i < count; i++) values[i] = (uint32_t)(i % context);
  dure_status status = dure_executable_write(executable, model->stream, positions, values, count * sizeof(*values));
  free(values);
  return status;
}

dure_status dure_scorer_record(const dure_model_config *config, const dure_parameter_layout *layout, dure_dtype dtype,
                               uint32_t batch_size, uint32_t context, bool fuses_loss, dure_program *program,
                               dure_scorer_tensors *out_tensors) {
  dure_program *p = program;
  const uint64_t shape[2] = {batch_size, context}, count = (uint64_t)batch_size * context;
  *out_tensors = (dure_scorer_tensors){
      .tokens = dure_tensor_external(p, "tokens", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT),
      .positions = dure_tensor_external(p, "positions", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT),
      .labels = dure_tensor_external(p, "labels", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT),
      .losses = dure_tensor_external(p, "losses", DURE_DTYPE_F32, 1, &count, DURE_LIFETIME_OUTPUT),
  };
  dure_decoder decoder;
  DURE_TRY(dure_decoder_create(p, config, layout, dtype, context, &decoder));
  decoder.fuses_loss = fuses_loss;
  dure_tensor loss = dure_decoder_loss(&decoder, out_tensors->tokens, out_tensors->positions, out_tensors->labels);
  dure_tensor copy[DURE_MAX_OPERANDS] = {loss, out_tensors->losses};
  dure_program_call(p, DURE_OP_copy, copy, NULL, 0);
  out_tensors->pools = decoder.pools;
  return dure_program_check(p);
}

static dure_status compile_scorer(dure_scorer *scorer, dure_program *program, uint32_t batch_size, uint32_t context,
                                  bool fuses_loss) {
  dure_model *model = scorer->model;
  dure_scorer_tensors *tensors = &scorer->tensors;
  dure_status status = dure_scorer_record(&model->config, &model->layout, dure_model_dtype(model), batch_size, context,
                                          fuses_loss, program, tensors);
  if (status == NULL) status = inference_compile(model, "evaluate", program, tensors->pools, &scorer->executable);
  free(tensors->pools);
  tensors->pools = NULL;
  DURE_TRY(status);
  return inference_write_positions(model, scorer->executable, tensors->positions, scorer->count, context);
}

dure_status dure_scorer_create(dure_model *model, uint32_t batch_size, uint32_t context, bool fuses_loss,
                               dure_scorer **out_scorer) {
  *out_scorer = NULL;
  DURE_TRY(check_sizes(model, batch_size, context));
  dure_scorer *scorer = calloc(1, sizeof(*scorer));
  dure_program *program = dure_program_create();
  dure_status status = NULL;
  if (scorer == NULL || program == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to evaluate");
  } else {
    scorer->model = model;
    scorer->count = (uint64_t)batch_size * context;
    status = compile_scorer(scorer, program, batch_size, context, fuses_loss);
  }
  dure_program_destroy(program);
  if (status != NULL) {
    dure_scorer_destroy(scorer);
    return status;
  }
  *out_scorer = scorer;
  return NULL;
}

void dure_scorer_destroy(dure_scorer *scorer) {
  if (scorer == NULL) return;
  dure_status_free(dure_stream_wait(scorer->model->stream, 0));
  dure_executable_destroy(scorer->executable);
  free(scorer);
}

dure_status dure_scorer_submit(dure_scorer *scorer, const uint32_t *tokens, const uint32_t *labels, float *out_losses,
                               uint64_t *out_point) {
  *out_point = 0;
  dure_stream *stream = scorer->model->stream;
  const uint64_t size = scorer->count * sizeof(uint32_t);
  DURE_TRY(dure_executable_write(scorer->executable, stream, scorer->tensors.tokens, tokens, size));
  DURE_TRY(dure_executable_write(scorer->executable, stream, scorer->tensors.labels, labels, size));
  DURE_TRY(dure_executable_submit(scorer->executable, stream));
  return dure_executable_read_later(scorer->executable, stream, scorer->tensors.losses, out_losses,
                                    scorer->count * sizeof(float), out_point);
}

dure_status dure_scorer_wait(dure_scorer *scorer, uint64_t point) {
  return dure_stream_wait(scorer->model->stream, point);
}

dure_status dure_scorer_run(dure_scorer *scorer, const uint32_t *tokens, const uint32_t *labels, float *out_losses) {
  uint64_t point = 0;
  DURE_TRY(dure_scorer_submit(scorer, tokens, labels, out_losses, &point));
  return dure_scorer_wait(scorer, point);
}

// ---- logits ------------------------------------------------------------------------------------------------------

dure_status inference_check_tokens(const dure_model *model, const uint32_t *tokens, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    if (tokens[i] >= model->config.vocabulary_size) {
      return dure_fail(DURE_INVALID_ARGUMENT, "token %u (number %u) is not below the model's vocabulary of %u",
                       tokens[i], i, model->config.vocabulary_size);
    }
  }
  return NULL;
}

// The first call that uses each pool of parameters, so that weights that are still in their file are loaded while the
// device works with those before.
typedef struct first_uses {
  const dure_tensor *pools;
  size_t count;
  uint32_t *calls;  // [count]; those that nothing uses: the number of calls
  uint32_t *cuts;   // [cut_count] the same calls, ascending, but for 0 and the end
  size_t cut_count;
  uint32_t call_count;
} first_uses;

static void note_use(void *context, uint32_t call, dure_tensor external, dure_access access) {
  const first_uses *uses = context;
  (void)access;
  for (size_t i = 0; i < uses->count; i++)
    if (uses->pools[i].index == external.index && call < uses->calls[i]) uses->calls[i] = call;
}

static int compare_calls(const void *a, const void *b) {
  const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
  return (left > right) - (left < right);
}

// Ascending, each once, without the first call.
static size_t list_cuts(const first_uses *uses, uint32_t *out_cuts) {
  size_t count = 0, kept = 0;
  for (size_t i = 0; i < uses->count; i++)
    if (uses->calls[i] > 0 && uses->calls[i] < uses->call_count) out_cuts[count++] = uses->calls[i];
  if (count > 0) qsort(out_cuts, count, sizeof(*out_cuts), compare_calls);
  for (size_t i = 0; i < count; i++)
    if (i == 0 || out_cuts[i] != out_cuts[i - 1]) out_cuts[kept++] = out_cuts[i];
  return kept;
}

static dure_status compile_logits(dure_model *model, const dure_program *p, const dure_tensor *pools,
                                  first_uses *out_uses, dure_executable **out_executable) {
  const size_t count = model->layout.pool_count;
  *out_uses = (first_uses){pools, count, calloc(2 * count + 1, sizeof(*out_uses->calls)),
                           .call_count = dure_program_call_count(p)};
  dure_place *places = calloc(count + 1, sizeof(*places));
  dure_status status = NULL;
  if (places == NULL || out_uses->calls == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a model");
  } else {
    for (size_t i = 0; i < count; i++) out_uses->calls[i] = out_uses->call_count;
    out_uses->cuts = out_uses->calls + count;
    dure_program_visit_uses(p, note_use, out_uses);
    out_uses->cut_count = list_cuts(out_uses, out_uses->cuts);
    dure_parameter_pools_place(&model->weights, pools, places);
    const dure_compile_options options = {.label = "logits", .cuts = out_uses->cuts, .cut_count = out_uses->cut_count};
    status = dure_program_compile(p, model->device, places, count, &options, out_executable);
  }
  free(places);
  return status;
}

static dure_status load_and_submit(dure_model *model, dure_executable *executable, const first_uses *uses) {
  uint32_t first = 0;
  for (size_t k = 0; k <= uses->cut_count; k++) {
    const uint32_t end = k < uses->cut_count ? uses->cuts[k] : uses->call_count;
    for (size_t i = 0; i < uses->count; i++)
      if (uses->calls[i] == first) DURE_TRY(dure_model_load_pool(model, i));
    if (first < end) DURE_TRY(dure_executable_submit_calls(executable, model->stream, first, end));
    first = end;
  }
  for (size_t i = 0; i < uses->count; i++)
    if (uses->calls[i] == uses->call_count) DURE_TRY(dure_model_load_pool(model, i));
  return NULL;
}

static dure_status run_logits(dure_model *model, dure_program *p, const uint32_t *tokens, uint32_t count,
                              float *out_logits) {
  const uint64_t shape[2] = {1, count};
  const uint64_t logits_shape[3] = {1, count, model->config.vocabulary_size};
  dure_tensor ids = dure_tensor_external(p, "tokens", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  dure_tensor positions = dure_tensor_external(p, "positions", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  dure_tensor logits = dure_tensor_external(p, "logits", DURE_DTYPE_F32, 3, logits_shape, DURE_LIFETIME_OUTPUT);
  dure_decoder decoder;
  DURE_TRY(dure_decoder_create(p, &model->config, &model->layout, dure_model_dtype(model), count, &decoder));
  dure_tensor result = dure_decoder_logits(&decoder, dure_decoder_hidden(&decoder, ids, positions, NULL));
  dure_tensor copy[DURE_MAX_OPERANDS] = {result, logits};
  dure_program_call(p, DURE_OP_copy, copy, NULL, 0);
  dure_executable *executable = NULL;
  dure_stream *stream = model->stream;
  first_uses uses;
  dure_status status = compile_logits(model, p, decoder.pools, &uses, &executable);
  if (status == NULL) status = inference_write_positions(model, executable, positions, count, count);
  if (status == NULL) status = dure_executable_write(executable, stream, ids, tokens, count * sizeof(*tokens));
  if (status == NULL) status = load_and_submit(model, executable, &uses);
  if (status != NULL) model->pools_loaded = 0;  // whoever tries again loads all of them
  if (status == NULL) {
    status = dure_executable_read(executable, stream, logits, out_logits,
                                  (uint64_t)count * model->config.vocabulary_size * sizeof(float));
  }
  dure_status waited = executable != NULL ? dure_stream_wait(stream, 0) : NULL;
  dure_executable_destroy(executable);
  dure_decoder_clear(&decoder);
  free(uses.calls);
  return dure_status_join(status, waited);
}

dure_status dure_model_logits(dure_model *model, const uint32_t *tokens, uint32_t count, float *out_logits) {
  DURE_TRY(check_sizes(model, 1, count));
  DURE_TRY(inference_check_tokens(model, tokens, count));
  dure_program *program = dure_program_create();
  if (program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a model");
  dure_status status = run_logits(model, program, tokens, count, out_logits);
  dure_program_destroy(program);
  return status;
}
