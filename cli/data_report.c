// dure data report: what the steps kept and dropped, as one page.
#include "cli/command.h"
#include "cli/data_step.h"
#include "data/report_page.h"

int data_report(int argc, char **argv) {
  const char *output = NULL;
  const option_row rows[] = {
      {"o", OPTION_TEXT, &output, "FILE", "the page, HTML; - for standard output"},
  };
  const command_usage usage = {"dure data report REPORT.json... -o PAGE.html",
                               "Shows what 'dure data clean', 'dedup', 'mix' and 'pack' wrote with --report as one "
                               "HTML page that needs no network:\n"
                               "counts, reasons with examples, lengths, languages, sources, duplicates.",
                               rows,
                               sizeof(rows) / sizeof(rows[0]),
                               "dure data dedup clean.jsonl --near -o distinct.jsonl --report dedup.json && dure data "
                               "report dedup.json -o page.html",
                               1,
                               (size_t)argc};
  const char *const *inputs;
  size_t count = 0;
  int status = command_parse(&usage, argc, argv, &inputs, &count);
  if (status < 0 && output == NULL) status = data_output_missing(argv[0], "PAGE.html");
  if (status < 0) status = command_finish(argv[0], dure_report_page_write(inputs, count, output));
  return status;
}
