#include "model/run_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/loss_svg.h"
#include "model/tensorboard.h"
#include "runtime/os.h"

static const uint64_t redraw_nanoseconds = UINT64_C(10) * 1000000000u;

struct dure_run_files {
  char *svg_path, *title;
  dure_metrics_file *metrics;
  dure_tensorboard *board;
  dure_curve training, held_out;
  double last_step;
  uint64_t drawn;  // when
  bool has_news;
  bool ran_out;  // of memory for the curve
};

static void add_to_curves(void *context, const dure_metrics_row *row) {
  dure_run_files *files = context;
  dure_status status = dure_curve_add(&files->training, (double)row->step, row->loss);
  if (status == NULL && row->has_evaluation) {
    status = dure_curve_add(&files->held_out, (double)row->step, row->evaluation_loss);
  }
  files->ran_out = files->ran_out || status != NULL;
  files->has_news = true;
  dure_status_free(status);
}

static dure_status open_all(const char *run, uint64_t done, dure_run_files *files) {
  DURE_TRY(dure_os_make_directories(run));
  char *metrics_path = dure_os_path_join(run, "metrics.jsonl");
  files->svg_path = dure_os_path_join(run, "loss.svg");
  files->title = strdup(run);
  if (metrics_path == NULL || files->svg_path == NULL || files->title == NULL) {
    free(metrics_path);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", run);
  }
  dure_status status = dure_metrics_open(metrics_path, done, add_to_curves, files, &files->metrics);
  free(metrics_path);
  DURE_TRY(status);
  return dure_tensorboard_create(run, done + 1, &files->board);
}

dure_status dure_run_files_open(const char *run, uint64_t done, uint64_t last_step, dure_run_files **out_files) {
  *out_files = NULL;
  dure_run_files *files = calloc(1, sizeof(*files));
  if (files == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", run);
  files->last_step = (double)last_step;
  dure_status status = open_all(run, done, files);
  if (status != NULL) {
    dure_run_files_close(files);
    return status;
  }
  *out_files = files;
  return NULL;
}

void dure_run_files_close(dure_run_files *files) {
  if (files == NULL) return;
  dure_metrics_close(files->metrics);
  dure_tensorboard_close(files->board);
  dure_curve_clear(&files->training);
  dure_curve_clear(&files->held_out);
  free(files->svg_path);
  free(files->title);
  free(files);
}

static dure_status append_to_board(dure_run_files *files, const dure_metrics_row *row) {
  dure_scalar scalars[10] = {
      {"train/loss", row->loss},
      {"train/grad_norm", row->gradient_norm},
      {"train/lr", row->learning_rate},
      {"speed/tokens_per_second", row->tokens_per_second},
      {"speed/flops_per_second", row->flops_per_second},
      {"memory/device_bytes", (double)row->device_memory_bytes},
  };
  size_t count = 6;
  if (row->loss_scale > 0) {
    scalars[count++] = (dure_scalar){"train/loss_scale", row->loss_scale};
    scalars[count++] = (dure_scalar){"train/skipped_steps", (double)row->skipped_steps};
  }
  if (row->has_evaluation) scalars[count++] = (dure_scalar){"held_out/loss", row->evaluation_loss};
  if (row->has_evaluation && row->bits_per_byte > 0)
    scalars[count++] = (dure_scalar){"held_out/bits_per_byte", row->bits_per_byte};
  return dure_tensorboard_append(files->board, row->step, scalars, count);
}

dure_status dure_run_files_append(dure_run_files *files, const dure_metrics_row *row) {
  DURE_TRY(dure_metrics_append(files->metrics, row));
  DURE_TRY(append_to_board(files, row));
  add_to_curves(files, row);
  if (files->ran_out) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory keeping the loss curve");
  if (dure_os_nanoseconds() - files->drawn < redraw_nanoseconds) return NULL;
  return dure_run_files_draw(files);
}

dure_status dure_run_files_sync(dure_run_files *files) { return dure_metrics_sync(files->metrics); }

dure_status dure_run_files_draw(dure_run_files *files) {
  if (!files->has_news) return NULL;
  files->drawn = dure_os_nanoseconds();
  files->has_news = false;
  return dure_loss_svg_write(files->svg_path, files->title, &files->training, &files->held_out, files->last_step);
}
