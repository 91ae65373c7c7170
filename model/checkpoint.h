// Checkpoints: RUN/checkpoints/step-00001000/, a model directory with the training state beside it.
//
//   config.json  generation_config.json  model.safetensors  tokenizer.json  tokenizer_config.json
//   optimizer.safetensors   for every parameter NAME: NAME.first_moment and NAME.second_moment, in f32, bf16, or in u8
//                           with pool.N.first_scales and pool.N.second_scales for the layout's pools
//   (model.safetensors has the f32 masters of 16-bit weights, which are those rounded; 16-bit weights without masters
//   as they are. config.json's dtype says which.)
//   trainer.json            the rest of the state (dure_trainer_state)
//
// Saving writes everything into RUN/checkpoints/.step-00001000.part, syncing each file, syncs that directory, renames
// it to its name, syncs RUN/checkpoints, points `latest` at it (a symbolic link replaced by a rename, synced again),
// and only then removes what is beyond `keep`. So a crash at any instant, or a full disk, leaves the last complete
// checkpoint; what it may leave half-written is removed by the next run.
#ifndef DURE_MODEL_CHECKPOINT_H_
#define DURE_MODEL_CHECKPOINT_H_

#include "model/model.h"
#include "model/snapshot.h"
#include "model/train_options.h"
#include "model/training.h"

typedef struct dure_trainer_state {
  uint64_t step;     // updates done
  uint64_t samples;  // windows consumed: the loader's position
  uint64_t tokens;   // labels trained on
  double seconds;    // spent training
  char device[32], device_name[256], driver[256];
  char build[128];
  char kernels[96];  // dure_device_info.kernels
  char dtype[16];    // trained in
  char choice[256];  // dure_training_choice's description
  dure_loss_scaling scaling;
  double norm_mean;     // running mean of the gradient norm of the steps that were not left out, of the last
  uint64_t norm_count;  // so many at most
  uint64_t data_hash, tokenizer_hash;
  dure_train_options options;
} dure_trainer_state;
void dure_trainer_state_clear(dure_trainer_state *state);

typedef struct dure_checkpoint_content {
  const dure_model *model;
  const dure_training *training;
  const dure_snapshot *snapshot;  // what is saved, complete; no device is asked then. NULL: the training as it is now
  const dure_trainer_state *state;
  const char *tokenizer_path;
  const char *end_of_text;  // its text; NULL: none
  uint32_t shard, shards;   // of several ranks (shards > 1): what this one writes of it; see dure_checkpoint_write_part
  uint32_t tensor_part, tensor_parts;  // likewise, where ranks have parts of the matrices (tensor_parts > 1)
  bool is_replica;                     // another rank has the same part, and writes it
} dure_checkpoint_content;

// Saves under RUN/checkpoints as said above; keep 0: all stay. `out_directory` (free()) may be NULL.
DURE_MUST_CHECK dure_status dure_checkpoint_save(const char *run, const dure_checkpoint_content *content, uint64_t keep,
                                                 char **out_directory);

// Of several ranks each writes its part into RUN/checkpoints/.step-00001000.part and syncs it; when all have, and not
// before, one of them commits: the state is written, and the directory takes its name as above.
DURE_MUST_CHECK dure_status dure_checkpoint_write_part(const char *run, const dure_checkpoint_content *content);
DURE_MUST_CHECK dure_status dure_checkpoint_commit(const char *run, const dure_checkpoint_content *content,
                                                   uint64_t keep, char **out_directory);

// The newest complete checkpoint (free()); NULL when there is none.
DURE_MUST_CHECK dure_status dure_checkpoint_find(const char *run, char **out_directory);
// Removes what an interrupted save has left behind.
DURE_MUST_CHECK dure_status dure_checkpoint_clean(const char *run);
// Reads trainer.json. Release with dure_trainer_state_clear.
DURE_MUST_CHECK dure_status dure_checkpoint_read_state(const char *directory, dure_trainer_state *out_state);
// Adds to a failure to read the checkpoint in `directory` (NULL: none) what to do about it. NULL stays NULL.
DURE_MUST_CHECK dure_status dure_checkpoint_advise(dure_status status, const char *directory);
// Fills the moments from optimizer.safetensors.
DURE_MUST_CHECK dure_status dure_checkpoint_load_moments(const char *directory, const dure_model *model,
                                                         const dure_training *training);

#endif  // DURE_MODEL_CHECKPOINT_H_
