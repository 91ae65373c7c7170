// The rules by which cleaning drops documents and cuts lines: each a name, a threshold and a counter.
//
// Most are the published heuristics of two corpora, and carry their letters: [G] Gopher's (Rae et al. 2021, appendix
// A.1), [C] C4's (Raffel et al. 2020, section 2.2). Words are what white space separates, which in Korean are eojeol;
// rules on the length of words and on stop words have a form of their own for Korean, where particles and endings take
// the place of stop words, and do not look at other languages.
#ifndef DURE_DATA_CLEAN_RULES_H_
#define DURE_DATA_CLEAN_RULES_H_

#include "data/clean_statistics.h"
#include "data/language.h"

typedef enum dure_rule {
  DURE_RULE_MIN_CHARACTERS,
  DURE_RULE_MIN_WORDS,
  DURE_RULE_MAX_WORDS,
  DURE_RULE_MIN_MEAN_WORD_LENGTH,
  DURE_RULE_MAX_MEAN_WORD_LENGTH,
  DURE_RULE_MIN_MEAN_EOJEOL_LENGTH,
  DURE_RULE_MAX_MEAN_EOJEOL_LENGTH,
  DURE_RULE_MAX_HASH_RATIO,
  DURE_RULE_MAX_ELLIPSIS_RATIO,
  DURE_RULE_MAX_BULLET_LINES,
  DURE_RULE_MAX_ELLIPSIS_LINES,
  DURE_RULE_MIN_ALPHABETIC_WORDS,
  DURE_RULE_MIN_STOP_WORDS,
  DURE_RULE_MIN_SENTENCES,
  DURE_RULE_MAX_CURLY_BRACKETS,
  DURE_RULE_MAX_LOREM_IPSUM,
  DURE_RULE_MAX_DUPLICATE_LINES,
  DURE_RULE_MAX_DUPLICATE_PARAGRAPHS,
  DURE_RULE_MAX_DUPLICATE_LINE_CHARACTERS,
  DURE_RULE_MAX_DUPLICATE_PARAGRAPH_CHARACTERS,
  DURE_RULE_MAX_TOP_2GRAM,
  DURE_RULE_MAX_TOP_3GRAM,
  DURE_RULE_MAX_TOP_4GRAM,
  DURE_RULE_MAX_DUPLICATE_5GRAM,
  DURE_RULE_MAX_DUPLICATE_6GRAM,
  DURE_RULE_MAX_DUPLICATE_7GRAM,
  DURE_RULE_MAX_DUPLICATE_8GRAM,
  DURE_RULE_MAX_DUPLICATE_9GRAM,
  DURE_RULE_MAX_DUPLICATE_10GRAM,
  DURE_RULE_MIN_QUALITY,
  DURE_RULE_MAX_TOXICITY,
  DURE_RULE_MAX_BAD_WORDS,
  // Of lines, which are cut; the document stays.
  DURE_RULE_SITE_LINE_PAGES,
  DURE_RULE_SITE_LINE_SHARE,
  DURE_RULE_LINE_MIN_WORDS,
  DURE_RULE_LINE_PUNCTUATION,
  DURE_RULE_LINE_JAVASCRIPT,
  DURE_RULE_COUNT,
  DURE_RULE_FIRST_OF_LINES = DURE_RULE_SITE_LINE_PAGES,
} dure_rule;

// Thresholds; NAN where a rule is off.
typedef struct dure_clean_rules {
  double threshold[DURE_RULE_COUNT];
} dure_clean_rules;

const char *dure_rule_name(dure_rule rule);
const char *dure_rule_help(dure_rule rule);  // what is measured, one line

// "none"; "standard": what spares manuals and prose alike; "web": the published thresholds of Gopher and C4's rules on
// sentences and lines; "gopher" and "c4": one of the two.
DURE_MUST_CHECK dure_status dure_clean_rules_named(const char *name, dure_clean_rules *out_rules);

// One threshold by name: a number, or "off". `source` says where it was written.
DURE_MUST_CHECK dure_status dure_clean_rules_set(dure_clean_rules *rules, const char *source, const char *name,
                                                 const char *value);

// A recipe: a flat YAML (or JSON) mapping of names to thresholds, after which `base: NAME` stands for another start
// than the rules as they are.
DURE_MUST_CHECK dure_status dure_clean_rules_read(dure_clean_rules *rules, const char *path);

static inline bool dure_rule_is_on(const dure_clean_rules *rules, dure_rule rule) {
  return rules->threshold[rule] == rules->threshold[rule];
}

// The first rule that a text breaks, in the order above, or DURE_RULE_COUNT; `out_value` is what was measured. Rules on
// scores and lines are not looked at.
dure_rule dure_clean_rules_check(const dure_clean_rules *rules, dure_statistics_workspace *workspace, const char *text,
                                 size_t size, dure_language language, double *out_value);

// Whether a rule cuts this line: DURE_RULE_LINE_* or DURE_RULE_COUNT.
dure_rule dure_clean_rules_check_line(const dure_clean_rules *rules, const char *line, size_t size);
bool dure_clean_rules_look_at_lines(const dure_clean_rules *rules);  // whether any line rule of these is on

#endif  // DURE_DATA_CLEAN_RULES_H_
