// dure selftest: runs the conformance suite on a device.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/op_name.h"
#include "runtime/conformance/conformance.h"
#include "runtime/hal.h"
#include "runtime/os.h"

// What has been seen of the op whose cases are running, and where results go.
typedef struct report {
  const dure_device_info *device;
  uint64_t seed;
  bool as_json, is_terminal;
  bool has_row;  // JSON: a result has been printed
  char op[64];   // table: the op whose line is being gathered
  size_t counts[DURE_CONFORMANCE_OUTCOME_COUNT];
  double seconds, worst_error;
} report;

static void print_json_text(const char *text) {
  putchar('"');
  for (; *text != '\0'; text++) {
    unsigned char byte = (unsigned char)*text;
    if (byte == '"' || byte == '\\') {
      printf("\\%c", byte);
    } else if (byte < 0x20) {
      printf("\\u%04x", byte);
    } else {
      putchar(byte);
    }
  }
  putchar('"');
}

static void print_json_result(report *r, const dure_conformance_result *result) {
  printf("%s\n    {\"op\": \"%s\", \"case\": ", r->has_row ? "," : "", result->op);
  r->has_row = true;
  print_json_text(result->name);
  printf(", \"outcome\": \"%s\", \"seconds\": %.6f",
         result->outcome == DURE_CONFORMANCE_FAIL ? "fail" : dure_conformance_outcome_name(result->outcome),
         result->seconds);
  if (result->worst_error < 1e300) printf(", \"worst_error_in_tolerances\": %.6g", result->worst_error);
  if (result->message[0] != '\0') {
    printf(", \"message\": ");
    print_json_text(result->message);
  }
  printf("}");
}

static void print_heading(const report *r) {
  const dure_device_info *info = r->device;
  if (r->as_json) {
    printf("{\n  \"device\": \"%s\",\n  \"name\": ", info->identifier);
    print_json_text(info->name);
    printf(",\n  \"driver\": ");
    print_json_text(info->driver);
    printf(",\n  \"seed\": %" PRIu64 ",\n  \"results\": [", r->seed);
    return;
  }
  printf("%s  %s  (%s)\n\n", info->identifier, info->name, info->driver);
  printf("%-24s %5s %6s %8s %12s %9s %8s %8s\n", "op", "pass", "FAIL", "skipped", "unsupported", "expected", "seconds",
         "worst");
}

static void clear_progress(const report *r) {
  if (r->is_terminal) fprintf(stderr, "\r\033[K");
}

// One line of the table: the op that has just ended.
static void print_op(report *r) {
  if (r->op[0] == '\0') return;
  clear_progress(r);
  printf("%-24s %5zu %6zu %8zu %12zu %9zu %8.1f %8.3f\n", r->op, r->counts[DURE_CONFORMANCE_PASS],
         r->counts[DURE_CONFORMANCE_FAIL], r->counts[DURE_CONFORMANCE_SKIPPED], r->counts[DURE_CONFORMANCE_UNSUPPORTED],
         r->counts[DURE_CONFORMANCE_EXPECTED_FAILURE], r->seconds, r->worst_error < 1e300 ? r->worst_error : 0);
  fflush(stdout);
}

static void print_failure(const report *r, const dure_conformance_result *result) {
  clear_progress(r);
  fprintf(stderr, "%s  %s: %s\n", dure_conformance_outcome_name(result->outcome), result->name, result->message);
  if (result->outcome != DURE_CONFORMANCE_FAIL) return;
  fprintf(stderr, "      again: dure selftest --device %s --case '%s'", r->device->identifier, result->name);
  if (r->seed != 0) fprintf(stderr, " --seed %" PRIu64, r->seed);
  fprintf(stderr, "\n");
}

// Failures, what was skipped and why, and for each op that is unsupported the first time it is said.
static bool is_worth_telling(const report *r, const dure_conformance_result *result) {
  if (result->outcome == DURE_CONFORMANCE_UNSUPPORTED) {
    return strcmp(r->op, result->op) != 0 || r->counts[DURE_CONFORMANCE_UNSUPPORTED] == 0;
  }
  return result->outcome == DURE_CONFORMANCE_FAIL || result->outcome == DURE_CONFORMANCE_SKIPPED;
}

static void receive(void *context, const dure_conformance_result *result) {
  report *r = context;
  if (result->index == 0) print_heading(r);
  if (is_worth_telling(r, result)) print_failure(r, result);
  if (r->as_json) print_json_result(r, result);
  if (strcmp(r->op, result->op) != 0) {
    if (!r->as_json) print_op(r);
    snprintf(r->op, sizeof(r->op), "%s", result->op);
    memset(r->counts, 0, sizeof(r->counts));
    r->seconds = r->worst_error = 0;
  }
  r->counts[result->outcome]++;
  r->seconds += result->seconds;
  if (result->worst_error > r->worst_error && result->worst_error < 1e300) r->worst_error = result->worst_error;
  if (r->is_terminal) fprintf(stderr, "\r\033[K%zu/%zu  %.100s", result->index + 1, result->count, result->name);
}

static void print_summary(const report *r, const dure_conformance_summary *summary) {
  const size_t *counts = summary->counts;
  if (r->as_json) {
    printf(
        "\n  ],\n  \"pass\": %zu, \"fail\": %zu, \"skipped\": %zu, \"unsupported\": %zu, \"expected_failure\": %zu, "
        "\"seconds\": %.3f\n}\n",
        counts[DURE_CONFORMANCE_PASS], counts[DURE_CONFORMANCE_FAIL], counts[DURE_CONFORMANCE_SKIPPED],
        counts[DURE_CONFORMANCE_UNSUPPORTED], counts[DURE_CONFORMANCE_EXPECTED_FAILURE], summary->seconds);
    return;
  }
  printf("\n%zu passed, %zu failed, %zu skipped, %zu unsupported, %zu expected failures in %.1f s\n",
         counts[DURE_CONFORMANCE_PASS], counts[DURE_CONFORMANCE_FAIL], counts[DURE_CONFORMANCE_SKIPPED],
         counts[DURE_CONFORMANCE_UNSUPPORTED], counts[DURE_CONFORMANCE_EXPECTED_FAILURE], summary->seconds);
  printf("(worst: the largest error found, as a part of its tolerance)\n");
}

static dure_status run(dure_device *device, const dure_conformance_options *options, report *r, size_t *out_failures) {
  dure_conformance_summary summary;
  *out_failures = 0;
  r->device = dure_device_get_info(device);
  r->seed = options->seed;
  dure_status status = dure_conformance_run(device, options, receive, r, &summary);
  if (r->op[0] == '\0') return status;  // not a single case has run
  if (!r->as_json) print_op(r);
  print_summary(r, &summary);
  *out_failures = summary.counts[DURE_CONFORMANCE_FAIL];
  return status;
}

int command_selftest(int argc, char **argv) {
  const char *device_name = NULL, *op = NULL, *case_name = NULL;
  bool full = false, as_json = false;
  int64_t seed = 0, every = 1, part = 0;
  const option_row options[] = {
      {"device", OPTION_TEXT, &device_name, "D", "auto, vulkan, vulkan:N, cuda:N or reference (default: auto)"},
      {"op", OPTION_TEXT, &op, "OP", "only the cases of this op"},
      {"case", OPTION_TEXT, &case_name, "NAME", "only the case of this name, as a failure prints it"},
      {"every", OPTION_INTEGER, &every, "N", "only about one case in N, drawn by name (default 1)"},
      {"part", OPTION_INTEGER, &part, "I", "which of the N parts, from 0 (default 0)"},
      {"full", OPTION_FLAG, &full, NULL, "larger shapes too, among them operands larger than one binding (minutes)"},
      {"seed", OPTION_INTEGER, &seed, "N", "other inputs (default: 0)"},
      {"json", OPTION_FLAG, &as_json, NULL, "every case as JSON on standard output"},
  };
  const command_usage usage = {
      .synopsis = "dure selftest [--device D] [--op OP] [--case NAME] [--every N] [--full] [--json]",
      .description =
          "Holds every operation of a device against the plain C reference: results within derived tolerances,\n"
          "NaN and infinity in place, nothing written outside, the same bits when run twice. Ends with status 0\n"
          "only when nothing failed.",
      .options = options,
      .option_count = sizeof(options) / sizeof(options[0]),
      .example = "dure selftest --device vulkan:0 --op matmul",
  };
  int parsed = command_parse(&usage, argc, argv, NULL, NULL);
  if (parsed >= 0) return parsed;

  if (every < 1 || every > 1000 || part < 0 || part >= every) {
    return command_finish("selftest",
                          dure_fail(DURE_INVALID_ARGUMENT, "--every takes 1 to 1000, --part 0 to one less than that"));
  }
  dure_os_catch_interrupts();
  report r = {.as_json = as_json, .is_terminal = dure_os_is_terminal(2)};
  dure_conformance_options chosen = {.op = op,
                                     .case_name = case_name,
                                     .full = full,
                                     .seed = (uint64_t)seed,
                                     .every = (uint32_t)every,
                                     .part = (uint32_t)part};
  dure_device *device = NULL;
  size_t failures = 0;
  dure_status status = op_name_check(op);
  if (status == NULL) status = dure_device_open(device_name, &device);
  if (status == NULL) status = run(device, &chosen, &r, &failures);
  dure_device_close(device);
  if (status != NULL) return command_finish("selftest", status);
  return failures == 0 ? EXIT_DONE : EXIT_FAILED;
}
