// POSIX threads rather than those of C11, which ThreadSanitizer does not know.
#include "model/saver.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "runtime/os.h"

typedef enum phase {
  IDLE,
  COPYING,    // what it comes to is not known yet
  DESCRIBED,  // and copying, perhaps
  WRITING,    // by the thread
} phase;

struct dure_saver {
  dure_saver_options options;
  dure_snapshot *snapshot;
  dure_trainer_state state;
  phase phase;
  pthread_t thread;
  atomic_bool has_written;
  dure_status status;  // of the thread, when it has written
  char *directory;
};

// A copy may take no more than this part of the memory that is free: what the training touches for the first time later
// must find room.
enum { part_of_free_memory = 3 };

dure_status dure_saver_create(const dure_saver_options *options, dure_saver **out_saver) {
  *out_saver = NULL;
  const uint64_t bytes = dure_snapshot_bytes(options->training), available = dure_os_memory_available();
  if (bytes > available / part_of_free_memory) {
    return dure_fail(DURE_OUT_OF_MEMORY, "a copy needs %" PRIu64 " MiB of host memory, and %" PRIu64 " MiB are free",
                     bytes >> 20, available >> 20);
  }
  dure_saver *saver = calloc(1, sizeof(*saver));
  if (saver == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to save");
  saver->options = *options;
  dure_status status = dure_snapshot_create(options->training, &saver->snapshot);
  if (status != NULL) {
    dure_saver_destroy(saver);
    return status;
  }
  *out_saver = saver;
  return NULL;
}

dure_checkpoint_content dure_saver_content(const dure_saver *saver) {
  dure_checkpoint_content content = saver->options.content;
  content.snapshot = saver->snapshot;
  content.state = &saver->state;
  return content;
}

static void *write_checkpoint(void *argument) {
  dure_saver *saver = argument;
  const dure_checkpoint_content content = dure_saver_content(saver);
  const bool is_part = content.shards > 1 || content.tensor_parts > 1;
  dure_os_thread_step_back();
  saver->status = saver->options.files != NULL ? dure_run_files_sync(saver->options.files) : NULL;
  if (saver->status == NULL && is_part) saver->status = dure_checkpoint_write_part(saver->options.run, &content);
  if (saver->status == NULL && !is_part)
    saver->status = dure_checkpoint_save(saver->options.run, &content, saver->options.keep, &saver->directory);
  atomic_store(&saver->has_written, true);
  return NULL;
}

dure_status dure_saver_begin(dure_saver *saver) {
  if (saver->phase != IDLE) return dure_fail(DURE_INVALID_ARGUMENT, "a checkpoint is being saved already");
  DURE_TRY(dure_snapshot_take(saver->snapshot));
  saver->phase = COPYING;
  return NULL;
}

void dure_saver_describe(dure_saver *saver, const dure_trainer_state *state) {
  saver->state = *state;
  if (saver->phase == COPYING) saver->phase = DESCRIBED;
}

// Starts the thread when the copy is complete.
static dure_status start_writing(dure_saver *saver, bool waits) {
  bool is_complete = false;
  DURE_TRY(dure_snapshot_is_complete(saver->snapshot, waits, &is_complete));
  if (!is_complete) return NULL;
  saver->directory = NULL;
  saver->status = NULL;
  atomic_store(&saver->has_written, false);
  if (pthread_create(&saver->thread, NULL, write_checkpoint, saver) != 0)
    return dure_fail(DURE_OUT_OF_MEMORY, "no thread to write the checkpoint of step %" PRIu64, saver->state.step);
  saver->phase = WRITING;
  return NULL;
}

dure_status dure_saver_proceed(dure_saver *saver, bool waits, uint64_t *out_step, char **out_directory) {
  *out_step = 0;
  *out_directory = NULL;
  if (saver->phase == COPYING && waits) {
    bool is_complete = false;
    saver->phase = IDLE;
    return dure_snapshot_is_complete(saver->snapshot, true, &is_complete);
  }
  if (saver->phase == DESCRIBED) DURE_TRY(start_writing(saver, waits));
  if (saver->phase != WRITING || (!waits && !atomic_load(&saver->has_written))) return NULL;
  pthread_join(saver->thread, NULL);
  saver->phase = IDLE;
  *out_step = saver->state.step;
  *out_directory = saver->directory;
  saver->directory = NULL;
  return saver->status;
}

void dure_saver_destroy(dure_saver *saver) {
  if (saver == NULL) return;
  if (saver->phase == WRITING) {
    pthread_join(saver->thread, NULL);
    dure_status_free(saver->status);
    free(saver->directory);
  }
  dure_snapshot_destroy(saver->snapshot);
  free(saver);
}
