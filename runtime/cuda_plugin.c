// The CUDA backend as the program sees it: finds the plugin, checks that it is of this build, and passes calls on.
#include "runtime/cuda_plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

static const char file_name[] = "libdure_cuda.so";

// ---- agreement ----

static dure_status disagree(const char *path, const char *what, uint64_t theirs, uint64_t ours) {
  return dure_fail(
      DURE_UNSUPPORTED,
      "the CUDA plugin '%s' is of another build of Dure: its %s is %llu, this program's %llu; rebuild both "
      "together (cmake --build)",
      path, what, (unsigned long long)theirs, (unsigned long long)ours);
}

static dure_status check_layout(const char *path, const dure_cuda_plugin *plugin) {
  const dure_cuda_layout ours = dure_cuda_layout_here(), *theirs = &plugin->layout;
  const struct {
    const char *what;
    uint64_t theirs, ours;
  } rows[] = {
      {"plugin interface's version", theirs->abi, ours.abi},
      {"plugin layout's size", theirs->layout_bytes, ours.layout_bytes},
      {"number of ops", theirs->op_count, ours.op_count},
      {"table of ops (as a hash)", theirs->op_names, ours.op_names},
      {"dure_device_vtable's size", theirs->vtable_bytes, ours.vtable_bytes},
      {"dure_device's size", theirs->device_bytes, ours.device_bytes},
      {"dure_device_info's size", theirs->info_bytes, ours.info_bytes},
      {"dure_buffer's size", theirs->buffer_bytes, ours.buffer_bytes},
      {"dure_recording's size", theirs->recording_bytes, ours.recording_bytes},
      {"dure_binding's size", theirs->binding_bytes, ours.binding_bytes},
      {"dure_backend_op's size", theirs->backend_op_bytes, ours.backend_op_bytes},
      {"dure_operand's size", theirs->operand_bytes, ours.operand_bytes},
      {"dure_op_call's size", theirs->call_bytes, ours.call_bytes},
  };
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    // An interface of another version may lay out everything after its number differently.
    if (rows[i].theirs != rows[i].ours) return disagree(path, rows[i].what, rows[i].theirs, rows[i].ours);
  }
  return NULL;
}

// ---- finding ----

static const dure_cuda_plugin *opened;  // kept open: the CUDA runtime in it cannot be unloaded
static char *opened_path;

static void pass_log(void *context, dure_log_level level, const char *message) {
  (void)context;
  dure_log(level, "%s", message);
}
static const dure_cuda_host host = {.log = pass_log, .log_enabled = dure_log_enabled};

static dure_status open_plugin(const char *path) {
  if (opened != NULL && strcmp(path, opened_path) == 0) return NULL;
  void *library = dure_os_library_open(path);
  if (library == NULL) {
    const char *reason = dure_os_library_error();
    return dure_fail(DURE_UNSUPPORTED, "the CUDA plugin '%s' cannot be opened: %s", path, reason);
  }
  void *symbol = dure_os_library_symbol(library, DURE_CUDA_PLUGIN_ENTRY);
  if (symbol == NULL) {
    dure_os_library_close(library);
    return dure_fail(DURE_UNSUPPORTED, "'%s' is no CUDA plugin of Dure: it has no entry point %s", path,
                     DURE_CUDA_PLUGIN_ENTRY);
  }
  dure_cuda_plugin_getter get = NULL;
  memcpy(&get, &symbol, sizeof(get));  // C has no conversion between pointers to objects and to functions
  const dure_cuda_plugin *plugin = get();
  dure_status status = check_layout(path, plugin);
  char *kept_path = status == NULL ? strdup(path) : NULL;
  if (status == NULL && kept_path == NULL) status = dure_fail(DURE_OUT_OF_MEMORY, "no host memory for the CUDA plugin");
  if (status != NULL) {
    dure_os_library_close(library);
    return status;
  }
  plugin->attach(&host);
  free(opened_path);
  opened = plugin;
  opened_path = kept_path;
  return NULL;
}

// Beside the program as it is built, or where it is installed.
static dure_status search_plugin(void) {
  static const char *const folders[] = {"", "../lib/dure/"};
  char *directory = NULL, path[4096];
  DURE_TRY(dure_os_executable_directory(&directory));
  for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
    const int length = snprintf(path, sizeof(path), "%s/%s%s", directory, folders[i], file_name);
    if (length < 0 || (size_t)length >= sizeof(path) || !dure_os_is_file(path)) continue;
    free(directory);
    return open_plugin(path);
  }
  dure_status status = dure_fail(
      DURE_NOT_FOUND,
      "no CUDA: there is no %s in %s or its ../lib/dure. It is built with the program where CUDA's compiler nvcc is "
      "found (13.0 or newer; scripts/install.sh fetches one); DURE_CUDA_PLUGIN names one that lies elsewhere",
      file_name, directory);
  free(directory);
  return status;
}

static dure_status find_plugin(void) {
  const char *off = getenv("DURE_CUDA_OFF");
  if (off != NULL && off[0] != '\0' && strcmp(off, "0") != 0)
    return dure_fail(DURE_NOT_FOUND, "CUDA is turned off by DURE_CUDA_OFF");
  const char *path = getenv("DURE_CUDA_PLUGIN");
  if (path == NULL || path[0] == '\0') return search_plugin();
  return dure_status_prefix(open_plugin(path), "DURE_CUDA_PLUGIN");
}

// ---- the backend ----

// What is missing is a note, not a failure: the other devices are there all the same.
static dure_status backend_list(dure_device_info **infos, size_t *count, char **out_note) {
  *out_note = NULL;
  dure_status status = find_plugin();
  if (status == NULL) return opened->backend.list(infos, count, out_note);
  if (dure_status_code(status) == DURE_OUT_OF_MEMORY) return status;
  *out_note = strdup(dure_status_message(status));
  dure_status_free(status);
  return NULL;
}

static dure_status backend_open(uint32_t index, dure_device **out_device) {
  *out_device = NULL;
  DURE_TRY(find_plugin());
  return opened->backend.open(index, out_device);
}

const dure_backend dure_backend_cuda = {.name = "cuda", .list = backend_list, .open = backend_open};
