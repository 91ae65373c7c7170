// dure data classifier: trains a classifier from good and bad examples, or shows how it scores documents.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/data_step.h"
#include "cli/progress.h"
#include "data/bytes.h"
#include "data/classifier.h"
#include "data/jsonl.h"
#include "data/normalise.h"
#include "runtime/os.h"

typedef struct examples {
  dure_classifier *classifier;
  bool is_good, is_scoring;
} examples;

static dure_status take_example(void *context, const dure_document *document) {
  const examples *state = context;
  json_t *object = NULL;
  const char *text = NULL;
  size_t length = 0;
  DURE_TRY(dure_jsonl_document_text(document, &object, &text, &length));
  dure_bytes clean = {0};
  dure_text_normalise(text, length, true, &clean);
  dure_status status = dure_bytes_status(&clean);
  const char *normal = clean.data != NULL ? clean.data : "";
  if (status == NULL && state->is_scoring) {
    printf("%.4f\t%s", dure_classifier_score(state->classifier, normal, clean.size), document->path);
    if (document->line > 0) printf(":%" PRIu64, document->line);
    printf("\n");
  } else if (status == NULL) {
    status = dure_classifier_add(state->classifier, normal, clean.size, state->is_good);
  }
  dure_bytes_free(&clean);
  json_decref(object);
  return status;
}

static dure_status visit(const char *const *inputs, size_t count, examples *state, data_timer *timer) {
  const dure_document_reading reading = {.stage = "reading examples",
                                         .visit = take_example,
                                         .progress = data_step_progress,
                                         .context = state,
                                         .progress_context = timer};
  dure_document_counts counts;
  dure_status status = dure_documents_visit(&reading, inputs, count, &counts);
  progress_clear();
  return status;
}

static dure_status train(const char *const *inputs, const char *output, bool as_json) {
  data_timer timer = data_timer_start(inputs, 2);
  dure_classifier *classifier = NULL;
  dure_classifier_summary summary = {0};
  DURE_TRY(dure_classifier_create(&classifier));
  examples good = {classifier, true, false}, bad = {classifier, false, false};
  dure_status status = visit(inputs, 1, &good, &timer);
  if (status == NULL) status = visit(inputs + 1, 1, &bad, &timer);
  if (status == NULL) status = dure_classifier_train(classifier, &summary);
  if (status == NULL) status = dure_classifier_save(classifier, output);
  dure_classifier_destroy(classifier);
  DURE_TRY(status);
  fprintf(stderr,
          "%" PRIu64 " good and %" PRIu64 " bad examples, %" PRIu64
          " held out: %.1f%% of these told right; training loss %.4f\n",
          summary.good, summary.bad, summary.held_out, 100 * summary.held_out_accuracy, summary.training_loss);
  if (as_json) {
    data_json_print(json_pack("{s:I, s:I, s:I, s:f, s:f}", "good", (json_int_t)summary.good, "bad",
                              (json_int_t)summary.bad, "held_out", (json_int_t)summary.held_out, "held_out_accuracy",
                              summary.held_out_accuracy, "training_loss", summary.training_loss));
  }
  return NULL;
}

static dure_status score(const char *file, const char *const *inputs, size_t count) {
  data_timer timer = data_timer_start(inputs, count);
  examples state = {.is_scoring = true};
  DURE_TRY(dure_classifier_open(file, &state.classifier));
  dure_status status = visit(inputs, count, &state, &timer);
  dure_classifier_destroy(state.classifier);
  return status;
}

int data_classifier(int argc, char **argv) {
  const char *output = NULL;
  bool as_json = false;
  const option_row rows[] = {
      {"o", OPTION_TEXT, &output, "FILE", "where the classifier goes"},
      {"json", OPTION_FLAG, &as_json, NULL, "print the counts as JSON on standard output"},
  };
  const command_usage usage = {
      "dure data classifier train GOOD BAD -o FILE     dure data classifier score FILE IN...",
      "Trains a linear classifier over hashed n-grams from two inputs, of documents to be like and not to be like "
      "(text\n"
      "or JSONL, as 'dure data clean' writes it), for 'dure data clean --quality FILE' or '--toxicity FILE'; score\n"
      "prints what it gives each document, from 0 to 1.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure data classifier train good.jsonl bad.jsonl -o quality.classifier",
      1,
      (size_t)argc};
  const char *const *words;
  size_t count = 0;
  int status = command_parse(&usage, argc, argv, &words, &count);
  if (status >= 0) return status;
  dure_os_catch_interrupts();
  if (strcmp(words[0], "score") == 0 && count >= 3) {
    return command_finish(argv[0], score(words[1], words + 2, count - 2));
  }
  if (strcmp(words[0], "train") == 0 && count == 3) {
    if (output == NULL) return data_output_missing(argv[0], "FILE");
    return command_finish(argv[0], train(words + 1, output, as_json));
  }
  fprintf(stderr, "dure %s: expected 'train GOOD BAD -o FILE' or 'score FILE IN...'\n", argv[0]);
  return EXIT_USAGE;
}
