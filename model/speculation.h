// What is proposed to a step of decoding beyond each sequence's next token, and how much of it is worth its time.
//
// Proposals are verified (Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding"): one step
// takes a sequence's last token and those proposed after it, each as a row of its own, and draws in every row as
// decoding one token at a time would. While what a row drew is what was proposed, the next row counts. So the text is
// that of ordinary decoding, token for token; a right proposal saves a step, a wrong one costs a row.
//
// Plain arithmetic: knows no device. Not thread-safe.
#ifndef DURE_MODEL_SPECULATION_H_
#define DURE_MODEL_SPECULATION_H_

#include <stdbool.h>
#include <stdint.h>

enum {
  SPECULATION_MOST = 15,       // tokens proposed for a sequence at once
  SPECULATION_SEQUENCES = 64,  // at once
  SPECULATION_LONGEST_MATCH = 16
};

// What kind of proposal it is: kinds are trusted apart from each other.
typedef enum speculation_kind {
  SPECULATION_MATCH_1,  // what followed the last token when it came before
  SPECULATION_MATCH_2,  // the last two, ..
  SPECULATION_MATCH_3,
  SPECULATION_MATCH_4,  // 4 to 7
  SPECULATION_MATCH_8,  // 8 and more
  SPECULATION_DRAFT,    // what a draft model drew
  SPECULATION_KINDS
} speculation_kind;

// The end of a text found earlier in it (Saxena 2023, "Prompt Lookup Decoding"): the longest end of `tokens` [count],
// of up to SPECULATION_LONGEST_MATCH, that occurs before, at its latest place; `out_tokens` gets the up to `most`
// tokens that follow there, going round where that place is so late that they run into the end. Returns how many; 0
// where the last token is new.
uint32_t speculation_lookup(const uint32_t *tokens, uint32_t count, uint32_t most, uint32_t *out_tokens,
                            speculation_kind *out_kind);

// How often a proposal was right when all before it were, by kind: a mean that forgets.
typedef struct speculation_record {
  float shares[SPECULATION_KINDS];
} speculation_record;
speculation_record speculation_record_begin(void);  // before anything is known
// Of `proposed` tokens the first `accepted` were right. `weight`: of each outcome, 1 / the outcomes remembered.
void speculation_record_add(speculation_record *record, speculation_kind kind, uint32_t proposed, uint32_t accepted,
                            float weight);

// Nothing was proposed of what could have been: what is known of that kind goes back a little to what is believed to
// begin with, so that it is tried again some day.
void speculation_record_rest(speculation_record *record, speculation_kind kind);

// What a step takes, measured. A first time counts for nothing: much happens then that never does again.
enum { SPECULATION_WIDTHS = 7 };
typedef struct speculation_time {
  double seconds;  // 0: not known yet
  bool is_begun;
} speculation_time;
typedef struct speculation_times {
  speculation_time widths[SPECULATION_WIDTHS];  // of 1, 2, 4, .. rows
  speculation_time draft;                       // of the draft model
} speculation_times;
// Adds a measurement. What is not used is slowly believed to be faster, so that a bad moment is not held against it for
// ever.
void speculation_times_add(speculation_times *times, uint32_t rows, double seconds);
void speculation_times_add_draft(speculation_times *times, double seconds);

// What could be proposed for a sequence.
typedef struct speculation_offer {
  uint32_t count;   // tokens at most
  float share;      // the likelihood of each, when those before it are right
  bool is_drafted;  // a draft model would have to run, once for each token
} speculation_offer;

// How many tokens of each of the `count` offers to verify, so that the tokens gained a second are the most that can be
// expected; `rows`: that a step can have. A step's rows are padded to a power of two, and rows that are only padding
// cost nothing. NULL `times`: as many as there are rows for.
void speculation_choose(const speculation_offer *offers, uint32_t count, uint32_t rows, const speculation_times *times,
                        uint32_t *out_counts);

#endif  // DURE_MODEL_SPECULATION_H_
