// How the ranks of a training share its work: who has which rows of a step, on which device, and what parts of the
// optimizer's state; and what they must agree on. A run of one process is a rank alone, for which nothing here waits.
//
// A step has the same rows whatever the ranks: --batch-size times --accumulate windows, numbered from the step's first.
// Rank r has row_count of them from first_row on, in the order of ranks, in micro-steps of at most --batch-size rows,
// filled up with rows without labels: as many on every rank, as few as the rank with most rows can do with.
//
// With --tensor-parallel t and --sequence-parallel s it is groups of t s neighbours that share a step's rows: each has
// the same ones, of which its ranks have parts of the matrices (t, neighbours) and of the tokens (s).
#ifndef DURE_MODEL_RANKS_H_
#define DURE_MODEL_RANKS_H_

#include "model/exchange.h"
#include "model/train_options.h"

typedef struct dure_ranks {
  dure_world *world;              // NULL: one rank
  dure_world *alike;              // the ranks with the same part of the matrices, where those are divided, else NULL
  dure_world *tensor, *sequence;  // the ranks that have the parts of the same matrices, and of the same tokens, or NULL
  dure_world *group, *replicas;   // where parts are kept within a machine only, else NULL
  dure_world_place place;         // size 1: one rank
  dure_exchange_ranks exchange;   // communicators; NULL: one rank
  dure_sharding sharding;
  uint32_t shard, shards;                  // of a group
  uint32_t replica;                        // the group's number: 0 saves
  uint32_t tensor_part, tensor_parts;      // 1: whole
  uint32_t sequence_part, sequence_parts;  // likewise
  uint32_t row_group, row_groups;          // that share a step's rows
  uint64_t first_row, row_count;           // of a step
  uint32_t batch_size, accumulate;
} dure_ranks;

// Joins the world that the launcher has made. `data_hash`: ranks with other data or options are refused, and numbers of
// ranks that --tensor-parallel and --sequence-parallel do not divide.
DURE_MUST_CHECK dure_status dure_ranks_join(const dure_train_options *options, uint64_t data_hash,
                                            dure_ranks *out_ranks);
// `failure` (the caller's, or NULL) is told to the others.
void dure_ranks_leave(dure_ranks *ranks, dure_status failure);
static inline bool dure_ranks_are_several(const dure_ranks *ranks) { return ranks->world != NULL; }
static inline bool dure_ranks_is_first(const dure_ranks *ranks) { return ranks->place.rank == 0; }

// The device of this rank, for dure_device_open: of a list ("vulkan:0,cuda:0") the entry of its number on its machine;
// of a backend without number ("cuda") the device of that number, as far as there are so many. `size` of out_name: 64.
DURE_MUST_CHECK dure_status dure_ranks_device(const dure_ranks *ranks, const char *devices, char out_name[64]);
// How fast the device multiplies, beside the others that do the same now; 1 unless rank-share is "auto".
DURE_MUST_CHECK dure_status dure_ranks_measure(const dure_ranks *ranks, const dure_train_options *options,
                                               dure_device *device, dure_stream *stream, double *out_speed);
// Rows by the options' rank-share: equal, "a:b:c", or in proportion to the `speed` measured when it is "auto".
DURE_MUST_CHECK dure_status dure_ranks_share(dure_ranks *ranks, const dure_train_options *options, double speed);
// A rank's rows as micro-steps of at most `largest` rows, as few and as even as can be.
void dure_ranks_cut_rows(uint64_t rows, uint64_t largest, uint32_t *out_batch_size, uint32_t *out_accumulate);
// --shard's words: none, optimizer, gradients, parameters.
DURE_MUST_CHECK dure_status dure_sharding_parse(const char *word, dure_sharding *out_sharding);
// Makes the communicators, after the device has been opened.
DURE_MUST_CHECK dure_status dure_ranks_connect(dure_ranks *ranks, const dure_train_options *options,
                                               dure_device *device);
// Fails with DURE_INVALID_ARGUMENT on every rank, naming the first that differs, when texts are not the same.
DURE_MUST_CHECK dure_status dure_ranks_agree(const dure_ranks *ranks, const char *what, const char *text);
// The same among the ranks of some of the worlds above.
DURE_MUST_CHECK dure_status dure_ranks_agree_among(dure_world *world, const char *what, const char *text);
// The largest of each rank's values; a rank alone keeps its own.
DURE_MUST_CHECK dure_status dure_ranks_vote(const dure_ranks *ranks, double *values, size_t count);
DURE_MUST_CHECK dure_status dure_ranks_sum(const dure_ranks *ranks, double *values, size_t count);

#endif  // DURE_MODEL_RANKS_H_
