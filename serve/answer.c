#include "serve/answer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/json_text.h"
#include "data/tokenizer_bytes.h"

// ---- tokens ------------------------------------------------------------------------------------------------------

static const char *token_bytes(const choice *c, uint32_t token, size_t *out_length) {
  const char *bytes = NULL;
  bool is_special = false;
  *out_length = 0;
  if (!dure_tokenizer_token(c->owner->server->served.tokenizer, token, &bytes, out_length, &is_special)) return "";
  return bytes;
}

// As OpenAI's completions have it: a token that is no whole characters is "bytes:\xe2\x80".
static json_t *token_name(const choice *c, uint32_t token) {
  size_t length = 0;
  const char *bytes = token_bytes(c, token, &length);
  if (dure_utf8_valid_prefix(bytes, length) == length) return json_stringn(bytes, length);
  dure_bytes text = {0};
  dure_bytes_append_text(&text, "bytes:");
  for (size_t i = 0; i < length; i++) {
    char escaped[8];
    snprintf(escaped, sizeof(escaped), "\\x%02x", (unsigned char)bytes[i]);
    dure_bytes_append_text(&text, escaped);
  }
  json_t *name = text.is_failed ? NULL : json_stringn(text.data, text.size);
  dure_bytes_free(&text);
  return name;
}

static json_t *log_probability(float value) {
  if (isnan(value)) return json_null();
  return json_real(value > -9999.0F ? (double)value : -9999.0);
}

// Pieces whose text is told with text up to `end`, or all when the choice has ended.
static uint32_t pieces_until(const choice *c, size_t end, bool is_last) {
  uint32_t count = c->pieces_told;
  while (count < c->piece_count && (is_last || c->pieces[count].start < end)) count++;
  return count;
}

// ---- completions -------------------------------------------------------------------------------------------------

static json_t *likeliest(const choice *c, uint32_t piece) {
  const scored_piece *p = &c->pieces[piece];
  if (isnan(p->token.log_probability)) return json_null();
  json_t *object = json_object();
  const dure_scored_token *others = c->alternatives + (size_t)piece * c->owner->request.alternatives;
  for (uint32_t i = 0; i < p->alternative_count; i++) {
    json_t *name = token_name(c, others[i].token);
    const char *key = json_string_value(name);
    if (key != NULL && json_object_get(object, key) == NULL)  // of two with one name the likelier
      json_object_set_new(object, key, log_probability(others[i].log_probability));
    json_decref(name);
  }
  json_t *own = token_name(c, p->token.token);  // there even when it is not among them
  if (own != NULL && json_object_get(object, json_string_value(own)) == NULL)
    json_object_set_new(object, json_string_value(own), log_probability(p->token.log_probability));
  json_decref(own);
  return object;
}

// The number of the character in which byte `end` of the text lies; it does not become less from call to call.
static size_t count_characters(choice *c, size_t end) {
  while (c->offset_bytes < end && c->offset_bytes < c->text.size) {
    const size_t next =
        c->offset_bytes + dure_json_text_character(c->text.data + c->offset_bytes, c->text.size - c->offset_bytes);
    if (next > end) break;
    c->offset_bytes = next;
    c->offset_points++;
  }
  return c->offset_points;
}

static json_t *completion_scores(choice *c, uint32_t end) {
  json_t *tokens = json_array(), *scores = json_array(), *top = json_array(), *offsets = json_array();
  for (uint32_t i = c->pieces_told; i < end; i++) {
    const scored_piece *p = &c->pieces[i];
    json_array_append_new(tokens, token_name(c, p->token.token));
    json_array_append_new(scores, log_probability(p->token.log_probability));
    json_array_append_new(top, likeliest(c, i));
    json_array_append_new(offsets, json_integer((json_int_t)count_characters(c, p->start)));
  }
  c->pieces_told = end;
  return json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", scores, "top_logprobs", top,
                   "text_offset", offsets);
}

// ---- chats -------------------------------------------------------------------------------------------------------

static json_t *chat_token(const choice *c, dure_scored_token token) {
  size_t length = 0;
  const char *bytes = token_bytes(c, token.token, &length);
  json_t *list = json_array();
  for (size_t i = 0; i < length; i++) json_array_append_new(list, json_integer((unsigned char)bytes[i]));
  return json_pack("{s:o, s:o, s:o}", "token", dure_json_text(bytes, length), "logprob",
                   log_probability(token.log_probability), "bytes", list);
}

static json_t *chat_scores(choice *c, uint32_t end) {
  json_t *content = json_array();
  for (uint32_t i = c->pieces_told; i < end; i++) {
    json_t *token = chat_token(c, c->pieces[i].token), *top = json_array();
    const dure_scored_token *others = c->alternatives + (size_t)i * c->owner->request.alternatives;
    for (uint32_t k = 0; k < c->pieces[i].alternative_count; k++) json_array_append_new(top, chat_token(c, others[k]));
    json_object_set_new(token, "top_logprobs", top);
    json_array_append_new(content, token);
  }
  c->pieces_told = end;
  return json_pack("{s:o, s:n}", "content", content, "refusal");
}

// ---- objects -----------------------------------------------------------------------------------------------------

static json_t *usage(const job *self) {
  return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", (json_int_t)self->prompt_tokens, "completion_tokens",
                   (json_int_t)self->generated_tokens, "total_tokens",
                   (json_int_t)self->prompt_tokens + (json_int_t)self->generated_tokens, "prompt_tokens_details",
                   "cached_tokens", (json_int_t)self->reused_tokens);
}

static json_t *object_of(const job *self, bool is_event) {
  const char *kind = !self->request.is_chat ? "text_completion"
                     : is_event             ? "chat.completion.chunk"
                                            : "chat.completion";
  return json_pack("{s:s, s:s, s:I, s:s, s:s}", "id", self->id, "object", kind, "created", (json_int_t)self->created,
                   "model", self->server->options.name, "system_fingerprint", "dure-" DURE_VERSION);
}

static json_t *scores_of(choice *c, uint32_t end) {
  if (!c->owner->request.with_scores) return json_null();
  return c->owner->request.is_chat ? chat_scores(c, end) : completion_scores(c, end);
}

static json_t *reason_of(const choice *c) {
  if (c->is_finished && c->has_calls) return json_string("tool_calls");
  return c->is_finished && c->finish_reason != NULL ? json_string(c->finish_reason) : json_null();
}

// The calls of a choice that has ended, and the bytes of its text before them; NULL: none.
static json_t *calls_of(choice *c, size_t *out_plain) {
  char id[64];
  snprintf(id, sizeof(id), "%s_%u", c->owner->id, c->index);
  json_t *calls =
      tools_find_calls(&c->owner->request.tools, c->text.size > 0 ? c->text.data : "", c->text.size, id, out_plain);
  c->has_calls = calls != NULL;
  while (calls != NULL && *out_plain > 0 && strchr(" \n\t\r", c->text.data[*out_plain - 1]) != NULL) --*out_plain;
  return calls;
}

static void add_event(choice *c, const char *key, json_t *value, json_t *scores, json_t *reason, dure_bytes *out) {
  json_t *object = object_of(c->owner, true);
  json_object_set_new(object, "choices",
                      json_pack("[{s:I, s:o, s:o, s:o}]", "index", (json_int_t)c->index, key, value, "logprobs", scores,
                                "finish_reason", reason));
  if (c->owner->request.with_usage) json_object_set_new(object, "usage", json_null());  // the last event has it
  dure_bytes_append_text(out, "data: ");
  bytes_append_json(out, object);
  dure_bytes_append_text(out, "\n\n");
}

void answer_event(choice *c, dure_bytes *out) {
  const bool is_chat = c->owner->request.is_chat;
  const tool_request *tools = &c->owner->request.tools;
  size_t end = c->text.size;
  json_t *calls = is_chat && c->is_finished && tools->choice != TOOLS_NONE ? calls_of(c, &end) : NULL;
  if (is_chat && !c->is_finished && end > 0) end = tools_plain_length(tools, c->text.data, end);
  if (end < c->told) end = c->told;
  const uint32_t pieces = pieces_until(c, end, c->is_finished);
  const bool has_news = end > c->told || (c->owner->request.with_scores && pieces > c->pieces_told);
  if (is_chat && !c->is_begun && (has_news || c->is_finished))
    add_event(c, "delta", json_pack("{s:s, s:s}", "role", "assistant", "content", ""), json_null(), json_null(), out);
  if (has_news || (c->is_finished && !is_chat)) {
    json_t *text = dure_json_text(end > c->told ? c->text.data + c->told : "", end - c->told);
    c->told = end;
    json_t *scores = scores_of(c, pieces);
    add_event(c, is_chat ? "delta" : "text", is_chat ? json_pack("{s:o}", "content", text) : text, scores,
              is_chat ? json_null() : reason_of(c), out);
  }
  for (size_t i = 0; i < json_array_size(calls); i++)
    json_object_set_new(json_array_get(calls, i), "index", json_integer((json_int_t)i));
  if (calls != NULL) add_event(c, "delta", json_pack("{s:o}", "tool_calls", calls), json_null(), json_null(), out);
  if (is_chat && c->is_finished) add_event(c, "delta", json_object(), json_null(), reason_of(c), out);
  c->is_begun = c->is_begun || has_news || c->is_finished;
}

void answer_end(job *self, dure_bytes *out) {
  if (self->request.with_usage) {
    json_t *object = object_of(self, true);
    json_object_set_new(object, "choices", json_array());
    json_object_set_new(object, "usage", usage(self));
    dure_bytes_append_text(out, "data: ");
    bytes_append_json(out, object);
    dure_bytes_append_text(out, "\n\n");
  }
  dure_bytes_append_text(out, "data: [DONE]\n\n");
}

// How likely a choice's tokens are on average: what best_of goes by. Of no tokens nothing is known: they come last.
static double mean_log_probability(const choice *c) {
  return c->seen > 0 && !isnan(c->log_probability) ? c->log_probability / c->seen : -(double)INFINITY;
}

static int compare_choices(const void *left, const void *right) {
  const choice *a = *(choice *const *)left, *b = *(choice *const *)right;
  const double x = mean_log_probability(a), y = mean_log_probability(b);
  if (x != y) return x > y ? -1 : 1;
  return a->index < b->index ? -1 : 1;
}

static json_t *whole_choice(choice *c, uint32_t index) {
  const bool is_chat = c->owner->request.is_chat;
  size_t end = c->text.size;
  json_t *calls = is_chat ? calls_of(c, &end) : NULL;
  json_t *text = calls != NULL && end == 0 ? json_null() : dure_json_text(c->text.size > 0 ? c->text.data : "", end);
  json_t *scores = scores_of(c, c->piece_count);
  if (is_chat) text = json_pack("{s:s, s:o, s:n}", "role", "assistant", "content", text, "refusal");
  if (calls != NULL) json_object_set_new(text, "tool_calls", calls);
  return json_pack("{s:I, s:o, s:o, s:o}", "index", (json_int_t)index, is_chat ? "message" : "text", text, "logprobs",
                   scores, "finish_reason", reason_of(c));
}

json_t *answer_whole(job *self) {
  const uint32_t n = self->request.n, best_of = self->request.best_of;
  json_t *object = object_of(self, false), *choices = json_array();
  for (uint32_t first = 0; first < self->choice_count; first += best_of) {
    choice *of_prompt[CHOICES_OF_PROMPT_MOST];
    for (uint32_t i = 0; i < best_of; i++) of_prompt[i] = &self->choices[first + i];
    if (best_of > n) qsort(of_prompt, best_of, sizeof(of_prompt[0]), compare_choices);
    for (uint32_t i = 0; i < n; i++)
      json_array_append_new(choices, whole_choice(of_prompt[i], first / best_of * n + i));
  }
  json_object_set_new(object, "choices", choices);
  json_object_set_new(object, "usage", usage(self));
  return object;
}
