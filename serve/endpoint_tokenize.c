// /tokenize and /detokenize.
#include <stdlib.h>

#include "data/json_text.h"
#include "serve/endpoints.h"
#include "serve/messages.h"

typedef struct tokenize_call {
  const char *text;
  size_t length;
  char *rendered;  // owned
  bool adds_special, parses_special;
  dure_ids ids;
} tokenize_call;

// The text itself, or what the chat template makes of messages.
static dure_status read_text(const dure_server *server, field_reader *reader, tokenize_call *call) {
  const json_t *text = field_value(reader, "prompt");
  if (text == NULL) text = field_value(reader, "content");
  call->adds_special = field_flag(reader, "add_special_tokens", true);
  call->parses_special = field_flag(reader, "parse_special", true);
  const bool is_chat = field_value(reader, "messages") != NULL;
  if (is_chat) messages_normalise(reader);
  if (reader->status != NULL) return NULL;
  if (is_chat) {
    json_t *variables = messages_variables(reader->object);
    dure_status status = dure_chat_render(server->served.chat, variables, &call->rendered, &call->length);
    json_decref(variables);
    call->text = call->rendered;
    call->adds_special = false;
    return status;
  }
  if (!json_is_string(text))
    field_refuse(reader, "prompt", dure_fail(DURE_INVALID_ARGUMENT, "'prompt' must be a text (or give 'messages')"));
  call->text = json_string_value(text);
  call->length = json_string_length(text);
  return NULL;
}

static json_t *list_of(const dure_ids *ids) {
  json_t *list = json_array();
  for (size_t i = 0; i < ids->count; i++) json_array_append_new(list, json_integer(ids->ids[i]));
  return list;
}

static void answer_tokens(const dure_server *server, tokenize_call *call, http_reply *reply) {
  const dure_encode_options encoding = {.parse_special = call->parses_special, .add_special = call->adds_special};
  dure_status status = dure_tokenizer_encode(server->served.tokenizer, call->text, call->length, &encoding, &call->ids);
  if (status != NULL) {
    http_reply_failure(reply, NULL, status);
    return;
  }
  http_reply_json(reply, 200,
                  json_pack("{s:I, s:I, s:o}", "count", (json_int_t)call->ids.count, "max_model_len",
                            (json_int_t)server->context, "tokens", list_of(&call->ids)));
}

void endpoint_tokenize(const http_request *request, http_reply *reply, job **out_job) {
  static const field_row rows[] = {
      {"model", FIELD_IGNORED, NULL},
      {"prompt", FIELD_TAKEN, NULL},
      {"content", FIELD_TAKEN, NULL},
      {"messages", FIELD_TAKEN, NULL},
      {"add_special_tokens", FIELD_TAKEN, NULL},
      {"parse_special", FIELD_TAKEN, NULL},
      {"chat_template_kwargs", FIELD_TAKEN, NULL},
  };
  (void)out_job;
  json_t *body = NULL;
  tokenize_call call = {0};
  dure_status status = body_parse(request->body, request->length, &body);
  field_reader reader = {.object = body};
  if (status == NULL) field_check_names(&reader, rows, sizeof(rows) / sizeof(rows[0]));
  if (status == NULL) status = read_text(request->server, &reader, &call);
  status = dure_status_join(status, reader.status);
  if (status != NULL) {
    http_reply_failure(reply, reader.field, status);
  } else {
    answer_tokens(request->server, &call, reply);
  }
  free(call.rendered);
  dure_ids_free(&call.ids);
  json_decref(body);
}

static dure_status detokenize(const dure_server *server, const prompt_set *list, http_reply *reply) {
  char *text = NULL;
  size_t length = 0;
  const dure_ids *ids = &list->prompts[0].tokens;
  DURE_TRY(dure_tokenizer_decode(server->served.tokenizer, ids->ids, ids->count, false, &text, &length));
  http_reply_json(reply, 200, json_pack("{s:o}", "prompt", dure_json_text(text, length)));
  free(text);
  return NULL;
}

void endpoint_detokenize(const http_request *request, http_reply *reply, job **out_job) {
  static const field_row rows[] = {{"model", FIELD_IGNORED, NULL}, {"tokens", FIELD_TAKEN, NULL}};
  (void)out_job;
  json_t *body = NULL;
  prompt_set list = {0};
  dure_status status = body_parse(request->body, request->length, &body);
  field_reader reader = {.object = body};
  if (status == NULL) {
    field_check_names(&reader, rows, sizeof(rows) / sizeof(rows[0]));
    field_prompts(&reader, "tokens", 1, &list);
    if (reader.status == NULL && list.prompts[0].text != NULL)
      field_refuse(&reader, "tokens", dure_fail(DURE_INVALID_ARGUMENT, "'tokens' must be a list of token ids"));
    status = reader.status;
  }
  if (status == NULL) status = detokenize(request->server, &list, reply);
  if (status != NULL) http_reply_failure(reply, reader.field, status);
  prompt_set_clear(&list);
  json_decref(body);
}
