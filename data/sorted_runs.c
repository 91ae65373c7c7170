#include "data/sorted_runs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/output.h"
#include "runtime/os.h"

enum { SMALL = 48, FIRST_RECORDS = 1 << 12, MERGE_RUNS = 128, BUFFER_BYTES = 1 << 17, PATH_SIZE = 4096 };

// ---- in memory ----

static int compare(const uint64_t *a, const uint64_t *b, uint32_t words) {
  for (uint32_t i = 0; i < words; i++) {
    if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
  }
  return 0;
}

static void swap(uint64_t *a, uint64_t *b, uint32_t words) {
  for (uint32_t i = 0; i < words; i++) {
    uint64_t held = a[i];
    a[i] = b[i];
    b[i] = held;
  }
}

static void sort_few(uint64_t *records, size_t count, uint32_t words) {
  for (size_t i = 1; i < count; i++) {
    for (size_t j = i; j > 0 && compare(records + j * words, records + (j - 1) * words, words) < 0; j--) {
      swap(records + j * words, records + (j - 1) * words, words);
    }
  }
}

// In place, by one byte after the other from the highest (McIlroy, Bostic and McIlroy 1993, "American flag sort").
static void sort_by_byte(uint64_t *records, size_t count, uint32_t words, uint32_t byte) {
  if (count <= SMALL || byte == words * 8) {
    if (byte < words * 8) sort_few(records, count, words);
    return;
  }
  const uint32_t word = byte / 8, shift = 56 - byte % 8 * 8;
  size_t ends[256] = {0}, next[256];
  for (size_t i = 0; i < count; i++) ends[records[i * words + word] >> shift & 255]++;
  size_t sum = 0;
  for (int i = 0; i < 256; i++) {
    next[i] = sum;
    sum += ends[i];
    ends[i] = sum;
  }
  for (int i = 0; i < 256; i++) {
    while (next[i] < ends[i]) {
      uint64_t *record = records + next[i] * words;
      const size_t home = record[word] >> shift & 255;
      if (home == (size_t)i) {
        next[i]++;
      } else {
        swap(record, records + next[home]++ * words, words);
      }
    }
  }
  size_t start = 0;
  for (int i = 0; i < 256; i++) {
    if (ends[i] - start > 1) sort_by_byte(records + start * words, ends[i] - start, words, byte + 1);
    start = ends[i];
  }
}

void dure_records_sort(uint64_t *records, size_t count, uint32_t words) {
  if (count > 1) sort_by_byte(records, count, words, 0);
}

// ---- runs ----

struct dure_sorter {
  dure_sorter_options options;
  uint64_t *records;
  size_t count, capacity;
  uint32_t run;
};

static void run_path(const char *directory, const char *name, uint32_t part, uint32_t run, char *out_path) {
  snprintf(out_path, PATH_SIZE, "%s/%s-%u.%06u", directory, name, part, run);
}

dure_status dure_sorter_create(const dure_sorter_options *options, dure_sorter **out_sorter) {
  *out_sorter = calloc(1, sizeof(**out_sorter));
  if (*out_sorter == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory sorting");
  (*out_sorter)->options = *options;
  (*out_sorter)->run = options->run;
  return NULL;
}

void dure_sorter_destroy(dure_sorter *sorter) {
  if (sorter == NULL) return;
  free(sorter->records);
  free(sorter);
}

uint32_t dure_sorter_next_run(const dure_sorter *sorter) { return sorter->run; }
uint64_t dure_sorter_bytes(const dure_sorter *sorter) {
  return (uint64_t)sorter->count * sorter->options.words * sizeof(uint64_t);
}

static dure_status write_run(const char *path, const uint64_t *records, size_t words) {
  dure_output *output = NULL;
  DURE_TRY(dure_output_open(path, &output));
  return dure_output_close(output, dure_output_write(output, records, words * sizeof(uint64_t)));
}

// The part of a first word: equal ranges of 2^64.
static uint32_t part_of(uint64_t word, uint32_t parts) {
  return (uint32_t)(((word >> 32) * parts + ((word & UINT32_MAX) * parts >> 32)) >> 32);
}

dure_status dure_sorter_spill(dure_sorter *sorter) {
  const dure_sorter_options *options = &sorter->options;
  if (sorter->count == 0) return NULL;
  dure_records_sort(sorter->records, sorter->count, options->words);
  size_t start = 0;
  for (uint32_t part = 0; part < options->parts; part++) {
    size_t end = start;
    while (end < sorter->count && part_of(sorter->records[end * options->words], options->parts) == part) end++;
    if (end == start) continue;
    char path[PATH_SIZE];
    run_path(options->directory, options->name, part, sorter->run, path);
    DURE_TRY(write_run(path, sorter->records + start * options->words, (end - start) * options->words));
    start = end;
  }
  sorter->run += options->run_step > 0 ? options->run_step : 1;
  sorter->count = 0;
  return NULL;
}

dure_status dure_sorter_add(dure_sorter *sorter, const uint64_t *record) {
  const uint32_t words = sorter->options.words;
  const size_t most = (size_t)(sorter->options.memory / (words * sizeof(uint64_t)));
  if (sorter->count == sorter->capacity) {
    if (sorter->count > 0 && sorter->count >= most) {
      DURE_TRY(dure_sorter_spill(sorter));
    } else {
      size_t capacity = sorter->capacity == 0 ? FIRST_RECORDS : sorter->capacity * 2;
      if (capacity > most) capacity = most > 0 ? most : 1;
      uint64_t *larger = realloc(sorter->records, capacity * words * sizeof(uint64_t));
      if (larger == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory sorting; lower --memory");
      sorter->records = larger;
      sorter->capacity = capacity;
    }
  }
  memcpy(sorter->records + sorter->count++ * words, record, words * sizeof(uint64_t));
  return NULL;
}

// ---- merging ----

typedef struct run_reader {
  FILE *file;
  uint64_t *buffer;
  size_t next, end;  // records
  char *path;
} run_reader;

struct dure_merge {
  uint32_t words;
  size_t count;      // readers that still have records: a heap, the smallest first
  size_t all_count;  // opened
  run_reader readers[MERGE_RUNS];
  bool has_last;
  uint64_t last[DURE_RECORD_WORDS];
};

static dure_status reader_fill(run_reader *reader, uint32_t words) {
  const size_t size = words * sizeof(uint64_t);
  reader->next = 0;
  const size_t bytes = fread(reader->buffer, 1, BUFFER_BYTES / size * size, reader->file);
  if (ferror(reader->file)) return dure_fail_errno("cannot read '%s'", reader->path);
  if (bytes % size != 0) return dure_fail(DURE_CORRUPT, "'%s' was cut off", reader->path);
  reader->end = bytes / size;
  return NULL;
}

static const uint64_t *head_of(const dure_merge *merge, size_t i) {
  return merge->readers[i].buffer + merge->readers[i].next * merge->words;
}

static void sink(dure_merge *merge, size_t i) {
  for (;;) {
    size_t least = i;
    for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < merge->count; child++) {
      if (compare(head_of(merge, child), head_of(merge, least), merge->words) < 0) least = child;
    }
    if (least == i) return;
    run_reader held = merge->readers[i];
    merge->readers[i] = merge->readers[least];
    merge->readers[least] = held;
    i = least;
  }
}

// Takes the reader at the heap's top out when it has no more records.
static void settle(dure_merge *merge) {
  if (merge->readers[0].next == merge->readers[0].end) {
    merge->count--;
    run_reader held = merge->readers[0];
    merge->readers[0] = merge->readers[merge->count];
    merge->readers[merge->count] = held;
  }
  sink(merge, 0);
}

static dure_status open_run(dure_merge *merge, const char *path) {
  run_reader *reader = &merge->readers[merge->all_count++];
  reader->path = strdup(path);
  reader->buffer = malloc(BUFFER_BYTES);
  reader->file = fopen(path, "rb");
  if (reader->file == NULL) return dure_fail_errno("cannot open '%s'", path);
  if (reader->path == NULL || reader->buffer == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory merging");
  setvbuf(reader->file, NULL, _IONBF, 0);
  return reader_fill(reader, merge->words);
}

static dure_status open_runs(const char *directory, char **names, size_t count, uint32_t words,
                             dure_merge **out_merge) {
  dure_merge *merge = calloc(1, sizeof(*merge));
  *out_merge = merge;
  if (merge == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory merging");
  merge->words = words;
  for (size_t i = 0; i < count; i++) {
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
    DURE_TRY(open_run(merge, path));
  }
  for (size_t i = 0; i < merge->all_count; i++) {
    if (merge->readers[i].end == 0) continue;
    run_reader held = merge->readers[i];
    merge->readers[i] = merge->readers[merge->count];
    merge->readers[merge->count++] = held;
  }
  for (size_t i = merge->count; i-- > 0;) sink(merge, i);
  return NULL;
}

dure_status dure_merge_next(dure_merge *merge, uint64_t *out_record, bool *out_has) {
  const size_t size = merge->words * sizeof(uint64_t);
  *out_has = false;
  while (merge->count > 0) {
    run_reader *least = &merge->readers[0];
    memcpy(out_record, head_of(merge, 0), size);
    if (++least->next == least->end) DURE_TRY(reader_fill(least, merge->words));
    settle(merge);
    if (merge->has_last && memcmp(merge->last, out_record, size) == 0) continue;
    memcpy(merge->last, out_record, size);
    merge->has_last = *out_has = true;
    return NULL;
  }
  return NULL;
}

void dure_merge_close(dure_merge *merge) {
  if (merge == NULL) return;
  for (size_t i = 0; i < merge->all_count; i++) {
    if (merge->readers[i].file != NULL) fclose(merge->readers[i].file);
    free(merge->readers[i].buffer);
    free(merge->readers[i].path);
  }
  free(merge);
}

// ---- more runs than can be open ----

static dure_status copy_merged(dure_merge *merge, const char *path) {
  dure_output *output = NULL;
  DURE_TRY(dure_output_open(path, &output));
  dure_status status = NULL;
  uint64_t record[DURE_RECORD_WORDS];
  for (bool has = true; status == NULL && has;) {
    status = dure_merge_next(merge, record, &has);
    if (status == NULL && has) status = dure_output_write(output, record, merge->words * sizeof(uint64_t));
  }
  return dure_output_close(output, status);
}

// Some runs into one, whose name sorts behind all others. A crash before the old ones are gone leaves records twice.
static dure_status merge_some(const char *directory, char **names, size_t count, uint32_t words) {
  dure_merge *merge = NULL;
  char path[PATH_SIZE];
  snprintf(path, sizeof(path), "%s/%s+", directory, names[count - 1]);
  dure_status status = open_runs(directory, names, count, words, &merge);
  if (status == NULL) status = copy_merged(merge, path);
  dure_merge_close(merge);
  for (size_t i = 0; i < count && status == NULL; i++) {
    snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
    status = dure_os_remove_tree(path);
  }
  return status;
}

static bool is_run_of(const char *file, const char *prefix) {
  const size_t length = strlen(prefix);
  if (strncmp(file, prefix, length) != 0) return false;
  const size_t digits = strspn(file + length, "0123456789");
  return digits > 0 && strspn(file + length + digits, "+") == strlen(file + length + digits);
}

dure_status dure_merge_open(const char *directory, const char *name, uint32_t part, uint32_t words,
                            dure_merge **out_merge) {
  *out_merge = NULL;
  char prefix[256];
  snprintf(prefix, sizeof(prefix), "%s-%u.", name, part);
  for (;;) {
    char **names = NULL;
    size_t all = 0, count = 0;
    DURE_TRY(dure_os_list(directory, &names, &all));
    for (size_t i = 0; i < all; i++) {
      if (!is_run_of(names[i], prefix)) continue;
      char *held = names[count];
      names[count++] = names[i];
      names[i] = held;
    }
    const bool is_last = count <= MERGE_RUNS;
    dure_status status = is_last ? open_runs(directory, names, count, words, out_merge)
                                 : merge_some(directory, names, MERGE_RUNS, words);
    dure_os_names_free(names, all);
    if (status != NULL) {
      dure_merge_close(*out_merge);
      *out_merge = NULL;
      return status;
    }
    if (is_last) return NULL;
  }
}
