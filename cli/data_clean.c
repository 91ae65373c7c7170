// dure data clean: raw text, web pages, crawls and archives of them to clean JSONL.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/data_step.h"
#include "cli/progress.h"
#include "data/clean.h"
#include "runtime/os.h"

enum { PROBLEMS_SHOWN = 20 };

// The timer comes first: the progress line takes the address of the whole for its own.
typedef struct run_state {
  data_timer timer;
  uint64_t problems;
} run_state;

typedef struct clean_arguments {
  dure_clean_options options;
  dure_clean_rules rules;
  const char *format, *languages, *line_languages, *recipe, *settings, *on_error, *report;
  int64_t minimum, threads;
  double minimum_quality, maximum_toxicity;
  bool as_json, list_rules;
} clean_arguments;

static void show_problem(void *context, const dure_document_problem *problem) {
  run_state *state = context;
  progress_clear();
  state->problems++;
  if (state->problems > PROBLEMS_SHOWN) return;
  fprintf(stderr, "%s", problem->path);
  if (problem->line > 0) fprintf(stderr, ":%" PRIu64, problem->line);
  if (problem->offset > 0) fprintf(stderr, ", byte %" PRIu64, problem->offset);
  fprintf(stderr, ": %s; passed over\n", problem->message);
  if (state->problems == PROBLEMS_SHOWN) fprintf(stderr, "(further ones are only counted)\n");
}

// ---- results ----

static void print_counts(const char *what, const data_count *rows, size_t count) {
  char text[1024];
  data_counts_list(rows, count, text, sizeof(text));
  if (text[0] != '\0') fprintf(stderr, "%s: %s\n", what, text);
}

static void print_summary(const dure_clean_summary *summary, double seconds) {
  data_count dropped[DURE_DROP_COUNT], cut[DURE_CUT_COUNT], personal[DURE_PERSONAL_COUNT];
  uint64_t all = 0;
  for (int i = 0; i < DURE_DROP_COUNT; i++) {
    dropped[i] = (data_count){dure_drop_name((dure_drop)i), summary->dropped[i]};
    all += summary->dropped[i];
  }
  for (int i = 0; i < DURE_CUT_COUNT; i++) cut[i] = (data_count){dure_cut_name((dure_cut)i), summary->lines_cut[i]};
  for (int i = 0; i < DURE_PERSONAL_COUNT; i++) {
    personal[i] = (data_count){dure_personal_name((dure_personal_kind)i), summary->personal[i]};
  }
  fprintf(stderr,
          "%" PRIu64 " files read (%" PRIu64 " skipped), %" PRIu64 " documents: %" PRIu64 " kept, %" PRIu64
          " dropped\n",
          summary->read.files, summary->read.files_skipped, summary->kept + all, summary->kept, all);
  print_counts("dropped", dropped, DURE_DROP_COUNT);
  print_counts("lines cut", cut, DURE_CUT_COUNT);
  print_counts("personal data removed", personal, DURE_PERSONAL_COUNT);
  if (summary->repaired > 0) fprintf(stderr, "%" PRIu64 " documents repaired\n", summary->repaired);
  if (summary->resumed_documents > 0) {
    fprintf(stderr, "%" PRIu64 " documents were done by an earlier run\n", summary->resumed_documents);
  }
  fprintf(stderr, "%.2f MB in, %.2f MB of text out (ko %.2f, en %.2f, other %.2f) in %.1f s\n",
          (double)summary->read.bytes_read * 1e-6, (double)summary->text_bytes * 1e-6,
          (double)summary->language_bytes[DURE_KOREAN] * 1e-6, (double)summary->language_bytes[DURE_ENGLISH] * 1e-6,
          (double)summary->language_bytes[DURE_OTHER_LANGUAGE] * 1e-6, seconds);
}

// For 'dure data report'; the step's own counts are its summary.
static dure_status write_report(const clean_arguments *arguments, json_t *summary) {
  char beside[4200];
  const char *path = arguments->report;
  const char *output = arguments->options.output;
  if (path == NULL) {
    // Beside a file; a pipe or a device has no place for it.
    if (strcmp(output, "-") == 0 || !dure_os_is_file(output)) return NULL;
    snprintf(beside, sizeof(beside), "%.4090s.report.json", output);
    path = beside;
  }
  json_t *more = json_pack("{s:O}", "summary", summary);
  dure_status status = dure_step_report_write(arguments->options.report, more, path);
  json_decref(more);
  return status;
}

// ---- options ----

// "ko,en" -> the flags; false with an explanation for an unknown one.
static bool parse_languages(const char *command, const char *text, bool languages[DURE_LANGUAGE_COUNT]) {
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

// "name=value,name=value"
static dure_status set_rules(dure_clean_rules *rules, const char *settings) {
  while (settings != NULL && *settings != '\0') {
    size_t length = strcspn(settings, ",");
    char pair[128];
    snprintf(pair, sizeof(pair), "%.*s", (int)(length < sizeof(pair) ? length : sizeof(pair) - 1), settings);
    char *equals = strchr(pair, '=');
    if (equals == NULL) return dure_fail(DURE_INVALID_ARGUMENT, "--set needs NAME=VALUE, not '%s'", pair);
    *equals = '\0';
    DURE_TRY(dure_clean_rules_set(rules, "--set", pair, equals + 1));
    settings += length + (settings[length] == ',');
  }
  return NULL;
}

// The named rules or the recipe's, then --set, then the options that stand for one rule each.
static dure_status choose_rules(clean_arguments *arguments) {
  dure_clean_rules *rules = &arguments->rules;
  const char *recipe = arguments->recipe != NULL ? arguments->recipe : "standard";
  if (dure_os_is_file(recipe)) {
    DURE_TRY(dure_clean_rules_named("standard", rules));
    DURE_TRY(dure_clean_rules_read(rules, recipe));
  } else {
    dure_status status = dure_clean_rules_named(recipe, rules);
    if (status != NULL) return dure_status_prefix(status, "--recipe: no such file, and");
  }
  if (arguments->minimum >= 0) rules->threshold[DURE_RULE_MIN_CHARACTERS] = (double)arguments->minimum;
  if (arguments->minimum_quality >= 0) rules->threshold[DURE_RULE_MIN_QUALITY] = arguments->minimum_quality;
  if (arguments->maximum_toxicity >= 0) rules->threshold[DURE_RULE_MAX_TOXICITY] = arguments->maximum_toxicity;
  DURE_TRY(set_rules(rules, arguments->settings));
  if (dure_rule_is_on(rules, DURE_RULE_MIN_QUALITY) && arguments->options.quality == NULL) {
    return dure_fail(DURE_INVALID_ARGUMENT, "min_quality needs a classifier: add --quality FILE");
  }
  if (dure_rule_is_on(rules, DURE_RULE_MAX_TOXICITY) && arguments->options.toxicity == NULL) {
    return dure_fail(DURE_INVALID_ARGUMENT, "max_toxicity needs a classifier: add --toxicity FILE");
  }
  if (!dure_rule_is_on(rules, DURE_RULE_MAX_BAD_WORDS) && arguments->options.bad_words != NULL) {
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "--bad-words does nothing while its rule is off: add --set max_bad_words=0");
  }
  return NULL;
}

static int list_rules(const dure_clean_rules *rules) {
  for (int i = 0; i < DURE_RULE_COUNT; i++) {
    char threshold[32] = "off";
    if (dure_rule_is_on(rules, (dure_rule)i)) snprintf(threshold, sizeof(threshold), "%g", rules->threshold[i]);
    printf("%s: %-6s  # %s\n", dure_rule_name((dure_rule)i), threshold, dure_rule_help((dure_rule)i));
  }
  return EXIT_DONE;
}

static int check_arguments(const char *command, clean_arguments *arguments) {
  dure_clean_options *options = &arguments->options;
  if (!data_format_parse(command, arguments->format, &options->format) ||
      !parse_languages(command, arguments->languages, options->languages) ||
      !parse_languages(command, arguments->line_languages, options->line_languages)) {
    return EXIT_USAGE;
  }
  for (int i = 0; i < DURE_LANGUAGE_COUNT && arguments->languages == NULL; i++) options->languages[i] = true;
  const char *problem = NULL;
  if (arguments->as_json && strcmp(options->output, "-") == 0)
    problem = "--json and -o - would both write to standard output";
  if (arguments->threads < 0 || arguments->threads > 64) problem = "--threads needs a number from 0 to 64";
  options->stop_on_error = strcmp(arguments->on_error, "stop") == 0;
  if (!options->stop_on_error && strcmp(arguments->on_error, "skip") != 0) problem = "--on-error is skip or stop";
  if (problem == NULL) return -1;
  fprintf(stderr, "dure %s: %s\n", command, problem);
  return EXIT_USAGE;
}

static dure_status clean(clean_arguments *arguments, const char *const *inputs, size_t count) {
  run_state state = {.timer = data_timer_start(inputs, count)};
  dure_clean_options *options = &arguments->options;
  options->progress_context = &state;
  dure_clean_summary summary;
  dure_status status = dure_clean(inputs, count, options, &summary);
  progress_clear();
  if (dure_status_code(status) == DURE_CANCELLED) fprintf(stderr, "the same command goes on where this one stopped\n");
  DURE_TRY(status);
  double seconds = data_timer_seconds(&state.timer);
  print_summary(&summary, seconds);
  json_t *counts = dure_clean_summary_json(inputs, count, options, &summary, seconds);
  status = write_report(arguments, counts);
  if (arguments->as_json) {
    data_json_print(counts);
  } else {
    json_decref(counts);
  }
  return status;
}

static int run(const char *command, clean_arguments *arguments, const char *const *inputs, size_t count) {
  dure_clean_options *options = &arguments->options;
  dure_os_catch_interrupts();
  options->rules = &arguments->rules;
  options->threads = (uint32_t)arguments->threads;
  options->progress = data_step_progress;
  options->problem = show_problem;
  dure_status status = dure_step_report_create("clean", &options->report);
  if (status == NULL) status = clean(arguments, inputs, count);
  dure_step_report_destroy(options->report);
  return command_finish(command, status);
}

int data_clean(int argc, char **argv) {
  clean_arguments arguments = {
      .format = "auto", .on_error = "skip", .minimum = -1, .minimum_quality = -1, .maximum_toxicity = -1};
  dure_clean_options *options = &arguments.options;
  options->document_limit = DURE_DOCUMENT_SIZE_LIMIT;
  const option_row rows[] = {
      {"o", OPTION_TEXT, &options->output, "FILE", "where the JSONL goes; - for standard output"},
      {"format", OPTION_TEXT, &arguments.format, "FORMAT",
       "auto (by name, then content), text, html, xml, jsonl, markdown, warc, csv or tsv"},
      {"field", OPTION_TEXT, &options->field, "NAME",
       "of JSONL, the text's (default text; a.b for one inside another); of CSV and TSV, columns"},
      {"max-document", OPTION_SIZE, &options->document_limit, "SIZE",
       "longest document; longer texts are cut (default 32MiB)"},
      {"encoding", OPTION_TEXT, &options->encoding, "NAME",
       "of files that are not UTF-8 and declare nothing, such as latin1 (Korean CP949 is found by itself)"},
      {"repair", OPTION_FLAG, &options->repair, NULL, "keep documents with invalid UTF-8, replacing what is invalid"},
      {"recipe", OPTION_TEXT, &arguments.recipe, "RULES",
       "none, standard (default), gopher, c4, web (both), or a YAML or JSON file of thresholds"},
      {"set", OPTION_TEXT, &arguments.settings, "NAME=VALUE", "thresholds over the recipe's, separated by commas"},
      {"list-rules", OPTION_FLAG, &arguments.list_rules, NULL, "print the rules and their thresholds as a recipe"},
      {"min-characters", OPTION_INTEGER, &arguments.minimum, "N", "drop documents with less text (default 32)"},
      {"language", OPTION_TEXT, &arguments.languages, "LIST", "keep only these of ko, en, other, separated by commas"},
      {"line-language", OPTION_TEXT, &arguments.line_languages, "LIST", "likewise lines, if long enough to tell"},
      {"remove-personal-data", OPTION_FLAG, &options->remove_personal_data, NULL,
       "mail addresses, phone, resident registration and card numbers become [email], ..."},
      {"quality", OPTION_TEXT, &options->quality, "FILE", "score documents by a classifier ('dure data classifier')"},
      {"min-quality", OPTION_NUMBER, &arguments.minimum_quality, "X", "drop documents that score less"},
      {"toxicity", OPTION_TEXT, &options->toxicity, "FILE", "likewise, a classifier of what is not wanted"},
      {"max-toxicity", OPTION_NUMBER, &arguments.maximum_toxicity, "X", "drop documents that score more"},
      {"bad-words", OPTION_TEXT, &options->bad_words, "FILES",
       "drop documents with a word of these lists, one a line: FILE or ko=FILE,en=FILE"},
      {"licence", OPTION_TEXT, &options->licence, "NAME", "of documents that name none"},
      {"dropped", OPTION_TEXT, &options->dropped, "FILE", "write what is dropped, with its reason, as JSONL"},
      {"report", OPTION_TEXT, &arguments.report, "FILE",
       "counts and examples for 'dure data report' (default OUT.report.json)"},
      {"on-error", OPTION_TEXT, &arguments.on_error, "WHAT", "skip (default) or stop at what cannot be read"},
      {"threads", OPTION_INTEGER, &arguments.threads, "N", "default: one for each core; the bytes are the same"},
      {"json", OPTION_FLAG, &arguments.as_json, NULL, "print the counts as JSON on standard output"},
  };
  const command_usage usage = {
      "dure data clean IN... -o OUT.jsonl [options]",
      "Extracts clean text from plain text, Markdown, HTML, Mallard, DocBook and other XML, JSONL, CSV and TSV, WARC "
      "and\n"
      "WET, compressed or in archives, from files, whole directories or standard input (-): one JSON object a line.\n"
      "Menus, scripts and other boilerplate go; headings, paragraphs, lists, tables and preformatted text stay "
      "readable.\n"
      "Text is normalised to NFC. A run that was killed goes on when it is started again.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure data clean /usr/share/doc/installation-guide-amd64/ko -o clean.jsonl",
      0,
      (size_t)argc};
  const char *const *inputs;
  size_t count = 0;
  int status = command_parse(&usage, argc, argv, &inputs, &count);
  if (status < 0) status = command_refuse(argv[0], choose_rules(&arguments)) == EXIT_DONE ? -1 : EXIT_USAGE;
  if (status < 0 && arguments.list_rules) return list_rules(&arguments.rules);
  if (status < 0 && count == 0) {
    fprintf(stderr, "dure %s: nothing to read: name files or directories, or - for standard input\n", argv[0]);
    status = EXIT_USAGE;
  }
  if (status < 0 && options->output == NULL) status = data_output_missing(argv[0], "OUT.jsonl");
  if (status < 0) status = check_arguments(argv[0], &arguments);
  return status < 0 ? run(argv[0], &arguments, inputs, count) : status;
}
