// Grammars: which texts they take, which grammars are refused and how, and masks over a vocabulary.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/suite.h"
#include "tests/unit/constraints.h"

static dure_tokenizer *tokenizer;  // of bytes
static dure_token_trie *trie;

static void open_vocabulary(void) {
  char path[4096];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(path), "%s/tests/golden/gpt2/even", source != NULL ? source : ".");
  require(dure_tokenizer_open(path, &tokenizer));
  require(dure_token_trie_create(tokenizer, &trie));
}

static void close_vocabulary(void) {
  dure_token_trie_destroy(trie);
  dure_tokenizer_close(tokenizer);
}

typedef struct language {
  const char *grammar;
  const char *taken[6], *refused[6];
} language;

static const language languages[] = {
    {"root ::= \"yes\" | \"no\"", {"yes", "no"}, {"", "y", "yess", "yesno"}},
    {"root ::= [a-c]+ [^a-c\\n]?  # all others once", {"a", "abcx", "ab-"}, {"x", "axx", "a\n"}},
    {"root ::= \"a\"{3} \"b\"{0,2} \"c\"{1,}", {"aaac", "aaabbccc"}, {"aac", "aaabbbc", "aaabb"}},
    {"root ::= (\"a\" | \"bb\")* end end ::= \".\"?", {"", "abba", "bb."}, {"b", "ab", ".."}},
    {"root ::= \"(\" root* \")\"", {"()", "(()())", "((((()))))"}, {"", "(", "())", "()()"}},
    {"root ::= item (\",\" item)*\nitem ::= [0-9]+\n  | \"x\"", {"1,x,23", "x"}, {",", "1,", "1x"}},
    {"root ::= [\\u00e0-\\u00ff\\uac00-\\ud7a3]+", {"\xc3\xa9", "\xed\x95\x9c\xea\xb5\xad"}, {"a", "\xc3", "\xc2\xa9"}},
    {"root ::= .", {"a", "\xf0\x9f\x98\x80", "\n"}, {"", "ab", "\xed\xa0\x80", "\xff", "\xc0\x80", "\xf4\x90\x80\x80"}},
    {"root ::= \"\\x41\\u0042\\U00000043\\\"\\\\\\n\"", {"ABC\"\\\n"}, {"ABC"}},
    {"root ::= [\\]\\-^]+ [-a]", {"]-^a", "^-"}, {"a", "]"}},
    {"root ::= as as ::= \"a\" as |", {"", "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, {"b", "ab"}},
    {"root ::= (x*)* \"!\" x ::= \"x\"?", {"!", "xxx!"}, {"x", "y!"}},
    {"root ::= a | b a ::= \"z\" a \"1\" | \"z1\" b ::= \"z\" b \"2\" | \"z2\"", {"zz11", "zzz222"}, {"zz12", "zz1"}},
    {"root ::= (\"a\"{0,2} \"b\"){2} \"\"", {"bb", "aabab"}, {"b", "aaabb", "bbb"}},
    {"root ::= \"a\"{0} \"b\"", {"b"}, {"ab"}},
};

START_TEST(texts_of_the_language_are_taken_and_no_others) {
  const language *one = &languages[_i];
  dure_constraint *constraint = constraint_of(one->grammar, trie);
  for (size_t i = 0; i < 6; i++) {
    if (i < 6 && one->taken[i] != NULL) ck_assert_msg(takes(constraint, one->taken[i]), "not taken: %s", one->taken[i]);
    if (one->refused[i] != NULL) ck_assert_msg(!takes(constraint, one->refused[i]), "taken: %s", one->refused[i]);
  }
  dure_constraint_release(constraint);
}
END_TEST

static const struct {
  const char *grammar, *words;
} mistakes[] = {
    {"", "no rule 'root'"},
    {"start ::= \"a\"", "no rule 'root'"},
    {"root ::= other", "line 1, column 10: there is no rule 'other'"},
    {"root ::= \"a\n", "no closing \""},
    {"root ::= [a", "no closing ]"},
    {"root ::= []", "no character is in this class"},
    {"root ::= [^\\x00-\\ud7ff\\ue000-\\U0010ffff]", "no characters but surrogates"},
    {"root ::= [b-a]", "ends before it begins"},
    {"root ::= (\"a\"", "no closing )"},
    {"root ::= \"a\")", "no group that ) would close"},
    {"root ::= \"\\q\"", "no such escape"},
    {"root ::= \"\\ud800\"", "no character of Unicode"},
    {"root ::= \"\xff\"", "not UTF-8"},
    {"root ::= \"a\"{2,1}", "less than at least"},
    {"root ::= \"a\"{", "a number of repetitions"},
    {"root ::= \"a\"{99999999}", "repetitions are not possible"},
    {"root ::= * \"a\"", "a text, a class, a group or a name"},
    {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: there are two rules 'root'"},
    {"root ::= root \"a\" | \"a\"", "left recursion"},
    {"root ::= a\na ::= \"\" b* c\nb ::= \"b\"\nc ::= root", "left recursion"},
    {"root ::= (a?) root a ::= \"a\"", "left recursion"},
    {"root ::= \"a\" root", "never ends"},
    {"root ::= \"a\" | b b ::= \"b\" c c ::= \"c\" b", "never ends"},
    {"root ::= (((\"a\"{1000}){1000}){1000}){1000}", "too large"},
    {"root ::= (((\"\"{9999}){9999}){9999}){9999}", "too large"},
};

START_TEST(a_mistake_is_refused_where_it_is) {
  dure_grammar *grammar = NULL;
  dure_status status = dure_grammar_parse(mistakes[_i].grammar, strlen(mistakes[_i].grammar), &grammar);
  ck_assert_ptr_null(grammar);
  ck_assert_int_eq(dure_status_code(status), DURE_INVALID_ARGUMENT);
  ck_assert_msg(strstr(dure_status_message(status), mistakes[_i].words) != NULL, "%s", dure_status_message(status));
  dure_status_free(status);
}
END_TEST

START_TEST(what_lies_too_deep_is_refused) {
  char text[4096] = "root ::= ";
  dure_grammar *grammar = NULL;
  for (int i = 0; i < 1000; i++) strcat(text, "(");
  dure_status status = dure_grammar_parse(text, strlen(text), &grammar);
  ck_assert_msg(strstr(dure_status_message(status), "deep") != NULL, "%s", dure_status_message(status));
  dure_status_free(status);
  strcpy(text, "root ::= \"a\"");
  for (int i = 0; i < 1000; i++) strcat(text, "*");
  status = dure_grammar_parse(text, strlen(text), &grammar);
  ck_assert_msg(strstr(dure_status_message(status), "deep") != NULL, "%s", dure_status_message(status));
  dure_status_free(status);
}
END_TEST

// A bit for each token that goes on, found by trying them.
START_TEST(a_mask_has_the_tokens_that_fit_and_no_others) {
  const language *one = &languages[_i];
  dure_constraint *constraint = constraint_of(one->grammar, trie);
  const uint32_t words = (trie->vocabulary + 31) / 32 + 1;
  uint32_t *mask = malloc(words * sizeof(*mask));
  for (size_t i = 0; i < 6 && one->taken[i] != NULL; i++) {
    dure_match *match = NULL;
    require(dure_match_create(constraint, &match));
    for (const char *at = one->taken[i];; at++) {
      uint32_t count = 0, found = 0;
      bool may_end = false;
      require(dure_match_mask(match, mask, words, &count, &may_end));
      for (uint32_t token = 0; token < trie->vocabulary; token++) {
        dure_match *other = NULL;
        require(dure_match_create(constraint, &other));
        require(dure_match_bytes(other, one->taken[i], (size_t)(at - one->taken[i])));
        dure_status status = dure_match_token(other, token);
        ck_assert_int_eq(status == NULL, mask[token / 32] >> token % 32 & 1);
        found += status == NULL;
        dure_status_free(status);
        dure_match_destroy(other);
      }
      ck_assert_uint_eq(count, found);
      ck_assert_uint_eq(mask[words - 1], 0);
      ck_assert_int_eq(may_end, dure_match_may_end(match));
      if (*at == '\0') break;
      require(dure_match_bytes(match, at, 1));
    }
    dure_match_destroy(match);
  }
  free(mask);
  dure_constraint_release(constraint);
}
END_TEST

// Every depth is a set of its own: more than are kept at a time.
START_TEST(a_deep_text_outlives_the_sets_that_were_made_for_it) {
  dure_constraint *constraint = constraint_of("root ::= \"(\" root? \")\" | \"[\" root? \"]\"", trie);
  dure_match *match = NULL, *other = NULL;
  require(dure_match_create(constraint, &match));
  require(dure_match_create(constraint, &other));
  require(dure_match_bytes(other, "([(", 3));
  enum { DEPTH = 30000 };
  for (int i = 0; i < DEPTH; i++) require(dure_match_bytes(match, i % 3 == 0 ? "[" : "(", 1));
  for (int i = DEPTH; i-- > 0;) {
    ck_assert(!dure_match_may_end(match));
    require(dure_match_bytes(match, i % 3 == 0 ? "]" : ")", 1));
  }
  ck_assert(dure_match_may_end(match));
  require(dure_match_bytes(other, ")])", 3));
  ck_assert(dure_match_may_end(other));
  dure_match_destroy(match);
  dure_match_destroy(other);
  dure_constraint_release(constraint);
}
END_TEST

// A text of ever new depth: its sets are given back while others leave no room for them, and its masks stay the same.
START_TEST(what_grammars_take_together_is_bounded) {
  enum { TOKENS = 3000, BYTES = 4 << 20 };
  uint32_t masks[2][8], counts[2], most = 0;
  dure_constraint_budget *budget = NULL;
  require(dure_constraint_budget_create(BYTES, &budget));
  dure_constraint *bounded = constraint_of("root ::= \"(\" root \")\" | [a-z]", trie),
                  *large = constraint_of("root ::= \"a\"{200000}", trie),
                  *free_one = constraint_of("root ::= \"(\" root \")\" | [a-z]", trie);
  dure_constraint_share(bounded, budget);
  const uint64_t first = dure_constraint_bytes(bounded);
  ck_assert_uint_eq(dure_constraint_budget_used(budget), first);
  dure_constraint_share(large, budget);
  ck_assert_uint_gt(dure_constraint_budget_used(budget), BYTES / 2);
  dure_match *matches[2] = {NULL, NULL};
  require(dure_match_create(bounded, &matches[0]));
  require(dure_match_create(free_one, &matches[1]));
  for (int i = 0; i < TOKENS; i++) {
    bool may_end[2];
    for (int k = 0; k < 2; k++) {
      require(dure_match_mask(matches[k], masks[k], 8, &counts[k], &may_end[k]));
      require(dure_match_bytes(matches[k], "(", 1));
    }
    ck_assert_mem_eq(masks[0], masks[1], sizeof(masks[0]));
    ck_assert(counts[0] == counts[1] && may_end[0] == may_end[1]);
    const uint32_t used = (uint32_t)dure_constraint_bytes(bounded);
    if (used > most) most = used;
  }
  ck_assert_uint_lt(most, dure_constraint_bytes(free_one));
  dure_match_destroy(matches[0]);
  dure_match_destroy(matches[1]);
  dure_constraint_release(large);
  ck_assert_uint_eq(dure_constraint_budget_used(budget), dure_constraint_bytes(bounded));
  dure_constraint_release(bounded);
  ck_assert_uint_eq(dure_constraint_budget_used(budget), 0);
  dure_constraint_release(free_one);
  dure_constraint_budget_release(budget);
}
END_TEST

// 2^12 ways to read it: refused, not endless.
START_TEST(too_many_readings_are_refused_while_matching) {
  char text[2048] = "", rule[64];
  for (int i = 0; i < 14; i++) {
    snprintf(rule, sizeof(rule), "%s ::= a%d \"x\" | a%d \"y\"\n", i == 0 ? "root" : "", i + 1, i + 1);
    if (i > 0) snprintf(rule, sizeof(rule), "a%d ::= a%d \"x\" | a%d \"y\"\n", i, i + 1, i + 1);
    strcat(text, rule);
  }
  strcat(text, "a14 ::= \"z\"\n");
  dure_grammar *grammar = NULL;
  dure_constraint *constraint = NULL;
  require(dure_grammar_parse(text, strlen(text), &grammar));
  dure_status status = dure_constraint_create(grammar, trie, &constraint);
  ck_assert_int_eq(dure_status_code(status), DURE_UNSUPPORTED);
  dure_status_free(status);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("grammar");
  TCase *group = tcase_create("grammar");
  tcase_add_unchecked_fixture(group, open_vocabulary, close_vocabulary);
  const int count = (int)(sizeof(languages) / sizeof(languages[0]));
  tcase_add_loop_test(group, texts_of_the_language_are_taken_and_no_others, 0, count);
  tcase_add_loop_test(group, a_mask_has_the_tokens_that_fit_and_no_others, 0, count);
  tcase_add_loop_test(group, a_mistake_is_refused_where_it_is, 0, (int)(sizeof(mistakes) / sizeof(mistakes[0])));
  tcase_add_test(group, what_lies_too_deep_is_refused);
  tcase_add_test(group, a_deep_text_outlives_the_sets_that_were_made_for_it);
  tcase_add_test(group, what_grammars_take_together_is_bounded);
  tcase_add_test(group, too_many_readings_are_refused_while_matching);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_FORK_GETENV);
}
