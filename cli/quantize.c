// dure quantize: a model with its matrices in 8 or 4 bits, and what that costs on a text.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/open_model.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/text_perplexity.h"
#include "model/rounded.h"
#include "runtime/os.h"

typedef struct quantize_options {
  const char *type, *text, *calibrate, *minima, *activations, *device, *dtype;
  int64_t context, group, windows;
  bool as_json;
} quantize_options;

static bool is_mixed(const quantize_options *options) { return strcmp(options->type, "int4_mixed") == 0; }

// 4 or 8: a directory with groups of that many bits is written; 0: a GGUF file.
static uint32_t group_bits(const quantize_options *options) {
  if (strcmp(options->type, "int4") == 0 || is_mixed(options)) return 4;
  return strcmp(options->type, "int8") == 0 ? 8 : 0;
}

// A GGUF file's blocks are groups of 32 without minima.
static dure_group_type group_type(const quantize_options *options) {
  const uint32_t bits = group_bits(options);
  if (bits == 0) return (dure_group_type){strcmp(options->type, "q4_0") == 0 ? 4 : 8, 32, false};
  const bool has_minima = options->minima != NULL ? strcmp(options->minima, "on") == 0 : bits == 4;
  return (dure_group_type){bits, (uint32_t)options->group, has_minima};
}

// What the text was measured with: the model as it was, as it is written, and that with activations in 8 bits.
enum { BEFORE, AFTER, INTEGERS, SIDES };

typedef struct quantize_report {
  text_measurement sides[SIDES];
  dure_convert_summary summary;
} quantize_report;

static double perplexity_of(const text_measurement *side) {
  return exp(side->result.nats / (double)side->result.tokens);
}

static bool rounds_activations(const quantize_options *options) {
  return options->activations != NULL && strcmp(options->activations, "int8") == 0;
}

static dure_status measure(const quantize_options *options, const char *model, const char *weights,
                           text_measurement *out_side) {
  const dure_perplexity_options settings = {.context = (uint32_t)options->context};
  return text_perplexity(options->device, options->dtype, weights, model, options->text, &settings, out_side);
}

// By how much perplexity rises, in percent, and the standard error of that, from what each token's loss has become.
typedef struct increase {
  double percent, error;
} increase;

static increase increase_of(const text_measurement *before, const text_measurement *after) {
  const uint64_t n = after->result.tokens;
  double mean = 0, squares = 0;
  if (before->result.tokens != n)  // another tokenizer: losses are of other tokens
    return (increase){100 * (perplexity_of(after) / perplexity_of(before) - 1), (double)NAN};
  for (uint64_t i = 0; i < n; i++) mean += ((double)after->losses[i] - (double)before->losses[i]) / (double)n;
  for (uint64_t i = 0; i < n; i++) {
    const double from_mean = (double)after->losses[i] - (double)before->losses[i] - mean;
    squares += from_mean * from_mean;
  }
  const double error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0;
  return (increase){100 * expm1(mean), 100 * exp(mean) * error};
}

// ---- the report --------------------------------------------------------------------------------------------------

static void set_number(json_t *object, const char *name, const char *side, double value) {
  char key[64];
  snprintf(key, sizeof(key), "%s%s", name, side);
  json_object_set_new(object, key, json_real(value));
}

static void add_side(json_t *object, const quantize_report *report, int side) {
  const char *const suffix = side == INTEGERS ? "_int8_activations" : "";
  const increase rise = increase_of(&report->sides[BEFORE], &report->sides[side]);
  set_number(object, "perplexity_after", suffix, perplexity_of(&report->sides[side]));
  set_number(object, "increase_percent", suffix, rise.percent);
  set_number(object, "increase_standard_error", suffix, rise.error);
}

static dure_status print_json(const quantize_options *options, const quantize_report *report) {
  const dure_convert_summary *summary = &report->summary;
  const text_measurement *before = &report->sides[BEFORE], *after = &report->sides[AFTER];
  json_t *object = json_pack("{ss sI sI sI}", "type", options->type, "file_bytes", (json_int_t)summary->bytes,
                             "elements", (json_int_t)summary->elements, "kept_f16", (json_int_t)summary->kept);
  if (object != NULL && options->text != NULL) {
    json_object_set_new(object, "tokens", json_integer((json_int_t)after->result.tokens));
    json_object_set_new(object, "perplexity_before", json_real(perplexity_of(before)));
    add_side(object, report, AFTER);
    if (rounds_activations(options)) add_side(object, report, INTEGERS);
    json_object_set_new(object, "weight_bytes_before", json_integer((json_int_t)before->weight_bytes));
    json_object_set_new(object, "weight_bytes_after", json_integer((json_int_t)after->weight_bytes));
  }
  return output_json(object);
}

static void print_side(const quantize_report *report, int side, const char *name) {
  const increase rise = increase_of(&report->sides[BEFORE], &report->sides[side]);
  printf("perplexity %s: %.4f (%+.3f %%, standard error %.3f)\n", name, perplexity_of(&report->sides[side]),
         rise.percent, rise.error);
}

static dure_status print_report(const quantize_options *options, const quantize_report *report) {
  const dure_convert_summary *summary = &report->summary;
  if (options->as_json) return print_json(options, report);
  printf("%s, %.1f MiB, %.2f bits an element\n", options->type, (double)summary->bytes / 1048576,
         8.0 * (double)summary->bytes / (double)summary->elements);
  if (summary->kept > 0)
    printf("%zu matrices have rows that are not whole blocks: they are f16, or as they were\n", summary->kept);
  if (options->text != NULL) {
    const text_measurement *before = &report->sides[BEFORE], *after = &report->sides[AFTER];
    printf("perplexity of %llu tokens before: %.4f\n", (unsigned long long)before->result.tokens,
           perplexity_of(before));
    print_side(report, AFTER, "after");
    if (rounds_activations(options)) print_side(report, INTEGERS, "after, activations in 8 bits");
    printf("weights in memory: %.1f MiB before, %.1f MiB after\n", (double)before->weight_bytes / 1048576,
           (double)after->weight_bytes / 1048576);
  }
  return output_check();
}

// ---- making it ---------------------------------------------------------------------------------------------------

static void show_layers(void *context, uint64_t done, uint64_t total) {
  (void)context;
  progress_show("calibrating: %.1f %%", 100.0 * (double)done / (double)total);
}

// Runs the model on the text that rounding is to go by.
static dure_status calibrate(const quantize_options *options, const char *in, const dure_convert_grouping *grouping,
                             dure_rounded **out_rounded) {
  opened_model opened;
  DURE_TRY(opened_model_create(options->device, options->dtype, in, true, &opened));
  dure_ids ids = {0};
  uint64_t bytes = 0;
  const dure_calibration_options settings = {
      .context = (uint32_t)options->context, .windows = (uint32_t)options->windows, .progress = show_layers};
  dure_status status = text_tokens(opened.tokenizer, options->calibrate, &ids, &bytes);
  if (status == NULL)
    status = dure_rounded_create(opened.model, in, grouping, ids.ids, ids.count, &settings, out_rounded);
  progress_clear();
  dure_ids_free(&ids);
  opened_model_close(&opened);
  return status;
}

static dure_status convert(const quantize_options *options, const char *in, const char *out,
                           dure_convert_summary *out_summary) {
  dure_rounded *rounded = NULL;
  const dure_convert_grouping grouping = {group_type(options), is_mixed(options)};
  const bool is_grouped = group_bits(options) > 0;
  if (options->calibrate != NULL) DURE_TRY(calibrate(options, in, &grouping, &rounded));
  dure_status status = dure_convert(
      in, out,
      &(dure_convert_options){
          .type = is_grouped ? NULL : options->type, .grouping = is_grouped ? &grouping : NULL, .rounded = rounded},
      out_summary);
  dure_rounded_destroy(rounded);
  return status;
}

static dure_status make_and_measure(const quantize_options *options, const char *in, const char *out,
                                    quantize_report *report) {
  if (options->text != NULL) DURE_TRY(measure(options, in, NULL, &report->sides[BEFORE]));
  DURE_TRY(convert(options, in, out, &report->summary));
  if (options->text != NULL) DURE_TRY(measure(options, out, NULL, &report->sides[AFTER]));
  if (rounds_activations(options)) DURE_TRY(measure(options, out, "int8", &report->sides[INTEGERS]));
  return NULL;
}

static dure_status quantize(const quantize_options *options, const char *in, const char *out) {
  quantize_report report = {0};
  dure_status status = make_and_measure(options, in, out, &report);
  if (status == NULL) status = print_report(options, &report);
  for (int i = 0; i < SIDES; i++) free(report.sides[i].losses);
  return status;
}

// Integer products take matrices of 8 bits without minima.
static dure_status check_activations(const quantize_options *options) {
  if (options->activations == NULL || strcmp(options->activations, "float") == 0) return NULL;
  if (strcmp(options->activations, "int8") != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "--activations must be float or int8; found '%.40s'", options->activations);
  const dure_group_type type = group_type(options);
  if (type.bits != 8 || type.has_minima)
    return dure_fail(DURE_INVALID_ARGUMENT, "--activations int8 is for int8 without minima and q8_0");
  if (options->text == NULL)
    return dure_fail(DURE_INVALID_ARGUMENT, "--activations int8 says what to measure: name a text with --text");
  return NULL;
}

static dure_status check_options(const quantize_options *options, const char *out) {
  const size_t length = strlen(out);
  const bool to_gguf = length > 5 && strcmp(out + length - 5, ".gguf") == 0, is_grouped = group_bits(options) > 0;
  if (!is_grouped && strcmp(options->type, "q8_0") != 0 && strcmp(options->type, "q4_0") != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "--type must be int4, int4_mixed, int8, q8_0 or q4_0; found '%.40s'",
                     options->type);
  if (to_gguf == is_grouped)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     is_grouped ? "%s is written to a directory, not to a GGUF file"
                                : "%s is written to a GGUF file: let the second name end in .gguf",
                     options->type);
  if (options->group != 32 && options->group != 64 && options->group != 128)
    return dure_fail(DURE_INVALID_ARGUMENT, "--group must be 32, 64 or 128");
  if (!is_grouped && options->minima != NULL)
    return dure_fail(DURE_INVALID_ARGUMENT, "--minima is for int4, int4_mixed and int8");
  if (options->minima != NULL && strcmp(options->minima, "on") != 0 && strcmp(options->minima, "off") != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "--minima must be on or off; found '%.40s'", options->minima);
  if (options->windows < 1 || options->windows > 1 << 20)
    return dure_fail(DURE_INVALID_ARGUMENT, "--windows must be at least 1");
  if (options->context < 0 || options->context > 1 << 24)
    return dure_fail(DURE_INVALID_ARGUMENT, "--context must be at least 1");
  DURE_TRY(check_activations(options));
  dure_dtype dtype;
  return dure_model_parse_dtype(options->dtype, &dtype);
}

int command_quantize(int argc, char **argv) {
  quantize_options options = {.type = "q8_0", .device = "auto", .dtype = "auto", .group = 32, .windows = 16};
  const option_row rows[] = {
      {"type", OPTION_TEXT, &options.type, "TYPE",
       "of matrices: q8_0 or q4_0 in a GGUF file; int4, int8 or int4_mixed (int4, but the feed-forward parts' outputs "
       "int8) in a model directory (q8_0)"},
      {"group", OPTION_INTEGER, &options.group, "N",
       "int4, int4_mixed, int8: elements that share a scale: 32, 64 or 128 (32)"},
      {"minima", OPTION_TEXT, &options.minima, "on|off",
       "int4, int4_mixed, int8: a minimum beside each scale, for ranges that are not centred (on for int4)"},
      {"calibrate", OPTION_TEXT, &options.calibrate, "FILE",
       "round so that what the model makes of this text changes least"},
      {"windows", OPTION_INTEGER, &options.windows, "N", "windows of that text at most, taken from all over it (16)"},
      {"text", OPTION_TEXT, &options.text, "FILE", "measure the perplexity of this text before and after"},
      {"report", OPTION_TEXT, &options.text, "FILE", "the same as --text"},
      {"activations", OPTION_TEXT, &options.activations, "float|int8",
       "int8: measure also with what q8_0 and int8 matrices are multiplied with rounded to 8 bits as it comes, as "
       "--weights int8 runs it (float)"},
      {"context", OPTION_INTEGER, &options.context, "T",
       "tokens of a window of the texts (the model's context, at most 1024 to measure and 512 to calibrate)"},
      {"device", OPTION_TEXT, &options.device, "D", "auto, vulkan[:N], cuda[:N] or reference (auto)"},
      {"dtype", OPTION_TEXT, &options.dtype, "TYPE",
       "of what is not quantised, while measuring: auto, f32, bf16 or f16"},
      {"json", OPTION_FLAG, &options.as_json, NULL, "the report as one JSON object"},
  };
  const command_usage usage = {
      "dure quantize MODEL OUT [--type TYPE] [--calibrate FILE] [--text FILE]",
      "Writes a model with its matrices rounded to 8 or 4 bits in blocks or groups, and says "
      "what that does to its perplexity.\n"
      "What is written is run as it is: the kernels read the blocks.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure quantize RUN/checkpoints/latest small --type int4 --calibrate sample.txt --text held-out.txt",
      2,
      2};
  const char *const *positional;
  int status = command_parse(&usage, argc, argv, &positional, NULL);
  dure_status mistake = status < 0 ? check_options(&options, positional[1]) : NULL;
  if (mistake != NULL) status = command_refuse(argv[0], mistake);
  if (status < 0) {
    dure_os_catch_interrupts();
    status = command_finish(argv[0], quantize(&options, positional[0], positional[1]));
  }
  return status;
}
