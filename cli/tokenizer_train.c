// dure tokenizer train
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/progress.h"
#include "cli/tokenizer.h"
#include "data/bpe_train.h"
#include "data/documents.h"
#include "data/jsonl.h"
#include "data/language.h"
#include "data/tokenizer_pieces.h"
#include "runtime/os.h"

typedef struct training_text {
  dure_bpe_trainer *trainer;    // of bytes, or
  dure_pieces_trainer *pieces;  // of SentencePiece's kind
  bool is_counting;             // the first of two passes
  uint64_t bytes[DURE_LANGUAGE_COUNT];
  double share[DURE_LANGUAGE_COUNT], owed[DURE_LANGUAGE_COUNT];  // of a language's bytes that are taken
  bool is_balanced;
  const char *unit;  // "line", "document", or "auto": lines of plain text, documents of JSONL
} training_text;

// Whether this chunk is of the sample: each language's share is taken evenly all through its text.
static bool is_sampled(training_text *input, const char *text, size_t length) {
  dure_language language = dure_language_guess(text, length);
  if (input->is_counting) {
    input->bytes[language] += length;
    return false;
  }
  input->owed[language] += input->share[language] * (double)length;
  if (input->owed[language] * 2 < (double)length) return false;
  input->owed[language] -= (double)length;
  return true;
}

static dure_status add_chunk(training_text *input, const char *text, size_t length) {
  if (input->is_balanced && !is_sampled(input, text, length)) return NULL;
  return input->trainer != NULL ? dure_bpe_trainer_add(input->trainer, text, length)
                                : dure_pieces_trainer_add(input->pieces, text, length);
}

static dure_status add_lines(training_text *input, const char *text, size_t length) {
  for (size_t at = 0; at < length;) {
    const char *newline = memchr(text + at, '\n', length - at);
    size_t size = newline != NULL ? (size_t)(newline - (text + at)) + 1 : length - at;
    DURE_TRY(add_chunk(input, text + at, size));
    at += size;
  }
  return NULL;
}

static dure_status add_document(void *context, const dure_document *document) {
  training_text *input = context;
  json_t *object = NULL;
  const char *text;
  size_t length;
  DURE_TRY(dure_jsonl_document_text(document, &object, &text, &length));
  bool by_line =
      strcmp(input->unit, "line") == 0 || (strcmp(input->unit, "auto") == 0 && document->format != DURE_FORMAT_JSONL);
  dure_status status = by_line ? add_lines(input, text, length) : add_chunk(input, text, length);
  json_decref(object);
  return status;
}

static void show_progress(void *context, const dure_train_progress *progress) {
  (void)context;
  if (progress->vocabulary_size == 0) {
    progress_show("reading: %.1f MB, %" PRIu64 " different words", (double)progress->bytes_read / 1e6,
                  progress->distinct_words);
  } else {
    progress_show("merging: %u of %u tokens", progress->vocabulary_size, progress->vocabulary_wanted);
  }
}

// Splits "a,b" in place; the pointers are into `text`.
static size_t split_names(char *text, const char **out_names, size_t limit) {
  size_t count = 0;
  for (char *name = strtok(text, ","); name != NULL && count < limit; name = strtok(NULL, ","))
    out_names[count++] = name;
  return count;
}

typedef struct training {
  const char *kind, *unit;  // "bytes", "bpe" or "unigram"
  bool is_balanced;
  dure_bpe_train_options bytes;
  dure_pieces_options pieces;
} training;

static dure_status read_text(training_text *text, const char *const *inputs, size_t input_count) {
  dure_document_counts counts;
  dure_document_reading reading = {.stage = "counting", .visit = add_document, .context = text};
  dure_status status = dure_documents_visit(&reading, inputs, input_count, &counts);
  if (counts.binary + counts.too_large > 0 && !text->is_counting) {
    fprintf(stderr, "left out: %" PRIu64 " binary files, %" PRIu64 " too large\n", counts.binary, counts.too_large);
  }
  if (status == NULL && counts.documents == 0) status = dure_fail(DURE_INVALID_ARGUMENT, "the inputs hold no text");
  return status;
}

// Counts Korean and English in a pass of its own, and takes as much of the one as there is of the other.
static dure_status balance(training_text *text, const char *const *inputs, size_t input_count) {
  for (size_t i = 0; i < input_count; i++) {
    if (strcmp(inputs[i], "-") == 0)
      return dure_fail(DURE_INVALID_ARGUMENT, "--balance reads the inputs twice, which standard input cannot be");
  }
  text->is_balanced = text->is_counting = true;
  DURE_TRY(read_text(text, inputs, input_count));
  text->is_counting = false;
  const double korean = (double)text->bytes[DURE_KOREAN], english = (double)text->bytes[DURE_ENGLISH];
  const double least = korean < english ? korean : english;
  for (size_t i = 0; i < DURE_LANGUAGE_COUNT; i++) text->share[i] = 1;
  if (least > 0) {
    text->share[DURE_KOREAN] = least / korean;
    text->share[DURE_ENGLISH] = least / english;
  }
  fprintf(stderr, "balanced: %.1f of %.1f MB of Korean, %.1f of %.1f MB of English\n",
          korean * text->share[DURE_KOREAN] / 1e6, korean / 1e6, english * text->share[DURE_ENGLISH] / 1e6,
          english / 1e6);
  return NULL;
}

static dure_status learn(const char *const *inputs, size_t input_count, const training *options,
                         dure_tokenizer **out_tokenizer) {
  training_text text = {.unit = options->unit};
  bool is_bytes = strcmp(options->kind, "bytes") == 0;
  *out_tokenizer = NULL;
  DURE_TRY(is_bytes ? dure_bpe_trainer_create(&options->bytes, &text.trainer)
                    : dure_pieces_trainer_create(&options->pieces, &text.pieces));
  dure_status status = NULL;
  if (!is_bytes || dure_bpe_trainer_needs_text(text.trainer)) {
    if (options->is_balanced) status = balance(&text, inputs, input_count);
    if (status == NULL) status = read_text(&text, inputs, input_count);
  }
  if (status == NULL) {
    status = is_bytes ? dure_bpe_trainer_finish(text.trainer, out_tokenizer)
                      : dure_pieces_trainer_finish(text.pieces, out_tokenizer);
  }
  progress_clear();
  dure_bpe_trainer_destroy(text.trainer);
  dure_pieces_trainer_destroy(text.pieces);
  return status;
}

static dure_status save(const dure_tokenizer *tokenizer, const char *output, uint32_t wanted_size) {
  char *joined = dure_os_is_directory(output) ? dure_os_path_join(output, "tokenizer.json") : NULL;
  if (joined != NULL) output = joined;
  dure_status status = dure_tokenizer_save(tokenizer, output);
  uint32_t size = dure_tokenizer_vocabulary_size(tokenizer);
  if (status == NULL) fprintf(stderr, "wrote %s: %u tokens\n", output, size);
  if (status == NULL && size < wanted_size) {
    fprintf(stderr, "the text has too few pairs for %u tokens; give more text or a lower --min-frequency\n",
            wanted_size);
  }
  free(joined);
  return status;
}

// What the command line says.
typedef struct train_arguments {
  int64_t vocabulary_size, min_frequency, threads;
  const char *output, *special, *unit, *kind;
  double coverage;
  bool byte_fallback, is_balanced;
} train_arguments;

static int parse(int argc, char **argv, train_arguments *a, const char *const **out_inputs, size_t *out_count) {
  const option_row options[] = {
      {"vocab-size", OPTION_INTEGER, &a->vocabulary_size, "N",
       "tokens in all, special ones and the 256 bytes included (required)"},
      {"o", OPTION_TEXT, &a->output, "FILE", "where to write the tokenizer.json, or a directory for it (required)"},
      {"min-frequency", OPTION_INTEGER, &a->min_frequency, "N", "merge only pairs seen at least N times (default 0)"},
      {"special-tokens", OPTION_TEXT, &a->special, "A,B",
       "special tokens, ids from 0 on (default <|endoftext|>; for bpe and unigram <unk>,<s>,</s>)"},
      {"model", OPTION_TEXT, &a->kind, "KIND", "bytes (default), or SentencePiece's kinds: bpe, unigram"},
      {"balance", OPTION_FLAG, &a->is_balanced, NULL,
       "as much Korean as English: of the one with more text, lines are left out evenly; reads the inputs twice"},
      {"character-coverage", OPTION_NUMBER, &a->coverage, "X",
       "bpe, unigram: the share of the text whose characters are tokens (default 0.9995)"},
      {"byte-fallback", OPTION_FLAG, &a->byte_fallback, NULL,
       "bpe, unigram: other characters become bytes (default; --no-byte-fallback)"},
      {"threads", OPTION_INTEGER, &a->threads, "N", "unigram: threads (default 0: one a core); the result is the same"},
      {"by", OPTION_TEXT, &a->unit, "UNIT",
       "line or document: no token crosses from one to the next (default: lines of text, documents of JSONL)"},
  };
  const command_usage usage = {"dure tokenizer train --vocab-size N -o tokenizer.json IN... [options]",
                               "Learns a vocabulary (byte-level BPE unless --model says otherwise) from UTF-8 text "
                               "files, from the \"text\" of each "
                               "line of .jsonl files, or from\n"
                               "directories of them (\"-\" is standard input), and writes it as a Hugging Face "
                               "tokenizer.json. With no room for more\n"
                               "than the special tokens and the 256 bytes there are no merges: each byte is a token.",
                               options,
                               sizeof(options) / sizeof(options[0]),
                               "dure tokenizer train --vocab-size 8000 -o tokenizer.json corpus.jsonl",
                               1,
                               1u << 20};
  return command_parse(&usage, argc, argv, out_inputs, out_count);
}

static bool is_one_of(const char *text, const char *const *names, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(text, names[i]) == 0) return true;
  }
  return false;
}

static int check(const train_arguments *a) {
  static const char *const kinds[] = {"bytes", "bpe", "unigram"}, *const units[] = {"auto", "line", "document"};
  if (a->vocabulary_size < 1 || a->vocabulary_size > UINT32_MAX || a->min_frequency < 0 || a->threads < 0 ||
      a->output == NULL) {
    fprintf(stderr,
            "dure tokenizer train: expected --vocab-size N (1 or more) and -o FILE; --min-frequency and --threads are "
            "not negative\n");
    return EXIT_USAGE;
  }
  if (!is_one_of(a->kind, kinds, 3)) {
    fprintf(stderr, "dure tokenizer train: --model expects bytes, bpe or unigram, found '%s'\n", a->kind);
    return EXIT_USAGE;
  }
  if (!is_one_of(a->unit, units, 3)) {
    fprintf(stderr, "dure tokenizer train: --by expects line or document, found '%s'\n", a->unit);
    return EXIT_USAGE;
  }
  return -1;
}

static dure_status train(const train_arguments *a, const char *const *inputs, size_t input_count) {
  const char *special = a->special, *special_names[64];
  const bool is_bytes = strcmp(a->kind, "bytes") == 0;
  if (special == NULL) special = is_bytes ? "<|endoftext|>" : "<unk>,<s>,</s>";
  const size_t special_size = strlen(special) + 1;
  char *names = malloc(special_size);
  if (names == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for special tokens");
  memcpy(names, special, special_size);
  const size_t special_count = split_names(names, special_names, 64);
  const training options = {
      .kind = a->kind,
      .unit = a->unit,
      .is_balanced = a->is_balanced,
      .bytes = {.vocabulary_size = (uint32_t)a->vocabulary_size,
                .min_frequency = (uint64_t)a->min_frequency,
                .special_tokens = special_names,
                .special_token_count = special_count,
                .progress = show_progress},
      .pieces = {.is_unigram = strcmp(a->kind, "unigram") == 0,
                 .vocabulary_size = (uint32_t)a->vocabulary_size,
                 .character_coverage = a->coverage,
                 .byte_fallback = a->byte_fallback,
                 .threads = a->threads < 64 ? (uint32_t)a->threads : 64,
                 .special_tokens = special_names,
                 .special_token_count = special_count,
                 .progress = show_progress},
  };
  dure_tokenizer *tokenizer = NULL;
  dure_status status = learn(inputs, input_count, &options, &tokenizer);
  if (status == NULL) status = save(tokenizer, a->output, options.bytes.vocabulary_size);
  dure_tokenizer_close(tokenizer);
  free(names);
  return status;
}

int tokenizer_train(int argc, char **argv) {
  train_arguments arguments = {.unit = "auto", .kind = "bytes", .coverage = 0.9995, .byte_fallback = true};
  const char *const *inputs;
  size_t count = 0;
  int result = parse(argc, argv, &arguments, &inputs, &count);
  if (result < 0) result = check(&arguments);
  if (result >= 0) return result;
  dure_os_catch_interrupts();
  return command_finish("tokenizer train", train(&arguments, inputs, count));
}
