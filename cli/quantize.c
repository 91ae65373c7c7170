// dure quantize: a model with its matrices in 8 or 4 bits, and what that costs on a text.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/text_perplexity.h"
#include "model/convert.h"
#include "runtime/os.h"

typedef struct quantize_options {
  const char *type, *text, *device, *dtype;
  int64_t context;
  bool as_json;
} quantize_options;

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
  if (summary->kept > 0) printf("%zu matrices have rows that are not whole blocks: they are f16\n", summary->kept);
  if (is_measured)
    printf(
        "perplexity of %llu tokens: %.4f before, %.4f after (%+.3f %%); weights in memory: %.1f MiB before, %.1f MiB "
        "after\n",
        (unsigned long long)after->result.tokens, perplexity_of(before), perplexity_of(after), increase,
        (double)before->weight_bytes / 1048576, (double)after->weight_bytes / 1048576);
  return output_check();
}

static dure_status quantize(const quantize_options *options, const char *in, const char *out) {
  quantize_side before = {0}, after = {0};
  dure_convert_summary summary;
  if (options->text != NULL) DURE_TRY(measure(options, in, &before));
  DURE_TRY(dure_convert(in, out, &(dure_convert_options){.type = options->type}, &summary));
  if (options->text != NULL) DURE_TRY(measure(options, out, &after));
  return print_report(options, &summary, &before, &after);
}

static dure_status check_options(const quantize_options *options, const char *out) {
  const size_t length = strlen(out);
  if (length < 5 || strcmp(out + length - 5, ".gguf") != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "what is written is a GGUF file: let the second name end in .gguf");
  if (strcmp(options->type, "q8_0") != 0 && strcmp(options->type, "q4_0") != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "--type must be q8_0 or q4_0; found '%.40s'", options->type);
  if (options->context < 0 || options->context > 1 << 24)
    return dure_fail(DURE_INVALID_ARGUMENT, "--context must be at least 1");
  dure_dtype dtype;
  return dure_model_parse_dtype(options->dtype, &dtype);
}

int command_quantize(int argc, char **argv) {
  quantize_options options = {.type = "q8_0", .device = "auto", .dtype = "auto"};
  const option_row rows[] = {
      {"type", OPTION_TEXT, &options.type, "TYPE", "of matrices: q8_0 or q4_0 (q8_0)"},
      {"text", OPTION_TEXT, &options.text, "FILE", "measure the perplexity of this text before and after"},
      {"context", OPTION_INTEGER, &options.context, "T",
       "tokens of a window of the text (the model's context, at most 1024)"},
      {"device", OPTION_TEXT, &options.device, "D", "auto, vulkan[:N], cuda[:N] or reference (auto)"},
      {"dtype", OPTION_TEXT, &options.dtype, "TYPE",
       "of what is not quantised, while measuring: auto, f32, bf16 or f16"},
      {"json", OPTION_FLAG, &options.as_json, NULL, "the report as one JSON object"},
  };
  const command_usage usage = {"dure quantize MODEL OUT.gguf [--type TYPE] [--text FILE]",
                               "Writes a model with its matrices rounded to 8 or 4 bits in blocks of 32, and says what "
                               "that does to its perplexity.\n"
                               "What is written is run as it is: the kernels read the blocks.",
                               rows,
                               sizeof(rows) / sizeof(rows[0]),
                               "dure quantize RUN/checkpoints/latest model.gguf --type q4_0 --text held-out.txt",
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
