// The learning rate as a pure function of the step, in double.
//
// Steps count from 1 to `total`. A linear warmup of `warmup` steps from 0 (step s gets s / warmup), then:
//   constant  the peak
//   linear    straight down to `minimum` at the last step
//   cosine    Loshchilov and Hutter 2017, equation 5, without restarts, down to `minimum` at the last step
//   wsd       warmup, stable, decay (Hu et al. 2024, "MiniCPM", section 4.2): the peak, then over the last
//             `decay_steps` straight down to `minimum`
#ifndef DURE_MODEL_SCHEDULE_H_
#define DURE_MODEL_SCHEDULE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum dure_schedule_kind {
  DURE_SCHEDULE_COSINE,
  DURE_SCHEDULE_LINEAR,
  DURE_SCHEDULE_CONSTANT,
  DURE_SCHEDULE_WSD,
  DURE_SCHEDULE_COUNT,
} dure_schedule_kind;

typedef struct dure_schedule {
  dure_schedule_kind kind;
  double peak, minimum;
  uint64_t warmup, total, decay_steps;
} dure_schedule;

double dure_schedule_learning_rate(const dure_schedule *schedule, uint64_t step);

const char *dure_schedule_name(dure_schedule_kind kind);
bool dure_schedule_find(const char *name, dure_schedule_kind *out_kind);

#endif  // DURE_MODEL_SCHEDULE_H_
