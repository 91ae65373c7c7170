#include "data/resumable.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

enum { BUFFER_SIZE = 1 << 20, PATH_SIZE = 4096, JOURNAL_LIMIT = 1 << 20 };

typedef struct part {
  FILE *file;  // NULL when there is none
  bool is_aside;
  uint64_t size;
  char path[PATH_SIZE];
  char aside[PATH_SIZE + 16];
} part;

struct dure_resumable {
  part parts[DURE_RESUMABLE_FILES];
  char journal[PATH_SIZE + 16];
  uint64_t fingerprint;
  bool is_committed;
};

static bool exists_but_is_no_file(const char *path) {
  uint64_t size = 0;
  dure_status status = dure_os_file_size(path, &size);
  bool exists = status == NULL;
  dure_status_free(status);
  return exists && !dure_os_is_file(path);
}

static dure_status name_part(part *one, const char *path) {
  if (dure_os_is_directory(path)) return dure_fail(DURE_INVALID_ARGUMENT, "'%s' is a directory; name a file", path);
  if (strlen(path) >= PATH_SIZE) return dure_fail(DURE_INVALID_ARGUMENT, "path too long: '%s'", path);
  snprintf(one->path, sizeof(one->path), "%s", path);
  snprintf(one->aside, sizeof(one->aside), "%s.part", path);
  one->is_aside = strcmp(path, "-") != 0 && !exists_but_is_no_file(path);
  return NULL;
}

// ---- the journal ----

static bool has_size(const char *path, uint64_t least) {
  uint64_t size = 0;
  dure_status status = dure_os_file_size(path, &size);
  bool exists = status == NULL;
  dure_status_free(status);
  return exists && size >= least;
}

// The state of the last commit, if it belongs to this run and the files are there. Sets the sizes to cut them to.
static json_t *read_journal(dure_resumable *files) {
  char *text = NULL;
  size_t size = 0;
  dure_status status = dure_os_read_file(files->journal, JOURNAL_LIMIT, &text, &size);
  json_t *root = status == NULL ? json_loadb(text, size, 0, NULL) : NULL;
  dure_status_free(status);
  free(text);
  const char *fingerprint = json_string_value(json_object_get(root, "fingerprint"));
  char expected[24];
  snprintf(expected, sizeof(expected), "%016" PRIx64, files->fingerprint);
  bool is_ours = fingerprint != NULL && strcmp(fingerprint, expected) == 0;
  json_t *state = json_object_get(root, "state");
  for (size_t i = 0; i < DURE_RESUMABLE_FILES && is_ours; i++) {
    part *one = &files->parts[i];
    json_int_t length = json_integer_value(json_array_get(json_object_get(root, "sizes"), i));
    one->size = length > 0 ? (uint64_t)length : 0;
    is_ours = one->path[0] == '\0' || !one->is_aside || has_size(one->aside, one->size);
  }
  state = is_ours ? json_incref(state) : NULL;
  json_decref(root);
  if (state != NULL) return state;
  for (size_t i = 0; i < DURE_RESUMABLE_FILES; i++) files->parts[i].size = 0;
  return NULL;
}

static dure_status open_part(part *one, bool is_resumed) {
  if (one->path[0] == '\0') return NULL;
  if (strcmp(one->path, "-") == 0) {
    one->file = stdout;
    return NULL;
  }
  if (is_resumed && one->is_aside) DURE_TRY(dure_os_truncate(one->aside, one->size));
  const char *path = one->is_aside ? one->aside : one->path;
  errno = 0;
  one->file = fopen(path, is_resumed && one->is_aside ? "ab" : "wb");
  if (one->file == NULL) return dure_fail_errno("cannot create '%s'", path);
  setvbuf(one->file, NULL, _IOFBF, BUFFER_SIZE);
  return NULL;
}

dure_status dure_resumable_open(const char *const paths[DURE_RESUMABLE_FILES], uint64_t fingerprint,
                                dure_resumable **out_files, json_t **out_state) {
  *out_files = NULL;
  *out_state = NULL;
  dure_resumable *files = calloc(1, sizeof(*files));
  if (files == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", paths[0]);
  files->fingerprint = fingerprint;
  dure_status status = NULL;
  for (size_t i = 0; i < DURE_RESUMABLE_FILES && status == NULL; i++) {
    if (paths[i] != NULL) status = name_part(&files->parts[i], paths[i]);
  }
  snprintf(files->journal, sizeof(files->journal), "%.4090s.part.json", files->parts[0].path);
  if (status == NULL && files->parts[0].is_aside) *out_state = read_journal(files);
  files->is_committed = *out_state != NULL;
  for (size_t i = 0; i < DURE_RESUMABLE_FILES && status == NULL; i++) {
    status = open_part(&files->parts[i], *out_state != NULL);
  }
  if (status != NULL) {
    json_decref(*out_state);
    *out_state = NULL;
    return dure_resumable_close(files, status);
  }
  *out_files = files;
  return NULL;
}

dure_status dure_resumable_write(dure_resumable *files, size_t file, const void *bytes, size_t size) {
  part *one = &files->parts[file];
  if (size == 0) return NULL;
  errno = 0;
  if (fwrite(bytes, 1, size, one->file) != size) return dure_fail_errno("cannot write '%s'", one->path);
  one->size += size;
  return NULL;
}

static dure_status flush_part(part *one) {
  errno = 0;
  if (one->file != NULL && fflush(one->file) != 0) return dure_fail_errno("cannot write '%s'", one->path);
  return NULL;
}

dure_status dure_resumable_commit(dure_resumable *files, const json_t *state) {
  if (!files->parts[0].is_aside) return NULL;
  json_t *sizes = json_array();
  for (size_t i = 0; i < DURE_RESUMABLE_FILES; i++) {
    part *one = &files->parts[i];
    DURE_TRY(flush_part(one));
    if (one->file != NULL && one->is_aside) DURE_TRY(dure_os_sync_file(one->aside));
    json_array_append_new(sizes, json_integer((json_int_t)one->size));
  }
  char fingerprint[24];
  snprintf(fingerprint, sizeof(fingerprint), "%016" PRIx64, files->fingerprint);
  json_t *root = json_pack("{s:s, s:o, s:O}", "fingerprint", fingerprint, "sizes", sizes, "state", state);
  char *text = json_dumps(root, JSON_INDENT(1));
  json_decref(root);
  if (text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", files->journal);
  dure_status status = dure_os_write_file(files->journal, text, strlen(text));
  free(text);
  files->is_committed = files->is_committed || status == NULL;
  return status;
}

static dure_status complete_part(part *one) {
  dure_status status = flush_part(one);
  if (one->file != NULL && one->file != stdout && fclose(one->file) != 0 && status == NULL) {
    status = dure_fail_errno("cannot close '%s'", one->path);
  }
  one->file = NULL;
  if (status == NULL && one->path[0] != '\0' && one->is_aside) status = dure_os_sync_file(one->aside);
  return status;
}

dure_status dure_resumable_close(dure_resumable *files, dure_status status) {
  if (files == NULL) return status;
  for (size_t i = 0; i < DURE_RESUMABLE_FILES; i++) {
    dure_status completed = complete_part(&files->parts[i]);
    status = dure_status_join(status, completed);
  }
  for (size_t i = DURE_RESUMABLE_FILES; i-- > 0;) {  // the first file last: with it, everything is there
    part *one = &files->parts[i];
    if (one->path[0] == '\0' || !one->is_aside) continue;
    if (status == NULL) status = dure_os_rename(one->aside, one->path);
    if (status != NULL && !files->is_committed) remove(one->aside);
  }
  if (status == NULL && files->parts[0].is_aside) {
    remove(files->journal);
    status = dure_os_sync_parent(files->parts[0].path);
  }
  free(files);
  return status;
}
