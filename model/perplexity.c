#include "model/perplexity.h"

#include <stdlib.h>
#include <string.h>

#include "model/inference.h"
#include "runtime/os.h"

typedef struct window_batch {
  uint32_t *tokens, *labels;  // [B, T]
  float *losses;              // [B, T]
} window_batch;

// One window: positions [begin, begin + T) of the stream. Position i has input id i - 1 (or first_input) and label id
// i; labels before `counted_from` were counted by an earlier window.
static dure_status fill_window(dure_token_reader reader, void *context, uint64_t token_count,
                               const dure_perplexity_options *options, uint64_t begin, uint64_t counted_from,
                               uint32_t *tokens, uint32_t *labels) {
  uint64_t T = options->context, end = begin + T < token_count ? begin + T : token_count;
  size_t count = (size_t)(end - begin);
  for (size_t i = count; i < T; i++) {
    tokens[i] = options->first_input;
    labels[i] = DURE_IGNORE_LABEL;
  }
  DURE_TRY(reader(context, begin, count, labels));
  if (begin == 0) {
    tokens[0] = options->first_input;
  } else {
    DURE_TRY(reader(context, begin - 1, 1, tokens));
  }
  memcpy(tokens + 1, labels, (count - 1) * sizeof(*tokens));
  for (uint64_t i = begin; i < counted_from && i < end; i++) labels[i - begin] = DURE_IGNORE_LABEL;
  return NULL;
}

static dure_status score_all(dure_scorer *scorer, dure_token_reader reader, void *reader_context, uint64_t token_count,
                             const dure_perplexity_options *options, const window_batch *batch,
                             dure_perplexity_result *result) {
  uint64_t T = options->context, B = options->batch_size, begin = 0, counted = 0;
  while (counted < token_count) {
    for (uint64_t b = 0; b < B; b++) {
      uint32_t *tokens = batch->tokens + b * T, *labels = batch->labels + b * T;
      if (counted == token_count) {  // an empty row
        for (uint64_t i = 0; i < T; i++) {
          tokens[i] = options->first_input;
          labels[i] = DURE_IGNORE_LABEL;
        }
        continue;
      }
      DURE_TRY(fill_window(reader, reader_context, token_count, options, begin, counted, tokens, labels));
      counted = begin + T < token_count ? begin + T : token_count;
      begin += options->stride;
    }
    DURE_TRY(dure_scorer_run(scorer, batch->tokens, batch->labels, batch->losses));
    for (uint64_t i = 0; i < B * T; i++) {
      if (batch->labels[i] != DURE_IGNORE_LABEL) result->nats += batch->losses[i];
    }
    result->tokens = counted;
    if (options->progress != NULL) options->progress(options->progress_context, counted, token_count);
    if (counted < token_count && dure_os_interrupted())
      return dure_fail(DURE_CANCELLED, "interrupted after %llu of %llu tokens", (unsigned long long)counted,
                       (unsigned long long)token_count);
  }
  return NULL;
}

dure_status dure_perplexity(dure_model *model, dure_token_reader reader, void *reader_context, uint64_t token_count,
                            const dure_perplexity_options *options, dure_perplexity_result *out_result) {
  *out_result = (dure_perplexity_result){0, 0};
  if (token_count == 0) return dure_fail(DURE_INVALID_ARGUMENT, "there is no token to predict");
  dure_perplexity_options chosen = *options;
  uint32_t most = model->config.context_length;
  if (chosen.context == 0) chosen.context = most < 1024 ? most : 1024;
  if (chosen.batch_size == 0) chosen.batch_size = 4;
  if (chosen.stride == 0) chosen.stride = chosen.context;
  if (chosen.stride > chosen.context) {
    return dure_fail(DURE_INVALID_ARGUMENT, "a stride of %u tokens would skip some: the windows have %u", chosen.stride,
                     chosen.context);
  }
  const uint64_t most_windows = (token_count - 1) / chosen.stride + 1;
  if (chosen.batch_size > most_windows) chosen.batch_size = (uint32_t)most_windows;
  size_t count = (size_t)chosen.batch_size * chosen.context;
  window_batch batch = {malloc(count * sizeof(uint32_t)), malloc(count * sizeof(uint32_t)),
                        malloc(count * sizeof(float))};
  dure_scorer *scorer = NULL;
  dure_status status = NULL;
  if (batch.tokens == NULL || batch.labels == NULL || batch.losses == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "no memory for a batch of %zu tokens", count);
  }
  if (status == NULL) status = dure_scorer_create(model, chosen.batch_size, chosen.context, false, &scorer);
  if (status == NULL) status = score_all(scorer, reader, reader_context, token_count, &chosen, &batch, out_result);
  dure_scorer_destroy(scorer);
  free(batch.tokens);
  free(batch.labels);
  free(batch.losses);
  return status;
}
