// JSON schemas as grammars: which texts their grammars take, and what is refused by its name.
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/json_schema.h"
#include "tests/suite.h"
#include "tests/unit/constraints.h"

static dure_token_trie nothing = {.nodes = (dure_trie_node[1]){{0}}};  // a vocabulary of no tokens

// Single quotes stand for double ones.
static void quote(const char *text, char *out) {
  for (; *text != '\0'; text++) *out++ = *text == '\'' ? '"' : *text;
  *out = '\0';
}

static const struct {
  const char *schema, *taken[5], *refused[7];
} schemas[] = {
    {"{'type': 'boolean'}", {"true", "false"}, {"True", "null", ""}},
    {"{'type': 'null'}", {"null"}, {"0"}},
    {"{'type': 'string'}", {"''", "'a\\n\\u00e9'", "'\xed\x95\x9c'"}, {"'", "'a", "'\n'", "'\\x'", "'\\ud800'"}},
    {"{'type': 'string', 'minLength': 2, 'maxLength': 3}", {"'ab'", "'\xc3\xa9\\n\\u0041'"}, {"'a'", "'abcd'", "''"}},
    {"{'type': 'integer'}", {"0", "-12", "1234567890123456"}, {"1.5", "01", "-", "12345678901234567"}},
    {"{'type': 'number'}", {"0", "-1.25", "1e9", "2.5E-3"}, {"1.", ".5", "1e999", "+1"}},
    {"{'type': 'integer', 'minimum': 0, 'maximum': 255}", {"0", "9", "199", "255"}, {"256", "-1", "00", "300", "1000"}},
    {"{'type': 'integer', 'minimum': -12, 'exclusiveMaximum': 34}",
     {"-12", "-1", "0", "33", "10"},
     {"-13", "34", "-20", "100"}},
    {"{'type': 'integer', 'exclusiveMinimum': 99}", {"100", "999", "1234567"}, {"99", "0", "-100"}},
    {"{'type': 'integer', 'maximum': -5}", {"-5", "-10", "-999"}, {"-4", "0", "5"}},
    {"{'type': 'number', 'minimum': 0, 'maximum': 1}", {"0", "0.25", "1", "1.0"}, {"1.1", "-0.5", "2", "1e0"}},
    {"{'type': 'number', 'exclusiveMinimum': 0}", {"0.001", "1", "12.5"}, {"0", "0.0", "-1"}},
    {"{'type': 'number', 'minimum': -2, 'exclusiveMaximum': 3}",
     {"-2", "-1.5", "2.999", "0", "-0.1"},
     {"3", "3.0", "-2.1", "-3"}},
    {"{'enum': ['a', 1, null, [1, 'x'], 'q\\'']}", {"'a'", "1", "null", "[1,'x']"}, {"'b'", "2"}},
    {"{'type': 'string', 'enum': ['a', 1]}", {"'a'"}, {"1"}},
    {"{'const': {'a': 'b\\\\c'}}", {"{'a':'b\\\\c'}"}, {"{}"}},
    {"{'type': 'array', 'items': {'type': 'integer'}, 'minItems': 1, 'maxItems': 3}",
     {"[1]", "[1, 2,3]", "[ 1 ]"},
     {"[]", "[1,2,3,4]", "[1,]", "['a']"}},
    {"{'type': 'array', 'maxItems': 0}", {"[]"}, {"[1]"}},
    {"{'type': 'array', 'prefixItems': [{'type': 'integer'}, {'type': 'string'}], 'items': false}",
     {"[1, 'a']"},
     {"[1]", "[1,'a',2]", "['a',1]"}},
    {"{'type': 'array', 'prefixItems': [{'const': 1}], 'items': {'const': 2}, 'minItems': 2}",
     {"[1,2]", "[1,2,2]"},
     {"[1]", "[2,2]"}},
    {"{'type': 'object', 'properties': {'a': {'type': 'integer'}, 'b': {'type': 'string'}}, 'required': ['a', 'b'], "
     "'additionalProperties': false}",
     {"{'a': 1, 'b': 'x'}", "{\n  'a': 1,\n  'b': ''\n}"},
     {"{}", "{'a':1}", "{'b':'x','a':1}", "{'a':1,'b':'x','c':2}", "{'a':1,'b':'x',}"}},
    {"{'type': 'object', 'properties': {'a': {'const': 1}, 'b': {'const': 2}, 'c': {'const': 3}}, 'required': ['b']}",
     {"{'b':2}", "{'a':1,'b':2}", "{'b':2,'c':3}", "{'a':1,'b':2,'c':3}"},
     {"{}", "{'a':1}", "{'a':1,'c':3}", "{,'b':2}", "{'b':2,'d':4}"}},
    {"{'type': 'object', 'properties': {'ab': {'const': 1}, 'b]': {}}, 'additionalProperties': {'type': 'boolean'}}",
     {"{}", "{'ab':1}", "{'abc':true}", "{'a':true, '':false}", "{'ab':1, 'b]':0, 'b':true}"},
     {"{'ab':true}", "{'x':1}", "{'x':true,'ab':1}"}},
    {"{'type': 'object', 'additionalProperties': {'type': 'integer'}, 'minProperties': 1, 'maxProperties': 2}",
     {"{'a':1}", "{'a':1,'b':2}"},
     {"{}", "{'a':1,'b':2,'c':3}", "{'a':'x'}"}},
    {"{'type': 'object'}", {"{}", "{'a': [1, {'b': null}]}"}, {"[]", "{'a'}"}},
    {"{'type': ['string', 'null']}", {"'a'", "null"}, {"1"}},
    {"{}", {"1", "'a'", "[{}]", "{'a':true}"}, {"", "a"}},
    {"true", {"1", "{}"}, {"x"}},
    {"{'anyOf': [{'type': 'integer'}, {'const': 'x'}]}", {"5", "'x'"}, {"'y'", "true"}},
    {"{'type': 'object', 'properties': {'k': {}}, 'required': ['k'], 'oneOf': [{'properties': {'k': {'const': 1}}}, "
     "{'properties': {'k': {'const': 2}, 'z': {'const': 0}}, 'required': ['z']}]}",
     {"{'k':1}", "{'k':2,'z':0}"},
     {"{'k':2}", "{'k':3}"}},
    {"{'allOf': [{'properties': {'a': {'type': 'integer'}}, 'required': ['a']}, {'$ref': '#/$defs/b'}], "
     "'$defs': {'b': {'properties': {'b': {'type': 'null'}, 'a': {'minimum': 5}}, 'required': ['b']}}}",
     {"{'a':5,'b':null}", "{'a':77,'b':null}"},
     {"{'a':4,'b':null}", "{'a':5}", "{'b':null}"}},
    {"{'$ref': '#/$defs/tree', '$defs': {'tree': {'type': 'object', 'properties': {'v': {'type': 'integer'}, 'left': "
     "{'$ref': '#/$defs/tree'}, 'right': {'$ref': '#/$defs/tree'}}, 'required': ['v']}}}",
     {"{'v':1}", "{'v':1,'left':{'v':2,'right':{'v':3}}}"},
     {"{}", "{'v':1,'left':{}}", "{'v':1,'right':1}"}},
    {"{'type': 'array', 'items': {'$ref': '#'}}", {"[]", "[[],[[]]]"}, {"[1]", "["}},
    {"{'type': 'string', 'format': 'date-time'}", {"'2026-11-22T10:20:30Z'"}, {"'2026-13-01T00:00:00Z'", "'today'"}},
    {"{'type': 'string', 'format': 'ipv4'}", {"'127.0.0.1'", "'255.255.255.255'"}, {"'256.0.0.1'", "'1.2.3'"}},
    {"{'type': 'string', 'pattern': '^[a-c]{2}(x|\\\\d+)?$'}", {"'ab'", "'abx'", "'cc42'"}, {"'a'", "'abxx'", "'aby'"}},
    {"{'type': 'string', 'pattern': 'b+'}", {"'b'", "'xbby'"}, {"''", "'xy'"}},
    {"{'type': 'string', 'pattern': '^.[^a\\\\W]\\\\.$'}", {"'xb.'", "'\\'b.'"}, {"'xa.'", "'x-.'", "'xbc'"}},
    {"{'type': 'string', 'pattern': '^[\\\\\\\\\\\\n\\\"]*?(?:end)$'}", {"'end'", "'\\\\\\n\\'end'"}, {"'\\tend'"}},
    {"{'type': 'string', 'pattern': '^\\\\u00e9\\\\x41$'}",
     {"'\xc3\xa9"
      "A'"},
     {"'eA'"}},
};

START_TEST(texts_that_fit_a_schema_are_taken_and_no_others) {
  char schema[1024], text[256];
  dure_grammar *grammar = NULL;
  dure_constraint *constraint = NULL;
  quote(schemas[_i].schema, schema);
  require(dure_json_schema_parse(schema, strlen(schema), &grammar));
  require(dure_constraint_create(grammar, &nothing, &constraint));
  for (size_t i = 0; i < 5 && schemas[_i].taken[i] != NULL; i++) {
    quote(schemas[_i].taken[i], text);
    ck_assert_msg(takes(constraint, text), "%s: not taken: %s", schema, text);
  }
  for (size_t i = 0; i < 7 && schemas[_i].refused[i] != NULL; i++) {
    quote(schemas[_i].refused[i], text);
    ck_assert_msg(!takes(constraint, text), "%s: taken: %s", schema, text);
  }
  dure_constraint_release(constraint);
}
END_TEST

static const struct {
  const char *schema, *words;
  dure_code code;
} mistakes[] = {
    {"{'not': {}}", "schema, #: 'not' is not supported", DURE_UNSUPPORTED},
    {"{'properties': {'a': {'if': {}}}}", "schema, #/a: 'if' is not supported", DURE_UNSUPPORTED},
    {"{'type': 'array', 'uniqueItems': true}", "'uniqueItems'", DURE_UNSUPPORTED},
    {"{'type': 'array', 'contains': {}}", "'contains'", DURE_UNSUPPORTED},
    {"{'type': 'object', 'patternProperties': {}}", "'patternProperties'", DURE_UNSUPPORTED},
    {"{'type': 'integer', 'multipleOf': 5}", "'multipleOf'", DURE_UNSUPPORTED},
    {"{'type': 'number', 'minimum': 0.5}", "'minimum'", DURE_UNSUPPORTED},
    {"{'type': 'string', 'format': 'email'}", "'format' email", DURE_UNSUPPORTED},
    {"{'type': 'string', 'pattern': 'a(?=b)'}", "look-around", DURE_UNSUPPORTED},
    {"{'type': 'string', 'pattern': '\\\\bx'}", "this escape", DURE_UNSUPPORTED},
    {"{'type': 'string', 'pattern': '^a|b$'}", "anchor", DURE_UNSUPPORTED},
    {"{'type': 'string', 'pattern': 'a', 'minLength': 2}", "only one", DURE_UNSUPPORTED},
    {"{'$ref': 'http://example.org/x'}", "'$ref'", DURE_UNSUPPORTED},
    {"{'$ref': '#/$defs/none'}", "points to nothing", DURE_INVALID_ARGUMENT},
    {"{'$ref': '#'}", "circle", DURE_INVALID_ARGUMENT},
    {"{'anyOf': [{'$ref': '#'}, {'type': 'null'}]}", "deep", DURE_UNSUPPORTED},
    {"{'type': 'array', 'items': {'$ref': '#'}, 'minItems': 1}", "never ends", DURE_INVALID_ARGUMENT},
    {"{'allOf': [{'$ref': '#'}]}", "deep", DURE_UNSUPPORTED},
    {"{'type': 'object', 'required': ['a']}", "'required' names 'a'", DURE_UNSUPPORTED},
    {"{'type': 'text'}", "'type' text", DURE_INVALID_ARGUMENT},
    {"{'type': 'string', 'enum': [1]}", "listed values", DURE_INVALID_ARGUMENT},
    {"{'type': 'integer', 'minimum': 5, 'maximum': 4}", "no number", DURE_INVALID_ARGUMENT},
    {"{'type': 'string', 'minLength': 5, 'maxLength': 4}", "'maxLength'", DURE_INVALID_ARGUMENT},
    {"{'type': 'string', 'maxLength': 999999999}", "'maxLength'", DURE_INVALID_ARGUMENT},
    {"{'type': 'string', 'minLength': 262144}", "too large", DURE_INVALID_ARGUMENT},
    {"false", "no value fits", DURE_INVALID_ARGUMENT},
    {"[]", "must be an object", DURE_INVALID_ARGUMENT},
    {"{", "not JSON: line 1", DURE_INVALID_ARGUMENT},
};

START_TEST(what_is_not_supported_is_refused_by_its_name) {
  char schema[512];
  dure_grammar *grammar = NULL;
  quote(mistakes[_i].schema, schema);
  dure_status status = dure_json_schema_parse(schema, strlen(schema), &grammar);
  ck_assert_msg(dure_status_code(status) == mistakes[_i].code, "%s: %s", schema, dure_status_message(status));
  ck_assert_msg(strstr(dure_status_message(status), mistakes[_i].words) != NULL, "%s", dure_status_message(status));
  ck_assert_ptr_null(grammar);
  dure_status_free(status);
}
END_TEST

// Bounds of all kinds, against what they say.
START_TEST(every_integer_is_in_the_range_or_not) {
  static const int bounds[][2] = {{0, 0}, {0, 9}, {5, 17}, {99, 101}, {-7, 120}, {-113, -9}, {10, 1099}, {-1, 0}};
  for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
    char schema[128], text[16];
    dure_grammar *grammar = NULL;
    dure_constraint *constraint = NULL;
    snprintf(schema, sizeof(schema), "{\"type\": \"integer\", \"minimum\": %d, \"maximum\": %d}", bounds[i][0],
             bounds[i][1]);
    require(dure_json_schema_parse(schema, strlen(schema), &grammar));
    require(dure_constraint_create(grammar, &nothing, &constraint));
    for (int number = -1200; number <= 1200; number++) {
      snprintf(text, sizeof(text), "%d", number);
      ck_assert_msg(takes(constraint, text) == (number >= bounds[i][0] && number <= bounds[i][1]), "%s: %s", schema,
                    text);
    }
    dure_constraint_release(constraint);
  }
}
END_TEST

START_TEST(no_schema_is_any_object) {
  dure_grammar *grammar = NULL;
  dure_constraint *constraint = NULL;
  require(dure_json_schema_compile(NULL, &grammar));
  require(dure_constraint_create(grammar, &nothing, &constraint));
  ck_assert(takes(constraint, "{\"a\": [1, 2.5, {\"b\": \"c\"}], \"d\": null}"));
  ck_assert(!takes(constraint, "[1]"));
  dure_constraint_release(constraint);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("json_schema");
  TCase *group = tcase_create("json_schema");
  tcase_add_loop_test(group, texts_that_fit_a_schema_are_taken_and_no_others, 0,
                      (int)(sizeof(schemas) / sizeof(schemas[0])));
  tcase_add_loop_test(group, what_is_not_supported_is_refused_by_its_name, 0,
                      (int)(sizeof(mistakes) / sizeof(mistakes[0])));
  tcase_add_test(group, every_integer_is_in_the_range_or_not);
  tcase_add_test(group, no_schema_is_any_object);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_FORK_GETENV);
}
