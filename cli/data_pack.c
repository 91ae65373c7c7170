// dure data pack: JSONL or text to token shards.
#include <inttypes.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/data_step.h"
#include "cli/progress.h"
#include "data/pack.h"
#include "model/weights.h"
#include "runtime/os.h"

static json_t *split_to_json(const dure_split_counts *counts) {
  const data_count rows[] = {
      {"documents", counts->documents}, {"tokens", counts->tokens}, {"text_bytes", counts->text_bytes}};
  return data_counts_json(rows, 3);
}

static void report_pack(const dure_pack_summary *summary, bool as_json) {
  static const char *const names[DURE_SPLIT_COUNT] = {"training", "held out"};
  if (summary->is_resumed) fprintf(stderr, "went on with the shards of an earlier process\n");
  for (int i = 0; i < DURE_SPLIT_COUNT; i++) {
    const dure_split_counts *counts = &summary->splits[i];
    double bytes_per_token = counts->tokens > 0 ? (double)counts->text_bytes / (double)counts->tokens : 0;
    fprintf(stderr, "%s: %" PRIu64 " documents, %" PRIu64 " tokens, %" PRIu64 " bytes of text (%.2f a token)\n",
            names[i], counts->documents, counts->tokens, counts->text_bytes, bytes_per_token);
  }
  const data_count left_out[] = {{"near_duplicates", summary->near_duplicates},
                                 {"empty", summary->empty},
                                 {"too_large", summary->read.too_large},
                                 {"binary", summary->read.binary}};
  char text[256];
  data_counts_list(left_out, 4, text, sizeof(text));
  if (text[0] != '\0') fprintf(stderr, "left out: %s\n", text);
  if (!as_json) return;
  data_json_print(
      json_pack("{s:o, s:o, s:o, s:I, s:I, s:s, s:f}", "train", split_to_json(&summary->splits[DURE_SPLIT_TRAIN]),
                "held_out", split_to_json(&summary->splits[DURE_SPLIT_HELD_OUT]), "left_out",
                data_counts_json(left_out, 4), "near_duplicate_bytes", (json_int_t)summary->near_duplicate_bytes,
                "vocabulary_size", (json_int_t)summary->vocabulary_size, "dtype",
                summary->bytes_per_token == 2 ? "u16" : "u32", "held_out_share", summary->held_out));
}

int data_pack(int argc, char **argv) {
  const char *format = "auto";
  bool as_json = false;
  int64_t shard_tokens = 0, threads = 0;
  const char *recipe = NULL, *report = NULL;
  dure_pack_options options = {.held_out = 0.01, .document_limit = DURE_DOCUMENT_SIZE_LIMIT};
  const option_row rows[] = {
      {"o", OPTION_TEXT, &options.output, "DATA", "the dataset's directory, made here"},
      {"tokenizer", OPTION_TEXT, &options.tokenizer, "FILE", "any tokenizer file, a model directory or a GGUF file"},
      {"held-out", OPTION_NUMBER, &options.held_out, "SHARE",
       "of the documents kept from training, 0 to 0.5 (default 0.01)"},
      {"held-out-bytes", OPTION_SIZE, &options.held_out_bytes, "SIZE", "instead, hold out about this much text"},
      {"held-out-distinct", OPTION_FLAG, &options.held_out_distinct, NULL,
       "leave out held-out documents that training text half contains"},
      {"shard-tokens", OPTION_INTEGER, &shard_tokens, "N", "tokens a shard (default 134217728)"},
      {"format", OPTION_TEXT, &format, "FORMAT", "auto (by name, then content), text or jsonl"},
      {"max-document", OPTION_SIZE, &options.document_limit, "SIZE",
       "longest document; longer texts are cut (default 32MiB)"},
      {"threads", OPTION_INTEGER, &threads, "N", "default: one a core; the shards are the same"},
      {"report", OPTION_TEXT, &report, "FILE", "counts and tokens by language for 'dure data report'"},
      {"recipe", OPTION_TEXT, &recipe, "FILE", "YAML with these options; those given here come first"},
      {"force", OPTION_FLAG, &options.replace, NULL, "replace an existing dataset"},
      {"json", OPTION_FLAG, &as_json, NULL, "print the counts as JSON on standard output"},
  };
  if (!data_recipe_apply(&argc, argv, &argv)) return EXIT_USAGE;
  const command_usage usage = {
      "dure data pack IN... --tokenizer FILE -o DATA [options]",
      "Encodes JSONL or plain text into shards of token ids that training reads, each document followed by the "
      "end-of-text\n"
      "token. Documents are held out for evaluation by a hash of their text, so the same ones always are.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure data pack distinct.jsonl --tokenizer tokenizer.json --held-out-bytes 100kB -o DATA",
      1,
      (size_t)argc};
  const char *const *inputs;
  size_t count = 0;
  int status = command_parse(&usage, argc, argv, &inputs, &count);
  if (status < 0 && options.output == NULL) status = data_output_missing(argv[0], "DATA");
  if (status < 0 && options.tokenizer == NULL) {
    fprintf(stderr, "dure %s: no tokenizer: add --tokenizer FILE (made by 'dure tokenizer train')\n", argv[0]);
    status = EXIT_USAGE;
  }
  if (status < 0 && !data_format_parse(argv[0], format, &options.format)) status = EXIT_USAGE;
  if (status < 0 && (shard_tokens < 0 || threads < 0 || threads > INT32_MAX)) {
    fprintf(stderr, "dure %s: --shard-tokens and --threads need a number of at least 1\n", argv[0]);
    status = EXIT_USAGE;
  }
  if (status < 0) {
    data_timer timer = data_timer_start(inputs, count);
    dure_os_catch_interrupts();
    options.shard_tokens = (uint64_t)shard_tokens;
    options.progress = data_step_progress;
    options.progress_context = &timer;
    dure_pack_summary summary;
    options.threads = (uint32_t)threads;
    dure_tokenizer *tokenizer = NULL;
    dure_status result = dure_weights_tokenizer(options.tokenizer, &tokenizer);
    options.opened_tokenizer = tokenizer;
    if (result == NULL && report != NULL) result = dure_step_report_create("pack", &options.report);
    if (result == NULL) result = dure_pack(inputs, count, &options, &summary);
    dure_tokenizer_close(tokenizer);
    if (result == NULL && report != NULL) result = dure_step_report_write(options.report, NULL, report);
    dure_step_report_destroy(options.report);
    progress_clear();
    if (result == NULL) report_pack(&summary, as_json);
    status = command_finish(argv[0], result);
  }
  return status;
}
