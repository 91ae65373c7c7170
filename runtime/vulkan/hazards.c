#include "runtime/vulkan/hazards.h"

#include <stdlib.h>
#include <string.h>

static bool drop_is_known;
static uint64_t drop_number;

static uint64_t dropped_barrier(void) {
  if (!drop_is_known) {
    const char *text = getenv("DURE_VULKAN_DROP_BARRIER");
    drop_number = text != NULL ? strtoull(text, NULL, 10) : 0;
    drop_is_known = true;
  }
  return drop_number;
}

void dure_hazards_drop_barrier(uint64_t n) {
  drop_is_known = true;
  drop_number = n;
}

static bool conflicts(const dure_hazard_range *a, const dure_hazard_range *b) {
  return a->buffer == b->buffer && (a->writes || b->writes) && a->begin < b->end && b->begin < a->end;
}

static bool conflicts_with_earlier(const dure_hazards *hazards, const dure_hazard_range *ranges, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (ranges[i].begin >= ranges[i].end) continue;
    for (size_t j = 0; j < hazards->count; j++) {
      if (conflicts(&ranges[i], &hazards->ranges[j])) return true;
    }
  }
  return false;
}

dure_status dure_hazards_add(dure_hazards *hazards, const dure_hazard_range *ranges, size_t count, bool *out_barrier) {
  *out_barrier = false;
  if (hazards->count + count > hazards->capacity) {
    size_t capacity = 2 * (hazards->count + count) + 16;
    dure_hazard_range *grown = realloc(hazards->ranges, capacity * sizeof(*grown));
    if (grown == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory to track %zu byte ranges", capacity);
    hazards->ranges = grown;
    hazards->capacity = capacity;
  }
  if (conflicts_with_earlier(hazards, ranges, count)) {
    dure_hazards_reset(hazards);
    hazards->barrier_count++;
    *out_barrier = hazards->barrier_count != dropped_barrier();
  }
  for (size_t i = 0; i < count; i++) {
    if (ranges[i].begin < ranges[i].end) hazards->ranges[hazards->count++] = ranges[i];
  }
  return NULL;
}

void dure_hazards_reset(dure_hazards *hazards) { hazards->count = 0; }

void dure_hazards_release(dure_hazards *hazards) {
  free(hazards->ranges);
  memset(hazards, 0, sizeof(*hazards));
}
