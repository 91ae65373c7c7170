// dure quantize: a model with its matrices in 8 or 4 bits, and what that costs on a text.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/open_model.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/text_perplexity.h"
#include "model/convert.h"
#include "runtime/os.h"

typedef struct quantize_options {
  const char *type, *text, *calibrate, *minima, *device, *dtype;
  int64_t context, group, windows;
  bool as_json;
} quantize_options;

static bool is_mixed(const quantize_options *options) { return strcmp(options->type, "int4_mixed") == 0; }

// 4 or 8: a directory with groups of that many bits is written; 0: a GGUF file.
static uint32_t group_bits(const quantize_options *options) {
  if (strcmp(options->type, "int4") == 0 || is_mixed(options)) return 4;
  return strcmp(options->type, "int8") == 0 ? 8 : 0;
}

static dure_group_type group_type(const quantize_options *options) {
  const uint32_t bits = group_bits(options);
  const bool has_minima = options->minima != NULL ? strcmp(options->minima, "on") == 0 : bits == 4;
  return (dure_group_type){bits, (uint32_t)options->group, has_minima};
}

// A model's loss on the text, before or after.
typedef struct quantize_side {
  dure_perplexity_result result;
  uint64_t weight_bytes;
} quantize_side;

static double perplexity_of(const quantize_side *side) { return exp(side->result.nats / (double)side->result.tokens); }

static dure_status measure(const quantize_options *options, const char *model, quantize_side *out_side) {
  const dure_perplexity_options settings = {.context = (uint32_t)options->context};
  return text_perplexity(options->device, options->dtype, model, options->text, &settings, &out_side->result,
                         &out_side->weight_bytes);
}

static dure_status print_report(const quantize_options *options, const dure_convert_summary *summary,
                                const quantize_side *before, const quantize_side *after) {
  const bool is_measured = options->text != NULL;
  const double increase = is_measured ? 100 * (perplexity_of(after) / perplexity_of(before) - 1) : 0;
  if (options->as_json) {
    json_t *object = json_pack("{ss sI sI sI}", "type", options->type, "file_bytes", (json_int_t)summary->bytes,
                               "elements", (json_int_t)summary->elements, "kept_f16", (json_int_t)summary->kept);
    if (object != NULL && is_measured) {
      json_object_set_new(object, "tokens", json_integer((json_int_t)after->result.tokens));
      json_object_set_new(object, "perplexity_before", json_real(perplexity_of(before)));
      json_object_set_new(object, "perplexity_after", json_real(perplexity_of(after)));
      json_object_set_new(object, "increase_percent", json_real(increase));
      json_object_set_new(object, "weight_bytes_before", json_integer((json_int_t)before->weight_bytes));
      json_object_set_new(object, "weight_bytes_after", json_integer((json_int_t)after->weight_bytes));
    }
    return output_json(object);
  }
  printf("%s, %.1f MiB, %.2f bits an element\n", options->type, (double)summary->bytes / 1048576,
         8.0 * (double)summary->bytes / (double)summary->elements);
  if (summary->kept > 0)
    printf("%zu matrices have rows that are not whole blocks: they are f16, or as they were\n", summary->kept);
  if (is_measured)
    printf(
        "perplexity of %llu tokens: %.4f before, %.4f after (%+.3f %%); weights in memory: %.1f MiB before, %.1f MiB "
        "after\n",
        (unsigned long long)after->result.tokens, perplexity_of(before), perplexity_of(after), increase,
        (double)before->weight_bytes / 1048576, (double)after->weight_bytes / 1048576);
  return output_check();
}

// Runs the model on the text that rounding is to go by.
static dure_status calibrate(const quantize_options *options, const char *in, dure_calibration **out_calibration) {
  opened_model opened;
  DURE_TRY(opened_model_create_as(options->device, options->dtype, NULL, in, true, &opened));
  dure_ids ids = {0};
  uint64_t bytes = 0;
  const dure_calibration_options settings = {
      .context = (uint32_t)options->context, .windows = (uint32_t)options->windows, .progress = text_show_progress};
  dure_status status = text_tokens(opened.tokenizer, options->calibrate, &ids, &bytes);
  if (status == NULL) status = dure_calibration_create(opened.model, ids.ids, ids.count, &settings, out_calibration);
  progress_clear();
  dure_ids_free(&ids);
  opened_model_close(&opened);
  return status;
}

static dure_status convert(const quantize_options *options, const char *in, const char *out,
                           dure_convert_summary *out_summary) {
  dure_calibration *calibration = NULL;
  if (options->calibrate != NULL) DURE_TRY(calibrate(options, in, &calibration));
  const dure_convert_grouping grouping = {group_type(options), calibration, is_mixed(options)};
  const bool is_grouped = group_bits(options) > 0;
  dure_status status = dure_convert(in, out,
                                    &(dure_convert_options){.type = is_grouped ? NULL : options->type,
                                                            .grouping = is_grouped ? &grouping : NULL,
                                                            .calibration = is_grouped ? NULL : calibration},
                                    out_summary);
  dure_calibration_destroy(calibration);
  return status;
}

static dure_status quantize(const quantize_options *options, const char *in, const char *out) {
  quantize_side before = {0}, after = {0};
  dure_convert_summary summary;
  if (options->text != NULL) DURE_TRY(measure(options, in, &before));
  DURE_TRY(convert(options, in, out, &summary));
  if (options->text != NULL) DURE_TRY(measure(options, out, &after));
  return print_report(options, &summary, &before, &after);
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
      {"windows", OPTION_INTEGER, &options.windows, "N", "windows of 512 tokens of that text at most (16)"},
      {"text", OPTION_TEXT, &options.text, "FILE", "measure the perplexity of this text before and after"},
      {"report", OPTION_TEXT, &options.text, "FILE", "the same as --text"},
      {"context", OPTION_INTEGER, &options.context, "T",
       "tokens of a window of the text (the model's context, at most 1024)"},
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
