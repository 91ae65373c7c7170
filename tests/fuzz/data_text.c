// What cleaning does with valid text: personal data, statistics, line rules, features of classifiers. The bytes are
// made valid first, as decoding does.
#include "data/classifier.h"
#include "data/clean_rules.h"
#include "data/decode.h"
#include "data/personal_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static dure_statistics_workspace workspace;
  static dure_clean_rules rules;
  static dure_classifier *classifier;
  if (classifier == NULL) {
    dure_status_free(dure_clean_rules_named("web", &rules));
    dure_status_free(dure_classifier_create(&classifier));
    // Thresholds that nothing breaks, so that every rule is looked at.
    for (int i = 0; i < DURE_RULE_COUNT; i++) {
      if (dure_rule_name((dure_rule)i)[1] == 'a') rules.threshold[i] = 1e300;
      if (dure_rule_name((dure_rule)i)[1] == 'i') rules.threshold[i] = -1;
    }
  }
  dure_bytes text = {0}, out = {0};
  uint64_t counts[DURE_PERSONAL_COUNT] = {0};
  dure_utf8_append_repaired(&text, (const char *)bytes, size);
  const char *start = text.data != NULL ? text.data : "";
  dure_personal_data_remove(start, text.size, &out, counts);
  double value = 0;
  dure_clean_rules_check(&rules, &workspace, start, text.size, dure_language_guess(start, text.size), &value);
  dure_clean_rules_check_line(&rules, start, text.size);
  if (classifier != NULL) dure_classifier_score(classifier, start, text.size);
  dure_bytes_free(&text);
  dure_bytes_free(&out);
  return 0;
}
