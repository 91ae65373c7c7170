// Causal attention forward and backward, one query at a time; scores of a query are a plain vector here.
#include <math.h>
#include <stdlib.h>

#include "runtime/reference/reference.h"

typedef struct attention_shape {
  uint64_t B, T, H, G, D;
  uint64_t queries_per_key;     // query heads that share a key head
  uint64_t row_begin, row_end;  // of T: what is computed
  const dure_op_call *call;
} attention_shape;

static attention_shape attention_shape_of(const dure_op_call *call) {
  const uint64_t *q = call->operands[0].shape;
  const dure_attention_attributes *attributes = &call->attributes.attention;
  attention_shape s = {.B = q[0], .T = q[1], .H = q[2], .G = call->operands[1].shape[2], .D = q[3], .call = call};
  s.queries_per_key = s.G > 0 ? s.H / s.G : 0;
  s.row_begin = attributes->first_row;
  s.row_end = attributes->row_count > 0 ? s.row_begin + attributes->row_count : s.T;
  return s;
}

// The first position that query t of sequence b sees.
static uint64_t first_position(const attention_shape *s, uint64_t b, uint64_t t) {
  enum { DOCUMENT_STARTS = 3 };
  const uint64_t window = s->call->attributes.attention.window;
  uint64_t first = window > 0 && t + 1 > window ? t + 1 - window : 0, start = 0;
  const dure_operand *document_starts = &s->call->operands[DOCUMENT_STARTS];
  if (dure_operand_is_present(document_starts)) start = dure_reference_get_u32(document_starts, b * s->T + t);
  if (start > t) start = t;
  return first > start ? first : start;
}

dure_reference_score dure_reference_attention_score(const dure_op_call *call, double product, double slope,
                                                    double distance) {
  const double scale = (double)call->attributes.attention.scale, cap = (double)call->attributes.attention.soft_cap;
  dure_reference_score score = {product * scale, scale};
  if (cap > 0) {
    const double squashed = tanh(score.value / cap);
    score.value = cap * squashed;
    score.slope = (1 - squashed) * (1 + squashed) * scale;
  }
  score.value -= slope * distance;
  return score;
}

double dure_reference_attention_slope(const dure_operand *slopes, uint64_t head) {
  return dure_operand_is_present(slopes) ? dure_reference_get(slopes, head) : 0;
}

// One head of a [B, T, heads, D] operand as [T, D].
static void load_head(const dure_operand *operand, uint64_t b, uint64_t head, double *out) {
  uint64_t T = operand->shape[1], heads = operand->shape[2], D = operand->shape[3];
  for (uint64_t t = 0; t < T; t++) dure_reference_load(operand, ((b * T + t) * heads + head) * D, D, out + t * D);
}

static void store_head(const dure_operand *operand, const attention_shape *s, uint64_t b, uint64_t head,
                       const double *values) {
  for (uint64_t t = s->row_begin; t < s->row_end; t++) {
    dure_reference_store(operand, ((b * s->T + t) * s->G + head) * s->D, s->D, values + t * s->D, false);
  }
}

static void transpose(const double *values, uint64_t T, uint64_t D, double *out) {
  for (uint64_t t = 0; t < T; t++) {
    for (uint64_t d = 0; d < D; d++) out[d * T + t] = values[t * D + d];
  }
}

// out[s] = sum over d of row[d] * columns[d, s] for s in [first, end); columns [D, T]
static void dot_products(const double *row, const double *columns, uint64_t D, uint64_t T, uint64_t first, uint64_t end,
                         double *out) {
  for (uint64_t s = first; s < end; s++) out[s] = 0;
  for (uint64_t d = 0; d < D; d++) {
    const double *column = columns + d * T;
    for (uint64_t s = first; s < end; s++) out[s] += row[d] * column[s];
  }
}

// Turns scores [first, end) into probabilities and returns the log of the sum of their exponentials.
static double softmax(double *scores, uint64_t first, uint64_t end) {
  double maximum = scores[first], sum = 0;
  for (uint64_t s = first; s < end; s++) maximum = scores[s] > maximum ? scores[s] : maximum;
  for (uint64_t s = first; s < end; s++) sum += scores[s] = exp(scores[s] - maximum);
  for (uint64_t s = first; s < end; s++) scores[s] /= sum;
  return maximum + log(sum);
}

// y[t] = sum over s of softmax(score of t and s) v[s], for t that sees the positions from `first`
static void attention_query(const attention_shape *s, uint64_t t, uint64_t first, double slope, const double *q,
                            const double *k_columns, const double *v, double *scores, double *y,
                            double *out_log_sum_exp) {
  dot_products(q, k_columns, s->D, s->T, first, t + 1, scores);
  for (uint64_t j = first; j <= t; j++) {
    scores[j] = dure_reference_attention_score(s->call, scores[j], slope, (double)(t - j)).value;
  }
  *out_log_sum_exp = softmax(scores, first, t + 1);
  for (uint64_t d = 0; d < s->D; d++) y[d] = 0;
  for (uint64_t j = first; j <= t; j++) {
    for (uint64_t d = 0; d < s->D; d++) y[d] += scores[j] * v[j * s->D + d];
  }
}

dure_status dure_reference_attention(const dure_op_call *call) {
  enum { Q, K, V, DOCUMENT_STARTS, SLOPES, Y, LOG_SUM_EXP };
  const dure_operand *k = &call->operands[K], *v = &call->operands[V], *y = &call->operands[Y];
  const dure_operand *log_sum_exps = &call->operands[LOG_SUM_EXP];
  attention_shape s = attention_shape_of(call);
  uint64_t head_size = s.T * s.D;
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(3 * head_size + s.T + 2 * s.D, &scratch));
  double *values = scratch, *k_columns = values + head_size, *v_head = k_columns + head_size;
  double *scores = v_head + head_size, *q_row = scores + s.T, *y_row = q_row + s.D;
  for (uint64_t b = 0; b < s.B; b++) {
    for (uint64_t h = 0; h < s.H; h++) {
      load_head(k, b, h / s.queries_per_key, values);
      transpose(values, s.T, s.D, k_columns);
      load_head(v, b, h / s.queries_per_key, v_head);
      const double slope = dure_reference_attention_slope(&call->operands[SLOPES], h);
      for (uint64_t t = s.row_begin; t < s.row_end; t++) {
        uint64_t row = (b * s.T + t) * s.H + h;
        double log_sum_exp = 0;
        dure_reference_load(&call->operands[Q], row * s.D, s.D, q_row);
        attention_query(&s, t, first_position(&s, b, t), slope, q_row, k_columns, v_head, scores, y_row, &log_sum_exp);
        dure_reference_store(y, row * s.D, s.D, y_row, false);
        dure_reference_put(log_sum_exps, (b * s.H + h) * s.T + t, log_sum_exp, false);
      }
    }
  }
  free(scratch);
  return NULL;
}

// ---- gradient (Dao et al. 2022, appendix B.2) -------------------------------------------------------------------

typedef struct attention_key_head {
  double *k, *v;                  // [T, D]
  double *k_columns, *v_columns;  // [D, T]
  double *dk, *dv;                // [T, D], summed over the query heads that share this key head
  double *p, *dp;                 // [T], of one query
  double *q, *y, *dy, *dq;        // [D], of one query
} attention_key_head;

static attention_key_head key_head_place(const attention_shape *s, double *scratch) {
  uint64_t head_size = s->T * s->D;
  attention_key_head head = {.k = scratch};
  head.v = head.k + head_size;
  head.k_columns = head.v + head_size;
  head.v_columns = head.k_columns + head_size;
  head.dk = head.v_columns + head_size;
  head.dv = head.dk + head_size;
  head.p = head.dv + head_size;
  head.dp = head.p + s->T;
  head.q = head.dp + s->T;
  head.y = head.q + s->D;
  head.dy = head.y + s->D;
  head.dq = head.dy + s->D;
  return head;
}

// p = exp(score - log_sum_exp), dp = dy . v, ds = p * (dp - dy . y) * d score / d (q . k);
// dq = sum of ds k, dk += ds q, dv += p dy
static void gradient_query(const attention_shape *s, const attention_key_head *head, uint64_t t, uint64_t first,
                           double slope, double log_sum_exp) {
  uint64_t D = s->D;
  dot_products(head->q, head->k_columns, D, s->T, first, t + 1, head->p);
  dot_products(head->dy, head->v_columns, D, s->T, first, t + 1, head->dp);
  double dy_y = 0;
  for (uint64_t d = 0; d < D; d++) dy_y += head->dy[d] * head->y[d];
  for (uint64_t d = 0; d < D; d++) head->dq[d] = 0;
  for (uint64_t j = first; j <= t; j++) {
    const dure_reference_score score = dure_reference_attention_score(s->call, head->p[j], slope, (double)(t - j));
    double p = exp(score.value - log_sum_exp);
    double ds = p * (head->dp[j] - dy_y) * score.slope;
    for (uint64_t d = 0; d < D; d++) {
      head->dq[d] += ds * head->k[j * D + d];
      head->dk[j * D + d] += ds * head->q[d];
      head->dv[j * D + d] += p * head->dy[d];
    }
  }
}

static void gradient_key_head(const dure_op_call *call, const attention_shape *s, const attention_key_head *head,
                              uint64_t b, uint64_t g) {
  enum { Q, K, V, DOCUMENT_STARTS, SLOPES, Y, LOG_SUM_EXP, DY, DQ, DK, DV };
  const dure_operand *operands = call->operands;
  load_head(&operands[K], b, g, head->k);
  load_head(&operands[V], b, g, head->v);
  transpose(head->k, s->T, s->D, head->k_columns);
  transpose(head->v, s->T, s->D, head->v_columns);
  for (uint64_t i = 0; i < s->T * s->D; i++) head->dk[i] = head->dv[i] = 0;
  for (uint64_t h = g * s->queries_per_key; h < (g + 1) * s->queries_per_key; h++) {
    const double slope = dure_reference_attention_slope(&operands[SLOPES], h);
    for (uint64_t t = s->row_begin; t < s->T; t++) {
      uint64_t row = (b * s->T + t) * s->H + h;
      dure_reference_load(&operands[Q], row * s->D, s->D, head->q);
      dure_reference_load(&operands[Y], row * s->D, s->D, head->y);
      dure_reference_load(&operands[DY], row * s->D, s->D, head->dy);
      gradient_query(s, head, t, first_position(s, b, t), slope,
                     dure_reference_get(&operands[LOG_SUM_EXP], (b * s->H + h) * s->T + t));
      if (t < s->row_end) dure_reference_store(&operands[DQ], row * s->D, s->D, head->dq, false);
    }
  }
  store_head(&operands[DK], s, b, g, head->dk);
  store_head(&operands[DV], s, b, g, head->dv);
}

dure_status dure_reference_attention_gradient(const dure_op_call *call) {
  attention_shape s = attention_shape_of(call);
  double *scratch = NULL;
  DURE_TRY(dure_reference_scratch(6 * s.T * s.D + 2 * s.T + 4 * s.D, &scratch));
  attention_key_head head = key_head_place(&s, scratch);
  for (uint64_t b = 0; b < s.B; b++) {
    for (uint64_t g = 0; g < s.G; g++) gradient_key_head(call, &s, &head, b, g);
  }
  free(scratch);
  return NULL;
}
