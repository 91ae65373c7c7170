// sample, adjust_logits, mask_logits.
#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"

// The largest workgroup on every kind of device: it bounds how often one invocation loops over a large vocabulary.
static uint32_t sample_group_size(const dure_device *device) {
  const uint32_t most = dure_vulkan_device_caps(device)->max_invocations;
  return most >= 256 ? 256 : most >= 128 ? 128 : dure_vulkan_group_size(device, 64);
}

static dure_status record_sample(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *logits = &call->operands[0];
  struct {
    uint32_t rows, vocabulary, candidates, logits_offset, settings_offset, random_offset, token_offset;
    uint32_t settings_stride, random_stride;
  } push = {
      .rows = (uint32_t)dure_operand_rows(logits),
      .vocabulary = (uint32_t)dure_vulkan_last_dimension(logits),
      .candidates = call->attributes.sample.candidate_count,
      .settings_stride = call->operands[1].rank == 2 ? DURE_SAMPLE_COUNT : 0,
      .random_stride = call->operands[2].rank == 2 ? 4 : 0,
  };
  if (push.candidates == 0 || push.candidates > push.vocabulary) push.candidates = push.vocabulary;
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.logits_offset = dure_vulkan_bind(&dispatch, logits, DURE_READ);
  push.settings_offset = dure_vulkan_bind(&dispatch, &call->operands[1], DURE_READ);
  push.random_offset = dure_vulkan_bind(&dispatch, &call->operands[2], DURE_READ);
  push.token_offset = dure_vulkan_bind(&dispatch, &call->operands[3], DURE_WRITE);
  const uint32_t group_size = sample_group_size(device);
  const uint32_t constants[] = {group_size, dure_vulkan_is_single_subgroup(device, group_size),
                                dure_vulkan_type(logits)};
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_with_reduction(device, "sample", 1).text, constants, 3,
                                  &push, sizeof(push), push.rows);
}

const dure_backend_op dure_vulkan_op_sample = {.record = record_sample, .takes_16_bit = true};

static dure_status record_adjust_logits(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *ids = &call->operands[0], *logits = &call->operands[2];
  struct {
    uint32_t entries, count, vocabulary, ids_offset, changes_offset, logits_offset;
  } push = {.entries = (uint32_t)dure_operand_count(ids),
            .count = (uint32_t)ids->shape[1],
            .vocabulary = (uint32_t)logits->shape[1]};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.ids_offset = dure_vulkan_bind(&dispatch, ids, DURE_READ);
  push.changes_offset = dure_vulkan_bind(&dispatch, &call->operands[1], DURE_READ);
  push.logits_offset = dure_vulkan_bind(&dispatch, logits, DURE_READ_WRITE);
  const uint32_t group_size = dure_vulkan_group_size(device, 64);
  return dure_vulkan_dispatch_run(&dispatch, "adjust_logits", &group_size, 1, &push, sizeof(push),
                                  dure_vulkan_ceil_divide(push.entries, group_size));
}

const dure_backend_op dure_vulkan_op_adjust_logits = {.record = record_adjust_logits};

static dure_status record_mask_logits(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *mask = &call->operands[0], *logits = &call->operands[1];
  struct {
    uint32_t entries, words, vocabulary, mask_offset, logits_offset;
  } push = {.entries = (uint32_t)dure_operand_count(mask),
            .words = (uint32_t)mask->shape[1],
            .vocabulary = (uint32_t)logits->shape[1]};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.mask_offset = dure_vulkan_bind(&dispatch, mask, DURE_READ);
  push.logits_offset = dure_vulkan_bind(&dispatch, logits, DURE_READ_WRITE);
  const uint32_t group_size = dure_vulkan_group_size(device, 64);
  return dure_vulkan_dispatch_run(&dispatch, "mask_logits", &group_size, 1, &push, sizeof(push),
                                  dure_vulkan_ceil_divide(push.entries, group_size));
}

const dure_backend_op dure_vulkan_op_mask_logits = {.record = record_mask_logits};
