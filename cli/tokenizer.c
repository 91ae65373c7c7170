// dure tokenizer train | encode | decode; convert and fertility are in cli/tokenizer_fertility.c
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/tokenizer.h"
#include "data/bpe_train.h"
#include "data/bytes.h"
#include "data/documents.h"
#include "data/jsonl.h"
#include "data/tokenizer.h"
#include "data/tokenizer_bytes.h"
#include "data/tokenizer_pieces.h"
#include "model/weights.h"
#include "runtime/os.h"

// ---- lines of a file, of any length, with any bytes ----

typedef struct line_reader {
  FILE *file;
  char *line;
  size_t capacity;
  int end;  // the character that ends a line
} line_reader;

// The next line with its end, if it has one; NULL in `out_line` after the last.
static dure_status read_line(line_reader *reader, const char *name, const char **out_line, size_t *out_length) {
  size_t length = 0;
  *out_line = NULL;
  *out_length = 0;
  for (int c = EOF; (length == 0 || c != reader->end) && (c = getc(reader->file)) != EOF;) {
    if (length == reader->capacity) {
      size_t capacity = reader->capacity * 2 + 4096;
      char *grown = realloc(reader->line, capacity);
      if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "%s: no memory for a line of %zu bytes", name, length);
      reader->line = grown;
      reader->capacity = capacity;
    }
    reader->line[length++] = (char)c;
  }
  if (ferror(reader->file)) return dure_fail_errno("cannot read '%s'", name);
  *out_line = length > 0 ? reader->line : NULL;
  *out_length = length;
  return NULL;
}

static size_t without_end(const line_reader *reader, const char *line, size_t length) {
  return length > 0 && line[length - 1] == (char)reader->end ? length - 1 : length;
}

// ---- train ----

typedef struct training_text {
  dure_bpe_trainer *trainer;    // of bytes, or
  dure_pieces_trainer *pieces;  // of SentencePiece's kind
  const char *unit;             // "line", "document", or "auto": lines of plain text, documents of JSONL
} training_text;

static dure_status add_chunk(training_text *input, const char *text, size_t length) {
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
  dure_bpe_train_options bytes;
  dure_pieces_options pieces;
} training;

static dure_status learn(const char *const *inputs, size_t input_count, const training *options,
                         dure_tokenizer **out_tokenizer) {
  training_text text = {.unit = options->unit};
  bool is_bytes = strcmp(options->kind, "bytes") == 0;
  *out_tokenizer = NULL;
  DURE_TRY(is_bytes ? dure_bpe_trainer_create(&options->bytes, &text.trainer)
                    : dure_pieces_trainer_create(&options->pieces, &text.pieces));
  dure_status status = NULL;
  if (!is_bytes || dure_bpe_trainer_needs_text(text.trainer)) {
    dure_document_counts counts;
    dure_document_reading reading = {.stage = "counting", .visit = add_document, .context = &text};
    status = dure_documents_visit(&reading, inputs, input_count, &counts);
    if (counts.binary + counts.too_large > 0) {
      fprintf(stderr, "left out: %" PRIu64 " binary files, %" PRIu64 " too large\n", counts.binary, counts.too_large);
    }
    if (status == NULL && counts.documents == 0) status = dure_fail(DURE_INVALID_ARGUMENT, "the inputs hold no text");
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

static int run_train(int argc, char **argv) {
  int64_t vocabulary_size = 0, min_frequency = 0, threads = 0;
  const char *output = NULL, *special = NULL, *unit = "auto", *kind = "bytes";
  double coverage = 0.9995;
  bool byte_fallback = true;
  const option_row options[] = {
      {"vocab-size", OPTION_INTEGER, &vocabulary_size, "N",
       "tokens in all, special ones and the 256 bytes included (required)"},
      {"o", OPTION_TEXT, &output, "FILE", "where to write the tokenizer.json, or a directory for it (required)"},
      {"min-frequency", OPTION_INTEGER, &min_frequency, "N", "merge only pairs seen at least N times (default 0)"},
      {"special-tokens", OPTION_TEXT, &special, "A,B",
       "special tokens, ids from 0 on (default <|endoftext|>; for bpe and unigram <unk>,<s>,</s>)"},
      {"model", OPTION_TEXT, &kind, "KIND", "bytes (default), or SentencePiece's kinds: bpe, unigram"},
      {"character-coverage", OPTION_NUMBER, &coverage, "X",
       "bpe, unigram: the share of the text whose characters are tokens (default 0.9995)"},
      {"byte-fallback", OPTION_FLAG, &byte_fallback, NULL,
       "bpe, unigram: other characters become bytes (default; --no-byte-fallback)"},
      {"threads", OPTION_INTEGER, &threads, "N", "unigram: threads (default 0: one a core); the result is the same"},
      {"by", OPTION_TEXT, &unit, "UNIT",
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
  const char *const *positional;
  char *special_copy = NULL;
  const char *special_names[64];
  size_t count = 0;
  int result = command_parse(&usage, argc, argv, &positional, &count);
  if (result < 0 &&
      (vocabulary_size < 1 || vocabulary_size > UINT32_MAX || min_frequency < 0 || threads < 0 || output == NULL)) {
    fprintf(stderr,
            "dure tokenizer train: expected --vocab-size N (1 or more) and -o FILE; --min-frequency and --threads are "
            "not negative\n");
    result = EXIT_USAGE;
  }
  bool is_bytes = strcmp(kind, "bytes") == 0, is_unigram = strcmp(kind, "unigram") == 0;
  if (result < 0 && !is_bytes && !is_unigram && strcmp(kind, "bpe") != 0) {
    fprintf(stderr, "dure tokenizer train: --model expects bytes, bpe or unigram, found '%s'\n", kind);
    result = EXIT_USAGE;
  }
  if (special == NULL) special = is_bytes ? "<|endoftext|>" : "<unk>,<s>,</s>";
  if (result < 0 && strcmp(unit, "auto") != 0 && strcmp(unit, "line") != 0 && strcmp(unit, "document") != 0) {
    fprintf(stderr, "dure tokenizer train: --by expects line or document, found '%s'\n", unit);
    result = EXIT_USAGE;
  }
  if (result < 0) {
    dure_os_catch_interrupts();
    size_t special_size = strlen(special) + 1;
    special_copy = malloc(special_size);
    if (special_copy != NULL) memcpy(special_copy, special, special_size);
    size_t special_count = special_copy != NULL ? split_names(special_copy, special_names, 64) : 0;
    training options_given = {
        .kind = kind,
        .unit = unit,
        .bytes = {.vocabulary_size = (uint32_t)vocabulary_size,
                  .min_frequency = (uint64_t)min_frequency,
                  .special_tokens = special_names,
                  .special_token_count = special_count,
                  .progress = show_progress},
        .pieces = {.is_unigram = is_unigram,
                   .vocabulary_size = (uint32_t)vocabulary_size,
                   .character_coverage = coverage,
                   .byte_fallback = byte_fallback,
                   .threads = threads < 64 ? (uint32_t)threads : 64,
                   .special_tokens = special_names,
                   .special_token_count = special_count,
                   .progress = show_progress},
    };
    dure_tokenizer *tokenizer = NULL;
    dure_status status = learn(positional, count, &options_given, &tokenizer);
    if (status == NULL) status = save(tokenizer, output, options_given.bytes.vocabulary_size);
    dure_tokenizer_close(tokenizer);
    result = command_finish("tokenizer train", status);
  }
  free(special_copy);
  return result;
}

// ---- encode ----

typedef struct encoded_line {
  dure_ids ids;
  dure_spans spans;
  dure_bytes out;  // the line that is printed
  bool as_json, with_offsets, ends_with_nul;
} encoded_line;

// printf would take as long as all of encoding.
static void put_number(dure_bytes *out, size_t number) {
  char digits[20];
  size_t at = sizeof(digits);
  do {
    digits[--at] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  dure_bytes_append(out, digits + at, sizeof(digits) - at);
}

static dure_status encode_line(const dure_tokenizer *tokenizer, const dure_encode_options *options, const char *text,
                               size_t length, encoded_line *line) {
  dure_ids *ids = &line->ids;
  bool as_json = line->as_json;
  ids->count = line->spans.count = 0;
  DURE_TRY(
      dure_tokenizer_encode_spans(tokenizer, text, length, options, ids, line->with_offsets ? &line->spans : NULL));
  dure_bytes *out = &line->out;
  dure_bytes_clear(out);
  dure_bytes_append_text(out, as_json ? "{\"ids\":[" : "");
  for (size_t i = 0; i < ids->count; i++) {
    if (i > 0) dure_bytes_append(out, as_json ? "," : " ", 1);
    put_number(out, ids->ids[i]);
  }
  if (line->with_offsets) {
    dure_bytes_append_text(out, "],\"offsets\":[");
    for (size_t i = 0; i < line->spans.count; i++) {
      dure_bytes_append_text(out, i > 0 ? ",[" : "[");
      put_number(out, line->spans.spans[i].start);
      dure_bytes_append(out, ",", 1);
      put_number(out, line->spans.spans[i].end);
      dure_bytes_append(out, "]", 1);
    }
  }
  dure_bytes_append_text(out, as_json ? "]}\n" : "\n");
  DURE_TRY(dure_bytes_status(out));
  fwrite(out->data, 1, out->size, stdout);
  return ferror(stdout) ? output_check() : NULL;  // input may never end
}

static dure_status encode_input(const char *path, const char *pattern, const char *text, encoded_line *encoded,
                                dure_encode_options options) {
  dure_tokenizer *tokenizer;
  DURE_TRY(pattern != NULL ? dure_tokenizer_open_as(path, pattern, &tokenizer)
                           : dure_weights_tokenizer(path, &tokenizer));
  line_reader reader = {.file = stdin, .end = encoded->ends_with_nul ? '\0' : '\n'};
  dure_status status = text != NULL ? encode_line(tokenizer, &options, text, strlen(text), encoded) : NULL;
  while (status == NULL && text == NULL) {
    const char *line;
    size_t length;
    status = read_line(&reader, "standard input", &line, &length);
    if (status != NULL || line == NULL) break;
    status = encode_line(tokenizer, &options, line, without_end(&reader, line, length), encoded);
    options.seed++;  // lines that are the same are not drawn the same
  }
  free(reader.line);
  dure_ids_free(&encoded->ids);
  dure_spans_free(&encoded->spans);
  dure_bytes_free(&encoded->out);
  dure_tokenizer_close(tokenizer);
  return status != NULL ? status : output_check();
}

static int run_encode(int argc, char **argv) {
  const char *path = NULL, *text = NULL, *pattern = NULL;
  int64_t seed = 0;
  encoded_line encoded = {0};
  dure_encode_options encode_options = {.parse_special = true, .add_special = true};
  const option_row options[] = {
      {"tokenizer", OPTION_TEXT, &path, "FILE_OR_MODEL", "a tokenizer.json, model directory or GGUF file (required)"},
      {"text", OPTION_TEXT, &text, "TEXT", "encode this instead of the lines of standard input"},
      {"parse-special", OPTION_FLAG, &encode_options.parse_special, NULL,
       "\"<|endoftext|>\" in the text is that token (default; --no-parse-special)"},
      {"add-special", OPTION_FLAG, &encode_options.add_special, NULL,
       "add what the file puts around texts (default; --no-add-special)"},
      {"json", OPTION_FLAG, &encoded.as_json, NULL, "a line is {\"ids\":[...]}"},
      {"offsets", OPTION_FLAG, &encoded.with_offsets, NULL,
       "with \"offsets\": where each id came from, in bytes of the line (implies --json)"},
      {"null", OPTION_FLAG, &encoded.ends_with_nul, NULL,
       "texts of standard input end with a NUL instead of a newline, and may hold newlines"},
      {"pattern", OPTION_TEXT, &pattern, "NAME", "what cuts the text of tiktoken's ranks (see convert)"},
      {"sampling", OPTION_NUMBER, &encode_options.sampling, "X",
       "draw segmentations: unigram's with P^X, BPE's with merges passed over with probability X (default 0: the "
       "best)"},
      {"seed", OPTION_INTEGER, &seed, "N", "of the drawing; line n uses seed + n (default 0)"},
  };
  const command_usage usage = {
      "dure tokenizer encode --tokenizer FILE_OR_MODEL [--text TEXT] [--json] < lines",
      "One line of text in, one line of token ids out, with spaces between them. The newline is not part of the text.",
      options,
      sizeof(options) / sizeof(options[0]),
      "echo 'Hello, world' | dure tokenizer encode --tokenizer tokenizer.json",
      0,
      0};
  int result = command_parse(&usage, argc, argv, NULL, NULL);
  if (result >= 0) return result;
  if (path == NULL) {
    fprintf(stderr, "dure tokenizer encode: expected --tokenizer FILE_OR_MODEL\n");
    return EXIT_USAGE;
  }
  encoded.as_json = encoded.as_json || encoded.with_offsets;
  encode_options.seed = (uint64_t)seed;
  return command_finish("tokenizer encode", encode_input(path, pattern, text, &encoded, encode_options));
}

// ---- decode ----

static dure_status parse_ids(const char *text, dure_ids *ids) {
  ids->count = 0;
  for (const char *at = text; *at != '\0';) {
    if (strchr(" \t\r\n,", *at) != NULL) {
      at++;
      continue;
    }
    char *end;
    errno = 0;
    unsigned long long id = *at >= '0' && *at <= '9' ? strtoull(at, &end, 10) : (end = (char *)at, 0ull);
    if (end == at || errno != 0 || id > UINT32_MAX) {
      return dure_fail(DURE_INVALID_ARGUMENT, "expected token ids, found '%.40s'", at);
    }
    DURE_TRY(dure_ids_reserve(ids, 1));
    ids->ids[ids->count++] = (uint32_t)id;
    at = end;
  }
  return NULL;
}

typedef struct decoding {
  bool as_json, skip_special, ends_with_nul;
} decoding;

static dure_status decode_line(const dure_tokenizer *tokenizer, const decoding *how, const char *line, dure_ids *ids) {
  char *text;
  size_t length;
  DURE_TRY(parse_ids(line, ids));
  DURE_TRY(dure_tokenizer_decode(tokenizer, ids->ids, ids->count, how->skip_special, &text, &length));
  dure_status status = NULL;
  if (how->as_json) {
    status = output_json(json_pack("{s:o}", "text", output_json_text(text, length)));
  } else {
    fwrite(text, 1, length, stdout);
    putchar(how->ends_with_nul ? '\0' : '\n');
    if (ferror(stdout)) status = output_check();
  }
  free(text);
  return status;
}

static dure_status decode_input(const char *path, const char *text, const decoding *how) {
  dure_tokenizer *tokenizer;
  DURE_TRY(dure_weights_tokenizer(path, &tokenizer));
  dure_ids ids = {0};
  line_reader reader = {.file = stdin, .end = '\n'};
  dure_status status = text != NULL ? decode_line(tokenizer, how, text, &ids) : NULL;
  while (status == NULL && text == NULL) {
    const char *line;
    size_t length;
    status = read_line(&reader, "standard input", &line, &length);
    if (status != NULL || line == NULL) break;
    char *copy = malloc(length + 1);
    if (copy == NULL) {
      status = dure_fail(DURE_OUT_OF_MEMORY, "no memory for a line of %zu bytes", length);
      break;
    }
    memcpy(copy, line, length);
    copy[length] = '\0';
    status = decode_line(tokenizer, how, copy, &ids);
    free(copy);
  }
  free(reader.line);
  dure_ids_free(&ids);
  dure_tokenizer_close(tokenizer);
  return status != NULL ? status : output_check();
}

static int run_decode(int argc, char **argv) {
  const char *path = NULL, *text = NULL;
  decoding how = {0};
  const option_row options[] = {
      {"tokenizer", OPTION_TEXT, &path, "FILE_OR_MODEL", "a tokenizer.json, model directory or GGUF file (required)"},
      {"ids", OPTION_TEXT, &text, "\"1 2 3\"", "decode these instead of the lines of standard input"},
      {"skip-special", OPTION_FLAG, &how.skip_special, NULL, "leave special tokens out"},
      {"json", OPTION_FLAG, &how.as_json, NULL, "a line is {\"text\":\"...\"}; bytes that are not UTF-8 become U+FFFD"},
      {"null", OPTION_FLAG, &how.ends_with_nul, NULL, "a NUL after each text instead of a newline"},
  };
  const command_usage usage = {
      "dure tokenizer decode --tokenizer FILE_OR_MODEL [--ids \"1 2 3\"] [--json] < lines",
      "One line of token ids in (spaces or commas between them), their text and a newline out.",
      options,
      sizeof(options) / sizeof(options[0]),
      "echo '15496 995' | dure tokenizer decode --tokenizer tokenizer.json",
      0,
      0};
  int result = command_parse(&usage, argc, argv, NULL, NULL);
  if (result >= 0) return result;
  if (path == NULL) {
    fprintf(stderr, "dure tokenizer decode: expected --tokenizer FILE_OR_MODEL\n");
    return EXIT_USAGE;
  }
  return command_finish("tokenizer decode", decode_input(path, text, &how));
}

// ---- which of them ----

int command_tokenizer(int argc, char **argv) {
  static char train_name[] = "tokenizer train", encode_name[] = "tokenizer encode", decode_name[] = "tokenizer decode";
  static char convert_name[] = "tokenizer convert", fertility_name[] = "tokenizer fertility";
  static const struct {
    const char *name;
    char *full_name;
    int (*run)(int argc, char **argv);
    const char *summary;
  } rows[] = {
      {"train", train_name, run_train, "learn a vocabulary from text"},
      {"encode", encode_name, run_encode, "text to token ids"},
      {"decode", decode_name, run_decode, "token ids to text"},
      {"convert", convert_name, tokenizer_convert, "any tokenizer file to tokenizer.json"},
      {"fertility", fertility_name, tokenizer_fertility, "tokens per syllable, word and byte of several vocabularies"},
  };
  const char *names[] = {"train", "encode", "decode", "convert", "fertility"};
  enum { row_count = sizeof(rows) / sizeof(rows[0]) };
  bool is_help = argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
  for (size_t i = 0; i < row_count && argc >= 2; i++) {
    if (strcmp(argv[1], rows[i].name) != 0) continue;
    argv[1] = rows[i].full_name;
    return rows[i].run(argc - 1, argv + 1);
  }
  if (argc >= 2 && !is_help) {
    const char *nearest = command_nearest(argv[1], names, row_count);
    fprintf(stderr, "dure tokenizer: unknown action '%s'", argv[1]);
    if (nearest != NULL) fprintf(stderr, "; did you mean '%s'?", nearest);
    fputc('\n', stderr);
  }
  FILE *file = is_help ? stdout : stderr;
  fprintf(file,
          "usage: dure tokenizer train|encode|decode|convert|fertility [options]     dure tokenizer train --help\n\n");
  for (size_t i = 0; i < row_count; i++) fprintf(file, "  %-12s %s\n", rows[i].name, rows[i].summary);
  fprintf(file, "\nexample: dure tokenizer train --vocab-size 8000 -o tokenizer.json corpus.jsonl\n");
  return is_help ? EXIT_DONE : EXIT_USAGE;
}
