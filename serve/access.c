#include "serve/access.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <string.h>
#include <strings.h>

static bool is_same(const char *key, const char *given, size_t given_length) {
  const size_t length = strlen(key);
  unsigned char differs = length != given_length;
  for (size_t i = 0; i < given_length; i++)
    differs |= (unsigned char)((unsigned char)given[i] ^ (unsigned char)key[length > 0 ? i % length : 0]);
  return differs == 0;
}

bool access_has_key(const dure_server_options *options, const char *authorization, uint32_t *out_key) {
  *out_key = 0;
  if (options->key_count == 0) return true;
  if (authorization == NULL || strncasecmp(authorization, "Bearer ", 7) != 0) return false;
  const char *given = authorization + 7 + strspn(authorization + 7, " ");
  size_t length = strlen(given);
  while (length > 0 && given[length - 1] == ' ') length--;
  for (size_t i = 0; i < options->key_count; i++) {
    if (is_same(options->keys[i], given, length)) *out_key = (uint32_t)i + 1;
  }
  return *out_key > 0;
}

// The name in "name:port" or "[::1]:port".
static size_t name_length(const char *host) {
  if (host[0] == '[') return strcspn(host, "]") + (strchr(host, ']') != NULL);
  return strcspn(host, ":");
}

static bool is_loopback_name(const char *host) {
  static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
  const size_t length = name_length(host);
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    if (length == strlen(names[i]) && strncasecmp(host, names[i], length) == 0) return true;
  }
  return false;
}

// Whatever way the address is spelled.
static bool is_loopback_server(const dure_server_options *options) {
  struct in_addr four;
  struct in6_addr six;
  if (inet_pton(AF_INET, options->host, &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
  if (inet_pton(AF_INET6, options->host, &six) != 1) return false;
  return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
}

bool access_has_host(const dure_server_options *options, const char *host) {
  if (host == NULL || options->key_count > 0 || options->allowed_origin != NULL || !is_loopback_server(options))
    return true;
  const size_t length = name_length(host);
  return is_loopback_name(host) || (length == strlen(options->host) && strncmp(host, options->host, length) == 0);
}

bool access_has_origin(const dure_server_options *options, const char *origin, const char *host) {
  if (origin == NULL) return true;
  const char *allowed = options->allowed_origin;
  if (allowed != NULL && (strcmp(allowed, "*") == 0 || strcasecmp(allowed, origin) == 0)) return true;
  const char *name = strstr(origin, "://");
  if (name == NULL || host == NULL || strcasecmp(name + 3, host) != 0) return false;
  return !is_loopback_server(options) || is_loopback_name(host);
}
