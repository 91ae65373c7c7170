// Bytes between ranks over MPI, through its plugin: sends and receives that are asked about until they are done.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/mpi_plugin.h"
#include "runtime/os.h"
#include "runtime/world/internal.h"

enum { piece_bytes = 1 << 30 };                // of one message
static const uint64_t shortest_sleep = 20000;  // nanoseconds between questions
static const uint64_t longest_sleep = 500000;
static const uint64_t left_nanoseconds = UINT64_C(3) * 1000000000;  // for what a rank sent before it left to arrive

struct dure_mpi {
  const dure_mpi_plugin *plugin;
  uint32_t rank;
};

typedef struct mpi_transport {
  dure_transport head;
  dure_mpi *mpi;
  dure_control *control;
} mpi_transport;

typedef struct mpi_channel {
  dure_channel head;
  uint32_t number;
} mpi_channel;

static dure_status fail_mpi(const dure_mpi *mpi, int error, const char *what) {
  char text[512] = "";
  mpi->plugin->describe(error, text, sizeof(text));
  return dure_fail(DURE_IO, "MPI fails %s: %s", what, text);
}

// ---- the plugin --------------------------------------------------------------------------------------------------

static dure_status find_entry(const char *path, const dure_mpi_plugin **out_plugin) {
  *out_plugin = NULL;
  void *library = dure_os_library_open(path);
  if (library == NULL)
    return dure_fail(DURE_UNSUPPORTED, "the MPI plugin '%s' cannot be opened: %s", path, dure_os_library_error());
  void *symbol = dure_os_library_symbol(library, DURE_MPI_PLUGIN_ENTRY);
  if (symbol == NULL) return dure_fail(DURE_UNSUPPORTED, "'%s' is no MPI plugin of Dure", path);
  dure_mpi_plugin_getter get = NULL;
  memcpy(&get, &symbol, sizeof(get));  // C has no conversion between pointers to objects and to functions
  const dure_mpi_plugin *plugin = get();
  if (plugin->abi != DURE_MPI_PLUGIN_ABI)
    return dure_fail(DURE_UNSUPPORTED, "the MPI plugin '%s' is of another build of Dure: its interface is %u, not %d",
                     path, plugin->abi, DURE_MPI_PLUGIN_ABI);
  *out_plugin = plugin;
  return NULL;
}

// Beside the program as it is built, or where it is installed.
static dure_status find_plugin(const dure_mpi_plugin **out_plugin) {
  static const char *const folders[] = {"", "../lib/dure/", "../"};
  const char *given = getenv("DURE_MPI_PLUGIN");
  if (given != NULL && given[0] != '\0') return find_entry(given, out_plugin);
  char *directory = NULL, path[4096];
  *out_plugin = NULL;
  DURE_TRY(dure_os_executable_directory(&directory));
  for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
    const int length = snprintf(path, sizeof(path), "%s/%slibdure_mpi.so", directory, folders[i]);
    if (length < 0 || (size_t)length >= sizeof(path) || !dure_os_is_file(path)) continue;
    free(directory);
    return find_entry(path, out_plugin);
  }
  dure_status status = dure_fail(
      DURE_UNSUPPORTED,
      "MPI started this process as one of several, but there is no libdure_mpi.so in %s or its ../lib/dure: install an "
      "MPI (Debian: libopenmpi-dev) and build again, or start the ranks with 'dure launch', which needs none",
      directory);
  free(directory);
  return status;
}

dure_status dure_mpi_open(dure_mpi **out_mpi, uint32_t *out_rank, uint32_t *out_size) {
  *out_mpi = NULL;
  const dure_mpi_plugin *plugin = NULL;
  DURE_TRY(find_plugin(&plugin));
  dure_mpi *mpi = malloc(sizeof(*mpi));
  if (mpi == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for MPI");
  mpi->plugin = plugin;
  const int error = plugin->begin(out_rank, out_size);
  mpi->rank = *out_rank;
  if (error != 0) {
    dure_status status = fail_mpi(mpi, error, "to start");
    free(mpi);
    return status;
  }
  *out_mpi = mpi;
  return NULL;
}

dure_status dure_mpi_tell(dure_mpi *mpi, void *bytes, size_t size) {
  const int error = mpi->plugin->broadcast(bytes, (uint32_t)size);
  return error == 0 ? NULL : fail_mpi(mpi, error, "to tell rank 0's address");
}

void dure_mpi_close(dure_mpi *mpi, bool is_failed) {
  if (mpi == NULL) return;
  // With a rank missing its end never comes; the process's own end does, and mpirun sees to the rest.
  if (!is_failed) mpi->plugin->end();
  free(mpi);
}

// ---- the transport -----------------------------------------------------------------------------------------------

static dure_status open_channel(dure_transport *transport, uint32_t number, dure_channel **out_channel) {
  mpi_channel *channel = calloc(1, sizeof(*channel));
  *out_channel = channel != NULL ? &channel->head : NULL;
  if (channel == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for messages");
  channel->head.transport = transport;
  channel->number = number;
  return NULL;
}

static void close_channel(dure_channel *channel) { free(channel); }

typedef struct piece {
  dure_mpi_request *requests[2];  // send, receive; NULL: none, or done
} piece;

static dure_status begin_piece(mpi_channel *channel, const dure_exchange *exchange, size_t place, piece *out) {
  const dure_mpi *mpi = ((mpi_transport *)channel->head.transport)->mpi;
  int error = 0;
  *out = (piece){0};
  if (exchange->from != DURE_NOBODY && place < exchange->receive_size) {
    const size_t left = exchange->receive_size - place;
    error = mpi->plugin->receive(exchange->from, channel->number, (char *)exchange->receive + place,
                                 (uint32_t)(left < piece_bytes ? left : piece_bytes), &out->requests[1]);
  }
  if (error == 0 && exchange->to != DURE_NOBODY && place < exchange->send_size) {
    const size_t left = exchange->send_size - place;
    error = mpi->plugin->send(exchange->to, channel->number, (const char *)exchange->send + place,
                              (uint32_t)(left < piece_bytes ? left : piece_bytes), &out->requests[0]);
  }
  return error == 0 ? NULL : fail_mpi(mpi, error, "to begin a message");
}

static dure_status check_ranks(mpi_transport *transport, const dure_exchange *exchange, const piece *p,
                               uint64_t waited) {
  DURE_TRY(dure_control_check(transport->control));
  const uint32_t ranks[2] = {exchange->to, exchange->from};
  for (int i = 0; i < 2 && waited > left_nanoseconds; i++) {
    if (p->requests[i] != NULL && dure_control_has_left(transport->control, ranks[i]))
      return dure_control_explain(transport->control, ranks[i], "");
  }
  return NULL;
}

static dure_status finish_piece(mpi_channel *channel, const dure_exchange *exchange, piece *p) {
  mpi_transport *transport = (mpi_transport *)channel->head.transport;
  const uint64_t start = dure_os_nanoseconds();
  for (uint64_t sleep = shortest_sleep; p->requests[0] != NULL || p->requests[1] != NULL;) {
    for (int i = 0; i < 2; i++) {
      bool is_done = false;
      if (p->requests[i] == NULL) continue;
      const int error = transport->mpi->plugin->test(p->requests[i], &is_done);
      if (is_done) p->requests[i] = NULL;
      if (error != 0) {
        dure_status_free(fail_mpi(transport->mpi, error, "to move a message"));
        return dure_control_explain(transport->control, i == 0 ? exchange->to : exchange->from, "MPI fails with it");
      }
    }
    if (channel->head.tick != NULL) channel->head.tick(channel->head.tick_context);
    if (p->requests[0] == NULL && p->requests[1] == NULL) break;
    DURE_TRY(check_ranks(transport, exchange, p, dure_os_nanoseconds() - start));
    dure_os_sleep(sleep);
    if (sleep < longest_sleep) sleep += sleep / 4;
  }
  return NULL;
}

static dure_status exchange_bytes(dure_channel *head, const dure_exchange *exchange) {
  mpi_channel *channel = (mpi_channel *)head;
  const size_t to_send = exchange->to != DURE_NOBODY ? exchange->send_size : 0;
  const size_t to_receive = exchange->from != DURE_NOBODY ? exchange->receive_size : 0;
  for (size_t place = 0; place < to_send || place < to_receive; place += piece_bytes) {
    piece p;
    DURE_TRY(begin_piece(channel, exchange, place, &p));
    DURE_TRY(finish_piece(channel, exchange, &p));
  }
  head->bytes_sent += to_send;
  head->bytes_received += to_receive;
  return NULL;
}

static void end_transport(dure_transport *head, bool is_failed) {
  mpi_transport *transport = (mpi_transport *)head;
  dure_mpi_close(transport->mpi, is_failed);
  free(transport);
}

static const dure_transport_vtable vtable = {"mpi", open_channel, close_channel, exchange_bytes, end_transport};

dure_status dure_transport_mpi(dure_mpi *mpi, dure_control *control, dure_transport **out_transport) {
  mpi_transport *transport = calloc(1, sizeof(*transport));
  *out_transport = transport != NULL ? &transport->head : NULL;
  if (transport == NULL) {
    dure_mpi_close(mpi, true);
    return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for MPI");
  }
  *transport = (mpi_transport){.head = {&vtable}, .mpi = mpi, .control = control};
  return NULL;
}
