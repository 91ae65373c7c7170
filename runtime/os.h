// Everything Dure asks of the operating system, so that another one needs only another os_*.c.
#ifndef DURE_RUNTIME_OS_H_
#define DURE_RUNTIME_OS_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

// ---- time and machine ----
uint64_t dure_os_nanoseconds(void);       // monotonic clock
int64_t dure_os_unix_seconds(void);       // wall clock
uint32_t dure_os_core_count(void);        // logical cores this process may use, at least 1
uint64_t dure_os_memory_total(void);      // bytes of physical memory, or of the container's limit
uint64_t dure_os_memory_available(void);  // of those, what can be taken without swapping (Linux: MemAvailable)
uint64_t dure_os_process_id(void);
// Bytes that nobody can guess, from the system's generator.
DURE_MUST_CHECK dure_status dure_os_random(void *out_bytes, size_t size);
void dure_os_sleep(uint64_t nanoseconds);
// Lets this process have so many files open at once, or as many as the system allows; returns how many.
uint32_t dure_os_open_files(uint32_t wanted);

// ---- terminal and signals ----
bool dure_os_is_terminal(int descriptor);           // 0, 1 or 2
uint32_t dure_os_terminal_columns(int descriptor);  // 80 where unknown
// After this, the first interrupt (Ctrl-C) or termination request sets a flag, the second ends the process.
void dure_os_catch_interrupts(void);
bool dure_os_interrupted(void);
void dure_os_clear_interrupt(void);  // it has been answered: the next one is a first one again
// Standard files that the caller has closed are opened on nothing, or the next file opened would take their place and
// be written what is printed. Writing to one still fails.
void dure_os_occupy_standard_files(void);

// ---- shared libraries ----
// NULL when the library cannot be opened. The handle is never closed by most callers: drivers dislike it.
void *dure_os_library_open(const char *name);
const char *dure_os_library_error(void);  // why the last library could not be opened; until the next call
void *dure_os_library_symbol(void *library, const char *name);
void dure_os_library_close(void *library);

// The calling thread works beside others that matter more: it gets the time that they leave, and a little besides.
void dure_os_thread_step_back(void);

// ---- files ----
// Paths are UTF-8. `out_path` results are owned by the caller and released with free().
bool dure_os_is_file(const char *path);
bool dure_os_is_directory(const char *path);
bool dure_os_is_link(const char *path);                   // a symbolic link, whatever it points to
bool dure_os_is_same_file(const char *a, const char *b);  // both exist and are one file, by any name
DURE_MUST_CHECK dure_status dure_os_file_size(const char *path, uint64_t *out_size);
DURE_MUST_CHECK dure_status dure_os_make_directories(const char *path);  // with parents; fine if it exists
DURE_MUST_CHECK dure_status dure_os_remove_tree(const char *path);  // fine if it does not exist; never follows links
DURE_MUST_CHECK dure_status dure_os_rename(const char *from, const char *to);  // atomic within one file system
DURE_MUST_CHECK dure_status dure_os_sync_file(const char *path);               // fsync of the file's contents
DURE_MUST_CHECK dure_status dure_os_sync_directory(const char *path);          // fsync of its entries
DURE_MUST_CHECK dure_status dure_os_sync_parent(const char *path);             // of the directory that this path is in
// Makes `link_path` a symbolic link to `target` (relative), replacing an old link atomically.
DURE_MUST_CHECK dure_status dure_os_link_replace(const char *target, const char *link_path);
// Takes an existing directory for this process until dure_os_unlock or the process's end; fails when another has it.
// `out_lock` is -1 where the file system knows no locks.
DURE_MUST_CHECK dure_status dure_os_lock_directory(const char *path, int *out_lock);
void dure_os_unlock(int lock);  // -1 is fine
DURE_MUST_CHECK dure_status dure_os_truncate(const char *path, uint64_t size);
// Names in a directory except "." and "..", sorted by bytes. Release with dure_os_names_free.
DURE_MUST_CHECK dure_status dure_os_list(const char *path, char ***out_names, size_t *out_count);
void dure_os_names_free(char **names, size_t count);
char *dure_os_path_join(const char *directory, const char *name);           // NULL when out of memory
DURE_MUST_CHECK dure_status dure_os_executable_directory(char **out_path);  // where this program's file lies
DURE_MUST_CHECK dure_status
dure_os_cache_directory(char **out_path);  // per user, created: $XDG_CACHE_HOME/dure or ~/.cache/dure

// Whole file into memory, with a NUL after the last byte; fails beyond `size_limit`.
DURE_MUST_CHECK dure_status dure_os_read_file(const char *path, uint64_t size_limit, char **out_bytes,
                                              size_t *out_size);
// Writes beside `path`, syncs, renames over it and syncs the directory: readers see the old file or the new, never
// half.
DURE_MUST_CHECK dure_status dure_os_write_file(const char *path, const void *bytes, size_t size);

// A file's bytes in the address space, read-only, until dure_os_unmap. An empty file gives NULL and 0.
DURE_MUST_CHECK dure_status dure_os_map_file(const char *path, const void **out_bytes, uint64_t *out_size);
void dure_os_unmap(const void *bytes, uint64_t size);
// Hints for any part of a mapped file: it is wanted soon, so the disk may begin; it is not wanted for now, so it need
// not count as this process's memory (what is read again comes from the file again).
void dure_os_map_expect(const void *bytes, uint64_t size);
void dure_os_map_release(const void *bytes, uint64_t size);

#endif  // DURE_RUNTIME_OS_H_
