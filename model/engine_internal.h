// What the engine's parts share: its state, and what each part does for the others. On the device's thread, with the
// mutex held unless said otherwise.
#ifndef DURE_MODEL_ENGINE_INTERNAL_H_
#define DURE_MODEL_ENGINE_INTERNAL_H_

#include <pthread.h>

#include "model/engine_draft.h"
#include "model/engine_sequence.h"

enum { ENGINE_PROPOSALS = 7 };  // for a sequence at once, unless the options say otherwise

struct dure_engine {
  dure_model *model;
  dure_engine_options options;
  uint32_t queue, candidates, mask_words;
  uint32_t window;  // positions that any layer sees, the draft model's too; 0: all
  engine_programs programs;
  engine_draft *draft;  // NULL: none
  float *scratch;       // [vocabulary]

  pthread_mutex_t mutex;  // over what follows, and over the sequences; never held while the device runs
  dure_cache_blocks *blocks;
  engine_sequence *sequences;  // of all requests, the newest first
  engine_sequence *running[DURE_ENGINE_SEQUENCES_MOST];
  uint32_t running_count, waiting_count;
  uint64_t last_id;
  speculation_times times;    // of decoding steps
  speculation_record record;  // of all sequences' proposals
  dure_engine_statistics statistics;
};

// What the device is to do. Of prompts: `taken` tokens of each sequence, padded to `padded`, a row each. Of decoding:
// of each sequence its last token and those proposed behind it, a row each, beginning with row `first`.
typedef struct engine_plan {
  engine_sequence *sequences[DURE_ENGINE_SEQUENCES_MOST];
  uint32_t first[DURE_ENGINE_SEQUENCES_MOST], taken[DURE_ENGINE_SEQUENCES_MOST];
  uint32_t count;          // sequences
  uint32_t rows;           // of decoding
  uint32_t width, padded;  // of the program: rows, and tokens of each
  bool is_scored;
  double seconds;  // that it took to write, with what grammars say of guesses
} engine_plan;

// ---- engine_step.c -----------------------------------------------------------------------------------------------

// Blocks for tokens up to `count`; false when there are none left.
bool engine_extend_blocks(dure_engine *engine, engine_sequence *sequence, uint32_t count);

// ---- engine_speculation.c ----------------------------------------------------------------------------------------

bool engine_speculates(const dure_engine *engine);
// Proposes tokens for the plan's sequences: their `proposed`, and the tokens behind their last. Lets the mutex go while
// a draft model runs.
DURE_MUST_CHECK dure_status engine_propose(dure_engine *engine, const engine_plan *plan);
// Of what was proposed for the sequence, `accepted` were right.
void engine_note_proposals(dure_engine *engine, engine_sequence *sequence, uint32_t accepted);

#endif  // DURE_MODEL_ENGINE_INTERNAL_H_
