// The POSIX (Linux) side of os.h.
#define _GNU_SOURCE
#include "runtime/os.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// ---- time and machine ----

uint64_t dure_os_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int64_t dure_os_unix_seconds(void) { return (int64_t)time(NULL); }

// On Linux a priority is one thread's. A tenth of the weight of the others.
void dure_os_thread_step_back(void) { (void)setpriority(PRIO_PROCESS, 0, 10); }

uint32_t dure_os_core_count(void) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    int count = CPU_COUNT(&allowed);
    if (count > 0) return (uint32_t)count;
  }
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (uint32_t)online : 1;
}

// The number after `key` at the start of a line of a file (the first line for ""); `missing` where there is none.
static uint64_t number_in_file(const char *path, const char *key, uint64_t missing) {
  FILE *file = fopen(path, "r");
  if (file == NULL) return missing;
  char line[512];
  uint64_t value = missing;
  size_t key_length = strlen(key);
  while (fgets(line, sizeof(line), file) != NULL) {
    if (strncmp(line, key, key_length) != 0) continue;
    char *end = NULL;
    unsigned long long number = strtoull(line + key_length, &end, 10);
    if (end != line + key_length) value = number;
    break;
  }
  fclose(file);
  return value;
}

typedef struct memory_state {
  uint64_t total, available;  // bytes
} memory_state;

typedef struct group_files {
  const char *mark, *root, *limit, *usage, *cache;  // mark: what precedes the group's path in /proc/self/cgroup
} group_files;

// Control groups limit what containers and services may use, and nest: each one up to the root may limit.
static void apply_group_limits(const group_files *files, const char *group, memory_state *state) {
  char folder[1024], path[1100];
  size_t root_length = strlen(files->root);
  if (snprintf(folder, sizeof(folder), "%s%s", files->root, group) >= (int)sizeof(folder)) return;
  while (strlen(folder) >= root_length) {
    snprintf(path, sizeof(path), "%s/%s", folder, files->limit);
    uint64_t limit = number_in_file(path, "", UINT64_MAX);
    snprintf(path, sizeof(path), "%s/%s", folder, files->usage);
    uint64_t used = number_in_file(path, "", 0);
    snprintf(path, sizeof(path), "%s/memory.stat", folder);
    uint64_t cached = number_in_file(path, files->cache, 0);  // given up when memory is needed
    used = used > cached ? used - cached : 0;
    uint64_t left = limit > used ? limit - used : 0;
    if (limit < state->total) state->total = limit;
    if (left < state->available) state->available = left;
    char *slash = strrchr(folder, '/');
    *slash = '\0';
  }
}

static memory_state read_memory(void) {
  static const group_files versions[] = {
      {"0::", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "},
      {":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
  };
  memory_state state = {number_in_file("/proc/meminfo", "MemTotal:", 0) * 1024u,
                        number_in_file("/proc/meminfo", "MemAvailable:", 0) * 1024u};
  FILE *file = fopen("/proc/self/cgroup", "r");
  char line[512];
  while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
      const char *mark = strstr(line, versions[i].mark);
      if (mark != NULL) apply_group_limits(&versions[i], mark + strlen(versions[i].mark), &state);
    }
  }
  if (file != NULL) fclose(file);
  return state;
}

uint64_t dure_os_memory_total(void) { return read_memory().total; }
uint64_t dure_os_memory_available(void) { return read_memory().available; }
uint64_t dure_os_process_id(void) { return (uint64_t)getpid(); }

dure_status dure_os_random(void *out_bytes, size_t size) {
  memset(out_bytes, 0, size);
  for (size_t done = 0; done < size;) {
    const ssize_t got = getrandom((char *)out_bytes + done, size - done, 0);
    if (got < 0 && errno != EINTR) return dure_fail_errno("the system draws no random bytes");
    if (got > 0) done += (size_t)got;
  }
  return NULL;
}

void dure_os_sleep(uint64_t nanoseconds) {
  struct timespec left = {(time_t)(nanoseconds / 1000000000u), (long)(nanoseconds % 1000000000u)};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

uint32_t dure_os_open_files(uint32_t wanted) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 256;
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max > wanted ? wanted : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) != 0) return 256;
  }
  return limit.rlim_cur < UINT32_MAX ? (uint32_t)limit.rlim_cur : UINT32_MAX;
}

// ---- terminal and signals ----

bool dure_os_is_terminal(int descriptor) { return isatty(descriptor) == 1; }

uint32_t dure_os_terminal_columns(int descriptor) {
  struct winsize size;
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
  if (interrupted) _exit(128 + signal_number);
  interrupted = 1;
}

void dure_os_catch_interrupts(void) {
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

bool dure_os_interrupted(void) { return interrupted != 0; }

void dure_os_clear_interrupt(void) { interrupted = 0; }

void dure_os_occupy_standard_files(void) {
  int descriptor;
  do {
    descriptor = open("/dev/null", O_RDONLY);
  } while (descriptor >= 0 && descriptor <= 2);
  if (descriptor > 2) close(descriptor);
}

// ---- shared libraries ----

void *dure_os_library_open(const char *name) { return dlopen(name, RTLD_NOW | RTLD_LOCAL); }
const char *dure_os_library_error(void) {
  const char *reason = dlerror();
  return reason != NULL ? reason : "unknown reason";
}
void *dure_os_library_symbol(void *library, const char *name) { return dlsym(library, name); }
void dure_os_library_close(void *library) {
  if (library != NULL) dlclose(library);
}

// ---- files ----

bool dure_os_is_file(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool dure_os_is_directory(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool dure_os_is_link(const char *path) {
  struct stat info;
  return lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
}

bool dure_os_is_same_file(const char *a, const char *b) {
  struct stat first, second;
  return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

dure_status dure_os_file_size(const char *path, uint64_t *out_size) {
  *out_size = 0;
  struct stat info;
  if (stat(path, &info) != 0) return dure_fail_errno("cannot read the size of '%s'", path);
  *out_size = (uint64_t)info.st_size;
  return NULL;
}

dure_status dure_os_make_directories(const char *path) {
  char *partial = strdup(path);
  if (partial == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory making directory '%s'", path);
  dure_status status = NULL;
  for (char *cursor = partial + 1;; cursor++) {
    if (*cursor != '/' && *cursor != '\0') continue;
    char kept = *cursor;
    *cursor = '\0';
    if (mkdir(partial, 0777) != 0 && errno != EEXIST) {
      status = dure_fail_errno("cannot make directory '%s'", partial);
      break;
    }
    *cursor = kept;
    if (kept == '\0') break;
  }
  free(partial);
  if (status == NULL && !dure_os_is_directory(path)) {
    return dure_fail(DURE_IO, "'%s' exists and is not a directory; choose another path", path);
  }
  return status;
}

dure_status dure_os_remove_tree(const char *path) {
  struct stat info;
  if (lstat(path, &info) != 0) return errno == ENOENT ? NULL : dure_fail_errno("cannot remove '%s'", path);
  if (!S_ISDIR(info.st_mode)) return unlink(path) == 0 ? NULL : dure_fail_errno("cannot remove '%s'", path);
  char **names = NULL;
  size_t count = 0;
  DURE_TRY(dure_os_list(path, &names, &count));
  dure_status status = NULL;
  for (size_t i = 0; i < count && status == NULL; i++) {
    char *child = dure_os_path_join(path, names[i]);
    status =
        child == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory removing '%s'", path) : dure_os_remove_tree(child);
    free(child);
  }
  dure_os_names_free(names, count);
  if (status == NULL && rmdir(path) != 0) status = dure_fail_errno("cannot remove directory '%s'", path);
  return status;
}

dure_status dure_os_rename(const char *from, const char *to) {
  if (rename(from, to) != 0) return dure_fail_errno("cannot rename '%s' to '%s'", from, to);
  return NULL;
}

static dure_status sync_path(const char *path, int flags) {
  int descriptor = open(path, flags | O_CLOEXEC);
  if (descriptor < 0) return dure_fail_errno("cannot open '%s' to sync it", path);
  dure_status status = fsync(descriptor) == 0 ? NULL : dure_fail_errno("cannot sync '%s'", path);
  close(descriptor);
  return status;
}

dure_status dure_os_sync_file(const char *path) { return sync_path(path, O_RDONLY); }
dure_status dure_os_sync_directory(const char *path) { return sync_path(path, O_RDONLY | O_DIRECTORY); }

static char *parent_directory(const char *path) {
  const char *slash = strrchr(path, '/');
  if (slash == NULL) return strdup(".");
  return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

dure_status dure_os_sync_parent(const char *path) {
  char *parent = parent_directory(path);
  if (parent == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory syncing '%s'", path);
  dure_status status = dure_os_sync_directory(parent);
  free(parent);
  return status;
}

dure_status dure_os_link_replace(const char *target, const char *link_path) {
  char aside[4096];
  int length = snprintf(aside, sizeof(aside), "%s.%llu", link_path, (unsigned long long)dure_os_process_id());
  if (length < 0 || (size_t)length >= sizeof(aside))
    return dure_fail(DURE_INVALID_ARGUMENT, "path too long: '%s'", link_path);
  unlink(aside);
  if (symlink(target, aside) != 0) return dure_fail_errno("cannot make link '%s'", aside);
  DURE_TRY(dure_os_rename(aside, link_path));
  return dure_os_sync_parent(link_path);
}

dure_status dure_os_lock_directory(const char *path, int *out_lock) {
  *out_lock = -1;
  int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return dure_fail_errno("cannot open directory '%s'", path);
  if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
    *out_lock = descriptor;
    return NULL;
  }
  bool is_taken = errno == EWOULDBLOCK;
  close(descriptor);
  if (!is_taken) return NULL;
  return dure_fail(DURE_IO, "another process is writing to '%s'; wait until it ends, or choose another directory",
                   path);
}

void dure_os_unlock(int lock) {
  if (lock >= 0) close(lock);
}

dure_status dure_os_truncate(const char *path, uint64_t size) {
  if (truncate(path, (off_t)size) != 0)
    return dure_fail_errno("cannot cut '%s' to %llu bytes", path, (unsigned long long)size);
  return NULL;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

dure_status dure_os_list(const char *path, char ***out_names, size_t *out_count) {
  *out_names = NULL;
  *out_count = 0;
  DIR *directory = opendir(path);
  if (directory == NULL) return dure_fail_errno("cannot list directory '%s'", path);
  char **names = NULL;
  size_t count = 0, capacity = 0;
  dure_status status = NULL;
  struct dirent *entry;
  while ((entry = readdir(directory)) != NULL) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (count == capacity) {
      size_t grown = capacity == 0 ? 16 : capacity * 2;
      char **larger = realloc(names, grown * sizeof(*names));
      if (larger == NULL) break;
      names = larger;
      capacity = grown;
    }
    names[count] = strdup(entry->d_name);
    if (names[count] == NULL) break;
    count++;
  }
  if (entry != NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory listing '%s'", path);
  closedir(directory);
  if (status != NULL) {
    dure_os_names_free(names, count);
    return status;
  }
  if (count > 0) qsort(names, count, sizeof(*names), compare_names);
  *out_names = names;
  *out_count = count;
  return NULL;
}

void dure_os_names_free(char **names, size_t count) {
  for (size_t i = 0; i < count; i++) free(names[i]);
  free(names);
}

char *dure_os_path_join(const char *directory, const char *name) {
  size_t directory_length = strlen(directory);
  while (directory_length > 1 && directory[directory_length - 1] == '/') directory_length--;
  size_t size = directory_length + strlen(name) + 2;
  char *path = malloc(size);
  if (path == NULL) return NULL;
  if (directory_length == 0) {
    snprintf(path, size, "%s", name);
  } else {
    snprintf(path, size, "%.*s%s%s", (int)directory_length, directory,
             directory[directory_length - 1] == '/' ? "" : "/", name);
  }
  return path;
}

dure_status dure_os_executable_directory(char **out_path) {
  *out_path = NULL;
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
  if (length < 0) return dure_fail_errno("cannot find this program's own file");
  path[length] = '\0';
  *out_path = parent_directory(path);
  return *out_path == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory") : NULL;
}

dure_status dure_os_cache_directory(char **out_path) {
  *out_path = NULL;
  const char *base = getenv("XDG_CACHE_HOME");
  const char *home = getenv("HOME");
  char path[4096];
  if (base != NULL && base[0] == '/') {
    snprintf(path, sizeof(path), "%s/dure", base);
  } else if (home != NULL && home[0] == '/') {
    snprintf(path, sizeof(path), "%s/.cache/dure", home);
  } else {
    return dure_fail(DURE_NOT_FOUND, "no cache directory: neither XDG_CACHE_HOME nor HOME is set");
  }
  DURE_TRY(dure_os_make_directories(path));
  *out_path = strdup(path);
  return *out_path == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory") : NULL;
}

dure_status dure_os_read_file(const char *path, uint64_t size_limit, char **out_bytes, size_t *out_size) {
  *out_bytes = NULL;
  *out_size = 0;
  FILE *file = fopen(path, "rb");
  if (file == NULL) return dure_fail_errno("cannot open '%s'", path);
  char *bytes = NULL;
  size_t size = 0, capacity = 0;
  dure_status status = NULL;
  for (;;) {
    if (capacity - size < 4096 + 1) {
      size_t grown = capacity == 0 ? 65536 : capacity * 2;
      char *larger = realloc(bytes, grown);
      if (larger == NULL) {
        status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s' (%zu bytes so far)", path, size);
        break;
      }
      bytes = larger;
      capacity = grown;
    }
    size_t got = fread(bytes + size, 1, capacity - size - 1, file);
    size += got;
    if (size > size_limit) {
      status = dure_fail(DURE_CORRUPT, "'%s' is larger than the %llu bytes expected of such a file", path,
                         (unsigned long long)size_limit);
      break;
    }
    if (got == 0) {
      if (ferror(file)) status = dure_fail_errno("cannot read '%s'", path);
      break;
    }
  }
  fclose(file);
  if (status != NULL) {
    free(bytes);
    return status;
  }
  bytes[size] = '\0';
  *out_bytes = bytes;
  *out_size = size;
  return NULL;
}

static dure_status write_all(int descriptor, const char *path, const void *bytes, size_t size) {
  const char *cursor = bytes;
  while (size > 0) {
    ssize_t written = write(descriptor, cursor, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return dure_fail_errno("cannot write '%s'", path);
    cursor += written;
    size -= (size_t)written;
  }
  return NULL;
}

// A device or a pipe, "/dev/stdout" say: a file renamed over it would take its place.
static bool is_special_file(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

static dure_status write_special_file(const char *path, const void *bytes, size_t size) {
  int descriptor = open(path, O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) return dure_fail_errno("cannot open '%s'", path);
  dure_status status = write_all(descriptor, path, bytes, size);
  if (close(descriptor) != 0 && status == NULL) status = dure_fail_errno("cannot close '%s'", path);
  return status;
}

dure_status dure_os_write_file(const char *path, const void *bytes, size_t size) {
  if (is_special_file(path)) return write_special_file(path, bytes, size);
  char aside[4096];
  int length = snprintf(aside, sizeof(aside), "%s.%llu.part", path, (unsigned long long)dure_os_process_id());
  if (length < 0 || (size_t)length >= sizeof(aside))
    return dure_fail(DURE_INVALID_ARGUMENT, "path too long: '%s'", path);
  int descriptor = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) return dure_fail_errno("cannot create '%s'", aside);
  dure_status status = write_all(descriptor, aside, bytes, size);
  if (status == NULL && fsync(descriptor) != 0) status = dure_fail_errno("cannot sync '%s'", aside);
  if (close(descriptor) != 0 && status == NULL) status = dure_fail_errno("cannot close '%s'", aside);
  if (status == NULL) status = dure_os_rename(aside, path);
  if (status != NULL) {
    unlink(aside);
    return status;
  }
  return dure_os_sync_parent(path);
}

dure_status dure_os_map_file(const char *path, const void **out_bytes, uint64_t *out_size) {
  *out_bytes = NULL;
  *out_size = 0;
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return dure_fail_errno("cannot open '%s'", path);
  struct stat info;
  dure_status status = NULL;
  if (fstat(descriptor, &info) != 0) {
    status = dure_fail_errno("cannot read the size of '%s'", path);
  } else if (!S_ISREG(info.st_mode)) {
    status = dure_fail(DURE_IO, "'%s' is not a regular file", path);
  } else if (info.st_size > 0) {
    void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (bytes == MAP_FAILED) {
      status = dure_fail_errno("cannot map '%s'", path);
    } else {
      *out_bytes = bytes;
      *out_size = (uint64_t)info.st_size;
    }
  }
  close(descriptor);
  return status;
}

// Whole pages: those that the part touches, or only those that lie in it.
static void advise(const void *bytes, uint64_t size, bool is_outward, int advice) {
  const long found = sysconf(_SC_PAGESIZE);
  const uintptr_t page = found > 0 ? (uintptr_t)found : 4096, begin = (uintptr_t)bytes, end = begin + (uintptr_t)size;
  const uintptr_t first = (is_outward ? begin : begin + page - 1) / page * page;
  const uintptr_t last = (is_outward ? end + page - 1 : end) / page * page;
  if (first < last) (void)madvise((void *)first, (size_t)(last - first), advice);  // NOLINT(performance-no-int-to-ptr)
}

void dure_os_map_expect(const void *bytes, uint64_t size) { advise(bytes, size, true, MADV_WILLNEED); }

void dure_os_map_release(const void *bytes, uint64_t size) { advise(bytes, size, false, MADV_DONTNEED); }

void dure_os_unmap(const void *bytes, uint64_t size) {
  if (bytes != NULL) munmap((void *)(uintptr_t)bytes, (size_t)size);
}
