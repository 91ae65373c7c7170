#include "data/dedup_vectors.h"

#include <stdlib.h>
#include <string.h>

#include "data/semantic.h"
#include "runtime/os.h"

enum { PATH_SIZE = 4200 };

size_t dedup_vector_bytes(size_t width) { return sizeof(uint64_t) + width * sizeof(float); }

void dedup_vectors_path(const deduplication *state, uint32_t rank, char *out_path, size_t size) {
  snprintf(out_path, size, "%s/vectors-%u", state->directory, rank);
}

static dure_status open_rank(const deduplication *state, vector_store *store, uint32_t rank) {
  char path[PATH_SIZE];
  uint64_t size = 0;
  dedup_vectors_path(state, rank, path, sizeof(path));
  if (!dure_os_is_file(path)) return NULL;  // of no document
  DURE_TRY(dure_os_file_size(path, &size));
  store->counts[rank] = size / dedup_vector_bytes(store->width);
  store->count += store->counts[rank];
  store->files[rank] = fopen(path, "rb");
  return store->files[rank] != NULL ? NULL : dure_fail_errno("cannot open '%s'", path);
}

dure_status dedup_vectors_open(const deduplication *state, vector_store *out_store) {
  const uint32_t ranks = state->ranks.count;
  *out_store = (vector_store){.rank_count = ranks, .width = state->options->semantic->width};
  out_store->files = calloc(ranks, sizeof(FILE *));
  out_store->counts = calloc(ranks, sizeof(*out_store->counts));
  if (out_store->files == NULL || out_store->counts == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory");
  for (uint32_t rank = 0; rank < ranks; rank++) DURE_TRY(open_rank(state, out_store, rank));
  return NULL;
}

void dedup_vectors_close(vector_store *store) {
  for (uint32_t rank = 0; store->files != NULL && rank < store->rank_count; rank++) {
    if (store->files[rank] != NULL) fclose(store->files[rank]);
  }
  free(store->files);
  free(store->counts);
  *store = (vector_store){0};
}

static dure_status read_record(FILE *file, size_t width, uint64_t *out_document, float *out_vector) {
  if (fread(out_document, sizeof(*out_document), 1, file) == 1 &&
      fread(out_vector, sizeof(float), width, file) == width)
    return NULL;
  return ferror(file) ? dure_fail_errno("cannot read vectors")
                      : dure_fail(DURE_CORRUPT, "a file of vectors was cut off");
}

dure_status dedup_vectors_next(vector_store *store, uint32_t rank, uint64_t *out_document, float *out_vector,
                               bool *out_has) {
  FILE *file = store->files[rank];
  *out_has = false;
  if (file == NULL) return NULL;
  const int next = fgetc(file);
  if (next == EOF) return ferror(file) ? dure_fail_errno("cannot read vectors") : NULL;
  ungetc(next, file);
  *out_has = true;
  return read_record(file, store->width, out_document, out_vector);
}

dure_status dedup_vectors_read(vector_store *store, uint64_t place, float *out_vector) {
  FILE *file = store->files[place >> VECTOR_RANK_SHIFT];
  const uint64_t number = place & ((UINT64_C(1) << VECTOR_RANK_SHIFT) - 1);
  uint64_t document = 0;
  if (fseeko(file, (off_t)(number * dedup_vector_bytes(store->width)), SEEK_SET) != 0) {
    return dure_fail_errno("cannot read vectors");
  }
  return read_record(file, store->width, &document, out_vector);
}
