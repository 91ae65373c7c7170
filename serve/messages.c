#include "serve/messages.h"

#include <string.h>

#include "data/bytes.h"

static dure_status append_part(const json_t *part, dure_bytes *text) {
  const char *type = json_string_value(json_object_get(part, "type"));
  const json_t *content = json_object_get(part, "text");
  if (type == NULL) return dure_fail(DURE_INVALID_ARGUMENT, "its parts must be objects with a \"type\"");
  if (strcmp(type, "text") != 0)
    return dure_fail(DURE_UNSUPPORTED, "it has a part of type '%.40s'; only \"text\" is supported", type);
  if (!json_is_string(content)) return dure_fail(DURE_INVALID_ARGUMENT, "a text part needs \"text\"");
  dure_bytes_append(text, json_string_value(content), json_string_length(content));
  return NULL;
}

static dure_status join_parts(json_t *message, const json_t *parts) {
  dure_bytes text = {0};
  dure_status status = NULL;
  const json_t *part = NULL;
  size_t i;
  json_array_foreach(parts, i, part) {
    status = append_part(part, &text);
    if (status != NULL) break;
  }
  if (status == NULL) status = dure_bytes_status(&text);
  if (status == NULL) json_object_set_new(message, "content", json_stringn(text.size > 0 ? text.data : "", text.size));
  dure_bytes_free(&text);
  return status;
}

// Templates know a call's arguments as an object; clients send its text.
static void open_arguments(json_t *message) {
  json_t *call = NULL;
  size_t i;
  json_array_foreach(json_object_get(message, "tool_calls"), i, call) {
    json_t *function = json_object_get(call, "function");
    const char *text = json_string_value(json_object_get(function, "arguments"));
    json_t *arguments = text != NULL ? json_loads(text, 0, NULL) : NULL;
    if (json_is_object(arguments)) json_object_set(function, "arguments", arguments);
    json_decref(arguments);
  }
}

static dure_status normalise(json_t *message) {
  const bool has_calls = json_array_size(json_object_get(message, "tool_calls")) > 0;
  if (has_calls && json_object_get(message, "content") == NULL) json_object_set_new(message, "content", json_null());
  const json_t *content = json_object_get(message, "content");
  const char *role = json_string_value(json_object_get(message, "role"));
  if (role == NULL) return dure_fail(DURE_INVALID_ARGUMENT, "it must be an object with a \"role\"");
  if (json_is_array(content)) {
    DURE_TRY(join_parts(message, content));
  } else if (!json_is_string(content) && !(json_is_null(content) && strcmp(role, "assistant") == 0)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "its \"content\" must be a text or a list of parts");
  }
  open_arguments(message);
  if (strcmp(role, "developer") == 0) json_object_set_new(message, "role", json_string("system"));
  return NULL;
}

void messages_normalise(field_reader *reader) {
  const json_t *messages = field_value(reader, "messages"), *extra = field_value(reader, "chat_template_kwargs");
  json_t *message = NULL;
  size_t i;
  if (extra != NULL && !json_is_object(extra))
    field_refuse(reader, "chat_template_kwargs",
                 dure_fail(DURE_INVALID_ARGUMENT, "'chat_template_kwargs' must be an object"));
  if (!json_is_array(messages) || json_array_size(messages) == 0)
    field_refuse(reader, "messages",
                 dure_fail(DURE_INVALID_ARGUMENT, "'messages' must be a list of at least one message"));
  json_array_foreach((json_t *)(size_t)messages, i, message) {
    dure_status status = normalise(message);
    if (status == NULL) continue;
    field_refuse(reader, "messages", dure_status_prefix(status, "message %zu", i));
    return;
  }
}

json_t *messages_variables(const json_t *body) {
  const json_t *extra = json_object_get(body, "chat_template_kwargs");
  json_t *variables = json_is_object(extra) ? json_copy((json_t *)(size_t)extra) : json_object();
  const json_t *choice = json_object_get(body, "tool_choice");
  json_t *tools = json_object_get(body, "tools");
  const bool is_none = json_is_string(choice) && strcmp(json_string_value(choice), "none") == 0;
  if (variables != NULL) json_object_set(variables, "messages", json_object_get(body, "messages"));
  if (variables != NULL && json_array_size(tools) > 0 && !is_none) json_object_set(variables, "tools", tools);
  return variables;
}
