// dure logits: the logits after every token of a sequence, for comparing devices and tools.
#include <stdio.h>
#include <stdlib.h>

#include "cli/command.h"
#include "cli/open_model.h"
#include "cli/output.h"
#include "model/safetensors.h"
#include "runtime/os.h"

typedef struct logits_options {
  const char *device, *dtype, *weights, *tokens, *tokens_file, *output;
  bool decode, as_json;
} logits_options;

// Token by token through the KV cache, as generation does it.
static dure_status decode_logits(dure_model *model, const dure_ids *ids, float *out_logits) {
  dure_session *session = NULL;
  const dure_session_options settings = {.capacity = (uint32_t)ids->count};
  DURE_TRY(dure_session_create(model, &settings, &session));
  dure_status status = NULL;
  for (size_t i = 0; i < ids->count && status == NULL; i++) {
    status = dure_session_append(session, &ids->ids[i], 1);
    if (status == NULL) status = dure_session_logits(session, out_logits + i * model->config.vocabulary_size);
  }
  dure_session_destroy(session);
  return status;
}

static dure_status save_logits(const char *path, const float *logits, uint64_t rows, uint64_t columns) {
  dure_safetensors_writer *writer = NULL;
  const uint64_t shape[2] = {rows, columns};
  DURE_TRY(dure_safetensors_writer_create(path, &writer));
  dure_status status = dure_safetensors_writer_declare(writer, "logits", DURE_DTYPE_F32, 2, shape);
  if (status == NULL) status = dure_safetensors_writer_append(writer, logits, rows * columns * sizeof(*logits));
  if (status == NULL) status = dure_safetensors_writer_finish(writer);
  dure_safetensors_writer_destroy(writer);
  return status;
}

static dure_status report(const logits_options *options, const float *logits, uint64_t rows, uint64_t columns) {
  if (!options->as_json) {
    fprintf(stderr, "wrote logits [%llu, %llu] to %s\n", (unsigned long long)rows, (unsigned long long)columns,
            options->output);
    return NULL;
  }
  json_t *likeliest = json_array();
  for (uint64_t r = 0; r < rows; r++) {
    uint64_t best = 0;
    for (uint64_t c = 1; c < columns; c++) {
      if (logits[r * columns + c] > logits[r * columns + best]) best = c;
    }
    json_array_append_new(likeliest, json_integer((json_int_t)best));
  }
  return output_json(json_pack("{ss sI sI so}", "file", options->output, "tokens", (json_int_t)rows, "vocabulary",
                               (json_int_t)columns, "likeliest", likeliest));
}

static dure_status check_options(const logits_options *options) {
  if (options->output == NULL) return dure_fail(DURE_INVALID_ARGUMENT, "-o FILE must say where the logits go");
  if ((options->tokens == NULL) == (options->tokens_file == NULL)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "give the token ids by --tokens \"1 2 3\" or --tokens-file FILE");
  }
  dure_dtype dtype;
  return dure_model_parse_dtype(options->dtype, &dtype);
}

static dure_status run(const logits_options *options, const char *directory) {
  opened_model opened;
  DURE_TRY(opened_model_create_as(options->device, options->dtype, options->weights, directory, false, &opened));
  dure_ids ids = {0};
  float *logits = NULL;
  uint64_t columns = opened.model->config.vocabulary_size;
  dure_status status = parse_token_ids(options->tokens, options->tokens_file, (uint32_t)columns, &ids);
  if (status == NULL && ids.count > opened.model->config.context_length) {
    status = dure_fail(DURE_INVALID_ARGUMENT, "%zu tokens are more than the model's context of %u", ids.count,
                       opened.model->config.context_length);
  }
  if (status == NULL) {
    logits = malloc(ids.count * columns * sizeof(*logits));
    if (logits == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu rows of logits", ids.count);
  }
  if (status == NULL && options->decode) status = decode_logits(opened.model, &ids, logits);
  if (status == NULL && !options->decode)
    status = dure_model_logits(opened.model, ids.ids, (uint32_t)ids.count, logits);
  if (status == NULL) status = save_logits(options->output, logits, ids.count, columns);
  if (status == NULL) status = report(options, logits, ids.count, columns);
  free(logits);
  dure_ids_free(&ids);
  opened_model_close(&opened);
  return status;
}

int command_logits(int argc, char **argv) {
  logits_options options = {.device = "auto", .dtype = "auto"};
  const option_row rows[] = {
      {"tokens", OPTION_TEXT, &options.tokens, "\"1 2 3\"", "token ids"},
      {"tokens-file", OPTION_TEXT, &options.tokens_file, "FILE", "token ids from a file, separated by white space"},
      {"o", OPTION_TEXT, &options.output, "FILE", "safetensors file with 'logits', f32 [tokens, vocabulary]"},
      {"decode", OPTION_FLAG, &options.decode, NULL, "token by token through the KV cache, as generation does"},
      {"device", OPTION_TEXT, &options.device, "D", "auto, vulkan[:N], cuda[:N] or reference (auto)"},
      {"dtype", OPTION_TEXT, &options.dtype, "TYPE", "of weights and KV cache: auto, f32, bf16 or f16 (auto)"},
      {"weights", OPTION_TEXT, &options.weights, "HOW",
       "of quantised files: quantised, as the file has them; int8: and activations are rounded to 8 bits before "
       "products with 8-bit matrices; or expanded to --dtype (quantised)"},
      {"json", OPTION_FLAG, &options.as_json, NULL, "print the likeliest next tokens as JSON"},
  };
  const command_usage usage = {
      "dure logits MODEL --tokens \"1 2 3\" -o out.safetensors [options]",
      "Writes the full logits after every token of a sequence, for comparing devices and tools.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure logits MODEL --tokens \"464 3290 318\" -o logits.safetensors --device reference",
      1,
      1};
  const char *const *positional;
  int status = command_parse(&usage, argc, argv, &positional, NULL);
  dure_status mistake = status < 0 ? check_options(&options) : NULL;
  if (mistake != NULL) status = command_refuse(argv[0], mistake);
  if (status < 0) status = command_finish(argv[0], run(&options, positional[0]));
  return status;
}
