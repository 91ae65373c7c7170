// What a run of cleaning did, as JSON (docs/formats.md).

#include "data/clean.h"

const char *dure_drop_name(dure_drop reason) {
  static const char *const names[DURE_DROP_FIRST_RULE] = {
      [DURE_DROP_EMPTY] = "empty",
      [DURE_DROP_INVALID_UTF8] = "invalid_utf8",
      [DURE_DROP_MALFORMED] = "malformed",
      [DURE_DROP_BINARY] = "binary",
      [DURE_DROP_TOO_LARGE] = "too_large",
      [DURE_DROP_UNREADABLE] = "unreadable",
      [DURE_DROP_LANGUAGE] = "unwanted_language",
  };
  if (reason < DURE_DROP_FIRST_RULE) return names[reason];
  return dure_rule_name((dure_rule)(reason - DURE_DROP_FIRST_RULE));
}

const char *dure_cut_name(dure_cut reason) {
  static const char *const names[DURE_CUT_COUNT] = {
      [DURE_CUT_SITE] = "repeated_on_site",        [DURE_CUT_MIN_WORDS] = "line_min_words",
      [DURE_CUT_PUNCTUATION] = "line_punctuation", [DURE_CUT_JAVASCRIPT] = "line_javascript",
      [DURE_CUT_LANGUAGE] = "unwanted_language",
  };
  return names[reason];
}

static void set_count(json_t *object, const char *name, uint64_t value) {
  json_object_set_new(object, name, json_integer((json_int_t)value));
}

static json_t *documents_to_json(const dure_clean_summary *summary) {
  json_t *dropped = json_object(), *documents = json_object();
  uint64_t all = 0;
  for (int i = 0; i < DURE_DROP_COUNT; i++) {
    set_count(dropped, dure_drop_name((dure_drop)i), summary->dropped[i]);
    all += summary->dropped[i];
  }
  set_count(documents, "read", summary->kept + all);
  set_count(documents, "kept", summary->kept);
  json_object_set_new(documents, "dropped", dropped);
  set_count(documents, "repaired", summary->repaired);
  set_count(documents, "resumed", summary->resumed_documents);
  return documents;
}

static json_t *lines_to_json(const dure_clean_summary *summary) {
  json_t *cut = json_object();
  for (int i = 0; i < DURE_CUT_COUNT; i++) set_count(cut, dure_cut_name((dure_cut)i), summary->lines_cut[i]);
  return json_pack("{s:o, s:I}", "cut", cut, "bytes_cut", (json_int_t)summary->line_bytes_cut);
}

static json_t *languages_to_json(const dure_clean_summary *summary) {
  json_t *languages = json_object();
  for (int i = 0; i < DURE_LANGUAGE_COUNT; i++) {
    json_t *language = json_object();
    set_count(language, "documents", summary->language_documents[i]);
    set_count(language, "text_bytes", summary->language_bytes[i]);
    json_object_set_new(languages, dure_language_name((dure_language)i), language);
  }
  return languages;
}

// Pairs of a length and how many kept documents have at least that and less than twice as many bytes of text.
static json_t *lengths_to_json(const dure_clean_summary *summary) {
  json_t *lengths = json_array();
  for (int i = 0; i < DURE_CLEAN_LENGTHS; i++) {
    if (summary->lengths[i] == 0) continue;
    json_array_append_new(lengths, json_pack("[I, I]", (json_int_t)1 << i, (json_int_t)summary->lengths[i]));
  }
  return lengths;
}

static json_t *rules_to_json(const dure_clean_rules *rules) {
  json_t *object = json_object();
  for (int i = 0; i < DURE_RULE_COUNT && rules != NULL; i++) {
    if (dure_rule_is_on(rules, (dure_rule)i)) {
      json_object_set_new(object, dure_rule_name((dure_rule)i), json_real(rules->threshold[i]));
    }
  }
  return object;
}

json_t *dure_clean_summary_json(const char *const *inputs, size_t input_count, const dure_clean_options *options,
                                const dure_clean_summary *summary, double seconds) {
  json_t *root = json_object(), *names = json_array(), *files = json_object(), *bytes = json_object(),
         *personal = json_object();
  for (size_t i = 0; i < input_count; i++) json_array_append_new(names, json_string(inputs[i]));
  set_count(files, "read", summary->read.files);
  set_count(files, "skipped", summary->read.files_skipped);
  set_count(files, "records_skipped", summary->read.records_skipped);
  set_count(files, "unreadable", summary->read.unreadable);
  set_count(bytes, "read", summary->read.bytes_read);
  set_count(bytes, "text", summary->text_bytes);
  set_count(bytes, "written", summary->written_bytes);
  for (int i = 0; i < DURE_PERSONAL_COUNT; i++) {
    set_count(personal, dure_personal_name((dure_personal_kind)i), summary->personal[i]);
  }
  json_object_set_new(root, "inputs", names);
  json_object_set_new(root, "output", json_string(options->output));
  json_object_set_new(root, "files", files);
  json_object_set_new(root, "documents", documents_to_json(summary));
  json_object_set_new(root, "lines", lines_to_json(summary));
  json_object_set_new(root, "personal_data", personal);
  json_object_set_new(root, "bytes", bytes);
  json_object_set_new(root, "languages", languages_to_json(summary));
  json_object_set_new(root, "lengths", lengths_to_json(summary));
  json_object_set_new(root, "rules", rules_to_json(options->rules));
  json_object_set_new(root, "seconds", json_real(seconds));
  return root;
}
