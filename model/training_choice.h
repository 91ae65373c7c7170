// From the options of `dure train` to those of a training on a device: the type to compute in, and what is recomputed,
// offloaded or stored smaller so that it fits (training_plan.h).
#ifndef DURE_MODEL_TRAINING_CHOICE_H_
#define DURE_MODEL_TRAINING_CHOICE_H_

#include "model/train_options.h"
#include "model/training_plan.h"

// What --dtype auto means on a device, and why in a clause: "its matrix units multiply bf16".
void dure_training_dtype_for(const dure_device_info *info, dure_dtype *out_dtype, char *out_why, size_t why_size);

// The request for a plan (training_plan.h) of a run: every option that matters to it. `dtype` is what auto means; NONE:
// what the device says. Without --device-memory, what the device has left is the budget, and never more than that.
DURE_MUST_CHECK dure_status dure_training_choice_request(const dure_train_options *options,
                                                         const dure_model_config *config,
                                                         const dure_parameter_layout *layout, dure_device *device,
                                                         dure_dtype dtype, dure_plan_request *out_request);

// Of the whole model, what this rank has of it, and of a step's rows (model/ranks.h); NULL: all.
typedef struct dure_training_part {
  dure_sharding sharding;
  uint32_t shard, shards;
  uint32_t batch_size, accumulate;
  uint32_t tensor_part, tensor_parts, sequence_part, sequence_parts;  // 0 or 1 parts: whole
} dure_training_part;

// Makes a request one for that part; config and layout must have been divided likewise.
DURE_MUST_CHECK dure_status dure_training_choice_set_part(dure_plan_request *request, const dure_training_part *part);

typedef struct dure_training_choice {
  dure_training_options options;
  uint64_t planned;       // bytes of device memory
  char description[256];  // "f32; nothing recomputed"
} dure_training_choice;

// `config_path` as for dure_model_config_read. `dtype` is what auto means; NONE: what the device says. Without
// --device-memory, what the device has left is the budget. Nothing is allocated on the device.
// DURE_OUT_OF_MEMORY says the least that would do, when the options leave a choice and none fits.
DURE_MUST_CHECK dure_status dure_training_choose(const dure_train_options *options, const char *config_path,
                                                 dure_dtype dtype, const dure_training_part *part, dure_device *device,
                                                 dure_training_choice *out_choice);

#endif  // DURE_MODEL_TRAINING_CHOICE_H_
