// dure data mix: sources and languages in the parts that a recipe asks for.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/data_step.h"
#include "cli/progress.h"
#include "data/mix.h"
#include "data/recipe.h"
#include "model/weights.h"
#include "runtime/os.h"

typedef struct mix_arguments {
  const char *output, *tokenizer, *report;
  int64_t seed, threads;
  uint64_t memory;
  bool as_json;
} mix_arguments;

// Sizes like 2GB become numbers.
static dure_status resolve_sizes(const json_t *recipe) {
  json_t *stage = NULL;
  size_t i = 0;
  json_array_foreach(json_object_get(recipe, "stages"), i, stage) {
    static const char *const units[] = {"bytes", "tokens", "documents"};
    for (int unit = 0; unit < 3; unit++) {
      const char *text = json_string_value(json_object_get(stage, units[unit]));
      uint64_t size = 0;
      if (text == NULL) continue;
      if (!command_parse_size(text, &size)) {
        return dure_fail(DURE_INVALID_ARGUMENT, "stage %zu: '%s' is no size, such as 2GB", i + 1, text);
      }
      json_object_set_new(stage, units[unit], json_integer((json_int_t)size));
    }
  }
  return NULL;
}

static json_t *amount_json(const dure_mix_row *row) {
  return json_pack(
      "{s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:I, s:I, s:I}", "stage", row->stage != NULL ? row->stage : "",
      "source", row->source, "language", dure_language_name(row->language), "available_documents",
      (json_int_t)row->available.documents, "available_bytes", (json_int_t)row->available.bytes, "available_tokens",
      (json_int_t)row->available.tokens, "share", row->share, "epochs", row->epochs, "documents",
      (json_int_t)row->taken.documents, "bytes", (json_int_t)row->taken.bytes, "tokens", (json_int_t)row->taken.tokens);
}

static json_t *composition_json(const dure_mix_summary *summary) {
  json_t *rows = json_array();
  for (size_t i = 0; i < summary->count; i++) json_array_append_new(rows, amount_json(&summary->rows[i]));
  return rows;
}

static void print_composition(const dure_mix_summary *summary, bool has_tokens) {
  uint64_t all = 0, tokens = 0;
  for (size_t i = 0; i < summary->count; i++) {
    all += summary->rows[i].taken.bytes;
    tokens += summary->rows[i].taken.tokens;
  }
  fprintf(stderr, "%-12s %-16s %-6s %12s %12s %8s %12s %12s %8s %s\n", "stage", "source", "lang", "there: docs", "MB",
          "epochs", "taken: docs", "MB", "share", has_tokens ? "      tokens" : "");
  for (size_t i = 0; i < summary->count; i++) {
    const dure_mix_row *row = &summary->rows[i];
    fprintf(stderr, "%-12.12s %-16.16s %-6s %12" PRIu64 " %12.2f %8.3f %12" PRIu64 " %12.2f %6.2f %% ",
            row->stage != NULL ? row->stage : "", row->source, dure_language_name(row->language),
            row->available.documents, (double)row->available.bytes * 1e-6, row->epochs, row->taken.documents,
            (double)row->taken.bytes * 1e-6, all > 0 ? 100.0 * (double)row->taken.bytes / (double)all : 0.0);
    if (has_tokens) fprintf(stderr, "%12" PRIu64, row->taken.tokens);
    fprintf(stderr, "\n");
  }
  fprintf(stderr, "%.2f MB of text", (double)all * 1e-6);
  if (has_tokens) fprintf(stderr, ", %" PRIu64 " tokens", tokens);
  fprintf(stderr, "\n");
}

static dure_status mix(const json_t *recipe, const mix_arguments *arguments, bool has_seed) {
  data_timer timer = data_timer_start(NULL, 0);
  const uint64_t seed = (uint64_t)arguments->seed;
  dure_mix_options options = {.recipe = recipe,
                              .output = arguments->output,
                              .seed = has_seed ? &seed : NULL,
                              .threads = (uint32_t)arguments->threads,
                              .memory = arguments->memory,
                              .document_limit = DURE_DOCUMENT_SIZE_LIMIT,
                              .progress = data_step_progress,
                              .progress_context = &timer};
  dure_tokenizer *tokenizer = NULL;
  dure_mix_summary summary = {0};
  dure_status status = arguments->tokenizer != NULL ? dure_weights_tokenizer(arguments->tokenizer, &tokenizer) : NULL;
  options.tokenizer = tokenizer;
  if (status == NULL && arguments->report != NULL) status = dure_step_report_create("mix", &options.report);
  dure_os_catch_interrupts();
  if (status == NULL) status = dure_mix(&options, &summary);
  progress_clear();
  if (status == NULL) {
    print_composition(&summary, tokenizer != NULL);
    json_t *root = json_pack("{s:o}", "composition", composition_json(&summary));
    if (arguments->report != NULL) status = dure_step_report_write(options.report, root, arguments->report);
    if (arguments->as_json) data_json_print(json_incref(root));
    json_decref(root);
  }
  dure_mix_summary_free(&summary);
  dure_step_report_destroy(options.report);
  dure_tokenizer_close(tokenizer);
  return status;
}

int data_mix(int argc, char **argv) {
  mix_arguments arguments = {.seed = -1};
  const option_row rows[] = {
      {"o", OPTION_TEXT, &arguments.output, "FILE", "where the JSONL goes"},
      {"tokenizer", OPTION_TEXT, &arguments.tokenizer, "FILE", "count tokens too, and allow sizes in tokens"},
      {"seed", OPTION_INTEGER, &arguments.seed, "N", "instead of the recipe's"},
      {"memory", OPTION_SIZE, &arguments.memory, "SIZE", "for shuffling (default 512MiB)"},
      {"threads", OPTION_INTEGER, &arguments.threads, "N", "default: one a core; the result is the same"},
      {"report", OPTION_TEXT, &arguments.report, "FILE", "the composition for 'dure data report'"},
      {"json", OPTION_FLAG, &arguments.as_json, NULL, "print the composition as JSON on standard output"},
  };
  const command_usage usage = {"dure data mix RECIPE.yaml -o OUT.jsonl [options]",
                               "Mixes sources by the weights, languages and epochs of a recipe, stage after stage, "
                               "shuffled by its seed, and says\n"
                               "what was there and what was taken:\n"
                               "  sources: {web: [ko.jsonl, en.jsonl], wiki: wiki.jsonl}\n"
                               "  stages:\n"
                               "    - {name: main, bytes: 2GB, weights: {web: 7, wiki: 3}, languages: {ko: 1, en: 1}}\n"
                               "    - {name: end, epochs: {wiki: 1.5}}",
                               rows,
                               sizeof(rows) / sizeof(rows[0]),
                               "dure data mix recipe.yaml -o mixed.jsonl --seed 1",
                               1,
                               1};
  const char *const *inputs;
  int status = command_parse(&usage, argc, argv, &inputs, NULL);
  if (status < 0 && arguments.output == NULL) status = data_output_missing(argv[0], "OUT.jsonl");
  if (status < 0 && (arguments.threads < 0 || arguments.threads > INT32_MAX || strcmp(arguments.output, "-") == 0)) {
    fprintf(stderr, "dure %s: --threads needs a number, and -o a file\n", argv[0]);
    status = EXIT_USAGE;
  }
  if (status < 0) {
    json_t *recipe = NULL;
    dure_status result = dure_recipe_read(inputs[0], &recipe);
    if (result == NULL) result = resolve_sizes(recipe);
    if (result == NULL) result = mix(recipe, &arguments, arguments.seed >= 0);
    json_decref(recipe);
    status = command_finish(argv[0], result);
  }
  return status;
}
