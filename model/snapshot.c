#include "model/snapshot.h"

#include <stdlib.h>
#include <string.h>

struct dure_snapshot {
  dure_training *training;
  dure_stream *stream;
  dure_event *stepped, *copied;                          // both count copies
  uint64_t count;                                        // of copies begun
  dure_parameter_buffers sets[DURE_TRAINING_SET_COUNT];  // as in host memory
  dure_buffer **buffers[DURE_TRAINING_SET_COUNT];        // what they lie in
  dure_recording **recordings;
  size_t recording_count;
};

// Whether the first of several ranks writes the set, if it has all of it; parts of a model's matrices all ranks write.
static bool is_of_first(const dure_training_options *options, dure_training_set set) {
  return options->tensor_parts < 2 && (set == DURE_TRAINING_PARAMETERS || set == DURE_TRAINING_MASTERS);
}

// What a checkpoint has no need of: gradients, and weights that are rounded from masters.
static const dure_parameter_buffers *saved_set(const dure_training *training, dure_training_set set) {
  if (set == DURE_TRAINING_GRADIENTS) return NULL;
  const dure_parameter_buffers *masters = dure_training_buffers(training, DURE_TRAINING_MASTERS);
  const bool has_whole_masters = masters != NULL && masters->storage.shards < 2;
  const dure_parameter_buffers *weights = dure_training_buffers(training, DURE_TRAINING_PARAMETERS);
  if (set == DURE_TRAINING_PARAMETERS && (has_whole_masters || (masters != NULL && weights->storage.shards > 1)))
    return NULL;
  const dure_training_options *options = dure_training_get_options(training);
  const dure_parameter_buffers *buffers = dure_training_buffers(training, set);
  const bool is_model = is_of_first(options, set);
  // What every rank has all of the first one writes.
  const bool is_anothers = buffers != NULL && is_model && buffers->storage.shards < 2 && options->shard > 0;
  return is_anothers ? NULL : buffers;
}

// How a set is copied: of several ranks each copies what it writes (model/checkpoint_parts.h), its parts of the
// moments.
static dure_parameter_storage copied_storage(const dure_training *training, dure_training_set set) {
  const dure_training_options *options = dure_training_get_options(training);
  dure_parameter_storage storage = saved_set(training, set)->storage;
  if (options->shards > 1 && !is_of_first(options, set)) {
    storage.shard = options->shard;
    storage.shards = options->shards;
  }
  return storage;
}

static uint64_t pool_bytes(const dure_training *training, dure_training_set set, size_t pool) {
  const dure_parameter_storage storage = copied_storage(training, set);
  return dure_parameter_pool_bytes(&dure_training_model(training)->layout.pools[pool], &storage);
}

// Where the copied part begins in the buffer that is copied.
static uint64_t pool_offset(const dure_training *training, dure_training_set set, size_t pool) {
  const dure_parameter_storage storage = copied_storage(training, set);
  if (saved_set(training, set)->storage.shards > 1 || storage.shards < 2) return 0;
  return storage.shard * dure_parameter_pool_bytes(&dure_training_model(training)->layout.pools[pool], &storage);
}

uint64_t dure_snapshot_bytes(const dure_training *training) {
  uint64_t bytes = 0;
  for (int set = 0; set < DURE_TRAINING_SET_COUNT; set++) {
    const dure_parameter_buffers *buffers = saved_set(training, (dure_training_set)set);
    for (size_t i = 0; buffers != NULL && i < buffers->count; i++)
      bytes += pool_bytes(training, (dure_training_set)set, i);
  }
  return bytes;
}

// One recording a pool, so that none is long.
static dure_status add_pool(dure_snapshot *snapshot, dure_training_set set, size_t pool) {
  const dure_parameter_buffers *source = saved_set(snapshot->training, set);
  dure_device *device = dure_training_model(snapshot->training)->device;
  dure_parameter_buffers *copy = &snapshot->sets[set];
  const uint64_t bytes = pool_bytes(snapshot->training, set, pool);
  const uint64_t offset = pool_offset(snapshot->training, set, pool);
  DURE_TRY(dure_buffer_create(device, bytes, DURE_MEMORY_HOST, "checkpoint", &snapshot->buffers[set][pool]));
  copy->mapped[pool] = dure_buffer_map(snapshot->buffers[set][pool]);
  copy->count = pool + 1;
  dure_recording **recording = &snapshot->recordings[snapshot->recording_count];
  DURE_TRY(dure_recording_create(device, "checkpoint", 0, recording));
  snapshot->recording_count++;
  dure_recording_label(*recording, dure_training_set_label(set));
  DURE_TRY(dure_recording_copy(*recording, source->pools[pool], offset, snapshot->buffers[set][pool], 0, bytes));
  return dure_recording_finish(*recording);
}

static dure_status add_set(dure_snapshot *snapshot, dure_training_set set) {
  const dure_parameter_buffers *source = saved_set(snapshot->training, set);
  if (source == NULL) return NULL;
  if (source->storage.home != DURE_HOME_DEVICE)
    return dure_fail(DURE_UNSUPPORTED, "%s lie in host memory", dure_training_set_label(set));
  dure_parameter_buffers *copy = &snapshot->sets[set];
  copy->storage = copied_storage(snapshot->training, set);
  copy->storage.home = DURE_HOME_HOST;
  copy->pools = calloc(source->count + 1, sizeof(*copy->pools));
  copy->mapped = calloc(source->count + 1, sizeof(*copy->mapped));
  snapshot->buffers[set] = calloc(source->count + 1, sizeof(*snapshot->buffers[set]));
  if (copy->pools == NULL || copy->mapped == NULL || snapshot->buffers[set] == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to save");
  DURE_TRY(dure_parameter_shard_sizes(&dure_training_model(snapshot->training)->layout, copy));
  for (size_t i = 0; i < source->count; i++) DURE_TRY(add_pool(snapshot, set, i));
  return NULL;
}

static dure_status add_sets(dure_snapshot *snapshot) {
  const dure_model *model = dure_training_model(snapshot->training);
  snapshot->recordings = calloc(DURE_TRAINING_SET_COUNT * model->layout.pool_count + 1, sizeof(*snapshot->recordings));
  if (snapshot->recordings == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to save");
  DURE_TRY(dure_stream_create(model->device, &snapshot->stream));
  DURE_TRY(dure_event_create(model->device, 0, &snapshot->stepped));
  DURE_TRY(dure_event_create(model->device, 0, &snapshot->copied));
  for (int set = 0; set < DURE_TRAINING_SET_COUNT; set++) DURE_TRY(add_set(snapshot, (dure_training_set)set));
  return NULL;
}

dure_status dure_snapshot_create(dure_training *training, dure_snapshot **out_snapshot) {
  *out_snapshot = NULL;
  dure_snapshot *snapshot = calloc(1, sizeof(*snapshot));
  if (snapshot == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to save");
  snapshot->training = training;
  dure_status status = add_sets(snapshot);
  if (status != NULL) {
    dure_snapshot_destroy(snapshot);
    return status;
  }
  *out_snapshot = snapshot;
  return NULL;
}

void dure_snapshot_destroy(dure_snapshot *snapshot) {
  if (snapshot == NULL) return;
  // The training's next update may be waiting for the copy.
  dure_status_free(dure_stream_wait(dure_training_model(snapshot->training)->stream, 0));
  if (snapshot->stream != NULL) dure_stream_destroy(snapshot->stream);
  if (snapshot->count > 0) dure_training_hold_update(snapshot->training, NULL, 0);
  for (size_t i = 0; i < snapshot->recording_count; i++) dure_recording_destroy(snapshot->recordings[i]);
  for (int set = 0; set < DURE_TRAINING_SET_COUNT; set++) {
    dure_parameter_buffers *copy = &snapshot->sets[set];
    for (size_t i = 0; i < copy->count; i++) dure_buffer_destroy(snapshot->buffers[set][i]);
    free(copy->pools);
    free(copy->mapped);
    free(copy->shard_sizes);
    free(snapshot->buffers[set]);
  }
  if (snapshot->stepped != NULL) dure_event_destroy(snapshot->stepped);
  if (snapshot->copied != NULL) dure_event_destroy(snapshot->copied);
  free(snapshot->recordings);
  free(snapshot);
}

dure_status dure_snapshot_take(dure_snapshot *snapshot) {
  const uint64_t number = snapshot->count + 1;
  dure_stream *steps = dure_training_model(snapshot->training)->stream;
  DURE_TRY(dure_training_settle(snapshot->training));
  DURE_TRY(dure_stream_submit(steps, NULL, 0, NULL, 0, snapshot->stepped, number, NULL));
  DURE_TRY(dure_stream_submit(snapshot->stream, snapshot->recordings, snapshot->recording_count, snapshot->stepped,
                              number, snapshot->copied, number, NULL));
  snapshot->count = number;
  dure_training_hold_update(snapshot->training, snapshot->copied, number);
  return NULL;
}

dure_status dure_snapshot_is_complete(dure_snapshot *snapshot, bool waits, bool *out_is_complete) {
  *out_is_complete = false;
  if (waits) {
    // Which notices a lost device; and says more than reading the event right after it would (runtime/hal.h).
    DURE_TRY(dure_stream_wait(snapshot->stream, 0));
    *out_is_complete = true;
    return NULL;
  }
  uint64_t reached = 0;
  DURE_TRY(dure_event_read(snapshot->copied, &reached));
  *out_is_complete = reached >= snapshot->count;
  return NULL;
}

const dure_parameter_buffers *dure_snapshot_buffers(const dure_snapshot *snapshot, dure_training_set set) {
  return snapshot->sets[set].count > 0 ? &snapshot->sets[set] : NULL;
}
