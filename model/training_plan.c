#include "model/training_plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/inference.h"
#include "model/staging.h"

const char *dure_plan_class_name(dure_plan_class kind) {
  static const char *const names[DURE_PLAN_CLASS_COUNT] = {
      [DURE_PLAN_PARAMETERS] = "parameters",
      [DURE_PLAN_MASTERS] = "f32 masters",
      [DURE_PLAN_GRADIENTS] = "gradients",
      [DURE_PLAN_OPTIMIZER] = "optimizer",
      [DURE_PLAN_ACTIVATIONS] = "activations",
      [DURE_PLAN_WORKSPACE] = "workspace",
      [DURE_PLAN_STAGING] = "staging",
      [DURE_PLAN_EVALUATION] = "evaluation",
      [DURE_PLAN_FIXED] = "fixed",
  };
  return names[kind];
}

// ---- memory -------------------------------------------------------------------------------------------------------

static uint64_t aligned(uint64_t bytes, const dure_device *device) {
  const uint64_t alignment = dure_device_get_info(device)->limits.offset_alignment;
  const uint64_t multiple = alignment > 64 ? alignment : 64;
  return (bytes + multiple - 1) / multiple * multiple;
}

static uint64_t batch_bytes(const dure_training_options *options) {
  return (uint64_t)options->batch_size * options->context * sizeof(uint32_t);
}

static dure_plan_class class_of(dure_training_set set) {
  if (set == DURE_TRAINING_PARAMETERS) return DURE_PLAN_PARAMETERS;
  if (set == DURE_TRAINING_MASTERS) return DURE_PLAN_MASTERS;
  return set == DURE_TRAINING_GRADIENTS ? DURE_PLAN_GRADIENTS : DURE_PLAN_OPTIMIZER;
}

static void add_sets(const dure_plan_request *request, dure_training_footprint *footprint) {
  const dure_training_options *options = &footprint->options;
  for (int i = 0; i < DURE_TRAINING_SET_COUNT; i++) {
    const dure_training_set set = (dure_training_set)i;
    const bool is_on_device = dure_training_set_is_on_device(options, set);
    (is_on_device ? footprint->device_bytes : footprint->host_bytes)[class_of(set)] +=
        dure_training_set_bytes(options, request->layout, set);
  }
  footprint->device_bytes[DURE_PLAN_FIXED] += dure_training_values_bytes();
  footprint->device_bytes[DURE_PLAN_FIXED] += 3 * aligned(batch_bytes(options), request->device);
  footprint->device_bytes[DURE_PLAN_FIXED] += dure_device_memory_overhead(request->device);
}

// ---- programs -----------------------------------------------------------------------------------------------------

// Of a micro-step whose pools are whole for a while only.
static dure_status add_staging(const dure_plan_request *request, const dure_program *program,
                               const dure_training_tensors *tensors, dure_training_footprint *footprint) {
  dure_staging staging;
  DURE_TRY(dure_staging_make(program, tensors, request->layout, &footprint->options, &staging));
  footprint->device_bytes[DURE_PLAN_STAGING] += dure_staging_bytes(&staging, &footprint->options);
  const uint64_t size = dure_dtype_size(dure_training_set_dtype(&footprint->options, DURE_TRAINING_PARAMETERS));
  for (size_t i = 0; i < staging.action_count; i++) {
    if (staging.actions[i].kind == DURE_STAGING_GATHER)
      footprint->gathered_bytes += request->layout->pools[staging.actions[i].pool].count * size;
  }
  dure_staging_clear(&staging);
  return NULL;
}

static dure_status add_program(const dure_plan_request *request, dure_training_program which, double times,
                               dure_training_footprint *footprint) {
  dure_program *program = dure_program_create();
  if (program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory planning a training step");
  dure_training_tensors tensors;
  dure_program_memory memory = {0};
  dure_status status =
      dure_training_program_record(which, request->config, request->layout, &footprint->options, program, &tensors);
  if (status == NULL) status = dure_program_measure(program, request->device, &memory);
  if (status == NULL && which == DURE_TRAINING_MICRO_STEP && footprint->options.shards > 1)
    status = add_staging(request, program, &tensors, footprint);
  if (status == NULL) {
    footprint->device_bytes[DURE_PLAN_ACTIVATIONS] += memory.activation_bytes - memory.workspace_bytes;
    footprint->device_bytes[DURE_PLAN_WORKSPACE] += memory.workspace_bytes;
    footprint->flops += memory.cost.flops * times;
    dure_program_estimate(program, &request->rates, times, &footprint->device_time);
  }
  dure_training_tensors_clear(&tensors);
  dure_program_destroy(program);
  return status;
}

// A run that evaluates keeps the scorer's program beside its own.
static dure_status add_evaluation(const dure_plan_request *request, dure_training_footprint *footprint) {
  const dure_training_options *options = &footprint->options;
  const bool has_scorer =
      !dure_training_set_is_sharded(options, DURE_TRAINING_PARAMETERS) && !dure_training_meets(options);
  if (!request->evaluates || !has_scorer) return NULL;
  dure_program *program = dure_program_create();
  if (program == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory planning an evaluation");
  dure_scorer_tensors tensors = {0};
  dure_program_memory memory = {0};
  dure_status status =
      dure_scorer_record(request->config, request->layout, dure_training_set_dtype(options, DURE_TRAINING_PARAMETERS),
                         options->batch_size, options->context, options->fuses_loss, program, &tensors);
  if (status == NULL) status = dure_program_measure(program, request->device, &memory);
  free(tensors.pools);
  dure_program_destroy(program);
  footprint->device_bytes[DURE_PLAN_EVALUATION] = memory.activation_bytes + memory.external_bytes[DURE_LIFETIME_INPUT] +
                                                  memory.external_bytes[DURE_LIFETIME_OUTPUT];
  return status;
}

// ---- time ---------------------------------------------------------------------------------------------------------

static double set_bytes(const dure_plan_request *request, const dure_training_options *options, dure_training_set set) {
  return (double)dure_training_set_bytes(options, request->layout, set);
}

// With the optimizer on the host gradients go there and parameters come back, in chunks, while what lies there is read
// and written at the speed of its memory.
static void add_host_time(const dure_plan_request *request, dure_training_footprint *footprint) {
  const dure_training_options *options = &footprint->options;
  if (options->offloads_optimizer) {
    const double moved =
        set_bytes(request, options, DURE_TRAINING_GRADIENTS) + set_bytes(request, options, DURE_TRAINING_PARAMETERS);
    double kept = 0;
    for (int i = DURE_PLAN_MASTERS; i <= DURE_PLAN_OPTIMIZER; i++) kept += (double)footprint->host_bytes[i];
    footprint->transfer_seconds = request->shares_host_memory ? 0 : moved / request->rates.transfer;
    footprint->host_seconds = (moved + 2 * kept) / request->host_bandwidth;
  }
  footprint->seconds =
      dure_estimate_seconds(&footprint->device_time) + fmax(footprint->transfer_seconds, footprint->host_seconds);
}

dure_status dure_training_footprint_measure(const dure_plan_request *request, const dure_training_options *options,
                                            dure_training_footprint *out_footprint) {
  memset(out_footprint, 0, sizeof(*out_footprint));
  dure_training_footprint footprint = {.options = *options};
  for (int which = 0; which < DURE_TRAINING_PROGRAM_COUNT; which++) {
    if (!dure_training_program_is_needed(options, (dure_training_program)which)) continue;
    const double times = which == DURE_TRAINING_MICRO_STEP ? options->accumulate : 1;
    DURE_TRY(add_program(request, (dure_training_program)which, times, &footprint));
  }
  DURE_TRY(add_evaluation(request, &footprint));
  add_sets(request, &footprint);
  add_host_time(request, &footprint);
  for (int i = 0; i < DURE_PLAN_CLASS_COUNT; i++) {
    footprint.device_total += footprint.device_bytes[i];
    footprint.host_total += footprint.host_bytes[i];
  }
  *out_footprint = footprint;
  return NULL;
}

// ---- asking -------------------------------------------------------------------------------------------------------

// "block", or "block:12" for the first 12 blocks only.
static bool read_recompute(const char *text, const char *word, uint32_t layer_count, uint32_t *out_blocks) {
  const size_t length = strlen(word);
  if (strncmp(text, word, length) != 0) return false;
  *out_blocks = layer_count;
  if (text[length] == '\0') return true;
  char *end = NULL;
  const unsigned long count = text[length] == ':' ? strtoul(text + length + 1, &end, 10) : 0;
  if (end == NULL || end == text + length + 1 || *end != '\0' || count == 0) return false;
  *out_blocks = count < layer_count ? (uint32_t)count : layer_count;
  return true;
}

static dure_status read_words(dure_plan_request *request, const char *recompute, const char *offload) {
  const uint32_t layers = request->config->layer_count;
  dure_training_options *options = &request->options;
  request->may_recompute = request->may_fuse_loss = strcmp(recompute, "auto") == 0;
  request->may_offload = request->may_shrink_gradients = strcmp(offload, "auto") == 0;
  options->offloads_optimizer = strcmp(offload, "optimizer") == 0;
  if (read_recompute(recompute, "activations", layers, &options->recompute_blocks)) {
    options->recompute = DURE_RECOMPUTE_ACTIVATIONS;
  } else if (read_recompute(recompute, "block", layers, &options->recompute_blocks)) {
    options->recompute = DURE_RECOMPUTE_BLOCK;
  } else if (!request->may_recompute && strcmp(recompute, "none") != 0) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "--recompute must be one of auto, none, activations, block (or block:N for the first N blocks); "
                     "found '%.40s'",
                     recompute);
  }
  if (request->may_offload || options->offloads_optimizer || strcmp(offload, "none") == 0) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "--offload must be one of auto, none, optimizer; found '%.40s'", offload);
}

static dure_status read_dtype(dure_training_options *options, const char *dtype) {
  static const struct {
    const char *word;
    dure_dtype dtype;
  } words[] = {{"auto", DURE_DTYPE_F32}, {"f32", DURE_DTYPE_F32}, {"bf16", DURE_DTYPE_BF16}, {"f16", DURE_DTYPE_F16}};
  for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
    if (strcmp(dtype, words[i].word) != 0) continue;
    options->dtype = words[i].dtype;
    options->has_master = words[i].dtype != DURE_DTYPE_F32;
    return NULL;
  }
  return dure_fail(DURE_INVALID_ARGUMENT, "--dtype must be one of auto, f32, bf16, f16; found '%.40s'", dtype);
}

dure_status dure_plan_request_fill(const dure_train_options *options, const dure_model_config *config,
                                   const dure_parameter_layout *layout, dure_device *device,
                                   dure_plan_request *out_request) {
  const dure_device_info *info = dure_device_get_info(device);
  const bool is_software = info->kind == DURE_DEVICE_CPU || info->kind == DURE_DEVICE_REFERENCE;
  *out_request = (dure_plan_request){
      .config = config,
      .layout = layout,
      .device = device,
      .rates = dure_device_get_rates(device),
      .host_bandwidth = DURE_PLAN_HOST_BANDWIDTH,
      .shares_host_memory = is_software && info->profile[0] == '\0',
      .evaluates = options->eval_every > 0,
      .budget = options->device_memory,
      .options = {.batch_size = (uint32_t)options->batch_size,
                  .context = options->context > 0 ? (uint32_t)options->context : config->context_length,
                  .accumulate = (uint32_t)options->accumulate,
                  .adamw = {options->beta1, options->beta2, options->epsilon, options->weight_decay, options->clip, 0}},
  };
  DURE_TRY(read_words(out_request, options->recompute, options->offload));
  DURE_TRY(read_dtype(&out_request->options, options->dtype));
  return dure_training_options_check(config, &out_request->options);
}

// ---- choosing -----------------------------------------------------------------------------------------------------

// The search over what the request leaves open.
typedef struct search {
  const dure_plan_request *request;
  dure_training_plan *plan;
  size_t capacity;
  uint64_t limit;  // bytes that are aimed at
} search;

// What choosing changes.
static bool are_same(const dure_training_options *a, const dure_training_options *b) {
  return a->recompute == b->recompute && a->recompute_blocks == b->recompute_blocks && a->fuses_loss == b->fuses_loss &&
         a->gradient_dtype == b->gradient_dtype && a->moment_dtype == b->moment_dtype &&
         a->offloads_optimizer == b->offloads_optimizer;
}

// Measures one choice and keeps it; the index of one that has been tried already is found again.
static dure_status try_options(search *s, const dure_training_options *options, size_t *out_index) {
  dure_training_plan *plan = s->plan;
  for (*out_index = 0; *out_index < plan->tried_count; ++*out_index) {
    if (are_same(&plan->tried[*out_index].options, options)) return NULL;
  }
  if (plan->tried_count == s->capacity) {
    size_t capacity = s->capacity == 0 ? 16 : 2 * s->capacity;
    dure_training_footprint *grown = realloc(plan->tried, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory planning a training run");
    plan->tried = grown;
    s->capacity = capacity;
  }
  DURE_TRY(dure_training_footprint_measure(s->request, options, &plan->tried[plan->tried_count]));
  plan->tried_count++;
  return NULL;
}

static bool fits(const search *s, size_t index) { return s->plan->tried[index].device_total <= s->limit; }

// Takes `index` for the chosen one when it fits and is faster than what was chosen before.
static void offer(search *s, size_t index) {
  if (!fits(s, index)) return;
  dure_training_plan *plan = s->plan;
  if (!plan->fits || plan->tried[index].seconds < plan->tried[plan->chosen].seconds) plan->chosen = index;
  plan->fits = true;
}

static dure_status try_recompute(search *s, dure_training_options options, dure_recompute recompute, uint32_t blocks,
                                 size_t *out_index) {
  options.recompute = recompute;
  options.recompute_blocks = blocks;
  DURE_TRY(try_options(s, &options, out_index));
  offer(s, *out_index);
  return NULL;
}

// The fewest blocks with which it fits: more blocks take less memory and more time.
static dure_status search_blocks(search *s, const dure_training_options *options, dure_recompute recompute) {
  uint32_t too_few = 0, enough = s->request->config->layer_count;
  size_t index;
  DURE_TRY(try_recompute(s, *options, recompute, enough, &index));
  if (!fits(s, index)) return NULL;
  while (enough - too_few > 1) {
    const uint32_t middle = too_few + (enough - too_few) / 2;
    DURE_TRY(try_recompute(s, *options, recompute, middle, &index));
    if (fits(s, index)) {
      enough = middle;
    } else {
      too_few = middle;
    }
  }
  return NULL;
}

static dure_status search_recompute(search *s, const dure_training_options *options) {
  size_t index;
  if (!s->request->may_recompute) {
    DURE_TRY(try_options(s, options, &index));
    offer(s, index);
    return NULL;
  }
  DURE_TRY(try_recompute(s, *options, DURE_RECOMPUTE_NONE, 0, &index));
  if (fits(s, index)) return NULL;
  DURE_TRY(search_blocks(s, options, DURE_RECOMPUTE_ACTIVATIONS));
  return search_blocks(s, options, DURE_RECOMPUTE_BLOCK);
}

static dure_status search_loss(search *s, const dure_training_options *options) {
  DURE_TRY(search_recompute(s, options));
  if (!s->request->may_fuse_loss || options->fuses_loss) return NULL;
  // Without need the loss stays as it is asked for.
  if (s->plan->fits && s->plan->tried[s->plan->chosen].options.recompute == DURE_RECOMPUTE_NONE) return NULL;
  dure_training_options fused = *options;
  fused.fuses_loss = true;
  return search_recompute(s, &fused);
}

static bool can_shrink_gradients(const dure_plan_request *request) {
  const dure_training_options *o = &request->options;
  return request->may_shrink_gradients && o->accumulate == 1 &&
         dure_dtype_size(dure_training_set_dtype(o, DURE_TRAINING_PARAMETERS)) <
             dure_dtype_size(dure_training_set_dtype(o, DURE_TRAINING_GRADIENTS));
}

// Each of `count` ways to store gradients and states, until the end: the fastest that fits is chosen.
static dure_status search_storage(search *s, const dure_training_options *ways, size_t count) {
  for (size_t i = 0; i < count; i++) DURE_TRY(search_loss(s, &ways[i]));
  return NULL;
}

static dure_status search_all(search *s) {
  const dure_plan_request *request = s->request;
  dure_training_options ways[4] = {request->options, request->options};
  DURE_TRY(search_storage(s, ways, 1));
  size_t way_count = 1;
  if (can_shrink_gradients(request)) {
    ways[1].gradient_dtype = request->options.dtype;
    if (!s->plan->fits) DURE_TRY(search_storage(s, &ways[1], 1));
    way_count = 2;
  }
  if (s->plan->fits) return NULL;
  dure_training_options last[4];
  size_t last_count = 0;
  for (size_t i = 0; i < way_count; i++) {
    if (request->may_shrink_moments) {
      last[last_count] = ways[i];
      last[last_count++].moment_dtype = DURE_DTYPE_U8;
    }
    if (request->may_offload) {
      last[last_count] = ways[i];
      last[last_count++].offloads_optimizer = true;
    }
  }
  return search_storage(s, last, last_count);
}

static void find_smallest(dure_training_plan *plan) {
  for (size_t i = 0; i < plan->tried_count; i++) {
    if (plan->tried[i].device_total < plan->tried[plan->smallest].device_total) plan->smallest = i;
  }
  if (!plan->fits) plan->chosen = plan->smallest;
}

dure_status dure_training_plan_make(const dure_plan_request *request, dure_training_plan *out_plan) {
  memset(out_plan, 0, sizeof(*out_plan));
  dure_training_plan plan = {.aim = request->budget - request->budget / 8};
  search s = {.request = request, .plan = &plan, .limit = request->budget > 0 ? plan.aim : UINT64_MAX};
  dure_status status = search_all(&s);
  if (status == NULL && !plan.fits && request->budget > 0) {
    s.limit = request->budget;
    status = search_all(&s);
  }
  find_smallest(&plan);
  if (status != NULL) {
    dure_training_plan_clear(&plan);
    return status;
  }
  *out_plan = plan;
  return NULL;
}

void dure_training_plan_clear(dure_training_plan *plan) {
  free(plan->tried);
  memset(plan, 0, sizeof(*plan));
}

// ---- words --------------------------------------------------------------------------------------------------------

static void describe_recompute(const dure_training_options *options, uint32_t layer_count, char *out_text,
                               size_t size) {
  const bool is_activations = options->recompute == DURE_RECOMPUTE_ACTIVATIONS;
  if (options->recompute == DURE_RECOMPUTE_NONE || options->recompute_blocks == 0) {
    snprintf(out_text, size, "nothing recomputed");
  } else if (options->recompute_blocks >= layer_count) {
    snprintf(out_text, size, is_activations ? "activations recomputed" : "all blocks recomputed");
  } else if (options->recompute_blocks == 1) {
    snprintf(out_text, size, "%sblock 1 of %u recomputed", is_activations ? "activations of " : "", layer_count);
  } else {
    snprintf(out_text, size, "%sblocks 1 to %u of %u recomputed", is_activations ? "activations of " : "",
             options->recompute_blocks, layer_count);
  }
}

void dure_training_choice_describe(const dure_training_options *options, uint32_t layer_count, char *out_text,
                                   size_t size) {
  const dure_dtype gradient = dure_training_set_dtype(options, DURE_TRAINING_GRADIENTS);
  const dure_dtype moment = dure_training_set_dtype(options, DURE_TRAINING_FIRST_MOMENTS);
  char recompute[80];
  describe_recompute(options, layer_count, recompute, sizeof(recompute));
  snprintf(out_text, size, "%s%s%s%s%s", recompute, options->fuses_loss ? ", fused loss" : "",
           gradient != DURE_DTYPE_F32 ? ", 16-bit gradients" : "",
           moment == DURE_DTYPE_U8     ? ", 8-bit moments"
           : moment == DURE_DTYPE_BF16 ? ", bf16 moments"
                                       : "",
           options->offloads_optimizer ? ", optimizer on the host" : "");
}
