// Runs cases on a device: builds each as a program, runs it twice, compares.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/conformance/case_program.h"
#include "runtime/conformance/conformance.h"
#include "runtime/os.h"

enum { GUARD_BYTES = 256 };

typedef struct suite {
  const dure_conformance_options *options;
  dure_device *device;
  dure_device *profiles[DURE_PROFILE_COUNT];  // the device itself, and its restricted openings once they were needed
  dure_stream *streams[DURE_PROFILE_COUNT];
} suite;

static const dure_limits profile_limits[DURE_PROFILE_COUNT] = {
    [DURE_PROFILE_SMALL_BINDING] = {.max_binding_bytes = 16 * 1024},
    [DURE_PROFILE_SMALL_DISPATCH] = {.max_dispatch_flops = 2e5},
};

typedef struct expected_failure {
  const char *driver, *case_name, *reason;
} expected_failure;

static const expected_failure expected_failures[] = {
#define DURE_EXPECTED_FAILURE(driver, case_name, reason) {driver, case_name, reason},
#include "runtime/conformance/expected_failures.def"
#undef DURE_EXPECTED_FAILURE
    {NULL, NULL, NULL},
};

const char *dure_conformance_outcome_name(dure_conformance_outcome outcome) {
  static const char *const names[DURE_CONFORMANCE_OUTCOME_COUNT] = {"pass", "FAIL", "skipped", "unsupported",
                                                                    "expected failure"};
  return (unsigned)outcome < DURE_CONFORMANCE_OUTCOME_COUNT ? names[outcome] : "?";
}

static const char *reason_to_fail(const dure_device_info *info, const char *case_name) {
  for (const expected_failure *row = expected_failures; row->driver != NULL; row++) {
    bool is_driver = strstr(info->driver, row->driver) != NULL || strstr(info->name, row->driver) != NULL;
    if (is_driver && strstr(case_name, row->case_name) != NULL) return row->reason;
  }
  return NULL;
}

// ---- the devices a suite runs on --------------------------------------------------------------------------------

static dure_status open_profile(suite *s, dure_case_profile profile) {
  if (s->profiles[profile] == NULL) {
    if (profile == DURE_PROFILE_NORMAL) {
      s->profiles[profile] = s->device;
    } else {
      DURE_TRY(dure_device_open(dure_device_get_info(s->device)->identifier, &s->profiles[profile]));
      dure_device_restrict(s->profiles[profile], &profile_limits[profile], 0);
    }
  }
  if (s->streams[profile] == NULL) DURE_TRY(dure_stream_create(s->profiles[profile], &s->streams[profile]));
  return NULL;
}

static void close_profiles(suite *s) {
  for (size_t i = 0; i < DURE_PROFILE_COUNT; i++) {
    dure_stream_destroy(s->streams[i]);
    if (i != DURE_PROFILE_NORMAL) dure_device_close(s->profiles[i]);
  }
}

// ---- damage -----------------------------------------------------------------------------------------------------

// The first operand that the damage is meant for: an output, or an input that no output lies over.
static const dure_case_operand *damaged_operand(const dure_case *c, dure_conformance_damage damage) {
  bool wants_output = damage != DURE_CONFORMANCE_TOUCHED_INPUT;
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (!c->operands[i].present || dure_case_is_written(c, i) != wants_output) continue;
    bool is_shared = false;
    for (uint32_t j = 0; j < DURE_MAX_OPERANDS; j++) {
      is_shared = is_shared || (dure_case_is_written(c, j) && c->operands[j].base == c->operands[i].base);
    }
    if (wants_output || !is_shared) return &c->operands[i];
  }
  return NULL;
}

// false: the case has nothing that could be damaged so (every input is written over in place).
static bool damage_value(const dure_case *c, dure_conformance_damage damage, dure_case_data *actual) {
  const dure_case_operand *operand = damaged_operand(c, damage);
  if (operand == NULL) return false;
  const uint32_t index = (uint32_t)(operand - c->operands);
  const uint64_t elements_a_word = dure_case_dtype(c, index) == DURE_DTYPE_U8 ? 4 : 1;
  const uint64_t place = dure_case_place(operand, dure_case_count(operand) / 2);
  uint32_t *element = &actual->bases[operand->base][place / elements_a_word];
  float value;
  memcpy(&value, element, sizeof(value));
  if (damage == DURE_CONFORMANCE_WRONG_VALUE) value = !isfinite(value) ? 1 : value > 0 ? -3e38f : 3e38f;
  if (damage == DURE_CONFORMANCE_FALSE_NAN) value = isfinite(value) ? NAN : 1;
  memcpy(element, &value, sizeof(value));
  if (damage == DURE_CONFORMANCE_TOUCHED_INPUT || damage == DURE_CONFORMANCE_NOT_REPEATABLE) *element ^= 1u;
  return true;
}

// Overwrites the four bytes before the first operand, which belong to a sentinel.
static dure_status damage_guard(const dure_case_program *program, dure_stream *stream, const dure_case *c) {
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (!c->operands[i].present) continue;
    dure_operand operand;
    DURE_TRY(dure_executable_operand(program->executable, program->bases[c->operands[i].base], &operand));
    uint32_t word = 0x12345678u;
    if (operand.offset < sizeof(word)) return dure_fail(DURE_INTERNAL, "there is no sentinel before the first operand");
    return dure_stream_upload(stream, operand.buffer, operand.offset - sizeof(word), &word, sizeof(word));
  }
  return NULL;
}

// ---- one case ---------------------------------------------------------------------------------------------------

typedef struct case_memory {
  dure_case_data initial, expected, first, second;
} case_memory;

static void free_memory(case_memory *memory) {
  dure_case_data_free(&memory->initial);
  dure_case_data_free(&memory->expected);
  dure_case_data_free(&memory->first);
  dure_case_data_free(&memory->second);
}

static dure_status prepare_memory(const suite *s, const dure_case *c, case_memory *memory) {
  uint64_t seed = XXH64(c->name, strlen(c->name), s->options->seed);
  DURE_TRY(dure_case_data_generate(c, seed, &memory->initial));
  DURE_TRY(dure_case_data_copy(c, &memory->initial, &memory->expected));
  DURE_TRY(dure_case_data_copy(c, &memory->initial, &memory->first));
  DURE_TRY(dure_case_data_copy(c, &memory->initial, &memory->second));
  return dure_case_data_run_oracle(c, &memory->expected);
}

static dure_status run_once(const dure_case *c, const dure_case_program *program, dure_stream *stream,
                            const dure_case_data *initial, dure_case_data *actual) {
  DURE_TRY(dure_case_write(c, program, stream, initial));
  DURE_TRY(dure_executable_submit(program->executable, stream));
  return dure_case_read(c, program, stream, actual);
}

static dure_status run_twice(suite *s, const dure_case *c, case_memory *memory) {
  DURE_TRY(open_profile(s, c->profile));
  dure_stream *stream = s->streams[c->profile];
  dure_compile_options options = {.label = c->name, .guard_bytes = GUARD_BYTES};
  dure_case_program program;
  dure_status status = dure_case_compile(c, s->profiles[c->profile], &options, &program);
  if (status == NULL) status = run_once(c, &program, stream, &memory->initial, &memory->first);
  if (status == NULL) status = run_once(c, &program, stream, &memory->initial, &memory->second);
  if (status == NULL && s->options->damage == DURE_CONFORMANCE_BROKEN_GUARD) status = damage_guard(&program, stream, c);
  if (status == NULL) status = dure_executable_guards(program.executable, stream);
  status = dure_status_join(status, dure_stream_wait(stream, 0));
  dure_executable_destroy(program.executable);
  return status;
}

static void compare_runs(const dure_case *c, const case_memory *memory, dure_conformance_result *result) {
  for (uint32_t i = 0; i < DURE_MAX_OPERANDS; i++) {
    if (memory->first.bases[i] == NULL) continue;
    size_t size = (size_t)c->operands[i].base_count * sizeof(uint32_t);
    if (memcmp(memory->first.bases[i], memory->second.bases[i], size) == 0) continue;
    result->outcome = DURE_CONFORMANCE_FAIL;
    snprintf(result->message, sizeof(result->message), "two runs over the same inputs differ in '%s'",
             dure_op_get(c->op)->operands[i].name);
  }
}

static void judge(suite *s, const dure_case *c, case_memory *memory, dure_conformance_result *result) {
  bool is_damaged = true;
  if (s->options->damage == DURE_CONFORMANCE_NOT_REPEATABLE) {
    is_damaged = damage_value(c, s->options->damage, &memory->second);
  } else if (s->options->damage != DURE_CONFORMANCE_INTACT && s->options->damage != DURE_CONFORMANCE_BROKEN_GUARD) {
    is_damaged = damage_value(c, s->options->damage, &memory->first);
    damage_value(c, s->options->damage, &memory->second);
  }
  if (!is_damaged) {
    result->outcome = DURE_CONFORMANCE_SKIPPED;
    snprintf(result->message, sizeof(result->message), "nothing in this case can be damaged so");
    return;
  }
  dure_comparison comparison;
  dure_status status = dure_case_compare(c, &memory->initial, &memory->expected, &memory->first, &comparison);
  if (status != NULL) {
    result->outcome = DURE_CONFORMANCE_SKIPPED;
    snprintf(result->message, sizeof(result->message), "%s", dure_status_message(status));
    dure_status_free(status);
    return;
  }
  result->worst_error = comparison.worst;
  if (comparison.wrong_count > 0) {
    result->outcome = DURE_CONFORMANCE_FAIL;
    snprintf(result->message, sizeof(result->message), "%s (%llu elements wrong, the worst by %.3g tolerances)",
             comparison.message, (unsigned long long)comparison.wrong_count, comparison.worst);
    return;
  }
  compare_runs(c, memory, result);
}

static void apply_expectation(suite *s, const dure_case *c, dure_conformance_result *result) {
  const char *reason = reason_to_fail(dure_device_get_info(s->device), c->name);
  if (reason == NULL) return;
  if (result->outcome == DURE_CONFORMANCE_FAIL) {
    result->outcome = DURE_CONFORMANCE_EXPECTED_FAILURE;
    snprintf(result->message, sizeof(result->message), "%s", reason);
  } else if (result->outcome == DURE_CONFORMANCE_PASS) {
    result->outcome = DURE_CONFORMANCE_FAIL;
    snprintf(result->message, sizeof(result->message), "listed as an expected failure (%s), but it passes", reason);
  }
}

// Only a lost device ends the whole run.
static dure_status run_case(suite *s, const dure_case *c, dure_conformance_result *result) {
  uint64_t start = dure_os_nanoseconds();
  case_memory memory;
  memset(&memory, 0, sizeof(memory));
  dure_status status = prepare_memory(s, c, &memory);
  if (status == NULL) status = run_twice(s, c, &memory);
  if (status == NULL) judge(s, c, &memory, result);
  free_memory(&memory);
  result->seconds = (double)(dure_os_nanoseconds() - start) * 1e-9;
  if (dure_status_code(status) == DURE_DEVICE_LOST) return dure_status_prefix(status, "%s", c->name);
  if (status != NULL) {
    dure_code code = dure_status_code(status);
    result->outcome = code == DURE_UNSUPPORTED     ? DURE_CONFORMANCE_UNSUPPORTED
                      : code == DURE_OUT_OF_MEMORY ? DURE_CONFORMANCE_SKIPPED
                                                   : DURE_CONFORMANCE_FAIL;
    snprintf(result->message, sizeof(result->message), "%s", dure_status_message(status));
    dure_status_free(status);
  }
  apply_expectation(s, c, result);
  return NULL;
}

// ---- the suite --------------------------------------------------------------------------------------------------

// Drawn by name, so that no pattern in the order of the cases decides which are left out.
static bool is_drawn(const dure_conformance_options *options, const dure_case *c) {
  return options->every < 2 || XXH64(c->name, strlen(c->name), 0) % options->every == options->part % options->every;
}

static bool is_chosen(const dure_conformance_options *options, const dure_case *c) {
  if (options->case_name == NULL && !is_drawn(options, c)) return false;
  if (options->case_name != NULL && strcmp(options->case_name, c->name) != 0) return false;
  return options->op == NULL || strcmp(options->op, dure_op_get(c->op)->name) == 0;
}

static dure_status run_chosen(suite *s, const dure_case_list *list, dure_conformance_sink sink, void *context,
                              dure_conformance_summary *summary) {
  size_t chosen = 0, done = 0;
  for (size_t i = 0; i < list->count; i++) chosen += is_chosen(s->options, &list->cases[i]) ? 1 : 0;
  if (chosen == 0) {
    return dure_fail(DURE_NOT_FOUND, "no conformance case has the %s '%s'",
                     s->options->case_name != NULL ? "name" : "op",
                     s->options->case_name != NULL ? s->options->case_name : s->options->op);
  }
  for (size_t i = 0; i < list->count; i++) {
    const dure_case *c = &list->cases[i];
    if (!is_chosen(s->options, c)) continue;
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "interrupted after %zu of %zu cases", done, chosen);
    dure_conformance_result result = {.op = dure_op_get(c->op)->name, .name = c->name, .index = done, .count = chosen};
    DURE_TRY(run_case(s, c, &result));
    summary->counts[result.outcome]++;
    done++;
    if (sink != NULL) sink(context, &result);
  }
  return NULL;
}

dure_status dure_conformance_run(dure_device *device, const dure_conformance_options *options,
                                 dure_conformance_sink sink, void *context, dure_conformance_summary *out_summary) {
  memset(out_summary, 0, sizeof(*out_summary));
  uint64_t start = dure_os_nanoseconds();
  suite s = {.options = options, .device = device};
  dure_case_list list;
  DURE_TRY(dure_cases_collect(options->full || options->case_name != NULL, &list));
  dure_status status = run_chosen(&s, &list, sink, context, out_summary);
  close_profiles(&s);
  dure_cases_free(&list);
  out_summary->seconds = (double)(dure_os_nanoseconds() - start) * 1e-9;
  return status;
}
