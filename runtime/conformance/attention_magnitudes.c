#include "runtime/conformance/attention_magnitudes.h"

#include <math.h>
#include <string.h>

#include "runtime/reference/reference.h"

enum { LARGEST_HEAD = 512 };  // elements of a head that fit the local rows

// Where the keys and values of a query lie: contiguous in time, or paged.
typedef struct positions {
  const dure_operand *keys, *values;
  const dure_operand *block_table, *cached_before;  // NULL: not cached
  uint64_t B, T, H, G, D, window;
  double scale;
} positions;

static positions positions_of(const dure_op_call *call) {
  const dure_operand *q = &call->operands[0], *k = &call->operands[1];
  bool cached = call->op == DURE_OP_attention_cached;
  return (positions){.keys = k,
                     .values = &call->operands[2],
                     .block_table = cached ? &call->operands[3] : NULL,
                     .cached_before = cached ? &call->operands[4] : NULL,
                     .B = q->shape[0],
                     .T = q->shape[1],
                     .H = q->shape[2],
                     .G = k->shape[2],
                     .D = q->shape[3],
                     .window = call->attributes.attention.window,
                     .scale = (double)call->attributes.attention.scale};
}

// Index of element 0 of position s of key head g.
static uint64_t key_index(const positions *p, uint64_t b, uint64_t s, uint64_t g) {
  if (p->block_table == NULL) return ((b * p->T + s) * p->G + g) * p->D;
  uint64_t block_size = p->keys->shape[1];
  uint64_t block = dure_reference_get_u32(p->block_table, b * p->block_table->shape[1] + s / block_size);
  return ((block * block_size + s % block_size) * p->G + g) * p->D;
}

typedef struct visible {
  uint64_t first, end;
} visible;

static visible visible_to(const positions *p, uint64_t b, uint64_t t) {
  uint64_t position = t + (p->cached_before != NULL ? dure_reference_get_u32(p->cached_before, b) : 0);
  uint64_t first = p->window > 0 && position + 1 > p->window ? position + 1 - p->window : 0;
  uint64_t end = position + 1;
  if (p->block_table != NULL) end = (uint64_t)fmin((double)end, (double)(p->block_table->shape[1] * p->keys->shape[1]));
  return (visible){first, end};
}

typedef struct score {
  double value, size;
} score;  // q . k * scale, and the same over absolute values

static score score_of(const positions *p, const double *q, uint64_t key) {
  double k[LARGEST_HEAD];
  dure_reference_load(p->keys, key, p->D, k);
  score s = {0, 0};
  for (uint64_t d = 0; d < p->D; d++) {
    s.value += q[d] * k[d] * p->scale;
    s.size += fabs(q[d] * k[d] * p->scale);
  }
  return s;
}

// log of the sum of exponentials of the query's scores, and the largest size of one
static score log_sum_exp(const positions *p, const double *q, uint64_t b, uint64_t g, visible range) {
  double maximum = -(double)INFINITY, sum = 0, size = 0;
  for (uint64_t s = range.first; s < range.end; s++) {
    score one = score_of(p, q, key_index(p, b, s, g));
    if (one.value > maximum) {
      sum *= exp(maximum - one.value);
      maximum = one.value;
    }
    sum += exp(one.value - maximum);
    size = fmax(size, one.size);
  }
  return (score){maximum + log(sum), size};
}

void dure_attention_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes) {
  (void)c;
  positions p = positions_of(before);
  if (p.D > LARGEST_HEAD) return;
  bool is_log_sum_exp = output == 4 && p.block_table == NULL;
  for (uint64_t i = 0; i < p.B * p.T * p.H; i++) {
    uint64_t b = i / p.H / p.T, t = i / p.H % p.T, h = i % p.H, g = h / (p.H / p.G);
    double q[LARGEST_HEAD], v[LARGEST_HEAD];
    dure_reference_load(&before->operands[0], i * p.D, p.D, q);
    visible range = visible_to(&p, b, t);
    score total = log_sum_exp(&p, q, b, g, range);
    if (is_log_sum_exp) magnitudes[(b * p.H + h) * p.T + t] = 1 + fabs(total.value) + total.size;
    for (uint64_t s = range.first; s < range.end && !is_log_sum_exp; s++) {
      uint64_t key = key_index(&p, b, s, g);
      double probability = exp(score_of(&p, q, key).value - total.value);
      dure_reference_load(p.values, key, p.D, v);
      for (uint64_t d = 0; d < p.D; d++) magnitudes[i * p.D + d] += probability * fabs(v[d]) * (1 + total.size);
    }
  }
}

void dure_attention_cached_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                      double *magnitudes) {
  dure_attention_magnitudes(c, before, output, magnitudes);
}

static double absolute_product(const double *a, const double *b, uint64_t count) {
  double sum = 0;
  for (uint64_t i = 0; i < count; i++) sum += fabs(a[i] * b[i]);
  return sum;
}

// ds = p * (dy . v - dy . y) * scale with absolute values and the error of p:  dq gets ds |k|, dk ds |q|, dv p |dy|
void dure_attention_gradient_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                        double *magnitudes) {
  (void)c;
  enum { Y = 3, DY = 5, DQ = 6, DK = 7 };
  positions p = positions_of(before);
  if (p.D > LARGEST_HEAD) return;
  for (uint64_t i = 0; i < p.B * p.T * p.H; i++) {
    uint64_t b = i / p.H / p.T, t = i / p.H % p.T, g = i % p.H / (p.H / p.G);
    double q[LARGEST_HEAD], k[LARGEST_HEAD], v[LARGEST_HEAD], y[LARGEST_HEAD], dy[LARGEST_HEAD];
    dure_reference_load(&before->operands[0], i * p.D, p.D, q);
    dure_reference_load(&before->operands[Y], i * p.D, p.D, y);
    dure_reference_load(&before->operands[DY], i * p.D, p.D, dy);
    visible range = visible_to(&p, b, t);
    score total = log_sum_exp(&p, q, b, g, range);
    for (uint64_t s = range.first; s < range.end; s++) {
      uint64_t key = key_index(&p, b, s, g);
      double probability = exp(score_of(&p, q, key).value - total.value) * (1 + total.size + fabs(total.value));
      dure_reference_load(p.keys, key, p.D, k);
      dure_reference_load(p.values, key, p.D, v);
      double ds = probability * (absolute_product(dy, v, p.D) + absolute_product(dy, y, p.D)) * fabs(p.scale);
      for (uint64_t d = 0; d < p.D; d++) {
        if (output == DQ) magnitudes[i * p.D + d] += ds * fabs(k[d]);
        if (output == DK) magnitudes[key + d] += ds * fabs(q[d]);
        if (output == DK + 1) magnitudes[key + d] += probability * fabs(dy[d]);
      }
    }
  }
}
