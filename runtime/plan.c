#include "runtime/plan.h"

#include <stdbool.h>
#include <stdlib.h>

static uint64_t align_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) & ~(alignment - 1); }

typedef struct ordered {
  uint64_t size;
  size_t index;
} ordered;

static int larger_first(const void *a, const void *b) {
  const ordered *x = a, *y = b;
  if (x->size != y->size) return x->size > y->size ? -1 : 1;
  return x->index < y->index ? -1 : x->index > y->index;
}

static int lower_first(const void *a, const void *b) {
  const dure_plan_item *x = *(dure_plan_item *const *)a, *y = *(dure_plan_item *const *)b;
  return x->place < y->place ? -1 : x->place > y->place;
}

static uint64_t fit_into_block(uint64_t place, uint64_t size, uint64_t block_size) {
  uint64_t block = place / block_size;
  return place + size > (block + 1) * block_size ? (block + 1) * block_size : place;
}

// The lowest place for `item` between the neighbours (sorted by place) that live at the same time.
static uint64_t find_place(const dure_plan_item *item, dure_plan_item *const *neighbours, size_t count,
                           uint64_t alignment, uint64_t block_size) {
  uint64_t place = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t candidate = fit_into_block(align_up(place, alignment), item->size, block_size);
    if (candidate + item->size <= neighbours[i]->place) return candidate;
    uint64_t end = neighbours[i]->place + neighbours[i]->size;
    if (end > place) place = end;
  }
  return fit_into_block(align_up(place, alignment), item->size, block_size);
}

dure_status dure_plan_memory(dure_plan_item *items, size_t count, uint64_t alignment, uint64_t block_size,
                             uint64_t *out_arena_size) {
  *out_arena_size = 0;
  if (count == 0) return NULL;
  block_size &= ~(alignment - 1);
  ordered *order = malloc(count * sizeof(*order));
  dure_plan_item **neighbours = malloc(count * sizeof(*neighbours));
  dure_status status = NULL;
  if (order == NULL || neighbours == NULL)
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory planning %zu tensors", count);
  for (size_t i = 0; status == NULL && i < count; i++) {
    order[i] = (ordered){items[i].size, i};
    if (items[i].size > block_size) {
      status = dure_fail(
          DURE_OUT_OF_MEMORY,
          "a tensor of %.1f MiB is larger than the largest buffer of the device (%.1f MiB); use a smaller batch size",
          (double)items[i].size / 1048576.0, (double)block_size / 1048576.0);
    }
  }
  if (status == NULL) qsort(order, count, sizeof(*order), larger_first);
  for (size_t i = 0; status == NULL && i < count; i++) {
    dure_plan_item *item = &items[order[i].index];
    size_t neighbour_count = 0;
    for (size_t j = 0; j < i; j++) {
      dure_plan_item *placed = &items[order[j].index];
      if (placed->first <= item->last && item->first <= placed->last) neighbours[neighbour_count++] = placed;
    }
    if (neighbour_count > 1) qsort(neighbours, neighbour_count, sizeof(*neighbours), lower_first);
    item->place = find_place(item, neighbours, neighbour_count, alignment, block_size);
    if (item->place + item->size > *out_arena_size) *out_arena_size = item->place + item->size;
  }
  free(order);
  free(neighbours);
  return status;
}
