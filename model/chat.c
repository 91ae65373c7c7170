#include "model/chat.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/template.h"
#include "model/companions.h"
#include "model/config.h"

enum { ends_most = 32 };

struct dure_chat {
  dure_template *plain, *with_tools;  // NULL: none
  json_t *tokens;                     // "bos_token": its text, ...
  uint32_t ends[ends_most];
  size_t end_count;
};

static void add_end(dure_chat *chat, int64_t id) {
  if (id < 0 || id > UINT32_MAX || chat->end_count == ends_most) return;
  for (size_t i = 0; i < chat->end_count; i++) {
    if (chat->ends[i] == id) return;
  }
  chat->ends[chat->end_count++] = (uint32_t)id;
}

// One id, or a list of them.
static void add_ends(dure_chat *chat, const json_t *ids) {
  const json_t *id = NULL;
  size_t i;
  if (json_is_integer(ids)) add_end(chat, json_integer_value(ids));
  json_array_foreach(ids, i, id) {
    if (json_is_integer(id)) add_end(chat, json_integer_value(id));
  }
}

static dure_status find_ends(dure_chat *chat, const char *model_path, const dure_companions *companions,
                             const dure_tokenizer *tokenizer) {
  const char *text = dure_companions_token(companions, "eos_token");
  uint32_t id;
  dure_model_config config;
  add_ends(chat, json_object_get(companions->generation_config, "eos_token_id"));
  if (text != NULL && dure_tokenizer_find(tokenizer, text, &id)) add_end(chat, id);
  if (dure_tokenizer_end_of_text(tokenizer, &id)) add_end(chat, id);
  DURE_TRY(dure_model_config_read(model_path, &config));
  add_end(chat, config.end_id);
  add_ends(chat, json_object_get(config.source, "eos_token_id"));
  dure_model_config_clear(&config);
  return NULL;
}

static dure_status open_templates(dure_chat *chat, const dure_companions *companions) {
  static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                      "pad_token", "cls_token", "mask_token"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    const char *text = dure_companions_token(companions, names[i]);
    if (text != NULL) json_object_set_new(chat->tokens, names[i], json_string(text));
  }
  const char *plain = companions->chat_template, *with_tools = companions->tool_template;
  if (plain != NULL) DURE_TRY(dure_template_parse("chat template", plain, strlen(plain), &chat->plain));
  if (with_tools == NULL) return NULL;
  return dure_template_parse("chat template for tools", with_tools, strlen(with_tools), &chat->with_tools);
}

dure_status dure_chat_open(const char *model_path, const dure_tokenizer *tokenizer, dure_chat **out_chat) {
  *out_chat = NULL;
  dure_companions companions;
  DURE_TRY(dure_companions_read(model_path, &companions));
  dure_chat *chat = calloc(1, sizeof(*chat));
  dure_status status = NULL;
  if (chat == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening the chat of '%s'", model_path);
  if (status == NULL) {
    chat->tokens = json_object();
    status = open_templates(chat, &companions);
  }
  if (status == NULL) status = find_ends(chat, model_path, &companions, tokenizer);
  dure_companions_clear(&companions);
  if (status != NULL) {
    dure_chat_close(chat);
    return status;
  }
  *out_chat = chat;
  return NULL;
}

void dure_chat_close(dure_chat *chat) {
  if (chat == NULL) return;
  dure_template_close(chat->plain);
  dure_template_close(chat->with_tools);
  json_decref(chat->tokens);
  free(chat);
}

bool dure_chat_has_template(const dure_chat *chat) { return chat->plain != NULL || chat->with_tools != NULL; }

const uint32_t *dure_chat_ends(const dure_chat *chat, size_t *out_count) {
  *out_count = chat->end_count;
  return chat->ends;
}

static dure_status check_messages(const json_t *messages) {
  const json_t *message = NULL;
  size_t i;
  if (!json_is_array(messages) || json_array_size(messages) == 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "\"messages\" must be a list of at least one message");
  json_array_foreach(messages, i, message) {
    if (!json_is_string(json_object_get(message, "role")))
      return dure_fail(DURE_INVALID_ARGUMENT, "message %zu must be an object with a \"role\"", i);
  }
  return NULL;
}

dure_status dure_chat_render(const dure_chat *chat, const json_t *request, char **out_text, size_t *out_length) {
  static const char *const given[] = {"tools", "documents"};
  *out_text = NULL;
  *out_length = 0;
  if (!dure_chat_has_template(chat))
    return dure_fail(DURE_NOT_FOUND,
                     "the model has no chat template (chat_template.jinja, or \"chat_template\" in "
                     "tokenizer_config.json); without one only plain prompts can be continued");
  DURE_TRY(check_messages(json_object_get(request, "messages")));
  json_t *variables = json_copy((json_t *)(uintptr_t)request);
  if (variables == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a chat");
  for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
    if (json_object_get(variables, given[i]) == NULL) json_object_set_new(variables, given[i], json_null());
  }
  if (json_object_get(variables, "add_generation_prompt") == NULL)
    json_object_set_new(variables, "add_generation_prompt", json_true());
  json_object_update_missing(variables, chat->tokens);
  const bool has_tools = json_array_size(json_object_get(variables, "tools")) > 0;
  const dure_template *chosen =
      (has_tools && chat->with_tools != NULL) || chat->plain == NULL ? chat->with_tools : chat->plain;
  dure_status status = dure_template_render(chosen, variables, -1, NULL, out_text, out_length);
  json_decref(variables);
  return status;
}

dure_status dure_chat_ask(const dure_chat *chat, const char *system, const char *question, size_t question_length,
                          char **out_text, size_t *out_length) {
  *out_text = NULL;
  *out_length = 0;
  json_t *messages = json_array(), *text = json_stringn(question, question_length);
  if (text == NULL) {
    json_decref(messages);
    return dure_fail(DURE_INVALID_ARGUMENT, "the question is not UTF-8");
  }
  if (system != NULL) json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", system));
  json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "user", "content", text));
  json_t *request = json_pack("{s:o}", "messages", messages);
  dure_status status = dure_chat_render(chat, request, out_text, out_length);
  json_decref(request);
  return status;
}
