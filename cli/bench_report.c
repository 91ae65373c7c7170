// dure bench report *.json: measurements of many devices as one page of HTML, which needs nothing else.
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/bench_model.h"
#include "cli/command.h"
#include "cli/output.h"

enum { LABEL = 380, BARS = 420, NUMBERS = 150, ROW = 24, MARGIN = 8 };  // pixels

static const char *text_of(const json_t *test, const char *key) {
  const char *text = json_string_value(json_object_get(test, key));
  return text != NULL ? text : "";
}

static double number_of(const json_t *test, const char *key) { return json_number_value(json_object_get(test, key)); }

static void print_escaped(FILE *file, const char *text) {
  for (const char *c = text; *c != '\0'; c++) {
    switch (*c) {
      case '&': fputs("&amp;", file); break;
      case '<': fputs("&lt;", file); break;
      case '>': fputs("&gt;", file); break;
      case '"': fputs("&quot;", file); break;
      default: fputc(*c, file);
    }
  }
}

// Colours that are told apart in print and by most eyes (Okabe and Ito 2008), one a backend.
static const char *colour_of(const char *backend) {
  static const struct {
    const char *backend, *colour;
  } colours[] = {{"vulkan", "#0072b2"}, {"cuda", "#009e73"}, {"reference", "#999999"}};
  for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++) {
    if (strcmp(colours[i].backend, backend) == 0) return colours[i].colour;
  }
  return "#d55e00";
}

// ---- plots ---------------------------------------------------------------------------------------------------------

static void print_bar(FILE *file, const json_t *test, double most, int y) {
  const double mean = number_of(test, "avg_ts"), deviation = number_of(test, "stddev_ts");
  const double width = most > 0 ? BARS * mean / most : 0;
  const double low = most > 0 ? BARS * fmax(mean - deviation, 0) / most : 0;
  const double high = most > 0 ? BARS * fmin(mean + deviation, most) / most : 0;
  fprintf(file, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", LABEL - MARGIN, y + 16);
  print_escaped(file, text_of(test, "device"));
  fputs(", ", file);
  print_escaped(file, text_of(test, "model_type"));
  fprintf(file, "</text><rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>", LABEL, y + 3, width,
          ROW - 6, colour_of(text_of(test, "backend")));
  fprintf(file, "<path d=\"M%.1f %dH%.1f\" stroke=\"black\"/>", LABEL + low, y + ROW / 2, LABEL + high);
  fprintf(file, "<text x=\"%d\" y=\"%d\">%.2f ± %.2f</text>\n", LABEL + BARS + MARGIN, y + 16, mean, deviation);
}

static void print_plot(FILE *file, const json_t *tests, const char *name) {
  size_t index;
  const json_t *test;
  double most = 0;
  int rows = 0, y = 0;
  json_array_foreach(tests, index, test) {
    if (strcmp(text_of(test, "test"), name) != 0) continue;
    most = fmax(most, number_of(test, "avg_ts") + number_of(test, "stddev_ts"));
    rows++;
  }
  fputs("<h2>", file);
  print_escaped(file, name);
  fprintf(file,
          ", tokens a second</h2>\n<svg viewBox=\"0 0 %d %d\" width=\"%d\" font-family=\"sans-serif\" "
          "font-size=\"12\">\n",
          LABEL + BARS + NUMBERS, rows * ROW + MARGIN, LABEL + BARS + NUMBERS);
  json_array_foreach(tests, index, test) {
    if (strcmp(text_of(test, "test"), name) != 0) continue;
    print_bar(file, test, most, y);
    y += ROW;
  }
  fputs("</svg>\n", file);
}

static bool is_first_of_its_name(const json_t *tests, size_t index) {
  const char *name = text_of(json_array_get(tests, index), "test");
  for (size_t i = 0; i < index; i++) {
    if (strcmp(text_of(json_array_get(tests, i), "test"), name) == 0) return false;
  }
  return true;
}

// ---- the page ------------------------------------------------------------------------------------------------------

static void print_cell(FILE *file, const json_t *test, const char *key, const char *format) {
  const json_t *value = json_object_get(test, key);
  fputs("<td>", file);
  if (json_is_string(value)) print_escaped(file, json_string_value(value));
  if (json_is_number(value)) fprintf(file, format, json_number_value(value));  // absent: empty
  fputs("</td>", file);
}

static void print_table(FILE *file, const json_t *tests) {
  static const struct {
    const char *heading, *key, *format;
  } columns[] = {{"model", "model_filename", ""},
                 {"type", "model_type", ""},
                 {"size (bytes)", "model_size", "%.0f"},
                 {"params", "model_n_params", "%.0f"},
                 {"backend", "backend", ""},
                 {"device", "device", ""},
                 {"driver", "driver", ""},
                 {"version", "version", ""},
                 {"test", "test", ""},
                 {"t/s", "avg_ts", "%.2f"},
                 {"± sd", "stddev_ts", "%.2f"},
                 {"median", "median_ts", "%.2f"},
                 {"W", "avg_watts", "%.1f"},
                 {"J/token", "joules_per_token", "%.4f"},
                 {"°C", "celsius", "%.0f"}};
  size_t index;
  const json_t *test;
  fputs("<h2>All measurements</h2>\n<table><tr>", file);
  for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) fprintf(file, "<th>%s</th>", columns[i].heading);
  fputs("</tr>\n", file);
  json_array_foreach(tests, index, test) {
    fputs("<tr>", file);
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
      print_cell(file, test, columns[i].key, columns[i].format);
    fputs("</tr>\n", file);
  }
  fputs("</table>\n", file);
}

static void print_page(FILE *file, const json_t *tests) {
  fputs(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>dure "
      "bench</title>\n<style>body{font-family:"
      "sans-serif;margin:2em}table{border-collapse:collapse;font-size:13px}td,th{border:1px solid #ccc;padding:3px 7px;"
      "text-align:left}svg{max-width:100%}</style></head><body>\n<h1>dure bench</h1>\n",
      file);
  for (size_t i = 0; i < json_array_size(tests); i++) {
    if (is_first_of_its_name(tests, i)) print_plot(file, tests, text_of(json_array_get(tests, i), "test"));
  }
  print_table(file, tests);
  fputs("</body></html>\n", file);
}

static dure_status read_all(const char *const *paths, size_t count, json_t *tests) {
  for (size_t i = 0; i < count; i++) {
    json_t *read = NULL;
    DURE_TRY(bench_read_tests(paths[i], &read));
    json_array_extend(tests, read);
    json_decref(read);
  }
  if (json_array_size(tests) > 0) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "the files hold no measurements");
}

static dure_status write_report(const char *const *paths, size_t count, const char *target) {
  json_t *tests = json_array();
  FILE *file = stdout;
  dure_status status = tests == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory") : read_all(paths, count, tests);
  if (status == NULL && target != NULL) {
    file = fopen(target, "w");
    if (file == NULL) status = dure_fail_errno("'%s'", target);
  }
  if (status == NULL) {
    print_page(file, tests);
    const bool is_whole = ferror(file) == 0 && fflush(file) == 0;
    if (!is_whole) status = dure_fail_errno("'%s'", target != NULL ? target : "standard output");
  }
  if (file != NULL && file != stdout && fclose(file) != 0 && status == NULL) status = dure_fail_errno("'%s'", target);
  json_decref(tests);
  return status;
}

int bench_report(int argc, char **argv) {
  const char *target = NULL;
  const option_row rows[] = {{"o", OPTION_TEXT, &target, "FILE", "where the page goes (standard output)"}};
  const command_usage usage = {"dure bench report FILE.json... [-o FILE.html]",
                               "Makes one page of HTML of measurements by `dure bench MODEL -o json`: a plot for each "
                               "test, device beside\n"
                               "device, and a table of everything. The page loads nothing from elsewhere.",
                               rows,
                               sizeof(rows) / sizeof(rows[0]),
                               "dure bench report *.json -o report.html",
                               2,
                               1000};
  const char *const *positional;
  size_t count = 0;
  int status = command_parse(&usage, argc, argv, &positional, &count);
  if (status >= 0) return status;
  return command_finish(argv[0], write_report(positional + 1, count - 1, target));
}
