// The POSIX side of socket.h.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/os.h"
#include "runtime/socket.h"

static uint64_t deadline_after(double seconds) { return dure_os_nanoseconds() + (uint64_t)(seconds * 1e9); }

static int milliseconds_until(uint64_t deadline) {
  const uint64_t now = dure_os_nanoseconds();
  if (now >= deadline) return 0;
  const uint64_t left = (deadline - now) / 1000000 + 1;
  return left > 1000000 ? 1000000 : (int)left;
}

static void send_at_once(int socket_number) {
  const int on = 1;
  (void)setsockopt(socket_number, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static dure_status listen_on(int family, uint16_t port, int *out_socket) {
  *out_socket = -1;
  const int descriptor = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return dure_fail_errno("cannot make a socket");
  const int on = 1, off = 0;
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {.s_addr = htonl(INADDR_ANY)}};
  const struct sockaddr *address = family == AF_INET6 ? (const struct sockaddr *)&six : (const struct sockaddr *)&four;
  const socklen_t size = family == AF_INET6 ? sizeof(six) : sizeof(four);
  (void)setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (family == AF_INET6) (void)setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (bind(descriptor, address, size) != 0 || listen(descriptor, 4096) != 0) {
    dure_status status = dure_fail_errno("cannot listen on port %u", port);
    close(descriptor);
    return status;
  }
  *out_socket = descriptor;
  return NULL;
}

dure_status dure_socket_listen(uint16_t port, int *out_socket, uint16_t *out_port) {
  *out_port = 0;
  dure_status status = listen_on(AF_INET6, port, out_socket);
  if (status != NULL) {
    dure_status_free(status);
    DURE_TRY(listen_on(AF_INET, port, out_socket));
  }
  struct sockaddr_storage bound;
  socklen_t size = sizeof(bound);
  if (getsockname(*out_socket, (struct sockaddr *)&bound, &size) != 0) {
    status = dure_fail_errno("cannot tell the port of a socket");
    close(*out_socket);
    *out_socket = -1;
    return status;
  }
  *out_port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                : ((struct sockaddr_in *)&bound)->sin_port);
  return NULL;
}

static void write_host(const struct sockaddr *address, char *out_host, size_t size) {
  out_host[0] = '\0';
  if (address->sa_family == AF_INET) {
    inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, out_host, (socklen_t)size);
  } else if (address->sa_family == AF_INET6) {
    const struct in6_addr *six = &((const struct sockaddr_in6 *)address)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(six))
      inet_ntop(AF_INET, six->s6_addr + 12, out_host, (socklen_t)size);
    else
      inet_ntop(AF_INET6, six, out_host, (socklen_t)size);
  }
}

dure_status dure_socket_accept(int listener, int *out_socket, char out_host[DURE_HOST_TEXT_BYTES]) {
  struct sockaddr_storage from;
  socklen_t size = sizeof(from);
  *out_socket = accept4(listener, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  out_host[0] = '\0';
  if (*out_socket < 0) {
    const bool is_nothing = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ECONNABORTED;
    return is_nothing ? NULL : dure_fail_errno("cannot accept a connection");
  }
  send_at_once(*out_socket);
  write_host((const struct sockaddr *)&from, out_host, DURE_HOST_TEXT_BYTES);
  return NULL;
}

// One address; 0, or the errno of the failure.
static int connect_address(const struct addrinfo *address, uint64_t deadline, int *out_socket) {
  const int descriptor =
      socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol);
  if (descriptor < 0) return errno;
  int code = 0;
  if (connect(descriptor, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS) code = errno;
  if (code == 0) {
    struct pollfd entry = {.fd = descriptor, .events = POLLOUT};
    int ready = 0;
    do ready = poll(&entry, 1, milliseconds_until(deadline));
    while (ready < 0 && errno == EINTR);
    socklen_t size = sizeof(code);
    if (ready <= 0)
      code = ETIMEDOUT;
    else if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size) != 0)
      code = errno;
  }
  if (code != 0) {
    close(descriptor);
    return code;
  }
  send_at_once(descriptor);
  *out_socket = descriptor;
  return 0;
}

dure_status dure_socket_connect(const char *host, uint16_t port, double seconds, int *out_socket) {
  *out_socket = -1;
  const uint64_t deadline = deadline_after(seconds);
  char service[8];
  snprintf(service, sizeof(service), "%u", port);
  const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  struct addrinfo *addresses = NULL;
  const int failure = getaddrinfo(host, service, &hints, &addresses);
  if (failure != 0) return dure_fail(DURE_NOT_FOUND, "no address of host '%s': %s", host, gai_strerror(failure));
  int code = EHOSTUNREACH;
  for (const struct addrinfo *a = addresses; a != NULL && *out_socket < 0; a = a->ai_next)
    code = connect_address(a, deadline, out_socket);
  freeaddrinfo(addresses);
  if (*out_socket >= 0) return NULL;
  errno = code;
  return dure_fail_errno("cannot connect to %s, port %u", host, port);
}

void dure_socket_close(int socket_number) {
  if (socket_number >= 0) close(socket_number);
}

int64_t dure_socket_send_some(int socket_number, const void *bytes, size_t size) {
  const ssize_t sent = send(socket_number, bytes, size, MSG_NOSIGNAL);
  if (sent >= 0) return sent;
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
}

int64_t dure_socket_receive_some(int socket_number, void *bytes, size_t size) {
  if (size == 0) return 0;
  const ssize_t got = recv(socket_number, bytes, size, 0);
  if (got > 0) return got;
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? 0 : -1;
}

static dure_status wait_for(int socket_number, short events, uint64_t deadline) {
  struct pollfd entry = {.fd = socket_number, .events = events};
  const int ready = poll(&entry, 1, milliseconds_until(deadline));
  if (ready == 0 && dure_os_nanoseconds() >= deadline) return dure_fail(DURE_IO, "no answer within the time allowed");
  return NULL;
}

dure_status dure_socket_send(int socket_number, const void *bytes, size_t size, double seconds) {
  const uint64_t deadline = deadline_after(seconds);
  for (size_t done = 0; done < size;) {
    const int64_t moved = dure_socket_send_some(socket_number, (const char *)bytes + done, size - done);
    if (moved < 0) return dure_fail(DURE_IO, "the connection was closed");
    done += (size_t)moved;
    if (moved == 0) DURE_TRY(wait_for(socket_number, POLLOUT, deadline));
  }
  return NULL;
}

dure_status dure_socket_receive(int socket_number, void *bytes, size_t size, double seconds) {
  const uint64_t deadline = deadline_after(seconds);
  for (size_t done = 0; done < size;) {
    const int64_t moved = dure_socket_receive_some(socket_number, (char *)bytes + done, size - done);
    if (moved < 0) return dure_fail(DURE_IO, "the connection was closed");
    done += (size_t)moved;
    if (moved == 0) DURE_TRY(wait_for(socket_number, POLLIN, deadline));
  }
  return NULL;
}

void dure_socket_local_hosts(char *out_hosts, size_t size) {
  struct ifaddrs *interfaces = NULL;
  out_hosts[0] = '\0';
  if (getifaddrs(&interfaces) != 0) return;
  size_t used = 0;
  for (const struct ifaddrs *i = interfaces; i != NULL; i = i->ifa_next) {
    if (i->ifa_addr == NULL || (i->ifa_flags & IFF_UP) == 0 || (i->ifa_flags & IFF_LOOPBACK) != 0) continue;
    const bool is_six = i->ifa_addr->sa_family == AF_INET6;
    if (is_six && IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)i->ifa_addr)->sin6_addr)) continue;
    char host[DURE_HOST_TEXT_BYTES];
    write_host(i->ifa_addr, host, sizeof(host));
    if (host[0] == '\0' || used + strlen(host) + 2 > size) continue;
    used += (size_t)snprintf(out_hosts + used, size - used, "%s%s", used > 0 ? "," : "", host);
  }
  freeifaddrs(interfaces);
}

void dure_socket_machine(char *out_name, size_t size, char *out_identity, size_t identity_size) {
  if (gethostname(out_name, size) != 0) snprintf(out_name, size, "unnamed");
  out_name[size - 1] = '\0';
  struct stat network = {0};
  (void)stat("/proc/self/ns/net", &network);
  snprintf(out_identity, identity_size, "%s/%llu", out_name, (unsigned long long)network.st_ino);
}
