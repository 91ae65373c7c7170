// dure train: options from a checkpoint, a recipe and the command line; progress on standard error.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "model/checkpoint.h"
#include "model/trainer.h"
#include "runtime/os.h"

enum { max_options = 64 };
static const uint64_t line_nanoseconds = UINT64_C(5) * 1000000000u;  // between plain lines
static const uint64_t bar_nanoseconds = UINT64_C(100) * 1000000u;    // between redraws of the bar

// ---- progress ----------------------------------------------------------------------------------------------------

typedef struct display {
  bool is_terminal;
  bool bar_is_drawn;
  uint64_t last_nanoseconds;
} display;

static void clear_bar(display *d) {
  if (d->bar_is_drawn) fprintf(stderr, "\r\033[K");
  d->bar_is_drawn = false;
}

static void describe_time(double seconds, char *out_text, size_t size) {
  uint64_t s = seconds > 0 ? (uint64_t)(seconds + 0.5) : 0;
  if (s >= 86400) {
    snprintf(out_text, size, "%" PRIu64 "d %02" PRIu64 "h", s / 86400, s / 3600 % 24);
  } else if (s >= 3600) {
    snprintf(out_text, size, "%" PRIu64 "h %02" PRIu64 "m", s / 3600, s / 60 % 60);
  } else {
    snprintf(out_text, size, "%" PRIu64 "m %02" PRIu64 "s", s / 60, s % 60);
  }
}

static void draw_bar(display *d, const dure_train_progress *progress, const char *text) {
  uint32_t columns = dure_os_terminal_columns(2);
  uint32_t text_width = (uint32_t)strlen(text), width = columns > text_width + 4 ? columns - text_width - 4 : 0;
  if (width > 40) width = 40;
  uint32_t filled = progress->steps > 0 ? (uint32_t)(width * progress->step / progress->steps) : 0;
  fprintf(stderr, "\r\033[K%.*s", (int)(columns > 0 ? columns - 1 : 0), text);
  if (width >= 8) {
    fprintf(stderr, " [");
    for (uint32_t i = 0; i < width; i++) fputc(i < filled ? '=' : ' ', stderr);
    fputc(']', stderr);
  }
  fflush(stderr);
  d->bar_is_drawn = true;
}

static void on_progress(void *context, const dure_train_progress *progress) {
  display *d = context;
  uint64_t now = dure_os_nanoseconds();
  bool is_last = progress->step == progress->steps;
  if (!is_last && d->last_nanoseconds != 0 &&
      now - d->last_nanoseconds < (d->is_terminal ? bar_nanoseconds : line_nanoseconds)) {
    return;
  }
  d->last_nanoseconds = now;
  char left[32], text[160];
  describe_time(progress->seconds_left, left, sizeof(left));
  snprintf(text, sizeof(text), "step %" PRIu64 "/%" PRIu64 "  loss %.4f  %.0f tokens/s  %s left", progress->step,
           progress->steps, progress->loss, progress->tokens_per_second, left);
  if (d->is_terminal) {
    draw_bar(d, progress, text);
  } else {
    fprintf(stderr, "%s\n", text);
  }
}

static void on_evaluated(void *context, uint64_t step, double loss, double bits_per_byte) {
  display *d = context;
  clear_bar(d);
  fprintf(stderr, "step %" PRIu64 ": held-out loss %.4f", step, loss);
  if (bits_per_byte > 0) fprintf(stderr, ", %.4f bits per byte", bits_per_byte);
  fputc('\n', stderr);
}

static void on_message(void *context, const char *text) {
  clear_bar(context);
  fprintf(stderr, "%s\n", text);
}

// ---- options -----------------------------------------------------------------------------------------------------

typedef struct arguments {
  dure_train_options options;
  const char *recipe;
  bool resume, json;
} arguments;

static const char synopsis[] =
    "dure train [--recipe FILE] --model CONFIG_OR_DIR --data DIR --out RUN [options] [--resume]";
static const char description[] =
    "Trains a language model. A --model that is a config.json (or a directory with only that) begins from scratch; a "
    "model\n"
    "directory with weights is trained on. Every option may stand in a recipe (YAML, 'batch-size: 8') as well; the "
    "command\n"
    "line wins. RUN gets metrics.jsonl, TensorBoard events, loss.svg and checkpoints/. Ctrl-C saves; --resume goes on "
    "with the\n"
    "options that the run had, unless others are given.";
static const char example[] =
    "dure train --model config.json --data DATA --out RUN --steps 2000 --batch-size 8 --context 256 --lr 6e-4\n"
    "  dure train --out RUN --resume";

static int parse(arguments *a, int argc, char **argv) {
  static const option_kind kinds[] = {OPTION_TEXT, OPTION_INTEGER, OPTION_NUMBER, OPTION_FLAG, OPTION_SIZE};
  option_row rows[max_options];
  size_t count = 0, table_count;
  rows[count++] = (option_row){"recipe", OPTION_TEXT, &a->recipe, "FILE", "options from a YAML file"};
  const dure_train_option_row *table = dure_train_option_rows(&table_count);
  for (size_t i = 0; i < table_count && count < max_options - 2; i++) {
    void *value = (char *)&a->options + table[i].offset;
    rows[count++] = (option_row){table[i].name, kinds[table[i].kind], value, table[i].placeholder, table[i].help};
  }
  rows[count++] = (option_row){"resume", OPTION_FLAG, &a->resume, NULL, "go on from the newest checkpoint of --out"};
  rows[count++] = (option_row){"json", OPTION_FLAG, &a->json, NULL, "print the result as JSON on standard output"};
  const command_usage usage = {synopsis, description, rows, count, example, 0, 0};
  return command_parse(&usage, argc, argv, NULL, NULL);
}

// The options that the run in `out` was saved with; untouched when there is none.
static dure_status read_saved_options(const char *out, dure_train_options *options) {
  char *directory = NULL;
  DURE_TRY(dure_checkpoint_find(out, &directory));
  if (directory == NULL) return NULL;
  dure_trainer_state state;
  dure_status status = dure_checkpoint_read_state(directory, &state);
  free(directory);
  DURE_TRY(status);
  dure_train_options_clear(options);
  *options = state.options;  // with its texts
  options->stop_after = 0;
  return NULL;
}

// Both say how long to train: one given later takes the place of the other one given earlier.
static void replace_length(dure_train_options *options, const dure_train_options *given) {
  if (given->steps > 0 && given->epochs == 0) options->epochs = 0;
  if (given->epochs > 0 && given->steps == 0) options->steps = 0;
}

// Defaults, then the checkpoint's (when resuming), then the recipe's; the command line's come last. `first` was parsed
// over defaults, to know which files to read.
static dure_status gather(const arguments *first, dure_train_options *out_options) {
  dure_train_options recipe;
  dure_train_options_default(&recipe);
  dure_status status = first->recipe != NULL ? dure_train_options_read_recipe(&recipe, first->recipe) : NULL;
  const char *out = first->options.out != NULL ? first->options.out : recipe.out;
  if (status == NULL && first->resume && out != NULL) status = read_saved_options(out, out_options);
  replace_length(out_options, &recipe);
  if (status == NULL && first->recipe != NULL) status = dure_train_options_read_recipe(out_options, first->recipe);
  if (status == NULL && out != NULL) status = dure_train_options_set(out_options, "train", "out", out);
  dure_train_options_clear(&recipe);
  replace_length(out_options, &first->options);
  return status;
}

static dure_status print_result(const arguments *a, const dure_train_result *result) {
  if (!a->json) {
    if (result->checkpoint[0] != '\0') printf("%s\n", result->checkpoint);
    return output_check();
  }
  json_t *json = json_pack("{sI so}", "step", (json_int_t)result->step, "loss",
                           isnan(result->loss) ? json_null() : json_real(result->loss));
  if (result->has_evaluation) {
    json_object_set_new(json, "eval_loss", json_real(result->evaluation_loss));
    json_object_set_new(json, "bits_per_byte", json_real(result->bits_per_byte));
  }
  json_object_set_new(json, "checkpoint", output_json_text(result->checkpoint, strlen(result->checkpoint)));
  return output_json(json);
}

static dure_status run(const arguments *a) {
  display d = {.is_terminal = dure_os_is_terminal(2)};
  const dure_train_observer observer = {&d, on_progress, on_evaluated, on_message};
  dure_train_result result;
  dure_os_catch_interrupts();
  dure_status status = dure_train(&a->options, a->resume, &observer, &result);
  if (d.bar_is_drawn) fputc('\n', stderr);
  if (status != NULL || result.is_other_rank) return status;
  fprintf(stderr, "step %" PRIu64 " is done; the curve is %s/loss.svg\n", result.step, a->options.out);
  return print_result(a, &result);
}

int command_train(int argc, char **argv) {
  arguments first = {0}, a = {0};
  dure_train_options_default(&first.options);
  dure_train_options_default(&a.options);
  int code = parse(&first, argc, argv);
  if (code >= 0) return code;
  dure_status status = gather(&first, &a.options);
  if (status == NULL) code = parse(&a, argc, argv);
  if (status == NULL && code < 0) status = dure_train_options_check(&a.options);
  if (a.resume && a.options.out != NULL && a.options.model == NULL)
    status = dure_status_prefix(status, "'%s' has no checkpoint to go on from", a.options.out);
  if (status != NULL) {
    code = command_refuse("train", status);
  } else if (code < 0) {
    code = command_finish("train", run(&a));
  }
  dure_train_options_clear(&a.options);
  return code;
}
