// dure bench: measures operations on a device (docs/testing.md says how).
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_cases.h"
#include "cli/bench_model.h"
#include "cli/command.h"
#include "cli/op_name.h"
#include "cli/output.h"
#include "runtime/conformance/case_program.h"
#include "runtime/os.h"

enum { REPEATS_MOST = 200 };
static const double seconds_per_case = 0.5;  // repeats go on for about so long

typedef struct bench_options {
  const char *device, *op, *dtype, *attention;
  bool as_json, is_terminal, is_large;
  int64_t repeats;     // at least
  int64_t size;        // of matmuls; 0: the sizes of training
  dure_dtype storage;  // what dtype says
  uint64_t shape[4];   // what attention says
} bench_options;

typedef struct measurement {
  const char *name, *op;
  bool counts_flops;  // its floating-point operations are counted exactly, not estimated
  bool is_supported;
  char reason[256];                               // why it is not
  double median, lower_quartile, upper_quartile;  // seconds
  size_t repeats;
  dure_cost cost;
} measurement;

// What shares are taken of: the bandwidth of a copy too large for caches, and the best matmul of this run.
typedef struct ceilings {
  double bytes_per_second, flops_per_second;
} ceilings;

static int compare_numbers(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

// Device time of the last submission, or the wall clock's where the device keeps no time.
static double seconds_of(dure_executable *executable, double wall_seconds, bool *is_device_time) {
  dure_profile_row *rows = NULL;
  size_t count = 0;
  double nanoseconds = 0;
  dure_status status = dure_executable_profile(executable, &rows, &count);
  for (size_t i = 0; status == NULL && i < count; i++) nanoseconds += rows[i].nanoseconds;
  free(rows);
  dure_status_free(status);
  *is_device_time = nanoseconds > 0;
  return nanoseconds > 0 ? nanoseconds * 1e-9 : wall_seconds;
}

// Fills the bases with a first part of their values, repeated: a large call's whole operands would take longer to make
// than to measure.
static dure_status write_operands(const dure_case *c, const dure_case_program *program, dure_stream *stream) {
  enum { part_elements = 1 << 20 };
  dure_case_data data;
  DURE_TRY(dure_case_data_generate_part(c, 1, part_elements, &data));
  dure_status status = NULL;
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS && status == NULL; i++) {
    if (data.bases[i] == NULL) continue;
    const dure_dtype dtype = dure_case_dtype(c, i);
    const uint64_t count = c->operands[i].base_count, part = count < part_elements ? count : part_elements;
    uint16_t *narrow = (uint16_t *)data.bases[i];  // in place: what is read lies behind what is written
    if (dure_dtype_size(dtype) == 2) {
      for (uint64_t k = 0; k < part; k++)
        dure_dtype_store(dtype, narrow, k, dure_dtype_load(DURE_DTYPE_F32, data.bases[i], k));
    }
    dure_operand operand;
    status = dure_executable_operand(program->executable, program->bases[i], &operand);
    for (uint64_t done = 0; done < count && status == NULL; done += part) {
      const uint64_t size = (count - done < part ? count - done : part) * dure_dtype_size(dtype);
      status = dure_stream_upload(stream, operand.buffer, operand.offset + done * dure_dtype_size(dtype), narrow, size);
    }
  }
  dure_case_data_free(&data);
  return status;
}

static dure_status submit_and_wait(dure_executable *executable, dure_stream *stream, double *out_seconds) {
  *out_seconds = 0;
  uint64_t start = dure_os_nanoseconds();
  DURE_TRY(dure_executable_submit(executable, stream));
  DURE_TRY(dure_stream_wait(stream, 0));
  *out_seconds = (double)(dure_os_nanoseconds() - start) * 1e-9;
  return NULL;
}

// Two runs to warm up (kernels are compiled by then), then repeats until there are enough and the time is up.
static dure_status repeat(dure_executable *executable, dure_stream *stream, const bench_options *options,
                          measurement *m, bool *is_device_time) {
  double times[REPEATS_MOST], wall = 0, spent = 0;
  for (int i = 0; i < 2; i++) DURE_TRY(submit_and_wait(executable, stream, &wall));
  while (m->repeats < REPEATS_MOST && (m->repeats < (size_t)options->repeats || spent < seconds_per_case)) {
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "interrupted");
    DURE_TRY(submit_and_wait(executable, stream, &wall));
    spent += wall;
    times[m->repeats++] = seconds_of(executable, wall, is_device_time);
  }
  qsort(times, m->repeats, sizeof(times[0]), compare_numbers);
  m->lower_quartile = times[m->repeats / 4];
  m->upper_quartile = times[m->repeats - 1 - m->repeats / 4];
  m->median = m->repeats % 2 == 1 ? times[m->repeats / 2] : (times[m->repeats / 2 - 1] + times[m->repeats / 2]) / 2;
  m->cost = dure_executable_cost(executable);
  return NULL;
}

static dure_status measure(const dure_case *c, dure_device *device, dure_stream *stream, const bench_options *options,
                           measurement *m, bool *is_device_time) {
  dure_compile_options compile = {.label = c->name, .with_timestamps = true};
  dure_case_program program;
  dure_status status = dure_case_compile(c, device, &compile, &program);
  if (dure_status_code(status) == DURE_UNSUPPORTED || dure_status_code(status) == DURE_OUT_OF_MEMORY) {
    snprintf(m->reason, sizeof(m->reason), "%s", dure_status_message(status));
    dure_status_free(status);
    return NULL;
  }
  if (status == NULL) status = write_operands(c, &program, stream);
  if (status == NULL) status = repeat(program.executable, stream, options, m, is_device_time);
  m->is_supported = status == NULL;
  if (status != NULL) status = dure_status_join(status, dure_stream_wait(stream, 0));
  dure_executable_destroy(program.executable);
  return status;
}

// The part of its ceiling that a call reaches: of the time that moving its bytes or doing its work would take at best.
static double share_of(const measurement *m, const ceilings *limit) {
  double least = limit->bytes_per_second > 0 ? m->cost.bytes / limit->bytes_per_second : 0;
  if (m->counts_flops && limit->flops_per_second > 0) least = fmax(least, m->cost.flops / limit->flops_per_second);
  return least / m->median;
}

static void raise_ceilings(const measurement *m, bool is_large_copy, ceilings *limit) {
  if (!m->is_supported) return;
  if (is_large_copy) limit->bytes_per_second = m->cost.bytes / m->median;
  if (strcmp(m->op, "matmul") == 0) limit->flops_per_second = fmax(limit->flops_per_second, m->cost.flops / m->median);
}

static void print_table(const dure_device_info *info, const measurement *rows, size_t count, const ceilings *limit,
                        bool is_device_time) {
  printf("%s  %s  (%s)\n", info->identifier, info->name, info->driver);
  printf("times by the %s; ceilings: %.1f GB/s (the large copy), %.1f GFLOP/s (best matmul)\n\n",
         is_device_time ? "device's timestamps" : "wall clock of submit and wait", limit->bytes_per_second * 1e-9,
         limit->flops_per_second * 1e-9);
  printf("%-48s %10s %8s %5s %9s %8s %6s\n", "call", "median ms", "spread", "runs", "GFLOP/s", "GB/s", "share");
  for (size_t i = 0; i < count; i++) {
    const measurement *m = &rows[i];
    if (!m->is_supported) {
      printf("%-48s %10s  %s\n", m->name, "-", m->reason);
      continue;
    }
    char flops[32] = "-";
    if (m->counts_flops) snprintf(flops, sizeof(flops), "%.2f", m->cost.flops / m->median * 1e-9);
    printf("%-48s %10.3f %7.0f%% %5zu %9s %8.2f %5.0f%%\n", m->name, m->median * 1e3,
           (m->upper_quartile - m->lower_quartile) / m->median * 100, m->repeats, flops,
           m->cost.bytes / m->median * 1e-9, share_of(m, limit) * 100);
  }
}

static json_t *measurement_json(const measurement *m, const ceilings *limit) {
  if (!m->is_supported) return json_pack("{s:s, s:s, s:s}", "call", m->name, "op", m->op, "unsupported", m->reason);
  return json_pack("{s:s, s:s, s:f, s:f, s:f, s:I, s:o, s:f, s:f}", "call", m->name, "op", m->op, "median_seconds",
                   m->median, "lower_quartile_seconds", m->lower_quartile, "upper_quartile_seconds", m->upper_quartile,
                   "repeats", (json_int_t)m->repeats, "flops_per_second",
                   m->counts_flops ? json_real(m->cost.flops / m->median) : json_null(), "bytes_per_second",
                   m->cost.bytes / m->median, "share_of_ceiling", share_of(m, limit));
}

static dure_status print_json(const dure_device_info *info, const measurement *rows, size_t count,
                              const ceilings *limit, bool is_device_time) {
  json_t *calls = json_array();
  for (size_t i = 0; i < count && calls != NULL; i++) json_array_append_new(calls, measurement_json(&rows[i], limit));
  return output_json(json_pack("{s:s, s:o, s:o, s:s, s:f, s:f, s:o}", "device", info->identifier, "name",
                               output_json_text(info->name, strlen(info->name)), "driver",
                               output_json_text(info->driver, strlen(info->driver)), "clock",
                               is_device_time ? "device" : "wall", "copy_bytes_per_second", limit->bytes_per_second,
                               "matmul_flops_per_second", limit->flops_per_second, "calls", calls));
}

// The first two cases give the ceilings, so they always run; they are shown when they are among the chosen ones.
static dure_status run_cases(dure_device *device, dure_stream *stream, const bench_options *options,
                             const dure_case_list *list, measurement *rows) {
  ceilings limit = {0, 0};
  bool is_device_time = false;
  size_t count = 0;
  for (size_t i = 0; i < list->count; i++) {
    const char *op = dure_op_get(list->cases[i].op)->name;
    bool is_chosen = options->op == NULL || strcmp(options->op, op) == 0;
    if (i >= 2 && !is_chosen) continue;
    if (options->is_terminal) fprintf(stderr, "\r\033[K%s", list->cases[i].name);
    measurement m = {.name = list->cases[i].name, .op = op};
    m.counts_flops = strncmp(op, "matmul", strlen("matmul")) == 0 || strncmp(op, "attention", strlen("attention")) == 0;
    DURE_TRY(dure_status_prefix(measure(&list->cases[i], device, stream, options, &m, &is_device_time), "%s", m.name));
    raise_ceilings(&m, i == 0, &limit);
    if (is_chosen) rows[count++] = m;
  }
  if (options->is_terminal) fprintf(stderr, "\r\033[K");
  if (options->as_json) return print_json(dure_device_get_info(device), rows, count, &limit, is_device_time);
  print_table(dure_device_get_info(device), rows, count, &limit, is_device_time);
  return output_check();
}

static dure_status run_on(dure_device *device, const bench_options *options) {
  // The oracle is hundreds of times slower than a GPU: smaller calls say as much. So do a processor's cores.
  const dure_device_kind kind = dure_device_get_info(device)->kind;
  bench_choice choice = {.size = (uint64_t)options->size, .storage = options->storage, .is_large = options->is_large};
  memcpy(choice.attention, options->shape, sizeof(choice.attention));
  choice.scale = kind == DURE_DEVICE_REFERENCE ? 8 : 1;
  if (options->is_large && (kind == DURE_DEVICE_REFERENCE || kind == DURE_DEVICE_CPU)) choice.scale = 64;
  dure_case_list list;
  dure_stream *stream = NULL;
  DURE_TRY(bench_cases_collect(&choice, &list));
  measurement *rows = calloc(list.count, sizeof(*rows));
  dure_status status = rows == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "no memory left for the measurements") : NULL;
  if (status == NULL) status = dure_stream_create(device, &stream);
  if (status == NULL) status = run_cases(device, stream, options, &list, rows);
  dure_stream_destroy(stream);
  free(rows);
  dure_cases_free(&list);
  return status;
}

// "B,T,H,D".
static dure_status read_shape(const char *text, uint64_t shape[4]) {
  for (int i = 0; text != NULL && i < 4; i++) {
    char *end = NULL;
    shape[i] = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    if (shape[i] < 1 || shape[i] > 1048576 || *end != (i < 3 ? ',' : '\0')) {
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "--attention must be batch, context, heads and head size, such as 4,4096,16,128");
    }
    text = end + 1;
  }
  return NULL;
}

static dure_status bench_ops(bench_options *options) {
  const dure_dtype types[] = {DURE_DTYPE_F32, DURE_DTYPE_BF16, DURE_DTYPE_F16};
  for (size_t i = 0; options->dtype != NULL && i < sizeof(types) / sizeof(types[0]); i++) {
    if (strcmp(options->dtype, dure_dtype_name(types[i])) == 0) options->storage = types[i];
  }
  if (options->dtype != NULL && options->storage == DURE_DTYPE_NONE) {
    return dure_fail(DURE_INVALID_ARGUMENT, "--dtype must be f32, bf16 or f16, not '%s'", options->dtype);
  }
  if (options->size < 0 || options->size > 65536) {
    return dure_fail(DURE_INVALID_ARGUMENT, "--size must lie between 1 and 65536");
  }
  DURE_TRY(read_shape(options->attention, options->shape));
  DURE_TRY(op_name_check(options->op));
  if (options->repeats < 1 || options->repeats > REPEATS_MOST) {
    return dure_fail(DURE_INVALID_ARGUMENT, "--repeats must lie between 1 and %d", REPEATS_MOST);
  }
  dure_device *device = NULL;
  DURE_TRY(dure_device_open(options->device, &device));
  dure_status status = run_on(device, options);
  dure_device_close(device);
  return status;
}

int command_bench(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "compare") == 0) return bench_compare(argc, argv);
  if (argc > 1 && strcmp(argv[1], "report") == 0) return bench_report(argc, argv);
  if (argc > 1 && argv[1][0] != '-' && strcmp(argv[1], "ops") != 0) return bench_model(argc, argv);
  bench_options chosen = {.repeats = 5, .is_terminal = dure_os_is_terminal(2)};
  const option_row options[] = {
      {"device", OPTION_TEXT, &chosen.device, "D", "auto, vulkan, vulkan:N, cuda:N or reference (default: auto)"},
      {"op", OPTION_TEXT, &chosen.op, "OP", "only the calls of this op"},
      {"dtype", OPTION_TEXT, &chosen.dtype, "TYPE", "f32, bf16 or f16: the type of tensors (default: f32)"},
      {"size", OPTION_INTEGER, &chosen.size, "N", "only matmuls of N x N x N"},
      {"attention", OPTION_TEXT, &chosen.attention, "B,T,H,D", "only attention of that shape, forward and backward"},
      {"large", OPTION_FLAG, &chosen.is_large, NULL, "sizes of several times a large card's caches"},
      {"repeats", OPTION_INTEGER, &chosen.repeats, "N", "at least so many timed runs of each call (default: 5)"},
      {"json", OPTION_FLAG, &chosen.as_json, NULL, "the measurements as one JSON object"},
  };
  const command_usage usage = {
      .synopsis =
          "dure bench ops [--op OP] [--dtype TYPE] [--size N] [--attention B,T,H,D] [--large] [--device D]\n"
          "                      [--repeats N] [--json]",
      .description =
          "Measures single operations at the sizes that training and generation use: median time, spread\n"
          "(between the quartiles), rates, and the share of what the device was seen to reach at best\n"
          "(copying for what moves bytes, matmul for what computes).\n"
          "`dure bench MODEL` measures a model, `dure bench compare A.json B.json` compares two such measurements,\n"
          "`dure bench report FILE.json...` makes a page with plots of any number of them;\n"
          "each has a --help of its own.",
      .options = options,
      .option_count = sizeof(options) / sizeof(options[0]),
      .example = "dure bench ops --op matmul --device vulkan",
      .positional_minimum = 1,
      .positional_maximum = 1,
  };
  const char *const *positional;
  size_t positional_count;
  int parsed = command_parse(&usage, argc, argv, &positional, &positional_count);
  if (parsed >= 0) return parsed;
  if (positional_count != 1 || strcmp(positional[0], "ops") != 0) {
    fprintf(stderr, "dure bench: put what is measured first: ops, a model, compare or report\nusage: %s\n",
            usage.synopsis);
    return EXIT_USAGE;
  }
  dure_os_catch_interrupts();
  return command_finish("bench", bench_ops(&chosen));
}
