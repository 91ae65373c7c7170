#include "model/embedding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/decoder.h"
#include "model/inference_internal.h"

enum { SHORTEST = 16, LENGTHS = 29, WIDTHS = 12 };

// The forward pass of B texts padded to T tokens; what follows a text does not reach back into it.
typedef struct embedding_program {
  dure_executable *executable;
  dure_tensor tokens, hidden;  // [B, T] u32; [B, T, C] f32
} embedding_program;

struct dure_embedder {
  dure_model *model;
  dure_embedder_options options;
  uint32_t width;
  embedding_program programs[LENGTHS][WIDTHS];  // T = 16, 32, 64, ..; B = 1, 2, 4, ..
};

// One text of a call: which, and the program's length that holds it.
typedef struct placed_text {
  size_t index;
  uint32_t length_class;
} placed_text;

dure_status dure_embedder_create(dure_model *model, const dure_embedder_options *options,
                                 dure_embedder **out_embedder) {
  *out_embedder = NULL;
  if (options->context > model->config.context_length)
    return dure_fail(DURE_INVALID_ARGUMENT, "%u tokens are more than the model's %u positions", options->context,
                     model->config.context_length);
  dure_embedder *embedder = calloc(1, sizeof(*embedder));
  if (embedder == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing embeddings");
  embedder->model = model;
  embedder->options = *options;
  if (options->context == 0) embedder->options.context = model->config.context_length;
  if (options->tokens == 0) embedder->options.tokens = 1024;
  embedder->width = model->config.embedding_width;
  *out_embedder = embedder;
  return NULL;
}

void dure_embedder_destroy(dure_embedder *embedder) {
  if (embedder == NULL) return;
  dure_status_free(dure_stream_wait(embedder->model->stream, 0));
  for (size_t i = 0; i < LENGTHS; i++) {
    for (size_t k = 0; k < WIDTHS; k++) dure_executable_destroy(embedder->programs[i][k].executable);
  }
  free(embedder);
}

uint32_t dure_embedder_width(const dure_embedder *embedder) { return embedder->width; }
uint32_t dure_embedder_context(const dure_embedder *embedder) { return embedder->options.context; }

// ---- programs ----------------------------------------------------------------------------------------------------

static uint32_t padded_length(const dure_embedder *embedder, uint32_t length_class) {
  const uint64_t length = (uint64_t)SHORTEST << length_class;
  return length < embedder->options.context ? (uint32_t)length : embedder->options.context;
}

static uint32_t length_class_of(const dure_embedder *embedder, uint32_t count) {
  uint32_t chosen = 0;
  while (padded_length(embedder, chosen) < count) chosen++;
  return chosen;
}

// Of `left` texts, how many a program takes together: 2^class.
static uint32_t width_class_of(const dure_embedder *embedder, uint32_t length, size_t left) {
  uint32_t chosen = 0;
  while (chosen + 1 < WIDTHS && (UINT64_C(1) << chosen) < left &&
         (UINT64_C(2) << chosen) * length <= embedder->options.tokens)
    chosen++;
  return chosen;
}

static dure_status record(dure_embedder *embedder, dure_program *p, uint32_t batch, uint32_t length,
                          embedding_program *program) {
  dure_model *model = embedder->model;
  const uint64_t shape[2] = {batch, length}, hidden_shape[3] = {batch, length, embedder->width};
  program->tokens = dure_tensor_external(p, "tokens", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  dure_tensor positions = dure_tensor_external(p, "positions", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  program->hidden = dure_tensor_external(p, "hidden states", DURE_DTYPE_F32, 3, hidden_shape, DURE_LIFETIME_OUTPUT);
  dure_decoder decoder;
  DURE_TRY(dure_decoder_create(p, &model->config, &model->layout, dure_model_dtype(model), length, &decoder));
  dure_tensor copy[DURE_MAX_OPERANDS] = {dure_decoder_hidden(&decoder, program->tokens, positions, NULL),
                                         program->hidden};
  dure_program_call(p, DURE_OP_copy, copy, NULL, 0);
  dure_status status = inference_compile(model, "embed", p, decoder.pools, &program->executable);
  dure_decoder_clear(&decoder);
  DURE_TRY(status);
  return inference_write_positions(model, program->executable, positions, (uint64_t)batch * length, length);
}

static dure_status need_program(dure_embedder *embedder, uint32_t length_class, uint32_t width_class,
                                embedding_program **out_program) {
  embedding_program *program = *out_program = &embedder->programs[length_class][width_class];
  if (program->executable != NULL) return NULL;
  dure_program *p = dure_program_create();
  if (p == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a model");
  dure_status status = record(embedder, p, UINT32_C(1) << width_class, padded_length(embedder, length_class), program);
  dure_program_destroy(p);
  if (status == NULL) return NULL;
  dure_executable_destroy(program->executable);
  *program = (embedding_program){0};
  return status;
}

// ---- pooling -----------------------------------------------------------------------------------------------------

// hidden [count, width] -> out_vector [width] of length 1; sums in double, in the order of the tokens.
static dure_status pool(const dure_embedder *embedder, const float *hidden, uint32_t count, double *sums,
                        float *out_vector) {
  const uint32_t width = embedder->width;
  const uint32_t first = embedder->options.pooling == DURE_POOLING_LAST ? count - 1 : 0;
  double squares = 0;
  memset(sums, 0, width * sizeof(*sums));
  for (uint32_t token = first; token < count; token++) {
    const float *row = hidden + (size_t)token * width;
    for (uint32_t c = 0; c < width; c++) sums[c] += (double)row[c];
  }
  for (uint32_t c = 0; c < width; c++) squares += sums[c] * sums[c];
  if (!isfinite(squares) || !(squares > 0))
    return dure_fail(DURE_NOT_FINITE, "its hidden states are %s",
                     squares > 0 || isnan(squares) ? "not finite" : "zero");
  const double scale = 1 / sqrt(squares);
  for (uint32_t c = 0; c < width; c++) out_vector[c] = (float)(sums[c] * scale);
  return NULL;
}

// ---- running -----------------------------------------------------------------------------------------------------

// What a call works with; `batch` texts of the same length class at a time.
typedef struct embedding_call {
  const dure_token_text *texts;
  placed_text *order;  // [count], the shortest first
  float *out_vectors;
  uint32_t *tokens;  // [most]
  float *hidden;     // [most, width]
  double *sums;      // [width]
} embedding_call;

static dure_status run_batch(dure_embedder *embedder, const embedding_call *call, const placed_text *batch,
                             size_t count) {
  const uint32_t length_class = batch[0].length_class, length = padded_length(embedder, length_class);
  const uint32_t width_class = width_class_of(embedder, length, count);
  const size_t padded = ((size_t)1 << width_class) * length;
  dure_stream *stream = embedder->model->stream;
  embedding_program *program;
  DURE_TRY(need_program(embedder, length_class, width_class, &program));
  memset(call->tokens, 0, padded * sizeof(*call->tokens));
  for (size_t i = 0; i < count; i++) {
    const dure_token_text *text = &call->texts[batch[i].index];
    memcpy(call->tokens + i * length, text->tokens, text->count * sizeof(*text->tokens));
  }
  DURE_TRY(dure_executable_write(program->executable, stream, program->tokens, call->tokens,
                                 padded * sizeof(*call->tokens)));
  DURE_TRY(dure_executable_submit(program->executable, stream));
  DURE_TRY(dure_executable_read(program->executable, stream, program->hidden, call->hidden,
                                padded * embedder->width * sizeof(float)));
  DURE_TRY(dure_stream_wait(stream, 0));
  for (size_t i = 0; i < count; i++) {
    const size_t index = batch[i].index;
    dure_status status = pool(embedder, call->hidden + i * length * embedder->width, call->texts[index].count,
                              call->sums, call->out_vectors + index * embedder->width);
    if (status != NULL) return dure_status_prefix(status, "text %zu", index);
  }
  return NULL;
}

static dure_status run_all(dure_embedder *embedder, const embedding_call *call, size_t count) {
  for (size_t first = 0; first < count;) {
    const uint32_t length_class = call->order[first].length_class;
    size_t alike = 1;
    while (first + alike < count && call->order[first + alike].length_class == length_class) alike++;
    const uint32_t width_class = width_class_of(embedder, padded_length(embedder, length_class), alike);
    const size_t together = (size_t)1 << width_class, taken = alike < together ? alike : together;
    DURE_TRY(run_batch(embedder, call, call->order + first, taken));
    first += taken;
  }
  return NULL;
}

static int compare_placed(const void *a, const void *b) {
  const placed_text *x = a, *y = b;
  if (x->length_class != y->length_class) return x->length_class < y->length_class ? -1 : 1;
  return x->index < y->index ? -1 : 1;
}

static dure_status check_text(const dure_embedder *embedder, const dure_token_text *text) {
  if (text->count == 0) return dure_fail(DURE_INVALID_ARGUMENT, "it has no tokens");
  if (text->count > embedder->options.context)
    return dure_fail(DURE_INVALID_ARGUMENT, "it has %u tokens, more than the context of %u", text->count,
                     embedder->options.context);
  return inference_check_tokens(embedder->model, text->tokens, text->count);
}

dure_status dure_embedder_run(dure_embedder *embedder, const dure_token_text *texts, size_t count, float *out_vectors) {
  size_t most = embedder->options.tokens;
  embedding_call call = {.texts = texts, .out_vectors = out_vectors};
  for (size_t i = 0; i < count; i++) {
    dure_status status = check_text(embedder, &texts[i]);
    if (status != NULL) return dure_status_prefix(status, "text %zu", i);
    const uint32_t length = padded_length(embedder, length_class_of(embedder, texts[i].count));
    if (length > most) most = length;
  }
  call.order = malloc((count + 1) * sizeof(*call.order));
  call.tokens = malloc(most * sizeof(*call.tokens));
  call.hidden = malloc(most * embedder->width * sizeof(*call.hidden));
  call.sums = malloc(embedder->width * sizeof(*call.sums));
  dure_status status = NULL;
  if (call.order == NULL || call.tokens == NULL || call.hidden == NULL || call.sums == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory for embeddings of %zu texts", count);
  } else {
    for (size_t i = 0; i < count; i++) call.order[i] = (placed_text){i, length_class_of(embedder, texts[i].count)};
    qsort(call.order, count, sizeof(*call.order), compare_placed);
    status = run_all(embedder, &call, count);
  }
  free(call.order);
  free(call.tokens);
  free(call.hidden);
  free(call.sums);
  return status;
}
