// What a run writes besides checkpoints: metrics.jsonl, TensorBoard events, loss.svg.
#ifndef DURE_MODEL_RUN_FILES_H_
#define DURE_MODEL_RUN_FILES_H_

#include "model/metrics.h"

typedef struct dure_run_files dure_run_files;

// Opens RUN (made if it is not there) after step `done`: metrics are cut back to it, the curve is read from what stays.
// `last_step` is the right end of the curve.
DURE_MUST_CHECK dure_status dure_run_files_open(const char *run, uint64_t done, uint64_t last_step,
                                                dure_run_files **out_files);
void dure_run_files_close(dure_run_files *files);  // NULL is fine
// Adds a step everywhere; redraws the curve when the last drawing is old.
DURE_MUST_CHECK dure_status dure_run_files_append(dure_run_files *files, const dure_metrics_row *row);
DURE_MUST_CHECK dure_status dure_run_files_sync(dure_run_files *files);  // metrics are on the disk afterwards
DURE_MUST_CHECK dure_status dure_run_files_draw(dure_run_files *files);  // loss.svg now, if there is something new

#endif  // DURE_MODEL_RUN_FILES_H_
