#include <stdlib.h>
#include <string.h>

#include "model/decoder.h"
#include "model/inference.h"

// A program that takes `count` tokens; logits of the row `last` go to the session's buffer.
typedef struct step_program {
  uint32_t count;
  dure_executable *executable;
  dure_tensor tokens, positions, lengths, last;
} step_program;

struct dure_session {
  dure_model *model;
  dure_session_options options;
  uint32_t length;
  uint32_t positions;    // that programs may name
  uint64_t blocks;       // of one layer's cache
  dure_buffer **caches;  // [2 * layer_count]: keys, then values
  dure_buffer *block_table, *logits;
  step_program prompt, token;
  dure_executable *sampler;
  dure_tensor settings, random, drawn;
};

// ---- programs ----------------------------------------------------------------------------------------------------

typedef struct step_tensors {
  dure_tensor *caches;  // [2 * layer_count]
  dure_place *places;
  size_t place_count;
} step_tensors;

static void declare_caches(dure_session *session, dure_program *p, step_tensors *t) {
  const dure_model_config *config = &session->model->config;
  const uint64_t shape[4] = {session->blocks, session->options.block_size, config->key_head_count, config->head_width};
  for (uint32_t i = 0; i < 2 * config->layer_count; i++) {
    t->caches[i] = dure_tensor_external(p, i < config->layer_count ? "key cache" : "value cache",
                                        dure_model_dtype(session->model), 4, shape, DURE_LIFETIME_CACHE);
    t->places[t->place_count++] = (dure_place){t->caches[i], session->caches[i], 0};
  }
}

static dure_status record_step(dure_session *session, step_program *step, dure_program *p, const dure_decoder *decoder,
                               step_tensors *t) {
  const dure_model_config *config = &session->model->config;
  const uint64_t shape[2] = {1, step->count}, table_shape[2] = {1, session->blocks};
  const uint64_t one = 1, flat[2] = {step->count, config->embedding_width},
                 logits_shape[2] = {1, config->vocabulary_size};
  step->tokens = dure_tensor_external(p, "tokens", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  step->positions = dure_tensor_external(p, "positions", DURE_DTYPE_U32, 2, shape, DURE_LIFETIME_INPUT);
  step->lengths = dure_tensor_external(p, "lengths", DURE_DTYPE_U32, 1, &one, DURE_LIFETIME_INPUT);
  step->last = dure_tensor_external(p, "last row", DURE_DTYPE_U32, 1, &one, DURE_LIFETIME_INPUT);
  dure_tensor table = dure_tensor_external(p, "block table", DURE_DTYPE_U32, 2, table_shape, DURE_LIFETIME_INPUT);
  dure_tensor logits = dure_tensor_external(p, "logits", DURE_DTYPE_F32, 2, logits_shape, DURE_LIFETIME_OUTPUT);
  declare_caches(session, p, t);

  const dure_decoder_cache cache = {
      .block_table = table, .lengths = step->lengths, .keys = t->caches, .values = t->caches + config->layer_count};
  dure_tensor hidden = dure_decoder_hidden(decoder, step->tokens, step->positions, &cache);  // [1, count, C]
  // Only one row goes through the head: it is looked up like an embedding.
  hidden = dure_embedding(p, dure_tensor_reshape(p, hidden, 2, flat), step->last);  // [1, C]
  dure_tensor copy[DURE_MAX_OPERANDS] = {dure_decoder_logits(decoder, hidden), logits};
  dure_program_call(p, DURE_OP_copy, copy, NULL, 0);

  t->places[t->place_count++] = (dure_place){table, session->block_table, 0};
  t->places[t->place_count++] = (dure_place){logits, session->logits, 0};
  const dure_compile_options options = {.label = step->count == 1 ? "decode" : "prefill"};
  return dure_model_compile(session->model, p, t->places, t->place_count, &options, &step->executable);
}

static dure_status compile_step(dure_session *session, step_program *step, uint32_t count) {
  dure_model *model = session->model;
  step->count = count;
  dure_decoder decoder = {0};
  step_tensors t = {
      .caches = calloc(2 * (size_t)model->config.layer_count + 1, sizeof(dure_tensor)),
      .places = calloc(2 * (size_t)model->config.layer_count + model->layout.pool_count + 8, sizeof(dure_place)),
  };
  dure_program *program = dure_program_create();
  dure_status status = NULL;
  if (t.caches == NULL || t.places == NULL || program == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a model");
  }
  if (status == NULL)
    status = dure_decoder_create(program, &model->config, &model->layout, dure_model_dtype(model), session->positions,
                                 &decoder);
  if (status == NULL) {
    dure_parameter_pools_place(&model->weights, decoder.pools, t.places);
    t.place_count = model->layout.pool_count;
    status = record_step(session, step, program, &decoder, &t);
  }
  dure_decoder_clear(&decoder);
  dure_program_destroy(program);
  free(t.caches);
  free(t.places);
  return status;
}

static dure_status compile_sampler(dure_session *session) {
  dure_program *p = dure_program_create();
  if (p == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a sampler");
  const uint64_t one = 1, settings = DURE_SAMPLE_COUNT, words = 4;
  const uint64_t logits_shape[2] = {1, session->model->config.vocabulary_size};
  dure_tensor logits = dure_tensor_external(p, "logits", DURE_DTYPE_F32, 2, logits_shape, DURE_LIFETIME_INPUT);
  session->settings = dure_tensor_external(p, "sampling", DURE_DTYPE_F32, 1, &settings, DURE_LIFETIME_INPUT);
  session->random = dure_tensor_external(p, "random", DURE_DTYPE_U32, 1, &words, DURE_LIFETIME_INPUT);
  session->drawn = dure_tensor_external(p, "token", DURE_DTYPE_U32, 1, &one, DURE_LIFETIME_OUTPUT);
  dure_tensor operands[DURE_MAX_OPERANDS] = {logits, session->settings, session->random, session->drawn};
  const dure_op_attributes attributes = {.sample = {.candidate_count = session->options.candidate_count}};
  dure_program_call(p, DURE_OP_sample, operands, &attributes, 0);
  const dure_place place = {logits, session->logits, 0};
  const dure_compile_options options = {.label = "sample"};
  dure_status status = dure_program_compile(p, session->model->device, &place, 1, &options, &session->sampler);
  dure_program_destroy(p);
  return status;
}

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status choose_options(dure_session *session, const dure_session_options *options) {
  const dure_model_config *config = &session->model->config;
  session->options = *options;
  if (session->options.capacity == 0) session->options.capacity = config->context_length;
  if (session->options.chunk == 0) session->options.chunk = 64;
  if (session->options.block_size == 0) session->options.block_size = 16;
  if (session->options.chunk > session->options.capacity) session->options.chunk = session->options.capacity;
  if (session->options.capacity > config->context_length) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%u tokens are more than the model's %u positions",
                     session->options.capacity, config->context_length);
  }
  if (session->options.candidate_count > config->vocabulary_size) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "the tokenizer has %u tokens, but the model only %u: they do not belong together",
                     session->options.candidate_count, config->vocabulary_size);
  }
  // The last chunk of a prompt may be padded beyond the capacity: its rows must have a place too.
  const uint64_t positions = (uint64_t)session->options.capacity + session->options.chunk;
  session->blocks = (positions + session->options.block_size - 1) / session->options.block_size;
  session->positions = positions < config->context_length ? (uint32_t)positions : config->context_length;
  return NULL;
}

static dure_status upload_block_table(dure_session *session) {
  // One sequence owns the whole cache, so its blocks lie in order.
  uint32_t *table = malloc(session->blocks * sizeof(*table));
  if (table == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a block table");
  for (uint64_t i = 0; i < session->blocks; i++) table[i] = (uint32_t)i;
  dure_status status =
      dure_stream_upload(session->model->stream, session->block_table, 0, table, session->blocks * sizeof(*table));
  free(table);
  return status;
}

static dure_status allocate(dure_session *session) {
  dure_device *device = session->model->device;
  const dure_model_config *config = &session->model->config;
  const uint64_t layer_elements =
      session->blocks * session->options.block_size * config->key_head_count * config->head_width;
  const uint64_t element_size = dure_dtype_size(dure_model_dtype(session->model));
  const uint64_t layer_bytes = (layer_elements * element_size + 3) / 4 * 4;  // whole words
  session->caches = calloc(2 * (size_t)config->layer_count, sizeof(*session->caches));
  if (session->caches == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a KV cache");
  for (uint32_t i = 0; i < 2 * config->layer_count; i++) {
    DURE_TRY(dure_buffer_create(device, layer_bytes, DURE_MEMORY_DEVICE, "KV cache", &session->caches[i]));
  }
  DURE_TRY(dure_buffer_create(device, session->blocks * sizeof(uint32_t), DURE_MEMORY_DEVICE, "block table",
                              &session->block_table));
  DURE_TRY(dure_buffer_create(device, (uint64_t)config->vocabulary_size * sizeof(float), DURE_MEMORY_DEVICE, "logits",
                              &session->logits));
  return upload_block_table(session);
}

dure_status dure_session_create(dure_model *model, const dure_session_options *options, dure_session **out_session) {
  *out_session = NULL;
  dure_session *session = calloc(1, sizeof(*session));
  if (session == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to decode");
  session->model = model;
  dure_status status = choose_options(session, options);
  if (status == NULL) status = allocate(session);
  if (status == NULL) status = compile_step(session, &session->token, 1);
  if (status == NULL && session->options.chunk > 1)
    status = compile_step(session, &session->prompt, session->options.chunk);
  if (status == NULL) status = compile_sampler(session);
  if (status != NULL) {
    dure_session_destroy(session);
    return status;
  }
  *out_session = session;
  return NULL;
}

void dure_session_destroy(dure_session *session) {
  if (session == NULL) return;
  dure_status_free(dure_stream_wait(session->model->stream, 0));
  dure_executable_destroy(session->sampler);
  dure_executable_destroy(session->prompt.executable);
  dure_executable_destroy(session->token.executable);
  for (uint32_t i = 0; session->caches != NULL && i < 2 * session->model->config.layer_count; i++) {
    dure_buffer_destroy(session->caches[i]);
  }
  free(session->caches);
  dure_buffer_destroy(session->block_table);
  dure_buffer_destroy(session->logits);
  free(session);
}

uint32_t dure_session_length(const dure_session *session) { return session->length; }
uint32_t dure_session_capacity(const dure_session *session) { return session->options.capacity; }
void dure_session_reset(dure_session *session) { session->length = 0; }

// ---- decoding ----------------------------------------------------------------------------------------------------

// Takes `count` <= step->count tokens. The rest of the program's rows are padding: they write cache rows that later
// tokens overwrite before anything reads them.
static dure_status run_step(dure_session *session, const step_program *step, const uint32_t *tokens, uint32_t count) {
  dure_stream *stream = session->model->stream;
  const uint32_t last_position = session->positions - 1;
  uint32_t *ids = calloc(2 * (size_t)step->count, sizeof(*ids));
  if (ids == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory decoding");
  uint32_t *positions = ids + step->count;
  memcpy(ids, tokens, count * sizeof(*ids));
  for (uint32_t i = 0; i < step->count; i++) {
    uint32_t position = session->length + i;
    positions[i] = position < last_position ? position : last_position;
  }
  const uint32_t last = count - 1;
  const uint64_t size = step->count * sizeof(*ids);
  dure_status status = dure_executable_write(step->executable, stream, step->tokens, ids, size);
  if (status == NULL) status = dure_executable_write(step->executable, stream, step->positions, positions, size);
  if (status == NULL) {
    status = dure_executable_write(step->executable, stream, step->lengths, &session->length, sizeof(session->length));
  }
  if (status == NULL) status = dure_executable_write(step->executable, stream, step->last, &last, sizeof(last));
  if (status == NULL) status = dure_executable_submit(step->executable, stream);
  free(ids);
  DURE_TRY(status);
  session->length += count;
  return NULL;
}

dure_status dure_session_append(dure_session *session, const uint32_t *tokens, uint32_t count) {
  if (count > session->options.capacity - session->length) {
    return dure_fail(DURE_INVALID_ARGUMENT, "%u tokens after %u are more than the %u that fit", count, session->length,
                     session->options.capacity);
  }
  for (uint32_t i = 0; i < count; i++) {
    if (tokens[i] >= session->model->config.vocabulary_size) {
      return dure_fail(DURE_INVALID_ARGUMENT, "token %u (number %u) is not below the model's vocabulary of %u",
                       tokens[i], i, session->model->config.vocabulary_size);
    }
  }
  for (uint32_t done = 0; done < count;) {
    const step_program *step =
        count - done > 1 && session->prompt.executable != NULL ? &session->prompt : &session->token;
    uint32_t taken = count - done < step->count ? count - done : step->count;
    DURE_TRY(run_step(session, step, tokens + done, taken));
    done += taken;
  }
  return NULL;
}

static dure_status check_has_logits(const dure_session *session) {
  if (session->length > 0) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "there is no token to continue from; append at least one first");
}

dure_status dure_session_logits(dure_session *session, float *out_logits) {
  DURE_TRY(check_has_logits(session));
  return dure_stream_download(session->model->stream, session->logits, 0, out_logits,
                              (uint64_t)session->model->config.vocabulary_size * sizeof(float), NULL);
}

dure_status dure_session_sample(dure_session *session, const dure_sampling *sampling, uint32_t *out_token) {
  *out_token = 0;
  DURE_TRY(check_has_logits(session));
  dure_stream *stream = session->model->stream;
  float settings[DURE_SAMPLE_COUNT] = {0};
  settings[DURE_SAMPLE_TEMPERATURE] = sampling->temperature;
  settings[DURE_SAMPLE_TOP_K] = (float)sampling->top_k;
  settings[DURE_SAMPLE_TOP_P] = sampling->top_p;
  settings[DURE_SAMPLE_MIN_P] = sampling->min_p;
  settings[DURE_SAMPLE_TYPICAL_P] = sampling->typical_p;
  const uint32_t random[4] = {(uint32_t)sampling->seed, (uint32_t)(sampling->seed >> 32), session->length, 0};
  DURE_TRY(dure_executable_write(session->sampler, stream, session->settings, settings, sizeof(settings)));
  DURE_TRY(dure_executable_write(session->sampler, stream, session->random, random, sizeof(random)));
  DURE_TRY(dure_executable_submit(session->sampler, stream));
  DURE_TRY(dure_executable_read(session->sampler, stream, session->drawn, out_token, sizeof(*out_token)));
  if (*out_token >= session->model->config.vocabulary_size) {
    return dure_fail(DURE_NOT_FINITE, "no token could be drawn after %u tokens: the logits are not finite",
                     session->length);
  }
  return NULL;
}
