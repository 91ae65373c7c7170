// What the ranks of a run write in parallel, and any number of ranks reads: parts of tensors, one file a rank.
//
//   optimizer-00001-of-00004.safetensors   1-dimensional tensors "NAME@FIRST": the elements of NAME from FIRST on
//   optimizer.index.json                   {"format": "dure-parts", "version": 1, "files": [...],
//                                           "tensors": {NAME: {"dtype": "F32", "shape": [..],
//                                                              "parts": [[file, first, count], ..]}}}
//
// NAME is a parameter's public name with ".first_moment" or ".second_moment" (those of 8 bits as the f32 values that
// they stand for, moments.h), with ".master" for the f32 values of
// 16-bit parameters, or as it is for parameters of which no rank has all. The parts of a tensor cover it exactly once.
// What a rank writes is its part of each pool, so parts follow the places of parameters, not their edges.
//
// Where a tensor's columns are divided (tensor_parallel.h) an entry of `parts` goes on behind the count with runs of
// columns, [file, first, count, column, columns, ..]: FIRST and the count are then of elements of the tensor that those
// columns alone would be. The version is 2 where there are such parts. Tensors that all parts of a model have alike are
// written by the first.
#ifndef DURE_MODEL_CHECKPOINT_PARTS_H_
#define DURE_MODEL_CHECKPOINT_PARTS_H_

#include "model/parameters.h"
#include "model/safetensors.h"

// What a rank writes: of each pool this shard of so many, of a model that is this part of so many (0 or 1: whole).
typedef struct dure_checkpoint_place {
  uint32_t shard, shards, tensor_part, tensor_parts;
} dure_checkpoint_place;

// Writes one rank's parts of the sets, whole pools or only its part of them; synced.
DURE_MUST_CHECK dure_status dure_checkpoint_parts_save(const dure_named_buffers *sets, size_t set_count,
                                                       const dure_parameter_layout *layout,
                                                       const dure_checkpoint_place *place, dure_stream *stream,
                                                       const char *directory);
// Writes the index of all ranks' parts, after looking that all their files are there; synced. `place`: any rank's.
DURE_MUST_CHECK dure_status dure_checkpoint_parts_index(const dure_named_buffers *sets, size_t set_count,
                                                        const dure_parameter_layout *layout,
                                                        const dure_checkpoint_place *place, const char *directory);
bool dure_checkpoint_parts_exist(const char *directory);
// The tensors whose names end in `suffix` (".master"; "" for those without one of the above), under their names
// without it, put together when they are read. DURE_NOT_FOUND: there are none.
DURE_MUST_CHECK dure_status dure_checkpoint_parts_open(const char *directory, const char *suffix,
                                                       dure_safetensors **out_file);

#define DURE_PARTS_MASTER ".master"

#endif  // DURE_MODEL_CHECKPOINT_PARTS_H_
