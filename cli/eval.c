// dure eval: loss, perplexity and bits per byte of a model on text.
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/open_model.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/text_perplexity.h"
#include "data/dataset.h"
#include "runtime/log.h"
#include "runtime/os.h"

typedef struct eval_options {
  const char *device, *dtype, *weights, *text, *data;
  int64_t batch_size, context, stride;
  bool as_json;
} eval_options;

// What is scored: the tokens of a text file, or the held-out part of a dataset.
typedef struct eval_source {
  dure_ids ids;
  dure_dataset *dataset;
  uint64_t token_count, byte_count;
  uint32_t first_input;
} eval_source;

static dure_status read_tokens(void *context, uint64_t first, size_t count, uint32_t *out_ids) {
  const eval_source *source = context;
  if (source->dataset != NULL) return dure_dataset_read(source->dataset, DURE_SPLIT_HELD_OUT, first, count, out_ids);
  memcpy(out_ids, source->ids.ids + first, count * sizeof(*out_ids));
  return NULL;
}

static dure_status open_text(const opened_model *opened, const char *path, eval_source *source) {
  DURE_TRY(text_tokens(opened->tokenizer, path, &source->ids, &source->byte_count));
  source->token_count = source->ids.count;
  return NULL;
}

// Another tokenizer's ids mean other text to this model.
static dure_status compare_tokenizers(const dure_tokenizer *tokenizer, const dure_dataset *dataset,
                                      const char *directory) {
  char *bytes = NULL;
  size_t size = 0, length = 0;
  DURE_TRY(dure_os_read_file(dure_dataset_tokenizer_path(dataset), (uint64_t)1 << 30, &bytes, &size));
  const char *own = dure_tokenizer_json(tokenizer, &length);
  bool agree = size == length && memcmp(bytes, own, size) == 0;
  free(bytes);
  if (!agree) {
    dure_log(DURE_LOG_WARNING,
             "dataset '%s' was made by another tokenizer than the model's; its ids may mean other text", directory);
  }
  return NULL;
}

static dure_status open_data(const opened_model *opened, const char *directory, eval_source *source) {
  DURE_TRY(dure_dataset_open(directory, &source->dataset));
  dure_split_counts counts = dure_dataset_counts(source->dataset, DURE_SPLIT_HELD_OUT);
  source->token_count = counts.tokens;
  source->byte_count = counts.text_bytes;
  if (counts.tokens == 0) {
    return dure_fail(DURE_INVALID_ARGUMENT, "dataset '%s' has no held-out part; pack it again with --held-out 0.01",
                     directory);
  }
  if (dure_dataset_vocabulary_size(source->dataset) > opened->model->config.vocabulary_size) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "dataset '%s' has ids up to %u, the model's vocabulary is %u; pack it with the model's tokenizer",
                     directory, dure_dataset_vocabulary_size(source->dataset) - 1,
                     opened->model->config.vocabulary_size);
  }
  return compare_tokenizers(opened->tokenizer, source->dataset, directory);
}

static dure_status print_result(const eval_options *options, const eval_source *source,
                                const dure_perplexity_result *result, double seconds) {
  double loss = result->nats / (double)result->tokens;
  if (!isfinite(loss)) {
    return dure_fail(DURE_NOT_FINITE, "the loss is %g: the model's weights are too large, or not numbers at all", loss);
  }
  double bits_per_byte = source->byte_count > 0 ? result->nats / log(2.0) / (double)source->byte_count : 0;
  if (options->as_json) {
    return output_json(json_pack("{sf sf sf sI sI sf}", "loss", loss, "perplexity", fmin(exp(loss), DBL_MAX),
                                 "bits_per_byte", bits_per_byte, "tokens", (json_int_t)result->tokens, "bytes",
                                 (json_int_t)source->byte_count, "seconds", seconds));
  }
  printf(
      "loss           %.6f nats per token\nperplexity     %.4f\nbits per byte  %.4f\ntokens         %llu\nbytes        "
      "  %llu\n",
      loss, exp(loss), bits_per_byte, (unsigned long long)result->tokens, (unsigned long long)source->byte_count);
  return output_check();
}

static dure_status check_options(void *chosen) {
  const eval_options *options = chosen;
  if ((options->text == NULL) == (options->data == NULL)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "say what to score: --text FILE or --data DIR");
  }
  if (options->batch_size < 0 || options->batch_size > 65536 || options->context < 0 || options->context > (1 << 24) ||
      options->stride < 0 || options->stride > (1 << 24)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "--batch-size, --context and --stride must be at least 1");
  }
  dure_dtype dtype;
  return dure_model_parse_dtype(options->dtype, &dtype);
}

static dure_status evaluate(const void *chosen, const char *directory) {
  const eval_options *options = chosen;
  opened_model opened;
  DURE_TRY(opened_model_create_as(options->device, options->dtype, options->weights, directory, true, &opened));
  eval_source source;
  memset(&source, 0, sizeof(source));
  source.first_input = text_first_input(opened.tokenizer);
  dure_status status =
      options->text != NULL ? open_text(&opened, options->text, &source) : open_data(&opened, options->data, &source);
  const dure_perplexity_options settings = {.context = (uint32_t)options->context,
                                            .stride = (uint32_t)options->stride,
                                            .batch_size = (uint32_t)options->batch_size,
                                            .first_input = source.first_input,
                                            .progress = text_show_progress};
  dure_perplexity_result result;
  uint64_t begin = dure_os_nanoseconds();
  if (status == NULL)
    status = dure_perplexity(opened.model, read_tokens, &source, source.token_count, &settings, &result);
  progress_clear();
  if (status == NULL) status = print_result(options, &source, &result, (double)(dure_os_nanoseconds() - begin) / 1e9);
  dure_ids_free(&source.ids);
  dure_dataset_close(source.dataset);
  opened_model_close(&opened);
  return status;
}

int command_eval(int argc, char **argv) {
  eval_options options = {.device = "auto", .dtype = "auto"};
  const option_row rows[] = {
      {"text", OPTION_TEXT, &options.text, "FILE", "score a text file"},
      {"data", OPTION_TEXT, &options.data, "DIR", "score the held-out part of a packed dataset"},
      {"context", OPTION_INTEGER, &options.context, "T", "tokens of a window (the model's context, at most 1024)"},
      {"stride", OPTION_INTEGER, &options.stride, "N",
       "tokens a window moves on; smaller: more context for each token (T)"},
      {"batch-size", OPTION_INTEGER, &options.batch_size, "B", "windows at once (4)"},
      {"device", OPTION_TEXT, &options.device, "D", "auto, vulkan[:N], cuda[:N] or reference (auto)"},
      {"dtype", OPTION_TEXT, &options.dtype, "TYPE", "of weights and KV cache: auto, f32, bf16 or f16 (auto)"},
      {"weights", OPTION_TEXT, &options.weights, "HOW",
       "of quantised files: quantised, as the file has them; int8: and activations are rounded to 8 bits before "
       "products with 8-bit matrices; or expanded to --dtype (quantised)"},
      {"json", OPTION_FLAG, &options.as_json, NULL, "the result as one JSON object"},
  };
  const command_usage usage = {
      "dure eval MODEL (--text FILE | --data DIR) [options]",
      "Loss, perplexity and bits per byte of a model. Every token is predicted once, from the tokens before it in its\n"
      "window; the first one from end-of-text.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure eval RUN/checkpoints/latest --text held-out.txt",
      1,
      1};
  return command_run(&usage, argc, argv, &options, check_options, evaluate);
}
