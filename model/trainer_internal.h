// The inside of a trainer, shared by trainer.c (the run) and trainer_evaluation.c (held-out losses).
#ifndef DURE_MODEL_TRAINER_INTERNAL_H_
#define DURE_MODEL_TRAINER_INTERNAL_H_

#include "data/loader.h"
#include "model/checkpoint.h"
#include "model/inference.h"
#include "model/ranks.h"
#include "model/run_files.h"
#include "model/saver.h"
#include "model/schedule.h"
#include "model/trainer.h"
#include "model/training.h"
#include "model/training_choice.h"

typedef struct trainer {
  dure_ranks ranks;
  const dure_train_options *options;
  const dure_train_observer *observer;
  dure_train_result *result;
  dure_dataset *dataset;
  dure_loader *training_loader, *held_out_loader;
  char *end_of_text;  // the text of the token; NULL: none
  dure_device *device;
  dure_stream *stream;
  dure_model *model;
  dure_training *training;
  dure_scorer *scorer;  // NULL when nothing is held out or never evaluated
  dure_run_files *files;
  dure_saver *saver;  // NULL: checkpoints are written while the training waits
  dure_schedule schedule;
  dure_trainer_state state;   // of the last step collected
  dure_trainer_state before;  // as the checkpoint has it; all zero: from the beginning
  dure_training_choice choice;
  dure_training_options shape;  // the choice's
  uint64_t steps, last_step;    // of the schedule; where this call stops
  uint64_t submitted;           // steps
  uint32_t ahead;               // steps that stay in flight while the next is submitted
  uint32_t *tokens, *labels;    // [accumulate, B, T]: this rank's rows of a step, or of an evaluation
  uint32_t evaluation_rows;     // of a batch; the same on all ranks
  double flops;                 // of a step, of all ranks
  bool is_interrupted;          // some rank is, as of the last vote
  bool is_saving,
      has_written;       // of several ranks: a save has been begun and is not committed; this rank's part is there
  int lock;              // on the run's directory
  bool made_run;         // that directory
  uint64_t saved_step;   // of the last checkpoint saved or found; UINT64_MAX: none
  uint64_t copied_step;  // that the saver began with last
  uint64_t clock;        // when the last step ended
  dure_communicator_statistics sent, sent_before;  // between ranks: as of the last step booked; when the run began
  double smoothed_seconds;                         // a step
  uint32_t timed_steps;                            // that it is made of, at most 10
} trainer;

static inline bool are_several(const trainer *t) { return dure_ranks_are_several(&t->ranks); }
static inline bool is_first(const trainer *t) { return dure_ranks_is_first(&t->ranks); }

// One sentence for whoever watches; of several ranks the first one speaks.
void trainer_say(const trainer *t, const char *format, ...) DURE_PRINTF(2, 3);
// Compares what ranks should have the same of, to the bit: the parameters, of ranks that have all of them or the same
// part; of those that share matrices what is not divided (norms, embeddings), which unlike devices would round apart.
DURE_MUST_CHECK dure_status trainer_verify(const trainer *t);
// What collectives took since the last step that was booked; and in a step of the last `steps`, said at a run's end.
void trainer_note_communication(trainer *t, dure_metrics_row *row);
void trainer_report_communication(const trainer *t, uint64_t steps);
// Where the first bad value of the last step is, as far as this rank or another can tell.
DURE_MUST_CHECK dure_status trainer_find_bad_value(trainer *t, char *where, size_t size);
// Leaves of `rows` whole sequences in t->tokens and t->labels what this rank has: its part of each.
void trainer_keep_own_tokens(const trainer *t, uint64_t rows);
// The held-out loss, of everything at the last step and of --eval-tokens before that.
DURE_MUST_CHECK dure_status trainer_evaluate(trainer *t, uint64_t step, double *out_loss, double *out_bits_per_byte);
// Whoever interrupts does not wait for an evaluation, except for the last one: the run is over after it.
bool trainer_gives_up_evaluating(const trainer *t, uint64_t step);

#endif  // DURE_MODEL_TRAINER_INTERNAL_H_
