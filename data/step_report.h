// What a step of the pipeline kept and dropped, for `data report`: counts, examples, lengths, languages, sources.
//
// Documents are entered one after the other by one thread; memory is that of 1,000 sources and some examples, never of
// the corpus. The file is JSON, described in docs/formats.md.
#ifndef DURE_DATA_STEP_REPORT_H_
#define DURE_DATA_STEP_REPORT_H_

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_step_report dure_step_report;

typedef struct dure_report_entry {
  const char *reason;    // why it was dropped ("too_short"); NULL: it was kept
  const char *source;    // where it came from, a path or address, ":LINE" at its end aside; NULL if not known
  const char *language;  // "ko", "en", ...; NULL if not known
  const char *text;
  size_t length;     // bytes
  uint64_t tokens;   // 0 where they are not counted
  const char *note;  // with an example, such as what it repeats; NULL for none
} dure_report_entry;

// `step`: "clean", "dedup", ...
DURE_MUST_CHECK dure_status dure_step_report_create(const char *step, dure_step_report **out_report);
void dure_step_report_destroy(dure_step_report *report);  // NULL is fine
// Nothing is done for a NULL report.
void dure_step_report_add(dure_step_report *report, const dure_report_entry *entry);
// What was entered, for a process that goes on later; a new object.
json_t *dure_step_report_save(const dure_step_report *report);
void dure_step_report_restore(dure_step_report *report, const json_t *saved);  // NULL and NULL are fine
// Adds the fields of `more` (other counts of the step; may be NULL; not taken over), and writes the file.
DURE_MUST_CHECK dure_status dure_step_report_write(const dure_step_report *report, json_t *more, const char *path);

#endif  // DURE_DATA_STEP_REPORT_H_
