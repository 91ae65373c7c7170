#include "model/training_choice.h"

#include <stdio.h>
#include <string.h>

#include "model/tensor_parallel.h"
#include "model/training_plan.h"

static bool is_enabled(const dure_device_info *info, const char *name) {
  for (uint32_t i = 0; i < info->feature_count; i++) {
    if (strcmp(info->features[i].name, name) == 0) return info->features[i].state == DURE_FEATURE_ENABLED;
  }
  return false;
}

void dure_training_dtype_for(const dure_device_info *info, dure_dtype *out_dtype, char *out_why, size_t why_size) {
  *out_dtype = DURE_DTYPE_F32;
  const char *why = "no matrix units are used on it, so 16 bits would not be faster";
  if (info->kind == DURE_DEVICE_CPU || info->kind == DURE_DEVICE_REFERENCE) {
    why = "a processor's cores multiply f32 fastest";
  } else if (is_enabled(info, "bfloat16_matrix")) {
    *out_dtype = DURE_DTYPE_BF16;
    why = "its matrix units multiply bf16";
  } else if (is_enabled(info, "cooperative_matrix")) {
    *out_dtype = DURE_DTYPE_F16;
    why = "its matrix units multiply f16, but not bf16";
  }
  snprintf(out_why, why_size, "%s", why);
}

static dure_dtype word_to_dtype(const char *word) {
  static const dure_dtype types[] = {DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_F16};
  for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
    if (strcmp(word, dure_dtype_name(types[i])) == 0) return types[i];
  }
  return strcmp(word, "8bit") == 0 ? DURE_DTYPE_U8 : DURE_DTYPE_NONE;
}

dure_status dure_training_choice_request(const dure_train_options *options, const dure_model_config *config,
                                         const dure_parameter_layout *layout, dure_device *device, dure_dtype dtype,
                                         dure_plan_request *out_request) {
  dure_train_options resolved = *options;
  if (strcmp(options->dtype, "auto") == 0) {
    char why[128];
    if (dtype == DURE_DTYPE_NONE) dure_training_dtype_for(dure_device_get_info(device), &dtype, why, sizeof(why));
    resolved.dtype = dure_dtype_name(dtype);
  }
  DURE_TRY(dure_plan_request_fill(&resolved, config, layout, device, out_request));
  out_request->may_shrink_moments = strcmp(options->optimizer_states, "auto") == 0;
  out_request->options.moment_dtype = word_to_dtype(options->optimizer_states);
  out_request->options.has_master = out_request->options.has_master && strcmp(options->masters, "on") == 0;
  out_request->options.seed = (uint64_t)options->seed;
  if (config->experts.count > 0 && strcmp(options->balance_experts, "on") == 0) {
    out_request->options.balances_experts = true;
    out_request->options.adamw.bias_rate = config->experts.bias_rate;
  }
  uint64_t used = 0, peak = 0, available = 0;
  DURE_TRY(dure_device_memory(device, &used, &peak, &available));
  if (out_request->budget == 0 || available < out_request->budget) out_request->budget = available;
  return dure_training_options_check(config, &out_request->options);
}

dure_status dure_training_choice_set_part(dure_plan_request *request, const dure_training_part *part) {
  dure_training_options *options = &request->options;
  options->sharding = part->sharding;
  options->shard = part->shard;
  options->shards = part->shards;
  options->batch_size = part->batch_size;
  options->accumulate = part->accumulate;
  options->tensor_part = part->tensor_part;
  options->tensor_parts = part->tensor_parts;
  options->sequence_part = part->sequence_part;
  options->sequence_parts = part->sequence_parts;
  DURE_TRY(dure_training_options_check(request->config, options));
  if (part->sequence_parts > 1)
    DURE_TRY(dure_model_config_check_heads(request->config, "--sequence-parallel", part->sequence_parts));
  if (part->accumulate > 1) request->may_shrink_gradients = false;
  // Ranks whose memory differs would choose otherwise, and all must train alike.
  if (part->shards > 1 || part->tensor_parts > 1) request->may_shrink_moments = false;
  return NULL;
}

static dure_status fail_to_fit(const dure_plan_request *request, const dure_training_plan *plan) {
  const dure_training_footprint *least = &plan->tried[plan->smallest];
  char ways[160];
  dure_training_choice_describe(&least->options, request->config->layer_count, ways, sizeof(ways));
  return dure_fail(DURE_OUT_OF_MEMORY,
                   "training needs at least %.1f MiB of device memory (%s), but there are only %.1f MiB; use a smaller "
                   "--batch-size or --context, or another --dtype ('dure plan' shows what takes how much)",
                   (double)least->device_total * 0x1p-20, ways, (double)request->budget * 0x1p-20);
}

static dure_status choose(const dure_train_options *options, const dure_model_config *config,
                          const dure_parameter_layout *layout, dure_dtype dtype, const dure_training_part *part,
                          dure_device *device, dure_training_choice *choice) {
  dure_plan_request request;
  dure_training_plan plan;
  DURE_TRY(dure_training_choice_request(options, config, layout, device, dtype, &request));
  if (part != NULL) DURE_TRY(dure_training_choice_set_part(&request, part));
  DURE_TRY(dure_training_plan_make(&request, &plan));
  choice->options = plan.tried[plan.chosen].options;
  choice->planned = plan.tried[plan.chosen].device_total;
  // What leaves nothing open is tried as it is: the allocations then say what lacks.
  const bool is_open = request.may_recompute || request.may_offload;
  dure_status status = is_open && !plan.fits ? fail_to_fit(&request, &plan) : NULL;
  dure_training_plan_clear(&plan);
  DURE_TRY(status);
  char ways[192];
  dure_training_choice_describe(&choice->options, config->layer_count, ways, sizeof(ways));
  snprintf(choice->description, sizeof(choice->description), "%s; %s",
           dure_dtype_name(dure_training_set_dtype(&choice->options, DURE_TRAINING_PARAMETERS)), ways);
  return NULL;
}

dure_status dure_training_choose(const dure_train_options *options, const char *config_path, dure_dtype dtype,
                                 const dure_training_part *part, dure_device *device,
                                 dure_training_choice *out_choice) {
  memset(out_choice, 0, sizeof(*out_choice));
  dure_model_config config;
  dure_parameter_layout layout = {0};
  DURE_TRY(dure_model_config_read(config_path, &config));
  dure_status status = part != NULL ? dure_model_config_divide(&config, part->tensor_part, part->tensor_parts) : NULL;
  if (status == NULL) status = dure_parameter_layout_create(&config, &layout);
  if (status == NULL && part != NULL) dure_parameter_layout_divide(&layout, part->shards);
  if (status == NULL) status = choose(options, &config, &layout, dtype, part, device, out_choice);
  dure_parameter_layout_clear(&layout);
  dure_model_config_clear(&config);
  return status;
}
