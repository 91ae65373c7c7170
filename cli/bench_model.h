// dure bench MODEL: how fast a model takes prompts and generates; and two such measurements compared.
#ifndef DURE_CLI_BENCH_MODEL_H_
#define DURE_CLI_BENCH_MODEL_H_

#include <jansson.h>

#include "runtime/hal.h"

// As command_bench, when argv[1] is a model, "compare" or "report".
int bench_model(int argc, char **argv);
int bench_compare(int argc, char **argv);
int bench_report(int argc, char **argv);

// Tokens a second of `repeats` training steps of batch_size x context tokens, after one that is not counted.
// DURE_UNSUPPORTED for quantised weights.
DURE_MUST_CHECK dure_status bench_training(dure_device *device, const char *path, const char *dtype, uint32_t context,
                                           uint32_t batch_size, uint32_t repeats, double *out_rates);

// The array of tests that `dure bench MODEL -o json` (or one a line, jsonl) has written.
DURE_MUST_CHECK dure_status bench_read_tests(const char *path, json_t **out_tests);

#endif  // DURE_CLI_BENCH_MODEL_H_
