// Checkpoints that are written while the training goes on: copied by the device (model/snapshot.h), written by a
// thread.
//
// A save is begun when its step has been submitted, told what the step came to when that is known, and proceeds then by
// itself; the trainer asks now and then how far it is. One at a time. What a checkpoint promises (model/checkpoint.h)
// it promises here too: metrics up to its step are synced before it appears, and it appears whole or not at all.
#ifndef DURE_MODEL_SAVER_H_
#define DURE_MODEL_SAVER_H_

#include "model/checkpoint.h"
#include "model/run_files.h"

typedef struct dure_saver dure_saver;

// What stays the same from one checkpoint to the next; all of it must outlive the saver.
typedef struct dure_saver_options {
  const char *run;
  uint64_t keep;
  dure_training *training;
  dure_run_files *files;
  dure_checkpoint_content content;  // without snapshot and state; of several ranks (content.shards > 1) the part of one
                                    // is written, and somebody commits it when all are (dure_saver_content)
} dure_saver_options;

// DURE_UNSUPPORTED where the state cannot be copied, and DURE_OUT_OF_MEMORY where there is no room for the copy: then
// checkpoints are written while the training waits.
DURE_MUST_CHECK dure_status dure_saver_create(const dure_saver_options *options, dure_saver **out_saver);
void dure_saver_destroy(dure_saver *saver);  // NULL is fine; waits for the thread

// Begins to save the state after the steps submitted so far. No save may be under way.
DURE_MUST_CHECK dure_status dure_saver_begin(dure_saver *saver);
// What the save begun last is of. Strings of the options must last until the save is done.
void dure_saver_describe(dure_saver *saver, const dure_trainer_state *state);
// Goes on as far as it can; `waits`: to the end. When a save has been done: its step, and its directory (free(); NULL
// of a part), else 0 and NULL. A save that was never described is dropped.
DURE_MUST_CHECK dure_status dure_saver_proceed(dure_saver *saver, bool waits, uint64_t *out_step, char **out_directory);

// Of the save that was done last: what commits it.
dure_checkpoint_content dure_saver_content(const dure_saver *saver);

#endif  // DURE_MODEL_SAVER_H_
