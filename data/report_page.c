#include "data/report_page.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/bytes.h"
#include "data/output.h"
#include "runtime/os.h"

enum { REPORT_LIMIT = 256 << 20, LENGTHS = 32, SHOWN_SOURCES = 40, CHART_WIDTH = 720, CHART_HEIGHT = 180 };

// ---- text ----

static void print(dure_bytes *page, const char *format, ...) DURE_PRINTF(2, 3);
static void print(dure_bytes *page, const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  dure_bytes_append_text(page, text);
}

static void escape(dure_bytes *page, const char *text) {
  for (const char *cursor = text != NULL ? text : ""; *cursor != '\0'; cursor++) {
    switch (*cursor) {
      case '<': dure_bytes_append_text(page, "&lt;"); break;
      case '>': dure_bytes_append_text(page, "&gt;"); break;
      case '&': dure_bytes_append_text(page, "&amp;"); break;
      case '"': dure_bytes_append_text(page, "&quot;"); break;
      default: dure_bytes_append(page, cursor, 1);
    }
  }
}

static uint64_t number(const json_t *object, const char *key) {
  const json_int_t value = json_integer_value(json_object_get(object, key));
  return value > 0 ? (uint64_t)value : 0;
}

static double share(uint64_t part, uint64_t whole) { return whole > 0 ? (double)part / (double)whole : 0; }

static void print_count(dure_bytes *page, uint64_t value) {
  char digits[32];
  const int length = snprintf(digits, sizeof(digits), "%" PRIu64, value);
  dure_bytes_append_text(page, "<td class=n>");
  for (int i = 0; i < length; i++) {
    if (i > 0 && (length - i) % 3 == 0) dure_bytes_append_text(page, ",");
    dure_bytes_append(page, digits + i, 1);
  }
  dure_bytes_append_text(page, "</td>");
}

static void print_bytes(dure_bytes *page, uint64_t bytes) {
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double value = (double)bytes;
  int unit = 0;
  for (; value >= 1000 && unit < 5; unit++) value /= 1000;
  print(page, "<td class=n>%.*f %s</td>", unit > 0, value, units[unit]);
}

static void print_share(dure_bytes *page, double value) {
  print(page, "<td class=n>%.2f %%</td><td class=w><i style=\"width:%.2f%%\"></i></td>", value * 100, value * 100);
}

static void print_name(dure_bytes *page, const char *name) {
  dure_bytes_append_text(page, "<tr><td>");
  escape(page, name);
  dure_bytes_append_text(page, "</td>");
}

static const char style[] =
    "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;"
    "background:#fff}h1,h2{font-weight:600}h2{border-top:1px solid #ccc;padding-top:1rem;margin-top:2.5rem}"
    "table{border-collapse:collapse;width:100%;margin:.6rem 0}th,td{text-align:left;padding:.15rem .6rem;"
    "border-bottom:1px solid #e5e5e5;vertical-align:top;overflow-wrap:anywhere}th{font-weight:600;background:#f6f6f6}"
    ".n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}.w{width:9rem}"
    ".w i{display:block;height:.8rem;margin-top:.35rem;background:#3b76b5}"
    "pre{white-space:pre-wrap;background:#f6f6f6;padding:.5rem;margin:.3rem 0;font-size:13px;max-height:12rem;"
    "overflow:auto}details{margin:.2rem 0}small{color:#666}.k{fill:#3b76b5}.d{fill:#d9822b}"
    "text{font-size:11px;fill:#555}</style>";

// ---- charts ----

static void print_lengths(dure_bytes *page, const json_t *lengths) {
  const json_t *kept = json_object_get(lengths, "kept"), *dropped = json_object_get(lengths, "dropped");
  uint64_t counts[2][LENGTHS] = {{0}}, most = 0;
  int last = 0;
  for (int i = 0; i < LENGTHS; i++) {
    counts[0][i] = (uint64_t)json_integer_value(json_array_get(kept, (size_t)i));
    counts[1][i] = (uint64_t)json_integer_value(json_array_get(dropped, (size_t)i));
    const uint64_t sum = counts[0][i] + counts[1][i];
    if (sum > 0) last = i;
    if (sum > most) most = sum;
  }
  if (most == 0) return;
  const double step = (double)CHART_WIDTH / (last + 1);
  print(page,
        "<h3>Lengths</h3><p><small>documents by characters; <b style=\"color:#3b76b5\">kept</b>, "
        "<b style=\"color:#d9822b\">dropped</b>; the highest bar is %" PRIu64
        "</small></p><svg viewBox=\"0 0 %d %d\" width=\"100%%\">",
        most, CHART_WIDTH, CHART_HEIGHT + 20);
  for (int i = 0; i <= last; i++) {
    const double low = CHART_HEIGHT * share(counts[0][i], most), high = CHART_HEIGHT * share(counts[1][i], most);
    print(page, "<rect class=k x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", i * step + 1,
          CHART_HEIGHT - low, step - 2, low);
    print(page, "<rect class=d x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", i * step + 1,
          CHART_HEIGHT - low - high, step - 2, high);
    print(page, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", (i + 0.5) * step, CHART_HEIGHT + 14);
    const uint64_t edge = UINT64_C(1) << i;
    if (edge < 1000) print(page, "%" PRIu64 "</text>", edge);
    if (edge >= 1000)
      print(page, "%.0f%s</text>", (double)edge / (edge < 1000000 ? 1e3 : 1e6), edge < 1000000 ? "k" : "M");
  }
  dure_bytes_append_text(page, "</svg>");
}

static void print_curve(dure_bytes *page, const json_t *summary) {
  const json_t *curve = json_object_get(summary, "curve"), *point = NULL;
  if (!json_is_array(curve)) return;
  print(page,
        "<h3>Near duplicates</h3><p><small>%" PRIu64 " bands of %" PRIu64
        " rows: the share of pairs found (upwards) by their similarity, 0 to 1</small></p>"
        "<svg viewBox=\"0 0 %d %d\" width=\"60%%\"><rect width=\"%d\" height=\"%d\" fill=\"#f6f6f6\"/>"
        "<polyline fill=\"none\" stroke=\"#3b76b5\" stroke-width=\"3\" points=\"0,%d",
        number(summary, "bands"), number(summary, "rows"), CHART_WIDTH, CHART_HEIGHT, CHART_WIDTH, CHART_HEIGHT,
        CHART_HEIGHT);
  size_t i = 0;
  json_array_foreach(curve, i, point) {
    print(page, " %.1f,%.1f", CHART_WIDTH * json_number_value(json_array_get(point, 0)),
          CHART_HEIGHT * (1 - json_number_value(json_array_get(point, 1))));
  }
  dure_bytes_append_text(page, "\"/></svg>");
}

// ---- tables ----

static void print_examples(dure_bytes *page, const json_t *examples) {
  const json_t *example = NULL;
  size_t i = 0;
  if (json_array_size(examples) == 0) return;
  print(page, "<details><summary>%zu examples</summary>", json_array_size(examples));
  json_array_foreach(examples, i, example) {
    const char *note = json_string_value(json_object_get(example, "note"));
    dure_bytes_append_text(page, "<small>");
    escape(page, json_string_value(json_object_get(example, "source")));
    if (note != NULL) dure_bytes_append_text(page, ": ");
    escape(page, note);
    dure_bytes_append_text(page, "</small><pre>");
    escape(page, json_string_value(json_object_get(example, "text")));
    dure_bytes_append_text(page, "</pre>");
  }
  dure_bytes_append_text(page, "</details>");
}

// "too_short" -> "too short"
static void print_reason(dure_bytes *page, const char *reason) {
  for (const char *cursor = reason; *cursor != '\0'; cursor++) {
    const char character[2] = {*cursor == '_' ? ' ' : *cursor, '\0'};
    escape(page, character);
  }
}

static void print_dropped(dure_bytes *page, const json_t *report) {
  json_t *dropped = json_object_get(report, "dropped"), *row = NULL;
  const char *reason = NULL;
  const json_t *documents = json_object_get(report, "documents");
  const uint64_t all = number(documents, "kept") + number(documents, "dropped");
  if (json_object_size(dropped) == 0) return;
  dure_bytes_append_text(page,
                         "<h3>Dropped, by reason</h3><table><tr><th>reason<th class=n>documents<th class=n>text"
                         "<th class=n>of all documents<th></tr>");
  json_object_foreach(dropped, reason, row) {
    dure_bytes_append_text(page, "<tr><td>");
    print_reason(page, reason);
    print_examples(page, json_object_get(row, "examples"));
    dure_bytes_append_text(page, "</td>");
    print_count(page, number(row, "documents"));
    print_bytes(page, number(row, "bytes"));
    print_share(page, share(number(row, "documents"), all));
    dure_bytes_append_text(page, "</tr>");
  }
  dure_bytes_append_text(page, "</table>");
}

static void print_languages(dure_bytes *page, const json_t *report) {
  json_t *languages = json_object_get(report, "languages"), *row = NULL;
  const char *name = NULL;
  uint64_t bytes = 0, tokens = 0;
  json_object_foreach(languages, name, row) {
    bytes += number(row, "kept_bytes");
    tokens += number(row, "tokens");
  }
  if (json_object_size(languages) == 0) return;
  print(page,
        "<h3>Languages</h3><table><tr><th>language<th class=n>kept<th class=n>dropped<th class=n>text kept%s"
        "<th class=n>share of text<th></tr>",
        tokens > 0 ? "<th class=n>tokens<th class=n>bytes a token" : "");
  json_object_foreach(languages, name, row) {
    print_name(page, name);
    print_count(page, number(row, "kept"));
    print_count(page, number(row, "dropped"));
    print_bytes(page, number(row, "kept_bytes"));
    if (tokens > 0) {
      print_count(page, number(row, "tokens"));
      print(page, "<td class=n>%.2f</td>", share(number(row, "kept_bytes"), number(row, "tokens")));
    }
    print_share(page, share(number(row, "kept_bytes"), bytes));
    dure_bytes_append_text(page, "</tr>");
  }
  dure_bytes_append_text(page, "</table>");
}

typedef struct source_row {
  const char *name;
  const json_t *row;
  uint64_t bytes;
} source_row;

static int compare_sources(const void *a, const void *b) {
  const source_row *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
  return strcmp(x->name, y->name);
}

static void print_source(dure_bytes *page, const source_row *source) {
  const json_t *reasons = json_object_get(source->row, "reasons");
  const uint64_t repeats = number(reasons, "duplicate") + number(reasons, "near_duplicate");
  const uint64_t kept = number(source->row, "kept"), dropped = number(source->row, "dropped");
  print_name(page, source->name);
  print_count(page, kept);
  print_count(page, dropped);
  print_bytes(page, number(source->row, "kept_bytes"));
  print_count(page, repeats);
  print_share(page, share(repeats, kept + dropped));
  dure_bytes_append_text(page, "</tr>");
}

static dure_status print_sources(dure_bytes *page, const json_t *report) {
  json_t *sources = json_object_get(report, "sources"), *row = NULL;
  const size_t count = json_object_size(sources);
  const char *name = NULL;
  if (count == 0) return NULL;
  source_row *rows = calloc(count, sizeof(*rows));
  if (rows == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory making the page");
  size_t used = 0;
  json_object_foreach(sources, name, row) {
    rows[used++] = (source_row){name, row, number(row, "kept_bytes") + number(row, "dropped_bytes")};
  }
  qsort(rows, count, sizeof(*rows), compare_sources);
  print(page,
        "<h3>Sources</h3><p><small>the %zu largest of %zu</small></p><table><tr><th>source<th class=n>kept"
        "<th class=n>dropped<th class=n>text kept<th class=n>duplicates<th class=n>of its documents<th></tr>",
        count < SHOWN_SOURCES ? count : (size_t)SHOWN_SOURCES, count);
  for (size_t i = 0; i < count && i < SHOWN_SOURCES; i++) print_source(page, &rows[i]);
  dure_bytes_append_text(page, "</table>");
  free(rows);
  return NULL;
}

// Whatever else the step counted.
static void print_summary(dure_bytes *page, const json_t *report) {
  json_t *summary = json_object_get(report, "summary"), *value = NULL;
  const char *name = NULL;
  if (json_object_size(summary) == 0) return;
  dure_bytes_append_text(page, "<details><summary>all counts of this step</summary><table>");
  json_object_foreach(summary, name, value) {
    if (!json_is_integer(value) && !json_is_real(value)) continue;
    dure_bytes_append_text(page, "<tr><td>");
    print_reason(page, name);
    print(page, "</td><td class=n>%.10g</td></tr>", json_number_value(value));
  }
  dure_bytes_append_text(page, "</table></details>");
}

// `data mix`: what was asked for and what came out.
static void print_composition(dure_bytes *page, const json_t *report) {
  const json_t *rows = json_object_get(report, "composition"), *row = NULL;
  size_t i = 0;
  uint64_t all = 0;
  if (json_array_size(rows) == 0) return;
  json_array_foreach(rows, i, row) all += number(row, "bytes");
  dure_bytes_append_text(page,
                         "<h3>Composition</h3><table><tr><th>stage, source, language<th class=n>there"
                         "<th class=n>epochs<th class=n>documents<th class=n>text<th class=n>of the mixture<th></tr>");
  json_array_foreach(rows, i, row) {
    dure_bytes_append_text(page, "<tr><td>");
    escape(page, json_string_value(json_object_get(row, "stage")));
    dure_bytes_append_text(page, ", ");
    escape(page, json_string_value(json_object_get(row, "source")));
    dure_bytes_append_text(page, ", ");
    escape(page, json_string_value(json_object_get(row, "language")));
    dure_bytes_append_text(page, "</td>");
    print_bytes(page, number(row, "available_bytes"));
    print(page, "<td class=n>%.3f</td>", json_number_value(json_object_get(row, "epochs")));
    print_count(page, number(row, "documents"));
    print_bytes(page, number(row, "bytes"));
    print_share(page, share(number(row, "bytes"), all));
    dure_bytes_append_text(page, "</tr>");
  }
  dure_bytes_append_text(page, "</table>");
}

// ---- the page ----

static dure_status print_report(dure_bytes *page, const json_t *report, const char *path) {
  const json_t *documents = json_object_get(report, "documents");
  const char *step = json_string_value(json_object_get(report, "step"));
  dure_bytes_append_text(page, "<h2>");
  escape(page, step != NULL ? step : "?");
  dure_bytes_append_text(page, " <small>");
  escape(page, path);
  dure_bytes_append_text(page,
                         "</small></h2><table><tr><th><th class=n>documents<th class=n>text<th class=n>share of text"
                         "<th></tr>");
  const uint64_t kept = number(documents, "kept_bytes"), dropped = number(documents, "dropped_bytes");
  print_name(page, "kept");
  print_count(page, number(documents, "kept"));
  print_bytes(page, kept);
  print_share(page, share(kept, kept + dropped));
  print_name(page, "dropped");
  print_count(page, number(documents, "dropped"));
  print_bytes(page, dropped);
  print_share(page, share(dropped, kept + dropped));
  dure_bytes_append_text(page, "</table>");
  print_dropped(page, report);
  print_composition(page, report);
  print_languages(page, report);
  print_lengths(page, json_object_get(report, "lengths"));
  print_curve(page, json_object_get(report, "summary"));
  DURE_TRY(print_sources(page, report));
  print_summary(page, report);
  return NULL;
}

static dure_status read_report(const char *path, json_t **out_report) {
  char *text = NULL;
  size_t size = 0;
  *out_report = NULL;
  DURE_TRY(dure_os_read_file(path, REPORT_LIMIT, &text, &size));
  json_error_t error;
  json_t *report = json_loadb(text, size, 0, &error);
  free(text);
  if (report == NULL) return dure_fail(DURE_CORRUPT, "%s:%d: not JSON: %s", path, error.line, error.text);
  const char *format = json_string_value(json_object_get(report, "format"));
  if (format == NULL || strcmp(format, "dure-step-report") != 0) {
    json_decref(report);
    return dure_fail(DURE_CORRUPT,
                     "'%s' is no report of a step: 'dure data clean --report FILE' and its like make them", path);
  }
  *out_report = report;
  return NULL;
}

dure_status dure_report_page_write(const char *const *paths, size_t count, const char *output) {
  dure_bytes page = {0};
  print(&page,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">"
        "<title>Data report</title>");
  dure_bytes_append_text(&page, style);
  dure_bytes_append_text(&page, "<h1>Data report</h1>");
  dure_status status = NULL;
  for (size_t i = 0; i < count && status == NULL; i++) {
    json_t *report = NULL;
    status = read_report(paths[i], &report);
    if (status == NULL) status = print_report(&page, report, paths[i]);
    json_decref(report);
  }
  dure_bytes_append_text(&page, "</html>\n");
  if (status == NULL) status = dure_bytes_status(&page);
  dure_output *file = NULL;
  if (status == NULL) status = dure_output_open(output, &file);
  if (file != NULL) status = dure_output_close(file, dure_output_write(file, page.data, page.size));
  dure_bytes_free(&page);
  return status;
}
