// dure data dedup: clean JSONL to JSONL without duplicates.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/data_step.h"
#include "cli/progress.h"
#include "data/dedup.h"
#include "runtime/os.h"

static void report_dedup(const dure_dedup_summary *summary, bool as_json) {
  fprintf(stderr, "%" PRIu64 " documents: %" PRIu64 " kept, %" PRIu64 " duplicates dropped", summary->read.documents,
          summary->kept, summary->duplicates);
  if (summary->lines_cut > 0) {
    fprintf(stderr, ", %" PRIu64 " repeated lines cut, %" PRIu64 " documents left empty", summary->lines_cut,
            summary->emptied);
  }
  fprintf(stderr, "; %.2f MB of text kept, %.2f MB dropped\n", (double)summary->text_bytes * 1e-6,
          (double)summary->duplicate_bytes * 1e-6);
  if (!as_json) return;
  const data_count rows[] = {
      {"read", summary->read.documents},      {"kept", summary->kept},
      {"duplicates", summary->duplicates},    {"emptied", summary->emptied},
      {"too_large", summary->read.too_large}, {"lines_cut", summary->lines_cut},
      {"text_bytes", summary->text_bytes},    {"duplicate_bytes", summary->duplicate_bytes},
  };
  data_json_print(data_counts_json(rows, sizeof(rows) / sizeof(rows[0])));
}

int data_dedup(int argc, char **argv) {
  const char *format = "auto";
  int64_t lines = 0;
  bool as_json = false;
  dure_dedup_options options = {.document_limit = DURE_DOCUMENT_SIZE_LIMIT};
  const option_row rows[] = {
      {"o", OPTION_TEXT, &options.output, "FILE", "where the JSONL goes; - for standard output"},
      {"lines", OPTION_INTEGER, &lines, "N",
       "also cut a line of text (16 bytes or more) after it has occurred N times"},
      {"format", OPTION_TEXT, &format, "FORMAT", "auto (by name, then content), text or jsonl"},
      {"max-document", OPTION_SIZE, &options.document_limit, "SIZE", "longest document (default 32MiB)"},
      {"json", OPTION_FLAG, &as_json, NULL, "print the counts as JSON on standard output"},
  };
  const command_usage usage = {
      "dure data dedup IN.jsonl... -o OUT.jsonl [options]",
      "Drops documents whose text, white space aside, occurred before. The first occurrence stays as it is.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure data dedup clean.jsonl -o distinct.jsonl",
      1,
      (size_t)argc};
  const char *const *inputs;
  size_t count = 0;
  int status = command_parse(&usage, argc, argv, &inputs, &count);
  if (status < 0 && options.output == NULL) status = data_output_missing(argv[0], "OUT.jsonl");
  if (status < 0 && !data_format_parse(argv[0], format, &options.format)) status = EXIT_USAGE;
  if (status < 0 && (lines < 0 || (as_json && strcmp(options.output, "-") == 0))) {
    fprintf(stderr, "dure %s: %s\n", argv[0],
            lines < 0 ? "--lines needs a number of at least 1" : "--json and -o - would both write to standard output");
    status = EXIT_USAGE;
  }
  if (status < 0) {
    uint64_t started = dure_os_nanoseconds();
    dure_os_catch_interrupts();
    options.line_limit = (uint64_t)lines;
    options.progress = data_step_progress;
    options.progress_context = &started;
    dure_dedup_summary summary;
    dure_status result = dure_dedup(inputs, count, &options, &summary);
    progress_clear();
    if (result == NULL) report_dedup(&summary, as_json);
    status = command_finish(argv[0], result);
  }
  return status;
}
