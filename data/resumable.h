// Files that are written over more than one run: what a killed run had made safe stays, and the next run goes on.
//
// Bytes go to PATH.part beside each file. A commit syncs these and writes down, in the first file's PATH.part.json, how
// long they are and a state of the caller's. A run with the same fingerprint finds that state, and the files cut back
// to these lengths; with another fingerprint it begins anew. Completed files are renamed to their paths. "-" and paths
// that are no regular files (a pipe, /dev/null) are written directly; when the first one is, nothing is resumed.
#ifndef DURE_DATA_RESUMABLE_H_
#define DURE_DATA_RESUMABLE_H_

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum { DURE_RESUMABLE_FILES = 2 };

typedef struct dure_resumable dure_resumable;

// `paths` may be NULL from the second on. `out_state` is the state of the last commit, to be released with json_decref,
// or NULL for a new beginning.
DURE_MUST_CHECK dure_status dure_resumable_open(const char *const paths[DURE_RESUMABLE_FILES], uint64_t fingerprint,
                                                dure_resumable **out_files, json_t **out_state);
DURE_MUST_CHECK dure_status dure_resumable_write(dure_resumable *files, size_t file, const void *bytes, size_t size);
DURE_MUST_CHECK dure_status dure_resumable_commit(dure_resumable *files, const json_t *state);
// Completes the files when `status` is NULL. Otherwise they stay as far as they were committed, and go when they never
// were; returns `status`. NULL files just return it.
DURE_MUST_CHECK dure_status dure_resumable_close(dure_resumable *files, dure_status status);

#endif  // DURE_DATA_RESUMABLE_H_
