#include "runtime/read_ahead.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

// The system waits for the disk where too much is asked of it at once, which is why this is a thread.
static const uint64_t piece_bytes = 8 << 20;
enum { part_of_free_memory = 4 };

struct dure_read_ahead {
  pthread_t thread;
  atomic_bool is_over;
  uint64_t most;  // bytes
  size_t count;
  dure_read_ahead_range ranges[];
};

static void *ask(void *argument) {
  dure_read_ahead *reader = argument;
  uint64_t left = reader->most;
  for (size_t i = 0; i < reader->count; i++) {
    const dure_read_ahead_range *range = &reader->ranges[i];
    for (uint64_t done = 0; done < range->size; done += piece_bytes) {
      const uint64_t rest = range->size - done, size = rest < piece_bytes ? rest : piece_bytes;
      if (size > left || atomic_load(&reader->is_over)) return NULL;
      dure_os_map_expect(range->bytes + done, size);
      left -= size;
    }
  }
  return NULL;
}

dure_read_ahead *dure_read_ahead_begin(const dure_read_ahead_range *ranges, size_t count) {
  dure_read_ahead *reader = malloc(sizeof(*reader) + count * sizeof(*ranges));
  if (reader == NULL) return NULL;
  atomic_init(&reader->is_over, false);
  reader->most = dure_os_memory_available() / part_of_free_memory;
  reader->count = count;
  if (count > 0) memcpy(reader->ranges, ranges, count * sizeof(*ranges));
  if (pthread_create(&reader->thread, NULL, ask, reader) == 0) return reader;
  free(reader);
  return NULL;
}

void dure_read_ahead_end(dure_read_ahead *reader) {
  if (reader == NULL) return;
  atomic_store(&reader->is_over, true);
  pthread_join(reader->thread, NULL);
  free(reader);
}
