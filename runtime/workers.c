// POSIX threads rather than those of C11, which ThreadSanitizer does not know.
#include "runtime/workers.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct worker {
  struct dure_workers *all;
  uint32_t index;
  pthread_t thread;
} worker;

struct dure_workers {
  pthread_mutex_t mutex;  // over what follows
  pthread_cond_t changed;
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

static void *run(void *argument) {
  worker *self = argument;
  dure_workers *all = self->all;
  uint64_t done = 0;
  pthread_mutex_lock(&all->mutex);
  for (;;) {
    while (!all->ends && all->job == done) pthread_cond_wait(&all->changed, &all->mutex);
    if (all->ends) break;
    done = all->job;
    pthread_mutex_unlock(&all->mutex);
    do_part(all, self->index);
    pthread_mutex_lock(&all->mutex);
    if (--all->running == 0) pthread_cond_broadcast(&all->changed);
  }
  pthread_mutex_unlock(&all->mutex);
  return NULL;
}

dure_status dure_workers_create(uint32_t count, dure_workers **out_workers) {
  *out_workers = NULL;
  dure_workers *all = calloc(1, sizeof(*all) + count * sizeof(worker));
  if (all == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %u threads", count);
  if (pthread_mutex_init(&all->mutex, NULL) != 0 || pthread_cond_init(&all->changed, NULL) != 0) {
    free(all);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %u threads", count);
  }
  while (all->worker_count < count) {
    worker *added = &all->workers[all->worker_count];
    added->all = all;
    added->index = all->worker_count;
    if (pthread_create(&added->thread, NULL, run, added) != 0) break;
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
  pthread_mutex_lock(&workers->mutex);
  workers->ends = true;
  pthread_cond_broadcast(&workers->changed);
  pthread_mutex_unlock(&workers->mutex);
  for (uint32_t i = 0; i < workers->worker_count; i++) pthread_join(workers->workers[i].thread, NULL);
  pthread_cond_destroy(&workers->changed);
  pthread_mutex_destroy(&workers->mutex);
  free(workers);
}

void dure_workers_start(dure_workers *workers, dure_work work, void *context, uint64_t count, uint64_t grain) {
  pthread_mutex_lock(&workers->mutex);
  workers->work = work;
  workers->context = context;
  workers->count = count;
  workers->grain = grain;
  workers->running = workers->worker_count;
  workers->job++;
  pthread_cond_broadcast(&workers->changed);
  pthread_mutex_unlock(&workers->mutex);
}

void dure_workers_wait(dure_workers *workers) {
  pthread_mutex_lock(&workers->mutex);
  while (workers->running > 0) pthread_cond_wait(&workers->changed, &workers->mutex);
  pthread_mutex_unlock(&workers->mutex);
}
