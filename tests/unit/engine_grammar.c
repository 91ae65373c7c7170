// Requests with a grammar in the engine: their text fits, ends where the grammar does, and the others are as ever. On
// the device that DURE_TEST_DEVICE names, else on the reference device.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/engine.h"
#include "tests/suite.h"
#include "tests/unit/constraints.h"

enum { MOST = 20, REQUESTS = 6 };

static dure_device *device;
static dure_stream *stream;
static dure_model *model;
static dure_tokenizer *tokenizer;
static dure_token_trie *trie;
static uint32_t end;

static void open_model(void) {
  char path[4096];
  const char *source = getenv("DURE_SOURCE_DIR"), *name = getenv("DURE_TEST_DEVICE");
  snprintf(path, sizeof(path), "%s/tests/golden/gpt2/even", source != NULL ? source : ".");
  require(dure_device_open(name != NULL ? name : "reference", &device));
  require(dure_stream_create(device, &stream));
  require(dure_model_open(path, device, stream, &model));
  require(dure_tokenizer_open(path, &tokenizer));
  require(dure_token_trie_create(tokenizer, &trie));
  ck_assert(dure_tokenizer_end_of_text(tokenizer, &end));
}

static void close_model(void) {
  dure_token_trie_destroy(trie);
  dure_tokenizer_close(tokenizer);
  dure_model_destroy(model);
  dure_stream_destroy(stream);
  dure_device_close(device);
}

static dure_engine *create_guessing(uint32_t sequences, dure_engine_speculation speculation) {
  const dure_engine_options options = {.sequences = sequences,
                                       .context = 40,
                                       .candidate_count = dure_tokenizer_vocabulary_size(tokenizer),
                                       .speculation = speculation};
  dure_engine *engine = NULL;
  require(dure_engine_create(model, &options, &engine));
  return engine;
}

static dure_engine *create(uint32_t sequences) { return create_guessing(sequences, (dure_engine_speculation){0}); }

typedef struct answer {
  char text[4 * MOST];
  dure_scored_token tokens[MOST];
  uint32_t count;
  dure_finish finish;
} answer;

static uint64_t submit(dure_engine *engine, int which, dure_constraint *constraint) {
  const uint32_t prompt[] = {'a' + (uint32_t)which, 'b'};
  const dure_request request = {.tokens = prompt,
                                .count = 2,
                                .most_tokens = MOST,
                                .sampling = {.temperature = 1, .top_p = 1, .seed = 5 + (uint64_t)which},
                                .ends = &end,
                                .end_count = 1,
                                .constraint = constraint,
                                .with_log_probabilities = true,
                                .alternatives = 3};
  uint64_t id = 0;
  require(dure_engine_submit(engine, &request, &id));
  return id;
}

static void run_all(dure_engine *engine) {
  for (bool is_busy = true; is_busy;) require(dure_engine_step(engine, &is_busy));
}

static answer take(dure_engine *engine, uint64_t id) {
  answer a = {0};
  dure_request_progress progress;
  uint32_t ids[MOST];
  char *text = NULL;
  size_t length = 0;
  require(dure_engine_poll(engine, id, 0, a.tokens, MOST, &a.count, &progress));
  a.finish = progress.finish;
  for (uint32_t i = 0; i < a.count; i++) ids[i] = a.tokens[i].token;
  require(dure_tokenizer_decode(tokenizer, ids, a.count, false, &text, &length));
  memcpy(a.text, text, length);
  free(text);
  for (uint32_t i = 0; i < a.count; i++) {
    dure_scored_token others[DURE_ENGINE_ALTERNATIVES_MOST];
    uint32_t count = 0;
    require(dure_engine_alternatives(engine, id, i, others, &count));
    for (uint32_t k = 0; k < count; k++) ck_assert(isfinite(others[k].log_probability));
  }
  dure_engine_release(engine, id);
  return a;
}

static bool fits(const answer *a, dure_constraint *constraint) {
  dure_match *match = NULL;
  require(dure_match_create(constraint, &match));
  dure_status status = dure_match_bytes(match, a->text, strlen(a->text));
  const bool is_whole = status == NULL && (dure_match_may_end(match) || a->finish == DURE_FINISH_LENGTH);
  dure_status_free(status);
  dure_match_destroy(match);
  return is_whole;
}

// Every second one has a grammar; the rows change as some end before others.
START_TEST(some_have_a_grammar_and_the_others_are_as_ever) {
  static const char *const grammars[] = {"root ::= [0-9]{2,30} \"!\"", "root ::= (\"yes\" | \"no\") \".\"?"};
  dure_constraint *constraints[2] = {constraint_of(grammars[0], trie), constraint_of(grammars[1], trie)};
  dure_engine *engine = create(4);
  answer alone[REQUESTS];
  uint64_t ids[REQUESTS];
  for (int i = 0; i < REQUESTS; i++) {
    const uint64_t id = submit(engine, i, i % 2 == 0 ? NULL : constraints[i / 2 % 2]);
    run_all(engine);
    alone[i] = take(engine, id);
  }
  for (int i = 0; i < REQUESTS; i++) ids[i] = submit(engine, i, i % 2 == 0 ? NULL : constraints[i / 2 % 2]);
  run_all(engine);
  for (int i = 0; i < REQUESTS; i++) {
    const answer a = take(engine, ids[i]);
    ck_assert_uint_eq(a.count, alone[i].count);
    ck_assert_mem_eq(a.tokens, alone[i].tokens, a.count * sizeof(a.tokens[0]));
    if (i % 2 != 0) ck_assert_msg(fits(&a, constraints[i / 2 % 2]), "%d: '%s'", i, a.text);
  }
  dure_engine_destroy(engine);
  for (int i = 0; i < 2; i++) dure_constraint_release(constraints[i]);
}
END_TEST

// Each guess is looked at with the grammar as it would stand there, also where few tokens or none may follow.
START_TEST(guesses_keep_to_the_grammar) {
  static const char *const grammars[] = {"root ::= \"ab\" [0-9]{2,30} \"!\"",
                                         "root ::= (\"yes \" | \"no \"){2,9} \".\"?"};
  dure_constraint *constraints[2] = {constraint_of(grammars[0], trie), constraint_of(grammars[1], trie)};
  dure_engine *plain = create(1);
  for (int with_draft = 0; with_draft < 2; with_draft++) {
    const dure_engine_speculation speculation = {
        .looks_up = true, .draft = with_draft ? model : NULL, .is_unconditional = true};
    dure_engine *guessing = create_guessing(2, speculation);
    uint64_t ids[REQUESTS];
    for (int i = 0; i < REQUESTS; i++) ids[i] = submit(guessing, i, i % 3 == 0 ? NULL : constraints[i % 3 - 1]);
    run_all(guessing);
    for (int i = 0; i < REQUESTS; i++) {
      const uint64_t id = submit(plain, i, i % 3 == 0 ? NULL : constraints[i % 3 - 1]);
      run_all(plain);
      const answer expected = take(plain, id), found = take(guessing, ids[i]);
      ck_assert_int_eq(found.finish, expected.finish);
      ck_assert_uint_eq(found.count, expected.count);
      ck_assert_mem_eq(found.tokens, expected.tokens, found.count * sizeof(found.tokens[0]));
    }
    ck_assert_uint_gt(dure_engine_statistics_get(guessing).accepted_tokens, 0);
    dure_engine_destroy(guessing);
  }
  dure_engine_destroy(plain);
  for (int i = 0; i < 2; i++) dure_constraint_release(constraints[i]);
}
END_TEST

// Where nothing may follow the text is over, without a token for it.
START_TEST(a_text_ends_with_its_grammar) {
  dure_constraint *constraint = constraint_of("root ::= \"x\" \"y\" \"z\"", trie);
  dure_engine *engine = create(1);
  const uint64_t id = submit(engine, 0, constraint);
  dure_constraint_release(constraint);  // the request holds it
  run_all(engine);
  const answer a = take(engine, id);
  ck_assert_str_eq(a.text, "xyz");
  ck_assert_int_eq(a.finish, DURE_FINISH_END);
  for (uint32_t i = 0; i < a.count; i++) ck_assert_double_eq(a.tokens[i].log_probability, 0);  // there is no other
  dure_engine_destroy(engine);
}
END_TEST

START_TEST(a_grammar_that_grows_too_large_ends_its_request_alone) {
  char text[4096] = "root ::= \"q\" a0\n", rule[64];
  for (int i = 0; i < 14; i++) {
    snprintf(rule, sizeof(rule), "a%d ::= a%d \"x\" | a%d \"y\"\n", i, i + 1, i + 1);
    strcat(text, rule);
  }
  strcat(text, "a14 ::= \"z\"\n");
  dure_constraint *constraint = constraint_of(text, trie);
  dure_engine *engine = create(2);
  const uint64_t id = submit(engine, 0, constraint), other = submit(engine, 1, NULL);
  run_all(engine);
  const answer a = take(engine, id), b = take(engine, other);
  ck_assert_int_eq(a.finish, DURE_FINISH_GRAMMAR);
  ck_assert_int_ne(b.finish, DURE_FINISH_FAILED);
  ck_assert_uint_gt(b.count, 0);
  dure_engine_destroy(engine);
  dure_constraint_release(constraint);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("engine_grammar");
  TCase *group = tcase_create("engine_grammar");
  tcase_add_unchecked_fixture(group, open_model, close_model);
  tcase_add_test(group, some_have_a_grammar_and_the_others_are_as_ever);
  tcase_add_test(group, guesses_keep_to_the_grammar);
  tcase_add_test(group, a_text_ends_with_its_grammar);
  tcase_add_test(group, a_grammar_that_grows_too_large_ends_its_request_alone);
  suite_add_tcase(suite, group);
  return run_suite(suite, CK_NOFORK);
}
