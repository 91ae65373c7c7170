#include "model/checkpoint_parts.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/moments.h"
#include "model/tensor_parallel.h"
#include "runtime/os.h"

enum { piece_bytes = 4 << 20, name_size = 192 };
_Static_assert(DURE_MOMENTS_PIECE * sizeof(float) <= piece_bytes, "values of moments are written from the same piece");
enum { version_of_rows = 1, version_of_columns = 2 };  // of the index: 2 where columns are divided
#define INDEX "optimizer.index.json"

static void file_name(uint32_t file, uint32_t files, char out_name[64]) {
  snprintf(out_name, 64, "optimizer-%05u-of-%05u.safetensors", file + 1, files);
}

static uint32_t file_count(const dure_checkpoint_place *place) {
  return place->shards * (place->tensor_parts > 1 ? place->tensor_parts : 1);
}

static uint32_t file_of(const dure_checkpoint_place *place) {
  return place->tensor_part * place->shards + place->shard;
}

// ---- the parts of a rank -----------------------------------------------------------------------------------------

// Elements [first, first + count) of a tensor, or of the columns of it that there are, which lie in the pool from
// element `place` on.
typedef struct piece {
  const dure_parameter *parameter;
  uint32_t part;
  uint64_t first, count, place;
} piece;

typedef dure_status (*piece_action)(void *context, const dure_named_buffers *set, const piece *found);

// What rows [row, row + rows) of a part of a parameter have in the rank's part of the pool.
static dure_status visit_rows(const dure_named_buffers *set, const piece *rows, uint64_t kept_first, uint64_t kept_end,
                              piece_action action, void *context) {
  piece found = *rows;
  if (found.place + found.count <= kept_first || found.place >= kept_end) return NULL;
  const uint64_t skipped = found.place < kept_first ? kept_first - found.place : 0;
  found.first += skipped;
  found.place += skipped;
  found.count -= skipped;
  if (found.place + found.count > kept_end) found.count = kept_end - found.place;
  return action(context, set, &found);
}

static dure_status for_each_piece(const dure_named_buffers *set, const dure_parameter_layout *layout,
                                  const dure_checkpoint_place *place, piece_action action, void *context) {
  for (size_t i = 0; i < layout->count; i++) {
    dure_parameter parameter = layout->parameters[i];
    parameter.cut.part = place->tensor_part;
    if (place->tensor_part > 0 && !dure_parameter_is_cut(&parameter)) continue;
    const uint64_t size = layout->pools[parameter.pool].count / place->shards, kept = place->shard * size;
    const uint64_t columns = parameter.rank == 2 ? parameter.shape[1] : 1;
    for (uint32_t part = 0; part < parameter.part_count; part++) {
      for (uint64_t row = 0; row < parameter.parts[part].rows;) {
        uint64_t to;
        const uint64_t rows = dure_parameter_run(&parameter, part, row, &to);
        const piece all = {&parameter, part, row * columns, rows * columns, parameter.offset + to * columns};
        if (to != DURE_ROW_ELSEWHERE) DURE_TRY(visit_rows(set, &all, kept, kept + size, action, context));
        row += rows;
      }
    }
  }
  return NULL;
}

static void tensor_name(const dure_named_buffers *set, const piece *found, char out_name[name_size]) {
  snprintf(out_name, name_size, "%s%s", found->parameter->parts[found->part].name, set->suffix);
}

// ---- saving ------------------------------------------------------------------------------------------------------

// Codes are written as their values.
static dure_dtype written_dtype(const dure_named_buffers *set) {
  return dure_moments_are_coded(set) ? DURE_DTYPE_F32 : set->buffers->storage.dtype;
}

typedef struct saving {
  dure_safetensors_writer *writer;
  dure_stream *stream;
  uint8_t *bytes;  // [piece_bytes]
} saving;

static dure_status declare(void *context, const dure_named_buffers *set, const piece *found) {
  const saving *s = context;
  char name[name_size], whole[name_size + 24];
  tensor_name(set, found, name);
  snprintf(whole, sizeof(whole), "%s@%" PRIu64, name, found->first);
  return dure_safetensors_writer_declare(s->writer, whole, written_dtype(set), 1, &found->count);
}

// Elements [first, first + count) of what the rank keeps of a pool.
static dure_status append_values(const saving *s, const dure_named_buffers *set, uint32_t pool, uint64_t first,
                                 uint64_t count) {
  float *values = (float *)(void *)s->bytes;
  for (uint64_t done = 0; done < count;) {
    const uint64_t now = count - done < DURE_MOMENTS_PIECE ? count - done : DURE_MOMENTS_PIECE;
    DURE_TRY(dure_moments_read(set, pool, s->stream, first + done, now, values));
    DURE_TRY(dure_safetensors_writer_append(s->writer, values, now * sizeof(*values)));
    done += now;
  }
  return NULL;
}

static dure_status append(void *context, const dure_named_buffers *set, const piece *found) {
  const saving *s = context;
  const dure_parameter_buffers *buffers = set->buffers;
  const uint32_t pool = found->parameter->pool;
  const uint64_t size = dure_dtype_size(buffers->storage.dtype), total = found->count * size;
  const uint64_t start = buffers->shard_sizes != NULL ? buffers->storage.shard * buffers->shard_sizes[pool] : 0;
  if (dure_moments_are_coded(set)) return append_values(s, set, pool, found->place - start, found->count);
  for (uint64_t done = 0; done < total;) {
    const uint64_t now = total - done < piece_bytes ? total - done : piece_bytes;
    DURE_TRY(dure_parameter_pool_read(buffers, pool, s->stream, (found->place - start) * size + done, s->bytes, now));
    DURE_TRY(dure_safetensors_writer_append(s->writer, s->bytes, now));
    done += now;
  }
  return NULL;
}

static dure_status write_sets(saving *s, const dure_named_buffers *sets, size_t set_count,
                              const dure_parameter_layout *layout, const dure_checkpoint_place *place) {
  for (size_t i = 0; i < set_count; i++) DURE_TRY(for_each_piece(&sets[i], layout, place, declare, s));
  for (size_t i = 0; i < set_count; i++) DURE_TRY(for_each_piece(&sets[i], layout, place, append, s));
  return dure_safetensors_writer_finish(s->writer);
}

dure_status dure_checkpoint_parts_save(const dure_named_buffers *sets, size_t set_count,
                                       const dure_parameter_layout *layout, const dure_checkpoint_place *place,
                                       dure_stream *stream, const char *directory) {
  char name[64];
  file_name(file_of(place), file_count(place), name);
  saving s = {.stream = stream, .bytes = malloc(piece_bytes)};
  char *path = dure_os_path_join(directory, name);
  dure_status status = s.bytes == NULL || path == NULL
                           ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", name)
                           : dure_safetensors_writer_create(path, &s.writer);
  if (status == NULL) dure_safetensors_writer_bypass_cache(s.writer);
  if (status == NULL) status = write_sets(&s, sets, set_count, layout, place);
  dure_safetensors_writer_destroy(s.writer);
  free(path);
  free(s.bytes);
  return status;
}

// ---- the index ---------------------------------------------------------------------------------------------------

typedef struct indexing {
  json_t *tensors;
  uint32_t file;
  bool has_columns;
} indexing;

static json_t *shape_json(const piece *found) {
  json_t *shape = json_array();
  json_array_append_new(shape, json_integer((json_int_t)found->parameter->parts[found->part].rows));
  if (found->parameter->rank == 2) json_array_append_new(shape, json_integer((json_int_t)found->parameter->whole[1]));
  return shape;
}

static dure_status note_piece(void *context, const dure_named_buffers *set, const piece *found) {
  indexing *index = context;
  char name[name_size];
  tensor_name(set, found, name);
  json_t *tensor = json_object_get(index->tensors, name);
  if (tensor == NULL) {
    const dure_dtype dtype = written_dtype(set);
    const char *word = dtype == DURE_DTYPE_F32 ? "F32" : dtype == DURE_DTYPE_BF16 ? "BF16" : "F16";
    tensor = json_pack("{ss so s[]}", "dtype", word, "shape", shape_json(found), "parts");
    json_object_set_new(index->tensors, name, tensor);
  }
  json_t *part = json_pack("[I I I]", (json_int_t)index->file, (json_int_t)found->first, (json_int_t)found->count);
  const bool has_columns = dure_parameter_has_cut_columns(found->parameter);
  for (uint32_t i = 0; has_columns && i < found->parameter->cut.run_count; i++) {
    json_array_append_new(part, json_integer((json_int_t)dure_parameter_cut_first(found->parameter, i)));
    json_array_append_new(part, json_integer((json_int_t)found->parameter->cut.runs[i].count));
  }
  index->has_columns = index->has_columns || has_columns;
  return json_array_append_new(json_object_get(tensor, "parts"), part) == 0
             ? NULL
             : dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing an index");
}

static dure_status list_files(uint32_t count, const char *directory, json_t *files) {
  for (uint32_t i = 0; i < count; i++) {
    char name[64];
    file_name(i, count, name);
    char *path = dure_os_path_join(directory, name);
    const bool is_there = path != NULL && dure_os_is_file(path);
    free(path);
    if (!is_there) {
      return dure_fail(DURE_IO,
                       "'%s/%s', which another rank has written, cannot be seen here: --out must be on a file system "
                       "that all machines share",
                       directory, name);
    }
    json_array_append_new(files, json_string(name));
  }
  return NULL;
}

dure_status dure_checkpoint_parts_index(const dure_named_buffers *sets, size_t set_count,
                                        const dure_parameter_layout *layout, const dure_checkpoint_place *place,
                                        const char *directory) {
  json_t *files = json_array();
  indexing index = {.tensors = json_object()};
  dure_status status = list_files(file_count(place), directory, files);
  for (index.file = 0; status == NULL && index.file < file_count(place); index.file++) {
    const dure_checkpoint_place writer = {index.file % place->shards, place->shards, index.file / place->shards,
                                          place->tensor_parts};
    for (size_t i = 0; status == NULL && i < set_count; i++)
      status = for_each_piece(&sets[i], layout, &writer, note_piece, &index);
  }
  json_t *json = json_pack("{ss si so so}", "format", "dure-parts", "version",
                           index.has_columns ? (int)version_of_columns : (int)version_of_rows, "files", files,
                           "tensors", index.tensors);
  char *text = json_dumps(json, JSON_INDENT(1)), *path = dure_os_path_join(directory, INDEX);
  if (status == NULL)
    status = text == NULL || path == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing an index")
                                          : dure_os_write_file(path, text, strlen(text));
  json_decref(json);
  free(text);
  free(path);
  return status;
}

// ---- reading -----------------------------------------------------------------------------------------------------

typedef struct column_run {
  uint64_t first, count;
} column_run;

typedef struct stored_part {
  uint64_t first, count;  // of the tensor, or of the columns alone
  const dure_safetensors_tensor *tensor;
  column_run runs[DURE_PARTS_MOST];
  uint32_t run_count;  // 0: whole rows
  uint64_t width;      // of the runs together
} stored_part;

typedef struct stored_tensor {
  char name[name_size];
  stored_part *parts;  // ascending, without holes; those of the same columns together
  size_t part_count;
  uint64_t columns;  // of the tensor, where parts are of columns; else 0
} stored_tensor;

typedef struct parts_file {
  dure_safetensors **files;
  size_t file_count;
  stored_tensor *tensors;
  size_t tensor_count;
} parts_file;

static void release(void *owner) {
  parts_file *all = owner;
  for (size_t i = 0; i < all->file_count; i++) dure_safetensors_close(all->files[i]);
  for (size_t i = 0; i < all->tensor_count; i++) free(all->tensors[i].parts);
  free(all->files);
  free(all->tensors);
  free(all);
}

// What a row of a part's columns has of elements [first, first + count) of the whole tensor.
static dure_status read_row(const stored_tensor *stored, const stored_part *part, uint64_t row, uint64_t first,
                            uint64_t count, float *out_values) {
  uint64_t place = row * part->width;  // among the elements of the columns alone
  for (uint32_t i = 0; i < part->run_count; i++) {
    uint64_t begin = row * stored->columns + part->runs[i].first, end = begin + part->runs[i].count, at = place;
    place += part->runs[i].count;
    if (at < part->first) begin += part->first - at, at = part->first;
    if (begin < first) at += first - begin, begin = first;
    if (end > first + count) end = first + count;
    if (begin >= end || at >= part->first + part->count) continue;
    const uint64_t left = part->first + part->count - at, now = end - begin < left ? end - begin : left;
    DURE_TRY(dure_safetensors_read(part->tensor, at - part->first, now, out_values + (begin - first)));
  }
  return NULL;
}

static dure_status read_columns(const stored_tensor *stored, uint64_t first, uint64_t count, float *out_values) {
  for (size_t i = 0; i < stored->part_count && count > 0; i++) {
    const stored_part *part = &stored->parts[i];
    uint64_t row = first / stored->columns, last = (first + count - 1) / stored->columns;
    if (row < part->first / part->width) row = part->first / part->width;
    if (last > (part->first + part->count - 1) / part->width) last = (part->first + part->count - 1) / part->width;
    for (; row <= last; row++) DURE_TRY(read_row(stored, part, row, first, count, out_values));
  }
  return NULL;
}

static dure_status read_parts(const dure_safetensors_tensor *tensor, uint64_t first, uint64_t count,
                              float *out_values) {
  const stored_tensor *stored = tensor->source;
  if (stored->columns > 0) return read_columns(stored, first, count, out_values);
  for (size_t i = 0; i < stored->part_count && count > 0; i++) {
    const stored_part *part = &stored->parts[i];
    if (first >= part->first + part->count) continue;
    const uint64_t within = first - part->first, left = part->count - within, now = count < left ? count : left;
    DURE_TRY(dure_safetensors_read(part->tensor, within, now, out_values));
    out_values += now;
    first += now;
    count -= now;
  }
  return NULL;
}

static int compare(uint64_t left, uint64_t right) { return (left > right) - (left < right); }

static int compare_parts(const void *a, const void *b) {
  const stored_part *left = a, *right = b;
  const int columns = compare(left->runs[0].first, right->runs[0].first);
  return columns != 0 ? columns : compare(left->first, right->first);
}

static int compare_runs(const void *a, const void *b) {
  return compare(((const column_run *)a)->first, ((const column_run *)b)->first);
}

static bool have_same_columns(const stored_part *a, const stored_part *b) {
  return a->run_count == b->run_count && memcmp(a->runs, b->runs, a->run_count * sizeof(*a->runs)) == 0;
}

static dure_status fail_corrupt(const char *directory, const char *name) {
  return dure_fail(DURE_CORRUPT, "'%s/" INDEX "' does not describe tensor '%.100s' as the files beside it have it",
                   directory, name);
}

// A whole number from 0 on, of which many can be added.
static bool read_count(const json_t *json, uint64_t *out_count) {
  *out_count = json_is_integer(json) && json_integer_value(json) >= 0 ? (uint64_t)json_integer_value(json) : 0;
  return json_is_integer(json) && json_integer_value(json) >= 0 && *out_count < UINT64_C(1) << 56;
}

static bool read_runs(const json_t *json, stored_part *part) {
  const size_t size = json_array_size(json);
  if (size % 2 != 1 || size > 3 + 2 * (size_t)DURE_PARTS_MOST) return false;
  for (size_t i = 3; i < size; i += 2) {
    column_run *run = &part->runs[part->run_count++];
    if (!read_count(json_array_get(json, i), &run->first) || !read_count(json_array_get(json, i + 1), &run->count) ||
        run->count == 0)
      return false;
    part->width += run->count;
  }
  return true;
}

static dure_status read_part(const parts_file *all, const char *directory, const char *full_name, const json_t *json,
                             stored_part *out_part) {
  uint64_t file;
  if (!read_count(json_array_get(json, 0), &file) || !read_count(json_array_get(json, 1), &out_part->first) ||
      !read_count(json_array_get(json, 2), &out_part->count) || file >= all->file_count || !read_runs(json, out_part))
    return fail_corrupt(directory, full_name);
  char name[name_size + 24];
  snprintf(name, sizeof(name), "%s@%" PRIu64, full_name, out_part->first);
  out_part->tensor = dure_safetensors_find(all->files[file], name);
  if (out_part->tensor == NULL || out_part->tensor->count != out_part->count || out_part->count == 0)
    return fail_corrupt(directory, full_name);
  return NULL;
}

// Whether parts of the same columns, which are together, each cover [0, rows * width).
static bool covers_rows(const stored_tensor *stored, uint64_t rows) {
  uint64_t end = 0;
  for (size_t i = 0; i < stored->part_count; i++) {
    const stored_part *part = &stored->parts[i];
    if (part->first != end) return false;
    end += part->count;
    const bool is_last = i + 1 == stored->part_count || !have_same_columns(part, part + 1);
    if (is_last && (part->width == 0 || end / part->width != rows || end % part->width != 0)) return false;
    if (is_last) end = 0;
  }
  return true;
}

// Whether the columns of all groups of parts are all columns, each once.
static bool covers_columns(const stored_tensor *stored) {
  column_run *runs = calloc(stored->part_count * DURE_PARTS_MOST + 1, sizeof(*runs));
  size_t count = 0;
  for (size_t i = 0; runs != NULL && i < stored->part_count; i++) {
    const stored_part *part = &stored->parts[i];
    if (i > 0 && have_same_columns(part, part - 1)) continue;
    memcpy(runs + count, part->runs, part->run_count * sizeof(*runs));
    count += part->run_count;
  }
  if (runs != NULL) qsort(runs, count, sizeof(*runs), compare_runs);
  uint64_t end = 0;
  bool is_covered = runs != NULL;
  for (size_t i = 0; is_covered && i < count; i++) {
    is_covered = runs[i].first == end && runs[i].count <= stored->columns - end;
    end += runs[i].count;
  }
  free(runs);
  return is_covered && end == stored->columns;
}

// Parts of rows are those of all columns.
static bool covers(stored_tensor *stored, const uint64_t shape[2], uint32_t rank) {
  const uint64_t columns = rank == 2 ? shape[1] : 1;
  bool has_columns = false, has_rows = false;
  for (size_t i = 0; i < stored->part_count; i++) {
    has_columns = has_columns || stored->parts[i].run_count > 0;
    has_rows = has_rows || stored->parts[i].run_count == 0;
    if (stored->parts[i].run_count == 0) stored->parts[i].width = columns;
  }
  if (has_columns && (has_rows || rank != 2)) return false;
  stored->columns = has_columns ? columns : 0;
  return covers_rows(stored, shape[0]) && (!has_columns || covers_columns(stored));
}

static bool read_shape(const json_t *json, uint64_t out_shape[2], uint64_t *out_count) {
  *out_count = 1;
  for (size_t i = 0; i < json_array_size(json); i++) {
    if (!read_count(json_array_get(json, i), &out_shape[i]) || out_shape[i] == 0) return false;
    if (out_shape[i] > (UINT64_C(1) << 56) / *out_count) return false;
    *out_count *= out_shape[i];
  }
  return true;
}

// Fills `stored` and the tensor that shows it.
static dure_status read_tensor(const parts_file *all, const char *directory, const char *full_name, const json_t *json,
                               stored_tensor *stored, dure_safetensors_tensor *tensor) {
  const json_t *shape = json_object_get(json, "shape"), *parts = json_object_get(json, "parts");
  const size_t rank = json_array_size(shape), count = json_array_size(parts);
  uint64_t sizes[2] = {0, 0}, elements;
  if (rank < 1 || rank > 2 || count == 0 || !read_shape(shape, sizes, &elements))
    return fail_corrupt(directory, full_name);
  stored->parts = calloc(count, sizeof(*stored->parts));
  if (stored->parts == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", directory);
  stored->part_count = count;
  for (size_t i = 0; i < count; i++)
    DURE_TRY(read_part(all, directory, full_name, json_array_get(parts, i), &stored->parts[i]));
  qsort(stored->parts, count, sizeof(*stored->parts), compare_parts);
  if (!covers(stored, sizes, (uint32_t)rank)) return fail_corrupt(directory, full_name);
  const dure_safetensors_tensor *like = stored->parts[0].tensor;
  *tensor = (dure_safetensors_tensor){.name = stored->name,
                                      .type = like->type,
                                      .dtype = like->dtype,
                                      .rank = (uint32_t)rank,
                                      .shape = {sizes[0], sizes[1]},
                                      .count = elements,
                                      .size = elements * dure_dtype_size(like->dtype),
                                      .read = read_parts,
                                      .source = stored};
  return NULL;
}

// Whether the name has the suffix; "" stands for none of those there are.
static bool has_suffix(const char *name, const char *suffix, size_t *out_length) {
  static const char *const suffixes[] = {DURE_MOMENTS_FIRST, DURE_MOMENTS_SECOND, DURE_PARTS_MASTER};
  *out_length = strlen(name);
  const char *found = "";
  for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
    const size_t length = strlen(suffixes[i]);
    if (strlen(name) > length && strcmp(name + strlen(name) - length, suffixes[i]) == 0) found = suffixes[i];
  }
  *out_length -= strlen(found);
  return strcmp(found, suffix) == 0;
}

static dure_status open_files(const char *directory, const json_t *names, parts_file *all) {
  all->files = calloc(json_array_size(names) + 1, sizeof(*all->files));
  if (all->files == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", directory);
  for (size_t i = 0; i < json_array_size(names); i++) {
    const char *name = json_string_value(json_array_get(names, i));
    char expected[64];
    file_name((uint32_t)i, (uint32_t)json_array_size(names), expected);
    if (name == NULL || strcmp(name, expected) != 0)
      return dure_fail(DURE_CORRUPT, "'%s/" INDEX "' does not name '%s'", directory, expected);
    char *path = dure_os_path_join(directory, name);
    dure_status status = path == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", directory)
                                      : dure_safetensors_open(path, &all->files[i]);
    free(path);
    DURE_TRY(status);
    all->file_count++;
  }
  return NULL;
}

// Takes `json`'s tensors with the suffix; *out_tensors is to be wrapped or freed.
static dure_status read_tensors(const char *directory, const char *suffix, const json_t *json, parts_file *all,
                                dure_safetensors_tensor **out_tensors) {
  json_t *tensors = json_object_get(json, "tensors");
  const size_t most = json_object_size(tensors);
  all->tensors = calloc(most + 1, sizeof(*all->tensors));
  *out_tensors = calloc(most + 1, sizeof(**out_tensors));
  if (all->tensors == NULL || *out_tensors == NULL)
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", directory);
  const char *name;
  json_t *value;
  json_object_foreach(tensors, name, value) {
    size_t length;
    if (!has_suffix(name, suffix, &length)) continue;
    if (length == 0 || strlen(name) >= name_size) return fail_corrupt(directory, name);
    stored_tensor *stored = &all->tensors[all->tensor_count];
    snprintf(stored->name, sizeof(stored->name), "%.*s", (int)length, name);
    all->tensor_count++;
    DURE_TRY(read_tensor(all, directory, name, value, stored, &(*out_tensors)[all->tensor_count - 1]));
  }
  if (all->tensor_count > 0) return NULL;
  return dure_fail(DURE_NOT_FOUND, "'%s/" INDEX "' has no tensor '*%s'", directory, suffix);
}

bool dure_checkpoint_parts_exist(const char *directory) {
  char *path = dure_os_path_join(directory, INDEX);
  const bool is_there = path != NULL && dure_os_is_file(path);
  free(path);
  return is_there;
}

static dure_status load_index(const char *directory, json_t **out_json) {
  const void *bytes = NULL;
  uint64_t size = 0;
  char *path = dure_os_path_join(directory, INDEX);
  if (path == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", directory);
  dure_status status = dure_os_map_file(path, &bytes, &size);
  json_error_t error;
  *out_json = status == NULL ? json_loadb(bytes, (size_t)size, JSON_REJECT_DUPLICATES, &error) : NULL;
  dure_os_unmap(bytes, size);
  if (status == NULL && *out_json == NULL)
    status = dure_fail(DURE_CORRUPT, "'%s' is not JSON: line %d: %s", path, error.line, error.text);
  free(path);
  DURE_TRY(status);
  const char *format = json_string_value(json_object_get(*out_json, "format"));
  const json_int_t version = json_integer_value(json_object_get(*out_json, "version"));
  if (format != NULL && strcmp(format, "dure-parts") == 0 &&
      (version == version_of_rows || version == version_of_columns))
    return NULL;
  json_decref(*out_json);
  *out_json = NULL;
  return dure_fail(DURE_CORRUPT, "'%s/" INDEX "' is not an index of parts that this build knows", directory);
}

dure_status dure_checkpoint_parts_open(const char *directory, const char *suffix, dure_safetensors **out_file) {
  *out_file = NULL;
  json_t *json;
  DURE_TRY(load_index(directory, &json));
  parts_file *all = calloc(1, sizeof(*all));
  dure_safetensors_tensor *tensors = NULL;
  dure_status status = all == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s'", directory)
                                   : open_files(directory, json_object_get(json, "files"), all);
  if (status == NULL) status = read_tensors(directory, suffix, json, all, &tensors);
  json_decref(json);
  if (status != NULL) {
    free(tensors);
    if (all != NULL) release(all);
    return status;
  }
  return dure_safetensors_wrap(directory, tensors, all->tensor_count, all, release, out_file);
}
