// Stream sockets between the processes of a run. The POSIX side is socket_posix.c.
//
// Every socket here is non-blocking, sends small messages at once (TCP_NODELAY) and is closed when a program is started
// from this one. Hosts are names or addresses, IPv4 or IPv6. Waiting is bounded by `seconds` everywhere.
#ifndef DURE_RUNTIME_SOCKET_H_
#define DURE_RUNTIME_SOCKET_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum { DURE_HOST_TEXT_BYTES = 64 };

// Listens on every address of this machine; port 0: any free one.
DURE_MUST_CHECK dure_status dure_socket_listen(uint16_t port, int *out_socket, uint16_t *out_port);
// The next connection that waits, and from which address; -1 where there is none now.
DURE_MUST_CHECK dure_status dure_socket_accept(int listener, int *out_socket, char out_host[DURE_HOST_TEXT_BYTES]);
DURE_MUST_CHECK dure_status dure_socket_connect(const char *host, uint16_t port, double seconds, int *out_socket);
void dure_socket_close(int socket);  // -1 is fine

// All of it, or DURE_IO.
DURE_MUST_CHECK dure_status dure_socket_send(int socket, const void *bytes, size_t size, double seconds);
DURE_MUST_CHECK dure_status dure_socket_receive(int socket, void *bytes, size_t size, double seconds);
// What can be moved now: 0 where nothing can, -1 where the connection has ended.
int64_t dure_socket_send_some(int socket, const void *bytes, size_t size);
int64_t dure_socket_receive_some(int socket, void *bytes, size_t size);

// This machine's addresses but loopback, "10.0.0.1,10.1.0.1"; "" where it has none.
void dure_socket_local_hosts(char *out_hosts, size_t size);
// Names this machine's network: its host name, and the network namespace where it is in one of its own.
void dure_socket_machine(char *out_name, size_t size, char *out_identity, size_t identity_size);

#endif  // DURE_RUNTIME_SOCKET_H_
