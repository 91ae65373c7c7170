#include "model/engine.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "model/engine_internal.h"
#include "runtime/os.h"

const char *dure_finish_name(dure_finish finish) {
  static const char *const names[] = {"not_yet",   "end",        "length", "context",
                                      "cancelled", "not_finite", "failed", "grammar"};
  return names[finish];
}

// ---- life --------------------------------------------------------------------------------------------------------

// The positions that the widest layer sees, or `widest` if that is more; 0 when one sees all.
static uint32_t widest_window(const dure_model_config *config, uint32_t widest) {
  for (uint32_t layer = 0; layer < config->layer_count; layer++) {
    const uint32_t window = dure_model_config_window(config, layer);
    if (window == 0) return 0;
    if (window > widest) widest = window;
  }
  return widest;
}

static dure_status check_options(const dure_model_config *config, const dure_engine_options *o) {
  if (o->sequences > DURE_ENGINE_SEQUENCES_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "at most %d sequences run together, %u were asked for",
                     DURE_ENGINE_SEQUENCES_MOST, o->sequences);
  if (o->context > config->context_length)
    return dure_fail(DURE_INVALID_ARGUMENT, "%u tokens are more than the model's %u positions", o->context,
                     config->context_length);
  if (o->candidate_count > config->vocabulary_size)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "the tokenizer has %u tokens, but the model only %u: they do not belong together",
                     o->candidate_count, config->vocabulary_size);
  if (o->speculation.proposals > DURE_ENGINE_PROPOSALS_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "at most %d tokens are proposed at once, %u were asked for",
                     DURE_ENGINE_PROPOSALS_MOST, o->speculation.proposals);
  return NULL;
}

static uint64_t least_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

// Blocks of the cache: as many as could be used, but not more than half of what is free, and one binding, hold; of a
// draft model's cache (NULL: none) beside it as many.
static dure_status choose_cache(const dure_model *model, const dure_model *draft, const engine_sizes *sizes,
                                uint64_t *out_blocks) {
  const dure_model *const models[] = {model, draft};
  uint64_t used, peak, available, bytes = 0, bound = UINT64_MAX;
  DURE_TRY(dure_device_memory(model->device, &used, &peak, &available));
  for (int i = 0; i < 2 && models[i] != NULL; i++) {
    const uint64_t own = engine_cache_token_bytes(models[i], sizes->cache_type) * sizes->block_size;
    const uint64_t bindings = 2 * models[i]->config.layer_count;
    bound = least_of(bound, models[i]->device->info.limits.max_binding_bytes / (own / bindings));
    bytes += own;
  }
  const uint64_t fit = least_of(available / 2 / bytes, bound);
  *out_blocks =
      least_of((uint64_t)sizes->sequences * sizes->blocks_per_sequence, fit > 0 ? fit - 1 : 0);  // and block 0
  return NULL;
}

// Of a decoding step: with speculation each sequence may have one for every token proposed.
static uint32_t rows_of(const dure_engine_options *o, uint32_t sequences) {
  const dure_engine_speculation *s = &o->speculation;
  if (!s->looks_up && s->draft == NULL) return sequences;
  const uint32_t most = sequences * (1 + (s->proposals > 0 ? s->proposals : ENGINE_PROPOSALS));
  return most < DURE_ENGINE_SEQUENCES_MOST ? most : DURE_ENGINE_SEQUENCES_MOST;
}

static dure_status choose_sizes(const dure_model *model, const dure_engine_options *o, engine_sizes *sizes) {
  const dure_model_config *config = &model->config;
  DURE_TRY(check_options(config, o));
  sizes->sequences = o->sequences > 0 ? o->sequences : 8;
  sizes->rows = rows_of(o, sizes->sequences);
  sizes->context = o->context > 0 ? o->context : config->context_length;
  sizes->chunk = o->chunk > 0 && o->chunk < 512 ? o->chunk : 512;
  sizes->block_size = o->block_size > 0 ? o->block_size : 16;
  sizes->candidate_count = o->candidate_count;
  sizes->cache_type = o->cache_type != DURE_DTYPE_NONE ? o->cache_type : dure_model_dtype(model);
  if (sizes->cache_type == DURE_DTYPE_U8 && config->head_width % DURE_QUANTIZED_BLOCK != 0)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "a q8_0 cache has blocks of %d elements, and this model's heads have %u: take f16 or bf16",
                     DURE_QUANTIZED_BLOCK, config->head_width);
  sizes->blocks_per_sequence = (sizes->context + sizes->block_size - 1) / sizes->block_size;
  uint64_t blocks = (o->cache_tokens + sizes->block_size - 1) / sizes->block_size;
  if (blocks == 0) DURE_TRY(choose_cache(model, o->speculation.draft, sizes, &blocks));
  sizes->block_count = (uint32_t)least_of(blocks, UINT32_MAX / 4);
  if (sizes->block_count > 0) return NULL;
  return dure_fail(DURE_OUT_OF_MEMORY, "there is no memory left for a cache of even one block of %u tokens",
                   sizes->block_size);
}

dure_status dure_engine_create(dure_model *model, const dure_engine_options *options, dure_engine **out_engine) {
  *out_engine = NULL;
  engine_sizes sizes = {0};
  DURE_TRY(choose_sizes(model, options, &sizes));
  dure_engine *engine = calloc(1, sizeof(*engine));
  if (engine == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for an engine");
  engine->model = model;
  engine->options = *options;
  engine->queue = options->queue > 0 ? options->queue : 1024;
  engine->candidates = sizes.candidate_count > 0 ? sizes.candidate_count : model->config.vocabulary_size;
  engine->window = widest_window(&model->config, 0);
  if (options->speculation.draft != NULL && engine->window > 0)
    engine->window = widest_window(&options->speculation.draft->config, engine->window);
  engine->record = speculation_record_begin();
  engine->mask_words = engine_mask_words(model);
  engine->scratch = malloc((size_t)model->config.vocabulary_size * sizeof(float));
  dure_status status = NULL;
  if (engine->scratch == NULL || pthread_mutex_init(&engine->mutex, NULL) != 0) {
    free(engine->scratch);
    free(engine);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for an engine");
  }
  status = dure_cache_blocks_create(sizes.block_count, &engine->blocks);
  if (status == NULL) status = engine_programs_create(model, &sizes, &engine->programs);
  if (status == NULL && options->speculation.draft != NULL)
    status = engine_draft_create(options->speculation.draft, model, &engine->programs.sizes, engine->candidates,
                                 &engine->draft);
  if (status != NULL) {
    dure_engine_destroy(engine);
    return status;
  }
  *out_engine = engine;
  return NULL;
}

void dure_engine_destroy(dure_engine *engine) {
  if (engine == NULL) return;
  engine_programs_clear(&engine->programs);
  engine_draft_destroy(engine->draft);
  dure_cache_blocks_destroy(engine->blocks);
  while (engine->sequences != NULL) {
    engine_sequence *next = engine->sequences->next;
    engine_sequence_destroy(engine->sequences);
    engine->sequences = next;
  }
  pthread_mutex_destroy(&engine->mutex);
  free(engine->scratch);
  free(engine);
}

dure_status dure_engine_prepare(dure_engine *engine, uint32_t sequences) {
  const uint32_t most = engine->programs.sizes.rows, rows = engine_speculates(engine) ? most : sequences;
  DURE_TRY(engine_programs_prepare(&engine->programs, rows));
  return engine->draft != NULL ? engine_draft_prepare(engine->draft, sequences) : NULL;
}

uint32_t dure_engine_context(const dure_engine *engine) { return engine->programs.sizes.context; }
uint32_t dure_engine_sequences(const dure_engine *engine) { return engine->programs.sizes.sequences; }
uint32_t dure_engine_block_size(const dure_engine *engine) { return engine->programs.sizes.block_size; }

// ---- requests ----------------------------------------------------------------------------------------------------

static dure_status check_sampling(const dure_request *r) {
  const dure_sampling *s = &r->sampling;
  if (!(s->temperature >= 0) || isinf(s->temperature))
    return dure_fail(DURE_INVALID_ARGUMENT, "temperature must be at least 0 (0: always the likeliest token)");
  if (!(s->top_p > 0 && s->top_p <= 1) && s->temperature > 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "top_p must be above 0 and at most 1");
  if (!(s->min_p >= 0 && s->min_p <= 1))
    return dure_fail(DURE_INVALID_ARGUMENT, "min_p must be at least 0 and at most 1");
  if (!(s->typical_p >= 0 && s->typical_p <= 1))
    return dure_fail(DURE_INVALID_ARGUMENT, "typical_p must be at least 0 and at most 1 (0 or 1: all)");
  if (!(r->repetition_penalty >= 0) || !isfinite(r->repetition_penalty) || !isfinite(r->presence_penalty) ||
      !isfinite(r->frequency_penalty))
    return dure_fail(DURE_INVALID_ARGUMENT, "penalties must be numbers, the repetition penalty at least 0 (0: none)");
  return NULL;
}

static dure_status check_tokens(const dure_engine *engine, const dure_request *r) {
  const uint32_t vocabulary = engine->model->config.vocabulary_size;
  if (r->count == 0) return dure_fail(DURE_INVALID_ARGUMENT, "a prompt needs at least one token");
  for (uint32_t i = 0; i < r->count; i++) {
    if (r->tokens[i] >= vocabulary)
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "token %u (number %u of the prompt) is not below the model's vocabulary of %u", r->tokens[i], i,
                       vocabulary);
  }
  if (r->bias_count > DURE_ENGINE_BIASES_MOST || r->alternatives > DURE_ENGINE_ALTERNATIVES_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "at most %d biases and %d alternatives are possible",
                     DURE_ENGINE_BIASES_MOST, DURE_ENGINE_ALTERNATIVES_MOST);
  for (uint32_t i = 0; i < r->bias_count; i++) {
    if (r->biases[i].token >= vocabulary || !isfinite(r->biases[i].bias))
      return dure_fail(DURE_INVALID_ARGUMENT, "a bias must be a number for a token below the model's vocabulary of %u",
                       vocabulary);
  }
  return NULL;
}

// Whether it can run to its end in an empty cache.
static dure_status check_room(const dure_engine *engine, const dure_request *r) {
  const engine_sizes *sizes = &engine->programs.sizes;
  const uint64_t whole = (uint64_t)r->count + r->most_tokens;
  if (r->overflow != DURE_OVERFLOW_SHIFT && r->count > sizes->context)
    return dure_fail(DURE_INVALID_ARGUMENT, "the prompt has %u tokens, the context is %u; shorten the prompt", r->count,
                     sizes->context);
  if (r->overflow == DURE_OVERFLOW_REFUSE && whole > sizes->context)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "%u tokens of the prompt and %u to generate are more than the context of %u; ask for fewer",
                     r->count, r->most_tokens, sizes->context);
  if (r->scores_prompt && r->count > sizes->context)
    return dure_fail(DURE_INVALID_ARGUMENT, "a prompt of %u tokens cannot be scored in a context of %u", r->count,
                     sizes->context);
  uint64_t held = least_of(whole, sizes->context);
  if (engine->window > 0) held = least_of(held, (uint64_t)engine->window + sizes->chunk + 2 * sizes->block_size);
  if ((held + sizes->block_size - 1) / sizes->block_size <= sizes->block_count) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT,
                   "the request may need %llu tokens of cache, which has %llu in all; ask for fewer",
                   (unsigned long long)held, (unsigned long long)sizes->block_count * sizes->block_size);
}

dure_status dure_engine_submit(dure_engine *engine, const dure_request *request, uint64_t *out_id) {
  *out_id = 0;
  DURE_TRY(check_tokens(engine, request));
  DURE_TRY(check_sampling(request));
  DURE_TRY(check_room(engine, request));
  engine_sequence *sequence = NULL;
  DURE_TRY(engine_sequence_create(request, engine->programs.sizes.blocks_per_sequence, &sequence));
  sequence->is_waiting = true;
  sequence->progress.submitted = dure_os_nanoseconds();
  pthread_mutex_lock(&engine->mutex);
  const bool is_full = engine->waiting_count >= engine->queue;
  if (is_full) {
    engine->statistics.refused++;
  } else {
    engine->statistics.submitted++;
    engine->waiting_count++;
    sequence->record = engine->record;
    sequence->id = *out_id = ++engine->last_id;
    sequence->next = engine->sequences;
    engine->sequences = sequence;
  }
  pthread_mutex_unlock(&engine->mutex);
  if (!is_full) return NULL;
  engine_sequence_destroy(sequence);
  return dure_fail(DURE_UNSUPPORTED, "%u requests are waiting already; try again later", engine->queue);
}

// With the mutex held.
static engine_sequence *find(const dure_engine *engine, uint64_t id) {
  engine_sequence *sequence = engine->sequences;
  while (sequence != NULL && (sequence->id != id || sequence->is_released)) sequence = sequence->next;
  return sequence;
}

static dure_status unknown_request(uint64_t id) {
  return dure_fail(DURE_NOT_FOUND, "there is no request %llu", (unsigned long long)id);
}

dure_status dure_engine_poll(dure_engine *engine, uint64_t id, uint32_t first, dure_scored_token *out_tokens,
                             uint32_t capacity, uint32_t *out_count, dure_request_progress *out_progress) {
  *out_progress = (dure_request_progress){0};
  uint32_t count = 0;
  pthread_mutex_lock(&engine->mutex);
  const engine_sequence *sequence = find(engine, id);
  if (sequence != NULL) {
    *out_progress = sequence->progress;
    const uint32_t generated = sequence->progress.generated_count;
    if (first < generated) count = generated - first < capacity ? generated - first : capacity;
    if (out_tokens != NULL && count > 0) memcpy(out_tokens, sequence->generated + first, count * sizeof(*out_tokens));
  }
  pthread_mutex_unlock(&engine->mutex);
  if (out_count != NULL) *out_count = count;
  return sequence != NULL ? NULL : unknown_request(id);
}

dure_status dure_engine_alternatives(dure_engine *engine, uint64_t id, uint32_t index, dure_scored_token *out_tokens,
                                     uint32_t *out_count) {
  *out_count = 0;
  pthread_mutex_lock(&engine->mutex);
  const engine_sequence *sequence = find(engine, id);
  if (sequence != NULL && index < sequence->progress.generated_count) {
    const uint32_t most = sequence->request.alternatives;
    *out_count = most < engine->candidates ? most : engine->candidates;
    if (most > 0) memcpy(out_tokens, sequence->alternatives + (size_t)index * most, *out_count * sizeof(*out_tokens));
  }
  pthread_mutex_unlock(&engine->mutex);
  return sequence != NULL ? NULL : unknown_request(id);
}

dure_status dure_engine_prompt_scores(dure_engine *engine, uint64_t id, float *out_log_probabilities) {
  pthread_mutex_lock(&engine->mutex);
  const engine_sequence *sequence = find(engine, id);
  const bool is_scored =
      sequence != NULL && sequence->prompt_scores != NULL && sequence->scored == sequence->progress.prompt_count;
  if (is_scored)
    memcpy(out_log_probabilities, sequence->prompt_scores, sequence->scored * sizeof(*out_log_probabilities));
  pthread_mutex_unlock(&engine->mutex);
  if (sequence == NULL) return unknown_request(id);
  return is_scored ? NULL : dure_fail(DURE_INVALID_ARGUMENT, "the prompt is not scored, or not yet");
}

dure_status dure_engine_prompt_alternatives(dure_engine *engine, uint64_t id, uint32_t index,
                                            dure_scored_token *out_tokens, uint32_t *out_count) {
  *out_count = 0;
  pthread_mutex_lock(&engine->mutex);
  const engine_sequence *sequence = find(engine, id);
  const bool is_scored = sequence != NULL && sequence->prompt_scores != NULL && index < sequence->scored;
  if (is_scored && index > 0) {
    const uint32_t most = sequence->request.alternatives;
    *out_count = most < engine->candidates ? most : engine->candidates;
    if (most > 0)
      memcpy(out_tokens, sequence->prompt_alternatives + (size_t)index * most, *out_count * sizeof(*out_tokens));
  }
  pthread_mutex_unlock(&engine->mutex);
  if (sequence == NULL) return unknown_request(id);
  return is_scored ? NULL : dure_fail(DURE_INVALID_ARGUMENT, "token %u of the prompt is not scored, or not yet", index);
}

void dure_engine_cancel(dure_engine *engine, uint64_t id) {
  pthread_mutex_lock(&engine->mutex);
  engine_sequence *sequence = find(engine, id);
  if (sequence != NULL) sequence->is_cancelled = true;
  pthread_mutex_unlock(&engine->mutex);
}

void dure_engine_release(dure_engine *engine, uint64_t id) {
  pthread_mutex_lock(&engine->mutex);
  engine_sequence *sequence = find(engine, id);
  if (sequence != NULL) sequence->is_cancelled = sequence->is_released = true;
  pthread_mutex_unlock(&engine->mutex);
}

dure_engine_statistics dure_engine_statistics_get(dure_engine *engine) {
  pthread_mutex_lock(&engine->mutex);
  dure_engine_statistics found = engine->statistics;
  found.waiting = engine->waiting_count;
  found.running = engine->running_count;
  found.blocks = dure_cache_blocks_count(engine->blocks);
  found.blocks_used = found.blocks - dure_cache_blocks_free(engine->blocks);
  found.blocks_kept = dure_cache_blocks_kept(engine->blocks);
  pthread_mutex_unlock(&engine->mutex);
  return found;
}
