// A working directory that outlives a killed process, so that finished work is not done again; several ranks share one.
//
// `key` names the work: the inputs and the options that its result depends on. A directory with another key is emptied;
// one with this key is gone on with. What is done is said by marks, small files that appear only when what they stand
// for is on the disk.
#ifndef DURE_DATA_SCRATCH_H_
#define DURE_DATA_SCRATCH_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct dure_scratch dure_scratch;

typedef struct dure_ranks {
  uint32_t rank, count;  // 0 of 1: alone
} dure_ranks;

// Rank 0 makes the directory and takes it for itself; the others wait for it.
DURE_MUST_CHECK dure_status dure_scratch_open(const char *directory, uint64_t key, dure_ranks ranks,
                                              dure_scratch **out_scratch);
const char *dure_scratch_directory(const dure_scratch *scratch);
bool dure_scratch_is_resumed(const dure_scratch *scratch);  // there were marks of an earlier process
DURE_MUST_CHECK dure_status dure_scratch_mark(dure_scratch *scratch, const char *name);
bool dure_scratch_has(const dure_scratch *scratch, const char *name);
// The mark of this rank, "NAME-RANK", and of all.
bool dure_scratch_has_own(const dure_scratch *scratch, const char *name);
DURE_MUST_CHECK dure_status dure_scratch_mark_own(dure_scratch *scratch, const char *name);
// They wait until the mark is there, or rank 0 has removed the directory, which it does when all is done.
DURE_MUST_CHECK dure_status dure_scratch_wait_all(const dure_scratch *scratch, const char *name);
DURE_MUST_CHECK dure_status dure_scratch_wait(const dure_scratch *scratch, const char *name);
// NULL is fine. `is_kept`: the directory stays for another process; else rank 0 removes it.
DURE_MUST_CHECK dure_status dure_scratch_close(dure_scratch *scratch, bool is_kept);

// Whole numbers that survive: written as one file, atomically. Fewer or none there: zeros.
DURE_MUST_CHECK dure_status dure_scratch_save(const dure_scratch *scratch, const char *name, const uint64_t *numbers,
                                              size_t count);
DURE_MUST_CHECK dure_status dure_scratch_load(const dure_scratch *scratch, const char *name, uint64_t *out_numbers,
                                              size_t count);

// A hash that changes with the inputs: names, sizes, and the first and last bytes of every file in them.
DURE_MUST_CHECK dure_status dure_inputs_key(const char *const *inputs, size_t count, uint64_t seed, uint64_t *out_key);

#endif  // DURE_DATA_SCRATCH_H_
