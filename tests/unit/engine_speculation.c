// Speculative decoding in the engine: what a request gets is what it gets without, token for token and bit for bit. On
// the device that DURE_TEST_DEVICE names, else on the reference device and a Vulkan device.
#include "tests/unit/engines.h"

enum { REQUESTS = 4, WAYS = 7 };

// A prompt that says the same thing again, so that there is something to be found in it.
static prompt repeating(int which) {
  prompt p = {.count = 30};
  for (uint32_t i = 0; i < p.count; i++) p.tokens[i] = (5 + 3 * (uint32_t)which + i % (7 + (uint32_t)which)) % 61;
  return p;
}

static const dure_logit_bias biases[] = {{7, 2.5f}, {9, -4}};
static const uint32_t ends[] = {3, 11};

// The ways in which rows can differ from their sequence's last one: none, all at once, then each.
static dure_request request_of(const prompt *p, int way) {
  dure_request r = greedy(p);
  if (way > 0)
    r.sampling = (dure_sampling){.temperature = 0.7f, .top_p = 0.95f, .top_k = 20, .seed = 5 + (uint64_t)way};
  if (way == 1 || way == 3) r.repetition_penalty = 1.1f;
  if (way == 1 || way == 4) r.presence_penalty = r.frequency_penalty = 0.2f;
  if (way == 1 || way == 5) {
    r.biases = biases;
    r.bias_count = 2;
    r.alternatives = 3;
  }
  if (way == 1 || way == 6) {
    r.ends = ends;
    r.end_count = 2;
  }
  return r;
}

static int way_count(void) { return is_full() ? WAYS : 2; }

static void require_same_alternatives(dure_engine *a, uint64_t a_id, dure_engine *b, uint64_t b_id, uint32_t tokens) {
  for (uint32_t i = 0; i < tokens; i++) {
    dure_scored_token left[DURE_ENGINE_ALTERNATIVES_MOST], right[DURE_ENGINE_ALTERNATIVES_MOST];
    uint32_t left_count = 0, right_count = 0;
    require(dure_engine_alternatives(a, a_id, i, left, &left_count));
    require(dure_engine_alternatives(b, b_id, i, right, &right_count));
    ck_assert_uint_eq(left_count, right_count);
    ck_assert_mem_eq(left, right, left_count * sizeof(left[0]));
  }
}

// All requests of one way alone in `plain`, then together in `guessing`.
static void require_same_text(dure_engine *plain, dure_engine *guessing, int way) {
  uint64_t plain_ids[REQUESTS], ids[REQUESTS];
  prompt p[REQUESTS];
  for (int i = 0; i < REQUESTS; i++) {
    p[i] = i % 2 == 0 ? repeating(i) : prompts[i];
    plain_ids[i] = submit(plain, request_of(&p[i], way));
    run_all(plain);
  }
  for (int i = 0; i < REQUESTS; i++) ids[i] = submit(guessing, request_of(&p[i], way));
  run_all(guessing);
  for (int i = 0; i < REQUESTS; i++) {
    dure_request_progress progress;
    uint32_t count = 0;
    require(dure_engine_poll(plain, plain_ids[i], 0, NULL, 0, &count, &progress));
    require_same_alternatives(plain, plain_ids[i], guessing, ids[i], progress.generated_count);
    const answer expected = answer_of(plain, plain_ids[i]), found = answer_of(guessing, ids[i]);
    require_same(&found, &expected, "guessing", way * REQUESTS + i);
  }
}

START_TEST(text_is_the_same_with_lookups) {
  open_model(device_names[_i], "llama");
  make_prompts();
  dure_engine *plain = create((dure_engine_options){.sequences = 1, .forgets_prefixes = true});
  const dure_engine_speculation speculation = {.looks_up = true, .proposals = 3, .is_unconditional = true};
  dure_engine *guessing = create((dure_engine_options){.sequences = 2, .speculation = speculation});
  for (int way = 0; way < way_count(); way++) require_same_text(plain, guessing, way);
  const dure_engine_statistics s = dure_engine_statistics_get(guessing), without = dure_engine_statistics_get(plain);
  ck_assert_uint_gt(s.accepted_tokens, 0);
  ck_assert_uint_gt(s.proposed_tokens, s.accepted_tokens);
  ck_assert_uint_eq(without.proposed_tokens, 0);
  ck_assert_uint_eq(s.blocks_used, 0);
  dure_engine_destroy(plain);
  dure_engine_destroy(guessing);
  close_model();
}
END_TEST

// The model itself is the best draft model there is: all it proposes is right.
START_TEST(text_is_the_same_with_a_draft_model) {
  static const char *const folders[] = {"llama", "qwen2", "gpt2"};
  open_model(device_names[_i], "llama");
  make_prompts();
  dure_engine *plain = create((dure_engine_options){.sequences = 1, .forgets_prefixes = true});
  for (int d = 0; d < 3; d++) {
    char path[4096];
    dure_model *draft = NULL;
    require(dure_model_open(golden_family(folders[d], path, sizeof(path)), device, stream, &draft));
    const dure_engine_speculation speculation = {
        .draft = draft, .looks_up = d == 1, .proposals = 3, .is_unconditional = true};
    dure_engine *guessing = create((dure_engine_options){.sequences = 3, .chunk = 8, .speculation = speculation});
    for (int way = 0; way < (d == 0 ? way_count() : 2); way++) require_same_text(plain, guessing, way);
    const dure_engine_statistics s = dure_engine_statistics_get(guessing);
    ck_assert_uint_gt(s.draft_steps, 0);
    if (d == 0) ck_assert_uint_ge(s.accepted_tokens * 20, s.proposed_tokens * 19);  // all but what came after ends
    dure_engine_destroy(guessing);
    dure_model_destroy(draft);
  }
  dure_engine_destroy(plain);
  close_model();
}
END_TEST

// Steps are saved: with the model as its own draft model, every step brings one token more than was proposed.
START_TEST(right_guesses_save_steps) {
  open_model("reference", "llama");
  make_prompts();
  const prompt p = repeating(0);
  const dure_engine_speculation speculation = {.draft = model, .proposals = 3, .is_unconditional = true};
  dure_engine *guessing = create((dure_engine_options){.sequences = 1, .speculation = speculation});
  const answer a = answer_alone(guessing, greedy(&p));
  const dure_engine_statistics s = dure_engine_statistics_get(guessing);
  ck_assert_uint_eq(a.count, MOST_TOKENS);
  ck_assert_uint_eq(a.progress.accepted_count, s.accepted_tokens);
  ck_assert_uint_eq(s.accepted_tokens, s.proposed_tokens);
  ck_assert_uint_eq(s.decode_steps, 6);  // of the 23 tokens after the prompt's own: 5 times 4, then 3
  dure_engine_destroy(guessing);
  close_model();
}
END_TEST

// Blocks for one long request and a little more: guesses make nobody wait, and those that wait lose nothing.
START_TEST(a_full_cache_changes_nothing) {
  open_model("reference", "llama");
  make_prompts();
  enum { COUNT = 6 };
  answer expected[COUNT];
  uint64_t ids[COUNT];
  dure_engine *roomy = create((dure_engine_options){.sequences = 1});
  for (int i = 0; i < COUNT; i++) expected[i] = answer_alone(roomy, greedy(&prompts[i]));
  dure_engine_destroy(roomy);
  for (int with_draft = 0; with_draft < 2; with_draft++) {
    const dure_engine_speculation speculation = {
        .looks_up = true, .draft = with_draft ? model : NULL, .is_unconditional = true};
    dure_engine *tight =
        create((dure_engine_options){.sequences = 6, .block_size = 4, .cache_tokens = 72, .speculation = speculation});
    for (int i = 0; i < COUNT; i++) ids[i] = submit(tight, greedy(&prompts[i]));
    run_all(tight);
    ck_assert_uint_gt(dure_engine_statistics_get(tight).preempted, 0);
    for (int i = 0; i < COUNT; i++) {
      const answer found = answer_of(tight, ids[i]);
      require_same(&found, &expected[i], "a full cache", i);
    }
    ck_assert_uint_eq(dure_engine_statistics_get(tight).blocks_used, 0);
    dure_engine_destroy(tight);
  }
  close_model();
}
END_TEST

// What others find in the cache is what was said, not what was guessed.
START_TEST(wrong_guesses_are_never_shared) {
  open_model("reference", "llama");
  make_prompts();
  const dure_engine_speculation speculation = {.looks_up = true, .draft = model, .is_unconditional = true};
  dure_engine *plain = create((dure_engine_options){.sequences = 1, .forgets_prefixes = true});
  dure_engine *guessing = create((dure_engine_options){.sequences = 1, .block_size = 2, .speculation = speculation});
  for (int i = 0; i < 3; i++) {
    prompt longer = repeating(i);
    longer.count = 12;
    dure_request request = request_of(&longer, 1);
    request.most_tokens = 20;
    const answer first = answer_alone(guessing, request);
    for (uint32_t t = 0; t < first.count; t++) longer.tokens[longer.count++] = first.tokens[t].token;
    const answer again = answer_alone(guessing, greedy(&longer)), expected = answer_alone(plain, greedy(&longer));
    ck_assert_uint_ge(again.progress.reused_count, longer.count - 4);
    require_same(&again, &expected, "reused", i);
  }
  dure_engine_destroy(plain);
  dure_engine_destroy(guessing);
  close_model();
}
END_TEST

START_TEST(windows_and_the_end_of_the_context_change_nothing) {
  static const char *const folders[] = {"mistral", "gpt2"};
  open_model("reference", folders[_i]);
  make_prompts();
  const dure_engine_speculation speculation = {.looks_up = true, .draft = model, .is_unconditional = true};
  for (int shifts = 0; shifts < 2; shifts++) {
    dure_engine_options options = {.sequences = 2, .context = 33, .block_size = 2, .chunk = 8};
    dure_engine *plain = create(options);
    options.speculation = speculation;
    dure_engine *guessing = create(options);
    for (int i = 0; i < 4; i++) {
      const prompt p = repeating(i);
      dure_request request = request_of(&p, i);
      request.count = 20;
      request.overflow = shifts ? DURE_OVERFLOW_SHIFT : DURE_OVERFLOW_STOP;
      const answer expected = answer_alone(plain, request), found = answer_alone(guessing, request);
      ck_assert(shifts || i == 1 || expected.progress.finish == DURE_FINISH_CONTEXT);
      require_same(&found, &expected, folders[_i], i);
    }
    dure_engine_destroy(plain);
    dure_engine_destroy(guessing);
  }
  close_model();
}
END_TEST

// How much is guessed is left to the times (tests/unit/speculation.c); the text is what it is.
START_TEST(text_is_the_same_where_times_decide) {
  open_model("reference", "llama");
  make_prompts();
  dure_engine *plain = create((dure_engine_options){.sequences = 1});
  dure_engine *guessing =
      create((dure_engine_options){.sequences = 4, .speculation = {.looks_up = true, .draft = model}});
  for (int way = 0; way < 2; way++) require_same_text(plain, guessing, way);
  dure_engine_destroy(plain);
  dure_engine_destroy(guessing);
  close_model();
}
END_TEST

START_TEST(a_draft_model_of_other_words_is_refused) {
  open_model("reference", "llama");
  char path[4096];
  const char *source = getenv("DURE_SOURCE_DIR");
  snprintf(path, sizeof(path), "%s/tests/golden/gpt2/even", source != NULL ? source : ".");
  dure_model *larger = NULL;
  require(dure_model_open(path, device, stream, &larger));
  dure_engine *engine = NULL;
  require_failure(dure_engine_create(larger, &(dure_engine_options){.speculation = {.draft = model}}, &engine),
                  DURE_INVALID_ARGUMENT, "vocabulary of 61 tokens, the model of 272");
  require_failure(
      dure_engine_create(model, &(dure_engine_options){.speculation = {.looks_up = true, .proposals = 16}}, &engine),
      DURE_INVALID_ARGUMENT, "at most 15 tokens are proposed");
  dure_model_destroy(larger);
  close_model();
}
END_TEST

int main(void) {
  find_devices();
  Suite *suite = suite_create("engine_speculation");
  TCase *tests = tcase_create("engine_speculation");
  tcase_add_loop_test(tests, text_is_the_same_with_lookups, 0, device_count);
  tcase_add_loop_test(tests, text_is_the_same_with_a_draft_model, 0, is_full() ? device_count : 1);
  tcase_add_test(tests, right_guesses_save_steps);
  tcase_add_test(tests, a_full_cache_changes_nothing);
  tcase_add_test(tests, wrong_guesses_are_never_shared);
  tcase_add_loop_test(tests, windows_and_the_end_of_the_context_change_nothing, 0, 2);
  tcase_add_test(tests, text_is_the_same_where_times_decide);
  tcase_add_test(tests, a_draft_model_of_other_words_is_refused);
  suite_add_tcase(suite, tests);
  return run_suite(suite, CK_FORK_GETENV);
}
