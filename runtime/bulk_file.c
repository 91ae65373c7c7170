#define _GNU_SOURCE  // O_DIRECT
#include "runtime/bulk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Past the cache, addresses, offsets and sizes must be multiples of the disk's blocks, which are no larger than a page.
enum { buffer_bytes = 4 << 20, direct_least = 1 << 20, alignment = DURE_BULK_FILE_BLOCK };

struct dure_bulk_file {
  char *path;
  int descriptor;
  uint8_t *buffer;  // [buffer_bytes]
  uint64_t held;    // bytes of it that are not written yet
  bool copies_all;  // the system cannot write from where the caller's bytes lie
};

dure_status dure_bulk_file_create(const char *path, dure_bulk_file **out_file) {
  *out_file = NULL;
  dure_bulk_file *file = calloc(1, sizeof(*file));
  void *buffer = NULL;
  if (file == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  file->descriptor = -1;
  file->path = strdup(path);
  if (file->path == NULL || posix_memalign(&buffer, alignment, buffer_bytes) != 0) {
    dure_bulk_file_destroy(file);
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", path);
  }
  file->buffer = buffer;
  file->descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file->descriptor < 0) {
    dure_status status = dure_fail_errno("cannot create '%s'", path);
    dure_bulk_file_destroy(file);
    return status;
  }
  *out_file = file;
  return NULL;
}

static bool set_direct(dure_bulk_file *file, bool is_direct) {
  const int flags = fcntl(file->descriptor, F_GETFL);
  if (flags < 0 || ((flags & O_DIRECT) != 0) == is_direct) return false;
  return fcntl(file->descriptor, F_SETFL, is_direct ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

// A file system that knows no such thing refuses here, or at the first write.
void dure_bulk_file_bypass_cache(dure_bulk_file *file) { set_direct(file, true); }

// Fewer than `size` are written where the system cannot reach them: a driver's memory, perhaps.
static dure_status write_bytes(dure_bulk_file *file, const uint8_t *bytes, uint64_t size, uint64_t *out_done) {
  *out_done = 0;
  if (size % alignment != 0) set_direct(file, false);  // the end
  while (*out_done < size) {
    const ssize_t count = write(file->descriptor, bytes + *out_done, (size_t)(size - *out_done));
    if (count == 0) {  // some file systems in user space, when they are full
      return dure_fail(DURE_IO, "cannot write '%s': the file system takes no more", file->path);
    } else if (count > 0) {
      *out_done += (uint64_t)count;
      if (*out_done % alignment != 0) set_direct(file, false);
    } else if (errno == EFAULT && bytes != file->buffer) {
      file->copies_all = true;
      return NULL;
    } else if (errno != EINTR && !(errno == EINVAL && set_direct(file, false))) {
      return dure_fail_errno("cannot write '%s'", file->path);
    }
  }
  return NULL;
}

static dure_status write_held(dure_bulk_file *file) {
  const uint64_t size = file->held;
  uint64_t done;
  file->held = 0;
  return write_bytes(file, file->buffer, size, &done);
}

dure_status dure_bulk_file_append(dure_bulk_file *file, const void *bytes, uint64_t size) {
  const uint8_t *from = bytes;
  while (size > 0) {
    if (!file->copies_all && size >= direct_least && (uintptr_t)from % alignment == 0 && file->held % alignment == 0) {
      uint64_t done;
      DURE_TRY(write_held(file));
      DURE_TRY(write_bytes(file, from, size / alignment * alignment, &done));
      from += done;
      size -= done;
      continue;
    }
    const uint64_t room = buffer_bytes - file->held, now = size < room ? size : room;
    memcpy(file->buffer + file->held, from, (size_t)now);
    file->held += now;
    from += now;
    size -= now;
    if (file->held == buffer_bytes) DURE_TRY(write_held(file));
  }
  return NULL;
}

dure_status dure_bulk_file_finish(dure_bulk_file *file) {
  DURE_TRY(write_held(file));
  const int descriptor = file->descriptor;
  if (fsync(descriptor) != 0) return dure_fail_errno("cannot sync '%s'", file->path);
  file->descriptor = -1;
  return close(descriptor) == 0 ? NULL : dure_fail_errno("cannot close '%s'", file->path);
}

void dure_bulk_file_destroy(dure_bulk_file *file) {
  if (file == NULL) return;
  if (file->descriptor >= 0) close(file->descriptor);
  free(file->buffer);
  free(file->path);
  free(file);
}
