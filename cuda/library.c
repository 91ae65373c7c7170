#define _GNU_SOURCE  // dladdr
#include "cuda/library.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

// The directory that this plugin lies in with a slash, "" where that cannot be told.
static void find_own_folder(char *out_path, size_t size) {
  Dl_info info;
  static const char here;
  out_path[0] = '\0';
  if (dladdr(&here, &info) == 0 || info.dli_fname == NULL) return;
  snprintf(out_path, size, "%s", info.dli_fname);
  char *slash = strrchr(out_path, '/');
  if (slash != NULL) slash[1] = '\0';
  if (slash == NULL) out_path[0] = '\0';
}

static void *open_matching(const char *pattern) {
  glob_t found;
  void *library = NULL;
  if (glob(pattern, 0, NULL, &found) != 0) return NULL;
  for (size_t i = 0; i < found.gl_pathc && library == NULL; i++) library = dure_os_library_open(found.gl_pathv[i]);
  globfree(&found);
  return library;
}

// `pattern` with `prefix` in the place of its %s; false where that is too long.
static bool fill_in(const char *pattern, const char *prefix, char *out_path, size_t size) {
  const char *place = strstr(pattern, "%s");
  if (place == NULL) return false;
  const int length = snprintf(out_path, size, "%.*s%s%s", (int)(place - pattern), pattern, prefix, place + 2);
  return length > 0 && (size_t)length < size;
}

void *cuda_library_open(const char *variable, const char *const *names, const char *const *patterns) {
  const char *path = getenv(variable);
  if (path != NULL && path[0] != '\0') return dure_os_library_open(path);
  char folder[1024], beside[1536];
  void *library = NULL;
  find_own_folder(folder, sizeof(folder));
  for (size_t i = 0; names[i] != NULL && library == NULL; i++) {
    library = dure_os_library_open(names[i]);
    snprintf(beside, sizeof(beside), "%s%s", folder, names[i]);
    if (library == NULL && folder[0] != '\0') library = dure_os_library_open(beside);
  }
  const char *const prefixes[] = {getenv("VIRTUAL_ENV"), getenv("CONDA_PREFIX"), "/usr/local", "/usr"};
  for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]) && library == NULL; i++) {
    for (size_t j = 0; prefixes[i] != NULL && patterns[j] != NULL && library == NULL; j++) {
      char pattern[1536];
      if (fill_in(patterns[j], prefixes[i], pattern, sizeof(pattern))) library = open_matching(pattern);
    }
  }
  return library;
}
