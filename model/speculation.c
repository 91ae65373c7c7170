#include "model/speculation.h"

#include <string.h>

// ---- lookup ------------------------------------------------------------------------------------------------------

static speculation_kind kind_of_match(uint32_t length) {
  if (length >= 8) return SPECULATION_MATCH_8;
  if (length >= 4) return SPECULATION_MATCH_4;
  return (speculation_kind)(SPECULATION_MATCH_1 + length - 1);
}

// Tokens up to place `end` that are the same as those up to the end of the text.
static uint32_t match_length(const uint32_t *tokens, uint32_t count, uint32_t end) {
  uint32_t length = 0;
  while (length <= end && length < SPECULATION_LONGEST_MATCH && tokens[end - length] == tokens[count - 1 - length])
    length++;
  return length;
}

uint32_t speculation_lookup(const uint32_t *tokens, uint32_t count, uint32_t most, uint32_t *out_tokens,
                            speculation_kind *out_kind) {
  uint32_t longest = 0, place = 0;
  *out_kind = SPECULATION_MATCH_1;
  for (uint32_t end = count > 0 ? count - 1 : 0; end-- > 0 && longest < SPECULATION_LONGEST_MATCH;) {
    const uint32_t length = match_length(tokens, count, end);
    if (length <= longest) continue;
    longest = length;
    place = end;
  }
  if (longest == 0) return 0;
  *out_kind = kind_of_match(longest);
  const uint32_t period = count - 1 - place;
  for (uint32_t i = 0; i < most; i++) out_tokens[i] = i < period ? tokens[place + 1 + i] : out_tokens[i - period];
  return most;
}

// ---- what is known -----------------------------------------------------------------------------------------------

// Beliefs to begin with; a few steps replace them.
static const speculation_record beliefs = {.shares = {[SPECULATION_MATCH_1] = 0.15f,
                                                      [SPECULATION_MATCH_2] = 0.4f,
                                                      [SPECULATION_MATCH_3] = 0.6f,
                                                      [SPECULATION_MATCH_4] = 0.75f,
                                                      [SPECULATION_MATCH_8] = 0.9f,
                                                      [SPECULATION_DRAFT] = 0.6f}};

speculation_record speculation_record_begin(void) { return beliefs; }

void speculation_record_rest(speculation_record *record, speculation_kind kind) {
  record->shares[kind] += (beliefs.shares[kind] - record->shares[kind]) / 256;
}

void speculation_record_add(speculation_record *record, speculation_kind kind, uint32_t proposed, uint32_t accepted,
                            float weight) {
  float *share = &record->shares[kind];
  for (uint32_t i = 0; i < accepted; i++) *share += weight * (1 - *share);
  if (accepted < proposed) *share -= weight * *share;
}

static uint32_t width_of(uint32_t rows) {
  uint32_t width = 0;
  while (width + 1 < SPECULATION_WIDTHS && UINT32_C(1) << width < rows) width++;
  return width;
}

static void add_time(speculation_time *time, double seconds) {
  if (time->seconds > 0) {
    time->seconds += (seconds - time->seconds) / 4;
  } else if (time->is_begun) {
    time->seconds = seconds;
  }
  time->is_begun = true;
}

void speculation_times_add(speculation_times *times, uint32_t rows, double seconds) {
  const double forgotten = 0.99;  // after 100 steps a width is believed to be 2.7 times as fast
  const uint32_t width = width_of(rows);
  for (uint32_t i = 0; i < SPECULATION_WIDTHS; i++) times->widths[i].seconds *= i == width ? 1 : forgotten;
  times->draft.seconds *= forgotten;
  add_time(&times->widths[width], seconds);
}

void speculation_times_add_draft(speculation_times *times, double seconds) { add_time(&times->draft, seconds); }

// Seconds of a step. What is not known is believed to cost what the next narrower width does or, where none is known,
// half of the next wider one, and so is tried.
static double seconds_of(const speculation_times *times, uint32_t rows) {
  double seconds = 0;
  for (uint32_t i = 0; i <= width_of(rows); i++) {
    const double known = times->widths[i].seconds;
    seconds = known > seconds ? known : seconds;
  }
  for (uint32_t i = width_of(rows) + 1; i < SPECULATION_WIDTHS && !(seconds > 0); i++)
    seconds = times->widths[i].seconds / 2;
  return seconds > 0 ? seconds : 1;
}

// ---- the choice --------------------------------------------------------------------------------------------------

// A proposal is never certain, so that of two sequences both get some; nor hopeless.
static double bounded(float share) { return share < 0.01f ? 0.01 : share > 0.98f ? 0.98 : (double)share; }

// The sequence whose next proposal is the likeliest to count; `count` when none has any left.
static uint32_t likeliest(const speculation_offer *offers, uint32_t count, const uint32_t *taken,
                          const double *chances) {
  uint32_t best = count;
  for (uint32_t i = 0; i < count; i++) {
    if (taken[i] < offers[i].count && (best == count || chances[i] > chances[best])) best = i;
  }
  return best;
}

void speculation_choose(const speculation_offer *offers, uint32_t count, uint32_t rows, const speculation_times *times,
                        uint32_t *out_counts) {
  uint32_t taken[SPECULATION_SEQUENCES] = {0}, drafted = 0;
  double chances[SPECULATION_SEQUENCES];  // that the next proposal of each counts
  memset(out_counts, 0, count * sizeof(*out_counts));
  for (uint32_t i = 0; i < count; i++) chances[i] = bounded(offers[i].share);
  double expected = count, best = times != NULL ? expected / seconds_of(times, count) : 0;
  for (uint32_t used = count; used < rows;) {
    const uint32_t chosen = likeliest(offers, count, taken, chances);
    if (chosen == count) return;
    expected += chances[chosen];
    chances[chosen] *= bounded(offers[chosen].share);
    taken[chosen]++;
    used++;
    if (offers[chosen].is_drafted && taken[chosen] > drafted) drafted = taken[chosen];
    const double rate =
        times != NULL ? expected / (seconds_of(times, used) + drafted * times->draft.seconds) : expected;
    if (rate <= best) continue;
    best = rate;
    memcpy(out_counts, taken, count * sizeof(*out_counts));
  }
}
