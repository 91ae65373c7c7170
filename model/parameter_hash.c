#include "model/parameter_hash.h"

#include <stdlib.h>
#include <xxhash.h>

#include "model/tensor_parallel.h"

enum { hashed_bytes = 4 << 20 };  // at a time

typedef struct hashing {
  const dure_parameter_layout *layout;
  const dure_parameter_buffers *buffers;
  dure_stream *stream;
  XXH3_state_t *state;
  uint8_t *bytes;
} hashing;

// Elements [first, end) of a pool, as far as they are here.
static dure_status hash_elements(const hashing *h, size_t pool, uint64_t first, uint64_t end) {
  uint64_t kept_first, kept_end;
  dure_parameter_shard_range(&h->layout->pools[pool], &h->buffers->storage, &kept_first, &kept_end);
  if (first < kept_first) first = kept_first;
  if (end > kept_end) end = kept_end;
  const uint64_t element = dure_dtype_size(h->buffers->storage.dtype);
  const uint64_t total = first < end ? (end - first) * element : 0, start = first < end ? first - kept_first : 0;
  for (uint64_t done = 0; done < total; done += hashed_bytes) {
    const uint64_t size = total - done < hashed_bytes ? total - done : hashed_bytes;
    DURE_TRY(dure_parameter_pool_read(h->buffers, pool, h->stream, start * element + done, h->bytes, size));
    XXH3_64bits_update(h->state, h->bytes, (size_t)size);
  }
  return NULL;
}

static dure_status hash_all(const hashing *h, bool undivided_alone) {
  const dure_parameter_layout *layout = h->layout;
  for (size_t i = 0; !undivided_alone && i < layout->pool_count; i++)
    DURE_TRY(hash_elements(h, i, 0, layout->pools[i].count));
  for (size_t i = 0; undivided_alone && i < layout->count; i++) {
    const dure_parameter *p = &layout->parameters[i];
    if (!dure_parameter_is_cut(p)) DURE_TRY(hash_elements(h, p->pool, p->offset, p->offset + p->count));
  }
  return NULL;
}

dure_status dure_parameters_hash(const dure_parameter_layout *layout, const dure_parameter_buffers *buffers,
                                 bool undivided_alone, dure_stream *stream, uint64_t *out_hash) {
  hashing h = {layout, buffers, stream, XXH3_createState(), malloc(hashed_bytes)};
  dure_status status =
      h.bytes == NULL || h.state == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory comparing values") : NULL;
  *out_hash = 0;
  if (status == NULL) XXH3_64bits_reset(h.state);
  if (status == NULL) status = hash_all(&h, undivided_alone);
  if (status == NULL) *out_hash = XXH3_64bits_digest(h.state);
  XXH3_freeState(h.state);
  free(h.bytes);
  return status;
}
