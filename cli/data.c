// dure data clean | dedup | pack: raw text into a dataset, in three steps.
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/progress.h"
#include "data/clean.h"
#include "data/dedup.h"
#include "data/pack.h"
#include "runtime/os.h"

// ---- progress ----

static bool show_progress(void *context, const dure_progress *progress) {
  double seconds = (double)(dure_os_nanoseconds() - *(const uint64_t *)context) * 1e-9;
  progress_show("%s: %" PRIu64 " documents in %" PRIu64 " files, %.1f MB read, %.1f s", progress->stage,
                progress->documents, progress->files, (double)progress->bytes_read * 1e-6, seconds);
  return !dure_os_interrupted();
}

// ---- summaries ----

// A JSON object of whole numbers from (name, value) pairs.
typedef struct number_row {
  const char *name;
  uint64_t value;
} number_row;

static json_t *numbers_to_json(const number_row *rows, size_t count) {
  json_t *object = json_object();
  for (size_t i = 0; i < count; i++) json_object_set_new(object, rows[i].name, json_integer((json_int_t)rows[i].value));
  return object;
}

// "3 too short, 1 empty": the rows that are not zero; "" for none.
static void list_numbers(const number_row *rows, size_t count, char *out_text, size_t size) {
  size_t length = 0;
  out_text[0] = '\0';
  for (size_t i = 0; i < count; i++) {
    if (rows[i].value == 0) continue;
    int added = snprintf(out_text + length, size - length, "%s%" PRIu64 " %s", length > 0 ? ", " : "", rows[i].value,
                         rows[i].name);
    if (added < 0 || (size_t)added >= size - length) return;
    length += (size_t)added;
  }
  for (char *cursor = out_text; *cursor != '\0'; cursor++) *cursor = *cursor == '_' ? ' ' : *cursor;
}

static void print_json(json_t *object) {
  char *text = json_dumps(object, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9));
  if (text != NULL) printf("%s\n", text);
  free(text);
  json_decref(object);
}

static bool parse_format(const char *command, const char *name, dure_format *out_format) {
  static const char *const names[] = {"auto", "text", "html", "xml", "jsonl"};
  *out_format = DURE_FORMAT_AUTO;
  for (int i = 0; i < 5; i++) {
    if (strcmp(name, names[i]) != 0) continue;
    *out_format = (dure_format)i;
    return true;
  }
  const char *nearest = command_nearest(name, names, 5);
  fprintf(stderr, "dure %s: unknown format '%s': expected auto, text, html, xml or jsonl", command, name);
  fprintf(stderr, nearest != NULL ? "; did you mean '%s'?\n" : "\n", nearest);
  return false;
}

static int missing_output(const char *command, const char *what) {
  fprintf(stderr, "dure %s: nothing says where to write: add -o %s\n", command, what);
  return EXIT_USAGE;
}

// ---- clean ----

enum { DROP_REASONS = 7 };

static void drop_reasons(const dure_clean_summary *summary, number_row rows[DROP_REASONS]) {
  const number_row filled[DROP_REASONS] = {
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
  number_row reasons[DROP_REASONS];
  drop_reasons(summary, reasons);
  uint64_t dropped = 0;
  for (int i = 0; i < DROP_REASONS; i++) dropped += reasons[i].value;
  char text[512];
  list_numbers(reasons, DROP_REASONS, text, sizeof(text));
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
  const number_row files[] = {{"read", summary->read.files}, {"skipped", summary->read.files_skipped}};
  const number_row bytes[] = {
      {"read", summary->read.bytes_read}, {"text", summary->text_bytes}, {"written", summary->written_bytes}};
  json_t *languages = json_object();
  for (int i = 0; i < DURE_LANGUAGE_COUNT; i++) {
    const number_row language[] = {{"documents", summary->language_documents[i]},
                                   {"text_bytes", summary->language_bytes[i]}};
    json_object_set_new(languages, dure_language_name((dure_language)i), numbers_to_json(language, 2));
  }
  print_json(json_pack("{s:o, s:{s:I, s:I, s:o, s:I}, s:o, s:o, s:f}", "files", numbers_to_json(files, 2), "documents",
                       "read", (json_int_t)(summary->kept + dropped), "kept", (json_int_t)summary->kept, "dropped",
                       numbers_to_json(reasons, DROP_REASONS), "repaired", (json_int_t)summary->repaired, "bytes",
                       numbers_to_json(bytes, 3), "languages", languages, "seconds", seconds));
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

static int run_clean(int argc, char **argv) {
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
  if (status < 0 && options.output == NULL) status = missing_output(argv[0], "OUT.jsonl");
  if (status < 0 &&
      !(parse_format(argv[0], format, &options.format) && parse_languages(argv[0], languages, options.languages))) {
    status = EXIT_USAGE;
  }
  if (status < 0 && as_json && strcmp(options.output, "-") == 0) {
    fprintf(stderr, "dure %s: --json and -o - would both write to standard output\n", argv[0]);
    status = EXIT_USAGE;
  }
  if (status < 0) {
    uint64_t started = dure_os_nanoseconds();
    dure_os_catch_interrupts();
    options.minimum_characters = minimum > 0 ? (uint64_t)minimum : 0;
    options.progress = show_progress;
    options.progress_context = &started;
    dure_clean_summary summary;
    dure_status result = dure_clean(inputs, count, &options, &summary);
    progress_clear();
    if (result == NULL) report_clean(&summary, (double)(dure_os_nanoseconds() - started) * 1e-9, as_json);
    status = command_finish(argv[0], result);
  }
  return status;
}

// ---- dedup ----

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
  const number_row rows[] = {
      {"read", summary->read.documents},      {"kept", summary->kept},
      {"duplicates", summary->duplicates},    {"emptied", summary->emptied},
      {"too_large", summary->read.too_large}, {"lines_cut", summary->lines_cut},
      {"text_bytes", summary->text_bytes},    {"duplicate_bytes", summary->duplicate_bytes},
  };
  print_json(numbers_to_json(rows, sizeof(rows) / sizeof(rows[0])));
}

static int run_dedup(int argc, char **argv) {
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
  if (status < 0 && options.output == NULL) status = missing_output(argv[0], "OUT.jsonl");
  if (status < 0 && !parse_format(argv[0], format, &options.format)) status = EXIT_USAGE;
  if (status < 0 && (lines < 0 || (as_json && strcmp(options.output, "-") == 0))) {
    fprintf(stderr, "dure %s: %s\n", argv[0],
            lines < 0 ? "--lines needs a number of at least 1" : "--json and -o - would both write to standard output");
    status = EXIT_USAGE;
  }
  if (status < 0) {
    uint64_t started = dure_os_nanoseconds();
    dure_os_catch_interrupts();
    options.line_limit = (uint64_t)lines;
    options.progress = show_progress;
    options.progress_context = &started;
    dure_dedup_summary summary;
    dure_status result = dure_dedup(inputs, count, &options, &summary);
    progress_clear();
    if (result == NULL) report_dedup(&summary, as_json);
    status = command_finish(argv[0], result);
  }
  return status;
}

// ---- pack ----

static json_t *split_to_json(const dure_split_counts *counts) {
  const number_row rows[] = {
      {"documents", counts->documents}, {"tokens", counts->tokens}, {"text_bytes", counts->text_bytes}};
  return numbers_to_json(rows, 3);
}

static void report_pack(const dure_pack_summary *summary, bool as_json) {
  static const char *const names[DURE_SPLIT_COUNT] = {"training", "held out"};
  for (int i = 0; i < DURE_SPLIT_COUNT; i++) {
    const dure_split_counts *counts = &summary->splits[i];
    double bytes_per_token = counts->tokens > 0 ? (double)counts->text_bytes / (double)counts->tokens : 0;
    fprintf(stderr, "%s: %" PRIu64 " documents, %" PRIu64 " tokens, %" PRIu64 " bytes of text (%.2f a token)\n",
            names[i], counts->documents, counts->tokens, counts->text_bytes, bytes_per_token);
  }
  const number_row left_out[] = {{"near_duplicates", summary->near_duplicates},
                                 {"empty", summary->empty},
                                 {"too_large", summary->read.too_large},
                                 {"binary", summary->read.binary}};
  char text[256];
  list_numbers(left_out, 4, text, sizeof(text));
  if (text[0] != '\0') fprintf(stderr, "left out: %s\n", text);
  if (!as_json) return;
  print_json(json_pack("{s:o, s:o, s:o, s:I, s:I, s:s, s:f}", "train",
                       split_to_json(&summary->splits[DURE_SPLIT_TRAIN]), "held_out",
                       split_to_json(&summary->splits[DURE_SPLIT_HELD_OUT]), "left_out", numbers_to_json(left_out, 4),
                       "near_duplicate_bytes", (json_int_t)summary->near_duplicate_bytes, "vocabulary_size",
                       (json_int_t)summary->vocabulary_size, "dtype", summary->bytes_per_token == 2 ? "u16" : "u32",
                       "held_out_share", summary->held_out));
}

static int run_pack(int argc, char **argv) {
  const char *format = "auto";
  bool as_json = false;
  int64_t shard_tokens = 0;
  dure_pack_options options = {.held_out = 0.01, .document_limit = DURE_DOCUMENT_SIZE_LIMIT};
  const option_row rows[] = {
      {"o", OPTION_TEXT, &options.output, "DATA", "the dataset's directory, made here"},
      {"tokenizer", OPTION_TEXT, &options.tokenizer, "FILE", "a tokenizer.json or a model directory"},
      {"held-out", OPTION_NUMBER, &options.held_out, "SHARE",
       "of the documents kept from training, 0 to 0.5 (default 0.01)"},
      {"held-out-bytes", OPTION_SIZE, &options.held_out_bytes, "SIZE", "instead, hold out about this much text"},
      {"held-out-distinct", OPTION_FLAG, &options.held_out_distinct, NULL,
       "leave out held-out documents that training text half contains"},
      {"shard-tokens", OPTION_INTEGER, &shard_tokens, "N", "tokens a shard (default 134217728)"},
      {"format", OPTION_TEXT, &format, "FORMAT", "auto (by name, then content), text or jsonl"},
      {"max-document", OPTION_SIZE, &options.document_limit, "SIZE",
       "longest document; longer texts are cut (default 32MiB)"},
      {"force", OPTION_FLAG, &options.replace, NULL, "replace an existing dataset"},
      {"json", OPTION_FLAG, &as_json, NULL, "print the counts as JSON on standard output"},
  };
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
  if (status < 0 && options.output == NULL) status = missing_output(argv[0], "DATA");
  if (status < 0 && options.tokenizer == NULL) {
    fprintf(stderr, "dure %s: no tokenizer: add --tokenizer FILE (made by 'dure tokenizer train')\n", argv[0]);
    status = EXIT_USAGE;
  }
  if (status < 0 && !parse_format(argv[0], format, &options.format)) status = EXIT_USAGE;
  if (status < 0 && shard_tokens < 0) {
    fprintf(stderr, "dure %s: --shard-tokens needs a number of at least 1\n", argv[0]);
    status = EXIT_USAGE;
  }
  if (status < 0) {
    uint64_t started = dure_os_nanoseconds();
    dure_os_catch_interrupts();
    options.shard_tokens = (uint64_t)shard_tokens;
    options.progress = show_progress;
    options.progress_context = &started;
    dure_pack_summary summary;
    dure_status result = dure_pack(inputs, count, &options, &summary);
    progress_clear();
    if (result == NULL) report_pack(&summary, as_json);
    status = command_finish(argv[0], result);
  }
  return status;
}

// ---- the three ----

static const struct {
  const char *name, *full_name, *summary;
  int (*run)(int argc, char **argv);
} steps[] = {
    {"clean", "data clean", "raw text, HTML, XML or JSONL -> clean JSONL", run_clean},
    {"dedup", "data dedup", "clean JSONL -> JSONL without duplicates", run_dedup},
    {"pack", "data pack", "JSONL or text -> token shards", run_pack},
};
enum { step_count = sizeof(steps) / sizeof(steps[0]) };

static int print_steps(FILE *file, int status) {
  fprintf(file, "usage: dure data STEP IN... -o OUT [options]     dure data STEP --help\n\n");
  for (size_t i = 0; i < step_count; i++) fprintf(file, "  %-8s %s\n", steps[i].name, steps[i].summary);
  fprintf(file,
          "\nexample:\n  dure data clean docs/ -o clean.jsonl && dure data dedup clean.jsonl -o distinct.jsonl\n"
          "  dure tokenizer train --vocab-size 8192 -o tokenizer.json distinct.jsonl\n"
          "  dure data pack distinct.jsonl --tokenizer tokenizer.json -o DATA\n");
  return status;
}

int command_data(int argc, char **argv) {
  if (argc < 2) return print_steps(stderr, EXIT_USAGE);
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return print_steps(stdout, EXIT_DONE);
  const char *names[step_count];
  for (size_t i = 0; i < step_count; i++) {
    names[i] = steps[i].name;
    if (strcmp(argv[1], steps[i].name) != 0) continue;
    char name[32];  // what messages call the command
    snprintf(name, sizeof(name), "%s", steps[i].full_name);
    argv[1] = name;
    return steps[i].run(argc - 1, argv + 1);
  }
  const char *nearest = command_nearest(argv[1], names, step_count);
  fprintf(stderr, "dure data: unknown step '%s'", argv[1]);
  if (nearest != NULL) fprintf(stderr, "; did you mean '%s'?", nearest);
  fprintf(stderr, "\n");
  return print_steps(stderr, EXIT_USAGE);
}
