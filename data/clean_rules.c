#include "data/clean_rules.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/recipe.h"
#include "runtime/nearest.h"

#define OFF NAN

// The published thresholds, and those of "standard", which were chosen so that the manuals of Debian, Python and Linux
// lose no page that reads well.
static const struct {
  const char *name;
  double standard, gopher, c4;
  const char *help;
} table[DURE_RULE_COUNT] = {
    [DURE_RULE_MIN_CHARACTERS] = {"min_characters", 32, OFF, OFF, "characters of text"},
    [DURE_RULE_MIN_WORDS] = {"min_words", OFF, 50, OFF, "words (eojeol) [G]"},
    [DURE_RULE_MAX_WORDS] = {"max_words", OFF, 100000, OFF, "words (eojeol) [G]"},
    [DURE_RULE_MIN_MEAN_WORD_LENGTH] = {"min_mean_word_length", 2, 3, OFF, "English: characters of a word [G]"},
    [DURE_RULE_MAX_MEAN_WORD_LENGTH] = {"max_mean_word_length", 16, 10, OFF, "English: characters of a word [G]"},
    [DURE_RULE_MIN_MEAN_EOJEOL_LENGTH] = {"min_mean_eojeol_length", 1.5, 1.5, OFF, "Korean: characters of an eojeol"},
    [DURE_RULE_MAX_MEAN_EOJEOL_LENGTH] = {"max_mean_eojeol_length", 12, 8, OFF, "Korean: characters of an eojeol"},
    [DURE_RULE_MAX_HASH_RATIO] = {"max_hash_ratio", 0.2, 0.1, OFF, "# a word [G]"},
    [DURE_RULE_MAX_ELLIPSIS_RATIO] = {"max_ellipsis_ratio", 0.2, 0.1, OFF, "ellipses a word [G]"},
    [DURE_RULE_MAX_BULLET_LINES] = {"max_bullet_lines", 0.95, 0.9, OFF, "share of lines that begin with a bullet [G]"},
    [DURE_RULE_MAX_ELLIPSIS_LINES] = {"max_ellipsis_lines", 0.3, 0.3, OFF,
                                      "share of lines that end with an ellipsis [G]"},
    [DURE_RULE_MIN_ALPHABETIC_WORDS] = {"min_alphabetic_words", 0.5, 0.8, OFF, "share of words with a letter [G]"},
    [DURE_RULE_MIN_STOP_WORDS] = {"min_stop_words", OFF, 2, OFF,
                                  "distinct stop words (English) or endings (Korean) [G]"},
    [DURE_RULE_MIN_SENTENCES] = {"min_sentences", OFF, OFF, 3, "ends of sentences [C]"},
    [DURE_RULE_MAX_CURLY_BRACKETS] = {"max_curly_brackets", OFF, OFF, 0, "opening curly brackets [C]"},
    [DURE_RULE_MAX_LOREM_IPSUM] = {"max_lorem_ipsum", 0, OFF, 0, "times 'ipsum' occurs [C]"},
    [DURE_RULE_MAX_DUPLICATE_LINES] = {"max_duplicate_lines", 0.5, 0.3, OFF, "share of lines seen before [G]"},
    [DURE_RULE_MAX_DUPLICATE_PARAGRAPHS] = {"max_duplicate_paragraphs", 0.5, 0.3, OFF,
                                            "share of paragraphs seen before [G]"},
    [DURE_RULE_MAX_DUPLICATE_LINE_CHARACTERS] = {"max_duplicate_line_characters", 0.5, 0.2, OFF, "share of bytes [G]"},
    [DURE_RULE_MAX_DUPLICATE_PARAGRAPH_CHARACTERS] = {"max_duplicate_paragraph_characters", 0.5, 0.2, OFF,
                                                      "share of bytes [G]"},
    [DURE_RULE_MAX_TOP_2GRAM] = {"max_top_2gram", 0.4, 0.2, OFF, "share of bytes in the most frequent [G]"},
    [DURE_RULE_MAX_TOP_3GRAM] = {"max_top_3gram", 0.4, 0.18, OFF, "share of bytes in the most frequent [G]"},
    [DURE_RULE_MAX_TOP_4GRAM] = {"max_top_4gram", 0.4, 0.16, OFF, "share of bytes in the most frequent [G]"},
    [DURE_RULE_MAX_DUPLICATE_5GRAM] = {"max_duplicate_5gram", 0.7, 0.15, OFF, "share of bytes in repeated ones [G]"},
    [DURE_RULE_MAX_DUPLICATE_6GRAM] = {"max_duplicate_6gram", OFF, 0.14, OFF, "share of bytes in repeated ones [G]"},
    [DURE_RULE_MAX_DUPLICATE_7GRAM] = {"max_duplicate_7gram", OFF, 0.13, OFF, "share of bytes in repeated ones [G]"},
    [DURE_RULE_MAX_DUPLICATE_8GRAM] = {"max_duplicate_8gram", OFF, 0.12, OFF, "share of bytes in repeated ones [G]"},
    [DURE_RULE_MAX_DUPLICATE_9GRAM] = {"max_duplicate_9gram", OFF, 0.11, OFF, "share of bytes in repeated ones [G]"},
    [DURE_RULE_MAX_DUPLICATE_10GRAM] = {"max_duplicate_10gram", OFF, 0.1, OFF, "share of bytes in repeated ones [G]"},
    [DURE_RULE_MIN_QUALITY] = {"min_quality", OFF, OFF, OFF, "score of the classifier --quality"},
    [DURE_RULE_MAX_TOXICITY] = {"max_toxicity", OFF, OFF, OFF, "score of the classifier --toxicity"},
    [DURE_RULE_MAX_BAD_WORDS] = {"max_bad_words", 0, 0, 0, "times words of the lists --bad-words occur [C]"},
    [DURE_RULE_SITE_LINE_PAGES] = {"site_line_pages", 10, 10, 10, "a line on so many pages of a site is cut, if ..."},
    [DURE_RULE_SITE_LINE_SHARE] = {"site_line_share", 0.3, 0.3, 0.3, "... these are such a share of the site's pages"},
    [DURE_RULE_LINE_MIN_WORDS] = {"line_min_words", OFF, OFF, 5, "lines with fewer words are cut [C]"},
    [DURE_RULE_LINE_PUNCTUATION] = {"line_punctuation", OFF, OFF, 1,
                                    "1: lines that end without punctuation are cut [C]"},
    [DURE_RULE_LINE_JAVASCRIPT] = {"line_javascript", OFF, OFF, 1, "1: lines with the word Javascript are cut [C]"},
};

const char *dure_rule_name(dure_rule rule) { return table[rule].name; }
const char *dure_rule_help(dure_rule rule) { return table[rule].help; }

dure_status dure_clean_rules_named(const char *name, dure_clean_rules *out_rules) {
  static const char *const names[] = {"none", "standard", "gopher", "c4", "web"};
  for (int i = 0; i < DURE_RULE_COUNT; i++) {
    double gopher = table[i].gopher, c4 = table[i].c4;
    double of_name[] = {OFF, table[i].standard, gopher, c4, isnan(gopher) ? c4 : gopher};
    out_rules->threshold[i] = OFF;
    for (size_t n = 0; n < 5; n++) {
      if (strcmp(name, names[n]) == 0) out_rules->threshold[i] = of_name[n];
    }
  }
  for (size_t n = 0; n < 5; n++) {
    if (strcmp(name, names[n]) == 0) return NULL;
  }
  return dure_fail(DURE_INVALID_ARGUMENT, "unknown rules '%.60s': expected none, standard, gopher, c4 or web", name);
}

dure_status dure_clean_rules_set(dure_clean_rules *rules, const char *source, const char *name, const char *value) {
  const char *names[DURE_RULE_COUNT];
  for (int i = 0; i < DURE_RULE_COUNT; i++) names[i] = table[i].name;
  for (int i = 0; i < DURE_RULE_COUNT; i++) {
    if (strcmp(name, names[i]) != 0) continue;
    char *end = NULL;
    double threshold = strcasecmp(value, "off") == 0 ? OFF : strtod(value, &end);
    if (end != NULL && (end == value || *end != '\0' || !isfinite(threshold))) {
      return dure_fail(DURE_INVALID_ARGUMENT, "%s: %s needs a number or off, not '%.60s'", source, name, value);
    }
    rules->threshold[i] = threshold;
    return NULL;
  }
  size_t distance = 0;
  return dure_fail(DURE_INVALID_ARGUMENT, "%s: unknown rule '%.60s'; did you mean '%s'?", source, name,
                   dure_nearest_name(name, names, DURE_RULE_COUNT, &distance));
}

static dure_status set_from_recipe(dure_clean_rules *rules, const char *path, const char *name, const json_t *value) {
  if (!json_is_string(value) && !json_is_number(value)) {
    return dure_fail(DURE_INVALID_ARGUMENT, "'%s': %.60s needs a number or off", path, name);
  }
  char number[32];
  snprintf(number, sizeof(number), "%.17g", json_number_value(value));
  const char *text = json_is_string(value) ? json_string_value(value) : number;
  if (strcmp(name, "base") == 0) return dure_status_prefix(dure_clean_rules_named(text, rules), "'%s'", path);
  return dure_clean_rules_set(rules, path, name, text);
}

dure_status dure_clean_rules_read(dure_clean_rules *rules, const char *path) {
  json_t *recipe = NULL, *value = NULL;
  const char *name = NULL;
  DURE_TRY(dure_recipe_read(path, &recipe));
  dure_status status = NULL;
  if (!json_is_object(recipe)) status = dure_fail(DURE_CORRUPT, "'%s' is no mapping of rules to thresholds", path);
  json_object_foreach(recipe, name, value) {
    if (status == NULL) status = set_from_recipe(rules, path, name, value);
  }
  json_decref(recipe);
  return status;
}

// ---- checking ----

typedef struct check {
  const dure_clean_rules *rules;
  double value;
  dure_rule broken;  // DURE_RULE_COUNT while none is
} check;

static void at_least(check *state, dure_rule rule, double value) {
  if (state->broken != DURE_RULE_COUNT || !(value < state->rules->threshold[rule])) return;
  state->broken = rule;
  state->value = value;
}

static void at_most(check *state, dure_rule rule, double value) {
  if (state->broken != DURE_RULE_COUNT || !(value > state->rules->threshold[rule])) return;
  state->broken = rule;
  state->value = value;
}

static double ratio(uint64_t part, uint64_t whole) { return whole > 0 ? (double)part / (double)whole : 0; }

static void check_measures(check *state, const dure_statistics *s, dure_language language) {
  double length = ratio(s->word_characters, s->words);
  at_least(state, DURE_RULE_MIN_CHARACTERS, (double)s->characters);
  at_least(state, DURE_RULE_MIN_WORDS, (double)s->words);
  at_most(state, DURE_RULE_MAX_WORDS, (double)s->words);
  if (language == DURE_ENGLISH) {
    at_least(state, DURE_RULE_MIN_MEAN_WORD_LENGTH, length);
    at_most(state, DURE_RULE_MAX_MEAN_WORD_LENGTH, length);
  } else if (language == DURE_KOREAN) {
    at_least(state, DURE_RULE_MIN_MEAN_EOJEOL_LENGTH, length);
    at_most(state, DURE_RULE_MAX_MEAN_EOJEOL_LENGTH, length);
  }
  at_most(state, DURE_RULE_MAX_HASH_RATIO, ratio(s->hashes, s->words));
  at_most(state, DURE_RULE_MAX_ELLIPSIS_RATIO, ratio(s->ellipses, s->words));
  at_most(state, DURE_RULE_MAX_BULLET_LINES, ratio(s->bullet_lines, s->lines));
  at_most(state, DURE_RULE_MAX_ELLIPSIS_LINES, ratio(s->ellipsis_lines, s->lines));
  at_least(state, DURE_RULE_MIN_ALPHABETIC_WORDS, ratio(s->alphabetic_words, s->words));
  if (language != DURE_OTHER_LANGUAGE) at_least(state, DURE_RULE_MIN_STOP_WORDS, (double)s->stop_words);
  at_least(state, DURE_RULE_MIN_SENTENCES, (double)s->sentences);
  at_most(state, DURE_RULE_MAX_CURLY_BRACKETS, (double)s->curly_brackets);
  at_most(state, DURE_RULE_MAX_LOREM_IPSUM, (double)s->lorem_ipsum);
}

static void check_repetition(check *state, const dure_repetition *r) {
  at_most(state, DURE_RULE_MAX_DUPLICATE_LINES, r->lines);
  at_most(state, DURE_RULE_MAX_DUPLICATE_PARAGRAPHS, r->paragraphs);
  at_most(state, DURE_RULE_MAX_DUPLICATE_LINE_CHARACTERS, r->line_characters);
  at_most(state, DURE_RULE_MAX_DUPLICATE_PARAGRAPH_CHARACTERS, r->paragraph_characters);
  for (int n = 2; n <= 4; n++) at_most(state, (dure_rule)(DURE_RULE_MAX_TOP_2GRAM + n - 2), r->top[n]);
  for (int n = 5; n <= 10; n++) at_most(state, (dure_rule)(DURE_RULE_MAX_DUPLICATE_5GRAM + n - 5), r->duplicate[n]);
}

static bool any_is_on(const dure_clean_rules *rules, dure_rule first, dure_rule last) {
  for (int i = (int)first; i <= (int)last; i++) {
    if (dure_rule_is_on(rules, (dure_rule)i)) return true;
  }
  return false;
}

dure_rule dure_clean_rules_check(const dure_clean_rules *rules, dure_statistics_workspace *workspace, const char *text,
                                 size_t size, dure_language language, double *out_value) {
  check state = {.rules = rules, .broken = DURE_RULE_COUNT};
  if (any_is_on(rules, DURE_RULE_MIN_CHARACTERS, DURE_RULE_MAX_LOREM_IPSUM)) {
    dure_statistics statistics;
    dure_statistics_measure(text, size, language, &statistics);
    check_measures(&state, &statistics, language);
  }
  if (state.broken == DURE_RULE_COUNT &&
      any_is_on(rules, DURE_RULE_MAX_DUPLICATE_LINES, DURE_RULE_MAX_DUPLICATE_10GRAM)) {
    dure_repetition repetition;
    dure_statistics_repetition(workspace, text, size, &repetition);
    check_repetition(&state, &repetition);
  }
  *out_value = state.value;
  return state.broken;
}

// ---- lines ----

bool dure_clean_rules_look_at_lines(const dure_clean_rules *rules) {
  return any_is_on(rules, DURE_RULE_LINE_MIN_WORDS, DURE_RULE_LINE_JAVASCRIPT);
}

static bool mentions_javascript(const char *line, size_t size) {
  for (size_t i = 0; i + 10 <= size; i++) {
    if ((line[i] | 0x20) == 'j' && strncasecmp(line + i, "javascript", 10) == 0) return true;
  }
  return false;
}

dure_rule dure_clean_rules_check_line(const dure_clean_rules *rules, const char *line, size_t size) {
  check state = {.rules = rules, .broken = DURE_RULE_COUNT};
  at_least(&state, DURE_RULE_LINE_MIN_WORDS, (double)dure_statistics_count_words(line, size));
  if (rules->threshold[DURE_RULE_LINE_PUNCTUATION] > 0 && !dure_statistics_ends_sentence(line, size)) {
    return DURE_RULE_LINE_PUNCTUATION;
  }
  if (rules->threshold[DURE_RULE_LINE_JAVASCRIPT] > 0 && mentions_javascript(line, size)) {
    return DURE_RULE_LINE_JAVASCRIPT;
  }
  return state.broken;
}
