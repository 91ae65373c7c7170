// dure generate: continues a prompt, writing text as it comes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/open_model.h"
#include "cli/output.h"
#include "runtime/os.h"

typedef struct generate_options {
  const char *device, *dtype, *prompt, *prompt_file;
  int64_t max_tokens, top_k, seed;
  double temperature, top_p;
  bool echo, as_json, stops_at_end;
} generate_options;

typedef struct generation {
  dure_ids tokens;  // prompt, then continuation
  size_t prompt_count;
  char *text;  // of the continuation
  size_t text_length, text_capacity;
  const char *finish_reason;
  double prompt_seconds, decode_seconds;
} generation;

static void generation_clear(generation *g) {
  dure_ids_free(&g->tokens);
  free(g->text);
}

// Continuation text is printed at once, or kept for the JSON object.
static dure_status emit(const generate_options *options, generation *g, const char *bytes, size_t length) {
  if (length == 0) return NULL;
  if (!options->as_json) {
    fwrite(bytes, 1, length, stdout);
    return output_check();
  }
  if (g->text_length + length > g->text_capacity) {
    size_t capacity = (g->text_length + length) * 2;
    char *larger = realloc(g->text, capacity);
    if (larger == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for the generated text");
    g->text = larger;
    g->text_capacity = capacity;
  }
  memcpy(g->text + g->text_length, bytes, length);
  g->text_length += length;
  return NULL;
}

// Draws and takes tokens until the end of text, the wanted number, the end of the context, or an interrupt.
static dure_status decode(const generate_options *options, const opened_model *opened, dure_session *session,
                          dure_token_stream *text, generation *g) {
  const dure_sampling sampling = {(float)options->temperature, (uint32_t)options->top_k, (float)options->top_p,
                                  (uint64_t)options->seed};
  uint32_t end_of_text = 0;
  bool has_end = dure_tokenizer_end_of_text(opened->tokenizer, &end_of_text) && options->stops_at_end;
  g->finish_reason = "length";
  for (int64_t i = 0; i < options->max_tokens; i++) {
    uint32_t token = 0;
    DURE_TRY(dure_session_sample(session, &sampling, &token));
    // Models that answer end with a token of their own (<|im_end|>), which the configuration names.
    if ((has_end && token == end_of_text) || (options->stops_at_end && token == opened->model->config.end_id)) {
      g->finish_reason = "end_of_text";
      break;
    }
    DURE_TRY(dure_ids_reserve(&g->tokens, 1));
    g->tokens.ids[g->tokens.count++] = token;
    const char *bytes = NULL;
    size_t length = 0;
    DURE_TRY(dure_token_stream_push(text, token, &bytes, &length));
    DURE_TRY(emit(options, g, bytes, length));
    if (dure_os_interrupted()) {
      g->finish_reason = "interrupted";
      break;
    }
    if (i + 1 == options->max_tokens) break;
    if (dure_session_length(session) >= dure_session_capacity(session)) {
      g->finish_reason = "context";
      break;
    }
    DURE_TRY(dure_session_append(session, &token, 1));
  }
  const char *bytes = NULL;
  size_t length = 0;
  dure_token_stream_flush(text, &bytes, &length);
  return emit(options, g, bytes, length);
}

static dure_status encode_prompt(const opened_model *opened, const char *prompt, size_t length, generation *g) {
  const dure_encode_options encoding = {.parse_special = true, .add_special = true};
  DURE_TRY(dure_tokenizer_encode(opened->tokenizer, prompt, length, &encoding, &g->tokens));
  if (g->tokens.count == 0) {  // nothing to continue: begin a document
    uint32_t end_of_text = 0;
    if (!dure_tokenizer_end_of_text(opened->tokenizer, &end_of_text)) {
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "the prompt is empty and the tokenizer has no end-of-text token to begin with");
    }
    DURE_TRY(dure_ids_reserve(&g->tokens, 1));
    g->tokens.ids[g->tokens.count++] = end_of_text;
  }
  g->prompt_count = g->tokens.count;
  return NULL;
}

static dure_status run_session(const generate_options *options, const opened_model *opened, generation *g) {
  dure_session *session = NULL;
  dure_token_stream *text = NULL;
  dure_session_options settings = {.candidate_count = dure_tokenizer_vocabulary_size(opened->tokenizer)};
  uint64_t wanted = g->prompt_count + (uint64_t)options->max_tokens;
  uint32_t context = opened->model->config.context_length;
  settings.capacity = wanted < context ? (uint32_t)wanted : context;
  if (g->prompt_count > context) {
    return dure_fail(DURE_INVALID_ARGUMENT, "the prompt has %zu tokens, the model's context is %u; shorten the prompt",
                     g->prompt_count, context);
  }
  dure_status status = dure_session_create(opened->model, &settings, &session);
  if (status == NULL) status = dure_token_stream_create(opened->tokenizer, true, &text);
  uint64_t begin = dure_os_nanoseconds(), decoding = begin;
  if (status == NULL) status = dure_session_append(session, g->tokens.ids, (uint32_t)g->prompt_count);
  if (status == NULL) {
    status = dure_stream_wait(opened->stream, 0);
    decoding = dure_os_nanoseconds();
  }
  if (status == NULL) status = decode(options, opened, session, text, g);
  g->prompt_seconds = (double)(decoding - begin) / 1e9;
  g->decode_seconds = (double)(dure_os_nanoseconds() - decoding) / 1e9;
  dure_token_stream_destroy(text);
  dure_session_destroy(session);
  return status;
}

static dure_status print_result(const generate_options *options, const char *prompt, size_t prompt_length,
                                const generation *g) {
  size_t generated = g->tokens.count - g->prompt_count;
  if (!options->as_json) {
    putchar('\n');
    if (dure_os_is_terminal(2)) {
      fprintf(stderr, "%zu tokens, %.1f tokens/s (prompt %zu tokens, %.2f s); stopped: %s\n", generated,
              g->decode_seconds > 0 ? (double)generated / g->decode_seconds : 0.0, g->prompt_count, g->prompt_seconds,
              g->finish_reason);
    }
    return output_check();
  }
  json_t *prompt_tokens = json_array(), *tokens = json_array();
  for (size_t i = 0; i < g->tokens.count; i++) {
    json_array_append_new(i < g->prompt_count ? prompt_tokens : tokens, json_integer(g->tokens.ids[i]));
  }
  return output_json(json_pack("{so so so so ss sf sf}", "prompt", output_json_text(prompt, prompt_length), "text",
                               output_json_text(g->text != NULL ? g->text : "", g->text_length), "prompt_tokens",
                               prompt_tokens, "tokens", tokens, "finish_reason", g->finish_reason, "prompt_seconds",
                               g->prompt_seconds, "decode_seconds", g->decode_seconds));
}

static dure_status check_options(const generate_options *options) {
  if (options->prompt != NULL && options->prompt_file != NULL)
    return dure_fail(DURE_INVALID_ARGUMENT, "--prompt and --prompt-file both say what to continue; give one of them");
  if (options->max_tokens < 1) return dure_fail(DURE_INVALID_ARGUMENT, "--max-tokens must be at least 1");
  if (options->temperature < 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "--temperature must be at least 0 (0: always the likeliest token)");
  if (options->top_k < 0 || options->top_k > UINT32_MAX)
    return dure_fail(DURE_INVALID_ARGUMENT, "--top-k must be at least 0 (0: no limit)");
  if (!(options->top_p > 0 && options->top_p <= 1))
    return dure_fail(DURE_INVALID_ARGUMENT, "--top-p must be above 0 and at most 1");
  dure_dtype dtype;
  return dure_model_parse_dtype(options->dtype, &dtype);
}

static dure_status generate(const generate_options *options, const char *directory) {
  char *file_text = NULL;
  size_t length = options->prompt != NULL ? strlen(options->prompt) : 0;
  if (options->prompt_file != NULL)
    DURE_TRY(dure_os_read_file(options->prompt_file, (uint64_t)1 << 26, &file_text, &length));
  const char *prompt = file_text != NULL ? file_text : options->prompt != NULL ? options->prompt : "";
  opened_model opened;
  generation g = {.finish_reason = "length"};
  dure_status status = opened_model_create(options->device, options->dtype, directory, true, &opened);
  if (status == NULL) {
    status = encode_prompt(&opened, prompt, length, &g);
    if (status == NULL && options->echo && !options->as_json) fwrite(prompt, 1, length, stdout);
    if (status == NULL) status = run_session(options, &opened, &g);
    if (status == NULL) status = print_result(options, prompt, length, &g);
    opened_model_close(&opened);
  }
  generation_clear(&g);
  free(file_text);
  return status;
}

int command_generate(int argc, char **argv) {
  generate_options options = {
      .device = "auto", .max_tokens = 128, .temperature = 0.8, .top_k = 40, .top_p = 1.0, .stops_at_end = true};
  const option_row rows[] = {
      {"prompt", OPTION_TEXT, &options.prompt, "TEXT", "what to continue (default: begin a document)"},
      {"prompt-file", OPTION_TEXT, &options.prompt_file, "FILE", "the prompt from a file"},
      {"max-tokens", OPTION_INTEGER, &options.max_tokens, "N", "stop after so many tokens (128)"},
      {"temperature", OPTION_NUMBER, &options.temperature, "T",
       "0: always the likeliest token; higher: more varied (0.8)"},
      {"top-k", OPTION_INTEGER, &options.top_k, "K", "draw from the K likeliest tokens, 0: all (40)"},
      {"top-p", OPTION_NUMBER, &options.top_p, "P", "draw from the likeliest tokens that hold this mass (1)"},
      {"seed", OPTION_INTEGER, &options.seed, "S", "the same seed gives the same text (0)"},
      {"stop-at-end", OPTION_FLAG, &options.stops_at_end, NULL,
       "stop at the end-of-text token (--no-stop-at-end: go on)"},
      {"echo", OPTION_FLAG, &options.echo, NULL, "print the prompt before the continuation"},
      {"device", OPTION_TEXT, &options.device, "D", "auto, vulkan[:N], cuda[:N] or reference (auto)"},
      {"dtype", OPTION_TEXT, &options.dtype, "TYPE", "of weights and KV cache: auto, f32, bf16 or f16 (auto)"},
      {"json", OPTION_FLAG, &options.as_json, NULL, "one JSON object instead of streamed text"},
  };
  const command_usage usage = {
      "dure generate MODEL --prompt TEXT [options]",
      "Continues a prompt with a model directory (or a training checkpoint), streaming the text.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure generate RUN/checkpoints/latest --prompt \"Once upon a time\" --max-tokens 100 --seed 7",
      1,
      1};
  const char *const *positional;
  int status = command_parse(&usage, argc, argv, &positional, NULL);
  dure_status mistake = status < 0 ? check_options(&options) : NULL;
  if (mistake != NULL) status = command_refuse(argv[0], mistake);
  if (status < 0) {
    dure_os_catch_interrupts();
    status = command_finish(argv[0], generate(&options, positional[0]));
  }
  return status;
}
