// One step of the engine: who runs, what the device is to do, and what becomes of what it did. On the device's thread,
// with the mutex held unless said otherwise.
#include <pthread.h>
#include <string.h>

#include "model/engine_internal.h"
#include "runtime/os.h"

// ---- the cache ---------------------------------------------------------------------------------------------------

// Later blocks go first, so that of a long text the beginning stays findable longest.
static void drop_blocks(dure_engine *engine, engine_sequence *s) {
  while (s->block_count > 0) dure_cache_blocks_drop(engine->blocks, s->blocks[--s->block_count]);
  s->cached = s->keyed_count = s->draft_cached = s->proposed = 0;
  s->key = (dure_block_key){0};
}

// Blocks that hold what the prompt begins with, or goes on with after whole blocks of its own; at least its last token
// is left to compute.
static void reuse_blocks(dure_engine *engine, engine_sequence *s) {
  const uint32_t size = engine->programs.sizes.block_size, before = s->cached;
  if (engine->options.forgets_prefixes || s->prompt_scores != NULL || before % size != 0) return;
  while (s->block_count > before / size) dure_cache_blocks_drop(engine->blocks, s->blocks[--s->block_count]);
  while ((s->block_count + 1) * size < s->count) {
    const dure_block_key key = dure_block_key_of(s->key, s->tokens + s->block_count * size, size);
    const uint32_t block = dure_cache_blocks_find(engine->blocks, key);
    if (block == 0) break;
    s->blocks[s->block_count++] = block;
    s->keyed_count++;
    s->key = key;
  }
  s->cached = s->block_count * size;
  if (s->cached == before) return;
  if (engine->draft != NULL) s->draft_cached = engine_draft_reused(engine->draft, s);
  const bool is_first_time = s->progress.generated_count == 0 && s->progress.reused_count == 0;
  if (!is_first_time) return;
  s->progress.reused_count = s->cached - before;
  engine->statistics.reused_tokens += s->cached - before;
}

// Makes what has become full findable.
static void publish_blocks(dure_engine *engine, engine_sequence *s) {
  const uint32_t size = engine->programs.sizes.block_size;
  if (engine->options.forgets_prefixes) return;
  for (; (s->keyed_count + 1) * size <= s->cached; s->keyed_count++) {
    s->key = dure_block_key_of(s->key, s->tokens + s->keyed_count * size, size);
    if (s->blocks[s->keyed_count] != 0) dure_cache_blocks_publish(engine->blocks, s->blocks[s->keyed_count], s->key);
  }
}

// Blocks that no layer will look at any more.
static void leave_window(dure_engine *engine, engine_sequence *s) {
  const uint32_t size = engine->programs.sizes.block_size;
  if (engine->window == 0 || s->cached < engine->window) return;
  const uint32_t outside = (s->cached + 1 - engine->window) / size;
  for (uint32_t i = outside; i-- > 0 && s->blocks[i] != 0;) {
    dure_cache_blocks_drop(engine->blocks, s->blocks[i]);
    s->blocks[i] = 0;
  }
}

bool engine_extend_blocks(dure_engine *engine, engine_sequence *sequence, uint32_t count) {
  const uint32_t size = engine->programs.sizes.block_size;
  while (sequence->block_count * size < count) {
    const uint32_t block = dure_cache_blocks_take(engine->blocks);
    if (block == 0) return false;
    if (engine->draft != NULL) engine_draft_forget(engine->draft, block);
    sequence->blocks[sequence->block_count++] = block;
  }
  return true;
}

// Gives back the blocks in which there is nothing but what was proposed and was wrong.
static void return_blocks(dure_engine *engine, engine_sequence *s) {
  const uint32_t size = engine->programs.sizes.block_size;
  while (s->block_count > 0 && (s->block_count - 1) * size >= s->count)
    dure_cache_blocks_drop(engine->blocks, s->blocks[--s->block_count]);
}

// ---- who runs ----------------------------------------------------------------------------------------------------

static bool is_scoring(const engine_sequence *s) {
  return s->prompt_scores != NULL && s->scored < s->progress.prompt_count;
}

static void stop_running(dure_engine *engine, engine_sequence *s) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < engine->running_count; i++) {
    if (engine->running[i] != s) engine->running[kept++] = engine->running[i];
  }
  engine->running_count = kept;
  drop_blocks(engine, s);
  if (is_scoring(s)) s->scored = 1;
}

static void finish(dure_engine *engine, engine_sequence *s, dure_finish how) {
  if (s->progress.finish != DURE_FINISH_NOT_YET) return;
  if (s->is_waiting) engine->waiting_count--;
  s->is_waiting = false;
  stop_running(engine, s);
  s->progress.is_running = false;
  s->progress.finish = how;
  engine_sequence_leave_grammar(s);
  engine->statistics.finished++;
  if (how == DURE_FINISH_CANCELLED) engine->statistics.cancelled++;
}

// Makes the youngest wait again; it keeps its place at the head of the queue, being older than all that wait.
static void preempt_youngest(dure_engine *engine) {
  engine_sequence *youngest = engine->running[0];
  for (uint32_t i = 1; i < engine->running_count; i++) {
    if (engine->running[i]->id > youngest->id) youngest = engine->running[i];
  }
  stop_running(engine, youngest);
  youngest->is_waiting = true;
  youngest->progress.is_running = false;
  engine->waiting_count++;
  engine->statistics.preempted++;
}

// Ends what was cancelled, and forgets what was released.
static void sweep(dure_engine *engine) {
  for (engine_sequence **place = &engine->sequences; *place != NULL;) {
    engine_sequence *s = *place;
    if (s->is_cancelled) finish(engine, s, DURE_FINISH_CANCELLED);
    if (s->is_released) {
      *place = s->next;
      engine_sequence_destroy(s);
    } else {
      place = &s->next;
    }
  }
}

// Forgets the oldest quarter of the context; the rest will be computed again.
static void shift(dure_engine *engine, engine_sequence *s) {
  const uint32_t kept = engine->programs.sizes.context - engine->programs.sizes.context / 4 - 1;
  if (s->count <= kept) return;
  const uint32_t dropped = s->count - kept;
  drop_blocks(engine, s);
  memmove(s->tokens, s->tokens + dropped, kept * sizeof(*s->tokens));
  s->count = kept;
  s->prompt_left = s->prompt_left > dropped ? s->prompt_left - dropped : 0;
}

static engine_sequence *oldest_waiting(const dure_engine *engine) {
  engine_sequence *oldest = NULL;
  for (engine_sequence *s = engine->sequences; s != NULL; s = s->next) {
    if (s->is_waiting) oldest = s;  // the newest come first
  }
  return oldest;
}

// Ends a sequence that has all its tokens, or makes room for more.
static void check_length(dure_engine *engine, engine_sequence *s) {
  if (s->progress.finish != DURE_FINISH_NOT_YET) return;
  if (s->progress.generated_count >= s->request.most_tokens) {
    finish(engine, s, DURE_FINISH_LENGTH);
  } else if (s->count > engine->programs.sizes.context) {
    if (s->request.overflow == DURE_OVERFLOW_SHIFT) {
      shift(engine, s);
    } else {
      finish(engine, s, DURE_FINISH_CONTEXT);
    }
  }
}

// What a sequence with a grammar may draw next; ends it where that is nothing. Without the mutex, since a mask can take
// a tenth of a second.
static void constrain(dure_engine *engine, engine_sequence *s) {
  bool goes_on = true, is_whole = false;
  pthread_mutex_unlock(&engine->mutex);
  dure_status status = engine_sequence_constrain(s, engine->mask_words, &goes_on, &is_whole);
  pthread_mutex_lock(&engine->mutex);
  if (status != NULL || !goes_on) finish(engine, s, status == NULL && is_whole ? DURE_FINISH_END : DURE_FINISH_GRAMMAR);
  dure_status_free(status);  // of this request alone; the others go on
  if (s->progress.generated_count > 0) check_length(engine, s);
}

// All that begin, and all that have a token more.
static void constrain_running(dure_engine *engine) {
  for (uint32_t i = 0; i < engine->running_count;) {
    engine_sequence *s = engine->running[i];
    if (!s->is_constrained) constrain(engine, s);
    if (i < engine->running_count && engine->running[i] == s) i++;  // else it has ended
  }
}

// In the order in which they came; the cache must have room for all that a request holds, and a block to go on.
static void admit(dure_engine *engine) {
  const engine_sizes *sizes = &engine->programs.sizes;
  while (engine->waiting_count > 0 && engine->running_count < sizes->sequences) {
    engine_sequence *s = oldest_waiting(engine);
    if (s->count > sizes->context) shift(engine, s);
    const uint32_t blocks = s->count / sizes->block_size + 1;
    const uint32_t needed = blocks < sizes->block_count ? blocks : sizes->block_count;
    if (engine->running_count > 0 && dure_cache_blocks_free(engine->blocks) < needed) return;
    reuse_blocks(engine, s);
    s->is_waiting = false;
    s->progress.is_running = true;
    if (s->progress.started == 0) s->progress.started = dure_os_nanoseconds();
    engine->waiting_count--;
    engine->running[engine->running_count++] = s;
  }
}

// ---- one step ----------------------------------------------------------------------------------------------------

static bool is_past_prompt(const engine_sequence *s) { return s->cached + 1 == s->count; }

// `taken` of the sequence's tokens, those from number `from` on, as row `row`, whose first token stands at `place`.
static void write_tokens(dure_engine *engine, const engine_sequence *s, uint32_t from, uint32_t taken, uint32_t padded,
                         uint32_t place, uint32_t row) {
  const engine_exchange *x = &engine->programs.exchange;
  const uint32_t context = engine->programs.sizes.context;
  for (uint32_t i = 0; i < padded; i++) {
    x->tokens[place + i] = i < taken ? s->tokens[from + i] : 0;
    x->positions[place + i] = from + i < context ? from + i : context - 1;
  }
  engine_sequence_place(s, &engine->programs, from, row);
}

// The oldest prompt after `id` that is not taken whole; NULL: there is none.
static engine_sequence *next_prompt(const dure_engine *engine, uint64_t id) {
  engine_sequence *chosen = NULL;
  for (uint32_t i = 0; i < engine->running_count; i++) {
    engine_sequence *s = engine->running[i];
    const bool is_left = !is_past_prompt(s) || is_scoring(s);
    if (is_left && s->id > id && (chosen == NULL || s->id < chosen->id)) chosen = s;
  }
  return chosen;
}

static uint32_t tokens_left(const engine_sequence *s) { return s->count - s->cached; }

// Whether one in the plan computes the very block that comes next for this one, which then finds it there.
static bool is_in_plan(const dure_engine *engine, const engine_plan *p, const engine_sequence *s) {
  const uint32_t size = engine->programs.sizes.block_size;
  if (engine->options.forgets_prefixes || s->cached % size != 0 || s->cached + size >= s->count) return false;
  for (uint32_t i = 0; i < p->count; i++) {
    const engine_sequence *other = p->sequences[i];
    if (other->cached == s->cached && p->taken[i] >= size && other->key.low == s->key.low &&
        other->key.high == s->key.high &&
        memcmp(other->tokens + s->cached, s->tokens + s->cached, size * sizeof(*s->tokens)) == 0)
      return true;
  }
  return false;
}

// Others whose next piece is as long as that of the first, which is in the plan, as long as there is room for them.
static void gather_prompts(dure_engine *engine, engine_plan *p) {
  const engine_sizes *sizes = &engine->programs.sizes;
  for (engine_sequence *s = p->sequences[0]; (s = next_prompt(engine, s->id)) != NULL;) {
    if (p->count == engine_prompts(sizes, p->padded, DURE_ENGINE_SEQUENCES_MOST)) break;
    reuse_blocks(engine, s);
    const uint32_t left = tokens_left(s), taken = left < p->padded ? left : p->padded;
    if (is_scoring(s) || engine_chunk(sizes, left) != p->padded || is_in_plan(engine, p, s)) continue;
    leave_window(engine, s);
    if (!engine_extend_blocks(engine, s, s->cached + taken)) break;
    p->sequences[p->count] = s;
    p->taken[p->count++] = taken;
  }
  p->width = engine_prompts(sizes, p->padded, p->count);
  p->count = p->width;  // the others' turn comes next
}

// A piece of the oldest prompt that is not taken whole, and of others.
static bool plan_prompts(dure_engine *engine, engine_plan *p) {
  engine_sequence *first = next_prompt(engine, 0);
  if (first == NULL) return false;
  reuse_blocks(engine, first);
  const uint32_t left = tokens_left(first);
  const bool scores = is_scoring(first);
  const uint32_t padded = scores ? ENGINE_SCORED : engine_chunk(&engine->programs.sizes, left);
  // What is scored ends before the last token, which is then taken like any other.
  const uint32_t most = scores ? left - 1 : left, taken = most < padded ? most : padded;
  leave_window(engine, first);
  while (!engine_extend_blocks(engine, first, first->cached + taken)) {
    preempt_youngest(engine);
    if (!first->progress.is_running) return plan_prompts(engine, p);
  }
  *p = (engine_plan){
      .sequences = {first}, .taken = {taken}, .count = 1, .width = 1, .padded = padded, .is_scored = scores};
  if (!scores) gather_prompts(engine, p);
  for (uint32_t row = 0; row < p->count; row++) {
    const engine_sequence *s = p->sequences[row];
    write_tokens(engine, s, s->cached, p->taken[row], padded, row * padded, row);
    engine->programs.exchange.last[row] = row * padded + (p->taken[row] > 0 ? p->taken[row] - 1 : 0);
    engine_sequence_settings(s, 0, &engine->programs.exchange, row);
  }
  return true;
}

// Everybody past its prompt, with a block for its next token.
static void gather(dure_engine *engine, engine_plan *p) {
  *p = (engine_plan){0};
  for (uint32_t i = 0; i < engine->running_count; i++) {
    engine_sequence *s = engine->running[i];
    if (!is_past_prompt(s) || is_scoring(s)) continue;
    leave_window(engine, s);
    while (s->progress.is_running && !engine_extend_blocks(engine, s, s->count)) preempt_youngest(engine);
  }
  for (uint32_t i = 0; i < engine->running_count; i++) {
    engine_sequence *s = engine->running[i];
    const bool has_block = s->block_count * engine->programs.sizes.block_size >= s->count;
    if (is_past_prompt(s) && !is_scoring(s) && has_block) p->sequences[p->count++] = s;
  }
}

// Without the mutex, as all that asks a grammar.
static bool look_ahead(dure_engine *engine, engine_sequence *s, uint32_t ahead) {
  if (s->match == NULL) return true;
  pthread_mutex_unlock(&engine->mutex);
  const bool may_come = engine_sequence_look_ahead(s, ahead);
  pthread_mutex_lock(&engine->mutex);
  return may_come;
}

// A row for the sequence's last token, and one for each proposed behind it that its grammar lets come.
static void write_sequence(dure_engine *engine, engine_sequence *s, engine_plan *p) {
  for (uint32_t ahead = 0; ahead <= s->proposed; ahead++) {
    if (s->proposed > 0 && !look_ahead(engine, s, ahead)) {
      s->proposed = ahead > 0 ? ahead - 1 : 0;
      if (ahead > 0) return;
    }
    const uint32_t row = p->rows++;
    write_tokens(engine, s, s->cached + ahead, 1, 1, row, row);
    engine_sequence_settings(s, ahead, &engine->programs.exchange, row);
  }
}

static dure_status plan_tokens(dure_engine *engine, engine_plan *p) {
  gather(engine, p);
  if (p->count == 0) return NULL;
  if (engine_speculates(engine)) DURE_TRY(engine_propose(engine, p));
  const uint64_t begin = dure_os_nanoseconds();
  for (uint32_t i = 0; i < p->count; i++) {
    p->first[i] = p->rows;
    write_sequence(engine, p->sequences[i], p);
  }
  p->seconds = (double)(dure_os_nanoseconds() - begin) / 1e9;
  p->width = engine_width(p->rows);
  for (uint32_t row = p->rows; row < p->width; row++) engine_programs_pad(&engine->programs, row);
  return NULL;
}

// A token was drawn for a sequence all of whose tokens are in the cache.
static dure_status take_token(dure_engine *engine, engine_sequence *s, uint32_t row) {
  const uint32_t token = engine->programs.exchange.drawn[row];
  const uint64_t now = dure_os_nanoseconds();
  if (s->request.most_tokens == 0) {
    finish(engine, s, DURE_FINISH_LENGTH);
    return NULL;
  }
  if (token >= engine->candidates) {
    finish(engine, s, DURE_FINISH_NOT_FINITE);
    return NULL;
  }
  if (engine_sequence_ends_with(s, token)) {
    finish(engine, s, DURE_FINISH_END);
    return NULL;
  }
  const float *logits = NULL;
  if (s->request.with_log_probabilities || s->request.alternatives > 0)
    DURE_TRY(engine_logits_row(&engine->programs, false, row, engine->scratch, &logits));
  DURE_TRY(engine_sequence_add(s, token, logits, engine->candidates));
  engine->statistics.generated_tokens++;
  if (s->progress.first == 0) s->progress.first = now;
  s->progress.last = now;
  s->is_constrained = s->request.constraint == NULL;
  if (s->is_constrained) check_length(engine, s);  // else when its grammar has been asked
  return NULL;
}

// The log-probability of each token that follows a scored one.
static dure_status take_scores(dure_engine *engine, engine_sequence *s, uint32_t taken) {
  for (uint32_t row = 0; row < taken; row++) {
    const float *logits = NULL;
    DURE_TRY(engine_logits_row(&engine->programs, true, row, engine->scratch, &logits));
    engine_sequence_score(s, logits, engine->candidates);
  }
  return NULL;
}

// Tokens of a prompt, and if they were the last of it the first token drawn.
static dure_status apply_prompt(dure_engine *engine, engine_sequence *s, uint32_t taken, bool is_scored, uint32_t row) {
  if (is_scored) DURE_TRY(take_scores(engine, s, taken));
  s->cached += taken;
  publish_blocks(engine, s);
  return s->cached == s->count && !s->is_cancelled ? take_token(engine, s, row) : NULL;
}

// What was drawn after a sequence's last token and, for as long as that is what was proposed, after the next ones.
static dure_status apply_rows(dure_engine *engine, engine_sequence *s, uint32_t first) {
  const uint32_t begin = s->count, proposed = s->proposed;
  uint32_t accepted = 0;
  for (bool goes_on = !s->is_cancelled; goes_on;) {
    const uint32_t place = s->count;
    const bool is_last = accepted == proposed;
    const uint32_t guess = is_last ? 0 : s->tokens[place];
    s->cached++;
    publish_blocks(engine, s);
    DURE_TRY(take_token(engine, s, first + accepted));
    goes_on =
        !is_last && s->progress.finish == DURE_FINISH_NOT_YET && s->count == place + 1 && s->tokens[place] == guess;
    if (!is_last && engine->programs.exchange.drawn[first + accepted] == guess) accepted++;
  }
  if (proposed == 0) return_blocks(engine, s);  // those for guesses of which none was verified
  if (proposed == 0 || s->is_cancelled) return NULL;
  s->proposed = proposed;  // a sequence that has ended has given up what was proposed for it
  engine_note_proposals(engine, s, accepted);
  s->proposed = 0;
  if (!s->progress.is_running || s->cached < begin) return NULL;
  if (engine->draft != NULL && s->proposed_kind == SPECULATION_DRAFT)
    engine_draft_accept(engine->draft, s, begin + (accepted < proposed ? accepted : proposed - 1));
  return_blocks(engine, s);
  return NULL;
}

static dure_status apply(dure_engine *engine, const engine_plan *p, bool is_prompt) {
  for (uint32_t i = 0; i < p->count; i++) {
    if (is_prompt) {
      DURE_TRY(apply_prompt(engine, p->sequences[i], p->taken[i], p->is_scored, i));
    } else {
      DURE_TRY(apply_rows(engine, p->sequences[i], p->first[i]));
    }
  }
  return NULL;
}

static dure_status run_plan(dure_engine *engine, const engine_plan *p, bool is_prompt) {
  if (!is_prompt) return engine_run_decode(&engine->programs, p->width);
  if (p->is_scored) return p->taken[0] > 0 ? engine_run_score(&engine->programs) : NULL;
  return engine_run_prefill(&engine->programs, p->width, p->padded);
}

// Runs a plan, without the mutex while the device works, and takes what it brought.
static dure_status execute(dure_engine *engine, const engine_plan *p, bool is_prompt) {
  pthread_mutex_unlock(&engine->mutex);
  dure_status status = is_prompt ? NULL : engine_programs_need(&engine->programs, p->width);
  const uint64_t begin = dure_os_nanoseconds();
  if (status == NULL) status = run_plan(engine, p, is_prompt);
  pthread_mutex_lock(&engine->mutex);
  const double seconds = (double)(dure_os_nanoseconds() - begin) / 1e9;
  dure_engine_statistics *statistics = &engine->statistics;
  if (is_prompt) {
    statistics->prompt_steps++;
    for (uint32_t i = 0; i < p->count; i++) statistics->prompt_tokens += p->taken[i];
    statistics->prompt_seconds += seconds;
  } else {
    statistics->decode_steps++;
    statistics->decode_seconds += seconds;
    speculation_times_add(&engine->times, p->rows, seconds + p->seconds);
  }
  if (status == NULL) status = apply(engine, p, is_prompt);
  constrain_running(engine);
  return status;
}

static void fail_all(dure_engine *engine) {
  for (engine_sequence *s = engine->sequences; s != NULL; s = s->next) finish(engine, s, DURE_FINISH_FAILED);
}

// Pieces of prompts, up to one chunk's tokens in all: many short prompts keep the others waiting no longer than a long
// one does, and need not each wait for a token of all others.
static dure_status take_prompts(dure_engine *engine) {
  engine_plan p;
  for (uint32_t tokens = 0; plan_prompts(engine, &p);) {
    const uint32_t rows = p.width * p.padded;
    if (tokens > 0 && tokens + rows > engine->programs.sizes.chunk) return NULL;
    tokens += rows;
    DURE_TRY(execute(engine, &p, true));
    sweep(engine);
  }
  return NULL;
}

dure_status dure_engine_step(dure_engine *engine, bool *out_is_busy) {
  *out_is_busy = false;
  engine_plan p;
  dure_status status = NULL;
  pthread_mutex_lock(&engine->mutex);
  sweep(engine);
  admit(engine);
  constrain_running(engine);
  status = take_prompts(engine);
  if (status == NULL) {
    status = plan_tokens(engine, &p);
    if (status == NULL && p.count > 0) status = execute(engine, &p, false);
  }
  if (status != NULL) fail_all(engine);
  sweep(engine);
  *out_is_busy = engine->running_count + engine->waiting_count > 0;
  pthread_mutex_unlock(&engine->mutex);
  return status;
}
