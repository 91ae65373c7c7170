// dure tokenizer encode | decode; train is in cli/tokenizer_train.c, convert and fertility in cli/tokenizer_fertility.c
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/tokenizer.h"
#include "data/bytes.h"
#include "data/tokenizer.h"
#include "model/weights.h"

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
      {"train", train_name, tokenizer_train, "learn a vocabulary from text"},
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
