// dure serve: a model behind OpenAI's HTTP interface.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/open_model.h"
#include "cli/output.h"
#include "runtime/os.h"
#include "serve/server.h"

typedef struct serve_options {
  const char *device, *dtype, *weights, *cache_type, *host, *name, *key, *key_file, *origin, *pooling, *overflow,
      *draft;
  int64_t port, sequences, context, cache_tokens, chunk, most_tokens, queue, connections, proposals;
  uint64_t body_bytes, grammar_bytes;
  double request_seconds, read_seconds, drain_seconds;
  bool looks_up;
} serve_options;

enum { KEYS_MOST = 1024 };

// Everything of one run of the command.
typedef struct serve_run {
  const serve_options *options;
  opened_model opened;
  dure_chat *chat;
  dure_model *draft;  // NULL: none
  dure_engine *engine;
  dure_server *server;
  char *key_bytes;  // of the key file, in which `keys` lie
  const char *keys[KEYS_MOST];
  size_t key_count;
} serve_run;

static void run_clear(serve_run *run) {
  dure_server_stop(run->server);
  dure_engine_destroy(run->engine);
  dure_model_destroy(run->draft);
  dure_chat_close(run->chat);
  if (run->opened.model != NULL) opened_model_close(&run->opened);
  free(run->key_bytes);
}

// One key a line; empty lines and those that begin with # are none.
static dure_status read_keys(serve_run *run) {
  size_t size = 0;
  const serve_options *o = run->options;
  if (o->key != NULL) run->keys[run->key_count++] = o->key;
  if (o->key_file == NULL) return NULL;
  DURE_TRY(dure_os_read_file(o->key_file, 1 << 20, &run->key_bytes, &size));
  char *rest = NULL;
  for (char *line = strtok_r(run->key_bytes, "\r\n", &rest); line != NULL; line = strtok_r(NULL, "\r\n", &rest)) {
    if (line[0] == '#') continue;
    if (run->key_count == KEYS_MOST) return dure_fail(DURE_INVALID_ARGUMENT, "more than %d keys", KEYS_MOST);
    run->keys[run->key_count++] = line;
  }
  if (run->key_count == 0) return dure_fail(DURE_INVALID_ARGUMENT, "there is no key in '%s'", o->key_file);
  return NULL;
}

// The last part of the path, as a name.
static const char *name_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

static dure_status open_all(serve_run *run, const char *path) {
  const serve_options *o = run->options;
  DURE_TRY(opened_model_create_as(o->device, o->dtype, o->weights, path, true, &run->opened));
  DURE_TRY(dure_chat_open(path, run->opened.tokenizer, &run->chat));
  if (o->draft != NULL) DURE_TRY(opened_model_draft(&run->opened, o->dtype, o->weights, o->draft, &run->draft));
  dure_dtype cache_type;
  DURE_TRY(dure_model_parse_cache_type(o->cache_type, &cache_type));
  const dure_engine_options engine = {.sequences = (uint32_t)o->sequences,
                                      .context = (uint32_t)o->context,
                                      .cache_tokens = (uint64_t)o->cache_tokens,
                                      .chunk = (uint32_t)o->chunk,
                                      .cache_type = cache_type,
                                      .speculation = {o->looks_up, run->draft, (uint32_t)o->proposals, false},
                                      .candidate_count = dure_tokenizer_vocabulary_size(run->opened.tokenizer)};
  DURE_TRY(dure_engine_create(run->opened.model, &engine, &run->engine));
  return dure_engine_prepare(run->engine, (uint32_t)o->sequences);
}

static const char *const overflows[] = {"refuse", "stop", "shift"};  // as dure_overflow has them

// The number of its name; that of an unknown one is their count.
static dure_overflow overflow_of(const char *name) {
  int found = 0;
  while (found <= DURE_OVERFLOW_SHIFT && strcmp(overflows[found], name) != 0) found++;
  return (dure_overflow)found;
}

static dure_status start(serve_run *run, const char *path) {
  const serve_options *o = run->options;
  const dure_server_options options = {
      .host = o->host,
      .port = (uint16_t)o->port,
      .name = o->name != NULL ? o->name : name_of(path),
      .keys = run->keys,
      .key_count = run->key_count,
      .allowed_origin = o->origin,
      .body_bytes = o->body_bytes,
      .most_tokens = (uint32_t)o->most_tokens,
      .queue = (uint32_t)o->queue,
      .connections = (uint32_t)o->connections,
      .request_seconds = o->request_seconds,
      .read_seconds = o->read_seconds,
      .drain_seconds = o->drain_seconds,
      .grammar_bytes = o->grammar_bytes,
      .overflow = overflow_of(o->overflow),
      .pooling = strcmp(o->pooling, "last") == 0 ? DURE_POOLING_LAST : DURE_POOLING_MEAN};
  const dure_served_model served = {run->opened.model, run->opened.tokenizer, run->chat, run->engine};
  DURE_TRY(dure_server_start(&options, &served, &run->server));
  const char *left = strchr(o->host, ':') != NULL ? "[" : "", *right = left[0] != '\0' ? "]" : "";
  printf("listening on http://%s%s%s:%u (model '%s', %u sequences of %u tokens together%s)\n", left, o->host, right,
         dure_server_port(run->server), options.name, dure_engine_sequences(run->engine),
         dure_engine_context(run->engine), run->key_count > 0 ? ", API keys" : "");
  return output_check();
}

static dure_status serve(const void *chosen, const char *path) {
  const serve_options *options = chosen;
  serve_run run = {.options = options};
  dure_status status = read_keys(&run);
  if (status == NULL) status = open_all(&run, path);
  if (status == NULL) status = start(&run, path);
  if (status == NULL) status = dure_server_run(run.server, dure_os_interrupted);
  run_clear(&run);
  return status;
}

static dure_status check_range(const char *name, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "--%s must be from %lld to %lld", name, (long long)least, (long long)most);
}

static dure_status check_options(void *chosen) {
  const serve_options *o = chosen;
  DURE_TRY(check_range("port", o->port, 0, 65535));
  DURE_TRY(check_range("sequences", o->sequences, 1, DURE_ENGINE_SEQUENCES_MOST));
  DURE_TRY(check_range("context", o->context, 0, INT32_MAX));
  DURE_TRY(check_range("cache-tokens", o->cache_tokens, 0, INT32_MAX));
  DURE_TRY(check_range("chunk", o->chunk, 8, 512));
  DURE_TRY(check_range("max-tokens", o->most_tokens, 0, INT32_MAX));
  DURE_TRY(check_range("queue", o->queue, 1, 1 << 20));
  DURE_TRY(check_range("proposals", o->proposals, 0, DURE_ENGINE_PROPOSALS_MOST));
  DURE_TRY(check_range("connections", o->connections, 1, 1 << 20));
  if (o->body_bytes < 1024) return dure_fail(DURE_INVALID_ARGUMENT, "--max-body must be at least 1 KiB");
  if (o->grammar_bytes < 1 << 20) return dure_fail(DURE_INVALID_ARGUMENT, "--grammar-memory must be at least 1 MiB");
  if (overflow_of(o->overflow) > DURE_OVERFLOW_SHIFT)
    return dure_fail(DURE_INVALID_ARGUMENT, "--overflow must be refuse, stop or shift; found '%.40s'", o->overflow);
  if (!(o->request_seconds > 0) || !(o->read_seconds > 0) || !(o->drain_seconds > 0))
    return dure_fail(DURE_INVALID_ARGUMENT, "times must be above 0 seconds");
  if (strcmp(o->pooling, "mean") != 0 && strcmp(o->pooling, "last") != 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "--pooling must be mean or last; found '%.40s'", o->pooling);
  if (o->key != NULL && o->key[0] == '\0') return dure_fail(DURE_INVALID_ARGUMENT, "--api-key is empty");
  dure_dtype dtype;
  DURE_TRY(dure_model_parse_cache_type(o->cache_type, &dtype));
  return dure_model_parse_dtype(o->dtype, &dtype);
}

int command_serve(int argc, char **argv) {
  serve_options options = {.device = "auto",
                           .host = "127.0.0.1",
                           .pooling = "mean",
                           .overflow = "refuse",
                           .grammar_bytes = UINT64_C(256) << 20,
                           .port = 8080,
                           .sequences = 16,
                           .chunk = 512,
                           .queue = 1024,
                           .connections = 16384,
                           .body_bytes = UINT64_C(8) << 20,
                           .request_seconds = 600,
                           .read_seconds = 30,
                           .drain_seconds = 30};
  const option_row rows[] = {
      {"host", OPTION_TEXT, &options.host, "ADDRESS", "where to listen: 0.0.0.0 for every network (127.0.0.1)"},
      {"port", OPTION_INTEGER, &options.port, "N", "0: any that is free (8080)"},
      {"name", OPTION_TEXT, &options.name, "NAME", "of the model in requests (default: the last part of its path)"},
      {"api-key", OPTION_TEXT, &options.key, "KEY", "that requests must bring; other users see it in the process list"},
      {"api-key-file", OPTION_TEXT, &options.key_file, "FILE", "the same, many, one a line"},
      {"allow-origin", OPTION_TEXT, &options.origin, "ORIGIN", "web pages of this origin may ask too (* for any)"},
      {"sequences", OPTION_INTEGER, &options.sequences, "N", "that run together at most, up to 64 (16)"},
      {"context", OPTION_INTEGER, &options.context, "N", "tokens of a sequence at most (default: the model's)"},
      {"cache-tokens", OPTION_INTEGER, &options.cache_tokens, "N",
       "that the KV cache holds (default: half of the free memory, or what all sequences can need)"},
      {"chunk", OPTION_INTEGER, &options.chunk, "N", "tokens of a prompt taken between two steps of the others (512)"},
      {"max-tokens", OPTION_INTEGER, &options.most_tokens, "N",
       "that a request may generate (0: what the context holds)"},
      {"max-body", OPTION_SIZE, &options.body_bytes, "SIZE", "of a request's body (8MiB)"},
      {"overflow", OPTION_TEXT, &options.overflow, "HOW",
       "requests longer than the context: refuse; stop at its end; or shift, which forgets its oldest quarter and goes "
       "on (refuse)"},
      {"grammar-memory", OPTION_SIZE, &options.grammar_bytes, "SIZE",
       "for all grammars and schemas together; more get 429 (256MiB)"},
      {"queue", OPTION_INTEGER, &options.queue, "N", "sequences that may wait; more get 429 (1024)"},
      {"connections", OPTION_INTEGER, &options.connections, "N", "open at once; more get 503 (16384)"},
      {"speculate", OPTION_FLAG, &options.looks_up, NULL,
       "guess tokens from what came before in a text and verify several in a step, where that is faster; answers stay "
       "the same"},
      {"draft", OPTION_TEXT, &options.draft, "MODEL",
       "guess by this smaller model, which must have the same tokenizer; answers stay the same"},
      {"proposals", OPTION_INTEGER, &options.proposals, "N", "guess so many tokens of a text at once at most (7)"},
      {"request-seconds", OPTION_NUMBER, &options.request_seconds, "S", "for a request to wait and run (600)"},
      {"read-seconds", OPTION_NUMBER, &options.read_seconds, "S", "for a client to send its request (30)"},
      {"drain-seconds", OPTION_NUMBER, &options.drain_seconds, "S", "for running requests when told to stop (30)"},
      {"pooling", OPTION_TEXT, &options.pooling, "HOW",
       "embeddings are the mean of all tokens' or the last one's (mean)"},
      {"device", OPTION_TEXT, &options.device, "D", "auto, vulkan[:N], cuda[:N] or reference (auto)"},
      {"dtype", OPTION_TEXT, &options.dtype, "TYPE", "of weights and activations: auto, f32, bf16 or f16 (auto)"},
      {"cache-type", OPTION_TEXT, &options.cache_type, "TYPE",
       "of the KV cache: auto (as --dtype), f32, bf16, f16 or q8_0"},
      {"weights", OPTION_TEXT, &options.weights, "HOW",
       "of quantised files: quantised, as the file has them; int8: and activations are rounded to 8 bits before "
       "products with 8-bit matrices; or expanded to --dtype (quantised)"},
  };
  const command_usage usage = {
      "dure serve MODEL [--port N] [options]",
      "Serves a model directory or a GGUF file: /v1/completions, /v1/chat/completions, /v1/embeddings, /v1/models, "
      "/tokenize, /detokenize, /health, /metrics, and a chat page at /. Ctrl-C ends what runs, then stops.",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure serve SmolLM2-135M-Instruct.Q8_0.gguf --port 8080\n"
      "  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\\n"
      "       -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Name three fruits.\"}]}'",
      1,
      1};
  return command_run(&usage, argc, argv, &options, check_options, serve);
}
