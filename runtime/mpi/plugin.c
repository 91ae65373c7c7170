// MPI behind runtime/mpi_plugin.h: a mutex around every call, so that MPI needs no thread support beyond "serialized".
#include <mpi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/mpi_plugin.h"

struct dure_mpi_request {
  MPI_Request request;
};

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static int begin(uint32_t *out_rank, uint32_t *out_size) {
  int provided = MPI_THREAD_SINGLE, rank = 0, size = 1;
  int error = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided);
  if (error == MPI_SUCCESS && provided < MPI_THREAD_SERIALIZED) error = MPI_ERR_UNSUPPORTED_OPERATION;
  if (error == MPI_SUCCESS) error = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  if (error == MPI_SUCCESS) error = MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (error == MPI_SUCCESS) error = MPI_Comm_size(MPI_COMM_WORLD, &size);
  *out_rank = (uint32_t)rank;
  *out_size = (uint32_t)size;
  return error;
}

static void end(void) {
  pthread_mutex_lock(&one_at_a_time);
  MPI_Finalize();
  pthread_mutex_unlock(&one_at_a_time);
}

static int broadcast(void *bytes, uint32_t size) {
  pthread_mutex_lock(&one_at_a_time);
  const int error = MPI_Bcast(bytes, (int)size, MPI_BYTE, 0, MPI_COMM_WORLD);
  pthread_mutex_unlock(&one_at_a_time);
  return error;
}

static int send(uint32_t rank, uint32_t tag, const void *bytes, uint32_t size, dure_mpi_request **out_request) {
  *out_request = malloc(sizeof(**out_request));
  if (*out_request == NULL) return MPI_ERR_NO_MEM;
  pthread_mutex_lock(&one_at_a_time);
  const int error =
      MPI_Isend(bytes, (int)size, MPI_BYTE, (int)rank, (int)tag, MPI_COMM_WORLD, &(*out_request)->request);
  pthread_mutex_unlock(&one_at_a_time);
  return error;
}

static int receive(uint32_t rank, uint32_t tag, void *bytes, uint32_t size, dure_mpi_request **out_request) {
  *out_request = malloc(sizeof(**out_request));
  if (*out_request == NULL) return MPI_ERR_NO_MEM;
  pthread_mutex_lock(&one_at_a_time);
  const int error =
      MPI_Irecv(bytes, (int)size, MPI_BYTE, (int)rank, (int)tag, MPI_COMM_WORLD, &(*out_request)->request);
  pthread_mutex_unlock(&one_at_a_time);
  return error;
}

static int test(dure_mpi_request *request, bool *out_is_done) {
  int is_done = 0;
  pthread_mutex_lock(&one_at_a_time);
  const int error = MPI_Test(&request->request, &is_done, MPI_STATUS_IGNORE);
  pthread_mutex_unlock(&one_at_a_time);
  *out_is_done = error != MPI_SUCCESS || is_done != 0;
  if (*out_is_done) free(request);
  return error;
}

static void describe(int error, char *out_text, size_t size) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  if (MPI_Error_string(error, text, &length) != MPI_SUCCESS) text[0] = '\0';
  snprintf(out_text, size, "%s", text);
}

const dure_mpi_plugin *dure_mpi_plugin_get(void);

__attribute__((visibility("default"))) const dure_mpi_plugin *dure_mpi_plugin_get(void) {
  static char library[MPI_MAX_LIBRARY_VERSION_STRING];
  static dure_mpi_plugin plugin = {.abi = DURE_MPI_PLUGIN_ABI,
                                   .version = DURE_VERSION,
                                   .library = library,
                                   .begin = begin,
                                   .end = end,
                                   .broadcast = broadcast,
                                   .send = send,
                                   .receive = receive,
                                   .test = test,
                                   .describe = describe};
  int length = 0;
  if (MPI_Get_library_version(library, &length) != MPI_SUCCESS) library[0] = '\0';
  library[strcspn(library, "\n")] = '\0';
  return &plugin;
}
