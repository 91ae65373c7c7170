#include "model/engine_programs.h"

#include <stdlib.h>
#include <string.h>

#include "model/decoder.h"

static const uint32_t chunks[ENGINE_CHUNKS] = {8, 32, 128, 512};

typedef enum step_kind { STEP_DECODE, STEP_PREFILL, STEP_SCORE } step_kind;

// B sequences of T tokens.
typedef struct step_shape {
  step_kind kind;
  uint64_t B, T;
} step_shape;

// ---- sizes -------------------------------------------------------------------------------------------------------

uint64_t engine_cache_token_bytes(const dure_model *model, dure_dtype cache_type) {
  const dure_model_config *config = &model->config;
  const uint64_t elements = 2 * (uint64_t)config->layer_count * config->key_head_count * config->head_width;
  const uint64_t scales = cache_type == DURE_DTYPE_U8 ? elements / DURE_QUANTIZED_BLOCK * 2 : 0;
  return elements * dure_dtype_size(cache_type) + scales;
}

static uint32_t width_index(uint32_t count) {
  uint32_t index = 0;
  while (index + 1 < ENGINE_WIDTHS && UINT32_C(1) << index < count) index++;
  return index;
}

uint32_t engine_width(uint32_t count) { return UINT32_C(1) << width_index(count); }

// A short rest is padded: a program's cost hardly depends on a few rows. A long one is padded by a quarter at most.
uint32_t engine_chunk(const engine_sizes *sizes, uint32_t left) {
  uint32_t chosen = chunks[0];
  for (uint32_t i = 0; i < ENGINE_CHUNKS; i++) {
    if (i > 0 && chunks[i] > sizes->chunk) break;
    const bool holds_all = chunks[i] >= left;
    if (!holds_all || chunks[i] <= 32 || (uint64_t)chunks[i] * 4 <= (uint64_t)left * 5) chosen = chunks[i];
    if (holds_all) break;
  }
  return chosen;
}

static uint32_t prompts_index(uint32_t prompts) {
  uint32_t index = 0;
  while (index + 1 < ENGINE_PROMPTS && UINT32_C(1) << 2 * index < prompts) index++;
  return index;
}

// Whether pieces of `prompts` prompts may be taken together.
static bool has_prompts(const engine_sizes *sizes, uint32_t prompts, uint32_t chunk) {
  return prompts == 1 || (prompts <= engine_width(sizes->sequences) && prompts * chunk <= sizes->chunk);
}

uint32_t engine_prompts(const engine_sizes *sizes, uint32_t chunk, uint32_t count) {
  uint32_t prompts = 1;
  while (prompts * 4 <= count && has_prompts(sizes, prompts * 4, chunk)) prompts *= 4;
  return prompts;
}

static uint32_t chunk_index(uint32_t chunk) {
  uint32_t index = 0;
  while (index + 1 < ENGINE_CHUNKS && chunks[index] < chunk) index++;
  return index;
}

// ---- the exchange ------------------------------------------------------------------------------------------------

// Places in the exchange's buffer, bytes.
typedef struct exchange_places {
  uint64_t tokens, positions, lengths, last, table, settings, random, ids, changes, mask, drawn, end;
} exchange_places;

static uint64_t reserve(uint64_t *end, uint64_t words) {
  const uint64_t place = *end;
  *end += (words * 4 + 255) / 256 * 256;
  return place;
}

uint32_t engine_mask_words(const dure_model *model) { return (model->config.vocabulary_size + 31) / 32; }

static exchange_places places_of(const engine_sizes *sizes, uint32_t mask_words) {
  const uint64_t most = engine_width(sizes->rows), chunk = chunks[ENGINE_CHUNKS - 1];
  const uint64_t tokens = most > chunk ? most : chunk;
  exchange_places p = {0};
  p.tokens = reserve(&p.end, tokens);
  p.positions = reserve(&p.end, tokens);
  p.lengths = reserve(&p.end, most);
  p.last = reserve(&p.end, most);
  p.table = reserve(&p.end, most * sizes->blocks_per_sequence);
  p.settings = reserve(&p.end, most * DURE_SAMPLE_COUNT);
  p.random = reserve(&p.end, most * 4);
  p.ids = reserve(&p.end, most * ENGINE_ADJUSTED);
  p.changes = reserve(&p.end, most * ENGINE_ADJUSTED * 2);
  p.mask = reserve(&p.end, most * mask_words);
  p.drawn = reserve(&p.end, most);
  return p;
}

static void map_exchange(engine_programs *programs) {
  uint8_t *base = dure_buffer_map(programs->exchange_buffer);
  const exchange_places p = places_of(&programs->sizes, engine_mask_words(programs->model));
  programs->exchange = (engine_exchange){
      .tokens = (uint32_t *)(base + p.tokens),
      .positions = (uint32_t *)(base + p.positions),
      .lengths = (uint32_t *)(base + p.lengths),
      .last = (uint32_t *)(base + p.last),
      .table = (uint32_t *)(base + p.table),
      .settings = (float *)(base + p.settings),
      .random = (uint32_t *)(base + p.random),
      .ids = (uint32_t *)(base + p.ids),
      .changes = (float *)(base + p.changes),
      .mask = (uint32_t *)(base + p.mask),
      .mask_words = engine_mask_words(programs->model),
      .is_masked = programs->masked_rows,
      .drawn = (const uint32_t *)(base + p.drawn),
  };
  memset(base + p.ids, 0xff, (size_t)(p.changes - p.ids));
  memset(base + p.mask, 0xff, (size_t)(p.drawn - p.mask));
}

void engine_programs_pad(const engine_programs *programs, uint32_t row) {
  const engine_exchange *x = &programs->exchange;
  const uint32_t blocks = programs->sizes.blocks_per_sequence;
  x->tokens[row] = x->positions[row] = x->lengths[row] = 0;
  memset(x->table + (size_t)row * blocks, 0, blocks * sizeof(*x->table));
  memset(x->settings + row * DURE_SAMPLE_COUNT, 0, DURE_SAMPLE_COUNT * sizeof(float));
}

// ---- recording ---------------------------------------------------------------------------------------------------

// A program being recorded: its tensors and where they lie.
typedef struct step_record {
  engine_programs *programs;
  dure_program *p;
  dure_place *places;
  size_t place_count;
  dure_tensor *caches;  // [2 * layer_count], then, of caches in blocks, as many with their scales
} step_record;

static dure_tensor external(step_record *r, const char *name, dure_dtype dtype, uint32_t rank, const uint64_t *shape,
                            dure_lifetime lifetime, dure_buffer *buffer, uint64_t offset) {
  const dure_tensor tensor = dure_tensor_external(r->p, name, dtype, rank, shape, lifetime);
  r->places[r->place_count++] = (dure_place){tensor, buffer, offset};
  return tensor;
}

static dure_tensor input(step_record *r, const char *name, dure_dtype dtype, uint32_t rank, const uint64_t *shape,
                         uint64_t offset) {
  return external(r, name, dtype, rank, shape, DURE_LIFETIME_INPUT, r->programs->exchange_buffer, offset);
}

// Elements of one layer's keys, or of its values.
static uint64_t layer_elements(const engine_programs *programs) {
  const dure_model_config *config = &programs->model->config;
  return ((uint64_t)programs->sizes.block_count + 1) * programs->sizes.block_size * config->key_head_count *
         config->head_width;
}

// Scales lie behind the codes, in the same buffer.
static void declare_caches(step_record *r) {
  const engine_programs *programs = r->programs;
  const dure_model_config *config = &programs->model->config;
  uint64_t shape[4] = {(uint64_t)programs->sizes.block_count + 1, programs->sizes.block_size, config->key_head_count,
                       config->head_width};
  const uint32_t L = programs->layer_count;
  for (uint32_t i = 0; i < 2 * L; i++)
    r->caches[i] = external(r, i < L ? "key cache" : "value cache", programs->sizes.cache_type, 4, shape,
                            DURE_LIFETIME_CACHE, programs->caches[i], 0);
  if (programs->sizes.cache_type != DURE_DTYPE_U8) return;
  shape[3] /= DURE_QUANTIZED_BLOCK;
  for (uint32_t i = 0; i < 2 * L; i++)
    r->caches[2 * L + i] = external(r, i < L ? "key scales" : "value scales", DURE_DTYPE_F16, 4, shape,
                                    DURE_LIFETIME_CACHE, programs->caches[i], layer_elements(programs));
}

// Penalties and biases, what grammars forbid, then a token a row.
static void record_sampling(step_record *r, const exchange_places *places, dure_tensor logits, uint64_t B) {
  const uint64_t ids_shape[2] = {B, ENGINE_ADJUSTED}, changes_shape[3] = {B, ENGINE_ADJUSTED, 2};
  const uint64_t settings_shape[2] = {B, DURE_SAMPLE_COUNT}, random_shape[2] = {B, 4};
  dure_program_scope(r->p, "sampling");
  dure_tensor adjust[DURE_MAX_OPERANDS] = {input(r, "adjusted ids", DURE_DTYPE_U32, 2, ids_shape, places->ids),
                                           input(r, "changes", DURE_DTYPE_F32, 3, changes_shape, places->changes),
                                           logits};
  dure_program_call(r->p, DURE_OP_adjust_logits, adjust, NULL, 0);
  const uint64_t mask_shape[2] = {B, engine_mask_words(r->programs->model)};
  dure_tensor mask[DURE_MAX_OPERANDS] = {input(r, "mask", DURE_DTYPE_U32, 2, mask_shape, places->mask), logits};
  dure_program_call(r->p, DURE_OP_mask_logits, mask, NULL, 0);
  dure_tensor sample[DURE_MAX_OPERANDS] = {logits,
                                           input(r, "sampling", DURE_DTYPE_F32, 2, settings_shape, places->settings),
                                           input(r, "random", DURE_DTYPE_U32, 2, random_shape, places->random),
                                           external(r, "tokens drawn", DURE_DTYPE_U32, 1, &B, DURE_LIFETIME_OUTPUT,
                                                    r->programs->exchange_buffer, places->drawn)};
  const dure_op_attributes attributes = {.sample = {.candidate_count = r->programs->sizes.candidate_count}};
  dure_program_call(r->p, DURE_OP_sample, sample, &attributes, 0);
}

static void record_step(step_record *r, const dure_decoder *decoder, step_shape s) {
  engine_programs *programs = r->programs;
  const exchange_places places = places_of(&programs->sizes, engine_mask_words(programs->model));
  const uint64_t width = programs->model->config.embedding_width;
  const uint64_t shape[2] = {s.B, s.T}, table_shape[2] = {s.B, programs->sizes.blocks_per_sequence};
  const dure_tensor tokens = input(r, "tokens", DURE_DTYPE_U32, 2, shape, places.tokens);
  const dure_tensor positions = input(r, "positions", DURE_DTYPE_U32, 2, shape, places.positions);
  declare_caches(r);
  const dure_decoder_cache cache = {
      .block_table = input(r, "block table", DURE_DTYPE_U32, 2, table_shape, places.table),
      .lengths = input(r, "lengths", DURE_DTYPE_U32, 1, &s.B, places.lengths),
      .keys = r->caches,
      .values = r->caches + programs->layer_count,
      .key_scales = r->caches + 2 * (size_t)programs->layer_count,
      .value_scales = r->caches + 3 * (size_t)programs->layer_count};
  dure_tensor hidden = dure_decoder_hidden(decoder, tokens, positions, &cache);  // [B, T, C]
  hidden = dure_tensor_reshape(r->p, hidden, 2, (const uint64_t[]){s.B * s.T, width});
  uint64_t rows = s.B * s.T;
  if (s.kind == STEP_PREFILL) {  // one row of each prompt goes through the head: looked up like an embedding
    hidden = dure_embedding(r->p, hidden, input(r, "last rows", DURE_DTYPE_U32, 1, &s.B, places.last));
    rows = s.B;
  }
  const uint64_t logits_shape[2] = {rows, programs->model->config.vocabulary_size};
  const dure_tensor logits = external(r, "logits", DURE_DTYPE_F32, 2, logits_shape, DURE_LIFETIME_OUTPUT,
                                      s.kind == STEP_SCORE ? programs->scored_logits : programs->logits, 0);
  dure_tensor copy[DURE_MAX_OPERANDS] = {dure_decoder_logits(decoder, hidden), logits};
  dure_program_call(r->p, DURE_OP_copy, copy, NULL, 0);
  if (s.kind != STEP_SCORE) record_sampling(r, &places, logits, rows);
}

static dure_status compile_step(engine_programs *programs, step_shape shape, dure_executable **out_executable) {
  static const char *const labels[] = {"decode", "prefill", "score"};
  dure_model *model = programs->model;
  dure_decoder decoder = {0};
  step_record r = {.programs = programs, .p = dure_program_create()};
  r.caches = calloc(4 * (size_t)programs->layer_count + 1, sizeof(*r.caches));
  r.places = calloc(4 * (size_t)programs->layer_count + model->layout.pool_count + 16, sizeof(*r.places));
  dure_status status = NULL;
  if (r.p == NULL || r.caches == NULL || r.places == NULL)
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory recording a model");
  if (status == NULL)
    status = dure_decoder_create(r.p, &model->config, &model->layout, dure_model_dtype(model), programs->sizes.context,
                                 &decoder);
  if (status == NULL) {
    dure_parameter_pools_place(&model->weights, decoder.pools, r.places);
    r.place_count = model->layout.pool_count;
    record_step(&r, &decoder, shape);
    const dure_compile_options options = {.label = labels[shape.kind]};
    status = dure_model_compile(model, r.p, r.places, r.place_count, &options, out_executable);
  }
  dure_decoder_clear(&decoder);
  dure_program_destroy(r.p);
  free(r.caches);
  free(r.places);
  return status;
}

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status allocate(engine_programs *programs) {
  dure_device *device = programs->model->device;
  const dure_model_config *config = &programs->model->config;
  const engine_sizes *sizes = &programs->sizes;
  const uint64_t tokens = ((uint64_t)sizes->block_count + 1) * sizes->block_size;
  const uint64_t bytes =
      (tokens * engine_cache_token_bytes(programs->model, programs->sizes.cache_type) / (2 * programs->layer_count) +
       3) /
      4 * 4;
  if (bytes > device->info.limits.max_binding_bytes) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "a cache of %llu tokens needs %.1f MiB a layer, but %s binds at most %.1f MiB: ask for fewer "
                     "sequences or a shorter context",
                     (unsigned long long)tokens, (double)bytes / 1048576, device->info.identifier,
                     (double)device->info.limits.max_binding_bytes / 1048576);
  }
  programs->caches = calloc(2 * (size_t)programs->layer_count, sizeof(*programs->caches));
  if (programs->caches == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a KV cache");
  for (uint32_t i = 0; i < 2 * programs->layer_count; i++)
    DURE_TRY(dure_buffer_create(device, bytes, DURE_MEMORY_DEVICE, "KV cache", &programs->caches[i]));
  DURE_TRY(dure_buffer_create(device, places_of(sizes, engine_mask_words(programs->model)).end, DURE_MEMORY_HOST,
                              "values of a decoding step", &programs->exchange_buffer));
  const uint64_t row_bytes = (uint64_t)config->vocabulary_size * sizeof(float);
  DURE_TRY(dure_buffer_create(device, engine_width(sizes->rows) * row_bytes, DURE_MEMORY_DEVICE, "logits",
                              &programs->logits));
  map_exchange(programs);
  return NULL;
}

dure_status engine_programs_create(dure_model *model, const engine_sizes *sizes, engine_programs *out_programs) {
  *out_programs = (engine_programs){.model = model, .sizes = *sizes, .layer_count = model->config.layer_count};
  if (sizes->rows < sizes->sequences) out_programs->sizes.rows = sizes->sequences;
  dure_status status = allocate(out_programs);
  if (status != NULL) engine_programs_clear(out_programs);
  return status;
}

void engine_programs_clear(engine_programs *programs) {
  if (programs->model == NULL) return;
  dure_status_free(dure_stream_wait(programs->model->stream, 0));
  for (uint32_t i = 0; i < ENGINE_WIDTHS; i++) dure_executable_destroy(programs->decode[i]);
  for (uint32_t i = 0; i < ENGINE_PROMPTS * ENGINE_CHUNKS; i++)
    dure_executable_destroy(programs->prefill[i / ENGINE_CHUNKS][i % ENGINE_CHUNKS]);
  dure_executable_destroy(programs->score);
  for (uint32_t i = 0; programs->caches != NULL && i < 2 * programs->layer_count; i++)
    dure_buffer_destroy(programs->caches[i]);
  free(programs->caches);
  dure_buffer_destroy(programs->exchange_buffer);
  dure_buffer_destroy(programs->logits);
  dure_buffer_destroy(programs->scored_logits);
  memset(programs, 0, sizeof(*programs));
}

// ---- running -----------------------------------------------------------------------------------------------------

static dure_status run(engine_programs *programs, dure_executable **executable, step_shape shape) {
  dure_stream *stream = programs->model->stream;
  if (*executable == NULL) DURE_TRY(compile_step(programs, shape, executable));
  DURE_TRY(dure_executable_submit(*executable, stream));
  return dure_stream_wait(stream, 0);
}

dure_status engine_programs_need(engine_programs *programs, uint32_t width) {
  dure_executable **executable = &programs->decode[width_index(width)];
  return *executable != NULL ? NULL : compile_step(programs, (step_shape){STEP_DECODE, width, 1}, executable);
}

dure_status engine_run_decode(engine_programs *programs, uint32_t width) {
  return run(programs, &programs->decode[width_index(width)], (step_shape){STEP_DECODE, width, 1});
}

dure_status engine_run_prefill(engine_programs *programs, uint32_t prompts, uint32_t chunk) {
  return run(programs, &programs->prefill[prompts_index(prompts)][chunk_index(chunk)],
             (step_shape){STEP_PREFILL, prompts, chunk});
}

dure_status engine_run_score(engine_programs *programs) {
  if (programs->scored_logits == NULL) {
    const uint64_t bytes = (uint64_t)ENGINE_SCORED * programs->model->config.vocabulary_size * sizeof(float);
    DURE_TRY(dure_buffer_create(programs->model->device, bytes, DURE_MEMORY_DEVICE, "logits of a prompt",
                                &programs->scored_logits));
  }
  return run(programs, &programs->score, (step_shape){STEP_SCORE, 1, ENGINE_SCORED});
}

dure_status engine_programs_prepare(engine_programs *programs, uint32_t rows) {
  for (uint32_t i = 0; i <= width_index(rows); i++) DURE_TRY(engine_programs_need(programs, UINT32_C(1) << i));
  for (uint32_t i = 0; i < ENGINE_CHUNKS && (i == 0 || chunks[i] <= programs->sizes.chunk); i++) {
    for (uint32_t k = 0; k < ENGINE_PROMPTS && has_prompts(&programs->sizes, UINT32_C(1) << 2 * k, chunks[i]); k++) {
      const step_shape shape = {STEP_PREFILL, UINT64_C(1) << 2 * k, chunks[i]};
      if (programs->prefill[k][i] == NULL) DURE_TRY(compile_step(programs, shape, &programs->prefill[k][i]));
    }
  }
  return NULL;
}

dure_status engine_logits_row(engine_programs *programs, bool is_scored, uint32_t row, float *scratch,
                              const float **out_row) {
  dure_buffer *buffer = is_scored ? programs->scored_logits : programs->logits;
  const uint64_t V = programs->model->config.vocabulary_size;
  const float *mapped = dure_buffer_map(buffer);
  *out_row = mapped != NULL ? mapped + row * V : scratch;
  if (mapped != NULL) return NULL;
  return dure_stream_download(programs->model->stream, buffer, row * V * sizeof(float), scratch, V * sizeof(float),
                              NULL);
}
