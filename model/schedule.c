#include "model/schedule.h"

#include <math.h>
#include <string.h>

static const char *const names[DURE_SCHEDULE_COUNT] = {"cosine", "linear", "constant", "wsd"};

const char *dure_schedule_name(dure_schedule_kind kind) { return kind < DURE_SCHEDULE_COUNT ? names[kind] : ""; }

bool dure_schedule_find(const char *name, dure_schedule_kind *out_kind) {
  for (int i = 0; i < DURE_SCHEDULE_COUNT; i++) {
    if (strcmp(name, names[i]) != 0) continue;
    *out_kind = (dure_schedule_kind)i;
    return true;
  }
  return false;
}

// How much of the way from `first` to `last` has been gone at `step`, in [0, 1].
static double progress(uint64_t step, uint64_t first, uint64_t last) {
  if (step >= last) return 1;
  if (step <= first) return 0;
  return (double)(step - first) / (double)(last - first);
}

double dure_schedule_learning_rate(const dure_schedule *schedule, uint64_t step) {
  const double pi = 3.14159265358979323846;
  const double span = schedule->peak - schedule->minimum;
  if (step < schedule->warmup) return schedule->peak * (double)step / (double)schedule->warmup;
  switch (schedule->kind) {
    case DURE_SCHEDULE_COSINE:
      return schedule->minimum + span * 0.5 * (1 + cos(pi * progress(step, schedule->warmup, schedule->total)));
    case DURE_SCHEDULE_LINEAR: return schedule->peak - span * progress(step, schedule->warmup, schedule->total);
    case DURE_SCHEDULE_WSD: {
      uint64_t decay = schedule->decay_steps < schedule->total ? schedule->decay_steps : schedule->total;
      uint64_t first = schedule->total - decay;
      if (first < schedule->warmup) first = schedule->warmup;
      return schedule->peak - span * progress(step, first, schedule->total);
    }
    case DURE_SCHEDULE_CONSTANT:
    case DURE_SCHEDULE_COUNT: break;
  }
  return schedule->peak;
}
