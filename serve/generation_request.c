#include "serve/generation_request.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/messages.h"

// Of both endpoints.
#define SHARED_ROWS                                                                                                 \
  {"model", FIELD_TAKEN, NULL}, {"max_tokens", FIELD_TAKEN, NULL}, {"temperature", FIELD_TAKEN, NULL},              \
      {"top_p", FIELD_TAKEN, NULL}, {"top_k", FIELD_TAKEN, NULL}, {"min_p", FIELD_TAKEN, NULL},                     \
      {"typical_p", FIELD_TAKEN, NULL}, {"n", FIELD_TAKEN, NULL}, {"stream", FIELD_TAKEN, NULL},                    \
      {"stream_options", FIELD_TAKEN, NULL}, {"logprobs", FIELD_TAKEN, NULL}, {"stop", FIELD_TAKEN, NULL},          \
      {"presence_penalty", FIELD_TAKEN, NULL}, {"frequency_penalty", FIELD_TAKEN, NULL},                            \
      {"repetition_penalty", FIELD_TAKEN, NULL}, {"logit_bias", FIELD_TAKEN, NULL}, {"grammar", FIELD_TAKEN, NULL}, \
      {"response_format", FIELD_TAKEN, NULL}, {"seed", FIELD_TAKEN, NULL}, {"ignore_eos", FIELD_TAKEN, NULL}, {     \
    "user", FIELD_IGNORED, NULL                                                                                     \
  }

static const field_row completion_rows[] = {
    SHARED_ROWS,
    {"prompt", FIELD_TAKEN, NULL},
    {"echo", FIELD_TAKEN, NULL},
    {"add_special_tokens", FIELD_TAKEN, NULL},
    {"best_of", FIELD_TAKEN, NULL},
    {"suffix", FIELD_REFUSED, "\"\""},
};

static const field_row chat_rows[] = {
    SHARED_ROWS,
    {"messages", FIELD_TAKEN, NULL},
    {"max_completion_tokens", FIELD_TAKEN, NULL},
    {"top_logprobs", FIELD_TAKEN, NULL},
    {"chat_template_kwargs", FIELD_TAKEN, NULL},
    {"metadata", FIELD_IGNORED, NULL},
    {"service_tier", FIELD_IGNORED, NULL},
    {"store", FIELD_IGNORED, NULL},
    {"safety_identifier", FIELD_IGNORED, NULL},
    {"prompt_cache_key", FIELD_IGNORED, NULL},
    {"prompt_cache_retention", FIELD_IGNORED, NULL},
    {"parallel_tool_calls", FIELD_IGNORED, NULL},
    {"tools", FIELD_TAKEN, NULL},
    {"tool_choice", FIELD_TAKEN, NULL},
    {"functions", FIELD_REFUSED, "[]"},
    {"function_call", FIELD_REFUSED, "\"none\""},
    {"modalities", FIELD_REFUSED, "[\"text\"]"},
    {"audio", FIELD_REFUSED, NULL},
    {"prediction", FIELD_REFUSED, NULL},
    {"reasoning_effort", FIELD_REFUSED, NULL},
    {"verbosity", FIELD_REFUSED, NULL},
    {"web_search_options", FIELD_REFUSED, NULL},
};

static void read_stops(field_reader *reader, generation_request *request) {
  const json_t *value = field_value(reader, "stop");
  if (value == NULL) return;
  const size_t count = json_is_array(value) ? json_array_size(value) : 1;
  size_t bytes = 0;
  if (count > DURE_STOPS_MOST) {
    field_refuse(reader, "stop",
                 dure_fail(DURE_INVALID_ARGUMENT, "'stop' has %zu texts, more than %d", count, DURE_STOPS_MOST));
    return;
  }
  for (size_t i = 0; i < count; i++) {
    const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
    const char *text = json_string_value(one);
    if (text == NULL || strlen(text) != json_string_length(one)) {
      field_refuse(reader, "stop",
                   dure_fail(DURE_INVALID_ARGUMENT, "'stop' must be a text or a list of texts, without NUL"));
      return;
    }
    bytes += strlen(text);
    if (bytes > STOP_BYTES_MOST) {
      field_refuse(reader, "stop", dure_fail(DURE_INVALID_ARGUMENT, "'stop' has more than %d bytes", STOP_BYTES_MOST));
      return;
    }
    if (text[0] != '\0') request->stops[request->stop_count++] = text;
  }
}

static void read_biases(field_reader *reader, generation_request *request) {
  const json_t *value = field_value(reader, "logit_bias");
  const char *key = NULL;
  json_t *bias = NULL;
  if (value == NULL) return;
  if (!json_is_object(value) || json_object_size(value) > DURE_ENGINE_BIASES_MOST) {
    field_refuse(reader, "logit_bias",
                 dure_fail(DURE_INVALID_ARGUMENT, "'logit_bias' must be an object of at most %d token ids",
                           DURE_ENGINE_BIASES_MOST));
    return;
  }
  json_t *object = (json_t *)(size_t)value;
  json_object_foreach(object, key, bias) {
    char *end = NULL;
    errno = 0;
    const unsigned long long id = strtoull(key, &end, 10);
    const double amount = json_number_value(bias);
    bool is_good = key[0] >= '0' && key[0] <= '9' && *end == '\0' && errno == 0 && id <= UINT32_MAX &&
                   json_is_number(bias) && amount >= -100 && amount <= 100;
    for (uint32_t i = 0; i < request->bias_count && is_good; i++) is_good = request->biases[i].token != id;
    if (!is_good) {
      field_refuse(reader, "logit_bias",
                   dure_fail(DURE_INVALID_ARGUMENT,
                             "'logit_bias' must have different token ids, each with a number from -100 to 100; found "
                             "'%.30s'",
                             key));
      return;
    }
    request->biases[request->bias_count++] = (dure_logit_bias){(uint32_t)id, (float)amount};
  }
}

static void read_scores(field_reader *reader, generation_request *request) {
  if (!request->is_chat) {
    const json_t *value = field_value(reader, "logprobs");
    if (json_is_false(value)) return;
    request->with_scores = value != NULL;
    request->alternatives = (uint32_t)field_integer(reader, "logprobs", 0, DURE_ENGINE_ALTERNATIVES_MOST, 0);
    return;
  }
  request->with_scores = field_flag(reader, "logprobs", false);
  request->alternatives = (uint32_t)field_integer(reader, "top_logprobs", 0, DURE_ENGINE_ALTERNATIVES_MOST, 0);
  if (request->alternatives > 0 && !request->with_scores)
    field_refuse(reader, "top_logprobs", dure_fail(DURE_INVALID_ARGUMENT, "'top_logprobs' needs 'logprobs': true"));
}

static void read_stream(field_reader *reader, generation_request *request) {
  static const field_row rows[] = {{"include_usage", FIELD_TAKEN, NULL}, {"include_obfuscation", FIELD_IGNORED, NULL}};
  request->is_streamed = field_flag(reader, "stream", false);
  const json_t *options = field_value(reader, "stream_options");
  if (options == NULL) return;
  if (!request->is_streamed || !json_is_object(options)) {
    field_refuse(reader, "stream_options",
                 dure_fail(DURE_INVALID_ARGUMENT, "'stream_options' must be an object, and needs 'stream': true"));
    return;
  }
  field_reader inner = {.object = options};
  field_check_names(&inner, rows, sizeof(rows) / sizeof(rows[0]));
  request->with_usage = field_flag(&inner, "include_usage", false);
  field_refuse(reader, "stream_options", dure_status_prefix(inner.status, "'stream_options'"));
}

static void read_sampling(field_reader *reader, generation_request *request) {
  const double infinity = (double)INFINITY;
  dure_sampling *sampling = &request->sampling;
  sampling->temperature = (float)field_number(reader, "temperature", 0, 100, 1);
  sampling->top_p = (float)field_number(reader, "top_p", 0, 1, 1);
  if (!(sampling->top_p > 0)) sampling->top_p = 1e-6F;  // OpenAI has 0: only the likeliest
  sampling->min_p = (float)field_number(reader, "min_p", 0, 1, 0);
  sampling->typical_p = (float)field_number(reader, "typical_p", 0, 1, 1);
  const json_int_t top_k = field_integer(reader, "top_k", -1, INT32_MAX, 0);
  sampling->top_k = top_k > 0 ? (uint32_t)top_k : 0;
  request->has_seed = field_value(reader, "seed") != NULL;
  sampling->seed = (uint64_t)field_integer(reader, "seed", INT64_MIN, INT64_MAX, 0);
  request->presence_penalty = (float)field_number(reader, "presence_penalty", -2, 2, 0);
  request->frequency_penalty = (float)field_number(reader, "frequency_penalty", -2, 2, 0);
  request->repetition_penalty = (float)field_number(reader, "repetition_penalty", 0, infinity, 0);
  if (!isfinite(request->repetition_penalty))
    field_refuse(reader, "repetition_penalty", dure_fail(DURE_INVALID_ARGUMENT, "'repetition_penalty' is too large"));
}

static dure_status read_schema(const json_t *format, generation_request *request) {
  const char *type = json_string_value(json_object_get(format, "type"));
  const json_t *named = json_object_get(format, "json_schema");
  if (type == NULL) return dure_fail(DURE_INVALID_ARGUMENT, "'response_format' must be an object with a \"type\"");
  if (strcmp(type, "text") == 0) return NULL;
  request->response = RESPONSE_JSON;
  if (strcmp(type, "json_object") == 0) return NULL;
  if (strcmp(type, "json_schema") != 0)
    return dure_fail(DURE_UNSUPPORTED,
                     "'response_format' of type '%.40s' is not supported: text, json_object and json_schema are", type);
  request->schema = json_object_get(named, "schema");
  if (request->schema == NULL)
    return dure_fail(DURE_INVALID_ARGUMENT, "'response_format' needs {\"json_schema\": {\"schema\": ...}}");
  return NULL;
}

// response_format, grammar, tools: one of them may say what comes.
static void read_form(field_reader *reader, generation_request *request) {
  const json_t *format = field_value(reader, "response_format"), *grammar = field_value(reader, "grammar");
  if (format != NULL) field_refuse(reader, "response_format", read_schema(format, request));
  request->grammar = json_string_value(grammar);
  if (grammar != NULL && (request->grammar == NULL || strlen(request->grammar) != json_string_length(grammar)))
    field_refuse(reader, "grammar", dure_fail(DURE_INVALID_ARGUMENT, "'grammar' must be a text without NUL"));
  if (request->is_chat) tools_read(reader, &request->tools);
  const bool has_form = request->response != RESPONSE_ANYTHING;
  if (has_form + (request->grammar != NULL) + (request->tools.choice > TOOLS_AUTO) > 1)
    field_refuse(
        reader, request->grammar != NULL ? "grammar" : "response_format",
        dure_fail(DURE_INVALID_ARGUMENT,
                  "of 'response_format', 'grammar' and a 'tool_choice' that asks for a call only one can be met"));
}

// Of more choices than are wanted the best are known when all have ended, so that none can be streamed.
static void read_choices(field_reader *reader, generation_request *request) {
  request->n = (uint32_t)field_integer(reader, "n", 1, CHOICES_OF_PROMPT_MOST, 1);
  request->best_of = request->n;
  if (request->is_chat || field_value(reader, "best_of") == NULL) return;
  request->best_of = (uint32_t)field_integer(reader, "best_of", 1, CHOICES_OF_PROMPT_MOST, 1);
  if (request->best_of < request->n)
    field_refuse(
        reader, "best_of",
        dure_fail(DURE_INVALID_ARGUMENT, "'best_of' (%u) must be at least 'n' (%u)", request->best_of, request->n));
  if (request->best_of > request->n && request->is_streamed)
    field_refuse(reader, "best_of",
                 dure_fail(DURE_INVALID_ARGUMENT,
                           "'best_of' above 'n' cannot be streamed: the best are known when all have ended"));
}

static void read_model(field_reader *reader, generation_request *request) {
  const json_t *value = field_value(reader, "model");
  request->model = json_string_value(value);
  if (value != NULL && request->model == NULL)
    field_refuse(reader, "model", dure_fail(DURE_INVALID_ARGUMENT, "'model' must be a text"));
}

static void read_fields(field_reader *reader, generation_request *request) {
  read_model(reader, request);
  request->most_tokens = field_integer(reader, "max_tokens", 0, INT32_MAX, -1);
  request->ignores_ends = field_flag(reader, "ignore_eos", false);
  read_stream(reader, request);
  read_choices(reader, request);
  read_scores(reader, request);
  read_sampling(reader, request);
  read_stops(reader, request);
  read_biases(reader, request);
  read_form(reader, request);
  if (request->is_chat) {
    request->most_tokens = field_integer(reader, "max_completion_tokens", 0, INT32_MAX, request->most_tokens);
    if (request->most_tokens == 0)
      field_refuse(reader, "max_tokens", dure_fail(DURE_INVALID_ARGUMENT, "'max_tokens' must be at least 1"));
    messages_normalise(reader);
    return;
  }
  request->echoes = field_flag(reader, "echo", false);
  request->adds_special = field_flag(reader, "add_special_tokens", true);
  field_prompts(reader, "prompt", CHOICES_MOST / request->best_of, &request->prompts);
}

dure_status generation_request_read(json_t *body, bool is_chat, generation_request *out_request, char *out_field,
                                    size_t capacity) {
  memset(out_request, 0, sizeof(*out_request));
  out_request->body = body;
  out_request->is_chat = is_chat;
  field_reader reader = {.object = body};
  if (is_chat) {
    field_check_names(&reader, chat_rows, sizeof(chat_rows) / sizeof(chat_rows[0]));
  } else {
    field_check_names(&reader, completion_rows, sizeof(completion_rows) / sizeof(completion_rows[0]));
  }
  read_fields(&reader, out_request);
  snprintf(out_field, capacity, "%s", reader.field != NULL ? reader.field : "");
  return reader.status;
}

void generation_request_clear(generation_request *request) {
  prompt_set_clear(&request->prompts);
  free(request->rendered);
  dure_constraint_release(request->constraint);
  json_decref(request->body);
  memset(request, 0, sizeof(*request));
}
