#include "model/offload.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/workers.h"
#include "runtime/adamw_host.h"
#include "runtime/os.h"

// Elements of a chunk, a multiple of DURE_MOMENT_BLOCK: 4 MiB of f32, which is also what a stream moves at a time.
enum { chunk_elements = 1 << 20, slot_count = 3, max_workers = 64 };

// A chunk's values while they are on the host.
typedef struct slot {
  void *gradient, *parameter;
  uint64_t point;  // when they have come
} slot;

// Elements [first, first + count) of a pool.
typedef struct chunk {
  size_t pool;
  uint64_t first, count;
} chunk;

struct dure_offload {
  const dure_parameter_layout *layout;
  dure_training_options options;
  dure_offload_sets sets;
  dure_stream *stream;
  dure_workers *workers;
  bool is_mapped;
  slot slots[slot_count];
  // The job that the workers have.
  dure_adamw_host_step step;
  dure_adamw_host_arrays arrays;
};

static uint64_t element_size(const dure_offload *offload, dure_training_set set) {
  return dure_dtype_size(offload->sets.buffers[set]->storage.dtype);
}

// Elements of a pool that this rank updates.
static uint64_t part_count(const dure_offload *offload, size_t pool) {
  const bool has_part = dure_training_set_is_sharded(&offload->options, DURE_TRAINING_FIRST_MOMENTS);
  return offload->layout->pools[pool].count / (has_part ? offload->options.shards : 1);
}

// The first of them in the pool.
static uint64_t part_first(const dure_offload *offload, size_t pool) {
  const bool has_part = dure_training_set_is_sharded(&offload->options, DURE_TRAINING_FIRST_MOMENTS);
  return has_part ? offload->options.shard * part_count(offload, pool) : 0;
}

// Where a chunk begins in a set's pool, which is whole or the part.
static uint64_t first_of(const dure_offload *offload, dure_training_set set, const chunk *at) {
  const bool is_part = offload->sets.buffers[set]->storage.shards > 1;
  return at->first + (is_part ? 0 : part_first(offload, at->pool));
}

static void *element(const dure_offload *offload, dure_training_set set, const chunk *at) {
  const dure_parameter_buffers *buffers = offload->sets.buffers[set];
  if (buffers == NULL) return NULL;
  const uint64_t first = first_of(offload, set, at) / buffers->storage.block;
  return (uint8_t *)buffers->mapped[at->pool] + first * element_size(offload, set);
}

// ---- the job -----------------------------------------------------------------------------------------------------

static void update_part(void *context, uint64_t first, uint64_t count) {
  const dure_offload *offload = context;
  dure_adamw_host(&offload->step, &offload->arrays, first, count);
}

static dure_dtype type_of(const dure_offload *offload, dure_training_set set) {
  return offload->sets.buffers[set]->storage.dtype;
}

// Gives a chunk to the workers: its gradients and parameters are at those addresses.
static void start_update(dure_offload *offload, const chunk *at, const float *step, const float *state,
                         const uint32_t *random, const void *gradient, void *parameter) {
  dure_adamw_attributes attributes = dure_optimizer_attributes(offload->layout, at->pool, &offload->options.adamw);
  attributes.first_element += part_first(offload, at->pool) + at->first;
  float sign_values[DURE_STEP_COUNT];
  dure_adamw_sign_values(&offload->options.adamw, sign_values);
  if (offload->layout->pools[at->pool].steers) step = sign_values;
  offload->step =
      dure_adamw_host_step_of(&attributes, step, state, dure_training_needs_random(&offload->options) ? random : NULL);
  offload->arrays = (dure_adamw_host_arrays){
      .gradient_type = type_of(offload, DURE_TRAINING_GRADIENTS),
      .parameter_type = type_of(offload, DURE_TRAINING_PARAMETERS),
      .first_type = type_of(offload, DURE_TRAINING_FIRST_MOMENTS),
      .second_type = type_of(offload, DURE_TRAINING_SECOND_MOMENTS),
      .gradient = gradient,
      .parameter = parameter,
      .master = element(offload, DURE_TRAINING_MASTERS, at),
      .first_moment = element(offload, DURE_TRAINING_FIRST_MOMENTS, at),
      .second_moment = element(offload, DURE_TRAINING_SECOND_MOMENTS, at),
      .first_scales = element(offload, DURE_TRAINING_FIRST_SCALES, at),
      .second_scales = element(offload, DURE_TRAINING_SECOND_SCALES, at),
  };
  dure_workers_start(offload->workers, update_part, offload, at->count, DURE_MOMENT_BLOCK);
}

// ---- in place ----------------------------------------------------------------------------------------------------

static void update_in_place(dure_offload *offload, const float *step, const float *state, const uint32_t *random) {
  for (size_t pool = 0; pool < offload->layout->pool_count; pool++) {
    const chunk whole = {pool, 0, part_count(offload, pool)};
    start_update(offload, &whole, step, state, random, element(offload, DURE_TRAINING_GRADIENTS, &whole),
                 element(offload, DURE_TRAINING_PARAMETERS, &whole));
    dure_workers_wait(offload->workers);
  }
}

// ---- in chunks ---------------------------------------------------------------------------------------------------

static chunk get_chunk(const dure_offload *offload, uint64_t index) {
  for (size_t pool = 0; pool < offload->layout->pool_count; pool++) {
    const uint64_t size = part_count(offload, pool), count = (size + chunk_elements - 1) / chunk_elements;
    if (index >= count) {
      index -= count;
      continue;
    }
    const uint64_t first = index * chunk_elements;
    return (chunk){pool, first, size - first < chunk_elements ? size - first : chunk_elements};
  }
  return (chunk){0, 0, 0};
}

static uint64_t count_chunks(const dure_offload *offload) {
  uint64_t count = 0;
  for (size_t pool = 0; pool < offload->layout->pool_count; pool++)
    count += (part_count(offload, pool) + chunk_elements - 1) / chunk_elements;
  return count;
}

static dure_status download(dure_offload *offload, dure_training_set set, const chunk *at, void *target,
                            uint64_t *out_point) {
  const uint64_t size = element_size(offload, set);
  return dure_stream_download(offload->stream, offload->sets.buffers[set]->pools[at->pool],
                              first_of(offload, set, at) * size, target, at->count * size, out_point);
}

// Where there is no master the parameter itself is what AdamW reads.
static dure_status fetch(dure_offload *offload, const chunk *at, slot *into) {
  if (offload->sets.buffers[DURE_TRAINING_MASTERS] == NULL)
    DURE_TRY(download(offload, DURE_TRAINING_PARAMETERS, at, into->parameter, &into->point));
  return download(offload, DURE_TRAINING_GRADIENTS, at, into->gradient, &into->point);
}

static dure_status send_back(dure_offload *offload, const chunk *at, const slot *from) {
  const uint64_t size = element_size(offload, DURE_TRAINING_PARAMETERS);
  return dure_stream_upload(offload->stream, offload->sets.buffers[DURE_TRAINING_PARAMETERS]->pools[at->pool],
                            first_of(offload, DURE_TRAINING_PARAMETERS, at) * size, from->parameter, at->count * size);
}

static dure_status update_in_chunks(dure_offload *offload, const float *step, const float *state,
                                    const uint32_t *random) {
  const uint64_t count = count_chunks(offload);
  chunk now = get_chunk(offload, 0), before = now;
  DURE_TRY(fetch(offload, &now, &offload->slots[0]));
  for (uint64_t i = 0; i < count; i++) {
    slot *mine = &offload->slots[i % slot_count];
    const chunk next = get_chunk(offload, i + 1);
    // The slot of the next chunk was emptied when the one three before it was sent back.
    if (i + 1 < count) DURE_TRY(fetch(offload, &next, &offload->slots[(i + 1) % slot_count]));
    DURE_TRY(dure_stream_wait(offload->stream, mine->point));
    dure_workers_wait(offload->workers);
    start_update(offload, &now, step, state, random, mine->gradient, mine->parameter);
    if (i > 0) DURE_TRY(send_back(offload, &before, &offload->slots[(i - 1) % slot_count]));
    before = now;
    now = next;
  }
  dure_workers_wait(offload->workers);
  return send_back(offload, &before, &offload->slots[(count - 1) % slot_count]);
}

dure_status dure_offload_update(dure_offload *offload, const float *step, const float *state, const uint32_t *random) {
  if (state[DURE_STATE_FINITE] == 0 || offload->layout->pool_count == 0) return NULL;
  if (offload->is_mapped) {
    update_in_place(offload, step, state, random);
    return NULL;
  }
  dure_status status = update_in_chunks(offload, step, state, random);
  dure_workers_wait(offload->workers);
  return status;
}

// ---- life --------------------------------------------------------------------------------------------------------

static dure_status allocate_slots(dure_offload *offload) {
  uint64_t largest = 0;
  for (size_t i = 0; i < offload->layout->pool_count; i++)
    largest = part_count(offload, i) > largest ? part_count(offload, i) : largest;
  if (largest > chunk_elements) largest = chunk_elements;
  for (size_t i = 0; i < slot_count; i++) {
    offload->slots[i].gradient = malloc(largest * element_size(offload, DURE_TRAINING_GRADIENTS));
    offload->slots[i].parameter = malloc(largest * element_size(offload, DURE_TRAINING_PARAMETERS));
    if (offload->slots[i].gradient == NULL || offload->slots[i].parameter == NULL)
      return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to update parameters on the host");
  }
  return NULL;
}

dure_status dure_offload_create(const dure_parameter_layout *layout, const dure_training_options *options,
                                const dure_offload_sets *sets, dure_stream *stream, dure_offload **out_offload) {
  *out_offload = NULL;
  dure_offload *offload = calloc(1, sizeof(*offload));
  if (offload == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory preparing to update parameters on the host");
  offload->layout = layout;
  offload->options = *options;
  offload->sets = *sets;
  offload->stream = stream;
  offload->is_mapped = sets->buffers[DURE_TRAINING_GRADIENTS]->storage.home == DURE_HOME_MAPPED;
  const uint32_t cores = dure_os_core_count();
  dure_status status = dure_workers_create(cores < max_workers ? cores : max_workers, &offload->workers);
  if (status == NULL && !offload->is_mapped) status = allocate_slots(offload);
  if (status != NULL) {
    dure_offload_destroy(offload);
    return status;
  }
  *out_offload = offload;
  return NULL;
}

void dure_offload_destroy(dure_offload *offload) {
  if (offload == NULL) return;
  dure_workers_destroy(offload->workers);
  for (size_t i = 0; i < slot_count; i++) {
    free(offload->slots[i].gradient);
    free(offload->slots[i].parameter);
  }
  free(offload);
}
