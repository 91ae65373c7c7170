// The held-out loss of a run, shared by its ranks.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/trainer_internal.h"
#include "runtime/os.h"

// Batch number `batch` of an evaluation over `chosen` of the `count` held-out windows, spread evenly; rows beyond are
// padding.
static dure_status read_held_out(const trainer *t, uint64_t batch, uint64_t chosen, uint64_t count) {
  const uint32_t B = t->evaluation_rows, T = t->shape.context;
  for (uint32_t row = 0; row < t->shape.batch_size; row++) {
    uint64_t i = batch * B + row;
    uint64_t window = i < chosen && row < B ? (uint64_t)((double)i * (double)count / (double)chosen) : count;
    DURE_TRY(dure_loader_read(t->held_out_loader, window, 1, t->tokens + (size_t)row * T, t->labels + (size_t)row * T));
  }
  trainer_keep_own_tokens(t, t->shape.batch_size);
  return NULL;
}

void trainer_keep_own_tokens(const trainer *t, uint64_t rows) {
  const uint64_t T = t->shape.context, own = dure_training_tokens(&t->shape);
  const uint64_t first = own < T ? t->shape.sequence_part * own : 0;
  for (uint64_t i = 0; own < T && i < rows; i++) {
    memmove(t->tokens + i * own, t->tokens + i * T + first, own * sizeof(*t->tokens));
    memmove(t->labels + i * own, t->labels + i * T + first, own * sizeof(*t->labels));
  }
}

// Whoever interrupts does not wait for an evaluation, except for the last one: the run is over after it.
bool trainer_gives_up_evaluating(const trainer *t, uint64_t step) {
  return !are_several(t) && step != t->last_step && dure_os_interrupted();
}

// Losses of batches of which the last one may still be computed: the batch after it is prepared and uploaded meanwhile.
typedef struct evaluation {
  float *losses;      // of two batches
  uint64_t point[2];  // where each is there
  uint64_t labels;    // of all batches
  double sum;         // of those that have been waited for
} evaluation;

// Starts batch number `batch`, and adds up the losses of the one before; `is_there`: there is such a batch.
static dure_status evaluate_batch(trainer *t, evaluation *e, uint64_t batch, bool is_there, uint64_t chosen,
                                  uint64_t count) {
  const uint64_t batch_tokens = t->evaluation_rows * (uint64_t)t->shape.context;
  if (is_there) {
    DURE_TRY(read_held_out(t, batch * t->ranks.row_groups + t->ranks.row_group, chosen, count));
    for (uint64_t i = 0; i < batch_tokens; i++) e->labels += t->labels[i] != DURE_IGNORE_LABEL;
    DURE_TRY(dure_scorer_submit(t->scorer, t->tokens, t->labels, e->losses + batch % 2 * batch_tokens,
                                &e->point[batch % 2]));
  }
  if (batch == 0) return NULL;
  DURE_TRY(dure_scorer_wait(t->scorer, e->point[(batch - 1) % 2]));
  const float *losses = e->losses + (batch - 1) % 2 * batch_tokens;
  for (uint64_t i = 0; i < batch_tokens; i++) e->sum += (double)losses[i];
  return NULL;
}

// The same by the training's own forward pass, in which all ranks take part.
static dure_status evaluate_together(trainer *t, evaluation *e, uint64_t batch, uint64_t chosen, uint64_t count) {
  double sum;
  DURE_TRY(read_held_out(t, batch * t->ranks.row_groups + t->ranks.row_group, chosen, count));
  const uint64_t batch_tokens = t->evaluation_rows * (uint64_t)dure_training_tokens(&t->shape);
  for (uint64_t i = 0; i < batch_tokens; i++) e->labels += t->labels[i] != DURE_IGNORE_LABEL;
  DURE_TRY(dure_training_forward(t->training, t->tokens, t->labels, &sum));
  e->sum += sum;
  return NULL;
}

// Ranks take turns with the batches, and add up.
static dure_status evaluate_batches(trainer *t, evaluation *e, uint64_t step, uint64_t chosen, uint64_t count) {
  dure_status status = NULL;
  bool goes_on = true;
  for (uint64_t batch = 0; goes_on && status == NULL; batch++) {
    goes_on = batch * t->ranks.row_groups * t->evaluation_rows < chosen && !trainer_gives_up_evaluating(t, step);
    if (t->scorer != NULL) {
      status = evaluate_batch(t, e, batch, goes_on, chosen, count);
    } else if (goes_on) {
      status = evaluate_together(t, e, batch, chosen, count);
    }
  }
  double totals[2] = {e->sum, (double)e->labels};
  if (status == NULL) status = dure_ranks_sum(&t->ranks, totals, 2);
  e->sum = totals[0];
  e->labels = (uint64_t)totals[1];
  return status;
}

// The held-out loss, of everything at the last step and of --eval-tokens before that.
dure_status trainer_evaluate(trainer *t, uint64_t step, double *out_loss, double *out_bits_per_byte) {
  const uint64_t count = dure_loader_samples_per_epoch(t->held_out_loader), T = t->shape.context;
  const uint64_t wanted = (uint64_t)t->options->eval_tokens;
  const bool is_whole = wanted == 0 || step == t->last_step || wanted >= count * T;
  const uint64_t chosen = is_whole ? count : (wanted + T - 1) / T;
  evaluation e = {.losses = malloc(2 * t->evaluation_rows * T * sizeof(float))};
  if (e.losses == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory evaluating");
  dure_status status = evaluate_batches(t, &e, step, chosen, count);
  if (status != NULL && t->scorer != NULL)
    dure_status_free(dure_scorer_wait(t->scorer, 0));  // nothing may come into e.losses any more
  free(e.losses);
  DURE_TRY(status);
  // Of a part of the tokens, the bytes are taken in proportion.
  dure_split_counts counts = dure_dataset_counts(t->dataset, DURE_SPLIT_HELD_OUT);
  double bytes = (double)counts.text_bytes * (double)e.labels / (double)counts.tokens;
  *out_loss = e.labels > 0 ? e.sum / (double)e.labels : 0;
  *out_bits_per_byte = bytes > 0 ? e.sum / log(2.0) / bytes : 0;
  return NULL;
}
