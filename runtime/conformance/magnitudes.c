// How large the terms are that an output element's rounding errors come from, op by op.
//
// For sums of products that is the op itself over the absolute values of its inputs. The other ops state it here; the
// formulas are first-order error analysis: the derivative of the result times the size of what is rounded on the way.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/conformance/attention_magnitudes.h"
#include "runtime/conformance/case_data.h"
#include "runtime/moment_code.h"
#include "runtime/conformance/linear_loss_magnitudes.h"
#include "runtime/reference/reference.h"

// ---- sums of products: the op over absolute values --------------------------------------------------------------

static void take_absolutes(const dure_case *c, dure_case_data *data) {
  const dure_op_row *row = dure_op_get(c->op);
  for (uint32_t i = 0; i < row->operand_count; i++) {
    const dure_case_operand *operand = &c->operands[i];
    if (!operand->present || operand->base != i || row->operands[i].dtype == DURE_DTYPE_U32) continue;
    // layer_norm_parameters sums dy * (x - mean): the mean counts as added.
    bool negated = c->op == DURE_OP_layer_norm_parameters && strcmp(row->operands[i].name, "mean") == 0;
    for (uint64_t j = 0; j < operand->base_count; j++) {
      data->bases[i][j] = negated ? data->bases[i][j] | 0x80000000u : data->bases[i][j] & 0x7fffffffu;
    }
  }
}

// An activation's slope is about 1 at most and its own error goes with |t|: t counts as it is. The slope that
// multiplies t loses what activation_gradient_magnitudes says.
static void matmul_epilogue_magnitudes(const dure_op_call *call, uint32_t output, double *magnitudes) {
  enum { PREACTIVATION = 4, C };
  if (output != C || !dure_operand_is_present(&call->operands[PREACTIVATION])) return;
  uint64_t count = dure_operand_count(&call->operands[C]);
  for (uint64_t i = 0; i < count; i++)
    magnitudes[i] *= 1 + fmin(fabs(dure_reference_get(&call->operands[PREACTIVATION], i)), 16);
}

static dure_status absolute_magnitudes(const dure_case *original, const dure_case_data *initial, uint32_t output,
                                       double *magnitudes) {
  dure_case linear = *original;
  if (linear.op == DURE_OP_matmul) linear.attributes.matmul.activation = DURE_ACTIVATION_RELU;  // of |t|: t itself
  if (linear.op == DURE_OP_scale) linear.attributes.scale.factor = fabsf(linear.attributes.scale.factor);
  const dure_case *c = &linear;
  dure_case_data absolutes;
  DURE_TRY(dure_case_data_copy(c, initial, &absolutes));
  take_absolutes(c, &absolutes);
  dure_status status = dure_case_data_run_oracle(c, &absolutes);
  if (status == NULL) {
    dure_buffer buffers[DURE_MAX_OPERANDS];
    dure_op_call call = dure_case_call(c, &absolutes, buffers);
    dure_reference_load(&call.operands[output], 0, dure_operand_count(&call.operands[output]), magnitudes);
    if (c->op == DURE_OP_matmul) matmul_epilogue_magnitudes(&call, output, magnitudes);
  }
  dure_case_data_free(&absolutes);
  return status;
}

// ---- the others -------------------------------------------------------------------------------------------------

static double get_or(const dure_operand *operand, uint64_t index, double otherwise) {
  return dure_operand_is_present(operand) ? dure_reference_get(operand, index) : otherwise;
}

// y: the mean's error and x's own size, scaled as y is. mean: the average of |x|. reciprocal_deviation: itself, and
// what the error d of the mean adds to the variance (d^2; the linear term sums to zero).
static void layer_norm_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes) {
  const dure_operand *x = &before->operands[0];
  uint64_t C = dure_reference_width(x), R = dure_operand_rows(x);
  double mean_error = (8 * sqrt(c->reduction) + c->roundings) * 0x1p-24;
  for (uint64_t r = 0; r < R; r++) {
    double size = 0, mean = 0, variance = 0;
    for (uint64_t i = 0; i < C; i++) {
      size += fabs(dure_reference_get(x, r * C + i)) / (double)C;
      mean += dure_reference_get(x, r * C + i) / (double)C;
    }
    for (uint64_t i = 0; i < C; i++) variance += pow(dure_reference_get(x, r * C + i) - mean, 2) / (double)C;
    double reciprocal = 1 / sqrt(variance + (double)c->attributes.layer_norm.epsilon);
    double shift = mean_error * size * reciprocal;
    double reciprocal_size = reciprocal * (1 + shift * shift / (2 * mean_error));
    if (output == 4) magnitudes[r] = size;
    if (output == 5) magnitudes[r] = reciprocal_size;
    for (uint64_t i = 0; output == 3 && i < C; i++) {
      double weight = fabs(get_or(&before->operands[1], i, 1)), bias = fabs(get_or(&before->operands[2], i, 0));
      magnitudes[r * C + i] = (size + fabs(dure_reference_get(x, r * C + i))) * reciprocal_size * weight + bias;
    }
  }
}

// dx = reciprocal_deviation * (g - average(g) - n * average(g n)), every term taken absolute, |n| from |x| + |mean|
static void layer_norm_gradient_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                           double *magnitudes) {
  const dure_operand *dy = &before->operands[0], *x = &before->operands[1];
  uint64_t C = dure_reference_width(x), R = dure_operand_rows(x);
  for (uint64_t r = 0; r < R; r++) {
    double mean = fabs(dure_reference_get(&before->operands[3], r));
    double reciprocal = fabs(dure_reference_get(&before->operands[4], r)), average_g = 0, average_gn = 0;
    for (uint64_t i = r * C; i < (r + 1) * C; i++) {
      double g = fabs(dure_reference_get(dy, i) * get_or(&before->operands[2], i % C, 1)) / (double)C;
      average_g += g;
      average_gn += g * (fabs(dure_reference_get(x, i)) + mean) * reciprocal;
    }
    for (uint64_t i = r * C; i < (r + 1) * C; i++) {
      double g = fabs(dure_reference_get(dy, i) * get_or(&before->operands[2], i % C, 1));
      double n = (fabs(dure_reference_get(x, i)) + mean) * reciprocal;
      magnitudes[i] = reciprocal * (g + average_g + n * average_gn);
      if (dure_reference_accumulates(before, output))
        magnitudes[i] += fabs(dure_reference_get(&before->operands[5], i));
    }
  }
  (void)c;
}

// 1 + tanh and 1 + erf lose what they lose of 1, so y's error goes with |x|.
static void activation_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes) {
  (void)c;
  (void)output;
  uint64_t count = dure_operand_count(&before->operands[0]);
  for (uint64_t i = 0; i < count; i++) magnitudes[i] = fabs(dure_reference_get(&before->operands[0], i));
}

static void activation_gradient_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                           double *magnitudes) {
  (void)c;
  uint64_t count = dure_operand_count(&before->operands[0]);
  for (uint64_t i = 0; i < count; i++) {
    // Beyond 16 all slopes are 0 or 1 with no cancellation left.
    double x = fmin(fabs(dure_reference_get(&before->operands[0], i)), 16);
    magnitudes[i] = fabs(dure_reference_get(&before->operands[1], i)) * (1 + x);
    if (dure_reference_accumulates(before, output)) magnitudes[i] += fabs(dure_reference_get(&before->operands[2], i));
  }
}

// dx = reciprocal_rms * (g - n * average(g n)), every term taken absolute
static void rms_norm_gradient_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                         double *magnitudes) {
  const dure_operand *dy = &before->operands[0], *x = &before->operands[1], *weight = &before->operands[2];
  const double offset = (double)c->attributes.rms_norm.weight_offset;
  uint64_t C = dure_reference_width(x), R = dure_operand_rows(x);
  for (uint64_t r = 0; r < R; r++) {
    double reciprocal = fabs(dure_reference_get(&before->operands[3], r)), average = 0;
    for (uint64_t i = r * C; i < (r + 1) * C; i++) {
      double factor = fabs(get_or(weight, i % C, 1 - offset)) + offset, n = fabs(dure_reference_get(x, i)) * reciprocal;
      average += fabs(dure_reference_get(dy, i)) * factor * n / (double)C;
    }
    for (uint64_t i = r * C; i < (r + 1) * C; i++) {
      double factor = fabs(get_or(weight, i % C, 1 - offset)) + offset, n = fabs(dure_reference_get(x, i)) * reciprocal;
      magnitudes[i] = reciprocal * (fabs(dure_reference_get(dy, i)) * factor + n * average);
      if (dure_reference_accumulates(before, output))
        magnitudes[i] += fabs(dure_reference_get(&before->operands[4], i));
    }
  }
}

// gate up -> y: as activation's y, times up.   gate up dy -> dgate dup: as activation_gradient's, times up; as y's.
static void gated_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes) {
  const bool is_gradient = c->op == DURE_OP_gated_activation_gradient;
  uint64_t count = dure_operand_count(&before->operands[0]);
  for (uint64_t i = 0; i < count; i++) {
    double gate = fabs(dure_reference_get(&before->operands[0], i));
    double up = fabs(dure_reference_get(&before->operands[1], i));
    double dy = is_gradient ? fabs(dure_reference_get(&before->operands[2], i)) : 1;
    // Beyond 16 all slopes are 0 or 1 with no cancellation left.
    magnitudes[i] = output == 3 ? dy * up * (1 + fmin(gate, 16)) : output == 4 ? dy * gate : up * gate;
  }
}

// Both products of the pair that an element belongs to.
static void rotary_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes) {
  (void)output;
  const dure_rotary_attributes *a = &c->attributes.rotary;
  const dure_operand *x = &before->operands[0], *table = &before->operands[2];
  const uint64_t D = x->shape[3], H = x->shape[2], half = a->width / 2, count = dure_operand_count(x);
  for (uint64_t i = 0; i < count; i++) {
    const uint64_t d = i % D, first = i - d;
    magnitudes[i] = fabs(dure_reference_get(x, i));
    uint32_t position = dure_reference_get_u32(&before->operands[1], i / (D * H));
    if (d >= a->width || position >= table->shape[0]) continue;
    const uint64_t k = a->is_interleaved ? d / 2 : d % half;
    const uint64_t other = a->is_interleaved ? d ^ 1u : d < half ? d + half : d - half;
    magnitudes[i] *= fabs(dure_reference_get(table, position * a->width + k));
    magnitudes[i] +=
        fabs(dure_reference_get(x, first + other) * dure_reference_get(table, position * a->width + half + k));
  }
}

// Exponentials are of logit - maximum: relative errors of the sum become absolute errors of its logarithm.
static void cross_entropy_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                     double *magnitudes) {
  (void)c;
  const dure_operand *logits = &before->operands[0];
  uint64_t V = dure_reference_width(logits), R = dure_operand_rows(logits);
  for (uint64_t r = 0; r < R; r++) {
    uint32_t label = dure_reference_get_u32(&before->operands[1], r);
    double largest = 0;
    for (uint64_t v = 0; v < V; v++) largest = fmax(largest, fabs(dure_reference_get(logits, r * V + v)));
    magnitudes[r] = 1 + log((double)V) + largest;
    if (output == 2 && label < V) magnitudes[r] += fabs(dure_reference_get(logits, r * V + label));
    if (output == 2 && label == DURE_IGNORE_LABEL) magnitudes[r] = 0;
  }
}

// exp(logit - log_sum_exp): its relative error is the exponent's absolute one, u * (|logit| + |log_sum_exp|)
static void cross_entropy_gradient_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                              double *magnitudes) {
  (void)c;
  const dure_operand *logits = &before->operands[output];
  uint64_t V = dure_reference_width(logits), R = dure_operand_rows(logits);
  double seed = fabs(dure_reference_get(&before->operands[2], 0));
  for (uint64_t r = 0; r < R; r++) {
    uint32_t label = dure_reference_get_u32(&before->operands[0], r);
    double total = dure_reference_get(&before->operands[1], r);
    for (uint64_t v = 0; v < V; v++) {
      double logit = dure_reference_get(logits, r * V + v), probability = exp(logit - total);
      magnitudes[r * V + v] = seed * (probability * (1 + fabs(logit) + fabs(total)) + (v == label ? 1 : 0));
      if (label == DURE_IGNORE_LABEL) magnitudes[r * V + v] = 0;
    }
  }
}

// The norm is within a few roundings of itself, and the scale within those of the norm.
static void gradient_clip_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                     double *magnitudes) {
  (void)c;
  (void)output;
  double loss_scale = dure_reference_get(&before->operands[2], DURE_STATE_LOSS_SCALE);
  double norm = sqrt(dure_reference_get(&before->operands[0], 0)) / loss_scale;
  double clip = dure_reference_get(&before->operands[1], DURE_STEP_CLIP);
  for (uint32_t i = 0; i < DURE_STATE_COUNT; i++) magnitudes[i] = 0;  // whole numbers, powers of two
  magnitudes[DURE_STATE_NORM] = norm;
  magnitudes[DURE_STATE_SCALE] = (clip > 0 && isfinite(clip) ? fmin(1, clip / (norm + 1e-6)) : 1) / loss_scale;
}

// Of the blocks' products as they are added; c counts when it is added to.
static void matmul_q8_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes) {
  enum { A, A_SCALES, B, B_SCALES, BIAS, C };
  const dure_operand *o = before->operands;
  const uint64_t M = dure_operand_rows(&o[A]), N = o[B].shape[0], K = o[B].shape[1], blocks = K / DURE_QUANTIZED_BLOCK;
  const int8_t *a = (const int8_t *)o[A].buffer->mapped + o[A].offset;
  const int8_t *b = (const int8_t *)o[B].buffer->mapped + o[B].offset;
  for (uint64_t m = 0; m < M; m++) {
    for (uint64_t n = 0; n < N; n++) {
      double *magnitude = &magnitudes[m * N + n];
      for (uint64_t i = 0; i < blocks; i++) {
        int32_t dot = 0;
        for (uint64_t k = i * DURE_QUANTIZED_BLOCK; k < (i + 1) * DURE_QUANTIZED_BLOCK; k++)
          dot += a[m * K + k] * b[n * K + k];
        *magnitude += fabs(dure_reference_get(&o[A_SCALES], m * blocks + i) *
                           dure_reference_get(&o[B_SCALES], n * blocks + i) * dot);
      }
      if (dure_operand_is_present(&o[BIAS])) *magnitude += fabs(dure_reference_get(&o[BIAS], n));
      if ((c->accumulate >> output & 1) != 0) *magnitude += fabs(dure_reference_get(&o[C], m * N + n));
    }
  }
}

static void unpack_blocks_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                     double *magnitudes) {
  enum { CODES, SCALES, MINIMA, INDICES };
  const dure_packed_weight weight = dure_reference_packed(before, CODES);
  const dure_operand *indices = &before->operands[INDICES];
  const uint64_t rows = dure_case_count(&c->operands[output]) / weight.width;
  const uint64_t first = before->attributes.blocks.first_row;
  for (uint64_t r = 0; r < rows; r++) {
    const uint64_t row = (dure_operand_is_present(indices) ? dure_reference_get_u32(indices, r) : r + first) - first;
    if (row >= weight.rows) continue;  // NaN, or left alone
    for (uint64_t k = 0; k < weight.width; k++)
      dure_reference_packed_value(&weight, row, k, &magnitudes[r * weight.width + k]);
  }
}

static void matmul_blocks_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                     double *magnitudes) {
  enum { A, CODES, SCALES, MINIMA, BIAS, RESIDUAL, C };
  (void)c;
  (void)output;
  const dure_operand *o = before->operands;
  const dure_packed_weight weight = dure_reference_packed(before, CODES);
  const uint64_t M = dure_operand_rows(&o[A]), N = weight.rows, K = weight.width;
  for (uint64_t n = 0; n < N; n++) {
    for (uint64_t k = 0; k < K; k++) {
      double magnitude;
      dure_reference_packed_value(&weight, n, k, &magnitude);
      for (uint64_t m = 0; m < M; m++) magnitudes[m * N + n] += magnitude * fabs(dure_reference_get(&o[A], m * K + k));
    }
    for (uint64_t m = 0; m < M; m++) {
      if (dure_operand_is_present(&o[BIAS])) magnitudes[m * N + n] += fabs(dure_reference_get(&o[BIAS], n));
      if (dure_operand_is_present(&o[RESIDUAL]))
        magnitudes[m * N + n] += fabs(dure_reference_get(&o[RESIDUAL], m * N + n));
    }
  }
}

static double moment_before(const dure_op_call *before, uint32_t moment, uint64_t index) {
  const dure_operand *operand = &before->operands[moment], *scales = &before->operands[moment + 2];
  if (operand->dtype != DURE_DTYPE_U8) return dure_reference_get(operand, index);
  const uint8_t code = ((const uint8_t *)operand->buffer->mapped)[operand->offset + index];
  const float scale = (float)dure_reference_get(scales, index / DURE_MOMENT_BLOCK);
  return (double)(moment == 6 ? dure_first_moment_decode(code, scale) : dure_second_moment_decode(code, scale));
}

// The scales of blocks are the largest of their elements.
static void adamw_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes) {
  enum { PARAMETER = 4, MASTER, FIRST_MOMENT, SECOND_MOMENT, FIRST_SCALES, SECOND_SCALES };
  const dure_adamw_attributes *a = &c->attributes.adamw;
  const dure_operand *step = &before->operands[1];
  const dure_operand *updated = &before->operands[c->operands[MASTER].present ? MASTER : PARAMETER];
  double beta1 = (double)a->beta1, beta2 = (double)a->beta2;
  double scale = dure_reference_get(&before->operands[2], DURE_STATE_SCALE);
  double rate = dure_reference_get(step, DURE_STEP_LEARNING_RATE);
  uint64_t count = dure_operand_count(&before->operands[0]);
  for (uint64_t i = 0; i < count; i++) {
    double g = fabs(dure_reference_get(&before->operands[0], i) * scale);
    double p = fabs(dure_reference_get(updated, i));
    double m = beta1 * fabs(moment_before(before, FIRST_MOMENT, i)) + (1 - beta1) * g;
    double v = beta2 * fabs(moment_before(before, SECOND_MOMENT, i)) + (1 - beta2) * g * g;
    double root = sqrt(v * dure_reference_get(step, DURE_STEP_CORRECTION2)) + (double)a->epsilon;
    double update = m * dure_reference_get(step, DURE_STEP_CORRECTION1) / root + (double)a->weight_decay * p;
    double *scaled = &magnitudes[i / DURE_MOMENT_BLOCK];
    if (output == PARAMETER || output == MASTER) magnitudes[i] = p + rate * update;
    if (output == FIRST_MOMENT) magnitudes[i] = m;
    if (output == SECOND_MOMENT) magnitudes[i] = v;
    if (output == FIRST_SCALES) *scaled = fmax(*scaled, m);
    if (output == SECOND_SCALES) *scaled = fmax(*scaled, v);
  }
}

// Weights are shares of the factor, or scores up to it.
static void route_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes) {
  const uint64_t count = dure_operand_count(&before->operands[output]);
  for (uint64_t i = 0; i < count; i++) magnitudes[i] = (double)c->attributes.route.factor;
}

// Of each row's sum of dweights * weights, as it comes and taken by the chosen.
static void route_gradient_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                      double *magnitudes) {
  enum { LOGITS, WEIGHTS, EXPERTS, DWEIGHTS };
  const uint64_t E = dure_reference_width(&before->operands[LOGITS]), K = c->attributes.route.count;
  const double factor = (double)c->attributes.route.factor;
  for (uint64_t r = 0; r < dure_operand_rows(&before->operands[LOGITS]); r++) {
    double dot = 0, largest = 1;
    for (uint64_t k = r * K; k < (r + 1) * K; k++) {
      const double weight = fabs(dure_reference_get(&before->operands[WEIGHTS], k));
      dot += fabs(dure_reference_get(&before->operands[DWEIGHTS], k)) * weight;
      largest = fmax(largest, weight / factor);
    }
    for (uint64_t i = r * E; i < (r + 1) * E; i++) {
      magnitudes[i] = dot * (1 + largest);
      if (dure_reference_accumulates(before, output))
        magnitudes[i] += fabs(dure_reference_get(&before->operands[output], i));
    }
  }
}

typedef void (*magnitude_rule)(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes);

// Rows that are not named here: absolute values.
static const magnitude_rule rules[DURE_OP_COUNT] = {
    [DURE_OP_matmul_q8] = matmul_q8_magnitudes,
    [DURE_OP_unpack_blocks] = unpack_blocks_magnitudes,
    [DURE_OP_matmul_blocks] = matmul_blocks_magnitudes,
    [DURE_OP_layer_norm] = layer_norm_magnitudes,
    [DURE_OP_layer_norm_gradient] = layer_norm_gradient_magnitudes,
    [DURE_OP_rms_norm_gradient] = rms_norm_gradient_magnitudes,
    [DURE_OP_gated_activation] = gated_magnitudes,
    [DURE_OP_gated_activation_gradient] = gated_magnitudes,
    [DURE_OP_rotary] = rotary_magnitudes,
    [DURE_OP_route] = route_magnitudes,
    [DURE_OP_route_gradient] = route_gradient_magnitudes,
    [DURE_OP_activation] = activation_magnitudes,
    [DURE_OP_activation_gradient] = activation_gradient_magnitudes,
    [DURE_OP_attention] = dure_attention_magnitudes,
    [DURE_OP_attention_gradient] = dure_attention_gradient_magnitudes,
    [DURE_OP_attention_cached] = dure_attention_cached_magnitudes,
    [DURE_OP_cross_entropy] = cross_entropy_magnitudes,
    [DURE_OP_cross_entropy_gradient] = cross_entropy_gradient_magnitudes,
    [DURE_OP_linear_cross_entropy] = dure_linear_loss_magnitudes,
    [DURE_OP_linear_cross_entropy_gradient] = dure_linear_loss_magnitudes,
    [DURE_OP_gradient_clip] = gradient_clip_magnitudes,
    [DURE_OP_adamw] = adamw_magnitudes,
};

// What values rounded on the way to 16-bit storage are a part of; rows that are not named here: the same as above.
static const magnitude_rule rounded_rules[DURE_OP_COUNT] = {
    [DURE_OP_attention] = dure_attention_rounded,
    [DURE_OP_attention_gradient] = dure_attention_gradient_rounded,
};

static dure_status apply_rule(magnitude_rule rule, const dure_case *c, const dure_case_data *initial, uint32_t operand,
                              double **out_magnitudes) {
  uint64_t count = dure_case_count(&c->operands[operand]);
  DURE_TRY(dure_reference_scratch(count, out_magnitudes));
  memset(*out_magnitudes, 0, (size_t)count * sizeof(double));
  bool is_exact = c->reduction == 0 && c->roundings == 0;
  if (is_exact) return NULL;
  if (rule != NULL) {
    dure_buffer buffers[DURE_MAX_OPERANDS];
    dure_op_call before = dure_case_call(c, initial, buffers);
    rule(c, &before, operand, *out_magnitudes);
    return NULL;
  }
  dure_status status = absolute_magnitudes(c, initial, operand, *out_magnitudes);
  if (status == NULL) return NULL;
  free(*out_magnitudes);
  *out_magnitudes = NULL;
  return status;
}

dure_status dure_case_magnitudes(const dure_case *c, const dure_case_data *initial, uint32_t operand,
                                 double **out_magnitudes) {
  return apply_rule(rules[c->op], c, initial, operand, out_magnitudes);
}

dure_status dure_case_rounded(const dure_case *c, const dure_case_data *initial, uint32_t operand,
                              double **out_magnitudes) {
  *out_magnitudes = NULL;
  if (rounded_rules[c->op] == NULL || c->storage == DURE_DTYPE_NONE) return NULL;
  return apply_rule(rounded_rules[c->op], c, initial, operand, out_magnitudes);
}
