// dure tokenizer fertility, dure tokenizer convert
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/tokenizer.h"
#include "data/documents.h"
#include "data/jsonl.h"
#include "data/tokenizer_fertility.h"
#include "model/weights.h"

// ---- fertility ----

enum { tokenizer_limit = 32 };

typedef struct report {
  dure_fertility fertility;
  dure_fertility_row rows[tokenizer_limit];
  dure_tokenizer *tokenizers[tokenizer_limit];
} report;

static dure_status add_document(void *context, const dure_document *document) {
  report *r = context;
  json_t *object = NULL;
  const char *text;
  size_t length;
  DURE_TRY(dure_jsonl_document_text(document, &object, &text, &length));
  dure_status status = dure_fertility_add(&r->fertility, (const dure_tokenizer *const *)r->tokenizers, text, length);
  json_decref(object);
  return status;
}

static double share(uint64_t part, uint64_t whole) { return whole > 0 ? (double)part / (double)whole : 0; }

static dure_status print_table(const report *r) {
  printf("%-28s %8s  %-5s %11s %13s %10s %10s %8s\n", "tokenizer", "tokens", "text", "count", "per syllable",
         "per word", "per byte", "unknown");
  for (int language = 0; language < DURE_LANGUAGE_COUNT; language++) {
    const dure_text_units *units = &r->fertility.units[language];
    for (size_t i = 0; i < r->fertility.row_count && units->bytes > 0; i++) {
      const dure_fertility_row *row = &r->rows[i];
      uint64_t tokens = row->tokens[language];
      printf("%-28s %8" PRIu32 "  %-5s %11" PRIu64 " %13.4f %10.4f %10.4f %7.2f%%\n", row->name, row->vocabulary_size,
             dure_language_name((dure_language)language), tokens, share(tokens, units->syllables),
             share(tokens, units->words), share(tokens, units->bytes), 100 * share(row->unknown[language], tokens));
    }
  }
  for (int language = 0; language < DURE_LANGUAGE_COUNT; language++) {
    const dure_text_units *units = &r->fertility.units[language];
    if (units->bytes == 0) continue;
    printf("%s: %" PRIu64 " lines, %" PRIu64 " bytes, %" PRIu64 " words, %" PRIu64 " syllables\n",
           dure_language_name((dure_language)language), units->lines, units->bytes, units->words, units->syllables);
  }
  return output_check();
}

static dure_status print_json(const report *r) {
  json_t *rows = json_array();
  for (int language = 0; language < DURE_LANGUAGE_COUNT; language++) {
    const dure_text_units *units = &r->fertility.units[language];
    for (size_t i = 0; i < r->fertility.row_count && units->bytes > 0; i++) {
      uint64_t tokens = r->rows[i].tokens[language];
      json_array_append_new(
          rows, json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f}", "tokenizer", r->rows[i].name,
                          "vocabulary_size", (json_int_t)r->rows[i].vocabulary_size, "language",
                          dure_language_name((dure_language)language), "tokens", (json_int_t)tokens, "unknown",
                          (json_int_t)r->rows[i].unknown[language], "bytes", (json_int_t)units->bytes, "words",
                          (json_int_t)units->words, "syllables", (json_int_t)units->syllables, "tokens_per_syllable",
                          share(tokens, units->syllables), "tokens_per_word", share(tokens, units->words),
                          "tokens_per_byte", share(tokens, units->bytes)));
    }
  }
  return output_json(json_pack("{s:o}", "fertility", rows));
}

// "a,b" in place; each is opened.
static dure_status open_all(report *r, char *paths) {
  r->fertility.rows = r->rows;
  for (char *path = strtok(paths, ","); path != NULL; path = strtok(NULL, ",")) {
    size_t i = r->fertility.row_count;
    if (i == tokenizer_limit)
      return dure_fail(DURE_INVALID_ARGUMENT, "more than %d tokenizers at once", tokenizer_limit);
    DURE_TRY(dure_weights_tokenizer(path, &r->tokenizers[i]));
    r->rows[i] =
        (dure_fertility_row){.name = path, .vocabulary_size = dure_tokenizer_vocabulary_size(r->tokenizers[i])};
    r->fertility.row_count++;
  }
  return NULL;
}

static dure_status measure(char *paths, const char *const *inputs, size_t input_count, const char *picture,
                           bool as_json) {
  report *r = calloc(1, sizeof(*r));
  if (r == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a report");
  dure_document_counts counts;
  dure_document_reading reading = {.stage = "counting", .visit = add_document, .context = r};
  dure_status status = open_all(r, paths);
  if (status == NULL) status = dure_documents_visit(&reading, inputs, input_count, &counts);
  if (status == NULL) status = as_json ? print_json(r) : print_table(r);
  if (status == NULL && picture != NULL) status = dure_fertility_draw(&r->fertility, picture);
  for (size_t i = 0; i < r->fertility.row_count; i++) dure_tokenizer_close(r->tokenizers[i]);
  free(r);
  return status;
}

int tokenizer_fertility(int argc, char **argv) {
  const char *paths = NULL, *picture = NULL;
  bool as_json = false;
  const option_row options[] = {
      {"tokenizers", OPTION_TEXT, &paths, "A,B",
       "tokenizer files or model directories, commas between them (required)"},
      {"svg", OPTION_TEXT, &picture, "FILE", "also draw tokens per syllable"},
      {"json", OPTION_FLAG, &as_json, NULL, "a row for each tokenizer and language"},
  };
  const command_usage usage = {
      "dure tokenizer fertility --tokenizers A,B [--svg FILE] [--json] IN...",
      "Counts what each vocabulary spends on the lines of Korean, English and other text: tokens per syllable (a "
      "Hangul\n"
      "syllable, or a run of vowels in a Latin word), per word and per byte. Inputs as for train.",
      options,
      sizeof(options) / sizeof(options[0]),
      "dure tokenizer fertility --tokenizers gpt2/tokenizer.json,ours/tokenizer.json --svg fertility.svg corpus.jsonl",
      1,
      1u << 20};
  const char *const *positional;
  size_t count;
  int result = command_parse(&usage, argc, argv, &positional, &count);
  if (result >= 0) return result;
  if (paths == NULL) {
    fprintf(stderr, "dure tokenizer fertility: expected --tokenizers A,B\n");
    return EXIT_USAGE;
  }
  size_t size = strlen(paths) + 1;
  char *copy = malloc(size);
  if (copy == NULL) return command_finish("tokenizer fertility", dure_fail(DURE_OUT_OF_MEMORY, "no memory for a list"));
  memcpy(copy, paths, size);
  dure_status status = measure(copy, positional, count, picture, as_json);
  free(copy);
  return command_finish("tokenizer fertility", status);
}

// ---- convert ----

static dure_status convert(const char *input, const char *pattern, const char *output) {
  dure_tokenizer *tokenizer;
  DURE_TRY(pattern != NULL ? dure_tokenizer_open_as(input, pattern, &tokenizer)
                           : dure_weights_tokenizer(input, &tokenizer));
  dure_status status = dure_tokenizer_save(tokenizer, output);
  if (status == NULL) fprintf(stderr, "wrote %s: %u tokens\n", output, dure_tokenizer_vocabulary_size(tokenizer));
  dure_tokenizer_close(tokenizer);
  return status;
}

int tokenizer_convert(int argc, char **argv) {
  const char *pattern = NULL, *output = NULL;
  const option_row options[] = {
      {"o", OPTION_TEXT, &output, "FILE", "where to write the tokenizer.json (required)"},
      {"pattern", OPTION_TEXT, &pattern, "NAME",
       "what cuts the text of tiktoken's ranks: gpt2, cl100k_base, o200k_base, llama3, llama4, qwen2, ..."},
  };
  const command_usage usage = {
      "dure tokenizer convert FILE -o tokenizer.json [--pattern NAME]",
      "Reads a SentencePiece model, tiktoken's ranks, vocab.json with merges.txt or a tokenizer.json, and writes a\n"
      "tokenizer.json with the same ids.",
      options,
      sizeof(options) / sizeof(options[0]),
      "dure tokenizer convert tokenizer.model -o tokenizer.json",
      1,
      1};
  const char *const *positional;
  size_t count;
  int result = command_parse(&usage, argc, argv, &positional, &count);
  if (result >= 0) return result;
  if (output == NULL) {
    fprintf(stderr, "dure tokenizer convert: expected -o FILE\n");
    return EXIT_USAGE;
  }
  return command_finish("tokenizer convert", convert(positional[0], pattern, output));
}
