// /v1/completions and /v1/chat/completions.
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"
#include "serve/encode.h"
#include "serve/endpoints.h"
#include "serve/messages.h"
#include "serve/scheduler.h"

enum { ECHOED_BYTES_MOST = 64 << 20 };  // prompts at the beginning of all choices of a request

// A chat's prompt: what its template makes of the messages, which says itself how a text begins.
static dure_status render(const dure_server *server, generation_request *request) {
  json_t *variables = messages_variables(request->body);
  size_t length = 0;
  dure_status status = dure_chat_render(server->served.chat, variables, &request->rendered, &length);
  json_decref(variables);
  DURE_TRY(status);
  request->prompts.prompts = calloc(1, sizeof(*request->prompts.prompts));
  if (request->prompts.prompts == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a prompt");
  request->prompts.count = 1;
  request->prompts.prompts[0] = (prompt){.text = request->rendered, .length = length};
  return NULL;
}

// Whether the model's template tells it of the tools: whether its prompt is another with them.
static dure_status check_tools(const dure_server *server, generation_request *request) {
  if (request->tools.choice == TOOLS_NONE) return NULL;
  json_t *variables = messages_variables(request->body);
  char *without = NULL;
  size_t length = 0;
  json_object_del(variables, "tools");
  dure_status status = dure_chat_render(server->served.chat, variables, &without, &length);
  const bool is_same = status == NULL && strcmp(without, request->rendered) == 0;
  json_decref(variables);
  tools_look_at_prompt(&request->tools, request->rendered, without);
  free(without);
  dure_status_free(status);  // without tools it may be refused
  return is_same ? dure_fail(DURE_UNSUPPORTED, "this model's chat template does not know 'tools'") : NULL;
}

// What the answer may be; false, and the reply, where that cannot be.
static bool constrain(dure_server *server, generation_request *request, http_reply *reply) {
  const char *field = "tools";
  dure_status status = check_tools(server, request);
  if (status == NULL) status = constraint_cache_apply(&server->constraints, request, &field);
  if (status == NULL) return true;
  if (dure_status_code(status) == DURE_CANCELLED) {
    http_reply_error(reply, 429, NULL, field, dure_status_message(status));
    dure_status_free(status);
  } else {
    http_reply_failure(reply, field, status);
  }
  return false;
}

// Of a prompt that will be cut the engine needs no more than shows that it is too long.
static void keep_end(const dure_server *server, dure_ids *tokens) {
  const size_t most = (size_t)server->context + 1;
  if (tokens->count <= most) return;
  uint32_t *kept = malloc(most * sizeof(*kept));
  if (kept == NULL) return;
  memcpy(kept, tokens->ids + tokens->count - most, most * sizeof(*kept));
  dure_ids_free(tokens);
  *tokens = (dure_ids){.ids = kept, .count = most, .capacity = most};
}

static dure_status encode_all(const dure_server *server, job *self) {
  generation_request *request = &self->request;
  for (size_t i = 0; i < request->prompts.count; i++) {
    prompt *one = &request->prompts.prompts[i];
    DURE_TRY(dure_status_prefix(encode_prompt(server, one, request->adds_special), "prompt %zu", i));
    self->prompt_tokens += (uint32_t)one->tokens.count;
    const bool is_whole = request->echoes && (request->with_scores || one->text == NULL);  // asked for, or told
    if (server->options.overflow == DURE_OVERFLOW_SHIFT && !is_whole) keep_end(server, &one->tokens);
  }
  return NULL;
}

// A refusal of prompts that cannot fit; the numbers are those that a client can change.
static dure_status check_lengths(const dure_server *server, const job *self) {
  const generation_request *request = &self->request;
  const uint32_t most = server->options.most_tokens;
  if (most > 0 && request->most_tokens > (int64_t)most)
    return dure_fail(DURE_INVALID_ARGUMENT, "%lld tokens are more than the %u that a request may generate here",
                     (long long)request->most_tokens, most);
  for (size_t i = 0; i < request->prompts.count; i++) {
    const uint64_t count = request->prompts.prompts[i].tokens.count;
    const dure_overflow overflow = server->options.overflow;
    const uint64_t least = request->most_tokens != 0,
                   asked = request->most_tokens > 0 ? (uint64_t)request->most_tokens : least;
    const bool is_scored = request->echoes && request->with_scores;  // as a whole
    const uint64_t wanted = overflow == DURE_OVERFLOW_REFUSE ? asked : least;
    if (overflow == DURE_OVERFLOW_SHIFT && !(is_scored && count > server->context)) continue;
    if (count + wanted > server->context)
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "this model's context holds %u tokens; %llu of prompt %zu and %llu to generate are more",
                       server->context, (unsigned long long)count, i, (unsigned long long)wanted);
  }
  return NULL;
}

static dure_status begin_choice(const dure_server *server, job *self, choice *c) {
  const generation_request *request = &self->request;
  const prompt *one = &request->prompts.prompts[c->prompt];
  if (request->echoes && one->text != NULL) dure_bytes_append(&c->text, one->text, one->length);
  if (request->echoes && one->text == NULL) {
    char *text = NULL;
    size_t length = 0;
    DURE_TRY(
        dure_tokenizer_decode(server->served.tokenizer, one->tokens.ids, one->tokens.count, false, &text, &length));
    dure_bytes_append(&c->text, text, length);
    free(text);
  }
  DURE_TRY(dure_bytes_status(&c->text));
  c->raw = c->text.size;
  return dure_completion_create(server->served.tokenizer, request->stops, request->stop_count, &c->completion);
}

static dure_status begin_choices(const dure_server *server, job *self) {
  generation_request *request = &self->request;
  const size_t count = request->prompts.count * request->best_of;
  if (!request->has_seed) request->sampling.seed = dure_os_nanoseconds() * UINT64_C(0x9e3779b97f4a7c15);
  self->choices = calloc(count, sizeof(*self->choices));
  if (self->choices == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %zu choices", count);
  self->choice_count = (uint32_t)count;
  size_t echoed = 0;
  for (uint32_t i = 0; i < self->choice_count; i++) {
    choice *c = &self->choices[i];
    c->owner = self;
    c->index = i;
    c->prompt = i / request->best_of;
    DURE_TRY(begin_choice(server, self, c));
    echoed += c->text.size;
    if (echoed > ECHOED_BYTES_MOST)
      return dure_fail(DURE_INVALID_ARGUMENT, "with 'echo' the choices begin with more than %d MiB of prompts together",
                       ECHOED_BYTES_MOST >> 20);
  }
  return NULL;
}

// All of the body but the tools, in which calls are looked for, has been read: what else a client sent must not wait
// with its request, since parsed it takes some hundred times its bytes.
static void let_body_go(generation_request *request) {
  json_t *tools = json_incref((json_t *)(uintptr_t)request->tools.tools);
  for (size_t i = 0; i < request->prompts.count; i++) {
    prompt *one = &request->prompts.prompts[i];
    *one = (prompt){.text = one->text != NULL ? "" : NULL, .tokens = one->tokens};
  }
  free(request->rendered);
  json_decref(request->body);
  request->rendered = NULL;
  request->body = tools;
  request->model = request->grammar = request->tools.name = NULL;
  request->schema = NULL;
  request->stop_count = 0;
}

static void submit(job *self, http_reply *reply, job **out_job) {
  int status_code = 0;
  dure_status status = scheduler_submit(self, &status_code);
  if (status == NULL) {
    *out_job = self;
    return;
  }
  http_reply_error(reply, status_code, NULL, NULL, dure_status_message(status));
  dure_status_free(status);
  job_release(self);
}

// What makes a job of a request that was read; the reply where it cannot be.
static bool prepare(dure_server *server, job *self, http_reply *reply) {
  generation_request *request = &self->request;
  if (!encode_is_model(server, request->model, reply)) return false;
  dure_status status = request->is_chat ? render(server, request) : NULL;
  if (status != NULL) {
    const bool has_template = dure_chat_has_template(server->served.chat);
    const bool is_refused = has_template && dure_status_code(status) == DURE_INVALID_ARGUMENT;
    http_reply_error(reply, is_refused ? 422 : has_template ? 500 : 400, NULL, "messages", dure_status_message(status));
    dure_status_free(status);
    return false;
  }
  if (!constrain(server, request, reply)) return false;
  status = encode_all(server, self);
  if (status == NULL) {
    status = check_lengths(server, self);
    if (status != NULL) {
      http_reply_error(reply, 400, "context_length_exceeded", request->is_chat ? "messages" : "prompt",
                       dure_status_message(status));
      dure_status_free(status);
      return false;
    }
    status = begin_choices(server, self);
  }
  if (status == NULL) {
    let_body_go(request);
    return true;
  }
  http_reply_failure(reply, request->is_chat ? "messages" : "prompt", status);
  return false;
}

static void generate(const http_request *http, bool is_chat, http_reply *reply, job **out_job) {
  char field[64] = "";
  json_t *body = NULL;
  dure_status status = body_parse(http->body, http->length, &body);
  job *self = status == NULL ? job_create(http->server, is_chat ? "chatcmpl-" : "cmpl-", http->turn) : NULL;
  if (self != NULL) {
    status = generation_request_read(body, is_chat, &self->request, field, sizeof(field));
  } else if (status == NULL) {
    json_decref(body);
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a request");
  }
  if (status != NULL) {
    http_reply_failure(reply, field, status);
    job_release(self);
  } else if (!prepare(http->server, self, reply)) {
    job_release(self);
  } else {
    submit(self, reply, out_job);
  }
}

void endpoint_completions(const http_request *request, http_reply *reply, job **out_job) {
  generate(request, false, reply, out_job);
}

void endpoint_chat(const http_request *request, http_reply *reply, job **out_job) {
  generate(request, true, reply, out_job);
}
