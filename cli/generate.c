// dure generate: continues a prompt, writing text as it comes; or many at once, from a file.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/chat_session.h"
#include "cli/command.h"
#include "cli/constraint.h"
#include "cli/open_model.h"
#include "cli/output.h"
#include "cli/prompts.h"
#include "model/beam.h"
#include "model/chat.h"
#include "model/completion.h"
#include "model/engine.h"
#include "runtime/os.h"

typedef struct generate_options {
  const char *device, *dtype, *weights, *cache_type, *prompt, *prompt_file, *prompts, *stop, *system;
  const char *grammar, *json_schema, *draft;
  int64_t max_tokens, top_k, seed, batch, log_probabilities, proposals, beams;
  double temperature, top_p, min_p, typical_p, repetition_penalty, presence_penalty, frequency_penalty, length_penalty;
  bool echo, as_json, stops_at_end, shifts, is_chat, looks_up, stops_early;
} generate_options;

// One prompt and its continuation.
typedef struct generation {
  const prompt_text *prompt;
  dure_ids tokens;  // of the prompt
  uint64_t id;
  dure_completion *completion;
  dure_scored_token *generated;  // [most]
  uint32_t seen;
  bool has_stopped, is_done;
  char *text;  // of the continuation, when it is not printed at once
  size_t text_length, text_capacity;
  dure_request_progress progress;
  float beam_score;
} generation;

// Everything of one run of the command.
typedef struct generate_run {
  const generate_options *options;
  opened_model opened;
  prompt_list prompts;
  generation *generations;  // [prompts.count]
  dure_model *draft;        // NULL: none
  dure_engine *engine;
  opened_constraint constraint;
  dure_chat *chat;  // the model's own ends of texts, and its template
} generate_run;

static bool is_streamed(const generate_run *run) { return !run->options->as_json && run->options->prompts == NULL; }

static void run_clear(generate_run *run) {
  for (size_t i = 0; run->generations != NULL && i < run->prompts.count; i++) {
    generation *g = &run->generations[i];
    dure_ids_free(&g->tokens);
    dure_completion_destroy(g->completion);
    free(g->generated);
    free(g->text);
  }
  free(run->generations);
  dure_engine_destroy(run->engine);
  dure_model_destroy(run->draft);
  opened_constraint_close(&run->constraint);
  dure_chat_close(run->chat);
  if (run->opened.model != NULL) opened_model_close(&run->opened);
  prompt_list_clear(&run->prompts);
}

// ---- what comes ----------------------------------------------------------------------------------------------------

// Continuation text is printed at once, or kept for the JSON object.
static dure_status emit(const generate_run *run, generation *g, const char *bytes, size_t length) {
  if (length == 0) return NULL;
  if (is_streamed(run)) {
    fwrite(bytes, 1, length, stdout);
    return output_check();
  }
  if (g->text_length + length > g->text_capacity) {
    size_t capacity = (g->text_length + length) * 2;
    char *larger = realloc(g->text, capacity);
    if (larger == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for the generated text");
    g->text = larger;
    g->text_capacity = capacity;
  }
  memcpy(g->text + g->text_length, bytes, length);
  g->text_length += length;
  return NULL;
}

// Takes what the engine has for one prompt.
static dure_status take(const generate_run *run, generation *g) {
  if (g->is_done) return NULL;
  uint32_t count = 0;
  const uint32_t room = (uint32_t)run->options->max_tokens - g->seen;
  DURE_TRY(dure_engine_poll(run->engine, g->id, g->seen, g->generated + g->seen, room, &count, &g->progress));
  const char *bytes = NULL;
  size_t length = 0;
  for (uint32_t i = 0; i < count && !g->has_stopped; i++) {
    DURE_TRY(dure_completion_push(g->completion, g->generated[g->seen++].token, &bytes, &length, &g->has_stopped));
    DURE_TRY(emit(run, g, bytes, length));
  }
  if (g->has_stopped) dure_engine_cancel(run->engine, g->id);
  g->is_done = g->progress.finish != DURE_FINISH_NOT_YET;
  if (!g->is_done) return NULL;
  if (g->progress.finish == DURE_FINISH_NOT_FINITE)
    return dure_fail(DURE_NOT_FINITE, "no token could be drawn after %u tokens: the logits are not finite", g->seen);
  DURE_TRY(dure_completion_flush(g->completion, &bytes, &length));
  return emit(run, g, bytes, length);
}

static const char *finish_reason(const generation *g) {
  if (g->has_stopped) return "stop";
  switch (g->progress.finish) {
    case DURE_FINISH_END: return "end_of_text";
    case DURE_FINISH_CANCELLED: return "interrupted";
    default: return dure_finish_name(g->progress.finish);
  }
}

// ---- running -------------------------------------------------------------------------------------------------------

// The prompt's tokens; of a chat, those of what its template makes of it, which says itself how a text begins.
static dure_status encode_text(const generate_run *run, generation *g) {
  const dure_encode_options encoding = {.parse_special = true, .add_special = !run->options->is_chat};
  const dure_tokenizer *tokenizer = run->opened.tokenizer;
  if (!run->options->is_chat)
    return dure_tokenizer_encode(tokenizer, g->prompt->text, g->prompt->length, &encoding, &g->tokens);
  char *text = NULL;
  size_t length = 0;
  DURE_TRY(dure_chat_ask(run->chat, run->options->system, g->prompt->text, g->prompt->length, &text, &length));
  dure_status status = dure_tokenizer_encode(tokenizer, text, length, &encoding, &g->tokens);
  free(text);
  return status;
}

static dure_status encode_prompt(const generate_run *run, generation *g) {
  const dure_tokenizer *tokenizer = run->opened.tokenizer;
  DURE_TRY(encode_text(run, g));
  if (g->tokens.count == 0) {  // nothing to continue: begin a document
    uint32_t end_of_text = 0;
    if (!dure_tokenizer_end_of_text(tokenizer, &end_of_text)) {
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "the prompt is empty and the tokenizer has no end-of-text token to begin with");
    }
    DURE_TRY(dure_ids_reserve(&g->tokens, 1));
    g->tokens.ids[g->tokens.count++] = end_of_text;
  }
  g->generated = calloc((size_t)run->options->max_tokens, sizeof(*g->generated));
  if (g->generated == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for the generated tokens");
  const char *stops[] = {run->options->stop};
  return dure_completion_create(tokenizer, stops, stops[0] != NULL ? 1 : 0, &g->completion);
}

static dure_status encode_prompts(generate_run *run, uint64_t *out_longest) {
  *out_longest = 1;
  run->generations = calloc(run->prompts.count + 1, sizeof(*run->generations));
  if (run->generations == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for %zu prompts", run->prompts.count);
  for (size_t i = 0; i < run->prompts.count; i++) {
    generation *g = &run->generations[i];
    g->prompt = &run->prompts.prompts[i];
    DURE_TRY(encode_prompt(run, g));
    if (g->tokens.count > *out_longest) *out_longest = g->tokens.count;
  }
  return NULL;
}

// Tokens that the longest prompt and its continuation have, as far as the model goes.
static uint32_t context_for(const generate_run *run, uint64_t longest) {
  const uint32_t context = run->opened.model->config.context_length;
  const uint64_t wanted = longest + (uint64_t)run->options->max_tokens;
  return wanted < context ? (uint32_t)wanted : context;
}

static dure_engine_speculation speculation_of(const generate_run *run) {
  return (dure_engine_speculation){
      .looks_up = run->options->looks_up, .draft = run->draft, .proposals = (uint32_t)run->options->proposals};
}

static dure_status create_engine(generate_run *run, uint64_t longest) {
  const uint64_t together = (uint64_t)run->options->batch;
  dure_dtype cache_type;
  DURE_TRY(dure_model_parse_cache_type(run->options->cache_type, &cache_type));
  const dure_engine_options options = {
      .sequences = (uint32_t)(run->prompts.count < together ? run->prompts.count : together),
      .context = context_for(run, longest),
      .candidate_count = dure_tokenizer_vocabulary_size(run->opened.tokenizer),
      .queue = (uint32_t)run->prompts.count,
      .cache_type = cache_type,
      .speculation = speculation_of(run)};
  return dure_engine_create(run->opened.model, &options, &run->engine);
}

// Everything of a request but its tokens.
static dure_request request_of(const generate_run *run) {
  const generate_options *o = run->options;
  size_t end_count = 0;
  const uint32_t *ends = dure_chat_ends(run->chat, &end_count);
  return (dure_request){
      .most_tokens = (uint32_t)o->max_tokens,
      .sampling = {(float)o->temperature, (uint32_t)o->top_k, (float)o->top_p, (uint64_t)o->seed, (float)o->min_p,
                   (float)o->typical_p},
      .repetition_penalty = (float)o->repetition_penalty,
      .presence_penalty = (float)o->presence_penalty,
      .frequency_penalty = (float)o->frequency_penalty,
      .constraint = run->constraint.constraint,
      .ends = ends,
      .end_count = o->stops_at_end ? (uint32_t)end_count : 0,
      .overflow = o->shifts ? DURE_OVERFLOW_SHIFT : DURE_OVERFLOW_STOP,
      .with_log_probabilities = o->log_probabilities > 0,
      .alternatives = (uint32_t)o->log_probabilities,
  };
}

static dure_status submit(generate_run *run, generation *g) {
  dure_request request = request_of(run);
  request.tokens = g->tokens.ids;
  request.count = (uint32_t)g->tokens.count;
  return dure_engine_submit(run->engine, &request, &g->id);
}

static dure_status run_engine(generate_run *run) {
  for (size_t i = 0; i < run->prompts.count; i++) {
    dure_status status = submit(run, &run->generations[i]);
    if (status != NULL && run->prompts.count > 1) return dure_status_prefix(status, "prompt %zu", i + 1);
    DURE_TRY(status);
  }
  for (bool is_busy = true; is_busy;) {
    DURE_TRY(dure_engine_step(run->engine, &is_busy));
    for (size_t i = 0; i < run->prompts.count; i++) {
      if (dure_os_interrupted()) dure_engine_cancel(run->engine, run->generations[i].id);
      DURE_TRY(take(run, &run->generations[i]));
    }
  }
  return NULL;
}

// ---- beams ---------------------------------------------------------------------------------------------------------

// A text that is there as a whole: the best that the beams found.
static dure_status take_text(const generate_run *run, generation *g, const dure_beam_text *text) {
  const char *bytes = NULL;
  size_t length = 0;
  bool has_stopped = false;
  for (uint32_t i = 0; i < text->count; i++) {
    g->generated[g->seen++].token = text->tokens[i];
    DURE_TRY(dure_completion_push(g->completion, text->tokens[i], &bytes, &length, &has_stopped));
    DURE_TRY(emit(run, g, bytes, length));
  }
  g->progress.finish = text->has_ended ? DURE_FINISH_END : DURE_FINISH_LENGTH;
  g->beam_score = text->score;
  DURE_TRY(dure_completion_flush(g->completion, &bytes, &length));
  return emit(run, g, bytes, length);
}

static dure_status search_beams(const generate_run *run, dure_beams *beams) {
  for (size_t i = 0; i < run->prompts.count; i++) {
    generation *g = &run->generations[i];
    dure_beam_text text;
    g->progress.started = g->progress.first = dure_os_nanoseconds();
    dure_status status = dure_beams_run(beams, g->tokens.ids, (uint32_t)g->tokens.count, dure_os_interrupted, &text);
    g->progress.last = dure_os_nanoseconds();
    if (status != NULL && run->prompts.count > 1) return dure_status_prefix(status, "prompt %zu", i + 1);
    DURE_TRY(status);
    DURE_TRY(take_text(run, g, &text));
  }
  return NULL;
}

static dure_status run_beams(const generate_run *run, uint64_t longest) {
  const generate_options *o = run->options;
  const dure_request request = request_of(run);
  dure_beams *beams = NULL;
  dure_beam_options options = {.beams = (uint32_t)o->beams,
                               .most_tokens = request.most_tokens,
                               .context = context_for(run, longest),
                               .length_penalty = (float)o->length_penalty,
                               .early_stopping = o->stops_early ? DURE_EARLY_STOPPING_FULL : DURE_EARLY_STOPPING_LIKELY,
                               .ends = request.ends,
                               .end_count = request.end_count,
                               .candidate_count = dure_tokenizer_vocabulary_size(run->opened.tokenizer)};
  DURE_TRY(dure_model_parse_cache_type(o->cache_type, &options.cache_type));
  DURE_TRY(dure_beams_create(run->opened.model, &options, &beams));
  dure_status status = search_beams(run, beams);
  dure_beams_destroy(beams);
  return status;
}

// ---- results -------------------------------------------------------------------------------------------------------

static double seconds_between(uint64_t begin, uint64_t end) { return end > begin ? (double)(end - begin) / 1e9 : 0; }

static dure_status add_log_probabilities(const generate_run *run, const generation *g, json_t *object) {
  json_t *list = json_array();
  for (uint32_t i = 0; i < g->seen; i++) {
    dure_scored_token others[DURE_ENGINE_ALTERNATIVES_MOST];
    uint32_t count = 0;
    DURE_TRY(dure_engine_alternatives(run->engine, g->id, i, others, &count));
    json_t *top = json_array();
    for (uint32_t k = 0; k < count; k++)
      json_array_append_new(top, json_pack("{sI sf}", "token", (json_int_t)others[k].token, "log_probability",
                                           (double)others[k].log_probability));
    json_array_append_new(
        list, json_pack("{sf so}", "log_probability", (double)g->generated[i].log_probability, "likeliest", top));
  }
  json_object_set_new(object, "log_probabilities", list);
  return NULL;
}

static bool is_guessing(const generate_run *run) { return run->options->looks_up || run->options->draft != NULL; }

static dure_status print_object(const generate_run *run, const generation *g) {
  json_t *prompt_tokens = json_array(), *tokens = json_array();
  for (size_t i = 0; i < g->tokens.count; i++) json_array_append_new(prompt_tokens, json_integer(g->tokens.ids[i]));
  for (uint32_t i = 0; i < g->seen; i++) json_array_append_new(tokens, json_integer(g->generated[i].token));
  json_t *object = json_pack("{so so so so ss sf sf}", "prompt", output_json_text(g->prompt->text, g->prompt->length),
                             "text", output_json_text(g->text != NULL ? g->text : "", g->text_length), "prompt_tokens",
                             prompt_tokens, "tokens", tokens, "finish_reason", finish_reason(g), "prompt_seconds",
                             seconds_between(g->progress.started, g->progress.first), "decode_seconds",
                             seconds_between(g->progress.first, g->progress.last));
  if (object != NULL && run->options->beams > 0) json_object_set_new(object, "score", json_real((double)g->beam_score));
  if (object != NULL && is_guessing(run)) {
    json_object_set_new(object, "proposed", json_integer(g->progress.proposed_count));
    json_object_set_new(object, "accepted", json_integer(g->progress.accepted_count));
  }
  if (object != NULL && run->options->log_probabilities > 0) DURE_TRY(add_log_probabilities(run, g, object));
  return output_json(object);
}

static dure_status print_results(const generate_run *run) {
  if (!is_streamed(run)) {
    for (size_t i = 0; i < run->prompts.count; i++) DURE_TRY(print_object(run, &run->generations[i]));
  } else {
    putchar('\n');
  }
  if (dure_os_is_terminal(2) && run->engine != NULL) {
    const dure_engine_statistics s = dure_engine_statistics_get(run->engine);
    fprintf(stderr, "%llu tokens, %.1f tokens/s (%llu tokens of prompts, %.2f s)",
            (unsigned long long)s.generated_tokens,
            s.decode_seconds > 0 ? (double)s.generated_tokens / s.decode_seconds : 0.0,
            (unsigned long long)s.prompt_tokens, s.prompt_seconds);
    if (is_guessing(run))
      fprintf(stderr, "; %llu of %llu tokens guessed right, %llu steps", (unsigned long long)s.accepted_tokens,
              (unsigned long long)s.proposed_tokens, (unsigned long long)s.decode_steps);
    if (run->prompts.count == 1) fprintf(stderr, "; stopped: %s", finish_reason(&run->generations[0]));
    fputc('\n', stderr);
  }
  return output_check();
}

static dure_status generate_all(generate_run *run) {
  const generate_options *o = run->options;
  if (o->prompts != NULL) {
    DURE_TRY(prompt_list_read(o->prompts, &run->prompts));
  } else {
    DURE_TRY(prompt_list_one(o->prompt, o->prompt_file, &run->prompts));
  }
  uint64_t longest = 0;
  DURE_TRY(encode_prompts(run, &longest));
  if (o->beams == 0) DURE_TRY(create_engine(run, longest));
  if (o->echo && is_streamed(run)) fwrite(run->prompts.prompts[0].text, 1, run->prompts.prompts[0].length, stdout);
  DURE_TRY(o->beams > 0 ? run_beams(run, longest) : run_engine(run));
  return print_results(run);
}

static bool is_conversation(const generate_options *options) {
  return options->is_chat && options->prompt == NULL && options->prompt_file == NULL && options->prompts == NULL;
}

static dure_status converse(const generate_run *run) {
  chat_session_options session = {.model = run->opened.model,
                                  .tokenizer = run->opened.tokenizer,
                                  .chat = run->chat,
                                  .system = run->options->system,
                                  .stop = run->options->stop,
                                  .request = request_of(run),
                                  .speculation = speculation_of(run)};
  DURE_TRY(dure_model_parse_cache_type(run->options->cache_type, &session.cache_type));
  return chat_session_run(&session);
}

static dure_status open_all(generate_run *run, const char *directory) {
  const generate_options *o = run->options;
  DURE_TRY(opened_model_create_as(o->device, o->dtype, o->weights, directory, true, &run->opened));
  DURE_TRY(dure_chat_open(directory, run->opened.tokenizer, &run->chat));
  if (o->draft != NULL) DURE_TRY(opened_model_draft(&run->opened, o->dtype, o->weights, o->draft, &run->draft));
  return opened_constraint_create(o->grammar, o->json_schema, run->opened.tokenizer, &run->constraint);
}

static dure_status generate(const void *chosen, const char *directory) {
  const generate_options *options = chosen;
  generate_run run = {.options = options};
  dure_status status = open_all(&run, directory);
  if (status == NULL) status = is_conversation(options) ? converse(&run) : generate_all(&run);
  run_clear(&run);
  return status;
}

// What beams have no use for is refused rather than ignored.
static dure_status check_beams(const generate_options *o) {
  if (o->beams < 0 || o->beams > DURE_BEAMS_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "--beams must be from 1 to %d", DURE_BEAMS_MOST);
  if (o->beams == 0 && (o->length_penalty != 1 || o->stops_early))
    return dure_fail(DURE_INVALID_ARGUMENT, "--length-penalty and --early-stopping are for --beams");
  const struct {
    const char *name;
    bool is_given;
  } others[] = {{"--temperature above 0", o->temperature > 0},
                {"--repetition-penalty", o->repetition_penalty != 0},
                {"--presence-penalty", o->presence_penalty != 0},
                {"--frequency-penalty", o->frequency_penalty != 0},
                {"--grammar", o->grammar != NULL},
                {"--json-schema", o->json_schema != NULL},
                {"--stop", o->stop != NULL},
                {"--log-probabilities", o->log_probabilities != 0},
                {"--shift", o->shifts},
                {"--speculate", o->looks_up},
                {"--draft", o->draft != NULL},
                {"a conversation", is_conversation(o)}};
  for (size_t i = 0; o->beams > 0 && i < sizeof(others) / sizeof(others[0]); i++) {
    if (others[i].is_given)
      return dure_fail(DURE_INVALID_ARGUMENT,
                       "--beams looks for the likeliest text as a whole, and cannot be had together with %s",
                       others[i].name);
  }
  if (!isfinite(o->length_penalty)) return dure_fail(DURE_INVALID_ARGUMENT, "--length-penalty must be a number");
  return NULL;
}

static dure_status check_options(void *chosen) {
  generate_options *options = chosen;
  if (isnan(options->temperature)) options->temperature = options->beams > 0 ? 0 : 0.8;
  const int sources = (options->prompt != NULL) + (options->prompt_file != NULL) + (options->prompts != NULL);
  if (sources > 1)
    return dure_fail(DURE_INVALID_ARGUMENT,
                     "--prompt, --prompt-file and --prompts all say what to continue; give one of them");
  if (options->max_tokens < 1 || options->max_tokens > INT32_MAX)
    return dure_fail(DURE_INVALID_ARGUMENT, "--max-tokens must be at least 1");
  if (options->temperature < 0)
    return dure_fail(DURE_INVALID_ARGUMENT, "--temperature must be at least 0 (0: always the likeliest token)");
  if (options->top_k < 0 || options->top_k > UINT32_MAX)
    return dure_fail(DURE_INVALID_ARGUMENT, "--top-k must be at least 0 (0: no limit)");
  if (!(options->top_p > 0 && options->top_p <= 1))
    return dure_fail(DURE_INVALID_ARGUMENT, "--top-p must be above 0 and at most 1");
  if (!(options->min_p >= 0 && options->min_p <= 1))
    return dure_fail(DURE_INVALID_ARGUMENT, "--min-p must be at least 0 and at most 1");
  if (!(options->typical_p > 0 && options->typical_p <= 1))
    return dure_fail(DURE_INVALID_ARGUMENT, "--typical-p must be above 0 and at most 1");
  if (options->batch < 1 || options->batch > DURE_ENGINE_SEQUENCES_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "--batch must be from 1 to %d", DURE_ENGINE_SEQUENCES_MOST);
  if (options->log_probabilities < 0 || options->log_probabilities > DURE_ENGINE_ALTERNATIVES_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "--log-probabilities must be from 0 to %d", DURE_ENGINE_ALTERNATIVES_MOST);
  if (options->proposals < 0 || options->proposals > DURE_ENGINE_PROPOSALS_MOST)
    return dure_fail(DURE_INVALID_ARGUMENT, "--proposals must be from 1 to %d", DURE_ENGINE_PROPOSALS_MOST);
  if (options->proposals > 0 && !options->looks_up && options->draft == NULL)
    return dure_fail(DURE_INVALID_ARGUMENT, "--proposals is for --speculate and --draft");
  DURE_TRY(check_beams(options));
  if (options->grammar != NULL && options->json_schema != NULL)
    return dure_fail(DURE_INVALID_ARGUMENT, "--grammar and --json-schema both say what may come; give one of them");
  if (options->system != NULL && !options->is_chat) return dure_fail(DURE_INVALID_ARGUMENT, "--system is for --chat");
  if (options->is_chat && sources == 0 && (options->as_json || options->echo))
    return dure_fail(DURE_INVALID_ARGUMENT, "--json and --echo need a question: --prompt, --prompt-file or --prompts");
  dure_dtype dtype;
  DURE_TRY(dure_model_parse_cache_type(options->cache_type, &dtype));
  return dure_model_parse_dtype(options->dtype, &dtype);
}

int command_generate(int argc, char **argv) {
  generate_options options = {.device = "auto",
                              .max_tokens = 128,
                              .batch = 8,
                              .temperature = (double)NAN,
                              .length_penalty = 1,
                              .typical_p = 1,
                              .top_k = 40,
                              .top_p = 1.0,
                              .stops_at_end = true};
  const option_row rows[] = {
      {"prompt", OPTION_TEXT, &options.prompt, "TEXT", "what to continue (default: begin a document)"},
      {"prompt-file", OPTION_TEXT, &options.prompt_file, "FILE", "the prompt from a file"},
      {"prompts", OPTION_TEXT, &options.prompts, "FILE",
       "many prompts, one a line: text, or JSON with \"prompt\"; a JSON object each comes out, in their order"},
      {"chat", OPTION_FLAG, &options.is_chat, NULL,
       "a prompt is a user's message, which the model's chat template makes a prompt of; without one: a conversation "
       "(/help), Ctrl-D ends"},
      {"system", OPTION_TEXT, &options.system, "TEXT", "with --chat: the system's message before it"},
      {"batch", OPTION_INTEGER, &options.batch, "N", "so many prompts run together at most (8)"},
      {"max-tokens", OPTION_INTEGER, &options.max_tokens, "N", "stop after so many tokens (128)"},
      {"temperature", OPTION_NUMBER, &options.temperature, "T",
       "0: always the likeliest token; higher: more varied (0.8; with --beams 0)"},
      {"top-k", OPTION_INTEGER, &options.top_k, "K", "draw from the K likeliest tokens, 0: all (40)"},
      {"top-p", OPTION_NUMBER, &options.top_p, "P", "draw from the likeliest tokens that hold this mass (1)"},
      {"min-p", OPTION_NUMBER, &options.min_p, "P", "only from those at least P times as likely as the likeliest (0)"},
      {"typical-p", OPTION_NUMBER, &options.typical_p, "P",
       "only from the most typical ones with this mass: those that tell about as much as one does on average (1)"},
      {"repetition-penalty", OPTION_NUMBER, &options.repetition_penalty, "F",
       "divides the logits of tokens that have come (0: off)"},
      {"presence-penalty", OPTION_NUMBER, &options.presence_penalty, "A",
       "subtracted from logits of tokens generated before (0)"},
      {"frequency-penalty", OPTION_NUMBER, &options.frequency_penalty, "A", "likewise, once for each time (0)"},
      {"seed", OPTION_INTEGER, &options.seed, "S", "the same seed gives the same text (0)"},
      {"grammar", OPTION_TEXT, &options.grammar, "FILE",
       "only what fits this grammar (rules name ::= ..., beginning with root; docs/model.md)"},
      {"json-schema", OPTION_TEXT, &options.json_schema, "FILE", "only JSON that fits this schema"},
      {"stop", OPTION_TEXT, &options.stop, "TEXT", "end before this text"},
      {"stop-at-end", OPTION_FLAG, &options.stops_at_end, NULL,
       "stop at the end-of-text token (--no-stop-at-end: go on)"},
      {"shift", OPTION_FLAG, &options.shifts, NULL,
       "at the end of the context forget its oldest quarter instead of stopping"},
      {"log-probabilities", OPTION_INTEGER, &options.log_probabilities, "N",
       "with --json: of each token, and of the N likeliest in its place (0: none)"},
      {"speculate", OPTION_FLAG, &options.looks_up, NULL,
       "guess tokens from what came before in the text and verify several in a step, where that is faster; the text "
       "stays the same"},
      {"draft", OPTION_TEXT, &options.draft, "MODEL",
       "guess by this smaller model, which must have the same tokenizer; the text stays the same"},
      {"proposals", OPTION_INTEGER, &options.proposals, "N", "guess so many tokens at once at most (7)"},
      {"beams", OPTION_INTEGER, &options.beams, "N",
       "search the likeliest text as a whole with N beams, as transformers' generate(num_beams=N) does"},
      {"length-penalty", OPTION_NUMBER, &options.length_penalty, "A",
       "with --beams: texts are compared by their log-probability / length^A; above 0 prefers longer ones (1)"},
      {"early-stopping", OPTION_FLAG, &options.stops_early, NULL,
       "with --beams: end as soon as N texts have ended, not when none can become better"},
      {"echo", OPTION_FLAG, &options.echo, NULL, "print the prompt before the continuation"},
      {"device", OPTION_TEXT, &options.device, "D", "auto, vulkan[:N], cuda[:N] or reference (auto)"},
      {"dtype", OPTION_TEXT, &options.dtype, "TYPE", "of weights and activations: auto, f32, bf16 or f16 (auto)"},
      {"cache-type", OPTION_TEXT, &options.cache_type, "TYPE",
       "of the KV cache: auto (as --dtype), f32, bf16, f16 or q8_0"},
      {"weights", OPTION_TEXT, &options.weights, "HOW",
       "of quantised files: quantised, as the file has them; int8: and activations are rounded to 8 bits before "
       "products with 8-bit matrices; or expanded to --dtype (quantised)"},
      {"json", OPTION_FLAG, &options.as_json, NULL, "one JSON object instead of streamed text"},
  };
  const command_usage usage = {
      "dure generate MODEL --prompt TEXT [options]",
      "Continues a prompt with a model directory (or a training checkpoint) or a GGUF file, streaming the text; or "
      "many "
      "prompts from a file at once; or answers questions (--chat).",
      rows,
      sizeof(rows) / sizeof(rows[0]),
      "dure generate RUN/checkpoints/latest --prompt \"Once upon a time\" --max-tokens 100 --seed 7",
      1,
      1};
  return command_run(&usage, argc, argv, &options, check_options, generate);
}
