// Step reports (data/step_report.h) as one HTML page that needs nothing else: no network, no scripts.
#ifndef DURE_DATA_REPORT_PAGE_H_
#define DURE_DATA_REPORT_PAGE_H_

#include <stddef.h>

#include "runtime/status.h"

// `paths`: reports, shown in this order. Everything in them is taken for hostile text.
DURE_MUST_CHECK dure_status dure_report_page_write(const char *const *paths, size_t count, const char *output);

#endif  // DURE_DATA_REPORT_PAGE_H_
