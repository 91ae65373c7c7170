// What the program and its MPI plugin (libdure_mpi.so, built from runtime/mpi/) agree on.
//
// One entry point, `dure_mpi_plugin_get`. The plugin is opened only where several processes were started and MPI is to
// carry their bytes, or their first words. It is a program's whole knowledge of MPI: the program itself needs none.
// Functions return 0, or an error of MPI that `describe` puts into words. Calls may come from several threads: the
// plugin makes them one at a time, and none of those used while training waits.
#ifndef DURE_RUNTIME_MPI_PLUGIN_H_
#define DURE_RUNTIME_MPI_PLUGIN_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DURE_MPI_PLUGIN_ABI = 1 };
#define DURE_MPI_PLUGIN_ENTRY "dure_mpi_plugin_get"

typedef struct dure_mpi_request dure_mpi_request;

typedef struct dure_mpi_plugin {
  uint32_t abi;         // DURE_MPI_PLUGIN_ABI; the first, for ever
  const char *version;  // of the program that it was built with
  const char *library;  // which MPI: "Open MPI v4.1.4, ..."
  int (*begin)(uint32_t *out_rank, uint32_t *out_size);
  void (*end)(void);                             // only when every rank comes to it
  int (*broadcast)(void *bytes, uint32_t size);  // from rank 0; waits
  // At most 2^30 bytes; the memory stays as it is until `test` says that it is done, which frees the request.
  int (*send)(uint32_t rank, uint32_t tag, const void *bytes, uint32_t size, dure_mpi_request **out_request);
  int (*receive)(uint32_t rank, uint32_t tag, void *bytes, uint32_t size, dure_mpi_request **out_request);
  int (*test)(dure_mpi_request *request, bool *out_is_done);
  void (*describe)(int error, char *out_text, size_t size);
} dure_mpi_plugin;

typedef const dure_mpi_plugin *(*dure_mpi_plugin_getter)(void);

#endif  // DURE_RUNTIME_MPI_PLUGIN_H_
