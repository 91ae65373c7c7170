// fill, copy, add, multiply, activations and their gradients: one element in, one element out.
#include <math.h>

#include "runtime/reference/reference.h"

enum { CHUNK = DURE_REFERENCE_CHUNK };

static uint64_t chunk_at(uint64_t first, uint64_t element_count) {
  return element_count - first < CHUNK ? element_count - first : CHUNK;
}

dure_status dure_reference_fill(const dure_op_call *call) {
  const dure_operand *y = &call->operands[0];
  double values[CHUNK];
  for (int i = 0; i < CHUNK; i++) values[i] = (double)call->attributes.fill.value;
  uint64_t element_count = dure_operand_count(y);
  for (uint64_t first = 0; first < element_count; first += CHUNK) {
    dure_reference_store(y, first, chunk_at(first, element_count), values, false);
  }
  return NULL;
}

dure_status dure_reference_copy(const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  uint64_t element_count = dure_operand_count(y);
  for (uint64_t first = 0; first < element_count; first += CHUNK) {
    uint64_t count = chunk_at(first, element_count);
    double values[CHUNK];
    dure_reference_load(x, first, count, values);
    dure_reference_store(y, first, count, values, dure_reference_accumulates(call, 1));
  }
  return NULL;
}

dure_status dure_reference_scale(const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  const double factor = (double)call->attributes.scale.factor;
  uint64_t element_count = dure_operand_count(y);
  for (uint64_t first = 0; first < element_count; first += CHUNK) {
    uint64_t count = chunk_at(first, element_count);
    double values[CHUNK];
    dure_reference_load(x, first, count, values);
    for (uint64_t i = 0; i < count; i++) values[i] *= factor;
    dure_reference_store(y, first, count, values, dure_reference_accumulates(call, 1));
  }
  return NULL;
}

dure_status dure_reference_add(const dure_op_call *call) {
  const dure_operand *a = &call->operands[0], *b = &call->operands[1], *y = &call->operands[2];
  uint64_t element_count = dure_operand_count(y);
  for (uint64_t first = 0; first < element_count; first += CHUNK) {
    uint64_t count = chunk_at(first, element_count);
    double sums[CHUNK], others[CHUNK];
    dure_reference_load(a, first, count, sums);
    dure_reference_load(b, first, count, others);
    for (uint64_t i = 0; i < count; i++) sums[i] += others[i];
    dure_reference_store(y, first, count, sums, dure_reference_accumulates(call, 2));
  }
  return NULL;
}

dure_status dure_reference_multiply(const dure_op_call *call) {
  const dure_operand *a = &call->operands[0], *b = &call->operands[1], *y = &call->operands[2];
  uint64_t element_count = dure_operand_count(y);
  for (uint64_t first = 0; first < element_count; first += CHUNK) {
    uint64_t count = chunk_at(first, element_count);
    double products[CHUNK], others[CHUNK];
    dure_reference_load(a, first, count, products);
    dure_reference_load(b, first, count, others);
    for (uint64_t i = 0; i < count; i++) products[i] *= others[i];
    dure_reference_store(y, first, count, products, dure_reference_accumulates(call, 2));
  }
  return NULL;
}

// ---- activations ------------------------------------------------------------------------------------------------

static const double square_root_2_over_pi = 0.79788456080286535588;
static const double square_root_half = 0.70710678118654752440;
static const double normal_density_at_0 = 0.39894228040143267794;  // 1 / sqrt(2 pi)

static double gelu_tanh(double x) { return 0.5 * x * (1 + tanh(square_root_2_over_pi * (x + 0.044715 * x * x * x))); }

static double gelu_tanh_slope(double x) {
  double t = tanh(square_root_2_over_pi * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * square_root_2_over_pi * (1 + 3 * 0.044715 * x * x);
}

static double gelu_erf(double x) { return 0.5 * x * (1 + erf(x * square_root_half)); }

static double gelu_erf_slope(double x) {
  return 0.5 * (1 + erf(x * square_root_half)) + x * normal_density_at_0 * exp(-0.5 * x * x);
}

// Comparisons are written so that NaN stays NaN.
static double relu(double x) { return x <= 0 ? 0 : x; }
static double relu_slope(double x) { return x <= 0 ? 0 : 1; }

static double silu(double x) { return x / (1 + exp(-x)); }

static double silu_slope(double x) {
  double sigmoid = 1 / (1 + exp(-x));
  return sigmoid * (1 + x * (1 - sigmoid));
}

static double tanh_slope(double x) {
  const double t = cosh(x);
  return 1 / (t * t);
}

typedef double (*scalar_function)(double x);

static const struct {
  scalar_function value, slope;
} activations[] = {
    [DURE_ACTIVATION_GELU_TANH] = {gelu_tanh, gelu_tanh_slope},
    [DURE_ACTIVATION_GELU_ERF] = {gelu_erf, gelu_erf_slope},
    [DURE_ACTIVATION_RELU] = {relu, relu_slope},
    [DURE_ACTIVATION_SILU] = {silu, silu_slope},
    [DURE_ACTIVATION_TANH] = {tanh, tanh_slope},
};

double dure_reference_activation_value(dure_activation kind, double x) { return activations[kind].value(x); }
double dure_reference_activation_slope(dure_activation kind, double x) { return activations[kind].slope(x); }

dure_status dure_reference_activation(const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *y = &call->operands[1];
  scalar_function f = activations[call->attributes.activation.kind].value;
  uint64_t element_count = dure_operand_count(y);
  for (uint64_t first = 0; first < element_count; first += CHUNK) {
    uint64_t count = chunk_at(first, element_count);
    double values[CHUNK];
    dure_reference_load(x, first, count, values);
    for (uint64_t i = 0; i < count; i++) values[i] = f(values[i]);
    dure_reference_store(y, first, count, values, false);
  }
  return NULL;
}

dure_status dure_reference_activation_gradient(const dure_op_call *call) {
  const dure_operand *x = &call->operands[0], *dy = &call->operands[1], *dx = &call->operands[2];
  scalar_function slope = activations[call->attributes.activation.kind].slope;
  uint64_t element_count = dure_operand_count(dx);
  for (uint64_t first = 0; first < element_count; first += CHUNK) {
    uint64_t count = chunk_at(first, element_count);
    double values[CHUNK], gradients[CHUNK];
    dure_reference_load(x, first, count, values);
    dure_reference_load(dy, first, count, gradients);
    for (uint64_t i = 0; i < count; i++) gradients[i] *= slope(values[i]);
    dure_reference_store(dx, first, count, gradients, dure_reference_accumulates(call, 2));
  }
  return NULL;
}

// ---- gated activations ------------------------------------------------------------------------------------------

dure_status dure_reference_gated_activation(const dure_op_call *call) {
  const dure_operand *gate = &call->operands[0], *up = &call->operands[1], *y = &call->operands[2];
  scalar_function f = activations[call->attributes.activation.kind].value;
  uint64_t element_count = dure_operand_count(y);
  for (uint64_t first = 0; first < element_count; first += CHUNK) {
    uint64_t count = chunk_at(first, element_count);
    double values[CHUNK], factors[CHUNK];
    dure_reference_load(gate, first, count, values);
    dure_reference_load(up, first, count, factors);
    for (uint64_t i = 0; i < count; i++) values[i] = f(values[i]) * factors[i];
    dure_reference_store(y, first, count, values, false);
  }
  return NULL;
}

dure_status dure_reference_gated_activation_gradient(const dure_op_call *call) {
  const dure_operand *gate = &call->operands[0], *up = &call->operands[1], *dy = &call->operands[2];
  scalar_function f = activations[call->attributes.activation.kind].value;
  scalar_function slope = activations[call->attributes.activation.kind].slope;
  uint64_t element_count = dure_operand_count(dy);
  for (uint64_t first = 0; first < element_count; first += CHUNK) {
    uint64_t count = chunk_at(first, element_count);
    double gates[CHUNK], ups[CHUNK], gradients[CHUNK];
    dure_reference_load(gate, first, count, gates);
    dure_reference_load(up, first, count, ups);
    dure_reference_load(dy, first, count, gradients);
    for (uint64_t i = 0; i < count; i++) {
      double g = gates[i];
      gates[i] = slope(g) * ups[i] * gradients[i];
      ups[i] = f(g) * gradients[i];
    }
    dure_reference_store(&call->operands[3], first, count, gates, false);
    dure_reference_store(&call->operands[4], first, count, ups, false);
  }
  return NULL;
}
