// What the ranks of a run tell each other about it: whether they still have the same, what sending takes, whose value
// went bad.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/trainer_internal.h"

static dure_status compare(const trainer *t, dure_world *world, bool undivided_alone, const char *what) {
  uint64_t hash = 0;
  char text[32];
  DURE_TRY(dure_model_hash(t->model, undivided_alone, &hash));
  snprintf(text, sizeof(text), "%016" PRIx64, hash);
  return dure_status_prefix(dure_ranks_agree_among(world, what, text), "after step %" PRIu64, t->state.step);
}

dure_status trainer_verify(const trainer *t) {
  const dure_ranks *r = &t->ranks;
  if (!are_several(t)) return NULL;
  dure_world *alike = r->alike != NULL ? r->alike : r->world;
  if (dure_training_set_is_sharded(&t->shape, DURE_TRAINING_PARAMETERS)) alike = r->replicas;
  if (alike != NULL) DURE_TRY(compare(t, alike, false, "the parameters' checksum"));
  if (r->tensor == NULL) return NULL;
  return compare(t, r->tensor, true, "the checksum of the parameters that --tensor-parallel does not divide");
}

// What collectives took since the last step that was booked.
void trainer_note_communication(trainer *t, dure_metrics_row *row) {
  const dure_communicator_statistics now = dure_training_communication(t->training);
  row->communication_seconds = fmax(0, now.busy_seconds - t->sent.busy_seconds);
  row->exposed_seconds = fmax(0, now.wait_seconds - t->sent.wait_seconds);
  t->sent = now;
}

void trainer_report_communication(const trainer *t, uint64_t steps) {
  const dure_communicator_statistics *end = &t->sent, *begin = &t->sent_before;
  const double taken = end->busy_seconds - begin->busy_seconds, waited = end->wait_seconds - begin->wait_seconds;
  if (!(taken > 0) || steps == 0) return;
  trainer_say(t,
              "collectives: %.2f MiB sent in %.1f ms of each step, for %.1f ms of which the device waited (%.0f %% "
              "were hidden)",
              (double)(end->bytes_sent - begin->bytes_sent) / (double)steps * 0x1p-20, 1e3 * taken / (double)steps,
              1e3 * waited / (double)steps, 100 * fmax(0, 1 - waited / taken));
}

// Where the first bad value is, as far as this rank or another can tell.
dure_status trainer_find_bad_value(trainer *t, char *where, size_t size) {
  DURE_TRY(dure_training_explain(t->training, t->tokens, t->labels, where, size));
  if (!are_several(t)) return NULL;
  char *all = calloc(t->ranks.place.size, size);
  if (all == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory");
  dure_status status = dure_world_gather(t->ranks.world, where, size, all);
  for (uint32_t i = 0; status == NULL && i < t->ranks.place.size; i++) {
    if (all[i * size] == '\0') continue;
    snprintf(where, size, "%s: %.400s", dure_world_rank_name(t->ranks.world, i), all + i * size);
    break;
  }
  free(all);
  return status;
}
