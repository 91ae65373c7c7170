// Unit vectors in clusters: spherical k-means, and which vectors are nearly the same.
//
// Everything is decided in the order of the vectors, with sums in a fixed order, so that results do not depend on the
// number of threads.
#ifndef DURE_DATA_VECTOR_CLUSTERS_H_
#define DURE_DATA_VECTOR_CLUSTERS_H_

#include <stddef.h>

#include "runtime/workers.h"

// Scales `vector` [width] to length one; false when it is zero or not finite.
bool dure_vector_normalise(float *vector, size_t width);

// Lloyd's algorithm with cosines, 10 passes from the first `cluster_count` vectors on (in the order given, which the
// caller has drawn). vectors [count, width] and out_centroids [cluster_count, width] f32 of length one; count is at
// least cluster_count.
DURE_MUST_CHECK dure_status dure_vector_clusters_find(dure_workers *workers, const float *vectors, size_t count,
                                                      size_t width, size_t cluster_count, float *out_centroids);

// out_nearest [count]: for each vector, the centroid with the greatest cosine, the first of several.
void dure_vector_clusters_assign(dure_workers *workers, const float *vectors, size_t count, size_t width,
                                 const float *centroids, size_t cluster_count, size_t *out_nearest);

// out_first [count]: for each vector, the first of others [other_count, width] with a cosine of `threshold` or more;
// `other_count` where there is none.
void dure_vector_first_similar(dure_workers *workers, const float *vectors, size_t count, size_t width,
                               const float *others, size_t other_count, float threshold, size_t *out_first);

// The inner product, with the same rounding wherever it is taken.
float dure_vector_product(const float *a, const float *b, size_t width);

#endif  // DURE_DATA_VECTOR_CLUSTERS_H_
