// The engine: what a request gets does not depend on what runs beside it, on the cache's state or on waiting. On the
// device that DURE_TEST_DEVICE names, else on the reference device and a Vulkan device (with DURE_FULL=1 every one).
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/engines.h"

// ---- promises ----------------------------------------------------------------------------------------------------

START_TEST(text_is_the_same_alone_and_among_others) {
  open_model(device_names[_i], "llama");
  make_prompts();
  static answer alone[PROMPTS];
  uint64_t ids[PROMPTS];
  dure_engine *one = create((dure_engine_options){.sequences = 1, .forgets_prefixes = true});
  for (int i = 0; i < prompt_count(); i++) alone[i] = answer_alone(one, greedy(&prompts[i]));
  dure_engine_destroy(one);
  dure_engine *many = create((dure_engine_options){.sequences = 8, .chunk = 32});
  for (int i = 0; i < prompt_count(); i++) ids[i] = submit(many, greedy(&prompts[i]));
  run_all(many);
  for (int i = 0; i < prompt_count(); i++) {
    const answer among = answer_of(many, ids[i]);
    require_same(&among, &alone[i], device_names[_i], i);
  }
  dure_engine_destroy(many);
  close_model();
}
END_TEST

// Pieces of the same length in one step, up to a chunk's tokens and as many as the programs take, and none changes.
START_TEST(prompts_that_come_together_are_taken_together) {
  enum { TOGETHER = 21 };  // 16, 4 and 1
  open_model("reference", "llama");
  make_prompts();
  static answer alone[TOGETHER];
  uint64_t ids[TOGETHER];
  dure_engine *engine = create((dure_engine_options){.sequences = 32, .chunk = 128, .forgets_prefixes = true});
  for (int i = 0; i < TOGETHER; i++) {
    prompts[i].count = 3 + (uint32_t)i % 6;
    alone[i] = answer_alone(engine, greedy(&prompts[i]));
  }
  const dure_engine_statistics before = dure_engine_statistics_get(engine);
  for (int i = 0; i < TOGETHER; i++) ids[i] = submit(engine, greedy(&prompts[i]));
  run_all(engine);
  const dure_engine_statistics after = dure_engine_statistics_get(engine);
  ck_assert_uint_eq(before.prompt_steps, TOGETHER);
  ck_assert_uint_eq(after.prompt_steps - before.prompt_steps, 3);
  ck_assert_uint_eq(after.prompt_tokens, 2 * before.prompt_tokens);
  for (int i = 0; i < TOGETHER; i++) {
    const answer among = answer_of(engine, ids[i]);
    require_same(&among, &alone[i], "together", i);
  }
  dure_engine_destroy(engine);
  close_model();
}
END_TEST

START_TEST(a_token_is_one_submit) {
  open_model(device_names[_i], "gpt2");
  make_prompts();
  dure_engine *engine = create((dure_engine_options){.sequences = 4});
  uint64_t ids[3];
  for (int i = 0; i < 3; i++) ids[i] = submit(engine, greedy(&prompts[i]));
  bool is_busy = true;
  for (int i = 0; i < 4; i++) require(dure_engine_step(engine, &is_busy));  // three prompts, and a step of all
  const uint64_t point = dure_stream_point(stream), waits = dure_stream_wait_count(stream);
  for (int i = 0; i < 5; i++) require(dure_engine_step(engine, &is_busy));
  ck_assert_uint_eq(dure_stream_point(stream) - point, 5);
  ck_assert_uint_eq(dure_stream_wait_count(stream) - waits, 5);
  for (int i = 0; i < 3; i++) dure_engine_release(engine, ids[i]);
  dure_engine_destroy(engine);
  close_model();
}
END_TEST

START_TEST(what_a_prompt_begins_with_is_computed_once) {
  open_model("reference", "llama");
  make_prompts();
  prompt longer = {.count = 33};
  for (uint32_t i = 0; i < longer.count; i++) longer.tokens[i] = (7 * i + 3) % model->config.vocabulary_size;
  prompt other = longer;
  other.tokens[20] ^= 1;
  dure_engine *engine = create((dure_engine_options){.sequences = 2, .block_size = 8});
  const answer first = answer_alone(engine, greedy(&longer)), again = answer_alone(engine, greedy(&longer));
  require_same(&again, &first, "again", 0);
  ck_assert_uint_eq(first.progress.reused_count, 0);
  ck_assert_uint_eq(again.progress.reused_count, 32);
  ck_assert_uint_eq(answer_alone(engine, greedy(&other)).progress.reused_count, 16);
  const dure_engine_statistics s = dure_engine_statistics_get(engine);
  ck_assert_uint_eq(s.reused_tokens, 48);
  ck_assert_uint_eq(s.blocks_used, 0);
  ck_assert_uint_gt(s.blocks_kept, 0);
  dure_engine_destroy(engine);
  close_model();
}
END_TEST

START_TEST(a_full_cache_makes_requests_wait_and_changes_nothing) {
  open_model("reference", "llama");
  make_prompts();
  enum { COUNT = 6 };
  answer expected[COUNT];
  uint64_t ids[COUNT];
  dure_engine *roomy = create((dure_engine_options){.sequences = 1});
  for (int i = 0; i < COUNT; i++) expected[i] = answer_alone(roomy, greedy(&prompts[i]));
  dure_engine_destroy(roomy);
  // Blocks for one long request and a little more.
  dure_engine *tight = create((dure_engine_options){.sequences = 6, .block_size = 4, .cache_tokens = 72});
  for (int i = 0; i < COUNT; i++) ids[i] = submit(tight, greedy(&prompts[i]));
  run_all(tight);
  ck_assert_uint_gt(dure_engine_statistics_get(tight).preempted, 0);
  for (int i = 0; i < COUNT; i++) {
    const answer found = answer_of(tight, ids[i]);
    ck_assert_uint_eq(found.count, expected[i].count);
    for (uint32_t t = 0; t < found.count; t++) ck_assert_uint_eq(found.tokens[t].token, expected[i].tokens[t].token);
  }
  dure_engine_destroy(tight);
  close_model();
}
END_TEST

// Blocks outside the window are given up, and the text stays that of a session, which keeps all.
START_TEST(a_window_needs_no_more_cache_than_it_sees) {
  open_model("reference", "mistral");
  make_prompts();
  dure_session *session = NULL;
  const dure_session_options whole = {0};
  require(dure_session_create(model, &whole, &session));
  dure_engine *engine = create((dure_engine_options){.sequences = 1, .block_size = 2, .chunk = 8});
  const prompt *p = &prompts[0];
  const answer found = answer_alone(engine, greedy(p));
  require(dure_session_append(session, p->tokens, p->count));
  for (uint32_t i = 0; i < found.count; i++) {
    uint32_t token = 0;
    require(dure_session_sample(session, &(dure_sampling){.top_p = 1}, &token));
    ck_assert_uint_eq(token, found.tokens[i].token);
    if (i + 1 < found.count) require(dure_session_append(session, &token, 1));
  }
  dure_session_destroy(session);
  dure_engine_destroy(engine);
  close_model();
}
END_TEST

START_TEST(seeds_repeat_and_are_those_of_a_session) {
  open_model("reference", "gpt2");
  make_prompts();
  const dure_sampling sampling = {.temperature = 0.9f, .top_k = 20, .top_p = 0.95f, .seed = 77, .min_p = 0.01f};
  dure_request request = greedy(&prompts[1]);
  request.sampling = sampling;
  dure_engine *engine = create((dure_engine_options){.sequences = 4});
  uint64_t others[3];
  for (int i = 0; i < 3; i++) others[i] = submit(engine, greedy(&prompts[i + 2]));
  const answer found = answer_alone(engine, request);
  for (int i = 0; i < 3; i++) dure_engine_release(engine, others[i]);
  dure_session *session = NULL;
  const dure_session_options whole = {0};
  require(dure_session_create(model, &whole, &session));
  require(dure_session_append(session, prompts[1].tokens, prompts[1].count));
  for (uint32_t i = 0; i < found.count; i++) {
    uint32_t token = 0;
    require(dure_session_sample(session, &sampling, &token));
    ck_assert_uint_eq(token, found.tokens[i].token);
    if (i + 1 < found.count) require(dure_session_append(session, &token, 1));
  }
  dure_session_destroy(session);
  dure_engine_destroy(engine);
  close_model();
}
END_TEST

static double log_sum(const float *logits, uint32_t count) {
  double maximum = (double)logits[0], sum = 0;
  for (uint32_t i = 0; i < count; i++) maximum = fmax(maximum, (double)logits[i]);
  for (uint32_t i = 0; i < count; i++) sum += exp((double)logits[i] - maximum);
  return maximum + log(sum);
}

START_TEST(log_probabilities_are_those_of_the_logits) {
  open_model("reference", "llama");
  make_prompts();
  prompt p = prompts[0];
  p.count = LONGEST_PROMPT;  // more than a piece that is scored at once
  const uint32_t V = model->config.vocabulary_size;
  float *logits = malloc((size_t)p.count * V * sizeof(*logits)), scores[LONGEST_PROMPT];
  require(dure_model_logits(model, p.tokens, p.count, logits));
  dure_request request = greedy(&p);
  request.scores_prompt = true;
  request.alternatives = 5;
  dure_engine *engine = create((dure_engine_options){.sequences = 2});
  const uint64_t id = submit(engine, request);
  run_all(engine);
  require(dure_engine_prompt_scores(engine, id, scores));
  ck_assert(isnan(scores[0]));
  for (uint32_t i = 1; i < p.count; i++) {
    const float *row = logits + (size_t)(i - 1) * V;
    ck_assert_double_eq_tol((double)scores[i], (double)row[p.tokens[i]] - log_sum(row, V), 1e-4);
  }
  dure_scored_token top[DURE_ENGINE_ALTERNATIVES_MOST];
  uint32_t count = 0;
  require(dure_engine_alternatives(engine, id, 0, top, &count));
  const float *last = logits + (size_t)(p.count - 1) * V;
  ck_assert_uint_eq(count, 5);
  for (uint32_t i = 0; i < count; i++) {
    ck_assert_double_eq_tol((double)top[i].log_probability, (double)last[top[i].token] - log_sum(last, V), 1e-4);
    ck_assert(i == 0 || top[i].log_probability <= top[i - 1].log_probability);
  }
  ck_assert_uint_eq(answer_of(engine, id).tokens[0].token, top[0].token);
  free(logits);
  dure_engine_destroy(engine);
  close_model();
}
END_TEST

// Scores of the longest prompt with a cache of that type, and the cache's bytes by what the device then holds.
static void score_with_cache(dure_dtype type, const prompt *p, float *out_scores) {
  dure_request request = greedy(p);
  request.scores_prompt = true;
  dure_engine *engine = create((dure_engine_options){.sequences = 1, .cache_type = type});
  const uint64_t id = submit(engine, request);
  run_all(engine);
  require(dure_engine_prompt_scores(engine, id, out_scores));
  dure_engine_destroy(engine);
}

START_TEST(a_narrow_cache_costs_its_rounding) {
  static const dure_dtype types[] = {DURE_DTYPE_F32, DURE_DTYPE_F16, DURE_DTYPE_BF16, DURE_DTYPE_U8};
  // Half a unit of the last place of scores of a few units, four times (key, value, query, result) in each layer; of
  // codes half a step, a 254th of the block's largest, of keys and values.
  static const double tolerances[] = {0, 4 * 0x1p-10, 4 * 0x1p-7, 4 * 0x1p-7};
  static const char *const folders[] = {"gpt2", "llama", "gpt_neo"};
  open_model("reference", folders[_i]);
  make_prompts();
  int longest = 0;
  for (int i = 1; i < PROMPTS; i++) longest = prompts[i].count > prompts[longest].count ? i : longest;
  float expected[LONGEST_PROMPT], scores[LONGEST_PROMPT];
  score_with_cache(DURE_DTYPE_NONE, &prompts[longest], expected);
  for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
    double most = 0;
    if (types[t] == DURE_DTYPE_U8 && model->config.head_width % 32 != 0) {
      dure_engine *engine = NULL;
      require_failure(dure_engine_create(model, &(dure_engine_options){.cache_type = types[t]}, &engine),
                      DURE_INVALID_ARGUMENT, "a q8_0 cache has blocks of 32 elements, and this model's heads have");
      continue;
    }
    score_with_cache(types[t], &prompts[longest], scores);
    for (uint32_t i = 1; i < prompts[longest].count; i++)
      most = fmax(most, fabs((double)scores[i] - (double)expected[i]));
    ck_assert_msg(most <= tolerances[t], "%s: %g", dure_dtype_name(types[t]), most);
    ck_assert(t == 0 || most > 0);  // it did use that type
  }
  close_model();
}
END_TEST

START_TEST(biases_and_penalties_change_the_choice) {
  open_model("reference", "gpt2");
  make_prompts();
  dure_engine *engine = create((dure_engine_options){.sequences = 1});
  const dure_logit_bias forced = {11, 1000};
  dure_request request = greedy(&prompts[0]);
  request.biases = &forced;
  request.bias_count = 1;
  answer a = answer_alone(engine, request);
  for (uint32_t i = 0; i < a.count; i++) ck_assert_uint_eq(a.tokens[i].token, 11);
  request.frequency_penalty = 600;  // what was forced is out of the question after the second time
  a = answer_alone(engine, request);
  ck_assert_uint_eq(a.tokens[0].token, 11);
  ck_assert_uint_eq(a.tokens[1].token, 11);
  ck_assert_uint_ne(a.tokens[2].token, 11);
  request = greedy(&prompts[0]);
  request.presence_penalty = 1000;  // never the same again
  a = answer_alone(engine, request);
  for (uint32_t i = 0; i < a.count; i++)
    for (uint32_t k = 0; k < i; k++) ck_assert_uint_ne(a.tokens[i].token, a.tokens[k].token);
  const uint32_t end = a.tokens[2].token;
  request.ends = &end;
  request.end_count = 1;
  a = answer_alone(engine, request);
  ck_assert_uint_eq(a.count, 2);
  ck_assert_int_eq(a.progress.finish, DURE_FINISH_END);
  dure_engine_destroy(engine);
  close_model();
}
END_TEST

START_TEST(the_end_of_the_context_is_refused_reached_or_shifted) {
  open_model("reference", "gpt2");
  make_prompts();
  dure_engine *engine = create((dure_engine_options){.sequences = 2, .context = 20, .queue = 1});
  dure_request request = greedy(&prompts[0]);
  request.count = 12;
  uint64_t id = 0;
  request.overflow = DURE_OVERFLOW_REFUSE;
  require_failure(dure_engine_submit(engine, &request, &id), DURE_INVALID_ARGUMENT, "context of 20");
  request.overflow = DURE_OVERFLOW_STOP;
  answer a = answer_alone(engine, request);
  ck_assert_uint_eq(a.count, 9);  // the last one has no place in it any more
  ck_assert_int_eq(a.progress.finish, DURE_FINISH_CONTEXT);
  request.overflow = DURE_OVERFLOW_SHIFT;
  a = answer_alone(engine, request);
  ck_assert_uint_eq(a.count, MOST_TOKENS);
  ck_assert_int_eq(a.progress.finish, DURE_FINISH_LENGTH);
  request.count = LONGEST_PROMPT;
  ck_assert_uint_eq(answer_alone(engine, request).count, MOST_TOKENS);
  request.overflow = DURE_OVERFLOW_STOP;
  require_failure(dure_engine_submit(engine, &request, &id), DURE_INVALID_ARGUMENT, "shorten the prompt");
  request.count = 0;
  require_failure(dure_engine_submit(engine, &request, &id), DURE_INVALID_ARGUMENT, "at least one token");
  request.count = 3;
  submit(engine, request);
  require_failure(dure_engine_submit(engine, &request, &id), DURE_UNSUPPORTED, "waiting");
  dure_engine_destroy(engine);
  close_model();
}
END_TEST

START_TEST(what_is_cancelled_ends_and_leaves_its_place) {
  open_model("reference", "gpt2");
  make_prompts();
  dure_engine *engine = create((dure_engine_options){.sequences = 1});
  const uint64_t first = submit(engine, greedy(&prompts[0])), second = submit(engine, greedy(&prompts[1]));
  bool is_busy = false;
  require(dure_engine_step(engine, &is_busy));
  ck_assert(is_busy);
  ck_assert_uint_eq(dure_engine_statistics_get(engine).running, 1);
  dure_engine_cancel(engine, first);
  run_all(engine);
  ck_assert_int_eq(answer_of(engine, first).progress.finish, DURE_FINISH_CANCELLED);
  ck_assert_uint_eq(answer_of(engine, second).count, MOST_TOKENS);
  require(dure_engine_step(engine, &is_busy));
  dure_request_progress progress;
  require_failure(dure_engine_poll(engine, second, 0, NULL, 0, NULL, &progress), DURE_NOT_FOUND, "no request");
  const dure_engine_statistics s = dure_engine_statistics_get(engine);
  ck_assert_uint_eq(s.running + s.waiting + s.blocks_used, 0);
  ck_assert_uint_eq(s.cancelled, 1);
  dure_engine_destroy(engine);
  close_model();
}
END_TEST

// ---- threads ------------------------------------------------------------------------------------------------------

enum { CLIENTS = 3, REQUESTS = 6 };

typedef struct client {
  pthread_t thread;
  dure_engine *engine;
  int first;            // of its prompts
  atomic_int finished;  // requests that have ended, however they did
} client;

// Submits, polls to the end, cancels every third, releases.
static void *be_client(void *argument) {
  client *self = argument;
  for (int i = 0; i < REQUESTS; i++) {
    const dure_request request = greedy(&prompts[self->first + i]);
    dure_request_progress progress = {0};
    uint64_t id = 0;
    dure_status status = dure_engine_submit(self->engine, &request, &id);
    while (status == NULL && progress.finish == DURE_FINISH_NOT_YET) {
      if (i % 3 == 2) dure_engine_cancel(self->engine, id);
      status = dure_engine_poll(self->engine, id, 0, NULL, 0, NULL, &progress);
    }
    dure_status_free(status);
    dure_engine_release(self->engine, id);
    atomic_fetch_add(&self->finished, 1);
  }
  return NULL;
}

START_TEST(any_thread_may_submit_poll_and_cancel) {
  open_model("reference", "gpt2");
  make_prompts();
  dure_engine *engine = create((dure_engine_options){.sequences = 2});
  static client clients[CLIENTS];
  for (int i = 0; i < CLIENTS; i++) {
    clients[i] = (client){.engine = engine, .first = i * REQUESTS};
    ck_assert_int_eq(pthread_create(&clients[i].thread, NULL, be_client, &clients[i]), 0);
  }
  int finished = 0;
  bool is_busy = false;
  while (finished < CLIENTS * REQUESTS) {
    require(dure_engine_step(engine, &is_busy));
    finished = 0;
    for (int i = 0; i < CLIENTS; i++) finished += atomic_load(&clients[i].finished);
  }
  for (int i = 0; i < CLIENTS; i++) ck_assert_int_eq(pthread_join(clients[i].thread, NULL), 0);
  require(dure_engine_step(engine, &is_busy));
  ck_assert(!is_busy);
  const dure_engine_statistics s = dure_engine_statistics_get(engine);
  ck_assert_uint_eq(s.finished, CLIENTS * REQUESTS);
  ck_assert_uint_eq(s.running + s.waiting + s.blocks_used, 0);
  dure_engine_destroy(engine);
  close_model();
}
END_TEST

// ---- running -----------------------------------------------------------------------------------------------------

int main(void) {
  find_devices();
  Suite *suite = suite_create("engine");
  TCase *tests = tcase_create("engine");
  tcase_add_loop_test(tests, text_is_the_same_alone_and_among_others, 0, device_count);
  tcase_add_test(tests, prompts_that_come_together_are_taken_together);
  tcase_add_loop_test(tests, a_token_is_one_submit, 0, device_count);
  tcase_add_test(tests, what_a_prompt_begins_with_is_computed_once);
  tcase_add_test(tests, a_full_cache_makes_requests_wait_and_changes_nothing);
  tcase_add_test(tests, a_window_needs_no_more_cache_than_it_sees);
  tcase_add_test(tests, seeds_repeat_and_are_those_of_a_session);
  tcase_add_test(tests, log_probabilities_are_those_of_the_logits);
  tcase_add_loop_test(tests, a_narrow_cache_costs_its_rounding, 0, 3);
  tcase_add_test(tests, biases_and_penalties_change_the_choice);
  tcase_add_test(tests, the_end_of_the_context_is_refused_reached_or_shifted);
  tcase_add_test(tests, what_is_cancelled_ends_and_leaves_its_place);
  tcase_add_test(tests, any_thread_may_submit_poll_and_cancel);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
