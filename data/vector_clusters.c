#include "data/vector_clusters.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PASSES = 10, LANES = 16, GRAIN = 16 };

float dure_vector_product(const float *a, const float *b, size_t width) {
  float sums[LANES] = {0};
  size_t i = 0;
  for (; i + LANES <= width; i += LANES) {
    for (size_t lane = 0; lane < LANES; lane++) sums[lane] += a[i + lane] * b[i + lane];
  }
  for (; i < width; i++) sums[i % LANES] += a[i] * b[i];
  for (size_t half = LANES / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; lane++) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

bool dure_vector_normalise(float *vector, size_t width) {
  double square = 0;
  for (size_t i = 0; i < width; i++) square += (double)vector[i] * vector[i];
  if (!(square > 0) || !isfinite(square)) return false;
  const double scale = 1 / sqrt(square);
  for (size_t i = 0; i < width; i++) vector[i] = (float)(vector[i] * scale);
  return true;
}

// ---- comparing many with many ----

typedef struct comparison {
  const float *vectors, *others;
  size_t width, other_count;
  float threshold;
  size_t *out;
} comparison;

static void find_nearest(void *context, uint64_t first, uint64_t count) {
  const comparison *job = context;
  for (size_t i = (size_t)first; i < (size_t)(first + count); i++) {
    float best = -INFINITY;
    for (size_t j = 0; j < job->other_count; j++) {
      const float product =
          dure_vector_product(job->vectors + i * job->width, job->others + j * job->width, job->width);
      if (!(product > best)) continue;
      best = product;
      job->out[i] = j;
    }
  }
}

static void find_first(void *context, uint64_t first, uint64_t count) {
  const comparison *job = context;
  for (size_t i = (size_t)first; i < (size_t)(first + count); i++) {
    const float *vector = job->vectors + i * job->width;
    size_t j = 0;
    while (j < job->other_count &&
           dure_vector_product(vector, job->others + j * job->width, job->width) < job->threshold) {
      j++;
    }
    job->out[i] = j;
  }
}

void dure_vector_clusters_assign(dure_workers *workers, const float *vectors, size_t count, size_t width,
                                 const float *centroids, size_t cluster_count, size_t *out_nearest) {
  memset(out_nearest, 0, count * sizeof(*out_nearest));
  comparison job = {vectors, centroids, width, cluster_count, 0, out_nearest};
  dure_workers_start(workers, find_nearest, &job, count, GRAIN);
  dure_workers_wait(workers);
}

void dure_vector_first_similar(dure_workers *workers, const float *vectors, size_t count, size_t width,
                               const float *others, size_t other_count, float threshold, size_t *out_first) {
  comparison job = {vectors, others, width, other_count, threshold, out_first};
  dure_workers_start(workers, find_first, &job, count, GRAIN);
  dure_workers_wait(workers);
}

// ---- k-means ----

// Each centroid becomes the direction of the sum of its vectors; one without any stays where it is.
static void move_centroids(const float *vectors, size_t count, size_t width, const size_t *nearest,
                           size_t cluster_count, double *sums, float *centroids) {
  memset(sums, 0, cluster_count * width * sizeof(*sums));
  for (size_t i = 0; i < count; i++) {
    double *sum = sums + nearest[i] * width;
    for (size_t j = 0; j < width; j++) sum[j] += vectors[i * width + j];
  }
  for (size_t c = 0; c < cluster_count; c++) {
    double square = 0;
    for (size_t j = 0; j < width; j++) square += sums[c * width + j] * sums[c * width + j];
    const double scale = square > 0 ? 1 / sqrt(square) : 0;
    for (size_t j = 0; j < width && scale > 0; j++) centroids[c * width + j] = (float)(sums[c * width + j] * scale);
  }
}

dure_status dure_vector_clusters_find(dure_workers *workers, const float *vectors, size_t count, size_t width,
                                      size_t cluster_count, float *out_centroids) {
  memcpy(out_centroids, vectors, cluster_count * width * sizeof(*vectors));
  size_t *nearest = malloc(count * sizeof(*nearest));
  double *sums = malloc(cluster_count * width * sizeof(*sums));
  if (nearest == NULL || sums == NULL) {
    free(nearest);
    free(sums);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for %zu clusters of vectors", cluster_count);
  }
  for (int pass = 0; pass < PASSES && cluster_count > 1; pass++) {
    dure_vector_clusters_assign(workers, vectors, count, width, out_centroids, cluster_count, nearest);
    move_centroids(vectors, count, width, nearest, cluster_count, sums, out_centroids);
  }
  free(nearest);
  free(sums);
  return NULL;
}
