// dure bench compare A.json B.json: which tests differ by more than their spread.
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/bench_model.h"
#include "cli/command.h"
#include "cli/output.h"

typedef struct sample {
  double mean, variance;
  size_t count;
} sample;

static sample sample_of(const json_t *test) {
  const json_t *values = json_object_get(test, "samples_ts");
  sample s = {.count = json_array_size(values)};
  for (size_t i = 0; i < s.count; i++) s.mean += json_number_value(json_array_get(values, i)) / (double)s.count;
  for (size_t i = 0; i < s.count; i++) {
    const double off = json_number_value(json_array_get(values, i)) - s.mean;
    s.variance += s.count > 1 ? off * off / (double)(s.count - 1) : 0;
  }
  return s;
}

// The two-sided 5 % point of Student's t, to about 2 % from 2 degrees of freedom on (expansion about the normal's).
static double critical_t(double freedom) {
  const double z = 1.959964, n = freedom < 1 ? 1 : freedom;
  return z + (z * z * z + z) / (4 * n) + (5 * pow(z, 5) + 16 * z * z * z + 3 * z) / (96 * n * n) +
         (3 * pow(z, 7) + 19 * pow(z, 5) + 17 * z * z * z - 15 * z) / (384 * n * n * n);
}

// Welch's test (Welch 1947): whether the means differ, at 5 %.
static bool differ(sample a, sample b) {
  const double ea = a.variance / (double)a.count, eb = b.variance / (double)b.count, error = sqrt(ea + eb);
  if (a.count < 2 || b.count < 2) return false;
  if (error == 0) return a.mean != b.mean;
  const double freedom = (ea + eb) * (ea + eb) / (ea * ea / (double)(a.count - 1) + eb * eb / (double)(b.count - 1));
  return fabs(a.mean - b.mean) / error > critical_t(freedom);
}

static const json_t *find_test(const json_t *tests, const char *name) {
  size_t index;
  json_t *test;
  json_array_foreach(tests, index, test) {
    const char *found = json_string_value(json_object_get(test, "test"));
    if (found != NULL && strcmp(found, name) == 0) return test;
  }
  return NULL;
}

// An object a line.
static json_t *read_lines(const char *path) {
  FILE *file = fopen(path, "r");
  json_t *tests = file != NULL ? json_array() : NULL, *test;
  while (tests != NULL && (test = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL)) != NULL)
    json_array_append_new(tests, test);
  if (file != NULL) fclose(file);
  return tests;
}

dure_status bench_read_tests(const char *path, json_t **out_tests) {
  json_error_t error;
  *out_tests = json_load_file(path, 0, &error);
  if (json_is_object(*out_tests) || *out_tests == NULL) {
    json_decref(*out_tests);
    *out_tests = read_lines(path);
  }
  bool is_measured = json_is_array(*out_tests) && json_array_size(*out_tests) > 0;
  for (size_t i = 0; i < json_array_size(*out_tests); i++)
    is_measured = is_measured && json_object_get(json_array_get(*out_tests, i), "samples_ts") != NULL;
  if (is_measured) return NULL;
  json_decref(*out_tests);
  *out_tests = NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "'%s' is not what `dure bench MODEL -o json` writes%s%s", path,
                   error.text[0] != '\0' ? ": " : "", error.text);
}

static dure_status compare_tests(const json_t *before, const json_t *after) {
  size_t index, compared = 0;
  const json_t *test;
  printf("| test | t/s before | t/s after | ratio | differs (5 %%) |\n| --- | ---: | ---: | ---: | --- |\n");
  json_array_foreach(before, index, test) {
    const char *name = json_string_value(json_object_get(test, "test"));
    const json_t *other = name != NULL ? find_test(after, name) : NULL;
    const sample a = sample_of(test), b = other != NULL ? sample_of(other) : (sample){0};
    if (a.count == 0 || b.count == 0) continue;
    compared++;
    printf("| %s | %.2f ± %.2f | %.2f ± %.2f | %.3f | %s |\n", name, a.mean, sqrt(a.variance), b.mean, sqrt(b.variance),
           b.mean / a.mean, differ(a, b) ? "yes" : "no");
  }
  if (compared == 0) return dure_fail(DURE_INVALID_ARGUMENT, "the two files have no test in common");
  return output_check();
}

static dure_status compare_files(const char *const *paths) {
  json_t *before = NULL, *after = NULL;
  dure_status status = bench_read_tests(paths[0], &before);
  if (status == NULL) status = bench_read_tests(paths[1], &after);
  if (status == NULL) status = compare_tests(before, after);
  json_decref(before);
  json_decref(after);
  return status;
}

int bench_compare(int argc, char **argv) {
  const command_usage usage = {"dure bench compare BEFORE.json AFTER.json",
                               "Compares two measurements of `dure bench MODEL -o json`, test by test, and says by "
                               "Welch's test at 5 % whether they\n"
                               "differ by more than their spread.",
                               NULL,
                               0,
                               "dure bench compare before.json after.json",
                               3,
                               3};
  const char *const *positional;
  int status = command_parse(&usage, argc, argv, &positional, NULL);
  if (status >= 0) return status;
  return command_finish(argv[0], compare_files(positional + 1));
}
