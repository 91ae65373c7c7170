#include "runtime/estimate.h"

#include "runtime/program_internal.h"

static bool is_16_bit(const dure_operand *operand) { return dure_dtype_size(operand->dtype) == 2; }

// What a call is limited by besides bandwidth. Ops that are neither products nor attention do few operations a byte.
static dure_time_class classify(const dure_op_call *call, const dure_device_rates *rates, double *out_flops_rate) {
  switch (call->op) {
    case DURE_OP_matmul:
    case DURE_OP_linear_cross_entropy:
    case DURE_OP_linear_cross_entropy_gradient:
      *out_flops_rate =
          is_16_bit(&call->operands[0]) && is_16_bit(&call->operands[1]) ? rates->matmul16_flops : rates->matmul_flops;
      return DURE_TIME_MATMUL;
    case DURE_OP_attention:
    case DURE_OP_attention_gradient:
    case DURE_OP_attention_cached: *out_flops_rate = rates->attention_flops; return DURE_TIME_ATTENTION;
    default: *out_flops_rate = 0; return DURE_TIME_OTHER;
  }
}

void dure_program_estimate(const dure_program *program, const dure_device_rates *rates, double times,
                           dure_estimate *estimate) {
  for (uint32_t c = 0; c < program->call_count; c++) {
    const dure_op_call call = program_resolve(program, &program->calls[c]);
    const dure_cost cost = dure_op_get(call.op)->cost(&call);
    double flops_rate = 0;
    const dure_time_class kind = classify(&call, rates, &flops_rate);
    const double moving = cost.bytes / rates->bandwidth, computing = flops_rate > 0 ? cost.flops / flops_rate : 0;
    estimate->seconds[kind] += times * (moving > computing ? moving : computing);
    estimate->cost.flops += times * cost.flops;
    estimate->cost.bytes += times * cost.bytes;
  }
  estimate->calls += (uint64_t)(times * program->call_count);
}

double dure_estimate_seconds(const dure_estimate *estimate) {
  double seconds = 0;
  for (int i = 0; i < DURE_TIME_CLASS_COUNT; i++) seconds += estimate->seconds[i];
  return seconds;
}
