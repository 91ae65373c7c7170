#include "serve/prompts.h"

#include <stdlib.h>

static dure_status read_ids(const json_t *list, dure_ids *out_ids) {
  const json_t *id = NULL;
  size_t i;
  DURE_TRY(dure_ids_reserve(out_ids, json_array_size(list) + 1));
  json_array_foreach(list, i, id) {
    const json_int_t value = json_integer_value(id);
    if (!json_is_integer(id) || value < 0 || value > UINT32_MAX)
      return dure_fail(DURE_INVALID_ARGUMENT, "element %zu of its ids is not a token id", i);
    out_ids->ids[out_ids->count++] = (uint32_t)value;
  }
  return out_ids->count > 0 ? NULL : dure_fail(DURE_INVALID_ARGUMENT, "a list of ids is empty");
}

static dure_status read_one(const json_t *value, prompt *out_prompt) {
  if (json_is_array(value)) return read_ids(value, &out_prompt->tokens);
  if (!json_is_string(value))
    return dure_fail(DURE_INVALID_ARGUMENT, "expected a text, a list of texts, token ids, or lists of token ids");
  out_prompt->text = json_string_value(value);
  out_prompt->length = json_string_length(value);
  return NULL;
}

static dure_status read_all(const json_t *value, size_t most, prompt_set *out_set) {
  const json_t *first = json_array_get(value, 0);
  const bool is_many = json_is_array(value) && !json_is_integer(first);
  const size_t count = is_many ? json_array_size(value) : 1;
  if (count == 0) return dure_fail(DURE_INVALID_ARGUMENT, "the list is empty");
  if (count > most)
    return dure_fail(DURE_INVALID_ARGUMENT, "%zu texts are more than the %zu that are taken", count, most);
  out_set->prompts = calloc(count, sizeof(*out_set->prompts));
  if (out_set->prompts == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %zu prompts", count);
  out_set->count = count;
  for (size_t i = 0; i < count; i++) {
    const json_t *one = is_many ? json_array_get(value, i) : value;
    dure_status status = json_typeof(is_many ? first : one) == json_typeof(one)
                             ? read_one(one, &out_set->prompts[i])
                             : dure_fail(DURE_INVALID_ARGUMENT, "texts and token ids are mixed");
    if (status != NULL) return is_many ? dure_status_prefix(status, "element %zu", i) : status;
  }
  return NULL;
}

void field_prompts(field_reader *reader, const char *name, size_t most, prompt_set *out_set) {
  *out_set = (prompt_set){0};
  const json_t *value = field_value(reader, name);
  dure_status status =
      value != NULL ? read_all(value, most, out_set) : dure_fail(DURE_INVALID_ARGUMENT, "it is missing");
  field_refuse(reader, name, dure_status_prefix(status, "'%s'", name));
}

void prompt_set_clear(prompt_set *list) {
  for (size_t i = 0; i < list->count; i++) dure_ids_free(&list->prompts[i].tokens);
  free(list->prompts);
  *list = (prompt_set){0};
}
