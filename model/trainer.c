#include "model/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer.h"
#include "model/trainer_internal.h"
#include "model/weights.h"
#include "runtime/os.h"

void trainer_say(const trainer *t, const char *format, ...) {
  if (t->observer->message == NULL || !is_first(t)) return;
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  t->observer->message(t->observer->context, text);
}

// Of all ranks together.
static uint64_t samples_per_step(const trainer *t) {
  return (uint64_t)t->options->batch_size * (uint64_t)t->options->accumulate;
}
// What this rank's micro-steps have room for.
static uint64_t rows_here(const trainer *t) { return (uint64_t)t->shape.batch_size * t->shape.accumulate; }

// ---- data and device ---------------------------------------------------------------------------------------------

static dure_status find_end_of_text(trainer *t) {
  dure_tokenizer *tokenizer = NULL;
  DURE_TRY(dure_tokenizer_open(dure_dataset_tokenizer_path(t->dataset), &tokenizer));
  const char *bytes = NULL;
  size_t length = 0;
  bool is_special = false;
  if (dure_tokenizer_token(tokenizer, dure_dataset_end_of_text(t->dataset), &bytes, &length, &is_special)) {
    t->end_of_text = calloc(length + 1, 1);  // the token's bytes have no NUL behind them
    if (t->end_of_text != NULL) memcpy(t->end_of_text, bytes, length);
  }
  dure_tokenizer_close(tokenizer);
  return NULL;
}

static dure_status open_data(trainer *t) {
  DURE_TRY(dure_dataset_open(t->options->data, &t->dataset));
  return find_end_of_text(t);
}

static const char *collectives_kind(const trainer *t) {
  const dure_exchange_ranks *e = &t->ranks.exchange;
  const dure_communicator *all[] = {e->within, e->tensor, e->sequence};
  const char *kind = "single";
  for (size_t i = 0; i < 3; i++) {
    if (all[i] != NULL && dure_communicator_size(all[i]) > 1) kind = dure_communicator_kind(all[i]);
  }
  return kind;
}

static dure_status open_device(trainer *t) {
  char name[64];
  DURE_TRY(dure_ranks_device(&t->ranks, t->options->device, name));
  DURE_TRY(dure_device_open(name, &t->device));
  if (t->options->device_memory > 0) dure_device_restrict(t->device, NULL, t->options->device_memory);
  DURE_TRY(dure_stream_create(t->device, &t->stream));
  const dure_device_info *info = dure_device_get_info(t->device);
  // Devices made of this machine's own cores run while they are given work (lavapipe's vkQueueSubmit does): nothing is
  // gained by being ahead of them, and the times of steps would be those of their successors. (With another device's
  // profile they are driven like that one.)
  bool is_software = (info->kind == DURE_DEVICE_REFERENCE || info->kind == DURE_DEVICE_CPU) && info->profile[0] == '\0';
  // A step that is not finite must be noticed by all ranks before the same step is submitted.
  double waits = is_software || t->options->skip_norm > 0;
  DURE_TRY(dure_ranks_vote(&t->ranks, &waits, 1));
  t->ahead = waits > 0 ? 0 : DURE_TRAINING_MAX_IN_FLIGHT - 1;
  trainer_say(t, "training on %s (%s)", info->identifier, info->name);
  double speed;
  DURE_TRY(dure_ranks_measure(&t->ranks, t->options, t->device, t->stream, &speed));
  DURE_TRY(dure_ranks_share(&t->ranks, t->options, speed));
  DURE_TRY(dure_ranks_connect(&t->ranks, t->options, t->device));
  if (are_several(t) && strcmp(t->options->rank_share, "auto") == 0)
    trainer_say(t, "this rank has %" PRIu64 " of a step's rows, by the speed measured", t->ranks.row_count);
  if (are_several(t))
    trainer_say(t, "%u ranks on %u machine%s, %s, collectives by %s", t->ranks.place.size, t->ranks.place.node_count,
                t->ranks.place.node_count > 1 ? "s" : "", dure_sharding_describe(t->ranks.sharding),
                collectives_kind(t));
  if (t->ranks.row_groups < t->ranks.place.size)
    trainer_say(t, "in groups of the same rows, each layer's matrices among %u ranks, each sequence's tokens among %u",
                t->ranks.tensor_parts, t->ranks.sequence_parts);
  return NULL;
}

// ---- model -------------------------------------------------------------------------------------------------------

static bool files_agree(const char *a, const char *b) {
  const void *a_bytes = NULL, *b_bytes = NULL;
  uint64_t a_size = 0, b_size = 0;
  dure_status status = dure_os_map_file(a, &a_bytes, &a_size);
  if (status == NULL) status = dure_os_map_file(b, &b_bytes, &b_size);
  bool agree = status == NULL && a_size == b_size && (a_size == 0 || memcmp(a_bytes, b_bytes, (size_t)a_size) == 0);
  dure_status_free(status);
  dure_os_unmap(a_bytes, a_size);
  dure_os_unmap(b_bytes, b_size);
  return agree;
}

static void compare_tokenizers(const trainer *t, const char *model_directory) {
  char *path = dure_os_path_join(model_directory, "tokenizer.json");
  if (path != NULL && dure_os_is_file(path) && !files_agree(path, dure_dataset_tokenizer_path(t->dataset))) {
    trainer_say(t, "'%s' is not the tokenizer that made '%s': the model will have to learn its tokens anew", path,
                t->options->data);
  }
  free(path);
}

// No rank has all parameters, or room for all tokens of a sequence: they are scored by the training's own forward pass.
static bool has_parts_alone(const trainer *t) {
  return dure_training_set_is_sharded(&t->shape, DURE_TRAINING_PARAMETERS) || dure_training_meets(&t->shape);
}

// What to compute in, and what to recompute or offload so that it fits. A run goes on in the type that it began in,
// unless another one is asked for.
static dure_status choose_training(trainer *t, const char *checkpoint) {
  const char *path = checkpoint != NULL ? checkpoint : t->options->model;
  static const dure_dtype types[] = {DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_F16};
  dure_dtype dtype = DURE_DTYPE_NONE;
  for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
    dtype = strcmp(t->before.dtype, dure_dtype_name(types[i])) == 0 ? types[i] : dtype;
  const dure_ranks *r = &t->ranks;
  const dure_training_part part = {
      .sharding = r->sharding,
      .shard = r->shard,
      .shards = r->shards,
      .batch_size = r->batch_size,
      .accumulate = r->accumulate,
      .tensor_part = r->tensor_part,
      .tensor_parts = r->tensor_parts,
      .sequence_part = r->sequence_part,
      .sequence_parts = r->sequence_parts,
  };
  dure_status status =
      dure_training_choose(t->options, path, dtype, are_several(t) ? &part : NULL, t->device, &t->choice);
  DURE_TRY(dure_checkpoint_advise(status, checkpoint));
  t->shape = t->choice.options;
  t->shape.has_limits = t->options->skip_norm > 0;
  char chosen[64];
  snprintf(chosen, sizeof(chosen), "%s, gradients %s",
           dure_dtype_name(dure_training_set_dtype(&t->shape, DURE_TRAINING_PARAMETERS)),
           dure_dtype_name(dure_training_set_dtype(&t->shape, DURE_TRAINING_GRADIENTS)));
  DURE_TRY(dure_ranks_agree(r, "--dtype", chosen));
  // When parts of parameters are gathered, and when ranks meet, follows from what the backward pass does.
  snprintf(chosen, sizeof(chosen), "%d, %u layers%s", (int)t->shape.recompute, t->shape.recompute_blocks,
           t->shape.fuses_loss ? ", fused loss" : "");
  if (has_parts_alone(t)) DURE_TRY(dure_ranks_agree(r, "--recompute", chosen));
  trainer_say(t, "training in %s; about %.0f MiB of device memory", t->choice.description,
              (double)t->choice.planned / 1048576.0);
  return NULL;
}

static dure_status open_model(trainer *t, const char *checkpoint) {
  const char *path = checkpoint != NULL ? checkpoint : t->options->model;
  const dure_model_options kept = dure_training_model_options(&t->shape, t->device);
  bool goes_on = checkpoint != NULL || (!t->options->from_scratch && dure_model_has_weights(path));
  if (goes_on) {
    DURE_TRY(dure_checkpoint_advise(dure_weights_check_trainable(path), checkpoint));
    DURE_TRY(dure_checkpoint_advise(dure_model_open_as(path, &kept, t->device, t->stream, &t->model), checkpoint));
    compare_tokenizers(t, path);
  } else {
    DURE_TRY(dure_model_create_as(path, (uint64_t)t->options->seed, &kept, t->device, t->stream, &t->model));
  }
  dure_model_config *config = &t->model->config;
  uint32_t vocabulary = dure_dataset_vocabulary_size(t->dataset);
  if (vocabulary > config->vocabulary_size) {
    return dure_fail(
        DURE_INVALID_ARGUMENT,
        "the tokenizer of '%s' has %u tokens, but the config's vocabulary has %u; set vocab_size to at least %u",
        t->options->data, vocabulary, config->vocabulary_size, vocabulary);
  }
  int64_t end_of_text = dure_dataset_end_of_text(t->dataset);
  if (!goes_on || config->end_id < 0) config->beginning_id = config->end_id = end_of_text;
  if (checkpoint == NULL) {
    trainer_say(t, "%s: %.1f M parameters, %u layers, %u wide, %u heads, vocabulary %u, %s", config->family->model_type,
                (double)t->model->layout.element_count / 1e6, config->layer_count, config->width,
                config->head_count * t->ranks.tensor_parts, config->vocabulary_size,
                goes_on ? "going on from its weights" : "from scratch");
    if (config->largest_dropout > 0)
      trainer_say(t, "the config asks for dropout %g; training is without", config->largest_dropout);
  }
  return NULL;
}

static void choose_steps(trainer *t) {
  const dure_train_options *o = t->options;
  uint64_t per_epoch = dure_loader_samples_per_epoch(t->training_loader);
  t->steps = o->steps > 0 ? (uint64_t)o->steps : 1000;
  if (o->epochs > 0) t->steps = (uint64_t)fmax(1, ceil(o->epochs * (double)per_epoch / (double)samples_per_step(t)));
  t->last_step = o->stop_after > 0 && (uint64_t)o->stop_after < t->steps ? (uint64_t)o->stop_after : t->steps;
  uint64_t warmup = t->steps / 20 < 2000 ? t->steps / 20 : 2000;
  t->schedule.peak = o->lr;
  t->schedule.minimum = o->min_lr >= 0 ? o->min_lr : o->lr / 10;
  t->schedule.warmup = o->warmup >= 0 ? (uint64_t)o->warmup : warmup;
  t->schedule.total = t->steps;
  t->schedule.decay_steps = (uint64_t)(o->decay * (double)t->steps);
  (void)dure_schedule_find(o->schedule, &t->schedule.kind);
}

static dure_status prepare_shape(trainer *t) {
  const dure_train_options *o = t->options;
  bool shuffle = strcmp(o->shuffle, "on") == 0;
  DURE_TRY(dure_loader_create(t->dataset, DURE_SPLIT_TRAIN, t->shape.context, (uint64_t)o->seed, shuffle,
                              &t->training_loader));
  DURE_TRY(dure_loader_create(t->dataset, DURE_SPLIT_HELD_OUT, t->shape.context, 0, false, &t->held_out_loader));
  choose_steps(t);
  double fewest = -(double)t->shape.batch_size;
  DURE_TRY(dure_ranks_vote(&t->ranks, &fewest, 1));
  t->evaluation_rows = (uint32_t)-fewest;
  uint64_t count = rows_here(t) * t->shape.context;  // of whole sequences, at first, whatever part this rank has
  t->tokens = malloc(count * sizeof(*t->tokens));
  t->labels = malloc(count * sizeof(*t->labels));
  return t->tokens != NULL && t->labels != NULL
             ? NULL
             : dure_fail(DURE_OUT_OF_MEMORY,
                         "out of memory for %" PRIu64 " tokens of a step; use a smaller --batch-size or --accumulate",
                         count);
}

static bool evaluates(const trainer *t) {
  return t->options->eval_every > 0 && dure_loader_samples_per_epoch(t->held_out_loader) > 0;
}

static dure_status take_first_norm(void *context, double *norm) {
  const trainer *t = context;
  return dure_world_broadcast(t->ranks.world, 0, norm, sizeof(*norm));
}

static dure_status prepare_training(trainer *t, const char *checkpoint) {
  DURE_TRY(dure_training_create_among(t->model, &t->shape, are_several(t) ? &t->ranks.exchange : NULL, &t->training));
  if (are_several(t)) dure_training_set_agreement(t->training, take_first_norm, t);
  t->flops = dure_training_flops(t->training);
  DURE_TRY(dure_ranks_sum(&t->ranks, &t->flops, 1));
  if (checkpoint != NULL) DURE_TRY(dure_checkpoint_load_moments(checkpoint, t->model, t->training));
  if (dure_training_scales_loss(&t->shape) && t->state.scaling.scale > 0)
    DURE_TRY(dure_training_set_scaling(t->training, &t->state.scaling));
  t->state.scaling = dure_training_get_scaling(t->training);
  if (evaluates(t) && !has_parts_alone(t)) {
    DURE_TRY(dure_scorer_create(t->model, t->evaluation_rows, t->shape.context, t->shape.fuses_loss, &t->scorer));
  }
  dure_split_counts counts = dure_dataset_counts(t->dataset, DURE_SPLIT_TRAIN);
  uint64_t step_tokens = samples_per_step(t) * t->shape.context;
  trainer_say(
      t, "%" PRIu64 " steps of %" PRIu64 " tokens (%u x %u, accumulated %u times): %.2f passes over %" PRIu64 " tokens",
      t->steps, step_tokens, (uint32_t)t->options->batch_size, t->shape.context, (uint32_t)t->options->accumulate,
      (double)t->steps * (double)step_tokens / (double)counts.tokens, counts.tokens);
  return NULL;
}

static bool is_due(uint64_t step, int64_t every) { return every > 0 && step % (uint64_t)every == 0; }
static bool saves_at(const trainer *t, uint64_t step) {
  return step == t->last_step || is_due(step, t->options->save_every);
}

static dure_checkpoint_content checkpoint_content(const trainer *t) {
  return (dure_checkpoint_content){
      .model = t->model,
      .training = t->training,
      .state = &t->state,
      .tokenizer_path = dure_dataset_tokenizer_path(t->dataset),
      .end_of_text = t->end_of_text,
      .shard = t->ranks.shard,
      .shards = t->ranks.shards,
      .tensor_part = t->ranks.tensor_part,
      .tensor_parts = t->ranks.tensor_parts,
      .is_replica = t->ranks.replica > 0,
  };
}

// For runs that save before they end, where the state can be copied.
static dure_status prepare_saver(trainer *t) {
  const uint64_t every = (uint64_t)t->options->save_every;
  if (every == 0 || (t->state.step / every + 1) * every >= t->last_step) return NULL;
  const dure_saver_options options = {
      .run = t->options->out,
      .keep = (uint64_t)t->options->keep,
      .training = t->training,
      .files = t->files,
      .content = checkpoint_content(t),
  };
  dure_status status = dure_saver_create(&options, &t->saver);
  double has_none = t->saver == NULL;
  status = dure_status_join(status, dure_ranks_vote(&t->ranks, &has_none, 1));
  if (status == NULL && has_none > 0) {
    dure_saver_destroy(t->saver);
    t->saver = NULL;
    status = dure_fail(DURE_OUT_OF_MEMORY, "another rank has no room for a copy");
  }
  const dure_code code = dure_status_code(status);
  if (code != DURE_UNSUPPORTED && code != DURE_OUT_OF_MEMORY) return status;
  trainer_say(t, "training waits while checkpoints are written: %s", dure_status_message(status));
  dure_status_free(status);
  return NULL;
}

// ---- resuming ----------------------------------------------------------------------------------------------------

static void fill_identity(const trainer *t, dure_trainer_state *state) {
  const dure_device_info *info = dure_device_get_info(t->device);
  snprintf(state->device, sizeof(state->device), "%s", info->identifier);
  snprintf(state->device_name, sizeof(state->device_name), "%s", info->name);
  snprintf(state->driver, sizeof(state->driver), "%s", info->driver);
  snprintf(state->build, sizeof(state->build), "dure %s, compiler %.60s", DURE_VERSION, __VERSION__);
  snprintf(state->kernels, sizeof(state->kernels), "%s", info->kernels);
  snprintf(state->dtype, sizeof(state->dtype), "%s",
           dure_dtype_name(dure_training_set_dtype(&t->shape, DURE_TRAINING_PARAMETERS)));
  snprintf(state->choice, sizeof(state->choice), "%s", t->choice.description);
  state->data_hash = dure_dataset_hash(t->dataset);
  state->tokenizer_hash = dure_dataset_tokenizer_hash(t->dataset);
}

static void say_difference(const trainer *t, const char *what, const char *before, const char *now,
                           const char *effect) {
  if (strcmp(before, now) != 0) trainer_say(t, "%s was '%s' and is now '%s': %s", what, before, now, effect);
}

// Says aloud what differs from the run that saved the state: bits may differ then.
static void say_differences(const trainer *t, const dure_trainer_state *before, const dure_trainer_state *now) {
  static const char rounding[] = "results agree to rounding, not to the bit";
  say_difference(t, "the device", before->device_name, now->device_name, rounding);
  say_difference(t, "the driver", before->driver, now->driver, rounding);
  say_difference(t, "the build", before->build, now->build, rounding);
  if (strcmp(before->device_name, now->device_name) == 0)
    say_difference(t, "the choice of kernels", before->kernels, now->kernels, rounding);
  say_difference(t, "the dtype", before->dtype, now->dtype, "the run is another one from here on");
  if (before->choice[0] != '\0' && strcmp(before->dtype, now->dtype) == 0)
    say_difference(t, "the training", before->choice, now->choice, rounding);
  if (before->tokenizer_hash != now->tokenizer_hash) {
    trainer_say(t, "the tokenizer of '%s' is not the one that this run began with: its tokens mean something else",
                t->options->data);
  } else if (before->data_hash != now->data_hash) {
    trainer_say(t, "'%s' is not the data that this run began with: it goes on at window %" PRIu64 " of the new data",
                t->options->data, before->samples);
  }
  size_t count;
  const dure_train_option_row *rows = dure_train_option_rows(&count);
  for (size_t i = 0; i < count; i++) {
    static const char *const harmless[] = {"model",        "data",       "out",         "device",     "device-memory",
                                           "stop-after",   "eval-every", "eval-tokens", "save-every", "keep",
                                           "from-scratch", "recompute",  "offload"};
    bool matters = true;
    for (size_t k = 0; k < sizeof(harmless) / sizeof(harmless[0]); k++)
      matters = matters && strcmp(rows[i].name, harmless[k]) != 0;
    char old_text[64], new_text[64];
    dure_train_option_text(&before->options, &rows[i], old_text, sizeof(old_text));
    dure_train_option_text(t->options, &rows[i], new_text, sizeof(new_text));
    if (matters && strcmp(old_text, new_text) != 0)
      trainer_say(t, "--%s was %s and is now %s", rows[i].name, old_text, new_text);
  }
}

// Two trainers in one directory would mix their metrics and remove each other's files.
static dure_status claim_run(trainer *t) {
  if (!is_first(t)) return NULL;
  t->made_run = !dure_os_is_directory(t->options->out);
  DURE_TRY(dure_os_make_directories(t->options->out));
  return dure_os_lock_directory(t->options->out, &t->lock);
}

// The first rank looks, for all.
static dure_status find_start(trainer *t, bool resume, char **out_checkpoint);
static dure_status agree_on_start(trainer *t, bool resume, char **out_checkpoint) {
  char path[4096] = "";
  *out_checkpoint = NULL;
  if (is_first(t)) DURE_TRY(find_start(t, resume, out_checkpoint));
  if (!are_several(t)) return NULL;
  if (*out_checkpoint != NULL) snprintf(path, sizeof(path), "%s", *out_checkpoint);
  DURE_TRY(dure_world_broadcast(t->ranks.world, 0, path, sizeof(path)));
  if (!is_first(t) && path[0] != '\0' && (*out_checkpoint = strdup(path)) == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory");
  return NULL;
}

// The checkpoint to go on from (free()); NULL: from the beginning.
static dure_status find_start(trainer *t, bool resume, char **out_checkpoint) {
  DURE_TRY(dure_checkpoint_find(t->options->out, out_checkpoint));
  if (*out_checkpoint != NULL && !resume) {
    dure_status status = dure_fail(DURE_INVALID_ARGUMENT,
                                   "'%s' already holds a run (%s): use --resume to go on with it, or another --out",
                                   t->options->out, *out_checkpoint);
    free(*out_checkpoint);
    *out_checkpoint = NULL;
    return status;
  }
  DURE_TRY(dure_checkpoint_clean(t->options->out));
  if (resume && *out_checkpoint == NULL)
    trainer_say(t, "'%s' has no checkpoint yet: beginning at the first step", t->options->out);
  return NULL;
}

static dure_status read_state(trainer *t, const char *checkpoint) {
  if (checkpoint == NULL) return NULL;
  DURE_TRY(dure_checkpoint_read_state(checkpoint, &t->before));
  trainer_say(t, "resuming from %s", checkpoint);
  return NULL;
}

// What this run is, going on from where `before` stopped.
static void set_state(trainer *t, const char *checkpoint) {
  dure_trainer_state now = {0};
  fill_identity(t, &now);
  if (checkpoint != NULL) {
    const dure_trainer_state *before = &t->before;
    say_differences(t, before, &now);
    now.step = before->step;
    now.samples = before->samples;
    now.tokens = before->tokens;
    now.seconds = before->seconds;
    now.scaling = before->scaling;
    now.norm_mean = before->norm_mean;
    now.norm_count = before->norm_count;
    t->saved_step = before->step;
    snprintf(t->result->checkpoint, sizeof(t->result->checkpoint), "%s", checkpoint);
  }
  now.options = *t->options;
  t->state = now;
  t->submitted = now.step;
  t->result->step = now.step;
}

static dure_status prepare(trainer *t, bool resume) {
  char *checkpoint = NULL;
  dure_status status = open_data(t);
  if (status == NULL) status = dure_ranks_join(t->options, dure_dataset_hash(t->dataset), &t->ranks);
  t->result->is_other_rank = !is_first(t);
  if (status == NULL) status = claim_run(t);
  if (status == NULL) status = agree_on_start(t, resume, &checkpoint);
  if (status == NULL) status = open_device(t);
  if (status == NULL) status = read_state(t, checkpoint);
  if (status == NULL) status = choose_training(t, checkpoint);
  if (status == NULL) set_state(t, checkpoint);
  if (status == NULL) status = open_model(t, checkpoint);
  if (status == NULL) status = prepare_shape(t);
  if (status == NULL) status = prepare_training(t, checkpoint);
  free(checkpoint);
  if (status == NULL && is_first(t))
    status = dure_run_files_open(t->options->out, t->state.step, t->last_step, &t->files);
  if (status == NULL) status = prepare_saver(t);
  return status;
}

// `failure` is told to the other ranks.
static void release(trainer *t, dure_status failure) {
  dure_saver_destroy(t->saver);
  dure_run_files_close(t->files);
  dure_scorer_destroy(t->scorer);
  dure_training_destroy(t->training);
  dure_ranks_leave(&t->ranks, failure);
  dure_model_destroy(t->model);
  dure_stream_destroy(t->stream);
  dure_device_close(t->device);
  dure_loader_destroy(t->training_loader);
  dure_loader_destroy(t->held_out_loader);
  dure_dataset_close(t->dataset);
  dure_trainer_state_clear(&t->before);
  free(t->end_of_text);
  free(t->tokens);
  free(t->labels);
  dure_os_unlock(t->lock);
}

// ---- steps -------------------------------------------------------------------------------------------------------

static bool evaluates_at(const trainer *t, uint64_t step) {
  return evaluates(t) && (step == t->last_step || is_due(step, t->options->eval_every));
}

// This rank's windows of a step that begins at window `first`; rows beyond those learn nothing.
static dure_status read_windows(const trainer *t, uint64_t first) {
  const uint64_t count = t->ranks.row_count, T = t->shape.context;
  DURE_TRY(dure_loader_read(t->training_loader, first + t->ranks.first_row, (uint32_t)count, t->tokens, t->labels));
  for (uint64_t i = count * T; i < rows_here(t) * T; i++) {
    t->tokens[i] = 0;
    t->labels[i] = DURE_IGNORE_LABEL;
  }
  trainer_keep_own_tokens(t, rows_here(t));
  return NULL;
}

enum { norm_steps_least = 10, norm_steps_most = 100 };  // of the running mean of the gradient norm

// Repeatable: what is left out follows from the steps before it, and the checkpoint has their mean.
static void note_norm(trainer *t, const dure_training_result *result) {
  if (!t->shape.has_limits) return;
  if (result->is_left_out) {
    trainer_say(
        t, "step %" PRIu64 ": the gradient norm %.4g is above %g times its running mean %.4g; the step is left out",
        t->state.step, result->gradient_norm, t->options->skip_norm, t->state.norm_mean);
    return;
  }
  if (t->state.norm_count < norm_steps_most) t->state.norm_count++;
  const double mean = t->state.norm_mean;
  t->state.norm_mean =
      (double)(float)(mean + (result->gradient_norm - mean) / (double)t->state.norm_count);  // nine digits
}

static dure_status submit_next(trainer *t) {
  uint64_t step = t->submitted + 1;
  DURE_TRY(read_windows(t, t->state.samples + (t->submitted - t->state.step) * samples_per_step(t)));
  // The mean of a few steps says little.
  const bool has_limit = t->shape.has_limits && t->state.norm_count >= norm_steps_least;
  dure_training_set_limit(t->training, has_limit ? t->options->skip_norm * t->state.norm_mean : 0);
  // Every label of a training window is valid (data/loader.h).
  DURE_TRY(dure_training_submit_part(t->training, step, dure_schedule_learning_rate(&t->schedule, step), t->tokens,
                                     t->labels, samples_per_step(t) * t->shape.context));
  t->submitted = step;
  return NULL;
}

// Takes `directory`.
static void note_saved(trainer *t, uint64_t step, char *directory) {
  snprintf(t->result->checkpoint, sizeof(t->result->checkpoint), "%s", directory);
  free(directory);
  t->saved_step = step;
}

// All ranks have written their parts: the first one commits, the others wait for it.
static dure_status commit(trainer *t, const dure_checkpoint_content *content) {
  char path[4096] = "", *directory = NULL;
  if (is_first(t)) {
    DURE_TRY(dure_checkpoint_commit(t->options->out, content, (uint64_t)t->options->keep, &directory));
    snprintf(path, sizeof(path), "%s", directory);
    free(directory);
  }
  DURE_TRY(dure_world_broadcast(t->ranks.world, 0, path, sizeof(path)));
  directory = strdup(path);
  if (directory == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory");
  note_saved(t, content->state->step, directory);
  return NULL;
}

// The same for a part. `commits`: all ranks have written theirs, or are waited for now.
static dure_status proceed_with_part(trainer *t, bool waits, bool commits) {
  uint64_t step = 0;
  char *directory = NULL;
  if (!t->is_saving) return NULL;
  if (!t->has_written) {
    DURE_TRY(dure_saver_proceed(t->saver, waits, &step, &directory));
    free(directory);
    t->has_written = step > 0;
    if (waits && step == 0) t->is_saving = false;  // dropped, by all alike
  }
  if (!t->has_written || !commits) return NULL;
  t->is_saving = t->has_written = false;
  const dure_checkpoint_content content = dure_saver_content(t->saver);
  DURE_TRY(dure_world_barrier(t->ranks.world));
  return commit(t, &content);
}

// Lets a save in the background go on; `waits`: to its end.
static dure_status proceed_saving(trainer *t, bool waits) {
  if (t->saver == NULL) return NULL;
  if (are_several(t)) return proceed_with_part(t, waits, waits);
  uint64_t step = 0;
  char *directory = NULL;
  DURE_TRY(dure_saver_proceed(t->saver, waits, &step, &directory));
  if (directory != NULL) note_saved(t, step, directory);
  return NULL;
}

// Names the first bad op of the step after the last good one, by running it again op by op.
static dure_status explain_not_finite(trainer *t, const dure_training_result *result) {
  uint64_t step = t->state.step + 1;
  char where[768] = "";
  dure_status status = proceed_saving(t, true);  // so that the message names the last checkpoint
  while (status == NULL && dure_training_in_flight(t->training) > 0) {
    dure_training_result ignored;
    status = dure_training_collect(t->training, &ignored);
  }
  if (status == NULL) status = read_windows(t, t->state.samples);
  if (status == NULL) status = trainer_find_bad_value(t, where, sizeof(where));
  if (status != NULL) {
    snprintf(where, sizeof(where), "could not be found (%s)", dure_status_message(status));
    dure_status_free(status);
  }
  bool has_checkpoint = t->result->checkpoint[0] != '\0';
  return dure_fail(DURE_NOT_FINITE,
                   "step %" PRIu64
                   ": the loss is %g and the gradient norm %g; the first bad value: %s. No parameter has been "
                   "changed by it; %s%s. Try a lower --lr, a longer --warmup or a smaller --clip",
                   step, result->loss, result->gradient_norm,
                   where[0] != '\0' ? where : "gone when the step was repeated",
                   has_checkpoint ? "the last good checkpoint is " : "there is no checkpoint yet",
                   has_checkpoint ? t->result->checkpoint : "");
}

// Saves at once; nothing is in flight.
static dure_status save(trainer *t) {
  const dure_checkpoint_content content = checkpoint_content(t);
  char *directory = NULL;
  DURE_TRY(proceed_saving(t, true));
  if (t->files != NULL) DURE_TRY(dure_run_files_sync(t->files));
  if (are_several(t)) {
    DURE_TRY(dure_checkpoint_write_part(t->options->out, &content));
    DURE_TRY(dure_world_barrier(t->ranks.world));
    return commit(t, &content);
  }
  DURE_TRY(dure_checkpoint_save(t->options->out, &content, (uint64_t)t->options->keep, &directory));
  note_saved(t, t->state.step, directory);
  return NULL;
}

static void report_progress(trainer *t, const dure_metrics_row *row) {
  // A running mean of about ten steps; the first one compiles kernels and says little about the others.
  uint32_t weight = t->timed_steps < 2 ? 1 : t->timed_steps < 10 ? t->timed_steps : 10;
  t->smoothed_seconds += (row->seconds - t->smoothed_seconds) / weight;
  if (t->timed_steps < 10) t->timed_steps++;
  if (t->observer->progress == NULL || !is_first(t)) return;
  uint64_t step_tokens = samples_per_step(t) * t->shape.context;
  const dure_train_progress progress = {
      .step = row->step,
      .steps = t->last_step,
      .loss = row->loss,
      .tokens_per_second = t->smoothed_seconds > 0 ? (double)step_tokens / t->smoothed_seconds : 0,
      .seconds_left = (double)(t->last_step - row->step) * t->smoothed_seconds,
  };
  t->observer->progress(t->observer->context, &progress);
}

static dure_status evaluate_into(trainer *t, dure_metrics_row *row) {
  DURE_TRY(trainer_evaluate(t, row->step, &row->evaluation_loss, &row->bits_per_byte));
  if (trainer_gives_up_evaluating(t, row->step)) return NULL;
  row->has_evaluation = true;
  t->result->has_evaluation = true;
  t->result->evaluation_loss = row->evaluation_loss;
  t->result->bits_per_byte = row->bits_per_byte;
  if (t->observer->evaluated != NULL && is_first(t)) {
    t->observer->evaluated(t->observer->context, row->step, row->evaluation_loss, row->bits_per_byte);
  }
  return NULL;
}

// Books one step: state, metrics, progress, and the evaluation that is due after it.
static dure_status book_step(trainer *t, const dure_training_result *result, double seconds) {
  if (!result->is_finite) return explain_not_finite(t, result);
  uint64_t used = 0, peak = 0;
  DURE_TRY(dure_device_memory(t->device, &used, &peak, NULL));
  const uint64_t step_tokens = samples_per_step(t) * t->shape.context;
  t->state.step++;
  t->state.samples += samples_per_step(t);
  t->state.tokens += step_tokens;
  t->state.seconds += seconds;
  note_norm(t, result);
  const double loss_scale = dure_training_scales_loss(&t->shape) ? t->state.scaling.scale : 0;  // of this step
  if (result->scaling.skipped > t->state.scaling.skipped)
    trainer_say(t,
                "step %" PRIu64 ": gradients overflowed f16 and changed nothing; losses are scaled by %g from now on",
                t->state.step, result->scaling.scale);
  t->state.scaling = result->scaling;
  dure_metrics_row row = {
      .step = t->state.step,
      .loss = result->loss,
      .learning_rate = dure_schedule_learning_rate(&t->schedule, t->state.step),
      .gradient_norm = result->gradient_norm,
      .tokens = t->state.tokens,
      .tokens_per_second = (double)step_tokens / seconds,
      .flops_per_second = t->flops / seconds,
      .seconds = seconds,
      .device_memory_bytes = peak,
      .loss_scale = loss_scale,
      .skipped_steps = result->scaling.skipped,
  };
  trainer_note_communication(t, &row);
  t->result->step = row.step;
  t->result->loss = row.loss;
  report_progress(t, &row);
  if (evaluates_at(t, row.step)) DURE_TRY(evaluate_into(t, &row));
  if (t->files != NULL) DURE_TRY(dure_run_files_append(t->files, &row));
  if (is_due(row.step, t->options->verify_every)) DURE_TRY(trainer_verify(t));
  if (t->saver != NULL && t->copied_step == row.step) dure_saver_describe(t->saver, &t->state);
  return NULL;
}

// Waits for the oldest `count` steps in flight. They share the time since the last one was booked: where a device runs
// while it is given work, two may end at once.
static dure_status collect(trainer *t, uint32_t count) {
  if (count == 0) return NULL;
  dure_training_result results[DURE_TRAINING_MAX_IN_FLIGHT];
  for (uint32_t i = 0; i < count; i++) DURE_TRY(dure_training_collect(t->training, &results[i]));
  uint64_t now = dure_os_nanoseconds();
  double seconds = fmax(1e-9, (double)(now - t->clock) * 1e-9 / count);
  t->clock = now;
  for (uint32_t i = 0; i < count; i++) DURE_TRY(book_step(t, &results[i], seconds));
  return NULL;
}

// The next step's gradients, twice: a device or memory that errs in silence shows as two results.
static dure_status repeat_next(trainer *t) {
  const uint32_t in_flight = dure_training_in_flight(t->training);
  const uint64_t labels = samples_per_step(t) * t->shape.context;
  uint64_t sums[2];
  if (in_flight > 0) DURE_TRY(collect(t, in_flight));
  DURE_TRY(read_windows(t, t->state.samples));
  for (int i = 0; i < 2; i++) DURE_TRY(dure_training_checksum(t->training, t->tokens, t->labels, labels, &sums[i]));
  if (sums[0] == sums[1]) return NULL;
  return dure_fail(DURE_CORRUPT,
                   "step %" PRIu64
                   ", computed twice from the same parameters, gave two results: a device or its memory errs in "
                   "silence; try 'dure selftest' on each device, and go on from the last checkpoint on others",
                   t->submitted + 1);
}

// Begins to save the step submitted last.
static dure_status begin_saving(trainer *t) {
  // The save before this one may be of a step whose result has not been looked at, and only good steps are written.
  if (t->copied_step > t->state.step) DURE_TRY(collect(t, (uint32_t)(t->copied_step - t->state.step)));
  DURE_TRY(proceed_saving(t, true));
  DURE_TRY(dure_saver_begin(t->saver));
  t->is_saving = are_several(t);
  t->copied_step = t->submitted;
  return NULL;
}

static dure_status stop_for_interrupt(trainer *t) {
  DURE_TRY(proceed_saving(t, true));
  if (t->saved_step != t->state.step) DURE_TRY(save(t));
  return dure_fail(DURE_CANCELLED,
                   "interrupted after step %" PRIu64 " of %" PRIu64
                   ", which is saved; go on with: dure train "
                   "--out '%s' --resume",
                   t->state.step, t->steps, t->options->out);
}

// Whether any rank is interrupted; and a save in the background goes on, and is committed when all have written.
static dure_status vote(trainer *t) {
  t->is_interrupted = dure_os_interrupted();
  if (!are_several(t)) return NULL;
  DURE_TRY(proceed_with_part(t, false, false));
  double values[2] = {t->is_interrupted, t->is_saving && !t->has_written};
  DURE_TRY(dure_ranks_vote(&t->ranks, values, 2));
  t->is_interrupted = values[0] > 0;
  return values[1] == 0 ? proceed_with_part(t, false, true) : NULL;
}

static dure_status run_steps(trainer *t) {
  t->clock = dure_os_nanoseconds();
  t->sent = t->sent_before = dure_training_communication(t->training);
  while (t->state.step < t->last_step) {
    DURE_TRY(vote(t));
    const bool interrupted = t->is_interrupted;
    if (!interrupted && is_due(t->submitted + 1, t->options->repeat_every)) DURE_TRY(repeat_next(t));
    if (!interrupted) DURE_TRY(submit_next(t));
    const bool saves = !interrupted && saves_at(t, t->submitted);
    const bool saves_behind = saves && t->saver != NULL && t->submitted < t->last_step;
    if (saves_behind) DURE_TRY(begin_saving(t));
    // Steps that must be complete before something else happens leave nothing in flight behind them.
    const bool drains = interrupted || (saves && !saves_behind) || evaluates_at(t, t->submitted) ||
                        is_due(t->submitted, t->options->verify_every);
    if (drains) DURE_TRY(dure_training_settle(t->training));
    const uint32_t stay = drains ? 0 : t->ahead, in_flight = dure_training_in_flight(t->training);
    if (in_flight > stay) DURE_TRY(collect(t, in_flight - stay));
    if (!are_several(t)) DURE_TRY(proceed_saving(t, false));
    if (saves && !saves_behind) DURE_TRY(save(t));
    if (interrupted) return stop_for_interrupt(t);
    if (drains) t->clock = dure_os_nanoseconds();
  }
  return NULL;
}

dure_status dure_train(const dure_train_options *options, bool resume, const dure_train_observer *observer,
                       dure_train_result *out_result) {
  memset(out_result, 0, sizeof(*out_result));
  out_result->loss = NAN;
  DURE_TRY(dure_train_options_check(options));
  trainer t = {.options = options, .observer = observer, .result = out_result, .saved_step = UINT64_MAX, .lock = -1};
  dure_status status = prepare(&t, resume);
  if (status == NULL && t.state.step >= t.last_step) {
    trainer_say(&t, "step %" PRIu64 " is reached already: nothing to do (raise --steps or --stop-after to go on)",
                t.state.step);
  } else if (status == NULL) {
    const uint64_t first = t.state.step;
    status = run_steps(&t);
    if (status == NULL) trainer_report_communication(&t, t.state.step - first);
    // What has been begun is ended, so that as little as possible is lost; a lost device ends nothing any more. Of
    // several ranks only what happens to all alike leaves them together.
    const dure_code code = dure_status_code(status);
    const bool is_common = code == DURE_OK || code == DURE_CANCELLED || code == DURE_NOT_FINITE;
    if (are_several(&t) ? is_common : code != DURE_DEVICE_LOST)
      status = dure_status_join(status, proceed_saving(&t, true));
  }
  if (t.stream != NULL) out_result->waits = dure_stream_wait_count(t.stream);
  if (t.files != NULL) status = dure_status_join(status, dure_run_files_draw(t.files));
  release(&t, status);
  if (status != NULL && t.made_run) (void)remove(options->out);  // an empty directory would be all that is left
  return status;
}
