#define _GNU_SOURCE  // O_DIRECT
#include "runtime/bulk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Past the cache, addresses, offsets and sizes must be multiples of the disk's blocks, which are no larger than a page.
enum { buffer_bytes = 4 << 20, alignment = 4096 };

struct dure_bulk_file {
  char *path;
  int descriptor;
  uint8_t *buffer;  // [buffer_bytes]
  uint64_t held;    // bytes of it that are not written yet
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

static dure_status write_held(dure_bulk_file *file) {
  if (file->held % alignment != 0) set_direct(file, false);  // the end
  for (uint64_t done = 0; done < file->held;) {
    const ssize_t count = write(file->descriptor, file->buffer + done, (size_t)(file->held - done));
    if (count == 0) {  // some file systems in user space, when they are full
      return dure_fail(DURE_IO, "cannot write '%s': the file system takes no more", file->path);
    } else if (count > 0) {
      done += (uint64_t)count;
      if (done % alignment != 0) set_direct(file, false);
    } else if (errno != EINTR && !(errno == EINVAL && set_direct(file, false))) {
      return dure_fail_errno("cannot write '%s'", file->path);
    }
  }
  file->held = 0;
  return NULL;
}

dure_status dure_bulk_file_append(dure_bulk_file *file, const void *bytes, uint64_t size) {
  const uint8_t *from = bytes;
  while (size > 0) {
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
