// Where rank 0 is, in a file on a file system that all ranks see: for launchers that tell ranks their number and
// nothing of each other. Lines: a mark, rank 0's hosts, its port, the secret of this run. It appears whole, by
// renaming.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"
#include "runtime/world/internal.h"

static const char mark[] = "dure-world 1";
enum { file_limit = 4096 };

dure_status dure_world_file_write(const char *path, const char *hosts, uint16_t port, const char *secret) {
  char text[file_limit];
  const int length = snprintf(text, sizeof(text), "%s\n%s\n%u\n%s\n", mark, hosts, port, secret);
  return dure_status_prefix(dure_os_write_file(path, text, (size_t)length), "DURE_WORLD_FILE");
}

// The next line of *text, cut off; NULL where there is none.
static char *next_line(char **text) {
  char *line = *text, *end = strchr(line, '\n');
  if (end == NULL) return NULL;
  *end = '\0';
  *text = end + 1;
  return line;
}

static dure_status parse(const char *path, char *text, char *out_hosts, size_t hosts_size, uint16_t *out_port,
                         char *out_secret, size_t secret_size) {
  const char *head = next_line(&text), *hosts = head != NULL ? next_line(&text) : NULL;
  const char *port = hosts != NULL ? next_line(&text) : NULL, *secret = port != NULL ? next_line(&text) : NULL;
  const unsigned long number = port != NULL ? strtoul(port, NULL, 10) : 0;
  if (secret == NULL || strcmp(head, mark) != 0 || strlen(hosts) >= hosts_size || strlen(secret) >= secret_size ||
      number == 0 || number > UINT16_MAX)
    return dure_fail(DURE_CORRUPT, "'%s' (DURE_WORLD_FILE) is not what rank 0 of a run writes", path);
  snprintf(out_hosts, hosts_size, "%s", hosts);
  snprintf(out_secret, secret_size, "%s", secret);
  *out_port = (uint16_t)number;
  return NULL;
}

dure_status dure_world_file_read(const char *path, double seconds, char *out_hosts, size_t hosts_size,
                                 uint16_t *out_port, char *out_secret, size_t secret_size) {
  const double limit = dure_world_join_seconds(seconds);
  const uint64_t deadline = dure_os_nanoseconds() + (uint64_t)(limit * 1e9);
  *out_port = 0;
  out_hosts[0] = out_secret[0] = '\0';
  while (!dure_os_is_file(path)) {
    if (dure_os_interrupted()) return dure_fail(DURE_CANCELLED, "stopped while waiting for '%s'", path);
    if (dure_os_nanoseconds() >= deadline)
      return dure_fail(
          DURE_RANK_LOST,
          "rank 0 is lost: it has not written '%s' (DURE_WORLD_FILE) within %.0f s, or it is not on a file "
          "system that all ranks see",
          path, limit);
    dure_os_sleep(50000000);
  }
  char *text = NULL;
  size_t size = 0;
  DURE_TRY(dure_os_read_file(path, file_limit, &text, &size));
  dure_status status = parse(path, text, out_hosts, hosts_size, out_port, out_secret, secret_size);
  free(text);
  return status;
}
