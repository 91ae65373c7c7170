// The same texts as `transformers` makes of chat templates and pieces of their language (tests/golden/templates, made
// by make_template_fixtures.py), and no way out of the limits. DURE_TEMPLATE_CASES names another file of such cases.
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/template.h"
#include "tests/suite.h"

enum { fixed_time = 1784592000 };

static FILE *open_cases(void) {
  char path[4096];
  const char *other = getenv("DURE_TEMPLATE_CASES"), *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(path), "%s/tests/golden/templates/cases.jsonl", source != NULL ? source : ".");
  FILE *file = fopen(other != NULL ? other : path, "rb");
  ck_assert_ptr_nonnull(file);
  return file;
}

static dure_status render(const char *name, const char *text, const json_t *variables, char **out_text,
                          size_t *out_length) {
  dure_template *parsed;
  *out_text = NULL;
  DURE_TRY(dure_template_parse(name, text, strlen(text), &parsed));
  dure_status status = dure_template_render(parsed, variables, fixed_time, NULL, out_text, out_length);
  dure_template_close(parsed);
  return status;
}

// Whether a case comes out as it should; else both are printed.
static bool check_case(const json_t *row) {
  const char *name = json_string_value(json_object_get(row, "name"));
  const char *text = json_string_value(json_object_get(row, "template"));
  const json_t *wanted = json_object_get(row, "text");
  char *found;
  size_t length = 0;
  dure_status status = render(name, text, json_object_get(row, "variables"), &found, &length);
  const bool is_same = wanted == NULL ? status != NULL
                                      : status == NULL && length == json_string_length(wanted) &&
                                            memcmp(found, json_string_value(wanted), length) == 0;
  if (!is_same) {
    fprintf(stderr, "%s\n  template: %s\n  wanted: %s\n  found:  %s%.*s\n", name, text,
            wanted != NULL ? json_string_value(wanted) : json_string_value(json_object_get(row, "error")),
            dure_status_message(status), (int)length, found != NULL ? found : "");
  }
  dure_status_free(status);
  free(found);
  return is_same;
}

START_TEST(templates_give_the_text_of_transformers) {
  FILE *file = open_cases();
  size_t count = 0, failed = 0;
  for (json_t *row; (row = json_loadf(file, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL)) != NULL; count++) {
    failed += !check_case(row);
    json_decref(row);
  }
  fclose(file);
  ck_assert_msg(failed == 0 && count > 0, "%zu of %zu cases differ", failed, count);
}
END_TEST

static void check_refused(const char *text, dure_code code, const char *words) {
  char *found = NULL;
  size_t length;
  json_t *variables = json_object();
  dure_status status = render("chat", text, variables, &found, &length);
  ck_assert_msg(dure_status_code(status) == code && strstr(dure_status_message(status), words) != NULL,
                "%.200s: expected %s with \"%s\"; found %s", text, dure_code_name(code), words,
                dure_status_message(status));
  dure_status_free(status);
  free(found);
  json_decref(variables);
}

START_TEST(mistakes_are_named_with_their_line) {
  check_refused("a\n{{ 1 | shuffle }}", DURE_UNSUPPORTED, "'chat', line 2: the filter \"shuffle\"");
  check_refused("{% include 'x' %}", DURE_UNSUPPORTED, "\"include\"");
  check_refused("{% extends 'x' %}", DURE_UNSUPPORTED, "\"extends\"");
  check_refused("{% for a in b recursive %}{% endfor %}", DURE_UNSUPPORTED, "recursive");
  check_refused("\n\n{% if true %}", DURE_CORRUPT, "line 3: expected elif");
  check_refused("{{ '' .format_map(1) }}", DURE_UNSUPPORTED, "\"format_map\"");
  check_refused("{{ raise_exception('only users') }}", DURE_INVALID_ARGUMENT, "says: only users");
  check_refused("{{ message.role }}", DURE_INVALID_ARGUMENT, "\"message\" is undefined");
  check_refused("\xFF", DURE_CORRUPT, "UTF-8");
}
END_TEST

// Text that a template repeats before and after its middle.
static void check_nested(const char *before, const char *middle, const char *after, size_t levels) {
  char *text = malloc(levels * (strlen(before) + strlen(after)) + strlen(middle) + 1), *at = text;
  ck_assert_ptr_nonnull(text);
  for (size_t i = 0; i < levels; i++) at = stpcpy(at, before);
  at = stpcpy(at, middle);
  for (size_t i = 0; i < levels; i++) at = stpcpy(at, after);
  char *found = NULL;
  size_t length;
  json_t *variables = json_object();
  dure_status status = render("deep", text, variables, &found, &length);
  ck_assert_msg(status != NULL, "%s... %zu times is rendered", before, levels);
  dure_status_free(status);
  free(found);
  json_decref(variables);
  free(text);
}

START_TEST(no_template_runs_away) {
  check_refused("{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
                DURE_INVALID_ARGUMENT, "");
  check_refused(
      "{% set ns = namespace(t='0123456789') %}{% for a in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
      DURE_INVALID_ARGUMENT, "");
  check_refused("{% macro m(a) %}{{ m(a + 1) }}{% endmacro %}{{ m(1) }}", DURE_INVALID_ARGUMENT, "levels deep");
  check_refused("{{ 'x' * 9999999999 }}", DURE_INVALID_ARGUMENT, "");
  check_refused("{{ 9 ** 99 }}", DURE_INVALID_ARGUMENT, "64 bits");
  check_nested("{% if true %}", "x", "{% endif %}", 5000);
  check_nested("{{ ", "1", " }}", 5000);
  check_nested("{{ (", "1", ") }}", 5000);
  check_nested("1 + ", "{{ 1 + ", "", 1);
  check_nested("{% set a = [a] %}{{ a }}", "", "", 5000);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("chat_template");
  TCase *cases = tcase_create("all");
  tcase_add_test(cases, templates_give_the_text_of_transformers);
  tcase_add_test(cases, mistakes_are_named_with_their_line);
  tcase_add_test(cases, no_template_runs_away);
  suite_add_tcase(suite, cases);
  return run_suite(suite, CK_FORK_GETENV);
}
