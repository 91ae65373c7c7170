#include "data/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

enum { BUFFER_SIZE = 1 << 20, PATH_SIZE = 4096 };

struct dure_output {
  FILE *file;
  bool is_aside;  // written to `aside`, renamed to `path` when complete
  char path[PATH_SIZE];
  char aside[PATH_SIZE + 32];
};

static bool exists_but_is_no_file(const char *path) {
  uint64_t size = 0;
  dure_status status = dure_os_file_size(path, &size);
  bool exists = status == NULL;
  dure_status_free(status);
  return exists && !dure_os_is_file(path);
}

dure_status dure_output_open(const char *path, dure_output **out_output) {
  *out_output = NULL;
  if (dure_os_is_directory(path)) return dure_fail(DURE_INVALID_ARGUMENT, "'%s' is a directory; name a file", path);
  if (strlen(path) >= PATH_SIZE) return dure_fail(DURE_INVALID_ARGUMENT, "path too long: '%s'", path);
  dure_output *output = calloc(1, sizeof(*output));
  if (output == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory opening '%s'", path);
  snprintf(output->path, sizeof(output->path), "%s", path);
  snprintf(output->aside, sizeof(output->aside), "%s.%llu.part", path, (unsigned long long)dure_os_process_id());
  if (strcmp(path, "-") == 0) {
    output->file = stdout;
  } else {
    output->is_aside = !exists_but_is_no_file(path);
    output->file = fopen(output->is_aside ? output->aside : path, "wb");
  }
  if (output->file == NULL) {
    dure_status status = dure_fail_errno("cannot create '%s'", output->is_aside ? output->aside : path);
    free(output);
    return status;
  }
  if (output->file != stdout) setvbuf(output->file, NULL, _IOFBF, BUFFER_SIZE);
  *out_output = output;
  return NULL;
}

dure_status dure_output_write(dure_output *output, const void *bytes, size_t size) {
  if (size == 0 || fwrite(bytes, 1, size, output->file) == size) return NULL;
  return dure_fail_errno("cannot write '%s'", output->path);
}

dure_status dure_output_close(dure_output *output, dure_status status) {
  if (output == NULL) return status;
  if (status == NULL && fflush(output->file) != 0) status = dure_fail_errno("cannot write '%s'", output->path);
  if (output->file != stdout && fclose(output->file) != 0 && status == NULL) {
    status = dure_fail_errno("cannot close '%s'", output->path);
  }
  if (output->is_aside) {
    if (status == NULL) status = dure_os_sync_file(output->aside);
    if (status == NULL) status = dure_os_rename(output->aside, output->path);
    if (status == NULL) {
      status = dure_os_sync_parent(output->path);
    } else {
      remove(output->aside);
    }
  }
  free(output);
  return status;
}
