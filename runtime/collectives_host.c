#include "runtime/collectives_host.h"

#include <stdlib.h>
#include <string.h>

enum { chunk_bytes = 256 << 10 };  // what is summed at a time: caches hold it, and it is no more messages than needed

uint64_t dure_collective_source_bytes(const dure_collective *what, uint32_t size) {
  const uint64_t bytes = what->count * dure_dtype_size(what->dtype);
  if (what->kind == DURE_RECEIVE) return 0;
  return what->kind == DURE_REDUCE_SCATTER ? bytes * size : bytes;
}

uint64_t dure_collective_target_bytes(const dure_collective *what, uint32_t size) {
  const uint64_t bytes = what->count * dure_dtype_size(what->dtype);
  if (what->kind == DURE_SEND) return 0;
  return what->kind == DURE_ALL_GATHER ? bytes * size : bytes;
}

// ---- sums --------------------------------------------------------------------------------------------------------

static float widen_bf16(uint16_t bits) {
  const uint32_t wide = (uint32_t)bits << 16;
  float value;
  memcpy(&value, &wide, sizeof(value));
  return value;
}

static void load(dure_dtype dtype, const void *from, size_t count, float *out) {
  const uint16_t *half = from;
  if (dtype == DURE_DTYPE_F32) {
    memcpy(out, from, count * sizeof(*out));
  } else if (dtype == DURE_DTYPE_BF16) {
    for (size_t i = 0; i < count; i++) out[i] = widen_bf16(half[i]);
  } else {
    for (size_t i = 0; i < count; i++) out[i] = dure_f16_to_float(half[i]);
  }
}

static void store(dure_dtype dtype, const float *from, size_t count, void *out) {
  uint16_t *half = out;
  if (dtype == DURE_DTYPE_F32) {
    memcpy(out, from, count * sizeof(*from));
  } else if (dtype == DURE_DTYPE_BF16) {
    for (size_t i = 0; i < count; i++) half[i] = dure_bf16_from_float(from[i]);
  } else {
    for (size_t i = 0; i < count; i++) half[i] = dure_f16_from_float(from[i]);
  }
}

static void combine(dure_reduction reduction, const float *more, size_t count, float *sums) {
  if (reduction == DURE_REDUCTION_SUM) {
    for (size_t i = 0; i < count; i++) sums[i] += more[i];
  } else if (reduction == DURE_REDUCTION_MAXIMUM) {  // NaN wins
    for (size_t i = 0; i < count; i++) sums[i] = more[i] > sums[i] || more[i] != more[i] ? more[i] : sums[i];
  } else {
    for (size_t i = 0; i < count; i++) sums[i] = more[i] < sums[i] || more[i] != more[i] ? more[i] : sums[i];
  }
}

// The ranks' values, this one's at `own`, the others' in the scratch; `out` may be `own`.
static void reduce_chunk(const dure_host_collectives *c, const dure_collective *what, const void *own, size_t count,
                         void *out) {
  enum { block = 1024 };
  float sums[block], more[block];
  const size_t element = dure_dtype_size(what->dtype);
  for (size_t first = 0; first < count; first += block) {
    const size_t n = count - first < block ? count - first : block;
    for (uint32_t rank = 0; rank < c->size; rank++) {
      const uint8_t *from = rank == c->rank ? own : c->scratch + (size_t)rank * chunk_bytes;
      load(what->dtype, from + first * element, n, rank == 0 ? sums : more);
      if (rank > 0) combine(what->reduction, more, n, sums);
    }
    store(what->dtype, sums, n, (uint8_t *)out + first * element);
  }
}

// ---- movements ---------------------------------------------------------------------------------------------------

// A range cut into one part a rank, in elements: parts of `each`, the last ones shorter or empty.
typedef struct parts {
  uint64_t total, each;
} parts;

static uint64_t part_begin(parts p, uint32_t rank) {
  const uint64_t begin = p.each * rank;
  return begin < p.total ? begin : p.total;
}

// Elements [first, first + most) of a rank's part, as far as it has them.
static uint64_t part_count(parts p, uint32_t rank, uint64_t first, uint64_t most) {
  const uint64_t count = part_begin(p, rank + 1) - part_begin(p, rank);
  if (first >= count) return 0;
  return count - first < most ? count - first : most;
}

static dure_status reserve_scratch(dure_host_collectives *c) {
  const size_t size = (size_t)c->size * chunk_bytes;
  if (c->scratch_size >= size) return NULL;
  c->scratch = malloc(size);
  if (c->scratch == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to sum what %u ranks send", c->size);
  c->scratch_size = size;
  return NULL;
}

// Elements of each part that are meant: [begin, end).
typedef struct range {
  uint64_t begin, end;
} range;

// out [this rank's part] = the reduction of everybody's values of that part of `source` [total].
static dure_status reduce_parts(dure_host_collectives *c, const dure_collective *what, parts p, range meant,
                                const uint8_t *source, uint8_t *out) {
  const size_t element = dure_dtype_size(what->dtype);
  const uint64_t most = chunk_bytes / element;
  DURE_TRY(reserve_scratch(c));
  for (uint64_t first = meant.begin; first < meant.end; first += most) {
    const uint64_t count = meant.end - first < most ? meant.end - first : most;
    const uint64_t own = part_count(p, c->rank, first, count);
    for (uint32_t step = 1; step < c->size; step++) {
      const uint32_t to = (c->rank + step) % c->size, from = (c->rank + c->size - step) % c->size;
      DURE_TRY(dure_channel_exchange(c->world, c->channel,
                                     (dure_exchange){.to = to,
                                                     .from = from,
                                                     .send = source + (part_begin(p, to) + first) * element,
                                                     .send_size = part_count(p, to, first, count) * element,
                                                     .receive = c->scratch + (size_t)from * chunk_bytes,
                                                     .receive_size = own * element}));
    }
    reduce_chunk(c, what, source + (part_begin(p, c->rank) + first) * element, own, out + first * element);
  }
  return NULL;
}

// Everybody's part to everybody; this rank's is in its place.
static dure_status gather_parts(dure_host_collectives *c, size_t element, parts p, range meant, uint8_t *target) {
  const uint64_t count = meant.end - meant.begin;
  for (uint32_t step = 1; step < c->size; step++) {
    const uint32_t to = (c->rank + step) % c->size, from = (c->rank + c->size - step) % c->size;
    DURE_TRY(dure_channel_exchange(c->world, c->channel,
                                   (dure_exchange){.to = to,
                                                   .from = from,
                                                   .send = target + (part_begin(p, c->rank) + meant.begin) * element,
                                                   .send_size = part_count(p, c->rank, meant.begin, count) * element,
                                                   .receive = target + (part_begin(p, from) + meant.begin) * element,
                                                   .receive_size = part_count(p, from, meant.begin, count) * element}));
  }
  return NULL;
}

// Along a chain from the root on: every rank passes a chunk on while it gets the next.
static dure_status broadcast(dure_host_collectives *c, uint32_t root, uint8_t *bytes, uint64_t size) {
  const uint32_t place = (c->rank + c->size - root) % c->size;
  const bool has_next = place + 1 < c->size;
  const uint64_t chunks = (size + chunk_bytes - 1) / chunk_bytes;
  for (uint64_t i = 0; i <= chunks; i++) {
    dure_exchange exchange = {.to = DURE_NOBODY, .from = DURE_NOBODY};
    const uint64_t passed = i - 1;
    if (i < chunks && place > 0) {
      exchange.from = (c->rank + c->size - 1) % c->size;
      exchange.receive = bytes + i * chunk_bytes;
      exchange.receive_size = size - i * chunk_bytes < chunk_bytes ? size - i * chunk_bytes : chunk_bytes;
    }
    if (i > 0 && has_next) {
      exchange.to = (c->rank + 1) % c->size;
      exchange.send = bytes + passed * chunk_bytes;
      exchange.send_size = size - passed * chunk_bytes < chunk_bytes ? size - passed * chunk_bytes : chunk_bytes;
    }
    if (exchange.to != DURE_NOBODY || exchange.from != DURE_NOBODY)
      DURE_TRY(dure_channel_exchange(c->world, c->channel, exchange));
  }
  return NULL;
}

// ---- the kinds ---------------------------------------------------------------------------------------------------

static void copy(void *target, const void *source, uint64_t size) {
  if (target != source && size > 0) memmove(target, source, size);
}

static dure_status all_reduce(dure_host_collectives *c, const dure_collective *what, uint64_t count,
                              const uint8_t *source, uint8_t *target) {
  enum { least = 64 };  // elements of a part, so that no two ranks write one line of a cache
  const size_t element = dure_dtype_size(what->dtype);
  const uint64_t each = (count + c->size - 1) / c->size;
  const parts p = {count, (each + least - 1) / least * least};
  const range all = {0, p.each};
  DURE_TRY(reduce_parts(c, what, p, all, source, target + part_begin(p, c->rank) * element));
  return gather_parts(c, element, p, all, target);
}

dure_status dure_host_collective_run(dure_host_collectives *c, const dure_collective *what, uint64_t first,
                                     uint64_t count, const void *source, void *target) {
  const size_t element = dure_dtype_size(what->dtype);
  const uint64_t own = c->rank * what->count;  // element of this rank's part
  const uint8_t *from = source != NULL ? (const uint8_t *)source + first * element : NULL;
  uint8_t *to = target != NULL ? (uint8_t *)target + first * element : NULL;
  const parts whole = {what->count * c->size, what->count};
  const range meant = {first, first + count};
  if (count == 0) return NULL;
  switch (what->kind) {
    case DURE_ALL_REDUCE: return all_reduce(c, what, count, from, to);
    case DURE_REDUCE_SCATTER: return reduce_parts(c, what, whole, meant, source, target);
    case DURE_ALL_GATHER:
      copy(to + own * element, from, count * element);
      return gather_parts(c, element, whole, meant, target);
    case DURE_BROADCAST:
      if (c->rank == what->peer) copy(to, from, count * element);
      return broadcast(c, what->peer, to, count * element);
    case DURE_SEND:
      return dure_channel_exchange(
          c->world, c->channel,
          (dure_exchange){.to = what->peer, .from = DURE_NOBODY, .send = from, .send_size = count * element});
    case DURE_RECEIVE:
      return dure_channel_exchange(
          c->world, c->channel,
          (dure_exchange){.to = DURE_NOBODY, .from = what->peer, .receive = to, .receive_size = count * element});
    case DURE_COLLECTIVE_COUNT: break;
  }
  return dure_fail(DURE_INVALID_ARGUMENT, "there is no collective number %d", (int)what->kind);
}

void dure_host_collectives_release(dure_host_collectives *c) {
  free(c->scratch);
  c->scratch = NULL;
  c->scratch_size = 0;
}
