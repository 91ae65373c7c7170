#include "serve/tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/bytes.h"
#include "model/json_schema.h"

enum { TOOLS_MOST = 128 };
static const char opening[] = "<tool_call>", closing[] = "</tool_call>";

// ---- the request -------------------------------------------------------------------------------------------------

static const json_t *function_of(const json_t *tool) {
  const char *type = json_string_value(json_object_get(tool, "type"));
  return type != NULL && strcmp(type, "function") == 0 ? json_object_get(tool, "function") : NULL;
}

static const char *name_of(const json_t *tool) { return json_string_value(json_object_get(function_of(tool), "name")); }

static const json_t *find_tool(const tool_request *request, const char *name) {
  for (size_t i = 0; i < json_array_size(request->tools) && name != NULL; i++) {
    const json_t *tool = json_array_get(request->tools, i);
    if (strcmp(name_of(tool), name) == 0) return tool;
  }
  return NULL;
}

static dure_status check_tools(const json_t *tools) {
  if (!json_is_array(tools) || json_array_size(tools) > TOOLS_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "'tools' must be a list of at most %d tools", TOOLS_MOST);
  for (size_t i = 0; i < json_array_size(tools); i++) {
    const json_t *function = function_of(json_array_get(tools, i));
    const json_t *parameters = json_object_get(function, "parameters");
    const char *name = json_string_value(json_object_get(function, "name"));
    if (name == NULL || name[0] == '\0')
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "tool %zu must be {\"type\": \"function\", \"function\": {\"name\": ...}}", i);
    if (parameters != NULL && !json_is_object(parameters) && !json_is_null(parameters))
      return dure_fail(DURE_INVALID_ARGUMENT, "'parameters' of tool %zu must be a schema", i);
  }
  return NULL;
}

static dure_status read_choice(const json_t *choice, tool_request *request) {
  static const char *const names[] = {"none", "auto", "required"};
  const char *text = json_string_value(choice);
  if (choice == NULL) return NULL;
  for (int i = 0; i < 3 && text != NULL; i++) {
    if (strcmp(names[i], text) != 0) continue;
    request->choice = (tool_choice)i;
    return NULL;
  }
  request->name = name_of(choice);
  request->choice = TOOLS_NAMED;
  if (request->name == NULL)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "'tool_choice' must be \"none\", \"auto\", \"required\" or {\"type\": "
                     "\"function\", \"function\": {\"name\": ...}}");
  if (find_tool(request, request->name) == NULL)
    return dure_fail(DURE_INVALID_ARGUMENT, "'tool_choice' names '%.60s', which is none of the tools", request->name);
  return NULL;
}

void tools_read(field_reader *reader, tool_request *out_request) {
  const json_t *tools = field_value(reader, "tools");
  *out_request = (tool_request){.arguments_key = "arguments"};
  dure_status status = tools != NULL ? check_tools(tools) : NULL;
  if (status != NULL) {
    field_refuse(reader, "tools", status);
    return;
  }
  const bool has_tools = json_array_size(tools) > 0;
  out_request->tools = has_tools ? tools : NULL;
  out_request->choice = has_tools ? TOOLS_AUTO : TOOLS_NONE;
  field_refuse(reader, "tool_choice", read_choice(field_value(reader, "tool_choice"), out_request));
  if (!has_tools && out_request->choice > TOOLS_AUTO)
    field_refuse(reader, "tool_choice", dure_fail(DURE_INVALID_ARGUMENT, "'tool_choice' needs 'tools'"));
  if (!has_tools) out_request->choice = TOOLS_NONE;
}

static size_t count_of(const char *text, const char *part) {
  size_t count = 0;
  for (const char *found = strstr(text, part); found != NULL; found = strstr(found + 1, part)) count++;
  return count;
}

void tools_look_at_prompt(tool_request *request, const char *prompt, const char *without) {
  request->has_tags = count_of(prompt, opening) > (without != NULL ? count_of(without, opening) : 0);
  request->arguments_key = strstr(prompt, "\"parameters\": dictionary") != NULL ? "parameters" : "arguments";
}

// ---- the grammar of a call ---------------------------------------------------------------------------------------

static json_t *call_schema(const tool_request *request, const json_t *tool) {
  json_t *parameters = json_object_get(function_of(tool), "parameters");
  parameters = json_is_object(parameters) ? json_copy(parameters)
                                          : json_pack("{s:s, s:b}", "type", "object", "additionalProperties", 0);
  json_object_set_new(parameters, "$id", json_string("parameters"));  // its references begin there
  return json_pack("{s:s, s:{s:{s:s}, s:o}, s:[s, s], s:b}", "type", "object", "properties", "name", "const",
                   name_of(tool), request->arguments_key, parameters, "required", "name", request->arguments_key,
                   "additionalProperties", 0);
}

dure_status tools_write_grammar(const tool_request *request, char **out_text) {
  json_t *calls = json_array(), *schema = json_pack("{s:o}", "anyOf", calls);
  *out_text = NULL;
  for (size_t i = 0; i < json_array_size(request->tools); i++) {
    const json_t *tool = json_array_get(request->tools, i);
    if (request->choice == TOOLS_NAMED && strcmp(name_of(tool), request->name) != 0) continue;
    json_array_append_new(calls, call_schema(request, tool));
  }
  dure_status status = schema == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory for tools")
                       : request->has_tags
                           ? dure_json_schema_text(schema, "\"<tool_call>\\n\"", "\"\\n</tool_call>\"", out_text)
                           : dure_json_schema_text(schema, "", "", out_text);
  json_decref(schema);
  return status;
}

// ---- the answer --------------------------------------------------------------------------------------------------

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

// Where `word` begins, or what may become one at the end; `length` where there is neither.
static size_t find_word(const char *text, size_t length, const char *word, bool also_begun) {
  const size_t size = strlen(word);
  for (size_t i = 0; i < length; i++) {
    const size_t left = length - i < size ? length - i : size;
    if (memcmp(text + i, word, left) == 0 && (left == size || also_begun)) return i;
  }
  return length;
}

size_t tools_plain_length(const tool_request *request, const char *text, size_t length) {
  size_t begin = 0;
  if (request->choice == TOOLS_NONE) return length;
  if (request->choice != TOOLS_AUTO) return 0;
  while (begin < length && is_blank(text[begin])) begin++;
  if (begin == length || text[begin] == '{' || text[begin] == '[') return 0;  // perhaps a call without tags
  return find_word(text, length, opening, true);
}

// One call, where the object is one of a known tool.
static bool add_call(const tool_request *request, const json_t *object, const char *id, json_t *calls) {
  const json_t *name = json_object_get(object, "name"), *arguments = json_object_get(object, "arguments");
  char number[96];
  if (arguments == NULL) arguments = json_object_get(object, "parameters");
  if (arguments == NULL || find_tool(request, json_string_value(name)) == NULL) return false;
  char *text = json_is_string(arguments) ? strdup(json_string_value(arguments))
                                         : json_dumps(arguments, JSON_COMPACT | JSON_ENCODE_ANY);
  if (text == NULL) return false;
  snprintf(number, sizeof(number), "call_%s_%zu", id, json_array_size(calls));
  json_array_append_new(calls, json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", number, "type", "function", "function",
                                         "name", json_string_value(name), "arguments", text));
  free(text);
  return true;
}

// An object, or a list of them.
static bool add_calls(const tool_request *request, const char *text, size_t length, const char *id, json_t *calls) {
  json_error_t error;
  json_t *value = json_loadb(text, length, 0, &error);
  bool is_call = value != NULL;
  const size_t count = json_is_array(value) ? json_array_size(value) : 1;
  for (size_t i = 0; i < count && is_call; i++)
    is_call = add_call(request, json_is_array(value) ? json_array_get(value, i) : value, id, calls);
  json_decref(value);
  return is_call && count > 0;
}

json_t *tools_find_calls(const tool_request *request, const char *text, size_t length, const char *id,
                         size_t *out_plain_length) {
  json_t *calls = json_array();
  bool is_good = calls != NULL;
  *out_plain_length = length;
  if (request->choice == TOOLS_NONE || !is_good) {
    json_decref(calls);
    return NULL;
  }
  size_t begin = find_word(text, length, opening, false);
  *out_plain_length = begin;
  if (begin == length) {
    *out_plain_length = 0;
    is_good = add_calls(request, text, length, id, calls);
  }
  while (begin < length && is_good) {
    begin += strlen(opening);
    const size_t size = find_word(text + begin, length - begin, closing, false);
    is_good = add_calls(request, text + begin, size, id, calls);
    begin += size;
    begin += find_word(text + begin, length - begin, opening, false);
  }
  if (is_good && json_array_size(calls) > 0) return calls;
  json_decref(calls);
  *out_plain_length = length;
  return NULL;
}
