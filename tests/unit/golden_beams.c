// Beam search says what transformers' does (tests/golden/make_beam_fixtures.py). On the device that DURE_TEST_DEVICE
// names, else on the reference device.
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/beam.h"
#include "model/inference.h"
#include "tests/suite.h"

enum { TOKENS_MOST = 64 };

static json_t *cases;
static char golden[2048];
static dure_device *device;
static dure_stream *stream;

static void open_all(void) {
  char path[4096];
  json_error_t error;
  const char *source = getenv("DURE_SOURCE_DIR"), *name = getenv("DURE_TEST_DEVICE");
  snprintf(golden, sizeof(golden), "%s/tests/golden", source != NULL ? source : ".");
  snprintf(path, sizeof(path), "%s/beams/cases.json", golden);
  cases = json_load_file(path, 0, &error);
  ck_assert_msg(cases != NULL, "%s: %s", path, error.text);
  require(dure_device_open(name != NULL ? name : "reference", &device));
  require(dure_stream_create(device, &stream));
}

static void close_all(void) {
  dure_stream_destroy(stream);
  dure_device_close(device);
  json_decref(cases);
}

static dure_model *open_model(const char *name) {
  char path[4096];
  dure_model *model = NULL;
  snprintf(path, sizeof(path), "%s/families/%s", golden, name);
  require(dure_model_open(path, device, stream, &model));
  return model;
}

static uint32_t ids_of(const json_t *object, const char *key, uint32_t *out_ids) {
  const json_t *list = json_object_get(object, key);
  for (size_t i = 0; i < json_array_size(list); i++) out_ids[i] = (uint32_t)json_integer_value(json_array_get(list, i));
  return (uint32_t)json_array_size(list);
}

static double number_of(const json_t *object, const char *key) {
  return json_number_value(json_object_get(object, key));
}

static dure_beam_options options_of(const json_t *object, uint32_t *ends) {
  const json_t *early = json_object_get(object, "early_stopping");
  return (dure_beam_options){.beams = (uint32_t)number_of(object, "beams"),
                             .most_tokens = (uint32_t)number_of(object, "most_tokens"),
                             .length_penalty = (float)number_of(object, "length_penalty"),
                             .early_stopping = json_is_string(early) ? DURE_EARLY_STOPPING_NEVER
                                               : json_is_true(early) ? DURE_EARLY_STOPPING_FULL
                                                                     : DURE_EARLY_STOPPING_LIKELY,
                             .ends = ends,
                             .end_count = ids_of(object, "ends", ends)};
}

// A sum of up to 16 log-probabilities from logits that differ by some 1e-6.
static void check_case(dure_model *model, const json_t *object, size_t which) {
  uint32_t ends[DURE_BEAM_ENDS_MOST], prompt[TOKENS_MOST], expected[TOKENS_MOST];
  const dure_beam_options options = options_of(object, ends);
  const uint32_t prompt_count = ids_of(object, "prompt", prompt), count = ids_of(object, "tokens", expected);
  dure_beams *beams = NULL;
  require(dure_beams_create(model, &options, &beams));
  for (int again = 0; again < 2; again++) {  // nothing stays of a search
    dure_beam_text text;
    require(dure_beams_run(beams, prompt, prompt_count, NULL, &text));
    ck_assert_msg(text.count == count && memcmp(text.tokens, expected, count * sizeof(expected[0])) == 0,
                  "case %zu: other tokens than transformers", which);
    ck_assert(text.has_ended == json_is_true(json_object_get(object, "has_ended")));
    ck_assert_double_eq_tol((double)text.score, number_of(object, "score"), 1e-4);
  }
  dure_beams_destroy(beams);
}

START_TEST(beams_find_what_transformers_finds) {
  dure_model *model = NULL;
  const char *name = "";
  size_t ended = 0;
  for (size_t i = 0; i < json_array_size(cases); i++) {
    const json_t *object = json_array_get(cases, i);
    const char *wanted = json_string_value(json_object_get(object, "model"));
    if (strcmp(wanted, name) != 0) {
      dure_model_destroy(model);
      model = open_model(wanted);
      name = wanted;
    }
    check_case(model, object, i);
    ended += json_is_true(json_object_get(object, "has_ended")) ? 1 : 0;
  }
  ck_assert_uint_gt(ended, 3);
  dure_model_destroy(model);
}
END_TEST

// One beam is the likeliest token each time.
START_TEST(one_beam_is_greedy) {
  dure_model *model = open_model("llama");
  dure_session *session = NULL;
  dure_beams *beams = NULL;
  dure_beam_text text;
  const uint32_t prompt[] = {5, 17, 40};
  require(dure_session_create(model, &(dure_session_options){0}, &session));
  require(dure_session_append(session, prompt, 3));
  require(dure_beams_create(model, &(dure_beam_options){.beams = 1, .most_tokens = 12, .length_penalty = 1}, &beams));
  require(dure_beams_run(beams, prompt, 3, NULL, &text));
  ck_assert_uint_eq(text.count, 12);
  for (uint32_t i = 0; i < text.count; i++) {
    uint32_t token = 0;
    require(dure_session_sample(session, &(dure_sampling){.top_p = 1}, &token));
    ck_assert_uint_eq(token, text.tokens[i]);
    require(dure_session_append(session, &token, 1));
  }
  dure_session_destroy(session);
  dure_beams_destroy(beams);
  dure_model_destroy(model);
}
END_TEST

static bool say_yes(void) { return true; }

START_TEST(what_cannot_be_searched_is_refused) {
  dure_model *model = open_model("llama");
  dure_beams *beams = NULL;
  dure_beam_text text;
  const uint32_t prompt[TOKENS_MOST] = {5, 1000};
  require_failure(dure_beams_create(model, &(dure_beam_options){.beams = 33, .most_tokens = 1}, &beams),
                  DURE_INVALID_ARGUMENT, "from 1 to 32 beams");
  require_failure(dure_beams_create(model, &(dure_beam_options){.beams = 2}, &beams), DURE_INVALID_ARGUMENT,
                  "at least one");
  require_failure(dure_beams_create(model, &(dure_beam_options){.beams = 2, .most_tokens = 4, .context = 1000}, &beams),
                  DURE_INVALID_ARGUMENT, "more than the model's");
  require(dure_beams_create(model, &(dure_beam_options){.beams = 3, .most_tokens = 8, .context = 40}, &beams));
  require_failure(dure_beams_run(beams, prompt, 0, NULL, &text), DURE_INVALID_ARGUMENT, "at least one token");
  require_failure(dure_beams_run(beams, prompt, 2, NULL, &text), DURE_INVALID_ARGUMENT, "token 1000 (number 1");
  require_failure(dure_beams_run(beams, prompt, 33, NULL, &text), DURE_INVALID_ARGUMENT, "more than the context of 40");
  require_failure(dure_beams_run(beams, prompt, 1, say_yes, &text), DURE_CANCELLED, "interrupted after 1 tokens");
  require(dure_beams_run(beams, prompt, 1, NULL, &text));
  ck_assert_uint_eq(text.count, 8);
  dure_beams_destroy(beams);
  dure_model_destroy(model);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("golden_beams");
  TCase *tests = tcase_create("golden_beams");
  tcase_add_checked_fixture(tests, open_all, close_all);
  tcase_add_test(tests, beams_find_what_transformers_finds);
  tcase_add_test(tests, one_beam_is_greedy);
  tcase_add_test(tests, what_cannot_be_searched_is_refused);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
