// dure gradients: the loss of a sequence and the gradient of every parameter, for comparing with other tools.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/open_model.h"
#include "cli/output.h"
#include "model/safetensors.h"
#include "model/training.h"
#include "runtime/os.h"

typedef struct gradients_options {
  const char *device, *tokens, *tokens_file, *output;
  bool as_json;
} gradients_options;

// The file with the loss before the gradients of `from`.
static dure_status add_loss(const char *from, double loss, const char *path) {
  dure_safetensors *file = NULL;
  dure_safetensors_writer *writer = NULL;
  const uint64_t shape[1] = {1};
  const float value = (float)loss;
  dure_status status = dure_safetensors_open(from, &file);
  if (status == NULL) status = dure_safetensors_writer_create(path, &writer);
  if (status == NULL) status = dure_safetensors_writer_declare(writer, "loss", DURE_DTYPE_F32, 1, shape);
  for (size_t i = 0; status == NULL && i < dure_safetensors_count(file); i++)
    status = dure_safetensors_writer_declare_alike(writer, dure_safetensors_get(file, i));
  if (status == NULL) status = dure_safetensors_writer_append(writer, &value, sizeof(value));
  for (size_t i = 0; status == NULL && i < dure_safetensors_count(file); i++) {
    const dure_safetensors_tensor *tensor = dure_safetensors_get(file, i);
    status = dure_safetensors_writer_append(writer, tensor->data, tensor->size);
  }
  if (status == NULL) status = dure_safetensors_writer_finish(writer);
  dure_safetensors_writer_destroy(writer);
  dure_safetensors_close(file);
  return status;
}

static dure_status save(const dure_training *training, dure_model *model, double loss, const char *path) {
  const dure_named_buffers gradients = {dure_training_buffers(training, DURE_TRAINING_GRADIENTS), "", NULL};
  char *aside = malloc(strlen(path) + 6);
  if (aside == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  snprintf(aside, strlen(path) + 6, "%s.part", path);
  dure_status status = dure_parameters_save(&gradients, 1, &model->layout, model->stream, aside);
  if (status == NULL) status = add_loss(aside, loss, path);
  status = dure_status_join(status, dure_os_remove_tree(aside));
  free(aside);
  return status;
}

// Each token's loss is that of the next; the last one has none.
static dure_status measure(dure_model *model, const dure_ids *ids, const char *path, double *out_loss) {
  const dure_training_options settings = {.batch_size = 1,
                                          .context = (uint32_t)ids->count,
                                          .accumulate = 1,
                                          .balances_experts = model->config.experts.adds_balance,
                                          .adamw = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8}};
  dure_training *training = NULL;
  uint32_t *labels = malloc(ids->count * sizeof(*labels));
  if (labels == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu labels", ids->count);
  for (size_t i = 0; i + 1 < ids->count; i++) labels[i] = ids->ids[i + 1];
  labels[ids->count - 1] = DURE_IGNORE_LABEL;
  dure_status status = dure_training_create(model, &settings, &training);
  if (status == NULL) status = dure_training_gradients(training, ids->ids, labels, out_loss);
  if (status == NULL) status = save(training, model, *out_loss, path);
  dure_training_destroy(training);
  free(labels);
  return status;
}

static dure_status report(const gradients_options *options, const dure_model *model, size_t tokens, double loss) {
  if (options->as_json) {
    return output_json(json_pack("{ss sI sf sI}", "file", options->output, "tokens", (json_int_t)tokens, "loss", loss,
                                 "parameters", (json_int_t)model->layout.element_count));
  }
  fprintf(stderr, "loss %.6f nats over %zu tokens; wrote %llu gradients to %s\n", loss, tokens - 1,
          (unsigned long long)model->layout.element_count, options->output);
  return NULL;
}

static dure_status check_options(const gradients_options *options) {
  if (options->output == NULL) return dure_fail(DURE_INVALID_ARGUMENT, "-o FILE must say where the gradients go");
  if ((options->tokens == NULL) != (options->tokens_file == NULL)) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "give the token ids by --tokens \"1 2 3\" or --tokens-file FILE");
}

static dure_status run(const gradients_options *options, const char *path) {
  opened_model opened;
  DURE_TRY(opened_model_create(options->device, "f32", path, false, &opened));
  dure_ids ids = {0};
  double loss = 0;
  const dure_model_config *config = &opened.model->config;
  dure_status status = parse_token_ids(options->tokens, options->tokens_file, config->vocabulary_size, &ids);
  if (status == NULL && (ids.count < 2 || ids.count > config->context_length)) {
    status = dure_fail(DURE_INVALID_ARGUMENT, "%zu tokens were given; from 2 to the model's context of %u make sense",
                       ids.count, config->context_length);
  }
  if (status == NULL) status = measure(opened.model, &ids, options->output, &loss);
  if (status == NULL) status = report(options, opened.model, ids.count, loss);
  dure_ids_free(&ids);
  opened_model_close(&opened);
  return status;
}

int command_gradients(int argc, char **argv) {
  gradients_options options = {.device = "auto"};
  const option_row rows[] = {
      {"tokens", OPTION_TEXT, &options.tokens, "\"1 2 3\"", "token ids"},
      {"tokens-file", OPTION_TEXT, &options.tokens_file, "FILE", "token ids from a file, separated by white space"},
      {"o", OPTION_TEXT, &options.output, "FILE", "safetensors file: 'loss' [1] and each parameter's gradient, f32"},
      {"device", OPTION_TEXT, &options.device, "D", "auto, vulkan[:N], cuda[:N] or reference (auto)"},
      {"json", OPTION_FLAG, &options.as_json, NULL, "print the loss as JSON"},
  };
  const command_usage usage = {
      "dure gradients MODEL --tokens \"1 2 3\" -o out.safetensors [options]",
      "Computes the mean loss of predicting each token from those before it, in f32, and writes it with the gradient "
      "of\n"
      "every parameter under its public name, for comparing devices and tools.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure gradients MODEL --tokens \"464 3290 318\" -o gradients.safetensors --device reference",
      1,
      1};
  const char *const *positional;
  int status = command_parse(&usage, argc, argv, &positional, NULL);
  dure_status mistake = status < 0 ? check_options(&options) : NULL;
  if (mistake != NULL) status = command_refuse(argv[0], mistake);
  if (status < 0) status = command_finish(argv[0], run(&options, positional[0]));
  return status;
}
