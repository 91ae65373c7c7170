#include "cli/bench_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/energy_meter.h"
#include "cli/open_model.h"
#include "cli/output.h"
#include "model/engine.h"
#include "model/packed.h"
#include "runtime/os.h"

enum { REPEATS_MOST = 100, WIDTHS_MOST = 8 };

typedef struct bench_model_options {
  const char *device, *dtype, *weights, *cache_type, *format, *parallel;
  int64_t prompt, generate, train, train_batch, repeats;
  uint32_t widths[WIDTHS_MOST], width_count;
} bench_model_options;

// One line of the table: pp512, tg128, tg128 by 8.
typedef struct model_test {
  char name[48];
  uint32_t prompt, generate, width;
  double samples[REPEATS_MOST];  // tokens per second
  uint32_t sample_count;
  double watts, joules_per_token, celsius;  // while it ran; NaN: not told
} model_test;

typedef struct model_facts {
  const char *path;
  char type[64];
  uint64_t bytes, parameters;
} model_facts;

// ---- measuring -----------------------------------------------------------------------------------------------------

static dure_status run_requests(dure_engine *engine, const model_test *test, const uint32_t *tokens,
                                double *out_seconds) {
  uint64_t ids[DURE_ENGINE_SEQUENCES_MOST];
  *out_seconds = 0;
  for (uint32_t i = 0; i < test->width; i++) {
    const dure_request request = {.tokens = tokens,
                                  .count = test->prompt > 0 ? test->prompt : 1,
                                  .most_tokens = test->generate,
                                  .sampling = {.top_p = 1},
                                  .overflow = DURE_OVERFLOW_REFUSE};
    DURE_TRY(dure_engine_submit(engine, &request, &ids[i]));
  }
  const uint64_t begin = dure_os_nanoseconds();
  for (bool is_busy = true; is_busy;) {
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "interrupted");
    DURE_TRY(dure_engine_step(engine, &is_busy));
  }
  *out_seconds = (double)(dure_os_nanoseconds() - begin) / 1e9;
  for (uint32_t i = 0; i < test->width; i++) dure_engine_release(engine, ids[i]);
  return NULL;
}

// Of the run that has just ended: by the counter of energy, or by the power that the driver gives where there is none.
static void add_energy(model_test *test, const energy_reading *before, energy_meter *meter, double seconds,
                       double tokens) {
  if (meter == NULL || !(seconds > 0)) return;
  const energy_reading now = energy_meter_read(meter);
  const double counted = now.joules - before->joules, watts = isnan(counted) ? now.watts : counted / seconds;
  const uint32_t runs = test->sample_count;  // before this one
  test->watts = runs == 0 ? watts : (test->watts * runs + watts) / (runs + 1);
  const double each = watts * seconds / tokens;
  test->joules_per_token = runs == 0 ? each : (test->joules_per_token * runs + each) / (runs + 1);
  test->celsius = now.celsius;
}

// Tokens are any: what is computed does not depend on them. The first run warms up, and is not counted.
static dure_status measure(dure_model *model, const bench_model_options *options, model_test *test) {
  const uint32_t longest = (test->prompt > 0 ? test->prompt : 1) + test->generate;
  dure_engine_options settings = {.sequences = test->width, .context = longest, .forgets_prefixes = true};
  DURE_TRY(dure_model_parse_cache_type(options->cache_type, &settings.cache_type));
  uint32_t *tokens = calloc((size_t)longest + 1, sizeof(*tokens));
  if (tokens == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a prompt");
  for (uint32_t i = 0; i < longest; i++) tokens[i] = (i * 2654435761u >> 8) % model->config.vocabulary_size;
  dure_engine *engine = NULL;
  energy_meter *meter = energy_meter_open(dure_device_get_info(model->device));
  energy_reading before = {(double)NAN, (double)NAN, (double)NAN};
  test->watts = test->joules_per_token = test->celsius = (double)NAN;
  dure_status status = dure_engine_create(model, &settings, &engine);
  for (int64_t i = 0; i <= options->repeats && status == NULL; i++) {
    double seconds = 0;
    status = run_requests(engine, test, tokens, &seconds);
    const double count = (double)test->width * (test->generate > 0 ? test->generate : test->prompt);
    if (status == NULL && i > 0) add_energy(test, &before, meter, seconds, count);
    if (status == NULL && meter != NULL) before = energy_meter_read(meter);
    if (status == NULL && i > 0) test->samples[test->sample_count++] = count / seconds;
  }
  dure_engine_destroy(engine);
  energy_meter_close(meter);
  free(tokens);
  return status;
}

static double mean_of(const model_test *test) {
  double sum = 0;
  for (uint32_t i = 0; i < test->sample_count; i++) sum += test->samples[i];
  return test->sample_count > 0 ? sum / test->sample_count : 0;
}

static double deviation_of(const model_test *test) {
  const double mean = mean_of(test);
  double sum = 0;
  for (uint32_t i = 0; i < test->sample_count; i++) sum += (test->samples[i] - mean) * (test->samples[i] - mean);
  return test->sample_count > 1 ? sqrt(sum / (test->sample_count - 1)) : 0;
}

static int compare_numbers(const void *left, const void *right) {
  const double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

static double median_of(const model_test *test) {
  double sorted[REPEATS_MOST];
  memcpy(sorted, test->samples, test->sample_count * sizeof(sorted[0]));
  qsort(sorted, test->sample_count, sizeof(sorted[0]), compare_numbers);
  return test->sample_count > 0 ? sorted[test->sample_count / 2] : 0;
}

// ---- results -------------------------------------------------------------------------------------------------------

static model_facts facts_of(const dure_model *model, const char *path) {
  model_facts facts = {.path = path, .parameters = model->layout.element_count};
  uint64_t packed = 0;
  for (size_t i = 0; i < model->layout.pool_count; i++)
    facts.bytes += dure_parameter_pool_bytes(&model->layout.pools[i], &model->weights.storage);
  const uint64_t bytes = dure_packed_bytes(&model->layout, &packed);
  const char *dtype = dure_dtype_name(dure_model_dtype(model));
  if (packed > 0) {
    snprintf(facts.type, sizeof(facts.type), "%s %s, %.2f bits a packed weight", model->config.family->model_type,
             dtype, 8.0 * (double)bytes / (double)packed);
  } else {
    snprintf(facts.type, sizeof(facts.type), "%s %s", model->config.family->model_type, dtype);
  }
  return facts;
}

static json_t *test_json(const dure_device_info *info, const model_facts *facts, const model_test *test) {
  json_t *samples = json_array();
  for (uint32_t i = 0; i < test->sample_count; i++) json_array_append_new(samples, json_real(test->samples[i]));
  json_t *object =
      json_pack("{ss ss ss so so ss ss sI sI si sI sI sI ss sf sf sf so}", "tool", "dure", "version", DURE_VERSION,
                "backend", info->backend, "device", output_json_text(info->name, strlen(info->name)), "driver",
                output_json_text(info->driver, strlen(info->driver)), "model_filename", facts->path, "model_type",
                facts->type, "model_size", (json_int_t)facts->bytes, "model_n_params", (json_int_t)facts->parameters,
                "cores", (int)dure_os_core_count(), "n_prompt", (json_int_t)test->prompt, "n_gen",
                (json_int_t)test->generate, "n_parallel", (json_int_t)test->width, "test", test->name, "avg_ts",
                mean_of(test), "stddev_ts", deviation_of(test), "median_ts", median_of(test), "samples_ts", samples);
  // What no driver tells is absent.
  if (!isnan(test->watts)) json_object_set_new(object, "avg_watts", json_real(test->watts));
  if (!isnan(test->joules_per_token))
    json_object_set_new(object, "joules_per_token", json_real(test->joules_per_token));
  if (!isnan(test->celsius)) json_object_set_new(object, "celsius", json_real(test->celsius));
  return object;
}

// A column of csv, empty where nothing is told.
static void print_optional(double value) {
  putchar(',');
  if (!isnan(value)) printf("%.6f", value);
}

static void print_row(const char *format, const dure_device_info *info, const model_facts *facts,
                      const model_test *test) {
  const double mebibytes = (double)facts->bytes / 1048576, millions = (double)facts->parameters / 1e6;
  if (strcmp(format, "csv") == 0) {
    printf("\"%s\",\"%s\",%llu,%llu,\"%s\",\"%s\",\"%s\",%u,%u,%u,\"%s\",%.6f,%.6f,%.6f", facts->path, facts->type,
           (unsigned long long)facts->bytes, (unsigned long long)facts->parameters, info->backend, info->name,
           info->driver, test->prompt, test->generate, test->width, test->name, mean_of(test), deviation_of(test),
           median_of(test));
    print_optional(test->watts);
    print_optional(test->joules_per_token);
    print_optional(test->celsius);
    putchar('\n');
    return;
  }
  printf("| %s | %.2f MiB | %.2f M | %s | %s | %.2f ± %.2f | %.2f |\n", facts->type, mebibytes, millions,
         info->identifier, test->name, mean_of(test), deviation_of(test), median_of(test));
}

static void print_header(const char *format) {
  if (strcmp(format, "csv") == 0)
    printf(
        "model_filename,model_type,model_size,model_n_params,backend,device,driver,n_prompt,n_gen,n_parallel,test,"
        "avg_ts,stddev_ts,median_ts,avg_watts,joules_per_token,celsius\n");
  if (strcmp(format, "md") == 0)
    printf(
        "| model | size | params | backend | test | t/s | median |\n| --- | ---: | ---: | --- | --- | ---: | ---: |\n");
}

// ---- the command ---------------------------------------------------------------------------------------------------

static dure_status put_result(const bench_model_options *options, const opened_model *opened, const model_facts *facts,
                              const model_test *test, json_t *all) {
  const dure_device_info *info = dure_device_get_info(opened->device);
  if (strcmp(options->format, "json") == 0) {
    json_array_append_new(all, test_json(info, facts, test));
    return NULL;
  }
  if (strcmp(options->format, "jsonl") == 0) return output_json(test_json(info, facts, test));
  print_row(options->format, info, facts, test);
  fflush(stdout);
  return output_check();
}

static dure_status run_test(const bench_model_options *options, const opened_model *opened, const model_facts *facts,
                            model_test test, json_t *all) {
  DURE_TRY(dure_status_prefix(measure(opened->model, options, &test), "%s", test.name));
  return put_result(options, opened, facts, &test, all);
}

static dure_status run_training(const bench_model_options *options, const opened_model *opened,
                                const model_facts *facts, json_t *all) {
  model_test test = {.prompt = (uint32_t)options->train,
                     .width = (uint32_t)options->train_batch,
                     .sample_count = (uint32_t)options->repeats,
                     .watts = (double)NAN,
                     .joules_per_token = (double)NAN,
                     .celsius = (double)NAN};
  snprintf(test.name, sizeof(test.name), test.width > 1 ? "train%u x %u" : "train%u", test.prompt, test.width);
  DURE_TRY(dure_status_prefix(bench_training(opened->device, facts->path, options->dtype, test.prompt, test.width,
                                             test.sample_count, test.samples),
                              "%s", test.name));
  return put_result(options, opened, facts, &test, all);
}

static dure_status run_device(const bench_model_options *options, const char *device, const char *path, json_t *all) {
  opened_model opened;
  DURE_TRY(opened_model_create_as(device, options->dtype, options->weights, path, false, &opened));
  const model_facts facts = facts_of(opened.model, path);
  const dure_device_info *info = dure_device_get_info(opened.device);
  if (strcmp(options->format, "md") == 0)
    printf("\n%s: %s, %s; dure %s\n\n", info->identifier, info->name, info->driver, DURE_VERSION);
  print_header(options->format);
  dure_status status = NULL;
  if (options->prompt > 0) {
    model_test test = {.prompt = (uint32_t)options->prompt, .width = 1};
    snprintf(test.name, sizeof(test.name), "pp%u", test.prompt);
    status = run_test(options, &opened, &facts, test, all);
  }
  for (uint32_t i = 0; i < options->width_count && options->generate > 0 && status == NULL; i++) {
    model_test test = {.generate = (uint32_t)options->generate, .width = options->widths[i]};
    snprintf(test.name, sizeof(test.name), test.width > 1 ? "tg%u x %u" : "tg%u", test.generate, test.width);
    status = run_test(options, &opened, &facts, test, all);
  }
  if (options->train > 0 && status == NULL) status = run_training(options, &opened, &facts, all);
  opened_model_close(&opened);
  return status;
}

// "all": every device that can be used, one after the other.
static dure_status run_devices(const bench_model_options *options, const char *path, json_t *all) {
  if (strcmp(options->device, "all") != 0) return run_device(options, options->device, path, all);
  dure_device_info *infos = NULL;
  size_t count = 0;
  char *notes = NULL;
  DURE_TRY(dure_devices_list(&infos, &count, &notes));
  dure_status status = NULL;
  for (size_t i = 0; i < count && status == NULL; i++) {
    if (infos[i].usable && infos[i].kind != DURE_DEVICE_REFERENCE)
      status = run_device(options, infos[i].identifier, path, all);
  }
  free(infos);
  free(notes);
  return status;
}

static dure_status parse_widths(bench_model_options *options) {
  const char *cursor = options->parallel;
  for (;;) {
    char *end = NULL;
    const long width = strtol(cursor, &end, 10);
    if (end == cursor || width < 1 || width > DURE_ENGINE_SEQUENCES_MOST || options->width_count == WIDTHS_MOST)
      return dure_fail(DURE_INVALID_ARGUMENT, "--parallel takes up to %d numbers from 1 to %d, as in 1,8; found '%s'",
                       WIDTHS_MOST, DURE_ENGINE_SEQUENCES_MOST, options->parallel);
    options->widths[options->width_count++] = (uint32_t)width;
    if (*end == '\0') return NULL;
    cursor = end + 1;
  }
}

static dure_status check_options(void *chosen) {
  bench_model_options *options = chosen;
  static const char *const formats[] = {"md", "csv", "json", "jsonl"};
  bool is_known = false;
  for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
    is_known = is_known || strcmp(options->format, formats[i]) == 0;
  if (!is_known) return dure_fail(DURE_INVALID_ARGUMENT, "-o must be md, csv, json or jsonl");
  if (options->repeats < 1 || options->repeats > REPEATS_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "--repeats must lie between 1 and %d", REPEATS_MOST);
  if (options->prompt < 0 || options->generate < 0 || options->prompt > INT32_MAX / 2 ||
      options->generate > INT32_MAX / 2)
    return dure_fail(DURE_INVALID_ARGUMENT, "--prompt and --generate must be at least 0 (0: not measured)");
  if (options->train < 0 || options->train > INT32_MAX / 2 || options->train_batch < 1 || options->train_batch > 65536)
    return dure_fail(DURE_INVALID_ARGUMENT, "--train must be at least 0 (0: not measured), --train-batch at least 1");
  dure_dtype cache_type;
  DURE_TRY(dure_model_parse_cache_type(options->cache_type, &cache_type));
  return parse_widths(options);
}

static dure_status run_all(const void *chosen, const char *path) {
  const bench_model_options *options = chosen;
  json_t *all = json_array();
  dure_status status = run_devices(options, path, all);
  if (status == NULL && strcmp(options->format, "json") == 0) return output_json(all);
  json_decref(all);
  return status;
}

int bench_model(int argc, char **argv) {
  bench_model_options chosen = {.device = "auto",
                                .format = "md",
                                .parallel = "1",
                                .prompt = 512,
                                .generate = 128,
                                .train_batch = 1,
                                .repeats = 5};
  const option_row rows[] = {
      {"prompt", OPTION_INTEGER, &chosen.prompt, "N", "tokens of the prompt that is taken, 0: none (512)"},
      {"generate", OPTION_INTEGER, &chosen.generate, "N", "tokens that are generated, 0: none (128)"},
      {"parallel", OPTION_TEXT, &chosen.parallel, "N,..", "sequences that generate together, each in turn (1)"},
      {"train", OPTION_INTEGER, &chosen.train, "N", "tokens of a sequence of a training step, 0: none (0)"},
      {"train-batch", OPTION_INTEGER, &chosen.train_batch, "B", "sequences of that step (1)"},
      {"repeats", OPTION_INTEGER, &chosen.repeats, "N", "timed runs, after one that is not counted (5)"},
      {"device", OPTION_TEXT, &chosen.device, "D", "auto, all, vulkan[:N], cuda[:N] or reference (auto)"},
      {"dtype", OPTION_TEXT, &chosen.dtype, "TYPE", "of weights and activations: auto, f32, bf16 or f16 (auto)"},
      {"weights", OPTION_TEXT, &chosen.weights, "HOW",
       "of quantised files: quantised, as the file has them; int8: and activations are rounded to 8 bits before "
       "products with 8-bit matrices; or expanded to --dtype (quantised)"},
      {"cache-type", OPTION_TEXT, &chosen.cache_type, "TYPE",
       "of the KV cache alone: auto (as --dtype), f32, bf16, f16 or q8_0"},
      {"o", OPTION_TEXT, &chosen.format, "FORMAT", "md, csv, json or jsonl (md)"},
  };
  const command_usage usage = {
      "dure bench MODEL [options]",
      "Measures a model: pp512, tokens a second of a prompt of 512; tg128, tokens a second generating 128, alone or "
      "several\n"
      "sequences together. Columns as llama-bench has them; results carry the device, its driver and the version.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure bench model.gguf --parallel 1,8 --device vulkan",
      1,
      1};
  return command_run(&usage, argc, argv, &chosen, check_options, run_all);
}
