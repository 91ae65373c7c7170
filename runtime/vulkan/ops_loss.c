// cross_entropy, cross_entropy_gradient.
#include "runtime/vulkan/ops.h"
#include "runtime/vulkan/ops_common.h"

// Rows of whole fours that start at one: the kernels then have no ends to look after.
static bool is_aligned(const dure_operand *logits) {
  return dure_vulkan_width(&logits, 1, dure_vulkan_last_dimension(logits)) == 4;
}

// One subgroup on software drivers; 256 elsewhere, and 64 for vocabularies of bytes.
static uint32_t row_group_size(const dure_device *device, uint64_t vocabulary) {
  return dure_vulkan_group_size_over(device, vocabulary <= 1024 ? 64 : 256, vocabulary / 4);
}

static dure_status record_cross_entropy(dure_device *device, dure_recording *recording, const dure_op_call *call) {
  const dure_operand *logits = &call->operands[0];
  struct {
    uint32_t rows, vocabulary, logits_offset, labels_offset, loss_offset, log_sum_exp_offset;
  } push = {.rows = (uint32_t)dure_operand_rows(logits), .vocabulary = (uint32_t)dure_vulkan_last_dimension(logits)};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.logits_offset = dure_vulkan_bind(&dispatch, logits, DURE_READ);
  push.labels_offset = dure_vulkan_bind(&dispatch, &call->operands[1], DURE_READ);
  push.loss_offset = dure_vulkan_bind(&dispatch, &call->operands[2], DURE_WRITE);
  push.log_sum_exp_offset = dure_vulkan_bind(&dispatch, &call->operands[3], DURE_WRITE);
  const uint32_t group_size = row_group_size(device, push.vocabulary);
  const uint32_t constants[] = {group_size, dure_vulkan_is_single_subgroup(device, group_size), is_aligned(logits),
                                dure_vulkan_type(logits)};
  if (dure_vulkan_reads_texels(device, logits) && dure_vulkan_device_has_kernel(device, "cross_entropy_texel")) {
    dure_vulkan_bind(&dispatch, logits, DURE_READ);
    return dure_vulkan_dispatch_run(&dispatch, "cross_entropy_texel", constants, 4, &push, sizeof(push), push.rows);
  }
  return dure_vulkan_dispatch_run(&dispatch, dure_vulkan_kernel_with_reduction(device, "cross_entropy", 1).text,
                                  constants, 4, &push, sizeof(push), push.rows);
}

static dure_status record_cross_entropy_gradient(dure_device *device, dure_recording *recording,
                                                 const dure_op_call *call) {
  const dure_operand *logits = &call->operands[3];
  struct {
    uint32_t rows, vocabulary, labels_offset, log_sum_exp_offset, dloss_offset, logits_offset;
  } push = {.rows = (uint32_t)dure_operand_rows(logits), .vocabulary = (uint32_t)dure_vulkan_last_dimension(logits)};
  dure_vulkan_dispatch dispatch;
  dure_vulkan_dispatch_begin(&dispatch, device, recording);
  push.labels_offset = dure_vulkan_bind(&dispatch, &call->operands[0], DURE_READ);
  push.log_sum_exp_offset = dure_vulkan_bind(&dispatch, &call->operands[1], DURE_READ);
  push.dloss_offset = dure_vulkan_bind(&dispatch, &call->operands[2], DURE_READ);
  push.logits_offset = dure_vulkan_bind(&dispatch, logits, DURE_READ_WRITE);
  const uint32_t constants[] = {row_group_size(device, push.vocabulary), is_aligned(logits), dure_vulkan_type(logits)};
  if (dure_vulkan_reads_texels(device, logits) &&
      dure_vulkan_device_has_kernel(device, "cross_entropy_gradient_texel")) {
    dure_vulkan_bind(&dispatch, logits, DURE_READ);
    return dure_vulkan_dispatch_run(&dispatch, "cross_entropy_gradient_texel", constants, 3, &push, sizeof(push),
                                    push.rows);
  }
  return dure_vulkan_dispatch_run(&dispatch, "cross_entropy_gradient", constants, 3, &push, sizeof(push), push.rows);
}

const dure_backend_op dure_vulkan_op_cross_entropy = {.record = record_cross_entropy, .takes_16_bit = true};
const dure_backend_op dure_vulkan_op_cross_entropy_gradient = {.record = record_cross_entropy_gradient,
                                                               .takes_16_bit = true};
