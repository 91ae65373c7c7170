#include "model/perplexity.h"

#include <stdlib.h>
#include <string.h>

#include "model/inference.h"
#include "runtime/os.h"

typedef struct window_batch {
  uint32_t *tokens, *labels;  // [B, T]
  float *losses;              // [B, T]; filled when `point` is reached
  uint64_t point;
  uint64_t counted;  // tokens of the stream up to this batch's last
} window_batch;

// One is worked on while the next is made.
enum { BATCHES = 2 };

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

// Where in the stream the next window begins, and up to where labels have been counted.
typedef struct stream_position {
  uint64_t begin, counted;
} stream_position;

// The next B windows; rows past the stream's end are empty.
static dure_status fill_batch(dure_token_reader reader, void *context, uint64_t token_count,
                              const dure_perplexity_options *options, stream_position *at, window_batch *batch) {
  const uint64_t T = options->context;
  for (uint64_t b = 0; b < options->batch_size; b++) {
    uint32_t *tokens = batch->tokens + b * T, *labels = batch->labels + b * T;
    if (at->counted == token_count) {
      for (uint64_t i = 0; i < T; i++) {
        tokens[i] = options->first_input;
        labels[i] = DURE_IGNORE_LABEL;
      }
      continue;
    }
    DURE_TRY(fill_window(reader, context, token_count, options, at->begin, at->counted, tokens, labels));
    at->counted = at->begin + T < token_count ? at->begin + T : token_count;
    at->begin += options->stride;
  }
  batch->counted = at->counted;
  return NULL;
}

static void add_losses(const window_batch *batch, const dure_perplexity_options *options, uint64_t token_count,
                       dure_perplexity_result *result) {
  const uint64_t count = (uint64_t)options->batch_size * options->context;
  uint64_t token = result->tokens;
  for (uint64_t i = 0; i < count; i++) {
    if (batch->labels[i] == DURE_IGNORE_LABEL) continue;
    result->nats += batch->losses[i];
    if (options->losses != NULL) options->losses[token++] = batch->losses[i];
  }
  result->tokens = batch->counted;
  if (options->progress != NULL) options->progress(options->progress_context, batch->counted, token_count);
}

// While the device works on a batch, the next one is read and put behind it.
static dure_status score_all(dure_scorer *scorer, dure_token_reader reader, void *reader_context, uint64_t token_count,
                             const dure_perplexity_options *options, window_batch *batches,
                             dure_perplexity_result *result) {
  stream_position at = {0, 0};
  for (uint64_t n = 0;; n++) {
    window_batch *next = &batches[n % BATCHES], *previous = &batches[(n + 1) % BATCHES];
    const bool has_next = at.counted < token_count;
    if (has_next) {
      DURE_TRY(fill_batch(reader, reader_context, token_count, options, &at, next));
      DURE_TRY(dure_scorer_submit(scorer, next->tokens, next->labels, next->losses, &next->point));
    }
    if (n > 0) {
      DURE_TRY(dure_scorer_wait(scorer, previous->point));
      add_losses(previous, options, token_count, result);
    }
    if (!has_next) return NULL;
    if (n > 0 && dure_os_interrupted())
      return dure_fail(DURE_CANCELLED, "interrupted after %llu of %llu tokens", (unsigned long long)result->tokens,
                       (unsigned long long)token_count);
  }
}

static dure_status make_batch(size_t count, window_batch *out_batch) {
  *out_batch = (window_batch){.tokens = malloc(count * sizeof(uint32_t)),
                              .labels = malloc(count * sizeof(uint32_t)),
                              .losses = malloc(count * sizeof(float))};
  if (out_batch->tokens != NULL && out_batch->labels != NULL && out_batch->losses != NULL) return NULL;
  return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a batch of %zu tokens", count);
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
  window_batch batches[BATCHES] = {0};
  dure_scorer *scorer = NULL;
  dure_status status = NULL;
  for (int i = 0; i < BATCHES && status == NULL; i++) status = make_batch(count, &batches[i]);
  if (status == NULL) status = dure_scorer_create(model, chosen.batch_size, chosen.context, false, &scorer);
  if (status == NULL) status = score_all(scorer, reader, reader_context, token_count, &chosen, batches, out_result);
  dure_scorer_destroy(scorer);  // before the losses that it may still write
  for (int i = 0; i < BATCHES; i++) {
    free(batches[i].tokens);
    free(batches[i].labels);
    free(batches[i].losses);
  }
  return status;
}
