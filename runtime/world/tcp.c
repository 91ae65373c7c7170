// Bytes between ranks over TCP: a connection for each pair of ranks and channel, made when it is first used.
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/world/internal.h"

typedef struct tcp_transport {
  dure_transport head;
  dure_control *control;
  uint32_t rank, size;
} tcp_transport;

typedef struct tcp_channel {
  dure_channel head;
  uint32_t number;
  int sockets[];  // [size], -1: not connected
} tcp_channel;

static tcp_transport *transport_of(dure_channel *channel) { return (tcp_transport *)channel->transport; }

static dure_status open_channel(dure_transport *head, uint32_t number, dure_channel **out_channel) {
  *out_channel = NULL;
  const tcp_transport *transport = (tcp_transport *)head;
  tcp_channel *channel = calloc(1, sizeof(*channel) + transport->size * sizeof(int));
  if (channel == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for connections");
  channel->head.transport = head;
  channel->number = number;
  for (uint32_t i = 0; i < transport->size; i++) channel->sockets[i] = -1;
  *out_channel = &channel->head;
  return NULL;
}

static void close_channel(dure_channel *head) {
  tcp_channel *channel = (tcp_channel *)head;
  for (uint32_t i = 0; i < transport_of(head)->size; i++) dure_socket_close(channel->sockets[i]);
  free(channel);
}

// The higher rank calls, which waits for nobody: so that all have called before any waits to be called.
static dure_status connect_ranks(tcp_channel *channel, const dure_exchange *exchange) {
  const tcp_transport *transport = transport_of(&channel->head);
  const uint32_t ranks[2] = {exchange->to, exchange->from};
  for (int calls = 1; calls >= 0; calls--) {
    for (int i = 0; i < 2; i++) {
      const uint32_t rank = ranks[i];
      if (rank == DURE_NOBODY || channel->sockets[rank] >= 0 || (rank < transport->rank) != (calls == 1)) continue;
      DURE_TRY(calls == 1 ? dure_control_call(transport->control, channel->number, rank, &channel->sockets[rank])
                          : dure_control_take(transport->control, channel->number, rank, &channel->sockets[rank]));
    }
  }
  return NULL;
}

static dure_status fail_ended(tcp_channel *channel, uint32_t rank) {
  return dure_control_explain(transport_of(&channel->head)->control, rank, "its connection for data has ended");
}

static dure_status wait_ready(tcp_channel *channel, int sending, int receiving) {
  struct pollfd entries[2] = {{.fd = sending, .events = POLLOUT}, {.fd = receiving, .events = POLLIN}};
  const int timeout = channel->head.tick != NULL ? 5 : 100;  // milliseconds
  if (poll(entries, 2, timeout) < 0 && errno != EINTR) return dure_fail_errno("cannot wait for other ranks");
  return dure_control_check(transport_of(&channel->head)->control);
}

static dure_status exchange_bytes(dure_channel *head, const dure_exchange *exchange) {
  tcp_channel *channel = (tcp_channel *)head;
  DURE_TRY(connect_ranks(channel, exchange));
  const size_t to_send = exchange->to != DURE_NOBODY ? exchange->send_size : 0;
  const size_t to_receive = exchange->from != DURE_NOBODY ? exchange->receive_size : 0;
  for (size_t sent = 0, received = 0; sent < to_send || received < to_receive;) {
    int64_t out = 0, in = 0;
    if (sent < to_send) {
      out = dure_socket_send_some(channel->sockets[exchange->to], (const char *)exchange->send + sent, to_send - sent);
      if (out < 0) return fail_ended(channel, exchange->to);
    }
    if (received < to_receive) {
      in = dure_socket_receive_some(channel->sockets[exchange->from], (char *)exchange->receive + received,
                                    to_receive - received);
      if (in < 0) return fail_ended(channel, exchange->from);
    }
    sent += (size_t)out;
    received += (size_t)in;
    if (head->tick != NULL) head->tick(head->tick_context);
    if (out > 0 || in > 0) continue;
    DURE_TRY(wait_ready(channel, sent < to_send ? channel->sockets[exchange->to] : -1,
                        received < to_receive ? channel->sockets[exchange->from] : -1));
  }
  head->bytes_sent += to_send;
  head->bytes_received += to_receive;
  return NULL;
}

static void end_transport(dure_transport *transport, bool is_failed) {
  (void)is_failed;
  free(transport);
}

static const dure_transport_vtable vtable = {"tcp", open_channel, close_channel, exchange_bytes, end_transport};

dure_status dure_transport_tcp(dure_control *control, uint32_t rank, uint32_t size, dure_transport **out_transport) {
  tcp_transport *transport = calloc(1, sizeof(*transport));
  *out_transport = transport != NULL ? &transport->head : NULL;
  if (transport == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no host memory for connections");
  *transport = (tcp_transport){.head = {&vtable}, .control = control, .rank = rank, .size = size};
  return NULL;
}
