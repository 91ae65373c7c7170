// The conformance suite: every op of ops.def on a device against the oracle, the same cases for `dure selftest` and the
// tests.
//
// A case is one op call: shapes, attributes, inputs made from a seed derived from the case's name. It is built as a
// program with a sentinel around every allocation, compiled for the device, run twice, and held against the oracle
// (runtime/reference/):
//   - each written element within a tolerance derived from the rounding errors the op may make (docs/testing.md), and
//     NaN and infinity exactly where the oracle has them;
//   - elements that the op must leave alone, and all inputs, unchanged to the bit;
//   - the sentinels intact;
//   - the second run's results equal to the first's to the bit.
// Some cases run on a second opening of the same device with small limits, so that expand() cuts small operands.
#ifndef DURE_RUNTIME_CONFORMANCE_CONFORMANCE_H_
#define DURE_RUNTIME_CONFORMANCE_CONFORMANCE_H_

#include "runtime/hal.h"
#include "runtime/status.h"

typedef enum dure_conformance_outcome {
  DURE_CONFORMANCE_PASS,
  DURE_CONFORMANCE_FAIL,
  DURE_CONFORMANCE_SKIPPED,           // the machine cannot hold the case; the message says why
  DURE_CONFORMANCE_UNSUPPORTED,       // the device has no kernel for the op
  DURE_CONFORMANCE_EXPECTED_FAILURE,  // listed in expected_failures.def; passing although listed is a failure
  DURE_CONFORMANCE_OUTCOME_COUNT,
} dure_conformance_outcome;

const char *dure_conformance_outcome_name(dure_conformance_outcome outcome);

// Deliberate damage to what the device computed, to prove that the suite notices it.
typedef enum dure_conformance_damage {
  DURE_CONFORMANCE_INTACT,
  DURE_CONFORMANCE_WRONG_VALUE,     // one output element is off by more than its tolerance
  DURE_CONFORMANCE_FALSE_NAN,       // one output element is NaN
  DURE_CONFORMANCE_TOUCHED_INPUT,   // one bit of an input is flipped
  DURE_CONFORMANCE_BROKEN_GUARD,    // the sentinel before an operand is overwritten
  DURE_CONFORMANCE_NOT_REPEATABLE,  // one bit of the second run's output is flipped
} dure_conformance_damage;

typedef struct dure_conformance_options {
  const char *op;         // only this op's cases; NULL: all
  const char *case_name;  // only the case of this name (also when it belongs to the full set); NULL: all
  bool full;              // larger shapes as well, among them operands larger than one binding
  uint64_t seed;          // changes all inputs; 0 is the usual set
  uint32_t every;         // > 1: only about one case in so many, drawn by name; `part` (below `every`) says which
  uint32_t part;
  dure_conformance_damage damage;
} dure_conformance_options;

typedef struct dure_conformance_result {
  const char *op, *name;  // valid during the call
  dure_conformance_outcome outcome;
  char message[768];   // what went wrong or why it did not run; empty when passed
  double worst_error;  // the largest error found, in tolerances; at most 1 when passed
  double seconds;
  size_t index, count;  // this case's place in the run, from 0
} dure_conformance_result;

typedef void (*dure_conformance_sink)(void *context, const dure_conformance_result *result);

typedef struct dure_conformance_summary {
  size_t counts[DURE_CONFORMANCE_OUTCOME_COUNT];
  double seconds;
} dure_conformance_summary;

// Runs the chosen cases and hands each result to the sink (may be NULL). Fails with DURE_NOT_FOUND for an op or case
// that does not exist, DURE_CANCELLED on an interrupt, DURE_DEVICE_LOST when the device goes away; a case that fails is
// a result, not a failure of this function.
DURE_MUST_CHECK dure_status dure_conformance_run(dure_device *device, const dure_conformance_options *options,
                                                 dure_conformance_sink sink, void *context,
                                                 dure_conformance_summary *out_summary);

#endif  // DURE_RUNTIME_CONFORMANCE_CONFORMANCE_H_
