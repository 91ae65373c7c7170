// Which documents say the same, from their vectors: clusters learnt from a sample, every document put in one, and the
// documents of a cluster compared.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "data/dedup_vectors.h"
#include "data/semantic.h"
#include "data/vector_clusters.h"
#include "runtime/os.h"

enum {
  CLUSTER_DOCUMENTS = 1024,  // in each, on average, when nobody says how many clusters
  SAMPLE = 256,              // vectors that a cluster is learnt from
  MOST_CLUSTERS = 65536,
  CHUNK = 256,
  FIRST_RUN = 500000,  // of decisions, behind those of earlier passes
  PATH_SIZE = 4200,
};

#define CLUSTER_RUNS "cluster"  // 3: cluster * step, document, place of its vector

typedef struct clustering {
  deduplication *state;
  const dure_semantic_options *semantic;
  dure_workers *workers;
  vector_store store;
  size_t width, cluster_count;
  float *mean;          // [width] of all vectors, or zeros
  float *centroids;     // [cluster_count, width], behind the mean
  dure_sorter *sorter;  // of what the pass finds
} clustering;

static uint64_t memory_for_vectors(const clustering *pass) {
  const uint64_t vectors = pass->state->memory / 2 / (pass->width * sizeof(float));
  return vectors > CHUNK ? vectors : CHUNK;
}

static dure_status begin(deduplication *state, clustering *out_pass) {
  *out_pass = (clustering){.state = state, .semantic = state->options->semantic};
  out_pass->width = out_pass->semantic->width;
  const uint32_t threads = state->options->threads > 0 ? state->options->threads : dure_os_core_count();
  DURE_TRY(dure_workers_create(threads < 64 ? threads : 64, &out_pass->workers));
  DURE_TRY(dedup_vectors_open(state, &out_pass->store));
  const uint64_t count = out_pass->store.count, wanted = out_pass->semantic->clusters;
  uint64_t clusters = wanted > 0 ? wanted : (count + CLUSTER_DOCUMENTS - 1) / CLUSTER_DOCUMENTS;
  const uint64_t most = memory_for_vectors(out_pass) / 4;
  if (clusters > most) clusters = most;
  if (clusters > MOST_CLUSTERS) clusters = MOST_CLUSTERS;
  out_pass->cluster_count = (size_t)(clusters < count ? clusters : count);
  out_pass->mean = calloc((out_pass->cluster_count + 1) * out_pass->width, sizeof(float));
  out_pass->centroids = out_pass->mean + (out_pass->mean != NULL ? out_pass->width : 0);
  return out_pass->mean != NULL ? NULL : dure_fail(DURE_OUT_OF_MEMORY, "out of memory for clusters");
}

static dure_status end(clustering *pass, dure_status status) {
  if (status == NULL && pass->sorter != NULL) status = dure_sorter_spill(pass->sorter);
  dure_sorter_destroy(pass->sorter);
  dedup_vectors_close(&pass->store);
  dure_workers_destroy(pass->workers);
  free(pass->mean);
  return status;
}

// A vector as seen from the mean; one that is the mean becomes zero, which is like nothing.
static void centre(const clustering *pass, float *vector) {
  if (!pass->semantic->is_centred) return;
  for (size_t j = 0; j < pass->width; j++) vector[j] -= pass->mean[j];
  if (!dure_vector_normalise(vector, pass->width)) memset(vector, 0, pass->width * sizeof(*vector));
}

// ---- learning clusters: rank 0 ----

typedef struct sampled {
  uint64_t hash, place;
} sampled;

static int by_hash(const void *a, const void *b) {
  const sampled *x = a, *y = b;
  if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
  return (x->place > y->place) - (x->place < y->place);
}

// The documents with the smallest hashes: which those are does not depend on how ranks share the documents.
static dure_status draw_sample(clustering *pass, sampled *sample, size_t most, size_t *out_count, float *vector) {
  vector_store *store = &pass->store;
  // So few that there is room for all of them, six deviations from what is expected included.
  const double share = ((double)most - 6 * sqrt((double)most)) / (double)store->count;
  const uint64_t limit = most < store->count ? (uint64_t)(share * 0x1p64) : UINT64_MAX;
  for (uint32_t rank = 0; rank < store->rank_count; rank++) {
    uint64_t document = 0, number = 0;
    for (bool has = true; has; number++) {
      DURE_TRY(dedup_vectors_next(store, rank, &document, vector, &has));
      const uint64_t hash = XXH3_64bits_withSeed(&document, sizeof(document), pass->semantic->seed);
      if (!has || hash > limit || *out_count == most) continue;
      sample[(*out_count)++] = (sampled){hash, (uint64_t)rank << VECTOR_RANK_SHIFT | number};
    }
  }
  qsort(sample, *out_count, sizeof(*sample), by_hash);
  return NULL;
}

static void find_mean(clustering *pass, const float *vectors, size_t count) {
  for (size_t j = 0; j < pass->width && count > 0; j++) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += vectors[i * pass->width + j];
    pass->mean[j] = (float)(sum / (double)count);
  }
}

static dure_status learn(clustering *pass) {
  uint64_t most = (uint64_t)pass->cluster_count * SAMPLE;
  if (most > memory_for_vectors(pass)) most = memory_for_vectors(pass);
  if (most > pass->store.count) most = pass->store.count;
  sampled *sample = malloc((size_t)(most + 1) * sizeof(*sample));
  float *vectors = malloc((size_t)(most + 1) * pass->width * sizeof(float));
  dure_status status =
      sample == NULL || vectors == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory for clusters") : NULL;
  size_t count = 0;
  if (status == NULL) status = draw_sample(pass, sample, (size_t)most, &count, vectors);
  for (size_t i = 0; i < count && status == NULL; i++) {
    status = dedup_vectors_read(&pass->store, sample[i].place, vectors + i * pass->width);
  }
  if (status == NULL && pass->cluster_count > count) pass->cluster_count = count;
  if (status == NULL && pass->semantic->is_centred) {
    find_mean(pass, vectors, count);
    for (size_t i = 0; i < count; i++) centre(pass, vectors + i * pass->width);
  }
  if (status == NULL && pass->cluster_count > 0) {
    status =
        dure_vector_clusters_find(pass->workers, vectors, count, pass->width, pass->cluster_count, pass->centroids);
  }
  free(sample);
  free(vectors);
  return status;
}

static void centroids_path(const deduplication *state, char out_path[PATH_SIZE]) {
  snprintf(out_path, PATH_SIZE, "%s/centroids", state->directory);
}

dure_status dedup_learn_clusters(deduplication *state) {
  clustering pass;
  char path[PATH_SIZE];
  dure_status status = begin(state, &pass);
  if (status == NULL) status = learn(&pass);
  centroids_path(state, path);
  if (status == NULL) {
    status = dure_os_write_file(path, pass.mean, (pass.cluster_count + 1) * pass.width * sizeof(float));
  }
  return end(&pass, status);
}

static dure_status read_centroids(clustering *pass) {
  char path[PATH_SIZE], *bytes = NULL;
  size_t size = 0;
  const size_t row = pass->width * sizeof(float), most = (pass->cluster_count + 1) * row;
  centroids_path(pass->state, path);
  DURE_TRY(dure_os_read_file(path, most + 1, &bytes, &size));
  const bool is_whole = size >= row && size <= most;
  if (is_whole) memcpy(pass->mean, bytes, size);
  if (is_whole) pass->cluster_count = size / row - 1;
  free(bytes);
  return is_whole ? NULL : dure_fail(DURE_CORRUPT, "'%s' is damaged; remove it to begin anew", path);
}

// ---- every document into a cluster: each rank, its own documents ----

// Clusters as first words that are spread over all values, so that the parts of a sorter are ranges of clusters.
static uint64_t step_of(const clustering *pass) { return UINT64_MAX / (pass->cluster_count + 1); }

static dure_status add_assigned(clustering *pass, const float *vectors, const uint64_t *documents, size_t count,
                                uint64_t first) {
  size_t nearest[CHUNK];
  dure_vector_clusters_assign(pass->workers, vectors, count, pass->width, pass->centroids, pass->cluster_count,
                              nearest);
  for (size_t i = 0; i < count; i++) {
    const uint64_t place = (uint64_t)pass->state->ranks.rank << VECTOR_RANK_SHIFT | (first + i);
    const uint64_t record[3] = {nearest[i] * step_of(pass), documents[i], place};
    DURE_TRY(dure_sorter_add(pass->sorter, record));
  }
  return dure_os_interrupted() ? dure_fail(DURE_CANCELLED, "stopped while clustering") : NULL;
}

static dure_status assign(clustering *pass, float *vectors) {
  const dure_ranks ranks = pass->state->ranks;
  const dure_sorter_options options = {.directory = pass->state->directory,
                                       .name = CLUSTER_RUNS,
                                       .words = 3,
                                       .parts = ranks.count,
                                       .memory = pass->state->memory / 2,
                                       .run = ranks.rank,
                                       .run_step = ranks.count};
  DURE_TRY(read_centroids(pass));
  DURE_TRY(dure_sorter_create(&options, &pass->sorter));
  uint64_t documents[CHUNK], first = 0;
  for (bool has = pass->cluster_count > 0; has; first += CHUNK) {
    size_t count = 0;
    while (count < CHUNK && has) {
      float *vector = vectors + count * pass->width;
      DURE_TRY(dedup_vectors_next(&pass->store, ranks.rank, &documents[count], vector, &has));
      if (has) centre(pass, vector);
      count += has;
    }
    if (count > 0) DURE_TRY(add_assigned(pass, vectors, documents, count, first));
  }
  return NULL;
}

dure_status dedup_assign_clusters(deduplication *state) {
  clustering pass;
  dure_status status = begin(state, &pass);
  float *vectors = malloc(CHUNK * pass.width * sizeof(float));
  if (status == NULL && vectors == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory for vectors");
  if (status == NULL) status = assign(&pass, vectors);
  free(vectors);
  return end(&pass, status);
}

// ---- the documents of a cluster compared: each rank, its own clusters ----

typedef struct member {
  uint64_t document, place;
} member;

typedef struct cluster {
  uint64_t key;
  member *members;  // in the order of the documents
  size_t count, capacity;
  // The first documents that stay, as many as memory holds:
  float *kept;
  uint64_t *kept_documents;
  size_t kept_count, kept_capacity;
  float *vectors;  // [CHUNK, width] of members being compared
} cluster;

static dure_status drop(clustering *pass, uint64_t document, uint64_t kept) {
  const uint64_t decision[3] = {document, DROP_SEMANTIC, kept};
  return dure_sorter_add(pass->sorter, decision);
}

// Members [first, first + count) against the kept ones and each other; those that memory has no room for are put back
// at the front of the members, for another round.
static dure_status compare_chunk(clustering *pass, cluster *group, size_t first, size_t count, size_t *put_back) {
  const size_t width = pass->width, known = group->kept_count;
  const float threshold = (float)pass->semantic->threshold;
  size_t similar[CHUNK];
  for (size_t i = 0; i < count; i++) {
    DURE_TRY(dedup_vectors_read(&pass->store, group->members[first + i].place, group->vectors + i * width));
    centre(pass, group->vectors + i * width);
  }
  dure_vector_first_similar(pass->workers, group->vectors, count, width, group->kept, known, threshold, similar);
  for (size_t i = 0; i < count; i++) {
    const float *vector = group->vectors + i * width;
    size_t found = similar[i];
    while (found >= known && found < group->kept_count &&
           dure_vector_product(vector, group->kept + found * width, width) < threshold) {
      found++;
    }
    const member current = group->members[first + i];
    if (found < group->kept_count) {
      DURE_TRY(drop(pass, current.document, group->kept_documents[found]));
    } else if (group->kept_count == group->kept_capacity) {
      group->members[(*put_back)++] = current;
    } else {
      memcpy(group->kept + group->kept_count * width, vector, width * sizeof(float));
      group->kept_documents[group->kept_count++] = current.document;
    }
  }
  return NULL;
}

static dure_status compare_members(clustering *pass, cluster *group) {
  while (group->count > 0) {
    size_t put_back = 0;
    group->kept_count = 0;
    for (size_t i = 0; i < group->count; i += CHUNK) {
      const size_t count = group->count - i < CHUNK ? group->count - i : CHUNK;
      DURE_TRY(compare_chunk(pass, group, i, count, &put_back));
      if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "stopped while comparing");
    }
    group->count = put_back;
  }
  return NULL;
}

static dure_status add_member(cluster *group, const uint64_t *record) {
  if (group->count == group->capacity) {
    const size_t capacity = group->capacity == 0 ? CLUSTER_DOCUMENTS : 2 * group->capacity;
    member *larger = realloc(group->members, capacity * sizeof(*larger));
    if (larger == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory for a cluster of %zu documents", capacity);
    group->members = larger;
    group->capacity = capacity;
  }
  group->key = record[0];
  group->members[group->count++] = (member){record[1], record[2]};
  return NULL;
}

static dure_status visit_clusters(clustering *pass, cluster *group, dure_merge *merge) {
  for (bool has = true; has;) {
    uint64_t record[3] = {0};
    DURE_TRY(dure_merge_next(merge, record, &has));
    if (group->count > 0 && (!has || record[0] != group->key)) DURE_TRY(compare_members(pass, group));
    if (has) DURE_TRY(add_member(group, record));
  }
  return NULL;
}

static dure_status find_similar(clustering *pass, cluster *group) {
  const dure_ranks ranks = pass->state->ranks;
  const dure_sorter_options options = {.directory = pass->state->directory,
                                       .name = DECISION_RUNS,
                                       .words = 3,
                                       .parts = 1,
                                       .memory = pass->state->memory / 4,
                                       .run = FIRST_RUN + ranks.rank,
                                       .run_step = ranks.count};
  DURE_TRY(read_centroids(pass));
  DURE_TRY(dure_sorter_create(&options, &pass->sorter));
  group->kept_capacity = (size_t)memory_for_vectors(pass);
  if (group->kept_capacity > pass->store.count) group->kept_capacity = (size_t)pass->store.count + 1;
  group->kept = malloc(group->kept_capacity * pass->width * sizeof(float));
  group->kept_documents = malloc(group->kept_capacity * sizeof(uint64_t));
  group->vectors = malloc(CHUNK * pass->width * sizeof(float));
  if (group->kept == NULL || group->kept_documents == NULL || group->vectors == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory comparing vectors; lower --memory");
  }
  dure_merge *merge = NULL;
  dure_status status = dure_merge_open(pass->state->directory, CLUSTER_RUNS, ranks.rank, 3, &merge);
  if (status == NULL) status = visit_clusters(pass, group, merge);
  dure_merge_close(merge);
  return status;
}

dure_status dedup_compare_clusters(deduplication *state) {
  clustering pass;
  cluster group = {0};
  dure_status status = begin(state, &pass);
  if (status == NULL) status = find_similar(&pass, &group);
  free(group.members);
  free(group.kept);
  free(group.kept_documents);
  free(group.vectors);
  return end(&pass, status);
}
