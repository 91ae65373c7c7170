#include "runtime/conformance/attention_magnitudes.h"

#include <math.h>
#include <string.h>

#include "runtime/reference/reference.h"

enum { LARGEST_HEAD = 512 };  // elements of a head that fit the local rows

// Where the keys and values of a query lie: contiguous in time, or paged.
typedef struct positions {
  const dure_op_call *call;
  const dure_operand *keys, *values, *slopes;
  const dure_operand *key_scales, *value_scales;    // of caches in blocks
  const dure_operand *block_table, *cached_before;  // NULL: not cached
  const dure_operand *document_starts;              // may be absent
  uint64_t B, T, H, G, D, window;
} positions;

static positions positions_of(const dure_op_call *call) {
  const dure_operand *q = &call->operands[0], *k = &call->operands[1];
  bool cached = call->op == DURE_OP_attention_cached;
  static const dure_operand none;
  return (positions){.call = call,
                     .keys = k,
                     .values = &call->operands[2],
                     .slopes = &call->operands[cached ? 5 : 4],
                     .block_table = cached ? &call->operands[3] : NULL,
                     .cached_before = cached ? &call->operands[4] : NULL,
                     .key_scales = cached ? &call->operands[6] : NULL,
                     .value_scales = cached ? &call->operands[7] : NULL,
                     .document_starts = cached ? &none : &call->operands[3],
                     .B = q->shape[0],
                     .T = q->shape[1],
                     .H = q->shape[2],
                     .G = k->shape[2],
                     .D = q->shape[3],
                     .window = call->attributes.attention.window};
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
  if (dure_operand_is_present(p->document_starts)) {
    uint64_t start = dure_reference_get_u32(p->document_starts, b * p->T + t);
    if (start > t) start = t;
    if (start > first) first = start;
  }
  if (p->block_table != NULL) end = (uint64_t)fmin((double)end, (double)(p->block_table->shape[1] * p->keys->shape[1]));
  return (visible){first, end};
}

typedef struct score {
  double value, size;
} score;  // a score, and its terms' absolute values summed

// A query, and which one it is.
typedef struct query {
  uint64_t b, g, position;
  double slope, q[LARGEST_HEAD];
} query;

static query query_of(const positions *p, uint64_t index) {
  uint64_t b = index / p->H / p->T, t = index / p->H % p->T, h = index % p->H;
  query one = {.b = b, .g = h / (p->H / p->G), .position = t, .slope = dure_reference_attention_slope(p->slopes, h)};
  if (p->cached_before != NULL) one.position += dure_reference_get_u32(p->cached_before, b);
  dure_reference_load(&p->call->operands[0], index * p->D, p->D, one.q);
  return one;
}

static score score_of(const positions *p, const query *one, uint64_t s) {
  double k[LARGEST_HEAD], sum = 0, size = 0;
  dure_reference_load_blocks(p->keys, p->key_scales, key_index(p, one->b, s, one->g), p->D, k);
  for (uint64_t d = 0; d < p->D; d++) {
    sum += one->q[d] * k[d];
    size += fabs(one->q[d] * k[d]);
  }
  const double distance = (double)one->position - (double)s, scale = (double)p->call->attributes.attention.scale;
  return (score){dure_reference_attention_score(p->call, sum, one->slope, distance).value,
                 size * fabs(scale) + fabs(one->slope * distance)};
}

// log of the sum of exponentials of the query's scores, and the largest size of one
static score log_sum_exp(const positions *p, const query *one_query, visible range) {
  double maximum = -(double)INFINITY, sum = 0, size = 0;
  for (uint64_t s = range.first; s < range.end; s++) {
    score one = score_of(p, one_query, s);
    if (one.value > maximum) {
      sum *= exp(maximum - one.value);
      maximum = one.value;
    }
    sum += exp(one.value - maximum);
    size = fmax(size, one.size);
  }
  return (score){maximum + log(sum), size};
}

// What an output's error is relative to: that of f32 arithmetic, or of probabilities and gradients of scores that are
// rounded once to 16 bits. The latter do not carry the scores' error, and reach no log_sum_exp: it is summed in f32.
typedef enum error_kind { OF_F32, OF_ROUNDED_FACTORS } error_kind;

static void add_forward(const dure_op_call *before, uint32_t output, error_kind kind, double *magnitudes) {
  positions p = positions_of(before);
  if (p.D > LARGEST_HEAD) return;
  enum { LOG_SUM_EXP = 6 };
  bool is_log_sum_exp = output == LOG_SUM_EXP && p.block_table == NULL;
  if (is_log_sum_exp && kind == OF_ROUNDED_FACTORS) return;
  for (uint64_t i = 0; i < p.B * p.T * p.H; i++) {
    uint64_t b = i / p.H / p.T, t = i / p.H % p.T, h = i % p.H;
    query one = query_of(&p, i);
    double v[LARGEST_HEAD];
    visible range = visible_to(&p, b, t);
    score total = log_sum_exp(&p, &one, range);
    const double error = kind == OF_F32 ? 1 + total.size : 1;
    if (is_log_sum_exp) magnitudes[(b * p.H + h) * p.T + t] = fabs(total.value) + error;
    for (uint64_t s = range.first; s < range.end && !is_log_sum_exp; s++) {
      double probability = exp(score_of(&p, &one, s).value - total.value);
      dure_reference_load_blocks(p.values, p.value_scales, key_index(&p, b, s, one.g), p.D, v);
      for (uint64_t d = 0; d < p.D; d++) magnitudes[i * p.D + d] += probability * fabs(v[d]) * error;
    }
  }
}

void dure_attention_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes) {
  (void)c;
  add_forward(before, output, OF_F32, magnitudes);
}

void dure_attention_rounded(const dure_case *c, const dure_op_call *before, uint32_t output, double *magnitudes) {
  (void)c;
  add_forward(before, output, OF_ROUNDED_FACTORS, magnitudes);
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

static double product(const double *a, const double *b, uint64_t count) {
  double sum = 0;
  for (uint64_t i = 0; i < count; i++) sum += a[i] * b[i];
  return sum;
}

// ds = p * (dy . v - dy . y) * scale; for f32's errors with absolute values and the error of p. dq gets ds |k|, dk ds
// |q|, dv p |dy|. A soft cap only makes the scores' slopes smaller than `scale`.
static void add_gradient(const dure_op_call *before, uint32_t output, error_kind kind, double *magnitudes) {
  enum { Y = 5, DY = 7, DQ = 8, DK = 9, DV = 10 };
  positions p = positions_of(before);
  const double scale = fabs((double)before->attributes.attention.scale);
  if (p.D > LARGEST_HEAD) return;
  for (uint64_t i = 0; i < p.B * p.T * p.H; i++) {
    uint64_t b = i / p.H / p.T, t = i / p.H % p.T;
    query one = query_of(&p, i);
    double k[LARGEST_HEAD], v[LARGEST_HEAD], y[LARGEST_HEAD], dy[LARGEST_HEAD];
    dure_reference_load(&before->operands[Y], i * p.D, p.D, y);
    dure_reference_load(&before->operands[DY], i * p.D, p.D, dy);
    visible range = visible_to(&p, b, t);
    score total = log_sum_exp(&p, &one, range);
    const double error = kind == OF_F32 ? 1 + total.size + fabs(total.value) : 1;
    for (uint64_t s = range.first; s < range.end; s++) {
      uint64_t key = key_index(&p, b, s, one.g);
      double probability = exp(score_of(&p, &one, s).value - total.value) * error;
      dure_reference_load(p.keys, key, p.D, k);
      dure_reference_load(p.values, key, p.D, v);
      double dp = kind == OF_F32 ? absolute_product(dy, v, p.D) + absolute_product(dy, y, p.D)
                                 : fabs(product(dy, v, p.D) - product(dy, y, p.D));
      double ds = probability * dp * scale;
      for (uint64_t d = 0; d < p.D; d++) {
        if (output == DQ) magnitudes[i * p.D + d] += ds * fabs(k[d]);
        if (output == DK) magnitudes[key + d] += ds * fabs(one.q[d]);
        if (output == DV) magnitudes[key + d] += probability * fabs(dy[d]);
      }
    }
  }
}

void dure_attention_gradient_magnitudes(const dure_case *c, const dure_op_call *before, uint32_t output,
                                        double *magnitudes) {
  (void)c;
  add_gradient(before, output, OF_F32, magnitudes);
}

void dure_attention_gradient_rounded(const dure_case *c, const dure_op_call *before, uint32_t output,
                                     double *magnitudes) {
  (void)c;
  add_gradient(before, output, OF_ROUNDED_FACTORS, magnitudes);
}
