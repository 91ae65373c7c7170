// dure data clean: raw text, HTML, XML or JSONL to clean JSONL.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/data_step.h"
#include "cli/progress.h"
#include "data/clean.h"
#include "runtime/os.h"

enum { DROP_REASONS = 7 };

static void drop_reasons(const dure_clean_summary *summary, data_count rows[DROP_REASONS]) {
  const data_count filled[DROP_REASONS] = {
      {"empty", summary->empty},
      {"too_short", summary->too_short},
      {"invalid_utf8", summary->invalid_utf8},
      {"malformed", summary->malformed},
      {"binary", summary->read.binary},
      {"too_large", summary->read.too_large},
      {"unwanted_language", summary->unwanted_language},
  };
  memcpy(rows, filled, sizeof(filled));
}

static void report_clean(const dure_clean_summary *summary, double seconds, bool as_json) {
  data_count reasons[DROP_REASONS];
  drop_reasons(summary, reasons);
  uint64_t dropped = 0;
  for (int i = 0; i < DROP_REASONS; i++) dropped += reasons[i].value;
  char text[512];
  data_counts_list(reasons, DROP_REASONS, text, sizeof(text));
  fprintf(stderr,
          "%" PRIu64 " files read (%" PRIu64 " skipped), %" PRIu64 " documents: %" PRIu64 " kept, %" PRIu64
          " dropped%s%s%s\n",
          summary->read.files, summary->read.files_skipped, summary->kept + dropped, summary->kept, dropped,
          dropped > 0 ? " (" : "", text, dropped > 0 ? ")" : "");
  if (summary->repaired > 0) fprintf(stderr, "%" PRIu64 " documents repaired\n", summary->repaired);
  fprintf(stderr, "%.2f MB in, %.2f MB of text out (ko %.2f, en %.2f, other %.2f) in %.1f s\n",
          (double)summary->read.bytes_read * 1e-6, (double)summary->text_bytes * 1e-6,
          (double)summary->language_bytes[DURE_KOREAN] * 1e-6, (double)summary->language_bytes[DURE_ENGLISH] * 1e-6,
          (double)summary->language_bytes[DURE_OTHER_LANGUAGE] * 1e-6, seconds);
  if (!as_json) return;
  const data_count files[] = {{"read", summary->read.files}, {"skipped", summary->read.files_skipped}};
  const data_count bytes[] = {
      {"read", summary->read.bytes_read}, {"text", summary->text_bytes}, {"written", summary->written_bytes}};
  json_t *languages = json_object();
  for (int i = 0; i < DURE_LANGUAGE_COUNT; i++) {
    const data_count language[] = {{"documents", summary->language_documents[i]},
                                   {"text_bytes", summary->language_bytes[i]}};
    json_object_set_new(languages, dure_language_name((dure_language)i), data_counts_json(language, 2));
  }
  data_json_print(json_pack("{s:o, s:{s:I, s:I, s:o, s:I}, s:o, s:o, s:f}", "files", data_counts_json(files, 2),
                            "documents", "read", (json_int_t)(summary->kept + dropped), "kept",
                            (json_int_t)summary->kept, "dropped", data_counts_json(reasons, DROP_REASONS), "repaired",
                            (json_int_t)summary->repaired, "bytes", data_counts_json(bytes, 3), "languages", languages,
                            "seconds", seconds));
}

// "ko,en" -> the flags; false with an explanation for an unknown one.
static bool parse_languages(const char *command, const char *text, bool languages[DURE_LANGUAGE_COUNT]) {
  for (int i = 0; i < DURE_LANGUAGE_COUNT; i++) languages[i] = text == NULL;
  while (text != NULL && *text != '\0') {
    size_t length = strcspn(text, ",");
    dure_language language;
    if (!dure_language_parse(text, length, &language)) {
      fprintf(stderr, "dure %s: unknown language '%.*s': expected a list of ko, en, other\n", command, (int)length,
              text);
      return false;
    }
    languages[language] = true;
    text += length + (text[length] == ',');
  }
  return true;
}

int data_clean(int argc, char **argv) {
  const char *format = "auto", *languages = NULL;
  int64_t minimum = 32;
  bool as_json = false;
  dure_clean_options options = {.document_limit = DURE_DOCUMENT_SIZE_LIMIT};
  const option_row rows[] = {
      {"o", OPTION_TEXT, &options.output, "FILE", "where the JSONL goes; - for standard output"},
      {"format", OPTION_TEXT, &format, "FORMAT", "auto (by name, then content), text, html, xml or jsonl"},
      {"min-characters", OPTION_INTEGER, &minimum, "N", "drop documents with less text (default 32)"},
      {"max-document", OPTION_SIZE, &options.document_limit, "SIZE",
       "longest document; longer texts are cut (default 32MiB)"},
      {"language", OPTION_TEXT, &languages, "LIST", "keep only these of ko, en, other, separated by commas"},
      {"encoding", OPTION_TEXT, &options.encoding, "NAME",
       "of files that are not UTF-8 and declare nothing, such as cp949"},
      {"repair", OPTION_FLAG, &options.repair, NULL, "keep documents with invalid UTF-8, replacing what is invalid"},
      {"json", OPTION_FLAG, &as_json, NULL, "print the counts as JSON on standard output"},
  };
  const command_usage usage = {
      "dure data clean IN... -o OUT.jsonl [options]",
      "Extracts clean text from plain text, HTML, Mallard, DocBook and other XML, and JSONL with a \"text\" field, "
      "from\n"
      "files, whole directories or standard input (-): one JSON object a line. Menus, scripts and other boilerplate "
      "go;\n"
      "headings, paragraphs, lists, tables and preformatted text stay readable. Text is normalised to NFC.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure data clean /usr/share/doc/installation-guide-amd64/ko -o clean.jsonl",
      1,
      (size_t)argc};
  const char *const *inputs;
  size_t count = 0;
  int status = command_parse(&usage, argc, argv, &inputs, &count);
  if (status < 0 && options.output == NULL) status = data_output_missing(argv[0], "OUT.jsonl");
  if (status < 0 && !(data_format_parse(argv[0], format, &options.format) &&
                      parse_languages(argv[0], languages, options.languages))) {
    status = EXIT_USAGE;
  }
  if (status < 0 && as_json && strcmp(options.output, "-") == 0) {
    fprintf(stderr, "dure %s: --json and -o - would both write to standard output\n", argv[0]);
    status = EXIT_USAGE;
  }
  if (status < 0) {
    data_timer timer = data_timer_start(inputs, count);
    dure_os_catch_interrupts();
    options.minimum_characters = minimum > 0 ? (uint64_t)minimum : 0;
    options.progress = data_step_progress;
    options.progress_context = &timer;
    dure_clean_summary summary;
    dure_status result = dure_clean(inputs, count, &options, &summary);
    progress_clear();
    if (result == NULL) report_clean(&summary, data_timer_seconds(&timer), as_json);
    status = command_finish(argv[0], result);
  }
  return status;
}
