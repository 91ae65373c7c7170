// Engines for tests: devices, models of tests/golden/families, prompts, requests and their answers.
#ifndef DURE_TESTS_UNIT_ENGINES_H_
#define DURE_TESTS_UNIT_ENGINES_H_

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/engine.h"
#include "tests/amount.h"
#include "tests/suite.h"

enum { MOST_DEVICES = 8, MOST_TOKENS = 24, PROMPTS = 50, LONGEST_PROMPT = 40 };

static char device_names[MOST_DEVICES][32];
static int device_count;
static dure_device *device;
static dure_stream *stream;
static dure_model *model;

static inline const char *golden_family(const char *folder, char *path, size_t size) {
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, size, "%s/tests/golden/families/%s", source != NULL ? source : ".", folder);
  return path;
}

static inline void open_model(const char *device_name, const char *folder) {
  char path[4096];
  require(dure_device_open(device_name, &device));
  require(dure_stream_create(device, &stream));
  require(dure_model_open(golden_family(folder, path, sizeof(path)), device, stream, &model));
}

static inline void close_model(void) {
  dure_model_destroy(model);
  dure_stream_destroy(stream);
  dure_device_close(device);
}

static inline dure_engine *create(dure_engine_options options) {
  dure_engine *engine = NULL;
  require(dure_engine_create(model, &options, &engine));
  return engine;
}

typedef struct prompt {
  uint32_t tokens[LONGEST_PROMPT], count;
} prompt;
static prompt prompts[PROMPTS];

static inline void make_prompts(void) {
  uint32_t state = 12345;
  for (int i = 0; i < PROMPTS; i++) {
    state = state * 1664525u + 1013904223u;
    prompts[i].count = 1 + (state >> 16) % LONGEST_PROMPT;
    for (uint32_t t = 0; t < prompts[i].count; t++) {
      state = state * 1664525u + 1013904223u;
      prompts[i].tokens[t] = (state >> 16) % model->config.vocabulary_size;
    }
  }
}

typedef struct answer {
  dure_scored_token tokens[MOST_TOKENS];
  uint32_t count;
  dure_request_progress progress;
} answer;

static inline dure_request greedy(const prompt *p) {
  return (dure_request){.tokens = p->tokens,
                        .count = p->count,
                        .most_tokens = MOST_TOKENS,
                        .sampling = {.top_p = 1},
                        .overflow = DURE_OVERFLOW_STOP,
                        .with_log_probabilities = true};
}

static inline uint64_t submit(dure_engine *engine, dure_request request) {
  uint64_t id = 0;
  require(dure_engine_submit(engine, &request, &id));
  return id;
}

static inline void run_all(dure_engine *engine) {
  for (bool is_busy = true; is_busy;) require(dure_engine_step(engine, &is_busy));
}

static inline answer answer_of(dure_engine *engine, uint64_t id) {
  answer a = {0};
  require(dure_engine_poll(engine, id, 0, a.tokens, MOST_TOKENS, &a.count, &a.progress));
  dure_engine_release(engine, id);
  return a;
}

static inline answer answer_alone(dure_engine *engine, dure_request request) {
  const uint64_t id = submit(engine, request);
  run_all(engine);
  return answer_of(engine, id);
}

static inline void require_same(const answer *a, const answer *b, const char *what, int which) {
  ck_assert_msg(a->count == b->count && a->progress.finish == b->progress.finish, "%s, prompt %d: %u tokens, not %u",
                what, which, a->count, b->count);
  for (uint32_t i = 0; i < a->count; i++)
    ck_assert_msg(
        a->tokens[i].token == b->tokens[i].token && a->tokens[i].log_probability == b->tokens[i].log_probability,
        "%s, prompt %d: token %u differs", what, which, i);
}

static inline int prompt_count(void) { return is_full() ? PROMPTS : 9; }

// The device that DURE_TEST_DEVICE names, else the reference device and a Vulkan device (with DURE_FULL=1 every one).
static inline void find_devices(void) {
  const char *wanted = getenv("DURE_TEST_DEVICE");
  snprintf(device_names[device_count++], sizeof(device_names[0]), "%s", wanted != NULL ? wanted : "reference");
  if (wanted == NULL) device_count += find_vulkan_devices(device_names + 1, is_full() ? MOST_DEVICES - 1 : 1);
}

#endif  // DURE_TESTS_UNIT_ENGINES_H_
