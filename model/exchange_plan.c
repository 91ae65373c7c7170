#include "model/exchange_plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

dure_status dure_network_parse(const char *text, double *out_rate) {
  static const struct {
    const char *name;
    double rate;
  } names[] = {{"PCIe4", 25e9},   {"PCIe5", 50e9},    {"NVLink3", 300e9},
               {"NVLink", 300e9}, {"NVLink4", 450e9}, {"InfiniBand", 25e9}};
  static const struct {
    const char *unit;
    double bytes;
  } units[] = {{"Gbit", 1e9 / 8}, {"Mbit", 1e6 / 8}, {"GB", 1e9}, {"MB", 1e6}};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    *out_rate = names[i].rate;
    if (strcasecmp(text, names[i].name) == 0) return NULL;
  }
  char *end = NULL;
  const double number = strtod(text, &end);
  for (size_t i = 0; end != text && isfinite(number) && number > 0 && i < sizeof(units) / sizeof(units[0]); i++) {
    *out_rate = number * units[i].bytes;
    if (strcasecmp(end, units[i].unit) == 0) return NULL;
  }
  *out_rate = 0;
  return dure_fail(DURE_INVALID_ARGUMENT,
                   "--network is a rate such as 1Gbit or 12.5GB (a second), or PCIe4, PCIe5, NVLink3, NVLink4 or "
                   "InfiniBand; found '%.40s'",
                   text);
}

static double set_bytes(const dure_plan_request *request, const dure_training_options *options, dure_training_set set) {
  const dure_parameter_storage whole = dure_training_whole_storage(options, set);
  double bytes = 0;
  for (size_t i = 0; i < request->layout->pool_count; i++)
    bytes += (double)dure_parameter_pool_bytes(&request->layout->pools[i], &whole);
  return bytes;
}

// In units of whole pools, before (N - 1) / N.
static double moved_bytes(const dure_plan_request *request, const dure_training_footprint *footprint) {
  const dure_training_options *options = &footprint->options;
  const double gradients = set_bytes(request, options, DURE_TRAINING_GRADIENTS);
  const double parameters = set_bytes(request, options, DURE_TRAINING_PARAMETERS);
  switch (options->sharding) {
    case DURE_SHARDING_NONE: return 2 * gradients;
    case DURE_SHARDING_OPTIMIZER: return gradients + parameters;
    case DURE_SHARDING_GRADIENTS: return options->accumulate * gradients + parameters;
    case DURE_SHARDING_PARAMETERS: return options->accumulate * (gradients + (double)footprint->gathered_bytes);
    case DURE_SHARDING_COUNT: break;
  }
  return 0;
}

// The part of computing behind which sums travel: the backward pass of the last micro-step, two thirds of it; of parts
// that travel in every micro-step nearly all.
static double hideable(const dure_training_footprint *footprint) {
  const dure_training_options *options = &footprint->options;
  const double computing = dure_estimate_seconds(&footprint->device_time);
  if (options->sharding == DURE_SHARDING_PARAMETERS) return computing;
  const double backward = computing * 2 / 3;
  return options->sharding == DURE_SHARDING_GRADIENTS ? backward : backward / options->accumulate;
}

// What the ranks that share matrices or sequences send each other in the middle of micro-steps, for which computing
// waits: an all-reduce of [B, T, C] four times a layer, twice more where blocks are computed again; queries, keys,
// values and results forward and backward, and forward again.
static double meeting_bytes(const dure_plan_request *request, const dure_training_options *options) {
  const dure_model_config *config = request->config;
  const double t = options->tensor_parts > 1 ? options->tensor_parts : 1;
  const double s = options->sequence_parts > 1 ? options->sequence_parts : 1;
  const double tokens = (double)options->batch_size * dure_training_tokens(options) * options->accumulate;
  const double size = (double)dure_dtype_size(dure_training_set_dtype(options, DURE_TRAINING_PARAMETERS));
  const double again = options->recompute == DURE_RECOMPUTE_BLOCK ? options->recompute_blocks : 0;
  const double heads = 2.0 * ((double)config->head_count + config->key_head_count) * config->head_width;
  return tokens * size *
         ((4.0 * config->layer_count + 2 * again) * config->width * 2 * (t - 1) / t +
          (2.0 * config->layer_count + again) * heads * (s - 1) / s);
}

dure_exchange_plan dure_exchange_plan_make(const dure_plan_request *request, const dure_training_footprint *footprint,
                                           double rate) {
  const dure_training_options *options = &footprint->options;
  const double ranks = options->shards > 1 ? options->shards : 1;
  dure_exchange_plan plan = {.sent_bytes = moved_bytes(request, footprint) * (ranks - 1) / ranks};
  // Parameters that an update has changed travel while the next forward pass comes to them, a third of a micro-step.
  const bool gathers_after =
      options->sharding == DURE_SHARDING_OPTIMIZER || options->sharding == DURE_SHARDING_GRADIENTS;
  const double after = gathers_after ? set_bytes(request, options, DURE_TRAINING_PARAMETERS) * (ranks - 1) / ranks : 0;
  const double forward = gathers_after ? dure_estimate_seconds(&footprint->device_time) / 3 / options->accumulate : 0;
  plan.seconds = plan.sent_bytes / rate;
  plan.hideable_seconds = hideable(footprint) + forward;
  plan.exposed_seconds = fmax(0, plan.seconds - after / rate - hideable(footprint)) + fmax(0, after / rate - forward);
  const double meetings = meeting_bytes(request, options);
  plan.sent_bytes += meetings;
  plan.seconds += meetings / rate;
  plan.exposed_seconds += meetings / rate;
  plan.step_seconds = footprint->seconds + plan.exposed_seconds;
  const bool is_narrow = dure_training_set_dtype(options, DURE_TRAINING_PARAMETERS) != DURE_DTYPE_F32;
  const double peak = is_narrow ? request->rates.matmul16_flops : request->rates.matmul_flops;
  plan.utilisation = peak > 0 ? footprint->flops / plan.step_seconds / peak : 0;
  return plan;
}
