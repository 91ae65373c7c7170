// Compressed files and archives, by libarchive: each entry is a stream of its own, read as it is decompressed.
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "data/bytes.h"
#include "data/decode.h"
#include "data/documents_internal.h"

typedef struct container {
  dure_reader *reader;
  dure_stream *outer;
  struct archive *archive;
  dure_status failed;  // of the outer stream, inside libarchive
  dure_stream entry_stream;
} container;

static la_ssize_t give_block(struct archive *archive, void *context, const void **out_block) {
  container *state = context;
  (void)archive;
  if (dure_stream_unread(state->outer) == 0) state->failed = dure_stream_fill(state->outer, 1);
  if (state->failed != NULL) return ARCHIVE_FATAL;
  size_t size = dure_stream_unread(state->outer);
  *out_block = size > 0 ? dure_stream_bytes(state->outer) : NULL;
  dure_stream_skip(state->outer, size);  // the bytes stay where they are until the stream is filled again
  return (la_ssize_t)size;
}

static dure_status fail_archive(container *state) {
  if (state->failed != NULL) {
    dure_status status = state->failed;
    state->failed = NULL;
    return status;
  }
  const char *reason = archive_error_string(state->archive);
  if (archive_errno(state->archive) == ENOMEM) {
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory decompressing '%s'", state->outer->path);
  }
  return dure_fail(DURE_CORRUPT, "cannot decompress '%s': %s", state->outer->path, reason != NULL ? reason : "damaged");
}

static dure_status read_entry_bytes(void *context, char *bytes, size_t size, size_t *out_got) {
  container *state = context;
  *out_got = 0;
  la_ssize_t got;
  do {
    got = archive_read_data(state->archive, bytes, size);
  } while (got == ARCHIVE_RETRY);
  if (got < 0) return fail_archive(state);
  *out_got = (size_t)got;
  return NULL;
}

static dure_status open_archive(container *state) {
  struct archive *archive = archive_read_new();
  if (archive == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory decompressing '%s'", state->outer->path);
  state->archive = archive;
  archive_read_support_filter_gzip(archive);
  archive_read_support_filter_zstd(archive);
  archive_read_support_filter_xz(archive);
  archive_read_support_filter_bzip2(archive);
  archive_read_support_filter_lz4(archive);
  archive_read_support_format_tar(archive);
  archive_read_support_format_zip_streamable(archive);
  archive_read_support_format_raw(archive);
  archive_read_support_format_empty(archive);
  return archive_read_open(archive, state, NULL, give_block, NULL) == ARCHIVE_OK ? NULL : fail_archive(state);
}

// The entry's path behind the archive's. Names that are not UTF-8 are Korean ones from Windows, as far as they can be.
static dure_status entry_path(const container *state, const char *outer_path, struct archive_entry *entry,
                              dure_bytes *out_path) {
  dure_bytes_clear(out_path);
  dure_bytes_append_text(out_path, outer_path);
  if (archive_format(state->archive) != ARCHIVE_FORMAT_RAW) {  // raw: a file that is compressed keeps its name
    const char *name = archive_entry_pathname(entry);
    if (name == NULL) name = "unnamed";
    dure_bytes_append(out_path, "/", 1);
    const dure_document document = {.format = DURE_FORMAT_TEXT, .bytes = name, .size = strlen(name)};
    if (dure_decode(&document, "CP949", true, out_path, NULL) == DURE_DECODED_NOT)
      dure_bytes_append_text(out_path, "?");
  }
  dure_bytes_append(out_path, "", 1);
  return dure_bytes_status(out_path);
}

static bool is_wanted(const container *state, struct archive_entry *entry, const char *path) {
  if (archive_format(state->archive) == ARCHIVE_FORMAT_RAW) return true;
  return archive_entry_filetype(entry) == AE_IFREG && dure_name_is_known(path);
}

static dure_status read_entries(container *state, int depth, dure_entry_function visit_entry, dure_bytes *path) {
  dure_reader *reader = state->reader;
  const char *outer_path = reader->path;
  for (;;) {
    struct archive_entry *entry = NULL;
    int result = archive_read_next_header(state->archive, &entry);
    if (result == ARCHIVE_EOF) return NULL;
    if (result == ARCHIVE_RETRY) continue;
    if (result < ARCHIVE_WARN) return fail_archive(state);
    DURE_TRY(entry_path(state, outer_path, entry, path));
    if (!is_wanted(state, entry, path->data)) {
      if (archive_entry_filetype(entry) == AE_IFREG) dure_reader_pass_file(reader);
      continue;
    }
    dure_stream_begin(&state->entry_stream, path->data, read_entry_bytes, state);
    reader->path = path->data;
    reader->stream = &state->entry_stream;
    dure_status status = visit_entry(reader, depth + 1);
    // An entry that is damaged ends an archive of one; others may follow.
    if (status != NULL && archive_format(state->archive) != ARCHIVE_FORMAT_RAW) {
      status = dure_reader_unreadable(reader, state->entry_stream.offset, status);
    }
    reader->path = outer_path;
    reader->stream = state->outer;
    DURE_TRY(status);
  }
}

dure_status dure_read_container(dure_reader *reader, int depth, dure_entry_function visit_entry) {
  container state = {.reader = reader, .outer = reader->stream};
  dure_bytes path = {0};
  // libarchive turns names that an archive marks as UTF-8 into the locale's encoding: for this thread, that is UTF-8.
  locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
  locale_t before = utf8 != (locale_t)0 ? uselocale(utf8) : (locale_t)0;
  dure_status status = open_archive(&state);
  if (status == NULL) status = read_entries(&state, depth, visit_entry, &path);
  if (state.archive != NULL) archive_read_free(state.archive);
  if (utf8 != (locale_t)0) {
    uselocale(before);
    freelocale(utf8);
  }
  dure_status_free(state.failed);
  dure_stream_free(&state.entry_stream);
  dure_bytes_free(&path);
  return status;
}
