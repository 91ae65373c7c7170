// What the ranks of a training would send each other in a step, and how long that takes beyond computing: a plan's
// other half (training_plan.h), from the programs as they would run and a model of the network. Nothing is run.
//
// Bytes are exact: every collective moves (N - 1) / N of its pools, an all-reduce twice. Time is a ring at the
// network's rate; what begins while the backward pass still computes is hidden behind it, as far as it goes.
#ifndef DURE_MODEL_EXCHANGE_PLAN_H_
#define DURE_MODEL_EXCHANGE_PLAN_H_

#include "model/training_plan.h"

// A link's rate, bytes/s in each direction of one rank: "1Gbit", "25Gbit", "12.5GB" (a second), or by name: "PCIe4",
// "PCIe5", "NVLink3", "NVLink4", "InfiniBand" (200 Gbit). DURE_INVALID_ARGUMENT names what is known.
DURE_MUST_CHECK dure_status dure_network_parse(const char *text, double *out_rate);

typedef struct dure_exchange_plan {
  double sent_bytes;        // by each rank in a step
  double seconds;           // that sending takes
  double hideable_seconds;  // of computing that goes on meanwhile
  double exposed_seconds;   // of sending that it does not hide
  double step_seconds;      // all in all
  double utilisation;       // of the device's rate of products, of the step
} dure_exchange_plan;

// Of the chosen footprint of a request whose options are one rank's of several (training_choice.h).
dure_exchange_plan dure_exchange_plan_make(const dure_plan_request *request, const dure_training_footprint *footprint,
                                           double rate);

#endif  // DURE_MODEL_EXCHANGE_PLAN_H_
