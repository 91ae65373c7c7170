#include "model/workers.h"

#include <stdlib.h>
#include <threads.h>

typedef struct worker {
  struct dure_workers *all;
  uint32_t index;
  thrd_t thread;
} worker;

struct dure_workers {
  mtx_t mutex;  // over what follows
  cnd_t changed;
  uint64_t job;      // number of the job given last
  uint32_t running;  // workers that have not finished it
  bool ends;
  dure_work work;
  void *context;
  uint64_t count, grain;
  uint32_t worker_count;
  worker workers[];
};

static void do_part(const dure_workers *all, uint32_t index) {
  const uint64_t grains = (all->count + all->grain - 1) / all->grain;
  const uint64_t first = grains * index / all->worker_count * all->grain;
  uint64_t end = grains * (index + 1) / all->worker_count * all->grain;
  if (end > all->count) end = all->count;
  if (first < end) all->work(all->context, first, end - first);
}

static int run(void *argument) {
  worker *self = argument;
  dure_workers *all = self->all;
  uint64_t done = 0;
  mtx_lock(&all->mutex);
  for (;;) {
    while (!all->ends && all->job == done) cnd_wait(&all->changed, &all->mutex);
    if (all->ends) break;
    done = all->job;
    mtx_unlock(&all->mutex);
    do_part(all, self->index);
    mtx_lock(&all->mutex);
    if (--all->running == 0) cnd_broadcast(&all->changed);
  }
  mtx_unlock(&all->mutex);
  return 0;
}

dure_status dure_workers_create(uint32_t count, dure_workers **out_workers) {
  *out_workers = NULL;
  dure_workers *all = calloc(1, sizeof(*all) + count * sizeof(worker));
  if (all == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %u threads", count);
  if (mtx_init(&all->mutex, mtx_plain) != thrd_success || cnd_init(&all->changed) != thrd_success) {
    free(all);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %u threads", count);
  }
  while (all->worker_count < count) {
    worker *added = &all->workers[all->worker_count];
    added->all = all;
    added->index = all->worker_count;
    if (thrd_create(&added->thread, run, added) != thrd_success) break;
    all->worker_count++;
  }
  if (all->worker_count == 0) {
    dure_workers_destroy(all);
    return dure_fail(DURE_OUT_OF_MEMORY, "no thread could be started");
  }
  *out_workers = all;
  return NULL;
}

void dure_workers_destroy(dure_workers *workers) {
  if (workers == NULL) return;
  dure_workers_wait(workers);
  mtx_lock(&workers->mutex);
  workers->ends = true;
  cnd_broadcast(&workers->changed);
  mtx_unlock(&workers->mutex);
  for (uint32_t i = 0; i < workers->worker_count; i++) thrd_join(workers->workers[i].thread, NULL);
  cnd_destroy(&workers->changed);
  mtx_destroy(&workers->mutex);
  free(workers);
}

void dure_workers_start(dure_workers *workers, dure_work work, void *context, uint64_t count, uint64_t grain) {
  mtx_lock(&workers->mutex);
  workers->work = work;
  workers->context = context;
  workers->count = count;
  workers->grain = grain;
  workers->running = workers->worker_count;
  workers->job++;
  cnd_broadcast(&workers->changed);
  mtx_unlock(&workers->mutex);
}

void dure_workers_wait(dure_workers *workers) {
  mtx_lock(&workers->mutex);
  while (workers->running > 0) cnd_wait(&workers->changed, &workers->mutex);
  mtx_unlock(&workers->mutex);
}
