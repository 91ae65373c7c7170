#include "model/engine.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "model/engine_sequence.h"
#include "runtime/os.h"

struct dure_engine {
  dure_model *model;
  dure_engine_options options;
  uint32_t queue, candidates, mask_words;
  uint32_t window;  // positions that any layer sees; 0: all
  engine_programs programs;
  float *scratch;  // [vocabulary]

  pthread_mutex_t mutex;  // over what follows, and over the sequences; never held while the device runs
  dure_cache_blocks *blocks;
  engine_sequence *sequences;  // of all requests, the newest first
  engine_sequence *running[DURE_ENGINE_SEQUENCES_MOST];
  uint32_t running_count, waiting_count;
  uint64_t last_id;
  dure_engine_statistics statistics;
};

const char *dure_finish_name(dure_finish finish) {
  static const char *const names[] = {"not_yet",   "end",        "length", "context",
                                      "cancelled", "not_finite", "failed", "grammar"};
  return names[finish];
}

// ---- life --------------------------------------------------------------------------------------------------------

// The positions that the widest layer sees; 0 when one sees all.
static uint32_t widest_window(const dure_model_config *config) {
  uint32_t widest = 0;
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
  return NULL;
}

static uint64_t least_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

// Blocks of the cache: as many as could be used, but not more than half of what is free, and one binding, hold.
static dure_status choose_cache(const dure_model *model, const engine_sizes *sizes, uint64_t *out_blocks) {
  uint64_t used, peak, available;
  DURE_TRY(dure_device_memory(model->device, &used, &peak, &available));
  const uint64_t block_bytes = engine_cache_token_bytes(model, sizes->cache_type) * sizes->block_size;
  const uint64_t bound = model->device->info.limits.max_binding_bytes / (block_bytes / (2 * model->config.layer_count));
  const uint64_t fit = least_of(available / 2 / block_bytes, bound);
  *out_blocks =
      least_of((uint64_t)sizes->sequences * sizes->blocks_per_sequence, fit > 0 ? fit - 1 : 0);  // and block 0
  return NULL;
}

static dure_status choose_sizes(const dure_model *model, const dure_engine_options *o, engine_sizes *sizes) {
  const dure_model_config *config = &model->config;
  DURE_TRY(check_options(config, o));
  sizes->sequences = o->sequences > 0 ? o->sequences : 8;
  sizes->context = o->context > 0 ? o->context : config->context_length;
  sizes->chunk = o->chunk > 0 ? o->chunk : 512;
  sizes->block_size = o->block_size > 0 ? o->block_size : 16;
  sizes->candidate_count = o->candidate_count;
  sizes->cache_type = o->cache_type != DURE_DTYPE_NONE ? o->cache_type : dure_model_dtype(model);
  if (sizes->cache_type == DURE_DTYPE_U8 && config->head_width % DURE_QUANTIZED_BLOCK != 0)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "a q8_0 cache has blocks of %d elements, and this model's heads have %u: take f16 or bf16",
                     DURE_QUANTIZED_BLOCK, config->head_width);
  sizes->blocks_per_sequence = (sizes->context + sizes->block_size - 1) / sizes->block_size;
  uint64_t blocks = (o->cache_tokens + sizes->block_size - 1) / sizes->block_size;
  if (blocks == 0) DURE_TRY(choose_cache(model, sizes, &blocks));
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
  engine->window = widest_window(&model->config);
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
  return engine_programs_prepare(&engine->programs, sequences);
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
                             uint32_t capacity, uint32_t *out_count, dure_progress *out_progress) {
  *out_progress = (dure_progress){0};
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

// ---- the cache ---------------------------------------------------------------------------------------------------
// From here on: on the device's thread, with the mutex held unless said otherwise.

// Later blocks go first, so that of a long text the beginning stays findable longest.
static void drop_blocks(dure_engine *engine, engine_sequence *s) {
  while (s->block_count > 0) dure_cache_blocks_drop(engine->blocks, s->blocks[--s->block_count]);
  s->cached = s->keyed_count = 0;
  s->key = (dure_block_key){0};
}

// Blocks that hold what the prompt begins with; at least its last token is left to compute.
static void reuse_blocks(dure_engine *engine, engine_sequence *s) {
  const uint32_t size = engine->programs.sizes.block_size;
  if (engine->options.forgets_prefixes || s->prompt_scores != NULL) return;
  while ((s->block_count + 1) * size < s->count) {
    const dure_block_key key = dure_block_key_of(s->key, s->tokens + s->block_count * size, size);
    const uint32_t block = dure_cache_blocks_find(engine->blocks, key);
    if (block == 0) break;
    s->blocks[s->block_count++] = block;
    s->keyed_count++;
    s->key = key;
  }
  s->cached = s->block_count * size;
  const bool is_first_time = s->progress.generated_count == 0 && s->progress.reused_count == 0;
  if (!is_first_time) return;
  s->progress.reused_count = s->cached;
  engine->statistics.reused_tokens += s->cached;
}

// Makes what has become full findable.
static void publish_blocks(dure_engine *engine, engine_sequence *s) {
  const uint32_t size = engine->programs.sizes.block_size;
  if (engine->options.forgets_prefixes) return;
  for (; (s->keyed_count + 1) * size <= s->cached; s->keyed_count++) {
    s->key = dure_block_key_of(s->key, s->tokens + s->keyed_count * size, size);
    if (s->blocks[s->keyed_count] != 0) dure_cache_blocks_publish(engine->blocks, s->blocks[s->keyed_count], s->key);
  }
}

// Blocks that no layer will look at any more.
static void leave_window(dure_engine *engine, engine_sequence *s) {
  const uint32_t size = engine->programs.sizes.block_size;
  if (engine->window == 0 || s->cached < engine->window) return;
  const uint32_t outside = (s->cached + 1 - engine->window) / size;
  for (uint32_t i = outside; i-- > 0 && s->blocks[i] != 0;) {
    dure_cache_blocks_drop(engine->blocks, s->blocks[i]);
    s->blocks[i] = 0;
  }
}

// Blocks for tokens up to `count`; false when there are none left.
static bool extend_blocks(dure_engine *engine, engine_sequence *s, uint32_t count) {
  const uint32_t size = engine->programs.sizes.block_size;
  while (s->block_count * size < count) {
    const uint32_t block = dure_cache_blocks_take(engine->blocks);
    if (block == 0) return false;
    s->blocks[s->block_count++] = block;
  }
  return true;
}

// ---- who runs ----------------------------------------------------------------------------------------------------

static bool is_scoring(const engine_sequence *s) {
  return s->prompt_scores != NULL && s->scored < s->progress.prompt_count;
}

static void stop_running(dure_engine *engine, engine_sequence *s) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < engine->running_count; i++) {
    if (engine->running[i] != s) engine->running[kept++] = engine->running[i];
  }
  engine->running_count = kept;
  drop_blocks(engine, s);
  if (is_scoring(s)) s->scored = 1;
}

static void finish(dure_engine *engine, engine_sequence *s, dure_finish how) {
  if (s->progress.finish != DURE_FINISH_NOT_YET) return;
  if (s->is_waiting) engine->waiting_count--;
  s->is_waiting = false;
  stop_running(engine, s);
  s->progress.is_running = false;
  s->progress.finish = how;
  engine_sequence_leave_grammar(s);
  engine->statistics.finished++;
  if (how == DURE_FINISH_CANCELLED) engine->statistics.cancelled++;
}

// Makes the youngest wait again; it keeps its place at the head of the queue, being older than all that wait.
static void preempt_youngest(dure_engine *engine) {
  engine_sequence *youngest = engine->running[0];
  for (uint32_t i = 1; i < engine->running_count; i++) {
    if (engine->running[i]->id > youngest->id) youngest = engine->running[i];
  }
  stop_running(engine, youngest);
  youngest->is_waiting = true;
  youngest->progress.is_running = false;
  engine->waiting_count++;
  engine->statistics.preempted++;
}

// Ends what was cancelled, and forgets what was released.
static void sweep(dure_engine *engine) {
  for (engine_sequence **place = &engine->sequences; *place != NULL;) {
    engine_sequence *s = *place;
    if (s->is_cancelled) finish(engine, s, DURE_FINISH_CANCELLED);
    if (s->is_released) {
      *place = s->next;
      engine_sequence_destroy(s);
    } else {
      place = &s->next;
    }
  }
}

// Forgets the oldest quarter of the context; the rest will be computed again.
static void shift(dure_engine *engine, engine_sequence *s) {
  const uint32_t kept = engine->programs.sizes.context - engine->programs.sizes.context / 4 - 1;
  if (s->count <= kept) return;
  const uint32_t dropped = s->count - kept;
  drop_blocks(engine, s);
  memmove(s->tokens, s->tokens + dropped, kept * sizeof(*s->tokens));
  s->count = kept;
  s->prompt_left = s->prompt_left > dropped ? s->prompt_left - dropped : 0;
}

static engine_sequence *oldest_waiting(const dure_engine *engine) {
  engine_sequence *oldest = NULL;
  for (engine_sequence *s = engine->sequences; s != NULL; s = s->next) {
    if (s->is_waiting) oldest = s;  // the newest come first
  }
  return oldest;
}

// Ends a sequence that has all its tokens, or makes room for more.
static void check_length(dure_engine *engine, engine_sequence *s) {
  if (s->progress.finish != DURE_FINISH_NOT_YET) return;
  if (s->progress.generated_count >= s->request.most_tokens) {
    finish(engine, s, DURE_FINISH_LENGTH);
  } else if (s->count > engine->programs.sizes.context) {
    if (s->request.overflow == DURE_OVERFLOW_SHIFT) {
      shift(engine, s);
    } else {
      finish(engine, s, DURE_FINISH_CONTEXT);
    }
  }
}

// What a sequence with a grammar may draw next; ends it where that is nothing. Without the mutex, since a mask can take
// a tenth of a second.
static void constrain(dure_engine *engine, engine_sequence *s) {
  bool goes_on = true, is_whole = false;
  pthread_mutex_unlock(&engine->mutex);
  dure_status status = engine_sequence_constrain(s, engine->mask_words, &goes_on, &is_whole);
  pthread_mutex_lock(&engine->mutex);
  if (status != NULL || !goes_on) finish(engine, s, status == NULL && is_whole ? DURE_FINISH_END : DURE_FINISH_GRAMMAR);
  dure_status_free(status);  // of this request alone; the others go on
  if (s->progress.generated_count > 0) check_length(engine, s);
}

// All that begin, and all that have a token more.
static void constrain_running(dure_engine *engine) {
  for (uint32_t i = 0; i < engine->running_count;) {
    engine_sequence *s = engine->running[i];
    if (!s->is_constrained) constrain(engine, s);
    if (i < engine->running_count && engine->running[i] == s) i++;  // else it has ended
  }
}

// In the order in which they came; the cache must have room for all that a request holds, and a block to go on.
static void admit(dure_engine *engine) {
  const engine_sizes *sizes = &engine->programs.sizes;
  while (engine->waiting_count > 0 && engine->running_count < sizes->sequences) {
    engine_sequence *s = oldest_waiting(engine);
    if (s->count > sizes->context) shift(engine, s);
    const uint32_t blocks = s->count / sizes->block_size + 1;
    const uint32_t needed = blocks < sizes->block_count ? blocks : sizes->block_count;
    if (engine->running_count > 0 && dure_cache_blocks_free(engine->blocks) < needed) return;
    reuse_blocks(engine, s);
    s->is_waiting = false;
    s->progress.is_running = true;
    if (s->progress.started == 0) s->progress.started = dure_os_nanoseconds();
    engine->waiting_count--;
    engine->running[engine->running_count++] = s;
  }
}

// ---- one step ----------------------------------------------------------------------------------------------------

// What the device is to do: for each sequence of the exchange whose it is.
typedef struct plan {
  engine_sequence *rows[DURE_ENGINE_SEQUENCES_MOST];
  uint32_t taken[DURE_ENGINE_SEQUENCES_MOST];  // tokens of each
  uint32_t count;                              // sequences
  uint32_t width, padded;                      // of the program: sequences, and tokens of each
  bool is_scored;
} plan;

static bool is_past_prompt(const engine_sequence *s) { return s->cached + 1 == s->count; }

static void write_row(dure_engine *engine, const engine_sequence *s, uint32_t row, uint32_t first, uint32_t taken,
                      uint32_t padded) {
  const engine_exchange *x = &engine->programs.exchange;
  const engine_sizes *sizes = &engine->programs.sizes;
  for (uint32_t i = 0; i < padded; i++) {
    const uint32_t position = s->cached + i;
    x->tokens[first + i] = i < taken ? s->tokens[position] : 0;
    x->positions[first + i] = position < sizes->context ? position : sizes->context - 1;
  }
  x->lengths[row] = s->cached;
  uint32_t *table = x->table + (size_t)row * sizes->blocks_per_sequence;
  memcpy(table, s->blocks, s->block_count * sizeof(*table));
  memset(table + s->block_count, 0, (sizes->blocks_per_sequence - s->block_count) * sizeof(*table));
}

// A row that is nobody's: one token in block 0.
static void write_padding(dure_engine *engine, uint32_t row) {
  const engine_exchange *x = &engine->programs.exchange;
  x->tokens[row] = x->positions[row] = x->lengths[row] = 0;
  memset(x->table + (size_t)row * engine->programs.sizes.blocks_per_sequence, 0,
         engine->programs.sizes.blocks_per_sequence * sizeof(uint32_t));
  memset(x->settings + row * DURE_SAMPLE_COUNT, 0, DURE_SAMPLE_COUNT * sizeof(float));
}

// The oldest prompt after `id` that is not taken whole; NULL: there is none.
static engine_sequence *next_prompt(const dure_engine *engine, uint64_t id) {
  engine_sequence *chosen = NULL;
  for (uint32_t i = 0; i < engine->running_count; i++) {
    engine_sequence *s = engine->running[i];
    const bool is_left = !is_past_prompt(s) || is_scoring(s);
    if (is_left && s->id > id && (chosen == NULL || s->id < chosen->id)) chosen = s;
  }
  return chosen;
}

static uint32_t tokens_left(const engine_sequence *s) { return s->count - s->cached; }

// Others whose next piece is as long as that of the first, which is in the plan, as long as there is room for them.
static void gather_prompts(dure_engine *engine, plan *p) {
  const engine_sizes *sizes = &engine->programs.sizes;
  for (engine_sequence *s = p->rows[0]; (s = next_prompt(engine, s->id)) != NULL;) {
    if (p->count == engine_prompts(sizes, p->padded, DURE_ENGINE_SEQUENCES_MOST)) break;
    const uint32_t left = tokens_left(s), taken = left < p->padded ? left : p->padded;
    if (is_scoring(s) || engine_chunk(sizes, left) != p->padded) continue;
    leave_window(engine, s);
    if (!extend_blocks(engine, s, s->cached + taken)) break;
    p->rows[p->count] = s;
    p->taken[p->count++] = taken;
  }
  p->width = engine_prompts(sizes, p->padded, p->count);
  p->count = p->width;  // the others' turn comes next
}

// A piece of the oldest prompt that is not taken whole, and of others.
static bool plan_prompts(dure_engine *engine, plan *p) {
  engine_sequence *first = next_prompt(engine, 0);
  if (first == NULL) return false;
  const uint32_t left = tokens_left(first);
  const bool scores = is_scoring(first);
  const uint32_t padded = scores ? ENGINE_SCORED : engine_chunk(&engine->programs.sizes, left);
  // What is scored ends before the last token, which is then taken like any other.
  const uint32_t most = scores ? left - 1 : left, taken = most < padded ? most : padded;
  leave_window(engine, first);
  while (!extend_blocks(engine, first, first->cached + taken)) {
    preempt_youngest(engine);
    if (!first->progress.is_running) return plan_prompts(engine, p);
  }
  *p = (plan){.rows = {first}, .taken = {taken}, .count = 1, .width = 1, .padded = padded, .is_scored = scores};
  if (!scores) gather_prompts(engine, p);
  for (uint32_t row = 0; row < p->count; row++) {
    write_row(engine, p->rows[row], row, row * padded, p->taken[row], padded);
    engine->programs.exchange.last[row] = row * padded + (p->taken[row] > 0 ? p->taken[row] - 1 : 0);
    engine_sequence_settings(p->rows[row], &engine->programs.exchange, row, engine->mask_words);
  }
  return true;
}

static bool plan_tokens(dure_engine *engine, plan *p) {
  *p = (plan){.padded = 1};
  for (uint32_t i = 0; i < engine->running_count; i++) {
    engine_sequence *s = engine->running[i];
    if (!is_past_prompt(s) || is_scoring(s)) continue;
    leave_window(engine, s);
    while (s->progress.is_running && !extend_blocks(engine, s, s->count)) preempt_youngest(engine);
  }
  for (uint32_t i = 0; i < engine->running_count; i++) {
    engine_sequence *s = engine->running[i];
    const bool has_block = s->block_count * engine->programs.sizes.block_size >= s->count;
    if (!is_past_prompt(s) || is_scoring(s) || !has_block) continue;
    p->rows[p->count] = s;
    p->taken[p->count++] = 1;
  }
  if (p->count == 0) return false;
  for (uint32_t row = 0; row < p->count; row++) {
    write_row(engine, p->rows[row], row, row, 1, 1);
    engine_sequence_settings(p->rows[row], &engine->programs.exchange, row, engine->mask_words);
  }
  p->width = engine_width(p->count);
  for (uint32_t row = p->count; row < p->width; row++) write_padding(engine, row);
  return true;
}

// A token was drawn for a sequence all of whose tokens are in the cache.
static dure_status take_token(dure_engine *engine, engine_sequence *s, uint32_t row) {
  const uint32_t token = engine->programs.exchange.drawn[row];
  const uint64_t now = dure_os_nanoseconds();
  if (s->request.most_tokens == 0) {
    finish(engine, s, DURE_FINISH_LENGTH);
    return NULL;
  }
  if (token >= engine->candidates) {
    finish(engine, s, DURE_FINISH_NOT_FINITE);
    return NULL;
  }
  if (engine_sequence_ends_with(s, token)) {
    finish(engine, s, DURE_FINISH_END);
    return NULL;
  }
  const float *logits = NULL;
  if (s->request.with_log_probabilities || s->request.alternatives > 0)
    DURE_TRY(engine_logits_row(&engine->programs, false, row, engine->scratch, &logits));
  DURE_TRY(engine_sequence_add(s, token, logits, engine->candidates));
  engine->statistics.generated_tokens++;
  if (s->progress.first == 0) s->progress.first = now;
  s->progress.last = now;
  s->is_constrained = s->request.constraint == NULL;
  if (s->is_constrained) check_length(engine, s);  // else when its grammar has been asked
  return NULL;
}

// The log-probability of each token that follows a scored one.
static dure_status take_scores(dure_engine *engine, engine_sequence *s, uint32_t taken) {
  for (uint32_t row = 0; row < taken; row++) {
    const float *logits = NULL;
    DURE_TRY(engine_logits_row(&engine->programs, true, row, engine->scratch, &logits));
    engine_sequence_score(s, logits, engine->candidates);
  }
  return NULL;
}

static dure_status apply(dure_engine *engine, const plan *p) {
  for (uint32_t row = 0; row < p->count; row++) {
    engine_sequence *s = p->rows[row];
    if (p->is_scored) DURE_TRY(take_scores(engine, s, p->taken[row]));
    s->cached += p->taken[row];
    publish_blocks(engine, s);
    if (s->cached == s->count && !s->is_cancelled) DURE_TRY(take_token(engine, s, row));
  }
  return NULL;
}

// Runs a plan, without the mutex while the device works, and takes what it brought.
static dure_status execute(dure_engine *engine, const plan *p, bool is_prompt) {
  const uint64_t begin = dure_os_nanoseconds();
  pthread_mutex_unlock(&engine->mutex);
  dure_status status = NULL;
  if (p->is_scored) {
    if (p->taken[0] > 0) status = engine_run_score(&engine->programs);
  } else if (is_prompt) {
    status = engine_run_prefill(&engine->programs, p->width, p->padded);
  } else {
    status = engine_run_decode(&engine->programs, p->width);
  }
  pthread_mutex_lock(&engine->mutex);
  const double seconds = (double)(dure_os_nanoseconds() - begin) / 1e9;
  dure_engine_statistics *statistics = &engine->statistics;
  if (is_prompt) {
    statistics->prompt_steps++;
    for (uint32_t row = 0; row < p->count; row++) statistics->prompt_tokens += p->taken[row];
    statistics->prompt_seconds += seconds;
  } else {
    statistics->decode_steps++;
    statistics->decode_seconds += seconds;
  }
  if (status == NULL) status = apply(engine, p);
  constrain_running(engine);
  return status;
}

static void fail_all(dure_engine *engine) {
  for (engine_sequence *s = engine->sequences; s != NULL; s = s->next) finish(engine, s, DURE_FINISH_FAILED);
}

// Pieces of prompts, up to one chunk's tokens in all: many short prompts keep the others waiting no longer than a long
// one does, and need not each wait for a token of all others.
static dure_status take_prompts(dure_engine *engine) {
  plan p;
  for (uint32_t tokens = 0; plan_prompts(engine, &p);) {
    const uint32_t rows = p.width * p.padded;
    if (tokens > 0 && tokens + rows > engine->programs.sizes.chunk) return NULL;
    tokens += rows;
    DURE_TRY(execute(engine, &p, true));
    sweep(engine);
  }
  return NULL;
}

dure_status dure_engine_step(dure_engine *engine, bool *out_is_busy) {
  *out_is_busy = false;
  plan p;
  dure_status status = NULL;
  pthread_mutex_lock(&engine->mutex);
  sweep(engine);
  admit(engine);
  constrain_running(engine);
  status = take_prompts(engine);
  if (status == NULL) {
    if (plan_tokens(engine, &p)) status = execute(engine, &p, false);
  }
  if (status != NULL) fail_all(engine);
  sweep(engine);
  *out_is_busy = engine->running_count + engine->waiting_count > 0;
  pthread_mutex_unlock(&engine->mutex);
  return status;
}
